//! The reference statistics of pytorch-fid and TTUR: an `.npz` of `mu` `[D]` and `sigma` `[D, D]`.
//!
//! Published reference statistics come in this format. It does not say which images they are of, how many, or which weights made the features: all that can be checked is D. A distance
//! to such a file is only as good as what is known about it.

use std::{
    collections::BTreeMap,
    io::{BufReader, Cursor},
    path::Path,
};

use ndarray::{Array1, Array2, ArrayD, Ix1, Ix2};
use ndarray_npy::NpzWriter;

use crate::data::{
    file,
    numpy::{self, MAGIC, Npz, Problem},
    pickle::{self, Node},
    sha256,
};
use crate::measure::reference::{Extractor, Origin, Reference, ReferenceError};

/// Whether a path has the ending of such a file.
pub(crate) fn is_published(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npz"))
}

const ARRAYS: [&str; 2] = ["mu", "sigma"];

/// Whether a path is such a file by its arrays too, and no archive of images.
pub(crate) fn is_published_with_moments(path: &Path) -> bool {
    let archive = || Npz::open(BufReader::new(file::open(path).ok()?)).ok();
    is_published(path)
        && archive().is_some_and(|npz| {
            let names = npz.names();
            ARRAYS.iter().all(|array| names.iter().any(|name| name == array))
        })
}

/// Reads the bytes of a file; its name becomes that of the data set.
pub(crate) fn read(path: &Path, bytes: Vec<u8>) -> Result<Reference, ReferenceError> {
    let refuse = |problem: String| ReferenceError::Published { path: path.to_path_buf(), problem };
    let mut npz = Npz::open(Cursor::new(bytes)).map_err(refuse)?;
    let names = npz.names();
    if !ARRAYS.iter().all(|needed| names.iter().any(|name| name == needed)) {
        return Err(refuse(format!(
            "reference statistics are the arrays mu and sigma, and it holds {}; for images in an \
             .npz, compute the reference with `ddim stats --data`",
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        )));
    }
    // pytorch-fid writes f64; some published files are f32.
    let mut doubles = |name: &str| -> Result<ArrayD<f64>, ReferenceError> {
        let values = npz.read(name).map_err(refuse)?;
        values.doubles().map_err(|problem| refuse(format!("`{name}`: {problem}")))
    };
    let (mu, sigma) = (doubles("mu")?, doubles("sigma")?);
    let shapes = format!("mu is {:?} and sigma {:?}", mu.shape(), sigma.shape());
    let (Ok(mean), Ok(covariance)) =
        (mu.into_dimensionality::<Ix1>(), sigma.into_dimensionality::<Ix2>())
    else {
        return Err(refuse(format!("{shapes}; needed: [D] and [D, D]")));
    };
    let d = mean.len();
    if covariance.dim() != (d, d) || d == 0 {
        return Err(refuse(format!("{shapes}; needed: [D] and [D, D]")));
    }
    let name = path.file_name().map_or_else(|| "npz".into(), |name| name.to_string_lossy());
    let reference = Reference {
        origin: Origin {
            extractor: Extractor {
                id: "not stated".to_owned(),
                sha256: String::new(),
                dimension: d,
            },
            dataset: name.into_owned(),
            dataset_sha256: sha256(&bytes_of(&mean, &covariance)),
            split: "not stated".to_owned(),
            images: 0,
            excluded: BTreeMap::new(),
            quantisation: "not stated".to_owned(),
        },
        mean,
        covariance,
        features: Array2::zeros((0, d)),
    };
    reference.check(path)?;
    Ok(reference)
}

/// What a numpy file or a pickle holds instead of statistics, and the remedy; none for other files.
pub(crate) fn instead(bytes: &[u8]) -> Option<String> {
    const SAVE: &str = "save mu and sigma as .npz, numpy.savez(\"FILE.npz\", mu=mu, sigma=sigma)";
    if bytes.starts_with(MAGIC) {
        return Some(match numpy::read(&mut &*bytes, Some(bytes.len() as u64)) {
            Err(Problem::Objects) => {
                let pickle = bytes.windows(2).position(|pair| pair[0] == 0x80 && pair[1] < 6);
                format!("{}: {SAVE}", pickle.map_or(OBJECT, |start| pickled(&bytes[start..])))
            }
            Err(problem) => problem.to_string(),
            Ok(array) => format!(
                "one array, of shape {:?}, and a reference is a mean and a covariance: {SAVE}; of an \
                 array of images `ddim stats` makes one",
                array.shape()
            ),
        });
    }
    // PROTO, with a version of the protocol.
    let is_pickle = bytes.len() > 2 && bytes[0] == 0x80 && (2..6).contains(&bytes[1]);
    is_pickle.then(|| format!("{}: {SAVE}", pickled(bytes)))
}

