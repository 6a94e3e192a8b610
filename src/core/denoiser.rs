//! What predicts the noise at a level, and its adapters.
//!
//! Clipping and the v and x0 parametrisations are adapters on the denoiser, not options of a
//! solver: every solver gets them at once and none can get them wrong.

use std::rc::Rc;

use super::{Error, Level, Result, State};

/// Where the state is, and the level whose label the model is asked with.
///
/// The two differ only in the "next" convention of inversion, which asks about an x at one level
/// with the label of the next. Adapters convert with `state`; networks read `asked.t`, exact-score
/// models `asked.alpha_bar`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct At {
    /// The level x is at.
    pub state: Level,
    /// The level whose label the model is asked with.
    pub asked: Level,
}

impl From<Level> for At {
    fn from(level: Level) -> Self {
        Self { state: level, asked: level }
    }
}

/// A model of the noise.
pub trait Denoiser {
    /// The tensor it works on.
    type State: State;

    /// The predicted noise $\epsilon_\theta(x, t)$, in the shape of `x`.
    ///
    /// A model of v or x0 returns that instead and is wrapped in [`FromV`] or [`FromX0`] before a
    /// solver sees it.
    ///
    /// # Errors
    /// Whatever the model returns.
    fn predict(&self, x: &Self::State, at: At) -> Result<Self::State>;
}

impl<D: Denoiser + ?Sized> Denoiser for Rc<D> {
    type State = D::State;

    fn predict(&self, x: &Self::State, at: At) -> Result<Self::State> {
        (**self).predict(x, at)
    }
}

/// Clamps the predicted x0 and hands on the eps that belongs to the clamped one.
///
/// $$\hat x_0 = \operatorname{clamp}\!\left(\frac{x - \sqrt{1-\bar\alpha}\,\epsilon}{\sqrt{\bar\alpha}}\right),
/// \qquad \epsilon' = \frac{x - \sqrt{\bar\alpha}\,\hat x_0}{\sqrt{1-\bar\alpha}}$$
///
/// With $\epsilon'$ the posterior form sees the clamped x0 beside the unclamped x, which is what
/// the official sigma-hat sampler does. At the clean end x0 is x and eps is handed on as it is.
#[derive(Clone, Debug)]
pub struct ClipX0<D> {
    /// The model of eps.
    pub inner: D,
    /// The smallest value x0 may have.
    pub low: f64,
    /// The largest value x0 may have.
    pub high: f64,
}

impl<D: Denoiser> Denoiser for ClipX0<D> {
    type State = D::State;

    fn predict(&self, x: &D::State, at: At) -> Result<D::State> {
        let eps = self.inner.predict(x, at)?;
        let (signal, noise) = (at.state.signal(), at.state.noise());
        if at.state.is_clean() {
            return Ok(eps);
        }
        let x0 = State::lincomb(&[(1.0 / signal, x), (-noise / signal, &eps)])?;
        let x0 = x0.clamp(self.low, self.high)?;
        State::lincomb(&[(1.0 / noise, x), (-signal / noise, &x0)])
    }
}

/// Turns a model of v into a model of eps: $\epsilon = \sqrt{1-\bar\alpha}\,x + \sqrt{\bar\alpha}\,v$.
///
/// # References
/// Salimans, Ho, *Progressive Distillation for Fast Sampling of Diffusion Models*, ICLR 2022,
/// appendix D ($v = \sqrt{\bar\alpha}\,\epsilon - \sqrt{1-\bar\alpha}\,x_0$).
#[derive(Clone, Debug)]
pub struct FromV<D>(pub D);

impl<D: Denoiser> Denoiser for FromV<D> {
    type State = D::State;

    fn predict(&self, x: &D::State, at: At) -> Result<D::State> {
        let v = self.0.predict(x, at)?;
        State::lincomb(&[(at.state.noise(), x), (at.state.signal(), &v)])
    }
}

/// Turns a model of x0 into a model of eps:
/// $\epsilon = (x - \sqrt{\bar\alpha}\,x_0)/\sqrt{1-\bar\alpha}$.
#[derive(Clone, Debug)]
pub struct FromX0<D>(pub D);

impl<D: Denoiser> Denoiser for FromX0<D> {
    type State = D::State;

    fn predict(&self, x: &D::State, at: At) -> Result<D::State> {
        if at.state.is_clean() {
            return Err(Error::NoEpsAtClean { model: "x0-prediction" });
        }
        let x0 = self.0.predict(x, at)?;
        let noise = at.state.noise();
        State::lincomb(&[(1.0 / noise, x), (-at.state.signal() / noise, &x0)])
    }
}
