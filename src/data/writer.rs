//! Arrays that are written batch by batch, `.npy` or `.safetensors`.
//!
//! Both formats are a header and then the elements in order, so an array need not be in memory at
//! once. The file is written beside its place and appears under its name whole or not at all; an
//! array for stdout is written to a temporary file, and goes out when it is whole.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use ndarray::ArrayView4;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::data::{
    atomic,
    npy::{NpyError, io_error},
    stdout,
};

/// The path that stands for stdout.
pub const STDOUT: &str = "-";

/// The type of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Single precision.
    F32,
    /// Double precision.
    F64,
}

/// An array `[N, C, H, W]` on its way to a file.
#[derive(Debug)]
pub struct ArrayWriter {
    path: PathBuf,
    unfinished: NamedTempFile,
    /// The same file, without its name, which would be part of every error.
    file: BufWriter<File>,
    hash: Sha256,
    element: Element,
    shape: [usize; 4],
    rows: usize,
}

impl ArrayWriter {
    /// Begins an array as `numpy.save` writes it, version 1.0 of the format.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn npy(path: &Path, shape: [usize; 4], element: Element) -> Result<Self, NpyError> {
        let kind = match element {
            Element::F32 => "<f4",
            Element::F64 => "<f8",
        };
        let [n, c, h, w] = shape;
        let mut header = format!(
            "{{'descr': '{kind}', 'fortran_order': False, 'shape': ({n}, {c}, {h}, {w}), }}"
        );
        // Magic, version and length take 10 bytes; data begin at a multiple of 64.
        let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
        let _ = write!(header, "{:>1$}", "\n", length - header.len());
        let length = u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes();
        let header = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes()].concat();
        Self::begin(path, &header, shape, element)
    }

    /// Begins a file with one tensor of this name, and text about it.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn safetensors(
        path: &Path,
        name: &str,
        shape: [usize; 4],
        element: Element,
        about: &BTreeMap<String, String>,
    ) -> Result<Self, NpyError> {
        let (kind, bytes) = match element {
            Element::F32 => ("F32", 4),
            Element::F64 => ("F64", 8),
        };
        let end = shape.iter().product::<usize>() * bytes;
        let tensor = serde_json::json!({ "dtype": kind, "shape": shape, "data_offsets": [0, end] });
        let mut header = serde_json::json!({ "__metadata__": about, name: tensor }).to_string();
        let length = header.len().next_multiple_of(8);
        let _ = write!(header, "{:1$}", "", length - header.len());
        let header = [&(length as u64).to_le_bytes()[..], header.as_bytes()].concat();
        Self::begin(path, &header, shape, element)
    }

    fn begin(
        path: &Path,
        header: &[u8],
        shape: [usize; 4],
        element: Element,
    ) -> Result<Self, NpyError> {
        let file =
            if path.as_os_str() == STDOUT { NamedTempFile::new() } else { atomic::beside(path) };
        let failed = |source| io_error("write", path, source);
        let unfinished = file.map_err(failed)?;
        let file = unfinished.as_file().try_clone().map_err(failed)?;
        let mut writer = Self {
            path: path.to_path_buf(),
            unfinished,
            file: BufWriter::new(file),
            hash: Sha256::new(),
            element,
            shape,
            rows: 0,
        };
        writer.write(header)?;
        Ok(writer)
    }

    /// Writes further rows, rounded to the array's type.
    ///
    /// # Errors
    /// A disk that is full.
    ///
    /// # Panics
    /// If the rows have another shape than the array's, or are more than it has.
    #[allow(clippy::cast_possible_truncation, reason = "the rounded value is meant")]
    pub fn append(&mut self, rows: ArrayView4<'_, f64>) -> Result<(), NpyError> {
        assert_eq!(rows.shape()[1..], self.shape[1..], "rows of another shape");
        self.rows += rows.shape()[0];
        assert!(self.rows <= self.shape[0], "more rows than there should be");
        let bytes: Vec<u8> = match self.element {
            Element::F32 => rows.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect(),
            Element::F64 => rows.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        self.write(&bytes)
    }

    /// Puts the file in its place, and returns the SHA-256 of its bytes.
    ///
    /// # Errors
    /// A disk that is full, or a name that cannot be taken; an old file is then left as it was.
    ///
    /// # Panics
    /// If rows are missing.
    pub fn finish(mut self) -> Result<String, NpyError> {
        assert_eq!(self.rows, self.shape[0], "rows are missing");
        let path = &self.path;
        let failed = |source: io::Error| io_error("write", path, source);
        self.file.flush().map_err(failed)?;
        let file = self.unfinished;
        if path.as_os_str() == STDOUT {
            to_stdout(&file).map_err(|source| io_error("write", Path::new("stdout"), source))?;
        } else {
            atomic::put(file, path).map_err(failed)?;
        }
        Ok(format!("{:x}", self.hash.finalize()))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), NpyError> {
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(|source| io_error("write", &self.path, source))
    }
}

/// Copies a file to stdout; a reader that stops early is not an error.
fn to_stdout(file: &NamedTempFile) -> io::Result<()> {
    let mut file = file.reopen()?;
    match stdout::with(|stdout| io::copy(&mut file, stdout).map(drop)) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        sent => sent,
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array4, s};
    use ndarray_npy::ReadNpyExt;
    use safetensors::SafeTensors;
    use tempfile::TempDir;

    use super::*;

    fn array() -> Array4<f64> {
        Array4::from_shape_fn((5, 3, 4, 2), |(n, c, h, w)| {
            (n * 100 + c * 20 + h * 4 + w) as f64 / 7.0
        })
    }

    #[test]
    fn batches_give_the_bytes_of_numpy() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a.npy");
        let whole = array();
        let mut writer = ArrayWriter::npy(&path, [5, 3, 4, 2], Element::F64).unwrap();
        writer.append(whole.slice(s![..2, .., .., ..])).unwrap();
        assert!(!path.exists());
        writer.append(whole.slice(s![2.., .., .., ..])).unwrap();
        let hash = writer.finish().unwrap();
        let found = std::fs::read(&path).unwrap();
        // What numpy.save writes before the elements.
        let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (5, 3, 4, 2), }";
        let expected =
            [b"\x93NUMPY\x01\x00\x76\x00", format!("{header:117}\n").as_bytes()].concat();
        assert_eq!(found[..128], expected);
        assert_eq!(Array4::<f64>::read_npy(&found[..]).unwrap(), whole);
        assert_eq!(hash, format!("{:x}", Sha256::digest(found)));
    }

    #[test]
    fn a_safetensors_file_has_its_text_and_a_writer_that_is_dropped_leaves_nothing() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a.safetensors");
        let about = BTreeMap::from([("cell".to_owned(), "{\"a\": \"é\"}".to_owned())]);
        let begin =
            || ArrayWriter::safetensors(&path, "latents", [5, 3, 4, 2], Element::F32, &about);
        let mut writer = begin().unwrap();
        writer.append(array().view()).unwrap();
        writer.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["cell"], about["cell"]);
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = file.tensor("latents").unwrap();
        assert_eq!(tensor.shape(), [5, 3, 4, 2]);
        let last = f32::from_le_bytes(tensor.data()[476..].try_into().unwrap());
        assert!((f64::from(last) - array()[[4, 2, 3, 1]]).abs() < 1e-5);

        drop(begin().unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
