//! How many images of a labelled set a classifier gets right.

use std::{fmt, path::Path};

use ndarray::ArrayView2;

use crate::error::{Error, Result};
use crate::{data::ImageSet, networks::features};

/// The measure's name on the command line.
pub const ACCURACY: &str = "accuracy";

/// The share of images whose own class has the highest score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accuracy {
    /// Its column: `accuracy-cifar10-features`.
    pub column: String,
    /// How many it got right.
    pub correct: usize,
    /// The number of images N.
    pub n: usize,
}

impl Accuracy {
    /// Makes sure that a network's classes can be those of a set, before anything is computed.
    ///
    /// # Errors
    /// A set without classes, or the Inception network, whose classes are ImageNet's.
    pub(crate) fn check(set: &ImageSet, source: &str) -> Result<()> {
        if features::is_inception(source) {
            return Err(Error::input(format!(
                "{source}: the Inception network names ImageNet's classes; `{ACCURACY}` is that of \
                 a classifier of the set's own, like models/cifar10-features"
            )));
        }
        if set.classes.is_empty() {
            return Err(Error::input(format!(
                "{} has no classes, which `{ACCURACY}` counts by: take cifar10, or an idx set with \
                 its file of labels beside the images (..-labels-idx1-ubyte)",
                set.name
            )));
        }
        Ok(())
    }

    /// Counts the images whose own class has the highest of the scores `[N, classes]`.
    ///
    /// # Errors
    /// A class that the network does not know.
    pub(crate) fn of(scores: ArrayView2<'_, f32>, own: &[u8], source: &str) -> Result<Self> {
        let known = scores.ncols();
        if let Some(class) = own.iter().find(|class| usize::from(**class) >= known) {
            return Err(Error::input(format!(
                "an image has the class {class}, and {source} names the classes 0 to {}: it was \
                 trained on another set",
                known.saturating_sub(1)
            )));
        }
        let named = scores.outer_iter().map(|scores| {
            let best = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            best.map(|(class, _)| class)
        });
        let correct = named.zip(own).filter(|(named, own)| *named == Some((**own).into()));
        let (correct, n) = (correct.count(), own.len());
        let column = format!("{ACCURACY}-{}", features::name_of(Path::new(source)));
        Ok(Self { column, correct, n })
    }

    /// The share p.
    pub fn value(&self) -> f64 {
        self.correct as f64 / self.n as f64
    }

    /// The binomial standard error, `sqrt(p (1 - p) / N)`.
    pub fn standard_error(&self) -> f64 {
        (self.value() * (1.0 - self.value()) / self.n as f64).sqrt()
    }
}

impl fmt::Display for Accuracy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { column, correct, n } = self;
        let (value, error) = (self.value(), self.standard_error());
        write!(f, "{column}  {value:.4} +- {error:.4}, one standard error ({correct} of {n})")
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn the_highest_score_names_the_class() {
        let scores =
            array![[0.0_f32, 2.0, 1.0], [3.0, -1.0, 2.0], [0.0, 0.0, 9.0], [1.0, 0.0, 0.0]];
        let accuracy = Accuracy::of(scores.view(), &[1, 0, 2, 2], "models/tiny").unwrap();
        assert_eq!(
            accuracy.to_string(),
            "accuracy-tiny  0.7500 +- 0.2165, one standard error (3 of 4)"
        );
        let error = Accuracy::of(scores.view(), &[1, 0, 3, 2], "models/tiny").unwrap_err();
        assert!(
            error.to_string().contains("the class 3, and models/tiny names the classes 0 to 2")
        );
    }
}
