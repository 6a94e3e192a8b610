//! Timesteps drawn where the loss is large.
//!
//! The terms of the variational bound differ by orders of magnitude, and a mean over uniform timesteps
//! is mostly noise. Drawn with a probability that follows the root of the mean squared loss and weighted by its
//! inverse, the mean stays what it was and is steadier.

use rand::Rng;

use crate::core::{Draw, generator};

const TIMESTEP: Draw = Draw::Training { sub: 5 };

/// Losses of a timestep that are remembered.
pub const HISTORY: usize = 10;

/// The part of the probability that is spread over all timesteps.
const UNIFORM: f64 = 0.001;

/// The last losses of every timestep.
///
/// $$p_t \propto \sqrt{\tfrac1{10} \sum_i L_{t,i}^2}$$
///
/// of which a thousandth is spread evenly; until every timestep has ten losses, all are equally likely.
///
/// # References
/// Nichol, Dhariwal, *Improved Denoising Diffusion Probabilistic Models*, ICML 2021, section 3.3;
/// `LossSecondMomentResampler` of openai/improved-diffusion.
#[derive(Clone, Debug, PartialEq)]
pub struct Importance {
    /// The losses of each timestep, the oldest first, [`HISTORY`] each.
    pub losses: Vec<f64>,
    /// How many of them there are.
    pub counts: Vec<u64>,
}

impl Importance {
    /// Of `horizon` timesteps nothing is known.
    pub fn new(horizon: usize) -> Self {
        Self { losses: vec![0.0; horizon * HISTORY], counts: vec![0; horizon] }
    }

    /// The probability of each timestep; none while some timestep has too few losses.
    pub fn probabilities(&self) -> Option<Vec<f64>> {
        if self.counts.iter().any(|&count| count < HISTORY as u64) {
            return None;
        }
        let root = |losses: &[f64]| {
            (losses.iter().map(|loss| loss * loss).sum::<f64>() / HISTORY as f64).sqrt()
        };
        let roots: Vec<f64> = self.losses.chunks(HISTORY).map(root).collect();
        let (total, n) = (roots.iter().sum::<f64>(), roots.len() as f64);
        Some(roots.iter().map(|root| (1.0 - UNIFORM) * root / total + UNIFORM / n).collect())
    }

    /// The timestep of each image and the weight $1/(T\,p_t)$ of its loss, for images from the counter
    /// `first` on: a pure function of the seed, the counter and the losses. None while all are equally
    /// likely.
    pub fn draw(&self, seed: u64, first: u64, n: usize) -> Option<(Vec<i64>, Vec<f32>)> {
        let probabilities = self.probabilities()?;
        let mut sum = 0.0;
        let sums: Vec<f64> = probabilities
            .iter()
            .map(|p| {
                sum += p;
                sum
            })
            .collect();
        let horizon = sums.len();
        let of = |i: u64| {
            let u = sum * generator(seed, first + i, TIMESTEP).r#gen::<f64>();
            // Of losses that are not finite nothing follows; the log says so.
            let t = sums.partition_point(|sum| *sum <= u).min(horizon - 1);
            let weight = 1.0 / (horizon as f64 * probabilities[t]);
            #[allow(clippy::cast_possible_truncation)] // the network's own precision
            (t.cast_signed() as i64, weight as f32)
        };
        Some((0..n as u64).map(of).unzip())
    }

    /// Remembers the losses of a batch, in the order of its images.
    pub fn remember(&mut self, timesteps: &[i64], losses: &[f32]) {
        for (&t, &loss) in timesteps.iter().zip(losses) {
            let Some(t) = usize::try_from(t).ok().filter(|&t| t < self.counts.len()) else {
                continue;
            };
            let of = &mut self.losses[t * HISTORY..(t + 1) * HISTORY];
            let count = &mut self.counts[t];
            if let Some(next) = of.get_mut(usize::try_from(*count).unwrap_or(HISTORY)) {
                *next = f64::from(loss);
                *count += 1;
            } else {
                of.rotate_left(1);
                of[HISTORY - 1] = f64::from(loss);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten losses of each of four timesteps.
    fn known() -> Importance {
        let mut importance = Importance::new(4);
        for k in 0..HISTORY {
            assert!(importance.probabilities().is_none() && importance.draw(0, 0, 3).is_none());
            let spread = if k % 2 == 0 { 0.5 } else { 1.5 };
            importance.remember(&[0, 1, 2, 3], &[8.0, 4.0, 0.0, 4.0 * spread]);
        }
        importance
    }

    #[test]
    fn a_timestep_is_as_likely_as_the_root_of_its_mean_squared_loss() {
        let probabilities = known().probabilities().unwrap();
        let roots = [8.0, 4.0, 0.0, 4.0 * 1.25_f64.sqrt()];
        let total: f64 = roots.iter().sum();
        for (p, root) in probabilities.iter().zip(roots) {
            assert!((p - (0.999 * root / total + 0.000_25)).abs() < 1e-15);
        }
    }

    #[test]
    fn the_last_ten_losses_count() {
        let mut importance = known();
        for _ in 0..9 {
            importance.remember(&[2], &[1.0]);
        }
        let of = |importance: &Importance| importance.losses[2 * HISTORY..3 * HISTORY].to_vec();
        assert_eq!(of(&importance), [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        importance.remember(&[2, 2], &[5.0, 6.0]);
        assert_eq!(of(&importance)[8..], [5.0, 6.0]);
        assert_eq!(importance.counts, [10; 4]);
    }

    #[test]
    fn weighted_draws_have_the_mean_of_uniform_ones() {
        let importance = known();
        let n = 40_000;
        let (timesteps, weights) = importance.draw(7, 100, n).unwrap();
        assert_eq!(importance.draw(7, 103, 1).unwrap(), (vec![timesteps[3]], vec![weights[3]]));
        assert_ne!(importance.draw(8, 100, n).unwrap().0, timesteps);
        // Any function of t: here, t itself and 1.
        for f in [|t: i64| t as f64, |_| 1.0] {
            let values: Vec<f64> =
                timesteps.iter().zip(&weights).map(|(&t, &w)| f64::from(w) * f(t)).collect();
            let mean = values.iter().sum::<f64>() / n as f64;
            let expected = (0..4).map(f).sum::<f64>() / 4.0;
            let spread = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
            assert!((mean - expected).abs() < 4.0 * (spread / n as f64).sqrt(), "{mean}");
        }
        let rare = timesteps.iter().filter(|t| **t == 2).count() as f64;
        // Five standard errors of a Poisson count.
        assert!((rare - 10.0).abs() < 5.0 * 10_f64.sqrt(), "{rare}");
    }
}
