//! Every solver against the peers' own samplers.
//!
//! The numbers were made by ermongroup/ddim (f32) and diffusers 0.42.1 (f64) on a closed-form
//! model with replayed noise; tests/golden/README.md says how. The tolerances are those that
//! independent f64 code reaches; none is to be loosened.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::rc::Rc;

use ddim::{
    backends::array::Array,
    core::{
        ClipX0, Denoiser, End, Eval, Ghost, Grid, Level, Schedule, Solver, Tau, count_calls,
        integrate,
    },
    solvers::{
        AdamsBashforth, Churn, Ddim, Ddpm, Deis, DormandPrince, DpmSolver, DpmSolverPp2M, Edm,
        Euler, Heun, Inverse, Plms, Rk4, SdeDpmSolverPp2M, UniPc, UniPcB, Variance,
    },
};
use support::{ClosedForm, ReplayedNoise, golden_json, golden_tensor, grid, linear, max_abs_diff};

fn run(
    solver: &dyn Solver<Array>,
    model: &dyn Denoiser<State = Array>,
    grid: &Grid,
    x: Array,
) -> (Array, u64) {
    let outcome = integrate(solver, model, &ReplayedNoise, grid, x, |_, _, _| Ok(())).unwrap();
    (outcome.x, outcome.calls)
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
    for (name, tau) in [("uniform", Tau::OfficialUniform), ("quad", Tau::OfficialQuad)] {
        for steps in [10, 20, 50, 100, 1000] {
            let grid = Grid::new(&schedule, &tau, steps, End::Clean).unwrap();
            for eta in [0.0, 0.2, 0.5, 1.0] {
                let variance = Variance::Eta(eta);
                let tolerance = if eta > 0.0 { 2e-5 } else { 3e-6 };
                let case = format!("official/{name}/S{steps}/eta{eta:.1}");
                let (x, _) = run(&Ddim { variance }, &ClosedForm, &grid, x_t.clone());
                hold(file, &case, &x, tolerance);
                let (x, _) = run(&Ddpm { variance }, &ClosedForm, &grid, x_t.clone());
                hold(file, &case, &x, tolerance);
            }
            // The official sigma-hat sampler clips x0; the eta rows do not.
            let model = ClipX0 { inner: ClosedForm, low: -1.0, high: 1.0 };
            let variance = Variance::SigmaHat;
            let case = format!("official/{name}/S{steps}/sigma-hat");
            let (x, _) = run(&Ddpm { variance }, &model, &grid, x_t.clone());
            hold(file, &case, &x, 1e-4);
            let (x, _) = run(&Ddim { variance }, &model, &grid, x_t.clone());
            hold(file, &case, &x, 1e-4);
        }
    }
}

const DIFFUSERS: &str = "samplers_diffusers.safetensors";
const MULTISTEP: &str = "samplers_multistep.safetensors";
const LOWERED: &str = "samplers_lowered.safetensors";

/// Runs one solver on one spacing at S = 10, 20, 50 and holds values, labels and calls.
fn hold_diffusers(
    name: &str,
    solver: &dyn Solver<Array>,
    tau: &Tau,
    start: fn(Level) -> f64,
    tolerance: f64,
) {
    let expected = golden_json("samplers_diffusers.json");
    for steps in [10, 20, 50] {
        let grid = grid(tau, steps);
        let x_t = golden_tensor(DIFFUSERS, "x_T").mapv(|z| start(grid.first()) * z);
        let (x, calls) = run(solver, &ClosedForm, &grid, x_t);
        hold(DIFFUSERS, &format!("diffusers/{name}/S{steps}"), &x, tolerance);
        assert_eq!(expected["cases"][format!("{name}/S{steps}")]["model_calls"], calls, "{name}");
    }
}

#[test]
fn ddim_agrees_with_diffusers() {
    let ddim = Ddim { variance: Variance::Eta(0.0) };
    hold_diffusers("ddim-leading", &ddim, &Tau::Leading, |_| 1.0, 2e-6);
}

#[test]
fn ddpm_with_the_posterior_variance_agrees_with_diffusers() {
    let ddpm = Ddpm { variance: Variance::Eta(1.0) };
    hold_diffusers("ddpm-fixed_small", &ddpm, &Tau::Leading, |_| 1.0, 1e-5);
}

#[test]
fn heun_agrees_with_diffusers_on_both_of_its_spacings() {
    // Its cases start at x-bar = sigma_max x_T, which is x = noise x_T.
    let start = |level: Level| level.noise();
    hold_diffusers("heun-linspace", &Heun, &Tau::LinspaceReal, start, 3e-6);
    hold_diffusers("heun-karras", &Heun, &Tau::Karras { rho: 7.0 }, start, 3e-6);
}

#[test]
fn dpm_solver_pp_2m_agrees_with_diffusers() {
    hold_diffusers(
        "dpmsolver++2m-linspace",
        &DpmSolverPp2M::default(),
        &Tau::LinspaceOpen,
        |_| 1.0,
        5e-6,
    );
}

