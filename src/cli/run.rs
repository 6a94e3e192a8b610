//! `ddim run`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{Compute, Experiment, Talk, compile, fetch, warn};
use crate::{
    error::Result,
    run::{
        registry::Registry,
        runner::{self, Options},
    },
    terminal::interruption,
};

#[derive(Debug, Args)]
#[command(
    after_help = "Writes metrics.csv, timing.csv, tables, plots, samples, the manifest as run, provenance.json, and\n\
    report.html, which shows everything. Ctrl-C keeps finished batches; the same command continues.\n\nExamples:\n  \
    ddim run experiments/table1.toml\n  \
    ddim run experiments/table1.toml --profile full -v\n  \
    ddim run experiments/table1.toml --set samples=1024 --out results/table1-1024\n  \
    ddim run experiments/table1.toml --seed 1 --out results/table1-seed-1\n  \
    ddim run experiments/table1.toml --fresh"
)]
pub(super) struct Run {
    #[command(flatten)]
    experiment: Experiment,

    /// Results folder [default: results/NAME, or results/NAME-PROFILE with --profile]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Measure all cells again; the old metrics.csv is kept as metrics.csv.bak, and pictures of cells
    /// that no longer exist are deleted
    #[arg(long)]
    fresh: bool,

    /// Download missing image sets, and the `inception` weights, into the cache
    #[arg(long)]
    download: bool,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    talk: Talk,
}

impl Run {
    #[allow(clippy::print_stdout, reason = "the table is this command's data")]
    pub(super) fn run(&self, registry: &Registry) -> Result<()> {
        let plan = self.experiment.plan(registry)?;
        let folder = self.out.clone().unwrap_or_else(|| plan.default_folder());
        if self.download {
            fetch::inputs(&plan, &self.talk)?;
        }
        // Everything that needs no model is checked before LibTorch starts.
        runner::check(&plan, registry)?;
        let plan = self.experiment.complete(plan, registry, &self.talk)?;
        warn(&plan, registry, &self.talk)?;
        let hardware = self.compute.open()?;
        compile::packages(&plan, hardware.device(), &self.talk)?;
        let summary = runner::run(
            &plan,
            &Options {
                registry,
                folder: folder.clone(),
                hardware,
                progress: self.talk.mode(),
                verbose: self.talk.verbose,
                chosen: self.out.is_some(),
                fresh: self.fresh,
                interrupted: &interruption::INTERRUPTED,
            },
        )?;
        println!("{}", summary.trim_end());
        if !self.talk.quiet {
            eprintln!("wrote {}", folder.display());
        }
        Ok(())
    }
}
