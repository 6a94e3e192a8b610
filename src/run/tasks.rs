//! What a cell does with a batch: samples, round trips, paths between draws of noise, and the cost of
//! images in bits or by the objective of training.
//!
//! Each ends in [`Samples`]: pictures, model calls, and numbers per sample by their names in
//! manifests.

use std::{collections::BTreeMap, path::Path, rc::Rc, time::Instant};

use ndarray::{Array4, Axis, s};

use crate::{
    core::{self, KeyedNoise, slerp},
    data::{self, Fit, ImageSet, Images, KNOWN, Known, Places, Request, Split},
    metrics::{self, LatentStatistics, mean_squared_error, measure::Measure},
};
use crate::{
    error::{Error, Result, remedy::sentence},
    plan::{ArcSpec, CellSpec, ImagesSpec, Task},
    run::assemble::{Carried, Coded, Costs, Sampler, Samples, Way, single},
};

/// The latents' numbers, in the order of [`LatentStatistics::values`].
static LATENT: [&Measure; 6] = [
    &metrics::LATENT_MEAN,
    &metrics::LATENT_STD,
    &metrics::LATENT_KURTOSIS,
    &metrics::LATENT_HORIZONTAL,
    &metrics::LATENT_VERTICAL,
    &metrics::LATENT_NORM,
];

/// The part of a set that is encoded by default.
const DEFAULT_SPLIT: Split = Split::Test;

/// What downloads the sets that manifests name.
const RUN: &str = "`ddim run --download`";

/// Called with the model calls per sample so far; returning an error stops the work.
pub type Observe<'a> = dyn FnMut(u64) -> core::Result<()> + 'a;

/// Image sets that cells encode, each found and hashed once, and read batch by batch.
#[derive(Default)]
pub struct Pictures(BTreeMap<String, Rc<Encoded>>);

/// Images to encode.
pub struct Encoded {
    /// The images.
    pub set: ImageSet,
    /// SHA-256 of them, as hex.
    pub sha256: String,
}

impl Pictures {
    /// Notes on how the sets were read, without repetitions.
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        let notes = self.0.values().flat_map(|read| &read.set.notes);
        notes.map(String::as_str).collect::<std::collections::BTreeSet<_>>().into_iter()
    }

    /// The images of a cell that takes them from a data set; absent for any other.
    ///
    /// # Errors
    /// A set that is not on this machine, cannot be read, or has too few images.
    pub fn of(&mut self, spec: &CellSpec) -> Result<Option<Rc<Encoded>>> {
        let Some(images) = spec.task.images() else { return Ok(None) };
        if images.is_solution() || images.is_drawn() {
            return Ok(None);
        }
        let ImagesSpec { source, exclude, .. } = images;
        let key = format!("{images:?} {}", spec.samples);
        if let Some(set) = self.0.get(&key) {
            return Ok(Some(Rc::clone(set)));
        }
        let request = Request {
            data: source,
            split: images.split,
            default_split: DEFAULT_SPLIT,
            exclude: exclude.as_deref().map(Path::new),
            limit: Some(spec.samples),
            fit: Fit::default(),
            value_range: None,
            download: false,
        };
        let places = Places::from_env();
        let set = data::load(&request, &places, &mut |_| std::ops::ControlFlow::Continue(()));
        let set = set.map_err(|error| match error {
            data::Error::Missing(missing) => Error::input(missing.or_let(RUN)),
            data::Error::NoSplits { .. } => {
                Error::input(sentence(&error.to_string(), Some("leave `split` out")))
            }
            data::Error::NoExclusions { .. } => {
                Error::input(sentence(&error.to_string(), Some("leave `exclude` out")))
            }
            other => other.into(),
        })?;
        if set.len() < spec.samples {
            return Err(Error::input(format!(
                "{source} has {} images, and the cell takes {}: lower `samples`",
                set.len(),
                spec.samples
            )));
        }
        let encoded = Rc::new(Encoded { sha256: set.sha256()?, set });
        self.0.insert(key, Rc::clone(&encoded));
        Ok(Some(encoded))
    }
}

