//! Plots of one metric against one axis or against another metric, as SVG and PNG.
//!
//! A figure is a function of the records alone. Every curve is labelled at its end, where labels
//! that would overlap move apart, and has a marker of its own; the colours are those of Okabe and
//! Ito, so that neither colour vision nor a grey printer is a condition for reading it. Error bars
//! are the 95 % intervals of what is drawn, the plug-in value at N; one whose end has no place on a
//! logarithmic axis is an arrow. The ticks of the horizontal
//! axis are the values that were measured, unless there are too many.
//!
//! Where a line is fitted, it is drawn through markers that nothing else connects; on logarithmic
//! axes it bends unless it meets the origin.
//!
//! Lengths are in points of the figure. The SVG is drawn on a grid of a tenth of a point; the PNG
//! at four pixels a point and then averaged to two, which smooths all edges alike.

use std::{collections::BTreeSet, io::Cursor};

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::style::RGBColor;
use plotters::style::text_anchor::{HPos, VPos};

use crate::metrics::{Line, LineErrors};
use crate::plan::presentation::{PlotSpec, SECONDS, number};
use crate::report::axis::{Scale, trim};
use crate::report::page::{
    BLACK, GREY, LIGHT, Letters, Page, Text, WHITE, named, pretty, text_width, wrap,
};
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

/// The points of a curve by increasing x; no value where the cell diverged.
pub type Points = Vec<(f64, Option<Estimate>)>;

/// A figure, ready to be drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    spec: PlotSpec,
    note: String,
    curves: Vec<Curve>,
    /// Whether x was measured: its values are no ticks.
    measured_x: bool,
}

/// One curve of a figure.
#[derive(Clone, Debug, PartialEq)]
struct Curve {
    label: String,
    points: Points,
    /// None where nothing is fitted, or to fewer than two places.
    line: Option<Line>,
}

/// Okabe and Ito's palette without its yellow, which white paper swallows; neighbours differ in
/// lightness.
pub(crate) const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(86, 180, 233),
    RGBColor(204, 121, 167),
];

impl Figure {
    /// Collects the curves of a plot from records.
    ///
    /// Labels of axes that are neither the series nor the horizontal axis are part of a curve's
    /// name where they vary.
    ///
    /// # Errors
    /// If there is nothing to draw, or if something has no place on an axis.
    pub fn new(spec: &PlotSpec, records: &[Record]) -> Result<Self, PlotError> {
        let name = || spec.name.clone();
        let measured_x = records.iter().any(|record| record.metrics.contains_key(&spec.x));
        let counted = measured_x || ["S", "levels", "calls", "N"].contains(&spec.x.as_str());
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
            // What is counted or measured follows from S: then the axis is what moves along the curve.
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
        let mut note = note(spec, records, diverged, &curves, measured_x);
        match outside {
            0 => {}
            1 => note.push_str("; 1 cell at zero or below has no place on a logarithmic axis"),
            n => {
                note = format!(
                    "{note}; {n} cells at zero or below have no place on a logarithmic axis"
                );
            }
        }
        Ok(Self { spec: spec.clone(), note, curves, measured_x })
    }

    /// The figure of curves that come from elsewhere than a table: a label, and points by increasing x.
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

    /// The figure with what its times were measured on in its note.
    #[must_use]
    pub fn on(mut self, hardware: &str) -> Self {
        self.note = format!("{}; measured on {hardware}", self.note);
        self
    }

