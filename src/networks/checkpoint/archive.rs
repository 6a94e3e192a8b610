//! Zip archives of stored records, and what can be wrong with a file.

use std::{
    fs::File,
    io::{BufReader, Read, Seek},
    path::Path,
};

use zip::{CompressionMethod, ZipArchive, result::ZipError};

use crate::data::file;
use crate::networks::checkpoint::error::{CheckpointError, Result};

/// Bytes with which every archive begins.
pub(super) const MAGIC: &[u8] = b"PK";

/// More bytes than are needed to recognise a file.
const HEAD: u64 = 512;

/// The first bytes of a file.
pub(super) fn head(path: &Path) -> Result<Vec<u8>> {
    let mut head = vec![];
    let read = file::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.map_err(|source| CheckpointError::Read { path: path.to_owned(), source })?;
    Ok(head)
}

/// A damaged file.
pub(super) fn broken(path: &Path, problem: impl Into<String>) -> CheckpointError {
    CheckpointError::Damaged { path: path.to_owned(), problem: problem.into() }
}

/// A file that cannot be read, or ends too early.
pub(super) fn io(path: &Path) -> impl Fn(std::io::Error) -> CheckpointError {
    let path = path.to_owned();
    move |source| match source.kind() {
        std::io::ErrorKind::UnexpectedEof => broken(&path, "it ends too early"),
        _ => CheckpointError::Read { path: path.clone(), source },
    }
}

/// Opens an archive; the second is the file's length.
pub(super) fn archive(path: &Path) -> Result<(ZipArchive<BufReader<File>>, u64)> {
    let file = file::open(path).map_err(io(path))?;
    let bytes = file.metadata().map_err(io(path))?.len();
    let archive = ZipArchive::new(BufReader::new(file)).map_err(|error| match error {
        ZipError::Io(error) => io(path)(error),
        other => broken(path, other.to_string()),
    })?;
    Ok((archive, bytes))
}

/// The bytes of one record, their checksum compared.
pub(super) fn record<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    name: &str,
    path: &Path,
) -> Result<Vec<u8>> {
    let mut file = archive.by_name(name).map_err(|error| match error {
        ZipError::FileNotFound => broken(path, format!("it lacks the record {name}")),
        other => broken(path, other.to_string()),
    })?;
    // A compressed record could be larger than the file by any factor; torch.save stores plainly.
    if file.compression() != CompressionMethod::Stored {
        return Err(broken(path, format!("its record {name} is compressed")));
    }
    let mut bytes = vec![];
    match file.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(broken(path, format!("record {name}: {error}"))),
    }
}
