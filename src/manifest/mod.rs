//! From a manifest's text to a [`Plan`], or to every problem it has.
//!
//! There are two layers, as in ripgrep's arguments. [`Manifest`] is the low one: TOML that parsed and
//! is not checked further. [`Plan`] is the high one: names known, numbers in range, cells enumerated.
//! Between them, [`Manifest::plan`] lays the profile, the `--set` arguments and each cell's values over
//! the base, and reads each resulting tree leaf by leaf.
//!
//! All profiles are read, whichever is asked for, so that a manifest is right or wrong as a whole.
//! Whatever needs the file system or a model is checked by `run/assemble`, which reports at the same
//! places through [`Cell::locate`].

mod argument;
pub(crate) mod cell;
pub mod keys;
pub mod overlay;
pub(crate) mod presentation;
pub(crate) mod reader;
mod renamed;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics, Place, Source, suggest};
use crate::limits;
use crate::manifest::overlay::Table;
use crate::networks::placement::Precision;
use crate::plan::stated::StatedBy;
use crate::plan::{Axis, Cell, MetricsSpec, Places, Plan, outline::Outline};
pub use argument::{Argument, Given};
use presentation::Labels;
use reader::Problems;
use sweep::SweepAxis;

/// Problems after which no further cell is read.
const MOST_PROBLEMS: usize = 10_000;

/// The names that depend on the program and the machine: the solvers that a program knows, and the
/// models on a machine.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// Solvers, with those of `eta`, `variance` that they have.
    pub solvers: Vec<Kind>,
    /// Methods that solve the probability-flow ODE: deterministic solvers, and `exact`.
    pub solutions: Vec<Kind>,
    /// The models that a bare name can mean, with the path of each; absent if every name is accepted.
    pub weights: Option<BTreeMap<String, String>>,
    /// Reads what a model's folder says about it; absent if no folder is read.
    pub stated: Option<StatedBy>,
    /// The precision of a model that has one of its own; absent if no model is read.
    pub precision: Option<PrecisionOf>,
}

/// What a vocabulary asks about a model: the precision that it was compiled for, if it was.
pub type PrecisionOf = fn(&str) -> Option<Precision>;

/// A name, and the keys of its section that mean something to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    /// The name.
    pub name: String,
    /// The keys; any other is an error, because it would have no effect.
    pub keys: Vec<&'static str>,
    /// The eta of a solver that has one, if the manifest gives none.
    pub default_eta: f64,
    /// Whether it samples with the variance that a network predicts: its default, of a model that says so.
    pub learns: bool,
    /// Whether it draws categories, and so belongs to a categorical model.
    pub categorical: bool,
    /// Further numbers of a solver's section, with their defaults.
    pub options: Vec<(&'static str, f64)>,
    /// What can be switched on in a solver's section. A switch that is off does not appear in a cell's
    /// JSON, so that a new one leaves old keys unchanged.
    pub switches: Vec<&'static str>,
}

