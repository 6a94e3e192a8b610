//! Shards of a run: drawn in any order, by any number, stopped or damaged on the way, they end in the bytes
//! of a run without them.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use ddim::results::sink::read_timing;
use support::program::{Ddim, repository, tree};

/// Cells whose samples have numbers of their own and pictures, and one of a method that chooses its steps.
const ERRORS: &str = r#"
name = "s"
samples = 26
batch = 4
[model]
source = "gaussian"
shape = [3, 8, 8]
mean = 0.1
std = 0.5
[grid]
tau = "linspace"
steps = 5
[solution]
kind = "exact"
[metrics]
measures = ["error"]
blocks = 4
[sweep]
solver = [
    { label = "ddim", "solver.kind" = "ddim" },
    { label = "heun", "solver.kind" = "heun" },
    { label = "adaptive", "solver.kind" = "dormand-prince" },
]
"grid.steps" = [5]
[table]
rows = "solver"
columns = "grid.steps"
value = "error"
caption = "Errors."
"#;

/// Cells measured by draws of their model, of one batch each.
const DRAWS: &str = r#"
name = "s"
samples = 32
batch = 32
[model]
source = "mixture"
shape = [1, 2, 2]
mean = [-0.5, 0.6]
std = [0.1, 0.2]
weights = [1, 2]
[grid]
tau = "official-quad"
[solver]
kind = "ddim"
[metrics]
measures = ["sliced-wasserstein", "mean-error"]
blocks = 4
[sweep]
"grid.steps" = [5, 6, 7]
"solver.eta" = [0.0, 1.0]
"#;

/// Cells of which one diverges.
const DIVERGES: &str = r#"
name = "s"
samples = 10
batch = 4
[model]
source = "gaussian"
shape = [3, 8, 8]
mean = 0.1
std = 0.5
[schedule]
beta_end = 0.7
[grid]
tau = "linspace"
steps = 10
[metrics]
measures = ["error"]
blocks = 2
[solution]
kind = "exact"
[sweep]
solver = [
    { label = "ddim", "solver.kind" = "ddim" },
    { label = "heun", "solver.kind" = "heun" },
]
"#;

const RECONSTRUCTS: &str = r#"
name = "s"
samples = 9
batch = 2
task = "reconstruct"
[model]
source = "gaussian"
shape = [1, 8, 8]
mean = 0.2
std = 0.5
[images]
source = "solution"
[solution]
kind = "exact"
[grid]
tau = "linspace"
steps = 10
[solver]
kind = "ddim"
[metrics]
measures = ["mse", "latent-error", "latent-norm"]
blocks = 4
"#;

const INTERPOLATES: &str = r#"
name = "s"
samples = 7
batch = 2
task = "interpolate"
points = 5
[model]
source = "gaussian"
shape = [1, 8, 8]
mean = 0.2
std = 0.5
[grid]
tau = "linspace"
steps = 10
[solver]
kind = "ddim"
[metrics]
measures = ["path-length"]
blocks = 3
[sweep]
"solver.eta" = [0.0, 1.0]
"#;

/// Cells that share a reference solution, which is drawn.
const SOLVED: &str = r#"
name = "s"
samples = 8
batch = 2
[model]
source = "gaussian"
shape = [1, 2, 2]
mean = 0.1
std = 0.5
[grid]
tau = "linspace"
[solution]
kind = "heun"
tau = "linspace"
steps = 50
[solver]
kind = "ddim"
[metrics]
measures = ["error"]
blocks = 4
[sweep]
"grid.steps" = [4, 5, 6]
"#;

/// Features of a network, small enough for a test.
fn features() -> String {
    format!(
        r#"
name = "s"
samples = 12
batch = 4
[model]
source = "{}"
[grid]
tau = "official-quad"
[solver]
kind = "ddim"
[metrics]
features = "{}"
reference = "{}"
blocks = 4
[sweep]
"grid.steps" = [2, 3]
"solver.eta" = [0.0]
[table]
rows = "solver.eta"
columns = "grid.steps"
value = "fd"
caption = "Distances."
"#,
        repository("models/cifar10-small"),
        repository("models/cifar10-features"),
        repository("models/cifar10-features/cifar10-train.safetensors"),
    )
}

