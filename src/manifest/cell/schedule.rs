//! `[schedule]`.

use crate::{
    diagnostic::Diagnostic,
    manifest::{Kind, reader::Reader},
    plan::{Rule, ScheduleSpec, stated::Written},
};

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
pub(crate) fn read(
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
