//! What `ddim table` and `ddim plot` share.

use std::path::Path;

use crate::cli::Talk;
use crate::{
    error::{Error, Result},
    plan::outline,
    report::overview::File,
    results::{folder::Folder, sink::write_atomically},
};

/// Prints the files read from a folder, with `-v`.
pub(super) fn say_read(folder: &Folder, path: &Path, talk: &Talk) {
    for (name, hash) in &folder.hashes {
        talk.note(|| format!("read {} {hash}", path.join(name).display()));
    }
}

/// The outline file of a folder that has none yet, so that its plan stays readable when keys are
/// renamed.
pub(super) fn outline_of(folder: &Folder, path: &Path) -> Option<File> {
    let missing = !path.join(outline::FILE).exists();
    missing.then(|| (outline::FILE.to_owned(), folder.plan.json().into_bytes()))
}

/// Writes files into a folder, which is created if necessary.
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
