//! The words of a manifest: the solvers that can be named, and the models of this machine.

use crate::{
    core::Schedule,
    manifest::{Kind, Vocabulary},
    networks::home,
    plan::Solves,
    run::{
        assemble::files::{precision, stated},
        registry::Registry,
    },
};

/// The names a manifest may use.
pub fn vocabulary(registry: &Registry) -> Vocabulary {
    Vocabulary {
        solvers: registry.kinds(),
        solutions: solutions(registry),
        weights: Some(home::models()),
        stated: Some(stated),
        precision: Some(precision),
    }
}

/// What solves the probability-flow ODE: the exact flow, and the methods that draw no noise.
fn solutions(registry: &Registry) -> Vec<Kind> {
    let schedule = Schedule::cosine(10).expect("invariant: ten labels are a schedule");
    let deterministic = |kind: &Kind| {
        let solver = registry.build(&Registry::section(kind), &schedule, 2).ok()?;
        (!solver.draws_noise()).then(|| {
            Kind::new(kind.name.clone(), &[])
                .with_options(&kind.options)
                .with_switches(&kind.switches)
        })
    };
    let mut all = vec![Kind::new(Solves::EXACT, &[])];
    all.extend(registry.kinds().iter().filter_map(deterministic));
    all
}
