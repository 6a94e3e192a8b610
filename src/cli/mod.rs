//! The command line: data to stdout, everything else to stderr.
//!
//! Exit codes: 0 for success, 1 for a failed run, 2 for a mistake in the manifest or the command line,
//! 130 for an interruption by Ctrl-C, 143 for one by SIGTERM.

mod bits;
pub mod catalogue;
mod check;
mod compile;
mod completions;
mod convert;
mod devices;
mod ending;
mod evaluate;
mod fetch;
mod images;
mod inspect;
pub mod inventory;
mod latents;
mod manifest;
mod merge;
mod models;
mod names;
mod outputs;
mod plan;
mod plot;
mod redraw;
mod run;
mod sample;
mod setting;
mod speed;
mod stats;
mod submit;
mod table;
mod tau;
mod train;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{ErrorKind, IsTerminal},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Arg, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{
    cli::ending::Kept,
    data::{atomic, file, stdout},
    error::{Error, Result, remedy::sentence},
    hardware::Hardware,
    limits,
    manifest::{Argument, Manifest},
    metrics,
    networks::reading::Remark,
    plan::Plan,
    results::record::ResultsError,
    run::{assemble, registry::Registry, runner::Options},
    terminal::{self, interruption, progress},
    train::recipe::Recipe,
};

/// Sample from diffusion models, and measure the samples with uncertainties.
#[derive(Debug, Parser)]
#[command(
    name = "ddim",
    version,
    max_term_width = 100,
    propagate_version = true,
    after_help = "Examples:\n  \
    ddim run experiments/table1.toml                 measure Table 1 into results/table1\n  \
    ddim sample --model models/cifar10 --out grid.png\n  \
    ddim help run                                    all options of one command"
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run an experiment, or continue one that was interrupted
    Run(run::Run),
    /// Make the results of an experiment from what its shards have drawn
    Merge(merge::Merge),
    /// Run an experiment as an array of jobs on a cluster, and see how far it is
    Submit(submit::Submit),
    /// List an experiment's cells and model calls, and estimate its time
    Plan(plan::Plan),
    /// Check manifests, and report every mistake at its line
    Check(check::Check),
    /// Train a model, or continue a training that was interrupted
    Train(train::Train),
    /// Draw samples from one model with one solver
    Sample(Box<sample::Sample>),
    /// Encode images as latents: sampling in reverse
    Encode(Box<latents::encode::Encode>),
    /// Decode latents to images
    Decode(Box<latents::decode::Decode>),
    /// Encode images, decode them again, and measure the error
    Reconstruct(Box<latents::reconstruct::Reconstruct>),
    /// Interpolate between two or four latents, images or seeds
    Interpolate(Box<latents::interpolate::Interpolate>),
    /// Bound the likelihood of images in bits per dimension
    Bits(Box<bits::Bits>),
    /// Choose the timesteps of DDIM for a model: those with the smallest local errors
    Tau(Box<tau::Tau>),
    /// Measure how fast a model runs, as a share of the machine's own rate
    Speed(speed::Speed),
    /// Compute the reference statistics of a set of images
    Stats(stats::Stats),
    /// Write the tables of a results folder again, or print one
    Table(table::Table),
    /// Draw the plots and the report of a results folder again
    Plot(plot::Plot),
    /// Print the completions for a shell
    Completions(completions::Completions),
    /// Measure a set of images against reference statistics or another set
    Evaluate(evaluate::Evaluate),
    /// List the models, references and data sets known by name
    Models(models::Models),
    /// List the solvers with their options, order, model calls and papers
    #[command(after_help = "These are the names for --solver and solver.kind.\n\nExamples:\n  \
        ddim solvers\n  ddim solvers --json")]
    Solvers(names::Names),
    /// List the spacings (tau) with the timesteps they visit
    #[command(after_help = "These are the names for --tau and grid.tau.\n\nExamples:\n  \
        ddim taus\n  ddim taus --json")]
    Taus(names::Names),
    /// List the measures and what each one needs
    #[command(after_help = "These are the names for metrics.measures.\n\nExamples:\n  \
        ddim metrics\n  ddim metrics --json")]
    Metrics(names::Names),
    /// List the keys of a manifest with their values and defaults
    Manifest(manifest::Keys),
    /// Show what a file or folder of weights is, and what prevents running it
    Inspect(inspect::Inspect),
    /// Convert weights of any format to a diffusers folder
    Convert(convert::Convert),
    /// Compile a network to native code, a package that runs faster
    Compile(compile::Compile),
}

