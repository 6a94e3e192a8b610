//! Every key of a manifest, as a table: what `ddim manifest` prints.
//!
//! Names come from the vocabulary and from the constants that the readers use, so a program's own
//! solver is in its own table. The tests hold the rest to the readers: the keys are those that a
//! reader asks for, a default written out changes nothing, and a wrong word is answered with the
//! names of the table.

mod experiment;
mod presentation;
#[cfg(test)]
mod tests;
mod training;

use std::fmt::{Display, Write as _};

use serde::{Serialize, Serializer};

use crate::limits;
use crate::manifest::{Kind, Vocabulary, cell, known_names};
use crate::plan::Rule;

/// The name by which the keys outside all sections are asked for.
pub const TOP: &str = "top";

/// The two things that a manifest can describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Describes {
    /// What `ddim run` runs.
    Experiment,
    /// What `ddim train` trains.
    Training,
}

/// A key of a manifest.
#[derive(Clone, Debug, Serialize)]
pub struct Key {
    manifest: Describes,
    /// The section, [`TOP`] for the keys outside all of them.
    section: &'static str,
    #[serde(rename = "key")]
    name: String,
    #[serde(flatten)]
    values: Values,
    #[serde(flatten)]
    default: Fallback,
    /// What it belongs to; with anything else it is a mistake.
    #[serde(skip_serializing_if = "String::is_empty")]
    only_with: String,
    meaning: String,
}

/// What a key can be set to: one of some names, or what a few words describe.
#[derive(Clone, Debug, Default, Serialize)]
struct Values {
    #[serde(rename = "values", skip_serializing_if = "str::is_empty")]
    described: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    /// Whether it is a list of these names.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    list: bool,
    /// The largest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    most: Option<u64>,
}

impl Values {
    /// The same, or what these words describe.
    fn or(self, described: &'static str) -> Self {
        Self { described, ..self }
    }

    fn markdown(&self) -> String {
        let mut names = listed(self.names.iter());
        if self.list {
            names = format!("a list of {names}");
        }
        match (names.is_empty(), self.described.is_empty()) {
            (true, _) => match self.most {
                Some(most) => format!("{}; at most {}", self.described, limits::grouped(most)),
                None => self.described.to_owned(),
            },
            (false, true) => names,
            (false, false) => format!("{names}, or {}", self.described),
        }
    }
}

/// What is meant where a key is absent.
#[derive(Clone, Debug)]
enum Fallback {
    /// It must be there; the words say where, if not wherever its section is.
    Needed(&'static str),
    /// Nothing.
    Nothing,
    /// This value, as TOML.
    Is(String),
    /// What the model's folder says, or else this value.
    Stated(String),
    /// A value for each of some names.
    Each(Vec<(String, Vec<String>)>),
    /// What these words describe.
    Described(&'static str),
}

impl Fallback {
    fn markdown(&self) -> String {
        let shown = |value: &String| match value.trim_matches('"') {
            "" => "empty".to_owned(),
            value => format!("`{value}`"),
        };
        match self {
            Self::Needed(at) => format!("**required** {at}").trim_end().to_owned(),
            Self::Nothing => "none".to_owned(),
            Self::Is(value) => shown(value),
            Self::Stated(value) => format!("what the model's folder says, else {}", shown(value)),
            Self::Each(values) => match values.as_slice() {
                [(value, _)] => shown(value),
                several => {
                    let each = |(value, of): &(String, Vec<String>)| {
                        format!("{} ({})", shown(value), of.join(", "))
                    };
                    several.iter().map(each).collect::<Vec<_>>().join(", ")
                }
            },
            Self::Described(words) => (*words).to_owned(),
        }
    }
}

impl Serialize for Fallback {
    /// `required`, with where if not everywhere, or `default` in words.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Words {
            required: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            required_where: Option<&'static str>,
            default: Option<String>,
        }
        let (required, at) = match self {
            Self::Needed(at) => (true, Some(*at).filter(|at| !at.is_empty())),
            _ => (false, None),
        };
        let default = match self {
            Self::Needed(_) | Self::Nothing => None,
            Self::Is(value) => Some(value.trim_matches('"').to_owned()),
            other => Some(other.markdown().replace('`', "")),
        };
        Words { required, required_where: at, default }.serialize(serializer)
    }
}

impl Key {
    fn new(
        section: &'static str,
        name: impl Into<String>,
        values: Values,
        default: Fallback,
        meaning: impl Into<String>,
    ) -> Self {
        let name = name.into();
        let path = if section == TOP { name.clone() } else { format!("{section}.{name}") };
        Self {
            manifest: Describes::Experiment,
            section,
            values: Values { most: limits::most(&path), ..values },
            name,
            default,
            only_with: String::new(),
            meaning: meaning.into(),
        }
    }

    /// The same key where it belongs to something.
    fn only(self, with: impl Into<String>) -> Self {
        Self { only_with: with.into(), ..self }
    }

    /// Whether a section is this key's, by its name.
    pub fn is_in(&self, section: &str) -> bool {
        self.section == section
    }

