//! Reference statistics: what a set of real images looks like to a feature extractor.
//!
//! A distance means nothing without its reference: which images, which split, which of them were
//! left out, and which network with which weights. All of it travels inside one `.safetensors`
//! file: `mean` `[D]` and `covariance` `[D, D]` in f64, `features` `[K, D]` in f32 (a subset chosen
//! evenly, for metrics that need samples), and the [`Origin`] as JSON in the header. A file made
//! with other weights is refused by hash, never by name alone. The bytes depend on the contents
//! alone, so that a committed file shows a change only where there is one.
//!
//! The statistics of pytorch-fid and TTUR, an `.npz` of `mu` and `sigma`, are read and written too
//! (`harness/published.rs`). They say nothing of where they come from and hold no features.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use ndarray::{Array1, Array2, ArrayView2, Axis};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::data::atomic;
use crate::measure::published;
use crate::metrics::{self, Moments};

/// The version of the layout that this build reads and writes.
pub const VERSION: u32 = 1;

/// How many feature vectors a reference keeps unless something else is asked for.
pub const DEFAULT_SUBSET: usize = 5000;

/// Key of the origin in the safetensors header.
const KEY: &str = "ddim-reference";
/// Asymmetry of a covariance, in units of its largest variance, that rounding explains.
const ASYMMETRY: f64 = 1e-9;

/// A network that makes features, to the byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extractor {
    /// Its name, such as `cifar-resnet20`.
    pub id: String,
    /// SHA-256 of its weight file, as hex.
    pub sha256: String,
    /// The number of features D.
    pub dimension: usize,
}

/// Where reference statistics come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The network.
    pub extractor: Extractor,
    /// The set, such as `cifar10`.
    pub dataset: String,
    /// SHA-256 of the images used, in order, as hex.
    pub dataset_sha256: String,
    /// The part of the set, such as `train`.
    pub split: String,
    /// The number of images N behind mean and covariance; 0 where the file does not say.
    pub images: usize,
    /// How many images were left out, by reason.
    pub excluded: BTreeMap<String, usize>,
    /// How pixel values reached the network, such as `u8`.
    pub quantisation: String,
}

/// Statistics of a set of images in a feature space.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// Where they come from.
    pub origin: Origin,
    /// Mean `[D]`.
    pub mean: Array1<f64>,
    /// Unbiased covariance `[D, D]`.
    pub covariance: Array2<f64>,
    /// An even subset of the features `[K, D]`.
    pub features: Array2<f32>,
}

/// What can go wrong with reference statistics.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The path is a folder.
    #[error(
        "{path}: it is a folder, and a reference is a file of statistics: make one of its images, \
         `ddim stats --data {path} --out FILE.safetensors`, or compare two sets, \
         `ddim evaluate IMAGES {path}`",
        path = path.display()
    )]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// The file is no safetensors file, or only a part of one.
    #[error(
        "{} is truncated or no safetensors file ({source}): restore it or compute the reference \
         again",
        path.display()
    )]
    Container {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        source: SafeTensorError,
    },
    /// The header does not say where the statistics come from.
    #[error(
        "{} does not say where its statistics come from: {problem}; compute the reference again",
        path.display()
    )]
    Origin {
        /// The file.
        path: PathBuf,
        /// What is missing or malformed.
        problem: String,
    },
    /// The layout is of another version.
    #[error(
        "{} has layout version {found}, this build reads {VERSION}: compute the reference again \
         or use the build that made it",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u64,
    },
    /// A tensor is missing or has another type or shape.
    #[error(
        "{}: tensor `{name}` is {found}, expected {expected}; compute the reference again",
        path.display()
    )]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: &'static str,
        /// What was expected.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The statistics are no mean and covariance.
    #[error("{}: the {name} {problem}; compute the reference again", path.display())]
    Values {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The statistics were made with another feature extractor.
    #[error(
        "{} was made with extractor `{}` of {} features (sha256 {}), but the features at hand come \
         from `{}` of {} features (sha256 {}): distances between the two mean nothing; use the \
         extractor of the reference or compute a reference for this one",
        path.display(), found.id, found.dimension, found.sha256,
        expected.id, expected.dimension, expected.sha256
    )]
    Extractor {
        /// The file.
        path: PathBuf,
        /// The extractor in use.
        expected: Box<Extractor>,
        /// The extractor of the file.
        found: Box<Extractor>,
    },
    /// The number of features or images is not what the origin says.
    #[error("{what}: the origin says {expected}, the features have {found}")]
    Disagrees {
        /// `images` or `dimension`.
        what: &'static str,
        /// What the origin says.
        expected: usize,
        /// What the features have.
        found: usize,
    },
    /// The file is no `.npz` of a mean and a covariance.
    #[error("{}: {problem}", path.display())]
    Published {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the remedy.
        problem: String,
    },
    /// Features are asked of a file that has their moments alone.
    #[error(
        "{dataset} holds a mean and a covariance and no features: `kid`, `precision` and `recall` \
         need features; compute the reference from images, `ddim stats --out FILE.safetensors`, or \
         measure `fd` alone"
    )]
    NoFeatures {
        /// The set.
        dataset: String,
    },
    /// Fewer features are kept than there are samples.
    #[error(
        "the reference keeps the features of {kept} images of {dataset}, and `precision` and \
         `recall` compare as many as there are samples, {n}: take {kept} samples at most, or \
         compute the reference again with `ddim stats --keep {n}`"
    )]
    FewFeatures {
        /// The set.
        dataset: String,
        /// Features kept.
        kept: usize,
        /// Samples at hand.
        n: usize,
    },
    /// The statistics cannot be computed.
    #[error(transparent)]
    Metrics(#[from] metrics::Error),
}

