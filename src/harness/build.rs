//! The one place that names both halves: words of a manifest on one side, solvers, schedules and
//! models on the other.
//!
//! Solvers are named in `registry`, everything else here. The rest of the harness sees names, plans
//! and [`Sampler`]s.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use ndarray::{Array4, Ix4};
use tch::Tensor;

use super::{
    diagnostic::Diagnostic,
    error::{Error, Result},
    features,
    hardware::Hardware,
    manifest::{Kind, Vocabulary},
    plan::{
        self, Cell, CellSpec, GridSpec, Measured, MetricsSpec, ModelSpec, PredictionKind,
        ScheduleSpec, SolverSpec, Steps, Task, VarianceSpec,
    },
    published::is_published,
    registry::{Everywhere, LEARNED, Registry, SIGMA_HAT},
    truth::{Known, Truth},
};
use crate::{
    backends::{array::Array, torch},
    core::{
        self, At, ClipX0, Denoiser, Draw, End, FromV, FromX0, Ghost, Grid, KeyedNoise, Level,
        Noise, Prediction, Schedule, Solver, State, Tau, count_calls, integrate,
    },
    likelihood::{Bits, VariationalBound},
    models::{
        checkpoint::Which,
        gaussian::{Gaussian, GaussianFlow},
        hub::{self, HubModel},
        mixture::{Component, Mixture},
        network::{Network, Wanted},
        unet::{Placement, Precision},
    },
    solvers::Variance,
};

/// Version of the numerics: part of every cell's key, raised when the same manifest would give
/// other numbers.
pub const NUMERICS: &str = "1";

