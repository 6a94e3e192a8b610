//! The two containers of `torch.save`: a zip archive, and what was written before PyTorch 1.6.
//!
//! Both hold a pickle whose tensors point at runs of numbers outside of it. A zip archive has one
//! record for each run, `NAME/data/KEY`. A legacy file has five pickles one after the other (a
//! magic number, the protocol, the machine, the values, the keys) and behind them, for each key,
//! the number of elements and the elements.
//!
//! # References
//! `_save`, `_legacy_save` and their counterparts in `torch/serialization.py`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use tch::{Kind, Tensor};
use zip::ZipArchive;

use crate::data::file;
use crate::data::pickle::{self, Document, Node, PickleError, Storage, TensorNode};
use crate::networks::checkpoint::{
    archive::{self, archive, broken, io, record},
    container::{self, Container, Format, Numbers},
    error::{CheckpointError, Result},
    package,
    parts::{self, Contents},
};

impl Container {
    /// `torch.save` since PyTorch 1.6: a zip archive around a pickle.
    pub const ZIP: Self = Self("torch.save, zip");
    /// `torch.save` before PyTorch 1.6: five pickles, and the numbers.
    pub const LEGACY: Self = Self("torch.save, legacy");
    /// `torch.jit.save`: a program with its weights.
    pub const TORCH_SCRIPT: Self = Self("TorchScript");
    /// What AOTInductor writes: native code with its weights.
    pub const PACKAGE: Self = Self("AOTInductor package");

    /// What it is if it is run as it is and not read; none for weights.
    pub fn program(self) -> Option<&'static str> {
        match self {
            Self::TORCH_SCRIPT => Some("a TorchScript program"),
            Self::PACKAGE => Some("a compiled package"),
            _ => None,
        }
    }
}

pub(super) const ZIP: Format = Format {
    begins: |head| head.starts_with(archive::MAGIC),
    open: |path| match package::open(path)? {
        Some(package) => Ok(package),
        None => Ok(TorchFile::open_zip(path)?.opened()),
    },
};

pub(super) const LEGACY: Format = Format {
    // A file that ends within the number is damaged, and of no other format.
    begins: |head| head.starts_with(MAGIC) || (!head.is_empty() && MAGIC.starts_with(head)),
    open: |path| Ok(TorchFile::open_legacy(path)?.opened()),
};

/// The first pickle of a legacy file: the number 0x1950a86a20f9469cfc6c.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e";

/// The version of the legacy format, unchanged since 2016.
const LEGACY_PROTOCOL: i64 = 1001;

/// An opened file: its values, and where its runs of numbers lie.
#[derive(Debug)]
struct TorchFile {
    container: Container,
    document: Document,
    path: PathBuf,
    bytes: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// The records `prefix/data/KEY` of the archive.
    Zip { prefix: String },
    /// First byte of each key.
    Legacy(BTreeMap<String, u64>),
}

impl TorchFile {
    /// Opens a zip archive.
    fn open_zip(path: &Path) -> Result<Self> {
        let (mut archive, bytes) = archive(path)?;
        let names: Vec<&str> = archive.file_names().collect();
        let prefix = names.iter().find_map(|name| name.strip_suffix("/data.pkl"));
        let Some(prefix) = prefix.map(str::to_owned) else {
            return Err(CheckpointError::Foreign {
                path: path.to_owned(),
                what: "a zip archive without data.pkl, which torch.save writes".to_owned(),
            });
        };
        // A program has its constants and its code beside its values.
        let program = names.contains(&format!("{prefix}/constants.pkl").as_str());
        let container = if program { Container::TORCH_SCRIPT } else { Container::ZIP };
        if names.contains(&format!("{prefix}/byteorder").as_str()) {
            let order = record(&mut archive, &format!("{prefix}/byteorder"), path)?;
            if order.starts_with(b"big") {
                return Err(CheckpointError::BigEndian { path: path.to_owned() });
            }
        }
        let values = record(&mut archive, &format!("{prefix}/data.pkl"), path)?;
        let document =
            pickle::parse(&mut values.as_slice()).map_err(|e| broken(path, e.to_string()))?;
        let place = Place::Zip { prefix };
        Ok(Self { container, document, path: path.to_owned(), bytes, place })
    }

