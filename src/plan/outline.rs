//! A plan as a folder of results keeps it: resolved, so that nothing has to know its names again.
//!
//! `plan.json` holds what was run: axes, labels, S, orders, and what each column is. How it is shown
//! stays in `manifest.toml`, where it can be changed after the run. A folder is drawn from the two by
//! a program that has never heard of its solvers or its model.

use serde::{Deserialize, Serialize};

use crate::plan::{
    Axis, Cell, MetricsSpec, Plan,
    presentation::{ClaimSpec, PaperValues, PlotSpec, TableSpec},
};

/// Name of the file.
pub const FILE: &str = "plan.json";

/// The form that is written.
const FORMAT: &str = "ddim plan 1";

/// A plan without what only a run needs.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Outline {
    format: String,
    /// Name of the experiment.
    pub name: String,
    /// The axes of the sweep.
    pub axes: Vec<Axis>,
    /// The metrics with their columns in `metrics.csv`.
    pub columns: Vec<Column>,
    /// The cells, in order.
    pub cells: Vec<OutlinedCell>,
    /// `[table]` of the folder's manifest, and so on.
    #[serde(skip)]
    pub table: Option<TableSpec>,
    /// `[paper]`.
    #[serde(skip)]
    pub paper: Option<PaperValues>,
    /// `[[claim]]`.
    #[serde(skip)]
    pub claims: Vec<ClaimSpec>,
    /// `[[plot]]`.
    #[serde(skip)]
    pub plots: Vec<PlotSpec>,
    /// The manifest.
    #[serde(skip)]
    pub text: String,
}

/// A metric and its column.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Column {
    /// The name that manifests use: `fd`, `fd.NAME`.
    pub metric: String,
    /// The column: `FD-cifar10-features`.
    pub column: String,
    /// What its numbers are; empty of a column that says it itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Whether sets are ranked by it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ranked: bool,
}

/// A cell without what only a run needs.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct OutlinedCell {
    /// Position in the plan.
    pub index: usize,
    /// `(axis, label)` in the order of the axes.
    pub params: Vec<(String, String)>,
    /// Seed of all noise.
    pub seed: u64,
    /// Number of samples N.
    pub samples: usize,
    /// The requested number of steps.
    #[serde(rename = "S")]
    pub steps: usize,
    /// Its solver's order of convergence; none of one that draws noise.
    pub order: Option<u32>,
}

impl Outline {
    /// The outline of a plan; S and the order of each cell come from its solver.
    pub fn new(plan: &Plan, of: impl Fn(&Cell) -> (usize, Option<u32>)) -> Self {
        let metrics = plan.cells.iter().find_map(|cell| cell.spec.metrics.as_ref());
        let outlined = |cell: &Cell| {
            let (steps, order) = of(cell);
            let (params, spec) = (cell.params.clone(), &cell.spec);
            let (seed, samples) = (spec.seed, spec.samples);
            OutlinedCell { index: cell.index, params, seed, samples, steps, order }
        };
        Self {
            format: FORMAT.to_owned(),
            name: plan.name.clone(),
            axes: plan.axes.clone(),
            columns: metrics.map_or_else(Vec::new, MetricsSpec::columns),
            cells: plan.cells.iter().map(outlined).collect(),
            table: plan.table.clone(),
            paper: plan.paper.clone(),
            claims: plan.claims.clone(),
            plots: plan.plots.clone(),
            text: plan.text.clone(),
        }
    }

    /// What `plan.json` holds.
    ///
    /// # Panics
    /// Never: plain data serialises.
    pub fn json(&self) -> String {
        let json = serde_json::to_string_pretty(self);
        json.expect("invariant: plain data serialises") + "\n"
    }

    /// Reads `plan.json`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let outline: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if outline.format == FORMAT {
            return Ok(outline);
        }
        Err(format!("its format is `{}`, and this program reads `{FORMAT}`", outline.format))
    }
}
