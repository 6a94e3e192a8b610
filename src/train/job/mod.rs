//! Runs a training: the loop around [`crate::train`]'s steps, with everything that needs a file, a
//! clock or a terminal.
//!
//! A training's folder holds `model/`, what others open; `checkpoints/`, what it continues from;
//! `loss.csv` and its plot, and all numbers in `log.jsonl`; grids of samples and their distance by
//! images seen; the recipe as run and `provenance.json`. Called again, it resumes from the newest
//! checkpoint, and on the CPU with the same number of threads it ends at the same bytes as if it had
//! never stopped.

mod curves;
mod exam;
mod identity;
mod model;
mod store;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::sync_channel,
    },
    time::{Duration, Instant},
};

use tch::Tensor;

use self::{
    exam::{Examiner, Findings},
    model::{Card, failed},
    store::{Checkpoint, Diary, Store},
};
use crate::{
    data::{HeldSet, atomic},
    networks::{
        checkpoint::Which, files::ModelFiles, open_error::OpenError, unet_config::UnetConfig,
        weights::Weights,
    },
    train::{
        batch::{Batch, Feed},
        settings::{Budget, Learner, Settings},
        trainer::Trainer,
    },
};
use crate::{
    error::{Error, Result},
    hardware::Hardware,
    results::{lock::Lock, provenance::Provenance, sink},
    run::registry::Registry,
    terminal::progress::{Mode, Progress},
    train::recipe::{LearnerSpec, Recipe},
};

/// Batches that are made ahead of the step that sees them.
const AHEAD: usize = 2;

/// The layer that makes the prediction, and the range of a variance.
const LAST_LAYER: &str = "conv_out.";

/// Steps before a budget of minutes looks at the clock: the first ones allocate.
const UNTIMED: u64 = 3;

/// The fraction of a budget of minutes after which its number of images is fixed.
const TIMED: f64 = 0.05;

/// Where a training runs and what it reports.
pub struct Options<'a> {
    /// The known solvers.
    pub registry: &'a Registry,
    /// The folder of the training.
    pub folder: PathBuf,
    /// Where it computes.
    pub hardware: Hardware,
    /// What it shows.
    pub progress: Mode,
    /// Start over, whatever the folder holds.
    pub fresh: bool,
    /// Set when the user wants it to stop.
    pub interrupted: &'a AtomicBool,
}

/// The images of a training, in memory: every step takes some from anywhere.
pub struct Images {
    /// Those that are learned from.
    pub set: HeldSet,
    /// Those that a classifier is tested on.
    pub test: Option<HeldSet>,
}

/// Trains a recipe, or continues where it stopped; returns the closing summary.
///
/// # Errors
/// Images that do not fit the recipe, a folder of another training, a loss that is not finite, or an
/// interruption, after which the same call continues.
pub fn train(recipe: &Recipe, images: &Images, options: &Options<'_>) -> Result<String> {
    let classes = images.set.classes.iter().max().map_or(0, |&class| i64::from(class) + 1);
    let settings = recipe.settings(images.set.shape(), classes)?;
    check(&settings, images, recipe)?;
    let start = start(recipe, &settings)?;
    fs::create_dir_all(&options.folder).map_err(|error| {
        Error::input(format!("cannot create {}: {error}", options.folder.display()))
    })?;
    let lock = Lock::acquire(&options.folder)?;
    for part in ["", "model", "samples", "checkpoints"] {
        atomic::sweep(&options.folder.join(part));
    }
    let data = images.set.sha256()?;
    let hash = start.as_ref().map(|(_, hash)| hash.as_str());
    let store =
        Store::new(&options.folder, identity::identity(&settings, recipe.watch.log, &data, hash));
    if options.fresh {
        store.forget()?;
    }
    let (checkpoint, broken) = store.newest()?;
    if checkpoint.is_none() && !options.fresh && options.folder.join("model/README.md").exists() {
        return Err(Error::input(format!(
            "{} holds a finished model and no checkpoint to continue from: give another --out, or --fresh to \
             replace it",
            options.folder.display()
        )));
    }
    let device = options.hardware.device();
    let first = start.as_ref().map(|(tensors, _)| tensors);
    let mut trainer = Trainer::new(settings.clone(), device, first).map_err(failed)?;
    let mut training = Training {
        recipe,
        images,
        options,
        store,
        progress: Progress::new(0, options.progress),
        examiner: Examiner {
            recipe,
            registry: options.registry,
            hardware: &options.hardware,
            test: images.test.as_ref(),
            interrupted: options.interrupted,
        },
        diary: Diary::default(),
        clock: Clock { before: 0.0, since: Instant::now() },
        budget: match settings.budget {
            Budget::Images(images) => Some(whole(images, settings.batch)),
            Budget::Minutes(_) => None,
        },
        grid: false,
    };
    let widened = widened(&settings, recipe);
    for line in broken.into_iter().chain(model::another_meaning(recipe)?).chain(widened) {
        training.progress.line(&line);
    }
    if let Some(Checkpoint { state, diary, budget, seconds }) = checkpoint {
        training.progress.line(&format!("continuing from image {}", state.seen));
        trainer.restore(state).map_err(failed)?;
        training.diary = diary;
        training.clock.before = seconds;
        training.budget = training.budget.or(budget);
    }
    training.write_recipe()?;
    let mut inputs = BTreeMap::from([("images".to_owned(), data)]);
    inputs.extend(start.map(|(_, hash)| ("start".to_owned(), hash)));
    let Options { hardware, .. } = options;
    let provenance = Provenance::here(hardware.name(), hardware.threads(), inputs);
    training.run(&mut trainer)?;
    let summary = training.finish(&mut trainer, &provenance.finished());
    drop(lock);
    summary
}

