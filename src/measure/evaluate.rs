//! What `ddim evaluate` measures: the distance of a set of images to reference statistics, its score,
//! and how well a classifier finds its classes.

use std::{fmt, path::Path, rc::Rc};

use serde_json::{Map, Value, json};

use crate::{
    core::NUMERICS,
    data::{ImageSet, sha256},
    metrics::{Jackknife, LEVEL, NEIGHBOURS, SPLITS, measure::Of, spread},
    plan::measures::column_name,
};
use crate::{
    error::{Error, Result},
    hardware::Hardware,
    measure::{
        accuracy::Accuracy,
        features::{Extractors, Loaded, Place},
        instruments::{FeatureRuler, LogitHead},
        reference::DEFAULT_SUBSET,
        stats::{self, set_features},
    },
    plan::Measured,
    terminal::progress::Mode,
};

/// What a set of images is compared with.
#[derive(Clone, Copy, Debug)]
pub enum Against<'a> {
    /// A file of statistics.
    File(&'a Path),
    /// Images, whose statistics are computed.
    Images(&'a ImageSet),
}

/// What a set of images is measured with.
#[derive(Clone, Copy, Debug)]
pub struct Ruler<'a> {
    /// What is measured.
    pub measures: &'a [Measured],
    /// Whether the classes are compared with the extractor's class scores.
    pub accuracy: bool,
    /// The feature extractor, as a manifest names it.
    pub features: &'a str,
    /// The reference, which scores do not need.
    pub reference: Option<Against<'a>>,
    /// Disjoint blocks of the jackknife.
    pub blocks: usize,
}

/// Measured distances and scores.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Each with the name of its column, its value, and those without each block.
    pub metrics: Vec<(Measured, String, Jackknife)>,
    /// The share of classes that the extractor's classifier found, if that was asked for.
    pub accuracy: Option<Accuracy>,
    /// The images: name and split.
    pub images: String,
    /// The number of images N.
    pub n: usize,
    /// The reference: name, split, and number of images.
    pub reference: Option<String>,
    /// The hash of the two sets, the extractor and the blocks.
    pub key: String,
}

/// Measures a set against a reference.
///
/// # Errors
/// Images the extractor does not take, a reference of another extractor or none although one is
/// needed, too few images for the blocks, or an accuracy without classes.
pub fn evaluate(
    set: &ImageSet,
    ruler: &Ruler<'_>,
    hardware: Hardware,
    mode: Mode,
) -> Result<Evaluation> {
    let (n, blocks) = (set.len(), ruler.blocks);
    let compared = ruler.measures.iter().any(|measure| measure.needs_reference());
    // Without a block, two images at least must be left.
    if compared && (blocks < 2 || n < blocks || n - n.div_ceil(blocks.max(1)) < 2) {
        return Err(Error::input(format!(
            "{n} images cannot be cut into {blocks} blocks: an interval needs between 2 blocks and \
             as many as there are images, and 3 images at least; see --blocks"
        )));
    }
    if compared && ruler.reference.is_none() {
        let message = "a distance needs a second set of images (`ddim evaluate A B`) or \
                       --reference, statistics written by `ddim stats`; `--measures is` and \
                       `--measures accuracy` need none";
        return Err(Error::input(message.to_owned()));
    }
    if ruler.measures.iter().copied().any(is_score) && n < SPLITS {
        let message = format!("{n} images cannot be cut into the {SPLITS} splits of `is`");
        return Err(Error::input(message));
    }
    if ruler.accuracy {
        Accuracy::check(set, ruler.features)?;
    }
    let place = Place::on(hardware.device());
    let reference = ruler.reference.filter(|_| compared);
    let file = match reference {
        Some(Against::File(path)) => Some(path.to_string_lossy()),
        _ => None,
    };
    let mut with = FeatureRuler::new(
        ruler.measures.to_vec(),
        ruler.features,
        file.as_deref(),
        blocks,
        &mut Extractors::new(hardware),
    )?;
    if let Some(Against::Images(other)) = reference {
        let of = stats::of(other, &*with.extractor, DEFAULT_SUBSET, &place, mode)?;
        with.reference = Some(Rc::new(Loaded::new(of, String::new())));
    }
    let (features, sha256_of_set) = set_features(set, &*with.extractor, &place, mode)?;
    let mut metrics = with.metrics(features.view())?;
    let metrics = ruler.measures.iter().filter_map(|&measure| {
        let (column, value) =
            metrics.remove_entry(&column_name(measure.name(), Some(ruler.features)))?;
        Some((measure, column, value))
    });
    let metrics = metrics.collect();
    let accuracy = || {
        let head = LogitHead::of(&*with.extractor, ruler.features, "accuracy")?;
        Accuracy::of(head.logits(features.view()).view(), &set.classes, ruler.features)
    };
    let accuracy = ruler.accuracy.then(accuracy).transpose()?;
    let origin = with.reference.as_ref().map(|loaded| &loaded.reference.origin);
    let inputs = [
        with.extractor.sha256(),
        origin.map_or("", |origin| &origin.dataset_sha256),
        &sha256_of_set,
        &format!("blocks {blocks}"),
        NUMERICS,
    ];
    Ok(Evaluation {
        metrics,
        accuracy,
        images: format!("{} {}", set.name, set.split),
        n,
        reference: origin.map(|origin| match origin.images {
            0 => format!("{}, which does not state its images", origin.dataset),
            images => format!("{} {}, {images} images", origin.dataset, origin.split),
        }),
        key: sha256(inputs.join("\n").as_bytes()),
    })
}

