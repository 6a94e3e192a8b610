//! `print!`, `println!` and `eprintln!` that never panic; in this crate they shadow the standard ones.
//!
//! The standard ones panic if nothing can be written: `ddim table DIR | head` would end in a
//! backtrace, and a run whose stderr is gone would stop. Here, a closed pipe is not an error, and
//! neither is anything on stderr; if stdout failed for another reason, such as a full disk, `refused`
//! reports it at the end.

use std::{
    fmt::Arguments,
    io::{self, ErrorKind, Write},
    sync::OnceLock,
};

use crate::data::stdout;

static REFUSED: OnceLock<io::Error> = OnceLock::new();

/// Writes to stdout.
pub(crate) fn out(text: Arguments<'_>) {
    // In one piece, which is one call of the system.
    let text = text.to_string();
    if let Err(error) = stdout::with(|stdout| stdout.write_all(text.as_bytes()))
        && error.kind() != ErrorKind::BrokenPipe
    {
        // Only the first error is kept.
        let _ = REFUSED.set(error);
    }
}

/// Writes to stderr.
pub(crate) fn err(text: Arguments<'_>) {
    // An error here could not be shown either.
    let _ = io::stderr().write_fmt(text);
}

/// Why stdout did not take everything, if so.
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
pub mod interruption;
pub mod progress;