/// Checks that need both the recipe and the images.
fn check(settings: &Settings, images: &Images, recipe: &Recipe) -> Result<()> {
    let set = &images.set;
    if set.is_empty() {
        return Err(Error::input(format!("{} holds no images", set.name)));
    }
    if matches!(settings.learner, Learner::Classifier(_)) && set.classes.len() != set.len() {
        return Err(Error::input(format!(
            "{} has no classes, and a classifier learns them: take a set that has, for instance cifar10",
            recipe.data.source
        )));
    }
    if matches!(settings.budget, Budget::Minutes(_)) && settings.optimiser.decay > 1.0 - 2.0 * TIMED
    {
        return Err(Error::input(format!(
            "optimiser.decay is {}: with a budget of minutes the rate cannot fall before the number of \
             images is known; give at most {}, or budget.images",
            settings.optimiser.decay,
            1.0 - 2.0 * TIMED
        )));
    }
    Ok(())
}

/// The weights a recipe begins from, and the hash of their file.
fn start(
    recipe: &Recipe,
    settings: &Settings,
) -> Result<Option<(BTreeMap<String, Tensor>, String)>> {
    let (LearnerSpec::Denoiser(spec), Learner::Denoiser(denoiser)) =
        (&recipe.learner, &settings.learner)
    else {
        return Ok(None);
    };
    let Some(folder) = spec.network.start_folder() else { return Ok(None) };
    let network = &denoiser.network;
    let there = if spec.network.widen { network.out_channels / 2 } else { network.out_channels };
    let weights = || -> std::result::Result<Weights, OpenError> {
        let weights = Weights::read(&ModelFiles::find(&folder, Which::Ema)?.weights, Which::Ema)?;
        weights.check(&UnetConfig { out_channels: there, ..network.clone() }.tensors())?;
        Ok(weights)
    };
    let Weights { mut tensors, sha256, .. } = weights()?;
    if spec.network.widen {
        for (name, tensor) in &mut tensors {
            if name.starts_with(LAST_LAYER) {
                let twice = |x: &Tensor| Tensor::f_cat(&[x, &x.f_zeros_like()?], 0);
                *tensor = twice(tensor).map_err(failed)?;
            }
        }
    }
    Ok(Some((tensors, sha256)))
}

/// What is said of a network that begins with more channels than its folder has.
fn widened(settings: &Settings, recipe: &Recipe) -> Option<String> {
    let (LearnerSpec::Denoiser(spec), Learner::Denoiser(denoiser)) =
        (&recipe.learner, &settings.learner)
    else {
        return None;
    };
    let now = denoiser.network.out_channels;
    spec.network.widen.then(|| {
        format!(
            "its last layer is widened from {} to {now} channels; the new half begins at 0, the middle of \
             the variance's range",
            now / 2
        )
    })
}

/// The number of images in the whole batches that `images` fill, the last one rounded up.
fn whole(images: u64, batch: usize) -> u64 {
    images.div_ceil(batch as u64) * batch as u64
}

/// The seconds of training alone, over all calls.
struct Clock {
    before: f64,
    since: Instant,
}

impl Clock {
    fn seconds(&self) -> f64 {
        self.before + self.since.elapsed().as_secs_f64()
    }

