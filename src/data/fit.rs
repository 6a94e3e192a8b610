//! Images to the size and the channels that a network takes.
//!
//! Nothing here happens unless it is asked for, and what happened becomes part of the set's name:
//! a resized set is another set. The filters give Pillow's bytes (`data/resample.rs`), which is what
//! the published reference statistics of resized sets were made of; a JPEG decodes to bytes that
//! may differ by one from those of another decoder.

use std::{fmt, ops::Range, path::Path, str::FromStr};

use image::{DynamicImage, GenericImageView, GrayImage, RgbImage, imageops};
use ndarray::{Array4, ArrayView3, Axis};
use rayon::prelude::*;

use crate::{
    data::{
        Error, ImageSet, Images, Result, Stored,
        resample::{Filter, resample},
    },
    limits,
};

/// What is done about the size of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resize {
    /// They stay as they are.
    #[default]
    None,
    /// Black margins up to a square of this side, equal ones but for an odd pixel at the right and
    /// the bottom.
    Pad(u32),
    /// The largest centred square, resampled to this side.
    CenterCrop(u32),
    /// The shorter side resampled to this one, then the centre cut out: torchvision's `Resize` and
    /// `CenterCrop`, as the official code reads LSUN.
    ResizeCrop(u32),
    /// The face of an aligned CelebA image, resampled to this side: rows 57 to 185 and columns 25
    /// to 153 of 218 x 178, as the official code reads CelebA.
    Celeba(u32),
    /// The whole image, resampled to a square of this side.
    Squash(u32),
}

/// Width and height of an aligned CelebA image.
const CELEBA: (u32, u32) = (178, 218);
/// Left, top and side of the face: 64 pixels around (89, 121).
const FACE: (u32, u32, u32) = (89 - 64, 121 - 64, 128);

impl Resize {
    /// Its name on the command line, and the side.
    fn parts(self) -> Option<(&'static str, u32)> {
        match self {
            Self::None => None,
            Self::Pad(side) => Some(("pad", side)),
            Self::CenterCrop(side) => Some(("center-crop", side)),
            Self::ResizeCrop(side) => Some(("resize-crop", side)),
            Self::Celeba(side) => Some(("celeba", side)),
            Self::Squash(side) => Some(("squash", side)),
        }
    }

    /// The filter unless another is asked for: that of the code whose preprocessing it is.
    fn default_filter(self) -> Filter {
        match self {
            Self::ResizeCrop(_) | Self::Celeba(_) => Filter::Bilinear,
            _ => Filter::Lanczos,
        }
    }
}

impl FromStr for Resize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        let expected = || {
            format!(
                "`{text}` is not one of none, pad:SIDE, center-crop:SIDE, resize-crop:SIDE, \
                 celeba:SIDE, squash:SIDE (as pad:32)"
            )
        };
        let (mode, side) = text.split_once(':').ok_or_else(expected)?;
        let side: u32 =
            side.parse().ok().filter(|side| (1..=4096).contains(side)).ok_or_else(expected)?;
        match mode {
            "pad" => Ok(Self::Pad(side)),
            "center-crop" => Ok(Self::CenterCrop(side)),
            "resize-crop" => Ok(Self::ResizeCrop(side)),
            "celeba" => Ok(Self::Celeba(side)),
            "squash" => Ok(Self::Squash(side)),
            _ => Err(expected()),
        }
    }
}

/// All that is done to images on the way in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// Their size.
    pub resize: Resize,
    /// The filter where they are resampled; none is the mode's own.
    pub filter: Option<Filter>,
    /// Grey images get three equal channels.
    pub rgb: bool,
}

/// As it stands in the name of a set; empty where nothing was done.
impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((mode, side)) = self.resize.parts() {
            write!(f, " {mode}:{side}")?;
            if mode != "pad" {
                write!(f, " {}", self.filter().name())?;
            }
        }
        if self.rgb { write!(f, " rgb") } else { Ok(()) }
    }
}

impl Fit {
    fn filter(self) -> Filter {
        self.filter.unwrap_or_else(|| self.resize.default_filter())
    }

