//! What a manifest asks for, checked and complete: the cells to run and how to show them.
//!
//! The [`CellSpec`] holds everything that decides a cell's numbers and nothing else, with every
//! default written out: two manifests that mean the same cell give the same JSON, and so the same
//! key. Names of methods stay strings here; `harness/build` gives them meaning.

pub mod presentation;
pub mod stated;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::manifest::diagnostic::Place;
use crate::manifest::overlay::Table;
use crate::networks::predicts::Predicts;
use crate::plan::presentation::{ClaimSpec, PaperValues, PlotSpec, TableSpec};
use crate::plan::stated::Stated;

/// A manifest, read in full.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the experiment and of its results folder.
    pub name: String,
    /// The profile laid over the base, if any.
    pub profile: Option<String>,
    /// The axes of the sweep, in file order.
    pub axes: Vec<Axis>,
    /// The product of the axes; the last axis changes fastest. One cell if there is no sweep.
    pub cells: Vec<Cell>,
    /// `[table]`.
    pub table: Option<TableSpec>,
    /// `[paper]`.
    pub paper: Option<PaperValues>,
    /// `[[claim]]`.
    pub claims: Vec<ClaimSpec>,
    /// `[[plot]]`.
    pub plots: Vec<PlotSpec>,
    /// The manifest that gives this plan without a profile or arguments, for the results folder.
    pub text: String,
}

impl Plan {
    /// The remarks on its cells, each once.
    pub fn remarks(&self) -> Vec<&str> {
        once(self.cells.iter().flat_map(|cell| &cell.remarks).map(String::as_str))
    }

    /// What the folders of its models say, each once.
    pub fn stated(&self) -> Vec<String> {
        once(self.cells.iter().filter_map(|cell| cell.stated.as_ref()).map(Stated::detail))
    }

    /// Where results go unless told otherwise: `results/NAME`, and a folder of its own for each
    /// profile that does not name one.
    pub fn default_folder(&self) -> PathBuf {
        let folder = match &self.profile {
            Some(profile) if !self.name.ends_with(&format!("-{profile}")) => {
                format!("{}-{profile}", self.name)
            }
            _ => self.name.clone(),
        };
        Path::new("results").join(folder)
    }
}

/// The same without what came before.
fn once<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.fold(vec![], |mut all, item| {
        if !all.contains(&item) {
            all.push(item);
        }
        all
    })
}

/// One axis of the sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// A dotted path (`grid.steps`), or the free name of a bundle (`variance`).
    pub name: String,
    /// One label per value: what was written, or the bundle's `label`.
    pub labels: Vec<String>,
}

/// One combination of the axes' values.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Position in the plan.
    pub index: usize,
    /// `(axis, label)` in the order of the axes.
    pub params: Vec<(String, String)>,
    /// What decides the cell's numbers.
    pub spec: CellSpec,
    /// What the model's folder says, where it says something.
    pub stated: Option<Stated>,
    /// What a reader of the numbers should know: where manifest and folder differ, and what was
    /// assumed.
    pub remarks: Vec<String>,
    /// The manifest with this cell's values laid over it.
    pub(crate) tree: Table,
    /// The manifest as a whole, for what is written nowhere.
    pub(crate) whole: Place,
}

impl Cell {
    /// Where the value at a dotted path was written: in the base, a profile, the sweep or an
    /// argument. A default has the place of its section, or of the manifest as a whole.
    pub fn locate(&self, path: &str) -> Place {
        self.tree.locate(path, &self.whole)
    }
}

