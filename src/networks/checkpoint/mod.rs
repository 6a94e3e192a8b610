//! Checkpoints of any container, read by content and not by file name.
//!
//! [`Checkpoint::open`] finds out what a file is and what it holds, [`Checkpoint::load`] reads one
//! set of weights under the file's own names. Nothing of a file is executed, no number in it
//! decides an allocation, and a damaged or hostile one ends in an error.
//!
//! | container | written by |
//! |---|---|
//! | safetensors | diffusers' `save_pretrained`, `safetensors.torch.save_file` |
//! | zip | `torch.save` since PyTorch 1.6 |
//! | legacy | `torch.save` before |
//! | TorchScript | `torch.jit.save`: a program, run by `models::torchscript` and not read here |
//!
//! An index, `*.index.json`, stands for the shards beside it that it names.

pub mod architecture;
mod error;
pub mod names;
mod parts;
pub(crate) mod pickle;
pub mod published;
mod safetensors;
mod shards;
mod torch_save;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};

pub use self::error::CheckpointError;
use self::names::Translation;
use self::parts::Named;
pub(super) use self::parts::is_average;
use self::pickle::Node;
use self::pickle::TensorNode;
pub(super) use self::shards::names as shards;
use self::torch_save::TorchFile;

type Result<T> = std::result::Result<T, CheckpointError>;

/// What helps where an average cannot be read.
const RAW: &str = "--raw (`model.raw = true`) takes the weights as they were trained, or save the average \
                   by itself as a state_dict";
const NO_RAW: &str = "save the average as a state_dict";

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// A header in JSON, and the numbers.
    Safetensors,
    /// `torch.save` since PyTorch 1.6: a zip archive around a pickle.
    Zip,
    /// `torch.save` before PyTorch 1.6: five pickles, and the numbers.
    Legacy,
    /// `torch.jit.save`: a program with its weights.
    TorchScript,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::Zip => "torch.save, zip",
            Self::Legacy => "torch.save, legacy",
            Self::TorchScript => "TorchScript",
        })
    }
}

/// What a set of weights is to its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one set of a file that does not say what it is.
    Only,
    /// The weights as they were trained.
    Raw,
    /// Their exponential moving average.
    Ema,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Only => "not stated",
            Self::Raw => "raw",
            Self::Ema => "EMA",
        })
    }
}

/// Which set of weights is wanted where a file has several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// The moving average where there is one: published numbers are those of the average.
    #[default]
    Ema,
    /// The weights as they were trained.
    Raw,
}

/// One set of weights of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it is in the file: empty for the whole, `[4]`, `state_dict`, `ema.shadow`.
    pub path: String,
    /// What it is.
    pub role: Role,
    /// What says so; none for one set that says nothing.
    pub sign: Option<String>,
    /// Counters and buffers beside the weights, of which nothing is computed.
    pub left_out: Vec<String>,
    tensors: BTreeMap<String, TensorNode>,
    /// The names in the order of the file.
    order: Vec<String>,
}

/// An average that is there and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Where it is in the file.
    pub path: String,
    /// Why it cannot be read.
    pub why: String,
}

impl Part {
    fn new(
        path: String,
        role: Role,
        sign: Option<String>,
        tensors: Named,
        left_out: Vec<String>,
    ) -> Self {
        let order = tensors.iter().map(|(name, _)| name.clone()).collect();
        Self { path, role, sign, left_out, tensors: tensors.into_iter().collect(), order }
    }

    /// Names of the tensors, their shapes and element types.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[i64], Kind)> {
        self.tensors
            .iter()
            .map(|(name, node)| (name.as_str(), node.shape.as_slice(), node.storage.kind))
    }

    /// How its names become diffusers' current ones.
    pub fn translation(&self) -> Translation {
        Translation::of(self.tensors.keys().map(String::as_str))
    }

    /// Shapes under diffusers' current names.
    pub fn shapes(&self) -> BTreeMap<String, Vec<i64>> {
        let translation = self.translation();
        let shape = |(name, shape, _): (&str, &[i64], Kind)| {
            let name = translation.name(name);
            let shape = translation.shape(&name, shape).to_vec();
            (name, shape)
        };
        self.tensors().map(shape).collect()
    }
}

/// An opened checkpoint: what it is and what it holds; numbers are read by [`Checkpoint::load`].
#[derive(Debug)]
pub struct Checkpoint {
    /// The format.
    pub container: Container,
    /// SHA-256 of the file, in lower-case hexadecimal digits; of shards, what `sha256sum` says of
    /// the list that it prints for the index and the shards.
    pub sha256: String,
    /// The file; of shards, their index.
    pub origin: PathBuf,
    /// The shards, if it is an index.
    pub shards: Vec<PathBuf>,
    /// The sets of weights, in the order of the file.
    pub parts: Vec<Part>,
    /// Averages that are there and cannot be read.
    pub unread: Vec<Unread>,
    /// The epoch that the file states.
    pub epoch: Option<i64>,
    /// The training step that the file states.
    pub step: Option<i64>,
    /// Names of what Python would call to read the file, beside tensors; not called here.
    pub objects: BTreeSet<String>,
    numbers: Numbers,
}

