//! The learned variance and the variational bound against openai/improved-diffusion.
//!
//! The peer computes in f32: near the noise the two variances of a term agree to their last digits,
//! and its divergence keeps few. Tolerances on bits per dimension are absolute for that reason.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use ddim::{
    backends::array::Array,
    core::{
        At, Denoiser, Draw, End, Error, FromV, FromX0, Grid, Level, Method, Noise, Prediction,
        Result, Schedule, State, Tau, count_nfe, integrate,
    },
    likelihood::VariationalBound,
    metrics::Normal,
    solvers::{Ddim, Ddpm, Variance},
};
use support::{ClosedForm, fill, golden_tensor, max_abs_diff};

const FILE: &str = "improved.safetensors";

/// The closed-form eps, with v = sin(2 x + 0.003 t) or one value for all as the range.
struct WithRange(Option<f64>);

impl Denoiser for WithRange {
    type State = Array;

    fn predict(&self, x: &Array, at: At) -> Result<Array> {
        ClosedForm.predict(x, at)
    }

    fn predict_with_range(&self, x: &Array, at: At) -> Result<Prediction<Array>> {
        let range = x.mapv(|x| self.0.unwrap_or((2.0 * x + 0.003 * at.asked.t).sin()));
        Ok(Prediction { range: Some(range), ..self.predict(x, at)?.into() })
    }
}

const LEARNED: WithRange = WithRange(None);

/// The k-th noise at the k-th step from the top.
struct Replayed;

fn noise(k: u32) -> Array {
    let values = fill::normal(&format!("improved/z{k}"), 96);
    Array::from_shape_vec(vec![2, 3, 4, 4], values).unwrap()
}

impl Noise<Array> for Replayed {
    fn draw(&self, _: &Array, draw: Draw) -> Result<Array> {
        let Draw::Step { position, .. } = draw else { panic!("x_T is given") };
        Ok(noise(position))
    }
}

fn x0() -> Array {
    let values = fill::unit("improved/x0", 96).into_iter().map(|v| 0.9 * v).collect();
    Array::from_shape_vec(vec![2, 3, 4, 4], values).unwrap()
}

/// The grid of a tag: improved-diffusion's even respacing is `linspace`.
fn grid(schedule: &str, horizon: usize, steps: usize) -> Grid {
    let schedule = match schedule {
        "cosine" => Schedule::cosine(horizon),
        _ => Schedule::linear(1e-4, 0.02, horizon),
    };
    Grid::new(&schedule.unwrap(), &Tau::LINSPACE, steps, End::Clean).unwrap()
}

/// What the peer's last term has beyond the exact one, bits per dimension of each image: it takes a
/// tanh for the normal distribution function, and counts masses below 1e-12 as that.
fn approximation(bound: &VariationalBound<'_>, grid: &Grid, z: &Array) -> Array {
    let distribution = |x: f64| {
        let slope = (2.0 / std::f64::consts::PI).sqrt();
        0.5 * (1.0 + (slope * (x + 0.044_715 * x * x * x)).tanh())
    };
    let last = grid.steps().last().unwrap();
    let x = State::lincomb(&[(last.from.signal(), &x0()), (last.from.std(), z)]).unwrap();
    let reverse = bound.reverse(&x, last.index).unwrap();
    let mut beyond = Array::zeros(x.raw_dim());
    ndarray::Zip::from(&mut beyond)
        .and(&reverse.mean)
        .and(&reverse.log_variance)
        .and(&x0())
        .for_each(|beyond, &mean, &log_variance, &x0| {
            // No element of this x0 is one of the two that reach to infinity.
            let edge = |edge: f64| distribution((-0.5 * log_variance).exp() * (edge - mean));
            let mass = edge(x0 + 1.0 / 255.0) - edge(x0 - 1.0 / 255.0);
            let exact = Normal { mean, log_variance }.log_mass(x0);
            *beyond = (exact - mass.max(1e-12).ln()) / std::f64::consts::LN_2;
        });
    row(beyond.outer_iter().map(|image| image.mean().unwrap()).collect())
}

