//! How far apart two distributions of a few values are, and how to see it in samples.

use crate::metrics::measure::{Best, Measure, Of};

const TASK: &str = "sample";

/// The distance of the sampler's own distribution to the data's: every sample has the same number.
pub static TOTAL_VARIATION: Measure = Measure {
    name: "total-variation",
    task: TASK,
    of: Of::MEAN,
    best: Best::Low,
    about: "total variation distance of a categorical model's samples to its data, exact by enumeration",
    unit: "total variation distance to the data, by enumeration",
};

/// The same distance, as samples show it: the mean of [`Shortfall::number`].
pub static TOTAL_VARIATION_SAMPLED: Measure = Measure {
    name: "total-variation-sampled",
    task: TASK,
    of: Of::MEAN,
    best: Best::Low,
    about: "the same distance from the samples, without bias",
    unit: "total variation distance to the data, from samples",
};

/// The largest of the distances of single variables.
pub static MARGINAL_VARIATION: Measure = Measure {
    name: "marginal-variation",
    task: TASK,
    of: Of::MEAN,
    best: Best::Low,
    about: "the largest such distance of one variable alone, exact by enumeration",
    unit: "largest total variation distance of one variable, by enumeration",
};

/// Those that need a categorical model, and that alone fit one.
pub static OF_CATEGORIES: [&Measure; 3] =
    [&TOTAL_VARIATION, &TOTAL_VARIATION_SAMPLED, &MARGINAL_VARIATION];

/// The total variation distance, from 0 to 1.
///
/// $$\mathrm{TV}(p, q) = \tfrac12 \sum_x \lvert p(x) - q(x)\rvert$$
pub fn total_variation(p: &[f64], q: &[f64]) -> f64 {
    0.5 * p.iter().zip(q).map(|(p, q)| (p - q).abs()).sum::<f64>()
}

/// The values that a sampler has too seldom, $A = \{x : q(x) > p(x)\}$, for data q and a sampler's p.
///
/// The distance is $q(A) - p(A)$. A distance between frequencies and the data is biased upwards, by some
/// $\sqrt{K^D/N}$; with an A that does not come from the samples, the share of samples in it is a mean, and
/// $q(A)$ minus that share is the distance without bias, with the interval of a mean.
#[derive(Clone, Debug)]
pub struct Shortfall {
    short: Vec<bool>,
    /// q(A).
    due: f64,
}

impl Shortfall {
    /// That of a sampler of known probabilities.
    pub fn of(sampler: &[f64], data: &[f64]) -> Self {
        let short: Vec<bool> = sampler.iter().zip(data).map(|(p, q)| q > p).collect();
        let due = data.iter().zip(&short).filter(|(_, short)| **short).map(|(q, _)| q).sum();
        Self { short, due }
    }

    /// The number of a sample of this value, whose mean is the distance.
    pub fn number(&self, value: usize) -> f64 {
        self.due - if self.short[value] { 1.0 } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    const P: [f64; 4] = [0.5, 0.2, 0.3, 0.0];
    const Q: [f64; 4] = [0.25, 0.25, 0.3, 0.2];

    #[test]
    fn the_distance_is_half_of_what_differs() {
        assert_abs_diff_eq!(total_variation(&P, &Q), 0.25, epsilon = 1e-15);
        assert_abs_diff_eq!(total_variation(&P, &P), 0.0);
        assert_abs_diff_eq!(total_variation(&[1.0, 0.0], &[0.0, 1.0]), 1.0);
    }

    #[test]
    fn the_mean_of_a_samples_number_is_the_distance() {
        for (p, q) in [(P, Q), (Q, P), (P, P)] {
            let short = Shortfall::of(&p, &q);
            let mean: f64 = p.iter().enumerate().map(|(x, p)| p * short.number(x)).sum();
            assert_abs_diff_eq!(mean, total_variation(&p, &q), epsilon = 1e-15);
        }
    }
}
