//! What an experiment will cost: its cells, their model calls, and the time they take here.

use std::{collections::BTreeMap, time::Instant};

use ndarray::Array4;
use serde::Serialize;

use crate::core::{KeyedNoise, Tau};
use crate::{
    error::Result,
    hardware::Hardware,
    plan::{BitsSpec, CellSpec, GridSpec, Plan, SolverSpec, Solves, Task},
    run::{
        assemble::{Coded, Models, Route},
        registry::Registry,
    },
    solvers::Variance,
};

/// Samples of the first call, which warms up and decides how many the timed calls can have.
const FIRST: usize = 4;

/// Seconds that a timed call may take.
const LONGEST: f64 = 2.0;

/// Model calls by which a network is timed: the first, and two of which the faster counts.
pub const CALLS: u64 = 3;

/// The cost of an experiment on some hardware.
#[derive(Clone, Debug, Serialize)]
pub struct Estimate {
    /// The experiment.
    pub name: String,
    /// The profile laid over it, if any.
    pub profile: Option<String>,
    /// `cpu` or `cuda`, with the device's name.
    pub device: String,
    /// Threads of LibTorch.
    pub threads: usize,
    /// Its cells, in order.
    pub cells: Vec<CellCost>,
    /// The reference solutions, each solved once for all cells that share it.
    pub solutions: Vec<SolutionCost>,
    /// Seconds of model calls of all of them.
    pub seconds: f64,
    /// The most main memory that this process held, in MiB, if the system tells.
    pub memory_mib: Option<u64>,
}

/// The cost of a cell.
#[derive(Clone, Debug, Serialize)]
pub struct CellCost {
    /// Position in the plan.
    pub index: usize,
    /// Its labels by axis.
    pub params: BTreeMap<String, String>,
    /// Number of samples N.
    pub samples: usize,
    /// S as requested.
    pub steps: usize,
    /// Distinct noisy levels.
    pub levels: usize,
    /// Entries of the sequence that were dropped.
    pub dropped: usize,
    /// Model calls per sample.
    pub calls: u64,
    /// Backward passes of the network per sample; their time is part of the calls'.
    pub backward_passes: u64,
    /// Whether calls and seconds are lower bounds, because the method chooses its own steps.
    pub at_least: bool,
    /// Seconds of model calls.
    pub seconds: f64,
}

/// The cost of a reference solution.
#[derive(Clone, Debug, Serialize)]
pub struct SolutionCost {
    /// How many cells share it.
    pub cells: usize,
    /// The most samples that one of them has.
    pub samples: usize,
    /// Model calls per sample.
    pub calls: u64,
    /// Whether calls and seconds are lower bounds, because the method chooses its own steps.
    pub at_least: bool,
    /// Seconds of model calls.
    pub seconds: f64,
}

/// Times each network once, by [`CALLS`] calls of bounded length, however many calls the cells make.
pub struct Estimator<'a> {
    models: Models<'a>,
    seconds: BTreeMap<String, f64>,
    calls: u64,
}

impl<'a> Estimator<'a> {
    /// Nothing timed yet; the registry has DDIM, by which networks are timed.
    pub fn new(hardware: Hardware, shipped: &'a Registry) -> Self {
        Self { models: Models::new(hardware, shipped), seconds: BTreeMap::new(), calls: 0 }
    }

