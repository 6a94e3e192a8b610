//! Every cell with its cost and its metrics, and the total time.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use maud::{Markup, html};

use super::parts::{line, scrolling};
use crate::{
    plan::outline::OutlinedCell,
    report::{
        measure::{COUNTS, counts},
        text::{count, pretty},
    },
    results::{
        folder::Folder,
        record::{Estimate, Record, Status},
        sink::Timing,
    },
};

/// The sentence on times and the table of cells, unfolded if `open`.
pub(super) fn cells(folder: &Folder, open: bool) -> Markup {
    let times: Vec<&Timing> = folder.records.iter().filter_map(|r| folder.timing(r)).collect();
    let caption = format!(
        "{}; S is the requested number of steps, levels the distinct ones visited, calls the model \
         calls per sample, ms per call the model’s time for one sample",
        count(folder.plan.cells.len(), "cell")
    );
    let (axes, metrics) = (&folder.columns.axes, &folder.columns.metrics);
    let heads = html! {
        th.stay scope="col" { "#" }
        @for axis in axes { th.text scope="col" { (axis) } }
        th.text scope="col" { "status" }
        @for name in COUNTS { th scope="col" { (name) } }
        @for name in metrics { th scope="col" { (name) } }
        th scope="col" { "time" }
        th scope="col" { "ms per call" }
    };
    let needs_exponent = |metric: &String| {
        let mut found = folder.records.iter().filter_map(|record| record.metrics.get(metric));
        found.any(|metric| Estimate::at_n(metric).has_exponent())
    };
    let exponents: Vec<bool> = metrics.iter().map(needs_exponent).collect();
    let label = |cell: &OutlinedCell, axis: &String| {
        let value = cell.params.iter().find(|(name, _)| name == axis);
        value.map_or_else(String::new, |(_, value)| pretty(value))
    };
    let lines = html! {
        @for cell in &folder.plan.cells {
            (line(&cell.index.to_string(), &html! {
                @for axis in axes { td.text { (label(cell, axis)) } }
                @if let Some(record) = folder.record(&cell.params) {
                    (finished(folder, record, &exponents))
                } @else {
                    td.text.absent { "not run" }
                    @for _ in 0..6 + metrics.len() { td {} }
                }
            }))
        }
    };
    html! {
        @if !times.is_empty() { p.prose { (time_summary(&times)) } "\n" }
        details open[open] {
            summary { "Every cell: cost, time and what was measured" }
            (scrolling("cells-table", &caption, &heads, &lines))
        }
    }
}

/// What a finished cell has after its labels; `exponents` says of each metric whether its numbers
/// have one.
fn finished(folder: &Folder, record: &Record, exponents: &[bool]) -> Markup {
    let class = match record.status {
        Status::Done => "text",
        Status::Diverged => "text diverged",
    };
    let (time, call) = folder.timing(record).map_or_else(Default::default, |timing| {
        let call = 1e3 * timing.seconds_per_sample_call;
        (duration(timing.seconds), if call > 0.0 { format!("{call:.2}") } else { String::new() })
    });
    let print = |metric: &String, exponent: bool| {
        record.metrics.get(metric).map(|metric| Estimate::at_n(metric).print(exponent))
    };
    html! {
        td class=(class) { (record.status.as_str()) }
        @for number in counts(record) { td { (number) } }
        @for (metric, &exponent) in folder.columns.metrics.iter().zip(exponents) {
            td { (print(metric, exponent).unwrap_or_default()) }
        }
        td { (time) }
        td { (call) }
    }
}

fn time_summary(times: &[&Timing]) -> String {
    let total: f64 = times.iter().map(|timing| timing.seconds).sum();
    let places: BTreeSet<String> = times.iter().map(|timing| timing.hardware()).collect();
    let places: Vec<String> = places.into_iter().collect();
    let mut text = format!(
        "{} took {} on {}.",
        count(times.len(), "cell"),
        duration(total),
        places.join(" and ")
    );
    let mut calls: Vec<f64> =
        times.iter().map(|timing| 1e3 * timing.seconds_per_sample_call).collect();
    calls.retain(|call| *call > 0.0);
    calls.sort_by(f64::total_cmp);
    if let (Some(first), Some(last)) = (calls.first(), calls.last()) {
        let median = calls[calls.len() / 2];
        let _ = write!(text, " A model call took {median:.2} ms per sample");
        if calls.len() > 1 {
            let _ = write!(text, " in the median cell, {first:.2} to {last:.2} ms in all of them");
        }
        text.push('.');
    }
    text
}

fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        let places = if seconds < 1.0 { 3 } else { 1 };
        return format!("{seconds:.places$} s");
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a time in seconds
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}
