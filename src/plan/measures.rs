//! What can be measured: one table, read by everything that names a measure.
//!
//! A new measure is a line of `TABLE`, its [`Measured`], and what computes it in `measure`.

use std::path::Path;

use serde::{Serialize, Serializer};

use crate::networks::features;

/// A measure, by its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measured {
    /// The Fréchet distance.
    Fd,
    /// The kernel distance.
    Kid,
    /// The Inception Score.
    Is,
    /// The share of samples inside the neighbourhoods of the data.
    Precision,
    /// The share of the data inside the neighbourhoods of the samples.
    Recall,
    /// The squared sliced 2-Wasserstein distance to exact draws of an exact-score model's data.
    SlicedWasserstein,
    /// The squared difference of the samples' mean from that of exact draws, per dimension.
    MeanError,
    /// The squared difference of the samples' covariance from that of exact draws, per dimension.
    CovarianceError,
    /// The root mean square difference of a sample from the reference solution of the same noise,
    /// averaged over samples.
    Error,
    /// The median over samples of that difference, which a heavy tail does not move.
    ErrorMedian,
    /// The Euclidean distance between the features of a sample and those of the reference solution
    /// of the same noise, averaged over samples.
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
    /// A latent's norm divided by the square root of its dimension.
    LatentNorm,
    /// The root mean square difference of a latent from the noise that its image was made of.
    LatentError,
    /// The length of an interpolated path of images divided by the distance of its ends.
    PathLength,
    /// The longest step of such a path divided by its mean step.
    PathJump,
}

/// What samples are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// The features of a data set.
    Data,
    /// Nothing: a score of all their features.
    Score,
    /// Exact draws of the model's own data.
    Draws,
    /// The reference solution of the same noise.
    Solution,
    /// The features of that solution.
    SolutionFeatures,
    /// What they were made of, one by one.
    Own,
}

/// Whether lower or higher values of a measure are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Best {
    Low,
    High,
    /// Neither: it is right or wrong.
    Right,
}

/// What is known of a measure.
struct Facts {
    measure: Measured,
    name: &'static str,
    task: &'static str,
    to: To,
    best: Best,
    /// What it is, in a line.
    about: &'static str,
    /// What the numbers of its column are, with their unit.
    unit: &'static str,
}

