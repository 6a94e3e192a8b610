//! Reference statistics as one `.safetensors` file: `mean` `[D]` and `covariance` `[D, D]` in f64,
//! `features` `[K, D]` in f32 (a subset chosen evenly, for metrics that need samples), and the
//! [`Origin`] as JSON in the header.
//!
//! The bytes depend only on the contents, so that a committed file shows a change only where there
//! is one.

use std::path::Path;

use ndarray::{Array1, Array2};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::measure::reference::{Origin, Reference, ReferenceError, VERSION};

/// Key of the origin in the safetensors header.
const KEY: &str = "ddim-reference";

/// The bytes of a file.
pub(super) fn to_bytes(reference: &Reference) -> Result<Vec<u8>, SafeTensorError> {
    let d = reference.mean.len();
    let doubles = |values: &mut dyn Iterator<Item = &f64>| -> Vec<u8> {
        values.flat_map(|x| x.to_le_bytes()).collect()
    };
    let mean = doubles(&mut reference.mean.iter());
    let covariance = doubles(&mut reference.covariance.iter());
    let features: Vec<u8> = reference.features.iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensors = [
        ("covariance", TensorView::new(Dtype::F64, vec![d, d], &covariance)?),
        ("features", TensorView::new(Dtype::F32, reference.features.shape().to_vec(), &features)?),
        ("mean", TensorView::new(Dtype::F64, vec![d], &mean)?),
    ];
    let header = Header { version: VERSION, origin: reference.origin.clone() };
    let header = serde_json::to_string(&header).map_err(SafeTensorError::JsonError)?;
    // One key, because the order of several would differ from run to run.
    safetensors::serialize(tensors, Some(std::iter::once((KEY.to_owned(), header)).collect()))
}

/// Reads the bytes of a file.
pub(super) fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Reference, ReferenceError> {
    let container = |source| ReferenceError::Container { path: path.to_path_buf(), source };
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(container)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(container)?;
    let header = metadata.metadata().as_ref().and_then(|map| map.get(KEY));
    let origin = read_origin(path, header.map(String::as_str))?;

    let d = origin.extractor.dimension;
    let values =
        |name, problem: String| ReferenceError::Values { path: path.to_path_buf(), name, problem };
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
    let reference = Reference { origin, mean, covariance, features };
    reference.check(path)?;
    Ok(reference)
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    origin: Origin,
}

fn read_origin(path: &Path, header: Option<&str>) -> Result<Origin, ReferenceError> {
    let problem = |problem| ReferenceError::Origin { path: path.to_path_buf(), problem };
    let header = header.ok_or_else(|| problem(format!("the header has no `{KEY}`")))?;
    let value: serde_json::Value =
        serde_json::from_str(header).map_err(|error| problem(error.to_string()))?;
    // Before the rest: another version may have other fields.
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        Some(found) => return Err(ReferenceError::Version { path: path.to_path_buf(), found }),
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
) -> Result<TensorView<'a>, ReferenceError> {
    let wrong = |found: String| ReferenceError::Tensor {
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
) -> Result<Vec<f64>, ReferenceError> {
    let view = tensor(path, tensors, name, Dtype::F64, |s| s == shape, &format!("{shape:?}"))?;
    let (values, _) = view.data().as_chunks();
    Ok(values.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
}

fn kept(path: &Path, tensors: &SafeTensors<'_>, d: usize) -> Result<Array2<f32>, ReferenceError> {
    let fits = |s: &[usize]| s.len() == 2 && s[1] == d;
    let view = tensor(path, tensors, "features", Dtype::F32, fits, &format!("[K, {d}]"))?;
    let (values, _) = view.data().as_chunks();
    let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Ok(Array2::from_shape_vec((view.shape()[0], d), values).expect("invariant: K times D values"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tempfile::TempDir;

    use super::*;
    use crate::measure::reference::{DEFAULT_SUBSET, Extractor};
    use crate::metrics::{FrechetReference, Moments};

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
        to_bytes(&reference).unwrap()
    }

    fn refusal(bytes: &[u8]) -> ReferenceError {
        from_bytes(Path::new("reference.safetensors"), bytes).unwrap_err()
    }

    #[test]
    fn a_reference_survives_the_round_trip_to_the_byte() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("new/reference.safetensors");
        reference().write(&path).unwrap();
        let read = Reference::read(&path).unwrap();
        assert_eq!(read, reference());
        assert_eq!(to_bytes(&read).unwrap(), std::fs::read(&path).unwrap());
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
            assert!(
                matches!(refusal(&bytes[..length]), ReferenceError::Container { .. }),
                "at {length}"
            );
        }
    }

    #[test]
    fn another_version_is_refused_before_its_fields_are_read() {
        let header = r#"{"version": 2, "from": "the future"}"#;
        let error = read_origin(Path::new("r.safetensors"), Some(header)).unwrap_err();
        assert!(matches!(error, ReferenceError::Version { found: 2, .. }));
        let plain = safetensors::serialize(Vec::<(&str, TensorView<'_>)>::new(), None).unwrap();
        assert!(matches!(refusal(&plain), ReferenceError::Origin { .. }));
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
        assert!(matches!(error, ReferenceError::Values { name: "mean", .. }));
        let error = refusal(&bytes_of(|r| r.covariance[[0, 3]] += 0.5));
        assert!(error.to_string().contains("not symmetric at (0, 3)"), "{error}");
        let error = refusal(&bytes_of(|r| r.covariance.mapv_inplace(|x| -x))).to_string();
        assert!(error.contains(
            "is not one, for it is not positive semidefinite: the variance of feature 0 is -"
        ));
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
        assert!(matches!(
            error,
            ReferenceError::Disagrees { what: "images", expected: 38, found: 37 }
        ));
    }
}
