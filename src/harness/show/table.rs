//! Tables of what was measured, as Markdown, LaTeX and plain text.
//!
//! A table has the labels of one axis as rows and of another as columns; every combination of the
//! labels of the remaining axes has a panel of its own. Rows and columns are those of the sweep:
//! what the paper has comes first and in its order. A cell shows the plug-in value at N, which is
//! what the field calls, for instance, "FD at N", with the 95 % interval of that same quantity. The
//! paper's values stand below in a block of their own, and no difference of the two is formed: the
//! published metric is in general another one. What has not been run says so and is never filled
//! from the paper. The claims stand below, judged on the paired differences.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::iter::once;

use crate::harness::claims::{Cross, Entry, Judgement, judge, print_order};
use crate::harness::compare;
use crate::harness::features::is_score;
use crate::harness::plan::FLOOR;
use crate::harness::presentation::{ClaimSpec, PaperRow, PaperValues, TableSpec};
use crate::harness::record::{
    Estimate, FIELDS, LEVEL, PARAM, Record, SUFFIXES, Status, csv_bytes, fields, names,
};

/// What a table is made of.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Which axes and which metric.
    pub spec: &'a TableSpec,
    /// The published values.
    pub paper: Option<&'a PaperValues>,
    /// The claims to be judged on each panel.
    pub claims: &'a [ClaimSpec],
    /// Name and labels of every axis of the sweep, in its order.
    pub axes: &'a [(String, Vec<String>)],
    /// What has been measured.
    pub records: &'a [Record],
    /// What the caption has to say.
    pub facts: &'a Facts,
}

/// Facts about a run that its caption states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Number of samples N in every cell.
    pub samples: usize,
    /// The seed of all noise, where all cells have the same.
    pub seed: Option<u64>,
    /// The axis that is averaged over, with its labels: `seed = 0, 1, 2`; empty if there is none.
    pub folded: String,
    /// What the metric is measured on, for instance `64 features of resnet-cifar10`.
    pub features: String,
    /// Whether the metric is a mean of one number per sample, and not a distance between sets.
    pub is_mean: bool,
    /// The solver's own order in every row whose cells agree on it.
    pub orders: BTreeMap<String, u32>,
}

/// A row's order of convergence.
#[derive(Clone, Debug, PartialEq)]
pub struct Order<'a> {
    /// Label of the row.
    pub row: &'a str,
    /// As fitted over all columns; none where a cell is missing or diverged.
    pub fitted: Option<Estimate>,
    /// As the solver states it.
    pub stated: Option<u32>,
}

impl Order<'_> {
    /// The three columns as text.
    pub(in crate::harness) fn cells(&self) -> [String; 3] {
        let fitted = self.fitted.map_or_else(|| "not run".to_owned(), print_order);
        let stated = self.stated.map_or_else(String::new, |order| order.to_string());
        [self.row.to_owned(), fitted, stated]
    }
}

/// The paper's own block of a table.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::harness) struct Published<'a> {
    /// What the values are, and where they stand.
    pub(in crate::harness) title: String,
    /// Labels of the columns.
    pub(in crate::harness) columns: &'a [String],
    /// Label and values of every row; empty where the paper has none.
    pub(in crate::harness) rows: Vec<(&'a str, Vec<String>)>,
}

/// A table with its judged claims.
#[derive(Clone, Debug)]
pub struct Table<'a> {
    input: Input<'a>,
    panels: Vec<Panel<'a>>,
}

/// One panel of a table: fixed labels on all axes but two.
#[derive(Clone, Debug)]
pub struct Panel<'a> {
    /// The fixed labels, `clip = true`; empty if the sweep has no further axis.
    pub title: String,
    /// The axes that are fixed, each with its label.
    pub fixed: Vec<(&'a str, &'a str)>,
    /// The cells.
    pub cross: Cross<'a>,
    /// The claims, judged on these cells.
    pub judgements: Vec<Judgement>,
}

/// The names that LaTeX and the plots write as one letter.
pub(in crate::harness) const GREEK: [(&str, char); 8] = [
    ("alpha", 'α'),
    ("beta", 'β'),
    ("eta", 'η'),
    ("kappa", 'κ'),
    ("lambda", 'λ'),
    ("rho", 'ρ'),
    ("sigma", 'σ'),
    ("tau", 'τ'),
];

