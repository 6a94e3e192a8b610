//! A cell's method and model bound to one kind of state, arrays or tensors.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc, time::Instant};

use ndarray::{Array4, Ix4};

use crate::metrics::{self, measure::Measure};
use crate::run::assemble::sampler::{Carried, Coded, Costs, Sampler, Way, single};
use crate::{
    backends::array::Array,
    core::{
        self, At, Curvature, Denoiser, Divergent, Draw, Grid, KeyedNoise, Level, Noise, Prediction,
        Solver, State, Trace, Trajectory, generator, integrate,
    },
    exact::{Component, ExactModel, Gaussian},
    likelihood::{
        Bits, Flow, Followed, NonMarkovian, Sums, Terms, VariationalBound, Weights,
        bits_of_density, dequantised, log_density, log_mass, nearest_bytes, probe,
    },
    measure::samples::Samples,
    plan::{ObjectiveSpec, TraceSpec, tau_file::Objective},
    run::solution::{Solution, Watched},
    solvers::{Heun, Variance},
};

/// A way between host images and a state.
pub(crate) struct Exchange<S> {
    pub(crate) into: Box<dyn Fn(Array4<f64>) -> core::Result<S>>,
    pub(crate) out: fn(&S) -> core::Result<Array4<f64>>,
}

/// Everything a [`Sampler`] needs, on states `S`.
pub(crate) struct Bound<S: State> {
    pub(crate) solver: Arc<dyn Solver<S>>,
    pub(crate) variance: Variance,
    pub(crate) inverse: Arc<dyn Solver<S>>,
    pub(crate) denoiser: Rc<dyn Denoiser<State = S>>,
    pub(crate) grid: Grid,
    pub(crate) shape: [usize; 3],
    pub(crate) exchange: Exchange<S>,
    pub(crate) solution: Option<Solution<S>>,
    /// The solver on a state that its likelihood follows.
    pub(crate) flow: Arc<dyn Solver<Followed<S>>>,
    /// The model, without what clips it.
    pub(crate) divergent: Rc<dyn Divergent<State = S>>,
    /// The data that images are drawn from, with its exact score, if it is known: the model's own unless the
    /// cell names another.
    pub(crate) data: Option<Rc<dyn ExactModel>>,
    /// The model itself, if it may be linear in x.
    pub(crate) linear: Option<Rc<dyn ExactModel>>,
    /// What is told of each path besides its end.
    pub(crate) curvatures: Vec<&'static Measure>,
}

/// The clock of a measure of curvature.
fn clock_of(measure: &Measure) -> fn(f64) -> f64 {
    if measure.name == metrics::CURVATURE_SIGMA2.name {
        |sigma| sigma * sigma
    } else {
        |sigma| sigma
    }
}

/// The set of exact draws that are coded, apart from those that samples are compared with.
const CODED: u8 = 2;