/// What a run leaves that does not depend on when and where it ran.
fn kept(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let varies = ["timing.csv", "provenance.json", "report.html"];
    let own = |path: &Path| !varies.iter().any(|name| path.ends_with(name));
    let relative = |path: &Path| path.strip_prefix(folder).unwrap().to_owned();
    let all = tree(folder).into_iter().filter(|(path, _)| own(path));
    all.map(|(path, bytes)| (relative(&path), bytes)).collect()
}

/// A folder with a manifest and an undisturbed run of it in `whole`.
fn with_whole(manifest: &str) -> Ddim {
    let ddim = Ddim::new();
    ddim.write("m.toml", manifest);
    ddim.succeeds(&["run", "m.toml", "--quiet", "--threads", "1", "--out", "whole"]);
    ddim
}

fn shard(ddim: &Ddim, shard: &str, more: &[&str]) -> Output {
    let all = ["run", "m.toml", "--quiet", "--threads", "1", "--out", "parts", "--shard", shard];
    ddim.run(&[&all[..], more].concat())
}

fn shards(ddim: &Ddim, numbers: &[usize], count: usize) {
    for number in numbers {
        let output = shard(ddim, &format!("{number}/{count}"), &[]);
        assert!(output.status.success(), "{}", ddim.plain(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}

fn merge(ddim: &Ddim) -> String {
    ddim.succeeds(&["merge", "m.toml", "--quiet", "--threads", "1", "--out", "parts"])
}

fn assert_same(ddim: &Ddim) {
    let (whole, parts) = (kept(&ddim.path("whole")), kept(&ddim.path("parts")));
    let names = |tree: &BTreeMap<PathBuf, _>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&whole), names(&parts));
    for (name, bytes) in &whole {
        assert!(parts[name] == *bytes, "{} differs", name.display());
    }
}

/// The files of rows in `parts`.
fn partials(ddim: &Ddim) -> Vec<PathBuf> {
    let entries = fs::read_dir(ddim.path("parts")).unwrap().map(|entry| entry.unwrap().path());
    let mut partials: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "f32")).collect();
    partials.sort();
    partials
}

#[test]
fn shards_in_any_order_end_in_the_bytes_of_one_run() {
    for (manifest, count, order) in [
        (ERRORS.to_owned(), 3, vec![3, 1, 2]),
        (ERRORS.to_owned(), 1, vec![1]),
        // More shards than batches.
        (ERRORS.to_owned(), 9, vec![9, 2, 7, 4, 5, 6, 3, 8, 1]),
        (DRAWS.to_owned(), 4, vec![2, 4, 1, 3]),
        (SOLVED.to_owned(), 3, vec![3, 2, 1]),
        (RECONSTRUCTS.to_owned(), 2, vec![2, 1]),
        (INTERPOLATES.to_owned(), 3, vec![1, 3, 2]),
        (features(), 2, vec![2, 1]),
    ] {
        let ddim = with_whole(&manifest);
        shards(&ddim, &order, count);
        let summary = merge(&ddim);
        assert_same(&ddim);
        // The merge prints what the run prints, and so does a second one.
        let again = ddim.succeeds(&["run", "m.toml", "--quiet", "--out", "whole"]);
        assert_eq!(summary, again);
        assert_eq!(merge(&ddim), again);
        assert_same(&ddim);
    }
}

#[test]
fn a_cell_that_diverges_in_a_shard_is_the_row_of_a_run() {
    let ddim = with_whole(DIVERGES);
    assert!(ddim.text("whole/metrics.csv").contains(",diverged,"));
    shards(&ddim, &[2, 1], 2);
    let text = ddim.says(&["merge", "m.toml", "--out", "parts"]).1;
    assert!(text.contains("#01  diverged: sample 0 (counted from 0) diverged: "), "{text}");
    assert_same(&ddim);
}

