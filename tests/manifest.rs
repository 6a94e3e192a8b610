//! What a reader of a broken manifest sees, and what the shipped one plans.

#![cfg(feature = "harness")]

use std::path::Path;

use ddim::core::Tau;
use ddim::diagnostic::{Diagnostic, Diagnostics};
use ddim::manifest::{Argument, Kind, Manifest, Vocabulary};
use ddim::plan::outline::Outline;
use ddim::plan::presentation::{ClaimCheck, Fitted};
use ddim::plan::{Plan, Rule, Steps};
use ddim::run::registry::Registry;
use ddim::solvers::Variance;

fn vocabulary() -> Vocabulary {
    Vocabulary {
        stated: None,
        precision: None,
        weights: Some([("own".to_owned(), "models/own".to_owned())].into()),
        solvers: vec![
            Kind::new("ddim", &["eta", "variance"]),
            Kind::new("euler", &[]),
            Kind::new("heun", &[]),
        ],
        solutions: vec![
            Kind::new("exact", &[]),
            Kind::new("heun", &[]),
            Kind::new("dormand-prince", &[]).with_options(&[("rtol", 1e-4), ("atol", 1e-4)]),
        ],
    }
}

const SMALL: &str = r#"name = "small"
samples = 64
batch = 32

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

fn plan(text: &str, profile: Option<&str>, sets: &[&str]) -> Result<Plan, Diagnostics> {
    let sets: Vec<Argument> = sets.iter().copied().map(Argument::set).collect();
    Manifest::parse("small.toml", text)?.plan(profile, &sets, &vocabulary())
}

fn problems(text: &str, profile: Option<&str>, sets: &[&str]) -> String {
    plan(text, profile, sets).expect_err("the manifest is wrong").to_string()
}

/// `SMALL` with one line replaced.
fn small_with(line: &str, replacement: &str) -> String {
    assert!(SMALL.contains(line));
    SMALL.replace(line, replacement)
}

