//! The same bytes for any batch, and pinned noise.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use ddim::{
    backends::array::Array,
    core::{Denoiser, Draw, KeyedNoise, Noise, Solver, Tau, integrate},
    models::{
        gaussian::Gaussian,
        mixture::{Component, Mixture},
    },
    solvers::{Ddim, Ddpm, DpmSolverPp2M, Heun, Variance},
};
use support::grid;

fn sample(
    solver: &dyn Solver<Array>,
    model: &dyn Denoiser<State = Array>,
    n: usize,
    batch: usize,
) -> Vec<u64> {
    let grid = grid(&Tau::OfficialQuad, 10);
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
    let solvers: [&dyn Solver<Array>; 5] = [
        &Ddim { variance: Variance::Eta(0.0) },
        &Ddim { variance: Variance::Eta(0.7) },
        &Ddpm { variance: Variance::SigmaHat },
        &Heun,
        &DpmSolverPp2M,
    ];
    for model in models {
        for solver in solvers {
            let whole = sample(solver, model, 64, 64);
            assert_eq!(whole, sample(solver, model, 64, 1), "{}", solver.name());
            assert_eq!(whole, sample(solver, model, 64, 7), "{}", solver.name());
        }
    }
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
