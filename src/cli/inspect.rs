//! `ddim inspect`.

use clap::Args;

use crate::cli::{Talk, fetch};
use crate::{
    error::{Error, Result},
    networks::{checkpoint::Which, inspection::Inspection},
};

#[derive(Debug, Args)]
#[command(
    after_help = "Recognises the format from the content, not the name. Executes nothing; a TorchScript program is\n\
    loaded but not run, and a compiled package not even loaded. Lists whatever prevents a run.\n\nExamples:\n  \
    ddim inspect models/cifar10\n  \
    ddim inspect ckpt.pth --raw --tensors\n  \
    ddim inspect hf:google/ddpm-cifar10-32 --json"
)]
pub(super) struct Inspect {
    /// A file of weights, a diffusers folder, or hf:owner/name[/path][@revision]
    source: String,

    /// List the tensors: element type, shape, name, and diffusers' name if it differs
    #[arg(long)]
    tensors: bool,

    /// Show the raw weights instead of their average, where a file has both
    #[arg(long)]
    raw: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    talk: Talk,
}

impl Inspect {
    #[allow(clippy::print_stdout, reason = "the answer is this command's data")]
    pub(super) fn run(&self) -> Result<()> {
        let path = fetch::source(&self.source, &self.talk)?;
        let which = if self.raw { Which::Raw } else { Which::Ema };
        let inspection = Inspection::of(&path, which, self.tensors)?;
        if self.json {
            let json = serde_json::to_string_pretty(&inspection);
            println!("{}", json.map_err(|error| Error::input(error.to_string()))?);
        } else {
            print!("{}", inspection.text());
        }
        Ok(())
    }
}
