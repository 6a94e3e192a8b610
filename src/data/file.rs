//! Opening what a user names, without waiting for what is no file.
//!
//! A named pipe that nobody writes to hangs a program, and a device has no end. A pipe that the shell
//! made, `/dev/stdin` or `/dev/fd/63`, has a writer and is read.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

#[cfg(test)]
use crate::limits;

/// Opens a file for reading.
///
/// # Errors
/// What the system says, and the kind of what is no file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    let of_the_shell = ["/dev/stdin", "/dev/fd/", "/proc/self/fd/"];
    let what = if kind.is_fifo() && !of_the_shell.iter().any(|own| path.starts_with(own)) {
        "a named pipe"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else if kind.is_socket() {
        "a socket"
    } else {
        return File::open(path);
    };
    Err(io::Error::other(format!("it is {what}, and no file")))
}

/// The length of a file; none of a pipe.
pub(crate) fn length(file: &File) -> Option<u64> {
    file.metadata().ok().filter(fs::Metadata::is_file).map(|file| file.len())
}

/// What tells a file that was written to from what it was: its length, and when it last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    length: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of a file as it is now.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self { length: found.len(), changed: (found.mtime(), found.mtime_nsec()) })
    }

    /// Makes sure that a file is as it was.
    ///
    /// # Errors
    /// One that is not: what was read of it before and what would be read now are of two files.
    pub(crate) fn check(&self, file: &File) -> io::Result<()> {
        if *self == Self::of(file)? {
            return Ok(());
        }
        let problem = "it changed while it was being read; once nothing writes to it, start again";
        Err(io::Error::other(problem))
    }
}

/// The bytes of a file.
///
/// # Errors
/// As [`open`].
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a file of at most so many bytes, a whole number of mebibytes.
///
/// # Errors
/// As [`open`], a longer file, and one that is no text.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let mut bytes = vec![];
    open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let most = most >> 20;
        let problem = format!("it is longer than {most} MiB, which no text of its kind is");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_said_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(read(&pipe).unwrap_err().to_string(), "it is a named pipe, and no file");
        let zero = read_text(Path::new("/dev/zero"), limits::TEXT).unwrap_err().to_string();
        assert_eq!(zero, "it is a device, and no file");
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(read(&socket).unwrap_err().to_string(), "it is a socket, and no file");
        assert_eq!(read(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_text_has_a_limit_and_bytes_have_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.toml");
        let longest = usize::try_from(limits::TEXT).unwrap();
        fs::write(&path, vec![b'#'; longest]).unwrap();
        assert_eq!(read_text(&path, limits::TEXT).unwrap().len(), longest);
        fs::write(&path, vec![b'#'; longest + 1]).unwrap();
        let error = |most| read_text(&path, most).unwrap_err().to_string();
        assert!(error(limits::TEXT).contains("longer than 16 MiB"));
        // However long it is, and whatever is in it.
        fs::write(&path, vec![0xff; longest + 1]).unwrap();
        assert!(error(limits::MANIFEST).contains("longer than 1 MiB"));
        assert!(error(2 * limits::TEXT).contains("no text in UTF-8"));
        assert_eq!(read(&path).unwrap().len(), longest + 1);
    }
}
