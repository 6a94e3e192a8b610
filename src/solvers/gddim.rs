//! The exact step of the marginal-equivalent SDEs on data of one point: stochastic DDIM.

use super::Euler;
use crate::core::{Affine, Error, Eval, Method, Result, Solver, State, Step};

/// Stochastic DDIM of any $\lambda$: the exact solution of a reverse SDE whose predicted x0 stays.
///
/// The SDEs of [`EulerMaruyama`](super::EulerMaruyama) have the same marginals for every $\lambda$. With
/// the score of a single point they are linear, and over a step of ratio
/// $r = \sigma_\text{to}/\sigma_\text{from}$ they are solved by
///
/// $$x_\text{to} = \sqrt{\bar\alpha_\text{to}}\,\hat x_0 + \sqrt{1-\bar\alpha_\text{to}}
/// \left(r^{\lambda^2}\,\epsilon + \sqrt{1 - r^{2\lambda^2}}\,z\right)$$
///
/// which is Eq. (12) of Song, Meng, Ermon 2021 with
/// $s^2 = (1-\bar\alpha_\text{to})(1 - r^{2\lambda^2})$: `lambda = 0` is DDIM, `lambda = 1` is eta = 1, and
/// between them an eta that differs from step to step. Cost: one model call. `lambda = 0` is
/// deterministic, of order 1, and runs on a reversed grid.
///
/// # References
/// Zhang, Tao, Chen, *gDDIM: Generalized denoising diffusion implicit models*, ICLR 2023, section 3.
/// arXiv:2206.05564.
#[derive(Clone, Copy, Debug)]
pub struct Gddim {
    lambda: f64,
}

impl Gddim {
    /// The method of a $\lambda$.
    ///
    /// # Errors
    /// A $\lambda$ that is negative or not finite.
    pub fn new(lambda: f64) -> Result<Self> {
        check_lambda("gddim", lambda).map(|lambda| Self { lambda })
    }
}

/// A share of noise that an SDE can have.
pub(super) fn check_lambda(solver: &'static str, lambda: f64) -> Result<f64> {
    if lambda >= 0.0 && lambda.is_finite() {
        return Ok(lambda);
    }
    let problem = format!("lambda = {lambda} must be finite and at least 0");
    Err(Error::Setting { solver, problem })
}

impl Method for Gddim {
    fn name(&self) -> &'static str {
        "gddim"
    }

    fn order(&self) -> Option<u32> {
        (self.lambda <= 0.0).then_some(1)
    }

    fn starts_from_pure_noise(&self) -> bool {
        true
    }

    /// Without noise, the step is Euler's in sigma.
    fn affine(&self, step: Step) -> Option<Affine> {
        if self.draws_noise() { None } else { Euler::Sigma.affine(step) }
    }
}

impl<S: State> Solver<S> for Gddim {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let (signal, std) = (step.to.signal(), step.to.std());
        let (eps, x0) = eval.eps_and_x0(x, step.from)?;
        if !self.draws_noise() || step.to.is_clean() {
            return S::lincomb(&[(signal, &x0), (std, &eps)]);
        }
        let kept = (step.to.sigma() / step.from.sigma()).powf(self.lambda * self.lambda);
        let z = eval.normal(x, step, 0)?;
        let drawn = (1.0 - kept * kept).sqrt();
        S::lincomb(&[(signal, &x0), (std * kept, &eps), (std * drawn, &z)])
    }
}