    /// The cost of a plan whose cells take these routes.
    ///
    /// # Errors
    /// Models that cannot be loaded or run.
    pub fn estimate(&mut self, plan: &Plan, routes: &[Route]) -> Result<Estimate> {
        let mut cells = vec![];
        let mut solutions: BTreeMap<&str, SolutionCost> = BTreeMap::new();
        for (cell, route) in plan.cells.iter().zip(routes) {
            let spec = &cell.spec;
            let traced = match &spec.task {
                Task::Bits(bits) if route.backward > 0 => Some(bits),
                _ => None,
            };
            let seconds = |per_call: f64, calls: u64, samples: usize| {
                per_call * calls as f64 * samples as f64
            };
            cells.push(CellCost {
                index: cell.index,
                params: cell.params.iter().cloned().collect(),
                samples: spec.samples,
                steps: route.grid.requested(),
                levels: route.grid.distinct(),
                dropped: route.grid.dropped(),
                calls: route.calls,
                backward_passes: route.calls * route.backward,
                at_least: chooses_its_steps(&spec.solver),
                seconds: seconds(self.per_call(spec, traced)?, route.calls, spec.samples),
            });
            if let Some((key, calls)) = route.solution.as_ref().filter(|(_, calls)| *calls > 0) {
                let at_least = spec.solution.as_ref().is_some_and(|solution| {
                    matches!(&solution.method, Solves::Method(method) if chooses_its_steps(method))
                });
                let none =
                    SolutionCost { cells: 0, samples: 0, calls: *calls, at_least, seconds: 0.0 };
                let solution = solutions.entry(key).or_insert(none);
                solution.cells += 1;
                solution.samples = solution.samples.max(spec.samples);
                solution.seconds = seconds(self.per_call(spec, None)?, *calls, solution.samples);
            }
        }
        let solutions: Vec<SolutionCost> = solutions.into_values().collect();
        let each = cells.iter().map(|cell| cell.seconds);
        let seconds = each.chain(solutions.iter().map(|solution| solution.seconds)).sum();
        let hardware = self.models.hardware();
        Ok(Estimate {
            name: plan.name.clone(),
            profile: plan.profile.clone(),
            device: hardware.name(),
            threads: hardware.threads(),
            cells,
            solutions,
            seconds,
            memory_mib: peak_memory(),
        })
    }

    /// Model calls made so far.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Networks timed so far.
    pub fn timed(&self) -> usize {
        self.seconds.len()
    }

    /// Hash of the weights of a cell's model; none for an exact-score model.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub fn weights_sha256(&mut self, spec: &CellSpec) -> Result<Option<String>> {
        self.models.weights_sha256(spec)
    }

    /// Seconds per sample and model call, with the backward passes that a trace takes.
    fn per_call(&mut self, spec: &CellSpec, traced: Option<&BitsSpec>) -> Result<f64> {
        let CellSpec { model, precision, state, batch, .. } = spec;
        let trace = traced.and_then(|bits| bits.trace.as_ref());
        let key = format!("{model:?} {precision:?} {state:?} {batch} {trace:?}");
        if let Some(&seconds) = self.seconds.get(&key) {
            return Ok(seconds);
        }
        let last = (spec.schedule.horizon - 1) as f64;
        let mut model = spec.model.clone();
        if let Some(exact) = &mut model.exact {
            // One step has no J_sigma to fit weights to, and any weights take as long.
            exact.shared = None;
        }
        let one_call = CellSpec {
            model,
            grid: GridSpec::new(Tau::Explicit(vec![last]), 1),
            solver: SolverSpec { variance: Some(Variance::Eta(0.0)), ..SolverSpec::new("ddim") },
            metrics: None,
            solution: None,
            task: traced.map_or(Task::Sample, |bits| Task::Bits(bits.clone())),
            ..spec.clone()
        };
        let sampler = self.models.sampler(&one_call)?;
        let [c, h, w] = sampler.shape();
        let mut time = |rows: usize| -> Result<f64> {
            let noise = KeyedNoise { seed: spec.seed, first: 0 };
            let (calls, time) = if let Some(trace) = trace {
                let grey = Coded::Images(Array4::zeros((rows, c, h, w)));
                let clock = Instant::now();
                let costs = sampler.bits(grey, Some(trace), noise, &mut |_| Ok(()))?;
                (costs.calls, clock.elapsed())
            } else {
                let samples = sampler.sample(noise, rows, &mut |_| Ok(()))?;
                (samples.calls, samples.time)
            };
            self.calls += calls;
            Ok(time.as_secs_f64() / rows as f64)
        };
        let most = spec.batch.min(spec.samples);
        let first = time(most.min(FIRST))?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few samples")]
        let affordable = (LONGEST / first.max(1e-9)) as usize;
        let rows = most.min(affordable).max(1);
        let seconds = time(rows)?.min(time(rows)?);
        self.seconds.insert(key, seconds);
        Ok(seconds)
    }
}

/// Whether a method divides its steps to meet a tolerance.
fn chooses_its_steps(solver: &SolverSpec) -> bool {
    solver.options.contains_key("rtol")
}

/// The most main memory this process has held, in MiB: after the timed calls, what a run will need
/// apart from its features.
pub(crate) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib / 1024)
}
