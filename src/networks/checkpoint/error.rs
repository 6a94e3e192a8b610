//! Why a checkpoint could not be read.

use std::path::PathBuf;

use crate::backends::torch::first_line;

/// The result of reading a checkpoint.
pub(super) type Result<T> = std::result::Result<T, CheckpointError>;

/// Why a checkpoint could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The system refuses.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is of another kind.
    #[error(
        "{} is {what}; weights are read from safetensors files and from what torch.save writes",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// The file stands for another one that was not fetched.
    #[error("{} is {what}; fetch the file itself", path.display())]
    Placeholder {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The file contradicts its own format.
    #[error("{} is truncated or damaged: {problem}; fetch it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A tensor has an element type that is not known.
    #[error("{}: `{name}` has element type {found}, which is not known", path.display())]
    ElementType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its element type.
        found: String,
    },
    /// The file was written on a machine of the other byte order.
    #[error("{} was saved on a big-endian machine; save it again on another", path.display())]
    BigEndian {
        /// The file.
        path: PathBuf,
    },
    /// The file holds no dictionary of tensors.
    #[error(
        "{} holds {found}, not tensors by name; save `model.state_dict()`",
        path.display()
    )]
    NoTensors {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// An average is there and cannot be read.
    #[error("{} holds an average in `{place}`, which cannot be read: {why}", path.display())]
    Average {
        /// The file.
        path: PathBuf,
        /// Where it is in the file.
        place: String,
        /// Why it cannot be read.
        why: String,
        /// Whether the weights that it is of can be read.
        raw: bool,
    },
    /// An index and its shards contradict each other.
    #[error("{}: {problem}", path.display())]
    Shards {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The file holds no part of the kind that was asked for.
    #[error("{} holds no {wanted} weights; it has {found}", path.display())]
    NoPart {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        wanted: &'static str,
        /// The parts that there are.
        found: String,
    },
    /// Several parts could be meant.
    #[error(
        "{} holds several sets of weights, {found}; save the one that is meant by itself",
        path.display()
    )]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// The parts.
        found: String,
    },
    /// The file is a program.
    #[error(
        "{} is {what}, not weights: it can be run as it is, but neither read nor converted",
        path.display()
    )]
    Program {
        /// The file.
        path: PathBuf,
        /// What kind of program.
        what: &'static str,
    },
    /// LibTorch refused an operation.
    #[error("LibTorch: {}", first_line(.0))]
    Torch(#[from] tch::TchError),
}
