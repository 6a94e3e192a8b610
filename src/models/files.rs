//! Which files a model is made of.

use std::path::{Path, PathBuf};

use super::{network::OpenError, unet_config::UnetConfig};

/// What diffusers calls a network's configuration.
pub const CONFIG: &str = "config.json";

/// What diffusers calls the weights, the first before the others.
pub const WEIGHTS: [&str; 3] = [
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.fp16.safetensors",
];

/// Where a saved pipeline keeps its network.
pub const NETWORK_FOLDER: &str = "unet";

/// A file of weights, and the configuration beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFiles {
    /// `config.json`; a folder has one, a single file may.
    pub config: Option<PathBuf>,
    /// The weights, of any container.
    pub weights: PathBuf,
}

impl ModelFiles {
    /// The files of a folder that diffusers saved (a network or a pipeline), or a single file.
    ///
    /// # Errors
    /// A folder without weights, and a path where nothing is.
    pub fn find(path: &Path) -> Result<Self, OpenError> {
        if !path.is_dir() {
            let folder = path.parent().unwrap_or(Path::new(""));
            let config = Some(folder.join(CONFIG)).filter(|config| config.is_file());
            return Ok(Self { config, weights: path.to_owned() });
        }
        let inner = path.join(NETWORK_FOLDER);
        let pipeline = !path.join(CONFIG).exists() && inner.join(CONFIG).exists();
        let folder = if pipeline { inner } else { path.to_owned() };
        let file = WEIGHTS.iter().map(|name| folder.join(name)).find(|file| file.is_file());
        // Its configuration is what makes a folder a model: what is wrong with it is said first.
        let config = folder.join(CONFIG);
        match file {
            Some(weights) => Ok(Self { config: Some(config), weights }),
            None if config.exists() => {
                UnetConfig::read(&config)?;
                Err(OpenError::NoWeights { folder })
            }
            None => Err(OpenError::NoModel { folder }),
        }
    }
}
