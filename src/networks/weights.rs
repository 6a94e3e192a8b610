//! Weights by name: one checked map of f32 tensors, whatever file they came from.
//!
//! A file is read by [`crate::networks::checkpoint`]; here its tensors get the names of diffusers' current
//! `UNet2DModel` and become f32. [`Weights::check`] then compares names and shapes with what a
//! network needs and reports every difference at once: a loader that ignores surplus tensors (as
//! `tch::nn::VarStore::load` does) accepts the wrong file silently.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use tch::{Kind, Tensor};

use crate::backends::torch::first_line;
use crate::networks::checkpoint::{
    Checkpoint, CheckpointError, StateDict, Which, kind_name, names::Translation,
};

/// Tensors by name, in f32 on the CPU, with the hash of the bytes that they came from.
#[derive(Debug)]
pub struct Weights {
    /// Name in diffusers' current convention, and value.
    pub tensors: BTreeMap<String, Tensor>,
    /// SHA-256 of the file, in lower-case hexadecimal digits.
    pub sha256: String,
    /// Where they came from, for messages.
    pub origin: PathBuf,
}

/// Why weights could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A tensor has an element type that weights do not come in.
    #[error(
        "{}: `{name}` has element type {found}; supported: F16, BF16, F32, F64, F8_E4M3, F8_E5M2",
        path.display()
    )]
    ElementType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its element type.
        found: String,
    },
    /// A number of the file is beyond F32.
    #[error("{}: `{name}` holds numbers beyond the range of F32", path.display())]
    Range {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// Two tensors of the file have the same name once translated.
    #[error("{}: `{first}` and `{second}` are the same tensor of the network", path.display())]
    Duplicate {
        /// The file.
        path: PathBuf,
        /// The name in diffusers' current convention.
        first: String,
        /// The other name in the file.
        second: String,
    },
    /// Names or shapes differ from those of the network.
    #[error(
        "{} does not fit the config.json beside it, and both must come from one model:{}",
        path.display(), differences.lines()
    )]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// What differs.
        differences: Differences,
    },
    /// LibTorch refused an operation.
    #[error("LibTorch: {}", first_line(.0))]
    Torch(#[from] tch::TchError),
}

/// How the tensors of a file differ from those that a network needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Needed, and not in the file.
    pub missing: Vec<String>,
    /// In the file, and not needed.
    pub extra: Vec<String>,
    /// In both with another shape: name, shape needed, shape found.
    pub misshapen: Vec<(String, Vec<i64>, Vec<i64>)>,
}

impl Differences {
    /// What has to change in the names and shapes that were found.
    pub fn between(
        needed: &BTreeMap<String, Vec<i64>>,
        found: &BTreeMap<String, Vec<i64>>,
    ) -> Self {
        let mut differences = Self::default();
        for (name, shape) in needed {
            match found.get(name) {
                None => differences.missing.push(name.clone()),
                Some(other) if other != shape => {
                    differences.misshapen.push((name.clone(), shape.clone(), other.clone()));
                }
                Some(_) => {}
            }
        }
        differences.extra =
            found.keys().filter(|&name| !needed.contains_key(name)).cloned().collect();
        differences
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.misshapen.is_empty()
    }

    /// The first difference and the number of the others, for files that differ everywhere; none where
    /// there is no difference.
    pub(crate) fn summary(&self) -> Option<String> {
        let missing = || self.missing.first().map(|name| format!("`{name}` is missing"));
        let misshapen = || {
            let (name, needed, found) = self.misshapen.first()?;
            Some(format!("`{name}` has shape {found:?}, needed {needed:?}"))
        };
        let extra = || self.extra.first().map(|name| format!("`{name}` is not known"));
        let first = missing().or_else(misshapen).or_else(extra)?;
        let count = self.missing.len() + self.misshapen.len() + self.extra.len();
        Some(match count - 1 {
            0 => first,
            1 => format!("{first} and 1 more difference"),
            more => format!("{first} and {more} more differences"),
        })
    }

    /// The prefix under which a missing tensor stands.
    fn elsewhere(&self, name: &str) -> Option<&str> {
        self.extra
            .iter()
            .find_map(|extra| extra.strip_suffix(name).filter(|prefix| prefix.ends_with('.')))
    }

