//! What can be measured: one table, read by everything that names a measure.
//!
//! A new measure is a file in `metrics` and a line of `TABLE`. If it is a number of each sample, the
//! task that makes the samples notes it under its name.

use std::path::Path;

use serde::{Serialize, Serializer};

use crate::{
    metrics::{
        self,
        measure::{Best, Measure, Of},
    },
    networks::features,
};

/// Every measure, in the order of the columns.
static TABLE: [&Measure; 41] = [
    &metrics::FD,
    &metrics::KID,
    &metrics::IS,
    &metrics::PRECISION,
    &metrics::RECALL,
    &metrics::SLICED_WASSERSTEIN,
    &metrics::MEAN_ERROR,
    &metrics::COVARIANCE_ERROR,
    &metrics::TOTAL_VARIATION,
    &metrics::TOTAL_VARIATION_SAMPLED,
    &metrics::MARGINAL_VARIATION,
    &metrics::ERROR,
    &metrics::ERROR_MEDIAN,
    &metrics::FEATURE_ERROR,
    &metrics::CURVATURE,
    &metrics::CURVATURE_SIGMA2,
    &metrics::MSE,
    &metrics::MSE_RAW,
    &metrics::LATENT_MEAN,
    &metrics::LATENT_STD,
    &metrics::LATENT_KURTOSIS,
    &metrics::LATENT_HORIZONTAL,
    &metrics::LATENT_VERTICAL,
    &metrics::LATENT_NORM,
    &metrics::LATENT_ERROR,
    &metrics::PATH_LENGTH,
    &metrics::PATH_JUMP,
    &metrics::PATH_ENDS,
    &metrics::FEATURE_PATH_LENGTH,
    &metrics::BITS,
    &metrics::BITS_PRIOR,
    &metrics::BITS_STEPS,
    &metrics::BITS_DECODER,
    &metrics::BITS_GAP,
    &metrics::OBJECTIVE,
    &metrics::OBJECTIVE_LOSS,
    &metrics::OBJECTIVE_GAP,
    &metrics::OBJECTIVE_EXCESS,
    &metrics::OBJECTIVE_OFF,
    &metrics::OBJECTIVE_LOSS_OFF,
    &metrics::OBJECTIVE_GAMMA,
];

/// A measure, by its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Measured(usize);

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
        (0..TABLE.len()).map(Self)
    }

    /// What is measured unless the manifest says more: the Fréchet distance.
    pub const DEFAULT: [Self; 1] = [Self(0)];

    /// What it is.
    pub fn measure(self) -> &'static Measure {
        TABLE[self.0]
    }

    /// Whether it is this one.
    pub fn is(self, measure: &Measure) -> bool {
        self.name() == measure.name
    }

    /// Its name in manifests.
    pub fn name(self) -> &'static str {
        self.measure().name
    }

    /// What it is, in a line.
    pub fn about(self) -> &'static str {
        self.measure().about
    }

    /// The task it belongs to, by its name in manifests.
    pub fn task(self) -> &'static str {
        self.measure().task
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
        self.needs_reference() || matches!(self.measure().of, Of::Scores(_))
    }

    /// Whether it compares all samples with exact draws of the data.
    pub fn needs_draws(self) -> bool {
        matches!(self.measure().of, Of::Draws(_))
    }

    /// Whether it compares the categories of samples with those of the data.
    pub fn is_of_categories(self) -> bool {
        metrics::OF_CATEGORIES.iter().any(|measure| self.is(measure))
    }

    /// Whether it is made of features.
    pub fn needs_features(self) -> bool {
        let single = matches!(self.measure().of, Of::SolutionFeatures | Of::PathFeatures);
        self.is_of_features() || single
    }

    /// Whether it compares each sample with the reference solution of the same noise.
    pub fn needs_solution(self) -> bool {
        matches!(self.measure().of, Of::SolutionFeatures | Of::Numbers { solution: true, .. })
    }

    /// Whether it compares features with those of a data set.
    pub fn needs_reference(self) -> bool {
        matches!(self.measure().of, Of::Moments(_) | Of::Kernel(_) | Of::Features(_))
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
    let of = Measured::named(metric).map(|measured| measured.measure().of);
    if matches!(of, Some(Of::SolutionFeatures | Of::PathFeatures | Of::Features(_))) {
        return format!("{metric}-{}", if is_inception { features::INCEPTION } else { &name });
    }
    if is_inception {
        let fd = measure == metrics::FD.name;
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
    if base == "FID" { Measured::named(metrics::FD.name) } else { Measured::all().find(is_of) }
}

/// Whether a metric, `fd` or `fd.NAME`, is a mean of one number per sample.
pub fn is_mean(metric: &str) -> bool {
    !Measured::of(metric).is_some_and(Measured::is_of_distribution)
}

/// Whether a column has a best value at all: a latent's moments are right or wrong, not low or high.
pub fn is_ranked(column: &str) -> bool {
    of_column(column).is_none_or(|measure| measure.measure().best != Best::Right)
}

/// Whether a column is one in which higher is better.
pub fn is_score(column: &str) -> bool {
    of_column(column).is_some_and(|measure| measure.measure().best == Best::High)
}

/// What the numbers of a column are, with their unit; absent if the column's name says it.
pub fn unit(column: &str) -> Option<&'static str> {
    of_column(column).map(|measure| measure.measure().unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_the_default_is_the_frechet_distance() {
        for measured in Measured::all() {
            assert_eq!(Measured::named(measured.name()), Some(measured));
        }
        assert!(Measured::DEFAULT[0].is(&metrics::FD));
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
