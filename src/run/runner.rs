//! Runs the cells of a plan, and writes after every one of them.
//!
//! A cell's samples are drawn batch by batch and reduced to the numbers that its instruments read.
//! Those of an unfinished cell are appended to a file after every batch: an interrupted
//! run continues at the next batch and ends with the same bytes, because noise is keyed by sample.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    rc::Rc,
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use ndarray::{ArrayView4, Axis, s};

use crate::{core, networks::reading::Remark};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    error::{Error, Result},
    hardware::Hardware,
    measure::{features::Extractors, instruments::Instruments},
    plan::{Cell, Inversion, MetricsSpec, Plan, Task, outline::FILE},
    report::{
        html,
        overview::{Show, columns},
        sheet,
    },
    results::{
        folder::{MANIFEST, strip_path},
        leftovers,
        partial::Partial,
        provenance::{Provenance, unix_time},
        record::{Columns, Record, Status, read_csv},
        sink::{Planned, Sink, Timing},
    },
    run::{
        assemble::{Models, NUMERICS, Route, Sampler, Samples, instruments},
        outline,
        registry::Registry,
        tasks::{self, Encoded, Observe, Pictures},
    },
    terminal::progress::{Mode, Progress},
};

/// Samples of each cell that are kept as pictures.
const KEPT: usize = 10;

/// The smallest side of a picture worth showing.
const LEAST_SIDE: usize = 8;

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
        let last = outline::last(&options.folder, options.registry);
        let before = last.map(|last| Show::new(&last).names());
        leftovers::remove(&options.folder, &planned, &before.unwrap_or_default(), &show.names())?;
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
    let hardware = &options.hardware;
    let provenance = (!todo.is_empty())
        .then(|| Provenance::here(hardware.name(), hardware.threads(), all_inputs).of(plan));
    for &index in &todo {
        let cell = &plan.cells[index];
        progress.cell(&describe(cell, &routes[index]));
        let mut job = Job {
            cell,
            route: &routes[index],
            key: &planned[index].key,
            sampler: models.sampler(&cell.spec)?,
            instruments: instruments(&cell.spec, &mut extractors)?,
            images: pictures.of(&cell.spec)?,
            folder: &options.folder,
            progress: &progress,
            interrupted: options.interrupted,
        };
        let started = unix_time();
        let clock = Instant::now();
        let outcome = job.run();
        if matches!(outcome, Err(Error::Interrupted)) {
            progress.finish();
        }
        let (record, per_sample_call) = outcome?;
        let timing = Timing {
            key: record.key.clone(),
            seconds: clock.elapsed().as_secs_f64(),
            seconds_per_sample_call: per_sample_call,
            device: options.hardware.name(),
            threads: options.hardware.threads(),
            started,
        };
        if options.verbose > 0 {
            progress.line(&timing.line(record.status));
        }
        if options.verbose > 1 {
            progress.line(&format!("     {}", cell.spec.canonical_json()));
        }
        sink.append(index, &record, timing)?;
        show.write_tables(&sink)?;
        html::write(&outline::read(&options.folder, options.registry)?, &options.folder)?;
        progress.table(&show.terminal(&sink.records()));
    }
    progress.finish();
    let strips: Vec<PathBuf> =
        planned.iter().map(|cell| strip_path(&options.folder, &cell.key)).collect();
    for (index, (cell, path)) in plan.cells.iter().zip(&strips).enumerate() {
        let diverged = sink.finished(index).is_some_and(|record| record.status == Status::Diverged);
        if !path.exists() && !diverged {
            draw_strip(cell, path, &mut models, &mut pictures, options.interrupted)?;
        }
    }
    if let Some(provenance) = provenance {
        sink.write("provenance.json", &provenance.finished().json())?;
    }
    draw(&show, &sink, &strips)?;
    html::write(&outline::read(&options.folder, options.registry)?, &options.folder)?;
    Ok(show.summary(&sink.records()))
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

struct Job<'a> {
    cell: &'a Cell,
    route: &'a Route,
    key: &'a str,
    sampler: Box<dyn Sampler>,
    instruments: Instruments,
    images: Option<Rc<Encoded>>,
    folder: &'a Path,
    progress: &'a Progress,
    interrupted: &'a AtomicBool,
}

