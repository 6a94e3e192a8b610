//! The checkpoints of `tests/golden/cases`, unpacked.

use std::{collections::BTreeMap, fs, path::Path};

use tch::Tensor;

use super::golden;

/// Unpacks all of them into a folder.
pub fn unpack(folder: &Path) {
    let packed = fs::File::open(golden("cases/cases.tar.gz")).unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(packed)).unpack(folder).unwrap();
}

/// What PyTorch and diffusers make of them.
pub fn reference(folder: &Path) -> BTreeMap<String, Tensor> {
    let file = folder.join("reference.safetensors");
    Tensor::read_safetensors(file).unwrap().into_iter().collect()
}
