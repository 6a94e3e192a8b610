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

/// A grid of images that are drawn one after the other, row by row; it holds their pixels alone.
#[derive(Debug)]
pub struct Canvas {
    layout: Layout,
    shape: [usize; 4],
    color: ExtendedColorType,
    size: [usize; 2],
    pixels: Vec<u8>,
    drawn: usize,
}

impl Canvas {
    /// White, with room for images of shape [N, C, H, W]: grey for one channel, colour for three.
    ///
    /// # Errors
    /// If there are no images, or if they have neither one nor three channels.
    pub fn new(shape: [usize; 4], layout: Layout) -> Result<Self, GridError> {
        let [n, channels, h, w] = shape;
        if shape.contains(&0) || layout.columns == 0 || layout.scale == 0 {
            return Err(GridError::Empty { shape });
        }
        let color = match channels {
            1 => ExtendedColorType::L8,
            3 => ExtendedColorType::Rgb8,
            _ => return Err(GridError::Channels { shape }),
        };
        let layout = Layout { columns: layout.columns.min(n), ..layout };
        let Layout { columns, padding, scale } = layout;
        let side = |images: usize, side: usize| images * (side * scale + padding) + padding;
        let size = [side(columns, w), side(n.div_ceil(columns), h)];
        let pixels = vec![u8::MAX; size[0] * size[1] * channels];
        Ok(Self { layout, shape, color, size, pixels, drawn: 0 })
    }

    /// Draws the next images, with values in [-1, 1].
    ///
    /// # Panics
    /// If they have another shape, or are more than there is room for.
    pub fn draw(&mut self, images: ArrayView4<'_, f32>) {
        let [n, channels, h, w] = self.shape;
        assert_eq!(images.shape()[1..], self.shape[1..], "images of another shape");
        let first = self.drawn;
        self.drawn += images.shape()[0];
        assert!(self.drawn <= n, "more images than there is room for");
        let Layout { columns, padding, scale } = self.layout;
        let (step_x, step_y) = (w * scale + padding, h * scale + padding);
        for ((image, channel, y, x), &value) in images.indexed_iter() {
            let image = first + image;
            let top = padding + image / columns * step_y + y * scale;
            let left = padding + image % columns * step_x + x * scale;
            for row in top..top + scale {
                for column in left..left + scale {
                    self.pixels[(row * self.size[0] + column) * channels + channel] = to_u8(value);
                }
            }
        }
    }

    /// The grid as a PNG file.
    ///
    /// # Errors
    /// If the encoder refuses, for instance because the grid is too large.
    pub fn png(&self) -> Result<Vec<u8>, GridError> {
        let [width, height] = self.size;
        let side = |pixels| u32::try_from(pixels).unwrap_or(u32::MAX); // beyond that, encoding fails
        encode(&self.pixels, (side(width), side(height)), self.color)
            .map_err(|source| GridError::Encode { width, height, source })
    }
}

/// A PNG file that shows images of shape [N, C, H, W] with values in [-1, 1], row by row.
///
/// # Errors
/// As [`Canvas`].
pub fn png(images: ArrayView4<f32>, layout: Layout) -> Result<Vec<u8>, GridError> {
    let (n, c, h, w) = images.dim();
    let mut canvas = Canvas::new([n, c, h, w], layout)?;
    canvas.draw(images);
    canvas.png()
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
    fn images_drawn_in_batches_are_the_same_grid() {
        let images = Array4::from_shape_fn((7, 3, 2, 3), |(n, c, y, x)| {
            (n * 18 + c * 6 + y * 3 + x) as f32 / 63.0 - 1.0
        });
        let layout = Layout { columns: 3, padding: 1, scale: 2 };
        let mut canvas = Canvas::new([7, 3, 2, 3], layout).unwrap();
        for rows in [0..2, 2..6, 6..7] {
            canvas.draw(images.slice(ndarray::s![rows, .., .., ..]));
        }
        assert_eq!(canvas.png().unwrap(), png(images.view(), layout).unwrap());
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
