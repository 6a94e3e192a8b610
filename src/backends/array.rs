//! `State` and `Noise` for ndarray in f64: exact-score models, order studies, tests.

use ndarray::{ArrayD, ArrayViewD, Axis, Zip};
use rayon::prelude::*;

use crate::core::{Draw, Error, KeyedNoise, Noise, Result, State};

/// How far from a distribution rounding may bring the weights of categories.
const ROUNDING: f64 = 1e-9;

/// The state of exact-score models: [N, ...] in f64.
pub type Array = ArrayD<f64>;

impl State for Array {
    fn lincomb(terms: &[(f64, &Self)]) -> Result<Self> {
        let Some(&(first, x)) = terms.first() else {
            return Err(Error::model("a linear combination needs at least one term"));
        };
        // In the order given: bitwise equal for any batch, and for any number of threads.
        let mut sum = x.mapv(|value| first * value);
        for &(coefficient, x) in &terms[1..] {
            if x.shape() != sum.shape() {
                return Err(Error::model(format!(
                    "shapes differ in a linear combination: {:?} and {:?}",
                    sum.shape(),
                    x.shape()
                )));
            }
            sum.scaled_add(coefficient, x);
        }
        Ok(sum)
    }

    fn clamp(&self, low: f64, high: f64) -> Result<Self> {
        Ok(self.mapv(|value| value.clamp(low, high)))
    }

    fn mul_exp(&self, v: &Self, a: f64, b: f64) -> Result<Self> {
        if self.shape() != v.shape() {
            return Err(Error::model(format!(
                "shapes differ in a scaling: {:?} and {:?}",
                self.shape(),
                v.shape()
            )));
        }
        Ok(Zip::from(self).and(v).map_collect(|x, v| x * (a * v + b).exp()))
    }

    fn choose(&self, even: f64, [a, b]: [&Self; 2]) -> Result<Self> {
        if self.ndim() == 0 || self.shape() != a.shape() || self.shape() != b.shape() {
            return Err(Error::model(format!(
                "shapes differ in a choice: {:?}, {:?} and {:?}",
                self.shape(),
                a.shape(),
                b.shape()
            )));
        }
        let last = Axis(self.ndim() - 1);
        let each = even / self.len_of(last) as f64;
        check_categories(self, even)?;
        let time = |w: &f64, a: &f64, b: &f64| {
            let p = w + each;
            if p <= 0.0 { f64::INFINITY } else { (a * a + b * b) / p }
        };
        let mut race = Zip::from(self).and(a).and(b).map_collect(time);
        for mut lane in race.lanes_mut(last) {
            let first = lane.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
            let first = first.map_or(0, |(k, _)| k);
            lane.fill(0.0);
            lane[first] = 1.0;
        }
        Ok(race)
    }

    fn rms(&self) -> Result<Vec<f64>> {
        let width = self.len() / self.shape().first().copied().unwrap_or(1).max(1);
        let squares = |sample: ArrayViewD<'_, f64>| sample.iter().map(|v| v * v).sum::<f64>();
        if self.ndim() == 0 {
            return Ok(vec![squares(self.view()).sqrt()]);
        }
        let mean = |sample| squares(sample) / width.max(1) as f64;
        Ok(self.outer_iter().map(|sample| mean(sample).sqrt()).collect())
    }

    fn is_finite(&self) -> Result<bool> {
        Ok(self.iter().all(|value| value.is_finite()))
    }

    fn first_not_finite(&self) -> Result<Option<usize>> {
        if self.ndim() == 0 {
            return Ok((!State::is_finite(self)?).then_some(0));
        }
        Ok(self.outer_iter().position(|sample| !sample.iter().all(|value| value.is_finite())))
    }
}

impl Noise<Array> for KeyedNoise {
    fn draw(&self, like: &Array, draw: Draw) -> Result<Array> {
        let rows = like.shape().first().copied().unwrap_or(1);
        let mut out = vec![0.0; like.len()];
        self.fill(&mut out, rows, draw, |z| z);
        Array::from_shape_vec(like.raw_dim(), out).map_err(Error::model)
    }

    fn first(&self) -> u64 {
        self.first
    }
}

/// Refuses weights that, with an even share of all categories of the last axis, are no distribution.
///
/// # Errors
/// Weights that are negative or do not sum to 1.
pub(crate) fn check_categories(weights: &Array, even: f64) -> Result<()> {
    let last = Axis(weights.ndim().saturating_sub(1));
    let each = even / weights.len_of(last) as f64;
    for weights in weights.lanes(last) {
        let sum = even + weights.sum();
        let least = weights.iter().fold(f64::INFINITY, |least, w| least.min(w + each));
        if !((sum - 1.0).abs() <= ROUNDING && least >= -ROUNDING) {
            return Err(Error::model(format!(
                "categories are drawn by weights of at least 0 that sum to 1, not by {weights} and \
                 {even} evenly"
            )));
        }
    }
    Ok(())
}

/// Applies `f(sample, out)` to every row of `x` in parallel; rows never mix.
///
/// # Errors
/// Never in practice: the shape of `x` is kept.
pub(crate) fn map_rows(x: &Array, f: impl Fn(&[f64], &mut [f64]) + Sync) -> Result<Array> {
    let x = x.as_standard_layout();
    let width = x.len() / x.shape().first().copied().unwrap_or(1).max(1);
    let mut out = vec![0.0; x.len()];
    if let (Some(input), true) = (x.as_slice(), width > 0) {
        out.par_chunks_mut(width).zip(input.par_chunks(width)).for_each(|(out, row)| f(row, out));
    }
    Array::from_shape_vec(x.raw_dim(), out).map_err(Error::model)
}
