//! The UNet of DDPM, run and trained by LibTorch.
//!
//! The network of Ho, Jain and Abbeel (2020) with the parameterisation of diffusers' `UNet2DModel`:
//! a way down and a way up over the resolutions, residual blocks that add a projection of the
//! noise label, self-attention at chosen levels and in the middle, and every output of the way
//! down concatenated to the way up.
//!
//! Activations are kept channels-last, the layout in which oneDNN convolves and attention reads
//! without a copy. Weights that meet the same input are joined when the network is built: the
//! label projections of all residual blocks are one product, and so are query, key and value.
//! The state and the result are f32 whatever the precision inside.
//!
//! In training the network is a function of its weights: built anew for every step, so that
//! gradients flow through the joining and the casts to the f32 weights they were made from.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use super::{
    unet_config::UnetConfig,
    weights::{Weights, WeightsError, first_line},
};

/// The number format inside the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats, the precision of a measured result.
    #[default]
    F32,
    /// bfloat16 weights and activations; the label embedding stays in f32, and group
    /// normalisation and attention accumulate in f32.
    Bf16,
}

impl Precision {
    /// The name in manifests, `f32` or `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::F32 => Kind::Float,
            Self::Bf16 => Kind::BFloat16,
        }
    }
}

/// The order of an image's values in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// All channels of a pixel together.
    #[default]
    ChannelsLast,
    /// All pixels of a channel together.
    ChannelsFirst,
}

impl Layout {
    /// The same `[N, C, H, W]` tensor with its values in this order.
    pub(crate) fn of(self, x: &Tensor) -> Result<Tensor, tch::TchError> {
        match self {
            Self::ChannelsFirst => x.f_contiguous(),
            // tch has no memory-format argument; a contiguous [N, H, W, C] seen as [N, C, H, W] is it.
            Self::ChannelsLast => {
                x.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])
            }
        }
    }
}

/// Where and how a network runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The device of its weights and inputs.
    pub device: Device,
    /// The number format inside.
    pub precision: Precision,
    /// The order of values in memory.
    pub layout: Layout,
}

impl Default for Placement {
    fn default() -> Self {
        Self { device: Device::Cpu, precision: Precision::default(), layout: Layout::default() }
    }
}

/// Why a forward pass failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnetError {
    /// The images do not have the shape that the network takes.
    #[error(
        "images have shape {found:?}; the network takes [N, {channels}, H, W] with H and W \
         multiples of {factor}"
    )]
    Images {
        /// The shape given.
        found: Vec<i64>,
        /// The channels that the network takes.
        channels: i64,
        /// What the sides must be multiples of.
        factor: i64,
    },
    /// The labels do not belong to the images.
    #[error("labels have shape {found:?}; {images} images take [{images}] or [1]")]
    Labels {
        /// The shape given.
        found: Vec<i64>,
        /// The number of images.
        images: i64,
    },
    /// LibTorch refused an operation.
    #[error("LibTorch: {}", first_line(.0))]
    Torch(#[from] tch::TchError),
}

/// What is applied inside a residual block, before its second convolution: the block's position in
/// the network and the values, `[N, C, H, W]`.
pub type Drop<'a> = &'a dyn Fn(usize, Tensor) -> Result<Tensor, tch::TchError>;

/// A DDPM UNet, ready to run.
#[derive(Debug)]
pub struct Unet {
    config: UnetConfig,
    placement: Placement,
    frequencies: Tensor,
    label1: Linear,
    label2: Linear,
    label_projections: Linear,
    /// The width of each residual block's part of them.
    widths: Vec<i64>,
    conv_in: Conv,
    down: Vec<Level<Conv>>,
    middle: (Resnet, Attention, Resnet),
    up: Vec<Level<Upsample>>,
    norm_out: Norm,
    conv_out: Conv,
}

impl Unet {
    /// Builds the network of that configuration from its weights.
    ///
    /// # Errors
    /// When the weights lack a tensor, have one too many or one of another shape (all are listed),
    /// or do not fit on the device.
    pub fn new(
        config: &UnetConfig,
        weights: &Weights,
        placement: Placement,
    ) -> Result<Self, WeightsError> {
        weights.check(&config.tensors())?;
        Ok(tch::no_grad(|| Self::build(config, &weights.tensors, placement))?)
    }

    /// Builds the network as a differentiable function of its weights.
    ///
    /// # Errors
    /// What LibTorch refuses.
    ///
    /// # Panics
    /// If a tensor of [`UnetConfig::tensors`] is missing.
    pub fn of_parameters(
        config: &UnetConfig,
        parameters: &BTreeMap<String, Tensor>,
        placement: Placement,
    ) -> Result<Self, UnetError> {
        Ok(Self::build(config, parameters, placement)?)
    }

