//! What is printed for users to type, and what is shipped for them to run, works as it stands.
//!
//! Every command in a `sh` block of the README and of `docs/`, and in the examples of every help, is
//! parsed by the real command line and run in a scratch folder with small sizes. Experiments and
//! trainings are checked with the same profile and values; `DDIM_DOCUMENTS=full`, which
//! `scripts/commands-as-printed` sets, runs them too. What is not on this machine may be missing if
//! the command says so; anything else is a failure.
//!
//! `DDIM_DOCUMENTS=write` writes the part of `docs/manifest.md` that `ddim manifest` prints.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use ddim::{
    cli,
    hardware::Hardware,
    manifest::Manifest,
    run::{
        assemble,
        estimate::{CALLS, Estimator},
        registry::Registry,
        runner,
    },
};
use support::program::command;
use tempfile::TempDir;

/// What commands name that only a reader can have.
const READERS_OWN: [&str; 6] = [
    "cifar-10-binary.tar.gz",
    "ckpt.pth",
    "fid_stats.npz",
    "mine.pt",
    "model-790000.ckpt",
    "weights/",
];

/// The folder of files that stand for those of earlier commands.
const MADE: &str = "made";

/// Images that stand for a reader's.
const IMAGES: [&str; 4] = ["a.png", "b.png", "c.png", "d.png"];

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A command and the document it stands in.
#[derive(Debug)]
struct Printed {
    document: String,
    line: String,
}

/// The documents that users read, with their text.
fn documents() -> Vec<(String, String)> {
    let mut paths = vec![repository().join("README.md")];
    if let Ok(entries) = fs::read_dir(repository().join("docs")) {
        paths.extend(entries.map(|entry| entry.unwrap().path()));
    }
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    paths.sort();
    let name = |path: &PathBuf| path.strip_prefix(repository()).unwrap().display().to_string();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The fenced blocks of a language.
fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let (mut blocks, mut open) = (vec![], None::<(bool, Vec<&str>)>);
    for line in markdown.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(found), None) => open = Some((found.trim() == language, vec![])),
            (Some(_), Some((wanted, lines))) => {
                if *wanted {
                    blocks.push(lines.join("\n"));
                }
                open = None;
            }
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => {}
        }
    }
    blocks
}

