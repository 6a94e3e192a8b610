//! What the registry makes of a `[solver]` section: every option reaches its place, and a setting that
//! a method does not have is refused.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use ddim::{
    backends::array::Array,
    core::{Draw, KeyedNoise, Noise, Solver, Tau, integrate},
    run::registry::Registry,
    solvers::{Churn, Edm},
};
use support::{
    ClosedForm, grid, linear,
    solvers::{section, solver_for},
};

const NOISE: KeyedNoise = KeyedNoise { seed: 3, first: 0 };

fn run(solver: &dyn Solver<Array>) -> Array {
    let x = NOISE.draw(&Array::zeros(vec![2, 3, 4]), Draw::Initial).unwrap();
    integrate(solver, &ClosedForm, &NOISE, &grid(&Tau::LINSPACE, 10), x, |_, _, _| Ok(()))
        .unwrap()
        .x
}

#[test]
fn the_four_options_of_edm_reach_their_places() {
    let churn = Churn { amount: 3.0, least: 0.1, most: 12.0, std: 1.25 };
    let words = "kind = \"edm\", churn = 3, churn_min = 0.1, churn_max = 12, churn_std = 1.25";
    let found = run(&*solver_for(words, 10));
    assert_eq!(found, run(&Edm::new(churn, 10, linear()).unwrap()));
    for other in [
        Churn { amount: 2.0, ..churn },
        Churn { least: 2.0, ..churn },
        Churn { most: 3.0, ..churn },
        Churn { std: 1.0, ..churn },
    ] {
        assert_ne!(found, run(&Edm::new(other, 10, linear()).unwrap()), "{other:?} is the same");
    }
}

#[test]
fn settings_a_method_does_not_have_are_refused_with_those_it_has() {
    let refusal = |words: &str, steps| {
        let registry = Registry::shipped();
        let section = section(&registry, words);
        registry.build(&section, &linear(), steps).map(drop).unwrap_err().to_string()
    };
    let order =
        |kind: &str, order: u32| refusal(&format!("kind = \"{kind}\", order = {order}"), 10);
    let edm = |churn, min, max, steps| {
        let limits = format!("churn_min = {min}, churn_max = {max}, churn_std = 1");
        refusal(&format!("kind = \"edm\", churn = {churn}, {limits}"), steps)
    };
    insta::assert_snapshot!(order("adams-bashforth", 5), @"adams-bashforth: order = 5 must be from 2 to 4");
    insta::assert_snapshot!(order("dpm-solver", 0), @"dpm-solver: order = 0 must be from 1 to 3");
    insta::assert_snapshot!(order("deis", 4), @"deis: order = 4 must be from 2 to 3");
    insta::assert_snapshot!(order("unipc-bh2", 1), @"unipc: order = 1 must be from 2 to 3");
    let tolerances = refusal(r#"kind = "dormand-prince", rtol = 0, atol = 1e-6"#, 10);
    insta::assert_snapshot!(tolerances, @"dormand-prince: rtol = 0e0 and atol = 1e-6 must be positive and finite");
    insta::assert_snapshot!(edm(-1.0, 0.0, 50.0, 10), @"edm: churn needs amount >= 0, std >= 0, least <= most and at least one step; given are amount = -1, std = 1, least = 0, most = 50, 10 steps");
    insta::assert_snapshot!(edm(1.0, 50.0, 0.05, 10), @"edm: churn needs amount >= 0, std >= 0, least <= most and at least one step; given are amount = 1, std = 1, least = 50, most = 0.05, 10 steps");
    insta::assert_snapshot!(edm(1.0, 0.0, 50.0, 0), @"edm: churn needs amount >= 0, std >= 0, least <= most and at least one step; given are amount = 1, std = 1, least = 0, most = 50, 0 steps");
}
