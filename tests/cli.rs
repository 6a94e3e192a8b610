//! The command line as a user meets it: exit codes, messages, files, resumption to the byte.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use ddim::{
    hardware::Hardware,
    manifest::Manifest,
    measure::features::Extractors,
    results::{
        partial::{Layout, Partial, Work},
        record::read_csv,
        sink::read_timing,
    },
    run::{
        assemble::{Models, vocabulary},
        prepared::planned,
        registry::Registry,
        tasks::Pictures,
    },
};
use ndarray::Array2;
use support::program::{Ddim, command, repository};

const GAUSSIAN: &str = r#"
name = "g"
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

[sweep]
"grid.steps" = [5, 10]
noise = [{ label = "eta = 0", "solver.eta" = 0.0 }, { label = "eta = 1", "solver.eta" = 1.0 }]
"#;

/// A small run of the embedded network with everything a run writes.
fn network_manifest() -> String {
    format!(
        r#"
name = "n"
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
"grid.steps" = [3, 4]
noise = [{{ label = "eta = 0", "solver.eta" = 0.0 }}, {{ label = "sigma-hat", "solver.variance" = "sigma-hat", "model.clip_x0" = true }}]
[table]
rows = "noise"
columns = "grid.steps"
value = "fd"
caption = "A test of {{fd}}."
[[claim]]
text = "No noise is best."
source = "nowhere"
check = "lowest"
row = "eta = 0"
columns = ["3", "4"]
[[plot]]
name = "curve"
title = "Which is lower?"
x = "grid.steps"
y = "fd"
series = "noise"
x_label = "steps S"
y_label = "{{fd}}"
"#,
        repository("models/cifar10-small"),
        repository("models/cifar10-features"),
        repository("models/cifar10-features/cifar10-train.safetensors"),
    )
}

#[test]
fn a_run_leaves_everything_and_a_deleted_row_comes_back_to_the_byte() {
    let ddim = Ddim::new();
    ddim.write("n.toml", network_manifest());
    let table = ddim.succeeds(&["run", "n.toml", "--quiet"]);
    assert!(table.contains("sigma-hat"), "{table}");
    for file in [
        "manifest.toml",
        "metrics.csv",
        "timing.csv",
        "table.md",
        "table.tex",
        "curve.svg",
        "curve.png",
        "samples-steps-3.png",
        "samples-steps-4.png",
        "provenance.json",
        "report.html",
    ] {
        assert!(!ddim.read(&format!("results/n/{file}")).is_empty(), "{file}");
    }
    redrawn_to_the_byte(&ddim);
    let metrics = ddim.read("results/n/metrics.csv");
    let text = String::from_utf8(metrics.clone()).unwrap();
    let header = text.lines().next().unwrap();
    // A surrogate names its features everywhere, and is never called FID.
    assert!(header.contains("FD-cifar10-features") && !text.contains("FID"), "{header}");

    let provenance = ddim.read("results/n/provenance.json");
    let timing = ddim.read("results/n/timing.csv");
    ddim.succeeds(&["run", "n.toml", "--quiet"]);
    assert_eq!(ddim.read("results/n/provenance.json"), provenance, "a second call computed");
    assert_eq!(ddim.read("results/n/timing.csv"), timing, "a second call computed");

    // Without its third cell, the run does that cell again and nothing else.
    let rest: Vec<&str> =
        text.lines().enumerate().filter(|(i, _)| *i != 3).map(|(_, line)| line).collect();
    ddim.write("results/n/metrics.csv", format!("{}\n", rest.join("\n")));
    ddim.succeeds(&["run", "n.toml", "--quiet"]);
    assert_eq!(ddim.read("results/n/metrics.csv"), metrics);
    let old = String::from_utf8(timing).unwrap();
    let new = String::from_utf8(ddim.read("results/n/timing.csv")).unwrap();
    let moved: Vec<usize> = (0..5).filter(|&i| old.lines().nth(i) != new.lines().nth(i)).collect();
    assert_eq!(moved, [3]);
}

/// What is drawn from a folder comes out of `table` and `plot` as it came out of the run.
fn redrawn_to_the_byte(ddim: &Ddim) {
    let drawn = ["table.md", "table.tex", "curve.svg", "curve.png", "report.html"];
    let before = drawn.map(|file| ddim.read(&format!("results/n/{file}")));
    for file in drawn {
        fs::remove_file(ddim.path(&format!("results/n/{file}"))).unwrap();
    }
    ddim.succeeds(&["plot", "results/n"]);
    assert!(!ddim.path("results/n/table.md").exists());
    let printed = ddim.succeeds(&["table", "results/n", "--quiet"]);
    assert_eq!(drawn.map(|file| ddim.read(&format!("results/n/{file}"))), before);
    assert_eq!(printed, ddim.succeeds(&["table", "results/n", "--format", "text"]));
    // Elsewhere, the folder stays as it is.
    ddim.succeeds(&["plot", "results/n", "--out", "figures"]);
    assert_eq!(ddim.read("figures/curve.svg"), before[2]);
    // The plot twice, the report, and a sheet of samples for each column.
    assert_eq!(fs::read_dir(ddim.path("figures")).unwrap().count(), 5);
    let sheet = "samples-steps-3.png";
    assert_eq!(ddim.read(&format!("figures/{sheet}")), ddim.read(&format!("results/n/{sheet}")));
    let markdown = ddim.succeeds(&["table", "results/n", "--format", "md"]);
    assert_eq!(markdown.trim_end().as_bytes(), before[0].trim_ascii_end());
}

