//! `ddim decode`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::latents::check_latents;
use crate::{
    cli::{
        Compute, Talk,
        outputs::{self, Outputs},
        setting::{Bench, Setting, samples},
        warn,
    },
    error::Result,
    manifest::Argument,
    run::{latents, registry::Registry, runner},
    terminal::progress::Progress,
};

#[derive(Debug, Args)]
#[command(
    after_help = "Decodes with the model, solver and grid that made the latents. Flags override them, and every\n\
    difference is printed.\n\n\
    Examples:\n  \
    ddim decode z.safetensors --out images\n  \
    ddim decode z.npy --steps 20 --out x0.npy --out grid.png\n  \
    ddim decode noise.npy --model models/cifar10-small --steps 20 --out grid.png"
)]
pub(in crate::cli) struct Decode {
    /// Latents, .npy or .safetensors: [N, C, H, W]
    #[arg(value_name = "LATENTS")]
    latents: PathBuf,

    /// A diffusers folder or a file of weights, hf:owner/name[/path][@revision], or gaussian,
    /// mixture, dirac [default: the one that made the latents]
    #[arg(long, value_name = "PATH|NAME")]
    model: Option<String>,

    #[command(flatten)]
    setting: Setting,

    /// Seed of the noise of a stochastic solver [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// x0.npy ([N, C, H, W] f32, unclamped; - is stdout), grid.png, or a new folder of PNG files; may
    /// be repeated
    #[arg(long, required = true, value_name = "FILE")]
    out: Vec<PathBuf>,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    talk: Talk,
}

impl Decode {
    pub(in crate::cli) fn run(&self, registry: &Registry) -> Result<()> {
        outputs::check(&self.out)?;
        let read = latents::read(&self.latents)?;
        let n = read.z.shape()[0];
        let mut more = vec![samples(n)];
        more.extend(self.seed.map(|seed| Argument::flag("--seed", "seed", seed)));
        let plan = self.setting.plan_for(
            &read,
            &self.latents,
            self.model.as_deref(),
            more,
            (registry, &self.talk),
        )?;
        let calls = runner::check_encoding(&plan, registry)?[0].calls;
        if read.origin.is_none() {
            warn(&plan, registry, &self.talk)?;
        }
        let bench = Bench::open(plan, &self.compute, registry, &self.talk)?;
        bench.say_differences(&read, &self.latents, &self.talk);
        check_latents(&self.latents, read.z.view(), bench.sampler.shape())?;
        let mut out = Outputs::open(&self.out, n, bench.sampler.shape(), n.isqrt().max(1))?;
        let progress = Progress::new(calls * n as u64, self.talk.mode());
        bench.decode(read.z.view(), &progress, |images| out.append(images))?;
        progress.finish();
        out.finish(&self.talk)
    }
}
