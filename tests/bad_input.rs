//! Bad input met through the binary: what a user gets wrong ends in one message that names the
//! place and the way out, and leaves every file as it was.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Output,
};

use assert_cmd::Command;
use insta::assert_snapshot;
use ndarray::{Array2, Array4};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use tempfile::TempDir;

/// `ddim` in an empty folder.
struct Ddim {
    folder: TempDir,
}

impl Ddim {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), bytes).unwrap();
        self
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::cargo_bin("ddim")
            .unwrap()
            .current_dir(self.folder.path())
            // Spares the second start of the process.
            .env("OMP_WAIT_POLICY", "passive")
            .args(arguments)
            .output()
            .unwrap()
    }

    /// What must fail with an exit code, print no data and change no file; returns the message.
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let before = tree(self.folder.path());
        let output = self.run(arguments);
        let stderr = self.plain(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{arguments:?} printed data");
        assert!(!stderr.contains("panicked"), "{stderr}");
        // One message, or all problems of a manifest, each with its place.
        let starts = stderr.matches("error: ").count();
        let places = stderr.lines().filter(|line| line.trim_start().starts_with("-->")).count();
        assert!(starts == 1 || starts == places, "{starts} messages: {stderr}");
        let after = tree(self.folder.path());
        let changed = |path: &&PathBuf| before.get(*path) != after.get(*path);
        let changed: Vec<_> = before.keys().chain(after.keys()).filter(changed).collect();
        assert!(changed.is_empty(), "{arguments:?} changed {changed:?}");
        stderr
    }

    /// The message about a manifest.
    fn refuses(&self, text: &str) -> String {
        self.write("m.toml", text);
        self.fails(2, &["run", "m.toml"])
    }

    /// The message about one value of a right manifest, changed on the command line.
    fn refuses_to_set(&self, sets: &[&str]) -> String {
        self.write("m.toml", GAUSSIAN);
        let mut arguments = vec!["run", "m.toml"];
        for set in sets {
            arguments.extend(["--set", set]);
        }
        self.fails(2, &arguments)
    }

    /// The message about `ddim sample` of an exact model with more flags.
    fn refuses_flags(&self, more: &[&str]) -> String {
        self.fails(2, &[&EXACT, more].concat())
    }

    /// The message about `ddim sample` of the folder `net`.
    fn refuses_network(&self) -> String {
        self.fails(2, &["sample", "--model", "./net", "--out", "a.npy"])
    }

    /// Stderr, with the parts that depend on the machine replaced.
    fn plain(&self, stderr: &[u8]) -> String {
        let stderr = String::from_utf8(stderr.to_vec()).unwrap();
        let folder = self.folder.path().display().to_string();
        let plain = stderr.replace(&folder, "[dir]").replace(&repository(""), "[repository]/");
        plain.trim_end().to_owned()
    }
}

/// Every file of a folder with its bytes, every folder without.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut tree = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tree.extend(self::tree(&path));
            tree.insert(path, None);
        } else {
            let bytes = fs::read(&path).unwrap();
            tree.insert(path, Some(bytes));
        }
    }
    tree
}

fn repository(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}

const EXACT: [&str; 9] =
    ["sample", "--model", "gaussian", "--std", "0.5", "--shape", "3,8,8", "--mean", "0.3"];

const GAUSSIAN: &str = r#"name = "g"
samples = 8
batch = 4

[model]
source = "gaussian"
shape = [3, 8, 8]
mean = 0.1
std = 0.5

[grid]
tau = "official-quad"
steps = 10

[solver]
kind = "ddim"
eta = 0.0
"#;

/// [`GAUSSIAN`] with one line in another line's place.
fn with(line: &str, instead: &str) -> String {
    assert!(GAUSSIAN.contains(line));
    GAUSSIAN.replace(line, instead)
}

/// [`GAUSSIAN`] with more at its end.
fn and(more: &str) -> String {
    format!("{GAUSSIAN}\n{more}")
}