impl<S: State> Bound<S>
where
    KeyedNoise: Noise<S>,
{
    fn draw(&self, noise: KeyedNoise, rows: usize) -> core::Result<S> {
        let [c, h, w] = self.shape;
        noise.draw(&(self.exchange.into)(Array4::zeros((rows, c, h, w)))?, Draw::Initial)
    }

    fn state(&self, x: Array) -> core::Result<S> {
        (self.exchange.into)(x.into_dimensionality::<Ix4>().map_err(core::Error::model)?)
    }

    /// Draws of the data, each a function of the seed and its sample.
    fn draws(&self, noise: KeyedNoise, rows: usize) -> core::Result<Array> {
        let Some(data) = &self.data else {
            return Err(core::Error::model("there are no draws of this model's data"));
        };
        let [c, h, w] = self.shape;
        let mut x = Array::zeros(vec![rows, c, h, w]);
        for (sample, mut row) in (noise.first..).zip(x.outer_iter_mut()) {
            let mut generator = generator(noise.seed, sample, Draw::Data { sub: CODED });
            let row = row.as_slice_mut().expect("invariant: rows of a new array are contiguous");
            data.draw(&mut generator, row);
        }
        Ok(x)
    }

    /// The expectations of an objective's sums, of a linear model on one Gaussian; none of any other.
    fn expected(
        &self,
        data: Option<&Rc<dyn ExactModel>>,
        chain: &NonMarkovian,
        (terms, weights): (Terms, Weights),
    ) -> Option<Sums<f64>> {
        let [Component { mean, std, .. }] = &data?.components()[..] else { return None };
        let &[mean] = &mean[..] else { return None };
        let model = self.linear.as_ref()?;
        model.linear(self.grid.first())?;
        let at = |level| model.linear(level).unwrap_or([f64::NAN; 2]);
        Some(chain.expected(Gaussian { mean, std: *std }, &at, terms, weights))
    }

    /// What each image costs beyond its own distribution; none where that is not known.
    fn gap(
        &self,
        x: &Array,
        total: &[f64],
        truth: impl Fn(&[Component], &[f64]) -> f64,
    ) -> Option<Vec<f64>> {
        let components = self.data.as_ref()?.components();
        if components.iter().any(|component| component.std <= 0.0) {
            return None;
        }
        let of = |(x, total): (ndarray::ArrayViewD<'_, f64>, &f64)| {
            let x: Vec<f64> = x.iter().copied().collect();
            total - truth(&components, &x)
        };
        Some(x.outer_iter().zip(total).map(of).collect())
    }
}

