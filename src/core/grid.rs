//! The paper's tau: strictly monotone lists of levels.
//!
//! The paper gives two formulas, the official code implements two others, and the peers have
//! their own spacings; all are named here and none is "the" default of this module. What a
//! spacing asks for and what it yields can differ (the quadratic ones repeat small timesteps), so a
//! grid keeps the requested S, the number of entries dropped and, for each step, its position in
//! the requested sequence: noise is indexed by that position and does not shift when a duplicate
//! is dropped.

use std::cmp::Ordering::Less;

use super::{CLEAN, Error, Level, Result, Schedule, Step};

/// A family of spacings, by its name in manifests.
#[derive(Clone, Debug, PartialEq)]
pub enum Tau {
    /// `range(0, T, T / S)` of the official code: starts at T - T/S, and has more than S entries
    /// when S does not divide T.
    OfficialUniform,
    /// `[int(s) for s in linspace(0, sqrt(0.8 T), S) ** 2]` of the official code, duplicates
    /// dropped. The 0.8 is the code's, not the paper's.
    OfficialQuad,
    /// $\tau_i = \lfloor c i \rfloor$ with c = T / S (Song et al. 2021, appendix D.2), 1-based.
    PaperLinear,
    /// $\tau_i = \lfloor c i^2 \rfloor$ with c = T / S^2 (appendix D.2), 1-based; entries below 1
    /// and duplicates dropped.
    PaperQuadratic,
    /// diffusers' `leading`: `i * (T / S)` for i < S.
    Leading,
    /// diffusers' `trailing`: `round(T - i T / S) - 1` for i < S.
    Trailing,
    /// diffusers' `linspace` for DDIM: S points from 0 to T-1, rounded.
    Linspace,
    /// diffusers' `linspace` for Heun: S points from 0 to T-1, not rounded.
    LinspaceReal,
    /// diffusers' `linspace` for DPM-Solver++: S + 1 points from 0 to T-1, rounded, without the 0.
    LinspaceOpen,
    /// S sigmas with $\sigma^{1/\rho}$ evenly spaced between the schedule's largest and smallest
    /// (Karras et al. 2022, Eq. 5).
    Karras {
        /// The exponent; 7 in the paper.
        rho: f64,
    },
    /// S levels with $\lambda = -\log\sigma$ evenly spaced between the schedule's largest and
    /// smallest: uniform in log-SNR (Lu et al. 2022, DPM-Solver, section 3.4).
    LogSnr,
    /// The timesteps as listed.
    Explicit(Vec<f64>),
}

/// Where a grid ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At $\bar\alpha = 1$, as in the paper ($\alpha_0 := 1$).
    Clean,
    /// At the level of timestep 0 (`set_alpha_to_one = False` in diffusers): the last step of a
    /// spacing that contains 0 falls away.
    FirstLevel,
}

/// A strictly monotone list of levels.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    levels: Vec<Level>,
    draws: Vec<u32>,
    requested: usize,
    dropped: usize,
}

impl Grid {
    /// The grid of a family for `steps` steps, from noisy to clean.
    ///
    /// # Errors
    /// No steps, more steps than the family has timesteps for, or timesteps outside the schedule.
    pub fn new(schedule: &Schedule, tau: &Tau, steps: usize, end: End) -> Result<Self> {
        let (mut levels, mut dropped) = tau.levels(schedule, steps)?;
        levels.reverse();
        match end {
            End::Clean => levels.push(CLEAN),
            End::FirstLevel => levels.push(schedule.level(0.0)?),
        }
        let mut grid =
            Self { levels: vec![levels[0]], draws: vec![], requested: steps, dropped: 0 };
        for (position, pair) in (0_u32..).zip(levels.windows(2)) {
            // A repeated level is a step that goes nowhere: the model's call and the noise of the
            // step that leaves it are those of its last occurrence.
            if pair[1].alpha_bar > pair[0].alpha_bar {
                grid.levels.push(pair[1]);
                grid.draws.push(position);
            } else {
                dropped += 1;
            }
        }
        grid.dropped = dropped;
        if grid.draws.is_empty() {
            return Err(Error::Grid("no step is left: all levels coincide".into()));
        }
        Ok(grid)
    }

