//! `ddim merge`.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::{Compute, Experiment, Talk, options};
use crate::{
    cluster::shell,
    error::Result,
    plan::Plan,
    results::shard::Shard,
    run::{registry::Registry, runner},
};

#[derive(Debug, Args)]
#[command(
    after_help = "Makes what `ddim run` makes, to the byte, once shards (`ddim run --shard K/N`) have drawn\n\
    all samples; until then, it names what is missing. It draws nothing and needs no GPU.\n\nExamples:\n  \
    ddim merge experiments/table1.toml\n  \
    ddim merge experiments/table1.toml --profile gpu --device cuda"
)]
pub(super) struct Merge {
    #[command(flatten)]
    experiment: Experiment,

    /// Results folder [default: results/NAME, or results/NAME-PROFILE with --profile]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    talk: Talk,
}

impl Merge {
    pub(super) fn run(&self, registry: &Registry) -> Result<()> {
        let plan = self.experiment.plan(registry)?;
        runner::check(&plan, registry)?;
        let plan = self.experiment.complete(plan, registry, &self.talk)?;
        let Self { experiment, out, compute, talk } = self;
        merge(&plan, registry, experiment, out.as_deref(), compute, talk)
    }
}

/// Makes and prints the results of a plan from what its shards have drawn.
#[allow(clippy::print_stdout, reason = "the table is this command's data")]
pub(super) fn merge(
    plan: &Plan,
    registry: &Registry,
    experiment: &Experiment,
    out: Option<&Path>,
    compute: &Compute,
    talk: &Talk,
) -> Result<()> {
    let options = options(plan, registry, out, compute.open_to_merge(plan)?, talk);
    let draw = |shard: Option<Shard>| {
        let shard = shard.map(|shard| vec!["--shard".into(), shard.to_string().into()]);
        command_of("run", experiment, out, compute, shard.unwrap_or_default())
    };
    let summary = runner::merge(plan, &options, &draw)?;
    println!("{}", summary.trim_end());
    talk.say(|| format!("wrote {}", options.folder.display()));
    Ok(())
}

/// The command that merges an experiment.
pub(super) fn command(experiment: &Experiment, out: Option<&Path>, compute: &Compute) -> String {
    command_of("merge", experiment, out, compute, vec![])
}

fn command_of(
    verb: &str,
    experiment: &Experiment,
    out: Option<&Path>,
    compute: &Compute,
    more: Vec<std::ffi::OsString>,
) -> String {
    let mut words = vec!["ddim".into(), verb.into()];
    words.extend(experiment.words(&experiment.manifest));
    words.extend(out.iter().flat_map(|out| ["--out".into(), (*out).into()]));
    if compute.device != "cpu" {
        words.extend(["--device".into(), compute.device.clone().into()]);
    }
    words.extend(more);
    shell::line(&words)
}
