//! The variational bound on the likelihood of images: bits per dimension.
//!
//! Ancestral sampling along a grid is a chain of Gaussians from N(0, I) to bytes, and adding noise to an
//! image is another. The distance between the two bounds the negative
//! log-likelihood:
//!
//! $$-\log p(x_0) \le D(q(x_T \mid x_0) \,\|\, p(x_T)) + \sum_i
//! D(q(x_\text{to} \mid x_\text{from}, x_0) \,\|\, p(x_\text{to} \mid x_\text{from}))
//! - \log p(x_0 \mid x_\text{first})$$
//!
//! All of it is computed in f64: near the noise the two variances of a term differ in their last f32 digits.
//!
//! # References
//! Ho, Jain, Abbeel, *Denoising Diffusion Probabilistic Models*, NeurIPS 2020, Eqs. (5), (13);
//! Nichol, Dhariwal, *Improved Denoising Diffusion Probabilistic Models*, ICML 2021, section 3.1;
//! for an eta between 0 and 1, Song, Meng, Ermon, *Denoising Diffusion Implicit Models*, ICLR 2021,
//! Eq. (11).

use std::f64::consts::LN_2;

use ndarray::Zip;

use crate::{
    backends::array::Array,
    core::{Denoiser, Draw, Error, Grid, Noise, Result, State, Step},
    metrics::Normal,
    solvers::Variance,
};

/// The bound of each image, in bits per dimension.
#[derive(Clone, Debug, PartialEq)]
pub struct Bits {
    /// All terms.
    pub total: Vec<f64>,
    /// The one of x_T, which no model changes.
    pub prior: Vec<f64>,
    /// Those between: the divergences of the steps but the last.
    pub steps: Vec<f64>,
    /// The one of the last step: the bytes' own.
    pub decoder: Vec<f64>,
}

/// What ancestral sampling draws x_to from.
#[derive(Clone, Debug, PartialEq)]
pub struct Reverse {
    /// The mean.
    pub mean: Array,
    /// The logarithm of the variance.
    pub log_variance: Array,
}

/// The bound of a model on a grid.
///
/// The last step has no posterior variance; it takes that of the step before, as
/// openai/improved-diffusion does, whatever the variance.
pub struct VariationalBound<'a> {
    model: &'a dyn Denoiser<State = Array>,
    variance: Variance,
    steps: Vec<Step>,
}

/// Refuses a grid that is no chain from noise to the image with a step between.
pub(super) fn admits_chain(grid: &Grid) -> Result<()> {
    let refuse = |why: &str| Err(Error::Likelihood(why.into()));
    if !grid.last().is_clean() {
        return refuse("the last step must go to the image itself: end = \"clean\"");
    }
    if grid.levels().len() < 3 {
        return refuse("it needs two steps or more: raise S");
    }
    Ok(())
}

impl<'a> VariationalBound<'a> {
    /// The bound of the steps of `grid`, with the noise of `variance`.
    ///
    /// # Errors
    /// A grid that does not run from noise to the clean end in two steps or more, a variance of 0,
    /// or one too large for the grid.
    pub fn new(
        model: &'a dyn Denoiser<State = Array>,
        grid: &Grid,
        variance: Variance,
    ) -> Result<Self> {
        Self::admits(grid, variance)?;
        Ok(Self { model, variance, steps: grid.steps().collect() })
    }

    /// Refuses what has no bound, before anything is computed.
    ///
    /// # Errors
    /// As [`VariationalBound::new`].
    pub fn admits(grid: &Grid, variance: Variance) -> Result<()> {
        admits_chain(grid)?;
        if !variance.draws_noise() {
            let why = "a method that draws no noise has no variational bound: take ddpm with an eta \
                       above 0, sigma-hat or learned";
            return Err(Error::Likelihood(why.into()));
        }
        variance.admits(grid)
    }

