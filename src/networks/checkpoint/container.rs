//! Which container a file is, by its first bytes.
//!
//! A format is a file here that states a [`Format`], and a line of `single::FORMATS`.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
    path::Path,
};

use tch::Tensor;

use crate::{
    data::pickle::TensorNode,
    networks::checkpoint::{
        error::{CheckpointError, Result},
        parts::Contents,
    },
};

/// The format of a file, by its name; the formats' files hold the constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Container(pub(super) &'static str);

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A format of checkpoints.
pub(super) struct Format {
    /// Whether a file that begins so is one.
    pub(super) begins: fn(&[u8]) -> bool,
    /// Opens a file of it.
    pub(super) open: fn(&Path) -> Result<File>,
}

/// An opened file: what it holds, and where its numbers are.
#[derive(Debug)]
pub(super) struct File {
    pub(super) container: Container,
    pub(super) contents: Contents,
    pub(super) numbers: Box<dyn Numbers>,
}

/// The numbers of a file.
pub(super) trait Numbers: Debug {
    /// Reads some tensors.
    fn load(&self, tensors: &BTreeMap<String, TensorNode>) -> Result<BTreeMap<String, Tensor>>;

    /// What a file without weights holds.
    fn instead(&self) -> String;
}

/// The format that a file's first bytes are of, or what else they are.
///
/// # Errors
/// Anything else, by its name where it is known.
pub(super) fn format(
    formats: &[&'static Format],
    head: &[u8],
    path: &Path,
) -> Result<&'static Format> {
    let path = || path.to_owned();
    let foreign =
        |what: &str| Err(CheckpointError::Foreign { path: path(), what: what.to_owned() });
    let placeholder = |what| Err(CheckpointError::Placeholder { path: path(), what });
    if let Some(format) = formats.iter().find(|format| (format.begins)(head)) {
        return Ok(format);
    }
    let text = head[..head.len().min(64)].trim_ascii_start().to_ascii_lowercase();
    match head {
        [] => Err(CheckpointError::Damaged { path: path(), problem: "it is empty".to_owned() }),
        _ if head.starts_with(b"version https://git-lfs") => {
            placeholder("Git LFS's pointer to a file")
        }
        _ if text.starts_with(b"<!doctype") || text.starts_with(b"<html") => {
            placeholder("a web page, as servers send where a file is gone or needs a login")
        }
        [0x80, ..] => foreign("a Python pickle that torch.save did not write"),
        [0x1f, 0x8b, ..] => foreign("compressed by gzip"),
        _ if head.starts_with(b"\x89HDF") => foreign("an HDF5 file"),
        _ if head.get(257..262) == Some(b"ustar") => foreign("a tar archive"),
        _ => foreign("of no format that is known"),
    }
}