    /// Opens a legacy file.
    fn open_legacy(path: &Path) -> Result<Self> {
        let file = file::open(path).map_err(io(path))?;
        let bytes = file.metadata().map_err(io(path))?.len();
        if bytes < MAGIC.len() as u64 {
            return Err(broken(path, "it ends too early"));
        }
        let mut input = BufReader::new(file);
        let mut next =
            || pickle::parse(&mut input).map_err(|e: PickleError| broken(path, e.to_string()));
        let (_magic, protocol, machine) = (next()?, next()?, next()?);
        if protocol.root() != &Node::Int(LEGACY_PROTOCOL) {
            return Err(broken(path, format!("protocol {:?} is not known", protocol.root())));
        }
        if machine.item(machine.root(), "little_endian") == Some(&Node::Bool(false)) {
            return Err(CheckpointError::BigEndian { path: path.to_owned() });
        }
        let (document, keys) = (next()?, next()?);
        let mut position = input.stream_position().map_err(io(path))?;
        let storages = storages(&document, path)?;
        let mut starts = BTreeMap::new();
        let Node::List(ids) = keys.root() else {
            return Err(broken(path, "it has no list of its storages"));
        };
        for &id in ids {
            let Node::Text(key) = keys.get(id) else {
                return Err(broken(path, "a storage without a key"));
            };
            let Some(&(kind, len)) = storages.get(key.as_str()) else {
                return Err(broken(path, format!("no tensor says what storage {key} holds")));
            };
            // The number of elements is repeated in front of them.
            starts.insert(key.clone(), position.saturating_add(8));
            position = position.saturating_add(8).saturating_add(size(kind, len));
            if position > bytes {
                return Err(broken(path, format!("it ends within storage {key}")));
            }
        }
        let place = Place::Legacy(starts);
        Ok(Self { container: Container::LEGACY, document, path: path.to_owned(), bytes, place })
    }

    fn opened(self) -> container::File {
        let program = self.container == Container::TORCH_SCRIPT;
        container::File {
            container: self.container,
            contents: if program { Contents::default() } else { parts::find(&self.document) },
            numbers: Box::new(self),
        }
    }
}

impl Numbers for TorchFile {
    /// Reads tensors; those that share a storage in the file share it in memory.
    ///
    /// - Units: element types are those of the file.
    fn load(&self, tensors: &BTreeMap<String, TensorNode>) -> Result<BTreeMap<String, Tensor>> {
        let mut source = Source::open(self)?;
        let mut storages: BTreeMap<&str, Tensor> = BTreeMap::new();
        let mut loaded = BTreeMap::new();
        let (mut elements, mut held) = (0_u64, 0_u64);
        for (name, node) in tensors {
            let wrong = |problem: &str| broken(&self.path, format!("`{name}` {problem}"));
            let count = extent(node).ok_or_else(|| wrong("reaches beyond its storage"))?;
            // Tensors may overlap, but not so that a small file fills the memory.
            elements = elements.saturating_add(count);
            if elements > self.bytes {
                return Err(wrong("repeats elements more often than any network does"));
            }
            let storage = match storages.entry(&node.storage.key) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    // Records may name the same bytes, each as its own.
                    held = held.saturating_add(size(node.storage.kind, node.storage.len));
                    if held > self.bytes {
                        return Err(wrong("is in a storage for which the file is too short"));
                    }
                    entry.insert(source.storage(self, &node.storage)?)
                }
            };
            if storage.kind() != node.storage.kind || storage.numel() as u64 != node.storage.len {
                return Err(wrong("sees its storage otherwise than another tensor does"));
            }
            let tensor = if count == 0 {
                Tensor::f_zeros(node.shape.as_slice(), (node.storage.kind, tch::Device::Cpu))?
            } else {
                let offset = i64::try_from(node.offset).unwrap_or(i64::MAX);
                storage.f_as_strided(node.shape.as_slice(), node.strides.as_slice(), offset)?
            };
            loaded.insert(name.clone(), tensor);
        }
        Ok(loaded)
    }

    fn instead(&self) -> String {
        match self.document.root() {
            Node::Object(name, _) => format!("a call of Python's `{name}` (not called)"),
            Node::Global(name) => format!("the name of Python's `{name}`"),
            Node::Tensor(_) => "a single tensor".to_owned(),
            Node::Dict(_) => "a dictionary without tensors".to_owned(),
            Node::List(_) | Node::Tuple(_) => "a list".to_owned(),
            _ => "a single value".to_owned(),
        }
    }
}