impl Reference {
    /// Statistics of `features`, of which at most `subset` rows are kept, evenly spaced.
    ///
    /// - Shape: `features` `[N, D]`.
    ///
    /// # Errors
    /// Another N or D than `origin` says, fewer than two images, or features that are not finite.
    pub fn new(
        features: ArrayView2<'_, f32>,
        subset: usize,
        origin: Origin,
    ) -> Result<Self, Error> {
        for (what, expected, found) in [
            ("images", origin.images, features.nrows()),
            ("dimension", origin.extractor.dimension, features.ncols()),
        ] {
            if expected != found {
                return Err(Error::Disagrees { what, expected, found });
            }
        }
        // In pieces, so that no copy of all features in f64 is held.
        let mut moments = Moments::new(features.ncols());
        for batch in features.axis_chunks_iter(Axis(0), 1024) {
            moments.push(batch)?;
        }
        let kept = subset.min(features.nrows());
        let rows: Vec<usize> = (0..kept).map(|k| k * features.nrows() / kept).collect();
        Ok(Self {
            origin,
            covariance: moments.covariance()?,
            mean: moments.mean().clone(),
            features: features.select(Axis(0), &rows),
        })
    }

    /// The moments that a distance is measured to.
    ///
    /// # Errors
    /// Fewer than two images, or shapes or values that fit no covariance: not after
    /// [`Reference::read`], which checks them.
    pub fn moments(&self) -> Result<Moments, Error> {
        let (mean, covariance) = (self.mean.clone(), self.covariance.clone());
        // An unstated N: the covariance is divided already, and nothing else asks for it.
        Ok(Moments::from_parts(self.origin.images.max(2), mean, covariance)?)
    }

