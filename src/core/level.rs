//! Points on the noise axis.

/// A point on the noise axis: the timestep and the signal's share of the variance.
///
/// $$x_t = \sqrt{\bar\alpha}\,x_0 + \sqrt{1-\bar\alpha}\,\epsilon$$
///
/// `alpha_bar` is the $\alpha_t$ of Song et al. 2021 and the $\bar\alpha_t$ of Ho et al. 2020.
/// `t` is the timestep a network is asked with, 0-based; it may be fractional, and is -1 at the
/// clean end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// The timestep, 0-based; -1 at the clean end.
    pub t: f64,
    /// $\bar\alpha$, in [0, 1].
    pub alpha_bar: f64,
}

/// The clean end of the noise axis: t = -1, $\bar\alpha = 1$ (Song et al. 2021: $\alpha_0 := 1$).
pub const CLEAN: Level = Level { t: -1.0, alpha_bar: 1.0 };

impl Level {
    /// The level whose $\sigma$ is given: $\bar\alpha = 1 / (1 + \sigma^2)$.
    pub fn from_sigma(t: f64, sigma: f64) -> Self {
        Self { t, alpha_bar: 1.0 / (1.0 + sigma * sigma) }
    }

    /// $\sqrt{\bar\alpha}$, the factor of $x_0$.
    pub fn signal(&self) -> f64 {
        self.alpha_bar.sqrt()
    }

    /// $\sqrt{1-\bar\alpha}$, the factor of $\epsilon$: the standard deviation of x given $x_0$.
    pub fn std(&self) -> f64 {
        (1.0 - self.alpha_bar).sqrt()
    }

    /// $\sigma = \sqrt{(1-\bar\alpha)/\bar\alpha}$, the clock of Song et al. 2021, Eq. (14);
    /// infinite where $\bar\alpha = 0$.
    pub fn sigma(&self) -> f64 {
        ((1.0 - self.alpha_bar) / self.alpha_bar).sqrt()
    }

    /// $\lambda = \log(\sqrt{\bar\alpha}/\sqrt{1-\bar\alpha}) = -\log\sigma$, half the log-SNR of
    /// Lu et al. 2022; infinite at the clean end.
    pub fn lambda(&self) -> f64 {
        -self.sigma().ln()
    }

    /// Whether nothing is left of the signal, as at the last timestep of a schedule of zero
    /// terminal SNR: $\bar\alpha = 0$, where eps is x and says nothing about x0.
    pub fn is_pure_noise(&self) -> bool {
        self.alpha_bar <= 0.0
    }

    /// Whether this is the clean end, where $\sigma = 0$.
    pub fn is_clean(&self) -> bool {
        self.alpha_bar >= 1.0
    }
}