fn taus(rho: f64) -> [(&'static str, Tau); 11] {
    [
        ("official-uniform", Tau::OfficialUniform),
        ("official-quad", Tau::OfficialQuad),
        ("paper-linear", Tau::PaperLinear),
        ("paper-quadratic", Tau::PaperQuadratic),
        ("leading", Tau::Leading),
        ("trailing", Tau::Trailing),
        ("linspace", Tau::Linspace),
        ("linspace-real", Tau::LinspaceReal),
        ("linspace-open", Tau::LinspaceOpen),
        ("karras", Tau::Karras { rho }),
        ("log-snr", Tau::LogSnr),
    ]
}

/// The names a manifest may use.
pub fn vocabulary(registry: &Registry) -> Vocabulary {
    let betas = ["beta_start", "beta_end"];
    Vocabulary {
        models: vec![
            Kind::new("gaussian", &["shape", "mean", "std"]),
            Kind::new("mixture", &["shape", "mean", "std", "weights"]),
            Kind::new("dirac", &["shape", "mean"]),
        ],
        schedules: vec![
            Kind::new("linear", &betas),
            Kind::new("linear-f32", &betas),
            Kind::new("scaled-linear", &betas),
            Kind::new("cosine", &[]),
        ],
        taus: taus(7.0)
            .iter()
            .map(|(name, tau)| match tau {
                Tau::Karras { .. } => Kind::new(*name, &["rho"]),
                _ => Kind::new(*name, &[]),
            })
            .collect(),
        solvers: registry.kinds(),
        truths: truths(registry),
        variances: vec![SIGMA_HAT.into(), LEARNED.into()],
        metrics: plan::METRICS.map(String::from).to_vec(),
        columns: ["S", "levels", "calls"].map(String::from).to_vec(),
    }
}

/// The method that is the exact flow of an exact-score model.
const EXACT: &str = "exact";

/// What can be a truth: the exact flow, and the methods that draw no noise.
fn truths(registry: &Registry) -> Vec<Kind> {
    let schedule = Schedule::cosine(10).expect("invariant: ten labels are a schedule");
    let deterministic = |kind: &Kind| {
        let options = kind.options.iter().map(|&(key, value)| (key.to_owned(), value)).collect();
        let spec = SolverSpec {
            kind: kind.name.clone(),
            variance: None,
            options,
            inversion: plan::Inversion::Current,
        };
        let solver = registry.build(&spec, &schedule, 2).ok()?;
        let solver: Rc<dyn Solver<Ghost>> = solver;
        let draws_none = matches!(solver.kind(), core::Kind::Deterministic { .. });
        draws_none.then(|| Kind::new(kind.name.clone(), &[]).with_options(&kind.options))
    };
    let mut all = vec![Kind::new(EXACT, &[])];
    all.extend(registry.kinds().iter().filter_map(deterministic));
    all
}

/// Builds a schedule.
///
/// # Errors
/// Betas outside (0, 1), or fewer than two labels.
pub fn build_schedule(spec: &ScheduleSpec) -> Result<Schedule> {
    let (start, end) = (spec.beta_start.unwrap_or(1e-4), spec.beta_end.unwrap_or(0.02));
    let schedule = match spec.kind.as_str() {
        "linear" => Schedule::linear(start, end, spec.horizon),
        "linear-f32" => Schedule::linear_f32(start, end, spec.horizon),
        "scaled-linear" => Schedule::scaled_linear(start, end, spec.horizon),
        "cosine" => Schedule::cosine(spec.horizon),
        other => return Err(Error::input(format!("there is no schedule `{other}`"))),
    };
    Ok(schedule?)
}

/// Builds a grid of `steps` steps on a schedule.
///
/// # Errors
/// More steps than labels, or labels that are outside the schedule or not monotone.
pub fn build_grid(spec: &GridSpec, steps: usize, schedule: &Schedule) -> Result<Grid> {
    let tau = match &spec.tau {
        plan::Tau::Labels(labels) => Tau::Explicit(labels.clone()),
        plan::Tau::Rule(name) => taus(spec.rho.unwrap_or(7.0))
            .into_iter()
            .find_map(|(known, tau)| (known == name).then_some(tau))
            .ok_or_else(|| Error::input(format!("there is no tau `{name}`")))?,
    };
    if let Some([from, to]) = spec.window {
        return Ok(Grid::window(schedule, &tau, steps, (from, to))?);
    }
    let end = match spec.end {
        plan::End::Clean => End::Clean,
        plan::End::FirstLevel => End::FirstLevel,
    };
    Ok(Grid::new(schedule, &tau, steps, end)?)
}

/// A cell's grid and cost, found without its model.
#[derive(Clone, Debug)]
pub struct Route {
    /// The levels.
    pub grid: Grid,
    /// Model calls per sample.
    pub calls: u64,
    /// The solver's order of convergence; none for one that draws noise.
    pub order: Option<u32>,
}

impl Route {
    /// The way of a cell's images to their latents: the grid reversed.
    ///
    /// # Errors
    /// As [`Route::new`], and a method that does not run backwards or not by this convention.
    pub fn inverse(spec: &CellSpec, registry: &Registry) -> Result<Self> {
        let (grid, solver) = grid_and_solver(spec, registry)?;
        let solver: Rc<dyn Solver<Ghost>> = Registry::inverse(&spec.solver, solver)?;
        let grid = grid.reversed();
        let calls = count_calls(&*solver, &grid)?;
        Ok(Self { grid, calls, order: order_of(solver.kind()) })
    }

    /// The route of a cell.
    ///
    /// # Errors
    /// As [`build_grid`], and a grid the solver does not admit.
    pub fn new(spec: &CellSpec, registry: &Registry) -> Result<Self> {
        let (grid, solver) = grid_and_solver(spec, registry)?;
        let solver: Rc<dyn Solver<Ghost>> = solver;
        let calls = count_calls(&*solver, &grid)?;
        let calls = match spec.task {
            Task::Sample => calls,
            Task::Reconstruct(_) => calls + Self::inverse(spec, registry)?.calls,
            Task::Interpolate(points) => calls * points as u64,
        };
        AnyTruth::of(spec, registry, &grid)?;
        Ok(Self { grid, calls, order: order_of(solver.kind()) })
    }

    /// The route of a planned cell, its problem reported where the manifest wrote the cause.
    ///
    /// # Errors
    /// As [`Route::new`].
    pub fn of(cell: &Cell, registry: &Registry) -> std::result::Result<Self, Box<Diagnostic>> {
        let measured = cell.spec.metrics.as_ref();
        let compared = measured.and_then(MetricsSpec::measured_to_truth);
        let route = Self::new(&cell.spec, registry);
        if let (Ok(Self { order: None, .. }), Some(measure)) = (&route, compared) {
            let kind = &cell.spec.solver.kind;
            let message = format!("`{kind}` draws noise here: its samples solve no ODE");
            let help = format!(
                "`{}` is for deterministic methods; compare distributions instead (`fd`)",
                measure.name()
            );
            return Err(Box::new(
                Diagnostic::error(cell.locate("solver.kind"), message).help(help),
            ));
        }
        route.map_err(|error| {
            let (path, help) = match &error {
                Error::Core(core::Error::EtaTooLarge { .. }) => (
                    "solver.eta",
                    "the variance of a step cannot exceed what is left of 1 - alpha_bar",
                ),
                Error::Core(core::Error::Setting { problem, .. }) => {
                    return Box::new(refused_option(cell, problem, &error, registry));
                }
                Error::Core(core::Error::EtaNegative { .. }) => {
                    ("solver.eta", "0 is DDIM, 1 is DDPM")
                }
                Error::Core(core::Error::LearnedVariance { .. }) => {
                    ("solver.variance", "`kind = \"ddpm\"` takes it")
                }
                Error::Core(core::Error::NoRange) => {
                    ("solver.variance", "exact scores are those of eps alone")
                }
                Error::Core(core::Error::StochasticReversed { .. }) => {
                    ("solver.kind", "images are encoded by methods that draw no noise")
                }
                Error::Core(core::Error::Schedule(_)) => ("schedule.kind", "see [schedule]"),
                Error::Truth(_) => {
                    ("truth.kind", "the truth solves the probability-flow ODE from the same noise")
                }
                _ if cell.spec.grid.window.is_some() => {
                    ("grid.window", "tau and window together decide which levels are visited")
                }
                Error::Core(core::Error::Label { .. }) => {
                    ("grid.tau", "labels are the network's, counted from 0")
                }
                _ => ("grid.steps", "S and tau together decide which levels are visited"),
            };
            Box::new(Diagnostic::error(cell.locate(path), error.to_string()).help(help))
        })
    }
}

fn order_of(kind: core::Kind) -> Option<u32> {
    match kind {
        core::Kind::Deterministic { order } => Some(order),
        core::Kind::Stochastic => None,
    }
}

/// An option that its method refuses, shown where it was written, with what the section may hold.
fn refused_option(cell: &Cell, problem: &str, error: &Error, registry: &Registry) -> Diagnostic {
    let kind = &cell.spec.solver.kind;
    let options = registry.kinds().into_iter().find(|known| known.name == *kind);
    let options = options.map(|known| known.options).unwrap_or_default();
    let section = cell.locate("solver.?"); // where what is not written is shown
    let written = options.iter().filter(|(key, _)| problem.contains(key)).find_map(|(key, _)| {
        let place = cell.locate(&format!("solver.{key}"));
        (place != section).then_some(place)
    });
    let defaults: Vec<String> =
        options.iter().map(|(key, default)| format!("`{key} = {default}`")).collect();
    let place = written.unwrap_or_else(|| cell.locate("solver.kind"));
    Diagnostic::error(place, error.to_string())
        .help(format!("the defaults of {kind} are {}", defaults.join(", ")))
}

/// A truth before it is known what its states are.
struct AnyTruth {
    key: String,
    method: Method,
    lead: Option<Grid>,
    grid: Grid,
}

/// What counts as exact.
enum Method {
    /// The flow of an exact-score model that has one.
    Exact(Gaussian),
    Solver(Rc<dyn Everywhere>),
}

impl AnyTruth {
    /// The truth of a cell on its grid, if it has one: from x_T to where the cell starts, if that is
    /// elsewhere, and on.
    ///
    /// # Errors
    /// A grid that cannot be built or that the method does not admit, or an exact flow that is not
    /// known.
    fn of(spec: &CellSpec, registry: &Registry, grid: &Grid) -> Result<Option<Self>> {
        let Some(truth) = &spec.truth else { return Ok(None) };
        let refuse = |error: Error| Error::Truth(error.to_string());
        let schedule = build_schedule(&spec.schedule)?;
        let two = |from: Level, to: Level| Ok::<_, Error>(Grid::from_levels(vec![from, to])?);
        let across = || two(grid.first(), grid.last());
        let (way, method) = if truth.solver.kind == EXACT {
            let Some(gaussian) = gaussian(&spec.model) else {
                return Err(Error::Truth(format!(
                    "the exact flow of `{}` is not known: only that of gaussian and dirac is; \
                     `dormand-prince` comes as close as its tolerance",
                    spec.model.source
                )));
            };
            let way = match &truth.grid {
                None => across()?,
                Some(own) => match own.steps {
                    Steps::Number(steps) => build_grid(own, steps, &schedule).map_err(refuse)?,
                    Steps::Calls(_) => {
                        let problem = "the exact flow makes no calls: give `steps`";
                        return Err(Error::Truth(problem.into()));
                    }
                },
            };
            (way, Method::Exact(gaussian))
        } else {
            let (way, solver) = if let Some(own) = &truth.grid {
                on_grid(own, &truth.solver, &schedule, registry).map_err(refuse)?
            } else {
                let way = across()?;
                let solver = registry.build(&truth.solver, &schedule, way.requested());
                (way, solver.map_err(refuse)?)
            };
            let counted: Rc<dyn Solver<Ghost>> = Rc::clone(&solver) as _;
            counted.admits(&way).map_err(|error| refuse(error.into()))?;
            (way, Method::Solver(solver))
        };
        let top = schedule.level((schedule.horizon() - 1) as f64)?;
        let lead = spec.grid.window.is_some() && grid.first().alpha_bar > top.alpha_bar;
        let lead = lead.then(|| two(top, grid.first())).transpose()?;
        // Everything a solution depends on, and nothing of the cell's own solver and steps.
        let level = |level: Level| level.alpha_bar.to_bits();
        let ends = (lead.is_some(), level(way.first()), level(way.last()), way.requested());
        let key = format!(
            "{:?} {:?} {:?} {:?} {:?} {} {ends:?}",
            spec.model, spec.schedule, truth, spec.precision, spec.state, spec.seed
        );
        Ok(Some(Self { key, method, lead, grid: way }))
    }

    fn on_arrays(self, known: &Known<Array>) -> Truth<Array> {
        let solver = match self.method {
            Method::Exact(gaussian) => Rc::new(GaussianFlow(gaussian)) as Rc<dyn Solver<Array>>,
            Method::Solver(solver) => solver,
        };
        Truth { key: self.key, solver, lead: self.lead, grid: self.grid, known: Rc::clone(known) }
    }

    fn on_tensors(self, known: &Known<Tensor>) -> Truth<Tensor> {
        let solver = match self.method {
            Method::Exact(_) => unreachable!("invariant: a network is no exact-score model"),
            Method::Solver(solver) => solver as Rc<dyn Solver<Tensor>>,
        };
        Truth { key: self.key, solver, lead: self.lead, grid: self.grid, known: Rc::clone(known) }
    }
}

/// Whether the variance of a cell's steps is its model's.
fn learned(spec: &CellSpec) -> bool {
    matches!(&spec.solver.variance, Some(VarianceSpec::Named(name)) if name == LEARNED)
}

fn grid_and_solver(spec: &CellSpec, registry: &Registry) -> Result<(Grid, Rc<dyn Everywhere>)> {
    if spec.model.exact.is_some() && learned(spec) {
        return Err(core::Error::NoRange.into());
    }
    on_grid(&spec.grid, &spec.solver, &build_schedule(&spec.schedule)?, registry)
}

/// A grid and a solver for it; a budget of calls is spent as far as it goes.
fn on_grid(
    grid: &GridSpec,
    solver: &SolverSpec,
    schedule: &Schedule,
    registry: &Registry,
) -> Result<(Grid, Rc<dyn Everywhere>)> {
    let with = |steps: usize| {
        let grid = build_grid(grid, steps, schedule)?;
        let solver = registry.build(solver, schedule, grid.requested())?;
        Ok((grid, solver))
    };
    let budget = match grid.steps {
        Steps::Number(steps) => return with(steps),
        Steps::Calls(budget) => budget,
    };
    // A spacing that repeats labels asks for more steps than it has levels, but not for twice as many.
    let most =
        usize::try_from(budget.saturating_mul(2)).unwrap_or(usize::MAX).min(schedule.horizon());
    let mut refused = None;
    for steps in (1..=most).rev() {
        let found = with(steps).and_then(|(grid, solver)| {
            let counted: Rc<dyn Solver<Ghost>> = Rc::clone(&solver) as _;
            let calls = count_calls(&*counted, &grid)?;
            Ok(((grid, solver), calls))
        });
        match found {
            Ok((found, calls)) if calls <= budget => return Ok(found),
            Ok(_) => {}
            // What is wrong with few steps only hides what is wrong with any.
            Err(error) => refused = Some(refused.unwrap_or(error)),
        }
    }
    Err(refused.unwrap_or_else(|| {
        let kind = &solver.kind;
        Error::input(format!("{budget} model calls are too few for one step of `{kind}` here"))
    }))
}

/// A batch of finished samples.
#[derive(Clone, Debug)]
pub struct Samples {
    /// `[N, C, H, W]`, unclamped.
    pub images: Array4<f32>,
    /// Model calls per sample, counted at the model.
    pub calls: u64,
    /// Numbers of each sample, by the names of their measures.
    pub numbers: BTreeMap<&'static str, Vec<f64>>,
    /// The truth's images, `[N, C, H, W]`, unclamped, where samples are compared with one.
    pub truth: Option<Array4<f32>>,
    /// How long the model was run for them, without the truth.
    pub time: Duration,
}

/// A batch at the end of its way.
#[derive(Clone, Debug)]
pub struct Carried {
    /// `[N, C, H, W]`: f64 holds every state without loss.
    pub x: Array4<f64>,
    /// Model calls per sample, counted at the model.
    pub calls: u64,
}

/// Which way a batch is carried along its grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From images to latents, by the cell's convention of inversion.
    Encode,
    /// From latents to images.
    Decode,
}