    /// The size, width and height, to which an image of another is resized.
    pub(super) fn size(self, (width, height): (u32, u32)) -> Result<(u32, u32)> {
        match self.resize {
            Resize::None => Ok((width, height)),
            Resize::Celeba(side) if (width, height) == CELEBA => Ok((side, side)),
            Resize::Celeba(_) => Err(Error::Celeba { width, height }),
            Resize::Pad(side) if width > side || height > side => {
                Err(Error::Pad { side, width, height })
            }
            Resize::ResizeCrop(side) if (width, height) != (side, side) => {
                within_limits(longer(side, (width, height)), height)?;
                Ok((side, side))
            }
            Resize::Squash(side) if (width, height) != (side, side) => {
                within_limits((side, side), height)?;
                Ok((side, side))
            }
            Resize::Pad(side)
            | Resize::CenterCrop(side)
            | Resize::ResizeCrop(side)
            | Resize::Squash(side) => Ok((side, side)),
        }
    }

    /// Resizes one image; channels are left alone.
    pub(super) fn resize(self, image: DynamicImage) -> Result<DynamicImage> {
        let (width, height) = image.dimensions();
        if self.size((width, height))? == (width, height) {
            return Ok(image);
        }
        let filter = self.filter();
        Ok(match self.resize {
            Resize::None => image,
            Resize::Celeba(side) => {
                let (left, top, edge) = FACE;
                resample(&image.crop_imm(left, top, edge, edge), side, side, filter)
            }
            Resize::Pad(side) => pad(&image, side),
            Resize::CenterCrop(side) => {
                let edge = width.min(height);
                let (left, top) = ((width - edge) / 2, (height - edge) / 2);
                resample(&image.crop_imm(left, top, edge, edge), side, side, filter)
            }
            Resize::ResizeCrop(side) => {
                let (width, height) = longer(side, (width, height));
                let image = resample(&image, width, height, filter);
                image.crop_imm(margin(width - side), margin(height - side), side, side)
            }
            Resize::Squash(side) => resample(&image, side, side, filter),
        })
    }

    /// Resizes and colours a set, image by image as they are read, and adds to its name what is done.
    pub(super) fn apply(self, mut set: ImageSet) -> Result<ImageSet> {
        let [c, h, w] = set.shape();
        let mut shape = [if self.rgb { 3 } else { c }, h, w];
        if self.resize != Resize::None {
            let (width, height) = self.size((side(w), side(h)))?;
            shape[1..].copy_from_slice(&[height as usize, width as usize]);
        }
        if shape != [c, h, w] {
            set.images = Stored::new(Fitted { of: set.images, fit: self, shape });
        }
        set.name += &self.to_string();
        Ok(set)
    }

    /// Repeats a grey channel where colour is asked for.
    pub(super) fn colour(self, images: Array4<u8>) -> Array4<u8> {
        let (n, c, h, w) = images.dim();
        if !self.rgb || c != 1 {
            return images;
        }
        images
            .broadcast((n, 3, h, w))
            .expect("invariant: an axis of one is broadcast")
            .as_standard_layout()
            .into_owned()
    }
}

/// Images that are changed as they are read.
struct Fitted {
    of: Stored,
    fit: Fit,
    shape: [usize; 3],
}

impl Images for Fitted {
    fn shape(&self) -> [usize; 4] {
        let [c, h, w] = self.shape;
        [self.of.shape()[0], c, h, w]
    }

    fn read(&self, positions: Range<usize>) -> Result<Array4<u8>> {
        let images = self.of.read(positions)?;
        if images.shape()[2..] == self.shape[1..] {
            return Ok(self.fit.colour(images));
        }
        let views: Vec<_> = images.outer_iter().collect();
        let fit = self.fit;
        let resized = views.into_par_iter().map(|image| fit.resize(to_image(image)));
        let resized: Vec<DynamicImage> = resized.collect::<Result<_>>()?;
        let [_, h, w] = self.shape;
        let size = (images.len_of(Axis(1)), h, w);
        Ok(fit.colour(to_array(&resized, size)))
    }

    fn file(&self, position: usize) -> Option<&Path> {
        self.of.file(position)
    }
}

