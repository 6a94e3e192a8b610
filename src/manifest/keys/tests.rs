//! The table says what the readers do.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table as Toml, Value};

use super::{Describes, Fallback, Key, TOP, all};
use crate::{
    core::Schedule,
    diagnostic::{Diagnostics, Place, Source},
    manifest::{Manifest, Vocabulary, overlay::Table, reader::Problems},
    plan::SolverSpec,
    run::{assemble, registry::Registry},
    train::recipe::{Recipe, read},
};

/// Experiments that together reach every section and every task.
const EXPERIMENTS: [&str; 9] = [
    r#"
name = "sample"
samples = 64
batch = 8
model = { source = "models/x", clip_x0 = true }
schedule = {}
grid = { tau = "karras" }
solver = { kind = "ddim" }
table = { rows = "solver.eta", columns = "grid.steps", value = "fd", fit = "S" }
[metrics]
measures = ["fd", "error"]
features = "models/f"
reference = "f.safetensors"
also.NAME = { features = "models/g", reference = "g.safetensors" }
[solution]
kind = "heun"
tau = "leading"
steps = 100
[sweep]
"grid.steps" = [10, 20]
"solver.eta" = [0.0, 1.0]
[[claim]]
text = "less noise is lowest"
check = "lowest"
row = "0.0"
columns = ["10"]
[[plot]]
name = "p"
x = "calls"
y = "fd"
series = "solver.eta"
[paper]
source = "a paper"
metric = "FID"
columns = ["10"]
rows = [{ label = "0.0", values = [1.0] }]
"#,
    r#"
name = "claims"
samples = 64
batch = 8
model = { source = "gaussian", shape = [3, 8, 8], mean = 0.0, std = 0.5 }
solver = { kind = "ddim" }
grid = { tau = "leading" }
table = { rows = "solver.eta", columns = "grid.steps", value = "error", fit = "S" }
metrics = { measures = ["error"] }
solution = { kind = "heun", tau = "karras", steps = 100 }
[sweep]
"grid.steps" = [10, 20]
"solver.eta" = [0.0, 1.0]
[[claim]]
text = "below"
check = "below"
row = "0.0"
columns = ["10"]
other = "1.0"
[[claim]]
text = "an order"
check = "order"
row = "0.0"
columns = ["10", "20"]
between = [0.9, 1.1]
"#,
    r#"
name = "arcs"
task = "interpolate"
samples = 64
batch = 8
model = { source = "models/x" }
schedule = { kind = "betas", betas = [0.1, 0.2, 0.3] }
grid = { tau = [2, 0] }
solver = { kind = "dormand-prince" }
metrics = { measures = ["path-length"] }
"#,
    r#"
name = "round-trips"
task = "reconstruct"
samples = 64
batch = 8
model = { source = "mixture", shape = [3, 8, 8], mean = [0.0, 1.0], std = 0.5 }
grid = { tau = "trailing", calls = 20 }
solver = { kind = "ddim", inversion = "fixed-point" }
metrics = { measures = ["mse"] }
images = { source = "cifar10" }
"#,
    r#"
name = "defaults"
samples = 64
batch = 8
model = { source = "models/x" }
grid = { tau = "leading", steps = 10 }
solver = { kind = "ddpm" }
metrics = { features = "models/f", reference = "f.safetensors" }
"#,
    r#"
name = "bits"
task = "bits"
samples = 64
batch = 8
model = { source = "mixture", shape = [3, 8, 8], mean = [0.0, 1.0], std = 0.5 }
grid = { tau = "trailing", steps = 20 }
solver = { kind = "heun" }
metrics = { measures = ["bits"] }
images = { source = "draws" }
likelihood = {}
"#,
    r#"
name = "bits-of-a-network"
task = "bits"
samples = 64
batch = 8
model = { source = "models/x" }
grid = { tau = "trailing", steps = 20 }
solver = { kind = "heun" }
metrics = { measures = ["bits"] }
images = { source = "fashion-mnist" }
likelihood = {}
"#,
    r#"
name = "objective"
task = "objective"
samples = 64
batch = 8
model = { source = "linear", shape = [3, 8, 8], mean = 0.0, std = 0.5 }
grid = { tau = "trailing", steps = 20 }
solver = { kind = "ddim", eta = 1.0 }
metrics = { measures = ["objective"] }
images = { source = "gaussian", mean = 0.1, std = 0.5 }
objective = {}
"#,
    r#"
name = "categories"
samples = 64
batch = 8
model = { source = "categorical", shape = [1, 2, 2], table = [4, 1, 1, 2] }
grid = { tau = "trailing", steps = 20 }
solver = { kind = "multinomial" }
metrics = { measures = ["total-variation"] }
"#,
];

