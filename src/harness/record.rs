//! One row of `metrics.csv`: a cell, what decided it, and what was measured.
//!
//! Everything here is deterministic; times live in `timing.csv`. The table, the plots and the
//! claims are functions of these rows alone.

use std::collections::BTreeMap;

use crate::metrics::Jackknife;

/// How a cell ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Measured.
    Done,
    /// The state became NaN or infinite; the row has no metrics.
    Diverged,
}

/// A finished cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Hash of everything that decides the cell's numbers, as hex.
    pub key: String,
    /// How it ended.
    pub status: Status,
    /// `(axis, label)` in the order of the sweep.
    pub params: Vec<(String, String)>,
    /// The requested number of steps S.
    pub steps: usize,
    /// Distinct levels visited, the start included and the clean end not.
    pub levels: usize,
    /// Model calls per sample, counted at the model.
    pub calls: u64,
    /// Number of samples N.
    pub n: usize,
    /// Metrics by column name (`fd`), each with its delete-a-group jackknife.
    pub metrics: BTreeMap<String, Jackknife>,
}
