//! A manifest as a tree whose every value remembers where it was written, and what may be laid
//! over it.
//!
//! Three things change a base manifest: a `[profile.NAME]`, the `--set path=value` arguments, and
//! the values of a sweep. All three are tables of the same shape as the base, laid over it by one
//! rule: tables merge, everything else replaces. A value keeps its [`Place`] through this, so a
//! mistake in a profile is reported in the profile.
//!
//! In `[sweep]`, paths are flattened before anything is laid over anything:
//! `"grid.steps" = [..]` and `grid.steps = [..]` name one axis, wherever each is written.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Place, Source};
use crate::limits;

/// Pairs of values that exclude each other: one laid over the manifest replaces the other.
const ONE_OF: [[&str; 2]; 3] = [
    ["budget.images", "budget.minutes"],
    ["solver.eta", "solver.variance"],
    ["grid.steps", "grid.calls"],
];

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where.
    pub place: Place,
    /// What.
    pub value: Value,
}

/// The kinds of value TOML has.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string.
    String(String),
    /// An integer.
    Integer(i64),
    /// A float.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A date or time, which no manifest needs.
    Datetime(toml::value::Datetime),
    /// A list.
    Array(Vec<Node>),
    /// A table.
    Table(Table),
    /// Nothing: laid over a value, it removes it (`--set solver.eta=`).
    Nothing,
}

/// A key of a table with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key was written.
    pub place: Place,
    /// Its value.
    pub node: Node,
}

/// Keys and values in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table(Vec<Entry>);

