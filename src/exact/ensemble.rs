//! All values of a categorical model at once, with their probabilities.

use crate::{
    backends::array::{Array, check_categories},
    core::{Error, Result, State},
    exact::Categorical,
};

/// A state that is a distribution: every value of a [`Categorical`] model as a row, with its probability.
///
/// Where a sample's [`choose`](State::choose) draws one category for each variable, an ensemble's goes to
/// all values, each with the product of its variables' probabilities. A method that runs on it thus gives the
/// exact distribution of its samples.
#[derive(Clone, Debug)]
pub struct Ensemble {
    /// `[K^D, 1, D, K]`.
    values: Array,
    probabilities: Vec<f64>,
}

impl Ensemble {
    /// All values of a model, equally likely.
    pub fn even(model: &Categorical) -> Self {
        let count = model.probabilities().len();
        Self { values: model.one_hot(), probabilities: vec![1.0 / count as f64; count] }
    }

    /// The rows.
    pub fn values(&self) -> &Array {
        &self.values
    }

    /// Other rows with the same probabilities.
    pub(super) fn with(&self, values: Array) -> Self {
        Self { values, probabilities: self.probabilities.clone() }
    }

    /// The probability of each value.
    pub fn into_probabilities(self) -> Vec<f64> {
        self.probabilities
    }
}

impl State for Ensemble {
    /// Of the rows; the probabilities are those of the first term.
    fn lincomb(terms: &[(f64, &Self)]) -> Result<Self> {
        let Some((_, first)) = terms.first() else {
            return Err(Error::model("a linear combination needs at least one term"));
        };
        let values: Vec<(f64, &Array)> = terms.iter().map(|&(c, x)| (c, &x.values)).collect();
        Ok(first.with(Array::lincomb(&values)?))
    }

    fn clamp(&self, low: f64, high: f64) -> Result<Self> {
        Ok(self.with(State::clamp(&self.values, low, high)?))
    }

    fn mul_exp(&self, v: &Self, a: f64, b: f64) -> Result<Self> {
        Ok(self.with(self.values.mul_exp(&v.values, a, b)?))
    }

    fn choose(&self, even: f64, [x, _]: [&Self; 2]) -> Result<Self> {
        let shape = self.values.shape();
        let &[count, _, variables, categories] = shape else {
            return Err(Error::model(format!("an ensemble has no shape {shape:?}")));
        };
        check_categories(&self.values, even)?;
        let each = even / categories as f64;
        let weights = self.values.as_standard_layout();
        let weights = weights.as_slice().unwrap_or_default();
        let mut probabilities = vec![0.0; count];
        for (row, &probability) in weights.chunks(variables * categories).zip(&self.probabilities) {
            let mut reached = vec![probability];
            for weights in row.chunks(categories) {
                let on = |so_far: &f64| {
                    let so_far = *so_far;
                    weights.iter().map(move |weight| so_far * (weight + each))
                };
                reached = reached.iter().flat_map(on).collect();
            }
            probabilities.iter_mut().zip(reached).for_each(|(sum, more)| *sum += more);
        }
        // The noise stands in the shape and the values of the state that it is for.
        Ok(Self { values: x.values.clone(), probabilities })
    }

    fn rms(&self) -> Result<Vec<f64>> {
        self.values.rms()
    }

    fn is_finite(&self) -> Result<bool> {
        Ok(State::is_finite(&self.values)? && self.probabilities.iter().all(|p| p.is_finite()))
    }
}