#[test]
fn a_folder_without_results_ends_in_one_message() {
    let ddim = Ddim::new();
    fs::create_dir(ddim.path("empty")).unwrap();
    ddim.write("g.toml", GAUSSIAN);
    insta::assert_snapshot!(ddim.fails(2, &["plot", "absent"]), @"error: absent does not exist; a results folder is what `ddim run MANIFEST` writes, for instance results/table1");
    insta::assert_snapshot!(ddim.fails(2, &["table", "empty"]), @"error: empty has no manifest.toml and no metrics.csv; a results folder is what `ddim run MANIFEST` writes, for instance results/table1");
    insta::assert_snapshot!(ddim.fails(2, &["plot", "g.toml"]), @"error: g.toml is a file; a results folder is what `ddim run MANIFEST` writes, for instance results/table1");
    ddim.succeeds(&["run", "g.toml", "--quiet"]);
    insta::assert_snapshot!(ddim.fails(2, &["table", "results/g"]), @"error: results/g: its manifest has no [table]; add one there, or see metrics.csv");
    // Without a table there is still a report of the cells.
    let report = String::from_utf8(ddim.read("results/g/report.html")).unwrap();
    assert!(report.contains("<details open>") && report.contains("4 of 4 cells finished"));
}

#[test]
fn a_fresh_run_measures_all_again_and_keeps_the_old_rows_aside() {
    let ddim = Ddim::new();
    ddim.write("g.toml", GAUSSIAN);
    ddim.succeeds(&["run", "g.toml", "--quiet"]);
    let metrics = ddim.read("results/g/metrics.csv");
    // A row that no run writes, under a key that the next one would keep.
    let edited = String::from_utf8(metrics.clone()).unwrap().replacen(",done,", ",diverged,", 1);
    ddim.write("results/g/metrics.csv", &edited);
    ddim.succeeds(&["run", "g.toml", "--quiet"]);
    assert_eq!(ddim.read("results/g/metrics.csv"), edited.as_bytes());
    ddim.succeeds(&["run", "g.toml", "--quiet", "--fresh"]);
    assert_eq!(ddim.read("results/g/metrics.csv"), metrics);
    assert_eq!(ddim.read("results/g/metrics.csv.bak"), edited.as_bytes());
}

