//! The hashes by which files and images are told apart, in lower-case hexadecimal digits.

use crate::data::file;
use std::{io, path::Path};

use md5::Md5;
use sha2::{Digest, Sha256, digest::Output};

/// The SHA-256 of bytes.
pub fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// The SHA-256 of a file, which is read piece by piece.
///
/// # Errors
/// What the system says to a file that cannot be read.
pub fn file_sha256(path: &Path) -> io::Result<String> {
    Ok(format!("{:x}", of_file::<Sha256>(path)?))
}

/// The MD5 of a file, which older publishers give for their files.
///
/// # Errors
/// What the system says to a file that cannot be read.
pub fn file_md5(path: &Path) -> io::Result<String> {
    Ok(format!("{:x}", of_file::<Md5>(path)?))
}

fn of_file<D: Digest + io::Write>(path: &Path) -> io::Result<Output<D>> {
    let mut hash = D::new();
    io::copy(&mut file::open(path)?, &mut hash)?;
    Ok(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_standard() {
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), expected);
    }
}
