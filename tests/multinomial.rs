//! DDIM on categories: what appendix A of the paper promises, and what `ddim run` makes of it.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;

use approx::assert_abs_diff_eq;
use ddim::{
    backends::array::Array,
    core::{
        CLEAN, Denoiser, Draw, Ghost, Grid, KeyedNoise, Level, Noise, Schedule, State, Step, Tau,
        count_nfe, integrate,
    },
    exact::{Categorical, Gaussian},
    metrics::total_variation,
    solvers::{Mix, Multinomial},
};
use statrs::distribution::{ChiSquared, ContinuousCDF};
use support::program::Ddim;
use tch::{Device, Kind, Tensor};

const SCALES: [f64; 5] = [0.0, 0.3, 0.5, 0.9, 1.0];

fn level(alpha_bar: f64) -> Level {
    Level { t: 0.0, alpha_bar }
}

fn step(from: f64, to: f64) -> Step {
    Step { index: 0, left: 0, draw: 0, from: level(from), to: level(to) }
}

/// Steps towards the data, from no signal to no noise.
fn steps() -> impl Iterator<Item = Step> {
    let alphas = [0.0, 1e-9, 0.01, 0.2, 0.5, 0.7, 0.99, 1.0 - 1e-9, 1.0];
    let pairs = (0..alphas.len() - 1).flat_map(move |i| (i + 1..alphas.len()).map(move |j| [i, j]));
    pairs.map(move |[i, j]| step(alphas[i], alphas[j]))
}

/// The probability of category `j` in Cat(weight * one-hot(at) + rest * even).
fn cat(k: usize, j: usize, weight: f64, at: usize) -> f64 {
    (1.0 - weight) / k as f64 + if j == at { weight } else { 0.0 }
}

#[test]
fn every_sigma_keeps_the_marginals() {
    for scale in SCALES {
        let method = Multinomial::new(scale).unwrap();
        for step in steps() {
            let Mix { x, x0, even } = method.mix(step);
            assert!(x >= 0.0 && x0 >= 0.0 && even >= 0.0, "{step:?}");
            let (from, to) = (step.from.alpha_bar, step.to.alpha_bar);
            for k in 2..6 {
                // q(x_to | x0) by way of all x, against the marginal of the next level.
                for (start, end) in (0..k).flat_map(|a| (0..k).map(move |b| (a, b))) {
                    let mixed = |at: usize| {
                        let is = |a: usize| if a == end { 1.0 } else { 0.0 };
                        x * is(at) + x0 * is(start) + even / k as f64
                    };
                    let through: f64 = (0..k).map(|at| cat(k, at, from, start) * mixed(at)).sum();
                    assert_abs_diff_eq!(through, cat(k, end, to, start), epsilon = 1e-15);
                }
            }
        }
    }
}

#[test]
fn the_largest_sigma_draws_nothing_evenly_and_a_larger_one_would_be_negative() {
    for step in steps() {
        let at = |scale: f64| Multinomial::new(scale).unwrap().mix(step);
        assert_abs_diff_eq!(at(1.0).even, 0.0);
        assert_abs_diff_eq!(at(0.0).x, 0.0);
        let (from, to) = (step.from.alpha_bar, step.to.alpha_bar);
        assert!(from <= 0.0 || at(1.0).x <= to / from, "x0 has a weight below 0");
        let beyond = 1.01 * at(1.0).x;
        assert!(step.to.is_clean() || 1.0 - to - (1.0 - from) * beyond < 0.0);
    }
    for scale in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let error = Multinomial::new(scale).unwrap_err().to_string();
        assert!(error.contains("sigma_scale") && error.contains("from 0 to 1"), "{error}");
    }
}

/// The posterior of the Markov chain with these marginals (Hoogeboom et al. 2021, section 4).
fn markov(k: usize, Step { from, to, .. }: Step, j: usize, x: usize, x0: usize) -> f64 {
    let kept = from.alpha_bar / to.alpha_bar;
    let joint = |j: usize| cat(k, x, kept, j) * cat(k, j, to.alpha_bar, x0);
    joint(j) / (0..k).map(joint).sum::<f64>()
}

