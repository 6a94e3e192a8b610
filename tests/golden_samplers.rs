//! Every solver against the peers' own samplers, each as a manifest builds it: by name and options,
//! through the registry.
//!
//! The numbers were made by ermongroup/ddim (f32) and diffusers 0.42.1 (f64) on a closed-form
//! model with replayed noise; tests/golden/README.md says how. The tolerances are those that
//! independent f64 code reaches; none is to be loosened.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use ddim::{
    backends::array::Array,
    core::{ClipX0, Denoiser, End, Eval, Grid, Level, Schedule, Solver, Tau, count_nfe, integrate},
    run::registry::Everywhere,
};
use support::{
    ClosedForm, ReplayedNoise, golden_json, golden_tensor, grid, linear, max_abs_diff,
    solvers::{inverse, solver},
};

fn run(
    solver: &dyn Solver<Array>,
    model: &dyn Denoiser<State = Array>,
    grid: &Grid,
    x: Array,
) -> (Array, u64) {
    let outcome = integrate(solver, model, &ReplayedNoise, grid, x, |_, _, _| Ok(())).unwrap();
    (outcome.x, outcome.nfe)
}

/// Largest error over all cases, each held to its tolerance.
fn hold(file: &str, case: &str, x: &Array, tolerance: f64) {
    let error = max_abs_diff(x, &golden_tensor(file, case));
    assert!(error <= tolerance, "{case}: off by {error:.2e}, tolerance {tolerance:.0e}");
}

#[test]
fn the_official_samplers_are_reproduced_for_every_eta_tau_and_s() {
    let file = "samplers_official.safetensors";
    let x_t = golden_tensor(file, "x_T");
    // The official code rounds the betas to f32; the tolerances presume it.
    let schedule = Schedule::linear_f32(1e-4, 0.02, 1000).unwrap();
    for (name, tau) in [("uniform", Tau::OFFICIAL_UNIFORM), ("quad", Tau::OFFICIAL_QUAD)] {
        for steps in [10, 20, 50, 100, 1000] {
            let grid = Grid::new(&schedule, &tau, steps, End::Clean).unwrap();
            for eta in [0.0, 0.2, 0.5, 1.0] {
                let tolerance = if eta > 0.0 { 2e-5 } else { 3e-6 };
                let case = format!("official/{name}/S{steps}/eta{eta:.1}");
                for kind in ["ddim", "ddpm"] {
                    let method = solver(&format!("kind = \"{kind}\", eta = {eta}"));
                    let (x, _) = run(&*method, &ClosedForm, &grid, x_t.clone());
                    hold(file, &case, &x, tolerance);
                }
            }
            // The official sigma-hat sampler clips x0; the eta rows do not.
            let model = ClipX0 { inner: ClosedForm, low: -1.0, high: 1.0 };
            let case = format!("official/{name}/S{steps}/sigma-hat");
            for kind in ["ddim", "ddpm"] {
                let method = solver(&format!("kind = \"{kind}\", variance = \"sigma-hat\""));
                let (x, _) = run(&*method, &model, &grid, x_t.clone());
                hold(file, &case, &x, 1e-4);
            }
        }
    }
}

const DIFFUSERS: &str = "samplers_diffusers.safetensors";
const MULTISTEP: &str = "samplers_multistep.safetensors";
const LOWERED: &str = "samplers_lowered.safetensors";

/// Runs one solver on one spacing at S = 10, 20, 50 and holds values and model calls.
fn hold_diffusers(name: &str, words: &str, tau: &Tau, start: fn(Level) -> f64, tolerance: f64) {
    let expected = golden_json("samplers_diffusers.json");
    for steps in [10, 20, 50] {
        let grid = grid(tau, steps);
        let x_t = golden_tensor(DIFFUSERS, "x_T").mapv(|z| start(grid.first()) * z);
        let (x, calls) = run(&*solver(words), &ClosedForm, &grid, x_t);
        hold(DIFFUSERS, &format!("diffusers/{name}/S{steps}"), &x, tolerance);
        assert_eq!(expected["cases"][format!("{name}/S{steps}")]["model_calls"], calls, "{name}");
    }
}