/// Trainings of every kind.
const TRAININGS: [&str; 5] = [
    r#"
name = "denoiser"
task = "denoiser"
data = { source = "cifar10" }
network = { channels = [16, 32] }
schedule = {}
loss = {}
optimiser = {}
budget = { images = 4000 }
watch = { features = "models/f", reference = "f.safetensors" }
"#,
    r#"
name = "classifier"
task = "classifier"
data = { source = "cifar10" }
network = {}
optimiser = {}
budget = { minutes = 1.0 }
watch = {}
"#,
    r#"
name = "further"
task = "denoiser"
data = { source = "cifar10" }
network = { start = "models/x" }
schedule = { kind = "betas", betas = [0.1, 0.2, 0.3] }
budget = { minutes = 1.0 }
watch = { steps = 2 }
"#,
    r#"
name = "variance"
task = "denoiser"
data = { source = "cifar10" }
network = { channels = [16, 32] }
loss = { kind = "hybrid" }
budget = { images = 4000 }
"#,
    r#"
name = "bound"
task = "denoiser"
data = { source = "cifar10" }
network = { channels = [16, 32] }
loss = { kind = "vlb" }
budget = { images = 4000 }
"#,
];

fn vocabulary() -> Vocabulary {
    let words = assemble::vocabulary(&Registry::shipped());
    // No model of this machine: what is tested is the manifest alone.
    Vocabulary { weights: Some(BTreeMap::new()), stated: None, precision: None, ..words }
}