const fn facts(
    measure: Measured,
    name: &'static str,
    (task, to, best): (&'static str, To, Best),
    about: &'static str,
    unit: &'static str,
) -> Facts {
    Facts { measure, name, task, to, best, about, unit }
}

const SAMPLE: &str = "sample";
const RECONSTRUCT: &str = "reconstruct";
const INTERPOLATE: &str = "interpolate";
const LATENT: (&str, To, Best) = (RECONSTRUCT, To::Own, Best::Right);
const DATA: (&str, To, Best) = (SAMPLE, To::Data, Best::Low);
const SHARE: (&str, To, Best) = (SAMPLE, To::Data, Best::High);
const DRAWS: (&str, To, Best) = (SAMPLE, To::Draws, Best::Low);
const SOLUTION: (&str, To, Best) = (SAMPLE, To::Solution, Best::Low);
const ROUND_TRIP: (&str, To, Best) = (RECONSTRUCT, To::Own, Best::Low);
const PATH: (&str, To, Best) = (INTERPOLATE, To::Own, Best::Low);

/// Every measure, in the order of [`Measured`] and of the columns.
#[rustfmt::skip]
static TABLE: [Facts; 22] = {
    use Measured as M;
    [
        facts(M::Fd, "fd", DATA,
            "Fréchet distance of features (FID if features = \"inception\"), lower is better",
            "Fréchet distance, lower is better"),
        facts(M::Kid, "kid", DATA,
            "kernel distance of features, unbiased, lower is better",
            "squared kernel distance, lower is better"),
        facts(M::Is, "is", (SAMPLE, To::Score, Best::High),
            "Inception Score, higher is better",
            "Inception Score, higher is better"),
        facts(M::Precision, "precision", SHARE,
            "share of samples that lie among the data, k = 3, higher is better",
            "share of samples among the data, higher is better"),
        facts(M::Recall, "recall", SHARE,
            "share of the data covered by samples, k = 3, higher is better",
            "share of the data among samples, higher is better"),
        facts(M::SlicedWasserstein, "sliced-wasserstein", DRAWS,
            "squared sliced 2-Wasserstein distance to exact draws, per dimension",
            "squared sliced 2-Wasserstein distance to exact draws, per value"),
        facts(M::MeanError, "mean-error", DRAWS,
            "squared difference of the mean from that of exact draws, per dimension",
            "squared difference of means from exact draws, per value"),
        facts(M::CovarianceError, "covariance-error", DRAWS,
            "squared difference of the covariance from that of exact draws, per dimension",
            "squared difference of covariances from exact draws, per value"),
        facts(M::Error, "error", SOLUTION,
            "root mean square difference from the reference solution, mean over samples",
            "root mean square difference from the reference solution, per value"),
        facts(M::ErrorMedian, "error-median", SOLUTION,
            "the same, median over samples: not moved by a heavy tail",
            "root mean square difference from the reference solution, per value"),
        facts(M::FeatureError, "feature-error", (SAMPLE, To::SolutionFeatures, Best::Low),
            "distance of a sample's features from those of the reference solution",
            "Euclidean distance to the features of the reference solution"),
        facts(M::Mse, "mse", ROUND_TRIP,
            "mean squared error of a reconstruction, values in [0, 1]",
            "mean squared error per value, of values in [0, 1]"),
        facts(M::MseRaw, "mse-raw", ROUND_TRIP,
            "the same, values in [-1, 1]",
            "mean squared error per value, of values in [-1, 1]"),
        facts(M::LatentMean, "latent-mean", LATENT,
            "mean of a latent's elements; noise has 0",
            "mean of a latent's values"),
        facts(M::LatentStd, "latent-std", LATENT,
            "their standard deviation; noise has 1",
            "standard deviation of a latent's values"),
        facts(M::LatentKurtosis, "latent-kurtosis", LATENT,
            "their excess kurtosis; noise has 0",
            "excess kurtosis of a latent's values"),
        facts(M::LatentHorizontal, "latent-horizontal", LATENT,
            "correlation of horizontal neighbours in a latent; noise has 0",
            "correlation of horizontal neighbours in a latent"),
        facts(M::LatentVertical, "latent-vertical", LATENT,
            "correlation of vertical neighbours in a latent; noise has 0",
            "correlation of vertical neighbours in a latent"),
        facts(M::LatentNorm, "latent-norm", LATENT,
            "norm of a latent divided by the square root of its dimension; noise has 1",
            "norm of a latent over the root of its dimension"),
        facts(M::LatentError, "latent-error", ROUND_TRIP,
            "root mean square difference of a latent from the noise its image was made of",
            "root mean square difference from the true noise, per value"),
        facts(M::PathLength, "path-length", PATH,
            "length of an interpolated path divided by the distance of its ends",
            "length of the path over the distance of its ends"),
        facts(M::PathJump, "path-jump", PATH,
            "longest step of such a path divided by its mean step",
            "longest step of the path over its mean step"),
    ]
};

/// The ending of a distance to exact draws in which the samples are replaced by further exact draws:
/// the value of perfect samples at this N.
pub const FLOOR: &str = ".floor";

/// Every metric a manifest can name, in the order of the columns.
pub fn metrics() -> impl Iterator<Item = String> + Clone {
    Measured::all().flat_map(|measure| {
        let name = measure.name();
        let more = measure.needs_draws().then(|| format!("{name}{FLOOR}"));
        std::iter::once(name.to_owned()).chain(more)
    })
}

impl Measured {
    /// All of them, in the order of the columns.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        TABLE.iter().map(|facts| facts.measure)
    }

    /// What is measured unless the manifest says more.
    pub const DEFAULT: [Self; 1] = [Self::Fd];

    fn facts(self) -> &'static Facts {
        &TABLE[self as usize]
    }

    /// Its name in manifests.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// What it is, in a line.
    pub fn about(self) -> &'static str {
        self.facts().about
    }

    /// The task it belongs to, by its name in manifests.
    pub fn task(self) -> &'static str {
        self.facts().task
    }

    /// The measure of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|measure| measure.name() == name)
    }

    /// The measure behind a metric's name: of `fd` and `fd.NAME` the same.
    pub fn of(metric: &str) -> Option<Self> {
        Self::named(metric.split('.').next()?)
    }

    /// Whether it describes all samples at once.
    pub fn is_of_distribution(self) -> bool {
        self.is_of_features() || self.needs_draws()
    }

    /// Whether it describes all samples at once, by the distribution of their features.
    pub fn is_of_features(self) -> bool {
        matches!(self.facts().to, To::Data | To::Score)
    }

    /// Whether it compares all samples with exact draws of the data.
    pub fn needs_draws(self) -> bool {
        self.facts().to == To::Draws
    }

    /// Whether it is made of features.
    pub fn needs_features(self) -> bool {
        self.is_of_features() || self.facts().to == To::SolutionFeatures
    }

    /// Whether it compares each sample with the reference solution of the same noise.
    pub fn needs_solution(self) -> bool {
        matches!(self.facts().to, To::Solution | To::SolutionFeatures)
    }

    /// Whether it compares features with those of a data set.
    pub fn needs_reference(self) -> bool {
        self.facts().to == To::Data
    }
}

