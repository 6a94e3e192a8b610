//! From weights by name to layers.
//!
//! Weights that meet the same input are joined here: the timestep's projections in all residual blocks,
//! query, key and value, and the four outputs that an enlargement makes of a pixel.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use crate::networks::unet::layers::{Attention, Conv, Level, Linear, Norm, Resnet, Upsample};
use crate::networks::{placement::Placement, unet_config::UnetConfig};

/// Takes weights by name and puts them where and how the network runs.
pub(super) struct Builder<'a> {
    pub(super) config: &'a UnetConfig,
    pub(super) tensors: &'a BTreeMap<String, Tensor>,
    pub(super) placement: Placement,
    /// The timestep's projections met so far: weight and bias.
    pub(super) projections: Vec<(Tensor, Tensor)>,
}

impl Builder<'_> {
    fn tensor(&self, layer: &str, leaf: &str) -> &Tensor {
        self.tensors
            .get(&format!("{layer}.{leaf}"))
            .expect("invariant: the names were checked against the configuration")
    }

    fn put(&self, tensor: &Tensor, kind: Kind) -> Result<Tensor, tch::TchError> {
        tensor.f_to_device(self.placement.device)?.f_to_kind(kind)
    }

    fn kind(&self) -> Kind {
        self.placement.precision.kind()
    }

    pub(super) fn linear(&self, layer: &str) -> Result<Linear, tch::TchError> {
        Ok(Linear {
            weight: self.put(self.tensor(layer, "weight"), Kind::Float)?,
            bias: self.put(self.tensor(layer, "bias"), Kind::Float)?,
        })
    }

    pub(super) fn norm(&self, layer: &str) -> Result<Norm, tch::TchError> {
        Ok(Norm {
            weight: self.put(self.tensor(layer, "weight"), self.kind())?,
            bias: self.put(self.tensor(layer, "bias"), self.kind())?,
            groups: self.config.norm_num_groups,
            eps: self.config.norm_eps,
        })
    }

    pub(super) fn conv(
        &self,
        layer: &str,
        stride: i64,
        padding: i64,
    ) -> Result<Conv, tch::TchError> {
        let weight = self.put(self.tensor(layer, "weight"), self.kind())?;
        Ok(Conv {
            weight: self.placement.layout.of(&weight)?,
            bias: Some(self.put(self.tensor(layer, "bias"), self.kind())?),
            stride,
            padding,
        })
    }

    pub(super) fn upsample(&self, layer: &str) -> Result<Upsample, tch::TchError> {
        let weight = self.tensor(layer, "weight").f_to_kind(Kind::Double)?;
        let mut phases = Vec::with_capacity(4);
        for lower in [false, true] {
            for right in [false, true] {
                phases.push(phase(&phase(&weight, 2, lower)?, 3, right)?);
            }
        }
        let weight = self.put(&Tensor::f_cat(&phases, 0)?, self.kind())?;
        let bias = self.put(self.tensor(layer, "bias"), self.kind())?;
        Ok(Upsample(Conv {
            weight: self.placement.layout.of(&weight)?,
            bias: Some(bias.f_repeat([4])?),
            stride: 1,
            padding: 1,
        }))
    }

    pub(super) fn level<S>(
        &mut self,
        name: &str,
        parts: &[Option<i64>],
        attention: bool,
    ) -> Result<Level<S>, tch::TchError> {
        let resnet = |(b, &part)| self.resnet(&format!("{name}.resnets.{b}"), part);
        let resnets = parts.iter().enumerate().map(resnet).collect::<Result<_, _>>()?;
        let attentions = (0..parts.len())
            .filter(|_| attention)
            .map(|b| self.attention(&format!("{name}.attentions.{b}")))
            .collect::<Result<_, _>>()?;
        Ok(Level { resnets, attentions, sampler: None })
    }

    /// A residual block, of whose input `part` channels are in a tensor of their own.
    pub(super) fn resnet(
        &mut self,
        name: &str,
        part: Option<i64>,
    ) -> Result<Resnet, tch::TchError> {
        let mut conv1 = self.conv(&format!("{name}.conv1"), 1, 1)?;
        // The first convolution's bias and the timestep's projection are added to the same values.
        conv1.bias = None;
        let (conv1_name, projection) = (format!("{name}.conv1"), format!("{name}.time_emb_proj"));
        let bias = self.tensor(&projection, "bias").f_add(self.tensor(&conv1_name, "bias"))?;
        let weight = self.put(self.tensor(&projection, "weight"), Kind::Float)?;
        self.projections.push((weight, self.put(&bias, Kind::Float)?));
        let mut conv2 = self.conv(&format!("{name}.conv2"), 1, 1)?;
        let mut shortcut = self.shortcut(&format!("{name}.conv_shortcut"), part)?;
        if self.placement.fused {
            // Both are added in one pass.
            for conv in &mut shortcut {
                let both = [conv2.bias.take(), conv.bias.take()];
                conv2.bias =
                    both.into_iter().flatten().map(Ok).reduce(|a, b| a?.f_add(&b?)).transpose()?;
            }
        }
        Ok(Resnet {
            norm1: self.norm(&format!("{name}.norm1"))?,
            conv1,
            index: self.projections.len() - 1,
            norm2: self.norm(&format!("{name}.norm2"))?,
            conv2,
            shortcut,
        })
    }

    /// None, one convolution, or for the kernels one for each part of the input, the first with the
    /// bias.
    fn shortcut(&self, layer: &str, part: Option<i64>) -> Result<Vec<Conv>, tch::TchError> {
        if !self.tensors.contains_key(&format!("{layer}.weight")) {
            return Ok(vec![]);
        }
        let conv = self.conv(layer, 1, 0)?;
        let Some(part) = part.filter(|_| self.placement.fused) else { return Ok(vec![conv]) };
        let all = conv.weight.size()[1];
        let of = |first, width, bias| -> Result<Conv, tch::TchError> {
            let weight = self.placement.layout.of(&conv.weight.f_narrow(1, first, width)?)?;
            Ok(Conv { weight, bias, stride: 1, padding: 0 })
        };
        let bias = conv.bias.as_ref().map(Tensor::shallow_clone);
        Ok(vec![of(0, part, bias)?, of(part, all - part, None)?])
    }

    pub(super) fn attention(&self, name: &str) -> Result<Attention, tch::TchError> {
        let joined = |parts: &[&str], leaf: &str| {
            let parts: Vec<&Tensor> =
                parts.iter().map(|part| self.tensor(&format!("{name}.{part}"), leaf)).collect();
            self.put(&Tensor::f_cat(&parts, 0)?, self.kind())
        };
        let conv = |parts: &[&str]| -> Result<Conv, tch::TchError> {
            let weight = joined(parts, "weight")?.f_unsqueeze(2)?.f_unsqueeze(3)?;
            let weight = self.placement.layout.of(&weight)?;
            Ok(Conv { weight, bias: Some(joined(parts, "bias")?), stride: 1, padding: 0 })
        };
        let norm = self.norm(&format!("{name}.group_norm"))?;
        let width = norm.weight.size1()?;
        Ok(Attention {
            norm,
            qkv: conv(&["to_q", "to_k", "to_v"])?,
            out: conv(&["to_out.0"])?,
            heads: width / self.config.attention_head_dim.unwrap_or(width),
        })
    }

    pub(super) fn time_projections(&self) -> Result<Linear, tch::TchError> {
        let (weights, biases): (Vec<&Tensor>, Vec<&Tensor>) =
            self.projections.iter().map(|(weight, bias)| (weight, bias)).unzip();
        Ok(Linear { weight: Tensor::f_cat(&weights, 0)?, bias: Tensor::f_cat(&biases, 0)? })
    }
}

/// One of two neighbouring outputs along an axis of the kernel, `[.., 3, ..]` to `[.., 2, ..]`.
///
/// The left one sees the pixel before, once, and its own, twice; the right one its own, twice,
/// and the next.
fn phase(weight: &Tensor, axis: i64, right: bool) -> Result<Tensor, tch::TchError> {
    let tap = |i: i64| weight.f_narrow(axis, i, 1);
    if right {
        Tensor::f_cat(&[tap(0)?.f_add(&tap(1)?)?, tap(2)?], axis)
    } else {
        Tensor::f_cat(&[tap(0)?, tap(1)?.f_add(&tap(2)?)?], axis)
    }
}
