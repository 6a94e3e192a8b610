//! What a cell is measured with.
//!
//! An instrument reads some numbers from every sample of a batch, and at the end makes metrics of
//! the numbers of all samples. An interrupted run keeps these numbers. Instruments do not know each
//! other.

use std::{collections::BTreeMap, rc::Rc};

use ndarray::{Array2, Array4, ArrayView1, ArrayView2, Axis, concatenate, s};

use crate::{
    backends::torch,
    exact::{ExactModel, draws},
    metrics::{FEATURE_ERROR, FEATURE_PATH_LENGTH, Jackknife, SPLITS, measure::Of, path},
    networks::features::FeatureExtractor,
};
use crate::{
    error::{Error, Result},
    measure::{
        features::{Extractors, Loaded, Place, features},
        samples::Samples,
    },
    plan::{
        CellSpec, Measured,
        measures::{FLOOR, column_name},
    },
};

/// Metrics by their columns.
pub type Metrics = BTreeMap<String, Jackknife>;

/// One way of measuring samples.
trait Instrument {
    /// How many numbers it reads from a sample.
    fn width(&self) -> usize;

    /// The numbers of a batch, a row for each sample.
    fn read(&self, samples: &Samples) -> Result<Array2<f32>>;

    /// The metrics of all samples' numbers.
    fn metrics(&self, numbers: ArrayView2<'_, f32>) -> Result<Metrics>;
}

/// All instruments of a cell.
pub struct Instruments(Vec<Box<dyn Instrument>>);

impl Instruments {
    /// Those that a cell asks for; none if nothing is to be measured. `model` is the cell's
    /// exact-score model, whose data some measures compare with.
    ///
    /// # Errors
    /// An extractor or a reference that cannot be read, or that do not belong together, or a model
    /// that is needed and missing.
    pub fn new(
        spec: &CellSpec,
        model: Option<Rc<dyn ExactModel>>,
        extractors: &mut Extractors,
    ) -> Result<Self> {
        let mut all: Vec<Box<dyn Instrument>> = vec![];
        let Some(metrics) = &spec.metrics else { return Ok(Self(all)) };
        let featured = metrics.measures.iter().copied().filter(|measure| measure.is_of_features());
        let featured: Vec<Measured> = featured.collect();
        for (_, source, reference) in metrics.networks().filter(|_| !featured.is_empty()) {
            let measures = featured.clone();
            all.push(Box::new(Distribution {
                ruler: FeatureRuler::new(measures, source, reference, metrics.blocks, extractors)?,
                quantise: metrics.quantise,
                place: extractors.place(source),
            }));
        }
        let drawn = metrics.measures.iter().copied().filter(|measure| measure.needs_draws());
        let drawn: Vec<Measured> = drawn.collect();
        if !drawn.is_empty() {
            let model = model.ok_or_else(|| {
                let of = &spec.model.source;
                Error::input(format!("there are no exact draws of the data of `{of}`"))
            })?;
            all.push(Box::new(Drawn::new(drawn, model, spec, metrics.blocks)));
        }
        let of_samples = metrics.measures.iter().copied();
        let of_samples = of_samples.filter(|m| !m.needs_features() && !m.needs_draws());
        let measures: Vec<Measured> = of_samples.collect();
        if !measures.is_empty() {
            all.push(Box::new(PerSample { measures, blocks: metrics.blocks }));
        }
        if let (Some(source), true) = (&metrics.features, metrics.asks_for(&FEATURE_ERROR)) {
            all.push(Box::new(FeaturesToSolution {
                column: column_name(FEATURE_ERROR.name, Some(source)),
                extractor: extractors.extractor(source)?,
                quantise: metrics.quantise,
                place: extractors.place(source),
                blocks: metrics.blocks,
            }));
        }
        if let (Some(source), true) = (&metrics.features, metrics.asks_for(&FEATURE_PATH_LENGTH)) {
            all.push(Box::new(PathInFeatures {
                column: column_name(FEATURE_PATH_LENGTH.name, Some(source)),
                extractor: extractors.extractor(source)?,
                quantise: metrics.quantise,
                place: extractors.place(source),
                blocks: metrics.blocks,
            }));
        }
        Ok(Self(all))
    }

