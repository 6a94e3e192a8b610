//! How a manifest wants its results shown and judged: table, paper values, claims, plots.
//!
//! Plain data, read from the manifest and consumed by `table`, `plot` and `claims`. Rows and
//! columns are named by the *labels* of two sweep axes, for instance row `eta = 0.2` of the axis
//! `variance` and column `20` of the axis `grid.steps`.

use serde::Deserialize;

/// `[table]`: which two axes span the table, and which metric fills it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct TableSpec {
    /// Name of the axis whose labels are the rows.
    pub rows: String,
    /// Name of the axis whose labels are the columns.
    pub columns: String,
    /// Metric in the cells: a column of `metrics.csv`, for instance `fd`.
    pub value: String,
    /// One sentence under the table.
    pub caption: String,
    /// An axis over whose labels the mean is taken, usually `seed`; plots show that mean too.
    pub over: Option<String>,
}

/// `[paper]`: published numbers with their source, printed beside what was measured.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct PaperValues {
    /// Where the numbers stand, for instance `Song et al. 2021, Table 1, CIFAR-10`.
    pub source: String,
    /// The published metric, for instance `FID (Inception), N = 50,000`.
    pub metric: String,
    /// Labels of the columns, in order.
    pub columns: Vec<String>,
    /// One row of the published table each, in order.
    pub rows: Vec<PaperRow>,
}

/// One row of published numbers, as long as [`PaperValues::columns`].
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct PaperRow {
    /// The row's label: that of the sweep axis.
    pub label: String,
    /// The published values, one per column.
    pub values: Vec<f64>,
}

/// `[[claim]]`: a sentence of the paper as a check on the table.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ClaimSpec {
    /// The sentence, as a reader would say it.
    pub text: String,
    /// Where the paper says or shows it.
    pub source: String,
    /// What the table must show for the sentence to hold.
    pub check: ClaimCheck,
    /// Label of the row the sentence is about.
    pub row: String,
    /// Labels of the columns it is about.
    pub columns: Vec<String>,
}

/// What a table must show for a claim to hold. Lower values of the metric are better.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimCheck {
    /// In each of the columns, the row has the lowest value of all rows.
    Lowest,
    /// In each of the columns, the row has the highest value of all rows.
    Highest,
    /// Along the columns, in the order given, the row's value goes down at every step.
    Decreases,
}

/// `[[plot]]`: one question, one figure.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct PlotSpec {
    /// File stem: `NAME.svg` and `NAME.png`.
    pub name: String,
    /// The question, printed above the axes.
    pub title: String,
    /// Column of `metrics.csv` on the horizontal axis: an axis name such as `grid.steps`, or `calls`.
    pub x: String,
    /// Metric on the vertical axis, for instance `fd`.
    pub y: String,
    /// Axis whose labels are the curves.
    pub series: String,
    /// Label of the horizontal axis, with its unit.
    pub x_label: String,
    /// Label of the vertical axis, with its unit.
    pub y_label: String,
    /// Logarithmic horizontal axis.
    #[serde(default)]
    pub log_x: bool,
    /// Logarithmic vertical axis.
    #[serde(default)]
    pub log_y: bool,
}
