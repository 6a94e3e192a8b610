//! The Inception network as a TorchScript file, as the StyleGAN and EDM authors publish it.
//!
//! `inception-2015-12-05.pt` is one file of weights and code: `forward(images, return_features)`
//! takes bytes in [0, 255], resizes them as the TensorFlow graph did, and returns the 2048
//! features. It runs the code that is in the file: open none that you would not run.

use std::path::Path;

use tch::{CModule, Device, IValue, Kind, Tensor};

use crate::backends::torch::first_line;
use crate::data::file;
use crate::data::sha256;
use crate::networks::features::{FeatureError, FeatureExtractor, check_colour};

/// A TorchScript module that computes features.
#[derive(Debug)]
pub struct InceptionScript {
    sha256: String,
    device: Device,
    module: CModule,
    dim: usize,
}

const ID: &str = "inception-torchscript";

impl InceptionScript {
    /// Loads a module and asks it for the features of one black image.
    ///
    /// # Errors
    /// A file that is no TorchScript module, or one that does not return `[N, D]` for
    /// `forward(images, true)`.
    pub fn open(path: &Path, device: Device) -> Result<Self, FeatureError> {
        let bytes = file::read(path)
            .map_err(|source| FeatureError::Read { path: path.to_owned(), source })?;
        let refuse = |problem: String| FeatureError::Network { path: path.to_owned(), problem };
        let mut module = CModule::load_data_on_device(&mut bytes.as_slice(), device)
            .map_err(|error| refuse(format!("is no TorchScript file: {}", first_line(&error))))?;
        module.f_set_eval()?;
        let mut script = Self { sha256: sha256(&bytes), device, module, dim: 0 };
        let black = Tensor::f_zeros([1, 3, 32, 32], (Kind::Uint8, device))?;
        let size = script.run(&black).map(|features| features.size()).map_err(|error| {
            refuse(format!(
                "does not take forward(images, return_features) as inception-2015-12-05.pt does: {}",
                first_line(&error)
            ))
        })?;
        script.dim = match size.as_slice() {
            &[1, dim] => usize::try_from(dim).unwrap_or(0),
            _ => return Err(refuse(format!("gives features of shape {size:?} instead of [N, D]"))),
        };
        Ok(script)
    }

    fn run(&self, images: &Tensor) -> Result<Tensor, tch::TchError> {
        let arguments = [IValue::Tensor(images.f_to_device(self.device)?), IValue::Bool(true)];
        match tch::no_grad(|| self.module.forward_is(&arguments))? {
            IValue::Tensor(features) => features.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu),
            other => Err(tch::TchError::Convert(format!("it returns {other:?}, not a tensor"))),
        }
    }
}

impl FeatureExtractor for InceptionScript {
    fn id(&self) -> &'static str {
        ID
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Values that were rounded to bytes go in as bytes, others as floats in [0, 255].
    fn features(&self, images: &Tensor) -> Result<Tensor, FeatureError> {
        check_colour(images, ID)?;
        let scaled = images.f_mul_scalar(255.0)?;
        let bytes = scaled.f_round()?;
        let off = scaled.f_sub(&bytes)?.f_abs()?.f_max()?.f_double_value(&[])?;
        let scaled = if off < 1e-3 { bytes.f_to_kind(Kind::Uint8)? } else { scaled };
        Ok(self.run(&scaled)?)
    }
}
