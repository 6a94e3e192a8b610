//! A solver of one's own: `cargo run --release --example own_solver -- run examples/own_solver.toml`

use ddim::core::{Eval, Method, Result, Schedule, Solver, State, Step};
use ddim::run::registry::Registry;

/// The midpoint rule in sigma on x-bar = x / sqrt(alpha_bar): order 2, two calls a step.
pub struct Midpoint(Schedule);

impl Method for Midpoint {
    fn name(&self) -> &'static str {
        "midpoint"
    }

    fn order(&self) -> Option<u32> {
        Some(2)
    }
}

impl<S: State> Solver<S> for Midpoint {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        let Step { from, to, .. } = step;
        let h = to.sigma() - from.sigma();
        let middle = self.0.level_at_sigma(from.sigma() + 0.5 * h)?;
        let d = eval.eps(x, from)?;
        let half = step.until(middle).advance(x, &[(0.5 * h, &d)])?;
        step.advance(x, &[(h, &eval.eps(&half, middle)?)])
    }
}

/// Makes it known to manifests as `midpoint`.
pub fn register(registry: &mut Registry) {
    registry.add("midpoint", &[], |settings| Ok(Midpoint(settings.schedule.clone())));
}

fn main() -> std::process::ExitCode {
    let mut registry = Registry::shipped();
    register(&mut registry);
    ddim::cli::main_with(&registry)
}
