//! `[schedule]` and `[grid]`: the levels there are, and those that a sample visits.

use serde::{Serialize, Serializer};

use crate::{
    core::{End, Grid, Result, Schedule, Tau},
    plan::tau_file::ChosenFor,
};

/// The rule behind a schedule's betas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Evenly spaced.
    Linear,
    /// The same, rounded to f32 as some frameworks do.
    LinearF32,
    /// Evenly spaced roots.
    ScaledLinear,
    /// Nichol and Dhariwal 2021, Eq. (17).
    Cosine,
    /// A sigmoid between the two ends.
    Sigmoid,
    /// As they are listed.
    Listed,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Linear,
        Self::LinearF32,
        Self::ScaledLinear,
        Self::Cosine,
        Self::Sigmoid,
        Self::Listed,
    ];

    /// Its name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::LinearF32 => "linear-f32",
            Self::ScaledLinear => "scaled-linear",
            Self::Cosine => "cosine",
            Self::Sigmoid => "sigmoid",
            Self::Listed => "betas",
        }
    }

    /// Whether it goes from `beta_start` to `beta_end`.
    pub fn has_ends(self) -> bool {
        !matches!(self, Self::Cosine | Self::Listed)
    }

    /// The rule without its rounding: betas rounded to f32 count as the same schedule.
    #[must_use]
    pub fn unrounded(self) -> Self {
        if self == Self::LinearF32 { Self::Linear } else { self }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// `[schedule]`: the levels of noise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScheduleSpec {
    /// The rule behind the betas.
    pub kind: Rule,
    /// First beta, of rules that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta_start: Option<f64>,
    /// Last beta, of rules that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta_end: Option<f64>,
    /// The betas themselves, where no rule gives them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub betas: Vec<f64>,
    /// Number of training levels T.
    pub horizon: usize,
    /// Whether the levels are rescaled to alpha_bar = 0 at the last.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub zero_terminal_snr: bool,
}

impl Default for ScheduleSpec {
    /// Linear betas from 1e-4 to 0.02, T = 1000 (Ho et al. 2020).
    fn default() -> Self {
        Self {
            kind: Rule::Linear,
            beta_start: Some(1e-4),
            beta_end: Some(0.02),
            betas: vec![],
            horizon: 1000,
            zero_terminal_snr: false,
        }
    }
}

impl ScheduleSpec {
    /// The schedule.
    ///
    /// # Errors
    /// Betas outside (0, 1), or fewer than two timesteps.
    pub fn build(&self) -> Result<Schedule> {
        let (start, end) = (self.beta_start.unwrap_or(1e-4), self.beta_end.unwrap_or(0.02));
        let schedule = match self.kind {
            Rule::Linear => Schedule::linear(start, end, self.horizon),
            Rule::LinearF32 => Schedule::linear_f32(start, end, self.horizon),
            Rule::ScaledLinear => Schedule::scaled_linear(start, end, self.horizon),
            Rule::Cosine => Schedule::cosine(self.horizon),
            Rule::Sigmoid => Schedule::sigmoid(start, end, self.horizon),
            Rule::Listed => Schedule::from_betas(&self.betas),
        }?;
        Ok(if self.zero_terminal_snr { schedule.zero_terminal_snr() } else { schedule })
    }
}

/// `[grid]`: which levels a sample visits.
#[derive(Clone, Debug, PartialEq)]
pub struct GridSpec {
    /// The spacing.
    pub tau: Tau,
    /// How many steps.
    pub steps: Steps,
    /// Where the last step goes.
    pub end: End,
    /// From one sigma to another instead of all the way: x_T is carried to the first by the
    /// reference solution.
    pub window: Option<[f64; 2]>,
    /// What its timesteps were chosen for, if a file of `ddim tau` gave them; no part of the JSON, which
    /// has the timesteps themselves.
    pub chosen_for: Option<ChosenFor>,
}

/// How many steps a grid has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Steps {
    /// S itself.
    #[serde(rename = "steps")]
    Number(usize),
    /// As many as the solver can take with at most this many model calls per sample.
    #[serde(rename = "calls")]
    Calls(u64),
}

impl GridSpec {
    /// S steps of a spacing, to the clean sample.
    pub fn new(tau: Tau, steps: usize) -> Self {
        Self { tau, steps: Steps::Number(steps), end: End::Clean, window: None, chosen_for: None }
    }

    /// The grid of `steps` steps on a schedule.
    ///
    /// # Errors
    /// More steps than timesteps, or timesteps that are outside the schedule or not monotone.
    pub fn build(&self, steps: usize, schedule: &Schedule) -> Result<Grid> {
        match self.window {
            Some([from, to]) => Grid::window(schedule, &self.tau, steps, (from, to)),
            None => Grid::new(schedule, &self.tau, steps, self.end),
        }
    }
}

impl Serialize for GridSpec {
    /// In the words of manifests, because cell keys are hashes of them.
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Named<'a> {
            Rule(&'static str),
            Listed(&'a [f64]),
        }
        #[derive(Serialize)]
        struct Words<'a> {
            tau: Named<'a>,
            #[serde(flatten)]
            steps: Steps,
            end: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            rho: Option<f64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            window: Option<[f64; 2]>,
        }
        let (tau, rho) = match &self.tau {
            Tau::Explicit(timesteps) => (Named::Listed(timesteps), None),
            Tau::Of(family, option) => (Named::Rule(family.name), family.option.map(|_| *option)),
        };
        let end = match self.end {
            End::Clean => "clean",
            End::FirstLevel => "first-level",
        };
        Words { tau, steps: self.steps, end, rho, window: self.window }.serialize(serializer)
    }
}
