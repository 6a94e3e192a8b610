//! Checkpoints of every container, held to the files of peers, and to what a broken one deserves.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use ddim::{
    core::{CLEAN, Denoiser, Level},
    networks::{
        checkpoint::{Checkpoint, CheckpointError, Container, Role, Which, names::Convention},
        network::{Network, Wanted},
        open_error::OpenError,
        placement::{Placement, Precision},
        weights::Weights,
    },
};
use proptest::prelude::*;
use support::{cases, checkpoints, fill};
use tch::{Kind, Tensor};
use tempfile::TempDir;

/// A folder with one of the golden files in it.
fn file(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoints::write(name, folder.path());
    (folder, path)
}

fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn values(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(&tensor.contiguous().view([-1])).unwrap()
}

/// What is wrong with a file, without its name.
fn problem(path: &Path) -> String {
    let error = checkpoints::read(path).unwrap_err();
    error.to_string().replace(&path.display().to_string(), "FILE")
}

#[test]
fn both_containers_of_torch_save_give_the_tensors_by_their_own_names() {
    for (name, container) in
        [("tiny_zip.ckpt", Container::ZIP), ("tiny_legacy.ckpt", Container::LEGACY)]
    {
        let (_folder, path) = file(name);
        let dict = checkpoints::read(&path).unwrap();
        assert_eq!((dict.container, dict.role), (container, Role::Only));
        assert_eq!(dict.tensors.len(), 142);
        assert_eq!(dict.tensors.values().map(Tensor::numel).sum::<usize>(), 285_667);
        for (name, tensor) in &dict.tensors {
            #[allow(clippy::cast_possible_truncation, reason = "the file holds f32")]
            let expected: Vec<f32> =
                fill::fill(name, &tensor.size()).into_iter().map(|v| v as f32).collect();
            assert_eq!(values(tensor), expected, "{name}");
        }
    }
}

#[test]
fn the_official_list_gives_its_average_unless_the_raw_weights_are_asked_for() {
    let (_folder, path) = file("tiny_official_list.pth");
    let checkpoint = Checkpoint::open(&path).unwrap();
    let found: Vec<_> =
        checkpoint.parts.iter().map(|part| (part.path.as_str(), part.role)).collect();
    assert_eq!(found, [("[0]", Role::Raw), ("[4]", Role::Ema)]);
    assert_eq!((checkpoint.epoch, checkpoint.step), (Some(12), Some(34_567)));
    let ema = checkpoint.load(checkpoint.choose(Which::Ema).unwrap()).unwrap();
    assert_eq!(ema.tensors["conv_in.bias"].kind(), Kind::Float);
    assert!(values(&ema.tensors["conv_in.bias"]).iter().all(|v| v.abs() > 0.0));
    let raw = checkpoint.load(checkpoint.choose(Which::Raw).unwrap()).unwrap();
    assert_eq!(raw.tensors.len(), 142);
    assert_eq!(raw.tensors["module.conv_in.bias"].kind(), Kind::Half);
    assert!(
        values(&raw.tensors["module.conv_in.bias"].to_kind(Kind::Float)).iter().all(|v| *v == 0.0)
    );
}

#[test]
fn what_is_no_checkpoint_is_called_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let problems: Vec<String> = [
        &b""[..],
        b"version https://git-lfs\noid sha256:0\nsize 1\n",
        b"\n<!DOCTYPE html>\n<html>",
        b"\x1f\x8b\x08\x00",
        b"\x80\x04]\x94.",
        b"hello, world",
        b"PK\x03\x04 and then nothing",
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e",
    ]
    .iter()
    .map(|bytes| problem(&write(&folder, "x", bytes)))
    .collect();
    insta::assert_snapshot!(problems.join("\n"), @r"
    FILE is truncated or damaged: it is empty; fetch it again
    FILE is Git LFS's pointer to a file; fetch the file itself
    FILE is a web page, as servers send where a file is gone or needs a login; fetch the file itself
    FILE is compressed by gzip; weights are read from safetensors files and from what torch.save writes
    FILE is a Python pickle that torch.save did not write; weights are read from safetensors files and from what torch.save writes
    FILE is of no format that is known; weights are read from safetensors files and from what torch.save writes
    FILE is truncated or damaged: invalid Zip archive: Could not find EOCD; fetch it again
    FILE is truncated or damaged: at byte 0 of its pickle: it ends too early; fetch it again
    ");
}

