//! Identities between methods: the same map written twice must agree.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use approx::assert_relative_eq;
use ddim::{
    backends::array::Array,
    core::{
        At, CLEAN, ClipX0, Denoiser, Draw, End, Error, Eval, FromV, FromX0, Grid, KeyedNoise, Kind,
        Level, NoNoise, Noise, Result, Solver, State, Step, Tau, integrate,
    },
    models::{
        gaussian::Gaussian,
        mixture::{Component, Mixture},
    },
    solvers::{Ddim, Ddpm, DpmSolverPp2M, Euler, Heun, Variance},
};
use support::{ClosedForm, fill, grid, linear, max_abs_diff};

const NOISE: KeyedNoise = KeyedNoise { seed: 3, first: 0 };

fn x_t(rows: usize) -> Array {
    let zeros = Array::zeros(vec![rows, 3, 4]);
    NOISE.draw(&zeros, Draw::Initial).unwrap()
}

fn run(solver: &dyn Solver<Array>, grid: &Grid) -> Array {
    integrate(solver, &ClosedForm, &NOISE, grid, x_t(4), |_, _, _| Ok(())).unwrap().x
}

fn ddim(eta: f64) -> Ddim {
    Ddim { variance: Variance::Eta(eta) }
}

#[test]
fn euler_in_sigma_is_ddim_without_noise() {
    for steps in [3, 20, 100] {
        let grid = grid(&Tau::OfficialQuad, steps);
        assert!(max_abs_diff(&run(&Euler::Sigma, &grid), &run(&ddim(0.0), &grid)) < 1e-12);
        let back = grid.reversed();
        assert!(max_abs_diff(&run(&Euler::Sigma, &back), &run(&ddim(0.0), &back)) < 1e-10);
    }
}

#[test]
fn the_posterior_form_is_the_eps_form_for_every_variance() {
    let grid = grid(&Tau::OfficialUniform, 20);
    for variance in [0.0, 0.2, 0.5, 1.0].map(Variance::Eta).into_iter().chain([Variance::SigmaHat])
    {
        let difference =
            max_abs_diff(&run(&Ddim { variance }, &grid), &run(&Ddpm { variance }, &grid));
        assert!(difference < 1e-12, "{variance:?}: {difference:.1e}");
    }
}

/// Ho et al. 2020, written from their paper: the posterior mean of Eq. (7) with x0 from Eq. (15),
/// and the eps form of algorithm 2.
struct HoEtAl {
    eps_form: bool,
    fixed_large: bool,
}

impl Solver<Array> for HoEtAl {
    fn name(&self) -> &'static str {
        "ho-et-al"
    }

    fn kind(&self) -> Kind {
        Kind::Stochastic
    }

    fn step(&self, eval: &mut Eval<'_, Array>, x: &Array, step: Step) -> Result<Array> {
        let (bar, bar_previous) = (step.from.alpha_bar, step.to.alpha_bar);
        let alpha = bar / bar_previous;
        let beta = 1.0 - alpha;
        let eps = eval.eps(x, step.from)?;
        let mean = if self.eps_form {
            (x - &eps * (beta / (1.0 - bar).sqrt())) / alpha.sqrt()
        } else {
            let x0 = (x - &eps * (1.0 - bar).sqrt()) / bar.sqrt();
            x0 * (bar_previous.sqrt() * beta / (1.0 - bar))
                + x * (alpha.sqrt() * (1.0 - bar_previous) / (1.0 - bar))
        };
        if step.to.is_clean() {
            return Ok(mean);
        }
        let variance =
            if self.fixed_large { beta } else { (1.0 - bar_previous) / (1.0 - bar) * beta };
        Ok(mean + eval.noise(x, step, 0)? * variance.sqrt())
    }
}

#[test]
fn eta_one_and_sigma_hat_are_the_two_variances_of_ho_et_al() {
    let grid = grid(&Tau::OfficialUniform, 50);
    for (fixed_large, variance) in [(false, Variance::Eta(1.0)), (true, Variance::SigmaHat)] {
        for eps_form in [false, true] {
            let theirs = run(&HoEtAl { eps_form, fixed_large }, &grid);
            assert!(max_abs_diff(&run(&Ddpm { variance }, &grid), &theirs) < 1e-12);
        }
    }
}

