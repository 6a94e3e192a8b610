//! Tables of results, with their panels, captions and claims. Each output format has its own file in
//! this folder.
//!
//! A table has the labels of one axis as rows and of another as columns; every combination of the
//! labels of the remaining axes has its own panel. Rows and columns are those of the sweep; the
//! paper's come first, in its order. A cell shows the plug-in value at N, which the field calls, for
//! instance, "FD at N", with its 95 % interval. The paper's values follow in their own block. They are
//! not subtracted from the measured ones, because the published metric usually differs. Cells that
//! were not run say so and are never filled in from the paper. The claims follow, judged on the paired
//! differences.

mod csv;
mod json;
mod latex;
mod markdown;
mod terminal;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::plan::measures::is_score;
use crate::plan::measures::{FLOOR, unit};
use crate::plan::presentation::{ClaimSpec, PaperRow, PaperValues, TableSpec};
use crate::report::claims::{Judgement, judge};
use crate::report::compare;
use crate::report::cross::{Cross, Entry, print_bend};
use crate::report::measure::{self, Statistic};
use crate::report::text::three_decimals;
use crate::results::record::{Estimate, LEVEL, Record};

/// The contents of a table.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Which axes and which metric.
    pub spec: &'a TableSpec,
    /// The published values.
    pub paper: Option<&'a PaperValues>,
    /// The claims to be judged on each panel.
    pub claims: &'a [ClaimSpec],
    /// Name and labels of every axis of the sweep, in its order.
    pub axes: &'a [(String, Vec<String>)],
    /// What has been measured.
    pub records: &'a [Record],
    /// What the caption states.
    pub facts: &'a Facts,
}

/// Facts about a run that its caption states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Number of samples N, if all cells have the same.
    pub samples: Option<usize>,
    /// The seed of all noise, if all cells have the same.
    pub seed: Option<u64>,
    /// The axis that is averaged over, with its labels: `seed = 0, 1, 2`; empty if there is none.
    pub folded: String,
    /// How the metric is computed from its samples.
    pub statistic: Statistic,
    /// The solver's nominal order in every row whose cells agree on it.
    pub orders: BTreeMap<String, u32>,
}

impl Facts {
    /// `N = 256`.
    fn n(&self) -> String {
        self.samples.map_or_else(|| "the N of each cell".to_owned(), |n| format!("N = {n}"))
    }
}

/// A row's order of convergence.
#[derive(Clone, Debug, PartialEq)]
pub struct Order<'a> {
    /// Label of the row.
    pub row: &'a str,
    /// As fitted over all columns; none if a cell is missing or diverged.
    pub fitted: Option<Estimate>,
    /// That of the mean, if the table shows the median.
    pub mean: Option<Estimate>,
    /// The local orders at both ends, if the points do not lie on a straight line.
    pub bend: Option<[f64; 2]>,
    /// As the solver states it.
    pub stated: Option<u32>,
}

impl Order<'_> {
    /// The columns as text, under the heads of [`Table::order_lines`].
    fn cells(&self, with_mean: bool) -> Vec<String> {
        let mut cells = vec![self.row.to_owned(), order_or_not_run(self.fitted)];
        cells.extend(with_mean.then(|| order_or_not_run(self.mean)));
        cells.push(self.bend.map_or_else(String::new, print_bend));
        cells.push(self.stated.map_or_else(String::new, |order| order.to_string()));
        cells
    }
}

/// The paper's own block of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Published<'a> {
    /// What the values are, and where they were published.
    pub(crate) title: String,
    /// Labels of the columns.
    pub(crate) columns: &'a [String],
    /// Label and values of every row; empty if the paper has none.
    pub(crate) rows: Vec<(&'a str, Vec<String>)>,
}

/// A table with its judged claims.
#[derive(Clone, Debug)]
pub struct Table<'a> {
    input: Input<'a>,
    panels: Vec<Panel<'a>>,
}