/// The commands of a block: continued lines joined, comments removed.
fn commands(block: &str) -> Vec<String> {
    let joined = block.replace("\\\n", " ");
    let lines = joined.lines().map(|line| line.split(" #").next().unwrap_or(line).trim());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// Everything that is printed to be typed.
fn printed() -> Vec<Printed> {
    let mut all = vec![];
    for (document, text) in documents() {
        for line in blocks(&text, "sh").iter().flat_map(|block| commands(block)) {
            all.push(Printed { document: document.clone(), line });
        }
    }
    let command = cli::command(&Registry::shipped());
    for verb in std::iter::once(&command).chain(command.get_subcommands()) {
        let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples = help.lines().map(str::trim).filter(|line| line.starts_with("ddim "));
        // A sentence beside an example is set off by spaces.
        let lines = examples.map(|line| line.split("   ").next().unwrap_or(line).to_owned());
        let document = format!("ddim {} --help", verb.get_name());
        all.extend(lines.map(|line| Printed { document: document.clone(), line }));
    }
    all
}

/// The words of a command, up to where a shell would send its output elsewhere.
fn words(line: &str) -> Vec<String> {
    let words = line.split_whitespace().take_while(|word| !["|", ">", "&&", ";"].contains(word));
    words.map(|word| word.trim_matches(['"', '\'']).to_owned()).collect()
}

/// A folder in which commands find what the repository has, and leave what they make.
struct Scratch {
    folder: TempDir,
    full: bool,
}

impl Scratch {
    fn new() -> Self {
        let full = std::env::var("DDIM_DOCUMENTS").is_ok_and(|size| size == "full");
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        symlink(repository().join("models"), at("models")).unwrap();
        fs::create_dir_all(at("training/fashion-mnist")).unwrap();
        let trained = repository().join("models/fashion-mnist");
        symlink(trained, at("training/fashion-mnist/model")).unwrap();
        for name in ["experiments", "examples"] {
            copy(&repository().join(name), &at(name), full);
        }
        copy(&repository().join("results/table1"), &at("results/table1"), false);
        for folder in ["faces", "samples"] {
            fs::create_dir(at(folder)).unwrap();
            (0..40).for_each(|i| draw(&at(&format!("{folder}/{i}.png")), i));
        }
        (1..).zip(IMAGES).for_each(|(i, name)| draw(&at(name), i));
        for toml in documents().iter().flat_map(|(_, text)| blocks(text, "toml")) {
            // The manifest that a reader is told to save.
            if let Some(name) = toml.lines().find_map(|line| line.strip_prefix("name = ")) {
                fs::write(at(&format!("{}.toml", name.trim_matches('"'))), toml).unwrap();
            }
        }
        let scratch = Self { folder, full };
        scratch.make_files();
        scratch
    }

    /// Arrays and latents by the names that commands use, of one size: what an earlier command
    /// would have made if this machine had its data, and of a small model.
    fn make_files(&self) {
        let model = ["--model", "gaussian", "--mean", "0", "--std", "0.4", "--shape", "3,32,32"];
        let made = self.folder.path().join(MADE);
        fs::create_dir(&made).unwrap();
        let run = |verb: &[&str], out: &str| {
            let out = format!("{MADE}/{out}");
            let all = [verb, &model, &["--steps", "10", "--quiet", "--out", &out]].concat();
            self.run(&all.into_iter().map(str::to_owned).collect::<Vec<_>>()).unwrap();
        };
        run(&["encode", "faces"], "z.safetensors");
        for name in ["x0.npy", "noise.npy", "x_T.npy"] {
            run(&["sample", "--samples", "40"], name);
        }
    }

    /// Puts these files back where an earlier command wrote over them.
    fn restore_files(&self) {
        for entry in fs::read_dir(self.folder.path().join(MADE)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, self.folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }

    /// Runs `ddim` and says what went wrong, if it is not that this machine lacks something.
    fn run(&self, arguments: &[String]) -> Result<(), String> {
        let clock = std::time::Instant::now();
        let output = command().current_dir(self.folder.path()).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error")).collect();
        let lacks = |line: &&str| {
            let known = ["is not on this machine", "forbids to download"];
            known.iter().chain(&READERS_OWN).any(|words| line.contains(words))
        };
        let excused = output.status.code() == Some(2) && !errors.is_empty();
        eprintln!("{:.1} s: {}", clock.elapsed().as_secs_f64(), arguments.join(" "));
        if output.status.success() || (excused && errors.iter().all(lacks)) {
            return Ok(());
        }
        Err(format!("ran as {}: {said}", arguments.join(" ")))
    }

    /// What runs in place of a command: itself with small sizes, or the check of what it would do.
    fn reduced(&self, words: &[String]) -> Vec<String> {
        let verb = words[1].as_str();
        let for_a_gpu = words.iter().any(|word| word == "cuda");
        // What takes shards or a cluster is checked in any case.
        let is_shared = ["merge", "submit"].contains(&verb)
            || words.iter().any(|word| ["--shard", "--devices"].contains(&word.as_str()));
        let is_long =
            is_shared || ["run", "train", "plan"].contains(&verb) && (!self.full || for_a_gpu);
        let kept = ["--profile", "--set", "--seed", "--precision"];
        let valued = ["--out", "--threads", "--shard", "--shards", "--devices", "--engine"];
        let mut reduced = vec![if is_long { "check".to_owned() } else { verb.to_owned() }];
        let own = words[2..].iter().take_while(|word| *word != "--");
        let mut rest = own.peekable();
        while let Some(word) = rest.next() {
            let value = word.starts_with("--").then(|| rest.peek().copied().cloned()).flatten();
            let value = value.filter(|value| !value.starts_with("--"));
            if word == "--download" || (word == "--device" && rest.next().is_some()) {
                continue;
            }
            if is_long && word.starts_with('-') {
                if let (true, Some(value)) = (kept.contains(&word.as_str()), value) {
                    reduced.extend([word.clone(), value]);
                    rest.next();
                } else if valued.contains(&word.as_str()) {
                    rest.next();
                }
                continue;
            }
            let small = value.and_then(|value| match (verb, word.as_str()) {
                // As many candidates as it takes, and a model call for each pair of them.
                ("tau", "--steps") => None,
                ("tau", "--samples") => Some("1".to_owned()),
                _ => smaller(word, &value),
            });
            reduced.push(word.clone());
            if let Some(small) = small {
                reduced.push(small);
                rest.next();
            }
        }
        let has_steps = ["sample", "encode", "reconstruct", "interpolate", "bits"].contains(&verb);
        if verb == "speed" {
            reduced.extend(["--rounds", "1", "--seconds", "0.01"].map(String::from));
        }
        if verb == "tau" && !words.iter().any(|word| word == "--steps") {
            reduced.extend(["--steps", "22"].map(String::from));
        }
        if has_steps && !words.iter().any(|word| ["--steps", "--calls"].contains(&word.as_str())) {
            reduced.extend(["--steps", "2"].map(String::from));
        }
        reduced.iter().flat_map(|word| self.expanded(word)).collect()
    }

    /// The files that a pattern means to a shell.
    fn expanded(&self, word: &str) -> Vec<String> {
        let Some((folder, ending)) = word.split_once('*') else { return vec![word.to_owned()] };
        let entries = fs::read_dir(self.folder.path().join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(ending)).collect();
        names.sort();
        names.into_iter().map(|name| format!("{folder}{name}")).collect()
    }
}

/// A value of a flag as small as its meaning allows; none of a flag that says no size.
fn smaller(flag: &str, value: &str) -> Option<String> {
    let at_most = |most: usize| value.parse::<usize>().ok().map(|n| n.min(most).to_string());
    match flag {
        "--steps" => at_most(2),
        "--samples" => at_most(40),
        "--range" => Some("0..2".to_owned()),
        "--batch" if value.parse::<usize>().is_err() => Some("2,3".to_owned()),
        "--batch" => at_most(4),
        "--set" => {
            let (path, _) = value.split_once('=')?;
            let small = match path {
                "samples" => "64",
                "budget.minutes" => "0.02",
                _ => return Some(value.to_owned()),
            };
            Some(format!("{path}={small}"))
        }
        _ => None,
    }
}

/// A picture of 32 x 32 in colour.
fn draw(path: &Path, seed: u32) {
    let byte = |x: u32, y: u32, c: u32| ((seed * 37 + x * (c + 3) + y * 5) * 11).to_le_bytes()[0];
    image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([0, 1, 2].map(|c| byte(x, y, c))))
        .save(path)
        .unwrap();
}

/// Copies a folder; experiments and trainings in it become small ones if they are to be run.
fn copy(from: &Path, to: &Path, small: bool) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target, small);
        } else if small && path.extension().is_some_and(|ending| ending == "toml") {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().map(|line| match line.split_once(" = ") {
                Some((key @ ("samples" | "fd_samples"), _)) => format!("{key} = 64"),
                Some(("images", _)) => "images = 640".to_owned(),
                Some(("minutes", _)) => "minutes = 0.02".to_owned(),
                Some(("warmup", _)) => "warmup = 32".to_owned(),
                _ => line.to_owned(),
            });
            fs::write(target, lines.collect::<Vec<_>>().join("\n")).unwrap();
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn every_printed_command_runs() {
    let printed = printed();
    assert!(printed.len() > 60, "only {} commands were found", printed.len());
    let makefile = fs::read_to_string(repository().join("Makefile")).unwrap();
    let command = cli::command(&Registry::shipped());
    let scratch = Scratch::new();
    let mut failed = vec![];
    for Printed { document, line } in &printed {
        scratch.restore_files();
        let mut words = words(line);
        if words.starts_with(&["cargo".to_owned(), "run".to_owned()]) {
            let at = |word: &str| words.iter().position(|found| found == word);
            let (example, dashes) = (at("--example").unwrap() + 1, at("--").unwrap());
            let path = format!("examples/{}.rs", words[example]);
            assert!(repository().join(&path).exists(), "{document}: {line}: no {path}");
            // Its solver is its own; the rest of its command is not.
            words = [&["ddim".to_owned()], &words[dashes + 1..]].concat();
            if let Err(error) = command.clone().try_get_matches_from(&words) {
                failed.push(format!("{document}: {line}: {error}"));
            }
            continue;
        }
        match words[0].as_str() {
            "ddim" => {
                let parsed = command.clone().try_get_matches_from(&words);
                // What takes a Python that has torch is run by tests/compiled.rs where there is one.
                let compiled = words.iter().any(|word| word == "compile" || word.contains(".pt2"));
                let helped = words.get(1).is_some_and(|word| word == "help");
                let ran = match parsed {
                    Err(error) if !helped => Err(error.to_string()),
                    _ if compiled => Ok(()),
                    _ if helped => scratch.run(&words[1..]),
                    _ => scratch.run(&scratch.reduced(&words)),
                };
                failed.extend(ran.err().map(|why| format!("{document}: {line}\n  {why}")));
            }
            "make" => {
                let target = format!("\n{}:", words[1]);
                assert!(makefile.contains(&target), "{document}: {line}");
            }
            script if script.starts_with("scripts/") => {
                let mode = fs::metadata(repository().join(script)).unwrap().permissions().mode();
                assert!(mode & 0o111 != 0, "{document}: {script} cannot be executed");
            }
            _ => failed.push(format!("{document}: {line}: not a command that is known here")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_shipped_manifest_is_planned_under_every_profile_by_a_few_calls() {
    let registry = Registry::shipped();
    let vocabulary = assemble::vocabulary(&registry);
    let mut estimator = Estimator::new(Hardware::open("cpu", Some(2)).unwrap(), &registry);
    let mut planned = BTreeSet::new();
    for entry in fs::read_dir(repository().join("experiments")).unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let manifest = Manifest::parse(path.display().to_string(), text).unwrap();
        for profile in std::iter::once(None).chain(manifest.profiles().map(Some)) {
            let name = format!("{} {profile:?}", path.file_stem().unwrap().display());
            let plan = manifest.plan(profile, &[], &vocabulary).unwrap();
            let routes = match runner::check(&plan, &registry) {
                Ok(routes) => routes,
                Err(error) => {
                    let text = error.to_string();
                    let errors = text.lines().filter(|line| line.starts_with("error"));
                    let lacks = |line: &str| {
                        line.contains("does not exist") || line.contains("is not on this machine")
                    };
                    assert!(
                        errors.clone().count() > 0 && errors.clone().all(lacks),
                        "{name}: {text}"
                    );
                    continue;
                }
            };
            let estimate =
                estimator.estimate(&plan, &routes).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(estimate.cells.len(), plan.cells.len());
            assert!(estimate.cells.iter().all(|cell| cell.seconds > 0.0), "{name}");
            assert!(serde_json::to_string(&estimate).unwrap().contains(&plan.name));
            planned.insert(path.file_stem().unwrap().to_owned());
        }
    }
    for name in ["table1", "order", "stiffness", "figure5"] {
        assert!(planned.contains(std::ffi::OsStr::new(name)), "{name} was not planned");
    }
    assert_eq!(estimator.calls(), CALLS * estimator.timed() as u64);
}

#[test]
fn what_documents_quote_is_what_is_committed() {
    let mut quoted = 0;
    for (name, text) in documents() {
        for (marker, rest) in text
            .match_indices("<!-- results/")
            .map(|(at, _)| text[at..].split_once(" -->").unwrap())
        {
            let path = marker.trim_start_matches("<!-- ");
            let file = fs::read_to_string(repository().join(path)).unwrap();
            assert!(rest.trim_start().starts_with(file.trim()), "{name} quotes another {path}");
            quoted += 1;
        }
    }
    assert!(quoted > 0);
}

#[test]
fn the_rows_that_documents_quote_are_rows_of_what_is_committed() {
    const MARKER: &str = "<!-- rows of ";
    let mut quoted = 0;
    for (name, text) in documents() {
        for (at, _) in text.match_indices(MARKER) {
            let (path, rest) = text[at + MARKER.len()..].split_once(" -->").unwrap();
            let file = fs::read_to_string(repository().join(path)).unwrap();
            let table = rest.trim_start().lines().take_while(|line| line.starts_with('|'));
            // The header may be the document's own.
            for row in table.skip(2) {
                assert!(file.lines().any(|line| line == row), "{name}: {path} has no row {row}");
                quoted += 1;
            }
        }
    }
    assert!(quoted > 0);
}

#[test]
fn the_keys_of_manifests_are_documented_as_they_are_printed() {
    const BEGIN: &str = "<!-- ddim manifest;";
    const END: &str = "<!-- end of ddim manifest -->";
    let path = repository().join("docs/manifest.md");
    let text = fs::read_to_string(&path).unwrap();
    let start = text.find(BEGIN).unwrap();
    let start = start + text[start..].find('\n').unwrap() + 1;
    let end = text.find(END).unwrap();
    let output = command().arg("manifest").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = format!("\n{}\n", String::from_utf8(output.stdout).unwrap());
    if std::env::var("DDIM_DOCUMENTS").is_ok_and(|what| what == "write") {
        fs::write(&path, format!("{}{printed}{}", &text[..start], &text[end..])).unwrap();
        return;
    }
    let differs = text[start..end].lines().zip(printed.lines()).find(|(here, there)| here != there);
    assert!(
        text[start..end] == printed,
        "docs/manifest.md is not what `ddim manifest` prints; \
         `DDIM_DOCUMENTS=write cargo test --release --test documents the_keys` writes it \
         again. The first difference: {differs:#?}"
    );
}

#[test]
fn the_keys_are_printed_by_section_and_as_data() {
    let run = |arguments: &[&str]| {
        let output = command().arg("manifest").args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let rows = |text: &str| text.lines().filter(|line| line.starts_with("| `")).count();
    let (_, whole, _) = run(&[]);
    let (_, schedule, _) = run(&["--section", "[schedule]"]);
    // That of an experiment and that of a training.
    assert_eq!(schedule.matches("### `[schedule]`").count(), 2);
    assert_eq!(rows(&schedule), 12);
    let (_, json, _) = run(&["--json"]);
    let json: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(json.len(), rows(&whole));
    let depth = json.iter().find(|key| key["key"] == "depth").unwrap();
    assert_eq!(depth["default"], "20");
    assert_eq!(run(&["--section", "gird"]).0, Some(2));
    assert!(run(&["--section", "gird"]).2.contains("did you mean `grid`?"));
}

/// The text without what is quoted as code, in which brackets are not links.
fn prose(markdown: &str) -> String {
    let mut is_code = false;
    let mut prose = String::new();
    for line in markdown.lines() {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        if !is_code && !is_fence {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// The anchors of a document: those of its headings, as GitHub names them, and those it sets itself.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let text = prose(markdown);
    for heading in text.lines().filter(|line| line.starts_with('#')) {
        let heading = heading.trim_start_matches('#').trim();
        // Of a link in a heading, the words count.
        let heading = match heading.split_once("](") {
            Some((words, target)) => {
                format!("{words}{}", target.split_once(')').map_or("", |(_, rest)| rest))
            }
            None => heading.to_owned(),
        };
        let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
        let slug =
            heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-");
        let further = (1..).map(|n| format!("{slug}-{n}"));
        let free = std::iter::once(slug.clone()).chain(further).find(|a| !anchors.contains(a));
        anchors.insert(free.unwrap());
    }
    let set = text.split("<a id=\"").skip(1).filter_map(|rest| rest.split_once('"'));
    anchors.extend(set.map(|(anchor, _)| anchor.to_owned()));
    anchors
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut documents = documents();
    let notes = "paper-notes.md".to_owned();
    documents.push((notes.clone(), fs::read_to_string(repository().join(notes)).unwrap()));
    let (mut broken, mut links) = (vec![], 0);
    for (name, text) in documents {
        let folder = repository().join(&name).parent().unwrap().to_owned();
        for link in prose(&text).split("](").skip(1) {
            let target = link.split(')').next().unwrap().split(' ').next().unwrap();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            links += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() { repository().join(&name) } else { folder.join(path) };
            let leads = if anchor.is_empty() {
                path.exists()
            } else {
                fs::read_to_string(&path).is_ok_and(|text| anchors(&text).contains(anchor))
            };
            if !leads {
                broken.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "these links lead nowhere:\n{}", broken.join("\n"));
    assert!(links > 50, "only {links} links were found");
}

#[test]
fn the_results_that_documents_name_are_there() {
    let mut documents = documents();
    for name in ["paper-notes.md", "CHANGELOG.md"] {
        documents.push((name.to_owned(), fs::read_to_string(repository().join(name)).unwrap()));
    }
    for (name, text) in documents {
        // In back quotes or behind a link; what a reader's own run would make has no folder here.
        for quoted in text.split(['`', '(', ')']).filter(|word| word.starts_with("results/")) {
            let is_path = quoted.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            let path = repository().join(quoted);
            let is_any = quoted.contains("NAME");
            assert!(!is_path || is_any || path.exists(), "{name} names {quoted}, not there");
        }
    }
}
