//! Typed reading of a spanned table that collects every problem and continues.
//!
//! A getter that fails records why and returns a stand-in, so that the rest is read as well. The
//! stand-in is never seen, because a plan with problems is not returned. Keys that no getter asked
//! for are unknown, and the suggestions for them are the keys that were asked for.

use crate::diagnostic::{Diagnostic, Place, nearest, suggest};
use crate::limits;
use crate::manifest::overlay::{Entry, Node, Table, Value};
use crate::manifest::{Kind, known_names};

/// Keys that older versions had, and what to do without them.
const REMOVED: [(&str, &str); 1] = [(
    "metrics.extrapolate",
    "remove it: nothing is extrapolated in N any more, and the corrected value, which `metrics.csv` \
     always has, is the better estimate",
)];

/// The problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub(crate) list: Vec<Diagnostic>,
    /// Set while part of the sweep could not be read: a key that seems missing may be in that part.
    pub(crate) incomplete: bool,
    /// Added to every problem, for instance the profile under which it appears.
    pub(crate) note: Option<String>,
    /// Whether something had the old name of the reference solution.
    pub(crate) renamed: bool,
    /// Cells read so far, under all profiles.
    pub(crate) cells: usize,
    /// Every key that was asked for, by its path: the printed reference must list these.
    #[cfg(test)]
    pub(crate) asked: std::collections::BTreeSet<String>,
}

impl Problems {
    pub(crate) fn push(&mut self, problem: Diagnostic) {
        self.list.push(match &self.note {
            Some(note) => problem.note(note),
            None => problem,
        });
    }
}

/// Why a value was refused.
pub(crate) struct Wrong<'a> {
    node: &'a Node,
    expected: &'static str,
    in_list: bool,
}

/// A type that a value of the manifest can be read as.
pub(crate) trait FromNode: Sized {
    fn from_node(node: &Node) -> Result<Self, Wrong<'_>>;
}

fn wrong<'a>(node: &'a Node, expected: &'static str) -> Wrong<'a> {
    Wrong { node, expected, in_list: false }
}

impl FromNode for String {
    fn from_node(node: &Node) -> Result<Self, Wrong<'_>> {
        match &node.value {
            Value::String(text) => Ok(text.clone()),
            _ => Err(wrong(node, "a string")),
        }
    }
}

impl FromNode for bool {
    fn from_node(node: &Node) -> Result<Self, Wrong<'_>> {
        match node.value {
            Value::Boolean(flag) => Ok(flag),
            _ => Err(wrong(node, "`true` or `false`")),
        }
    }
}

impl FromNode for u64 {
    fn from_node(node: &Node) -> Result<Self, Wrong<'_>> {
        match node.value {
            Value::Integer(number) => Self::try_from(number).ok(),
            _ => None,
        }
        .ok_or_else(|| wrong(node, "a whole number, 0 or more"))
    }
}

impl FromNode for usize {
    fn from_node(node: &Node) -> Result<Self, Wrong<'_>> {
        u64::from_node(node)?.try_into().map_err(|_| wrong(node, "a smaller number"))
    }
}

impl FromNode for f64 {
    fn from_node(node: &Node) -> Result<Self, Wrong<'_>> {
        match node.value {
            // Adding 0 turns -0 into 0: the two mean the same cell.
            Value::Float(number) if number.is_finite() => Ok(number + 0.0),
            Value::Integer(number) => Ok(number as Self),
            _ => Err(wrong(node, "a finite number")),
        }
    }
}

impl<T: FromNode> FromNode for Vec<T> {
    fn from_node(node: &Node) -> Result<Self, Wrong<'_>> {
        let Value::Array(items) = &node.value else { return Err(wrong(node, "a list")) };
        let item = |item| T::from_node(item).map_err(|wrong| Wrong { in_list: true, ..wrong });
        items.iter().map(item).collect()
    }
}

/// A number, or a list of them.
#[derive(Debug, Default)]
pub(crate) struct OneOrMany(pub(super) Vec<f64>);

impl FromNode for OneOrMany {
    fn from_node(node: &Node) -> Result<Self, Wrong<'_>> {
        match node.value {
            Value::Array(_) => Vec::from_node(node).map(Self),
            _ => f64::from_node(node).map(|number| Self(vec![number])),
        }
    }
}

/// A published number, or `"-"` where there is none, which is NaN.
pub(crate) struct Published(pub(super) f64);

impl FromNode for Published {
    fn from_node(node: &Node) -> Result<Self, Wrong<'_>> {
        match &node.value {
            Value::String(text) if text == "-" => Ok(Self(f64::NAN)),
            _ => f64::from_node(node)
                .map(Self)
                .map_err(|_| wrong(node, "a finite number, or \"-\" where none was published")),
        }
    }
}

