//! The variational objective of non-Markovian diffusion, and the weighted errors of eps that it equals up to
//! a constant.
//!
//! For one vector of standard deviations s, $q_\sigma$ noises an image (Song et al. 2021, Eq. 7) and
//! $p_\theta$ draws it (Eq. 10), with the same s and with means that differ in x0 alone. On a grid of S
//! steps, counted from the image, and for each of D values:
//!
//! $$J_\sigma = \frac1D\,E_{q_\sigma}\left[\log\frac{q(x_S \mid x_0)}{p(x_S)}
//! + \sum_{t=2}^S \log\frac{q(x_{t-1} \mid x_t, x_0)}{p(x_{t-1} \mid x_t)}
//! - \log p(x_0 \mid x_1)\right] \tag{11}$$
//!
//! $$L_\gamma = \sum_{t=1}^S \gamma_t\,\frac1D\,
//! E\left\lVert\epsilon_\theta(x_t) - \epsilon\right\rVert^2 \tag{5}$$
//!
//! The two means differ by $k_t (x_0 - \hat x_0)$, and $x_0 - \hat x_0 =
//! \sqrt{(1-\bar\alpha_t)/\bar\alpha_t}\,(\epsilon_\theta - \epsilon)$. So Theorem 1, $J_\sigma = L_\gamma + C$,
//! holds with
//!
//! $$\gamma_t = \frac{k_t^2 (1-\bar\alpha_t)}{2 s_t^2 \bar\alpha_t}, \qquad
//! k_t = \sqrt{\bar\alpha_{t-1}} - \sqrt{\frac{\bar\alpha_t (1-\bar\alpha_{t-1}-s_t^2)}{1-\bar\alpha_t}},
//! \qquad k_1 = 1,$$
//!
//! $$C = \frac1D\,E\,D_\text{KL}(q(x_S \mid x_0) \,\|\, \mathcal N(0, I)) + \tfrac12 \log 2\pi s_1^2.$$
//!
//! The proof in appendix B prints $\gamma_t = 1/(2 D s_t^2 \bar\alpha_t)$ instead ([`Weights::Printed`]). It
//! leaves out $k_t^2 (1-\bar\alpha_t)$, and with it the difference depends on the model. The D there is the
//! one that both sides are divided by here.
//!
//! # References
//! Song, Meng, Ermon, *Denoising Diffusion Implicit Models*, ICLR 2021, Eqs. (5), (7), (10), (11), Lemma 1,
//! Theorem 1 and appendix B.

use std::f64::consts::TAU;

use crate::{
    core::{Denoiser, Draw, Error, Grid, Level, Noise, Result, State, Step},
    exact::Gaussian,
    likelihood::bound::admits_chain,
    solvers::Variance,
};

/// The weights gamma of $L_\gamma$.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Those with which $J_\sigma - L_\gamma$ is a constant.
    Exact,
    /// $1/(2 s_t^2 \bar\alpha_t)$, as the proof of Theorem 1 prints them.
    Printed,
    /// 1: $L_1$, what is trained on.
    One,
}

/// One step of the two processes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Link {
    step: Step,
    /// k.
    towards_x0: f64,
    towards_x: f64,
    /// s.
    std: f64,
}

impl Link {
    fn gamma(&self, weights: Weights) -> f64 {
        let (from, variance) = (self.step.from, self.std * self.std);
        match weights {
            Weights::Exact => (self.towards_x0 * from.sigma()).powi(2) / (2.0 * variance),
            Weights::Printed => 1.0 / (2.0 * variance * from.alpha_bar),
            Weights::One => 1.0,
        }
    }

    /// The mean of $q(x_\text{to} \mid x, x_0)$, and of p with the predicted x0.
    fn mean<S: State>(&self, x0: &S, x: &S) -> Result<S> {
        S::lincomb(&[(self.towards_x0, x0), (self.towards_x, x)])
    }
}

/// Which terms of the sums over t are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terms {
    /// All, and of $J_\sigma$ that of $x_S$.
    All,
    /// The term of one t, counted from 1, the image's own.
    One(usize),
}

/// $J_\sigma$ and $L_\gamma$ of some samples or of their distribution, in nats for each value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums<T> {
    /// Of $J_\sigma$.
    pub objective: T,
    /// Of $L_\gamma$.
    pub loss: T,
    /// $L_\gamma$ beyond the least that any model has, where the data's own score is known.
    pub excess: Option<T>,
}

