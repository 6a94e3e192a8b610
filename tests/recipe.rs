//! What a manifest of a training means, and what a reader of a broken one sees.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::too_many_lines, reason = "a case is as long as its message")]

mod support;

use std::{fs, path::Path};

use ddim::{
    diagnostic::Diagnostics,
    manifest::{Argument, Manifest},
    networks::unet_config::UnetConfig,
    run::{assemble, registry::Registry},
    train::{
        recipe::{LearnerSpec, Recipe},
        settings::{Budget, Learner},
    },
};
use insta::assert_snapshot;
use support::program::command;

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
    let sets: Vec<Argument> = sets.iter().copied().map(Argument::set).collect();
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
        recipe.learner,
        recipe.optimiser,
        recipe.budget,
        recipe.watch
    )
}

#[test]
fn what_is_not_written_has_these_defaults() {
    assert_snapshot!(plain(&right(DENOISER, &[])), @r#"
    seed 0 batch 32 F32 ema 0.9999
    DataSpec { source: "cifar10", split: None, exclude: None, resize: None, rgb: false }
    Augmentation { flip: false, shift: 0 }
    Denoiser(
        DenoiserSpec {
            network: NetworkSpec {
                channels: [
                    32,
                    64,
                    64,
                ],
                layers: 1,
                attention: [
                    1,
                ],
                groups: 8,
                dropout: 0.0,
                start: None,
                widen: false,
            },
            schedule: ScheduleSpec {
                kind: Linear,
                beta_start: Some(
                    0.0001,
                ),
                beta_end: Some(
                    0.02,
                ),
                betas: [],
                horizon: 1000,
                zero_terminal_snr: false,
            },
            target: Eps,
            weight_cap: 1.0,
            loss: Simple,
            importance: false,
        },
    )
    Optimiser { rate: 0.0002, warmup: 0, decay: 0.0, floor: 0.0, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, clip: 1.0 }
    Images(400000)
    WatchSpec { log: 10000, checkpoint: 120.0, every: None, samples: 64, steps: 20, distance: None }
    "#);
    assert_snapshot!(plain(&right(CLASSIFIER, &[])), @r#"
    seed 0 batch 32 F32 ema 0
    DataSpec { source: "cifar10", split: None, exclude: None, resize: None, rgb: false }
    Augmentation { flip: false, shift: 0 }
    Classifier(
        ClassifierSpec {
            depth: 20,
            widths: [
                16,
                32,
                64,
            ],
        },
    )
    Optimiser { rate: 0.0002, warmup: 0, decay: 0.0, floor: 0.0, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, clip: 1.0 }
    Minutes(20.0)
    WatchSpec { log: 10000, checkpoint: 120.0, every: None, samples: 64, steps: 20, distance: None }
    "#);
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
    assert_snapshot!(plain(&right(text, &[])), @r#"
    seed 7 batch 16 Bf16 ema 0.5
    DataSpec { source: "faces/", split: Some(Test), exclude: Some("list.csv"), resize: Pad(32), rgb: true }
    Augmentation { flip: true, shift: 2 }
    Denoiser(
        DenoiserSpec {
            network: NetworkSpec {
                channels: [
                    16,
                    32,
                ],
                layers: 2,
                attention: [
                    0,
                    1,
                ],
                groups: 4,
                dropout: 0.1,
                start: None,
                widen: false,
            },
            schedule: ScheduleSpec {
                kind: Cosine,
                beta_start: None,
                beta_end: None,
                betas: [],
                horizon: 500,
                zero_terminal_snr: false,
            },
            target: V,
            weight_cap: 1.0,
            loss: Simple,
            importance: false,
        },
    )
    Optimiser { rate: 0.001, warmup: 100, decay: 0.5, floor: 0.1, beta1: 0.8, beta2: 0.99, epsilon: 1e-7, weight_decay: 0.01, clip: 2.0 }
    Minutes(1.5)
    WatchSpec { log: 1, checkpoint: 0.5, every: Some(2), samples: 3, steps: 4, distance: Some(DistanceSpec { features: "a", reference: "b", samples: 20 }) }
    "#);
}

#[test]
fn the_network_is_that_of_the_embedded_folder() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/cifar10-small/config.json");
    let recipe = right(DENOISER, &[]);
    let Learner::Denoiser(denoiser) = recipe.settings([3, 32, 32], 10).unwrap().learner else {
        panic!("it is a denoiser")
    };
    assert_eq!(denoiser.network, UnetConfig::read(&path).unwrap());
    assert_eq!(denoiser.schedule.horizon(), 1000);
    let Learner::Classifier(classifier) =
        right(CLASSIFIER, &[]).settings([3, 32, 32], 10).unwrap().learner
    else {
        panic!("it is a classifier")
    };
    assert_eq!((classifier.depth, classifier.classes), (20, 10));
}

#[test]
fn attention_counts_levels_from_the_full_resolution_on_both_ways() {
    let recipe = right(&with(DENOISER, "network", "attention = [0]"), &[]);
    let LearnerSpec::Denoiser(spec) = recipe.learner else { panic!("it is a denoiser") };
    let config = spec.network.config(1, 28, false);
    assert_eq!(config.down_attention, [true, false, false]);
    assert_eq!(config.up_attention, [false, false, true]);
    assert_eq!((config.in_channels, config.out_channels, config.sample_size), (1, 1, Some(28)));
}

#[test]
fn images_that_do_not_fit_are_reported_in_the_manifest() {
    let text = with(DENOISER, "data", "shift = 40");
    let distance = "features = \"models/cifar10-features\"\nreference = \"r.safetensors\"";
    let recipe = right(&with(&text, "watch", distance), &[]);
    assert_snapshot!(recipe.settings([1, 30, 30], 10).unwrap_err(), @r#"
    error: a shift by 40 pixels moves the whole image of 30 x 30 away
     --> small.toml:5:9
      |
    5 | shift = 40
      |         ^^
      |
      = help: a shift is a small part of the side: 4 for images of 32 x 32

    error: images of 30 x 30 cannot be halved 2 times, as 3 levels do
     --> small.toml:9:12
      |
    9 | channels = [32, 64, 64]
      |            ^^^^^^^^^^^^
      |
      = help: `data.resize = "pad:32"`, or fewer levels

    error: features are those of images of 3 channels, not of 1
      --> small.toml:15:12
       |
    15 | features = "models/cifar10-features"
       |            ^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: `data.rgb = true`, or no distance
    "#);
    assert_snapshot!(recipe.settings([3, 64, 48], 10).unwrap_err(), @r#"
    error: the images are 64 x 48 (height x width), not square
     --> small.toml:6:10
      |
    6 | source = "cifar10"
      |          ^^^^^^^^^
      |
      = help: `data.resize = "center-crop:SIDE"`, or another mode that cuts squares
    "#);
    assert_snapshot!(right(CLASSIFIER, &[]).settings([1, 28, 28], 10).unwrap_err(), @r"
    error: a classifier takes images of 3 channels, not of 1
     --> small.toml:4:2
      |
    4 | [data]
      |  ^^^^
      |
      = help: `data.rgb = true` gives grey images three equal ones
    ");
}

#[test]
fn arguments_and_profiles_are_laid_over_it_and_kept_in_the_text() {
    let text =
        format!("# What: a test.\n\n{DENOISER}\n[profile.long.budget]\nimages = 4_000_000\n");
    let manifest = Manifest::parse("small.toml", text.clone()).unwrap();
    assert!(manifest.is_training());
    let sets = ["network.groups=16", "seed=3"].map(Argument::set);
    let recipe = Recipe::of(&manifest, Some("long"), &sets).unwrap();
    assert_eq!(recipe.budget, Budget::Images(4_000_000));
    assert_eq!(recipe.profile.as_deref(), Some("long"));
    assert_snapshot!(recipe.to_toml(), @r#"
    # What: a test.
    #
    # As run: small.toml --profile long --set network.groups=16 --set seed=3

    name = "small"
    task = "denoiser"
    seed = 3

    [data]
    source = "cifar10"

    [network]
    channels = [32, 64, 64]
    groups = 16

    [budget]
    images = 4_000_000
    "#);
    let again = right(recipe.to_toml(), &[]);
    assert_eq!(plain(&again), plain(&recipe));
    assert_eq!(again.to_toml(), recipe.to_toml());
    // Untouched, the manifest is kept to the byte, profiles included.
    assert_eq!(right(&text, &[]).to_toml(), text);

    assert_snapshot!(read(&text, &["optimiser.rte=1", "profile.long.seed=1"]).unwrap_err(), @r"
    error: unknown key `optimiser.rte`
     --> command line:1:17
      |
    1 | --set optimiser.rte=1
      |                 ^^^
      |
      = help: did you mean `optimiser.rate`?

    error: an argument cannot change a profile
     --> command line:1:7
      |
    1 | --set profile.long.seed=1
      |       ^^^^^^^
      |
      = help: set the value itself: arguments are laid over the profile

    error: unknown key `profile`
     --> command line:1:7
      |
    1 | --set profile.long.seed=1
      |       ^^^^^^^
      |
      = help: known here: name, task, seed, batch, precision, data, budget, schedule, loss, network, optimiser, watch
    ");
    assert_snapshot!(Recipe::of(&manifest, Some("lang"), &[]).unwrap_err(), @r"
    error: there is no profile `lang`
     --> command line:1:11
      |
    1 | --profile lang
      |           ^^^^
      |
      = help: did you mean `long`?
    ");
    let broken = format!("{DENOISER}\n[profile.long]\nbatch = 0\n");
    assert_snapshot!(problems(&broken), @r"
    error: `batch` must be at least 1, not `0`
      --> small.toml:14:9
       |
    14 | batch = 0
       |         ^
       |
       = note: found under `--profile long`
       = help: images of one step, for instance 32
    ");
}

#[test]
fn an_experiment_is_no_training_and_a_training_no_experiment() {
    assert_snapshot!(problems("name = \"a\"\nsamples = 4\n[solver]\nkind = \"ddim\"\n"), @r#"
    error: this manifest does not describe a training
    --> small.toml
     = help: a training has `task = "denoiser"` or `task = "classifier"`; experiments are run by `ddim run`
    "#);
    assert_snapshot!(problems_with("sweep", "batch = [16, 32]"), @r"
    error: `sweep` does not apply to a training
      --> small.toml:13:2
       |
    13 | [sweep]
       |  ^^^^^
       |
       = help: train once for each value: `--set PATH=VALUE`
    ");
    let vocabulary = assemble::vocabulary(&Registry::shipped());
    let manifest = Manifest::parse("small.toml", DENOISER).unwrap();
    assert!(manifest.plan(None, &[], &vocabulary).is_err());
}

#[test]
fn what_is_missing_is_named_with_what_to_write() {
    assert_snapshot!(problems("[budget]\n"), @r#"
    error: `name` is missing
    --> small.toml
     = help: what the training is called: `name = "cifar10-small"`

    error: `task` is missing
    --> small.toml
     = help: `task = "denoiser"` or `task = "classifier"`

    error: `data.source` is missing
    --> small.toml
     = help: a data set's name, such as `fashion-mnist`, or a path

    error: `network.channels` is missing
    --> small.toml
     = help: widths by level, full resolution first: `channels = [32, 64, 64]`

    error: `budget.images` is missing
     --> small.toml:1:2
      |
    1 | [budget]
      |  ^^^^^^
      |
      = help: `images = 400_000`, or `minutes = 50` to let the machine decide
    "#);
    assert_snapshot!(problems("task = \"classifier\"\n"), @r#"
    error: `name` is missing
    --> small.toml
     = help: what the training is called: `name = "cifar10-small"`

    error: `data.source` is missing
    --> small.toml
     = help: a data set's name, such as `fashion-mnist`, or a path

    error: `budget.images` is missing
    --> small.toml
     = help: `images = 400_000`, or `minutes = 50` to let the machine decide
    "#);
}

#[test]
fn misspelled_names_come_with_the_nearest_known_one() {
    let text = DENOISER
        .replace("\"denoiser\"", "\"denoser\"")
        .replace("channels", "chanels")
        .replace("images = ", "imags = ");
    let text = with(&text, "data", "resize = \"pads:32\"\nsplit = \"trian\"\nflop = true");
    assert_snapshot!(problems(&text), @r#"
    error: `task` cannot be `denoser`
     --> small.toml:2:8
      |
    2 | task = "denoser"
      |        ^^^^^^^^^
      |
      = help: did you mean `denoiser`?

    error: `data.resize` cannot be read: `pads:32` is not one of none, pad:SIDE, center-crop:SIDE, resize-crop:SIDE, celeba:SIDE, squash:SIDE (as pad:32)
     --> small.toml:5:10
      |
    5 | resize = "pads:32"
      |          ^^^^^^^^^
      |
      = help: the same modes as `--resize` has: `resize = "pad:32"`

    error: `data.split` cannot be `trian`
     --> small.toml:6:9
      |
    6 | split = "trian"
      |         ^^^^^^^
      |
      = help: did you mean `train`?

    error: unknown key `data.flop`
     --> small.toml:7:1
      |
    7 | flop = true
      | ^^^^
      |
      = help: did you mean `data.flip`?

    error: `network.channels` is missing
      --> small.toml:10:2
       |
    10 | [network]
       |  ^^^^^^^
       |
       = help: widths by level, full resolution first: `channels = [32, 64, 64]`

    error: unknown key `network.chanels`
      --> small.toml:11:1
       |
    11 | chanels = [32, 64, 64]
       | ^^^^^^^
       |
       = help: did you mean `network.channels`?

    error: `budget.images` is missing
      --> small.toml:13:2
       |
    13 | [budget]
       |  ^^^^^^
       |
       = help: `images = 400_000`, or `minutes = 50` to let the machine decide

    error: unknown key `budget.imags`
      --> small.toml:14:1
       |
    14 | imags = 400_000
       | ^^^^^
       |
       = help: did you mean `budget.images`?
    "#);
}

#[test]
fn a_value_of_another_type_is_refused() {
    let text = with(DENOISER, "data", "flip = 1\nshift = -1");
    let text = with(&text, "", "batch = \"32\"\nprecision = \"f64\"");
    let text = text.replace("[32, 64, 64]", "[32, 64.5]");
    assert_snapshot!(problems(&with(&text, "optimiser", "rate = inf")), @r#"
    error: `batch` must be a whole number, 0 or more, not the string `32`
     --> small.toml:3:9
      |
    3 | batch = "32"
      |         ^^^^
      |
      = help: write the number without quotes

    error: `precision` cannot be `f64`
     --> small.toml:4:13
      |
    4 | precision = "f64"
      |             ^^^^^
      |
      = help: known here: f32, bf16

    error: `data.flip` must be `true` or `false`, not `1`
     --> small.toml:7:8
      |
    7 | flip = 1
      |        ^

    error: `data.shift` must be a whole number, 0 or more, not `-1`
     --> small.toml:8:9
      |
    8 | shift = -1
      |         ^^

    error: every entry of `network.channels` must be a whole number, 0 or more, not `64.5`
      --> small.toml:12:17
       |
    12 | channels = [32, 64.5]
       |                 ^^^^

    error: `optimiser.rate` must be a finite number, not `inf`
      --> small.toml:18:8
       |
    18 | rate = inf
       |        ^^^
    "#);
}

#[test]
fn a_training_ends_after_images_or_minutes() {
    assert_snapshot!(problems_with("budget", "minutes = 50"), @r"
    error: `budget.images` and `budget.minutes` are both given
      --> small.toml:11:11
       |
    11 | minutes = 50
       |           ^^
    12 | images = 400_000
       |          ------- the images
       |
       = help: a training ends after one of them: remove the other
    ");
    // A budget that is given replaces the manifest's.
    assert_eq!(right(DENOISER, &["budget.minutes=10"]).budget, Budget::Minutes(10.0));
    assert_eq!(right(CLASSIFIER, &["budget.images=640"]).budget, Budget::Images(640));
    assert!(read(DENOISER, &["budget.minutes=10", "budget.images=640"]).is_err());
    assert_snapshot!(problems(&DENOISER.replace("400_000", "31")), @r"
    error: `budget.images` must be at least one batch of 32, not `31`
      --> small.toml:11:10
       |
    11 | images = 31
       |          ^^
       |
       = help: images are counted each time they are seen
    ");
    assert_snapshot!(problems(&CLASSIFIER.replace("20", "0")), @r"
    error: `budget.minutes` must be positive, not `0`
     --> small.toml:8:11
      |
    8 | minutes = 0
      |           ^
      |
      = help: how long may it take? `minutes = 50`
    ");
}

#[test]
fn groups_divide_every_width_and_are_fewer() {
    assert_snapshot!(problems_with("network", "groups = 24"), @r"
    error: 24 groups do not divide the width 32
     --> small.toml:8:10
      |
    8 | groups = 24
      |          ^^
    9 | channels = [32, 64, 64]
      |             -- the width
      |
      = help: groups must divide every width and be fewer: 8 suits widths from 16 on

    error: 24 groups do not divide the width 64
     --> small.toml:8:10
      |
    8 | groups = 24
      |          ^^
    9 | channels = [32, 64, 64]
      |                 -- the width
      |
      = help: groups must divide every width and be fewer: 8 suits widths from 16 on
    ");
    assert_snapshot!(problems_with("network", "groups = 32"), @r"
    error: as many groups as channels at level 0, 32
     --> small.toml:8:10
      |
    8 | groups = 32
      |          ^^
    9 | channels = [32, 64, 64]
      |             -- the width
      |
      = note: each channel is then normalised by itself, which removes its mean over the image, and with it the image's colour and brightness
      = help: groups must divide every width and be fewer: 8 suits widths from 16 on
    ");
    assert_snapshot!(problems(&DENOISER.replace("[32, 64, 64]", "[8, 12]")), @r"
    error: as many groups as channels at level 0, 8
     --> small.toml:8:13
      |
    8 | channels = [8, 12]
      |             ^
      |
      = note: each channel is then normalised by itself, which removes its mean over the image, and with it the image's colour and brightness
      = help: give `groups`: a proper divisor of every width

    error: 8 groups do not divide the width 12
     --> small.toml:8:16
      |
    8 | channels = [8, 12]
      |                ^^
      |
      = help: give `groups`: a proper divisor of every width
    ");
    assert_snapshot!(problems_with("network", "groups = 0"), @r"
    error: `network.groups` must be at least 1, not `0`
     --> small.toml:8:10
      |
    8 | groups = 0
      |          ^
      |
      = help: groups of the normalisation, for instance 8
    ");
}

#[test]
fn widths_levels_and_layers_are_those_of_a_network() {
    assert_snapshot!(problems(&DENOISER.replace("[32, 64, 64]", "[2, 33, 99999998]")), @r"
    error: a width must be even and from 4 to 8192 at level 0, not `2`
     --> small.toml:8:13
      |
    8 | channels = [2, 33, 99999998]
      |             ^
      |
      = help: half of the first level's are the label's sines, half its cosines

    error: a width must be even and from 2 to 8192 at level 1, not `33`
     --> small.toml:8:16
      |
    8 | channels = [2, 33, 99999998]
      |                ^^
      |
      = help: half of the first level's are the label's sines, half its cosines

    error: a width must be even and from 2 to 8192 at level 2, not `99999998`
     --> small.toml:8:20
      |
    8 | channels = [2, 33, 99999998]
      |                    ^^^^^^^^
      |
      = help: half of the first level's are the label's sines, half its cosines
    ");
    assert_snapshot!(problems(&DENOISER.replace("[32, 64, 64]", "[]")), @r"
    error: `network.channels` must be a list of 1 to 16 widths, not `[]`
     --> small.toml:8:12
      |
    8 | channels = []
      |            ^^
      |
      = help: one width a level: `channels = [32, 64, 64]`
    ");
    assert_snapshot!(problems_with("network", "attention = [1, 3, 1]\nlayers = 0\ndropout = 1.0"), @r"
    error: there is no level 3 in a network of 3
      --> small.toml:8:17
       |
     8 | attention = [1, 3, 1]
       |                 ^
    ...
    11 | channels = [32, 64, 64]
       |            ------------ the levels
       |
       = help: levels count from 0, the full resolution

    error: the level 1 is listed twice
     --> small.toml:8:20
      |
    8 | attention = [1, 3, 1]
      |                    ^
      |
      = help: name each level once

    error: `network.layers` must be from 1 to 64, not `0`
     --> small.toml:9:10
      |
    9 | layers = 0
      |          ^
      |
      = help: residual blocks of a level

    error: `network.dropout` must be at least 0 and below 1, not `1.0`
      --> small.toml:10:11
       |
    10 | dropout = 1.0
       |           ^^^
       |
       = help: the probability that a value is dropped, for instance 0.1
    ");
}

#[test]
fn a_starting_point_decides_the_architecture() {
    assert_snapshot!(problems_with("network", "start = \"models/cifar10-small\"\ngroups = 8"), @r#"
    error: `network.groups` is decided by `network.start`
     --> small.toml:9:10
      |
    8 | start = "models/cifar10-small"
      |         ---------------------- its config.json has the architecture
    9 | groups = 8
      |          ^
      |
      = help: remove it, or start from nothing

    error: `network.channels` is decided by `network.start`
      --> small.toml:10:12
       |
     8 | start = "models/cifar10-small"
       |         ---------------------- its config.json has the architecture
     9 | groups = 8
    10 | channels = [32, 64, 64]
       |            ^^^^^^^^^^^^
       |
       = help: remove it, or start from nothing
    "#);
    let text = DENOISER.replace("channels = [32, 64, 64]", "start = \"hf:google/ddpm-cifar10-32\"");
    assert_snapshot!(problems(&text), @r#"
    error: `network.start` must be a folder of this machine, not `"hf:google/ddpm-cifar10-32"`
     --> small.toml:8:9
      |
    8 | start = "hf:google/ddpm-cifar10-32"
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: `ddim convert` downloads a model of the Hub into a folder
    "#);
}

#[test]
fn numbers_of_the_optimiser_lie_in_their_ranges() {
    let lines = "rate = 0\nwarmup = 400_001\ndecay = 1.5\nfloor = -0.1\nclip = 0\nweight_decay = -1\n\
                 beta1 = 1\nbeta2 = -0.5\nepsilon = 0.0\nema = 1.0";
    assert_snapshot!(problems_with("optimiser", lines), @r"
    error: `optimiser.rate` must be positive, not `0`
      --> small.toml:14:8
       |
    14 | rate = 0
       |        ^
       |
       = help: the papers' is 2e-4

    error: `optimiser.warmup` must be at most the budget, 400000, not `400_001`
      --> small.toml:15:10
       |
    15 | warmup = 400_001
       |          ^^^^^^^
       |
       = help: the rate would never reach its height: `warmup` counts images, not steps

    error: `optimiser.decay` must be from 0 to 1, not `1.5`
      --> small.toml:16:9
       |
    16 | decay = 1.5
       |         ^^^
       |
       = help: the last part of the budget, over which the rate falls

    error: `optimiser.floor` must be from 0 to 1, not `-0.1`
      --> small.toml:17:9
       |
    17 | floor = -0.1
       |         ^^^^
       |
       = help: what the rate falls to, in parts of it

    error: `optimiser.clip` must be positive, not `0`
      --> small.toml:18:8
       |
    18 | clip = 0
       |        ^
       |
       = help: the largest norm of a gradient, often 1

    error: `optimiser.weight_decay` must be 0 or more, not `-1`
      --> small.toml:19:16
       |
    19 | weight_decay = -1
       |                ^^
       |
       = help: weights shrink by this times the rate in each step; 0 leaves them

    error: `optimiser.beta1` must be at least 0 and below 1, not `1`
      --> small.toml:20:9
       |
    20 | beta1 = 1
       |         ^
       |
       = help: Adam's is 0.9

    error: `optimiser.beta2` must be at least 0 and below 1, not `-0.5`
      --> small.toml:21:9
       |
    21 | beta2 = -0.5
       |         ^^^^
       |
       = help: Adam's is 0.999

    error: `optimiser.epsilon` must be positive, not `0.0`
      --> small.toml:22:11
       |
    22 | epsilon = 0.0
       |           ^^^
       |
       = help: Adam's is 1e-8

    error: `optimiser.ema` must be at least 0 and below 1, not `1.0`
      --> small.toml:23:7
       |
    23 | ema = 1.0
       |       ^^^
       |
       = help: 0.9999 for a long training, 0.9995 for a short one; 0 keeps the weights themselves
    ");
}

#[test]
fn the_weight_of_the_loss_is_that_of_eps() {
    assert_snapshot!(problems_with("loss", "weight_cap = 0.5"), @r"
    error: `loss.weight_cap` must be 1 or more, not `0.5`
      --> small.toml:14:14
       |
    14 | weight_cap = 0.5
       |              ^^^
       |
       = help: 1 is L_simple; a few units give high noise more weight in a short training
    ");
    assert_snapshot!(problems_with("loss", "target = \"v\"\nweight_cap = 5.0"), @r#"
    error: `loss.weight_cap` weighs the error of eps alone
      --> small.toml:15:14
       |
    14 | target = "v"
       |          --- the target is another
    15 | weight_cap = 5.0
       |              ^^^
       |
       = help: remove it (on the command line, `--set loss.weight_cap=` removes it), or choose `target = "eps"`
    "#);
    // Another target that is given leaves the weights of the manifest's loss behind.
    let text = with(DENOISER, "loss", "weight_cap = 5.0");
    let LearnerSpec::Denoiser(spec) = right(&text, &["loss.target=v"]).learner else {
        unreachable!()
    };
    assert!((spec.weight_cap - 1.0).abs() < f64::EPSILON);
    assert!(read(&text, &["loss.target=v", "loss.weight_cap=5.0"]).is_err());
    let LearnerSpec::Denoiser(spec) = right(&text, &["loss.target=eps"]).learner else {
        unreachable!()
    };
    assert!((spec.weight_cap - 5.0).abs() < f64::EPSILON);
}

#[test]
fn a_loss_has_only_its_own_keys_and_the_papers_choices() {
    use ddim::train::settings::DenoiserLossKind::{Hybrid, Simple, Vlb};

    let loss = |lines: &str| {
        let recipe = right(&with(DENOISER, "loss", lines), &[]);
        let LearnerSpec::Denoiser(spec) = recipe.learner else { panic!("it is a denoiser") };
        (
            spec.loss,
            spec.importance,
            spec.network.config(3, 32, spec.loss.learns_range()).out_channels,
        )
    };
    assert_eq!(loss(""), (Simple, false, 3));
    assert_eq!(loss("kind = \"hybrid\""), (Hybrid(0.001), false, 6));
    assert_eq!(
        loss("kind = \"hybrid\"\nvlb_weight = 0.1\ntimesteps = \"importance\""),
        (Hybrid(0.1), true, 6)
    );
    assert_eq!(loss("kind = \"vlb\""), (Vlb, true, 6));
    assert_eq!(loss("kind = \"vlb\"\ntimesteps = \"uniform\""), (Vlb, false, 6));
    let lines = "kind = \"vlb\"\nweight_cap = 2.0\nvlb_weight = 0";
    assert_snapshot!(problems_with("loss", lines), @r#"
    error: `loss.weight_cap` does not apply to this kind of loss
      --> small.toml:15:14
       |
    14 | kind = "vlb"
       |        ----- chosen here
    15 | weight_cap = 2.0
       |              ^^^
       |
       = help: it belongs to `simple` and `hybrid`; remove it, or choose such a `kind`

    error: `loss.vlb_weight` must be positive, not `0`
      --> small.toml:16:14
       |
    16 | vlb_weight = 0
       |              ^
       |
       = help: the paper's is 0.001: a larger one lets the bound disturb the shared layers

    error: `loss.vlb_weight` does not apply to this kind of loss
      --> small.toml:16:14
       |
    14 | kind = "vlb"
       |        ----- chosen here
    15 | weight_cap = 2.0
    16 | vlb_weight = 0
       |              ^
       |
       = help: it belongs to `hybrid`; remove it, or choose such a `kind`
    "#);
    assert_snapshot!(problems_with("loss", "timesteps = \"importance\"\nvlb_weight = 0.5"), @r#"
    error: `loss.timesteps` does not apply to this kind of loss
      --> small.toml:14:13
       |
    14 | timesteps = "importance"
       |             ^^^^^^^^^^^^
       |
       = help: it belongs to `hybrid` and `vlb`; remove it, or choose such a `kind`

    error: `loss.vlb_weight` does not apply to this kind of loss
      --> small.toml:15:14
       |
    15 | vlb_weight = 0.5
       |              ^^^
       |
       = help: it belongs to `hybrid`; remove it, or choose such a `kind`
    "#);
    assert_snapshot!(problems_with("network", "widen = true"), @r#"
    error: `network.widen` widens the network of `network.start`, and there is none
     --> small.toml:8:9
      |
    8 | widen = true
      |         ^^^^
      |
      = help: remove it: a new network has the channels that its loss needs
    "#);
}

#[test]
fn the_schedule_is_one() {
    assert_snapshot!(problems_with("schedule", "beta_start = 1.0\nhorizon = 1"), @r"
    error: `schedule.beta_start` must be between 0 and 1, not `1.0`
      --> small.toml:14:14
       |
    14 | beta_start = 1.0
       |              ^^^
       |
       = help: a beta is the variance one training step adds

    error: the betas fall from 1 to 0.02
      --> small.toml:14:14
       |
    14 | beta_start = 1.0
       |              ^^^
       |
       = help: `beta_start` must not exceed `beta_end` (defaults: 1e-4 and 0.02)

    error: `schedule.horizon` must be at least 2, not `1`
      --> small.toml:15:11
       |
    15 | horizon = 1
       |           ^
       |
       = help: the number of levels T, often 1000
    ");
    assert_snapshot!(problems_with("schedule", "kind = \"cosine\"\nbeta_end = 0.02"), @r#"
    error: `schedule.beta_end` does not apply to cosine
      --> small.toml:15:1
       |
    14 | kind = "cosine"
       |        -------- chosen here
    15 | beta_end = 0.02
       | ^^^^^^^^
       |
       = help: it belongs to linear, linear-f32, scaled-linear, sigmoid; remove it, or set it only in those entries of the sweep that use it (on the command line, `--set schedule.beta_end=` removes it)
    "#);
}

#[test]
fn what_is_watched_can_be() {
    let lines = "log = 0\ncheckpoint = 0\nevery = 0\nsamples = 0\nsteps = 1001\nfd_samples = 19";
    assert_snapshot!(problems_with("watch", lines), @r"
    error: `watch.log` must be at least 1, not `0`
      --> small.toml:14:7
       |
    14 | log = 0
       |       ^
       |
       = help: images of a row of loss.csv, for instance 10_000

    error: `watch.checkpoint` must be positive, not `0`
      --> small.toml:15:14
       |
    15 | checkpoint = 0
       |              ^
       |
       = help: seconds between two, for instance 120

    error: `watch.every` must be at least 1, not `0`
      --> small.toml:16:9
       |
    16 | every = 0
       |         ^
       |
       = help: images between two grids; without it there is one at the end

    error: `watch.samples` must be at least 1, not `0`
      --> small.toml:17:11
       |
    17 | samples = 0
       |           ^
       |
       = help: images of a grid, for instance 64

    error: `watch.steps` must be from 1 to 1000, the levels of the schedule, not `1001`
      --> small.toml:18:9
       |
    18 | steps = 1001
       |         ^^^^
       |
       = help: DDIM steps of the samples, for instance 20

    error: `watch.fd_samples` must be at least 20, not `19`
      --> small.toml:19:14
       |
    19 | fd_samples = 19
       |              ^^
       |
       = help: a distance of fewer says nothing; those of 512 and more rank well

    error: `watch.fd_samples` is used by no distance
      --> small.toml:19:14
       |
    19 | fd_samples = 19
       |              ^^
       |
       = help: remove it, or give `features` and `reference`
    ");
    assert_snapshot!(problems_with("watch", "features = \"models/cifar10-features\""), @r#"
    error: `watch.features` without `watch.reference`
      --> small.toml:14:12
       |
    14 | features = "models/cifar10-features"
       |            ^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: a distance is that of features to a reference: give both, or neither
    "#);
}

#[test]
fn what_belongs_to_the_other_task_is_refused() {
    let text = with(CLASSIFIER, "network", "channels = [32]\ndepth = 21\nwidths = [32, 16]");
    let text = with(&text, "schedule", "kind = \"linear\"");
    let text = with(&text, "loss", "target = \"eps\"");
    let text = with(&text, "watch", "every = 10_000");
    assert_snapshot!(problems(&with(&text, "", "batch = 1")), @r#"
    error: `batch` must be at least 2, not `1`
     --> small.toml:3:9
      |
    3 | batch = 1
      |         ^
      |
      = help: batch normalisation needs several images to take a variance of

    error: `network.channels` does not apply to a classifier
      --> small.toml:12:1
       |
     2 | task = "classifier"
       |        ------------ chosen here
    ...
    12 | channels = [32]
       | ^^^^^^^^
       |
       = help: it belongs to `task = "denoiser"`: remove it, or choose that

    error: `network.depth` must be 6 n + 2, from 8 to 1202, not `21`
      --> small.toml:13:9
       |
    13 | depth = 21
       |         ^^
       |
       = help: the papers' are 20, 32, 44, 56 and 110

    error: `network.widths` must be a rising list of positive widths, not `[32, 16]`
      --> small.toml:14:10
       |
    14 | widths = [32, 16]
       |          ^^^^^^^^
       |
       = help: channels of the stages, none fewer than before it: `widths = [16, 32, 64]`

    error: `schedule` does not apply to a classifier
      --> small.toml:16:2
       |
     2 | task = "classifier"
       |        ------------ chosen here
    ...
    16 | [schedule]
       |  ^^^^^^^^
       |
       = help: it belongs to `task = "denoiser"`: remove it, or choose that

    error: `loss` does not apply to a classifier
      --> small.toml:19:2
       |
     2 | task = "classifier"
       |        ------------ chosen here
    ...
    19 | [loss]
       |  ^^^^
       |
       = help: it belongs to `task = "denoiser"`: remove it, or choose that

    error: `watch.every` does not apply to a classifier
      --> small.toml:23:1
       |
     2 | task = "classifier"
       |        ------------ chosen here
    ...
    23 | every = 10_000
       | ^^^^^
       |
       = help: it belongs to `task = "denoiser"`: remove it, or choose that
    "#);
    assert_snapshot!(problems_with("network", "depth = 20"), @r#"
    error: `network.depth` does not apply to a denoiser
     --> small.toml:8:1
      |
    2 | task = "denoiser"
      |        ---------- chosen here
    ...
    8 | depth = 20
      | ^^^^^
      |
      = help: it belongs to `task = "classifier"`: remove it, or choose that
    "#);
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
                line.replace(['[', ']'], "") + " = " + value
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
    command().args(arguments).output().unwrap()
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
    let text = DENOISER.replace("channels = [32, 64, 64]", "start = \"folder/none\"");
    let distance = "features = \"models/nowhere\"\nreference = \"nowhere.safetensors\"";
    fs::write(&path, with(&text, "watch", distance)).unwrap();
    let message = |arguments: &[&str]| {
        let path = path.display().to_string();
        refused(&[&["check", &path], arguments].concat()).replace(&path, "m.toml")
    };
    assert_snapshot!(message(&[]), @r#"
    error: cifar10 is not on this machine: looked in DDIM_DATA (not set) and /no/cache/ddim; fetch https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz (md5 c32a1d4ab5d03f1284b67883e8d87530) and put it at /no/cache/ddim/cifar10/cifar-10-binary.tar.gz, or let --download do it; DDIM_DATA may name a folder that has it
     --> m.toml:5:10
      |
    5 | source = "cifar10"
      |          ^^^^^^^^^

    error: network.start = "folder/none" does not exist (paths are relative to the folder the command runs in)
     --> m.toml:8:9
      |
    8 | start = "folder/none"
      |         ^^^^^^^^^^^^^
      |
      = help: a folder with config.json and diffusion_pytorch_model.safetensors; `ddim convert SOURCE --out folder/none` makes one of other weights

    error: watch.features = "models/nowhere" does not exist
      --> m.toml:14:12
       |
    14 | features = "models/nowhere"
       |            ^^^^^^^^^^^^^^^^
       |
       = help: a folder like models/cifar10-features, `inception`, or a file of Inception weights

    error: watch.reference = "nowhere.safetensors" does not exist
      --> m.toml:15:13
       |
    15 | reference = "nowhere.safetensors"
       |             ^^^^^^^^^^^^^^^^^^^^^
       |
       = help: `ddim stats --data SET --features models/nowhere --out nowhere.safetensors` writes it from a data set
    "#);
    let here = ["--set", "watch.features=", "--set", "watch.reference="];
    let here = |start: &'static str, data: &'static str| {
        [&here[..], &["--set", start, "--set", data, "--set", "data.exclude=none.csv"]].concat()
    };
    assert_snapshot!(message(&here("network.start=results", "data.source=cifar10")), @r#"
    error: cannot read results/config.json: No such file or directory (os error 2); a model is a folder with config.json and diffusion_pytorch_model.safetensors
     --> command line:1:21
      |
    1 | --set network.start=results
      |                     ^^^^^^^
      |
      = help: a folder with config.json and diffusion_pytorch_model.safetensors; `ddim convert SOURCE --out results` makes one of other weights

    error: data.exclude = "none.csv" does not exist
     --> command line:1:20
      |
    1 | --set data.exclude=none.csv
      |                    ^^^^^^^^
      |
      = help: a CSV file with the columns batch_file and index; paths are relative to the folder the command runs in
    "#);
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
    assert_snapshot!(verdict(&[]), @"m.toml: ok, trains a denoiser for 400000 images");
    let minutes = ["--set", "budget.images=", "--set", "budget.minutes=50"];
    assert_snapshot!(verdict(&minutes), @"m.toml: ok, trains a denoiser for 50 minutes");
    let started = ["--set", "network.channels=", "--set", "network.start=models/cifar10-small"];
    assert_snapshot!(verdict(&started), @"m.toml: ok, trains a denoiser for 400000 images");
    for (set, fact, remedy) in [
        (
            "data.resize=pad:16",
            "pad:16 cannot hold images of 32 x 32",
            "= help: `center-crop:16` or `squash:16` makes them smaller",
        ),
        ("data.split=test", "has no splits\n", "= help: leave it out"),
    ] {
        let message = refused(&["check", &path, "--set", set]);
        assert!(message.contains(fact) && message.contains(remedy), "{message}");
    }
    assert_snapshot!(refused(&["run", &path]).replace(&path, "m.toml"), @"error: m.toml describes a training, not an experiment; use `ddim train m.toml`");
    assert_snapshot!(refused(&["plan", &path]).replace(&path, "m.toml"), @"error: m.toml describes a training, not an experiment; use `ddim train m.toml`");
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
    assert_snapshot!(aims.join("\n"), @r"
    cifar10-resnet20: a classifier for 160000 images
    cifar10-small: a denoiser for 370000 images
    cifar10: a denoiser for 6.7 minutes
    fashion-mnist-learned: a denoiser for 40000 images
    fashion-mnist: a denoiser for 100000 images
    ");
}
