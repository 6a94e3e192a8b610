//! Training against PyTorch's numbers, and against itself stopped and continued.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use assert_cmd::cargo::cargo_bin;
use ddim::{
    models::{unet::Precision, unet_config::UnetConfig},
    train::{
        batch::Batch,
        settings::{Augmentation, Budget, Denoiser, Optimiser, Settings, Target, Task},
        trainer::Trainer,
    },
};
use support::fill;
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

/// Two levels of eight channels, attention at the lower.
fn network() -> UnetConfig {
    UnetConfig {
        sample_size: Some(8),
        in_channels: 3,
        out_channels: 3,
        block_out_channels: vec![8, 8],
        layers_per_block: 1,
        down_attention: vec![false, true],
        up_attention: vec![true, false],
        attention_head_dim: None,
        norm_num_groups: 4,
        norm_eps: 1e-6,
        time_embedding_dim: None,
        flip_sin_to_cos: false,
        freq_shift: 1.0,
        downsample_padding: 0,
    }
}

fn settings(target: Target, weight_cap: f64) -> Settings {
    Settings {
        seed: 0,
        batch: 6,
        budget: Budget::Images(24),
        task: Task::Denoiser(Denoiser {
            network: network(),
            dropout: 0.0,
            schedule: support::linear(),
            target,
            weight_cap,
        }),
        precision: Precision::F32,
        augmentation: Augmentation::default(),
        // The large epsilon keeps a step continuous where a gradient is nearly 0.
        optimiser: Optimiser {
            rate: 1e-2,
            warmup: 12,
            epsilon: 1e-3,
            clip: 0.5,
            ..Optimiser::default()
        },
        ema: 0.9,
    }
}

fn weights() -> BTreeMap<String, Tensor> {
    let tensor = |(name, shape): (String, Vec<i64>)| {
        let values = Tensor::from_slice(&fill::fill(&name, &shape));
        (name, values.reshape(shape).to_kind(Kind::Float))
    };
    network().tensors().into_iter().map(tensor).collect()
}

/// The k-th batch of the golden training.
fn batch(k: u64) -> Batch {
    let count = 6 * 3 * 8 * 8;
    let byte = |x: f64| ((x + 1.0) / 2.0 * 255.0).floor() as u8;
    Batch {
        first: 6 * k,
        shape: [6, 3, 8, 8],
        images: fill::unit(&format!("train/img{k}"), count).into_iter().map(byte).collect(),
        classes: vec![],
        labels: (0..6).map(|i| ((17 + 131 * (k * 6 + i)) % 1000) as i64).collect(),
        noise: fill::normal(&format!("train/eps{k}"), count).iter().map(|&z| z as f32).collect(),
    }
}

fn golden(name: &str) -> Vec<f64> {
    support::golden_tensor("training.safetensors", name).iter().copied().collect()
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < tolerance, "{i}: {found} and not {expected}");
    }
}

#[test]
fn four_steps_are_those_of_pytorch() {
    let mut trainer =
        Trainer::new(settings(Target::Eps, 5.0), Device::Cpu, Some(&weights())).unwrap();
    let norm = trainer.columns().len() - 1;
    let (mut losses, mut norms) = (vec![], vec![]);
    for k in 0..4 {
        trainer.step(&batch(k), 24).unwrap();
        let row = trainer.row().unwrap();
        losses.push(row.means[0]);
        norms.push(row.means[norm]);
    }
    // Losses are of the size of 1, norms of 5, and weights move by 1e-2 a step.
    assert_close(&losses, &golden("losses"), 2e-6);
    assert_close(&norms, &golden("norms"), 2e-5);
    let state = trainer.state().unwrap();
    let numbers = |x: &Tensor| Vec::<f64>::try_from(x.to_kind(Kind::Double)).unwrap();
    assert_close(&numbers(&state.weights), &golden("weights"), 5e-6);
    assert_close(&numbers(state.average.as_ref().unwrap()), &golden("average"), 5e-6);
}

