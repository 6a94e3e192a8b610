//! Training against PyTorch's numbers, and against itself stopped and continued.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "these are tests")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "bytes, timesteps and f32 numbers are made of what fits"
)]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use ddim::{
    networks::{
        placement::{Placement, Precision},
        predicts::Predicts,
        unet::{self, Unet},
        unet_config::UnetConfig,
        weights::Weights,
    },
    train::{
        batch::Batch,
        settings::{
            Augmentation, Budget, Denoiser, DenoiserLossKind, Learner, Optimiser, Settings,
        },
        trainer::Trainer,
    },
};
use support::{fill, kills, program};
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

fn settings(target: Predicts, weight_cap: f64) -> Settings {
    Settings {
        seed: 0,
        batch: 6,
        budget: Budget::Images(24),
        learner: Learner::Denoiser(Denoiser {
            network: network(),
            dropout: 0.0,
            schedule: support::linear(),
            target,
            weight_cap,
            loss: DenoiserLossKind::Simple,
            importance: false,
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

/// A training that learns the variance too, of a network that makes six channels of three.
fn ranged(loss: DenoiserLossKind, importance: bool) -> Settings {
    let mut settings = settings(Predicts::Eps, 1.0);
    let Learner::Denoiser(denoiser) = &mut settings.learner else { unreachable!() };
    denoiser.network.out_channels = 6;
    denoiser.loss = loss;
    denoiser.importance = importance;
    settings
}

/// The golden weights with a second half of the last layer, of some size.
fn ranged_weights(size: f64) -> BTreeMap<String, Tensor> {
    let mut weights = weights();
    for name in ["conv_out.weight", "conv_out.bias"] {
        let first = &weights[name];
        let twice = Tensor::cat(&[first, &(size * first)], 0);
        weights.insert(name.to_owned(), twice);
    }
    weights
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
    let byte = |x: f64| (f64::midpoint(x, 1.0) * 255.0).floor() as u8;
    Batch {
        first: 6 * k,
        shape: [6, 3, 8, 8],
        images: fill::unit(&format!("train/img{k}"), count).into_iter().map(byte).collect(),
        classes: vec![],
        timesteps: (0..6).map(|i| ((17 + 131 * (k * 6 + i)) % 1000) as i64).collect(),
        noise: fill::normal(&format!("train/eps{k}"), count).iter().map(|&z| z as f32).collect(),
        weights: vec![],
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
        Trainer::new(settings(Predicts::Eps, 5.0), Device::Cpu, Some(&weights())).unwrap();
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
fn a_batch_divided_over_threads_has_the_gradient_of_the_whole() {
    let after_two_steps = |threads| {
        let mut settings = settings(Predicts::Eps, 5.0);
        let Learner::Denoiser(denoiser) = &mut settings.learner else { unreachable!() };
        denoiser.dropout = 0.3;
        let before = tch::get_num_threads();
        tch::set_num_threads(threads);
        let mut trainer = Trainer::new(settings, Device::Cpu, Some(&weights())).unwrap();
        let rows: Vec<f64> = (0..2)
            .flat_map(|k| {
                trainer.step(&batch(k), 24).unwrap();
                let means = trainer.row().unwrap().means;
                means.into_iter().filter(|mean| !mean.is_nan()).collect::<Vec<_>>()
            })
            .collect();
        let weights = trainer.state().unwrap().weights.to_kind(Kind::Double);
        tch::set_num_threads(before);
        (rows, Vec::<f64>::try_from(weights).unwrap())
    };
    let (rows, weights) = after_two_steps(1);
    // Of six images: equal parts, unequal ones, and no more parts than images.
    for threads in [2, 4, 8] {
        let divided = after_two_steps(threads);
        assert_close(&divided.0, &rows, 2e-5);
        assert_close(&divided.1, &weights, 5e-6);
    }
}

#[test]
fn the_losses_on_x0_and_v_are_those_of_pytorch() {
    for (target, name) in [(Predicts::X0, "x0"), (Predicts::V, "v")] {
        let mut trainer =
            Trainer::new(settings(target, 1.0), Device::Cpu, Some(&weights())).unwrap();
        trainer.step(&batch(0), 24).unwrap();
        let row = trainer.row().unwrap();
        let each = golden(name);
        let timesteps = batch(0).timesteps;
        // The whole, and the quarters that the timesteps 17, 148, 279, 410, 541, 672 lie in.
        let mean = |quarter: Option<i64>| {
            let of = |t: i64| quarter.is_none_or(|quarter| t / 250 == quarter);
            let values: Vec<f64> =
                each.iter().zip(&timesteps).filter(|(_, t)| of(**t)).map(|(x, _)| *x).collect();
            values.iter().sum::<f64>() / values.len() as f64
        };
        let expected = [mean(None), mean(Some(0)), mean(Some(1)), mean(Some(2))];
        assert_close(&row.means[..4], &expected, 2e-6);
        assert!(row.means[4].is_nan(), "no label lies in the last quarter");
    }
}

#[test]
fn the_network_that_is_trained_is_the_one_that_runs() {
    let (config, tensors) = (network(), weights());
    // What asks for a gradient takes other ways through the network.
    let asking = |(name, x): (&String, &Tensor)| (name.clone(), x.detach().set_requires_grad(true));
    let parameters = tensors.iter().map(asking).collect();
    let frequencies = unet::frequencies(&config, Device::Cpu).unwrap();
    let placement = Placement::default();
    let trained = Unet::of_parameters(&config, &parameters, &frequencies, placement).unwrap();
    let given = Weights { tensors, sha256: String::new(), origin: "fill".into() };
    let run = Unet::new(&config, &given, Placement::default()).unwrap();
    let images = Tensor::from_slice(&fill::unit("train/plain", 2 * 3 * 8 * 8));
    let images = images.reshape([2, 3, 8, 8]).to_kind(Kind::Float);
    let t = Tensor::from_slice(&[3_i64, 700]);
    let trained = trained.forward_train(&images, &t, None).unwrap();
    assert!(trained.requires_grad());
    let difference = (trained - run.forward(&images, &t).unwrap()).abs().max();
    assert!(difference.double_value(&[]) < 2e-6, "{difference}");
}

#[test]
fn bfloat16_changes_the_arithmetic_and_not_the_weights() {
    let settings = Settings { precision: Precision::Bf16, ..settings(Predicts::Eps, 5.0) };
    let mut trainer = Trainer::new(settings, Device::Cpu, Some(&weights())).unwrap();
    trainer.step(&batch(0), 24).unwrap();
    let loss = trainer.row().unwrap().means[0];
    // Eight bits of mantissa: the loss is right to a percent and not to the digits of f32.
    let exact = golden("losses")[0];
    assert!((loss - exact).abs() < 0.01 * exact && (loss - exact).abs() > 1e-6, "{loss} {exact}");
    assert_eq!(trainer.state().unwrap().weights.kind(), Kind::Float);
}

#[test]
fn an_untrained_network_predicts_nothing_and_loses_the_variance_of_eps() {
    let mut trainer = Trainer::new(settings(Predicts::Eps, 1.0), Device::Cpu, None).unwrap();
    trainer.step(&batch(0), 24).unwrap();
    let noise = batch(0).noise;
    let power = noise.iter().map(|&z| f64::from(z).powi(2)).sum::<f64>() / noise.len() as f64;
    assert_close(&trainer.row().unwrap().means[..1], &[power], 1e-6);
}

#[test]
fn the_bound_of_a_hybrid_loss_moves_the_variance_and_not_the_mean() {
    // Plain gradient descent: what Adam does to a gradient of 0 says nothing.
    let moved = |loss, weights: BTreeMap<String, Tensor>| {
        let mut settings = ranged(loss, false);
        settings.optimiser.clip = 1e9;
        if loss == DenoiserLossKind::Simple {
            let Learner::Denoiser(denoiser) = &mut settings.learner else { unreachable!() };
            denoiser.network.out_channels = 3;
        }
        let mut trainer = Trainer::new(settings, Device::Cpu, Some(&weights)).unwrap();
        trainer.step(&batch(0), 24).unwrap();
        let parameters = trainer.parameters().clone();
        let gradient = parameters.split(&trainer.state().unwrap().moments.mean).unwrap();
        let row = trainer.row().unwrap().means;
        (gradient["conv_out.bias"].copy(), row, trainer.columns())
    };
    let values = |x: Tensor| Vec::<f64>::try_from(x.to_kind(Kind::Double)).unwrap();
    let (simple, row, _) = moved(DenoiserLossKind::Simple, weights());
    let (hybrid, both, columns) = moved(DenoiserLossKind::Hybrid(0.5), ranged_weights(0.3));
    let (vlb, ..) = moved(DenoiserLossKind::Vlb, ranged_weights(0.3));
    assert_eq!(columns[..2], ["loss", "mse"]);
    assert_eq!(columns[6..], ["vlb", "gradient norm"]);
    assert_close(&both[1..2], &row[..1], 1e-6);
    assert_close(&both[..1], &[both[1] + 0.5 * both[6]], 1e-5 * both[0]);
    let (simple, hybrid, vlb) = (values(simple), values(hybrid), values(vlb));
    let of_variance: f64 = hybrid[3..].iter().map(|g| g.abs()).sum();
    assert!(of_variance > 1e-6, "{hybrid:?}");
    // The layers below share their weights, so only the last one's mean is left alone.
    assert_close(&hybrid[..3], &simple, 1e-6);
    assert!(vlb[..3].iter().zip(&simple).any(|(a, b)| (a - b).abs() > 1e-3), "{vlb:?} {simple:?}");
}

#[test]
fn timesteps_follow_the_losses_once_all_are_known() {
    let mut settings = ranged(DenoiserLossKind::Vlb, true);
    let Learner::Denoiser(denoiser) = &mut settings.learner else { unreachable!() };
    denoiser.schedule = ddim::core::Schedule::linear(1e-3, 0.3, 6).unwrap();
    let mut trainer = Trainer::new(settings, Device::Cpu, Some(&ranged_weights(0.0))).unwrap();
    let step = |trainer: &mut Trainer, k: u64| {
        let all = Batch { timesteps: (0..6).collect(), ..batch(k) };
        trainer.step(&all, 600).unwrap();
        trainer.state().unwrap().importance.clone().unwrap()
    };
    for k in 0..10 {
        let importance = step(&mut trainer, k);
        assert_eq!(importance.counts, [k + 1; 6]);
    }
    let before = trainer.state().unwrap().importance.clone().unwrap();
    let (drawn, _) = before.draw(0, 60, 6).unwrap();
    let after = step(&mut trainer, 10);
    // What was remembered is of the timesteps that were drawn, not of those of the batch.
    let changed: Vec<i64> = (0..6)
        .filter(|&t| before.losses[10 * t..10 * t + 10] != after.losses[10 * t..10 * t + 10])
        .map(|t| t as i64)
        .collect();
    let mut expected = drawn;
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(changed, expected);
    assert!(changed.len() < 6, "a uniform draw would look the same");
    // A row weighs each image: the mean of ones is one whatever was drawn.
    trainer.row().unwrap();
    step(&mut trainer, 11);
    assert!(
        trainer.row().unwrap().means.iter().filter(|mean| !mean.is_nan()).all(|m| m.is_finite())
    );
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

fn train(manifest: &Path, out: &Path, threads: &str) -> Command {
    let mut command = program::command();
    command.args(["train", "--threads", threads, "--quiet", "--out"]).arg(out).arg(manifest);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// What a training leaves that must not depend on interruptions.
fn outcome(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let files =
        ["model/diffusion_pytorch_model.safetensors", "model/samples.png", "loss.csv", "log.jsonl"];
    let samples = fs::read_dir(out.join("samples")).unwrap().map(|entry| {
        let name = entry.unwrap().file_name();
        format!("samples/{}", name.to_string_lossy())
    });
    let all = files.map(str::to_owned).into_iter().chain(samples);
    all.map(|name| (name.clone(), fs::read(out.join(name)).unwrap())).collect()
}

/// Ends trainings at random moments, and compares how they end with one left alone.
fn kill_and_compare(threads: &str, kills: u64, more: &str) {
    let folder = TempDir::new().unwrap();
    let manifest = manifest(folder.path(), more);
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let begun = Instant::now();
    assert!(train(&manifest, &whole, threads).status().unwrap().success());
    let expected = outcome(&whole);
    kills::ended_at_random(
        kills,
        begun.elapsed(),
        |anew| {
            if anew {
                let _ = fs::remove_dir_all(&killed);
            }
            train(&manifest, &killed, threads).stderr(Stdio::piped()).spawn().unwrap()
        },
        || killed.join("checkpoints").is_dir(),
        || {
            let found = outcome(&killed);
            assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
            for (name, bytes) in &expected {
                assert!(found[name] == *bytes, "{name} differs");
            }
            // Nothing half written is left.
            let mut left = program::tree(&killed).into_keys();
            assert_eq!(left.find(|path| path.display().to_string().contains(".writing-")), None);
        },
    );
}

#[test]
fn trainings_that_are_killed_at_random_moments_end_at_the_same_bytes() {
    kill_and_compare("1", 5, "");
}

#[test]
fn trainings_divided_over_threads_that_are_killed_end_at_the_same_bytes() {
    kill_and_compare("2", 2, "");
}

#[test]
fn a_training_whose_timesteps_follow_its_losses_ends_at_the_same_bytes_too() {
    // So few timesteps that all are known long before the end.
    let more = "[loss]\nkind = \"vlb\"\n[schedule]\nhorizon = 20\nbeta_end = 0.4\n";
    kill_and_compare("1", 2, more);
}

#[test]
fn a_trained_variance_is_stated_and_sampled_with() {
    let folder = TempDir::new().unwrap();
    let path = manifest(folder.path(), "");
    let first = ["train", path.to_str().unwrap(), "--threads", "1", "--set", "budget.images=40"];
    assert_eq!(ddim(&first, folder.path()).0, 0);
    let own = "channels = [8, 8]\nlayers = 1\nattention = [1]\ngroups = 4";
    let text = fs::read_to_string(&path).unwrap().replace("\"tiny\"", "\"on\"");
    let text = text.replace(own, "start = \"training/tiny/model\"");
    fs::write(folder.path().join("on.toml"), text).unwrap();
    let on = ["train", "on.toml", "--threads", "1", "--set", "budget.images=40"];
    let hybrid = ["--set", "loss.kind=hybrid", "--set", "network.widen=true"];
    // One without the other is refused, and says which.
    let (code, _, error) = ddim(&[&on[..], &hybrid[..2]].concat(), folder.path());
    assert_eq!(code, 2);
    assert!(error.contains("`network.widen = true` adds them"), "{error}");
    let (code, _, error) = ddim(&[&on[..], &hybrid[2..]].concat(), folder.path());
    assert_eq!(code, 2);
    assert!(error.contains("makes room for a variance, and this loss learns none"), "{error}");
    let (code, card, log) = ddim(&[&on[..], &hybrid].concat(), folder.path());
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("its last layer is widened from 3 to 6 channels"), "{log}");
    assert!(card.contains("`training/tiny/model`; its last layer is widened"), "{card}");
    assert!(card.contains("loss L_simple + 0.001 L_vlb in bits per dimension"), "{card}");
    let out = folder.path().join("training/on");
    for file in ["vlb.png", "vlb.svg", "loss.png"] {
        assert!(out.join(file).is_file(), "{file}");
    }
    let header = fs::read_to_string(out.join("loss.csv")).unwrap();
    assert!(header.starts_with("images,loss,mse,mse t 0..250,"), "{header}");
    let scheduler = fs::read_to_string(out.join("model/scheduler_config.json")).unwrap();
    assert!(scheduler.contains("\"variance_type\": \"learned_range\""), "{scheduler}");
    let (_, shown, _) = ddim(&["inspect", "training/on/model"], folder.path());
    assert!(shown.contains("predicts eps and the range of its variance"), "{shown}");
    // Ancestral sampling takes the variance that is stated, and another one where it is asked to.
    let sample = |more: &[&str]| {
        let base = ["sample", "--model", "training/on/model", "--steps", "3", "--samples", "2"];
        let all = [&base[..], &["--solver", "ddpm", "--out", "x.npy"], more].concat();
        let (code, _, log) = ddim(&all, folder.path());
        assert_eq!(code, 0, "{log}");
        fs::read(folder.path().join("x.npy")).unwrap()
    };
    let stated = sample(&[]);
    assert_eq!(stated, sample(&["--variance", "learned"]));
    assert_ne!(stated, sample(&["--eta", "1"]));
    // It is trained on as it is, and not widened twice.
    let text = fs::read_to_string(folder.path().join("on.toml")).unwrap();
    let text = text.replace("\"on\"", "\"again\"").replace("tiny/model", "on/model");
    fs::write(folder.path().join("on.toml"), text).unwrap();
    let (code, _, log) = ddim(&[&on[..], &hybrid[..2]].concat(), folder.path());
    assert_eq!(code, 0, "{log}");
    let (code, _, error) = ddim(&[&on[..], &hybrid].concat(), folder.path());
    assert_eq!(code, 2);
    assert!(error.contains("makes 6 channels of 3 already"), "{error}");
}

#[test]
fn a_training_that_is_stopped_says_how_to_go_on() {
    let folder = TempDir::new().unwrap();
    let manifest = manifest(folder.path(), "");
    let out = folder.path().join("t");
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let mut command = train(&manifest, &out, "1");
        let mut child = command.arg("--fresh").stderr(Stdio::piped()).spawn().unwrap();
        while !out.join("checkpoints").is_dir() {
            assert!(child.try_wait().unwrap().is_none(), "it was too fast to be stopped");
        }
        kills::signal(&child, name);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(
            said.contains("finishing the step and writing a checkpoint; once more leaves at once")
        );
        let again = format!(
            "continue with: {} train --threads 1 --quiet --out {} {}\n",
            env!("CARGO_BIN_EXE_ddim"),
            out.display(),
            manifest.display()
        );
        assert!(said.ends_with(&again), "{said}");
        assert!(!out.join("model/README.md").exists());
        fs::remove_dir_all(&out).unwrap();
    }
}

fn ddim(arguments: &[&str], folder: &Path) -> (i32, String, String) {
    let output = program::command().args(arguments).current_dir(folder).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_trained_folder_is_a_model_with_a_card() {
    let folder = TempDir::new().unwrap();
    let manifest = manifest(folder.path(), "");
    let short = [
        ["--set", "budget.images=80"],
        ["--set", "loss.target=\"v\""],
        ["--set", "schedule.kind=\"cosine\""],
        ["--threads", "1"],
    ]
    .concat();
    let path = manifest.to_str().unwrap();
    let (code, card, log) = ddim(&[&["train", path][..], &short].concat(), folder.path());
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("80 images of 80"), "{log}");
    let out = folder.path().join("training/tiny");
    assert_eq!(fs::read_to_string(out.join("model/README.md")).unwrap(), card);
    for part in ["| Predicts | v, for labels 0 to 999", "80 images (4.0 passes)", "dropout 0.2"] {
        assert!(card.contains(part), "no {part:?} in {card}");
    }
    for file in ["loss.png", "loss.svg", "recipe.toml", "provenance.json", "model/samples.png"] {
        assert!(out.join(file).is_file(), "{file}");
    }
    let log = fs::read_to_string(out.join("loss.csv")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(
        lines[0],
        "images,loss,loss t 0..250,loss t 250..500,loss t 500..750,loss t 750..1000,gradient norm"
    );
    assert_eq!(lines.len(), 3, "two rows of 40 images");
    let log = fs::read_to_string(out.join("log.jsonl")).unwrap();
    let steps: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        steps.iter().map(|line| line["step"].as_u64()).collect::<Vec<_>>(),
        [Some(40), Some(80)]
    );
    let loss: f64 = lines[2].split(',').nth(1).unwrap().parse().unwrap();
    assert_eq!(steps[1]["loss"].as_f64(), Some(loss));
    let kept = fs::read_dir(out.join("checkpoints")).unwrap().count();
    assert!(kept <= 2, "{kept} checkpoints");
    // What was trained is a model like any other, and says what it predicts and for which levels.
    let sample = |out: &str, more: &[&str]| {
        let model = ["sample", "--model", "training/tiny/model", "--steps", "2", "--samples", "1"];
        let (code, _, log) = ddim(&[&model[..], &["--out", out], more].concat(), folder.path());
        assert_eq!(code, 0, "{log}");
        (fs::read(folder.path().join(out)).unwrap(), log)
    };
    let (read, log) = sample("read.npy", &["-v"]);
    assert!(log.contains("scheduler_config.json: predicts v; cosine, T = 1000; x0 not clipped"));
    let (written, log) = sample("v.npy", &["--prediction", "v", "--schedule", "cosine"]);
    assert!(read == written && !log.contains("note:"), "{log}");
    let (other, log) = sample("eps.npy", &["--prediction", "eps"]);
    assert!(
        read != other && log.contains("note: model.prediction = eps is used, although "),
        "{log}"
    );
    assert!(out.join("model/model_index.json").is_file());
    // Trained on for something else, it is said to have been of v.
    let own = "channels = [8, 8]\nlayers = 1\nattention = [1]\ngroups = 4";
    let text = fs::read_to_string(&manifest).unwrap().replace("\"tiny\"", "\"on\"");
    let text = text.replace(own, "start = \"training/tiny/model\"");
    fs::write(folder.path().join("on.toml"), text).unwrap();
    let on = ["train", "on.toml", "--set", "budget.images=8", "--set", "optimiser.warmup=8"];
    let (code, _, log) = ddim(&on, folder.path());
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("predicts v; cosine, T = 1000; x0 not clipped; it is trained on for: predicts eps; linear"), "{log}");
    // Nothing is left to do, and another recipe is another training.
    let again = [&["train", path][..], &short].concat();
    assert_eq!(ddim(&again, folder.path()).0, 0);
    let (code, _, error) =
        ddim(&[&again[..], &["--set", "optimiser.rate=0.5"]].concat(), folder.path());
    assert_eq!(code, 2);
    assert!(error.contains("a training of another recipe or other images"), "{error}");
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_a_divergence_is_said() {
    let folder = TempDir::new().unwrap();
    let manifest = manifest(folder.path(), "");
    let path = manifest.to_str().unwrap();
    let base = ["train", path, "--threads", "1", "--out", "t", "--set", "budget.images=400"];
    assert_eq!(ddim(&base, folder.path()).0, 0);
    let reference = outcome(&folder.path().join("t"));
    let checkpoints = folder.path().join("t/checkpoints");
    let mut files: Vec<_> =
        fs::read_dir(&checkpoints).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let newest = files.pop().unwrap();
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    let (code, _, log) = ddim(&base, folder.path());
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("it is damaged"), "{log}");
    assert!(outcome(&folder.path().join("t")) == reference, "the outcome differs");

    let wild = ["--fresh", "--set", "optimiser.rate=1e30", "--set", "optimiser.warmup=0"];
    let (code, _, error) = ddim(&[&base[..], &wild].concat(), folder.path());
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("the training diverged; a smaller optimiser.rate"), "{error}");
}

#[test]
fn a_classifier_learns_what_can_be_told_apart() {
    let folder = TempDir::new().unwrap();
    let set = folder.path().join("dots");
    fs::create_dir(&set).unwrap();
    // Two classes of 8 x 8 images: light on the left, or on the right, and noise.
    for (split, n, seed) in [("train", 256_u32, 0), ("t10k", 64, 1)] {
        let noise = fill::unit(&format!("dots/{seed}"), n as usize * 64);
        let (mut images, mut labels) = (vec![0, 0, 8, 3], vec![0, 0, 8, 1]);
        for number in [n, 8, 8] {
            images.extend(number.to_be_bytes());
        }
        labels.extend(n.to_be_bytes());
        for (i, noise) in noise.chunks(64).enumerate() {
            let class = i % 2;
            labels.push(u8::try_from(class).unwrap());
            images.extend(noise.iter().enumerate().map(|(place, z)| {
                let light = if (place % 8 >= 4) == (class == 1) { 150.0 } else { 60.0 };
                (light + 50.0 * z) as u8
            }));
        }
        fs::write(set.join(format!("{split}-images-idx3-ubyte")), images).unwrap();
        fs::write(set.join(format!("{split}-labels-idx1-ubyte")), labels).unwrap();
    }
    let manifest = folder.path().join("dots.toml");
    let text = "name = \"dots\"\ntask = \"classifier\"\nbatch = 32\n[data]\nsource = \"dots\"\nrgb = true\n\
                shift = 1\n[network]\ndepth = 8\nwidths = [4, 8]\n[optimiser]\nrate = 1e-2\nweight_decay = 1e-2\n\
                [budget]\nimages = 3200\n[watch]\nlog = 320\n";
    fs::write(&manifest, text).unwrap();
    let (code, card, log) = ddim(&["train", "dots.toml", "--threads", "1"], folder.path());
    assert_eq!(code, 0, "{log}");
    let line = card.lines().find(|line| line.starts_with("| Measured | test error")).expect(&card);
    let error: f64 = line.split_whitespace().nth(5).unwrap().parse().unwrap();
    assert!(error < 0.1, "{line}");
    assert!(card.contains("N = 64"), "{line}");
    assert!(folder.path().join("training/dots/error.csv").is_file());
}
