//! The mean of one number per sample.

/// A mean with its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// $\bar x$.
    pub value: f64,
    /// $\sqrt{\sum_i (x_i - \bar x)^2 / (N (N - 1))}$; NaN for a single sample.
    pub standard_error: f64,
    /// The number of samples N.
    pub n: usize,
}

impl Mean {
    /// The mean of independent samples; NaN for no samples.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        // Welford's recursion: one pass, and no cancellation where the spread is small.
        let (mut n, mut value, mut squares) = (0_u32, 0.0, 0.0);
        for x in values {
            n += 1;
            let delta = x - value;
            value += delta / f64::from(n);
            squares += delta * (x - value);
        }
        let n_real = f64::from(n);
        let standard_error = (squares / (n_real * (n_real - 1.0))).sqrt();
        let value = if n == 0 { f64::NAN } else { value };
        Self { value, standard_error, n: usize::try_from(n).unwrap_or(usize::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn it_is_the_textbooks_far_from_zero_as_well() {
        for shift in [0.0, 1e8] {
            let mean = Mean::of([1.0, 2.0, 4.0, 9.0].map(|x| x + shift));
            assert_relative_eq!(mean.value, 4.0 + shift, max_relative = 1e-15);
            // sum of squares 9 + 4 + 0 + 25 = 38, over 4 x 3
            assert_relative_eq!(
                mean.standard_error,
                (38.0_f64 / 12.0).sqrt(),
                max_relative = 1e-7 * shift.min(1.0) + 1e-14
            );
            assert_eq!(mean.n, 4);
        }
    }

    #[test]
    fn one_sample_has_no_error_and_none_no_mean() {
        let one = Mean::of([3.0]);
        assert!((one.value - 3.0).abs() <= 0.0 && one.standard_error.is_nan());
        assert!(Mean::of([]).value.is_nan());
    }
}