#[test]
fn the_losses_on_x0_and_v_are_those_of_pytorch() {
    for (target, name) in [(Target::X0, "x0"), (Target::V, "v")] {
        let mut trainer =
            Trainer::new(settings(target, 1.0), Device::Cpu, Some(&weights())).unwrap();
        trainer.step(&batch(0), 24).unwrap();
        let row = trainer.row().unwrap();
        let each = golden(name);
        let labels = batch(0).labels;
        // The whole, and the quarters of t that the labels 17, 148, 279, 410, 541, 672 lie in.
        let mean = |quarter: Option<i64>| {
            let of = |t: i64| quarter.is_none_or(|quarter| t / 250 == quarter);
            let values: Vec<f64> =
                each.iter().zip(&labels).filter(|(_, t)| of(**t)).map(|(x, _)| *x).collect();
            values.iter().sum::<f64>() / values.len() as f64
        };
        let expected = [mean(None), mean(Some(0)), mean(Some(1)), mean(Some(2))];
        assert_close(&row.means[..4], &expected, 2e-6);
        assert!(row.means[4].is_nan(), "no label lies in the last quarter");
    }
}

#[test]
fn an_untrained_network_predicts_nothing_and_loses_the_variance_of_eps() {
    let mut trainer = Trainer::new(settings(Target::Eps, 1.0), Device::Cpu, None).unwrap();
    trainer.step(&batch(0), 24).unwrap();
    let noise = batch(0).noise;
    let power = noise.iter().map(|&z| f64::from(z).powi(2)).sum::<f64>() / noise.len() as f64;
    assert_close(&trainer.row().unwrap().means[..1], &[power], 1e-6);
}

/// A training of half a second: 3 classes of 8 x 8 images, in bfloat16 if `precision` says so.
fn manifest(folder: &Path, more: &str) -> std::path::PathBuf {
    let images = folder.join("images");
    fs::create_dir_all(&images).unwrap();
    for i in 0..20_u8 {
        let pixels = image::RgbImage::from_fn(8, 8, |x, y| {
            let [x, y] = [x, y].map(|v| u8::try_from(v).unwrap());
            image::Rgb([i * 12, x * 30, (y * 30).wrapping_add(i)])
        });
        pixels.save(images.join(format!("{i:02}.png"))).unwrap();
    }
    let path = folder.join("tiny.toml");
    let text = format!(
        "name = \"tiny\"\ntask = \"denoiser\"\nseed = 3\nbatch = 4\n[data]\nsource = {:?}\nflip = true\n\
         [network]\nchannels = [8, 8]\nlayers = 1\nattention = [1]\ngroups = 4\ndropout = 0.2\n\
         [optimiser]\nrate = 1e-3\nwarmup = 40\ndecay = 0.4\nema = 0.99\n[budget]\nimages = 1200\n\
         [watch]\nlog = 40\ncheckpoint = 0.02\nsamples = 4\nsteps = 3\nevery = 400\n{more}",
        images.display().to_string()
    );
    fs::write(&path, text).unwrap();
    path
}

fn train(manifest: &Path, out: &Path) -> Command {
    let mut command = Command::new(cargo_bin("ddim"));
    command.args(["train", "--threads", "1", "--quiet", "--out"]).arg(out).arg(manifest);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// What a training leaves that must not depend on interruptions.
fn outcome(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = ["model/diffusion_pytorch_model.safetensors", "model/samples.png", "loss.csv"];
    let samples = fs::read_dir(out.join("samples")).unwrap().map(|entry| {
        let name = entry.unwrap().file_name();
        format!("samples/{}", name.to_string_lossy())
    });
    let all = files.map(str::to_owned).into_iter().chain(samples);
    all.map(|name| (name.clone(), fs::read(out.join(name)).unwrap())).collect()
}

#[test]
fn a_training_that_is_killed_ten_times_ends_at_the_same_bytes() {
    let folder = TempDir::new().unwrap();
    let manifest = manifest(folder.path(), "");
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    assert!(train(&manifest, &whole).status().unwrap().success());
    let mut kills = 0;
    // Fixed, but anywhere: a kill may hit the start, a step, an exam or a file being written.
    for wait in [350, 140, 420, 90, 260, 510, 180, 330, 600, 220, 470, 390] {
        let mut child = train(&manifest, &killed).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        kills += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(train(&manifest, &killed).status().unwrap().success());
    assert!(kills >= 5, "the training was too short to be killed more than {kills} times");
    let (whole, killed) = (outcome(&whole), outcome(&killed));
    assert_eq!(whole.keys().collect::<Vec<_>>(), killed.keys().collect::<Vec<_>>());
    for (name, bytes) in &whole {
        assert!(killed[name] == *bytes, "{name} differs");
    }
}
