//! The example's solver, run through a manifest as its reader would.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::atomic::AtomicBool;

use ddim::{
    core::{Eval, Method, Result, Solver, State, Step},
    exact::Gaussian,
    hardware::Hardware,
    manifest::Manifest,
    report::html,
    run::{
        assemble, outline,
        registry::Registry,
        runner::{self, Options},
    },
    solvers::Euler,
    terminal::progress::Mode,
};
use support::order::{cases, problems};

#[allow(dead_code, reason = "its main is the example's")]
#[path = "../examples/own_solver.rs"]
mod own_solver;

const MANIFEST: &str = r#"
name = "g"
samples = 8
batch = 4
model = { source = "gaussian", shape = [3, 8, 8], mean = 0.1, std = 0.5 }
grid = { tau = "official-quad" }
solver = {}
[sweep]
"grid.steps" = [5, 10]
"solver.kind" = ["midpoint", "heun"]
"#;

#[test]
fn a_solver_of_the_readers_own_runs_through_a_manifest() {
    let manifest = Manifest::parse("own.toml", MANIFEST).unwrap();
    let mut registry = Registry::shipped();
    let unknown =
        manifest.plan(None, &[], &assemble::vocabulary(&registry)).unwrap_err().to_string();
    assert!(unknown.contains("there is no solver called `midpoint`"), "{unknown}");

    own_solver::register(&mut registry);
    let plan = manifest.plan(None, &[], &assemble::vocabulary(&registry)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        registry: &registry,
        folder: folder.path().to_owned(),
        hardware: Hardware::open("cpu", Some(1)).unwrap(),
        progress: Mode::Quiet,
        chosen: true,
        fresh: false,
        verbose: 0,
        interrupted: &AtomicBool::new(false),
    };
    runner::run(&plan, &options).unwrap();
    let metrics = std::fs::read_to_string(folder.path().join("metrics.csv")).unwrap();
    // Two calls for each of S steps; Heun saves one at the clean end.
    let calls: Vec<&str> =
        metrics.lines().skip(1).map(|line| line.split(',').nth(7).unwrap()).collect();
    assert_eq!(calls, ["10", "9", "20", "19"]);
    // A program that has never heard of the midpoint rule draws what it left.
    let drawn = outline::read(folder.path(), &Registry::default()).unwrap();
    assert_eq!(drawn.plan.cells.iter().map(|cell| cell.order).collect::<Vec<_>>(), [Some(2); 4]);
    assert_eq!(drawn.records.len(), 4);
    html::html(&drawn).unwrap();
}

#[test]
fn the_examples_manifest_is_right_under_its_registry() {
    let mut registry = Registry::shipped();
    own_solver::register(&mut registry);
    let text = include_str!("../examples/own_solver.toml");
    let manifest = Manifest::parse("examples/own_solver.toml", text).unwrap();
    let plan = manifest.plan(None, &[], &assemble::vocabulary(&registry)).unwrap();
    assert_eq!(runner::check(&plan, &registry).unwrap().len(), 4);
}

/// Euler's method, which claims to be of order 2.
struct Boaster;

impl Method for Boaster {
    fn name(&self) -> &'static str {
        "boaster"
    }

    fn order(&self) -> Option<u32> {
        Some(2)
    }
}

impl<S: State> Solver<S> for Boaster {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        Euler::Sigma.step(eval, x, step)
    }
}

#[test]
fn a_registered_solver_is_held_to_the_order_it_states() {
    let mut registry = Registry::default();
    own_solver::register(&mut registry);
    registry.add("boaster", &[], |_| Ok(Boaster));
    let model = Gaussian { mean: 0.3, std: 0.5 };
    let exact = |x: &_, from, to| model.flow_map(x, from, to);
    let problems = problems(&cases(&registry), &model, &exact);
    assert_eq!(problems.len(), 2, "{problems:?}"); // both ways
    assert!(problems.iter().all(|problem| problem.starts_with("boaster")), "{problems:?}");
}
