//! Which cells of a column differ.
//!
//! Claims, the marks of the best in a table and `differences.csv` all compare two cells alike: by
//! the *paired* difference of their bias-corrected values ([`Jackknife::minus`]), with its 95 %
//! interval. Cells that share noise can differ although their own intervals overlap.

use std::fmt;

use crate::metrics::Jackknife;
use crate::plan::measures::{is_ranked, is_score};
use crate::report::cross::{Cross, Entry};
use crate::results::record::LEVEL;

/// A place in the table, by its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    row: String,
    column: String,
}

impl Place {
    pub(crate) fn new(row: &str, column: &str) -> Self {
        Self { row: row.into(), column: column.into() }
    }

    pub(crate) fn row(&self) -> &str {
        &self.row
    }

    pub(crate) fn column(&self) -> &str {
        &self.column
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` at {}", self.row, self.column)
    }
}

/// One place minus another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Difference {
    /// The place named has not been measured.
    NotRun(Place),
    /// The place named diverged and the other did not.
    OneDiverged(Place),
    /// Both diverged.
    BothDiverged,
    /// At least one of the two has no uncertainty, or their groups are not the same.
    NotPaired,
    /// The jackknife of the difference.
    Measured(Jackknife),
}

/// `higher` minus `lower`.
pub(crate) fn difference(cross: &Cross, higher: &Place, lower: &Place) -> Difference {
    let entry = |place: &Place| cross.entry(&place.row, &place.column);
    match (entry(higher), entry(lower)) {
        (Entry::NotRun, _) => Difference::NotRun(higher.clone()),
        (_, Entry::NotRun) => Difference::NotRun(lower.clone()),
        (Entry::Diverged, Entry::Diverged) => Difference::BothDiverged,
        (Entry::Diverged, _) => Difference::OneDiverged(higher.clone()),
        (_, Entry::Diverged) => Difference::OneDiverged(lower.clone()),
        (Entry::Measured(a), Entry::Measured(b)) => match a.minus(b) {
            Ok(difference) if difference.leave_out.len() > 1 => Difference::Measured(difference),
            _ => Difference::NotPaired,
        },
    }
}

/// The rows that a column marks: the best (the lowest or, of a score, the highest), and all that
/// cannot be distinguished from it.
///
/// None if fewer than two cells have been measured with their uncertainty. The intervals are not
/// corrected for the number of comparisons: of twenty between equals, one excludes zero on average.
pub fn best<'c>(cross: &'c Cross<'_>, column: &str) -> Vec<&'c str> {
    if !is_ranked(cross.metric) {
        return vec![];
    }
    let measured = |row: &'c String| match cross.entry(row, column) {
        Entry::Measured(metric) if metric.leave_out.len() > 1 => Some((&**row, metric.corrected())),
        _ => None,
    };
    let measured: Vec<(&str, f64)> = cross.rows.iter().filter_map(measured).collect();
    let score = is_score(cross.metric);
    let order = |a: &f64, b: &f64| if score { b.total_cmp(a) } else { a.total_cmp(b) };
    let Some((best, _)) = measured.iter().min_by(|a, b| order(&a.1, &b.1)) else { return vec![] };
    if measured.len() < 2 {
        return vec![];
    }
    let is_worse = |row: &str| {
        let (higher, lower) = if score { (*best, row) } else { (row, *best) };
        let found = difference(cross, &Place::new(higher, column), &Place::new(lower, column));
        matches!(found, Difference::Measured(metric) if metric.interval(LEVEL).0 > 0.0)
    };
    let rows = measured.iter().map(|(row, _)| *row);
    rows.filter(|row| row == best || !is_worse(row)).collect()
}
