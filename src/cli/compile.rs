//! `ddim compile`, and the packages that `model.compiled` asks for.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde_json::{Map, Value};
use tch::Device;

use crate::cli::{Compute, Talk, check_output, fetch};
use crate::{
    error::{Error, Result},
    networks::{
        checkpoint::Which,
        compile::{self, CompileError, Held, Order, Source, default_python},
        placement::Precision,
    },
    plan::Plan,
    run::assemble,
    terminal::{
        interruption,
        progress::{Mode, Progress},
    },
};

/// After this time without a new step, a log hears again that it is being worked on.
const ALIVE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
#[command(
    after_help = "Needs a Python that has torch 2.6 to 2.11, and a C++ compiler; for CUDA also its headers. What it\n\
    writes is native code for this kind of processor or GPU, and --model takes it. Before it is written,\n\
    its output is compared with the network's own.\n\nExamples:\n  \
    ddim compile models/cifar10 --batch 64 --out net.pt2\n  \
    ddim compile models/cifar10 --device cuda --batch 512 --precision bf16\n  \
    ddim compile models/cifar10 --dynamic --python net/bin/python --out net.pt2\n  \
    ddim compile my_net.py:build --shape 3,32,32 --batch 64 --out net.pt2"
)]
pub(super) struct Compile {
    /// A diffusers folder, a file of weights, hf:owner/name[/path][@revision], or FILE.py:FUNCTION, a
    /// function that returns a torch.nn.Module of forward(x, t), x [N, C, H, W] and t [N]
    source: String,

    /// The package to write
    #[arg(long, default_value = "net.pt2", value_name = "FILE")]
    out: PathBuf,

    /// Images of one model call; fewer cost as much, more are several calls
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch: u32,

    /// Compile for any number of images of a call instead
    #[arg(long, conflicts_with = "batch")]
    dynamic: bool,

    /// Arithmetic of the network, f32 or bf16
    #[arg(long, default_value = "f32", value_name = "KIND")]
    precision: String,

    /// Shape of the images, if the files do not state it
    #[arg(long, value_delimiter = ',', value_name = "C,H,W")]
    shape: Vec<usize>,

    /// Use the raw weights instead of their average, where a file has both
    #[arg(long)]
    raw: bool,

    /// Choose kernels by timing them, which takes minutes
    #[arg(long)]
    autotune: bool,

    /// Set an option of Inductor, for instance --inductor freezing=true; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    inductor: Vec<String>,

    /// The Python that compiles [default: $DDIM_PYTHON, or python3]
    #[arg(long, value_name = "PATH")]
    python: Option<String>,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    talk: Talk,
}

impl Compile {
    pub(super) fn run(&self) -> Result<()> {
        let precision = match self.precision.as_str() {
            "f32" => Precision::F32,
            "bf16" => Precision::Bf16,
            other => {
                return Err(Error::input(format!("--precision {other}: give f32 or bf16")));
            }
        };
        check_output(&self.out)?;
        let source = self.source()?;
        let order = Order {
            source,
            name: self.source.clone(),
            device: self.compute.open()?.device(),
            batch: (!self.dynamic).then_some(self.batch as usize),
            precision,
            autotune: self.autotune,
            inductor: self.inductor()?,
            python: self.python.clone().unwrap_or_else(default_python),
        };
        let held = make(&order, &self.out, &self.talk)?;
        let (out, held) = (self.out.display(), said(held));
        self.talk.say(|| format!("wrote {out} ({held})"));
        Ok(())
    }

    fn inductor(&self) -> Result<Map<String, Value>> {
        let pair = |option: &String| {
            let (name, value) = option.split_once('=').ok_or_else(|| {
                Error::input(format!(
                    "--inductor {option}: write NAME=VALUE, for instance freezing=true"
                ))
            })?;
            let word = || Value::from(value);
            Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| word())))
        };
        self.inductor.iter().map(pair).collect()
    }

    fn source(&self) -> Result<Source> {
        let shape = match self.shape[..] {
            [] => None,
            [c, h, w] if c * h * w > 0 => Some([c, h, w]),
            _ => return Err(Error::input("--shape: give three lengths, for instance 3,32,32")),
        };
        if let Some((file, function)) = self.source.rsplit_once(':')
            && Path::new(file).extension().is_some_and(|ending| ending == "py")
        {
            if function.is_empty() {
                return Err(Error::input(format!(
                    "{}: name a function, FILE.py:build",
                    self.source
                )));
            }
            let name = self.source.clone();
            let shape = shape.ok_or_else(|| CompileError::Size { name: name.clone() })?;
            return Ok(Source::Module { name, shape });
        }
        let path = fetch::source(&self.source, &self.talk)?;
        if !path.exists() {
            return Err(Error::input(format!(
                "{} does not exist; a module of your own is FILE.py:FUNCTION",
                self.source
            )));
        }
        let which = if self.raw { Which::Raw } else { Which::Ema };
        Ok(Source::Network { path, which, shape })
    }
}

fn said(held: Held) -> String {
    format!(
        "differs from the network by {:.1e} of its output, rms; {:.0e} is allowed",
        held.rms, held.allowed
    )
}

/// Compiles, and shows that it is alive.
fn make(order: &Order, out: &Path, talk: &Talk) -> Result<Held> {
    let progress = Progress::clock(talk.mode());
    let (mut last, mut shown) = (String::new(), Duration::ZERO);
    let made = order.compile(out, &mut |step, elapsed| {
        if step != last {
            progress.cell(&format!("{}: {step}", order.name));
            (last, shown) = (step.to_owned(), elapsed);
        } else if talk.mode() == Mode::Lines && elapsed > shown + ALIVE {
            progress.line(&format!("{}: {step}, {} s", order.name, elapsed.as_secs()));
            shown = elapsed;
        }
        if interruption::is_asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    progress.finish();
    if let Err(CompileError::Failed { log, .. }) = &made {
        talk.note(|| log.clone());
    }
    Ok(made?)
}

/// Compiles the packages that cells ask for and that are not in the cache.
pub(super) fn packages(plan: &Plan, device: Device, talk: &Talk) -> Result<()> {
    for cell in &plan.cells {
        let Some(order) = assemble::order(&cell.spec, device)? else { continue };
        let path = compile::cached(&order)?;
        if compile::is_there(&path) {
            continue;
        }
        talk.say(|| {
            format!(
                "compiling {} for {} images a call with {}, once: half a minute for 1 million \
                 parameters on two cores, some minutes for 9 million",
                order.name, cell.spec.batch, order.python
            )
        });
        let held = make(&order, &path, talk)?;
        talk.say(|| format!("kept in {} ({})", path.display(), said(held)));
    }
    Ok(())
}
