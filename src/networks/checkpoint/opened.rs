//! An opened checkpoint: one file, or the shards of an index.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use tch::{Kind, Tensor};

use crate::data::pickle::TensorNode;
use crate::networks::checkpoint::{
    archive,
    container::{self, Container},
    error::{CheckpointError, Result},
    levels::OwnLevels,
    part::{Part, Reason, Role, Unread, Which},
    parts::{Contents, is_average},
    shards::{self, Shard, Sharded},
    single::Single,
};

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

/// Where the numbers are.
#[derive(Debug)]
enum Numbers {
    Single(Box<dyn container::Numbers>),
    Shards(Vec<Shard>),
}

impl Numbers {
    fn load(&self, tensors: &BTreeMap<String, TensorNode>) -> Result<BTreeMap<String, Tensor>> {
        match self {
            Self::Single(file) => file.load(tensors),
            Self::Shards(all) => shards::load(all, tensors),
        }
    }

    /// What is there instead of weights.
    fn instead(&self) -> String {
        match self {
            Self::Single(file) => file.instead(),
            Self::Shards(_) => "nothing".to_owned(),
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
    /// The noise levels that it keeps beside the weights.
    pub levels: Option<OwnLevels>,
}

impl Checkpoint {
    /// Finds out what a file is and what it holds.
    ///
    /// # Errors
    /// A file that cannot be read, is of no known format, or contradicts its own.
    pub fn open(path: &Path) -> Result<Self> {
        let head = archive::head(path)?;
        if shards::is_index(path, &head) {
            let Sharded { container, sha256, contents, paths, shards } = shards::open(path)?;
            let of = (container, sha256, contents, Numbers::Shards(shards));
            return Ok(Self { shards: paths, ..Self::new(path, of) });
        }
        Ok(Self::of_single(path, Single::open(path, &head)?))
    }

    /// Opens the bytes of a safetensors file; `origin` is for messages only.
    ///
    /// # Errors
    /// Bytes that are no safetensors file.
    pub fn from_safetensors(bytes: Vec<u8>, origin: &Path) -> Result<Self> {
        Ok(Self::of_single(origin, Single::from_safetensors(bytes, origin)?))
    }

    fn of_single(origin: &Path, file: Single) -> Self {
        let Single { sha256, file: container::File { container, contents, numbers } } = file;
        Self::new(origin, (container, sha256, contents, Numbers::Single(numbers)))
    }

    fn new(
        origin: &Path,
        (container, sha256, contents, numbers): (Container, String, Contents, Numbers),
    ) -> Self {
        let Contents { parts, unread, epoch, step, objects } = contents;
        let origin = origin.to_owned();
        let shards = vec![];
        Self { container, sha256, origin, shards, parts, unread, epoch, step, objects, numbers }
    }

    /// The set of weights that is wanted.
    ///
    /// # Errors
    /// A file without weights, without the kind that is wanted, or with several sets of that kind.
    pub fn choose(&self, which: Which) -> Result<&Part> {
        let path = || self.origin.clone();
        let list = || {
            let name = |part: &Part| match part.path.as_str() {
                "" => "one set that does not say what it is".to_owned(),
                name => format!("`{name}` ({})", part.role),
            };
            self.parts.iter().map(name).collect::<Vec<_>>().join(", ")
        };
        if let Some(what) = self.container.program() {
            return Err(CheckpointError::Program { path: path(), what });
        }
        if which == Which::Ema
            && self.parts.iter().all(|part| part.role != Role::Ema)
            && let Some(Unread { path: place, why }) = self.unread.first()
        {
            return Err(CheckpointError::Average {
                path: path(),
                place: place.clone(),
                why: why.clone(),
                raw: self.parts.iter().any(|part| part.role == Role::Raw),
            });
        }
        if self.parts.is_empty() {
            return Err(CheckpointError::NoTensors { path: path(), found: self.numbers.instead() });
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
    pub fn reason(&self, part: &Part, which: Which) -> Reason {
        let sign = part.sign.as_ref().map(|sign| format!(", as {sign} says")).unwrap_or_default();
        let others = |role| self.parts.iter().any(|other| other.role == role);
        match (part.role, which) {
            (Role::Ema, _) => {
                Reason { text: format!("the average{sign}"), raw_too: others(Role::Raw) }
            }
            (Role::Raw, Which::Raw) => Reason::of("raw weights were asked for"),
            (Role::Raw, Which::Ema) => Reason::of("there is no average"),
            (Role::Only, _) => Reason::of("the one set that there is; nothing says what it is"),
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
            levels: self.levels(part)?,
        })
    }

    /// The noise levels beside a set; an average is of the same process as the raw weights.
    fn levels(&self, part: &Part) -> Result<Option<OwnLevels>> {
        let of = |part: &Part| part.levels.clone();
        let Some((name, node)) = of(part).or_else(|| self.parts.iter().find_map(of)) else {
            return Ok(None);
        };
        let read = self.numbers.load(&BTreeMap::from([(name.clone(), node)]))?;
        let numbers = read.values().map(|tensor| {
            let flat = tensor.f_to_kind(Kind::Double).and_then(|tensor| tensor.f_view(-1));
            flat.and_then(|flat| Vec::<f64>::try_from(&flat))
        });
        let numbers = numbers.collect::<std::result::Result<Vec<_>, _>>();
        Ok(Some(OwnLevels::of(name, numbers?.concat())))
    }
}
