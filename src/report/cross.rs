//! Records laid out as a table: the labels of one axis as rows, those of another as columns.

use crate::metrics::{Jackknife, log_log_bend, log_log_slope};
use crate::plan::presentation::Against;
use crate::results::record::{Estimate, Record, Status};

/// Records laid out by the labels of two axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Cross<'a> {
    /// The axis whose labels are the rows.
    pub row_axis: &'a str,
    /// The axis whose labels are the columns.
    pub column_axis: &'a str,
    /// The metric that is compared.
    pub metric: &'a str,
    /// What orders are fitted against, if they are fitted.
    pub fit: Option<Against>,
    /// Labels of all rows, measured or not.
    pub rows: Vec<String>,
    /// Labels of all columns, measured or not.
    pub columns: Vec<String>,
    /// What has been measured.
    pub records: Vec<&'a Record>,
}

/// What is known of one place of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Entry<'a> {
    /// Nothing has been measured.
    NotRun,
    /// The cell diverged.
    Diverged,
    /// The cell's metric.
    Measured(&'a Jackknife),
}

impl Entry<'_> {
    /// In a word: `done`, `diverged` or `not run`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::NotRun => "not run",
            Self::Diverged => Status::Diverged.as_str(),
            Self::Measured(_) => Status::Done.as_str(),
        }
    }
}

impl<'a> Cross<'a> {
    /// What is known of a row in a column.
    pub fn entry(&self, row: &str, column: &str) -> Entry<'a> {
        match self.record(row, column) {
            None => Entry::NotRun,
            Some(record) if record.status == Status::Diverged => Entry::Diverged,
            Some(record) => record.metrics.get(self.metric).map_or(Entry::NotRun, Entry::Measured),
        }
    }

    /// The record of a row in a column, if that cell was run.
    pub fn record(&self, row: &str, column: &str) -> Option<&'a Record> {
        let is_here = |record: &&&Record| {
            record.label(self.row_axis) == Some(row)
                && record.label(self.column_axis) == Some(column)
        };
        self.records.iter().find(is_here).copied()
    }

    /// The order with which a row falls over some columns: minus its slope on logarithmic axes.
    ///
    /// None if nothing is fitted, a cell has not been measured, or there is no such slope.
    pub fn order(&self, row: &str, columns: &[String]) -> Option<Jackknife> {
        let slope = log_log_slope(&self.points(row, columns)?).ok()?;
        let leave_out = slope.leave_out.iter().map(|slope| -slope).collect();
        Some(Jackknife { value: -slope.value, leave_out })
    }

    /// The local orders at the lowest and the highest column, if the points bend beyond their
    /// uncertainty and two decimals show it: a single order then depends on the columns it was
    /// fitted over.
    pub fn bend(&self, row: &str, columns: &[String]) -> Option<[f64; 2]> {
        let bend = log_log_bend(&self.points(row, columns)?).ok()?;
        let (low, high) = Estimate::at_n(&bend.curvature).interval?;
        let ends = bend.ends.map(|slope| -slope);
        let is_seen = hundredths(ends[0]).total_cmp(&hundredths(ends[1])).is_ne();
        ((low > 0.0 || high < 0.0) && is_seen).then_some(ends)
    }

    /// The points that an order is fitted to; none if there is no fit, or a cell has not been measured.
    fn points(&self, row: &str, columns: &[String]) -> Option<Vec<(f64, &'a Jackknife)>> {
        let fit = self.fit?;
        let point = |column: &String| match (self.entry(row, column), self.record(row, column)) {
            (Entry::Measured(metric), Some(record)) => Some(match fit {
                Against::Calls => (record.calls as f64, metric),
                Against::S => (record.steps as f64, metric),
            }),
            _ => None,
        };
        columns.iter().map(point).collect()
    }
}

/// Rounded as printed, with zero unsigned.
fn hundredths(x: f64) -> f64 {
    (100.0 * x).round() / 100.0 + 0.0
}

/// Two local orders, that of the lowest column and that of the highest.
pub(crate) fn print_bend([first, last]: [f64; 2]) -> String {
    let [first, last] = [first, last].map(hundredths);
    format!("{first:.2} to {last:.2}")
}
