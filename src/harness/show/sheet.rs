//! Strips of samples, and sheets that put strips under each other with their labels.

use std::path::PathBuf;

use image::{ImageFormat, RgbImage, imageops};
use ndarray::ArrayView4;
use plotters::backend::BitMapBackend;
use plotters::style::text_anchor::{HPos, VPos};

use crate::harness::{
    error::{Error, Result},
    image_grid::{self, Layout},
    page::{BLACK, Letters, Page, Text, pretty},
};

/// Every pixel of a sample becomes a square of this many pixels.
const SCALE: u32 = 2;
const MARGIN: u32 = 8;
const GAP: u32 = 4;
const LABEL: u32 = 96;
const TITLE: u32 = 30;

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
/// Samples that are no pictures.
pub fn strip(samples: ArrayView4<'_, f32>) -> Result<Vec<u8>> {
    let layout = Layout { columns: samples.dim().0, padding: 0, scale: 1 };
    Ok(image_grid::png(samples, layout)?)
}

/// The strips under each other, each enlarged beside its label, under a title, as a PNG.
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
    let width = strips.iter().map(RgbImage::width).max().unwrap_or(0) + LABEL + 2 * MARGIN;
    let height = strips.iter().map(|strip| strip.height() + GAP).sum::<u32>() + TITLE + MARGIN;
    let mut canvas = RgbImage::from_pixel(width, height, image::Rgb([255; 3]));
    let mut tops = vec![];
    let mut top = TITLE;
    for strip in &strips {
        imageops::replace(&mut canvas, strip, i64::from(LABEL + MARGIN), i64::from(top));
        tops.push(top + strip.height() / 2);
        top += strip.height() + GAP;
    }
    write_labels(&mut canvas, title, rows, &tops)
        .map_err(|error| Error::input(format!("cannot draw the labels of a sheet: {error}")))?;
    let mut png = std::io::Cursor::new(vec![]);
    canvas
        .write_to(&mut png, ImageFormat::Png)
        .map_err(|error| Error::input(format!("cannot encode a sheet of samples: {error}")))?;
    Ok(png.into_inner())
}

fn write_labels(
    canvas: &mut RgbImage,
    title: &str,
    rows: &[Row],
    middles: &[u32],
) -> std::result::Result<(), String> {
    let size = canvas.dimensions();
    let mut backend = BitMapBackend::with_buffer(canvas, size);
    let mut page =
        Page { backend: &mut backend, scale: 1.0, letters: Letters::Pixels, error: None };
    let text = |size, anchor| Text::plain(size, BLACK, anchor, VPos::Center);
    let start = (f64::from(LABEL + MARGIN), f64::from(TITLE / 2));
    page.text(title, start, text(15.0, HPos::Left));
    for (row, &middle) in rows.iter().zip(middles) {
        let end = (f64::from(LABEL), f64::from(middle));
        page.text(&pretty(&row.label), end, text(14.0, HPos::Right));
    }
    page.error.map_or(Ok(()), Err)
}
