//! Mean and covariance of features that arrive in batches.
//!
//! A batch is centred on its own mean before it is squared, and two sets of moments are merged
//! through the difference of their means (Chan, Golub, LeVeque 1983): nothing large is ever
//! subtracted from something large, so a mean far from zero costs no digits. Everything is f64,
//! whatever the features are. The result depends on the order of the batches in its last bits, and
//! on nothing else: the same batches in the same order give the same bytes on the same machine.

use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::metrics::{Error, Result};

/// The number, mean and covariance of a set of feature vectors, growing batch by batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    n: usize,
    mean: Array1<f64>,
    /// Sum over the samples of (x - mean)(x - mean)^T.
    scatter: Array2<f64>,
}

impl Moments {
    /// Moments of no samples yet, of `dimension` features.
    pub fn new(dimension: usize) -> Self {
        Self {
            n: 0,
            mean: Array1::zeros(dimension),
            scatter: Array2::zeros((dimension, dimension)),
        }
    }

    /// Moments of one batch.
    ///
    /// - Shape: `features` `[N, D]`.
    ///
    /// # Errors
    /// A feature that is not finite.
    pub fn of<A: Copy + Into<f64>>(features: ArrayView2<'_, A>) -> Result<Self> {
        let features = features.mapv(Into::into);
        for ((row, column), &value) in features.indexed_iter() {
            if !f64::is_finite(value) {
                return Err(Error::NotFinite { row, column, value });
            }
        }
        let Some(mean) = features.mean_axis(Axis(0)) else {
            return Ok(Self::new(features.ncols()));
        };
        let centred = features - &mean;
        Ok(Self { n: centred.nrows(), scatter: centred.t().dot(&centred), mean })
    }

    /// Moments from their published form.
    ///
    /// - Shape: `mean` `[D]`, `covariance` `[D, D]`, unbiased (divided by N - 1).
    ///
    /// # Errors
    /// Fewer than two samples, shapes that do not fit, or values that are not finite.
    pub fn from_parts(n: usize, mean: Array1<f64>, covariance: Array2<f64>) -> Result<Self> {
        if n < 2 {
            return Err(Error::TooFewSamples { n, needed: 2 });
        }
        let (rows, columns) = covariance.dim();
        if (rows, columns) != (mean.len(), mean.len()) {
            return Err(Error::CovarianceShape { mean: mean.len(), rows, columns });
        }
        for (what, values) in
            [("mean", mean.view().into_dyn()), ("covariance", covariance.view().into_dyn())]
        {
            if !values.iter().all(|value| value.is_finite()) {
                return Err(Error::MomentsNotFinite { what });
            }
        }
        Ok(Self { n, mean, scatter: covariance * (n as f64 - 1.0) })
    }

    /// Adds a batch.
    ///
    /// - Shape: `batch` `[N, D]`.
    ///
    /// # Errors
    /// A feature that is not finite, or another number of features.
    pub fn push<A: Copy + Into<f64>>(&mut self, batch: ArrayView2<'_, A>) -> Result<()> {
        self.merge(&Self::of(batch)?)
    }

    /// Adds the samples of `other`.
    ///
    /// $$M = M_a + M_b + \frac{n_a n_b}{n} \delta\delta^\top, \qquad \delta = m_b - m_a$$
    ///
    /// with $M$ the centred sum of squares and $m$ the mean.
    ///
    /// # Errors
    /// Another number of features.
    ///
    /// # References
    /// Chan, Golub, LeVeque, *Algorithms for computing the sample variance*, The American
    /// Statistician 37 (1983), eq. (2.1).
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        self.check_dimension(other)?;
        if other.n == 0 {
            return Ok(());
        }
        let (n_a, n_b) = (self.n as f64, other.n as f64);
        let n = n_a + n_b;
        let delta = &other.mean - &self.mean;
        self.scatter += &other.scatter;
        add_outer(&mut self.scatter, n_a * n_b / n, &delta);
        self.mean.scaled_add(n_b / n, &delta);
        self.n += other.n;
        Ok(())
    }

    /// The moments without those of `part`, whose samples must be among these.
    ///
    /// The inverse of [`Moments::merge`]. It is sound while `part` is the lesser part: what cancels
    /// then is smaller than what remains.
    ///
    /// # Errors
    /// Another number of features, or more samples in `part` than there are here.
    pub fn without(&self, part: &Self) -> Result<Self> {
        self.check_dimension(part)?;
        if part.n >= self.n {
            return Err(Error::TooFewSamples { n: self.n, needed: part.n + 1 });
        }
        let (n, n_b) = (self.n as f64, part.n as f64);
        let n_a = n - n_b;
        let mut rest = self.clone();
        rest.n = self.n - part.n;
        // m_a - m = (m - m_b) n_b / n_a, and m_b - m_a = (m_b - m) n / n_a.
        let delta = (&part.mean - &self.mean) * (n / n_a);
        rest.mean.scaled_add(-n_b / n, &delta);
        rest.scatter -= &part.scatter;
        add_outer(&mut rest.scatter, -n_a * n_b / n, &delta);
        Ok(rest)
    }

    /// The number of samples N.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The number of features D.
    pub fn dimension(&self) -> usize {
        self.mean.len()
    }

    /// The mean `[D]`; zero before the first sample.
    pub fn mean(&self) -> &Array1<f64> {
        &self.mean
    }

    /// The unbiased covariance `[D, D]`, divided by N - 1 as in pytorch-fid.
    ///
    /// # Errors
    /// Fewer than two samples.
    pub fn covariance(&self) -> Result<Array2<f64>> {
        if self.n < 2 {
            return Err(Error::TooFewSamples { n: self.n, needed: 2 });
        }
        Ok(&self.scatter / (self.n as f64 - 1.0))
    }

    fn check_dimension(&self, other: &Self) -> Result<()> {
        let (left, right) = (self.dimension(), other.dimension());
        if left == right { Ok(()) } else { Err(Error::DimensionMismatch { left, right }) }
    }
}

