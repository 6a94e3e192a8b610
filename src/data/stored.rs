//! Images that stay where they are stored and are read part by part.

use std::{fmt, ops::Range, path::Path, rc::Rc};

use ndarray::{Array4, Axis, Slice};

use crate::data::Result;

/// Some number of images of one size.
pub trait Images {
    /// The lengths of their axes, `[N, C, H, W]`.
    fn shape(&self) -> [usize; 4];

    /// Those at a range of positions below N, `[n, C, H, W]`.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged, or changed since the set was found.
    ///
    /// # Panics
    /// If there are not so many.
    fn read(&self, positions: Range<usize>) -> Result<Array4<u8>>;

    /// Those in [-1, 1], where samples lie.
    ///
    /// # Errors
    /// As [`Images::read`].
    fn as_samples(&self, positions: Range<usize>) -> Result<Array4<f64>> {
        Ok(self.read(positions)?.mapv(|byte| f64::from(byte) / 127.5 - 1.0))
    }

    /// The file of one image, where each has its own.
    fn file(&self, position: usize) -> Option<&Path> {
        let _ = position;
        None
    }
}

/// Images in memory.
impl Images for Array4<u8> {
    fn shape(&self) -> [usize; 4] {
        self.dim().into()
    }

    fn read(&self, positions: Range<usize>) -> Result<Array4<u8>> {
        Ok(self.slice_axis(Axis(0), Slice::from(positions)).to_owned())
    }
}

/// Images that are read from their files each time they are asked for.
#[derive(Clone)]
pub struct Stored(Rc<dyn Images>);

impl Stored {
    pub(super) fn new(images: impl Images + 'static) -> Self {
        Self(Rc::new(images))
    }

    /// Those at a range of positions, as a set of their own.
    pub(super) fn part(self, positions: Range<usize>) -> Self {
        Self::new(Part { of: self, positions })
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stored").field(&self.shape()).finish()
    }
}

impl Images for Stored {
    fn shape(&self) -> [usize; 4] {
        self.0.shape()
    }

    fn read(&self, positions: Range<usize>) -> Result<Array4<u8>> {
        self.0.read(positions)
    }

    fn file(&self, position: usize) -> Option<&Path> {
        self.0.file(position)
    }
}

struct Part {
    of: Stored,
    positions: Range<usize>,
}

impl Images for Part {
    fn shape(&self) -> [usize; 4] {
        let [_, c, h, w] = self.of.shape();
        [self.positions.len(), c, h, w]
    }

    fn read(&self, positions: Range<usize>) -> Result<Array4<u8>> {
        let first = self.positions.start;
        self.of.read(first + positions.start..first + positions.end)
    }

    fn file(&self, position: usize) -> Option<&Path> {
        self.of.file(self.positions.start + position)
    }
}
