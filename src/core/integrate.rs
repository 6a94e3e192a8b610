//! The only loop.

use crate::core::{
    At, Denoiser, Draw, Error, Eval, Ghost, Grid, Kind, Level, Noise, Prediction, Result, Solver,
    State, Step,
};

/// Where a trajectory ended and what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<S> {
    /// The state at the grid's last level.
    pub x: S,
    /// Model calls, counted at the model.
    pub calls: u64,
}

/// Carries `x` along the grid with a solver.
///
/// `observe` sees every step, the state after it and the model calls so far; an error it returns
/// ends the run, which is how a run is interrupted.
///
/// # Errors
/// A grid the solver does not admit, a stochastic method on a reversed grid, a state that is no
/// longer finite, and whatever the model, the noise or the observer returns.
pub fn integrate<S: State>(
    solver: &dyn Solver<S>,
    denoiser: &dyn Denoiser<State = S>,
    noise: &dyn Noise<S>,
    grid: &Grid,
    x: S,
    mut observe: impl FnMut(Step, &S, u64) -> Result<()>,
) -> Result<Outcome<S>> {
    if solver.kind() == Kind::Stochastic && grid.is_reversed() {
        return Err(Error::StochasticReversed { solver: solver.name() });
    }
    if grid.levels().iter().any(Level::is_pure_noise) && !solver.starts_from_pure_noise() {
        return Err(Error::InfiniteSigma { solver: solver.name() });
    }
    solver.admits(grid)?;
    let mut eval = Eval::new(denoiser, noise, solver.memory());
    let mut x = x;
    for step in grid.steps() {
        x = solver.step(&mut eval, &x, step)?;
        if !x.is_finite()? {
            let Step { index, from, to, .. } = step;
            return Err(Error::NotFinite { solver: solver.name(), index, from, to });
        }
        observe(step, &x, eval.calls())?;
    }
    Ok(Outcome { x, calls: eval.calls() })
}

/// The model calls a solver makes on a grid, found by running it on nothing.
///
/// # Errors
/// A grid the solver does not admit.
pub fn count_calls(solver: &dyn Solver<Ghost>, grid: &Grid) -> Result<u64> {
    struct Free;
    impl Denoiser for Free {
        type State = Ghost;

        fn predict(&self, _: &Ghost, _: At) -> Result<Ghost> {
            Ok(Ghost)
        }

        fn predict_with_range(&self, _: &Ghost, _: At) -> Result<Prediction<Ghost>> {
            Ok(Prediction { eps: Ghost, x0: Some(Ghost), range: Some(Ghost) })
        }
    }
    struct Silence;
    impl Noise<Ghost> for Silence {
        fn draw(&self, _: &Ghost, _: Draw) -> Result<Ghost> {
            Ok(Ghost)
        }
    }
    integrate(solver, &Free, &Silence, grid, Ghost, |_, _, _| Ok(())).map(|outcome| outcome.calls)
}