/// Everything that decides a cell's numbers, defaults written out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CellSpec {
    /// Seed of all noise.
    pub seed: u64,
    /// Number of samples N.
    pub samples: usize,
    /// Samples per model call; part of what is promised to the byte.
    pub batch: usize,
    /// Precision of the network.
    pub precision: Precision,
    /// Precision of the states between its calls; absent from the JSON if it is the default.
    #[serde(skip_serializing_if = "StateKind::is_default")]
    pub state: StateKind,
    /// `[model]`.
    pub model: ModelSpec,
    /// `[schedule]`.
    pub schedule: ScheduleSpec,
    /// `[grid]`.
    pub grid: GridSpec,
    /// `[solver]`.
    pub solver: SolverSpec,
    /// `[metrics]`; none if nothing is to be measured.
    pub metrics: Option<MetricsSpec>,
    /// `[truth]`: what the metrics `error` and `feature-error` are measured to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truth: Option<TruthSpec>,
    /// What is done; absent from the JSON if samples are drawn.
    #[serde(skip_serializing_if = "Task::is_default")]
    pub task: Task,
}

impl CellSpec {
    /// The spec as JSON with its keys in a fixed order and floats in their shortest form.
    ///
    /// # Panics
    /// Never: the spec has string keys and finite numbers.
    pub fn canonical_json(&self) -> String {
        serde_json::to_string(self).expect("invariant: plain data serialises")
    }

    /// The cell's key: SHA-256 of the canonical JSON and of the hashes of the files it reads.
    ///
    /// `inputs` maps a role (`weights`, `reference`) to the hash of its content, so that a file
    /// changed in place is a different cell.
    pub fn key(&self, inputs: &BTreeMap<String, String>) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.canonical_json());
        for (role, hash) in inputs {
            hasher.update(format!("\n{role}={hash}"));
        }
        hasher.finalize().iter().fold(String::new(), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// Precision of a network's arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision, the default of a measured result.
    F32,
    /// Half precision with eight bits of exponent; to be stated wherever it was used.
    Bf16,
}

/// Precision of what a solver carries from step to step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StateKind {
    /// Single precision, the default of a network.
    #[default]
    F32,
    /// Double precision: round trips then lose nothing to the sums. Exact-score models have no other.
    F64,
}

impl StateKind {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `[model]`: where the denoiser comes from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelSpec {
    /// A folder or file of weights, `hf:owner/name[/path][@revision]`, or the name of an exact-score model.
    pub source: String,
    /// What it predicts.
    pub prediction: Predicts,
    /// Whether the predicted x0 is clamped to +- `clip_range`, and the noise derived from it again.
    pub clip_x0: bool,
    /// The bound of the clamp; 1 unless `clip_x0`.
    #[serde(skip_serializing_if = "is_one")]
    pub clip_range: f64,
    /// Whether the weights as they were trained are meant, where a file has their moving average
    /// too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub raw: bool,
    /// Shape of one image of a network, where its files do not say it or another one is meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shape: Vec<usize>,
    /// Numbers of an exact-score model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<ExactSpec>,
}

/// Numbers of an exact-score model, one entry per component.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExactSpec {
    /// Shape of one sample.
    pub shape: Vec<usize>,
    /// Means.
    pub mean: Vec<f64>,
    /// Standard deviations; empty for a model that has none.
    pub std: Vec<f64>,
    /// Weights of a mixture, as written; empty means equal ones.
    pub weights: Vec<f64>,
}

/// `[schedule]`: the levels of noise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScheduleSpec {
    /// Name of the schedule.
    pub kind: String,
    /// First beta, for schedules that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta_start: Option<f64>,
    /// Last beta, for schedules that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta_end: Option<f64>,
    /// The betas themselves, where no rule gives them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub betas: Vec<f64>,
    /// Number of training levels T.
    pub horizon: usize,
    /// Whether the levels are rescaled to alpha_bar = 0 at the last.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub zero_terminal_snr: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_one(number: &f64) -> bool {
    number.to_bits() == 1.0_f64.to_bits()
}

/// `[grid]`: which levels a sample visits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GridSpec {
    /// The rule, or the labels themselves.
    pub tau: Tau,
    /// The requested number of steps S.
    #[serde(flatten)]
    pub steps: Steps,
    /// Where the last step goes.
    pub end: End,
    /// Exponent of Karras et al. 2022, eq. (5), for grids that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rho: Option<f64>,
    /// From one sigma to another instead of all the way: x_T is carried to the first by the truth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<[f64; 2]>,
}

