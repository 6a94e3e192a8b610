//! What a categorical model asks of the rest of a cell, and what asks for one.

use crate::{
    core::End,
    diagnostic::{Diagnostic, Place},
    manifest::Vocabulary,
    networks::predicts::Predicts,
    plan::{CellSpec, Inversion, Task},
};

/// What does not go together with categories, or with the lack of them.
pub(super) fn problems(
    spec: &CellSpec,
    vocabulary: &Vocabulary,
    locate: &dyn Fn(&str) -> Place,
) -> Vec<Diagnostic> {
    let mut problems = vec![];
    let mut refuse = |path: &str, message: &str, help: &str| {
        problems.push(Diagnostic::error(locate(path), message).help(help));
    };
    let categorical = spec.model.is_categorical();
    let source = &spec.model.source;
    let drawing = vocabulary.solvers.iter().filter(|kind| kind.categorical);
    let drawing: Vec<&str> = drawing.map(|kind| kind.name.as_str()).collect();
    let name = spec.solver.kind.as_str();
    let is_known = vocabulary.solvers.iter().any(|kind| kind.name == name);
    if is_known && categorical != drawing.contains(&name) {
        if categorical {
            let message = format!("`{name}` takes steps in numbers, and `{source}` has categories");
            let help = format!("`{}` draws categories", drawing.join("`, `"));
            refuse("solver.kind", &message, &help);
        } else if !source.is_empty() {
            let message = format!("`{name}` draws categories, and `{source}` has none");
            let help = "take `source = \"categorical\"`, or another method";
            refuse("solver.kind", &message, help);
        }
    }
    let measures = spec.metrics.iter().flat_map(|metrics| &metrics.measures);
    if let Some(measure) =
        measures.copied().find(|measure| measure.is_of_categories() != categorical)
    {
        let measure = measure.name();
        if categorical {
            let message = format!("`{measure}` cannot be measured on categories");
            let help = "`total-variation`, `total-variation-sampled` and `marginal-variation` can";
            refuse("metrics.measures", &message, help);
        } else if !source.is_empty() {
            let message = format!("`{measure}` compares categories, and `{source}` has none");
            let help = "take `source = \"categorical\"`, or measure something else";
            refuse("metrics.measures", &message, help);
        }
    }
    if !categorical {
        return problems;
    }
    if spec.task != Task::Sample {
        let help = "its samples are no images: leave `task` out, they are drawn";
        refuse("task", "this task is not that of a categorical model", help);
    }
    if spec.model.clip_x0 {
        let help = "remove `clip_x0`: it is for the values of images";
        refuse("model.clip_x0", "probabilities are not clipped", help);
    }
    if spec.model.prediction != Predicts::Eps {
        let help = "remove `prediction`: it is for networks";
        refuse("model.prediction", "a categorical model predicts the probabilities of x0", help);
    }
    if spec.grid.window.is_some() {
        let help = "remove `window`: it is carried to by an ODE, which categories lack";
        refuse("grid.window", "categories have no sigma to go from", help);
    } else if spec.grid.end != End::Clean {
        let help = "remove `end`";
        refuse("grid.end", "samples of categories are compared with data, at the clean end", help);
    }
    if spec.solver.inversion != Inversion::Current {
        let help = "remove `inversion`";
        refuse("solver.inversion", "draws of categories have no way back", help);
    }
    problems
}