/// A folder of weights: the embedded network's, its tensors changed.
fn network(ddim: &Ddim, change: impl Fn(&mut BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>)) {
    let source = PathBuf::from(repository("models/cifar10-xs"));
    fs::create_dir_all(ddim.path("net")).unwrap();
    fs::copy(source.join("config.json"), ddim.path("net/config.json")).unwrap();
    let weights = fs::read(source.join("diffusion_pytorch_model.safetensors")).unwrap();
    ddim.write("net/diffusion_pytorch_model.safetensors", changed(&weights, change));
}

fn changed(
    file: &[u8],
    change: impl Fn(&mut BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>),
) -> Vec<u8> {
    let mut tensors: BTreeMap<_, _> = SafeTensors::deserialize(file)
        .unwrap()
        .iter()
        .map(|(name, view)| {
            (name.to_owned(), (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        })
        .collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// The embedded network's configuration with one text in another's place.
fn config(ddim: &Ddim, old: &str, new: &str) {
    let text = fs::read_to_string(repository("models/cifar10-xs/config.json")).unwrap();
    assert!(text.contains(old));
    ddim.write("net/config.json", text.replace(old, new));
}

const NAN: [u8; 4] = [0, 0, 0xc0, 0x7f];

/// A small run of the embedded network.
fn network_manifest(source: &str, features: &str, reference: &str) -> String {
    format!(
        r#"name = "n"
samples = 4
batch = 4
[model]
source = "{source}"
[grid]
tau = "official-quad"
steps = 1
[solver]
kind = "ddim"
[metrics]
features = "{features}"
reference = "{reference}"
blocks = 2
"#
    )
}

/// The message about a run that is measured so.
fn refuses_to_measure(ddim: &Ddim, features: &str, reference: &str) -> String {
    let source = repository("models/cifar10-xs");
    ddim.refuses(&network_manifest(&source, features, reference))
}

fn reference() -> String {
    repository("models/cifar10-features/cifar10-train.safetensors")
}

fn features() -> String {
    repository("models/cifar10-features")
}

/// A finished run of [`GAUSSIAN`] in `results/g`.
fn finished(ddim: &Ddim) {
    ddim.write("m.toml", GAUSSIAN);
    assert!(ddim.run(&["run", "m.toml", "--quiet"]).status.success());
}

/// A message without the digits of its hashes.
fn hashless(message: &str) -> String {
    let words = message.split(' ').map(|word| {
        let hex = word.trim_end_matches([')', ',', ':']).chars().all(|c| c.is_ascii_hexdigit());
        if hex && word.len() > 60 { "[hash])" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_manifest_that_cannot_be_read() {
    let ddim = Ddim::new();
    fs::create_dir(ddim.path("folder")).unwrap();
    assert_snapshot!(ddim.fails(2, &["run", "folder"]), @"");
    ddim.write("latin1.toml", b"name = \"na\xefve\"\n");
    assert_snapshot!(ddim.fails(2, &["run", "latin1.toml"]), @"");
    assert_snapshot!(ddim.fails(2, &["check", "latin1.toml/m.toml"]), @"");
    assert_snapshot!(ddim.refuses(&""), @"");
    assert_snapshot!(ddim.refuses(&"name: g\nsamples: 8\n"), @"");
    assert_snapshot!(ddim.refuses(&with("samples = 8\n", "samples = 8\nsamples = 9\n")), @"");
}

#[test]
fn a_manifest_with_a_wrong_value() {
    let ddim = Ddim::new();
    assert_snapshot!(ddim.refuses(&with("tau = ", "taau = ")), @"");
    assert_snapshot!(ddim.refuses(&with("samples = 8", "samples = \"8\"")), @"");
    assert_snapshot!(ddim.refuses(&with("shape = [3, 8, 8]", "shape = [3, 8]")), @"");
    assert_snapshot!(ddim.refuses(&with("eta = 0.0", "eta = 0.0\nvariance = \"sigma-hat\"")), @"");
    assert_snapshot!(ddim.refuses(&with("eta = 0.0", "eta = 5.0")), @"");
    assert_snapshot!(ddim.refuses(&with("eta = 0.0", "eta = -1.0")), @"");
    assert_snapshot!(ddim.refuses(&with("steps = 10", "steps = 1001")), @"");
    assert_snapshot!(ddim.refuses(&with("tau = \"official-quad\"\nsteps = 10", "tau = [1000, 500, 0]")), @"");
    assert_snapshot!(ddim.refuses(&with("eta = 0.0", "rtol = 1e-3")), @"");
    assert_snapshot!(ddim.refuses(&with("kind = \"ddim\"\neta = 0.0", "kind = \"deis\"\norder = 9")), @"");
    assert_snapshot!(ddim.refuses(&with("kind = \"ddim\"\neta = 0.0", "kind = \"dormand-prince\"\nrtol = 0")), @"");
    assert_snapshot!(ddim.refuses(&with("kind = \"ddim\"\neta = 0.0", "kind = \"edm\"\nchurn = -1")), @"");
    assert_snapshot!(ddim.refuses(&with("name = \"g\"", "name = \"../g\"")), @"");
    assert_snapshot!(ddim.refuses(&and("[schedule]\nbeta_start = 2\n")), @"");
    assert_snapshot!(ddim.refuses(&and("[schedule]\nhorizon = 0\n")), @"");
}

#[test]
fn a_manifest_whose_parts_do_not_fit() {
    let ddim = Ddim::new();
    assert_snapshot!(ddim.refuses(&and("[sweep]\n\"grid.steps\" = []\n")), @"");
    assert_snapshot!(ddim.refuses(&and("[sweep]\n\"grid.stops\" = [1, 2]\n")), @"");
    assert_snapshot!(ddim.refuses(&and("[sweep]\n\"grid.steps\" = [10, 10]\n")), @"");
    assert_snapshot!(ddim.refuses(&and("[sweep]\nseed = [0, 1]\n[table]\nrows = \"seed\"\ncolumns = \"steps\"\nvalue = \"fd\"\n")), @"");
    assert_snapshot!(refuses_to_measure(&ddim, "f", "r"), @"");
    assert_snapshot!(ddim.refuses(&and("[metrics]\nfeatures = \"f\"\nreference = \"r\"\nblocks = 5\n")), @"");
    ddim.write("m.toml", GAUSSIAN);
    assert_snapshot!(ddim.fails(2, &["run", "m.toml", "--profile", "full"]), @"");
}

#[test]
fn a_wrong_change_on_the_command_line() {
    let ddim = Ddim::new();
    assert_snapshot!(ddim.refuses_to_set(&["samples"]), @"");
    assert_snapshot!(ddim.refuses_to_set(&["=5"]), @"");
    assert_snapshot!(ddim.refuses_to_set(&["sampels=5"]), @"");
    assert_snapshot!(ddim.refuses_to_set(&["grid.steps=ten"]), @"");
    assert_snapshot!(ddim.refuses_to_set(&["solver.eta=nan"]), @"");
    assert_snapshot!(ddim.refuses_to_set(&["samples=[1, 2"]), @"");
    assert_snapshot!(ddim.refuses_to_set(&["sweep.grid.steps=5"]), @"");
    assert_snapshot!(ddim.refuses_to_set(&["samples=-1"]), @"");
}

#[test]
fn a_wrong_flag() {
    let ddim = Ddim::new();
    assert_snapshot!(ddim.fails(2, &["sampel"]), @"");
    assert_snapshot!(ddim.fails(2, &["check"]), @"");
    assert_snapshot!(ddim.refuses_flags(&[]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--eta", "0", "--variance", "sigma-hat", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--threads", "0", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--threads", "100000", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--set", "model.mean=nan", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--samples", "0", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--batch", "0", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--seed=-1", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--seed", "9223372036854775808", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--steps", "0", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--eta", "nan", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.fails(2, &["sample", "--model", "gaussian", "--mean", "0", "--std=-1", "--shape", "3,8,8", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.fails(2, &["sample", "--model", "gaussian", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.fails(2, &["sample", "--model", "hf:google/ddpm-cifar10-32", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.fails(2, &["run", "m.toml", "--device"]), @"");
}

#[test]
fn an_output_that_cannot_be_written() {
    let ddim = Ddim::new();
    fs::create_dir(ddim.path("a.npy")).unwrap();
    assert_snapshot!(ddim.refuses_flags(&["--out", "a.npy"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--out", "absent/a.npy"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--out", ".npy"]), @"");
    ddim.write("file", "");
    assert_snapshot!(ddim.refuses_flags(&["--out", "file/a.png"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--out", "/proc/a.png"]), @"");
    assert_snapshot!(ddim.fails(2, &["sample", "--model", "gaussian", "--mean", "0", "--std", "1", "--shape", "2,8,8", "--out", "a.png"]), @"");
}

#[test]
fn cuda_without_its_libraries() {
    // Where the machine has all of CUDA, there is nothing to refuse.
    let ddim = Ddim::new();
    if ddim.run(&[&EXACT, &["--device", "cuda", "--out", "a.npy"][..]].concat()).status.success() {
        return;
    }
    let message = ddim.refuses_flags(&["--device", "cuda", "--out", "a.npy"]);
    assert!(message.starts_with("error: --device cuda: "), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn latents_that_are_none() {
    let ddim = Ddim::new();
    let npy = |name: &str, latents: &Array4<f32>| {
        ndarray_npy::write_npy(ddim.path(name), latents).unwrap();
    };
    npy("narrow.npy", &Array4::zeros((2, 3, 8, 7)));
    npy("few.npy", &Array4::zeros((2, 3, 8, 8)));
    npy("none.npy", &Array4::zeros((0, 3, 8, 8)));
    let mut latents = Array4::zeros((2, 3, 8, 8));
    latents[[1, 2, 3, 4]] = f32::NAN;
    npy("nan.npy", &latents);
    ndarray_npy::write_npy(ddim.path("flat.npy"), &Array2::<f32>::zeros((2, 192))).unwrap();
    ndarray_npy::write_npy(ddim.path("f64.npy"), &Array4::<f64>::zeros((2, 3, 8, 8))).unwrap();
    ddim.write("text.npy", "0 0 0\n");
    let half = fs::read(ddim.path("few.npy")).unwrap();
    ddim.write("half.npy", &half[..half.len() / 2]);
    fs::create_dir(ddim.path("folder.npy")).unwrap();
    assert_snapshot!(ddim.refuses_flags(&["--latents", "narrow.npy", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--latents", "few.npy", "--samples", "3", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--latents", "none.npy", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--latents", "nan.npy", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--latents", "flat.npy", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--latents", "f64.npy", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--latents", "text.npy", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--latents", "half.npy", "--out", "a.npy"]), @"");
    assert_snapshot!(ddim.refuses_flags(&["--latents", "folder.npy", "--out", "a.npy"]), @"");
}

#[test]
fn weights_in_a_folder_that_is_none() {
    let ddim = Ddim::new();
    fs::create_dir(ddim.path("net")).unwrap();
    assert_snapshot!(ddim.refuses_network(), @"");
    config(&ddim, "", "");
    assert_snapshot!(ddim.refuses_network(), @"");
    ddim.write("net/config.json", "{\"sample_size\": 32,");
    assert_snapshot!(ddim.refuses_network(), @"");
    config(&ddim, "\"silu\"", "\"gelu\"");
    assert_snapshot!(ddim.refuses_network(), @"");
    network(&ddim, |_| {});
    config(&ddim, "\"sample_size\": 32", "\"sample_size\": null");
    assert_snapshot!(ddim.refuses_network(), @"");
    config(&ddim, "\"out_channels\": 3", "\"out_channels\": 6");
    assert_snapshot!(ddim.refuses_network(), @"");
}

#[test]
fn weights_that_do_not_fit() {
    let ddim = Ddim::new();
    network(&ddim, |_| {});
    let name = "net/diffusion_pytorch_model.safetensors";
    let whole = fs::read(ddim.path(name)).unwrap();
    ddim.write(name, &whole[..whole.len() / 2]);
    assert_snapshot!(ddim.refuses_network(), @"");
    ddim.write(name, "version https://git-lfs.github.com/spec/v1\n");
    assert_snapshot!(ddim.refuses_network(), @"");
    network(&ddim, |tensors| {
        tensors.remove("conv_in.bias");
    });
    assert_snapshot!(ddim.refuses_network(), @"");
    network(&ddim, |tensors| {
        tensors.insert("ema.decay".into(), (Dtype::F32, vec![1], vec![0; 4]));
    });
    assert_snapshot!(ddim.refuses_network(), @"");
    network(&ddim, |tensors| {
        tensors.insert("conv_in.bias".into(), (Dtype::F32, vec![16], vec![0; 64]));
    });
    assert_snapshot!(ddim.refuses_network(), @"");
    network(&ddim, |tensors| {
        tensors.insert("conv_in.bias".into(), (Dtype::F64, vec![32], vec![0; 256]));
    });
    assert_snapshot!(ddim.refuses_network(), @"");
}

#[test]
fn weights_that_are_not_numbers() {
    let ddim = Ddim::new();
    network(&ddim, |tensors| {
        tensors.insert("conv_out.bias".into(), (Dtype::F32, vec![3], NAN.repeat(3)));
    });
    assert_snapshot!(ddim.fails(1, &["sample", "--model", "./net", "--quiet", "--out", "a.npy"]), @"");
    // In a sweep it is one row of the table, and the run goes on.
    ddim.write("m.toml", network_manifest("./net", &features(), &reference()));
    let output = ddim.run(&["run", "m.toml", "--quiet"]);
    assert!(output.status.success(), "{}", ddim.plain(&output.stderr));
    let metrics = ddim.read("results/n/metrics.csv");
    assert_eq!(metrics.lines().nth(1).unwrap().split(',').nth(2), Some("diverged"), "{metrics}");
    assert!(!tree(&ddim.path("results/n")).keys().any(|path| path.ends_with("f32")));
}

#[test]
fn features_and_a_reference_that_do_not_fit() {
    let ddim = Ddim::new();
    fs::create_dir(ddim.path("f")).unwrap();
    assert_snapshot!(refuses_to_measure(&ddim, "f", &reference()), @"");
    fs::copy(repository("models/cifar10-features/config.json"), ddim.path("f/config.json"))
        .unwrap();
    assert_snapshot!(refuses_to_measure(&ddim, "f", &reference()), @"");
    let weights = fs::read(repository("models/cifar10-features/model.safetensors")).unwrap();
    ddim.write(
        "f/model.safetensors",
        changed(&weights, |tensors| {
            tensors.get_mut("linear.bias").unwrap().2.fill(0);
        }),
    );
    assert_snapshot!(hashless(&refuses_to_measure(&ddim, "f", &reference())), @"");
    ddim.write("f/config.json", "{}");
    assert_snapshot!(refuses_to_measure(&ddim, "f", &reference()), @"");
    let whole = fs::read(reference()).unwrap();
    ddim.write("r.safetensors", &whole[..whole.len() / 2]);
    assert_snapshot!(refuses_to_measure(&ddim, &features(), "r.safetensors"), @"");
    let mut other = whole.clone();
    let version = br#"\"version\":1"#;
    let place = whole.windows(version.len()).position(|window| window == version).unwrap();
    other[place + version.len() - 1] = b'9';
    ddim.write("r.safetensors", other);
    assert_snapshot!(refuses_to_measure(&ddim, &features(), "r.safetensors"), @"");
    ddim.write("r.safetensors", &weights);
    assert_snapshot!(refuses_to_measure(&ddim, &features(), "r.safetensors"), @"");
    assert_snapshot!(refuses_to_measure(&ddim, &features(), "f"), @"");
    assert_snapshot!(refuses_to_measure(&ddim, &reference(), &features()), @"");
    // The features of what is no colour image.
    let manifest = with("shape = [3, 8, 8]", "shape = [1, 32, 32]");
    let metrics = format!(
        "[metrics]\nfeatures = {:?}\nreference = {:?}\nblocks = 2\n",
        features(),
        reference()
    );
    assert_snapshot!(ddim.refuses(&format!("{manifest}\n{metrics}")), @"");
}

#[test]
fn results_that_cannot_be_kept() {
    let ddim = Ddim::new();
    ddim.write("m.toml", GAUSSIAN).write("file", "mine\n");
    assert_snapshot!(ddim.fails(1, &["run", "m.toml", "--quiet", "--out", "file"]), @"");
    assert_snapshot!(ddim.fails(1, &["run", "m.toml", "--quiet", "--out", "file/results"]), @"");
    assert_snapshot!(ddim.fails(1, &["run", "m.toml", "--quiet", "--out", "/proc/results"]), @"");
    fs::create_dir(ddim.path("held")).unwrap();
    ddim.write("held/.lock", "process 7, since 1700000000 s");
    let held = File::open(ddim.path("held/.lock")).unwrap();
    held.lock().unwrap();
    assert_snapshot!(ddim.fails(1, &["run", "m.toml", "--quiet", "--out", "held"]), @"");
    drop(held);
    fs::create_dir_all(ddim.path("odd/metrics.csv")).unwrap();
    assert_snapshot!(ddim.fails(1, &["run", "m.toml", "--quiet", "--out", "odd"]), @"");
}

#[test]
fn a_results_file_that_somebody_changed() {
    let ddim = Ddim::new();
    finished(&ddim);
    let right = ddim.read("results/g/metrics.csv");
    let malformed = |text: &str| {
        ddim.write("results/g/metrics.csv", text);
        ddim.fails(1, &["run", "m.toml", "--quiet"])
    };
    assert_snapshot!(malformed(""), @"");
    assert_snapshot!(malformed(&right.replace("status", "state")), @"");
    assert_snapshot!(malformed(&right.replace(",done,10,", ",done,ten,")), @"");
    assert_snapshot!(malformed(&right.replace(",done,", ",maybe,")), @"");
    assert_snapshot!(malformed(right.trim_end().rsplit_once(',').unwrap().0), @"");
    let latin1 = [right.as_bytes(), b"\xef\n"].concat();
    ddim.write("results/g/metrics.csv", latin1);
    assert_snapshot!(ddim.fails(1, &["run", "m.toml", "--quiet"]), @"");
    ddim.write("results/g/metrics.csv", &right).write("results/g/timing.csv", "cell\n0\n");
    assert_snapshot!(ddim.fails(1, &["run", "m.toml", "--quiet"]), @"");
}

#[test]
fn the_features_of_an_unfinished_cell_that_are_a_folder() {
    let ddim = Ddim::new();
    ddim.write(
        "m.toml",
        network_manifest(&repository("models/cifar10-xs"), &features(), &reference()),
    );
    assert!(ddim.run(&["run", "m.toml", "--quiet"]).status.success());
    let metrics = ddim.read("results/n/metrics.csv");
    let mut lines = metrics.lines();
    let (header, row) = (lines.next().unwrap(), lines.next().unwrap());
    let key = row.split(',').nth(1).unwrap();
    let timing = ddim.read("results/n/timing.csv");
    ddim.write("results/n/metrics.csv", format!("{header}\n"))
        .write("results/n/timing.csv", format!("{}\n", timing.lines().next().unwrap()));
    fs::create_dir(ddim.path(&format!("results/n/partial-{}.f32", &key[..16]))).unwrap();
    assert_snapshot!(ddim.fails(1, &["run", "m.toml", "--quiet"]).replace(&key[..16], "[key]"), @"");
}

#[test]
fn statistics_of_what_is_no_data() {
    let ddim = Ddim::new();
    fs::create_dir(ddim.path("data")).unwrap();
    ddim.write("data.tar.gz", "not an archive");
    let stats = |more: &[&str]| ddim.fails(2, &[&["stats", "--data"], more].concat());
    assert_snapshot!(stats(&["absent", "--out", "r.safetensors"]), @"");
    assert_snapshot!(stats(&["data", "--out", "r.safetensors"]), @"");
    assert_snapshot!(stats(&["data.tar.gz", "--out", "r.safetensors"]), @"");
    assert_snapshot!(stats(&["data", "--exclude", "absent.csv", "--out", "r.safetensors"]), @"");
    assert_snapshot!(stats(&["data", "--out", "data"]), @"");
    assert_snapshot!(stats(&["data", "--split", "valid", "--out", "r.safetensors"]), @"");
}
