//! Adams-Bashforth: reuses the slopes of earlier steps instead of making new calls.

use super::{
    check_order,
    multistep::{combine, plain, weights},
    rk4,
};
use crate::core::{Eval, Level, Method, Result, Schedule, Solver, State, Step};

/// Adams and Bashforth's method of order 2 to 4 in sigma on $\bar x = x/\sqrt{\bar\alpha}$, with
/// coefficients for the uneven steps of the grid.
///
/// $$\bar x' = \bar x + h \sum_{j=0}^{p-1} w_j\,\epsilon_j, \qquad
/// \sum_j w_j \left(\frac{\sigma_j - \sigma}{h}\right)^k = \frac{1}{k+1}, \quad h = \sigma' - \sigma$$
///
/// where $\epsilon_j$ is the prediction j steps back: the polynomial through them, integrated. Even
/// steps have the familiar (3, -1)/2, (23, -16, 5)/12 and (55, -59, 37, -9)/24.
///
/// A first step of order q leaves an error of $h^{q+1}$ in everything that follows, so a method of
/// order p starts with steps of at least order p - 1: order 2 with Euler's, order 3 with
/// [`Heun`](super::Heun)'s, order 4 with two of [`Rk4`](super::Rk4); then one step of the order
/// below. Cost: one model call a step, and 0, 1 or 6 more in all for the start; memory: p - 1
/// predictions. On a reversed grid whose steps grow fast, the polynomial extrapolates far, and the
/// high orders gain less.
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
    /// The method of an order; the schedule gives the midpoint's timestep to the start of order 4.
    ///
    /// # Errors
    /// An order other than 2, 3 or 4.
    pub fn new(order: u32, schedule: Schedule) -> Result<Self> {
        check_order("adams-bashforth", order, 2..=4)?;
        Ok(Self { order, schedule })
    }
}

impl Method for AdamsBashforth {
    fn name(&self) -> &'static str {
        "adams-bashforth"
    }

    fn order(&self) -> Option<u32> {
        Some(self.order)
    }

    fn memory(&self) -> usize {
        self.order as usize - 1
    }
}

impl<S: State> Solver<S> for AdamsBashforth {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let Step { from, to, .. } = step;
        let h = to.sigma() - from.sigma();
        let rule = |nodes: &[f64], slopes: &[&S]| {
            combine((step.signal_ratio(), x), to.signal() * h, &weights(nodes, plain), slopes)
        };
        let eps = eval.eps(x, from)?;
        let node = |(level, eps): (Level, _)| ((level.sigma() - from.sigma()) / h, eps);
        let (nodes, slopes): (Vec<f64>, Vec<&S>) = eval.history(from, &eps).map(node).unzip();
        let next = if slopes.len() + 1 >= self.order as usize || to.is_clean() {
            rule(&nodes, &slopes)?
        } else if self.order == 3 {
            // Heun's step: the slopes at both ends.
            let euler = rule(&nodes, &slopes)?;
            rule(&[0.0, 1.0], &[&eps, &eval.eps(&euler, to)?])?
        } else {
            rk4::finish(&self.schedule, eval, x, &eps, step)?
        };
        eval.remember(from, eps);
        Ok(next)
    }
}

/// PLMS: Adams-Bashforth's coefficients for even steps, used for any steps, with DDIM's update.
///
/// $$\bar x' = \bar x + (\sigma' - \sigma)\,\hat\epsilon, \qquad
/// \hat\epsilon = \tfrac1{24}(55\epsilon_0 - 59\epsilon_1 + 37\epsilon_2 - 9\epsilon_3)$$
///
/// with $\epsilon_j$ the prediction j steps back and the formulas of order 2 and 3 while fewer are
/// known. The first step averages the slopes at its two ends; the second of those calls is made at
/// a trial state and is not remembered. The coefficients assume even steps, and steps that are even in t
/// are not even in sigma, so the error falls as $h^2$, with a small constant. Cost: one model
/// call, one more in the first step; memory: three predictions; order 2.
///
/// # References
/// Liu, Ren, Lin, Zhao, *Pseudo Numerical Methods for Diffusion Models on Manifolds*, ICLR 2022,
/// Eqs. (9) and (12), with the first steps of the latent-diffusion code (diffusers:
/// `skip_prk_steps`) in place of its Runge-Kutta ones. arXiv:2202.09778.
#[derive(Clone, Copy, Debug)]
pub struct Plms;

impl Method for Plms {
    fn name(&self) -> &'static str {
        "plms"
    }

    fn order(&self) -> Option<u32> {
        Some(2)
    }

    fn memory(&self) -> usize {
        3
    }
}

impl<S: State> Solver<S> for Plms {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let Step { from, to, .. } = step;
        let h = to.sigma() - from.sigma();
        let rule = |weights: &[f64], slopes: &[&S]| {
            combine((step.signal_ratio(), x), to.signal() * h, weights, slopes) // Eq. (9)
        };
        let eps = eval.eps(x, from)?;
        let slopes: Vec<&S> = eval.history(from, &eps).map(|(_, eps)| eps).collect();
        let next = match slopes.len() {
            1 => {
                // Heun's step. Its second slope, at a trial state, is not remembered.
                let euler = rule(&[1.0], &slopes)?;
                if to.is_clean() {
                    euler
                } else {
                    rule(&[0.5, 0.5], &[&eps, &eval.eps(&euler, to)?])?
                }
            }
            2 => rule(&[3.0 / 2.0, -1.0 / 2.0], &slopes)?,
            3 => rule(&[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0], &slopes)?,
            _ => rule(&[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0], &slopes)?, // Eq. (12)
        };
        eval.remember(from, eps);
        Ok(next)
    }
}
