//! Image sets: where they come from, how they are read, and what was done to them.
//!
//! [`load`] takes the name of a published set or a path and returns an [`ImageSet`]: bytes
//! `[N, C, H, W]` with their name, split and hash, whatever layout they are stored in. They stay
//! there, and are read part by part. One
//! file reads one layout: [`cifar10`], [`idx`] (MNIST and Fashion-MNIST), [`folder`] (image files),
//! [`celeba`], [`array`](mod@array) (`.npy` and `.npz`). Nothing is fetched unless it is asked for:
//! [`download`].

pub mod array;
pub(crate) mod atomic;
pub mod celeba;
pub mod cifar10;
mod cifar10_python;
mod content;
mod decode;
pub mod download;
mod error;
pub(crate) mod file;
mod fit;
pub mod folder;
mod hash;
pub mod idx;
mod image_set;
mod known_file;
pub mod npy;
pub(crate) mod numpy;
pub(crate) mod pickle;
mod resample;
mod source;
mod split;
pub(crate) mod stdout;
mod stored;
mod unfold;
mod value_range;
pub(crate) mod web;
mod writer;

pub use error::{Error, Missing, Result};
pub use fit::{Fit, Resize};
pub use hash::{file_md5, file_sha256, sha256};
pub use image_set::{Hasher, HeldSet, ImageSet, to_u8};
pub use known_file::{INCEPTION, KnownFile};
pub use resample::Filter;
pub use source::{KNOWN, Known, Places, Remote, Request, load};
pub use split::Split;
pub use stored::{Images, Stored};
pub use value_range::{Likely, RangeError, ValueRange};
pub use writer::{ArrayWriter, Element, STDOUT};
