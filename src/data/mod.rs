//! Image sets and array files.

pub mod cifar10;
pub mod npy;
