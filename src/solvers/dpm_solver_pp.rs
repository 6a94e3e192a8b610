//! The multistep DPM-Solver++ of order 2.

use crate::core::{Eval, Kind, Result, Solver, State, Step};
use crate::solvers::lowered;

/// DPM-Solver++(2M): the exponential integrator of x0 in $\lambda = -\log\sigma$, with the slope
/// taken from the step before.
///
/// $$x_\text{to} = \frac{\sqrt{1-\bar\alpha_\text{to}}}{\sqrt{1-\bar\alpha_\text{from}}}\,x
///   + \sqrt{\bar\alpha_\text{to}}\,(1-e^{-h})\left(\hat x_0
///   + \tfrac{1}{2r}(\hat x_0 - \hat x_0^\text{prev})\right)$$
///
/// with $h = \lambda_\text{to} - \lambda_\text{from}$ and $r = h_\text{prev}/h$. The first step and
/// those that touch the clean end, where $\lambda$ is infinite, take the first-order form
/// without the slope, which is DDIM. Cost: one model call; memory: one prediction; order 2.
///
/// `lower_order_final` takes the last of fewer than 15 steps in first order as well where it ends at a
/// noisy level, as diffusers does by default.
///
/// # References
/// Lu et al., *DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models*,
/// 2022, algorithm 2. arXiv:2211.01095.
#[derive(Clone, Copy, Debug, Default)]
pub struct DpmSolverPp2M {
    /// Whether the last of few steps is of first order.
    pub lower_order_final: bool,
}

impl<S: State> Solver<S> for DpmSolverPp2M {
    fn name(&self) -> &'static str {
        "dpm-solver++2m"
    }

    fn kind(&self) -> Kind {
        Kind::Deterministic { order: 2 }
    }

    fn memory(&self) -> usize {
        1
    }

    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let Step { from, to, .. } = step;
        let (eps, x0) = eval.eps_and_x0(x, from)?;
        let h = to.lambda() - from.lambda();
        let slope = h.is_finite() && !(self.lower_order_final && lowered(step) < 2);
        let next = match eval.recall(0) {
            Some((previous, x0_previous)) if slope && !previous.is_clean() => {
                let r = (from.lambda() - previous.lambda()) / h;
                let gain = -to.signal() * (-h).exp_m1();
                S::lincomb(&[
                    (to.noise() / from.noise(), x),
                    (gain * (1.0 + 0.5 / r), &x0),
                    (-gain * 0.5 / r, x0_previous),
                ])?
            }
            _ => S::lincomb(&[(to.signal(), &x0), (to.noise(), &eps)])?, // DDIM
        };
        eval.remember(from, x0);
        Ok(next)
    }
}

/// SDE-DPM-Solver++(2M): the same multistep integrator on the diffusion SDE, which puts new noise
/// into every step.
///
/// $$x_\text{to} = \frac{\sqrt{1-\bar\alpha_\text{to}}}{\sqrt{1-\bar\alpha_\text{from}}}\,e^{-h}\,x +
/// \sqrt{\bar\alpha_\text{to}}\,(1-e^{-2h})\left(\hat x_0 +
/// \tfrac{1}{2r}(\hat x_0 - \hat x_0^\text{prev})\right) +
/// \sqrt{1-\bar\alpha_\text{to}}\,\sqrt{1-e^{-2h}}\;z$$
///
/// with h and r of [`DpmSolverPp2M`]. The first step and the one to the clean end, which is noiseless,
/// do without the slope; that is DDPM. Cost: one model call; memory: one prediction.
/// `lower_order_final` is that of [`DpmSolverPp2M`].
///
/// # References
/// Lu et al., *DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models*,
/// 2022, SDE-DPM-Solver++(2M). arXiv:2211.01095.
#[derive(Clone, Copy, Debug, Default)]
pub struct SdeDpmSolverPp2M {
    /// Whether the last of few steps is of first order.
    pub lower_order_final: bool,
}

impl<S: State> Solver<S> for SdeDpmSolverPp2M {
    fn name(&self) -> &'static str {
        "sde-dpm-solver++2m"
    }

    fn kind(&self) -> Kind {
        Kind::Stochastic
    }

    fn memory(&self) -> usize {
        1
    }

    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let Step { from, to, .. } = step;
        let (_, x0) = eval.eps_and_x0(x, from)?;
        if to.is_clean() {
            return Ok(x0);
        }
        let h = to.lambda() - from.lambda();
        let past = eval.recall(0).filter(|_| !(self.lower_order_final && lowered(step) < 2));
        let slope = past.map_or(0.0, |(previous, _)| {
            0.5 * h / (from.lambda() - previous.lambda()) // 1 / 2r
        });
        let removed = -(-2.0 * h).exp_m1();
        let (keep, gain) = (to.noise() / from.noise() * (-h).exp(), to.signal() * removed);
        let z = eval.noise(x, step, 0)?;
        let mut terms =
            vec![(keep, x), (gain * (1.0 + slope), &x0), (to.noise() * removed.sqrt(), &z)];
        terms.extend(past.map(|(_, x0_previous)| (-gain * slope, x0_previous)));
        let next = S::lincomb(&terms)?;
        eval.remember(from, x0);
        Ok(next)
    }
}
