//! The likelihood of the probability-flow ODE, by the change of variables along it.
//!
//! On $\bar x = x/\sqrt{\bar\alpha}$ the ODE is $d\bar x = \epsilon\,d\sigma$ (Song, Meng, Ermon 2021,
//! Eq. 14), and the density of what it carries changes by its divergence:
//!
//! $$\log p(\bar x_0) = \log p(\bar x_T) + \int_0^{\sigma_T} \operatorname{tr}
//! \frac{\partial \epsilon}{\partial \bar x}\,d\sigma$$
//!
//! The integral is one more element of the state with a slope of its own, so every method that draws no
//! noise integrates it, at its own order and with its own steps.
//!
//! # References
//! Chen, Rubanova, Bettencourt, Duvenaud, *Neural Ordinary Differential Equations*, NeurIPS 2018, section 4;
//! Grathwohl et al., *FFJORD*, ICLR 2019, for the estimated trace;
//! Song et al., *Score-Based Generative Modeling through Stochastic Differential Equations*, ICLR 2021,
//! section 4.3 and appendix D.2.

use std::f64::consts::TAU;

use crate::core::{
    At, Denoiser, Divergent, Error, Grid, NoNoise, Result, Solver, State, Trace, integrate,
};

/// How much a nat per dimension counts in an adaptive method's norm. At the end of noise x-bar is some 150
/// and the integral some 8, and the larger of the two is the scale of a relative tolerance: with this weight the
/// integral's error is a part of the integral, and not of x-bar.
const WEIGHT: f64 = 16.0;

/// A batch, and for each sample the integral so far, times $\sqrt{\bar\alpha}$ as x is.
#[derive(Clone, Debug)]
pub struct Followed<S> {
    x: S,
    integral: Vec<f64>,
    dimensions: usize,
}

impl<S: State> Followed<S> {
    /// The batch.
    pub fn x(&self) -> &S {
        &self.x
    }
}

impl<S: State> State for Followed<S> {
    fn lincomb(terms: &[(f64, &Self)]) -> Result<Self> {
        let Some((_, first)) = terms.first() else {
            return Err(Error::model("a linear combination needs at least one term"));
        };
        let x: Vec<(f64, &S)> = terms.iter().map(|&(c, term)| (c, &term.x)).collect();
        let mut integral = vec![0.0; first.integral.len()];
        for (c, term) in terms {
            integral.iter_mut().zip(&term.integral).for_each(|(sum, value)| *sum += c * value);
        }
        Ok(Self { x: S::lincomb(&x)?, integral, dimensions: first.dimensions })
    }

    fn clamp(&self, low: f64, high: f64) -> Result<Self> {
        Ok(Self { x: self.x.clamp(low, high)?, integral: self.integral.clone(), ..*self })
    }

    fn mul_exp(&self, v: &Self, a: f64, b: f64) -> Result<Self> {
        Ok(Self { x: self.x.mul_exp(&v.x, a, b)?, integral: self.integral.clone(), ..*self })
    }

    /// The larger of the sample's and of the weighed integral's for one dimension: an adaptive method keeps
    /// its tolerance in nats per dimension too.
    fn rms(&self) -> Result<Vec<f64>> {
        let of = |(x, integral): (f64, &f64)| {
            let integral = WEIGHT * integral.abs() / self.dimensions as f64;
            if integral > x || integral.is_nan() { integral } else { x }
        };
        Ok(self.x.rms()?.into_iter().zip(&self.integral).map(of).collect())
    }

    fn is_finite(&self) -> Result<bool> {
        Ok(self.x.is_finite()? && self.integral.iter().all(|value| value.is_finite()))
    }
}

/// A model whose prediction is followed by its divergence.
struct Following<'a, S: State> {
    model: &'a dyn Divergent<State = S>,
    trace: Trace<'a, S>,
}

impl<S: State> Denoiser for Following<'_, S> {
    type State = Followed<S>;

    fn predict(&self, x: &Followed<S>, at: At) -> Result<Followed<S>> {
        let (eps, trace) = self.model.predict_with_trace(&x.x, at, &self.trace)?;
        // The Jacobian with respect to x-bar is that with respect to x times sqrt(alpha_bar).
        let integral = trace.into_iter().map(|trace| at.state.signal() * trace).collect();
        Ok(Followed { x: eps, integral, dimensions: x.dimensions })
    }
}

/// What the likelihood of a batch is, and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Density {
    /// $\log p(x)$ of each sample, in nats: a density of D values, not of bytes.
    pub log_density: Vec<f64>,
    /// Model calls per sample, counted at the model.
    pub calls: u64,
}

/// The likelihood of a model's probability-flow ODE along a grid, with $N(0, I)$ at its first level.
pub struct Flow<'a, S: State> {
    model: &'a dyn Divergent<State = S>,
    solver: &'a dyn Solver<Followed<S>>,
    grid: Grid,
}

impl<'a, S: State> Flow<'a, S> {
    /// The flow of a method from the last level of `grid`, where the data is, to its first.
    ///
    /// # Errors
    /// A method that draws noise, and a grid that begins where nothing is left of the signal.
    pub fn new(
        model: &'a dyn Divergent<State = S>,
        solver: &'a dyn Solver<Followed<S>>,
        grid: &Grid,
    ) -> Result<Self> {
        if solver.draws_noise() {
            let why = format!("{} draws noise, and no ODE has its samples", solver.name());
            return Err(Error::Likelihood(why));
        }
        if grid.first().is_pure_noise() {
            let why =
                "where alpha_bar = 0, x-bar is infinite: take a tau without the last timestep";
            return Err(Error::Likelihood(why.into()));
        }
        Ok(Self { model, solver, grid: grid.clone().reversed() })
    }

    /// $\log p(x)$ of each sample of a batch at the grid's last level; `observe` sees the model calls.
    ///
    /// The samples of an adaptive method share their steps, so each depends on its batch by about the
    /// tolerance.
    ///
    /// # Errors
    /// A model without this trace, a state that is not finite, and the observer's.
    pub fn log_density(
        &self,
        x: S,
        trace: Trace<'_, S>,
        observe: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Density> {
        let Trace { dimensions, .. } = trace;
        let integral = vec![0.0; x.rms()?.len()];
        let model = Following { model: self.model, trace };
        let x = Followed { x, integral, dimensions };
        let outcome =
            integrate(self.solver, &model, &NoNoise, &self.grid, x, |_, _, calls| observe(calls))?;
        let (from, to) = (self.grid.first().signal(), self.grid.last().signal());
        let d = dimensions as f64;
        let Followed { x, integral, .. } = outcome.x;
        let log_density = x.rms()?.into_iter().zip(integral).map(|(rms, integral)| {
            let prior = -0.5 * d * (rms * rms + TAU.ln());
            prior + d * (to / from).ln() + integral / to
        });
        Ok(Density { log_density: log_density.collect(), calls: outcome.nfe })
    }
}