fn max_difference(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

/// What the golden file of the tiny network states: labels and outputs.
fn golden() -> (Vec<f64>, Tensor) {
    let golden = checkpoints::read(&support::golden("unet_tiny.safetensors")).unwrap();
    let labels = Vec::try_from(&golden.tensors["t"].to_kind(Kind::Double)).unwrap();
    (labels, golden.tensors["out"].shallow_clone())
}

/// The images that the golden outputs belong to.
fn images() -> Tensor {
    let size = golden().1.size();
    let len = usize::try_from(size.iter().product::<i64>()).unwrap();
    Tensor::from_slice(&fill::normal("tiny/x", len)).reshape(size).to_kind(Kind::Float)
}

/// How far a network is from the golden outputs, each image with its own label.
fn golden_difference(network: &Network) -> f64 {
    let ((labels, out), images) = (golden(), images());
    let one = |(index, &t): (usize, &f64)| {
        let at = Level { t, ..CLEAN };
        let index = i64::try_from(index).unwrap();
        let eps = network.predict(&images.narrow(0, index, 1), at.into()).unwrap();
        max_difference(&eps, &out.narrow(0, index, 1))
    };
    labels.iter().enumerate().map(one).fold(0.0, f64::max)
}

#[test]
fn every_container_gives_the_golden_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let diffusers = checkpoints::write_folder(folder.path());
    let weights = diffusers.join("diffusion_pytorch_model.safetensors");
    let files = ["tiny_zip.ckpt", "tiny_legacy.ckpt", "tiny_official_list.pth"];
    let files = files.map(|name| checkpoints::write(name, folder.path()));
    for path in files.iter().chain([&diffusers, &weights]) {
        let network = Network::open(path, &Wanted::default()).unwrap();
        assert_eq!((network.tensors(), network.parameters()), (142, 285_667));
        let difference = golden_difference(&network);
        eprintln!("{}: {difference:e}", path.display());
        assert!(difference < 2e-5, "{}: {difference:e}", path.display());
    }
    // A name says nothing: the list as a .safetensors, and the weights as a .bin with their
    // config.json beside them.
    let renamed = folder.path().join("list.safetensors");
    fs::copy(&files[2], &renamed).unwrap();
    let alone = diffusers.join("alone.bin");
    fs::copy(&weights, &alone).unwrap();
    for path in [renamed, alone] {
        let network = Network::open(&path, &Wanted::default()).unwrap();
        assert!(golden_difference(&network) < 2e-5);
    }
}

#[test]
fn the_raw_half_of_the_official_list_is_another_network() {
    let (_folder, path) = file("tiny_official_list.pth");
    let raw = Network::open(&path, &Wanted { which: Which::Raw, ..Wanted::default() }).unwrap();
    // All its weights are zero.
    let eps = raw.predict(&images(), CLEAN.into()).unwrap();
    assert_eq!(eps.abs().max().double_value(&[]).to_bits(), 0);
}

#[test]
fn the_shape_of_the_images_is_known_stated_or_asked_for() {
    let (_folder, path) = file("tiny_zip.ckpt");
    assert_eq!(Network::open(&path, &Wanted::default()).unwrap().shape(), None);
    let with = |shape| Network::open(&path, &Wanted { shape: Some(shape), ..Wanted::default() });
    assert_eq!(with([3, 8, 12]).unwrap().shape(), Some([3, 8, 12]));
    for shape in [[1, 8, 8], [3, 7, 8], [3, 0, 8]] {
        let error = with(shape).unwrap_err();
        assert!(matches!(error, OpenError::Shape { .. }), "{error}");
    }
}

#[test]
fn official_names_have_official_shapes() {
    let (_folder, path) = file("tiny_official_list.pth");
    let checkpoint = Checkpoint::open(&path).unwrap();
    let raw = checkpoint.choose(Which::Raw).unwrap();
    let translation = raw.translation();
    assert_eq!(
        (translation.prefix.as_str(), translation.convention),
        ("module.", Convention::Official)
    );
    let stated = |name: &str| raw.tensors().find(|tensor| tensor.0 == name).unwrap().1.to_vec();
    assert_eq!(stated("module.mid.attn_1.q.weight"), [32, 32, 1, 1]);
    assert_eq!(raw.shapes()["mid_block.attentions.0.to_q.weight"], [32, 32]);
}

