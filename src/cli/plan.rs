//! `ddim plan`.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use clap::Args;

use super::{Compute, Experiment, Talk, warn};
use crate::{
    core::KeyedNoise,
    harness::{
        build::Models,
        error::Result,
        plan::{CellSpec, GridSpec, Steps, Tau},
        registry::Registry,
        runner,
    },
};

#[derive(Debug, Args)]
#[command(
    after_help = "Nothing is written. The time is that of two model calls, measured here and now, times the number\n\
    of calls.\n\nExamples:\n  \
    ddim plan experiments/table1.toml\n  \
    ddim plan experiments/table1.toml --profile full\n  \
    ddim plan experiments/table1.toml --set samples=1024 --threads 1"
)]
pub(super) struct Plan {
    #[command(flatten)]
    experiment: Experiment,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    talk: Talk,
}

impl Plan {
    #[allow(clippy::print_stdout, reason = "the list is this command's data")]
    pub(super) fn run(&self, registry: &Registry) -> Result<()> {
        let plan = self.experiment.plan(registry)?;
        runner::check(&plan, registry)?;
        let plan = self.experiment.complete(plan, registry, &self.talk)?;
        let routes = runner::check(&plan, registry)?;
        warn(&plan, registry, &self.talk)?;
        let mut models = Models::new(self.compute.open()?, registry);
        let mut probes: BTreeMap<String, f64> = BTreeMap::new();
        let mut total = 0.0;
        for (cell, route) in plan.cells.iter().zip(&routes) {
            let spec = &cell.spec;
            let key = format!("{:?} {:?} {}", spec.model, spec.precision, spec.batch);
            let per_call = if let Some(&seconds) = probes.get(&key) {
                seconds
            } else {
                let seconds = probe(&mut models, spec)?;
                if let Some(hash) = models.weights_sha256(spec)? {
                    self.talk.note(|| format!("read weights {} {hash}", spec.model.source));
                }
                self.talk.note(|| format!("{:.3} ms per sample and call", 1e3 * seconds));
                *probes.entry(key).or_insert(seconds)
            };
            let seconds = per_call * (route.calls * spec.samples as u64) as f64;
            total += seconds;
            let dropped = match route.grid.dropped() {
                0 => String::new(),
                n => format!("  ({} distinct levels, {n} dropped)", route.grid.distinct()),
            };
            println!("{}  about {}{dropped}", runner::describe(cell, route), human(seconds));
            self.talk.detail(|| format!("     {}", spec.canonical_json()));
        }
        println!(
            "{} cells, about {} of model calls on {} with {} threads{}",
            plan.cells.len(),
            human(total),
            models.hardware().name(),
            models.hardware().threads(),
            peak_memory().map_or_else(String::new, |mib| format!(", {mib} MiB of main memory"))
        );
        Ok(())
    }
}

/// Seconds per sample and model call: the faster of two batches of two calls each.
fn probe(models: &mut Models<'_>, spec: &CellSpec) -> Result<f64> {
    let rows = spec.batch.min(spec.samples);
    let last = (spec.schedule.horizon - 1) as f64;
    let short = CellSpec {
        grid: GridSpec {
            tau: Tau::Labels(vec![last, 0.0]),
            steps: Steps::Number(2),
            ..spec.grid.clone()
        },
        ..spec.clone()
    };
    let sampler = models.sampler(&short)?;
    let mut best = f64::INFINITY;
    for _ in 0..2 {
        let clock = Instant::now();
        let samples =
            sampler.sample(KeyedNoise { seed: spec.seed, first: 0 }, rows, &mut |_| Ok(()))?;
        let calls = (samples.calls * rows as u64).max(1);
        best = best.min(clock.elapsed().as_secs_f64() / calls as f64);
    }
    Ok(best)
}

/// The most main memory this process has held, in MiB: after the probes, what a run will need
/// beside its features.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib / 1024)
}

fn human(seconds: f64) -> String {
    let seconds = Duration::from_secs_f64(seconds).as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}
