//! Which feature network a path holds: a folder, and a file that ends in `.th`, is a [`Classifier`];
//! any other file is the Inception network of FID, as weights ([`Inception`]) or as a TorchScript
//! program ([`InceptionScript`]).

use std::path::Path;

use tch::Device;

use crate::networks::{
    checkpoint::{Checkpoint, Container},
    classifier::Classifier,
    features::{FeatureError, FeatureExtractor, is_classifier_file},
    inception::Inception,
    inception_script::InceptionScript,
};

/// Opens an extractor: a folder or a `.th` file is a classifier, another file the Inception network.
///
/// # Errors
/// A path that is neither, and as the network's own `open`.
pub fn open(path: &Path, device: Device) -> Result<Box<dyn FeatureExtractor>, FeatureError> {
    if path.is_dir() {
        return Ok(Box::new(Classifier::open(path, device)?));
    }
    let checkpoint = Checkpoint::open(path)?;
    if is_classifier_file(path) {
        return Ok(Box::new(Classifier::from_checkpoint(&checkpoint, device)?));
    }
    if checkpoint.container == Container::TORCH_SCRIPT {
        return Ok(Box::new(InceptionScript::open(path, device)?));
    }
    Ok(Box::new(Inception::from_checkpoint(&checkpoint, device)?))
}