    fn build(
        config: &UnetConfig,
        tensors: &BTreeMap<String, Tensor>,
        placement: Placement,
    ) -> Result<Self, tch::TchError> {
        let mut builder = Builder { config, tensors, placement, projections: Vec::new() };
        let levels = config.levels();
        let conv_in = builder.conv("conv_in", 1, 1)?;
        let mut down = Vec::with_capacity(levels);
        for l in 0..levels {
            let name = format!("down_blocks.{l}");
            let mut level =
                builder.level(&name, config.layers_per_block, config.down_attention[l])?;
            if l + 1 < levels {
                let name = format!("{name}.downsamplers.0.conv");
                level.sampler = Some(builder.conv(&name, 2, config.downsample_padding)?);
            }
            down.push(level);
        }
        let middle = (
            builder.resnet("mid_block.resnets.0")?,
            builder.attention("mid_block.attentions.0")?,
            builder.resnet("mid_block.resnets.1")?,
        );
        let mut up = Vec::with_capacity(levels);
        for u in 0..levels {
            let name = format!("up_blocks.{u}");
            let mut level =
                builder.level(&name, config.layers_per_block + 1, config.up_attention[u])?;
            if u + 1 < levels {
                level.sampler = Some(builder.upsample(&format!("{name}.upsamplers.0.conv"))?);
            }
            up.push(level);
        }
        Ok(Self {
            frequencies: frequencies(config)?.f_to_device(placement.device)?,
            label1: builder.linear("time_embedding.linear_1")?,
            label2: builder.linear("time_embedding.linear_2")?,
            norm_out: builder.norm("conv_norm_out")?,
            conv_out: builder.conv("conv_out", 1, 1)?,
            label_projections: builder.label_projections()?,
            widths: builder.projections.iter().map(|(weight, _)| weight.size()[0]).collect(),
            config: config.clone(),
            placement,
            conv_in,
            down,
            middle,
            up,
        })
    }

    /// The architecture.
    pub fn config(&self) -> &UnetConfig {
        &self.config
    }

    /// Where and how it runs.
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// Runs the network without keeping track of gradients.
    ///
    /// - Shape: images `[N, C, H, W]`, labels `[N]`, or `[1]` for one label that all images share
    ///   (faster: its projection becomes part of a convolution's bias); result `[N, C_out, H, W]`.
    /// - Units: labels are the 0-based t, real numbers; images and result are f32.
    ///
    /// # Errors
    /// When the shapes do not fit, or LibTorch refuses an operation.
    pub fn forward(&self, images: &Tensor, labels: &Tensor) -> Result<Tensor, UnetError> {
        self.check(images, labels)?;
        Ok(tch::no_grad(|| self.run(images, labels, None))?)
    }

    /// Runs the network for training, with a label for each image and maybe dropout.
    ///
    /// # Errors
    /// As [`Unet::forward`].
    pub fn forward_train(
        &self,
        images: &Tensor,
        labels: &Tensor,
        drop: Option<Drop<'_>>,
    ) -> Result<Tensor, UnetError> {
        self.check(images, labels)?;
        Ok(self.run(images, labels, drop)?)
    }

    fn check(&self, images: &Tensor, labels: &Tensor) -> Result<(), UnetError> {
        let found = images.size();
        let factor = 1 << (self.config.levels() - 1);
        let channels = self.config.in_channels;
        let &[n, c, h, w] = found.as_slice() else {
            return Err(UnetError::Images { found, channels, factor });
        };
        if c != channels || h % factor != 0 || w % factor != 0 {
            return Err(UnetError::Images { found, channels, factor });
        }
        let shape = labels.size();
        if shape != [n] && shape != [1] {
            return Err(UnetError::Labels { found: shape, images: n });
        }
        Ok(())
    }

