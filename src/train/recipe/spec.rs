//! A training as its manifest has it.

use std::path::PathBuf;

use crate::{
    core::Schedule,
    data::{Fit, Request, Resize, Split},
    diagnostic::Place,
    error::Result,
    manifest::overlay::Table,
    networks::{home, placement::Precision, predicts::Predicts, unet_config::UnetConfig},
    plan::ScheduleSpec,
    train::settings::{Augmentation, Budget, DenoiserLossKind, Optimiser},
};

/// A training, as its manifest has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Name of the training.
    pub name: String,
    /// The profile laid over the base, if any.
    pub profile: Option<String>,
    /// Seed of the first weights, the order of the images, and every draw.
    pub seed: u64,
    /// Images of one step.
    pub batch: usize,
    /// The number format inside the network.
    pub precision: Precision,
    /// `[data]`: which images.
    pub data: DataSpec,
    /// `[data]`: what is done to an image each time it is seen.
    pub augmentation: Augmentation,
    /// What learns.
    pub learner: LearnerSpec,
    /// `[optimiser]`.
    pub optimiser: Optimiser,
    /// Decay of the moving average of the weights; 0 keeps the weights themselves.
    pub ema: f64,
    /// `[budget]`.
    pub budget: Budget,
    /// `[watch]`.
    pub watch: WatchSpec,
    /// The manifest that gives this recipe without a profile or arguments.
    pub(crate) text: String,
    /// The manifest with the profile and the arguments laid over it.
    pub(crate) tree: Table,
    /// The manifest as a whole, for what is written nowhere.
    pub(crate) whole: Place,
}

/// `[data]`: which images are learned from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSpec {
    /// The name of a known set, or a path.
    pub source: String,
    /// The split; none is `train` where there are splits.
    pub split: Option<Split>,
    /// A list of images that are left out (CIFAR-10).
    pub exclude: Option<PathBuf>,
    /// What is done about the size of the images.
    pub resize: Resize,
    /// Whether grey images get three equal channels.
    pub rgb: bool,
}

/// What learns, as far as the manifest says it.
#[derive(Clone, Debug, PartialEq)]
pub enum LearnerSpec {
    /// `task = "denoiser"`.
    Denoiser(DenoiserSpec),
    /// `task = "classifier"`.
    Classifier(ClassifierSpec),
}

/// The network of a diffusion model, and what it is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct DenoiserSpec {
    /// `[network]`.
    pub network: NetworkSpec,
    /// `[schedule]`.
    pub schedule: ScheduleSpec,
    /// `loss.target`: what is predicted.
    pub target: Predicts,
    /// `loss.weight_cap`: the cap of $\min(1 / \bar\alpha, \text{cap})$.
    pub weight_cap: f64,
    /// `loss.kind`, and `loss.vlb_weight`: what is minimised.
    pub loss: DenoiserLossKind,
    /// `loss.timesteps`: whether they are drawn where the loss is large.
    pub importance: bool,
}

/// `[network]` of a denoiser.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkSpec {
    /// Widths by level, full resolution first; empty where `start` gives the architecture.
    pub channels: Vec<i64>,
    /// Residual blocks of each level on the way down.
    pub layers: usize,
    /// Levels with self-attention, 0 the full resolution.
    pub attention: Vec<usize>,
    /// Groups of every group normalisation.
    pub groups: i64,
    /// The probability that a value inside a residual block is dropped.
    pub dropout: f64,
    /// The folder of the first weights, and then of the architecture.
    pub start: Option<PathBuf>,
    /// Whether that network gets as many output channels again, for the range of a variance.
    pub widen: bool,
}

/// `[network]` of a classifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassifierSpec {
    /// Its layers, 6 n + 2.
    pub depth: usize,
    /// Channels of its stages.
    pub widths: Vec<i64>,
}

/// `[watch]`: what is kept and looked at on the way.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchSpec {
    /// Images of one row of `loss.csv`.
    pub log: u64,
    /// Seconds between checkpoints.
    pub checkpoint: f64,
    /// Images between grids of samples, and their distances; none is only at the end.
    pub every: Option<u64>,
    /// Images of a grid of samples.
    pub samples: usize,
    /// DDIM steps of these samples.
    pub steps: usize,
    /// The Fréchet distance of samples, if it is measured.
    pub distance: Option<DistanceSpec>,
}

/// The Fréchet distance that a training is watched by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistanceSpec {
    /// The folder or file of the feature network.
    pub features: String,
    /// The reference statistics in its features.
    pub reference: String,
    /// The number of samples N.
    pub samples: usize,
}

impl Recipe {
    /// The manifest that gives this recipe without a profile or arguments.
    pub fn to_toml(&self) -> &str {
        &self.text
    }

    /// Where the value at a dotted path was written; a default has the place of its section, or of
    /// the manifest as a whole.
    pub fn locate(&self, path: &str) -> Place {
        self.tree.locate(path, &self.whole)
    }

    /// What is trained and for how long: `a denoiser for 400000 images`.
    pub fn aim(&self) -> String {
        let learner = match &self.learner {
            LearnerSpec::Denoiser(_) => "denoiser",
            LearnerSpec::Classifier(_) => "classifier",
        };
        match self.budget {
            Budget::Images(images) => format!("a {learner} for {images} images"),
            Budget::Minutes(minutes) => format!("a {learner} for {minutes} minutes"),
        }
    }
}

impl DataSpec {
    /// What is to be read, at most `limit` images.
    pub fn request(&self, limit: Option<usize>, download: bool) -> Request<'_> {
        Request {
            data: &self.source,
            split: self.split,
            default_split: Split::Train,
            exclude: self.exclude.as_deref(),
            limit,
            fit: Fit { resize: self.resize, filter: None, rgb: self.rgb },
            value_range: None,
            download,
        }
    }
}

impl DenoiserSpec {
    /// The schedule whose timesteps are drawn.
    ///
    /// # Errors
    /// Betas outside (0, 1), or fewer than two timesteps.
    pub fn schedule(&self) -> Result<Schedule> {
        Ok(self.schedule.build()?)
    }
}

impl NetworkSpec {
    /// Where [`NetworkSpec::start`] is on this machine.
    pub fn start_folder(&self) -> Option<PathBuf> {
        let start = self.start.as_ref()?;
        Some(start.to_str().map_or_else(|| start.clone(), home::locate))
    }

    /// The architecture for images of these channels and this side, with the conventions of the DDPM
    /// checkpoints; where [`NetworkSpec::start`] is given, that folder's `config.json` has it instead. With
    /// `ranged` it makes as many channels again, for the range of a variance.
    pub fn config(&self, channels_of_images: usize, side: usize, ranged: bool) -> UnetConfig {
        let signed = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
        let attends: Vec<bool> =
            (0..self.channels.len()).map(|level| self.attention.contains(&level)).collect();
        UnetConfig {
            sample_size: Some(signed(side)),
            in_channels: signed(channels_of_images),
            out_channels: signed(if ranged { 2 } else { 1 } * channels_of_images),
            block_out_channels: self.channels.clone(),
            layers_per_block: self.layers,
            up_attention: attends.iter().rev().copied().collect(),
            down_attention: attends,
            attention_head_dim: None,
            norm_num_groups: self.groups,
            norm_eps: 1e-6,
            time_embedding_dim: None,
            flip_sin_to_cos: false,
            freq_shift: 1.0,
            downsample_padding: 0,
        }
    }
}
