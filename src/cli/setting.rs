//! The flags for how a solver runs, shared by every verb that runs one.
//!
//! Each flag stands for a value of a manifest. A verb applies the given flags to a manifest of defaults,
//! or to that of the latents it reads, and the manifest's validation serves all verbs.

use std::{ops::Range, path::Path};

use clap::Args;
use ndarray::{Array4, ArrayView4, Axis, concatenate, s};

use crate::cli::{Compute, Talk, compile, fetch};
use crate::{
    core::{self, KeyedNoise},
    error::{Error, Result},
    hardware::memory::Limit,
    manifest::{Argument, Given, Manifest},
    plan::{CellSpec, Plan, StateKind},
    run::{
        assemble::{self, Models, Sampler, Way},
        latents::{Latents, Origin},
        registry::Registry,
    },
    terminal::{interruption, progress::Progress},
};

/// The defaults of the flags, as a manifest.
const DEFAULTS: &str = r#"name = "flags"
samples = 16
batch = 64

[grid]
tau = "official-uniform"
steps = 50

[solver]
kind = "ddim"
"#;

/// How a solver runs.
#[derive(Debug, Args)]
pub(super) struct Setting {
    /// Use the raw weights instead of their average, where a file has both
    #[arg(long)]
    raw: bool,

    /// Compile the network for this machine and for --batch images a call, once, and run that; needs a
    /// Python that has torch ($DDIM_PYTHON, or python3)
    #[arg(long)]
    compiled: bool,

    /// The solver; `ddim solvers` describes them [default: ddim]
    #[arg(long, value_name = "NAME")]
    solver: Option<String>,

    /// Noise of a step: 0 is DDIM, 1 is DDPM's posterior variance
    #[arg(long, conflicts_with = "variance", value_name = "ETA")]
    eta: Option<f64>,

    /// Variance of a step by name: sigma-hat, or learned if the network predicts one
    #[arg(long, value_name = "NAME")]
    variance: Option<String>,

    /// Order, for solvers that have several (adams-bashforth, deis, dpm-solver, unipc-bh1, unipc-bh2)
    #[arg(long, value_name = "K")]
    order: Option<u64>,

    /// Number of steps S [default: 50]
    #[arg(long, value_name = "S")]
    steps: Option<u64>,

    /// Instead of --steps: as many steps as N model calls allow
    #[arg(long, value_name = "N")]
    calls: Option<u64>,

    /// Timesteps to visit: a spacing (`ddim taus` describes them), a list from the noisiest down,
    /// for instance 999,500,0, or a file of `ddim tau` [default: official-uniform]
    #[arg(long, value_name = "NAME|LIST|FILE")]
    tau: Option<String>,

    /// Where the last step ends: clean, or first-level (timestep 0) [default: clean]
    #[arg(long, value_name = "END")]
    end: Option<String>,

    /// Noise schedule: linear, linear-f32, scaled-linear, cosine or sigmoid [default: the model's, or
    /// linear]
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,

    /// Clamp the predicted x0 to [-1, 1] and derive eps from it again, as diffusers' DDIM does only
    /// with use_clipped_model_output; --clip-x0=false overrides a model's folder that asks for it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    clip_x0: Option<bool>,

    /// What the network predicts: eps, v or x0 [default: what the model's folder says, or eps]
    #[arg(long, value_name = "WHAT")]
    prediction: Option<String>,

    /// Arithmetic of the network, f32 or bf16 [default: f32]
    #[arg(long, value_name = "KIND")]
    precision: Option<String>,

    /// Precision of the state between model calls, f32 or f64 [default: f32]
    #[arg(long, value_name = "KIND")]
    state: Option<String>,

    /// Samples per model call [default: 64]
    #[arg(long, value_name = "N")]
    batch: Option<u64>,

    /// Shape of a sample, for exact-score models and for networks whose files do not state it
    #[arg(long, value_delimiter = ',', value_name = "C,H,W")]
    shape: Vec<usize>,

