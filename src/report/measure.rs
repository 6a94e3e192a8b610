//! Describes the columns of `metrics.csv` for the head of a table.

use crate::plan::measures::is_mean;
use crate::results::record::Record;

/// The columns of what was counted.
pub(crate) const COUNTS: [&str; 4] = ["S", "levels", "calls", "N"];

/// What a cell has in these columns.
pub(crate) fn counts(record: &Record) -> [u64; 4] {
    [record.steps as u64, record.levels as u64, record.calls, record.n as u64]
}

/// How a metric is computed from its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// The mean of one number per sample.
    Mean,
    /// The median of one number per sample.
    Median,
    /// A number that all N samples give together.
    Plugin,
}

impl Statistic {
    /// The statistic of a metric, told by the metric's name in manifests.
    pub fn of(metric: &str) -> Self {
        if mean_of(metric).is_some() {
            Self::Median
        } else if is_mean(metric) {
            Self::Mean
        } else {
            Self::Plugin
        }
    }

    /// Whether the bias-corrected value is the value itself.
    pub fn is_unbiased(self) -> bool {
        matches!(self, Self::Mean | Self::Median)
    }
}

/// The column of the mean that belongs to a median.
pub fn mean_of(column: &str) -> Option<&str> {
    column.strip_suffix("-median")
}
