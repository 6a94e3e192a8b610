//! How a training is watched: a grid of samples, their Fréchet distance, a classifier's error.
//!
//! Samples are drawn as any experiment draws them, from the folder that the training writes: what is
//! measured is what a user opens.

use std::{collections::BTreeMap, path::Path};

use ndarray::{Array4, ArrayView4, Axis, concatenate, s};
use tch::{Kind, Tensor};

use crate::{
    core::{self, KeyedNoise, Tau},
    data::HeldSet,
    error::{Error, Result},
    hardware::{Hardware, memory::Limit},
    measure::features::Extractors,
    networks::{classifier::Classifier, features, placement::Precision},
    plan::{CellSpec, GridSpec, Measured, MetricsSpec, ModelSpec, SolverSpec, StateKind, Task},
    report::image_grid,
    results::record::Estimate,
    run::{
        assemble::{self, Models},
        registry::Registry,
    },
    solvers::Variance,
    terminal::progress::Progress,
    train::recipe::{LearnerSpec, Recipe},
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

/// What exams need besides the weights.
pub(crate) struct Examiner<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) registry: &'a Registry,
    pub(crate) hardware: &'a Hardware,
    /// Images to test a classifier on.
    pub(crate) test: Option<&'a HeldSet>,
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
        match &self.recipe.learner {
            LearnerSpec::Classifier(_) => self.test.map(|_| "test error".to_owned()),
            LearnerSpec::Denoiser(_) => {
                let distance = self.recipe.watch.distance.as_ref()?;
                Some(crate::plan::measures::column_name("fd", Some(&distance.features)))
            }
        }
    }

    /// Looks at the model in a folder.
    pub(crate) fn look(&self, folder: &Path, seen: u64) -> Result<Findings> {
        match &self.recipe.learner {
            LearnerSpec::Denoiser(_) => self.sample(folder, seen),
            LearnerSpec::Classifier(_) => self.classify(folder, seen),
        }
    }

    fn sample(&self, folder: &Path, seen: u64) -> Result<Findings> {
        let spec = &self.cell(folder)?;
        let sampler = Models::new(self.hardware.clone(), self.registry).sampler(spec)?;
        let mut extractors = Extractors::new(self.hardware.clone());
        let instruments = assemble::instruments(spec, &mut extractors)?;
        let silent = Progress::new(0, crate::terminal::progress::Mode::Quiet);
        let (mut images, mut numbers) = (vec![], vec![]);
        // A training may leave little memory.
        let drawn = Limit::default().each(
            spec.batch,
            0..spec.samples,
            |part| {
                let noise = KeyedNoise { seed: spec.seed, first: part.start as u64 };
                let watch = &mut silent.batch(part.len(), self.interrupted);
                Ok(sampler.sample(noise, part.len(), watch)?)
            },
            |part, samples| {
                numbers.push(instruments.read(&samples, part.len())?);
                if part.start < self.recipe.watch.samples {
                    images.push(samples.images);
                }
                Ok(())
            },
        );
        match drawn {
            // Early in a training, samples may diverge.
            Err(Error::Core(core::Error::NotFinite { .. })) => return Ok(Findings::default()),
            Err(Error::Core(core::Error::Interrupted)) => return Err(Error::Interrupted),
            drawn => drawn?,
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

    /// The cell that samples a folder: DDIM, eta 0, from the seed of the training.
    fn cell(&self, folder: &Path) -> Result<CellSpec> {
        let Recipe { seed, watch, .. } = self.recipe;
        let source = folder.to_string_lossy().into_owned();
        // What the network predicts, and for which levels, its folder says.
        let stated = assemble::stated(&source).map_err(Error::input)?;
        let stated = stated.ok_or_else(|| {
            Error::input(format!("{source} does not say what its network predicts"))
        })?;
        let samples =
            watch.distance.as_ref().map_or(watch.samples, |of| of.samples.max(watch.samples));
        let metrics = watch.distance.as_ref().map(|distance| MetricsSpec {
            features: Some(distance.features.clone()),
            reference: Some(distance.reference.clone()),
            blocks: (samples / 2).min(BLOCKS),
            quantise: true,
            measures: Measured::DEFAULT.into(),
            also: BTreeMap::new(),
        });
        Ok(CellSpec {
            seed: *seed,
            samples,
            batch: 64,
            precision: Precision::F32,
            state: StateKind::default(),
            model: ModelSpec {
                source,
                prediction: stated.prediction,
                clip_x0: stated.clip.is_some(),
                clip_range: stated.clip.unwrap_or(1.0),
                raw: false,
                compiled: false,
                shape: vec![],
                exact: None,
            },
            schedule: stated.schedule,
            grid: GridSpec::new(Tau::OFFICIAL_UNIFORM, watch.steps),
            solver: SolverSpec { variance: Some(Variance::Eta(0.0)), ..SolverSpec::new("ddim") },
            metrics,
            solution: None,
            task: Task::Sample,
        })
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
            let classes = &test.classes[first..first + rows];
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
