//! Plots of one metric against one axis or against another metric, as SVG and PNG.
//!
//! A figure depends only on the records. Every curve has its own marker, and its label at its end;
//! labels that would overlap move apart. The colours are those of Okabe and Ito, so that a figure can
//! be read without colour. Error bars are the 95 % intervals of the drawn values, the plug-in values at
//! N; one whose end a logarithmic axis cannot show is an arrow. The ticks of the horizontal axis are
//! the measured values, unless there are too many.
//!
//! A fitted line is drawn through markers that are not connected otherwise; on logarithmic axes it
//! bends unless it goes through the origin.

pub(crate) mod draw;

use crate::error::Error;
use crate::metrics::{Line, LineErrors};
use crate::plan::presentation::number;
use crate::plan::presentation::{PlotSpec, SECONDS};
use crate::report::measure::{COUNTS, counts};
use crate::report::text::{float, named, pretty};
use crate::results::record::{Estimate, LEVEL, Record, Status, csv_bytes};

/// Why a figure cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// No record has the metric.
    #[error("plot `{name}`: no finished cell has the metric `{metric}`")]
    NoData {
        /// Name of the plot.
        name: String,
        /// The metric asked for.
        metric: String,
    },
    /// The horizontal axis needs numbers.
    #[error(
        "plot `{name}`: `{label}` on the axis `{axis}` is not a number, so it has no place on x"
    )]
    NotANumber {
        /// Name of the plot.
        name: String,
        /// The axis.
        axis: String,
        /// The label.
        label: String,
    },
    /// The records have no such axis.
    #[error("plot `{name}`: there is no axis `{axis}`")]
    NoAxis {
        /// Name of the plot.
        name: String,
        /// The axis.
        axis: String,
    },
    /// The drawing library refused.
    #[error("plot `{name}`: {problem}")]
    Draw {
        /// Name of the plot.
        name: String,
        /// What it said.
        problem: String,
    },
}

impl From<PlotError> for Error {
    fn from(error: PlotError) -> Self {
        Self::Input(error.to_string())
    }
}

/// The points of a curve by increasing x; no value where the cell diverged.
pub type Points = Vec<(f64, Option<Estimate>)>;

/// A figure, ready to be drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    spec: PlotSpec,
    note: String,
    curves: Vec<Curve>,
    /// Whether x was measured; its ticks are then round numbers.
    measured_x: bool,
}

/// One curve of a figure.
#[derive(Clone, Debug, PartialEq)]
struct Curve {
    label: String,
    points: Points,
    /// None if nothing is fitted, or if there are fewer than two places.
    line: Option<Line>,
}

impl Figure {
    /// Collects the curves of a plot from records.
    ///
    /// If axes other than the series and the horizontal axis vary, their labels are part of a curve's
    /// name.
    ///
    /// # Errors
    /// If there is nothing to draw, or if an axis cannot show a value.
    pub fn new(spec: &PlotSpec, records: &[Record]) -> Result<Self, PlotError> {
        let name = || spec.name.clone();
        let measured_x = records.iter().any(|record| record.metrics.contains_key(&spec.x));
        let counted = measured_x || COUNTS.contains(&spec.x.as_str());
        let varies = |axis: &str| {
            let mut labels = records.iter().map(|record| record.label(axis));
            let first = labels.next();
            labels.any(|label| Some(label) != first)
        };
        let axes = records.first().map_or(&[][..], |record| &record.params);
        let others: Vec<&str> = axes
            .iter()
            .map(|(axis, _)| axis.as_str())
            .filter(|axis| *axis != spec.series && *axis != spec.x)
            // What is counted or measured depends on S, so the points of one curve differ in S.
            .filter(|axis| !(counted && ["grid.steps", "grid.calls"].contains(axis)))
            .filter(|axis| varies(axis))
            .collect();

        let mut curves: Vec<Curve> = Vec::new();
        let (mut measured, mut diverged, mut outside) = (0, 0, 0);
        for record in records {
            let series = record
                .label(&spec.series)
                .ok_or_else(|| PlotError::NoAxis { name: name(), axis: spec.series.clone() })?;
            if !spec.only.is_empty() && !spec.only.iter().any(|label| label == series) {
                continue;
            }
            let y = match (record.status, record.metrics.get(&spec.y)) {
                (Status::Diverged, _) => None,
                (_, Some(metric)) => Some(Estimate::at_n(metric)),
                (_, None) => continue,
            };
            diverged += usize::from(y.is_none());
            if measured_x && y.is_none() {
                continue;
            }
            let mut label = pretty(series);
            for axis in &others {
                let other = named(axis, record.label(axis).unwrap_or_default());
                label = format!("{label}, {}", pretty(&other));
            }
            let point = (x_value(spec, record)?, y);
            let is_outside = |log: bool, value: f64| log && value <= 0.0;
            if is_outside(spec.log_x, point.0) || y.is_some_and(|y| is_outside(spec.log_y, y.value))
            {
                outside += 1;
                continue;
            }
            measured += usize::from(y.is_some());
            match curves.iter_mut().find(|curve| curve.label == label) {
                Some(curve) => curve.points.push(point),
                None => curves.push(Curve { label, points: vec![point], line: None }),
            }
        }
        if measured == 0 {
            return Err(PlotError::NoData { name: name(), metric: spec.y.clone() });
        }
        curves.retain(|curve| curve.points.iter().any(|(_, y)| y.is_some()));
        for curve in &mut curves {
            curve.points.sort_by(|a, b| a.0.total_cmp(&b.0));
            if spec.fit.is_some() {
                let points = curve.points.iter().filter_map(|(x, y)| Some((*x, (*y)?.value)));
                curve.line = Line::fit(&points.collect::<Vec<_>>());
            }
        }
        let note = note(spec, records, (diverged, outside), &curves, measured_x);
        Ok(Self { spec: spec.clone(), note, curves, measured_x })
    }

