//! A cell of a categorical model: samples are one-hot, and their exact distribution is known.

use std::{cell::OnceCell, collections::BTreeMap, sync::Arc, time::Instant};

use ndarray::{Array4, Ix4};

use crate::{
    backends::array::Array,
    core::{self, Grid, KeyedNoise, Solver, integrate},
    exact::Categorical,
    measure::samples::Samples,
    metrics::{self, Shortfall, total_variation},
    plan::{ObjectiveSpec, TraceSpec, tau_file::Objective},
    run::{
        assemble::sampler::{Carried, Coded, Costs, Sampler, Way, single},
        registry::Everywhere,
    },
};

/// Everything that samples of categories need.
pub(crate) struct Categories {
    model: Categorical,
    solver: Arc<dyn Everywhere>,
    grid: Grid,
    /// Whether samples are compared with the data.
    measured: bool,
    distance: OnceCell<Distance>,
}

/// How far a cell's exact distribution is from the data's.
struct Distance {
    all: f64,
    marginal: f64,
    short: Shortfall,
}

impl Categories {
    pub(crate) fn new(
        model: Categorical,
        solver: Arc<dyn Everywhere>,
        grid: Grid,
        measured: bool,
    ) -> Self {
        Self { model, solver, grid, measured, distance: OnceCell::new() }
    }

    /// The distance of the cell, found once.
    fn distance(
        &self,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<&Distance> {
        if let Some(known) = self.distance.get() {
            return Ok(known);
        }
        let sampled = self.model.sampled(&*self.solver, &self.grid, || observe(0))?;
        let data = self.model.probabilities();
        let marginals = |p: &[f64]| self.model.marginals(p).into_iter();
        let each = marginals(&sampled).zip(marginals(data)).map(|(p, q)| total_variation(&p, &q));
        let distance = Distance {
            all: total_variation(&sampled, data),
            marginal: each.fold(0.0, f64::max),
            short: Shortfall::of(&sampled, data),
        };
        Ok(self.distance.get_or_init(|| distance))
    }
}

fn to_host(x: Array) -> core::Result<Array4<f64>> {
    x.into_dimensionality::<Ix4>().map_err(core::Error::model)
}

/// What only images have.
fn refused<T>() -> core::Result<T> {
    Err(core::Error::model("samples of a categorical model are no images"))
}

impl Sampler for Categories {
    fn shape(&self) -> [usize; 3] {
        let [variables, categories] = self.model.shape();
        [1, variables, categories]
    }

    fn sample(
        &self,
        noise: KeyedNoise,
        rows: usize,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Samples> {
        let distance = self.measured.then(|| self.distance(observe)).transpose()?;
        let clock = Instant::now();
        let x = self.model.start(&noise, rows)?;
        let solver = &*self.solver as &dyn Solver<Array>;
        let outcome =
            integrate(solver, &self.model, &noise, &self.grid, x, |_, _, calls| observe(calls))?;
        let time = clock.elapsed();
        let mut numbers = BTreeMap::new();
        if let Some(Distance { all, marginal, short }) = distance {
            let values = self.model.values(&outcome.x)?;
            let seen = values.into_iter().map(|value| short.number(value)).collect();
            numbers.insert(metrics::TOTAL_VARIATION.name, vec![*all; rows]);
            numbers.insert(metrics::TOTAL_VARIATION_SAMPLED.name, seen);
            numbers.insert(metrics::MARGINAL_VARIATION.name, vec![*marginal; rows]);
        }
        let images = single(to_host(outcome.x)?.view(), noise.first)?;
        Ok(Samples { images, calls: outcome.nfe, numbers, solution: None, path: None, time })
    }

    fn carry(
        &self,
        way: Way,
        x: Array4<f64>,
        noise: KeyedNoise,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Carried> {
        if way == Way::Encode {
            return refused();
        }
        let solver = &*self.solver as &dyn Solver<Array>;
        let observe = |_, _: &Array, calls| observe(calls);
        let outcome = integrate(solver, &self.model, &noise, &self.grid, x.into_dyn(), observe)?;
        Ok(Carried { x: to_host(outcome.x)?, calls: outcome.nfe })
    }

    fn bits(
        &self,
        _: Coded,
        _: Option<&TraceSpec>,
        _: KeyedNoise,
        _: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Costs> {
        refused()
    }

    fn objective(
        &self,
        _: Coded,
        _: &ObjectiveSpec,
        _: KeyedNoise,
        _: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Costs> {
        refused()
    }

    fn step_costs(
        &self,
        _: KeyedNoise,
        _: usize,
        _: Objective,
        _: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Vec<Vec<f64>>> {
        refused()
    }

    fn solution(
        &self,
        _: KeyedNoise,
        _: usize,
        _: &mut dyn FnMut() -> core::Result<()>,
    ) -> core::Result<(Array4<f64>, Array4<f64>)> {
        refused()
    }

    fn initial(&self, noise: KeyedNoise, rows: usize) -> core::Result<Array4<f64>> {
        to_host(self.model.start(&noise, rows)?)
    }
}
