//! What a training is looked at by: a grid of samples, their Fréchet distance, a classifier's error.
//!
//! Samples are drawn as any experiment draws them, from the folder that the training writes: what is
//! measured is what a user opens.

use std::path::Path;

use ndarray::{Array4, ArrayView4, Axis, concatenate, s};
use tch::{Kind, Tensor};

use crate::{
    core::{self, KeyedNoise},
    data::ImageSet,
    error::{Error, Result},
    hardware::Hardware,
    manifest::Manifest,
    measure::{features::Extractors, instruments::Instruments},
    networks::{classifier::Classifier, features},
    plan::Plan,
    report::image_grid,
    results::record::Estimate,
    run::{
        assemble::{self, Models},
        registry::Registry,
    },
    terminal::progress::Progress,
    train::recipe::{Recipe, TaskSpec},
};

/// Blocks of the jackknife behind an interval, where there are samples enough.
const BLOCKS: usize = 32;

/// One look at a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Exam {
    /// Images seen.
    pub(crate) seen: u64,
    /// The distance at this N, or a classifier's error, with its 95 % interval.
    pub(crate) estimate: Estimate,
    /// The number of samples or images N.
    pub(crate) n: u64,
}

/// What exams need beside the weights.
pub(crate) struct Examiner<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) registry: &'a Registry,
    pub(crate) hardware: &'a Hardware,
    /// Images to test a classifier on.
    pub(crate) test: Option<&'a ImageSet>,
    pub(crate) interrupted: &'a std::sync::atomic::AtomicBool,
}

/// What an exam found: a grid of samples as PNG, and a number.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) grid: Option<Vec<u8>>,
    pub(crate) exam: Option<Exam>,
}

