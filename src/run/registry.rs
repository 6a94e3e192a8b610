//! The solvers that manifests can name.
//!
//! [`Registry::shipped`] has one line for each solver of this crate; a program of one's own adds
//! its own with [`Registry::add`] and hands the registry to `cli::main_with`. A solver is built
//! from its section of the manifest, the schedule and S, and works on every state the harness has.

use std::{collections::BTreeMap, rc::Rc};

use tch::Tensor;

use crate::{
    backends::array::Array,
    core::{self, Ghost, Schedule, Solver},
    solvers::{
        AdamsBashforth, Churn, Ddim, Ddpm, Deis, DormandPrince, DpmSolver, DpmSolverPp2M, Edm,
        Euler, Heun, Inverse, Plms, Rk4, SdeDpmSolverPp2M, UniPc, UniPcB, Variance,
    },
};
use crate::{
    error::{Error, Result},
    manifest::Kind,
    plan::{Inversion, SolverSpec},
};

/// The switch of multistep methods that lower their order at the end, as diffusers' do by default.
const LOWER_ORDER_FINAL: &str = "lower_order_final";

/// A solver on every state: exact-score models, networks, and the count of calls.
pub trait Everywhere: Solver<Array> + Solver<Tensor> + Solver<Ghost> {}

impl<M: Solver<Array> + Solver<Tensor> + Solver<Ghost>> Everywhere for M {}

/// What a solver is built from.
#[derive(Clone, Copy, Debug)]
pub struct Recipe<'a> {
    /// How much noise a step adds, for methods with that choice.
    pub variance: Variance,
    /// The schedule, for methods that evaluate between the grid's levels.
    pub schedule: &'a Schedule,
    /// The requested number of steps S.
    pub steps: usize,
    options: &'a BTreeMap<String, f64>,
}

impl Recipe<'_> {
    /// The number given for an option, or its default.
    ///
    /// # Panics
    /// If the option was not registered.
    pub fn number(&self, option: &str) -> f64 {
        self.options[option]
    }

    /// Whether a switch is on.
    pub fn is_on(&self, switch: &str) -> bool {
        self.options.contains_key(switch)
    }

    /// The `order` option, a whole number.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to fit")]
    pub fn order(&self) -> u32 {
        let order = self.number("order");
        // No method has an order that is no small whole number: 0 is refused by each of them.
        if order.fract().abs() <= 0.0 && (1.0..100.0).contains(&order) { order as u32 } else { 0 }
    }
}

