//! How a manifest wants its results shown and judged: table, paper values, claims, plots.
//!
//! Plain data, read from the manifest and consumed by `table`, `plot` and `claims`. Rows and
//! columns are named by the *labels* of two sweep axes, for instance row `eta = 0.2` of the axis
//! `variance` and column `20` of the axis `grid.steps`.

use std::fmt;

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
    /// What every row is fitted against on logarithmic axes, `calls` or `S`: the table then shows
    /// the slope with its sign turned, next to the solver's order.
    pub fit: Option<Against>,
    /// An axis over whose labels the mean is taken, usually `seed`; plots show that mean too.
    pub over: Option<String>,
    /// Whether the measures that compare distributions are compared by how they rank the cells.
    #[serde(default)]
    pub rank: bool,
}

/// What an order of convergence is fitted against.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum Against {
    /// Model calls per sample.
    #[serde(rename = "calls")]
    Calls,
    /// The requested number of steps.
    S,
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Calls => "calls",
            Self::S => "S",
        })
    }
}

/// `[paper]`: published numbers with their source, printed next to what was measured.
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
    /// The published values, one per column; NaN (written `"-"`) where there is none.
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
    /// The other row of [`ClaimCheck::Below`], and of [`ClaimCheck::Between`] if there is one.
    pub other: Option<String>,
    /// The least and the largest order of [`ClaimCheck::Order`], or value of [`ClaimCheck::Between`].
    pub between: Option<[f64; 2]>,
    /// Whether the sentence was written after a first look at results, and so sums them up.
    #[serde(default)]
    pub descriptive: bool,
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
    /// In each of the columns, the row's value is below that of one other row.
    Below,
    /// Over the columns, the row's value falls with an order that lies between two numbers.
    Order,
    /// In each of the columns, the row's value, less that of the other row if one is named, lies between two
    /// numbers.
    Between,
}

/// `[[plot]]`: one question, one figure.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct PlotSpec {
    /// File stem: `NAME.svg` and `NAME.png`.
    pub name: String,
    /// The question, printed above the axes.
    pub title: String,
    /// What is on the horizontal axis: an axis such as `grid.steps`, a column of `metrics.csv` such
    /// as `calls`, or a metric.
    pub x: String,
    /// Metric on the vertical axis, for instance `fd`, or [`SECONDS`].
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
    /// The labels of the series that are drawn; all where it is empty.
    #[serde(default)]
    pub only: Vec<String>,
    /// Orders of which a slope triangle is drawn, on logarithmic axes.
    #[serde(default)]
    pub triangles: Vec<f64>,
    /// What is fitted to the points of every curve and drawn instead of a path between them.
    #[serde(default)]
    pub fit: Option<Fitted>,
}

/// The number that a label is, as a manifest may write it: `1_000` too.
pub fn number(label: &str) -> Option<f64> {
    label.trim().replace('_', "").parse().ok().filter(|x: &f64| x.is_finite())
}

/// What is fitted to a curve.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Fitted {
    /// The straight line of least squares, whatever the axes.
    Line,
}

/// What a plot may show besides metrics: the time of drawing one sample, in seconds.
///
/// It is that of `timing.csv`, `seconds_per_sample_call` times the calls: only drawing, without
/// loading, measuring and writing, divided by the samples of a batch. It is never the same twice,
/// so no table and no claim is made of it.
pub const SECONDS: &str = "seconds";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_numbers_as_toml_writes_them() {
        assert_eq!(["1_000", " 2.5", "1e3"].map(number), [Some(1000.0), Some(2.5), Some(1000.0)]);
        assert_eq!(["ddim", "", "inf", "eta = 1"].map(number), [None; 4]);
    }
}
