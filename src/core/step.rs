//! Two neighbours of a grid, and the arithmetic between them.

use super::{Level, Result, State};

/// Two neighbours of a grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Position in the grid, from 0.
    pub index: usize,
    /// How many steps follow; 0 for the last.
    pub left: usize,
    /// Position in the requested sequence, duplicates counted: the index of the step's noise.
    pub draw: u32,
    /// Where x is.
    pub from: Level,
    /// Where x goes.
    pub to: Level,
}

impl Step {
    /// Moves $\bar x = x/\sqrt{\bar\alpha}$ along slopes.
    ///
    /// $$\frac{x_\text{to}}{\sqrt{\bar\alpha_\text{to}}} =
    /// \frac{x}{\sqrt{\bar\alpha_\text{from}}} + \sum_i h_i\,d_i$$
    ///
    /// With a slope $d = \epsilon$ and $h = \sigma_\text{to} - \sigma_\text{from}$ this is Euler's
    /// step of the probability-flow ODE, which is DDIM's.
    ///
    /// # Errors
    /// Whatever the tensor library returns.
    ///
    /// # References
    /// Song, Meng, Ermon, *Denoising Diffusion Implicit Models*, ICLR 2021, Eqs. (13) and (14).
    pub fn advance<S: State>(&self, x: &S, moves: &[(f64, &S)]) -> Result<S> {
        let mut terms = vec![(self.signal_ratio(), x)];
        terms.extend(moves.iter().map(|&(h, d)| (self.to.signal() * h, d)));
        S::lincomb(&terms)
    }

    /// $\sqrt{\bar\alpha_\text{to}}/\sqrt{\bar\alpha_\text{from}}$: the factor of x if x-bar stays
    /// constant.
    pub fn signal_ratio(&self) -> f64 {
        self.to.signal() / self.from.signal()
    }

    /// $\sqrt{1-\bar\alpha_\text{to}}/\sqrt{1-\bar\alpha_\text{from}}$: the factor of x if eps stays
    /// constant.
    pub fn std_ratio(&self) -> f64 {
        self.to.std() / self.from.std()
    }

    /// The step from the same level to another one, such as a level inside this step.
    #[must_use]
    pub fn until(self, to: Level) -> Self {
        Self { to, ..self }
    }

    /// The step back.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { from: self.to, to: self.from, ..self }
    }

    /// The number of steps of the grid it belongs to.
    pub fn of(&self) -> usize {
        self.index + 1 + self.left
    }

    /// $\beta = 1 - \bar\alpha_\text{from}/\bar\alpha_\text{to}$, the variance that separates the
    /// two levels.
    pub fn beta(&self) -> f64 {
        1.0 - self.from.alpha_bar / self.to.alpha_bar
    }

    /// $\sigma(1)$ of Song et al. 2021, Eq. (16): the standard deviation of DDPM's posterior.
    ///
    /// $$\sigma(1)^2 = \frac{1-\bar\alpha_\text{to}}{1-\bar\alpha_\text{from}}\,\beta$$
    pub fn posterior_std(&self) -> f64 {
        ((1.0 - self.to.alpha_bar) / (1.0 - self.from.alpha_bar) * self.beta()).sqrt()
    }
}
