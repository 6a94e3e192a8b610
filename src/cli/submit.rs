//! `ddim submit`.

use std::{
    ffi::OsString,
    fmt::Write,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use crate::cli::{Compute, Experiment, Talk, compile, fetch, merge, options, warn};
use crate::{
    cluster::{
        shell,
        slurm::{self, Jobs, Queued, SlurmError},
    },
    error::{Error, Result},
    plan::Plan,
    results::{
        record::Status,
        shard::{MOST, Shard},
    },
    run::{registry::Registry, runner, standing::Standing},
};

/// The scheduler of a cluster.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Engine {
    Slurm,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Writes two scripts into the results folder and submits an array of jobs, one task for each\n\
    shard, and a job that merges them. The same command again submits what is neither finished nor\n\
    in the queue, and every task goes on where it was stopped. What follows `--` goes to sbatch, for\n\
    both jobs. A task has as many threads as CPUs, unless --threads says how many.\n\nExamples:\n  \
    ddim submit experiments/table1.toml --shards 8 -- --cpus-per-task=4 --time=1:00:00\n  \
    ddim submit experiments/table1.toml --profile gpu --device cuda --shards 8 -- --gres=gpu:1\n  \
    ddim submit experiments/table1.toml --shards 8 --print\n  \
    ddim submit experiments/table1.toml --shards 8 --status"
)]
pub(super) struct Submit {
    #[command(flatten)]
    experiment: Experiment,

    /// Number of shards, each a task of its own
    #[arg(long, value_name = "N", value_parser = count)]
    shards: usize,

    /// The cluster's scheduler
    #[arg(long, value_enum, default_value_t = Engine::Slurm)]
    engine: Engine,

    /// Print the scripts and the commands that submit them, and write and submit nothing
    #[arg(long)]
    print: bool,

    /// Print what is done, by shard and by cell, and submit nothing
    #[arg(long, conflicts_with = "print")]
    status: bool,

    /// Results folder, which all machines share [default: results/NAME, or results/NAME-PROFILE with
    /// --profile]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Download missing image sets, and the `inception` weights, into the cache, here and not in the jobs
    #[arg(long)]
    download: bool,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    talk: Talk,

    /// Options of sbatch
    #[arg(last = true, value_name = "SBATCH OPTIONS")]
    options: Vec<OsString>,
}

fn count(text: &str) -> std::result::Result<usize, String> {
    let count = text.parse().map_err(|_| format!("give a number from 1 to {MOST}"))?;
    Shard::new(1, count).map(Shard::count)
}

impl Submit {
    #[allow(
        clippy::print_stdout,
        reason = "scripts, numbers of jobs and the standing are the data"
    )]
    pub(super) fn run(&self, registry: &Registry) -> Result<()> {
        let Engine::Slurm = self.engine;
        if !(self.print || self.status) {
            // Before anything is read that takes time.
            slurm::find("sbatch").map_err(said)?;
        }
        let plan = self.experiment.plan(registry)?;
        if self.download {
            fetch::inputs(&plan, &self.talk)?;
        }
        runner::check(&plan, registry)?;
        let plan = self.experiment.complete(plan, registry, &self.talk)?;
        warn(&plan, registry, &self.talk)?;
        let folder = self.out.clone().unwrap_or_else(|| plan.default_folder());
        let jobs = self.jobs(&plan, &folder)?;
        jobs.check().map_err(said)?;
        let hardware = self.compute.open_to_merge(&plan)?;
        compile::packages(&plan, hardware.device(), &self.talk)?;
        let options = options(&plan, registry, self.out.as_deref(), hardware, &self.talk);
        let standing = Standing::of(&plan, &options)?;
        if self.status {
            let queue = jobs.queue();
            if let Err(error) = &queue {
                self.talk.say(|| format!("note: what is in the queue is not known: {error}"));
            }
            print!("{}", shown(&standing, self.shards, &queue.unwrap_or_default()));
            return Ok(());
        }
        if self.print {
            print!("{}", printed(&jobs));
            return Ok(());
        }
        for remark in &standing.remarks {
            self.talk.say(|| format!("warning: {remark}"));
        }
        self.submit(&jobs, &standing)
    }

    /// What is submitted. Scripts start where this does, so the manifest is named as it is here: its path
    /// stands in the results.
    fn jobs(&self, plan: &Plan, folder: &Path) -> Result<Jobs> {
        let absolute = |path: &Path| {
            std::path::absolute(path)
                .map_err(|error| Error::input(format!("{}: {error}", path.display())))
        };
        let folder = absolute(folder)?;
        let mut arguments = self.experiment.words(&self.experiment.manifest);
        arguments.extend(["--out".into(), folder.clone().into()]);
        arguments.extend(["--device".into(), self.compute.device.clone().into()]);
        arguments.extend((0..self.talk.verbose).map(|_| "-v".into()));
        arguments.extend(self.talk.quiet.then(|| "--quiet".into()));
        let program = std::env::current_exe();
        Ok(Jobs {
            folder,
            name: plan.name.clone(),
            count: self.shards,
            here: absolute(Path::new("."))?,
            program: program
                .map_err(|error| Error::Failed(format!("cannot find this program: {error}")))?,
            arguments,
            threads: self.compute.threads,
            options: self.options.clone(),
        })
    }

    #[allow(clippy::print_stdout, reason = "the numbers of jobs are this command's data")]
    fn submit(&self, jobs: &Jobs, standing: &Standing) -> Result<()> {
        let folder = standing.folder.display();
        if standing.is_merged() {
            println!("{folder} is finished: nothing to submit");
            return Ok(());
        }
        let queue = jobs.queue().map_err(said)?;
        if let Some(other) = queue.iter().find(|q| q.shard.is_some_and(|s| s.count() != jobs.count))
        {
            return Err(Error::Failed(format!(
                "shard {} of {folder} is in the queue as {}: let it end, or `scancel {}`, before there are {} \
                 shards",
                other.shard.map(|shard| shard.to_string()).unwrap_or_default(),
                other.id(),
                other.job,
                jobs.count
            )));
        }
        let tasks: Vec<&Queued> = queue.iter().filter(|queued| queued.shard.is_some()).collect();
        let is_queued = |shard: &Shard| tasks.iter().any(|queued| queued.shard == Some(*shard));
        let by_hand = |shard: &Shard| standing.running.contains(shard) && !is_queued(shard);
        if let Some(shard) = standing.running.iter().find(|shard| by_hand(shard)) {
            return Err(Error::Failed(format!(
                "shard {shard} of {folder} runs already, and not as a job: wait for it to end or stop it"
            )));
        }
        let missing = Shard::all(jobs.count).filter(|shard| standing.of_shard(*shard).0 > 0);
        let wanted: Vec<Shard> = missing.filter(|shard| !is_queued(shard)).collect();
        let merges: Vec<&Queued> = queue.iter().filter(|queued| queued.shard.is_none()).collect();
        if !tasks.is_empty() {
            let ids: Vec<String> = tasks.iter().map(|task| task.id()).collect();
            println!("in the queue: {}", ids.join(", "));
        }
        if wanted.is_empty() && merges.iter().any(|merge| !merge.is_stuck()) {
            println!("in the queue: {}, the merge: nothing to submit", merges[0].id());
            return Ok(());
        }
        jobs.write().map_err(said)?;
        // It waits for an array that has failed, and the new one has another number.
        let stale: Vec<String> = merges.iter().map(|merge| merge.id()).collect();
        if !stale.is_empty() {
            slurm::cancel(&stale).map_err(said)?;
        }
        let mut after: Vec<String> = tasks.iter().map(|task| task.id()).collect();
        if !wanted.is_empty() {
            let job = slurm::submit(&jobs.array(&wanted)).map_err(said)?;
            let (few, all) = (wanted.len(), jobs.count);
            println!("submitted {few} of {all} shards as job {job} ({})", slurm::ranges(&wanted));
            after.push(job.to_string());
        }
        let job = slurm::submit(&jobs.merge(&after)).map_err(said)?;
        let when =
            if after.is_empty() { String::new() } else { format!(", after {}", after.join(", ")) };
        println!("submitted the merge as job {job}{when}");
        self.talk.say(|| {
            let merge = merge::command(&self.experiment, self.out.as_deref(), &self.compute);
            format!("logs are in {folder}/{}; `{merge}` says what is missing", slurm::FOLDER)
        });
        Ok(())
    }
}

