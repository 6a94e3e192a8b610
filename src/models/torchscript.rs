//! Networks saved as TorchScript programs: `forward(x, t) -> eps`.
//!
//! Any architecture can be measured so, without a line for it here. The program takes images
//! `[N, C, H, W]` and one label for each, `[N]`, both f32, and returns what it predicts in the
//! shape of the images; or with twice their channels, the second half being the range of a learned
//! variance. It is a program: what it does beside that is up to who wrote it.

use std::path::{Path, PathBuf};

use tch::{CModule, Device, Kind, Tensor};

use super::weights::first_line;

/// Why a program could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// LibTorch cannot load it.
    #[error(
        "{}: LibTorch cannot load the program: {message}; save it with `torch.jit.save` of a \
         PyTorch near 2.11",
        path.display()
    )]
    Load {
        /// The file.
        path: PathBuf,
        /// What LibTorch said.
        message: String,
    },
    /// It failed.
    #[error("the program failed: {}; it must have `forward(x, t)`", first_line(.0))]
    Run(#[from] tch::TchError),
    /// It returned something else than asked for.
    #[error("the program returned shape {found:?} for images of shape {expected:?}")]
    Output {
        /// The shape returned.
        found: Vec<i64>,
        /// The shape of the images.
        expected: Vec<i64>,
    },
}

/// A program, ready to run.
#[derive(Debug)]
pub struct Script {
    module: CModule,
    device: Device,
}

impl Script {
    /// Loads a program onto a device and switches it to evaluation.
    ///
    /// # Errors
    /// A file that LibTorch cannot load as one.
    pub fn open(path: &Path, device: Device) -> Result<Self, ScriptError> {
        let load = || {
            let mut module = CModule::load_on_device(path, device)?;
            module.f_set_eval()?;
            Ok(module)
        };
        let failed = |error: tch::TchError| ScriptError::Load {
            path: path.to_owned(),
            message: first_line(&error),
        };
        Ok(Self { module: load().map_err(failed)?, device })
    }

    /// Its parameters: name, shape and element type.
    ///
    /// # Errors
    /// When LibTorch refuses.
    pub fn parameters(&self) -> Result<Vec<(String, Vec<i64>, Kind)>, ScriptError> {
        let named = self.module.named_parameters()?;
        Ok(named.into_iter().map(|(name, value)| (name, value.size(), value.kind())).collect())
    }

    /// Runs the program without keeping track of gradients.
    ///
    /// - Shape: images `[N, C, H, W]`; labels `[N]`, or `[1]` for one that all images share;
    ///   result as the images, or with twice their channels.
    /// - Units: labels are the 0-based t, real numbers; images and result are f32.
    ///
    /// # Errors
    /// When the program fails or returns another shape.
    pub fn forward(&self, images: &Tensor, labels: &Tensor) -> Result<Tensor, ScriptError> {
        let expected = images.size();
        let n = expected.first().copied().unwrap_or(0);
        let out = tch::no_grad(|| {
            let images = images.f_to_device(self.device)?.f_to_kind(Kind::Float)?;
            let labels = labels.f_to_device(self.device)?.f_to_kind(Kind::Float)?;
            let labels = labels.f_expand([n], false)?.f_contiguous()?;
            self.module.forward_ts(&[images.f_contiguous()?, labels])?.f_to_kind(Kind::Float)
        })?;
        let found = out.size();
        let mut with_range = expected.clone();
        if let Some(channels) = with_range.get_mut(1) {
            *channels *= 2;
        }
        if found == expected || found == with_range {
            Ok(out)
        } else {
            Err(ScriptError::Output { found, expected })
        }
    }
}