impl<'a> Table<'a> {
    /// Lays out the records and judges the claims.
    pub fn new(input: Input<'a>) -> Self {
        let spec = input.spec;
        let labels = |axis: &str| {
            let axis = input.axes.iter().find(|(name, _)| name == axis);
            axis.map_or_else(Vec::new, |(_, labels)| labels.clone())
        };
        let paper_rows = input.paper.iter().flat_map(|p| p.rows.iter().map(|r| &r.label));
        let paper_columns = input.paper.iter().flat_map(|paper| &paper.columns);
        let rows = in_order(paper_rows, labels(&spec.rows));
        let columns = in_order(paper_columns, labels(&spec.columns));

        let others =
            input.axes.iter().filter(|(n, l)| *n != spec.rows && *n != spec.columns && l.len() > 1);
        let mut fixed: Vec<Vec<(&str, &str)>> = vec![vec![]];
        for (axis, labels) in others {
            let with = |one: &Vec<(&'a str, &'a str)>, label: &'a String| {
                one.iter().copied().chain([(axis.as_str(), label.as_str())]).collect()
            };
            fixed = fixed.iter().flat_map(|one| labels.iter().map(move |l| with(one, l))).collect();
        }
        let panel = |fixed: &Vec<(&'a str, &'a str)>| {
            let is_here = |record: &&Record| {
                fixed.iter().all(|(axis, label)| record.label(axis) == Some(label))
            };
            let cross = Cross {
                row_axis: &spec.rows,
                column_axis: &spec.columns,
                metric: &spec.value,
                fit: spec.fit,
                rows: rows.clone(),
                columns: columns.clone(),
                records: input.records.iter().filter(is_here).collect(),
            };
            let judgements = input.claims.iter().map(|claim| judge(claim, &cross)).collect();
            let title: Vec<String> = fixed.iter().map(|(a, l)| format!("{a} = {l}")).collect();
            Panel { title: title.join(", "), fixed: fixed.clone(), cross, judgements }
        };
        Self { input, panels: fixed.iter().map(panel).collect() }
    }

    /// The panels, one unless the sweep has more than two axes.
    pub fn panels(&self) -> &[Panel<'a>] {
        &self.panels
    }

    /// The orders of all rows; nothing unless the table fits them.
    pub(in crate::harness) fn orders<'b>(&'b self, panel: &'b Panel) -> Vec<Order<'b>> {
        let cross = &panel.cross;
        if cross.fit.is_none() {
            return vec![];
        }
        let order = |row: &'b String| Order {
            row,
            fitted: cross.order(row, &cross.columns).map(|order| Estimate::at_n(&order)),
            stated: self.input.facts.orders.get(row).copied(),
        };
        cross.rows.iter().map(order).collect()
    }

    /// The heads of the three columns of [`Table::orders`].
    pub(in crate::harness) fn order_heads(&self) -> [String; 3] {
        let fit = self.input.spec.fit.map_or_else(String::new, |fit| fit.to_string());
        let fitted = format!("order fitted against {fit}");
        [self.input.spec.rows.clone(), fitted, "order of the method".to_owned()]
    }

    pub(in crate::harness) fn paper_value(&self, row: &str, column: &str) -> Option<f64> {
        let paper = self.input.paper?;
        let column = paper.columns.iter().position(|label| label == column)?;
        let row = paper.rows.iter().find(|r| r.label == row)?;
        row.values.get(column).copied().filter(|value| !value.is_nan())
    }

    /// The published values as rows of text under a head, and the sentence above them.
    pub(in crate::harness) fn published(&self) -> Option<Published<'a>> {
        let paper = self.input.paper?;
        let row = |row: &'a PaperRow| {
            let values = row.values.iter().map(|&value| Some(value).filter(|v| !v.is_nan()));
            (row.label.as_str(), values.map(print_paper).collect())
        };
        Some(Published {
            title: format!("Published: {}, from {}.", paper.metric, paper.source),
            columns: &paper.columns,
            rows: paper.rows.iter().map(row).collect(),
        })
    }

    /// The sentences under the table.
    pub(in crate::harness) fn caption(&self, panel: &Panel) -> String {
        let Input { spec, facts, .. } = self.input;
        let Facts { samples, seed, folded, features, is_mean, .. } = facts;
        let mut caption = spec.caption.trim().to_owned();
        if !panel.title.is_empty() {
            let _ = write!(caption, " Here {}.", panel.title);
        }
        let on = if features.is_empty() { String::new() } else { format!(" on {features}") };
        let level = 100.0 * LEVEL;
        let what = if *is_mean {
            format!("mean over samples and its {level} % jackknife interval")
        } else if spec.value.ends_with(".infinity") {
            format!("value extrapolated to infinite N and its {level} % jackknife interval")
        } else {
            format!("plug-in value at N and its {level} % jackknife interval at the same N")
        };
        let seed = seed.map_or_else(String::new, |seed| format!(", seed {seed}"));
        let of = match folded.as_str() {
            "" => "the".to_owned(),
            folded => format!("the mean over {folded} of the"),
        };
        let _ = write!(caption, " Measured: {}{on}, N = {samples}{seed}; {of} {what}.", spec.value);
        if let Some(floor) = self.floor(panel) {
            let _ = write!(
                caption,
                " It is a distance to N exact draws of the data; N others in the place of the \
                 samples have {floor}."
            );
        }
        if panel.cross.columns.iter().any(|c| !compare::best(&panel.cross, c).is_empty()) {
            let corrected = if *is_mean { "" } else { "bias-corrected " };
            let end = if is_score(&spec.value) { "highest" } else { "lowest" };
            let _ = write!(
                caption,
                " Bold: the {end} {corrected}value of a column, and every value not told from it \
                 by their paired difference at {level} %, each comparison by itself."
            );
        }
        let calls: Vec<String> =
            panel.cross.columns.iter().filter_map(|column| calls(&panel.cross, column)).collect();
        if !calls.is_empty() {
            let calls = calls.join(", ");
            let _ = write!(caption, " {} (model calls per sample): {calls}.", spec.columns);
        }
        caption
    }

    /// What exact draws have in the place of the samples, where all cells agree on it.
    fn floor(&self, panel: &Panel) -> Option<Estimate> {
        let column = format!("{}{FLOOR}", self.input.spec.value);
        let mut floors = panel.cross.records.iter().filter_map(|of| of.metrics.get(&column));
        let first = floors.next()?;
        floors.all(|floor| floor == first).then(|| Estimate::at_n(first))
    }

    /// The table as Markdown.
    pub fn markdown(&self) -> String {
        let Input { spec, .. } = self.input;
        let mut out = String::new();
        for panel in &self.panels {
            let cross = &panel.cross;
            if !out.is_empty() {
                out.push('\n');
            }
            if !panel.title.is_empty() {
                let _ = writeln!(out, "**{}**\n", panel.title);
            }
            let mut header = vec![format!("{} \\ {}", spec.rows, spec.columns)];
            let mut rule = vec!["---".to_owned()];
            for column in &cross.columns {
                header.push(format!("{column}: {}", spec.value));
                rule.push("---:".into());
            }
            let mut lines = vec![header, rule];
            let best = all_best(cross);
            for row in &cross.rows {
                let mut line = vec![row.clone()];
                for (column, best) in cross.columns.iter().zip(&best) {
                    let text = show(cross.entry(row, column), |estimate| estimate.to_string());
                    line.push(if best.contains(&row.as_str()) {
                        let (value, rest) = split_value(&text);
                        format!("**{value}**{rest}")
                    } else {
                        text
                    });
                }
                lines.push(line);
            }
            markdown_lines(&mut out, &lines);
            let _ = writeln!(out, "\n{}", self.caption(panel));
            if let Some(Published { title, columns, rows }) = self.published() {
                let corner = format!("{} \\ {}", spec.rows, spec.columns);
                let mut lines = vec![[&[corner][..], columns].concat()];
                lines.push(
                    once("---").chain(columns.iter().map(|_| "---:")).map(String::from).collect(),
                );
                lines.extend(
                    rows.into_iter().map(|(row, values)| [vec![row.to_owned()], values].concat()),
                );
                let _ = writeln!(out, "\n{title}\n");
                markdown_lines(&mut out, &lines);
            }
            let orders = self.orders(panel);
            if !orders.is_empty() {
                let line = |cells: [String; 3]| format!("| {} |", cells.join(" | "));
                let _ = writeln!(out, "\n{}\n| --- | ---: | ---: |", line(self.order_heads()));
                for order in orders {
                    let _ = writeln!(out, "{}", line(order.cells()));
                }
            }
            if !panel.judgements.is_empty() {
                let _ = writeln!(out, "\n{CLAIMS}\n");
            }
            for Judgement { claim, verdict, reason, .. } in &panel.judgements {
                let (text, source) = (sentence(&claim.text), &claim.source);
                let _ = writeln!(out, "- **{verdict}**: {text} ({source}) *{reason}.*");
            }
        }
        out
    }

    /// The table as LaTeX, for the packages `booktabs` and (for the accents) any Unicode engine.
    pub fn latex(&self) -> String {
        let Input { spec, .. } = self.input;
        let mut out = String::new();
        for panel in &self.panels {
            let cross = &panel.cross;
            let corner = format!(
                "{} \\textbackslash{{}} {}",
                latex_text(&spec.rows),
                latex_text(&spec.columns)
            );
            let open = |out: &mut String, columns: &[String]| {
                let heads: Vec<String> = columns.iter().map(|column| latex_label(column)).collect();
                let shape = "r".repeat(columns.len());
                let _ = writeln!(out, "  \\begin{{tabular}}{{l{shape}}}\n    \\toprule");
                let _ = writeln!(out, "    {corner} & {} \\\\\n    \\midrule", heads.join(" & "));
            };
            if !out.is_empty() {
                out.push('\n');
            }
            let _ = writeln!(out, "\\begin{{table}}\n  \\centering");
            let _ = writeln!(out, "  \\caption{{{}}}", latex_text(&self.caption(panel)));
            open(&mut out, &cross.columns);
            let best = all_best(cross);
            for row in &cross.rows {
                let _ = write!(out, "    {}", latex_label(row));
                for (column, best) in cross.columns.iter().zip(&best) {
                    let text = show(cross.entry(row, column), |estimate| estimate.to_string());
                    let (value, rest) = split_value(&text);
                    let mut text = latex_text(value);
                    if best.contains(&row.as_str()) {
                        text = format!("\\textbf{{{text}}}");
                    }
                    if !rest.is_empty() {
                        let _ = write!(text, " {{\\scriptsize {}}}", latex_text(rest.trim_start()));
                    }
                    let _ = write!(out, " & {text}");
                }
                out.push_str(" \\\\\n");
            }
            out.push_str("    \\bottomrule\n  \\end{tabular}\n");
            if let Some(Published { title, columns, rows }) = self.published() {
                let _ = writeln!(out, "\n  \\medskip\n  {}\n", latex_text(&title));
                open(&mut out, columns);
                for (row, values) in rows {
                    let _ = writeln!(out, "    {} & {} \\\\", latex_label(row), values.join(" & "));
                }
                out.push_str("    \\bottomrule\n  \\end{tabular}\n");
            }
            out.push_str("\\end{table}\n");
            out.push_str(&self.latex_orders(panel));
            if !panel.judgements.is_empty() {
                let _ = writeln!(out, "\n{}\n\\begin{{itemize}}", latex_text(CLAIMS));
                for Judgement { claim, verdict, reason, .. } in &panel.judgements {
                    let (text, source) =
                        (latex_text(&sentence(&claim.text)), latex_text(&claim.source));
                    let reason = latex_text(reason);
                    let _ = writeln!(
                        out,
                        "  \\item \\textbf{{{verdict}}}: {text} ({source}) \\emph{{{reason}.}}"
                    );
                }
                out.push_str("\\end{itemize}\n");
            }
        }
        out
    }

    fn latex_orders(&self, panel: &Panel) -> String {
        let orders = self.orders(panel);
        if orders.is_empty() {
            return String::new();
        }
        let line = |[row, fitted, stated]: [String; 3]| {
            format!("    {row} & {} & {} \\\\\n", latex_text(&fitted), latex_text(&stated))
        };
        let [rows, fitted, stated] = self.order_heads();
        let mut out = "\\begin{tabular}{lrr}\n    \\toprule\n".to_owned();
        out.push_str(&line([latex_text(&rows), fitted, stated]));
        out.push_str("    \\midrule\n");
        for order in orders {
            let [row, fitted, stated] = order.cells();
            out.push_str(&line([latex_label(&row), fitted, stated]));
        }
        out.push_str("    \\bottomrule\n\\end{tabular}\n");
        out
    }

    /// The table for a terminal, with columns that keep their width while it fills.
    pub fn terminal(&self) -> String {
        const WIDTH: usize = 15; // `133.37 ± 10.25` and a space
        let Input { spec, facts, .. } = self.input;
        let mut out = String::new();
        let published = self.published();
        for panel in &self.panels {
            let cross = &panel.cross;
            let corner = format!("{} \\ {}", spec.rows, spec.columns);
            let published_rows = published.iter().flat_map(|p| p.rows.iter().map(|(row, _)| *row));
            let labels = cross.rows.iter().chain([&corner]).map(String::as_str);
            let labels = labels.chain(published_rows).map(|label| label.chars().count());
            let first = labels.max().unwrap_or(0);
            if !panel.title.is_empty() {
                let _ = writeln!(out, "{}", panel.title);
            }
            let mut line = |label: &str, cells: Vec<String>| {
                let mut text = format!("{label:first$}");
                for cell in cells {
                    let _ = write!(text, " {cell:>WIDTH$}");
                }
                let _ = writeln!(out, "{}", text.trim_end());
            };
            line(&corner, cross.columns.clone());
            for row in &cross.rows {
                let entries = cross.columns.iter().map(|column| cross.entry(row, column));
                let cell = |entry| show(entry, |estimate| estimate.plus_minus());
                line(row, entries.map(cell).collect());
            }
            let level = 100.0 * LEVEL;
            line(&format!("{} at N = {}, ± {level} %", spec.value, facts.samples), vec![]);
            if let Some(Published { title, columns, rows }) = &published {
                line("", vec![]);
                line(title, vec![]);
                line(&corner, columns.to_vec());
                for (row, values) in rows {
                    line(row, values.clone());
                }
            }
            for order in self.orders(panel) {
                let [row, fitted, stated] = order.cells();
                let _ = writeln!(out, "{row:first$} order {fitted:>24}  stated {stated:>2}");
            }
        }
        out
    }

    /// The table as CSV, a line per place: `status`, a `param.AXIS` for each axis, and the columns
    /// of `metrics.csv` by the same names and with the same numbers, `m.leave_out` aside; last the
    /// paper's value.
    pub fn csv(&self) -> String {
        let Input { spec, .. } = self.input;
        let fixed = self.panels.first().map_or(&[][..], |panel| &panel.fixed);
        let axes = fixed.iter().map(|(axis, _)| *axis).chain([&*spec.rows, &*spec.columns]);
        let mut header = vec!["status".to_owned()];
        header.extend(axes.map(|axis| format!("{PARAM}{axis}")));
        header.extend(["S", "levels", "calls", "N"].map(String::from));
        header.extend(names(&spec.value, &SUFFIXES[..FIELDS - 2]));
        header.push("paper".to_owned());
        let mut lines = vec![];
        for Panel { fixed, cross, .. } in &self.panels {
            for row in &cross.rows {
                for column in &cross.columns {
                    let entry = cross.entry(row, column);
                    let mut line = vec![match entry {
                        Entry::Measured(_) => Status::Done.as_str().to_owned(),
                        entry => show(entry, |_| String::new()),
                    }];
                    let labels = fixed.iter().map(|(_, label)| *label).chain([&**row, &**column]);
                    line.extend(labels.map(str::to_owned));
                    line.extend(cross.record(row, column).map_or_else(
                        Default::default,
                        |record| {
                            let [steps, levels, n] =
                                [record.steps, record.levels, record.n].map(|n| n.to_string());
                            [steps, levels, record.calls.to_string(), n]
                        },
                    ));
                    line.extend(match entry {
                        Entry::Measured(metric) => {
                            fields(metric).into_iter().take(FIELDS - 1).collect()
                        }
                        _ => vec![String::new(); FIELDS - 1],
                    });
                    line.push(print_paper(self.paper_value(row, column)));
                    lines.push(line);
                }
            }
        }
        String::from_utf8_lossy(&csv_bytes(&header, lines.into_iter())).into_owned()
    }

    /// The judged claims for a terminal.
    pub fn terminal_claims(&self) -> String {
        let mut out = String::new();
        for panel in &self.panels {
            if !panel.title.is_empty() && !panel.judgements.is_empty() {
                let _ = writeln!(out, "{}", panel.title);
            }
            for Judgement { claim, verdict, reason, .. } in &panel.judgements {
                let _ = writeln!(out, "{verdict:10} {} ({})", sentence(&claim.text), claim.source);
                let _ = writeln!(out, "{:10} {reason}", "");
            }
        }
        out
    }
}

