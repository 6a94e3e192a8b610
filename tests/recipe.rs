//! What a manifest of a training means, and what a reader of a broken one sees.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::too_many_lines, reason = "a case is as long as its message")]

use std::{fs, path::Path};

use assert_cmd::Command;
use ddim::{
    harness::{
        build,
        diagnostic::Diagnostics,
        manifest::Manifest,
        recipe::{Recipe, TaskSpec},
        registry::Registry,
    },
    models::unet_config::UnetConfig,
    train::settings::{Budget, Task},
};
use insta::assert_snapshot;

const DENOISER: &str = r#"name = "small"
task = "denoiser"

[data]
source = "cifar10"

[network]
channels = [32, 64, 64]

[budget]
images = 400_000
"#;

const CLASSIFIER: &str = r#"name = "classes"
task = "classifier"

[data]
source = "cifar10"

[budget]
minutes = 20
"#;

fn read(text: &str, sets: &[&str]) -> Result<Recipe, Diagnostics> {
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    Recipe::parse("small.toml", text, &sets)
}

fn right(text: &str, sets: &[&str]) -> Recipe {
    read(text, sets).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(text: &str) -> String {
    read(text, &[]).expect_err("the manifest is wrong").to_string()
}

/// The problems of `DENOISER` with lines added to its sections.
fn problems_with(section: &str, lines: &str) -> String {
    problems(&with(DENOISER, section, lines))
}

/// A manifest with lines added below the header of a section, or with that section.
fn with(text: &str, section: &str, lines: &str) -> String {
    let header = format!("[{section}]\n");
    if section.is_empty() {
        text.replacen("\n\n", &format!("\n{lines}\n\n"), 1)
    } else if text.contains(&header) {
        text.replace(&header, &format!("{header}{lines}\n"))
    } else {
        format!("{text}\n{header}{lines}\n")
    }
}

fn plain(recipe: &Recipe) -> String {
    format!(
        "seed {} batch {} {:?} ema {}\n{:?}\n{:?}\n{:#?}\n{:?}\n{:?}\n{:?}",
        recipe.seed,
        recipe.batch,
        recipe.precision,
        recipe.ema,
        recipe.data,
        recipe.augmentation,
        recipe.task,
        recipe.optimiser,
        recipe.budget,
        recipe.watch
    )
}

#[test]
fn what_is_not_written_has_these_defaults() {
    assert_snapshot!(plain(&right(DENOISER, &[])), @"");
    assert_snapshot!(plain(&right(CLASSIFIER, &[])), @"");
}

#[test]
fn every_value_reaches_its_place() {
    let text = r#"
        name = "all"
        task = "denoiser"
        seed = 7
        batch = 16
        precision = "bf16"
        data = { source = "faces/", split = "test", exclude = "list.csv", resize = "pad:32", rgb = true, flip = true, shift = 2 }
        network = { channels = [16, 32], layers = 2, attention = [0, 1], groups = 4, dropout = 0.1 }
        schedule = { kind = "cosine", horizon = 500 }
        loss = { target = "v" }
        budget = { minutes = 1.5 }

        [optimiser]
        rate = 1e-3
        warmup = 100
        decay = 0.5
        floor = 0.1
        clip = 2
        weight_decay = 0.01
        beta1 = 0.8
        beta2 = 0.99
        epsilon = 1e-7
        ema = 0.5

        [watch]
        log = 1
        checkpoint = 0.5
        every = 2
        samples = 3
        steps = 4
        features = "a"
        reference = "b"
        fd_samples = 20
    "#;
    assert_snapshot!(plain(&right(text, &[])), @"");
}

#[test]
fn the_network_is_that_of_the_embedded_folder() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/cifar10-xs/config.json");
    let recipe = right(DENOISER, &[]);
    let Task::Denoiser(denoiser) = recipe.settings([3, 32, 32], 10).unwrap().task else {
        panic!("it is a denoiser")
    };
    assert_eq!(denoiser.network, UnetConfig::read(&path).unwrap());
    assert_eq!(denoiser.schedule.horizon(), 1000);
    let Task::Classifier(classifier) =
        right(CLASSIFIER, &[]).settings([3, 32, 32], 10).unwrap().task
    else {
        panic!("it is a classifier")
    };
    assert_eq!((classifier.depth, classifier.classes), (20, 10));
}

