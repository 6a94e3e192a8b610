//! Bytes that stay in their file and are read part by part.
//!
//! The file stays open, so that another that takes its name is not read in its stead; one that is
//! written to is refused.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
    rc::Rc,
};

use flate2::read::{DeflateDecoder, MultiGzDecoder};

use crate::data::{
    file::{self, Stamp},
    unfold::Unfolding,
};

/// How bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// Not at all.
    None,
    /// As a member of an archive.
    Deflate,
    /// As a file of its own.
    Gzip,
}

/// A part of a file.
pub(super) struct Content {
    region: Region,
    packing: Packing,
    /// Of packed bytes, where reading them has come to: they can be read forward alone.
    reading: RefCell<Option<(Box<dyn Read>, u64)>>,
}

impl Content {
    /// A whole file, by its first bytes gzipped or not.
    ///
    /// # Errors
    /// As [`file::open`].
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut content = Self::plain(file::open(path)?)?;
        let mut start = [0; 2];
        if content.region.length >= 2 {
            content.region.file.read_exact_at(&mut start, 0)?;
        }
        if start == [0x1f, 0x8b] {
            content.packing = Packing::Gzip;
        }
        Ok(content)
    }

    /// A whole file, as it is.
    ///
    /// # Errors
    /// What the system says of the file.
    pub(super) fn plain(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Self::part(file, 0, length, Packing::None)
    }

    /// So many bytes of a file, which may be packed.
    ///
    /// # Errors
    /// What the system says of the file.
    pub(super) fn part(file: File, start: u64, length: u64, packing: Packing) -> io::Result<Self> {
        let stamp = Stamp::of(&file)?;
        let region = Region { file: Rc::new(file), stamp, at: start, length };
        Ok(Self { region, packing, reading: RefCell::new(None) })
    }

    pub(super) fn packing(&self) -> Packing {
        self.packing
    }

    /// The number of bytes; packed ones are unfolded to be counted.
    ///
    /// # Errors
    /// Packed data that are damaged, cut off, or unfold to more than their limit.
    pub(super) fn length(&self) -> io::Result<u64> {
        match self.packing {
            Packing::None => Ok(self.region.length),
            _ => io::copy(&mut self.reader(), &mut io::sink()),
        }
    }

    /// All bytes from the first on.
    pub(super) fn reader(&self) -> Box<dyn Read> {
        let (region, packed) = (self.region.clone(), self.region.length);
        match self.packing {
            Packing::None => Box::new(region),
            Packing::Deflate => Box::new(Unfolding::new(DeflateDecoder::new(region), packed)),
            Packing::Gzip => Box::new(Unfolding::new(MultiGzDecoder::new(region), packed)),
        }
    }

    /// So many bytes from a position on.
    ///
    /// # Errors
    /// Bytes that are not there, a file that was written to, and packed data that are damaged.
    pub(super) fn bytes(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        if self.packing == Packing::None {
            let mut region = self.region.clone();
            region.skip(at)?;
            region.read_exact(&mut bytes)?;
            return Ok(bytes);
        }
        let mut reading = self.reading.borrow_mut();
        let (mut input, from) = match reading.take() {
            Some((input, from)) if from <= at => (input, from),
            _ => (self.reader(), 0),
        };
        let skipped = io::copy(&mut input.by_ref().take(at - from), &mut io::sink())?;
        if skipped < at - from {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        input.read_exact(&mut bytes)?;
        *reading = Some((input, at + length as u64));
        Ok(bytes)
    }
}

/// Bytes of a file from a position on, read without the file's own position.
#[derive(Clone)]
struct Region {
    file: Rc<File>,
    stamp: Stamp,
    at: u64,
    length: u64,
}

impl Region {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        self.length =
            self.length.checked_sub(bytes).ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
        self.at += bytes;
        Ok(())
    }
}

impl Read for Region {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stamp.check(&self.file)?;
        let most = usize::try_from(self.length).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.file.read_at(&mut buffer[..most], self.at)?;
        self.skip(n as u64)?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder},
    };

    use super::*;

    fn bytes() -> Vec<u8> {
        (0..100_000_u32).map(|i| u8::try_from(i * i % 251).unwrap()).collect()
    }

    fn gzipped() -> Vec<u8> {
        let mut encoder = GzEncoder::new(vec![], Compression::default());
        encoder.write_all(&bytes()).unwrap();
        encoder.finish().unwrap()
    }

    /// Packed in every way, each alone in its file or between other bytes.
    fn contents(folder: &Path) -> Vec<Content> {
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let mut encoder = DeflateEncoder::new(vec![], Compression::default());
        encoder.write_all(&bytes()).unwrap();
        let deflated = encoder.finish().unwrap();
        let part = |name: &str, inner: &[u8], packing: Packing| {
            let path = file(name, &[b"before", inner, b"behind"].concat());
            let file = File::open(path).unwrap();
            Content::part(file, 6, inner.len() as u64, packing).unwrap()
        };
        vec![
            Content::open(&file("plain", &bytes())).unwrap(),
            Content::open(&file("gzipped", &gzipped())).unwrap(),
            part("part", &bytes(), Packing::None),
            part("deflated", &deflated, Packing::Deflate),
        ]
    }

    #[test]
    fn every_part_is_that_of_the_whole_however_it_is_packed_and_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let whole = bytes();
        for content in contents(folder.path()) {
            assert_eq!(content.length().unwrap(), whole.len() as u64);
            for at in [0, 10, 40_000, 40_010, 99_990, 3, 70_000] {
                let expected = &whole[at..at + 10];
                assert_eq!(
                    content.bytes(at as u64, 10).unwrap(),
                    expected,
                    "{:?}",
                    content.packing
                );
            }
            for at in [99_991, 100_000, 200_000] {
                let error = content.bytes(at, 10).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{:?}", content.packing);
            }
            assert_eq!(content.bytes(100_000, 0).unwrap(), b"");
            let mut all = vec![];
            content.reader().read_to_end(&mut all).unwrap();
            assert_eq!(all, whole);
        }
    }

    #[test]
    fn another_file_of_the_same_name_is_not_read_and_one_that_is_written_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        for whole in [bytes(), gzipped()] {
            std::fs::write(&path, &whole).unwrap();
            let content = Content::open(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, b"another").unwrap();
            assert_eq!(content.bytes(5, 10).unwrap(), bytes()[5..15]);

            let content = Content::open(&path).unwrap();
            std::fs::write(&path, b"more than another").unwrap();
            let error = content.bytes(0, 7).unwrap_err().to_string();
            assert!(error.starts_with("it changed while it was being read"), "{error}");
        }
    }
}
