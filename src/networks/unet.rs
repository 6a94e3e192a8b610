//! The UNet of DDPM, run and trained by LibTorch.
//!
//! The network of Ho, Jain and Abbeel (2020) with the parameterisation of diffusers' `UNet2DModel`:
//! a way down and a way up over the resolutions, residual blocks that add a projection of the
//! timestep, self-attention at chosen levels and in the middle, and every output of the way
//! down concatenated to the way up.
//!
//! Activations are kept channels-last, the layout in which oneDNN convolves and attention reads
//! without a copy. Weights that meet the same input are joined when the network is built: the
//! timestep's projections in all residual blocks are one product, and so are query, key and value.
//! The state and the result are f32 whatever the precision inside.
//!
//! In training the network is a function of its weights: built anew for every step, so that
//! gradients flow through the joining and the casts to the f32 weights they were made from.

mod builder;
mod layers;
mod narrow_norm;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use tch::{Device, Kind, Tensor};

use self::builder::Builder;
use self::layers::Attention;
use self::layers::Conv;
pub use self::layers::Dropout;
use self::layers::Level;
use self::layers::Linear;
use self::layers::Norm;
use self::layers::Parts;
use self::layers::Resnet;
use self::layers::Upsample;
use self::layers::silu;
use crate::backends::{fused, replay::Replays, torch::first_line, upload::upload};
use crate::networks::{
    placement::{Layout, Placement, Precision},
    unet_config::UnetConfig,
    weights::{Weights, WeightsError},
};

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
    /// There are not as many timesteps as images.
    #[error("timesteps have shape {found:?}; {images} images take [{images}] or [1]")]
    Timesteps {
        /// The shape given.
        found: Vec<i64>,
        /// The number of images.
        images: i64,
    },
    /// LibTorch refused an operation.
    #[error("LibTorch: {}", first_line(.0))]
    Torch(#[from] tch::TchError),
}

/// A DDPM UNet, ready to run.
#[derive(Debug)]
pub struct Unet {
    config: UnetConfig,
    placement: Placement,
    frequencies: Tensor,
    time1: Linear,
    time2: Linear,
    time_projections: Linear,
    /// The width of each residual block's part of the projections.
    widths: Vec<i64>,
    conv_in: Conv,
    down: Vec<Level<Conv>>,
    middle: (Resnet, Attention, Resnet),
    up: Vec<Level<Upsample>>,
    norm_out: Norm,
    conv_out: Conv,
    /// Calls of few images as a GPU has recorded them.
    replays: Mutex<Replays>,
}

