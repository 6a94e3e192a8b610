//! What a solver costs beside its model calls: a trajectory with a free model, by state and size.
//!
//! The model is a centred Gaussian, one multiplication an element. Figures are per element, call
//! included: at ten steps, whole trajectories from noise to data.

#![allow(missing_docs, reason = "criterion's macro writes an undocumented function")]

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ddim::{
    backends::array::Array,
    core::{Denoiser, Draw, End, Grid, KeyedNoise, Noise, Schedule, Solver, State, Tau, integrate},
    exact::CentredGaussian,
    run::registry::{Everywhere, Registry},
};
use tch::{Device, Kind, Tensor};

#[allow(dead_code, reason = "its main is the example's")]
#[path = "../examples/own_solver.rs"]
mod own_solver;

const STEPS: usize = 10;
const SIZES: [[usize; 4]; 2] = [[1, 3, 32, 32], [64, 3, 32, 32]];

fn trajectories<S: State + 'static>(
    criterion: &mut Criterion,
    state: &str,
    pick: fn(Arc<dyn Everywhere>) -> Arc<dyn Solver<S>>,
    zeros: fn([usize; 4]) -> S,
) where
    KeyedNoise: Noise<S>,
{
    let mut registry = Registry::shipped();
    own_solver::register(&mut registry);
    let schedule = Schedule::linear(1e-4, 0.02, 1000).expect("invariant: it is a schedule");
    let grid = Grid::new(&schedule, &Tau::LINSPACE_REAL, STEPS, End::Clean)
        .expect("invariant: it is a grid");
    let model = CentredGaussian::<S>::new(0.5);
    let model: &dyn Denoiser<State = S> = &model;
    let noise = KeyedNoise { seed: 0, first: 0 };
    for size in SIZES {
        let elements = size.iter().product::<usize>();
        let mut group = criterion.benchmark_group(format!("solver/{state}/{elements}"));
        group.throughput(Throughput::Elements((elements * STEPS) as u64));
        let x = noise.draw(&zeros(size), Draw::Initial).expect("noise is drawn");
        for kind in registry.kinds().iter().filter(|kind| !kind.categorical) {
            let section = Registry::section(kind);
            let solver = registry.build(&section, &schedule, STEPS).expect("a registered solver");
            let solver = pick(solver);
            group.bench_function(BenchmarkId::from_parameter(&kind.name), |bencher| {
                bencher.iter(|| {
                    let start = S::lincomb(&[(1.0, &x)]).expect("a copy");
                    integrate(&*solver, model, &noise, &grid, start, |_, _, _| Ok(()))
                        .expect("a trajectory")
                });
            });
        }
        group.finish();
    }
}

fn steps(criterion: &mut Criterion) {
    trajectories::<Array>(criterion, "ndarray-f64", |s| s, |size| Array::zeros(size.to_vec()));
    tch::set_num_threads(2);
    trajectories::<Tensor>(
        criterion,
        "torch-f32",
        |s| s,
        |size| {
            Tensor::zeros(size.map(|n| i64::try_from(n).unwrap_or(0)), (Kind::Float, Device::Cpu))
        },
    );
}

fn noise(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("noise");
    for size in SIZES {
        let elements = size.iter().product::<usize>();
        group.throughput(Throughput::Elements(elements as u64));
        let mut out = vec![0.0_f32; elements];
        group.bench_function(BenchmarkId::new("keyed-f32", elements), |bencher| {
            let noise = KeyedNoise { seed: 0, first: 0 };
            #[allow(clippy::cast_possible_truncation, reason = "the state's type")]
            bencher.iter(|| noise.fill(&mut out, size[0], Draw::Initial, |z| z as f32));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(100))
        .measurement_time(std::time::Duration::from_millis(400));
    targets = noise, steps
}
criterion_main!(benches);
