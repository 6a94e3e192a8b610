//! The distance of a set of images to reference statistics, made by `ddim evaluate`.

use std::{fmt, path::Path};

use sha2::{Digest, Sha256};

use super::{
    error::{Error, Result},
    features::{Extractors, column_name, describe},
    hardware::Hardware,
    plan::FD,
    progress::Mode,
    record::{Columns, LEVEL, csv_bytes, fields},
    reference::Reference,
    stats::set_features,
};
use crate::{
    data::ImageSet,
    metrics::{FrechetReference, Jackknife, frechet_jackknife},
};

/// What a set of images is measured with.
#[derive(Clone, Copy, Debug)]
pub struct Ruler<'a> {
    /// The feature extractor's folder.
    pub features: &'a str,
    /// The reference statistics.
    pub reference: &'a Path,
    /// Disjoint blocks of the jackknife.
    pub blocks: usize,
}

/// A measured distance.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Name of the distance, `FD-` and the features.
    pub distance: String,
    /// Its value, and those without each block.
    pub value: Jackknife,
    /// The images: name and split.
    pub images: String,
    /// The number of images N.
    pub n: usize,
    /// The reference: name, split, and number of images.
    pub reference: String,
    key: String,
}

/// Measures the distance of a set to a reference.
///
/// # Errors
/// Images the extractor does not take, a reference of another extractor, or too few images for the
/// blocks.
pub fn evaluate(
    set: &ImageSet,
    ruler: &Ruler<'_>,
    hardware: Hardware,
    mode: Mode,
) -> Result<Evaluation> {
    let (n, blocks) = (set.len(), ruler.blocks);
    // Without a block, two images at least must be left.
    if blocks < 2 || n < blocks || n - n.div_ceil(blocks.max(1)) < 2 {
        return Err(Error::input(format!(
            "{n} images cannot be cut into {blocks} blocks: an interval needs between 2 blocks and \
             as many as there are images, and 3 images at least; see --blocks"
        )));
    }
    let device = hardware.device();
    let extractor = Extractors::new(hardware).extractor(ruler.features)?;
    let reference = Reference::read_for(ruler.reference, &describe(&*extractor))?;
    let features = set_features(set, &*extractor, device, mode)?;
    let frechet = FrechetReference::new(&reference.moments()?)?;
    let value = frechet_jackknife(features.view(), blocks, &frechet)?;
    let origin = &reference.origin;
    let inputs = [
        extractor.sha256(),
        &origin.dataset_sha256,
        &set.sha256(),
        &format!("blocks {blocks}"),
        super::build::NUMERICS,
    ];
    Ok(Evaluation {
        distance: column_name(FD, Some(ruler.features)),
        value,
        images: format!("{} {}", set.name, set.split),
        n,
        reference: format!("{} {}, {} images", origin.dataset, origin.split, origin.images),
        key: format!("{:x}", Sha256::digest(inputs.join("\n"))),
    })
}

impl Evaluation {
    /// One row with the columns of `metrics.csv`.
    ///
    /// Its parameters are the images and the reference. `S`, `levels` and `calls` are empty: images
    /// do not say how they were made.
    pub fn csv(&self) -> Vec<u8> {
        let columns = Columns {
            axes: vec!["images".to_owned(), "reference".to_owned()],
            metrics: vec![self.distance.clone()],
        };
        let mut row = vec!["0".to_owned(), self.key.clone(), "done".to_owned()];
        row.extend([self.images.clone(), self.reference.clone()]);
        row.extend(["", "", "", &self.n.to_string()].map(String::from));
        row.extend(fields(&self.value));
        csv_bytes(&columns.header(), std::iter::once(row))
    }
}

/// Three lines for a terminal.
impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { distance, value, images, n, reference, .. } = self;
        let (low, high) = value.interval(LEVEL);
        writeln!(f, "{images}, N = {n}, to {reference}")?;
        writeln!(f, "{distance}  {} at this N", decimal(value.value))?;
        writeln!(
            f,
            "{distance}  {} corrected for N, 95 % interval {} to {} ({} blocks)",
            decimal(value.corrected()),
            decimal(low),
            decimal(high),
            value.leave_out.len()
        )
    }
}

/// Four decimals, and no minus before a zero.
fn decimal(x: f64) -> String {
    format!("{:.4}", (x * 1e4).round() / 1e4 + 0.0)
}