    /// Mean of an exact-score model, one for each component
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, value_name = "MEAN")]
    mean: Vec<f64>,

    /// Standard deviation of an exact-score model, one for each component
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, value_name = "STD")]
    std: Vec<f64>,

    /// Set any other value of the manifest behind this command, for instance --set grid.rho=5; may be
    /// repeated
    #[arg(long = "set", value_name = "PATH=VALUE")]
    set: Vec<String>,
}

/// How images are encoded.
#[derive(Debug, Args)]
pub(super) struct Inverting {
    /// Level at which the model is asked while encoding: current, next or fixed-point
    /// [default: current]
    #[arg(long, value_name = "CONVENTION")]
    inversion: Option<String>,

    /// Iterations of fixed-point, one model call each [default: 5]
    #[arg(long, value_name = "K")]
    iterations: Option<usize>,
}

/// A list of timesteps, or else the name of a spacing.
fn tau(tau: &str) -> Given {
    let listed = tau.trim_start_matches('[').trim_end_matches(']').split(',');
    let timesteps: Option<Vec<f64>> = listed.map(|t| t.trim().parse().ok()).collect();
    timesteps.map_or_else(|| tau.into(), Given::from)
}

impl Inverting {
    /// The flags that were given.
    pub(super) fn arguments(&self) -> Vec<Argument> {
        let inversion = self.inversion.as_deref();
        let inversion =
            inversion.map(|name| Argument::flag("--inversion", "solver.inversion", name));
        let iterations = self.iterations;
        let iterations = iterations.map(|k| Argument::flag("--iterations", "solver.iterations", k));
        inversion.into_iter().chain(iterations).collect()
    }
}

/// The argument for the number of samples, which the input decides.
pub(super) fn samples(n: usize) -> Argument {
    Argument::flag("--samples", "samples", n)
}

impl Setting {
    /// The plan from a model, the given flags and further arguments, applied to the manifest of some
    /// latents or to the defaults.
    pub(super) fn plan(
        &self,
        model: Option<&str>,
        more: Vec<Argument>,
        origin: Option<(&str, &Origin)>,
        (registry, talk): (&Registry, &Talk),
    ) -> Result<Plan> {
        let model = model.map(|model| Argument::flag("--model", "model.source", model));
        let mut set: Vec<Argument> = model.into_iter().collect();
        set.extend(self.arguments());
        set.extend(more);
        set.extend(self.set.iter().map(Argument::set));
        let (name, manifest) = match origin {
            Some((name, origin)) => (name, origin.manifest.as_str()),
            None => ("defaults", DEFAULTS),
        };
        let make = || {
            Manifest::parse(name, manifest)
                .map(|manifest| manifest.giving_way_to(&set))
                .and_then(|manifest| manifest.plan(None, &set, &assemble::vocabulary(registry)))
                .map_err(Error::Manifest)
        };
        let plan = make()?;
        // A downloaded model states what it predicts and for which levels.
        if fetch::models(&plan, talk)? { make() } else { Ok(plan) }
    }

    /// The argument for a solver, if the flags name none.
    pub(super) fn solver_or(&self, name: &str) -> Vec<Argument> {
        let named = self.solver.is_none().then(|| Argument::flag("--solver", "solver.kind", name));
        named.into_iter().collect()
    }

    /// The arguments for a grid of candidates, where the flags name none.
    pub(super) fn grid_or(&self, tau: &str, steps: usize) -> Vec<Argument> {
        let tau = self.tau.is_none().then(|| Argument::flag("--tau", "grid.tau", tau));
        // A list says itself how many there are.
        let listed = self.tau.as_deref().is_some_and(|tau| {
            tau.trim_start_matches('[').starts_with(|first: char| first.is_ascii_digit())
        });
        let free = self.steps.is_none() && self.calls.is_none() && !listed;
        let steps = free.then(|| Argument::flag("--steps", "grid.steps", steps));
        tau.into_iter().chain(steps).collect()
    }

