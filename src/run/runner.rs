//! Runs the cells of a plan, and writes after every one of them.
//!
//! A cell's samples are drawn batch by batch and reduced to the numbers that its instruments read.
//! Those of an unfinished cell are appended to a file after every batch: an interrupted
//! run continues at the next batch and ends with the same bytes, because noise is keyed by sample.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use crate::networks::reading::Remark;
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    error::{Error, Result},
    hardware::Hardware,
    measure::features::Extractors,
    plan::{Cell, Inversion, MetricsSpec, Plan, Task, outline::FILE},
    report::{
        html,
        overview::{Show, columns},
    },
    results::{
        folder::{MANIFEST, PROVENANCE, strip_path},
        leftovers,
        partial::Partial,
        provenance::Provenance,
        record::{Columns, Status, read_csv},
        sink::{Planned, Sink},
    },
    run::{
        assemble::{Models, NUMERICS, Route, instruments},
        job::{self, Job, Limits},
        outline,
        registry::Registry,
        tasks::Pictures,
    },
    terminal::progress::{Mode, Progress},
};

/// What a run needs besides its plan.
pub struct Options<'a> {
    /// The solvers that the plan may name.
    pub registry: &'a Registry,
    /// The results folder.
    pub folder: PathBuf,
    /// The device and its threads.
    pub hardware: Hardware,
    /// The bar, lines or silence.
    pub progress: Mode,
    /// 1: what was read and how each cell went; 2: also every value of each cell.
    pub verbose: u8,
    /// Whether the folder was chosen for this run: it may then replace the rows of other cells, which
    /// are kept in `metrics.csv.bak`.
    pub chosen: bool,
    /// Whether finished cells are measured again, and files of cells that no longer exist deleted.
    pub fresh: bool,
    /// Set by Ctrl-C.
    pub interrupted: &'a AtomicBool,
}

/// Checks everything about a plan that needs no model, and reports all problems at once.
///
/// # Errors
/// Grids that cannot be built or that a solver does not admit, and files that do not exist.
pub fn check(plan: &Plan, registry: &Registry) -> Result<Vec<Route>> {
    check_with(plan, registry, &mut Pictures::default())
}

/// As [`check`]; the pictures it reads are kept for the run.
fn check_with(plan: &Plan, registry: &Registry, pictures: &mut Pictures) -> Result<Vec<Route>> {
    let encodes = |cell: &&Cell| matches!(cell.spec.task, Task::Reconstruct(_));
    let inverts = plan.cells.iter().filter(|cell| !encodes(cell));
    let inverts = inverts.filter(|cell| cell.spec.solver.inversion != Inversion::Current);
    let ignored = inverts.map(|cell| {
        let message = "`solver.inversion` has no effect: this experiment encodes no images";
        Diagnostic::error(cell.locate("solver.inversion"), message)
            .help("it is for `ddim encode`, `reconstruct` and `interpolate`: remove it")
    });
    check_and_also(plan, registry, pictures, ignored.collect())
}

/// Checks a plan whose cells encode images.
///
/// # Errors
/// As [`check`], except that a convention of inversion is allowed.
pub fn check_encoding(plan: &Plan, registry: &Registry) -> Result<Vec<Route>> {
    check_and_also(plan, registry, &mut Pictures::default(), vec![])
}

fn check_and_also(
    plan: &Plan,
    registry: &Registry,
    pictures: &mut Pictures,
    mut problems: Vec<Diagnostic>,
) -> Result<Vec<Route>> {
    let mut routes = vec![];
    for cell in &plan.cells {
        if let Err(error) = pictures.of(&cell.spec) {
            let place = cell.locate("images.source");
            problems.push(Diagnostic::error(place, error.to_string()));
        }
        match Route::of(cell, registry) {
            Ok(route) => routes.push(route),
            Err(problem) => problems.push(*problem),
        }
        problems.extend(crate::run::assemble::missing_files(cell));
    }
    // A file that every cell needs is one problem.
    let mut seen = std::collections::BTreeSet::new();
    problems.retain(|problem| seen.insert(Diagnostics::new(vec![problem.clone()]).render(false)));
    if problems.is_empty() { Ok(routes) } else { Err(Error::Manifest(Diagnostics::new(problems))) }
}

