//! The objective of the paper's section 3: Theorem 1 to rounding, its Monte Carlo within its error, and the task
//! as a user meets it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::cell::RefCell;

use approx::{assert_abs_diff_eq, assert_relative_eq};
use ddim::{
    backends::array::Array,
    core::{At, CLEAN, Denoiser, Grid, KeyedNoise, Level, Result, State, Step, Tau},
    exact::{ExactModel, Gaussian, Linear, draws},
    likelihood::{NonMarkovian, Sums, Terms, Weights},
};
use support::grid;

const DATA: Gaussian = Gaussian { mean: 0.2, std: 0.5 };
const ETAS: [f64; 4] = [0.05, 0.3, 0.7, 1.0];

/// The data's own score, two wrong ones, and one slope and offset for all levels of a grid.
fn models(grid: &Grid) -> Vec<Box<dyn ExactModel>> {
    let noisy = grid.levels().iter().filter(|level| **level != CLEAN);
    let even: Vec<(Level, f64)> = noisy.map(|&level| (level, 1.0)).collect();
    vec![
        Box::new(DATA),
        Box::new(Gaussian { mean: 0.9, ..DATA }),
        Box::new(Gaussian { mean: -0.4, std: 1.7 }),
        Box::new(Linear::shared(DATA, &even)),
    ]
}

fn expected(
    chain: &NonMarkovian,
    model: &dyn ExactModel,
    terms: Terms,
    weights: Weights,
) -> Sums<f64> {
    chain.expected(DATA, &|level| model.linear(level).unwrap(), terms, weights)
}

#[test]
fn objective_and_loss_differ_by_the_same_constant_for_every_model_and_sigma() {
    for steps in [10, 1000] {
        let grid = grid(&Tau::LINSPACE, steps);
        // With 10 steps, no more noise than DDPM's fits.
        for eta in ETAS.into_iter().chain((steps == 1000).then_some(1.3)) {
            let chain = NonMarkovian::new(&grid, eta).unwrap();
            // C of the theorem, from its definition.
            let a = grid.first().alpha_bar;
            let prior = 0.5 * (a * (0.04 + 0.25) - a - (1.0 - a).ln());
            let all: Vec<Step> = grid.steps().collect();
            let s_1 = eta * all[all.len() - 2].posterior_std();
            let constant = prior + 0.5 * (std::f64::consts::TAU * s_1 * s_1).ln();
            let mut printed = vec![];
            for model in models(&grid) {
                let sums = expected(&chain, &*model, Terms::All, Weights::Exact);
                let scale = sums.objective.abs().max(1.0);
                let found = sums.objective - sums.loss;
                assert_abs_diff_eq!(found, constant, epsilon = 1e-10 * scale);
                let sums = expected(&chain, &*model, Terms::All, Weights::Printed);
                printed.push(sums.objective - sums.loss);
            }
            let apart = |other: f64| (other - printed[0]).abs() / printed[0].abs();
            assert!(printed[1..].iter().all(|gap| apart(*gap) > 1e-2), "{printed:?}");
        }
    }
}

#[test]
fn each_term_is_the_divergence_of_the_papers_two_normals() {
    let (grid, eta) = (grid(&Tau::LINSPACE, 12), 0.6);
    let chain = NonMarkovian::new(&grid, eta).unwrap();
    let steps: Vec<Step> = grid.steps().collect();
    for (index, step) in steps.iter().enumerate() {
        let t = steps.len() - index;
        let (a, a_to) = (step.from.alpha_bar, step.to.alpha_bar);
        let s = eta * steps[index.min(steps.len() - 2)].posterior_std();
        for model in models(&grid) {
            // Second moments are exact at one standard deviation to each side.
            let mut divergence = 0.0;
            let mut error = 0.0;
            for (x0, eps) in [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)] {
                let x0 = DATA.mean + DATA.std * x0;
                let x = a.sqrt() * x0 + (1.0 - a).sqrt() * eps;
                let at = Array::from_elem(vec![1, 1], x);
                let predicted = model.predict(&at, step.from.into()).unwrap()[[0, 0]];
                let f = (x - (1.0 - a).sqrt() * predicted) / a.sqrt(); // Eq. (9)
                // Eq. (7)
                let mean = |x0: f64| {
                    let left: f64 = 1.0 - a_to - s * s;
                    a_to.sqrt() * x0 + left.sqrt() * (x - a.sqrt() * x0) / (1.0 - a).sqrt()
                };
                let off = if t == 1 { x0 - f } else { mean(x0) - mean(f) };
                divergence += off * off / (8.0 * s * s);
                error += (predicted - eps).powi(2) / 4.0;
            }
            let own = if t == 1 { 0.5 * (std::f64::consts::TAU * s * s).ln() } else { 0.0 };
            let sums = expected(&chain, &*model, Terms::One(t), Weights::Exact);
            assert_relative_eq!(sums.objective, divergence + own, max_relative = 1e-10);
            assert_relative_eq!(sums.loss, divergence, max_relative = 1e-10);
            let loss = |weights| expected(&chain, &*model, Terms::One(t), weights).loss;
            assert_relative_eq!(loss(Weights::One), error, max_relative = 1e-11);
            let printed = error / (2.0 * s * s * a);
            assert_relative_eq!(loss(Weights::Printed), printed, max_relative = 1e-11);
        }
    }
}

