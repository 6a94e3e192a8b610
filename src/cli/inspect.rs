//! `ddim inspect`.

use std::fmt::Write as _;

use clap::Args;

use crate::cli::{Talk, fetch};
use crate::{
    error::{
        Error, Result,
        remedy::{self, sentence},
    },
    networks::{
        checkpoint::{Container, Which},
        inspection::{Inspection, PartInspection, Problem, TensorInspection, thousands},
        unet_config::UnetConfig,
    },
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
            print!("{}", text(&inspection));
        }
        Ok(())
    }
}

/// An inspection as a person reads it.
fn text(inspection: &Inspection) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(text, "{label:<13} {value}");
    };
    line("file", &format!("{} ({} bytes)", inspection.file.display(), thousands(inspection.bytes)));
    line("container", &inspection.container);
    for shard in &inspection.shards {
        line("shard", &shard.display().to_string());
    }
    line("sha256", &inspection.sha256);
    if let Some(published) = &inspection.published {
        line("published", published);
    }
    if let Some(epoch) = inspection.epoch {
        line("epoch", &epoch.to_string());
    }
    if let Some(step) = inspection.step {
        line("step", &step.to_string());
    }
    for part in inspection.parts.iter().filter(|part| part.used) {
        line("weights", &of_part(part));
        if let Some(reason) = &inspection.reason {
            let raw = reason.raw_too.then_some("--raw for the other");
            line("taken as", &sentence(&reason.text, raw));
        }
        if !part.left_out.is_empty() {
            line("left out", &part.left_out.join(", "));
        }
        if let Some(cast) = &part.cast {
            line("cast", cast);
        }
    }
    for part in inspection.parts.iter().filter(|part| !part.used) {
        line("not used", &of_part(part));
    }
    for average in &inspection.averages {
        line("average", average);
    }
    if !inspection.objects.is_empty() {
        line("not called", &inspection.objects.join(", "));
    }
    if let Some(config) = &inspection.network {
        line("architecture", &architecture(config, inspection.known));
        line("known from", inspection.known_from.as_deref().unwrap_or_default());
    }
    let program = inspection.container == Container::TORCH_SCRIPT.to_string();
    if program {
        line("architecture", "a program, forward(x, t) -> eps");
    }
    if let Some(about) = &inspection.compiled {
        let parameters = thousands(about.parameters as u64);
        line("weights", &format!("{} tensors, {parameters} parameters", about.tensors));
        line("architecture", "native code, forward(x, t) -> eps");
        line("compiled", &about.to_string());
        let architecture = about.architecture.as_deref();
        let gpu = architecture.zip(about.gpu.as_deref());
        if let Some((architecture, gpu)) = gpu {
            let tf32 = about.tf32.as_deref().unwrap_or("not stated");
            line("made on", &format!("{gpu}, {architecture}; TF32: {tf32}"));
        } else {
            line("needs", &format!("{}, {}", about.machine, about.processor));
        }
    }
    if program || inspection.network.is_some() || inspection.compiled.is_some() {
        line("meaning", &inspection.scheduler);
    }
    match inspection.shape {
        Some(shape) => line("images", &format!("{shape:?}")),
        None if inspection.runnable().is_some() || program => {
            line("images", "not stated: `model.shape = [3, H, W]`, --shape 3,H,W");
        }
        None => {}
    }
    if let Some(problem) = &inspection.problem {
        let problem = match problem {
            Problem::Unopened(error) => remedy::network(error),
            Problem::Unfit(words) => words.clone(),
        };
        line("in the way", &problem);
    }
    for tensor in inspection.tensors.iter().flatten() {
        let TensorInspection { name, shape, element_type, diffusers } = tensor;
        let other = diffusers.as_ref().map(|name| format!("  {name}")).unwrap_or_default();
        let _ = writeln!(text, "{element_type:<5} {:<22} {name}{other}", format!("{shape:?}"));
    }
    text
}

/// One set of weights.
fn of_part(part: &PartInspection) -> String {
    let place = match part.path.as_str() {
        "" => String::new(),
        path => format!("`{path}`, {}: ", part.role),
    };
    let types: Vec<&str> = part.element_types.keys().copied().collect();
    let prefix = match part.prefix.as_str() {
        "" => String::new(),
        prefix => format!(" under `{prefix}`"),
    };
    format!(
        "{place}{} tensor{}, {} parameters, {}, {} names{prefix}",
        part.tensors,
        if part.tensors == 1 { "" } else { "s" },
        thousands(part.parameters.unsigned_abs()),
        types.join(" and "),
        part.names
    )
}

/// A network in one line.
fn architecture(config: &UnetConfig, known: Option<&str>) -> String {
    let known = known.map(|name| format!("{name}: ")).unwrap_or_default();
    let levels = |attends: &[bool]| {
        let levels: Vec<String> =
            attends.iter().enumerate().filter(|(_, a)| **a).map(|(l, _)| l.to_string()).collect();
        if levels.is_empty() { "none".to_owned() } else { levels.join(", ") }
    };
    let down = levels(&config.down_attention);
    let up = levels(&config.up_attention.iter().rev().copied().collect::<Vec<_>>());
    let attention =
        if down == up { down } else { format!("{down} on the way down, {up} on the way up") };
    let widths: Vec<String> = config.block_out_channels.iter().map(i64::to_string).collect();
    format!(
        "{known}DDPM UNet, channels {}, {} residual block{} a level, attention at level {attention} \
         and in the middle",
        widths.join("-"),
        config.layers_per_block,
        if config.layers_per_block == 1 { "" } else { "s" },
    )
}