/// $q_\sigma$ and $p_\theta$ on a grid.
///
/// Eq. (16) has $s_1 = 0$, which no density admits: the last step takes the s of the step before, as
/// [`VariationalBound`](crate::likelihood::VariationalBound) does.
///
/// ```
/// use ddim::core::{End, Grid, Schedule, Tau};
/// use ddim::exact::{ExactModel, Gaussian};
/// use ddim::likelihood::{NonMarkovian, Terms, Weights};
///
/// let schedule = Schedule::linear(1e-4, 0.02, 1000)?;
/// let grid = Grid::new(&schedule, &Tau::LINSPACE, 100, End::Clean)?;
/// let data = Gaussian { mean: 0.2, std: 0.5 };
/// let chain = NonMarkovian::new(&grid, 0.5)?;
/// let gap = |model: Gaussian| {
///     let linear = |level| model.linear(level).expect("a Gaussian's score is linear");
///     let sums = chain.expected(data, &linear, Terms::All, Weights::Exact);
///     sums.objective - sums.loss
/// };
/// let other = Gaussian { mean: -1.0, std: 2.0 };
/// assert!((gap(data) - gap(other)).abs() < 1e-10);
/// # Ok::<(), ddim::core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NonMarkovian {
    /// From the noise to the image.
    links: Vec<Link>,
}

impl NonMarkovian {
    /// The processes on the steps of `grid`, with $s_t$ = `eta` times that of DDPM's posterior.
    ///
    /// # Errors
    /// A grid that does not run from noise with some signal to the clean end in two steps or more, and an eta
    /// that is not positive or too large for the grid.
    pub fn new(grid: &Grid, eta: f64) -> Result<Self> {
        let variance = Variance::Eta(eta);
        Self::admits(grid, variance)?;
        let mut links: Vec<Link> = vec![];
        for step in grid.steps() {
            let (towards_x0, towards_x) = variance.mean(step)?;
            let std = match links.last() {
                Some(before) if step.to.is_clean() => before.std,
                _ => eta * step.posterior_std(),
            };
            links.push(Link { step, towards_x0, towards_x, std });
        }
        Ok(Self { links })
    }

    /// Refuses what has no such objective, before anything is computed.
    ///
    /// # Errors
    /// As [`NonMarkovian::new`], and a variance that is no eta.
    pub fn admits(grid: &Grid, variance: Variance) -> Result<()> {
        admits_chain(grid)?;
        let refuse = |why: &str| Err(Error::Likelihood(why.into()));
        if grid.first().is_pure_noise() {
            return refuse("where alpha_bar = 0, eps does not determine x0: take a tau without it");
        }
        match variance {
            Variance::Eta(eta) if eta > 0.0 => variance.admits(grid),
            Variance::Eta(_) => {
                refuse("J_sigma needs an eta above 0: without noise it is infinite")
            }
            Variance::SigmaHat | Variance::Learned => {
                refuse("J_sigma has one sigma for both processes: give an eta")
            }
        }
    }

    /// S, the number of terms.
    pub fn terms(&self) -> usize {
        self.links.len()
    }

    /// $\gamma_t$, t counted from 1, the image's own.
    ///
    /// # Panics
    /// If there is no such t.
    pub fn gamma(&self, t: usize, weights: Weights) -> f64 {
        self.links[self.terms() - t].gamma(weights)
    }

    /// The level of each term with its gamma, from the noise on.
    pub fn gammas(&self, weights: Weights) -> Vec<(Level, f64)> {
        self.links.iter().map(|link| (link.step.from, link.gamma(weights))).collect()
    }

    fn chosen(&self, terms: Terms) -> &[Link] {
        match terms {
            Terms::All => &self.links,
            Terms::One(t) => {
                let at = self.terms() - t;
                &self.links[at..=at]
            }
        }
    }

