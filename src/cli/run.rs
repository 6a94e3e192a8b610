//! `ddim run`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{Compute, Experiment, Talk, compile, devices, fetch, merge, options, warn};
use crate::{
    error::Result,
    plan::Plan,
    results::shard::Shard,
    run::{
        registry::Registry,
        runner::{self, Options},
        shard::{self, Share},
        standing::Standing,
    },
};

#[derive(Debug, Args)]
#[command(
    after_help = "Writes metrics.csv, timing.csv, tables, plots, samples, the manifest as run, provenance.json, and\n\
    report.html, which shows everything. Ctrl-C keeps finished batches; the same command continues.\n\nExamples:\n  \
    ddim run experiments/table1.toml\n  \
    ddim run experiments/table1.toml --profile full -v\n  \
    ddim run experiments/table1.toml --set samples=1024 --out results/table1-1024\n  \
    ddim run experiments/table1.toml --seed 1 --out results/table1-seed-1\n  \
    ddim run experiments/table1.toml --fresh\n  \
    ddim run experiments/table1.toml --shard 2/8\n  \
    ddim run experiments/table1.toml --profile gpu --devices 0,1"
)]
pub(super) struct Run {
    #[command(flatten)]
    experiment: Experiment,

    /// Results folder [default: results/NAME, or results/NAME-PROFILE with --profile]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Measure all cells again; the old metrics.csv is kept as metrics.csv.bak, and pictures of cells
    /// that no longer exist are deleted
    #[arg(long, conflicts_with_all = ["shard", "devices"])]
    fresh: bool,

    /// Draw one share of every cell's samples and no results, for instance 2/8; several run at once in
    /// one folder, and `ddim merge` makes the results
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,

    /// Divide the samples among devices, one process each, for instance 0,1 for two GPUs or cpu,cpu
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with_all = ["shard", "device"])]
    devices: Vec<devices::Device>,

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
        if self.shard.is_some() {
            devices::follow_parent()?;
        }
        let plan = self.experiment.plan(registry)?;
        if self.download {
            fetch::inputs(&plan, &self.talk)?;
        }
        // Everything that needs no model is checked before LibTorch starts.
        runner::check(&plan, registry)?;
        let plan = self.experiment.complete(plan, registry, &self.talk)?;
        warn(&plan, registry, &self.talk)?;
        if !self.devices.is_empty() {
            return self.on_devices(&plan, registry);
        }
        let hardware = self.compute.open()?;
        compile::packages(&plan, hardware.device(), &self.talk)?;
        let options = options(&plan, registry, self.out.as_deref(), hardware, &self.talk);
        let options = Options { fresh: self.fresh, ..options };
        let folder = &options.folder;
        if let Some(shard) = self.shard {
            let Share { drawn, found } = shard::run(&plan, &options, shard)?;
            self.talk.say(|| {
                let merge = merge::command(&self.experiment, self.out.as_deref(), &self.compute);
                let shown = folder.display();
                format!(
                    "shard {shard} in {shown}: {drawn} samples drawn, {found} there before; when all shards \
                     are done, `{merge}` makes the results"
                )
            });
            return Ok(());
        }
        let summary = runner::run(&plan, &options)?;
        println!("{}", summary.trim_end());
        self.talk.say(|| format!("wrote {}", folder.display()));
        Ok(())
    }

    /// One process on each device, and then the merge.
    fn on_devices(&self, plan: &Plan, registry: &Registry) -> Result<()> {
        let first = Compute { device: self.devices[0].name(), threads: self.compute.threads };
        let out = self.out.as_deref();
        let options = options(plan, registry, out, first.open_to_merge(plan)?, &self.talk);
        // The processes say what is to be said.
        let options = Options { verbose: 0, ..options };
        if plan.cells.iter().any(|cell| cell.spec.model.compiled) {
            // Once, and not by every process.
            compile::packages(plan, first.open()?.device(), &self.talk)?;
        }
        // Refuses a folder of another experiment before anything is drawn.
        if !Standing::of(plan, &options)?.is_drawn() {
            let experiment = self.experiment.words(&self.experiment.manifest);
            let threads = self.compute.threads;
            devices::run(&self.devices, &experiment, &options.folder, threads, &self.talk)?;
        }
        merge::merge(plan, registry, &self.experiment, out, &first, &self.talk)
    }
}