/// The rows to be marked in every column.
fn all_best<'c>(cross: &'c Cross) -> Vec<Vec<&'c str>> {
    cross.columns.iter().map(|column| compare::best(cross, column)).collect()
}

/// A printed estimate as its value and its interval, the space between them with the latter.
fn split_value(text: &str) -> (&str, &str) {
    text.find(" [").map_or((text, ""), |at| text.split_at(at))
}

pub(in crate::harness) const CLAIMS: &str = "Claims, judged on paired differences of the bias-corrected values (95 % \
                      intervals; diverged counts as worse than everything):";

/// The labels: first those of the paper, in its order.
fn in_order<'p>(paper: impl Iterator<Item = &'p String>, mut labels: Vec<String>) -> Vec<String> {
    let order: Vec<&String> = paper.collect();
    let place = |label: &String| order.iter().position(|known| *known == label);
    labels.sort_by_key(|label| place(label).unwrap_or(order.len()));
    labels
}

/// Lines of a Markdown table.
fn markdown_lines(out: &mut String, lines: &[Vec<String>]) {
    for line in lines {
        let line: Vec<String> = line.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(out, "| {} |", line.join(" | "));
    }
}

/// Model calls per sample in a column, a range where its rows differ.
fn calls(cross: &Cross, column: &str) -> Option<String> {
    let here = cross.records.iter().filter(|r| r.label(cross.column_axis) == Some(column));
    let calls: BTreeSet<u64> = here.map(|record| record.calls).collect();
    let (first, last) = (calls.first()?, calls.last()?);
    let range = if first == last { first.to_string() } else { format!("{first} to {last}") };
    Some(format!("{column} ({range})"))
}

