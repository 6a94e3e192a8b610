//! `State` and `Noise` for one tensor type each.

pub mod array;
pub mod cuda;
pub mod torch;