impl Serialize for Measured {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The column of a metric on an extractor's features: `FD-cifar10-features`. Only on Inception's
/// features is it `FID`, `KID` or `IS`. A metric without features has its own name. So does a distance
/// between single features, with the network's (`feature-error-cifar10-features`), and so do precision
/// and recall, whose features are VGG's in one paper and Inception's in the next
/// (`precision-inception`).
pub fn column_name(metric: &str, features: Option<&str>) -> String {
    let Some(source) = features else { return metric.to_owned() };
    let (measure, variant) = metric.split_once('.').unwrap_or((metric, ""));
    let dot = if variant.is_empty() { "" } else { "." };
    let is_inception = features::is_inception(source);
    let name = features::name_of(Path::new(source));
    let named_here = [Measured::FeatureError, Measured::Precision, Measured::Recall];
    if named_here.iter().any(|measure| measure.name() == metric) {
        return format!("{metric}-{}", if is_inception { features::INCEPTION } else { &name });
    }
    if is_inception {
        let fd = measure == Measured::Fd.name();
        let measure = if fd { "FID".to_owned() } else { measure.to_uppercase() };
        return format!("{measure}{dot}{variant}");
    }
    format!("{}-{name}{dot}{variant}", measure.to_uppercase())
}

/// The measure that a column of `metrics.csv` is of: `FID`, `KID-cifar10-features`,
/// `error-median`, `mean-error.floor`.
fn of_column(column: &str) -> Option<Measured> {
    let base = column.split('.').next().unwrap_or(column);
    let is_of = |measure: &Measured| {
        let (name, acronym) = (measure.name(), measure.name().to_uppercase());
        if !measure.needs_features() {
            return base == name;
        }
        let of_features =
            |name: &str| base.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
        base == acronym || of_features(name) || of_features(&acronym)
    };
    if base == "FID" { Some(Measured::Fd) } else { Measured::all().find(is_of) }
}

/// Whether a metric, `fd` or `fd.NAME`, is a mean of one number per sample.
pub fn is_mean(metric: &str) -> bool {
    !Measured::of(metric).is_some_and(Measured::is_of_distribution)
}

/// Whether a column has a best value at all: a latent's moments are right or wrong, not low or high.
pub fn is_ranked(column: &str) -> bool {
    of_column(column).is_none_or(|measure| measure.facts().best != Best::Right)
}

/// Whether a column is one in which higher is better.
pub fn is_score(column: &str) -> bool {
    of_column(column).is_some_and(|measure| measure.facts().best == Best::High)
}

/// What the numbers of a column are, with their unit; absent if the column's name says it.
pub fn unit(column: &str) -> Option<&'static str> {
    of_column(column).map(|measure| measure.facts().unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measure_is_at_its_place_in_the_table() {
        for (place, facts) in TABLE.iter().enumerate() {
            assert_eq!(facts.measure as usize, place, "{}", facts.name);
            assert_eq!(Measured::named(facts.name), Some(facts.measure));
        }
    }

    #[test]
    fn every_metric_has_a_unit_in_whatever_features() {
        for metric in metrics() {
            for features in [None, Some("inception"), Some("models/cifar10-features")] {
                let column = column_name(&metric, features);
                let measure = Measured::of(&metric).unwrap();
                if features.is_some() == measure.needs_features() {
                    assert_eq!(of_column(&column), Some(measure), "{column}");
                }
            }
        }
        assert_eq!(unit("mine"), None);
        assert!(is_score("IS") && is_score("IS-a") && !is_score("ISO") && !is_score("FD-a"));
        assert!(is_score("precision-inception") && !is_ranked("latent-mean"));
        assert!(is_ranked("latent-error") && is_ranked("mine"));
    }
}
