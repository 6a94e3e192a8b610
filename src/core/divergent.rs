//! Models whose divergence is known, or can be estimated.

use std::{rc::Rc, sync::Arc};

use crate::core::{At, Denoiser, FromV, FromX0, Result, State};

/// How the trace of a Jacobian is taken.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a, S> {
    /// Random z with $E[z z^\top] = I$, each a batch as x is: the trace is the mean of
    /// $z^\top J z$. With none it is the exact one.
    pub probes: &'a [S],
    /// The number of values of one sample.
    pub dimensions: usize,
}

/// A model that also tells how its prediction spreads.
pub trait Divergent: Denoiser {
    /// The prediction for `x`, and for each sample the trace of its Jacobian with respect to x, exact or
    /// estimated.
    ///
    /// # Errors
    /// A model that has not the trace that is asked for, and as [`Denoiser::predict`].
    fn predict_with_trace(
        &self,
        x: &Self::State,
        at: At,
        trace: &Trace<'_, Self::State>,
    ) -> Result<(Self::State, Vec<f64>)>;
}

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<D: Divergent + ?Sized> Divergent for $pointer {
            fn predict_with_trace(
                &self,
                x: &Self::State,
                at: At,
                trace: &Trace<'_, Self::State>,
            ) -> Result<(Self::State, Vec<f64>)> {
                (**self).predict_with_trace(x, at, trace)
            }
        }
    )*};
}

pointers!(&D, Box<D>, Rc<D>, Arc<D>);

impl<D: Divergent> Divergent for FromV<D> {
    /// $\operatorname{tr} J_\epsilon = \sqrt{1-\bar\alpha}\,D + \sqrt{\bar\alpha}\operatorname{tr} J_v$.
    fn predict_with_trace(
        &self,
        x: &D::State,
        at: At,
        trace: &Trace<'_, D::State>,
    ) -> Result<(D::State, Vec<f64>)> {
        let (v, of_v) = self.0.predict_with_trace(x, at, trace)?;
        let (signal, std) = (at.state.signal(), at.state.std());
        let eps = State::lincomb(&[(std, x), (signal, &v)])?;
        let of = |t: f64| std * trace.dimensions as f64 + signal * t;
        Ok((eps, of_v.into_iter().map(of).collect()))
    }
}

impl<D: Divergent> Divergent for FromX0<D> {
    /// $\operatorname{tr} J_\epsilon = (D - \sqrt{\bar\alpha}\operatorname{tr} J_{x_0})/\sqrt{1-\bar\alpha}$.
    fn predict_with_trace(
        &self,
        x: &D::State,
        at: At,
        trace: &Trace<'_, D::State>,
    ) -> Result<(D::State, Vec<f64>)> {
        Self::admits(at)?;
        let (x0, of_x0) = self.0.predict_with_trace(x, at, trace)?;
        let (signal, std) = (at.state.signal(), at.state.std());
        let eps = State::lincomb(&[(1.0 / std, x), (-signal / std, &x0)])?;
        let of = |t: f64| (trace.dimensions as f64 - signal * t) / std;
        Ok((eps, of_x0.into_iter().map(of).collect()))
    }
}
