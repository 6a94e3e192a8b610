//! `task` and the keys that only one of them has.

use crate::{
    data::Split,
    diagnostic::Diagnostic,
    likelihood::{Probe, Weights},
    manifest::{Kind, cell::model, reader::Reader, renamed::TRUTH},
    metrics::{self, measure::Measure},
    networks::predicts::Predicts,
    plan::{
        ArcSpec, BitsSpec, ExactKind, ImagesSpec, MetricsSpec, ModelSpec, ObjectiveSpec,
        ReferenceSolution, SolverSpec, TRACES, Task, TraceSpec, WEIGHTS,
    },
    solvers::Variance,
};

/// What a cell can do.
pub(crate) const TASKS: [(&str, usize); 5] =
    [("sample", 0), ("reconstruct", 1), ("interpolate", 2), ("bits", 3), ("objective", 4)];

/// Whether the points of an arc share their noise.
pub(crate) const NOISES: [(&str, bool); 2] = [("own", false), ("shared", true)];

/// Default number of points of an arc.
pub(crate) const POINTS: usize = 9;

/// Default number of probes of a trace.
pub(crate) const PROBES: u8 = 1;

/// Reads the task and the keys that only it has, of a cell with this model and method.
pub(super) fn read(root: &mut Reader<'_>, model: &ModelSpec, solver: &SolverSpec) -> Task {
    let chosen = root.choice("task", &TASKS).unwrap_or(0);
    for (key, owners) in [
        ("images", &[1, 3, 4][..]),
        ("points", &[2]),
        ("noise", &[2]),
        ("likelihood", &[3]),
        ("objective", &[4]),
    ] {
        if root.entry(key).is_some() && !owners.contains(&chosen) {
            let message = format!("`{key}` does not apply to this task");
            let owners: Vec<String> =
                owners.iter().map(|&owner| format!("`task = \"{}\"`", TASKS[owner].0)).collect();
            let help = format!("it belongs to {}; remove it, or choose that", owners.join(" and "));
            root.report(Diagnostic::error(root.place(key), message).help(help));
        }
    }
    match chosen {
        1 => {
            let help = "a data set's name or path, or `solution`: what the reference solution makes of the \
                        noise";
            Task::Reconstruct(read_images(root, help, &[]))
        }
        2 => {
            let points = root.get("points").unwrap_or(POINTS);
            let help = "the images along the arc, its two ends among them";
            root.ensure("points", points >= 3, "at least 3", help);
            let shared = root.choice("noise", &NOISES).unwrap_or(false);
            Task::Interpolate(ArcSpec { points, shared })
        }
        3 => {
            let what = "the reference solution has no bytes to code";
            let images = read_drawn(root, model, what);
            let trace = root.section("likelihood", |r| read_trace(r, model, solver));
            Task::Bits(BitsSpec { images, trace })
        }
        4 => {
            let what = "the objective is of images, not of what a solution makes of noise";
            let images = read_drawn(root, model, what);
            root.section("objective", |r| {
                let weights = r.choice("weights", &WEIGHTS).unwrap_or(Weights::Exact);
                let term = r.get("term");
                let help =
                    "terms are counted from 1, the image's own, to S, that of the most noise";
                r.ensure("term", term != Some(0), "at least 1", help);
                Task::Objective(ObjectiveSpec { images, weights, term })
            })
        }
        _ => Task::Sample,
    }
}

/// The distributions that images can be drawn from, with the keys of each.
pub(crate) fn distributions() -> Vec<Kind> {
    let own = |kind: ExactKind| kind.keys().iter().copied().filter(|key| *key != "shape");
    ExactKind::DATA.map(|kind| Kind::new(kind.name(), &own(kind).collect::<Vec<_>>())).to_vec()
}

/// Images of a data set, or draws; `what` says why there are none of the reference solution.
fn read_drawn(root: &mut Reader<'_>, model: &ModelSpec, what: &str) -> ImagesSpec {
    let help = "a data set's name or path, a distribution (`gaussian`, with `mean` and `std`), or `draws`: \
                those of an exact-score model";
    let images = read_images(root, help, &distributions());
    if images.is_solution() {
        let help = "name a data set, or `draws` of an exact-score model";
        root.report(Diagnostic::error(root.place("images"), what).help(help));
    }
    if images.is_draws() && model.exact.is_none() {
        let message = "`images.source = \"draws\"` needs a model whose data can be drawn";
        let help = "name a data set, or take an exact-score model";
        root.report(Diagnostic::error(root.place("images"), message).help(help));
    }
    images
}