/// An experiment, and the changes to its manifest.
#[derive(Debug, Args)]
struct Experiment {
    /// The manifest, for instance experiments/table1.toml
    manifest: PathBuf,

    /// Apply the manifest's [profile.NAME]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,

    #[command(flatten)]
    changes: Changes,
}

/// Values that replace those of a manifest.
#[derive(Debug, Args)]
struct Changes {
    /// Set one value, for instance --set samples=1024 or --set grid.tau=linspace; may be repeated
    #[arg(long = "set", value_name = "PATH=VALUE")]
    set: Vec<String>,

    /// Seed of all noise; the same as --set seed=N
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Arithmetic of the network, f32 or bf16; the same as --set precision=KIND
    #[arg(long, value_name = "KIND")]
    precision: Option<String>,
}

impl Changes {
    /// All changes, not yet validated: the manifest does that.
    fn arguments(&self) -> Result<Vec<Argument>> {
        let seed = self.seed.map(|seed| Argument::flag("--seed", "seed", seed));
        let precision = self.precision.as_deref();
        let precision = precision.map(|kind| Argument::flag("--precision", "precision", kind));
        let mut arguments: Vec<Argument> = self.set.iter().map(Argument::set).collect();
        for argument in [seed, precision].into_iter().flatten() {
            let Argument::Flag { flag, path, .. } = &argument else { continue };
            let sets =
                |set: &&String| set.split_once('=').is_some_and(|(found, _)| found.trim() == *path);
            if let Some(twice) = self.set.iter().find(sets) {
                return Err(Error::input(format!(
                    "{flag} and --set {twice} both set {path}; use only one of them"
                )));
            }
            arguments.push(argument);
        }
        Ok(arguments)
    }
}

impl Experiment {
    fn plan(&self, registry: &Registry) -> Result<Plan> {
        let manifest = read_manifest(&self.manifest)?;
        if manifest.is_training() {
            let path = self.manifest.display();
            let message =
                format!("{path} describes a training, not an experiment; use `ddim train {path}`");
            return Err(Error::input(message));
        }
        let vocabulary = assemble::vocabulary(registry);
        let arguments = self.changes.arguments()?;
        manifest.plan(self.profile.as_deref(), &arguments, &vocabulary).map_err(Error::Manifest)
    }

    /// Downloads the models of a plan and prints remarks about them. If one was downloaded, the plan is
    /// made again, because a model states what it predicts and for which levels.
    fn complete(&self, plan: Plan, registry: &Registry, talk: &Talk) -> Result<Plan> {
        let plan = if fetch::models(&plan, talk)? { self.plan(registry)? } else { plan };
        talk.about_models(&plan);
        Ok(plan)
    }

    /// The arguments that name the same experiment to another process, with the manifest's path as given.
    fn words(&self, manifest: &Path) -> Vec<OsString> {
        let Changes { set, seed, precision } = &self.changes;
        let mut words: Vec<OsString> = vec![manifest.into()];
        let mut flag = |name: &str, value: String| words.extend([name.into(), value.into()]);
        if let Some(profile) = &self.profile {
            flag("--profile", profile.clone());
        }
        for set in set {
            flag("--set", set.clone());
        }
        if let Some(seed) = seed {
            flag("--seed", seed.to_string());
        }
        if let Some(precision) = precision {
            flag("--precision", precision.clone());
        }
        words
    }

    fn recipe(&self) -> Result<Recipe> {
        let manifest = read_manifest(&self.manifest)?;
        let arguments = self.changes.arguments()?;
        Recipe::of(&manifest, self.profile.as_deref(), &arguments).map_err(Error::Manifest)
    }
}

