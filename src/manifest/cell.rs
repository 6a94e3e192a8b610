//! A cell's tree read as a [`CellSpec`], defaults filled in.

use std::collections::BTreeMap;

use crate::metrics;
use crate::{
    core::{End, FAMILIES, Family, Tau},
    data::Split,
    diagnostic::{Diagnostic, Place, suggest},
    manifest::{
        Kind, Vocabulary, known_names,
        overlay::{Table, Value},
        reader::{OneOrMany, Problems, Reader},
        renamed::TRUTH,
    },
    networks::{placement::Precision, predicts::Predicts},
    plan::{
        AlsoSpec, CellSpec, ExactKind, ExactSpec, GridSpec, ImagesSpec, Inversion, Measured,
        MetricsSpec, ModelSpec, ReferenceSolution, Rule, ScheduleSpec, SolverSpec, Solves,
        StateKind, Steps, Task, VARIANCES,
        measures::column_name,
        stated::{self, Stated, Written},
    },
    solvers::Variance,
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

/// What a cell can do.
pub(crate) const TASKS: [(&str, usize); 3] =
    [("sample", 0), ("reconstruct", 1), ("interpolate", 2)];

/// Where the last step can go.
pub(crate) const ENDS: [(&str, End); 2] = [("clean", End::Clean), ("first-level", End::FirstLevel)];

/// Default number of points of an arc.
pub(crate) const POINTS: usize = 9;

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
    let (model, stated) = root.section("model", |r| read_model(r, vocabulary, &mut written));
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
        let grid = read_grid(r, schedule.horizon);
        GridSpec { window: read_window(r), ..grid }
    });
    let solver = root.section("solver", |r| read_solver(r, vocabulary));
    let metrics = root.entry("metrics").map(|_| root.section("metrics", read_metrics));
    let solution = root
        .entry("solution")
        .map(|_| root.section("solution", |r| read_solution(r, schedule.horizon, vocabulary)));
    let task = read_task(&mut root);
    check_task(&mut root, &task, metrics.as_ref(), solution.as_ref());
    check_solution(&mut root, metrics.as_ref(), solution.as_ref(), &grid, &task);
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
    root.known(&SHARED);
    root.finish();
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
    ReadCell { spec, stated, remarks }
}

/// Reads the task and the keys that only it has.
fn read_task(root: &mut Reader<'_>) -> Task {
    let chosen = root.choice("task", &TASKS).unwrap_or(0);
    for (key, owner) in [("images", 1), ("points", 2)] {
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
            Task::Interpolate(points)
        }
        _ => Task::Sample,
    }
}