#[test]
fn a_fresh_run_deletes_what_was_drawn_of_cells_that_are_gone_and_nothing_else() {
    let ddim = Ddim::new();
    let manifest = |steps: &str, plot: &str| {
        let noise = GAUSSIAN.lines().last().unwrap();
        let shown = format!(
            r#"solver = [{{ label = "euler", "solver.kind" = "euler" }}, {{ label = "heun", "solver.kind" = "heun" }}]
[solution]
kind = "exact"
[metrics]
measures = ["error"]
blocks = 4
[table]
rows = "solver"
columns = "grid.steps"
value = "error"
caption = "A test."
[[plot]]
name = "{plot}"
title = "Which is lower?"
x = "grid.steps"
y = "error"
series = "solver"
x_label = "steps S"
y_label = "error"
"#
        );
        GAUSSIAN.replace(noise, &shown).replace("[5, 10]", steps)
    };
    let files = |folder: &str| {
        let entries = fs::read_dir(ddim.path(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    ddim.write("old.toml", manifest("[5, 10]", "old")).write("new.toml", manifest("[10]", "new"));
    ddim.succeeds(&["run", "old.toml", "--quiet", "--out", "r"]);
    let (first, strips) = (files("r"), files("r/strips"));
    assert!(first.contains("old.svg") && first.contains("samples-steps-5.png"), "{first:?}");
    assert_eq!(strips.len(), 4);
    ddim.write("r/notes.md", "mine").write("r/strips/best.png", "mine").write("r/own.svg", "mine");
    // The same cells keep their files, and a run that goes on deletes nothing.
    ddim.succeeds(&["run", "old.toml", "--quiet", "--out", "r", "--fresh"]);
    ddim.succeeds(&["run", "new.toml", "--quiet", "--out", "r"]);
    assert!(files("r").is_superset(&first) && files("r/strips").is_superset(&strips));
    ddim.succeeds(&["run", "old.toml", "--quiet", "--out", "r"]);
    ddim.succeeds(&["run", "new.toml", "--quiet", "--out", "r", "--fresh"]);
    ddim.succeeds(&["run", "new.toml", "--quiet", "--out", "alone"]);
    let with = |mut names: std::collections::BTreeSet<String>, own: &[&str]| {
        names.extend(own.iter().map(ToString::to_string));
        names
    };
    assert_eq!(files("r"), with(files("alone"), &["notes.md", "own.svg", "metrics.csv.bak"]));
    assert_eq!(files("r/strips"), with(files("alone/strips"), &["best.png"]));
}

#[test]
fn short_forms_are_values_of_the_manifest_and_meet_its_problems() {
    let ddim = Ddim::new();
    ddim.write("g.toml", GAUSSIAN);
    ddim.succeeds(&["run", "g.toml", "--quiet", "--seed", "3", "--precision", "bf16"]);
    let manifest = String::from_utf8(ddim.read("results/g/manifest.toml")).unwrap();
    assert!(manifest.contains("seed = 3") && manifest.contains("bf16"), "{manifest}");
    insta::assert_snapshot!(ddim.fails(2, &["run", "g.toml", "--precision", "f64"]), @r#"
    error: `precision` cannot be `f64`
     --> command line:1:13
      |
    1 | --precision f64
      |             ^^^
      |
      = help: known here: f32, bf16
    "#);
    insta::assert_snapshot!(
        ddim.fails(2, &["check", "g.toml", "--seed", "1", "--set", "seed=2"]), @"error: --seed and --set seed=2 both set seed; use only one of them"
    );
    ddim.write("s.toml", GAUSSIAN.replace("[sweep]", "[sweep]\nseed = [0, 1]"));
    insta::assert_snapshot!(ddim.fails(2, &["run", "s.toml", "--seed", "1"]), @r"
    error: `seed` has no effect: the sweep sets it in every cell
      --> command line:1:8
       |
     1 | --seed 1
       |        ^
       |
      ::: s.toml:20:1
       |
    20 | seed = [0, 1]
       | ---- set by this axis
       |
       = help: change the axis instead: `sweep.seed`
    ");
}

#[test]
fn verbose_says_how_each_cell_went_and_twice_with_every_value() {
    let ddim = Ddim::new();
    ddim.write("g.toml", GAUSSIAN);
    let said = |flag: &str| {
        let output = ddim.run(&["run", "g.toml", "--fresh", flag]);
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let (once, twice) = (said("-v"), said("-vv"));
    assert_eq!(once.matches(" ms per sample and call, key ").count(), 4, "{once}");
    assert_eq!(once.matches(r#"{"seed":0,"#).count(), 0, "{once}");
    assert_eq!(twice.matches(r#"{"seed":0,"#).count(), 4, "{twice}");
    let sample = ["sample", "--model", &repository("models/cifar10-small"), "--steps", "1"];
    let arguments = [&sample[..], &["--tau", "leading", "--out", "a.npy", "-v"]].concat();
    let output = ddim.run(&[&arguments[..], &["--samples", "1"]].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("read weights") && said.contains("wrote a.npy"), "{said}");
    ddim.fails(2, &["run", "g.toml", "-q", "-v"]);
}

#[test]
fn completions_know_every_verb() {
    let ddim = Ddim::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = ddim.succeeds(&["completions", shell]);
        for verb in ["run", "plan", "check", "sample", "stats", "table", "plot"] {
            assert!(script.contains(verb), "{shell} does not know {verb}");
        }
    }
}

#[test]
fn kernel_distances_and_seeds_come_from_the_manifest() {
    let ddim = Ddim::new();
    let manifest = network_manifest()
        .replace("samples = 12", "samples = 8")
        .replace("blocks = 4", "blocks = 4\nmeasures = [\"fd\", \"kid\"]")
        .replace("\"grid.steps\" = [3, 4]", "\"grid.steps\" = [2]\nseed = [0, 1]")
        .replace("[\"3\", \"4\"]", "[\"2\"]")
        .replace("value = \"fd\"", "value = \"kid\"\nover = \"seed\"")
        .replace("A test of {fd}", "A test of {fd} and {kid}");
    ddim.write("n.toml", &manifest);
    ddim.succeeds(&["run", "n.toml", "--quiet"]);
    let text = |name: &str| String::from_utf8(ddim.read(&format!("results/n/{name}"))).unwrap();
    let header = |csv: &str| csv.lines().next().unwrap().to_owned();
    let metrics = text("metrics.csv");
    assert_eq!(metrics.lines().count(), 5);
    for column in ["FD-cifar10-features", "KID-cifar10-features"] {
        let names = header(&metrics);
        assert!(names.split(',').any(|name| name == column), "{column} is not in {names}");
    }
    let table = text("table.md");
    for part in [
        "2: KID-cifar10-features",
        "A test of FD-cifar10-features and KID-cifar10-features.",
        "the mean over seed = 0, 1 of the",
    ] {
        assert!(table.contains(part), "{part} is not in {table}");
    }
    assert_eq!(text("summary.csv").lines().count(), 3);
    assert!(header(&text("summary.csv")).ends_with("KID-cifar10-features.seed=1"));
    // One pair of rows in one column.
    assert_eq!(text("differences.csv").lines().count(), 2);
    ddim.succeeds(&["run", "n.toml", "--quiet"]);
    assert_eq!(text("metrics.csv"), metrics);
}

#[test]
fn the_committed_results_are_those_of_the_shipped_manifest() {
    // Those of the small network: they are the ones that anybody can measure again in a minute.
    let manifest = repository("experiments/table1.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    // Its paths are relative to the package, where cargo runs tests.
    let registry = Registry::shipped();
    let plan = Manifest::parse(manifest, text)
        .unwrap()
        .plan(Some("small"), &[], &vocabulary(&registry))
        .unwrap();
    let hardware = Hardware::open("cpu", Some(1)).unwrap();
    let (mut models, mut extractors) =
        (Models::new(hardware.clone(), &registry), Extractors::new(hardware.clone()));
    let (planned, _) =
        planned(&plan, &mut models, &mut extractors, &mut Pictures::default(), &hardware).unwrap();
    let (_, rows) = read_csv(Path::new("results/table1-small/metrics.csv")).unwrap();
    let found: Vec<_> = rows.into_iter().map(|(_, record)| (record.key, record.params)).collect();
    let expected: Vec<_> = planned.into_iter().map(|cell| (cell.key, cell.params)).collect();
    assert_eq!(found, expected);
}

#[test]
fn an_unfinished_cell_goes_on_at_the_next_batch_and_ends_with_the_same_bytes() {
    let ddim = Ddim::new();
    ddim.write("n.toml", network_manifest());
    ddim.succeeds(&["run", "n.toml", "--quiet", "--out", "whole"]);
    let metrics = ddim.read("whole/metrics.csv");
    let text = String::from_utf8(metrics.clone()).unwrap();
    let key = text.lines().nth(1).unwrap().split(',').nth(1).unwrap();

    // What an interruption after the first batch leaves: four rows of 64 features, and the start of the
    // next batch.
    fs::create_dir(ddim.path("part")).unwrap();
    let header = text.lines().next().unwrap();
    ddim.write("part/metrics.csv", format!("{header}\n"));
    let layout = Layout { key, width: 64, batch: 4, samples: 12 };
    // Rows that no sample has: if they are used, the metrics differ.
    let work = Work { calls: 3, seconds: 100.0, sampling: 50.0, started: 7, threads: 3 };
    let mut begun = Partial::open(&ddim.path("part"), layout, None).unwrap();
    begun.append(&(0..4), &Array2::zeros((4, 64)), work).unwrap();
    drop(begun);
    let partial = Partial::path(&ddim.path("part"), key, None);
    let mut bytes = fs::read(&partial).unwrap();
    bytes.extend([0; 100]);
    fs::write(&partial, bytes).unwrap();
    let said = ddim.says(&["run", "n.toml", "--out", "part"]).1;
    assert!(
        said.contains("warning: part/partial-") && said.contains(": damaged at byte "),
        "{said}"
    );
    let resumed = String::from_utf8(ddim.read("part/metrics.csv")).unwrap();
    assert_ne!(resumed.lines().nth(1), text.lines().nth(1), "the finished batch was not used");
    assert_eq!(resumed.lines().nth(2), text.lines().nth(2));
    assert!(!partial.exists());
    // What the batch took counts too.
    let timing = &read_timing(&ddim.path("part/timing.csv")).unwrap()[0];
    assert!(timing.seconds > 100.0 && timing.started == 7 && timing.threads == 3, "{timing:?}");

    // The same by an older version, which kept rows and no more.
    fs::create_dir(ddim.path("older")).unwrap();
    ddim.write("older/metrics.csv", format!("{header}\n"));
    let older = Partial::path(&ddim.path("older"), key, None);
    fs::write(&older, vec![0_u8; 4 * 65 * 4]).unwrap();
    let said = ddim.says(&["run", "n.toml", "--out", "older"]).1;
    assert!(said.contains("it has no header that this version knows"), "{said}");
    assert_eq!(ddim.read("older/metrics.csv"), metrics);
    assert!(!older.exists());
}

#[test]
fn the_calls_of_a_method_that_chooses_its_steps_are_counted_and_not_planned() {
    let ddim = Ddim::new();
    let manifest = GAUSSIAN.replace(r#"kind = "ddim""#, r#"kind = "dormand-prince""#);
    ddim.write("g.toml", manifest.split("noise = ").next().unwrap());
    let planned = ddim.succeeds(&["plan", "g.toml"]);
    ddim.succeeds(&["run", "g.toml", "--quiet"]);
    let metrics = String::from_utf8(ddim.read("results/g/metrics.csv")).unwrap();
    let calls: u64 = metrics.lines().nth(1).unwrap().split(',').nth(6).unwrap().parse().unwrap();
    assert!(calls > 5 * 7, "{metrics}");
    assert!(!planned.contains(&format!("{calls} calls")), "{planned}");
}

#[test]
fn exact_score_models_run_without_metrics_and_diverged_cells_are_rows() {
    let ddim = Ddim::new();
    ddim.write("g.toml", GAUSSIAN);
    ddim.succeeds(&["run", "g.toml", "--quiet"]);
    let metrics = String::from_utf8(ddim.read("results/g/metrics.csv")).unwrap();
    assert_eq!(metrics.lines().count(), 5);
    assert!(metrics.lines().skip(1).all(|line| line.contains("done")), "{metrics}");
}

#[test]
fn samples_are_float_arrays_that_latents_reproduce() {
    let ddim = Ddim::new();
    let exact =
        ["sample", "--model", "gaussian", "--mean", "0.3", "--std", "0", "--shape", "3,8,8"];
    let flags = |more: &[&'static str]| -> Vec<&str> {
        let mut flags: Vec<&str> = exact.to_vec();
        flags[6] = "0.5";
        flags.extend(more);
        flags
    };
    ddim.succeeds(&flags(&[
        "--solver",
        "heun",
        "--steps",
        "10",
        "--samples",
        "5",
        "--out",
        "a.npy",
        "--out",
        "a.png",
    ]));
    let a = ddim::data::npy::read_images(&ddim.path("a.npy")).unwrap();
    assert_eq!(a.shape(), [5, 3, 8, 8]);
    assert!(image::open(ddim.path("a.png")).unwrap().width() > 16);
    // One batch or five, the same bytes.
    ddim.succeeds(&flags(&[
        "--solver",
        "heun",
        "--steps",
        "10",
        "--samples",
        "5",
        "--batch",
        "1",
        "--out",
        "b.npy",
    ]));
    assert_eq!(ddim.read("a.npy"), ddim.read("b.npy"));
    // Latents in, the same shape out; a deterministic sampler needs no seed then.
    let latents = ndarray::Array4::<f32>::from_elem((2, 3, 8, 8), 0.25);
    ddim::data::npy::write_images(&ddim.path("z.npy"), latents.view()).unwrap();
    for (seed, out) in [("0", "c.npy"), ("1", "d.npy")] {
        let mut arguments = flags(&["--latents", "z.npy", "--steps", "10"]);
        arguments.extend(["--seed", seed, "--out", out]);
        ddim.succeeds(&arguments);
    }
    assert_eq!(ddim.read("c.npy"), ddim.read("d.npy"));
}

#[test]
fn what_a_user_gets_wrong_ends_in_one_message_and_exit_code_2() {
    let ddim = Ddim::new();
    let sample = |more: &[&str]| -> String {
        let mut arguments =
            vec!["sample", "--model", "gaussian", "--shape", "3,8,8", "--mean", "0", "--std", "1"];
        arguments.extend(more);
        ddim.fails(2, &arguments)
    };
    insta::assert_snapshot!(ddim.fails(2, &["run", "absent.toml"]), @"error: cannot read the manifest absent.toml: No such file or directory (os error 2); the manifests that ship with ddim are in experiments/");
    insta::assert_snapshot!(sample(&["--out", "a.jpg"]), @"error: --out a.jpg: images are written as .npy (an array; - is stdout), .png (a grid), or into a new folder (a name without an extension)");
    insta::assert_snapshot!(sample(&["--out", "nowhere/a.npy"]), @"error: --out nowhere/a.npy: the folder nowhere does not exist; create it first");
    insta::assert_snapshot!(sample(&["--steps", "2000", "--out", "a.npy"]), @r"
    error: grid: S = 2000: this tau needs at least 1 and at most T = 1000 steps
     --> command line:1:9
      |
    1 | --steps 2000
      |         ^^^^
      |
      = help: S and tau together decide which levels are visited
    ");
    insta::assert_snapshot!(sample(&["--solver", "hoin", "--out", "a.npy"]), @r#"
    error: there is no solver called `hoin`
     --> command line:1:10
      |
    1 | --solver hoin
      |          ^^^^
      |
      = help: known here: ddim, ddpm, euler, euler-sigma2, heun, rk4, adams-bashforth, plms, deis, dpm-solver, dpm-solver++2m, sde-dpm-solver++2m, unipc-bh1, unipc-bh2, edm, gddim, euler-maruyama, multinomial, dormand-prince
    "#);
    insta::assert_snapshot!(sample(&["--eta", "5", "--out", "a.npy"]), @r"
    error: eta = 5 is too large: the step from t = 20 to t = 0 allows 1.008028 at most
     --> command line:1:7
      |
    1 | --eta 5
      |       ^
      |
      = help: the variance of a step cannot exceed 1 - alpha_bar at its end
    ");
    insta::assert_snapshot!(sample(&["--latents", "absent.npy", "--out", "a.npy"]), @"error: cannot read absent.npy: No such file or directory (os error 2)");
    insta::assert_snapshot!(sample(&["--threads", "0", "--out", "a.npy"]), @"error: --threads 0: give a number from 1 to 1024");
    insta::assert_snapshot!(sample(&["--device", "tpu", "--out", "a.npy"]), @"error: --device tpu: give cpu, cuda, or cuda:N for the GPU N");
    insta::assert_snapshot!(
        ddim.fails(2, &["sample", "--model", "./absent", "--out", "a.npy"]), @r#"
    error: model.source = "./absent" does not exist (paths are relative to the folder the command runs in)
     --> command line:1:9
      |
    1 | --model ./absent
      |         ^^^^^^^^
      |
      = help: weights are a diffusers folder, a file (safetensors, .ckpt, .pth, TorchScript, .pt2), or `hf:owner/name`, which is downloaded; the CIFAR-10 weights of the paper are ema_diffusion_cifar10_model/model-790000.ckpt of pesser/pytorch_diffusion (md5 1fa350b952534ae442b1d5235cce5cd3); embedded: models/cifar10
    "#
    );
    fs::create_dir(ddim.path("empty")).unwrap();
    insta::assert_snapshot!(
        ddim.fails(2, &["sample", "--model", "./empty", "--out", "a.npy"]), @"error: ./empty holds no config.json and no diffusion_pytorch_model.safetensors; a model is a folder with both, as diffusers' save_pretrained writes it, or a single file of weights"
    );
    assert_eq!(fs::read_dir(ddim.folder()).unwrap().count(), 1, "something was half-written");
}

#[test]
fn the_shipped_manifests_are_right_and_the_paper_profile_says_what_it_lacks() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ddim = |arguments: &[&str]| command().args(arguments).output().unwrap();
    let shipped = fs::read_dir(repository.join("experiments")).unwrap();
    for manifest in shipped.map(|entry| entry.unwrap().path()) {
        if manifest.extension().is_some_and(|extension| extension == "toml") {
            let output = ddim(&["check", &manifest.display().to_string()]);
            let text = String::from_utf8_lossy(&output.stderr);
            if ["table1-celeba", "table3-lsun", "nll", "nll-ode"]
                .iter()
                .any(|name| manifest.ends_with(format!("{name}.toml")))
            {
                // Nothing embedded stands in for what these measure: all they lack is files.
                let problems: Vec<&str> =
                    text.lines().filter(|line| line.starts_with("error")).collect();
                let lacks = |line: &&str| {
                    line.contains("does not exist") || line.contains("is not on this machine")
                };
                assert!(!problems.is_empty() && problems.iter().all(lacks), "{text}");
            } else {
                assert!(output.status.success(), "{text}");
            }
        }
    }
    let output = ddim(&["check", "experiments/table1.toml", "--profile", "paper"]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stderr), @r#"
    error: model.source = "weights/ema_diffusion_cifar10_model/model-790000.ckpt" does not exist (paths are relative to the folder the command runs in)
      --> experiments/table1.toml:81:10
       |
    81 | source = "weights/ema_diffusion_cifar10_model/model-790000.ckpt"
       |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: weights are a diffusers folder, a file (safetensors, .ckpt, .pth, TorchScript, .pt2), or `hf:owner/name`, which is downloaded; the CIFAR-10 weights of the paper are ema_diffusion_cifar10_model/model-790000.ckpt of pesser/pytorch_diffusion (md5 1fa350b952534ae442b1d5235cce5cd3); embedded: models/cifar10

    error: inception is not on this machine: looked in DDIM_DATA (not set) and /no/cache/ddim; fetch https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth (sha256 6726825d...) and put it at /no/cache/ddim/inception/pt_inception-2015-12-05-6726825d.pth, or let `ddim stats --features inception --download` do it; DDIM_DATA may name a folder that has it
      --> experiments/table1.toml:90:12
       |
    90 | features = "inception"
       |            ^^^^^^^^^^^
       |
       = help: FID needs these weights; a folder like models/cifar10-features needs no download, and its distance is not called FID

    error: metrics.reference = "weights/inception-cifar10-train.safetensors" does not exist
      --> experiments/table1.toml:91:13
       |
    91 | reference = "weights/inception-cifar10-train.safetensors"
       |             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: `ddim stats --data SET --features inception --out weights/inception-cifar10-train.safetensors` writes it from a data set
    "#);
}

#[test]
fn the_help_is_what_was_reviewed() {
    let ddim = Ddim::new();
    insta::assert_snapshot!("help", ddim.succeeds(&["--help"]));
    for verb in [
        "run",
        "merge",
        "submit",
        "plan",
        "check",
        "sample",
        "encode",
        "decode",
        "reconstruct",
        "interpolate",
        "bits",
        "tau",
        "speed",
        "stats",
        "evaluate",
        "train",
        "models",
        "inspect",
        "convert",
        "compile",
        "table",
        "plot",
        "completions",
        "solvers",
        "taus",
        "metrics",
        "manifest",
    ] {
        insta::assert_snapshot!(format!("help-{verb}"), ddim.succeeds(&[verb, "--help"]));
    }
}

#[test]
fn finished_cells_of_other_settings_are_never_replaced_unasked() {
    let ddim = Ddim::new();
    ddim.write("g.toml", GAUSSIAN);
    ddim.succeeds(&["run", "g.toml", "--quiet"]);
    let metrics = ddim.read("results/g/metrics.csv");
    insta::assert_snapshot!(ddim.fails(2, &["run", "g.toml", "--set", "samples=4"]), @"error: results/g holds 4 finished cells with other settings, which this run would replace. Use --out results/g-2 for another folder, --fresh to measure everything again, or --out results/g to keep the cells that both have; the other rows go to metrics.csv.bak");
    assert_eq!(ddim.read("results/g/metrics.csv"), metrics);
    assert!(!ddim.path("results/g/metrics.csv.bak").exists());
    ddim.succeeds(&["run", "g.toml", "--set", "samples=4", "--quiet", "--out", "results/g-2"]);
    // More cells replace none.
    ddim.succeeds(&["run", "g.toml", "--quiet", "--set", "sweep.grid.steps=[5, 10, 20]"]);
    assert_eq!(String::from_utf8(ddim.read("results/g/metrics.csv")).unwrap().lines().count(), 7);
    let said = |arguments: &[&str]| String::from_utf8(ddim.run(arguments).stderr).unwrap();
    let again = said(&["run", "g.toml", "--set", "sweep.grid.steps=[5, 10, 20]"]);
    assert!(
        again.contains("6 of 6 cells already finished; tables and plots drawn again"),
        "{again}"
    );
    let kept = said(&["run", "g.toml", "--out", "results/g"]);
    assert!(kept.contains("4 of 4 cells already finished"), "{kept}");
    assert!(kept.contains("results/g: 2 rows of other cells are in metrics.csv.bak"), "{kept}");
    ddim.succeeds(&["run", "g.toml", "--set", "samples=4", "--quiet", "--fresh"]);
}

#[test]
fn a_run_over_committed_files_says_how_they_come_back() {
    let ddim = Ddim::new();
    ddim.write("g.toml", GAUSSIAN);
    ddim.succeeds(&["run", "g.toml", "--quiet"]);
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        assert!(command.current_dir(ddim.folder()).args(arguments).status().unwrap().success());
    };
    git(&["init", "--quiet"]);
    git(&["add", "results"]);
    let said = |arguments: &[&str]| String::from_utf8(ddim.run(arguments).stderr).unwrap();
    let line = "results/g is under version control: `git restore results/g` undoes what this run overwrites";
    let fresh = said(&["run", "g.toml", "--fresh"]);
    assert!(fresh.contains(line), "{fresh}");
    assert!(!said(&["run", "g.toml"]).contains("git restore"));
    assert!(!said(&["run", "g.toml", "--out", "new"]).contains("git restore"));
}

#[test]
fn a_plan_is_also_json() {
    let ddim = Ddim::new();
    ddim.write("g.toml", GAUSSIAN);
    let plan: serde_json::Value =
        serde_json::from_str(&ddim.succeeds(&["plan", "g.toml", "--json"])).unwrap();
    assert_eq!(plan["name"], "g");
    assert_eq!(plan["cells"].as_array().unwrap().len(), 4);
    assert_eq!(plan["cells"][2]["params"]["grid.steps"], "10");
    assert_eq!(
        (plan["cells"][0]["calls"].as_u64(), plan["cells"][0]["samples"].as_u64()),
        (Some(5), Some(8))
    );
    assert!(!ddim.path("results").exists());
}

#[test]
fn a_plan_counts_the_reference_solution_once_for_the_cells_that_share_it() {
    let ddim = Ddim::new();
    let solution = "[metrics]\nmeasures = [\"error\"]\nblocks = 4\n[solution]\nkind = \"ddim\"\n\
                 tau = \"official-uniform\"\nsteps = 1000\n[sweep]\n\"grid.steps\" = [5, 10]\n";
    let (base, _) = GAUSSIAN.split_once("[sweep]").unwrap();
    ddim.write("g.toml", format!("{base}{solution}"));
    let plan = ddim.succeeds(&["plan", "g.toml"]);
    assert!(
        plan.contains("reference solution of 2 cells, computed once  1000 calls x 8"),
        "{plan}"
    );
}

#[test]
fn names_are_listed_completed_and_found() {
    let ddim = Ddim::new();
    let solvers = ddim.succeeds(&["solvers"]);
    for name in Registry::shipped().kinds() {
        assert!(solvers.lines().any(|line| line.starts_with(&name.name)), "{solvers}");
    }
    insta::assert_snapshot!("taus", ddim.succeeds(&["taus"]));
    let metrics: serde_json::Value =
        serde_json::from_str(&ddim.succeeds(&["metrics", "--json"])).unwrap();
    assert_eq!(
        (&metrics[0]["name"], &metrics[0]["needs"]),
        (&"fd".into(), &"features, reference".into())
    );
    assert!(ddim.succeeds(&["sample", "--help"]).contains("sde-dpm-solver++2m"));
    for shell in ["bash", "zsh", "fish"] {
        let script = ddim.succeeds(&["completions", shell]);
        assert!(script.contains("dpm-solver++2m") && script.contains("log-snr"), "{shell}");
    }
    let sample = ["sample", "--model", "gaussian", "--shape", "3,8,8", "--mean", "0", "--std", "1"];
    let refused = |solver: &str| {
        ddim.fails(2, &[&sample[..], &["--solver", solver, "--out", "a.npy"]].concat())
    };
    assert!(refused("dpmsolver++").contains("help: it is `dpm-solver++2m` here"));
    assert!(refused("euler_a").contains("help: it is `ddim` here, with `eta = 1`: the same step"));
    assert!(refused("LCMScheduler").contains("help: not available here; the nearest is `ddim`"));
}

#[test]
fn the_projects_own_models_are_found_by_name_from_any_folder_and_give_one_key() {
    let ddim = Ddim::new();
    let manifest = network_manifest().replace(&repository("models/"), "models/");
    let manifest = manifest.replace("[3, 4]", "[2]").replace("[\"3\", \"4\"]", "[\"2\"]");
    ddim.write("path.toml", &manifest);
    ddim.write("name.toml", manifest.replace("\"models/cifar10-small\"", "\"cifar10-small\""));
    ddim.succeeds(&["run", "path.toml", "--quiet", "--out", "path"]);
    ddim.succeeds(&["run", "name.toml", "--quiet", "--out", "name"]);
    // Where the models themselves are, by another way.
    fs::create_dir(ddim.path("home")).unwrap();
    std::os::unix::fs::symlink(repository("models"), ddim.path("home/models")).unwrap();
    let run = ["run", "name.toml", "--quiet", "--out", "home-name"];
    let mut elsewhere = ddim.command();
    elsewhere.env("DDIM_HOME", ddim.path("home")).args(run);
    assert!(elsewhere.status().unwrap().success());
    assert_eq!(ddim.read("path/metrics.csv"), ddim.read("name/metrics.csv"));
    assert_eq!(ddim.read("path/metrics.csv"), ddim.read("home-name/metrics.csv"));
    ddim.succeeds(&["table", "name", "--quiet"]);
    assert!(ddim.succeeds(&["inspect", "cifar10-small"]).contains("a46f7b4ab394"));
    let listed = ddim.succeeds(&["models"]);
    assert!(listed.contains("models/cifar10-small"), "{listed}");
    let missing = ddim.fails(2, &["sample", "--model", "models/absent", "--out", "a.npy"]);
    assert!(missing.contains("looked in the folder the command runs in"), "{missing}");
    assert!(missing.contains("DDIM_HOME may name one that has `models/`"), "{missing}");
    let misspelt = ddim.fails(2, &["sample", "--model", "cifar10-smal", "--out", "a.npy"]);
    assert!(misspelt.contains("did you mean `cifar10-small`?"), "{misspelt}");
    // A folder here is a model, too.
    std::os::unix::fs::symlink(repository("models/cifar10-small"), ddim.path("mine")).unwrap();
    ddim.succeeds(&[
        "sample",
        "--model",
        "mine",
        "--steps",
        "1",
        "--samples",
        "1",
        "--out",
        "a.npy",
    ]);
}

/// The program starts again with variables that only matter where it computes.
#[cfg(target_os = "linux")]
#[test]
fn the_verbs_that_compute_run_with_the_variables_of_speed_and_keep_those_that_are_set() {
    let ddim = Ddim::new();
    let exact = ["sample", "--model", "gaussian", "--mean", "0", "--std", "1", "--shape", "1,8,8"];
    let endless = ["--samples", "1000000", "--batch", "8", "--steps", "1000", "--out", "x.npy"];
    let names =
        ["GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"];
    for (policy, expected) in
        [(None, "GOMP_SPINCOUNT=10000"), (Some("active"), "MALLOC_ARENA_MAX=1")]
    {
        let mut command = ddim.command();
        for name in names.iter().chain(&["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"]) {
            command.env_remove(name);
        }
        command.envs(policy.map(|policy| ("OMP_WAIT_POLICY", policy)));
        let mut child = command.args(exact).args(endless).arg("--quiet").spawn().unwrap();
        // The same process before and after it starts again.
        let place = format!("/proc/{}/environ", child.id());
        let begun = Instant::now();
        let environment = loop {
            let found = String::from_utf8_lossy(&fs::read(&place).unwrap()).into_owned();
            if found.contains(expected) || begun.elapsed() > Duration::from_secs(60) {
                break found;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(environment.contains(expected), "{environment}");
        assert_eq!(environment.contains("GOMP_SPINCOUNT"), policy.is_none(), "{environment}");
    }
}
