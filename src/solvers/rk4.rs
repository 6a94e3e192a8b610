//! The classical Runge-Kutta method of order 4.

use crate::core::{Eval, Kind, Level, Result, Schedule, Solver, State, Step};

/// Runge and Kutta's method in sigma on $\bar x = x/\sqrt{\bar\alpha}$.
///
/// $$\bar x' = \bar x + \tfrac h6 (k_1 + 2 k_2 + 2 k_3 + k_4), \quad h = \sigma' - \sigma, \qquad
/// k_1 = \epsilon(\bar x, \sigma), \; k_2 = \epsilon(\bar x + \tfrac h2 k_1, \sigma + \tfrac h2), \;
/// k_3 = \epsilon(\bar x + \tfrac h2 k_2, \sigma + \tfrac h2), \; k_4 = \epsilon(\bar x + h k_3, \sigma')$$
///
/// A network is asked by label, and no grid holds the midpoint's: the schedule is what turns its
/// sigma into one. Cost: four model calls, one on a step to the clean end, which is Euler's as
/// [`Heun`](crate::solvers::Heun)'s is. Order 4.
///
/// # References
/// Kutta, *Beitrag zur näherungsweisen Integration totaler Differentialgleichungen*, Zeitschrift
/// für Mathematik und Physik 46 (1901), 435-453; Song, Meng, Ermon, ICLR 2021, Eq. (14) for the ODE.
#[derive(Clone, Debug)]
pub struct Rk4 {
    /// Gives the label of the midpoint's sigma.
    pub schedule: Schedule,
}

impl<S: State> Solver<S> for Rk4 {
    fn name(&self) -> &'static str {
        "rk4"
    }

    fn kind(&self) -> Kind {
        Kind::Deterministic { order: 4 }
    }

    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let k1 = eval.eps(x, step.from)?;
        finish(&self.schedule, eval, x, &k1, step)
    }
}

/// The step once its first slope is known.
pub(super) fn finish<S: State>(
    schedule: &Schedule,
    eval: &mut Eval<'_, S>,
    x: &S,
    k1: &S,
    Step { from, to, .. }: Step,
) -> Result<S> {
    let h = to.sigma() - from.sigma();
    let ahead = |level: Level, h: f64, k: &S| {
        S::lincomb(&[(level.signal() / from.signal(), x), (level.signal() * h, k)])
    };
    if to.is_clean() {
        return ahead(to, h, k1);
    }
    let middle = schedule.level_at_sigma(from.sigma() + 0.5 * h)?;
    let k2 = eval.eps(&ahead(middle, 0.5 * h, k1)?, middle)?;
    let k3 = eval.eps(&ahead(middle, 0.5 * h, &k2)?, middle)?;
    let k4 = eval.eps(&ahead(to, h, &k3)?, to)?;
    let (a, sixth) = (to.signal() / from.signal(), to.signal() * h / 6.0);
    S::lincomb(&[(a, x), (sixth, k1), (2.0 * sixth, &k2), (2.0 * sixth, &k3), (sixth, &k4)])
}
