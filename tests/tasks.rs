//! Round trips and paths as tasks of a manifest.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use approx::assert_abs_diff_eq;
use ddim::core::{KeyedNoise, slerp};
use ddim::hardware::Hardware;
use ddim::manifest::{Argument, Manifest};
use ddim::plan::Plan;
use ddim::run::assemble::{Models, Samples, vocabulary};
use ddim::run::registry::Registry;
use ddim::run::{runner, tasks};
use ndarray::Axis;

const ROUND_TRIP: &str = r#"
name = "tasks"
samples = 8
batch = 8
task = "reconstruct"

[model]
source = "gaussian"
shape = [1, 4, 4]
mean = 0.2
std = 0.5

[images]
source = "solution"

[solution]
kind = "exact"

[grid]
tau = "linspace"
steps = 50

[solver]
kind = "ddim"
"#;

const PATH: &str = r#"
name = "tasks"
samples = 3
batch = 3
task = "interpolate"
points = 5

[model]
source = "gaussian"
shape = [1, 4, 4]
mean = 0.2
std = 0.5

[grid]
tau = "linspace"
steps = 20

[solver]
kind = "ddim"
"#;

fn read(text: &str, sets: &[&str]) -> Result<Plan, String> {
    let sets: Vec<Argument> = sets.iter().copied().map(Argument::set).collect();
    let vocabulary = vocabulary(&Registry::shipped());
    let manifest = Manifest::parse("tasks.toml", text).map_err(|e| e.to_string())?;
    manifest.plan(None, &sets, &vocabulary).map_err(|e| e.to_string())
}

fn perform(text: &str, sets: &[&str]) -> Samples {
    let (plan, registry) = (read(text, sets).unwrap(), Registry::shipped());
    let spec = &plan.cells[0].spec;
    let mut models = Models::new(Hardware::open("cpu", Some(1)).unwrap(), &registry);
    let sampler = models.sampler(spec).unwrap();
    let samples =
        tasks::perform(&*sampler, spec, None, (0, spec.samples), &mut |_| Ok(())).unwrap();
    // What the plan says beforehand is what the model was asked.
    assert_eq!(samples.calls, runner::check(&plan, &registry).unwrap()[0].calls);
    samples
}