const OBJECT: &str = "a pickled Python object, of which nothing is run";

/// What a pickle holds, or what numpy pickles for an array of one object: `[object]`.
fn pickled(bytes: &[u8]) -> &'static str {
    let Ok(document) = pickle::parse(&mut &*bytes) else { return OBJECT };
    let is_dictionary = |node: &Node| matches!(node, Node::Dict(_));
    let wrapped = document.nodes().any(|node| match node {
        Node::List(items) => {
            matches!(items.as_slice(), &[item] if is_dictionary(document.get(item)))
        }
        _ => false,
    });
    let of_numpy = matches!(document.root(), Node::Object(name, _) if name.contains("multiarray"));
    if is_dictionary(document.root()) || of_numpy && wrapped {
        "a pickled dictionary"
    } else {
        OBJECT
    }
}

/// What a key has in place of the images: the statistics themselves.
fn bytes_of(mean: &Array1<f64>, covariance: &Array2<f64>) -> Vec<u8> {
    mean.iter().chain(covariance).flat_map(|x| x.to_le_bytes()).collect()
}

/// The bytes of a file. Origin and features are left out: the format has no place for them.
pub(crate) fn write(reference: &Reference, path: &Path) -> Result<Vec<u8>, ReferenceError> {
    let refuse = |error: ndarray_npy::WriteNpzError| ReferenceError::Published {
        path: path.to_path_buf(),
        problem: format!("it cannot be written: {error}"),
    };
    let mut npz = NpzWriter::new(Cursor::new(vec![]));
    npz.add_array("mu", &reference.mean).map_err(refuse)?;
    npz.add_array("sigma", &reference.covariance).map_err(refuse)?;
    Ok(npz.finish().map_err(refuse)?.into_inner())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use ndarray::array;
    use tempfile::TempDir;

    use super::*;

    fn extractor(dimension: usize) -> Extractor {
        Extractor { id: "inception".into(), sha256: "ab12".into(), dimension }
    }

    /// `numpy.savez(path, mu=[1, 2], sigma=[[2, 0.5], [0.5, 1]])` of numpy 2.4.
    fn golden() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/statistics.npz")
    }

    #[test]
    fn what_numpy_wrote_is_read() {
        let reference = Reference::read_for(&golden(), &extractor(2)).unwrap();
        assert_eq!(reference.mean, array![1.0, 2.0]);
        assert_eq!(reference.covariance, array![[2.0, 0.5], [0.5, 1.0]]);
        assert_eq!(reference.origin.dataset, "statistics.npz");
        let moments = reference.moments().unwrap();
        assert_eq!(moments.covariance().unwrap(), reference.covariance);
        let error = Reference::read_for(&golden(), &extractor(3)).unwrap_err().to_string();
        assert!(error.contains("of 2 features") && error.contains("of 3 features"), "{error}");
        let error = reference.features().unwrap_err().to_string();
        assert!(error.contains("`kid`, `precision` and `recall` need features"), "{error}");
    }

    #[test]
    fn a_file_survives_the_round_trip_and_has_the_same_bytes_again() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("x.npz");
        let reference = Reference::read(&golden()).unwrap();
        reference.write(&path).unwrap();
        let again = Reference::read(&path).unwrap();
        assert_eq!((&again.mean, &again.covariance), (&reference.mean, &reference.covariance));
        let bytes = fs::read(&path).unwrap();
        again.write(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn what_holds_no_statistics_is_refused_by_what_is_missing() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("x.npz");
        let write = |mu: &ArrayD<f64>, name: &str| {
            let mut npz = NpzWriter::new(fs::File::create(&path).unwrap());
            npz.add_array("mu", mu).unwrap();
            npz.add_array(name, &array![[1.0, 0.0], [0.1, 1.0]]).unwrap();
            npz.finish().unwrap();
            Reference::read(&path).unwrap_err().to_string()
        };
        let two = array![1.0, 2.0].into_dyn();
        assert!(write(&two, "cov").contains("it holds mu, cov"), "{}", write(&two, "cov"));
        let error = write(&array![1.0].into_dyn(), "sigma");
        assert!(error.contains("mu is [1] and sigma [2, 2]"), "{error}");
        assert!(write(&two, "sigma").contains("not symmetric at (0, 1)"));
        fs::write(&path, "PK").unwrap();
        let error = Reference::read(&path).unwrap_err().to_string();
        assert!(error.contains("damaged or no .npz file"), "{error}");
    }
}