#[test]
fn the_markov_chain_is_a_member_for_two_categories_and_for_no_more() {
    for step in steps().filter(|step| step.from.alpha_bar > 0.01 && !step.to.is_clean()) {
        let (b, a) = (step.to.alpha_bar, step.from.alpha_bar / step.to.alpha_bar);
        let sigma = a * (1.0 - b * b) / (1.0 - a * a * b * b);
        let largest = Multinomial::new(1.0).unwrap().mix(step).x;
        assert!(sigma < largest);
        let Mix { x, x0, even } = Multinomial::new(sigma / largest).unwrap().mix(step);
        let linear = |j: usize, at: usize, start: usize| {
            let is = |wanted: usize| if j == wanted { 1.0 } else { 0.0 };
            x * is(at) + x0 * is(start) + even / 2.0
        };
        for (j, at, start) in [(0, 0, 0), (1, 0, 0), (0, 0, 1), (1, 0, 1)] {
            let exact = markov(2, step, j, at, start);
            assert_abs_diff_eq!(linear(j, at, start), exact, epsilon = 1e-12);
        }
        for k in [3, 4, 7] {
            // What goes to a third category would not depend on whether x is x0.
            let (same, apart) = (markov(k, step, 2, 0, 0), markov(k, step, 2, 0, 1));
            assert!((same - apart).abs() > 1e-3 * apart, "{same} {apart}");
        }
    }
}

/// Three variables that hang together, with four categories.
fn chain() -> Categorical {
    let agree = |a: usize, b: usize| if a == b { 9.0 } else { 1.0 };
    let weight = |i: usize| {
        let (a, b, c) = (i / 16, i / 4 % 4, i % 4);
        (4 - a) as f64 * agree(a, b) * agree(b, c)
    };
    Categorical::new([3, 4], &(0..64).map(weight).collect::<Vec<_>>()).unwrap()
}

/// A grid that starts without a signal.
fn grid(steps: usize) -> Grid {
    let schedule = Schedule::cosine(1000).unwrap().zero_terminal_snr();
    let tau = Tau::named("trailing").unwrap();
    let grid = Grid::new(&schedule, &tau, steps, ddim::core::End::Clean).unwrap();
    assert!(grid.first().is_pure_noise() && grid.last().is_clean());
    grid
}

fn sampled(model: &Categorical, scale: f64, grid: &Grid) -> Vec<f64> {
    model.sampled(&Multinomial::new(scale).unwrap(), grid, || Ok(())).unwrap()
}

#[test]
fn the_prediction_is_bayes_rule() {
    let table = [5.0, 1.0, 0.0, 2.0, 4.0, 3.0, 1.0, 1.0, 7.0];
    let model = Categorical::new([2, 3], &table).unwrap();
    let digit = |value: usize, d: usize| if d == 0 { value / 3 } else { value % 3 };
    for alpha in [0.0, 0.2, 0.9] {
        let likely = |x: usize, x0: usize| {
            let by = |d: usize| cat(3, digit(x, d), alpha, digit(x0, d));
            table[x0] / 24.0 * by(0) * by(1)
        };
        let corrupted = model.corrupted(level(alpha));
        for x in 0..9 {
            let total: f64 = (0..9).map(|x0| likely(x, x0)).sum();
            assert_abs_diff_eq!(corrupted[x], total, epsilon = 1e-15);
            let mut state = Array::zeros(vec![1, 1, 2, 3]);
            (0..2).for_each(|d| state[[0, 0, d, digit(x, d)]] = 1.0);
            let prediction = model.predict_with_range(&state, level(alpha).into()).unwrap();
            let x0 = prediction.x0.as_ref().unwrap();
            for (d, k) in (0..2).flat_map(|d| (0..3).map(move |k| (d, k))) {
                let those = (0..9).filter(|&x0| digit(x0, d) == k);
                let exact = those.map(|x0| likely(x, x0)).sum::<f64>() / total;
                assert_abs_diff_eq!(x0[[0, 0, d, k]], exact, epsilon = 1e-14);
            }
            // The eps beside it is that of Eq. (9).
            let signal = level(alpha).signal();
            let back = Array::lincomb(&[(1.0, &state), (-signal, x0)]).unwrap();
            let back = back.mapv(|v| v / level(alpha).std());
            assert!(support::max_abs_diff(&back, &prediction.eps) < 1e-14);
        }
    }
    let clean = model.predict(&Array::zeros(vec![1, 1, 2, 3]), CLEAN.into()).unwrap_err();
    assert!(clean.to_string().contains("clean end"), "{clean}");
}

