//! A cell's reference solution as the manifest gives it, before the type of its states is known.

use std::{rc::Rc, sync::Arc};

use tch::Tensor;

use crate::run::assemble::{denoiser::gaussian, solver::on_grid};
use crate::{
    backends::array::Array,
    core::{self, Grid, Level, Solver, count_nfe},
    error::{Error, Result},
    exact::{Gaussian, GaussianFlow},
    plan::{CellSpec, Solves, Steps},
    run::{
        registry::{Everywhere, Registry},
        solution::{Known, Solution},
    },
};

/// A method and its grid, for whatever states the cell turns out to have.
pub(crate) struct AnySolution {
    key: String,
    method: Method,
    lead: Option<Grid>,
    grid: Grid,
}

/// The method that counts as exact.
enum Method {
    /// The exact flow of a Gaussian.
    Exact(Gaussian),
    Solver(Arc<dyn Everywhere>),
}

impl AnySolution {
    /// The reference solution of a cell on its grid, if it has one: from x_T to where the cell starts,
    /// if that is elsewhere, and from there to the cell's end.
    ///
    /// # Errors
    /// A grid that cannot be built or that the method does not admit, or an exact flow that is not
    /// known.
    pub(crate) fn of(spec: &CellSpec, registry: &Registry, grid: &Grid) -> Result<Option<Self>> {
        let Some(solution) = &spec.solution else { return Ok(None) };
        let refuse = |error: Error| Error::Solution(error.to_string());
        let schedule = spec.schedule.build()?;
        let two = |from: Level, to: Level| Ok::<_, Error>(Grid::from_levels(vec![from, to])?);
        let across = || two(grid.first(), grid.last());
        let (way, method) = if let Solves::Method(method) = &solution.method {
            let (way, solver) = if let Some(own) = &solution.grid {
                on_grid(own, method, &schedule, registry).map_err(refuse)?
            } else {
                let way = across()?;
                let solver = registry.build(method, &schedule, way.requested());
                (way, solver.map_err(refuse)?)
            };
            solver.admits(&way).map_err(|error| refuse(error.into()))?;
            (way, Method::Solver(solver))
        } else {
            let Some(gaussian) = spec.model.exact.as_ref().and_then(gaussian) else {
                return Err(Error::Solution(format!(
                    "the exact flow of `{}` is not known: only that of gaussian and dirac is; \
                     `dormand-prince` comes as close as its tolerance",
                    spec.model.source
                )));
            };
            let way = match &solution.grid {
                None => across()?,
                Some(own) => match own.steps {
                    Steps::Number(steps) => {
                        own.build(steps, &schedule).map_err(|error| refuse(error.into()))?
                    }
                    Steps::Calls(_) => {
                        let problem = "the exact flow makes no calls: give `steps`";
                        return Err(Error::Solution(problem.into()));
                    }
                },
            };
            (way, Method::Exact(gaussian))
        };
        let top = schedule.level((schedule.horizon() - 1) as f64)?;
        let lead = spec.grid.window.is_some() && grid.first().alpha_bar > top.alpha_bar;
        let lead = lead.then(|| two(top, grid.first())).transpose()?;
        // Everything a solution depends on, and nothing of the cell's own solver and steps.
        let level = |level: Level| level.alpha_bar.to_bits();
        let ends = (lead.is_some(), level(way.first()), level(way.last()), way.requested());
        let key = format!(
            "{:?} {:?} {:?} {:?} {:?} {} {ends:?}",
            spec.model, spec.schedule, solution, spec.precision, spec.state, spec.seed
        );
        Ok(Some(Self { key, method, lead, grid: way }))
    }

    /// Its key, equal for cells that share it, and its model calls per sample: a lower bound for a method
    /// that chooses its own steps.
    ///
    /// # Errors
    /// As the method's own steps.
    pub(crate) fn cost(&self) -> Result<(String, u64)> {
        let calls = match &self.method {
            Method::Exact(_) => 0,
            Method::Solver(solver) => {
                let ways = self.lead.iter().chain([&self.grid]);
                ways.map(|way| count_nfe(&**solver, way)).sum::<core::Result<u64>>()?
            }
        };
        Ok((self.key.clone(), calls))
    }

    pub(crate) fn on_arrays(self, known: &Known<Array>) -> Solution<Array> {
        let Self { key, method, lead, grid } = self;
        let solver = match method {
            Method::Exact(gaussian) => Arc::new(GaussianFlow(gaussian)) as Arc<dyn Solver<Array>>,
            Method::Solver(solver) => solver,
        };
        Solution { key, solver, lead, grid, known: Rc::clone(known) }
    }

    pub(crate) fn on_tensors(self, known: &Known<Tensor>) -> Solution<Tensor> {
        let Self { key, method, lead, grid } = self;
        let solver = match method {
            Method::Exact(_) => unreachable!("invariant: a network is no exact-score model"),
            Method::Solver(solver) => solver as Arc<dyn Solver<Tensor>>,
        };
        Solution { key, solver, lead, grid, known: Rc::clone(known) }
    }
}
