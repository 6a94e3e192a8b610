//! The reference solution of the probability-flow ODE, which samples are compared with.
//!
//! It starts from the same x_T as the cell's samples and ends at the cell's last level. What
//! separates the two is then the solver's error on its grid and nothing else: not the network's,
//! and not chance. Cells that share model, noise and ends share it, and it is computed once.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use crate::core::{
    At, Denoiser, Error, Grid, KeyedNoise, Noise, Outcome, Prediction, Result, Solver, State,
    integrate,
};

/// What was solved already, by the solution's key, first sample and number of samples.
pub(crate) type Known<S> = Rc<RefCell<BTreeMap<(String, u64, usize), Rc<Solved<S>>>>>;

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
        if let Some(solved) = self.known.borrow().get(&key) {
            return Ok(Rc::clone(solved));
        }
        let copy = |x: &S| S::lincomb(&[(1.0, x)]);
        let start = self.lead(denoiser, noise, copy(x_t)?, observe)?;
        let end = self.along(&self.grid, denoiser, noise, copy(&start)?, observe)?;
        let solved = Rc::new(Solved { start, end });
        self.known.borrow_mut().insert(key, Rc::clone(&solved));
        Ok(solved)
    }
}

/// Calls the observer at every model call, since an adaptive method may take a single step.
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
