//! What is wrong, where it was written, and what to do about it.
//!
//! A [`Place`] is a stretch of a [`Source`]: the manifest, or one `--set` argument. Values keep
//! their place through every overlay, so that a problem is shown where the value was written, not
//! where it was used. All problems are collected before any is reported: a sweep that runs overnight
//! should report every mistake before it starts.

mod peers;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// A text that values are read from.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Problems of the manifest (0) are shown before those of the arguments (1, 2, ...).
    order: usize,
    name: String,
    text: String,
}

impl Source {
    /// The manifest, under the name it is shown with.
    pub fn file(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { order: 0, name: name.into(), text: text.into() })
    }

    /// The `index`-th argument of the command line, shown in full.
    pub fn argument(index: usize, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { order: index + 1, name: "command line".to_owned(), text: text.into() })
    }

    /// The name it is shown with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is an argument of the command line rather than a manifest.
    pub fn is_argument(&self) -> bool {
        self.order > 0
    }
}

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    source: Arc<Source>,
    span: Option<Range<usize>>,
}

impl Place {
    /// A range of bytes of a source.
    pub fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        Self { source: Arc::clone(source), span: Some(span) }
    }

    /// A whole source: the place of anything missing from it.
    pub fn whole(source: &Arc<Source>) -> Self {
        Self { source: Arc::clone(source), span: None }
    }

    /// The text written there; empty for a whole source.
    pub fn text(&self) -> &str {
        self.span.clone().and_then(|span| self.source.text.get(span)).unwrap_or_default()
    }

    /// The source it lies in.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    fn sort_key(&self) -> (usize, usize) {
        (self.source.order, self.span.as_ref().map_or(0, |span| span.start))
    }
}

/// One problem, with its place and a remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    place: Place,
    message: String,
    also: Vec<(Place, String)>,
    notes: Vec<String>,
    help: Option<String>,
}

impl Diagnostic {
    /// A problem at a place.
    pub fn error(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), also: Vec::new(), notes: Vec::new(), help: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds why it is a problem, or in which case.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Marks a second place that the problem involves.
    #[must_use]
    pub fn also(mut self, place: Place, label: impl Into<String>) -> Self {
        self.also.push((place, label.into()));
        self
    }

    /// The sentence without its place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    fn group(&self) -> Group<'_> {
        let mut group = Group::with_title(Level::ERROR.primary_title(&self.message));
        let Some(span) = &self.place.span else {
            return self.footer(group.element(Origin::path(self.place.source.name())));
        };
        let mut snippet = Snippet::source(self.place.source.text())
            .path(self.place.source.name())
            .annotation(AnnotationKind::Primary.span(span.clone()));
        let mut elsewhere = Vec::new();
        for (place, label) in &self.also {
            let Some(span) = &place.span else { continue };
            let annotation = AnnotationKind::Context.span(span.clone()).label(label);
            if place.source == self.place.source {
                snippet = snippet.annotation(annotation);
            } else {
                elsewhere.push(
                    Snippet::source(place.source.text())
                        .path(place.source.name())
                        .annotation(annotation),
                );
            }
        }
        group = group.element(snippet).elements(elsewhere);
        self.footer(group)
    }

    fn footer<'a>(&'a self, mut group: Group<'a>) -> Group<'a> {
        for note in &self.notes {
            group = group.element(Level::NOTE.message(note));
        }
        match &self.help {
            Some(help) => group.element(Level::HELP.message(help)),
            None => group,
        }
    }
}

/// More problems than anyone reads at once.
const MOST_SHOWN: usize = 100;

/// All problems found, in the order in which they were written; its `Display` is plain text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Sorts by place and drops repetitions: a wrong value that many cells share is one problem.
    pub fn new(problems: Vec<Diagnostic>) -> Self {
        let mut known = BTreeSet::new();
        let mut unique: Vec<Diagnostic> = Vec::new();
        for problem in problems {
            let end = problem.place.span.as_ref().map(|span| span.end);
            if known.insert((problem.place.sort_key(), end, problem.message.clone())) {
                unique.push(problem);
            }
        }
        unique.sort_by_key(|problem| problem.place.sort_key());
        Self(unique)
    }

    /// The problems.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The report, each problem with file, line, column and caret; `styled` for a terminal.
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let shown = self.0.iter().take(MOST_SHOWN);
        let mut reports: Vec<String> =
            shown.map(|problem| renderer.render(&[problem.group()])).collect();
        if let Some(more) = self.0.len().checked_sub(MOST_SHOWN).filter(|more| *more > 0) {
            reports.push(format!("and {more} more problems"));
        }
        reports.join("\n\n")
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The known name nearest to a mistyped one, if one is near: a third of its letters may differ.
///
/// Numbers have no neighbours: 100 is not a misspelling of 10.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = name.chars().count();
    if length < 3 || !name.contains(char::is_alphabetic) {
        return None;
    }
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= length / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The name here for what other libraries call it, the nearest name, or else the list of known names.
pub fn suggest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(sentence) = peers::meant(name, &known) {
        return sentence;
    }
    match nearest(name, known.iter().copied()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None if known.is_empty() => "there are no names of this kind here".to_owned(),
        None => format!("known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let known = ["steps", "tau", "end", "rho"];
        assert_eq!(nearest("setps", known), Some("steps"));
        assert_eq!(nearest("step", known), Some("steps"));
        assert_eq!(nearest("quality", known), None);
        assert_eq!(nearest("100", ["10", "1000"]), None);
    }

    #[test]
    fn problems_come_in_the_order_of_the_text_and_only_once() {
        let file = Source::file("a.toml", "one two");
        let second = Diagnostic::error(Place::new(&file, 4..7), "second");
        let first = Diagnostic::error(Place::new(&file, 0..3), "first");
        let all = Diagnostics::new(vec![second.clone(), first, second]);
        let messages: Vec<&str> = all.iter().map(Diagnostic::message).collect();
        assert_eq!(messages, ["first", "second"]);
    }

    #[test]
    fn a_second_place_is_shown_beside_the_first_or_in_its_own_source() {
        let file = Source::file("a.toml", "eta = 1.0\n");
        let argument = Source::argument(0, "--set variance=learned");
        let problem = Diagnostic::error(Place::new(&argument, 15..22), "both are given")
            .also(Place::new(&file, 6..9), "given here")
            .help("remove one");
        insta::assert_snapshot!(Diagnostics::new(vec![problem]), @r"
        error: both are given
         --> command line:1:16
          |
        1 | --set variance=learned
          |                ^^^^^^^
          |
         ::: a.toml:1:7
          |
        1 | eta = 1.0
          |       --- given here
          |
          = help: remove one
        ");
    }
}
