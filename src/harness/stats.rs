//! Reference statistics of an image set, made by `ddim stats`.

use std::path::Path;

use ndarray::{Array2, ArrayView4, Axis, concatenate, s};

use super::{
    error::{Error, Result},
    features::{Extractors, describe, features},
    hardware::Hardware,
    progress::{Mode, Progress},
    reference::{Origin, Reference},
};
use crate::data::cifar10::{Cifar10, Split};

const BATCH: usize = 250;

/// Computes the features of a set and writes their moments, with `keep` of them, to a file.
///
/// # Errors
/// Features that cannot be computed, or a file that cannot be written.
pub fn write(
    set: &Cifar10,
    split: Split,
    extractor: &str,
    keep: usize,
    out: &Path,
    hardware: Hardware,
    mode: Mode,
) -> Result<()> {
    let device = hardware.device();
    let extractor = Extractors::new(hardware).extractor(extractor)?;
    let progress = Progress::new(set.len() as u64, mode);
    progress.cell(&format!("features of {} images", set.len()));
    let mut all: Vec<Array2<f32>> = vec![];
    for first in (0..set.len()).step_by(BATCH) {
        let rows = BATCH.min(set.len() - first);
        let batch = set.images.slice(s![first..first + rows, .., .., ..]);
        // To the range of samples: both sides of a distance take one road.
        let batch = batch.mapv(|byte| f32::from(byte) / 127.5 - 1.0);
        let view: ArrayView4<'_, f32> = batch.view();
        all.push(features(&*extractor, view, true, device)?);
        progress.advance(rows as u64);
    }
    progress.finish();
    let views: Vec<_> = all.iter().map(Array2::view).collect();
    let all = concatenate(Axis(0), &views).map_err(|error| Error::input(error.to_string()))?;
    let origin = Origin {
        extractor: describe(&*extractor),
        dataset: "cifar10".to_owned(),
        dataset_sha256: set.sha256(),
        split: split.name().to_owned(),
        images: set.len(),
        excluded: set.excluded.clone(),
        quantisation: "u8".to_owned(),
    };
    Ok(Reference::new(all.view(), keep, origin)?.write(out)?)
}
