//! `State` and `Noise` for one tensor type each.

pub mod array;
#[cfg(feature = "torch")]
pub mod cuda;
#[cfg(feature = "torch")]
pub mod fused;
#[cfg(feature = "torch")]
mod message;
#[cfg(feature = "torch")]
pub mod package;
#[cfg(feature = "torch")]
pub mod replay;
#[cfg(feature = "torch")]
pub mod torch;
#[cfg(feature = "torch")]
pub mod upload;
