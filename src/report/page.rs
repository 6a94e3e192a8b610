//! A drawing surface for plots and sheets, with lengths in points and its own font.
//!
//! Text on a PNG is drawn from the outlines of DejaVu Sans, which is built into the program; text
//! in an SVG stays text.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, GlyphId, PxScaleFont, ScaleFont, point};
use plotters::backend::DrawingBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontDesc, FontFamily, FontStyle, RGBColor, ShapeStyle, TextStyle};

use crate::report::text::HAT;

/// The font family, and fallbacks for browsers.
const FONT: &str = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif";

pub(crate) const BLACK: RGBColor = RGBColor(0, 0, 0);
pub(crate) const GREY: RGBColor = RGBColor(95, 95, 95);
pub(crate) const LIGHT: RGBColor = RGBColor(226, 226, 226);
pub(crate) const WHITE: RGBColor = RGBColor(255, 255, 255);

/// The built-in `DejaVu Sans`, regular or bold.
fn face(bold: bool) -> &'static FontRef<'static> {
    static FACES: LazyLock<[FontRef<'static>; 2]> = LazyLock::new(|| {
        [dejavu::sans::regular(), dejavu::sans::bold()].map(|bytes| {
            FontRef::try_from_slice(bytes).expect("invariant: the built-in font is well-formed")
        })
    });
    &FACES[usize::from(bold)]
}

/// The font at a size in points of the em; `ab_glyph` counts from ascent to descent instead.
fn scaled(size: f64, bold: bool) -> PxScaleFont<&'static FontRef<'static>> {
    let font = face(bold);
    let em = font.height_unscaled() / font.units_per_em().unwrap_or(2048.0);
    #[allow(clippy::cast_possible_truncation)] // some hundred pixels
    let size = size as f32;
    font.into_scaled(size * em)
}

/// Calls `place` for every letter with the x at which it starts; returns the width of the text.
fn lay_out(
    text: &str,
    font: &PxScaleFont<&FontRef<'static>>,
    mut place: impl FnMut(GlyphId, f32),
) -> f32 {
    let (mut x, mut previous) = (0.0, None);
    for letter in text.chars().map(|c| font.glyph_id(c)) {
        x += previous.map_or(0.0, |previous| font.kern(previous, letter));
        place(letter, x);
        x += font.h_advance(letter);
        previous = Some(letter);
    }
    x
}

pub(crate) fn text_width(text: &str, size: f64, bold: bool) -> f64 {
    f64::from(lay_out(text, &scaled(size, bold), |_, _| {}))
}

/// Lines no wider than `width`, broken at spaces.
pub(crate) fn wrap(text: &str, size: f64, bold: bool, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(&format!("{line} {word}"), size, bold) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// How text is drawn on a backend.
#[derive(Clone, Copy)]
pub(crate) enum Letters {
    /// As text.
    Text,
    /// As pixels.
    Pixels,
}

/// How a text is written.
#[derive(Clone, Copy)]
pub(crate) struct Text {
    pub size: f64,
    pub color: RGBColor,
    pub bold: bool,
    pub at: (HPos, VPos),
}

impl Text {
    pub fn plain(size: f64, color: RGBColor, horizontal: HPos, vertical: VPos) -> Self {
        Self { size, color, bold: false, at: (horizontal, vertical) }
    }
}

/// A drawing backend with lengths in points; it remembers the first error.
pub(crate) struct Page<'a, B: DrawingBackend> {
    pub backend: &'a mut B,
    pub scale: f64,
    pub letters: Letters,
    pub error: Option<String>,
}

pub(crate) type Point = (f64, f64);

