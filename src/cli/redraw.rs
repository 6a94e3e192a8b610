//! What `ddim table` and `ddim plot` have in common.

use std::path::Path;

use crate::cli::Talk;
use crate::{
    error::{Error, Result},
    report::overview::File,
    results::{folder::Folder, sink::write_atomically},
};

/// Says what was read of a folder.
pub(super) fn say_read(folder: &Folder, path: &Path, talk: &Talk) {
    for (name, hash) in &folder.hashes {
        talk.note(|| format!("read {} {hash}", path.join(name).display()));
    }
}

/// Writes files into a folder, which is created where it does not exist.
pub(super) fn write(files: &[File], folder: &Path, talk: &Talk) -> Result<()> {
    std::fs::create_dir_all(folder)
        .map_err(|error| Error::input(format!("cannot create {}: {error}", folder.display())))?;
    for (name, bytes) in files {
        let path = folder.join(name);
        write_atomically(&path, bytes)?;
        if !talk.quiet {
            eprintln!("wrote {}", path.display());
        }
    }
    Ok(())
}