/// An image's size once its shorter side is resampled to `side`.
fn longer(side: u32, (width, height): (u32, u32)) -> (u32, u32) {
    let long = |edge: u32| {
        let pixels = u64::from(side) * u64::from(edge) / u64::from(width.min(height));
        u32::try_from(pixels).unwrap_or(u32::MAX)
    };
    (long(width), long(height))
}

/// What is cut off before the centre: half of the surplus, and half a pixel to the even side, as
/// Python rounds.
fn margin(surplus: u32) -> u32 {
    surplus / 2 + u32::from(surplus % 4 == 3)
}

/// Checks what resampling makes: rows are resampled first, and all of them are held.
fn within_limits((width, height): (u32, u32), rows: u32) -> Result<()> {
    let height = height.max(rows);
    if u64::from(width) * u64::from(height) > limits::PIXELS {
        return Err(Error::TooLarge { width, height });
    }
    Ok(())
}

fn pad(image: &DynamicImage, side: u32) -> DynamicImage {
    let (width, height) = image.dimensions();
    let (left, top) = (i64::from((side - width) / 2), i64::from((side - height) / 2));
    let mut frame = DynamicImage::new(side, side, image.color());
    imageops::replace(&mut frame, image, left, top);
    frame
}

/// A number of pixels in a row or column.
fn side(pixels: usize) -> u32 {
    u32::try_from(pixels).unwrap_or(u32::MAX)
}

/// An image `[C, H, W]` of one or three channels.
fn to_image(image: ArrayView3<'_, u8>) -> DynamicImage {
    let (channels, h, w) = image.dim();
    let bytes: Vec<u8> = image.permuted_axes([1, 2, 0]).iter().copied().collect();
    let whole = "invariant: a byte for every channel and pixel";
    if channels == 1 {
        GrayImage::from_raw(side(w), side(h), bytes).expect(whole).into()
    } else {
        RgbImage::from_raw(side(w), side(h), bytes).expect(whole).into()
    }
}