#[test]
fn ddim_agrees_with_diffusers() {
    hold_diffusers("ddim-leading", r#"kind = "ddim""#, &Tau::LEADING, |_| 1.0, 2e-6);
}

#[test]
fn ddpm_with_the_posterior_variance_agrees_with_diffusers() {
    hold_diffusers("ddpm-fixed_small", r#"kind = "ddpm""#, &Tau::LEADING, |_| 1.0, 1e-5);
}

#[test]
fn heun_agrees_with_diffusers_on_both_of_its_spacings() {
    // Its cases start at x-bar = sigma_max x_T, which is x = std x_T.
    let start = |level: Level| level.std();
    let heun = r#"kind = "heun""#;
    hold_diffusers("heun-linspace", heun, &Tau::LINSPACE_REAL, start, 3e-6);
    hold_diffusers("heun-karras", heun, &Tau::karras(7.0), start, 3e-6);
}

#[test]
fn dpm_solver_pp_2m_agrees_with_diffusers() {
    let words = r#"kind = "dpm-solver++2m""#;
    hold_diffusers("dpmsolver++2m-linspace", words, &Tau::LINSPACE_OPEN, |_| 1.0, 5e-6);
}

#[test]
fn plms_agrees_with_diffusers() {
    hold_diffusers("pndm-leading", r#"kind = "plms""#, &Tau::LEADING, |_| 1.0, 5e-6);
}

#[test]
fn unipc_agrees_with_diffusers() {
    let words = r#"kind = "unipc-bh2""#;
    hold_diffusers("unipc-bh2-linspace", words, &Tau::LINSPACE_OPEN, |_| 1.0, 5e-7);
    // To the first level, where the peer keeps its order up to the last step.
    for (name, words) in [
        ("unipc-bh1", r#"kind = "unipc-bh1", order = 2"#),
        ("unipc3-bh2", r#"kind = "unipc-bh2", order = 3"#),
    ] {
        for steps in [10, 20, 50] {
            let grid = Grid::new(&linear(), &Tau::LINSPACE_OPEN, steps, End::FirstLevel).unwrap();
            let x_t = golden_tensor(DIFFUSERS, "x_T");
            let (x, calls) = run(&*solver(words), &ClosedForm, &grid, x_t);
            hold(MULTISTEP, &format!("diffusers/{name}-first-level/S{steps}"), &x, 3e-6);
            assert_eq!(calls, steps as u64);
        }
    }
}

#[test]
fn deis_agrees_with_diffusers() {
    // Its default lowers the last step of fewer than 15.
    let deis = solver(r#"kind = "deis", order = 2, lower_order_final = true"#);
    let expected = golden_json("samplers_diffusers.json");
    for steps in [10, 20, 50] {
        let grid = Grid::new(&linear(), &Tau::LINSPACE_OPEN, steps, End::FirstLevel).unwrap();
        let (x, calls) = run(&*deis, &ClosedForm, &grid, golden_tensor(DIFFUSERS, "x_T"));
        hold(DIFFUSERS, &format!("diffusers/deis-linspace/S{steps}"), &x, 5e-6);
        hold(LOWERED, &format!("deis2-first-level/S{steps}"), &x, 5e-6);
        assert_eq!(expected["cases"][format!("deis-linspace/S{steps}")]["model_calls"], calls);
    }
}

/// The same from x_T under the peers' default for the last steps, and how far off the other way is.
#[test]
fn multistep_methods_lower_their_last_steps_as_diffusers_does_by_default() {
    let cases = [
        ("unipc3-bh2", r#"kind = "unipc-bh2", order = 3"#, End::Clean, 3e-6),
        ("unipc3-bh1", r#"kind = "unipc-bh1", order = 3"#, End::Clean, 3e-6),
        ("unipc2-bh2-first-level", r#"kind = "unipc-bh2""#, End::FirstLevel, 3e-6),
        ("unipc3-bh2-first-level", r#"kind = "unipc-bh2", order = 3"#, End::FirstLevel, 3e-6),
        ("dpmsolver++2m-first-level", r#"kind = "dpm-solver++2m""#, End::FirstLevel, 5e-6),
        ("sde-dpmsolver++2m-first-level", r#"kind = "sde-dpm-solver++2m""#, End::FirstLevel, 5e-6),
    ];
    for (name, words, end, tolerance) in cases {
        for steps in [10, 20, 50] {
            let grid = Grid::new(&linear(), &Tau::LINSPACE_OPEN, steps, end).unwrap();
            let run = |words: &str| {
                run(&*solver(words), &ClosedForm, &grid, golden_tensor(DIFFUSERS, "x_T")).0
            };
            let found = run(&format!("{words}, lower_order_final = true"));
            hold(LOWERED, &format!("{name}/S{steps}"), &found, tolerance);
            let moved = max_abs_diff(&found, &run(words));
            // UniPC lowers them at any S, the others of fewer than 15 steps.
            assert_eq!(moved > 1e-3, name.starts_with("unipc") || steps < 15, "{name}: {moved}");
        }
    }
}

#[test]
fn the_lowered_end_of_deis_3_is_deis_2_and_then_ddim() {
    let grid = Grid::new(&linear(), &Tau::LINSPACE_OPEN, 10, End::FirstLevel).unwrap();
    let x_t = golden_tensor(DIFFUSERS, "x_T");
    let lowered = solver(r#"kind = "deis", order = 3, lower_order_final = true"#);
    let (found, calls) = run(&*lowered, &ClosedForm, &grid, x_t.clone());
    let by_steps_left =
        [r#"kind = "euler""#, r#"kind = "deis", order = 2"#, r#"kind = "deis""#].map(solver);
    let mut eval = Eval::new(&ClosedForm, &ReplayedNoise, 2);
    let mut x = x_t;
    for step in grid.steps() {
        let method: &dyn Solver<Array> = &*by_steps_left[step.left.min(2)];
        x = method.step(&mut eval, &x, step).unwrap();
    }
    assert_eq!(calls, eval.nfe());
    assert!(max_abs_diff(&found, &x) < 1e-13);
}

#[test]
fn sde_dpm_solver_pp_2m_agrees_with_diffusers() {
    let sde = solver(r#"kind = "sde-dpm-solver++2m""#);
    for steps in [10, 20, 50] {
        let grid = grid(&Tau::LINSPACE_OPEN, steps);
        let x_t = golden_tensor(DIFFUSERS, "x_T");
        let (x, calls) = run(&*sde, &ClosedForm, &grid, x_t);
        hold(MULTISTEP, &format!("diffusers/sde-dpmsolver++2m-linspace/S{steps}"), &x, 5e-7);
        assert_eq!(calls, steps as u64);
    }
}

#[test]
fn a_reversed_grid_with_the_next_timestep_is_diffusers_inverse_scheduler() {
    let next = inverse(r#"kind = "ddim", inversion = "next""#);
    for steps in [10, 20, 50] {
        let grid = grid(&Tau::LEADING, steps).reversed();
        let (x, calls) = run(&*next, &ClosedForm, &grid, golden_tensor(DIFFUSERS, "x_T"));
        hold(DIFFUSERS, &format!("diffusers/ddim-inverse-leading/S{steps}"), &x, 5e-6);
        assert_eq!(calls, steps as u64);
    }
}

/// Costs on ten steps: the calls from noise to the clean end, those back, and the predictions kept.
#[test]
fn the_exact_costs_of_each_method_are_pinned() {
    /// Runs a method both ways, and on nothing: the three must agree.
    fn cost(solver: &dyn Everywhere) -> (u64, Option<u64>, usize) {
        let grid = grid(&Tau::LINSPACE, 10);
        let calls = |grid: &Grid| {
            let x = golden_tensor(DIFFUSERS, "x_T");
            let on_arrays: &dyn Solver<Array> = solver;
            let outcome =
                integrate(on_arrays, &ClosedForm, &ReplayedNoise, grid, x, |_, _, _| Ok(()));
            let nfe = outcome.ok()?.nfe;
            assert_eq!(count_nfe(solver, grid).unwrap(), nfe);
            Some(nfe)
        };
        (calls(&grid).unwrap(), calls(&grid.reversed()), solver.memory())
    }
    let cost_of = |words: &str| cost(&*solver(words));
    let kind = |name: &str| cost_of(&format!("kind = \"{name}\""));
    let order = |name: &str, order: u32| cost_of(&format!("kind = \"{name}\", order = {order}"));

    assert_eq!(kind("ddim"), (10, Some(10), 0));
    assert_eq!(cost_of(r#"kind = "ddim", eta = 1"#), (10, None, 0));
    assert_eq!(cost_of(r#"kind = "ddpm", variance = "sigma-hat""#), (10, None, 0));
    assert_eq!(kind("euler"), (10, Some(10), 0));
    let next = inverse(r#"kind = "euler", inversion = "next""#);
    assert_eq!(cost(&*next), (10, Some(10), 0));
    let three = inverse(r#"kind = "euler", inversion = "fixed-point", iterations = 3"#);
    assert_eq!(cost(&*three), (30, Some(30), 0));
    assert_eq!(kind("euler-sigma2"), (10, None, 0));
    assert_eq!(kind("heun"), (19, Some(20), 0));
    assert_eq!(cost_of(r#"kind = "edm", churn = 0"#), (19, Some(20), 0));
    assert_eq!(cost_of(r#"kind = "edm", churn = 4"#), (19, None, 0));
    assert_eq!(kind("rk4"), (37, Some(40), 0));
    assert_eq!(order("adams-bashforth", 2), (10, Some(10), 1));
    assert_eq!(order("adams-bashforth", 3), (11, Some(11), 2));
    assert_eq!(order("adams-bashforth", 4), (16, Some(16), 3));
    assert_eq!(kind("plms"), (11, Some(11), 3));
    assert_eq!(kind("dpm-solver++2m"), (10, Some(10), 1));
    assert_eq!(kind("sde-dpm-solver++2m"), (10, None, 1));
    assert_eq!(order("dpm-solver", 1), (10, Some(10), 0));
    assert_eq!(order("dpm-solver", 2), (19, Some(19), 0));
    assert_eq!(order("dpm-solver", 3), (28, Some(28), 0));
    assert_eq!(order("deis", 2), (10, Some(10), 1));
    assert_eq!(order("deis", 3), (11, Some(11), 2));
    assert_eq!(order("unipc-bh2", 2), (10, Some(10), 2));
    assert_eq!(order("unipc-bh2", 3), (10, Some(10), 3));
    // Where nothing fails the tolerance: seven calls a step and one more at the clean end.
    let loose = r#"kind = "dormand-prince", rtol = 1e9, atol = 1e9"#;
    assert_eq!(cost_of(loose), (71, Some(70), 0));
}
