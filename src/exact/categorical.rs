//! Data of a few categories with a known table: the posteriors of x0 are sums.

use rayon::prelude::*;

use crate::exact::Ensemble;
use crate::{
    backends::array::Array,
    core::{At, Denoiser, Draw, Error, Grid, Level, Noise, Prediction, Result, Solver, integrate},
};

/// The most values that a model may have: all are summed over for every prediction.
pub const VALUES: usize = 1_024;

/// Data of D variables with K categories each, drawn from a table of all $K^D$ values, and corrupted variable
/// by variable: $q(x_t \mid x_0) = \mathrm{Cat}(\alpha_t x_0 + (1-\alpha_t)\,\mathbf 1_K)$.
///
/// Its prediction is exact, the probabilities of each variable of x0 given all variables of x:
///
/// $$f(x)_d = \frac{\sum_{x_0} q(x_0)\,q(x \mid x_0)\,x_0^d}{\sum_{x_0} q(x_0)\,q(x \mid x_0)},
/// \qquad q(x \mid x_0) = \prod_e \Bigl(\alpha\,[x^e = x_0^e] + \frac{1-\alpha}{K}\Bigr)$$
///
/// A state is one-hot, `[N, ..., D, K]`, and $\alpha$ is [`Level::alpha_bar`]. A value of the table has its
/// variables as the digits of its index, the last variable the fastest.
///
/// There is no eps on categories. The one that [`Denoiser::predict`] returns is that of Eq. (9) for f, so that
/// whoever asks for x0 gets f.
///
/// # References
/// Song, Meng, Ermon, *Denoising Diffusion Implicit Models*, ICLR 2021, appendix A; Hoogeboom et al., *Argmax
/// Flows and Multinomial Diffusion*, NeurIPS 2021.
#[derive(Clone, Debug, PartialEq)]
pub struct Categorical {
    variables: usize,
    categories: usize,
    table: Vec<f64>,
    /// The categories of all values, D for each.
    digits: Vec<usize>,
}

impl Categorical {
    /// The model of D variables with K categories, from the weights of all $K^D$ values.
    ///
    /// # Errors
    /// No variable, fewer than two categories, more than [`VALUES`] values, another number of weights, a
    /// weight that is negative or not finite, or none above 0.
    pub fn new([variables, categories]: [usize; 2], weights: &[f64]) -> Result<Self> {
        let fail = |what: String| Err(Error::model(format!("categorical: {what}")));
        if variables == 0 || categories < 2 {
            return fail(format!(
                "{variables} variables with {categories} categories: at least one with at least two"
            ));
        }
        let values = Self::values_of([variables, categories]);
        let Some(values) = values.filter(|values| *values <= VALUES) else {
            return fail(format!(
                "{variables} variables with {categories} categories have more than {VALUES} values"
            ));
        };
        if weights.len() != values {
            return fail(format!("{values} values, but {} weights", weights.len()));
        }
        let total: f64 = weights.iter().sum();
        let sound = |weight: &f64| *weight >= 0.0 && weight.is_finite();
        if !(weights.iter().all(sound) && total > 0.0 && total.is_finite()) {
            return fail("weights must be finite and at least 0, and one of them above 0".into());
        }
        let digit = |value: usize, d: usize| {
            let place = categories.pow(u32::try_from(variables - 1 - d).unwrap_or(u32::MAX));
            value / place % categories
        };
        let digits = (0..values).flat_map(|value| (0..variables).map(move |d| digit(value, d)));
        Ok(Self {
            variables,
            categories,
            table: weights.iter().map(|weight| weight / total).collect(),
            digits: digits.collect(),
        })
    }

    /// $K^D$, if it is a number.
    pub fn values_of([variables, categories]: [usize; 2]) -> Option<usize> {
        categories.checked_pow(u32::try_from(variables).ok()?)
    }

    /// D and K.
    pub fn shape(&self) -> [usize; 2] {
        [self.variables, self.categories]
    }

    /// The probability of every value: the table.
    pub fn probabilities(&self) -> &[f64] {
        &self.table
    }

    /// The categories of a value, one for each variable.
    fn of_value(&self, value: usize) -> &[usize] {
        &self.digits[value * self.variables..][..self.variables]
    }

    /// All values as one-hot vectors, `[K^D, 1, D, K]`.
    pub(super) fn one_hot(&self) -> Array {
        let shape = vec![self.table.len(), 1, self.variables, self.categories];
        Array::from_shape_fn(shape, |at| {
            let [value, _, d, k] = [at[0], at[1], at[2], at[3]];
            if self.of_value(value)[d] == k { 1.0 } else { 0.0 }
        })
    }