    /// The fitted lines, one each row: the curve, its points, `slope` and `intercept` with their
    /// standard errors, and the standard deviation about the line; empty where there is none.
    pub fn fit_csv(&self) -> Vec<u8> {
        let header =
            ["curve", "points", "slope", "slope.se", "intercept", "intercept.se", "residual"];
        let float = |x: f64| format!("{x:?}");
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

    /// The figure as SVG; its text is text, in a font that any browser replaces.
    ///
    /// # Errors
    /// If the drawing library refuses.
    pub fn svg(&self) -> Result<String, PlotError> {
        let scale = 10;
        let mut svg = String::new();
        let size = (WIDTH * scale, HEIGHT * scale);
        self.draw(&mut SVGBackend::with_string(&mut svg, size), scale, Letters::Text)?;
        let fine = format!("width=\"{}\" height=\"{}\"", size.0, size.1);
        Ok(svg.replacen(&fine, &format!("width=\"{WIDTH}\" height=\"{HEIGHT}\""), 1))
    }

    /// The figure as PNG, two pixels a point.
    ///
    /// # Errors
    /// If the drawing library refuses.
    pub fn png(&self) -> Result<Vec<u8>, PlotError> {
        let scale = 4;
        let (width, height) = (WIDTH * scale, HEIGHT * scale);
        let stride = width as usize * 3;
        let mut fine = vec![u8::MAX; stride * height as usize];
        let mut backend = BitMapBackend::with_buffer(&mut fine, (width, height));
        self.draw(&mut backend, scale, Letters::Pixels)?;
        drop(backend);
        let average = |y: usize, x: usize| {
            let (row, channel) = (2 * y * stride, 2 * (x / 3) * 3 + x % 3);
            let at = |row: usize, i: usize| u16::from(fine[row + i]);
            let top = at(row, channel) + at(row, channel + 3);
            let bottom = at(row + stride, channel) + at(row + stride, channel + 3);
            u8::try_from((top + bottom + 2) / 4).unwrap_or(u8::MAX)
        };
        let pixels: Vec<u8> = (0..height as usize / 2)
            .flat_map(|y| (0..stride / 2).map(move |x| (y, x)))
            .map(|(y, x)| average(y, x))
            .collect();
        let mut file = Cursor::new(Vec::new());
        PngEncoder::new(&mut file)
            .write_image(&pixels, width / 2, height / 2, ExtendedColorType::Rgb8)
            .map_err(|e| self.refused(e.to_string()))?;
        Ok(file.into_inner())
    }

    fn refused(&self, problem: String) -> PlotError {
        PlotError::Draw { name: self.spec.name.clone(), problem }
    }

    fn draw<B: DrawingBackend>(
        &self,
        backend: &mut B,
        scale: u32,
        letters: Letters,
    ) -> Result<(), PlotError> {
        let mut page = Page { backend, scale: f64::from(scale), letters, error: None };
        self.compose(&mut page);
        let error = page.error.or_else(|| page.backend.present().err().map(|e| e.to_string()));
        error.map_or(Ok(()), |problem| Err(self.refused(problem)))
    }

    fn compose<B: DrawingBackend>(&self, page: &mut Page<B>) {
        let (width, height) = (f64::from(WIDTH), f64::from(HEIGHT));
        page.rectangle((0.0, 0.0), (width, height), WHITE);

        // Text above, from the top down.
        let (y_scale, mut y) = (self.y_scale(), MARGIN);
        let note = if self.runs_out(&y_scale) {
            let semicolon = if self.note.is_empty() { "" } else { "; " };
            format!("{}{semicolon}an arrow: the interval goes on beyond the axis", self.note)
        } else {
            self.note.clone()
        };
        for (text, size, color, bold) in [
            (&self.spec.title, 14.0, BLACK, true),
            (&note, 10.5, GREY, false),
            (&self.spec.y_label, 12.0, BLACK, false),
        ] {
            for line in wrap(text, size, bold, width - 2.0 * MARGIN) {
                let write = Text { size, color, bold, at: (HPos::Left, VPos::Top) };
                page.text(&line, (MARGIN, y), write);
                y += 1.3 * size;
            }
            y += 0.6 * size;
        }
        let x_label = wrap(&self.spec.x_label, 12.0, false, width - 2.0 * MARGIN);
        let labels = self.curves.iter().map(|c| text_width(&c.label, 12.0, false));
        let right = labels.fold(0.0, f64::max).min(LABEL_WIDTH) + LEADER + MARGIN;

        let y_ticks = y_scale.ticks();
        let tick_width = y_ticks.iter().map(|(_, t)| text_width(t, 11.0, false));
        let frame = Frame {
            left: MARGIN + tick_width.fold(0.0, f64::max) + 8.0,
            right: width - right,
            top: y + 2.0,
            bottom: height - MARGIN - 15.6 * x_label.len() as f64 - 26.0,
            x: self.x_scale(),
            y: y_scale,
        };
        frame.draw_axes(page, &self.x_ticks(&frame.x), &y_ticks);
        for (i, line) in x_label.iter().enumerate() {
            let place = (0.5 * (frame.left + frame.right), frame.bottom + 30.0 + 15.6 * i as f64);
            page.text(line, place, Text::plain(12.0, BLACK, HPos::Center, VPos::Top));
        }
        self.draw_triangles(page, &frame);
        self.draw_curves(page, &frame);
    }

    /// A right triangle of each order in the lower left corner, where errors that fall leave room:
    /// its long side falls by the order's power of ten over its width.
    fn draw_triangles<B: DrawingBackend>(&self, page: &mut Page<B>, frame: &Frame) {
        let width = 0.12 * (frame.right - frame.left);
        // Lengths of a factor of ten along both axes.
        let along = (frame.right - frame.left) / (frame.x.high - frame.x.low);
        let down = (frame.bottom - frame.top) / (frame.y.high - frame.y.low);
        let mut left = frame.left + 16.0;
        for order in &self.spec.triangles {
            let height = (width / along * order * down).min(0.6 * (frame.bottom - frame.top));
            let width = height / (order * down) * along;
            let (top, bottom) = (frame.bottom - 14.0 - height, frame.bottom - 14.0);
            let corners = [(left, top), (left, bottom), (left + width, bottom), (left, top)];
            page.line(&corners, 1.0, GREY);
            let place = (left - 4.0, 0.5 * (top + bottom));
            page.text(&trim(*order), place, Text::plain(11.0, GREY, HPos::Right, VPos::Center));
            left += width + 26.0;
        }
    }

    fn draw_curves<B: DrawingBackend>(&self, page: &mut Page<B>, frame: &Frame) {
        let ends: Vec<f64> = self
            .curves
            .iter()
            .map(|curve| {
                let last = curve.points.iter().rev().find_map(|(_, y)| *y);
                last.map_or(frame.bottom, |estimate| frame.y_at(estimate.value))
            })
            .collect();
        let places = spread(&ends, 15.0, (frame.top + 4.0, frame.bottom - 4.0));
        // Lines to the labels are dashed, pale and behind everything, so as not to look like data.
        for pass in [Pass::Leaders, Pass::Curves] {
            for (i, curve) in self.curves.iter().enumerate() {
                self.draw_curve(page, frame, (i, curve), places[i], pass);
            }
        }
    }

    fn draw_curve<B: DrawingBackend>(
        &self,
        page: &mut Page<B>,
        frame: &Frame,
        (i, curve): (usize, &Curve),
        label_y: f64,
        pass: Pass,
    ) {
        let count = self.curves.len();
        let color = PALETTE[i % PALETTE.len()];
        // Cells at the same x would hide each other's error bars; a measured x is where it was measured.
        let step = if self.shares_x() { 3.0_f64.min(14.0 / count as f64) } else { 0.0 };
        let shift = (i as f64 - 0.5 * (count as f64 - 1.0)) * step;
        let place = |x: f64, y: f64| (frame.x_at(x) + shift, frame.y_at(y));
        if pass == Pass::Leaders {
            let label = (frame.right + LEADER, label_y);
            let last = curve.points.iter().rev().find_map(|(x, y)| Some(place(*x, (*y)?.value)));
            if let Some(end) = last {
                page.dashes(end, (label.0 - 4.0, label.1), 0.8, mix(color, WHITE, 0.4));
            }
            let text = Text::plain(12.0, label_color(color), HPos::Left, VPos::Center);
            page.text(&shorten(&curve.label), label, text);
            return;
        }
        for (x, estimate) in &curve.points {
            let Some(Estimate { value, interval: Some((low, high)) }) = *estimate else { continue };
            let (top, middle) = (place(*x, high), place(*x, value));
            let cap = |(x, y): (f64, f64)| [(x - 2.5, y), (x + 2.5, y)];
            let (bottom, end) = if frame.y.holds(low) {
                let bottom = place(*x, low);
                (bottom, cap(bottom).to_vec())
            } else {
                // How far it goes on cannot be shown, that it does can.
                let bottom = (middle.0, (middle.1 + ARROW).min(frame.bottom));
                let (x, y) = bottom;
                (bottom, vec![(x - 3.0, y - 4.5), bottom, (x + 3.0, y - 4.5)])
            };
            page.line(&[top, bottom], 1.0, color);
            page.line(&cap(top), 1.0, color);
            page.line(&end, 1.0, color);
        }
        for run in curve.points.split(|(_, y)| y.is_none()) {
            let path: Vec<_> =
                run.iter().filter_map(|(x, y)| Some(place(*x, (*y)?.value))).collect();
            match curve.line {
                Some(line) => page.line(&self.straight(frame, curve, line, place), 1.2, color),
                None => page.line(&path, 1.6, color),
            }
            for &point in &path {
                page.marker(i, point, 5.0, WHITE);
                page.marker(i, point, 4.0, color);
            }
        }
    }

    /// A fitted line over the places of its curve, as far as the axes have room for it.
    fn straight(
        &self,
        frame: &Frame,
        curve: &Curve,
        line: Line,
        place: impl Fn(f64, f64) -> (f64, f64),
    ) -> Vec<(f64, f64)> {
        let ends = curve.points.first().zip(curve.points.last());
        let (from, to) = ends.map_or((0.0, 0.0), |(first, last)| (first.0, last.0));
        let at = |i: i32| {
            let part = f64::from(i) / f64::from(PIECES);
            if self.spec.log_x { from * (to / from).powf(part) } else { from + (to - from) * part }
        };
        let points = (0..=PIECES).map(|i| (at(i), line.at(at(i))));
        let lowest = if frame.y.log { 10f64.powf(frame.y.low) } else { frame.y.low };
        points.filter(|(_, y)| *y >= lowest).map(|(x, y)| place(x, y)).collect()
    }

    /// All x that were measured, in order.
    /// Whether several curves have points at one x.
    fn shares_x(&self) -> bool {
        let mut xs = BTreeSet::new();
        self.curves.iter().any(|curve| {
            let own: BTreeSet<u64> = curve.points.iter().map(|(x, _)| x.to_bits()).collect();
            own.into_iter().any(|x| !xs.insert(x))
        })
    }

    fn x_scale(&self) -> Scale {
        Scale::over(self.x_values().into_iter(), self.spec.log_x, 0.04)
    }

    fn y_scale(&self) -> Scale {
        let log = self.spec.log_y;
        let estimates = self.curves.iter().flat_map(|curve| &curve.points);
        let values = estimates.filter_map(|(_, y)| *y).flat_map(|Estimate { value, interval }| {
            let (low, high) = interval.unwrap_or((value, value));
            // A bar to nearly zero would squeeze everything else; it runs out of the axes instead.
            [if log { low.max(0.3 * value) } else { low }, value, high]
        });
        Scale::over(values, log, 0.05)
    }

    /// Whether an interval goes on beyond the axis.
    fn runs_out(&self, scale: &Scale) -> bool {
        let points = self.curves.iter().flat_map(|curve| &curve.points);
        let mut intervals = points.filter_map(|(_, y)| (*y)?.interval);
        intervals.any(|(low, _)| !scale.holds(low))
    }

    /// The values that were measured; round numbers where those are too many to be told apart.
    fn x_ticks(&self, scale: &Scale) -> Vec<f64> {
        let values = self.x_values();
        if values.len() <= 10 && !self.measured_x {
            return values;
        }
        scale.ticks().into_iter().map(|(value, _)| value).collect()
    }

    fn x_values(&self) -> Vec<f64> {
        let mut all: Vec<f64> =
            self.curves.iter().flat_map(|curve| curve.points.iter().map(|(x, _)| *x)).collect();
        all.sort_by(f64::total_cmp);
        all.dedup_by(|a, b| a.total_cmp(b).is_eq());
        all
    }
}

/// The line under the title: what the bars are, what was fitted, and what is not shown.
fn note(
    spec: &PlotSpec,
    records: &[Record],
    diverged: usize,
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
    match diverged {
        0 => {}
        1 => note.push_str("; 1 diverged cell is not shown"),
        n => note = format!("{note}; {n} diverged cells are not shown"),
    }
    note
}

fn x_value(spec: &PlotSpec, record: &Record) -> Result<f64, PlotError> {
    match spec.x.as_str() {
        "S" => Ok(record.steps as f64),
        "levels" => Ok(record.levels as f64),
        "calls" => Ok(record.calls as f64),
        "N" => Ok(record.n as f64),
        x if record.metrics.contains_key(x) => Ok(record.metrics[x].value),
        axis => {
            let (name, axis) = (spec.name.clone(), axis.to_owned());
            let Some(label) = record.label(&axis) else {
                return Err(PlotError::NoAxis { name, axis });
            };
            number(label).ok_or_else(|| PlotError::NotANumber {
                name,
                axis,
                label: label.to_owned(),
            })
        }
    }
}

const WIDTH: u32 = 640;
const HEIGHT: u32 = 420;
const MARGIN: f64 = 14.0;
/// The curves' labels get no wider than this.
const LABEL_WIDTH: f64 = 260.0;
/// Room between the axes and the labels of the curves.
const LEADER: f64 = 22.0;

/// A straight line is drawn in so many pieces, because logarithmic axes bend it.
const PIECES: i32 = 24;

/// The length of an error bar below its value where its end has no place on the axis.
const ARROW: f64 = 20.0;

/// What is drawn of the curves, in order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Leaders,
    Curves,
}

