//! The idx layout of MNIST and of the sets that adopted it, plain or gzipped.
//!
//! A file of images starts with the number 0x00000803 (bytes, three axes) and with N, H and W, each
//! of four bytes, most significant first; the pixels follow, row by row. A file of labels starts with
//! 0x00000801 and N, and a byte a label follows. Whether a file is gzipped is told by its first
//! bytes, not by its name. In these sets 0 is the background.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;
use ndarray::{Array4, Axis};

use crate::data::file;
use crate::data::{Error, Result, Split, unfold::Unfolding};

/// Bytes, three axes.
const IMAGES: u32 = 0x0803;
/// Bytes, one axis.
const LABELS: u32 = 0x0801;
const HEADER: usize = 16;
const LABELS_HEADER: usize = 8;

/// The file of a split's images, without `.gz`.
pub fn images_file(split: Split) -> &'static str {
    match split {
        Split::Train => "train-images-idx3-ubyte",
        Split::Test => "t10k-images-idx3-ubyte",
    }
}

/// Reads images `[N, 1, H, W]`, and their classes where the file of labels lies beside them: the one
/// named `labels-idx1` where theirs says `images-idx3`.
///
/// # Errors
/// A file that cannot be read, is truncated, has bytes left over, or holds something else; another
/// number of labels than of images.
pub fn read(path: &Path) -> Result<(Array4<u8>, Vec<u8>)> {
    let images = read_images(path)?;
    let Some(beside) = labels_beside(path) else { return Ok((images, vec![])) };
    let classes = read_labels(&beside)?;
    let n = images.len_of(Axis(0));
    if classes.len() == n {
        return Ok((images, classes));
    }
    let problem = format!(
        "it holds {} labels and {} has {n} images: one of them is of another set; fetch both \
         again, or move this file away to read the images without labels",
        classes.len(),
        path.display()
    );
    Err(Error::Format { path: beside, problem })
}

/// The file of labels that belongs to one of images, gzipped or not.
fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    let labels = plain.strip_suffix("images-idx3-ubyte")?.to_owned() + "labels-idx1-ubyte";
    let files = [labels.clone(), labels + ".gz"].map(|name| images.with_file_name(name));
    files.into_iter().find(|file| file.is_file())
}

fn read_images(path: &Path) -> Result<Array4<u8>> {
    let refuse = |problem: String| Error::Format { path: path.to_path_buf(), problem };
    let bytes = unpacked(path)?;
    match word(&bytes, 0) {
        Some(IMAGES) => {}
        Some(LABELS) => {
            return Err(refuse(
                "it holds labels (idx1); the images are in the file named ...-images-idx3-ubyte"
                    .to_owned(),
            ));
        }
        found => return Err(refuse(foreign(found, &bytes, "images", IMAGES))),
    }
    let (Some(n), Some(h), Some(w)) = (word(&bytes, 1), word(&bytes, 2), word(&bytes, 3)) else {
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

fn read_labels(path: &Path) -> Result<Vec<u8>> {
    let refuse = |problem: String| Error::Format { path: path.to_path_buf(), problem };
    let bytes = unpacked(path)?;
    match (word(&bytes, 0), word(&bytes, 1)) {
        (Some(LABELS), Some(n)) if bytes.len() - LABELS_HEADER == n as usize => {
            Ok(bytes[LABELS_HEADER..].to_vec())
        }
        (Some(LABELS), Some(n)) => Err(refuse(format!(
            "its header says {n} labels, but {} follow: it is truncated or damaged; fetch it again",
            bytes.len() - LABELS_HEADER
        ))),
        (Some(LABELS), None) => Err(refuse("it ends within its header; fetch it again".to_owned())),
        (found, _) => Err(refuse(foreign(found, &bytes, "labels", LABELS))),
    }
}

/// What a file is that does not start as it should.
fn foreign(found: Option<u32>, bytes: &[u8], what: &str, magic: u32) -> String {
    let found = found.map_or_else(
        || format!("has {} bytes", bytes.len()),
        |magic| format!("starts with 0x{magic:08x}"),
    );
    format!("it {found}, where a file of idx {what} starts with 0x{magic:08x}")
}

/// A file's bytes, without gzip around them.
fn unpacked(path: &Path) -> Result<Vec<u8>> {
    let refuse = |problem: String| Error::Format { path: path.to_path_buf(), problem };
    let raw =
        file::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    if !raw.starts_with(&[0x1f, 0x8b]) {
        return Ok(raw);
    }
    let mut bytes = Vec::new();
    let mut input = Unfolding::new(MultiGzDecoder::new(raw.as_slice()), raw.len() as u64);
    input.read_to_end(&mut bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            refuse("the gzip file is truncated; fetch it again".to_owned())
        }
        _ => refuse(format!("the gzip file is damaged ({error}); fetch it again")),
    })?;
    Ok(bytes)
}

/// The i-th number of four bytes.
fn word(bytes: &[u8], i: usize) -> Option<u32> {
    bytes.get(4 * i..4 * i + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        Ok(read(&path)?.0)
    }

    #[test]
    fn labels_beside_the_images_are_read_and_must_be_theirs() {
        let dir = TempDir::new().unwrap();
        let images = dir.path().join("t10k-images-idx3-ubyte.gz");
        fs::write(&images, gzip(&file(IMAGES, [3, 2, 5]))).unwrap();
        assert!(read(&images).unwrap().1.is_empty());
        // Those of the other split are not theirs.
        fs::write(dir.path().join("train-labels-idx1-ubyte"), b"").unwrap();
        assert!(read(&images).unwrap().1.is_empty());
        let labels = |n: u8, values: &[u8]| [&[0, 0, 8, 1, 0, 0, 0, n], values].concat();
        let path = dir.path().join("t10k-labels-idx1-ubyte");
        fs::write(&path, labels(3, &[7, 0, 9])).unwrap();
        assert_eq!(read(&images).unwrap().1, [7_u8, 0, 9]);
        fs::write(&path, gzip(&labels(3, &[7, 0, 9]))).unwrap();
        assert_eq!(read(&images).unwrap().1, [7_u8, 0, 9]);
        for (bytes, expected) in [
            (labels(2, &[7, 0]), "it holds 2 labels and"),
            (labels(3, &[7, 0]), "says 3 labels, but 2 follow"),
            (labels(3, &[])[..6].to_vec(), "ends within its header"),
            (file(IMAGES, [3, 1, 1]), "where a file of idx labels starts with 0x00000801"),
        ] {
            fs::write(&path, bytes).unwrap();
            let error = read(&images).unwrap_err().to_string();
            assert!(
                error.contains("t10k-labels-idx1-ubyte") && error.contains(expected),
                "{error}"
            );
        }
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
