//! The classical Runge-Kutta method of order 4.

use super::{multistep::combine, tableau::Tableau};
use crate::core::{Eval, Method, Result, Schedule, Solver, State, Step};

/// Runge and Kutta's method in sigma on $\bar x = x/\sqrt{\bar\alpha}$.
///
/// $$\bar x' = \bar x + \tfrac h6 (k_1 + 2 k_2 + 2 k_3 + k_4), \quad h = \sigma' - \sigma, \qquad
/// k_1 = \epsilon(\bar x, \sigma), \; k_2 = \epsilon(\bar x + \tfrac h2 k_1, \sigma + \tfrac h2), \;
/// k_3 = \epsilon(\bar x + \tfrac h2 k_2, \sigma + \tfrac h2), \; k_4 = \epsilon(\bar x + h k_3, \sigma')$$
///
/// A network needs a timestep, so the schedule gives that of the midpoint's sigma. Cost: four model calls, one on a step to the clean end, which is Euler's as
/// [`Heun`](super::Heun)'s is. Order 4.
///
/// # References
/// Kutta, *Beitrag zur näherungsweisen Integration totaler Differentialgleichungen*, Zeitschrift
/// für Mathematik und Physik 46 (1901), 435-453; Song, Meng, Ermon, ICLR 2021, Eq. (14) for the ODE.
#[derive(Clone, Debug)]
pub struct Rk4 {
    /// Gives the timestep of the midpoint's sigma.
    pub schedule: Schedule,
}

/// The stages after the first.
#[rustfmt::skip]
const STAGES: Tableau = Tableau {
    nodes: &[0.5, 0.5, 1.0],
    rows: &[
        &[0.5],
        &[0.0, 0.5],
        &[0.0, 0.0, 1.0],
    ],
};

impl Method for Rk4 {
    fn name(&self) -> &'static str {
        "rk4"
    }

    fn order(&self) -> Option<u32> {
        Some(4)
    }
}

impl<S: State> Solver<S> for Rk4 {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let k1 = eval.eps(x, step.from)?;
        finish(&self.schedule, eval, x, &k1, step)
    }
}

/// The step once its first slope is known: Adams-Bashforth's method of order 4 starts with it.
pub(super) fn finish<S: State>(
    schedule: &Schedule,
    eval: &mut Eval<'_, S>,
    x: &S,
    k1: &S,
    step: Step,
) -> Result<S> {
    let Step { from, to, .. } = step;
    let h = to.sigma() - from.sigma();
    if to.is_clean() {
        return step.advance(x, &[(h, k1)]);
    }
    let middle = schedule.level_at_sigma(from.sigma() + 0.5 * h)?;
    let later = STAGES.slopes(h, k1, |node, moves| {
        let level = if node < 1.0 { middle } else { to };
        eval.eps(&step.until(level).advance(x, moves)?, level)
    })?;
    let slopes = [k1, &later[0], &later[1], &later[2]];
    combine((step.signal_ratio(), x), to.signal() * h / 6.0, &[1.0, 2.0, 2.0, 1.0], &slopes)
}