pub(in crate::harness) fn show(entry: Entry, print: impl Fn(Estimate) -> String) -> String {
    match entry {
        Entry::NotRun => "not run".into(),
        Entry::Diverged => "diverged".into(),
        Entry::Measured(metric) => print(Estimate::at_n(metric)),
    }
}

pub(in crate::harness) fn print_paper(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// The text with a full stop, unless it ends in one.
pub(in crate::harness) fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.ends_with(['.', '!', '?']) { text.into() } else { format!("{text}.") }
}

/// Text with LaTeX's special characters escaped; what stands in backticks is a label.
fn latex_text(text: &str) -> String {
    let mut out = String::new();
    for (i, part) in text.split('`').enumerate() {
        if i % 2 == 1 {
            out.push_str(&latex_label(part));
            continue;
        }
        let mut previous = ' ';
        let mut rest = part.chars().peekable();
        while let Some(c) = rest.next() {
            let negative = matches!(previous, ' ' | '[' | '(')
                && rest.peek().is_some_and(char::is_ascii_digit);
            match c {
                '-' if negative => out.push_str("$-$"),
                '%' | '_' | '&' | '#' | '$' | '{' | '}' => out.extend(['\\', c]),
                '\\' => out.push_str("\\textbackslash{}"),
                '~' => out.push_str("\\textasciitilde{}"),
                '^' => out.push_str("\\textasciicircum{}"),
                '<' | '>' => out.extend(['$', c, '$']),
                '±' => out.push_str("$\\pm$"),
                _ => out.push(c),
            }
            previous = c;
        }
    }
    out
}

