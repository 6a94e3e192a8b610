//! FID, KID, IS, precision, recall and distances to exact draws: what they are called, what they
//! need, and what other programs make of the same numbers.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{fs, path::Path};

use ddim::{
    data::npy,
    metrics::{covariance_error, mean_error, precision, recall, sliced_wasserstein_along},
};
use ndarray::{Array2, Array4};
use support::{
    fill,
    program::{Ddim, repository},
};

/// `ddim` in a folder with forty images, `x.npy`.
fn with_images() -> Ddim {
    let ddim = Ddim::new();
    #[expect(clippy::cast_possible_truncation, reason = "images are f32")]
    let values = fill::unit("measures/images", 40 * 3 * 32 * 32).into_iter().map(|x| x as f32);
    let images = Array4::from_shape_vec((40, 3, 32, 32), values.collect()).unwrap();
    npy::write_images(&ddim.path("x.npy"), images.view()).unwrap();
    ddim
}

const CLASSIFIER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/cifar10-features");
/// 2048 numbers that are channel means: the interface of the Inception file and nothing of it.
const STAND_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/inception_stand_in.pt");

#[test]
fn statistics_go_to_other_tools_and_come_back() {
    let ddim = with_images();
    for out in ["ref.npz", "ref.safetensors"] {
        ddim.succeeds(&["stats", "--data", "x.npy", "--features", CLASSIFIER, "--out", out]);
    }
    let evaluate = |reference: &str, more: &[&str]| {
        let mut arguments = vec!["evaluate", "x.npy", "--blocks", "4", "--features", CLASSIFIER];
        arguments.extend(["--reference", reference]);
        arguments.extend(more);
        arguments.into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let run = |reference: &str, more: &[&str]| {
        let arguments = evaluate(reference, more);
        ddim.succeeds(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
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
    let ddim = with_images();
    let arguments = ["evaluate", "x.npy", "--features", CLASSIFIER, "--measures", "is"];
    let text = ddim.succeeds(&arguments);
    let score = text.lines().last().unwrap();
    assert!(score.starts_with("IS-cifar10-features  ") && score.ends_with("over 10 splits"));
    let error = ddim.refuses(&["evaluate", "x.npy", "--features", CLASSIFIER]);
    assert!(error.contains("a distance needs a second set of images"), "{error}");
}

#[test]
fn accuracy_is_counted_by_the_labels_of_a_set() {
    let ddim = with_images();
    let mut images = vec![0, 0, 8, 3, 0, 0, 0, 12, 0, 0, 0, 32, 0, 0, 0, 32];
    images.extend((0..12 * 32 * 32_u32).map(|i| u8::try_from(i * i / 7 % 251).unwrap()));
    fs::write(ddim.path("t10k-images-idx3-ubyte"), images).unwrap();
    let set = |measures: &'static str| {
        ["evaluate", ".", "--rgb", "--features", CLASSIFIER, "--measures", measures]
    };
    let error = ddim.refuses(&set("accuracy"));
    assert!(error.contains("has no classes, which `accuracy` counts by"), "{error}");
    let label = |label: u8| {
        let bytes = [&[0, 0, 8, 1, 0, 0, 0, 12], [label; 12].as_slice()].concat();
        fs::write(ddim.path("t10k-labels-idx1-ubyte"), bytes).unwrap();
    };
    // Every image is named something.
    let mut correct = 0;
    for class in 0..10 {
        label(class);
        let text = ddim.succeeds(&[&set("accuracy")[..], &["--csv", "a.csv"]].concat());
        let line = text.lines().last().unwrap();
        assert!(line.starts_with("accuracy-cifar10-features  0."), "{text}");
        let counted = line.split_once('(').unwrap().1.split(' ').next().unwrap();
        correct += counted.parse::<u32>().unwrap();
    }
    assert_eq!(correct, 12);
    let csv = fs::read_to_string(ddim.path("a.csv")).unwrap();
    assert!(csv.contains(",accuracy-cifar10-features,accuracy-cifar10-features.low,"), "{csv}");
    label(10);
    let error = ddim.refuses(&set("accuracy"));
    assert!(error.contains("an image has the class 10, and "), "{error}");
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
    let ddim = with_images();
    let embedded = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/cifar10-features");
    for (folder, reference) in [("one", "ref.safetensors"), ("copy", "copy.safetensors")] {
        fs::create_dir(ddim.path(folder)).unwrap();
        for file in ["config.json", "model.safetensors"] {
            fs::copy(embedded.join(file), ddim.path(folder).join(file)).unwrap();
        }
        let stats = ["stats", "--data", "x.npy", "--features", folder, "--out", reference];
        ddim.succeeds(&stats);
    }
    fs::write(ddim.path("two.toml"), TWO).unwrap();
    let text = ddim.succeeds(&["run", "two.toml"]);
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
        ("[metrics.also.copy]", "[metrics.also.\"a.b\"]", "cannot be the name of a network"),
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
    let ddim = with_images();
    let with = ["--features", STAND_IN];
    ddim.succeeds(&[&["stats", "--data", "x.npy", "--out", "ref.safetensors"][..], &with].concat());
    let evaluate = ["evaluate", "x.npy", "--reference", "ref.safetensors", "--measures", "fd,kid"];
    let text = ddim.succeeds(&[&evaluate[..], &["--blocks", "4"], &with].concat());
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
fn the_length_of_a_path_in_features_is_that_of_its_own_images() {
    let ddim = with_images();
    let manifest = format!(
        "name = \"paths\"\nsamples = 4\nbatch = 4\ntask = \"interpolate\"\npoints = 5\n\
         model = {{ source = \"gaussian\", shape = [3, 32, 32], mean = 0, std = 0.5 }}\n\
         grid = {{ tau = \"linspace\", steps = 10 }}\n\
         [solver]\nkind = \"ddim\"\n\
         [metrics]\nmeasures = [\"path-length\", \"feature-path-length\"]\nblocks = 2\n\
         features = \"{CLASSIFIER}\"\n"
    );
    ddim.write("paths.toml", &manifest);
    let values = |sets: &[&str]| -> Vec<f64> {
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        let run = ["run", "paths.toml", "--quiet", "--fresh"];
        ddim.succeeds(&[&run[..], &sets].concat());
        let rows = String::from_utf8(ddim.read("results/paths/metrics.csv")).unwrap();
        let mut lines = rows.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let (header, row) = (lines.next().unwrap(), lines.next().unwrap());
        let columns = ["path-length", "feature-path-length-cifar10-features"];
        let place = |name| header.iter().position(|column| *column == name).unwrap();
        columns.map(|name| row[place(name)].parse().unwrap()).to_vec()
    };
    let smooth = values(&[]);
    let jumping = values(&["solver.eta=1"]);
    // No path is shorter than its ends are apart, and fresh noise for every image makes it longer.
    assert!(smooth.iter().all(|length| *length >= 1.0), "{smooth:?}");
    assert!(jumping[1] > 1.1 * smooth[1], "{smooth:?} {jumping:?}");
    // A path's images are its own in whatever batch it is.
    let alone = values(&["batch=1"]);
    assert!((alone[1] / smooth[1] - 1.0).abs() < 1e-4, "{smooth:?} {alone:?}");
    ddim.write("paths.toml", manifest.replace(&format!("features = \"{CLASSIFIER}\"\n"), ""));
    let error = ddim.refuses(&["check", "paths.toml"]);
    assert!(error.contains("`metrics.features` is missing"), "{error}");
}

#[test]
fn what_the_published_settings_lack_is_named_with_how_to_get_it() {
    let ddim = with_images();
    fs::create_dir(ddim.path("experiments")).unwrap();
    for (manifest, profile, needed) in [
        ("table1", Some("paper"), "inception-cifar10-train.safetensors"),
        ("table1", Some("paper-all-levels"), "--features inception"),
        ("table1-celeba", None, "inception-celeba64-train.safetensors"),
        ("table3-lsun", None, "inception-lsun-church.safetensors"),
        ("table3-lsun", Some("all-levels"), "inception-lsun-bedroom.safetensors"),
    ] {
        let path = repository(&format!("experiments/{manifest}.toml"));
        let mut arguments = vec!["check", path.as_str()];
        arguments.extend(profile.iter().flat_map(|profile| ["--profile", profile]));
        let error = ddim.refuses(&arguments);
        for part in ["pt_inception-2015-12-05-6726825d.pth", "ddim stats", needed] {
            assert!(error.contains(part), "{manifest}: {error}");
        }
    }
}

#[test]
fn distances_agree_with_those_of_other_programs() {
    let golden = fs::read_to_string("tests/golden/distances.json").unwrap();
    let golden: serde_json::Value = serde_json::from_str(&golden).unwrap();
    for (n, d) in [(200, 4), (256, 16), (400, 64)] {
        let matrix = |values: Vec<f64>, rows| Array2::from_shape_vec((rows, d), values).unwrap();
        let x = matrix(fill::normal(&format!("distances/x{d}"), n * d), n) * 0.8 + 0.3;
        let y = matrix(fill::normal(&format!("distances/y{d}"), n * d), n);
        let mut along = matrix(fill::unit(&format!("distances/along{d}"), 10 * d), 10);
        for mut row in along.outer_iter_mut() {
            let length = row.dot(&row).sqrt();
            row.mapv_inplace(|x| x / length);
        }
        let expected = |name: &str| golden[format!("{n}x{d}")][name].as_f64().unwrap();
        let (x, y) = (x.view(), y.view());
        for (found, expected) in [
            (precision(x, y, 8), expected("precision")),
            (recall(x, y, 8), expected("recall")),
            // The peer's is the root.
            (
                sliced_wasserstein_along(x, y, 8, along.view()),
                expected("sliced_wasserstein").powi(2),
            ),
            (mean_error(x, y, 8), expected("mean_error")),
            (covariance_error(x, y, 8), expected("covariance_error")),
        ] {
            let found = found.unwrap().value;
            assert!((found - expected).abs() < 1e-12, "{found} and {expected} at {n} x {d}");
        }
    }
}

#[test]
fn precision_and_recall_take_as_many_reference_images_as_samples() {
    let ddim = with_images();
    for (out, keep) in [("all.safetensors", "40"), ("few.safetensors", "39")] {
        let stats = ["stats", "--data", "x.npy", "--features", CLASSIFIER, "--keep", keep];
        ddim.succeeds(&[&stats[..], &["--out", out]].concat());
    }
    ddim.succeeds(&["stats", "--data", "x.npy", "--features", CLASSIFIER, "--out", "m.npz"]);
    let evaluate = |reference: &'static str| {
        let arguments = ["evaluate", "x.npy", "--features", CLASSIFIER, "--blocks", "4"];
        let measures = ["--measures", "recall,precision", "--csv", "row.csv"];
        [&arguments[..], &measures, &["--reference", reference]].concat()
    };
    let text = ddim.succeeds(&evaluate("all.safetensors"));
    // The images against themselves; without a block too.
    let line = "1.0000, 95 % interval 1.0000 to 1.0000 (4 blocks), k = 3, 40 images on both sides";
    for name in ["precision", "recall"] {
        assert!(text.contains(&format!("{name}-cifar10-features  {line}\n")), "{text}");
    }
    let csv = fs::read_to_string(ddim.path("row.csv")).unwrap();
    assert!(csv.contains(",precision-cifar10-features,") && csv.contains(",40,1.0,"), "{csv}");
    let error = ddim.refuses(&evaluate("few.safetensors"));
    for part in ["the features of 39 images", "as many as there are samples, 40", "--keep 40"] {
        assert!(error.contains(part), "{error}");
    }
    let error = ddim.refuses(&evaluate("m.npz"));
    assert!(error.contains("`kid`, `precision` and `recall` need features"), "{error}");
}

/// One step of DDIM on a Gaussian, and many steps of Heun's method.
const DRAWN: &str = r#"name = "drawn"
samples = 2048
[model]
source = "gaussian"
shape = [1, 2, 2]
mean = 0.3
std = 0.5
[grid]
tau = [999]
[solver]
kind = "ddim"
[metrics]
measures = ["covariance-error", "mean-error", "sliced-wasserstein"]
blocks = 32
[sweep]
method = [
    { label = "one step" },
    { label = "fifty", "solver.kind" = "heun", "grid.tau" = "karras", "grid.steps" = 50 },
]
batch = [512, 1024]
[table]
rows = "method"
columns = "batch"
value = "sliced-wasserstein"
caption = "{sliced-wasserstein}."
[[claim]]
text = "Fifty are better."
source = "none"
check = "below"
row = "fifty"
other = "one step"
columns = ["512", "1024"]
[[plot]]
name = "floor"
title = "How far?"
x = "batch"
y = "sliced-wasserstein.floor"
series = "method"
x_label = "batch"
y_label = "{sliced-wasserstein.floor}"
"#;

#[test]
fn exact_draws_measure_a_sampler_on_a_gaussian() {
    let ddim = with_images();
    fs::write(ddim.path("drawn.toml"), DRAWN).unwrap();
    let text = ddim.succeeds(&["run", "drawn.toml"]);
    assert!(text.contains("holds"), "{text}");
    let read = |name: &str| fs::read_to_string(ddim.path("results/drawn").join(name)).unwrap();
    let table = read("table.md");
    assert!(table.contains("It is a distance to N exact draws of the data"), "{table}");
    assert!(read("floor.svg").contains("sliced-wasserstein.floor"));

    // What one step makes of a normal x_T is a Gaussian again, by eps = noise (x - signal mean) / v.
    let alpha_bar: f64 =
        (0..1000).map(|t| 1.0 - (1e-4 + (0.02 - 1e-4) * f64::from(t) / 999.0)).product();
    let (mean, std) = (0.3, 0.5_f64);
    let (signal, noise) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
    let v = alpha_bar * std * std + 1.0 - alpha_bar;
    let found_std = (1.0 - noise * noise / v) / signal;
    let found_mean = noise * noise / v * mean;
    let solution = [
        ("sliced-wasserstein", (found_mean - mean).powi(2) + (found_std - std).powi(2)),
        ("mean-error", (found_mean - mean).powi(2)),
        ("covariance-error", (found_std.powi(2) - std.powi(2)).powi(2)),
    ];
    let mut reader = csv::Reader::from_path(ddim.path("results/drawn/metrics.csv")).unwrap();
    let header = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let text = |row: &csv::StringRecord, name: &str| {
        row[header.iter().position(|column| column == name).unwrap()].to_owned()
    };
    let number = |row: &csv::StringRecord, name: &str| text(row, name).parse::<f64>().unwrap();
    for row in &rows {
        for (name, of_one_step) in solution {
            let expected = if text(row, "param.method") == "one step" { of_one_step } else { 0.0 };
            let error = number(row, &format!("{name}.se"));
            let off = number(row, &format!("{name}.corrected")) - expected;
            assert!(off.abs() < 4.0 * error, "{name}: off by {off}, error {error}");
            let floor = number(row, &format!("{name}.floor"));
            assert!(floor > 0.0 && floor < 0.01, "{name}: floor {floor}");
        }
    }
    // Cells share their draws, and the batch is nothing to them.
    for name in ["sliced-wasserstein", "mean-error.floor"] {
        assert_eq!(text(&rows[0], name), text(&rows[1], name));
    }
    assert_eq!(text(&rows[0], "mean-error.floor"), text(&rows[3], "mean-error.floor"));
}

#[test]
fn exact_draws_are_asked_of_models_that_have_them() {
    let ddim = with_images();
    let refused = |changes: &[(&str, &str)]| {
        let text = changes.iter().fold(DRAWN.to_owned(), |text, (line, instead)| {
            assert!(text.contains(line), "{line}");
            text.replace(line, instead)
        });
        fs::write(ddim.path("wrong.toml"), text).unwrap();
        ddim.refuses(&["check", "wrong.toml"])
    };
    let model = "source = \"gaussian\"\nshape = [1, 2, 2]\nmean = 0.3\nstd = 0.5";
    let root = env!("CARGO_MANIFEST_DIR");
    let network = format!("source = \"{root}/models/cifar10-small\"");
    let error = refused(&[(model, &network)]);
    for part in ["`sliced-wasserstein` compares samples with exact draws", "measure `fd` or `kid`"]
    {
        assert!(error.contains(part), "{error}");
    }
    let measures = "measures = [\"covariance-error\", \"mean-error\", \"sliced-wasserstein\"]";
    let features = "measures = [\"sliced-wasserstein\"]\nfeatures = \"x\"";
    let error = refused(&[(measures, features)]);
    assert!(error.contains("`metrics.features` is used by no measure"), "{error}");
    let solution = "[solution]\nkind = \"exact\"\n[metrics]\nmeasures = [\"error\"]";
    let error = refused(&[
        ("[metrics]\n", ""),
        (measures, solution),
        ("kind = \"ddim\"\n", "kind = \"ddim\"\neta = 1.0\n"),
        ("value = \"sliced-wasserstein\"", "value = \"error\""),
        ("y = \"sliced-wasserstein.floor\"", "y = \"error\""),
        ("tau = [999]", "tau = [999, 500]"),
        ("\"solver.kind\" = \"heun\", ", ""),
    ]);
    assert!(error.contains("compare distributions instead (`sliced-wasserstein`)"), "{error}");
}
