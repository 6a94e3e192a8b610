//! Weights by name: containers in, one checked map of f32 tensors out.
//!
//! A container is read by one function that returns [`Weights`]: tensors under the names of
//! diffusers' current `UNet2DModel` (`to_q`, `to_out.0`), whatever the file calls them. The
//! checkpoints of the DDPM and DDIM authors name the same tensors differently;
//! [`diffusers_name`] and [`official_name`] translate. [`Weights::check`] then compares names and
//! shapes with what the network needs and reports every difference at once: a loader that
//! ignores surplus tensors (as `tch::nn::VarStore::load` does) accepts the wrong file silently.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};

/// The name of the weights file in a diffusers folder.
pub const SAFETENSORS: &str = "diffusion_pytorch_model.safetensors";

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
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder holds no weights in a format that is read.
    #[error(
        "{} holds no {expected}; save the model in that format (diffusers' save_pretrained does)",
        folder.display()
    )]
    NoWeights {
        /// The folder.
        folder: PathBuf,
        /// The file that was looked for.
        expected: &'static str,
    },
    /// The file is not what its name says.
    #[error("{} is truncated or no safetensors file: {message}; fetch it again", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        message: String,
    },
    /// A tensor has an element type that weights do not come in.
    #[error("{}: `{name}` has element type {found}; supported: F16, BF16, F32", path.display())]
    ElementType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its element type.
        found: String,
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
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.misshapen.is_empty()
    }

    fn lines(&self) -> String {
        let missing = self.missing.iter().map(|name| format!("\n  missing `{name}`"));
        let extra = self.extra.iter().map(|name| format!("\n  not known `{name}`"));
        let misshapen = self.misshapen.iter().map(|(name, needed, found)| {
            format!("\n  `{name}` has shape {found:?}; needed: {needed:?}")
        });
        missing.chain(extra).chain(misshapen).collect()
    }
}

impl Weights {
    /// Reads the weights of a diffusers folder.
    ///
    /// # Errors
    /// When the folder has no `diffusion_pytorch_model.safetensors`, and as
    /// [`Weights::from_safetensors`].
    pub fn read_folder(folder: &Path) -> Result<Self, WeightsError> {
        let path = folder.join(SAFETENSORS);
        if !path.is_file() {
            return Err(WeightsError::NoWeights {
                folder: folder.to_owned(),
                expected: SAFETENSORS,
            });
        }
        Self::read_safetensors(&path)
    }

    /// Reads a safetensors file.
    ///
    /// # Errors
    /// When it cannot be read, and as [`Weights::from_safetensors`].
    pub fn read_safetensors(path: &Path) -> Result<Self, WeightsError> {
        let bytes = std::fs::read(path)
            .map_err(|source| WeightsError::Read { path: path.to_owned(), source })?;
        Self::from_safetensors(&bytes, path)
    }

    /// Parses the bytes of a safetensors file; `origin` is for messages only.
    ///
    /// # Errors
    /// When the bytes are no safetensors file, hold a type other than F16, BF16 and F32, or the
    /// same tensor under two names.
    pub fn from_safetensors(bytes: &[u8], origin: &Path) -> Result<Self, WeightsError> {
        let format = |error: safetensors::SafeTensorError| WeightsError::Format {
            path: origin.to_owned(),
            message: if bytes.starts_with(b"version https://git-lfs") {
                "it is Git LFS's pointer to the file".to_owned()
            } else {
                error.to_string()
            },
        };
        let file = SafeTensors::deserialize(bytes).map_err(format)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter() {
            let kind = match view.dtype() {
                Dtype::F16 => Kind::Half,
                Dtype::BF16 => Kind::BFloat16,
                Dtype::F32 => Kind::Float,
                other => {
                    return Err(WeightsError::ElementType {
                        path: origin.to_owned(),
                        name: name.to_owned(),
                        found: format!("{other:?}"),
                    });
                }
            };
            let shape: Vec<i64> = view.shape().iter().map(|&side| signed(side)).collect();
            let tensor = Tensor::f_from_data_size(view.data(), &shape, kind)?;
            let current = current_name(name);
            if tensors.insert(current.clone(), tensor.f_to_kind(Kind::Float)?).is_some() {
                return Err(WeightsError::Duplicate {
                    path: origin.to_owned(),
                    first: current,
                    second: name.to_owned(),
                });
            }
        }
        Ok(Self { tensors, sha256: sha256(bytes), origin: origin.to_owned() })
    }

