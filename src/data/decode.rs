//! One image file, as `PIL.Image.open(path).convert("RGB")` has it.
//!
//! Those who published distances read images this way, and the bytes here are theirs: palettes are
//! looked up, 1, 2 and 4 bits scaled, 16-bit colour keeps its high byte (a PPM is rounded), of an
//! animation the first frame counts. An EXIF orientation is ignored, except that of a
//! TIFF, which Pillow applies. JPEG and lossy WebP decode to bytes that may differ by a few from
//! those of another decoder.
//!
//! What has no one answer is refused by name: transparent pixels, CMYK, L\*a\*b\*, floats, 16-bit grey,
//! which Pillow cuts off at 255, and a PNM whose maximum is not 1, 255 or 65535.

use std::{
    io::{BufReader, Read, Seek, SeekFrom},
    path::Path,
    sync::{Mutex, PoisonError},
};

use image::{
    ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader,
    Limits, codecs::pnm::PnmDecoder,
};

use crate::data::file;
use crate::data::{Error, Result};
use crate::limits;

/// The endings of files that are read, in lower case.
const ENDINGS: [&str; 14] = [
    "png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "tif", "tiff", "ppm", "pgm", "pbm", "pnm",
    "gif",
];

/// The formats, for messages.
pub(super) const FORMATS: &str = "png, jpg, webp, bmp, tif, ppm, pgm, pbm, gif";

/// Whether a path has the ending of an image that is read.
pub(super) fn is_image(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending)))
}

/// One image, grey or in colour, of 8 bits a channel.
///
/// # Errors
/// A file that is damaged or of another format, whatever its name, or colours that have no one
/// answer.
pub(super) fn decode(path: &Path) -> Result<DynamicImage> {
    let refuse = |problem: String| Error::Format { path: path.to_path_buf(), problem };
    let read = |source| Error::Read { path: path.to_path_buf(), source };
    let damaged = |error: ImageError| match error {
        ImageError::Unsupported(error) => refuse(format!(
            "it is of a kind that is not read ({error}): save it as PNG, 8 bits a channel"
        )),
        ImageError::Limits(_) => refuse(format!(
            "decoding it takes more memory than {} pixels do, the most that are read",
            limits::PIXELS
        )),
        error => refuse(format!(
            "it cannot be decoded ({error}): it is damaged, or none of {FORMATS} in spite of its \
             name"
        )),
    };
    let file = BufReader::new(file::open(path).map_err(read)?);
    let mut reader = ImageReader::new(file).with_guessed_format().map_err(read)?;
    let format = reader.format();
    if format == Some(ImageFormat::Jpeg) {
        let jpeg = Jpeg::look_at(path).map_err(read)?;
        if jpeg.is_cmyk {
            return Err(refuse(CMYK.to_owned()));
        }
        if !jpeg.is_whole {
            return Err(refuse(
                "it is cut off: its end marker is missing, and the rest would be grey".to_owned(),
            ));
        }
    }
    if format == Some(ImageFormat::Png) && has_torn_palette(path).map_err(read)? {
        return Err(refuse("its palette is damaged: fetch it again".to_owned()));
    }
    if format == Some(ImageFormat::Pnm)
        && let Some(maximum) = pnm_maximum(path).map_err(read)?
        && ![1, 255, 65535].contains(&maximum)
    {
        return Err(refuse(format!("its largest value is {maximum}: save it with 255")));
    }
    reader.limits(of_a_decoder());
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(refuse(format!("it has no pixels: it says {width} x {height}")));
    }
    if u64::from(width) * u64::from(height) > limits::PIXELS {
        return Err(refuse(format!(
            "it says that it has {width} x {height} pixels; at most {} are read",
            limits::PIXELS
        )));
    }
    match decoder.original_color_type() {
        ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16 => {
            return Err(refuse(CMYK.to_owned()));
        }
        ExtendedColorType::L16 | ExtendedColorType::La16 => {
            return Err(refuse(
                "it is grey of 16 bits, which Pillow cuts off at 255: save it with 8 bits"
                    .to_owned(),
            ));
        }
        ExtendedColorType::Rgb32F | ExtendedColorType::Rgba32F => {
            return Err(refuse("its values are floats: save it with 8 bits a channel".to_owned()));
        }
        _ => {}
    }
    let large = u64::from(width) * u64::from(height) > limits::PIXELS / 16;
    let _alone = large.then(|| LARGE.lock().unwrap_or_else(PoisonError::into_inner));
    let orientation = match format {
        Some(ImageFormat::Tiff) => Some(decoder.orientation().map_err(damaged)?),
        _ => None,
    };
    let mut image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    if image.color().has_alpha() && image.to_rgba8().pixels().any(|pixel| pixel.0[3] != u8::MAX) {
        return Err(refuse(
            "it has transparent pixels: flatten it onto a background first".to_owned(),
        ));
    }
    if let Some(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    Ok(to_bytes(image, format))
}

