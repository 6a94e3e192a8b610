//! Identities between methods: the same map written twice must agree.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;

use approx::assert_relative_eq;
use ddim::{
    backends::array::Array,
    core::{
        At, CLEAN, ClipX0, Denoiser, Draw, End, Error, Eval, FromV, FromX0, Grid, KeyedNoise,
        Level, Method, NoNoise, Noise, Result, Solver, State, Step, Tau, integrate,
    },
    exact::{Component, Gaussian, Mixture},
    solvers::{
        AdamsBashforth, Churn, Ddim, Ddpm, Deis, DormandPrince, DpmSolver, DpmSolverPp2M, Edm,
        Euler, EulerMaruyama, Gddim, Heun, Plms, Rk4, SdeDpmSolverPp2M, UniPc, UniPcB, Variance,
    },
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

fn rk4() -> Rk4 {
    Rk4 { schedule: linear() }
}

fn adams_bashforth(order: u32) -> AdamsBashforth {
    AdamsBashforth::new(order, linear()).unwrap()
}

fn dpm_solver(order: u32) -> DpmSolver {
    DpmSolver::new(order, linear()).unwrap()
}

/// EDM with this churn at every sigma between two limits, as a manifest builds it.
fn edm_within(
    amount: f64,
    (least, most): (f64, f64),
    std: f64,
    steps: usize,
) -> Arc<dyn Solver<Array>> {
    Arc::new(Edm::new(Churn { amount, least, most, std }, steps, linear()).unwrap())
}

fn edm(churn: f64, steps: usize) -> Arc<dyn Solver<Array>> {
    edm_within(churn, (0.0, 1e9), 1.0, steps)
}

/// Every deterministic method that runs on any grid.
fn deterministic() -> Vec<Box<dyn Solver<Array>>> {
    let mut solvers: Vec<Box<dyn Solver<Array>>> = vec![
        Box::new(ddim(0.0)),
        Box::new(Euler::Sigma),
        Box::new(Heun),
        Box::new(Edm::new(Churn::default(), 1, linear()).unwrap()),
        Box::new(rk4()),
        Box::new(Plms),
        Box::new(DpmSolverPp2M::default()),
        Box::new(DormandPrince::new(1e-6, 1e-6, linear()).unwrap()),
    ];
    for order in 1..=3 {
        solvers.push(Box::new(dpm_solver(order)));
        solvers.push(Box::new(adams_bashforth(order + 1)));
    }
    for order in 2..=3 {
        solvers.push(Box::new(Deis::new(order).unwrap()));
        solvers.push(Box::new(UniPc::new(order, UniPcB::Bh1).unwrap()));
        solvers.push(Box::new(UniPc::new(order, UniPcB::Bh2).unwrap()));
    }
    solvers
}

#[test]
fn euler_in_sigma_is_ddim_without_noise() {
    for steps in [3, 20, 100] {
        let grid = grid(&Tau::OFFICIAL_QUAD, steps);
        assert!(max_abs_diff(&run(&Euler::Sigma, &grid), &run(&ddim(0.0), &grid)) < 1e-12);
        let back = grid.reversed();
        assert!(max_abs_diff(&run(&Euler::Sigma, &back), &run(&ddim(0.0), &back)) < 1e-10);
    }
}

#[test]
fn the_posterior_form_is_the_eps_form_for_every_variance() {
    let grid = grid(&Tau::OFFICIAL_UNIFORM, 20);
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

impl Method for HoEtAl {
    fn name(&self) -> &'static str {
        "ho-et-al"
    }

    fn order(&self) -> Option<u32> {
        None
    }
}

impl Solver<Array> for HoEtAl {
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
        Ok(mean + eval.normal(x, step, 0)? * variance.sqrt())
    }
}

