//! `ddim sample`.

use std::{
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use clap::Args;
use ndarray::{Array4, Axis, concatenate, s};

use super::{Compute, INTERRUPTED, Talk, fetch};
use crate::{
    core::{self, KeyedNoise},
    data::npy,
    harness::{
        build::{self, Models, Sampler},
        error::{Error, Result},
        image_grid::{self, Layout},
        manifest::Manifest,
        plan::CellSpec,
        progress::Progress,
        registry::Registry,
        runner, sink,
    },
};

#[derive(Debug, Args)]
#[command(
    after_help = "Flags are short for values of a manifest (--steps 20 is --set grid.steps=20), and problems are\n\
    reported in its words.\n\nExamples:\n  \
    ddim sample --model models/cifar10-xs --steps 20 --samples 16 --out grid.png\n  \
    ddim sample --model models/cifar10-xs --eta 1 --seed 7 --samples 4 --out x0.npy --out grid.png\n  \
    ddim sample --model gaussian --mean 0.3 --std 0.5 --shape 3,8,8 --solver heun --out x0.npy"
)]
pub(super) struct Sample {
    /// A diffusers folder or a file of weights, hf:owner/name[/path][@revision], or gaussian,
    /// mixture, dirac
    #[arg(long, value_name = "PATH|NAME")]
    model: String,

    /// Of a file with both, take the weights as they were trained and not their average
    #[arg(long)]
    raw: bool,

    /// The method
    #[arg(long, default_value = "ddim", value_name = "NAME")]
    solver: String,

    /// Noise of a step: 0 is DDIM, 1 is DDPM's posterior variance
    #[arg(long, conflicts_with = "variance", value_name = "ETA")]
    eta: Option<f64>,

    /// A named variance: sigma-hat
    #[arg(long, value_name = "NAME")]
    variance: Option<String>,

    /// Number of steps S
    #[arg(long, default_value_t = 50, value_name = "S")]
    steps: usize,

    /// Spacing of the levels
    #[arg(long, default_value = "official-uniform", value_name = "NAME")]
    tau: String,

    /// Where the last step goes: clean or first-level
    #[arg(long, default_value = "clean", value_name = "END")]
    end: String,

    /// linear, linear-f32, scaled-linear or cosine
    #[arg(long, default_value = "linear", value_name = "NAME")]
    schedule: String,

    /// Clamp the predicted x0 to [-1, 1]
    #[arg(long)]
    clip_x0: bool,

    /// What the network predicts: eps, v or x0
    #[arg(long, default_value = "eps", value_name = "WHAT")]
    prediction: String,

    /// Arithmetic of the network, f32 or bf16
    #[arg(long, default_value = "f32", value_name = "KIND")]
    precision: String,

    /// Seed of all noise
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,

    /// Number of samples; by default 16, or as many as there are latents
    #[arg(long, value_name = "N")]
    samples: Option<usize>,

    /// Samples per model call
    #[arg(long, default_value_t = 64, value_name = "N")]
    batch: usize,

    /// Start from these x_T, a .npy file of [N, C, H, W], instead of keyed noise
    #[arg(long, value_name = "FILE")]
    latents: Option<PathBuf>,

    /// Shape of a sample: of exact-score models, and of networks whose files do not say it
    #[arg(long, value_delimiter = ',', value_name = "C,H,W")]
    shape: Vec<usize>,

    /// Exact-score models: mean, one per component
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, value_name = "MEAN")]
    mean: Vec<f64>,

    /// Exact-score models: standard deviation, one per component
    #[arg(long, value_delimiter = ',', value_name = "STD")]
    std: Vec<f64>,

    /// Change any other value of the equivalent manifest, for instance --set grid.rho=5; may be
    /// repeated
    #[arg(long = "set", value_name = "PATH=VALUE")]
    set: Vec<String>,

    /// x0.npy ([N, C, H, W] f32, unclamped) or grid.png; may be given twice
    #[arg(long, required = true, value_name = "FILE")]
    out: Vec<PathBuf>,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    talk: Talk,
}

impl Sample {
    pub(super) fn run(&self, registry: &Registry) -> Result<()> {
        self.check_outputs()?;
        let latents = self.latents.as_deref().map(read_latents).transpose()?;
        let spec = self.spec(registry, latents.as_ref().map(|latents| latents.len_of(Axis(0))))?;
        fetch::models(std::iter::once(&spec.model), &self.talk)?;
        let mut models = Models::new(self.compute.open()?, registry);
        let sampler = models.sampler(&spec)?;
        if let Some(hash) = models.weights_sha256(&spec)? {
            self.talk.note(|| format!("read weights {} {hash}", spec.model.source));
        }
        self.talk.detail(|| spec.canonical_json());
        if let (Some(latents), Some(path)) = (&latents, &self.latents) {
            check_latents(latents, path, &*sampler, spec.samples)?;
        }
        self.check_channels(&*sampler)?;
        let images = self.draw(registry, &*sampler, &spec, latents.as_ref())?;
        for path in &self.out {
            if is(path, "npy") {
                npy::write_images(path, images.view())?;
            } else {
                let columns = spec.samples.isqrt().max(1);
                let png =
                    image_grid::png(images.view(), Layout { scale: 2, ..Layout::columns(columns) })
                        .map_err(|error| Error::input(format!("{}: {error}", path.display())))?;
                sink::write_atomically(path, &png)?;
            }
            self.talk.note(|| format!("wrote {}", path.display()));
        }
        Ok(())
    }

