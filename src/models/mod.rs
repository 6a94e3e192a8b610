//! Denoisers and feature extractors.

pub mod checkpoint;
pub mod classifier;
pub mod conversion;
pub mod files;
pub mod gaussian;
pub mod hub;
pub mod inspection;
pub mod mixture;
pub mod network;
pub mod torchscript;
pub mod unet;
pub mod unet_config;
pub mod weights;
