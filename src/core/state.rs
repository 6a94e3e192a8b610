//! What a sampler needs of a tensor.

use crate::core::{Error, Result};

/// A tensor as a sampler sees it: one linear combination, a clamp, a scaling, a norm and a sanity
/// check.
///
/// The first axis counts samples. Coefficients are f64 whatever the tensor's type.
pub trait State: Sized {
    /// $\sum_i c_i x_i$ over terms of equal shape; at least one term.
    ///
    /// # Errors
    /// Whatever the tensor library returns, for instance for different shapes.
    fn lincomb(terms: &[(f64, &Self)]) -> Result<Self>;

    /// Every element clamped to `[low, high]`.
    ///
    /// # Errors
    /// Whatever the tensor library returns.
    fn clamp(&self, low: f64, high: f64) -> Result<Self>;

    /// $x\,e^{a v + b}$, element by element: noise whose variance differs between elements.
    ///
    /// # Errors
    /// Whatever the tensor library returns, for instance for different shapes.
    fn mul_exp(&self, v: &Self, a: f64, b: f64) -> Result<Self>;

    /// A category of each distribution along the last axis, as a one-hot vector: the category k of K with
    /// probability $p_k = w_k + e/K$, where w is `self` and e the `even` share of all K.
    ///
    /// The draw is a race. With independent standard normals a and b, $(a^2 + b^2)/2$ is exponential, and
    /// the smallest of $(a_k^2 + b_k^2)/p_k$ is that of k with probability $p_k$.
    ///
    /// # Errors
    /// A state whose elements are no categories, which is any that does not say otherwise, and weights that
    /// are negative or do not sum to 1.
    fn choose(&self, _even: f64, _race: [&Self; 2]) -> Result<Self> {
        Err(Error::model("the elements of this state are no categories"))
    }

    /// The root mean square of every sample: NaN or infinite where an element is.
    ///
    /// # Errors
    /// Whatever the tensor library returns.
    fn rms(&self) -> Result<Vec<f64>>;

    /// The largest root mean square of a sample: NaN or infinite where an element is.
    ///
    /// The norm of an adaptive method's error: every sample of a batch must meet the tolerance.
    ///
    /// # Errors
    /// Whatever the tensor library returns.
    fn largest_rms(&self) -> Result<f64> {
        Ok(largest(&self.rms()?).1)
    }

    /// Whether no element is NaN or infinite.
    ///
    /// # Errors
    /// Whatever the tensor library returns.
    fn is_finite(&self) -> Result<bool>;

    /// The first sample with an element that is NaN or infinite.
    ///
    /// # Errors
    /// Whatever the tensor library returns.
    fn first_not_finite(&self) -> Result<Option<usize>> {
        Ok(self.rms()?.iter().position(|rms| !rms.is_finite()))
    }
}

/// The largest root mean square of a sample, and the sample: NaN counts as larger than any number.
pub(crate) fn largest(rms: &[f64]) -> (usize, f64) {
    // f64::max drops a NaN.
    let larger = |most: (usize, f64), (row, &rms): (usize, &f64)| {
        if rms > most.1 || rms.is_nan() { (row, rms) } else { most }
    };
    rms.iter().enumerate().fold((0, 0.0), larger)
}

/// A state without elements, to run a solver only to count its model calls.
///
/// Counting the calls this way needs no table of costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ghost;

impl State for Ghost {
    fn lincomb(_: &[(f64, &Self)]) -> Result<Self> {
        Ok(Self)
    }

    fn clamp(&self, _: f64, _: f64) -> Result<Self> {
        Ok(Self)
    }

    fn mul_exp(&self, _: &Self, _: f64, _: f64) -> Result<Self> {
        Ok(Self)
    }

    fn choose(&self, _: f64, _: [&Self; 2]) -> Result<Self> {
        Ok(Self)
    }

    fn rms(&self) -> Result<Vec<f64>> {
        Ok(vec![])
    }

    fn is_finite(&self) -> Result<bool> {
        Ok(true)
    }
}
