//! Grids: strictly monotone lists of levels.
//!
//! A spacing can yield fewer levels than requested (the quadratic ones repeat small timesteps), so a
//! grid keeps the requested S, the number of entries dropped and, for each step, its position in
//! the requested sequence: noise is indexed by that position and does not shift when a duplicate
//! is dropped.

use super::{CLEAN, Error, Level, Result, Schedule, Step, Tau};

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
            // A repeated level is a step that goes nowhere. The step that leaves it has the model call and
            // the noise of its last occurrence.
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

    /// S steps between two positive noise levels, both ends included, to measure orders and locate
    /// errors.
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
        // Users round the ends, so the last digits may differ.
        let slack = 1e-9;
        if !(from > to && to >= bottom * (1.0 - slack) && from <= top * (1.0 + slack)) {
            return Err(Error::Grid(format!(
                "a window from sigma {from} to {to} must fall, and lie between {bottom:.6} and \
                 {top:.3}, the schedule's ends"
            )));
        }
        let (high, low) = (schedule.level_at_sigma(from)?, schedule.level_at_sigma(to)?);
        let levels = tau.between(schedule, steps + 1, (low, high))?;
        Self::from_levels(levels.into_iter().rev().collect())
    }

    /// The same levels in the other direction, for inversion.
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

    /// The number of distinct noisy levels, without the clean end.
    pub fn distinct(&self) -> usize {
        self.levels.iter().filter(|level| !level.is_clean()).count()
    }

    /// Entries of the requested sequence that were dropped as duplicates or below the first timestep.
    pub fn dropped(&self) -> usize {
        self.dropped
    }
}