    fn run(
        &self,
        images: &Tensor,
        labels: &Tensor,
        drop: Option<Drop<'_>>,
    ) -> Result<Tensor, tch::TchError> {
        let Placement { device, precision, layout } = self.placement;
        let kind = precision.kind();
        let added = self.label(labels)?.f_to_kind(kind)?.f_split_with_sizes(&self.widths[..], 1)?;
        let images = layout.of(&images.f_to_device(device)?.f_to_kind(kind)?)?;

        let mut x = self.conv_in.apply(&images, None)?;
        let mut skips = vec![x.shallow_clone()];
        for level in &self.down {
            for (resnet, attention) in level.blocks() {
                x = resnet.apply(&x, &added, drop)?;
                if let Some(attention) = attention {
                    x = attention.apply(&x)?;
                }
                skips.push(x.shallow_clone());
            }
            if let Some(conv) = &level.sampler {
                // Zeros on the right and at the bottom only: TensorFlow's "same" at stride 2.
                if self.config.downsample_padding == 0 {
                    x = x.f_constant_pad_nd([0, 1, 0, 1])?;
                }
                x = conv.apply(&x, None)?;
                skips.push(x.shallow_clone());
            }
        }
        let (before, attention, after) = &self.middle;
        x = attention.apply(&before.apply(&x, &added, drop)?)?;
        x = after.apply(&x, &added, drop)?;
        for level in &self.up {
            for (resnet, attention) in level.blocks() {
                let skip = skips.pop().expect("invariant: the way up has a block for each skip");
                x = resnet.apply(&Tensor::f_cat(&[&x, &skip], 1)?, &added, drop)?;
                if let Some(attention) = attention {
                    x = attention.apply(&x)?;
                }
            }
            if let Some(upsample) = &level.sampler {
                x = upsample.apply(&x, layout)?;
            }
        }
        let x = self.conv_out.apply(&self.norm_out.silu(&x)?, None)?;
        x.f_to_kind(Kind::Float)?.f_contiguous()
    }

    /// What each residual block adds for the labels, side by side: `[N]` to `[N, sum of widths]`.
    ///
    /// The features are taken in f64: a label near 1000 loses three digits of the phase in f32.
    fn label(&self, labels: &Tensor) -> Result<Tensor, tch::TchError> {
        let labels = labels.f_to_device(self.placement.device)?.f_to_kind(Kind::Double)?;
        let phase = labels.f_unsqueeze(1)?.f_mul(&self.frequencies)?;
        let (sin, cos) = (phase.f_sin()?, phase.f_cos()?);
        let features = if self.config.flip_sin_to_cos { [cos, sin] } else { [sin, cos] };
        let features = Tensor::f_cat(&features, 1)?.f_to_kind(Kind::Float)?;
        let hidden = silu(self.label1.apply(&features)?)?;
        let embedding = silu(self.label2.apply(&hidden)?)?;
        self.label_projections.apply(&embedding)
    }
}

/// The label's frequencies, `10000^(-i / (half - shift))` for `i < half`, in f64.
fn frequencies(config: &UnetConfig) -> Result<Tensor, tch::TchError> {
    let half = config.base() / 2;
    let scale = -(10_000_f64.ln()) / (half as f64 - config.freq_shift);
    let frequencies: Vec<f64> = (0..half).map(|i| (scale * i as f64).exp()).collect();
    Tensor::f_from_slice(&frequencies)
}