impl Examiner<'_> {
    /// The name of the number, and of its column: `FD-cifar10-features`.
    pub(crate) fn measure(&self) -> Option<String> {
        match &self.recipe.task {
            TaskSpec::Classifier(_) => self.test.map(|_| "test error".to_owned()),
            TaskSpec::Denoiser(_) => {
                let distance = self.recipe.watch.distance.as_ref()?;
                Some(crate::plan::measures::column_name("fd", Some(&distance.features)))
            }
        }
    }

    /// Looks at the model in a folder.
    pub(crate) fn look(&self, folder: &Path, seen: u64) -> Result<Findings> {
        match &self.recipe.task {
            TaskSpec::Denoiser(_) => self.sample(folder, seen),
            TaskSpec::Classifier(_) => self.classify(folder, seen),
        }
    }

    fn sample(&self, folder: &Path, seen: u64) -> Result<Findings> {
        let plan = self.plan(folder)?;
        let spec = &plan.cells[0].spec;
        let sampler = Models::new(self.hardware.clone(), self.registry).sampler(spec)?;
        let mut extractors = Extractors::new(self.hardware.clone());
        let instruments = Instruments::new(spec, &mut extractors)?;
        let silent = Progress::new(0, crate::terminal::progress::Mode::Quiet);
        let (mut images, mut numbers) = (vec![], vec![]);
        for first in (0..spec.samples).step_by(spec.batch) {
            let rows = spec.batch.min(spec.samples - first);
            let noise = KeyedNoise { seed: spec.seed, first: first as u64 };
            let samples = sampler.sample(noise, rows, &mut silent.batch(rows, self.interrupted));
            let samples = match samples {
                // Weights at the beginning of a training may take a sampler anywhere.
                Err(core::Error::NotFinite { .. }) => return Ok(Findings::default()),
                Err(core::Error::Interrupted) => return Err(Error::Interrupted),
                samples => samples?,
            };
            numbers.push(instruments.read(&samples, rows)?);
            if first < self.recipe.watch.samples {
                images.push(samples.images);
            }
        }
        let views: Vec<_> = images.iter().map(Array4::view).collect();
        let images = concatenate(Axis(0), &views).map_err(|e| Error::input(e.to_string()))?;
        let shown =
            images.slice(s![..self.recipe.watch.samples.min(images.len_of(Axis(0))), .., .., ..]);
        let columns = shown.len_of(Axis(0)).isqrt().max(1);
        let scale = (64 / shown.len_of(Axis(2))).max(1);
        let layout = image_grid::Layout { columns, padding: 2, scale };
        let grid = Some(image_grid::png(shown, layout)?);
        let views: Vec<_> = numbers.iter().map(ndarray::Array2::view).collect();
        let numbers = concatenate(Axis(0), &views).map_err(|e| Error::input(e.to_string()))?;
        let measured = if self.recipe.watch.distance.is_some() {
            instruments.metrics(numbers.view())?.into_values().next()
        } else {
            None
        };
        let exam = measured.map(|distance| Exam {
            seen,
            estimate: Estimate::at_n(&distance),
            n: spec.samples as u64,
        });
        Ok(Findings { grid, exam })
    }

    /// The experiment that samples a folder: DDIM, eta 0, from the seed of the training.
    fn plan(&self, folder: &Path) -> Result<Plan> {
        let Recipe { seed, watch, task, .. } = self.recipe;
        if !matches!(task, TaskSpec::Denoiser(_)) {
            return Err(Error::input("a classifier draws no samples"));
        }
        let text = |text: &str| toml::Value::from(text).to_string();
        let distance = watch.distance.as_ref();
        let samples =
            distance.map_or(watch.samples, |distance| distance.samples.max(watch.samples));
        let metrics = distance.map_or_else(String::new, |distance| {
            format!(
                "[metrics]\nmeasures = [\"fd\"]\nfeatures = {}\nreference = {}\nblocks = {}\n",
                text(&distance.features),
                text(&distance.reference),
                (samples / 2).min(BLOCKS),
            )
        });
        // What the network predicts, and for which levels, its folder says.
        let manifest = format!(
            "name = \"exam\"\nseed = {seed}\nsamples = {samples}\nbatch = 64\n\
             [model]\nsource = {}\n\
             [grid]\ntau = \"official-uniform\"\nsteps = {}\n[solver]\nkind = \"ddim\"\n{metrics}",
            text(&folder.to_string_lossy()),
            watch.steps,
        );
        Manifest::parse("the exam of the training", manifest)
            .and_then(|manifest| manifest.plan(None, &[], &assemble::vocabulary(self.registry)))
            .map_err(Error::Manifest)
    }

    fn classify(&self, folder: &Path, seen: u64) -> Result<Findings> {
        const BATCH: usize = 250;
        let Some(test) = self.test else { return Ok(Findings::default()) };
        let classifier = Classifier::open(folder, self.hardware.device())?;
        let mut wrong = 0_u64;
        for first in (0..test.len()).step_by(BATCH) {
            if self.interrupted.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let rows = BATCH.min(test.len() - first);
            let batch = test.images.slice(s![first..first + rows, .., .., ..]);
            let best = best_class(&classifier, batch)?;
            let classes = &test.labels[first..first + rows];
            wrong += best.iter().zip(classes).filter(|(a, b)| **a != i64::from(**b)).count() as u64;
        }
        let n = test.len() as f64;
        let value = wrong as f64 / n;
        // 1.96 standard errors of a proportion.
        let spread = 1.959_964 * (value * (1.0 - value) / n).sqrt();
        let estimate = Estimate { value, interval: Some((value - spread, value + spread)) };
        let exam = Exam { seen, estimate, n: test.len() as u64 };
        Ok(Findings { grid: None, exam: Some(exam) })
    }
}

/// The class of the largest score of each image, bytes `[N, 3, H, W]`.
fn best_class(classifier: &Classifier, images: ArrayView4<'_, u8>) -> Result<Vec<i64>> {
    let shape: Vec<i64> = images.shape().iter().map(|&side| side.cast_signed() as i64).collect();
    let bytes: Vec<u8> = images.iter().copied().collect();
    let of = || -> std::result::Result<Vec<i64>, features::FeatureError> {
        let images = Tensor::f_from_slice(&bytes)?.f_reshape(shape)?;
        let scores = classifier.logits(&features::from_bytes(&images)?)?;
        Ok(Vec::try_from(scores.f_argmax(1, false)?.f_to_kind(Kind::Int64)?)?)
    };
    Ok(of()?)
}