impl Node {
    /// The value as a reader of the manifest would name it.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::String(text) => format!("the string `{text}`"),
            Value::Array(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Integer(number) => format!("`{number}`"),
            Value::Float(number) => format!("`{number:?}`"),
            Value::Boolean(flag) => format!("`{flag}`"),
            Value::Datetime(date) => format!("the date `{date}`"),
            Value::Nothing => "an empty value".to_owned(),
        }
    }

    /// The number above a limit, if it is one or a list with one.
    pub(crate) fn beyond(&self, most: u64) -> Option<&Self> {
        let above = match &self.value {
            Value::Integer(number) => u64::try_from(*number).is_ok_and(|number| number > most),
            Value::Float(number) => *number > most as f64,
            Value::Array(items) => return items.iter().find_map(|item| item.beyond(most)),
            _ => false,
        };
        above.then_some(self)
    }

    /// The values in it, itself included.
    pub(crate) fn count(&self) -> usize {
        1 + match &self.value {
            Value::Array(items) => items.iter().map(Self::count).sum(),
            Value::Table(table) => table.count(),
            _ => 0,
        }
    }

    /// The table, if it is one.
    pub fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The tables of a list of tables, which a document writes as `[[sections]]`.
    fn as_tables(&self) -> Option<Vec<&Table>> {
        match &self.value {
            Value::Array(items) if !items.is_empty() => items.iter().map(Self::as_table).collect(),
            _ => None,
        }
    }

    /// The value as TOML. Numbers stay as they were written, because they name rows and columns.
    fn to_toml(&self) -> String {
        match &self.value {
            Value::String(text) => quoted(text),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(Self::to_toml).collect();
                format!("[{}]", items.join(", "))
            }
            _ => self.place.text().to_owned(),
        }
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Table {
    /// Reads a document; the problems are those of TOML's grammar.
    pub fn parse(source: &Arc<Source>) -> (Self, Vec<Diagnostic>) {
        Self::parse_from(source, 0)
    }

    /// Reads one `path=value` argument: TOML, a bare word that stands for a string, or nothing,
    /// which removes the value.
    ///
    /// # Errors
    /// If there is no `=`, or if either side is not what TOML allows there.
    pub fn parse_argument(index: usize, argument: &str) -> Result<Self, Vec<Diagnostic>> {
        const FLAG: &str = "--set ";
        let source = Source::argument(index, format!("{FLAG}{argument}"));
        let (mut table, problems) = Self::parse_from(&source, FLAG.len());
        if !problems.is_empty() {
            let Some((key, word)) = argument.split_once('=') else {
                let place = Place::new(&source, FLAG.len()..source.text().len());
                return Err(vec![
                    Diagnostic::error(place, "expected `path=value`")
                        .help("for instance `--set grid.steps=20`"),
                ]);
            };
            // `--set model.source=models/own` should not need quotes inside the shell's quotes; what
            // begins like a number, a list or a string was meant as one.
            let word = word.trim();
            let stand_in = format!("{key}=0");
            let keys = DeTable::parse_recoverable(&stand_in);
            let begun = |c: char| c.is_ascii_digit() || "[{\"'+-".contains(c);
            if word.starts_with(begun) || !keys.1.is_empty() {
                return Err(problems);
            }
            let end = source.text().trim_end().len();
            let place = Place::new(&source, end - word.len()..end);
            let mut ignored = Vec::new();
            table = convert(keys.0.get_ref(), &source, FLAG.len(), &mut ignored);
            let value = match word {
                "" => Value::Nothing,
                word => Value::String(word.to_owned()),
            };
            table.replace_leaf(&Node { place, value });
        }
        table.flatten_sweep();
        Ok(table)
    }

    fn parse_from(source: &Arc<Source>, offset: usize) -> (Self, Vec<Diagnostic>) {
        let (table, errors) = DeTable::parse_recoverable(&source.text()[offset..]);
        let mut problems: Vec<Diagnostic> = errors
            .iter()
            .map(|error| {
                let place = error.span().map_or_else(
                    || Place::whole(source),
                    |span| Place::new(source, span.start + offset..span.end + offset),
                );
                Diagnostic::error(place, format!("not valid TOML: {}", error.message()))
            })
            .collect();
        let table = convert(table.get_ref(), source, offset, &mut problems);
        (table, problems)
    }

    fn replace_leaf(&mut self, leaf: &Node) {
        for entry in &mut self.0 {
            match &mut entry.node.value {
                Value::Table(table) => table.replace_leaf(leaf),
                _ => entry.node = leaf.clone(),
            }
        }
    }

    /// The entries, in the order in which they were written.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    pub(super) fn entries_mut(&mut self) -> &mut [Entry] {
        &mut self.0
    }

    /// The entry of a key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.key == key)
    }

    /// The entry at a dotted path.
    pub fn lookup(&self, path: &str) -> Option<&Entry> {
        match path.split_once('.') {
            None => self.get(path),
            Some((head, rest)) => self.get(head)?.node.as_table()?.lookup(rest),
        }
    }

    /// Where the value at a dotted path was written; a default has the place of its section, or of
    /// the manifest as a whole.
    pub fn locate(&self, path: &str, whole: &Place) -> Place {
        if let Some(entry) = self.lookup(path) {
            return entry.node.place.clone();
        }
        let section = path.rsplit_once('.').and_then(|(section, _)| self.lookup(section));
        section.map_or_else(|| whole.clone(), |entry| entry.place.clone())
    }

    /// The values in it.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(|entry| entry.node.count()).sum()
    }

    /// The same without these entries.
    pub(crate) fn without(&self, keys: &[&str]) -> Self {
        let other = |entry: &&Entry| !keys.contains(&entry.key.as_str());
        Self(self.0.iter().filter(other).cloned().collect())
    }

    /// Removes an entry and returns it.
    pub fn take(&mut self, key: &str) -> Option<Entry> {
        let index = self.0.iter().position(|entry| entry.key == key)?;
        Some(self.0.remove(index))
    }

    /// Removes the value at a dotted path, if it is there.
    pub fn remove(&mut self, path: &str) {
        match path.split_once('.') {
            None => drop(self.take(path)),
            Some((head, rest)) => {
                let entry = self.0.iter_mut().find(|entry| entry.key == head);
                if let Some(Value::Table(table)) = entry.map(|entry| &mut entry.node.value) {
                    table.remove(rest);
                }
            }
        }
    }

    /// Turns the `remove = ["solution"]` of profiles into removals, which take effect when the profile is
    /// laid over the base. Returns what is wrong with such lists.
    pub fn remove_named(&mut self) -> Vec<Diagnostic> {
        let mut problems = vec![];
        for profile in &mut self.0 {
            let Value::Table(table) = &mut profile.node.value else { continue };
            let Some(entry) = table.take("remove") else { continue };
            let names = match &entry.node.value {
                Value::Array(items) => items.iter().map(|item| (item, &item.value)).collect(),
                _ => vec![(&entry.node, &Value::Nothing)],
            };
            for (node, value) in names {
                let Value::String(path) = value else {
                    let message = "`remove` must be a list of names";
                    let help = "what the profile does without: `remove = [\"solution\"]`";
                    problems.push(Diagnostic::error(node.place.clone(), message).help(help));
                    continue;
                };
                let nothing = Node { place: node.place.clone(), value: Value::Nothing };
                table.set(path, &node.place, &nothing);
            }
        }
        problems
    }

    /// Lays a profile or an argument over this manifest, as [`Table::overlay`] does. Of two values that
    /// exclude each other, the one that is given replaces the one in the manifest.
    ///
    /// If both are given, both are kept, for the reader to report.
    pub fn lay(&mut self, over: &Self) {
        let mut over = over.clone();
        let given = |path: &str| over.lookup(path).map(|entry| &entry.node.value);
        let is_value = |path: &str| given(path).is_some_and(|value| *value != Value::Nothing);
        let mut replaced = vec![];
        for [a, b] in ONE_OF {
            replaced.extend((is_value(a) && given(b).is_none()).then_some(b));
            replaced.extend((is_value(b) && given(a).is_none()).then_some(a));
        }
        // A cap on the weights of the loss of eps does not apply to another target.
        if let Some(Value::String(target)) = given("loss.target")
            && target != "eps"
            && given("loss.weight_cap").is_none()
        {
            replaced.push("loss.weight_cap");
        }
        // A list of timesteps says how many there are.
        if let Some(Value::Array(_)) = given("grid.tau") {
            replaced
                .extend(["grid.steps", "grid.calls"].into_iter().filter(|p| given(p).is_none()));
        }
        let mut removed = vec![];
        for [a, b] in ONE_OF {
            for (path, other) in [(a, b), (b, a)] {
                let gone = given(path) == Some(&Value::Nothing) && self.lookup(path).is_none();
                let replaced = self.lookup(other).is_some_and(|o| o.place.source().is_argument());
                removed.extend((gone && replaced).then_some(path));
            }
        }
        for path in removed {
            over.remove(path);
        }
        for path in replaced {
            if self.lookup(path).is_some_and(|entry| !entry.place.source().is_argument()) {
                self.remove(path);
            }
        }
        self.overlay(&over);
    }

    /// Lays a table over this one: tables merge, everything else replaces.
    pub fn overlay(&mut self, over: &Self) {
        for entry in &over.0 {
            let index = self.0.iter().position(|known| known.key == entry.key);
            match index.map(|index| (index, &mut self.0[index])) {
                // The removal of a value that is not there stays in the tree, for the reader to report.
                None => self.0.push(entry.clone()),
                Some((index, _)) if entry.node.value == Value::Nothing => {
                    self.0.remove(index);
                }
                Some((_, known)) => match (&mut known.node.value, &entry.node.value) {
                    (Value::Table(below), Value::Table(above)) => below.overlay(above),
                    _ => *known = entry.clone(),
                },
            }
        }
    }

    /// Sets the value at a dotted path.
    pub fn set(&mut self, path: &str, place: &Place, node: &Node) {
        let node = node.clone();
        let place = place.clone();
        match path.rsplit_once('.') {
            None => self.overlay(&Self(vec![Entry { key: path.to_owned(), place, node }])),
            Some((parent, key)) => {
                let leaf = Self(vec![Entry { key: key.to_owned(), place: place.clone(), node }]);
                let node = Node { place: place.clone(), value: Value::Table(leaf) };
                self.set(parent, &place, &node);
            }
        }
    }

    /// The dotted paths of all values that are not tables, with their entries.
    pub fn leaves(&self) -> Vec<(String, &Entry)> {
        let mut leaves = Vec::new();
        for entry in &self.0 {
            match entry.node.as_table() {
                None => leaves.push((entry.key.clone(), entry)),
                Some(table) => leaves.extend(
                    table
                        .leaves()
                        .into_iter()
                        .map(|(path, leaf)| (format!("{}.{path}", entry.key), leaf)),
                ),
            }
        }
        leaves
    }

    /// Writes every path below `[sweep]` as one key, in this table and in its profiles.
    pub fn flatten_sweep(&mut self) {
        for entry in &mut self.0 {
            let Value::Table(table) = &mut entry.node.value else { continue };
            match entry.key.as_str() {
                "sweep" => {
                    *table = table.flattened();
                    for axis in &mut table.0 {
                        let Value::Array(items) = &mut axis.node.value else { continue };
                        for item in items {
                            if let Value::Table(bundle) = &mut item.value {
                                *bundle = bundle.flattened();
                            }
                        }
                    }
                }
                "profile" => {
                    for profile in &mut table.0 {
                        if let Value::Table(table) = &mut profile.node.value {
                            table.flatten_sweep();
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn flattened(&self) -> Self {
        let flat = |(key, leaf): (String, &Entry)| Entry {
            key,
            place: leaf.place.clone(),
            node: leaf.node.clone(),
        };
        Self(self.leaves().into_iter().map(flat).collect())
    }

    /// The document that parses to this table.
    pub fn to_toml(&self) -> String {
        let mut lines = Vec::new();
        self.write_toml("", &mut lines);
        lines.push(String::new());
        lines.join("\n")
    }

    fn write_toml(&self, path: &str, lines: &mut Vec<String>) {
        let is_section = |node: &Node| node.as_table().is_some() || node.as_tables().is_some();
        let (sections, values): (Vec<&Entry>, Vec<&Entry>) =
            self.0.iter().partition(|entry| is_section(&entry.node));
        for Entry { key, node, .. } in values {
            lines.push(format!("{} = {}", key_to_toml(key), node.to_toml()));
        }
        for Entry { key, node, .. } in sections {
            let dot = if path.is_empty() { "" } else { "." };
            let path = format!("{path}{dot}{}", key_to_toml(key));
            if let Some(table) = node.as_table() {
                lines.extend([String::new(), format!("[{path}]")]);
                table.write_toml(&path, lines);
            }
            for table in node.as_tables().into_iter().flatten() {
                lines.extend([String::new(), format!("[[{path}]]")]);
                table.write_toml(&path, lines);
            }
        }
    }
}

fn key_to_toml(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { quoted(key) }
}

/// Copies TOML's own spanned tree into ours, whose values may come from several texts.
fn convert(
    table: &DeTable<'_>,
    source: &Arc<Source>,
    offset: usize,
    problems: &mut Vec<Diagnostic>,
) -> Table {
    let place =
        |span: std::ops::Range<usize>| Place::new(source, span.start + offset..span.end + offset);
    if table.len() > limits::KEYS {
        let message = format!("a section of {} keys", limits::grouped(table.len() as u64));
        let place = table.iter().next().map_or(0..0, |(key, _)| key.span());
        let place = Place::new(source, place.start + offset..place.end + offset);
        let most = limits::grouped(limits::KEYS as u64);
        problems.push(Diagnostic::error(place, message).help(format!("it may have {most}")));
        return Table::default();
    }
    let entries = table.iter().map(|(key, value)| Entry {
        key: key.get_ref().to_string(),
        place: place(key.span()),
        node: convert_value(value.get_ref(), place(value.span()), offset, problems),
    });
    Table(entries.collect())
}

/// A whole number that TOML has no place for.
pub(crate) fn out_of_range(place: Place) -> Diagnostic {
    let message = format!("`{}` is too large or too small", place.text());
    Diagnostic::error(place, message).help("whole numbers lie between -2^63 and 2^63 - 1")
}

fn convert_value(
    value: &DeValue<'_>,
    place: Place,
    offset: usize,
    problems: &mut Vec<Diagnostic>,
) -> Node {
    let source = Arc::clone(place.source());
    let value = match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(date) => Value::Datetime(*date),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(
                |_| {
                    problems.push(out_of_range(place.clone()));
                    Value::Integer(0)
                },
                Value::Integer,
            ),
        // Every float of TOML's grammar is one of Rust's; NaN makes the reader refuse it.
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Array(items) => {
            let convert_item = |item: &toml::Spanned<DeValue<'_>>| {
                let span = item.span();
                let place = Place::new(&source, span.start + offset..span.end + offset);
                convert_value(item.get_ref(), place, offset, problems)
            };
            Value::Array(items.iter().map(convert_item).collect())
        }
        DeValue::Table(table) => Value::Table(convert(table, &source, offset, problems)),
    };
    Node { place, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Table {
        let (mut table, problems) = Table::parse(&Source::file("a.toml", text));
        assert_eq!(problems, []);
        table.flatten_sweep();
        table
    }

    #[test]
    fn keys_keep_the_order_of_the_file() {
        let table = parse("z = 1\na = 2\n[m]\nc = 3\nb = 4\n");
        let paths: Vec<String> = table.leaves().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["z", "a", "m.c", "m.b"]);
    }

    #[test]
    fn an_overlay_merges_tables_replaces_values_and_keeps_places() {
        let mut base = parse("[model]\nsource = \"a\"\nclip_x0 = false\n");
        base.overlay(&parse("[model]\nsource = 'other'\n"));
        assert_eq!(base.lookup("model.source").unwrap().node.place.text(), "'other'");
        assert_eq!(base.lookup("model.clip_x0").unwrap().node.value, Value::Boolean(false));
    }

    #[test]
    fn a_quoted_and_a_bare_path_name_the_same_axis() {
        let mut base = parse("[sweep]\n\"grid.steps\" = [10, 20]\n");
        base.overlay(&Table::parse_argument(0, "sweep.grid.steps=[5]").unwrap());
        let sweep = base.get("sweep").unwrap().node.as_table().unwrap();
        assert_eq!(sweep.entries().len(), 1);
        assert_eq!(sweep.entries()[0].node.place.text(), "[5]");
    }

    #[test]
    fn an_argument_is_toml_or_a_bare_word() {
        let number = Table::parse_argument(0, "grid.steps=20").unwrap();
        assert_eq!(number.lookup("grid.steps").unwrap().node.value, Value::Integer(20));
        let word = Table::parse_argument(1, "model.source=hf:owner/name").unwrap();
        let node = &word.lookup("model.source").unwrap().node;
        assert_eq!(node.value, Value::String("hf:owner/name".to_owned()));
        assert_eq!(node.place.text(), "hf:owner/name");
    }

    #[test]
    fn an_argument_without_a_value_removes_what_is_there() {
        let mut base = parse("[solver]\nkind = \"heun\"\neta = 0.5\n");
        base.overlay(&Table::parse_argument(0, "solver.eta=").unwrap());
        assert_eq!(base.lookup("solver.eta"), None);
        assert!(base.lookup("solver.kind").is_some());
    }

    #[test]
    fn a_table_written_out_parses_to_the_same_values_with_the_same_digits() {
        let text = "a = 1e-4\nb = 0x10\n\n[s]\n\"x.y\" = [1_0, [2.50], []]\n\n[[s.c]]\nd = \"é\\n\"\n\n[[s.c]]\n";
        let table = parse(text);
        let again = table.to_toml();
        assert!(again.starts_with("a = 1e-4\nb = 0x10\n\n[s]\n\"x.y\" = [1_0, [2.50], []]\n"));
        assert_eq!(parse(&again).to_toml(), again);
        let node = &parse(&again).lookup("s.c").unwrap().node.clone();
        let tables = node.as_tables().unwrap();
        assert_eq!(tables[0].get("d").unwrap().node.value, Value::String("é\n".to_owned()));
        assert_eq!(tables.len(), 2);
    }

    #[test]
    fn setting_a_path_creates_the_tables_on_the_way() {
        let mut table = Table::default();
        let source = Source::file("a.toml", "5");
        let place = Place::new(&source, 0..1);
        table.set("a.b.c", &place, &Node { place: place.clone(), value: Value::Integer(5) });
        assert_eq!(table.lookup("a.b.c").unwrap().node.value, Value::Integer(5));
    }
}
