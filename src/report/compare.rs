//! Which cells of a column differ: `differences.csv`, and the marks of the best in a table.
//!
//! Two cells of a column are compared as claims compare them: by the *paired* difference of their
//! bias-corrected values, with its 95 % interval. Cells that share noise can differ although their
//! own intervals overlap, which is why the differences are written out. Each comparison stands by
//! itself: of twenty between equals, one is beyond zero on average.
//!
//! `differences.csv` is a function of `metrics.csv` and of the axes of the table. Its columns are
//! `metric`, `panel`, `column`, `row`, `other`, `status`, and of `row` minus `other` the
//! `difference` (bias-corrected), `se`, `low`, `high` and `beyond_zero`. There is a line for each
//! pair of rows that have both been run; of a pair with a diverged cell, only which of the two
//! diverged is known.

use crate::plan::measures::{is_ranked, is_score};
use crate::report::claims::{Cross, Difference, Entry, Place, difference};
use crate::report::table::Panel;
use crate::results::record::{LEVEL, csv_bytes};

/// The rows that a column marks: the best (the lowest, or of a score the highest), and all that
/// cannot be told from it.
///
/// None where fewer than two cells have been measured with their uncertainty.
pub fn best<'c>(cross: &'c Cross<'_>, column: &str) -> Vec<&'c str> {
    let measured: Vec<(&str, f64)> = cross
        .rows
        .iter()
        .filter_map(|row| match cross.entry(row, column) {
            Entry::Measured(metric) if metric.leave_out.len() > 1 => {
                Some((row.as_str(), metric.corrected()))
            }
            _ => None,
        })
        .collect();
    if !is_ranked(cross.metric) {
        return vec![];
    }
    let score = is_score(cross.metric);
    let order = |a: &f64, b: &f64| if score { b.total_cmp(a) } else { a.total_cmp(b) };
    let Some((best, _)) = measured.iter().min_by(|a, b| order(&a.1, &b.1)) else { return vec![] };
    if measured.len() < 2 {
        return vec![];
    }
    let rows = measured.iter().map(|(row, _)| *row);
    let is_worse = |row: &str| {
        let (higher, lower) = if score { (*best, row) } else { (row, *best) };
        is_higher(cross, higher, lower, column)
    };
    rows.filter(|row| row == best || !is_worse(row)).collect()
}

/// Whether a row is higher than another beyond the uncertainty of the difference.
fn is_higher(cross: &Cross<'_>, row: &str, other: &str, column: &str) -> bool {
    match difference(cross, &place(row, column), &place(other, column)) {
        Difference::Measured(metric) => metric.interval(LEVEL).0 > 0.0,
        _ => false,
    }
}

fn place(row: &str, column: &str) -> Place {
    Place { row: row.into(), column: column.into() }
}

/// `differences.csv` of a table's panels.
pub fn differences_csv(panels: &[Panel<'_>]) -> Vec<u8> {
    let header = [
        "metric",
        "panel",
        "column",
        "row",
        "other",
        "status",
        "difference",
        "se",
        "low",
        "high",
        "beyond_zero",
    ];
    let mut lines = vec![];
    for Panel { title, cross, .. } in panels {
        for column in &cross.columns {
            for (i, row) in cross.rows.iter().enumerate() {
                for other in &cross.rows[i + 1..] {
                    let (first, second) = (place(row, column), place(other, column));
                    let found = difference(cross, &first, &second);
                    if let Some(outcome) = outcome(&found, &first) {
                        let place = [cross.metric, title, column, row, other].map(String::from);
                        lines.push(place.into_iter().chain(outcome).collect());
                    }
                }
            }
        }
    }
    csv_bytes(&header.map(String::from), lines.into_iter())
}

/// From `status` on; nothing where a cell was not run.
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
            let float = |x: f64| format!("{x:?}");
            let [difference, se] = [metric.corrected(), metric.standard_error()].map(float);
            let beyond = low > 0.0 || high < 0.0;
            ["measured".to_owned(), difference, se, float(low), float(high), beyond.to_string()]
        }
    })
}
