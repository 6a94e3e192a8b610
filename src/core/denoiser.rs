//! What predicts the noise at a level, and its adapters.
//!
//! Clipping and the v and x0 parametrisations are adapters on the denoiser, not options of a
//! solver: every solver gets them at once and none can get them wrong.

use std::{rc::Rc, sync::Arc};

use crate::core::{Error, Level, Result, State};

/// Where the state is, and the level whose timestep the model is asked with.
///
/// The two differ only in the "next" convention of inversion, which asks about an x at one level
/// with the timestep of the next. Adapters convert with `state`; networks read `asked.t`, exact-score
/// models `asked.alpha_bar`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct At {
    /// The level x is at.
    pub state: Level,
    /// The level whose timestep the model is asked with.
    pub asked: Level,
}

impl From<Level> for At {
    fn from(level: Level) -> Self {
        Self { state: level, asked: level }
    }
}

/// The prediction of a model for an x.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction<S> {
    /// The predicted noise.
    pub eps: S,
    /// The predicted x0, for a model of v or x0 at $\bar\alpha = 0$, where eps does not determine it, and
    /// for a model of categories, whose x0 is all that it predicts. Everywhere else x0 follows from eps by
    /// Eq. (9), and this is none.
    pub x0: Option<S>,
    /// Where the log-variance of an ancestral step lies between its two bounds, element by element:
    /// -1 at the posterior variance, 1 at beta. None for a model that predicts only eps.
    pub range: Option<S>,
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

    /// The noise and, if the model predicts it, the range of the variance, in one call.
    ///
    /// # Errors
    /// As [`Denoiser::predict`].
    ///
    /// # References
    /// Nichol, Dhariwal, *Improved Denoising Diffusion Probabilistic Models*, ICML 2021, Eq. (15).
    fn predict_with_range(&self, x: &Self::State, at: At) -> Result<Prediction<Self::State>> {
        Ok(self.predict(x, at)?.into())
    }
}

impl<S: State> Prediction<S> {
    /// eps, the corresponding x0, and the range.
    ///
    /// $$\hat x_0 = \frac{x - \sqrt{1-\bar\alpha}\,\epsilon}{\sqrt{\bar\alpha}}$$
    ///
    /// # Errors
    /// A model of eps at $\bar\alpha = 0$, and whatever the tensor library returns.
    ///
    /// # References
    /// Song, Meng, Ermon, *Denoising Diffusion Implicit Models*, ICLR 2021, Eq. (9).
    pub fn with_x0(self, x: &S, level: Level) -> Result<(S, S, Option<S>)> {
        let Self { eps, x0, range } = self;
        let x0 = match x0 {
            Some(x0) => x0,
            None if level.is_pure_noise() => return Err(Error::NoX0),
            None => {
                let signal = level.signal();
                S::lincomb(&[(1.0 / signal, x), (-level.std() / signal, &eps)])?
            }
        };
        Ok((eps, x0, range))
    }
}

impl<S> From<S> for Prediction<S> {
    fn from(eps: S) -> Self {
        Self { eps, x0: None, range: None }
    }
}

/// A pointer to a model is a model. A model of tensors is not `Sync`, so an `Rc` suffices; one that
/// threads share comes by reference or in an `Arc`.
macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<D: Denoiser + ?Sized> Denoiser for $pointer {
            type State = D::State;

            fn predict(&self, x: &Self::State, at: At) -> Result<Self::State> {
                (**self).predict(x, at)
            }

            fn predict_with_range(
                &self,
                x: &Self::State,
                at: At,
            ) -> Result<Prediction<Self::State>> {
                (**self).predict_with_range(x, at)
            }
        }
    )*};
}

pointers!(&D, Box<D>, Rc<D>, Arc<D>);

/// Clamps the predicted x0 and returns the eps that belongs to the clamped one.
///
/// $$\hat x_0 = \operatorname{clamp}\!\left(\frac{x - \sqrt{1-\bar\alpha}\,\epsilon}{\sqrt{\bar\alpha}}\right),
/// \qquad \epsilon' = \frac{x - \sqrt{\bar\alpha}\,\hat x_0}{\sqrt{1-\bar\alpha}}$$
///
/// With $\epsilon'$ the posterior form combines the clamped x0 with the unclamped x, as the official
/// sigma-hat sampler does. At the clean end x0 is x, and eps is returned unchanged; at
/// $\bar\alpha = 0$ eps is x, and only the x0 predicted with it is clamped.
#[derive(Clone, Debug)]
pub struct ClipX0<D> {
    /// The model of eps.
    pub inner: D,
    /// The smallest value x0 may have.
    pub low: f64,
    /// The largest value x0 may have.
    pub high: f64,
}

