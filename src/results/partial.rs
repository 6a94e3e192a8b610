//! The finished batches of an interrupted cell, in a file that only grows.
//!
//! A row holds the numbers computed from one sample and its model calls, in f32. A batch that was cut
//! off while it was written is drawn again; noise is keyed by sample, so the cell ends with the same
//! bytes as without the interruption.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use ndarray::{Array2, ArrayView2, s};

use crate::results::{folder::KEY, record::ResultsError};

/// The parts of a file's name around the start of its cell's key.
pub(crate) const NAME: [&str; 2] = ["partial-", ".f32"];

/// The finished batches of one cell.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    file: File,
    /// Of all samples; those that are not drawn are zero.
    numbers: Array2<f32>,
    rows: usize,
    most_calls: f32,
}

impl Partial {
    /// The file of a cell.
    pub fn path(folder: &Path, key: &str) -> PathBuf {
        folder.join(NAME.join(&key[..KEY]))
    }

    /// Opens a cell's file and keeps its complete batches; `width` is the length of a row.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn open(
        folder: &Path,
        key: &str,
        width: usize,
        batch: usize,
        samples: usize,
    ) -> Result<Self, ResultsError> {
        let path = Self::path(folder, key);
        let error = |action, source| ResultsError::Io { path: path.clone(), action, source };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(missing) if missing.kind() == ErrorKind::NotFound => vec![],
            Err(source) => return Err(error("read", source)),
        };
        let length = 4 * (width + 1);
        let found = bytes.len() / length;
        let rows = if found >= samples { samples } else { found / batch * batch };
        let whole = rows * length;
        let mut numbers = Array2::zeros((samples, width));
        let mut most_calls: f32 = 0.0;
        for (row, mut into) in bytes[..whole].chunks_exact(length).zip(numbers.outer_iter_mut()) {
            let (values, calls) = row.split_at(4 * width);
            let of = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            into.iter_mut().zip(values.chunks_exact(4)).for_each(|(x, bytes)| *x = of(bytes));
            most_calls = most_calls.max(of(calls));
        }
        let file = OpenOptions::new().create(true).write(true).truncate(false).open(&path);
        let mut file = file.map_err(|source| error("write", source))?;
        let cut = file.set_len(whole as u64).and_then(|()| file.seek(SeekFrom::End(0)));
        cut.map_err(|source| error("write", source))?;
        Ok(Self { path, file, numbers, rows, most_calls })
    }

    /// The number of samples drawn.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Adds a batch or a part of one: its numbers, and the calls each of its samples took.
    ///
    /// # Errors
    /// A file that cannot be written.
    ///
    /// # Panics
    /// If the rows are not as long as those before, or more than there are samples.
    #[allow(clippy::cast_precision_loss, reason = "fewer than 2^24 calls")]
    pub fn append(&mut self, numbers: &Array2<f32>, calls: u64) -> Result<(), ResultsError> {
        assert_eq!(numbers.ncols(), self.numbers.ncols(), "rows of another length");
        let calls = calls as f32;
        let mut bytes = Vec::with_capacity(4 * (numbers.len() + numbers.nrows()));
        for row in numbers.outer_iter() {
            let values = row.iter().chain([&calls]);
            bytes.extend(values.flat_map(|value| value.to_le_bytes()));
        }
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        written.map_err(|source| self.error("write", source))?;
        let rows = self.rows..self.rows + numbers.nrows();
        self.rows = rows.end;
        self.numbers.slice_mut(s![rows, ..]).assign(numbers);
        self.most_calls = self.most_calls.max(calls);
        Ok(())
    }

    /// The numbers of all samples drawn.
    pub fn numbers(&self) -> ArrayView2<'_, f32> {
        self.numbers.slice(s![..self.rows, ..])
    }

    /// The most calls that a sample took.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole numbers")]
    pub fn most_calls(&self) -> u64 {
        self.most_calls as u64
    }

    fn error(&self, action: &'static str, source: std::io::Error) -> ResultsError {
        ResultsError::Io { path: self.path.clone(), action, source }
    }
}

/// Deletes the file of a finished cell.
///
/// # Errors
/// A file that cannot be deleted; one that is gone already is none.
pub fn remove(folder: &Path, key: &str) -> Result<(), ResultsError> {
    let path = Partial::path(folder, key);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(ResultsError::Io { path, action: "remove", source })
        }
        _ => Ok(()),
    }
}
