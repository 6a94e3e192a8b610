//! `ddim solvers`, `ddim taus` and `ddim metrics`, and the same names as completions.

use clap::{
    Arg, Args, Command,
    builder::{PossibleValue, StringValueParser, TypedValueParser},
};

use crate::{
    cli::catalogue::Names as Listed,
    core::FAMILIES,
    error::Result,
    plan::{Rule, VARIANCES},
    run::registry::Registry,
};

/// What a list contains.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    Solvers,
    Taus,
    Metrics,
}

#[derive(Debug, Args)]
pub(super) struct Names {
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

impl Names {
    #[allow(clippy::print_stdout, reason = "the list is this command's data")]
    pub(super) fn run(&self, of: Of, registry: &Registry) -> Result<()> {
        let names = match of {
            Of::Solvers => Listed::solvers(registry)?,
            Of::Taus => Listed::taus()?,
            Of::Metrics => Listed::metrics(),
        };
        if self.json {
            println!("{}", names.json());
        } else {
            print!("{}", names.text());
        }
        Ok(())
    }
}

/// Accepts any word and completes the known ones; the manifest rejects unknown names.
#[derive(Clone)]
struct Word(Vec<&'static str>);

impl TypedValueParser for Word {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &std::ffi::OsStr,
    ) -> std::result::Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().copied().map(PossibleValue::new)))
    }
}

/// The command line, with the names that its flags accept taken from a registry.
pub(super) fn known(command: Command, registry: &Registry) -> Command {
    let flags = [
        ("solver", registry.kinds().into_iter().map(|kind| kind.name).collect()),
        ("tau", FAMILIES.map(|family| family.name.to_owned()).to_vec()),
        ("schedule", Rule::ALL.map(|rule| rule.name().to_owned()).to_vec()),
        ("variance", VARIANCES.map(|(name, _)| name.to_owned()).to_vec()),
        ("prediction", ["eps", "v", "x0"].map(String::from).to_vec()),
        ("precision", ["f32", "bf16"].map(String::from).to_vec()),
        ("state", ["f32", "f64"].map(String::from).to_vec()),
        ("end", ["clean", "first-level"].map(String::from).to_vec()),
        ("inversion", ["current", "next", "fixed-point"].map(String::from).to_vec()),
        ("device", ["cpu", "cuda"].map(String::from).to_vec()),
    ];
    command.mut_subcommands(|verb| {
        // Only one solver has this bound, and the help of `bits` names it.
        let one = verb.get_name() == "bits";
        verb.mut_args(|arg| match flags.iter().find(|(flag, _)| arg.get_id() == flag) {
            Some((flag, known)) if !(one && *flag == "solver") => {
                let told = ["solver", "tau"].contains(&arg.get_id().as_str());
                // Help and completions need names that live as long as the program.
                let known = known.iter().map(|name| &*name.clone().leak()).collect();
                arg.value_parser(Word(known)).hide_possible_values(!told)
            }
            _ => arg,
        })
    })
}
