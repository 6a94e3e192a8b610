//! How straight and how even an interpolated path of images is.

use crate::metrics::measure::{Best, Measure, Of};

/// The length of an interpolated path of images divided by the distance of its ends.
pub static PATH_LENGTH: Measure = Measure {
    name: "path-length",
    task: "interpolate",
    of: Of::MEAN,
    best: Best::Low,
    about: "length of an interpolated path divided by the distance of its ends",
    unit: "length of the path over the distance of its ends",
};

/// The longest step of such a path divided by its mean step.
pub static PATH_JUMP: Measure = Measure {
    name: "path-jump",
    task: "interpolate",
    of: Of::MEAN,
    best: Best::Low,
    about: "longest step of such a path divided by its mean step",
    unit: "longest step of the path over its mean step",
};

/// The root mean square difference of the ends of such a path: how much of an image its x_T decides.
pub static PATH_ENDS: Measure = Measure {
    name: "path-ends",
    task: "interpolate",
    of: Of::MEAN,
    best: Best::Right,
    about: "root mean square difference of the two ends of such a path",
    unit: "root mean square difference of the ends, per value",
};

/// The length of such a path in features, Euclidean, divided by the distance of its ends there.
pub static FEATURE_PATH_LENGTH: Measure = Measure {
    name: "feature-path-length",
    task: "interpolate",
    of: Of::PathFeatures,
    best: Best::Low,
    about: "length of an interpolated path in features divided by the distance of its ends",
    unit: "length of the path in features over the distance of its ends",
};

/// Length and jump of a path by the distances of its neighbouring points and that of its ends.
pub fn path(steps: &[f64], ends: f64) -> [f64; 2] {
    let length: f64 = steps.iter().sum();
    let longest = steps.iter().copied().fold(0.0, f64::max);
    [length / ends, longest / (length / steps.len() as f64)]
}
