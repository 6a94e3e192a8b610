//! The architecture of a network, from the names and shapes of its tensors.
//!
//! Names say the levels, the blocks of each and where it attends; shapes say the widths. What
//! leaves no trace in them (groups, the constant in their variance, heads, the order of the timestep's
//! sine and cosine, where a downsampling pads) is that of the official code for tensors with its
//! names, and for the published networks under any names. Other tensors under diffusers' names need
//! the `config.json` that diffusers writes: nothing is guessed about them.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use crate::networks::checkpoint::names::Convention;
use crate::networks::{
    unet_config::{ConfigError, FieldProblem, UnetConfig},
    weights::Differences,
};

/// A published network.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// What it is called.
    pub name: &'static str,
    /// The side of its images.
    pub sample_size: i64,
    /// Channels at each level, the full resolution first.
    pub widths: &'static [i64],
    /// The level that attends; the middle does as well.
    pub attention: usize,
    /// The number of its tensors.
    pub tensors: usize,
    /// The number of its parameters.
    pub parameters: i64,
}

/// The networks of the paper's tables (Song, Meng, Ermon 2021, appendix D.1).
pub const KNOWN: [Known; 3] = [
    Known {
        name: "DDPM, CIFAR-10",
        sample_size: 32,
        widths: &[128, 256, 256, 256],
        attention: 1,
        tensors: 328,
        parameters: 35_746_307,
    },
    Known {
        name: "DDIM, CelebA 64 x 64",
        sample_size: 64,
        widths: &[128, 256, 256, 256, 512],
        attention: 2,
        tensors: 390,
        parameters: 78_700_803,
    },
    Known {
        name: "DDPM, LSUN 256 x 256",
        sample_size: 256,
        widths: &[128, 128, 256, 256, 512, 512],
        attention: 4,
        tensors: 450,
        parameters: 113_673_219,
    },
];

impl Known {
    /// Its configuration.
    pub fn config(&self) -> UnetConfig {
        let attends: Vec<bool> = (0..self.widths.len()).map(|l| l == self.attention).collect();
        UnetConfig {
            sample_size: Some(self.sample_size),
            down_attention: attends.clone(),
            up_attention: attends.into_iter().rev().collect(),
            ..official(3, self.widths.to_vec(), 2)
        }
    }
}

/// The published network of that configuration.
pub fn known(config: &UnetConfig) -> Option<&'static Known> {
    KNOWN.iter().find(|known| {
        let published = known.config();
        let sized = UnetConfig { sample_size: published.sample_size, ..config.clone() };
        sized == published
    })
}

/// What the official code has in common for all its networks; attention nowhere.
fn official(channels: i64, widths: Vec<i64>, layers_per_block: usize) -> UnetConfig {
    UnetConfig {
        sample_size: None,
        in_channels: channels,
        out_channels: channels,
        layers_per_block,
        down_attention: vec![false; widths.len()],
        up_attention: vec![false; widths.len()],
        block_out_channels: widths,
        attention_head_dim: None,
        norm_num_groups: 32,
        norm_eps: 1e-6,
        time_embedding_dim: None,
        flip_sin_to_cos: false,
        freq_shift: 1.0,
        downsample_padding: 0,
    }
}

/// Why tensors are not those of a network that is known here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unrecognised {
    /// Nothing of a DDPM UNet.
    #[error("there is no `{0}`, which every DDPM UNet has")]
    Other(String),
    /// Almost one.
    #[error("the tensors are not those of the DDPM UNet that they suggest:{}", .0.lines())]
    Differs(Differences),
    /// Diffusers' names, and nothing that says the rest.
    #[error(
        "its tensors have diffusers' names, and without a config.json nothing says what leaves no \
         trace in tensors (groups, epsilon, heads, padding, the order of sine and cosine): a wrong \
         guess gives wrong images. Put the config.json that was saved with the network beside the \
         file. If it is lost, write there\n  {0}\nand what the network was trained with, where that \
         is not diffusers' default: norm_num_groups 32, norm_eps 1e-5, attention_head_dim 8, \
         downsample_padding 1, flip_sin_to_cos true, freq_shift 0 (the DDPM networks have 32, 1e-6, \
         null, 0, false, 1)"
    )]
    Silent(String),
    /// The official conventions make no sense for it.
    #[error(
        "with the conventions of the official code, {problem}; write a config.json beside the file"
    )]
    Conventions {
        /// What makes none.
        problem: String,
    },
}

