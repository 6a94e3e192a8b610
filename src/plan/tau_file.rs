//! Files of timesteps that were chosen for a model: what `ddim tau` writes and `grid.tau` names.
//!
//! A file holds one list for each S, what the lists were chosen for and how. It is TOML, and its lists
//! count like lists in the manifest: a cell's key depends on the timesteps, not on the file's name.

use std::{fmt::Write as _, path::Path};

use serde::Deserialize;

use crate::{data::file, limits};

/// What the sum over steps that was made smallest is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// The error of each step at its own end, in x-bar.
    Local,
    /// The same in x, in which data and noise together have about unit variance: what the flow makes of
    /// a small error if the data are N(0, 1).
    #[default]
    Scaled,
    /// That error as a small one grows or shrinks to where the path ends.
    Carried,
}

/// A file of timesteps.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TauFile {
    /// The model and the schedule that they were chosen for.
    pub chosen_for: ChosenFor,
    /// How they were chosen.
    pub settings: Settings,
    /// One list for each S.
    pub tau: Vec<Chosen>,
}

/// The model and the schedule that timesteps were chosen for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChosenFor {
    /// The model, by its name in manifests.
    pub model: String,
    /// What tells it from others: SHA-256 of its weights, or of an exact-score model's numbers.
    pub sha256: String,
    /// The bound of its predicted x0, if that was clipped.
    #[serde(default)]
    pub clip: Option<String>,
    /// The schedule, as cells have it.
    pub schedule: String,
}

/// How timesteps were chosen.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What was made smallest.
    pub objective: Objective,
    /// How many trajectories the errors were measured along.
    pub samples: usize,
    /// The seed of their noise.
    pub seed: u64,
    /// The timesteps that could be chosen, from the noisiest down.
    pub candidates: Vec<f64>,
}

/// The timesteps of one S.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chosen {
    /// S.
    pub steps: usize,
    /// What was made smallest, as it came out: a sum of root mean squares per value.
    pub cost: f64,
    /// From the noisiest down.
    pub timesteps: Vec<f64>,
}

impl ChosenFor {
    /// In what a cell's model and schedule differ from these, as a sentence; none if in nothing. Names do
    /// not count: a folder may have been moved.
    pub fn differs(&self, cell: &Self) -> Option<String> {
        let what = if self.sha256 != cell.sha256 {
            format!("another model, {} (SHA-256 {:.12})", self.model, self.sha256)
        } else if self.clip != cell.clip {
            let clip = self.clip.as_deref();
            clip.map_or("x0 without clipping".to_owned(), |at| format!("x0 clipped at {at}"))
        } else if self.schedule != cell.schedule {
            format!("another schedule, {}", self.schedule)
        } else {
            return None;
        };
        Some(format!("these timesteps were chosen for {what}"))
    }
}

impl TauFile {
    /// Reads a file.
    ///
    /// # Errors
    /// Why it is none, in words that follow its name.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = file::read_text(path, limits::TEXT)
            .map_err(|error| format!("cannot be read: {error}"))?;
        let read: Self = toml::from_str(&text).map_err(|error| {
            let line = |at: usize| text[..at].matches('\n').count() + 1;
            let place =
                error.span().map_or(String::new(), |span| format!(", line {}", line(span.start)));
            format!("is no file of `ddim tau`{place}: {}", error.message())
        })?;
        match read.tau.iter().find(|chosen| chosen.steps != chosen.timesteps.len()) {
            None => Ok(read),
            Some(Chosen { steps, timesteps, .. }) => {
                Err(format!("lists {} timesteps as those of S = {steps}", timesteps.len()))
            }
        }
    }

    /// The timesteps of an S.
    ///
    /// # Errors
    /// An S that the file does not have.
    pub fn timesteps(&self, steps: usize) -> Result<&[f64], String> {
        let found = self.tau.iter().find(|chosen| chosen.steps == steps);
        found.map(|chosen| &*chosen.timesteps).ok_or_else(|| {
            let has: Vec<String> = self.tau.iter().map(|chosen| chosen.steps.to_string()).collect();
            format!("has no timesteps for S = {steps}, only for S = {}", has.join(", "))
        })
    }

    /// Its text.
    ///
    /// # Panics
    /// Never: writing to a string succeeds.
    pub fn text(&self) -> String {
        let Self { chosen_for, settings, tau } = self;
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let list = |numbers: &[f64]| {
            let numbers: Vec<String> = numbers.iter().map(f64::to_string).collect();
            format!("[{}]", numbers.join(", "))
        };
        let mut text = String::from(
            "# Timesteps for DDIM, chosen by `ddim tau`: of all ways through the candidates in S steps, the\n\
             # one whose local errors have the smallest sum. Name this file in a manifest: `grid.tau`.\n\n",
        );
        let objective = match settings.objective {
            Objective::Local => "local",
            Objective::Scaled => "scaled",
            Objective::Carried => "carried",
        };
        let mut line = |key: &str, value: String| {
            writeln!(text, "{key} = {value}").expect("invariant: a string takes any text");
        };
        line("chosen_for.model", quoted(&chosen_for.model));
        line("chosen_for.sha256", quoted(&chosen_for.sha256));
        if let Some(clip) = &chosen_for.clip {
            line("chosen_for.clip", quoted(clip));
        }
        line("chosen_for.schedule", quoted(&chosen_for.schedule));
        line("settings.objective", quoted(objective));
        line("settings.samples", settings.samples.to_string());
        line("settings.seed", settings.seed.to_string());
        line("settings.candidates", list(&settings.candidates));
        for Chosen { steps, cost, timesteps } in tau {
            let timesteps = list(timesteps);
            write!(text, "\n[[tau]]\nsteps = {steps}\ncost = {cost:e}\ntimesteps = {timesteps}\n")
                .expect("invariant: a string takes any text");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> TauFile {
        TauFile {
            chosen_for: ChosenFor {
                model: "models/a \"b\"".into(),
                sha256: "ab12".into(),
                clip: None,
                schedule: r#"{"kind":"linear","horizon":1000}"#.into(),
            },
            settings: Settings {
                objective: Objective::Carried,
                samples: 16,
                seed: 1,
                candidates: vec![999.0, 500.5, 3.0],
            },
            tau: vec![
                Chosen { steps: 1, cost: 0.25, timesteps: vec![999.0] },
                Chosen { steps: 2, cost: 0.125, timesteps: vec![999.0, 3.0] },
            ],
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let read: TauFile = toml::from_str(&file().text()).unwrap();
        assert_eq!(read, file());
        assert_eq!(read.timesteps(2), Ok(&[999.0, 3.0][..]));
        let refused = read.timesteps(10).unwrap_err();
        assert_eq!(refused, "has no timesteps for S = 10, only for S = 1, 2");
    }

    #[test]
    fn another_model_clip_or_schedule_is_told_and_another_name_is_not() {
        let here = file().chosen_for;
        let change = |f: fn(&mut ChosenFor)| {
            let mut other = here.clone();
            f(&mut other);
            here.differs(&other)
        };
        assert_eq!(change(|_| ()), None);
        assert_eq!(change(|other| other.model = "moved".into()), None);
        let model = change(|other| other.sha256 = "cd34".into()).unwrap();
        assert!(model.contains("another model, models/a"), "{model}");
        let clip = change(|other| other.clip = Some("1".into())).unwrap();
        assert!(clip.contains("x0 without clipping"), "{clip}");
        let schedule = change(|other| other.schedule = "{}".into()).unwrap();
        assert!(schedule.contains("another schedule, {\"kind\""), "{schedule}");
    }
}
