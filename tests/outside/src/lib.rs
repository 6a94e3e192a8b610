//! A crate outside this repository, as far as cargo is concerned: `ddim` without its harness is all
//! it depends on. A Gaussian goes through DDIM and through a solver that is written here, and both
//! are held to the exact flow.

#![cfg(test)]

use ddim::{
    backends::array::Array,
    core::{
        Draw, Eval, Grid, KeyedNoise, Level, Method, NoNoise, Noise, Result, Solver, State, Step,
        integrate,
    },
    exact::Gaussian,
    solvers::{Ddim, Variance},
};

const DATA: Gaussian = Gaussian { mean: 0.3, std: 0.5 };

/// The midpoint rule in sigma on x-bar = x / sqrt(alpha_bar): order 2, two calls a step.
struct Midpoint;

impl Method for Midpoint {
    fn name(&self) -> &'static str {
        "midpoint"
    }

    fn order(&self) -> Option<u32> {
        Some(2)
    }
}

impl<S: State> Solver<S> for Midpoint {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let (from, h) = (step.from, step.to.sigma() - step.from.sigma());
        let middle = Level::from_sigma(0.0, from.sigma() + 0.5 * h);
        let half = step.until(middle).advance(x, &[(0.5 * h, &eval.eps(x, from)?)])?;
        step.advance(x, &[(h, &eval.eps(&half, middle)?)])
    }
}

/// The largest distance from the exact flow after S steps from sigma = 10 to sigma = 0.2.
fn error(solver: &dyn Solver<Array>, steps: usize) -> f64 {
    let ratio = |i| (10_f64.ln() * (steps - i) as f64 + 0.2_f64.ln() * i as f64) / steps as f64;
    let levels = (0..=steps).map(|i| Level::from_sigma(0.0, ratio(i).exp())).collect();
    let grid = Grid::from_levels(levels).unwrap();
    let like = Array::zeros(vec![16, 3]);
    let x = KeyedNoise { seed: 1, first: 0 }.draw(&like, Draw::Initial).unwrap() * 10.0;
    let (from, to) = (grid.levels()[0], grid.levels()[steps]);
    let exact = DATA.flow_map(&x, from, to);
    let found = integrate(solver, &DATA, &NoNoise, &grid, x, |_, _, _| Ok(())).unwrap().x;
    (found - exact).iter().fold(0.0, |most: f64, difference| most.max(difference.abs()))
}

#[test]
fn ddim_converges_to_the_exact_flow_at_order_1() {
    let ddim = Ddim { variance: Variance::Eta(0.0) };
    let (coarse, fine) = (error(&ddim, 128), error(&ddim, 256));
    assert!((1.8..2.2).contains(&(coarse / fine)), "{coarse:e} and {fine:e}");
}

#[test]
fn a_solver_written_here_converges_to_it_at_order_2() {
    let (coarse, fine) = (error(&Midpoint, 128), error(&Midpoint, 256));
    // On a Gaussian the leading error of even steps in log sigma cancels: 8, or at least 4.
    assert!((3.6..8.8).contains(&(coarse / fine)), "{coarse:e} and {fine:e}");
}
