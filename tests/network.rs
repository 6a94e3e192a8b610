//! Networks against golden outputs of independent code, and against themselves.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use ddim::{
    core::{CLEAN, Denoiser, Level},
    networks::{
        architecture::KNOWN,
        checkpoint::{Which, names},
        classifier::Classifier,
        extractors,
        features::{self, FeatureError, FeatureExtractor},
        files,
        network::{Network, Wanted},
        open_error::OpenError,
        placement::{Layout, Placement, Precision},
        unet::{Unet, UnetError},
        unet_config::UnetConfig,
        weights::{Weights, WeightsError},
    },
};
use support::fill;
use tch::{Device, Kind, Tensor};

fn golden(name: &str) -> Weights {
    Weights::read(&support::golden(name), Which::Ema).unwrap()
}

fn f32_tensor(values: &[f64], shape: &[i64]) -> Tensor {
    Tensor::from_slice(values).reshape(shape).to_kind(Kind::Float)
}

fn max_difference(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

/// A network of the official architecture, with attention where the side is `attention`.
fn official(widths: &[i64], blocks: usize, size: i64, attention: i64) -> UnetConfig {
    let down: Vec<bool> = (0..widths.len()).map(|l| size >> l == attention).collect();
    UnetConfig {
        sample_size: Some(size),
        block_out_channels: widths.to_vec(),
        layers_per_block: blocks,
        up_attention: down.iter().rev().copied().collect(),
        down_attention: down,
        ..KNOWN[0].config()
    }
}

/// Weights by the rule of `fill`, which goes by the official names.
fn filled(config: &UnetConfig) -> Weights {
    let tensors: BTreeMap<String, Tensor> = config
        .tensors()
        .into_iter()
        .map(|(name, shape)| {
            let official = names::official_name(&name, config.levels()).unwrap();
            // Official attention weights are 1x1 convolutions: the same fan-in and order.
            (name, f32_tensor(&fill::fill(&official, &shape), &shape))
        })
        .collect();
    Weights { tensors, sha256: String::new(), origin: "filled".into() }
}

/// The largest difference from the golden output, which may have been kept for every n-th pixel.
fn golden_difference(case: &str, config: &UnetConfig) -> f64 {
    // The fused kernels, which a GPU runs, are held to the same output.
    let fused = Placement { fused: true, ..Placement::default() };
    [Placement::default(), fused]
        .into_iter()
        .map(|placement| golden_difference_on(placement, case, config))
        .fold(0.0, f64::max)
}

fn golden_difference_on(placement: Placement, case: &str, config: &UnetConfig) -> f64 {
    let golden = golden(&format!("unet_{case}.safetensors"));
    let out = &golden.tensors["out"];
    let (n, side) = (out.size()[0], config.sample_size.unwrap());
    let shape = [n, 3, side, side];
    let len = usize::try_from(shape.iter().product::<i64>()).unwrap();
    let x = f32_tensor(&fill::normal(&format!("{case}/x"), len), &shape);
    let unet = Unet::new(config, &filled(config), placement).unwrap();
    assert_eq!(unet.placement(), placement);
    let found = unet.forward(&x, &golden.tensors["t"]).unwrap();
    let every = side / out.size()[2];
    let found = found.slice(2, 0, i64::MAX, every).slice(3, 0, i64::MAX, every);
    let difference = max_difference(&found, out);
    eprintln!("{case}, fused {}: {difference:e}", placement.fused);
    difference
}

#[test]
fn the_tiny_network_agrees_with_the_official_one() {
    let difference = golden_difference("tiny", &official(&[32, 32], 1, 8, 4));
    assert!(difference < 2e-5, "{difference:e}");
}

#[test]
fn the_cifar10_network_agrees_with_the_official_one() {
    let config = official(&[128, 256, 256, 256], 2, 32, 16);
    assert_eq!(config, KNOWN[0].config());
    let difference = golden_difference("cifar10", &config);
    assert!(difference < 2e-5, "{difference:e}");
}

#[test]
fn the_celeba_network_agrees_with_the_official_one() {
    let difference = golden_difference("celeba64", &KNOWN[1].config());
    assert!(difference < 2e-5, "{difference:e}");
}

#[test]
fn the_lsun_network_agrees_with_the_official_one() {
    let difference = golden_difference("lsun256", &KNOWN[2].config());
    assert!(difference < 2e-5, "{difference:e}");
}

#[test]
fn the_name_map_is_the_published_bijection() {
    let config = official(&[128, 256, 256, 256], 2, 32, 16);
    let mut needed = config.tensors();
    let table = include_str!("golden/unet_names_cifar10.tsv");
    for line in table.lines().filter(|line| line.contains('\t')) {
        let [official, diffusers, shape] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        assert_eq!(names::diffusers_name(official, 4).as_deref(), Some(diffusers));
        assert_eq!(names::official_name(diffusers, 4).as_deref(), Some(official));
        let shape: Vec<i64> = shape
            .trim_matches(['(', ')'])
            .split(',')
            .filter_map(|side| side.trim().parse().ok())
            .collect();
        let found = needed.remove(diffusers).unwrap();
        // The table has the official shapes; attention weights are [c, c, 1, 1] there.
        assert_eq!(shape[..found.len()], found, "{diffusers}");
        assert!(shape[found.len()..].iter().all(|&side| side == 1), "{diffusers}");
    }
    assert!(needed.is_empty(), "{needed:?}");
}

/// The trained network of `models/cifar10-small`.
fn trained(placement: Placement) -> Unet {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/cifar10-small");
    let config = UnetConfig::read(&folder.join("config.json")).unwrap();
    let weights = Weights::read(&folder.join(files::WEIGHTS[0]), Which::Ema).unwrap();
    Unet::new(&config, &weights, placement).unwrap()
}

fn noise(n: i64) -> Tensor {
    let len = usize::try_from(n * 3 * 32 * 32).unwrap();
    f32_tensor(&fill::normal("network/x", len), &[n, 3, 32, 32])
}

#[test]
fn an_image_is_the_same_in_batches_of_1_7_and_64() {
    let unet = trained(Placement::default());
    let (x, t) = (noise(64), Tensor::from_slice(&[500.0_f64]));
    let all = unet.forward(&x, &t).unwrap();
    for batch in [1, 7] {
        let part = unet.forward(&x.narrow(0, 0, batch), &t).unwrap();
        let difference = max_difference(&part, &all.narrow(0, 0, batch));
        eprintln!("batch {batch}: {difference:e}");
        assert!(difference < 1e-5, "batch {batch}: {difference:e}");
    }
}

#[test]
fn one_shared_label_and_one_label_an_image_agree() {
    let unet = trained(Placement::default());
    let x = noise(4);
    let shared = unet.forward(&x, &Tensor::from_slice(&[321.5_f64])).unwrap();
    let each = unet.forward(&x, &Tensor::from_slice(&[321.5_f64; 4])).unwrap();
    let difference = max_difference(&shared, &each);
    eprintln!("labels: {difference:e}");
    assert!(difference < 1e-5, "{difference:e}");
    let mixed = unet.forward(&x, &Tensor::from_slice(&[0.0, 999.0, 321.5, 7.0])).unwrap();
    assert!(max_difference(&mixed.get(2), &shared.get(2)) < 1e-5);
    assert!(max_difference(&mixed.get(1), &shared.get(1)) > 1e-2);
}

#[test]
fn both_memory_layouts_agree() {
    let other = Placement { layout: Layout::ChannelsFirst, ..Placement::default() };
    let (x, t) = (noise(4), Tensor::from_slice(&[500.0_f64]));
    let last = trained(Placement::default()).forward(&x, &t).unwrap();
    let difference = max_difference(&trained(other).forward(&x, &t).unwrap(), &last);
    eprintln!("layout: {difference:e}");
    assert!(difference < 1e-5, "{difference:e}");
}

#[test]
fn bfloat16_stays_near_f32() {
    let bf16 = Placement { precision: Precision::Bf16, ..Placement::default() };
    let (exact, rounded) = (trained(Placement::default()), trained(bf16));
    let x = noise(8);
    for label in [0.0, 100.0, 500.0, 999.0_f64] {
        let t = Tensor::from_slice(&[label]);
        let (a, b) = (exact.forward(&x, &t).unwrap(), rounded.forward(&x, &t).unwrap());
        assert_eq!(b.kind(), Kind::Float);
        let rms = (&a - &b).square().mean(Kind::Float).sqrt().double_value(&[]);
        eprintln!("label {label}: rms {rms:e}, max {:e}", max_difference(&a, &b));
        assert!(rms < 1e-2, "label {label}: {rms:e}");
    }
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let unet = trained(Placement::default());
    let t = Tensor::from_slice(&[1.0_f64]);
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    for shape in [&[2, 1, 32, 32][..], &[2, 3, 30, 32], &[3, 32, 32]] {
        let error = unet.forward(&zeros(shape), &t).unwrap_err();
        assert!(matches!(error, UnetError::Images { .. }), "{error}");
    }
    let error = unet.forward(&noise(3), &Tensor::from_slice(&[1.0, 2.0])).unwrap_err();
    assert_eq!(error.to_string(), "timesteps have shape [2]; 3 images take [3] or [1]");
}

#[test]
fn weights_that_do_not_fit_are_listed_by_name() {
    let config = official(&[32, 32], 1, 8, 4);
    let mut weights = filled(&config);
    let _removed = weights.tensors.remove("conv_in.bias").unwrap();
    weights.tensors.insert("ema.step".into(), Tensor::from_slice(&[1.0_f32]));
    weights.tensors.insert("conv_out.bias".into(), Tensor::from_slice(&[1.0_f32]));
    let error = Unet::new(&config, &weights, Placement::default()).unwrap_err();
    assert!(matches!(error, WeightsError::Mismatch { .. }));
    assert_eq!(
        error.to_string(),
        "filled does not fit the config.json beside it, and both must come from one model:\n  missing `conv_in.bias`\n  not known `ema.step`\n  \
         `conv_out.bias` has shape [1]; needed: [3]"
    );
}

#[test]
fn a_folder_without_weights_says_which_file_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Network::open(folder.path(), &Wanted::default()).unwrap_err();
    assert!(matches!(open(), OpenError::NoModel { .. }));
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    let error = open();
    assert!(matches!(error, OpenError::NoWeights { .. }));
    assert!(error.to_string().contains("holds no diffusion_pytorch_model.safetensors"), "{error}");
}

