//! A solver of one's own: `cargo run --release --example own_solver -- run examples/own_solver.toml`

use ddim::core::{Eval, Kind, Level, Result, Schedule, Solver, State, Step};
use ddim::run::registry::Registry;

/// The midpoint rule in sigma on x-bar = x / sqrt(alpha_bar): order 2, two calls a step.
pub struct Midpoint(Schedule);

fn euler<S: State>(x: &S, d: &S, from: Level, to: Level) -> Result<S> {
    let h = to.signal() * (to.sigma() - from.sigma());
    S::lincomb(&[(to.signal() / from.signal(), x), (h, d)])
}

impl<S: State> Solver<S> for Midpoint {
    fn name(&self) -> &'static str {
        "midpoint"
    }

    fn kind(&self) -> Kind {
        Kind::Deterministic { order: 2 }
    }

    fn step(&self, eval: &mut Eval<'_, S>, x: &S, Step { from, to, .. }: Step) -> Result<S> {
        let middle = self.0.level_at_sigma(f64::midpoint(from.sigma(), to.sigma()))?;
        let half = euler(x, &eval.eps(x, from)?, from, middle)?;
        euler(x, &eval.eps(&half, middle)?, from, to)
    }
}

/// Makes it known to manifests as `midpoint`.
pub fn register(registry: &mut Registry) {
    registry.add("midpoint", &[], |recipe| Ok(Midpoint(recipe.schedule.clone())));
}

fn main() -> std::process::ExitCode {
    let mut registry = Registry::shipped();
    register(&mut registry);
    ddim::cli::main_with(&registry)
}