/// Pixels of a call up to which a GPU waits for the processor to queue a network's operations, so that
/// replaying them pays: 128 images of 32 x 32.
const FEW_PIXELS: usize = 128 * 32 * 32;

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
        let frequencies = frequencies(config, placement.device)?;
        Ok(tch::no_grad(|| Self::build(config, &weights.tensors, frequencies, placement))?)
    }

    /// Builds the network as a differentiable function of its weights, with its [`frequencies`].
    ///
    /// # Errors
    /// What LibTorch refuses.
    ///
    /// # Panics
    /// If a tensor of [`UnetConfig::tensors`] is missing.
    pub fn of_parameters(
        config: &UnetConfig,
        parameters: &BTreeMap<String, Tensor>,
        frequencies: &Tensor,
        placement: Placement,
    ) -> Result<Self, UnetError> {
        Ok(Self::build(config, parameters, frequencies.shallow_clone(), placement)?)
    }

    fn build(
        config: &UnetConfig,
        tensors: &BTreeMap<String, Tensor>,
        frequencies: Tensor,
        placement: Placement,
    ) -> Result<Self, tch::TchError> {
        let kernels = placement.fused && placement.layout == Layout::ChannelsLast;
        let fused = kernels && Self::fits(config, placement.precision);
        let placement = Placement { fused, ..placement };
        let mut builder = Builder { config, tensors, placement, projections: Vec::new() };
        let levels = config.levels();
        let conv_in = builder.conv("conv_in", 1, 1)?;
        let mut down = Vec::with_capacity(levels);
        for l in 0..levels {
            let name = format!("down_blocks.{l}");
            let parts = vec![None; config.layers_per_block];
            let mut level = builder.level(&name, &parts, config.down_attention[l])?;
            if l + 1 < levels {
                let name = format!("{name}.downsamplers.0.conv");
                level.sampler = Some(builder.conv(&name, 2, config.downsample_padding)?);
            }
            down.push(level);
        }
        let middle = (
            builder.resnet("mid_block.resnets.0", None)?,
            builder.attention("mid_block.attentions.0")?,
            builder.resnet("mid_block.resnets.1", None)?,
        );
        let mut up = Vec::with_capacity(levels);
        for u in 0..levels {
            let name = format!("up_blocks.{u}");
            // What comes from below or from the block before, beside a skip.
            let width = config.block_out_channels[levels - 1 - u];
            let below = config.block_out_channels[(levels - u).min(levels - 1)];
            let mut parts = vec![Some(width); config.layers_per_block + 1];
            parts[0] = Some(below);
            let mut level = builder.level(&name, &parts, config.up_attention[u])?;
            if u + 1 < levels {
                level.sampler = Some(builder.upsample(&format!("{name}.upsamplers.0.conv"))?);
            }
            up.push(level);
        }
        Ok(Self {
            frequencies,
            time1: builder.linear("time_embedding.linear_1")?,
            time2: builder.linear("time_embedding.linear_2")?,
            norm_out: builder.norm("conv_norm_out")?,
            conv_out: builder.conv("conv_out", 1, 1)?,
            time_projections: builder.time_projections()?,
            widths: builder.projections.iter().map(|(weight, _)| weight.size()[0]).collect(),
            config: config.clone(),
            placement,
            conv_in,
            down,
            middle,
            up,
            replays: Mutex::default(),
        })
    }

    /// Whether the kernels of [`fused`] take every layer of such a network.
    pub fn fits(config: &UnetConfig, precision: Precision) -> bool {
        let kind = precision.kind();
        let norm = |(name, shape): (&String, &Vec<i64>)| {
            (name.ends_with(".weight") && shape.len() == 1).then(|| shape[0])
        };
        let tensors = config.tensors();
        let mut norms = tensors.iter().filter_map(norm);
        // Each part of a joined input has whole words of its own.
        let whole = |&width: &i64| fused::fits(width, 1, kind);
        norms.all(|width| fused::fits(width, config.norm_num_groups, kind))
            && config.block_out_channels.iter().all(whole)
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
    /// - Shape: images `[N, C, H, W]`, t `[N]`, or `[1]` for one timestep that all images share
    ///   (faster: its projection becomes part of a convolution's bias); result `[N, C_out, H, W]`.
    /// - Units: t is the 0-based timestep, a real number; images and result are f32.
    ///
    /// # Errors
    /// When the shapes do not fit, or LibTorch refuses an operation.
    pub fn forward(&self, images: &Tensor, t: &Tensor) -> Result<Tensor, UnetError> {
        self.check(images, t)?;
        let device = self.placement.device;
        let pixels = images.numel() / usize::try_from(self.config.in_channels).unwrap_or(1);
        if !device.is_cuda() || pixels > FEW_PIXELS {
            return Ok(tch::no_grad(|| self.run(images, t, None))?);
        }
        let work = |inputs: &[Tensor]| -> Result<_, tch::TchError> {
            Ok([tch::no_grad(|| self.run(&inputs[0], &inputs[1], None))?])
        };
        let mut replays = self.replays.lock().unwrap_or_else(PoisonError::into_inner);
        let [out] = replays.run(&[images.f_to_device(device)?, upload(t, device)?], &work)?;
        Ok(out)
    }

    /// Runs the network for training, with a timestep for each image and maybe dropout.
    ///
    /// # Errors
    /// As [`Unet::forward`].
    pub fn forward_train(
        &self,
        images: &Tensor,
        t: &Tensor,
        dropout: Option<&dyn Dropout>,
    ) -> Result<Tensor, UnetError> {
        self.check(images, t)?;
        Ok(self.run(images, t, dropout)?)
    }

    fn check(&self, images: &Tensor, t: &Tensor) -> Result<(), UnetError> {
        let found = images.size();
        let factor = 1 << (self.config.levels() - 1);
        let channels = self.config.in_channels;
        let &[n, c, h, w] = found.as_slice() else {
            return Err(UnetError::Images { found, channels, factor });
        };
        if c != channels || h % factor != 0 || w % factor != 0 {
            return Err(UnetError::Images { found, channels, factor });
        }
        let shape = t.size();
        if shape != [n] && shape != [1] {
            return Err(UnetError::Timesteps { found: shape, images: n });
        }
        Ok(())
    }

    fn run(
        &self,
        images: &Tensor,
        t: &Tensor,
        dropout: Option<&dyn Dropout>,
    ) -> Result<Tensor, tch::TchError> {
        let Placement { device, precision, layout, fused } = self.placement;
        let kind = precision.kind();
        let added = self.added(t)?.f_to_kind(kind)?.f_split_with_sizes(&self.widths[..], 1)?;
        let images = layout.of(&images.f_to_device(device)?.f_to_kind(kind)?)?;

        let convolve = |conv: &Conv, x: &Tensor| {
            if fused { conv.plus(x, [None, None]) } else { conv.apply(x) }
        };
        let resnet = |block: &Resnet, x: Parts<'_>| {
            if fused { block.fused(x, &added, dropout) } else { block.apply(x, &added, dropout) }
        };
        let attend = |attention: &Attention, x: &Tensor| {
            if fused { attention.fused(x) } else { attention.apply(x) }
        };
        let mut x = convolve(&self.conv_in, &images)?;
        let mut skips = vec![x.shallow_clone()];
        for level in &self.down {
            for (block, attention) in level.blocks() {
                x = resnet(block, Parts(&x, None))?;
                if let Some(attention) = attention {
                    x = attend(attention, &x)?;
                }
                skips.push(x.shallow_clone());
            }
            if let Some(conv) = &level.sampler {
                // Zeros on the right and at the bottom only: TensorFlow's "same" at stride 2.
                if self.config.downsample_padding == 0 {
                    x = x.f_constant_pad_nd([0, 1, 0, 1])?;
                }
                x = convolve(conv, &x)?;
                skips.push(x.shallow_clone());
            }
        }
        let (before, attention, after) = &self.middle;
        x = attend(attention, &resnet(before, Parts(&x, None))?)?;
        x = resnet(after, Parts(&x, None))?;
        for level in &self.up {
            for (block, attention) in level.blocks() {
                let skip = skips.pop().expect("invariant: the way up has a block for each skip");
                x = resnet(block, Parts(&x, Some(&skip)))?;
                if let Some(attention) = attention {
                    x = attend(attention, &x)?;
                }
            }
            if let Some(upsample) = &level.sampler {
                x = if fused { upsample.fused(&x) } else { upsample.apply(&x, layout) }?;
            }
        }
        let x = if fused {
            self.norm_out.fused(Parts(&x, None), None, true, None)?
        } else {
            self.norm_out.silu(&x)?
        };
        self.conv_out.apply(&x)?.f_to_kind(Kind::Float)?.f_contiguous()
    }

    /// What each residual block adds for the timesteps, side by side: `[N]` to `[N, sum of widths]`.
    ///
    /// The features are taken in f64: a t near 1000 loses three digits of the phase in f32.
    fn added(&self, t: &Tensor) -> Result<Tensor, tch::TchError> {
        let t = t.f_to_device(self.placement.device)?.f_to_kind(Kind::Double)?;
        let phase = t.f_unsqueeze(1)?.f_mul(&self.frequencies)?;
        let (sin, cos) = (phase.f_sin()?, phase.f_cos()?);
        let features = if self.config.flip_sin_to_cos { [cos, sin] } else { [sin, cos] };
        let features = Tensor::f_cat(&features, 1)?.f_to_kind(Kind::Float)?;
        let hidden = silu(self.time1.apply(&features)?)?;
        let embedding = silu(self.time2.apply(&hidden)?)?;
        self.time_projections.apply(&embedding)
    }
}

/// The timestep's frequencies, `10000^(-i / (half - shift))` for `i < half`, in f64 on a device.
///
/// # Errors
/// If the device has no room.
pub fn frequencies(config: &UnetConfig, device: Device) -> Result<Tensor, tch::TchError> {
    let half = config.base() / 2;
    let scale = -(10_000_f64.ln()) / (half as f64 - config.freq_shift);
    let frequencies: Vec<f64> = (0..half).map(|i| (scale * i as f64).exp()).collect();
    Tensor::f_from_slice(&frequencies)?.f_to_device(device)
}
