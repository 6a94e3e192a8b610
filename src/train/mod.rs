//! Training: what is minimised, over which images, and by which steps.

pub mod losses;
pub mod settings;
