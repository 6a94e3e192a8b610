//! The paper's tau: which levels of a schedule a grid visits.
//!
//! A family of spacings is a file here with a [`Family`], and a line of [`FAMILIES`], from which all
//! names of a tau are taken.

mod cheapest;
mod diffusers;
mod explicit;
mod karras;
mod log_snr;
mod official;
mod paper;

use std::fmt;

pub use cheapest::cheapest;

use super::{Error, Level, Result, Schedule};

/// Every family that has a name.
pub const FAMILIES: [&Family; 11] = [
    &official::UNIFORM,
    &official::QUAD,
    &paper::LINEAR,
    &paper::QUADRATIC,
    &diffusers::LEADING,
    &diffusers::TRAILING,
    &diffusers::LINSPACE,
    &diffusers::LINSPACE_REAL,
    &diffusers::LINSPACE_OPEN,
    &karras::KARRAS,
    &log_snr::LOG_SNR,
];

/// A family of spacings.
pub struct Family {
    /// Its name in manifests.
    pub name: &'static str,
    /// Its rule and source, in a line.
    pub about: &'static str,
    /// Its option, if it has one: the name in manifests, and the default.
    pub option: Option<(&'static str, f64)>,
    /// The fewest steps it can have.
    least: usize,
    spacing: Spacing,
    /// The points from one level to another, ends included, for a family that is spaced by a formula.
    window: Option<Between>,
}

/// The levels of this many points from the lower to the higher of two, both included; the number is
/// that of the family's option.
type Between = fn(&Schedule, usize, f64, (Level, Level)) -> Result<Vec<Level>>;

/// What a family spaces.
enum Spacing {
    /// Timesteps, 0-based and ascending, of T and S; those of the paper's formulas may be -1.
    Timesteps(fn(usize, usize) -> Vec<f64>),
    /// Sigmas, between those of the schedule's first level and its last.
    Sigmas(Between),
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A spacing of levels.
#[derive(Clone, Debug, PartialEq)]
pub enum Tau {
    /// One of a family, with the value of its option; 0 for a family without one.
    Of(&'static Family, f64),
    /// The timesteps as listed.
    Explicit(Vec<f64>),
}

impl Tau {
    /// `range(0, T, T / S)` of the official code.
    pub const OFFICIAL_UNIFORM: Self = Self::Of(&official::UNIFORM, 0.0);
    /// `linspace(0, sqrt(0.8 T), S)^2` of the official code.
    pub const OFFICIAL_QUAD: Self = Self::Of(&official::QUAD, 0.0);
    /// $\lfloor c i \rfloor$ (Song et al. 2021, appendix D.2).
    pub const PAPER_LINEAR: Self = Self::Of(&paper::LINEAR, 0.0);
    /// $\lfloor c i^2 \rfloor$ (appendix D.2).
    pub const PAPER_QUADRATIC: Self = Self::Of(&paper::QUADRATIC, 0.0);
    /// diffusers' `leading`.
    pub const LEADING: Self = Self::Of(&diffusers::LEADING, 0.0);
    /// diffusers' `trailing`.
    pub const TRAILING: Self = Self::Of(&diffusers::TRAILING, 0.0);
    /// diffusers' `linspace` for DDIM.
    pub const LINSPACE: Self = Self::Of(&diffusers::LINSPACE, 0.0);
    /// diffusers' `linspace` for Heun.
    pub const LINSPACE_REAL: Self = Self::Of(&diffusers::LINSPACE_REAL, 0.0);
    /// diffusers' `linspace` for DPM-Solver++.
    pub const LINSPACE_OPEN: Self = Self::Of(&diffusers::LINSPACE_OPEN, 0.0);
    /// Even in the logarithm of sigma (Lu et al. 2022, section 3.4).
    pub const LOG_SNR: Self = Self::Of(&log_snr::LOG_SNR, 0.0);

    /// Even in $\sigma^{1/\rho}$ (Karras et al. 2022, Eq. 5).
    pub fn karras(rho: f64) -> Self {
        Self::Of(&karras::KARRAS, rho)
    }