impl Kind {
    /// A name with its keys.
    pub fn new(name: impl Into<String>, keys: &[&'static str]) -> Self {
        Self {
            name: name.into(),
            keys: keys.to_vec(),
            default_eta: 0.0,
            learns: false,
            categorical: false,
            options: vec![],
            switches: vec![],
        }
    }

    /// The same with numbers of its own.
    #[must_use]
    pub fn with_options(mut self, options: &[(&'static str, f64)]) -> Self {
        self.keys.extend(options.iter().map(|(key, _)| key));
        self.options = options.to_vec();
        self
    }

    /// The same with something to switch on.
    #[must_use]
    pub fn with_switches(mut self, switches: &[&'static str]) -> Self {
        self.keys.extend(switches);
        self.switches = switches.to_vec();
        self
    }

    /// The same with another eta where the manifest gives none.
    #[must_use]
    pub fn with_default_eta(self, default_eta: f64) -> Self {
        Self { default_eta, ..self }
    }
}

fn known_names(kinds: &[Kind]) -> impl Iterator<Item = &str> + Clone {
    kinds.iter().map(|kind| kind.name.as_str())
}

/// A manifest that is valid TOML.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub(crate) source: Arc<Source>,
    pub(crate) base: Table,
    pub(crate) profiles: Table,
    /// Whether a section has the old name of the reference solution.
    renamed: bool,
}

impl Manifest {
    /// Parses the text of a manifest; `name` is what problems call it, usually its path.
    ///
    /// # Errors
    /// The text is not TOML, or `profile` is not a table of tables.
    pub fn parse(name: impl Into<String>, text: impl Into<String>) -> Result<Self, Diagnostics> {
        let source = Source::file(name, text);
        let (mut base, mut problems) = Table::parse(&source);
        if problems.is_empty() {
            base.flatten_sweep();
        }
        let renamed = base.rename_truth(&mut problems);
        let mut profiles = Table::default();
        if let Some(entry) = base.take("profile") {
            match entry.node.as_table() {
                None => problems.push(not_a_profile(&entry.node.place)),
                Some(table) => profiles = table.clone(),
            }
        }
        problems.extend(profiles.remove_named());
        for profile in profiles.entries() {
            match profile.node.as_table() {
                None => problems.push(not_a_profile(&profile.node.place)),
                Some(table) => problems.extend(table.get("profile").map(|entry| {
                    Diagnostic::error(entry.place.clone(), "a profile inside a profile")
                        .help("each profile is laid over the base: `[profile.NAME]`")
                })),
            }
        }
        if problems.is_empty() {
            Ok(Self { source, base, profiles, renamed })
        } else {
            Err(Diagnostics::new(problems))
        }
    }

    /// The same without the values that these arguments replace, as they would replace defaults.
    ///
    /// A new solver, model or schedule drops the numbers of the old one. Arguments that cannot be read
    /// are left for [`Manifest::plan`] to refuse.
    #[must_use]
    pub fn giving_way_to(mut self, arguments: &[Argument]) -> Self {
        let mut given = Table::default();
        for argument in arguments {
            given.overlay(&argument.table(0).unwrap_or_default());
        }
        let value = |tree: &Table, path: &str| Some(tree.lookup(path)?.node.value.clone());
        let changes = |path: &str| {
            given.lookup(path).is_some() && value(&given, path) != value(&self.base, path)
        };
        let mut gone: Vec<String> = [
            ("grid.rho", changes("grid.tau")),
            ("schedule.beta_start", changes("schedule.kind")),
            ("schedule.beta_end", changes("schedule.kind")),
        ]
        .into_iter()
        .filter(|(_, goes)| *goes)
        .map(|(path, _)| path.to_owned())
        .collect();
        for (section, chosen_by, kept) in [
            ("solver", "kind", &["kind", "inversion", "iterations"][..]),
            ("model", "source", &["source"]),
        ] {
            let table = self.base.get(section).and_then(|entry| entry.node.as_table());
            if let (Some(table), true) = (table, changes(&format!("{section}.{chosen_by}"))) {
                let keys = table.entries().iter().map(|entry| entry.key.as_str());
                let own = keys.filter(|key| !kept.contains(key));
                gone.extend(own.map(|key| format!("{section}.{key}")));
            }
        }
        for path in gone {
            self.base.remove(&path);
        }
        self
    }

    /// The names of its profiles, in file order.
    pub fn profiles(&self) -> impl Iterator<Item = &str> {
        self.profiles.entries().iter().map(|entry| entry.key.as_str())
    }

    /// Reads the manifest under a profile and with arguments laid over it.
    ///
    /// # Errors
    /// Every problem of the manifest, its other profiles included, and of the arguments.
    pub fn plan(
        &self,
        profile: Option<&str>,
        arguments: &[Argument],
        vocabulary: &Vocabulary,
    ) -> Result<Plan, Diagnostics> {
        let mut problems = Problems::default();
        let overlays = self.overlays(profile, arguments, &mut problems);
        let labels = self.labels(&overlays);
        let plan = self.under_every_profile(profile, &overlays, &mut problems, |over, problems| {
            self.read(over, Some(&labels), vocabulary, problems)
        });
        if problems.list.is_empty() {
            let text = self.as_run(profile, arguments, &overlays);
            let renamed = self.renamed || problems.renamed;
            let remarks = renamed.then(|| renamed::REMARK.to_owned()).into_iter().collect();
            Ok(Plan { profile: profile.map(str::to_owned), text, remarks, ..plan })
        } else {
            Err(Diagnostics::new(problems.list))
        }
    }

    /// Reads the manifest that a run left in its folder: labels that claims and plots name may be
    /// those of axes that an argument replaced, and weights need not be on this machine.
    ///
    /// # Errors
    /// As [`Manifest::plan`].
    pub fn plan_of_run(&self, vocabulary: &Vocabulary) -> Result<Plan, Diagnostics> {
        let mut problems = Problems::default();
        let any = Vocabulary { weights: None, ..vocabulary.clone() };
        let plan = self.read(&[], None, &any, &mut problems);
        if problems.list.is_empty() {
            Ok(Plan { text: self.source.text().to_owned(), ..plan })
        } else {
            Err(Diagnostics::new(problems.list))
        }
    }

    /// Reads only how this manifest shows results, into the outline of a run.
    ///
    /// # Errors
    /// Every problem of `[table]`, `[paper]`, `[[claim]]` and `[[plot]]`.
    pub fn show(&self, mut outline: Outline) -> Result<Outline, Diagnostics> {
        let (mut problems, whole) = (Problems::default(), Place::whole(&self.source));
        let columns = Some(&*outline.columns);
        let shown = presentation::read(&self.base, &whole, None, columns, &[], &mut problems);
        if !problems.list.is_empty() {
            return Err(Diagnostics::new(problems.list));
        }
        (outline.table, outline.paper) = (shown.table, shown.paper);
        (outline.claims, outline.plots) = (shown.claims, shown.plots);
        self.source.text().clone_into(&mut outline.text);
        Ok(outline)
    }

    /// What is laid over the base: the profile, then the arguments.
    pub(crate) fn overlays(
        &self,
        profile: Option<&str>,
        arguments: &[Argument],
        problems: &mut Problems,
    ) -> Vec<Table> {
        let mut overlays = Vec::new();
        if let Some(name) = profile {
            match self.profile(name) {
                Some(table) => overlays.push(table.clone()),
                None => problems.push(self.unknown_profile(name)),
            }
        }
        for (index, argument) in arguments.iter().enumerate() {
            match argument.table(index + 1) {
                Ok(mut table) => {
                    problems.renamed |= table.rename_truth(&mut problems.list);
                    if let Some(entry) = table.get("profile") {
                        let message = "an argument cannot change a profile";
                        problems.push(
                            Diagnostic::error(entry.place.clone(), message)
                                .help("set the value itself: arguments are laid over the profile"),
                        );
                    }
                    overlays.push(table);
                }
                Err(errors) => problems.list.extend(errors),
            }
        }
        overlays
    }

    /// Reads under the profile that was asked for, and under the others only for their problems and
    /// without the arguments.
    pub(crate) fn under_every_profile<T>(
        &self,
        profile: Option<&str>,
        overlays: &[Table],
        problems: &mut Problems,
        read: impl Fn(&[Table], &mut Problems) -> T,
    ) -> T {
        let asked_for = read(overlays, problems);
        for other in std::iter::once(None).chain(self.profiles().map(Some)) {
            if other == profile {
                continue;
            }
            let overlay: Vec<Table> =
                other.and_then(|name| self.profile(name)).cloned().into_iter().collect();
            problems.incomplete = false;
            problems.note = Some(other.map_or_else(
                || "found without a profile".to_owned(),
                |name| format!("found under `--profile {name}`"),
            ));
            read(&overlay, problems);
        }
        asked_for
    }

    fn profile(&self, name: &str) -> Option<&Table> {
        self.profiles.get(name)?.node.as_table()
    }

    fn unknown_profile(&self, name: &str) -> Diagnostic {
        const FLAG: &str = "--profile ";
        let argument = Source::argument(0, format!("{FLAG}{name}"));
        let place = Place::new(&argument, FLAG.len()..argument.text().len());
        let help = match self.profiles().next() {
            None => format!("{} has no profiles", self.source.name()),
            Some(_) => suggest(name, self.profiles()),
        };
        Diagnostic::error(place, format!("there is no profile `{name}`")).help(help)
    }

    /// Every label of every axis, in the base and in all profiles.
    fn labels(&self, overlays: &[Table]) -> Labels {
        let profiles = self.profiles.entries().iter().filter_map(|entry| entry.node.as_table());
        let mut labels = Labels::new();
        let mut trees = vec![self.base.clone(), self.laid_over(overlays)];
        trees.extend(profiles.map(|profile| self.laid_over(std::slice::from_ref(profile))));
        for tree in trees {
            for axis in sweep::read_axes(&tree, &mut Problems::default()) {
                let known = labels.entry(axis.name).or_default();
                let mut seen: BTreeSet<String> = known.iter().cloned().collect();
                for point in axis.points {
                    if seen.insert(point.label.clone()) {
                        known.push(point.label);
                    }
                }
            }
        }
        labels
    }

    pub(crate) fn laid_over(&self, overlays: &[Table]) -> Table {
        let mut tree = self.base.clone();
        for over in overlays {
            tree.lay(over);
        }
        tree
    }

    fn read(
        &self,
        overlays: &[Table],
        labels: Option<&Labels>,
        vocabulary: &Vocabulary,
        problems: &mut Problems,
    ) -> Plan {
        let tree = self.laid_over(overlays);
        let whole = Place::whole(&self.source);
        let axes = Arc::new(sweep::read_axes(&tree, problems));
        report_without_effect(overlays, &axes, problems);
        // What all cells share is not theirs, and a sweep may be long.
        let base = Arc::new(tree.without(&cell::SHARED));
        let mut combinations = sweep::combinations(&axes, problems);
        problems.cells += combinations.len();
        let values = combinations.len().saturating_mul(base.count());
        let too_many = if problems.cells > limits::CELLS_OF_ALL_PROFILES {
            let (count, most) = (problems.cells, limits::CELLS_OF_ALL_PROFILES);
            Some((format!("the manifest has {count} cells and more under its profiles"), most))
        } else if values > limits::VALUES_OF_ALL_CELLS {
            let message = format!("the cells of the sweep have {values} values together");
            Some((message, limits::VALUES_OF_ALL_CELLS))
        } else {
            None
        };
        if let Some((message, most)) = too_many {
            let help = format!("at most {most} are accepted; split the experiment");
            let place =
                tree.get("sweep").map_or_else(|| whole.clone(), |entry| entry.place.clone());
            problems.push(Diagnostic::error(place, message).help(help));
            combinations.clear();
        }
        let mut cells: Vec<Cell> = Vec::with_capacity(combinations.len());
        for (index, values) in combinations.into_iter().enumerate() {
            // Mistakes enough; those of further cells would be the same or too many to read.
            if problems.list.len() > MOST_PROBLEMS {
                break;
            }
            let tree = sweep::cell_tree(&base, &axes, &values);
            let cell::ReadCell { spec, stated, remarks } =
                cell::read(&tree, &whole, vocabulary, problems);
            let params = axes
                .iter()
                .zip(&values)
                .map(|(axis, &value)| (axis.name.clone(), axis.points[value].label.clone()))
                .collect();
            let (whole, base, axes) = (whole.clone(), Arc::clone(&base), Arc::clone(&axes));
            let places = Places::new(move |path| {
                sweep::cell_tree(&base, &axes, &values).locate(path, &whole)
            });
            cells.push(Cell { index, params, spec, stated, remarks, places });
        }
        // A cell with problems is full of stand-ins, which resemble each other.
        if problems.list.is_empty() {
            report_duplicates(&axes, &cells, problems);
        }
        report_uneven_metrics(&cells, problems);
        let metrics = cells.iter().find_map(|cell| cell.spec.metrics.as_ref());
        let columns = metrics.map(MetricsSpec::columns);
        let show = presentation::read(&tree, &whole, labels, columns.as_deref(), &cells, problems);
        Plan {
            name: show.name,
            profile: None,
            axes: axes
                .iter()
                .map(|axis| Axis {
                    name: axis.name.clone(),
                    labels: axis.points.iter().map(|point| point.label.clone()).collect(),
                })
                .collect(),
            cells,
            table: show.table,
            paper: show.paper,
            claims: show.claims,
            plots: show.plots,
            text: String::new(),
            remarks: vec![],
        }
    }

    /// The text that gives the same plan without a profile or arguments.
    pub(crate) fn as_run(
        &self,
        profile: Option<&str>,
        arguments: &[Argument],
        overlays: &[Table],
    ) -> String {
        if overlays.is_empty() {
            return self.source.text().to_owned();
        }
        // The opening comment is the question and the expected answer: it outlives the overlay.
        let opening = self.source.text().lines().take_while(|line| line.starts_with('#'));
        let mut command = format!("# As run: {}", self.source.name());
        let profile = profile.map(|name| format!("--profile {name}"));
        for word in profile.into_iter().chain(arguments.iter().map(ToString::to_string)) {
            command = format!("{command} {}", word.replace('\n', " "));
        }
        let mut lines: Vec<&str> = opening.collect();
        lines.extend(["#", &command, "\n"]);
        let mut text = lines.join("\n");
        text.push_str(&self.laid_over(overlays).to_toml());
        text
    }
}

fn not_a_profile(place: &Place) -> Diagnostic {
    Diagnostic::error(place.clone(), "a profile must be a table")
        .help("write it as sections: `[profile.NAME]`, `[profile.NAME.model]`")
}

/// Reports a profile or an argument that sets what the sweep sets in every cell, and so has no effect.
fn report_without_effect(overlays: &[Table], axes: &[SweepAxis], problems: &mut Problems) {
    let set: Vec<_> = axes.iter().map(|axis| (axis, axis.always_sets())).collect();
    for (path, entry) in overlays.iter().flat_map(Table::leaves) {
        let Some((axis, _)) = set.iter().find(|(_, paths)| paths.contains(path.as_str())) else {
            continue;
        };
        problems.push(
            Diagnostic::error(
                entry.place.clone(),
                format!("`{path}` has no effect: the sweep sets it in every cell"),
            )
            .also(axis.place.clone(), "set by this axis")
            .help(format!("change the axis instead: `sweep.{}`", axis.name)),
        );
    }
}

/// The columns of `metrics.csv` are the same for every row.
fn report_uneven_metrics(cells: &[Cell], problems: &mut Problems) {
    let mut measured = cells.iter().filter_map(|cell| Some((cell, cell.spec.metrics.as_ref()?)));
    let Some((_, first)) = measured.next() else { return };
    for (cell, metrics) in measured {
        let differs = [
            ("metrics.features", metrics.features != first.features),
            ("metrics.measures", metrics.measures != first.measures),
            ("metrics.also", metrics.also != first.also),
        ];
        if let Some((path, _)) = differs.into_iter().find(|(_, differs)| *differs) {
            let message = format!("the sweep changes `{path}`");
            let help = "every cell is measured alike; compare networks by `[metrics.also.NAME]`";
            problems.push(Diagnostic::error(cell.locate(path), message).help(help));
            return;
        }
    }
}

fn report_duplicates(axes: &[SweepAxis], cells: &[Cell], problems: &mut Problems) {
    let mut seen: BTreeMap<String, &Cell> = BTreeMap::new();
    for cell in cells {
        let key = cell.spec.key(&BTreeMap::new());
        let Some(&first) = seen.get(&key) else {
            seen.insert(key, cell);
            continue;
        };
        // The axis on which the two differ; the same pair repeats along the other axes.
        let differs = (0..axes.len()).rev().find(|&i| cell.params[i] != first.params[i]);
        let Some(axis) = differs else { continue };
        let place = |cell: &Cell| {
            let label = &cell.params[axis].1;
            axes[axis].points.iter().find(|point| point.label == *label).map(|p| p.place.clone())
        };
        let (Some(here), Some(there)) = (place(cell), place(first)) else { continue };
        let message = format!(
            "`{}` and `{}` of the axis `{}` mean the same cell",
            first.params[axis].1, cell.params[axis].1, axes[axis].name
        );
        problems.push(
            Diagnostic::error(here, message)
                .also(there, "the first")
                .help("remove one: they would give the same numbers"),
        );
    }
}
