//! Euler steps of the probability-flow ODE.

use crate::core::{Affine, Error, Eval, Grid, Method, Result, Solver, State, Step};

/// Euler's method on $\bar x = x/\sqrt{\bar\alpha}$, in one of two clocks.
///
/// Cost: one model call; order 1.
///
/// # References
/// Song, Meng, Ermon, *Denoising Diffusion Implicit Models*, ICLR 2021, Eqs. (13) to (15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Euler {
    /// $\bar x' = \bar x + (\sigma' - \sigma)\,\epsilon$ (Eq. 13): the same map as DDIM at eta = 0.
    Sigma,
    /// $\bar x' = \bar x + \tfrac12 (\sigma'^2 - \sigma^2)\,\epsilon/\sigma$ (Eq. 15), the step of
    /// the score SDE's ODE. It divides by sigma and cannot start at the clean end.
    SigmaSquared,
}

impl Euler {
    /// The length of a step on this clock, in units of eps.
    fn h(self, Step { from, to, .. }: Step) -> f64 {
        let (sigma, sigma_to) = (from.sigma(), to.sigma());
        match self {
            Self::Sigma => sigma_to - sigma, // Eq. (13)
            Self::SigmaSquared => 0.5 * (sigma_to * sigma_to - sigma * sigma) / sigma, // Eq. (15)
        }
    }
}

impl Method for Euler {
    fn name(&self) -> &'static str {
        match self {
            Self::Sigma => "euler",
            Self::SigmaSquared => "euler-sigma2",
        }
    }

    fn order(&self) -> Option<u32> {
        Some(1)
    }

    fn admits(&self, grid: &Grid) -> Result<()> {
        if *self == Self::SigmaSquared && grid.first().is_clean() {
            return Err(Error::CleanStart { solver: "euler-sigma2" });
        }
        Ok(())
    }

    fn affine(&self, step: Step) -> Option<Affine> {
        Some(Affine { a: step.signal_ratio(), h: step.to.signal() * self.h(step) })
    }
}

impl<S: State> Solver<S> for Euler {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let eps = eval.eps(x, step.from)?;
        step.advance(x, &[(self.h(step), &eps)])
    }
}
