//! The spacings of the diffusers library, by the schedulers that have them.

use super::{Family, Spacing, linspace, spaced};

/// `leading`: `i * (T / S)` for i < S.
pub(super) const LEADING: Family = Family {
    name: "leading",
    about: "diffusers' leading",
    option: None,
    least: 1,
    spacing: Spacing::Timesteps(|horizon, steps| {
        (0..steps).map(|i| (i * (horizon / steps)) as f64).collect()
    }),
    window: None,
};

/// `trailing`: `round(T - i T / S) - 1` for i < S.
pub(super) const TRAILING: Family = Family {
    name: "trailing",
    about: "diffusers' trailing",
    option: None,
    least: 1,
    spacing: Spacing::Timesteps(|horizon, steps| {
        let (t, s) = (horizon as f64, steps as f64);
        (0..steps).rev().map(|i| (t - i as f64 * (t / s)).round_ties_even() - 1.0).collect()
    }),
    window: None,
};

/// `linspace` for DDIM: S points from 0 to T - 1, rounded.
pub(super) const LINSPACE: Family = Family {
    name: "linspace",
    about: "diffusers' linspace of DDIM: S points from 0 to T - 1, rounded",
    option: None,
    least: 2,
    spacing: Spacing::Timesteps(|horizon, steps| {
        linspace((horizon - 1) as f64, steps).map(f64::round_ties_even).collect()
    }),
    window: None,
};

/// `linspace` for Heun: S points from 0 to T - 1, not rounded.
pub(super) const LINSPACE_REAL: Family = Family {
    name: "linspace-real",
    about: "diffusers' linspace of Heun: the same, not rounded",
    option: None,
    least: 2,
    spacing: Spacing::Timesteps(|horizon, steps| linspace((horizon - 1) as f64, steps).collect()),
    window: Some(|schedule, points, _, (low, high)| {
        spaced(points, (low, high), |part| schedule.level(low.t + part * (high.t - low.t)))
    }),
};

/// `linspace` for DPM-Solver++: S + 1 points from 0 to T - 1, rounded, without the 0.
pub(super) const LINSPACE_OPEN: Family = Family {
    name: "linspace-open",
    about: "diffusers' linspace of DPM-Solver++: S + 1 points, rounded, without 0",
    option: None,
    least: 1,
    spacing: Spacing::Timesteps(|horizon, steps| {
        let points = linspace((horizon - 1) as f64, steps + 1);
        points.skip(1).map(f64::round_ties_even).collect()
    }),
    window: None,
};
