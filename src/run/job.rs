//! The work on one cell: its samples, batch by batch, and the numbers that they are reduced to.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ops::Range,
    path::Path,
    rc::Rc,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
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
        partial::Partial,
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
        let images = if let Task::Interpolate(points) = task { *points } else { 1 };
        let key = format!("{model:?} {precision:?} {state:?} {images}");
        Rc::clone(self.0.entry(key).or_default())
    }
}

/// A remark on a cell.
pub(super) enum Note {
    /// It was computed in smaller parts than its batches.
    Smaller(String),
    /// It diverged, and where.
    Diverged(String),
}

/// One cell, with everything that it needs.
pub(super) struct Job<'a> {
    pub(super) cell: &'a Cell,
    pub(super) route: &'a Route,
    pub(super) key: &'a str,
    pub(super) sampler: Box<dyn Sampler>,
    pub(super) limit: Rc<Limit>,
    pub(super) instruments: Instruments,
    pub(super) extractors: &'a Extractors,
    pub(super) images: Option<Rc<Encoded>>,
    pub(super) folder: &'a Path,
    pub(super) progress: &'a Progress,
    pub(super) interrupted: &'a AtomicBool,
    /// Keeps a remark on the cell in the folder.
    pub(super) note: &'a dyn Fn(Note) -> Result<()>,
    /// What was noted: how many of what are computed at once.
    pub(super) noted: RefCell<BTreeMap<String, usize>>,
}

impl Job<'_> {
    /// Does it, and says how long it took.
    ///
    /// # Errors
    /// As the model, the measures and the folder; samples that diverge are a record.
    pub(super) fn timed(&self, hardware: &Hardware) -> Result<(Record, Timing)> {
        let started = unix_time();
        let clock = Instant::now();
        let (record, seconds_per_sample_call) = self.run()?;
        let timing = Timing {
            key: record.key.clone(),
            seconds: clock.elapsed().as_secs_f64(),
            seconds_per_sample_call,
            device: hardware.name(),
            threads: hardware.threads(),
            started,
        };
        Ok((record, timing))
    }

    fn run(&self) -> Result<(Record, f64)> {
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
        let path = strip_path(self.folder, self.key);
        let mut strip = is_picture(self.sampler.shape()).then(|| Strip::new(self.cell, &path));
        let limit = Rc::clone(&self.limit);
        let done = limit.each(
            spec.batch,
            partial.rows()..spec.samples,
            |part| {
                // What is left of a batch is finished: half of one would be drawn again.
                if part.start.is_multiple_of(spec.batch) && self.interrupted.load(Ordering::Relaxed)
                {
                    return Err(Error::Interrupted);
                }
                perform(
                    &*self.sampler,
                    self.cell,
                    self.images.as_deref(),
                    (part.start, part.len()),
                    &mut self.progress.whole_batch(part.len()),
                )
            },
            |part, samples| {
                sampling += samples.time;
                drawn += part.len();
                if let Some(strip) = &mut strip {
                    strip.take(&part, &samples.images)?;
                }
                let numbers = self.instruments.read(&samples, part.len())?;
                // Before the file has numbers of a smaller batch.
                self.say_smaller(&part)?;
                Ok(partial.append(&numbers, samples.calls)?)
            },
        );
        let measured = done.and_then(|()| self.instruments.metrics(partial.numbers()));
        record.metrics = match measured {
            Err(error) if is_divergence(&error) => {
                self.progress.line(&format!("     {error}"));
                (self.note)(Note::Diverged(error.to_string()))?;
                record.status = Status::Diverged;
                return Ok((record, 0.0));
            }
            measured => measured?,
        };
        // Counted at the model; more than planned for methods that choose their own steps.
        record.calls = record.calls.max(partial.most_calls());
        let cost = (drawn as u64 * record.calls).max(1) as f64;
        Ok((record, sampling.as_secs_f64() / cost))
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
                (self.note)(Note::Smaller(format!(
                    "{what}{most} at a time instead of {asked} from sample {} on",
                    part.start
                )))?;
            }
        }
        Ok(())
    }

    fn measures_with(&self, source: &str) -> bool {
        let metrics = self.cell.spec.metrics.iter();
        metrics.flat_map(MetricsSpec::networks).any(|(_, features, _)| features == source)
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
fn is_divergence(error: &Error) -> bool {
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
    if !is_picture(sampler.shape()) {
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
