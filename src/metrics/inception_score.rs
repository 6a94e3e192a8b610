//! The Inception Score: how sure a classifier is of each sample, and how evenly over the classes.
//!
//! It compares samples with no data and rewards one good image of each class; it is here because
//! papers quote it. Its splits are the published ones: ten contiguous tenths in the order of the
//! samples, whose scores are averaged. A tenth of N biases it as N / 10 would.

use ndarray::{Array1, ArrayView2, Axis, Slice};

use crate::metrics::{
    Error, Jackknife, Result,
    measure::{Best, Measure, Of},
};

/// The Inception Score as a measure.
pub static IS: Measure = Measure {
    name: "is",
    task: "sample",
    of: Of::Scores(inception_score),
    best: Best::High,
    about: "Inception Score, higher is better",
    unit: "Inception Score, higher is better",
};

/// The number of parts that the literature uses.
pub const SPLITS: usize = 10;

/// The mean score of `splits` contiguous parts of the samples.
///
/// $$\frac1B\sum_b \exp\Bigl(\frac1{n_b}\sum_{i \in b} \sum_y p_i(y)
/// \log\frac{p_i(y)}{\bar p_b(y)}\Bigr), \qquad p_i = \operatorname{softmax}(\ell_i)$$
///
/// A mean of B scores has the mean of the others as its value without one: the jackknife's standard
/// error is that of the mean, its corrected value is the value, and [`spread`] is the published
/// "plus or minus".
///
/// The published score is of Inception's logits without their bias, as the TensorFlow graph has them
/// (`softmax/logits/MatMul`); of any other classifier it is that of its own logits, bias included.
///
/// - Shape: `logits` `[N, classes]`; part b holds the rows from `b N / B` up to `(b + 1) N / B`.
/// - Units: 1 (all samples alike) to the number of classes; higher is better.
///
/// # Errors
/// Fewer than two splits or more than samples, or a logit that is not finite.
///
/// # References
/// Salimans et al., *Improved techniques for training GANs*, NeurIPS 2016, section 4.
/// arXiv:1606.03498.
pub fn inception_score(logits: ArrayView2<'_, f32>, splits: usize) -> Result<Jackknife> {
    let n = logits.nrows();
    if splits < 2 || splits > n {
        return Err(Error::Blocks { blocks: splits, n });
    }
    if let Some(((row, column), &value)) = logits.indexed_iter().find(|(_, x)| !x.is_finite()) {
        return Err(Error::NotFinite { row, column, value: f64::from(value) });
    }
    let scores: Vec<f64> = (0..splits)
        .map(|b| {
            let rows = Slice::from(b * n / splits..(b + 1) * n / splits);
            score(logits.slice_axis(Axis(0), rows))
        })
        .collect();
    let count = splits as f64;
    let value = scores.iter().sum::<f64>() / count;
    let leave_out = scores.iter().map(|score| value + (value - score) / (count - 1.0)).collect();
    Ok(Jackknife { value, leave_out })
}

/// The standard deviation over the splits, divided by their number, as papers print it.
pub fn spread(score: &Jackknife) -> f64 {
    // s = sqrt(sum (x - mean)^2 / (B (B - 1))) is the error of the mean.
    score.standard_error() * (score.leave_out.len() as f64 - 1.0).sqrt()
}

fn score(logits: ArrayView2<'_, f32>) -> f64 {
    let mut mean = Array1::<f64>::zeros(logits.ncols());
    let mut negative_entropy = 0.0;
    for row in logits.outer_iter() {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let shifted = row.mapv(|x| f64::from(x) - f64::from(largest));
        let log_sum = shifted.iter().map(|x| x.exp()).sum::<f64>().ln();
        for (mean, x) in mean.iter_mut().zip(&shifted) {
            let log_p = x - log_sum;
            negative_entropy += log_p.exp() * log_p;
            *mean += log_p.exp();
        }
    }
    let n = logits.nrows() as f64;
    // A probability of zero in every sample adds nothing.
    let cross: f64 = mean.iter().map(|sum| sum / n).filter(|&p| p > 0.0).map(|p| p * p.ln()).sum();
    (negative_entropy / n - cross).exp()
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use ndarray::{Array2, array};

    use super::*;

    #[test]
    fn sure_samples_of_every_class_score_the_number_of_classes() {
        let sure = Array2::from_shape_fn((40, 5), |(i, k)| if i % 5 == k { 500.0 } else { 0.0 });
        let score = inception_score(sure.view(), 4).unwrap();
        assert_relative_eq!(score.value, 5.0, max_relative = 1e-12);
        assert!(spread(&score) < 1e-12);
        let alike = Array2::from_shape_fn((40, 5), |(_, k)| k as f32);
        assert_relative_eq!(
            inception_score(alike.view(), 4).unwrap().value,
            1.0,
            max_relative = 1e-12
        );
    }

    #[test]
    fn the_score_is_that_of_the_published_formula() {
        // Two samples a part: p = (3/4, 1/4) and (1/4, 3/4), then (9/10, 1/10) twice.
        let (a, b) = (3.0_f32.ln(), 9.0_f32.ln());
        let logits = array![[a, 0.0], [7.0, 7.0 + a], [b, 0.0], [b - 3.0, -3.0]];
        let first = (0.75 * 1.5_f64.ln() + 0.25 * 0.5_f64.ln()).exp();
        let score = inception_score(logits.view(), 2).unwrap();
        assert_relative_eq!(score.value, f64::midpoint(first, 1.0), max_relative = 1e-7);
        // numpy.std of the two.
        assert_relative_eq!(spread(&score), (first - 1.0) / 2.0, max_relative = 1e-6);
        assert_relative_eq!(score.corrected(), score.value, max_relative = 1e-12);
    }

    #[test]
    fn too_many_splits_and_broken_logits_are_refused() {
        let mut logits = Array2::<f32>::zeros((4, 3));
        let error = inception_score(logits.view(), 5).unwrap_err();
        assert_eq!(error, Error::Blocks { blocks: 5, n: 4 });
        logits[[2, 1]] = f32::INFINITY;
        let error = inception_score(logits.view(), 2).unwrap_err();
        assert!(matches!(error, Error::NotFinite { row: 2, column: 1, .. }));
    }
}