fn mean(samples: &Samples, name: &str) -> f64 {
    let values = &samples.numbers[name];
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn a_fixed_point_reconstructs_to_rounding_and_encodes_no_better() {
    let current = perform(ROUND_TRIP, &[]);
    let fixed = perform(ROUND_TRIP, &["solver.inversion=fixed-point", "solver.iterations=40"]);
    assert!(mean(&current, "mse") > 1e-6);
    assert!(mean(&fixed, "mse") < 1e-24, "{}", mean(&fixed, "mse"));
    assert!(mean(&fixed, "latent-error") > 0.1 * mean(&current, "latent-error"));
    for (raw, unit) in current.numbers["mse-raw"].iter().zip(&current.numbers["mse"]) {
        assert_abs_diff_eq!(*raw, 4.0 * unit, epsilon = 1e-18);
    }
}

#[test]
fn an_exact_encoder_finds_the_noise_that_images_were_made_of() {
    let adaptive = ["solver.kind=dormand-prince", "solver.rtol=1e-12", "solver.atol=1e-12"];
    let plan = read(ROUND_TRIP, &adaptive).unwrap();
    let registry = Registry::shipped();
    let mut models = Models::new(Hardware::open("cpu", Some(1)).unwrap(), &registry);
    let spec = &plan.cells[0].spec;
    let sampler = models.sampler(spec).unwrap();
    let samples = tasks::perform(&*sampler, spec, None, (0, 8), &mut |_| Ok(())).unwrap();
    assert!(samples.numbers["latent-error"].iter().all(|error| *error < 1e-8));
    assert!(samples.numbers["mse"].iter().all(|error| *error < 1e-18));
}

#[test]
fn heun_encodes_closer_than_ddim() {
    let error = |sets: &[&str]| mean(&perform(ROUND_TRIP, sets), "latent-error");
    assert!(error(&["solver.kind=heun"]) < 0.3 * error(&[]));
}

#[test]
fn the_path_of_an_affine_flow_is_the_arc_itself() {
    let samples = perform(PATH, &[]);
    let registry = Registry::shipped();
    let mut models = Models::new(Hardware::open("cpu", Some(1)).unwrap(), &registry);
    let spec = &read(PATH, &[]).unwrap().cells[0].spec;
    let sampler = models.sampler(spec).unwrap();
    let ends = sampler.initial(KeyedNoise { seed: 0, first: 0 }, 6).unwrap();
    for (path, found) in samples.numbers["path-length"].iter().enumerate() {
        let end = |i: usize| ends.index_axis(Axis(0), 2 * path + i).iter().copied().collect();
        let (a, b): (Vec<f64>, Vec<f64>) = (end(0), end(1));
        let arc: Vec<Vec<f64>> =
            (0..5).map(|k| slerp(&a, &b, f64::from(k) / 4.0).unwrap()).collect();
        let apart = |a: &[f64], b: &[f64]| {
            a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
        };
        let length: f64 = arc.windows(2).map(|two| apart(&two[0], &two[1])).sum();
        assert_abs_diff_eq!(*found, length / apart(&a, &b), epsilon = 1e-9);
    }
    // Every point draws noise of its own where the method does.
    let noisy = perform(PATH, &["solver.kind=ddpm"]);
    assert!(mean(&noisy, "path-length") > 2.0 * mean(&samples, "path-length"));
}

#[test]
fn what_belongs_to_another_task_is_refused() {
    let wrong = |text: &str, sets: &[&str]| read(text, sets).unwrap_err();
    insta::assert_snapshot!(wrong(PATH, &["images.source=solution"]), @r#"
    error: `images` does not apply to this task
     --> command line:1:7
      |
    1 | --set images.source=solution
      |       ^^^^^^
      |
      = help: it belongs to `task = "reconstruct"` and `task = "bits"` and `task = "objective"`; remove it, or choose that
    "#);
    insta::assert_snapshot!(wrong(ROUND_TRIP, &["points=5"]), @r#"
    error: `points` does not apply to this task
     --> command line:1:14
      |
    1 | --set points=5
      |              ^
      |
      = help: it belongs to `task = "interpolate"`; remove it, or choose that
    "#);
    insta::assert_snapshot!(wrong(PATH, &["points=2"]), @r#"
    error: `points` must be at least 3, not `2`
     --> command line:1:14
      |
    1 | --set points=2
      |              ^
      |
      = help: the images along the arc, its two ends among them
    "#);
    insta::assert_snapshot!(wrong(ROUND_TRIP, &["solution="]), @r#"
    error: `images.source = "solution"` needs a `[solution]`
      --> tasks.toml:13:1
       |
    13 | [images]
       | ^^^^^^^^
       |
       = help: add `[solution]`, for instance `kind = "ddim"`, `tau = "official-uniform"`, `steps = 1000`, or name a data set
    "#);
    let metrics = "\n[metrics]\nmeasures = [\"mse\", \"latent-error\"]\nblocks = 2\n";
    insta::assert_snapshot!(wrong(&format!("{PATH}{metrics}"), &[]), @r#"
    error: 3 samples are too few for 2 blocks
     --> tasks.toml:3:11
      |
    3 | samples = 3
      |           ^
      |
      = help: an interval needs at least two samples in each block: `samples` of at least 4, or fewer `metrics.blocks`

    error: `mse` is measured where `task = "reconstruct"`
     --> tasks.toml:5:8
      |
    5 | task = "interpolate"
      |        ^^^^^^^^^^^^^
      |
      = help: this cell's task is "interpolate": list measures of that

    error: `latent-error` is measured where `task = "reconstruct"`
     --> tasks.toml:5:8
      |
    5 | task = "interpolate"
      |        ^^^^^^^^^^^^^
      |
      = help: this cell's task is "interpolate": list measures of that
    "#);
    let own = ["solution.kind=heun", "solution.tau=linspace", "solution.steps=100"];
    insta::assert_snapshot!(wrong(&format!("{ROUND_TRIP}{metrics}"), &own), @r#"
    error: `latent-error` needs images whose latent at the grid's first level is known
      --> tasks.toml:26:1
       |
    26 | [metrics]
       | ^^^^^^^^^
       |
       = help: take `images.source = "solution"`, and a `[solution]` without `steps`
    "#);
    insta::assert_snapshot!(wrong(ROUND_TRIP, &["images.split=dev"]), @r#"
    error: `images.split` cannot be `dev`
     --> command line:1:20
      |
    1 | --set images.split=dev
      |                    ^^^
      |
      = help: known here: train, test
    "#);
}

#[test]
fn a_method_that_draws_noise_encodes_nothing() {
    let plan = read(ROUND_TRIP, &["solver.kind=ddpm"]).unwrap();
    let error = runner::check(&plan, &Registry::shipped()).map(drop).unwrap_err().to_string();
    assert!(error.contains("ddpm") && error.contains("draw no noise"), "{error}");
}

#[test]
fn a_profile_can_do_without_a_section_of_the_base() {
    let text = format!(
        "{ROUND_TRIP}\n[profile.plain]\ntask = \"sample\"\nremove = [\"images\", \"solution\"]\n"
    );
    let vocabulary = vocabulary(&Registry::shipped());
    let manifest = Manifest::parse("tasks.toml", text.as_str()).unwrap();
    let plan = manifest.plan(Some("plain"), &[], &vocabulary).unwrap();
    assert!(plan.cells[0].spec.solution.is_none());
    let bad = text.replace("[\"images\", \"solution\"]", "\"solution\"");
    let error = Manifest::parse("tasks.toml", bad).unwrap_err().to_string();
    insta::assert_snapshot!(error, @r#"
    error: `remove` must be a list of names
      --> tasks.toml:28:10
       |
    28 | remove = "solution"
       |          ^^^^^^^^^^
       |
       = help: what the profile does without: `remove = ["solution"]`
    "#);
}

#[test]
fn an_arc_with_shared_noise_is_the_arc_itself_where_the_map_is_affine() {
    let ddim = perform(PATH, &[]);
    let shared = perform(PATH, &["solver.kind=ddpm", "noise=shared"]);
    for (a, b) in ddim.numbers["path-length"].iter().zip(&shared.numbers["path-length"]) {
        assert_abs_diff_eq!(*a, *b, epsilon = 1e-9);
    }
    // Given its noise, DDPM keeps less of x_T than DDIM.
    assert!(mean(&shared, "path-ends") < 0.9 * mean(&ddim, "path-ends"));
    // A path has the noise of its own number, whatever batch it is in.
    let sets = ["solver.kind=ddpm", "noise=shared", "batch=1"];
    let plan = read(PATH, &sets).unwrap();
    let registry = Registry::shipped();
    let mut models = Models::new(Hardware::open("cpu", Some(1)).unwrap(), &registry);
    let spec = &plan.cells[0].spec;
    let sampler = models.sampler(spec).unwrap();
    let last = tasks::perform(&*sampler, spec, None, (2, 1), &mut |_| Ok(())).unwrap();
    let alone = last.numbers["path-ends"][0];
    assert_abs_diff_eq!(alone, shared.numbers["path-ends"][2], epsilon = 1e-15);
    // Without noise there is nothing to share.
    assert_eq!(perform(PATH, &["noise=shared"]).numbers["path-ends"], ddim.numbers["path-ends"]);
    let refused = read(PATH, &["task=sample", "points=", "noise=shared"]).unwrap_err();
    assert!(refused.contains("`noise` does not apply to this task"), "{refused}");
}
