//! `name`, `[table]`, `[paper]`, `[[claim]]` and `[[plot]]`: what is the same for every cell.

use std::collections::BTreeMap;

use crate::{
    diagnostic::{Diagnostic, Place, suggest},
    manifest::{
        overlay::Table,
        reader::{FromNode, Problems, Published, Reader},
    },
    plan::{
        Cell, CellSpec, Measured, Solves,
        measures::metrics,
        outline::Column,
        presentation::{
            Against, ClaimCheck, ClaimSpec, Fitted, PaperRow, PaperValues, PlotSpec, SECONDS,
            TableSpec, number,
        },
    },
    solvers::Variance,
};

/// Columns of `metrics.csv` that a plot can have on its horizontal axis, besides axes and metrics.
pub(crate) const COLUMNS: [&str; 3] = ["S", "levels", "calls"];

/// How a claim can be checked.
pub(crate) const CHECKS: [(&str, ClaimCheck); 6] = [
    ("lowest", ClaimCheck::Lowest),
    ("highest", ClaimCheck::Highest),
    ("decreases", ClaimCheck::Decreases),
    ("below", ClaimCheck::Below),
    ("order", ClaimCheck::Order),
    ("between", ClaimCheck::Between),
];

/// What an order of convergence is fitted against.
pub(crate) const AGAINST: [(&str, Against); 2] = [("calls", Against::Calls), ("S", Against::S)];

/// What a plot can fit.
pub(crate) const FITTED: [(&str, Fitted); 1] = [("line", Fitted::Line)];

/// Default author of a claim.
pub(crate) const OWN_CLAIM: &str = "this manifest";

/// How the results of a plan are shown and judged.
pub(crate) struct Show {
    pub(crate) name: String,
    pub(crate) table: Option<TableSpec>,
    pub(crate) paper: Option<PaperValues>,
    pub(crate) claims: Vec<ClaimSpec>,
    pub(crate) plots: Vec<PlotSpec>,
}

/// The axes of a manifest with every label they have in the base or in a profile: a claim may
/// speak of a column that only one profile runs.
pub(crate) type Labels = BTreeMap<String, Vec<String>>;