#[test]
fn attention_counts_levels_from_the_full_resolution_on_both_ways() {
    let recipe = right(&with(DENOISER, "network", "attention = [0]"), &[]);
    let TaskSpec::Denoiser(spec) = recipe.task else { panic!("it is a denoiser") };
    let config = spec.network.config(1, 28);
    assert_eq!(config.down_attention, [true, false, false]);
    assert_eq!(config.up_attention, [false, false, true]);
    assert_eq!((config.in_channels, config.out_channels, config.sample_size), (1, 1, Some(28)));
}

#[test]
fn images_that_do_not_fit_are_reported_in_the_manifest() {
    let text = with(DENOISER, "data", "shift = 40");
    let distance = "features = \"models/cifar10-features\"\nreference = \"r.safetensors\"";
    let recipe = right(&with(&text, "watch", distance), &[]);
    assert_snapshot!(recipe.settings([1, 30, 30], 10).unwrap_err(), @"");
    assert_snapshot!(recipe.settings([3, 64, 48], 10).unwrap_err(), @"");
    assert_snapshot!(right(CLASSIFIER, &[]).settings([1, 28, 28], 10).unwrap_err(), @"");
}

#[test]
fn arguments_and_profiles_are_laid_over_it_and_kept_in_the_text() {
    let text =
        format!("# What: a test.\n\n{DENOISER}\n[profile.long.budget]\nimages = 4_000_000\n");
    let manifest = Manifest::parse("small.toml", text.clone()).unwrap();
    assert!(manifest.is_training());
    let sets = ["network.groups=16".to_owned(), "seed=3".to_owned()];
    let recipe = Recipe::of(&manifest, Some("long"), &sets).unwrap();
    assert_eq!(recipe.budget, Budget::Images(4_000_000));
    assert_eq!(recipe.profile.as_deref(), Some("long"));
    assert_snapshot!(recipe.to_toml(), @"");
    let again = right(recipe.to_toml(), &[]);
    assert_eq!(plain(&again), plain(&recipe));
    assert_eq!(again.to_toml(), recipe.to_toml());
    // Untouched, the manifest is kept to the byte, profiles included.
    assert_eq!(right(&text, &[]).to_toml(), text);

    assert_snapshot!(read(&text, &["optimiser.rte=1", "profile.long.seed=1"]).unwrap_err(), @"");
    assert_snapshot!(Recipe::of(&manifest, Some("lang"), &[]).unwrap_err(), @"");
    let broken = format!("{DENOISER}\n[profile.long]\nbatch = 0\n");
    assert_snapshot!(problems(&broken), @"");
}

#[test]
fn an_experiment_is_no_training_and_a_training_no_experiment() {
    assert_snapshot!(problems("name = \"a\"\nsamples = 4\n[solver]\nkind = \"ddim\"\n"), @"");
    assert_snapshot!(problems_with("sweep", "batch = [16, 32]"), @"");
    let vocabulary = build::vocabulary(&Registry::shipped());
    let manifest = Manifest::parse("small.toml", DENOISER).unwrap();
    assert!(manifest.plan(None, &[], &vocabulary).is_err());
}

#[test]
fn what_is_missing_is_named_with_what_to_write() {
    assert_snapshot!(problems("[budget]\n"), @"");
    assert_snapshot!(problems("task = \"classifier\"\n"), @"");
}

#[test]
fn misspelled_names_come_with_the_nearest_known_one() {
    let text = DENOISER
        .replace("\"denoiser\"", "\"denoser\"")
        .replace("channels", "chanels")
        .replace("images = ", "imags = ");
    let text = with(&text, "data", "resize = \"pads:32\"\nsplit = \"trian\"\nflop = true");
    assert_snapshot!(problems(&text), @"");
}

#[test]
fn a_value_of_another_type_is_refused() {
    let text = with(DENOISER, "data", "flip = 1\nshift = -1");
    let text = with(&text, "", "batch = \"32\"\nprecision = \"f64\"");
    let text = text.replace("[32, 64, 64]", "[32, 64.5]");
    assert_snapshot!(problems(&with(&text, "optimiser", "rate = inf")), @"");
}