const CASES: [(&str, usize, usize, [usize; 4]); 4] = [
    ("linear", 1000, 1000, [0, 1, 500, 999]),
    ("linear", 1000, 25, [0, 1, 12, 24]),
    ("cosine", 4000, 4000, [0, 1, 2000, 3999]),
    ("cosine", 4000, 50, [0, 1, 25, 49]),
];

fn row(values: Vec<f64>) -> Array {
    Array::from_shape_vec(vec![2], values).unwrap()
}

/// Holds a value to the golden one: `absolute + relative |expected|`.
fn hold(case: &str, found: &Array, absolute: f64, relative: f64) {
    let expected = golden_tensor(FILE, case);
    assert_eq!(found.shape(), expected.shape(), "{case}");
    for (found, expected) in found.iter().zip(&expected) {
        let error = (found - expected).abs();
        assert!(
            error <= absolute + relative * expected.abs(),
            "{case}: {found} is off by {error:.1e} from {expected}"
        );
    }
}

#[test]
fn means_and_log_variances_and_terms_are_improved_diffusions() {
    assert!(max_abs_diff(&x0(), &golden_tensor(FILE, "x0")) < 3.1e-8);
    for (name, horizon, steps, labels) in CASES {
        let grid = grid(name, horizon, steps);
        let bound = VariationalBound::new(&LEARNED, &grid, Variance::Learned).unwrap();
        for t in labels {
            let index = steps - 1 - t;
            let from = grid.levels()[index];
            let x = State::lincomb(&[(from.signal(), &x0()), (from.std(), &noise(0))]).unwrap();
            let reverse = bound.reverse(&x, index).unwrap();
            let case = format!("{name}/T{horizon}/S{steps}/t{t}");
            hold(&format!("{case}/mean"), &reverse.mean, 5e-7, 0.0);
            hold(&format!("{case}/log_variance"), &reverse.log_variance, 1.5e-6, 0.0);
            let mut term = row(bound.term(&x0(), &noise(0), index).unwrap());
            if t == 0 {
                term += &approximation(&bound, &grid, &noise(0));
            }
            hold(&format!("{case}/vb_bpd"), &term, 1e-7, 2e-6);
        }
    }
}

#[test]
fn total_and_prior_bits_are_improved_diffusions() {
    for (name, horizon, steps, _) in CASES {
        if steps == 4000 {
            continue; // it has terms alone
        }
        let grid = grid(name, horizon, steps);
        let bound = VariationalBound::new(&LEARNED, &grid, Variance::Learned).unwrap();
        let mut seen = 0;
        let bits = bound.bits(&x0(), &Replayed, &mut |calls| {
            seen = calls;
            Ok(())
        });
        let bits = bits.unwrap();
        assert_eq!((seen, bound.steps()), (steps as u64, steps));
        let case = format!("{name}/T{horizon}/S{steps}");
        let beyond = approximation(&bound, &grid, &noise(u32::try_from(steps).unwrap() - 1));
        hold(&format!("{case}/total_bpd"), &(row(bits.total) + beyond), 0.0, 1e-6);
        hold(&format!("{case}/prior_bpd"), &row(bits.prior), 5e-9, 2e-7);
    }
}

#[test]
fn ancestral_samples_are_improved_diffusions() {
    for (name, horizon, steps) in [("linear", 1000, 25), ("cosine", 4000, 50)] {
        let grid = grid(name, horizon, steps);
        let solver = Ddpm { variance: Variance::Learned };
        let outcome =
            integrate(&solver, &LEARNED, &Replayed, &grid, noise(999), |_, _, _| Ok(())).unwrap();
        assert_eq!(outcome.nfe, steps as u64);
        assert_eq!(count_nfe(&solver, &grid).unwrap(), steps as u64);
        let case = format!("{name}/T{horizon}/S{steps}/p_sample");
        hold(&case, &outcome.x, 5e-7, 0.0);
    }
}

