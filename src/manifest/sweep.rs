//! `[sweep]`: its axes, and the trees of its cells.

use crate::diagnostic::{Diagnostic, Place};
use crate::manifest::cell::SHARED;
use crate::manifest::overlay::{Entry, Node, Table, Value};
use crate::manifest::reader::Problems;
use crate::manifest::renamed::renamed;

/// More cells than this are a mistake, not a plan.
pub(crate) const MOST_CELLS: usize = 10_000;

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

impl SweepAxis {
    /// Whether every value of the axis sets this path.
    pub(crate) fn always_sets(&self, path: &str) -> bool {
        self.points.iter().all(|point| point.sets.iter().any(|(set, ..)| set == path))
    }

    fn sets(&self, path: &str) -> bool {
        self.points.iter().any(|point| point.sets.iter().any(|(set, ..)| set == path))
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
    let mut axes: Vec<SweepAxis> = Vec::new();
    for entry in table.entries() {
        let Some(axis) = read_axis(entry, problems) else {
            problems.incomplete = true;
            continue;
        };
        check_labels(&axis, problems);
        for (path, first) in collisions(&axes, &axis) {
            let message = format!("two axes of the sweep set `{path}`");
            problems.push(
                Diagnostic::error(axis.place.clone(), message)
                    .also(first, "the other axis")
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
    for (index, point) in axis.points.iter().enumerate() {
        let earlier = axis.points[..index].iter().find(|earlier| earlier.label == point.label);
        if let Some(earlier) = earlier.filter(|earlier| !earlier.label.is_empty()) {
            let message =
                format!("the axis `{}` has two entries called `{}`", axis.name, point.label);
            problems.push(
                Diagnostic::error(point.place.clone(), message)
                    .also(earlier.place.clone(), "the first")
                    .help("labels name the rows and columns of the table: make them different"),
            );
        }
    }
}

fn collisions(axes: &[SweepAxis], axis: &SweepAxis) -> Vec<(String, Place)> {
    let mut paths: Vec<&str> =
        axis.points.iter().flat_map(|p| p.sets.iter().map(|(path, ..)| path.as_str())).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
        .into_iter()
        .filter_map(|path| {
            let other = axes.iter().find(|other| other.sets(path))?;
            Some((path.to_owned(), other.place.clone()))
        })
        .collect()
}

/// Which value of each axis a cell takes; the last axis changes fastest.
///
/// If the product is too large, this gives as many cells as the longest axis has values, so that every
/// value is read once.
pub(crate) fn combinations(axes: &[SweepAxis], problems: &mut Problems) -> Vec<Vec<usize>> {
    let lengths: Vec<usize> = axes.iter().map(|axis| axis.points.len()).collect();
    let count = lengths.iter().fold(1_u128, |count, &length| count.saturating_mul(length as u128));
    if count > MOST_CELLS as u128 {
        let factors: Vec<String> = lengths.iter().map(ToString::to_string).collect();
        let message = format!("the sweep has {count} cells ({})", factors.join(" x "));
        if let Some(axis) = axes.last() {
            problems.push(
                Diagnostic::error(axis.place.clone(), message)
                    .help(format!("at most {MOST_CELLS} are accepted; split the experiment")),
            );
        }
        let longest = lengths.iter().copied().max().unwrap_or(0);
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