    /// The section's name.
    pub fn section(&self) -> &'static str {
        self.section
    }

    fn row(&self) -> String {
        let mut meaning = self.meaning.clone();
        if !self.only_with.is_empty() {
            let _ = write!(meaning, " Only with {}.", self.only_with);
        }
        format!(
            "| `{}` | {} | {} | {meaning} |\n",
            self.name,
            self.values.markdown(),
            self.default.markdown()
        )
    }
}

/// Every key of an experiment and of a training, in the order in which they are explained.
pub fn all(vocabulary: &Vocabulary) -> Vec<Key> {
    let training = training::keys().into_iter();
    let training = training.map(|key| Key { manifest: Describes::Training, ..key });
    experiment::keys(vocabulary).into_iter().chain(training).collect()
}

/// The keys as Markdown, a table for each section.
pub fn markdown(keys: &[Key]) -> String {
    let mut text = "Printed by `ddim manifest`; `--section NAME` prints one section, `--json` the \
                    same as data. A required key is required wherever its section stands.\n"
        .to_owned();
    let mut open = None;
    for key in keys {
        if open.is_none_or(|(manifest, _)| manifest != key.manifest) {
            text.push_str(match key.manifest {
                Describes::Experiment => "\n## Keys of an experiment\n",
                Describes::Training => "\n## Keys of a training\n",
            });
        }
        if open != Some((key.manifest, key.section)) {
            let (heading, about) = section(key.manifest, key.section);
            let _ = write!(text, "\n### {heading}\n\n");
            if !about.is_empty() {
                let _ = write!(text, "{about}\n\n");
            }
            text.push_str("| key | values | default | meaning |\n|---|---|---|---|\n");
        }
        open = Some((key.manifest, key.section));
        text.push_str(&key.row());
    }
    text
}

/// The heading of a section, and a few words about it.
fn section(manifest: Describes, name: &str) -> (String, &'static str) {
    let heading = match name {
        TOP => "Top level".to_owned(),
        "claim" | "plot" => format!("`[[{name}]]`"),
        "profile" => "`[profile.NAME]`".to_owned(),
        name => format!("`[{name}]`"),
    };
    let about = match manifest {
        Describes::Experiment => experiment::about(name),
        Describes::Training => training::about(name),
    };
    (heading, about)
}

/// Names in Markdown, one after the other.
fn listed<T: Display>(names: impl Iterator<Item = T>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn described(words: &'static str) -> Values {
    Values { described: words, ..Values::default() }
}

fn names<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Values {
    Values { names: names.into_iter().map(Into::into).collect(), ..Values::default() }
}

/// The names of pairs, as the readers have them.
fn words<T, const N: usize>(pairs: [(&str, T); N]) -> Values {
    names(pairs.map(|(name, _)| name))
}

fn kinds(kinds: &[Kind]) -> Values {
    names(known_names(kinds))
}

fn text() -> Values {
    described("text")
}

fn flag() -> Values {
    described("`true` or `false`")
}

fn is(value: impl Display) -> Fallback {
    Fallback::Is(value.to_string())
}

fn is_word(word: &str) -> Fallback {
    Fallback::Is(format!("\"{word}\""))
}

const REQUIRED: Fallback = Fallback::Needed("");
const OFF: &str = "false";

/// A number as a reader would write it: TOML either way.
fn number(x: f64) -> String {
    if x != 0.0 && x.abs() < 1e-2 { format!("{x:e}") } else { x.to_string() }
}

/// The kinds that a key belongs to.
fn owners(kinds: &[Kind], key: &str) -> String {
    listed(kinds.iter().filter(|kind| kind.keys.contains(&key)).map(|kind| &kind.name))
}

/// `[schedule]`, whose defaults a model's folder can state.
fn schedule(default: fn(String) -> Fallback) -> Vec<Key> {
    let rules = cell::schedules();
    let spec = crate::plan::ScheduleSpec::default();
    let beta = |beta: Option<f64>| default(number(beta.unwrap_or_default()));
    let key = |key, values, default, meaning| Key::new("schedule", key, values, default, meaning);
    let one = || described("a number between 0 and 1");
    vec![
        key(
            "kind",
            kinds(&rules),
            default(format!("\"{}\"", spec.kind.name())),
            "The rule of the betas. `linear-f32` rounds them to single precision, as some \
             frameworks do; `betas` takes a list.",
        ),
        key("beta_start", one(), beta(spec.beta_start), "The first beta.")
            .only(owners(&rules, "beta_start")),
        key("beta_end", one(), beta(spec.beta_end), "The last beta.")
            .only(owners(&rules, "beta_end")),
        key(
            "betas",
            described("a list of numbers between 0 and 1"),
            Fallback::Needed("with `kind = \"betas\"`"),
            "The betas themselves, from timestep 0 on.",
        )
        .only(format!("`{}`", Rule::Listed.name())),
        key(
            "horizon",
            described("a whole number, 1 or more"),
            default(spec.horizon.to_string()),
            "The number of training timesteps T; with `betas`, the length of the list.",
        ),
        key(
            "zero_terminal_snr",
            flag(),
            default(OFF.to_owned()),
            "Rescale the schedule so that alpha_bar is 0 at the last timestep.",
        ),
    ]
}
