//! How the program ends: by a signal, by a kill, on a disk or a stream that is full or gone, in a folder
//! that others damage, and beside a model that misbehaves. What was computed is never lost, and nothing
//! that no run wrote gets in.

#![cfg(all(feature = "harness", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use ddim::{
    backends::array::Array,
    core::{At, Denoiser, Error, Grid, KeyedNoise, Level, Noise, Result, integrate},
    solvers::DormandPrince,
};
use insta::assert_snapshot;
use support::{
    golden,
    kills::{self, signal},
    linear,
    program::{Ddim, repository, tree},
};

/// Two cells of tens of batches, with everything that a run writes: about a second.
const LONG: &str = r#"name = "long"
samples = 240
batch = 8
[model]
source = "gaussian"
shape = [3, 16, 16]
mean = 0.1
std = 0.5
[grid]
tau = "linspace"
steps = 100
[solver]
kind = "ddim"
[solution]
kind = "exact"
[metrics]
measures = ["error", "sliced-wasserstein"]
blocks = 8
[sweep]
"grid.steps" = [100, 150, 200]
"solver.kind" = ["ddim"]
[table]
rows = "solver.kind"
columns = "grid.steps"
value = "error"
[[plot]]
name = "curve"
title = "t"
x = "grid.steps"
y = "error"
series = "solver.kind"
x_label = "S"
y_label = "e"
log_y = true
"#;

/// The same with the small network and its features.
fn on_the_network() -> String {
    let text = LONG.replace("\"long\"", "\"net\"").replace("samples = 240", "samples = 48");
    let text = text.replace("[solution]\nkind = \"exact\"\n", "");
    let text = text.replace("shape = [3, 16, 16]\nmean = 0.1\nstd = 0.5\n", "");
    let text = text.replace("\"gaussian\"", &format!("{:?}", repository("models/cifar10-small")));
    let text = text.replace("[100, 150, 200]", "[2, 3]").replace("steps = 100", "steps = 2");
    let text =
        text.replace("batch = 8", "batch = 4").replace("tau = \"linspace\"", "tau = \"leading\"");
    let features = repository("models/cifar10-features");
    let measured = format!(
        "measures = [\"fd\"]\nfeatures = {features:?}\nreference = \"{features}/cifar10-train.safetensors\""
    );
    let text = text.replace("measures = [\"error\", \"sliced-wasserstein\"]", &measured);
    text.replace("\"error\"", "\"fd\"")
}

/// Two samples of a program of `tests/golden`, in f32.
fn on_the_program(name: &str, more: &str) -> String {
    let source = golden(name).display().to_string();
    format!(
        "name = \"p\"\nsamples = 4\nbatch = 2\n[model]\nsource = {source:?}\nshape = [3, 8, 8]\n\
         [grid]\ntau = \"leading\"\nsteps = 4\n[solver]\nkind = \"ddim\"\n{more}"
    )
}

fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until something is so; the program must not end before.
fn until(child: &mut Child, what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < Duration::from_secs(120), "it never came to that");
        if let Some(status) = child.try_wait().unwrap() {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("it ended too early ({status}): {said}");
        }
        sleep(Duration::from_millis(2));
    }
}

/// The file of a cell's finished batches, if there is one with anything in it.
fn partial(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let mut partials = entries.filter(|entry| {
        let name = entry.file_name().into_string().unwrap();
        name.starts_with("partial-") && entry.metadata().is_ok_and(|found| found.len() > 200)
    });
    Some(partials.next()?.path())
}

/// How many rows `metrics.csv` has.
fn rows(folder: &Path) -> usize {
    fs::read_to_string(folder.join("metrics.csv")).map_or(0, |text| text.lines().count().max(1) - 1)
}

fn ended(child: Child) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// The files of a results folder that are the same however it came about, and no other file.
fn outcome(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let times = ["timing.csv", "provenance.json", "report.html"];
    let mut files = BTreeMap::new();
    for (path, bytes) in tree(folder) {
        let name = path.strip_prefix(folder).unwrap().to_owned();
        if let Some(bytes) = bytes
            && !times.iter().any(|time| name.ends_with(time))
        {
            files.insert(name, bytes);
        }
    }
    files
}

