//! `ddim run`.

use std::path::PathBuf;

use clap::Args;

use super::{Compute, Experiment, INTERRUPTED, Talk};
use crate::harness::{
    error::Result,
    registry::Registry,
    runner::{self, Options},
};

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    experiment: Experiment,

    /// Folder of the results; results/NAME by default, results/NAME-PROFILE under a profile
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

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
        // Everything that needs no model is checked before LibTorch starts.
        runner::check(&plan, registry)?;
        let summary = runner::run(
            &plan,
            &Options {
                registry,
                folder: folder.clone(),
                hardware: self.compute.open()?,
                progress: self.talk.mode(),
                interrupted: &INTERRUPTED,
            },
        )?;
        println!("{}", summary.trim_end());
        if !self.talk.quiet {
            eprintln!("results in {}", folder.display());
        }
        Ok(())
    }
}
