//! A training step of the network of `experiments/train/cifar10-small.toml`, by number format.

#![allow(missing_docs, reason = "criterion's macros write functions without them")]

use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ddim::{
    core::Schedule,
    data::HeldSet,
    networks::{placement::Precision, predicts::Predicts, unet_config::UnetConfig},
    train::{
        batch::Feed,
        settings::{
            Augmentation, Budget, Denoiser, DenoiserLossKind, Learner, Optimiser, Settings,
        },
        trainer::Trainer,
    },
};
use tch::Device;

const BATCH: usize = 32;

fn step(criterion: &mut Criterion) {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/cifar10-small/config.json");
    let network = UnetConfig::read(&config).expect("invariant: the network is committed");
    let set = HeldSet {
        images: ndarray::Array4::from_shape_fn((256, 3, 32, 32), |(n, c, h, w)| {
            u8::try_from((31 * n + 7 * c + 5 * h + 3 * w) % 256).unwrap_or(0)
        }),
        classes: vec![],
        name: "ramps".to_owned(),
        split: "all".to_owned(),
        excluded: [].into(),
        notes: vec![],
        hashes_classes: false,
    };
    let mut group = criterion.benchmark_group("training step");
    group.sample_size(10);
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, precision, dropout) in [
        ("f32", Precision::F32, 0.0),
        ("bf16", Precision::Bf16, 0.0),
        ("f32, dropout", Precision::F32, 0.1),
    ] {
        let settings = Settings {
            seed: 0,
            batch: BATCH,
            budget: Budget::Images(1_000_000),
            learner: Learner::Denoiser(Denoiser {
                network: network.clone(),
                dropout,
                schedule: Schedule::linear(1e-4, 0.02, 1000).expect("invariant: DDPM's betas"),
                target: Predicts::Eps,
                weight_cap: 1.0,
                loss: DenoiserLossKind::Simple,
                importance: false,
            }),
            precision,
            augmentation: Augmentation { flip: true, shift: 0 },
            optimiser: Optimiser::default(),
            ema: 0.9999,
        };
        let mut trainer = Trainer::new(settings, Device::Cpu, None).expect("invariant: it fits");
        let mut feed =
            Feed::new(&set, (0, BATCH), Augmentation { flip: true, shift: 0 }, trainer.horizon());
        group.bench_function(BenchmarkId::new(name, BATCH), |bencher| {
            bencher.iter(|| {
                let batch = feed.batch(trainer.seen());
                trainer.step(&batch, 1_000_000).expect("invariant: a step runs");
                trainer.row().expect("invariant: losses can be read")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