#[test]
fn a_run_goes_on_from_shards_of_any_number() {
    let ddim = with_whole(ERRORS);
    shards(&ddim, &[2], 3);
    shards(&ddim, &[1], 5);
    let drawn = partials(&ddim).len();
    assert_eq!(drawn, 6);
    // Another number of shards draws only what is missing.
    let output = ddim.run(&["run", "m.toml", "--threads", "1", "--out", "parts", "--shard", "1/1"]);
    let said = ddim.plain(&output.stderr);
    assert!(said.contains("shard 1/1 in parts: 36 samples drawn, 42 there before"), "{said}");
    ddim.succeeds(&["run", "m.toml", "--quiet", "--threads", "1", "--out", "parts"]);
    assert_same(&ddim);
    // A run that draws the rest itself ends in the same.
    fs::remove_dir_all(ddim.path("parts")).unwrap();
    shards(&ddim, &[2], 3);
    ddim.succeeds(&["run", "m.toml", "--quiet", "--threads", "1", "--out", "parts"]);
    assert_same(&ddim);
}

#[test]
fn a_merge_names_what_is_missing_and_draws_nothing() {
    let ddim = with_whole(ERRORS);
    let refused = |arguments: &[&str]| ddim.fails(1, &[&["merge", "m.toml"], arguments].concat());
    insta::assert_snapshot!(refused(&["--out", "parts"]), @r"
    error: parts lacks samples of 3 of 3 cells
      #00  solver: ddim  grid.steps: 5: 26 samples
      #01  solver: heun  grid.steps: 5: 26 samples
      #02  solver: adaptive  grid.steps: 5: 26 samples
    `ddim run m.toml --out parts` draws them
    ");
    shards(&ddim, &[2], 3);
    insta::assert_snapshot!(refused(&["--out", "parts"]), @r"
    error: parts lacks samples of 3 of 3 cells
      shard 1/3: 26 samples of #00, #01, #02; `ddim run m.toml --out parts --shard 1/3` draws them
      shard 3/3: 26 samples of #00, #01, #02; `ddim run m.toml --out parts --shard 3/3` draws them
    ");
    // Other settings are other cells.
    let other = refused(&["--set", "seed=1", "--out", "parts"]);
    insta::assert_snapshot!(other, @r"
    error: parts lacks samples of 3 of 3 cells
      shard 1/3: 26 samples of #00, #01, #02; `ddim run m.toml --set seed=1 --out parts --shard 1/3` draws them
      shard 2/3: 26 samples of #00, #01, #02; `ddim run m.toml --set seed=1 --out parts --shard 2/3` draws them
      shard 3/3: 26 samples of #00, #01, #02; `ddim run m.toml --set seed=1 --out parts --shard 3/3` draws them
    3 files of samples there belong to no cell of this manifest: they were drawn with other settings, weights or another kind of device
    ");
    shards(&ddim, &[1, 3], 3);
    merge(&ddim);
    assert_same(&ddim);
}

#[test]
fn a_damaged_file_is_drawn_again_from_its_last_whole_batch_and_said() {
    let ddim = with_whole(ERRORS);
    shards(&ddim, &[1, 2, 3], 3);
    let files = partials(&ddim);
    let damage = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    };
    damage(&files[0], &|bytes| {
        let last = bytes.len() - 40;
        bytes[last] ^= 1;
    });
    damage(&files[1], &|bytes| bytes.extend([0; 500]));
    damage(&files[2], &|bytes| bytes[20] ^= 4);
    damage(&files[3], &|bytes| bytes.truncate(bytes.len() - 1));
    let said = ddim.fails(1, &["merge", "m.toml", "--out", "parts"]);
    assert_eq!(said.matches("damaged at byte").count(), 3, "{said}");
    assert_eq!(said.matches("its header is damaged; it is not used").count(), 1, "{said}");
    let output = ddim.run(&["run", "m.toml", "--threads", "1", "--out", "parts"]);
    let said = ddim.plain(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("warning: parts/partial-").count(), 4, "{said}");
    assert_same(&ddim);
}

/// Starts a shard that takes a while.
fn start(ddim: &Ddim, shard: &str) -> Child {
    let mut command = ddim.command();
    command.args([
        "run",
        "m.toml",
        "--quiet",
        "--threads",
        "1",
        "--out",
        "parts",
        "--shard",
        shard,
    ]);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn wait_for(what: &str, is_there: impl Fn() -> bool) {
    let clock = Instant::now();
    while !is_there() {
        assert!(clock.elapsed() < Duration::from_secs(120), "{what} did not come");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A long cell of small batches.
fn long() -> String {
    DRAWS
        .replace("samples = 32\nbatch = 32", "samples = 1200\nbatch = 20")
        .replace("\"grid.steps\" = [5, 6, 7]", "\"grid.steps\" = [100]")
}

#[test]
fn a_killed_shard_goes_on_and_two_of_the_same_are_refused() {
    let ddim = with_whole(&long());
    let mut child = start(&ddim, "1/2");
    let lock = ddim.path("parts/.lock-1of2");
    let rows = || {
        let files = fs::read_dir(ddim.path("parts")).into_iter().flatten().flatten();
        let sizes = files.filter(|file| file.path().extension().is_some_and(|e| e == "f32"));
        sizes.map(|file| file.metadata().unwrap().len()).sum::<u64>()
    };
    wait_for("a batch", || rows() > 2000);
    // Frozen, it holds its lock for as long as this takes.
    let signal = |name: &str, child: &Child| {
        let id = child.id().to_string();
        assert!(std::process::Command::new("kill").args([name, &id]).status().unwrap().success());
    };
    signal("-STOP", &child);
    let twice = ddim.plain(&shard(&ddim, "1/2", &[]).stderr);
    let owner =
        format!("error: parts is in use by another run (shard 1/2: process {} on ", child.id());
    assert!(twice.starts_with(&owner), "{twice}");
    for alone in [&["run", "m.toml"], &["merge", "m.toml"]] {
        let output = ddim.run(&[&alone[..], &["--quiet", "--out", "parts"]].concat());
        let said = ddim.plain(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("shard 1/2: process") || said.contains("it is running"), "{said}");
    }
    signal("-KILL", &child);
    let ended = child.wait().unwrap();
    assert_eq!(ended.signal(), Some(9));
    assert!(lock.exists(), "a dead process cleans nothing up");
    let before = rows();
    assert!(before > 0);
    shards(&ddim, &[2, 1], 2);
    merge(&ddim);
    assert_same(&ddim);
    assert!(!lock.exists());
}

#[test]
fn a_shard_does_not_run_beside_a_run() {
    let ddim = Ddim::new();
    ddim.write("m.toml", DRAWS);
    fs::create_dir(ddim.path("parts")).unwrap();
    ddim.write("parts/.lock", "process 7 on there, since then");
    let held = File::open(ddim.path("parts/.lock")).unwrap();
    held.lock().unwrap();
    let output = shard(&ddim, "1/2", &[]);
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(ddim.plain(&output.stderr), @"error: parts is in use by another run (process 7 on there, since then); wait for it to end or stop it");
    assert!(!ddim.path("parts/.lock-1of2").exists());
}

#[test]
fn shards_that_are_none_are_refused_when_they_are_read() {
    let ddim = Ddim::new();
    ddim.write("m.toml", DRAWS);
    for (shard, why) in [
        ("0/8", "the shards of 8 are 1/8 to 8/8"),
        ("9/8", "the shards of 8 are 1/8 to 8/8"),
        ("1/1001", "there are 1 to 1000 shards, not 1001"),
        ("2", "write it as 2/8: the second of eight"),
        ("2/b", "write it as 2/8: the second of eight"),
    ] {
        let said = ddim.refuses(&["run", "m.toml", "--shard", shard]);
        assert!(said.contains(why), "{shard}: {said}");
    }
    let both = ddim.refuses(&["run", "m.toml", "--shard", "1/2", "--fresh"]);
    assert!(both.contains("cannot be used with"), "{both}");
    let none = ddim.refuses(&["run", "m.toml", "--devices", "cpu,gpu"]);
    assert!(none.contains("give GPUs by their index, 0,1, or cpu"), "{none}");
    let none = ddim.refuses(&["run", "m.toml", "--device", "cuda:x"]);
    insta::assert_snapshot!(none, @"error: --device cuda:x: give cpu, cuda, or cuda:N for the GPU N");
}

#[test]
fn the_times_are_the_shards_and_so_is_the_provenance() {
    let ddim = with_whole(ERRORS);
    shards(&ddim, &[1, 2, 3], 3);
    let json = |text: &str| -> serde_json::Value { serde_json::from_str(text).unwrap() };
    let mut own = json(&ddim.text("parts/provenance-2of3.json"));
    assert!(own["host"].is_string() && own["threads"] == 1, "{own}");
    own["commit"] = "another".into();
    own["smaller_batches"] = json(r#"{"0123456789abcdef": ["of another cell"]}"#);
    ddim.write("parts/provenance-2of3.json", own.to_string());
    let said = ddim.says(&["merge", "m.toml", "--threads", "2", "--out", "parts"]).1;
    assert!(said.contains("note: the shards differ in `commit`: "), "{said}");
    assert!(said.contains("another (2/3)"), "{said}");
    let merged = json(&ddim.text("parts/provenance.json"));
    let names: Vec<&String> = merged["shards"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["1/3", "2/3", "3/3"]);
    assert_eq!(merged["shards"]["2/3"]["commit"], "another");
    assert_eq!(merged.get("smaller_batches"), None);
    assert!(merged["remarks"][0].as_str().unwrap().contains("differ in `commit`"));
    assert!(!ddim.path("parts/provenance-2of3.json").exists());
    // In the report, a line for each shard.
    assert!(ddim.text("parts/report.html").contains("shards: 2/3"));
    let timings = read_timing(&ddim.path("parts/timing.csv")).unwrap();
    assert_eq!(timings.len(), 3);
    for timing in timings {
        assert_eq!(timing.threads, 1, "the merge has two threads, and drew nothing");
        assert!(timing.seconds > 0.0 && timing.seconds_per_sample_call > 0.0);
    }
    // The next run in the folder keeps what is known of its cells.
    ddim.succeeds(&["run", "m.toml", "--quiet", "--set", "metrics.blocks=5", "--out", "parts"]);
    ddim.succeeds(&["run", "m.toml", "--quiet", "--fresh", "--out", "parts"]);
    assert_eq!(json(&ddim.text("parts/provenance.json")).get("shards"), None);
}

#[test]
fn cells_that_share_a_solution_have_the_same_share() {
    let ddim = with_whole(SOLVED);
    shards(&ddim, &[1], 3);
    let status = ["submit", "m.toml", "--shards", "3", "--out", "parts", "--status"];
    let status = ddim.succeeds(&status);
    // Of four batches, the first of three shards has one of every cell.
    assert!(status.starts_with("shard 1/3  3 of 3 batches  done\n"), "{status}");
    assert_eq!(status.matches("  1 of 4 batches\n").count(), 3, "{status}");
}

#[test]
fn a_lost_strip_is_drawn_again_by_the_shard_it_belongs_to() {
    let ddim = with_whole(ERRORS);
    shards(&ddim, &[1, 2, 3], 3);
    fs::remove_dir_all(ddim.path("parts/strips")).unwrap();
    shards(&ddim, &[1, 2, 3], 3);
    merge(&ddim);
    assert_same(&ddim);
}

#[test]
fn devices_of_one_machine_are_shards_and_a_merge() {
    let ddim = with_whole(ERRORS);
    let arguments = ["run", "m.toml", "--threads", "1", "--devices", "cpu,cpu", "--out", "parts"];
    let (printed, said) = ddim.says(&arguments);
    assert_same(&ddim);
    assert!(said.contains("[1/2 cpu] #00") && said.contains("[2/2 cpu] #00"), "{said}");
    assert_eq!(printed, ddim.succeeds(&["run", "m.toml", "--quiet", "--out", "whole"]).trim_end());
    // A folder of other cells is refused before anything starts.
    ddim.succeeds(&["run", "m.toml", "--quiet"]);
    let other = ["run", "m.toml", "--quiet", "--seed", "1"];
    let refused = ddim.refuses(&[&other[..], &["--devices", "cpu,cpu"]].concat());
    assert!(refused.contains("results/s holds 3 finished cells with other settings"), "{refused}");
    assert_eq!(refused, ddim.refuses(&[&other[..], &["--shard", "1/2"]].concat()));
    let submit = ["submit", "m.toml", "--seed", "1", "--shards", "2", "--print"];
    assert_eq!(refused, ddim.refuses(&submit));
    // One that fails is named, and the other finishes.
    fs::remove_dir_all(ddim.path("parts")).unwrap();
    fs::create_dir(ddim.path("parts")).unwrap();
    ddim.write("parts/.lock-1of2", "process 7 on there, since then");
    let held = File::open(ddim.path("parts/.lock-1of2")).unwrap();
    held.lock().unwrap();
    let output = ddim.run(&arguments);
    let said = ddim.plain(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("[1/2 cpu] error: parts is in use by another run"), "{said}");
    let last = said.lines().last().unwrap();
    assert_eq!(
        last,
        "error: shard 1/2 on cpu ended with exit status: 1; what was drawn is kept, and the same command continues"
    );
    drop(held);
    ddim.succeeds(&arguments);
    assert_same(&ddim);
}

#[test]
fn an_interruption_reaches_every_device() {
    let ddim = Ddim::new();
    ddim.write("m.toml", long().replace("[100]", "[1000]"));
    let mut command = ddim.command();
    command.args(["run", "m.toml", "--threads", "1", "--devices", "cpu,cpu", "--out", "parts"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("two shards", || {
        ["1of2", "2of2"]
            .iter()
            .all(|tag| ddim.path(&format!("parts/provenance-{tag}.json")).exists())
    });
    let id = child.id().to_string();
    std::process::Command::new("kill").args(["-INT", &id]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = ddim.plain(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    for shard in ["1/2", "2/2"] {
        assert!(said.contains(&format!("[{shard} cpu] error: interrupted")), "{said}");
    }
    // Their locks went with them.
    assert!(!ddim.path("parts/.lock-1of2").exists() && !ddim.path("parts/.lock-2of2").exists());
}

#[test]
fn devices_end_with_the_process_that_started_them_and_keep_their_batches() {
    let ddim = with_whole(&long());
    let arguments = ["run", "m.toml", "--threads", "1", "--devices", "cpu,cpu", "--out", "parts"];
    let mut command = ddim.command();
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let is_there = |tag: &str, name: &str| ddim.path(&format!("parts/{name}{tag}")).exists();
    wait_for("two shards", || {
        ["1of2", "2of2"].iter().all(|tag| is_there(&format!("{tag}.json"), "provenance-"))
    });
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    // Nobody is there to read what they say. Their locks go with them: they end in their own time.
    drop(child);
    wait_for("the end of both", || !["1of2", "2of2"].iter().any(|tag| is_there(tag, ".lock-")));
    assert!(!partials(&ddim).is_empty());
    assert!(!ddim.path("parts/metrics.csv").exists());
    ddim.succeeds(&arguments);
    assert_same(&ddim);
}

#[test]
fn scripts_for_slurm_are_printed_and_without_slurm_nothing_is_submitted() {
    let ddim = Ddim::new();
    ddim.write("m.toml", DRAWS);
    let submit = ["submit", "m.toml", "--shards", "3", "--out", "a b"];
    let refused = ddim.command().env("PATH", "/nowhere").args(submit).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    insta::assert_snapshot!(ddim.plain(&refused.stderr), @"error: there is no `sbatch` on this machine: run this where jobs are submitted, on a login node of the cluster");
    let printed = ddim.succeeds(&[&submit[..], &["--print", "--", "--time=5", "-c2"]].concat());
    assert!(!ddim.path("a b").exists(), "--print writes nothing");
    let shown = |text: &str| {
        let program = env!("CARGO_BIN_EXE_ddim");
        ddim.plain(text.replace(program, "[ddim]").as_bytes())
    };
    let hash = printed.split("--job-name=ddim-s-").nth(1).unwrap()[..8].to_owned();
    insta::assert_snapshot!(shown(&printed).replace(&hash, "[hash]"), @r#"
    # [dir]/a b/slurm/shard.sh
    #!/bin/sh
    # A shard of [dir]/a b; `ddim submit` writes and submits this.
    #SBATCH --requeue
    cd [dir] || exit 1
    exec [ddim] run m.toml --out '[dir]/a b' --device cpu --threads "${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-1}}" --shard "$SLURM_ARRAY_TASK_ID/3"

    # [dir]/a b/slurm/merge.sh
    #!/bin/sh
    # The merge of [dir]/a b; `ddim submit` writes and submits this.
    #SBATCH --requeue
    cd [dir] || exit 1
    exec [ddim] merge m.toml --out '[dir]/a b' --device cpu --threads "${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-1}}"

    # to submit them
    array=$(sbatch --parsable --job-name=ddim-s-[hash]-3 '--output=[dir]/a b/slurm/shard-%a-%A.out' --array=1-3 --time=5 -c2 '[dir]/a b/slurm/shard.sh')
    sbatch --parsable --job-name=ddim-s-[hash]-merge '--output=[dir]/a b/slurm/merge-%j.out' --dependency="afterok:${array%%;*}" --kill-on-invalid-dep=yes --time=5 -c2 '[dir]/a b/slurm/merge.sh'
    "#);
    let status = ddim.says(&[&submit[..], &["--status"]].concat());
    insta::assert_snapshot!(status.0, @r"
    shard 1/3  0 of 2 batches  not running
    shard 2/3  0 of 2 batches  not running
    shard 3/3  0 of 2 batches  not running
    #00  grid.steps: 5  solver.eta: 0.0  0 of 1 batches
    #01  grid.steps: 5  solver.eta: 1.0  0 of 1 batches
    #02  grid.steps: 6  solver.eta: 0.0  0 of 1 batches
    #03  grid.steps: 6  solver.eta: 1.0  0 of 1 batches
    #04  grid.steps: 7  solver.eta: 0.0  0 of 1 batches
    #05  grid.steps: 7  solver.eta: 1.0  0 of 1 batches
    merge  samples are missing
    ");
    let refused = ddim.refuses(&[&submit[..], &["--print", "--", "--array=1-2"]].concat());
    insta::assert_snapshot!(refused, @"error: the sbatch option --array=1-2 is ddim's own here; leave it out");
}

/// Programs that stand for Slurm's: `sbatch` notes down its words, and `squeue` lists what a file says.
fn with_slurm(ddim: Ddim) -> Ddim {
    let bin = ddim.path("bin");
    fs::create_dir(&bin).unwrap();
    let program = |name: &str, script: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = bin.join(name);
        fs::write(&path, format!("#!/bin/sh\ncd '{}'\n{script}", ddim.folder().display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    program(
        "sbatch",
        "[ \"$1\" = --version ] && exit 0\necho \"sbatch $*\" >> calls\necho x >> count\nexpr 100 + $(wc -l < count)\n",
    );
    program("squeue", "cat queue 2>/dev/null\nexit 0\n");
    program("scancel", "echo \"scancel $*\" >> calls\n");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    ddim.with("PATH", path)
}

#[test]
fn the_same_command_submits_what_is_neither_finished_nor_in_the_queue() {
    let ddim = with_slurm(with_whole(ERRORS));
    let submit =
        ["submit", "m.toml", "--quiet", "--shards", "3", "--out", "parts", "--", "--time=5"];
    let calls = || {
        let text = fs::read_to_string(ddim.path("calls")).unwrap_or_default();
        let _ = fs::remove_file(ddim.path("calls"));
        let keep = |word: &&str| {
            ["sbatch", "scancel"].contains(word)
                || ["--array", "--dependency", "--time"].iter().any(|name| word.starts_with(name))
                || Path::new(word).extension().is_some_and(|ending| ending == "sh")
                || word.parse::<u64>().is_ok()
        };
        let line = |line: &str| {
            let words: Vec<&str> = line.split(' ').filter(keep).collect();
            words.join(" ").replace(&ddim.folder().display().to_string(), "[dir]")
        };
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    };
    let first = ddim.succeeds(&submit);
    assert_eq!(
        first,
        "submitted 3 of 3 shards as job 101 (1-3)\nsubmitted the merge as job 102, after 101\n"
    );
    let script = ddim.text("parts/slurm/shard.sh");
    let sent = "sbatch --array=1-3 --time=5 [dir]/parts/slurm/shard.sh\n\
                sbatch --dependency=afterok:101 --time=5 [dir]/parts/slurm/merge.sh";
    assert_eq!(calls(), sent);
    // A task runs as Slurm would run it.
    let task = |number: &str| {
        let mut command = ddim.command();
        command.current_dir("/").env("SLURM_ARRAY_TASK_ID", number).env("SLURM_CPUS_PER_TASK", "1");
        let output = command_of(&mut command, &ddim.path("parts/slurm/shard.sh"));
        assert!(output.status.success(), "{script}: {}", ddim.plain(&output.stderr));
    };
    let name = script_name(&ddim);
    // Two are in the queue, one failed, and the merge can never run.
    task("1");
    ddim.write(
        "queue",
        format!("101|2|R|{name}-3|None\n102|N/A|PD|{name}-merge|DependencyNeverSatisfied\n"),
    );
    let again = ddim.succeeds(&submit);
    assert_eq!(
        again,
        "in the queue: 101_2\nsubmitted 1 of 3 shards as job 103 (3)\n\
         submitted the merge as job 104, after 101_2, 103\n"
    );
    let sent = "scancel 102\nsbatch --array=3 --time=5 [dir]/parts/slurm/shard.sh\n\
                sbatch --dependency=afterok:101_2:103 --time=5 [dir]/parts/slurm/merge.sh";
    assert_eq!(calls(), sent);
    let status =
        ddim.succeeds(&["submit", "m.toml", "--shards", "3", "--out", "parts", "--status"]);
    insta::assert_snapshot!(status, @r"
    shard 1/3  7 of 7 batches  done
    shard 2/3  0 of 7 batches  running as 101_2
    shard 3/3  0 of 7 batches  not running
    #00  solver: ddim  grid.steps: 5  2 of 7 batches
    #01  solver: heun  grid.steps: 5  2 of 7 batches
    #02  solver: adaptive  grid.steps: 5  3 of 7 batches
    merge  102 waits for shards that failed: submit again
    ");
    // All are in the queue.
    ddim.write(
        "queue",
        format!(
            "101|2|R|{name}-3|None\n103|3|PD|{name}-3|None\n104|N/A|PD|{name}-merge|Dependency\n"
        ),
    );
    let nothing = ddim.succeeds(&submit);
    assert_eq!(
        nothing,
        "in the queue: 101_2, 103_3\nin the queue: 104, the merge: nothing to submit\n"
    );
    let other = ddim.fails(1, &["submit", "m.toml", "--shards", "4", "--out", "parts"]);
    insta::assert_snapshot!(other, @"error: shard 2/3 of parts is in the queue as 101_2: let it end, or `scancel 101`, before there are 4 shards");
    assert_eq!(calls(), "");
    // Everything is drawn: the merge alone is left.
    ddim.write("queue", "");
    task("2");
    task("3");
    assert_eq!(ddim.succeeds(&submit), "submitted the merge as job 105\n");
    assert_eq!(calls(), "sbatch --time=5 [dir]/parts/slurm/merge.sh");
    let mut command = ddim.command();
    command.current_dir("/").env("SLURM_CPUS_ON_NODE", "1");
    let output = command_of(&mut command, &ddim.path("parts/slurm/merge.sh"));
    assert!(output.status.success(), "{}", ddim.plain(&output.stderr));
    assert_eq!(ddim.succeeds(&submit), "parts is finished: nothing to submit\n");
    assert_eq!(calls(), "");
    fs::remove_dir_all(ddim.path("parts/slurm")).unwrap();
    assert_same(&ddim);
}

/// Runs a script with the variables of a command.
fn command_of(like: &mut std::process::Command, script: &Path) -> Output {
    let mut command = std::process::Command::new("sh");
    command.arg(script).current_dir(like.get_current_dir().unwrap());
    for (name, value) in like.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.output().unwrap()
}

/// What the names of the jobs of `parts` begin with.
fn script_name(ddim: &Ddim) -> String {
    let printed =
        ddim.succeeds(&["submit", "m.toml", "--shards", "3", "--out", "parts", "--print"]);
    let name = printed.split("--job-name=").nth(1).unwrap().split(' ').next().unwrap();
    name.strip_suffix("-3").unwrap().to_owned()
}
