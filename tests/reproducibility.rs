//! The same bytes for any batch, and pinned noise.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;

use ddim::{
    backends::array::Array,
    core::{Denoiser, Draw, KeyedNoise, Noise, Solver, Tau, integrate},
    exact::{Component, Gaussian, Mixture},
    run::registry::Registry,
    solvers::DormandPrince,
};
use support::{grid, linear, solvers::solver};

fn sample(
    solver: &dyn Solver<Array>,
    model: &dyn Denoiser<State = Array>,
    n: usize,
    batch: usize,
) -> Vec<u64> {
    let grid = grid(&Tau::OFFICIAL_QUAD, 10);
    let mut bits = vec![];
    for first in (0..n).step_by(batch) {
        let noise = KeyedNoise { seed: 11, first: first as u64 };
        let like = Array::zeros(vec![batch.min(n - first), 3, 4, 4]);
        let x = noise.draw(&like, Draw::Initial).unwrap();
        let x = integrate(solver, model, &noise, &grid, x, |_, _, _| Ok(())).unwrap().x;
        bits.extend(x.iter().map(|value| value.to_bits()));
    }
    bits
}

#[test]
fn exact_score_samples_are_bitwise_equal_for_batch_1_7_and_64() {
    let gaussian = Gaussian { mean: 0.1, std: 0.5 };
    let mixture = Mixture::new(vec![
        Component { weight: 0.6, mean: vec![0.5], std: 0.2 },
        Component { weight: 0.4, mean: vec![-0.5], std: 0.3 },
    ])
    .unwrap();
    let models: [&dyn Denoiser<State = Array>; 2] = [&gaussian, &mixture];
    // Every method but the adaptive one, whose steps a batch shares; categories are in tests/multinomial.rs.
    let kinds = Registry::shipped().kinds().into_iter().filter(|kind| !kind.categorical);
    let kinds = kinds.map(|kind| kind.name).filter(|name| name != "dormand-prince");
    let solvers = kinds.map(|name| format!("kind = \"{name}\"")).chain([
        r#"kind = "ddim", eta = 0.7"#.to_owned(),
        r#"kind = "ddpm", variance = "sigma-hat""#.to_owned(),
        r#"kind = "unipc-bh2", order = 3"#.to_owned(),
    ]);
    let solvers: Vec<(String, Arc<dyn Solver<Array>>)> =
        solvers.map(|words| (words.clone(), solver(&words) as _)).collect();
    for model in models {
        for (words, solver) in &solvers {
            let whole = sample(&**solver, model, 64, 64);
            assert_eq!(whole, sample(&**solver, model, 64, 1), "{words}");
            assert_eq!(whole, sample(&**solver, model, 64, 7), "{words}");
        }
    }
}

#[test]
fn adaptive_samples_are_the_same_for_any_batch_within_the_tolerance_alone() {
    let solver = DormandPrince::new(1e-8, 1e-8, linear()).unwrap();
    let model = Gaussian { mean: 0.1, std: 0.5 };
    let whole = sample(&solver, &model, 64, 64);
    assert_eq!(whole, sample(&solver, &model, 64, 64));
    let single = sample(&solver, &model, 64, 1);
    let differences =
        whole.iter().zip(&single).map(|(a, b)| (f64::from_bits(*a) - f64::from_bits(*b)).abs());
    let largest = differences.fold(0.0, f64::max);
    assert!(largest < 1e-7, "{largest:.1e}");
    assert!(largest > 0.0, "the steps of a batch are shared: the doc would promise too little");
}

#[test]
fn the_first_normals_of_a_seed_never_change() {
    let noise = KeyedNoise { seed: 0, first: 0 };
    let z = noise.draw(&Array::zeros(vec![2, 2]), Draw::Initial).unwrap();
    insta::assert_debug_snapshot!(z.iter().collect::<Vec<_>>(), @r"
    [
        1.3776972067507913,
        0.4053468246470284,
        -0.8632882512544804,
        -1.1407314609769101,
    ]
    ");
    let z = noise.draw(&Array::zeros(vec![1, 2]), Draw::Step { position: 3, sub: 1 }).unwrap();
    insta::assert_debug_snapshot!(z.iter().collect::<Vec<_>>(), @r"
    [
        -0.02432083151006936,
        1.5219941820246223,
    ]
    ");
}
