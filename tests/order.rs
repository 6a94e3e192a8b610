//! Every deterministic solver reaches its order of convergence.
//!
//! Measured between two positive noise levels, towards the data and away from it, as the slope of
//! log error against log S. To the clean end every method takes a first-order last step and shows
//! a lower slope although its code is right.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use ddim::{
    backends::array::Array,
    core::{Denoiser, Grid, Kind, Level, NoNoise, Solver, integrate},
    models::{
        gaussian::Gaussian,
        mixture::{Component, Mixture},
    },
    solvers::{Ddim, DpmSolverPp2M, Euler, Heun, Variance},
};
use support::fill;

fn solvers() -> Vec<Box<dyn Solver<Array>>> {
    vec![
        Box::new(Ddim { variance: Variance::Eta(0.0) }),
        Box::new(Euler::Sigma),
        Box::new(Euler::SigmaSquared),
        Box::new(Heun),
        Box::new(DpmSolverPp2M),
    ]
}

/// S steps, evenly spaced in log sigma between two positive levels.
fn grid(from: Level, to: Level, steps: usize) -> Grid {
    let (a, b) = (from.sigma().ln(), to.sigma().ln());
    let levels = (0..=steps)
        .map(|i| Level::from_sigma(0.0, (a + (b - a) * i as f64 / steps as f64).exp()))
        .collect();
    Grid::from_levels(levels).unwrap()
}

fn end(
    solver: &dyn Solver<Array>,
    model: &dyn Denoiser<State = Array>,
    grid: &Grid,
    x: &Array,
) -> Array {
    integrate(solver, model, &NoNoise, grid, x.clone(), |_, _, _| Ok(())).unwrap().x
}

fn rms(a: &Array, b: &Array) -> f64 {
    (a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64).sqrt()
}

/// Slope of the least-squares line through (log S, log error), sign changed.
fn slope(errors: &[(usize, f64)]) -> f64 {
    let points: Vec<(f64, f64)> =
        errors.iter().map(|&(steps, error)| ((steps as f64).ln(), error.ln())).collect();
    let n = points.len() as f64;
    let (mx, my) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let covariance: f64 = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum();
    let variance: f64 = points.iter().map(|p| (p.0 - mx).powi(2)).sum();
    -covariance / variance
}

const STEPS: [usize; 4] = [64, 128, 256, 512];

fn hold(model: &dyn Denoiser<State = Array>, exact: &dyn Fn(&Array, Level, Level) -> Array) {
    let (noisy, clean) = (Level::from_sigma(0.0, 10.0), Level::from_sigma(0.0, 0.2));
    for (from, to) in [(noisy, clean), (clean, noisy)] {
        let x = Array::from_shape_vec(vec![8, 4], fill::normal("order/x", 32)).unwrap();
        let truth = exact(&x, from, to);
        for solver in solvers() {
            let Kind::Deterministic { order } = solver.kind() else { panic!("{}", solver.name()) };
            let errors: Vec<(usize, f64)> = STEPS
                .iter()
                .map(|&s| (s, rms(&end(&*solver, model, &grid(from, to, s), &x), &truth)))
                .collect();
            let slope = slope(&errors);
            assert!(
                (slope - f64::from(order)).abs() < 0.2,
                "{} from sigma {} to {}: slope {slope:.3}, order {order}, errors {errors:?}",
                solver.name(),
                from.sigma(),
                to.sigma()
            );
        }
    }
}

#[test]
fn every_deterministic_solver_reaches_its_order_on_a_gaussian_with_its_exact_flow_map() {
    let model = Gaussian { mean: 0.3, std: 0.5 };
    hold(&model, &|x, from, to| model.flow_map(x, from, to));
}

#[test]
fn every_deterministic_solver_reaches_its_order_on_a_mixture() {
    let component = |weight, mean: [f64; 4], std| Component { weight, mean: mean.to_vec(), std };
    let model = Mixture::new(vec![
        component(0.5, [0.8, -0.2, 0.1, 0.4], 0.4),
        component(0.3, [-0.6, 0.3, 0.0, -0.5], 0.5),
        component(0.2, [0.1, 0.9, -0.7, 0.2], 0.3),
    ])
    .unwrap();
    // The reference: 2^14 second-order steps, 4096 times smaller in error than the finest above.
    hold(&model, &|x, from, to| end(&Heun, &model, &grid(from, to, 1 << 14), x));
}

#[test]
fn the_exact_flow_map_composes_and_inverts() {
    let model = Gaussian { mean: 0.3, std: 0.5 };
    let [a, b, c] = [20.0, 1.0, 0.1].map(|sigma| Level::from_sigma(0.0, sigma));
    let x = Array::from_shape_vec(vec![2, 4], fill::normal("flow/x", 8)).unwrap();
    let there = model.flow_map(&x, a, c);
    let via = model.flow_map(&model.flow_map(&x, a, b), b, c);
    assert!(rms(&there, &via) < 1e-14);
    assert!(rms(&model.flow_map(&there, c, a), &x) < 1e-13);
}
