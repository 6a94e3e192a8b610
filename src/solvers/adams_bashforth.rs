//! Adams-Bashforth: slopes of earlier steps instead of new calls.

use crate::core::{Eval, Kind, Level, Result, Schedule, Solver, State, Step};
use crate::solvers::{
    check_order, heun, rk4,
    weights::{moment, weights},
};

/// Adams and Bashforth's method of order 2 to 4 in sigma on $\bar x = x/\sqrt{\bar\alpha}$, with
/// the coefficients of the grid's own, uneven steps.
///
/// $$\bar x' = \bar x + h \sum_{j=0}^{p-1} w_j\,\epsilon_j, \qquad
/// \sum_j w_j \left(\frac{\sigma_j - \sigma}{h}\right)^k = \frac{1}{k+1}, \quad h = \sigma' - \sigma$$
///
/// where $\epsilon_j$ is the prediction j steps back: the polynomial through them, integrated. Even
/// steps have the familiar (3, -1)/2, (23, -16, 5)/12 and (55, -59, 37, -9)/24.
///
/// A first step of order q leaves an error of $h^{q+1}$ in everything that follows, so a method of
/// order p starts with steps of at least order p - 1: order 2 with Euler's, order 3 with
/// [`Heun`](crate::solvers::Heun)'s, order 4 with two of [`Rk4`](crate::solvers::Rk4); then one step of the order
/// below. Cost: one model call a step, and 0, 1 or 6 more in all for the start; memory: p - 1
/// predictions. On a reversed grid whose steps grow fast the polynomial extrapolates far: expect
/// less of the high orders there.
///
/// # References
/// Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, section III.5 (variable
/// steps). As "rho-AB" in Zhang, Chen, *Fast Sampling of Diffusion Models with Exponential
/// Integrator*, ICLR 2023. arXiv:2204.13902.
#[derive(Clone, Debug)]
pub struct AdamsBashforth {
    order: u32,
    schedule: Schedule,
}

impl AdamsBashforth {
    /// The method of an order; the schedule gives the midpoint's label to the start of order 4.
    ///
    /// # Errors
    /// An order other than 2, 3 or 4.
    pub fn new(order: u32, schedule: Schedule) -> Result<Self> {
        check_order("adams-bashforth", order, 2..=4)?;
        Ok(Self { order, schedule })
    }
}

impl<S: State> Solver<S> for AdamsBashforth {
    fn name(&self) -> &'static str {
        "adams-bashforth"
    }

    fn kind(&self) -> Kind {
        Kind::Deterministic { order: self.order }
    }

    fn memory(&self) -> usize {
        self.order as usize - 1
    }

    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let Step { from, to, .. } = step;
        let eps = eval.eps(x, from)?;
        let h = to.sigma() - from.sigma();
        let known = eval.recalled().count();
        let next = if known + 2 >= self.order as usize || to.is_clean() {
            let node = |&(level, _): &(Level, S)| (level.sigma() - from.sigma()) / h;
            let nodes: Vec<f64> = std::iter::once(0.0).chain(eval.recalled().map(node)).collect();
            let w = weights(&nodes, |k| moment(0.0, k));
            let slopes = std::iter::once(&eps).chain(eval.recalled().map(|(_, eps)| eps));
            let terms = w.iter().zip(slopes).map(|(w, eps)| (to.signal() * h * w, eps));
            let start = std::iter::once((to.signal() / from.signal(), x));
            S::lincomb(&start.chain(terms).collect::<Vec<_>>())?
        } else if self.order == 3 {
            heun::finish(eval, x, &eps, step)?
        } else {
            rk4::finish(&self.schedule, eval, x, &eps, step)?
        };
        eval.remember(from, eps);
        Ok(next)
    }
}

/// PLMS: Adams-Bashforth's coefficients for even steps, whatever the steps, on DDIM's map.
///
/// $$\bar x' = \bar x + (\sigma' - \sigma)\,\hat\epsilon, \qquad
/// \hat\epsilon = \tfrac1{24}(55\epsilon_0 - 59\epsilon_1 + 37\epsilon_2 - 9\epsilon_3)$$
///
/// with $\epsilon_j$ the prediction j steps back and the formulas of order 2 and 3 while fewer are
/// known. The first step averages the slopes at its two ends; the second of those calls is made at
/// a trial state and is not remembered. The coefficients presume steps that are even in a clock in
/// which sigma is not linear, so the error falls as $h^2$, with a small constant. Cost: one model
/// call, one more in the first step; memory: three predictions; order 2.
///
/// # References
/// Liu, Ren, Lin, Zhao, *Pseudo Numerical Methods for Diffusion Models on Manifolds*, ICLR 2022,
/// Eqs. (9) and (12), with the first steps of the latent-diffusion code (diffusers:
/// `skip_prk_steps`) in place of its Runge-Kutta ones. arXiv:2202.09778.
#[derive(Clone, Copy, Debug)]
pub struct Plms;

impl<S: State> Solver<S> for Plms {
    fn name(&self) -> &'static str {
        "plms"
    }

    fn kind(&self) -> Kind {
        Kind::Deterministic { order: 2 }
    }

    fn memory(&self) -> usize {
        3
    }

    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let Step { from, to, .. } = step;
        let eps = eval.eps(x, from)?;
        let w: &[f64] = match eval.recalled().count() {
            0 => {
                let next = heun::finish(eval, x, &eps, step)?;
                eval.remember(from, eps);
                return Ok(next);
            }
            1 => &[3.0 / 2.0, -1.0 / 2.0],
            2 => &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
            _ => &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0], // Eq. (12)
        };
        let h = to.signal() * (to.sigma() - from.sigma()); // Eq. (9)
        let slopes = std::iter::once(&eps).chain(eval.recalled().map(|(_, eps)| eps));
        let terms = w.iter().zip(slopes).map(|(w, eps)| (h * w, eps));
        let start = std::iter::once((to.signal() / from.signal(), x));
        let next = S::lincomb(&start.chain(terms).collect::<Vec<_>>())?;
        eval.remember(from, eps);
        Ok(next)
    }
}
