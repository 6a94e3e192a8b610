//! A trained network as a denoiser.

use std::path::Path;

use tch::Tensor;

use super::{
    unet::{Placement, Unet},
    unet_config::{ConfigError, UnetConfig},
    weights::{Weights, WeightsError},
};
use crate::core::{At, Denoiser, Error, Result};

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
    /// It predicts something else than one value for each value of the image.
    #[error(
        "{name}: config.json has {out} output channels and {image} input channels; a network that \
         predicts more than eps (a variance, say) is not supported"
    )]
    Channels {
        /// The network.
        name: String,
        /// Channels of its output.
        out: i64,
        /// Channels of its input.
        image: i64,
    },
}

/// A UNet that predicts eps, with what a record of a run says about it.
#[derive(Debug)]
pub struct Network {
    unet: Unet,
    name: String,
    sha256: String,
    tensors: usize,
    parameters: usize,
}

impl Network {
    /// Opens a diffusers folder: `config.json` and `diffusion_pytorch_model.safetensors`.
    ///
    /// A saved pipeline keeps both in its `unet` folder, which is looked into as well.
    ///
    /// # Errors
    /// When a file is missing or broken, the configuration asks for something not supported, or
    /// weights and configuration do not fit each other.
    pub fn open(folder: &Path, placement: Placement) -> std::result::Result<Self, OpenError> {
        let inner = folder.join("unet");
        let pipeline = !folder.join("config.json").exists() && inner.join("config.json").exists();
        let folder = if pipeline { inner.as_path() } else { folder };
        let config = UnetConfig::read(&folder.join("config.json"))?;
        let weights = Weights::read_folder(folder)?;
        Self::new(&folder.display().to_string(), &config, &weights, placement)
    }

    /// Builds a network from its configuration and weights; `name` is for messages and records.
    ///
    /// # Errors
    /// When they do not fit each other, or the network does not predict eps alone.
    pub fn new(
        name: &str,
        config: &UnetConfig,
        weights: &Weights,
        placement: Placement,
    ) -> std::result::Result<Self, OpenError> {
        if config.out_channels != config.in_channels {
            return Err(OpenError::Channels {
                name: name.to_owned(),
                out: config.out_channels,
                image: config.in_channels,
            });
        }
        Ok(Self {
            unet: Unet::new(config, weights, placement)?,
            name: name.to_owned(),
            sha256: weights.sha256.clone(),
            tensors: weights.tensors.len(),
            parameters: weights.parameters(),
        })
    }

    /// The network itself.
    pub fn unet(&self) -> &Unet {
        &self.unet
    }

    /// The folder or the name that it was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Shape of the images it was made for, `[C, H, W]`; none if the configuration does not say.
    pub fn shape(&self) -> Option<[usize; 3]> {
        let config = self.unet.config();
        let side = usize::try_from(config.sample_size?).ok()?;
        Some([usize::try_from(config.in_channels).ok()?, side, side])
    }

    /// SHA-256 of the weights file.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The number of weight tensors.
    pub fn tensors(&self) -> usize {
        self.tensors
    }

    /// The number of parameters in them.
    pub fn parameters(&self) -> usize {
        self.parameters
    }
}

impl Denoiser for Network {
    type State = Tensor;

    /// Asks the network with one label for the whole batch.
    ///
    /// The clean end has label -1, which no network was trained on: it is asked with label 0.
    fn predict(&self, x: &Tensor, at: At) -> Result<Tensor> {
        let label = Tensor::f_from_slice(&[at.asked.t.max(0.0)]).map_err(Error::model)?;
        let kind = x.f_kind().map_err(Error::model)?;
        let eps = self.unet.forward(x, &label).map_err(Error::model)?;
        eps.f_to_kind(kind).map_err(Error::model)
    }
}