#[test]
fn a_training_ends_after_images_or_minutes() {
    assert_snapshot!(problems_with("budget", "minutes = 50"), @"");
    assert_snapshot!(problems(&DENOISER.replace("400_000", "31")), @"");
    assert_snapshot!(problems(&CLASSIFIER.replace("20", "0")), @"");
}

#[test]
fn groups_divide_every_width_and_are_fewer() {
    assert_snapshot!(problems_with("network", "groups = 24"), @"");
    assert_snapshot!(problems_with("network", "groups = 32"), @"");
    assert_snapshot!(problems(&DENOISER.replace("[32, 64, 64]", "[8, 12]")), @"");
    assert_snapshot!(problems_with("network", "groups = 0"), @"");
}

#[test]
fn widths_levels_and_layers_are_those_of_a_network() {
    assert_snapshot!(problems(&DENOISER.replace("[32, 64, 64]", "[2, 33, 99999998]")), @"");
    assert_snapshot!(problems(&DENOISER.replace("[32, 64, 64]", "[]")), @"");
    assert_snapshot!(problems_with("network", "attention = [1, 3, 1]\nlayers = 0\ndropout = 1.0"), @"");
}

#[test]
fn a_starting_point_decides_the_architecture() {
    assert_snapshot!(problems_with("network", "start = \"models/cifar10-xs\"\ngroups = 8"), @"");
    let text = DENOISER.replace("channels = [32, 64, 64]", "start = \"hf:google/ddpm-cifar10-32\"");
    assert_snapshot!(problems(&text), @"");
}

#[test]
fn numbers_of_the_optimiser_lie_in_their_ranges() {
    let lines = "rate = 0\nwarmup = 400_001\ndecay = 1.5\nfloor = -0.1\nclip = 0\nweight_decay = -1\n\
                 beta1 = 1\nbeta2 = -0.5\nepsilon = 0.0\nema = 1.0";
    assert_snapshot!(problems_with("optimiser", lines), @"");
}

#[test]
fn the_weight_of_the_loss_is_that_of_eps() {
    assert_snapshot!(problems_with("loss", "weight_cap = 0.5"), @"");
    assert_snapshot!(problems_with("loss", "target = \"v\"\nweight_cap = 5.0"), @"");
}

#[test]
fn the_schedule_is_one() {
    assert_snapshot!(problems_with("schedule", "beta_start = 1.0\nhorizon = 1"), @"");
    assert_snapshot!(problems_with("schedule", "kind = \"cosine\"\nbeta_end = 0.02"), @"");
}

#[test]
fn what_is_watched_can_be() {
    let lines = "log = 0\ncheckpoint = 0\nevery = 0\nsamples = 0\nsteps = 1001\nfd_samples = 19";
    assert_snapshot!(problems_with("watch", lines), @"");
    assert_snapshot!(problems_with("watch", "features = \"models/cifar10-features\""), @"");
}

#[test]
fn what_belongs_to_the_other_task_is_refused() {
    let text = with(CLASSIFIER, "network", "channels = [32]\ndepth = 21\nwidths = [32, 16]");
    let text = with(&text, "schedule", "kind = \"linear\"");
    let text = with(&text, "loss", "target = \"eps\"");
    let text = with(&text, "watch", "every = 10_000");
    assert_snapshot!(problems(&with(&text, "", "batch = 1")), @"");
    assert_snapshot!(problems_with("network", "depth = 20"), @"");
}

#[test]
fn nothing_that_parses_as_toml_panics() {
    // Each value in the place of each other one.
    let all = with(DENOISER, "watch", "log = 1\nsteps = 2\nfeatures = \"f\"\nreference = \"r\"");
    let all = with(&all, "optimiser", "rate = 1e-3\nwarmup = 5\nema = 0.5");
    let all = with(&all, "network", "attention = [1]\ngroups = 8\nlayers = 1");
    let all = with(&all, "schedule", "kind = \"linear\"\nhorizon = 10");
    let values = [
        "0",
        "-1",
        "1e308",
        "nan",
        "9223372036854775807",
        "\"\"",
        "\"x\"",
        "[]",
        "[[]]",
        "{}",
        "[0, -1]",
        "[9223372036854775807]",
        "true",
        "2020-01-01",
    ];
    let lines: Vec<&str> = all.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let key = line.split('=').next().unwrap();
        for value in values {
            let mut broken = lines.clone();
            let changed = if line.contains('=') {
                format!("{key}= {value}")
            } else {
                line.replace(']', "").replace('[', "") + " = " + value
            };
            broken[index] = &changed;
            if let Err(problems) = read(&broken.join("\n"), &[]) {
                assert!(!problems.render(false).is_empty());
            }
        }
    }
}

