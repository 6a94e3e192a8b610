//! The objective of each learner.

use crate::networks::placement::{Placement, Precision};
use crate::train::{
    classifier::ClassifierLoss, denoiser::DenoiserLoss, objective::Objective, settings::Learner,
};

/// The objective of a learner, on a device.
pub(crate) fn of(learner: &Learner, seed: u64, placement: Placement) -> Box<dyn Objective> {
    match learner {
        Learner::Denoiser(denoiser) => {
            Box::new(DenoiserLoss::new(denoiser.clone(), seed, placement))
        }
        Learner::Classifier(classifier) => {
            // Batch normalisation needs its statistics in f32, and the network is small.
            let placement = Placement { precision: Precision::F32, ..placement };
            Box::new(ClassifierLoss::new(classifier.clone(), placement))
        }
    }
}
