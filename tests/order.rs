//! Every deterministic solver reaches its order of convergence: those of the registry, in every order
//! that they take, and the example's own. `support/order.rs` says how it is measured.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

#[allow(dead_code, reason = "its main is the example's")]
#[path = "../examples/own_solver.rs"]
mod own_solver;

use ddim::{
    backends::array::Array,
    core::{CLEAN, Denoiser, Grid, Level, NoNoise, integrate},
    exact::{Component, Gaussian, Mixture},
    run::registry::Registry,
    solvers::{DormandPrince, Rk4},
};
use support::{
    fill, linear,
    order::{Case, cases, end, grid, problems, rms},
    solvers::inverse,
};

/// The registry's, and the inverses of one-call methods.
fn all() -> Vec<Case> {
    let mut registry = Registry::shipped();
    own_solver::register(&mut registry);
    let inverted = [
        r#"kind = "euler", inversion = "next""#,
        r#"kind = "euler-sigma2", inversion = "fixed-point", iterations = 4"#,
    ];
    let inverted = inverted.map(|words| Case {
        name: words.to_owned(),
        solver: inverse(words),
        steps: [64, 128, 256, 512],
        above: 0.0,
    });
    cases(&registry).into_iter().chain(inverted).collect()
}

fn hold(model: &dyn Denoiser<State = Array>, exact: &dyn Fn(&Array, Level, Level) -> Array) {
    let problems = problems(&all(), model, exact);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
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
fn every_solver_is_measured_but_the_two_that_always_draw() {
    let cases = all();
    let measured = |name: &str| cases.iter().any(|case| case.name.split(' ').next() == Some(name));
    let mut kinds = Registry::shipped().kinds();
    kinds.retain(|kind| !measured(&kind.name));
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name.as_str()).collect();
    assert_eq!(names, ["sde-dpm-solver++2m", "multinomial"]);
    assert!(measured("midpoint"));
    let orders = |name: &str| {
        let of = cases.iter().filter(|case| case.name.split(' ').next() == Some(name));
        of.map(|case| case.solver.order().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(orders("adams-bashforth"), [2, 3, 4]);
    assert_eq!(orders("dpm-solver"), [1, 2, 3]);
    assert_eq!(orders("deis"), [2, 3]);
    assert_eq!(orders("unipc-bh1"), [3, 3]);
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
            assert!(outcome.nfe < 800, "rtol {rtol:.0e}: {} calls", outcome.nfe);
            let back = end(&solver, &model, &forward.reversed(), &outcome.x);
            assert!(rms(&back, &x) < 20.0 * rtol, "rtol {rtol:.0e}: {:.1e}", rms(&back, &x));
        }
    }
}