impl<B: DrawingBackend> Page<'_, B> {
    #[allow(clippy::cast_possible_truncation)] // a page is far smaller than 2^31 pixels
    pub fn pixel(&self, (x, y): Point) -> (i32, i32) {
        ((self.scale * x).round() as i32, (self.scale * y).round() as i32)
    }

    pub fn style(&self, width: f64, color: RGBColor) -> ShapeStyle {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a few pixels
        let width = (self.scale * width).round().max(1.0) as u32;
        ShapeStyle { color: color.to_rgba(), filled: true, stroke_width: width }
    }

    fn note<E: std::fmt::Display>(&mut self, outcome: Result<(), E>) {
        if let Err(error) = outcome {
            self.error.get_or_insert(error.to_string());
        }
    }

    pub fn line(&mut self, points: &[Point], width: f64, color: RGBColor) {
        let path: Vec<_> = points.iter().map(|&point| self.pixel(point)).collect();
        if path.len() > 1 {
            let outcome = self.backend.draw_path(path, &self.style(width, color));
            self.note(outcome);
        }
    }

    pub fn dashes(&mut self, from: Point, to: Point, width: f64, color: RGBColor) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let (length, period) = (dx.hypot(dy), 4.0);
        let at = |way: f64| (from.0 + dx * way / length, from.1 + dy * way / length);
        let mut way = 0.0;
        while way < length {
            self.line(&[at(way), at((way + 0.5 * period).min(length))], width, color);
            way += period;
        }
    }

    pub fn rectangle(&mut self, corner: Point, opposite: Point, color: RGBColor) {
        let (a, b) = (self.pixel(corner), self.pixel(opposite));
        let outcome = self.backend.draw_rect(a, b, &self.style(0.0, color), true);
        self.note(outcome);
    }

    pub fn polygon(&mut self, points: &[Point], color: RGBColor) {
        let path: Vec<_> = points.iter().map(|&point| self.pixel(point)).collect();
        let outcome = self.backend.fill_polygon(path, &self.style(0.0, color));
        self.note(outcome);
    }

    /// The marker of curve `i`, about as large for every shape.
    pub fn marker(&mut self, i: usize, (x, y): Point, radius: f64, color: RGBColor) {
        let corners = |corners: usize, from: f64, radius: f64| -> Vec<Point> {
            let angle = |k: usize| (from + 360.0 * k as f64 / corners as f64).to_radians();
            let corner = |k| (x + radius * angle(k).cos(), y + radius * angle(k).sin());
            (0..corners).map(corner).collect()
        };
        match i % 5 {
            0 => {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a few pixels
                let pixels = (self.scale * radius * 0.95).round() as u32;
                let (center, style) = (self.pixel((x, y)), self.style(0.0, color));
                let outcome = self.backend.draw_circle(center, pixels, &style, true);
                self.note(outcome);
            }
            1 => self.polygon(&corners(4, 45.0, 1.2 * radius), color),
            2 => self.polygon(&corners(3, -90.0, 1.3 * radius), color),
            3 => self.polygon(&corners(4, 0.0, 1.25 * radius), color),
            _ => self.polygon(&corners(3, 90.0, 1.3 * radius), color),
        }
    }

    pub fn text(&mut self, text: &str, (x, y): Point, write: Text) {
        let Text { size, color, bold, at: (horizontal, vertical) } = write;
        let baseline = match vertical {
            VPos::Top => y + 0.76 * size,
            VPos::Center => y + 0.365 * size, // half of a capital's height
            VPos::Bottom => y,
        };
        // Without text shaping, a combining circumflex would stand beside its letter.
        if let Some((letter, rest)) = text.split_once(HAT) {
            let whole = text_width(&format!("{letter}{rest}"), size, bold);
            let left = match horizontal {
                HPos::Left => x,
                HPos::Center => x - 0.5 * whole,
                HPos::Right => x - whole,
            };
            let width = text_width(letter, size, bold);
            let (middle, low) = (left + width - 0.29 * size, baseline - 0.65 * size);
            let hat = [(-0.16, 0.0), (0.0, -0.16), (0.16, 0.0)];
            let hat = hat.map(|(dx, dy)| (middle + dx * size, low + dy * size));
            self.line(&hat, 0.08 * size, color);
            return self.text(&format!("{letter}{rest}"), (x, y), write);
        }
        match self.letters {
            Letters::Text => {
                let font_style = if bold { FontStyle::Bold } else { FontStyle::Normal };
                // The SVG backend divides by 1.24, and puts the baseline 0.76 em below the top.
                let font_size = 1.24 * size * self.scale;
                let font = FontDesc::new(FontFamily::Name(FONT), font_size, font_style);
                let style =
                    TextStyle::from(font).color(&color).pos(Pos::new(horizontal, VPos::Top));
                let place = self.pixel((x, baseline - 0.76 * size));
                let outcome = self.backend.draw_text(text, &style, place);
                self.note(outcome);
            }
            Letters::Pixels => {
                let start = match horizontal {
                    HPos::Left => x,
                    HPos::Center => x - 0.5 * text_width(text, size, bold),
                    HPos::Right => x - text_width(text, size, bold),
                };
                self.pixels(text, (start, baseline), write);
            }
        }
    }

    /// Draws letters as pixels. Plotters itself drops their side bearings, which spaces them unevenly.
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // a few thousand pixels
    fn pixels(&mut self, text: &str, (x, y): Point, write: Text) {
        let font = scaled(write.size * self.scale, write.bold);
        let (x, y) = ((x * self.scale) as f32, (y * self.scale) as f32);
        let mut letters = Vec::new();
        lay_out(text, &font, |letter, dx| {
            letters.push(letter.with_scale_and_position(font.scale(), point(x + dx, y)));
        });
        for outline in letters.into_iter().filter_map(|letter| font.outline_glyph(letter)) {
            let corner = outline.px_bounds().min;
            outline.draw(|dx, dy, alpha| {
                let at = (corner.x as i32 + dx as i32, corner.y as i32 + dy as i32);
                let color = write.color.mix(f64::from(alpha.min(1.0))).to_backend_color();
                let outcome = self.backend.draw_pixel(at, color);
                self.note(outcome);
            });
        }
    }
}
