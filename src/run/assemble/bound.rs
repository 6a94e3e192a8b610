//! A cell's method and model bound to one kind of state, arrays or tensors.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc, time::Instant};

use ndarray::{Array4, Ix4};

use crate::metrics::{self, measure::Measure};
use crate::run::assemble::sampler::{Carried, Sampler, Way, single};
use crate::{
    backends::array::Array,
    core::{
        self, At, Curvature, Denoiser, Draw, Grid, KeyedNoise, Level, Noise, Prediction, Solver,
        State, Trajectory, integrate,
    },
    likelihood::{Bits, VariationalBound},
    measure::samples::Samples,
    plan::tau_file::Objective,
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

impl<S: State> Bound<S>
where
    KeyedNoise: Noise<S>,
{
    fn draw(&self, noise: KeyedNoise, rows: usize) -> core::Result<S> {
        let [c, h, w] = self.shape;
        noise.draw(&(self.exchange.into)(Array4::zeros((rows, c, h, w)))?, Draw::Initial)
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
        images: Array4<f64>,
        noise: KeyedNoise,
        observe: &mut dyn FnMut(u64) -> core::Result<()>,
    ) -> core::Result<Bits> {
        let model = OnHost(self);
        let bound = VariationalBound::new(&model, &self.grid, self.variance)?;
        bound.bits(&images.into_dyn(), &noise, observe)
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
