//! The generalised update of Denoising Diffusion Implicit Models.

use super::{Euler, Variance};
use crate::core::{Affine, Error, Eval, Grid, Method, Result, Solver, State, Step};

/// DDIM, with the noise of any [`Variance`].
///
/// $$x_\text{to} = \sqrt{\bar\alpha_\text{to}}\,\hat x_0
/// + \sqrt{1-\bar\alpha_\text{to}-s^2}\,\epsilon + s'\,z$$
///
/// with $s' = s$ of Eq. (16) for an eta and $s' = \hat\sigma$ of appendix D.3 for sigma-hat.
/// Cost: one model call. `eta = 0` is deterministic, of order 1, and runs on a reversed grid.
///
/// # References
/// Song, Meng, Ermon, *Denoising Diffusion Implicit Models*, ICLR 2021, Eqs. (9), (12), (16).
/// arXiv:2010.02502.
#[derive(Clone, Copy, Debug)]
pub struct Ddim {
    /// How much noise a step adds.
    pub variance: Variance,
}

impl Method for Ddim {
    fn name(&self) -> &'static str {
        "ddim"
    }

    fn order(&self) -> Option<u32> {
        (!self.variance.draws_noise()).then_some(1)
    }

    fn starts_from_pure_noise(&self) -> bool {
        true
    }

    fn admits(&self, grid: &Grid) -> Result<()> {
        if self.variance == Variance::Learned {
            return Err(Error::LearnedVariance { solver: "ddim" });
        }
        self.variance.admits(grid)
    }

    /// Without noise, the step is Euler's in sigma (Eq. 13).
    fn affine(&self, step: Step) -> Option<Affine> {
        if self.draws_noise() { None } else { Euler::Sigma.affine(step) }
    }
}

impl<S: State> Solver<S> for Ddim {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let std = self.variance.stds(step)?; // Eq. (16)
        let (eps, x0) = eval.eps_and_x0(x, step.from)?; // Eq. (9)
        let mean = [(step.to.signal(), &x0), (std.eps, &eps)]; // Eq. (12)
        if std.normal <= 0.0 {
            return S::lincomb(&mean);
        }
        let z = eval.normal(x, step, 0)?;
        S::lincomb(&[mean[0], mean[1], (std.normal, &z)])
    }
}
