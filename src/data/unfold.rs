//! Compressed data, which may be a thousand times as long as the file that it comes from.

use std::io::{self, Read};

use crate::limits;

/// The kind of error that tells data that unfold to too much from damaged ones.
pub(super) const TOO_LONG: io::ErrorKind = io::ErrorKind::FileTooLarge;

/// Reads compressed data up to a limit.
pub(super) struct Unfolding<R> {
    input: R,
    left: u64,
    most: u64,
}

impl<R: Read> Unfolding<R> {
    /// What `input` unfolds from so many bytes.
    pub(super) fn new(input: R, packed: u64) -> Self {
        let most = limits::unfolded(packed);
        Self { input, left: most, most }
    }
}

impl<R: Read> Read for Unfolding<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::new(TOO_LONG, too_long(self.most))),
        }
        Ok(n)
    }
}

/// What is wrong with data that unfolds to more.
pub(super) fn too_long(most: u64) -> String {
    format!("it unfolds to more than {most} bytes, the most for data of its length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_comes_than_the_limit() {
        let mut all = Unfolding { input: &[7; 100][..], left: 100, most: 100 };
        assert_eq!(io::copy(&mut all, &mut io::sink()).unwrap(), 100);
        let mut more = Unfolding { input: &[7; 101][..], left: 100, most: 100 };
        let error = io::copy(&mut more, &mut io::sink()).unwrap_err().to_string();
        assert_eq!(error, "it unfolds to more than 100 bytes, the most for data of its length");
        assert_eq!(limits::unfolded(1000), 1 << 30);
        assert_eq!(limits::unfolded(1 << 30), 1 << 35);
        assert_eq!(limits::unfolded(u64::MAX), u64::MAX);
    }
}
