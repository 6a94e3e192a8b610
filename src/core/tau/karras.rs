//! Karras et al. 2022: even in a root of sigma.

use super::{Error, Family, Level, Result, Schedule, Spacing, spaced};

/// S sigmas with $\sigma^{1/\rho}$ evenly spaced between the schedule's largest and smallest (Eq. 5);
/// rho is 7 in the paper.
pub(super) const KARRAS: Family = Family {
    name: "karras",
    about: "Karras et al. 2022, Eq. (5): even in sigma^(1 / rho)",
    option: Some(("rho", 7.0)),
    least: 2,
    spacing: Spacing::Sigmas(between),
    window: Some(between),
};

/// $\sigma_i = (\sigma_\max^{1/\rho} + \tfrac{i}{S-1}(\sigma_\min^{1/\rho} - \sigma_\max^{1/\rho}))^\rho$,
/// ascending in sigma.
fn between(
    schedule: &Schedule,
    points: usize,
    rho: f64,
    (low, high): (Level, Level),
) -> Result<Vec<Level>> {
    if !(rho > 0.0 && rho.is_finite()) {
        return Err(Error::Grid(format!("rho = {rho} must be positive and finite")));
    }
    let (a, b) = (low.sigma().powf(1.0 / rho), high.sigma().powf(1.0 / rho));
    let at = |part: f64| schedule.level_at_sigma((a + (b - a) * part).powf(rho));
    spaced(points, (low, high), at)
}
