//! The reference solution that `[solution]` asks for: what the measures `error` and `feature-error`
//! compare samples with, and what is refused.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use approx::assert_abs_diff_eq;
use ddim::core::KeyedNoise;
use ddim::hardware::Hardware;
use ddim::manifest::{Argument, Manifest};
use ddim::measure::features::{self, Extractors};
use ddim::plan::Plan;
use ddim::run::assemble::{Models, Samples, instruments, vocabulary};
use ddim::run::registry::Registry;
use ddim::run::runner;

const BASE: &str = r#"
name = "reference"
samples = 16
batch = 8

[model]
source = "gaussian"
shape = [1, 2, 3]
mean = 0.3
std = 0.5

[grid]
tau = "official-uniform"
steps = 10

[solver]
kind = "heun"

[solution]
kind = "exact"

[metrics]
measures = ["error"]
blocks = 4
"#;

fn plan(sets: &[&str]) -> Plan {
    let sets: Vec<Argument> = sets.iter().copied().map(Argument::set).collect();
    let vocabulary = vocabulary(&Registry::shipped());
    Manifest::parse("reference.toml", BASE).unwrap().plan(None, &sets, &vocabulary).unwrap()
}

fn draw(sets: &[&str]) -> Samples {
    let (plan, registry) = (plan(sets), Registry::shipped());
    let spec = &plan.cells[0].spec;
    let mut models = Models::new(Hardware::open("cpu", Some(1)).unwrap(), &registry);
    let noise = KeyedNoise { seed: 0, first: 0 };
    models.sampler(spec).unwrap().sample(noise, 8, &mut |_| Ok(())).unwrap()
}

fn errors(sets: &[&str]) -> Vec<f64> {
    draw(sets).numbers["error"].clone()
}

#[test]
fn the_error_is_the_rms_difference_from_the_exact_flow_of_the_same_noise() {
    // A tight adaptive method stands for the exact flow: samples are as far from it as from that.
    let heun = draw(&[]);
    let exact = draw(&["solver.kind=dormand-prince", "solver.rtol=1e-13", "solver.atol=1e-13"]);
    let difference = &heun.images - &exact.images;
    for (error, difference) in heun.numbers["error"].iter().zip(difference.outer_iter()) {
        let rms = difference.iter().map(|x| f64::from(x * x)).sum::<f64>() / 6.0;
        assert_abs_diff_eq!(*error, rms.sqrt(), epsilon = 1e-6);
    }
    assert!(exact.numbers["error"].iter().all(|error| *error < 1e-11));
}

#[test]
fn an_adaptive_reference_comes_as_close_to_the_exact_one_as_its_tolerance() {
    let exact = errors(&[]);
    let adaptive =
        errors(&["solution.kind=dormand-prince", "solution.rtol=1e-12", "solution.atol=1e-12"]);
    for (exact, adaptive) in exact.iter().zip(&adaptive) {
        assert_abs_diff_eq!(*exact, *adaptive, epsilon = 1e-10);
    }
}

#[test]
fn a_solver_has_no_error_to_itself_on_its_own_grid() {
    let own = ["solution.kind=heun", "solution.tau=official-uniform"];
    assert_eq!(errors(&[&own[..], &["solution.steps=10"]].concat()), [0.0; 8]);
    assert!(errors(&[&own[..], &["solution.steps=20"]].concat()).iter().all(|error| *error > 1e-4));
}

#[test]
fn in_a_window_samples_start_where_the_reference_passes() {
    // From the schedule's top to sigma = 10 by the reference, and on by a solver that is as exact: were
    // x_T taken for the state at sigma = 10, the image would be another.
    let window = ["grid.tau=log-snr", "grid.window=[10.0, 0.5]"];
    let fine = draw(&[&window[..], &["solver.kind=rk4", "grid.steps=200"]].concat());
    assert!(fine.numbers["error"].iter().all(|error| *error < 1e-8));
    let coarse = errors(&[&window[..], &["grid.steps=4"]].concat());
    assert!(coarse.iter().all(|error| (1e-4..1e-1).contains(error)), "{coarse:?}");
}

#[test]
fn a_reference_that_cannot_be_is_refused_before_anything_runs() {
    let registry = Registry::shipped();
    let refusal =
        |sets: &[&str]| runner::check(&plan(sets), &registry).map(drop).unwrap_err().to_string();
    let mixture = ["model.source=mixture", "model.mean=[0.0, 1.0]", "model.std=[0.1, 0.1]"];
    let cases: [(&[&str], &[&str]); 4] = [
        (&mixture, &["exact flow of `mixture` is not known", "dormand-prince"]),
        (
            &["solver.kind=ddim", "solver.eta=0.5"],
            &["`ddim` draws noise, so", "`sliced-wasserstein`"],
        ),
        (&["solution.kind=dormand-prince", "solution.rtol=-1.0"], &["rtol", "positive"]),
        (&["grid.window=[10.0, 0.5]"], &["has no window", "log-snr"]),
    ];
    for (sets, expected) in cases {
        let message = refusal(sets);
        for words in expected {
            assert!(message.contains(words), "{message}");
        }
    }
}

