//! Tables, verdicts and plots as functions of records.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use ddim::metrics::Jackknife;
use ddim::plan::presentation::{
    Against, ClaimCheck, ClaimSpec, PaperRow, PaperValues, PlotSpec, TableSpec,
};
use ddim::report::claims::{Verdict, judge};
use ddim::report::compare::best;
use ddim::report::cross::Cross;
use ddim::report::fold::Fold;
use ddim::report::measure::Statistic;
use ddim::report::overview::{Format, Show};
use ddim::report::plot::Figure;
use ddim::report::table::{Facts, Input, Table};
use ddim::results::folder::Folder;
use ddim::results::record::{Columns, Record, Status, read_csv, to_csv};
use ddim::results::sink::{Planned, Sink};
use ddim::run::outline;
use ddim::run::registry::Registry;

/// A metric of eight groups with this value, standard error and noise in common with all others.
fn metric(value: f64, error: f64) -> Jackknife {
    let noise = [0.9, -1.3, 0.2, 1.1, -0.7, 0.4, -1.2, 0.6]; // sums to 0
    let scale = {
        let b = 8.0;
        let squares: f64 = noise.iter().map(|x| x * x).sum();
        error / ((b - 1.0) / b * squares).sqrt()
    };
    Jackknife { value, leave_out: noise.iter().map(|x| value + scale * x).collect() }
}

fn cell(row: &str, column: &str, fd: Option<Jackknife>) -> Record {
    let steps = column.parse().unwrap();
    Record {
        key: format!("{row}/{column}"),
        status: if fd.is_some() { Status::Done } else { Status::Diverged },
        params: vec![("variance".into(), row.into()), ("grid.steps".into(), column.into())],
        steps,
        levels: steps.min(49),
        calls: steps as u64,
        n: 256,
        metrics: fd.into_iter().map(|fd| ("fd".to_owned(), fd)).collect(),
    }
}

fn records() -> Vec<Record> {
    vec![
        cell("eta = 0.0", "10", Some(metric(46.2345, 0.9))),
        cell("eta = 0.0", "50", Some(metric(31.02, 0.5))),
        cell("eta = 1.0", "10", Some(metric(88.8, 2.0))),
        cell("eta = 1.0", "50", Some(metric(31.08, 0.8))),
        cell("sigma-hat", "10", None),
        cell("a_b | c", "10", Some(metric(50.0, 0.9))),
    ]
}

fn table_spec() -> TableSpec {
    TableSpec {
        rows: "variance".into(),
        columns: "grid.steps".into(),
        value: "fd".into(),
        caption: "Quality against the number of steps.".into(),
        fit: None,
        over: None,
        rank: false,
    }
}

fn paper() -> PaperValues {
    let row = |label: &str, values: &[f64]| PaperRow { label: label.into(), values: values.into() };
    PaperValues {
        source: "Song et al. 2021, Table 1, CIFAR-10".into(),
        metric: "FID (Inception), N = 50,000".into(),
        columns: ["10", "50", "1000"].map(String::from).to_vec(),
        rows: vec![
            row("eta = 0.0", &[13.36, 4.67, 4.04]),
            row("eta = 1.0", &[41.07, 8.01, 4.73]),
            row("sigma-hat", &[367.43, 32.72, 3.17]),
        ],
    }
}

fn axes() -> Vec<(String, Vec<String>)> {
    let labels = |labels: &[&str]| labels.iter().copied().map(String::from).collect();
    vec![
        ("variance".into(), labels(&["eta = 0.0", "eta = 1.0", "sigma-hat", "a_b | c"])),
        ("grid.steps".into(), labels(&["10", "50", "100"])),
    ]
}

fn claim(check: ClaimCheck, row: &str, columns: &[&str]) -> ClaimSpec {
    ClaimSpec {
        text: format!("{check:?} for {row}"),
        source: "Section 5.1".into(),
        check,
        row: row.into(),
        columns: columns.iter().copied().map(String::from).collect(),
        other: None,
        between: None,
        descriptive: false,
    }
}

fn claims() -> Vec<ClaimSpec> {
    vec![
        claim(ClaimCheck::Lowest, "eta = 0.0", &["10"]),
        claim(ClaimCheck::Highest, "eta = 0.0", &["10"]),
        claim(ClaimCheck::Decreases, "eta = 0.0", &["10", "50", "1000"]),
        claim(ClaimCheck::Highest, "sigma-hat", &["10", "50"]),
    ]
}

fn facts() -> Facts {
    Facts {
        samples: Some(256),
        seed: Some(0),
        folded: String::new(),
        statistic: Statistic::Plugin,
        orders: BTreeMap::new(),
    }
}

struct Shown {
    markdown: String,
    latex: String,
    terminal: String,
    claims: String,
}

/// The table of the records as they come back from `metrics.csv`.
fn shown() -> Shown {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.csv");
    let columns =
        Columns { axes: vec!["variance".into(), "grid.steps".into()], metrics: vec!["fd".into()] };
    std::fs::write(&path, to_csv(&columns, records().iter().enumerate())).unwrap();
    let records: Vec<Record> =
        read_csv(&path).unwrap().1.into_iter().map(|(_, record)| record).collect();
    let (spec, paper, claims, axes, facts) = (table_spec(), paper(), claims(), axes(), facts());
    let table = Table::new(Input {
        spec: &spec,
        paper: Some(&paper),
        claims: &claims,
        axes: &axes,
        records: &records,
        facts: &facts,
    });
    Shown {
        markdown: table.markdown(),
        latex: table.latex(),
        terminal: table.terminal(),
        claims: table.terminal_claims(),
    }
}

