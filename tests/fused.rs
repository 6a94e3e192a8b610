//! The kernels of `backends::fused`, run as C++ on the CPU, against LibTorch's own operations.
//!
//! It is the text that a GPU runs; `scripts/prove-cuda` compares the two there.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{collections::BTreeMap, path::Path};

use ddim::{
    backends::fused::{self, Norm},
    networks::{
        architecture::KNOWN,
        checkpoint::Which,
        files,
        placement::{Placement, Precision},
        unet::{self, Dropout as _, Unet},
        unet_config::UnetConfig,
        weights::Weights,
    },
    train::dropout::{self, Dropout},
};
use support::fill;
use tch::{Device, Kind, Tensor};

const FUSED: Placement = Placement {
    device: Device::Cpu,
    precision: Precision::F32,
    layout: ddim::networks::placement::Layout::ChannelsLast,
    fused: true,
};

/// Normal numbers, channels-last where there are four axes.
fn normal(name: &str, shape: &[i64]) -> Tensor {
    let len = usize::try_from(shape.iter().product::<i64>()).unwrap();
    let values = Tensor::from_slice(&fill::normal(name, len)).to_kind(Kind::Float);
    match *shape {
        [n, c, h, w] => values.reshape([n, h, w, c]).permute([0, 3, 1, 2]),
        _ => values.reshape(shape),
    }
}

fn rms(x: &Tensor) -> f64 {
    x.to_kind(Kind::Double).square().mean(Kind::Double).sqrt().double_value(&[])
}

/// The rms difference relative to the rms of what is expected.
fn relative(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    rms(&(found.to_kind(Kind::Double) - expected.to_kind(Kind::Double))) / rms(expected)
}

struct Case {
    x: Tensor,
    added: Tensor,
    weight: Tensor,
    bias: Tensor,
    groups: i64,
}

/// Images of which each channel has a mean far from zero, in `[n, channels, side, side]`.
fn case([n, channels, side]: [i64; 3], groups: i64) -> Case {
    let name = format!("fused/{channels}/{side}");
    let far = normal(&format!("{name}/far"), &[1, channels]).reshape([1, channels, 1, 1]) * 20.0;
    Case {
        x: normal(&format!("{name}/x"), &[n, channels, side, side]) + far,
        added: normal(&format!("{name}/added"), &[n, channels]),
        weight: normal(&format!("{name}/weight"), &[channels]),
        bias: normal(&format!("{name}/bias"), &[channels]),
        groups,
    }
}

/// Shapes whose groups have 1 to 12 channels, with sides down to one pixel.
const SHAPES: [([i64; 3], i64); 7] = [
    ([2, 32, 8], 32),
    ([3, 64, 5], 32),
    ([2, 96, 4], 32),
    ([1, 192, 16], 32),
    ([2, 384, 3], 32),
    ([5, 128, 1], 32),
    ([2, 40, 6], 4),
];

/// What LibTorch makes of it in f64.
fn expected(case: &Case, silu: bool) -> Tensor {
    let double = |x: &Tensor| x.to_kind(Kind::Double);
    let x = double(&case.x) + double(&case.added).unsqueeze(2).unsqueeze(3);
    let y =
        x.group_norm(case.groups, Some(double(&case.weight)), Some(double(&case.bias)), 1e-6, true);
    if silu { y.silu() } else { y }
}

fn found(case: &Case, silu: bool) -> Tensor {
    let Case { x, added, weight, bias, groups } = case;
    let norm = Norm { weight, bias, groups: *groups, eps: 1e-6, silu };
    fused::norm((x, None), Some(added), &norm, None).unwrap()
}

#[test]
fn a_normalisation_equals_that_of_libtorch_in_f64() {
    for (shape, groups) in SHAPES {
        let case = case(shape, groups);
        for silu in [false, true] {
            let error = relative(&found(&case, silu), &expected(&case, silu));
            eprintln!("{shape:?}, SiLU {silu}: {error:e}");
            assert!(error < 2e-6, "{shape:?}: {error:e}");
        }
    }
}

#[test]
fn in_bf16_it_is_as_near_as_rounding_allows() {
    for (shape, groups) in SHAPES {
        let Case { x, added, weight, bias, groups } = case(shape, groups);
        let half = |x: Tensor| x.to_kind(Kind::BFloat16);
        if !fused::fits(shape[1], groups, Kind::BFloat16) {
            continue;
        }
        let case =
            Case { x: half(x), added: half(added), weight: half(weight), bias: half(bias), groups };
        let exact = expected(&case, true);
        let rounded = exact.to_kind(Kind::BFloat16);
        let (error, least) = (relative(&found(&case, true), &exact), relative(&rounded, &exact));
        eprintln!("{shape:?}: {error:e} of at least {least:e}");
        assert!(error < 1.01 * least, "{shape:?}: {error:e}, {least:e}");
    }
}

