//! The Fréchet distance between two sets of features, each taken as a Gaussian.
//!
//! In the features of the 2015 Inception network this is the FID of the literature; in those of
//! another network it is another scale. The root is never taken of the product
//! $\Sigma_1\Sigma_2$, which is not symmetric: its eigenvalues are those of the symmetric
//! $\Sigma_2^{1/2}\Sigma_1\Sigma_2^{1/2}$, which are real, and negative only by rounding. One
//! reference is compared with many sets of samples, so its root is taken once.

use faer::{Mat, Side};
use ndarray::{Array1, ArrayView2};

use crate::metrics::{Error, Moments, Result};

/// Negative eigenvalues of a covariance up to this share of the largest are rounding.
const NEGATIVE_BY_ROUNDING: f64 = 1e-6;

/// The reference, which many sets of samples are compared with.
#[derive(Clone, Debug)]
pub struct FrechetReference {
    n: usize,
    pub(super) mean: Array1<f64>,
    pub(super) sqrt: Mat<f64>,
    pub(super) trace: f64,
}

impl FrechetReference {
    /// Takes the root of the reference's covariance.
    ///
    /// - Cost: one symmetric eigendecomposition, D^3.
    ///
    /// # Errors
    /// Fewer than two samples, or a covariance that is not finite or has a negative eigenvalue
    /// larger than rounding.
    pub fn new(moments: &Moments) -> Result<Self> {
        let covariance = moments.covariance()?;
        check_finite(moments, covariance.view())?;
        let dimension = moments.dimension();
        let trace = covariance.diag().sum();
        let eigen = to_faer(covariance.view())
            .self_adjoint_eigen(Side::Lower)
            .map_err(|_| Error::Eigenvalues { dimension })?;
        let values: Vec<f64> = eigen.S().column_vector().iter().copied().collect();
        let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
        let largest = values.iter().copied().fold(0.0, f64::max);
        if smallest < -NEGATIVE_BY_ROUNDING * largest {
            return Err(Error::NotACovariance { smallest, largest });
        }
        let u = eigen.U();
        // U diag(lambda^(1/4)) times its own transpose is the root, symmetric to the last bit.
        let half =
            Mat::from_fn(dimension, dimension, |i, j| u[(i, j)] * values[j].max(0.0).powf(0.25));
        let sqrt = &half * half.transpose();
        Ok(Self { n: moments.n(), mean: moments.mean().clone(), sqrt, trace })
    }

    /// The number of samples behind the reference.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The number of features D.
    pub fn dimension(&self) -> usize {
        self.mean.len()
    }

    /// The Fréchet distance of `samples` to this reference.
    ///
    /// $$d^2 = \lVert\mu_a-\mu_b\rVert^2 + \operatorname{tr}\bigl(\Sigma_a + \Sigma_b
    /// -2(\Sigma_b^{1/2}\Sigma_a\Sigma_b^{1/2})^{1/2}\bigr)$$
    ///
    /// The squared distance, as FID is always quoted; no ridge is added to a singular covariance. It
    /// is biased upwards by an amount of the order of D / N: never compare values of different N, and
    /// see [`frechet_jackknife`](crate::metrics::frechet_jackknife) for the correction.
    ///
    /// - Units: those of the features, squared.
    /// - Cost: two products and the eigenvalues of one symmetric matrix, D^3.
    ///
    /// # Errors
    /// Another number of features, fewer than two samples, or values that are not finite.
    ///
    /// # References
    /// Dowson, Landau, *The Fréchet distance between multivariate normal distributions*, J.
    /// Multivariate Analysis 12 (1982). Heusel et al., *GANs trained by a two time-scale update rule
    /// converge to a local Nash equilibrium*, NeurIPS 2017, eq. (6). arXiv:1706.08500.
    pub fn distance(&self, samples: &Moments) -> Result<f64> {
        let (left, right) = (samples.dimension(), self.dimension());
        if left != right {
            return Err(Error::DimensionMismatch { left, right });
        }
        let covariance = samples.covariance()?;
        check_finite(samples, covariance.view())?;
        let product = &self.sqrt * to_faer(covariance.view()) * &self.sqrt;
        let eigenvalues = product
            .self_adjoint_eigenvalues(Side::Lower)
            .map_err(|_| Error::Eigenvalues { dimension: left })?;
        let root: f64 = eigenvalues.iter().map(|lambda| lambda.max(0.0).sqrt()).sum();
        self.assemble(samples.mean(), covariance.diag().sum(), root)
    }

