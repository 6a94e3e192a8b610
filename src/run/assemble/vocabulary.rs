//! The words of a manifest: the solvers that can be named, and the models of this machine.

use std::rc::Rc;

use crate::{
    core::{self, Ghost, Schedule, Solver},
    manifest::{Kind, Vocabulary},
    networks::home,
    plan::{SolverSpec, Solves},
    run::{assemble::files::stated, registry::Registry},
};

/// The names a manifest may use.
pub fn vocabulary(registry: &Registry) -> Vocabulary {
    Vocabulary {
        solvers: registry.kinds(),
        truths: truths(registry),
        weights: Some(home::models()),
        stated: Some(stated),
    }
}

/// What can be a truth: the exact flow, and the methods that draw no noise.
fn truths(registry: &Registry) -> Vec<Kind> {
    let schedule = Schedule::cosine(10).expect("invariant: ten labels are a schedule");
    let deterministic = |kind: &Kind| {
        let options = kind.options.iter().map(|&(key, value)| (key.to_owned(), value)).collect();
        let spec = SolverSpec { options, ..SolverSpec::new(kind.name.clone()) };
        let solver = registry.build(&spec, &schedule, 2).ok()?;
        let solver: Rc<dyn Solver<Ghost>> = solver;
        let draws_none = matches!(solver.kind(), core::Kind::Deterministic { .. });
        draws_none.then(|| {
            Kind::new(kind.name.clone(), &[])
                .with_options(&kind.options)
                .with_switches(&kind.switches)
        })
    };
    let mut all = vec![Kind::new(Solves::EXACT, &[])];
    all.extend(registry.kinds().iter().filter_map(deterministic));
    all
}