#[test]
fn eta_one_and_sigma_hat_are_the_two_variances_of_ho_et_al() {
    let grid = grid(&Tau::OFFICIAL_UNIFORM, 50);
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
    assert_relative_eq!(one(&DpmSolverPp2M::default()), euler, max_relative = 1e-14);
    // x' = 0.8 (2 + (0.5625 - 3) / 2 / root 3 / 2)
    let squared = 0.8 * (2.0 + 0.5 * (0.5625 - 3.0) / root3 * 0.5);
    assert_relative_eq!(one(&Euler::SigmaSquared), squared, max_relative = 1e-14);
    let heun = 0.8 * (2.0 + 0.5 * (0.75 - root3) * (0.5 + 0.5 * euler));
    assert_relative_eq!(one(&Heun), heun, max_relative = 1e-14);
    assert_relative_eq!(one(&adams_bashforth(3)), heun, max_relative = 1e-14);
    assert_relative_eq!(one(&Plms), heun, max_relative = 1e-14);
    // The slope of x-bar is x-bar / 2 root(1 + sigma^2).
    let (h, middle) = (0.75 - root3, 0.5 * (0.75 + root3));
    let slope = |x: f64, sigma: f64| 0.5 * x / (1.0 + sigma * sigma).sqrt();
    let k1 = slope(2.0, root3);
    let k2 = slope(2.0 + 0.5 * h * k1, middle);
    let k3 = slope(2.0 + 0.5 * h * k2, middle);
    let k4 = slope(2.0 + h * k3, 0.75);
    let runge = 0.8 * (2.0 + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4));
    assert_relative_eq!(one(&rk4()), runge, max_relative = 1e-14);
    assert_relative_eq!(one(&adams_bashforth(4)), runge, max_relative = 1e-14);
    // Raised to sigma = 2 by z root(4 - 3), at alpha_bar = 0.2; then Heun's step from there.
    let edm = edm_within(2.0 / root3 - 1.0, (1.0, 2.0), 1.5, 1);
    let z = NOISE.draw(&x, Draw::Step { position: 0, sub: 0 }).unwrap()[0];
    let (raised, h) = (2.0 + 1.5 * z, 0.75 - 2.0);
    let (d, end) = (slope(raised, 2.0), |d| raised + h * d);
    let expected = 0.8 * end(0.5 * (d + slope(end(d), 0.75)));
    let x = integrate(&*edm, &Half, &NOISE, &grid, x, |_, _, _| Ok(())).unwrap().x[0];
    assert_relative_eq!(x, expected, max_relative = 1e-14);
}

/// DPM-Solver-2 and -3 as Lu et al. 2022 print them (algorithms 1 and 2).
struct LuEtAl {
    order: u32,
}

impl Method for LuEtAl {
    fn name(&self) -> &'static str {
        "lu-et-al"
    }

    fn order(&self) -> Option<u32> {
        Some(self.order)
    }
}

impl Solver<Array> for LuEtAl {
    fn step(
        &self,
        eval: &mut Eval<'_, Array>,
        x: &Array,
        Step { from, to, .. }: Step,
    ) -> Result<Array> {
        let (alpha, sigma) = (|level: Level| level.signal(), |level: Level| level.std());
        let lambda = |level: Level| (alpha(level) / sigma(level)).ln();
        let h = lambda(to) - lambda(from);
        let t_lambda = |value: f64| linear().level_at_sigma((-value).exp()).unwrap();
        let eps = eval.eps(x, from)?;
        if self.order == 2 {
            let s = t_lambda(f64::midpoint(lambda(from), lambda(to)));
            let u = x * (alpha(s) / alpha(from)) - &eps * (sigma(s) * ((h / 2.0).exp() - 1.0));
            return Ok(
                x * (alpha(to) / alpha(from)) - eval.eps(&u, s)? * (sigma(to) * (h.exp() - 1.0))
            );
        }
        let (r1, r2) = (1.0 / 3.0, 2.0 / 3.0);
        let (s1, s2) = (t_lambda(lambda(from) + r1 * h), t_lambda(lambda(from) + r2 * h));
        let u1 = x * (alpha(s1) / alpha(from)) - &eps * (sigma(s1) * ((r1 * h).exp() - 1.0));
        let d1 = eval.eps(&u1, s1)? - &eps;
        let u2 = x * (alpha(s2) / alpha(from))
            - &eps * (sigma(s2) * ((r2 * h).exp() - 1.0))
            - d1 * (sigma(s2) * r2 / r1 * (((r2 * h).exp() - 1.0) / (r2 * h) - 1.0));
        let d2 = eval.eps(&u2, s2)? - &eps;
        Ok(x * (alpha(to) / alpha(from))
            - eps * (sigma(to) * (h.exp() - 1.0))
            - d2 * (sigma(to) / r2 * ((h.exp() - 1.0) / h - 1.0)))
    }
}

