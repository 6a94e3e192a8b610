//! Timesteps that are chosen for a model: `ddim tau`, and the file of it in a manifest.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use ddim::core::{CLEAN, Level, Schedule};
use support::{linear, program::Ddim};

const GAUSSIAN: [&str; 9] =
    ["--model", "gaussian", "--shape", "1,2,2", "--mean", "0.2", "--std", "0.5", "--quiet"];

const MANIFEST: &str = r#"
name = "chosen"
samples = 64
batch = 64

[model]
source = "gaussian"
shape = [1, 2, 2]
mean = 0.2
std = 0.5

[grid]
tau = "tau.toml"

[solver]
kind = "ddim"

[solution]
kind = "exact"
tau = [999]

[metrics]
measures = ["error"]

[sweep]
tau = [
    { label = "chosen", "grid.tau" = "tau.toml" },
    { label = "linear", "grid.tau" = "paper-linear" },
    { label = "quadratic", "grid.tau" = "paper-quadratic" },
]
"grid.steps" = [3, 6]

[table]
rows = "tau"
columns = "grid.steps"
value = "error"
"#;

/// A file of timesteps for S = 3 and 6.
fn choose(ddim: &Ddim, more: &[&str]) {
    let flags = ["--steps", "40", "--samples", "8", "--out", "tau.toml"];
    ddim.succeeds(&[&["tau", "3,6"], &GAUSSIAN[..], &flags, more].concat());
}

fn read(ddim: &Ddim) -> toml::Table {
    String::from_utf8(ddim.read("tau.toml")).unwrap().parse().unwrap()
}

fn timesteps(ddim: &Ddim, list: usize) -> Vec<f64> {
    let file = read(ddim);
    let listed = file["tau"][list]["timesteps"].as_array().unwrap().clone();
    listed.into_iter().map(|t| t.as_integer().unwrap() as f64).collect()
}

/// What DDIM keeps of z on its way along these timesteps to the data, less what the flow keeps: the
/// data are N(0.2, 0.25), and x-bar is 0.2 + sqrt(sigma^2 + 0.25) z.
fn error(schedule: &Schedule, timesteps: &[f64]) -> f64 {
    let mut levels: Vec<Level> = timesteps.iter().map(|&t| schedule.level(t).unwrap()).collect();
    levels.push(CLEAN);
    let spread = |level: &Level| (level.sigma().powi(2) + 0.25).sqrt();
    let kept = levels.windows(2).fold(spread(&levels[0]), |kept, two| {
        let sigma = two[0].sigma();
        kept * (1.0 + (two[1].sigma() - sigma) * sigma / spread(&two[0]).powi(2))
    });
    (kept - 0.5).abs()
}

#[test]
fn on_a_gaussian_no_single_change_of_the_chosen_timesteps_is_much_better() {
    let ddim = Ddim::new();
    choose(&ddim, &["--objective", "carried"]);
    let schedule = linear();
    let file = read(&ddim);
    let candidates = file["settings"]["candidates"].as_array().unwrap();
    let candidates: Vec<f64> = candidates.iter().map(|t| t.as_integer().unwrap() as f64).collect();
    for (list, steps) in [(0, 3), (1, 6)] {
        let chosen = timesteps(&ddim, list);
        assert_eq!((chosen.len(), chosen[0]), (steps, 999.0));
        assert!(chosen.iter().all(|t| candidates.contains(t)));
        let found = error(&schedule, &chosen);
        // All errors of a Gaussian have one direction, so their sum is the error at the end but for
        // what earlier errors change in later ones.
        for place in 1..steps {
            for &t in &candidates {
                let mut other = chosen.clone();
                other[place] = t;
                if other.windows(2).all(|two| two[0] > two[1]) {
                    assert!(found < 1.1 * error(&schedule, &other), "{chosen:?} {other:?}");
                }
            }
        }
        let by_hand = (1..=steps).rev().map(|i| (1000 * i * i / (steps * steps)) as f64 - 1.0);
        assert!(found < error(&schedule, &by_hand.collect::<Vec<_>>()));
    }
}

