//! How far a sample is from the reference solution of its noise, in one number for each.

use crate::metrics::{
    Jackknife,
    measure::{Best, Measure, Of},
};

/// The root mean square difference of a sample from the reference solution of the same noise,
/// averaged over samples.
pub static ERROR: Measure = Measure {
    name: "error",
    task: "sample",
    of: Of::Numbers { named: None, statistic: Jackknife::of_mean, solution: true },
    best: Best::Low,
    about: "root mean square difference from the reference solution, mean over samples",
    unit: "root mean square difference from the reference solution, per value",
};

/// The median over samples of that difference, which a heavy tail does not move.
pub static ERROR_MEDIAN: Measure = Measure {
    name: "error-median",
    task: "sample",
    of: Of::Numbers { named: Some(ERROR.name), statistic: Jackknife::of_median, solution: true },
    best: Best::Low,
    about: "the same, median over samples: not moved by a heavy tail",
    unit: "root mean square difference from the reference solution, per value",
};

/// The Euclidean distance between the features of a sample and those of the reference solution
/// of the same noise, averaged over samples.
pub static FEATURE_ERROR: Measure = Measure {
    name: "feature-error",
    task: "sample",
    of: Of::SolutionFeatures,
    best: Best::Low,
    about: "distance of a sample's features from those of the reference solution",
    unit: "Euclidean distance to the features of the reference solution",
};
