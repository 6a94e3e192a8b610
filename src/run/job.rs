//! The work on one cell: its samples, batch by batch, and the numbers that they are reduced to.

use std::{
    cell::{self, RefCell},
    collections::BTreeMap,
    ops::Range,
    path::Path,
    rc::Rc,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use ndarray::{Array4, Axis, concatenate, s};

use crate::{
    core,
    error::{Error, Result},
    hardware::{Hardware, memory::Limit},
    measure::{features::Extractors, instruments::Instruments},
    metrics,
    plan::{Cell, CellSpec, MetricsSpec, Task},
    report::sheet,
    results::{
        folder::strip_path,
        partial::{Partial, Rows, Work},
        provenance::unix_time,
        record::{Record, Status},
        sink::{Timing, write_atomically},
    },
    run::{
        assemble::{Models, Route, Sampler, Samples},
        tasks::{self, Encoded, Observe},
    },
    terminal::progress::Progress,
};

/// Samples of each cell that are kept as pictures.
const KEPT: usize = 10;

/// The smallest side of a picture worth showing.
const LEAST_SIDE: usize = 8;

/// How many images each model takes at once. Another model has another limit: what a cell is computed
/// in does not depend on the cells before it.
#[derive(Default)]
pub(super) struct Limits(BTreeMap<String, Rc<Limit>>);

impl Limits {
    pub(super) fn of(&mut self, cell: &Cell) -> Rc<Limit> {
        let CellSpec { model, precision, state, task, .. } = &cell.spec;
        // A path is a sample of several images.
        let images = if let Task::Interpolate(arc) = task { arc.points } else { 1 };
        let key = format!("{model:?} {precision:?} {state:?} {images}");
        Rc::clone(self.0.entry(key).or_default())
    }
}

/// One cell, with everything that its samples need.
pub(super) struct Job<'a> {
    pub(super) cell: &'a Cell,
    pub(super) key: &'a str,
    pub(super) sampler: Box<dyn Sampler>,
    pub(super) limit: Rc<Limit>,
    pub(super) instruments: &'a Instruments,
    pub(super) extractors: &'a Extractors,
    pub(super) images: Option<Rc<Encoded>>,
    pub(super) folder: &'a Path,
    pub(super) threads: usize,
    pub(super) progress: &'a Progress,
    pub(super) interrupted: &'a AtomicBool,
    /// Keeps a remark on the cell in the folder.
    pub(super) note: &'a dyn Fn(String) -> Result<()>,
    /// What was noted: how many of what are computed at once.
    pub(super) noted: RefCell<BTreeMap<String, usize>>,
}

impl Job<'_> {
    /// Draws ranges of samples, which begin where batches do, and adds their numbers to the cell's rows.
    /// If one of them diverges, the text says which and where.
    ///
    /// # Errors
    /// As the model, the measures and the folder.
    pub(super) fn draw(
        &self,
        partial: &mut Partial,
        missing: &[Range<usize>],
    ) -> Result<Option<String>> {
        let spec = &self.cell.spec;
        let path = strip_path(self.folder, self.key);
        let mut strip =
            is_shown(self.cell, self.sampler.shape()).then(|| Strip::new(self.cell, &path));
        for samples in missing {
            // When the part that is drawn began, and when what came before it was kept.
            let begun = cell::Cell::new((0, Instant::now()));
            let done = self.limit.each(
                spec.batch,
                samples.clone(),
                |part| {
                    // What is left of a batch is finished: half of one would be drawn again.
                    if part.start.is_multiple_of(spec.batch)
                        && self.interrupted.load(Ordering::Relaxed)
                    {
                        return Err(Error::Interrupted);
                    }
                    begun.set((unix_time(), begun.get().1));
                    perform(
                        &*self.sampler,
                        self.cell,
                        self.images.as_deref(),
                        (part.start, part.len()),
                        &mut self.progress.whole_batch(part.len()),
                    )
                },
                |part, samples| {
                    if let Some(strip) = &mut strip {
                        strip.take(&part, &samples.images)?;
                    }
                    let numbers = self.instruments.read(&samples, part.len())?;
                    // Before the file has numbers of a smaller batch.
                    self.say_smaller(&part)?;
                    let (started, clock) = begun.get();
                    begun.set((started, Instant::now()));
                    let work = Work {
                        calls: samples.calls,
                        seconds: clock.elapsed().as_secs_f64(),
                        sampling: samples.time.as_secs_f64(),
                        started,
                        threads: self.threads,
                    };
                    Ok(partial.append(&part, &numbers, work)?)
                },
            );
            match done {
                Err(error) if is_divergence(&error) => return Ok(Some(error.to_string())),
                done => done?,
            }
        }
        Ok(None)
    }

    /// Says and notes down that images are computed in smaller parts than the manifest's batches.
    fn say_smaller(&self, part: &Range<usize>) -> Result<()> {
        let CellSpec { batch, samples, .. } = self.cell.spec;
        let asked = batch.min(samples);
        let mut notes = vec![];
        if let Some(most) = self.limit.most().filter(|most| *most < asked) {
            if let Some(line) = self.limit.news("samples") {
                let remedy = format!("`batch = {most}` (--set batch={most}) begins with that");
                self.progress.line(&format!("{line}; {remedy}"));
            }
            notes.push((String::new(), most));
        }
        for (source, most, news) in self.extractors.limits() {
            if let Some(line) = news {
                self.progress.line(&line);
            }
            if self.measures_with(source) && most < asked {
                notes.push((format!("features of {source}, "), most));
            }
        }
        for (what, most) in notes {
            if self.noted.borrow_mut().insert(what.clone(), most) != Some(most) {
                (self.note)(format!(
                    "{what}{most} at a time instead of {asked} from sample {} on",
                    part.start
                ))?;
            }
        }
        Ok(())
    }

    fn measures_with(&self, source: &str) -> bool {
        let metrics = self.cell.spec.metrics.iter();
        metrics.flat_map(MetricsSpec::networks).any(|(_, features, _)| features == source)
    }
}