/// Draws samples, and carries images to latents and back, whatever tensor its states are.
pub trait Sampler {
    /// Shape of one sample, `[C, H, W]`.
    fn shape(&self) -> [usize; 3];

    /// Draws `rows` samples of keyed noise, from x_T = its initial draw; `observe` sees the model
    /// calls per sample after every step.
    ///
    /// # Errors
    /// Whatever the model returns, a state that is not finite, or the observer's error.
    fn sample(
        &self,
        noise: KeyedNoise,
        rows: usize,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Samples>;

    /// Carries a batch to the other end of the grid; `noise` is that of a stochastic method.
    ///
    /// # Errors
    /// A method that does not run this way, and as [`Sampler::sample`].
    fn carry(
        &self,
        way: Way,
        x: Array4<f64>,
        noise: KeyedNoise,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Carried>;

    /// The variational bound on the negative log-likelihood of images in [-1, 1], bits per dimension
    /// of each; `noise` is that of its terms, `observe` sees the model calls per image.
    ///
    /// # Errors
    /// A grid or a variance that has no bound, and as [`Sampler::sample`].
    fn bits(
        &self,
        images: Array4<f64>,
        noise: KeyedNoise,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Bits>;

    /// Where the truth of these samples starts, and where it ends; `observe` is called at every
    /// model call.
    ///
    /// # Errors
    /// A cell without a truth, and as [`Sampler::sample`].
    fn truth(
        &self,
        noise: KeyedNoise,
        rows: usize,
        observe: &mut dyn FnMut() -> core::Result<()>,
    ) -> core::Result<(Array4<f64>, Array4<f64>)>;

    /// The x_T that samples start from: the initial draw of keyed noise.
    ///
    /// # Errors
    /// Whatever the tensor library returns.
    fn initial(&self, noise: KeyedNoise, rows: usize) -> core::Result<Array4<f64>>;
}

/// A way between host images and a state.
struct Exchange<S> {
    into: Box<dyn Fn(Array4<f64>) -> core::Result<S>>,
    out: fn(&S) -> core::Result<Array4<f64>>,
}

/// A model as one of arrays on the host.
struct OnHost<'a, S: State>(&'a Bound<S>);

impl<S: State> OnHost<'_, S> {
    fn into(&self, x: &Array) -> core::Result<S> {
        let images = x.clone().into_dimensionality::<Ix4>().map_err(core::Error::model)?;
        (self.0.exchange.into)(images)
    }

    fn out(&self, x: &S) -> core::Result<Array> {
        Ok((self.0.exchange.out)(x)?.into_dyn())
    }
}

impl<S: State> Denoiser for OnHost<'_, S> {
    type State = Array;