/// The file, open to read storages from.
enum Source {
    Zip(ZipArchive<BufReader<File>>),
    Legacy(File),
}

impl Source {
    fn open(file: &TorchFile) -> Result<Self> {
        Ok(match file.place {
            Place::Zip { .. } => Self::Zip(archive(&file.path)?.0),
            Place::Legacy(_) => Self::Legacy(File::open(&file.path).map_err(io(&file.path))?),
        })
    }

    /// One storage, as a tensor of one axis.
    fn storage(&mut self, file: &TorchFile, storage: &Storage) -> Result<Tensor> {
        let (key, expected) = (&storage.key, size(storage.kind, storage.len));
        let bytes = match (self, &file.place) {
            (Self::Zip(archive), Place::Zip { prefix }) => {
                record(archive, &format!("{prefix}/data/{key}"), &file.path)?
            }
            (Self::Legacy(input), Place::Legacy(starts)) => {
                let Some(&start) = starts.get(key) else {
                    return Err(broken(&file.path, format!("it lacks storage {key}")));
                };
                input.seek(SeekFrom::Start(start)).map_err(io(&file.path))?;
                let mut bytes = vec![];
                input.take(expected).read_to_end(&mut bytes).map_err(io(&file.path))?;
                bytes
            }
            _ => unreachable!("invariant: a source is opened as the file was"),
        };
        if bytes.len() as u64 != expected {
            let found = bytes.len();
            let problem = format!("storage {key} has {found} bytes instead of {expected}");
            return Err(broken(&file.path, problem));
        }
        let len = i64::try_from(storage.len).unwrap_or(i64::MAX);
        Ok(Tensor::f_from_data_size(&bytes, &[len], storage.kind)?)
    }
}

/// What each key holds, as the tensors say.
fn storages<'a>(document: &'a Document, path: &Path) -> Result<BTreeMap<&'a str, (Kind, u64)>> {
    let mut storages = BTreeMap::new();
    for node in document.nodes() {
        let Node::Storage(storage) = node else { continue };
        let holds = (storage.kind, storage.len);
        if *storages.entry(storage.key.as_str()).or_insert(holds) != holds {
            let problem = format!("storage {} has two element types or lengths", storage.key);
            return Err(broken(path, problem));
        }
    }
    Ok(storages)
}

/// The bytes that `len` elements take.
fn size(kind: Kind, len: u64) -> u64 {
    len.saturating_mul(kind.elt_size_in_bytes() as u64)
}

/// The number of elements of a tensor, if all of them lie in its storage.
fn extent(node: &TensorNode) -> Option<u64> {
    let mut count = 1_u64;
    let mut last = node.offset;
    for (&side, &stride) in node.shape.iter().zip(&node.strides) {
        let (side, stride) = (u64::try_from(side).ok()?, u64::try_from(stride).ok()?);
        if side == 0 {
            return Some(0);
        }
        count = count.checked_mul(side)?;
        last = last.checked_add((side - 1).checked_mul(stride)?)?;
    }
    (last < node.storage.len).then_some(count)
}