#[test]
fn dpm_solver_is_the_papers_algorithm_and_its_first_order_is_ddim() {
    for steps in [4, 15] {
        let forward = Grid::new(&linear(), &Tau::LEADING, steps, End::FirstLevel).unwrap();
        for grid in [forward.clone(), forward.reversed()] {
            for order in [2, 3] {
                let difference =
                    max_abs_diff(&run(&dpm_solver(order), &grid), &run(&LuEtAl { order }, &grid));
                assert!(difference < 1e-12, "order {order}: {difference:.1e}");
            }
            assert!(max_abs_diff(&run(&dpm_solver(1), &grid), &run(&ddim(0.0), &grid)) < 1e-12);
        }
    }
}

#[test]
fn edm_without_churn_or_outside_its_limits_is_heun() {
    let forward = grid(&Tau::karras(7.0), 10);
    assert_eq!(run(&*edm(0.0, 10), &forward), run(&Heun, &forward));
    for outside in [(500.0, 600.0), (0.0, 0.001)] {
        let edm = edm_within(4.0, outside, 1.0, 10);
        assert_eq!(run(&*edm, &forward), run(&Heun, &forward));
    }
    let back = forward.reversed();
    assert_eq!(run(&*edm(0.0, 10), &back), run(&Heun, &back));
}

#[test]
fn the_first_order_of_sde_dpm_solver_pp_is_ddpm() {
    // One step between two positive levels, and one more to the clean end: both of first order.
    let levels = [900.0, 300.0].map(|t| linear().level(t).unwrap());
    for levels in [levels.to_vec(), vec![levels[0], CLEAN]] {
        let grid = Grid::from_levels(levels).unwrap();
        let ddpm = Ddpm { variance: Variance::Eta(1.0) };
        assert!(
            max_abs_diff(&run(&SdeDpmSolverPp2M::default(), &grid), &run(&ddpm, &grid)) < 1e-12
        );
    }
}

/// A slope that depends on the level alone.
struct Slope<F>(F);

impl<F: Fn(f64) -> f64> Denoiser for Slope<F> {
    type State = Array;

    fn predict(&self, x: &Array, at: At) -> Result<Array> {
        Ok(Array::from_elem(x.raw_dim(), (self.0)(at.asked.sigma())))
    }
}

#[test]
fn multistep_rules_are_exact_for_slopes_that_are_polynomials_in_their_clock() {
    // Uneven in sigma and in log sigma alike.
    let sigmas = [30.0, 21.0, 9.0, 7.0, 2.0, 1.5, 0.3, 0.1];
    let forward =
        Grid::from_levels(sigmas.map(|sigma| Level::from_sigma(0.0, sigma)).to_vec()).unwrap();
    let hold = |solver: &dyn Solver<Array>,
                slope: &dyn Fn(f64) -> f64,
                integral: &dyn Fn(f64) -> f64| {
        for grid in [forward.clone(), forward.clone().reversed()] {
            let x = Array::from_elem(vec![1], 0.7);
            let mut bars = vec![0.7 / grid.first().signal()];
            let keep = |step: Step, x: &Array, _| {
                bars.push(x[0] / step.to.signal());
                Ok(())
            };
            integrate(solver, &Slope(slope), &NoNoise, &grid, x, keep).unwrap();
            let steps = grid.steps().zip(bars.windows(2));
            for (step, bar) in steps.skip(solver.memory()) {
                let exact = integral(step.to.sigma()) - integral(step.from.sigma());
                let error = (bar[1] - bar[0] - exact).abs() / (1.0 + bar[0].abs() + bar[1].abs());
                assert!(error < 1e-13, "{}: {error:.1e}", solver.name());
            }
        }
    };
    for order in 2..=4 {
        for k in 0..i32::try_from(order).unwrap() {
            let integral = |sigma: f64| sigma.powi(k + 1) / f64::from(k + 1);
            hold(&adams_bashforth(order), &|sigma: f64| sigma.powi(k), &integral);
        }
    }
    // The integrals of 1, log s and log^2 s.
    let integrals: [fn(f64) -> f64; 3] =
        [|s| s, |s| s * (s.ln() - 1.0), |s| s * (s.ln().powi(2) - 2.0 * s.ln() + 2.0)];
    for order in 2..=3_u32 {
        for (k, integral) in (0..).zip(&integrals[..order as usize]) {
            hold(&Deis::new(order).unwrap(), &|sigma: f64| sigma.ln().powi(k), integral);
        }
    }
}