/// Held while a large image is decoded: on many threads at once, they would take many times the memory.
static LARGE: Mutex<()> = Mutex::new(());

/// What a decoder may take: four channels of 16 bits for every pixel, and as much for its own work.
fn of_a_decoder() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(limits::PIXELS * 16);
    limits
}

const CMYK: &str = "its colours are CMYK: convert it to RGB first";

/// 8 bits a channel, without an opaque alpha channel.
fn to_bytes(image: DynamicImage, format: Option<ImageFormat>) -> DynamicImage {
    match image.color() {
        ColorType::L8 | ColorType::Rgb8 => image,
        // Pillow's reader of PNG and TIFF takes the first of two bytes; that of PPM rounds.
        ColorType::Rgb16 | ColorType::Rgba16 if format != Some(ImageFormat::Pnm) => {
            let wide = image.into_rgb16();
            let (width, height) = wide.dimensions();
            #[allow(clippy::cast_possible_truncation, reason = "the high byte of two")]
            let bytes = wide.into_raw().into_iter().map(|value| (value >> 8) as u8).collect();
            image::RgbImage::from_raw(width, height, bytes)
                .expect("invariant: as many bytes as values")
                .into()
        }
        color if color.has_color() => image.into_rgb8().into(),
        _ => image.into_luma8().into(),
    }
}

/// What a JPEG's decoder does not say.
struct Jpeg {
    /// It has four colours: the decoder makes three of them by a rule of its own.
    is_cmyk: bool,
    /// Its end marker is there: the decoder fills up what is missing.
    is_whole: bool,
}

impl Jpeg {
    fn look_at(path: &Path) -> std::io::Result<Self> {
        let mut file = BufReader::new(file::open(path)?);
        let mut jpeg = Self { is_cmyk: false, is_whole: false };
        let mut byte = [0];
        file.seek(SeekFrom::Start(2))?;
        // Segments: 0xff, a marker, two bytes of length. The frame header has the number of
        // components behind length, precision, height and width.
        while file.read(&mut byte)? == 1 && byte[0] == 0xff {
            while byte[0] == 0xff {
                if file.read(&mut byte)? == 0 {
                    return Ok(jpeg);
                }
            }
            let mut length = [0; 2];
            if file.read_exact(&mut length).is_err() {
                return Ok(jpeg);
            }
            let mut rest = i64::from(u16::from_be_bytes(length)) - 2;
            match byte[0] {
                // Start of a scan: numbers follow, in which 0xff stands before 0 alone.
                0xda => {
                    let mut numbers = vec![];
                    file.read_to_end(&mut numbers)?;
                    jpeg.is_whole = numbers.windows(2).any(|pair| pair == [0xff, 0xd9]);
                    return Ok(jpeg);
                }
                0xc4 | 0xc8 | 0xcc => {}
                0xc0..=0xcf => {
                    let mut frame = [0; 6];
                    if file.read_exact(&mut frame).is_err() {
                        return Ok(jpeg);
                    }
                    jpeg.is_cmyk = frame[5] == 4;
                    rest -= 6;
                }
                _ => {}
            }
            file.seek_relative(rest)?;
        }
        Ok(jpeg)
    }
}

/// Whether a PNG's palette is not one of at most 256 whole colours, which its decoder takes for granted.
fn has_torn_palette(path: &Path) -> std::io::Result<bool> {
    let mut file = BufReader::new(file::open(path)?);
    file.seek(SeekFrom::Start(8))?;
    // Chunks: four bytes of length, four of kind, the content, and a checksum.
    let mut head = [0; 8];
    while file.read_exact(&mut head).is_ok() {
        let [a, b, c, d, kind @ ..] = head;
        let length = u32::from_be_bytes([a, b, c, d]);
        match &kind {
            b"PLTE" if !length.is_multiple_of(3) || length > 3 * 256 => return Ok(true),
            b"IDAT" => break,
            _ => file.seek_relative(i64::from(length) + 4)?,
        }
    }
    Ok(false)
}

