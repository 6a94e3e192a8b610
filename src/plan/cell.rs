//! What decides a cell's numbers.
//!
//! Names are resolved here: a [`CellSpec`] holds the tau, the variance and the schedule that are
//! meant, and only solvers go by name, because programs add their own. Cell keys are hashes of its
//! JSON, which therefore keeps its words even when the types change.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Serialize, Serializer, ser::SerializeMap};
use sha2::{Digest, Sha256};

use crate::{
    data::Split,
    likelihood::{Probe, Terms, Weights},
    networks::{placement::Precision, predicts::Predicts},
    plan::{
        grid::{GridSpec, ScheduleSpec},
        metrics::MetricsSpec,
    },
    solvers::Variance,
};

/// Everything that decides a cell's numbers, defaults written out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CellSpec {
    /// Seed of all noise.
    pub seed: u64,
    /// Number of samples N.
    pub samples: usize,
    /// Samples per model call; the bytes of the results depend on it.
    pub batch: usize,
    /// Precision of the network.
    pub precision: Precision,
    /// Precision of the states between model calls; absent from the JSON if it is the default.
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
    /// `[metrics]`; absent if nothing is measured.
    pub metrics: Option<MetricsSpec>,
    /// `[solution]`: what the metrics `error` and `feature-error` compare with. The JSON keeps its old
    /// name, because the keys of results on disk are hashes of it.
    #[serde(rename = "truth", skip_serializing_if = "Option::is_none")]
    pub solution: Option<ReferenceSolution>,
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

/// Precision of what a solver carries from step to step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StateKind {
    /// Single precision, the default of a network.
    #[default]
    F32,
    /// Double precision, so that sums of steps round nothing away. Exact-score models only use this.
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
    /// Whether to use the weights as they were trained, where a file has their moving average too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub raw: bool,
    /// Whether the network is compiled before it runs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub compiled: bool,
    /// Shape of one image, if the network's files do not state it or it is to be another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shape: Vec<usize>,
    /// Numbers of an exact-score model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<ExactSpec>,
}

/// The models whose score is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExactKind {
    /// One Gaussian.
    Gaussian,
    /// Several.
    Mixture,
    /// A single point.
    Dirac,
    /// The best model of one Gaussian that is linear in x; its score is exact unless weights are shared.
    Linear,
    /// A table of categories, which has posteriors in the place of a score.
    Categorical,
}

impl ExactKind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Gaussian, Self::Mixture, Self::Dirac, Self::Linear, Self::Categorical];

    /// Those that data can be drawn from by their own name.
    pub const DATA: [Self; 3] = [Self::Gaussian, Self::Mixture, Self::Dirac];

    /// Its name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gaussian => "gaussian",
            Self::Mixture => "mixture",
            Self::Dirac => "dirac",
            Self::Linear => "linear",
            Self::Categorical => "categorical",
        }
    }

    /// The keys of `[model]` that are its own.
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Gaussian => &["shape", "mean", "std"],
            Self::Mixture => &["shape", "mean", "std", "weights"],
            Self::Dirac => &["shape", "mean"],
            Self::Linear => &["shape", "mean", "std", "shared"],
            Self::Categorical => &["shape", "table"],
        }
    }
}

/// Numbers of an exact-score model, one entry per component.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExactSpec {
    /// Which of them; its name is the model's source.
    #[serde(skip)]
    pub kind: ExactKind,
    /// Shape of one sample; empty for data, which has the model's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shape: Vec<usize>,
    /// Means.
    pub mean: Vec<f64>,
    /// Standard deviations; empty for a model that has none.
    pub std: Vec<f64>,
    /// Weights of a mixture, as written; empty means equal ones.
    pub weights: Vec<f64>,
    /// The gamma that a linear model whose weights are the same at all levels is fitted to; absent where
    /// each level has its own.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_weights")]
    pub shared: Option<Weights>,
    /// Weights of all values of a categorical model, as written; absent from the JSON of any other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub table: Vec<f64>,
}

impl ModelSpec {
    /// Whether its data are categories and no images.
    pub fn is_categorical(&self) -> bool {
        self.exact.as_ref().is_some_and(|exact| exact.kind == ExactKind::Categorical)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_one(number: &f64) -> bool {
    number.to_bits() == 1.0_f64.to_bits()
}

/// `[solver]`: the method.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SolverSpec {
    /// Name of the method.
    pub kind: String,
    /// How much noise a step adds; absent for methods without that choice.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "variance")]
    pub variance: Option<Variance>,
    /// The method's own numbers, defaults written out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, f64>,
    /// How it encodes; absent from the JSON if it is the default.
    #[serde(skip_serializing_if = "Inversion::is_default")]
    pub inversion: Inversion,
}

impl SolverSpec {
    /// A method with nothing but defaults.
    pub fn new(kind: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            variance: None,
            options: BTreeMap::new(),
            inversion: Inversion::Current,
        }
    }
}