/// The set known by name that a cell encodes, and which part of it; none of a cell that encodes
/// nothing or something else.
pub fn known_set(spec: &CellSpec) -> Option<(&'static Known, Split)> {
    let images = spec.task.images()?;
    let known = KNOWN.iter().find(|known| known.name == images.source)?;
    Some((known, images.split.unwrap_or(DEFAULT_SPLIT)))
}

/// Does what a cell does for the samples `first .. first + rows`.
///
/// # Errors
/// Whatever the model returns, a state that is not finite, images of another shape, or the
/// observer's error.
pub fn perform(
    sampler: &dyn Sampler,
    spec: &CellSpec,
    images: Option<&Encoded>,
    (first, rows): (usize, usize),
    observe: &mut Observe<'_>,
) -> core::Result<Samples> {
    let noise = KeyedNoise { seed: spec.seed, first: first as u64 };
    match &spec.task {
        Task::Sample => sampler.sample(noise, rows, observe),
        Task::Interpolate(arc) => interpolate(sampler, noise, rows, *arc, observe),
        Task::Bits(_) | Task::Objective(_) => {
            let coded = match images {
                Some(images) => Coded::Images(levels(sampler, images, (first, rows))?),
                None => Coded::Draws(rows),
            };
            let clock = Instant::now();
            let Costs { numbers, calls } = match &spec.task {
                Task::Objective(spec) => sampler.objective(coded, spec, noise, observe)?,
                task => sampler.bits(coded, task.trace(), noise, observe)?,
            };
            let time = clock.elapsed();
            // Nothing is drawn that could be shown.
            let images = Array4::zeros((rows, 0, 0, 0));
            Ok(Samples { images, calls, numbers, solution: None, path: None, time })
        }
        Task::Reconstruct(_) => {
            if let Some(images) = images {
                let images = levels(sampler, images, (first, rows))?;
                reconstruct(sampler, noise, &images, None, observe)
            } else {
                let (latents, images) = sampler.solution(noise, rows, &mut || observe(0))?;
                reconstruct(sampler, noise, &images, Some(&latents), observe)
            }
        }
    }
}

/// Some images of a set on [-1, 1].
fn levels(
    sampler: &dyn Sampler,
    Encoded { set, .. }: &Encoded,
    (first, rows): (usize, usize),
) -> core::Result<Array4<f64>> {
    let images = set.images.as_samples(first..first + rows).map_err(core::Error::model)?;
    check_shape(sampler.shape(), &images)?;
    Ok(images)
}

fn check_shape([c, h, w]: [usize; 3], images: &Array4<f64>) -> core::Result<()> {
    let (_, channels, height, width) = images.dim();
    if [channels, height, width] == [c, h, w] {
        return Ok(());
    }
    Err(core::Error::model(format!(
        "the images are {channels} x {height} x {width}, the model's {c} x {h} x {w}"
    )))
}

/// Encodes and decodes; the pictures are the reconstructions.
fn reconstruct(
    sampler: &dyn Sampler,
    noise: KeyedNoise,
    images: &Array4<f64>,
    latents: Option<&Array4<f64>>,
    observe: &mut Observe<'_>,
) -> core::Result<Samples> {
    let clock = Instant::now();
    let there = sampler.carry(Way::Encode, images.clone(), noise, observe)?;
    let back = sampler
        .carry(Way::Decode, there.x.clone(), noise, &mut |calls| observe(there.calls + calls))?;
    let time = clock.elapsed();
    let mut numbers: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    let mut note = |measure: &Measure, value: f64| {
        numbers.entry(measure.name).or_default().push(value);
    };
    for (index, latent) in there.x.outer_iter().enumerate() {
        for (measure, value) in LATENT.iter().zip(LatentStatistics::of(latent).values()) {
            note(measure, value);
        }
        let error = mean_squared_error(
            images.index_axis(Axis(0), index),
            back.x.index_axis(Axis(0), index),
        );
        note(&metrics::MSE, 0.25 * error);
        note(&metrics::MSE_RAW, error);
        if let Some(latents) = latents {
            let known = latents.index_axis(Axis(0), index);
            note(&metrics::LATENT_ERROR, mean_squared_error(latent, known).sqrt());
        }
    }
    Ok(Samples {
        images: single(back.x.view(), noise.first)?,
        calls: there.calls + back.calls,
        numbers,
        solution: None,
        path: None,
        time,
    })
}