/// The maximum in the header of a PNM; none if the header is not understood.
fn pnm_maximum(path: &Path) -> std::io::Result<Option<u32>> {
    let decoder = PnmDecoder::new(BufReader::new(file::open(path)?));
    Ok(decoder.ok().map(|decoder| decoder.header().maximal_sample()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// What `scripts/images-as-pillow` wrote: files, and what Pillow 13.0.0 makes of them.
    fn golden() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/images")
    }

    #[test]
    fn a_jpeg_that_is_cut_off_is_refused_wherever_it_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.jpg");
        for name in ["grey.jpg", "rgb.jpg"] {
            let whole = std::fs::read(golden().join(name)).unwrap();
            let end = whole.windows(2).rposition(|pair| pair == [0xff, 0xd9]).unwrap();
            std::fs::write(&path, &whole[..end + 2]).unwrap();
            assert!(decode(&path).is_ok(), "{name}");
            for length in 2..=end {
                std::fs::write(&path, &whole[..length]).unwrap();
                assert!(decode(&path).is_err(), "{length} bytes of {name}");
            }
            std::fs::write(&path, &whole[..end]).unwrap();
            let error = decode(&path).unwrap_err().to_string();
            assert!(error.contains("its end marker is missing"), "{error}");
        }
    }

    #[test]
    fn an_image_without_pixels_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none.pbm");
        // Found by fuzzing: a crop of it had no rows to go through.
        for sides in ["46 0", "0 46", "0 0"] {
            std::fs::write(&path, format!("P4 {sides} ")).unwrap();
            assert!(decode(&path).is_err(), "{sides}");
        }
        std::fs::write(&path, "P4 46 0\nx").unwrap();
        let error = decode(&path).unwrap_err().to_string();
        assert!(error.contains("it has no pixels: it says 46 x 0"), "{error}");
    }

    #[test]
    fn a_png_with_a_torn_palette_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("torn.png");
        let whole = std::fs::read(golden().join("palette.png")).unwrap();
        let start = whole.windows(4).position(|four| four == b"PLTE").unwrap();
        let length = u32::from_be_bytes(whole[start - 4..start].try_into().unwrap()) as usize;
        // Found by fuzzing: the decoder reads three bytes where one is left.
        for colours in [length - 2, length - 1, 3 * 257] {
            let mut chunk = b"PLTE".to_vec();
            chunk.extend(std::iter::repeat_n(7, colours));
            let mut crc = flate2::Crc::new();
            crc.update(&chunk);
            let count = u32::try_from(colours).unwrap().to_be_bytes();
            let rest = &whole[start + 4 + length + 4..];
            let before = &whole[..start - 4];
            let file = [before, &count, &chunk, &crc.sum().to_be_bytes(), rest].concat();
            std::fs::write(&path, file).unwrap();
            let error = decode(&path).unwrap_err().to_string();
            assert!(error.contains("its palette is damaged"), "{error}");
        }
    }

    #[test]
    fn every_format_and_mode_is_that_of_pillow_or_refused_by_name() {
        let text = std::fs::read_to_string(golden().join("pillow.json")).unwrap();
        let expected: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&text).unwrap();
        let mut refused = vec![];
        for (name, pillow) in &expected {
            let image = match decode(&golden().join(name)) {
                Ok(image) => image.into_rgb8(),
                Err(error) => {
                    let error = error.to_string();
                    refused.push(error.rsplit('/').next().unwrap_or_default().to_owned());
                    continue;
                }
            };
            let size: Vec<u32> = serde_json::from_value(pillow["size"].clone()).unwrap();
            assert_eq!(<[u32; 2]>::from(image.dimensions()), *size, "{name}");
            let bytes: Vec<u8> = serde_json::from_value(pillow["rgb"].clone()).unwrap();
            let off = image.as_raw().iter().zip(&bytes).map(|(a, b)| a.abs_diff(*b)).max();
            // Two decoders of a lossy format need not agree to the bit.
            let lossy = name.contains(".jpg") || name.contains("lossy");
            assert!(off <= Some(if lossy { 3 } else { 0 }), "{name} is off by {off:?}");
        }
        insta::assert_snapshot!(refused.join("\n"), @r#"
        alpha.png: it has transparent pixels: flatten it onto a background first
        alpha.tif: it has transparent pixels: flatten it onto a background first
        alpha.webp: it has transparent pixels: flatten it onto a background first
        cmyk.jpg: its colours are CMYK: convert it to RGB first
        cmyk.tif: its colours are CMYK: convert it to RGB first
        deep-grey.png: it is grey of 16 bits, which Pillow cuts off at 255: save it with 8 bits
        deep-grey.tif: it is grey of 16 bits, which Pillow cuts off at 255: save it with 8 bits
        deep.pgm: it is grey of 16 bits, which Pillow cuts off at 255: save it with 8 bits
        float.tif: it is of a kind that is not read (The encoder or decoder for Tiff does not support the color type `Unknown(32)`): save it as PNG, 8 bits a channel
        grey-alpha.png: it has transparent pixels: flatten it onto a background first
        int.tif: it is of a kind that is not read (The decoder for Tiff does not support the format features Unhandled TIFF sample format 2 for 32 bits): save it as PNG, 8 bits a channel
        lab.tif: it is of a kind that is not read (The decoder for Tiff does not support the format features Photometric interpretation CIELab with bits per sample [8, 8, 8] is unsupported): save it as PNG, 8 bits a channel
        maximum-100.ppm: its largest value is 100: save it with 255
        maximum-6.pgm: its largest value is 6: save it with 255
        palette-transparent.gif: it has transparent pixels: flatten it onto a background first
        palette-transparent.png: it has transparent pixels: flatten it onto a background first
        palette.tif: it is of a kind that is not read (The decoder for Tiff does not support the format features Photometric interpretation RGBPalette with bits per sample [8] is unsupported): save it as PNG, 8 bits a channel
        "#);
        assert!(expected.len() - refused.len() >= 40);
    }
}