/// Runs what is not yet done of a plan, and returns the table and the claims for a terminal.
///
/// # Errors
/// Problems of the manifest, weights or reference; a folder that cannot be written; an
/// interruption. Cells that diverge are rows, not errors.
pub fn run(plan: &Plan, options: &Options<'_>) -> Result<String> {
    let mut pictures = Pictures::default();
    let routes = check_with(plan, options.registry, &mut pictures)?;
    if options.progress != crate::terminal::progress::Mode::Quiet {
        pictures.notes().for_each(|note| eprintln!("{note}"));
    }
    let mut models = Models::new(options.hardware.clone(), options.registry);
    let mut extractors = Extractors::new(options.hardware.clone());
    let (planned, all_inputs) =
        planned(plan, &mut models, &mut extractors, &mut pictures, &options.hardware)?;
    say_remarks(plan, &mut models, options)?;
    if options.verbose > 0 {
        say_read(plan, &mut models, &mut extractors, &mut pictures, &options.hardware)?;
    }
    let outline = outline::outline(plan, &routes);
    let columns = Columns {
        axes: plan.axes.iter().map(|axis| axis.name.clone()).collect(),
        metrics: columns(&outline),
    };
    if !(options.chosen || options.fresh) {
        refuse_to_replace(&options.folder, &planned)?;
    }
    let tracked = tracked(&options.folder);
    let open = if options.fresh { Sink::fresh } else { Sink::open };
    let mut sink = open(options.folder.clone(), columns, planned.clone())?;
    let show = Show::new(&outline);
    if options.fresh {
        remove_leftovers(options, &planned, &show)?;
    }
    sink.write(MANIFEST, plan.text.as_bytes())?;
    sink.write(FILE, outline.json().as_bytes())?;

    let todo: Vec<usize> =
        (0..plan.cells.len()).filter(|&cell| sink.finished(cell).is_none()).collect();
    let cost = |cell: usize| plan.cells[cell].spec.samples as u64 * routes[cell].calls;
    let progress = Progress::new(todo.iter().map(|&cell| cost(cell)).sum(), options.progress);
    for line in said_at_start(&sink, (todo.len(), plan.cells.len()), tracked) {
        progress.line(&line);
    }
    progress.table(&show.terminal(&sink.records()));
    let provenance = (!todo.is_empty()).then(|| begin(plan, options, all_inputs, &planned, &sink));
    let provenance = RefCell::new(provenance);
    let mut limits = Limits::default();
    let mut pace = Pace::default();
    for (done, &index) in todo.iter().enumerate() {
        let cell = &plan.cells[index];
        models.want_solutions(&later_solutions(&routes, &todo[done + 1..]));
        progress.cell(&describe(cell, &routes[index]));
        let instruments = instruments(&cell.spec, &mut extractors)?;
        let key = &planned[index].key;
        let note = |line: String| keep_note(&provenance, &sink, key, line);
        let job = Job {
            cell,
            route: &routes[index],
            key,
            sampler: models.sampler(&cell.spec)?,
            limit: limits.of(cell),
            instruments,
            extractors: &extractors,
            images: pictures.of(&cell.spec)?,
            folder: &options.folder,
            progress: &progress,
            interrupted: options.interrupted,
            note: &note,
            noted: RefCell::default(),
        };
        let outcome = job.timed(&options.hardware);
        if matches!(outcome, Err(Error::Interrupted)) {
            progress.finish();
            pace.catch_up(|| show_so_far(&show, &sink, options))?;
        }
        let (record, timing) = outcome?;
        if options.verbose > 0 {
            progress.line(&timing.line(record.status));
        }
        if options.verbose > 1 {
            progress.line(&format!("     {}", cell.spec.canonical_json()));
        }
        sink.append(index, &record, timing)?;
        pace.keep(|| {
            progress.table(&show.terminal(&sink.records()));
            show_so_far(&show, &sink, options)
        })?;
    }
    progress.finish();
    let strips: Vec<PathBuf> =
        planned.iter().map(|cell| strip_path(&options.folder, &cell.key)).collect();
    for (index, (cell, path)) in plan.cells.iter().zip(&strips).enumerate() {
        if sink.finished(index).is_none_or(|record| record.status != Status::Diverged) {
            let (limit, images) = (limits.of(cell), pictures.of(&cell.spec)?);
            let room = (&*limit, options.interrupted);
            job::draw_strip(cell, path, &mut models, images.as_deref(), room)?;
        }
    }
    if let Some(provenance) = provenance.into_inner() {
        sink.write(PROVENANCE, &provenance.finished().json())?;
    }
    draw(&show, &sink, &strips)?;
    html::write(&outline::read(&options.folder, options.registry)?, &options.folder)?;
    Ok(show.summary(&sink.records()))
}