    /// The arguments for the levels to visit, as another flag implies them, if these name none.
    pub(super) fn levels_or(&self, flag: &'static str, tau: &str, steps: u64) -> Vec<Argument> {
        if self.tau.is_some() || self.steps.is_some() || self.calls.is_some() {
            return vec![];
        }
        vec![Argument::flag(flag, "grid.tau", tau), Argument::flag(flag, "grid.steps", steps)]
    }

    /// The plan to decode latents: what made them, with the flags applied.
    pub(super) fn plan_for(
        &self,
        latents: &Latents,
        path: &Path,
        model: Option<&str>,
        more: Vec<Argument>,
        (registry, talk): (&Registry, &Talk),
    ) -> Result<Plan> {
        let name = path.display().to_string();
        if latents.origin.is_none() && model.is_none() {
            return Err(Error::input(format!(
                "{name} does not say which model it belongs to; choose one with --model"
            )));
        }
        let origin = latents.origin.as_ref().map(|origin| (name.as_str(), origin));
        self.plan(model, more, origin, (registry, talk))
    }

    /// The flags that were given.
    fn arguments(&self) -> Vec<Argument> {
        let text = |text: &Option<String>| text.as_deref().map(Given::from);
        let count = |n: Option<u64>| n.map(Given::from);
        let list = |numbers: &[f64]| (!numbers.is_empty()).then(|| numbers.to_vec().into());
        let flags = [
            ("--prediction", "model.prediction", text(&self.prediction)),
            ("--schedule", "schedule.kind", text(&self.schedule)),
            ("--end", "grid.end", text(&self.end)),
            ("--solver", "solver.kind", text(&self.solver)),
            ("--variance", "solver.variance", text(&self.variance)),
            ("--precision", "precision", text(&self.precision)),
            ("--state", "state", text(&self.state)),
            ("--raw", "model.raw", self.raw.then(|| true.into())),
            ("--compiled", "model.compiled", self.compiled.then(|| true.into())),
            ("--clip-x0", "model.clip_x0", self.clip_x0.map(Given::from)),
            ("--tau", "grid.tau", self.tau.as_deref().map(tau)),
            ("--steps", "grid.steps", count(self.steps)),
            ("--calls", "grid.calls", count(self.calls)),
            ("--order", "solver.order", count(self.order)),
            ("--batch", "batch", count(self.batch)),
            ("--eta", "solver.eta", self.eta.map(Given::from)),
            (
                "--shape",
                "model.shape",
                (!self.shape.is_empty()).then(|| self.shape.as_slice().into()),
            ),
            ("--mean", "model.mean", list(&self.mean)),
            ("--std", "model.std", list(&self.std)),
        ];
        let given = flags.into_iter();
        given.filter_map(|(flag, path, given)| Some(Argument::flag(flag, path, given?))).collect()
    }
}

/// The only cell of a plan, with its model.
pub(super) struct Bench {
    pub(super) plan: Plan,
    pub(super) sampler: Box<dyn Sampler>,
    /// SHA-256 of the weights; none for an exact-score model.
    pub(super) weights: Option<String>,
    pub(super) limit: Limit,
}

impl Bench {
    /// Loads the model of a plan.
    pub(super) fn open(
        plan: Plan,
        compute: &Compute,
        registry: &Registry,
        talk: &Talk,
    ) -> Result<Self> {
        let spec = &plan.cells[0].spec;
        let hardware = compute.open()?;
        compile::packages(&plan, hardware.device(), talk)?;
        let mut models = Models::new(hardware, registry);
        let sampler = models.sampler(spec)?;
        let weights = models.weights_sha256(spec)?;
        talk.about_models(&plan);
        if let Some(hash) = &weights {
            talk.note(|| format!("read weights {} {hash}", spec.model.source));
        }
        talk.remarks(&spec.model.source, &models.remarks(spec)?);
        talk.detail(|| spec.canonical_json());
        Ok(Self { plan, sampler, weights, limit: Limit::default() })
    }