/// How many steps a grid has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Steps {
    /// S itself.
    #[serde(rename = "steps")]
    Number(usize),
    /// As many as the solver can make of at most so many model calls per sample.
    #[serde(rename = "calls")]
    Calls(u64),
}

/// A rule for the levels, or an explicit list.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Tau {
    /// Name of a rule.
    Rule(String),
    /// 0-based labels, from the noisiest down.
    Labels(Vec<f64>),
}

/// Where the last step goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// To the clean sample.
    Clean,
    /// To the grid's lowest level.
    FirstLevel,
}

/// `[solver]`: the method.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SolverSpec {
    /// Name of the method.
    pub kind: String,
    /// How much noise a step adds; none for methods without that choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variance: Option<VarianceSpec>,
    /// The method's own numbers, defaults written out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, f64>,
    /// How it encodes; absent from the JSON if it is the default.
    #[serde(skip_serializing_if = "Inversion::is_default")]
    pub inversion: Inversion,
}

/// Where the model is asked when a method runs from an image to its latent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inversion {
    /// At the level x is at: the method on the reversed grid as it is.
    #[default]
    Current,
    /// About the x at hand, with the label of the level it goes to.
    Next,
    /// As often as given, about what the step led to before: the step's own inverse in the limit.
    FixedPoint(usize),
}

impl Inversion {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The noise a step adds: one choice, never two flags.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VarianceSpec {
    /// Song et al. 2021, eq. (16).
    Eta(f64),
    /// A named rule, for instance `sigma-hat`.
    Named(String),
}

/// `[truth]`: the solution of the probability-flow ODE that `error` and `feature-error` are measured
/// to, from the same noise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TruthSpec {
    /// A deterministic method, or `exact`.
    pub solver: SolverSpec,
    /// Its own grid; without one it goes from the first level of the cell's grid to the last in one
    /// step, which adaptive and exact methods divide as they need.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grid: Option<GridSpec>,
}

/// `task`: what a cell does with its model, grid and solver.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Draws samples.
    #[default]
    Sample,
    /// Encodes images and decodes them again.
    Reconstruct(ImagesSpec),
    /// Decodes the arc between two draws of noise at so many points, its ends included.
    Interpolate(usize),
}

impl Task {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `[images]`: what is encoded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImagesSpec {
    /// A data set's name or path, or `truth` for what the truth makes of each sample's noise.
    pub source: String,
    /// `train` or `test`, for sets that have splits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// CSV file that lists images of CIFAR-10 to leave out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude: Option<String>,
}

impl ImagesSpec {
    /// The source that is no data set.
    pub const TRUTH: &str = "truth";

    /// Whether the images are the truth's, and their noise is known.
    pub fn is_truth(&self) -> bool {
        self.source == Self::TRUTH
    }
}

/// `[metrics]`: what is measured on the samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricsSpec {
    /// The network whose features are compared; none where no measure needs features.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<String>,
    /// Features of the data set; none where no measure needs them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Number of disjoint blocks of samples behind an interval.
    pub blocks: usize,
    /// Whether samples are rounded to 8 bits first, as they would be when saved.
    pub quantise: bool,
    /// The distances, in the order of [`Measured`]; absent from the JSON if it is the default, as
    /// it is from the keys of results that are older than the choice.
    #[serde(skip_serializing_if = "is_default")]
    pub measures: Vec<Measured>,
    /// Further networks whose features are compared in the same way, by the names that follow the
    /// metric's: `fd.NAME`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub also: BTreeMap<String, AlsoSpec>,
}

/// `[metrics.also.NAME]`: one more network for the measures that compare distributions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlsoSpec {
    /// The network.
    pub features: String,
    /// Its features of the data set; none where no measure needs them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// A metric of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric<'a> {
    /// The name that a manifest uses: `fd`, `fd.NAME`.
    pub name: String,
    /// Its entry of [`METRICS`].
    pub kind: &'static str,
    /// The network whose features it is made of; none where it needs none.
    pub features: Option<&'a str>,
}

