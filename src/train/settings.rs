//! What a training is: everything that decides its weights, but not where they are kept.

use serde::{Serialize, Serializer};

use crate::{
    core::Schedule,
    networks::{placement::Precision, predicts::Predicts, unet_config::UnetConfig},
};

/// A training, whole.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Seed of the first weights, the order of the images, and every draw.
    pub seed: u64,
    /// Images of one step.
    pub batch: usize,
    /// When it ends.
    pub budget: Budget,
    /// What learns.
    pub learner: Learner,
    /// The number format inside the network; weights, moments and averages are f32 in either.
    pub precision: Precision,
    /// What is done to an image each time it is seen.
    pub augmentation: Augmentation,
    /// The optimiser.
    pub optimiser: Optimiser,
    /// Decay of the exponential moving average of the weights, at most; 0 keeps the weights
    /// themselves.
    pub ema: f64,
}

/// When a training ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Budget {
    /// After this many images, an image counted each time it is seen.
    Images(u64),
    /// After about this many minutes: the speed of the first of them turns the time into a number of
    /// images, which is kept, so that everything is a function of images again.
    Minutes(f64),
}

/// What learns.
#[allow(clippy::large_enum_variant, reason = "a training has one")]
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Learner {
    /// The network of a diffusion model.
    Denoiser(Denoiser),
    /// A classifier, whose features are used for distances.
    Classifier(Classifier),
}

/// A network of a diffusion model, and what it is asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Denoiser {
    /// The architecture.
    pub network: UnetConfig,
    /// The probability that a value inside a residual block is dropped.
    pub dropout: f64,
    /// The noise schedule, whose timesteps are drawn.
    #[serde(serialize_with = "levels")]
    pub schedule: Schedule,
    /// What is predicted.
    pub target: Predicts,
    /// The loss at a timestep is weighted by $\min(1 / \bar\alpha, \text{cap})$: 1 is $L_\text{simple}$,
    /// a few units steady a short training at high noise. Only for eps.
    pub weight_cap: f64,
    /// What is minimised; absent from the JSON if it is the squared error, so that older checkpoints are
    /// still continued.
    #[serde(skip_serializing_if = "DenoiserLossKind::is_simple")]
    pub loss: DenoiserLossKind,
    /// Whether timesteps are drawn where the loss is large, and not uniformly.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub importance: bool,
}

/// What a denoiser minimises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DenoiserLossKind {
    /// The squared error of the prediction.
    #[default]
    Simple,
    /// That plus this times T times a term of the variational bound, in bits per dimension, which moves
    /// the variance and not the mean (Nichol, Dhariwal 2021, Eq. 16).
    Hybrid(f64),
    /// T times a term of the variational bound, which moves both.
    Vlb,
}

impl DenoiserLossKind {
    /// Whether it is the squared error alone.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    fn is_simple(&self) -> bool {
        *self == Self::Simple
    }

    /// Whether the network learns the range of a variance, in as many output channels again.
    pub fn learns_range(self) -> bool {
        self != Self::Simple
    }
}

/// A CIFAR residual network (He et al. 2016, section 4.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Classifier {
    /// Its layers, 6 n + 2.
    pub depth: usize,
    /// Channels of its stages.
    pub widths: Vec<i64>,
    /// The number of classes.
    pub classes: i64,
}

/// What is done to an image each time it is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Augmentation {
    /// Mirrored left to right with probability 1/2.
    pub flip: bool,
    /// Moved by up to this many pixels along each axis; zeros move in.
    pub shift: usize,
}

/// Adam (Kingma, Ba 2015) with decoupled weight decay (Loshchilov, Hutter 2019), and its rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Optimiser {
    /// The rate between warm-up and decay.
    pub rate: f64,
    /// Images over which the rate rises from 0, linearly.
    pub warmup: u64,
    /// The last part of the budget, over which the rate falls along half a cosine.
    pub decay: f64,
    /// What the rate falls to, as a part of itself.
    pub floor: f64,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the root of the mean square.
    pub epsilon: f64,
    /// Weights of two axes and more shrink by this times the rate in each step.
    pub weight_decay: f64,
    /// The largest norm of a step's gradient; a larger one is scaled down to it.
    pub clip: f64,
}

/// A schedule as its values of alpha_bar: what is learned depends on nothing else of it.
fn levels<S: Serializer>(schedule: &Schedule, serializer: S) -> Result<S::Ok, S::Error> {
    let levels = (0..schedule.horizon()).map_while(|t| schedule.level(t as f64).ok());
    serializer.collect_seq(levels.map(|level| level.alpha_bar))
}

impl Default for Optimiser {
    fn default() -> Self {
        Self {
            rate: 2e-4,
            warmup: 0,
            decay: 0.0,
            floor: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            clip: 1.0,
        }
    }
}

impl Optimiser {
    /// The rate of the step that ends with image `seen`, of a training of `budget` images.
    ///
    /// $r(s) = r\,\min(1, s / w)\,(f + (1 - f)\tfrac12(1 + \cos\pi u))$ where u goes from 0 to 1 over the
    /// last `decay` of the budget.
    pub fn rate(&self, seen: u64, budget: u64) -> f64 {
        let seen = seen as f64;
        let rise = if self.warmup == 0 { 1.0 } else { (seen / self.warmup as f64).min(1.0) };
        let part = seen / budget as f64;
        let fall = if self.decay > 0.0 {
            ((part - (1.0 - self.decay)) / self.decay).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * fall).cos());
        self.rate * rise * (self.floor + (1.0 - self.floor) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_stays_and_falls() {
        let optimiser =
            Optimiser { rate: 2.0, warmup: 100, decay: 0.4, floor: 0.1, ..Optimiser::default() };
        let rate = |seen| optimiser.rate(seen, 1000);
        let expected = [(50, 1.0), (100, 2.0), (600, 2.0), (800, 1.1), (1000, 0.2)];
        for (seen, expected) in expected {
            assert!((rate(seen) - expected).abs() < 1e-12, "{} at {seen}", rate(seen));
        }
        // While the budget is not known, nothing falls.
        assert!((optimiser.rate(5000, u64::MAX) - 2.0).abs() < 1e-12);
    }
}