#[test]
fn half_precision_files_with_old_attention_names_are_read_as_f32() {
    let config = official(&[32, 32], 1, 8, 4);
    let original = filled(&config);
    for (kind, tolerance) in [(Kind::Half, 1e-3), (Kind::BFloat16, 8e-3)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(files::WEIGHTS[0]);
        let renamed = |name: &str| {
            let attention = name.contains("attentions");
            let old =
                [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")];
            old.iter()
                .filter(|_| attention)
                .fold(name.to_owned(), |name, (new, old)| name.replace(new, old))
        };
        let rounded: Vec<(String, Tensor)> = original
            .tensors
            .iter()
            .map(|(name, tensor)| (renamed(name), tensor.to_kind(kind)))
            .collect();
        assert!(rounded.iter().any(|(name, _)| name.ends_with("proj_attn.weight")));
        Tensor::write_safetensors(&rounded, &path).unwrap();
        let read = Weights::read(&path, Which::Ema).unwrap();
        read.check(&config.tensors()).unwrap();
        for (name, tensor) in &original.tensors {
            assert_eq!(read.tensors[name].kind(), Kind::Float);
            let difference = max_difference(&read.tensors[name], tensor);
            assert!(difference < tolerance, "{name}: {difference:e}");
        }
    }
}

fn level(t: f64) -> Level {
    // Networks read the label alone.
    Level { t, ..CLEAN }
}

fn embedded() -> Network {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/cifar10-small");
    Network::open(&folder, &Wanted::default()).unwrap()
}

fn classifier() -> Classifier {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/cifar10-features");
    Classifier::open(&folder, Device::Cpu).unwrap()
}

#[test]
fn the_embedded_network_has_the_tensors_its_card_states() {
    let network = embedded();
    assert_eq!((network.tensors(), network.parameters()), (182, 1_113_955));
    assert_eq!(network.shape(), Some([3, 32, 32]));
}

#[test]
fn the_clean_end_is_asked_with_the_first_label() {
    let network = embedded();
    let x = noise(2);
    let clean = network.predict(&x, CLEAN.into()).unwrap();
    assert!(clean == network.predict(&x, level(0.0).into()).unwrap());
    assert!(max_difference(&clean, &network.predict(&x, level(30.0).into()).unwrap()) > 1e-3);
}

#[test]
fn a_network_with_a_learned_variance_is_its_eps_and_its_range() {
    let eps_alone = official(&[32, 32], 1, 8, 4);
    let config = UnetConfig { out_channels: 6, ..eps_alone.clone() };
    let both = Network::new("improved", &config, &filled(&config), Placement::default()).unwrap();
    assert_eq!((both.predicts_range(), both.shape()), (Some(true), Some([3, 8, 8])));
    // The two halves of its last layer, each as a network of its own.
    let half = |first: i64| {
        let mut weights = filled(&config);
        for name in ["conv_out.weight", "conv_out.bias"] {
            let tensor = weights.tensors.get_mut(name).unwrap();
            *tensor = tensor.narrow(0, first, 3);
        }
        let network = Network::new("half", &eps_alone, &weights, Placement::default()).unwrap();
        assert_eq!(network.predicts_range(), Some(false));
        network
    };
    let x = f32_tensor(&fill::normal("learned/x", 2 * 3 * 64), &[2, 3, 8, 8]);
    let at = level(30.0).into();
    let found = both.predict_with_range(&x, at).unwrap();
    let eps = half(0).predict_with_range(&x, at).unwrap();
    assert!(eps.range.is_none());
    assert!(max_difference(&found.eps, &eps.eps) < 1e-6);
    assert!(max_difference(&both.predict(&x, at).unwrap(), &found.eps) <= 0.0);
    let range = half(3).predict(&x, at).unwrap();
    assert!(max_difference(&found.range.unwrap(), &range) < 1e-6);

    let config = UnetConfig { out_channels: 5, ..config };
    let error = Network::new("odd", &config, &filled(&config), Placement::default()).unwrap_err();
    assert!(matches!(error, OpenError::Channels { out: 5, image: 3, .. }), "{error}");
}

/// Three byte images: noise, blocks of 8 x 8 pixels, and dark noise.
fn images() -> Tensor {
    let mut bytes: Vec<f64> = fill::unit("classifier/images", 3 * 3 * 32 * 32)
        .iter()
        .map(|v| (v.midpoint(1.0) * 255.0).floor())
        .collect();
    let noise = bytes.clone();
    for (i, value) in bytes.iter_mut().enumerate() {
        let (image, channel, row, column) = (i / 3072, i / 1024 % 3, i / 32 % 32, i % 32);
        if image == 1 {
            *value = noise[image * 3072 + channel * 1024 + row / 8 * 8 * 32 + column / 8 * 8];
        } else if image == 2 {
            *value *= 0.25;
        }
    }
    f32_tensor(&bytes, &[3, 3, 32, 32])
}

#[test]
fn the_features_agree_with_an_independent_implementation() {
    let classifier = classifier();
    assert_eq!((classifier.id(), classifier.dim()), ("cifar10-features", 64));
    let unit = features::from_bytes(&images()).unwrap();
    let found = classifier.features(&unit).unwrap();
    let difference = max_difference(&found, &golden("classifier.safetensors").tensors["features"]);
    eprintln!("features: {difference:e}");
    assert!(difference < 1e-5, "{difference:e}");
    assert_eq!(classifier.logits(&unit).unwrap().size(), [3, 10]);
}

/// A classifier's weights as akamaster's trainer saves them: wrapped, and with counters beside.
fn checkpoint(folder: &Path, keep: impl Fn(&str) -> bool) -> PathBuf {
    let weights =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("models/cifar10-features/model.safetensors");
    let mut tensors = vec![("module.bn1.num_batches_tracked".to_owned(), Tensor::from(7_i64))];
    for (name, tensor) in Tensor::read_safetensors(weights).unwrap() {
        if keep(&name) {
            tensors.push((format!("module.{name}"), tensor));
        }
    }
    let path = folder.join("tiny-1.5.th");
    Tensor::write_safetensors(&tensors, &path).unwrap();
    path
}

#[test]
fn a_checkpoint_gives_the_features_of_its_network() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(folder.path(), |_| true);
    let found = extractors::open(&path, Device::Cpu).unwrap();
    assert_eq!((found.id(), found.dim(), found.side()), ("tiny-1.5", 64, Some(32)));
    let unit = features::from_bytes(&images()).unwrap();
    assert!(classifier().features(&unit).unwrap() == found.features(&unit).unwrap());
    // Three blocks a stage less: the depth is that of the names.
    let path = checkpoint(folder.path(), |name| !name.contains(".1.") && !name.contains(".2."));
    let shallow = extractors::open(&path, Device::Cpu).unwrap();
    assert_eq!(shallow.features(&unit).unwrap().size(), [3, 64]);
    assert_ne!(shallow.sha256(), found.sha256());
    assert_eq!(shallow.head().unwrap().weight.size(), [10, 64]);
}

