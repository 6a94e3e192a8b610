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

use ndarray::{Array1, Array2, Axis, concatenate, s};

use crate::results::{folder::KEY, record::ResultsError};

/// The parts of a file's name around the start of its cell's key.
pub(crate) const NAME: [&str; 2] = ["partial-", ".f32"];

/// The finished batches of one cell.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    file: File,
    rows: Array2<f32>,
}

impl Partial {
    /// Opens a cell's file and keeps its complete batches; `width` is the length of a row.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    ///
    /// # Panics
    /// Never: whole rows are read.
    pub fn open(
        folder: &Path,
        key: &str,
        width: usize,
        batch: usize,
        samples: usize,
    ) -> Result<Self, ResultsError> {
        let path = folder.join(NAME.join(&key[..KEY]));
        let error = |action, source| ResultsError::Io { path: path.clone(), action, source };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(missing) if missing.kind() == ErrorKind::NotFound => vec![],
            Err(source) => return Err(error("read", source)),
        };
        let width = width + 1;
        let found = bytes.len() / (4 * width);
        let rows = if found >= samples { samples } else { found / batch * batch };
        let whole = rows * width * 4;
        let values = bytes[..whole].chunks_exact(4);
        let values = values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let file = OpenOptions::new().create(true).write(true).truncate(false).open(&path);
        let mut file = file.map_err(|source| error("write", source))?;
        let cut = file.set_len(whole as u64).and_then(|()| file.seek(SeekFrom::End(0)));
        cut.map_err(|source| error("write", source))?;
        let rows =
            Array2::from_shape_vec((rows, width), values).expect("invariant: whole rows were read");
        Ok(Self { path, file, rows })
    }

    /// The number of samples drawn.
    pub fn rows(&self) -> usize {
        self.rows.nrows()
    }

    /// Adds a batch: its numbers, and the calls each of its samples took.
    ///
    /// # Errors
    /// A file that cannot be written.
    ///
    /// # Panics
    /// If the rows differ in length from those before.
    #[allow(clippy::cast_precision_loss, reason = "fewer than 2^24 calls")]
    pub fn append(&mut self, numbers: &Array2<f32>, calls: u64) -> Result<(), ResultsError> {
        let calls = Array1::from_elem(numbers.nrows(), calls as f32).insert_axis(Axis(1));
        let batch = concatenate![Axis(1), numbers.view(), calls];
        let bytes: Vec<u8> = batch.iter().flat_map(|value| value.to_le_bytes()).collect();
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        written.map_err(|source| self.error("write", source))?;
        self.rows.append(Axis(0), batch.view()).expect("invariant: rows are equally long");
        Ok(())
    }

    /// The numbers of all samples drawn.
    pub fn numbers(&self) -> Array2<f32> {
        self.rows.slice(s![.., ..-1]).to_owned()
    }

    /// The most calls that a sample took.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole numbers")]
    pub fn most_calls(&self) -> u64 {
        self.rows.slice(s![.., -1]).iter().fold(0.0, |most, &calls| calls.max(most)) as u64
    }

    /// Deletes the file of a finished cell.
    ///
    /// # Errors
    /// A file that cannot be deleted.
    pub fn remove(self) -> Result<(), ResultsError> {
        fs::remove_file(&self.path).map_err(|source| self.error("remove", source))
    }

    fn error(&self, action: &'static str, source: std::io::Error) -> ResultsError {
        ResultsError::Io { path: self.path.clone(), action, source }
    }
}