    pub(crate) fn lines(&self) -> String {
        let missing = self.missing.iter().map(|name| match self.elsewhere(name) {
            Some(prefix) => format!("missing `{name}`, which stands under `{prefix}`"),
            None => format!("missing `{name}`"),
        });
        let extra = self.extra.iter().map(|name| format!("not known `{name}`"));
        let misshapen = self.misshapen.iter().map(|(name, needed, found)| {
            format!("`{name}` has shape {found:?}; needed: {needed:?}")
        });
        let lines: [Vec<String>; 3] = [missing.collect(), extra.collect(), misshapen.collect()];
        lines.iter().map(|lines| brief(lines)).collect()
    }
}

/// As many lines as help, and how many more there are.
fn brief(lines: &[String]) -> String {
    const MOST: usize = 12;
    let mut text = lines.iter().take(MOST).fold(String::new(), |text, line| text + "\n  " + line);
    if lines.len() > MOST {
        let _ = write!(text, "\n  ... and {} more like it", lines.len() - MOST);
    }
    text
}

impl Weights {
    /// Reads a file of any container.
    ///
    /// # Errors
    /// When it cannot be read or does not hold what is wanted, and as
    /// [`Weights::from_state_dict`].
    pub fn read(path: &Path, which: Which) -> Result<Self, WeightsError> {
        let checkpoint = Checkpoint::open(path)?;
        Self::from_state_dict(checkpoint.load(checkpoint.choose(which)?)?)
    }

    /// Parses the bytes of a safetensors file; `origin` is for messages only.
    ///
    /// # Errors
    /// When the bytes are no safetensors file, and as [`Weights::from_state_dict`].
    pub fn from_safetensors(bytes: &[u8], origin: &Path) -> Result<Self, WeightsError> {
        let checkpoint = Checkpoint::from_safetensors(bytes.to_owned(), origin)?;
        Self::from_state_dict(checkpoint.load(checkpoint.choose(Which::Ema)?)?)
    }

    /// Gives tensors diffusers' current names, and makes them f32.
    ///
    /// # Errors
    /// When one has a type that weights do not come in or numbers beyond F32, or two become the
    /// same tensor.
    pub fn from_state_dict(dict: StateDict) -> Result<Self, WeightsError> {
        let translation = Translation::of(dict.tensors.keys().map(String::as_str));
        let mut tensors = BTreeMap::new();
        for (name, tensor) in dict.tensors {
            let kind = tensor.f_kind()?;
            if !is_weight_type(kind) {
                return Err(WeightsError::ElementType {
                    path: dict.origin,
                    name,
                    found: kind_name(kind).to_owned(),
                });
            }
            let current = translation.name(&name);
            let (found, shape) = (tensor.size(), tensor.size());
            let shape = translation.shape(&current, &shape);
            let wide = tensor;
            let tensor = wide.f_to_kind(Kind::Float)?;
            let finite = |x: &Tensor| -> Result<bool, tch::TchError> {
                Ok(x.f_isfinite()?.f_all()?.int64_value(&[]) == 1)
            };
            if kind == Kind::Double && !finite(&tensor)? && finite(&wide)? {
                return Err(WeightsError::Range { path: dict.origin, name });
            }
            let tensor = if shape == found { tensor } else { tensor.f_reshape(shape)? };
            if tensors.insert(current.clone(), tensor).is_some() {
                return Err(WeightsError::Duplicate {
                    path: dict.origin,
                    first: current,
                    second: name,
                });
            }
        }
        Ok(Self { tensors, sha256: dict.sha256, origin: dict.origin })
    }

    /// The number of parameters in all tensors.
    pub fn parameters(&self) -> usize {
        self.tensors.values().map(Tensor::numel).sum()
    }

    /// Compares names and shapes with those that a network needs.
    pub fn differences(&self, needed: &BTreeMap<String, Vec<i64>>) -> Differences {
        let found = self.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.size()));
        Differences::between(needed, &found.collect())
    }

    /// Makes sure that exactly the tensors that a network needs are there.
    ///
    /// # Errors
    /// Lists every tensor that is missing, not known, or of another shape.
    pub fn check(&self, needed: &BTreeMap<String, Vec<i64>>) -> Result<(), WeightsError> {
        let differences = self.differences(needed);
        if differences.is_empty() {
            Ok(())
        } else {
            Err(WeightsError::Mismatch { path: self.origin.clone(), differences })
        }
    }
}

/// Whether weights are read from that element type.
pub(super) fn is_weight_type(kind: Kind) -> bool {
    use Kind::{BFloat16, Double, Float, Float8e4m3fn, Float8e5m2, Half};
    [Half, BFloat16, Float, Double, Float8e4m3fn, Float8e5m2].contains(&kind)
}