/// The colour of a curve's label: thin letters need more contrast than lines.
pub(crate) fn label_color(curve: RGBColor) -> RGBColor {
    mix(curve, BLACK, 0.25)
}

/// A colour on the way to another.
fn mix(from: RGBColor, to: RGBColor, part: f64) -> RGBColor {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between two bytes
    let byte = |a: u8, b: u8| (f64::from(a) * (1.0 - part) + f64::from(b) * part).round() as u8;
    RGBColor(byte(from.0, to.0), byte(from.1, to.1), byte(from.2, to.2))
}

/// The axes' place on the page.
#[derive(Clone, Copy, Debug)]
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x: Scale,
    y: Scale,
}

impl Frame {
    fn x_at(&self, x: f64) -> f64 {
        self.left + self.x.at(x) * (self.right - self.left)
    }

    fn y_at(&self, y: f64) -> f64 {
        self.bottom - self.y.at(y) * (self.bottom - self.top)
    }

    fn draw_axes<B: DrawingBackend>(
        &self,
        page: &mut Page<B>,
        x_values: &[f64],
        y_ticks: &[(f64, String)],
    ) {
        let Self { left, right, top, bottom, .. } = *self;
        for (value, label) in y_ticks {
            let y = self.y_at(*value);
            page.line(&[(left, y), (right, y)], 0.6, LIGHT);
            page.text(label, (left - 6.0, y), Text::plain(11.0, BLACK, HPos::Right, VPos::Center));
        }
        page.line(&[(left, top), (left, bottom), (right, bottom)], 0.9, BLACK);
        // Where labels would touch, every tick keeps its mark, and the ends keep their labels.
        let mut free_from = f64::NEG_INFINITY;
        let wide = |value: f64| text_width(&trim(value), 11.0, false) + 6.0;
        let last = x_values.last().copied();
        for &value in x_values {
            let (x, half) = (self.x_at(value), 0.5 * wide(value));
            page.line(&[(x, bottom), (x, bottom + 4.0)], 0.9, BLACK);
            let is_last = last.is_some_and(|last| last.total_cmp(&value).is_eq());
            let until = match last {
                Some(last) if !is_last => self.x_at(last) - 0.5 * wide(last),
                _ => f64::INFINITY,
            };
            if x - half >= free_from && x + half <= until {
                let text = Text::plain(11.0, BLACK, HPos::Center, VPos::Top);
                page.text(&trim(value), (x, bottom + 8.0), text);
                free_from = x + half;
            }
        }
    }
}