impl Evaluation {
    /// Everything as a JSON object; numbers that are not finite are null.
    pub fn json(&self) -> Value {
        let metric = |(measure, column, value): &(Measured, String, Jackknife)| {
            let (low, high) = value.interval(LEVEL);
            let object = if is_score(*measure) {
                json!({ "value": value.value, "spread": spread(value), "splits": SPLITS })
            } else {
                json!({
                    "value": value.value,
                    "corrected": value.corrected(),
                    "corrected_low": low,
                    "corrected_high": high,
                    "standard_error": value.standard_error(),
                    "blocks": value.leave_out.len(),
                })
            };
            (column.clone(), object)
        };
        let mut metrics: Map<String, Value> = self.metrics.iter().map(metric).collect();
        if let Some(accuracy) = &self.accuracy {
            let Accuracy { column, correct, .. } = accuracy;
            let (value, error) = (accuracy.value(), accuracy.standard_error());
            let object = json!({ "value": value, "standard_error": error, "correct": correct });
            metrics.insert(column.clone(), object);
        }
        json!({
            "images": self.images,
            "n": self.n,
            "reference": self.reference,
            "metrics": metrics,
        })
    }
}

/// A line for the images and one or two for each measure.
impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metrics, accuracy, images, n, reference, .. } = self;
        match reference {
            Some(reference) => writeln!(f, "{images}, N = {n}, to {reference}")?,
            None => writeln!(f, "{images}, N = {n}")?,
        }
        for (measure, column, value) in metrics {
            if is_score(*measure) {
                let (mean, spread) = (decimal(value.value), decimal(spread(value)));
                writeln!(f, "{column}  {mean} +- {spread} over {SPLITS} splits")?;
                continue;
            }
            let (low, high) = value.interval(LEVEL);
            if matches!(measure.measure().of, Of::Features(_)) {
                writeln!(
                    f,
                    "{column}  {}, 95 % interval {} to {} ({} blocks), k = {NEIGHBOURS}, {n} images \
                     on both sides",
                    decimal(value.value),
                    decimal(low),
                    decimal(high),
                    value.leave_out.len()
                )?;
                continue;
            }
            writeln!(f, "{column}  {} at this N", decimal(value.value))?;
            writeln!(
                f,
                "{column}  {} corrected for N, 95 % interval {} to {} ({} blocks)",
                decimal(value.corrected()),
                decimal(low),
                decimal(high),
                value.leave_out.len()
            )?;
        }
        accuracy.as_ref().map_or(Ok(()), |accuracy| writeln!(f, "{accuracy}"))
    }
}

/// Whether it is made of class scores, in splits.
fn is_score(measured: Measured) -> bool {
    matches!(measured.measure().of, Of::Scores(_))
}

/// Four decimals, and no minus before a zero.
fn decimal(x: f64) -> String {
    format!("{:.4}", (x * 1e4).round() / 1e4 + 0.0)
}
