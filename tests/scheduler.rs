//! What a model's folder says about its network decides how every verb asks it.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use approx::assert_abs_diff_eq;
use ndarray::Array4;
use ndarray_npy::{ReadNpyExt, read_npy};
use serde_json::{Value, json};
use support::program::command;
use tempfile::TempDir;

const PIPELINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pipelines");

/// The pipeline of random weights with another scheduler.
fn pipeline(scheduler: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in ["unet", "scheduler"] {
        fs::create_dir(folder.path().join(part)).unwrap();
    }
    for name in ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"]
    {
        fs::copy(Path::new(PIPELINES).join(name), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("scheduler/scheduler_config.json"), scheduler.to_string())
        .unwrap();
    folder
}

/// diffusers' scheduler of a name and what is said of it; nothing clipped.
#[allow(clippy::needless_pass_by_value, reason = "written as one literal")]
fn saying(fields: Value) -> Value {
    let mut all = json!({ "_class_name": "DDPMScheduler", "clip_sample": false });
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    all
}

fn sample(folder: &Path, arguments: &[&str]) -> (Array4<f32>, String) {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("x0.npy");
    let run = command()
        .args(["sample", "--model"])
        .arg(folder)
        .args(["--latents", &format!("{PIPELINES}/x_T.npy"), "--steps", "4", "--out"])
        .arg(&path)
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(run.status.success(), "{said}");
    (read_npy(&path).unwrap(), said)
}

/// What the program says when it takes this for a mistake of the user's.
fn refused(command: &mut Command) -> String {
    let run = command.output().unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(2), "{said}");
    said
}

fn golden(name: &str) -> Array4<f32> {
    let file = fs::File::open(PathBuf::from(PIPELINES).join(format!("{name}.npy"))).unwrap();
    Array4::read_npy(file).unwrap()
}

fn assert_close(found: &Array4<f32>, expected: &Array4<f32>) {
    let difference = (found - expected).mapv(f32::abs).iter().fold(0.0, |a: f32, &b| a.max(b));
    assert_abs_diff_eq!(difference, 0.0, epsilon = 1e-4);
}

#[test]
fn every_schedule_and_prediction_is_sampled_as_diffusers_samples_it() {
    let cases: Value =
        serde_json::from_slice(&fs::read(format!("{PIPELINES}/cases.json")).unwrap()).unwrap();
    for (name, case) in cases.as_object().unwrap() {
        let folder = pipeline(&saying(case["scheduler"].clone()));
        let tau = case["tau"].as_str().unwrap();
        // The pipeline, and its network.
        for place in ["", "unet"] {
            let (found, said) = sample(&folder.path().join(place), &["--tau", tau]);
            assert_close(&found, &golden(name));
            assert!(!said.contains("note:"), "{name}: {said}");
        }
    }
}

#[test]
fn what_is_written_wins_and_is_said() {
    let folder = pipeline(&saying(json!({ "prediction_type": "v_prediction" })));
    let (found, said) =
        sample(folder.path(), &["--tau", "leading", "--prediction", "eps", "--schedule", "cosine"]);
    let plain = pipeline(&saying(json!({ "beta_schedule": "squaredcos_cap_v2" })));
    let (expected, _) = sample(plain.path(), &["--tau", "leading"]);
    assert_eq!(found, expected);
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("note: ")).collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].starts_with("note: model.prediction = eps is used, although "), "{said}");
    assert!(lines[0].ends_with("scheduler_config.json says v"), "{said}");
    assert!(lines[1].contains("schedule.kind = cosine is used, although "), "{said}");
    let clipped = pipeline(&saying(json!({ "clip_sample": true })));
    let (found, said) = sample(clipped.path(), &["--tau", "leading", "--clip-x0=false"]);
    let (expected, _) = sample(pipeline(&saying(json!({}))).path(), &["--tau", "leading"]);
    assert!(
        found == expected && said.contains("model.clip_x0 = false is used, although "),
        "{said}"
    );
    // What agrees is no news.
    let (_, said) = sample(folder.path(), &["--tau", "leading", "--prediction", "v"]);
    assert!(!said.contains("note:"), "{said}");
}

#[test]
fn a_network_that_nothing_is_said_of_is_not_sampled_without_a_word() {
    let folder = pipeline(&saying(json!({})));
    let network = tempfile::tempdir().unwrap();
    for name in ["config.json", "diffusion_pytorch_model.safetensors"] {
        fs::copy(folder.path().join("unet").join(name), network.path().join(name)).unwrap();
    }
    let (_, said) = sample(network.path(), &[]);
    assert!(said.contains("has no scheduler_config.json; assumed: it predicts eps; the linear"));
    let (_, said) = sample(network.path(), &["--prediction", "eps", "--schedule", "linear"]);
    assert!(!said.contains("assumed"), "{said}");
}