/// `eta = 0.5` as `$\eta = 0.5$` and `sigma-hat` as `$\hat\sigma$`, anything else as text.
fn latex_label(label: &str) -> String {
    let is_greek = |name: &str| GREEK.iter().any(|(greek, _)| *greek == name);
    if let Some(name) = label.strip_suffix("-hat").filter(|name| is_greek(name)) {
        return format!("$\\hat\\{name}$");
    }
    if let Some((name, value)) = label.split_once('=') {
        let (name, value) = (name.trim(), value.trim());
        let (number, rest) = value.split_once(' ').unwrap_or((value, ""));
        if is_greek(name) && number.parse::<f64>().is_ok() {
            let rest =
                if rest.is_empty() { String::new() } else { format!(" {}", latex_text(rest)) };
            return format!("$\\{name} = {number}${rest}");
        }
    }
    latex_text(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_formulas_in_latex() {
        assert_eq!(latex_label("eta = 0.0"), r"$\eta = 0.0$");
        assert_eq!(latex_label("eta=1.0 (DDPM)"), r"$\eta = 1.0$ (DDPM)");
        assert_eq!(latex_label("sigma-hat"), r"$\hat\sigma$");
        assert_eq!(latex_label("paper_quad"), r"paper\_quad");
        assert_eq!(latex_label("beta = 50%"), r"beta = 50\%");
    }

    #[test]
    fn special_characters_are_escaped_in_latex() {
        let text = latex_text("95 % of a_b & `eta = 0.2` is -3 [-4, -2], well-known");
        assert_eq!(text, r"95 \% of a\_b \& $\eta = 0.2$ is $-$3 [$-$4, $-$2], well-known");
    }
}