#[test]
fn one_variable_is_exact_for_every_sigma_and_every_number_of_steps() {
    let model = Categorical::new([1, 5], &[0.1, 4.0, 0.0, 2.0, 1.0]).unwrap();
    for scale in SCALES {
        for steps in [1, 2, 3, 10, 100] {
            let distance =
                total_variation(&sampled(&model, scale, &grid(steps)), model.probabilities());
            assert!(distance < 1e-14, "sigma_scale {scale}, S = {steps}: {distance:e}");
        }
    }
}

#[test]
fn one_variable_that_starts_too_early_is_off_by_what_x_t_still_knew() {
    // Linear in x_T: from even categories instead of q(x_T), the distance cannot grow.
    let model = Categorical::new([1, 5], &[0.1, 4.0, 0.0, 2.0, 1.0]).unwrap();
    let grid = Grid::from_levels(vec![level(0.1), level(0.6), CLEAN]).unwrap();
    let even = [0.2; 5];
    let at_start = total_variation(&even, &model.corrupted(level(0.1)));
    for scale in SCALES {
        let distance = total_variation(&sampled(&model, scale, &grid), model.probabilities());
        assert!(distance > 1e-3 && distance < at_start, "{scale}: {distance} {at_start}");
    }
}

#[test]
fn the_first_step_from_nothing_and_the_last_one_do_not_depend_on_sigma() {
    let model = chain();
    for steps in [1, 2] {
        let known = sampled(&model, 1.0, &grid(steps));
        for scale in SCALES {
            let other = sampled(&model, scale, &grid(steps));
            assert!(total_variation(&known, &other) < 1e-15);
        }
    }
    // One step draws each variable by its own distribution.
    let marginals = model.marginals(model.probabilities());
    let product =
        (0..64).map(|i| marginals[0][i / 16] * marginals[1][i / 4 % 4] * marginals[2][i % 4]);
    let one = sampled(&model, 0.5, &grid(1));
    assert!(total_variation(&one, &product.collect::<Vec<_>>()) < 1e-15);
    let three = |scale| sampled(&model, scale, &grid(3));
    assert!(total_variation(&three(0.0), &three(1.0)) > 0.01);
}

/// The distribution after some steps, by sums over all pairs of values.
fn by_hand(table: &[f64], alphas: &[f64], scale: f64) -> Vec<f64> {
    let digit = |value: usize, d: usize| if d == 0 { value / 3 } else { value % 3 };
    let mut p = vec![1.0 / 9.0; 9];
    for pair in alphas.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let sigma = scale * f64::min(to / from, (1.0 - to) / (1.0 - from));
        let mut next = vec![0.0; 9];
        for (x, here) in p.iter().enumerate() {
            let likely = |x0: usize| {
                let by = |d: usize| cat(3, digit(x, d), from, digit(x0, d));
                table[x0] * by(0) * by(1)
            };
            let total: f64 = (0..9).map(likely).sum();
            let weight = |d: usize, k: usize| {
                let f = (0..9).filter(|&x0| digit(x0, d) == k).map(likely).sum::<f64>() / total;
                let x = if digit(x, d) == k { 1.0 } else { 0.0 };
                sigma * x + (to - sigma * from) * f + ((1.0 - to) - (1.0 - from) * sigma) / 3.0
            };
            for (y, there) in next.iter_mut().enumerate() {
                *there += here * weight(0, digit(y, 0)) * weight(1, digit(y, 1));
            }
        }
        p = next;
    }
    p
}

#[test]
fn the_enumeration_by_the_method_itself_is_the_matrix_product() {
    let table = [5.0, 1.0, 0.0, 2.0, 4.0, 3.0, 1.0, 1.0, 7.0];
    let model = Categorical::new([2, 3], &table).unwrap();
    let alphas = [0.0, 0.15, 0.5, 0.55, 0.9, 1.0];
    let grid = Grid::from_levels(alphas.iter().map(|&alpha| level(alpha)).collect()).unwrap();
    for scale in SCALES {
        let method = sampled(&model, scale, &grid);
        assert_abs_diff_eq!(method.iter().sum::<f64>(), 1.0, epsilon = 1e-14);
        let hand = by_hand(&table, &alphas, scale);
        assert!(total_variation(&method, &hand) < 1e-14, "{scale}");
    }
}

