//! The solvers that manifests can name.
//!
//! [`Registry::shipped`] has one entry for each solver of this crate: its name, its options with
//! their defaults, its constructor and where it is published. Your own program adds its solvers
//! with [`Registry::add`] and hands the registry to `cli::main_with`. Manifests, lists of names, the
//! order test and the benches read the entries, and nothing else. A solver is built from its section
//! of the manifest, the schedule and S, and works on every state the harness has.

use std::{collections::BTreeMap, sync::Arc};

use tch::Tensor;

use crate::{
    backends::array::Array,
    core::{self, Ghost, Schedule, Solver},
    exact::Ensemble,
    likelihood::Followed,
    solvers::{
        AdamsBashforth, Churn, Ddim, Ddpm, Deis, DormandPrince, DpmSolver, DpmSolverPp2M, Edm,
        Euler, EulerMaruyama, Gddim, Heun, Inverse, Multinomial, Plms, Rk4, SdeDpmSolverPp2M,
        UniPc, UniPcB, Variance,
    },
};
use crate::{
    error::{Error, Result},
    manifest::Kind,
    plan::{Inversion, SolverSpec},
};

/// The switch of multistep methods that lower their order at the end, as diffusers' do by default.
const LOWER_ORDER_FINAL: &str = "lower_order_final";

/// A solver on every state: exact-score models, networks, both with their likelihood, the distribution of
/// categories, and the count of calls.
pub trait Everywhere:
    Solver<Array>
    + Solver<Tensor>
    + Solver<Followed<Array>>
    + Solver<Followed<Tensor>>
    + Solver<Ensemble>
    + Solver<Ghost>
{
}

impl<M> Everywhere for M where
    M: Solver<Array>
        + Solver<Tensor>
        + Solver<Followed<Array>>
        + Solver<Followed<Tensor>>
        + Solver<Ensemble>
        + Solver<Ghost>
{
}

/// What a solver is built from.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// How much noise a step adds, for methods with that choice.
    pub variance: Variance,
    /// The schedule, for methods that evaluate between the grid's levels.
    pub schedule: &'a Schedule,
    /// The requested number of steps S.
    pub steps: usize,
    options: &'a BTreeMap<String, f64>,
}

impl Settings<'_> {
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