    /// The subset of the features.
    ///
    /// # Errors
    /// A file that has none.
    pub fn features(&self) -> Result<ArrayView2<'_, f32>, Error> {
        if self.features.nrows() == 0 {
            return Err(Error::NoFeatures { dataset: self.origin.dataset.clone() });
        }
        Ok(self.features.view())
    }

    /// `n` of the kept features, evenly spaced among them.
    ///
    /// # Errors
    /// A file that has none, or fewer.
    pub fn evenly(&self, n: usize) -> Result<Array2<f32>, Error> {
        let features = self.features()?;
        let kept = features.nrows();
        if kept < n {
            return Err(Error::FewFeatures { dataset: self.origin.dataset.clone(), kept, n });
        }
        let rows: Vec<usize> = (0..n).map(|k| k * kept / n).collect();
        Ok(features.select(Axis(0), &rows))
    }

    /// Writes the file, whole or not at all, and creates its folder where it is missing.
    ///
    /// # Errors
    /// A file that cannot be written; an existing one is then left as it was.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let io_error = |source| Error::Io { action: "write", path: path.to_path_buf(), source };
        let bytes = if published::is_published(path) {
            published::write(self, path)?
        } else {
            self.to_bytes()
                .map_err(|source| Error::Container { path: path.to_path_buf(), source })?
        };
        atomic::write(path, &bytes).map_err(io_error)
    }

    /// Reads a file whatever extractor made it.
    ///
    /// # Errors
    /// A file that is missing, truncated, of another version, without its origin, or whose tensors
    /// are not finite or do not fit each other.
    pub fn read(path: &Path) -> Result<Self, Error> {
        if path.is_dir() {
            return Err(Error::Folder { path: path.to_path_buf() });
        }
        let bytes = std::fs::read(path).map_err(|source| Error::Io {
            action: "read",
            path: path.to_path_buf(),
            source,
        })?;
        // By contents: a dictionary saved by numpy, and an archive, may have any name.
        if published::is_published(path) || bytes.starts_with(b"PK\x03\x04") {
            return published::read(path, bytes);
        }
        match published::instead(&bytes) {
            Some(problem) => Err(Error::Published { path: path.to_path_buf(), problem }),
            None => Self::from_bytes(path, &bytes),
        }
    }

    /// Reads a file that must have been made with `extractor`.
    ///
    /// # Errors
    /// As [`Reference::read`], and a file made with other weights or another number of features.
    pub fn read_for(path: &Path, extractor: &Extractor) -> Result<Self, Error> {
        let reference = Self::read(path)?;
        let found = &reference.origin.extractor;
        // By contents: the same weights under another name are the same extractor. What does not
        // say its weights can be held to their number of features alone.
        let other = !found.sha256.is_empty() && found.sha256 != extractor.sha256;
        if other || found.dimension != extractor.dimension {
            return Err(Error::Extractor {
                path: path.to_path_buf(),
                expected: Box::new(extractor.clone()),
                found: Box::new(found.clone()),
            });
        }
        Ok(reference)
    }

    fn to_bytes(&self) -> Result<Vec<u8>, SafeTensorError> {
        let d = self.mean.len();
        let doubles = |values: &mut dyn Iterator<Item = &f64>| -> Vec<u8> {
            values.flat_map(|x| x.to_le_bytes()).collect()
        };
        let mean = doubles(&mut self.mean.iter());
        let covariance = doubles(&mut self.covariance.iter());
        let features: Vec<u8> = self.features.iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensors = [
            ("covariance", TensorView::new(Dtype::F64, vec![d, d], &covariance)?),
            ("features", TensorView::new(Dtype::F32, self.features.shape().to_vec(), &features)?),
            ("mean", TensorView::new(Dtype::F64, vec![d], &mean)?),
        ];
        let header = Header { version: VERSION, origin: self.origin.clone() };
        let header = serde_json::to_string(&header).map_err(SafeTensorError::JsonError)?;
        // One key, because the order of several would differ from run to run.
        safetensors::serialize(tensors, Some(std::iter::once((KEY.to_owned(), header)).collect()))
    }

    fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let container = |source| Error::Container { path: path.to_path_buf(), source };
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(container)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(container)?;
        let header = metadata.metadata().as_ref().and_then(|map| map.get(KEY));
        let origin = read_origin(path, header.map(String::as_str))?;

        let d = origin.extractor.dimension;
        let values =
            |name, problem: String| Error::Values { path: path.to_path_buf(), name, problem };
        let mean = Array1::from(doubles(path, &tensors, "mean", &[d])?);
        let covariance =
            Array2::from_shape_vec((d, d), doubles(path, &tensors, "covariance", &[d, d])?)
                .expect("invariant: the length was checked");
        let features = kept(path, &tensors, d)?;

        if origin.images < 2 {
            return Err(values("origin", format!("counts {} image(s)", origin.images)));
        }
        if features.nrows() > origin.images {
            let problem = format!("hold {} rows of {} images", features.nrows(), origin.images);
            return Err(values("features", problem));
        }
        let reference = Self { origin, mean, covariance, features };
        reference.check(path)?;
        Ok(reference)
    }

    /// Makes sure that everything is finite and the covariance symmetric, without a pair of features
    /// that is correlated beyond 1 or varies less than not at all. (The Fréchet distance looks at all
    /// eigenvalues.)
    pub(crate) fn check(&self, path: &Path) -> Result<(), Error> {
        let values =
            |name, problem: String| Error::Values { path: path.to_path_buf(), name, problem };
        let finite = [
            ("mean", self.mean.iter().all(|x| x.is_finite())),
            ("covariance", self.covariance.iter().all(|x| x.is_finite())),
            ("features", self.features.iter().all(|x| x.is_finite())),
        ];
        if let Some((name, _)) = finite.into_iter().find(|(_, finite)| !finite) {
            return Err(values(name, "has values that are not finite".into()));
        }
        let largest = self.covariance.iter().copied().map(f64::abs).fold(0.0, f64::max);
        for ((i, j), x) in self.covariance.indexed_iter() {
            if (x - self.covariance[[j, i]]).abs() > ASYMMETRY * largest {
                return Err(values("covariance", format!("is not symmetric at ({i}, {j})")));
            }
        }
        let none = |what: String| {
            Err(values("covariance", format!("is none, not positive semidefinite: {what}")))
        };
        let rounding = ASYMMETRY * largest;
        let variances = self.covariance.diag();
        if let Some((i, x)) = variances.iter().enumerate().find(|(_, x)| **x < -rounding) {
            return none(format!("the variance of feature {i} is {x}"));
        }
        for ((i, j), x) in self.covariance.indexed_iter().filter(|((i, j), _)| i < j) {
            if x.abs() > (variances[i] * variances[j]).max(0.0).sqrt() + rounding {
                return none(format!(
                    "features {i} and {j} have variances {} and {} and covariance {x}",
                    variances[i], variances[j]
                ));
            }
        }
        Ok(())
    }
}

