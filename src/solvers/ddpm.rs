//! Ancestral sampling in the posterior form.

use super::{Variance, variance::learned};
use crate::core::{Error, Eval, Grid, Method, Result, Solver, State, Step};

/// DDPM: a draw from the posterior $q(x_\text{to} \mid x, \hat x_0)$.
///
/// $$x_\text{to} = \sqrt{\bar\alpha_\text{to}}\,\hat x_0 + \sqrt{1-\bar\alpha_\text{to}-s^2}\;
/// \frac{x - \sqrt{\bar\alpha_\text{from}}\,\hat x_0}{\sqrt{1-\bar\alpha_\text{from}}} + s'\,z$$
///
/// At `eta = 1` the mean is the posterior's of Ho et al. 2020, Eq. (7), and $s'^2$ its variance
/// ("fixed small"); `sigma-hat` keeps that mean and takes $s'^2 = \beta$ ("fixed large").
/// `learned` keeps it too, and the model says where $\log s'^2$ lies between these two.
/// Cost: one model call.
///
/// # References
/// Ho, Jain, Abbeel, *Denoising Diffusion Probabilistic Models*, NeurIPS 2020, Eq. (7) and
/// algorithm 2; Song, Meng, Ermon, ICLR 2021, Eq. (7) and appendix D.3; Nichol, Dhariwal, *Improved
/// Denoising Diffusion Probabilistic Models*, ICML 2021, Eq. (15).
#[derive(Clone, Copy, Debug)]
pub struct Ddpm {
    /// How much noise a step adds.
    pub variance: Variance,
}

impl Method for Ddpm {
    fn name(&self) -> &'static str {
        "ddpm"
    }

    fn order(&self) -> Option<u32> {
        (!self.variance.draws_noise()).then_some(1)
    }

    fn starts_from_pure_noise(&self) -> bool {
        true
    }

    fn admits(&self, grid: &Grid) -> Result<()> {
        // The posterior's mean divides by the noise of the level it starts from.
        if grid.first().is_clean() {
            return Err(Error::CleanStart { solver: "ddpm" });
        }
        self.variance.admits(grid)
    }
}

impl<S: State> Solver<S> for Ddpm {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let std = self.variance.stds(step)?.normal;
        let (towards_x0, towards_x) = self.variance.mean(step)?;
        let (x0, range) = if self.variance == Variance::Learned {
            let (x0, range) = eval.x0_and_range(x, step.from)?;
            (x0, Some(range))
        } else {
            (eval.eps_and_x0(x, step.from)?.1, None)
        };
        let mean = [(towards_x0, &x0), (towards_x, x)];
        if std <= 0.0 {
            return S::lincomb(&mean);
        }
        let z = eval.normal(x, step, 0)?;
        let z = match &range {
            Some(range) => {
                let (a, b) = learned(step);
                z.mul_exp(range, a, b)?
            }
            None => z,
        };
        S::lincomb(&[mean[0], mean[1], (std, &z)])
    }
}