fn same(found: &BTreeMap<PathBuf, Vec<u8>>, expected: &BTreeMap<PathBuf, Vec<u8>>) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, bytes) in expected {
        assert!(found[name] == *bytes, "{} differs", name.display());
    }
}

/// A folder with the manifest, and what an undisturbed run makes of it.
fn undisturbed(manifest: &str) -> (Ddim, BTreeMap<PathBuf, Vec<u8>>) {
    let ddim = Ddim::new();
    ddim.write("m.toml", manifest);
    ddim.succeeds(&["run", "m.toml", "--quiet", "--threads", "1", "--out", "whole"]);
    let whole = outcome(&ddim.path("whole"));
    (ddim, whole)
}

const RUN: [&str; 6] = ["run", "m.toml", "--threads", "1", "--out", "r"];

#[test]
fn a_run_that_is_stopped_keeps_its_batch_and_says_how_to_go_on() {
    let (ddim, whole) = undisturbed(&LONG.replace("240", "960"));
    let folder = ddim.path("r");
    for (name, code, said_first) in [("INT", 130, "interrupted"), ("TERM", 143, "SIGTERM")] {
        // Words that a shell would take apart are quoted, and nothing begins anew.
        let words = ["--fresh", "--set", "sweep.\"grid.steps\"=[100, 150, 200]"];
        let mut child = start(ddim.command().args(RUN).args(words));
        until(&mut child, || partial(&folder).is_some());
        signal(&child, name);
        let (status, said) = ended(child);
        assert_eq!(status, Some(code), "{said}");
        let first =
            format!("{said_first}: finishing the batch, which is then kept; once more leaves");
        assert!(said.contains(&first), "{said}");
        let last = said.lines().last().unwrap();
        let program = env!("CARGO_BIN_EXE_ddim");
        let command = "run m.toml --threads 1 --out r --set 'sweep.\"grid.steps\"=[100, 150, 200]'";
        assert_eq!(
            last,
            format!(
                "error: interrupted; finished work is kept; continue with: {program} {command}"
            )
        );
        let kept = partial(&folder).expect("the batches are kept");
        let length = fs::metadata(&kept).unwrap().len();
        assert!(length > 0);
        let words = ["--set", "sweep.\"grid.steps\"=[100, 150, 200]"];
        ddim.succeeds(&[&RUN[..], &words, &["--quiet"]].concat());
        let found = outcome(&folder);
        // But for the manifest, which has been read and written again.
        for name in ["metrics.csv", "table.md", "curve.svg", "curve.png"] {
            assert!(found[Path::new(name)] == whole[Path::new(name)], "{name} differs");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn a_verb_that_keeps_nothing_says_so_and_leaves_nothing() {
    let ddim = Ddim::new();
    let exact =
        ["sample", "--model", "gaussian", "--mean", "0", "--std", "1", "--shape", "3,16,16"];
    let outs = ["--out", "x.npy", "--out", "all", "--samples", "1000000", "--batch", "8"];
    let mut child = start(ddim.command().args(exact).args(outs));
    until(&mut child, || ddim.names().len() == 2);
    signal(&child, "TERM");
    let (status, said) = ended(child);
    assert_eq!((status, ddim.names()), (Some(143), vec![]), "{said}");
    assert_snapshot!(said.trim_end(), @r"
    SIGTERM: stopping after the next step; once more leaves at once
    error: interrupted; nothing was written
    ");
}

/// A program that does not return, and what `ddim` says of it until the call is going on.
fn endless(ddim: &Ddim) -> Child {
    let model = golden("eps_endless.pt").display().to_string();
    let words = ["sample", "--model", &model, "--shape", "3,8,8", "--steps", "2", "--samples", "2"];
    let mut child = start(ddim.command().args(words).args(["--out", "x.npy"]));
    // Its file is begun right before its first call; the second one does not return.
    until(&mut child, || !ddim.names().is_empty());
    sleep(Duration::from_millis(500));
    child
}

#[test]
fn a_model_that_never_returns_is_left_by_one_signal_or_at_once_by_two() {
    let ddim = Ddim::new();
    let child = endless(&ddim);
    signal(&child, "INT");
    let (status, said) = ended(child);
    assert_eq!(status, Some(130), "{said}");
    assert!(said.contains("the model has not returned for 10 s and is not waited for"), "{said}");
    assert!(ddim.names().is_empty(), "{:?}", ddim.names());

    let mut child = endless(&ddim);
    signal(&child, "INT");
    let mut lines =
        BufReader::new(child.stderr.take().unwrap()).lines().map_while(std::result::Result::ok);
    assert!(lines.any(|line| line.ends_with("once more leaves at once")));
    signal(&child, "TERM");
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(rest.is_empty() && ddim.names().is_empty(), "{rest:?} {:?}", ddim.names());
}

#[test]
fn what_a_model_prints_is_no_data() {
    let ddim = Ddim::new();
    let sample = |name: &str| {
        let model = golden(name).display().to_string();
        let words =
            ["sample", "--model", &model, "--shape", "3,8,8", "--steps", "3", "--samples", "2"];
        ddim.run(&[&words[..], &["--out", "-", "--quiet"]].concat())
    };
    let (silent, loud) = (sample("eps.pt"), sample("eps_loud.pt"));
    assert!(silent.status.success() && loud.status.success());
    assert!(silent.stdout == loud.stdout && silent.stdout.starts_with(b"\x93NUMPY"));
    let said = String::from_utf8(loud.stderr).unwrap();
    assert!(said.lines().filter(|line| *line == "the model speaks").count() >= 3, "{said}");
    assert!(silent.stderr.is_empty());
}

/// Verbs with arguments that take a moment; `{name}` is a file of this folder or of the repository.
fn calls(ddim: &Ddim) -> BTreeMap<&'static str, Vec<String>> {
    let model = repository("models/cifar10-small");
    let features = repository("models/cifar10-features");
    fs::create_dir(ddim.path("images")).unwrap();
    for i in 0..40_u32 {
        let image = image::RgbImage::from_fn(32, 32, |x, y| {
            let of = |a: u32| u8::try_from((a * 7 + i * 31) % 256).unwrap();
            image::Rgb([of(x), of(y), of(x * y)])
        });
        image.save(ddim.path(&format!("images/{i}.png"))).unwrap();
    }
    ddim.write("m.toml", LONG.replace("240", "16").replace("[100, 150, 200]", "[2, 3]"));
    let training = "name = \"t\"\ntask = \"denoiser\"\nbatch = 4\n[data]\nsource = \"images\"\n[network]\n\
                    channels = [8, 8]\nlayers = 1\nattention = [1]\ngroups = 4\n[optimiser]\nrate = 1e-3\nwarmup = 8\n\
                    [budget]\nimages = 8\n[watch]\nlog = 8\nsamples = 1\nsteps = 1\n";
    ddim.write("t.toml", training);
    ddim.succeeds(&["run", "m.toml", "--quiet"]);
    let (few, exact) = ("--steps 2 --batch 2", "--model gaussian --mean 0 --std 1 --shape 3,32,32");
    ddim.succeeds(
        &format!("encode images/1.png {exact} {few} --out z.npy --quiet")
            .split_whitespace()
            .collect::<Vec<_>>(),
    );
    let calls = [
        ("run", "run m.toml".to_owned()),
        ("merge", "merge m.toml".to_owned()),
        ("submit", "submit m.toml --shards 2 --print".to_owned()),
        ("plan", "plan m.toml".to_owned()),
        ("check", "check m.toml".to_owned()),
        ("train", "train t.toml --fresh --threads 1".to_owned()),
        ("sample", format!("sample {exact} {few} --samples 2 --out -")),
        ("encode", format!("encode images/1.png {exact} {few} --out -")),
        ("decode", "decode z.npy --out -".to_owned()),
        ("reconstruct", format!("reconstruct images/1.png {exact} {few}")),
        ("interpolate", format!("interpolate --seeds 1,2 {exact} {few} --points 3 --out -")),
        ("bits", format!("bits images/1.png {exact} {few} --variance sigma-hat")),
        ("tau", format!("tau 2 {exact} --steps 4 --samples 2 --out tau.toml")),
        ("speed", format!("speed --model {model} --batch 1 --seconds 0.01 --rounds 3 --steps 1")),
        ("stats", format!("stats --data images --features {features} --out r.safetensors")),
        ("table", "table results/long".to_owned()),
        ("plot", "plot results/long".to_owned()),
        ("completions", "completions bash".to_owned()),
        (
            "evaluate",
            format!(
                "evaluate images --features {features} --reference {features}/cifar10-train.safetensors"
            ),
        ),
        ("models", "models".to_owned()),
        ("solvers", "solvers".to_owned()),
        ("taus", "taus".to_owned()),
        ("metrics", "metrics".to_owned()),
        ("manifest", "manifest".to_owned()),
        ("inspect", format!("inspect {model}")),
        ("convert", format!("convert {model} --out converted")),
        // It needs a Python with torch.
        ("compile", "compile --help".to_owned()),
        ("help", "help run".to_owned()),
    ];
    let words = |line: String| line.split_whitespace().map(str::to_owned).collect();
    calls.into_iter().map(|(verb, line)| (verb, words(line))).collect()
}

/// Every verb of the help, so that a new one is tried too.
fn verbs(ddim: &Ddim) -> BTreeSet<String> {
    let help = ddim.succeeds(&["--help"]);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let verbs = listed.take_while(|line| !line.is_empty());
    let verbs: BTreeSet<String> = verbs
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect();
    assert!(verbs.len() > 20, "{verbs:?}");
    verbs
}

#[test]
fn every_verb_bears_streams_that_are_full_or_closed() {
    let ddim = Ddim::new();
    let calls = calls(&ddim);
    for verb in verbs(&ddim) {
        // A verb without a line here is tried on its help.
        let help = vec![verb.clone(), "--help".to_owned()];
        let words = calls.get(verb.as_str()).unwrap_or(&help);
        let run = |stdout: Stdio, stderr: Stdio| {
            let _ = fs::remove_dir_all(ddim.path("converted"));
            let child = ddim.command().args(words).stdout(stdout).stderr(stderr).spawn().unwrap();
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(!said.contains("panicked") && !said.contains("os error 32"), "{verb}: {said}");
            (output.status.code(), output.stdout, said)
        };
        let (status, data, said) = run(Stdio::piped(), Stdio::piped());
        assert_eq!(status, Some(0), "{verb}: {said}");
        let closed = || Stdio::from(std::io::pipe().unwrap().1);
        let (status, _, _) = run(closed(), closed());
        assert_eq!(status, Some(0), "{verb}, without a reader");
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (status, _, said) = run(full.into(), Stdio::piped());
        let told = said.matches("No space left on device").count();
        let expected = if data.is_empty() { (Some(0), 0) } else { (Some(1), 1) };
        assert_eq!((status, told), expected, "{verb}, full: {said}");
    }
}

#[test]
fn a_folder_that_is_deleted_during_a_run_is_written_again() {
    let (ddim, whole) = undisturbed(&LONG.replace("240", "960"));
    let folder = ddim.path("r");
    let mut child = start(ddim.command().args(RUN));
    until(&mut child, || rows(&folder) == 1 && partial(&folder).is_some());
    while fs::remove_dir_all(&folder).is_err() {}
    let (status, said) = ended(child);
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("warning: r was deleted while this run was at work; it is written again")
    );
    same(&outcome(&folder), &whole);

    // Its finished batches alone: with the next one they are there again, and a kill loses none.
    fs::remove_dir_all(&folder).unwrap();
    let mut child = start(ddim.command().args(RUN));
    until(&mut child, || partial(&folder).is_some());
    let batches = partial(&folder).unwrap();
    let length = || fs::metadata(&batches).map_or(0, |found| found.len());
    let before = length();
    fs::remove_file(&batches).unwrap();
    until(&mut child, || length() > before);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(length() > before);
    let said = ddim.says(&RUN).1;
    assert!(!said.contains("damaged at byte"), "{said}");
    same(&outcome(&folder), &whole);

    // A file in its place is one message, and the next start goes on.
    fs::remove_dir_all(&folder).unwrap();
    let mut child = start(ddim.command().args(RUN).arg("--quiet"));
    until(&mut child, || partial(&folder).is_some());
    while fs::remove_dir_all(&folder).is_err() {}
    fs::write(&folder, "mine").unwrap();
    let (status, said) = ended(child);
    assert_eq!(status, Some(1), "{said}");
    assert_snapshot!(said.trim_end(), @"error: cannot create the results folder r: it is a file; choose another with --out");
    fs::remove_file(&folder).unwrap();
    ddim.succeeds(&RUN);
    same(&outcome(&folder), &whole);
}

/// Runs the program where no file can be longer than so many KiB, which must fail by that; returns what it
/// said.
fn on_a_full_disk(ddim: &Ddim, most: u64, arguments: &[&str]) -> String {
    let mut command = ddim.after(&format!("trap '' XFSZ && ulimit -f {most}"));
    let output = command.args(arguments).output().unwrap();
    let said = ddim.plain(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    // What is measured is printed, whether it can be written to a file or not.
    assert_eq!(output.stdout.is_empty(), arguments[0] != "evaluate", "{arguments:?}");
    said.lines().filter(|line| line.starts_with("error: ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_full_disk_is_one_message_and_what_was_finished_goes_on_to_the_same_bytes() {
    let (ddim, whole) = undisturbed(&LONG.replace("240", "960"));
    let run = [&RUN[..], &["--quiet"]].concat();
    // Room for some batches of the first cell.
    let said = on_a_full_disk(&ddim, 24, &run);
    let file = partial(&ddim.path("r")).unwrap();
    let said = said.replace(file.file_name().unwrap().to_str().unwrap(), "partial-KEY.f32");
    assert_snapshot!(said, @"error: cannot write r/partial-KEY.f32: File too large (os error 27); what is finished is kept: when that is mended, the same command (without --fresh) continues");
    ddim.succeeds(&run);
    same(&outcome(&ddim.path("r")), &whole);
}

#[test]
fn a_training_on_a_full_disk_goes_on_to_the_same_bytes() {
    let ddim = Ddim::new();
    let images = ndarray::Array4::<u8>::from_shape_fn((64, 1, 8, 8), |(n, _, y, x)| {
        u8::try_from((n * 3 + y * 8 + x) % 251).unwrap()
    });
    ndarray_npy::write_npy(ddim.path("x.npy"), &images).unwrap();
    ddim.write(
        "t.toml",
        "name = \"t\"\ntask = \"denoiser\"\nbatch = 4\n[data]\nsource = \"x.npy\"\n[network]\n\
         channels = [8, 8]\nlayers = 1\nattention = [1]\ngroups = 4\n[optimiser]\nrate = 1e-3\nwarmup = 8\n\
         [budget]\nimages = 64\n[watch]\nlog = 8\nsamples = 1\nsteps = 1\ncheckpoint = 0.001\n",
    );
    let train = |out: &'static str| ["train", "t.toml", "--threads", "1", "--quiet", "--out", out];
    ddim.succeeds(&train("whole"));
    let said = on_a_full_disk(&ddim, 24, &train("r"));
    assert_snapshot!(said, @"error: cannot write r/checkpoints/000000000004.safetensors: File too large (os error 27); what is finished is kept: when that is mended, the same command (without --fresh) continues");
    ddim.succeeds(&train("r"));
    for name in ["model/diffusion_pytorch_model.safetensors", "loss.csv"] {
        assert!(ddim.read(&format!("r/{name}")) == ddim.read(&format!("whole/{name}")), "{name}");
    }
}

#[test]
fn what_has_no_room_on_a_full_disk_is_named_and_leaves_nothing() {
    let ddim = Ddim::new();
    let features = repository("models/cifar10-features");
    let images = ndarray::Array4::<u8>::from_shape_fn((70, 3, 32, 32), |(n, c, y, x)| {
        u8::try_from((n * n + c * 40 + y * 8 + x * n) % 251).unwrap()
    });
    ndarray_npy::write_npy(ddim.path("x.npy"), &images).unwrap();
    let exact = "sample --model gaussian --mean 0 --std 1 --shape 3,32,32 --steps 2 --quiet --samples 70 --batch 8";
    let stats = format!("stats --data x.npy --features {features} --quiet");
    let evaluate = format!(
        "evaluate x.npy --features {features} --blocks 32 --quiet --reference {features}/cifar10-train.safetensors"
    );
    let mut said = vec![];
    for (words, most, out) in [
        (exact, 64, "--out y.npy"),
        (exact, 0, "--out folder"),
        (exact, 4, "--out grid.png"),
        (&stats, 16, "--out r.safetensors"),
        (&stats, 16, "--out r.npz"),
        (&evaluate, 0, "--csv y.csv"),
    ] {
        let arguments: Vec<&str> = words.split(' ').chain(out.split(' ')).collect();
        said.push(on_a_full_disk(&ddim, most, &arguments));
        let left = ddim.names();
        assert_eq!(left, ["x.npy"], "{arguments:?}");
    }
    let remedy = "; nothing was written: make room, or name another place, and start again";
    assert!(said.iter().all(|said| said.ends_with(remedy)), "{said:?}");
    assert_snapshot!(said.join("\n").replace(remedy, ""), @r"
    error: cannot write y.npy: File too large (os error 27)
    error: cannot write folder: File too large (os error 27)
    error: cannot write grid.png: File too large (os error 27)
    error: cannot write r.safetensors: File too large (os error 27)
    error: cannot write r.npz: File too large (os error 27)
    error: cannot write y.csv: File too large (os error 27)
    ");
}

#[test]
fn the_lock_of_a_run_dies_with_it() {
    let (ddim, whole) = undisturbed(LONG);
    let folder = ddim.path("r");
    let mut child = start(ddim.command().args(RUN));
    until(&mut child, || partial(&folder).is_some());
    let second = ddim.run(&[&RUN[..], &["--quiet"]].concat());
    assert_eq!(second.status.code(), Some(1));
    let said = ddim.plain(&second.stderr);
    let expected = format!("error: r is in use by another run (process {}", child.id());
    assert!(said.starts_with(&expected), "{said}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(folder.join(".lock").exists());
    ddim.succeeds(&RUN);
    same(&outcome(&folder), &whole);
}

fn kill_and_compare(manifest: &str) {
    let begun = Instant::now();
    let (ddim, whole) = undisturbed(manifest);
    let folder = ddim.path("r");
    kills::ended_at_random(
        4,
        begun.elapsed(),
        |anew| {
            if anew {
                let _ = fs::remove_dir_all(&folder);
            }
            start(ddim.command().args(RUN).arg("--quiet"))
        },
        || partial(&folder).is_some(),
        || same(&outcome(&folder), &whole),
    );
}

#[test]
fn runs_that_are_killed_at_random_moments_end_at_the_same_bytes() {
    kill_and_compare(LONG);
}

#[test]
fn runs_of_a_network_that_are_killed_at_random_moments_end_at_the_same_bytes() {
    kill_and_compare(&on_the_network());
}

/// The header and the first row of a file of results, by column.
fn table(text: &str) -> (Vec<String>, Vec<String>) {
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect());
    (lines.next().unwrap(), lines.next().unwrap())
}

/// The text with another value in a column of its first row.
fn edited(text: &str, column: &str, value: &str) -> String {
    let (header, mut row) = table(text);
    let at = header.iter().position(|name| name == column).unwrap();
    value.clone_into(&mut row[at]);
    let rest = text.lines().skip(2).map(str::to_owned);
    let lines = [header.join(","), row.join(",")].into_iter().chain(rest);
    lines.map(|line| line + "\n").collect()
}

#[test]
fn numbers_that_no_run_writes_are_refused_and_nothing_is_drawn_from_them() {
    let ddim = Ddim::new();
    ddim.write("m.toml", LONG.replace("240", "16").replace("[100, 150, 200]", "[2, 3]"));
    let run = ["run", "m.toml", "--quiet"];
    ddim.succeeds(&run);
    let right = ddim.text("results/long/metrics.csv");
    let (header, row) = table(&right);
    let of = |column: &str| row[header.iter().position(|name| name == column).unwrap()].clone();
    let negative = format!("-{}", of("error.se"));
    let fewer = of("error.leave_out").rsplit_once(' ').unwrap().0.to_owned();
    for (column, value, problem) in [
        ("error", "NaN", "`NaN` is no number that is measured"),
        ("error", "inf", "`inf` is no number that is measured"),
        ("error", "1e308", "`1e308` is no number that is measured"),
        ("error", "0.5", "does not follow from the columns `error` and `error.leave_out`"),
        ("error.se", &negative, "does not follow from"),
        ("error.se", "NaN", "does not follow from"),
        ("error.low", &of("error.high"), "does not follow from"),
        ("error.corrected.high", &of("error.corrected.low"), "does not follow from"),
        ("error.leave_out", &fewer, "does not follow from"),
        ("error.leave_out", "NaN NaN", "`NaN` is no number that is measured"),
        ("N", "0", "`0`: it is at least 1"),
        ("S", "0", "`0`: it is at least 1"),
        ("calls", "0", "`0`: it is at least 1"),
        ("status", "diverged", "it has a value although the cell diverged"),
    ] {
        ddim.write("results/long/metrics.csv", edited(&right, column, value));
        let verbs = [&run[..], &["table", "results/long"], &["plot", "results/long"]];
        // All read by one reader.
        let verbs = if value == "NaN" { &verbs[..] } else { &verbs[..1] };
        for verb in verbs {
            let said = ddim.fails(1, verb);
            let place = "error: results/long/metrics.csv:2: column `";
            assert!(said.starts_with(place) && said.contains(problem), "{column} {value}: {said}");
            let remedy =
                "or delete the row: the run then measures that cell again, to the same bytes";
            assert!(said.ends_with(remedy), "{said}");
        }
    }
    ddim.write("results/long/metrics.csv", edited(&right, "error", "0.5"));
    let said = ddim.fails(1, &run);
    assert!(said.contains("metrics.csv:2: column `error.low`: `"), "{said}");
    // Two rows of one cell that differ.
    let (header, twice) = (right.lines().next().unwrap(), right.lines().nth(1).unwrap());
    let other = right.lines().nth(2).unwrap().replace(
        right.lines().nth(2).unwrap().split(',').nth(1).unwrap(),
        twice.split(',').nth(1).unwrap(),
    );
    ddim.write("results/long/metrics.csv", format!("{header}\n{twice}\n{other}\n"));
    let said = ddim.fails(1, &run);
    assert!(said.contains("metrics.csv:3: column `key`: another row has the same key"), "{said}");
    // The remedy.
    let rest = right.lines().enumerate().filter(|(i, _)| *i != 1);
    let rest: Vec<&str> = rest.map(|(_, line)| line).collect();
    ddim.write("results/long/metrics.csv", rest.join("\n") + "\n");
    ddim.succeeds(&run);
    assert_eq!(ddim.text("results/long/metrics.csv"), right);

    let times = ddim.text("results/long/timing.csv");
    for (column, value, problem) in [
        ("seconds", "-1", "`-1` is no time in seconds"),
        ("seconds", "NaN", "`NaN` is no time in seconds"),
        ("seconds_per_sample_call", "inf", "`inf` is no time in seconds"),
        ("threads", "0", "`0`: it is at least 1"),
    ] {
        ddim.write("results/long/timing.csv", edited(&times, column, value));
        for verb in [&run[..], &["plot", "results/long"]] {
            let said = ddim.fails(1, verb);
            let expected =
                format!("error: results/long/timing.csv:2: column `{column}`: {problem}");
            assert!(said.starts_with(&expected), "{said}");
            assert!(said.ends_with("or delete it: times are lost, and nothing is run again"));
        }
    }
    fs::remove_file(ddim.path("results/long/timing.csv")).unwrap();
    ddim.succeeds(&run);
    assert_eq!(ddim.text("results/long/metrics.csv"), right);
    for (name, text) in [("plan.json", "{"), ("provenance.json", "{"), ("manifest.toml", "name = ")]
    {
        let before = ddim.text(&format!("results/long/{name}"));
        ddim.write(&format!("results/long/{name}"), text);
        let said = ddim.fails(2, &["table", "results/long"]);
        assert!(said.contains(&format!("results/long/{name}")), "{said}");
        ddim.write(&format!("results/long/{name}"), before);
    }
}

#[test]
fn what_diverges_is_named_by_solver_step_level_and_sample_and_the_sweep_goes_on() {
    let ddim = Ddim::new();
    // In batches of two, the second sample is not a number below t = 500; alone, none is.
    let sweep = "[sweep]\n\"batch\" = [2, 1]\n";
    ddim.write("m.toml", on_the_program("eps_nan.pt", sweep));
    let (_, said) = ddim.says(&["run", "m.toml"]);
    let at = "ddim diverged at step 2, from t = 250 to t = 0: in sample 1 (counted from 0) the model's \
              output is not finite";
    assert!(said.contains(&format!("\n#00  diverged: {at}\n")), "{said}");
    let metrics = ddim.text("results/p/metrics.csv");
    let (_, row) = table(&metrics);
    assert_eq!(row[2], "diverged");
    assert_eq!(metrics.lines().nth(2).unwrap().split(',').nth(2), Some("done"), "{metrics}");
    let provenance = || -> serde_json::Value {
        serde_json::from_slice(&ddim.read("results/p/provenance.json")).unwrap()
    };
    assert_eq!(provenance()["diverged"][&row[1][..16]], at);
    assert!(partial(&ddim.path("results/p")).is_none());
    // It stays there when another cell is measured again.
    let first: Vec<&str> = metrics.lines().take(2).collect();
    ddim.write("results/p/metrics.csv", first.join("\n") + "\n");
    ddim.succeeds(&["run", "m.toml", "--quiet"]);
    assert_eq!(ddim.text("results/p/metrics.csv"), metrics);
    assert_eq!(provenance()["diverged"][&row[1][..16]], at);

    let model = golden("eps_nan.pt").display().to_string();
    let words =
        ["sample", "--model", &model, "--shape", "3,8,8", "--tau", "leading", "--steps", "4"];
    let more = ["--samples", "4", "--batch", "2", "--quiet", "--out", "x.npy"];
    let said = ddim.fails(1, &[&words[..], &more].concat());
    assert_eq!(said, format!("error: {at}"));
}

/// A model that answers each call with another eps, the more so for its last sample.
struct Fickle(Cell<f64>);

impl Denoiser for Fickle {
    type State = Array;

    fn predict(&self, x: &Array, _: At) -> Result<Array> {
        self.0.set(self.0.get() + 1.0);
        let mut eps = x.mapv(f64::tanh);
        let last = eps.shape()[0] - 1;
        eps.outer_iter_mut().enumerate().for_each(|(row, mut eps)| {
            let share = if row == last { 2e-3 } else { 1e-3 };
            eps.mapv_inplace(|value| value + share * (2.0 * self.0.get()).cos());
        });
        Ok(eps)
    }
}

#[test]
fn an_adaptive_method_gives_up_on_a_model_that_answers_differently_each_time() {
    let solver = DormandPrince::new(1e-9, 1e-9, linear()).unwrap();
    let levels = |t: [f64; 2]| t.map(|t| linear().level(t).unwrap()).to_vec();
    let grid = Grid::from_levels(levels([900.0, 100.0])).unwrap();
    let noise = KeyedNoise { seed: 0, first: 40 };
    let x = noise.draw(&Array::zeros(vec![3, 2]), ddim::core::Draw::Initial).unwrap();
    let model = Fickle(Cell::new(0.0));
    let error = integrate(&solver, &model, &noise, &grid, x, |_, _, _| Ok(())).unwrap_err();
    let Error::Unending { most, from, to, sample, .. } = &error else { panic!("{error}") };
    let Level { t, .. } = from;
    assert_eq!((*most, *t, to.t, *sample), (10_000, 900.0, 100.0, 42));
    assert!(model.0.get() <= 60_001.0);
    assert!(
        error.to_string().starts_with(
            "dormand-prince took 10000 internal steps from t = 900 to t = 100 and stands at sigma = "
        ),
        "{error}"
    );
}
