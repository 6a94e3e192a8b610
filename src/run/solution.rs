//! The reference solution of the probability-flow ODE, which samples are compared with.
//!
//! It starts from the same x_T as the cell's samples and ends at the cell's last level. What
//! separates the two is then the solver's error on its grid and nothing else: not the network's,
//! and not chance. Cells that share model, noise and ends share it, and it is computed once.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

use crate::core::{
    At, Denoiser, Error, Grid, KeyedNoise, Noise, Outcome, Prediction, Result, Solver, State,
    integrate,
};

/// What was solved already and is wanted again.
pub(crate) type Known<S> = Rc<RefCell<Stock<S>>>;

/// Solved batches, by the solution's key, first sample and number of samples.
pub(crate) struct Stock<S> {
    solved: BTreeMap<(String, u64, usize), Rc<Solved<S>>>,
    /// The keys that other cells will ask for; none if that is not known.
    wanted: Option<BTreeSet<String>>,
}

impl<S> Default for Stock<S> {
    fn default() -> Self {
        Self { solved: BTreeMap::new(), wanted: None }
    }
}

impl<S> Stock<S> {
    /// Keeps from now on only what has one of these keys, and anything else until it is asked for once.
    pub(crate) fn want(&mut self, keys: &BTreeSet<String>) {
        self.wanted = Some(keys.clone());
    }

    fn is_wanted(&self, key: &str) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted.contains(key))
    }

    fn get(&mut self, at: &(String, u64, usize)) -> Option<Rc<Solved<S>>> {
        if self.is_wanted(&at.0) { self.solved.get(at).cloned() } else { self.solved.remove(at) }
    }

    fn keep(&mut self, at: (String, u64, usize), solved: &Rc<Solved<S>>) {
        if self.is_wanted(&at.0) {
            self.solved.insert(at, Rc::clone(solved));
        }
    }
}

/// The start of a cell's samples, and the end of their reference solution.
pub(crate) struct Solved<S> {
    pub(crate) start: S,
    pub(crate) end: S,
}

/// How a cell's reference solution is computed.
pub(crate) struct Solution<S: State> {
    /// Equal for solutions that are the same.
    pub(crate) key: String,
    /// The method that counts as exact.
    pub(crate) solver: Arc<dyn Solver<S>>,
    /// From x_T to where the cell starts; none if it starts at x_T.
    pub(crate) lead: Option<Grid>,
    /// The solution's own grid.
    pub(crate) grid: Grid,
    pub(crate) known: Known<S>,
}

impl<S: State> Solution<S>
where
    KeyedNoise: Noise<S>,
{
    /// Carries x_T to where the cell starts; `observe` is called at every model call.
    ///
    /// # Errors
    /// As [`Solution::solve`].
    pub(crate) fn lead(
        &self,
        denoiser: &dyn Denoiser<State = S>,
        noise: &KeyedNoise,
        x_t: S,
        observe: &mut dyn FnMut() -> Result<()>,
    ) -> Result<S> {
        match &self.lead {
            Some(lead) => self.along(lead, denoiser, noise, x_t, observe),
            None => Ok(x_t),
        }
    }

    fn along(
        &self,
        grid: &Grid,
        denoiser: &dyn Denoiser<State = S>,
        noise: &KeyedNoise,
        x: S,
        observe: &mut dyn FnMut() -> Result<()>,
    ) -> Result<S> {
        let watched = Watched { inner: denoiser, observe: RefCell::new(observe) };
        let outcome = integrate(&*self.solver, &watched, noise, grid, x, |_, _, _| Ok(()));
        outcome.map(|Outcome { x, .. }| x).map_err(|error| match error {
            diverged @ Error::NotFinite { .. } => {
                Error::model(format!("the reference solution: {diverged}"))
            }
            other => other,
        })
    }

    /// Solves from x_T, unless that was done already; `observe` is called at every model call.
    ///
    /// # Errors
    /// Whatever the model or the observer returns, and a solution that diverges, which is no fault
    /// of the cell.
    pub(crate) fn solve(
        &self,
        denoiser: &dyn Denoiser<State = S>,
        noise: &KeyedNoise,
        x_t: &S,
        rows: usize,
        observe: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Rc<Solved<S>>> {
        let key = (self.key.clone(), noise.first, rows);
        if let Some(solved) = self.known.borrow_mut().get(&key) {
            return Ok(solved);
        }
        let copy = |x: &S| S::lincomb(&[(1.0, x)]);
        let start = self.lead(denoiser, noise, copy(x_t)?, observe)?;
        let end = self.along(&self.grid, denoiser, noise, copy(&start)?, observe)?;
        let solved = Rc::new(Solved { start, end });
        self.known.borrow_mut().keep(key, &solved);
        Ok(solved)
    }
}

/// Calls the observer at every model call, since an adaptive method may take a single step.
pub(crate) struct Watched<'a, S: State> {
    pub(crate) inner: &'a dyn Denoiser<State = S>,
    pub(crate) observe: RefCell<&'a mut dyn FnMut() -> Result<()>>,
}

impl<S: State> Denoiser for Watched<'_, S> {
    type State = S;

    fn predict(&self, x: &S, at: At) -> Result<S> {
        (self.observe.borrow_mut())()?;
        self.inner.predict(x, at)
    }

    fn predict_with_range(&self, x: &S, at: At) -> Result<Prediction<S>> {
        (self.observe.borrow_mut())()?;
        self.inner.predict_with_range(x, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_kept_as_long_as_a_cell_will_ask_for_it() {
        let mut stock = Stock::default();
        let at = |key: &str| (key.to_owned(), 0, 8);
        let solved = Rc::new(Solved { start: 1, end: 2 });
        let kept = |stock: &Stock<i32>| stock.solved.len();
        stock.keep(at("a"), &solved);
        assert_eq!(kept(&stock), 1); // nobody knows what will be asked for
        stock.want(&BTreeSet::from(["a".to_owned()]));
        stock.keep(at("b"), &solved);
        assert!(stock.get(&at("a")).is_some() && stock.get(&at("b")).is_none());
        assert_eq!(kept(&stock), 1);
        stock.want(&BTreeSet::new());
        assert!(stock.get(&at("a")).is_some());
        assert_eq!(kept(&stock), 0);
    }
}
