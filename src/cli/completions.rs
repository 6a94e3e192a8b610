//! `ddim completions`.

use std::io::Write as _;

use clap::Args;
use clap_complete::Shell;

use crate::harness::{
    error::{Error, Result},
    registry::Registry,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ddim completions bash > ~/.local/share/bash-completion/completions/ddim\n  \
    ddim completions zsh > ~/.zfunc/_ddim\n  \
    ddim completions fish > ~/.config/fish/completions/ddim.fish")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, registry: &Registry) -> Result<()> {
        let mut script = vec![];
        clap_complete::generate(self.shell, &mut super::command(registry), "ddim", &mut script);
        std::io::stdout()
            .write_all(&script)
            .map_err(|error| Error::input(format!("cannot write to stdout: {error}")))
    }
}
