//! Runs the cells of a plan, and writes after every one of them.
//!
//! A cell's samples are drawn batch by batch and reduced to the numbers that its instruments read.
//! Those of an unfinished cell are appended to a file after every batch: an interrupted
//! run continues at the next batch and ends with the same bytes, because noise is keyed by sample.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    error::{Error, Result},
    hardware::Hardware,
    plan::{
        Cell, Inversion, Plan, Task,
        outline::{FILE, Outline},
    },
    report::{html, overview::Show},
    results::{
        folder::{MANIFEST, PROVENANCE, strip_path},
        leftovers,
        partial::{self, Partial},
        provenance::Provenance,
        record::{Record, Status, read_csv},
        shard::Shard,
        sink::{Planned, Sink, Timing},
    },
    run::{
        assemble::{Route, instruments},
        job::{self, is_divergence},
        outline,
        pace::Pace,
        prepared::{Prepared, Stock, later_solutions, layout},
        registry::Registry,
        standing::Standing,
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
pub(super) fn check_with(
    plan: &Plan,
    registry: &Registry,
    pictures: &mut Pictures,
) -> Result<Vec<Route>> {
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
/// As [`check`], except that a convention of inversion is allowed, and categories are not.
pub fn check_encoding(plan: &Plan, registry: &Registry) -> Result<Vec<Route>> {
    let categorical = plan.cells.iter().filter(|cell| cell.spec.model.is_categorical());
    let refused = categorical.map(|cell| {
        let message =
            "the samples of `categorical` are no images, and there is no way back from them";
        Diagnostic::error(cell.locate("model.source"), message)
            .help("`ddim sample` and `ddim run` draw them")
    });
    check_and_also(plan, registry, &mut Pictures::default(), refused.collect())
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

/// Runs what is not yet done of a plan, and returns the table and the claims for a terminal. Batches that
/// shards have drawn count.
///
/// # Errors
/// Problems of the manifest, weights or reference; a folder that cannot be written; an
/// interruption. Cells that diverge are rows, not errors.
pub fn run(plan: &Plan, options: &Options<'_>) -> Result<String> {
    let mut prepared = Prepared::new(plan, options)?;
    prepared.say(plan, options)?;
    finish(plan, options, prepared, true)
}

/// Makes the results of a plan from what its shards have drawn, as [`run`] does, and draws nothing;
/// `command` is what computes what a shard lacks.
///
/// # Errors
/// As [`run`], and samples that no shard has drawn yet.
pub fn merge(
    plan: &Plan,
    options: &Options<'_>,
    command: &dyn Fn(Option<Shard>) -> String,
) -> Result<String> {
    let mut prepared = Prepared::new(plan, options)?;
    let standing = Standing::read(plan, &mut prepared, &options.folder)?;
    if let Some(missing) = standing.refusal(command) {
        return Err(Error::Failed(missing));
    }
    finish(plan, options, prepared, false)
}

fn finish(
    plan: &Plan,
    options: &Options<'_>,
    prepared: Prepared<'_>,
    computes: bool,
) -> Result<String> {
    let Prepared { routes, mut stock, planned, inputs, outline, columns } = prepared;
    let folder = &options.folder;
    if !(options.chosen || options.fresh) {
        refuse_to_replace(folder, &planned)?;
    }
    let tracked = tracked(folder);
    let open = if options.fresh { Sink::fresh } else { Sink::open };
    let mut sink = open(folder.clone(), columns, planned.clone())?;
    let show = Show::new(&outline);
    if options.fresh {
        remove_leftovers(options, &planned, &show)?;
    }
    write_plan(&sink, plan, &outline)?;
    remove_partials(&sink, &planned)?;

    let todo: Vec<usize> =
        (0..plan.cells.len()).filter(|&cell| sink.finished(cell).is_none()).collect();
    let cost = |cell: usize| plan.cells[cell].spec.samples as u64 * routes[cell].calls;
    let progress = Progress::new(todo.iter().map(|&cell| cost(cell)).sum(), options.progress);
    for line in said_at_start(&sink, (todo.len(), plan.cells.len()), tracked) {
        progress.line(&line);
    }
    progress.table(&show.terminal(&sink.records()));
    let provenance = (!todo.is_empty()).then(|| begin(plan, options, inputs, &planned, &sink));
    let (provenance, lines) = provenance.unzip();
    for line in lines.iter().flatten() {
        progress.line(&format!("note: {line}"));
    }
    let provenance = RefCell::new(provenance);
    let mut pace = Pace::default();
    for (done, &index) in todo.iter().enumerate() {
        let (cell, route, key) = (&plan.cells[index], &routes[index], &planned[index].key);
        stock.models.want_solutions(&later_solutions(&routes, &todo[done + 1..]));
        progress.cell(&describe(cell, route));
        let note = |note: Note| keep_note(&provenance, &sink, key, note);
        let row = row(cell, route, &mut stock, (options, &progress), (key, &note));
        let row = row.inspect_err(|_| progress.finish());
        if matches!(row, Err(Error::Interrupted)) {
            pace.catch_up(|| show_so_far(&show, &sink, options))?;
        }
        let (record, timing) = row?;
        if options.verbose > 0 {
            progress.line(&timing.line(record.status));
        }
        if options.verbose > 1 {
            progress.line(&format!("     {}", cell.spec.canonical_json()));
        }
        let again = (plan, &outline, &progress);
        kept(&mut sink, again, |sink| {
            sink.append(index, &record, timing.clone())?;
            // Only now: at any moment, the rows are in one of the two.
            partial::remove(folder, key)?;
            pace.keep(|| {
                progress.table(&show.terminal(&sink.records()));
                show_so_far(&show, sink, options)
            })
        })?;
    }
    progress.finish();
    let strips: Vec<PathBuf> = planned.iter().map(|cell| strip_path(folder, &cell.key)).collect();
    for (index, (cell, path)) in plan.cells.iter().zip(&strips).enumerate().filter(|_| computes) {
        if sink.finished(index).is_none_or(|record| record.status != Status::Diverged) {
            stock.restore_strip(cell, path, options.interrupted)?;
        }
    }
    let provenance = provenance.into_inner().map(|provenance| provenance.finished().json());
    leftovers::remove_shards(folder)?;
    kept(&mut sink, (plan, &outline, &progress), |sink| {
        if let Some(json) = &provenance {
            sink.write(PROVENANCE, json)?;
        }
        draw(&show, sink, &strips)?;
        html::write(&outline::read(folder, options.registry)?, folder)
    })?;
    Ok(show.summary(&sink.records()))
}

/// Draws what is missing of a cell, and reduces its samples' numbers to a row.
fn row(
    cell: &Cell,
    route: &Route,
    stock: &mut Stock<'_>,
    (options, progress): (&Options<'_>, &Progress),
    (key, note): (&str, &dyn Fn(Note) -> Result<()>),
) -> Result<(Record, Timing)> {
    let clock = Instant::now();
    let instruments = instruments(&cell.spec, &mut stock.extractors)?;
    let layout = layout(cell, key, &instruments);
    let mut partial = Partial::open(&options.folder, layout, None)?;
    for remark in partial.rows().remarks() {
        progress.line(&format!("warning: {remark}"));
    }
    let missing = partial.rows().missing(0..layout.batches());
    let lacks: usize = missing.iter().map(ExactSizeIterator::len).sum();
    progress.skip((layout.samples - lacks) as u64 * route.calls);
    let before = partial.rows().work().seconds;
    let mut diverged = partial.rows().diverged().map(str::to_owned);
    if diverged.is_none() && !missing.is_empty() {
        let smaller = |line| note(Note::Smaller(line));
        let (told, named) = ((options, progress), (key, &smaller as _));
        diverged = stock.draw(cell, &instruments, &mut partial, &missing, told, named)?;
    }
    let rows = partial.rows();
    let kept = diverged.is_none().then_some(rows);
    let record = match job::record(cell, route, key, kept, &instruments) {
        Err(error) if is_divergence(&error) => {
            diverged = Some(error.to_string());
            job::record(cell, route, key, None, &instruments)?
        }
        record => record?,
    };
    if let Some(text) = diverged {
        progress.line(&said_of(cell, &text));
        note(Note::Diverged(text))?;
    }
    let rest = clock.elapsed().as_secs_f64() - (rows.work().seconds - before);
    let timing = job::timing(&record, rows.work(), rest.max(0.0), &options.hardware);
    Ok((record, timing))
}

/// A remark on a cell.
enum Note {
    /// It was computed in smaller parts than its batches.
    Smaller(String),
    /// It diverged, and where.
    Diverged(String),
}

/// The line about a cell that diverged.
pub(super) fn said_of(cell: &Cell, diverged: &str) -> String {
    format!("#{:02}  diverged: {diverged}", cell.index)
}

/// Writes what was run, and how it is shown.
fn write_plan(sink: &Sink, plan: &Plan, outline: &Outline) -> Result<()> {
    sink.write(MANIFEST, plan.text.as_bytes())?;
    Ok(sink.write(FILE, outline.json().as_bytes())?)
}

/// Removes the batches of finished cells: a run may end between a cell's row and its batches.
fn remove_partials(sink: &Sink, planned: &[Planned]) -> Result<()> {
    for (index, cell) in planned.iter().enumerate() {
        if sink.finished(index).is_some() {
            partial::remove(sink.folder(), &cell.key)?;
        }
    }
    Ok(())
}

/// How often files are written again in a folder that somebody is deleting.
const PATIENCE: usize = 5;

/// Writes files of the folder; if somebody deletes it while the run is at work, it is made again first, and
/// they are written again.
fn kept(
    sink: &mut Sink,
    (plan, outline, progress): (&Plan, &Outline, &Progress),
    mut write: impl FnMut(&mut Sink) -> Result<()>,
) -> Result<()> {
    for turn in 1.. {
        if sink.revive()? {
            let folder = sink.folder().display();
            progress.line(&format!(
                "warning: {folder} was deleted while this run was at work; it is written again"
            ));
            write_plan(sink, plan, outline)?;
        }
        match write(sink) {
            Err(_) if !sink.is_whole() && turn < PATIENCE => {
                // Until whoever deletes it is done.
                std::thread::sleep(Duration::from_millis(100));
            }
            written => return written,
        }
    }
    Ok(())
}

/// Writes the tables and the report.
fn show_so_far(show: &Show<'_>, sink: &Sink, options: &Options<'_>) -> Result<()> {
    show.write_tables(sink)?;
    html::write(&outline::read(&options.folder, options.registry)?, &options.folder)
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
    note: Note,
) -> Result<()> {
    let mut provenance = provenance.borrow_mut();
    let Some(provenance) = &mut *provenance else { return Ok(()) };
    match note {
        Note::Smaller(line) => provenance.note_smaller(key, line),
        Note::Diverged(line) => provenance.note_diverged(key, line),
    }
    Ok(sink.write(PROVENANCE, &provenance.clone().finished().json())?)
}

/// What is known when a run begins, about the cells that are there already, and about the shards that drew
/// what is there of others; with lines on what is odd about these.
fn begin(
    plan: &Plan,
    options: &Options<'_>,
    inputs: BTreeMap<String, String>,
    planned: &[Planned],
    sink: &Sink,
) -> (Provenance, Vec<String>) {
    let Options { hardware, folder, .. } = options;
    let here = Provenance::here(hardware.name(), hardware.threads(), inputs).of(plan);
    let is_kept = |key: &str| {
        planned.iter().enumerate().any(|(index, cell)| {
            let begun = || partial::is_begun(folder, &cell.key);
            cell.key.starts_with(key) && (sink.finished(index).is_some() || begun())
        })
    };
    here.after(folder, is_kept).with_shards(folder, is_kept)
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
pub(super) fn refuse_to_replace(folder: &Path, planned: &[Planned]) -> Result<()> {
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
    let backward = match route.backward {
        0 => String::new(),
        1 => " with a backward pass each".to_owned(),
        n => format!(" with {n} backward passes each"),
    };
    let (calls, samples) = (route.calls, cell.spec.samples);
    format!("#{:02}  {place}  {calls} calls{backward} x {samples}", cell.index)
}