/// Prints each warning about a plan once.
fn warn(plan: &Plan, registry: &Registry, talk: &Talk) -> Result<()> {
    let mut said = BTreeSet::new();
    for cell in &plan.cells {
        if let Some(warning) = assemble::warning(&cell.spec, registry)?
            && said.insert(warning.clone())
        {
            talk.say(|| format!("warning: {warning}"));
        }
    }
    Ok(())
}

fn read_manifest(path: &Path) -> Result<Manifest> {
    let text = file::read_text(path, limits::MANIFEST).map_err(|error| {
        let why = match error.kind() {
            ErrorKind::IsADirectory => "it is a folder; name the .toml file in it".to_owned(),
            ErrorKind::InvalidData => "it is not UTF-8 text; save it in that encoding".to_owned(),
            ErrorKind::FileTooLarge => error.to_string(),
            _ => format!("{error}; the manifests that ship with ddim are in experiments/"),
        };
        Error::input(format!("cannot read the manifest {}: {why}", path.display()))
    })?;
    Manifest::parse(path.display().to_string(), text).map_err(Error::Manifest)
}

/// Checks that a file can be written, before its contents are computed.
fn check_output(path: &Path) -> Result<()> {
    if path.is_dir() {
        let shown = path.display();
        return Err(Error::input(format!("--out {shown}: it is a folder; name a file")));
    }
    check_place(path)
}

/// Checks that something can be created in the folder of a path.
fn check_place(path: &Path) -> Result<()> {
    let refuse =
        |problem: String| Err(Error::input(format!("--out {}: {problem}", path.display())));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    if folder.is_file() {
        return refuse(format!("{} is a file, not a folder; choose a folder", folder.display()));
    }
    if !folder.is_dir() {
        return refuse(format!("the folder {} does not exist; create it first", folder.display()));
    }
    match atomic::writable(folder) {
        Ok(()) => Ok(()),
        Err(error) => refuse(format!(
            "cannot write to the folder {}: {error}; choose another",
            folder.display()
        )),
    }
}

/// Reads the number of a flag, at most so large.
fn whole(most: u64) -> impl Fn(&str) -> std::result::Result<usize, String> + Clone {
    move |text: &str| {
        let number: u64 = text.parse().map_err(|_| {
            // Digits alone that do not fit are no misspelling.
            if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
                format!("it is at most {}", limits::grouped(most))
            } else {
                "it is a whole number, 0 or more".to_owned()
            }
        })?;
        match usize::try_from(number) {
            Ok(fitting) if number <= most => Ok(fitting),
            _ => Err(format!("it is at most {}", limits::grouped(most))),
        }
    }
}

/// Where to compute.
#[derive(Debug, Args)]
struct Compute {
    /// Device to compute on: cpu, cuda, or cuda:1 for the second GPU
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    device: String,

    /// Number of threads, on which the last bits of a network's output depend [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

impl Compute {
    fn open(&self) -> Result<Hardware> {
        Hardware::open(&self.device, self.threads)
    }

    /// The same, to put together what was drawn on it: the processor in its name, unless a network is
    /// compiled, whose package is the device's.
    fn open_to_merge(&self, plan: &Plan) -> Result<Hardware> {
        if plan.cells.iter().any(|cell| cell.spec.model.compiled) {
            return self.open();
        }
        Hardware::open_to_merge(&self.device, self.threads)
    }
}

/// How a plan is run by these flags, in the folder of `--out` or its own.
fn options<'a>(
    plan: &Plan,
    registry: &'a Registry,
    out: Option<&Path>,
    hardware: Hardware,
    talk: &Talk,
) -> Options<'a> {
    Options {
        registry,
        folder: out.map_or_else(|| plan.default_folder(), Path::to_owned),
        hardware,
        progress: talk.mode(),
        verbose: talk.verbose,
        chosen: out.is_some(),
        fresh: false,
        interrupted: &interruption::INTERRUPTED,
    }
}

/// How much is printed.
#[derive(Debug, Args)]
struct Talk {
    /// Print only errors on stderr
    #[arg(short, long)]
    quiet: bool,

