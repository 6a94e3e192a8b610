//! What a tensor is called: by the official code, by diffusers, and by what wraps a network.
//!
//! The networks here are the same in both codes. The official one counts the way up from the full
//! resolution, diffusers from the lowest; the official attention weights are 1x1 convolutions
//! `[c, c, 1, 1]`, diffusers' are `[c, c]`.

use std::{collections::BTreeSet, fmt};

/// Whose names the tensors of a file have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convention {
    /// Those of `ermongroup/ddim` and `pesser/pytorch_diffusion`.
    Official,
    /// Those of diffusers' `UNet2DModel`.
    Diffusers,
    /// Those of diffusers before its attention layers were renamed.
    DiffusersOld,
    /// Others.
    Other,
}

impl fmt::Display for Convention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Official => "official",
            Self::Diffusers => "diffusers",
            Self::DiffusersOld => "diffusers, old attention names",
            Self::Other => "its own",
        })
    }
}

/// A layer that every DDPM UNet has, under the official names and under diffusers'.
const ANCHOR: &str = "conv_in.weight";

/// The prefixes under which a DDPM UNet stands, in their order.
pub(super) fn anchors<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let anchor = |name: &str| {
        let prefix = name.strip_suffix(ANCHOR)?;
        (prefix.is_empty() || prefix.ends_with('.')).then(|| prefix.to_owned())
    };
    names.filter_map(anchor).collect::<BTreeSet<_>>().into_iter().collect()
}

/// What classes that hold a network put before the names of its tensors; other prefixes are told
/// from the layer behind them.
const WRAPPERS: [&str; 8] = [
    "module.",
    "_orig_mod.",
    "model.",
    "unet.",
    "net.",
    "ema_model.",
    "diffusion_model.",
    "denoise_fn.",
];

/// How the names of one file become diffusers' current ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translation {
    /// What the network's names begin with and what does not belong to them: `module.`.
    pub prefix: String,
    /// Whose names they are without it.
    pub convention: Convention,
    /// The number of resolutions, if the names are official ones.
    levels: usize,
}

impl Translation {
    /// Finds out whose names these are.
    ///
    /// The prefix is what stands before the first layer of a DDPM UNet; of other networks, the
    /// wrappers that most names have.
    pub fn of<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Self {
        let under = |prefix: &str| names.clone().filter(|name| name.starts_with(prefix)).count();
        let networks = anchors(names.clone());
        let prefix = networks.into_iter().max_by_key(|prefix| under(prefix)).unwrap_or_else(|| {
            let all = names.clone().count();
            let mut prefix = String::new();
            while let Some(longer) = WRAPPERS
                .iter()
                .map(|wrapper| format!("{prefix}{wrapper}"))
                .find(|longer| 2 * under(longer) > all)
            {
                prefix = longer;
            }
            prefix
        });
        let inner = names.filter_map(|name| name.strip_prefix(prefix.as_str()));
        let official = inner.clone().any(|name| name.starts_with("temb.dense."));
        let convention = if official {
            Convention::Official
        } else if inner.clone().any(|name| current_name(name) != name) {
            Convention::DiffusersOld
        } else if inner.clone().any(|name| name.starts_with("time_embedding.linear_")) {
            Convention::Diffusers
        } else {
            Convention::Other
        };
        let level = |name: &'a str| name.strip_prefix("down.")?.split('.').next();
        let levels = inner.filter_map(level).collect::<BTreeSet<_>>().len();
        Self { prefix, convention, levels }
    }

    /// The current diffusers name; a name that has no translation stays as it is.
    pub fn name(&self, name: &str) -> String {
        let name = name.strip_prefix(&self.prefix).unwrap_or(name);
        match self.convention {
            Convention::Official => {
                diffusers_name(name, self.levels).unwrap_or_else(|| name.to_owned())
            }
            Convention::Diffusers | Convention::DiffusersOld | Convention::Other => {
                current_name(name)
            }
        }
    }

    /// The shape that goes with [`Translation::name`].
    pub fn shape<'s>(&self, translated: &str, shape: &'s [i64]) -> &'s [i64] {
        match shape {
            [.., 1, 1]
                if self.convention == Convention::Official
                    && shape.len() == 4
                    && translated.contains("attentions.") =>
            {
                &shape[..2]
            }
            _ => shape,
        }
    }
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
    fn wrappers_are_taken_off_where_most_names_have_them() {
        let of = |names: &[&str]| Translation::of(names.iter().copied());
        let wrapped = of(&["module.model.temb.dense.0.weight", "module.model.down.1.x"]);
        assert_eq!(wrapped.prefix, "module.model.");
        assert_eq!(
            wrapped.name("module.model.temb.dense.0.weight"),
            "time_embedding.linear_1.weight"
        );
        assert_eq!(of(&["module.a", "b"]).prefix, "");
        assert_eq!(of(&["module.a", "module.b", "count"]).prefix, "module.");
        // Any prefix of a UNet, however many other tensors there are.
        let unet = of(&["eps_theta.net.conv_in.weight", "a", "b", "c"]);
        assert_eq!(unet.prefix, "eps_theta.net.");
        assert_eq!(unet.name("a"), "a");
        assert_eq!(of(&[]).prefix, "");
    }

    #[test]
    fn whose_names_they_are_is_told_from_the_names() {
        for (name, convention) in [
            ("temb.dense.1.bias", Convention::Official),
            ("mid_block.attentions.0.query.bias", Convention::DiffusersOld),
            ("time_embedding.linear_1.bias", Convention::Diffusers),
            ("layer1.0.conv1.weight", Convention::Other),
        ] {
            assert_eq!(Translation::of([name].into_iter()).convention, convention, "{name}");
        }
    }
}
