//! How likely a model finds images: bits per dimension.
//!
//! A method that draws noise has a [`VariationalBound`]; one that draws none moves along the
//! probability-flow ODE, whose likelihood is a [`Flow`]'s. Bytes are levels of a bin each: the bound integrates
//! over the bins, and a density takes images that are spread over them ([`dequantised`]). [`NonMarkovian`] is
//! about values, not bytes: the objective that DDIM's training loss is derived from.

mod bound;
mod flow;
mod objective;
mod spread;
mod truth;

pub use bound::{Bits, Reverse, VariationalBound};
pub use flow::{Density, Flow, Followed};
pub use objective::{NonMarkovian, Sums, Terms, Weights};
pub use spread::{Probe, bits_of_density, dequantised, nearest_bytes, probe};
pub use truth::{log_density, log_mass};

/// Half of a byte's bin on [-1, 1].
pub(crate) const HALF_BIN: f64 = 1.0 / 255.0;
