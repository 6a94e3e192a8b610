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
    assert!(error.contains("a distance needs a second set of images"), "{error}");
}

#[test]
fn accuracy_is_counted_by_the_labels_of_a_set() {
    let ddim = Ddim::new();
    let mut images = vec![0, 0, 8, 3, 0, 0, 0, 12, 0, 0, 0, 32, 0, 0, 0, 32];
    images.extend((0..12 * 32 * 32_u32).map(|i| u8::try_from(i * i / 7 % 251).unwrap()));
    fs::write(ddim.path("t10k-images-idx3-ubyte"), images).unwrap();
    let set = |measures: &'static str| {
        ["evaluate", ".", "--rgb", "--features", CLASSIFIER, "--measures", measures]
    };
    let error = ddim.refuses(&set("accuracy"));
    assert!(error.contains("has no labels, which `accuracy` counts by"), "{error}");
    let label = |label: u8| {
        let bytes = [&[0, 0, 8, 1, 0, 0, 0, 12], [label; 12].as_slice()].concat();
        fs::write(ddim.path("t10k-labels-idx1-ubyte"), bytes).unwrap();
    };
    // Every image is named something.
    let mut correct = 0;
    for class in 0..10 {
        label(class);
        let text = ddim.prints(&[&set("accuracy")[..], &["--csv", "a.csv"]].concat());
        let line = text.lines().last().unwrap();
        assert!(line.starts_with("accuracy-cifar10-features  0."), "{text}");
        let counted = line.split_once('(').unwrap().1.split(' ').next().unwrap();
        correct += counted.parse::<u32>().unwrap();
    }
    assert_eq!(correct, 12);
    let csv = fs::read_to_string(ddim.path("a.csv")).unwrap();
    assert!(
        csv.contains(",accuracy-cifar10-features,accuracy-cifar10-features.corrected"),
        "{csv}"
    );
    label(10);
    let error = ddim.refuses(&set("accuracy"));
    assert!(error.contains("an image has the label 10, and "), "{error}");
    let inception = ["evaluate", ".", "--rgb", "--features", STAND_IN, "--measures", "accuracy"];
    let error = ddim.refuses(&inception);
    assert!(error.contains("the Inception network names ImageNet's classes"), "{error}");
}

/// Samples of a Gaussian in the features of two networks that are one.
const TWO: &str = r#"name = "two"
seed = 0
samples = 16
batch = 16
[model]
source = "gaussian"
shape = [3, 32, 32]
mean = 0.1
std = 0.5
[grid]
tau = "linspace"
[solver]
kind = "ddim"
[metrics]
features = "one"
reference = "ref.safetensors"
blocks = 4
[metrics.also.copy]
features = "copy"
reference = "copy.safetensors"
[sweep]
"grid.steps" = [2, 4, 8]
"solver.eta" = [0.0, 1.0]
[table]
rows = "solver.eta"
columns = "grid.steps"
value = "fd.copy"
caption = "{fd} and {fd.copy}."
rank = true
[[plot]]
name = "both"
title = "Alike?"
x = "fd"
y = "fd.copy"
series = "solver.eta"
x_label = "{fd}"
y_label = "{fd.copy}"
"#;

#[test]
fn further_networks_measure_the_same_samples_and_are_compared_by_ranks() {
    let ddim = Ddim::new();
    let embedded = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/cifar10-features");
    for (folder, reference) in [("one", "ref.safetensors"), ("copy", "copy.safetensors")] {
        fs::create_dir(ddim.path(folder)).unwrap();
        for file in ["config.json", "model.safetensors"] {
            fs::copy(embedded.join(file), ddim.path(folder).join(file)).unwrap();
        }
        let stats = ["stats", "--data", "x.npy", "--features", folder, "--out", reference];
        ddim.prints(&stats);
    }
    fs::write(ddim.path("two.toml"), TWO).unwrap();
    let text = ddim.prints(&["run", "two.toml"]);
    assert!(text.contains("FD-one and FD-copy: rho = 1.000 [1.000, 1.000]."), "{text}");
    let read = |name: &str| fs::read_to_string(ddim.path("results/two").join(name)).unwrap();
    let mut reader = csv::Reader::from_path(ddim.path("results/two/metrics.csv")).unwrap();
    let header = reader.headers().unwrap().clone();
    let at = |name: &str| header.iter().position(|column| column == name).unwrap();
    for row in reader.records() {
        let row = row.unwrap();
        assert_eq!(row[at("FD-one.leave_out")], row[at("FD-copy.leave_out")]);
    }
    let table = read("table.md");
    for part in ["FD-one and FD-copy.", "| set | FD-one | rank | FD-copy | rank |", "15 pairs"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    assert!(read("ranks.csv").contains("\n\"steps = 4, eta = 1.0\","), "{}", read("ranks.csv"));
    assert!(read("rank-correlations.csv").contains("\nFD-one,FD-copy,6,1.0,1.0,1.0,15,"));
    assert!(read("report.html").contains("<section id=\"ranks\""));
    assert!(read("both.svg").contains("FD-copy") && read("provenance.json").contains("also.copy."));

    for (line, instead, part) in [
        ("[metrics.also.copy]", "[metrics.also.infinity]", "cannot be the name of a network"),
        (
            "features = \"copy\"",
            "features = \"x/one\"",
            "two networks of `[metrics]` have the column",
        ),
        ("y = \"fd.copy\"", "y = \"fd.other\"", "there is no metric `fd.other`"),
        ("reference = \"copy.safetensors\"", "", "`metrics.also.copy.reference` is missing"),
        (
            "[metrics.also.copy]\nfeatures = \"copy\"\nreference = \"copy.safetensors\"",
            "",
            "ranks are compared between two measures",
        ),
    ] {
        assert!(TWO.contains(line));
        fs::write(ddim.path("wrong.toml"), TWO.replace(line, instead)).unwrap();
        let error = ddim.refuses(&["check", "wrong.toml"]);
        assert!(error.contains(part), "{error}");
    }
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
