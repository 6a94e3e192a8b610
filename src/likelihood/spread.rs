//! What the likelihood of an ODE draws: places in the bins of bytes, and probes of a trace.

use std::f64::consts::LN_2;

use ndarray_rand::rand_distr::{Distribution, StandardNormal};
use rand::Rng;

use crate::{
    backends::array::Array,
    core::{Draw, KeyedNoise, generator},
    likelihood::HALF_BIN,
};

/// How the elements of a probe z are distributed; $E[z z^\top] = I$ for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// 1 or -1: what is on the Jacobian's diagonal adds no spread.
    Rademacher,
    /// Standard normal.
    Gaussian,
}

/// The k-th probe of a batch in the shape of `x`, a function of the seed, the sample and k.
///
/// # References
/// Hutchinson, *A stochastic estimator of the trace of the influence matrix for Laplacian smoothing
/// splines*, Communications in Statistics 18 (1989), 1059-1076.
pub fn probe(x: &Array, kind: Probe, noise: KeyedNoise, k: u8) -> Array {
    rows(x, noise, Draw::Probe { k }, |_, generator| match kind {
        Probe::Rademacher => {
            if generator.r#gen() {
                1.0
            } else {
                -1.0
            }
        }
        Probe::Gaussian => StandardNormal.sample(generator),
    })
}

/// Byte images, each value moved to a uniform place in its bin, $x \pm 1/255$; the places are a function of
/// the seed and the sample.
///
/// # References
/// Theis, van den Oord, Bethge, *A note on the evaluation of generative models*, ICLR 2016, section 3.1.
pub fn dequantised(x: &Array, noise: KeyedNoise) -> Array {
    rows(x, noise, Draw::Bin, |x, generator| x + HALF_BIN * generator.gen_range(-1.0..1.0))
}

/// The bytes nearest to some values, again on [-1, 1].
pub fn nearest_bytes(x: &Array) -> Array {
    x.mapv(|x| ((x + 1.0) * 127.5).round().clamp(0.0, 255.0) / 127.5 - 1.0)
}

/// A log-density of D values in [-1, 1] as bits for each of their bytes:
/// $-\log_2 p / D - \log_2(2/255)$.
pub fn bits_of_density(log_density: f64, dimensions: usize) -> f64 {
    -log_density / dimensions as f64 / LN_2 - (2.0 * HALF_BIN).log2()
}

/// Every value of a batch by a function of it and of its sample's generator.
fn rows(
    x: &Array,
    noise: KeyedNoise,
    draw: Draw,
    mut value: impl FnMut(f64, &mut rand_chacha::ChaCha8Rng) -> f64,
) -> Array {
    let mut out = x.clone();
    for (sample, mut row) in (noise.first..).zip(out.outer_iter_mut()) {
        let mut generator = generator(noise.seed, sample, draw);
        row.iter_mut().for_each(|x| *x = value(*x, &mut generator));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOISE: KeyedNoise = KeyedNoise { seed: 4, first: 7 };

    #[test]
    fn probes_are_keyed_by_sample_and_have_unit_moments() {
        let x = Array::zeros(vec![40, 1000]);
        for kind in [Probe::Rademacher, Probe::Gaussian] {
            let z = probe(&x, kind, NOISE, 0);
            assert_ne!(z, probe(&x, kind, NOISE, 1));
            let later =
                probe(&Array::zeros(vec![2, 1000]), kind, KeyedNoise { first: 10, ..NOISE }, 0);
            assert_eq!(later.outer_iter().next(), z.outer_iter().nth(3));
            // Four standard errors of 40,000 values.
            assert!(z.mean().unwrap().abs() < 4.0 / 200.0);
            assert!((z.mapv(|z| z * z).mean().unwrap() - 1.0).abs() < 4.0 * 2_f64.sqrt() / 200.0);
        }
        let signs = probe(&x, Probe::Rademacher, NOISE, 0);
        assert!(signs.iter().all(|z| (z.abs() - 1.0).abs() <= 0.0));
    }

    #[test]
    fn dequantised_values_fill_their_bins() {
        let x = Array::from_elem(vec![10, 1000], 0.2);
        let apart = (dequantised(&x, NOISE) - &x).mapv(|d| d / HALF_BIN);
        let (low, high) = apart.iter().fold((1.0, -1.0), |(l, h), &d| (d.min(l), d.max(h)));
        assert!((-1.0..-0.99).contains(&low) && (0.99..1.0).contains(&high), "{low} {high}");
        assert!(apart.mean().unwrap().abs() < 4.0 / 30_000_f64.sqrt());
        // A uniform density over all 256 bins is 8 bits.
        let uniform = -(2.0_f64 + 2.0 * HALF_BIN).ln();
        assert!((bits_of_density(3.0 * uniform, 3) - 8.0).abs() < 1e-12);
    }
}
