//! Divergences and likelihoods of Gaussians, element by element, in nats.

use std::f64::consts::{FRAC_1_SQRT_2, TAU};

use statrs::function::erf::{erf, erfc};

/// A normal distribution by its mean and the logarithm of its variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normal {
    /// The mean.
    pub mean: f64,
    /// $\log\sigma^2$.
    pub log_variance: f64,
}

impl Normal {
    /// N(0, 1).
    pub const STANDARD: Self = Self { mean: 0.0, log_variance: 0.0 };

    /// $D_\text{KL}(p \,\|\, q) = \tfrac12\left(\log\frac{\sigma_q^2}{\sigma_p^2} - 1 +
    /// \frac{\sigma_p^2 + (\mu_p - \mu_q)^2}{\sigma_q^2}\right)$ in nats.
    pub fn divergence(self, q: Self) -> f64 {
        let excess = self.log_variance - q.log_variance;
        let shift = self.mean - q.mean;
        // exp_m1: the first two terms cancel where the variances are close.
        0.5 * (excess.exp_m1() - excess + shift * shift * (-q.log_variance).exp())
    }

    /// The logarithm of the mass in the bin of the byte `x`, in nats.
    ///
    /// `x` is one of the 256 levels in [-1, 1]; its bin is $x \pm 1/255$, and those of -1 and 1 reach
    /// to infinity. The mass keeps its digits however small it is: openai/improved-diffusion takes a tanh for
    /// the distribution function, which is off by up to 4e-4, and counts masses below 1e-12 as that.
    ///
    /// # References
    /// Ho, Jain, Abbeel, *Denoising Diffusion Probabilistic Models*, NeurIPS 2020, Eq. (13).
    pub fn log_mass(self, x: f64) -> f64 {
        const HALF: f64 = 1.0 / 255.0;
        const END: f64 = 0.999;
        let inverse = (-0.5 * self.log_variance).exp();
        let edge = |edge: f64| inverse * (edge - self.mean);
        if x < -END {
            log_below(edge(x + HALF))
        } else if x > END {
            log_below(-edge(x - HALF))
        } else {
            log_between(edge(x - HALF), edge(x + HALF))
        }
    }
}

/// $\log(\Phi(b) - \Phi(a))$ for a < b, on the side of 0 where the two are small and differ.
fn log_between(a: f64, b: f64) -> f64 {
    let (a, b) = if a > 0.0 { (-b, -a) } else { (a, b) };
    if b > 0.0 {
        // On both sides of 0 nothing cancels.
        return (0.5 * (erf(b * FRAC_1_SQRT_2) - erf(a * FRAC_1_SQRT_2))).ln();
    }
    let log_b = log_below(b);
    log_b + (-(log_below(a) - log_b).exp_m1()).ln()
}

/// $\log\Phi(x)$, to 1e-9 of itself: what statrs's erfc keeps.
///
/// # References
/// Abramowitz, Stegun, *Handbook of Mathematical Functions*, 1964, Eq. (7.1.23), beyond x = -20, where
/// eight terms are exact to 1e-15.
fn log_below(x: f64) -> f64 {
    if x > -20.0 {
        return (0.5 * erfc(-x * FRAC_1_SQRT_2)).ln();
    }
    let square = x * x;
    let series = (1..=8).rev().fold(1.0, |rest, k| 1.0 - f64::from(2 * k - 1) / square * rest);
    -0.5 * square - (-x).ln() - 0.5 * TAU.ln() + series.ln()
}

#[cfg(test)]
mod tests {
    use approx::{assert_abs_diff_eq, assert_relative_eq};

    use super::*;

    #[test]
    fn the_divergence_is_the_textbooks_and_zero_of_equals() {
        let p = Normal { mean: 0.3, log_variance: -1.0 };
        let q = Normal { mean: -0.2, log_variance: 0.5 };
        // ln(s_q / s_p) + (s_p^2 + 0.25) / (2 s_q^2) - 1/2
        let expected = 0.75 + ((-1.0_f64).exp() + 0.25) / (2.0 * 0.5_f64.exp()) - 0.5;
        assert_relative_eq!(p.divergence(q), expected, max_relative = 1e-14);
        assert!(p.divergence(p).abs() <= 0.0);
        // Close variances: d^2 / 4 is what is left, far below the rounding of either term.
        let near = Normal { log_variance: -1.0 + 1e-7, ..p };
        assert_relative_eq!(near.divergence(p), 2.5e-15, max_relative = 1e-1);
    }

    #[test]
    fn the_masses_of_all_bytes_sum_to_one() {
        for (mean, log_variance) in [(0.1, -3.0), (-0.99, -9.0), (1.4, 0.0), (0.0, -16.0)] {
            let normal = Normal { mean, log_variance };
            let mass = |byte: u8| normal.log_mass(f64::from(byte) / 127.5 - 1.0).exp();
            let total: f64 = (0..=u8::MAX).map(mass).sum();
            assert_abs_diff_eq!(total, 1.0, epsilon = 1e-13);
        }
    }

    #[test]
    fn the_distribution_function_keeps_its_digits_in_the_tails() {
        // mpmath with 60 digits.
        for (x, log) in [
            (1.0, -0.172_753_779_023_449_9),
            (0.0, -std::f64::consts::LN_2),
            (-1.0, -1.841_021_645_009_263_5),
            (-5.0, -15.064_998_393_988_726),
            (-19.75, -198.935_889_489_070_95),
            (-20.25, -208.960_767_287_649_24),
            (-37.5, -707.668_989_317_507_2),
            (-1e4, -50_000_010.129_278_91),
        ] {
            assert_relative_eq!(log_below(x), log, max_relative = 1e-9);
        }
        for (a, b, log) in [
            (-0.3125, 0.25, -1.507_892_466_219_090_4),
            (-1.0 / 1024.0, 1.0 / 512.0, -6.751_798_526_973_038),
            (-60.0, 1.0, -0.172_753_779_023_449_9),
            (0.5, 0.507_812_5, -5.897_931_448_893_352),
            (8.0, 9.0, -35.013_618_593_437_15),
            (30.0, 30.007_812_5, -455.885_878_107_225_2),
            (-40.0, -39.5, -784.720_879_106_624),
            (-20.007_812_5, -19.992_187_5, -205.073_766_117_914_7),
        ] {
            assert_relative_eq!(log_between(a, b), log, max_relative = 1e-7);
            assert_relative_eq!(log_between(-b, -a), log, max_relative = 1e-7);
        }
    }
}