fn parse(text: &str) -> Manifest {
    Manifest::parse("m.toml", text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

fn manifests(of: Describes) -> &'static [&'static str] {
    match of {
        Describes::Experiment => &EXPERIMENTS,
        Describes::Training => &TRAININGS,
    }
}

/// Everything that a manifest means, or why it means nothing.
fn meaning(of: Describes, text: &str, vocabulary: &Vocabulary) -> Result<String, Diagnostics> {
    let manifest = parse(text);
    match of {
        Describes::Experiment => manifest.plan(None, &[], vocabulary).map(|plan| {
            let cells: Vec<_> = plan.cells.iter().map(|cell| (&cell.params, &cell.spec)).collect();
            format!(
                "{} {cells:?} {:?} {:?} {:?} {:?}",
                plan.name, plan.table, plan.paper, plan.claims, plan.plots
            )
        }),
        Describes::Training => Recipe::of(&manifest, None, &[]).map(|recipe| {
            let whole = Place::whole(&Source::file("m.toml", ""));
            let (text, tree) = (String::new(), Table::default());
            format!("{:?}", Recipe { text, tree, whole, ..recipe })
        }),
    }
}

fn path(key: &Key) -> String {
    match key.section {
        TOP => key.name.clone(),
        section => format!("{section}.{}", key.name),
    }
}

/// The sections that no reader asks: their keys are paths, or names that an author chooses.
fn is_free(key: &Key) -> bool {
    ["sweep", "profile"].contains(&key.section)
}

/// Does something to the tables that have this path's last key, or could; none if there is none.
fn edited(text: &str, path: &str, edit: &mut dyn FnMut(&mut Toml, &str) -> bool) -> Option<String> {
    fn descend(
        table: &mut Toml,
        path: &str,
        edit: &mut dyn FnMut(&mut Toml, &str) -> bool,
    ) -> bool {
        let Some((head, rest)) = path.split_once('.') else { return edit(table, path) };
        match table.get_mut(head) {
            Some(Value::Table(inner)) => descend(inner, rest, edit),
            Some(Value::Array(items)) => {
                let tables = items.iter_mut().filter_map(Value::as_table_mut);
                // Every one of them, not only the first.
                tables.filter_map(|inner| descend(inner, rest, edit).then_some(())).count() > 0
            }
            _ => false,
        }
    }
    let mut table: Toml = text.parse().unwrap();
    descend(&mut table, path, edit).then(|| toml::to_string(&table).unwrap())
}

/// The manifest with a key that it did not have.
fn with(text: &str, path: &str, literal: &str) -> Option<String> {
    let value = format!("x = {literal}").parse::<Toml>().unwrap()["x"].clone();
    edited(text, path, &mut |table, key| {
        let is_new = !table.contains_key(key);
        if is_new {
            table.insert(key.to_owned(), value.clone());
        }
        is_new
    })
}

/// The manifest without a key that it had.
fn without(text: &str, path: &str) -> Option<String> {
    edited(text, path, &mut |table, key| table.remove(key).is_some())
}

fn keys(of: Describes) -> impl Iterator<Item = Key> {
    all(&vocabulary()).into_iter().filter(move |key| key.manifest == of)
}

const BOTH: [Describes; 2] = [Describes::Experiment, Describes::Training];

#[test]
fn every_manifest_here_is_right() {
    for of in BOTH {
        for text in manifests(of) {
            meaning(of, text, &vocabulary()).unwrap_or_else(|problems| panic!("{problems}"));
        }
    }
}

#[test]
fn the_keys_are_those_that_the_readers_ask_for() {
    for of in BOTH {
        let mut asked = BTreeSet::new();
        for text in manifests(of) {
            let (manifest, mut problems) = (parse(text), Problems::default());
            match of {
                Describes::Experiment => {
                    manifest.read(&[], None, &vocabulary(), &mut problems);
                }
                Describes::Training => {
                    let whole = Place::whole(&manifest.source);
                    read::read(manifest.laid_over(&[]), &whole, &mut problems);
                }
            }
            asked.append(&mut problems.asked);
        }
        let mut listed = BTreeSet::new();
        for key in keys(of) {
            let path = path(&key);
            // The sections that a key stands in are asked for themselves.
            let sections = path.match_indices('.').map(|(at, _)| path[..at].to_owned());
            listed.extend(sections.filter(|_| !is_free(&key)));
            listed.extend(if is_free(&key) { [key.section.to_owned()] } else { [path.clone()] });
        }
        let lacking: Vec<_> = asked.difference(&listed).collect();
        let unasked: Vec<_> = listed.difference(&asked).collect();
        assert!(lacking.is_empty(), "{of:?}: `ddim manifest` lacks {lacking:?}");
        assert!(unasked.is_empty(), "{of:?}: no reader asks for {unasked:?}");
    }
}

#[test]
fn a_default_written_out_changes_nothing() {
    let vocabulary = vocabulary();
    for of in BOTH {
        for key in keys(of).filter(|key| !is_free(key)) {
            let path = path(&key);
            let (values, always) = match &key.default {
                Fallback::Is(value) | Fallback::Stated(value) => (vec![value], true),
                Fallback::Each(each) => (each.iter().map(|(value, _)| value).collect(), false),
                _ => continue,
            };
            for value in values {
                let mut found = 0;
                for text in manifests(of) {
                    let Some(written) = with(text, &path, value) else { continue };
                    // Where it belongs to something else, it is refused.
                    let Ok(after) = meaning(of, &written, &vocabulary) else { continue };
                    let same = after == meaning(of, text, &vocabulary).unwrap();
                    assert!(same || !always, "{path} is not {value} in {text}");
                    found += usize::from(same);
                }
                let is_option = ["solver", "solution"].contains(&key.section);
                assert!(found > 0 || is_option, "{path} = {value} was never a default");
            }
        }
    }
}

#[test]
fn the_options_of_every_method_have_their_defaults() {
    let vocabulary = vocabulary();
    for kind in &vocabulary.solvers {
        let base = EXPERIMENTS[if kind.categorical { 8 } else { 4 }];
        let quoted = format!("\"{}\"", kind.name);
        let text = with(&without(base, "solver.kind").unwrap(), "solver.kind", &quoted).unwrap();
        let plain = meaning(Describes::Experiment, &text, &vocabulary).unwrap();
        for key in kind.keys.iter().filter(|key| **key != "variance") {
            let row = keys(Describes::Experiment)
                .find(|row| row.section == "solver" && row.name == *key)
                .unwrap_or_else(|| panic!("{key} of {} is not there", kind.name));
            assert!(row.only_with.contains(&format!("`{}`", kind.name)), "{key}");
            let value = match row.default {
                Fallback::Is(value) => value,
                Fallback::Each(each) => {
                    each.into_iter().find(|(_, names)| names.contains(&kind.name)).unwrap().0
                }
                other => panic!("{key}: {other:?}"),
            };
            let written = with(&text, &format!("solver.{key}"), &value).unwrap();
            assert_eq!(meaning(Describes::Experiment, &written, &vocabulary).unwrap(), plain);
        }
    }
}

#[test]
fn a_wrong_word_is_answered_with_the_names_of_the_table() {
    let vocabulary = vocabulary();
    for of in BOTH {
        for key in keys(of).filter(|key| !key.values.names.is_empty()) {
            let path = path(&key);
            let wrong = if key.values.list { "[\"qqqqqqqqqq\"]" } else { "\"qqqqqqqqqq\"" };
            let expected = format!("known here: {}", key.values.names.join(", "));
            let answered = manifests(of).iter().any(|text| {
                let text = without(text, &path).unwrap_or_else(|| (*text).to_owned());
                let Some(written) = with(&text, &path, wrong) else { return false };
                let Err(problems) = meaning(of, &written, &vocabulary) else { return false };
                problems.to_string().lines().any(|line| {
                    let said = line.split(" (").next().unwrap_or(line);
                    said.ends_with(&expected)
                })
            });
            assert!(answered, "{path}: {expected}");
        }
    }
}

#[test]
fn what_is_required_is_missed_and_nothing_else() {
    let vocabulary = vocabulary();
    for of in BOTH {
        for key in keys(of).filter(|key| !is_free(key)) {
            let path = path(&key);
            let missing = format!("`{path}` is missing");
            let missed = manifests(of).iter().any(|text| {
                let Some(written) = without(text, &path) else { return false };
                let Err(problems) = meaning(of, &written, &vocabulary) else { return false };
                problems.to_string().contains(&missing)
            });
            let is_needed = matches!(key.default, Fallback::Needed(_));
            assert_eq!(missed, is_needed, "{path}");
        }
    }
}

#[test]
fn orders_are_those_that_the_methods_take() {
    let schedule = Schedule::linear(1e-4, 0.02, 1000).unwrap();
    let registry = Registry::shipped();
    let order = keys(Describes::Experiment).find(|key| path(key) == "solver.order").unwrap();
    for kind in registry.kinds().iter().filter(|kind| kind.keys.contains(&"order")) {
        let builds = |order: &u32| {
            let options = BTreeMap::from([("order".to_owned(), f64::from(*order))]);
            let spec = SolverSpec { options, ..SolverSpec::new(kind.name.clone()) };
            registry.build(&spec, &schedule, 10).is_ok()
        };
        let taken: Vec<u32> = (0..10).filter(builds).collect();
        let said = format!("{} {} to {}", kind.name, taken[0], taken[taken.len() - 1]);
        assert!(order.meaning.contains(&said), "{said}");
    }
}

#[test]
fn a_solver_of_ones_own_is_in_the_table_and_every_section_has_its_words() {
    let mut words = vocabulary();
    words.solvers.push(crate::manifest::Kind::new("mine", &[]).with_options(&[("gain", 0.5)]));
    let all = all(&words);
    let text = super::markdown(&all);
    let row = "| `gain` | a number | `0.5` | A number of the method's own. Only with `mine`. |";
    assert!(text.lines().any(|line| line == row));
    assert!(text.contains("`dormand-prince`, `mine` |"));
    // As `[sweep]` says it.
    assert_eq!(crate::limits::CELLS, 10_000);
    for key in &all {
        let about = super::section(key.manifest, key.section).1;
        let is_experiment = key.manifest == Describes::Experiment;
        assert!(!about.is_empty() || (key.section == TOP && is_experiment), "{}", key.section);
        assert!(key.meaning.ends_with('.') && key.row().matches('|').count() == 5, "{}", key.row());
    }
}