#[test]
fn the_weights_of_eta_1_are_those_of_ddpm() {
    let grid = grid(&Tau::LINSPACE, 1000);
    let chain = NonMarkovian::new(&grid, 1.0).unwrap();
    let steps: Vec<Step> = grid.steps().collect();
    assert_eq!(chain.terms(), 1000);
    for step in &steps[..999] {
        let t = step.left + 1;
        // Ho, Jain, Abbeel 2020, Eq. (12).
        let (beta, a) = (step.beta(), step.from.alpha_bar);
        let variance = step.posterior_std().powi(2);
        let ddpm = beta * beta / (2.0 * variance * (1.0 - beta) * (1.0 - a));
        assert_relative_eq!(chain.gamma(t, Weights::Exact), ddpm, max_relative = 1e-9);
        // What the printed weights leave out.
        let k = step.to.signal() * beta / (1.0 - a);
        let left_out = k * k * (1.0 - a);
        let printed = chain.gamma(t, Weights::Printed);
        assert_relative_eq!(printed * left_out, ddpm, max_relative = 1e-9);
    }
}

#[test]
fn where_steps_are_short_eta_changes_all_weights_alike() {
    let grid = grid(&Tau::LINSPACE, 1000);
    let chain = |eta| NonMarkovian::new(&grid, eta).unwrap();
    let ddpm = chain(1.0);
    for eta in [0.2, 0.5, 1.3_f64] {
        let factor = ((1.0 + eta * eta) / (2.0 * eta)).powi(2);
        for t in [200, 500, 1000] {
            let expected = factor * ddpm.gamma(t, Weights::Exact);
            assert_relative_eq!(chain(eta).gamma(t, Weights::Exact), expected, max_relative = 0.01);
        }
    }
}

/// Checks that a mean over samples is its expectation, to within four standard errors and rounding.
fn assert_is_drawn_from(values: &[f64], expected: f64, what: &str) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let allowed = 4.0 * (variance / n).sqrt() + 1e-10 * expected.abs() + 1e-18;
    assert!((mean - expected).abs() < allowed, "{what}: {mean}, not {expected} +- {allowed}");
}

fn x0(samples: usize) -> Array {
    draws(&DATA, 3, [samples, 6], 0).into_dyn()
}

fn sampled(
    chain: &NonMarkovian,
    model: &dyn Denoiser<State = Array>,
    sum: (Terms, Weights),
) -> Sums<Vec<f64>> {
    let noise = KeyedNoise { seed: 8, first: 0 };
    chain.sampled(model, Some(&DATA), &x0(4000), &noise, sum, &mut |_| Ok(())).unwrap()
}

#[test]
fn what_is_drawn_is_the_closed_form_but_for_chance() {
    let grid = grid(&Tau::LINSPACE, 15);
    for eta in [0.3, 1.0] {
        let chain = NonMarkovian::new(&grid, eta).unwrap();
        for (index, model) in models(&grid).iter().enumerate() {
            for terms in [Terms::All, Terms::One(1), Terms::One(2), Terms::One(7), Terms::One(15)] {
                let found = sampled(&chain, &**model, (terms, Weights::Exact));
                let truth = expected(&chain, &**model, terms, Weights::Exact);
                let what = format!("model {index}, eta = {eta}, {terms:?}");
                assert_is_drawn_from(&found.objective, truth.objective, &what);
                assert_is_drawn_from(&found.loss, truth.loss, &what);
                let (found, truth) = (found.excess.unwrap(), truth.excess.unwrap());
                assert_is_drawn_from(&found, truth, &what);
                assert_eq!(truth < 1e-18, index == 0, "{what}: {truth}");
            }
        }
    }
}