#[derive(Debug)]
enum Numbers {
    Torch(TorchFile),
    Safetensors(Vec<u8>, PathBuf),
    Shards(Vec<shards::Shard>),
}

impl Numbers {
    /// Reads some tensors.
    fn load(&self, tensors: &BTreeMap<String, TensorNode>) -> Result<BTreeMap<String, Tensor>> {
        match self {
            Self::Torch(file) => file.load(tensors.iter()),
            Self::Safetensors(bytes, path) => safetensors::load(bytes, path, tensors),
            Self::Shards(all) => shards::load(all, tensors),
        }
    }
}

/// Tensors under the names and in the element types of their file.
#[derive(Debug)]
pub struct StateDict {
    /// Name and value, on the CPU. Tensors that share numbers in the file share them here.
    pub tensors: BTreeMap<String, Tensor>,
    /// What the file says that they are.
    pub role: Role,
    /// The format of the file.
    pub container: Container,
    /// SHA-256 of the file, in lower-case hexadecimal digits.
    pub sha256: String,
    /// The file.
    pub origin: PathBuf,
}

/// Reads the weights of a file, the moving average where there are several.
///
/// # Errors
/// As [`Checkpoint::open`], [`Checkpoint::choose`] and [`Checkpoint::load`].
pub fn read(path: &Path) -> Result<StateDict> {
    let checkpoint = Checkpoint::open(path)?;
    checkpoint.load(checkpoint.choose(Which::Ema)?)
}

impl Checkpoint {
    /// Finds out what a file is and what it holds.
    ///
    /// # Errors
    /// A file that cannot be read, is of no known format, or contradicts its own.
    pub fn open(path: &Path) -> Result<Self> {
        let read = |source| CheckpointError::Read { path: path.to_owned(), source };
        let mut head = vec![];
        File::open(path).and_then(|file| file.take(512).read_to_end(&mut head)).map_err(read)?;
        if shards::is_index(path, &head) {
            return shards::open(path);
        }
        match container(&head, path)? {
            Container::Safetensors => {
                Self::from_safetensors(std::fs::read(path).map_err(read)?, path)
            }
            Container::Legacy => Self::torch(TorchFile::open_legacy(path)?, path),
            Container::Zip | Container::TorchScript => {
                Self::torch(TorchFile::open_zip(path)?, path)
            }
        }
    }

    /// Opens the bytes of a safetensors file; `origin` is for messages only.
    ///
    /// # Errors
    /// Bytes that are no safetensors file.
    pub fn from_safetensors(bytes: Vec<u8>, origin: &Path) -> Result<Self> {
        container(&bytes, origin)?;
        let (parts, unread) = parts::of_dictionary(safetensors::tensors(&bytes, origin)?);
        Ok(Self {
            container: Container::Safetensors,
            sha256: crate::networks::weights::sha256(&bytes),
            origin: origin.to_owned(),
            shards: vec![],
            parts,
            unread,
            epoch: None,
            step: None,
            objects: BTreeSet::new(),
            numbers: Numbers::Safetensors(bytes, origin.to_owned()),
        })
    }

    fn torch(file: TorchFile, path: &Path) -> Result<Self> {
        let program = file.container == Container::TorchScript;
        let contents =
            if program { parts::Contents::default() } else { parts::find(&file.document) };
        Ok(Self {
            container: file.container,
            sha256: file_sha256(path)?,
            origin: path.to_owned(),
            shards: vec![],
            parts: contents.parts,
            unread: contents.unread,
            epoch: contents.epoch,
            step: contents.step,
            objects: contents.objects,
            numbers: Numbers::Torch(file),
        })
    }

    /// The set of weights that is wanted.
    ///
    /// # Errors
    /// A file without weights, without the kind that is wanted, or with several of it.
    pub fn choose(&self, which: Which) -> Result<&Part> {
        let path = || self.origin.clone();
        let list = || {
            let name = |part: &Part| match part.path.as_str() {
                "" => "one set that does not say what it is".to_owned(),
                name => format!("`{name}` ({})", part.role),
            };
            self.parts.iter().map(name).collect::<Vec<_>>().join(", ")
        };
        if self.container == Container::TorchScript {
            return Err(CheckpointError::Program { path: path() });
        }
        if which == Which::Ema
            && self.parts.iter().all(|part| part.role != Role::Ema)
            && let Some(Unread { path: place, why }) = self.unread.first()
        {
            let raw = self.parts.iter().any(|part| part.role == Role::Raw);
            return Err(CheckpointError::Average {
                path: path(),
                place: place.clone(),
                why: why.clone(),
                remedy: if raw { RAW } else { NO_RAW },
            });
        }
        if self.parts.is_empty() {
            return Err(CheckpointError::NoTensors { path: path(), found: self.instead() });
        }
        let of =
            |role: Role| self.parts.iter().filter(|part| part.role == role).collect::<Vec<_>>();
        let mut wanted = match which {
            Which::Ema if !of(Role::Ema).is_empty() => of(Role::Ema),
            Which::Ema => self.parts.iter().collect(),
            Which::Raw => of(Role::Raw),
        };
        // An average may keep a copy of the weights that it is of.
        if which == Which::Raw && wanted.iter().any(|part| !is_average(&part.path)) {
            wanted.retain(|part| !is_average(&part.path));
        }
        match wanted.as_slice() {
            &[part] => Ok(part),
            [] => Err(CheckpointError::NoPart { path: path(), wanted: "raw", found: list() }),
            _ => Err(CheckpointError::Ambiguous { path: path(), found: list() }),
        }
    }

