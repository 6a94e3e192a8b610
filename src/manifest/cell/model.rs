//! `[model]`.

use std::collections::BTreeMap;

use crate::{
    diagnostic::{Diagnostic, suggest},
    exact::{Categorical, VALUES},
    limits,
    manifest::{
        Kind, Vocabulary, known_names,
        reader::{OneOrMany, Reader},
    },
    networks::predicts::Predicts,
    plan::{
        ExactKind, ExactSpec, ModelSpec, WEIGHTS,
        stated::{Stated, Written},
    },
};

pub(super) fn read(
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
    let shared = r.own::<String>("shared", kind, models).and_then(|_| r.choice("shared", &WEIGHTS));
    let table: Option<Vec<f64>> = r.own("table", kind, models);
    for (key, help) in [
        ("shape", "the shape of one sample: `shape = [3, 8, 8]`"),
        ("table", "the weight of every value, the last variable fastest"),
    ] {
        if exact.is_some_and(|kind| kind.keys.contains(&key)) && r.entry(key).is_none() {
            r.missing(key, help);
        }
    }
    let exact = read_numbers(r, &source, kind, models).map(|numbers| {
        let shape = shape.clone().unwrap_or_default();
        let spec = ExactSpec { shape, shared, table: table.unwrap_or_default(), ..numbers };
        if spec.kind == ExactKind::Categorical {
            check_table(r, &spec);
        } else {
            check_shape(r, &spec.shape);
        }
        spec
    });
    let shape = shape.filter(|_| exact.is_none()).unwrap_or_default();
    if exact.is_none() && !shape.is_empty() {
        check_shape(r, &shape);
    }
    let source = if is_path { named.unwrap_or(source) } else { source };
    (ModelSpec { source, prediction, clip_x0, clip_range, raw, compiled, shape, exact }, stated)
}

/// The numbers of the distribution that `source` names, `kind` of these; none of any other source.
pub(super) fn read_numbers(
    r: &mut Reader<'_>,
    source: &str,
    kind: Option<&Kind>,
    kinds: &[Kind],
) -> Option<ExactSpec> {
    let mean: Option<OneOrMany> = r.own("mean", kind, kinds);
    let std: Option<OneOrMany> = r.own("std", kind, kinds);
    let weights: Option<Vec<f64>> = r.own("weights", kind, kinds);
    let exact = ExactKind::ALL.into_iter().find(|kind| kind.name() == source);
    let (kind, exact) = kinds.iter().find(|kind| kind.name == source).zip(exact)?;
    for key in ["mean", "std"] {
        if kind.keys.contains(&key) && r.entry(key).is_none() {
            r.missing(key, "a number, or one per component");
        }
    }
    let mean = mean.unwrap_or_default().0;
    let mut std = std.unwrap_or_default().0;
    if let [one] = std[..] {
        std = vec![one; mean.len().max(1)];
    }
    let weights = weights.unwrap_or_default();
    let spec =
        ExactSpec { kind: exact, shape: vec![], mean, std, weights, shared: None, table: vec![] };
    check_numbers(r, kind, &spec);
    Some(spec)
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
    let numbers = limits::product(shape);
    let fits = numbers.is_some_and(|numbers| numbers <= limits::NUMBERS);
    let rule = format!("of at most {} numbers", limits::grouped(limits::NUMBERS));
    r.ensure("shape", fits || !sized, &rule, "images of 3 x 8192 x 8192 have fewer");
}

fn check_table(r: &mut Reader<'_>, spec: &ExactSpec) {
    let values = match spec.shape[..] {
        [1, variables, categories] if variables > 0 && categories > 1 => {
            Categorical::values_of([variables, categories])
        }
        _ => {
            let help = "D variables with K categories each, one-hot: `shape = [1, 3, 4]`";
            r.ensure("shape", false, "`[1, D, K]` with at least two categories", help);
            return;
        }
    };
    let Some(values) = values.filter(|values| *values <= VALUES) else {
        let rule = format!("of at most {} values, K^D", limits::grouped(VALUES as u64));
        r.ensure("shape", false, &rule, "all values are summed over for every prediction");
        return;
    };
    for (index, number) in spec.table.iter().enumerate().filter(|(_, number)| **number < 0.0) {
        let message = format!("`{}` must be 0 or more, not `{number}`", r.path("table"));
        let help = "a weight of 0 is that of a value that never occurs";
        r.report(Diagnostic::error(r.item_place("table", index), message).help(help));
    }
    let written = spec.table.len();
    if r.sound("table") && written != values {
        let message = format!("{values} values, but `{}` has {written} weights", r.path("table"));
        let problem = Diagnostic::error(r.place("table"), message)
            .also(r.place("shape"), "K^D values")
            .help("one weight for each value, the last variable fastest");
        r.report(problem);
    }
    let total: f64 = spec.table.iter().sum();
    if !(total > 0.0 && total.is_finite()) && r.sound("table") {
        let message = format!("the weights of `{}` sum to {total}", r.path("table"));
        let help = "they need not sum to 1, but to a number above 0";
        r.report(Diagnostic::error(r.place("table"), message).help(help));
    }
}

fn check_numbers(r: &mut Reader<'_>, kind: &Kind, spec: &ExactSpec) {
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
