//! What a column of `metrics.csv` is, in words for the head of a table.

use crate::measure::features::{is_mean, is_score};

/// How a metric comes from its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// The mean of one number per sample.
    Mean,
    /// The median of one number per sample.
    Median,
    /// A number of all samples together, at their number N.
    Plugin,
}

impl Statistic {
    /// That of a metric, by its name in manifests.
    pub fn of(metric: &str) -> Self {
        if mean_of(metric).is_some() {
            Self::Median
        } else if is_mean(metric) {
            Self::Mean
        } else {
            Self::Plugin
        }
    }

    /// Whether the bias-corrected value is the value itself.
    pub fn is_unbiased(self) -> bool {
        matches!(self, Self::Mean | Self::Median)
    }
}

/// The column of the mean that belongs to a median.
pub fn mean_of(column: &str) -> Option<&str> {
    column.strip_suffix("-median")
}

/// What the numbers of a column are, with their unit; nothing of a column that says it itself.
pub fn words(column: &str) -> Option<&'static str> {
    let name = column.split('.').next().unwrap_or(column);
    Some(match name {
        "error" | "error-median" => "root mean square difference from the truth, per value",
        "mse" => "mean squared error per value, of values in [0, 1]",
        "mse-raw" => "mean squared error per value, of values in [-1, 1]",
        "latent-mean" => "mean of a latent's values",
        "latent-std" => "standard deviation of a latent's values",
        "latent-kurtosis" => "excess kurtosis of a latent's values",
        "latent-horizontal" => "correlation of horizontal neighbours in a latent",
        "latent-vertical" => "correlation of vertical neighbours in a latent",
        "latent-norm" => "norm of a latent over the root of its dimension",
        "latent-error" => "root mean square difference from the true noise, per value",
        "path-length" => "length of the path over the distance of its ends",
        "path-jump" => "longest step of the path over its mean step",
        _ if name.starts_with("feature-error") => "Euclidean distance to the features of the truth",
        "sliced-wasserstein" => "squared sliced 2-Wasserstein distance to exact draws, per value",
        "mean-error" => "squared difference of means from exact draws, per value",
        "covariance-error" => "squared difference of covariances from exact draws, per value",
        _ if name.starts_with("precision") => "share of samples among the data, higher is better",
        _ if name.starts_with("recall") => "share of the data among samples, higher is better",
        _ if is_score(name) => "Inception Score, higher is better",
        _ if name == "FID" || name.starts_with("FD-") => "Fréchet distance, lower is better",
        _ if name == "KID" || name.starts_with("KID-") => {
            "squared kernel distance, lower is better"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{measure::features::column_name, plan::METRICS};

    #[test]
    fn every_metric_that_ships_has_words() {
        for metric in METRICS {
            let column = column_name(metric, Some("models/cifar10-features"));
            let own = column_name(metric, None);
            assert!(words(&column).or_else(|| words(&own)).is_some(), "{metric}");
        }
        assert_eq!(words("mine"), None);
    }
}