/// Keeps what a model is asked about.
struct Spy(RefCell<Vec<(Level, Array)>>);

impl Denoiser for Spy {
    type State = Array;

    fn predict(&self, x: &Array, at: At) -> Result<Array> {
        self.0.borrow_mut().push((at.state, x.clone()));
        State::lincomb(&[(0.0, x)])
    }
}

#[test]
fn every_sigma_has_the_same_marginals() {
    // Lemma 1, with the correlation of x_t and x0 too.
    let grid = grid(&Tau::LINSPACE, 10);
    for eta in [0.05, 0.7, 1.0] {
        let chain = NonMarkovian::new(&grid, eta).unwrap();
        let spy = Spy(RefCell::default());
        sampled(&chain, &spy, (Terms::All, Weights::One));
        let (seen, x0) = (spy.0.into_inner(), x0(4000));
        assert_eq!(seen.len(), 10);
        let n = x0.len() as f64;
        for (level, x) in seen {
            let eps = (&x - &(&x0 * level.signal())) / level.std();
            let moment = |values: Array| values.sum() / n;
            let centred = (&x0 - DATA.mean) / DATA.std;
            // Four standard errors of a mean, a square and a product.
            assert!(moment(eps.clone()).abs() < 4.0 / n.sqrt(), "{eta} {level:?}");
            assert!((moment(&eps * &eps) - 1.0).abs() < 4.0 * (2.0 / n).sqrt(), "{eta} {level:?}");
            assert!(moment(&eps * &centred).abs() < 4.0 / n.sqrt(), "{eta} {level:?}");
        }
    }
}

#[test]
fn free_weights_are_optimal_for_every_gamma_and_shared_ones_for_their_own() {
    let grid = grid(&Tau::LINSPACE, 50);
    for eta in ETAS {
        let chain = NonMarkovian::new(&grid, eta).unwrap();
        let free = Linear::free(DATA);
        let shared = |weights| Linear::shared(DATA, &chain.gammas(weights));
        let own = [Weights::One, Weights::Exact].map(shared);
        for (index, weights) in [Weights::One, Weights::Exact].into_iter().enumerate() {
            let excess =
                |model: &Linear| expected(&chain, model, Terms::All, weights).excess.unwrap();
            let loss = |model: &Linear| expected(&chain, model, Terms::All, weights).loss;
            assert!(excess(&free) < 1e-20 * loss(&free), "{}", excess(&free));
            assert!(excess(&own[index]) < 0.9 * excess(&own[1 - index]), "{eta} {weights:?}");
            // The excess is what the loss is above that of the data's own score.
            let above = loss(&own[0]) - loss(&free);
            assert_relative_eq!(excess(&own[0]), above, max_relative = 1e-9);
        }
    }
}

#[test]
fn what_has_no_objective_is_refused() {
    let refused =
        |grid: &Grid, eta| NonMarkovian::new(grid, eta).map(drop).unwrap_err().to_string();
    let whole = grid(&Tau::LINSPACE, 10);
    for eta in [0.0, -1.0, f64::NAN] {
        assert!(refused(&whole, eta).contains("above 0"), "{eta}");
    }
    assert!(refused(&whole, 50.0).contains("too large"));
    assert!(refused(&whole.clone().reversed(), 1.0).contains("the image itself"));
    let one = Grid::from_levels(vec![whole.levels()[8], CLEAN]).unwrap();
    assert!(refused(&one, 1.0).contains("two steps"));
    let silent =
        Grid::from_levels(vec![Level { t: 2.0, alpha_bar: 0.0 }, whole.levels()[8], CLEAN]);
    assert!(refused(&silent.unwrap(), 1.0).contains("does not determine x0"));
}

#[cfg(feature = "harness")]
mod harness {
    use std::fs;

    use super::{assert_relative_eq, support::program::Ddim};

