//! Solvers carry a state across one step.

use std::collections::VecDeque;

use crate::core::{At, Denoiser, Draw, Error, Grid, Level, Noise, Result, State, Step};

/// The factors of a step of one model call and one linear combination:
/// $x_\text{to} = a\,x + h\,\epsilon(x, \text{from})$.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// a, the factor of x.
    pub a: f64,
    /// h, the factor of eps.
    pub h: f64,
}

/// A sampling method, independent of the type of its state.
///
/// A method is a few numbers, so threads may share it.
pub trait Method: Send + Sync {
    /// The method's name, as manifests and CSV files spell it.
    fn name(&self) -> &'static str;

    /// The order of convergence between two positive levels: the error falls as the step size to
    /// this power. None for a method that draws noise.
    fn order(&self) -> Option<u32>;

    /// Whether a step draws noise, so that the same $x_T$ can give different samples.
    fn draws_noise(&self) -> bool {
        self.order().is_none()
    }

    /// How many earlier predictions the method uses; 0 for one-step methods.
    fn memory(&self) -> usize {
        0
    }

    /// Whether the method may start where $\bar\alpha = 0$ and sigma is infinite: one written in x0 and
    /// eps may, one that steps in sigma or its logarithm may not.
    fn starts_from_pure_noise(&self) -> bool {
        false
    }

    /// Refuses a grid the method cannot run on, before anything is computed.
    ///
    /// # Errors
    /// What is wrong with the grid for this method.
    fn admits(&self, _grid: &Grid) -> Result<()> {
        Ok(())
    }

    /// The factors of a step, for a method of one model call and one linear combination: such a step can
    /// be solved for the x it started from.
    fn affine(&self, _step: Step) -> Option<Affine> {
        None
    }
}

/// A [`Method`] on states of type `S`: its step.
///
/// A step is given by its two levels, never by `t - 1`. The same `step` runs towards the data and, for
/// deterministic methods, away from it.
pub trait Solver<S: State>: Method {
    /// Carries `x` from `step.from` to `step.to`.
    ///
    /// # Errors
    /// Whatever the model, the noise or the tensor library returns.
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S>;
}

/// What a solver can use during a trajectory: the model, noise, and earlier predictions.
///
/// Model calls are counted here, at the model, not reported by the method.
pub struct Eval<'a, S: State> {
    denoiser: &'a dyn Denoiser<State = S>,
    noise: &'a dyn Noise<S>,
    nfe: u64,
    memory: VecDeque<(Level, S)>,
    capacity: usize,
}

impl<'a, S: State> Eval<'a, S> {
    /// Starts a trajectory that remembers up to `capacity` predictions.
    pub fn new(
        denoiser: &'a dyn Denoiser<State = S>,
        noise: &'a dyn Noise<S>,
        capacity: usize,
    ) -> Self {
        Self { denoiser, noise, nfe: 0, memory: VecDeque::new(), capacity }
    }

    /// The predicted noise for an `x` at a level; counts one call.
    ///
    /// # Errors
    /// Whatever the model returns.
    pub fn eps(&mut self, x: &S, at: impl Into<At>) -> Result<S> {
        self.nfe += 1;
        self.denoiser.predict(x, at.into())
    }

    /// The predicted noise and the x0 it implies, $(x - \sqrt{1-\bar\alpha}\,\epsilon)/\sqrt{\bar\alpha}$
    /// (Song et al. 2021, Eq. 9); counts one call.
    ///
    /// # Errors
    /// Whatever the model returns.
    pub fn eps_and_x0(&mut self, x: &S, level: Level) -> Result<(S, S)> {
        self.nfe += 1;
        let prediction = self.denoiser.predict_with_range(x, level.into())?;
        let (eps, x0, _) = prediction.with_x0(x, level)?;
        Ok((eps, x0))
    }

    /// The x0 that the predicted noise implies, and the range of the variance; counts one call.
    ///
    /// # Errors
    /// A model that predicts no range, and whatever the model returns.
    pub fn x0_and_range(&mut self, x: &S, level: Level) -> Result<(S, S)> {
        self.nfe += 1;
        let prediction = self.denoiser.predict_with_range(x, level.into())?;
        let (_, x0, range) = prediction.with_x0(x, level)?;
        Ok((x0, range.ok_or(Error::NoRange)?))
    }

    /// The `sub`-th standard normal of a step.
    ///
    /// # Errors
    /// Whatever the tensor library returns.
    pub fn normal(&self, like: &S, step: Step, sub: u8) -> Result<S> {
        self.noise.draw(like, Draw::Step { position: step.draw, sub })
    }

    /// Keeps a prediction for later steps; the oldest is dropped beyond the solver's `memory`.
    pub fn remember(&mut self, level: Level, prediction: S) {
        if self.capacity == 0 {
            return;
        }
        if self.memory.len() == self.capacity {
            self.memory.pop_back();
        }
        self.memory.push_front((level, prediction));
    }

    /// The latest prediction that was remembered.
    pub fn recall(&self) -> Option<&(Level, S)> {
        self.memory.front()
    }

    /// The prediction of this step and those remembered, the latest first, each with its level.
    pub fn history<'b>(&'b self, level: Level, now: &'b S) -> impl Iterator<Item = (Level, &'b S)> {
        let before = self.memory.iter().map(|(level, prediction)| (*level, prediction));
        std::iter::once((level, now)).chain(before)
    }

    /// The number of the sample in a row of the state, for an error that names it.
    pub fn sample(&self, row: usize) -> u64 {
        self.noise.first() + row as u64
    }

    /// NFE: model calls so far, each for every sample of the batch.
    pub fn nfe(&self) -> u64 {
        self.nfe
    }
}
