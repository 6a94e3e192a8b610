//! `[sweep]`: its axes, and the trees of its cells.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::{Diagnostic, Place};
use crate::limits;
use crate::manifest::cell::SHARED;
use crate::manifest::overlay::{Entry, Node, Table, Value};
use crate::manifest::reader::Problems;
use crate::manifest::renamed::renamed;

/// One axis with what each of its values sets.
#[derive(Debug)]
pub(crate) struct SweepAxis {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) points: Vec<Point>,
}

/// One value of an axis.
#[derive(Debug)]
pub(crate) struct Point {
    pub(crate) label: String,
    pub(crate) place: Place,
    sets: Vec<(String, Place, Node)>,
}

impl Point {
    /// The paths that it sets.
    fn paths(&self) -> BTreeSet<&str> {
        self.sets.iter().map(|(path, ..)| path.as_str()).collect()
    }
}

impl SweepAxis {
    /// The paths that every value of the axis sets.
    pub(crate) fn always_sets(&self) -> BTreeSet<&str> {
        let mut points = self.points.iter().map(Point::paths);
        let first = points.next().unwrap_or_default();
        points.fold(first, |all, of_point| &all & &of_point)
    }
}

/// The axes in file order; unusable ones are reported and left out.
pub(crate) fn read_axes(tree: &Table, problems: &mut Problems) -> Vec<SweepAxis> {
    let Some(entry) = tree.get("sweep") else { return Vec::new() };
    let Some(table) = entry.node.as_table() else {
        let message = format!("`sweep` must be a table, not {}", entry.node.describe());
        problems.push(
            Diagnostic::error(entry.node.place.clone(), message)
                .help("each axis is a line of it: `\"grid.steps\" = [10, 20, 50]`"),
        );
        return Vec::new();
    };
    if table.entries().len() > limits::AXES {
        let message = format!("the sweep has {} axes", table.entries().len());
        let help = format!("at most {} are accepted", limits::AXES);
        problems.push(Diagnostic::error(entry.place.clone(), message).help(help));
        problems.incomplete = true;
        return Vec::new();
    }
    let mut axes: Vec<SweepAxis> = Vec::new();
    let mut set: BTreeMap<String, Place> = BTreeMap::new();
    for entry in table.entries() {
        let Some(axis) = read_axis(entry, problems) else {
            problems.incomplete = true;
            continue;
        };
        check_labels(&axis, problems);
        for path in axis.points.iter().flat_map(Point::paths).collect::<BTreeSet<&str>>() {
            let Some(first) = set.get(path) else {
                set.insert(path.to_owned(), axis.place.clone());
                continue;
            };
            let message = format!("two axes of the sweep set `{path}`");
            problems.push(
                Diagnostic::error(axis.place.clone(), message)
                    .also(first.clone(), "the other axis")
                    .help("put both into one axis of bundles, each with a `label`"),
            );
        }
        axes.push(axis);
    }
    axes
}

/// An axis without its unusable values; none if no value is left.
fn read_axis(entry: &Entry, problems: &mut Problems) -> Option<SweepAxis> {
    let name = &entry.key;
    let mut refuse = |message: String, help: &str| {
        problems.push(Diagnostic::error(entry.node.place.clone(), message).help(help));
        None
    };
    let Value::Array(items) = &entry.node.value else {
        let message = format!("the axis `{name}` must be a list, not {}", entry.node.describe());
        return refuse(message, &format!("write the values it takes: `\"{name}\" = [..]`"));
    };
    if items.is_empty() {
        let message = format!("the axis `{name}` has no values");
        return refuse(message, "remove the axis, or list at least one value");
    }
    let bundles = items.iter().filter(|item| item.as_table().is_some()).count();
    if bundles > 0 && bundles < items.len() {
        let message = format!("the axis `{name}` mixes values and tables");
        return refuse(message, "list values for one path, or tables that each have a `label`");
    }
    let path = renamed(name).filter(|_| bundles == 0);
    problems.renamed |= path.is_some();
    let path = path.unwrap_or_else(|| name.clone());
    let mut points: Vec<Point> = items
        .iter()
        .map(|item| match item.as_table() {
            Some(table) => read_bundle(name, item, table, problems),
            None => Point {
                label: label_of(item),
                place: item.place.clone(),
                sets: vec![(path.clone(), entry.place.clone(), item.clone())],
            },
        })
        .collect();
    for point in &mut points {
        point.sets.retain(|(path, place, _)| {
            let head = path.split('.').next().unwrap_or(path);
            let shared = SHARED.contains(&head);
            if shared {
                let message = format!("a sweep cannot set `{path}`");
                problems.push(
                    Diagnostic::error(place.clone(), message)
                        .help(format!("`{head}` is the same for every cell")),
                );
            }
            !shared
        });
    }
    Some(SweepAxis { name: name.clone(), place: entry.place.clone(), points })
}

