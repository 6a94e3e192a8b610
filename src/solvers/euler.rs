//! Euler steps of the probability-flow ODE.

use crate::core::{Affine, Error, Eval, Grid, Kind, Level, Result, Solver, State, Step};

/// Euler's method on $\bar x = x/\sqrt{\bar\alpha}$, by the clock it steps with.
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
    /// The step on x instead of x-bar.
    pub(super) fn factors(self, from: Level, to: Level) -> Affine {
        let (sigma, sigma_to) = (from.sigma(), to.sigma());
        let h = match self {
            Self::Sigma => sigma_to - sigma, // Eq. (13)
            Self::SigmaSquared => 0.5 * (sigma_to * sigma_to - sigma * sigma) / sigma, // Eq. (15)
        };
        Affine { a: to.signal() / from.signal(), h: to.signal() * h }
    }
}

impl<S: State> Solver<S> for Euler {
    fn name(&self) -> &'static str {
        match self {
            Self::Sigma => "euler",
            Self::SigmaSquared => "euler-sigma2",
        }
    }

    fn kind(&self) -> Kind {
        Kind::Deterministic { order: 1 }
    }

    fn admits(&self, grid: &Grid) -> Result<()> {
        if *self == Self::SigmaSquared && grid.first().is_clean() {
            return Err(Error::CleanStart { solver: "euler-sigma2" });
        }
        Ok(())
    }

    fn affine(&self, from: Level, to: Level) -> Option<Affine> {
        Some(self.factors(from, to))
    }

    fn step(&self, eval: &mut Eval<'_, S>, x: &S, Step { from, to, .. }: Step) -> Result<S> {
        let Affine { a, h } = self.factors(from, to);
        let eps = eval.eps(x, from)?;
        S::lincomb(&[(a, x), (h, &eps)])
    }
}