    const OBJECTIVE: &str = r#"
name = "objective"
samples = 8
batch = 3
task = "objective"
images = { source = "gaussian", mean = 0.2, std = 0.5 }
grid = { tau = "linspace", steps = 20 }
solver = { kind = "ddim", eta = 0.5 }
[model]
source = "gaussian"
shape = [1, 4, 4]
mean = 0.4
std = 0.5
[metrics]
measures = ["objective", "objective-loss", "objective-gap", "objective-excess", "objective-off", "objective-gamma"]
blocks = 2
"#;

    fn rows(ddim: &Ddim, sets: &[&str]) -> Vec<std::collections::BTreeMap<String, String>> {
        fs::write(ddim.path("objective.toml"), OBJECTIVE).unwrap();
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let run = ["run", "objective.toml", "--quiet", "--fresh"].into_iter().chain(sets);
        ddim.succeeds(&run.collect::<Vec<_>>());
        let file = ddim.path("results/objective/metrics.csv");
        let mut rows = csv::Reader::from_path(file).unwrap();
        rows.deserialize().map(|row| row.unwrap()).collect()
    }

    fn number(row: &std::collections::BTreeMap<String, String>, name: &str) -> f64 {
        row[name].parse().unwrap_or_else(|_| panic!("{name}: {row:?}"))
    }

    #[test]
    fn the_objective_is_a_task_of_a_manifest() {
        let ddim = Ddim::new();
        let all = &rows(&ddim, &[])[0];
        assert_eq!(all["calls"], "20");
        // Numbers of a sample are kept in single precision.
        let gap = number(all, "objective") - number(all, "objective-loss");
        assert!((gap - number(all, "objective-gap")).abs() < 1e-5);
        assert!(!ddim.path("results/objective/samples").exists());
        // The terms are those of the sum.
        let terms: Vec<String> = (1..=20).map(|t| t.to_string()).collect();
        let sweep = format!("sweep.objective.term=[{}]", terms.join(","));
        let each = rows(&ddim, &[&sweep]);
        assert!(each.iter().all(|row| row["calls"] == "1"));
        let sum: f64 = each.iter().map(|row| number(row, "objective-gamma")).sum();
        assert_relative_eq!(sum, number(all, "objective-gamma"), max_relative = 1e-5);
        // Images have the same draws whatever their batch, and a model the same weights.
        let whole = rows(&ddim, &["batch=8"]);
        assert_eq!(whole[0]["objective"], all["objective"]);
        let linear = ["model.source=linear", "model.mean=0.2", "images.source=draws"];
        let linear = [&linear[..], &["images.mean=", "images.std="]].concat();
        let own = rows(&ddim, &["model.mean=0.2"]);
        let free = rows(&ddim, &linear);
        for name in ["objective", "objective-loss"] {
            assert_relative_eq!(number(&own[0], name), number(&free[0], name), max_relative = 1e-6);
        }
        assert!(number(&free[0], "objective-excess") < 1e-20);
        // Its own data has the exact score, which one slope for all levels is not.
        let shared = rows(&ddim, &[&linear[..], &["model.shared=one"]].concat());
        assert!(number(&shared[0], "objective-excess") > 0.1);
        assert!(number(&shared[0], "objective-off").abs() < 0.2 * number(&shared[0], "objective"));
        // A plan times it without a J_sigma to fit to.
        let fitted = ["plan", "objective.toml", "--set", "model.shared=exact"];
        let fitted = fitted.into_iter().chain(linear.iter().flat_map(|set| ["--set", set]));
        ddim.succeeds(&fitted.collect::<Vec<_>>());
        let metrics = ddim.succeeds(&["metrics"]);
        assert!(metrics.contains("objective-gap"), "{metrics}");
    }

    #[test]
    fn a_data_set_has_an_objective_and_no_closed_form() {
        let ddim = Ddim::new();
        let bytes = ndarray::Array4::from_shape_fn((8, 4, 4, 3), |(n, y, x, c)| {
            u8::try_from((37 * n + 11 * y + 5 * x + 3 * c) % 256).unwrap()
        });
        ndarray_npy::write_npy(ddim.path("x.npy"), &bytes).unwrap();
        let of_set = [
            "images.source=x.npy",
            "images.mean=",
            "images.std=",
            "model.shape=[3,4,4]",
            "metrics.measures=[\"objective\",\"objective-gap\"]",
        ];
        assert!(number(&rows(&ddim, &of_set)[0], "objective").is_finite());
        let sets = of_set[..4].iter().flat_map(|set| ["--set", set]);
        let check = ["check", "objective.toml"].into_iter().chain(sets);
        let said = ddim.refuses(&check.collect::<Vec<_>>());
        assert!(said.contains("needs images whose distribution is known"), "{said}");
        assert!(said.contains("needs a closed form"), "{said}");
    }

