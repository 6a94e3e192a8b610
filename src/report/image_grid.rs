//! Grids of images as PNG.

use image::{ExtendedColorType, ImageEncoder, ImageResult, codecs::png::PngEncoder};
use ndarray::ArrayView4;

use crate::{data::to_u8, error::Error};

/// How a grid of images is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Images per row.
    pub columns: usize,
    /// White pixels between and around the images, after enlarging.
    pub padding: usize,
    /// Every pixel becomes a square of this many pixels.
    pub scale: usize,
}

impl Layout {
    /// This many images per row, two pixels apart, not enlarged.
    pub fn columns(columns: usize) -> Self {
        Self { columns, padding: 2, scale: 1 }
    }
}

/// Why a grid cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GridError {
    /// There is nothing to draw.
    #[error("cannot draw a grid of images of shape {shape:?}: no side may be 0")]
    Empty {
        /// The images' shape.
        shape: [usize; 4],
    },
    /// The images are neither grey nor in colour.
    #[error("cannot draw images of shape {shape:?}: expected 1 or 3 channels, found {}", shape[1])]
    Channels {
        /// The images' shape.
        shape: [usize; 4],
    },
    /// The encoder refused, for instance because the grid is too large.
    #[error("cannot encode a PNG of {width} x {height} pixels: {source}")]
    Encode {
        /// Pixels.
        width: usize,
        /// Pixels.
        height: usize,
        /// Why not.
        source: image::ImageError,
    },
}

impl From<GridError> for Error {
    fn from(error: GridError) -> Self {
        Self::Input(error.to_string())
    }
}

/// A PNG file that shows images of shape [N, C, H, W] with values in [-1, 1], row by row.
///
/// Grey for one channel, colour for three.
///
/// # Errors
/// If there are no images, or if they have neither one nor three channels.
pub fn png(images: ArrayView4<f32>, layout: Layout) -> Result<Vec<u8>, GridError> {
    let (n, channels, h, w) = images.dim();
    let shape = [n, channels, h, w];
    if shape.contains(&0) || layout.columns == 0 || layout.scale == 0 {
        return Err(GridError::Empty { shape });
    }
    let color = match channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        _ => return Err(GridError::Channels { shape }),
    };
    let Layout { padding, scale, .. } = layout;
    let columns = layout.columns.min(n);
    let rows = n.div_ceil(columns);
    let (step_x, step_y) = (w * scale + padding, h * scale + padding);
    let (width, height) = (columns * step_x + padding, rows * step_y + padding);
    let mut pixels = vec![u8::MAX; width * height * channels];
    for ((image, channel, y, x), &value) in images.indexed_iter() {
        let top = padding + image / columns * step_y + y * scale;
        let left = padding + image % columns * step_x + x * scale;
        for row in top..top + scale {
            for column in left..left + scale {
                pixels[(row * width + column) * channels + channel] = to_u8(value);
            }
        }
    }
    let side = |pixels| u32::try_from(pixels).unwrap_or(u32::MAX); // beyond that, encoding fails
    encode(&pixels, (side(width), side(height)), color).map_err(|source| GridError::Encode {
        width,
        height,
        source,
    })
}

/// A PNG file from pixels, row by row.
pub(crate) fn encode(
    pixels: &[u8],
    (width, height): (u32, u32),
    color: ExtendedColorType,
) -> ImageResult<Vec<u8>> {
    let mut file = Vec::new();
    PngEncoder::new(&mut file).write_image(pixels, width, height, color)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;

    #[test]
    fn a_grid_shows_the_images_row_by_row() {
        let images = Array4::from_shape_fn((3, 3, 1, 2), |(n, c, _, x)| {
            f32::from(u8::try_from(n * 60 + c * 20 + x * 5).unwrap()) / 127.5 - 1.0
        });
        let file = png(images.view(), Layout { columns: 2, padding: 1, scale: 2 }).unwrap();
        let grid = image::load_from_memory(&file).unwrap().into_rgb8();
        assert_eq!(grid.dimensions(), (2 * 5 + 1, 2 * 3 + 1));
        assert_eq!(grid.get_pixel(0, 0).0, [255, 255, 255]);
        assert_eq!(grid.get_pixel(1, 1).0, [0, 20, 40]);
        assert_eq!(grid.get_pixel(4, 2).0, [5, 25, 45]);
        assert_eq!(grid.get_pixel(6, 1).0, [60, 80, 100]);
        assert_eq!(grid.get_pixel(1, 4).0, [120, 140, 160]);
        assert_eq!(grid.get_pixel(6, 4).0, [255, 255, 255]);
    }

    #[test]
    fn one_channel_is_grey() {
        let file = png(Array4::zeros((1, 1, 2, 2)).view(), Layout::columns(8)).unwrap();
        let image = image::load_from_memory(&file).unwrap();
        assert_eq!((image.color(), image.width()), (image::ColorType::L8, 6));
    }

    #[test]
    fn other_numbers_of_channels_are_refused() {
        let error = png(Array4::zeros((1, 2, 4, 4)).view(), Layout::columns(1)).unwrap_err();
        insta::assert_snapshot!(error, @"cannot draw images of shape [1, 2, 4, 4]: expected 1 or 3 channels, found 2");
        let error = png(Array4::zeros((0, 3, 4, 4)).view(), Layout::columns(1)).unwrap_err();
        insta::assert_snapshot!(error, @"cannot draw a grid of images of shape [0, 3, 4, 4]: no side may be 0");
    }
}
