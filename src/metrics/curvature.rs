//! How far the path of a sample is from straight, on the two clocks that Euler's method has here.

use crate::metrics::measure::{Best, Measure, Of};

/// The curvature of $\bar x = x/\sqrt{\bar\alpha}$ over sigma, [`Curvature`](crate::core::Curvature): an
/// upper bound on the error of one DDIM step over the whole way.
///
/// # References
/// Taylor's theorem with its integral remainder, on Song, Meng, Ermon 2021, Eq. (14).
pub static CURVATURE: Measure = Measure {
    name: "curvature",
    task: "sample",
    of: Of::MEAN,
    best: Best::Low,
    about: "curvature of a sample's path in x-bar over sigma, which bounds DDIM's one-step error",
    unit: "curvature over sigma: bound of one step's root mean square error, per value",
};

/// The same over $\sigma^2$, the clock of Eq. (15) and of the variance-exploding SDE.
pub static CURVATURE_SIGMA2: Measure = Measure {
    name: "curvature-sigma2",
    task: "sample",
    of: Of::MEAN,
    best: Best::Low,
    about: "the same over sigma squared, the clock of Eq. (15)",
    unit: "curvature over sigma squared: bound of one step's root mean square error, per value",
};
