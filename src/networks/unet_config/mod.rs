//! The shape of a DDPM UNet, read from diffusers' `config.json`.
//!
//! A field that is absent has the default of diffusers' `UNet2DModel`, which is not always what
//! the DDPM checkpoints use (`freq_shift`, `flip_sin_to_cos`, `norm_eps`, `downsample_padding` and
//! `attention_head_dim` all differ). A field or value that this network does not implement is
//! refused by name: a network that silently ignores one of them still produces images, only
//! wrong ones. All problems of a file are reported together.

mod reader;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;

use self::reader::{Reader, brief};
use crate::{data::file, limits};

/// The architecture of a DDPM UNet (Ho, Jain, Abbeel 2020, appendix B).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UnetConfig {
    /// Side of the images it was trained on, if the file says so; the network takes any size.
    pub sample_size: Option<i64>,
    /// Channels of the input image.
    pub in_channels: i64,
    /// Channels of the output.
    pub out_channels: i64,
    /// Channels at each level, the full resolution first.
    pub block_out_channels: Vec<i64>,
    /// Residual blocks at each level of the way down; the way up has one more.
    pub layers_per_block: usize,
    /// Whether each level of the way down has self-attention, the full resolution first.
    pub down_attention: Vec<bool>,
    /// Whether each level of the way up has self-attention, the **lowest** resolution first.
    pub up_attention: Vec<bool>,
    /// Channels of one attention head; `None` is one head over all channels.
    pub attention_head_dim: Option<i64>,
    /// Groups of every group normalisation.
    pub norm_num_groups: i64,
    /// The constant added to the variance in every group normalisation.
    pub norm_eps: f64,
    /// Width of the timestep's embedding; `None` is four times the channels of the first level.
    pub time_embedding_dim: Option<i64>,
    /// Whether the timestep's features are (cos, sin) and not (sin, cos).
    pub flip_sin_to_cos: bool,
    /// The `s` in the timestep's frequencies `10000^(-i / (half - s))`.
    pub freq_shift: f64,
    /// Zeros around the input of a downsampling convolution: 1 is on all four sides, 0 is one
    /// column on the right and one row at the bottom (TensorFlow's "same").
    pub downsample_padding: i64,
}

/// What is wrong with one field of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldProblem {
    /// The field, as written in the file.
    pub field: String,
    /// Its value, as JSON.
    pub value: String,
    /// What would be accepted; `None` for a field that is not known at all.
    pub supported: Option<String>,
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.supported {
            Some(supported) => {
                write!(f, "`{}` is {}; supported: {supported}", self.field, self.value)
            }
            None => write!(f, "`{}`, {}, is not a known field", self.field, self.value),
        }
    }
}

/// Why a configuration could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error(
        "cannot read {}: {source}; a model is a folder with config.json and \
         diffusion_pytorch_model.safetensors",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a JSON object.
    #[error(
        "{} is not a JSON object: {message}; restore it or save the model again",
        path.display()
    )]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        message: String,
    },
    /// The file describes a network that this one is not.
    #[error("{} describes a network that is not supported:{}", path.display(), bullets(problems))]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Every field that stands in the way.
        problems: Vec<FieldProblem>,
    },
}

fn bullets(problems: &[FieldProblem]) -> String {
    problems.iter().fold(String::new(), |text, problem| text + "\n  " + &problem.to_string())
}

/// More resolutions than any image has.
pub const MOST_LEVELS: usize = 16;

/// More residual blocks of a level than any network has.
pub const MOST_LAYERS: usize = 64;

