//! Lu et al. 2022 (DPM-Solver): even in log-SNR.

use super::{Family, Level, Result, Schedule, Spacing, spaced};

/// S levels with $\lambda = -\log\sigma$ evenly spaced between the schedule's largest and smallest
/// (section 3.4).
pub(super) const LOG_SNR: Family = Family {
    name: "log-snr",
    about: "Lu et al. 2022, section 3.4: even in log sigma",
    option: None,
    least: 2,
    spacing: Spacing::Sigmas(between),
    window: Some(between),
};

fn between(
    schedule: &Schedule,
    points: usize,
    _: f64,
    (low, high): (Level, Level),
) -> Result<Vec<Level>> {
    let (a, b) = (low.sigma().ln(), high.sigma().ln());
    spaced(points, (low, high), |part: f64| schedule.level_at_sigma((a + (b - a) * part).exp()))
}
