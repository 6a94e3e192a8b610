//! The multistep DPM-Solver++ of order 2.

use super::lowered;
use crate::core::{Eval, Method, Result, Solver, State, Step};

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
/// With `lower_order_final`, the last of fewer than 15 steps is of first order even if it ends at a
/// noisy level, as in diffusers by default.
///
/// # References
/// Lu et al., *DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models*,
/// 2022, algorithm 2. arXiv:2211.01095.
#[derive(Clone, Copy, Debug, Default)]
pub struct DpmSolverPp2M {
    /// Whether the last step is of first order if there are few.
    pub lower_order_final: bool,
}

impl Method for DpmSolverPp2M {
    fn name(&self) -> &'static str {
        "dpm-solver++2m"
    }

    fn order(&self) -> Option<u32> {
        Some(2)
    }

    fn memory(&self) -> usize {
        1
    }
}

impl<S: State> Solver<S> for DpmSolverPp2M {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let Step { from, to, .. } = step;
        let (eps, x0) = eval.eps_and_x0(x, from)?;
        let h = to.lambda() - from.lambda();
        let first_order = !h.is_finite() || self.lower_order_final && lowered(step) < 2;
        let next = match eval.recall() {
            Some((level, before)) if !first_order && !level.is_clean() => {
                let r = (from.lambda() - level.lambda()) / h;
                let gain = -to.signal() * (-h).exp_m1();
                S::lincomb(&[
                    (step.std_ratio(), x),
                    (gain * (1.0 + 0.5 / r), &x0),
                    (-gain * 0.5 / r, before),
                ])?
            }
            _ => S::lincomb(&[(to.signal(), &x0), (to.std(), &eps)])?, // DDIM
        };
        eval.remember(from, x0);
        Ok(next)
    }
}

/// SDE-DPM-Solver++(2M): the same multistep integrator for the diffusion SDE, which adds new noise in
/// every step.
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
    /// Whether the last step is of first order if there are few.
    pub lower_order_final: bool,
}

impl Method for SdeDpmSolverPp2M {
    fn name(&self) -> &'static str {
        "sde-dpm-solver++2m"
    }

    fn order(&self) -> Option<u32> {
        None
    }

    fn memory(&self) -> usize {
        1
    }
}

impl<S: State> Solver<S> for SdeDpmSolverPp2M {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let Step { from, to, .. } = step;
        let (_, x0) = eval.eps_and_x0(x, from)?;
        if to.is_clean() {
            return Ok(x0);
        }
        let h = to.lambda() - from.lambda();
        let removed = -(-2.0 * h).exp_m1(); // 1 - e^-2h
        let (keep, gain) = (step.std_ratio() * (-h).exp(), to.signal() * removed);
        let before = eval.recall().filter(|_| !(self.lower_order_final && lowered(step) < 2));
        // 1 / 2r
        let slope = before.map_or(0.0, |(level, _)| 0.5 * h / (from.lambda() - level.lambda()));
        let z = eval.normal(x, step, 0)?;
        let mut terms =
            vec![(keep, x), (gain * (1.0 + slope), &x0), (to.std() * removed.sqrt(), &z)];
        terms.extend(before.map(|(_, before)| (-gain * slope, before)));
        let next = S::lincomb(&terms)?;
        eval.remember(from, x0);
        Ok(next)
    }
}