/// When tables and the report are written: not after every cell where many short ones end in a row, for
/// both have a row for each.
#[derive(Default)]
struct Pace {
    last: Option<(Instant, Duration)>,
    behind: bool,
}

impl Pace {
    /// How much longer computing takes than showing what was computed.
    const FACTOR: u32 = 10;

    /// Shows a cell's end, if it is time.
    fn keep(&mut self, show: impl FnOnce() -> Result<()>) -> Result<()> {
        let due = self.last.is_none_or(|(end, took)| end.elapsed() >= Self::FACTOR * took);
        self.behind = !due;
        if due {
            let begin = Instant::now();
            show()?;
            self.last = Some((Instant::now(), begin.elapsed()));
        }
        Ok(())
    }

    /// Shows what is not shown yet.
    fn catch_up(&mut self, show: impl FnOnce() -> Result<()>) -> Result<()> {
        if std::mem::take(&mut self.behind) { show() } else { Ok(()) }
    }
}

/// Writes the tables and the report.
fn show_so_far(show: &Show<'_>, sink: &Sink, options: &Options<'_>) -> Result<()> {
    show.write_tables(sink)?;
    html::write(&outline::read(&options.folder, options.registry)?, &options.folder)
}

/// The keys of the reference solutions that some cells ask for.
fn later_solutions(routes: &[Route], cells: &[usize]) -> BTreeSet<String> {
    let keys = cells.iter().filter_map(|&cell| routes[cell].solution.as_ref());
    keys.map(|(key, _)| key.clone()).collect()
}

/// Removes what the run before left of cells that there are no longer.
fn remove_leftovers(options: &Options<'_>, planned: &[Planned], show: &Show<'_>) -> Result<()> {
    let last = outline::last(&options.folder, options.registry);
    let before = last.map(|last| Show::new(&last).names());
    Ok(leftovers::remove(&options.folder, planned, &before.unwrap_or_default(), &show.names())?)
}

/// Keeps a note on a cell in the folder, at once: the run may end at any moment.
fn keep_note(
    provenance: &RefCell<Option<Provenance>>,
    sink: &Sink,
    key: &str,
    line: String,
) -> Result<()> {
    let mut provenance = provenance.borrow_mut();
    let Some(provenance) = &mut *provenance else { return Ok(()) };
    provenance.note_smaller(key, line);
    Ok(sink.write(PROVENANCE, &provenance.clone().finished().json())?)
}

/// What is known when a run begins, and about the cells that are there already.
fn begin(
    plan: &Plan,
    options: &Options<'_>,
    inputs: BTreeMap<String, String>,
    planned: &[Planned],
    sink: &Sink,
) -> Provenance {
    let Options { hardware, folder, .. } = options;
    let here = Provenance::here(hardware.name(), hardware.threads(), inputs).of(plan);
    let is_kept = |key: &str| {
        planned.iter().enumerate().any(|(index, cell)| {
            let begun = || Partial::path(folder, &cell.key).exists();
            cell.key.starts_with(key) && (sink.finished(index).is_some() || begun())
        })
    };
    here.after(folder, is_kept)
}

