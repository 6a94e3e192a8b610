//! Reference statistics: what a set of real images looks like to a feature extractor.
//!
//! A distance means nothing without its reference: which images, which split, which of them were
//! left out, and which network with which weights. All of it travels with the numbers, as their
//! [`Origin`]. Statistics made with other weights are refused by hash, never only by name.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use ndarray::{Array1, Array2, ArrayView2, Axis};
use safetensors::SafeTensorError;
use serde::{Deserialize, Serialize};

use crate::error::remedy;
use crate::metrics::{self, Moments};

/// The version of the layout that this build reads and writes.
pub const VERSION: u32 = 1;

/// The default number of feature vectors that a reference keeps.
pub const DEFAULT_SUBSET: usize = 5000;

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
pub enum ReferenceError {
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
    /// Features are needed from a file that only has their moments.
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
    ) -> Result<Self, ReferenceError> {
        for (what, expected, found) in [
            ("images", origin.images, features.nrows()),
            ("dimension", origin.extractor.dimension, features.ncols()),
        ] {
            if expected != found {
                return Err(ReferenceError::Disagrees { what, expected, found });
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
    /// Fewer than two images, or shapes or values that fit no covariance: not of a
    /// reference that was read, which is checked.
    pub fn moments(&self) -> Result<Moments, ReferenceError> {
        let (mean, covariance) = (self.mean.clone(), self.covariance.clone());
        // An unstated N: the covariance is divided already, and nothing else asks for it.
        Ok(Moments::from_parts(self.origin.images.max(2), mean, covariance)?)
    }

    /// The subset of the features.
    ///
    /// # Errors
    /// A file that has none.
    pub fn features(&self) -> Result<ArrayView2<'_, f32>, ReferenceError> {
        if self.features.nrows() == 0 {
            return Err(ReferenceError::NoFeatures { dataset: self.origin.dataset.clone() });
        }
        Ok(self.features.view())
    }

    /// `n` of the kept features, evenly spaced among them.
    ///
    /// # Errors
    /// A file that has none, or fewer.
    pub fn evenly(&self, n: usize) -> Result<Array2<f32>, ReferenceError> {
        let features = self.features()?;
        let kept = features.nrows();
        if kept < n {
            return Err(ReferenceError::FewFeatures {
                dataset: self.origin.dataset.clone(),
                kept,
                n,
            });
        }
        let rows: Vec<usize> = (0..n).map(|k| k * kept / n).collect();
        Ok(features.select(Axis(0), &rows))
    }

    /// Makes sure that everything is finite and the covariance symmetric, without a pair of features
    /// that is correlated beyond 1 or varies less than not at all. (The Fréchet distance looks at all
    /// eigenvalues.)
    pub(crate) fn check(&self, path: &Path) -> Result<(), ReferenceError> {
        let values = |name, problem: String| ReferenceError::Values {
            path: path.to_path_buf(),
            name,
            problem,
        };
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
            Err(values(
                "covariance",
                format!("is not one, for it is not positive semidefinite: {what}"),
            ))
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

impl From<ReferenceError> for crate::error::Error {
    fn from(error: ReferenceError) -> Self {
        match &error {
            ReferenceError::Io { action: "write", source, .. } => {
                Self::Failed(remedy::sentence(&error.to_string(), remedy::unwritten(source)))
            }
            _ => Self::Input(error.to_string()),
        }
    }
}
