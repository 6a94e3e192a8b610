//! The idx layout of MNIST and of the sets that adopted it, plain or gzipped.
//!
//! A file of images starts with the number 0x00000803 (bytes, three axes) and with N, H and W, each
//! of four bytes, most significant first; the pixels follow, row by row. A file of labels starts with
//! 0x00000801 and N, and a byte a label follows. Whether a file is gzipped is told by its first
//! bytes, not by its name. In these sets 0 is the background.

use std::{
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use ndarray::Array4;

use crate::data::{
    Error, Images, Result, Split,
    content::{Content, Packing},
    unfold,
};

/// Bytes, three axes.
const IMAGES: u32 = 0x0803;
/// Bytes, one axis.
const LABELS: u32 = 0x0801;
const HEADER: u64 = 16;
const LABELS_HEADER: u64 = 8;

/// The images of a file, which are read from it each time.
pub struct Idx {
    path: PathBuf,
    content: Content,
    shape: [usize; 4],
}

/// The file of a split's images, without `.gz`.
pub fn images_file(split: Split) -> &'static str {
    match split {
        Split::Train => "train-images-idx3-ubyte",
        Split::Test => "t10k-images-idx3-ubyte",
    }
}

/// Opens images `[N, 1, H, W]`, and reads their classes where the file of labels lies beside them: the
/// one named `labels-idx1` where theirs says `images-idx3`.
///
/// # Errors
/// A file that cannot be read, is truncated, has bytes left over, or holds something else; another
/// number of labels than of images.
pub fn open(path: &Path) -> Result<(Idx, Vec<u8>)> {
    let images = open_images(path)?;
    let Some(beside) = labels_beside(path) else { return Ok((images, vec![])) };
    let classes = read_labels(&beside)?;
    let n = images.shape[0];
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

impl Images for Idx {
    fn shape(&self) -> [usize; 4] {
        self.shape
    }

    fn read(&self, positions: Range<usize>) -> Result<Array4<u8>> {
        let [_, c, h, w] = self.shape;
        let at = HEADER + (positions.start * h * w) as u64;
        let bytes = self.content.bytes(at, positions.len() * h * w);
        let bytes = bytes.map_err(|error| failed(&self.path, &self.content, error))?;
        let shape = (positions.len(), c, h, w);
        Ok(Array4::from_shape_vec(shape, bytes).expect("invariant: a byte for every pixel"))
    }
}

/// The file of labels that belongs to one of images, gzipped or not.
fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    let labels = plain.strip_suffix("images-idx3-ubyte")?.to_owned() + "labels-idx1-ubyte";
    let files = [labels.clone(), labels + ".gz"].map(|name| images.with_file_name(name));
    files.into_iter().find(|file| file.is_file())
}

fn open_images(path: &Path) -> Result<Idx> {
    let refuse = |problem: String| Error::Format { path: path.to_path_buf(), problem };
    let (content, length, start) = opened(path, HEADER)?;
    match word(&start, 0) {
        Some(IMAGES) => {}
        Some(LABELS) => {
            return Err(refuse(
                "it holds labels (idx1); the images are in the file named ...-images-idx3-ubyte"
                    .to_owned(),
            ));
        }
        found => return Err(refuse(foreign(found, length, "images", IMAGES))),
    }
    let (Some(n), Some(h), Some(w)) = (word(&start, 1), word(&start, 2), word(&start, 3)) else {
        return Err(refuse("it ends within its header; fetch it again".to_owned()));
    };
    let pixels = length - HEADER;
    if u128::from(n) * u128::from(h) * u128::from(w) != u128::from(pixels) {
        return Err(refuse(format!(
            "its header says {n} images of {h} x {w}, but {pixels} bytes of pixels follow: it is \
             truncated or damaged; fetch it again"
        )));
    }
    if pixels == 0 {
        return Err(refuse(format!("it holds no pixels ({n} images of {h} x {w})")));
    }
    let shape = [n as usize, 1, h as usize, w as usize];
    Ok(Idx { path: path.to_path_buf(), content, shape })
}

fn read_labels(path: &Path) -> Result<Vec<u8>> {
    let refuse = |problem: String| Error::Format { path: path.to_path_buf(), problem };
    let (content, length, start) = opened(path, LABELS_HEADER)?;
    match (word(&start, 0), word(&start, 1)) {
        (Some(LABELS), Some(n)) if length - LABELS_HEADER == u64::from(n) => {
            content.bytes(LABELS_HEADER, n as usize).map_err(|error| failed(path, &content, error))
        }
        (Some(LABELS), Some(n)) => Err(refuse(format!(
            "its header says {n} labels, but {} follow: it is truncated or damaged; fetch it again",
            length - LABELS_HEADER
        ))),
        (Some(LABELS), None) => Err(refuse("it ends within its header; fetch it again".to_owned())),
        (found, _) => Err(refuse(foreign(found, length, "labels", LABELS))),
    }
}