#[test]
fn the_same_settings_choose_the_same_bytes_and_other_errors_other_timesteps() {
    let ddim = Ddim::new();
    choose(&ddim, &[]);
    let first = ddim.read("tau.toml");
    choose(&ddim, &["--batch", "3"]);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let lists = |bytes: &[u8]| {
        let text = text(bytes);
        text.lines().filter(|line| !line.starts_with("cost")).map(str::to_owned).collect::<Vec<_>>()
    };
    // A sum of floats depends on where it is cut.
    assert_eq!(lists(&ddim.read("tau.toml")), lists(&first));
    choose(&ddim, &[]);
    assert_eq!(text(&ddim.read("tau.toml")), text(&first));
    let scaled = timesteps(&ddim, 0);
    choose(&ddim, &["--objective", "local"]);
    let local = timesteps(&ddim, 0);
    choose(&ddim, &["--objective", "carried"]);
    let carried = timesteps(&ddim, 0);
    assert!(scaled != local && scaled != carried && local != carried, "{scaled:?} {local:?}");
    // What counts at the end of the path chooses the best end of the path.
    let schedule = linear();
    let [best, one, other] = [&carried, &scaled, &local].map(|list| error(&schedule, list));
    assert!(best < one && best < other, "{best} {one} {other}");
}

#[test]
fn a_manifest_takes_the_timesteps_of_its_s() {
    let ddim = Ddim::new();
    choose(&ddim, &[]);
    ddim.write("m.toml", MANIFEST);
    let said = String::from_utf8(ddim.run(&["run", "m.toml"]).stderr).unwrap();
    assert!(!said.contains("warning"), "{said}");
    // A cell is what it visits, whatever gave it the timesteps.
    let keys = |folder: &str| {
        let rows = String::from_utf8(ddim.read(&format!("results/{folder}/metrics.csv"))).unwrap();
        let key = |row: &str| row.split(',').nth(1).unwrap().to_owned();
        rows.lines().skip(1).map(key).collect::<Vec<_>>()
    };
    let all = keys("chosen");
    assert_eq!(all.len(), 6);
    let one = MANIFEST.split("[sweep]").next().unwrap();
    for list in [0, 1] {
        let listed = format!("{:?}", timesteps(&ddim, list));
        ddim.write("one.toml", one.replace("\"tau.toml\"", &listed));
        ddim.succeeds(&["run", "one.toml", "--quiet", "--fresh", "--out", "results/one"]);
        assert_eq!(keys("one"), [all[list].clone()]);
    }
}

