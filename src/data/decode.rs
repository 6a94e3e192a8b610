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
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
    sync::{Mutex, PoisonError},
};

use image::{
    ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader,
    Limits, codecs::pnm::PnmDecoder, metadata::Orientation,
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

/// What is known of an image before its pixels are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outline {
    /// Width and height.
    pub(super) size: (u32, u32),
    pub(super) has_colour: bool,
}

/// Looks at an image without decoding its pixels.
///
/// # Errors
/// As [`decode`], but for damage and transparency among the pixels.
pub(super) fn look(path: &Path) -> Result<Outline> {
    let Opened { decoder, orientation, .. } = Opened::new(path)?;
    let (width, height) = decoder.dimensions();
    let turned = matches!(
        orientation,
        Some(
            Orientation::Rotate90
                | Orientation::Rotate270
                | Orientation::Rotate90FlipH
                | Orientation::Rotate270FlipH
        )
    );
    let size = if turned { (height, width) } else { (width, height) };
    Ok(Outline { size, has_colour: decoder.color_type().has_color() })
}

/// One image, grey or in colour, of 8 bits a channel.
///
/// # Errors
/// A file that is damaged or of another format, whatever its name, or colours that have no one
/// answer.
pub(super) fn decode(path: &Path) -> Result<DynamicImage> {
    let Opened { decoder, format, orientation } = Opened::new(path)?;
    let (width, height) = decoder.dimensions();
    let large = u64::from(width) * u64::from(height) > limits::PIXELS / 16;
    let _alone = large.then(|| LARGE.lock().unwrap_or_else(PoisonError::into_inner));
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| damaged(path, error))?;
    if image.color().has_alpha() && image.to_rgba8().pixels().any(|pixel| pixel.0[3] != u8::MAX) {
        let problem = "it has transparent pixels: flatten it onto a background first".to_owned();
        return Err(Error::Format { path: path.to_path_buf(), problem });
    }
    if let Some(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    Ok(to_bytes(image, format))
}

fn damaged(path: &Path, error: ImageError) -> Error {
    let problem = match error {
        ImageError::Unsupported(error) => {
            format!("it is of a kind that is not read ({error}): save it as PNG, 8 bits a channel")
        }
        ImageError::Limits(_) => format!(
            "decoding it takes more memory than {} pixels do, the most that are read",
            limits::PIXELS
        ),
        error => format!(
            "it cannot be decoded ({error}): it is damaged, or none of {FORMATS} in spite of its \
             name"
        ),
    };
    Error::Format { path: path.to_path_buf(), problem }
}

/// An image whose header was read.
struct Opened<D> {
    decoder: D,
    format: Option<ImageFormat>,
    /// Of a TIFF, what Pillow turns it by.
    orientation: Option<Orientation>,
}

impl Opened<()> {
    fn new(path: &Path) -> Result<Opened<impl ImageDecoder>> {
        let refuse = |problem: String| Error::Format { path: path.to_path_buf(), problem };
        let read = |source| Error::Read { path: path.to_path_buf(), source };
        let file = file::open(path).map_err(read)?;
        let length = file::length(&file);
        let reader = ImageReader::new(BufReader::new(file)).with_guessed_format();
        let mut reader = reader.map_err(read)?;
        let format = reader.format();
        if format == Some(ImageFormat::Jpeg) {
            // Its decoder holds the whole file.
            if length.is_none_or(|length| length > limits::JPEG) {
                return Err(refuse(format!(
                    "it is a JPEG of more than {} bytes, which no image of {} pixels takes: save it \
                     again, without what is not image",
                    limits::JPEG,
                    limits::PIXELS
                )));
            }
            let jpeg = Jpeg::look_at(path).map_err(read)?;
            if jpeg.is_cmyk {
                return Err(refuse(CMYK.to_owned()));
            }
            if !jpeg.is_whole {
                return Err(refuse(
                    "it is cut off: its end marker is missing, and the rest would be grey"
                        .to_owned(),
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
        let mut decoder = reader.into_decoder().map_err(|error| damaged(path, error))?;
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
                return Err(refuse(
                    "its values are floats: save it with 8 bits a channel".to_owned(),
                ));
            }
            _ => {}
        }
        let orientation = match format {
            Some(ImageFormat::Tiff) => {
                Some(decoder.orientation().map_err(|error| damaged(path, error))?)
            }
            _ => None,
        };
        Ok(Opened { decoder, format, orientation })
    }
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
                    jpeg.is_whole = has_end(&mut file)?;
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

/// Whether the two bytes of the end marker are among those that follow.
fn has_end(file: &mut impl BufRead) -> std::io::Result<bool> {
    let mut before = 0;
    loop {
        let piece = file.fill_buf()?;
        let Some(&last) = piece.last() else { return Ok(false) };
        if before == 0xff && piece[0] == 0xd9 || piece.windows(2).any(|pair| pair == [0xff, 0xd9]) {
            return Ok(true);
        }
        before = last;
        let length = piece.len();
        file.consume(length);
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
    fn the_end_of_a_jpeg_is_found_across_the_pieces_in_which_it_is_read() {
        let found =
            |bytes: &[u8], piece| has_end(&mut BufReader::with_capacity(piece, bytes)).unwrap();
        for piece in 1..6 {
            assert!(found(&[1, 2, 0xff, 0xd9, 3], piece) && found(&[0xff, 0xd9], piece));
            assert!(!found(&[0xff, 0, 0xd9, 0xff], piece) && !found(&[0xd9, 0xff], piece));
            assert!(!found(&[], piece));
        }
    }

    #[test]
    fn a_jpeg_that_is_longer_than_any_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.jpg");
        std::fs::copy(golden().join("rgb.jpg"), &path).unwrap();
        // What follows the end of an image is not looked at.
        let extend = |length| {
            std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        };
        extend(limits::JPEG);
        assert!(look(&path).is_ok());
        extend(limits::JPEG + 1);
        let error = decode(&path).unwrap_err().to_string();
        assert!(error.contains("it is a JPEG of more than 268435456 bytes"), "{error}");
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
            let outline = look(&golden().join(name)).unwrap();
            let decoded = decode(&golden().join(name)).unwrap();
            assert_eq!(outline.size, image.dimensions(), "{name}");
            assert_eq!(outline.has_colour, decoded.color().has_color(), "{name}");
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