/// The row of a cell whose samples are all drawn, or of which one diverged.
///
/// # Errors
/// As the measures.
pub(super) fn record(
    cell: &Cell,
    route: &Route,
    key: &str,
    rows: Option<&Rows>,
    instruments: &Instruments,
) -> Result<Record> {
    let mut record = Record {
        key: key.to_owned(),
        status: Status::Diverged,
        params: cell.params.clone(),
        steps: route.grid.requested(),
        levels: route.grid.distinct(),
        calls: route.calls,
        n: cell.spec.samples,
        metrics: BTreeMap::new(),
    };
    if let Some(rows) = rows {
        record.status = Status::Done;
        // Counted at the model; more than planned for methods that choose their own steps.
        record.calls = record.calls.max(rows.work().calls);
        record.metrics = instruments.metrics(rows.numbers())?;
    }
    Ok(record)
}

/// What a cell took, `rest` seconds of it after its samples were drawn.
pub(super) fn timing(record: &Record, work: &Work, rest: f64, hardware: &Hardware) -> Timing {
    let is_done = record.status == Status::Done;
    let cost = (record.n as u64 * record.calls).max(1) as f64;
    let is_known = work.threads > 0;
    Timing {
        key: record.key.clone(),
        seconds: work.seconds + rest,
        seconds_per_sample_call: if is_done { work.sampling / cost } else { 0.0 },
        device: hardware.name(),
        threads: if is_known { work.threads } else { hardware.threads() },
        started: if is_known { work.started } else { unix_time() },
    }
}

/// The first pictures of a cell, on their way to its strip.
struct Strip<'a> {
    path: &'a Path,
    batch: usize,
    wanted: usize,
    pictures: Vec<Array4<f32>>,
}

impl<'a> Strip<'a> {
    fn new(cell: &Cell, path: &'a Path) -> Self {
        let CellSpec { batch, samples, .. } = cell.spec;
        Self { path, batch: batch.min(samples), wanted: kept(cell), pictures: vec![] }
    }

    /// Keeps what is missing of the pictures of a part, and writes the strip when it has all of them or
    /// those of the first batch.
    fn take(&mut self, part: &Range<usize>, images: &Array4<f32>) -> Result<()> {
        let missing = self.wanted.min(images.len_of(Axis(0)));
        if part.start >= self.batch || missing == 0 {
            return Ok(());
        }
        self.wanted -= missing;
        self.pictures.push(images.slice(s![..missing, .., .., ..]).to_owned());
        if self.wanted > 0 && part.end < self.batch {
            return Ok(());
        }
        let views: Vec<_> = self.pictures.iter().map(Array4::view).collect();
        let strip =
            concatenate(Axis(0), &views).map_err(|error| Error::input(error.to_string()))?;
        let png = sheet::strip(strip.view())?;
        Ok(write_atomically(self.path, &png)?)
    }
}

/// Whether an error says that samples diverged, or that what was read from them did.
pub(super) fn is_divergence(error: &Error) -> bool {
    matches!(
        error,
        Error::Core(core::Error::NotFinite { .. } | core::Error::BeyondF32 { .. })
            | Error::Metric(
                metrics::Error::NotFinite { .. } | metrics::Error::MomentsNotFinite { .. }
            )
    )
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

/// Whether a cell makes samples that are worth showing: grey or in colour, and more than a few pixels.
fn is_shown(cell: &Cell, [channels, height, width]: [usize; 3]) -> bool {
    let makes = !matches!(cell.spec.task, Task::Bits(_) | Task::Objective(_));
    makes && [1, 3].contains(&channels) && height.min(width) >= LEAST_SIDE
}

/// How many of a cell's pictures are shown, from the first: of a path, all.
fn kept(cell: &Cell) -> usize {
    match cell.spec.task {
        Task::Interpolate(arc) => arc.points,
        _ => KEPT,
    }
}

/// Redraws the strip of a finished cell if its file is gone, which takes only the first batch.
pub(super) fn draw_strip(
    cell: &Cell,
    path: &Path,
    models: &mut Models<'_>,
    images: Option<&Encoded>,
    (limit, interrupted): (&Limit, &AtomicBool),
) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let sampler = models.sampler(&cell.spec)?;
    if !is_shown(cell, sampler.shape()) {
        return Ok(());
    }
    let CellSpec { batch, samples, .. } = cell.spec;
    let silent = Progress::new(0, crate::terminal::progress::Mode::Quiet);
    let mut strip = Strip::new(cell, path);
    limit.each(
        batch,
        0..batch.min(samples),
        |part| {
            let observe = &mut silent.batch(part.len(), interrupted);
            perform(&*sampler, cell, images, (part.start, part.len()), observe)
        },
        |part, samples| strip.take(&part, &samples.images),
    )
}