#[test]
fn an_input_in_two_parts_is_normalised_as_one() {
    let whole = case([2, 384, 4], 32);
    let parts = [(0, 256), (256, 128)].map(|(first, width)| {
        let part = whole.x.narrow(1, first, width);
        part.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
    });
    let norm = Norm {
        weight: &whole.weight,
        bias: &whole.bias,
        groups: whole.groups,
        eps: 1e-6,
        silu: true,
    };
    let y = fused::norm((&parts[0], Some(&parts[1])), Some(&whole.added), &norm, None).unwrap();
    assert_eq!(y, found(&whole, true));
    // One row for all images, as one shared timestep gives it.
    let added = whole.added.narrow(0, 0, 1);
    let y = fused::norm((&parts[0], Some(&parts[1])), Some(&added), &norm, None).unwrap();
    let all = Case { added: added.expand([2, -1], false).contiguous(), ..whole };
    assert_eq!(y, found(&all, true));
}

#[test]
fn gradients_equal_those_of_libtorch_in_f64() {
    for (shape, groups) in SHAPES {
        for silu in [false, true] {
            let leaf = |x: &Tensor, kind| x.to_kind(kind).detach().set_requires_grad(true);
            let of = |kind| {
                let case = case(shape, groups);
                Case {
                    x: leaf(&case.x, kind),
                    added: leaf(&case.added, kind),
                    weight: leaf(&case.weight, kind),
                    bias: leaf(&case.bias, kind),
                    groups,
                }
            };
            let (ours, theirs) = (of(Kind::Float), of(Kind::Double));
            let slope = normal(&format!("fused/slope/{shape:?}"), &ours.x.size());
            let gradients = |case: &Case, y: &Tensor| {
                let inputs = [&case.x, &case.added, &case.weight, &case.bias];
                let loss = (y * slope.to_kind(y.kind())).sum(y.kind());
                Tensor::run_backward(&[loss], &inputs, false, false)
            };
            let (a, b) = (
                gradients(&ours, &found(&ours, silu)),
                gradients(&theirs, &expected(&theirs, silu)),
            );
            for ((found, expected), name) in a.iter().zip(&b).zip(["x", "added", "weight", "bias"])
            {
                // Where a group has one channel nothing depends on what is added to it: the terms,
                // of which each is near 1 and there is one for each pixel, cancel.
                let scale = rms(expected).max(shape[2] as f64);
                let error = rms(&(found.to_kind(Kind::Double) - expected)) / scale;
                eprintln!("{shape:?}, SiLU {silu}, {name}: {error:e}");
                assert!(error < 5e-6, "{shape:?}, {name}: {error:e}");
            }
        }
    }
}

#[test]
fn an_input_in_two_parts_has_the_gradients_of_one() {
    let whole = case([2, 384, 4], 32);
    let norm = Norm {
        weight: &whole.weight,
        bias: &whole.bias,
        groups: whole.groups,
        eps: 1e-6,
        silu: true,
    };
    let slope = normal("fused/slope", &whole.x.size());
    let backward = |y: &Tensor, inputs: &[&Tensor]| {
        Tensor::run_backward(&[(y * &slope).sum(Kind::Float)], inputs, false, false)
    };
    let x = whole.x.detach().set_requires_grad(true);
    let expected = backward(&fused::norm((&x, None), None, &norm, None).unwrap(), &[&x]);
    let [first, second] = [(0, 256), (256, 128)].map(|(first, width)| {
        let part = whole.x.narrow(1, first, width).permute([0, 2, 3, 1]).contiguous();
        part.permute([0, 3, 1, 2]).set_requires_grad(true)
    });
    let y = fused::norm((&first, Some(&second)), None, &norm, None).unwrap();
    let found = backward(&y, &[&first, &second]);
    assert_eq!(Tensor::cat(&found, 1), expected[0]);
}