/// Takes weights by name and puts them where and how the network runs.
struct Builder<'a> {
    config: &'a UnetConfig,
    tensors: &'a BTreeMap<String, Tensor>,
    placement: Placement,
    /// The label projections met so far: weight and bias.
    projections: Vec<(Tensor, Tensor)>,
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

    fn linear(&self, layer: &str) -> Result<Linear, tch::TchError> {
        Ok(Linear {
            weight: self.put(self.tensor(layer, "weight"), Kind::Float)?,
            bias: self.put(self.tensor(layer, "bias"), Kind::Float)?,
        })
    }

    fn norm(&self, layer: &str) -> Result<Norm, tch::TchError> {
        Ok(Norm {
            weight: self.put(self.tensor(layer, "weight"), self.kind())?,
            bias: self.put(self.tensor(layer, "bias"), self.kind())?,
            groups: self.config.norm_num_groups,
            eps: self.config.norm_eps,
        })
    }

    fn conv(&self, layer: &str, stride: i64, padding: i64) -> Result<Conv, tch::TchError> {
        let weight = self.put(self.tensor(layer, "weight"), self.kind())?;
        Ok(Conv {
            weight: self.placement.layout.of(&weight)?,
            bias: Some(self.put(self.tensor(layer, "bias"), self.kind())?),
            stride,
            padding,
        })
    }

    fn upsample(&self, layer: &str) -> Result<Upsample, tch::TchError> {
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

    fn level<S>(
        &mut self,
        name: &str,
        blocks: usize,
        attention: bool,
    ) -> Result<Level<S>, tch::TchError> {
        let resnets = (0..blocks)
            .map(|b| self.resnet(&format!("{name}.resnets.{b}")))
            .collect::<Result<_, _>>()?;
        let attentions = (0..blocks)
            .filter(|_| attention)
            .map(|b| self.attention(&format!("{name}.attentions.{b}")))
            .collect::<Result<_, _>>()?;
        Ok(Level { resnets, attentions, sampler: None })
    }

    fn resnet(&mut self, name: &str) -> Result<Resnet, tch::TchError> {
        let mut conv1 = self.conv(&format!("{name}.conv1"), 1, 1)?;
        // The first convolution's bias and the label's projection are added to the same values.
        conv1.bias = None;
        let (conv1_name, projection) = (format!("{name}.conv1"), format!("{name}.time_emb_proj"));
        let bias = self.tensor(&projection, "bias").f_add(self.tensor(&conv1_name, "bias"))?;
        let weight = self.put(self.tensor(&projection, "weight"), Kind::Float)?;
        self.projections.push((weight, self.put(&bias, Kind::Float)?));
        let shortcut = format!("{name}.conv_shortcut");
        Ok(Resnet {
            norm1: self.norm(&format!("{name}.norm1"))?,
            conv1,
            index: self.projections.len() - 1,
            norm2: self.norm(&format!("{name}.norm2"))?,
            conv2: self.conv(&format!("{name}.conv2"), 1, 1)?,
            shortcut: if self.tensors.contains_key(&format!("{shortcut}.weight")) {
                Some(self.conv(&shortcut, 1, 0)?)
            } else {
                None
            },
        })
    }

    fn attention(&self, name: &str) -> Result<Attention, tch::TchError> {
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

    fn label_projections(&self) -> Result<Linear, tch::TchError> {
        let (weights, biases): (Vec<&Tensor>, Vec<&Tensor>) =
            self.projections.iter().map(|(weight, bias)| (weight, bias)).unzip();
        Ok(Linear { weight: Tensor::f_cat(&weights, 0)?, bias: Tensor::f_cat(&biases, 0)? })
    }
}

#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn apply(&self, x: &Tensor) -> Result<Tensor, tch::TchError> {
        x.f_linear(&self.weight, Some(&self.bias))
    }
}

#[derive(Debug)]
struct Conv {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: i64,
    padding: i64,
}