#[test]
fn one_step_of_each_solver_is_its_equation_by_hand() {
    // From alpha_bar = 0.25 (sigma^2 = 3) to 0.64 (sigma = 0.75), x = 1, eps = 0.5 x.
    struct Half;
    impl Denoiser for Half {
        type State = Array;
        fn predict(&self, x: &Array, _: At) -> Result<Array> {
            Ok(x * 0.5)
        }
    }
    let (from, to) = (Level { t: 1.0, alpha_bar: 0.25 }, Level { t: 0.0, alpha_bar: 0.64 });
    let grid = Grid::from_levels(vec![from, to]).unwrap();
    let x = Array::from_elem(vec![1], 1.0);
    let one = |solver: &dyn Solver<Array>| {
        integrate(solver, &Half, &NoNoise, &grid, x.clone(), |_, _, _| Ok(())).unwrap().x[0]
    };
    let root3 = 3.0_f64.sqrt();
    // x-bar = 2; x' = 0.8 (2 + (0.75 - root 3) / 2)
    let euler = 0.8 * (2.0 + 0.5 * (0.75 - root3));
    assert_relative_eq!(one(&Euler::Sigma), euler, max_relative = 1e-14);
    assert_relative_eq!(one(&ddim(0.0)), euler, max_relative = 1e-14);
    assert_relative_eq!(one(&DpmSolverPp2M), euler, max_relative = 1e-14);
    // x' = 0.8 (2 + (0.5625 - 3) / 2 / root 3 / 2)
    let squared = 0.8 * (2.0 + 0.5 * (0.5625 - 3.0) / root3 * 0.5);
    assert_relative_eq!(one(&Euler::SigmaSquared), squared, max_relative = 1e-14);
    let heun = 0.8 * (2.0 + 0.5 * (0.75 - root3) * (0.5 + 0.5 * euler));
    assert_relative_eq!(one(&Heun), heun, max_relative = 1e-14);
}

#[test]
fn ddim_is_exact_on_a_single_point_in_one_step() {
    let model = Gaussian::dirac(0.4);
    let schedule = linear();
    let start = schedule.level(999.0).unwrap();
    let x = x_t(4);
    let one_step = Grid::from_levels(vec![start, CLEAN]).unwrap();
    let solvers: [&dyn Solver<Array>; 4] = [&ddim(0.0), &Euler::Sigma, &Heun, &DpmSolverPp2M];
    for solver in solvers {
        let x0 =
            integrate(solver, &model, &NoNoise, &one_step, x.clone(), |_, _, _| Ok(())).unwrap().x;
        assert!(x0.iter().all(|value| (value - 0.4).abs() < 1e-12), "{}", solver.name());
        // eps is constant along the trajectory, so the path between is exact as well.
        let middle = schedule.level(300.0).unwrap();
        let half = Grid::from_levels(vec![start, middle]).unwrap();
        let there =
            integrate(solver, &model, &NoNoise, &half, x.clone(), |_, _, _| Ok(())).unwrap().x;
        let error = max_abs_diff(&there, &model.flow_map(&x, start, middle));
        // x-bar starts at 157: this is its rounding.
        assert!(error < 1e-11, "{}: {error:.1e}", solver.name());
    }
}

#[test]
fn inversion_is_the_same_solver_on_the_reversed_grid() {
    let model = Gaussian { mean: 0.1, std: 0.5 };
    let forward = grid(&Tau::Linspace, 200);
    let x = x_t(4);
    let solvers: [&dyn Solver<Array>; 4] = [&ddim(0.0), &Euler::Sigma, &Heun, &DpmSolverPp2M];
    for solver in solvers {
        let noisy = model.flow_map(&x, CLEAN, forward.first());
        let latent = integrate(
            solver,
            &model,
            &NoNoise,
            &forward.clone().reversed(),
            x.clone(),
            |_, _, _| Ok(()),
        )
        .unwrap()
        .x;
        let tolerance =
            if solver.kind() == (Kind::Deterministic { order: 1 }) { 0.08 } else { 0.01 };
        let error = max_abs_diff(&latent, &noisy);
        assert!(error < tolerance, "{}: {error:.2e}", solver.name());
    }
}

