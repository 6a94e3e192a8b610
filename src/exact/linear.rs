//! The best models that are linear in x, of data drawn from one Gaussian.

use rand_chacha::ChaCha8Rng;

use crate::{
    backends::array::Array,
    core::{At, Denoiser, Divergent, Level, Result, Trace},
    exact::{Component, ExactModel, Gaussian, gaussian::trace_of_linear},
};

/// $\epsilon(x) = a x + b$ with the a and b of least squares, on data $x_0 \sim \mathcal N(\mu, s^2 I)$.
///
/// Weights that are free at each level are those of the exact score, because that is linear: they minimise
/// every $L_\gamma$ at once. Weights that all levels share depend on gamma:
///
/// $$a = \frac{\sum_t \gamma_t \sqrt{1-\bar\alpha_t}}{\sum_t \gamma_t\left(v_t +
/// (\sqrt{\bar\alpha_t}\,\mu - c)^2\right)}, \quad b = -a c, \quad
/// c = \frac{\sum_t \gamma_t \sqrt{\bar\alpha_t}\,\mu}{\sum_t \gamma_t}, \quad
/// v_t = \bar\alpha_t s^2 + 1 - \bar\alpha_t$$
///
/// # References
/// Song, Meng, Ermon, *Denoising Diffusion Implicit Models*, ICLR 2021, section 3.2: what is optimal for
/// $L_1$ is optimal for every $L_\gamma$ if weights are not shared across t.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    data: Gaussian,
    shared: Option<[f64; 2]>,
}

impl Linear {
    /// Weights of their own at every level.
    pub fn free(data: Gaussian) -> Self {
        Self { data, shared: None }
    }

    /// The same weights at all levels: the best for the sum of the squared errors of eps at these, each
    /// times its factor.
    pub fn shared(data: Gaussian, terms: &[(Level, f64)]) -> Self {
        Self { data, shared: Some(fit(data, terms)) }
    }

    /// a and b at a level.
    pub fn weights(&self, level: Level) -> [f64; 2] {
        self.shared.unwrap_or_else(|| fit(self.data, &[(level, 1.0)]))
    }
}

/// The a and b that minimise $\sum_t \gamma_t\,E(a x_t + b - \epsilon)^2$.
fn fit(data: Gaussian, terms: &[(Level, f64)]) -> [f64; 2] {
    let sum = |of: &dyn Fn(Level) -> f64| -> f64 {
        terms.iter().map(|&(level, gamma)| gamma * of(level)).sum()
    };
    let mean = |level: Level| level.signal() * data.mean;
    let centre = sum(&mean) / sum(&|_| 1.0);
    let spread = sum(&|level| data.variance(level) + (mean(level) - centre).powi(2));
    let slope = sum(&|level| level.std()) / spread;
    [slope, -slope * centre]
}

impl Denoiser for Linear {
    type State = Array;

    fn predict(&self, x: &Array, at: At) -> Result<Array> {
        let [slope, offset] = self.weights(at.asked);
        Ok(x.mapv(|value| slope * value + offset))
    }
}

impl Divergent for Linear {
    fn predict_with_trace(
        &self,
        x: &Array,
        at: At,
        trace: &Trace<'_, Array>,
    ) -> Result<(Array, Vec<f64>)> {
        let [slope, _] = self.weights(at.asked);
        Ok((self.predict(x, at)?, trace_of_linear(slope, x, trace)))
    }
}

impl ExactModel for Linear {
    fn components(&self) -> Vec<Component> {
        self.data.components()
    }

    fn draw(&self, generator: &mut ChaCha8Rng, sample: &mut [f64]) {
        self.data.draw(generator, sample);
    }

    fn linear(&self, level: Level) -> Option<[f64; 2]> {
        Some(self.weights(level))
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;
    use crate::core::{CLEAN, End, Grid, Schedule, Tau};

    const DATA: Gaussian = Gaussian { mean: 0.3, std: 0.6 };

    fn terms(gamma: impl Fn(Level) -> f64) -> Vec<(Level, f64)> {
        let schedule = Schedule::linear(1e-4, 0.02, 1000).unwrap();
        let grid = Grid::new(&schedule, &Tau::LINSPACE, 20, End::Clean).unwrap();
        let noisy = grid.levels().iter().filter(|level| **level != CLEAN);
        noisy.map(|&level| (level, gamma(level))).collect()
    }

    #[test]
    fn free_weights_are_those_of_the_exact_score() {
        for (level, _) in terms(|_| 1.0) {
            let found = Linear::free(DATA).weights(level);
            let exact = DATA.linear(level).unwrap();
            for (found, exact) in found.into_iter().zip(exact) {
                assert_relative_eq!(found, exact, max_relative = 1e-14);
            }
        }
    }

    /// $\sum_t \gamma_t\,E(a x_t + b - \epsilon)^2$.
    fn loss([a, b]: [f64; 2], terms: &[(Level, f64)]) -> f64 {
        let of = |&(level, gamma): &(Level, f64)| {
            let centre = a * level.signal() * DATA.mean + b;
            let squares = [centre, a * level.signal() * DATA.std, a * level.std() - 1.0];
            gamma * squares.iter().map(|part| part * part).sum::<f64>()
        };
        terms.iter().map(of).sum()
    }

    #[test]
    fn shared_weights_have_no_better_neighbour_for_their_gamma_and_have_one_for_another() {
        let (even, late) = (terms(|_| 1.0), terms(|level| 1.0 / level.sigma().powi(2)));
        for (own, other) in [(&even, &late), (&late, &even)] {
            let best = Linear::shared(DATA, own).weights(own[0].0);
            let least = loss(best, own);
            for step in [[1e-3, 0.0], [-1e-3, 0.0], [0.0, 1e-3], [0.0, -1e-3]] {
                assert!(loss([best[0] + step[0], best[1] + step[1]], own) > least);
            }
            let others = Linear::shared(DATA, other).weights(own[0].0);
            assert!(loss(others, own) > 1.01 * least);
        }
    }
}
