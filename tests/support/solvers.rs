//! Solvers as manifests have them: named, with options, and built by the registry.

use std::sync::Arc;

use ddim::{
    manifest::Manifest,
    plan::SolverSpec,
    run::{
        assemble::vocabulary,
        registry::{Everywhere, Registry},
    },
};

use super::linear;

/// What a `[solver]` section says, for instance `kind = "deis", order = 2`.
pub fn section(registry: &Registry, words: &str) -> SolverSpec {
    let text = format!(
        "name = \"x\"\nsamples = 1\nbatch = 1\n\
         model = {{ source = \"gaussian\", shape = [1, 1, 1], mean = 0, std = 1 }}\n\
         grid = {{ tau = \"linspace\", steps = 10 }}\n\
         solver = {{ {words} }}\n"
    );
    let manifest = Manifest::parse("solver.toml", &text).unwrap();
    let plan = manifest.plan(None, &[], &vocabulary(registry));
    plan.unwrap_or_else(|problem| panic!("{words}: {problem}")).cells[0].spec.solver.clone()
}

/// The shipped solver of a `[solver]` section, for 10 steps of the linear schedule.
pub fn solver(words: &str) -> Arc<dyn Everywhere> {
    solver_for(words, 10)
}

/// The same for so many steps, on which the churn of `edm` depends.
pub fn solver_for(words: &str, steps: usize) -> Arc<dyn Everywhere> {
    let registry = Registry::shipped();
    let section = section(&registry, words);
    registry.build(&section, &linear(), steps).unwrap_or_else(|error| panic!("{words}: {error}"))
}

/// What encodes for the solver of a section, by its convention of inversion.
pub fn inverse(words: &str) -> Arc<dyn Everywhere> {
    let section = section(&Registry::shipped(), words);
    Registry::inverse(&section, solver(words)).unwrap()
}