/// Whether a path is a file of statistics and not of images, by its ending and what an `.npz` holds.
pub fn is_statistics(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default();
    ending.eq_ignore_ascii_case("safetensors") || published::is_published_with_moments(path)
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    origin: Origin,
}

fn read_origin(path: &Path, header: Option<&str>) -> Result<Origin, Error> {
    let problem = |problem| Error::Origin { path: path.to_path_buf(), problem };
    let header = header.ok_or_else(|| problem(format!("the header has no `{KEY}`")))?;
    let value: serde_json::Value =
        serde_json::from_str(header).map_err(|error| problem(error.to_string()))?;
    // Before the rest: another version may have other fields.
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        Some(found) => return Err(Error::Version { path: path.to_path_buf(), found }),
        None => return Err(problem("no version".into())),
    }
    let header: Header =
        serde_json::from_value(value).map_err(|error| problem(error.to_string()))?;
    Ok(header.origin)
}

fn tensor<'a>(
    path: &Path,
    tensors: &SafeTensors<'a>,
    name: &'static str,
    dtype: Dtype,
    fits: impl Fn(&[usize]) -> bool,
    shape: &str,
) -> Result<TensorView<'a>, Error> {
    let wrong = |found: String| Error::Tensor {
        path: path.to_path_buf(),
        name,
        expected: format!("{dtype:?} {shape}"),
        found,
    };
    let view = tensors.tensor(name).map_err(|_| wrong("missing".into()))?;
    if view.dtype() != dtype || !fits(view.shape()) {
        return Err(wrong(format!("{:?} {:?}", view.dtype(), view.shape())));
    }
    Ok(view)
}

