//! What a cell visits and costs, and why it cannot run, found without its model.

use crate::metrics;
use crate::run::assemble::{any_solution::AnySolution, solver::grid_and_solver};
use crate::{
    core::{self, Grid, count_nfe},
    diagnostic::Diagnostic,
    error::{Error, Result},
    likelihood::{NonMarkovian, VariationalBound, Weights},
    networks::{predicts::Predicts, torchscript::ScriptError},
    plan::{BitsSpec, Cell, CellSpec, Inversion, MetricsSpec, ObjectiveSpec, Task, TraceSpec},
    run::registry::Registry,
    solvers::Variance,
};

/// A cell's grid and cost.
#[derive(Clone, Debug)]
pub struct Route {
    /// The levels.
    pub grid: Grid,
    /// Model calls per sample.
    pub calls: u64,
    /// Backward passes of the network with each of them: one for each direction along which the trace of
    /// an ODE's likelihood is estimated, otherwise none.
    pub backward: u64,
    /// The solver's order of convergence; absent for one that draws noise.
    pub order: Option<u32>,
    /// A key of the reference solution, equal for cells that share it, and its calls per sample.
    pub solution: Option<(String, u64)>,
}

impl Route {
    /// The way of a cell's images to their latents: the grid reversed.
    ///
    /// # Errors
    /// As [`Route::new`], and a method that does not run backwards or not by this convention.
    pub fn inverse(spec: &CellSpec, registry: &Registry) -> Result<Self> {
        let (grid, solver) = grid_and_solver(spec, registry)?;
        let solver = Registry::inverse(&spec.solver, solver)?;
        let grid = grid.reversed();
        let calls = count_nfe(&*solver, &grid)?;
        Ok(Self { grid, calls, backward: 0, order: solver.order(), solution: None })
    }

    /// The route of a cell.
    ///
    /// # Errors
    /// As [`GridSpec::build`](crate::plan::GridSpec::build), and a grid the solver does not admit.
    pub fn new(spec: &CellSpec, registry: &Registry) -> Result<Self> {
        let (grid, solver) = grid_and_solver(spec, registry)?;
        let calls = count_nfe(&*solver, &grid)?;
        let of_eps = spec.model.exact.is_none() && spec.model.prediction == Predicts::Eps;
        if of_eps && grid.first().is_pure_noise() {
            return Err(core::Error::NoX0.into());
        }
        let calls = match spec.task {
            Task::Sample | Task::Bits(BitsSpec { trace: None, .. }) => calls,
            Task::Reconstruct(_) => calls + Self::inverse(spec, registry)?.calls,
            Task::Interpolate(arc) => calls * arc.points as u64,
            Task::Bits(_) => count_nfe(&*solver, &grid.clone().reversed())?,
            Task::Objective(ObjectiveSpec { term: Some(_), .. }) => 1,
            Task::Objective(_) => grid.steps().count() as u64,
        };
        let solution = AnySolution::of(spec, registry, &grid)?;
        let solution = solution.map(|solution| solution.cost()).transpose()?;
        Ok(Self { grid, calls, backward: backward(spec), order: solver.order(), solution })
    }

    /// The route of a planned cell, its problem reported where the manifest wrote the cause.
    ///
    /// # Errors
    /// As [`Route::new`].
    pub fn of(cell: &Cell, registry: &Registry) -> std::result::Result<Self, Box<Diagnostic>> {
        let measured = cell.spec.metrics.as_ref();
        let compared = measured.and_then(MetricsSpec::measured_to_solution);
        let route = Self::new(&cell.spec, registry);
        if let (Ok(Self { order: None, .. }), Some(measure)) = (&route, compared) {
            let kind = &cell.spec.solver.kind;
            let message = format!("`{kind}` draws noise, so there is no solution to compare with");
            let instead = match cell.spec.model.exact {
                Some(_) => metrics::SLICED_WASSERSTEIN.name,
                None => metrics::FD.name,
            };
            let help = format!(
                "`{}` is for deterministic methods; compare distributions instead (`{instead}`)",
                measure.name()
            );
            return Err(Box::new(
                Diagnostic::error(cell.locate("solver.kind"), message).help(help),
            ));
        }
        if let (Ok(Self { order: None, .. }), Some(measure)) = (&route, measured.and_then(bent)) {
            let kind = &cell.spec.solver.kind;
            let message = format!("`{kind}` draws noise, and `{measure}` is of smooth paths");
            let help = "take a method without noise, or measure something else";
            return Err(Box::new(
                Diagnostic::error(cell.locate("metrics.measures"), message).help(help),
            ));
        }
        let problem = costless(cell, &route).or_else(|| aimless(cell, &route));
        if let Some(problem) = problem.or_else(|| unfitted(cell, &route)) {
            return Err(Box::new(problem));
        }
        if let Some(problem) = undrawable(cell) {
            return Err(Box::new(problem));
        }
        route.map_err(|error| {
            let known = match &error {
                Error::Core(core::Error::Setting { problem, .. }) => {
                    return Box::new(refused_option(cell, problem, &error, registry));
                }
                Error::Core(error) => remedy(error),
                _ => None,
            };
            let (path, help) = known.unwrap_or_else(|| match &error {
                Error::Core(core::Error::Schedule(_)) => ("schedule.kind", "see [schedule]"),
                Error::Solution(_) => (
                    "solution.kind",
                    "the reference solution solves the probability-flow ODE from the same noise",
                ),
                _ if cell.spec.grid.window.is_some() => {
                    ("grid.window", "tau and window together decide which levels are visited")
                }
                Error::Core(core::Error::Timestep { .. }) => {
                    ("grid.tau", "timesteps are the network's, counted from 0")
                }
                _ => ("grid.steps", "S and tau together decide which levels are visited"),
            });
            Box::new(Diagnostic::error(cell.locate(path), error.to_string()).help(help))
        })
    }
}