/// Adds `scale * delta delta^T` to `matrix`.
fn add_outer(matrix: &mut Array2<f64>, scale: f64, delta: &Array1<f64>) {
    for (mut row, &d) in matrix.outer_iter_mut().zip(delta) {
        row.scaled_add(scale * d, delta);
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use ndarray::{Array2, array, s};

    use super::*;

    fn features(n: usize, d: usize) -> Array2<f64> {
        Array2::from_shape_fn((n, d), |(i, j)| 1e3 + ((i * 7 + j * 13) as f64 * 0.37).sin())
    }

    fn assert_close(a: &Moments, b: &Moments) {
        assert_eq!(a.n(), b.n());
        for (x, y) in a.mean().iter().zip(b.mean()) {
            assert_relative_eq!(x, y, max_relative = 1e-13);
        }
        for (x, y) in a.covariance().unwrap().iter().zip(&b.covariance().unwrap()) {
            assert_relative_eq!(x, y, epsilon = 1e-12);
        }
    }

    #[test]
    fn the_covariance_is_divided_by_n_minus_one() {
        let moments = Moments::of(array![[0.0, 1.0], [2.0, 5.0]].view()).unwrap();
        assert_eq!(moments.mean(), &array![1.0, 3.0]);
        assert_eq!(moments.covariance().unwrap(), array![[2.0, 4.0], [4.0, 8.0]]);
    }

    #[test]
    fn batches_of_any_size_give_the_moments_of_all_samples() {
        let features = features(101, 5);
        let whole = Moments::of(features.view()).unwrap();
        for batch in [1, 7, 50, 101] {
            let mut streamed = Moments::new(5);
            for rows in features.axis_chunks_iter(Axis(0), batch) {
                streamed.push(rows).unwrap();
            }
            assert_close(&streamed, &whole);
        }
    }

    #[test]
    fn leaving_a_block_out_gives_the_moments_of_the_rest() {
        let features = features(64, 5);
        let whole = Moments::of(features.view()).unwrap();
        let block = Moments::of(features.slice(s![..8, ..])).unwrap();
        let rest = Moments::of(features.slice(s![8.., ..])).unwrap();
        assert_close(&whole.without(&block).unwrap(), &rest);
    }

    #[test]
    fn a_mean_far_from_zero_costs_no_digits() {
        // The textbook formula E[x^2] - E[x]^2 has no correct digit left at this offset.
        let mut moments = Moments::new(1);
        for x in [1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0] {
            moments.push(array![[x]].view()).unwrap();
        }
        assert_relative_eq!(moments.covariance().unwrap()[[0, 0]], 30.0, max_relative = 1e-12);
    }

    #[test]
    #[expect(clippy::cast_possible_truncation, reason = "features arrive as f32")]
    fn f32_features_are_accumulated_in_f64() {
        let features = features(50, 3).mapv(|x| x as f32);
        let moments = Moments::of(features.view()).unwrap();
        assert_close(&moments, &Moments::of(features.mapv(f64::from).view()).unwrap());
    }

    #[test]
    fn parts_survive_the_round_trip() {
        let moments = Moments::of(features(20, 3).view()).unwrap();
        let parts = (moments.n(), moments.mean().clone(), moments.covariance().unwrap());
        assert_close(&Moments::from_parts(parts.0, parts.1, parts.2).unwrap(), &moments);
    }

    #[test]
    fn a_feature_that_is_not_finite_is_named() {
        let error = Moments::of(array![[0.0, 1.0], [2.0, f64::INFINITY]].view()).unwrap_err();
        assert_eq!(error, Error::NotFinite { row: 1, column: 1, value: f64::INFINITY });
    }

    #[test]
    fn one_sample_has_no_covariance() {
        let moments = Moments::of(array![[1.0]].view()).unwrap();
        assert_eq!(moments.covariance(), Err(Error::TooFewSamples { n: 1, needed: 2 }));
    }

    #[test]
    fn features_of_different_extractors_do_not_mix() {
        let error = Moments::new(3).push(array![[1.0, 2.0]].view()).unwrap_err();
        assert_eq!(error, Error::DimensionMismatch { left: 3, right: 2 });
    }
}