/// One panel of a table: fixed labels on all axes but two.
#[derive(Clone, Debug)]
pub struct Panel<'a> {
    /// The fixed labels, `clip = true`; empty if the sweep has no further axis.
    pub title: String,
    /// The axes that are fixed, each with its label.
    pub fixed: Vec<(&'a str, &'a str)>,
    /// The cells.
    pub cross: Cross<'a>,
    /// The claims, judged on these cells.
    pub judgements: Vec<Judgement>,
}

impl<'a> Table<'a> {
    /// Lays out the records and judges the claims.
    pub fn new(input: Input<'a>) -> Self {
        let spec = input.spec;
        let labels = |axis: &str| {
            let axis = input.axes.iter().find(|(name, _)| name == axis);
            axis.map_or_else(Vec::new, |(_, labels)| labels.clone())
        };
        let paper_rows = input.paper.iter().flat_map(|p| p.rows.iter().map(|r| &r.label));
        let paper_columns = input.paper.iter().flat_map(|paper| &paper.columns);
        let rows = in_order(paper_rows, labels(&spec.rows));
        let columns = in_order(paper_columns, labels(&spec.columns));

        let others =
            input.axes.iter().filter(|(n, l)| *n != spec.rows && *n != spec.columns && l.len() > 1);
        let mut fixed: Vec<Vec<(&str, &str)>> = vec![vec![]];
        for (axis, labels) in others {
            let with = |one: &Vec<(&'a str, &'a str)>, label: &'a String| {
                one.iter().copied().chain([(axis.as_str(), label.as_str())]).collect()
            };
            fixed = fixed.iter().flat_map(|one| labels.iter().map(move |l| with(one, l))).collect();
        }
        let panel = |fixed: &Vec<(&'a str, &'a str)>| {
            let is_here = |record: &&Record| {
                fixed.iter().all(|(axis, label)| record.label(axis) == Some(label))
            };
            let cross = Cross {
                row_axis: &spec.rows,
                column_axis: &spec.columns,
                metric: &spec.value,
                fit: spec.fit,
                rows: rows.clone(),
                columns: columns.clone(),
                records: input.records.iter().filter(is_here).collect(),
            };
            let judgements = input.claims.iter().map(|claim| judge(claim, &cross)).collect();
            let title: Vec<String> = fixed.iter().map(|(a, l)| format!("{a} = {l}")).collect();
            Panel { title: title.join(", "), fixed: fixed.clone(), cross, judgements }
        };
        Self { input, panels: fixed.iter().map(panel).collect() }
    }

    /// Which axes and which metric.
    pub(crate) fn spec(&self) -> &'a TableSpec {
        self.input.spec
    }

    /// The panels, one unless the sweep has more than two axes.
    pub fn panels(&self) -> &[Panel<'a>] {
        &self.panels
    }

    /// The orders of all rows; empty unless the table fits them.
    pub(crate) fn orders<'b>(&'b self, panel: &'b Panel) -> Vec<Order<'b>> {
        let cross = &panel.cross;
        if cross.fit.is_none() {
            return vec![];
        }
        let mean = measure::mean_of(cross.metric).map(|metric| Cross { metric, ..cross.clone() });
        let order = |row: &'b String| Order {
            row,
            mean: mean
                .as_ref()
                .and_then(|mean| Some(Estimate::at_n(&mean.order(row, &mean.columns)?))),
            fitted: cross.order(row, &cross.columns).map(|order| Estimate::at_n(&order)),
            bend: cross.bend(row, &cross.columns),
            stated: self.input.facts.orders.get(row).copied(),
        };
        cross.rows.iter().map(order).collect()
    }

    /// The orders as a table: its heads, and a line for each row; no lines unless they are fitted.
    ///
    /// If the mean of a median was measured too, its order is shown as well; if the points bend, the local
    /// orders at their ends.
    pub(crate) fn order_lines(&self, panel: &Panel) -> (Vec<String>, Vec<Vec<String>>) {
        let (orders, spec) = (self.orders(panel), self.input.spec);
        let fit = spec.fit.map_or_else(String::new, |fit| fit.to_string());
        let mean =
            measure::mean_of(&spec.value).filter(|_| orders.iter().any(|o| o.mean.is_some()));
        let mut heads = vec![spec.rows.clone(), format!("order of {} against {fit}", spec.value)];
        heads.extend(mean.map(|mean| format!("order of {mean}")));
        heads.push("bends from, to".to_owned());
        heads.push("order of the method".to_owned());
        let lines = orders.iter().map(|order| order.cells(mean.is_some())).collect();
        (heads, lines)
    }

    /// What the numbers are: the metric, its unit, N, and what follows each number.
    pub(crate) fn headline(&self, interval: &str) -> String {
        let Input { spec, facts, .. } = self.input;
        let words = unit(&spec.value);
        let words = words.map_or_else(String::new, |words| format!(" ({words})"));
        let n = facts.n();
        let statistic = match facts.statistic {
            Statistic::Mean => format!("mean of {n} samples"),
            Statistic::Median => format!("median of {n} samples"),
            Statistic::Plugin => format!("at {n}"),
        };
        let level = 100.0 * LEVEL;
        format!("{}{words}, {statistic}, {interval} {level} % interval", spec.value)
    }

    pub(crate) fn paper_value(&self, row: &str, column: &str) -> Option<f64> {
        let paper = self.input.paper?;
        let column = paper.columns.iter().position(|label| label == column)?;
        let row = paper.rows.iter().find(|r| r.label == row)?;
        row.values.get(column).copied().filter(|value| !value.is_nan())
    }

    /// The published values as rows of text below a head, and the sentence above them.
    pub(crate) fn published(&self) -> Option<Published<'a>> {
        let paper = self.input.paper?;
        let row = |row: &'a PaperRow| {
            let values = row.values.iter().map(|&value| Some(value).filter(|v| !v.is_nan()));
            (row.label.as_str(), values.map(print_paper).collect())
        };
        Some(Published {
            title: format!("Published: {}, from {}.", paper.metric, paper.source),
            columns: &paper.columns,
            rows: paper.rows.iter().map(row).collect(),
        })
    }

    /// The sentences below the table.
    pub(crate) fn caption(&self, panel: &Panel) -> String {
        let Input { spec, facts, .. } = self.input;
        let Facts { seed, folded, statistic, .. } = facts;
        let mut caption = spec.caption.trim().to_owned();
        if !panel.title.is_empty() {
            let _ = write!(caption, " Here {}.", panel.title);
        }
        let level = 100.0 * LEVEL;
        let (what, at) = match statistic {
            Statistic::Mean => ("mean over samples", ""),
            Statistic::Median => ("median over samples", ""),
            Statistic::Plugin => ("plug-in value at N", " at the same N"),
        };
        let what = format!("{what} and its {level} % jackknife interval{at}");
        let seed = seed.map_or_else(String::new, |seed| format!(", seed {seed}"));
        let of = match folded.as_str() {
            "" => "the".to_owned(),
            folded => format!("the mean over {folded} of the"),
        };
        let _ = write!(caption, " Measured: {}, {}{seed}; {of} {what}.", spec.value, facts.n());
        if let Some(floor) = self.floor(panel) {
            let _ = write!(
                caption,
                " It is a distance to N exact draws of the data; N others in the place of the \
                 samples have {floor}."
            );
        }
        if panel.cross.columns.iter().any(|c| !compare::best(&panel.cross, c).is_empty()) {
            let corrected = if statistic.is_unbiased() { "" } else { "bias-corrected " };
            let best = if is_score(&spec.value) { "highest" } else { "lowest" };
            let _ = write!(
                caption,
                " Bold: the {best} {corrected}value of a column, and every value not told from it \
                 by their paired difference at {level} %, each comparison by itself."
            );
        }
        let calls: Vec<String> =
            panel.cross.columns.iter().filter_map(|column| panel.calls(column)).collect();
        if !calls.is_empty() {
            let calls = calls.join(", ");
            let _ = write!(caption, " {} (model calls per sample): {calls}.", spec.columns);
        }
        caption.trim_start().to_owned()
    }

    /// The metric of exact draws used as samples, if all cells agree on it.
    fn floor(&self, panel: &Panel) -> Option<Estimate> {
        let column = format!("{}{FLOOR}", self.input.spec.value);
        let mut floors = panel.cross.records.iter().filter_map(|of| of.metrics.get(&column));
        let first = floors.next()?;
        floors.all(|floor| floor == first).then(|| Estimate::at_n(first))
    }
}

