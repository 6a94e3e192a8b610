//! Reference statistics of an image set, made by `ddim stats`.

use std::path::Path;

use ndarray::{Array2, s};

use crate::{
    data::{ImageSet, Images},
    networks::features::FeatureExtractor,
};
use crate::{
    error::{Error, Result},
    hardware::Hardware,
    measure::{
        features::{Extractors, Place, describe, features},
        reference::{Origin, Reference},
    },
    terminal::{
        interruption,
        progress::{Mode, Progress},
    },
};

const BATCH: usize = 250;

/// The most numbers of a batch; beyond it, fewer images are one.
const NUMBERS: usize = 1 << 28;

/// Computes the features of a set and writes their moments, with `keep` of them, to a file.
///
/// # Errors
/// Images the extractor does not take, or a file that cannot be written.
pub fn write(
    set: &ImageSet,
    extractor: &str,
    keep: usize,
    out: &Path,
    hardware: Hardware,
    mode: Mode,
) -> Result<Reference> {
    let place = Place::on(hardware.device());
    let extractor = Extractors::new(hardware).extractor(extractor)?;
    let reference = of(set, &*extractor, keep, &place, mode)?;
    reference.write(out)?;
    Ok(reference)
}

/// The moments of a set's features, and `keep` of these.
///
/// # Errors
/// Images the extractor does not take.
pub(crate) fn of(
    set: &ImageSet,
    extractor: &dyn FeatureExtractor,
    keep: usize,
    place: &Place,
    mode: Mode,
) -> Result<Reference> {
    let (all, dataset_sha256) = set_features(set, extractor, place, mode)?;
    let origin = Origin {
        extractor: describe(extractor),
        dataset: set.name.clone(),
        dataset_sha256,
        split: set.split.clone(),
        images: set.len(),
        excluded: set.excluded.clone(),
        quantisation: "u8".to_owned(),
    };
    Ok(Reference::new(all.view(), keep, origin)?)
}

/// The features of a set `[N, D]`, and the SHA-256 of the images that they are of, which are read batch by
/// batch.
pub(crate) fn set_features(
    set: &ImageSet,
    extractor: &dyn FeatureExtractor,
    place: &Place,
    mode: Mode,
) -> Result<(Array2<f32>, String)> {
    check_shape(set, extractor)?;
    let progress = Progress::new(set.len() as u64, mode);
    progress.cell(&format!("features of {} images", set.len()));
    let mut all = Array2::zeros((set.len(), extractor.dim()));
    let mut hasher = set.hasher();
    let numbers: usize = set.shape().iter().product();
    let batch = BATCH.min(NUMBERS / numbers.max(1)).max(1);
    for first in (0..set.len()).step_by(batch) {
        if interruption::is_asked() {
            progress.finish();
            return Err(Error::Stopped);
        }
        let rows = batch.min(set.len() - first);
        let images = set.images.read(first..first + rows)?;
        hasher.update(&images);
        // To the range of samples: both sides of a distance take one road.
        let images = images.mapv(|byte| f32::from(byte) / 127.5 - 1.0);
        let features = features(extractor, images.view(), true, place)?;
        all.slice_mut(s![first..first + rows, ..]).assign(&features);
        if let Some(line) = place.news() {
            progress.line(&line);
        }
        progress.advance(rows as u64);
    }
    progress.finish();
    Ok((all, hasher.finish()))
}

/// A network would take images of another size and describe something else.
fn check_shape(set: &ImageSet, extractor: &dyn FeatureExtractor) -> Result<()> {
    let [c, h, w] = set.shape();
    let side = extractor.side();
    let size_fits = side.is_none_or(|side| (h, w) == (side, side));
    if c == 3 && size_fits {
        return Ok(());
    }
    let mut remedies = vec![];
    if let Some(side) = side.filter(|_| !size_fits) {
        remedies.push(if h <= side && w <= side {
            format!("--resize pad:{side} or squash:{side}")
        } else {
            format!("--resize center-crop:{side} or squash:{side}")
        });
    }
    if c == 1 {
        remedies.push("--rgb".to_owned());
    }
    let side = side.map_or_else(String::new, |side| format!(" of {side} x {side}"));
    Err(Error::input(format!(
        "the images of {} are {c} x {h} x {w} (channels x height x width), and {} takes colour \
         images{side}; add {}",
        set.name,
        extractor.id(),
        remedies.join(", and ")
    )))
}
