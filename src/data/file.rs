//! Opening what a user names, without waiting for what is no file.
//!
//! A named pipe that nobody writes to hangs a program, and a device has no end. A pipe that the shell
//! made, `/dev/stdin` or `/dev/fd/63`, has a writer and is read.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::FileTypeExt,
    path::Path,
};

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

/// The bytes of a file.
///
/// # Errors
/// As [`open`].
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// More than any text that a user writes or a model brings.
const LONGEST: u64 = 16 << 20;

/// The text of a file of at most 16 MiB.
///
/// # Errors
/// As [`open`], a longer file, and one that is no text.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::other("it is longer than 16 MiB, which no text of its kind is"));
    }
    Ok(text)
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
        let zero = read_text(Path::new("/dev/zero")).unwrap_err().to_string();
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
        let longest = usize::try_from(LONGEST).unwrap();
        fs::write(&path, vec![b'#'; longest]).unwrap();
        assert_eq!(read_text(&path).unwrap().len(), longest);
        fs::write(&path, vec![b'#'; longest + 1]).unwrap();
        assert!(read_text(&path).unwrap_err().to_string().contains("16 MiB"));
        assert_eq!(read(&path).unwrap().len(), longest + 1);
    }
}