    /// Print what was read, with hashes, and what was done; -vv prints every value, defaults included
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
}

impl Talk {
    fn mode(&self) -> progress::Mode {
        progress::Mode::detect(self.quiet)
    }

    /// Prints `text` unless `--quiet`.
    fn say(&self, text: impl FnOnce() -> String) {
        if !self.quiet {
            eprintln!("{}", text());
        }
    }

    /// Prints where a manifest and a model's folder differ and what was assumed; with `-v`, also what
    /// the folders say.
    fn about_models(&self, plan: &Plan) {
        for remark in plan.remarks() {
            self.say(|| format!("note: {remark}"));
        }
        for stated in plan.stated() {
            self.note(|| format!("read {stated}"));
        }
    }

    /// Prints `text` with `-v`.
    fn note(&self, text: impl FnOnce() -> String) {
        if self.verbose > 0 {
            eprintln!("{}", text());
        }
    }

    /// Prints how a model was read: warnings unless `--quiet`, the rest with `-v`.
    fn remarks(&self, model: &str, remarks: &[Remark]) {
        for Remark { text, warning } in remarks {
            if *warning {
                self.say(|| format!("warning: {model}: {text}"));
            } else {
                self.note(|| format!("{model}: {text}"));
            }
        }
    }

    /// Prints `text` with `-vv`.
    fn detail(&self, text: impl FnOnce() -> String) {
        if self.verbose > 1 {
            eprintln!("{}", text());
        }
    }
}

/// The command line, with the names of a registry where flags take them. Negative numbers are values,
/// not flags; the manifest validates them.
pub fn command(registry: &Registry) -> Command {
    fn with_numbers(command: Command) -> Command {
        let flag = |arg: Arg| {
            let valued = !arg.is_positional() && arg.get_action().takes_values();
            if valued { arg.allow_negative_numbers(true) } else { arg }
        };
        command.mut_args(flag).mut_subcommands(with_numbers)
    }
    with_numbers(names::known(Cli::command(), registry))
}

/// Runs the command line of this process with the solvers of this crate.
pub fn main() -> ExitCode {
    main_with(&Registry::shipped())
}

/// Runs the command line of this process with other solvers, such as your own next to the shipped ones.
///
/// What your solvers print to stdout goes to stderr, as what a model prints that is a program: stdout
/// has the command's data and nothing else.
///
/// The `ddim` program also sets variables that LibTorch's libraries read as they are loaded; they
/// change speed, not numbers. Your own program inherits them from whatever starts it: `cargo run` in
/// this repository sets them by `.cargo/config.toml`.
pub fn main_with(registry: &Registry) -> ExitCode {
    let parsed = command(registry).try_get_matches();
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error),
    };
    stdout::reserve();
    let ending = ending::of(&cli.verb);
    if let Some((told, _)) = ending {
        interruption::watch(told);
    }
    let outcome = match &cli.verb {
        Verb::Run(verb) => verb.run(registry),
        Verb::Merge(verb) => verb.run(registry),
        Verb::Submit(verb) => verb.run(registry),
        Verb::Plan(verb) => verb.run(registry),
        Verb::Check(verb) => verb.run(registry),
        Verb::Train(verb) => verb.run(registry),
        Verb::Sample(verb) => verb.run(registry),
        Verb::Encode(verb) => verb.run(registry),
        Verb::Decode(verb) => verb.run(registry),
        Verb::Reconstruct(verb) => verb.run(registry),
        Verb::Interpolate(verb) => verb.run(registry),
        Verb::Bits(verb) => verb.run(registry),
        Verb::Tau(verb) => verb.run(registry),
        Verb::Speed(verb) => verb.run(),
        Verb::Stats(verb) => verb.run(),
        Verb::Table(verb) => verb.run(registry),
        Verb::Plot(verb) => verb.run(registry),
        Verb::Completions(verb) => {
            verb.run(registry);
            Ok(())
        }
        Verb::Solvers(verb) => verb.run(names::Of::Solvers, registry),
        Verb::Taus(verb) => verb.run(names::Of::Taus, registry),
        Verb::Metrics(verb) => verb.run(names::Of::Metrics, registry),
        Verb::Manifest(verb) => verb.run(registry),
        Verb::Evaluate(verb) => verb.run(),
        Verb::Models(verb) => verb.run(),
        Verb::Inspect(verb) => verb.run(),
        Verb::Convert(verb) => verb.run(),
        Verb::Compile(verb) => verb.run(),
    };
    match (outcome, terminal::refused()) {
        (Ok(()), None) => ExitCode::SUCCESS,
        (Ok(()), Some(error)) => {
            eprintln!("error: cannot write to stdout: {error}");
            ExitCode::FAILURE
        }
        (Err(error), _) => match (error.exit_code(), ending) {
            (INTERRUPTED, Some((_, kept))) => {
                report(&ending::interrupted(kept), None);
                ExitCode::from(interruption::exit_code())
            }
            (code, ending) => {
                report(&error, ending.map(|(_, kept)| kept));
                ExitCode::from(code)
            }
        },
    }
}

