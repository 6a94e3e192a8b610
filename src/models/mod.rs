//! Denoisers and feature extractors.

pub mod checkpoint;
pub mod classifier;
pub mod features;
mod folded;
pub mod gaussian;
pub mod inception;
pub mod inception_script;
pub mod mixture;
pub mod network;
pub mod unet;
pub mod unet_config;
pub mod weights;
