//! Why a network could not be opened.

use std::path::PathBuf;

use crate::networks::{
    architecture::Unrecognised, checkpoint::CheckpointError, compiled::CompiledError,
    placement::Precision, torchscript::ScriptError, unet_config::ConfigError,
    weights::WeightsError,
};

/// Why a network could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Its configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Its program.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// Its compiled package.
    #[error(transparent)]
    Compiled(#[from] CompiledError),
    /// The folder is no model.
    #[error(
        "{} holds no config.json and no diffusion_pytorch_model.safetensors; a model is a folder \
         with both, as diffusers' save_pretrained writes it, or a single file of weights",
        folder.display()
    )]
    NoModel {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds no weights.
    #[error(
        "{} holds no diffusion_pytorch_model.safetensors (or .bin) and no single file of weights by \
         another name; save the model in that format (diffusers' save_pretrained does), or name the \
         file that is meant",
        folder.display()
    )]
    NoWeights {
        /// The folder.
        folder: PathBuf,
    },
    /// The average of a checkpoint of diffusers' training scripts cannot be read.
    #[error("{} should be an average: {error}", folder.display())]
    AverageFolder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        error: Box<OpenError>,
    },
    /// The tensors of a file without a configuration are not those of a network known here.
    #[error("{}: {why}", path.display())]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// What stands in the way.
        why: Unrecognised,
    },
    /// It predicts something else than one or two values for each value of the image.
    #[error(
        "{name}: the network has {out} output channels and {image} input channels; supported: as many \
         (eps), or twice as many (eps, and the range of a learned variance)"
    )]
    Channels {
        /// The network.
        name: String,
        /// Channels of its output.
        out: i64,
        /// Channels of its input.
        image: i64,
    },
    /// Images of that shape do not go through it.
    #[error(
        "{name}: images of shape {shape:?} do not go through the network, which takes \
         [{channels}, H, W] with H and W multiples of {factor}"
    )]
    Shape {
        /// The network.
        name: String,
        /// The shape that was asked for.
        shape: [usize; 3],
        /// The channels that it takes.
        channels: i64,
        /// What the sides must be multiples of.
        factor: usize,
    },
    /// A program has its own precision.
    #[error("{name} is a TorchScript program, which has a precision of its own: ask for none")]
    Precision {
        /// The program.
        name: String,
    },
    /// A program has its own weights.
    #[error("{name} is {what}, which has one set of weights: do not ask for raw ones")]
    NoRaw {
        /// The program.
        name: String,
        /// What kind of program.
        what: &'static str,
    },
    /// A package was compiled for another precision.
    #[error("{name} was compiled for {}, not {}", own.name(), wanted.name())]
    CompiledPrecision {
        /// The package.
        name: String,
        /// What it computes in.
        own: Precision,
        /// What was asked for.
        wanted: Precision,
    },
    /// A package was compiled for images of another shape.
    #[error(
        "{name} was compiled for images of shape {own:?}, not {wanted:?}: leave the shape out, or compile \
         it again with that one"
    )]
    CompiledShape {
        /// The package.
        name: String,
        /// The shape that it takes.
        own: [usize; 3],
        /// The shape that was asked for.
        wanted: [usize; 3],
    },
}

impl From<CheckpointError> for OpenError {
    fn from(error: CheckpointError) -> Self {
        Self::Weights(error.into())
    }
}