#[test]
fn plms_agrees_with_diffusers() {
    hold_diffusers("pndm-leading", &Plms, &Tau::Leading, |_| 1.0, 5e-6);
}

#[test]
fn unipc_agrees_with_diffusers() {
    let unipc = UniPc::new(2, UniPcB::Bh2).unwrap();
    hold_diffusers("unipc-bh2-linspace", &unipc, &Tau::LinspaceOpen, |_| 1.0, 5e-7);
    // To the first level, where the peer keeps its order up to the last step.
    for (name, p, b) in [("unipc-bh1", 2, UniPcB::Bh1), ("unipc3-bh2", 3, UniPcB::Bh2)] {
        let unipc = UniPc::new(p, b).unwrap();
        for steps in [10, 20, 50] {
            let grid = Grid::new(&linear(), &Tau::LinspaceOpen, steps, End::FirstLevel).unwrap();
            let (x, calls) = run(&unipc, &ClosedForm, &grid, golden_tensor(DIFFUSERS, "x_T"));
            hold(MULTISTEP, &format!("diffusers/{name}-first-level/S{steps}"), &x, 3e-6);
            assert_eq!(calls, steps as u64);
        }
    }
}

#[test]
fn deis_agrees_with_diffusers() {
    // Its default lowers the last step of fewer than 15.
    let deis = Deis::new(2).unwrap().lowered();
    let expected = golden_json("samplers_diffusers.json");
    for steps in [10, 20, 50] {
        let grid = Grid::new(&linear(), &Tau::LinspaceOpen, steps, End::FirstLevel).unwrap();
        let (x, calls) = run(&deis, &ClosedForm, &grid, golden_tensor(DIFFUSERS, "x_T"));
        hold(DIFFUSERS, &format!("diffusers/deis-linspace/S{steps}"), &x, 5e-6);
        hold(LOWERED, &format!("deis2-first-level/S{steps}"), &x, 5e-6);
        assert_eq!(expected["cases"][format!("deis-linspace/S{steps}")]["model_calls"], calls);
    }
}

/// The same from x_T under the peers' default for the last steps, and how far off the other way is.
#[test]
fn multistep_methods_lower_their_last_steps_as_diffusers_does_by_default() {
    type Method<'a> = &'a dyn Solver<Array>;
    let unipc = |p, b| UniPc::new(p, b).unwrap();
    let pp = |lower_order_final| DpmSolverPp2M { lower_order_final };
    let sde = |lower_order_final| SdeDpmSolverPp2M { lower_order_final };
    let (bh1, bh2) = (UniPcB::Bh1, UniPcB::Bh2);
    let cases: [(&str, Method<'_>, Method<'_>, End, f64); 6] = [
        ("unipc3-bh2", &unipc(3, bh2).lowered(), &unipc(3, bh2), End::Clean, 3e-6),
        ("unipc3-bh1", &unipc(3, bh1).lowered(), &unipc(3, bh1), End::Clean, 3e-6),
        ("unipc2-bh2-first-level", &unipc(2, bh2).lowered(), &unipc(2, bh2), End::FirstLevel, 3e-6),
        ("unipc3-bh2-first-level", &unipc(3, bh2).lowered(), &unipc(3, bh2), End::FirstLevel, 3e-6),
        ("dpmsolver++2m-first-level", &pp(true), &pp(false), End::FirstLevel, 5e-6),
        ("sde-dpmsolver++2m-first-level", &sde(true), &sde(false), End::FirstLevel, 5e-6),
    ];
    for (name, lowered, full, end, tolerance) in cases {
        for steps in [10, 20, 50] {
            let grid = Grid::new(&linear(), &Tau::LinspaceOpen, steps, end).unwrap();
            let run = |solver| run(solver, &ClosedForm, &grid, golden_tensor(DIFFUSERS, "x_T")).0;
            let found = run(lowered);
            hold(LOWERED, &format!("{name}/S{steps}"), &found, tolerance);
            let moved = max_abs_diff(&found, &run(full));
            // UniPC lowers them at any S, the others of fewer than 15 steps.
            assert_eq!(moved > 1e-3, name.starts_with("unipc") || steps < 15, "{name}: {moved}");
        }
    }
}

#[test]
fn the_lowered_end_of_deis_3_is_deis_2_and_then_ddim() {
    let grid = Grid::new(&linear(), &Tau::LinspaceOpen, 10, End::FirstLevel).unwrap();
    let x_t = golden_tensor(DIFFUSERS, "x_T");
    let (found, calls) = run(&Deis::new(3).unwrap().lowered(), &ClosedForm, &grid, x_t.clone());
    let mut eval = Eval::new(&ClosedForm, &ReplayedNoise, 2);
    let mut x = x_t;
    for step in grid.steps() {
        x = match step.left {
            0 => Euler::Sigma.step(&mut eval, &x, step),
            1 => Deis::new(2).unwrap().step(&mut eval, &x, step),
            _ => Deis::new(3).unwrap().step(&mut eval, &x, step),
        }
        .unwrap();
    }
    assert_eq!(calls, eval.calls());
    assert!(max_abs_diff(&found, &x) < 1e-13);
}

