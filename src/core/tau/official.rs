//! The spacings of the official code of Song, Meng, Ermon 2021.

use super::{Family, Spacing, linspace};

/// `range(0, T, T / S)`: starts at T - T/S, and has more than S entries when S does not divide T.
pub(super) const UNIFORM: Family = Family {
    name: "official-uniform",
    about: "the official code's range(0, T, T / S)",
    option: None,
    least: 1,
    spacing: Spacing::Timesteps(|horizon, steps| {
        (0..horizon).step_by(horizon / steps).map(|i| i as f64).collect()
    }),
    window: None,
};

/// `[int(s) for s in linspace(0, sqrt(0.8 T), S) ** 2]`, duplicates dropped. The 0.8 is the code's,
/// not the paper's.
pub(super) const QUAD: Family = Family {
    name: "official-quad",
    about: "the official code's linspace(0, sqrt(0.8 T), S)^2, repetitions dropped",
    option: None,
    least: 2, // one point of a linspace is its start, timestep 0: no sampler starts there
    spacing: Spacing::Timesteps(|horizon, steps| {
        let roots = linspace((horizon as f64 * 0.8).sqrt(), steps);
        roots.map(|root| (root * root).floor()).collect()
    }),
    window: None,
};