pub(crate) fn read(
    tree: &Table,
    whole: &Place,
    labels: Option<&Labels>,
    columns: Option<&[Column]>,
    cells: &[Cell],
    problems: &mut Problems,
) -> Show {
    let measured: Option<Vec<&str>> =
        columns.map(|columns| columns.iter().map(|column| column.metric.as_str()).collect());
    let measured = measured.as_deref();
    let ranked = columns.map(|columns| columns.iter().filter(|column| column.ranked).count());
    let axes: Vec<&str> = tree
        .get("sweep")
        .and_then(|entry| entry.node.as_table())
        .map(|table| table.entries().iter().map(|entry| entry.key.as_str()).collect())
        .unwrap_or_default();
    let incomplete = problems.incomplete;
    // The keys of the cells were read, and unknown ones reported, with the cells.
    let mut root = Reader::new(tree, whole.clone(), problems);
    let name: String = root.need("name", "the name of the results folder: `name = \"table1\"`");
    check_file_name(&mut root, "name", &name);
    let table = root
        .entry("table")
        .map(|_| root.section("table", |r| read_table(r, &axes, measured, ranked)));
    let paper = root.entry("paper").map(|_| root.section("paper", read_paper));
    for key in ["paper", "claim"] {
        if let (Some(entry), None) = (root.entry(key), &table) {
            let message = format!("`{key}` needs a `[table]`");
            let help = "`[table]` says which axes are the rows and the columns";
            root.report(Diagnostic::error(entry.place.clone(), message).help(help));
        }
    }
    let known = |axis: Option<&String>, published: Vec<&str>| -> Vec<String> {
        let swept = axis.and_then(|axis| labels?.get(axis)).cloned().unwrap_or_default();
        let published = published.into_iter().map(str::to_owned);
        let mut known = swept;
        for label in published {
            if !known.contains(&label) {
                known.push(label);
            }
        }
        known
    };
    let rows = known(
        table.as_ref().map(|table| &table.rows),
        paper.iter().flat_map(|paper| &paper.rows).map(|row| row.label.as_str()).collect(),
    );
    let columns = known(
        table.as_ref().map(|table| &table.columns),
        paper.iter().flat_map(|paper| &paper.columns).map(String::as_str).collect(),
    );
    let fitted = table.as_ref().is_some_and(|table| table.fit.is_some());
    let checked = table.is_some() && labels.is_some() && !incomplete;
    let claims = root.each("claim", |r| {
        let claim = read_claim(r, fitted);
        if checked {
            check_name(r, "row", "row", &claim.row, &rows);
            if let Some(other) = &claim.other {
                check_name(r, "other", "row", other, &rows);
            }
            for (index, column) in claim.columns.iter().enumerate() {
                let place = r.item_place("columns", index);
                check_name_at(r, place, "column", column, &columns);
            }
        }
        claim
    });
    let mut names: Vec<String> = Vec::new();
    let plots = root.each("plot", |r| {
        let plot = read_plot(r, &axes, measured);
        if !incomplete && let Some(known) = labels.and_then(|labels| labels.get(&plot.series)) {
            for (index, label) in plot.only.iter().enumerate() {
                let place = r.item_place("only", index);
                check_name_at(r, place, "curve", label, known);
            }
        }
        if !incomplete {
            if let Some(labels) = labels.and_then(|labels| labels.get(&plot.x)) {
                check_places(r, &plot, labels);
            }
            check_zero(r, &plot, cells);
        }
        if names.contains(&plot.name) && !plot.name.is_empty() {
            let message = format!("two plots are called `{}`", plot.name);
            let help = "each is written to a file of its name";
            r.report(Diagnostic::error(r.place("name"), message).help(help));
        }
        names.push(plot.name.clone());
        plot
    });
    Show { name, table, paper, claims, plots }
}

/// What spans the table and fills it; `ranked` of the measures can be ranked.
fn read_table(
    r: &mut Reader<'_>,
    axes: &[&str],
    measured: Option<&[&str]>,
    ranked: Option<usize>,
) -> TableSpec {
    let rows: String = r.need("rows", "the axis whose labels are the rows");
    let columns: String = r.need("columns", "the axis whose labels are the columns");
    check_name(r, "rows", "axis", &rows, axes);
    check_name(r, "columns", "axis", &columns, axes);
    if rows == columns && !rows.is_empty() {
        let message = format!("rows and columns are both `{rows}`");
        r.report(
            Diagnostic::error(r.place("columns"), message)
                .also(r.place("rows"), "the rows")
                .help("a table is spanned by two axes"),
        );
    }
    let value: String = r.need("value", "the metric in the cells: `value = \"fd\"`");
    check_metric(r, "value", &value, &metrics().collect::<Vec<_>>(), measured);
    let over: Option<String> = r.get("over");
    if let Some(over) = &over {
        check_name(r, "over", "axis", over, axes);
        if *over == rows || *over == columns {
            let message = format!("the axis `{over}` cannot be shown and averaged over");
            let help = "`over` folds a further axis, for instance `seed`";
            r.report(Diagnostic::error(r.place("over"), message).help(help));
        }
    }
    let fit = r.choice("fit", &AGAINST);
    let caption = r.get("caption").unwrap_or_default();
    let rank = r.get("rank").unwrap_or(false);
    if rank && ranked.is_some_and(|ranked| ranked < 2) {
        let help = "measure another, `measures = [\"fd\", \"kid\"]`, or in the features of \
                            another network, `[metrics.also.NAME]`";
        let message = "ranks are compared between two measures of the distribution at least";
        r.report(Diagnostic::error(r.place("rank"), message).help(help));
    }
    TableSpec { rows, columns, value, caption, fit, over, rank }
}

