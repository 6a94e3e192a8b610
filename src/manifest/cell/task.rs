//! `task` and the keys that only one of them has.

use crate::{
    data::Split,
    diagnostic::Diagnostic,
    manifest::{reader::Reader, renamed::TRUTH},
    metrics,
    plan::{ArcSpec, ImagesSpec, MetricsSpec, ReferenceSolution, Task},
};

/// What a cell can do.
pub(crate) const TASKS: [(&str, usize); 3] =
    [("sample", 0), ("reconstruct", 1), ("interpolate", 2)];

/// Whether the points of an arc share their noise.
pub(crate) const NOISES: [(&str, bool); 2] = [("own", false), ("shared", true)];

/// Default number of points of an arc.
pub(crate) const POINTS: usize = 9;

/// Reads the task and the keys that only it has.
pub(super) fn read(root: &mut Reader<'_>) -> Task {
    let chosen = root.choice("task", &TASKS).unwrap_or(0);
    for (key, owner) in [("images", 1), ("points", 2), ("noise", 2)] {
        if root.entry(key).is_some() && chosen != owner {
            let message = format!("`{key}` does not apply to this task");
            let (task, _) = TASKS[owner];
            let help = format!("it belongs to `task = \"{task}\"`; remove it, or choose that");
            root.report(Diagnostic::error(root.place(key), message).help(help));
        }
    }
    match chosen {
        1 => Task::Reconstruct(root.section("images", |r| {
            let splits = [Split::Train, Split::Test].map(|split| (split.name(), split));
            let split = r.choice("split", &splits);
            let mut source: String = r.need(
                "source",
                "a data set's name or path, or `solution`: what the reference solution makes of the \
                 noise",
            );
            if source == TRUTH {
                r.note_renamed();
                ImagesSpec::SOLUTION.clone_into(&mut source);
            }
            ImagesSpec {
                source,
                split,
                exclude: r.get("exclude"),
            }
        })),
        2 => {
            let points = root.get("points").unwrap_or(POINTS);
            let help = "the images along the arc, its two ends among them";
            root.ensure("points", points >= 3, "at least 3", help);
            let shared = root.choice("noise", &NOISES).unwrap_or(false);
            Task::Interpolate(ArcSpec { points, shared })
        }
        _ => Task::Sample,
    }
}

/// Checks that every measure belongs to the task, and that images of the reference solution have one.
pub(super) fn check(
    root: &mut Reader<'_>,
    task: &Task,
    metrics: Option<&MetricsSpec>,
    solution: Option<&ReferenceSolution>,
) {
    let name = match task {
        Task::Sample => "sample",
        Task::Reconstruct(_) => "reconstruct",
        Task::Interpolate(_) => "interpolate",
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
