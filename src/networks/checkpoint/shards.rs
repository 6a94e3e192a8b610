//! Weights in several files: an index names the file of each tensor.
//!
//! `{"metadata": {...}, "weight_map": {"conv_in.weight": "...-00001-of-00005.safetensors", ...}}`
//! is written by diffusers' and transformers' `save_pretrained`. The index decides: a tensor must
//! be in the file that it names, and nothing else may be there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tch::Tensor;

use crate::data::{pickle::TensorNode, sha256};
use crate::networks::checkpoint::{
    archive,
    container::{Container, File, Numbers},
    error::{CheckpointError, Result},
    part::Named,
    parts::{self, Contents},
    single::Single,
};
use crate::{data::file, limits};

/// One of the files.
#[derive(Debug)]
pub(super) struct Shard {
    numbers: Box<dyn Numbers>,
    names: BTreeSet<String>,
}

/// An opened index.
#[derive(Debug)]
pub(super) struct Sharded {
    pub(super) container: Container,
    /// Of what `sha256sum` prints for the index and its files.
    pub(super) sha256: String,
    pub(super) contents: Contents,
    pub(super) paths: Vec<PathBuf>,
    pub(super) shards: Vec<Shard>,
}

/// Whether a file is an index, by its name and its first byte.
pub(super) fn is_index(path: &Path, head: &[u8]) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let index = name.contains(".index.") && name.to_lowercase().ends_with(".json");
    index && head.trim_ascii_start().starts_with(b"{")
}

/// The file of each tensor, as an index has it.
fn weight_map(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, String>> {
    let wrong = |problem: String| CheckpointError::Shards { path: path.to_owned(), problem };
    let index: Value = serde_json::from_slice(bytes)
        .map_err(|error| wrong(format!("it is no JSON: {error}; fetch it again")))?;
    let map = index.get("weight_map").and_then(Value::as_object).ok_or_else(|| {
        wrong("it has no `weight_map`, which says where each tensor is; fetch it again".to_owned())
    })?;
    let entry = |(name, file): (&String, &Value)| {
        // It becomes part of a path.
        let plain = |file: &&str| !file.contains(['/', '\\']) && !file.starts_with('.');
        match file.as_str().filter(plain) {
            Some(file) if !file.is_empty() => Ok((name.clone(), file.to_owned())),
            _ => Err(wrong(format!("`{name}` is in {file}, which is no name of a file beside it"))),
        }
    };
    let map: BTreeMap<String, String> = map.iter().map(entry).collect::<Result<_>>()?;
    if map.is_empty() { Err(wrong("its `weight_map` is empty".to_owned())) } else { Ok(map) }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let text = file::read_text(path, limits::JSON);
    text.map(String::into_bytes)
        .map_err(|source| CheckpointError::Read { path: path.to_owned(), source })
}

/// The names of the files that an index names, in order.
pub(in crate::networks) fn names(path: &Path) -> Result<BTreeSet<String>> {
    Ok(weight_map(path, &read(path)?)?.into_values().collect())
}

/// Opens an index and all its files.
pub(super) fn open(path: &Path) -> Result<Sharded> {
    let wrong = |problem: String| CheckpointError::Shards { path: path.to_owned(), problem };
    let bytes = read(path)?;
    let map = weight_map(path, &bytes)?;
    let mut files: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (name, file) in &map {
        files.entry(file).or_default().insert(name.clone());
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let lacking: Vec<&str> =
        files.keys().copied().filter(|file| !folder.join(file).is_file()).collect();
    if let Some(first) = lacking.first() {
        let others = match lacking.len() - 1 {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let all = files.len();
        return Err(wrong(format!(
            "of its {all} files {first}{others} is not beside it; fetch what is missing"
        )));
    }
    let own_name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut list = format!("{}  {own_name}\n", sha256(&bytes));
    let (mut named, mut shards, mut paths): (Named, _, _) = (vec![], vec![], vec![]);
    let (mut container, mut objects, mut left_out) = (None, BTreeSet::new(), BTreeSet::new());
    for (file, expected) in files {
        let place = folder.join(file);
        let Single { sha256, file: File { container: kind, contents, numbers } } =
            Single::open(&place, &archive::head(&place)?)?;
        // Where the whole is divided into sets, one file may hold pieces of several.
        let tensors: BTreeMap<String, TensorNode> =
            contents.parts.iter().flat_map(|part| part.tensors.clone()).collect();
        left_out.extend(contents.parts.iter().flat_map(|part| part.left_out.clone()));
        let found: BTreeSet<String> = tensors.keys().cloned().collect();
        let lost = expected.iter().find(|&name| !found.contains(name) && !left_out.contains(name));
        if let Some(name) = lost {
            return Err(wrong(format!("`{name}` is not in {file}; fetch both again")));
        }
        if let Some(name) = found.iter().find(|&name| !expected.contains(name)) {
            return Err(wrong(format!("it does not know `{name}` in {file}; fetch both again")));
        }
        // Writing into a string cannot fail.
        let _ = writeln!(list, "{sha256}  {file}");
        named.extend(tensors);
        paths.push(place);
        container = Some(kind);
        objects.extend(contents.objects);
        shards.push(Shard { numbers, names: found });
    }
    let (mut parts, unread) = parts::of_dictionary(named);
    for part in &mut parts {
        part.left_out = left_out.iter().cloned().collect();
    }
    let container = container.ok_or_else(|| wrong("it names no files".to_owned()))?;
    Ok(Sharded {
        container,
        sha256: sha256(list.as_bytes()),
        contents: Contents { parts, unread, objects, ..Contents::default() },
        paths,
        shards,
    })
}

/// Reads tensors, each from its file.
pub(super) fn load(
    shards: &[Shard],
    wanted: &BTreeMap<String, TensorNode>,
) -> Result<BTreeMap<String, Tensor>> {
    let mut loaded = BTreeMap::new();
    for shard in shards {
        let inside = wanted.iter().filter(|(name, _)| shard.names.contains(*name));
        let inside = inside.map(|(name, node)| (name.clone(), node.clone())).collect();
        loaded.extend(shard.numbers.load(&inside)?);
    }
    Ok(loaded)
}