fn read_paper(r: &mut Reader<'_>) -> PaperValues {
    let source: String =
        r.need("source", "where the numbers stand: `source = \"Song et al. 2021, Table 1\"`");
    let metric = r.need("metric", "what they are: `metric = \"FID, N = 50,000\"`");
    let columns: Vec<String> = r.need("columns", "the labels of the published columns");
    if r.entry("rows").is_none() {
        r.missing("rows", "one line per row: `rows = [{ label = \"..\", values = [..] }]`");
    }
    let rows = r.each("rows", |r| {
        let label: String = r.need("label", "the label of the row on its axis");
        let values: Vec<Published> = r.need("values", "one number per column");
        if values.len() != columns.len() && !columns.is_empty() && !values.is_empty() {
            let message = format!(
                "the row `{label}` has {} values, but there are {} columns",
                values.len(),
                columns.len()
            );
            let help = format!("the columns are {}", columns.join(", "));
            r.report(Diagnostic::error(r.place("values"), message).help(help));
        }
        PaperRow { label, values: values.into_iter().map(|value| value.0).collect() }
    });
    PaperValues { source, metric, columns, rows }
}

fn read_claim(r: &mut Reader<'_>, fitted: bool) -> ClaimSpec {
    let text: String = r.need("text", "the sentence, as a reader would say it");
    let source = r.get("source").unwrap_or_else(|| OWN_CLAIM.to_owned());
    if r.entry("check").is_none() {
        r.missing("check", "one of lowest, highest, decreases, below, order, between");
    }
    let check = r.choice("check", &CHECKS);
    let row: String = r.need("row", "the label of the row the sentence is about");
    let columns: Vec<String> = r.need("columns", "the labels of the columns it is about");
    let several = matches!(check, Some(ClaimCheck::Decreases | ClaimCheck::Order));
    let least = if several { 2 } else { 1 };
    if r.sound("columns") && columns.len() < least {
        let rule = if least == 2 { "at least two columns" } else { "at least one column" };
        let message = format!("a claim needs {rule} to be checked on");
        let help = "list the labels of the columns, in order";
        r.report(Diagnostic::error(r.place("columns"), message).help(help));
    }
    let help = "the label of the row to be below";
    let other = belongs(r, "other", check, (&[ClaimCheck::Below], &[ClaimCheck::Between]), help);
    let help = if check == Some(ClaimCheck::Between) {
        "the least and the largest value: `between = [-0.01, 0.01]`"
    } else {
        "the least and the largest order: `between = [1.9, 2.1]`"
    };
    let owners = [ClaimCheck::Order, ClaimCheck::Between];
    let ends: Option<Vec<f64>> = belongs(r, "between", check, (&owners, &[]), help);
    let between = ends.as_deref().and_then(|ends| <[f64; 2]>::try_from(ends).ok());
    r.ensure("between", between.is_some_and(|[a, b]| a < b), "two rising numbers", help);
    if check == Some(ClaimCheck::Order) && !fitted {
        let message = "an order needs to know what it is fitted against";
        let help = "say so in `[table]`: `fit = \"calls\"` or `fit = \"S\"`";
        r.report(Diagnostic::error(r.place("check"), message).help(help));
    }
    ClaimSpec {
        text,
        source,
        check: check.unwrap_or(ClaimCheck::Lowest),
        row,
        columns,
        other,
        between,
        descriptive: r.get("descriptive").unwrap_or(false),
    }
}

/// A key that some checks need, that others may have, and that the rest does not have.
fn belongs<T: FromNode>(
    r: &mut Reader<'_>,
    key: &str,
    check: Option<ClaimCheck>,
    (need, may): (&[ClaimCheck], &[ClaimCheck]),
    help: &str,
) -> Option<T> {
    let given = r.entry(key).is_some();
    if check.is_some_and(|check| need.contains(&check)) && !given {
        r.missing(key, help);
    }
    if given && check.is_some_and(|check| !need.contains(&check) && !may.contains(&check)) {
        let problem = Diagnostic::error(
            r.place(key),
            format!("`{}` does not apply to this check", r.path(key)),
        );
        r.report(problem.also(r.place("check"), "chosen here").help("remove it"));
        return None;
    }
    r.get(key)
}

