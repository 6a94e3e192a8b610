//! Images to the size and the channels that a network takes.
//!
//! Nothing here happens unless it is asked for, and what happened becomes part of the set's name:
//! a resized set is another set. `pad` adds black on all sides and changes no pixel; `center-crop`
//! cuts the largest square from the middle and `squash` takes the whole image, and both resample
//! with a filter that is named. The filters widen when they shrink an image, as Pillow's do, but
//! their bytes are not Pillow's.

use std::{fmt, str::FromStr};

use image::{
    DynamicImage, GenericImageView, GrayImage, RgbImage,
    imageops::{self, FilterType},
};
use ndarray::{Array4, ArrayView3, Axis};
use rayon::prelude::*;

use super::{Error, ImageSet, Result};

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
    /// The whole image, resampled to a square of this side.
    Squash(u32),
}

impl Resize {
    fn side(self) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Pad(side) | Self::CenterCrop(side) | Self::Squash(side) => Some(side),
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
                "`{text}` is not one of none, pad:SIDE, center-crop:SIDE, squash:SIDE (as pad:32)"
            )
        };
        let (mode, side) = text.split_once(':').ok_or_else(expected)?;
        let side: u32 =
            side.parse().ok().filter(|side| (1..=4096).contains(side)).ok_or_else(expected)?;
        match mode {
            "pad" => Ok(Self::Pad(side)),
            "center-crop" => Ok(Self::CenterCrop(side)),
            "squash" => Ok(Self::Squash(side)),
            _ => Err(expected()),
        }
    }
}

/// How pixels between pixels are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// Lanczos with three lobes.
    #[default]
    Lanczos3,
    /// Cubic, Catmull and Rom's.
    CatmullRom,
    /// Linear.
    Triangle,
    /// The nearest pixel.
    Nearest,
}

impl Filter {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lanczos3 => "lanczos3",
            Self::CatmullRom => "catmull-rom",
            Self::Triangle => "triangle",
            Self::Nearest => "nearest",
        }
    }

    fn kind(self) -> FilterType {
        match self {
            Self::Lanczos3 => FilterType::Lanczos3,
            Self::CatmullRom => FilterType::CatmullRom,
            Self::Triangle => FilterType::Triangle,
            Self::Nearest => FilterType::Nearest,
        }
    }
}

/// All that is done to images on the way in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// Their size.
    pub resize: Resize,
    /// The filter of `center-crop` and `squash`.
    pub filter: Filter,
    /// Grey images get three equal channels.
    pub rgb: bool,
}

/// As it stands in the name of a set; empty where nothing was done.
impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filter = self.filter.name();
        match self.resize {
            Resize::None => {}
            Resize::Pad(side) => write!(f, " pad:{side}")?,
            Resize::CenterCrop(side) => write!(f, " center-crop:{side} {filter}")?,
            Resize::Squash(side) => write!(f, " squash:{side} {filter}")?,
        }
        if self.rgb { write!(f, " rgb") } else { Ok(()) }
    }
}

impl Fit {
    /// Resizes one image; channels are left alone.
    pub(super) fn resize(self, image: DynamicImage) -> Result<DynamicImage> {
        let (width, height) = image.dimensions();
        if self.resize.side().is_none_or(|side| (width, height) == (side, side)) {
            return Ok(image);
        }
        match self.resize {
            Resize::None => Ok(image),
            Resize::Pad(side) => pad(&image, side),
            Resize::CenterCrop(side) => {
                let edge = width.min(height);
                let (left, top) = ((width - edge) / 2, (height - edge) / 2);
                let square = image.crop_imm(left, top, edge, edge);
                Ok(square.resize_exact(side, side, self.filter.kind()))
            }
            Resize::Squash(side) => Ok(image.resize_exact(side, side, self.filter.kind())),
        }
    }

