//! Data drawn from one isotropic Gaussian: everything about it is known exactly.

use ndarray::Axis;
use ndarray_rand::rand_distr::{Distribution, StandardNormal};
use rand_chacha::ChaCha8Rng;

use crate::exact::{Component, ExactModel};
use crate::{
    backends::array::Array,
    core::{
        At, Denoiser, Divergent, Error, Eval, Level, Method, Prediction, Result, Solver, State,
        Step, Trace,
    },
};

/// Data $x_0 \sim \mathcal N(\mu \mathbf 1, s^2 I)$, whose noise prediction and whose
/// probability-flow map are exact.
///
/// $$\epsilon(x, \bar\alpha) = \frac{\sqrt{1-\bar\alpha}}{\bar\alpha s^2 + 1 - \bar\alpha}
/// \left(x - \sqrt{\bar\alpha}\,\mu\right)$$
///
/// `std = 0` is the Dirac distribution: eps is then constant along a trajectory and DDIM is exact
/// in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gaussian {
    /// $\mu$, the mean of every element.
    pub mean: f64,
    /// $s$, the standard deviation of every element; at least 0.
    pub std: f64,
}

impl Gaussian {
    /// All data at one point.
    pub fn dirac(mean: f64) -> Self {
        Self { mean, std: 0.0 }
    }

    /// Variance of $x_t$: $\bar\alpha s^2 + 1 - \bar\alpha$.
    pub fn variance(&self, level: Level) -> f64 {
        level.alpha_bar * self.std * self.std + 1.0 - level.alpha_bar
    }

    /// Carries `x` along the exact probability flow.
    ///
    /// $$x_\text{to} = \sqrt{\bar\alpha_\text{to}}\,\mu + \sqrt{\frac{v_\text{to}}{v_\text{from}}}
    /// \left(x - \sqrt{\bar\alpha_\text{from}}\,\mu\right), \qquad v = \bar\alpha s^2 + 1 - \bar\alpha$$
    pub fn flow_map(&self, x: &Array, from: Level, to: Level) -> Array {
        let scale = (self.variance(to) / self.variance(from)).sqrt();
        let (start, end) = (from.signal() * self.mean, to.signal() * self.mean);
        x.mapv(|value| end + scale * (value - start))
    }
}

impl Denoiser for Gaussian {
    type State = Array;

    fn predict(&self, x: &Array, at: At) -> Result<Array> {
        let level = at.asked;
        let variance = self.variance(level);
        if variance <= 0.0 {
            return Err(Error::NoEpsAtClean { model: "dirac" });
        }
        let scale = level.std() / variance;
        let centre = level.signal() * self.mean;
        Ok(x.mapv(|value| scale * (value - centre)))
    }

    /// Where nothing of the signal is left, x0 is the mean.
    fn predict_with_range(&self, x: &Array, at: At) -> Result<Prediction<Array>> {
        let x0 = at.state.is_pure_noise().then(|| Array::from_elem(x.raw_dim(), self.mean));
        Ok(Prediction { x0, ..self.predict(x, at)?.into() })
    }
}

impl Divergent for Gaussian {
    fn predict_with_trace(
        &self,
        x: &Array,
        at: At,
        trace: &Trace<'_, Array>,
    ) -> Result<(Array, Vec<f64>)> {
        let scale = at.asked.std() / self.variance(at.asked);
        Ok((self.predict(x, at)?, trace_of_linear(scale, x, trace)))
    }
}

/// The trace for each sample of a Jacobian that is a number times the identity.
pub(super) fn trace_of_linear(scale: f64, x: &Array, trace: &Trace<'_, Array>) -> Vec<f64> {
    let of = |sample: usize| {
        let squares = |z: &Array| z.index_axis(Axis(0), sample).iter().map(|z| z * z).sum::<f64>();
        let n = trace.probes.len();
        let norm = match n {
            0 => trace.dimensions as f64,
            _ => trace.probes.iter().map(squares).sum::<f64>() / n as f64,
        };
        scale * norm
    };
    (0..x.len_of(Axis(0))).map(of).collect()
}

impl ExactModel for Gaussian {
    fn components(&self) -> Vec<Component> {
        vec![Component { weight: 1.0, mean: vec![self.mean], std: self.std }]
    }

    fn draw(&self, generator: &mut ChaCha8Rng, sample: &mut [f64]) {
        for x in sample {
            let normal: f64 = StandardNormal.sample(generator);
            *x = self.mean + self.std * normal;
        }
    }

    fn linear(&self, level: Level) -> Option<[f64; 2]> {
        let scale = level.std() / self.variance(level);
        Some([scale, -scale * level.signal() * self.mean])
    }
}

/// The exact probability flow of a [`Gaussian`] as a solver: it takes steps of any length without an
/// error and without a model call, and is what others are measured against.
#[derive(Clone, Copy, Debug)]
pub struct GaussianFlow(pub Gaussian);

impl Method for GaussianFlow {
    fn name(&self) -> &'static str {
        "exact"
    }

    fn order(&self) -> Option<u32> {
        Some(u32::MAX)
    }
}

impl Solver<Array> for GaussianFlow {
    fn step(&self, _: &mut Eval<'_, Array>, x: &Array, step: Step) -> Result<Array> {
        Ok(self.0.flow_map(x, step.from, step.to))
    }
}

/// A Gaussian of mean zero is linear in x, so it serves any state: the free model of benches.
#[derive(Clone, Copy, Debug)]
pub struct CentredGaussian<S> {
    std: f64,
    state: std::marker::PhantomData<fn() -> S>,
}

impl<S> CentredGaussian<S> {
    /// Data $x_0 \sim \mathcal N(0, s^2 I)$.
    pub fn new(std: f64) -> Self {
        Self { std, state: std::marker::PhantomData }
    }
}

impl<S: State> Denoiser for CentredGaussian<S> {
    type State = S;

    fn predict(&self, x: &S, at: At) -> Result<S> {
        let level = at.asked;
        let variance = Gaussian { mean: 0.0, std: self.std }.variance(level);
        S::lincomb(&[(level.std() / variance, x)])
    }
}