    /// The value of each sample of one-hot vectors.
    ///
    /// # Errors
    /// A state of another shape, or one that is not one-hot.
    pub fn values(&self, x: &Array) -> Result<Vec<usize>> {
        let [d, k] = self.shape();
        if x.ndim() < 3 || x.shape()[x.ndim() - 2..] != [d, k] || x.len() != x.shape()[0] * d * k {
            return Err(Error::model(format!(
                "categorical: states are [N, 1, {d}, {k}], not {:?}",
                x.shape()
            )));
        }
        let value = |(sample, row): (usize, &[f64])| {
            row.chunks(k).try_fold(0, |value, one_hot| {
                let is = |number: f64, wanted: f64| (number - wanted).abs() <= 0.0;
                let hot = one_hot.iter().position(|&number| is(number, 1.0));
                let rest = one_hot.iter().filter(|&&number| is(number, 0.0)).count();
                match hot {
                    Some(category) if rest + 1 == k => Ok(value * k + category),
                    _ => Err(Error::model(format!(
                        "categorical: row {sample} is not one-hot: each variable has a single 1 \
                         among zeros"
                    ))),
                }
            })
        };
        let x = x.as_standard_layout();
        let all = x.as_slice().unwrap_or_default();
        all.chunks(d * k).enumerate().map(value).collect()
    }

    /// The distribution of each variable alone, of a distribution of values: D rows of K.
    pub fn marginals(&self, probabilities: &[f64]) -> Vec<Vec<f64>> {
        let mut all = vec![vec![0.0; self.categories]; self.variables];
        for (value, probability) in probabilities.iter().enumerate() {
            for (marginal, &category) in all.iter_mut().zip(self.of_value(value)) {
                marginal[category] += probability;
            }
        }
        all
    }

    /// The distribution of the values of x at a level.
    ///
    /// $$q(x) = \sum_{x_0} q(x_0)\,q(x \mid x_0)$$
    pub fn corrupted(&self, level: Level) -> Vec<f64> {
        let values = 0..self.table.len();
        values.map(|value| self.joint(value, level.alpha_bar).iter().sum()).collect()
    }

    /// $q(x_0)\,q(x \mid x_0)$ for all x0.
    fn joint(&self, x: usize, alpha: f64) -> Vec<f64> {
        let other = (1.0 - alpha) / self.categories as f64;
        let same = alpha + other;
        let x = self.of_value(x);
        let of = |(value, weight): (usize, &f64)| {
            let pairs = self.of_value(value).iter().zip(x);
            pairs.fold(*weight, |product, (a, b)| product * if a == b { same } else { other })
        };
        self.table.iter().enumerate().map(of).collect()
    }

    /// The probabilities of x0, D rows of K, given a value of x.
    fn posterior(&self, x: usize, alpha: f64) -> Vec<f64> {
        let joint = self.joint(x, alpha);
        let total: f64 = joint.iter().sum();
        self.marginals(&joint).concat().into_iter().map(|probability| probability / total).collect()
    }

    /// f of every sample.
    fn x0(&self, x: &Array, alpha: f64) -> Result<Array> {
        let values = self.values(x)?;
        // There are fewer values than samples, as a rule.
        let mut seen = values.clone();
        seen.sort_unstable();
        seen.dedup();
        let known: Vec<Vec<f64>> =
            seen.par_iter().map(|&value| self.posterior(value, alpha)).collect();
        let of = |value: &usize| {
            let at = seen.binary_search(value).expect("invariant: it is among those seen");
            known[at].iter().copied()
        };
        let all = values.iter().flat_map(of).collect();
        Array::from_shape_vec(x.raw_dim(), all).map_err(Error::model)
    }

    /// x_T of some samples, `[N, 1, D, K]`: every category as likely as any other.
    ///
    /// It is the one with the largest of K standard normals, the samples' initial noise.
    ///
    /// # Errors
    /// Whatever the noise returns.
    pub fn start(&self, noise: &dyn Noise<Array>, samples: usize) -> Result<Array> {
        let like = Array::zeros(vec![samples, 1, self.variables, self.categories]);
        let mut x = noise.draw(&like, Draw::Initial)?;
        for mut lane in x.lanes_mut(ndarray::Axis(3)) {
            let largest = lane.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            let largest = largest.map_or(0, |(k, _)| k);
            lane.fill(0.0);
            lane[largest] = 1.0;
        }
        Ok(x)
    }