    /// Resizes and colours a set, and adds to its name what was done.
    pub(super) fn apply(self, mut set: ImageSet) -> Result<ImageSet> {
        if self.resize != Resize::None {
            let views: Vec<_> = set.images.outer_iter().collect();
            let resized: Vec<DynamicImage> = views
                .into_par_iter()
                .map(|image| self.resize(to_image(image)))
                .collect::<Result<_>>()?;
            set.images = to_array(&resized, set.images.len_of(Axis(1)) == 3);
        }
        set.images = self.colour(set.images);
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

fn pad(image: &DynamicImage, side: u32) -> Result<DynamicImage> {
    let (width, height) = image.dimensions();
    if width > side || height > side {
        return Err(Error::Pad { side, width, height });
    }
    let (left, top) = (i64::from((side - width) / 2), i64::from((side - height) / 2));
    let mut frame = DynamicImage::new(side, side, image.color());
    imageops::replace(&mut frame, image, left, top);
    Ok(frame)
}

/// An image `[C, H, W]` of one or three channels.
fn to_image(image: ArrayView3<'_, u8>) -> DynamicImage {
    let (channels, h, w) = image.dim();
    let side = |pixels: usize| u32::try_from(pixels).expect("invariant: read as an image");
    let bytes: Vec<u8> = image.permuted_axes([1, 2, 0]).iter().copied().collect();
    let whole = "invariant: a byte for every channel and pixel";
    if channels == 1 {
        GrayImage::from_raw(side(w), side(h), bytes).expect(whole).into()
    } else {
        RgbImage::from_raw(side(w), side(h), bytes).expect(whole).into()
    }
}

/// Images of one size as an array of three channels, or of one if none of them is in colour.
pub(super) fn to_array(images: &[DynamicImage], colour: bool) -> Array4<u8> {
    let (width, height) = images.first().map_or((0, 0), GenericImageView::dimensions);
    let channels = if colour { 3 } else { 1 };
    let shape = (images.len(), height as usize, width as usize, channels);
    let mut bytes = Vec::with_capacity(shape.0 * shape.1 * shape.2 * shape.3);
    for image in images {
        if colour {
            bytes.extend_from_slice(&image.to_rgb8());
        } else {
            bytes.extend_from_slice(&image.to_luma8());
        }
    }
    Array4::from_shape_vec(shape, bytes)
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

    #[test]
    fn padding_keeps_every_pixel_and_is_black_around_them() {
        let fit = Fit { resize: "pad:32".parse().unwrap(), rgb: true, ..Fit::default() };
        let set = fit.apply(digits()).unwrap();
        assert_eq!((set.shape(), set.name.as_str()), ([3, 32, 32], "digits pad:32 rgb"));
        for c in 0..3 {
            let inner = set.images.slice(ndarray::s![.., c, 2..30, 2..30]);
            assert_eq!(inner, digits().images.index_axis(Axis(1), 0));
        }
        let total = |images: &Array4<u8>| images.iter().map(|&x| u64::from(x)).sum::<u64>();
        assert_eq!(total(&set.images), 3 * total(&digits().images));
    }

    #[test]
    fn a_crop_and_a_squash_of_a_constant_image_are_constant() {
        for (mode, name) in
            [("center-crop:8", "x center-crop:8 lanczos3"), ("squash:8", "x squash:8 lanczos3")]
        {
            let fit = Fit { resize: mode.parse().unwrap(), ..Fit::default() };
            let set = ImageSet::of(Array4::from_elem((1, 3, 10, 20), 77), "x".into());
            let set = fit.apply(set).unwrap();
            assert_eq!((set.shape(), set.name.as_str()), ([3, 8, 8], name));
            assert!(set.images.iter().all(|&byte| byte == 77));
        }
    }

    #[test]
    fn a_crop_takes_the_middle() {
        let images = Array4::from_shape_fn((1, 1, 4, 8), |(_, _, _, x)| u8::try_from(x).unwrap());
        let fit = Fit { resize: Resize::CenterCrop(4), ..Fit::default() };
        let set = fit.apply(ImageSet::of(images, "x".into())).unwrap();
        assert_eq!(set.images.slice(ndarray::s![0, 0, 0, ..]).to_vec(), [2, 3, 4, 5]);
    }

    #[test]
    fn nothing_asked_for_is_nothing_done() {
        assert_eq!(Fit::default().apply(digits()).unwrap(), digits());
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
