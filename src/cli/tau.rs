//! `ddim tau`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::{
    Compute, Talk, check_output,
    outputs::is,
    setting::{Bench, Setting, samples},
};
use crate::{
    core::{self, KeyedNoise, Level, cheapest},
    error::{Error, Result},
    manifest::Argument,
    plan::tau_file::{Chosen, Objective, Settings, TauFile},
    results::sink,
    run::{
        assemble::{Route, chosen_for_cell, step_cost_calls},
        registry::Registry,
        runner,
    },
    terminal::progress::Progress,
};

/// The candidates unless flags name others: dense where the error of DDIM arises.
const CANDIDATES: (&str, usize) = ("paper-quadratic", 64);

/// Of which errors the sum is made smallest.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Of {
    /// The error of each step at its own end, in x-bar
    Local,
    /// The same in x: what the flow makes of a small error if the data are N(0, 1)
    #[default]
    Scaled,
    /// That error as a small one grows or shrinks to where the path ends
    Carried,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Solves the probability-flow ODE through the candidates, measures what a step of DDIM misses from\n\
    each of them to each later one, and writes, for every S, the way of S steps with the smallest sum.\n\
    The candidates are the grid of --tau and --steps [default: paper-quadratic, 64]. Nothing is trained.\n\
    Model calls grow in proportion to that number, or with its square for `--objective carried`.\n\n\
    Examples:\n  \
    ddim tau 5,10,20 --model models/cifar10-small --samples 8 --out tau.toml\n  \
    ddim tau 10 --model gaussian --shape 1,4,4 --mean 0 --std 1 --objective carried --out t.toml\n  \
    ddim tau 8 --model models/cifar10-small --samples 4 --tau linspace --steps 40 --out tau.toml",
    mut_arg("steps", |steps| steps.help("Number of candidates [default: 64]")),
    mut_arg("tau", |tau| tau.help("The candidates: a spacing, or a list [default: paper-quadratic]"))
)]
pub(super) struct Tau {
    /// The S to choose timesteps for, for instance 5,10,20
    #[arg(required = true, value_delimiter = ',', value_name = "S")]
    lists: Vec<usize>,

    /// A diffusers folder or a file of weights, hf:owner/name[/path][@revision], or gaussian,
    /// mixture, dirac
    #[arg(long, value_name = "PATH|NAME")]
    model: String,

    /// Of which errors the sum is made smallest
    #[arg(long, value_enum, default_value_t)]
    objective: Of,

    /// Seed of the noise; take another one than that of the samples that the timesteps are for
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,

    /// Trajectories along which errors are measured
    #[arg(long, default_value_t = 16, value_name = "N")]
    samples: usize,

    #[command(flatten)]
    setting: Setting,

    /// The file to write, a .toml that grid.tau can name
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    talk: Talk,
}

impl Tau {
    pub(super) fn run(&self, registry: &Registry) -> Result<()> {
        if !is(&self.out, "toml") {
            let path = self.out.display();
            let message = format!(
                "--out {path}: timesteps are written as .toml; give a name that ends in it"
            );
            return Err(Error::input(message));
        }
        check_output(&self.out)?;
        let mut more = self.setting.grid_or(CANDIDATES.0, CANDIDATES.1);
        more.extend([Argument::flag("--seed", "seed", self.seed), samples(self.samples)]);
        let plan = self.setting.plan(Some(&self.model), more, None, (registry, &self.talk))?;
        let route = runner::check(&plan, registry)?.remove(0);
        let spec = &plan.cells[0].spec;
        if spec.solver.kind != "ddim" || route.order != Some(1) {
            let message =
                "timesteps are chosen for ddim with eta = 0: leave --solver and --eta out";
            return Err(Error::input(message));
        }
        self.check(&route)?;
        let objective = match self.objective {
            Of::Local => Objective::Local,
            Of::Scaled => Objective::Scaled,
            Of::Carried => Objective::Carried,
        };
        let bench = Bench::open(plan, &self.compute, registry, &self.talk)?;
        let spec = bench.spec();
        let calls = step_cost_calls(route.grid.distinct(), objective);
        let progress = Progress::new(calls * spec.samples as u64, self.talk.mode());
        let points = route.grid.levels().len();
        let mut costs = vec![vec![0.0; points]; points];
        for (first, rows) in bench.batches(spec.samples) {
            let parts = bench.in_parts(first..first + rows, &progress, |part, watch| {
                let noise = KeyedNoise { seed: spec.seed, first: part.start as u64 };
                bench.sampler.step_costs(noise, part.len(), objective, watch)
            })?;
            for (sum, cost) in costs.iter_mut().flatten().zip(parts.iter().flatten().flatten()) {
                *sum += cost;
            }
        }
        progress.finish();
        let n = spec.samples as f64;
        let candidates: Vec<f64> = noisy(route.grid.levels()).map(|level| level.t).collect();
        let choose = |&steps: &usize| {
            let found = cheapest(points, steps, |from, to| costs[from][to] / n);
            let (way, cost) = found.ok_or_else(|| {
                core::Error::Grid(format!("no way of S = {steps} steps has a finite error"))
            })?;
            let timesteps = way[..steps].iter().map(|&point| candidates[point]).collect();
            Ok(Chosen { steps, cost, timesteps })
        };
        let file = TauFile {
            chosen_for: chosen_for_cell(spec, bench.weights.as_deref()),
            settings: Settings {
                objective,
                samples: spec.samples,
                seed: spec.seed,
                candidates: candidates.clone(),
            },
            tau: self.lists.iter().map(choose).collect::<Result<_>>()?,
        };
        sink::write_atomically(&self.out, file.text().as_bytes())?;
        self.talk.note(|| format!("wrote {}", self.out.display()));
        Ok(())
    }

    /// Refuses candidates that no way of S steps can be made of.
    fn check(&self, route: &Route) -> Result<()> {
        if !route.grid.last().is_clean() {
            let message = "timesteps are chosen for grids that end clean: leave --end out";
            return Err(Error::input(message));
        }
        let candidates = route.grid.distinct();
        if let Some(steps) = self.lists.iter().find(|&&steps| steps == 0 || steps > candidates) {
            return Err(Error::input(format!(
                "S = {steps}: choose from 1 to {candidates}, the number of candidates (--steps)"
            )));
        }
        let repeated = (1..self.lists.len()).find(|&k| self.lists[..k].contains(&self.lists[k]));
        match repeated {
            Some(k) => Err(Error::input(format!("S = {} is named twice", self.lists[k]))),
            None => Ok(()),
        }
    }
}

fn noisy(levels: &[Level]) -> impl Iterator<Item = &Level> {
    levels.iter().filter(|level| !level.is_clean())
}
