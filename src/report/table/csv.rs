//! A table as CSV, and `differences.csv`, which says which cells of its columns differ.

use super::{Panel, Table, print_paper};
use crate::report::compare::{Difference, Place, difference};
use crate::report::cross::Entry;
use crate::report::measure::{COUNTS, counts};
use crate::report::text::float;
use crate::results::record::{FIELDS, LEVEL, PARAM, SUFFIXES, csv_bytes, fields, names};

/// The columns of `differences.csv`.
#[rustfmt::skip]
const DIFFERENCES: [&str; 11] = [
    "metric", "panel", "column", "row", "other", "status", "difference", "se", "low", "high",
    "beyond_zero",
];

impl Table<'_> {
    /// The table as CSV, one line for each place: `status`, a `param.AXIS` for each axis, and the columns
    /// of `metrics.csv` by the same names and with the same numbers, without `m.leave_out`; last the
    /// paper's value.
    pub fn csv(&self) -> String {
        let spec = self.input.spec;
        let fixed = self.panels.first().map_or(&[][..], |panel| &panel.fixed);
        let axes = fixed.iter().map(|(axis, _)| *axis).chain([&*spec.rows, &*spec.columns]);
        let mut header = vec!["status".to_owned()];
        header.extend(axes.map(|axis| format!("{PARAM}{axis}")));
        header.extend(COUNTS.map(String::from));
        header.extend(names(&spec.value, &SUFFIXES[..FIELDS - 2]));
        header.push("paper".to_owned());
        let mut lines = vec![];
        for panel in &self.panels {
            for (row, spots) in panel.lines() {
                for spot in spots {
                    let mut line = vec![spot.entry.word().to_owned()];
                    let fixed = panel.fixed.iter().map(|(_, label)| *label);
                    line.extend(fixed.chain([row, spot.column]).map(str::to_owned));
                    let counts = spot.record.map(|record| counts(record).map(|n| n.to_string()));
                    line.extend(counts.unwrap_or_default());
                    let numbers = match spot.entry {
                        Entry::Measured(metric) => fields(metric),
                        _ => Default::default(),
                    };
                    line.extend(numbers.into_iter().take(FIELDS - 1));
                    line.push(print_paper(self.paper_value(row, spot.column)));
                    lines.push(line);
                }
            }
        }
        String::from_utf8_lossy(&csv_bytes(&header, lines.into_iter())).into_owned()
    }

    /// `differences.csv`, a function of `metrics.csv` and of the axes of the table.
    ///
    /// There is a line for each pair of rows that have both been run, with the bias-corrected
    /// `difference` of `row` minus `other`; for a pair with a diverged cell, only which of the two
    /// diverged. The intervals are not corrected for the number of comparisons.
    pub fn differences_csv(&self) -> Vec<u8> {
        let mut lines = vec![];
        for Panel { title, cross, .. } in &self.panels {
            for column in &cross.columns {
                for (i, row) in cross.rows.iter().enumerate() {
                    for other in &cross.rows[i + 1..] {
                        let (first, second) = (Place::new(row, column), Place::new(other, column));
                        if let Some(found) = outcome(&difference(cross, &first, &second), &first) {
                            let place = [cross.metric, title, column, row, other].map(String::from);
                            lines.push(place.into_iter().chain(found).collect());
                        }
                    }
                }
            }
        }
        csv_bytes(&DIFFERENCES.map(String::from), lines.into_iter())
    }
}

/// The columns from `status` on, empty if a cell was not run.
fn outcome(difference: &Difference, row: &Place) -> Option<[String; 6]> {
    let bare = |status: &str, beyond: &str| {
        let empty = String::new;
        [status.to_owned(), empty(), empty(), empty(), empty(), beyond.to_owned()]
    };
    Some(match difference {
        Difference::NotRun(_) => return None,
        Difference::OneDiverged(place) if place == row => bare("row diverged", "true"),
        Difference::OneDiverged(_) => bare("other diverged", "true"),
        Difference::BothDiverged => bare("both diverged", "false"),
        Difference::NotPaired => bare("not paired", ""),
        Difference::Measured(metric) => {
            let (low, high) = metric.interval(LEVEL);
            let [difference, se] = [metric.corrected(), metric.standard_error()].map(float);
            let beyond = low > 0.0 || high < 0.0;
            ["measured".to_owned(), difference, se, float(low), float(high), beyond.to_string()]
        }
    })
}