/// Draws the tables, the plots and the sheets of samples.
fn draw(show: &Show<'_>, sink: &Sink, strips: &[PathBuf]) -> Result<()> {
    show.write_tables(sink)?;
    show.write_plots(sink)?;
    for (name, bytes) in show.draw_sheets(|cell| strips.get(cell.index).cloned())? {
        sink.write(&name, &bytes)?;
    }
    Ok(())
}

/// Refuses a folder with finished cells that this run does not have, unless it was chosen for this run.
fn refuse_to_replace(folder: &Path, planned: &[Planned]) -> Result<()> {
    let path = folder.join("metrics.csv");
    if !path.exists() {
        return Ok(());
    }
    let (_, rows) = read_csv(&path)?;
    let is_planned = |key: &str| planned.iter().any(|cell| cell.key == key);
    let others = rows.iter().filter(|(_, record)| !is_planned(&record.key)).count();
    if others == 0 {
        return Ok(());
    }
    let shown = folder.display();
    let numbers = 2_u32..;
    let free = numbers.map(|n| format!("{shown}-{n}")).find(|name| !Path::new(name).exists());
    Err(Error::input(format!(
        "{shown} holds {others} finished {} with other settings, which this run would replace. Use \
         --out {} for another folder, --fresh to measure everything again, or --out {shown} to keep \
         the cells that both have; the other rows go to metrics.csv.bak",
        if others == 1 { "cell" } else { "cells" },
        free.unwrap_or_default()
    )))
}

/// How many files of a folder git tracks.
fn tracked(folder: &Path) -> usize {
    if !folder.is_dir() {
        return 0;
    }
    let git = std::process::Command::new("git").arg("-C").arg(folder).arg("ls-files").output();
    let listed = git.ok().filter(|output| output.status.success());
    listed.map_or(0, |output| output.stdout.split(|&byte| byte == b'\n').count().saturating_sub(1))
}

/// What is finished already, and what is replaced.
fn said_at_start(sink: &Sink, (todo, cells): (usize, usize), tracked: usize) -> Vec<String> {
    let folder = sink.folder().display();
    let finished = cells - todo;
    let drawn = if todo == 0 { "; tables and plots drawn again" } else { "" };
    let mut lines = vec![];
    if finished > 0 {
        lines.push(format!("{finished} of {cells} cells already finished{drawn}"));
    }
    if sink.dropped() > 0 {
        let rows = sink.dropped();
        lines.push(format!("{folder}: {rows} rows of other cells are in metrics.csv.bak"));
    }
    if tracked > 0 && (todo > 0 || sink.dropped() > 0) {
        lines.push(format!(
            "{folder} is under version control: `git restore {folder}` undoes what this run overwrites"
        ));
    }
    lines
}

/// `grid.steps=20 variance=eta = 0.5  20 calls x 256`
pub fn describe(cell: &Cell, route: &Route) -> String {
    let params: Vec<String> =
        cell.params.iter().map(|(axis, label)| format!("{axis}: {label}")).collect();
    let place = if params.is_empty() { "one cell".to_owned() } else { params.join("  ") };
    format!("#{:02}  {place}  {} calls x {}", cell.index, route.calls, cell.spec.samples)
}

/// Prints once for each model how it was read: warnings unless `--quiet`, the rest with `-v`.
fn say_remarks(plan: &Plan, models: &mut Models<'_>, options: &Options<'_>) -> Result<()> {
    let mut said = BTreeSet::new();
    for cell in &plan.cells {
        let source = &cell.spec.model.source;
        for Remark { text, warning } in models.remarks(&cell.spec)? {
            let wanted =
                if warning { options.progress != Mode::Quiet } else { options.verbose > 0 };
            let label = if warning { "warning: " } else { "" };
            let line = format!("{label}{source}: {text}");
            if wanted && said.insert(line.clone()) {
                eprintln!("{line}");
            }
        }
    }
    Ok(())
}