/// Where the model is asked when a method runs from an image to its latent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inversion {
    /// At the level of x: the method itself on the reversed grid.
    #[default]
    Current,
    /// With the current x and the timestep of the next level.
    Next,
    /// This many times, each with the result of the step before: in the limit, the inverse of the step.
    FixedPoint(usize),
}

impl Inversion {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The variances with a name; all others are an eta.
pub const VARIANCES: [(&str, Variance); 2] =
    [("sigma-hat", Variance::SigmaHat), ("learned", Variance::Learned)];

/// As manifests have it: `{"eta":0.2}`, `{"named":"sigma-hat"}`.
#[allow(clippy::ref_option, reason = "the signature is serde's")]
fn variance<S: Serializer>(variance: &Option<Variance>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    match variance {
        Some(Variance::Eta(eta)) => map.serialize_entry("eta", eta)?,
        other => {
            let named = VARIANCES.iter().find(|(_, known)| Some(*known) == *other);
            map.serialize_entry("named", &named.map(|(name, _)| name))?;
        }
    }
    map.end()
}

/// `[solution]`: the solution of the probability-flow ODE from the same noise, with which `error` and
/// `feature-error` compare.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReferenceSolution {
    /// What solves it.
    #[serde(rename = "solver")]
    pub method: Solves,
    /// Its own grid; without one, a single step from the first level of the cell's grid to the last,
    /// which adaptive and exact methods divide as they need.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grid: Option<GridSpec>,
}

/// What solves the probability-flow ODE.
#[derive(Clone, Debug, PartialEq)]
pub enum Solves {
    /// The exact flow of an exact-score model.
    Exact,
    /// A deterministic method.
    Method(SolverSpec),
}

impl Solves {
    /// The name of the exact flow in manifests.
    pub const EXACT: &str = "exact";
}

impl Serialize for Solves {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Exact => SolverSpec::new(Self::EXACT).serialize(serializer),
            Self::Method(method) => method.serialize(serializer),
        }
    }
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
    /// Decodes the arc between two draws of noise.
    Interpolate(ArcSpec),
    /// Says how likely images are.
    Bits(BitsSpec),
    /// Takes the variational objective and the weighted loss on images.
    Objective(ObjectiveSpec),
}

/// What `task = "objective"` sums, and on what.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ObjectiveSpec {
    /// `[images]`.
    #[serde(flatten)]
    pub images: ImagesSpec,
    /// The weights gamma.
    #[serde(serialize_with = "weights")]
    pub weights: Weights,
    /// The t of the only term; absent if all are summed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term: Option<usize>,
}

impl ObjectiveSpec {
    /// The terms that are summed.
    pub fn terms(&self) -> Terms {
        self.term.map_or(Terms::All, Terms::One)
    }
}

/// The weights gamma by name.
pub const WEIGHTS: [(&str, Weights); 3] =
    [("exact", Weights::Exact), ("printed", Weights::Printed), ("one", Weights::One)];

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn weights<S: Serializer>(weights: &Weights, serializer: S) -> Result<S::Ok, S::Error> {
    optional_weights(&Some(*weights), serializer)
}

#[allow(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn optional_weights<S: Serializer>(
    weights: &Option<Weights>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let named = WEIGHTS.iter().find(|(_, known)| Some(*known) == *weights);
    named.map(|(name, _)| name).serialize(serializer)
}

/// What `task = "bits"` measures, and how.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BitsSpec {
    /// `[images]`.
    #[serde(flatten)]
    pub images: ImagesSpec,
    /// How the divergence of the ODE is taken; absent for a method that draws noise, which has a bound.
    #[serde(flatten)]
    pub trace: Option<TraceSpec>,
}

/// `[likelihood]`: how the trace of the network's Jacobian is taken.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TraceSpec {
    /// Random directions; none for the exact trace.
    #[serde(rename = "trace", serialize_with = "trace")]
    pub kind: Option<Probe>,
    /// How many of them; 1 for the exact trace.
    pub probes: u8,
}

/// The traces by name.
pub const TRACES: [(&str, Option<Probe>); 3] =
    [("exact", None), ("rademacher", Some(Probe::Rademacher)), ("gaussian", Some(Probe::Gaussian))];

#[allow(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn trace<S: Serializer>(kind: &Option<Probe>, serializer: S) -> Result<S::Ok, S::Error> {
    let named = TRACES.iter().find(|(_, known)| known == kind);
    serializer.serialize_str(named.map_or("", |(name, _)| name))
}

impl Task {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// How the divergence of an ODE is taken; none where there is none.
    pub fn trace(&self) -> Option<&TraceSpec> {
        if let Self::Bits(bits) = self { bits.trace.as_ref() } else { None }
    }

