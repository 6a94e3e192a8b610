//! `ddim completions`.

use clap::Args;
use clap_complete::Shell;

use crate::run::registry::Registry;

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
    pub(super) fn run(&self, registry: &Registry) {
        let mut script = vec![];
        clap_complete::generate(
            self.shell,
            &mut crate::cli::command(registry),
            "ddim",
            &mut script,
        );
        print!("{}", String::from_utf8_lossy(&script));
    }
}