    /// Runs something whose time does not count as training.
    fn stopped<T>(&mut self, work: impl FnOnce() -> T) -> T {
        self.before = self.seconds();
        let value = work();
        self.since = Instant::now();
        value
    }
}

struct Training<'a> {
    recipe: &'a Recipe,
    images: &'a Images,
    options: &'a Options<'a>,
    store: Store,
    progress: Progress,
    examiner: Examiner<'a>,
    diary: Diary,
    clock: Clock,
    /// Images at the end, once known.
    budget: Option<u64>,
    /// Whether there is a grid of samples.
    grid: bool,
}

impl Training<'_> {
    fn run(&mut self, trainer: &mut Trainer) -> Result<()> {
        let Recipe { seed, batch, augmentation, .. } = *self.recipe;
        let first = trainer.seen();
        self.progress.total(self.budget);
        self.progress.advance(first);
        if self.budget.is_some_and(|budget| first >= budget) {
            return Ok(());
        }
        let mut feed = Feed::new(&self.images.set, (seed, batch), augmentation, trainer.horizon());
        self.clock.since = Instant::now();
        std::thread::scope(|scope| {
            let (send, receive) = sync_channel::<Batch>(AHEAD);
            scope.spawn(move || {
                let mut counter = first;
                // The other end hangs up when enough images were seen.
                while send.send(feed.batch(counter)).is_ok() {
                    counter += batch as u64;
                }
            });
            self.steps(trainer, &mut receive.into_iter())
        })
    }

    fn steps(
        &mut self,
        trainer: &mut Trainer,
        batches: &mut dyn Iterator<Item = Batch>,
    ) -> Result<()> {
        let watch = &self.recipe.watch;
        let begun = (trainer.seen(), self.clock.seconds());
        let (mut timed_from, mut spoken) = (None, begun);
        let mut unrecorded = false;
        let mut kept = Instant::now();
        for batch in batches {
            let (before, n) = (trainer.seen(), batch.shape[0] as u64);
            trainer.step(&batch, self.budget.unwrap_or(u64::MAX)).map_err(failed)?;
            let seen = trainer.seen();
            if !unrecorded && let Some(why) = trainer.unrecorded() {
                unrecorded = true;
                self.progress.line(&format!("steps are slower than they could be: {why}"));
            }
            self.progress.advance(n);
            let passed = |every: u64| every > 0 && before / every != seen / every;
            let done = self.budget.is_some_and(|budget| seen >= budget);
            let mut keep = kept.elapsed() >= Duration::from_secs_f64(watch.checkpoint);
            if passed(watch.log) || done {
                self.write_down(trainer, &mut spoken)?;
            }
            if self.budget.is_none() {
                if seen - begun.0 >= UNTIMED * n && timed_from.is_none() {
                    timed_from = Some((seen, self.clock.seconds()));
                }
                keep |= self.fix_budget(trainer, timed_from);
            }
            if done || watch.every.is_some_and(passed) {
                self.look(trainer)?;
                keep = true;
            }
            let stop = self.options.interrupted.load(Ordering::Relaxed);
            if keep || stop {
                let known = (self.budget, self.clock.seconds());
                self.store.write(trainer.state().map_err(failed)?, &self.diary, known)?;
                kept = Instant::now();
            }
            if done {
                break;
            }
            if stop {
                self.progress.finish();
                return Err(Error::Interrupted);
            }
        }
        Ok(())
    }

    /// A row of the log, and a line about it.
    fn write_down(&mut self, trainer: &mut Trainer, spoken: &mut (u64, f64)) -> Result<()> {
        let row = trainer.row().map_err(failed)?;
        let loss = row.means.first().copied().unwrap_or(f64::NAN);
        if !loss.is_finite() || !trainer.is_finite().map_err(failed)? {
            return Err(failed(format!(
                "the loss is {loss} after {} images: the training diverged; a smaller optimiser.rate, a \
                 longer warm-up or a smaller optimiser.clip steadies it",
                row.seen
            )));
        }
        let now = (row.seen, self.clock.seconds());
        let speed = (now.0 - spoken.0) as f64 / (now.1 - spoken.1).max(1e-9);
        *spoken = now;
        let left = self.budget.map_or_else(String::new, |budget| {
            let seconds = budget.saturating_sub(row.seen) as f64 / speed;
            format!(
                " of {budget}, {} left",
                indicatif::HumanDuration(Duration::from_secs_f64(seconds))
            )
        });
        self.progress
            .line(&format!("{} images{left}: loss {loss:.5}, {speed:.0} images/s", row.seen));
        self.diary.rows.push(row);
        self.write_curves(trainer)
    }

    fn write_curves(&self, trainer: &Trainer) -> Result<()> {
        let measure = self.examiner.measure();
        let files = curves::files(&self.diary, &trainer.columns(), measure.as_deref())?;
        for (name, bytes) in files {
            sink::write_atomically(&self.options.folder.join(name), &bytes)?;
        }
        Ok(())
    }

    /// Turns minutes into images, once enough of them have passed.
    fn fix_budget(&mut self, trainer: &Trainer, timed_from: Option<(u64, f64)>) -> bool {
        let (Budget::Minutes(minutes), Some((images, seconds))) = (self.recipe.budget, timed_from)
        else {
            return false;
        };
        let (spent, whole_time) = (self.clock.seconds() - seconds, 60.0 * minutes);
        if spent < TIMED * whole_time || trainer.seen() == images {
            return false;
        }
        let speed = (trainer.seen() - images) as f64 / spent;
        let rest = (whole_time - self.clock.seconds()).max(0.0) * speed;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // minutes of images
        let budget = whole(trainer.seen() + rest as u64, self.recipe.batch);
        self.progress.line(&format!(
            "{speed:.0} images/s: {minutes} minutes are {budget} images (budget.images = {budget} \
             repeats this training)"
        ));
        self.budget = Some(budget);
        self.progress.total(self.budget);
        true
    }

    /// Writes the model, and draws from it.
    fn look(&mut self, trainer: &mut Trainer) -> Result<()> {
        let Self { clock, examiner, options, .. } = self;
        let seen = trainer.seen();
        let Findings { grid, exam } = clock.stopped(|| {
            let folder = options.folder.join("model");
            model::write(trainer, self.recipe, &folder)?;
            examiner.look(&folder, seen)
        })?;
        if let Some(grid) = grid {
            let folder = options.folder.join("samples");
            fs::create_dir_all(&folder).map_err(|error| {
                Error::input(format!("cannot create {}: {error}", folder.display()))
            })?;
            sink::write_atomically(&folder.join(format!("{seen:012}.png")), &grid)?;
            sink::write_atomically(&options.folder.join("model/samples.png"), &grid)?;
            self.grid = true;
        }
        if let Some(exam) = exam {
            let measure = self.examiner.measure().unwrap_or_default();
            self.progress
                .line(&format!("{seen} images: {measure} {}, N = {}", exam.estimate, exam.n));
            self.diary.exams.push(exam);
            self.write_curves(trainer)?;
        }
        Ok(())
    }

    fn write_recipe(&self) -> Result<()> {
        let path = self.options.folder.join("recipe.toml");
        Ok(sink::write_atomically(&path, self.recipe.to_toml().as_bytes())?)
    }

    /// The model with its card, and the record of where it comes from.
    fn finish(&mut self, trainer: &mut Trainer, provenance: &Provenance) -> Result<String> {
        // Once more: somebody may have deleted the folder meanwhile.
        self.write_recipe()?;
        let folder = self.options.folder.join("model");
        let sha256 = model::write(trainer, self.recipe, &folder)?;
        self.write_curves(trainer)?;
        let (columns, measure) = (trainer.columns(), self.examiner.measure());
        let start = match &self.recipe.learner {
            LearnerSpec::Denoiser(spec) => spec.network.start.as_deref().and_then(Path::to_str),
            LearnerSpec::Classifier(_) => None,
        };
        let start = start.map(|start| match widened(trainer.settings(), self.recipe) {
            Some(said) => format!("`{start}`; {said}"),
            None => start.to_owned(),
        });
        let card = Card {
            name: &self.recipe.name,
            settings: trainer.settings(),
            set: &self.images.set,
            start,
            diary: &self.diary,
            columns: &columns,
            measure: measure.as_deref(),
            steps: self.recipe.watch.steps,
            grid: self.grid || folder.join("samples.png").exists(),
            seen: trainer.seen(),
            seconds: self.clock.seconds(),
            parameters: trainer.parameters().count(),
            sha256: &sha256,
            provenance,
        };
        let text = card.markdown();
        sink::write_atomically(&folder.join("README.md"), text.as_bytes())?;
        sink::write_atomically(&self.options.folder.join("provenance.json"), &provenance.json())?;
        self.progress.finish();
        Ok(text)
    }
}