/// The mean squared error of each image.
fn squares(eps: &Array, predicted: &Array) -> Vec<f64> {
    let squares = (eps - predicted).mapv(|difference| difference * difference);
    squares.outer_iter().map(|image| image.mean().unwrap()).collect()
}

/// What training minimises: the function that its step calls.
#[cfg(feature = "harness")]
#[test]
fn training_losses_are_improved_diffusions() {
    use ddim::{
        networks::predicts::Predicts,
        train::variational::{self, Terms},
    };
    use ndarray::{Axis, s};
    use tch::Tensor;

    let schedule = Schedule::linear(1e-4, 0.02, 1000).unwrap();
    let z = noise(5);
    let timesteps = [3, 700];
    let (mut eps, mut range) = (Array::zeros(z.raw_dim()), Array::zeros(z.raw_dim()));
    for (image, t) in timesteps.into_iter().enumerate() {
        let from = schedule.level(f64::from(t)).unwrap();
        let x = State::lincomb(&[(from.signal(), &x0()), (from.std(), &z)]).unwrap();
        let predicted = LEARNED.predict_with_range(&x, from.into()).unwrap();
        let row = |x: &Array| x.index_axis(Axis(0), image).to_owned();
        eps.slice_mut(s![image, .., .., ..]).assign(&row(&predicted.eps));
        range.slice_mut(s![image, .., .., ..]).assign(&row(&predicted.range.unwrap()));
    }
    let tensor = |x: &Array| Tensor::try_from(x).unwrap();
    let numbers = Terms::new(&schedule, Predicts::Eps).of(&timesteps.map(i64::from)).unwrap();
    let terms = variational::bits(&numbers, &tensor(&(&eps - &z)), &tensor(&range), &tensor(&x0()));
    let term = Vec::<f64>::try_from(terms.unwrap()).unwrap();
    let simple = squares(&z, &eps);
    let kl: Vec<f64> = term.iter().map(|term| 1000.0 * term).collect();
    // Eq. (16) with lambda = 0.001: the bound is T times its mean term.
    let hybrid = simple.iter().zip(&kl).map(|(simple, kl)| simple + 0.001 * kl).collect();
    let names = ["RESCALED_MSE/mse", "RESCALED_MSE/vb", "RESCALED_MSE/loss", "RESCALED_KL/loss"];
    for (name, values) in names.into_iter().zip([simple, term, hybrid, kl]) {
        // The term at t = 700 is 2e-5, of which f32 keeps four digits.
        let absolute = if name.ends_with("KL/loss") { 2e-6 } else { 2e-9 };
        hold(&format!("training/linear/T1000/{name}"), &row(values), absolute, 4e-7);
    }
}

#[test]
fn the_ends_of_the_range_are_the_posterior_variance_and_sigma_hat() {
    let grid = grid("linear", 1000, 25);
    let run = |variance, range| {
        let model = WithRange(range);
        let solver = Ddpm { variance };
        integrate(&solver, &model, &Replayed, &grid, noise(999), |_, _, _| Ok(())).unwrap().x
    };
    for (v, fixed) in [(-1.0, Variance::Eta(1.0)), (1.0, Variance::SigmaHat)] {
        let learned = run(Variance::Learned, Some(v));
        assert!(max_abs_diff(&learned, &run(fixed, None)) < 2e-13);
        // The bounds differ in the last step alone, where sigma-hat has the posterior's.
        let terms = |variance| {
            let model = WithRange(Some(v));
            let bound = VariationalBound::new(&model, &grid, variance).unwrap();
            let term = |index| row(bound.term(&x0(), &noise(index), index as usize).unwrap());
            (0..24).map(term).collect::<Vec<_>>()
        };
        for (learned, fixed) in terms(Variance::Learned).iter().zip(terms(fixed)) {
            assert!(max_abs_diff(learned, &fixed) < 1e-13 * (1.0 + learned[[0]]));
        }
    }
    assert!(max_abs_diff(&run(Variance::Learned, Some(1.0)), &run(Variance::Eta(1.0), None)) > 0.1);
}

