//! `[grid]`.

use std::path::Path;

use crate::{
    core::{End, FAMILIES, Family, Tau},
    diagnostic::Diagnostic,
    manifest::{Kind, overlay::Value, reader::Reader},
    plan::{GridSpec, Steps, tau_file::TauFile},
};

/// The ending of a file of timesteps.
pub(crate) const TAU_FILE: &str = ".toml";

/// Where the last step can go.
pub(crate) const ENDS: [(&str, End); 2] = [("clean", End::Clean), ("first-level", End::FirstLevel)];

/// The spacings by their names.
pub(crate) fn spacings() -> Vec<Kind> {
    let kind = |family: &Family| {
        let keys: Vec<&str> = family.option.iter().map(|(key, _)| *key).collect();
        Kind::new(family.name, &keys)
    };
    FAMILIES.into_iter().map(kind).collect()
}

/// The grid of a cell, or of a reference solution, which has no window.
pub(super) fn read(r: &mut Reader<'_>, horizon: usize) -> GridSpec {
    let kinds = &spacings();
    let chosen_by = std::mem::replace(&mut r.chosen_by, "tau");
    let list = Kind::new("an explicit list", &[]);
    let is_list = r.entry("tau").is_some_and(|entry| matches!(entry.node.value, Value::Array(_)));
    let labels: Option<Vec<f64>> = if is_list { r.get("tau") } else { None };
    let file = r.entry("tau").and_then(|entry| match &entry.node.value {
        Value::String(name) if name.ends_with(TAU_FILE) => Some(name.clone()),
        _ => None,
    });
    let is_listed = is_list || file.is_some();
    let kind = if is_listed { Some(&list) } else { r.kind("tau", "rule for tau", None, kinds) };
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
    let chosen = file.and_then(|name| read_file(r, &name, steps, calls.is_some()));
    let (labels, chosen_for) = match chosen {
        Some((labels, file)) => (Some(labels), Some(file.chosen_for)),
        None => (labels, None),
    };
    if let Some(labels) = &labels {
        check_labels(r, labels, horizon);
        if let Some(steps) = steps
            && is_list
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
    let tau = labels.map_or_else(named, Tau::Explicit);
    GridSpec { tau, steps, end, window: None, chosen_for }
}

/// The timesteps of S in a file of `ddim tau`.
fn read_file(
    r: &mut Reader<'_>,
    name: &str,
    steps: Option<usize>,
    by_calls: bool,
) -> Option<(Vec<f64>, TauFile)> {
    let mut refuse = |key: &str, message: String, help: &str| {
        r.report(Diagnostic::error(r.place(key), message).help(help));
        None
    };
    let help = "`ddim tau 5,10,20 --model MODEL --out FILE.toml` writes such a file";
    let file = match TauFile::read(Path::new(name)) {
        Ok(file) => file,
        Err(problem) => return refuse("tau", format!("{name} {problem}"), help),
    };
    if by_calls {
        let message = format!("{name} has timesteps for some S, and none for a number of calls");
        return refuse("calls", message, "give `steps`: DDIM makes one call a step");
    }
    match file.timesteps(steps?) {
        Ok(timesteps) => Some((timesteps.to_vec(), file)),
        Err(problem) => refuse(
            "steps",
            format!("{name} {problem}"),
            "choose one of these, or have `ddim tau` choose timesteps for this S too",
        ),
    }
}

pub(super) fn read_window(r: &mut Reader<'_>) -> Option<[f64; 2]> {
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
