//! The words of a manifest: every name that a section may hold, and the options beside it.

use super::{any_truth::EXACT, files::stated, grid::taus};
use crate::{
    core::{Schedule, Tau},
    harness::{
        home,
        manifest::{Kind, Vocabulary},
        plan,
        registry::{LEARNED, Registry, SIGMA_HAT},
    },
};

/// The noise schedules a manifest may name.
pub fn schedules() -> Vec<Kind> {
    let betas = ["beta_start", "beta_end"];
    vec![
        Kind::new("linear", &betas),
        Kind::new("linear-f32", &betas),
        Kind::new("scaled-linear", &betas),
        Kind::new("cosine", &[]),
        Kind::new("sigmoid", &betas),
        Kind::new("betas", &["betas"]),
    ]
}

/// The names a manifest may use.
pub fn vocabulary(registry: &Registry) -> Vocabulary {
    Vocabulary {
        models: vec![
            Kind::new("gaussian", &["shape", "mean", "std"]),
            Kind::new("mixture", &["shape", "mean", "std", "weights"]),
            Kind::new("dirac", &["shape", "mean"]),
        ],
        stated: Some(stated),
        weights: Some(home::models()),
        schedules: schedules(),
        taus: taus(7.0)
            .iter()
            .map(|(name, tau)| match tau {
                Tau::Karras { .. } => Kind::new(*name, &["rho"]),
                _ => Kind::new(*name, &[]),
            })
            .collect(),
        solvers: registry.kinds(),
        truths: truths(registry),
        variances: vec![SIGMA_HAT.into(), LEARNED.into()],
        metrics: plan::METRICS.map(String::from).to_vec(),
        columns: ["S", "levels", "calls"].map(String::from).to_vec(),
    }
}

/// What can be a truth: the exact flow, and the methods that draw no noise.
fn truths(registry: &Registry) -> Vec<Kind> {
    let schedule = Schedule::cosine(10).expect("invariant: ten labels are a schedule");
    let deterministic = |kind: &Kind| {
        let solver = registry.build(&Registry::section(kind), &schedule, 2).ok()?;
        (!solver.draws_noise()).then(|| {
            Kind::new(kind.name.clone(), &[])
                .with_options(&kind.options)
                .with_switches(&kind.switches)
        })
    };
    let mut all = vec![Kind::new(EXACT, &[])];
    all.extend(registry.kinds().iter().filter_map(deterministic));
    all
}