    /// Prints where this cell differs from the one that made some latents.
    pub(super) fn say_differences(&self, latents: &Latents, path: &Path, talk: &Talk) {
        let Some(origin) = &latents.origin else { return };
        let differences = origin.differences(self.spec(), self.weights.as_deref());
        if !differences.is_empty() && !talk.quiet {
            eprintln!("warning: these settings differ from those that made {}:", path.display());
            for line in differences {
                eprintln!("  {line}");
            }
        }
    }

    /// The precision of the state.
    pub(super) fn state(&self) -> StateKind {
        let spec = self.spec();
        if spec.model.exact.is_some() { StateKind::F64 } else { spec.state }
    }

    pub(super) fn spec(&self) -> &CellSpec {
        &self.plan.cells[0].spec
    }

    /// The first rows of the batches of `n` samples, and their numbers of rows.
    pub(super) fn batches(&self, n: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let batch = self.spec().batch;
        (0..n).step_by(batch).map(move |first| (first, batch.min(n - first)))
    }

    /// Does `work` for the samples of a range in parts that fit into memory, and joins what it makes.
    pub(super) fn in_parts<T>(
        &self,
        samples: Range<usize>,
        progress: &Progress,
        mut work: impl FnMut(Range<usize>, &mut dyn FnMut(u64) -> core::Result<()>) -> core::Result<T>,
    ) -> Result<Vec<T>> {
        let mut made = vec![];
        self.limit.each(
            self.spec().batch,
            samples,
            |part| {
                let mut watch = progress.batch(part.len(), &interruption::INTERRUPTED);
                Ok(work(part, &mut watch)?)
            },
            |_, part| {
                made.push(part);
                if let (Some(line), Some(most)) = (self.limit.news("images"), self.limit.most()) {
                    progress.line(&format!("{line}; --batch {most} begins with that"));
                }
                Ok(())
            },
        )?;
        Ok(made)
    }

    /// Carries some samples, of which row 0 is sample `first`.
    pub(super) fn carry(
        &self,
        way: Way,
        x: &Array4<f64>,
        first: usize,
        progress: &Progress,
    ) -> Result<Array4<f64>> {
        let mut parts = self.in_parts(first..first + x.shape()[0], progress, |part, watch| {
            let noise = KeyedNoise { seed: self.spec().seed, first: part.start as u64 };
            let rows = x.slice(s![part.start - first..part.end - first, .., .., ..]).to_owned();
            Ok(self.sampler.carry(way, rows, noise, watch)?.x)
        })?;
        if parts.len() == 1 {
            return Ok(parts.remove(0)); // nearly always, and large
        }
        let views: Vec<_> = parts.iter().map(Array4::view).collect();
        concatenate(Axis(0), &views).map_err(|error| Error::input(error.to_string()))
    }

    /// Carries the x_T of `n` samples to images batch by batch, and passes each batch to `hand`.
    /// `start` returns the x_T of a batch from its first sample and its number of rows.
    pub(super) fn draw(
        &self,
        n: usize,
        mut start: impl FnMut(usize, usize) -> Result<Array4<f64>>,
        progress: &Progress,
        mut hand: impl FnMut(ArrayView4<'_, f64>) -> Result<()>,
    ) -> Result<()> {
        for (first, rows) in self.batches(n) {
            let x = start(first, rows)?;
            hand(self.carry(Way::Sample, &x, first, progress)?.view())?;
        }
        Ok(())
    }

    /// Like `draw`, from given x_T.
    pub(super) fn decode(
        &self,
        z: ArrayView4<'_, f64>,
        progress: &Progress,
        hand: impl FnMut(ArrayView4<'_, f64>) -> Result<()>,
    ) -> Result<()> {
        let rows = |first, rows| Ok(z.slice(s![first..first + rows, .., .., ..]).to_owned());
        self.draw(z.shape()[0], rows, progress, hand)
    }

    /// The x_T of `rows` samples from `first`, from the seed's noise.
    pub(super) fn initial(&self, first: usize, rows: usize) -> Result<Array4<f64>> {
        let noise = KeyedNoise { seed: self.spec().seed, first: first as u64 };
        Ok(self.sampler.initial(noise, rows)?)
    }
}