impl<D: Denoiser> ClipX0<D> {
    fn eps(&self, x: &D::State, eps: D::State, at: At) -> Result<D::State> {
        let (signal, std) = (at.state.signal(), at.state.std());
        if at.state.is_clean() || at.state.is_pure_noise() {
            return Ok(eps);
        }
        let x0 = State::lincomb(&[(1.0 / signal, x), (-std / signal, &eps)])?;
        let x0 = x0.clamp(self.low, self.high)?;
        State::lincomb(&[(1.0 / std, x), (-signal / std, &x0)])
    }
}

impl<D: Denoiser> Denoiser for ClipX0<D> {
    type State = D::State;

    fn predict(&self, x: &D::State, at: At) -> Result<D::State> {
        self.eps(x, self.inner.predict(x, at)?, at)
    }

    fn predict_with_range(&self, x: &D::State, at: At) -> Result<Prediction<D::State>> {
        let Prediction { eps, x0, range } = self.inner.predict_with_range(x, at)?;
        let x0 = x0.map(|x0| x0.clamp(self.low, self.high)).transpose()?;
        Ok(Prediction { eps: self.eps(x, eps, at)?, x0, range })
    }
}

/// Turns a model of v into a model of eps: $\epsilon = \sqrt{1-\bar\alpha}\,x + \sqrt{\bar\alpha}\,v$.
///
/// # References
/// Salimans, Ho, *Progressive Distillation for Fast Sampling of Diffusion Models*, ICLR 2022,
/// appendix D ($v = \sqrt{\bar\alpha}\,\epsilon - \sqrt{1-\bar\alpha}\,x_0$).
#[derive(Clone, Debug)]
pub struct FromV<D>(pub D);

impl<D: Denoiser> FromV<D> {
    fn eps(x: &D::State, v: &D::State, at: At) -> Result<D::State> {
        State::lincomb(&[(at.state.std(), x), (at.state.signal(), v)])
    }
}

impl<D: Denoiser> Denoiser for FromV<D> {
    type State = D::State;

    fn predict(&self, x: &D::State, at: At) -> Result<D::State> {
        Self::eps(x, &self.0.predict(x, at)?, at)
    }

    fn predict_with_range(&self, x: &D::State, at: At) -> Result<Prediction<D::State>> {
        let Prediction { eps: v, range, .. } = self.0.predict_with_range(x, at)?;
        let x0 = at.state.is_pure_noise().then(|| State::lincomb(&[(-1.0, &v)])).transpose()?;
        Ok(Prediction { eps: Self::eps(x, &v, at)?, x0, range })
    }
}

/// Turns a model of x0 into a model of eps:
/// $\epsilon = (x - \sqrt{\bar\alpha}\,x_0)/\sqrt{1-\bar\alpha}$.
#[derive(Clone, Debug)]
pub struct FromX0<D>(pub D);

impl<D: Denoiser> FromX0<D> {
    fn eps(x: &D::State, x0: &D::State, at: At) -> Result<D::State> {
        let std = at.state.std();
        State::lincomb(&[(1.0 / std, x), (-at.state.signal() / std, x0)])
    }

    pub(super) fn admits(at: At) -> Result<()> {
        if at.state.is_clean() {
            return Err(Error::NoEpsAtClean { model: "x0-prediction" });
        }
        Ok(())
    }
}

impl<D: Denoiser> Denoiser for FromX0<D> {
    type State = D::State;

    fn predict(&self, x: &D::State, at: At) -> Result<D::State> {
        Self::admits(at)?;
        Self::eps(x, &self.0.predict(x, at)?, at)
    }

    fn predict_with_range(&self, x: &D::State, at: At) -> Result<Prediction<D::State>> {
        Self::admits(at)?;
        let Prediction { eps: x0, range, .. } = self.0.predict_with_range(x, at)?;
        let eps = Self::eps(x, &x0, at)?;
        Ok(Prediction { eps, x0: at.state.is_pure_noise().then_some(x0), range })
    }
}