#[test]
fn a_mixture_of_one_is_a_gaussian_and_equal_components_change_nothing() {
    let gaussian = Gaussian { mean: 0.3, std: 0.5 };
    let component = |weight| Component { weight, mean: vec![0.3], std: 0.5 };
    let level = linear().level(400.0).unwrap();
    let x = x_t(4);
    let expected = gaussian.predict(&x, level.into()).unwrap();
    for components in [vec![component(2.0)], vec![component(0.4), component(0.1)]] {
        let mixture = Mixture::new(components).unwrap();
        assert!(max_abs_diff(&mixture.predict(&x, level.into()).unwrap(), &expected) < 1e-14);
    }
}

#[test]
fn the_mixtures_eps_is_minus_noise_times_the_slope_of_its_log_density() {
    let parts = [(0.7, 0.5, 0.3), (0.3, -0.8, 0.6)];
    let components =
        parts.map(|(weight, mean, std)| Component { weight, mean: vec![mean], std }).to_vec();
    let mixture = Mixture::new(components).unwrap();
    let level = linear().level(250.0).unwrap();
    let log_density = |x: f64| -> f64 {
        let density: f64 = parts
            .iter()
            .map(|(weight, mean, std)| {
                let variance = level.alpha_bar * std * std + 1.0 - level.alpha_bar;
                weight * (-(x - level.signal() * mean).powi(2) / (2.0 * variance)).exp()
                    / variance.sqrt()
            })
            .sum();
        density.ln()
    };
    for x in [-2.0, -0.3, 0.1, 1.7] {
        let h = 1e-5;
        let slope = (log_density(x + h) - log_density(x - h)) / (2.0 * h);
        let eps = mixture.predict(&Array::from_elem(vec![1, 1], x), level.into()).unwrap()[[0, 0]];
        assert_relative_eq!(eps, -level.noise() * slope, max_relative = 1e-8);
    }
}

/// A model of v or x0 whose eps is known.
struct Other(fn(&Array, &Array, Level) -> Array);

impl Denoiser for Other {
    type State = Array;

    fn predict(&self, x: &Array, at: At) -> Result<Array> {
        let eps = ClosedForm.predict(x, at)?;
        let x0 = State::lincomb(&[
            (1.0 / at.state.signal(), x),
            (-at.state.noise() / at.state.signal(), &eps),
        ])?;
        Ok((self.0)(&eps, &x0, at.state))
    }
}

#[test]
fn models_of_v_and_of_x0_give_the_eps_they_stand_for() {
    let x = x_t(4);
    for t in [0.0, 300.0, 900.0] {
        let at = At::from(linear().level(t).unwrap());
        let eps = ClosedForm.predict(&x, at).unwrap();
        let v = Other(|eps, x0, level| eps * level.signal() - x0 * level.noise());
        assert!(max_abs_diff(&FromV(v).predict(&x, at).unwrap(), &eps) < 1e-12);
        let x0 = Other(|_, x0, _| x0.clone());
        assert!(max_abs_diff(&FromX0(x0).predict(&x, at).unwrap(), &eps) < 1e-12);
    }
    let x0 = Other(|_, x0, _| x0.clone());
    let at = At { state: CLEAN, asked: linear().level(0.0).unwrap() };
    assert!(matches!(FromX0(x0).predict(&x, at), Err(Error::NoEpsAtClean { .. })));
}

#[test]
fn clipping_moves_eps_so_that_x0_lies_in_range_and_leaves_small_x0_alone() {
    let x = x_t(4);
    let at = At::from(linear().level(300.0).unwrap());
    let x0_of = |eps: &Array| (&x - eps * at.state.noise()) / at.state.signal();
    let tight = ClipX0 { inner: ClosedForm, low: -0.1, high: 0.1 };
    let free = x0_of(&ClosedForm.predict(&x, at).unwrap());
    assert!(free.iter().any(|value| value.abs() > 0.1));
    let clipped = x0_of(&tight.predict(&x, at).unwrap());
    let error = max_abs_diff(&clipped, &free.mapv(|value| value.clamp(-0.1, 0.1)));
    assert!(error < 1e-12, "{error:.1e}");
    let wide = ClipX0 { inner: ClosedForm, low: -1e3, high: 1e3 };
    let eps = ClosedForm.predict(&x, at).unwrap();
    assert!(max_abs_diff(&wide.predict(&x, at).unwrap(), &eps) < 1e-12);
}