/// Samples of keyed noise, as values.
fn draws(model: &Categorical, scale: f64, grid: &Grid, n: usize, batch: usize) -> Vec<usize> {
    let method = Multinomial::new(scale).unwrap();
    let of = |first: usize| {
        let noise = KeyedNoise { seed: 7, first: first as u64 };
        let x = model.start(&noise, batch.min(n - first)).unwrap();
        let outcome = integrate(&method, model, &noise, grid, x, |_, _, _| Ok(())).unwrap();
        assert_eq!(outcome.nfe, grid.steps().count() as u64);
        model.values(&outcome.x).unwrap()
    };
    (0..n).step_by(batch).flat_map(of).collect()
}

/// How likely a larger chi-square is, if values are drawn by these probabilities.
fn likelihood(values: &[usize], probabilities: &[f64]) -> f64 {
    let mut counts = vec![0.0; probabilities.len()];
    for &value in values {
        counts[value] += 1.0;
    }
    let expected = |p: &f64| p * values.len() as f64;
    assert!(probabilities.iter().all(|p| expected(p) > 5.0));
    let terms = counts.iter().zip(probabilities);
    let terms = terms.map(|(count, p)| (count - expected(p)).powi(2) / expected(p));
    let freedom = (probabilities.len() - 1) as f64;
    ChiSquared::new(freedom).unwrap().sf(terms.sum())
}

#[test]
fn samples_have_the_distribution_that_is_enumerated() {
    let model = chain();
    let (grid, n) = (grid(4), 40_000);
    let mut by_sigma = vec![];
    for scale in [0.0, 0.5, 1.0] {
        let exact = sampled(&model, scale, &grid);
        let values = draws(&model, scale, &grid, n, 5_000);
        let chance = likelihood(&values, &exact);
        assert!(chance > 1e-3, "sigma_scale {scale}: {chance:e}");
        // It would see another distribution: the data's, or that of another sigma.
        assert!(likelihood(&values, model.probabilities()) < 1e-9);
        by_sigma.push((values, exact));
    }
    assert!(likelihood(&by_sigma[0].0, &by_sigma[2].1) < 1e-9);
    let start = KeyedNoise { seed: 7, first: 0 };
    let start = model.values(&model.start(&start, n).unwrap()).unwrap();
    assert!(likelihood(&start, &[1.0 / 64.0; 64]) > 1e-3);
}

#[test]
fn a_sample_does_not_depend_on_its_batch() {
    let (model, grid) = (chain(), grid(6));
    let whole = draws(&model, 0.5, &grid, 64, 64);
    assert_eq!(whole, draws(&model, 0.5, &grid, 64, 7));
    assert_eq!(whole, draws(&model, 0.5, &grid, 64, 1));
}

#[test]
fn a_category_is_chosen_by_its_weight_and_one_without_weight_never() {
    let n = 30_000;
    let weights = Array::from_shape_fn(vec![n, 1, 1, 4], |at| [0.5, 0.0, 0.1, 0.2][at[3]]);
    let noise = |sub| {
        let draw = Draw::Step { position: 0, sub };
        KeyedNoise { seed: 1, first: 0 }.draw(&weights, draw).unwrap()
    };
    let (a, b) = (noise(0), noise(1));
    let shares = |chosen: &Array| {
        chosen.sum_axis(ndarray::Axis(0)).mapv(|count| count / n as f64).into_raw_vec_and_offset().0
    };
    let close = |shares: &[f64], probabilities: [f64; 4]| {
        for (share, p) in shares.iter().zip(probabilities) {
            let error = (p * (1.0 - p) / n as f64).sqrt();
            assert!((share - p).abs() <= 4.0 * error, "{shares:?} {probabilities:?}");
        }
    };
    close(&shares(&weights.choose(0.2, [&a, &b]).unwrap()), [0.55, 0.05, 0.15, 0.25]);
    let whole = weights.mapv(|w| w / 0.8);
    close(&shares(&whole.choose(0.0, [&a, &b]).unwrap()), [0.625, 0.0, 0.125, 0.25]);
    // Weights that are no distribution are not made one.
    for (bad, even) in [(&weights, 0.0), (&whole, 0.5), (&whole.mapv(|w| 2.0 * w), -1.0)] {
        let error = bad.choose(even, [&a, &b]).unwrap_err().to_string();
        assert!(error.contains("sum to 1"), "{error}");
    }
    assert!(weights.mapv(|_| f64::NAN).choose(0.0, [&a, &b]).is_err());
    let other = Array::zeros(vec![2, 1, 1, 4]);
    assert!(weights.choose(0.2, [&a, &other]).unwrap_err().to_string().contains("shapes differ"));
}

