//! Compiled packages: recognised, refused where they do not fit, made by a Python, and run.

#![cfg(all(feature = "harness", unix))]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    fs,
    io::{Cursor, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use ddim::{
    core::{CLEAN, Denoiser, Draw, KeyedNoise, Level, Noise},
    networks::{
        checkpoint::Container,
        compiled::About,
        network::{Network, Wanted},
        open_error::OpenError,
        placement::{Placement, Precision},
    },
};
use support::program::Ddim;
use tch::{Device, Kind, Tensor};
use zip::write::SimpleFileOptions;

/// What a package for the CPU says, with changes; an empty text is left out.
fn metadata(changes: &[(&str, &str)]) -> String {
    let mut texts = vec![
        ("format", "1"),
        ("device", "cpu"),
        ("machine", std::env::consts::ARCH),
        ("batch", "8"),
        ("shape", "3,8,8"),
        ("channels", "3"),
        ("timesteps", "1"),
        ("precision", "bf16"),
        ("torch", "2.11.0"),
        ("tensors", "2"),
        ("parameters", "30"),
        ("source", "models/somewhere"),
        ("weights", "0123"),
    ];
    texts.retain(|(key, _)| changes.iter().all(|(changed, _)| changed != key));
    texts.extend(changes);
    let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
    let texts = texts.map(|(key, text)| (format!("ddim.{key}"), text.into()));
    serde_json::Value::Object(texts.collect()).to_string()
}

/// The archive around a library that is none.
fn package(metadata: Option<&str>) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(vec![]));
    let plain = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut add = |name: &str, bytes: &[u8]| {
        zip.start_file(format!("net/{name}"), plain).unwrap();
        zip.write_all(bytes).unwrap();
    };
    add("archive_format", b"pt2");
    add("data/aotinductor/model/a.wrapper.so", b"no library");
    if let Some(metadata) = metadata {
        add("data/aotinductor/model/a.wrapper_metadata.json", metadata.as_bytes());
    }
    zip.finish().unwrap().into_inner()
}

const SAMPLE: [&str; 7] = ["sample", "--model", "net.bin", "--steps", "2", "--out", "x.npy"];

