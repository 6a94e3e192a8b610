//! Which container a file is, by its first bytes.

use std::{fmt, path::Path};

use crate::networks::checkpoint::error::{CheckpointError, Result};

/// The first pickle of a legacy file: the number 0x1950a86a20f9469cfc6c.
const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e";

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

/// What the first bytes of a file say about it.
pub(super) fn container(head: &[u8], path: &Path) -> Result<Container> {
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
        _ if head.starts_with(LEGACY_MAGIC) => Ok(Container::Legacy),
        [0x80, ..] if LEGACY_MAGIC.starts_with(head) => {
            Err(CheckpointError::Damaged { path: path(), problem: "it ends too early".to_owned() })
        }
        [0x80, ..] => foreign("a Python pickle that torch.save did not write"),
        [0x1f, 0x8b, ..] => foreign("compressed by gzip"),
        _ if head.starts_with(b"\x89HDF") => foreign("an HDF5 file"),
        _ if head.get(257..262) == Some(b"ustar") => foreign("a tar archive"),
        _ => foreign("of no format that is known"),
    }
}