/// Decodes the arc between the draws 2 i and 2 i + 1; the pictures are the first path's.
fn interpolate(
    sampler: &dyn Sampler,
    noise: KeyedNoise,
    paths: usize,
    ArcSpec { points, shared }: ArcSpec,
    observe: &mut Observe<'_>,
) -> core::Result<Samples> {
    let KeyedNoise { seed, first } = noise;
    let ends = sampler.initial(KeyedNoise { seed, first: 2 * first }, 2 * paths)?;
    let [c, h, w] = sampler.shape();
    let mut arc = vec![];
    for path in 0..paths {
        let end = |i: usize| ends.index_axis(Axis(0), 2 * path + i).iter().copied().collect();
        let (a, b): (Vec<f64>, Vec<f64>) = (end(0), end(1));
        for point in 0..points {
            arc.extend(slerp(&a, &b, point as f64 / (points - 1) as f64)?);
        }
    }
    let arc = Array4::from_shape_vec((paths * points, c, h, w), arc).map_err(core::Error::model)?;
    let each = points as u64;
    let clock = Instant::now();
    let Carried { x, calls } = if shared {
        along(sampler, noise, &arc, points, observe)?
    } else {
        // Every point is a sample of its own to a method that draws noise.
        let own = KeyedNoise { seed, first: first * each };
        sampler.carry(Way::Sample, arc, own, &mut |calls| observe(calls * each))?
    };
    let time = clock.elapsed();
    let mut numbers: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    let mut note = |measure: &Measure, value: f64| {
        numbers.entry(measure.name).or_default().push(value);
    };
    for path in 0..paths {
        let at = |point: usize| x.index_axis(Axis(0), path * points + point);
        let apart = |a: usize, b: usize| mean_squared_error(at(a), at(b)).sqrt();
        let steps: Vec<f64> = (1..points).map(|point| apart(point - 1, point)).collect();
        let ends = apart(0, points - 1);
        let [length, jump] = metrics::path(&steps, ends);
        note(&metrics::PATH_LENGTH, length);
        note(&metrics::PATH_JUMP, jump);
        note(&metrics::PATH_ENDS, ends);
    }
    let all = single(x.view(), first * each)?;
    let images = all.slice(s![..points, .., .., ..]).to_owned();
    Ok(Samples { images, calls: calls * each, numbers, solution: None, path: Some(all), time })
}

/// Decodes points of arcs one after another, so that row i is the path i, whose noise they share.
fn along(
    sampler: &dyn Sampler,
    noise: KeyedNoise,
    arc: &Array4<f64>,
    points: usize,
    observe: &mut Observe<'_>,
) -> core::Result<Carried> {
    let mut x = Array4::zeros(arc.raw_dim());
    let (mut before, mut calls) = (0, 0);
    let every = isize::try_from(points).expect("invariant: a list has no more");
    for point in 0..points {
        let rows = s![point..;every, .., .., ..];
        let start = arc.slice(rows).to_owned();
        let part =
            sampler.carry(Way::Sample, start, noise, &mut |calls| observe(before + calls))?;
        x.slice_mut(rows).assign(&part.x);
        calls = part.calls;
        before += calls;
    }
    Ok(Carried { x, calls })
}
