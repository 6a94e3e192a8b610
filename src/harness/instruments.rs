//! What a cell is measured with.
//!
//! An instrument reads some numbers off every sample of a batch, and at the end makes metrics of
//! the numbers of all samples. The numbers are what an interrupted run keeps; one instrument knows
//! nothing of another.

use std::{collections::BTreeMap, rc::Rc};

use ndarray::{Array2, ArrayView2, Axis, concatenate, s};

use super::{
    build::Samples,
    error::Result,
    features::{Extractors, Loaded, column_name, features},
    plan::{CellSpec, ERROR, FD, FD_INFINITY, KID, Measured, MetricsSpec},
};
use crate::{
    metrics::{Jackknife, frechet_extrapolation, frechet_jackknife, kid_jackknife},
    models::classifier::FeatureExtractor,
};

/// Metrics by their columns.
pub type Metrics = BTreeMap<String, Jackknife>;

/// One way of measuring samples.
trait Instrument {
    /// How many numbers it reads off a sample.
    fn width(&self) -> usize;

    /// The numbers of a batch, a row for each sample.
    fn read(&self, samples: &Samples) -> Result<Array2<f32>>;

    /// The metrics of all samples' numbers.
    fn metrics(&self, numbers: ArrayView2<'_, f32>) -> Result<Metrics>;
}

/// All instruments of a cell.
pub struct Instruments(Vec<Box<dyn Instrument>>);

impl Instruments {
    /// Those that a cell asks for; none if nothing is to be measured.
    ///
    /// # Errors
    /// An extractor or a reference that cannot be read, or that do not belong together.
    pub fn new(spec: &CellSpec, extractors: &mut Extractors) -> Result<Self> {
        let mut all: Vec<Box<dyn Instrument>> = vec![];
        let Some(metrics) = &spec.metrics else { return Ok(Self(all)) };
        if let (Some(source), Some(reference)) = (&metrics.features, &metrics.reference) {
            all.push(Box::new(Distribution {
                spec: metrics.clone(),
                source: source.clone(),
                extractor: extractors.extractor(source)?,
                reference: extractors.reference(source, reference)?,
                device: extractors.device(),
            }));
        }
        if metrics.asks_for(Measured::Error) {
            all.push(Box::new(ToTruth { blocks: metrics.blocks }));
        }
        Ok(Self(all))
    }

    /// Numbers per sample.
    pub fn width(&self) -> usize {
        self.0.iter().map(|instrument| instrument.width()).sum()
    }

    /// The numbers of a batch, a row for each sample.
    ///
    /// # Errors
    /// Samples that an instrument cannot read.
    ///
    /// # Panics
    /// Never: every instrument gives a row for each sample.
    pub fn read(&self, samples: &Samples) -> Result<Array2<f32>> {
        let read = self.0.iter().map(|instrument| instrument.read(samples));
        let parts = read.collect::<Result<Vec<_>>>()?;
        let views: Vec<_> = parts.iter().map(Array2::view).collect();
        if views.is_empty() {
            return Ok(Array2::zeros((samples.images.len_of(Axis(0)), 0)));
        }
        Ok(concatenate(Axis(1), &views).expect("invariant: a row for each sample"))
    }

    /// The metrics of all samples' numbers.
    ///
    /// # Errors
    /// Numbers that are not finite, or too few samples.
    pub fn metrics(&self, numbers: ArrayView2<'_, f32>) -> Result<Metrics> {
        let (mut all, mut first) = (Metrics::new(), 0);
        for instrument in &self.0 {
            let last = first + instrument.width();
            all.extend(instrument.metrics(numbers.slice(s![.., first..last]))?);
            first = last;
        }
        Ok(all)
    }
}

/// Distances of the samples' features to those of a data set.
struct Distribution {
    spec: MetricsSpec,
    source: String,
    extractor: Rc<dyn FeatureExtractor>,
    reference: Rc<Loaded>,
    device: tch::Device,
}

impl Instrument for Distribution {
    fn width(&self) -> usize {
        self.extractor.dim()
    }

    fn read(&self, samples: &Samples) -> Result<Array2<f32>> {
        features(&*self.extractor, samples.images.view(), self.spec.quantise, self.device)
    }

    fn metrics(&self, numbers: ArrayView2<'_, f32>) -> Result<Metrics> {
        let MetricsSpec { blocks, .. } = self.spec;
        let frechet = &self.reference.frechet;
        let metric = |name: &str| -> Result<Jackknife> {
            Ok(match name {
                KID => kid_jackknife(numbers, blocks, self.reference.kid()?)?,
                FD_INFINITY => frechet_extrapolation(numbers, blocks, frechet)?,
                _ => frechet_jackknife(numbers, blocks, frechet)?,
            })
        };
        let names =
            self.spec.metrics().into_iter().filter(|name| [FD, FD_INFINITY, KID].contains(name));
        names.map(|name| Ok((column_name(name, Some(&self.source)), metric(name)?))).collect()
    }
}

/// The mean over samples of the root mean square difference from the truth.
struct ToTruth {
    blocks: usize,
}

impl Instrument for ToTruth {
    fn width(&self) -> usize {
        1
    }

    #[allow(clippy::cast_possible_truncation, reason = "seven digits of an error are enough")]
    fn read(&self, samples: &Samples) -> Result<Array2<f32>> {
        let errors = samples.errors.iter().flatten().map(|&error| error as f32);
        Ok(Array2::from_shape_vec((samples.images.len_of(Axis(0)), 1), errors.collect())
            .expect("invariant: a cell that measures its error has a truth"))
    }

    fn metrics(&self, numbers: ArrayView2<'_, f32>) -> Result<Metrics> {
        let errors: Vec<f64> = numbers.iter().map(|&error| f64::from(error)).collect();
        Ok(Metrics::from([(ERROR.to_owned(), Jackknife::of_mean(&errors, self.blocks)?)]))
    }
}
