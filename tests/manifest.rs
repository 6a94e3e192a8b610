//! What a reader of a broken manifest sees, and what the shipped one plans.

use std::path::Path;

use ddim::harness::diagnostic::{Diagnostic, Diagnostics};
use ddim::harness::manifest::{Kind, Manifest, Vocabulary};
use ddim::harness::plan::{Plan, Tau, VarianceSpec};
use ddim::harness::presentation::ClaimCheck;

fn vocabulary() -> Vocabulary {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Vocabulary {
        models: vec![
            Kind::new("gaussian", &["shape", "mean", "std"]),
            Kind::new("mixture", &["shape", "mean", "std", "weights"]),
            Kind::new("dirac", &["shape", "mean"]),
        ],
        schedules: vec![
            Kind::new("linear", &["beta_start", "beta_end"]),
            Kind::new("linear-f32", &["beta_start", "beta_end"]),
            Kind::new("cosine", &[]),
        ],
        taus: vec![
            Kind::new("official-quad", &[]),
            Kind::new("official-uniform", &[]),
            Kind::new("karras", &["rho"]),
        ],
        solvers: vec![
            Kind::new("ddim", &["eta", "variance"]),
            Kind::new("euler", &[]),
            Kind::new("heun", &[]),
        ],
        variances: names(&["sigma-hat", "learned"]),
        metrics: names(&["fd"]),
        columns: names(&["steps", "levels", "calls"]),
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
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
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
    let text = std::fs::read_to_string(path).unwrap();
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    let manifest = Manifest::parse("experiments/table1.toml", text).unwrap();
    manifest.plan(profile, &sets, &vocabulary()).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn unknown_keys_and_names_come_with_the_nearest_known_one() {
    let text = small_with("eta = 0.0", "etta = 0.0\n\n[metrcs]\nblocks = 2")
        .replace("\"ddim\"", "\"dimm\"")
        .replace("\"official-quad\"", "\"oficial-quad\"")
        .replace("\"gaussian\"", "\"gausian\"");
    insta::assert_snapshot!(problems(&text, None, &[]), @"");
}

#[test]
fn wrong_types_say_what_was_expected_and_what_was_found() {
    let text = small_with("steps = 10", "steps = \"10\"\nend = 3")
        .replace("samples = 64", "samples = -64")
        .replace("[3, 8, 8]", "[3, 8, 8.5]")
        .replace("name = \"small\"", "name = 5");
    insta::assert_snapshot!(problems(&text, None, &[]), @"");
}

#[test]
fn values_out_of_range_say_what_the_range_is() {
    let text = small_with("eta = 0.0", "eta = -0.5")
        .replace("batch = 32", "batch = 0\nseed = 1\nprecision = \"f16\"")
        .replace("steps = 10", "steps = 0")
        .replace("std = 0.5", "std = 0.0\n\n[schedule]\nbeta_start = 0.1\nhorizon = 0");
    insta::assert_snapshot!(problems(&text, None, &[]), @"");
}

#[test]
fn missing_keys_point_at_the_section_that_lacks_them() {
    insta::assert_snapshot!(problems("name = \"small\"\n\n[grid]\ntau = \"karras\"\n", None, &[]), @"");
}

#[test]
fn eta_and_a_named_variance_exclude_each_other_wherever_they_come_from() {
    insta::assert_snapshot!(problems(SMALL, None, &["solver.variance=sigma-hat"]), @"");
    let text = small_with("eta = 0.0", "eta = 0.0\nvariance = \"sigma-hat\"");
    insta::assert_snapshot!(problems(&text, None, &[]), @"");
}

#[test]
fn a_key_that_the_chosen_kind_would_ignore_is_refused() {
    let text = small_with("\"ddim\"", "\"heun\"").replace("steps = 10", "steps = 10\nrho = 7");
    insta::assert_snapshot!(problems(&text, None, &[]), @"");
}

#[test]
fn problems_of_a_swept_value_point_into_the_sweep() {
    let text = format!(
        "{}\n[sweep]\n\"grid.steps\" = [10, \"20\", 0]\n\"grid.spacing\" = [1]\nvariance = [\n  \
         {{ label = \"a\", \"solver.kindd\" = \"ddim\" }},\n  {{ \"solver.kind\" = \"heum\" }},\n]\n",
        small_with("eta = 0.0\n", "")
    );
    insta::assert_snapshot!(problems(&text, None, &[]), @"");
}

#[test]
fn axes_that_cannot_be_swept_say_why() {
    let text = format!(
        "{SMALL}\n[sweep]\nseed = []\n\"grid.steps\" = 10\n\"solver.eta\" = [0.0, {{ label = \"x\" }}]\n\
         name = [\"a\", \"b\"]\n"
    );
    insta::assert_snapshot!(problems(&text, None, &[]), @"");
}

#[test]
fn two_ways_to_write_one_cell_are_one_cell_too_many() {
    let text = format!(
        "{}\n[sweep]\n\"grid.steps\" = [5, 10]\n\"solver.eta\" = [0, 0.5, 0.0]\n",
        small_with("eta = 0.0\n", "")
    );
    insta::assert_snapshot!(problems(&text, None, &[]), @"");
}

#[test]
fn two_axes_that_set_the_same_path_are_refused() {
    let text = format!(
        "{SMALL}\n[sweep]\n\"solver.eta\" = [0.0, 0.5]\nnoise = [\n  {{ label = \"none\", solver.eta = 0.0 }},\n  \
         {{ label = \"none\", solver.eta = 1.0 }},\n]\n"
    );
    insta::assert_snapshot!(problems(&text, None, &[]), @"");
}

#[test]
fn a_product_that_nobody_can_run_is_refused_with_its_size() {
    let many: Vec<String> = (1..=200).map(|n| n.to_string()).collect();
    let text = format!(
        "{SMALL}\n[sweep]\nseed = [{0}]\n\"grid.steps\" = [{0}]\n",
        many.join(", ")
    );
    let problems = problems(&text, None, &[]);
    let short: Vec<&str> = problems.lines().filter(|line| !line.starts_with("22 |")).collect();
    insta::assert_snapshot!(short.join("\n"), @"");
}

#[test]
fn every_profile_is_checked_and_its_problems_stand_in_it() {
    let text = format!(
        "{SMALL}\n[profile.full]\nsamples = 0\n[profile.full.solver]\nkind = \"heun\"\n\
         [profile.quick]\nsample = 8\n"
    );
    insta::assert_snapshot!(problems(&text, None, &[]), @"");
    insta::assert_snapshot!(problems(SMALL, Some("ful"), &[]), @"");
    insta::assert_snapshot!(problems(&format!("{SMALL}[profile.full]\n"), Some("ful"), &[]), @"");
}

#[test]
fn problems_of_an_argument_point_into_the_command_line() {
    let sets = ["grid.steps=many", "grid.stepz=5", "samples", "model.mean=[0.1,", "=3"];
    insta::assert_snapshot!(problems(SMALL, None, &sets), @"");
}

#[test]
fn an_argument_that_the_sweep_would_undo_is_refused() {
    let text = format!("{SMALL}\n[sweep]\n\"grid.steps\" = [10, 20]\n");
    insta::assert_snapshot!(problems(&text, None, &["grid.steps=50"]), @"");
}

#[test]
fn an_explicit_tau_is_checked_label_by_label() {
    let list = |list: &str| small_with("\"official-quad\"", list);
    insta::assert_snapshot!(problems(&list("[999, 500, 0]"), None, &[]), @"");
    let free = |labels: &str| list(labels).replace("steps = 10\n", "");
    insta::assert_snapshot!(problems(&free("[0, 500, 999]"), None, &[]), @"");
    insta::assert_snapshot!(problems(&free("[1000, 0]"), None, &[]), @"");
}

#[test]
fn too_few_samples_for_an_interval_are_refused() {
    let text = format!("{SMALL}\n[metrics]\nfeatures = \"f\"\nreference = \"r\"\nblocks = 64\n");
    insta::assert_snapshot!(problems(&text, None, &[]), @"");
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
    insta::assert_snapshot!(problems(&text, None, &[]), @"");
}

#[test]
fn text_that_is_not_toml_is_shown_where_it_stops_being_toml() {
    let text = "name = \"a\"\nsamples = \nname = \"b\"\n[grid\ntau = 5\n";
    insta::assert_snapshot!(problems(text, None, &[]), @"");
}

#[test]
fn later_checks_report_where_a_value_was_written() {
    let text = format!("{SMALL}\n[sweep]\n\"solver.eta\" = [0.5, 3.0]\n");
    let plan = plan(&text, None, &["seed=7"]).unwrap();
    let cell = &plan.cells[1];
    let problem = Diagnostic::error(cell.locate("solver.eta"), "eta = 3 leaves no room for noise")
        .help("the largest eta for this grid is 1.02");
    insta::assert_snapshot!(Diagnostics::new(vec![problem]), @"");
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
    insta::assert_snapshot!(cells.join("\n"), @"");
}

#[test]
fn defaults_are_written_out_in_the_spec() {
    let spelled = plan(SMALL, None, &["seed=0", "grid.end=clean", "schedule.horizon=1000"]);
    let spelled = &spelled.unwrap().cells[0].spec;
    let short = &plan(&small_with("eta = 0.0\n", ""), None, &[]).unwrap().cells[0].spec;
    assert_eq!(spelled, short);
    insta::assert_snapshot!(short.canonical_json(), @"");
}

#[test]
fn only_the_sigma_hat_cells_of_table_1_clip_as_the_official_code_does() {
    for cell in table1(Some("full"), &[]).cells {
        let sigma_hat =
            cell.spec.solver.variance == Some(VarianceSpec::Named("sigma-hat".to_owned()));
        assert_eq!(cell.spec.model.clip_x0, sigma_hat);
        assert_eq!(cell.spec.grid.tau, Tau::Rule("official-quad".to_owned()));
    }
}

#[test]
fn the_profiles_of_table_1_run_all_five_columns() {
    assert_eq!(table1(None, &[]).cells.len(), 15);
    let full = table1(Some("full"), &[]);
    assert_eq!((full.cells.len(), full.cells[0].spec.samples), (25, 2048));
    let paper = table1(Some("paper"), &[]);
    assert_eq!((paper.cells.len(), paper.cells[0].spec.samples), (25, 50_000));
    assert_eq!(paper.cells[0].spec.schedule.kind, "linear-f32");
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
    assert_eq!(plan.claims.len(), 6);
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
        };
        assert!(holds, "{}", claim.text);
    }
}

#[test]
fn the_manifest_as_run_gives_the_same_cells_by_itself() {
    let run = table1(Some("full"), &["samples=512", "model.source=weights/own model"]);
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
