//! `[solution]`.

use crate::{
    diagnostic::Diagnostic,
    manifest::{
        Vocabulary,
        cell::{grid, solver},
        reader::Reader,
    },
    plan::{GridSpec, Measured, MetricsSpec, ReferenceSolution, Solves, Task},
};

/// Checks that there is a reference solution if something needs one, and none if nothing does.
pub(super) fn check(
    root: &mut Reader<'_>,
    metrics: Option<&MetricsSpec>,
    solution: Option<&ReferenceSolution>,
    grid: &GridSpec,
    task: &Task,
) {
    let encoded = matches!(task, Task::Reconstruct(images) if images.is_solution());
    let measured = metrics.and_then(MetricsSpec::measured_to_solution).map(Measured::name);
    let write = "add `[solution]` with the method that counts as exact, for instance \
                 `kind = \"dormand-prince\"`, `rtol = 1e-9`, `atol = 1e-9`";
    match solution {
        None if measured.is_some() || grid.window.is_some() => {
            let (section, why) = match measured {
                Some(name) => ("metrics", format!("`{name}` compares with a reference solution")),
                None => ("grid", "the reference solution carries x_T to the window".to_owned()),
            };
            let why = format!("{why}, but there is no `[solution]`");
            root.report(Diagnostic::error(root.place(section), why).help(write));
        }
        Some(_) if measured.is_none() && !encoded && grid.window.is_none() => {
            let message = "nothing uses the reference solution";
            let help =
                "add `error` or `feature-error` to `metrics.measures`, or remove `[solution]`";
            root.report(Diagnostic::error(root.place("solution"), message).help(help));
        }
        Some(ReferenceSolution { grid: Some(_), .. }) if grid.window.is_some() => {
            let message = "a reference solution with steps of its own cannot follow `grid.window`";
            let help = "remove `solution.steps` and let an adaptive method cross the window";
            root.report(Diagnostic::error(root.place("solution"), message).help(help));
        }
        // What lies between the two ends would count as the samples' error.
        Some(ReferenceSolution { grid: Some(own), .. }) if own.end != grid.end => {
            let message = "the reference solution ends at another level than the samples";
            let help = "give `solution.end` and `grid.end` the same value";
            root.report(Diagnostic::error(root.place("solution"), message).help(help));
        }
        _ => {}
    }
    if let (Some(images), Some([_, to])) = (task.images(), grid.window)
        && !images.is_solution()
    {
        let message = format!("images lie at the clean end, and this window ends at sigma = {to}");
        let help = "remove `grid.window`, or encode what the reference solution makes of noise: \
                    `images.source = \"solution\"`";
        root.report(Diagnostic::error(root.place("grid"), message).help(help));
    }
}

/// A method with its options, and the grid of one that does not choose its own steps.
pub(super) fn read(
    r: &mut Reader<'_>,
    horizon: usize,
    vocabulary: &Vocabulary,
) -> ReferenceSolution {
    let gridded = r.entry("steps").is_some() || r.entry("tau").is_some();
    let method = solver::read_method(r, &vocabulary.solutions);
    let exact = method.kind == Solves::EXACT;
    ReferenceSolution {
        method: if exact { Solves::Exact } else { Solves::Method(method) },
        grid: gridded.then(|| grid::read(r, horizon)),
    }
}