fn read_images(root: &mut Reader<'_>, help: &str, drawn: &[Kind]) -> ImagesSpec {
    root.section("images", |r| {
        r.chosen_by = "source";
        let splits = [Split::Train, Split::Test].map(|split| (split.name(), split));
        let split = r.choice("split", &splits);
        let mut source: String = r.need("source", help);
        if source == TRUTH {
            r.note_renamed();
            ImagesSpec::SOLUTION.clone_into(&mut source);
        }
        let exclude = r.get("exclude");
        if drawn.is_empty() && distributions().iter().any(|kind| kind.name == source) {
            let message = format!("this task draws no images, from a {source} or anything else");
            let help = "name a data set, or `solution`; `bits` and `objective` take draws";
            r.report(Diagnostic::error(r.place("source"), message).help(help));
        }
        let other = Kind::new(source.clone(), &[]);
        let kind = drawn.iter().find(|kind| kind.name == source).unwrap_or(&other);
        let exact = model::read_numbers(r, &source, Some(kind), drawn);
        for key in ["split", "exclude"] {
            if exact.is_some() && r.entry(key).is_some() {
                let message = format!("`{}` does not apply to draws", r.path(key));
                let problem = Diagnostic::error(r.place(key), message);
                r.report(problem.also(r.place("source"), "chosen here").help("remove it"));
            }
        }
        ImagesSpec { source, split, exclude, exact }
    })
}

/// How the divergence of the ODE is taken; a method that draws noise has a bound instead.
fn read_trace(r: &mut Reader<'_>, model: &ModelSpec, solver: &SolverSpec) -> Option<TraceSpec> {
    let chosen = r.choice("trace", &TRACES);
    let given: Option<u64> = r.get("probes");
    let number = given.map_or(Some(PROBES), |given| u8::try_from(given).ok().filter(|&k| k > 0));
    let help = "random directions for each image: more of them cost as many backward passes";
    r.ensure("probes", number.is_some(), "from 1 to 255", help);
    if bounds(solver) {
        for key in ["trace", "probes"] {
            if r.entry(key).is_some() {
                let message = format!("`{}` has no effect on a variational bound", r.path(key));
                let help = "it is of the ODE's likelihood: remove it, or take a method that draws no noise";
                r.report(Diagnostic::error(r.place(key), message).help(help));
            }
        }
        return None;
    }
    let default = if model.exact.is_some() { None } else { Some(Probe::Rademacher) };
    let kind = chosen.unwrap_or(default);
    if kind.is_none() && r.sound("probes") && r.entry("probes").is_some() {
        let message = format!("`{}` has no effect on an exact trace", r.path("probes"));
        let help = "remove it, or choose `trace = \"rademacher\"` or \"gaussian\"";
        r.report(Diagnostic::error(r.place("probes"), message).help(help));
    }
    if kind.is_none() && model.exact.is_none() {
        let message = "an exact trace needs an exact-score model";
        let help = "a network takes probes: `trace = \"rademacher\"`";
        r.report(Diagnostic::error(r.place("trace"), message).help(help));
    }
    Some(TraceSpec { kind, probes: number.unwrap_or(PROBES) })
}

/// Whether a method draws noise by a variance, and so has a variational bound.
fn bounds(solver: &SolverSpec) -> bool {
    solver.variance.is_some_and(Variance::draws_noise)
}