fn read_plot(r: &mut Reader<'_>, axes: &[&str], measured: Option<&[&str]>) -> PlotSpec {
    let name: String = r.need("name", "the name of the file, without its ending");
    check_file_name(r, "name", &name);
    let x: String = r.need("x", "an axis, a column of `metrics.csv`, or a metric");
    let known: Vec<&str> = axes
        .iter()
        .copied()
        .chain(COLUMNS)
        .chain(measured.into_iter().flatten().copied())
        .collect();
    check_name(r, "x", "axis or column", &x, &known);
    let y: String = r.need("y", "the metric: `y = \"fd\"`");
    let shown: Vec<String> = metrics().chain([SECONDS.to_owned()]).collect();
    check_metric(r, "y", &y, &shown, measured);
    let fit = read_fit(r, &x, &y);
    let series: String = r.need("series", "the axis whose labels are the curves");
    check_name(r, "series", "axis", &series, axes);
    let (log_x, log_y) = (r.get("log_x").unwrap_or(false), r.get("log_y").unwrap_or(false));
    let triangles: Vec<f64> = r.get("triangles").unwrap_or_default();
    let logarithmic = log_x && log_y;
    if !triangles.is_empty() && !logarithmic {
        let message = "an order is a slope on logarithmic axes only";
        let help = "set `log_x = true` and `log_y = true`, or remove `triangles`";
        r.report(Diagnostic::error(r.place("triangles"), message).help(help));
    }
    let positive = triangles.iter().all(|order| *order > 0.0);
    r.ensure("triangles", positive, "positive orders", "for instance `triangles = [1, 2]`");
    let x_label = r.get("x_label").unwrap_or_else(|| label_of(&x));
    let y_label = r.get("y_label").unwrap_or_else(|| label_of(&y));
    let title = r.get("title").unwrap_or_else(|| format!("{y_label} against {x_label}"));
    PlotSpec {
        name,
        title,
        x,
        y,
        series,
        x_label,
        y_label,
        log_x,
        log_y,
        only: r.get("only").unwrap_or_default(),
        triangles,
        fit,
    }
}

/// Checks that labels have a place on the horizontal axis, before anything is computed.
fn check_places(r: &mut Reader<'_>, plot: &PlotSpec, labels: &[String]) {
    for label in labels {
        let (message, help) = match number(label) {
            None => (
                format!("`{label}` on the axis `{}` is not a number", plot.x),
                "names make the curves, `series`; on x stand an axis of numbers, `calls`, `S` or a \
                 metric",
            ),
            Some(x) if plot.log_x && x <= 0.0 => (
                format!("`{label}` on the axis `{}` has no place on a logarithmic axis", plot.x),
                "leave `log_x` out",
            ),
            Some(_) => continue,
        };
        r.report(Diagnostic::error(r.place("x"), message).help(help));
        return;
    }
}

/// A cell that is the reference solution itself has no error, and zero has no place on a logarithmic
/// axis.
fn check_zero(r: &mut Reader<'_>, plot: &PlotSpec, cells: &[Cell]) {
    let label = |cell: &Cell| {
        let found = cell.params.iter().find(|(axis, _)| *axis == plot.series);
        found.map_or_else(String::new, |(_, label)| label.clone())
    };
    let is_solution = |cell: &&Cell| {
        let CellSpec { solver, grid, solution, .. } = &cell.spec;
        let draws_nothing =
            solver.variance.is_none_or(|v| matches!(v, Variance::Eta(eta) if eta <= 0.0));
        solution.as_ref().is_some_and(|solution| {
            let same = matches!(&solution.method, Solves::Method(method)
                if (&method.kind, &method.options) == (&solver.kind, &solver.options));
            same && draws_nothing && solution.grid.as_ref() == Some(grid)
        }) && (plot.only.is_empty() || plot.only.contains(&label(cell)))
    };
    let to_solution = Measured::named(&plot.y).is_some_and(Measured::needs_solution);
    if !plot.log_y || !to_solution {
        return;
    }
    if let Some(cell) = cells.iter().find(is_solution) {
        let params: Vec<String> =
            cell.params.iter().map(|(axis, label)| format!("{axis} = {label}")).collect();
        let message = format!(
            "`{}` is zero at {}, and zero has no place on a logarithmic axis",
            plot.y,
            params.join(", ")
        );
        let help = "this cell is the reference solution itself: give `[solution]` more steps, or \
                    leave `log_y` out";
        r.report(Diagnostic::error(r.place("log_y"), message).help(help));
    }
}

