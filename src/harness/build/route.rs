//! What a cell will visit and cost, and why one cannot run, without its model.

use std::rc::Rc;

use super::{any_truth::AnyTruth, solver::grid_and_solver};
use crate::{
    core::{self, Ghost, Grid, Solver, count_calls},
    harness::{
        diagnostic::Diagnostic,
        error::{Error, Result},
        plan::{Cell, CellSpec, MetricsSpec, Task},
        registry::Registry,
    },
};

/// A cell's grid and cost, found without its model.
#[derive(Clone, Debug)]
pub struct Route {
    /// The levels.
    pub grid: Grid,
    /// Model calls per sample.
    pub calls: u64,
    /// The solver's order of convergence; none for one that draws noise.
    pub order: Option<u32>,
    /// What the truth is solved by, equal for cells that share it, and its calls per sample.
    pub truth: Option<(String, u64)>,
}

impl Route {
    /// The way of a cell's images to their latents: the grid reversed.
    ///
    /// # Errors
    /// As [`Route::new`], and a method that does not run backwards or not by this convention.
    pub fn inverse(spec: &CellSpec, registry: &Registry) -> Result<Self> {
        let (grid, solver) = grid_and_solver(spec, registry)?;
        let solver: Rc<dyn Solver<Ghost>> = Registry::inverse(&spec.solver, solver)?;
        let grid = grid.reversed();
        let calls = count_calls(&*solver, &grid)?;
        Ok(Self { grid, calls, order: order_of(solver.kind()), truth: None })
    }

    /// The route of a cell.
    ///
    /// # Errors
    /// As [`build_grid`](super::build_grid), and a grid the solver does not admit.
    pub fn new(spec: &CellSpec, registry: &Registry) -> Result<Self> {
        let (grid, solver) = grid_and_solver(spec, registry)?;
        let solver: Rc<dyn Solver<Ghost>> = solver;
        let calls = count_calls(&*solver, &grid)?;
        let calls = match spec.task {
            Task::Sample => calls,
            Task::Reconstruct(_) => calls + Self::inverse(spec, registry)?.calls,
            Task::Interpolate(points) => calls * points as u64,
        };
        let truth = AnyTruth::of(spec, registry, &grid)?;
        let truth = truth.map(|truth| truth.cost()).transpose()?;
        Ok(Self { grid, calls, order: order_of(solver.kind()), truth })
    }

    /// The route of a planned cell, its problem reported where the manifest wrote the cause.
    ///
    /// # Errors
    /// As [`Route::new`].
    pub fn of(cell: &Cell, registry: &Registry) -> std::result::Result<Self, Box<Diagnostic>> {
        let measured = cell.spec.metrics.as_ref();
        let compared = measured.and_then(MetricsSpec::measured_to_truth);
        let route = Self::new(&cell.spec, registry);
        if let (Ok(Self { order: None, .. }), Some(measure)) = (&route, compared) {
            let kind = &cell.spec.solver.kind;
            let message = format!("`{kind}` draws noise here: its samples solve no ODE");
            let help = format!(
                "`{}` is for deterministic methods; compare distributions instead (`fd`)",
                measure.name()
            );
            return Err(Box::new(
                Diagnostic::error(cell.locate("solver.kind"), message).help(help),
            ));
        }
        route.map_err(|error| {
            let (path, help) = match &error {
                Error::Core(core::Error::EtaTooLarge { .. }) => (
                    "solver.eta",
                    "the variance of a step cannot exceed what is left of 1 - alpha_bar",
                ),
                Error::Core(core::Error::Setting { problem, .. }) => {
                    return Box::new(refused_option(cell, problem, &error, registry));
                }
                Error::Core(core::Error::EtaNegative { .. }) => {
                    ("solver.eta", "0 is DDIM, 1 is DDPM")
                }
                Error::Core(core::Error::LearnedVariance { .. }) => {
                    ("solver.variance", "`kind = \"ddpm\"` takes it")
                }
                Error::Core(core::Error::NoRange) => {
                    ("solver.variance", "exact scores are those of eps alone")
                }
                Error::Core(core::Error::StochasticReversed { .. }) => {
                    ("solver.kind", "images are encoded by methods that draw no noise")
                }
                Error::Core(core::Error::Schedule(_)) => ("schedule.kind", "see [schedule]"),
                Error::Truth(_) => {
                    ("truth.kind", "the truth solves the probability-flow ODE from the same noise")
                }
                _ if cell.spec.grid.window.is_some() => {
                    ("grid.window", "tau and window together decide which levels are visited")
                }
                Error::Core(core::Error::Label { .. }) => {
                    ("grid.tau", "labels are the network's, counted from 0")
                }
                _ => ("grid.steps", "S and tau together decide which levels are visited"),
            };
            Box::new(Diagnostic::error(cell.locate(path), error.to_string()).help(help))
        })
    }
}

fn order_of(kind: core::Kind) -> Option<u32> {
    match kind {
        core::Kind::Deterministic { order } => Some(order),
        core::Kind::Stochastic => None,
    }
}

/// An option that its method refuses, shown where it was written, with what the section may hold.
fn refused_option(cell: &Cell, problem: &str, error: &Error, registry: &Registry) -> Diagnostic {
    let kind = &cell.spec.solver.kind;
    let options = registry.kinds().into_iter().find(|known| known.name == *kind);
    let options = options.map(|known| known.options).unwrap_or_default();
    let section = cell.locate("solver.?"); // where what is not written is shown
    let written = options.iter().filter(|(key, _)| problem.contains(key)).find_map(|(key, _)| {
        let place = cell.locate(&format!("solver.{key}"));
        (place != section).then_some(place)
    });
    let defaults: Vec<String> =
        options.iter().map(|(key, default)| format!("`{key} = {default}`")).collect();
    let place = written.unwrap_or_else(|| cell.locate("solver.kind"));
    Diagnostic::error(place, error.to_string())
        .help(format!("the defaults of {kind} are {}", defaults.join(", ")))
}