/// Exit code, data and messages.
fn run(ddim: &Ddim, arguments: &[&str]) -> (i32, String, String) {
    let output = ddim.run(arguments);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// An executable that stands for Python.
fn python(ddim: &Ddim, script: &str) -> String {
    let path = ddim.path("python");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[test]
fn a_package_is_recognised_by_its_content_and_described_without_being_loaded() {
    let ddim = Ddim::new();
    let scheduler = r#"{"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}"#;
    ddim.write("net.bin", package(Some(&metadata(&[("scheduler", scheduler)]))));
    let about = About::read(&ddim.path("net.bin")).unwrap().unwrap();
    assert_eq!((about.batch, about.precision), (Some(8), Precision::Bf16));
    let checkpoint = ddim::networks::checkpoint::Checkpoint::open(&ddim.path("net.bin")).unwrap();
    assert_eq!(checkpoint.container, Container::PACKAGE);

    let (code, out, _) = run(&ddim, &["inspect", "net.bin"]);
    assert_eq!(code, 0);
    for line in [
        "container     AOTInductor package",
        "weights       2 tensors, 30 parameters",
        "compiled      compiled by torch 2.11.0 for cpu, bf16, 8 images a call, from models/somewhere",
        "meaning       net.bin: predicts v",
        "images        [3, 8, 8]",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    let (code, out, _) = run(&ddim, &["inspect", "net.bin", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["compiled"]["precision"]), (0, &"bf16".into()));

    let (code, _, err) = run(&ddim, &["convert", "net.bin", "--out", "folder"]);
    assert_eq!(code, 2);
    assert!(err.contains("is a compiled package, not weights"), "{err}");
}

#[test]
fn a_package_that_does_not_fit_is_refused_in_one_message() {
    type Case<'a> = (Option<String>, &'a [&'a str], &'a str);
    let cases: [Case<'_>; 9] = [
        (None, &[], "net.bin is an AOTInductor package that does not say what it takes"),
        (Some(metadata(&[("shape", "")])), &[], "it has no `ddim.shape`"),
        (Some("{".to_owned()), &[], "net.bin is truncated or damaged"),
        (Some(metadata(&[("device", "cuda")])), &[], "was compiled for cuda, and this runs on cpu"),
        (Some(metadata(&[("torch", "2.12.0")])), &[], "newer than the LibTorch 2.11.0"),
        (Some(metadata(&[("processor", "quantum")])), &[], "this one lacks quantum"),
        (Some(metadata(&[])), &[], "net.bin: LibTorch cannot load the package: "),
        (Some(metadata(&[])), &["--precision", "f32"], "net.bin was compiled for bf16, not f32"),
        (Some(metadata(&[])), &["--raw"], "is a compiled package, which has one set of weights"),
    ];
    for (metadata, more, message) in cases {
        let ddim = Ddim::new();
        ddim.write("net.bin", package(metadata.as_deref()));
        let (code, _, err) = run(&ddim, &[&SAMPLE[..], more].concat());
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(message), "{message}\n{err}");
        assert_eq!(err.matches("error: ").count(), 1, "{err}");
        assert!(!ddim.path("x.npy").exists());
    }
}

#[test]
fn what_python_says_is_one_message_and_nothing_is_written() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/cifar10-small");
    let cases = [
        (
            "echo 'unfit: this Python cannot import torch' >&2; exit 2",
            2,
            "cannot import torch; --python",
        ),
        ("echo 'refused: it returned 3' >&2; exit 2", 2, "error: it returned 3"),
        ("echo compiling; echo a line >&2; echo 'RuntimeError: no room' >&2; exit 1", 1, "no room"),
        ("kill -9 $$", 1, "ended with signal: 9"),
        // It says that all is well, and there is no package.
        ("exit 0", 1, "what was compiled cannot be run"),
    ];
    for (script, code, message) in cases {
        let ddim = Ddim::new();
        let python = python(&ddim, script);
        let room = tempfile::tempdir().unwrap();
        let ddim = ddim.with("TMPDIR", room.path().display().to_string());
        let (found, _, err) =
            run(&ddim, &["compile", model, "--python", &python, "--out", "net.pt2"]);
        assert_eq!(found, code, "{err}");
        assert!(err.contains(message), "{message}\n{err}");
        assert!(!ddim.path("net.pt2").exists());
        assert_eq!(fs::read_dir(room.path()).unwrap().count(), 0, "{script}");
    }
    for (arguments, message) in [
        (vec!["compile", model, "--python", "/none"], "cannot start /none"),
        (vec!["compile", "absent"], "absent does not exist"),
        (vec!["compile", "net.py:build"], "net.py:build: nothing says how large its images are"),
        (vec!["compile", "net.py:", "--shape", "3,8,8"], "name a function"),
        (vec!["compile", model, "--precision", "f16"], "give f32 or bf16"),
        (vec!["compile", model, "--inductor", "freezing"], "write NAME=VALUE"),
        (vec!["compile", model, "--batch", "4", "--dynamic"], "cannot be used with"),
        // The same, where a setting asks for a package.
        (
            vec!["sample", "--model", model, "--compiled", "--steps", "2", "--out", "x.npy"],
            "cannot start /none",
        ),
    ] {
        let ddim = Ddim::new().with("DDIM_PYTHON", "/none");
        let (code, _, err) = run(&ddim, &arguments);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(message), "{message}\n{err}");
    }
}

