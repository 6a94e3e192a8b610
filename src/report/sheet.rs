//! Strips of samples, and sheets that show labelled strips below each other.

use std::path::PathBuf;

use image::{ExtendedColorType, ImageFormat, RgbImage, imageops};
use ndarray::ArrayView4;
use plotters::backend::BitMapBackend;
use plotters::style::text_anchor::{HPos, VPos};

use crate::{
    error::{Error, Result},
    report::{
        image_grid::{self, Layout},
        page::{BLACK, Letters, Page, Text, text_width},
    },
};

/// Every pixel of a sample becomes a square of this many pixels.
const SCALE: u32 = 2;
const MARGIN: u32 = 8;
const GAP: u32 = 4;
const TITLE: u32 = 30;
const TITLE_SIZE: f64 = 15.0;
const LABEL_SIZE: f64 = 14.0;
/// The smallest width of the column of labels.
const LABEL: f64 = 80.0;

/// One row of a sheet.
#[derive(Clone, Debug)]
pub struct Row {
    /// What the row shows.
    pub label: String,
    /// The strip's file.
    pub strip: PathBuf,
}

/// The samples side by side as a PNG, pixel for pixel.
///
/// # Errors
/// Samples that have neither one channel nor three.
pub fn strip(samples: ArrayView4<'_, f32>) -> Result<Vec<u8>> {
    let layout = Layout { columns: samples.dim().0, padding: 0, scale: 1 };
    Ok(image_grid::png(samples, layout)?)
}

/// A PNG of the strips below each other, enlarged, each next to its label, under a title. The picture
/// is as wide as its labels and its title need.
///
/// # Errors
/// A strip that cannot be read, or a picture that cannot be encoded.
pub fn sheet(title: &str, rows: &[Row]) -> Result<Vec<u8>> {
    let mut strips = vec![];
    for row in rows {
        let unreadable = |error: String| {
            Error::input(format!(
                "{}: {error}; delete the file and run again to have it redrawn",
                row.strip.display()
            ))
        };
        let bytes = std::fs::read(&row.strip).map_err(|error| unreadable(error.to_string()))?;
        let picture = image::load_from_memory_with_format(&bytes, ImageFormat::Png)
            .map_err(|error| unreadable(error.to_string()))?
            .to_rgb8();
        let (width, height) = (picture.width() * SCALE, picture.height() * SCALE);
        strips.push(imageops::resize(&picture, width, height, imageops::FilterType::Nearest));
    }
    let wide = |text: &str, size: f64| text_width(text, size, false).ceil();
    let widest = rows.iter().map(|row| wide(&row.label, LABEL_SIZE)).fold(LABEL, f64::max);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a few hundred pixels
    let (label, title_width) = (widest as u32 + 2 * MARGIN, wide(title, TITLE_SIZE) as u32);
    let content = strips.iter().map(RgbImage::width).max().unwrap_or(0).max(title_width);
    let width = content + label + 2 * MARGIN;
    let height = strips.iter().map(|strip| strip.height() + GAP).sum::<u32>() + TITLE + MARGIN;
    let mut canvas = RgbImage::from_pixel(width, height, image::Rgb([255; 3]));
    let mut tops = vec![];
    let mut top = TITLE;
    for strip in &strips {
        imageops::replace(&mut canvas, strip, i64::from(label + MARGIN), i64::from(top));
        tops.push(top + strip.height() / 2);
        top += strip.height() + GAP;
    }
    write_labels(&mut canvas, title, rows, &tops, label)
        .map_err(|error| Error::input(format!("cannot draw the labels of a sheet: {error}")))?;
    image_grid::encode(&canvas, (width, height), ExtendedColorType::Rgb8)
        .map_err(|error| Error::input(format!("cannot encode a sheet of samples: {error}")))
}

fn write_labels(
    canvas: &mut RgbImage,
    title: &str,
    rows: &[Row],
    middles: &[u32],
    label: u32,
) -> std::result::Result<(), String> {
    let size = canvas.dimensions();
    let mut backend = BitMapBackend::with_buffer(canvas, size);
    let mut page =
        Page { backend: &mut backend, scale: 1.0, letters: Letters::Pixels, error: None };
    let text = |size, anchor| Text::plain(size, BLACK, anchor, VPos::Center);
    let start = (f64::from(label + MARGIN), f64::from(TITLE / 2));
    page.text(title, start, text(TITLE_SIZE, HPos::Left));
    for (row, &middle) in rows.iter().zip(middles) {
        let end = (f64::from(label), f64::from(middle));
        page.text(&row.label, end, text(LABEL_SIZE, HPos::Right));
    }
    page.error.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_label_and_no_title_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let strip = dir.path().join("strip.png");
        RgbImage::from_pixel(8, 8, image::Rgb([128; 3])).save(&strip).unwrap();
        let drawn = |title: &str, label: &str| {
            let row = Row { label: label.to_owned(), strip: strip.clone() };
            let png = sheet(title, &[row]).unwrap();
            image::load_from_memory(&png).unwrap().to_rgb8()
        };
        // Within the margin nothing is drawn: what stands there has run out of the picture.
        let long = "adams-bashforth 4, inversion = fixed point x3";
        for (title, label) in [("steps = 20", long), (long, "ddim")] {
            let picture = drawn(title, label);
            let is_blank =
                |x: u32| (0..picture.height()).all(|y| picture.get_pixel(x, y).0 == [255; 3]);
            let last = picture.width() - 1;
            assert!((0..MARGIN / 2).all(|x| is_blank(x) && is_blank(last - x)), "{title}, {label}");
            assert!(!(0..picture.width()).all(is_blank));
        }
        assert_eq!(drawn("steps = 20", "ddim").width(), drawn("steps = 20", "a").width());
    }
}