impl UnetConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// When the file cannot be read, is no JSON object, or holds a field or a value that the
    /// network does not implement (all of them are listed).
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = file::read_text(path, limits::JSON)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Parses the text of a `config.json`; `path` is for messages only.
    ///
    /// # Errors
    /// As [`UnetConfig::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let syntax = |message: String| ConfigError::Syntax { path: path.to_owned(), message };
        let fields = match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => fields,
            Ok(other) => return Err(syntax(format!("found {}", brief(&other)))),
            Err(error) => return Err(syntax(error.to_string())),
        };
        let mut reader = Reader { fields, problems: Vec::new() };
        let config = reader.config();
        if reader.problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Unsupported { path: path.to_owned(), problems: reader.problems })
        }
    }

    /// Writes the configuration as diffusers would, so that its `UNet2DModel` opens the folder.
    pub fn to_json(&self) -> String {
        let kinds = |attention: &[bool], with: &str, without: &str| -> Value {
            attention.iter().map(|&a| Value::from(if a { with } else { without })).collect()
        };
        let fields = serde_json::json!({
            "_class_name": "UNet2DModel",
            "act_fn": "silu",
            "attention_head_dim": self.attention_head_dim,
            "block_out_channels": self.block_out_channels,
            "center_input_sample": false,
            "down_block_types": kinds(&self.down_attention, "AttnDownBlock2D", "DownBlock2D"),
            "downsample_padding": self.downsample_padding,
            "flip_sin_to_cos": self.flip_sin_to_cos,
            "freq_shift": self.freq_shift,
            "in_channels": self.in_channels,
            "layers_per_block": self.layers_per_block,
            "mid_block_scale_factor": 1,
            "norm_eps": self.norm_eps,
            "norm_num_groups": self.norm_num_groups,
            "out_channels": self.out_channels,
            "sample_size": self.sample_size,
            "time_embedding_dim": self.time_embedding_dim,
            "time_embedding_type": "positional",
            "up_block_types": kinds(&self.up_attention, "AttnUpBlock2D", "UpBlock2D"),
        });
        format!("{fields:#}\n")
    }

    /// Whether it predicts the range of a learned variance beside eps, which takes as many channels
    /// again; none if its output is neither.
    pub fn predicts_range(&self) -> Option<bool> {
        match self.out_channels {
            out if out == self.in_channels => Some(false),
            out if out == 2 * self.in_channels => Some(true),
            _ => None,
        }
    }

    /// The number of resolutions.
    pub fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    /// The width of the timestep's embedding.
    pub fn embedding(&self) -> i64 {
        self.time_embedding_dim.unwrap_or_else(|| 4 * self.base())
    }

    /// The channels of the first level, which are also the timestep's sine and cosine features.
    pub fn base(&self) -> i64 {
        self.block_out_channels.first().copied().unwrap_or(0)
    }

    /// The residual blocks of the way up, lowest resolution first: input and output channels.
    ///
    /// A block's input is the running state and the output that the way down stored last.
    pub fn up_channels(&self) -> Vec<Vec<(i64, i64)>> {
        let mut skips = vec![self.base()];
        for (level, &width) in self.block_out_channels.iter().enumerate() {
            skips.extend(std::iter::repeat_n(width, self.layers_per_block));
            if level + 1 < self.levels() {
                skips.push(width);
            }
        }
        let mut state = self.block_out_channels.last().copied().unwrap_or(0);
        let level = |&width: &i64| {
            (0..=self.layers_per_block)
                .map(|_| (std::mem::replace(&mut state, width) + skips.pop().unwrap_or(0), width))
                .collect()
        };
        self.block_out_channels.iter().rev().map(level).collect()
    }

    /// The residual blocks of the way down, full resolution first: input and output channels.
    pub fn down_channels(&self) -> Vec<Vec<(i64, i64)>> {
        let mut state = self.base();
        let level = |&width: &i64| {
            (0..self.layers_per_block)
                .map(|_| (std::mem::replace(&mut state, width), width))
                .collect()
        };
        self.block_out_channels.iter().map(level).collect()
    }

    /// Every weight of the network: diffusers' name and shape.
    pub fn tensors(&self) -> BTreeMap<String, Vec<i64>> {
        let mut list = TensorList { embedding: self.embedding(), tensors: BTreeMap::new() };
        let (base, last) = (self.base(), self.block_out_channels.last().copied().unwrap_or(0));
        list.layer("time_embedding.linear_1", &[self.embedding(), base]);
        list.layer("time_embedding.linear_2", &[self.embedding(), self.embedding()]);
        list.layer("conv_in", &[base, self.in_channels, 3, 3]);
        let levels = self.levels();
        for (l, blocks) in self.down_channels().iter().enumerate() {
            let prefix = format!("down_blocks.{l}");
            list.blocks(&prefix, blocks, self.down_attention[l]);
            if l + 1 < levels {
                let width = self.block_out_channels[l];
                list.layer(&format!("{prefix}.downsamplers.0.conv"), &[width, width, 3, 3]);
            }
        }
        list.resnet("mid_block.resnets.0", last, last);
        list.attention("mid_block.attentions.0", last);
        list.resnet("mid_block.resnets.1", last, last);
        for (u, blocks) in self.up_channels().iter().enumerate() {
            let prefix = format!("up_blocks.{u}");
            list.blocks(&prefix, blocks, self.up_attention[u]);
            if u + 1 < levels {
                let width = self.block_out_channels[levels - 1 - u];
                list.layer(&format!("{prefix}.upsamplers.0.conv"), &[width, width, 3, 3]);
            }
        }
        list.layer("conv_norm_out", &[base]);
        list.layer("conv_out", &[self.out_channels, base, 3, 3]);
        list.tensors
    }
}

