//! The only loop.

use super::{
    At, Denoiser, Draw, Error, Eval, Ghost, Grid, Level, Noise, Prediction, Result, Solver, State,
    Step,
};

/// Where a trajectory ended and what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<S> {
    /// The state at the grid's last level.
    pub x: S,
    /// NFE: model calls per sample, counted at the model.
    pub nfe: u64,
}

/// Carries `x` along the grid with a solver.
///
/// `observe` sees every step, the state after it and the NFE so far; an error it returns
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
    if solver.draws_noise() && grid.is_reversed() {
        return Err(Error::StochasticReversed { solver: solver.name() });
    }
    if grid.levels().iter().any(Level::is_pure_noise) && !solver.starts_from_pure_noise() {
        return Err(Error::InfiniteSigma { solver: solver.name() });
    }
    solver.admits(grid)?;
    let mut eval = Eval::new(denoiser, noise, solver.memory());
    let mut x = x;
    for step in grid.steps() {
        let before = x;
        x = solver.step(&mut eval, &before, step)?;
        if !x.is_finite()? {
            let sample = eval.sample(x.first_not_finite()?.unwrap_or(0));
            let Step { index, from, to, .. } = step;
            // Asked once more: what the step itself was told is gone.
            let told = denoiser.predict(&before, from.into()).and_then(|eps| eps.is_finite());
            let what = if let Ok(false) = told { "the model's output" } else { "the state" };
            return Err(Error::NotFinite { solver: solver.name(), index, from, to, sample, what });
        }
        observe(step, &x, eval.nfe())?;
    }
    Ok(Outcome { x, nfe: eval.nfe() })
}

/// NFE: the model calls per sample that a solver makes on a grid, counted by running it on an empty
/// state.
///
/// # Errors
/// A grid the solver does not admit.
pub fn count_nfe(solver: &dyn Solver<Ghost>, grid: &Grid) -> Result<u64> {
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
    integrate(solver, &Free, &Silence, grid, Ghost, |_, _, _| Ok(())).map(|outcome| outcome.nfe)
}