/// Default label of an axis; for a metric, the name of its column.
fn label_of(shown: &str) -> String {
    match shown {
        "S" | "grid.steps" => "steps S".to_owned(),
        "calls" => "model calls per sample".to_owned(),
        "levels" => "distinct levels".to_owned(),
        SECONDS => "seconds per sample".to_owned(),
        other if Measured::of(other).is_some() => {
            format!("{{{other}}}")
        }
        other => other.to_owned(),
    }
}

/// Checks that a line is only fitted where one is expected: the time of a sample against its calls or
/// its steps.
fn read_fit(r: &mut Reader<'_>, x: &str, y: &str) -> Option<Fitted> {
    let fit = r.choice("fit", &FITTED)?;
    let (key, message, help) = if !y.is_empty() && y != SECONDS {
        let help = "set `y = \"seconds\"`, or remove `fit`; `[table]` fits orders of convergence";
        ("y", format!("no straight line is fitted to `{y}`"), help)
    } else if !x.is_empty() && !["calls", "S"].contains(&x) {
        (
            "x",
            format!("no straight line is fitted against `{x}`"),
            "set `x = \"calls\"` or `x = \"S\"`",
        )
    } else {
        return Some(fit);
    };
    let problem = Diagnostic::error(r.place("fit"), message).also(r.place(key), "chosen here");
    r.report(problem.help(help));
    Some(fit)
}

/// Reports a metric that does not exist, or that no cell measures.
fn check_metric(
    r: &mut Reader<'_>,
    key: &str,
    name: &str,
    known: &[String],
    measured: Option<&[&str]>,
) {
    if measured.is_some_and(|measured| measured.contains(&name)) {
        return;
    }
    check_name(r, key, "metric", name, known);
    let is_metric = name != SECONDS && known.iter().any(|metric| metric == name);
    if is_metric && measured.is_some() {
        let measure = name.split('.').next().unwrap_or(name);
        let help = format!("add it to `[metrics]`: `measures = [.., \"{measure}\"]`");
        let message = format!("`{name}` is not measured");
        r.report(Diagnostic::error(r.place(key), message).help(help));
    }
}

/// Reports a name that is given but not known; an absent one was reported already.
fn check_name<S: AsRef<str>>(r: &mut Reader<'_>, key: &str, what: &str, name: &str, known: &[S]) {
    let place = r.place(key);
    check_name_at(r, place, what, name, known);
}

fn check_name_at<S: AsRef<str>>(
    r: &mut Reader<'_>,
    place: Place,
    what: &str,
    name: &str,
    known: &[S],
) {
    if name.is_empty() || known.iter().any(|known| known.as_ref() == name) {
        return;
    }
    let message = format!("there is no {what} `{name}`");
    let help = suggest(name, known.iter().map(AsRef::as_ref));
    r.report(Diagnostic::error(place, message).help(help));
}

pub(crate) fn check_file_name(r: &mut Reader<'_>, key: &str, name: &str) {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.chars().all(fits) || (name.is_empty() && r.sound(key)) {
        let message = format!("`{}` cannot be the name of a file: `{name}`", r.path(key));
        let help = "use letters, digits, `-` and `_`";
        r.report(Diagnostic::error(r.place(key), message).help(help));
    }
}
