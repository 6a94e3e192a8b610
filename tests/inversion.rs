//! Inversion: what a method decodes, the reversed grid encodes, by each convention.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;

use approx::assert_relative_eq;
use ddim::{
    backends::array::Array,
    core::{Affine, Denoiser, End, Error, Grid, Level, NoNoise, Solver, Tau, integrate},
    exact::{Component, Gaussian, Mixture},
    solvers::{Ddim, Euler, Heun, Inverse, Variance},
};
use support::{ClosedForm, fill, grid, linear, max_abs_diff};

fn ddim() -> Arc<dyn Solver<Array>> {
    Arc::new(Ddim { variance: Variance::Eta(0.0) })
}

fn fixed_point(iterations: usize) -> Arc<dyn Solver<Array>> {
    Arc::new(Inverse::new(ddim(), iterations).unwrap())
}

fn end(
    solver: &dyn Solver<Array>,
    model: &dyn Denoiser<State = Array>,
    grid: &Grid,
    x: &Array,
) -> Array {
    integrate(solver, model, &NoNoise, grid, x.clone(), |_, _, _| Ok(())).unwrap().x
}

/// Four clusters in eight dimensions.
fn mixture() -> Mixture {
    let component = |k: usize| Component {
        weight: 1.0,
        mean: fill::unit(&format!("inversion/mean{k}"), 8),
        std: 0.15,
    };
    Mixture::new((0..4).map(component).collect()).unwrap()
}

/// Draws of that mixture.
fn clean() -> Array {
    let noise = fill::normal("inversion/x0", 64 * 8);
    Array::from_shape_fn(vec![64, 8], |at| {
        fill::unit(&format!("inversion/mean{}", at[0] % 4), 8)[at[1]]
            + 0.15 * noise[at[0] * 8 + at[1]]
    })
}

/// The error of a round trip on [0, 1], and the spread of the latents.
fn round_trip(encoder: &dyn Solver<Array>, grid: &Grid) -> (f64, f64) {
    let (model, x) = (mixture(), clean());
    let z = end(encoder, &model, &grid.clone().reversed(), &x);
    let back = end(&*ddim(), &model, grid, &z);
    let mean = |values: &Array| values.mean().unwrap();
    let spread = (mean(&z.mapv(|v| v * v)) - mean(&z).powi(2)).sqrt();
    (mean(&(back - x).mapv(|v| v * v)) / 4.0, spread)
}

#[test]
fn enough_iterations_undo_the_method_to_rounding() {
    let grid = grid(&Tau::OFFICIAL_QUAD, 50);
    let sigma_squared: Arc<dyn Solver<Array>> = Arc::new(Euler::SigmaSquared);
    for method in [ddim(), sigma_squared] {
        let models: [&dyn Denoiser<State = Array>; 3] =
            [&ClosedForm, &mixture(), &Gaussian { mean: 0.3, std: 0.5 }];
        for model in models {
            let mut errors = vec![];
            for iterations in [1, 3, 10, 40] {
                let inverse = Inverse::new(Arc::clone(&method), iterations).unwrap();
                let z = end(&inverse, model, &grid.clone().reversed(), &clean());
                errors.push(max_abs_diff(&end(&*method, model, &grid, &z), &clean()));
            }
            assert!(errors.is_sorted_by(|a, b| b < a), "{}: {errors:?}", method.name());
            assert!(errors[3] < 1e-13, "{}: {errors:?}", method.name());
        }
    }
}

#[test]
fn the_other_conventions_err_by_one_over_s() {
    // To the first level: the step from there to the clean end is the same for every S.
    for (name, encoder) in [("current", ddim()), ("next", fixed_point(1))] {
        let rms = |steps| {
            let grid =
                Grid::new(&linear(), &Tau::OFFICIAL_UNIFORM, steps, End::FirstLevel).unwrap();
            round_trip(&*encoder, &grid).0.sqrt()
        };
        let slopes: Vec<f64> =
            [125, 250, 500].iter().map(|&s| (rms(s) / rms(2 * s)).log2()).collect();
        assert!(slopes.iter().all(|slope| (0.9..1.1).contains(slope)), "{name}: {slopes:?}");
    }
}

/// Errors of a round trip by convention, and the spread of the latents, which should be 1.
///
/// With few steps, what reconstructs best is the worst encoding: its latents spread twice as far
/// as the noise. With 1000 steps all three are near it.
#[test]
fn a_low_error_is_not_a_good_encoding() {
    let held = |steps, encoder: Arc<dyn Solver<Array>>, error: f64, spread: f64| {
        let found = round_trip(&*encoder, &grid(&Tau::OFFICIAL_UNIFORM, steps));
        assert_relative_eq!(found.0, error, max_relative = 5e-3);
        assert_relative_eq!(found.1, spread, max_relative = 5e-3);
    };
    held(10, ddim(), 3.24e-3, 0.503);
    held(10, fixed_point(1), 3.07e-3, 0.678);
    held(10, fixed_point(3), 1.15e-3, 1.156);
    held(10, fixed_point(10), 6.68e-5, 1.867);
    held(100, ddim(), 1.17e-4, 0.906);
    held(100, fixed_point(1), 8.78e-5, 0.937);
    held(100, fixed_point(3), 5.25e-9, 1.052);
    held(1000, ddim(), 2.09e-6, 0.967);
    held(1000, fixed_point(1), 9.70e-7, 0.974);
    held(1000, fixed_point(3), 5.21e-15, 0.986);
}

#[test]
fn the_factors_of_a_one_call_method_are_its_step() {
    let (from, to) = (Level { t: 9.0, alpha_bar: 0.25 }, Level { t: 3.0, alpha_bar: 0.64 });
    let step = Grid::from_levels(vec![from, to]).unwrap();
    let x = clean();
    let at = from.into();
    let methods: [Arc<dyn Solver<Array>>; 3] =
        [ddim(), Arc::new(Euler::Sigma), Arc::new(Euler::SigmaSquared)];
    for method in methods {
        let Affine { a, h } = method.affine(step.steps().next().unwrap()).unwrap();
        let expected = &x * a + ClosedForm.predict(&x, at).unwrap() * h;
        let found = end(&*method, &ClosedForm, &step, &x);
        assert!(max_abs_diff(&found, &expected) < 1e-15, "{}", method.name());
    }
}

#[test]
fn what_cannot_be_inverted_says_so() {
    let back = grid(&Tau::OFFICIAL_UNIFORM, 10).reversed();
    let refusal = |method: Arc<dyn Solver<Array>>, grid: &Grid| {
        let inverse = Inverse::new(method, 2).unwrap();
        integrate(&inverse, &ClosedForm, &NoNoise, grid, clean(), |_, _, _| Ok(())).unwrap_err()
    };
    let error = refusal(Arc::new(Heun), &back);
    assert!(matches!(&error, Error::NotOneCall { solver: "heun" }), "{error}");
    let noisy = || Arc::new(Ddim { variance: Variance::Eta(0.5) });
    let error = refusal(noisy(), &back);
    assert!(matches!(error, Error::StochasticReversed { solver: "ddim" }), "{error}");
    let error = refusal(noisy(), &back.clone().reversed());
    assert!(matches!(error, Error::NotOneCall { solver: "ddim" }), "{error}");
    // Solved towards the clean end, Eq. (15) would divide by its sigma.
    let error = refusal(Arc::new(Euler::SigmaSquared), &back.reversed());
    assert!(matches!(error, Error::CleanStart { .. }), "{error}");
    assert!(Inverse::new(ddim(), 0).is_err());
}
