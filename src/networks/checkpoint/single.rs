//! One file of weights: what it holds, and where its numbers are.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use tch::Tensor;

use crate::data::{
    file_sha256,
    pickle::{Node, TensorNode},
    sha256,
};
use crate::networks::checkpoint::{
    container::{Container, container},
    error::{CheckpointError, Result},
    parts::{self, Contents},
    safetensors,
    torch_save::TorchFile,
};

/// More bytes than are needed to recognise a file.
const HEAD: u64 = 512;

/// An opened file.
#[derive(Debug)]
pub(super) struct Single {
    pub(super) container: Container,
    /// SHA-256 of the file.
    pub(super) sha256: String,
    pub(super) contents: Contents,
    pub(super) numbers: Numbers,
}

/// The numbers of one file.
#[derive(Debug)]
pub(super) enum Numbers {
    Torch(TorchFile),
    Safetensors(Vec<u8>, PathBuf),
}

/// The first bytes of a file.
pub(super) fn head(path: &Path) -> Result<Vec<u8>> {
    let mut head = vec![];
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
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
        match container(head, path)? {
            Container::Safetensors => {
                let bytes = std::fs::read(path).map_err(unreadable(path))?;
                Self::from_safetensors(bytes, path)
            }
            Container::Legacy => Self::torch(TorchFile::open_legacy(path)?, path),
            Container::Zip | Container::TorchScript => {
                Self::torch(TorchFile::open_zip(path)?, path)
            }
        }
    }

    /// Opens the bytes of a safetensors file; `origin` is for messages only.
    pub(super) fn from_safetensors(bytes: Vec<u8>, origin: &Path) -> Result<Self> {
        container(&bytes, origin)?;
        let (parts, unread) = parts::of_dictionary(safetensors::tensors(&bytes, origin)?);
        Ok(Self {
            container: Container::Safetensors,
            sha256: sha256(&bytes),
            contents: Contents { parts, unread, ..Contents::default() },
            numbers: Numbers::Safetensors(bytes, origin.to_owned()),
        })
    }

    fn torch(file: TorchFile, path: &Path) -> Result<Self> {
        let program = file.container == Container::TorchScript;
        Ok(Self {
            container: file.container,
            sha256: file_sha256(path).map_err(unreadable(path))?,
            contents: if program { Contents::default() } else { parts::find(&file.document) },
            numbers: Numbers::Torch(file),
        })
    }
}

impl Numbers {
    /// Reads some tensors.
    pub(super) fn load(
        &self,
        tensors: &BTreeMap<String, TensorNode>,
    ) -> Result<BTreeMap<String, Tensor>> {
        match self {
            Self::Torch(file) => file.load(tensors.iter()),
            Self::Safetensors(bytes, path) => safetensors::load(bytes, path, tensors),
        }
    }

    /// What a file without weights holds.
    pub(super) fn instead(&self) -> String {
        let Self::Torch(file) = self else { return "nothing".to_owned() };
        match file.document.root() {
            Node::Object(name, _) => format!("a call of Python's `{name}` (not called)"),
            Node::Global(name) => format!("the name of Python's `{name}`"),
            Node::Tensor(_) => "a single tensor".to_owned(),
            Node::Dict(_) => "a dictionary without tensors".to_owned(),
            Node::List(_) | Node::Tuple(_) => "a list".to_owned(),
            _ => "a single value".to_owned(),
        }
    }
}
