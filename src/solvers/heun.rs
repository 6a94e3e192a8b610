//! Heun's second-order step of the probability-flow ODE.

use crate::core::{Eval, Method, Result, Solver, State, Step};

/// Heun's method in sigma on $\bar x = x/\sqrt{\bar\alpha}$.
///
/// $$d = \epsilon(x, \sigma), \quad \tilde x' = \bar x + h\,d, \quad
/// \bar x' = \bar x + \tfrac h2\left(d + \epsilon(\tilde x', \sigma')\right), \quad h = \sigma'-\sigma$$
///
/// Cost: two model calls, one on a step to the clean end, where there is no slope to average.
/// Order 2.
///
/// # References
/// Karras, Aittala, Aila, Laine, *Elucidating the Design Space of Diffusion-Based Generative
/// Models*, NeurIPS 2022, algorithm 1 without its churn. arXiv:2206.00364.
#[derive(Clone, Copy, Debug)]
pub struct Heun;

impl Method for Heun {
    fn name(&self) -> &'static str {
        "heun"
    }

    fn order(&self) -> Option<u32> {
        Some(2)
    }
}

impl<S: State> Solver<S> for Heun {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let Step { from, to, .. } = step;
        let h = to.sigma() - from.sigma();
        let d = eval.eps(x, from)?;
        let euler = step.advance(x, &[(h, &d)])?;
        if to.is_clean() {
            return Ok(euler);
        }
        let d2 = eval.eps(&euler, to)?;
        step.advance(x, &[(0.5 * h, &d), (0.5 * h, &d2)])
    }
}