    #[test]
    fn what_an_objective_lacks_is_said_before_it_is_run() {
        let ddim = Ddim::new();
        fs::write(ddim.path("objective.toml"), OBJECTIVE).unwrap();
        for (sets, why) in [
            (&["solver.eta=0"][..], "J_sigma needs an eta above 0"),
            (&["solver.eta=", "solver.variance=sigma-hat"], "one sigma for both processes"),
            (&["solver.eta=9"], "eta = 9 is too large"),
            (&["solver.kind=heun", "solver.eta="], "no chain of Eq. (7) and (10)"),
            (&["grid.end=first-level"], "the last step must go to the image itself"),
            (&["objective.term=21"], "this grid has 20 steps"),
            (&["objective.term=0"], "at least 1"),
            (&["objective.weights=two"], "known here: exact, printed, one"),
            (&["model.clip_x0=true"], "needs a closed form"),
            (&["images.source=solution", "images.mean=", "images.std="], "not of what a solution"),
            (&["images.split=test"], "does not apply to draws"),
            (&["images.source=draws"], "`images.mean` does not apply to draws"),
            (&["images.std="], "`images.std` is missing"),
            (&["model.shared=one"], "`model.shared` does not apply to gaussian"),
            (&["task=sample", "images="], "is measured where `task = \"objective\"`"),
            (&["task=bits"], "`objective` is measured where"),
            (&["task=reconstruct"], "this task draws no images"),
        ] {
            let sets = sets.iter().flat_map(|set| ["--set", set]);
            let check = ["check", "objective.toml"].into_iter().chain(sets);
            let said = ddim.refuses(&check.collect::<Vec<_>>());
            assert!(said.contains(why), "{why}: {said}");
        }
        // Weights that are fitted to a J_sigma need one, whatever the task.
        let fitted = OBJECTIVE
            .replace(
                "source = \"gaussian\"\nshape",
                "source = \"linear\"\nshared = \"exact\"\nshape",
            )
            .replace("eta = 0.5", "eta = 0.0");
        fs::write(ddim.path("objective.toml"), fitted).unwrap();
        let sample = ["--set", "task=sample", "--set", "images=", "--set", "metrics="];
        let said = ddim.refuses(&[&["check", "objective.toml"][..], &sample].concat());
        assert!(said.contains("J_sigma needs an eta above 0"), "{said}");
    }

    #[test]
    fn bits_too_can_be_of_data_that_is_not_the_models() {
        let ddim = Ddim::new();
        let bits = |images: &str, model: &str| {
            let text = format!(
                "name = \"bits\"\nsamples = 8\nbatch = 8\ntask = \"bits\"\nimages = {images}\n\
                 model = {{ source = \"gaussian\", shape = [1, 4, 4], {model} }}\n\
                 grid = {{ tau = \"linspace\", steps = 50 }}\nsolver = {{ kind = \"heun\" }}\n\
                 metrics = {{ measures = [\"bits-gap\"], blocks = 2 }}\n"
            );
            fs::write(ddim.path("bits.toml"), text).unwrap();
            ddim.succeeds(&["run", "bits.toml", "--quiet", "--fresh"]);
            let file = ddim.path("results/bits/metrics.csv");
            let mut rows = csv::Reader::from_path(file).unwrap();
            let row: std::collections::BTreeMap<String, String> =
                rows.deserialize().next().unwrap().unwrap();
            number(&row, "bits-gap")
        };
        let own = bits("{ source = \"draws\" }", "mean = 0.1, std = 0.3");
        let named = "{ source = \"gaussian\", mean = 0.1, std = 0.3 }";
        assert_relative_eq!(bits(named, "mean = 0.1, std = 0.3"), own, max_relative = 1e-12);
        // A wrong spread costs its Kullback-Leibler divergence: log2(2) - (1 - 1/4) / (2 ln 2) = 0.459.
        let wrong = bits(named, "mean = 0.1, std = 0.6");
        assert!((wrong - own - 0.459).abs() < 0.15, "{wrong} {own}");
    }
}