    /// The exact distribution of a method's samples over all values, from x_T of even categories.
    ///
    /// The method itself runs, on an [`Ensemble`]: what it would draw, the ensemble takes the probabilities
    /// of.
    ///
    /// # Errors
    /// A grid the method does not admit, and what `observe`, which is called after every step, returns.
    pub fn sampled(
        &self,
        solver: &dyn Solver<Ensemble>,
        grid: &Grid,
        mut observe: impl FnMut() -> Result<()>,
    ) -> Result<Vec<f64>> {
        /// An ensemble draws nothing.
        struct Nothing;
        impl Noise<Ensemble> for Nothing {
            fn draw(&self, like: &Ensemble, _: Draw) -> Result<Ensemble> {
                Ok(like.clone())
            }
        }
        let start = Ensemble::even(self);
        let model = OnEnsembles(self);
        let end = integrate(solver, &model, &Nothing, grid, start, |_, _, _| observe())?;
        Ok(end.x.into_probabilities())
    }
}

impl Denoiser for Categorical {
    type State = Array;

    fn predict(&self, x: &Array, at: At) -> Result<Array> {
        Ok(self.predict_with_range(x, at)?.eps)
    }

    fn predict_with_range(&self, x: &Array, at: At) -> Result<Prediction<Array>> {
        let level = at.asked;
        if level.is_clean() {
            return Err(Error::NoEpsAtClean { model: "categorical" });
        }
        let x0 = self.x0(x, level.alpha_bar)?;
        let (signal, std) = (at.state.signal(), at.state.std());
        let eps = (x - &x0.mapv(|p| signal * p)).mapv(|difference| difference / std);
        Ok(Prediction { eps, x0: Some(x0), range: None })
    }
}

/// The model on all its values at once.
struct OnEnsembles<'a>(&'a Categorical);

impl Denoiser for OnEnsembles<'_> {
    type State = Ensemble;

    fn predict(&self, x: &Ensemble, at: At) -> Result<Ensemble> {
        Ok(x.with(self.0.predict(x.values(), at)?))
    }

    fn predict_with_range(&self, x: &Ensemble, at: At) -> Result<Prediction<Ensemble>> {
        let Prediction { eps, x0, .. } = self.0.predict_with_range(x.values(), at)?;
        Ok(Prediction { eps: x.with(eps), x0: x0.map(|x0| x.with(x0)), range: None })
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    #[test]
    fn values_are_counted_with_the_last_variable_first() {
        let model = Categorical::new([2, 3], &[1.0; 9]).unwrap();
        assert_eq!(model.of_value(5), [1, 2]);
        let all = model.one_hot();
        assert_eq!(all.shape(), [9, 1, 2, 3]);
        assert_eq!(model.values(&all).unwrap(), (0..9).collect::<Vec<_>>());
        let table: Vec<f64> = (0..9).map(f64::from).collect();
        let marginals = Categorical::new([2, 3], &table).unwrap().marginals(&table);
        // Rows 0 1 2, 3 4 5, 6 7 8.
        assert_abs_diff_eq!(marginals[0][..], [3.0, 12.0, 21.0]);
        assert_abs_diff_eq!(marginals[1][..], [9.0, 12.0, 15.0]);
    }

    #[test]
    fn a_table_that_is_none_is_refused() {
        let refused =
            |shape, weights: &[f64]| Categorical::new(shape, weights).unwrap_err().to_string();
        assert!(refused([0, 2], &[1.0]).contains("at least one"));
        assert!(refused([2, 1], &[1.0]).contains("at least two"));
        assert!(refused([2, 33], &[1.0; 1089]).contains("more than 1024 values"));
        assert!(refused([usize::MAX, 2], &[]).contains("more than 1024 values"));
        assert!(refused([2, 2], &[1.0; 3]).contains("4 values, but 3 weights"));
        for weights in [[0.0, 0.0], [1.0, -1.0], [1.0, f64::NAN], [f64::MAX, f64::MAX]] {
            assert!(refused([1, 2], &weights).contains("one of them above 0"), "{weights:?}");
        }
    }

    #[test]
    fn a_state_that_is_not_one_hot_is_refused_by_its_row() {
        let model = Categorical::new([1, 2], &[1.0, 3.0]).unwrap();
        let state =
            |rows: [[f64; 2]; 2]| Array::from_shape_vec(vec![2, 1, 1, 2], rows.concat()).unwrap();
        assert_eq!(model.values(&state([[0.0, 1.0], [1.0, 0.0]])).unwrap(), [1, 0]);
        for bad in [[0.5, 0.5], [1.0, 1.0], [0.0, 0.0], [f64::NAN, 1.0]] {
            let error = model.values(&state([[0.0, 1.0], bad])).unwrap_err().to_string();
            assert!(error.contains("row 1 is not one-hot"), "{error}");
        }
        let flat = Array::zeros(vec![2, 2]);
        assert!(model.values(&flat).unwrap_err().to_string().contains("[N, 1, 1, 2]"));
    }
}