#[test]
fn every_method_is_exact_on_a_single_point() {
    // eps and x0 are constant along a trajectory, so one step is exact, and so is any number.
    let model = Gaussian::dirac(0.4);
    let [start, middle, low] = [999.0, 300.0, 0.0].map(|t| linear().level(t).unwrap());
    let x = x_t(4);
    let ten = grid(&Tau::LINSPACE_OPEN, 10);
    let ten_to_low = Grid::new(&linear(), &Tau::LINSPACE_OPEN, 10, End::FirstLevel).unwrap();
    let pair = |from, to| Grid::from_levels(vec![from, to]).unwrap();
    let grids = [
        pair(start, CLEAN),
        pair(start, middle),
        pair(low, start),
        ten,
        ten_to_low.clone(),
        ten_to_low.reversed(),
    ];
    for solver in deterministic() {
        for grid in &grids {
            let end = integrate(&*solver, &model, &NoNoise, grid, x.clone(), |_, _, _| Ok(()));
            let exact = model.flow_map(&x, grid.first(), grid.last());
            // x-bar starts at 157, or grows by a factor of 100 on the way up: this is its rounding.
            let scale = exact.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
            let error = max_abs_diff(&end.unwrap().x, &exact) / scale;
            let (from, to) = (grid.first().t, grid.last().t);
            // Its stages cancel terms ten times x-bar, in steps a hundred times the last sigma.
            let rounding = if solver.name() == "dormand-prince" { 1e-10 } else { 1e-11 };
            assert!(error < rounding, "{} from {from} to {to}: {error:.1e}", solver.name());
        }
    }
    // With noise, the clean end is the point.
    let noisy: [&dyn Solver<Array>; 3] = [&SdeDpmSolverPp2M::default(), &*edm(4.0, 10), &ddim(0.7)];
    for solver in noisy {
        let x =
            integrate(solver, &model, &NOISE, &grids[3], x.clone(), |_, _, _| Ok(())).unwrap().x;
        assert!(x.iter().all(|value| (value - 0.4).abs() < 1e-11), "{}", solver.name());
    }
}