/// The nearest places at least `gap` apart and within the limits, in the order wanted.
///
/// Minus the gaps, this is a regression onto increasing sequences: neighbours that violate the
/// order are pooled to their mean.
fn spread(wanted: &[f64], gap: f64, (low, high): (f64, f64)) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]));
    let mut pools: Vec<(f64, usize)> = Vec::new(); // sum, count
    for (rank, &i) in order.iter().enumerate() {
        let mut pool = (wanted[i] - gap * rank as f64, 1);
        while let Some(&(sum, count)) = pools.last() {
            if sum / (count as f64) <= pool.0 / pool.1 as f64 {
                break;
            }
            pools.pop();
            pool = (pool.0 + sum, pool.1 + count);
        }
        pools.push(pool);
    }
    let last = (high - gap * wanted.len().saturating_sub(1) as f64).max(low);
    let fitted = pools.iter().flat_map(|&(sum, count)| {
        std::iter::repeat_n((sum / count as f64).clamp(low, last), count)
    });
    let mut places = vec![0.0; wanted.len()];
    for (rank, (&i, place)) in order.iter().zip(fitted).enumerate() {
        places[i] = place + gap * rank as f64;
    }
    places
}

/// A curve's label, cut where it would leave no room for the curve.
fn shorten(label: &str) -> String {
    let mut short = label.to_owned();
    while text_width(&short, 12.0, false) > LABEL_WIDTH {
        short = short.trim_end_matches('…').to_owned();
        short.pop();
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_move_apart_no_further_than_they_must() {
        let places = spread(&[10.0, 12.0, 100.0, 11.0], 4.0, (0.0, 200.0));
        assert_eq!(places, [7.0, 15.0, 100.0, 11.0]);
        assert_eq!(spread(&[1.0, 1.0], 4.0, (0.0, 200.0)), [0.0, 4.0]);
        assert_eq!(spread(&[99.0, 99.5], 4.0, (0.0, 100.0)), [96.0, 100.0]);
    }

    #[test]
    fn labels_too_long_for_the_page_are_cut() {
        assert_eq!(shorten("eta = 0.5"), "eta = 0.5");
        let short = shorten(&"very ".repeat(30));
        assert!(short.ends_with('…') && text_width(&short, 12.0, false) <= LABEL_WIDTH);
    }
}
