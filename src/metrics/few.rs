//! The Fréchet distance of fewer samples than features.
//!
//! N samples span N - 1 directions: of the D eigenvalues under the root all others are zero, and
//! computing them costs D^3 and leaves the square root of a rounding error for each. With X the
//! centred samples, $\operatorname{tr}(S\Sigma S)^{1/2}$, $S$ the reference's root, is the sum of
//! the singular values of $X S / \sqrt{N - 1}$. $X S = L Q$ with a triangle L of N x N, once; Q
//! changes no singular value, and leaving samples out takes rows from L.

use faer::Mat;
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

use crate::metrics::{Error, FrechetReference, Jackknife, Result};

/// As [`frechet_jackknife`](crate::metrics::frechet_jackknife), which chooses this for N < D.
pub(super) fn jackknife<A>(
    features: ArrayView2<'_, A>,
    blocks: usize,
    reference: &FrechetReference,
) -> Result<Jackknife>
where
    A: Copy + Into<f64> + Sync,
{
    let n = features.nrows();
    if blocks < 2 || blocks > n {
        return Err(Error::Blocks { blocks, n });
    }
    let few = Few::new(features.mapv(Into::into), reference)?;
    let value = few.distance(&(0..n).collect::<Vec<_>>())?;
    let leave_out = (0..blocks)
        .into_par_iter()
        .map(|b| {
            let block = b * n / blocks..(b + 1) * n / blocks;
            few.distance(&(0..n).filter(|row| !block.contains(row)).collect::<Vec<_>>())
        })
        .collect::<Result<_>>()?;
    Ok(Jackknife { value, leave_out })
}

struct Few<'a> {
    features: Array2<f64>,
    /// The transpose of L: a column a sample.
    triangle: Mat<f64>,
    reference: &'a FrechetReference,
}

impl<'a> Few<'a> {
    fn new(features: Array2<f64>, reference: &'a FrechetReference) -> Result<Self> {
        let (left, right) = (features.ncols(), reference.dimension());
        if left != right {
            return Err(Error::DimensionMismatch { left, right });
        }
        if let Some(((row, column), &value)) = features.indexed_iter().find(|(_, x)| !x.is_finite())
        {
            return Err(Error::NotFinite { row, column, value });
        }
        // About one common mean: nothing large cancels when that of the rows is taken off.
        let (n, mean) = (features.nrows(), features.mean_axis(Axis(0)));
        let centre = mean.ok_or(Error::TooFewSamples { n, needed: 2 })?;
        let transposed = Mat::from_fn(left, n, |i, j| features[[j, i]] - centre[i]);
        let triangle = (&reference.sqrt * transposed).qr().thin_R().to_owned();
        Ok(Self { features, triangle, reference })
    }

    /// The distance of some of the samples.
    fn distance(&self, rows: &[usize]) -> Result<f64> {
        let n = rows.len();
        if n < 2 {
            return Err(Error::TooFewSamples { n, needed: 2 });
        }
        let samples = self.features.select(Axis(0), rows);
        let mean = samples.mean_axis(Axis(0)).expect("invariant: at least two rows");
        let degrees = n as f64 - 1.0;
        let trace = (samples - &mean).iter().map(|x| x * x).sum::<f64>() / degrees;

        let order = self.triangle.nrows();
        let centre: Vec<f64> = (0..order)
            .map(|i| rows.iter().map(|&row| self.triangle[(i, row)]).sum::<f64>() / n as f64)
            .collect();
        let centred = Mat::from_fn(order, n, |i, j| self.triangle[(i, rows[j])] - centre[i]);
        let singular =
            centred.singular_values().map_err(|_| Error::Eigenvalues { dimension: n })?;
        let root = singular.iter().sum::<f64>() / degrees.sqrt();
        self.reference.assemble(&mean, trace, root)
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use ndarray::{Array1, concatenate, s};

    use super::*;
    use crate::metrics::{Moments, frechet_jackknife};

    /// Smooth, of full rank, and far from the origin.
    fn features(n: usize, d: usize, phase: f64) -> Array2<f64> {
        Array2::from_shape_fn((n, d), |(i, j)| {
            ((i * i * 7 + i * j * 3 + j * j) as f64 * 0.37 + phase).sin() + 20.0
        })
    }

    #[test]
    fn two_samples_have_the_closed_form() {
        let (x, y) = (features(3, 12, 0.0), Moments::of(features(60, 12, 1.0).view()).unwrap());
        let reference = FrechetReference::new(&y).unwrap();
        let found = frechet_jackknife(x.view(), 3, &reference).unwrap();
        let covariance = y.covariance().unwrap();
        for (b, found) in found.leave_out.iter().enumerate() {
            let rest: Vec<usize> = (0..3).filter(|&row| row != b).collect();
            let (p, q) = (x.row(rest[0]), x.row(rest[1]));
            let (d, mean): (Array1<f64>, Array1<f64>) = (&p - &q, (&p + &q) / 2.0);
            // Of rank one: the trace of the root is sqrt(d Sigma d / 2).
            let root = (d.dot(&covariance.dot(&d)) / 2.0).sqrt();
            let shift = (&mean - y.mean()).mapv(|x| x * x).sum();
            let expected = shift + d.dot(&d) / 2.0 + covariance.diag().sum() - 2.0 * root;
            assert_relative_eq!(*found, expected, max_relative = 1e-12);
        }
    }

    #[test]
    fn the_small_form_is_the_large_one() {
        let (x, y) = (features(20, 32, 0.3), features(200, 32, 0.8));
        let reference = FrechetReference::new(&Moments::of(y.view()).unwrap()).unwrap();
        let found = frechet_jackknife(x.view(), 6, &reference).unwrap();
        // The D x D form has the root of a rounding error for each eigenvalue that should be zero.
        let large = |x: ArrayView2<'_, f64>| reference.distance(&Moments::of(x).unwrap()).unwrap();
        assert_relative_eq!(found.value, large(x.view()), max_relative = 1e-7);
        for (b, found) in found.leave_out.iter().enumerate() {
            let (first, end) = (b * 20 / 6, (b + 1) * 20 / 6);
            let rest = concatenate![Axis(0), x.slice(s![..first, ..]), x.slice(s![end.., ..])];
            assert_relative_eq!(*found, large(rest.view()), max_relative = 1e-7);
        }
    }

    #[test]
    fn what_cannot_be_compared_is_refused_as_in_the_large_form() {
        let y = Moments::of(features(60, 12, 1.0).view()).unwrap();
        let reference = FrechetReference::new(&y).unwrap();
        let mut x = features(8, 12, 0.0);
        let refused =
            |x: &Array2<f64>, blocks| frechet_jackknife(x.view(), blocks, &reference).unwrap_err();
        assert_eq!(refused(&x, 9), Error::Blocks { blocks: 9, n: 8 });
        let two = x.slice(s![..2, ..]).to_owned();
        assert_eq!(refused(&two, 2), Error::TooFewSamples { n: 1, needed: 2 });
        let wide = features(8, 13, 0.0);
        assert_eq!(refused(&wide, 2), Error::DimensionMismatch { left: 13, right: 12 });
        x[[5, 3]] = f64::NAN;
        assert!(matches!(refused(&x, 4), Error::NotFinite { row: 5, column: 3, .. }));
    }
}