/// Reads one table.
pub(crate) struct Reader<'a> {
    table: &'a Table,
    /// What messages put before a key: `solver.`.
    prefix: String,
    /// The place of what is missing.
    place: Place,
    asked: Vec<String>,
    /// Keys whose values were refused: a rule about their stand-ins would be noise.
    refused: Vec<String>,
    /// The key that decides which others have a meaning: `kind`.
    pub(crate) chosen_by: &'static str,
    problems: &'a mut Problems,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(table: &'a Table, whole: Place, problems: &'a mut Problems) -> Self {
        Self {
            table,
            prefix: String::new(),
            place: whole,
            asked: Vec::new(),
            refused: Vec::new(),
            chosen_by: "kind",
            problems,
        }
    }

    /// The entry of a key, which is thereby known.
    pub(crate) fn entry(&mut self, key: &str) -> Option<&'a Entry> {
        if !self.asked.iter().any(|asked| asked == key) {
            self.asked.push(key.to_owned());
        }
        self.table.get(key)
    }

    /// Declares keys that are read elsewhere.
    pub(crate) fn known(&mut self, keys: &[&str]) {
        for key in keys {
            self.entry(key);
        }
    }

    /// The place of a key's value, or of the section that lacks it.
    pub(crate) fn place(&self, key: &str) -> Place {
        self.table.get(key).map_or_else(|| self.place.clone(), |entry| entry.node.place.clone())
    }

    /// The place of one entry of a list.
    pub(crate) fn item_place(&self, key: &str, index: usize) -> Place {
        let node = self.table.get(key).map(|entry| &entry.node);
        match node.map(|node| &node.value) {
            Some(Value::Array(items)) if index < items.len() => items[index].place.clone(),
            _ => self.place(key),
        }
    }

    /// The full path of a key.
    pub(crate) fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Whether a key is there and its value could be read.
    pub(crate) fn sound(&self, key: &str) -> bool {
        self.table.get(key).is_some() && !self.refused.iter().any(|refused| refused == key)
    }

    pub(crate) fn report(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }

    /// A value that may be absent.
    pub(crate) fn get<T: FromNode>(&mut self, key: &str) -> Option<T> {
        let entry = self.entry(key)?;
        if let Some(most) = limits::most(&self.path(key))
            && let Some(node) = entry.node.beyond(most)
        {
            self.refused.push(key.to_owned());
            let (path, found) = (self.path(key), node.place.text());
            let most = limits::grouped(most);
            let message = format!("`{path}` must be at most {most}, not {found}");
            let help = "no use is known for more; docs/limits.md lists all limits";
            self.report(Diagnostic::error(node.place.clone(), message).help(help));
            return None;
        }
        match T::from_node(&entry.node) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.refused.push(key.to_owned());
                let path = self.path(key);
                let what = if wrong.in_list { "every entry of " } else { "" };
                let found = wrong.node.describe();
                let message = format!("{what}`{path}` must be {}, not {found}", wrong.expected);
                let mut problem = Diagnostic::error(wrong.node.place.clone(), message);
                problem = match &wrong.node.value {
                    Value::String(text) if text.parse::<f64>().is_ok() => {
                        problem.help("write the number without quotes")
                    }
                    Value::Integer(_) | Value::Float(_) if wrong.expected == "a string" => {
                        problem.help("write it in quotes")
                    }
                    _ => problem,
                };
                self.report(problem);
                None
            }
        }
    }

    /// A value that must be there; `help` says what to write.
    pub(crate) fn need<T: FromNode + Default>(&mut self, key: &str, help: &str) -> T {
        let value = self.get(key);
        if self.table.get(key).is_none() {
            self.missing(key, help);
        }
        value.unwrap_or_default()
    }

    pub(crate) fn missing(&mut self, key: &str, help: &str) {
        if !self.problems.incomplete {
            let message = format!("`{}` is missing", self.path(key));
            self.report(Diagnostic::error(self.place.clone(), message).help(help));
        }
    }

    /// Reports a value that is there and breaks a rule.
    pub(crate) fn ensure(&mut self, key: &str, holds: bool, rule: &str, help: &str) {
        if !holds && self.sound(key) {
            let place = self.place(key);
            let written = place.text().split_whitespace().collect::<Vec<_>>().join(" ");
            let message = format!("`{}` must be {rule}, not `{written}`", self.path(key));
            self.report(Diagnostic::error(place, message).help(help));
        }
    }

    /// Notes that a value had the old name of the reference solution.
    pub(crate) fn note_renamed(&mut self) {
        self.problems.renamed = true;
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let word: String = self.get(key)?;
        let found = choices.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
        if found.is_none() {
            let names = choices.iter().map(|(name, _)| *name);
            let message = format!("`{}` cannot be `{word}`", self.path(key));
            self.report(Diagnostic::error(self.place(key), message).help(suggest(&word, names)));
        }
        found
    }

    /// The name of a `what`, looked up among those that exist.
    pub(crate) fn kind<'v>(
        &mut self,
        key: &str,
        what: &str,
        default: Option<&str>,
        kinds: &'v [Kind],
    ) -> Option<&'v Kind> {
        let name = match (default, self.entry(key).is_some()) {
            (Some(default), false) => default.to_owned(),
            (None, false) => {
                let names: Vec<&str> = known_names(kinds).collect();
                self.missing(key, &format!("known here: {}", names.join(", ")));
                return None;
            }
            (_, true) => self.get(key)?,
        };
        let found = kinds.iter().find(|kind| kind.name == name);
        if found.is_none() {
            let message = format!("there is no {what} called `{name}`");
            let help = suggest(&name, known_names(kinds));
            self.report(Diagnostic::error(self.place(key), message).help(help));
        }
        found
    }

    /// A value that only some kinds have; with any other it would be silently ignored.
    pub(crate) fn own<T: FromNode>(
        &mut self,
        key: &str,
        kind: Option<&Kind>,
        kinds: &[Kind],
    ) -> Option<T> {
        if let (Some(entry), Some(kind)) = (self.entry(key), kind)
            && !kind.keys.contains(&key)
        {
            let owners: Vec<&str> = kinds
                .iter()
                .filter(|kind| kind.keys.contains(&key))
                .map(|kind| kind.name.as_str())
                .collect();
            let message = format!("`{}` does not apply to {}", self.path(key), kind.name);
            let help = match owners.as_slice() {
                [] => "remove it".to_owned(),
                owners => format!(
                    "it belongs to {}; remove it, or set it only in those entries of the sweep \
                     that use it (on the command line, `--set {}=` removes it)",
                    owners.join(", "),
                    self.path(key)
                ),
            };
            let mut problem = Diagnostic::error(entry.place.clone(), message).help(help);
            if let Some(chosen) = self.table.get(self.chosen_by) {
                problem = problem.also(chosen.node.place.clone(), "chosen here");
            }
            self.report(problem);
            return None;
        }
        self.get(key)
    }

    /// Reads a section; an absent one is empty.
    pub(crate) fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Reader<'_>) -> T) -> T {
        let nothing = Table::default();
        let (table, place) = match self.entry(key) {
            None => (&nothing, self.place.clone()),
            Some(entry) => {
                let table = entry.node.as_table();
                if table.is_none() {
                    let message = format!(
                        "`{}` must be a table, not {}",
                        self.path(key),
                        entry.node.describe()
                    );
                    let help = format!("write it as a section: `[{}]`", self.path(key));
                    self.report(Diagnostic::error(entry.node.place.clone(), message).help(help));
                }
                (table.unwrap_or(&nothing), entry.place.clone())
            }
        };
        self.inside(key, table, place, read)
    }

    /// Reads a table inside this one and reports its unknown keys.
    fn inside<T>(
        &mut self,
        key: &str,
        table: &Table,
        place: Place,
        read: impl FnOnce(&mut Reader<'_>) -> T,
    ) -> T {
        let mut inner = Reader {
            table,
            prefix: format!("{}.", self.path(key)),
            place,
            asked: Vec::new(),
            refused: Vec::new(),
            chosen_by: "kind",
            problems: &mut *self.problems,
        };
        let value = read(&mut inner);
        inner.finish();
        value
    }

    /// Reads each table of a list; an absent list is empty.
    pub(crate) fn each<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&mut Reader<'_>) -> T,
    ) -> Vec<T> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let path = self.path(key);
        let tables: Option<Vec<(&Table, Place)>> = match &entry.node.value {
            Value::Array(items) => {
                items.iter().map(|i| i.as_table().map(|t| (t, i.place.clone()))).collect()
            }
            _ => None,
        };
        let Some(tables) = tables else {
            let message = format!("`{path}` must be a list of tables");
            let help = format!("begin each of them with `[[{path}]]`");
            self.report(Diagnostic::error(entry.node.place.clone(), message).help(help));
            return Vec::new();
        };
        tables.into_iter().map(|(table, place)| self.inside(key, table, place, &mut read)).collect()
    }

    /// Reads each table of a section, by its name; an absent section is empty.
    pub(crate) fn named<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&mut Reader<'_>) -> T,
    ) -> Vec<(String, T)> {
        self.section(key, |r| {
            let names = r.table.entries().iter().map(|entry| entry.key.clone());
            let tables = names.collect::<Vec<_>>().into_iter();
            tables.map(|name| (name.clone(), r.section(&name, &mut read))).collect()
        })
    }

    /// Reports the keys that nothing asked for.
    pub(crate) fn finish(self) {
        #[cfg(test)]
        {
            let paths: Vec<String> = self.asked.iter().map(|key| self.path(key)).collect();
            self.problems.asked.extend(paths);
        }
        for entry in self.table.entries() {
            if self.asked.contains(&entry.key) {
                continue;
            }
            let path = self.path(&entry.key);
            let known = self.asked.iter().map(String::as_str);
            let removed = REMOVED.iter().find(|(key, _)| *key == path);
            let help = match (removed, nearest(&entry.key, known.clone())) {
                (Some((_, instead)), _) => (*instead).to_owned(),
                (None, Some(key)) => format!("did you mean `{}`?", self.path(key)),
                (None, None) => format!("known here: {}", known.collect::<Vec<_>>().join(", ")),
            };
            let message = format!("unknown key `{path}`");
            self.problems.push(Diagnostic::error(entry.place.clone(), message).help(help));
        }
    }
}
