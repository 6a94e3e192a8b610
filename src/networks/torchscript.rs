//! Networks saved as TorchScript programs: `forward(x, t) -> eps`.
//!
//! Any architecture can be measured so, without a line for it here. The program takes images
//! `[N, C, H, W]` and one timestep for each, `[N]`, and returns what it predicts in the shape of the
//! images; or with twice their channels, the second half being the range of a learned variance.
//! Images and timesteps are real numbers of the type of its parameters, f32 where it has none; one
//! that fails on real timesteps is asked with integers, as an embedding needs them. It is a program:
//! what it does beside that is up to who wrote it.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use tch::{CModule, Device, Kind, TchError, Tensor};

use crate::{backends::torch::first_line, core::out_of_memory};

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
    /// LibTorch refused an operation around it.
    #[error("LibTorch: {}", first_line(.0))]
    Torch(#[from] TchError),
    /// It failed on real and on integer timesteps.
    #[error(
        "the program `forward(x, t)` failed on {} images and timesteps: {real}; and on integer timesteps: \
         {whole}",
        crate::networks::checkpoint::kind_name(*kind)
    )]
    Run {
        /// The type of the images and of real timesteps.
        kind: Kind,
        /// What LibTorch said to real timesteps.
        real: String,
        /// What LibTorch said to integers.
        whole: String,
    },
    /// It takes integers, and the timestep is not one.
    #[error("the program takes integer timesteps, and this grid asks at t = {t}")]
    Timestep {
        /// The timestep.
        t: f64,
    },
    /// It returned something other than a prediction.
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
    /// The type of its parameters.
    kind: Kind,
    /// The type of the timesteps that it took first.
    timesteps: OnceLock<Kind>,
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
            let parameters = module.named_parameters()?;
            let real = [Kind::Float, Kind::Half, Kind::BFloat16, Kind::Double];
            let kinds = parameters.iter().filter(|(_, value)| value.numel() > 0);
            // Where they differ, the program casts for itself.
            let mut kinds = kinds.map(|(_, value)| value.kind()).filter(|kind| real.contains(kind));
            let kind = match kinds.next() {
                Some(first) if kinds.all(|kind| kind == first) => first,
                _ => Kind::Float,
            };
            Ok((module, kind))
        };
        let failed = |error: TchError| ScriptError::Load {
            path: path.to_owned(),
            message: first_line(&error),
        };
        let (module, kind) = load().map_err(failed)?;
        Ok(Self { module, device, kind, timesteps: OnceLock::new() })
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
    /// - Shape: images `[N, C, H, W]`; t `[N]`, or `[1]` for one that all images share;
    ///   result as the images, or with twice their channels.
    /// - Units: t is the 0-based timestep; the result is f32.
    ///
    /// # Errors
    /// When the program fails or returns another shape, and for a timestep between integers if it
    /// takes integers.
    pub fn forward(&self, images: &Tensor, t: &Tensor) -> Result<Tensor, ScriptError> {
        let expected = images.size();
        let out = tch::no_grad(|| self.ask(images, t))?;
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

    fn ask(&self, images: &Tensor, t: &Tensor) -> Result<Tensor, ScriptError> {
        let n = images.size().first().copied().unwrap_or(0);
        let images = images.f_to_device(self.device)?.f_to_kind(self.kind)?.f_contiguous()?;
        let with = |kind: Kind| -> Result<Tensor, TchError> {
            let t = t.f_to_device(self.device)?.f_to_kind(kind)?;
            let t = t.f_expand([n], false)?.f_contiguous()?;
            self.module.forward_ts(&[images.shallow_clone(), t])?.f_to_kind(Kind::Float)
        };
        let real = if self.timesteps.get() == Some(&Kind::Int64) {
            None
        } else {
            match with(self.kind) {
                Ok(out) => {
                    self.timesteps.get_or_init(|| self.kind);
                    return Ok(out);
                }
                // Integers would not fit either, and the reason would be lost.
                Err(error) if out_of_memory(&error).is_some() => return Err(error.into()),
                Err(error) => Some(reason(&error)),
            }
        };
        whole(t)?;
        match with(Kind::Int64) {
            Ok(out) => {
                self.timesteps.get_or_init(|| Kind::Int64);
                Ok(out)
            }
            Err(error) if out_of_memory(&error).is_some() => Err(error.into()),
            Err(error) => {
                let whole = reason(&error);
                let real = real.unwrap_or_else(|| "not asked".to_owned());
                Err(ScriptError::Run { kind: self.kind, real, whole })
            }
        }
    }
}

/// Labels between integers would be cut off without a word.
fn whole(t: &Tensor) -> Result<(), ScriptError> {
    let timesteps: Vec<f64> = Vec::try_from(&t.f_to_kind(Kind::Double)?.f_view([-1])?)?;
    match timesteps.into_iter().find(|t| t.fract().abs() > 0.0) {
        Some(t) => Err(ScriptError::Timestep { t }),
        None => Ok(()),
    }
}

/// What went wrong, as LibTorch says it behind the places in the program where it did.
fn reason(error: &TchError) -> String {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let said = lines.clone().find(|line| line.starts_with("RuntimeError: "));
    said.or_else(|| lines.next())
        .unwrap_or_default()
        .trim_start_matches("RuntimeError: ")
        .to_owned()
}