    /// Before anything is computed: a wrong ending or a missing folder should not cost a run.
    fn check_outputs(&self) -> Result<()> {
        for path in &self.out {
            if !is(path, "npy") && !is(path, "png") {
                return Err(Error::input(format!(
                    "--out {}: samples are written as .npy (an array) or .png (a grid)",
                    path.display()
                )));
            }
            super::check_output(path)?;
        }
        Ok(())
    }

    /// A grid is a picture: of grey or of colour.
    fn check_channels(&self, sampler: &dyn Sampler) -> Result<()> {
        let [channels, ..] = sampler.shape();
        match self.out.iter().find(|path| is(path, "png")) {
            Some(path) if ![1, 3].contains(&channels) => Err(Error::input(format!(
                "--out {}: samples of {channels} channels are no picture, which has 1 or 3; \
                 write them as .npy",
                path.display()
            ))),
            _ => Ok(()),
        }
    }

    /// The flags as the arguments of an empty manifest: one validation for both.
    fn spec(&self, registry: &Registry, latents: Option<usize>) -> Result<CellSpec> {
        let text = |value: &str| toml::Value::from(value).to_string();
        let list = |values: &[f64]| toml::Value::from(values.to_vec()).to_string();
        let mut set = vec![
            format!("model.source={}", text(&self.model)),
            format!("model.prediction={}", text(&self.prediction)),
            format!("model.clip_x0={}", self.clip_x0),
            format!("schedule.kind={}", text(&self.schedule)),
            format!("grid.tau={}", text(&self.tau)),
            format!("grid.steps={}", self.steps),
            format!("grid.end={}", text(&self.end)),
            format!("solver.kind={}", text(&self.solver)),
            format!("precision={}", text(&self.precision)),
            format!("seed={}", self.seed),
            format!("samples={}", self.samples.or(latents).unwrap_or(16)),
            format!("batch={}", self.batch),
        ];
        set.extend(self.eta.map(|eta| format!("solver.eta={}", toml::Value::from(eta))));
        set.extend(self.variance.as_deref().map(|name| format!("solver.variance={}", text(name))));
        if self.raw {
            set.push("model.raw=true".to_owned());
        }
        if !self.shape.is_empty() {
            set.push(format!("model.shape={:?}", self.shape));
        }
        if !self.mean.is_empty() {
            set.push(format!("model.mean={}", list(&self.mean)));
        }
        if !self.std.is_empty() {
            set.push(format!("model.std={}", list(&self.std)));
        }
        set.extend(self.set.iter().cloned());
        let manifest = Manifest::parse("sample", "name = \"sample\"\n").map_err(Error::Manifest)?;
        let plan =
            manifest.plan(None, &set, &build::vocabulary(registry)).map_err(Error::Manifest)?;
        runner::check(&plan, registry)?;
        Ok(plan.cells[0].spec.clone())
    }

    fn draw(
        &self,
        registry: &Registry,
        sampler: &dyn Sampler,
        spec: &CellSpec,
        latents: Option<&Array4<f32>>,
    ) -> Result<Array4<f32>> {
        let calls = build::Route::new(spec, registry)?.calls;
        let progress = Progress::new(calls * spec.samples as u64, self.talk.mode());
        let mut batches = vec![];
        for first in (0..spec.samples).step_by(spec.batch) {
            let rows = spec.batch.min(spec.samples - first);
            let noise = KeyedNoise { seed: spec.seed, first: first as u64 };
            let start = latents
                .map(|latents| latents.slice(s![first..first + rows, .., .., ..]).to_owned());
            let mut seen = 0;
            let samples = sampler.sample(noise, rows, start, &mut |calls| {
                progress.advance((calls - seen) * rows as u64);
                seen = calls;
                if INTERRUPTED.load(Ordering::Relaxed) {
                    return Err(core::Error::Interrupted);
                }
                Ok(())
            })?;
            batches.push(samples.images);
        }
        progress.finish();
        let views: Vec<_> = batches.iter().map(Array4::view).collect();
        concatenate(Axis(0), &views).map_err(|error| Error::input(error.to_string()))
    }
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

fn read_latents(path: &Path) -> Result<Array4<f32>> {
    let latents = npy::read_images(path)?;
    if latents.is_empty() {
        return Err(Error::input(format!(
            "--latents {}: shape {:?} has nothing in it; give at least one x_T",
            path.display(),
            latents.shape()
        )));
    }
    let odd = latents.outer_iter().position(|x| !x.iter().all(|value| value.is_finite()));
    match odd {
        Some(index) => Err(Error::input(format!(
            "--latents {}: sample {index} (from 0) has NaN or infinite values; write x_T without",
            path.display()
        ))),
        None => Ok(latents),
    }
}

fn check_latents(
    latents: &Array4<f32>,
    path: &Path,
    sampler: &dyn Sampler,
    samples: usize,
) -> Result<()> {
    let [c, h, w] = sampler.shape();
    let found = latents.shape();
    if found[1..] == [c, h, w] && found[0] >= samples {
        return Ok(());
    }
    Err(Error::input(format!(
        "--latents {}: shape {found:?}, but {samples} samples of this model need [{samples}, {c}, {h}, {w}]",
        path.display()
    )))
}