impl Job<'_> {
    fn run(&mut self) -> Result<(Record, f64)> {
        let spec = &self.cell.spec;
        let mut partial = Partial::open(
            self.folder,
            self.key,
            self.instruments.width(),
            spec.batch,
            spec.samples,
        )?;
        let mut record = Record {
            key: self.key.to_owned(),
            status: Status::Done,
            params: self.cell.params.clone(),
            steps: self.route.grid.requested(),
            levels: self.route.grid.distinct(),
            calls: self.route.calls,
            n: spec.samples,
            metrics: BTreeMap::new(),
        };
        self.progress.skip(partial.rows() as u64 * record.calls);
        let (mut sampling, mut drawn) = (Duration::ZERO, 0);
        while partial.rows() < spec.samples {
            let first = partial.rows();
            let rows = spec.batch.min(spec.samples - first);
            let samples = match perform(
                &*self.sampler,
                self.cell,
                self.images.as_deref(),
                (first, rows),
                &mut self.progress.batch(rows, self.interrupted),
            ) {
                Err(Error::Core(core::Error::NotFinite { .. } | core::Error::BeyondF32 { .. })) => {
                    record.status = Status::Diverged;
                    partial.remove()?;
                    return Ok((record, 0.0));
                }
                samples => samples?,
            };
            sampling += samples.time;
            drawn += rows;
            if first == 0 && is_picture(self.sampler.shape()) {
                let path = strip_path(self.folder, self.key);
                write_strip(samples.images.view(), kept(self.cell), &path)?;
            }
            partial.append(&self.instruments.read(&samples, rows)?, samples.calls)?;
        }
        // Counted at the model; more than planned for methods that choose their own steps.
        record.calls = record.calls.max(partial.most_calls());
        record.metrics = self.instruments.metrics(partial.numbers().view())?;
        partial.remove()?;
        let cost = (drawn as u64 * record.calls).max(1) as f64;
        Ok((record, sampling.as_secs_f64() / cost))
    }
}

/// Does one batch.
fn perform(
    sampler: &dyn Sampler,
    cell: &Cell,
    images: Option<&Encoded>,
    (first, rows): (usize, usize),
    observe: &mut Observe<'_>,
) -> Result<Samples> {
    let samples = tasks::perform(sampler, &cell.spec, images, (first, rows), observe);
    match samples {
        Err(core::Error::Interrupted) => Err(Error::Interrupted),
        other => Ok(other?),
    }
}

/// Whether samples are worth showing: grey or in colour, and more than a few pixels.
fn is_picture([channels, height, width]: [usize; 3]) -> bool {
    [1, 3].contains(&channels) && height.min(width) >= LEAST_SIDE
}

/// How many of a cell's pictures are shown, from the first: of a path, all.
fn kept(cell: &Cell) -> usize {
    match cell.spec.task {
        Task::Interpolate(points) => points,
        _ => KEPT,
    }
}

/// Redraws the strip of a finished cell whose file is gone, which takes only the first batch.
fn draw_strip(
    cell: &Cell,
    path: &Path,
    models: &mut Models<'_>,
    pictures: &mut Pictures,
    interrupted: &AtomicBool,
) -> Result<()> {
    let sampler = models.sampler(&cell.spec)?;
    if !is_picture(sampler.shape()) {
        return Ok(());
    }
    let images = pictures.of(&cell.spec)?;
    let rows = cell.spec.batch.min(cell.spec.samples);
    let silent = Progress::new(0, crate::terminal::progress::Mode::Quiet);
    let observe = &mut silent.batch(rows, interrupted);
    let samples = perform(&*sampler, cell, images.as_deref(), (0, rows), observe)?;
    write_strip(samples.images.view(), kept(cell), path)
}

fn write_strip(samples: ArrayView4<'_, f32>, kept: usize, path: &Path) -> Result<()> {
    let kept = samples.len_of(Axis(0)).min(kept);
    let png = sheet::strip(samples.slice(s![..kept, .., .., ..]))?;
    Ok(crate::results::sink::write_atomically(path, &png)?)
}