/// A file, the number of its bytes, and as many of the first as a header has.
fn opened(path: &Path, header: u64) -> Result<(Content, u64, Vec<u8>)> {
    let read = |source| Error::Read { path: path.to_path_buf(), source };
    let content = Content::open(path).map_err(read)?;
    let mut start = vec![];
    let length = content
        .length()
        .and_then(|length| content.reader().take(header).read_to_end(&mut start).map(|_| length))
        .map_err(|error| failed(path, &content, error))?;
    Ok((content, length, start))
}

/// What a file is that does not start as it should.
fn foreign(found: Option<u32>, length: u64, what: &str, magic: u32) -> String {
    let found = found.map_or_else(
        || format!("has {length} bytes"),
        |magic| format!("starts with 0x{magic:08x}"),
    );
    format!("it {found}, where a file of idx {what} starts with 0x{magic:08x}")
}

/// Why bytes of a file are not read.
fn failed(path: &Path, content: &Content, error: io::Error) -> Error {
    let refuse = |problem: String| Error::Format { path: path.to_path_buf(), problem };
    match error.kind() {
        _ if content.packing() == Packing::None => {
            Error::Read { path: path.to_path_buf(), source: error }
        }
        io::ErrorKind::UnexpectedEof => {
            refuse("the gzip file is truncated; fetch it again".to_owned())
        }
        unfold::TOO_LONG => refuse(format!(
            "{error}: unpack it with gunzip if it is what it should be, and give the unpacked file"
        )),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            refuse(format!("the gzip file is damaged ({error}); fetch it again"))
        }
        _ => Error::Read { path: path.to_path_buf(), source: error },
    }
}

/// The i-th number of four bytes.
fn word(bytes: &[u8], i: usize) -> Option<u32> {
    bytes.get(4 * i..4 * i + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

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
        let images = open(&path)?.0;
        images.read(0..images.shape()[0])
    }

    #[test]
    fn labels_beside_the_images_are_read_and_must_be_theirs() {
        let dir = TempDir::new().unwrap();
        let images = dir.path().join("t10k-images-idx3-ubyte.gz");
        fs::write(&images, gzip(&file(IMAGES, [3, 2, 5]))).unwrap();
        assert!(open(&images).unwrap().1.is_empty());
        // Those of the other split are not theirs.
        fs::write(dir.path().join("train-labels-idx1-ubyte"), b"").unwrap();
        assert!(open(&images).unwrap().1.is_empty());
        let labels = |n: u8, values: &[u8]| [&[0, 0, 8, 1, 0, 0, 0, n], values].concat();
        let path = dir.path().join("t10k-labels-idx1-ubyte");
        fs::write(&path, labels(3, &[7, 0, 9])).unwrap();
        assert_eq!(open(&images).unwrap().1, [7_u8, 0, 9]);
        fs::write(&path, gzip(&labels(3, &[7, 0, 9]))).unwrap();
        assert_eq!(open(&images).unwrap().1, [7_u8, 0, 9]);
        for (bytes, expected) in [
            (labels(2, &[7, 0]), "it holds 2 labels and"),
            (labels(3, &[7, 0]), "says 3 labels, but 2 follow"),
            (labels(3, &[])[..6].to_vec(), "ends within its header"),
            (file(IMAGES, [3, 1, 1]), "where a file of idx labels starts with 0x00000801"),
        ] {
            fs::write(&path, bytes).unwrap();
            let error = open(&images).err().unwrap().to_string();
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
    fn any_images_are_read_alone_and_in_any_order() {
        let bytes = file(IMAGES, [40, 3, 2]);
        let whole = read_bytes(&bytes).unwrap();
        let dir = TempDir::new().unwrap();
        for (name, bytes) in [("plain", bytes.clone()), ("gzipped", gzip(&bytes))] {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            let images = open(&path).unwrap().0;
            for positions in [5..9, 9..40, 0..1, 38..39, 7..7] {
                let expected = whole.slice(ndarray::s![positions.clone(), .., .., ..]);
                assert_eq!(images.read(positions).unwrap(), expected, "{name}");
            }
        }
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