impl Panel<'_> {
    /// The label of every row with its places.
    pub(crate) fn lines(&self) -> Vec<(&str, Vec<Spot<'_>>)> {
        let columns = self.columns();
        let line = |row| columns.iter().map(|column| column.spot(&self.cross, row)).collect();
        self.cross.rows.iter().map(|row| (row.as_str(), line(row))).collect()
    }

    fn columns(&self) -> Vec<Column<'_>> {
        let cross = &self.cross;
        let column = |label| {
            let needs_exponent = |row: &String| match cross.entry(row, label) {
                Entry::Measured(metric) => Estimate::at_n(metric).has_exponent(),
                _ => false,
            };
            let exponent = cross.rows.iter().any(needs_exponent);
            Column { label, best: compare::best(cross, label), exponent }
        };
        cross.columns.iter().map(String::as_str).map(column).collect()
    }

    /// Model calls per sample in a column, as a range if its rows differ.
    fn calls(&self, column: &str) -> Option<String> {
        let cross = &self.cross;
        let here = cross.records.iter().filter(|r| r.label(cross.column_axis) == Some(column));
        let calls: BTreeSet<u64> = here.map(|record| record.calls).collect();
        let (first, last) = (calls.first()?, calls.last()?);
        let range = if first == last { first.to_string() } else { format!("{first} to {last}") };
        Some(format!("{column} ({range})"))
    }
}