    /// The grid of any strictly monotone levels, in the order given.
    ///
    /// # Errors
    /// Fewer than two levels, or levels that are not strictly monotone.
    pub fn from_levels(levels: Vec<Level>) -> Result<Self> {
        let rising = levels.windows(2).all(|pair| pair[1].alpha_bar > pair[0].alpha_bar);
        let falling = levels.windows(2).all(|pair| pair[1].alpha_bar < pair[0].alpha_bar);
        if levels.len() < 2 || !(rising || falling) {
            return Err(Error::Grid("a grid needs at least two strictly monotone levels".into()));
        }
        let steps = levels.len() - 1;
        let draws = (0_u32..).take(steps).collect();
        Ok(Self { levels, draws, requested: steps, dropped: 0 })
    }

    /// S steps between two positive noise levels, both ends included: where orders are measured
    /// and errors located.
    ///
    /// - Units: `window` is (from, to) in sigma.
    ///
    /// # Errors
    /// A family that is not spaced by a formula (`linspace-real`, `karras` and `log-snr` are), no
    /// steps, or a window that is not falling or leaves the schedule.
    pub fn window(
        schedule: &Schedule,
        tau: &Tau,
        steps: usize,
        (from, to): (f64, f64),
    ) -> Result<Self> {
        let top = schedule.level((schedule.horizon() - 1) as f64)?.sigma();
        let bottom = schedule.level(0.0)?.sigma();
        // The ends as a user reads them off: the last digits are not the point.
        let slack = 1e-9;
        if !(from > to && to >= bottom * (1.0 - slack) && from <= top * (1.0 + slack)) {
            return Err(Error::Grid(format!(
                "a window from sigma {from} to {to} must fall, and lie between {bottom:.6} and \
                 {top:.3}, the schedule's ends"
            )));
        }
        let (high, low) = (schedule.level_at_sigma(from)?, schedule.level_at_sigma(to)?);
        let points = steps + 1;
        let levels = match *tau {
            Tau::Karras { rho } => karras(schedule, points, rho, (low, high))?,
            Tau::LogSnr => log_snr(schedule, points, (low, high))?,
            Tau::LinspaceReal => {
                spaced(points, (low, high), |part| schedule.level(low.t + part * (high.t - low.t)))?
            }
            _ => {
                return Err(Error::Grid(
                    "this tau is a list of timesteps and has no window: use linspace-real, karras or \
                     log-snr"
                        .into(),
                ));
            }
        };
        Self::from_levels(levels.into_iter().rev().collect())
    }

    /// The same levels in the other direction: what inversion runs on.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.levels.reverse();
        self.draws.reverse();
        self
    }

    /// Whether the grid runs from clean to noisy.
    pub fn is_reversed(&self) -> bool {
        self.first().alpha_bar > self.last().alpha_bar
    }

    /// The levels in order, the ends included.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The level the grid starts at.
    pub fn first(&self) -> Level {
        self.levels[0]
    }

    /// The level the grid ends at.
    pub fn last(&self) -> Level {
        self.levels[self.levels.len() - 1]
    }

    /// The steps in order.
    pub fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        let last = self.draws.len() - 1;
        self.levels.windows(2).zip(&self.draws).enumerate().map(move |(index, (pair, &draw))| {
            Step { index, left: last - index, draw, from: pair[0], to: pair[1] }
        })
    }

    /// S as asked for.
    pub fn requested(&self) -> usize {
        self.requested
    }

    /// Distinct noisy levels: what is left of S, the clean end not counted.
    pub fn distinct(&self) -> usize {
        self.levels.iter().filter(|level| !level.is_clean()).count()
    }

    /// Entries of the requested sequence that were dropped as duplicates or below the first timestep.
    pub fn dropped(&self) -> usize {
        self.dropped
    }
}

impl Tau {
    /// The requested levels from clean to noisy, duplicates included, and how many entries lay
    /// below the first timestep.
    fn levels(&self, schedule: &Schedule, steps: usize) -> Result<(Vec<Level>, usize)> {
        let horizon = schedule.horizon();
        let least = match self {
            // One point of a linspace is its start, timestep 0: no sampler starts there.
            Self::OfficialQuad
            | Self::Linspace
            | Self::LinspaceReal
            | Self::Karras { .. }
            | Self::LogSnr => 2,
            _ => 1,
        };
        if steps < least || steps > horizon {
            return Err(Error::Grid(format!(
                "S = {steps}: this tau needs at least {least} and at most T = {horizon} steps"
            )));
        }
        let ends = (schedule.level(0.0)?, schedule.level((horizon - 1) as f64)?);
        let in_sigma = matches!(self, Self::Karras { .. } | Self::LogSnr);
        if in_sigma && ends.1.is_pure_noise() {
            return Err(Error::Grid(
                "this tau is spaced in sigma, which is infinite at the last timestep of this schedule \
                 (zero terminal SNR): take one that is spaced in timesteps, such as trailing"
                    .into(),
            ));
        }
        match *self {
            Self::Karras { rho } => return Ok((karras(schedule, steps, rho, ends)?, 0)),
            Self::LogSnr => return Ok((log_snr(schedule, steps, ends)?, 0)),
            _ => {}
        }
        let timesteps = self.timesteps(horizon, steps)?;
        let requested = timesteps.len();
        let levels = timesteps
            .into_iter()
            .filter(|&t| t >= 0.0)
            .map(|t| schedule.level(t))
            .collect::<Result<Vec<_>>>()?;
        let below = requested - levels.len();
        if levels.is_empty() {
            return Err(Error::Grid("no timestep is left: all lie below the first".into()));
        }
        Ok((levels, below))
    }