fn read_bundle(name: &str, item: &Node, table: &Table, problems: &mut Problems) -> Point {
    let label = match table.get("label").map(|entry| &entry.node) {
        Some(Node { value: Value::String(label), .. }) => label.clone(),
        other => {
            let (place, message) = match other {
                Some(node) => (
                    &node.place,
                    format!(
                        "a label of the axis `{name}` must be a string, not {}",
                        node.describe()
                    ),
                ),
                None => (&item.place, format!("an entry of the axis `{name}` has no label")),
            };
            problems.push(
                Diagnostic::error(place.clone(), message)
                    .help("what the table and the plots should call it: `label = \"eta = 0.2\"`"),
            );
            String::new()
        }
    };
    let sets = table
        .entries()
        .iter()
        .filter(|entry| entry.key != "label")
        .map(|entry| (entry.key.clone(), entry.place.clone(), entry.node.clone()))
        .collect();
    Point { label, place: item.place.clone(), sets }
}

/// A value as it was written, strings without their quotes.
fn label_of(node: &Node) -> String {
    match &node.value {
        Value::String(text) => text.clone(),
        _ => node.place.text().split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

fn check_labels(axis: &SweepAxis, problems: &mut Problems) {
    let mut seen: BTreeMap<&str, &Point> = BTreeMap::new();
    for point in axis.points.iter().filter(|point| !point.label.is_empty()) {
        if let Some(earlier) = seen.get(point.label.as_str()) {
            let message =
                format!("the axis `{}` has two entries called `{}`", axis.name, point.label);
            problems.push(
                Diagnostic::error(point.place.clone(), message)
                    .also(earlier.place.clone(), "the first")
                    .help("labels name the rows and columns of the table: make them different"),
            );
        } else {
            seen.insert(&point.label, point);
        }
    }
}

/// Which value of each axis a cell takes; the last axis changes fastest.
///
/// If the product is too large, this gives as many cells as the longest axis has values, so that every
/// value is read once, or none if that is too many as well.
pub(crate) fn combinations(axes: &[SweepAxis], problems: &mut Problems) -> Vec<Vec<usize>> {
    let lengths: Vec<usize> = axes.iter().map(|axis| axis.points.len()).collect();
    let count = lengths.iter().fold(1_u128, |count, &length| count.saturating_mul(length as u128));
    let most = limits::CELLS;
    if count > most as u128 {
        let factors: Vec<String> = lengths.iter().map(ToString::to_string).collect();
        let message = format!("the sweep has {count} cells ({})", factors.join(" x "));
        if let Some(axis) = axes.last() {
            problems.push(
                Diagnostic::error(axis.place.clone(), message)
                    .help(format!("at most {most} are accepted; split the experiment")),
            );
        }
        let longest = lengths.iter().copied().max().filter(|longest| *longest <= most).unwrap_or(0);
        return (0..longest).map(|i| lengths.iter().map(|length| i % length).collect()).collect();
    }
    let mut cells = vec![Vec::new()];
    for length in lengths {
        cells = cells
            .into_iter()
            .flat_map(|cell: Vec<usize>| {
                (0..length).map(move |value| [cell.as_slice(), &[value]].concat())
            })
            .collect();
    }
    cells
}

/// The tree of one cell: the base with its values laid over it, and without the sweep.
pub(crate) fn cell_tree(base: &Table, axes: &[SweepAxis], values: &[usize]) -> Table {
    let mut tree = base.clone();
    for (axis, &value) in axes.iter().zip(values) {
        for (path, place, node) in &axis.points[value].sets {
            tree.set(path, place, node);
        }
    }
    tree
}