/// How a column is printed.
struct Column<'a> {
    label: &'a str,
    /// The rows in bold.
    best: Vec<&'a str>,
    /// Whether all its numbers have an exponent.
    exponent: bool,
}

impl<'a> Column<'a> {
    fn spot(&self, cross: &Cross<'a>, row: &str) -> Spot<'a> {
        Spot {
            column: self.label,
            record: cross.record(row, self.label),
            entry: cross.entry(row, self.label),
            bold: self.best.contains(&row),
            exponent: self.exponent,
        }
    }
}

/// One place of a panel.
pub(crate) struct Spot<'a> {
    /// Label of the column.
    pub(crate) column: &'a str,
    /// The cell, if it was run.
    pub(crate) record: Option<&'a Record>,
    /// What is known of it.
    pub(crate) entry: Entry<'a>,
    /// Whether it is the best of its column, or cannot be distinguished from the best.
    pub(crate) bold: bool,
    exponent: bool,
}

impl Spot<'_> {
    /// The number and its interval in brackets; a word and nothing if there is no number.
    pub(crate) fn print(&self) -> (String, String) {
        let text = self.print_as(Estimate::print);
        let split =
            text.split_once(" [").map(|(value, rest)| (value.to_owned(), format!("[{rest}")));
        split.unwrap_or((text, String::new()))
    }

    /// `46.2 ± 2.1`, or a word if there is no number.
    fn plus_minus(&self) -> String {
        self.print_as(Estimate::plus_minus)
    }

    fn print_as(&self, print: fn(&Estimate, bool) -> String) -> String {
        match self.entry {
            Entry::Measured(metric) => print(&Estimate::at_n(metric), self.exponent),
            entry => entry.word().to_owned(),
        }
    }
}

/// The sentence below fitted orders.
pub(crate) const BENDS: &str = "Where the points bend beyond their uncertainty, the local orders at the first and the last of \
     them: a single order is then that of the columns it is fitted over.";

/// The labels: first those of the paper, in its order.
fn in_order<'p>(paper: impl Iterator<Item = &'p String>, mut labels: Vec<String>) -> Vec<String> {
    let order: Vec<&String> = paper.collect();
    let place = |label: &String| order.iter().position(|known| *known == label);
    labels.sort_by_key(|label| place(label).unwrap_or(order.len()));
    labels
}

fn print_paper(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn order_or_not_run(order: Option<Estimate>) -> String {
    order.map_or_else(|| Entry::NotRun.word().to_owned(), three_decimals)
}