    /// The sums at one draw of $q_\sigma$ for each image; a model call a term.
    ///
    /// $J_\sigma$ is taken as it is defined: the two log-densities at what was drawn. `score` is the noise
    /// prediction of the data itself, if it is known; `observe` sees the model calls.
    ///
    /// - Units: nats for each value. States in f64: terms are small differences.
    ///
    /// # Errors
    /// Whatever the model returns, a term that is not finite, and the observer's.
    ///
    /// # Panics
    /// If there is no such t.
    pub fn sampled<S: State>(
        &self,
        model: &dyn Denoiser<State = S>,
        score: Option<&dyn Denoiser<State = S>>,
        x0: &S,
        noise: &dyn Noise<S>,
        (terms, weights): (Terms, Weights),
        observe: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Sums<Vec<f64>>> {
        let links = self.chosen(terms);
        let first = links[0].step.from;
        let z = noise.draw(x0, Draw::Initial)?;
        // Lemma 1: this is where q has x_t, whatever sigma, so a term alone needs no other.
        let mut x = S::lincomb(&[(first.signal(), x0), (first.std(), &z)])?;
        let z = squares(&z)?;
        let mut objective = vec![0.0; z.len()];
        if terms == Terms::All {
            let log_variance = (1.0 - first.alpha_bar).ln();
            let pairs = squares(&x)?.into_iter().zip(z);
            objective = pairs.map(|(x, z)| 0.5 * (x - z - log_variance)).collect();
        }
        let mut loss = vec![0.0; objective.len()];
        let mut excess = score.map(|_| loss.clone());
        for (calls, link) in (1..).zip(links) {
            let Step { from, to, draw, .. } = link.step;
            let prediction = model.predict_with_range(&x, from.into())?;
            let (eps, predicted, _) = prediction.with_x0(&x, from)?;
            let own = S::lincomb(&[(1.0 / from.std(), &x), (-from.signal() / from.std(), x0)])?;
            let gamma = link.gamma(weights);
            add(&mut loss, gamma, &difference(&eps, &own)?);
            if let (Some(score), Some(excess)) = (score, &mut excess) {
                let best = score.predict(&x, from.into())?;
                add(excess, gamma, &difference(&eps, &best)?);
            }
            let mean = link.mean(&predicted, &x)?;
            if to.is_clean() {
                let scaled = S::lincomb(&[(1.0 / link.std, x0), (-1.0 / link.std, &mean)])?;
                let log_variance = 2.0 * link.std.ln() + TAU.ln();
                let nats = squares(&scaled)?.into_iter().map(|square| square + log_variance);
                add(&mut objective, 0.5, &nats.collect::<Vec<_>>());
            } else {
                let z = noise.draw(&x, Draw::Step { position: draw, sub: 0 })?;
                x = S::lincomb(&[(1.0, &link.mean(x0, &x)?), (link.std, &z)])?;
                let scaled = S::lincomb(&[(1.0 / link.std, &x), (-1.0 / link.std, &mean)])?;
                let pairs = squares(&scaled)?.into_iter().zip(squares(&z)?);
                add(&mut objective, 0.5, &pairs.map(|(p, q)| p - q).collect::<Vec<_>>());
            }
            if let Some(row) = objective.iter().position(|sum| !sum.is_finite()) {
                let (solver, what) = ("the objective", "the term of this step");
                let (sample, index) = (noise.first() + row as u64, link.step.index);
                return Err(Error::NotFinite { solver, index, from, to, sample, what });
            }
            observe(calls)?;
        }
        Ok(Sums { objective, loss, excess })
    }

    /// The sums' expectations on Gaussian data, of a model $\epsilon_\theta(x) = a x + b$ whose a and b at a
    /// level are given.
    ///
    /// $J_\sigma$ is the Kullback-Leibler divergence of its two normals and takes nothing from $L_\gamma$.
    ///
    /// - Units: nats for each value.
    ///
    /// # Panics
    /// If there is no such t.
    pub fn expected(
        &self,
        data: Gaussian,
        model: &dyn Fn(Level) -> [f64; 2],
        terms: Terms,
        weights: Weights,
    ) -> Sums<f64> {
        let Gaussian { mean, std } = data;
        let square = |parts: [f64; 3]| parts.iter().map(|part| part * part).sum::<f64>();
        let links = self.chosen(terms);
        let mut sums = Sums { objective: 0.0, loss: 0.0, excess: Some(0.0) };
        if terms == Terms::All {
            let alpha_bar = links[0].step.from.alpha_bar;
            let signal = alpha_bar * (mean * mean + std * std);
            sums.objective = 0.5 * (signal - alpha_bar - (-alpha_bar).ln_1p());
        }
        let mut excess = 0.0;
        for link in links {
            let from = link.step.from;
            let (signal, noise) = (from.signal(), from.std());
            let [a, b] = model(from);
            // Of eps_theta - eps: its mean, and its parts along x0 and eps.
            let error = [a * signal * mean + b, a * signal * std, a * noise - 1.0];
            let gamma = link.gamma(weights);
            sums.loss += gamma * square(error);
            // Of x0 - x0_theta, with x0_theta = ((1 - a noise) x - b noise) / signal.
            let kept = 1.0 - a * noise;
            let off = [noise * (a * mean + b / signal), noise * a * std, kept * noise / signal];
            sums.objective += if link.step.to.is_clean() {
                0.5 * (square(off) / link.std.powi(2) + 2.0 * link.std.ln() + TAU.ln())
            } else {
                0.5 * square(off.map(|part| link.towards_x0 * part / link.std))
            };
            // The best slope and offset are the exact score's.
            let variance = data.variance(from);
            let slope = a - noise / variance;
            let shift = a * signal * mean + b;
            excess += gamma * (slope * slope * variance + shift * shift);
        }
        sums.excess = Some(excess);
        sums
    }
}

/// The mean square of the values of each sample.
fn squares<S: State>(x: &S) -> Result<Vec<f64>> {
    Ok(x.rms()?.into_iter().map(|rms| rms * rms).collect())
}

fn difference<S: State>(a: &S, b: &S) -> Result<Vec<f64>> {
    squares(&S::lincomb(&[(1.0, a), (-1.0, b)])?)
}

fn add(sums: &mut [f64], factor: f64, terms: &[f64]) {
    sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += factor * term);
}
