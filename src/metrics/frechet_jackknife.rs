//! The Fréchet distance with its jackknife, by the moments of blocks or, of few samples, by the
//! samples.

use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::metrics::{
    FrechetReference, Jackknife, Moments, Result, few,
    jackknife::block_moments,
    measure::{Best, Measure, Of},
};

/// The Fréchet distance as a measure.
pub static FD: Measure = Measure {
    name: "fd",
    task: "sample",
    of: Of::Moments(frechet_jackknife),
    best: Best::Low,
    about: "Fréchet distance of features (FID if features = \"inception\"), lower is better",
    unit: "Fréchet distance, lower is better",
};

/// The Fréchet distance of `features` to a reference, and without each of B blocks of samples.
///
/// Block b holds the rows from `b * N / B` up to `(b + 1) * N / B`: contiguous by sample index, of
/// sizes that differ by one at most, so that the same rows are left out in every cell of a sweep.
///
/// - Shape: `features` `[N, D]`.
/// - Cost: the moments once and B + 1 distances of D^3; of N^3 where N < D, and the moments never.
///
/// # Errors
/// Fewer than two blocks or more than samples, too few samples without a block, another number of
/// features than the reference, or a feature that is not finite.
pub fn frechet_jackknife<A>(
    features: ArrayView2<'_, A>,
    blocks: usize,
    reference: &FrechetReference,
) -> Result<Jackknife>
where
    A: Copy + Into<f64> + Sync,
{
    if features.nrows() < features.ncols() {
        return few::jackknife(features, blocks, reference);
    }
    let parts = block_moments(features, blocks)?;
    let mut all = Moments::new(features.ncols());
    for part in &parts {
        all.merge(part)?;
    }
    let value = reference.distance(&all)?;
    let leave_out = parts
        .par_iter()
        .map(|part| reference.distance(&all.without(part)?))
        .collect::<Result<Vec<_>>>()?;
    Ok(Jackknife { value, leave_out })
}