#[test]
fn an_interruption_ends_python_and_all_that_it_started() {
    let ddim = Ddim::new();
    let (child, room) = (ddim.path("child"), tempfile::tempdir().unwrap());
    // As a compiler does, the second process outlives the first unless both are ended.
    let script = format!("sleep 300 & echo $! > {}; echo compiling; wait", child.display());
    let python = python(&ddim, &script);
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/cifar10-small");
    let mut program = Command::new(env!("CARGO_BIN_EXE_ddim"))
        .args(["compile", model, "--python", &python, "--out"])
        .arg(ddim.path("net.pt2"))
        .env("TMPDIR", room.path())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let pid = loop {
        let text = fs::read_to_string(&child).unwrap_or_default();
        if text.ends_with('\n') {
            break text.trim().to_owned();
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "Python was not started");
        std::thread::sleep(Duration::from_millis(20));
    };
    let id = program.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    assert_eq!(program.wait().unwrap().code(), Some(130));
    // Ended, whether or not its parent has taken note.
    let state = fs::read_to_string(Path::new("/proc").join(&pid).join("stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
    assert!(!ddim.path("net.pt2").exists());
    assert_eq!(fs::read_dir(room.path()).unwrap().count(), 0);
}

fn relative(found: &Tensor, expected: &Tensor) -> f64 {
    let norm = |x: &Tensor| x.to_kind(Kind::Double).norm().double_value(&[]);
    norm(&(found - expected)) / norm(expected)
}

/// Needs a Python with torch and minutes: `DDIM_PYTHON=PATH cargo test --release --test compiled`.
#[test]
fn a_package_agrees_with_its_network_where_there_is_a_python() {
    let Some(python) = std::env::var("DDIM_PYTHON").ok().filter(|python| !python.is_empty()) else {
        eprintln!("not run: DDIM_PYTHON names no Python that has torch");
        return;
    };
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/cifar10-small");
    let ddim = Ddim::new().with("DDIM_PYTHON", python);
    let native = Network::open(Path::new(model), &Wanted::default()).unwrap();
    let zeros = Tensor::zeros([5, 3, 32, 32], (Kind::Float, Device::Cpu));
    let images = KeyedNoise { seed: 4, first: 0 }.draw(&zeros, Draw::Initial).unwrap();
    let ask = |network: &Network, images: &Tensor, t| {
        network.predict(images, Level { t, ..CLEAN }.into()).unwrap()
    };
    for (name, arguments, precision, most) in [
        ("fixed.pt2", vec!["--batch", "4"], Precision::F32, 1e-5),
        ("dynamic.pt2", vec!["--dynamic"], Precision::F32, 1e-5),
        ("bf16.pt2", vec!["--batch", "4", "--precision", "bf16"], Precision::Bf16, 3e-2),
    ] {
        let (code, _, err) =
            run(&ddim, &[&["compile", model, "--out", name][..], &arguments].concat());
        assert_eq!(code, 0, "{err}");
        let placement = Placement { precision, ..Placement::default() };
        let compiled = Network::open(&ddim.path(name), &placement.into()).unwrap();
        assert_eq!(compiled.shape(), Some([3, 32, 32]));
        assert_eq!(compiled.predicts_range(), Some(false));
        assert_eq!(compiled.weights_sha256(), native.sha256());
        assert_eq!(compiled.parameters(), native.parameters());
        for t in [0.0, 321.7, 999.0] {
            let expected = ask(&native, &images, t);
            let off = relative(&ask(&compiled, &images, t), &expected);
            assert!(off < most, "{name}, t = {t}: {off}");
            // A single image is a call as well.
            let one = ask(&compiled, &images.narrow(0, 3, 1), t);
            assert!(relative(&one, &expected.narrow(0, 3, 1)) < most, "{name}, t = {t}");
        }
        let other = Placement {
            precision: if precision == Precision::F32 { Precision::Bf16 } else { Precision::F32 },
            ..Placement::default()
        };
        let error = Network::open(&ddim.path(name), &other.into()).unwrap_err();
        assert!(matches!(error, OpenError::CompiledPrecision { .. }), "{error}");
    }
    let (code, _, err) =
        run(&ddim, &["sample", "--model", "bf16.pt2", "--steps", "3", "--out", "x.npy"]);
    assert_eq!(code, 0, "{err}");

    // A manifest asks for the package, which is made once and remembered.
    ddim.write(
        "mine.toml",
        format!(
            "name = \"mine\"\nsamples = 6\nbatch = 4\nmodel.source = \"{model}\"\n\
             model.compiled = true\ngrid.tau = \"official-quad\"\ngrid.steps = 2\n\
             solver.kind = \"ddim\"\n"
        ),
    );
    let (code, _, err) = run(&ddim, &["run", "mine.toml"]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("compiling ") && err.contains("kept in "), "{err}");
    let provenance = fs::read_to_string(ddim.path("results/mine/provenance.json")).unwrap();
    let provenance: serde_json::Value = serde_json::from_str(&provenance).unwrap();
    assert_eq!(provenance["inputs"]["weights"], native.sha256());
    assert!(provenance["inputs"]["package"].is_string());
    let (code, _, err) = run(&ddim, &["run", "mine.toml", "--fresh"]);
    assert_eq!(code, 0, "{err}");
    assert!(!err.contains("compiling "), "{err}");
}