    /// The distance of the samples' mean, the trace of their covariance and that of the root.
    pub(super) fn assemble(&self, mean: &Array1<f64>, trace: f64, root: f64) -> Result<f64> {
        let shift: f64 = mean.iter().zip(&self.mean).map(|(a, b)| (a - b).powi(2)).sum();
        let distance = shift + trace + self.trace - 2.0 * root;
        if distance.is_finite() {
            Ok(distance)
        } else {
            Err(Error::MomentsNotFinite { what: "distance" })
        }
    }
}

fn check_finite(moments: &Moments, covariance: ArrayView2<'_, f64>) -> Result<()> {
    // faer loops or answers NaN on such input, which would hide where it came from.
    if !moments.mean().iter().all(|x| x.is_finite()) {
        return Err(Error::MomentsNotFinite { what: "mean" });
    }
    if !covariance.iter().all(|x| x.is_finite()) {
        return Err(Error::MomentsNotFinite { what: "covariance" });
    }
    Ok(())
}

fn to_faer(matrix: ArrayView2<'_, f64>) -> Mat<f64> {
    Mat::from_fn(matrix.nrows(), matrix.ncols(), |i, j| matrix[[i, j]])
}

#[cfg(test)]
mod tests {
    use approx::{assert_abs_diff_eq, assert_relative_eq};
    use ndarray::{Array1, Array2, Axis, array, s};

    use super::*;

    fn frechet_distance(a: &Moments, b: &Moments) -> Result<f64> {
        FrechetReference::new(b)?.distance(a)
    }