    /// The tau of a name, with its default where it has an option.
    pub fn named(name: &str) -> Option<Self> {
        let family = FAMILIES.into_iter().find(|family| family.name == name)?;
        Some(Self::Of(family, family.option.map_or(0.0, |(_, default)| default)))
    }

    /// The requested levels from clean to noisy, duplicates included, and how many entries lay
    /// below the first timestep.
    ///
    /// # Errors
    /// Fewer or more steps than the family can have, infinite sigmas, or invalid listed timesteps.
    pub(super) fn levels(&self, schedule: &Schedule, steps: usize) -> Result<(Vec<Level>, usize)> {
        let horizon = schedule.horizon();
        let least = if let Self::Of(family, _) = self { family.least } else { 1 };
        if steps < least || steps > horizon {
            return Err(Error::Grid(format!(
                "S = {steps}: this tau needs at least {least} and at most T = {horizon} steps"
            )));
        }
        let timesteps = match self {
            Self::Explicit(timesteps) => explicit::checked(timesteps, steps)?,
            Self::Of(family, option) => match family.spacing {
                Spacing::Timesteps(timesteps) => timesteps(horizon, steps),
                Spacing::Sigmas(between) => {
                    let ends = (schedule.level(0.0)?, schedule.level((horizon - 1) as f64)?);
                    if ends.1.is_pure_noise() {
                        return Err(Error::Grid(
                            "this tau is spaced in sigma, which is infinite at the last timestep \
                             of this schedule (zero terminal SNR): take one that is spaced in \
                             timesteps, such as trailing"
                                .into(),
                        ));
                    }
                    return Ok((between(schedule, steps, *option, ends)?, 0));
                }
            },
        };
        let requested = timesteps.len();
        let there = timesteps.into_iter().filter(|&t| t >= 0.0).map(|t| schedule.level(t));
        let levels = there.collect::<Result<Vec<_>>>()?;
        let below = requested - levels.len();
        if levels.is_empty() {
            return Err(Error::Grid("no timestep is left: all lie below the first".into()));
        }
        Ok((levels, below))
    }

    /// This many points from the lower to the higher of two levels.
    ///
    /// # Errors
    /// A tau that is a list of timesteps.
    pub(super) fn between(
        &self,
        schedule: &Schedule,
        points: usize,
        ends: (Level, Level),
    ) -> Result<Vec<Level>> {
        if let Self::Of(Family { window: Some(between), .. }, option) = self {
            return between(schedule, points, *option, ends);
        }
        let mut have = FAMILIES.into_iter().filter(|family| family.window.is_some());
        let last = have.next_back().map_or("", |family| family.name);
        let others: Vec<&str> = have.map(|family| family.name).collect();
        Err(Error::Grid(format!(
            "this tau is a list of timesteps and has no window: use {} or {last}",
            others.join(", ")
        )))
    }
}

/// The ends, and `at(part)` for the points between them: the ends are given levels, not their
/// images under a power and a root.
fn spaced(
    points: usize,
    (low, high): (Level, Level),
    at: impl Fn(f64) -> Result<Level>,
) -> Result<Vec<Level>> {
    let last = points.saturating_sub(1);
    (0..points)
        .map(|i| match i {
            0 => Ok(low),
            i if i == last => Ok(high),
            i => at(i as f64 / last as f64),
        })
        .collect()
}

/// This many points from 0 to `end`.
fn linspace(end: f64, points: usize) -> impl Iterator<Item = f64> {
    let gap = end / (points - 1) as f64;
    (0..points).map(move |i| if i == points - 1 { end } else { i as f64 * gap })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_found_by_its_name() {
        for family in FAMILIES {
            let default = family.option.map_or(0.0, |(_, default)| default);
            assert_eq!(Tau::named(family.name), Some(Tau::Of(family, default)));
        }
        assert_eq!(Tau::named("karras"), Some(Tau::karras(7.0)));
        assert_eq!(Tau::named("quadratic"), None);
    }
}