fn doubles(
    path: &Path,
    tensors: &SafeTensors<'_>,
    name: &'static str,
    shape: &[usize],
) -> Result<Vec<f64>, Error> {
    let view = tensor(path, tensors, name, Dtype::F64, |s| s == shape, &format!("{shape:?}"))?;
    let (values, _) = view.data().as_chunks();
    Ok(values.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
}

fn kept(path: &Path, tensors: &SafeTensors<'_>, d: usize) -> Result<Array2<f32>, Error> {
    let fits = |s: &[usize]| s.len() == 2 && s[1] == d;
    let view = tensor(path, tensors, "features", Dtype::F32, fits, &format!("[K, {d}]"))?;
    let (values, _) = view.data().as_chunks();
    let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Ok(Array2::from_shape_vec((view.shape()[0], d), values).expect("invariant: K times D values"))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::metrics::FrechetReference;

    fn origin() -> Origin {
        Origin {
            extractor: Extractor { id: "tiny".into(), sha256: "ab12".into(), dimension: 4 },
            dataset: "cifar10".into(),
            dataset_sha256: "cd34".into(),
            split: "train".into(),
            images: 37,
            excluded: BTreeMap::from([("lossy".into(), 81)]),
            quantisation: "u8".into(),
        }
    }

    fn all_features() -> Array2<f32> {
        Array2::from_shape_fn((37, 4), |(i, j)| {
            ((i * i * 5 + i * j * 3) as f32 * 0.7).sin() + j as f32
        })
    }

    fn reference() -> Reference {
        Reference::new(all_features().view(), 10, origin()).unwrap()
    }

    /// The bytes of a file with another origin or other tensors.
    fn bytes_of(change: impl FnOnce(&mut Reference)) -> Vec<u8> {
        let mut reference = reference();
        change(&mut reference);
        reference.to_bytes().unwrap()
    }

    fn refusal(bytes: &[u8]) -> Error {
        Reference::from_bytes(Path::new("reference.safetensors"), bytes).unwrap_err()
    }

    #[test]
    fn a_reference_survives_the_round_trip_to_the_byte() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("new/reference.safetensors");
        reference().write(&path).unwrap();
        let read = Reference::read(&path).unwrap();
        assert_eq!(read, reference());
        assert_eq!(read.to_bytes().unwrap(), std::fs::read(&path).unwrap());
        assert_eq!(read.origin.excluded["lossy"], 81);
    }

    #[test]
    fn the_moments_are_those_of_all_features_and_the_subset_is_even() {
        let reference = reference();
        let all = Moments::of(all_features().view()).unwrap();
        let from_file = FrechetReference::new(&reference.moments().unwrap()).unwrap();
        assert_eq!(from_file.n(), 37);
        assert!(from_file.distance(&all).unwrap().abs() < 1e-12);
        assert_eq!(reference.features.nrows(), 10);
        for (k, row) in [(0, 0), (1, 3), (9, 33)] {
            assert_eq!(reference.features.row(k), all_features().row(row));
        }
        let whole = Reference::new(all_features().view(), DEFAULT_SUBSET, origin()).unwrap();
        assert_eq!(whole.features, all_features());
    }

    #[test]
    fn another_extractor_is_refused_by_hash_and_by_dimension() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("reference.safetensors");
        reference().write(&path).unwrap();
        let mut extractor = origin().extractor;
        extractor.id = "renamed".into();
        assert!(Reference::read_for(&path, &extractor).is_ok());
        extractor.sha256 = "ef56".into();
        let error = Reference::read_for(&path, &extractor).unwrap_err().to_string();
        assert!(error.contains("ab12") && error.contains("ef56"), "{error}");
        let extractor = Extractor { dimension: 64, ..origin().extractor };
        let error = Reference::read_for(&path, &extractor).unwrap_err().to_string();
        assert!(error.contains("of 4 features") && error.contains("of 64 features"), "{error}");
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = bytes_of(|_| ());
        for length in [0, 4, 20, 200, bytes.len() - 1] {
            assert!(matches!(refusal(&bytes[..length]), Error::Container { .. }), "at {length}");
        }
    }

    #[test]
    fn another_version_is_refused_before_its_fields_are_read() {
        let header = r#"{"version": 2, "from": "the future"}"#;
        let error = read_origin(Path::new("r.safetensors"), Some(header)).unwrap_err();
        assert!(matches!(error, Error::Version { found: 2, .. }));
        let plain = safetensors::serialize(Vec::<(&str, TensorView<'_>)>::new(), None).unwrap();
        assert!(matches!(refusal(&plain), Error::Origin { .. }));
    }

    #[test]
    fn tensors_that_do_not_fit_the_origin_are_refused() {
        let error = refusal(&bytes_of(|r| r.origin.extractor.dimension = 5)).to_string();
        assert!(error.contains("tensor `mean` is F64 [4], expected F64 [5]"), "{error}");
        let error = refusal(&bytes_of(|r| r.features = Array2::zeros((3, 6)))).to_string();
        assert!(error.contains("`features` is F32 [3, 6], expected F32 [K, 4]"), "{error}");
        let error = refusal(&bytes_of(|r| r.origin.images = 9)).to_string();
        assert!(error.contains("hold 10 rows of 9 images"), "{error}");
    }

    #[test]
    fn values_that_are_no_statistics_are_refused() {
        let error = refusal(&bytes_of(|r| r.mean[2] = f64::NAN));
        assert!(matches!(error, Error::Values { name: "mean", .. }));
        let error = refusal(&bytes_of(|r| r.covariance[[0, 3]] += 0.5));
        assert!(error.to_string().contains("not symmetric at (0, 3)"), "{error}");
        let error = refusal(&bytes_of(|r| r.covariance.mapv_inplace(|x| -x))).to_string();
        assert!(
            error.contains("is none, not positive semidefinite: the variance of feature 0 is -")
        );
        let error = refusal(&bytes_of(|r| {
            let x = 2.0 * (r.covariance[[0, 0]] * r.covariance[[3, 3]]).sqrt();
            (r.covariance[[0, 3]], r.covariance[[3, 0]]) = (x, x);
        }));
        assert!(error.to_string().contains("features 0 and 3 have variances"), "{error}");
    }

    #[test]
    fn an_origin_that_contradicts_the_features_is_refused() {
        let wrong = Origin { images: 38, ..origin() };
        let error = Reference::new(all_features().view(), 10, wrong).unwrap_err();
        assert!(matches!(error, Error::Disagrees { what: "images", expected: 38, found: 37 }));
    }
}
