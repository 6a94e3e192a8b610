//! Resampling to the bytes of Pillow.
//!
//! The sets and preprocessings of the literature went through Pillow, and FID sees the difference
//! between two resamplers (Parmar, Zhang, Zhu, *On aliased resizing and surprising subtleties in
//! GAN evaluation*, CVPR 2022, arXiv:2104.11222). So this is its algorithm: filters that widen when
//! they shrink an image, rows before columns, weights rounded to 22 bits, bytes in between.

use std::f64::consts::PI;

use image::{DynamicImage, GrayImage, RgbImage};

/// How pixels between pixels are computed; the names are Pillow's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Sinc with three lobes.
    Lanczos,
    /// Cubic with a = -1/2, Catmull and Rom's.
    Bicubic,
    /// Linear: what torchvision's `Resize` does to a Pillow image unless told otherwise.
    Bilinear,
    /// The mean of the pixels that are covered.
    Box,
    /// The nearest pixel.
    Nearest,
}

impl Filter {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lanczos => "lanczos",
            Self::Bicubic => "bicubic",
            Self::Bilinear => "bilinear",
            Self::Box => "box",
            Self::Nearest => "nearest",
        }
    }

    /// Half the width in pixels.
    fn support(self) -> f64 {
        match self {
            Self::Lanczos => 3.0,
            Self::Bicubic => 2.0,
            Self::Bilinear => 1.0,
            Self::Box | Self::Nearest => 0.5,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let distance = x.abs();
        match self {
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Bicubic if distance < 1.0 => (1.5 * distance - 2.5) * distance * distance + 1.0,
            Self::Bicubic if distance < 2.0 => {
                -0.5 * (((distance - 5.0) * distance + 8.0) * distance - 4.0)
            }
            Self::Bilinear if distance < 1.0 => 1.0 - distance,
            Self::Box if x > -0.5 && x <= 0.5 => 1.0,
            _ => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

/// Bits behind the point of a weight: eight for the byte and two for sums beyond it are left of 32.
const PRECISION: u32 = 32 - 8 - 2;

/// The pixels that one pixel of the result is made of: the first, and a weight for each.
struct Window {
    first: usize,
    weights: Vec<i32>,
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positions within an image, cut off as in Pillow"
)]
fn windows(from: usize, to: usize, filter: Filter) -> Vec<Window> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    let window = |position: usize| {
        let centre = (position as f64 + 0.5) * scale;
        if filter == Filter::Nearest {
            return Window {
                first: (centre as usize).min(from - 1),
                weights: vec![1 << PRECISION],
            };
        }
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let raw: Vec<f64> = (first..end)
            .map(|pixel| filter.weight((pixel as f64 - centre + 0.5) / stretch))
            .collect();
        let sum: f64 = raw.iter().sum();
        let fixed = |weight: &f64| {
            let scaled = weight / sum * f64::from(1 << PRECISION);
            (scaled + 0.5_f64.copysign(scaled)) as i32
        };
        Window { first, weights: raw.iter().map(fixed).collect() }
    };
    (0..to).map(window).collect()
}

impl Window {
    /// The byte at the window's place of a row or column whose pixels are `stride` bytes apart.
    fn byte(&self, bytes: &[u8], start: usize, stride: usize) -> u8 {
        let sum = self.weights.iter().enumerate().fold(1 << (PRECISION - 1), |sum, (i, weight)| {
            sum + i32::from(bytes[start + (self.first + i) * stride]) * weight
        });
        u8::try_from((sum >> PRECISION).clamp(0, 255)).expect("invariant: clamped to a byte")
    }
}

/// An image of other sides. Grey or in colour, of 8 bits a channel; anything else becomes colour.
pub(super) fn resample(
    image: &DynamicImage,
    width: u32,
    height: u32,
    filter: Filter,
) -> DynamicImage {
    let whole = "invariant: a byte for every channel and pixel";
    let side = |pixels: u32| pixels as usize;
    let (from, to) = ((side(image.width()), side(image.height())), (side(width), side(height)));
    if let DynamicImage::ImageLuma8(grey) = image {
        let bytes = both_ways(grey.as_raw(), 1, from, to, filter);
        return GrayImage::from_raw(width, height, bytes).expect(whole).into();
    }
    let bytes = both_ways(image.to_rgb8().as_raw(), 3, from, to, filter);
    RgbImage::from_raw(width, height, bytes).expect(whole).into()
}

fn both_ways(
    bytes: &[u8],
    channels: usize,
    (width, height): (usize, usize),
    (to_width, to_height): (usize, usize),
    filter: Filter,
) -> Vec<u8> {
    let columns = windows(width, to_width, filter);
    let mut wide = Vec::with_capacity(height * to_width * channels);
    for row in bytes.chunks_exact(width * channels) {
        for window in &columns {
            wide.extend((0..channels).map(|channel| window.byte(row, channel, channels)));
        }
    }
    let stride = to_width * channels;
    let mut out = Vec::with_capacity(to_height * stride);
    for window in windows(height, to_height, filter) {
        out.extend((0..stride).map(|start| window.byte(&wide, start, stride)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 7 x 5 pixels (width x height), byte (11 x^2 + 29 y^2 + 17 x y + 91 c) mod 256.
    fn image() -> DynamicImage {
        let byte = |x: u32, y: u32, c: u32| {
            u8::try_from((11 * x * x + 29 * y * y + 17 * x * y + 91 * c) % 256).unwrap()
        };
        RgbImage::from_fn(7, 5, |x, y| image::Rgb([byte(x, y, 0), byte(x, y, 1), byte(x, y, 2)]))
            .into()
    }

    #[test]
    fn the_bytes_are_those_of_pillow() {
        // Image.resize of Pillow 13.0.0: the green channel at 4 x 3, and of 9 x 8 a weighted sum.
        let golden: [(Filter, [u8; 12], u64); 5] = [
            (Filter::Lanczos, [112, 141, 80, 174, 196, 137, 98, 94, 103, 179, 176, 95], 3_120_869),
            (Filter::Bicubic, [112, 141, 84, 171, 191, 139, 98, 94, 101, 177, 176, 93], 3_121_357),
            (
                Filter::Bilinear,
                [114, 141, 91, 164, 181, 141, 101, 97, 104, 173, 171, 98],
                3_108_692,
            ),
            (Filter::Box, [116, 135, 60, 168, 230, 108, 7, 90, 105, 162, 228, 93], 3_192_484),
            (Filter::Nearest, [91, 135, 11, 231, 207, 63, 7, 39, 43, 223, 235, 79], 3_192_484),
        ];
        for (filter, smaller, larger) in golden {
            let found = resample(&image(), 4, 3, filter).into_rgb8();
            let green: Vec<u8> = found.pixels().map(|pixel| pixel.0[1]).collect();
            assert_eq!(green, smaller, "{filter:?}");
            let found = resample(&image(), 9, 8, filter).into_rgb8().into_raw();
            let sum: u64 = found.iter().zip(1_u64..).map(|(&byte, i)| u64::from(byte) * i).sum();
            assert_eq!(sum, larger, "{filter:?}");
        }
    }

    #[test]
    fn grey_is_resampled_as_one_channel_of_colour() {
        let grey: DynamicImage = image().to_luma8().into();
        let found = resample(&grey, 4, 3, Filter::Bicubic);
        let colour = resample(&grey.to_rgb8().into(), 4, 3, Filter::Bicubic);
        assert_eq!(found.to_rgb8(), colour.to_rgb8());
        assert!(matches!(found, DynamicImage::ImageLuma8(_)));
    }
}