    /// A figure of curves that do not come from records, each a label and points by increasing x.
    ///
    /// # Errors
    /// If there is nothing to draw.
    pub fn of_curves(spec: PlotSpec, curves: Vec<(String, Points)>) -> Result<Self, PlotError> {
        let of = |(label, points)| Curve { label, points, line: None };
        let mut curves: Vec<Curve> = curves.into_iter().map(of).collect();
        curves.retain(|curve| curve.points.iter().any(|(_, y)| y.is_some()));
        if curves.is_empty() {
            return Err(PlotError::NoData { name: spec.name, metric: spec.y });
        }
        Ok(Self { spec, note: String::new(), curves, measured_x: true })
    }

    /// The figure, with the hardware that its times were measured on in its note.
    #[must_use]
    pub fn on(mut self, hardware: &str) -> Self {
        self.note = format!("{}; measured on {hardware}", self.note);
        self
    }

    /// The fitted lines, one in each row: the curve, its points, `slope` and `intercept` with their
    /// standard errors, and the standard deviation about the line; empty where there is none.
    pub fn fit_csv(&self) -> Vec<u8> {
        let header =
            ["curve", "points", "slope", "slope.se", "intercept", "intercept.se", "residual"];
        let rows = self.curves.iter().filter_map(|curve| {
            let line = curve.line?;
            let of = |error: fn(LineErrors) -> f64| {
                line.errors.map_or_else(String::new, |errors| float(error(errors)))
            };
            Some(vec![
                curve.label.clone(),
                line.points.to_string(),
                float(line.slope),
                of(|errors| errors.slope),
                float(line.intercept),
                of(|errors| errors.intercept),
                of(|errors| errors.residual),
            ])
        });
        csv_bytes(&header.map(String::from), rows)
    }
}

/// The line below the title: what the bars are, what was fitted, and what is not shown.
fn note(
    spec: &PlotSpec,
    records: &[Record],
    (diverged, outside): (usize, usize),
    curves: &[Curve],
    measured_x: bool,
) -> String {
    let mut counts: Vec<usize> = records.iter().map(|record| record.n).collect();
    counts.sort_unstable();
    counts.dedup();
    let n = match counts[..] {
        [n] => format!("N = {n}"),
        _ => "N of each cell".into(),
    };
    let mut estimates = curves.iter().flat_map(|c| &c.points).filter_map(|(_, y)| *y);
    let values = if spec.y == SECONDS { "Time per sample" } else { "Values" };
    let mut note = format!("{values} at {n}");
    if estimates.any(|estimate| estimate.interval.is_some()) {
        let of = if measured_x { " of the vertical value" } else { "" };
        note = format!("{note}; bars: {} % jackknife intervals{of}", 100.0 * LEVEL);
    }
    if spec.fit.is_some() {
        let each = if spec.x == "calls" { "call" } else { "step" };
        let lines = curves.iter().filter_map(|curve| {
            let line = curve.line?;
            let milliseconds = |value: f64, error: Option<f64>| {
                let interval = error.map(|error| (1e3 * (value - error), 1e3 * (value + error)));
                let estimate = Estimate { value: 1e3 * value, interval };
                estimate.plus_minus(estimate.has_exponent()).replace('-', "−")
            };
            let slope = milliseconds(line.slope, line.errors.map(|errors| errors.slope));
            let intercept =
                milliseconds(line.intercept, line.errors.map(|errors| errors.intercept));
            Some(format!("{}: {slope} ms per {each}, {intercept} ms at 0", curve.label))
        });
        let lines = lines.collect::<Vec<_>>().join("; ");
        note = format!("{note}; lines of least squares with standard errors, {lines}");
    }
    for (n, one, more) in [
        (diverged, "diverged cell is not shown", "diverged cells are not shown"),
        (
            outside,
            "cell at zero or below has no place on a logarithmic axis",
            "cells at zero or below have no place on a logarithmic axis",
        ),
    ] {
        if n > 0 {
            note = format!("{note}; {n} {}", if n == 1 { one } else { more });
        }
    }
    note
}

fn x_value(spec: &PlotSpec, record: &Record) -> Result<f64, PlotError> {
    if let Some(k) = COUNTS.iter().position(|name| *name == spec.x) {
        return Ok(counts(record)[k] as f64);
    }
    if let Some(metric) = record.metrics.get(&spec.x) {
        return Ok(metric.value);
    }
    let (name, axis) = (spec.name.clone(), spec.x.clone());
    let Some(label) = record.label(&axis) else {
        return Err(PlotError::NoAxis { name, axis });
    };
    number(label).ok_or_else(|| PlotError::NotANumber { name, axis, label: label.to_owned() })
}