/// A scheduler's error: a mistake of the user's if there is no scheduler, or an option is wrong.
fn said(error: SlurmError) -> Error {
    match error {
        SlurmError::Missing { .. } | SlurmError::Option { .. } => Error::input(error.to_string()),
        other => Error::Failed(other.to_string()),
    }
}

/// The scripts, and the commands that submit all shards, as a shell runs them.
fn printed(jobs: &Jobs) -> String {
    let mut text = String::new();
    for (path, script) in jobs.scripts() {
        let _ = writeln!(text, "# {}\n{script}", path.display());
    }
    let shards: Vec<Shard> = Shard::all(jobs.count).collect();
    let array = shell::line(&jobs.array(&shards));
    let merge = shell::line(&jobs.merge(&["ARRAY".to_owned()]));
    let merge = merge.replace("afterok:ARRAY", "\"afterok:${array%%;*}\"");
    text + &format!("# to submit them\narray=$({array})\n{merge}\n")
}

/// What is done, by shard and by cell.
fn shown(standing: &Standing, count: usize, queue: &[Queued]) -> String {
    let mut text = String::new();
    for shard in Shard::all(count) {
        let (missing, all) = standing.of_shard(shard);
        let queued = queue.iter().find(|queued| queued.shard == Some(shard));
        let state = match queued {
            Some(queued) if queued.state == "R" => format!("running as {}", queued.id()),
            Some(queued) => format!("in the queue as {} ({})", queued.id(), queued.state),
            None if standing.running.contains(&shard) => "running".to_owned(),
            None if missing == 0 => "done".to_owned(),
            None => "not running".to_owned(),
        };
        let _ = writeln!(text, "shard {shard}  {} of {all} batches  {state}", all - missing);
    }
    for cell in &standing.cells {
        let state = match (cell.row, &cell.diverged) {
            (Some(Status::Done), _) => "in the results".to_owned(),
            (Some(Status::Diverged), _) => "in the results, diverged".to_owned(),
            (None, Some(why)) => format!("diverged: {why}"),
            (None, None) => {
                let done = cell.done.iter().filter(|&&done| done).count();
                format!("{done} of {} batches", cell.done.len())
            }
        };
        let _ = writeln!(text, "{}  {state}", cell.name);
    }
    for remark in &standing.remarks {
        let _ = writeln!(text, "warning: {remark}");
    }
    let merge = queue.iter().find(|queued| queued.shard.is_none());
    let state = match merge {
        _ if standing.is_merged() => "done".to_owned(),
        Some(merge) if merge.is_stuck() => {
            format!("{} waits for shards that failed: submit again", merge.id())
        }
        Some(merge) => format!("in the queue as {} ({})", merge.id(), merge.state),
        None if standing.is_drawn() => "all samples are there, not merged yet".to_owned(),
        None => "samples are missing".to_owned(),
    };
    text + &format!("merge  {state}\n")
}
