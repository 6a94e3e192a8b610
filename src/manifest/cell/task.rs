//! `task` and the keys that only one of them has.

use crate::{
    data::Split,
    diagnostic::Diagnostic,
    likelihood::Probe,
    manifest::{reader::Reader, renamed::TRUTH},
    metrics::{self, measure::Measure},
    plan::{
        ArcSpec, BitsSpec, ImagesSpec, MetricsSpec, ModelSpec, ReferenceSolution, SolverSpec,
        TRACES, Task, TraceSpec,
    },
    solvers::Variance,
};

/// What a cell can do.
pub(crate) const TASKS: [(&str, usize); 4] =
    [("sample", 0), ("reconstruct", 1), ("interpolate", 2), ("bits", 3)];

/// Whether the points of an arc share their noise.
pub(crate) const NOISES: [(&str, bool); 2] = [("own", false), ("shared", true)];

/// Default number of points of an arc.
pub(crate) const POINTS: usize = 9;

/// Default number of probes of a trace.
pub(crate) const PROBES: u8 = 1;

/// Reads the task and the keys that only it has, of a cell with this model and method.
pub(super) fn read(root: &mut Reader<'_>, model: &ModelSpec, solver: &SolverSpec) -> Task {
    let chosen = root.choice("task", &TASKS).unwrap_or(0);
    for (key, owners) in
        [("images", &[1, 3][..]), ("points", &[2]), ("noise", &[2]), ("likelihood", &[3])]
    {
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
            Task::Reconstruct(read_images(root, help))
        }
        2 => {
            let points = root.get("points").unwrap_or(POINTS);
            let help = "the images along the arc, its two ends among them";
            root.ensure("points", points >= 3, "at least 3", help);
            let shared = root.choice("noise", &NOISES).unwrap_or(false);
            Task::Interpolate(ArcSpec { points, shared })
        }
        3 => {
            let help = "a data set's name or path, or `draws`: of an exact-score model, as bytes";
            let images = read_images(root, help);
            if images.is_solution() {
                let message = "the reference solution has no bytes to code";
                let help = "name a data set, or `draws` of an exact-score model";
                root.report(Diagnostic::error(root.place("images"), message).help(help));
            }
            if images.is_draws() && model.exact.is_none() {
                let message = "`images.source = \"draws\"` needs a model whose data can be drawn";
                let help = "name a data set, or take an exact-score model";
                root.report(Diagnostic::error(root.place("images"), message).help(help));
            }
            let trace = root.section("likelihood", |r| read_trace(r, model, solver));
            Task::Bits(BitsSpec { images, trace })
        }
        _ => Task::Sample,
    }
}

fn read_images(root: &mut Reader<'_>, help: &str) -> ImagesSpec {
    root.section("images", |r| {
        let splits = [Split::Train, Split::Test].map(|split| (split.name(), split));
        let split = r.choice("split", &splits);
        let mut source: String = r.need("source", help);
        if source == TRUTH {
            r.note_renamed();
            ImagesSpec::SOLUTION.clone_into(&mut source);
        }
        ImagesSpec { source, split, exclude: r.get("exclude") }
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

/// Checks that every measure belongs to the task, and that images of the reference solution have one;
/// `is_known` says whether the model's data has a density that is known.
pub(super) fn check(
    root: &mut Reader<'_>,
    task: &Task,
    metrics: Option<&MetricsSpec>,
    solution: Option<&ReferenceSolution>,
    is_known: bool,
) {
    let name = match task {
        Task::Sample => "sample",
        Task::Reconstruct(_) => "reconstruct",
        Task::Interpolate(_) => "interpolate",
        Task::Bits(_) => "bits",
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
    if let Task::Bits(BitsSpec { trace, .. }) = task {
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
