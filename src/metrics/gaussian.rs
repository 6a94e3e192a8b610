//! Divergences and likelihoods of Gaussians, element by element, in nats.

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
    /// to infinity. Masses below 1e-12 count as that.
    ///
    /// # References
    /// Ho, Jain, Abbeel, *Denoising Diffusion Probabilistic Models*, NeurIPS 2020, Eq. (13), with the
    /// approximation of the distribution function that openai/improved-diffusion takes.
    pub fn log_mass(self, x: f64) -> f64 {
        const HALF: f64 = 1.0 / 255.0;
        const END: f64 = 0.999;
        let inverse = (-0.5 * self.log_variance).exp();
        let below = |edge: f64| distribution(inverse * (edge - self.mean));
        let mass = if x < -END {
            below(x + HALF)
        } else if x > END {
            1.0 - below(x - HALF)
        } else {
            below(x + HALF) - below(x - HALF)
        };
        mass.max(1e-12).ln()
    }
}

/// $\Phi(x) \approx \tfrac12\left(1 + \tanh\!\left(\sqrt{2/\pi}\,(x + 0.044715\,x^3)\right)\right)$,
/// within 4e-4.
fn distribution(x: f64) -> f64 {
    let slope = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
    0.5 * (1.0 + (slope * (x + 0.044_715 * x * x * x)).tanh())
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
        for (mean, log_variance) in [(0.1, -3.0), (-0.99, -9.0), (1.4, 0.0)] {
            let normal = Normal { mean, log_variance };
            let mass = |byte: u8| normal.log_mass(f64::from(byte) / 127.5 - 1.0).exp();
            let total: f64 = (0..=u8::MAX).map(mass).sum();
            assert_abs_diff_eq!(total, 1.0, epsilon = 1e-9);
        }
    }

    #[test]
    fn the_approximation_of_the_distribution_function_is_as_close_as_it_says() {
        for (x, phi) in [(0.0, 0.5), (1.0, 0.841_344_746), (2.0, 0.977_249_868)] {
            assert_abs_diff_eq!(distribution(x), phi, epsilon = 4e-4);
            assert_abs_diff_eq!(distribution(-x), 1.0 - phi, epsilon = 4e-4);
        }
    }
}
