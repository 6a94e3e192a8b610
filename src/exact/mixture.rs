//! Data drawn from a mixture of isotropic Gaussians: an exact score with structure.

use ndarray::Axis;
use ndarray_rand::rand_distr::{Distribution, StandardNormal};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::exact::ExactModel;
use crate::{
    backends::array::{Array, map_rows},
    core::{At, Denoiser, Divergent, Error, Level, Result, Trace},
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

    /// How much each component has to do with one sample, as shares of their sum, which is given too, and
    /// the component's variance at the level.
    fn shares(&self, row: &[f64], level: Level) -> (Vec<(f64, f64)>, f64) {
        let (signal, alpha_bar) = (level.signal(), level.alpha_bar);
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
        let shares: Vec<(f64, f64)> = distances
            .into_iter()
            .map(|(log, variance)| ((log - largest).exp(), variance))
            .collect();
        let total = shares.iter().map(|(share, _)| share).sum();
        (shares, total)
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
        let (signal, noise) = (level.signal(), level.std());
        let elements = x.len() / x.shape().first().copied().unwrap_or(1).max(1);
        if self.width() != 1 && self.width() != elements {
            return Err(Error::model(format!(
                "mixture: means have {} elements, samples {elements}",
                self.width()
            )));
        }
        map_rows(x, |row, out| {
            let (shares, total) = self.shares(row, level);
            for (component, (share, variance)) in self.components.iter().zip(shares) {
                let scale = noise * share / total / variance;
                for ((out, value), mean) in
                    out.iter_mut().zip(row).zip(component.mean.iter().cycle())
                {
                    *out += scale * (value - signal * mean);
                }
            }
        })
    }
}

impl Divergent for Mixture {
    /// With $d_k = (x - \sqrt{\bar\alpha}\,m_k)/v_k$, the Jacobian is $\sqrt{1-\bar\alpha}$ times
    /// $\sum_k r_k/v_k\,I - \sum_k r_k d_k d_k^\top + (\sum_k r_k d_k)(\sum_k r_k d_k)^\top$.
    fn predict_with_trace(
        &self,
        x: &Array,
        at: At,
        trace: &Trace<'_, Array>,
    ) -> Result<(Array, Vec<f64>)> {
        let eps = self.predict(x, at)?;
        let level = at.asked;
        let of = |sample: usize| {
            let row: Vec<f64> = x.index_axis(Axis(0), sample).iter().copied().collect();
            let (shares, total) = self.shares(&row, level);
            let parts: Vec<(f64, f64, Vec<f64>)> = self
                .components
                .iter()
                .zip(shares)
                .map(|(component, (share, variance))| {
                    let off = row.iter().zip(component.mean.iter().cycle());
                    let off = off.map(|(x, mean)| (x - level.signal() * mean) / variance);
                    (share / total, variance, off.collect())
                })
                .collect();
            let mut mean = vec![0.0; row.len()];
            for (share, _, off) in &parts {
                mean.iter_mut().zip(off).for_each(|(mean, off)| *mean += share * off);
            }
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let precision: f64 = parts.iter().map(|(share, variance, _)| share / variance).sum();
            if trace.probes.is_empty() {
                let outer: f64 = parts.iter().map(|(share, _, off)| share * dot(off, off)).sum();
                return level.std() * (row.len() as f64 * precision - outer + dot(&mean, &mean));
            }
            let along = |z: &Array| {
                let z: Vec<f64> = z.index_axis(Axis(0), sample).iter().copied().collect();
                let outer: f64 =
                    parts.iter().map(|(share, _, off)| share * dot(off, &z).powi(2)).sum();
                level.std() * (precision * dot(&z, &z) - outer + dot(&mean, &z).powi(2))
            };
            trace.probes.iter().map(along).sum::<f64>() / trace.probes.len() as f64
        };
        let traces = (0..x.len_of(Axis(0))).into_par_iter().map(of).collect();
        Ok((eps, traces))
    }
}

impl ExactModel for Mixture {
    fn components(&self) -> Vec<Component> {
        self.components.clone()
    }

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
