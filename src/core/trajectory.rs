//! A path of the probability-flow ODE, and what a step of DDIM costs anywhere on it.

use crate::core::{Denoiser, Grid, Level, NoNoise, Result, Solver, State, integrate};

/// How far a state is moved to see how a small error grows, as a part of the state's own size.
const NUDGE: f64 = 0.01;

/// A batch of solutions at the levels of a grid, with the predicted noise at each of them.
pub struct Trajectory<'a, S: State> {
    solver: &'a dyn Solver<S>,
    denoiser: &'a dyn Denoiser<State = S>,
    levels: Vec<Level>,
    states: Vec<S>,
    /// One for each level but the last.
    eps: Vec<S>,
}

impl<'a, S: State> Trajectory<'a, S> {
    /// Follows the solution from `x` along a grid.
    ///
    /// The solver is a deterministic one-step method: from any state of the path it finds the rest of it
    /// again.
    ///
    /// # Errors
    /// As [`integrate`].
    pub fn follow(
        solver: &'a dyn Solver<S>,
        denoiser: &'a dyn Denoiser<State = S>,
        grid: &Grid,
        x: S,
    ) -> Result<Self> {
        let mut states = vec![S::lincomb(&[(1.0, &x)])?];
        integrate(solver, denoiser, &NoNoise, grid, x, |_, x, _| {
            states.push(S::lincomb(&[(1.0, x)])?);
            Ok(())
        })?;
        let levels = grid.levels().to_vec();
        let mut eps = vec![];
        for (level, x) in levels.iter().zip(&states).take(levels.len() - 1) {
            eps.push(denoiser.predict(x, (*level).into())?);
        }
        Ok(Self { solver, denoiser, levels, states, eps })
    }

    /// The number of levels.
    pub fn len(&self) -> usize {
        self.levels.len()
    }

    /// Whether there are no levels, which no grid allows.
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// Where DDIM's step from one state of the path to the level of another misses it, in
    /// $\bar x = x/\sqrt{\bar\alpha}$.
    ///
    /// $$e_{ij} = \bar x_i + (\sigma_j - \sigma_i)\,\epsilon(x_i, \sigma_i) - \bar x_j$$
    ///
    /// # Errors
    /// Whatever the tensor library returns.
    pub fn miss(&self, from: usize, to: usize) -> Result<S> {
        let (a, b) = (self.levels[from], self.levels[to]);
        S::lincomb(&[
            (1.0 / a.signal(), &self.states[from]),
            (b.sigma() - a.sigma(), &self.eps[from]),
            (-1.0 / b.signal(), &self.states[to]),
        ])
    }

    /// How much a small error at a level has grown where the path ends, for each sample.
    ///
    /// $$g_j = \lVert\Phi_{j \to \text{end}}(\bar x_j + k\,e) - \bar x_\text{end}\rVert
    /// / \lVert k\,e\rVert$$
    ///
    /// along the miss e of DDIM's step from the level before, made so small that x moves by a
    /// hundredth of its size. Below 1 the flow forgives, above 1 it decides.
    ///
    /// # Errors
    /// As [`integrate`].
    ///
    /// # Panics
    /// If `at` is the first level, which no step leads to.
    pub fn growth(&self, at: usize) -> Result<Vec<f64>> {
        let last = self.levels.len() - 1;
        let miss = self.miss(at - 1, at)?;
        let sizes = miss.rms()?;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let still = mean(&sizes);
        if at == last || still <= 0.0 {
            return Ok(vec![1.0; sizes.len()]);
        }
        let level = self.levels[at];
        // The nudge in x, of which x-bar's is 1 / signal.
        let k = NUDGE * mean(&self.states[at].rms()?) / (level.signal() * still);
        let x = S::lincomb(&[(1.0, &self.states[at]), (level.signal() * k, &miss)])?;
        let rest = Grid::from_levels(self.levels[at..].to_vec())?;
        let end = integrate(self.solver, self.denoiser, &NoNoise, &rest, x, |_, _, _| Ok(()))?.x;
        let per = 1.0 / self.levels[last].signal();
        let moved = S::lincomb(&[(per, &end), (-per, &self.states[last])])?.rms()?;
        let growth = |(moved, size): (f64, f64)| if size > 0.0 { moved / (k * size) } else { 1.0 };
        Ok(moved.into_iter().zip(sizes).map(growth).collect())
    }

    /// The cost of DDIM's step from each level to each later one: $g_j \lVert e_{ij}\rVert$ summed over
    /// samples, with a factor for every level and sample; rows are where steps start.
    ///
    /// # Errors
    /// Whatever the tensor library returns.
    pub fn costs(&self, growth: &[Vec<f64>]) -> Result<Vec<Vec<f64>>> {
        let n = self.levels.len();
        let mut costs = vec![vec![0.0; n]; n];
        for (from, row) in costs.iter_mut().enumerate() {
            for (to, cost) in row.iter_mut().enumerate().skip(from + 1) {
                let sizes = self.miss(from, to)?.rms()?;
                *cost = sizes.iter().zip(&growth[to]).map(|(size, growth)| size * growth).sum();
            }
        }
        Ok(costs)
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;
    use crate::{
        backends::array::Array,
        core::{Draw, End, KeyedNoise, Noise, Schedule, Tau},
        exact::{Gaussian, GaussianFlow},
    };

    fn schedule() -> Schedule {
        Schedule::linear(1e-4, 0.02, 1000).unwrap()
    }

    #[test]
    fn misses_and_growth_on_a_gaussian_are_those_of_its_closed_form() {
        let model = Gaussian { mean: 0.2, std: 0.5 };
        let grid = Grid::new(&schedule(), &Tau::PAPER_QUADRATIC, 12, End::Clean).unwrap();
        let noise = KeyedNoise { seed: 0, first: 0 };
        let x = noise.draw(&Array::zeros(vec![3, 4]), Draw::Initial).unwrap();
        let flow = GaussianFlow(model);
        let path = Trajectory::follow(&flow, &model, &grid, x.clone()).unwrap();
        let spread = |level: &Level| (level.sigma().powi(2) + model.std * model.std).sqrt();
        let levels = grid.levels();
        // x-bar - mean = sqrt(sigma^2 + s^2) z, so that DDIM's step misses by a known multiple of z.
        let z = x.mapv(|x| (x / levels[0].signal() - model.mean) / spread(&levels[0]));
        for (i, j) in [(0, 3), (2, 7), (5, levels.len() - 1)] {
            let (a, b) = (&levels[i], &levels[j]);
            let stepped = spread(a) + (b.sigma() - a.sigma()) * a.sigma() / spread(a);
            let expected = z.mapv(|z| (stepped - spread(b)) * z);
            let found = path.miss(i, j).unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                assert_relative_eq!(found, expected, epsilon = 1e-9, max_relative = 1e-9);
            }
            // And the flow is linear: every error grows alike.
            for growth in path.growth(j).unwrap() {
                assert_relative_eq!(growth, model.std / spread(b), max_relative = 1e-9);
            }
        }
    }

    #[test]
    fn a_step_on_one_point_of_data_costs_nothing() {
        let model = Gaussian::dirac(0.3);
        let grid = Grid::new(&schedule(), &Tau::PAPER_LINEAR, 8, End::Clean).unwrap();
        let x = Array::from_elem(vec![2, 3], 0.7);
        let flow = GaussianFlow(model);
        let path = Trajectory::follow(&flow, &model, &grid, x).unwrap();
        let costs = path.costs(&vec![vec![1.0; 2]; path.len()]).unwrap();
        assert!(costs.iter().flatten().all(|cost| *cost < 1e-12));
    }
}