#[test]
fn sde_dpm_solver_pp_2m_agrees_with_diffusers() {
    for steps in [10, 20, 50] {
        let grid = grid(&Tau::LinspaceOpen, steps);
        let x_t = golden_tensor(DIFFUSERS, "x_T");
        let (x, calls) = run(&SdeDpmSolverPp2M::default(), &ClosedForm, &grid, x_t);
        hold(MULTISTEP, &format!("diffusers/sde-dpmsolver++2m-linspace/S{steps}"), &x, 5e-7);
        assert_eq!(calls, steps as u64);
    }
}

#[test]
fn a_reversed_grid_with_the_next_label_is_diffusers_inverse_scheduler() {
    let next = Inverse::new(Rc::new(Ddim { variance: Variance::Eta(0.0) }), 1).unwrap();
    for steps in [10, 20, 50] {
        let grid = grid(&Tau::Leading, steps).reversed();
        let (x, calls) = run(&next, &ClosedForm, &grid, golden_tensor(DIFFUSERS, "x_T"));
        hold(DIFFUSERS, &format!("diffusers/ddim-inverse-leading/S{steps}"), &x, 5e-6);
        assert_eq!(calls, steps as u64);
    }
}

/// Costs on ten steps: the calls from noise to the clean end, those back, and the predictions kept.
#[test]
fn the_exact_costs_of_each_method_are_pinned() {
    /// Runs a method both ways, and on nothing: the three must agree.
    fn cost(solver: &(impl Solver<Array> + Solver<Ghost>)) -> (u64, Option<u64>, usize) {
        let grid = grid(&Tau::Linspace, 10);
        let calls = |grid: &Grid| {
            let x = golden_tensor(DIFFUSERS, "x_T");
            let calls = integrate(solver, &ClosedForm, &ReplayedNoise, grid, x, |_, _, _| Ok(()))
                .ok()?
                .calls;
            assert_eq!(count_calls(solver, grid).unwrap(), calls);
            Some(calls)
        };
        let memory = Solver::<Array>::memory(solver);
        (calls(&grid).unwrap(), calls(&grid.reversed()), memory)
    }
    let ab = |order| AdamsBashforth::new(order, linear()).unwrap();
    let deis = |order| Deis::new(order).unwrap();
    let dpm = |order| DpmSolver::new(order, linear()).unwrap();
    let unipc = |p| UniPc::new(p, UniPcB::Bh2).unwrap();
    let churn = |amount| Churn { amount, ..Churn::default() };
    let edm = |amount| Edm::new(churn(amount), 10, linear()).unwrap();

    assert_eq!(cost(&Ddim { variance: Variance::Eta(0.0) }), (10, Some(10), 0));
    assert_eq!(cost(&Ddim { variance: Variance::Eta(1.0) }), (10, None, 0));
    assert_eq!(cost(&Ddpm { variance: Variance::SigmaHat }), (10, None, 0));
    assert_eq!(cost(&Euler::Sigma), (10, Some(10), 0));
    let inverse = |iterations| Inverse::new(Rc::new(Euler::Sigma), iterations).unwrap();
    assert_eq!(cost(&inverse(1)), (10, Some(10), 0));
    assert_eq!(cost(&inverse(3)), (30, Some(30), 0));
    assert_eq!(cost(&Euler::SigmaSquared), (10, None, 0));
    assert_eq!(cost(&Heun), (19, Some(20), 0));
    assert_eq!(cost(&edm(0.0)), (19, Some(20), 0));
    assert_eq!(cost(&edm(4.0)), (19, None, 0));
    assert_eq!(cost(&Rk4 { schedule: linear() }), (37, Some(40), 0));
    assert_eq!(cost(&ab(2)), (10, Some(10), 1));
    assert_eq!(cost(&ab(3)), (11, Some(11), 2));
    assert_eq!(cost(&ab(4)), (16, Some(16), 3));
    assert_eq!(cost(&Plms), (11, Some(11), 3));
    assert_eq!(cost(&DpmSolverPp2M::default()), (10, Some(10), 1));
    assert_eq!(cost(&SdeDpmSolverPp2M::default()), (10, None, 1));
    assert_eq!(cost(&dpm(1)), (10, Some(10), 0));
    assert_eq!(cost(&dpm(2)), (19, Some(19), 0));
    assert_eq!(cost(&dpm(3)), (28, Some(28), 0));
    assert_eq!(cost(&deis(2)), (10, Some(10), 1));
    assert_eq!(cost(&deis(3)), (11, Some(11), 2));
    assert_eq!(cost(&unipc(2)), (10, Some(10), 2));
    assert_eq!(cost(&unipc(3)), (10, Some(10), 3));
    // Where nothing fails the tolerance: seven calls a step and one more at the clean end.
    let loose = DormandPrince::new(1e9, 1e9, linear()).unwrap();
    assert_eq!(cost(&loose), (71, Some(70), 0));
}
