//! The singlestep DPM-Solver of orders 1 to 3.

use super::{check_order, multistep::moment};
use crate::core::{Eval, Level, Method, Result, Schedule, Solver, State, Step};

/// DPM-Solver-1, -2 and -3: exponential Runge-Kutta steps of eps in $\lambda = -\log\sigma$.
///
/// $$x_\text{to} = \frac{\sqrt{\bar\alpha_\text{to}}}{\sqrt{\bar\alpha_\text{from}}}\,x -
/// \sqrt{1-\bar\alpha_\text{to}}\left((e^h - 1)\,\epsilon + c\,D\right), \qquad
/// h = \lambda_\text{to} - \lambda_\text{from}$$
///
/// Order 1 has D = 0 and is DDIM. Order 2 has D = 0 as well, and for $\epsilon$ the prediction at the
/// middle of the step. Order 3 has $D = \epsilon_s - \epsilon$, the difference of the prediction at
/// two thirds of the step from that at its start, with
/// $c = \left(\frac{e^h - 1}{h} - 1\right)/\tfrac23$; two thirds are reached from the start by the
/// same formula, with the difference at one third. Middle and thirds are in $\lambda$, and the
/// schedule gives their timesteps. Steps that touch the clean end, where $\lambda$ is infinite, take
/// the form of order 1. Cost: as many model calls as the order, one at the clean end.
///
/// # References
/// Lu et al., *DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in Around 10
/// Steps*, NeurIPS 2022, Eq. (3.7) and algorithms 1 and 2. arXiv:2206.00927.
#[derive(Clone, Debug)]
pub struct DpmSolver {
    order: u32,
    schedule: Schedule,
}

impl DpmSolver {
    /// The method of an order; the schedule gives the timesteps inside a step.
    ///
    /// # Errors
    /// An order other than 1, 2 or 3.
    pub fn new(order: u32, schedule: Schedule) -> Result<Self> {
        check_order("dpm-solver", order, 1..=3)?;
        Ok(Self { order, schedule })
    }
}

impl Method for DpmSolver {
    fn name(&self) -> &'static str {
        "dpm-solver"
    }

    fn order(&self) -> Option<u32> {
        Some(self.order)
    }
}

impl<S: State> Solver<S> for DpmSolver {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let Step { from, to, .. } = step;
        let eps = eval.eps(x, from)?;
        if from.is_clean() || to.is_clean() {
            return step.advance(x, &[(to.sigma() - from.sigma(), &eps)]);
        }
        let h = to.lambda() - from.lambda();
        let inside = |part: f64| self.schedule.level_at_sigma((-(from.lambda() + part * h)).exp());
        // Eq. (3.7): from `from` to a level that lies h away, with one prediction all the way.
        let constant = |level: Level, h: f64, eps: &S| {
            let ratio = step.until(level).signal_ratio();
            S::lincomb(&[(ratio, x), (-level.std() * h.exp_m1(), eps)])
        };
        // The same plus c D with D = eps_s - eps, whose two parts join existing terms.
        let linear = |level: Level, h: f64, c: f64, eps_s: &S| {
            let ratio = step.until(level).signal_ratio();
            S::lincomb(&[(ratio, x), (-level.std() * h.exp_m1() - c, &eps), (c, eps_s)])
        };
        match self.order {
            1 => constant(to, h, &eps),
            2 => {
                let middle = inside(0.5)?; // Algorithm 1
                let slope = eval.eps(&constant(middle, 0.5 * h, &eps)?, middle)?;
                constant(to, h, &slope)
            }
            _ => {
                let (r1, r2) = (1.0 / 3.0, 2.0 / 3.0); // Algorithm 2
                let (s1, s2) = (inside(r1)?, inside(r2)?);
                let phi_2 = |z| moment(z, 1); // (e^z - 1)/z - 1 = z phi_2(z)
                let eps1 = eval.eps(&constant(s1, r1 * h, &eps)?, s1)?;
                let c = -s2.std() * r2 / r1 * r2 * h * phi_2(r2 * h);
                let eps2 = eval.eps(&linear(s2, r2 * h, c, &eps1)?, s2)?;
                let c = -to.std() / r2 * h * phi_2(h);
                linear(to, h, c, &eps2)
            }
        }
    }
}
