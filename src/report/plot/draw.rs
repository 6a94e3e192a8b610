//! How a figure is drawn.
//!
//! Lengths are in points of the figure. The SVG is drawn on a grid of a tenth of a point; the PNG
//! at four pixels per point and then averaged to two, which smooths all edges alike.

use std::collections::BTreeSet;

use image::ExtendedColorType;
use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::style::RGBColor;
use plotters::style::text_anchor::{HPos, VPos};

use super::{Curve, Figure, PlotError};
use crate::metrics::Line;
use crate::report::axis::{Scale, trim};
use crate::report::image_grid;
use crate::report::page::{BLACK, GREY, LIGHT, Letters, Page, Text, WHITE, text_width, wrap};
use crate::results::record::Estimate;

const WIDTH: u32 = 640;
const HEIGHT: u32 = 420;
const MARGIN: f64 = 14.0;
/// The largest width of a curve's label.
const LABEL_WIDTH: f64 = 260.0;
/// Room between the axes and the labels of the curves.
const LEADER: f64 = 22.0;

/// A fitted line is drawn in this many pieces, because logarithmic axes bend it.
const PIECES: i32 = 24;

/// The length of an error bar below its value if the axis cannot show its end.
const ARROW: f64 = 20.0;

/// Okabe and Ito's palette without its yellow, which is hard to see on white paper; neighbours
/// differ in lightness.
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

    /// The figure as PNG, at two pixels per point.
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
        image_grid::encode(&pixels, (width / 2, height / 2), ExtendedColorType::Rgb8)
            .map_err(|error| self.refused(error.to_string()))
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
        // Curves that share an x are drawn a little apart, or their error bars would hide each other.
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
                // An arrow: the end lies beyond the axis.
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

    /// A fitted line over the range of its curve, within the axes.
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
            // A bar to nearly zero would squeeze everything else, so it leaves the axes instead.
            [if log { low.max(0.3 * value) } else { low }, value, high]
        });
        Scale::over(values, log, 0.05)
    }

    /// Whether an interval continues beyond the axis.
    fn runs_out(&self, scale: &Scale) -> bool {
        let points = self.curves.iter().flat_map(|curve| &curve.points);
        let mut intervals = points.filter_map(|(_, y)| (*y)?.interval);
        intervals.any(|(low, _)| !scale.holds(low))
    }

    /// The values that were measured, or round numbers if those are too many to be legible.
    fn x_ticks(&self, scale: &Scale) -> Vec<f64> {
        let values = self.x_values();
        if values.len() <= 10 && !self.measured_x {
            return values;
        }
        scale.ticks().into_iter().map(|(value, _)| value).collect()
    }

    /// All x that were measured, in order.
    fn x_values(&self) -> Vec<f64> {
        let mut all: Vec<f64> =
            self.curves.iter().flat_map(|curve| curve.points.iter().map(|(x, _)| *x)).collect();
        all.sort_by(f64::total_cmp);
        all.dedup_by(|a, b| a.total_cmp(b).is_eq());
        all
    }
}

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
        // If labels would touch, every tick keeps its mark, and only the ends keep their labels.
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

/// A curve's label, cut if it would leave no room for the curve.
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
