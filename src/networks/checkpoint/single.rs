//! One file of weights: what it holds, and where its numbers are.

use std::{io::Read, path::Path};

use crate::data::file;
use crate::data::{file_sha256, sha256};
use crate::networks::checkpoint::{
    container::{self, Format},
    error::{CheckpointError, Result},
    safetensors, torch_save,
};

/// More bytes than are needed to recognise a file.
const HEAD: u64 = 512;

/// Every format.
const FORMATS: [&Format; 3] = [&safetensors::FORMAT, &torch_save::ZIP, &torch_save::LEGACY];

/// An opened file and its hash.
#[derive(Debug)]
pub(super) struct Single {
    /// SHA-256 of the file.
    pub(super) sha256: String,
    pub(super) file: container::File,
}

/// The first bytes of a file.
pub(super) fn head(path: &Path) -> Result<Vec<u8>> {
    let mut head = vec![];
    let read = file::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.map_err(unreadable(path))?;
    Ok(head)
}

fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> CheckpointError {
    move |source| CheckpointError::Read { path: path.to_owned(), source }
}

impl Single {
    /// Opens a file whose first bytes are `head`.
    ///
    /// # Errors
    /// A file that cannot be read, is of no known format, or contradicts its own.
    pub(super) fn open(path: &Path, head: &[u8]) -> Result<Self> {
        let file = (container::format(&FORMATS, head, path)?.open)(path)?;
        Ok(Self { sha256: file_sha256(path).map_err(unreadable(path))?, file })
    }

    /// Opens the bytes of a safetensors file; `origin` is for messages only.
    pub(super) fn from_safetensors(bytes: Vec<u8>, origin: &Path) -> Result<Self> {
        container::format(&[&safetensors::FORMAT], &bytes, origin)?;
        Ok(Self { sha256: sha256(&bytes), file: safetensors::of_bytes(bytes, origin)? })
    }
}