/// Backward passes with each model call; the Jacobian of an exact-score model has a formula.
fn backward(spec: &CellSpec) -> u64 {
    match spec.task {
        Task::Bits(BitsSpec { trace: Some(TraceSpec { kind: Some(_), probes }), .. })
            if spec.model.exact.is_none() =>
        {
            u64::from(probes)
        }
        _ => 0,
    }
}

/// The key that an error of the numerical core is about, and what to do, in the words of manifests;
/// none where the cell decides or the error says it.
pub fn remedy(error: &core::Error) -> Option<(&'static str, &'static str)> {
    use core::Error as E;
    Some(match error {
        E::TauLength { .. } => ("grid.steps", "leave `steps` out or make them agree"),
        E::EtaTooLarge { .. } => {
            ("solver.eta", "the variance of a step cannot exceed 1 - alpha_bar at its end")
        }
        E::EtaNegative { .. } => ("solver.eta", "0 is DDIM, 1 is DDPM"),
        E::StochasticReversed { .. } => {
            ("solver.kind", "only solvers that draw no noise can, for instance ddim with `eta = 0`")
        }
        E::NotOneCall { .. } => (
            "solver.inversion",
            "use `inversion = \"current\"`, or a solver of one call: ddim with `eta = 0`, euler or \
             euler-sigma2",
        ),
        E::CleanStart { .. } => ("grid.end", "start at the first level: `end = \"first-level\"`"),
        E::LearnedVariance { .. } => ("solver.variance", "use `kind = \"ddpm\"`, or `eta`"),
        E::NoRange => ("solver.variance", "use `eta` or `variance = \"sigma-hat\"`"),
        E::NoX0 => {
            ("model.prediction", "use a model of v or x0, or a `tau` without the last timestep")
        }
        E::InfiniteSigma { .. } => {
            ("solver.kind", "use ddim or ddpm, or a `tau` without the last timestep")
        }
        E::Model(error) => match error.downcast_ref()? {
            ScriptError::Timestep { .. } => (
                "grid.tau",
                "take a grid of integers (`--tau leading` or `official-uniform`), and a method that \
                 asks at its levels alone",
            ),
            _ => return None,
        },
        E::OutOfMemory(_) => ("batch", "take a smaller batch"),
        _ => return None,
    })
}

/// The largest alpha_bar at which samples may start from pure noise: a tenth of an image's amplitude.
///
/// Twice what any schedule in wide use leaves at its last timestep: Stable Diffusion's, 0.0047, which limits
/// how bright and how dark samples get (Lin et al., *Common Diffusion Noise Schedules and Sample Steps
/// are Flawed*, WACV 2024); linear betas up to 0.02 leave 4e-5.
const NEAR_NOISE: f64 = 0.01;

/// A warning if sampling starts from pure noise at a level where real data would still be visible.
///
/// # Errors
/// As [`Route::new`].
pub fn warning(spec: &CellSpec, registry: &Registry) -> Result<Option<String>> {
    if spec.task.images().is_some_and(|images| !images.is_solution()) {
        return Ok(None);
    }
    let schedule = spec.schedule.build()?;
    let top = schedule.level((schedule.horizon() - 1) as f64)?;
    let (start, remedy) = if top.alpha_bar > NEAR_NOISE {
        (top, "the schedule ends too early: raise `schedule.horizon` or `schedule.beta_end`")
    } else if spec.grid.window.is_some() {
        return Ok(None); // x_T is carried there from the top
    } else {
        let (grid, _) = grid_and_solver(spec, registry)?;
        (grid.first(), "choose a `grid.tau` that starts at a higher timestep, or more steps")
    };
    Ok((start.alpha_bar > NEAR_NOISE).then(|| {
        format!(
            "samples start from pure noise at t = {}, where alpha_bar = {:.3} leaves {:.2} of the \
             image's amplitude: {remedy}",
            start.t,
            start.alpha_bar,
            start.signal()
        )
    }))
}

/// The name of a measure of a path's curvature, if one is asked for.
fn bent(metrics: &MetricsSpec) -> Option<&'static str> {
    let all = [&metrics::CURVATURE, &metrics::CURVATURE_SIGMA2];
    all.into_iter().find(|measure| metrics.asks_for(measure)).map(|measure| measure.name)
}

