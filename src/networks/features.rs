//! Features of images: what the Fréchet and kernel distances compare.
//!
//! [`FeatureExtractor`] is the one interface of every feature network, and
//! [`open`](crate::networks::extractors::open) finds the network of a path.

use std::path::{Path, PathBuf};

use tch::{Kind, Tensor};

use crate::backends::torch::first_line;
use crate::networks::{checkpoint::CheckpointError, weights::WeightsError};

/// What a manifest calls the Inception network wherever its weights are.
pub const INCEPTION: &str = "inception";

/// A network whose features describe images.
pub trait FeatureExtractor {
    /// The name in manifests, file names and columns.
    fn id(&self) -> &str;

    /// The number of features of an image.
    fn dim(&self) -> usize;

    /// The side of the images it was made for, where images of another size would be described
    /// wrongly; none if it resizes by itself.
    fn side(&self) -> Option<usize> {
        None
    }

    /// SHA-256 of the weights file: features of different weights must not be compared.
    fn sha256(&self) -> &str;

    /// The features of a batch of images.
    ///
    /// - Shape: `[N, C, H, W]` to `[N, dim]`; result f32 on the CPU.
    /// - Units: image values in [0, 1]; whether they were rounded to bytes is the caller's choice.
    ///
    /// # Errors
    /// When the images have another shape, or LibTorch refuses an operation.
    fn features(&self, images: &Tensor) -> Result<Tensor, FeatureError>;

    /// What turns features into the class scores that the Inception Score is made of; none where
    /// the weights do not say.
    fn head(&self) -> Option<Head> {
        None
    }
}

/// The last layer of a classifier: scores = features weight^T + bias.
#[derive(Debug)]
pub struct Head {
    /// `[classes, dim]`, f32 on the CPU.
    pub weight: Tensor,
    /// `[classes]`; none of Inception's, whose score is published without it. Another classifier's
    /// scores are those it was trained with.
    pub bias: Option<Tensor>,
}

/// Whether a manifest's `features` names the Inception network of FID, by its spelling: `inception`,
/// or a file of weights. Everything else is a classifier: a folder, or a file that ends in `.th`.
///
/// By spelling alone, because columns are named before anything is read.
pub fn is_inception(source: &str) -> bool {
    let ending = Path::new(source).extension().and_then(|ending| ending.to_str());
    source == INCEPTION
        || ending.is_some_and(|ending| {
            ["pth", "pt", "ckpt", "bin", "safetensors"]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(ending))
        })
}

/// Whether a path names a classifier's checkpoint, by its ending.
pub(super) fn is_classifier_file(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("th"))
}

/// What a classifier is called: its folder's name, or its file's without the ending.
pub fn name_of(path: &Path) -> String {
    let name = if is_classifier_file(path) { path.file_stem() } else { path.file_name() };
    name.map_or_else(|| "features".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Why there are no features.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// A file of the network could not be read.
    #[error(
        "cannot read {}: {source}; features are computed by folders like models/cifar10-features",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration is not that of such a network.
    #[error("{}: {message}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The file holds another network, or is damaged.
    #[error("{} {problem}", path.display())]
    Network {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the remedy.
        problem: String,
    },
    /// The weights of a folder.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The file of weights.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The images do not have the shape that the network takes.
    #[error("images have shape {found:?}; {id} takes {needed}")]
    Images {
        /// The extractor.
        id: String,
        /// The shape given.
        found: Vec<i64>,
        /// The shape it takes.
        needed: &'static str,
    },
    /// LibTorch refused an operation.
    #[error("LibTorch: {}", first_line(.0))]
    Torch(#[from] tch::TchError),
}

/// Makes sure that images are `[N, 3, H, W]`.
pub(super) fn check_colour(images: &Tensor, id: &str) -> Result<(), FeatureError> {
    let found = images.size();
    if found.len() == 4 && found[1] == 3 {
        return Ok(());
    }
    Err(FeatureError::Images { id: id.to_owned(), found, needed: "[N, 3, H, W]" })
}

/// Byte images as values in [0, 1].
///
/// # Errors
/// When LibTorch refuses an operation.
pub fn from_bytes(images: &Tensor) -> Result<Tensor, FeatureError> {
    Ok(images.f_to_kind(Kind::Float)?.f_div_scalar(255.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_weights_are_inception_and_folders_are_not() {
        for source in
            ["inception", "w/pt_inception-2015-12-05-6726825d.pth", "a.PT", "b.safetensors"]
        {
            assert!(is_inception(source), "{source}");
        }
        for source in ["models/cifar10-features", "inception/", "features.v2", "w/resnet56.th"] {
            assert!(!is_inception(source), "{source}");
        }
    }

    #[test]
    fn a_classifier_is_called_by_its_folder_or_its_file() {
        for (path, name) in
            [("models/cifar10-features", "cifar10-features"), ("w/resnet56-4b.th", "resnet56-4b")]
        {
            assert_eq!(name_of(Path::new(path)), name);
        }
        assert_eq!(name_of(Path::new("features.v2")), "features.v2");
    }
}