    /// Why [`Checkpoint::choose`] takes a set.
    pub fn reason(&self, part: &Part, which: Which) -> String {
        let sign = part.sign.as_ref().map(|sign| format!(", as {sign} says")).unwrap_or_default();
        let others = |role| self.parts.iter().any(|other| other.role == role);
        match (part.role, which) {
            (Role::Ema, _) if others(Role::Raw) => {
                format!("the average{sign}; --raw for the other")
            }
            (Role::Ema, _) => format!("the average{sign}"),
            (Role::Raw, Which::Raw) => "raw weights were asked for".to_owned(),
            (Role::Raw, Which::Ema) => "there is no average".to_owned(),
            (Role::Only, _) => "the one set that there is; nothing says what it is".to_owned(),
        }
    }

    /// What a file without weights holds.
    fn instead(&self) -> String {
        let Numbers::Torch(file) = &self.numbers else { return "nothing".to_owned() };
        match file.document.root() {
            Node::Object(name, _) => format!("a call of Python's `{name}` (not called)"),
            Node::Global(name) => format!("the name of Python's `{name}`"),
            Node::Tensor(_) => "a single tensor".to_owned(),
            Node::Dict(_) => "a dictionary without tensors".to_owned(),
            Node::List(_) | Node::Tuple(_) => "a list".to_owned(),
            _ => "a single value".to_owned(),
        }
    }

    /// Reads the tensors of one of its sets.
    ///
    /// # Errors
    /// Numbers that are missing or damaged, or that do not fit into the memory.
    pub fn load(&self, part: &Part) -> Result<StateDict> {
        Ok(StateDict {
            tensors: self.numbers.load(&part.tensors)?,
            role: part.role,
            container: self.container,
            sha256: self.sha256.clone(),
            origin: self.origin.clone(),
        })
    }
}

/// What the first bytes of a file say about it.
fn container(head: &[u8], path: &Path) -> Result<Container> {
    let path = || path.to_owned();
    let foreign =
        |what: &str| Err(CheckpointError::Foreign { path: path(), what: what.to_owned() });
    let placeholder = |what| Err(CheckpointError::Placeholder { path: path(), what });
    let text = head[..head.len().min(64)].trim_ascii_start().to_ascii_lowercase();
    match head {
        [] => Err(CheckpointError::Damaged { path: path(), problem: "it is empty".to_owned() }),
        // The header's length, below 2^40, and the header: no other format has this there.
        [_, _, _, _, _, 0, 0, 0, b'{', ..] => Ok(Container::Safetensors),
        _ if head.starts_with(b"version https://git-lfs") => {
            placeholder("Git LFS's pointer to a file")
        }
        _ if text.starts_with(b"<!doctype") || text.starts_with(b"<html") => {
            placeholder("a web page, as servers send where a file is gone or needs a login")
        }
        _ if head.starts_with(b"PK") => Ok(Container::Zip),
        _ if head.starts_with(torch_save::LEGACY_MAGIC) => Ok(Container::Legacy),
        [0x80, ..] if torch_save::LEGACY_MAGIC.starts_with(head) => {
            Err(CheckpointError::Damaged { path: path(), problem: "it ends too early".to_owned() })
        }
        [0x80, ..] => foreign("a Python pickle that torch.save did not write"),
        [0x1f, 0x8b, ..] => foreign("compressed by gzip"),
        _ if head.starts_with(b"\x89HDF") => foreign("an HDF5 file"),
        _ if head.get(257..262) == Some(b"ustar") => foreign("a tar archive"),
        _ => foreign("of no format that is known"),
    }
}

fn file_sha256(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    File::open(path)
        .and_then(|mut file| io::copy(&mut file, &mut hash))
        .map_err(|source| CheckpointError::Read { path: path.to_owned(), source })?;
    Ok(crate::networks::weights::hex(&hash.finalize()))
}

/// The name of an element type, as safetensors has it.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Float => "F32",
        Kind::Half => "F16",
        Kind::BFloat16 => "BF16",
        Kind::Double => "F64",
        Kind::Int64 => "I64",
        Kind::Int => "I32",
        Kind::Int16 => "I16",
        Kind::Int8 => "I8",
        Kind::Uint8 => "U8",
        Kind::Bool => "BOOL",
        Kind::Float8e4m3fn => "F8_E4M3",
        Kind::Float8e5m2 => "F8_E5M2",
        _ => "another type",
    }
}
