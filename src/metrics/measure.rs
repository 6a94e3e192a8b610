//! What a measure is: its names, what it compares, and the function that computes it.
//!
//! Each stands in the file of its function. A list of them is what a program can measure.

use ndarray::ArrayView2;

use crate::metrics::{FrechetReference, Jackknife, KidReference, Result};

/// A measure of samples.
#[derive(Debug)]
pub struct Measure {
    /// Its name.
    pub name: &'static str,
    /// What is measured: `sample`, `reconstruct`, `interpolate`, `bits` or `objective`.
    pub task: &'static str,
    /// How it is computed, and from what.
    pub of: Of,
    /// Which of two values is the better one.
    pub best: Best,
    /// What it is, in a line.
    pub about: &'static str,
    /// What its numbers are, with their unit.
    pub unit: &'static str,
}

/// Whether lower or higher values of a measure are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Best {
    /// Lower ones.
    Low,
    /// Higher ones.
    High,
    /// Neither: it is right or wrong.
    Right,
}

/// How a measure is computed from all samples, in blocks of which an interval is made, and what they
/// are compared with.
#[derive(Clone, Copy, Debug)]
pub enum Of {
    /// Features `[N, D]`, with mean and covariance of those of a data set.
    Moments(fn(ArrayView2<'_, f32>, usize, &FrechetReference) -> Result<Jackknife>),
    /// Features, with those of a data set by a kernel.
    Kernel(fn(ArrayView2<'_, f32>, usize, &KidReference) -> Result<Jackknife>),
    /// Features, with as many of a data set.
    Features(fn(ArrayView2<'_, f32>, ArrayView2<'_, f32>, usize) -> Result<Jackknife>),
    /// The class scores `[N, classes]` of the samples, with nothing, in splits.
    Scores(fn(ArrayView2<'_, f32>, usize) -> Result<Jackknife>),
    /// Values `[N, d]`, with as many exact draws of the model's own data.
    Draws(fn(ArrayView2<'_, f64>, ArrayView2<'_, f64>, usize) -> Result<Jackknife>),
    /// One number of each sample, which comes with it under a measure's name.
    Numbers {
        /// That name, if it is not the measure's own.
        named: Option<&'static str>,
        /// A statistic of the numbers.
        statistic: fn(&[f64], usize) -> Result<Jackknife>,
        /// Whether the number tells how far a sample is from the reference solution of its noise.
        solution: bool,
    },
    /// The distance of each sample's features from those of the reference solution of its noise.
    SolutionFeatures,
    /// The length of each sample's path in features, over the distance of its ends.
    PathFeatures,
}

impl Of {
    /// The mean of a number that comes with each sample.
    pub const MEAN: Self =
        Self::Numbers { named: None, statistic: Jackknife::of_mean, solution: false };
}