/// Checks that every measure belongs to the task, and that images of the reference solution have one.
fn check_task(
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

/// Checks that there is a reference solution if something needs one, and none if nothing does.
fn check_solution(
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
    if let (Task::Reconstruct(images), Some([_, to])) = (task, grid.window)
        && !images.is_solution()
    {
        let message = format!("images lie at the clean end, and this window ends at sigma = {to}");
        let help = "remove `grid.window`, or encode what the reference solution makes of noise: \
                    `images.source = \"solution\"`";
        root.report(Diagnostic::error(root.place("grid"), message).help(help));
    }
}

/// A method with its options, and the grid of one that does not choose its own steps.
fn read_solution(r: &mut Reader<'_>, horizon: usize, vocabulary: &Vocabulary) -> ReferenceSolution {
    let gridded = r.entry("steps").is_some() || r.entry("tau").is_some();
    let method = read_method(r, &vocabulary.solutions);
    let exact = method.kind == Solves::EXACT;
    ReferenceSolution {
        method: if exact { Solves::Exact } else { Solves::Method(method) },
        grid: gridded.then(|| read_grid(r, horizon)),
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

fn read_model(
    r: &mut Reader<'_>,
    vocabulary: &Vocabulary,
    written: &mut Written,
) -> (ModelSpec, Option<Stated>) {
    let models = &exact_models();
    r.chosen_by = "source";
    let source: String = r.need(
        "source",
        "a folder or file of weights, `hf:owner/name`, or the name of an exact-score model",
    );
    let clip_x0: Option<bool> = r.get("clip_x0");
    let clip_range: Option<f64> = r.get("clip_range");
    r.ensure("clip_range", clip_range.is_none_or(|bound| bound > 0.0), "positive", "images: 1");
    let predictions = Predicts::ALL.map(|predicts| (predicts.name(), predicts));
    let prediction = r.choice("prediction", &predictions);
    let keys = [
        ("model.prediction", prediction.is_some()),
        ("model.clip_x0", clip_x0.is_some()),
        ("model.clip_range", clip_range.is_some()),
    ];
    written.extend(keys.iter().filter(|(_, written)| *written).map(|(key, _)| *key));
    let weights = Kind::new("weights from a file", &["shape", "raw", "scheduler", "compiled"]);
    let exact = models.iter().find(|kind| kind.name == source);
    let named = match &vocabulary.weights {
        Some(weights) if !source.contains(['/', '\\', '.', ':']) => weights.get(&source).cloned(),
        _ => Some(source.clone()),
    };
    let is_path = exact.is_none() && named.is_some();
    if exact.is_none() && named.is_none() && r.sound("source") {
        let message =
            format!("there is no model called `{source}`, here or among the project's own");
        let weights = vocabulary.weights.iter().flat_map(BTreeMap::keys).map(String::as_str);
        let help = format!(
            "{} (weights elsewhere are named by a path: `../{source}`)",
            suggest(&source, known_names(models).chain(weights))
        );
        r.report(Diagnostic::error(r.place("source"), message).help(help));
    }
    check_repository(r, &source);
    // A misspelled source says nothing about which of the other keys belong to it.
    let kind = exact.or(is_path.then_some(&weights));
    let shape: Option<Vec<usize>> = r.own("shape", kind, models);
    let raw = r.own("raw", kind, models).unwrap_or(false);
    let compiled = r.own("compiled", kind, models).unwrap_or(false);
    let reads_scheduler = r.own("scheduler", kind, models).unwrap_or(true);
    let stated = match vocabulary.stated {
        Some(stated_by) if reads_scheduler && exact.is_none() && is_path => {
            stated_by(named.as_deref().unwrap_or(&source)).unwrap_or_else(|problem| {
                let help = "`model.scheduler = false` leaves that file unread: say \
                            `model.prediction` and `[schedule]` then";
                r.report(Diagnostic::error(r.place("source"), problem).help(help));
                None
            })
        }
        _ => None,
    };
    let default = stated.as_ref().map_or(Predicts::Eps, |stated| stated.prediction);
    let prediction = prediction.unwrap_or(default);
    let bound = stated.as_ref().and_then(|stated| stated.clip);
    let clip_x0 = clip_x0.unwrap_or(bound.is_some());
    if !clip_x0 && clip_range.is_some() {
        let problem = Diagnostic::error(r.place("clip_range"), "nothing is clipped");
        r.report(problem.help("add `clip_x0 = true`, or remove `clip_range`"));
    }
    let clip_range = if clip_x0 { clip_range.or(bound).unwrap_or(1.0) } else { 1.0 };
    let mean: Option<OneOrMany> = r.own("mean", kind, models);
    let std: Option<OneOrMany> = r.own("std", kind, models);
    let component_weights: Option<Vec<f64>> = r.own("weights", kind, models);
    let exact_kind = ExactKind::ALL.into_iter().find(|kind| kind.name() == source);
    let exact = exact.zip(exact_kind).map(|(kind, exact)| {
        for (key, help) in [
            ("shape", "the shape of one sample: `shape = [3, 8, 8]`"),
            ("mean", "a number, or one per component"),
            ("std", "a number, or one per component"),
        ] {
            if kind.keys.contains(&key) && r.entry(key).is_none() {
                r.missing(key, help);
            }
        }
        let mean = mean.unwrap_or_default().0;
        let mut std = std.unwrap_or_default().0;
        if let [one] = std[..] {
            std = vec![one; mean.len().max(1)];
        }
        let spec = ExactSpec {
            kind: exact,
            shape: shape.clone().unwrap_or_default(),
            mean,
            std,
            weights: component_weights.unwrap_or_default(),
        };
        check_exact(r, kind, &spec);
        spec
    });
    let shape = shape.filter(|_| exact.is_none()).unwrap_or_default();
    if exact.is_none() && !shape.is_empty() {
        check_shape(r, &shape);
    }
    let source = if is_path { named.unwrap_or(source) } else { source };
    (ModelSpec { source, prediction, clip_x0, clip_range, raw, compiled, shape, exact }, stated)
}

/// Checks that what begins like a name of the Hub is one.
fn check_repository(r: &mut Reader<'_>, source: &str) {
    if let Some(repository) = source.strip_prefix("hf:")
        && repository.split(['/', '@']).take(2).filter(|part| !part.is_empty()).count() < 2
    {
        let message = format!("`{source}` does not name a repository");
        let help = "write `hf:owner/name`, `hf:owner/name/folder` or `hf:owner/name@revision`";
        r.report(Diagnostic::error(r.place("source"), message).help(help));
    }
}

/// The exact-score models by their names.
pub(crate) fn exact_models() -> Vec<Kind> {
    ExactKind::ALL.map(|kind| Kind::new(kind.name(), kind.keys())).to_vec()
}

fn check_shape(r: &mut Reader<'_>, shape: &[usize]) {
    let sized = shape.len() == 3 && shape.iter().all(|&length| length > 0);
    let help = "samples are images of C channels, H x W: `shape = [3, 8, 8]`";
    r.ensure("shape", sized, "three positive lengths", help);
}

fn check_exact(r: &mut Reader<'_>, kind: &Kind, spec: &ExactSpec) {
    check_shape(r, &spec.shape);
    for (key, numbers) in [("std", &spec.std), ("weights", &spec.weights)] {
        for (index, number) in numbers.iter().enumerate().filter(|(_, number)| **number <= 0.0) {
            let message = format!("`{}` must be positive, not `{number}`", r.path(key));
            let help = "a component has some spread and some weight, or is left out";
            r.report(Diagnostic::error(r.item_place(key, index), message).help(help));
        }
    }
    let components = spec.mean.len();
    if kind.keys.contains(&"weights") {
        r.ensure("mean", components > 0, "one number per component", "name at least one");
    } else {
        let help = format!("`{}` has a single component", kind.name);
        r.ensure("mean", components == 1, "a single number", &help);
    }
    for (key, length) in [("std", spec.std.len()), ("weights", spec.weights.len())] {
        if length > 0 && components > 0 && length != components {
            let message = format!("{components} means, but {length} in `{}`", r.path(key));
            let problem = Diagnostic::error(r.place(key), message)
                .also(r.place("mean"), "the means")
                .help("give one number per component");
            r.report(problem);
        }
    }
}

/// The rules for betas by their names.
pub(crate) fn schedules() -> Vec<Kind> {
    let keys = |rule: Rule| match rule {
        Rule::Listed => &["betas"][..],
        rule if rule.has_ends() => &["beta_start", "beta_end"],
        _ => &[],
    };
    Rule::ALL.map(|rule| Kind::new(rule.name(), keys(rule))).to_vec()
}

/// Reads `[schedule]`; what a model's folder states is the default.
pub(crate) fn read_schedule(
    r: &mut Reader<'_>,
    stated: Option<&ScheduleSpec>,
    written: &mut Written,
) -> ScheduleSpec {
    let kinds = &schedules();
    let default = stated.map_or(Rule::Linear, |stated| stated.kind);
    let kind = r.kind("kind", "schedule", Some(default.name()), kinds);
    let rule = kind.and_then(|kind| Rule::ALL.into_iter().find(|rule| rule.name() == kind.name));
    // Betas belong to their rule, rounded or not: another rule has its own default betas.
    let same = |stated: &&ScheduleSpec| {
        rule.is_some_and(|rule| rule.unrounded() == stated.kind.unrounded())
    };
    let of_rule = stated.filter(same);
    let mut beta = |key, stated: Option<f64>, default| {
        let value = r.own::<f64>(key, kind, kinds);
        let default = stated.unwrap_or(default);
        let value = value.or_else(|| kind?.keys.contains(&key).then_some(default));
        let inside = value.is_none_or(|beta| beta > 0.0 && beta < 1.0);
        r.ensure(key, inside, "between 0 and 1", "a beta is the variance one training step adds");
        value
    };
    let beta_start = beta("beta_start", of_rule.and_then(|s| s.beta_start), 1e-4);
    let beta_end = beta("beta_end", of_rule.and_then(|s| s.beta_end), 0.02);
    if let (Some(start), Some(end)) = (beta_start, beta_end)
        && start > end
    {
        let message = format!("the betas fall from {start} to {end}");
        let place = if r.sound("beta_start") { r.place("beta_start") } else { r.place("beta_end") };
        let help = "`beta_start` must not exceed `beta_end` (defaults: 1e-4 and 0.02)";
        r.report(Diagnostic::error(place, message).help(help));
    }
    let betas: Option<Vec<f64>> = r.own("betas", kind, kinds);
    let betas = betas.or_else(|| Some(of_rule?.betas.clone())).unwrap_or_default();
    let horizon: Option<usize> = r.get("horizon");
    let listed = kind.is_some_and(|kind| kind.keys.contains(&"betas"));
    let most = if listed { betas.len() } else { stated.map_or(1000, |s| s.horizon) };
    let horizon = horizon.unwrap_or(most);
    if listed && betas.is_empty() {
        r.missing("betas", "the T betas themselves, from label 0 on");
    } else if listed && betas.len() != horizon {
        let message = format!("T = {horizon}, but `schedule.betas` lists {}", betas.len());
        let help = "leave out `horizon`: the list says it";
        r.report(Diagnostic::error(r.place("horizon"), message).help(help));
    }
    r.ensure("horizon", horizon > 0, "at least 1", "the number of training levels T, often 1000");
    let zero_terminal_snr: Option<bool> = r.get("zero_terminal_snr");
    for (path, key) in [
        ("schedule.kind", "kind"),
        ("schedule.beta_start", "beta_start"),
        ("schedule.beta_end", "beta_end"),
        ("schedule.betas", "betas"),
        ("schedule.horizon", "horizon"),
        ("schedule.zero_terminal_snr", "zero_terminal_snr"),
    ] {
        if r.entry(key).is_some() {
            written.insert(path);
        }
    }
    ScheduleSpec {
        kind: rule.unwrap_or(default),
        beta_start,
        beta_end,
        betas: if listed { betas } else { vec![] },
        horizon,
        zero_terminal_snr: zero_terminal_snr
            .unwrap_or_else(|| stated.is_some_and(|stated| stated.zero_terminal_snr)),
    }
}

/// The spacings by their names.
pub(crate) fn spacings() -> Vec<Kind> {
    let kind = |family: &Family| {
        let keys: Vec<&str> = family.option.iter().map(|(key, _)| *key).collect();
        Kind::new(family.name, &keys)
    };
    FAMILIES.into_iter().map(kind).collect()
}

/// The grid of a cell, or of a reference solution, which has no window.
fn read_grid(r: &mut Reader<'_>, horizon: usize) -> GridSpec {
    let kinds = &spacings();
    let chosen_by = std::mem::replace(&mut r.chosen_by, "tau");
    let list = Kind::new("an explicit list", &[]);
    let is_list = r.entry("tau").is_some_and(|entry| matches!(entry.node.value, Value::Array(_)));
    let labels: Option<Vec<f64>> = if is_list { r.get("tau") } else { None };
    let kind = if is_list { Some(&list) } else { r.kind("tau", "rule for tau", None, kinds) };
    let rho = r.own::<f64>("rho", kind, kinds);
    r.ensure("rho", rho.is_none_or(|rho| rho > 0.0), "positive", "Karras et al. 2022 use 7");
    let calls: Option<u64> = r.get("calls");
    let steps = if is_list || calls.is_some() {
        r.get("steps")
    } else {
        Some(r.need("steps", "the number of steps S: `steps = 50`"))
    };
    r.ensure("calls", calls != Some(0), "at least 1", "every solver asks the model at least once");
    if let (Some(_), true) = (calls, steps.is_some() || is_list) {
        let key = if steps.is_some() { "steps" } else { "tau" };
        let message = "`grid.calls` and `grid.steps` are both given";
        let problem = Diagnostic::error(r.place("calls"), message)
            .also(r.place(key), "given here")
            .help("remove one of them");
        r.report(problem);
    }
    r.ensure("steps", steps != Some(0), "at least 1", "S = 0 would return the noise");
    if let Some(labels) = &labels {
        check_labels(r, labels, horizon);
        if let Some(steps) = steps
            && r.sound("steps")
            && steps != labels.len()
        {
            let message = format!("{steps} steps, but `grid.tau` lists {} timesteps", labels.len());
            let problem = Diagnostic::error(r.place("steps"), message)
                .also(r.place("tau"), "the labels")
                .help("leave out `grid.steps`: the list says how many there are");
            r.report(problem);
        }
    }
    let steps = steps.unwrap_or_else(|| labels.as_ref().map_or(0, Vec::len));
    let steps = calls.map_or(Steps::Number(steps), Steps::Calls);
    let named = || match (kind.and_then(|kind| Tau::named(&kind.name)), rho) {
        (Some(Tau::Of(family, _)), Some(rho)) => Tau::Of(family, rho),
        (tau, _) => tau.unwrap_or(Tau::OFFICIAL_UNIFORM),
    };
    let end = r.choice("end", &ENDS).unwrap_or(End::Clean);
    r.chosen_by = chosen_by;
    GridSpec { tau: labels.map_or_else(named, Tau::Explicit), steps, end, window: None }
}

fn read_window(r: &mut Reader<'_>) -> Option<[f64; 2]> {
    let ends: Vec<f64> = r.get("window")?;
    let falls = matches!(ends[..], [from, to] if from > to && to > 0.0);
    let help = "from the noisier sigma to the other: `window = [10.0, 1.0]`";
    r.ensure("window", falls, "two falling positive numbers", help);
    if r.entry("end").is_some() {
        let problem = Diagnostic::error(r.place("end"), "a window ends at its second sigma");
        r.report(problem.also(r.place("window"), "the window").help("remove `end`"));
    }
    <[f64; 2]>::try_from(ends).ok()
}

fn check_labels(r: &mut Reader<'_>, labels: &[f64], horizon: usize) {
    if labels.is_empty() && r.sound("tau") {
        let help = "timesteps from the noisiest down: `tau = [999, 500, 0]`";
        let problem = Diagnostic::error(r.place("tau"), "`grid.tau` lists no timesteps");
        r.report(problem.help(help));
    }
    let last = horizon.saturating_sub(1) as f64;
    for (index, &label) in labels.iter().enumerate() {
        let place = r.item_place("tau", index);
        if label < 0.0 || label > last {
            let message = format!("the timestep {label} does not lie between 0 and {last}");
            let help =
                "timesteps count from 0; the clean end is not listed but chosen by `grid.end`";
            r.report(Diagnostic::error(place.clone(), message).help(help));
        }
        if index > 0 && label >= labels[index - 1] {
            let message =
                format!("the timestep {label} does not lie below {}, before it", labels[index - 1]);
            let help = "list timesteps from the noisiest down, each once: `tau = [999, 500, 0]`";
            r.report(Diagnostic::error(place, message).help(help));
        }
    }
}

fn read_solver(r: &mut Reader<'_>, vocabulary: &Vocabulary) -> SolverSpec {
    let kinds = &vocabulary.solvers;
    let variance = read_variance(r, vocabulary);
    let inversion = read_inversion(r);
    SolverSpec { variance, inversion, ..read_method(r, kinds) }
}

/// How much noise a step adds, for methods with that choice.
fn read_variance(r: &mut Reader<'_>, vocabulary: &Vocabulary) -> Option<Variance> {
    let kinds = &vocabulary.solvers;
    // An unknown name is reported with the method.
    let name = r.entry("kind").and_then(|entry| match &entry.node.value {
        Value::String(name) => Some(name),
        _ => None,
    });
    let kind = kinds.iter().find(|kind| Some(&kind.name) == name);
    let eta = r.own::<f64>("eta", kind, kinds);
    let help = "0 is deterministic DDIM, 1 has DDPM's posterior variance";
    r.ensure("eta", eta.is_none_or(|eta| eta >= 0.0), "0 or more", help);
    let name = r.own::<String>("variance", kind, kinds);
    let known = |name: &str| VARIANCES.iter().find(|(known, _)| *known == name);
    let variance = name.as_deref().map(|name| known(name).map(|(_, variance)| *variance));
    if let (Some(name), Some(None)) = (&name, variance) {
        let message = format!("there is no variance called `{name}`");
        let known = VARIANCES.iter().map(|(name, _)| *name);
        let help = format!("{} (or give a number: `eta`)", suggest(name, known));
        r.report(Diagnostic::error(r.place("variance"), message).help(help));
    }
    match (eta, variance) {
        (Some(_), Some(_)) => {
            let message = "`solver.eta` and `solver.variance` are both given";
            let problem = Diagnostic::error(r.place("variance"), message)
                .also(r.place("eta"), "`eta` is given here")
                .note(
                    "the official sigma-hat sampler (`--sample_type ddpm_noisy`) silently ignores \
                     `--eta`; here the noise of a step is one choice",
                )
                .help("remove one of them");
            r.report(problem);
            None
        }
        (Some(eta), None) => Some(Variance::Eta(eta)),
        (None, Some(variance)) => variance,
        // What gave the method its name.
        (None, None) => kind
            .filter(|kind| kind.keys.contains(&"eta"))
            .map(|kind| Variance::Eta(kind.default_eta)),
    }
}

/// A method by its name, with its own numbers.
fn read_method(r: &mut Reader<'_>, kinds: &[Kind]) -> SolverSpec {
    let kind = r.kind("kind", "solver", None, kinds);
    let mut all: Vec<&str> = kinds.iter().flat_map(|kind| &kind.options).map(|o| o.0).collect();
    all.sort_unstable();
    all.dedup();
    let mut options: BTreeMap<String, f64> = kind
        .iter()
        .flat_map(|kind| &kind.options)
        .map(|&(key, default)| (key.to_owned(), default))
        .collect();
    for key in all {
        if let Some(value) = r.own::<f64>(key, kind, kinds) {
            options.insert(key.to_owned(), value);
        }
    }
    let mut switches: Vec<&str> = kinds.iter().flat_map(|kind| &kind.switches).copied().collect();
    switches.sort_unstable();
    switches.dedup();
    for key in switches {
        if r.own::<bool>(key, kind, kinds) == Some(true) {
            options.insert(key.to_owned(), 1.0);
        }
    }
    let kind = kind.map(|kind| kind.name.clone()).unwrap_or_default();
    SolverSpec { kind, variance: None, options, inversion: Inversion::Current }
}

/// Default number of iterations of the fixed-point convention: at S = 50, enough for f32.
pub(crate) const ITERATIONS: usize = 5;

/// The conventions of inversion.
pub(crate) const INVERSIONS: [(&str, Inversion); 3] = [
    ("current", Inversion::Current),
    ("next", Inversion::Next),
    ("fixed-point", Inversion::FixedPoint(ITERATIONS)),
];

fn read_inversion(r: &mut Reader<'_>) -> Inversion {
    let inversion = r.choice("inversion", &INVERSIONS);
    let iterations: Option<usize> = r.get("iterations");
    r.ensure("iterations", iterations != Some(0), "at least 1", "one alone is \"next\"");
    match (inversion.unwrap_or_default(), iterations) {
        (Inversion::FixedPoint(default), given) => Inversion::FixedPoint(given.unwrap_or(default)),
        (other, None) => other,
        (other, Some(_)) => {
            let message = "`solver.iterations` does not apply to this convention of inversion";
            let mut problem = Diagnostic::error(r.place("iterations"), message)
                .help("it belongs to `inversion = \"fixed-point\"`; remove it, or choose that");
            if r.sound("inversion") {
                problem = problem.also(r.place("inversion"), "chosen here");
            }
            r.report(problem);
            other
        }
    }
}

fn read_metrics(r: &mut Reader<'_>) -> MetricsSpec {
    let measures = read_measures(r);
    // An empty list was reported already, and says nothing about the rest.
    let any = |of: fn(Measured) -> bool| measures.is_empty() || measures.iter().copied().any(of);
    let mut needed = |key, is_needed, help| {
        if is_needed {
            return Some(r.need(key, help));
        }
        let given: Option<String> = r.get(key);
        if given.is_some() {
            let message = format!("`metrics.{key}` is used by no measure");
            let help = "remove it, or measure `fd` or `kid`";
            r.report(Diagnostic::error(r.place(key), message).help(help));
        }
        None
    };
    let (featured, compared) = (any(Measured::needs_features), any(Measured::needs_reference));
    let features = needed("features", featured, "the folder or file of the feature network");
    let reference = needed("reference", compared, "the file with the features of the data set");
    let also = read_also(r, &measures, compared, features.as_deref());
    let blocks = r.get("blocks").unwrap_or(crate::metrics::DEFAULT_BLOCKS);
    r.ensure(
        "blocks",
        blocks >= 2,
        "at least 2",
        "the interval comes from leaving out one at a time",
    );
    let quantise = r.get("quantise").unwrap_or(true);
    MetricsSpec { features, reference, blocks, quantise, measures, also }
}

/// Further networks for the measures that compare distributions.
fn read_also(
    r: &mut Reader<'_>,
    measures: &[Measured],
    compared: bool,
    features: Option<&str>,
) -> BTreeMap<String, AlsoSpec> {
    let read = r.named("also", |r| {
        let features: String = r.need("features", "the folder or file of the feature network");
        let help = "the file with its features of the data set, by `ddim stats`";
        AlsoSpec { features, reference: compared.then(|| r.need("reference", help)) }
    });
    if read.is_empty() {
        return BTreeMap::new();
    }
    let mut refuse = |message: String, help: &str| {
        r.report(Diagnostic::error(r.place("also"), message).help(help));
    };
    if !measures.is_empty() && !measures.iter().any(|measure| measure.is_of_features()) {
        let message = "`metrics.also` is used by no measure".to_owned();
        refuse(message, "remove it, or measure `fd`, `kid` or `is`");
    }
    let column = |features: &str| column_name(metrics::FD.name, Some(features));
    let mut columns: Vec<String> = features.into_iter().map(column).collect();
    for (name, also) in &read {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !name.chars().all(fits) {
            let message = format!("`{name}` cannot be the name of a network in `metrics.also`");
            refuse(message, "its metrics are called `fd.NAME`: use letters, digits, `-` and `_`");
        }
        let column = column(&also.features);
        if columns.contains(&column) && !also.features.is_empty() {
            let message = format!("two networks of `[metrics]` have the column `{column}`");
            refuse(message, "columns are named after folders and files: rename one of the two");
        }
        columns.push(column);
    }
    read.into_iter().collect()
}

/// The measures in a fixed order: the order in which they are written makes no other cell.
fn read_measures(r: &mut Reader<'_>) -> Vec<Measured> {
    let Some(names) = r.get::<Vec<String>>("measures") else { return Measured::DEFAULT.into() };
    if names.is_empty() {
        let problem = Diagnostic::error(r.place("measures"), "`metrics.measures` is empty");
        r.report(problem.help("name what is to be measured: `measures = [\"fd\", \"kid\"]`"));
    }
    for (index, name) in names.iter().enumerate() {
        let place = r.item_place("measures", index);
        if Measured::named(name).is_none() {
            let message = format!("there is no measure called `{name}`");
            let help = suggest(name, Measured::all().map(Measured::name));
            r.report(Diagnostic::error(place, message).help(help));
        } else if names[..index].contains(name) {
            let problem = Diagnostic::error(place, format!("`{name}` is listed twice"));
            r.report(problem.help("name each measure once"));
        }
    }
    Measured::all().filter(|measure| names.iter().any(|name| name == measure.name())).collect()
}