fn table1(profile: Option<&str>, sets: &[&str]) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/table1.toml");
    let text = std::fs::read_to_string(path).expect("the manifest ships with the crate");
    let sets: Vec<Argument> = sets.iter().copied().map(Argument::set).collect();
    let manifest = Manifest::parse("experiments/table1.toml", text).expect("it is TOML");
    manifest.plan(profile, &sets, &vocabulary()).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn unknown_keys_and_names_come_with_the_nearest_known_one() {
    let text = small_with("eta = 0.0", "etta = 0.0\n\n[metrcs]\nblocks = 2")
        .replace("\"ddim\"", "\"dimm\"")
        .replace("\"official-quad\"", "\"oficial-quad\"")
        .replace("\"gaussian\"", "\"gausian\"");
    insta::assert_snapshot!(problems(&text, None, &[]), @r#"
    error: there is no model called `gausian`, here or among the project's own
     --> small.toml:6:10
      |
    6 | source = "gausian"
      |          ^^^^^^^^^
      |
      = help: did you mean `gaussian`? (weights elsewhere are named by a path: `../gausian`)

    error: there is no rule for tau called `oficial-quad`
      --> small.toml:12:7
       |
    12 | tau = "oficial-quad"
       |       ^^^^^^^^^^^^^^
       |
       = help: did you mean `official-quad`?

    error: there is no solver called `dimm`
      --> small.toml:16:8
       |
    16 | kind = "dimm"
       |        ^^^^^^
       |
       = help: known here: ddim, euler, heun

    error: unknown key `solver.etta`
      --> small.toml:17:1
       |
    17 | etta = 0.0
       | ^^^^
       |
       = help: did you mean `solver.eta`?

    error: unknown key `metrcs`
      --> small.toml:19:2
       |
    19 | [metrcs]
       |  ^^^^^^
       |
       = help: did you mean `metrics`?
    "#);
}

#[test]
fn wrong_types_say_what_was_expected_and_what_was_found() {
    let text = small_with("steps = 10", "steps = \"10\"\nend = 3")
        .replace("samples = 64", "samples = -64")
        .replace("[3, 8, 8]", "[3, 8, 8.5]")
        .replace("name = \"small\"", "name = 5");
    insta::assert_snapshot!(problems(&text, None, &[]), @r#"
    error: `name` must be a string, not `5`
     --> small.toml:1:8
      |
    1 | name = 5
      |        ^
      |
      = help: write it in quotes

    error: `samples` must be a whole number, 0 or more, not `-64`
     --> small.toml:2:11
      |
    2 | samples = -64
      |           ^^^

    error: every entry of `model.shape` must be a whole number, 0 or more, not `8.5`
     --> small.toml:7:16
      |
    7 | shape = [3, 8, 8.5]
      |                ^^^

    error: `grid.steps` must be a whole number, 0 or more, not the string `10`
      --> small.toml:13:9
       |
    13 | steps = "10"
       |         ^^^^
       |
       = help: write the number without quotes

    error: `grid.end` must be a string, not `3`
      --> small.toml:14:7
       |
    14 | end = 3
       |       ^
       |
       = help: write it in quotes
    "#);
}

#[test]
fn values_out_of_range_say_what_the_range_is() {
    let text = small_with("eta = 0.0", "eta = -0.5")
        .replace("batch = 32", "batch = 0\nseed = 1\nprecision = \"f16\"")
        .replace("steps = 10", "steps = 0")
        .replace("std = 0.5", "std = 0.0\n\n[schedule]\nbeta_start = 0.1\nhorizon = 0");
    insta::assert_snapshot!(problems(&text, None, &[]), @r#"
    error: `batch` must be at least 1, not `0`
     --> small.toml:3:9
      |
    3 | batch = 0
      |         ^
      |
      = help: samples per model call, for instance 64

    error: `precision` cannot be `f16`
     --> small.toml:5:13
      |
    5 | precision = "f16"
      |             ^^^^^
      |
      = help: did you mean `bf16`?

    error: `model.std` must be positive, not `0`
      --> small.toml:11:7
       |
    11 | std = 0.0
       |       ^^^
       |
       = help: a component has some spread and some weight, or is left out

    error: the betas fall from 0.1 to 0.02
      --> small.toml:14:14
       |
    14 | beta_start = 0.1
       |              ^^^
       |
       = help: `beta_start` must not exceed `beta_end` (defaults: 1e-4 and 0.02)

    error: `schedule.horizon` must be at least 1, not `0`
      --> small.toml:15:11
       |
    15 | horizon = 0
       |           ^
       |
       = help: the number of training levels T, often 1000

    error: `grid.steps` must be at least 1, not `0`
      --> small.toml:19:9
       |
    19 | steps = 0
       |         ^
       |
       = help: S = 0 would return the noise

    error: `solver.eta` must be 0 or more, not `-0.5`
      --> small.toml:23:7
       |
    23 | eta = -0.5
       |       ^^^^
       |
       = help: 0 is deterministic DDIM, 1 has DDPM's posterior variance
    "#);
}

#[test]
fn missing_keys_point_at_the_section_that_lacks_them() {
    insta::assert_snapshot!(problems("name = \"small\"\n\n[grid]\ntau = \"karras\"\n", None, &[]), @r"
    error: `samples` is missing
    --> small.toml
     = help: the number of samples per cell: `samples = 256`

    error: `batch` is missing
    --> small.toml
     = help: samples per model call: `batch = 64` (the bytes of the results depend on it)

    error: `model.source` is missing
    --> small.toml
     = help: a folder or file of weights, `hf:owner/name`, or the name of an exact-score model

    error: `solver.kind` is missing
    --> small.toml
     = help: known here: ddim, euler, heun

    error: `grid.steps` is missing
     --> small.toml:3:2
      |
    3 | [grid]
      |  ^^^^
      |
      = help: the number of steps S: `steps = 50`
    ");
}

#[test]
fn eta_and_a_named_variance_exclude_each_other_wherever_they_come_from() {
    // What is given replaces what is written; of two that are given none is the other's.
    let noise = |sets: &[&str]| plan(SMALL, None, sets).unwrap().cells[0].spec.solver.variance;
    let named = Some(Variance::SigmaHat);
    assert_eq!(noise(&["solver.variance=sigma-hat"]), named);
    assert_eq!(noise(&["solver.variance=sigma-hat", "solver.eta="]), named);
    assert_eq!(noise(&["solver.eta=", "solver.variance=sigma-hat"]), named);
    let both = ["solver.variance=sigma-hat", "solver.eta=0.5"];
    insta::assert_snapshot!(problems(SMALL, None, &both), @r"
    error: `solver.eta` and `solver.variance` are both given
     --> command line:1:23
      |
    1 | --set solver.variance=sigma-hat
      |                       ^^^^^^^^^
      |
     ::: command line:1:18
      |
    1 | --set solver.eta=0.5
      |                  --- `eta` is given here
      |
      = note: the official sigma-hat sampler (`--sample_type ddpm_noisy`) silently ignores `--eta`; here the noise of a step is one choice
      = help: remove one of them
    ");
    let text = small_with("eta = 0.0", "eta = 0.0\nvariance = \"sigma-hat\"");
    insta::assert_snapshot!(problems(&text, None, &[]), @r#"
    error: `solver.eta` and `solver.variance` are both given
      --> small.toml:18:12
       |
    17 | eta = 0.0
       |       --- `eta` is given here
    18 | variance = "sigma-hat"
       |            ^^^^^^^^^^^
       |
       = note: the official sigma-hat sampler (`--sample_type ddpm_noisy`) silently ignores `--eta`; here the noise of a step is one choice
       = help: remove one of them
    "#);
}

#[test]
fn one_of_two_that_exclude_each_other_is_replaced_by_the_one_that_is_given() {
    let steps = |sets: &[&str]| plan(SMALL, None, sets).unwrap().cells[0].spec.grid.clone();
    assert_eq!(steps(&["grid.calls=20"]).steps, Steps::Calls(20));
    assert_eq!(steps(&["grid.tau=[900, 500, 0]"]).tau, Tau::Explicit(vec![900.0, 500.0, 0.0]));
    assert_eq!(steps(&["grid.tau=[900, 500, 0]"]).steps, Steps::Number(3));
    let text = format!("{SMALL}\n[profile.short.grid]\ncalls = 5\n");
    assert_eq!(plan(&text, Some("short"), &[]).unwrap().cells[0].spec.grid.steps, Steps::Calls(5));
    assert!(problems(SMALL, None, &["grid.calls=20", "grid.steps=5"]).contains("are both given"));
}

#[test]
fn a_bare_name_is_one_of_the_models_and_their_path_is_what_counts() {
    let text = SMALL
        .replace("shape = [3, 8, 8]\nmean = 0.1\nstd = 0.5\n", "")
        .replace("\"gaussian\"", "\"own\"");
    assert_eq!(plan(&text, None, &[]).unwrap().cells[0].spec.model.source, "models/own");
}

#[test]
fn titles_labels_and_the_source_of_a_claim_have_defaults() {
    let shown = "[metrics]\nfeatures = \"f\"\nreference = \"r\"\n[sweep]\n\"grid.steps\" = [5, 10]\n\
                 seed = [0, 1]\n[table]\nrows = \"seed\"\ncolumns = \"grid.steps\"\nvalue = \"fd\"\n\
                 [[claim]]\ntext = \"A.\"\ncheck = \"decreases\"\nrow = \"0\"\ncolumns = [\"5\", \"10\"]\n\
                 [[plot]]\nname = \"p\"\nx = \"calls\"\ny = \"fd\"\nseries = \"seed\"\n";
    let plan = plan(&format!("{SMALL}\n{shown}"), None, &[]).unwrap();
    let shown = &plan.plots[0];
    assert_eq!(
        (shown.x_label.as_str(), shown.y_label.as_str()),
        ("model calls per sample", "{fd}")
    );
    assert_eq!(shown.title, "{fd} against model calls per sample");
    assert_eq!(plan.claims[0].source, "this manifest");
}

#[test]
fn a_key_that_the_chosen_kind_would_ignore_is_refused() {
    let text = small_with("\"ddim\"", "\"heun\"").replace("steps = 10", "steps = 10\nrho = 7");
    insta::assert_snapshot!(problems(&text, None, &[]), @r#"
    error: `grid.rho` does not apply to official-quad
      --> small.toml:14:1
       |
    12 | tau = "official-quad"
       |       --------------- chosen here
    13 | steps = 10
    14 | rho = 7
       | ^^^
       |
       = help: it belongs to karras; remove it, or set it only in those entries of the sweep that use it (on the command line, `--set grid.rho=` removes it)

    error: `solver.eta` does not apply to heun
      --> small.toml:18:1
       |
    17 | kind = "heun"
       |        ------ chosen here
    18 | eta = 0.0
       | ^^^
       |
       = help: it belongs to ddim; remove it, or set it only in those entries of the sweep that use it (on the command line, `--set solver.eta=` removes it)
    "#);
}

#[test]
fn problems_of_a_swept_value_point_into_the_sweep() {
    let text = format!(
        "{}\n[sweep]\n\"grid.steps\" = [10, \"20\", 0]\n\"grid.spacing\" = [1]\nvariance = [\n  \
         {{ label = \"a\", \"solver.kindd\" = \"ddim\" }},\n  {{ \"solver.kind\" = \"heum\" }},\n]\n",
        small_with("eta = 0.0\n", "")
    );
    insta::assert_snapshot!(problems(&text, None, &[]), @r#"
    error: `grid.steps` must be a whole number, 0 or more, not the string `20`
      --> small.toml:19:21
       |
    19 | "grid.steps" = [10, "20", 0]
       |                     ^^^^
       |
       = help: write the number without quotes

    error: `grid.steps` must be at least 1, not `0`
      --> small.toml:19:27
       |
    19 | "grid.steps" = [10, "20", 0]
       |                           ^
       |
       = help: S = 0 would return the noise

    error: unknown key `grid.spacing`
      --> small.toml:20:1
       |
    20 | "grid.spacing" = [1]
       | ^^^^^^^^^^^^^^
       |
       = help: known here: tau, rho, calls, steps, end, window

    error: unknown key `solver.kindd`
      --> small.toml:22:18
       |
    22 |   { label = "a", "solver.kindd" = "ddim" },
       |                  ^^^^^^^^^^^^^^
       |
       = help: did you mean `solver.kind`?

    error: an entry of the axis `variance` has no label
      --> small.toml:23:3
       |
    23 |   { "solver.kind" = "heum" },
       |   ^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: what the table and the plots should call it: `label = "eta = 0.2"`

    error: there is no solver called `heum`
      --> small.toml:23:21
       |
    23 |   { "solver.kind" = "heum" },
       |                     ^^^^^^
       |
       = help: did you mean `heun`?
    "#);
}

#[test]
fn axes_that_cannot_be_swept_say_why() {
    let text = format!(
        "{SMALL}\n[sweep]\nseed = []\n\"grid.steps\" = 10\n\"solver.eta\" = [0.0, {{ label = \"x\" }}]\n\
         name = [\"a\", \"b\"]\n"
    );
    insta::assert_snapshot!(problems(&text, None, &[]), @r#"
    error: the axis `seed` has no values
      --> small.toml:20:8
       |
    20 | seed = []
       |        ^^
       |
       = help: remove the axis, or list at least one value

    error: the axis `grid.steps` must be a list, not `10`
      --> small.toml:21:16
       |
    21 | "grid.steps" = 10
       |                ^^
       |
       = help: write the values it takes: `"grid.steps" = [..]`

    error: the axis `solver.eta` mixes values and tables
      --> small.toml:22:16
       |
    22 | "solver.eta" = [0.0, { label = "x" }]
       |                ^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: list values for one path, or tables that each have a `label`

    error: a sweep cannot set `name`
      --> small.toml:23:1
       |
    23 | name = ["a", "b"]
       | ^^^^
       |
       = help: `name` is the same for every cell
    "#);
}

#[test]
fn two_ways_to_write_one_cell_are_one_cell_too_many() {
    let text = format!(
        "{}\n[sweep]\n\"grid.steps\" = [5, 10]\n\"solver.eta\" = [0, 0.5, 0.0]\n",
        small_with("eta = 0.0\n", "")
    );
    insta::assert_snapshot!(problems(&text, None, &[]), @r#"
    error: `0` and `0.0` of the axis `solver.eta` mean the same cell
      --> small.toml:20:25
       |
    20 | "solver.eta" = [0, 0.5, 0.0]
       |                 -       ^^^
       |                 |
       |                 the first
       |
       = help: remove one: they would give the same numbers
    "#);
}

#[test]
fn two_axes_that_set_the_same_path_are_refused() {
    let text = format!(
        "{SMALL}\n[sweep]\n\"solver.eta\" = [0.0, 0.5]\nnoise = [\n  {{ label = \"none\", solver.eta = 0.0 }},\n  \
         {{ label = \"none\", solver.eta = 1.0 }},\n]\n"
    );
    insta::assert_snapshot!(problems(&text, None, &[]), @r#"
    error: two axes of the sweep set `solver.eta`
      --> small.toml:21:1
       |
    20 | "solver.eta" = [0.0, 0.5]
       | ------------ the other axis
    21 | noise = [
       | ^^^^^
       |
       = help: put both into one axis of bundles, each with a `label`

    error: the axis `noise` has two entries called `none`
      --> small.toml:23:3
       |
    22 |   { label = "none", solver.eta = 0.0 },
       |   ------------------------------------ the first
    23 |   { label = "none", solver.eta = 1.0 },
       |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: labels name the rows and columns of the table: make them different
    "#);
}

#[test]
fn a_product_that_nobody_can_run_is_refused_with_its_size() {
    let many: Vec<String> = (1..=200).map(|n| n.to_string()).collect();
    let text = format!("{SMALL}\n[sweep]\nseed = [{0}]\n\"grid.steps\" = [{0}]\n", many.join(", "));
    let problems = problems(&text, None, &[]);
    let short: Vec<&str> = problems.lines().filter(|line| !line.starts_with("22 |")).collect();
    insta::assert_snapshot!(short.join("\n"), @r#"
    error: the sweep has 40000 cells (200 x 200)
      --> small.toml:21:1
       |
    21 | "grid.steps" = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 3...
       | ^^^^^^^^^^^^
       |
       = help: at most 10000 are accepted; split the experiment
    "#);
}

#[test]
fn what_was_there_gives_way_to_what_is_given() {
    let text = |arguments: &[&str]| {
        let arguments: Vec<Argument> = arguments.iter().copied().map(Argument::set).collect();
        let manifest = Manifest::parse("below.toml", BELOW).unwrap().giving_way_to(&arguments);
        manifest.plan(None, &arguments, &vocabulary()).unwrap_or_else(|e| panic!("{e:?}")).cells[0]
            .spec
            .canonical_json()
    };
    for (arguments, holds, lacks) in [
        (&["grid.tau=[400, 200, 1]"][..], r#""tau":[400.0,200.0,1.0],"steps":3"#, "rho"),
        (&["grid.calls=12"], r#""calls":12"#, "steps"),
        (&["grid.tau=official-quad"], r#""tau":"official-quad","steps":50"#, "rho"),
        (&["grid.tau=karras"], r#""rho":5.0"#, "official-quad"),
        (&["schedule.kind=cosine"], r#""kind":"cosine","horizon":500"#, "beta"),
        (&["solver.variance=sigma-hat"], r#""named":"sigma-hat""#, "\"eta\""),
        (&["solver.kind=heun"], r#""kind":"heun""#, "\"eta\""),
        (&["model.source=models/x"], r#""source":"models/x""#, "exact"),
    ] {
        let json = text(arguments);
        assert!(json.contains(holds), "{arguments:?}: {json}");
        assert!(!json.contains(lacks), "{arguments:?}: {json}");
    }
    // Two of what was given still exclude each other.
    let both = ["grid.calls=12", "grid.steps=3"].map(Argument::set);
    let manifest = Manifest::parse("below.toml", BELOW).unwrap().giving_way_to(&both);
    let problems = manifest.plan(None, &both, &vocabulary()).unwrap_err().render(false);
    assert!(problems.contains("are both given"), "{problems}");
    assert!(!problems.contains("below.toml"), "{problems}");
}

const BELOW: &str = r#"
name = "below"
samples = 4
batch = 4

[model]
source = "gaussian"
shape = [1, 2, 2]
mean = 0.0
std = 0.5

[schedule]
beta_end = 0.03
horizon = 500

[grid]
tau = "karras"
rho = 5
steps = 50

[solver]
kind = "ddim"
eta = 0.5
"#;

#[test]
fn a_switch_that_is_off_leaves_the_key_of_a_cell_as_it_was() {
    let json = |sets: &[&str]| {
        let sets = [&["solver.eta=", "solver.kind=unipc-bh2"], sets].concat();
        let sets: Vec<Argument> = sets.iter().copied().map(Argument::set).collect();
        let vocabulary = ddim::run::assemble::vocabulary(&Registry::shipped());
        let plan = Manifest::parse("below.toml", BELOW).unwrap().plan(None, &sets, &vocabulary);
        plan.map(|plan| plan.cells[0].spec.canonical_json()).map_err(|e| e.render(false))
    };
    let plain = json(&[]).unwrap();
    assert!(plain.contains(r#""options":{"order":2.0}"#), "{plain}");
    assert_eq!(json(&["solver.lower_order_final=false"]).unwrap(), plain);
    let on = json(&["solver.lower_order_final=true"]).unwrap();
    assert!(on.contains(r#""options":{"lower_order_final":1.0,"order":2.0}"#), "{on}");
    let wrong = json(&["solver.lower_order_final=1"]).unwrap_err();
    assert!(wrong.contains("must be `true` or `false`, not `1`"), "{wrong}");
    let other = json(&["solver.kind=heun", "solver.lower_order_final=true"]).unwrap_err();
    assert!(other.contains("`solver.lower_order_final` does not apply to heun"), "{other}");
    assert!(
        other.contains("belongs to deis, dpm-solver++2m, sde-dpm-solver++2m, unipc-bh1"),
        "{other}"
    );
}

#[test]
fn every_profile_is_checked_and_its_problems_stand_in_it() {
    let text = format!(
        "{SMALL}\n[profile.full]\nsamples = 0\n[profile.full.solver]\nkind = \"heun\"\n\
         [profile.quick]\nsample = 8\n"
    );
    insta::assert_snapshot!(problems(&text, None, &[]), @r#"
    error: `solver.eta` does not apply to heun
      --> small.toml:17:1
       |
    17 | eta = 0.0
       | ^^^
    ...
    22 | kind = "heun"
       |        ------ chosen here
       |
       = note: found under `--profile full`
       = help: it belongs to ddim; remove it, or set it only in those entries of the sweep that use it (on the command line, `--set solver.eta=` removes it)

    error: `samples` must be at least 1, not `0`
      --> small.toml:20:11
       |
    20 | samples = 0
       |           ^
       |
       = note: found under `--profile full`
       = help: how many samples should a cell draw?

    error: unknown key `sample`
      --> small.toml:24:1
       |
    24 | sample = 8
       | ^^^^^^
       |
       = note: found under `--profile quick`
       = help: did you mean `samples`?
    "#);
    insta::assert_snapshot!(problems(SMALL, Some("ful"), &[]), @r"
    error: there is no profile `ful`
     --> command line:1:11
      |
    1 | --profile ful
      |           ^^^
      |
      = help: small.toml has no profiles
    ");
    insta::assert_snapshot!(problems(&format!("{SMALL}[profile.full]\n"), Some("ful"), &[]), @r"
    error: there is no profile `ful`
     --> command line:1:11
      |
    1 | --profile ful
      |           ^^^
      |
      = help: did you mean `full`?
    ");
}

#[test]
fn problems_of_an_argument_point_into_the_command_line() {
    let sets = [
        "grid.steps=many",
        "grid.stepz=5",
        "samples",
        "model.mean=[0.1,",
        "=3",
        "profile.full.seed=1",
    ];
    insta::assert_snapshot!(problems(SMALL, None, &sets), @r"
    error: `grid.steps` must be a whole number, 0 or more, not the string `many`
     --> command line:1:18
      |
    1 | --set grid.steps=many
      |                  ^^^^

    error: unknown key `grid.stepz`
     --> command line:1:12
      |
    1 | --set grid.stepz=5
      |            ^^^^^
      |
      = help: did you mean `grid.steps`?

    error: expected `path=value`
     --> command line:1:7
      |
    1 | --set samples
      |       ^^^^^^^
      |
      = help: for instance `--set grid.steps=20`

    error: not valid TOML: unclosed array, expected `]`
     --> command line:1:23
      |
    1 | --set model.mean=[0.1,
      |                       ^

    error: not valid TOML: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`
     --> command line:1:7
      |
    1 | --set =3
      |       ^

    error: an argument cannot change a profile
     --> command line:1:7
      |
    1 | --set profile.full.seed=1
      |       ^^^^^^^
      |
      = help: set the value itself: arguments are laid over the profile
    ");
}

#[test]
fn an_argument_that_the_sweep_would_undo_is_refused() {
    let text = format!("{SMALL}\n[sweep]\n\"grid.steps\" = [10, 20]\n");
    insta::assert_snapshot!(problems(&text, None, &["grid.steps=50"]), @r#"
    error: `grid.steps` has no effect: the sweep sets it in every cell
      --> command line:1:12
       |
     1 | --set grid.steps=50
       |            ^^^^^
       |
      ::: small.toml:20:1
       |
    20 | "grid.steps" = [10, 20]
       | ------------ set by this axis
       |
       = help: change the axis instead: `sweep.grid.steps`
    "#);
}

#[test]
fn an_explicit_tau_is_checked_label_by_label() {
    let list = |list: &str| small_with("\"official-quad\"", list);
    insta::assert_snapshot!(problems(&list("[999, 500, 0]"), None, &[]), @r"
    error: 10 steps, but `grid.tau` lists 3 timesteps
      --> small.toml:13:9
       |
    12 | tau = [999, 500, 0]
       |       ------------- the labels
    13 | steps = 10
       |         ^^
       |
       = help: leave out `grid.steps`: the list says how many there are
    ");
    let free = |labels: &str| list(labels).replace("steps = 10\n", "");
    insta::assert_snapshot!(problems(&free("[0, 500, 999]"), None, &[]), @r"
    error: the timestep 500 does not lie below 0, before it
      --> small.toml:12:11
       |
    12 | tau = [0, 500, 999]
       |           ^^^
       |
       = help: list timesteps from the noisiest down, each once: `tau = [999, 500, 0]`

    error: the timestep 999 does not lie below 500, before it
      --> small.toml:12:16
       |
    12 | tau = [0, 500, 999]
       |                ^^^
       |
       = help: list timesteps from the noisiest down, each once: `tau = [999, 500, 0]`
    ");
    insta::assert_snapshot!(problems(&free("[1000, 500, 500, -1]"), None, &[]), @r"
    error: the timestep 1000 does not lie between 0 and 999
      --> small.toml:12:8
       |
    12 | tau = [1000, 500, 500, -1]
       |        ^^^^
       |
       = help: timesteps count from 0; the clean end is not listed but chosen by `grid.end`

    error: the timestep 500 does not lie below 500, before it
      --> small.toml:12:19
       |
    12 | tau = [1000, 500, 500, -1]
       |                   ^^^
       |
       = help: list timesteps from the noisiest down, each once: `tau = [999, 500, 0]`

    error: the timestep -1 does not lie between 0 and 999
      --> small.toml:12:24
       |
    12 | tau = [1000, 500, 500, -1]
       |                        ^^
       |
       = help: timesteps count from 0; the clean end is not listed but chosen by `grid.end`
    ");
}

#[test]
fn an_argument_without_a_value_makes_room_for_another_choice() {
    let heun = plan(SMALL, None, &["solver.kind=heun", "solver.eta="]).unwrap();
    assert_eq!(heun.cells[0].spec.solver.variance, None);
    assert!(!heun.text.contains("eta = 0.0"));
    insta::assert_snapshot!(problems(SMALL, None, &["solver.variance="]), @r"
    error: `solver.variance` must be a string, not an empty value
     --> command line:1:23
      |
    1 | --set solver.variance=
      |                       ^
    ");
}

#[test]
fn exact_models_state_all_their_numbers_and_weights_none() {
    let mixture = SMALL
        .replace("\"gaussian\"", "\"mixture\"")
        .replace("mean = 0.1", "mean = [-0.5, 0.5]\nweights = [1, 0, 1]")
        .replace("shape = [3, 8, 8]", "shape = []");
    insta::assert_snapshot!(problems(&mixture, None, &[]), @r"
    error: `model.shape` must be three positive lengths, not `[]`
     --> small.toml:7:9
      |
    7 | shape = []
      |         ^^
      |
      = help: samples are images of C channels, H x W: `shape = [3, 8, 8]`

    error: 2 means, but 3 in `model.weights`
     --> small.toml:9:11
      |
    8 | mean = [-0.5, 0.5]
      |        ----------- the means
    9 | weights = [1, 0, 1]
      |           ^^^^^^^^^
      |
      = help: give one number per component

    error: `model.weights` must be positive, not `0`
     --> small.toml:9:15
      |
    9 | weights = [1, 0, 1]
      |               ^
      |
      = help: a component has some spread and some weight, or is left out
    ");
    let single = small_with("mean = 0.1\nstd = 0.5", "mean = [0.1, 0.2]");
    insta::assert_snapshot!(problems(&single, None, &[]), @r"
    error: `model.std` is missing
     --> small.toml:5:2
      |
    5 | [model]
      |  ^^^^^
      |
      = help: a number, or one per component

    error: `model.mean` must be a single number, not `[0.1, 0.2]`
     --> small.toml:8:8
      |
    8 | mean = [0.1, 0.2]
      |        ^^^^^^^^^^
      |
      = help: `gaussian` has a single component
    ");
    let weights = small_with("\"gaussian\"", "\"models/own\"").replace("std = 0.5\n", "");
    insta::assert_snapshot!(problems(&weights, None, &["model.source=hf:owner"]), @r"
    error: `model.mean` does not apply to weights from a file
     --> small.toml:8:1
      |
    8 | mean = 0.1
      | ^^^^
      |
     ::: command line:1:20
      |
    1 | --set model.source=hf:owner
      |                    -------- chosen here
      |
      = help: it belongs to gaussian, mixture, dirac, linear; remove it, or set it only in those entries of the sweep that use it (on the command line, `--set model.mean=` removes it)

    error: `hf:owner` does not name a repository
     --> command line:1:20
      |
    1 | --set model.source=hf:owner
      |                    ^^^^^^^^
      |
      = help: write `hf:owner/name`, `hf:owner/name/folder` or `hf:owner/name@revision`
    ");
}

#[test]
fn too_few_samples_for_an_interval_are_refused() {
    let text = format!("{SMALL}\n[metrics]\nfeatures = \"f\"\nreference = \"r\"\nblocks = 64\n");
    insta::assert_snapshot!(problems(&text, None, &[]), @r"
    error: 64 samples are too few for 64 blocks
     --> small.toml:2:11
      |
    2 | samples = 64
      |           ^^
      |
      = help: an interval needs at least two samples in each block: `samples` of at least 128, or fewer `metrics.blocks`
    ");
}

#[test]
fn tables_claims_and_plots_may_only_speak_of_what_there_is() {
    let text = format!(
        r#"{SMALL}
[sweep]
"grid.steps" = [10, 20]
seed = [0, 1]

[table]
rows = "seeds"
columns = "grid.steps"
value = "fid"

[paper]
source = "Table 1"
metric = "FID"
columns = ["10", "20", "50"]
rows = [{{ label = "0", values = [1.0, 2.0] }}]

[[claim]]
text = "The seed does not matter."
source = "nowhere"
check = "low"
row = "2"
columns = ["10", "50", "100"]

[[plot]]
name = "a/b"
title = "Which?"
x = "call"
y = "fd"
series = "seed"
x_label = "calls"
y_label = "fd"
"#
    );
    insta::assert_snapshot!(problems(&text, None, &[]), @r#"
    error: there is no axis `seeds`
      --> small.toml:24:8
       |
    24 | rows = "seeds"
       |        ^^^^^^^
       |
       = help: did you mean `seed`?

    error: there is no metric `fid`
      --> small.toml:26:9
       |
    26 | value = "fid"
       |         ^^^^^
       |
       = help: it is `fd` here, with `features = "inception"`

    error: the row `0` has 2 values, but there are 3 columns
      --> small.toml:32:33
       |
    32 | rows = [{ label = "0", values = [1.0, 2.0] }]
       |                                 ^^^^^^^^^^
       |
       = help: the columns are 10, 20, 50

    error: `claim.check` cannot be `low`
      --> small.toml:37:9
       |
    37 | check = "low"
       |         ^^^^^
       |
       = help: known here: lowest, highest, decreases, below, order, between

    error: there is no row `2`
      --> small.toml:38:7
       |
    38 | row = "2"
       |       ^^^
       |
       = help: known here: 0

    error: there is no column `100`
      --> small.toml:39:24
       |
    39 | columns = ["10", "50", "100"]
       |                        ^^^^^
       |
       = help: known here: 10, 20, 50

    error: `plot.name` cannot be the name of a file: `a/b`
      --> small.toml:42:8
       |
    42 | name = "a/b"
       |        ^^^^^
       |
       = help: use letters, digits, `-` and `_`

    error: there is no axis or column `call`
      --> small.toml:44:5
       |
    44 | x = "call"
       |     ^^^^^^
       |
       = help: did you mean `calls`?
    "#);
}

#[test]
fn text_that_is_not_toml_is_shown_where_it_stops_being_toml() {
    let text = "name = \"a\"\nsamples = many\nname = \"b\"\n[grid\ntau = 5\n";
    insta::assert_snapshot!(problems(text, None, &[]), @r#"
    error: not valid TOML: string values must be quoted, expected literal string
     --> small.toml:2:11
      |
    2 | samples = many
      |           ^^^^

    error: not valid TOML: duplicate key
     --> small.toml:3:1
      |
    3 | name = "b"
      | ^^^^

    error: not valid TOML: unclosed table, expected `]`
     --> small.toml:4:6
      |
    4 | [grid
      |      ^
    "#);
}

#[test]
fn numbers_are_read_in_every_form_that_toml_has() {
    let sets = ["samples=1_000", "batch=0x10", "model.std=1_0.5", "model.mean=-0.0", "seed=0b11"];
    let plan = plan(SMALL, None, &sets).unwrap();
    let spec = &plan.cells[0].spec;
    assert_eq!((spec.samples, spec.batch, spec.seed), (1000, 16, 3));
    let exact = spec.model.exact.as_ref().unwrap();
    assert_eq!(format!("{:?} {:?}", exact.mean, exact.std), "[0.0] [10.5]");
    insta::assert_snapshot!(problems(SMALL, None, &["model.std=inf", "seed=9_999_999_999_999_999_999"]), @r"
    error: `model.std` must be a finite number, not `inf`
     --> command line:1:17
      |
    1 | --set model.std=inf
      |                 ^^^

    error: `9_999_999_999_999_999_999` is too large or too small
     --> command line:1:12
      |
    1 | --set seed=9_999_999_999_999_999_999
      |            ^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: whole numbers lie between -2^63 and 2^63 - 1
    ");
}

#[test]
fn an_axis_can_be_removed_on_the_command_line() {
    let text = format!("{SMALL}\n[sweep]\n\"grid.steps\" = [10, 20]\nseed = [0, 1]\n");
    let plan = plan(&text, None, &["sweep.grid.steps=", "grid.steps=5"]).unwrap();
    assert_eq!(plan.cells.len(), 2);
    assert_eq!(plan.cells[1].params, [("seed".to_owned(), "1".to_owned())]);
    assert_eq!(plan.cells[1].spec.grid.steps, Steps::Number(5));
}

#[test]
fn later_checks_report_where_a_value_was_written() {
    let text = format!("{SMALL}\n[sweep]\n\"solver.eta\" = [0.5, 3.0]\n");
    let plan = plan(&text, None, &["seed=7"]).unwrap();
    let cell = &plan.cells[1];
    let problem = Diagnostic::error(cell.locate("solver.eta"), "eta = 3 leaves no room for noise")
        .help("the largest eta for this grid is 1.02");
    insta::assert_snapshot!(Diagnostics::new(vec![problem]), @r#"
    error: eta = 3 leaves no room for noise
      --> small.toml:20:22
       |
    20 | "solver.eta" = [0.5, 3.0]
       |                      ^^^
       |
       = help: the largest eta for this grid is 1.02
    "#);
    assert_eq!(cell.locate("seed").text(), "7");
    assert_eq!(cell.locate("grid.end").text(), "grid");
    assert_eq!(cell.locate("precision").text(), "");
}

#[test]
fn the_last_axis_changes_fastest_in_the_order_of_the_file() {
    let plan = table1(None, &[]);
    let cells: Vec<String> = plan
        .cells
        .iter()
        .map(|cell| format!("{} {} {}", cell.index, cell.params[0].1, cell.params[1].1))
        .collect();
    insta::assert_snapshot!(cells.join("\n"), @r"
    0 10 eta = 0.0
    1 10 eta = 0.2
    2 10 eta = 0.5
    3 10 eta = 1.0
    4 10 sigma-hat
    5 20 eta = 0.0
    6 20 eta = 0.2
    7 20 eta = 0.5
    8 20 eta = 1.0
    9 20 sigma-hat
    ");
}

#[test]
fn defaults_are_written_out_in_the_spec() {
    let spelled = plan(SMALL, None, &["seed=0", "grid.end=clean", "schedule.horizon=1000"]);
    let spelled = &spelled.unwrap().cells[0].spec;
    let short = &plan(&small_with("eta = 0.0\n", ""), None, &[]).unwrap().cells[0].spec;
    assert_eq!(spelled, short);
    insta::assert_snapshot!(short.canonical_json(), @r#"
    {"seed":0,"samples":64,"batch":32,"precision":"f32","model":{"source":"gaussian","prediction":"eps","clip_x0":false,"exact":{"shape":[3,8,8],"mean":[0.1],"std":[0.5],"weights":[]}},"schedule":{"kind":"linear","beta_start":0.0001,"beta_end":0.02,"horizon":1000},"grid":{"tau":"official-quad","steps":10,"end":"clean"},"solver":{"kind":"ddim","variance":{"eta":0.0}},"metrics":null}
    "#);
}

#[test]
fn only_the_sigma_hat_cells_of_table_1_clip_as_the_official_code_does() {
    for cell in table1(Some("full"), &[]).cells {
        let sigma_hat = cell.spec.solver.variance == Some(Variance::SigmaHat);
        assert_eq!(cell.spec.model.clip_x0, sigma_hat);
        assert_eq!(cell.spec.grid.tau, Tau::OFFICIAL_QUAD);
    }
}

#[test]
fn the_profiles_of_table_1_are_of_the_sizes_they_state() {
    assert_eq!(table1(None, &[]).cells.len(), 10);
    for (profile, samples) in [("full", 512), ("gpu", 1024)] {
        let plan = table1(Some(profile), &[]);
        assert_eq!((plan.cells.len(), plan.cells[0].spec.samples), (25, samples));
        assert_eq!(plan.cells[0].spec.model.source, "models/cifar10");
    }
    let small = table1(Some("small"), &[]);
    assert_eq!((small.cells.len(), small.cells[0].spec.samples), (10, 128));
    assert_eq!(small.cells[0].spec.model.source, "models/cifar10-small");
    let paper = table1(Some("paper"), &[]);
    assert_eq!((paper.cells.len(), paper.cells[0].spec.samples), (25, 50_000));
    assert_eq!(paper.cells[0].spec.schedule.kind, Rule::LinearF32);
    assert_eq!(paper.name, "table1-paper");
}

#[test]
fn the_claims_of_table_1_hold_in_the_published_table() {
    let plan = table1(None, &[]);
    let paper = plan.paper.unwrap();
    let value = |row: &str, column: &str| {
        let column = paper.columns.iter().position(|label| label == column).unwrap();
        paper.rows.iter().find(|known| known.label == row).unwrap().values[column]
    };
    assert_eq!(plan.claims.len(), 7);
    for claim in &plan.claims {
        let others = || paper.rows.iter().filter(|row| row.label != claim.row);
        let values: Vec<f64> =
            claim.columns.iter().map(|column| value(&claim.row, column)).collect();
        let holds = match claim.check {
            ClaimCheck::Decreases => values.is_sorted_by(|a, b| a > b),
            ClaimCheck::Lowest => claim
                .columns
                .iter()
                .all(|c| others().all(|row| value(&row.label, c) > value(&claim.row, c))),
            ClaimCheck::Highest => claim
                .columns
                .iter()
                .all(|c| others().all(|row| value(&row.label, c) < value(&claim.row, c))),
            ClaimCheck::Below => {
                let other = claim.other.as_deref().unwrap();
                claim.columns.iter().all(|c| value(&claim.row, c) < value(other, c))
            }
            ClaimCheck::Order | ClaimCheck::Between => panic!("not a check of this manifest"),
        };
        assert!(holds, "{}", claim.text);
    }
}

#[test]
fn the_manifest_as_run_gives_the_same_cells_by_itself() {
    let sets = ["samples=512", "model.source=weights/own model", "sweep.grid.steps=[1_0, 20]"];
    let run = table1(Some("full"), &sets);
    let again = Manifest::parse("results/table1/manifest.toml", run.text.as_str()).unwrap();
    let again = again.plan(None, &[], &vocabulary()).unwrap();
    assert_eq!(again.axes, run.axes);
    assert_eq!(again.claims, run.claims);
    assert_eq!(again.paper, run.paper);
    for (a, b) in again.cells.iter().zip(&run.cells) {
        assert_eq!(a.spec, b.spec);
    }
    assert_eq!(again.text, run.text);
    assert!(run.text.starts_with("# Question:"));
}

#[test]
fn without_profile_and_arguments_the_manifest_as_run_is_the_file_itself() {
    assert_eq!(plan(SMALL, None, &[]).unwrap().text, SMALL);
}

const MEASURED: &str = "\n[metrics]\nfeatures = \"f\"\nreference = \"r\"\nblocks = 4\n";

#[test]
fn measures_that_are_the_default_leave_the_key_of_a_cell_as_it_was() {
    let json = |more: &str| {
        let plan = plan(&format!("{SMALL}{MEASURED}{more}"), None, &[]);
        let json = plan.expect("it is right").cells[0].spec.canonical_json();
        json[json.find("\"metrics\"").expect("it is measured")..].to_owned()
    };
    insta::assert_snapshot!(json(""), @r#""metrics":{"features":"f","reference":"r","blocks":4,"quantise":true}}"#);
    assert_eq!(json("measures = [\"fd\"]"), json(""));
    insta::assert_snapshot!(json("measures = [\"kid\", \"fd\"]"), @r#""metrics":{"features":"f","reference":"r","blocks":4,"quantise":true,"measures":["fd","kid"]}}"#);
    assert_eq!(json("measures = [\"kid\", \"fd\"]"), json("measures = [\"fd\", \"kid\"]"));
}

#[test]
fn measures_that_make_no_sense_are_refused() {
    let wrong = |more: &str| problems(&format!("{SMALL}{MEASURED}{more}"), None, &[]);
    insta::assert_snapshot!(wrong("measures = [\"fd\", \"kidd\", \"fd\"]"), @r#"
    error: there is no measure called `kidd`
      --> small.toml:23:19
       |
    23 | measures = ["fd", "kidd", "fd"]
       |                   ^^^^^^
       |
       = help: did you mean `kid`?

    error: `fd` is listed twice
      --> small.toml:23:27
       |
    23 | measures = ["fd", "kidd", "fd"]
       |                           ^^^^
       |
       = help: name each measure once
    "#);
    insta::assert_snapshot!(wrong("measures = []"), @r#"
    error: `metrics.measures` is empty
      --> small.toml:23:12
       |
    23 | measures = []
       |            ^^
       |
       = help: name what is to be measured: `measures = ["fd", "kid"]`
    "#);
    insta::assert_snapshot!(wrong("extrapolate = false"), @r"
    error: unknown key `metrics.extrapolate`
      --> small.toml:23:1
       |
    23 | extrapolate = false
       | ^^^^^^^^^^^
       |
       = help: remove it: nothing is extrapolated in N any more, and the corrected value, which `metrics.csv` always has, is the better estimate
    ");
}

#[test]
fn a_table_shows_what_is_measured_and_averages_over_an_axis_of_its_own() {
    let show = |value: &str, over: &str, more: &str| {
        let text = format!(
            "{}{MEASURED}{more}\n[sweep]\nseed = [0, 1]\n\"solver.eta\" = [0.0, 1.0]\n\
             \"grid.steps\" = [5, 10]\n[table]\nrows = \"solver.eta\"\ncolumns = \
             \"grid.steps\"\nvalue = \"{value}\"\nover = \"{over}\"\n",
            SMALL.replace("eta = 0.0\n", "").replace("steps = 10\n", "")
        );
        plan(&text, None, &[]).map_err(|problems| problems.to_string())
    };
    let plan = show("kid", "seed", "measures = [\"kid\"]").expect("it is right");
    assert_eq!(plan.table.and_then(|table| table.over).as_deref(), Some("seed"));
    let wrong = |value: &str, over: &str| show(value, over, "").expect_err("it is wrong");
    insta::assert_snapshot!(wrong("kid", "grid.steps"), @r#"
    error: `kid` is not measured
      --> small.toml:29:9
       |
    29 | value = "kid"
       |         ^^^^^
       |
       = help: add it to `[metrics]`: `measures = [.., "kid"]`

    error: the axis `grid.steps` cannot be shown and averaged over
      --> small.toml:30:8
       |
    30 | over = "grid.steps"
       |        ^^^^^^^^^^^^
       |
       = help: `over` folds a further axis, for instance `seed`
    "#);
    insta::assert_snapshot!(wrong("fd", "sed"), @r#"
    error: there is no axis `sed`
      --> small.toml:30:8
       |
    30 | over = "sed"
       |        ^^^^^
       |
       = help: did you mean `seed`?
    "#);
}

#[test]
fn a_sweep_cannot_change_what_is_measured() {
    let text = format!("{SMALL}{MEASURED}\n[sweep]\n\"metrics.features\" = [\"f\", \"g\"]\n");
    insta::assert_snapshot!(problems(&text, None, &[]), @r#"
    error: the sweep changes `metrics.features`
      --> small.toml:25:28
       |
    25 | "metrics.features" = ["f", "g"]
       |                            ^^^
       |
       = help: every cell is measured alike; compare networks by `[metrics.also.NAME]`
    "#);
}

const TO_SOLUTION: &str = r#"
[solution]
kind = "dormand-prince"

[metrics]
measures = ["error"]
blocks = 4
"#;

#[test]
fn a_reference_solution_and_what_is_measured_to_it_need_each_other() {
    let both = format!("{SMALL}{TO_SOLUTION}");
    let json = plan(&both, None, &[]).expect("it is right").cells[0].spec.canonical_json();
    insta::assert_snapshot!(json[json.find("\"metrics\"").unwrap()..].to_owned(), @r#""metrics":{"blocks":4,"quantise":true,"measures":["error"]},"truth":{"solver":{"kind":"dormand-prince","options":{"atol":0.0001,"rtol":0.0001}}}}"#);
    insta::assert_snapshot!(problems(&both, None, &["solution="]), @r#"
    error: `error` compares with a reference solution, but there is no `[solution]`
      --> small.toml:22:1
       |
    22 | [metrics]
       | ^^^^^^^^^
       |
       = help: add `[solution]` with the method that counts as exact, for instance `kind = "dormand-prince"`, `rtol = 1e-9`, `atol = 1e-9`
    "#);
    insta::assert_snapshot!(problems(&both, None, &["metrics="]), @r#"
    error: nothing uses the reference solution
      --> small.toml:19:1
       |
    19 | [solution]
       | ^^^^^^^^^^
       |
       = help: add `error` or `feature-error` to `metrics.measures`, or remove `[solution]`
    "#);
    insta::assert_snapshot!(problems(&both, None, &["metrics.features=models/f"]), @r#"
    error: `metrics.features` is used by no measure
     --> command line:1:24
      |
    1 | --set metrics.features=models/f
      |                        ^^^^^^^^
      |
      = help: remove it, or measure `fd` or `kid`
    "#);
    insta::assert_snapshot!(problems(&both, None, &["solution.kind=ddpm"]), @r#"
    error: there is no solver called `ddpm`
     --> command line:1:21
      |
    1 | --set solution.kind=ddpm
      |                     ^^^^
      |
      = help: known here: exact, heun, dormand-prince
    "#);
    insta::assert_snapshot!(problems(&both, None, &["solution.rho=7.0"]), @r#"
    error: unknown key `solution.rho`
     --> command line:1:16
      |
    1 | --set solution.rho=7.0
      |                ^^^
      |
      = help: known here: steps, tau, kind, atol, rtol
    "#);
}

#[test]
fn the_old_name_of_the_reference_solution_means_the_same_and_is_remarked_on_once() {
    const REMARK: &str = "`[truth]` is called `[solution]` now; both are read";
    let base = SMALL.replace("[model]", "task = \"reconstruct\"\n\n[model]");
    let more = "\n[images]\nsource = \"solution\"\n\n[solution]\nkind = \"heun\"\ntau = \"karras\"\n\
                steps = 40\n\n[profile.own]\ntask = \"sample\"\nremove = [\"images\", \"solution\"]\n\n\
                [profile.finer.solution]\nsteps = 80\n\n\
                [profile.swept.sweep]\n\"solution.steps\" = [20, 30]\n\
                method = [{ label = \"a\", \"solution.rho\" = 7.0 }, { label = \"b\", \"solution.rho\" = 5.0 }]\n";
    let new = format!("{base}{more}");
    let keys = |text: &str, profile, sets: &[&str]| -> Vec<String> {
        let plan = plan(text, profile, sets).unwrap_or_else(|problems| panic!("{problems}"));
        plan.cells.iter().map(|cell| cell.spec.canonical_json()).collect()
    };
    let remarks = |text: &str, profile, sets: &[&str]| -> Vec<String> {
        plan(text, profile, sets).unwrap().remarks().into_iter().map(str::to_owned).collect()
    };
    let old = new.replace("solution", "truth");
    for profile in [None, Some("own"), Some("finer"), Some("swept")] {
        assert_eq!(keys(&old, profile, &[]), keys(&new, profile, &[]), "{profile:?}");
        assert_eq!(remarks(&old, profile, &[]), [REMARK], "{profile:?}");
        assert_eq!(remarks(&new, profile, &[]), [""; 0], "{profile:?}");
    }
    assert_eq!(keys(&new, Some("swept"), &[]).len(), 4);
    for (old, set) in [
        ("truth.steps=50", "solution.steps=50"),
        ("images.source=truth", "images.source=solution"),
        ("sweep.truth.steps=[50, 60]", "sweep.solution.steps=[50, 60]"),
    ] {
        assert_eq!(keys(&new, None, &[old]), keys(&new, None, &[set]), "{old}");
        assert_eq!(remarks(&new, None, &[old]), [REMARK], "{old}");
    }
    // One place at a time: each is remarked on by itself.
    let at = |line: &str| new.replace(line, &line.replace("solution", "truth"));
    for line in [
        "source = \"solution\"",
        "\n[solution]",
        "\"images\", \"solution\"",
        "\"solution.steps\"",
        "\"solution.rho\" = 7.0",
        "[profile.finer.solution]",
    ] {
        assert_eq!(remarks(&at(line), None, &[]), [REMARK], "{line}");
    }
    // The name of an axis is a column of results on disk, and stays as it was written.
    assert_eq!(plan(&old, Some("swept"), &[]).unwrap().axes[0].name, "truth.steps");
    let written = plan(&old, Some("finer"), &[]).unwrap().text;
    assert_eq!(keys(&written, None, &[]), keys(&new, Some("finer"), &[]));
}

#[test]
fn the_old_and_the_new_name_of_the_reference_solution_exclude_each_other() {
    let both = format!("{SMALL}{TO_SOLUTION}\n[truth]\nkind = \"heun\"\n");
    insta::assert_snapshot!(problems(&both, None, &[]), @r"
    error: `truth` is the old name of `solution`, which is here too
      --> small.toml:26:2
       |
    19 | [solution]
       |  -------- the other
    ...
    26 | [truth]
       |  ^^^^^
       |
       = help: keep `solution`
    ");
}

#[test]
fn a_window_falls_and_ends_where_it_says() {
    let both = format!("{SMALL}{TO_SOLUTION}");
    let window = |sets: &[&str]| problems(&both, None, sets);
    insta::assert_snapshot!(window(&["grid.window=[1.0, 10.0]"]), @r#"
    error: `grid.window` must be two falling positive numbers, not `[1.0, 10.0]`
     --> command line:1:19
      |
    1 | --set grid.window=[1.0, 10.0]
      |                   ^^^^^^^^^^^
      |
      = help: from the noisier sigma to the other: `window = [10.0, 1.0]`
    "#);
    insta::assert_snapshot!(window(&["grid.window=[10.0, 1.0]", "grid.end=clean"]), @r#"
    error: a window ends at its second sigma
     --> command line:1:16
      |
    1 | --set grid.end=clean
      |                ^^^^^
      |
     ::: command line:1:19
      |
    1 | --set grid.window=[10.0, 1.0]
      |                   ----------- the window
      |
      = help: remove `end`
    "#);
    insta::assert_snapshot!(window(&["grid.window=[10.0, 1.0]", "solution.tau=karras", "solution.steps=9"]), @r#"
    error: a reference solution with steps of its own cannot follow `grid.window`
      --> small.toml:19:1
       |
    19 | [solution]
       | ^^^^^^^^^^
       |
       = help: remove `solution.steps` and let an adaptive method cross the window
    "#);
    let alone = small_with("eta = 0.0\n", "");
    insta::assert_snapshot!(problems(&alone, None, &["grid.window=[10.0, 1.0]"]), @r#"
    error: the reference solution carries x_T to the window, but there is no `[solution]`
      --> small.toml:11:1
       |
    11 | [grid]
       | ^^^^^^
       |
       = help: add `[solution]` with the method that counts as exact, for instance `kind = "dormand-prince"`, `rtol = 1e-9`, `atol = 1e-9`
    "#);
}

#[test]
fn what_belongs_to_one_check_or_to_logarithmic_axes_is_refused_elsewhere() {
    let shown = |more: &str| {
        let sweep = "[sweep]\n\"grid.steps\" = [5, 10]\n\"solver.eta\" = [0.0, 1.0]\n\n[table]\n\
                     rows = \"solver.eta\"\ncolumns = \"grid.steps\"\nvalue = \"error\"\n";
        let small = small_with("eta = 0.0\n", "");
        plan(&format!("{small}{TO_SOLUTION}\n{sweep}{more}"), None, &[])
    };
    let claim = |more: &str| {
        let claim = "[[claim]]\ntext = \"t\"\nsource = \"s\"\nrow = \"0.0\"\n\
                     columns = [\"5\", \"10\"]\n";
        shown(&format!("\n{claim}{more}")).expect_err("the claim is wrong").to_string()
    };
    insta::assert_snapshot!(claim("check = \"below\"\n"), @r#"
    error: `claim.other` is missing
      --> small.toml:34:1
       |
    34 | [[claim]]
       | ^^^^^^^^^
       |
       = help: the label of the row to be below
    "#);
    insta::assert_snapshot!(claim("check = \"lowest\"\nother = \"1.0\"\n"), @r#"
    error: `claim.other` does not apply to this check
      --> small.toml:40:9
       |
    39 | check = "lowest"
       |         -------- chosen here
    40 | other = "1.0"
       |         ^^^^^
       |
       = help: remove it
    "#);
    insta::assert_snapshot!(claim("check = \"order\"\nbetween = [2.0, 1.0]\n"), @r#"
    error: an order needs to know what it is fitted against
      --> small.toml:39:9
       |
    39 | check = "order"
       |         ^^^^^^^
       |
       = help: say so in `[table]`: `fit = "calls"` or `fit = "S"`

    error: `claim.between` must be two rising numbers, not `[2.0, 1.0]`
      --> small.toml:40:11
       |
    40 | between = [2.0, 1.0]
       |           ^^^^^^^^^^
       |
       = help: the least and the largest order: `between = [1.9, 2.1]`
    "#);
    let plot = "\n[[plot]]\nname = \"p\"\ntitle = \"t\"\nx = \"grid.steps\"\ny = \"error\"\n\
                series = \"solver.eta\"\nx_label = \"S\"\ny_label = \"error\"\nlog_x = true\n\
                only = [\"0.5\"]\ntriangles = [1]\n";
    insta::assert_snapshot!(shown(plot).expect_err("the plot is wrong").to_string(), @r#"
    error: there is no curve `0.5`
      --> small.toml:43:9
       |
    43 | only = ["0.5"]
       |         ^^^^^
       |
       = help: known here: 0.0, 1.0

    error: an order is a slope on logarithmic axes only
      --> small.toml:44:13
       |
    44 | triangles = [1]
       |             ^^^
       |
       = help: set `log_x = true` and `log_y = true`, or remove `triangles`
    "#);
    let right = shown("fit = \"calls\"\n").expect("it is right");
    assert_eq!(right.table.expect("there is one").fit.expect("it fits").to_string(), "calls");
}

#[test]
fn steps_and_calls_decide_the_same_and_only_one_may() {
    let calls = plan(SMALL, None, &["grid.steps=", "grid.calls=12"]).expect("it is right");
    let json = calls.cells[0].spec.canonical_json();
    assert!(json.contains(r#""grid":{"tau":"official-quad","calls":12,"end":"clean"}"#), "{json}");
    let given = plan(SMALL, None, &["grid.calls=12"]).expect("it is right");
    assert_eq!(given.cells[0].spec.canonical_json(), json);
    insta::assert_snapshot!(problems(SMALL, None, &["grid.calls=12", "grid.steps=10"]), @r#"
    error: `grid.calls` and `grid.steps` are both given
     --> command line:1:18
      |
    1 | --set grid.calls=12
      |                  ^^
      |
     ::: command line:1:18
      |
    1 | --set grid.steps=10
      |                  -- given here
      |
      = help: remove one of them
    "#);
    insta::assert_snapshot!(problems(SMALL, None, &["grid.steps=", "grid.calls=0"]), @r#"
    error: `grid.calls` must be at least 1, not `0`
     --> command line:1:18
      |
    1 | --set grid.calls=0
      |                  ^
      |
      = help: every solver asks the model at least once
    "#);
}

#[test]
fn the_distance_of_features_needs_a_reference_solution_and_features_and_no_reference() {
    let with = |more: &str| {
        let measured = TO_SOLUTION.replace("\"error\"", "\"feature-error\"");
        plan(&format!("{SMALL}{measured}{more}"), None, &[]).map_err(|wrong| wrong.to_string())
    };
    let json = with("features = \"f\"\n").expect("it is right").cells[0].spec.canonical_json();
    insta::assert_snapshot!(json[json.find("\"metrics\"").unwrap()..].to_owned(), @r#""metrics":{"features":"f","blocks":4,"quantise":true,"measures":["feature-error"]},"truth":{"solver":{"kind":"dormand-prince","options":{"atol":0.0001,"rtol":0.0001}}}}"#);
    insta::assert_snapshot!(with("reference = \"r\"\n").expect_err("it is wrong"), @r#"
    error: `metrics.features` is missing
      --> small.toml:22:2
       |
    22 | [metrics]
       |  ^^^^^^^
       |
       = help: the folder or file of the feature network

    error: `metrics.reference` is used by no measure
      --> small.toml:25:13
       |
    25 | reference = "r"
       |             ^^^
       |
       = help: remove it, or measure `fd` or `kid`
    "#);
    let alone = format!("{SMALL}\n[metrics]\nmeasures = [\"feature-error\"]\nfeatures = \"f\"\n");
    insta::assert_snapshot!(problems(&alone, None, &[]), @r#"
    error: `feature-error` compares with a reference solution, but there is no `[solution]`
      --> small.toml:19:1
       |
    19 | [metrics]
       | ^^^^^^^^^
       |
       = help: add `[solution]` with the method that counts as exact, for instance `kind = "dormand-prince"`, `rtol = 1e-9`, `atol = 1e-9`
    "#);
}

#[test]
fn a_line_is_fitted_to_times_against_calls_or_steps_alone() {
    let plot = |lines: &str| {
        let plot = "[sweep]\n\"solver.eta\" = [0.0, 1.0]\n[[plot]]\nname = \"p\"\ntitle = \"t\"\n\
                    series = \"solver.eta\"\nx_label = \"x\"\ny_label = \"y\"\n";
        let small = small_with("eta = 0.0\n", "");
        plan(&format!("{small}{plot}{lines}"), None, &[]).map_err(|wrong| wrong.to_string())
    };
    let timed = "x = \"calls\"\ny = \"seconds\"\n";
    let plan = plot(&format!("{timed}fit = \"line\"\n")).expect("it is right");
    assert_eq!(plan.plots[0].fit, Some(Fitted::Line));
    assert_eq!(plot(timed).expect("it is right").plots[0].fit, None);
    let wrong = |lines: &str| plot(lines).expect_err("it is wrong");
    insta::assert_snapshot!(wrong("x = \"calls\"\ny = \"fd\"\nfit = \"line\"\n"), @r#"
    error: no straight line is fitted to `fd`
      --> small.toml:27:7
       |
    26 | y = "fd"
       |     ---- chosen here
    27 | fit = "line"
       |       ^^^^^^
       |
       = help: set `y = "seconds"`, or remove `fit`; `[table]` fits orders of convergence
    "#);
    insta::assert_snapshot!(wrong("x = \"solver.eta\"\ny = \"seconds\"\nfit = \"line\"\n"), @r#"
    error: no straight line is fitted against `solver.eta`
      --> small.toml:27:7
       |
    25 | x = "solver.eta"
       |     ------------ chosen here
    26 | y = "seconds"
    27 | fit = "line"
       |       ^^^^^^
       |
       = help: set `x = "calls"` or `x = "S"`
    "#);
    insta::assert_snapshot!(wrong(&format!("{timed}fit = \"lin\"\n")), @r#"
    error: `plot.fit` cannot be `lin`
      --> small.toml:27:7
       |
    27 | fit = "lin"
       |       ^^^^^
       |
       = help: did you mean `line`?
    "#);
    insta::assert_snapshot!(wrong("x = \"calls\"\ny = \"second\"\n"), @r#"
    error: there is no metric `second`
      --> small.toml:26:5
       |
    26 | y = "second"
       |     ^^^^^^^^
       |
       = help: did you mean `seconds`?
    "#);
}

#[test]
fn what_a_run_left_may_name_labels_that_it_did_not_run() {
    let small = small_with("eta = 0.0\n", "");
    let text = format!(
        "{small}{TO_SOLUTION}\n[sweep]\n\"grid.steps\" = [5, 10]\n\"solver.eta\" = [0.0, 1.0]\n\n\
         [table]\nrows = \"solver.eta\"\ncolumns = \"grid.steps\"\nvalue = \"error\"\n\n\
         [[claim]]\ntext = \"t\"\nsource = \"s\"\ncheck = \"decreases\"\nrow = \"0.0\"\n\
         columns = [\"5\", \"10\"]\n"
    );
    let run = plan(&text, None, &["sweep.grid.steps=[5]"]).expect("it is right");
    let left = Manifest::parse("manifest.toml", run.text.as_str()).unwrap();
    assert!(left.plan(None, &[], &vocabulary()).is_err(), "the axis has no 10 any more");
    let plan = left.plan_of_run(&vocabulary()).unwrap();
    assert_eq!((plan.cells.len(), plan.claims.len()), (2, 1));
    let outline = Outline::new(&plan, |_| (5, None));
    let kept = Outline::parse(outline.json().as_bytes()).unwrap();
    assert!(kept.claims.is_empty() && kept.cells == outline.cells);
    assert_eq!(left.show(kept).unwrap(), outline);
}
