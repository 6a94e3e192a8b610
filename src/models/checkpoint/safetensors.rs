//! Safetensors files: a header in JSON that names every tensor, and the numbers.

use std::{collections::BTreeMap, path::Path};

use safetensors::{Dtype, SafeTensors};
use tch::{Kind, Tensor};

use super::{
    Result,
    error::CheckpointError,
    pickle::{Storage, TensorNode},
};

fn parse<'a>(bytes: &'a [u8], path: &Path) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(bytes).map_err(|error| CheckpointError::Damaged {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

/// What the header says about each tensor.
pub(super) fn tensors(bytes: &[u8], path: &Path) -> Result<BTreeMap<String, TensorNode>> {
    let mut tensors = BTreeMap::new();
    for (name, view) in parse(bytes, path)?.iter() {
        let Some(kind) = kind(view.dtype()) else {
            return Err(CheckpointError::ElementType {
                path: path.to_owned(),
                name: name.to_owned(),
                found: format!("{:?}", view.dtype()),
            });
        };
        let shape = signed(view.shape());
        let storage = Storage {
            key: name.to_owned(),
            kind,
            len: view.shape().iter().product::<usize>() as u64,
            start: 0,
        };
        let strides = vec![]; // the numbers lie in order
        tensors.insert(name.to_owned(), TensorNode { storage, offset: 0, shape, strides });
    }
    Ok(tensors)
}

/// Reads all tensors.
pub(super) fn load(bytes: &[u8], path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let file = parse(bytes, path)?;
    let tensor = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
        let kind =
            kind(view.dtype()).expect("invariant: element types were looked at when it was opened");
        Ok((name.to_owned(), Tensor::f_from_data_size(view.data(), &signed(view.shape()), kind)?))
    };
    file.iter().map(tensor).collect()
}

fn signed(shape: &[usize]) -> Vec<i64> {
    let side = |&side| i64::try_from(side).expect("invariant: a file's sides are below 2^63");
    shape.iter().map(side).collect()
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
        _ => return None,
    })
}
