//! The files of reference statistics: `stored` is this program's own
//! layout, `published` that of pytorch-fid and TTUR, which says nothing
//! of where the statistics come from and holds no features.

use std::path::Path;

use crate::data::atomic;
use crate::data::file;
use crate::measure::{
    published,
    reference::{Extractor, Reference, ReferenceError},
    stored,
};

impl Reference {
    /// Writes the file, whole or not at all, and creates its folder where it is missing.
    ///
    /// # Errors
    /// A file that cannot be written; an existing one is then left as it was.
    pub fn write(&self, path: &Path) -> Result<(), ReferenceError> {
        let io_error =
            |source| ReferenceError::Io { action: "write", path: path.to_path_buf(), source };
        let bytes = if published::is_published(path) {
            published::write(self, path)?
        } else {
            stored::to_bytes(self)
                .map_err(|source| ReferenceError::Container { path: path.to_path_buf(), source })?
        };
        atomic::write(path, &bytes).map_err(io_error)
    }

    /// Reads a file whatever extractor made it.
    ///
    /// # Errors
    /// A file that is missing, truncated, of another version, without its origin, or whose tensors
    /// are not finite or do not fit each other.
    pub fn read(path: &Path) -> Result<Self, ReferenceError> {
        if path.is_dir() {
            return Err(ReferenceError::Folder { path: path.to_path_buf() });
        }
        let bytes = file::read(path).map_err(|source| ReferenceError::Io {
            action: "read",
            path: path.to_path_buf(),
            source,
        })?;
        // By contents: a dictionary saved by numpy, and an archive, may have any name.
        if published::is_published(path) || bytes.starts_with(b"PK\x03\x04") {
            return published::read(path, bytes);
        }
        match published::instead(&bytes) {
            Some(problem) => Err(ReferenceError::Published { path: path.to_path_buf(), problem }),
            None => stored::from_bytes(path, &bytes),
        }
    }

    /// Reads a file that must have been made with `extractor`.
    ///
    /// # Errors
    /// As [`Reference::read`], and a file made with other weights or another number of features.
    pub fn read_for(path: &Path, extractor: &Extractor) -> Result<Self, ReferenceError> {
        let reference = Self::read(path)?;
        let found = &reference.origin.extractor;
        // By contents: the same weights under another name are the same extractor. What does not
        // say its weights can be held to their number of features alone.
        let other = !found.sha256.is_empty() && found.sha256 != extractor.sha256;
        if other || found.dimension != extractor.dimension {
            return Err(ReferenceError::Extractor {
                path: path.to_path_buf(),
                expected: Box::new(extractor.clone()),
                found: Box::new(found.clone()),
            });
        }
        Ok(reference)
    }
}

/// Whether a path is a file of statistics and not of images, by its ending and what an `.npz` holds.
pub fn is_statistics(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default();
    ending.eq_ignore_ascii_case("safetensors") || published::is_published_with_moments(path)
}