    /// Numbers per sample.
    pub fn width(&self) -> usize {
        self.0.iter().map(|instrument| instrument.width()).sum()
    }

    /// The numbers of a batch, a row for each of its `rows` samples.
    ///
    /// # Errors
    /// Samples that an instrument cannot read.
    ///
    /// # Panics
    /// Never: every instrument gives a row for each sample.
    pub fn read(&self, samples: &Samples, rows: usize) -> Result<Array2<f32>> {
        let read = self.0.iter().map(|instrument| instrument.read(samples));
        let parts = read.collect::<Result<Vec<_>>>()?;
        let views: Vec<_> = parts.iter().map(Array2::view).collect();
        if views.is_empty() {
            return Ok(Array2::zeros((rows, 0)));
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

/// Measures on features, from any network.
pub(crate) struct FeatureRuler {
    measures: Vec<Measured>,
    source: String,
    blocks: usize,
    pub(crate) extractor: Rc<dyn FeatureExtractor>,
    pub(crate) reference: Option<Rc<Loaded>>,
    head: Option<LogitHead>,
}

/// The last layer of the extractor's classifier.
pub(crate) struct LogitHead {
    /// `[D, classes]`
    weight: Array2<f32>,
    bias: Option<Array2<f32>>,
}

impl LogitHead {
    /// The head of an extractor, for measures of its class scores.
    ///
    /// # Errors
    /// An extractor without one.
    pub(crate) fn of(
        extractor: &dyn FeatureExtractor,
        source: &str,
        measure: &str,
    ) -> Result<Self> {
        let head = extractor.head().ok_or_else(|| {
            Error::input(format!(
                "{source} gives features and no class scores: measure `{measure}` with pytorch-fid's \
                 weights, features = \"inception\""
            ))
        })?;
        let matrix = |x: &tch::Tensor| torch::to_matrix(&x.reshape([-1, x.size()[x.dim() - 1]]));
        Ok(Self {
            weight: matrix(&head.weight)?.reversed_axes(),
            bias: head.bias.as_ref().map(matrix).transpose()?,
        })
    }

    /// The class scores `[N, classes]` of features `[N, D]`.
    pub(crate) fn logits(&self, features: ArrayView2<'_, f32>) -> Array2<f32> {
        let logits = features.dot(&self.weight);
        match &self.bias {
            Some(bias) => logits + bias,
            None => logits,
        }
    }
}

impl FeatureRuler {
    /// Reads the extractor and, where a measure compares with it, the reference.
    ///
    /// # Errors
    /// An extractor or a reference that cannot be read or do not belong together, or a score asked
    /// of an extractor without a classifier.
    pub(crate) fn new(
        measures: Vec<Measured>,
        source: &str,
        reference: Option<&str>,
        blocks: usize,
        extractors: &mut Extractors,
    ) -> Result<Self> {
        let extractor = extractors.extractor(source)?;
        let scored = |measured: &&Measured| matches!(measured.measure().of, Of::Scores(_));
        let scored = measures.iter().find(scored);
        let head = scored.map(|scored| LogitHead::of(&*extractor, source, scored.name()));
        let head = head.transpose()?;
        let reference =
            reference.map(|reference| extractors.reference(source, reference)).transpose()?;
        Ok(Self { measures, source: source.to_owned(), blocks, extractor, reference, head })
    }

    /// The metrics of features `[N, D]`.
    ///
    /// # Errors
    /// Features that are not finite, too few of them, or a reference without features for `kid`,
    /// `precision` and `recall`.
    ///
    /// # Panics
    /// Never: distances are asked of a ruler with a reference.
    pub(crate) fn metrics(&self, features: ArrayView2<'_, f32>) -> Result<Metrics> {
        let reference = || self.reference.as_ref().expect("invariant: distances have a reference");
        let metric = |measured: Measured| -> Result<Jackknife> {
            Ok(match measured.measure().of {
                Of::Moments(of) => of(features, self.blocks, reference().frechet()?)?,
                Of::Kernel(of) => of(features, self.blocks, reference().kid()?)?,
                Of::Features(of) => {
                    // As many on both sides: balls about samples shrink as their number grows.
                    let data = reference().reference.evenly(features.nrows())?;
                    of(features, data.view(), self.blocks)?
                }
                Of::Scores(of) => {
                    let head = self.head.as_ref().expect("invariant: a score has a head");
                    of(head.logits(features).view(), SPLITS)?
                }
                Of::Draws(_) | Of::Numbers { .. } | Of::SolutionFeatures | Of::PathFeatures => {
                    unreachable!("invariant: a ruler has measures of features alone")
                }
            })
        };
        let metrics = self.measures.iter().map(|&measure| {
            Ok((column_name(measure.name(), Some(&self.source)), metric(measure)?))
        });
        metrics.collect()
    }
}

/// Distances of the samples' features to those of a data set, and scores.
struct Distribution {
    ruler: FeatureRuler,
    quantise: bool,
    place: Place,
}

impl Instrument for Distribution {
    fn width(&self) -> usize {
        self.ruler.extractor.dim()
    }

    fn read(&self, samples: &Samples) -> Result<Array2<f32>> {
        features(&*self.ruler.extractor, samples.images.view(), self.quantise, &self.place)
    }

    fn metrics(&self, numbers: ArrayView2<'_, f32>) -> Result<Metrics> {
        self.ruler.metrics(numbers)
    }
}

/// Distances of the samples to exact draws of their model's data, and of other draws to these.
struct Drawn {
    measures: Vec<Measured>,
    model: Rc<dyn ExactModel>,
    seed: u64,
    elements: usize,
    blocks: usize,
}

impl Drawn {
    fn new(
        measures: Vec<Measured>,
        model: Rc<dyn ExactModel>,
        spec: &CellSpec,
        blocks: usize,
    ) -> Self {
        let shape = spec.model.exact.iter().flat_map(|exact| &exact.shape);
        Self { measures, model, seed: spec.seed, elements: shape.product(), blocks }
    }
}

impl Instrument for Drawn {
    fn width(&self) -> usize {
        self.elements
    }

    fn read(&self, samples: &Samples) -> Result<Array2<f32>> {
        let rows = samples.images.len_of(Axis(0));
        let flat = samples.images.as_standard_layout().into_owned();
        flat.into_shape_with_order((rows, self.elements))
            .map_err(|error| Error::input(error.to_string()))
    }

    fn metrics(&self, numbers: ArrayView2<'_, f32>) -> Result<Metrics> {
        let samples = numbers.mapv(f64::from);
        let shape = [samples.nrows(), self.elements];
        let draws = |sub| draws(&*self.model, self.seed, shape, sub);
        let exact = draws(0);
        let mut metrics = Metrics::new();
        let mut measure = |x: &Array2<f64>, ending: &str| -> Result<()> {
            for &measured in &self.measures {
                let Of::Draws(distance) = measured.measure().of else {
                    unreachable!("invariant: these measures compare with draws")
                };
                let distance = distance(x.view(), exact.view(), self.blocks)?;
                metrics.insert(format!("{}{ending}", measured.name()), distance);
            }
            Ok(())
        };
        measure(&samples, "")?;
        // Two sets are enough memory.
        drop(samples);
        measure(&draws(1), FLOOR)?;
        Ok(metrics)
    }
}

/// Means and medians over samples of numbers that come with them.
struct PerSample {
    measures: Vec<Measured>,
    blocks: usize,
}

impl Instrument for PerSample {
    fn width(&self) -> usize {
        self.measures.len()
    }

    #[allow(clippy::cast_possible_truncation, reason = "seven digits of an error are enough")]
    fn read(&self, samples: &Samples) -> Result<Array2<f32>> {
        let of = |measured: Measured| {
            let Of::Numbers { named, .. } = measured.measure().of else { return &[][..] };
            let name = named.unwrap_or(measured.name());
            samples.numbers.get(name).map_or(&[][..], Vec::as_slice)
        };
        let columns: Vec<&[f64]> = self.measures.iter().copied().map(of).collect();
        let rows = columns.iter().map(|column| column.len()).min().unwrap_or(0);
        Ok(Array2::from_shape_fn((rows, self.measures.len()), |(row, k)| columns[k][row] as f32))
    }

    fn metrics(&self, numbers: ArrayView2<'_, f32>) -> Result<Metrics> {
        let metric = |(k, measured): (usize, &Measured)| {
            let Of::Numbers { statistic, .. } = measured.measure().of else {
                unreachable!("invariant: these measures are of numbers")
            };
            let metric = statistic(&doubles(numbers.column(k)), self.blocks)?;
            Ok((measured.name().to_owned(), metric))
        };
        self.measures.iter().enumerate().map(metric).collect()
    }
}

/// The mean over samples of the Euclidean distance to the features of the reference solution.
struct FeaturesToSolution {
    column: String,
    extractor: Rc<dyn FeatureExtractor>,
    quantise: bool,
    place: Place,
    blocks: usize,
}

impl Instrument for FeaturesToSolution {
    fn width(&self) -> usize {
        1
    }

    #[allow(clippy::cast_possible_truncation, reason = "seven digits of an error are enough")]
    fn read(&self, samples: &Samples) -> Result<Array2<f32>> {
        let solution = samples.solution.as_ref().expect("invariant: its cells have a solution");
        let features = |images: &Array4<f32>| {
            features(&*self.extractor, images.view(), self.quantise, &self.place)
        };
        let difference = features(&samples.images)? - features(solution)?;
        let squares = difference.mapv(f64::from).mapv(|x| x * x).sum_axis(Axis(1));
        Ok(squares.mapv(|square| square.sqrt() as f32).insert_axis(Axis(1)))
    }

    fn metrics(&self, numbers: ArrayView2<'_, f32>) -> Result<Metrics> {
        let mean = Jackknife::of_mean(&doubles(numbers.column(0)), self.blocks)?;
        Ok(Metrics::from([(self.column.clone(), mean)]))
    }
}

/// The mean over paths of their length in features over the distance of their ends.
struct PathInFeatures {
    column: String,
    extractor: Rc<dyn FeatureExtractor>,
    quantise: bool,
    place: Place,
    blocks: usize,
}

impl Instrument for PathInFeatures {
    fn width(&self) -> usize {
        1
    }

    #[allow(clippy::cast_possible_truncation, reason = "seven digits of a length are enough")]
    fn read(&self, samples: &Samples) -> Result<Array2<f32>> {
        let images = samples.path.as_ref().expect("invariant: its cells make paths");
        // The pictures are those of one path.
        let points = samples.images.len_of(Axis(0));
        let features = features(&*self.extractor, images.view(), self.quantise, &self.place)?;
        let apart = |a: usize, b: usize| {
            let pair = features.row(a).into_iter().zip(features.row(b));
            pair.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
        };
        let paths = features.nrows() / points;
        Ok(Array2::from_shape_fn((paths, 1), |(row, _)| {
            let (first, last) = (row * points, (row + 1) * points - 1);
            let steps: Vec<f64> = (first..last).map(|at| apart(at, at + 1)).collect();
            path(&steps, apart(first, last))[0] as f32
        }))
    }

    fn metrics(&self, numbers: ArrayView2<'_, f32>) -> Result<Metrics> {
        let mean = Jackknife::of_mean(&doubles(numbers.column(0)), self.blocks)?;
        Ok(Metrics::from([(self.column.clone(), mean)]))
    }
}

/// One number of each sample, in the precision that statistics are computed in.
fn doubles(numbers: ArrayView1<'_, f32>) -> Vec<f64> {
    numbers.iter().copied().map(f64::from).collect()
}
