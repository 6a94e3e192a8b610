//! Safetensors files: a header in JSON that names every tensor, and the numbers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors};
use tch::{Kind, Tensor};

use crate::data::file;
use crate::data::pickle::{Storage, TensorNode};
use crate::networks::checkpoint::{
    container::{Container, File, Format, Numbers},
    error::{CheckpointError, Result},
    part::Named,
    parts::{self, Contents},
};

impl Container {
    /// A header in JSON, and the numbers.
    pub const SAFETENSORS: Self = Self("safetensors");
}

pub(super) const FORMAT: Format = Format {
    // The header's length, below 2^40, and the header: no other format has this there.
    begins: |head| matches!(head, [_, _, _, _, _, 0, 0, 0, b'{', ..]),
    open: |path| {
        let unreadable = |source| CheckpointError::Read { path: path.to_owned(), source };
        of_bytes(file::read(path).map_err(unreadable)?, path)
    },
};

/// The bytes of a file; `origin` is for messages.
pub(super) fn of_bytes(bytes: Vec<u8>, origin: &Path) -> Result<File> {
    let (parts, unread) = parts::of_dictionary(tensors(&bytes, origin)?);
    Ok(File {
        container: Container::SAFETENSORS,
        contents: Contents { parts, unread, ..Contents::default() },
        numbers: Box::new(InMemory(bytes, origin.to_owned())),
    })
}

/// A file's bytes, and its path for messages.
#[derive(Debug)]
struct InMemory(Vec<u8>, PathBuf);

impl Numbers for InMemory {
    fn load(&self, tensors: &BTreeMap<String, TensorNode>) -> Result<BTreeMap<String, Tensor>> {
        load(&self.0, &self.1, tensors)
    }

    fn instead(&self) -> String {
        "nothing".to_owned()
    }
}

fn parse<'a>(bytes: &'a [u8], path: &Path) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(bytes).map_err(|error| CheckpointError::Damaged {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

/// What the header says about each tensor.
fn tensors(bytes: &[u8], path: &Path) -> Result<Named> {
    let mut tensors = vec![];
    for (name, view) in parse(bytes, path)?.iter() {
        let Some(kind) = kind(view.dtype()) else {
            return Err(CheckpointError::ElementType {
                path: path.to_owned(),
                name: name.to_owned(),
                found: format!("{:?}", view.dtype()),
            });
        };
        let shape = signed(view.shape()).ok_or_else(|| CheckpointError::Damaged {
            path: path.to_owned(),
            problem: format!("`{name}` has a side of 2^63 and more"),
        })?;
        let storage = Storage {
            key: name.to_owned(),
            kind,
            len: view.shape().iter().product::<usize>() as u64,
            start: 0,
        };
        let strides = vec![]; // the numbers lie in order
        tensors.push((name.to_owned(), TensorNode { storage, offset: 0, shape, strides }));
    }
    Ok(tensors)
}

/// Reads the tensors whose storages are named.
fn load(
    bytes: &[u8],
    path: &Path,
    wanted: &BTreeMap<String, TensorNode>,
) -> Result<BTreeMap<String, Tensor>> {
    let file = parse(bytes, path)?;
    let tensor = |(name, node): (&String, &TensorNode)| {
        let view = file.tensor(&node.storage.key).map_err(|error| CheckpointError::Damaged {
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
        let tensor = Tensor::f_from_data_size(view.data(), &node.shape, node.storage.kind)?;
        Ok((name.clone(), tensor))
    };
    wanted.iter().map(tensor).collect()
}

/// None where a side is beyond LibTorch's.
fn signed(shape: &[usize]) -> Option<Vec<i64>> {
    shape.iter().map(|&side| i64::try_from(side).ok()).collect()
}

fn kind(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F64 => Kind::Double,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::I16 => Kind::Int16,
        Dtype::I8 => Kind::Int8,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        Dtype::F8_E4M3 => Kind::Float8e4m3fn,
        Dtype::F8_E5M2 => Kind::Float8e5m2,
        _ => return None,
    })
}
