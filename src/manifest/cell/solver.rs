//! `[solver]`.

use std::collections::BTreeMap;

use crate::{
    diagnostic::{Diagnostic, suggest},
    manifest::{Kind, Vocabulary, overlay::Value, reader::Reader},
    plan::{Inversion, SolverSpec, VARIANCES},
    solvers::Variance,
};

/// The method; `ranged` says whether the model's folder states that it predicts the range of a variance.
pub(super) fn read(r: &mut Reader<'_>, vocabulary: &Vocabulary, ranged: bool) -> SolverSpec {
    let kinds = &vocabulary.solvers;
    let variance = read_variance(r, vocabulary, ranged);
    let inversion = read_inversion(r);
    SolverSpec { variance, inversion, ..read_method(r, kinds) }
}

/// How much noise a step adds, for methods with that choice.
fn read_variance(r: &mut Reader<'_>, vocabulary: &Vocabulary, ranged: bool) -> Option<Variance> {
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
        (None, None) if ranged && kind.is_some_and(|kind| kind.learns) => Some(Variance::Learned),
        // What gave the method its name.
        (None, None) => kind
            .filter(|kind| kind.keys.contains(&"eta"))
            .map(|kind| Variance::Eta(kind.default_eta)),
    }
}

/// A method by its name, with its own numbers.
pub(super) fn read_method(r: &mut Reader<'_>, kinds: &[Kind]) -> SolverSpec {
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
