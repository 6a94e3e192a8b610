//! The Inception network of FID against pytorch-fid's, with weights rebuilt from their names.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::collections::BTreeMap;

use ddim::networks::{
    extractors,
    features::{self, FeatureError, FeatureExtractor},
    inception::Inception,
    weights::Weights,
};
use support::{checkpoints, fill};
use tch::{Device, Kind, Tensor};

fn f32_tensor(values: &[f64], shape: &[i64]) -> Tensor {
    Tensor::from_slice(values).reshape(shape).to_kind(Kind::Float)
}

fn rebuilt() -> Inception {
    let tensors: BTreeMap<String, Tensor> = Inception::tensors()
        .into_iter()
        .map(|(name, shape)| {
            let values = fill::fill(&name, &shape);
            (name, f32_tensor(&values, &shape))
        })
        .collect();
    let weights = Weights { tensors, sha256: "rebuilt".into(), origin: "rebuilt".into() };
    Inception::new(&weights, Device::Cpu).unwrap()
}

/// Two byte images of a side: `floor((unit + 1) / 2 * 255)`.
fn images(side: usize) -> Tensor {
    let values: Vec<f64> = fill::unit(&format!("inception/img{side}"), 2 * 3 * side * side)
        .iter()
        .map(|v| ((v + 1.0) / 2.0 * 255.0).floor())
        .collect();
    let side = i64::try_from(side).unwrap();
    f32_tensor(&values, &[2, 3, side, side])
}

#[test]
fn features_of_images_of_any_size_are_those_of_pytorch_fid() {
    let golden = checkpoints::read(&support::golden("inception.safetensors")).unwrap();
    let inception = rebuilt();
    assert_eq!((inception.id(), inception.dim(), inception.side()), ("inception", 2048, None));
    for side in [32, 64, 299] {
        let found = inception.features(&features::from_bytes(&images(side)).unwrap()).unwrap();
        let expected = &golden.tensors[&format!("features_{side}")];
        assert_eq!(found.size(), [2, 2048]);
        // Features are 0.04 on average and 0.4 at most: 1e-4 of the average, and less.
        let off = (&found - expected).abs().max().double_value(&[]);
        eprintln!("side {side}: {off:e}");
        assert!(off < 1e-6, "side {side}: {off:e}");
    }
    // Two scores of the same network in PyTorch 2.11: features times fc.weight, no bias.
    let head = inception.head().unwrap();
    assert!(head.bias.is_none());
    let scores = golden.tensors["features_32"].matmul(&head.weight.transpose(0, 1));
    let first = Vec::<f64>::try_from(scores.get(0).narrow(0, 0, 4).to_kind(Kind::Double)).unwrap();
    for (found, expected) in first.iter().zip([-0.0421, -0.0004, -0.1000, -0.0189]) {
        assert!((found - expected).abs() < 1e-4, "{first:?}");
    }
    let grey = images(32).narrow(1, 0, 1);
    assert!(matches!(inception.features(&grey), Err(FeatureError::Images { .. })));
}

#[test]
fn a_torchscript_module_with_the_published_interface_is_asked_in_bytes() {
    // The stand-in returns channel means, repeated up to 2048, and means of what it was given.
    let path = support::golden("inception_stand_in.pt");
    let script = extractors::open(&path, Device::Cpu).unwrap();
    assert_eq!((script.id(), script.dim(), script.side()), ("inception-torchscript", 2048, None));
    assert!(script.head().is_none());
    let bytes = Tensor::arange(24, (Kind::Float, Device::Cpu)).reshape([2, 3, 2, 2]);
    let found = script.features(&features::from_bytes(&bytes).unwrap()).unwrap();
    let rows: Vec<Vec<f64>> = Vec::try_from(found.narrow(1, 0, 4).to_kind(Kind::Double)).unwrap();
    assert_eq!(rows, [[1.5, 5.5, 9.5, 1.5], [13.5, 17.5, 21.5, 13.5]]);
    // What was not rounded to bytes is not rounded on the way.
    let half = Tensor::full([1, 3, 2, 2], 0.5, (Kind::Float, Device::Cpu));
    let found = script.features(&half).unwrap();
    assert!((found.double_value(&[0, 0]) - 127.5).abs() < 1e-4);
}

#[test]
fn weights_are_read_from_files_by_what_they_are() {
    let open = |name: &str| extractors::open(&support::golden(name), Device::Cpu).err().unwrap();
    let error = open("unet_tiny.safetensors").to_string();
    assert!(error.contains("does not hold the Inception network of FID"), "{error}");
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("pt_inception-2015-12-05-6726825d.pth");
    std::fs::copy(support::golden("unet_tiny.safetensors"), &path).unwrap();
    let error = extractors::open(&path, Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("not 6726825d... as its name says: fetch it again"), "{error}");
}