impl Conv {
    /// Convolves with the layer's own bias, or with the one given.
    fn apply(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, tch::TchError> {
        let bias = bias.or(self.bias.as_ref());
        x.f_conv2d(&self.weight, bias, [self.stride; 2], [self.padding; 2], [1; 2], 1)
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

/// Nearest-neighbour enlargement by two and the 3x3 convolution behind it, as one convolution.
///
/// Four neighbouring outputs see the same pixels of the small image, two by two: with the
/// kernel's columns summed that meet the same pixel, each of the four is a 2x2 convolution of the
/// small image, at 16/36 of the products and without the large one.
#[derive(Debug)]
struct Upsample(Conv);

impl Upsample {
    fn apply(&self, x: &Tensor, layout: Layout) -> Result<Tensor, tch::TchError> {
        let (_, _, h, w) = x.size4()?;
        // Output row r of the 2x2 convolution sees rows r - 1 and r: the upper of two neighbours
        // in row i is at r = i, the lower at r = i + 1; columns alike.
        let y = self.0.apply(x, None)?;
        if y.requires_grad() { interleave(&y, h, w) } else { interleave_view(&y, h, w, layout) }
    }
}

/// The four outputs `[N, 4 C, h + 1, w + 1]` side by side, `[N, C, 2 h, 2 w]`.
fn interleave(y: &Tensor, h: i64, w: i64) -> Result<Tensor, tch::TchError> {
    let phases = y.f_permute([0, 2, 3, 1])?.f_chunk(4, 3)?;
    let row = |lower: usize| {
        let at = |right: usize| {
            let phase = &phases[2 * lower + right];
            phase.f_narrow(1, lower as i64, h)?.f_narrow(2, right as i64, w)
        };
        Tensor::f_stack(&[at(0)?, at(1)?], 3)
    };
    let y = Tensor::f_stack(&[row(0)?, row(1)?], 2)?;
    y.f_flatten(3, 4)?.f_flatten(1, 2)?.f_permute([0, 3, 1, 2])
}

/// The same in one pass, by a view that is slow to differentiate.
fn interleave_view(y: &Tensor, h: i64, w: i64, layout: Layout) -> Result<Tensor, tch::TchError> {
    let (n, channels, _, _) = y.size4()?;
    let c = channels / 4;
    let &[image, channel, row, column] = y.stride().as_slice() else {
        return Err(tch::TchError::Shape("a convolution's result has four axes".into()));
    };
    let (lower, right) = (row + 2 * c * channel, column + c * channel);
    match layout {
        Layout::ChannelsLast => y
            .f_as_strided([n, h, 2, w, 2, c], [image, row, lower, column, right, channel], None)?
            .f_reshape([n, 2 * h, 2 * w, c])?
            .f_permute([0, 3, 1, 2]),
        Layout::ChannelsFirst => y
            .f_as_strided([n, c, h, 2, w, 2], [image, channel, row, lower, column, right], None)?
            .f_reshape([n, c, 2 * h, 2 * w]),
    }
}

#[derive(Debug)]
struct Norm {
    weight: Tensor,
    bias: Tensor,
    groups: i64,
    eps: f64,
}

impl Norm {
    fn apply(&self, x: &Tensor) -> Result<Tensor, tch::TchError> {
        x.f_group_norm(self.groups, Some(&self.weight), Some(&self.bias), self.eps, true)
    }

    fn silu(&self, x: &Tensor) -> Result<Tensor, tch::TchError> {
        silu(self.apply(x)?)
    }
}

/// $x\,\sigma(x)$, in place where no gradient needs x.
fn silu(mut x: Tensor) -> Result<Tensor, tch::TchError> {
    if x.requires_grad() { x.f_silu() } else { x.f_silu_() }
}

/// norm, swish, convolution, + label, norm, swish, dropout, convolution, + input.
#[derive(Debug)]
struct Resnet {
    norm1: Norm,
    conv1: Conv,
    /// Its position among the residual blocks, in the order of the weights.
    index: usize,
    norm2: Norm,
    conv2: Conv,
    shortcut: Option<Conv>,
}

impl Resnet {
    fn apply(
        &self,
        x: &Tensor,
        added: &[Tensor],
        drop: Option<Drop<'_>>,
    ) -> Result<Tensor, tch::TchError> {
        let label = &added[self.index];
        let h = self.norm1.silu(x)?;
        let h = if label.size()[0] == 1 {
            self.conv1.apply(&h, Some(&label.f_squeeze_dim(0)?))?
        } else {
            let mut h = self.conv1.apply(&h, None)?;
            h.f_add_(&label.f_unsqueeze(2)?.f_unsqueeze(3)?)?
        };
        let mut h = self.norm2.silu(&h)?;
        if let Some(drop) = drop {
            h = drop(self.index, h)?;
        }
        let mut h = self.conv2.apply(&h, None)?;
        match &self.shortcut {
            Some(conv) => h.f_add_(&conv.apply(x, None)?),
            None => h.f_add_(x),
        }
    }
}

/// Self-attention over the pixels, with a residual connection.
///
/// The linear maps are 1x1 convolutions, which add their bias without another pass.
#[derive(Debug)]
struct Attention {
    norm: Norm,
    qkv: Conv,
    out: Conv,
    heads: i64,
}

impl Attention {
    fn apply(&self, x: &Tensor) -> Result<Tensor, tch::TchError> {
        let (n, c, height, width) = x.size4()?;
        let pixels = height * width;
        // [N, H W, 3 C], a view of a channels-last tensor.
        let qkv = self.qkv.apply(&self.norm.apply(x)?, None)?;
        let qkv = qkv.f_permute([0, 2, 3, 1])?.f_reshape([n, pixels, 3 * c])?;
        let parts = qkv.f_split(c, 2)?;
        let head = |i: usize| {
            parts[i].f_reshape([n, pixels, self.heads, c / self.heads])?.f_transpose(1, 2)
        };
        let y = Tensor::f_scaled_dot_product_attention(
            &head(0)?,
            &head(1)?,
            &head(2)?,
            None::<&Tensor>,
            0.0,
            false,
            None,
            false,
        )?;
        let y = y.f_transpose(1, 2)?.f_reshape([n, height, width, c])?.f_permute([0, 3, 1, 2])?;
        self.out.apply(&y, None)?.f_add_(x)
    }
}

/// The blocks of one resolution.
#[derive(Debug)]
struct Level<S> {
    resnets: Vec<Resnet>,
    attentions: Vec<Attention>,
    /// The convolution that leads to the next resolution.
    sampler: Option<S>,
}

impl<S> Level<S> {
    fn blocks(&self) -> impl Iterator<Item = (&Resnet, Option<&Attention>)> {
        self.resnets.iter().enumerate().map(|(b, resnet)| (resnet, self.attentions.get(b)))
    }
}
