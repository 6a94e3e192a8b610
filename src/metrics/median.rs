//! The median of one number per sample, with an uncertainty that pairs like that of a mean.

use crate::metrics::{Error, Jackknife, Result};

impl Jackknife {
    /// The median of one number per sample, over the same blocks of samples as every other metric.
    ///
    /// $$\hat\theta_{(b)} = \hat\theta - \frac{1}{N - n_b} \sum_{i \in b} \psi_i, \qquad
    /// \psi_i = \frac{\operatorname{sign}(x_i - \hat\theta)}{2 \hat f}$$
    ///
    /// The values without a block are linear in the samples' influence $\psi$: the median itself is
    /// not a smooth function of its samples, and jumps from one to the next as blocks are left out. The
    /// density at the median is read off the order statistics about one standard error of the
    /// median's rank away, $1 / \hat f = N (x_{(N - 1 - j)} - x_{(j)}) / (N - 1 - 2 j)$ with
    /// $j = N / 2 - 0.98 \sqrt N$. The corrected value is the median itself.
    ///
    /// Measured, 95 % intervals, 1500 repetitions, one standard error 0.6 points: log-normal numbers
    /// of a spread of 1.5, N = 1024 and B = 32, 94.4 %; N = 256, 93.7 %; N = 64 and B = 16, 95.3 %.
    /// Of a Pareto law with exponent 1.5, whose variance is infinite, 94.3, 95.2 and 94.3 %. Leaving
    /// blocks out of the median itself gives 90, 89 and 93 %, and 75 % around its "corrected"
    /// value.
    ///
    /// # Errors
    /// Fewer than two blocks or more than samples, or a number that is not finite.
    ///
    /// # References
    /// Jaeckel, *The infinitesimal jackknife*, Bell Laboratories memorandum (1972). Siddiqui,
    /// *Distribution of quantiles in samples from a bivariate population*, J. Res. NBS 64B (1960),
    /// for the density.
    pub fn of_median(values: &[f64], blocks: usize) -> Result<Self> {
        let n = values.len();
        if blocks < 2 || blocks > n {
            return Err(Error::Blocks { blocks, n });
        }
        if let Some(row) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::NotFinite { row, column: 0, value: values[row] });
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let median = f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // less than n
        let away = (0.98 * (n as f64).sqrt()).round() as usize;
        let j = (n / 2).saturating_sub(away);
        let gap = (sorted[n - 1 - j] - sorted[j]) / (n - 1 - 2 * j) as f64;
        let influence = |x: f64| match x.total_cmp(&median) {
            std::cmp::Ordering::Less => -0.5 * gap * n as f64,
            std::cmp::Ordering::Equal => 0.0,
            std::cmp::Ordering::Greater => 0.5 * gap * n as f64,
        };
        let without = |b: usize| {
            let block = &values[b * n / blocks..(b + 1) * n / blocks];
            let sum: f64 = block.iter().copied().map(influence).sum();
            median - sum / (n - block.len()) as f64
        };
        let mut leave_out: Vec<f64> = (0..blocks).map(without).collect();
        // Blocks of unequal size and ties leave a trace of a bias that the median has not.
        let mean = leave_out.iter().sum::<f64>() / blocks as f64;
        for value in &mut leave_out {
            *value += median - mean;
        }
        Ok(Self { value: median, leave_out })
    }
}

#[cfg(test)]
mod tests {
    use approx::{assert_abs_diff_eq, assert_relative_eq};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn it_is_the_middle_and_corrects_nothing() {
        let odd = Jackknife::of_median(&[5.0, 1.0, 100.0], 3).unwrap();
        let even = Jackknife::of_median(&[4.0, 1.0, 100.0, 2.0], 2).unwrap();
        assert_eq!((odd.value, even.value), (5.0, 3.0));
        for found in [odd, even] {
            assert_abs_diff_eq!(found.corrected(), found.value, epsilon = 1e-12);
        }
        let same = Jackknife::of_median(&[2.0; 8], 4).unwrap();
        assert_eq!((same.value, same.standard_error()), (2.0, 0.0));
    }

    #[test]
    fn the_standard_error_is_that_of_the_asymptotic_law() {
        // Of N uniform numbers, 1 / (2 f sqrt(N)) = 1 / (2 sqrt(N)).
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mean: f64 = (0..200)
            .map(|_| {
                let values: Vec<f64> = (0..1024).map(|_| rng.r#gen()).collect();
                Jackknife::of_median(&values, 32).unwrap().standard_error()
            })
            .sum();
        assert_relative_eq!(mean / 200.0, 1.0 / 64.0, max_relative = 0.04);
    }

    #[test]
    fn an_interval_of_95_percent_holds_a_heavy_tailed_median_that_often() {
        let (mut rng, true_median) = (ChaCha8Rng::seed_from_u64(2), 2f64.powf(1.0 / 1.5));
        let mut held = 0;
        for _ in 0..1000 {
            let values: Vec<f64> =
                (0..256).map(|_| (1.0 - rng.r#gen::<f64>()).powf(-1.0 / 1.5)).collect();
            let (low, high) = Jackknife::of_median(&values, 32).unwrap().interval(0.95);
            held += u32::from(low <= true_median && true_median <= high);
        }
        // One standard error is 7 of 1000.
        assert!((929..=971).contains(&held), "{held} of 1000");
    }

    #[test]
    fn what_has_no_median_with_an_interval_is_refused() {
        assert_eq!(Jackknife::of_median(&[1.0], 2), Err(Error::Blocks { blocks: 2, n: 1 }));
        assert_eq!(Jackknife::of_median(&[1.0, 2.0], 1), Err(Error::Blocks { blocks: 1, n: 2 }));
        let error = Jackknife::of_median(&[1.0, f64::NAN], 2).unwrap_err();
        assert!(matches!(error, Error::NotFinite { row: 1, .. }), "{error}");
    }
}