    fn predict(&self, x: &Array, at: At) -> core::Result<Array> {
        self.out(&self.0.denoiser.predict(&self.into(x)?, at)?)
    }

    fn predict_with_range(&self, x: &Array, at: At) -> core::Result<Prediction<Array>> {
        let Prediction { eps, range } = self.0.denoiser.predict_with_range(&self.into(x)?, at)?;
        let range = range.map(|range| self.out(&range)).transpose()?;
        Ok(Prediction { eps: self.out(&eps)?, range })
    }
}

struct Bound<S: State> {
    solver: Rc<dyn Solver<S>>,
    variance: Variance,
    inverse: Rc<dyn Solver<S>>,
    denoiser: Rc<dyn Denoiser<State = S>>,
    grid: Grid,
    shape: [usize; 3],
    exchange: Exchange<S>,
    truth: Option<Truth<S>>,
}

impl<S: State> Bound<S>
where
    KeyedNoise: Noise<S>,
{
    fn draw(&self, noise: KeyedNoise, rows: usize) -> core::Result<S> {
        let [c, h, w] = self.shape;
        noise.draw(&(self.exchange.into)(Array4::zeros((rows, c, h, w)))?, Draw::Initial)
    }

    fn integrate(
        &self,
        way: Way,
        x: S,
        noise: KeyedNoise,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Carried> {
        let observe = |_, _: &S, calls| observe(calls);
        let outcome = match way {
            Way::Decode => integrate(&*self.solver, &self.denoiser, &noise, &self.grid, x, observe),
            Way::Encode => {
                let grid = self.grid.clone().reversed();
                integrate(&*self.inverse, &self.denoiser, &noise, &grid, x, observe)
            }
        }?;
        Ok(Carried { x: (self.exchange.out)(&outcome.x)?, calls: outcome.calls })
    }
}

impl<S: State> Sampler for Bound<S>
where
    KeyedNoise: Noise<S>,
{
    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    #[allow(clippy::cast_possible_truncation, reason = "image files hold f32")]
    fn sample(
        &self,
        noise: KeyedNoise,
        rows: usize,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Samples> {
        let x = self.draw(noise, rows)?;
        let solution = match &self.truth {
            None => None,
            Some(truth) => Some(truth.solve(&self.denoiser, &noise, &x, rows, &mut || observe(0))?),
        };
        let clock = Instant::now();
        let x = match &solution {
            Some(solution) => S::lincomb(&[(1.0, &solution.start)])?,
            None => x,
        };
        let outcome =
            integrate(&*self.solver, &self.denoiser, &noise, &self.grid, x, |_, _, calls| {
                observe(calls)
            })?;
        let to_host =
            |x: &S| Ok::<_, core::Error>((self.exchange.out)(x)?.mapv(|value| value as f32));
        let images = to_host(&outcome.x)?;
        let time = clock.elapsed(); // on a GPU, nothing is done before the images are here
        let mut numbers = BTreeMap::new();
        if let Some(solution) = &solution {
            let difference = S::lincomb(&[(1.0, &outcome.x), (-1.0, &solution.end)])?;
            numbers.insert(Measured::Error.name(), difference.rms()?);
        }
        let truth = solution.as_ref().map(|solution| to_host(&solution.end)).transpose()?;
        Ok(Samples { images, calls: outcome.calls, numbers, truth, time })
    }

    fn carry(
        &self,
        way: Way,
        x: Array4<f64>,
        noise: KeyedNoise,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Carried> {
        self.integrate(way, (self.exchange.into)(x)?, noise, observe)
    }

    fn bits(
        &self,
        images: Array4<f64>,
        noise: KeyedNoise,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Bits> {
        let model = OnHost(self);
        let bound = VariationalBound::new(&model, &self.grid, self.variance)?;
        bound.bits(&images.into_dyn(), &noise, observe)
    }

    fn truth(
        &self,
        noise: KeyedNoise,
        rows: usize,
        observe: &mut dyn FnMut() -> core::Result<()>,
    ) -> core::Result<(Array4<f64>, Array4<f64>)> {
        let Some(truth) = &self.truth else {
            return Err(core::Error::model("this cell has no truth"));
        };
        let x = self.draw(noise, rows)?;
        let solution = truth.solve(&self.denoiser, &noise, &x, rows, observe)?;
        let out = self.exchange.out;
        Ok((out(&solution.start)?, out(&solution.end)?))
    }

    fn initial(&self, noise: KeyedNoise, rows: usize) -> core::Result<Array4<f64>> {
        (self.exchange.out)(&self.draw(noise, rows)?)
    }
}

/// Loads each model once, and hands out samplers for cells.
pub struct Models<'a> {
    registry: &'a Registry,
    hardware: Hardware,
    networks: BTreeMap<(String, bool, Vec<usize>, plan::Precision), Rc<Network>>,
    known_arrays: Known<Array>,
    known_tensors: Known<Tensor>,
}

impl<'a> Models<'a> {
    /// An empty stock on some hardware.
    pub fn new(hardware: Hardware, registry: &'a Registry) -> Self {
        Self {
            registry,
            hardware,
            networks: BTreeMap::new(),
            known_arrays: Known::default(),
            known_tensors: Known::default(),
        }
    }

    /// What models run on.
    pub fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// Hash of the weights of a model, for keys and provenance; none for exact-score models.
    ///
    /// # Errors
    /// As [`Models::sampler`].
    pub fn weights_sha256(&mut self, spec: &CellSpec) -> Result<Option<String>> {
        match spec.model.exact {
            Some(_) => Ok(None),
            None => Ok(Some(self.network(spec)?.sha256().to_owned())),
        }
    }

    /// The sampler of a cell.
    ///
    /// # Errors
    /// Weights that cannot be read, or an exact-score model that makes no sense.
    pub fn sampler(&mut self, spec: &CellSpec) -> Result<Box<dyn Sampler>> {
        let (grid, solver) = grid_and_solver(spec, self.registry)?;
        let inverse = Registry::inverse(&spec.solver, Rc::clone(&solver))?;
        let variance = Registry::variance(&spec.solver)?;
        let truth = AnyTruth::of(spec, self.registry, &grid)?;
        if let Some(exact) = &spec.model.exact {
            let &[c, h, w] = exact.shape.as_slice() else {
                return Err(Error::input(format!(
                    "model.shape is {:?}: samples are images, `shape = [C, H, W]`",
                    exact.shape
                )));
            };
            return Ok(Box::new(Bound {
                solver: solver as Rc<dyn Solver<Array>>,
                variance,
                inverse: inverse as Rc<dyn Solver<Array>>,
                denoiser: adapt(exact_model(&spec.model)?, &spec.model),
                grid,
                shape: [c, h, w],
                truth: truth.map(|truth| truth.on_arrays(&self.known_arrays)),
                exchange: Exchange {
                    into: Box::new(|images| Ok(images.into_dyn())),
                    out: |x| x.clone().into_dimensionality::<Ix4>().map_err(core::Error::model),
                },
            }));
        }
        let network = self.network(spec)?;
        if learned(spec) && network.predicts_range() == Some(false) {
            return Err(core::Error::NoRange.into());
        }
        let shape = network.shape().ok_or_else(|| {
            Error::input(format!(
                "{}: nothing says how large its images are; say so: `model.shape = [3, 32, 32]` \
                 (--shape 3,32,32), or `sample_size` in its config.json",
                spec.model.source
            ))
        })?;
        let device = self.hardware.device();
        let kind = match spec.state {
            plan::StateKind::F32 => tch::Kind::Float,
            plan::StateKind::F64 => tch::Kind::Double,
        };
        Ok(Box::new(Bound {
            solver: solver as Rc<dyn Solver<Tensor>>,
            variance,
            inverse: inverse as Rc<dyn Solver<Tensor>>,
            denoiser: adapt(network as Rc<dyn Denoiser<State = Tensor>>, &spec.model),
            grid,
            shape,
            truth: truth.map(|truth| truth.on_tensors(&self.known_tensors)),
            exchange: Exchange {
                into: Box::new(move |images| torch::from_states(&images, kind, device)),
                out: torch::to_states,
            },
        }))
    }

    fn network(&mut self, spec: &CellSpec) -> Result<Rc<Network>> {
        let model = &spec.model;
        let key = (model.source.clone(), model.raw, model.shape.clone(), spec.precision);
        if let Some(network) = self.networks.get(&key) {
            return Ok(Rc::clone(network));
        }
        let precision = match spec.precision {
            plan::Precision::F32 => Precision::F32,
            plan::Precision::Bf16 => Precision::Bf16,
        };
        let wanted = Wanted {
            which: if model.raw { Which::Raw } else { Which::Ema },
            shape: <[usize; 3]>::try_from(model.shape.as_slice()).ok(),
            placement: Placement {
                device: self.hardware.device(),
                precision,
                ..Placement::default()
            },
        };
        let network = Rc::new(Network::open(&weights_path(&model.source)?, &wanted)?);
        self.networks.insert(key, Rc::clone(&network));
        Ok(network)
    }
}

/// Where a model's weights are on this machine: a folder or a file.
///
/// # Errors
/// A path where nothing is, and a model of the Hub that was not downloaded.
pub fn weights_path(source: &str) -> Result<PathBuf> {
    if let Some(model) = hub_model(source)? {
        return model.cached().ok_or_else(|| {
            Error::input(format!("model.source = \"{source}\" was not downloaded"))
        });
    }
    let path = PathBuf::from(source);
    if path.exists() {
        return Ok(path);
    }
    Err(Error::input(format!(
        "model.source = \"{source}\" does not exist (paths are relative to the folder the \
         command runs in)"
    )))
}

/// The model of the Hub that a source names, if it names one.
///
/// # Errors
/// `hf:` without an owner and a name.
pub fn hub_model(source: &str) -> Result<Option<HubModel>> {
    if source.starts_with(hub::SCHEME) { Ok(Some(source.parse()?)) } else { Ok(None) }
}

/// The models of the Hub that cells name and that this machine lacks.
///
/// # Errors
/// As [`hub_model`].
pub fn to_download<'a>(specs: impl Iterator<Item = &'a ModelSpec>) -> Result<Vec<HubModel>> {
    let mut models: Vec<HubModel> = vec![];
    for spec in specs.filter(|spec| spec.exact.is_none()) {
        if let Some(model) = hub_model(&spec.source)?
            && model.cached().is_none()
            && !models.contains(&model)
        {
            models.push(model);
        }
    }
    Ok(models)
}

/// The files a cell needs and this machine lacks, and samples that its features cannot be
/// computed of, each as a problem at its place.
pub fn missing_files(cell: &Cell) -> Vec<Diagnostic> {
    let mut problems = vec![];
    let spec = &cell.spec;
    // What is on the Hub is downloaded by the run.
    if spec.model.exact.is_none()
        && !spec.model.source.starts_with(hub::SCHEME)
        && let Err(error) = weights_path(&spec.model.source)
    {
        problems.push(Diagnostic::error(cell.locate("model.source"), error.to_string()).help(
            "weights are a diffusers folder, a file (safetensors, .ckpt, .pth, TorchScript), or \
             `hf:owner/name`, which is downloaded; the CIFAR-10 weights of the paper are \
             ema_diffusion_cifar10_model/model-790000.ckpt of pesser/pytorch_diffusion (md5 \
             1fa350b952534ae442b1d5235cce5cd3); embedded: models/cifar10-xs",
        ));
    }
    let compared = spec.metrics.as_ref().is_some_and(|metrics| metrics.features.is_some());
    if let (true, Some(exact)) = (compared, &spec.model.exact)
        && exact.shape.first() != Some(&3)
    {
        let message = format!("features are those of colour images, not of {:?}", exact.shape);
        let help = "`shape = [3, H, W]`, or no [metrics]";
        problems.push(Diagnostic::error(cell.locate("model.shape"), message).help(help));
    }
    problems.extend(spec.metrics.iter().flat_map(|metrics| missing_measures(cell, metrics)));
    problems
}

/// The features and the references that are not here, and what they cannot give.
fn missing_measures(cell: &Cell, metrics: &MetricsSpec) -> Vec<Diagnostic> {
    let mut problems = vec![];
    let mut report = |path: &str, message: String, help: &str| {
        problems.push(Diagnostic::error(cell.locate(path), message).help(help));
    };
    for (at, features, reference) in metrics.networks() {
        let (path, reference_path) =
            (format!("metrics.{at}features"), format!("metrics.{at}reference"));
        match features::locate(features) {
            Err(error) => report(
                &path,
                error.to_string(),
                "FID needs these weights; a folder like models/cifar10-features needs no download, \
                 and its distance is not called FID",
            ),
            Ok(file) if !file.exists() => report(
                &path,
                format!("{path} = \"{features}\" does not exist"),
                "features are computed by folders like models/cifar10-features, by `inception`, or \
                 by a file of weights",
            ),
            Ok(_) => {}
        }
        let Some(reference) = reference else { continue };
        if !Path::new(reference).exists() {
            report(
                &reference_path,
                format!("{reference_path} = \"{reference}\" does not exist"),
                &format!(
                    "`ddim stats --data SET --features {features} --out {reference}` writes it from \
                     a data set"
                ),
            );
        } else if metrics.asks_for(Measured::Kid) && is_published(Path::new(reference)) {
            report(
                "metrics.measures",
                format!(
                    "`kid` compares features, and {reference} holds a mean and a covariance alone"
                ),
                "a reference written by `ddim stats --out FILE.safetensors` keeps features",
            );
        }
    }
    problems
}

fn exact_model(spec: &ModelSpec) -> Result<Rc<dyn Denoiser<State = Array>>> {
    if let Some(gaussian) = gaussian(spec) {
        return Ok(Rc::new(gaussian));
    }
    Ok(match (spec.source.as_str(), &spec.exact) {
        ("mixture", Some(exact)) => {
            let weights = exact.weights.iter().copied().chain(std::iter::repeat(1.0));
            let components = exact.mean.iter().zip(&exact.std).zip(weights);
            Rc::new(Mixture::new(
                components
                    .map(|((&mean, &std), weight)| Component { weight, mean: vec![mean], std })
                    .collect(),
            )?)
        }
        (other, _) => {
            return Err(Error::input(format!("there is no exact-score model `{other}`")));
        }
    })
}

/// The exact-score model that is one Gaussian, if it is.
fn gaussian(spec: &ModelSpec) -> Option<Gaussian> {
    let exact = spec.exact.as_ref()?;
    let mean = exact.mean.first().copied().unwrap_or(0.0);
    match spec.source.as_str() {
        "gaussian" => Some(Gaussian { mean, std: exact.std.first().copied().unwrap_or(1.0) }),
        "dirac" => Some(Gaussian::dirac(mean)),
        _ => None,
    }
}

/// What the manifest says about a model's output, as adapters around it.
fn adapt<S: State + 'static>(
    raw: Rc<dyn Denoiser<State = S>>,
    spec: &ModelSpec,
) -> Rc<dyn Denoiser<State = S>> {
    let eps: Rc<dyn Denoiser<State = S>> = match spec.prediction {
        PredictionKind::Eps => raw,
        PredictionKind::V => Rc::new(FromV(raw)),
        PredictionKind::X0 => Rc::new(FromX0(raw)),
    };
    if spec.clip_x0 { Rc::new(ClipX0 { inner: eps, low: -1.0, high: 1.0 }) } else { eps }
}