#[test]
fn inversion_is_the_same_solver_on_the_reversed_grid() {
    let model = Gaussian { mean: 0.1, std: 0.5 };
    let forward = grid(&Tau::LINSPACE, 200);
    let x = x_t(4);
    for solver in deterministic() {
        let noisy = model.flow_map(&x, CLEAN, forward.first());
        let latent = integrate(
            &*solver,
            &model,
            &NoNoise,
            &forward.clone().reversed(),
            x.clone(),
            |_, _, _| Ok(()),
        )
        .unwrap()
        .x;
        let tolerance = if solver.order() == Some(1) { 0.08 } else { 0.01 };
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
        assert_relative_eq!(eps, -level.std() * slope, max_relative = 1e-8);
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
            (-at.state.std() / at.state.signal(), &eps),
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
        let v = Other(|eps, x0, level| eps * level.signal() - x0 * level.std());
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
    let x0_of = |eps: &Array| (&x - eps * at.state.std()) / at.state.signal();
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
fn samples_with_noise_have_the_moments_of_the_data() {
    let model = Gaussian { mean: 0.3, std: 0.5 };
    let n = 20_000;
    let zeros = Array::zeros(vec![n / 10, 10]);
    let ddpm = [Variance::Eta(0.5), Variance::Eta(1.0), Variance::SigmaHat];
    let [half, one, hat] = ddpm.map(|variance| Ddpm { variance });
    let edm = edm(40.0, 1000);
    let solvers: [(&str, &dyn Solver<Array>); 5] = [
        ("eta = 0.5", &half),
        ("eta = 1", &one),
        ("sigma-hat", &hat),
        ("sde-dpm-solver++2m", &SdeDpmSolverPp2M::default()),
        ("edm", &*edm),
    ];
    for (name, solver) in solvers {
        let x = NOISE.draw(&zeros, Draw::Initial).unwrap();
        let grid = grid(&Tau::LINSPACE, 1000);
        let x0 = integrate(solver, &model, &NOISE, &grid, x, |_, _, _| Ok(())).unwrap().x;
        let mean = x0.mean().unwrap();
        let std = x0.std(1.0);
        // Four standard errors; the bias of 1000 steps is below one of them.
        let root = (n as f64).sqrt();
        assert!((mean - 0.3).abs() < 4.0 * 0.5 / root, "{name}: mean {mean}");
        assert!((std - 0.5).abs() < 4.0 * 0.5 / (2.0_f64.sqrt() * root), "{name}: std {std}");
    }
}

#[test]
fn what_a_method_cannot_do_is_refused_with_a_reason() {
    let run = |solver: &dyn Solver<Array>, grid: &Grid| {
        integrate(solver, &ClosedForm, &NOISE, grid, x_t(1), |_, _, _| Ok(()))
            .unwrap_err()
            .to_string()
    };
    let forward = grid(&Tau::LINSPACE, 10);
    let back = forward.clone().reversed();
    insta::assert_snapshot!(run(&ddim(0.3), &back), @"ddim adds noise and cannot run from clean to noisy");
    insta::assert_snapshot!(run(&Euler::SigmaSquared, &back), @"euler-sigma2 divides by the sigma it starts from and cannot start at the clean end, where sigma = 0");
    insta::assert_snapshot!(run(&Ddpm { variance: Variance::Eta(0.0) }, &back), @"ddpm divides by the sigma it starts from and cannot start at the clean end, where sigma = 0");
    insta::assert_snapshot!(run(&*edm(4.0, 10), &back), @"edm adds noise and cannot run from clean to noisy");
    insta::assert_snapshot!(run(&SdeDpmSolverPp2M::default(), &back), @"sde-dpm-solver++2m adds noise and cannot run from clean to noisy");
    insta::assert_snapshot!(run(&ddim(-1.0), &forward), @"eta = -1: eta must be finite and at least 0");
    insta::assert_snapshot!(run(&ddim(3.0), &forward), @"eta = 3 is too large: the step from t = 111 to t = 0 allows 1.000346 at most");
    let largest = integrate(&ddim(1.0), &ClosedForm, &NOISE, &forward, x_t(1), |_, _, _| Ok(()));
    assert!(largest.is_ok());
}

#[test]
fn an_adaptive_method_says_where_it_cannot_reach_its_tolerance() {
    // A slope that no step is short enough for: another sign at every call.
    struct Wild(std::cell::Cell<f64>);
    impl Denoiser for Wild {
        type State = Array;
        fn predict(&self, x: &Array, _: At) -> Result<Array> {
            self.0.set(-self.0.get());
            Ok(x.mapv(|_| self.0.get()))
        }
    }
    let levels = [400.0, 300.0].map(|t| linear().level(t).unwrap()).to_vec();
    let grid = Grid::from_levels(levels).unwrap();
    let solver = DormandPrince::new(1e-30, 1e-30, linear()).unwrap();
    let wild = Wild(std::cell::Cell::new(1.0));
    let error = integrate(&solver, &wild, &NoNoise, &grid, x_t(1), |_, _, _| Ok(())).unwrap_err();
    insta::assert_snapshot!(error, @"dormand-prince cannot reach rtol = 1e-30, atol = 1e-30 at sigma = 2.041087002614495: the steps needed there are too small for f64");
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
    let grid = Grid::new(&linear(), &Tau::LEADING, 4, End::Clean).unwrap();
    let error = integrate(&Heun, &Broken, &NoNoise, &grid, x_t(1), |_, _, _| Ok(())).unwrap_err();
    insta::assert_snapshot!(error, @"heun diverged at step 1, from t = 500 to t = 250: in sample 0 (counted from 0) the state is not finite");
}

#[test]
fn the_fill_rule_rebuilds_the_golden_starting_noise() {
    let x_t = support::golden_tensor("samplers_diffusers.safetensors", "x_T");
    assert_eq!(x_t.shape(), [2, 3, 4, 4]);
    assert!(fill::normal("sampler/z0", 96).iter().all(|z| z.is_finite()));
}

/// Noise that is the same number everywhere.
struct Constant(f64);

impl Noise<Array> for Constant {
    fn draw(&self, like: &Array, _: Draw) -> Result<Array> {
        Ok(Array::from_elem(like.raw_dim(), self.0))
    }
}

/// What a method makes of the mean and the variance of x-bar about the point of a Dirac distribution,
/// on which a step is linear in x and z.
fn moments(solver: &dyn Solver<Array>, grid: &Grid, (mean, variance): (f64, f64)) -> (f64, f64) {
    let model = Gaussian::dirac(0.0);
    let one = |value: f64| Array::from_elem(vec![1, 1], value);
    let (mut mean, mut variance) = (mean, variance);
    for step in grid.steps() {
        let along = |x: f64, z: f64| {
            let noise = Constant(z);
            let x = one(x * step.from.signal());
            let end = solver.step(&mut Eval::new(&model, &noise, 0), &x, step).unwrap();
            end[[0, 0]] / step.to.signal()
        };
        let (kept, drawn) = (along(1.0, 0.0), along(0.0, 1.0));
        (mean, variance) = (kept * mean, kept * kept * variance + drawn * drawn);
    }
    (mean, variance)
}

#[test]
fn stochastic_ddim_solves_the_reverse_sde_of_every_lambda_on_one_point_of_data() {
    let level = |sigma: f64| Level::from_sigma(0.0, sigma);
    let (from, to) = (level(5.0), level(0.5));
    let once = Grid::from_levels(vec![from, to]).unwrap();
    let fine = |steps: usize| {
        let at = |i: usize| level(5.0 * 0.1_f64.powf(i as f64 / steps as f64));
        Grid::from_levels((0..=steps).map(at).collect()).unwrap()
    };
    for lambda in [0.0, 0.5, 1.0, 2.0] {
        let exact = Gddim::new(lambda).unwrap();
        let start = (2.0, 0.3);
        let whole = moments(&exact, &once, start);
        // Steps of a solution compose.
        let parts = moments(&exact, &fine(7), start);
        assert_relative_eq!(whole.0, parts.0, max_relative = 1e-12, epsilon = 1e-12);
        assert_relative_eq!(whole.1, parts.1, max_relative = 1e-12);
        // The SDE's own steps come to it with order 1.
        let euler = EulerMaruyama::new(lambda).unwrap();
        let off = |steps: usize| {
            let (mean, variance) = moments(&euler, &fine(steps), start);
            ((mean - whole.0).abs(), (variance - whole.1).abs())
        };
        let (coarse, close) = (off(2000), off(4000));
        assert!(close.0 < 1e-3 && close.1 < 1e-3, "lambda {lambda}: {close:?}");
        // Of lambda = 1 even the SDE's own step has the exact mean.
        for (coarse, close) in [(coarse.0, close.0), (coarse.1, close.1)] {
            let exact = coarse < 1e-12 && close < 1e-12;
            assert!(
                exact || (1.9..2.1).contains(&(coarse / close)),
                "lambda {lambda}: {coarse} {close}"
            );
        }
        // The marginal of x-bar is the point with variance sigma^2, and stays so.
        let (_, kept) = moments(&exact, &once, (0.0, 25.0));
        assert_relative_eq!(kept, 0.25, max_relative = 1e-12);
    }
}

#[test]
fn one_call_of_stochastic_ddim_finds_the_point_from_any_level() {
    let model = Gaussian::dirac(0.3);
    for (lambda, t) in [(0.0, 999.0), (0.5, 400.0), (1.0, 50.0), (3.0, 0.0)] {
        let grid = Grid::from_levels(vec![linear().level(t).unwrap(), CLEAN]).unwrap();
        let solver = Gddim::new(lambda).unwrap();
        let end = integrate(&solver, &model, &NOISE, &grid, x_t(4), |_, _, _| Ok(())).unwrap();
        assert_eq!(end.nfe, 1);
        assert!(end.x.iter().all(|x| (x - 0.3).abs() < 1e-11), "lambda {lambda} from t = {t}");
    }
}

#[test]
fn stochastic_ddim_has_ddim_and_ddpm_in_it_and_the_sde_has_equation_15() {
    let grid = grid(&Tau::OFFICIAL_QUAD, 20);
    for (lambda, eta) in [(0.0, 0.0), (1.0, 1.0)] {
        let gddim = run(&Gddim::new(lambda).unwrap(), &grid);
        assert!(max_abs_diff(&gddim, &run(&ddim(eta), &grid)) < 1e-12);
    }
    let sde = run(&EulerMaruyama::new(0.0).unwrap(), &grid);
    assert!(max_abs_diff(&sde, &run(&Euler::SigmaSquared, &grid)) < 1e-12);
    // Between them the eta of lambda differs from step to step.
    let half = run(&Gddim::new(0.5).unwrap(), &grid);
    assert!([0.25, 0.5].iter().all(|&eta| max_abs_diff(&half, &run(&ddim(eta), &grid)) > 1e-3));
}

#[test]
fn a_lambda_that_is_no_share_of_noise_is_refused() {
    for lambda in [-1.0, f64::NAN, f64::INFINITY] {
        for refused in [Gddim::new(lambda).map(drop), EulerMaruyama::new(lambda).map(drop)] {
            assert!(matches!(refused, Err(Error::Setting { .. })), "{lambda}");
        }
    }
}