/// Checks that every measure belongs to the task and has what it compares with, and that images of the
/// reference solution have one.
pub(super) fn check(
    root: &mut Reader<'_>,
    task: &Task,
    metrics: Option<&MetricsSpec>,
    solution: Option<&ReferenceSolution>,
    model: &ModelSpec,
) {
    let name = match task {
        Task::Sample => "sample",
        Task::Reconstruct(_) => "reconstruct",
        Task::Interpolate(_) => "interpolate",
        Task::Bits(_) => "bits",
        Task::Objective(_) => "objective",
    };
    for measure in metrics.iter().flat_map(|metrics| &metrics.measures) {
        if measure.task() != name {
            let (measure, owner) = (measure.name(), measure.task());
            let message = format!("`{measure}` is measured where `task = \"{owner}\"`");
            let place = if root.sound("task") { root.place("task") } else { root.place("metrics") };
            let help = format!("this cell's task is \"{name}\": list measures of that");
            root.report(Diagnostic::error(place, message).help(help));
        }
    }
    if let Task::Objective(spec) = task {
        check_objective(root, spec, metrics, model);
    }
    if let Task::Bits(BitsSpec { trace, images }) = task {
        let data = images.exact.as_ref().or(model.exact.as_ref());
        let without_density = [ExactKind::Dirac, ExactKind::Categorical];
        let is_known = data.is_some_and(|data| !without_density.contains(&data.kind));
        let of_bound = [&metrics::BITS_PRIOR, &metrics::BITS_STEPS, &metrics::BITS_DECODER];
        let asked = |of: &[&'static Measure]| {
            of.iter().copied().find(|of| metrics.is_some_and(|metrics| metrics.asks_for(of)))
        };
        if let (Some(measure), Some(_)) = (asked(&of_bound), trace) {
            let message = format!("`{}` is a part of a variational bound", measure.name);
            let help = "the likelihood of an ODE has no such parts: measure `bits`, or take `ddpm`";
            root.report(Diagnostic::error(root.place("metrics"), message).help(help));
        }
        if asked(&[&metrics::BITS_GAP]).is_some() && !is_known {
            let message =
                "`bits-gap` compares with the distribution of the data, which is not known";
            let help = "measure `bits`, or take `gaussian` or `mixture`";
            root.report(Diagnostic::error(root.place("metrics"), message).help(help));
        }
    }
    let Task::Reconstruct(images) = task else { return };
    if images.is_solution() && solution.is_none() {
        let message = "`images.source = \"solution\"` needs a `[solution]`";
        let help = "add `[solution]`, for instance `kind = \"ddim\"`, `tau = \"official-uniform\"`, \
                    `steps = 1000`, or name a data set";
        root.report(Diagnostic::error(root.place("images"), message).help(help));
    }
    let known = images.is_solution() && solution.is_some_and(|solution| solution.grid.is_none());
    if metrics.is_some_and(|metrics| metrics.asks_for(&metrics::LATENT_ERROR)) && !known {
        let message = "`latent-error` needs images whose latent at the grid's first level is known";
        let help = "take `images.source = \"solution\"`, and a `[solution]` without `steps`";
        root.report(Diagnostic::error(root.place("metrics"), message).help(help));
    }
}

/// Checks that what an objective is compared with is known.
fn check_objective(
    root: &mut Reader<'_>,
    ObjectiveSpec { images, .. }: &ObjectiveSpec,
    metrics: Option<&MetricsSpec>,
    model: &ModelSpec,
) {
    let asked = |of: &[&'static Measure]| {
        of.iter().copied().find(|of| metrics.is_some_and(|metrics| metrics.asks_for(of)))
    };
    let data = images.distribution(model);
    if let (Some(measure), None) = (asked(&[&metrics::OBJECTIVE_EXCESS]), data) {
        let message = format!("`{}` needs images whose distribution is known", measure.name);
        let help = "draw them: `images.source = \"gaussian\"`, `mixture` or `draws`";
        root.report(Diagnostic::error(root.place("metrics"), message).help(help));
    }
    let is_linear =
        |kind| matches!(kind, ExactKind::Gaussian | ExactKind::Dirac | ExactKind::Linear);
    let is_gaussian = data.is_some_and(|data| is_linear(data.kind));
    let is_plain = model.prediction == Predicts::Eps && !model.clip_x0;
    let is_closed = is_plain && model.exact.as_ref().is_some_and(|model| is_linear(model.kind));
    if let Some(measure) = asked(&[&metrics::OBJECTIVE_OFF, &metrics::OBJECTIVE_LOSS_OFF])
        && !(is_gaussian && is_closed)
    {
        let message = format!("`{}` needs a closed form, which is not known here", measure.name);
        let help = "take `gaussian` or `linear` as model, not clipped, and images of a `gaussian`";
        root.report(Diagnostic::error(root.place("metrics"), message).help(help));
    }
}