/// Prints the hash of each file once.
fn say_read(
    plan: &Plan,
    models: &mut Models<'_>,
    extractors: &mut Extractors,
    pictures: &mut Pictures,
    hardware: &Hardware,
) -> Result<()> {
    let mut said = BTreeSet::new();
    for cell in &plan.cells {
        let inputs = inputs(cell, models, extractors, pictures, hardware)?;
        let networks = cell.spec.metrics.iter().flat_map(MetricsSpec::networks);
        let files = networks.flat_map(|(at, features, reference)| {
            let reference = reference.map(|reference| (format!("{at}reference"), reference));
            [(format!("{at}features"), features)].into_iter().chain(reference)
        });
        let weights = ("weights".to_owned(), cell.spec.model.source.as_str());
        for (role, source) in [weights].into_iter().chain(files) {
            if let Some(hash) = inputs.get(&role) {
                let line = format!("read {role} {source} {hash}");
                if said.insert(line.clone()) {
                    eprintln!("{line}");
                }
            }
        }
    }
    Ok(())
}

/// The cells with their keys, and the hashes behind all of them, by role.
///
/// # Errors
/// Weights, an extractor or a reference that cannot be read.
pub fn planned(
    plan: &Plan,
    models: &mut Models<'_>,
    extractors: &mut Extractors,
    pictures: &mut Pictures,
    hardware: &Hardware,
) -> Result<(Vec<Planned>, BTreeMap<String, String>)> {
    let mut all_inputs = BTreeMap::new();
    let mut planned = vec![];
    for cell in &plan.cells {
        let inputs = inputs(cell, models, extractors, pictures, hardware)?;
        planned.push(Planned { key: cell.spec.key(&inputs), params: cell.params.clone() });
        all_inputs.extend(inputs);
        let package = models.package_sha256(&cell.spec)?;
        all_inputs.extend(package.map(|hash| ("package".to_owned(), hash)));
    }
    Ok((planned, all_inputs))
}

/// The hashes that belong in a cell's key, by role.
fn inputs(
    cell: &Cell,
    models: &mut Models<'_>,
    extractors: &mut Extractors,
    pictures: &mut Pictures,
    hardware: &Hardware,
) -> Result<BTreeMap<String, String>> {
    let mut inputs = BTreeMap::from([
        ("numerics".to_owned(), NUMERICS.to_owned()),
        ("device".to_owned(), hardware.name()),
    ]);
    if let Some(hash) = models.weights_sha256(&cell.spec)? {
        inputs.insert("weights".to_owned(), hash);
    }
    inputs.extend(extractors.hashes(&cell.spec)?);
    if let Some(images) = pictures.of(&cell.spec)? {
        inputs.insert("images".to_owned(), images.sha256.clone());
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_to_show_is_shown_less_often_and_at_the_latest_in_the_end() {
        let shown = std::cell::Cell::new(0);
        let show = || {
            shown.set(shown.get() + 1);
            Ok(())
        };
        let mut pace = Pace::default();
        pace.keep(show).unwrap();
        pace.catch_up(show).unwrap();
        assert_eq!(shown.get(), 1, "the first is shown, and nothing is left");
        pace.last = Some((Instant::now(), Duration::from_secs(3600)));
        pace.keep(show).unwrap();
        assert_eq!(shown.get(), 1);
        pace.catch_up(show).unwrap();
        pace.catch_up(show).unwrap();
        assert_eq!(shown.get(), 2, "once");
        pace.last = Some((Instant::now(), Duration::ZERO));
        pace.keep(show).unwrap();
        assert_eq!(shown.get(), 3);
        pace.last = None;
        let error = || Err(Error::Interrupted);
        assert!(pace.keep(error).is_err());
    }
}