    /// The requested timesteps, 0-based and ascending; those of the paper's formulas may be -1.
    fn timesteps(&self, horizon: usize, steps: usize) -> Result<Vec<f64>> {
        let top = (horizon - 1) as f64;
        let (t, s) = (horizon as f64, steps as f64);
        let linspace = |end: f64, points: usize| {
            let gap = end / (points - 1) as f64;
            (0..points).map(move |i| if i == points - 1 { end } else { i as f64 * gap })
        };
        Ok(match self {
            Self::OfficialUniform => {
                (0..horizon).step_by(horizon / steps).map(|i| i as f64).collect()
            }
            Self::OfficialQuad => {
                linspace((t * 0.8).sqrt(), steps).map(|root| (root * root).floor()).collect()
            }
            // Integer division is the floor, free of rounding; the paper's tau is 1-based.
            Self::PaperLinear => (1..=steps).map(|i| (horizon * i / steps) as f64 - 1.0).collect(),
            Self::PaperQuadratic => {
                (1..=steps).map(|i| (horizon * i * i / (steps * steps)) as f64 - 1.0).collect()
            }
            Self::Leading => (0..steps).map(|i| (i * (horizon / steps)) as f64).collect(),
            Self::Trailing => {
                (0..steps).rev().map(|i| (t - i as f64 * (t / s)).round_ties_even() - 1.0).collect()
            }
            Self::Linspace => linspace(top, steps).map(f64::round_ties_even).collect(),
            Self::LinspaceReal => linspace(top, steps).collect(),
            Self::LinspaceOpen => {
                linspace(top, steps + 1).skip(1).map(f64::round_ties_even).collect()
            }
            Self::Karras { .. } | Self::LogSnr => {
                unreachable!("invariant: spaced in sigma, not in timesteps")
            }
            Self::Explicit(timesteps) => explicit(timesteps, steps)?,
        })
    }
}

/// The listed timesteps in ascending order; strictly monotone either way.
fn explicit(timesteps: &[f64], steps: usize) -> Result<Vec<f64>> {
    if timesteps.len() != steps {
        return Err(Error::Grid(format!(
            "S = {steps}, but tau lists {} timesteps: leave `steps` out or make them agree",
            timesteps.len()
        )));
    }
    let mut timesteps = timesteps.to_vec();
    if timesteps.len() > 1 && timesteps[0] > timesteps[1] {
        timesteps.reverse();
    }
    let unordered = timesteps.windows(2).find_map(|pair| match pair {
        [a, b] if a.partial_cmp(b) != Some(Less) => Some((a, b)),
        _ => None,
    });
    if let Some((a, b)) = unordered {
        return Err(Error::Grid(format!(
            "tau lists {a} beside {b}: timesteps must be strictly monotone"
        )));
    }
    if timesteps.first().is_some_and(|&t| t < 0.0) {
        return Err(Error::Grid("tau lists a timestep below 0: timesteps are 0-based".into()));
    }
    Ok(timesteps)
}

/// $\sigma_i = (\sigma_\max^{1/\rho} + \tfrac{i}{S-1}(\sigma_\min^{1/\rho} - \sigma_\max^{1/\rho}))^\rho$,
/// ascending in sigma.
fn karras(
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

/// $\log\sigma_i$ evenly spaced, ascending in sigma.
fn log_snr(schedule: &Schedule, points: usize, (low, high): (Level, Level)) -> Result<Vec<Level>> {
    let (a, b) = (low.sigma().ln(), high.sigma().ln());
    spaced(points, (low, high), |part: f64| schedule.level_at_sigma((a + (b - a) * part).exp()))
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
