//! The singlestep DPM-Solver of orders 1 to 3.

use crate::core::{Eval, Kind, Level, Result, Schedule, Solver, State, Step};
use crate::solvers::{check_order, weights::moment};

/// DPM-Solver-1, -2 and -3: exponential Runge-Kutta steps of eps in $\lambda = -\log\sigma$.
///
/// $$x_\text{to} = \frac{\sqrt{\bar\alpha_\text{to}}}{\sqrt{\bar\alpha_\text{from}}}\,x -
/// \sqrt{1-\bar\alpha_\text{to}}\,(e^h - 1)\,D, \qquad h = \lambda_\text{to} - \lambda_\text{from}$$
///
/// with D the prediction at the start (order 1, which is DDIM), at the middle of the step (order 2),
/// or, in order 3, at the start with a correction from two thirds of the step, reached by way of one
/// third. Middle and thirds are in $\lambda$, and the schedule gives their labels. Steps that touch
/// the clean end, where $\lambda$ is infinite, take the form of order 1. Cost: as many model calls as
/// the order, one at the clean end.
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
    /// The method of an order; the schedule gives the labels inside a step.
    ///
    /// # Errors
    /// An order other than 1, 2 or 3.
    pub fn new(order: u32, schedule: Schedule) -> Result<Self> {
        check_order("dpm-solver", order, 1..=3)?;
        Ok(Self { order, schedule })
    }
}

impl<S: State> Solver<S> for DpmSolver {
    fn name(&self) -> &'static str {
        "dpm-solver"
    }

    fn kind(&self) -> Kind {
        Kind::Deterministic { order: self.order }
    }

    fn step(&self, eval: &mut Eval<'_, S>, x: &S, Step { from, to, .. }: Step) -> Result<S> {
        let eps = eval.eps(x, from)?;
        if from.is_clean() || to.is_clean() {
            let h = to.signal() * (to.sigma() - from.sigma());
            return S::lincomb(&[(to.signal() / from.signal(), x), (h, &eps)]);
        }
        let h = to.lambda() - from.lambda();
        let inside = |part: f64| self.schedule.level_at_sigma((-(from.lambda() + part * h)).exp());
        // The factors of Eq. (3.7).
        let flat =
            |level: Level, h: f64| (level.signal() / from.signal(), -level.noise() * h.exp_m1());
        let ahead = |level: Level, h: f64, eps: &S| {
            let (a, b) = flat(level, h);
            S::lincomb(&[(a, x), (b, eps)])
        };
        match self.order {
            1 => ahead(to, h, &eps), // Eq. (3.7)
            2 => {
                let middle = inside(0.5)?; // Algorithm 1
                let slope = eval.eps(&ahead(middle, 0.5 * h, &eps)?, middle)?;
                ahead(to, h, &slope)
            }
            _ => {
                let (r1, r2) = (1.0 / 3.0, 2.0 / 3.0); // Algorithm 2
                let (s1, s2) = (inside(r1)?, inside(r2)?);
                let eps1 = eval.eps(&ahead(s1, r1 * h, &eps)?, s1)?;
                // (e^z - 1)/z - 1 = z phi_2(z)
                let (a, b) = flat(s2, r2 * h);
                let c = -s2.noise() * r2 / r1 * r2 * h * moment(r2 * h, 1);
                let u2 = S::lincomb(&[(a, x), (b - c, &eps), (c, &eps1)])?;
                let eps2 = eval.eps(&u2, s2)?;
                let (a, b) = flat(to, h);
                let c = -to.noise() / r2 * h * moment(h, 1);
                S::lincomb(&[(a, x), (b - c, &eps), (c, &eps2)])
            }
        }
    }
}
