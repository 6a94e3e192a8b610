//! The stdout that the program was started with, kept for its data.
//!
//! A model may be a program of the user's, and what it prints would mix with an array or a table. So
//! file descriptor 1 leads to stderr while the program runs, and its own data take another one.

use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    sync::OnceLock,
};

static DATA: OnceLock<File> = OnceLock::new();

/// Sends to stderr what anything but this program's own data writes to stdout from here on.
///
/// Where the system refuses, stdout stays what it was.
pub(crate) fn reserve() {
    let Ok(ours) = io::stdout().as_fd().try_clone_to_owned() else { return };
    if rustix::stdio::dup2_stdout(io::stderr()).is_ok() {
        // Called once: the first is the real one.
        let _ = DATA.set(ours.into());
    }
}

/// Lets `write` write to stdout, and passes everything on at the end.
///
/// # Errors
/// What `write` returns, and a reader that is gone or a disk that is full.
pub(crate) fn with(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut standard = io::stdout().lock();
    match DATA.get() {
        Some(mut data) => write(&mut data),
        None => write(&mut standard).and_then(|()| standard.flush()),
    }
}

/// Whether stdout is a terminal.
pub(crate) fn is_terminal() -> bool {
    DATA.get().map_or_else(|| io::stdout().is_terminal(), File::is_terminal)
}
