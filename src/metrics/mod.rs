//! Pure functions on feature matrices: rows are samples, columns are features.
//!
//! [`LatentStatistics`] and [`mean_squared_error`] describe single samples, one row of numbers each.
//! [`Normal`] has the divergences and likelihoods that bits per dimension are made of.
//!
//! [`Moments`] accumulate a mean and a covariance batch by batch, a [`FrechetReference`] compares
//! with one of them, [`kid_jackknife`] compares samples by a kernel, [`precision()`] and [`recall`] by
//! neighbourhoods, [`inception_score`] asks a classifier. [`sliced_wasserstein_along`], [`mean_error`] and
//! [`covariance_error`] need no features: they compare samples with exact draws. [`total_variation`] and
//! [`Shortfall`] compare distributions of categories. [`Jackknife`] says
//! how much of a value, or of a difference of two values, is chance. A [`Line`] is fitted to single
//! numbers, and [`rank_correlation`] says whether two measures order sets alike. Nothing here knows
//! where the features come from.

mod bits;
mod curvature;
mod errors;
mod few;
mod frechet;
mod frechet_jackknife;
mod gaussian;
mod inception_score;
mod jackknife;
mod kid;
mod latents;
mod line;
mod mean;
pub mod measure;
mod median;
mod moment_errors;
mod moments;
mod objective;
mod path;
mod precision_recall;
mod rank;
mod sides;
mod sliced;
mod slope;
mod variation;

pub use bits::{BITS, BITS_DECODER, BITS_GAP, BITS_PRIOR, BITS_STEPS};
pub use curvature::{CURVATURE, CURVATURE_SIGMA2};
pub use errors::{ERROR, ERROR_MEDIAN, FEATURE_ERROR};
pub use frechet::FrechetReference;
pub use frechet_jackknife::{FD, frechet_jackknife};
pub use gaussian::Normal;
pub use inception_score::{IS, SPLITS, inception_score, spread};
pub use jackknife::{DEFAULT_BLOCKS, Jackknife, LEVEL};
pub use kid::{KID, KidReference, kid_jackknife};
pub use latents::{
    LATENT_ERROR, LATENT_HORIZONTAL, LATENT_KURTOSIS, LATENT_MEAN, LATENT_NORM, LATENT_STD,
    LATENT_VERTICAL, LatentStatistics, MSE, MSE_RAW, mean_squared_error,
};
pub use line::{Line, LineErrors};
pub use mean::Mean;
pub use moment_errors::{COVARIANCE_ERROR, MEAN_ERROR, covariance_error, mean_error};
pub use moments::Moments;
pub use objective::{
    OBJECTIVE, OBJECTIVE_EXCESS, OBJECTIVE_GAMMA, OBJECTIVE_GAP, OBJECTIVE_LOSS,
    OBJECTIVE_LOSS_OFF, OBJECTIVE_OFF,
};
pub use path::{FEATURE_PATH_LENGTH, PATH_ENDS, PATH_JUMP, PATH_LENGTH, path};
pub use precision_recall::{NEIGHBOURS, PRECISION, RECALL, precision, recall};
pub use rank::{RankCorrelation, rank_correlation, ranks, spearman};
pub use sliced::{DIRECTIONS, SLICED_WASSERSTEIN, directions, sliced_wasserstein_along};
pub use slope::{Bend, log_log_bend, log_log_slope};
pub use variation::{
    MARGINAL_VARIATION, OF_CATEGORIES, Shortfall, TOTAL_VARIATION, TOTAL_VARIATION_SAMPLED,
    total_variation,
};

/// What can go wrong with feature matrices.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two sets of features have different numbers of columns.
    #[error(
        "features of {left} and of {right} columns cannot be combined: take both from the same \
         feature extractor"
    )]
    DimensionMismatch {
        /// Columns on the left-hand side.
        left: usize,
        /// Columns on the right-hand side.
        right: usize,
    },
    /// Two sets that are compared sample by sample are not equally large.
    #[error(
        "sets of {left} and of {right} samples cannot be compared: both must have the same size"
    )]
    UnequalSets {
        /// Samples on the left-hand side.
        left: usize,
        /// Samples on the right-hand side.
        right: usize,
    },
    /// A feature is NaN or infinite.
    #[error(
        "feature {column} of row {row} of the batch is {value}: remove diverged samples before \
         their features are measured"
    )]
    NotFinite {
        /// Row within the batch, 0-based.
        row: usize,
        /// Column, 0-based.
        column: usize,
        /// The value found.
        value: f64,
    },
    /// A mean or a covariance holds NaN or infinite values, or a distance came out as one.
    #[error("the {what} is not finite: its features overflow f64 or its source is damaged")]
    MomentsNotFinite {
        /// Which quantity.
        what: &'static str,
    },
    /// A statistic needs more samples than there are.
    #[error("{n} sample(s) are too few, at least {needed} are needed")]
    TooFewSamples {
        /// Samples at hand.
        n: usize,
        /// Samples needed.
        needed: usize,
    },
    /// A matrix that was given as a covariance is not one.
    #[error(
        "not a covariance: its smallest eigenvalue is {smallest:e} at a largest of {largest:e}; \
         recompute the statistics in f64"
    )]
    NotACovariance {
        /// Smallest eigenvalue.
        smallest: f64,
        /// Largest eigenvalue.
        largest: f64,
    },
    /// A mean and a covariance have different dimensions.
    #[error(
        "a mean of length {mean} needs a covariance of {mean} x {mean}, found {rows} x {columns}"
    )]
    CovarianceShape {
        /// Length of the mean.
        mean: usize,
        /// Rows of the covariance.
        rows: usize,
        /// Columns of the covariance.
        columns: usize,
    },
    /// The samples cannot be cut into that many blocks.
    #[error("{n} samples cannot be cut into {blocks} blocks: choose between 2 and {n} blocks")]
    Blocks {
        /// Blocks asked for.
        blocks: usize,
        /// Samples at hand.
        n: usize,
    },
    /// Points without a slope.
    #[error("a slope on logarithmic axes needs {what}")]
    Slope {
        /// What is missing.
        what: &'static str,
    },
    /// A paired difference of values with different numbers of blocks.
    #[error(
        "values with {left} and with {right} left-out blocks are not paired: measure both cells \
         with the same number of samples and blocks"
    )]
    Unpaired {
        /// Blocks on the left-hand side.
        left: usize,
        /// Blocks on the right-hand side.
        right: usize,
    },
    /// An eigenvalue iteration did not converge.
    #[error("the eigenvalues of a {dimension} x {dimension} matrix did not converge")]
    Eigenvalues {
        /// Order of the matrix.
        dimension: usize,
    },
}

/// The result of a metric.
pub type Result<T, E = Error> = std::result::Result<T, E>;