type Build = Box<dyn Fn(&Settings<'_>) -> core::Result<Arc<dyn Everywhere>> + Send + Sync>;

/// A registered solver, to which further facts can be added.
pub struct Entry {
    kind: Kind,
    build: Build,
    reference: &'static str,
}

impl Entry {
    /// Lets its section hold `eta` or `variance`, and sets the default eta.
    pub fn noisy(&mut self, default_eta: f64) -> &mut Self {
        self.kind.keys.splice(0..0, ["eta", "variance"]);
        self.kind.default_eta = default_eta;
        self
    }

    /// Lets it sample with the variance that a network predicts, which is then its default for a model
    /// whose folder says that it predicts one.
    pub fn learns(&mut self) -> &mut Self {
        self.kind.learns = true;
        self
    }

    /// Lets its section hold a switch, which is off by default.
    pub fn switch(&mut self, name: &'static str) -> &mut Self {
        self.kind.keys.push(name);
        self.kind.switches.push(name);
        self
    }

    /// Says that it draws categories ([`State::choose`](core::State::choose)): it then belongs to categorical
    /// models, and to no other.
    pub fn categorical(&mut self) -> &mut Self {
        self.kind.categorical = true;
        self
    }

    /// Says where it is published.
    pub fn cite(&mut self, reference: &'static str) -> &mut Self {
        self.reference = reference;
        self
    }
}

/// Solvers by name.
#[derive(Default)]
pub struct Registry {
    entries: Vec<Entry>,
}

impl Registry {
    /// Every solver of this crate.
    pub fn shipped() -> Self {
        let mut all = Self::default();
        all.add("ddim", &[], |s| Ok(Ddim { variance: s.variance }))
            .noisy(0.0)
            .cite("Song, Meng, Ermon 2021, Eq. (12) and (16)");
        all.add("ddpm", &[], |s| Ok(Ddpm { variance: s.variance }))
            .noisy(1.0)
            .learns()
            .cite("Ho, Jain, Abbeel 2020, algorithm 2");
        all.add("euler", &[], |_| Ok(Euler::Sigma))
            .cite("Song, Meng, Ermon 2021, Eq. (13) and (14)");
        all.add("euler-sigma2", &[], |_| Ok(Euler::SigmaSquared))
            .cite("Song, Meng, Ermon 2021, Eq. (15)");
        all.add("heun", &[], |_| Ok(Heun)).cite("Karras et al. 2022, algorithm 1");
        all.add("rk4", &[], |s| Ok(Rk4 { schedule: s.schedule.clone() })).cite("Kutta 1901");
        all.add("adams-bashforth", &[("order", 4.0)], |s| {
            AdamsBashforth::new(s.order(), s.schedule.clone())
        })
        .cite("Hairer, Norsett, Wanner, section III.5; rho-AB of Zhang, Chen 2023");
        all.add("plms", &[], |_| Ok(Plms)).cite("Liu et al. 2022 (PNDM), Eq. (9) and (12)");
        all.add("deis", &[("order", 3.0)], |s| {
            let deis = Deis::new(s.order())?;
            Ok(if s.is_on(LOWER_ORDER_FINAL) { deis.lowered() } else { deis })
        })
        .switch(LOWER_ORDER_FINAL)
        .cite("Zhang, Chen 2023, Eq. (14) and (15)");
        all.add("dpm-solver", &[("order", 3.0)], |s| DpmSolver::new(s.order(), s.schedule.clone()))
            .cite("Lu et al. 2022, Eq. (3.7), algorithms 1 and 2");
        all.add("dpm-solver++2m", &[], |s| {
            Ok(DpmSolverPp2M { lower_order_final: s.is_on(LOWER_ORDER_FINAL) })
        })
        .switch(LOWER_ORDER_FINAL)
        .cite("Lu et al. 2022 (DPM-Solver++), algorithm 2");
        all.add("sde-dpm-solver++2m", &[], |s| {
            Ok(SdeDpmSolverPp2M { lower_order_final: s.is_on(LOWER_ORDER_FINAL) })
        })
        .switch(LOWER_ORDER_FINAL)
        .cite("Lu et al. 2022 (DPM-Solver++), SDE form");
        for (name, b, reference) in [
            ("unipc-bh1", UniPcB::Bh1, "Zhao et al. 2023, B(h) = h"),
            ("unipc-bh2", UniPcB::Bh2, "Zhao et al. 2023, B(h) = e^h - 1"),
        ] {
            all.add(name, &[("order", 2.0)], move |s| {
                let unipc = UniPc::new(s.order(), b)?;
                Ok(if s.is_on(LOWER_ORDER_FINAL) { unipc.lowered() } else { unipc })
            })
            .switch(LOWER_ORDER_FINAL)
            .cite(reference);
        }
        let churn =
            [("churn", 40.0), ("churn_min", 0.05), ("churn_max", 50.0), ("churn_std", 1.003)];
        all.add("edm", &churn, |s| {
            let churn = Churn {
                amount: s.number("churn"),
                least: s.number("churn_min"),
                most: s.number("churn_max"),
                std: s.number("churn_std"),
            };
            Edm::new(churn, s.steps, s.schedule.clone())
        })
        .cite("Karras et al. 2022, algorithm 2");
        all.add("gddim", &[("lambda", 1.0)], |s| Gddim::new(s.number("lambda")))
            .cite("Zhang, Tao, Chen 2023, section 3: stochastic DDIM");
        all.add("euler-maruyama", &[("lambda", 1.0)], |s| EulerMaruyama::new(s.number("lambda")))
            .cite("Song et al. 2021 (score SDE), Eq. (6) and (9): the reverse VE-SDE");
        all.add("multinomial", &[("sigma_scale", 1.0)], |s| {
            Multinomial::new(s.number("sigma_scale"))
        })
        .categorical()
        .cite("Song, Meng, Ermon 2021, appendix A");
        all.add("dormand-prince", &[("rtol", 1e-4), ("atol", 1e-4)], |s| {
            DormandPrince::new(s.number("rtol"), s.number("atol"), s.schedule.clone())
        })
        .cite("Dormand, Prince 1980");
        all
    }

    /// Adds a solver with the options of its section and their defaults, or replaces the one with that
    /// name.
    ///
    /// # Panics
    /// Never: the entry it returns was just put there.
    pub fn add<M: Everywhere + 'static>(
        &mut self,
        name: &'static str,
        options: &[(&'static str, f64)],
        build: impl Fn(&Settings<'_>) -> core::Result<M> + Send + Sync + 'static,
    ) -> &mut Entry {
        self.entries.retain(|entry| entry.kind.name != name);
        let kind = Kind::new(name, &[]).with_options(options);
        let build: Build = Box::new(move |settings| Ok(Arc::new(build(settings)?)));
        self.entries.push(Entry { kind, build, reference: "" });
        self.entries.last_mut().expect("invariant: it was just pushed")
    }

    /// Where a solver is published; empty if unknown.
    pub fn reference(&self, name: &str) -> &'static str {
        let entry = self.entries.iter().find(|entry| entry.kind.name == name);
        entry.map_or("", |entry| entry.reference)
    }

    /// The names with what their sections may hold, in the order they were added.
    pub fn kinds(&self) -> Vec<Kind> {
        self.entries.iter().map(|entry| entry.kind.clone()).collect()
    }

    /// The section of a manifest that only names a solver: its defaults, and no noise if there is a
    /// choice.
    pub fn section(kind: &Kind) -> SolverSpec {
        SolverSpec {
            kind: kind.name.clone(),
            variance: None,
            options: kind.options.iter().map(|&(key, value)| (key.to_owned(), value)).collect(),
            inversion: Inversion::Current,
        }
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
    ) -> Result<Arc<dyn Everywhere>> {
        let entry = self.entries.iter().find(|entry| entry.kind.name == spec.kind);
        let Some(entry) = entry else {
            return Err(Error::input(format!("there is no solver `{}`", spec.kind)));
        };
        let variance = Self::variance(spec);
        Ok((entry.build)(&Settings { variance, schedule, steps, options: &spec.options })?)
    }

    /// The noise of a method's steps; absent for a method without that choice.
    pub fn variance(spec: &SolverSpec) -> Variance {
        spec.variance.unwrap_or(Variance::Eta(0.0))
    }

    /// What carries images to latents on the reversed grid of a method, by its convention.
    ///
    /// # Errors
    /// No iterations.
    pub fn inverse(spec: &SolverSpec, method: Arc<dyn Everywhere>) -> Result<Arc<dyn Everywhere>> {
        let iterations = match spec.inversion {
            Inversion::Current => return Ok(method),
            Inversion::Next => 1,
            Inversion::FixedPoint(iterations) => iterations,
        };
        Ok(Arc::new(Inverse::new(method, iterations)?))
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
            let section = Registry::section(&kind);
            let solver = registry.build(&section, &schedule, 10).unwrap();
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