    /// Tensors that any language rebuilds bit for bit: FNV-1a of the name, SplitMix64 of the index.
    fn unit(name: &str, rows: usize, columns: usize) -> Array2<f64> {
        let seed = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3)
        });
        let mut index = 0_u64;
        Array2::from_shape_simple_fn((rows, columns), || {
            index += 1;
            let z = seed.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 11) as f64 * 2_f64.powi(-52) - 1.0
        })
    }

    fn normal(name: &str, rows: usize, columns: usize) -> Array2<f64> {
        let u1 = unit(&format!("{name}/u1"), rows, columns);
        let u2 = unit(&format!("{name}/u2"), rows, columns);
        ndarray::Zip::from(&u1).and(&u2).map_collect(|a, b| {
            (-2.0 * (1.0 - f64::midpoint(*a, 1.0)).ln()).sqrt()
                * (std::f64::consts::TAU * f64::midpoint(*b, 1.0)).cos()
        })
    }

    fn diagonal(mean: &[f64], deviation: &[f64]) -> Moments {
        let covariance = Array2::from_diag(&Array1::from_iter(deviation.iter().map(|s| s * s)));
        Moments::from_parts(10, Array1::from(mean.to_vec()), covariance).unwrap()
    }

    #[test]
    fn diagonal_gaussians_have_the_closed_form() {
        let a = diagonal(&[1.0, -2.0, 0.5], &[1.0, 0.1, 3.0]);
        let b = diagonal(&[0.0, -1.0, 0.5], &[2.0, 0.4, 2.5]);
        // sum of (difference of means)^2 + (difference of deviations)^2
        let expected = 1.0 + 1.0 + 1.0 + 0.09 + 0.25;
        assert_relative_eq!(frechet_distance(&a, &b).unwrap(), expected, max_relative = 1e-13);
        assert_relative_eq!(frechet_distance(&b, &a).unwrap(), expected, max_relative = 1e-13);
    }

    #[test]
    fn the_distance_agrees_with_pytorch_fid() {
        let a = normal("fid/a", 3000, 64);
        let mix = Array2::eye(64) + 0.2 * unit("fid/m", 64, 64);
        let b = normal("fid/b", 2500, 64).dot(&mix) + 0.1;
        let distance =
            frechet_distance(&Moments::of(a.view()).unwrap(), &Moments::of(b.view()).unwrap());
        // pytorch-fid's calculate_frechet_distance on numpy's mean and unbiased covariance.
        assert_relative_eq!(distance.unwrap(), 29.316_276_475_817_546, max_relative = 1e-10);
    }

    #[test]
    fn a_covariance_of_fewer_samples_than_features_needs_no_ridge() {
        let few = Moments::of(normal("frechet/c", 20, 32).view()).unwrap();
        let many = Moments::of(normal("frechet/d", 200, 32).view()).unwrap();
        let expected = 21.290_083_188_775;
        // numpy 2.4: eigvalsh of sqrt(S_d) S_c sqrt(S_d), negative eigenvalues set to zero.
        for (a, b) in [(&few, &many), (&many, &few)] {
            assert_relative_eq!(frechet_distance(a, b).unwrap(), expected, max_relative = 1e-6);
        }
    }

    #[test]
    fn a_set_has_no_distance_to_itself() {
        let moments = Moments::of(normal("frechet/self", 500, 16).view()).unwrap();
        assert_abs_diff_eq!(frechet_distance(&moments, &moments).unwrap(), 0.0, epsilon = 1e-12);
    }

    #[test]
    fn the_distance_does_not_depend_on_a_rotation_of_the_features() {
        let (a, b) = (normal("frechet/r", 300, 4), normal("frechet/s", 300, 4) * 1.5 + 0.2);
        let half = 0.5_f64;
        let rotation =
            array![[1., 1., 1., 1.], [1., -1., 1., -1.], [1., 1., -1., -1.], [1., -1., -1., 1.]]
                * half;
        let distance = |a: &Array2<f64>, b: &Array2<f64>| {
            frechet_distance(&Moments::of(a.view()).unwrap(), &Moments::of(b.view()).unwrap())
                .unwrap()
        };
        let turned = distance(&a.dot(&rotation), &b.dot(&rotation));
        assert_relative_eq!(distance(&a, &b), turned, max_relative = 1e-12);
    }

    #[test]
    fn streaming_does_not_move_the_distance() {
        let (a, b) = (normal("frechet/u", 300, 8), normal("frechet/v", 400, 8));
        let reference = FrechetReference::new(&Moments::of(b.view()).unwrap()).unwrap();
        let mut streamed = Moments::new(8);
        for rows in a.axis_chunks_iter(Axis(0), 32) {
            streamed.push(rows).unwrap();
        }
        let whole = reference.distance(&Moments::of(a.view()).unwrap()).unwrap();
        assert_relative_eq!(reference.distance(&streamed).unwrap(), whole, max_relative = 1e-12);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let features = normal("frechet/w", 10, 3);
        let three = Moments::of(features.view()).unwrap();
        let two = Moments::of(features.slice(s![.., ..2])).unwrap();
        assert_eq!(
            frechet_distance(&two, &three),
            Err(Error::DimensionMismatch { left: 2, right: 3 })
        );
        let one = Moments::of(features.slice(s![..1, ..])).unwrap();
        assert_eq!(frechet_distance(&one, &three), Err(Error::TooFewSamples { n: 1, needed: 2 }));
        let indefinite =
            Moments::from_parts(9, array![0.0, 0.0], array![[1.0, 2.0], [2.0, 1.0]]).unwrap();
        assert!(matches!(FrechetReference::new(&indefinite), Err(Error::NotACovariance { .. })));
        let infinite = Moments::from_parts(9, array![0.0], array![[f64::INFINITY]]);
        assert_eq!(infinite, Err(Error::MomentsNotFinite { what: "covariance" }));
    }
}