#[test]
fn what_has_no_categories_is_refused_and_calls_are_counted() {
    let method = Multinomial::new(1.0).unwrap();
    let noise = KeyedNoise { seed: 0, first: 0 };
    let x = Array::zeros(vec![4, 3, 2, 2]);
    let model = Gaussian { mean: 0.0, std: 1.0 };
    let error = integrate(&method, &model, &noise, &grid(3), x, |_, _, _| Ok(())).unwrap_err();
    assert!(error.to_string().contains("categories are drawn by weights"), "{error}");
    let tensor = Tensor::zeros([2, 1, 1, 3], (Kind::Float, Device::Cpu));
    let error = tensor.choose(1.0, [&tensor, &tensor]).unwrap_err().to_string();
    assert!(error.contains("no categories"), "{error}");
    assert_eq!(count_nfe(&method as &dyn ddim::core::Solver<Ghost>, &grid(3)).unwrap(), 3);
    let back = integrate(
        &method,
        &chain(),
        &noise,
        &grid(3).reversed(),
        Array::zeros(vec![0]),
        |_, _, _| Ok(()),
    );
    assert!(back.unwrap_err().to_string().contains("cannot run from clean to noisy"));
}

const SMALL: &str = r#"
name = "categories"
samples = 4096
batch = 1024

[model]
source = "categorical"
shape = [1, 2, 2]
table = [4, 1, 1, 2]

[schedule]
kind = "cosine"
zero_terminal_snr = true

[grid]
tau = "trailing"
steps = 3

[solver]
kind = "multinomial"

[metrics]
measures = ["total-variation", "total-variation-sampled", "marginal-variation"]
blocks = 16

[sweep]
"solver.sigma_scale" = [0, 1]
"#;

#[test]
fn a_manifest_measures_the_distance_exactly_and_from_samples() {
    let ddim = Ddim::new();
    ddim.write("c.toml", SMALL);
    ddim.succeeds(&["run", "c.toml", "--quiet"]);
    let text = ddim.text("results/categories/metrics.csv");
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let header = rows.headers().unwrap().clone();
    let records: Vec<csv::StringRecord> = rows.records().map(|row| row.unwrap()).collect();
    let number = |row: usize, name: &str| -> f64 {
        let column = header.iter().position(|column| column == name);
        records[row][column.unwrap_or_else(|| panic!("{name} in {header:?}"))].parse().unwrap()
    };
    let model = Categorical::new([2, 2], &[4.0, 1.0, 1.0, 2.0]).unwrap();
    for (row, scale) in [(0, 0.0), (1, 1.0)] {
        let p = sampled(&model, scale, &grid(3));
        let exact = total_variation(&p, model.probabilities());
        // Kept in f32, as every sample's numbers are.
        assert_abs_diff_eq!(number(row, "total-variation"), exact, epsilon = 1e-7);
        let name = "total-variation-sampled";
        let low = number(row, &format!("{name}.low"));
        let high = number(row, &format!("{name}.high"));
        assert!(low < exact && exact < high && high - low < 0.05, "{low} {exact} {high}");
        let q = model.probabilities();
        let (first, second) = ((p[0] + p[1]) - (q[0] + q[1]), (p[0] + p[2]) - (q[0] + q[2]));
        let marginal = first.abs().max(second.abs());
        assert_abs_diff_eq!(number(row, "marginal-variation"), marginal, epsilon = 1e-7);
        assert_abs_diff_eq!(number(row, "calls"), 3.0);
    }
    // No pictures of what are no images.
    let names = fs::read_dir(ddim.path("results/categories")).unwrap();
    let names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with("samples") || name == "strips"), "{names:?}");
}

