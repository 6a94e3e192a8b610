//! What a model's folder states about its network, and where a manifest differs.
//!
//! The folder gives the defaults of `[model]` and `[schedule]`. A key in the manifest wins, and every
//! difference and every assumption is remarked on in one line.

use std::collections::BTreeSet;

use crate::networks::predicts::Predicts;
use crate::plan::{cell::ModelSpec, grid::ScheduleSpec};

/// What the scheduler's file of a model says.
#[derive(Clone, Debug, PartialEq)]
pub struct Stated {
    /// The file.
    pub file: String,
    /// All of it in one line, including what is left to the manifest's grid.
    pub summary: String,
    /// What the network predicts.
    pub prediction: Predicts,
    /// The bound of the predicted x0, if it is clipped.
    pub clip: Option<f64>,
    /// Whether the network predicts the range of its variance.
    pub learned_range: bool,
    /// The levels it was trained for.
    pub schedule: ScheduleSpec,
    /// Unknown fields.
    pub unknown: Vec<String>,
}

/// What a vocabulary asks about a model: nothing if it is not on this machine or states nothing, or what
/// is wrong with its file.
pub type StatedBy = fn(&str) -> Result<Option<Stated>, String>;

/// The dotted paths of those written keys that a folder may state too.
pub(crate) type Written = BTreeSet<&'static str>;

impl Stated {
    /// One line for each written key that contradicts the file, and for each unknown field.
    pub(crate) fn remarks(
        &self,
        model: &ModelSpec,
        schedule: &ScheduleSpec,
        written: &Written,
    ) -> Vec<String> {
        let there = &self.schedule;
        let number = |n: Option<f64>| n.map_or("none".to_owned(), |n| n.to_string());
        let listed = |betas: &[f64]| format!("{betas:?}");
        let clips = |on: bool| if on { "true" } else { "false" }.to_owned();
        let name = |kind: Predicts| kind.name().to_owned();
        let rule = |schedule: &ScheduleSpec| schedule.kind.unrounded().name().to_owned();
        let keys = [
            ("model.prediction", name(model.prediction), name(self.prediction)),
            ("model.clip_x0", clips(model.clip_x0), clips(self.clip.is_some())),
            (
                "model.clip_range",
                number(Some(model.clip_range)),
                number(self.clip.or(Some(model.clip_range))),
            ),
            ("schedule.kind", rule(schedule), rule(there)),
            ("schedule.beta_start", number(schedule.beta_start), number(there.beta_start)),
            ("schedule.beta_end", number(schedule.beta_end), number(there.beta_end)),
            ("schedule.betas", listed(&schedule.betas), listed(&there.betas)),
            ("schedule.horizon", schedule.horizon.to_string(), there.horizon.to_string()),
            (
                "schedule.zero_terminal_snr",
                clips(schedule.zero_terminal_snr),
                clips(there.zero_terminal_snr),
            ),
        ];
        let contradictions = keys
            .into_iter()
            .filter(|(key, here, there)| written.contains(key) && here != there)
            .map(|(key, here, there)| {
                format!("{key} = {here} is used, although {} says {there}", self.file)
            });
        let unknown = self
            .unknown
            .iter()
            .map(|field| format!("{} has an unknown field `{field}`, which is ignored", self.file));
        contradictions.chain(unknown).collect()
    }

    /// What was read, for `-v`.
    pub(crate) fn detail(&self) -> String {
        format!("{}: {}", self.file, self.summary)
    }
}

/// What is assumed of a network without a scheduler's file, unless the manifest says it.
pub(crate) fn unstated(
    model: &ModelSpec,
    schedule: &ScheduleSpec,
    written: &Written,
) -> Option<String> {
    let prediction = (!written.contains("model.prediction")).then(|| {
        let name = model.prediction.name();
        (format!("it predicts {name}"), "`model.prediction`")
    });
    let levels = (!written.contains("schedule.kind")).then(|| {
        let (start, end) = (schedule.beta_start, schedule.beta_end);
        let betas = match (start, end) {
            (Some(start), Some(end)) => format!("betas {start} to {end}, "),
            _ => String::new(),
        };
        let (kind, horizon) = (schedule.kind.name(), schedule.horizon);
        (format!("the {kind} schedule, {betas}T = {horizon}"), "`schedule.kind`")
    });
    let assumed: Vec<(String, &str)> = prediction.into_iter().chain(levels).collect();
    if assumed.is_empty() {
        return None;
    }
    let what: Vec<&str> = assumed.iter().map(|(what, _)| what.as_str()).collect();
    let keys: Vec<&str> = assumed.iter().map(|(_, key)| *key).collect();
    Some(format!(
        "{} has no scheduler_config.json; assumed: {}. To confirm, set {}",
        model.source,
        what.join("; "),
        keys.join(" and ")
    ))
}
