//! What `ddim table` and `ddim plot` have in common.

use std::path::Path;

use crate::cli::Talk;
use crate::{
    error::{Error, Result},
    plan::outline,
    report::overview::File,
    results::{folder::Folder, sink::write_atomically},
};

/// Says what was read of a folder.
pub(super) fn say_read(folder: &Folder, path: &Path, talk: &Talk) {
    for (name, hash) in &folder.hashes {
        talk.note(|| format!("read {} {hash}", path.join(name).display()));
    }
}

/// The outline of a folder from before it was kept there, for its own file: what was run then stays
/// known when the words for it change.
pub(super) fn outline_of(folder: &Folder, path: &Path) -> Option<File> {
    let missing = !path.join(outline::FILE).exists();
    missing.then(|| (outline::FILE.to_owned(), folder.plan.json().into_bytes()))
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
