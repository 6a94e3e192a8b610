//! How much noise an ancestral step adds.

use crate::core::{Error, Grid, Result, Step};

/// The variance of a stochastic step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Variance {
    /// $s = \eta\,\sigma(1)$ (Song et al. 2021, Eq. 16): 0 is DDIM, 1 is DDPM's posterior variance.
    Eta(f64),
    /// Noise of $\hat\sigma^2 = 1 - \bar\alpha_\text{from}/\bar\alpha_\text{to}$ on the
    /// deterministic part of $\eta = 1$ (Song et al. 2021, appendix D.3; "fixed large" elsewhere).
    SigmaHat,
    /// Predicted by the model element by element, between the variances of `Eta(1.0)` and
    /// `SigmaHat`, with the same mean (Nichol and Dhariwal 2021, Eq. 15); only for [`crate::solvers::Ddpm`].
    Learned,
}

/// The two standard deviations of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stds {
    /// That of the predicted noise, the direction towards x: $\sqrt{1 - \bar\alpha_\text{to} - s^2}$.
    pub eps: f64,
    /// That of the noise that is drawn.
    pub normal: f64,
}

impl Variance {
    /// Whether a step draws noise.
    pub fn draws_noise(self) -> bool {
        !matches!(self, Self::Eta(eta) if eta.abs() <= 0.0)
    }

    /// The standard deviations of one step.
    ///
    /// $$\sigma(1)^2 = \frac{1-\bar\alpha_\text{to}}{1-\bar\alpha_\text{from}}
    /// \left(1 - \frac{\bar\alpha_\text{from}}{\bar\alpha_\text{to}}\right)$$
    ///
    /// No noise is added on a step to the clean end, whatever the variance.
    pub(super) fn stds(self, step: Step) -> Result<Stds> {
        let to = step.to;
        if !self.draws_noise() || to.is_clean() {
            return Ok(Stds { eps: to.std(), normal: 0.0 });
        }
        let posterior = step.posterior_std();
        let (s, normal) = match self {
            Self::Eta(eta) => (eta * posterior, eta * posterior),
            Self::SigmaHat => (posterior, step.beta().sqrt()), // D.3
            Self::Learned => (posterior, 1.0),                 // on noise that is scaled already
        };
        let left = 1.0 - to.alpha_bar - s * s;
        if left < 0.0 {
            return Err(too_large(s / posterior, step));
        }
        Ok(Stds { eps: left.sqrt(), normal })
    }

    /// The mean of an ancestral step, $a\,\hat x_0 + b\,x$: the factors a and b.
    ///
    /// # Errors
    /// An eta too large for the step.
    pub(crate) fn mean(self, step: Step) -> Result<(f64, f64)> {
        let towards_x = self.stds(step)?.eps / step.from.std(); // Song et al., Eq. (7)
        Ok((step.to.signal() - step.from.signal() * towards_x, towards_x))
    }

    /// Refuses an eta that is negative, not finite, or too large for a step of the grid.
    pub(crate) fn admits(self, grid: &Grid) -> Result<()> {
        let Self::Eta(eta) = self else { return Ok(()) };
        if !(eta >= 0.0 && eta.is_finite()) {
            return Err(Error::EtaNegative { eta });
        }
        if grid.is_reversed() {
            return Ok(());
        }
        let tightest = grid
            .steps()
            .filter(|step| !step.to.is_clean())
            .min_by(|a, b| largest_eta(*a).total_cmp(&largest_eta(*b)));
        match tightest {
            Some(step) if eta > largest_eta(step) => Err(too_large(eta, step)),
            _ => Ok(()),
        }
    }
}

/// The factors of $x\,e^{a v + b}$ that scale noise to Eq. (15) of Nichol and Dhariwal 2021:
/// $\log s^2 = \frac{1 + v}{2}\log\beta + \frac{1 - v}{2}\log\tilde\beta$.
pub(super) fn learned(step: Step) -> (f64, f64) {
    let (most, least) = (0.5 * step.beta().ln(), step.posterior_std().ln());
    (0.5 * (most - least), f64::midpoint(most, least))
}

/// The eta at which nothing is left of $1 - \bar\alpha_\text{to}$.
fn largest_eta(step: Step) -> f64 {
    step.to.std() / step.posterior_std()
}

fn too_large(eta: f64, step: Step) -> Error {
    Error::EtaTooLarge { eta, largest: largest_eta(step), from: step.from, to: step.to }
}
