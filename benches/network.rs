//! The forward pass of `models/cifar10-small`, by number format, batch and memory layout.

#![allow(missing_docs, reason = "criterion's macros write functions without them")]

use std::{hint::black_box, path::Path};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ddim::networks::{
    network::Network,
    placement::{Layout, Placement, Precision},
};
use tch::{Device, Kind, Tensor};

fn forward(criterion: &mut Criterion) {
    let cases = [
        ("f32", Precision::F32, Layout::ChannelsLast, &[16, 32, 64, 128][..]),
        ("f32-channels-first", Precision::F32, Layout::ChannelsFirst, &[64]),
        ("bf16", Precision::Bf16, Layout::ChannelsLast, &[16, 64]),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/cifar10-small");
    let mut group = criterion.benchmark_group("forward");
    group.sample_size(10);
    for (name, precision, layout, batches) in cases {
        let placement = Placement { precision, layout, ..Placement::default() };
        let network =
            Network::open(&folder, &placement.into()).expect("invariant: the network is committed");
        let unet = network.unet().expect("invariant: it is a UNet");
        let label = Tensor::from_slice(&[500.0_f64]);
        for &batch in batches {
            let images = Tensor::zeros([batch, 3, 32, 32], (Kind::Float, Device::Cpu));
            group.throughput(Throughput::Elements(batch.unsigned_abs()));
            group.bench_function(BenchmarkId::new(name, batch), |bencher| {
                bencher.iter(|| unet.forward(black_box(&images), &label));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, forward);
criterion_main!(benches);