/// Recognises a network by the shapes of its tensors under diffusers' current names, and by whose
/// names they were.
///
/// The side of its images is that of the published network, if it is one, and `None` else.
///
/// # Errors
/// Says which tensor is missing, not known or of another shape; and that diffusers' names need a
/// `config.json`.
pub fn recognise(
    shapes: &BTreeMap<String, Vec<i64>>,
    names: Convention,
) -> Result<UnetConfig, Unrecognised> {
    let shape = |name: &str| match shapes.get(name).map(Vec::as_slice) {
        Some(shape @ [_, _, ..]) => Ok(shape),
        _ => Err(Unrecognised::Other(name.to_owned())),
    };
    let has = |name: String| shapes.contains_key(&format!("{name}.weight"));
    let count = |name: &dyn Fn(usize) -> String| {
        (0..shapes.len()).take_while(|&index| has(name(index))).count()
    };
    let levels = count(&|l| format!("down_blocks.{l}.resnets.0.conv1"));
    let blocks = count(&|b| format!("down_blocks.0.resnets.{b}.conv1"));
    let widths: Vec<i64> = (0..levels.max(1))
        .map(|l| Ok(shape(&format!("down_blocks.{l}.resnets.0.conv1.weight"))?[0]))
        .collect::<Result<_, _>>()?;
    let (first, last) = (shape("conv_in.weight")?, shape("conv_out.weight")?);
    let embedding = shape("time_embedding.linear_1.weight")?;
    let attends = |way: &str| -> Vec<bool> {
        (0..levels).map(|l| has(format!("{way}_blocks.{l}.attentions.0.to_q"))).collect()
    };
    let mut config = UnetConfig {
        out_channels: last[0],
        down_attention: attends("down"),
        up_attention: attends("up"),
        time_embedding_dim: (embedding[0] != 4 * embedding[1]).then_some(embedding[0]),
        ..official(first[1], widths, blocks)
    };
    let known = known(&config);
    let silent = names != Convention::Official && known.is_none();
    let differences = Differences::between(&config.tensors(), shapes);
    if silent && differences.is_empty() {
        return Err(Unrecognised::Silent(stated(&config)));
    }
    // What its own file could not say either: widths that 32 groups do not divide, say.
    match UnetConfig::parse(&config.to_json(), Path::new("config.json")) {
        Err(ConfigError::Unsupported { problems, .. }) => {
            let problems: Vec<String> = problems.iter().map(FieldProblem::to_string).collect();
            return Err(Unrecognised::Conventions { problem: problems.join("; ") });
        }
        Err(error) => return Err(Unrecognised::Conventions { problem: error.to_string() }),
        Ok(_) => {}
    }
    if !differences.is_empty() {
        return Err(Unrecognised::Differs(differences));
    }
    config.sample_size = known.map(|known| known.sample_size);
    Ok(config)
}

/// The fields of a `config.json` that the tensors state; the side of the images is left to fill in.
fn stated(config: &UnetConfig) -> String {
    let kinds = |attention: &[bool], with: &str, without: &str| -> Value {
        attention.iter().map(|&attends| if attends { with } else { without }).collect()
    };
    let mut fields = serde_json::json!({
        "sample_size": null,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "block_out_channels": config.block_out_channels,
        "layers_per_block": config.layers_per_block,
        "down_block_types": kinds(&config.down_attention, "AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": kinds(&config.up_attention, "AttnUpBlock2D", "UpBlock2D"),
    });
    if let Some(width) = config.time_embedding_dim {
        fields["time_embedding_dim"] = width.into();
    }
    fields.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_networks_have_their_published_counts_and_are_recognised() {
        for published in &KNOWN {
            let config = published.config();
            let tensors = config.tensors();
            let parameters: i64 = tensors.values().map(|shape| shape.iter().product::<i64>()).sum();
            assert_eq!(
                (tensors.len(), parameters),
                (published.tensors, published.parameters),
                "{}",
                published.name
            );
            let recognised = recognise(&tensors, Convention::Official).unwrap();
            assert_eq!(recognised, config);
            assert_eq!(recognise(&tensors, Convention::Diffusers).unwrap(), config);
            assert_eq!(known(&recognised), Some(published));
        }
    }

    #[test]
    fn any_widths_blocks_and_attention_are_recognised() {
        let mut config = KNOWN[0].config();
        config.block_out_channels = vec![32, 96, 64];
        config.layers_per_block = 3;
        config.down_attention = vec![true, false, true];
        config.up_attention = vec![false, false, true];
        config.time_embedding_dim = Some(100);
        (config.in_channels, config.out_channels) = (1, 2);
        config.sample_size = None;
        assert_eq!(recognise(&config.tensors(), Convention::Official).unwrap(), config);
        // Under diffusers' names the rest is not guessed: the message holds a config.json to begin with.
        for names in [Convention::Diffusers, Convention::DiffusersOld] {
            let error = recognise(&config.tensors(), names).unwrap_err();
            let Unrecognised::Silent(json) = error else { panic!("{error}") };
            let read = UnetConfig::parse(&json, Path::new("config.json")).unwrap();
            assert_eq!(read.tensors(), config.tensors());
        }
    }

    #[test]
    fn what_is_no_such_network_is_said_by_name() {
        let network = KNOWN[0].config().tensors();
        assert_eq!(
            recognise(&BTreeMap::new(), Convention::Other).unwrap_err(),
            Unrecognised::Other("down_blocks.0.resnets.0.conv1.weight".into())
        );
        let mut other = network.clone();
        other.remove("mid_block.resnets.0.norm1.bias");
        other.insert("class_embedding.weight".into(), vec![10, 512]);
        other.insert("conv_out.bias".into(), vec![6]);
        assert_eq!(
            recognise(&other, Convention::Official).unwrap_err().to_string(),
            "the tensors are not those of the DDPM UNet that they suggest:\n  \
             missing `mid_block.resnets.0.norm1.bias`\n  \
             not known `class_embedding.weight`\n  \
             `conv_out.bias` has shape [6]; needed: [3]"
        );
        let mut odd = KNOWN[0].config();
        odd.block_out_channels = vec![48, 48, 48, 48];
        let error = recognise(&odd.tensors(), Convention::Official).unwrap_err().to_string();
        assert!(error.contains("`norm_num_groups` is 32; supported: a divisor"), "{error}");
    }
}