#[test]
fn timesteps_of_another_model_are_used_with_a_warning() {
    let ddim = Ddim::new();
    choose(&ddim, &[]);
    ddim.write("m.toml", MANIFEST);
    let said = |set: &str| {
        let output = ddim.run(&["run", "m.toml", "--fresh", "--set", set]);
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let model = said("model.std=0.4");
    assert!(
        model.contains(
            "warning: gaussian: these timesteps were chosen for another model, gaussian (SHA-256 "
        ),
        "{model}"
    );
    let schedule = said("schedule.beta_end=0.03");
    assert!(
        schedule.contains("were chosen for another schedule, {\"kind\":\"linear\""),
        "{schedule}"
    );
    assert!(!said("samples=128").contains("warning"));
}

#[test]
fn what_a_file_lacks_is_refused_at_its_line() {
    let ddim = Ddim::new();
    choose(&ddim, &[]);
    ddim.write("m.toml", MANIFEST.replace("[3, 6]", "[3, 7]"));
    insta::assert_snapshot!(ddim.fails(2, &["check", "m.toml"]), @r#"
    error: tau.toml has no timesteps for S = 7, only for S = 3, 6
      --> m.toml:31:20
       |
    31 | "grid.steps" = [3, 7]
       |                    ^
       |
       = help: choose one of these, or have `ddim tau` choose timesteps for this S too
    "#);
    let calls = MANIFEST.replace("grid.steps\" = [3, 6]", "grid.calls\" = [3]");
    let calls = calls.replace("columns = \"grid.steps\"", "columns = \"grid.calls\"");
    ddim.write("m.toml", calls);
    insta::assert_snapshot!(ddim.fails(2, &["check", "m.toml"]), @r#"
    error: tau.toml has timesteps for some S, and none for a number of calls
      --> m.toml:31:17
       |
    31 | "grid.calls" = [3]
       |                 ^
       |
       = help: give `steps`: DDIM makes one call a step
    "#);
    let text = String::from_utf8(ddim.read("tau.toml")).unwrap();
    ddim.write("m.toml", MANIFEST);
    ddim.write("tau.toml", text.replace("steps = 3", "steps = 4"));
    insta::assert_snapshot!(ddim.fails(2, &["check", "m.toml"]), @r#"
    error: tau.toml lists 3 timesteps as those of S = 4
      --> m.toml:27:38
       |
    27 |     { label = "chosen", "grid.tau" = "tau.toml" },
       |                                      ^^^^^^^^^^
       |
       = help: `ddim tau 5,10,20 --model MODEL --out FILE.toml` writes such a file
    "#);
    ddim.write("tau.toml", text.replace("[999, ", "[1000, "));
    insta::assert_snapshot!(ddim.fails(2, &["check", "m.toml"]), @r#"
    error: the timestep 1000 does not lie between 0 and 999
      --> m.toml:27:38
       |
    27 |     { label = "chosen", "grid.tau" = "tau.toml" },
       |                                      ^^^^^^^^^^
       |
       = help: timesteps count from 0; the clean end is not listed but chosen by `grid.end`
    "#);
    ddim.write("tau.toml", "name = \"a manifest\"\n");
    insta::assert_snapshot!(ddim.fails(2, &["check", "m.toml"]), @r#"
    error: tau.toml is no file of `ddim tau`, line 1: unknown field `name`, expected one of `chosen_for`, `settings`, `tau`
      --> m.toml:27:38
       |
    27 |     { label = "chosen", "grid.tau" = "tau.toml" },
       |                                      ^^^^^^^^^^
       |
       = help: `ddim tau 5,10,20 --model MODEL --out FILE.toml` writes such a file
    "#);
    std::fs::remove_file(ddim.path("tau.toml")).unwrap();
    insta::assert_snapshot!(ddim.fails(2, &["check", "m.toml"]), @r#"
    error: tau.toml cannot be read: No such file or directory (os error 2)
      --> m.toml:27:38
       |
    27 |     { label = "chosen", "grid.tau" = "tau.toml" },
       |                                      ^^^^^^^^^^
       |
       = help: `ddim tau 5,10,20 --model MODEL --out FILE.toml` writes such a file
    "#);
}

#[test]
fn candidates_may_be_listed() {
    let ddim = Ddim::new();
    let listed = ["--tau", "999,700,400,100,0", "--samples", "8", "--out", "tau.toml"];
    ddim.succeeds(&[&["tau", "3,5"], &GAUSSIAN[..], &listed].concat());
    assert_eq!(timesteps(&ddim, 1), [999.0, 700.0, 400.0, 100.0, 0.0]);
    let three = timesteps(&ddim, 0);
    assert!(three.len() == 3 && three.iter().all(|t| timesteps(&ddim, 1).contains(t)));
}

#[test]
fn what_no_timesteps_can_be_chosen_for_is_refused() {
    let ddim = Ddim::new();
    let refused = |s: &str, more: &[&str]| {
        ddim.fails(2, &[&["tau", s], &GAUSSIAN[..], &["--steps", "10"], more].concat())
    };
    let out = ["--out", "tau.toml"];
    insta::assert_snapshot!(refused("5", &["--out", "tau.txt"]), @r#"error: --out tau.txt: timesteps are written as .toml; give a name that ends in it"#);
    insta::assert_snapshot!(refused("5,11", &out), @r#"error: S = 11: choose from 1 to 10, the number of candidates (--steps)"#);
    insta::assert_snapshot!(refused("0", &out), @r#"error: S = 0: choose from 1 to 10, the number of candidates (--steps)"#);
    insta::assert_snapshot!(refused("5,5", &out), @r#"error: S = 5 is named twice"#);
    insta::assert_snapshot!(refused("5", &[&out[..], &["--solver", "heun"]].concat()), @r#"error: timesteps are chosen for ddim with eta = 0: leave --solver and --eta out"#);
    insta::assert_snapshot!(refused("5", &[&out[..], &["--eta", "1"]].concat()), @r#"error: timesteps are chosen for ddim with eta = 0: leave --solver and --eta out"#);
    insta::assert_snapshot!(refused("5", &[&out[..], &["--end", "first-level"]].concat()), @r#"error: timesteps are chosen for grids that end clean: leave --end out"#);
    assert!(!ddim.path("tau.toml").exists());
}

#[test]
fn a_curvature_is_that_of_the_closed_form_and_bounds_a_step_of_ddim() {
    let ddim = Ddim::new();
    let manifest = MANIFEST.split("[grid]").next().unwrap();
    // One step's error and the curvature of the whole path are s z (1 - s / sqrt(s^2 + sigma^2)).
    let grid = |words: &str, measures: &str| {
        format!("{manifest}\n{words}\n[metrics]\nmeasures = [{measures}]\n")
    };
    let solution = "solution = { kind = \"exact\" }\n";
    let straight = "grid = { tau = [999] }\nsolver = { kind = \"ddim\" }\n";
    let fine = "grid = { tau = \"log-snr\", steps = 1000 }\nsolver = { kind = \"heun\" }\n";
    let value = |text: String, column: &str| -> f64 {
        ddim.write("c.toml", text);
        ddim.succeeds(&["run", "c.toml", "--quiet", "--fresh"]);
        let rows = String::from_utf8(ddim.read("results/chosen/metrics.csv")).unwrap();
        let place = rows.lines().next().unwrap().split(',').position(|name| name == column);
        rows.lines().nth(1).unwrap().split(',').nth(place.unwrap()).unwrap().parse().unwrap()
    };
    let error = {
        let (head, tail) = (grid("", "\"error\""), format!("{solution}{straight}"));
        let (top, rest) = head.split_once("[model]").unwrap();
        value(format!("{top}{tail}[model]{rest}"), "error")
    };
    let bent = |words: &str, column: &str| {
        let head = grid("", &format!("\"{column}\""));
        let (top, rest) = head.split_once("[model]").unwrap();
        value(format!("{top}{words}[model]{rest}"), column)
    };
    let curvature = bent(fine, "curvature");
    assert!((curvature / error - 1.0).abs() < 2e-3, "{curvature} {error}");
    assert!(bent(straight, "curvature") <= 0.0);
    // Over sigma squared the path of a Gaussian bends much more.
    assert!(bent(fine, "curvature-sigma2") > 20.0 * curvature);
    let head = grid("", "\"curvature\"");
    let (top, rest) = head.split_once("[model]").unwrap();
    let noisy = fine.replace("\"heun\"", "\"ddpm\"");
    ddim.write("c.toml", format!("{top}{noisy}[model]{rest}"));
    insta::assert_snapshot!(ddim.fails(2, &["check", "c.toml"]), @r#"
    error: `ddpm` draws noise, and `curvature` is of smooth paths
      --> c.toml:17:12
       |
    17 | measures = ["curvature"]
       |            ^^^^^^^^^^^^^
       |
       = help: take a method without noise, or measure something else
    "#);
}
