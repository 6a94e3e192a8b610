//! Image arrays as `.npy` files: `[N, C, H, W]`, f32, as `numpy.save` writes them.

use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use ndarray::{Array4, ArrayView4, Ix4};
use ndarray_npy::{WriteNpyError, WriteNpyExt};

use crate::data::file;
use crate::data::{
    atomic,
    numpy::{self, Problem, Values},
};

/// What can go wrong with an array file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NpyError {
    /// The file cannot be opened, or the folder cannot be written to.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not an `.npy` file of floats.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the remedy.
        problem: String,
    },
    /// The array does not have four axes.
    #[error("{} has shape {found:?}, expected [N, C, H, W]", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The shape found.
        found: Vec<usize>,
    },
    /// The array cannot be written.
    #[error("cannot write {} of shape {shape:?}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The shape of the array.
        shape: Vec<usize>,
        /// What the writer says.
        source: WriteNpyError,
    },
}

/// Reads floats, in single precision.
///
/// - Shape: `[N, C, H, W]`.
///
/// # Errors
/// A file that cannot be opened, is truncated, holds anything but floats, or does not have four axes.
pub fn read_images(path: &Path) -> Result<Array4<f32>, NpyError> {
    let file = file::open(path).map_err(|source| io_error("read", path, source))?;
    let refuse = |problem: Problem| NpyError::Format {
        path: path.to_path_buf(),
        problem: problem.to_string(),
    };
    let length = file::length(&file);
    let array = match numpy::read(&mut BufReader::new(file), length).map_err(refuse)? {
        Values::Single(array) => array,
        #[allow(clippy::cast_possible_truncation, reason = "single precision is asked for")]
        Values::Double(array) => array.mapv(|x| x as f32),
        Values::Bytes(_) => return Err(refuse(Problem::Kind("|u1".to_owned()))),
    };
    let found = array.shape().to_vec();
    array
        .into_dimensionality::<Ix4>()
        .map_err(|_| NpyError::Shape { path: path.to_path_buf(), found })
}

/// Writes images, creating the folder where it is missing.
///
/// - Shape: `[N, C, H, W]`.
///
/// # Errors
/// A folder or file that cannot be written; an existing file is then left as it was.
pub fn write_images(path: &Path, images: ArrayView4<'_, f32>) -> Result<(), NpyError> {
    let file = atomic::beside(path).map_err(|source| io_error("write", path, source))?;
    let mut writer = BufWriter::new(file);
    images.write_npy(&mut writer).map_err(|source| NpyError::Write {
        path: path.to_path_buf(),
        shape: images.shape().to_vec(),
        source,
    })?;
    writer.flush().map_err(|source| io_error("write", path, source))?;
    let file = writer.into_inner().map_err(|error| io_error("write", path, error.into_error()))?;
    atomic::put(file, path).map_err(|source| io_error("write", path, source))
}

pub(super) fn io_error(action: &'static str, path: &Path, source: io::Error) -> NpyError {
    NpyError::Io { action, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ndarray::{Array2, Array4};
    use tempfile::TempDir;

    use super::*;

    fn images() -> Array4<f32> {
        Array4::from_shape_fn((2, 3, 4, 5), |(n, c, h, w)| (n * 1000 + c * 100 + h * 10 + w) as f32)
    }

    #[test]
    fn images_survive_the_round_trip() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("new/folder/images.npy");
        write_images(&path, images().view()).unwrap();
        assert_eq!(read_images(&path).unwrap(), images());
        // Writing again replaces the file and leaves nothing else behind.
        write_images(&path, (images() * 2.0).view()).unwrap();
        assert_eq!(read_images(&path).unwrap(), images() * 2.0);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_starts_as_numpy_writes_it() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("images.npy");
        write_images(&path, images().view()).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
        let header = String::from_utf8_lossy(&bytes[10..128]);
        assert!(header.contains("'<f4'") && header.contains("(2, 3, 4, 5"), "{header}");
    }

    #[test]
    fn another_number_of_axes_is_refused_with_the_shape() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("matrix.npy");
        ndarray_npy::write_npy(&path, &Array2::<f32>::zeros((2, 7))).unwrap();
        let error = read_images(&path).unwrap_err().to_string();
        assert!(error.contains("matrix.npy has shape [2, 7], expected [N, C, H, W]"), "{error}");
    }

    #[test]
    fn another_type_and_a_truncated_file_are_refused_with_the_name() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("bytes.npy");
        ndarray_npy::write_npy(&path, &Array4::<u8>::zeros((1, 1, 2, 2))).unwrap();
        assert!(matches!(read_images(&path), Err(NpyError::Format { .. })));
        let path = dir.path().join("half.npy");
        write_images(&path, images().view()).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = read_images(&path).unwrap_err().to_string();
        assert!(error.contains("half.npy"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read_images(Path::new("nowhere/images.npy")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read nowhere/images.npy:"), "{error}");
    }
}