/// `ddim` in the repository, without data.
fn ddim(arguments: &[&str]) -> std::process::Output {
    Command::cargo_bin("ddim")
        .unwrap()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("OMP_WAIT_POLICY", "passive")
        .env_remove("DDIM_DATA")
        .env("XDG_CACHE_HOME", "/no/cache")
        .args(arguments)
        .output()
        .unwrap()
}

fn refused(arguments: &[&str]) -> String {
    let output = ddim(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap().trim_end().to_owned()
}

#[test]
fn files_that_are_not_here_are_reported_in_the_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.toml");
    let text = DENOISER.replace("channels = [32, 64, 64]", "start = \"models/none\"");
    let distance = "features = \"models/nowhere\"\nreference = \"nowhere.safetensors\"";
    fs::write(&path, with(&text, "watch", distance)).unwrap();
    let message = |arguments: &[&str]| {
        let path = path.display().to_string();
        refused(&[&["check", &path], arguments].concat()).replace(&path, "m.toml")
    };
    assert_snapshot!(message(&[]), @"");
    let here = ["--set", "watch.features=", "--set", "watch.reference="];
    let here = |start: &'static str, data: &'static str| {
        [&here[..], &["--set", start, "--set", data, "--set", "data.exclude=none.csv"]].concat()
    };
    assert_snapshot!(message(&here("network.start=results", "data.source=cifar10")), @"");
}

#[test]
fn a_training_is_checked_and_neither_run_nor_planned() {
    let folder = tempfile::tempdir().unwrap();
    image::RgbImage::new(32, 32).save(folder.path().join("a.png")).unwrap();
    let path = folder.path().join("m.toml");
    let data = format!("source = {:?}", folder.path().display().to_string());
    let text = DENOISER.replace("source = \"cifar10\"", &data);
    fs::write(&path, &text).unwrap();
    let path = path.display().to_string();
    let verdict = |arguments: &[&str]| {
        let output = ddim(&[&["check", &path], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().replace(&path, "m.toml")
    };
    assert_snapshot!(verdict(&[]), @"");
    let minutes = ["--set", "budget.images=", "--set", "budget.minutes=50"];
    assert_snapshot!(verdict(&minutes), @"");
    let started = ["--set", "network.channels=", "--set", "network.start=models/cifar10-xs"];
    assert_snapshot!(verdict(&started), @"");
    assert_snapshot!(refused(&["run", &path]).replace(&path, "m.toml"), @"");
    assert_snapshot!(refused(&["plan", &path]).replace(&path, "m.toml"), @"");
    // Images of a folder have no classes.
    fs::write(&path, CLASSIFIER.replace("source = \"cifar10\"", "source = \"d\"")).unwrap();
    let set = format!("data.source={}", folder.path().display());
    let message = refused(&["check", &path, "--set", &set]);
    assert!(message.contains("is read without the classes of its images"), "{message}");
}

#[test]
fn the_shipped_trainings_are_right_and_lack_nothing_but_their_data() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/train");
    let mut aims = vec![];
    for entry in fs::read_dir(shipped).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# What: "), "{}", path.display());
        let recipe = right(&text, &[]);
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert_eq!(recipe.name, name);
        aims.push(format!("{name}: {}", recipe.aim()));
        let message = refused(&["check", &format!("experiments/train/{name}.toml")]);
        assert!(message.contains("is not on this machine"), "{message}");
        assert_eq!(message.matches("error:").count(), 1, "{message}");
    }
    aims.sort();
    assert_snapshot!(aims.join("\n"), @"");
}
