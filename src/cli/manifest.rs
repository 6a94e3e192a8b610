//! `ddim manifest`: the keys of manifests.

use clap::Args;

use crate::{
    diagnostic::suggest,
    error::{Error, Result},
    manifest::keys,
    run::{assemble, registry::Registry},
};

#[derive(Debug, Args)]
#[command(
    after_help = "Prints Markdown, one table for each section, as in docs/manifest.md.\n\nExamples:\n  \
    ddim manifest\n  \
    ddim manifest --section solver\n  \
    ddim manifest --json"
)]
pub(super) struct Keys {
    /// Print one section, for instance grid; `top` is the keys outside sections
    #[arg(long, value_name = "NAME")]
    section: Option<String>,

    /// Print the keys as JSON
    #[arg(long)]
    json: bool,
}

impl Keys {
    #[allow(clippy::print_stdout, reason = "the keys are this command's data")]
    pub(super) fn run(&self, registry: &Registry) -> Result<()> {
        let mut keys = keys::all(&assemble::vocabulary(registry));
        if let Some(section) = &self.section {
            // `[grid]`, as manifests write it, means the same.
            let name = section.trim_matches(['[', ']']);
            if !keys.iter().any(|key| key.is_in(name)) {
                let mut known: Vec<&str> = keys.iter().map(keys::Key::section).collect();
                known.sort_unstable();
                known.dedup();
                let problem = format!("there is no section `{section}`");
                return Err(Error::input(format!("{problem}; {}", suggest(name, known))));
            }
            keys.retain(|key| key.is_in(name));
        }
        if self.json {
            let json = serde_json::to_string_pretty(&keys);
            println!("{}", json.map_err(|error| Error::input(error.to_string()))?);
        } else {
            print!("{}", keys::markdown(&keys));
        }
        Ok(())
    }
}
