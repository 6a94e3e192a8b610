//! Losses of one label as pure functions, in f64.
//!
//! A term is that of [`crate::likelihood::VariationalBound::term`] at a label drawn uniformly from
//! the T of the schedule: T times its mean is the whole bound.
//!
//! # References
//! Nichol, Dhariwal, *Improved Denoising Diffusion Probabilistic Models*, ICML 2021, section 3.1;
//! Ho, Jain, Abbeel, *Denoising Diffusion Probabilistic Models*, NeurIPS 2020, Eq. (14).

use crate::backends::array::Array;

/// Lambda, the weight of the bound in [`hybrid`].
pub const LAMBDA: f64 = 0.001;

/// $L_\text{simple} = \operatorname{mean}\,(\epsilon - \epsilon_\theta)^2$ of each image (Ho et al.,
/// Eq. 14).
///
/// - Shape: both `[N, ...]`.
///
/// # Panics
/// If the shapes differ.
pub fn simple(eps: &Array, predicted: &Array) -> Vec<f64> {
    let squares = (eps - predicted).mapv(|difference| difference * difference);
    squares.outer_iter().map(|image| image.mean().unwrap_or(f64::NAN)).collect()
}

/// $L_\text{hybrid} = L_\text{simple} + \lambda L_\text{vlb}$ (Nichol, Dhariwal, Eq. 16), where
/// $T \cdot$ `term` estimates the bound, in bits per dimension.
///
/// Its gradient stops at the mean of the bound's term: there the bound teaches the variance alone.
pub fn hybrid(simple: f64, term: f64, labels: usize) -> f64 {
    simple + LAMBDA * rescaled_kl(term, labels)
}

/// $L_\text{vlb}$ estimated from one term, T times that term, in bits per dimension.
pub fn rescaled_kl(term: f64, labels: usize) -> f64 {
    labels as f64 * term
}