struct TensorList {
    embedding: i64,
    tensors: BTreeMap<String, Vec<i64>>,
}

impl TensorList {
    /// A weight of that shape and its bias.
    fn layer(&mut self, name: &str, shape: &[i64]) {
        self.tensors.insert(format!("{name}.weight"), shape.to_vec());
        self.tensors.insert(format!("{name}.bias"), shape[..1].to_vec());
    }

    fn blocks(&mut self, prefix: &str, blocks: &[(i64, i64)], attention: bool) {
        for (b, &(from, to)) in blocks.iter().enumerate() {
            self.resnet(&format!("{prefix}.resnets.{b}"), from, to);
            if attention {
                self.attention(&format!("{prefix}.attentions.{b}"), to);
            }
        }
    }

    fn resnet(&mut self, prefix: &str, from: i64, to: i64) {
        self.layer(&format!("{prefix}.norm1"), &[from]);
        self.layer(&format!("{prefix}.conv1"), &[to, from, 3, 3]);
        self.layer(&format!("{prefix}.time_emb_proj"), &[to, self.embedding]);
        self.layer(&format!("{prefix}.norm2"), &[to]);
        self.layer(&format!("{prefix}.conv2"), &[to, to, 3, 3]);
        if from != to {
            self.layer(&format!("{prefix}.conv_shortcut"), &[to, from, 1, 1]);
        }
    }