/// Why images have no cost in bits, of a cell that asks for it.
fn costless(cell: &Cell, route: &Result<Route>) -> Option<Diagnostic> {
    let Task::Bits(BitsSpec { trace, .. }) = &cell.spec.task else { return None };
    let solver = &cell.spec.solver;
    let Ok(Route { grid, .. }) = route else { return None };
    if trace.is_none() {
        if solver.kind != BOUNDED {
            let message =
                format!("`{}` with this noise has no bound: only `{BOUNDED}` has one", solver.kind);
            let help = "take `ddpm`, or a method that draws no noise, which has a likelihood";
            return Some(Diagnostic::error(cell.locate("solver.kind"), message).help(help));
        }
        let error = VariationalBound::admits(grid, Registry::variance(solver)).err()?;
        let help = "the bound is on byte images, by way of all steps";
        return Some(Diagnostic::error(cell.locate("grid"), error.to_string()).help(help));
    }
    if cell.spec.model.clip_x0 {
        let message = "a clipped x0 bends the flow, whose likelihood is then unknown";
        let help = "`clip_x0 = false` (--clip-x0=false)";
        return Some(Diagnostic::error(cell.locate("model.clip_x0"), message).help(help));
    }
    (solver.inversion != Inversion::Current).then(|| {
        let message = "the likelihood of the ODE has no convention of inversion";
        let help = "remove `solver.inversion`";
        Diagnostic::error(cell.locate("solver.inversion"), message).help(help)
    })
}

/// Why a cell has no variational objective, if it asks for one.
fn aimless(cell: &Cell, route: &Result<Route>) -> Option<Diagnostic> {
    let Task::Objective(ObjectiveSpec { term, .. }) = &cell.spec.task else { return None };
    let solver = &cell.spec.solver;
    let Ok(Route { grid, .. }) = route else { return None };
    if !CHAINED.contains(&solver.kind.as_str()) {
        let message = format!("`{}` is no chain of Eq. (7) and (10)", solver.kind);
        let help = "J_sigma is that of `ddim` or `ddpm`, with an eta above 0";
        return Some(Diagnostic::error(cell.locate("solver.kind"), message).help(help));
    }
    if let Some(problem) = unchained(cell, grid) {
        return Some(problem);
    }
    let steps = grid.steps().count();
    term.filter(|&term| term > steps).map(|term| {
        let message = format!("`objective.term` is {term}, and this grid has {steps} steps");
        let help = "terms are counted from 1, the image's own, to S, that of the most noise";
        Diagnostic::error(cell.locate("objective.term"), message).help(help)
    })
}

/// Why the weights that a linear model is fitted to do not exist, if it needs them.
fn unfitted(cell: &Cell, route: &Result<Route>) -> Option<Diagnostic> {
    let weights = cell.spec.model.exact.as_ref()?.shared.filter(|of| *of != Weights::One)?;
    let Ok(Route { grid, .. }) = route else { return None };
    let mut problem = unchained(cell, grid)?;
    problem =
        problem.also(cell.locate("model.shared"), format!("{weights:?} weights are of J_sigma"));
    Some(problem)
}

/// Why a grid and a variance have no J_sigma, shown at the cause.
fn unchained(cell: &Cell, grid: &core::Grid) -> Option<Diagnostic> {
    let variance = Registry::variance(&cell.spec.solver);
    let error = NonMarkovian::admits(grid, variance).err()?;
    let (path, help) = match variance {
        Variance::Eta(eta) if eta > 0.0 => ("grid", "J_sigma is on images, by way of all steps"),
        Variance::Eta(_) => {
            ("solver.eta", "for instance `eta = 1`, the variance of DDPM's posterior")
        }
        _ => ("solver.variance", "for instance `eta = 1`, the variance of DDPM's posterior"),
    };
    Some(Diagnostic::error(cell.locate(path), error.to_string()).help(help))
}

/// The methods whose steps are those of Eq. (10).
const CHAINED: [&str; 2] = ["ddim", "ddpm"];

/// The method with a variational bound.
const BOUNDED: &str = "ddpm";

/// Why samples cannot be compared with draws of the data, if a measure does that.
fn undrawable(cell: &Cell) -> Option<Diagnostic> {
    let measures = &cell.spec.metrics.as_ref()?.measures;
    let name = measures.iter().find(|measure| measure.needs_draws())?.name();
    if cell.spec.model.exact.is_none() {
        let message = format!("`{name}` compares samples with exact draws of the model's own data");
        let help = "only exact-score models have those: measure `fd` or `kid`, or take \
                    `gaussian`, `mixture` or `dirac`";
        let place = cell.locate("metrics.measures");
        return Some(Diagnostic::error(place, message).help(help));
    }
    cell.spec.grid.window.map(|_| {
        let message = format!("`{name}` compares with data, and a window ends at a noisy level");
        let help = "measure `error` there, or remove `window`";
        Diagnostic::error(cell.locate("grid.window"), message).help(help)
    })
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