impl<S: State> Sampler for Bound<S>
where
    KeyedNoise: Noise<S>,
{
    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn sample(
        &self,
        noise: KeyedNoise,
        rows: usize,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Samples> {
        let x = self.draw(noise, rows)?;
        let solved = match &self.solution {
            None => None,
            Some(solution) => {
                Some(solution.solve(&self.denoiser, &noise, &x, rows, &mut || observe(0))?)
            }
        };
        let clock = Instant::now();
        let x = match &solved {
            Some(solved) => S::lincomb(&[(1.0, &solved.start)])?,
            None => x,
        };
        let end = self.grid.last();
        let mut watched: Vec<(&Measure, Curvature<S>)> = vec![];
        for measure in &self.curvatures {
            let mut curvature = Curvature::new(clock_of(measure), end);
            curvature.see(self.grid.first(), &x)?;
            watched.push((measure, curvature));
        }
        let outcome =
            integrate(&*self.solver, &self.denoiser, &noise, &self.grid, x, |step, x, calls| {
                for (_, curvature) in &mut watched {
                    curvature.see(step.to, x)?;
                }
                observe(calls)
            })?;
        let to_host = |x: &S| single((self.exchange.out)(x)?.view(), noise.first);
        let images = to_host(&outcome.x)?;
        let time = clock.elapsed(); // on a GPU, nothing is done before the images are here
        let mut numbers = BTreeMap::new();
        if let Some(solved) = &solved {
            let difference = S::lincomb(&[(1.0, &outcome.x), (-1.0, &solved.end)])?;
            numbers.insert(metrics::ERROR.name, difference.rms()?);
        }
        for (measure, curvature) in watched {
            numbers.insert(measure.name, curvature.total(rows));
        }
        let solution = solved.as_ref().map(|solved| to_host(&solved.end)).transpose()?;
        Ok(Samples { images, calls: outcome.nfe, numbers, solution, path: None, time })
    }

    fn carry(
        &self,
        way: Way,
        x: Array4<f64>,
        noise: KeyedNoise,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Carried> {
        let x = (self.exchange.into)(x)?;
        let x = match (way, &self.solution) {
            (Way::Sample, Some(solution)) => {
                solution.lead(&self.denoiser, &noise, x, &mut || observe(0))?
            }
            _ => x,
        };
        let observe = |_, _: &S, calls| observe(calls);
        let outcome = if way == Way::Encode {
            let grid = self.grid.clone().reversed();
            integrate(&*self.inverse, &self.denoiser, &noise, &grid, x, observe)
        } else {
            integrate(&*self.solver, &self.denoiser, &noise, &self.grid, x, observe)
        }?;
        Ok(Carried { x: (self.exchange.out)(&outcome.x)?, calls: outcome.nfe })
    }

    fn bits(
        &self,
        coded: Coded,
        trace: Option<&TraceSpec>,
        noise: KeyedNoise,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Costs> {
        let x0 = match coded {
            Coded::Images(images) => images.into_dyn(),
            Coded::Draws(rows) => nearest_bytes(&self.draws(noise, rows)?),
        };
        let mut calls = 0;
        let mut watch = |made: u64| {
            calls = made;
            observe(made)
        };
        let Some(trace) = trace else {
            let model = OnHost(self);
            let bound = VariationalBound::new(&model, &self.grid, self.variance)?;
            let Bits { total, prior, steps, decoder } = bound.bits(&x0, &noise, &mut watch)?;
            let gap = self.gap(&x0, &total, |components, x| {
                -log_mass(components, x) / x.len() as f64 / std::f64::consts::LN_2
            });
            let parts = [
                (&metrics::BITS, total),
                (&metrics::BITS_PRIOR, prior),
                (&metrics::BITS_STEPS, steps),
                (&metrics::BITS_DECODER, decoder),
            ];
            let numbers = parts.into_iter().chain(gap.map(|gap| (&metrics::BITS_GAP, gap)));
            return Ok(Costs {
                numbers: numbers.map(|(measure, values)| (measure.name, values)).collect(),
                calls,
            });
        };
        let x = dequantised(&x0, noise);
        let dimensions = self.shape.iter().product();
        let probes =
            trace.kind.into_iter().flat_map(|kind| (0..trace.probes).map(move |k| (kind, k)));
        let probes = probes.map(|(kind, k)| self.state(probe(&x, kind, noise, k)));
        let probes = probes.collect::<core::Result<Vec<S>>>()?;
        let flow = Flow::new(&self.divergent, &*self.flow, &self.grid)?;
        let trace = Trace { probes: &probes, dimensions };
        let density = flow.log_density(self.state(x.clone())?, trace, &mut watch)?;
        let bits = |log: f64| bits_of_density(log, dimensions);
        let total: Vec<f64> = density.log_density.iter().copied().map(bits).collect();
        let gap = self.gap(&x, &total, |components, x| bits(log_density(components, x)));
        let numbers = std::iter::once((&metrics::BITS, total));
        let numbers = numbers.chain(gap.map(|gap| (&metrics::BITS_GAP, gap)));
        Ok(Costs {
            numbers: numbers.map(|(measure, values)| (measure.name, values)).collect(),
            calls: density.calls,
        })
    }

    fn objective(
        &self,
        coded: Coded,
        spec: &ObjectiveSpec,
        noise: KeyedNoise,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Costs> {
        let x0 = match coded {
            Coded::Images(images) => images.into_dyn(),
            Coded::Draws(rows) => self.draws(noise, rows)?,
        };
        let Variance::Eta(eta) = self.variance else {
            return Err(core::Error::Likelihood("J_sigma needs an eta".into()));
        };
        let chain = NonMarkovian::new(&self.grid, eta)?;
        let sum = (spec.terms(), spec.weights);
        let mut calls = 0;
        let mut watch = |made: u64| {
            calls = made;
            observe(made)
        };
        // What is known of the data says nothing about a data set.
        let data = self.data.as_ref().filter(|_| spec.images.is_drawn());
        let score = data.map(|data| &**data as &dyn Denoiser<State = Array>);
        let Sums { objective, loss, excess } =
            chain.sampled(&OnHost(self), score, &x0, &noise, sum, &mut watch)?;
        let less = |values: &[f64], other: f64| values.iter().map(|value| value - other).collect();
        let gap = objective.iter().zip(&loss).map(|(objective, loss)| objective - loss).collect();
        let gamma = match sum.0 {
            Terms::One(t) => chain.gamma(t, spec.weights),
            Terms::All => chain.gammas(spec.weights).iter().map(|(_, gamma)| gamma).sum(),
        };
        let mut numbers: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
        if let Some(expected) = self.expected(data, &chain, sum) {
            numbers.insert(metrics::OBJECTIVE_OFF.name, less(&objective, expected.objective));
            numbers.insert(metrics::OBJECTIVE_LOSS_OFF.name, less(&loss, expected.loss));
        }
        numbers.extend(excess.map(|excess| (metrics::OBJECTIVE_EXCESS.name, excess)));
        numbers.insert(metrics::OBJECTIVE_GAMMA.name, vec![gamma; objective.len()]);
        numbers.insert(metrics::OBJECTIVE_GAP.name, gap);
        numbers.insert(metrics::OBJECTIVE.name, objective);
        numbers.insert(metrics::OBJECTIVE_LOSS.name, loss);
        Ok(Costs { numbers, calls })
    }

    fn step_costs(
        &self,
        noise: KeyedNoise,
        rows: usize,
        objective: Objective,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Vec<Vec<f64>>> {
        let mut calls = 0;
        let mut count = || {
            calls += 1;
            observe(calls)
        };
        let watched = Watched { inner: &*self.denoiser, observe: RefCell::new(&mut count) };
        let x = self.draw(noise, rows)?;
        let path = Trajectory::follow(&Heun, &watched, &self.grid, x)?;
        let growth = |(at, level): (usize, &Level)| match objective {
            Objective::Carried if at > 0 => path.growth(at),
            Objective::Scaled => Ok(vec![level.signal(); rows]),
            Objective::Local | Objective::Carried => Ok(vec![1.0; rows]),
        };
        let levels = self.grid.levels().iter().enumerate();
        path.costs(&levels.map(growth).collect::<core::Result<Vec<_>>>()?)
    }

    fn solution(
        &self,
        noise: KeyedNoise,
        rows: usize,
        observe: &mut dyn FnMut() -> core::Result<()>,
    ) -> core::Result<(Array4<f64>, Array4<f64>)> {
        let Some(solution) = &self.solution else {
            return Err(core::Error::model("this cell has no reference solution"));
        };
        let x = self.draw(noise, rows)?;
        let solved = solution.solve(&self.denoiser, &noise, &x, rows, observe)?;
        let out = self.exchange.out;
        Ok((out(&solved.start)?, out(&solved.end)?))
    }

    fn initial(&self, noise: KeyedNoise, rows: usize) -> core::Result<Array4<f64>> {
        (self.exchange.out)(&self.draw(noise, rows)?)
    }
}

/// A model as one of arrays on the host.
struct OnHost<'a, S: State>(&'a Bound<S>);

impl<S: State> OnHost<'_, S> {
    fn into(&self, x: &Array) -> core::Result<S> {
        let images = x.clone().into_dimensionality::<Ix4>().map_err(core::Error::model)?;
        (self.0.exchange.into)(images)
    }

    fn out(&self, x: &S) -> core::Result<Array> {
        Ok((self.0.exchange.out)(x)?.into_dyn())
    }
}

impl<S: State> Denoiser for OnHost<'_, S> {
    type State = Array;

    fn predict(&self, x: &Array, at: At) -> core::Result<Array> {
        self.out(&self.0.denoiser.predict(&self.into(x)?, at)?)
    }

    fn predict_with_range(&self, x: &Array, at: At) -> core::Result<Prediction<Array>> {
        let Prediction { eps, x0, range } =
            self.0.denoiser.predict_with_range(&self.into(x)?, at)?;
        let out = |x: Option<S>| x.map(|x| self.out(&x)).transpose();
        Ok(Prediction { eps: self.out(&eps)?, x0: out(x0)?, range: out(range)? })
    }
}
