//! Where and how a network runs: device, number format, order in memory.

use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::backends::fused;

/// The number format inside the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats, the precision of a measured result.
    #[default]
    F32,
    /// bfloat16 weights and activations; the timestep's embedding stays in f32, and group
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

    pub(crate) fn kind(self) -> Kind {
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
    /// Whether a UNet's normalisations, sums and enlargements are kernels of
    /// [`fused`], which needs `ChannelsLast`; on the CPU for tests alone.
    pub fused: bool,
}

impl Placement {
    /// On a device, in the order and with the kernels that are fastest there.
    pub fn on(device: Device, precision: Precision) -> Self {
        let fused = device.is_cuda() && fused::ready().is_ok();
        Self { device, precision, layout: Layout::default(), fused }
    }
}

impl Default for Placement {
    fn default() -> Self {
        Self::on(Device::Cpu, Precision::default())
    }
}
