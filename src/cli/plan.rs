//! `ddim plan`.

use std::{collections::BTreeSet, time::Duration};

use clap::Args;

use crate::cli::{Compute, Experiment, Talk, compile, warn};
use crate::{
    error::Result,
    run::{
        estimate::{Estimate, Estimator, SolutionCost},
        registry::Registry,
        runner,
    },
};

#[derive(Debug, Args)]
#[command(
    after_help = "Times three model calls of each network, a few seconds at most, and multiplies by the number of\n\
    calls. Writes nothing.\n\nExamples:\n  \
    ddim plan experiments/table1.toml\n  \
    ddim plan experiments/table1.toml --profile full\n  \
    ddim plan experiments/table1.toml --set samples=1024 --threads 1\n  \
    ddim plan experiments/order.toml --json"
)]
pub(super) struct Plan {
    #[command(flatten)]
    experiment: Experiment,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,

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
        let shipped = Registry::shipped();
        let hardware = self.compute.open()?;
        compile::packages(&plan, hardware.device(), &self.talk)?;
        let mut estimator = Estimator::new(hardware, &shipped);
        let estimate = estimator.estimate(&plan, &routes)?;
        let mut said = BTreeSet::new();
        for cell in &plan.cells {
            if let Some(hash) = estimator.weights_sha256(&cell.spec)?
                && said.insert(hash.clone())
            {
                self.talk.note(|| format!("read weights {} {hash}", cell.spec.model.source));
            }
        }
        if self.json {
            println!("{}", json(&estimate));
            return Ok(());
        }
        for ((cell, route), cost) in plan.cells.iter().zip(&routes).zip(&estimate.cells) {
            let dropped = match cost.dropped {
                0 => String::new(),
                n => format!("  ({} distinct levels, {n} dropped)", cost.levels),
            };
            let (about, time) = (about(cost.at_least), human(cost.seconds));
            println!("{}  {about} {time}{dropped}", runner::describe(cell, route));
            self.talk.detail(|| format!("     {}", cell.spec.canonical_json()));
        }
        for solution in &estimate.solutions {
            let SolutionCost { cells, samples, calls, at_least, seconds } = solution;
            let (about, time) = (about(*at_least), human(*seconds));
            let s = if *cells == 1 { "" } else { "s" };
            println!(
                "reference solution of {cells} cell{s}, computed once  {calls} calls x {samples}  {about} {time}"
            );
        }
        let Estimate { device, threads, seconds, memory_mib, .. } = &estimate;
        let memory =
            memory_mib.map_or_else(String::new, |mib| format!(", {mib} MiB of main memory"));
        println!(
            "{} cells, about {} of model calls on {device} with {threads} threads{memory}",
            plan.cells.len(),
            human(*seconds),
        );
        Ok(())
    }
}

fn about(at_least: bool) -> &'static str {
    if at_least { "at least" } else { "about" }
}

fn json(estimate: &Estimate) -> String {
    serde_json::to_string_pretty(estimate).expect("invariant: plain data serialises")
}

fn human(seconds: f64) -> String {
    let seconds = Duration::from_secs_f64(seconds.clamp(0.0, 1e15)).as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}
