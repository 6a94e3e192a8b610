//! Every deterministic solver reaches its order of convergence.
//!
//! Measured between two positive noise levels, towards the data and away from it, as the slope of
//! log error against log S. To the clean end every method takes a first-order last step and shows
//! a lower slope although its code is right.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

#[allow(dead_code, reason = "its main is the example's")]
#[path = "../examples/own_solver.rs"]
mod own_solver;

use std::{collections::BTreeMap, rc::Rc};

use ddim::{
    backends::array::Array,
    core::{CLEAN, Denoiser, Grid, Kind, Level, NoNoise, Solver, integrate},
    exact::{Component, Gaussian, Mixture},
    plan::{Inversion, SolverSpec},
    run::registry::Registry,
    solvers::{
        AdamsBashforth, Churn, Ddim, Ddpm, Deis, DormandPrince, DpmSolver, DpmSolverPp2M, Edm,
        Euler, Heun, Inverse, Plms, Rk4, UniPc, UniPcB, Variance,
    },
};
use support::{fill, linear};

/// One solver and the S its order is read from.
struct Case {
    solver: Rc<dyn Solver<Array>>,
    steps: [usize; 4],
    /// How far above its order the slope may lie, beyond the 0.2 of all.
    above: f64,
}

fn cases() -> Vec<Case> {
    const USUAL: [usize; 4] = [64, 128, 256, 512];
    let case = |solver: Rc<dyn Solver<Array>>| Case { solver, steps: USUAL, above: 0.0 };
    // On the Gaussian its slope still rises at the usual S: 2.2 at 64, 2.9 at 512.
    let late = |solver| Case { steps: [256, 512, 1024, 2048], ..case(solver) };
    // The first steps bound the order by 3, but at sigma = 10 their error is small: towards the
    // data these S show the order of the other steps, 4, as well.
    let bounded = |b| Case { above: 1.5, ..case(Rc::new(UniPc::new(3, b).unwrap())) };
    let mut cases: Vec<Case> = vec![
        case(Rc::new(Ddim { variance: Variance::Eta(0.0) })),
        case(Rc::new(Ddpm { variance: Variance::Eta(0.0) })),
        case(Rc::new(Inverse::new(Rc::new(Euler::Sigma), 1).unwrap())),
        case(Rc::new(Inverse::new(Rc::new(Euler::SigmaSquared), 4).unwrap())),
        case(Rc::new(Euler::Sigma)),
        case(Rc::new(Euler::SigmaSquared)),
        case(Rc::new(Heun)),
        case(Rc::new(Edm::new(Churn::default(), 1, linear()).unwrap())),
        case(Rc::new(Rk4 { schedule: linear() })),
        case(Rc::new(Plms)),
        case(Rc::new(DpmSolverPp2M::default())),
        case(Rc::new(Deis::new(2).unwrap())),
        late(Rc::new(Deis::new(3).unwrap())),
        case(Rc::new(UniPc::new(2, UniPcB::Bh1).unwrap())),
        case(Rc::new(UniPc::new(2, UniPcB::Bh2).unwrap())),
        bounded(UniPcB::Bh1),
        bounded(UniPcB::Bh2),
        // Within a tolerance that nothing fails: one internal step for every step of the grid. S is
        // coarse to stay above rounding, and there the next term of the error shows as well.
        Case {
            solver: Rc::new(DormandPrince::new(1e9, 1e9, linear()).unwrap()),
            steps: [8, 16, 32, 64],
            above: 2.5,
        },
    ];
    for order in 1..=3 {
        cases.push(case(Rc::new(DpmSolver::new(order, linear()).unwrap())));
        cases.push(case(Rc::new(AdamsBashforth::new(order + 1, linear()).unwrap())));
    }
    cases.push(own());
    cases
}

/// The reader's own solver, as its registration builds it.
fn own() -> Case {
    let mut registry = Registry::default();
    own_solver::register(&mut registry);
    let spec = SolverSpec {
        kind: "midpoint".into(),
        variance: None,
        options: BTreeMap::new(),
        inversion: Inversion::Current,
    };
    let solver: Rc<dyn Solver<Array>> = registry.build(&spec, &linear(), 10).unwrap();
    // On the Gaussian, whose ODE is linear, the leading error of even steps in log sigma cancels.
    Case { solver, steps: [64, 128, 256, 512], above: 1.0 }
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

fn hold(model: &dyn Denoiser<State = Array>, exact: &dyn Fn(&Array, Level, Level) -> Array) {
    let (noisy, clean) = (Level::from_sigma(0.0, 10.0), Level::from_sigma(0.0, 0.2));
    for (from, to) in [(noisy, clean), (clean, noisy)] {
        let x = Array::from_shape_vec(vec![8, 4], fill::normal("order/x", 32)).unwrap();
        let truth = exact(&x, from, to);
        for Case { solver, steps, above } in cases() {
            let Kind::Deterministic { order } = solver.kind() else { panic!("{}", solver.name()) };
            let errors: Vec<(usize, f64)> = steps
                .iter()
                .map(|&s| (s, rms(&end(&*solver, model, &grid(from, to, s), &x), &truth)))
                .collect();
            let slope = slope(&errors);
            assert!(
                (-0.2..0.2 + above).contains(&(slope - f64::from(order))),
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
    // The reference: 2^12 steps of order 4, whose error is rounding.
    let rk4 = Rk4 { schedule: linear() };
    hold(&model, &|x, from, to| end(&rk4, &model, &grid(from, to, 1 << 12), x));
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

#[test]
fn the_adaptive_reference_is_as_exact_as_its_tolerance_on_any_grid() {
    let model = Gaussian { mean: 0.3, std: 0.5 };
    let schedule = linear();
    let x = Array::from_shape_vec(vec![8, 4], fill::normal("adaptive/x", 32)).unwrap();
    let top = schedule.level(999.0).unwrap();
    for rtol in [1e-4, 1e-6, 1e-8, 1e-10] {
        let solver = DormandPrince::new(rtol, rtol, schedule.clone()).unwrap();
        for levels in [vec![top, CLEAN], vec![top, schedule.level(400.0).unwrap(), CLEAN]] {
            let forward = Grid::from_levels(levels).unwrap();
            let outcome =
                integrate(&solver, &model, &NoNoise, &forward, x.clone(), |_, _, _| Ok(()))
                    .unwrap();
            let error = rms(&outcome.x, &model.flow_map(&x, top, CLEAN));
            assert!(error < rtol, "rtol {rtol:.0e}: {error:.1e}");
            assert!(outcome.calls < 800, "rtol {rtol:.0e}: {} calls", outcome.calls);
            let back = end(&solver, &model, &forward.reversed(), &outcome.x);
            assert!(rms(&back, &x) < 20.0 * rtol, "rtol {rtol:.0e}: {:.1e}", rms(&back, &x));
        }
    }
}

#[test]
fn every_deterministic_solver_that_manifests_can_name_is_among_the_cases() {
    let registry = Registry::shipped();
    for kind in registry.kinds() {
        let options = kind.options.iter().map(|&(key, value)| (key.to_owned(), value));
        let spec = SolverSpec {
            kind: kind.name.clone(),
            variance: None,
            options: options.collect(),
            inversion: Inversion::Current,
        };
        let solver: Rc<dyn Solver<Array>> = registry.build(&spec, &linear(), 10).unwrap();
        let known = cases().iter().any(|case| case.solver.name() == solver.name());
        assert!(known || solver.kind() == Kind::Stochastic, "{} has no case", kind.name);
    }
}