#[test]
fn the_markdown_table_shows_what_was_measured_and_then_the_paper_and_the_verdicts() {
    insta::assert_snapshot!(shown().markdown, @r"
    fd, at N = 256, with its 95 % interval

    | variance \ grid.steps | 10: fd | 50: fd | 100: fd |
    | --- | ---: | ---: | ---: |
    | eta = 0.0 | **46.2** [44.1, 48.4] | **31.0** [29.8, 32.2] | not run |
    | eta = 1.0 | 88.8 [84.1, 93.5] | **31.1** [29.2, 33.0] | not run |
    | sigma-hat | diverged | not run | not run |
    | a_b \| c | 50.0 [47.9, 52.1] | not run | not run |

    Quality against the number of steps. Measured: fd, N = 256, seed 0; the plug-in value at N and its 95 % jackknife interval at the same N. Bold: the lowest bias-corrected value of a column, and every value not told from it by their paired difference at 95 %, each comparison by itself. grid.steps (model calls per sample): 10 (10), 50 (50).

    Published: FID (Inception), N = 50,000, from Song et al. 2021, Table 1, CIFAR-10.

    | variance \ grid.steps | 10 | 50 | 1000 |
    | --- | ---: | ---: | ---: |
    | eta = 0.0 | 13.36 | 4.67 | 4.04 |
    | eta = 1.0 | 41.07 | 8.01 | 4.73 |
    | sigma-hat | 367.43 | 32.72 | 3.17 |

    Claims, judged on paired differences of the bias-corrected values (95 % intervals; diverged counts as worse than everything):

    - **holds**: Lowest for eta = 0.0. (Section 5.1) *all 3 differences are positive; the closest: `eta = 1.0` at 10 minus `eta = 0.0` at 10 is 42.6 [40.0, 45.2].*
    - **fails**: Highest for eta = 0.0. (Section 5.1) *`sigma-hat` at 10 diverged and `eta = 0.0` at 10 did not.*
    - **not run**: Decreases for eta = 0.0. (Section 5.1) *`eta = 0.0` at 1000 was not run.*
    - **not run**: Highest for sigma-hat. (Section 5.1) *`sigma-hat` at 50 was not run.*
    ");
}

#[test]
fn the_latex_table_is_for_booktabs() {
    insta::assert_snapshot!(shown().latex, @r"
    \begin{table}
      \centering
      \caption{Quality against the number of steps. Measured: fd, N = 256, seed 0; the plug-in value at N and its 95 \% jackknife interval at the same N. Bold: the lowest bias-corrected value of a column, and every value not told from it by their paired difference at 95 \%, each comparison by itself. grid.steps (model calls per sample): 10 (10), 50 (50).}
      \begin{tabular}{lrrr}
        \toprule
        variance \textbackslash{} grid.steps & 10 & 50 & 100 \\
        \midrule
        $\eta = 0.0$ & \textbf{46.2} {\scriptsize [44.1, 48.4]} & \textbf{31.0} {\scriptsize [29.8, 32.2]} & not run \\
        $\eta = 1.0$ & 88.8 {\scriptsize [84.1, 93.5]} & \textbf{31.1} {\scriptsize [29.2, 33.0]} & not run \\
        $\hat\sigma$ & diverged & not run & not run \\
        a\_b | c & 50.0 {\scriptsize [47.9, 52.1]} & not run & not run \\
        \bottomrule
      \end{tabular}

      \medskip
      Published: FID (Inception), N = 50,000, from Song et al. 2021, Table 1, CIFAR-10.

      \begin{tabular}{lrrr}
        \toprule
        variance \textbackslash{} grid.steps & 10 & 50 & 1000 \\
        \midrule
        $\eta = 0.0$ & 13.36 & 4.67 & 4.04 \\
        $\eta = 1.0$ & 41.07 & 8.01 & 4.73 \\
        $\hat\sigma$ & 367.43 & 32.72 & 3.17 \\
        \bottomrule
      \end{tabular}
    \end{table}

    Claims, judged on paired differences of the bias-corrected values (95 \% intervals; diverged counts as worse than everything):
    \begin{itemize}
      \item \textbf{holds}: Lowest for eta = 0.0. (Section 5.1) \emph{all 3 differences are positive; the closest: $\eta = 1.0$ at 10 minus $\eta = 0.0$ at 10 is 42.6 [40.0, 45.2].}
      \item \textbf{fails}: Highest for eta = 0.0. (Section 5.1) \emph{$\hat\sigma$ at 10 diverged and $\eta = 0.0$ at 10 did not.}
      \item \textbf{not run}: Decreases for eta = 0.0. (Section 5.1) \emph{$\eta = 0.0$ at 1000 was not run.}
      \item \textbf{not run}: Highest for sigma-hat. (Section 5.1) \emph{$\hat\sigma$ at 50 was not run.}
    \end{itemize}
    ");
}

#[test]
fn the_terminal_table_has_columns_of_fixed_width() {
    insta::assert_snapshot!(shown().terminal, @r"
    fd, at N = 256, ± half of its 95 % interval
    variance \ grid.steps              10              50             100
    eta = 0.0                  46.2 ± 2.1      31.0 ± 1.2         not run
    eta = 1.0                  88.8 ± 4.7      31.1 ± 1.9         not run
    sigma-hat                    diverged         not run         not run
    a_b | c                    50.0 ± 2.1         not run         not run

    Published: FID (Inception), N = 50,000, from Song et al. 2021, Table 1, CIFAR-10.
    variance \ grid.steps              10              50            1000
    eta = 0.0                       13.36            4.67            4.04
    eta = 1.0                       41.07            8.01            4.73
    sigma-hat                      367.43           32.72            3.17
    ");
    insta::assert_snapshot!(shown().claims, @r"
    holds      Lowest for eta = 0.0. (Section 5.1)
               all 3 differences are positive; the closest: `eta = 1.0` at 10 minus `eta = 0.0` at 10 is 42.6 [40.0, 45.2]
    fails      Highest for eta = 0.0. (Section 5.1)
               `sigma-hat` at 10 diverged and `eta = 0.0` at 10 did not
    not run    Decreases for eta = 0.0. (Section 5.1)
               `eta = 0.0` at 1000 was not run
    not run    Highest for sigma-hat. (Section 5.1)
               `sigma-hat` at 50 was not run
    ");
}

#[test]
fn the_csv_carries_all_that_the_verdicts_need() {
    let columns =
        Columns { axes: vec!["variance".into(), "grid.steps".into()], metrics: vec!["fd".into()] };
    let two = [
        cell("eta = 0.0", "10", Some(Jackknife { value: 46.5, leave_out: vec![46.0, 47.25] })),
        cell("sigma-hat", "10", None),
    ];
    let csv = String::from_utf8(to_csv(&columns, two.iter().enumerate())).unwrap();
    insta::assert_snapshot!(csv, @r"
    cell,key,status,param.variance,param.grid.steps,S,levels,calls,N,fd,fd.low,fd.high,fd.se,fd.corrected,fd.corrected.low,fd.corrected.high,fd.leave_out
    0,eta = 0.0/10,done,eta = 0.0,10,10,10,10,256,46.5,38.55862203989082,54.44137796010918,0.625,46.375,38.43362203989082,54.31637796010918,46.0 47.25
    1,sigma-hat/10,diverged,sigma-hat,10,10,10,10,256,,,,,,,,
    ");
}

#[test]
fn further_axes_give_a_panel_per_combination() {
    let mut records = records();
    for record in &mut records {
        record.params.push(("clip".into(), "true".into()));
    }
    let mut axes = axes();
    axes.push(("clip".into(), vec!["true".into(), "false".into()]));
    let (spec, facts) = (table_spec(), facts());
    let claims = [claim(ClaimCheck::Lowest, "eta = 0.0", &["10"])];
    let table = Table::new(Input {
        spec: &spec,
        paper: None,
        claims: &claims,
        axes: &axes,
        records: &records,
        facts: &facts,
    });
    let verdicts: Vec<_> =
        table.panels().iter().map(|p| (p.title.as_str(), p.judgements[0].verdict)).collect();
    assert_eq!(verdicts, [("clip = true", Verdict::Holds), ("clip = false", Verdict::NotRun)]);
    // 6 and 12 cells, and the second panel's claim with its reason.
    assert_eq!(table.markdown().matches("not run").count(), 6 + 12 + 2);
}

#[test]
fn the_differences_that_decide_are_written_out() {
    let records = records();
    let (spec, axes, facts) = (table_spec(), axes(), facts());
    let table = Table::new(Input {
        spec: &spec,
        paper: None,
        claims: &[],
        axes: &axes,
        records: &records,
        facts: &facts,
    });
    let csv = String::from_utf8(table.differences_csv()).unwrap();
    let rounded: Vec<String> = csv
        .lines()
        .map(|line| {
            let fields = line.split(',').map(|field| match field.parse::<f64>() {
                Ok(number) if field.contains('.') => format!("{number:.4}"),
                _ => field.to_owned(),
            });
            fields.collect::<Vec<_>>().join(",")
        })
        .collect();
    insta::assert_snapshot!(rounded.join("\n"), @r"
    metric,panel,column,row,other,status,difference,se,low,high,beyond_zero
    fd,,10,eta = 0.0,eta = 1.0,measured,-42.5655,1.1000,-45.1666,-39.9644,true
    fd,,10,eta = 0.0,sigma-hat,other diverged,,,,,true
    fd,,10,eta = 0.0,a_b | c,measured,-3.7655,0.0000,-3.7655,-3.7655,true
    fd,,10,eta = 1.0,sigma-hat,other diverged,,,,,true
    fd,,10,eta = 1.0,a_b | c,measured,38.8000,1.1000,36.1989,41.4011,true
    fd,,10,sigma-hat,a_b | c,row diverged,,,,,true
    fd,,50,eta = 0.0,eta = 1.0,measured,-0.0600,0.3000,-0.7694,0.6494,false
    ");
}

#[test]
fn the_best_of_a_column_and_all_that_cannot_be_told_from_it_are_marked() {
    let mut cells = [
        cell("a", "10", Some(metric(10.0, 1.0))),
        cell("b", "10", Some(own_noise(10.5, 1.0))),
        cell("c", "10", Some(metric(10.5, 1.0))),
        cell("d", "10", None),
    ];
    let marked = |records: &[Record]| {
        let cross = Cross {
            row_axis: "variance",
            column_axis: "grid.steps",
            metric: "fd",
            fit: None,
            rows: ["a", "b", "c", "d"].map(String::from).to_vec(),
            columns: vec!["10".into()],
            records: records.iter().collect(),
        };
        best(&cross, "10").into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    // `b` has noise of its own; `c` shares that of `a`, which tells the two apart.
    assert_eq!(marked(&cells), ["a", "b"]);
    // One value is not the best of anything, and without uncertainty nothing is known.
    assert!(marked(&cells[..1]).is_empty());
    for cell in &mut cells {
        cell.metrics.get_mut("fd").into_iter().for_each(|fd| fd.leave_out.clear());
    }
    assert!(marked(&cells).is_empty());
}

#[test]
fn seeds_are_folded_to_a_mean_with_its_interval_and_their_range() {
    let seeded = |row: &str, seed: &str, fd: Option<Jackknife>| {
        let mut record = cell(row, "10", fd);
        record.params.push(("seed".into(), seed.into()));
        record
    };
    let two = |value: f64| Some(Jackknife { value, leave_out: vec![value - 0.5, value + 0.75] });
    let records = [
        seeded("a", "0", two(4.0)),
        seeded("a", "1", two(6.0)),
        seeded("b", "0", two(5.0)),
        seeded("b", "1", None),
        seeded("c", "0", two(3.0)),
    ];
    let fold = Fold { axis: "seed".into(), labels: vec!["0".into(), "1".into()] };
    let folded = fold.records(&records);
    let found: Vec<_> = folded.iter().map(|r| (r.label("variance").unwrap(), r.status)).collect();
    // A seed of `c` was not run: there is no mean yet.
    assert_eq!(found, [("a", Status::Done), ("b", Status::Diverged)]);
    assert_eq!(folded[0].metrics["fd"], Jackknife { value: 5.0, leave_out: vec![4.5, 5.75] });
    assert_eq!(folded[0].label("seed"), None);

    let columns = Columns {
        axes: ["variance", "grid.steps", "seed"].map(String::from).to_vec(),
        metrics: vec!["fd".into()],
    };
    let csv = String::from_utf8(fold.summary_csv(&columns, &records)).unwrap();
    insta::assert_snapshot!(csv, @r"
    status,param.variance,param.grid.steps,S,levels,calls,N,fd,fd.low,fd.high,fd.se,fd.corrected,fd.corrected.low,fd.corrected.high,fd.min,fd.max,fd.seed=0,fd.seed=1
    done,a,10,10,10,10,256,5.0,-2.9413779601091825,12.941377960109183,0.625,4.875,-3.0663779601091816,12.816377960109183,4.0,6.0,4.0,6.0
    diverged,b,10,10,10,10,256,,,,,,,,,,5.0,
    ");
}

/// The verdict on a column of cells `a`, `b`, ..., in the order given.
fn verdict(check: ClaimCheck, row: &str, cells: &[Option<Jackknife>]) -> (Verdict, String) {
    let names = ["a", "b", "c", "d"];
    let rows = &names[..cells.len()];
    let records: Vec<Record> =
        rows.iter().zip(cells).map(|(row, fd)| cell(row, "10", fd.clone())).collect();
    let cross = Cross {
        row_axis: "variance",
        column_axis: "grid.steps",
        metric: "fd",
        fit: None,
        rows: rows.iter().copied().map(String::from).collect(),
        columns: vec!["10".into()],
        records: records.iter().collect(),
    };
    let judgement = judge(&claim(check, row, &["10"]), &cross);
    (judgement.verdict, judgement.reason)
}

/// A metric whose noise is its own: its differences to [`metric`] are uncertain.
fn own_noise(value: f64, error: f64) -> Jackknife {
    let mut metric = metric(value, error);
    metric.leave_out.reverse();
    metric
}

#[test]
fn shared_noise_decides_where_the_intervals_of_the_cells_overlap() {
    let shared = [Some(metric(10.0, 2.0)), Some(metric(10.5, 2.0))];
    assert_eq!(verdict(ClaimCheck::Lowest, "a", &shared).0, Verdict::Holds);
    let unshared = [Some(metric(10.0, 2.0)), Some(own_noise(10.5, 2.0))];
    assert_eq!(verdict(ClaimCheck::Lowest, "a", &unshared).0, Verdict::Undecided);
}

#[test]
fn a_claim_holds_only_if_every_pair_does() {
    let cells = [Some(metric(10.0, 1.0)), Some(own_noise(20.0, 1.0)), Some(own_noise(10.1, 1.0))];
    let (verdict, reason) = verdict(ClaimCheck::Lowest, "a", &cells);
    assert_eq!(verdict, Verdict::Undecided);
    insta::assert_snapshot!(reason, @"`c` at 10 minus `a` at 10 is 0.1 [-2.4, 2.6]; 1 of 2 differences are beyond their uncertainty");
}

#[test]
fn failing_takes_more_evidence_the_more_pairs_there_are() {
    // The same pair is beyond its 95 % interval, but not beyond the 98.3 % one of three pairs.
    let (own, other) = (Some(metric(10.0, 1.0)), Some(own_noise(7.0, 1.0)));
    let two = [own.clone(), other.clone()];
    assert_eq!(verdict(ClaimCheck::Lowest, "a", &two).0, Verdict::Fails);
    let far = || Some(metric(99.0, 1.0));
    let four = [own, other, far(), far()];
    let (verdict, reason) = verdict(ClaimCheck::Lowest, "a", &four);
    assert_eq!(verdict, Verdict::Undecided, "{reason}");
}

/// The verdict on a claim over the columns 10, 20 and 40 of two rows that fall as c S^-p.
fn verdict_on_orders(change: impl FnOnce(&mut ClaimSpec)) -> (Verdict, String) {
    let falling = |row: &'static str, scale: f64, order: i32| {
        [10.0_f64, 20.0, 40.0].map(|s| {
            let at = |c: f64| c * s.powi(-order);
            let (value, leave_out) = (at(scale), vec![at(0.99 * scale), at(1.01 * scale)]);
            cell(row, &format!("{s}"), Some(Jackknife { value, leave_out }))
        })
    };
    let records = [falling("first", 1.0, 1), falling("second", 5.0, 2)].concat();
    let cross = Cross {
        row_axis: "variance",
        column_axis: "grid.steps",
        metric: "fd",
        fit: Some(Against::Calls),
        rows: ["first", "second"].map(String::from).to_vec(),
        columns: ["10", "20", "40"].map(String::from).to_vec(),
        records: records.iter().collect(),
    };
    let mut claim = claim(ClaimCheck::Order, "second", &["10", "20", "40"]);
    change(&mut claim);
    let judgement = judge(&claim, &cross);
    (judgement.verdict, judgement.reason)
}

#[test]
fn an_order_holds_inside_its_bounds_and_fails_outside() {
    let within = |between: [f64; 2]| verdict_on_orders(|claim| claim.between = Some(between));
    let (verdict, reason) = within([1.9, 2.1]);
    assert_eq!(verdict, Verdict::Holds);
    insta::assert_snapshot!(reason, @"the order of `second` over 10, 20, 40 is 2.000 [2.000, 2.000], asked for 1.9 to 2.1");
    assert_eq!(within([0.9, 1.1]).0, Verdict::Fails);
    assert_eq!(within([2.1, 4.0]).0, Verdict::Fails);
    let missing = verdict_on_orders(|claim| {
        claim.between = Some([1.9, 2.1]);
        claim.columns.push("80".into());
    });
    insta::assert_snapshot!(missing.1, @"`second` at 80 was not run");
    assert_eq!(missing.0, Verdict::NotRun);
}

#[test]
fn an_order_of_points_that_bend_says_so() {
    // Order 1 at the start and 2 at the end.
    let at = |s: f64, c: f64| c / (s * (s * s + 400.0).sqrt());
    let records: Vec<Record> = [5.0_f64, 20.0, 80.0, 320.0]
        .map(|s| {
            let (value, leave_out) = (at(s, 1.0), vec![at(s, 0.99), at(s, 1.01)]);
            cell("first", &format!("{s}"), Some(Jackknife { value, leave_out }))
        })
        .to_vec();
    let columns = ["5", "20", "80", "320"].map(String::from).to_vec();
    let spec = TableSpec { fit: Some(Against::S), ..table_spec() };
    let axes = [("variance".into(), vec!["first".into()]), ("grid.steps".into(), columns.clone())];
    let mut order = claim(ClaimCheck::Order, "first", &["5", "20", "80", "320"]);
    order.between = Some([1.0, 2.0]);
    order.descriptive = true;
    let claims = [order];
    let facts = facts();
    let table = Table::new(Input {
        spec: &spec,
        paper: None,
        claims: &claims,
        axes: &axes,
        records: &records,
        facts: &facts,
    });
    let text = table.markdown();
    let lines: Vec<&str> = text.lines().skip(6).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    Quality against the number of steps. Measured: fd, N = 256, seed 0; the plug-in value at N and its 95 % jackknife interval at the same N. grid.steps (model calls per sample): 5 (5), 20 (20), 80 (80), 320 (320).

    | variance | order of fd against S | bends from, to | order of the method |
    | --- | ---: | ---: | ---: |
    | first | 1.671 [1.671, 1.671] | 1.11 to 2.23 |  |

    Where the points bend beyond their uncertainty, the local orders at the first and the last of them: a single order is then that of the columns it is fitted over.

    Claims, judged on paired differences of the bias-corrected values (95 % intervals; diverged counts as worse than everything; a descriptive claim was written after a first look at results: it sums up, and tests nothing):

    - **holds** (descriptive): Order for first. (Section 5.1) *the order of `first` over 5, 20, 80, 320 is 1.671 [1.671, 1.671], asked for 1 to 2; its points bend, from a local order of 1.11 to 2.23.*
    ");
    assert!(table.terminal().contains("; bends, "), "{}", table.terminal());
    let json: serde_json::Value = serde_json::from_str(&table.json("n")).unwrap();
    assert_eq!(json["panels"][0]["claims"][0]["descriptive"], true);
    assert_eq!(json["panels"][0]["orders"][0]["bend"].as_array().unwrap().len(), 2);
}

#[test]
fn the_numbers_of_a_column_have_one_notation_and_columns_never_touch() {
    let small = |value: f64| Some(metric(value, 0.001 * value));
    let records = [
        cell("eta = 0.0", "10", small(6.94e-3)),
        cell("eta = 1.0", "10", small(6.86e-6)),
        cell("eta = 0.0", "50", small(123_456.0)),
    ];
    let (spec, axes, facts) = (table_spec(), axes(), facts());
    let table = Table::new(Input {
        spec: &spec,
        paper: None,
        claims: &[],
        axes: &axes,
        records: &records,
        facts: &facts,
    });
    insta::assert_snapshot!(table.terminal(), @r"
    fd, at N = 256, ± half of its 95 % interval
    variance \ grid.steps                 10              50             100
    eta = 0.0              6.940e-3 ± 1.6e-5    123456 ± 292         not run
    eta = 1.0              6.860e-6 ± 1.6e-8         not run         not run
    sigma-hat                        not run         not run         not run
    a_b | c                          not run         not run         not run
    ");
    let json: serde_json::Value = serde_json::from_str(&table.json("n")).unwrap();
    let first = &json["panels"][0]["cells"][0];
    assert_eq!((first["value"].as_f64(), first["N"].as_u64()), (Some(6.94e-3), Some(256)));
    assert!(first["low"].as_f64() < first["value"].as_f64() && first["bold"] == false);
}

#[test]
fn below_compares_with_one_row_in_every_column() {
    let below = |columns: &[&str]| {
        verdict_on_orders(|claim| {
            claim.check = ClaimCheck::Below;
            claim.other = Some("first".into());
            claim.columns = columns.iter().copied().map(String::from).collect();
        })
    };
    assert_eq!(below(&["10", "20", "40"]).0, Verdict::Holds);
    // 5 / S^2 is below 1 / S from S = 5 on, not the other way round.
    let turned = verdict_on_orders(|claim| {
        claim.check = ClaimCheck::Below;
        (claim.row, claim.other) = ("first".into(), Some("second".into()));
    });
    assert_eq!(turned.0, Verdict::Fails);
    insta::assert_snapshot!(turned.1, @"`second` at 20 minus `first` at 20 is -0.038 [-0.052, -0.023] (98.33 % interval)");
}

#[test]
fn a_value_or_a_difference_lies_between_two_numbers_or_not() {
    let between = |ends: [f64; 2], other: Option<&str>, columns: &[&str]| {
        verdict_on_orders(|claim| {
            claim.check = ClaimCheck::Between;
            claim.between = Some(ends);
            claim.other = other.map(String::from);
            claim.columns = columns.iter().copied().map(String::from).collect();
        })
    };
    // 5 / S^2: 0.05, 0.0125 and 0.003125, and 1 / S is 0.1, 0.05 and 0.025.
    let all = ["10", "20", "40"];
    let (verdict, reason) = between([0.0, 0.1], None, &all);
    assert_eq!(verdict, Verdict::Holds);
    insta::assert_snapshot!(reason, @"`second` at 40 is 0.00313 [0.00273, 0.00352], asked for 0 to 0.1; of 3 columns this one leaves the least room");
    assert_eq!(between([-0.1, 0.0], Some("first"), &all).0, Verdict::Holds);
    let (verdict, reason) = between([-0.03, 0.0], Some("first"), &all);
    assert_eq!(verdict, Verdict::Fails);
    assert!(reason.starts_with("`second` at 10 minus `first` at 10 is -0.05"), "{reason}");
    assert!(reason.ends_with("asked for -0.03 to 0"), "{reason}");
    // An end inside the interval decides nothing.
    assert_eq!(between([0.05, 1.0], None, &["10"]).0, Verdict::Undecided);
    assert_eq!(between([0.0, 0.1], None, &["10", "80"]).0, Verdict::NotRun);
    assert_eq!(between([1.0, 2.0], None, &["10", "80"]).0, Verdict::Fails);
    assert_eq!(between([0.0, 0.1], Some("third"), &["10"]).0, Verdict::NotRun);
}

#[test]
fn equal_cells_are_undecided() {
    let cells = [Some(metric(10.0, 1.0)), Some(metric(10.0, 1.0))];
    assert_eq!(verdict(ClaimCheck::Lowest, "a", &cells).0, Verdict::Undecided);
    assert_eq!(verdict(ClaimCheck::Highest, "a", &cells).0, Verdict::Undecided);
}

#[test]
fn a_diverged_cell_is_worse_than_every_measured_one() {
    let cells = [Some(metric(10.0, 1.0)), None];
    let outcome = |check, row| verdict(check, row, &cells).0;
    assert_eq!(outcome(ClaimCheck::Lowest, "a"), Verdict::Holds);
    assert_eq!(outcome(ClaimCheck::Lowest, "b"), Verdict::Fails);
    assert_eq!(outcome(ClaimCheck::Highest, "b"), Verdict::Holds);
    assert_eq!(verdict(ClaimCheck::Highest, "a", &[None, None]).0, Verdict::Undecided);
}

#[test]
fn values_without_a_common_uncertainty_decide_nothing() {
    let point = |value| Some(Jackknife { value, leave_out: vec![] });
    let (verdict, reason) = verdict(ClaimCheck::Lowest, "a", &[point(1.0), point(2.0)]);
    assert_eq!(verdict, Verdict::Undecided);
    insta::assert_snapshot!(reason, @"`b` at 10 and `a` at 10 have no uncertainty in common");
}

fn plot_spec() -> PlotSpec {
    PlotSpec {
        name: "steps".into(),
        title: "How does quality depend on S & eta?".into(),
        x: "grid.steps".into(),
        y: "fd".into(),
        series: "variance".into(),
        x_label: "steps S".into(),
        y_label: "Fréchet distance (dimensionless)".into(),
        log_x: true,
        log_y: true,
        only: vec![],
        triangles: vec![],
        fit: None,
    }
}

#[test]
fn a_figure_is_a_function_of_the_records() {
    let figure = Figure::new(&plot_spec(), &records()).unwrap();
    let svg = figure.svg().unwrap();
    assert_eq!(svg, Figure::new(&plot_spec(), &records()).unwrap().svg().unwrap());
    let lines: Vec<&str> = svg.lines().filter(|line| !line.starts_with('<')).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    How does quality depend on S &amp; eta?
    Values at N = 256; bars: 95 % jackknife intervals; 1 diverged cell is not shown
    Fréchet distance (dimensionless)
    30
    50
    70
    10
    50
    steps S
    η = 0.0
    η = 1.0
    a_b | c
    ");
    assert!(svg.starts_with(r#"<svg width="640" height="420" viewBox="0 0 6400 4200""#));

    let png = image::load_from_memory(&figure.png().unwrap()).unwrap();
    assert_eq!((png.width(), png.height()), (1280, 840));
}

#[test]
fn figures_that_cannot_be_drawn_say_why() {
    let refuse = |change: &dyn Fn(&mut PlotSpec)| {
        let mut spec = plot_spec();
        change(&mut spec);
        Figure::new(&spec, &records()).unwrap_err().to_string()
    };
    insta::assert_snapshot!(refuse(&|spec| spec.y = "kid".into()), @"plot `steps`: no finished cell has the metric `kid`");
    insta::assert_snapshot!(refuse(&|spec| spec.x = "variance".into()), @"plot `steps`: `eta = 0.0` on the axis `variance` is not a number, so it has no place on x");
    insta::assert_snapshot!(refuse(&|spec| spec.series = "clip".into()), @"plot `steps`: there is no axis `clip`");
    let zero = [cell("eta = 0.0", "10", Some(metric(0.0, 1.0)))];
    let error = Figure::new(&plot_spec(), &zero).unwrap_err();
    insta::assert_snapshot!(error, @"plot `steps`: no finished cell has the metric `fd`");
}

/// What an SVG says.
fn text_of(figure: &Figure) -> String {
    let svg = figure.svg().unwrap();
    svg.lines().filter(|line| !line.starts_with('<')).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_cell_without_a_place_on_a_logarithmic_axis_is_left_out_and_told() {
    let mut all = records();
    all.push(cell("eta = 0.0", "100", Some(metric(0.0, 1.0))));
    let lines = text_of(&Figure::new(&plot_spec(), &all).unwrap());
    assert!(!lines.contains("\n100\n"), "{lines}");
    let text = lines.replace('\n', " ");
    assert!(
        text.contains("; 1 cell at zero or below has no place on a logarithmic axis"),
        "{text}"
    );
}

#[test]
fn an_interval_that_leaves_a_logarithmic_axis_is_an_arrow_and_no_line_to_its_end() {
    let one = |error: f64| {
        let cells = [
            cell("eta = 0.0", "10", Some(metric(100.0, 1.0))),
            cell("eta = 0.0", "20", Some(metric(10.0, error))),
            cell("eta = 0.0", "50", Some(metric(1.0, 0.01))),
        ];
        Figure::new(&plot_spec(), &cells).unwrap()
    };
    let (within, beyond) = (one(1.0), one(8.0));
    assert!(!text_of(&within).contains("an arrow"));
    assert!(text_of(&beyond).contains("; an arrow: the interval goes on beyond the axis"));
    // Vertical lines of two points: the axis aside, none is as high as the plot.
    let heights = |figure: &Figure| -> Vec<f64> {
        let svg = figure.svg().unwrap();
        let lines = svg.lines().filter(|line| line.starts_with("<polyline"));
        let points = lines.filter_map(|line| line.split("points=\"").nth(1)?.split('"').next());
        let bars = points.filter_map(|points| {
            let numbers: Vec<f64> =
                points.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
            let [x, top, other, bottom] = numbers[..] else { return None };
            (x.total_cmp(&other).is_eq() && x > 1000.0).then(|| (bottom - top).abs())
        });
        bars.collect()
    };
    let highest = heights(&beyond).into_iter().fold(0.0, f64::max);
    assert!(heights(&within).len() >= 3, "the error bars are not found");
    assert!((200.0..1500.0).contains(&highest), "{highest}");
}

#[test]
fn a_figure_of_one_point_without_uncertainty_can_be_drawn() {
    let point = Jackknife { value: 3.0, leave_out: vec![] };
    let spec = PlotSpec { log_x: false, log_y: false, x: "calls".into(), ..plot_spec() };
    let figure = Figure::new(&spec, &[cell("eta = 0.0", "10", Some(point))]).unwrap();
    assert!(!figure.svg().unwrap().contains("jackknife"));
    assert!(figure.png().is_ok());
}

/// A results folder with a name, a caption and labels that hold markup.
fn tiny_folder(folder: &Path) {
    let manifest = r#"# Question: does <i>noise</i> help & when?
#   At two steps, that is.
# Paper: none

name = "tiny"
samples = 256
batch = 64

[model]
source = "gaussian"
shape = [3, 8, 8]
mean = 0.1
std = 0.5

[solver]
kind = "ddim"

[grid]
tau = "official-quad"

[metrics]
features = "models/fd"
reference = "nowhere"

[sweep]
"grid.steps" = [10, 50]
noise = [
    { label = "eta = 0.0", "solver.eta" = 0.0 },
    { label = "<b>eta</b>", "solver.eta" = 1.0 },
    { label = "sigma-hat", "solver.variance" = "sigma-hat" },
]

[table]
rows = "noise"
columns = "grid.steps"
value = "fd"
caption = "<script>alert(1)</script>"

[paper]
source = "Song et al. \"2021\""
metric = "FID"
columns = ["10"]
rows = [{ label = "eta = 0.0", values = [13.36] }]

[[claim]]
text = "No noise is best."
source = "Section 5.1"
check = "lowest"
row = "eta = 0.0"
columns = ["10"]

[[plot]]
name = "curve"
title = "Is a < b & c?"
x = "grid.steps"
y = "fd"
series = "noise"
x_label = "steps S"
y_label = "fd"
"#;
    std::fs::write(folder.join("manifest.toml"), manifest).unwrap();
    let columns =
        Columns { axes: vec!["grid.steps".into(), "noise".into()], metrics: vec!["FD-fd".into()] };
    let cell = |row: &str, column: &str, fd: Option<Jackknife>| {
        let record = cell(row, column, fd.clone());
        Record {
            params: vec![("grid.steps".into(), column.into()), ("noise".into(), row.into())],
            metrics: fd.into_iter().map(|fd| ("FD-fd".to_owned(), fd)).collect(),
            ..record
        }
    };
    let records = [
        cell("eta = 0.0", "10", Some(metric(46.2345, 0.9))),
        cell("<b>eta</b>", "10", Some(metric(88.8, 2.0))),
        cell("sigma-hat", "10", None),
        cell("eta = 0.0", "50", Some(metric(31.02, 0.5))),
    ];
    std::fs::write(folder.join("metrics.csv"), to_csv(&columns, records.iter().enumerate()))
        .unwrap();
    let timing = "cell,key,seconds,seconds_per_sample_call,device,threads,started\n\
                  0,eta = 0.0/10,12.5,0.0025,cpu,2,0\n";
    std::fs::write(folder.join("timing.csv"), timing).unwrap();
    let provenance = r#"{"command": ["ddim", "run", "<x>"], "dirty": false, "finished": 0}"#;
    std::fs::write(folder.join("provenance.json"), provenance).unwrap();
}

/// The page without its styles and drawings, a tag a line: what its tags are, and what it says.
fn structure(html: &str) -> String {
    let mut out = html.to_owned();
    for (start, end) in [("<style", "</style>"), ("<svg ", "</svg>")] {
        let mut from = 0;
        while let Some(at) = out[from..].find(start).map(|at| from + at) {
            let inside = at + out[at..].find('>').unwrap() + 1;
            let until = inside + out[inside..].find(end).unwrap() + end.len();
            out.replace_range(inside..until, " ...");
            from = inside;
        }
    }
    out.replace("><", ">\n<").replace("...<", "...\n<").replace("<td>\n</td>", "<td></td>")
}

#[test]
fn the_report_shows_the_whole_folder_and_nothing_in_it_becomes_markup() {
    let folder = tempfile::tempdir().unwrap();
    tiny_folder(folder.path());
    let html =
        ddim::report::html::html(&outline::read(folder.path(), &Registry::shipped()).unwrap())
            .unwrap();
    assert!(!html.contains("<script") && !html.contains("http:") && !html.contains("https:"));
    assert!(!html.contains("<b>eta") && !html.contains("<i>noise") && !html.contains("a < b"));
    insta::assert_snapshot!("html", structure(&html));
}

#[test]
fn the_table_as_csv_has_a_line_for_every_place() {
    let folder = tempfile::tempdir().unwrap();
    tiny_folder(folder.path());
    let folder = outline::read(folder.path(), &Registry::shipped()).unwrap();
    let csv = Show::new(&folder.plan).table_as(&folder.records, Format::Csv).unwrap();
    insta::assert_snapshot!(csv, @r"
    status,param.noise,param.grid.steps,S,levels,calls,N,FD-fd,FD-fd.low,FD-fd.high,FD-fd.se,FD-fd.corrected,FD-fd.corrected.low,FD-fd.corrected.high,paper
    done,eta = 0.0,10,10,10,10,256,46.2345,44.10633817356649,48.3626618264335,0.8999999999999996,46.2345,44.10633817356649,48.3626618264335,13.36
    done,eta = 0.0,50,50,49,50,256,31.02,29.837687874203603,32.2023121257964,0.5000000000000024,31.020000000000024,29.837687874203628,32.202312125796425,
    done,<b>eta</b>,10,10,10,10,256,88.8,84.07075149681441,93.52924850318558,2.0000000000000098,88.7999999999999,84.07075149681431,93.52924850318549,
    not run,<b>eta</b>,50,,,,,,,,,,,,
    diverged,sigma-hat,10,10,10,10,256,,,,,,,,
    not run,sigma-hat,50,,,,,,,,,,,,
    ");
}

/// A CSV file: its header, and its rows.
fn csv_rows(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let strings = |record: &csv::StringRecord| record.iter().map(String::from).collect();
    let header = strings(reader.headers().unwrap());
    (header, reader.records().map(|row| strings(&row.unwrap())).collect())
}

#[test]
fn the_table_as_csv_and_metrics_csv_mean_the_same_by_the_same_name() {
    let dir = tempfile::tempdir().unwrap();
    tiny_folder(dir.path());
    let folder = outline::read(dir.path(), &Registry::shipped()).unwrap();
    let table = Show::new(&folder.plan).table_as(&folder.records, Format::Csv).unwrap();
    let (names, rows) = csv_rows(&table);
    let (all_names, all_rows) =
        csv_rows(&std::fs::read_to_string(dir.path().join("metrics.csv")).unwrap());
    let at = |name: &String| all_names.iter().position(|found| found == name);
    let mut compared = 0;
    for all in &all_rows {
        let is_here = |row: &&Vec<String>| {
            let labels =
                names.iter().zip(row.iter()).filter(|(name, _)| name.starts_with("param."));
            labels.clone().count() == 2
                && labels.into_iter().all(|(n, l)| all[at(n).unwrap()] == *l)
        };
        let row = rows.iter().find(is_here).unwrap();
        for (name, value) in names.iter().zip(row).filter(|(name, _)| *name != "paper") {
            assert_eq!(*value, all[at(name).unwrap()], "{name}");
            compared += 1;
        }
    }
    assert_eq!(compared, 4 * 14);
}

/// Four cells of `results/order-clean` as they were committed in 58a9baa.
fn six_columns() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/results-six-columns")
}

#[test]
fn a_folder_in_the_older_form_is_read_and_rewritten_without_a_loss() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["manifest.toml", "metrics.csv", "timing.csv"] {
        std::fs::copy(six_columns().join(name), dir.path().join(name)).unwrap();
    }
    let registry = Registry::shipped();
    let before = outline::read(dir.path(), &registry).unwrap();
    assert_eq!((before.records.len(), before.timings.len()), (4, 4));
    let value = &before.records[0].metrics["error"];
    assert!((value.value - 0.066_204_3).abs() < 1e-7 && value.leave_out.len() == 32);
    let planned = before
        .records
        .iter()
        .map(|record| Planned { key: record.key.clone(), params: record.params.clone() });
    let sink = Sink::open(dir.path(), before.columns.clone(), planned.collect()).unwrap();
    assert_eq!((sink.records().len(), sink.dropped()), (4, 0));
    drop(sink);
    let text = std::fs::read_to_string(dir.path().join("metrics.csv")).unwrap();
    assert!(text.lines().next().unwrap().contains(",N,error,error.low,error.high,"), "{text}");
    let after = outline::read(dir.path(), &registry).unwrap();
    assert_eq!((after.records, after.timings), (before.records, before.timings));
}

#[test]
fn slope_triangles_and_chosen_curves_are_drawn() {
    let spec = PlotSpec {
        only: vec!["eta = 0.0".into()],
        triangles: vec![1.0, 2.0],
        x_label: "S".into(),
        ..plot_spec()
    };
    let plain = Figure::new(&PlotSpec { triangles: vec![], ..spec.clone() }, &records()).unwrap();
    let figure = Figure::new(&spec, &records()).unwrap();
    let lines = |figure: &Figure| figure.svg().unwrap().matches("<polyline").count();
    assert_eq!(lines(&figure), lines(&plain) + 2);
    assert!(!figure.svg().unwrap().contains("eta = 1.0"));
}

/// Six cells without metrics, with times by hand: y = 2, 4, 7 and 5, 5, 5 ms at 1, 2, 3 calls.
fn timed_folder(folder: &Path) {
    let manifest = r#"name = "timed"
samples = 256
batch = 64

[model]
source = "gaussian"
shape = [3, 8, 8]
mean = 0.1
std = 0.5

[grid]
tau = "official-uniform"

[sweep]
solver = [
    { label = "rising", "solver.kind" = "ddim" },
    { label = "level", "solver.kind" = "heun" },
]
"grid.steps" = [1, 2, 3]

[[plot]]
name = "time"
title = "Is it a line?"
x = "calls"
y = "seconds"
series = "solver"
x_label = "calls"
y_label = "seconds per sample"
fit = "line"
"#;
    std::fs::write(folder.join("manifest.toml"), manifest).unwrap();
    let (mut records, mut timing) = (vec![], TIMING.to_owned());
    for (solver, times) in [("rising", [2e-3, 4e-3, 7e-3]), ("level", [5e-3; 3])] {
        for (calls, time) in (1_u32..).zip(times) {
            let record = cell(solver, &calls.to_string(), None);
            let steps = ("grid.steps".to_owned(), calls.to_string());
            let per_call = time / f64::from(calls);
            let row = records.len();
            writeln!(timing, "{row},{},9.5,{per_call:?},cpu,2,0", record.key).unwrap();
            records.push(Record {
                status: Status::Done,
                params: vec![("solver".into(), solver.into()), steps],
                ..record
            });
        }
    }
    let axes = ["solver", "grid.steps"].map(String::from).to_vec();
    let columns = Columns { axes, metrics: vec![] };
    std::fs::write(folder.join("metrics.csv"), to_csv(&columns, records.iter().enumerate()))
        .unwrap();
    std::fs::write(folder.join("timing.csv"), timing).unwrap();
}

const TIMING: &str = "cell,key,seconds,seconds_per_sample_call,device,threads,started\n";

#[test]
fn a_line_through_times_has_its_numbers_in_the_note_and_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    timed_folder(folder.path());
    let registry = Registry::shipped();
    let plots = || {
        let folder = outline::read(folder.path(), &registry).unwrap();
        let report = ddim::report::html::html(&folder).unwrap();
        let plots = Show::new(&folder.plan).plots(&folder.records, &folder.timings);
        (plots.unwrap(), report)
    };
    let (files, report) = plots();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["time-fit.csv", "time.svg", "time.png"]);

    // By hand, in ms: slope 5 / 2, intercept 13 / 3 - 5, residuals 1, -2 and 1 sixths, so
    // s = sqrt(1 / 6), and standard errors s / sqrt(2) and s sqrt(1 / 3 + 4 / 2).
    let text = String::from_utf8(files[0].1.clone()).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(
        rows[0],
        ["curve", "points", "slope", "slope.se", "intercept", "intercept.se", "residual"]
    );
    let s = (1.0_f64 / 6.0).sqrt();
    let rising = [2.5, s / 2.0_f64.sqrt(), -2.0 / 3.0, s * (7.0_f64 / 3.0).sqrt(), s];
    for (row, label, expected) in
        [(&rows[1], "rising", rising), (&rows[2], "level", [0.0, 0.0, 5.0, 0.0, 0.0])]
    {
        assert_eq!(row[..2], [label, "3"]);
        for (found, expected) in row[2..].iter().zip(expected) {
            approx::assert_abs_diff_eq!(
                found.parse::<f64>().unwrap(),
                1e-3 * expected,
                epsilon = 1e-15
            );
        }
    }

    let svg = String::from_utf8(files[1].1.clone()).unwrap();
    let note: Vec<&str> =
        svg.lines().filter(|line| !line.starts_with('<')).skip(1).take(2).collect();
    insta::assert_snapshot!(note.join("\n"), @r"
    Time per sample at N = 256; lines of least squares with standard errors, rising: 2.50 ± 0.29 ms per call, −0.67 ±
    0.62 ms at 0; level: 0.00 ± 0.00 ms per call, 5.000 ± 0.000 ms at 0; measured on cpu with 2 threads
    ");
    assert!(report.contains("Time per sample"), "the report shows no times");

    // Without times there is nothing to draw.
    std::fs::write(folder.path().join("timing.csv"), TIMING).unwrap();
    let (files, report) = plots();
    assert!(files.is_empty() && !report.contains("<svg"));
}

const SMALL: &str = r#"name = "small"
samples = 8
batch = 4
[model]
source = "gaussian"
shape = [1, 8, 8]
mean = 0.1
std = 0.5
[grid]
tau = "linspace"
[solver]
kind = "ddim"
[solution]
kind = "ddim"
steps = 40
tau = "linspace"
[metrics]
measures = ["error", "error-median"]
blocks = 4
[sweep]
"grid.steps" = [20, 10]
"solver.kind" = ["ddim", "heun"]
"model.mean" = [0.1, 0.2]
[table]
rows = "solver.kind"
columns = "grid.steps"
value = "error-median"
fit = "S"
[[plot]]
name = "p"
title = "t"
x = "grid.steps"
y = "error"
series = "solver.kind"
x_label = "S"
y_label = "e"
log_y = true
"#;

fn ddim(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddim"));
    command.current_dir(folder).args(words);
    command
}

/// The end of a pipe that nobody reads.
fn unread() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

#[test]
fn a_reader_that_goes_away_ends_no_command_and_stops_no_run() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("small.toml"), SMALL).unwrap();
    let run = ddim(dir.path(), &["run", "small.toml"]).stdout(unread()).stderr(unread()).status();
    assert!(run.unwrap().success());
    let (_, rows) = read_csv(&dir.path().join("results/small/metrics.csv")).unwrap();
    assert_eq!(rows.len(), 8);
    for words in [
        &["table", "results/small"][..],
        &["table", "results/small", "--json"],
        &["plan", "small.toml"],
        &["check", "small.toml"],
        &["models"],
        &["completions", "bash"],
        &["--help"],
    ] {
        let output = ddim(dir.path(), words).stdout(unread()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("panicked"), "{words:?}: {said}");
        let status = ddim(dir.path(), words).stderr(unread()).stdout(Stdio::null()).status();
        assert!(status.unwrap().success(), "{words:?}");
    }
}

#[test]
fn a_full_stdout_is_told_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("small.toml"), SMALL).unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = ddim(dir.path(), &["check", "small.toml"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    insta::assert_snapshot!(said, @"error: cannot write to stdout: No space left on device (os error 28)");
}

#[test]
fn a_plot_that_cannot_be_drawn_is_found_before_anything_is_computed() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |text: &str| {
        std::fs::write(dir.path().join("m.toml"), text).unwrap();
        let check = ddim(dir.path(), &["check", "m.toml"]).output().unwrap();
        let run = ddim(dir.path(), &["run", "m.toml"]).output().unwrap();
        assert_eq!((check.status.code(), run.status.code()), (Some(2), Some(2)));
        assert!(!dir.path().join("results").exists());
        String::from_utf8(check.stderr).unwrap()
    };
    let names = SMALL
        .replace("x = \"grid.steps\"", "x = \"solver.kind\"")
        .replace("series = \"solver.kind\"", "series = \"grid.steps\"");
    let said = refused(&names);
    assert!(said.contains("`ddim` on the axis `solver.kind` is not a number"), "{said}");
    let zero = SMALL.replace("steps = 40", "steps = 20");
    let said = refused(&zero);
    assert!(
        said.contains("`error` is zero at grid.steps = 20, solver.kind = ddim, model.mean = 0.1"),
        "{said}"
    );
    let below = SMALL
        .replace("x = \"grid.steps\"", "x = \"model.mean\"")
        .replace("[0.1, 0.2]", "[0, 0.2]")
        .replace("log_y = true", "log_x = true");
    let said = refused(&below);
    assert!(said.contains("`0` on the axis `model.mean` has no place on a log"), "{said}");
    // What leaves that cell out can be drawn.
    std::fs::write(dir.path().join("m.toml"), format!("{zero}only = [\"heun\"]\n")).unwrap();
    assert!(ddim(dir.path(), &["check", "m.toml"]).output().unwrap().status.success());
}

#[test]
fn a_run_dates_itself_and_shows_the_median_beside_the_mean() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("small.toml"), SMALL).unwrap();
    let run = ddim(dir.path(), &["run", "small.toml", "--quiet"]).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let read =
        |name: &str| std::fs::read_to_string(dir.path().join("results/small").join(name)).unwrap();
    let provenance: serde_json::Value = serde_json::from_str(&read("provenance.json")).unwrap();
    let finished = provenance["finished"].as_str().unwrap();
    assert!(finished.len() == 20 && finished.starts_with("20") && finished.ends_with('Z'));
    assert!(read("timing.csv").lines().skip(1).all(|line| line.ends_with('Z')));
    let table = read("table.md");
    let head = "error-median (root mean square difference from the reference solution, per value), median of N = 8 \
                samples, with its 95 % interval";
    assert!(table.contains(head), "{table}");
    assert!(table.contains("| solver.kind | order of error-median against S | order of error | "));
    let report = read("report.html");
    let (date, time) = finished.split_once('T').unwrap();
    assert!(report.contains(&format!("<dd>{date} {} UTC</dd>", &time[..5])), "{finished}");
    // Bold where the table in Markdown is bold.
    assert_eq!(report.matches("<strong>").count(), table.matches("| **").count());
    assert!(report.contains("<strong>"));
}

#[test]
fn the_committed_results_need_neither_solvers_nor_todays_words() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let mut read = 0;
    for folder in std::fs::read_dir(results).unwrap() {
        let folder = folder.unwrap().path();
        let kept = Folder::read(&folder, &|_| panic!("{} has no plan.json", folder.display()));
        let kept = kept.unwrap();
        assert_eq!(kept.plan.cells.len(), kept.records.len(), "{}", folder.display());
        Show::new(&kept.plan).plots(&kept.records, &kept.timings).unwrap();
        read += 1;
    }
    assert!(read > 20, "{read} folders");
}