    /// The number of steps, each a term.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// The Gaussian $p(x_\text{to} \mid x)$ of a step, counted from the noise; one model call.
    ///
    /// # Errors
    /// A model that predicts no range where the variance is learned, and whatever the model returns.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn reverse(&self, x: &Array, index: usize) -> Result<Reverse> {
        let step = self.steps[index];
        let from = step.from;
        let (_, x0, range) = self.model.predict_with_range(x, from.into())?.with_x0(x, from)?;
        let least = self.forward_log_variance(index);
        let most = step.beta().ln();
        let log_variance = match self.variance {
            Variance::Learned => {
                let range = range.ok_or(Error::NoRange)?;
                // Nichol, Dhariwal 2021, Eq. (15).
                range.mapv(|v| f64::midpoint(1.0, v) * most + f64::midpoint(1.0, -v) * least)
            }
            Variance::SigmaHat if !step.to.is_clean() => Array::from_elem(x.raw_dim(), most),
            Variance::SigmaHat | Variance::Eta(_) => Array::from_elem(x.raw_dim(), least),
        };
        Ok(Reverse { mean: self.mean(step, &x0, x)?, log_variance })
    }

    /// The term of a step, counted from the noise, at $x = \sqrt{\bar\alpha}\,x_0 +
    /// \sqrt{1-\bar\alpha}\,z$: bits per dimension of each image; one model call.
    ///
    /// # Errors
    /// As [`VariationalBound::reverse`], and shapes that differ.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn term(&self, x0: &Array, z: &Array, index: usize) -> Result<Vec<f64>> {
        let step = self.steps[index];
        let x = State::lincomb(&[(step.from.signal(), x0), (step.from.std(), z)])?;
        let reverse = self.reverse(&x, index)?;
        let pairs = Zip::from(&reverse.mean).and(&reverse.log_variance);
        let nats = if step.to.is_clean() {
            pairs.and(x0).map_collect(|&mean, &log_variance, &x0| {
                -Normal { mean, log_variance }.log_mass(x0)
            })
        } else {
            let forward = self.forward_log_variance(index);
            pairs.and(&self.mean(step, x0, &x)?).map_collect(|&mean, &log_variance, &target| {
                let target = Normal { mean: target, log_variance: forward };
                target.divergence(Normal { mean, log_variance })
            })
        };
        Ok(bits(&nats))
    }

    /// $D(q(x_T \mid x_0) \,\|\, N(0, I))$ in bits per dimension of each image.
    pub fn prior(&self, x0: &Array) -> Vec<f64> {
        let first = self.steps[0].from;
        let log_variance = (1.0 - first.alpha_bar).ln();
        bits(&x0.mapv(|x| {
            Normal { mean: first.signal() * x, log_variance }.divergence(Normal::STANDARD)
        }))
    }

    /// All terms, each at one draw of noise; `observe` sees the model calls after every step.
    ///
    /// # Errors
    /// As [`VariationalBound::term`], a bound that is not finite, and the observer's.
    pub fn bits(
        &self,
        x0: &Array,
        noise: &dyn Noise<Array>,
        observe: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Bits> {
        let prior = self.prior(x0);
        let mut total = prior.clone();
        let mut between = vec![0.0; prior.len()];
        let mut decoder = between.clone();
        for (index, step) in self.steps.iter().enumerate() {
            let z = noise.draw(x0, Draw::Step { position: step.draw, sub: 0 })?;
            let terms = self.term(x0, &z, index)?;
            if let Some(row) = terms.iter().position(|term| !term.is_finite()) {
                let Step { index, from, to, .. } = *step;
                let (solver, what) = ("the bound", "the term of this step");
                let sample = noise.first() + row as u64;
                return Err(Error::NotFinite { solver, index, from, to, sample, what });
            }
            let part = if step.to.is_clean() { &mut decoder } else { &mut between };
            for (sum, term) in part.iter_mut().zip(&terms) {
                *sum += term;
            }
            total.iter_mut().zip(terms).for_each(|(total, term)| *total += term);
            observe(index as u64 + 1)?;
        }
        Ok(Bits { total, prior, steps: between, decoder })
    }

    /// The mean of $q(x_\text{to} \mid x, x_0)$, and of p with the predicted x0.
    fn mean(&self, step: Step, x0: &Array, x: &Array) -> Result<Array> {
        let (towards_x0, towards_x) = self.variance.mean(step)?;
        State::lincomb(&[(towards_x0, x0), (towards_x, x)])
    }

    /// $\log s^2$ of $q(x_\text{to} \mid x, x_0)$.
    fn forward_log_variance(&self, index: usize) -> f64 {
        let index = if self.steps[index].to.is_clean() { index - 1 } else { index };
        let eta = if let Variance::Eta(eta) = self.variance { eta } else { 1.0 };
        2.0 * (eta * self.steps[index].posterior_std()).ln()
    }
}

/// Nats of every element as bits per dimension of every image.
fn bits(nats: &Array) -> Vec<f64> {
    nats.outer_iter().map(|image| image.mean().unwrap_or(f64::NAN) / LN_2).collect()
}
