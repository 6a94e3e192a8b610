//! Models whose data is known: their score is exact, and so are draws of their data.

use ndarray::{Array2, Axis};
use rand_chacha::ChaCha8Rng;

use crate::{
    backends::array::Array,
    core::{Divergent, Draw, Level, generator},
    exact::Component,
};

/// A denoiser of data that can be drawn, and whose density is known.
pub trait ExactModel: Divergent<State = Array> {
    /// The Gaussians that the data is a mixture of; a Dirac distribution's has no width.
    fn components(&self) -> Vec<Component>;

    /// Fills `sample` with one draw $x_0$ of the data.
    fn draw(&self, generator: &mut ChaCha8Rng, sample: &mut [f64]);

    /// a and b of $\epsilon(x) = a x + b$ at a noisy level, of a model that is linear in x.
    fn linear(&self, _level: Level) -> Option<[f64; 2]> {
        None
    }
}

/// Draws of a model's data, `[samples, elements]`: row i only depends on the seed and i.
///
/// `sub` tells sets apart that share a seed. No sampler draws from their streams, so that these are
/// independent of all samples.
///
/// # Panics
/// Never: rows of a new matrix are contiguous.
pub fn draws(
    model: &dyn ExactModel,
    seed: u64,
    [samples, elements]: [usize; 2],
    sub: u8,
) -> Array2<f64> {
    let mut all = Array2::zeros((samples, elements));
    for (i, mut row) in all.axis_iter_mut(Axis(0)).enumerate() {
        let mut generator = generator(seed, i as u64, Draw::Data { sub });
        let row = row.as_slice_mut().expect("invariant: rows of a new matrix are contiguous");
        model.draw(&mut generator, row);
    }
    all
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;
    use ndarray::s;

    use super::*;
    use crate::{
        core::KeyedNoise,
        exact::{Component, Gaussian, Mixture},
    };

    #[test]
    fn draws_are_a_function_of_seed_index_and_set() {
        let model = Gaussian { mean: 0.0, std: 1.0 };
        let some = draws(&model, 3, [8, 5], 0);
        assert_eq!(draws(&model, 3, [4, 5], 0), some.slice(s![..4, ..]));
        assert_ne!(draws(&model, 4, [8, 5], 0), some);
        assert_ne!(draws(&model, 3, [8, 5], 1), some);
        let mut initial = vec![0.0; 40];
        KeyedNoise { seed: 3, first: 0 }.fill(&mut initial, 8, Draw::Initial, |z| z);
        assert!(some.iter().zip(&initial).all(|(a, b)| (a - b).abs() > 0.0));
    }

    #[test]
    fn a_mixture_is_drawn_by_its_weights() {
        let component = |weight, mean, std| Component { weight, mean: vec![mean], std };
        let mixture =
            Mixture::new(vec![component(1.0, -2.0, 0.1), component(3.0, 1.0, 0.4)]).unwrap();
        let n = 20_000;
        let all = draws(&mixture, 0, [n, 2], 0);
        // A sample lies in one component with all its elements.
        let upper: Vec<bool> = all.outer_iter().map(|x| x[0] > -0.9).collect();
        assert!(all.outer_iter().zip(&upper).all(|(x, upper)| (x[1] > -0.9) == *upper));
        let share = upper.iter().filter(|upper| **upper).count() as f64 / n as f64;
        // Four standard errors each.
        assert_abs_diff_eq!(share, 0.75, epsilon = 4.0 * (0.75_f64 * 0.25 / n as f64).sqrt());
        let first: Vec<f64> =
            all.outer_iter().zip(&upper).filter(|(_, upper)| **upper).map(|(x, _)| x[0]).collect();
        let mean = first.iter().sum::<f64>() / first.len() as f64;
        let spread = first.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / first.len() as f64;
        assert_abs_diff_eq!(mean, 1.0, epsilon = 4.0 * 0.4 / (first.len() as f64).sqrt());
        assert_abs_diff_eq!(
            spread.sqrt(),
            0.4,
            epsilon = 4.0 * 0.4 / (2.0 * first.len() as f64).sqrt()
        );
    }

    #[test]
    fn the_dirac_distribution_is_drawn_at_its_point() {
        let all = draws(&Gaussian::dirac(0.3), 0, [3, 4], 0);
        assert!(all.iter().all(|x| (x - 0.3).abs() <= 0.0));
    }
}