#[test]
fn tensors_that_are_missing_surplus_or_misshapen_are_listed_by_name() {
    let (folder, path) = file("tiny_diffusers.safetensors");
    let mut tensors = Weights::read(&path, Which::Ema).unwrap().tensors;
    tensors.remove("conv_in.bias");
    tensors.insert("class_embedding.weight".into(), Tensor::from_slice(&[1.0_f32]));
    tensors.insert("conv_out.bias".into(), Tensor::from_slice(&[1.0_f32]));
    let changed = folder.path().join("changed.safetensors");
    let list: Vec<(&str, Tensor)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shallow_clone())).collect();
    Tensor::write_safetensors(&list, &changed).unwrap();
    let error = Network::open(&changed, &Wanted::default()).unwrap_err();
    insta::assert_snapshot!(error.to_string().replace(&changed.display().to_string(), "FILE"), @r"
    FILE: the tensors are not those of the DDPM UNet that they suggest:
      missing `conv_in.bias`
      not known `class_embedding.weight`
      `conv_out.bias` has shape [1]; needed: [3]
    ");
}

#[test]
fn a_torchscript_program_is_run_and_not_read() {
    let path = support::golden("eps.pt");
    let wanted = Wanted { shape: Some([3, 4, 4]), ..Wanted::default() };
    let network = Network::open(&path, &wanted).unwrap();
    assert_eq!((network.tensors(), network.parameters(), network.shape()), (1, 3, Some([3, 4, 4])));
    // eps = gain[c] x sin(t), of PyTorch's own saving.
    let x =
        Tensor::from_slice(&fill::unit("script/x", 96)).reshape([2, 3, 4, 4]).to_kind(Kind::Float);
    let eps = network.predict(&x, Level { t: 2.0, ..CLEAN }.into()).unwrap();
    let gain = Tensor::from_slice(&[0.5_f32, 1.0, 2.0]).reshape([1, 3, 1, 1]);
    assert!(max_difference(&eps, &(&x * gain * 2.0_f64.sin())) < 1e-6);

    // Twice the channels are eps and the range of a learned variance, here cos(x).
    let both = Network::open(&support::golden("eps_range.pt"), &wanted).unwrap();
    assert_eq!((network.predicts_range(), both.predicts_range()), (None, None));
    let at = Level { t: 2.0, ..CLEAN }.into();
    let found = both.predict_with_range(&x, at).unwrap();
    assert!(max_difference(&found.eps, &eps) <= 0.0);
    assert!(max_difference(&found.range.unwrap(), &x.cos()) < 1e-6);
    assert!(max_difference(&both.predict(&x, at).unwrap(), &eps) <= 0.0);
    assert!(network.predict_with_range(&x, at).unwrap().range.is_none());

    assert!(matches!(
        checkpoints::read(&path).unwrap_err(),
        CheckpointError::Program { what: "a TorchScript program", .. }
    ));
    let half = Placement { precision: Precision::Bf16, ..Placement::default() };
    let error = Network::open(&path, &half.into()).unwrap_err();
    assert!(matches!(error, OpenError::Precision { .. }), "{error}");
    let error = Network::open(&path, &Wanted { which: Which::Raw, ..wanted }).unwrap_err();
    assert!(matches!(error, OpenError::NoRaw { .. }), "{error}");
}

/// The largest difference of a network's answer at t = 500 to one of the reference's.
fn off(folder: &Path, name: &str, which: Which, expected: &str) -> f64 {
    let reference = cases::reference(folder);
    let network = Network::open(&folder.join(name), &Wanted { which, ..Wanted::default() });
    let network = network.unwrap_or_else(|error| panic!("{name}: {error}"));
    let at = Level { t: 500.0, ..CLEAN };
    max_difference(&network.predict(&reference["x"], at.into()).unwrap(), &reference[expected])
}

fn unpacked() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    cases::unpack(folder.path());
    folder
}

