//! The spacings of Song, Meng, Ermon 2021, appendix D.2.
//!
//! Integer division is the floor, free of rounding; the paper's tau is 1-based.

use super::{Family, Spacing};

/// $\tau_i = \lfloor c i \rfloor$ with c = T / S.
pub(super) const LINEAR: Family = Family {
    name: "paper-linear",
    about: "Song, Meng, Ermon 2021, D.2: floor(i T / S)",
    option: None,
    least: 1,
    spacing: Spacing::Timesteps(|horizon, steps| {
        (1..=steps).map(|i| (horizon * i / steps) as f64 - 1.0).collect()
    }),
    window: None,
};

/// $\tau_i = \lfloor c i^2 \rfloor$ with c = T / S^2; entries below 1 and duplicates dropped.
pub(super) const QUADRATIC: Family = Family {
    name: "paper-quadratic",
    about: "Song, Meng, Ermon 2021, D.2: floor(i^2 T / S^2), repetitions dropped",
    option: None,
    least: 1,
    spacing: Spacing::Timesteps(|horizon, steps| {
        (1..=steps).map(|i| (horizon * i * i / (steps * steps)) as f64 - 1.0).collect()
    }),
    window: None,
};
