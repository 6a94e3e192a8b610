//! Ancestral sampling in the posterior form.

use super::Variance;
use crate::core::{Eval, Grid, Kind, Result, Solver, State, Step};

/// DDPM: a draw from the posterior $q(x_\text{to} \mid x, \hat x_0)$.
///
/// $$x_\text{to} = \sqrt{\bar\alpha_\text{to}}\,\hat x_0 + \sqrt{1-\bar\alpha_\text{to}-s^2}\;
/// \frac{x - \sqrt{\bar\alpha_\text{from}}\,\hat x_0}{\sqrt{1-\bar\alpha_\text{from}}} + s'\,z$$
///
/// At `eta = 1` the mean is the posterior's of Ho et al. 2020, Eq. (7), and $s'^2$ its variance
/// ("fixed small"); `sigma-hat` keeps that mean and takes $s'^2 = \beta$ ("fixed large").
/// Cost: one model call.
///
/// # References
/// Ho, Jain, Abbeel, *Denoising Diffusion Probabilistic Models*, NeurIPS 2020, Eq. (7) and
/// algorithm 2; Song, Meng, Ermon, ICLR 2021, Eq. (7) and appendix D.3.
#[derive(Clone, Copy, Debug)]
pub struct Ddpm {
    /// How much noise a step adds.
    pub variance: Variance,
}

impl<S: State> Solver<S> for Ddpm {
    fn name(&self) -> &'static str {
        "ddpm"
    }

    fn kind(&self) -> Kind {
        self.variance.kind()
    }

    fn admits(&self, grid: &Grid) -> Result<()> {
        // The posterior's mean divides by the noise of the level it starts from.
        if grid.first().is_clean() {
            return Err(crate::core::Error::CleanStart { solver: "ddpm" });
        }
        self.variance.admits(grid)
    }

    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let Step { from, to, .. } = step;
        let spread = self.variance.spread(step)?;
        let (_, x0) = eval.eps_and_x0(x, from)?;
        let towards_x = spread.direction / from.noise(); // Song et al., Eq. (7)
        let towards_x0 = to.signal() - from.signal() * towards_x;
        let mean = [(towards_x0, &x0), (towards_x, x)];
        if spread.noise <= 0.0 {
            return S::lincomb(&mean);
        }
        let z = eval.noise(x, step, 0)?;
        S::lincomb(&[mean[0], mean[1], (spread.noise, &z)])
    }
}
