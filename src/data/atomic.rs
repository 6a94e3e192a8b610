//! Files that appear under their name whole or not at all.
//!
//! What is written goes to a temporary file beside its place, which is then renamed: a reader, a
//! crash or a full disk never finds half a file, and an old one stays until the new one is complete.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use tempfile::NamedTempFile;

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
    builder.prefix(".writing-");
    // Temporary files are private by default; results are for everyone the umask allows.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder).map_err(cause)
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