#[test]
fn ancestral_samples_have_the_moments_of_the_data() {
    let model = Gaussian { mean: 0.3, std: 0.5 };
    let n = 20_000;
    let zeros = Array::zeros(vec![n / 10, 10]);
    for variance in [Variance::Eta(0.5), Variance::Eta(1.0), Variance::SigmaHat] {
        let x = NOISE.draw(&zeros, Draw::Initial).unwrap();
        let grid = grid(&Tau::Linspace, 1000);
        let x0 =
            integrate(&Ddpm { variance }, &model, &NOISE, &grid, x, |_, _, _| Ok(())).unwrap().x;
        let mean = x0.mean().unwrap();
        let std = x0.std(1.0);
        // Four standard errors; the bias of 1000 steps is below one of them.
        let root = (n as f64).sqrt();
        assert!((mean - 0.3).abs() < 4.0 * 0.5 / root, "{variance:?}: mean {mean}");
        assert!((std - 0.5).abs() < 4.0 * 0.5 / (2.0_f64.sqrt() * root), "{variance:?}: std {std}");
    }
}

#[test]
fn what_a_method_cannot_do_is_refused_with_a_reason() {
    let run = |solver: &dyn Solver<Array>, grid: &Grid| {
        integrate(solver, &ClosedForm, &NOISE, grid, x_t(1), |_, _, _| Ok(()))
            .unwrap_err()
            .to_string()
    };
    let forward = grid(&Tau::Linspace, 10);
    let back = forward.clone().reversed();
    insta::assert_snapshot!(run(&ddim(0.3), &back), @"ddim adds noise and cannot run from clean to noisy: only deterministic methods invert (use eta = 0)");
    insta::assert_snapshot!(run(&Euler::SigmaSquared, &back), @r#"euler-sigma2 divides by the sigma it starts from and cannot start at the clean end: start at the first level (end = "first-level")"#);
    insta::assert_snapshot!(run(&Ddpm { variance: Variance::Eta(0.0) }, &back), @r#"ddpm divides by the sigma it starts from and cannot start at the clean end: start at the first level (end = "first-level")"#);
    insta::assert_snapshot!(run(&ddim(-1.0), &forward), @"eta = -1 is not a standard deviation's factor: it must be finite and at least 0");
    insta::assert_snapshot!(run(&ddim(3.0), &forward), @"eta = 3 is too large: the step from t = 111 to t = 0 allows 1.000346 at most");
    let largest = integrate(&ddim(1.0), &ClosedForm, &NOISE, &forward, x_t(1), |_, _, _| Ok(()));
    assert!(largest.is_ok());
}

#[test]
fn a_state_that_is_no_longer_finite_names_solver_and_step() {
    struct Broken;
    impl Denoiser for Broken {
        type State = Array;
        fn predict(&self, x: &Array, at: At) -> Result<Array> {
            Ok(if at.asked.t < 500.0 { x / 0.0 } else { x.clone() })
        }
    }
    let grid = Grid::new(&linear(), &Tau::Leading, 4, End::Clean).unwrap();
    let error = integrate(&Heun, &Broken, &NoNoise, &grid, x_t(1), |_, _, _| Ok(())).unwrap_err();
    insta::assert_snapshot!(error, @"heun diverged at step 1, from t = 500 to t = 250: the state is not finite");
}

#[test]
fn the_fill_rule_rebuilds_the_golden_starting_noise() {
    let x_t = support::golden_tensor("samplers_diffusers.safetensors", "x_T");
    assert_eq!(x_t.shape(), [2, 3, 4, 4]);
    assert!(fill::normal("sampler/z0", 96).iter().all(|z| z.is_finite()));
}
