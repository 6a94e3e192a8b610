//! Two sets of equally many samples, cut into the same blocks.

use ndarray::ArrayView2;

use crate::metrics::{Error, Result};

/// Block b of either side holds the rows from `b * N / B` up to `(b + 1) * N / B`.
pub(super) struct Sides {
    /// The block of each row.
    pub(super) block_of: Vec<usize>,
    /// The rows of the largest block.
    pub(super) largest: usize,
    columns: usize,
}

impl Sides {
    /// Checks that two sets can be compared block by block.
    ///
    /// # Errors
    /// Different numbers of samples or of columns, fewer than two blocks or more than samples, or a
    /// value that is not finite.
    pub(super) fn new(
        x: ArrayView2<'_, f64>,
        y: ArrayView2<'_, f64>,
        blocks: usize,
    ) -> Result<Self> {
        let (n, other) = (x.nrows(), y.nrows());
        if n != other {
            return Err(Error::UnequalSets { left: n, right: other });
        }
        if blocks < 2 || blocks > n {
            return Err(Error::Blocks { blocks, n });
        }
        for ((row, column), &value) in x.indexed_iter().chain(y.indexed_iter()) {
            if !value.is_finite() {
                return Err(Error::NotFinite { row, column, value });
            }
        }
        let rows = |b: usize| b * n / blocks..(b + 1) * n / blocks;
        let block_of = (0..blocks).flat_map(|b| rows(b).map(move |_| b)).collect();
        let largest = (0..blocks).map(|b| rows(b).len()).max().unwrap_or(0);
        let sides = Self { block_of, largest, columns: x.ncols() };
        sides.check_columns(y)?;
        Ok(sides)
    }

    /// Makes sure that something has as many columns as the sets.
    ///
    /// # Errors
    /// Another number.
    pub(super) fn check_columns(&self, other: ArrayView2<'_, f64>) -> Result<()> {
        let (left, right) = (self.columns, other.ncols());
        if left == right { Ok(()) } else { Err(Error::DimensionMismatch { left, right }) }
    }

    /// The number of samples of either side.
    pub(super) fn n(&self) -> usize {
        self.block_of.len()
    }

    /// The rows of a block.
    pub(super) fn rows(&self, b: usize) -> std::ops::Range<usize> {
        self.block_of.partition_point(|of| *of < b)..self.block_of.partition_point(|of| *of <= b)
    }
}
