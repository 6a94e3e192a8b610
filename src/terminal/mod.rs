//! `print!`, `println!` and `eprintln!` that end no command.
//!
//! The standard ones panic where nothing can be written: `ddim table DIR | head` would end in a
//! backtrace, and a run whose stderr is gone would stop. These have their place in this crate. A
//! reader that has gone away is no error, and what goes to stderr is never one; that stdout took
//! less than all for another reason, such as a full disk, is told by `refused` at the end.

use std::{
    fmt::Arguments,
    io::{self, ErrorKind, Write},
    sync::OnceLock,
};

static REFUSED: OnceLock<io::Error> = OnceLock::new();

/// Writes to stdout.
pub(crate) fn out(text: Arguments<'_>) {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_fmt(text).and_then(|()| stdout.flush());
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        // Only the first one is told.
        let _ = REFUSED.set(error);
    }
}

/// Writes to stderr.
pub(crate) fn err(text: Arguments<'_>) {
    // Whoever reads no messages has no need of one about that.
    let _ = io::stderr().write_fmt(text);
}

/// Why stdout did not take everything, if it did not.
pub(crate) fn refused() -> Option<&'static io::Error> {
    REFUSED.get()
}

macro_rules! print {
    ($($text:tt)*) => { $crate::terminal::out(format_args!($($text)*)) };
}

macro_rules! println {
    ($($text:tt)*) => { $crate::terminal::out(format_args!("{}\n", format_args!($($text)*))) };
}

macro_rules! eprintln {
    ($($text:tt)*) => { $crate::terminal::err(format_args!("{}\n", format_args!($($text)*))) };
}

// After the macros, which it uses.
pub mod progress;
