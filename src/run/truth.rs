//! The solution of the probability-flow ODE that samples are compared with.
//!
//! A truth starts from the same x_T as the cell's samples and ends at the cell's last level. What
//! separates the two is then the solver's error on its grid and nothing else: not the network's,
//! and not chance. Cells that share model, noise and ends share the truth, which is computed once.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use crate::core::{
    At, Denoiser, Error, Grid, KeyedNoise, Noise, Outcome, Prediction, Result, Solver, State,
    integrate,
};

/// What was solved already, by truth, first sample and number of samples.
pub(crate) type Known<S> = Rc<RefCell<BTreeMap<(String, u64, usize), Rc<Solution<S>>>>>;

/// Where the cell's samples start, and where they should end.
pub(crate) struct Solution<S> {
    pub(crate) start: S,
    pub(crate) end: S,
}

/// How a cell's truth is found.
pub(crate) struct Truth<S: State> {
    /// What sets this truth apart from all others.
    pub(crate) key: String,
    /// The method that counts as exact.
    pub(crate) solver: Arc<dyn Solver<S>>,
    /// From x_T to where the cell starts; none if it starts at x_T.
    pub(crate) lead: Option<Grid>,
    /// The truth's own way.
    pub(crate) grid: Grid,
    pub(crate) known: Known<S>,
}

impl<S: State> Truth<S>
where
    KeyedNoise: Noise<S>,
{
    /// Carries x_T to where the cell starts; `observe` is called at every model call.
    ///
    /// # Errors
    /// As [`Truth::solve`].
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
            diverged @ Error::NotFinite { .. } => Error::model(format!("truth: {diverged}")),
            other => other,
        })
    }

    /// Solves from x_T, unless that was done already; `observe` is called at every model call.
    ///
    /// # Errors
    /// Whatever the model or the observer returns, and a truth that diverges: that is no property
    /// of the cell.
    pub(crate) fn solve(
        &self,
        denoiser: &dyn Denoiser<State = S>,
        noise: &KeyedNoise,
        x_t: &S,
        rows: usize,
        observe: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Rc<Solution<S>>> {
        let key = (self.key.clone(), noise.first, rows);
        if let Some(solution) = self.known.borrow().get(&key) {
            return Ok(Rc::clone(solution));
        }
        let copy = |x: &S| S::lincomb(&[(1.0, x)]);
        let start = self.lead(denoiser, noise, copy(x_t)?, observe)?;
        let end = self.along(&self.grid, denoiser, noise, copy(&start)?, observe)?;
        let solution = Rc::new(Solution { start, end });
        self.known.borrow_mut().insert(key, Rc::clone(&solution));
        Ok(solution)
    }
}

/// An adaptive method may cross everything in one step: an interruption is looked for at its calls.
struct Watched<'a, S: State> {
    inner: &'a dyn Denoiser<State = S>,
    observe: RefCell<&'a mut dyn FnMut() -> Result<()>>,
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
