//! Denoisers and feature extractors.

pub mod checkpoint;
pub mod classifier;
pub mod gaussian;
pub mod mixture;
pub mod network;
pub mod unet;
pub mod unet_config;
pub mod weights;