impl Metric<'_> {
    /// Whether sets are ranked by it: it describes all samples at once, at their number.
    pub fn is_ranked(&self) -> bool {
        let measure = Measured::of(self.kind).filter(|measure| measure.name() == self.kind);
        measure.is_some_and(Measured::is_of_distribution)
    }
}

impl MetricsSpec {
    /// The metrics of a cell: those of the first network or of none, then those of each further one.
    pub fn metrics(&self) -> Vec<Metric<'_>> {
        let kinds = METRICS
            .into_iter()
            .filter(|name| Measured::of(name).is_some_and(|measure| self.asks_for(measure)));
        let is = |of: fn(Measured) -> bool| {
            move |kind: &&'static str| Measured::of(kind).is_some_and(of)
        };
        let first = kinds.clone().map(|kind| Metric {
            name: kind.to_owned(),
            kind,
            features: self.features.as_deref().filter(|_| is(Measured::needs_features)(&kind)),
        });
        let also = self.also.iter().flat_map(|(network, also)| {
            let kinds = kinds.clone().filter(is(Measured::is_of_features));
            kinds.map(move |kind| Metric {
                name: format!("{kind}.{network}"),
                kind,
                features: Some(&also.features),
            })
        });
        first.chain(also).collect()
    }

    /// Every network with its reference, each by what follows `metrics.` in a manifest and the
    /// roles of their hashes: empty for the first, `also.NAME.` for a further one.
    pub fn networks(&self) -> impl Iterator<Item = (String, &str, Option<&str>)> {
        let first = self.features.as_deref();
        let first = first.map(|features| (String::new(), features, self.reference.as_deref()));
        first.into_iter().chain(self.also.iter().map(|(name, also)| {
            (format!("also.{name}."), also.features.as_str(), also.reference.as_deref())
        }))
    }

    /// The first measure that compares with a truth, if there is one.
    pub fn measured_to_truth(&self) -> Option<Measured> {
        self.measures.iter().copied().find(|measure| measure.needs_truth())
    }

    /// Whether a measure is asked for.
    pub fn asks_for(&self, measure: Measured) -> bool {
        self.measures.contains(&measure)
    }
}

/// The Fréchet distance's name in manifests.
pub const FD: &str = "fd";
/// The kernel distance's name in manifests.
pub const KID: &str = "kid";

/// The Inception Score's name in manifests.
pub const IS: &str = "is";

/// The name in manifests of the share of samples that lie where the data is.
pub const PRECISION: &str = "precision";

/// The name in manifests of the share of the data that lies where samples are.
pub const RECALL: &str = "recall";

/// The name in manifests of the squared sliced Wasserstein distance to exact draws.
pub const SLICED_WASSERSTEIN: &str = "sliced-wasserstein";

/// The name in manifests of the squared difference of means to exact draws.
pub const MEAN_ERROR: &str = "mean-error";

/// The name in manifests of the squared difference of covariances to exact draws.
pub const COVARIANCE_ERROR: &str = "covariance-error";

/// What follows the name of a distance to exact draws where other exact draws stand in the place of
/// the samples: what perfect samples have at this N.
pub const FLOOR: &str = ".floor";

/// The name in manifests of the distance to the truth.
pub const ERROR: &str = "error";

/// The name in manifests of that distance's median.
pub const ERROR_MEDIAN: &str = "error-median";

/// The name in manifests of the distance to the features of the truth.
pub const FEATURE_ERROR: &str = "feature-error";

