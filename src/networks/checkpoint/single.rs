//! One file of weights: what it holds, and where its numbers are.

use std::path::Path;

use crate::data::{file_sha256, sha256};
use crate::networks::checkpoint::{
    container::{self, Format},
    error::{CheckpointError, Result},
    safetensors, torch_save,
};

/// Every format.
const FORMATS: [&Format; 3] = [&safetensors::FORMAT, &torch_save::ZIP, &torch_save::LEGACY];

/// An opened file and its hash.
#[derive(Debug)]
pub(super) struct Single {
    /// SHA-256 of the file.
    pub(super) sha256: String,
    pub(super) file: container::File,
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
