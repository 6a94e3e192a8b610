//! `ddim sample`.

use std::path::{Path, PathBuf};

use clap::Args;
use ndarray::{ArrayView4, s};

use crate::cli::{
    Compute, Talk,
    outputs::{self, Outputs},
    setting::{Bench, Setting, samples},
    warn,
};
use crate::{
    error::{Error, Result},
    manifest::Argument,
    run::{
        latents::{self, Latents},
        registry::Registry,
        runner,
    },
    terminal::progress::Progress,
};

#[derive(Debug, Args)]
#[command(
    after_help = "Every flag stands for a value of a manifest (--steps 20 is --set grid.steps=20), so messages name\n\
    the manifest's keys.\n\nExamples:\n  \
    ddim sample --model models/cifar10 --steps 20 --samples 16 --out grid.png\n  \
    ddim sample --model models/cifar10 --eta 1 --seed 7 --samples 4 --out x0.npy --out grid.png\n  \
    ddim sample --model gaussian --mean 0.3 --std 0.5 --shape 3,8,8 --solver heun --out x0.npy"
)]
pub(super) struct Sample {
    /// A diffusers folder or a file of weights, hf:owner/name[/path][@revision], or gaussian,
    /// mixture, dirac, categorical
    #[arg(long, value_name = "PATH|NAME")]
    model: String,

    #[command(flatten)]
    setting: Setting,

    /// Seed of all noise
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,

    /// Number of samples [default: 16, or the number of latents]
    #[arg(long, value_name = "N")]
    samples: Option<usize>,

    /// Start from this noise (x_T) instead of the seed's: .npy or .safetensors of [N, C, H, W]
    #[arg(long, value_name = "FILE")]
    latents: Option<PathBuf>,

    /// x0.npy ([N, C, H, W] f32, unclamped; - is stdout), grid.png, or a new folder of PNG files; may
    /// be repeated
    #[arg(long, required = true, value_name = "FILE")]
    out: Vec<PathBuf>,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    talk: Talk,
}

impl Sample {
    pub(super) fn run(&self, registry: &Registry) -> Result<()> {
        outputs::check(&self.out)?;
        let latents = self.latents.as_deref().map(latents::read).transpose()?;
        let given = latents.as_ref().map(|latents| latents.z.shape()[0]);
        let more = vec![
            Argument::flag("--seed", "seed", self.seed),
            samples(self.samples.or(given).unwrap_or(16)),
        ];
        let plan = self.setting.plan(Some(&self.model), more, None, (registry, &self.talk))?;
        let calls = runner::check(&plan, registry)?[0].calls;
        if plan.cells[0].spec.model.is_categorical() {
            outputs::check_arrays(&self.out)?;
        }
        if latents.as_ref().is_none_or(|latents| latents.origin.is_none()) {
            warn(&plan, registry, &self.talk)?;
        }
        let bench = Bench::open(plan, &self.compute, registry, &self.talk)?;
        let n = bench.spec().samples;
        if let (Some(Latents { z, .. }), Some(path)) = (&latents, &self.latents) {
            check_latents(z.view(), path, bench.sampler.shape(), n)?;
        }
        if let (Some(latents), Some(path)) = (&latents, &self.latents) {
            bench.say_differences(latents, path, &self.talk);
        }
        let mut out = Outputs::open(&self.out, n, bench.sampler.shape(), n.isqrt().max(1))?;
        let progress = Progress::new(calls * n as u64, self.talk.mode());
        let mut hand = |images: ArrayView4<'_, f64>| out.append(images);
        match &latents {
            Some(Latents { z, .. }) => {
                bench.decode(z.slice(s![..n, .., .., ..]), &progress, &mut hand)?;
            }
            None => {
                bench.draw(n, |first, rows| bench.initial(first, rows), &progress, &mut hand)?;
            }
        }
        progress.finish();
        out.finish(&self.talk)
    }
}

fn check_latents(
    latents: ArrayView4<'_, f64>,
    path: &Path,
    [c, h, w]: [usize; 3],
    samples: usize,
) -> Result<()> {
    let found = latents.shape();
    if found[1..] == [c, h, w] && found[0] >= samples {
        return Ok(());
    }
    Err(Error::input(format!(
        "--latents {}: shape {found:?}, but {samples} samples of this model need [{samples}, {c}, {h}, {w}]",
        path.display()
    )))
}