type Build = Box<dyn Fn(&Recipe<'_>) -> core::Result<Rc<dyn Everywhere>>>;

struct Entry {
    kind: Kind,
    build: Build,
    reference: &'static str,
}

/// Where the shipped methods are published.
const REFERENCES: [(&str, &str); 16] = [
    ("ddim", "Song, Meng, Ermon 2021, Eq. (12) and (16)"),
    ("ddpm", "Ho, Jain, Abbeel 2020, algorithm 2"),
    ("euler", "Song, Meng, Ermon 2021, Eq. (13) and (14)"),
    ("euler-sigma2", "Song, Meng, Ermon 2021, Eq. (15)"),
    ("heun", "Karras et al. 2022, algorithm 1"),
    ("rk4", "Kutta 1901"),
    ("adams-bashforth", "Hairer, Norsett, Wanner, section III.5; rho-AB of Zhang, Chen 2023"),
    ("plms", "Liu et al. 2022 (PNDM), Eq. (9) and (12)"),
    ("deis", "Zhang, Chen 2023, Eq. (14) and (15)"),
    ("dpm-solver", "Lu et al. 2022, Eq. (3.7), algorithms 1 and 2"),
    ("dpm-solver++2m", "Lu et al. 2022 (DPM-Solver++), algorithm 2"),
    ("sde-dpm-solver++2m", "Lu et al. 2022 (DPM-Solver++), SDE form"),
    ("unipc-bh1", "Zhao et al. 2023, B(h) = h"),
    ("unipc-bh2", "Zhao et al. 2023, B(h) = e^h - 1"),
    ("edm", "Karras et al. 2022, algorithm 2"),
    ("dormand-prince", "Dormand, Prince 1980"),
];

/// Solvers by name.
#[derive(Default)]
pub struct Registry {
    entries: Vec<Entry>,
}

impl Registry {
    /// Every solver of this crate.
    pub fn shipped() -> Self {
        let mut all = Self::default();
        all.add_noisy("ddim", 0.0, |r| Ok(Ddim { variance: r.variance }));
        all.add_noisy("ddpm", 1.0, |r| Ok(Ddpm { variance: r.variance }));
        all.add("euler", &[], |_| Ok(Euler::Sigma));
        all.add("euler-sigma2", &[], |_| Ok(Euler::SigmaSquared));
        all.add("heun", &[], |_| Ok(Heun));
        all.add("rk4", &[], |r| Ok(Rk4 { schedule: r.schedule.clone() }));
        all.add("adams-bashforth", &[("order", 4.0)], |r| {
            AdamsBashforth::new(r.order(), r.schedule.clone())
        });
        all.add("plms", &[], |_| Ok(Plms));
        let lowering = |name, options: &[(&'static str, f64)]| {
            Kind::new(name, &[]).with_options(options).with_switches(&[LOWER_ORDER_FINAL])
        };
        all.insert(lowering("deis", &[("order", 3.0)]), |r| {
            let deis = Deis::new(r.order())?;
            Ok(if r.is_on(LOWER_ORDER_FINAL) { deis.lowered() } else { deis })
        });
        all.add("dpm-solver", &[("order", 3.0)], |r| DpmSolver::new(r.order(), r.schedule.clone()));
        all.insert(lowering("dpm-solver++2m", &[]), |r| {
            Ok(DpmSolverPp2M { lower_order_final: r.is_on(LOWER_ORDER_FINAL) })
        });
        all.insert(lowering("sde-dpm-solver++2m", &[]), |r| {
            Ok(SdeDpmSolverPp2M { lower_order_final: r.is_on(LOWER_ORDER_FINAL) })
        });
        for (name, b) in [("unipc-bh1", UniPcB::Bh1), ("unipc-bh2", UniPcB::Bh2)] {
            all.insert(lowering(name, &[("order", 2.0)]), move |r| {
                let unipc = UniPc::new(r.order(), b)?;
                Ok(if r.is_on(LOWER_ORDER_FINAL) { unipc.lowered() } else { unipc })
            });
        }
        let churn =
            [("churn", 40.0), ("churn_min", 0.05), ("churn_max", 50.0), ("churn_std", 1.003)];
        all.add("edm", &churn, |r| {
            let churn = Churn {
                amount: r.number("churn"),
                least: r.number("churn_min"),
                most: r.number("churn_max"),
                std: r.number("churn_std"),
            };
            Edm::new(churn, r.steps, r.schedule.clone())
        });
        all.add("dormand-prince", &[("rtol", 1e-4), ("atol", 1e-4)], |r| {
            DormandPrince::new(r.number("rtol"), r.number("atol"), r.schedule.clone())
        });
        for (name, reference) in REFERENCES {
            all.cite(name, reference);
        }
        all
    }

    /// Adds a solver with the options of its section and their defaults; a name known already is
    /// replaced.
    pub fn add<M: Everywhere + 'static>(
        &mut self,
        name: &'static str,
        options: &[(&'static str, f64)],
        build: impl Fn(&Recipe<'_>) -> core::Result<M> + 'static,
    ) {
        self.insert(Kind::new(name, &[]).with_options(options), build);
    }

    /// Adds a solver that takes `eta` or `variance`, with its eta where the manifest gives none.
    pub fn add_noisy<M: Everywhere + 'static>(
        &mut self,
        name: &'static str,
        default_eta: f64,
        build: impl Fn(&Recipe<'_>) -> core::Result<M> + 'static,
    ) {
        let kind = Kind::new(name, &["eta", "variance"]).with_default_eta(default_eta);
        self.insert(kind, build);
    }

    fn insert<M: Everywhere + 'static>(
        &mut self,
        kind: Kind,
        build: impl Fn(&Recipe<'_>) -> core::Result<M> + 'static,
    ) {
        self.entries.retain(|entry| entry.kind.name != kind.name);
        let build: Build = Box::new(move |recipe| Ok(Rc::new(build(recipe)?)));
        self.entries.push(Entry { kind, build, reference: "" });
    }

    /// Says where a registered solver is published.
    pub fn cite(&mut self, name: &str, reference: &'static str) {
        for entry in self.entries.iter_mut().filter(|entry| entry.kind.name == name) {
            entry.reference = reference;
        }
    }

    /// Where a solver is published; empty if nobody said it.
    pub fn reference(&self, name: &str) -> &'static str {
        let entry = self.entries.iter().find(|entry| entry.kind.name == name);
        entry.map_or("", |entry| entry.reference)
    }

    /// The names with what their sections may hold, in the order they were added.
    pub fn kinds(&self) -> Vec<Kind> {
        self.entries.iter().map(|entry| entry.kind.clone()).collect()
    }

    /// Builds the solver of a manifest's section for a grid of `steps` steps.
    ///
    /// # Errors
    /// A name or a variance that does not exist, or an option the method refuses.
    pub fn build(
        &self,
        spec: &SolverSpec,
        schedule: &Schedule,
        steps: usize,
    ) -> Result<Rc<dyn Everywhere>> {
        let entry = self.entries.iter().find(|entry| entry.kind.name == spec.kind);
        let Some(entry) = entry else {
            return Err(Error::input(format!("there is no solver `{}`", spec.kind)));
        };
        let variance = Self::variance(spec);
        Ok((entry.build)(&Recipe { variance, schedule, steps, options: &spec.options })?)
    }

    /// The noise of a method's steps; none of a method without that choice.
    pub fn variance(spec: &SolverSpec) -> Variance {
        spec.variance.unwrap_or(Variance::Eta(0.0))
    }

    /// What carries images to latents on the reversed grid of a method, by its convention.
    ///
    /// # Errors
    /// No iterations.
    pub fn inverse(spec: &SolverSpec, method: Rc<dyn Everywhere>) -> Result<Rc<dyn Everywhere>> {
        let iterations = match spec.inversion {
            Inversion::Current => return Ok(method),
            Inversion::Next => 1,
            Inversion::FixedPoint(iterations) => iterations,
        };
        Ok(Rc::new(Inverse::new(method, iterations)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_solver_builds_with_its_defaults_and_bears_its_registered_name() {
        let registry = Registry::shipped();
        let schedule = Schedule::linear(1e-4, 0.02, 1000).unwrap();
        for kind in registry.kinds() {
            let options = kind.options.iter().map(|&(key, value)| (key.to_owned(), value));
            let spec =
                SolverSpec { options: options.collect(), ..SolverSpec::new(kind.name.clone()) };
            let solver: Rc<dyn Solver<Ghost>> = registry.build(&spec, &schedule, 10).unwrap();
            // The two choices of B(h) and the two orders of one method share its name.
            assert!(kind.name.starts_with(solver.name()), "{} is {}", kind.name, solver.name());
        }
    }

    #[test]
    fn an_order_that_no_method_has_is_refused_by_name() {
        let registry = Registry::shipped();
        let schedule = Schedule::linear(1e-4, 0.02, 1000).unwrap();
        for order in [0.0, 2.5, 7.0, -1.0, f64::NAN] {
            let options = BTreeMap::from([("order".to_owned(), order)]);
            let spec = SolverSpec { options, ..SolverSpec::new("deis") };
            let error = registry.build(&spec, &schedule, 10).map(drop).unwrap_err();
            assert!(error.to_string().contains("deis"), "{error}");
        }
    }
}