    /// The number of parameters in all tensors.
    pub fn parameters(&self) -> usize {
        self.tensors.values().map(Tensor::numel).sum()
    }

    /// Compares names and shapes with those that a network needs.
    pub fn differences(&self, needed: &BTreeMap<String, Vec<i64>>) -> Differences {
        let mut differences = Differences::default();
        for (name, shape) in needed {
            match self.tensors.get(name) {
                None => differences.missing.push(name.clone()),
                Some(tensor) if tensor.size() != *shape => {
                    differences.misshapen.push((name.clone(), shape.clone(), tensor.size()));
                }
                Some(_) => {}
            }
        }
        differences.extra =
            self.tensors.keys().filter(|&name| !needed.contains_key(name)).cloned().collect();
        differences
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

/// What LibTorch said, without the C++ stack that follows.
pub(crate) fn first_line(error: &tch::TchError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn signed(side: usize) -> i64 {
    i64::try_from(side).expect("invariant: a tensor in memory has sides below 2^63")
}

/// SHA-256 in lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The current diffusers name of a tensor that may carry one of its earlier names.
///
/// Attention layers were called `query`, `key`, `value` and `proj_attn` in earlier releases.
pub fn current_name(name: &str) -> String {
    let Some((layer, leaf)) = name.rsplit_once('.') else { return name.to_owned() };
    let Some((block, part)) = layer.rsplit_once('.') else { return name.to_owned() };
    if !block.contains("attentions.") {
        return name.to_owned();
    }
    let part = match part {
        "query" => "to_q",
        "key" => "to_k",
        "value" => "to_v",
        "proj_attn" => "to_out.0",
        _ => return name.to_owned(),
    };
    format!("{block}.{part}.{leaf}")
}

/// Parts of a residual or attention block: official name, diffusers name.
const PARTS: [(&str, &str); 11] = [
    ("norm1", "norm1"),
    ("conv1", "conv1"),
    ("norm2", "norm2"),
    ("conv2", "conv2"),
    ("temb_proj", "time_emb_proj"),
    ("nin_shortcut", "conv_shortcut"),
    ("norm", "group_norm"),
    ("q", "to_q"),
    ("k", "to_k"),
    ("v", "to_v"),
    ("proj_out", "to_out.0"),
];

/// Layers outside the levels: official name, diffusers name.
const OUTSIDE: [(&str, &str); 5] = [
    ("temb.dense.0", "time_embedding.linear_1"),
    ("temb.dense.1", "time_embedding.linear_2"),
    ("conv_in", "conv_in"),
    ("norm_out", "conv_norm_out"),
    ("conv_out", "conv_out"),
];

/// Blocks of the middle: official name, diffusers name.
const MIDDLE: [(&str, &str); 3] =
    [("block_1", "resnets.0"), ("block_2", "resnets.1"), ("attn_1", "attentions.0")];

fn second(pairs: &[(&'static str, &'static str)], first: &str) -> Option<&'static str> {
    pairs.iter().find(|pair| pair.0 == first).map(|pair| pair.1)
}

fn first(pairs: &[(&'static str, &'static str)], second: &str) -> Option<&'static str> {
    pairs.iter().find(|pair| pair.1 == second).map(|pair| pair.0)
}

/// The diffusers name of a tensor of the DDPM and DDIM authors' checkpoints.
///
/// `levels` is the number of resolutions: the official code counts the way up from the full
/// resolution, diffusers from the lowest. `None` for a name that neither code has. The
/// attention weights are 1x1 convolutions `[c, c, 1, 1]` there and `[c, c]` here.
///
/// # References
/// The `Model` class of `ermongroup/ddim` (the same modules as `pesser/pytorch_diffusion`), and
/// diffusers' `scripts/convert_ddpm_original_checkpoint_to_diffusers.py`.
pub fn diffusers_name(official: &str, levels: usize) -> Option<String> {
    let (layer, leaf) = official.rsplit_once('.')?;
    if let Some(outside) = second(&OUTSIDE, layer) {
        return Some(format!("{outside}.{leaf}"));
    }
    let segments: Vec<&str> = layer.split('.').collect();
    let flipped = |level: &str| levels.checked_sub(1 + level.parse::<usize>().ok()?);
    let layer = match segments[..] {
        ["mid", block, part] => {
            format!("mid_block.{}.{}", second(&MIDDLE, block)?, second(&PARTS, part)?)
        }
        ["down", l, "block", b, part] => {
            format!("down_blocks.{l}.resnets.{b}.{}", second(&PARTS, part)?)
        }
        ["down", l, "attn", b, part] => {
            format!("down_blocks.{l}.attentions.{b}.{}", second(&PARTS, part)?)
        }
        ["down", l, "downsample", "conv"] => format!("down_blocks.{l}.downsamplers.0.conv"),
        ["up", l, "block", b, part] => {
            format!("up_blocks.{}.resnets.{b}.{}", flipped(l)?, second(&PARTS, part)?)
        }
        ["up", l, "attn", b, part] => {
            format!("up_blocks.{}.attentions.{b}.{}", flipped(l)?, second(&PARTS, part)?)
        }
        ["up", l, "upsample", "conv"] => format!("up_blocks.{}.upsamplers.0.conv", flipped(l)?),
        _ => return None,
    };
    Some(format!("{layer}.{leaf}"))
}

/// The official name of a tensor under diffusers' current name; the inverse of [`diffusers_name`].
pub fn official_name(diffusers: &str, levels: usize) -> Option<String> {
    let (layer, leaf) = diffusers.rsplit_once('.')?;
    if let Some(outside) = first(&OUTSIDE, layer) {
        return Some(format!("{outside}.{leaf}"));
    }
    let segments: Vec<&str> = layer.splitn(5, '.').collect();
    let flipped = |level: &str| levels.checked_sub(1 + level.parse::<usize>().ok()?);
    let layer = match segments[..] {
        ["mid_block", kind, index, ref part @ ..] => {
            let block = first(&MIDDLE, &format!("{kind}.{index}"))?;
            format!("mid.{block}.{}", first(&PARTS, &part.join("."))?)
        }
        ["down_blocks", l, "resnets", b, part] => {
            format!("down.{l}.block.{b}.{}", first(&PARTS, part)?)
        }
        ["down_blocks", l, "attentions", b, part] => {
            format!("down.{l}.attn.{b}.{}", first(&PARTS, part)?)
        }
        ["down_blocks", l, "downsamplers", "0", "conv"] => format!("down.{l}.downsample.conv"),
        ["up_blocks", u, "resnets", b, part] => {
            format!("up.{}.block.{b}.{}", flipped(u)?, first(&PARTS, part)?)
        }
        ["up_blocks", u, "attentions", b, part] => {
            format!("up.{}.attn.{b}.{}", flipped(u)?, first(&PARTS, part)?)
        }
        ["up_blocks", u, "upsamplers", "0", "conv"] => format!("up.{}.upsample.conv", flipped(u)?),
        _ => return None,
    };
    Some(format!("{layer}.{leaf}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_attention_names_are_read_as_the_current_ones() {
        let names = [
            ("mid_block.attentions.0.query.weight", "mid_block.attentions.0.to_q.weight"),
            ("up_blocks.1.attentions.2.proj_attn.bias", "up_blocks.1.attentions.2.to_out.0.bias"),
            ("up_blocks.1.attentions.2.to_out.0.bias", "up_blocks.1.attentions.2.to_out.0.bias"),
            ("conv_in.weight", "conv_in.weight"),
        ];
        for (old, current) in names {
            assert_eq!(current_name(old), current);
        }
    }

    #[test]
    fn names_of_neither_code_have_no_translation() {
        for name in ["conv_in", "down.0.block.0.conv3.weight", "up.4.block.0.conv1.weight", "x.y.z"]
        {
            assert_eq!(diffusers_name(name, 4), None, "{name}");
        }
        assert_eq!(official_name("down_blocks.0.resnets.0.conv3.weight", 4), None);
    }

    #[test]
    fn the_hash_is_that_of_the_standard() {
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), expected);
    }
}
