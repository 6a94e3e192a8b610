//! Orders of convergence, of every solver that a registry has.
//!
//! Measured between two positive noise levels, towards the data and away from it, as the slope of
//! log error against log S. To the clean end every method takes a first-order last step and shows
//! a lower slope although its code is right.

use std::sync::Arc;

use ddim::{
    backends::array::Array,
    core::{Denoiser, Grid, Level, NoNoise, Solver, integrate},
    plan::SolverSpec,
    run::registry::{Everywhere, Registry},
};

use super::{fill, linear};

/// A solver and the S that its order is read from.
pub struct Case {
    /// The kind and the options that are not its defaults.
    pub name: String,
    /// What is measured.
    pub solver: Arc<dyn Everywhere>,
    /// Where it is measured.
    pub steps: [usize; 4],
    /// How far above its order the slope may lie, beyond the 0.2 of all.
    pub above: f64,
}

const USUAL: [usize; 4] = [64, 128, 256, 512];

/// Every deterministic method of a registry, in every order that it takes.
///
/// A new entry needs no line here: what stands here is why some methods are measured elsewhere.
pub fn cases(registry: &Registry) -> Vec<Case> {
    let shipped = Registry::shipped().kinds();
    let mut cases = vec![];
    for kind in registry.kinds() {
        let defaults = Registry::section(&kind);
        let orders: Vec<Option<f64>> = if defaults.options.contains_key("order") {
            (1..10).map(|order| Some(f64::from(order))).collect()
        } else {
            vec![None]
        };
        for order in orders {
            let mut section = defaults.clone();
            section.options.extend(order.map(|order| ("order".to_owned(), order)));
            let mut set = |key: &str, value| *section.options.get_mut(key).unwrap() = value;
            let (steps, above) = match (kind.name.as_str(), order) {
                // On the Gaussian its slope still rises at the usual S: 2.2 at 64, 2.9 at 512.
                ("deis", Some(3.0)) => ([256, 512, 1024, 2048], 0.0),
                // The first steps bound the order by 3, but at sigma = 10 their error is small:
                // towards the data these S show the order of the other steps, 4, as well.
                ("unipc-bh1" | "unipc-bh2", Some(3.0)) => (USUAL, 1.5),
                // Within a tolerance that nothing fails: one internal step for every step of the
                // grid. S is coarse to stay above rounding, and there the next term of the error
                // shows as well.
                ("dormand-prince", _) => {
                    set("rtol", 1e9);
                    set("atol", 1e9);
                    ([8, 16, 32, 64], 2.5)
                }
                // With noise they have no order.
                ("gddim" | "euler-maruyama", _) => {
                    set("lambda", 0.0);
                    (USUAL, 0.0)
                }
                ("edm", _) => {
                    set("churn", 0.0);
                    (USUAL, 0.0)
                }
                // A solver of the reader's own may do better than it says: on the Gaussian, whose
                // ODE is linear, a leading error of even steps in log sigma may cancel.
                (name, _) if shipped.iter().all(|kind| kind.name != name) => (USUAL, 1.0),
                _ => (USUAL, 0.0),
            };
            // An order that the method does not have is refused.
            let Some(solver) = built(registry, &section, order.is_some()) else { continue };
            let name = order.map_or(kind.name.clone(), |order| format!("{} {order}", kind.name));
            if !solver.draws_noise() {
                cases.push(Case { name, solver, steps, above });
            }
        }
    }
    cases
}

fn built(
    registry: &Registry,
    section: &SolverSpec,
    refusable: bool,
) -> Option<Arc<dyn Everywhere>> {
    match registry.build(section, &linear(), 1) {
        Ok(solver) => Some(solver),
        Err(error) => {
            assert!(refusable, "{}: {error}", section.kind);
            None
        }
    }
}

/// S steps, evenly spaced in log sigma between two positive levels.
pub fn grid(from: Level, to: Level, steps: usize) -> Grid {
    let (a, b) = (from.sigma().ln(), to.sigma().ln());
    let levels = (0..=steps)
        .map(|i| Level::from_sigma(0.0, (a + (b - a) * i as f64 / steps as f64).exp()))
        .collect();
    Grid::from_levels(levels).unwrap()
}

/// Where a solver carries x.
pub fn end(
    solver: &dyn Solver<Array>,
    model: &dyn Denoiser<State = Array>,
    grid: &Grid,
    x: &Array,
) -> Array {
    integrate(solver, model, &NoNoise, grid, x.clone(), |_, _, _| Ok(())).unwrap().x
}

/// The root mean square of a difference.
pub fn rms(a: &Array, b: &Array) -> f64 {
    (a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64).sqrt()
}

/// Slope of the least-squares line through (log S, log error), sign changed.
fn slope(errors: &[(usize, f64)]) -> f64 {
    let points: Vec<(f64, f64)> =
        errors.iter().map(|&(steps, error)| ((steps as f64).ln(), error.ln())).collect();
    let n = points.len() as f64;
    let (mx, my) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let covariance: f64 = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum();
    let variance: f64 = points.iter().map(|p| (p.0 - mx).powi(2)).sum();
    -covariance / variance
}

/// Every case whose slope is not the order that its method states, both ways, on a model whose
/// solution is known.
pub fn problems(
    cases: &[Case],
    model: &dyn Denoiser<State = Array>,
    exact: &dyn Fn(&Array, Level, Level) -> Array,
) -> Vec<String> {
    let (noisy, clean) = (Level::from_sigma(0.0, 10.0), Level::from_sigma(0.0, 0.2));
    let mut problems = vec![];
    for (from, to) in [(noisy, clean), (clean, noisy)] {
        let x = Array::from_shape_vec(vec![8, 4], fill::normal("order/x", 32)).unwrap();
        let solution = exact(&x, from, to);
        for Case { name, solver, steps, above } in cases {
            let order = solver.order().unwrap();
            let error = |s| rms(&end(&**solver, model, &grid(from, to, s), &x), &solution);
            let errors: Vec<(usize, f64)> = steps.iter().map(|&s| (s, error(s))).collect();
            let slope = slope(&errors);
            if !(-0.2..0.2 + above).contains(&(slope - f64::from(order))) {
                let (from, to) = (from.sigma(), to.sigma());
                problems.push(format!(
                    "{name} from sigma {from} to {to}: slope {slope:.3}, order {order}, errors {errors:?}"
                ));
            }
        }
    }
    problems
}
