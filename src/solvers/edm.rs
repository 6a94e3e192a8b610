//! The stochastic sampler of EDM.

use super::Heun;
use crate::core::{Error, Eval, Method, Result, Schedule, Solver, State, Step};

/// How much noise an [`Edm`] adds, and where; the paper's names are in brackets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Churn {
    /// Noise over the whole trajectory ($S_\text{churn}$); 0 is deterministic.
    pub amount: f64,
    /// The smallest sigma at which noise is added ($S_\text{tmin}$).
    pub least: f64,
    /// The largest sigma at which noise is added ($S_\text{tmax}$).
    pub most: f64,
    /// The standard deviation of the new noise ($S_\text{noise}$); 1 in theory.
    pub std: f64,
}

impl Default for Churn {
    /// No churn, and no limits for it.
    fn default() -> Self {
        Self { amount: 0.0, least: 0.0, most: f64::INFINITY, std: 1.0 }
    }
}

/// EDM's sampler: every step first raises sigma by new noise, then takes [`Heun`]'s step down.
///
/// $$\hat\sigma = (1 + \gamma)\,\sigma, \qquad
/// \hat x = \bar x + \sqrt{\hat\sigma^2 - \sigma^2}\;S_\text{noise}\,z, \qquad
/// \gamma = \min\!\left(\frac{S_\text{churn}}{N},\, \sqrt2 - 1\right)$$
///
/// for sigma in $[S_\text{tmin}, S_\text{tmax}]$, and $\gamma = 0$ elsewhere. The schedule gives the
/// timestep of the raised sigma; above its largest sigma a network is asked with its last timestep.
/// Without churn this is [`Heun`]. Cost: two model calls, one on a step to the clean end.
///
/// # References
/// Karras, Aittala, Aila, Laine, *Elucidating the Design Space of Diffusion-Based Generative
/// Models*, NeurIPS 2022, algorithm 2. arXiv:2206.00364.
#[derive(Clone, Debug)]
pub struct Edm {
    churn: Churn,
    gamma: f64,
    schedule: Schedule,
}

impl Edm {
    /// The sampler for `steps` steps (the paper's N).
    ///
    /// # Errors
    /// An amount or a standard deviation that is negative or not finite, limits in the wrong order,
    /// or no steps.
    pub fn new(churn: Churn, steps: usize, schedule: Schedule) -> Result<Self> {
        let Churn { amount, least, most, std } = churn;
        let factor = |value: f64| value >= 0.0 && value.is_finite();
        if !(factor(amount) && factor(std) && least <= most && steps > 0) {
            let problem = format!(
                "churn needs amount >= 0, std >= 0, least <= most and at least one step; given are amount \
                 = {amount}, std = {std}, least = {least}, most = {most}, {steps} steps"
            );
            return Err(Error::Setting { solver: "edm", problem });
        }
        let gamma = (amount / steps as f64).min(std::f64::consts::SQRT_2 - 1.0);
        Ok(Self { churn, gamma, schedule })
    }
}

impl Method for Edm {
    fn name(&self) -> &'static str {
        "edm"
    }

    fn order(&self) -> Option<u32> {
        if self.gamma > 0.0 { None } else { Heun.order() }
    }
}

impl<S: State> Solver<S> for Edm {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let sigma = step.from.sigma();
        if self.gamma <= 0.0 || sigma < self.churn.least || sigma > self.churn.most {
            return Heun.step(eval, x, step);
        }
        let raised = self.schedule.level_at_sigma((1.0 + self.gamma) * sigma)?;
        let added = (raised.sigma() * raised.sigma() - sigma * sigma).sqrt() * self.churn.std;
        let z = eval.normal(x, step, 0)?;
        let x = step.until(raised).advance(x, &[(added, &z)])?;
        Heun.step(eval, &x, Step { from: raised, ..step })
    }
}
