//! FID, KID and IS through the command line: what they are called and what they need.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use assert_cmd::Command;
use ddim::data::npy;
use ndarray::Array4;
use support::fill;
use tempfile::TempDir;

struct Ddim {
    here: TempDir,
}

impl Ddim {
    fn new() -> Self {
        let here = TempDir::new().unwrap();
        #[expect(clippy::cast_possible_truncation, reason = "images are f32")]
        let values = fill::unit("measures/images", 40 * 3 * 32 * 32).into_iter().map(|x| x as f32);
        let images = Array4::from_shape_vec((40, 3, 32, 32), values.collect()).unwrap();
        npy::write_images(&here.path().join("x.npy"), images.view()).unwrap();
        Self { here }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        Command::cargo_bin("ddim")
            .unwrap()
            .current_dir(&self.here)
            .env_remove("DDIM_DATA")
            .env("XDG_CACHE_HOME", self.here.path().join("cache"))
            .args(arguments.iter().map(|argument| {
                // Files of the repository, wherever this runs.
                argument
                    .strip_prefix("@")
                    .map_or_else(|| argument.into(), |path| root.join(path).into_os_string())
            }))
            .output()
            .unwrap()
    }

    fn prints(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{error}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn refuses(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.here.path().join(name)
    }
}

const CLASSIFIER: &str = "@models/cifar10-features";
/// 2048 numbers that are channel means: the interface of the Inception file and nothing of it.
const STAND_IN: &str = "@tests/golden/inception_stand_in.pt";

#[test]
fn statistics_go_to_other_tools_and_come_back() {
    let ddim = Ddim::new();
    for out in ["ref.npz", "ref.safetensors"] {
        ddim.prints(&["stats", "--data", "x.npy", "--features", CLASSIFIER, "--out", out]);
    }
    let evaluate = |reference: &str, more: &[&str]| {
        let mut arguments = vec!["evaluate", "x.npy", "--blocks", "4", "--features", CLASSIFIER];
        arguments.extend(["--reference", reference]);
        arguments.extend(more);
        arguments.into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let run = |reference: &str, more: &[&str]| {
        let arguments = evaluate(reference, more);
        ddim.prints(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let (own, other) = (run("ref.safetensors", &[]), run("ref.npz", &[]));
    // The same distances; only the other tools' file does not say of how many images it is.
    assert_eq!(own.lines().skip(1).collect::<Vec<_>>(), other.lines().skip(1).collect::<Vec<_>>());
    assert!(own.contains("x.npy all, 40 images"), "{own}");
    assert!(other.contains("to ref.npz, which does not state its images"), "{other}");
    let all = run("ref.safetensors", &["--measures", "is,kid,fd"]);
    let names: Vec<&str> = all.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    let name = |measure: &str| format!("{measure}-cifar10-features");
    assert_eq!(names, [name("FD"), name("FD"), name("KID"), name("KID"), name("IS")]);
    let arguments = evaluate("ref.npz", &["--measures", "kid"]);
    let error = ddim.refuses(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(error.contains("ref.npz holds a mean and a covariance and no features"), "{error}");
}

#[test]
fn a_score_needs_no_reference_and_a_distance_does() {
    let ddim = Ddim::new();
    let arguments = ["evaluate", "x.npy", "--features", CLASSIFIER, "--measures", "is"];
    let text = ddim.prints(&arguments);
    let score = text.lines().last().unwrap();
    assert!(score.starts_with("IS-cifar10-features  ") && score.ends_with("over 10 splits"));
    let error = ddim.refuses(&["evaluate", "x.npy", "--features", CLASSIFIER]);
    assert!(error.contains("a distance needs --reference"), "{error}");
}

#[test]
fn only_inception_features_are_called_fid() {
    let ddim = Ddim::new();
    let with = ["--features", STAND_IN];
    ddim.prints(&[&["stats", "--data", "x.npy", "--out", "ref.safetensors"][..], &with].concat());
    let evaluate = ["evaluate", "x.npy", "--reference", "ref.safetensors", "--measures", "fd,kid"];
    let text = ddim.prints(&[&evaluate[..], &["--blocks", "4"], &with].concat());
    let names: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["FID", "FID", "KID", "KID"]);
    // 40 images of 2048 features against themselves.
    assert!(text.contains("FID  0.0000 at this N"), "{text}");
    let error = ddim.refuses(&[&["evaluate", "x.npy", "--measures", "is"][..], &with].concat());
    assert!(error.contains("gives features and no class scores"), "{error}");
    let error = ddim.refuses(&["evaluate", "x.npy", "--features", "inception", "--measures", "is"]);
    for part in ["looked in DDIM_DATA (not set)", "(sha256 6726825d...)", "--download"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn what_the_published_settings_lack_is_named_with_how_to_get_it() {
    let ddim = Ddim::new();
    fs::create_dir(ddim.path("experiments")).unwrap();
    for (manifest, profile, needed) in [
        ("table1", Some("paper"), "inception-cifar10-train.safetensors"),
        ("table1", Some("paper-all-levels"), "--features inception"),
        ("table1-celeba", None, "inception-celeba64-train.safetensors"),
        ("table3-lsun", None, "inception-lsun-church.safetensors"),
        ("table3-lsun", Some("all-levels"), "inception-lsun-bedroom.safetensors"),
    ] {
        let path = format!("@experiments/{manifest}.toml");
        let mut arguments = vec!["check", path.as_str()];
        arguments.extend(profile.iter().flat_map(|profile| ["--profile", profile]));
        let error = ddim.refuses(&arguments);
        for part in ["pt_inception-2015-12-05-6726825d.pth", "ddim stats", needed] {
            assert!(error.contains(part), "{manifest}: {error}");
        }
    }
}