#[test]
fn a_checkpoint_of_another_network_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refuse = |path: &Path| extractors::open(path, Device::Cpu).err().unwrap().to_string();
    let error = refuse(&checkpoint(folder.path(), |name| name != "layer2.1.bn2.bias"));
    assert!(
        error.contains(
            "tiny-1.5.th does not hold a CIFAR residual network with shortcuts without weights \
             (`layer2.1.bn2.bias` is missing): expected akamaster's names"
        ),
        "{error}"
    );
    let path = folder.path().join("eps.th");
    std::fs::copy(support::golden("checkpoints/tiny_diffusers.safetensors.gz"), &path).unwrap();
    assert!(refuse(&path).contains("compressed by gzip"));
    Tensor::write_safetensors(
        &[("conv.weight", Tensor::zeros([4, 3, 3, 3], (Kind::Float, Device::Cpu)))],
        &path,
    )
    .unwrap();
    assert!(refuse(&path).contains("`bn1.bias` is missing and"), "{}", refuse(&path));
}

#[test]
fn images_without_colour_have_no_features() {
    let classifier = classifier();
    let error = classifier.features(&images().narrow(1, 0, 1)).unwrap_err();
    assert!(matches!(error, FeatureError::Images { .. }));
    assert_eq!(
        error.to_string(),
        "images have shape [3, 1, 32, 32]; cifar10-features takes [N, 3, H, W]"
    );
}
