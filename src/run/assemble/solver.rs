//! A solver on its grid: S steps, or as many as a budget of model calls allows.
//!
//! A solver may depend on its grid and the cost of a grid on its solver, so the two are built
//! together.

use std::sync::Arc;

use crate::{
    core::{self, Grid, Schedule, count_nfe},
    error::{Error, Result},
    plan::{CellSpec, GridSpec, SolverSpec, Steps},
    run::registry::{Everywhere, Registry},
    solvers::Variance,
};

/// Whether the variance of a cell's steps is its model's.
pub(crate) fn learned(spec: &CellSpec) -> bool {
    spec.solver.variance == Some(Variance::Learned)
}

/// A cell's grid and the solver for it.
///
/// # Errors
/// As [`GridSpec::build`] and [`Registry::build`], and the learned variance of an exact-score model.
pub(crate) fn grid_and_solver(
    spec: &CellSpec,
    registry: &Registry,
) -> Result<(Grid, Arc<dyn Everywhere>)> {
    if spec.model.exact.is_some() && learned(spec) {
        return Err(core::Error::NoRange.into());
    }
    on_grid(&spec.grid, &spec.solver, &spec.schedule.build()?, registry)
}

/// A grid and a solver for it, with as many steps as a budget of calls allows.
pub(crate) fn on_grid(
    grid: &GridSpec,
    solver: &SolverSpec,
    schedule: &Schedule,
    registry: &Registry,
) -> Result<(Grid, Arc<dyn Everywhere>)> {
    let with = |steps: usize| {
        let grid = grid.build(steps, schedule)?;
        let solver = registry.build(solver, schedule, grid.requested())?;
        Ok((grid, solver))
    };
    let budget = match grid.steps {
        Steps::Number(steps) => return with(steps),
        Steps::Calls(budget) => budget,
    };
    // A spacing that repeats timesteps asks for more steps than it has levels, but not for twice as many.
    let most =
        usize::try_from(budget.saturating_mul(2)).unwrap_or(usize::MAX).min(schedule.horizon());
    let mut refused = None;
    for steps in (1..=most).rev() {
        let found = with(steps).and_then(|(grid, solver)| {
            let calls = count_nfe(&*solver, &grid)?;
            Ok(((grid, solver), calls))
        });
        match found {
            Ok((found, calls)) if calls <= budget => return Ok(found),
            Ok(_) => {}
            // An error that only few steps cause would hide one that any number causes.
            Err(error) => refused = Some(refused.unwrap_or(error)),
        }
    }
    Err(refused.unwrap_or_else(|| {
        let kind = &solver.kind;
        Error::input(format!("{budget} model calls are too few for one step of `{kind}` here"))
    }))
}