#[test]
fn what_is_not_implemented_is_refused_with_the_way_round_it() {
    let folder = pipeline(&saying(json!({
        "_class_name": "EDMEulerScheduler", "thresholding": true, "prediction_type": "flow_prediction"
    })));
    let model = folder.path().display().to_string();
    let out = folder.path().join("x0.npy");
    let said = refused(command().args(["sample", "--model", &model, "--out"]).arg(&out));
    for word in ["EDMEulerScheduler", "thresholding", "flow_prediction", "model.scheduler = false"]
    {
        assert!(said.contains(word), "{word}: {said}");
    }
    let flags = ["--set", "model.scheduler=false", "--prediction", "eps", "--schedule", "linear"];
    sample(folder.path(), &flags);
}

#[test]
fn a_pipeline_without_its_scheduler_is_refused() {
    let folder = pipeline(&saying(json!({})));
    fs::remove_file(folder.path().join("scheduler/scheduler_config.json")).unwrap();
    let said = refused(
        command().args(["sample", "--out", "/dev/null/x0.npy", "--model"]).arg(folder.path()),
    );
    assert!(
        said.contains("names a scheduler (DDPMScheduler)") || said.contains("x0.npy"),
        "{said}"
    );
}

#[test]
fn zero_terminal_snr_goes_with_v_and_with_methods_of_x0_and_eps() {
    let zero = |prediction: &str| {
        pipeline(&saying(json!({ "rescale_betas_zero_snr": true, "prediction_type": prediction })))
    };
    let refused = |folder: &TempDir, arguments: &[&str], words: &str| {
        let mut sample = command();
        sample.args(["sample", "--steps", "4", "--out"]).arg(folder.path().join("x0.npy"));
        let said = refused(sample.arg("--model").arg(folder.path()).args(arguments));
        assert!(said.contains(words), "{said}");
    };
    let v = zero("v_prediction");
    for arguments in [&["--solver", "ddpm"][..], &["--eta", "0.5"], &["--variance", "sigma-hat"]] {
        let (x0, _) = sample(v.path(), &[&["--tau", "trailing"], arguments].concat());
        assert!(x0.iter().all(|x| x.is_finite()));
    }
    refused(
        &v,
        &["--solver", "heun", "--tau", "trailing"],
        "heun steps in sigma, which is infinite",
    );
    refused(
        &v,
        &["--solver", "dpm-solver++2m", "--tau", "trailing"],
        "steps in sigma, which is infinite",
    );
    refused(&v, &["--tau", "karras"], "spaced in sigma, which is infinite");
    refused(&zero("epsilon"), &["--tau", "trailing"], "eps says nothing about x0");
    // Below the last label nothing is special.
    sample(v.path(), &["--tau", "leading", "--solver", "heun"]);
    sample(zero("epsilon").path(), &["--tau", "leading"]);
}

#[test]
fn what_the_folder_says_is_in_the_cell() {
    let cell = |fields: Value, more: &[&str]| {
        let folder = pipeline(&saying(fields));
        let (_, said) = sample(folder.path(), &[&["-vv"], more].concat());
        let line = said.lines().find(|line| line.starts_with("{\"seed\"")).unwrap().to_owned();
        assert!(said.contains("scheduler_config.json: predicts "), "{said}");
        let mut cell: Value = serde_json::from_str(&line).unwrap();
        cell["model"]["source"].take();
        cell
    };
    let plain = cell(json!({}), &[]);
    assert_eq!(
        plain["schedule"],
        json!({
            "kind": "linear", "beta_start": 1e-4, "beta_end": 0.02, "horizon": 1000
        })
    );
    assert_eq!(plain["model"], json!({ "source": null, "prediction": "eps", "clip_x0": false }));
    let clipped = cell(json!({ "clip_sample": true, "clip_sample_range": 2.0 }), &[]);
    assert_eq!(clipped["model"]["clip_range"], 2.0);
    let other = cell(
        json!({ "beta_schedule": "scaled_linear", "beta_end": 0.012, "num_train_timesteps": 500,
                "rescale_betas_zero_snr": true }),
        &["--tau", "leading"],
    );
    assert_eq!(
        other["schedule"],
        json!({
            "kind": "scaled-linear", "beta_start": 1e-4, "beta_end": 0.012, "horizon": 500,
            "zero_terminal_snr": true
        })
    );
    // Rounding to f32 is no other rule, and T is the network's whatever the rule.
    let short = json!({ "beta_end": 0.012, "num_train_timesteps": 500 });
    let rounded = cell(short.clone(), &["--schedule", "linear-f32"]);
    assert_eq!(
        rounded["schedule"],
        json!({ "kind": "linear-f32", "beta_start": 1e-4, "beta_end": 0.012, "horizon": 500 })
    );
    let other = cell(short, &["--schedule", "cosine"]);
    assert_eq!(other["schedule"], json!({ "kind": "cosine", "horizon": 500 }));
    // What is written of a rule leaves the rest of it as the folder says.
    let written = cell(
        json!({ "beta_schedule": "scaled_linear", "beta_end": 0.012, "num_train_timesteps": 500 }),
        &["--set", "schedule.beta_start=0.001"],
    );
    assert_eq!(
        written["schedule"],
        json!({
            "kind": "scaled-linear", "beta_start": 0.001, "beta_end": 0.012, "horizon": 500
        })
    );
}