#[test]
fn a_solution_on_other_levels_than_the_samples_is_refused() {
    let vocabulary = vocabulary(&Registry::shipped());
    let own = ["solution.kind=heun", "solution.tau=karras", "solution.steps=20"].map(Argument::set);
    let planned = |set: &str| {
        let sets = [&own[..], &[Argument::set(set)]].concat();
        Manifest::parse("solution.toml", BASE).unwrap().plan(None, &sets, &vocabulary)
    };
    for end in ["grid.end=first-level", "solution.end=first-level"] {
        let message = planned(end).unwrap_err().to_string();
        assert!(message.contains("ends at another level than the samples"), "{message}");
    }
    let message = planned("solution.window=[5.0, 0.1]").unwrap_err().to_string();
    assert!(message.contains("unknown key `solution.window`"), "{message}");
    assert!(planned("solution.end=clean").is_ok());
}

/// The metric `feature-error` of eight samples, and its samples.
fn feature_error(sets: &[&str]) -> (f64, Samples) {
    let features = format!("metrics.features={FEATURES}");
    let measured = ["model.shape=[3, 32, 32]", "metrics.measures=[\"feature-error\"]", &features];
    let sets = [&measured[..], sets].concat();
    let mut extractors = Extractors::new(Hardware::open("cpu", Some(1)).unwrap());
    let instruments = instruments(&plan(&sets).cells[0].spec, &mut extractors).unwrap();
    let samples = draw(&sets);
    let metrics = instruments
        .metrics(instruments.read(&samples, samples.images.dim().0).unwrap().view())
        .unwrap();
    assert_eq!(metrics.keys().collect::<Vec<_>>(), ["feature-error-cifar10-features"]);
    (metrics["feature-error-cifar10-features"].value, samples)
}

const FEATURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/cifar10-features");

#[test]
fn the_feature_error_is_the_mean_distance_to_the_features_of_the_reference() {
    // Eight bits would hide small differences.
    let own = ["solution.kind=heun", "solution.tau=official-uniform", "metrics.quantise=false"];
    let (error, samples) = feature_error(&[&own[..], &["solution.steps=10"]].concat());
    assert_abs_diff_eq!(error, 0.0, epsilon = 0.0);
    assert_eq!(samples.solution.unwrap(), samples.images);

    let (error, samples) = feature_error(&[&own[..], &["solution.steps=40"]].concat());
    let mut extractors = Extractors::new(Hardware::open("cpu", Some(1)).unwrap());
    let extractor = extractors.extractor(FEATURES).unwrap();
    // The reference's images are those that its method draws by itself.
    let fine = draw(&["model.shape=[3, 32, 32]", "grid.steps=40"]).images;
    assert_eq!(samples.solution.unwrap(), fine);
    let features = |images: &ndarray::Array4<f32>| {
        let place = features::Place::on(tch::Device::Cpu);
        features::features(&*extractor, images.view(), false, &place).unwrap()
    };
    let difference = features(&samples.images) - features(&fine);
    let distances = difference
        .outer_iter()
        .map(|row| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt());
    assert_abs_diff_eq!(error, distances.sum::<f64>() / 8.0, epsilon = 1e-6);
    assert!(error > 1e-3, "{error}");
}

#[test]
fn images_that_solve_no_ode_have_no_feature_error() {
    let features = format!("metrics.features={FEATURES}");
    let noisy = plan(&[
        "model.shape=[3, 32, 32]",
        "metrics.measures=[\"feature-error\"]",
        &features,
        "solver.kind=ddim",
        "solver.eta=0.5",
    ]);
    let message = runner::check(&noisy, &Registry::shipped()).map(drop).unwrap_err().to_string();
    for words in ["`ddim` draws noise, so", "`feature-error` is for deterministic methods"] {
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn states_of_two_precisions_have_a_reference_each() {
    let network = [
        "model.source=models/cifar10-small",
        "model.shape=",
        "model.mean=",
        "model.std=",
        "solution.kind=heun",
        "solution.tau=official-uniform",
        "solution.steps=2",
        "grid.steps=2",
    ];
    let registry = Registry::shipped();
    let mut models = Models::new(Hardware::open("cpu", Some(1)).unwrap(), &registry);
    let noise = KeyedNoise { seed: 0, first: 0 };
    let [single, double] = ["state=f32", "state=f64"].map(|state| {
        let plan = plan(&[&network[..], &[state]].concat());
        let sampler = models.sampler(&plan.cells[0].spec).unwrap();
        let samples = sampler.sample(noise, 2, &mut |_| Ok(())).unwrap();
        assert_eq!(samples.numbers["error"], [0.0; 2], "{state}");
        samples.images
    });
    // Started from the other's solution, a cell would run in the other's state, and without an error.
    assert_ne!(single, double);
}
