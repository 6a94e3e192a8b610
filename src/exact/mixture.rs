//! Data drawn from a mixture of isotropic Gaussians: an exact score with structure.

use ndarray_rand::rand_distr::{Distribution, StandardNormal};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::exact::ExactModel;
use crate::{
    backends::array::{Array, map_rows},
    core::{At, Denoiser, Error, Result},
};

/// One Gaussian of a mixture.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// Its share of the data; shares are normalised over the mixture.
    pub weight: f64,
    /// Its centre, as long as one sample; a single number stands for every element.
    pub mean: Vec<f64>,
    /// Its standard deviation, positive.
    pub std: f64,
}

/// Data $x_0 \sim \sum_k w_k \mathcal N(m_k, s_k^2 I)$.
///
/// $$\epsilon(x, \bar\alpha) = \sqrt{1-\bar\alpha}\,\sum_k r_k(x)\,
/// \frac{x - \sqrt{\bar\alpha}\,m_k}{\bar\alpha s_k^2 + 1 - \bar\alpha}$$
///
/// with the responsibilities $r_k(x) \propto w_k\,\mathcal N(x;\, \sqrt{\bar\alpha}\,m_k,\,
/// (\bar\alpha s_k^2 + 1 - \bar\alpha) I)$. Samples are rows and never mix.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    components: Vec<Component>,
}

impl Mixture {
    /// A mixture of at least one component.
    ///
    /// # Errors
    /// No components, a weight or a standard deviation that is not positive, an empty mean, or
    /// means of different lengths.
    pub fn new(components: Vec<Component>) -> Result<Self> {
        let fail = |what: &str| Err(Error::model(format!("mixture: {what}")));
        let Some(first) = components.first() else { return fail("no components") };
        let width = first.mean.len();
        for component in &components {
            let positive = |value: f64| value > 0.0 && value.is_finite();
            if !positive(component.weight) || !positive(component.std) {
                return fail("weights and standard deviations must be positive");
            }
            if component.mean.is_empty() || component.mean.len() != width {
                return fail("means must be equally long and not empty");
            }
        }
        Ok(Self { components })
    }

    /// Length of a mean: of one sample, or 1 where one number stands for every element.
    pub fn width(&self) -> usize {
        self.components[0].mean.len()
    }
}

impl Denoiser for Mixture {
    type State = Array;

    fn predict(&self, x: &Array, at: At) -> Result<Array> {
        let level = at.asked;
        let (signal, noise, alpha_bar) = (level.signal(), level.std(), level.alpha_bar);
        let elements = x.len() / x.shape().first().copied().unwrap_or(1).max(1);
        if self.width() != 1 && self.width() != elements {
            return Err(Error::model(format!(
                "mixture: means have {} elements, samples {elements}",
                self.width()
            )));
        }
        map_rows(x, |row, out| {
            let distances: Vec<(f64, f64)> = self
                .components
                .iter()
                .map(|component| {
                    let variance = alpha_bar * component.std * component.std + 1.0 - alpha_bar;
                    let squared: f64 = row
                        .iter()
                        .zip(component.mean.iter().cycle())
                        .map(|(value, mean)| (value - signal * mean).powi(2))
                        .sum();
                    let log = component.weight.ln()
                        - 0.5 * (squared / variance + row.len() as f64 * variance.ln());
                    (log, variance)
                })
                .collect();
            // The largest exponent is taken out first: far from all centres every term underflows.
            let largest = distances.iter().fold(f64::NEG_INFINITY, |most, &(log, _)| most.max(log));
            let total: f64 = distances.iter().map(|(log, _)| (log - largest).exp()).sum();
            for (component, (log, variance)) in self.components.iter().zip(distances) {
                let scale = noise * (log - largest).exp() / total / variance;
                for ((out, value), mean) in
                    out.iter_mut().zip(row).zip(component.mean.iter().cycle())
                {
                    *out += scale * (value - signal * mean);
                }
            }
        })
    }
}

impl ExactModel for Mixture {
    fn draw(&self, generator: &mut ChaCha8Rng, sample: &mut [f64]) {
        let total: f64 = self.components.iter().map(|component| component.weight).sum();
        let mut left = generator.gen_range(0.0..total);
        let chosen = self.components.iter().find(|component| {
            left -= component.weight;
            left < 0.0
        });
        // Rounding may leave nothing to choose: it is the last one's share then.
        let Component { mean, std, .. } =
            chosen.unwrap_or(&self.components[self.components.len() - 1]);
        for (x, mean) in sample.iter_mut().zip(mean.iter().cycle()) {
            let normal: f64 = StandardNormal.sample(generator);
            *x = mean + std * normal;
        }
    }
}