/// Every metric a manifest can name, in the order of the columns.
pub const METRICS: [&str; 25] = [
    FD,
    KID,
    IS,
    PRECISION,
    RECALL,
    SLICED_WASSERSTEIN,
    "sliced-wasserstein.floor",
    MEAN_ERROR,
    "mean-error.floor",
    COVARIANCE_ERROR,
    "covariance-error.floor",
    ERROR,
    ERROR_MEDIAN,
    FEATURE_ERROR,
    "mse",
    "mse-raw",
    "latent-mean",
    "latent-std",
    "latent-kurtosis",
    "latent-horizontal",
    "latent-vertical",
    "latent-norm",
    "latent-error",
    "path-length",
    "path-jump",
];

/// What is measured on samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measured {
    /// The Fréchet distance.
    Fd,
    /// The kernel distance.
    Kid,
    /// The Inception Score: higher is better.
    Is,
    /// The share of samples inside the neighbourhoods of the data: higher is better.
    Precision,
    /// The share of the data inside the neighbourhoods of the samples: higher is better.
    Recall,
    /// The squared sliced 2-Wasserstein distance to exact draws of an exact-score model's data.
    SlicedWasserstein,
    /// The squared difference of the samples' mean from that of exact draws, per dimension.
    MeanError,
    /// The squared difference of the samples' covariance from that of exact draws, per dimension.
    CovarianceError,
    /// The root mean square difference of a sample from the truth of the same noise, averaged over
    /// samples.
    Error,
    /// The median over samples of that difference, which a heavy tail does not move.
    ErrorMedian,
    /// The Euclidean distance between the features of a sample and those of the truth of the same
    /// noise, averaged over samples.
    FeatureError,
    /// A reconstruction's mean squared error per dimension, of values in [0, 1].
    Mse,
    /// The same of values in [-1, 1].
    MseRaw,
    /// The mean of a latent's elements.
    LatentMean,
    /// Their standard deviation.
    LatentStd,
    /// Their excess kurtosis.
    LatentKurtosis,
    /// The correlation of horizontal neighbours in a latent.
    LatentHorizontal,
    /// The correlation of vertical neighbours.
    LatentVertical,
    /// A latent's norm over the root of its dimension.
    LatentNorm,
    /// The root mean square difference of a latent from the noise that its image was made of.
    LatentError,
    /// The length of an interpolated path of images over the distance of its ends.
    PathLength,
    /// The longest step of such a path over its mean step.
    PathJump,
}

impl Measured {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::Fd,
        Self::Kid,
        Self::Is,
        Self::Precision,
        Self::Recall,
        Self::SlicedWasserstein,
        Self::MeanError,
        Self::CovarianceError,
        Self::Error,
        Self::ErrorMedian,
        Self::FeatureError,
        Self::Mse,
        Self::MseRaw,
        Self::LatentMean,
        Self::LatentStd,
        Self::LatentKurtosis,
        Self::LatentHorizontal,
        Self::LatentVertical,
        Self::LatentNorm,
        Self::LatentError,
        Self::PathLength,
        Self::PathJump,
    ];

    /// What is measured unless the manifest says more.
    pub const DEFAULT: [Self; 1] = [Self::Fd];

    /// Its name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fd => FD,
            Self::Kid => KID,
            Self::Is => IS,
            Self::Precision => PRECISION,
            Self::Recall => RECALL,
            Self::SlicedWasserstein => SLICED_WASSERSTEIN,
            Self::MeanError => MEAN_ERROR,
            Self::CovarianceError => COVARIANCE_ERROR,
            Self::Error => ERROR,
            Self::ErrorMedian => ERROR_MEDIAN,
            Self::FeatureError => FEATURE_ERROR,
            Self::Mse => "mse",
            Self::MseRaw => "mse-raw",
            Self::LatentMean => "latent-mean",
            Self::LatentStd => "latent-std",
            Self::LatentKurtosis => "latent-kurtosis",
            Self::LatentHorizontal => "latent-horizontal",
            Self::LatentVertical => "latent-vertical",
            Self::LatentNorm => "latent-norm",
            Self::LatentError => "latent-error",
            Self::PathLength => "path-length",
            Self::PathJump => "path-jump",
        }
    }

    /// The task it belongs to, by its name in manifests.
    pub fn task(self) -> &'static str {
        match self {
            Self::Error | Self::ErrorMedian | Self::FeatureError => "sample",
            of if of.is_of_distribution() => "sample",
            Self::PathLength | Self::PathJump => "interpolate",
            _ => "reconstruct",
        }
    }

    /// The measure behind a metric's name: of `fd.NAME` it is `fd`.
    pub fn of(metric: &str) -> Option<Self> {
        let name = metric.split('.').next();
        Self::ALL.into_iter().find(|measure| Some(measure.name()) == name)
    }

    /// Whether it describes all samples at once.
    pub fn is_of_distribution(self) -> bool {
        self.is_of_features() || self.needs_draws()
    }

    /// Whether it describes all samples at once, by the distribution of their features.
    pub fn is_of_features(self) -> bool {
        matches!(self, Self::Fd | Self::Kid | Self::Is | Self::Precision | Self::Recall)
    }

    /// Whether it compares all samples with exact draws of the data.
    pub fn needs_draws(self) -> bool {
        matches!(self, Self::SlicedWasserstein | Self::MeanError | Self::CovarianceError)
    }

    /// Whether it is made of features.
    pub fn needs_features(self) -> bool {
        self.is_of_features() || self == Self::FeatureError
    }

    /// Whether it compares each sample with the truth of the same noise.
    pub fn needs_truth(self) -> bool {
        matches!(self, Self::Error | Self::ErrorMedian | Self::FeatureError)
    }

    /// Whether it compares features with those of a data set.
    pub fn needs_reference(self) -> bool {
        self.is_of_features() && self != Self::Is
    }
}

