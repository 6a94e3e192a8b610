//! The idx layout of MNIST and of the sets that took it over, plain or gzipped.
//!
//! A file of images starts with the number 0x00000803 (bytes, three axes) and with N, H and W, all
//! of four bytes, the highest first; the pixels follow, row by row. Whether a file is gzipped is
//! told by its first bytes, not by its name. In these sets 0 is the background.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use flate2::read::MultiGzDecoder;
use ndarray::Array4;

use super::{Error, Result, Split};

/// Bytes, three axes.
const IMAGES: u32 = 0x0803;
/// Bytes, one axis.
const LABELS: u32 = 0x0801;
const HEADER: usize = 16;

/// The file of a split's images, without `.gz`.
pub fn images_file(split: Split) -> &'static str {
    match split {
        Split::Train => "train-images-idx3-ubyte",
        Split::Test => "t10k-images-idx3-ubyte",
    }
}

/// Reads images: `[N, 1, H, W]`.
///
/// # Errors
/// A file that cannot be read, is truncated, has bytes left over, or holds something else.
pub fn read(path: &Path) -> Result<Array4<u8>> {
    let refuse = |problem: String| Error::Format { path: path.to_path_buf(), problem };
    let raw = fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    let bytes = if raw.starts_with(&[0x1f, 0x8b]) {
        let mut bytes = Vec::new();
        MultiGzDecoder::new(raw.as_slice()).read_to_end(&mut bytes).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                refuse("the gzip file is truncated; fetch it again".to_owned())
            } else {
                refuse(format!("the gzip file is damaged ({error}); fetch it again"))
            }
        })?;
        bytes
    } else {
        raw
    };
    let word = |i: usize| {
        bytes.get(4 * i..4 * i + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    };
    match word(0) {
        Some(IMAGES) => {}
        Some(LABELS) => {
            return Err(refuse(
                "it holds labels (idx1); the images are in the file named ...-images-idx3-ubyte"
                    .to_owned(),
            ));
        }
        found => {
            let found = found.map_or_else(
                || format!("has {} bytes", bytes.len()),
                |magic| format!("starts with 0x{magic:08x}"),
            );
            return Err(refuse(format!(
                "it {found}, where a file of idx images starts with 0x{IMAGES:08x}"
            )));
        }
    }
    let (Some(n), Some(h), Some(w)) = (word(1), word(2), word(3)) else {
        return Err(refuse("it ends within its header; fetch it again".to_owned()));
    };
    let pixels = bytes.len() - HEADER;
    if u128::from(n) * u128::from(h) * u128::from(w) != pixels as u128 {
        return Err(refuse(format!(
            "its header says {n} images of {h} x {w}, but {pixels} bytes of pixels follow: it is \
             truncated or damaged; fetch it again"
        )));
    }
    if pixels == 0 {
        return Err(refuse(format!("it holds no pixels ({n} images of {h} x {w})")));
    }
    let shape = (n as usize, 1, h as usize, w as usize);
    Array4::from_shape_vec(shape, bytes[HEADER..].to_vec())
        .map_err(|error| refuse(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use tempfile::TempDir;

    use super::*;

    fn file(magic: u32, shape: [u32; 3]) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            [magic, shape[0], shape[1], shape[2]].iter().flat_map(|x| x.to_be_bytes()).collect();
        bytes.extend((0..shape.iter().product::<u32>()).map(|i| u8::try_from(i % 251).unwrap()));
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read_bytes(bytes: &[u8]) -> Result<Array4<u8>> {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("images");
        fs::write(&path, bytes).unwrap();
        read(&path)
    }

    #[test]
    fn plain_and_gzipped_files_hold_the_same_images() {
        let bytes = file(IMAGES, [3, 2, 5]);
        let images = read_bytes(&bytes).unwrap();
        assert_eq!(images.dim(), (3, 1, 2, 5));
        assert_eq!(images[[2, 0, 1, 3]], 2 * 10 + 5 + 3);
        assert_eq!(read_bytes(&gzip(&bytes)).unwrap(), images);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let good = file(IMAGES, [3, 2, 5]);
        let zipped = gzip(&good);
        for (bytes, expected) in [
            (file(LABELS, [3, 1, 1]), "it holds labels (idx1)"),
            (file(0x0d03, [3, 2, 5]), "starts with 0x00000d03"),
            (b"abc".to_vec(), "it has 3 bytes"),
            (good[..10].to_vec(), "ends within its header"),
            (good[..40].to_vec(), "says 3 images of 2 x 5, but 24 bytes"),
            ([good.as_slice(), &[0]].concat(), "but 31 bytes"),
            (zipped[..zipped.len() - 12].to_vec(), "gzip file is truncated"),
            (file(IMAGES, [0, 2, 5]), "no pixels"),
        ] {
            let error = read_bytes(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