#[test]
fn sums_and_enlargements_have_the_gradients_of_libtorchs_own() {
    let leaf = |name: &str, shape: &[i64]| normal(name, shape).set_requires_grad(true);
    let (x, y, bias) = (leaf("x", &[2, 32, 4, 6]), leaf("y", &[2, 8, 6, 10]), leaf("bias", &[8]));
    let (slope, inputs) = (normal("fused/slope", &[2, 8, 6, 10]), [&x, &y, &bias]);
    let backward = |z: &Tensor| {
        Tensor::run_backward(&[(z.square() * &slope).sum(Kind::Float)], &inputs, false, false)
    };
    let enlarged = fused::interleave(&x, Some(&bias)).unwrap();
    let found = backward(&fused::add(enlarged, Some(&bias), (Some(&y), None)).unwrap());
    let phase = |lower: i64, right: i64| {
        x.narrow(1, 8 * (2 * lower + right), 8).narrow(2, lower, 3).narrow(3, right, 5)
    };
    let row = |lower| Tensor::stack(&[phase(lower, 0), phase(lower, 1)], 4).flatten(3, 4);
    let plain = Tensor::stack(&[row(0), row(1)], 3).flatten(2, 3);
    let expected = backward(&(plain + bias.reshape([1, 8, 1, 1]) * 2.0 + &y));
    for (found, expected) in found.iter().zip(&expected) {
        assert!(relative(found, expected) < 1e-6);
    }
}

#[test]
fn dropout_in_the_kernel_is_dropout_behind_it_and_so_are_its_gradients() {
    let case = case([3, 64, 5], 32);
    let dropout = Dropout::new(&dropout::keys(5, 100, 3, 2).unwrap(), 0.3);
    let dropped = dropout.of_kernel(1).unwrap();
    let x = case.x.detach().set_requires_grad(true);
    let norm =
        Norm { weight: &case.weight, bias: &case.bias, groups: case.groups, eps: 1e-6, silu: true };
    let one = fused::norm((&x, None), None, &norm, Some(&dropped)).unwrap();
    let two = dropout.apply(1, &fused::norm((&x, None), None, &norm, None).unwrap()).unwrap();
    assert_eq!(one, two);
    let slope = normal("fused/slope", &x.size());
    let gradient = |y: &Tensor| {
        Tensor::run_backward(&[(y * &slope).sum(Kind::Float)], &[&x], false, false).remove(0)
    };
    assert!(relative(&gradient(&one), &gradient(&two)) < 1e-6);
}

