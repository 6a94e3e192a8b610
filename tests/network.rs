//! The UNet against golden outputs of the official network, and against itself.
#![allow(clippy::unwrap_used)]

#[path = "support/fill.rs"]
mod fill;

use std::{collections::BTreeMap, path::Path};

use ddim::models::{
    unet::{Layout, Placement, Precision, Unet, UnetError},
    unet_config::UnetConfig,
    weights::{self, Weights, WeightsError},
};
use tch::{Device, Kind, Tensor};

fn golden(name: &str) -> Weights {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    Weights::read_safetensors(&folder.join(name)).unwrap()
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
        in_channels: 3,
        out_channels: 3,
        block_out_channels: widths.to_vec(),
        layers_per_block: blocks,
        up_attention: down.iter().rev().copied().collect(),
        down_attention: down,
        attention_head_dim: None,
        norm_num_groups: 32,
        norm_eps: 1e-6,
        time_embedding_dim: None,
        flip_sin_to_cos: false,
        freq_shift: 1.0,
        downsample_padding: 0,
    }
}

/// Weights by the rule of `fill`, which goes by the official names.
fn filled(config: &UnetConfig) -> Weights {
    let tensors: BTreeMap<String, Tensor> = config
        .tensors()
        .into_iter()
        .map(|(name, shape)| {
            let official = weights::official_name(&name, config.levels()).unwrap();
            // Official attention weights are 1x1 convolutions: the same fan-in and order.
            (name, f32_tensor(&fill::fill(&official, &shape), &shape))
        })
        .collect();
    Weights { tensors, sha256: String::new(), origin: "filled".into() }
}

fn golden_difference(case: &str, config: &UnetConfig) -> f64 {
    let golden = golden(&format!("unet_{case}.safetensors"));
    let out = &golden.tensors["out"];
    let x = f32_tensor(&fill::normal(&format!("{case}/x"), out.numel()), &out.size());
    let unet = Unet::new(config, &filled(config), Placement::default()).unwrap();
    max_difference(&unet.forward(&x, &golden.tensors["t"]).unwrap(), out)
}

#[test]
fn the_tiny_network_agrees_with_the_official_one() {
    let difference = golden_difference("tiny", &official(&[32, 32], 1, 8, 4));
    assert!(difference < 2e-5, "{difference:e}");
}

#[test]
fn the_cifar10_network_agrees_with_the_official_one() {
    let config = official(&[128, 256, 256, 256], 2, 32, 16);
    let weights = filled(&config);
    assert_eq!((weights.tensors.len(), weights.parameters()), (328, 35_746_307));
    let difference = golden_difference("cifar10", &config);
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
        assert_eq!(weights::diffusers_name(official, 4).as_deref(), Some(diffusers));
        assert_eq!(weights::official_name(diffusers, 4).as_deref(), Some(official));
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

/// The trained network of `models/cifar10-xs`.
fn trained(placement: Placement) -> Unet {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/cifar10-xs");
    let config = UnetConfig::read(&folder.join("config.json")).unwrap();
    Unet::new(&config, &Weights::read_folder(&folder).unwrap(), placement).unwrap()
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
        println!("batch {batch}: {difference:e}");
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
    println!("labels: {difference:e}");
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
    println!("layout: {difference:e}");
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
        println!("label {label}: rms {rms:e}, max {:e}", max_difference(&a, &b));
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
    assert_eq!(error.to_string(), "labels have shape [2]; 3 images take [3] or [1]");
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
        "filled does not fit the network:\n  missing `conv_in.bias`\n  not known `ema.step`\n  \
         `conv_out.bias` has shape [1]; needed: [3]"
    );
}

#[test]
fn a_folder_without_weights_says_which_file_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let error = Weights::read_folder(folder.path()).unwrap_err();
    assert!(error.to_string().ends_with("holds no diffusion_pytorch_model.safetensors"), "{error}");
}