#[test]
fn what_does_not_go_with_categories_is_refused_at_its_place() {
    let ddim = Ddim::new();
    let base = SMALL.split("[sweep]").next().unwrap();
    ddim.write("c.toml", base);
    ddim.succeeds(&["check", "c.toml"]);
    let refused = |sets: &[&str]| {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        ddim.refuses(&["check", "c.toml"].into_iter().chain(sets).collect::<Vec<_>>())
    };
    for (sets, why) in [
        (
            &["solver.kind=ddim"][..],
            "`ddim` takes steps in numbers, and `categorical` has categories",
        ),
        (&["solver.sigma_scale=1.5"], "sigma_scale = 1.5 must be from 0 to 1"),
        (&["solver.eta=1"], "`solver.eta` does not apply to multinomial"),
        (
            &["metrics.measures=[\"fd\"]", "metrics.features=models/f", "metrics.reference=f.npz"],
            "`fd` cannot be measured on categories",
        ),
        (&["metrics.measures=[\"mean-error\"]"], "`mean-error` cannot be measured on categories"),
        (&["task=interpolate", "metrics="], "this task is not that of a categorical model"),
        (
            &["task=bits", "metrics=", "images.source=draws"],
            "this task is not that of a categorical model",
        ),
        (&["model.clip_x0=true"], "probabilities are not clipped"),
        (&["model.prediction=v"], "predicts the probabilities of x0"),
        (&["grid.end=first-level"], "compared with data, at the clean end"),
        (&["solver.inversion=next"], "draws of categories have no way back"),
        (&["model.shape=[3,2,2]"], "`[1, D, K]` with at least two categories"),
        (&["model.shape=[1,2,1]"], "`[1, D, K]` with at least two categories"),
        (&["model.shape=[1,11,2]"], "of at most 1,024 values"),
        (&["model.shape=[1,2,3]"], "9 values, but `model.table` has 4 weights"),
        (&["model.table=[1,2,-1,0]"], "`model.table` must be 0 or more, not `-1`"),
        (&["model.table=[0,0,0,0]"], "the weights of `model.table` sum to 0"),
        (&["model.table=[1e308,1e308,0,0]"], "the weights of `model.table` sum to inf"),
        (&["model.table="], "`model.table` is missing"),
        (&["model.mean=0"], "`model.mean` does not apply to categorical"),
        (&["solution.kind=dormand-prince"], "nothing uses the reference solution"),
    ] {
        let said = refused(sets);
        assert!(said.contains(why), "{sets:?}: {said}");
    }
    let gaussian = base
        .replace("\"categorical\"", "\"gaussian\"")
        .replace("shape = [1, 2, 2]\ntable = [4, 1, 1, 2]", "shape = [1, 2, 2]\nmean = 0\nstd = 1");
    ddim.write("c.toml", &gaussian);
    assert!(refused(&[]).contains("`multinomial` draws categories, and `gaussian` has none"));
    let said = refused(&["solver.kind=ddim"]);
    assert!(
        said.contains("`total-variation` compares categories, and `gaussian` has none"),
        "{said}"
    );
}

#[test]
fn samples_of_categories_are_arrays_and_no_pictures() {
    let ddim = Ddim::new();
    let sample =
        ["sample", "--model", "categorical", "--shape", "1,2,3", "--solver", "multinomial"];
    let sets = ["--set", "model.table=[9,1,1,1,9,1,1,1,9]", "--steps", "20", "--samples", "8"];
    let all = |more: &[&'static str]| [&sample[..], &sets, more].concat();
    ddim.succeeds(&all(&["--out", "x0.npy"]));
    let x0 = ddim.read("x0.npy");
    let values: Vec<f32> = x0[x0.len() - 8 * 6 * 4..]
        .chunks(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    let count =
        |wanted: f32| values.iter().filter(|value| value.to_bits() == wanted.to_bits()).count();
    assert_eq!((count(1.0), count(0.0)), (16, 32), "{values:?}");
    assert!(values.chunks(3).all(|one_hot| one_hot.contains(&1.0)), "{values:?}");
    for out in ["grid.png", "pictures"] {
        let said = ddim.refuses(&all(&["--out", out]));
        assert!(said.contains("categories cannot be shown as pictures"), "{said}");
    }
    let others: [&[&'static str]; 2] = [
        &["interpolate", "--seeds", "1,2", "--out", "y.npy"],
        &["decode", "x0.npy", "--out", "y.npy"],
    ];
    for other in others {
        let said = ddim.refuses(&[other, &sample[1..], &sets[..4]].concat());
        assert!(said.contains("the samples of `categorical` are no images"), "{said}");
    }
    let tau = ["tau", "5", "--model", "categorical", "--shape", "1,2,3", "--out", "t.toml"];
    let said = ddim.refuses(&[&tau[..], &sets[..2]].concat());
    assert!(said.contains("takes steps in numbers"), "{said}");
}