/// Images of one size as an array of so many channels, 1 or 3, height and width.
pub(super) fn to_array(images: &[DynamicImage], (c, h, w): (usize, usize, usize)) -> Array4<u8> {
    let mut bytes = Vec::with_capacity(images.len() * c * h * w);
    for image in images {
        if c == 3 {
            bytes.extend_from_slice(&image.to_rgb8());
        } else {
            bytes.extend_from_slice(&image.to_luma8());
        }
    }
    Array4::from_shape_vec((images.len(), h, w, c), bytes)
        .expect("invariant: images of one size")
        .permuted_axes([0, 3, 1, 2])
        .as_standard_layout()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits() -> ImageSet {
        let images = Array4::from_shape_fn((2, 1, 28, 28), |(n, _, y, x)| {
            u8::try_from(1 + n + (y * 28 + x) % 200).unwrap()
        });
        ImageSet::of(images, "digits".into())
    }

    fn pixels(set: ImageSet) -> Array4<u8> {
        let said = set.images.shape();
        let images = set.held().unwrap().images;
        assert_eq!(images.shape(), said);
        images
    }

    #[test]
    fn padding_keeps_every_pixel_and_is_black_around_them() {
        let fit = Fit { resize: "pad:32".parse().unwrap(), rgb: true, ..Fit::default() };
        let set = fit.apply(digits()).unwrap();
        assert_eq!((set.shape(), set.name.as_str()), ([3, 32, 32], "digits pad:32 rgb"));
        let (images, digits) = (pixels(set), pixels(digits()));
        for c in 0..3 {
            let inner = images.slice(ndarray::s![.., c, 2..30, 2..30]);
            assert_eq!(inner, digits.index_axis(Axis(1), 0));
        }
        let total = |images: &Array4<u8>| images.iter().map(|&x| u64::from(x)).sum::<u64>();
        assert_eq!(total(&images), 3 * total(&digits));
    }

    #[test]
    fn a_crop_and_a_squash_of_a_constant_image_are_constant() {
        for (mode, name) in
            [("center-crop:8", "x center-crop:8 lanczos"), ("squash:8", "x squash:8 lanczos")]
        {
            let fit = Fit { resize: mode.parse().unwrap(), ..Fit::default() };
            let set = ImageSet::of(Array4::from_elem((1, 3, 10, 20), 77), "x".into());
            let set = fit.apply(set).unwrap();
            assert_eq!((set.shape(), set.name.as_str()), ([3, 8, 8], name));
            assert!(pixels(set).iter().all(|&byte| byte == 77));
        }
    }

    #[test]
    fn a_crop_takes_the_middle() {
        let images = Array4::from_shape_fn((1, 1, 4, 8), |(_, _, _, x)| u8::try_from(x).unwrap());
        let fit = Fit { resize: Resize::CenterCrop(4), ..Fit::default() };
        let set = fit.apply(ImageSet::of(images, "x".into())).unwrap();
        assert_eq!(pixels(set).slice(ndarray::s![0, 0, 0, ..]).to_vec(), [2, 3, 4, 5]);
    }

    /// Byte ((11 x^2 + 29 y^2 + 17 x y + 91 c) div 64) mod 256.
    fn slopes(height: usize, width: usize) -> ImageSet {
        let images = Array4::from_shape_fn((1, 3, height, width), |(_, c, y, x)| {
            u8::try_from((11 * x * x + 29 * y * y + 17 * x * y + 91 * c) / 64 % 256).unwrap()
        });
        ImageSet::of(images, "x".into())
    }

    /// The first six bytes in the order [y, x, c], and the sum of each byte times its position.
    fn fingerprint(set: &ImageSet) -> (Vec<u8>, u64) {
        let bytes: Vec<u8> =
            pixels(set.clone()).view().permuted_axes([0, 2, 3, 1]).iter().copied().collect();
        let sum = bytes.iter().zip(1_u64..).map(|(&byte, i)| u64::from(byte) * i).sum();
        (bytes[..6].to_vec(), sum)
    }

    #[test]
    fn faces_are_cut_out_as_in_the_official_code() {
        let fit = Fit { resize: "celeba:64".parse().unwrap(), ..Fit::default() };
        let set = fit.apply(slopes(218, 178)).unwrap();
        assert_eq!((set.shape(), set.name.as_str()), ([3, 64, 64], "x celeba:64 bilinear"));
        // Pillow 13.0.0: crop((25, 57, 153, 185)).resize((64, 64), BILINEAR).
        assert_eq!(fingerprint(&set), (vec![173, 174, 175, 123, 124, 126], 9_660_800_587));
        let error = fit.apply(slopes(178, 178)).unwrap_err().to_string();
        assert!(error.contains("178 x 178") && error.contains("178 x 218"), "{error}");
    }

    #[test]
    fn a_resize_before_the_crop_is_that_of_torchvision() {
        let fit = Fit { resize: "resize-crop:32".parse().unwrap(), ..Fit::default() };
        let set = fit.apply(slopes(70, 101)).unwrap();
        // Pillow 13.0.0: to 46 x 32 by BILINEAR, then 7 pixels off the left.
        assert_eq!(fingerprint(&set), (vec![48, 49, 50, 61, 62, 64], 601_931_482));
        // int(round(surplus / 2)) of Python.
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(margin), [0, 0, 1, 2, 2, 2, 3, 4]);
    }

    #[test]
    fn nothing_asked_for_is_nothing_done() {
        let set = Fit::default().apply(digits()).unwrap();
        assert_eq!((set.name.as_str(), pixels(set.clone())), ("digits", pixels(digits())));
        // One image of several is the same as among them.
        let fit = Fit { resize: "squash:9".parse().unwrap(), rgb: true, ..Fit::default() };
        let set = fit.apply(slopes(7, 11)).unwrap();
        assert_eq!(set.images.read(0..1).unwrap(), pixels(set));
    }

    #[test]
    fn a_frame_that_is_too_small_and_an_unknown_mode_are_refused() {
        let fit = Fit { resize: Resize::Pad(16), ..Fit::default() };
        let error = fit.apply(digits()).unwrap_err().to_string();
        assert!(error.contains("pad:16 cannot hold images of 28 x 28"), "{error}");
        for text in ["crop:32", "pad", "pad:0", "pad:x", "pad:9999999"] {
            assert!(text.parse::<Resize>().unwrap_err().contains("pad:SIDE"), "{text}");
        }
    }
}