/// The exit code of [`Error::exit_code`] for whatever was interrupted.
const INTERRUPTED: u8 = 130;

/// Prints the help that was asked for, or what is wrong with a command line.
fn unparsed(error: &clap::Error) -> ExitCode {
    match error.print() {
        Err(failed) if !error.use_stderr() && failed.kind() != ErrorKind::BrokenPipe => {
            eprintln!("error: cannot write to stdout: {failed}");
            ExitCode::FAILURE
        }
        _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)),
    }
}

fn report(error: &Error, kept: Option<Kept>) {
    match error {
        Error::Manifest(problems) => {
            eprintln!("{}", problems.render(std::io::stderr().is_terminal()).trim_end());
        }
        other => {
            let remedy = remedy(other).or_else(|| kept.and_then(|kept| kept.remedy(other)));
            eprintln!("error: {}", sentence(&other.to_string(), remedy));
        }
    }
}

/// What to do about an error that came up without one.
fn remedy(error: &Error) -> Option<&'static str> {
    match error {
        Error::Core(core) => assemble::remedy(core).map(|(_, remedy)| remedy),
        Error::Metric(metrics::Error::TooFewSamples { .. }) => Some("raise `samples`"),
        Error::Results(error) => match error.downcast_ref()? {
            ResultsError::Folder { .. } => Some("choose another with --out"),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{core, networks::torchscript::ScriptError};

    #[test]
    fn facts_from_below_get_their_remedy() {
        let timestep = core::Error::model(ScriptError::Timestep { t: 499.5 });
        let length = core::Error::TauLength { steps: 3, listed: 4 };
        let few = metrics::Error::TooFewSamples { n: 1, needed: 2 };
        let folder = ResultsError::Folder { path: "file".into(), problem: "it is a file".into() };
        for (error, expected) in [
            (
                timestep.into(),
                "take a grid of integers (`--tau leading` or `official-uniform`), and a",
            ),
            (length.into(), "leave `steps` out or make them agree"),
            (few.into(), "raise `samples`"),
            (folder.into(), "choose another with --out"),
        ] {
            let error: Error = error;
            let remedy = remedy(&error).unwrap_or_default();
            assert!(remedy.starts_with(expected), "{error}: {remedy}");
        }
        assert_eq!(remedy(&core::Error::model("it failed").into()), None);
    }

    #[test]
    fn every_verb_has_examples_that_parse_as_written() {
        let command = command(&Registry::shipped());
        for verb in command.get_subcommands() {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> =
                help.lines().map(str::trim).filter(|line| line.starts_with("ddim ")).collect();
            assert!(!examples.is_empty(), "{} has no examples", verb.get_name());
            for example in examples {
                let words = example.split(" > ").next().unwrap_or(example).split_whitespace();
                if let Err(error) = command.clone().try_get_matches_from(words) {
                    panic!("{example}: {error}");
                }
                // A wrapped line cannot be copied.
                assert!(example.len() + 2 <= 100, "{example}");
            }
        }
    }
}