#[test]
fn sums_and_enlargements_equal_those_of_libtorch() {
    for kind in [Kind::Float, Kind::BFloat16] {
        let [x, y, z] = ["x", "y", "z"]
            .map(|name| normal(&format!("fused/add/{name}"), &[2, 24, 3, 5]).to_kind(kind));
        let bias = normal("fused/add/bias", &[24]).to_kind(kind);
        let wide = |x: &Tensor| x.to_kind(Kind::Float);
        let sum = wide(&x) + wide(&bias).reshape([1, 24, 1, 1]) + wide(&y) + wide(&z);
        let copy = || x.permute([0, 2, 3, 1]).copy().permute([0, 3, 1, 2]);
        let found = fused::add(copy(), Some(&bias), (Some(&y), Some(&z))).unwrap();
        assert_eq!(found, sum.to_kind(kind));
        assert_eq!(fused::add(copy(), None, (None, None)).unwrap(), x);

        let phases = normal("fused/phases", &[2, 32, 4, 6]).to_kind(kind);
        let bias = normal("fused/phases/bias", &[8]).to_kind(kind);
        let found = fused::interleave(&phases, Some(&bias)).unwrap();
        assert_eq!(found.size(), [2, 8, 6, 10]);
        let at = |row: i64, column: i64| {
            let quarter = 8 * (2 * (row % 2) + column % 2);
            let pixel = phases.select(3, (column + 1) / 2).select(2, (row + 1) / 2);
            (wide(&pixel.narrow(1, quarter, 8)) + wide(&bias)).to_kind(kind)
        };
        for (row, column) in (0..6).flat_map(|row| (0..10).map(move |column| (row, column))) {
            assert_eq!(found.select(3, column).select(2, row), at(row, column));
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let Case { x, weight, bias, .. } = case([2, 32, 8], 32);
    let norm = Norm { weight: &weight, bias: &bias, groups: 32, eps: 1e-6, silu: true };
    let of = |x: &Tensor| fused::norm((x, None), None, &norm, None);
    assert!(of(&x).is_ok());
    assert!(of(&x.to_kind(Kind::BFloat16)).is_err(), "weights of another type");
    assert!(of(&x.to_kind(Kind::Double)).is_err());
    assert!(of(&x.narrow(1, 0, 16)).is_err());
    assert!(of(&x.get(0)).is_err());
    assert!(fused::fits(96, 32, Kind::BFloat16) && !fused::fits(96, 5, Kind::Float));
    assert!(!fused::fits(36, 6, Kind::BFloat16) && !fused::fits(32, 32, Kind::Half));
}

fn small() -> (UnetConfig, Weights) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/cifar10-small");
    let config = UnetConfig::read(&folder.join("config.json")).unwrap();
    (config, Weights::read(&folder.join(files::WEIGHTS[0]), Which::Ema).unwrap())
}

#[test]
fn a_network_by_kernels_is_the_network() {
    let (config, weights) = small();
    let x = normal("network/x", &[4, 3, 32, 32]).contiguous();
    for (precision, most) in [(Precision::F32, 2e-6), (Precision::Bf16, 2e-2)] {
        let placement = Placement { precision, ..FUSED };
        let unet = Unet::new(&config, &weights, placement).unwrap();
        assert!(unet.placement().fused);
        let plain = Placement::on(Device::Cpu, Precision::F32);
        let plain = Unet::new(&config, &weights, plain).unwrap();
        for t in [vec![321.5], vec![0.0, 999.0, 321.5, 7.0_f64]] {
            let t = Tensor::from_slice(&t);
            let error = relative(&unet.forward(&x, &t).unwrap(), &plain.forward(&x, &t).unwrap());
            eprintln!("{precision:?}: {error:e}");
            assert!(error < most, "{precision:?}: {error:e}");
        }
    }
}

#[test]
fn a_network_that_the_kernels_do_not_take_runs_without_them() {
    let config = UnetConfig { block_out_channels: vec![36, 36], ..tiny() };
    let tensors = config.tensors().into_iter().map(|(name, shape)| {
        let values = normal(&name, &shape) * 0.1;
        (name, values.contiguous())
    });
    let weights =
        Weights { tensors: tensors.collect(), sha256: String::new(), origin: "random".into() };
    let bf16 = Placement { precision: Precision::Bf16, ..FUSED };
    assert!(!Unet::new(&config, &weights, bf16).unwrap().placement().fused);
    assert!(Unet::new(&config, &weights, FUSED).unwrap().placement().fused);
}

fn tiny() -> UnetConfig {
    UnetConfig {
        sample_size: Some(8),
        block_out_channels: vec![32, 64],
        layers_per_block: 1,
        down_attention: vec![false, true],
        up_attention: vec![true, false],
        norm_num_groups: 4,
        ..KNOWN[0].config()
    }
}

#[test]
fn weights_may_begin_anywhere_in_a_vector() {
    let Case { x, added, .. } = case([2, 32, 8], 32);
    let vector = normal("fused/vector", &[65]);
    let [weight, bias] = [(0, 32), (33, 32)].map(|(first, n)| vector.narrow(0, first, n));
    let apart = [weight.copy(), bias.copy()];
    let y = |weight, bias| {
        let norm = Norm { weight, bias, groups: 8, eps: 1e-6, silu: true };
        let y = fused::norm((&x, None), Some(&added), &norm, None).unwrap();
        fused::add(y, Some(bias), (Some(&x), None)).unwrap()
    };
    assert_eq!(y(&weight, &bias), y(&apart[0], &apart[1]));
    let phases = normal("fused/phases", &[2, 128, 3, 3]);
    assert_eq!(
        fused::interleave(&phases, Some(&bias)).unwrap(),
        fused::interleave(&phases, Some(&apart[1])).unwrap()
    );
}

#[test]
fn a_training_step_by_kernels_has_the_gradients_of_one_without() {
    let config = tiny();
    let x = normal("train/x", &[3, 3, 8, 8]).contiguous();
    let t = Tensor::from_slice(&[0.0, 999.0, 321.5_f64]);
    let dropout = Dropout::new(&dropout::keys(5, 100, 3, 8).unwrap(), 0.3);
    let gradients = |placement| {
        let parameters: BTreeMap<String, Tensor> = config
            .tensors()
            .into_iter()
            .map(|(name, shape)| {
                let values = (normal(&name, &shape) * 0.1).contiguous().set_requires_grad(true);
                (name, values)
            })
            .collect();
        let frequencies = unet::frequencies(&config, Device::Cpu).unwrap();
        let unet = Unet::of_parameters(&config, &parameters, &frequencies, placement).unwrap();
        let y = unet.forward_train(&x, &t, Some(&dropout)).unwrap();
        let inputs: Vec<&Tensor> = parameters.values().collect();
        let loss = y.square().mean(Kind::Float);
        let gradients = Tensor::run_backward(&[loss], &inputs, false, false);
        parameters.into_keys().zip(gradients).collect::<BTreeMap<_, _>>()
    };
    let (ours, theirs) = (gradients(FUSED), gradients(Placement::on(Device::Cpu, Precision::F32)));
    let scale = theirs.values().map(rms).fold(0.0, f64::max);
    for (name, expected) in &theirs {
        let error = rms(&(&ours[name] - expected)) / scale;
        assert!(error < 1e-5, "{name}: {error:e}");
    }
}