#[test]
fn averages_are_found_wherever_scripts_keep_them() {
    let folder = unpacked();
    // Whether the raw weights are there as well.
    for (name, both) in [
        ("score_sde/ckpt.pt", true),
        ("diffusers_ema_model/ckpt.pt", true),
        ("ema_pytorch/ckpt.pt", true),
        ("ema_pytorch_flat/ckpt.pt", true),
        ("ema_pytorch_average_alone/ckpt.pt", false),
        ("lit_ema/ckpt.pt", true),
        ("averaged_model/ckpt.pt", false),
        ("averaged_model_by_key/ckpt.pt", true),
        ("modules_whole/ckpt.pt", true),
        ("object_whole/ckpt.pt", true),
        ("checkpoint-500", true),
    ] {
        let average = off(folder.path(), name, Which::Ema, "average");
        assert!(average < 1e-5, "{name}: {average:e}");
        // The two sets are far apart.
        assert!(off(folder.path(), name, Which::Ema, "raw") > 0.1, "{name}");
        if both {
            let raw = off(folder.path(), name, Which::Raw, "raw");
            assert!(raw < 1e-5, "{name}: {raw:e}");
        }
    }
}

#[test]
fn an_average_that_cannot_be_read_is_not_replaced_by_the_raw_weights() {
    let folder = unpacked();
    let mut problems = vec![];
    for (name, raw) in [
        ("shadow_alone/ckpt.pt", false),
        ("shadow_of_others/ckpt.pt", true),
        ("flat_average/ckpt.pt", true),
        ("average_in_optimizer/ckpt.pt", true),
        ("lit_ema_of_others/ckpt.pt", true),
        ("two_averages/ckpt.pt", true),
        ("checkpoint-broken", true),
    ] {
        let error = Network::open(&folder.path().join(name), &Wanted::default()).unwrap_err();
        let error = ddim::error::Error::from(error).to_string();
        problems.push(error.replace(&folder.path().display().to_string(), "DIR"));
        if raw {
            let off = off(folder.path(), name, Which::Raw, "raw");
            assert!(off < 1e-5, "{name}: {off:e}");
        }
    }
    insta::assert_snapshot!(problems.join("\n"), @r"
    DIR/shadow_alone/ckpt.pt holds an average in `ema.shadow_params`, which cannot be read: it is a list without names, and no weights by name stand beside it; save the average as a state_dict
    DIR/shadow_of_others/ckpt.pt holds an average in `ema.shadow_params`, which cannot be read: it is a list of 93 tensors, which do not fit the 94 of `model` in their order; --raw (`model.raw = true`) takes the weights as they were trained, or save the average by itself as a state_dict
    DIR/flat_average/ckpt.pt holds an average in `ema`, which cannot be read: it is one tensor for all layers; --raw (`model.raw = true`) takes the weights as they were trained, or save the average by itself as a state_dict
    DIR/average_in_optimizer/ckpt.pt holds an average in `optimizer_states[0].ema`, which cannot be read: it stands in the optimiser's state; --raw (`model.raw = true`) takes the weights as they were trained, or save the average by itself as a state_dict
    DIR/lit_ema_of_others/ckpt.pt holds an average in `model_ema`, which cannot be read: its tensors, `model_ema.somethingelseweight` and others, fit no network here; --raw (`model.raw = true`) takes the weights as they were trained, or save the average by itself as a state_dict
    DIR/two_averages/ckpt.pt holds several sets of weights, `model` (raw), `ema_0.99` (EMA), `ema_0.9999` (EMA); save the one that is meant by itself
    DIR/checkpoint-broken/unet_ema should be an average: DIR/checkpoint-broken/unet_ema holds no config.json and no diffusion_pytorch_model.safetensors; a model is a folder with both, as diffusers' save_pretrained writes it, or a single file of weights; --raw (`model.raw = true`) takes the network beside it
    ");
    // Numbers about an average are none.
    assert!(off(folder.path(), "numbers_of_an_average/ckpt.pt", Which::Ema, "raw") < 1e-5);
}

#[test]
fn what_stands_before_and_beside_a_network_is_left_out_and_named() {
    let folder = unpacked();
    for (name, left_out) in [
        ("process/ckpt.pt", "`betas`, `alphas_cumprod`, `posterior_variance`"),
        ("prefix_of_its_own/ckpt.pt", "`num_batches_tracked`, `log_one_minus_alphas_cumprod`"),
        ("averaged_model/ckpt.pt", "`n_averaged`"),
    ] {
        let off = off(folder.path(), name, Which::Ema, "average");
        assert!(off < 1e-5, "{name}: {off:e}");
        let network = Network::open(&folder.path().join(name), &Wanted::default()).unwrap();
        let said = network.remarks().iter().any(|remark| {
            !remark.warning && remark.text == format!("left out, no weights: {left_out}")
        });
        assert!(said, "{name}: {:?}", network.remarks());
    }
    // A module pickled whole says its names itself.
    assert!(off(folder.path(), "module_whole/ckpt.pt", Which::Ema, "raw") < 1e-5);
    // Tensors of layers are never left out.
    let problem = |name: &str| {
        let error = Network::open(&folder.path().join(name), &Wanted::default()).unwrap_err();
        error.to_string().replace(&folder.path().display().to_string(), "DIR")
    };
    insta::assert_snapshot!(problem("with_another_network/ckpt.pt"), @r"
    DIR/with_another_network/ckpt.pt does not fit the config.json beside it, and both must come from one model:
      not known `text_encoder.embed.weight`
    ");
    let split = problem("half_under_a_prefix/ckpt.pt");
    assert!(split.contains("`, which stands under `first.`\n"), "{split}");
}

#[test]
fn shards_are_read_through_their_index() {
    let folder = unpacked();
    let at = |name: &str| folder.path().join(name);
    for (name, tolerance) in [("shards", 1e-5), ("shards_bin", 1e-5), ("shards_fp16", 5e-3)] {
        let off = off(folder.path(), name, Which::Ema, "average");
        assert!(off < tolerance, "{name}: {off:e}");
    }
    // The hash is that of `sha256sum index shards | sha256sum`: every byte of every file counts.
    let index = at("shards/diffusion_pytorch_model.safetensors.index.json");
    let opened = Checkpoint::open(&index).unwrap();
    assert_eq!((opened.container, opened.shards.len()), (Container::SAFETENSORS, 3));
    let files = std::iter::once(&index).chain(&opened.shards);
    let list: Vec<String> = files
        .map(|file| {
            let hash = ddim::data::sha256(&fs::read(file).unwrap());
            format!("{hash}  {}\n", file.file_name().unwrap().to_str().unwrap())
        })
        .collect();
    assert_eq!(opened.sha256, ddim::data::sha256(list.concat().as_bytes()));

    let text = fs::read_to_string(&index).unwrap();
    let problem = || {
        let error = Checkpoint::open(&index).unwrap_err();
        error.to_string().replace(&folder.path().display().to_string(), "DIR")
    };
    let mut problems = vec![];
    let shard = "diffusion_pytorch_model-00002-of-00003.safetensors";
    fs::rename(at("shards").join(shard), at("away")).unwrap();
    problems.push(problem());
    fs::rename(at("away"), at("shards").join(shard)).unwrap();
    for (from, to) in [
        (shard, "../shards/x.safetensors"),
        ("\"conv_in.weight\"", "\"conv_in.scale\""),
        ("weight_map", "weights"),
        ("{", "{{"),
    ] {
        fs::write(&index, text.replace(from, to)).unwrap();
        problems.push(problem());
    }
    // An index among the shards is refused, not followed: one that names itself would have no end.
    let own_name = index.file_name().unwrap().to_str().unwrap();
    fs::write(&index, text.replace(shard, own_name)).unwrap();
    let refusal = Checkpoint::open(&index).unwrap_err();
    assert!(refusal.to_string().contains("is of no format that is known"), "{refusal}");

    insta::assert_snapshot!(problems.join("\n"), @r#"
    DIR/shards/diffusion_pytorch_model.safetensors.index.json: of its 3 files diffusion_pytorch_model-00002-of-00003.safetensors is not beside it; fetch what is missing
    DIR/shards/diffusion_pytorch_model.safetensors.index.json: `mid_block.attentions.0.group_norm.bias` is in "../shards/x.safetensors", which is no name of a file beside it
    DIR/shards/diffusion_pytorch_model.safetensors.index.json: `conv_in.scale` is not in diffusion_pytorch_model-00001-of-00003.safetensors; fetch both again
    DIR/shards/diffusion_pytorch_model.safetensors.index.json: it has no `weight_map`, which says where each tensor is; fetch it again
    DIR/shards/diffusion_pytorch_model.safetensors.index.json: it is no JSON: key must be a string at line 1 column 2; fetch it again
    "#);
}

#[test]
fn numbers_of_any_width_become_f32_and_it_is_said() {
    let folder = unpacked();
    for (name, expected, said) in [
        ("f64/ckpt.pt", "average", "F64 weights are rounded to F32"),
        (
            "f8/ckpt.safetensors",
            "f8",
            "F8 weights are cast to F32, which does not give their digits back",
        ),
        (
            "f8_pickled/ckpt.pt",
            "f8",
            "F8 weights are cast to F32, which does not give their digits back",
        ),
    ] {
        let off = off(folder.path(), name, Which::Ema, expected);
        assert!(off < 1e-5, "{name}: {off:e}");
        let network = Network::open(&folder.path().join(name), &Wanted::default()).unwrap();
        assert!(network.remarks().iter().any(|remark| remark.text == said), "{name}");
    }
    let error =
        Network::open(&folder.path().join("f64_beyond/ckpt.safetensors"), &Wanted::default());
    let error = error.unwrap_err().to_string();
    assert!(error.ends_with("`conv_in.bias` holds numbers beyond the range of F32"), "{error}");
}

#[test]
fn a_program_is_asked_as_it_can_be_asked() {
    let folder = unpacked();
    for (name, expected, tolerance) in [
        ("f16.pt", "program_f16", 1e-6),
        ("f64.pt", "program", 1e-6),
        ("long.pt", "table", 1e-6),
        ("long_f16.pt", "table", 5e-3),
    ] {
        let off = off(folder.path(), name, Which::Ema, expected);
        assert!(off < tolerance, "{name}: {off:e}");
    }
    let x = &cases::reference(folder.path())["x"];
    let asked = |name: &str, t: f64| {
        let network = Network::open(&folder.path().join(name), &Wanted::default()).unwrap();
        network.predict(x, Level { t, ..CLEAN }.into()).unwrap_err().to_string()
    };
    // Nothing is cut off a label for a table.
    let problem = asked("long.pt", 499.5);
    assert!(
        problem.contains("takes integer timesteps, and this grid asks at t = 499.5"),
        "{problem}"
    );
    let problem = asked("picky.pt", 500.0);
    assert_eq!(problem.matches("five channels are needed").count(), 2, "{problem}");
}

#[test]
fn diffusers_names_without_a_configuration_are_refused_with_the_remedy() {
    let folder = unpacked();
    let file = folder.path().join("no_config/unet.safetensors");
    let error = Network::open(&file, &Wanted::default()).unwrap_err().to_string();
    assert!(matches!(
        Network::open(&folder.path().join("no_config/ckpt.pt"), &Wanted::default()),
        Err(OpenError::Unrecognised { .. })
    ));
    // What the message says to write, with what this network was trained with, is a model.
    let json = error.lines().find(|line| line.starts_with("  {")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(json).unwrap();
    let own = folder.path().join("shards/config.json");
    let own: serde_json::Value = serde_json::from_slice(&fs::read(own).unwrap()).unwrap();
    for field in [
        "norm_num_groups",
        "norm_eps",
        "attention_head_dim",
        "downsample_padding",
        "flip_sin_to_cos",
        "freq_shift",
    ] {
        assert!(error.contains(field), "{error}");
        config[field] = own[field].clone();
    }
    fs::write(folder.path().join("no_config/config.json"), config.to_string()).unwrap();
    assert!(off(folder.path(), "no_config/unet.safetensors", Which::Ema, "average") < 1e-5);
}

/// A zip archive as `torch.save` writes it, around a pickle and its storages.
fn archive(folder: &TempDir, pickle: &[u8], storages: &[(&str, &[u8])]) -> PathBuf {
    use std::io::Write as _;
    let path = folder.path().join("made.pt");
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let records = [("data.pkl".to_owned(), pickle)]
        .into_iter()
        .chain(storages.iter().map(|(key, bytes)| (format!("data/{key}"), *bytes)));
    for (name, bytes) in records {
        zip.start_file(format!("made/{name}"), stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    path
}

fn text(value: &str) -> Vec<u8> {
    let mut pickle = vec![b'X'];
    pickle.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
    pickle.extend(value.as_bytes());
    pickle
}

/// A storage as a pickle refers to it.
fn storage(class: &str, key: &str, len: u8) -> Vec<u8> {
    [b"(".to_vec(), text("storage"), format!("ctorch\n{class}\n").into(), text(key), text("cpu")]
        .concat()
        .into_iter()
        .chain([b'K', len, b't', b'Q'])
        .collect()
}

/// A tensor with its window on a storage.
fn tensor(storage: &[u8], offset: u8, shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let tuple = |sides: &[u8]| {
        let items: Vec<u8> = sides.iter().flat_map(|&side| [b'K', side]).collect();
        [b"(", items.as_slice(), b"t"].concat()
    };
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n(",
        storage,
        &[b'K', offset],
        &tuple(shape),
        &tuple(strides),
        b"\x89}tR",
    ]
    .concat()
}

/// A dictionary of values.
fn dict(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let items = items.iter().flat_map(|(key, value)| [text(key), value.clone()].concat());
    [b"}(".to_vec(), items.collect(), b"u".to_vec()].concat()
}

fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn strides_offsets_and_shared_storages_are_honoured() {
    let folder = tempfile::tempdir().unwrap();
    let shared = storage("FloatStorage", "0", 6);
    let value = dict(&[
        ("whole", tensor(&shared, 0, &[2, 3], &[3, 1])),
        ("transposed", tensor(&shared, 0, &[3, 2], &[1, 3])),
        ("column", tensor(&shared, 2, &[2], &[3])),
        ("scalar", tensor(&shared, 5, &[], &[])),
        ("empty", tensor(&shared, 0, &[0, 3], &[3, 1])),
        ("spread", tensor(&shared, 4, &[3], &[0])),
    ]);
    let path =
        archive(&folder, &pickle(&value), &[("0", &floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]))]);
    let dict = checkpoints::read(&path).unwrap();
    let expected: [(&str, &[i64], &[f32]); 6] = [
        ("column", &[2], &[2.0, 5.0]),
        ("empty", &[0, 3], &[]),
        ("scalar", &[], &[5.0]),
        ("spread", &[3], &[4.0, 4.0, 4.0]),
        ("transposed", &[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]),
        ("whole", &[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
    ];
    for (name, shape, numbers) in expected {
        assert_eq!(dict.tensors[name].size(), shape, "{name}");
        assert_eq!(values(&dict.tensors[name]), numbers, "{name}");
    }
}

#[test]
fn contents_that_contradict_themselves_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let shared = storage("FloatStorage", "0", 4);
    let numbers = floats(&[0.0; 4]);
    let mut problems = vec![];
    let mut judge = |value: Vec<u8>, bytes: &[u8]| {
        problems.push(problem(&archive(&folder, &pickle(&value), &[("0", bytes)])));
    };
    judge(dict(&[("w", tensor(&shared, 1, &[4], &[1]))]), &numbers);
    judge(dict(&[("w", tensor(&shared, 0, &[2, 3], &[1, 1, 1]))]), &numbers);
    judge(dict(&[("w", tensor(&shared, 0, &[255; 6], &[0; 6]))]), &numbers);
    judge(dict(&[("w", tensor(&shared, 0, &[4], &[1]))]), &numbers[1..]);
    judge(dict(&[("w", tensor(&storage("FloatStorage", "7", 4), 0, &[4], &[1]))]), &numbers);
    judge(
        dict(&[
            ("v", tensor(&shared, 0, &[4], &[1])),
            ("w", tensor(&storage("IntStorage", "0", 4), 0, &[2, 2], &[2, 1])),
        ]),
        &numbers,
    );
    // What Python would run.
    judge([b"cposix\nsystem\n".to_vec(), text("true"), b"\x85R".to_vec()].concat(), &numbers);
    judge(dict(&[("w", storage("QInt8Storage", "0", 4))]), &numbers);
    judge(b"}".to_vec(), &numbers);
    judge(b"K\x07".to_vec(), &numbers);
    insta::assert_snapshot!(problems.join("\n"), @r"
    FILE is truncated or damaged: `w` reaches beyond its storage; fetch it again
    FILE is truncated or damaged: at byte 115 of its pickle: a tensor whose offset, size or strides make no sense; fetch it again
    FILE is truncated or damaged: `w` repeats elements more often than any network does; fetch it again
    FILE is truncated or damaged: storage 0 has 15 bytes instead of 16; fetch it again
    FILE is truncated or damaged: it lacks the record made/data/7; fetch it again
    FILE is truncated or damaged: `w` sees its storage otherwise than another tensor does; fetch it again
    FILE holds a call of Python's `posix.system` (not called), not tensors by name; save `model.state_dict()`
    FILE holds a dictionary without tensors, not tensors by name; save `model.state_dict()`
    FILE holds a dictionary without tensors, not tensors by name; save `model.state_dict()`
    FILE holds a single value, not tensors by name; save `model.state_dict()`
    ");
}

#[test]
fn weights_are_found_below_the_usual_keys() {
    let folder = tempfile::tempdir().unwrap();
    let shared = storage("FloatStorage", "0", 2);
    let numbers = floats(&[1.0, 2.0]);
    let one = |offset| dict(&[("w", tensor(&shared, offset, &[1], &[1]))]);
    let open = |value: &[u8]| {
        Checkpoint::open(&archive(&folder, &pickle(value), &[("0", &numbers)])).unwrap()
    };
    let roles = |checkpoint: &Checkpoint| -> BTreeMap<String, Role> {
        checkpoint.parts.iter().map(|part| (part.path.clone(), part.role)).collect()
    };

    let nested = open(&dict(&[
        ("state_dict", one(0)),
        ("global_step", b"M\x10\x27".to_vec()),
        ("epoch", b"K\x03".to_vec()),
        ("optimizer_states", dict(&[("0", one(1))])),
        ("hyper_parameters", [b"cargparse\nNamespace\n)R}b".to_vec()].concat()),
    ]));
    assert_eq!(roles(&nested), BTreeMap::from([("state_dict".to_owned(), Role::Raw)]));
    assert_eq!((nested.epoch, nested.step), (Some(3), Some(10_000)));
    assert!(nested.objects.contains("argparse.Namespace"));
    assert!(nested.choose(Which::Ema).is_ok() && nested.choose(Which::Raw).is_ok());

    let averaged = open(&dict(&[("model", one(0)), ("ema", dict(&[("shadow", one(1))]))]));
    let ema = averaged.load(averaged.choose(Which::Ema).unwrap()).unwrap();
    assert_eq!(values(&ema.tensors["w"]), [2.0]);
    let raw = averaged.load(averaged.choose(Which::Raw).unwrap()).unwrap();
    assert_eq!(values(&raw.tensors["w"]), [1.0]);

    let two = open(&dict(&[("netG", one(0)), ("netD", one(1))]));
    let error = two.choose(Which::Ema).unwrap_err();
    assert!(matches!(error, CheckpointError::Ambiguous { .. }), "{error}");
    assert!(error.to_string().contains("`netG` (raw), `netD` (raw)"), "{error}");

    // One set that does not say what it is cannot be asked to be raw.
    let error = open(&one(0)).choose(Which::Raw).unwrap_err();
    assert!(matches!(error, CheckpointError::NoPart { .. }), "{error}");
}

/// Reading may fail, and nothing worse.
fn survives(folder: &TempDir, bytes: &[u8]) {
    let path = write(folder, "fuzzed", bytes);
    let _ = checkpoints::read(&path);
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for name in ["tiny_zip.ckpt", "tiny_legacy.ckpt", "tiny_diffusers.safetensors"] {
        let (folder, path) = file(name);
        let bytes = fs::read(&path).unwrap();
        for part in (0..40).chain([100, 500, 970, 999]) {
            let cut = if part < 40 { part * 7 } else { bytes.len() * part / 1000 };
            let path = write(&folder, "cut", &bytes[..cut]);
            assert!(checkpoints::read(&path).is_err(), "{name} cut to {cut} bytes");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_an_error_or_harmless(
        which in 0..3_usize,
        // Where the structure is: the first bytes of every format, and the last of an archive.
        places in prop::collection::vec((0..20_000_usize, any::<bool>(), any::<u8>()), 1..20),
    ) {
        let (folder, path) =
            file(["tiny_zip.ckpt", "tiny_legacy.ckpt", "tiny_diffusers.safetensors"][which]);
        let mut bytes = fs::read(path).unwrap();
        let last = bytes.len() - 1;
        for (place, from_end, value) in places {
            bytes[if from_end { last - place } else { place }] = value;
        }
        survives(&folder, &bytes);
    }
}
