//! Euler-Maruyama on the reverse variance-exploding SDE and its marginal-equivalent family.

use super::{Euler, gddim::check_lambda};
use crate::core::{Affine, Error, Eval, Grid, Method, Result, Solver, State, Step};

/// Euler-Maruyama steps of the reverse variance-exploding SDE on $\bar x = x/\sqrt{\bar\alpha}$.
///
/// With $\bar x = x_0 + \sigma\,\epsilon$, time runs in $\sigma^2$, the score is $-\epsilon/\sigma$, and for
/// every $\lambda \ge 0$ the SDE below has the same marginals:
///
/// $$d\bar x = \frac{1+\lambda^2}{2}\,\frac{\epsilon}{\sigma}\,d\sigma^2 + \lambda\,dw,
/// \qquad \bar x' = \bar x - \frac{1+\lambda^2}{2}\,\frac{\sigma^2 - \sigma'^2}{\sigma}\,\epsilon
/// + \lambda\sqrt{\sigma^2 - \sigma'^2}\,z$$
///
/// `lambda = 1` is the reverse SDE itself, `lambda = 0` its probability-flow ODE, whose step is Eq. (15) of
/// Song, Meng, Ermon 2021 ([`Euler::SigmaSquared`]). No noise is added on a step to the clean end. Cost:
/// one model call. `lambda = 0` is deterministic and of order 1.
///
/// # References
/// Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole, *Score-Based Generative Modeling through Stochastic
/// Differential Equations*, ICLR 2021, Eqs. (6), (9). arXiv:2011.13456. The family: Zhang, Chen, *Fast
/// Sampling of Diffusion Models with Exponential Integrator*, ICLR 2023, Eq. (6).
#[derive(Clone, Copy, Debug)]
pub struct EulerMaruyama {
    lambda: f64,
}

impl EulerMaruyama {
    /// The method of a $\lambda$.
    ///
    /// # Errors
    /// A $\lambda$ that is negative or not finite.
    pub fn new(lambda: f64) -> Result<Self> {
        check_lambda("euler-maruyama", lambda).map(|lambda| Self { lambda })
    }
}

impl Method for EulerMaruyama {
    fn name(&self) -> &'static str {
        "euler-maruyama"
    }

    fn order(&self) -> Option<u32> {
        (self.lambda <= 0.0).then_some(1)
    }

    /// Its drift divides by sigma.
    fn admits(&self, grid: &Grid) -> Result<()> {
        if grid.first().is_clean() {
            return Err(Error::CleanStart { solver: "euler-maruyama" });
        }
        Ok(())
    }

    /// Without noise, the step is Euler's in sigma squared.
    fn affine(&self, step: Step) -> Option<Affine> {
        if self.draws_noise() { None } else { Euler::SigmaSquared.affine(step) }
    }
}

impl<S: State> Solver<S> for EulerMaruyama {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let (sigma, sigma_to) = (step.from.sigma(), step.to.sigma());
        let between = sigma * sigma - sigma_to * sigma_to;
        let eps = eval.eps(x, step.from)?;
        let drift = -0.5 * (1.0 + self.lambda * self.lambda) * between / sigma;
        if !self.draws_noise() || step.to.is_clean() {
            return step.advance(x, &[(drift, &eps)]);
        }
        let z = eval.normal(x, step, 0)?;
        step.advance(x, &[(drift, &eps), (self.lambda * between.sqrt(), &z)])
    }
}