/// For data N(0, s^2) and its exact score, the bound's terms are known in closed form: with x0 and
/// its prediction apart by d, each is a d^2 / (2 s^2) with the mean's factor of x0.
#[test]
fn a_term_of_any_eta_is_the_squared_error_of_x0_over_twice_the_variance() {
    let grid = grid("linear", 1000, 25);
    for eta in [0.3, 1.0] {
        let bound = VariationalBound::new(&ClosedForm, &grid, Variance::Eta(eta)).unwrap();
        for step in grid.steps().take(24) {
            let (from, to) = (step.from, step.to);
            let x = State::lincomb(&[(from.signal(), &x0()), (from.std(), &noise(0))]).unwrap();
            let eps = ClosedForm.predict(&x, from.into()).unwrap();
            let s2 = eta * eta * (1.0 - to.alpha_bar) / (1.0 - from.alpha_bar)
                * (1.0 - from.alpha_bar / to.alpha_bar);
            let direction = (1.0 - to.alpha_bar - s2).sqrt();
            // x0 - x0-hat = sigma (eps - z)
            let factor = (to.signal() - from.signal() * direction / from.std()) * from.sigma();
            let squares = squares(&noise(0), &eps);
            let bits = |square| factor * factor * square / (2.0 * s2) / std::f64::consts::LN_2;
            let expected = row(squares.into_iter().map(bits).collect());
            let term = row(bound.term(&x0(), &noise(0), step.index).unwrap());
            for (term, expected) in term.iter().zip(&expected) {
                approx::assert_relative_eq!(term, expected, max_relative = 1e-9);
            }
        }
    }
}

#[test]
fn adapters_hand_the_range_on() {
    let at: At = Level { t: 100.0, alpha_bar: 0.9 }.into();
    let x = x0();
    let range = LEARNED.predict_with_range(&x, at).unwrap().range;
    let hold = |model: &dyn Denoiser<State = Array>| {
        let found = model.predict_with_range(&x, at).unwrap();
        assert_eq!(found.range, range);
        assert_eq!(found.eps, model.predict(&x, at).unwrap());
    };
    hold(&FromV(LEARNED));
    hold(&FromX0(LEARNED));
    hold(&ddim::core::ClipX0 { inner: LEARNED, low: -1.0, high: 1.0 });
    hold(&std::rc::Rc::new(LEARNED));
}

#[test]
fn what_has_no_learned_variance_or_no_bound_is_refused() {
    let grid = grid("linear", 1000, 25);
    let solver = Ddpm { variance: Variance::Learned };
    let error = integrate(&solver, &ClosedForm, &Replayed, &grid, noise(999), |_, _, _| Ok(()))
        .unwrap_err();
    assert!(matches!(error, Error::NoRange), "{error}");
    let error = Ddim { variance: Variance::Learned }.admits(&grid).unwrap_err();
    assert!(matches!(error, Error::LearnedVariance { solver: "ddim" }), "{error}");

    let refused = |grid: &Grid, variance| {
        let error = VariationalBound::new(&LEARNED, grid, variance).map(drop).unwrap_err();
        error.to_string()
    };
    let of = |steps, end| Grid::new(&support::linear(), &Tau::LEADING, steps, end).unwrap();
    assert!(refused(&grid, Variance::Eta(0.0)).contains("draws no noise"));
    assert!(refused(&grid, Variance::Eta(f64::NAN)).contains("finite"));
    assert!(refused(&grid, Variance::Eta(90.0)).contains("too large"));
    assert!(refused(&of(1, End::Clean), Variance::Learned).contains("two steps"));
    assert!(refused(&of(9, End::FirstLevel), Variance::Learned).contains("end = \"clean\""));
    assert!(refused(&grid.clone().reversed(), Variance::Learned).contains("end = \"clean\""));
    let bound = VariationalBound::new(&ClosedForm, &grid, Variance::Learned).unwrap();
    assert!(matches!(bound.term(&x0(), &noise(0), 3).unwrap_err(), Error::NoRange));
}
