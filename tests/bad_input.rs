//! Bad input met through the binary: what a user gets wrong ends in one message that names the
//! place and the way out, and leaves every file as it was.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::too_many_lines, reason = "a case is as long as its message")]

mod support;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::PathBuf,
};

use insta::assert_snapshot;
use ndarray::{Array2, Array4};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use support::program::{Ddim, repository, tree};

impl Ddim {
    /// The message about a manifest.
    fn refuses_manifest(&self, text: &str) -> String {
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
    let source = PathBuf::from(repository("models/cifar10-small"));
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
    let text = fs::read_to_string(repository("models/cifar10-small/config.json")).unwrap();
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
steps = 2
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
    let source = repository("models/cifar10-small");
    ddim.refuses_manifest(&network_manifest(&source, features, reference))
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

/// What is only a default never conflicts with what was given.
#[test]
fn flags_replace_defaults_that_exclude_them() {
    let ddim = Ddim::new();
    let sample = |out: &str, more: &[&str]| {
        let output = ddim.run(&[&EXACT[..], &["--out", out], more].concat());
        assert!(output.status.success(), "{more:?}: {}", ddim.plain(&output.stderr));
        fs::read(ddim.path(out)).unwrap()
    };
    let by_list = sample("a.npy", &["--set", "grid.tau=[900, 500, 0]"]);
    assert_eq!(by_list, sample("b.npy", &["--tau", "900,500,0"]));
    assert_eq!(by_list, sample("c.npy", &["--tau", "900,500,0", "--steps", "3"]));
    assert_ne!(by_list, sample("d.npy", &["--steps", "3"]));
    // Nine calls are five steps of Heun, the last of one call.
    let heun = ["--solver", "heun", "--tau", "linspace-real"];
    let by_calls = sample("e.npy", &[&heun[..], &["--calls", "10"]].concat());
    assert_eq!(by_calls, sample("f.npy", &[&heun[..], &["--steps", "5"]].concat()));
    let third = sample("g.npy", &["--solver", "deis", "--order", "3"]);
    assert_eq!(third, sample("h.npy", &["--solver", "deis"]));
    assert_ne!(third, sample("i.npy", &["--solver", "deis", "--order", "2"]));
}

#[test]
fn a_negative_number_is_a_value_and_what_is_wrong_with_it_is_said() {
    let ddim = Ddim::new();
    let out = ["--out", "a.npy"];
    let refuses = |more: &[&str]| ddim.refuses_flags(&[&out, more].concat());
    assert_snapshot!(refuses(&["--eta", "-0.5"]), @r#"
    error: `solver.eta` must be 0 or more, not `-0.5`
     --> command line:1:7
      |
    1 | --eta -0.5
      |       ^^^^
      |
      = help: 0 is deterministic DDIM, 1 has DDPM's posterior variance
    "#);
    let said = ddim.fails(
        2,
        &[&EXACT[..3], &["--std", "-1", "--shape", "3,8,8", "--mean", "0"], &out].concat(),
    );
    assert!(said.contains("`model.std` must be positive, not `-1`"), "{said}");
    assert_snapshot!(refuses(&["--tau", "-5"]), @r#"
    error: the timestep -5 does not lie between 0 and 999
     --> command line:1:7
      |
    1 | --tau -5
      |       ^^
      |
      = help: timesteps count from 0; the clean end is not listed but chosen by `grid.end`
    "#);
    assert_snapshot!(refuses(&["--tau", "500,900"]), @r#"
    error: the timestep 900 does not lie below 500, before it
     --> command line:1:11
      |
    1 | --tau 500,900
      |           ^^^
      |
      = help: list timesteps from the noisiest down, each once: `tau = [999, 500, 0]`
    "#);
    assert_snapshot!(refuses(&["--order", "2"]), @r#"
    error: `solver.order` does not apply to ddim
      --> command line:1:9
       |
     1 | --order 2
       |         ^
       |
      ::: defaults:10:8
       |
    10 | kind = "ddim"
       |        ------ chosen here
       |
       = help: it belongs to adams-bashforth, deis, dpm-solver, unipc-bh1, unipc-bh2; remove it, or set it only in those entries of the sweep that use it (on the command line, `--set solver.order=` removes it)
    "#);
    assert_snapshot!(refuses(&["--calls", "10", "--steps", "3"]), @r#"
    error: `grid.calls` and `grid.steps` are both given
     --> command line:1:9
      |
    1 | --calls 10
      |         ^^
      |
     ::: command line:1:9
      |
    1 | --steps 3
      |         - given here
      |
      = help: remove one of them
    "#);
    let said = refuses(&["--steps", "-5"]);
    assert!(said.contains("invalid value '-5' for '--steps <S>'"), "{said}");
}

#[test]
fn a_start_that_is_not_near_noise_is_warned_of() {
    let ddim = Ddim::new();
    let says = |arguments: &[&str]| {
        let output = ddim.run(arguments);
        assert!(output.status.success(), "{}", ddim.plain(&output.stderr));
        ddim.plain(&output.stderr)
    };
    let sample = |more: &[&str]| says(&[&EXACT[..], &["--out", "a.npy"], more].concat());
    assert_snapshot!(sample(&["--set", "schedule.horizon=100", "--steps", "10"]), @"warning: samples start from pure noise at t = 99, where alpha_bar = 0.364 leaves 0.60 of the image's amplitude: the schedule ends too early: raise `schedule.horizon` or `schedule.beta_end`
wrote a.npy");
    assert_snapshot!(sample(&["--tau", "400,200,1"]), @"warning: samples start from pure noise at t = 400, where alpha_bar = 0.194 leaves 0.44 of the image's amplitude: choose a `grid.tau` that starts at a higher timestep, or more steps
wrote a.npy");
    assert_eq!(sample(&["--tau", "400,200,1", "--quiet"]), "");
    // Of published schedules, this one leaves most.
    let stable = ["--schedule", "scaled-linear", "--set", "schedule.beta_start=0.00085"];
    let stable = [&stable[..], &["--set", "schedule.beta_end=0.012"]].concat();
    assert_eq!(sample(&stable), "wrote a.npy");
    ddim.write("m.toml", format!("{GAUSSIAN}[schedule]\nhorizon = 200\n"));
    let warned = says(&["check", "m.toml"]);
    assert!(warned.starts_with("warning: samples start from pure noise at t = 199"), "{warned}");
    assert!(says(&["run", "m.toml"]).starts_with(&warned));
}

#[test]
fn what_f32_cannot_hold_is_a_failed_run() {
    let ddim = Ddim::new();
    let overflow = ["--set", "schedule.beta_end=0.7", "--tau", "linspace", "--steps", "10"];
    let beyond = [&overflow[..], &["--solver", "heun", "--quiet"]].concat();
    for out in ["a.npy", "a.png", "folder"] {
        let said = ddim.fails(1, &[&EXACT[..], &["--out", out], &beyond].concat());
        assert!(said.starts_with("error: sample 0 (counted from 0) diverged: "), "{said}");
        assert!(said.contains("does not fit into f32"), "{said}");
    }
    let schedule = "[schedule]\nbeta_end = 0.7\n[metrics]\nmeasures = [\"error\"]\nblocks = 2\n\
                    [solution]\nkind = \"exact\"\n";
    let heun = with("kind = \"ddim\"\neta = 0.0", "kind = \"heun\"");
    let linspace = heun.replace("official-quad", "linspace");
    ddim.write("m.toml", format!("{linspace}{schedule}"));
    let output = ddim.run(&["run", "m.toml", "--quiet"]);
    assert!(output.status.success(), "{}", ddim.plain(&output.stderr));
    let csv = ddim.text("results/g/metrics.csv");
    assert!(csv.lines().nth(1).unwrap().contains("diverged"), "{csv}");
}

#[test]
fn a_manifest_that_cannot_be_read_is_refused_with_the_reason() {
    let ddim = Ddim::new();
    fs::create_dir(ddim.path("folder")).unwrap();
    assert_snapshot!(ddim.fails(2, &["run", "folder"]), @"error: cannot read the manifest folder: it is a folder; name the .toml file in it");
    ddim.write("latin1.toml", b"name = \"na\xefve\"\n");
    assert_snapshot!(ddim.fails(2, &["run", "latin1.toml"]), @"error: cannot read the manifest latin1.toml: it is not UTF-8 text; save it in that encoding");
    assert_snapshot!(ddim.fails(2, &["check", "latin1.toml/m.toml"]), @"error: cannot read the manifest latin1.toml/m.toml: Not a directory (os error 20); the manifests that ship with ddim are in experiments/");
    assert_snapshot!(ddim.refuses_manifest(""), @r#"
    error: `samples` is missing
    --> m.toml
     = help: the number of samples per cell: `samples = 256`

    error: `batch` is missing
    --> m.toml
     = help: samples per model call: `batch = 64` (the bytes of the results depend on it)

    error: `model.source` is missing
    --> m.toml
     = help: a folder or file of weights, `hf:owner/name`, or the name of an exact-score model

    error: `grid.tau` is missing
    --> m.toml
     = help: known here: official-uniform, official-quad, paper-linear, paper-quadratic, leading, trailing, linspace, linspace-real, linspace-open, karras, log-snr

    error: `grid.steps` is missing
    --> m.toml
     = help: the number of steps S: `steps = 50`

    error: `solver.kind` is missing
    --> m.toml
     = help: known here: ddim, ddpm, euler, euler-sigma2, heun, rk4, adams-bashforth, plms, deis, dpm-solver, dpm-solver++2m, sde-dpm-solver++2m, unipc-bh1, unipc-bh2, edm, gddim, euler-maruyama, multinomial, dormand-prince

    error: `name` is missing
    --> m.toml
     = help: the name of the results folder: `name = "table1"`
    "#);
    assert_snapshot!(ddim.refuses_manifest("name: g\nsamples: 8\n"), @r"
    error: not valid TOML: invalid unquoted key, expected letters, numbers, `-`, `_`
     --> m.toml:1:5
      |
    1 | name: g
      |     ^

    error: not valid TOML: key with no value, expected `=`
     --> m.toml:1:7
      |
    1 | name: g
      |       ^

    error: not valid TOML: key with no value, expected `=`
     --> m.toml:2:10
      |
    2 | samples: 8
      |          ^
    ");
    assert_snapshot!(ddim.refuses_manifest(&with("samples = 8\n", "samples = 8\nsamples = 9\n")), @r"
    error: not valid TOML: duplicate key
     --> m.toml:3:1
      |
    3 | samples = 9
      | ^^^^^^^
    ");
}

#[test]
fn a_wrong_value_in_a_manifest_is_refused_at_its_place() {
    let ddim = Ddim::new();
    assert_snapshot!(ddim.refuses_manifest(&with("tau = ", "taau = ")), @r#"
    error: `grid.tau` is missing
      --> m.toml:11:2
       |
    11 | [grid]
       |  ^^^^
       |
       = help: known here: official-uniform, official-quad, paper-linear, paper-quadratic, leading, trailing, linspace, linspace-real, linspace-open, karras, log-snr

    error: unknown key `grid.taau`
      --> m.toml:12:1
       |
    12 | taau = "official-quad"
       | ^^^^
       |
       = help: did you mean `grid.tau`?
    "#);
    assert_snapshot!(ddim.refuses_manifest(&with("samples = 8", "samples = \"8\"")), @r#"
    error: `samples` must be a whole number, 0 or more, not the string `8`
     --> m.toml:2:11
      |
    2 | samples = "8"
      |           ^^^
      |
      = help: write the number without quotes
    "#);
    assert_snapshot!(ddim.refuses_manifest(&with("shape = [3, 8, 8]", "shape = [3, 8]")), @r"
    error: `model.shape` must be three positive lengths, not `[3, 8]`
     --> m.toml:7:9
      |
    7 | shape = [3, 8]
      |         ^^^^^^
      |
      = help: samples are images of C channels, H x W: `shape = [3, 8, 8]`
    ");
    assert_snapshot!(ddim.refuses_manifest(&with("eta = 0.0", "eta = 0.0\nvariance = \"sigma-hat\"")), @r#"
    error: `solver.eta` and `solver.variance` are both given
      --> m.toml:18:12
       |
    17 | eta = 0.0
       |       --- `eta` is given here
    18 | variance = "sigma-hat"
       |            ^^^^^^^^^^^
       |
       = note: the official sigma-hat sampler (`--sample_type ddpm_noisy`) silently ignores `--eta`; here the noise of a step is one choice
       = help: remove one of them
    "#);
    assert_snapshot!(ddim.refuses_manifest(&with("eta = 0.0", "eta = 5.0")), @r"
    error: eta = 5 is too large: the step from t = 9 to t = 0 allows 1.027429 at most
      --> m.toml:17:7
       |
    17 | eta = 5.0
       |       ^^^
       |
       = help: the variance of a step cannot exceed 1 - alpha_bar at its end
    ");
    assert_snapshot!(ddim.refuses_manifest(&with("eta = 0.0", "eta = -1.0")), @r"
    error: `solver.eta` must be 0 or more, not `-1.0`
      --> m.toml:17:7
       |
    17 | eta = -1.0
       |       ^^^^
       |
       = help: 0 is deterministic DDIM, 1 has DDPM's posterior variance
    ");
    assert_snapshot!(ddim.refuses_manifest(&with("steps = 10", "steps = 1001")), @r"
    error: grid: S = 1001: this tau needs at least 2 and at most T = 1000 steps
      --> m.toml:13:9
       |
    13 | steps = 1001
       |         ^^^^
       |
       = help: S and tau together decide which levels are visited
    ");
    assert_snapshot!(ddim.refuses_manifest(&with("tau = \"official-quad\"\nsteps = 10", "tau = [1000, 500, 0]")), @r"
    error: the timestep 1000 does not lie between 0 and 999
      --> m.toml:12:8
       |
    12 | tau = [1000, 500, 0]
       |        ^^^^
       |
       = help: timesteps count from 0; the clean end is not listed but chosen by `grid.end`
    ");
    assert_snapshot!(ddim.refuses_manifest(&with("eta = 0.0", "rtol = 1e-3")), @r#"
    error: `solver.rtol` does not apply to ddim
      --> m.toml:17:1
       |
    16 | kind = "ddim"
       |        ------ chosen here
    17 | rtol = 1e-3
       | ^^^^
       |
       = help: it belongs to dormand-prince; remove it, or set it only in those entries of the sweep that use it (on the command line, `--set solver.rtol=` removes it)
    "#);
    assert_snapshot!(ddim.refuses_manifest(&with("kind = \"ddim\"\neta = 0.0", "kind = \"deis\"\norder = 9")), @r"
    error: deis: order = 9 must be from 2 to 3
      --> m.toml:17:9
       |
    17 | order = 9
       |         ^
       |
       = help: the defaults of deis are `order = 3`
    ");
    assert_snapshot!(ddim.refuses_manifest(&with("kind = \"ddim\"\neta = 0.0", "kind = \"dormand-prince\"\nrtol = 0")), @r"
    error: dormand-prince: rtol = 0e0 and atol = 1e-4 must be positive and finite
      --> m.toml:17:8
       |
    17 | rtol = 0
       |        ^
       |
       = help: the defaults of dormand-prince are `rtol = 0.0001`, `atol = 0.0001`
    ");
    assert_snapshot!(ddim.refuses_manifest(&with("kind = \"ddim\"\neta = 0.0", "kind = \"edm\"\nchurn = -1")), @r"
    error: edm: churn needs amount >= 0, std >= 0, least <= most and at least one step; given are amount = -1, std = 1.003, least = 0.05, most = 50, 10 steps
      --> m.toml:17:9
       |
    17 | churn = -1
       |         ^^
       |
       = help: the defaults of edm are `churn = 40`, `churn_min = 0.05`, `churn_max = 50`, `churn_std = 1.003`
    ");
    assert_snapshot!(ddim.refuses_manifest(&with("name = \"g\"", "name = \"../g\"")), @r#"
    error: `name` cannot be the name of a file: `../g`
     --> m.toml:1:8
      |
    1 | name = "../g"
      |        ^^^^^^
      |
      = help: use letters, digits, `-` and `_`
    "#);
    assert_snapshot!(ddim.refuses_manifest(&and("[schedule]\nbeta_start = 2\n")), @r"
    error: `schedule.beta_start` must be between 0 and 1, not `2`
      --> m.toml:20:14
       |
    20 | beta_start = 2
       |              ^
       |
       = help: a beta is the variance one training step adds

    error: the betas fall from 2 to 0.02
      --> m.toml:20:14
       |
    20 | beta_start = 2
       |              ^
       |
       = help: `beta_start` must not exceed `beta_end` (defaults: 1e-4 and 0.02)
    ");
    assert_snapshot!(ddim.refuses_manifest(&and("[schedule]\nhorizon = 0\n")), @r"
    error: `schedule.horizon` must be at least 1, not `0`
      --> m.toml:20:11
       |
    20 | horizon = 0
       |           ^
       |
       = help: the number of training levels T, often 1000
    ");
}

#[test]
fn a_manifest_whose_parts_do_not_fit_is_refused() {
    let ddim = Ddim::new();
    assert_snapshot!(ddim.refuses_manifest(&and("[sweep]\n\"grid.steps\" = []\n")), @r#"
    error: the axis `grid.steps` has no values
      --> m.toml:20:16
       |
    20 | "grid.steps" = []
       |                ^^
       |
       = help: remove the axis, or list at least one value
    "#);
    assert_snapshot!(ddim.refuses_manifest(&and("[sweep]\n\"grid.stops\" = [1, 2]\n")), @r#"
    error: unknown key `grid.stops`
      --> m.toml:20:1
       |
    20 | "grid.stops" = [1, 2]
       | ^^^^^^^^^^^^
       |
       = help: did you mean `grid.steps`?
    "#);
    assert_snapshot!(ddim.refuses_manifest(&and("[sweep]\n\"grid.steps\" = [10, 10]\n")), @r#"
    error: the axis `grid.steps` has two entries called `10`
      --> m.toml:20:21
       |
    20 | "grid.steps" = [10, 10]
       |                 --  ^^
       |                 |
       |                 the first
       |
       = help: labels name the rows and columns of the table: make them different
    "#);
    assert_snapshot!(ddim.refuses_manifest(&and("[sweep]\nseed = [0, 1]\n[table]\nrows = \"seed\"\ncolumns = \"steps\"\nvalue = \"fd\"\n")), @r#"
    error: there is no axis `steps`
      --> m.toml:23:11
       |
    23 | columns = "steps"
       |           ^^^^^^^
       |
       = help: known here: seed
    "#);
    assert_snapshot!(refuses_to_measure(&ddim, "f", "r"), @r#"
    error: metrics.features = "f" does not exist
      --> m.toml:12:12
       |
    12 | features = "f"
       |            ^^^
       |
       = help: features are computed by folders like models/cifar10-features, by `inception`, or by a file of weights

    error: metrics.reference = "r" does not exist
      --> m.toml:13:13
       |
    13 | reference = "r"
       |             ^^^
       |
       = help: `ddim stats --data SET --features f --out r` writes it from a data set
    "#);
    assert_snapshot!(ddim.refuses_manifest(&and("[metrics]\nfeatures = \"f\"\nreference = \"r\"\nblocks = 5\n")), @r"
    error: 8 samples are too few for 5 blocks
     --> m.toml:2:11
      |
    2 | samples = 8
      |           ^
      |
      = help: an interval needs at least two samples in each block: `samples` of at least 10, or fewer `metrics.blocks`
    ");
    ddim.write("m.toml", GAUSSIAN);
    assert_snapshot!(ddim.fails(2, &["run", "m.toml", "--profile", "full"]), @r"
    error: there is no profile `full`
     --> command line:1:11
      |
    1 | --profile full
      |           ^^^^
      |
      = help: m.toml has no profiles
    ");
}

#[test]
fn a_wrong_change_on_the_command_line_is_refused() {
    let ddim = Ddim::new();
    assert_snapshot!(ddim.refuses_to_set(&["samples"]), @r"
    error: expected `path=value`
     --> command line:1:7
      |
    1 | --set samples
      |       ^^^^^^^
      |
      = help: for instance `--set grid.steps=20`
    ");
    assert_snapshot!(ddim.refuses_to_set(&["=5"]), @r"
    error: not valid TOML: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`
     --> command line:1:7
      |
    1 | --set =5
      |       ^
    ");
    assert_snapshot!(ddim.refuses_to_set(&["sampels=5"]), @r"
    error: unknown key `sampels`
     --> command line:1:7
      |
    1 | --set sampels=5
      |       ^^^^^^^
      |
      = help: did you mean `samples`?
    ");
    assert_snapshot!(ddim.refuses_to_set(&["grid.steps=ten"]), @r"
    error: `grid.steps` must be a whole number, 0 or more, not the string `ten`
     --> command line:1:18
      |
    1 | --set grid.steps=ten
      |                  ^^^
    ");
    assert_snapshot!(ddim.refuses_to_set(&["solver.eta=nan"]), @r"
    error: `solver.eta` must be a finite number, not `NaN`
     --> command line:1:18
      |
    1 | --set solver.eta=nan
      |                  ^^^
    ");
    assert_snapshot!(ddim.refuses_to_set(&["samples=[1, 2"]), @r"
    error: not valid TOML: unclosed array, expected `]`
     --> command line:1:20
      |
    1 | --set samples=[1, 2
      |                    ^
    ");
    assert_snapshot!(ddim.refuses_to_set(&["sweep.grid.steps=5"]), @r#"
    error: the axis `grid.steps` must be a list, not `5`
     --> command line:1:24
      |
    1 | --set sweep.grid.steps=5
      |                        ^
      |
      = help: write the values it takes: `"grid.steps" = [..]`
    "#);
    assert_snapshot!(ddim.refuses_to_set(&["samples=-1"]), @r"
    error: `samples` must be a whole number, 0 or more, not `-1`
     --> command line:1:15
      |
    1 | --set samples=-1
      |               ^^
    ");
}

#[test]
fn a_wrong_flag_is_refused() {
    let ddim = Ddim::new();
    assert_snapshot!(ddim.fails(2, &["sampel"]), @r"
    error: unrecognized subcommand 'sampel'

      tip: some similar subcommands exist: 'speed', 'sample'

    Usage: ddim <COMMAND>

    For more information, try '--help'.
    ");
    assert_snapshot!(ddim.fails(2, &["check"]), @r"
    error: the following required arguments were not provided:
      <FILE>...

    Usage: ddim check <FILE>...

    For more information, try '--help'.
    ");
    assert_snapshot!(ddim.refuses_flags(&[]), @r"
    error: the following required arguments were not provided:
      --out <FILE>

    Usage: ddim sample --model <PATH|NAME> --out <FILE> --std <STD> --shape <C,H,W> --mean <MEAN>

    For more information, try '--help'.
    ");
    assert_snapshot!(ddim.refuses_flags(&["--eta", "0", "--variance", "sigma-hat", "--out", "a.npy"]), @r"
    error: the argument '--eta <ETA>' cannot be used with '--variance <NAME>'

    Usage: ddim sample --model <PATH|NAME> --out <FILE> --std <STD> --shape <C,H,W> --mean <MEAN> --eta <ETA>

    For more information, try '--help'.
    ");
    assert_snapshot!(ddim.refuses_flags(&["--threads", "0", "--out", "a.npy"]), @"error: --threads 0: give a number from 1 to 1024");
    assert_snapshot!(ddim.refuses_flags(&["--threads", "100000", "--out", "a.npy"]), @"error: --threads 100000: give a number from 1 to 1024");
    assert_snapshot!(ddim.refuses_flags(&["--set", "model.mean=nan", "--out", "a.npy"]), @r"
    error: `model.mean` must be a finite number, not `NaN`
     --> command line:1:18
      |
    1 | --set model.mean=nan
      |                  ^^^
    ");
    assert_snapshot!(ddim.refuses_flags(&["--samples", "0", "--out", "a.npy"]), @r"
    error: `samples` must be at least 1, not `0`
     --> command line:1:11
      |
    1 | --samples 0
      |           ^
      |
      = help: how many samples should a cell draw?
    ");
    assert_snapshot!(ddim.refuses_flags(&["--batch", "0", "--out", "a.npy"]), @r"
    error: `batch` must be at least 1, not `0`
     --> command line:1:9
      |
    1 | --batch 0
      |         ^
      |
      = help: samples per model call, for instance 64
    ");
    assert_snapshot!(ddim.refuses_flags(&["--seed=-1", "--out", "a.npy"]), @r"
    error: invalid value '-1' for '--seed <N>': invalid digit found in string

    For more information, try '--help'.
    ");
    assert_snapshot!(ddim.refuses_flags(&["--seed", "9223372036854775808", "--out", "a.npy"]), @r"
    error: `9223372036854775808` is too large or too small
     --> command line:1:8
      |
    1 | --seed 9223372036854775808
      |        ^^^^^^^^^^^^^^^^^^^
      |
      = help: whole numbers lie between -2^63 and 2^63 - 1
    ");
    assert_snapshot!(ddim.refuses_flags(&["--steps", "0", "--out", "a.npy"]), @r"
    error: `grid.steps` must be at least 1, not `0`
     --> command line:1:9
      |
    1 | --steps 0
      |         ^
      |
      = help: S = 0 would return the noise
    ");
    assert_snapshot!(ddim.refuses_flags(&["--eta", "nan", "--out", "a.npy"]), @r"
    error: `solver.eta` must be a finite number, not `NaN`
     --> command line:1:7
      |
    1 | --eta NaN
      |       ^^^
    ");
    assert_snapshot!(ddim.fails(2, &["sample", "--model", "gaussian", "--mean", "0", "--std=-1", "--shape", "3,8,8", "--out", "a.npy"]), @r"
    error: `model.std` must be positive, not `-1`
     --> command line:1:7
      |
    1 | --std -1
      |       ^^
      |
      = help: a component has some spread and some weight, or is left out
    ");
    assert_snapshot!(ddim.fails(2, &["sample", "--model", "gaussian", "--out", "a.npy"]), @r#"
    error: `model.shape` is missing
     --> command line:1:9
      |
    1 | --model gaussian
      |         ^^^^^^^^
      |
      = help: the shape of one sample: `shape = [3, 8, 8]`

    error: `model.mean` is missing
     --> command line:1:9
      |
    1 | --model gaussian
      |         ^^^^^^^^
      |
      = help: a number, or one per component

    error: `model.std` is missing
     --> command line:1:9
      |
    1 | --model gaussian
      |         ^^^^^^^^
      |
      = help: a number, or one per component
    "#);
    assert_snapshot!(ddim.fails(2, &["sample", "--model", "hf:google/ddpm-cifar10-32", "--out", "a.npy"]), @"error: hf:google/ddpm-cifar10-32 is not in the folder [dir]/hub/hub, and HF_HUB_OFFLINE forbids to download it");
    assert_snapshot!(ddim.fails(2, &["run", "m.toml", "--device"]), @r"
    error: a value is required for '--device <DEVICE>' but none was supplied
      [possible values: cpu, cuda]

    For more information, try '--help'.
    ");
}

#[test]
fn an_output_that_cannot_be_written_is_refused() {
    let ddim = Ddim::new();
    fs::create_dir(ddim.path("a.npy")).unwrap();
    assert_snapshot!(ddim.refuses_flags(&["--out", "a.npy"]), @"error: --out a.npy: it is a folder; name a file");
    assert_snapshot!(ddim.refuses_flags(&["--out", "absent/a.npy"]), @"error: --out absent/a.npy: the folder absent does not exist; create it first");
    assert_snapshot!(ddim.refuses_flags(&["--out", ".npy"]), @"error: --out .npy: images are written as .npy (an array; - is stdout), .png (a grid), or into a new folder (a name without an extension)");
    ddim.write("file", "");
    assert_snapshot!(ddim.refuses_flags(&["--out", "file/a.png"]), @"error: --out file/a.png: file is a file, not a folder; choose a folder");
    assert_snapshot!(ddim.refuses_flags(&["--out", "/proc/a.png"]), @"error: --out /proc/a.png: cannot write to the folder /proc: No such file or directory (os error 2); choose another");
    assert_snapshot!(ddim.fails(2, &["sample", "--model", "gaussian", "--mean", "0", "--std", "1", "--shape", "2,8,8", "--out", "a.png"]), @"error: --out a.png: samples of 2 channels cannot be shown as pictures, which have 1 or 3; write them as .npy");
}

#[test]
fn cuda_without_its_libraries_is_refused() {
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
fn what_is_no_file_of_latents_is_refused() {
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
    ndarray_npy::write_npy(ddim.path("u8.npy"), &Array4::<u8>::zeros((2, 3, 8, 8))).unwrap();
    ddim.write("text.npy", "0 0 0\n");
    let half = fs::read(ddim.path("few.npy")).unwrap();
    ddim.write("half.npy", &half[..half.len() / 2]);
    fs::create_dir(ddim.path("folder.npy")).unwrap();
    assert_snapshot!(ddim.refuses_flags(&["--latents", "narrow.npy", "--out", "a.npy"]), @"error: --latents narrow.npy: shape [2, 3, 8, 7], but 2 samples of this model need [2, 3, 8, 8]");
    assert_snapshot!(ddim.refuses_flags(&["--latents", "few.npy", "--samples", "3", "--out", "a.npy"]), @"error: --latents few.npy: shape [2, 3, 8, 8], but 3 samples of this model need [3, 3, 8, 8]");
    assert_snapshot!(ddim.refuses_flags(&["--latents", "none.npy", "--out", "a.npy"]), @"error: none.npy: its shape is [0, 3, 8, 8]: nothing is in it");
    assert_snapshot!(ddim.refuses_flags(&["--latents", "nan.npy", "--out", "a.npy"]), @"error: nan.npy: latent 1 (from 0) has NaN or infinite values; write them without");
    assert_snapshot!(ddim.refuses_flags(&["--latents", "flat.npy", "--out", "a.npy"]), @"error: flat.npy: its shape is [2, 192]; latents are [N, C, H, W]");
    assert_snapshot!(ddim.refuses_flags(&["--latents", "u8.npy", "--out", "a.npy"]), @"error: u8.npy: its values are of type |u1, and latents are floats: save x.astype(numpy.float32), if these are the x_T that are meant");
    assert_snapshot!(ddim.refuses_flags(&["--latents", "text.npy", "--out", "a.npy"]), @"error: text.npy: it cannot be read (it ends too early): it is damaged or no .npy file");
    assert_snapshot!(ddim.refuses_flags(&["--latents", "half.npy", "--out", "a.npy"]), @"error: half.npy: it cannot be read (its header says 1536 bytes of values, shape [2, 3, 8, 8], and 704 follow): it is damaged or no .npy file");
    assert_snapshot!(ddim.refuses_flags(&["--latents", "folder.npy", "--out", "a.npy"]), @"error: cannot read folder.npy: Is a directory (os error 21)");
}

#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let ddim = Ddim::new();
    let pipe = |path: &str| {
        let done = std::process::Command::new("mkfifo").arg(ddim.path(path)).status().unwrap();
        assert!(done.success());
    };
    for folder in ["net", "images"] {
        fs::create_dir(ddim.path(folder)).unwrap();
    }
    for path in ["m.toml", "z.npy", "net/config.json", "images/a.png", "mine.pt"] {
        pipe(path);
    }
    let model = repository("models/cifar10-small");
    let (model, features) = (model.as_str(), repository("models/cifar10-features"));
    let features = features.as_str();
    let weights = "diffusion_pytorch_model.safetensors";
    fs::copy(format!("{model}/{weights}"), ddim.path("net").join(weights)).unwrap();
    let stats = |data| ["stats", "--data", data, "--features", features, "--out", "r"];
    for arguments in [
        &["check", "m.toml"][..],
        &["check", "/dev/zero"],
        &["sample", "--model", "net", "--out", "a.npy"],
        &["sample", "--model", model, "--latents", "z.npy", "--out", "a.npy"],
        &["inspect", "mine.pt"],
        &["inspect", "/dev/zero"],
        &stats("images"),
    ] {
        let done = ddim.command().args(arguments).output().unwrap();
        let message = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains("and no file"), "{arguments:?}: {message}");
    }
}

#[test]
fn a_side_beyond_every_memory_is_a_damaged_file() {
    let ddim = Ddim::new();
    let header = r#"{"a":{"dtype":"F32","shape":[9223372036854775808,0],"data_offsets":[0,0]}}"#;
    let length = u64::try_from(header.len()).unwrap().to_le_bytes();
    fs::write(ddim.path("huge.safetensors"), [&length[..], header.as_bytes()].concat()).unwrap();
    assert_snapshot!(ddim.fails(2, &["inspect", "huge.safetensors"]), @"error: huge.safetensors is truncated or damaged: `a` has a side of 2^63 and more; fetch it again");
}

#[test]
fn a_folder_that_is_no_model_is_refused() {
    let ddim = Ddim::new();
    fs::create_dir(ddim.path("net")).unwrap();
    assert_snapshot!(ddim.refuses_network(), @"error: ./net holds no config.json and no diffusion_pytorch_model.safetensors; a model is a folder with both, as diffusers' save_pretrained writes it, or a single file of weights");
    config(&ddim, "", "");
    assert_snapshot!(ddim.refuses_network(), @"error: ./net holds no diffusion_pytorch_model.safetensors (or .bin) and no single file of weights by another name; save the model in that format (diffusers' save_pretrained does), or name the file that is meant");
    ddim.write("net/config.json", "{\"sample_size\": 32,");
    assert_snapshot!(ddim.refuses_network(), @"error: ./net/config.json is not a JSON object: EOF while parsing a value at line 1 column 19; restore it or save the model again");
    config(&ddim, "\"silu\"", "\"gelu\"");
    assert_snapshot!(ddim.refuses_network(), @r#"
    error: ./net/config.json describes a network that is not supported:
      `act_fn` is "gelu"; supported: "silu" or "swish"
    "#);
    network(&ddim, |_| {});
    config(&ddim, "\"sample_size\": 32", "\"sample_size\": null");
    assert_snapshot!(ddim.refuses_network(), @"error: ./net: nothing says how large its images are; say so: `model.shape = [3, 32, 32]` (--shape 3,32,32), or `sample_size` in its config.json");
    config(&ddim, "\"out_channels\": 3", "\"out_channels\": 5");
    assert_snapshot!(ddim.refuses_network(), @"error: ./net: the network has 5 output channels and 3 input channels; supported: as many (eps), or twice as many (eps, and the range of a learned variance)");
}

#[test]
fn weights_that_do_not_fit_their_network_are_refused() {
    let ddim = Ddim::new();
    network(&ddim, |_| {});
    let name = "net/diffusion_pytorch_model.safetensors";
    let whole = fs::read(ddim.path(name)).unwrap();
    ddim.write(name, &whole[..whole.len() / 2]);
    assert_snapshot!(ddim.refuses_network(), @"error: ./net/diffusion_pytorch_model.safetensors is truncated or damaged: incomplete metadata, file not fully covered; fetch it again");
    ddim.write(name, "version https://git-lfs.github.com/spec/v1\n");
    assert_snapshot!(ddim.refuses_network(), @"error: ./net/diffusion_pytorch_model.safetensors is Git LFS's pointer to a file; fetch the file itself");
    network(&ddim, |tensors| {
        tensors.remove("conv_in.bias");
    });
    assert_snapshot!(ddim.refuses_network(), @r"
    error: ./net/diffusion_pytorch_model.safetensors does not fit the config.json beside it, and both must come from one model:
      missing `conv_in.bias`
    ");
    network(&ddim, |tensors| {
        tensors.insert("other.scale".into(), (Dtype::F32, vec![1], vec![0; 4]));
    });
    assert_snapshot!(ddim.refuses_network(), @r"
    error: ./net/diffusion_pytorch_model.safetensors does not fit the config.json beside it, and both must come from one model:
      not known `other.scale`
    ");
    network(&ddim, |tensors| {
        tensors.insert("conv_in.bias".into(), (Dtype::F32, vec![16], vec![0; 64]));
    });
    assert_snapshot!(ddim.refuses_network(), @r"
    error: ./net/diffusion_pytorch_model.safetensors does not fit the config.json beside it, and both must come from one model:
      `conv_in.bias` has shape [16]; needed: [32]
    ");
    network(&ddim, |tensors| {
        tensors.insert("conv_in.bias".into(), (Dtype::I16, vec![32], vec![0; 64]));
    });
    assert_snapshot!(ddim.refuses_network(), @"error: ./net/diffusion_pytorch_model.safetensors: `conv_in.bias` has element type I16; supported: F16, BF16, F32, F64, F8_E4M3, F8_E5M2");
}

#[test]
fn weights_that_are_not_numbers_end_in_a_failed_run() {
    let ddim = Ddim::new();
    network(&ddim, |tensors| {
        tensors.insert("conv_out.bias".into(), (Dtype::F32, vec![3], NAN.repeat(3)));
    });
    assert_snapshot!(ddim.fails(1, &["sample", "--model", "./net", "--quiet", "--out", "a.npy"]), @"error: ddim diverged at step 0, from t = 980 to t = 960: in sample 0 (counted from 0) the model's output is not finite");
    // In a sweep it is one row of the table, and the run goes on.
    ddim.write("m.toml", network_manifest("./net", &features(), &reference()));
    let output = ddim.run(&["run", "m.toml", "--quiet"]);
    assert!(output.status.success(), "{}", ddim.plain(&output.stderr));
    let metrics = ddim.text("results/n/metrics.csv");
    assert_eq!(metrics.lines().nth(1).unwrap().split(',').nth(2), Some("diverged"), "{metrics}");
    assert!(!tree(&ddim.path("results/n")).keys().any(|path| path.ends_with("f32")));
}

#[test]
fn features_and_a_reference_that_do_not_fit_are_refused() {
    let ddim = Ddim::new();
    fs::create_dir(ddim.path("f")).unwrap();
    assert_snapshot!(refuses_to_measure(&ddim, "f", &reference()), @"error: cannot read f/config.json: No such file or directory (os error 2); features are computed by folders like models/cifar10-features");
    fs::copy(repository("models/cifar10-features/config.json"), ddim.path("f/config.json"))
        .unwrap();
    assert_snapshot!(refuses_to_measure(&ddim, "f", &reference()), @"error: cannot read f/model.safetensors: No such file or directory (os error 2); features are computed by folders like models/cifar10-features");
    let weights = fs::read(repository("models/cifar10-features/model.safetensors")).unwrap();
    ddim.write(
        "f/model.safetensors",
        changed(&weights, |tensors| {
            tensors.get_mut("linear.bias").unwrap().2.fill(0);
        }),
    );
    assert_snapshot!(hashless(&refuses_to_measure(&ddim, "f", &reference())), @"error: [repository]/models/cifar10-features/cifar10-train.safetensors was made with extractor `cifar10-features` of 64 features (sha256 [hash]) but the features at hand come from `f` of 64 features (sha256 [hash]) distances between the two mean nothing; use the extractor of the reference or compute a reference for this one");
    ddim.write("f/config.json", "{}");
    assert_snapshot!(refuses_to_measure(&ddim, "f", &reference()), @"error: f/config.json: missing field `architecture` at line 1 column 2");
    let whole = fs::read(reference()).unwrap();
    ddim.write("r.safetensors", &whole[..whole.len() / 2]);
    assert_snapshot!(refuses_to_measure(&ddim, &features(), "r.safetensors"), @"error: r.safetensors is truncated or no safetensors file (incomplete metadata, file not fully covered): restore it or compute the reference again");
    let mut other = whole.clone();
    let version = br#"\"version\":1"#;
    let place = whole.windows(version.len()).position(|window| window == version).unwrap();
    other[place + version.len() - 1] = b'9';
    ddim.write("r.safetensors", other);
    assert_snapshot!(refuses_to_measure(&ddim, &features(), "r.safetensors"), @"error: r.safetensors has layout version 9, this build reads 1: compute the reference again or use the build that made it");
    ddim.write("r.safetensors", &weights);
    assert_snapshot!(refuses_to_measure(&ddim, &features(), "r.safetensors"), @"error: r.safetensors does not say where its statistics come from: the header has no `ddim-reference`; compute the reference again");
    assert_snapshot!(refuses_to_measure(&ddim, &features(), "f"), @"error: f: it is a folder, and a reference is a file of statistics: make one of its images, `ddim stats --data f --out FILE.safetensors`, or compare two sets, `ddim evaluate IMAGES f`");
    assert_snapshot!(refuses_to_measure(&ddim, &reference(), &features()), @"error: [repository]/models/cifar10-features/cifar10-train.safetensors does not hold the Inception network of FID (`Conv2d_1a_3x3.bn.bias` is missing and 474 more differences): expected the tensors of pt_inception-2015-12-05-6726825d.pth; a CIFAR residual network is a file that ends in .th, or a folder");
    // The features of what is no colour image.
    let manifest = with("shape = [3, 8, 8]", "shape = [1, 32, 32]");
    let metrics = format!(
        "[metrics]\nfeatures = {:?}\nreference = {:?}\nblocks = 2\n",
        features(),
        reference()
    );
    assert_snapshot!(ddim.refuses_manifest(&format!("{manifest}\n{metrics}")), @r"
    error: features are those of colour images, not of [1, 32, 32]
     --> m.toml:7:9
      |
    7 | shape = [1, 32, 32]
      |         ^^^^^^^^^^^
      |
      = help: `shape = [3, H, W]`, or no [metrics]
    ");
}

#[test]
fn a_run_whose_results_cannot_be_kept_is_refused() {
    let ddim = Ddim::new();
    ddim.write("m.toml", GAUSSIAN).write("file", "mine\n");
    assert_snapshot!(ddim.fails(1, &["run", "m.toml", "--quiet", "--out", "file"]), @"error: cannot create the results folder file: it is a file; choose another with --out");
    assert_snapshot!(ddim.fails(1, &["run", "m.toml", "--quiet", "--out", "file/results"]), @"error: cannot create the results folder file/results: Not a directory (os error 20); choose another with --out");
    assert_snapshot!(ddim.fails(1, &["run", "m.toml", "--quiet", "--out", "/proc/results"]), @"error: cannot create the results folder /proc/results: No such file or directory (os error 2); choose another with --out");
    fs::create_dir(ddim.path("held")).unwrap();
    ddim.write("held/.lock", "process 7, since 1700000000 s");
    let held = File::open(ddim.path("held/.lock")).unwrap();
    held.lock().unwrap();
    assert_snapshot!(ddim.fails(1, &["run", "m.toml", "--quiet", "--out", "held"]), @"error: held is in use by another run (process 7, since 1700000000 s); wait for it to end or stop it");
    drop(held);
    fs::create_dir_all(ddim.path("odd/metrics.csv")).unwrap();
    assert_snapshot!(ddim.fails(1, &["run", "m.toml", "--quiet", "--out", "odd"]), @"error: cannot read odd/metrics.csv: Is a directory (os error 21)");
}

#[test]
fn a_results_file_that_somebody_changed_is_refused() {
    let ddim = Ddim::new();
    finished(&ddim);
    let right = ddim.text("results/g/metrics.csv");
    let malformed = |text: &str| {
        ddim.write("results/g/metrics.csv", text);
        ddim.fails(1, &["run", "m.toml", "--quiet"])
    };
    assert_snapshot!(malformed(""), @"error: results/g/metrics.csv:1: column `cell`: expected it as column 1, found `nothing`; restore the file (only the program should write it), or delete it to run its cells again");
    assert_snapshot!(malformed(&right.replace("status", "state")), @"error: results/g/metrics.csv:1: column `status`: expected it as column 3, found `state`; restore the file (only the program should write it), or delete it to run its cells again");
    assert_snapshot!(malformed(&right.replace(",done,10,", ",done,ten,")), @"error: results/g/metrics.csv:2: column `S`: `ten` is not a whole number; restore the file (only the program should write it), or delete it to run its cells again");
    assert_snapshot!(malformed(&right.replace(",done,", ",maybe,")), @"error: results/g/metrics.csv:2: column `status`: `maybe` is neither `done` nor `diverged`; restore the file (only the program should write it), or delete it to run its cells again");
    assert_snapshot!(malformed(right.trim_end().rsplit_once(',').unwrap().0), @"error: results/g/metrics.csv:2: column `N`: the row has 6 fields and the header 7; restore the file (only the program should write it), or delete it to run its cells again");
    let latin1 = [right.as_bytes(), b"\xef\n"].concat();
    ddim.write("results/g/metrics.csv", latin1);
    assert_snapshot!(ddim.fails(1, &["run", "m.toml", "--quiet"]), @"error: results/g/metrics.csv:3: column `cell`: the line is not UTF-8 text; restore the file (only the program should write it), or delete it to run its cells again");
    ddim.write("results/g/metrics.csv", &right).write("results/g/timing.csv", "cell\n0\n");
    assert_snapshot!(ddim.fails(1, &["run", "m.toml", "--quiet"]), @"error: results/g/timing.csv:2: column `key`: it is missing; restore the file (only the program should write it), or delete it: times are lost, and nothing is run again");
}

#[test]
fn the_features_of_an_unfinished_cell_may_not_be_a_folder() {
    let ddim = Ddim::new();
    ddim.write(
        "m.toml",
        network_manifest(&repository("models/cifar10-small"), &features(), &reference()),
    );
    assert!(ddim.run(&["run", "m.toml", "--quiet"]).status.success());
    let metrics = ddim.text("results/n/metrics.csv");
    let mut lines = metrics.lines();
    let (header, row) = (lines.next().unwrap(), lines.next().unwrap());
    let key = row.split(',').nth(1).unwrap();
    let timing = ddim.text("results/n/timing.csv");
    ddim.write("results/n/metrics.csv", format!("{header}\n"))
        .write("results/n/timing.csv", format!("{}\n", timing.lines().next().unwrap()));
    fs::create_dir(ddim.path(&format!("results/n/partial-{}.f32", &key[..16]))).unwrap();
    assert_snapshot!(ddim.fails(1, &["run", "m.toml", "--quiet"]).replace(&key[..16], "[key]"), @"error: cannot read results/n/partial-[key].f32: Is a directory (os error 21)");
}

#[test]
fn statistics_of_what_is_no_data_are_refused() {
    let ddim = Ddim::new();
    fs::create_dir(ddim.path("data")).unwrap();
    ddim.write("data.tar.gz", "not an archive");
    let stats = |more: &[&str]| ddim.fails(2, &[&["stats", "--data"], more].concat());
    assert_snapshot!(stats(&["absent", "--out", "r.safetensors"]), @"error: there is no data set or path `absent`; data sets known by name: cifar10, mnist, fashion-mnist, celeba");
    assert_snapshot!(stats(&["data", "--out", "r.safetensors"]), @"error: data is empty: expected images (png, jpg, webp, bmp, tif, ppm, pgm, pbm, gif)");
    assert_snapshot!(stats(&["data.tar.gz", "--out", "r.safetensors"]), @"error: cannot unpack data.tar.gz: invalid gzip header; it is damaged or no .tar.gz, download it again");
    assert_snapshot!(stats(&["data", "--exclude", "absent.csv", "--out", "r.safetensors"]), @"error: data: an exclusion list names batch files of CIFAR-10, and this is another layout; leave --exclude out");
    assert_snapshot!(stats(&["data", "--out", "data"]), @"error: --out data: it is a folder; name a file");
    assert_snapshot!(stats(&["data", "--split", "valid", "--out", "r.safetensors"]), @r"
    error: invalid value 'valid' for '--split <SPLIT>'
      [possible values: train, test]

    For more information, try '--help'.
    ");
}
