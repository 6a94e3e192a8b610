//! Files that appear under their name whole or not at all.
//!
//! What is written goes to a temporary file beside its place, which is then renamed: a reader, a
//! crash or a full disk never finds half a file, and an old one stays until the new one is complete.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use tempfile::NamedTempFile;

/// How the names of temporary files and folders begin.
pub(crate) const PREFIX: &str = ".writing-";

/// The temporary files and folders that were begun, for a program that ends in the middle of one.
static BEGUN: Mutex<Vec<PathBuf>> = Mutex::new(vec![]);

/// Writes a file; its folder is created where it is missing.
///
/// # Errors
/// What the system says to a folder or file that cannot be written; an old file is then left as it
/// was.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = beside(path)?;
    // Through the plain file, whose errors do not name the temporary one.
    file.as_file().write_all(bytes)?;
    put(file, path)
}

/// Opens a temporary file in the folder that `path` names, which is created where it is missing.
///
/// In the same folder, since a rename is atomic within one file system only.
///
/// # Errors
/// What the system says to a folder that cannot be written to.
pub(crate) fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX);
    // Temporary files are private by default; results are for everyone the umask allows.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.tempfile_in(folder).map_err(cause)?;
    begun(file.path());
    Ok(file)
}

/// Notes down a temporary file or folder that was begun.
pub(crate) fn begun(path: &Path) {
    let mut begun = BEGUN.lock().unwrap_or_else(PoisonError::into_inner);
    // Those that have their final name by now, or were given up, are gone.
    begun.retain(|path| path.exists());
    begun.push(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
}

/// Removes what was begun and is not finished, before the program ends without unwinding.
pub(crate) fn remove_unfinished() {
    // Another thread may be about to begin one: not waited for.
    let Ok(begun) = BEGUN.try_lock() else { return };
    for path in &*begun {
        // Gone already, nearly always.
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
}

/// Removes what a program that was killed left unfinished in a folder that this one alone writes to.
pub(crate) fn sweep(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        // What cannot be removed does no harm.
        let _ = fs::remove_file(entry.path());
    }
}

/// Puts a complete file in its place, on the disk before it has its name.
///
/// # Errors
/// A disk that is full, or a name that cannot be taken; an old file is then left as it was.
pub(crate) fn put(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// Finds out whether files can be made in a folder.
///
/// # Errors
/// What the system says to one that is made and thrown away.
pub(crate) fn writable(folder: &Path) -> io::Result<()> {
    tempfile::tempfile_in(folder).map(drop).map_err(cause)
}

/// What the system said, without the name of a temporary file that nobody chose.
fn cause(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.source());
    let system = inner.and_then(|inner| inner.downcast_ref::<io::Error>()?.raw_os_error());
    system.map_or(error, io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.md");
        fs::create_dir(&path).unwrap(); // a rename onto a folder fails at the last moment
        write(&path, b"new").unwrap_err();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_made_and_an_old_file_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/folder/a");
        write(&path, b"old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn files_are_readable_as_the_umask_allows() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (ours, plain) = (dir.path().join("a"), dir.path().join("b"));
        write(&ours, b"x").unwrap();
        fs::write(&plain, b"x").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
