//! A cell's tree read as a [`CellSpec`], defaults filled in.

mod categorical;
mod grid;
mod metrics;
mod model;
mod schedule;
mod solution;
mod solver;
mod task;

use crate::{
    diagnostic::{Diagnostic, Place},
    limits,
    manifest::{
        Vocabulary,
        overlay::Table,
        reader::{Problems, Reader},
    },
    networks::placement::Precision,
    plan::{
        CellSpec, GridSpec, ModelSpec, StateKind,
        stated::{self, Stated, Written},
    },
};

pub(crate) use self::{
    grid::{ENDS, spacings},
    model::exact_models,
    schedule::{read as read_schedule, schedules},
    solver::{INVERSIONS, ITERATIONS},
    task::{NOISES, POINTS, PROBES, TASKS, distributions},
};

/// Top-level keys that are the same for every cell.
pub(crate) const SHARED: [&str; 7] =
    ["name", "sweep", "profile", "table", "paper", "claim", "plot"];

/// The arithmetic of a network.
pub(crate) const PRECISIONS: [(&str, Precision); 2] =
    [("f32", Precision::F32), ("bf16", Precision::Bf16)];

/// What a solver carries between model calls.
pub(crate) const STATES: [(&str, StateKind); 2] =
    [("f32", StateKind::F32), ("f64", StateKind::F64)];

/// A cell as it was read.
pub(crate) struct ReadCell {
    pub(crate) spec: CellSpec,
    pub(crate) stated: Option<Stated>,
    pub(crate) remarks: Vec<String>,
}

/// Reads everything that decides the cell's numbers, and reports keys that do not belong there.
pub(crate) fn read(
    tree: &Table,
    whole: &Place,
    vocabulary: &Vocabulary,
    problems: &mut Problems,
) -> ReadCell {
    let mut root = Reader::new(tree, whole.clone(), problems);
    let seed = root.get("seed").unwrap_or(0);
    let samples: usize = root.need("samples", "the number of samples per cell: `samples = 256`");
    root.ensure("samples", samples > 0, "at least 1", "how many samples should a cell draw?");
    let batch: usize = root.need(
        "batch",
        "samples per model call: `batch = 64` (the bytes of the results depend on it)",
    );
    root.ensure("batch", batch > 0, "at least 1", "samples per model call, for instance 64");
    let mut written = Written::default();
    let (model, stated) = root.section("model", |r| model::read(r, vocabulary, &mut written));
    check_size(&mut root, &model, samples, batch);
    let precision = read_precision(&mut root, &model, vocabulary);
    let state = read_state(&mut root, &model);
    let levels = stated.as_ref().map(|stated| &stated.schedule);
    let schedule = root.section("schedule", |r| read_schedule(r, levels, &mut written));
    let remarks = match &stated {
        Some(stated) => stated.remarks(&model, &schedule, &written),
        None if model.exact.is_some() || vocabulary.stated.is_none() => vec![],
        None => stated::unstated(&model, &schedule, &written).into_iter().collect(),
    };
    let grid = root.section("grid", |r| {
        let grid = grid::read(r, schedule.horizon);
        GridSpec { window: grid::read_window(r), ..grid }
    });
    let ranged = stated.as_ref().is_some_and(|stated| stated.learned_range);
    let solver = root.section("solver", |r| solver::read(r, vocabulary, ranged));
    let metrics = root.entry("metrics").map(|_| root.section("metrics", metrics::read));
    let solution = root
        .entry("solution")
        .map(|_| root.section("solution", |r| solution::read(r, schedule.horizon, vocabulary)));
    let task = task::read(&mut root, &model, &solver);
    task::check(&mut root, &task, metrics.as_ref(), solution.as_ref(), &model);
    solution::check(&mut root, metrics.as_ref(), solution.as_ref(), &grid, &task);
    if let Some(metrics) = &metrics
        && root.sound("samples")
        && samples < 2 * metrics.blocks
    {
        let blocks = metrics.blocks;
        let message = format!("{samples} samples are too few for {blocks} blocks");
        let help = format!(
            "an interval needs at least two samples in each block: `samples` of at least {}, or \
             fewer `metrics.blocks`",
            2 * blocks
        );
        root.report(Diagnostic::error(root.place("samples"), message).help(help));
    }
    let spec = CellSpec {
        seed,
        samples,
        batch,
        precision,
        state,
        model,
        schedule,
        grid,
        solver,
        metrics,
        solution,
        task,
    };
    let locate = |path: &str| tree.locate(path, whole);
    for problem in categorical::problems(&spec, vocabulary, &locate) {
        root.report(problem);
    }
    root.known(&SHARED);
    root.finish();
    ReadCell { spec, stated, remarks }
}

/// Checks the numbers of one model call and of all samples, where the shape is written.
fn check_size(r: &mut Reader<'_>, model: &ModelSpec, samples: usize, batch: usize) {
    let shape = model.exact.as_ref().map_or(&model.shape, |exact| &exact.shape);
    let Some(one) = limits::product(shape).filter(|one| *one <= limits::NUMBERS) else { return };
    let batch = batch.min(samples);
    for (key, images, most) in [
        ("batch", batch, limits::NUMBERS_OF_A_BATCH),
        ("samples", samples, limits::NUMBERS_OF_A_CELL),
    ] {
        let numbers = one.saturating_mul(images as u64);
        if numbers > most && r.sound(key) {
            let (numbers, most) = (limits::grouped(numbers), limits::grouped(most));
            let message = format!("{images} samples of shape {shape:?} are {numbers} numbers");
            let help = format!("at most {most} are accepted: take a smaller `{key}`");
            r.report(Diagnostic::error(r.place(key), message).help(help));
            return;
        }
    }
}

/// Exact-score models always use f64: `state = "f64"` is their default and gives the same key.
fn read_state(r: &mut Reader<'_>, model: &ModelSpec) -> StateKind {
    let state = r.choice("state", &STATES);
    if model.exact.is_none() {
        return state.unwrap_or_default();
    }
    r.ensure("state", state != Some(StateKind::F32), "f64", "exact-score models only use f64");
    StateKind::default()
}

/// A compiled package has a precision of its own, which is the default and the only choice.
fn read_precision(r: &mut Reader<'_>, model: &ModelSpec, vocabulary: &Vocabulary) -> Precision {
    let written = r.choice("precision", &PRECISIONS);
    let own = match vocabulary.precision {
        Some(precision_of) if model.exact.is_none() => precision_of(&model.source),
        _ => None,
    };
    if let (Some(own), Some(other)) = (own, written)
        && own != other
    {
        let (own, other) = (own.name(), other.name());
        let message = format!("{} was compiled for {own}, not {other}", model.source);
        let help = format!("leave `precision` out, or `ddim compile` it with --precision {other}");
        r.report(Diagnostic::error(r.place("precision"), message).help(help));
    }
    own.or(written).unwrap_or(Precision::F32)
}