    fn attention(&mut self, prefix: &str, width: i64) {
        self.layer(&format!("{prefix}.group_norm"), &[width]);
        for part in ["to_q", "to_k", "to_v", "to_out.0"] {
            self.layer(&format!("{prefix}.{part}"), &[width, width]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<UnetConfig, ConfigError> {
        UnetConfig::parse(text, Path::new("model/config.json"))
    }

    fn fields_at_fault(text: &str) -> Vec<String> {
        match parse(text) {
            Err(ConfigError::Unsupported { problems, .. }) => {
                problems.into_iter().map(|p| p.field).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// The fields of google/ddpm-cifar10-32, with those that re-saved copies add.
    const DDPM_CIFAR10: &str = r#"{
        "_class_name": "UNet2DModel", "_diffusers_version": "0.31.0", "_name_or_path": "somewhere",
        "act_fn": "silu", "add_attention": true, "attention_head_dim": null,
        "attn_norm_num_groups": null, "block_out_channels": [128, 256, 256, 256],
        "center_input_sample": false, "class_embed_type": null,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
        "downsample_padding": 0, "downsample_type": "conv", "dropout": 0.1,
        "flip_sin_to_cos": false, "freq_shift": 1, "in_channels": 3, "layers_per_block": 2,
        "mid_block_scale_factor": 1, "norm_eps": 1e-06, "norm_num_groups": 32,
        "num_class_embeds": null, "num_train_timesteps": null, "out_channels": 3,
        "resnet_time_scale_shift": "default", "sample_size": 32,
        "time_embedding_type": "positional",
        "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
        "upsample_type": "conv"
    }"#;

    #[test]
    fn the_cifar10_network_has_the_published_counts_and_widths() {
        let config = parse(DDPM_CIFAR10).unwrap();
        let tensors = config.tensors();
        let parameters: i64 = tensors.values().map(|shape| shape.iter().product::<i64>()).sum();
        assert_eq!((tensors.len(), parameters), (328, 35_746_307));
        let inputs: Vec<Vec<i64>> = config
            .up_channels()
            .iter()
            .map(|level| level.iter().map(|&(from, _)| from).collect())
            .collect();
        assert_eq!(inputs, [[512, 512, 512], [512, 512, 512], [512, 512, 384], [384, 256, 256]]);
    }

    #[test]
    fn absent_fields_have_the_defaults_of_diffusers() {
        let config = parse("{}").unwrap();
        let expected = UnetConfig {
            sample_size: None,
            in_channels: 3,
            out_channels: 3,
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            down_attention: vec![false, true, true, true],
            up_attention: vec![true, true, true, false],
            attention_head_dim: Some(8),
            norm_num_groups: 32,
            norm_eps: 1e-5,
            time_embedding_dim: None,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            downsample_padding: 1,
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let config = parse(DDPM_CIFAR10).unwrap();
        assert_eq!(parse(&config.to_json()).unwrap(), config);
    }

    #[test]
    fn every_unsupported_field_is_listed_with_what_is_supported() {
        let error = parse(
            r#"{"act_fn": "gelu", "class_embed_type": "timestep", "colour": 3,
                "down_block_types": ["SkipDownBlock2D"], "in_channels": -1}"#,
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "model/config.json describes a network that is not supported:\n  \
             `act_fn` is \"gelu\"; supported: \"silu\" or \"swish\"\n  \
             `class_embed_type` is \"timestep\"; supported: null\n  \
             `in_channels` is -1; supported: an integer from 1 to 65536\n  \
             `down_block_types` is [\"SkipDownBlock2D\"]; supported: a list of \"DownBlock2D\" and \
             \"AttnDownBlock2D\"\n  \
             `colour`, 3, is not a known field"
        );
    }

    #[test]
    fn fields_that_contradict_each_other_are_refused() {
        assert_eq!(
            fields_at_fault(r#"{"block_out_channels": [64, 64]}"#),
            ["down_block_types", "up_block_types"]
        );
        let four = |widths: &str, rest: &str| {
            fields_at_fault(&format!(r#"{{"block_out_channels": {widths}{rest}}}"#))
        };
        assert_eq!(four("[48, 48, 48, 48]", ""), ["norm_num_groups"]);
        assert_eq!(
            four("[64, 64, 64, 64]", r#", "attention_head_dim": 48"#),
            ["attention_head_dim"]
        );
        assert_eq!(four("[64, 64, 64, 64]", r#", "freq_shift": 32"#), ["block_out_channels"]);
        assert_eq!(four("[64, 64, 64, 64]", r#", "sample_size": 28"#), ["sample_size"]);
    }

    #[test]
    fn a_text_that_is_no_object_is_named_as_such() {
        assert!(matches!(parse("[1]"), Err(ConfigError::Syntax { .. })));
        assert!(matches!(parse("{"), Err(ConfigError::Syntax { .. })));
    }
}
