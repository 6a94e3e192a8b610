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
//! | TorchScript | `torch.jit.save`: a program, run by `networks::torchscript` and not read here |
//! | package | AOTInductor: a program too, run by `networks::compiled` |
//!
//! An index, `*.index.json`, stands for the shards beside it that it names.

mod archive;
mod container;
mod error;
mod levels;
pub mod names;
mod opened;
pub mod package;
mod part;
mod parts;
pub mod published;
mod safetensors;
mod shards;
mod single;
mod torch_save;

pub use self::container::Container;
pub use self::error::CheckpointError;
pub use self::levels::OwnLevels;
pub use self::opened::{Checkpoint, StateDict};
pub use self::part::{Part, Reason, Role, Unread, Which, kind_name};
pub(super) use self::parts::is_average;
pub(super) use self::shards::names as shards;

/// Parses a pickle and looks for weights in it, for `fuzzing`.
#[cfg(any(test, fuzzing))]
pub(crate) fn look_into_pickle(bytes: &[u8]) {
    if let Ok(document) = crate::data::pickle::parse(&mut &*bytes) {
        let _ = parts::find(&document);
    }
}
