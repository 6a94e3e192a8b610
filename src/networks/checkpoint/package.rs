//! Packages of AOTInductor: a zip archive around a shared library and what is said about it.
//!
//! Models lie in `NAME/data/aotinductor/MODEL/`, each with its library, `*.so`, and the texts that its
//! maker kept, `*_metadata.json`. Nothing of the library is read here.
//!
//! # References
//! `torch/export/pt2_archive/constants.py`.

use std::{collections::BTreeMap, path::Path};

use tch::Tensor;

use crate::data::pickle::TensorNode;
use crate::networks::checkpoint::{
    archive::{self, archive, record},
    container::{self, Container, Numbers},
    error::{CheckpointError, Result},
    parts::Contents,
};

/// The folder of the models in the archive.
const MODELS: &str = "/data/aotinductor/";

/// The model that is run where there are several, which is what PyTorch calls a single one.
pub const MODEL: &str = "model";

/// Opens a file if it is a package.
pub(super) fn open(path: &Path) -> Result<Option<container::File>> {
    let (archive, _) = archive(path)?;
    Ok(archive.file_names().any(|name| name.contains(MODELS)).then(|| container::File {
        container: Container::PACKAGE,
        contents: Contents::default(),
        numbers: Box::new(Code),
    }))
}

/// The texts that a package keeps about its model; none if the file is no package.
///
/// # Errors
/// A file that cannot be read, and texts that are damaged.
pub fn metadata(path: &Path) -> Result<Option<BTreeMap<String, String>>> {
    if !archive::head(path)?.starts_with(archive::MAGIC) {
        return Ok(None);
    }
    let (mut archive, _) = archive(path)?;
    let folder = format!("{MODELS}{MODEL}/");
    let texts = |name: &&str| name.contains(&folder) && name.ends_with("_metadata.json");
    let Some(name) = archive.file_names().find(texts).map(str::to_owned) else {
        let package = archive.file_names().any(|name| name.contains(MODELS));
        return Ok(package.then(BTreeMap::new));
    };
    let bytes = record(&mut archive, &name, path)?;
    let damaged = |error: serde_json::Error| CheckpointError::Damaged {
        path: path.to_owned(),
        problem: format!("{name}: {error}"),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

/// Native code, which holds its weights in a form of its own.
#[derive(Debug)]
struct Code;

impl Numbers for Code {
    fn load(&self, _: &BTreeMap<String, TensorNode>) -> Result<BTreeMap<String, Tensor>> {
        Ok(BTreeMap::new())
    }

    fn instead(&self) -> String {
        "compiled code".to_owned()
    }
}