fn is_default(measures: &[Measured]) -> bool {
    measures == Measured::DEFAULT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> CellSpec {
        CellSpec {
            seed: 0,
            samples: 8,
            batch: 4,
            precision: Precision::F32,
            state: StateKind::F32,
            model: ModelSpec {
                source: "models/a".to_owned(),
                prediction: Predicts::Eps,
                clip_x0: false,
                clip_range: 1.0,
                raw: false,
                shape: vec![],
                exact: None,
            },
            schedule: ScheduleSpec {
                kind: "linear".to_owned(),
                beta_start: Some(1e-4),
                beta_end: Some(0.02),
                betas: vec![],
                horizon: 1000,
                zero_terminal_snr: false,
            },
            grid: GridSpec {
                tau: Tau::Labels(vec![999.0, 0.0]),
                steps: Steps::Number(2),
                end: End::FirstLevel,
                rho: None,
                window: None,
            },
            solver: SolverSpec {
                kind: "ddim".to_owned(),
                variance: Some(VarianceSpec::Eta(0.2)),
                options: BTreeMap::new(),
                inversion: Inversion::Current,
            },
            metrics: None,
            truth: None,
            task: Task::Sample,
        }
    }

    #[test]
    fn the_canonical_json_is_pinned_because_keys_on_disk_depend_on_it() {
        insta::assert_snapshot!(spec().canonical_json(), @r#"
        {"seed":0,"samples":8,"batch":4,"precision":"f32","model":{"source":"models/a","prediction":"eps","clip_x0":false},"schedule":{"kind":"linear","beta_start":0.0001,"beta_end":0.02,"horizon":1000},"grid":{"tau":[999.0,0.0],"steps":2,"end":"first-level"},"solver":{"kind":"ddim","variance":{"eta":0.2}},"metrics":null}
        "#);
    }

    #[test]
    fn a_key_changes_with_the_spec_and_with_the_content_of_its_files() {
        let none = BTreeMap::new();
        let weights = BTreeMap::from([("weights".to_owned(), "ab".to_owned())]);
        let other = CellSpec { seed: 1, ..spec() };
        assert_eq!(spec().key(&none), spec().key(&none));
        assert_eq!(spec().key(&none).len(), 64);
        assert_ne!(spec().key(&none), spec().key(&weights));
        assert_ne!(spec().key(&none), other.key(&none));
    }
}
