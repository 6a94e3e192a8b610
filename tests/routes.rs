//! Which grid a cell runs on, and what it costs.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use ddim::manifest::{Argument, Manifest};
use ddim::plan::{CellSpec, Plan, Steps};
use ddim::run::assemble::{Route, vocabulary};
use ddim::run::registry::Registry;
use ddim::run::runner;

const BASE: &str = r#"
name = "routes"
samples = 2
batch = 2

[model]
source = "gaussian"
shape = [1, 1, 1]
mean = 0
std = 1

[grid]
tau = "official-quad"
calls = 20

[solver]
kind = "euler"
"#;

fn plan(sets: &[&str]) -> Plan {
    let sets: Vec<Argument> = sets.iter().copied().map(Argument::set).collect();
    let vocabulary = vocabulary(&Registry::shipped());
    Manifest::parse("routes.toml", BASE).unwrap().plan(None, &sets, &vocabulary).unwrap()
}

#[test]
fn a_budget_of_calls_is_spent_as_far_as_it_goes_by_every_solver() {
    let registry = Registry::shipped();
    let base = plan(&[]).cells[0].spec.clone();
    for kind in registry.kinds() {
        let with = |steps: Steps| {
            let mut spec = CellSpec { solver: Registry::section(&kind), ..base.clone() };
            spec.grid.steps = steps;
            Route::new(&spec, &registry)
        };
        for budget in [20, 33] {
            let route = with(Steps::Calls(budget)).unwrap();
            assert!(route.calls <= budget, "{}: {}", kind.name, route.calls);
            // Duplicates of small labels may let one step more cost no call more; none fewer.
            let more = with(Steps::Number(route.grid.requested() + 1)).unwrap();
            assert!(more.calls > budget, "{}: {}", kind.name, more.calls);
        }
    }
}

#[test]
fn a_budget_too_small_for_a_step_is_refused() {
    let registry = Registry::shipped();
    let refusal =
        |sets: &[&str]| runner::check(&plan(sets), &registry).map(drop).unwrap_err().to_string();
    let rk4 = ["solver.kind=rk4", "grid.calls=3", "grid.tau=trailing", "grid.end=first-level"];
    let message = refusal(&rk4);
    assert!(message.contains("3 model calls are too few for one step of `rk4`"), "{message}");
}
