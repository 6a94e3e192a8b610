//! The Fréchet distance with its jackknife, by samples and features.

#![allow(missing_docs, reason = "criterion's macro writes an undocumented function")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ddim::{
    core::{Draw, KeyedNoise},
    metrics::{DEFAULT_BLOCKS, FrechetReference, Moments, frechet_jackknife},
};
use ndarray::Array2;

fn features(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
    let mut out = vec![0.0; rows * columns];
    KeyedNoise { seed, first: 0 }.fill(&mut out, rows, Draw::Initial, |z| z);
    Array2::from_shape_vec((rows, columns), out).expect("invariant: it is a matrix")
}

fn distances(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("metric/frechet");
    group.sample_size(10);
    // The last is FID of few samples: N < D takes another way.
    for (n, d) in [(256, 64), (2048, 64), (2048, 512), (64, 2048)] {
        let moments = Moments::of(features(4 * d, d, 1).view()).expect("moments");
        let reference = FrechetReference::new(&moments).expect("a reference");
        let samples = features(n, d, 0);
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(BenchmarkId::new("moments", format!("{n}x{d}")), |bencher| {
            bencher.iter(|| Moments::of(samples.view()));
        });
        group.bench_function(BenchmarkId::new("jackknife", format!("{n}x{d}")), |bencher| {
            bencher.iter(|| frechet_jackknife(samples.view(), DEFAULT_BLOCKS, &reference));
        });
    }
    group.finish();
}

criterion_group!(benches, distances);
criterion_main!(benches);
