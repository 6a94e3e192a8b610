//! Denoisers and feature extractors.

pub mod architecture;
pub mod checkpoint;
pub mod classifier;
pub mod compile;
pub mod compiled;
pub mod conversion;
pub mod extractors;
pub mod features;
pub mod files;
pub mod flops;
mod folded;
pub mod home;
pub mod hub;
pub mod inception;
pub mod inception_script;
pub mod inspection;
pub mod network;
pub mod open_error;
pub mod placement;
pub mod predicts;
pub mod reading;
pub mod scheduler_config;
pub mod torchscript;
pub mod unet;
pub mod unet_config;
pub mod weights;
