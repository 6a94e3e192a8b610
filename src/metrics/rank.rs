//! Do two measures put the same sets into the same order?
//!
//! The sets are fixed: they were chosen, not drawn, and an interval over other sets has
//! no meaning. What is chance is the draw of N samples of each. [`rank_correlation`] resamples the
//! jackknife's groups instead of the samples, the same groups for every set and for both measures,
//! since sets share their noise group by group and both measures see the same samples.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::metrics::Jackknife;

/// Spearman's correlation of two measures over the same sets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankCorrelation {
    /// That of the bias-corrected values.
    pub value: f64,
    /// Percentiles of the resampled correlation; absent without groups. Resampling adds the noise of
    /// the draw once more to values that have it already, so it is on the low side.
    pub interval: Option<(f64, f64)>,
}

const RESAMPLES: usize = 10_000;

/// Ranks from 1, the lowest value first; equal values share the mean of their ranks.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let below = |x: f64| values.iter().filter(|y| y.total_cmp(&x).is_lt()).count() as f64;
    let equal = |x: f64| values.iter().filter(|y| y.total_cmp(&x).is_eq()).count() as f64;
    values.iter().map(|&x| below(x) + f64::midpoint(equal(x), 1.0)).collect()
}

/// Spearman's rank correlation: Pearson's of the ranks.
///
/// None for lists of different lengths, fewer than two values, or one that has all values equal.
///
/// # References
/// Spearman, *The proof and measurement of association between two things*, American Journal of
/// Psychology 15 (1904).
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.len() < 2 {
        return None;
    }
    // The mean rank, ties or not.
    let mean = f64::midpoint(a.len() as f64, 1.0);
    let centred = |values| ranks(values).into_iter().map(move |rank| rank - mean);
    let product: f64 = centred(a).zip(centred(b)).map(|(x, y)| x * y).sum();
    let square = |values| centred(values).map(|x| x * x).sum::<f64>();
    let scale = (square(a) * square(b)).sqrt();
    (scale > 0.0).then(|| product / scale)
}

/// Spearman's correlation of two measures over sets, with an interval of a level for the chance of
/// their samples.
///
/// The resampled value of a set is the mean of as many of its jackknife pseudo-values as there are
/// groups, drawn with replacement. The draws are the same in every run.
pub fn rank_correlation(a: &[&Jackknife], b: &[&Jackknife], level: f64) -> Option<RankCorrelation> {
    let corrected =
        |sets: &[&Jackknife]| sets.iter().map(|set| set.corrected()).collect::<Vec<f64>>();
    let value = spearman(&corrected(a), &corrected(b))?;
    let groups = a.first().map_or(0, |set| set.leave_out.len());
    let grouped = groups > 1 && a.iter().chain(b).all(|set| set.leave_out.len() == groups);
    let interval = grouped.then(|| {
        let pseudo = |sets: &[&Jackknife]| -> Vec<Vec<f64>> {
            sets.iter().map(|set| set.pseudo_values()).collect()
        };
        let (a, b) = (pseudo(a), pseudo(b));
        let mut generator = ChaCha8Rng::seed_from_u64(0);
        let mut resampled: Vec<f64> = (0..RESAMPLES)
            .filter_map(|_| {
                let drawn: Vec<usize> =
                    (0..groups).map(|_| generator.gen_range(0..groups)).collect();
                // Sums order as means do.
                let of = |sets: &[Vec<f64>]| -> Vec<f64> {
                    sets.iter().map(|set| drawn.iter().map(|&group| set[group]).sum()).collect()
                };
                spearman(&of(&a), &of(&b))
            })
            .collect();
        resampled.sort_by(f64::total_cmp);
        percentiles(&resampled, level)
    });
    Some(RankCorrelation { value, interval: interval.flatten() })
}

/// The values between which the middle of a sorted list lies.
fn percentiles(sorted: &[f64], level: f64) -> Option<(f64, f64)> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a part of the length
    let outside = ((1.0 - level) / 2.0 * sorted.len() as f64) as usize;
    Some((*sorted.get(outside)?, *sorted.get(sorted.len() - 1 - outside)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_their_ranks() {
        assert_eq!(ranks(&[3.0, 1.0, 2.0, 2.0]), [4.0, 1.0, 2.5, 2.5]);
        assert!(ranks(&[]).is_empty());
    }

    #[test]
    fn spearman_is_that_of_scipy() {
        // scipy.stats.spearmanr([1, 2, 3, 4, 5], [5, 6, 7, 8, 7]): 0.8207826816681233.
        let found = spearman(&[1.0, 2.0, 3.0, 4.0, 5.0], &[5.0, 6.0, 7.0, 8.0, 7.0]).unwrap();
        assert!((found - 0.820_782_681_668_123_3).abs() < 1e-15, "{found}");
        let falls = spearman(&[1.0, 2.0, 9.0], &[3.0, 2.0, -8.0]).unwrap();
        assert!((falls + 1.0).abs() < 1e-15);
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[1.0], &[1.0]), None);
    }

    /// Means of four groups.
    fn set(groups: [f64; 4]) -> Jackknife {
        let sum: f64 = groups.iter().sum();
        let leave_out = groups.iter().map(|group| (sum - group) / 3.0).collect();
        Jackknife { value: sum / 4.0, leave_out }
    }

    #[test]
    fn noise_that_all_sets_share_moves_no_rank() {
        let noise = [-3.0, 1.0, 4.0, -2.0];
        let sets: Vec<Jackknife> = (0..5).map(|k| set(noise.map(|x| x + f64::from(k)))).collect();
        let all: Vec<&Jackknife> = sets.iter().collect();
        let found = rank_correlation(&all, &all, 0.95).unwrap();
        assert_eq!(found.interval, Some((1.0, 1.0)));
        // Of its own for each set, it does.
        let other = [[9.0, -9.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.1]].map(set);
        let three: Vec<&Jackknife> = other.iter().collect();
        let found = rank_correlation(&three, &all[..3], 0.95).unwrap();
        assert!((found.value - 1.0).abs() < 1e-12);
        let (low, high) = found.interval.unwrap();
        assert!(low < 0.0 && (high - 1.0).abs() < 1e-12, "{low} {high}");
    }

    #[test]
    fn without_groups_there_is_no_interval() {
        let sets = [1.0, 2.0, 3.0].map(|value| Jackknife { value, leave_out: vec![] });
        let all: Vec<&Jackknife> = sets.iter().collect();
        assert_eq!(rank_correlation(&all, &all, 0.95).unwrap().interval, None);
    }
}