    /// The images it begins with; none of a task that begins with noise.
    pub fn images(&self) -> Option<&ImagesSpec> {
        match self {
            Self::Reconstruct(images)
            | Self::Bits(BitsSpec { images, .. })
            | Self::Objective(ObjectiveSpec { images, .. }) => Some(images),
            Self::Sample | Self::Interpolate(_) => None,
        }
    }
}

/// The arc between two draws of noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArcSpec {
    /// How many points of it are decoded, its ends included.
    pub points: usize,
    /// Whether a method that draws noise draws the same for all points of an arc.
    pub shared: bool,
}

impl Serialize for ArcSpec {
    /// A number alone unless noise is shared, because keys on disk depend on it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.shared {
            return self.points.serialize(serializer);
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("points", &self.points)?;
        map.serialize_entry("noise", "shared")?;
        map.end()
    }
}

/// `[images]`: what is encoded or coded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImagesSpec {
    /// A data set's name or path, `solution` for what the reference solution makes of each sample's
    /// noise, `draws` for draws of the model's own data, or the name of a distribution.
    #[serde(serialize_with = "source_of_images")]
    pub source: String,
    /// Which part, of sets that have splits.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "split")]
    pub split: Option<Split>,
    /// CSV file that lists images of CIFAR-10 to leave out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude: Option<String>,
    /// The distribution that they are drawn from, if it is not the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<ExactSpec>,
}

#[allow(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn split<S: Serializer>(split: &Option<Split>, serializer: S) -> Result<S::Ok, S::Error> {
    split.map(Split::name).serialize(serializer)
}

/// The JSON keeps the old name of the reference solution, because keys on disk depend on it.
fn source_of_images<S: Serializer>(source: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if source == ImagesSpec::SOLUTION { "truth" } else { source })
}

impl ImagesSpec {
    /// The source that is not a data set.
    pub const SOLUTION: &str = "solution";

    /// Whether the images are the reference solution's, and their noise is known.
    pub fn is_solution(&self) -> bool {
        self.source == Self::SOLUTION
    }

    /// The source that is draws of an exact-score model's data.
    pub const DRAWS: &str = "draws";

    /// Whether the images are draws of the model's own data.
    pub fn is_draws(&self) -> bool {
        self.source == Self::DRAWS
    }

    /// Whether the images are drawn from a distribution: the model's own or another.
    pub fn is_drawn(&self) -> bool {
        self.is_draws() || self.exact.is_some()
    }

    /// The distribution that they are drawn from, with this model; none of a data set and of solutions.
    pub fn distribution<'a>(&'a self, model: &'a ModelSpec) -> Option<&'a ExactSpec> {
        self.exact.as_ref().or(model.exact.as_ref()).filter(|_| self.is_drawn())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{End, Tau};

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
                compiled: false,
                shape: vec![],
                exact: None,
            },
            schedule: ScheduleSpec::default(),
            grid: GridSpec {
                end: End::FirstLevel,
                ..GridSpec::new(Tau::Explicit(vec![999.0, 0.0]), 2)
            },
            solver: SolverSpec {
                kind: "ddim".to_owned(),
                variance: Some(Variance::Eta(0.2)),
                options: BTreeMap::new(),
                inversion: Inversion::Current,
            },
            metrics: None,
            solution: None,
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
    fn the_canonical_json_keeps_the_old_name_of_the_reference_solution() {
        let images =
            ImagesSpec { source: "solution".to_owned(), split: None, exclude: None, exact: None };
        let method = Solves::Method(SolverSpec { kind: "heun".to_owned(), ..spec().solver });
        let cell = CellSpec {
            solution: Some(ReferenceSolution { method, grid: Some(spec().grid) }),
            task: Task::Reconstruct(images),
            ..spec()
        };
        let json = cell.canonical_json();
        insta::assert_snapshot!(json[json.find("\"metrics\"").unwrap()..].to_owned(), @r#""metrics":null,"truth":{"solver":{"kind":"heun","variance":{"eta":0.2}},"grid":{"tau":[999.0,0.0],"steps":2,"end":"first-level"}},"task":{"reconstruct":{"source":"truth"}}}"#);
    }

    #[test]
    fn an_arc_of_points_with_noise_of_their_own_is_its_number_of_points() {
        let json = |shared| {
            let task = Task::Interpolate(ArcSpec { points: 9, shared });
            let json = CellSpec { task, ..spec() }.canonical_json();
            json[json.find("\"task\"").unwrap()..].to_owned()
        };
        assert_eq!(json(false), r#""task":{"interpolate":9}}"#);
        assert_eq!(json(true), r#""task":{"interpolate":{"points":9,"noise":"shared"}}}"#);
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
