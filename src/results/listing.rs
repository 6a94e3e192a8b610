//! Files of a results folder, found by their names, and deleted.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::results::{record::ResultsError, shard::Shard};

/// The number of digits of a key in the names of files.
pub(crate) const KEY: usize = 16;

/// The files of a folder whose names have something between two parts: what that is, and their paths, in no
/// order. A folder that is not there has none.
pub(crate) fn between(
    folder: &Path,
    [before, after]: [&'static str; 2],
) -> impl Iterator<Item = (String, PathBuf)> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let name = entry.file_name();
        let between = name.to_str()?.strip_prefix(before)?.strip_suffix(after)?;
        Some((between.to_owned(), entry.path()))
    })
}

/// Those that have a shard there, in the order of the shards.
pub(crate) fn of_shards(folder: &Path, parts: [&'static str; 2]) -> Vec<(Shard, PathBuf)> {
    let files = between(folder, parts);
    let mut files: Vec<_> =
        files.filter_map(|(tag, path)| Some((Shard::of_tag(&tag)?, path))).collect();
    files.sort();
    files
}

/// Whether that is the start of a cell's key, as names of files have it.
pub(crate) fn is_key(text: &str) -> bool {
    text.len() == KEY && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Deletes a file; one that is gone already is no error.
///
/// # Errors
/// A file that cannot be deleted.
pub(crate) fn delete(path: PathBuf) -> Result<(), ResultsError> {
    match fs::remove_file(&path) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(ResultsError::Io { path, action: "remove", source })
        }
        _ => Ok(()),
    }
}
