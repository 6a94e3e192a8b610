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

use serde_json::{Value, json};

use crate::measure::features::is_score;
use crate::plan::FLOOR;
use crate::plan::presentation::{ClaimSpec, PaperRow, PaperValues, TableSpec};
use crate::report::claims::{Cross, Entry, Judgement, judge, print_bend, print_order};
use crate::report::compare;
use crate::report::measure::{self, Statistic};
use crate::results::record::{
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
    /// Number of samples N, where all cells have the same.
    pub samples: Option<usize>,
    /// The seed of all noise, where all cells have the same.
    pub seed: Option<u64>,
    /// The axis that is averaged over, with its labels: `seed = 0, 1, 2`; empty if there is none.
    pub folded: String,
    /// What the metric is measured on, for instance `64 features of resnet-cifar10`.
    pub features: String,
    /// How the metric comes from its samples.
    pub statistic: Statistic,
    /// The solver's own order in every row whose cells agree on it.
    pub orders: BTreeMap<String, u32>,
}

impl Facts {
    /// `N = 256`.
    fn n(&self) -> String {
        self.samples.map_or_else(|| "the N of each cell".to_owned(), |n| format!("N = {n}"))
    }
}

/// A row's order of convergence.
#[derive(Clone, Debug, PartialEq)]
pub struct Order<'a> {
    /// Label of the row.
    pub row: &'a str,
    /// As fitted over all columns; none where a cell is missing or diverged.
    pub fitted: Option<Estimate>,
    /// That of the mean, where the table shows its median.
    pub mean: Option<Estimate>,
    /// The local orders at both ends, where the points lie on no straight line.
    pub bend: Option<[f64; 2]>,
    /// As the solver states it.
    pub stated: Option<u32>,
}

impl Order<'_> {
    /// The columns as text, as [`Table::order_heads`] names them.
    fn cells(&self, with_mean: bool) -> Vec<String> {
        let fitted =
            |order: Option<Estimate>| order.map_or_else(|| "not run".to_owned(), print_order);
        let mut cells = vec![self.row.to_owned(), fitted(self.fitted)];
        cells.extend(with_mean.then(|| fitted(self.mean)));
        cells.push(self.bend.map_or_else(String::new, print_bend));
        cells.push(self.stated.map_or_else(String::new, |order| order.to_string()));
        cells
    }
}

/// The paper's own block of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Published<'a> {
    /// What the values are, and where they stand.
    pub(crate) title: String,
    /// Labels of the columns.
    pub(crate) columns: &'a [String],
    /// Label and values of every row; empty where the paper has none.
    pub(crate) rows: Vec<(&'a str, Vec<String>)>,
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
pub(crate) const GREEK: [(&str, char); 8] = [
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
    pub(crate) fn orders<'b>(&'b self, panel: &'b Panel) -> Vec<Order<'b>> {
        let cross = &panel.cross;
        if cross.fit.is_none() {
            return vec![];
        }
        let mean = measure::mean_of(cross.metric).map(|metric| Cross { metric, ..cross.clone() });
        let order = |row: &'b String| Order {
            row,
            mean: mean
                .as_ref()
                .and_then(|mean| Some(Estimate::at_n(&mean.order(row, &mean.columns)?))),
            fitted: cross.order(row, &cross.columns).map(|order| Estimate::at_n(&order)),
            bend: cross.bend(row, &cross.columns),
            stated: self.input.facts.orders.get(row).copied(),
        };
        cross.rows.iter().map(order).collect()
    }

    /// The orders as a table: its heads, and a line for each row; no lines unless they are fitted.
    ///
    /// Where a median is shown whose mean was measured too, the order of the mean stands beside it;
    /// where the points bend, the local orders at their ends.
    pub(crate) fn order_lines(&self, panel: &Panel) -> (Vec<String>, Vec<Vec<String>>) {
        let (orders, spec) = (self.orders(panel), self.input.spec);
        let fit = spec.fit.map_or_else(String::new, |fit| fit.to_string());
        let mean =
            measure::mean_of(&spec.value).filter(|_| orders.iter().any(|o| o.mean.is_some()));
        let mut heads = vec![spec.rows.clone(), format!("order of {} against {fit}", spec.value)];
        heads.extend(mean.map(|mean| format!("order of {mean}")));
        heads.push("bends from, to".to_owned());
        heads.push("order of the method".to_owned());
        let lines = orders.iter().map(|order| order.cells(mean.is_some())).collect();
        (heads, lines)
    }

    /// What the numbers are: the metric, its unit, N, and what stands beside each.
    pub(crate) fn headline(&self, interval: &str) -> String {
        let Input { spec, facts, .. } = self.input;
        let words = measure::words(&spec.value);
        let words = words.map_or_else(String::new, |words| format!(" ({words})"));
        let n = facts.n();
        let statistic = match facts.statistic {
            Statistic::Mean => format!("mean of {n} samples"),
            Statistic::Median => format!("median of {n} samples"),
            Statistic::Plugin => format!("at {n}"),
        };
        let level = 100.0 * LEVEL;
        format!("{}{words}, {statistic}, {interval} {level} % interval", spec.value)
    }

    pub(crate) fn paper_value(&self, row: &str, column: &str) -> Option<f64> {
        let paper = self.input.paper?;
        let column = paper.columns.iter().position(|label| label == column)?;
        let row = paper.rows.iter().find(|r| r.label == row)?;
        row.values.get(column).copied().filter(|value| !value.is_nan())
    }

    /// The published values as rows of text under a head, and the sentence above them.
    pub(crate) fn published(&self) -> Option<Published<'a>> {
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
    pub(crate) fn caption(&self, panel: &Panel) -> String {
        let Input { spec, facts, .. } = self.input;
        let Facts { seed, folded, features, statistic, .. } = facts;
        let mut caption = spec.caption.trim().to_owned();
        if !panel.title.is_empty() {
            let _ = write!(caption, " Here {}.", panel.title);
        }
        let on = if features.is_empty() { String::new() } else { format!(" on {features}") };
        let level = 100.0 * LEVEL;
        let what = match statistic {
            Statistic::Mean => format!("mean over samples and its {level} % jackknife interval"),
            Statistic::Median => {
                format!("median over samples and its {level} % jackknife interval")
            }
            Statistic::Plugin => {
                format!("plug-in value at N and its {level} % jackknife interval at the same N")
            }
        };
        let seed = seed.map_or_else(String::new, |seed| format!(", seed {seed}"));
        let of = match folded.as_str() {
            "" => "the".to_owned(),
            folded => format!("the mean over {folded} of the"),
        };
        let _ = write!(caption, " Measured: {}{on}, {}{seed}; {of} {what}.", spec.value, facts.n());
        if let Some(floor) = self.floor(panel) {
            let _ = write!(
                caption,
                " It is a distance to N exact draws of the data; N others in the place of the \
                 samples have {floor}."
            );
        }
        if panel.cross.columns.iter().any(|c| !compare::best(&panel.cross, c).is_empty()) {
            let corrected = if statistic.is_unbiased() { "" } else { "bias-corrected " };
            let best = if is_score(&spec.value) { "highest" } else { "lowest" };
            let _ = write!(
                caption,
                " Bold: the {best} {corrected}value of a column, and every value not told from it \
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
            let _ = writeln!(out, "{}\n", self.headline("with its"));
            let mut header = vec![format!("{} \\ {}", spec.rows, spec.columns)];
            let mut rule = vec!["---".to_owned()];
            for column in &cross.columns {
                header.push(format!("{column}: {}", spec.value));
                rule.push("---:".into());
            }
            let mut lines = vec![header, rule];
            let columns = columns(cross);
            for row in &cross.rows {
                let mut line = vec![row.clone()];
                for (column, Column { best, exponent }) in cross.columns.iter().zip(&columns) {
                    let text = show(cross.entry(row, column), |found| found.print(*exponent));
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
            let (heads, orders) = self.order_lines(panel);
            if !orders.is_empty() {
                let rule = " ---: |".repeat(heads.len() - 1);
                let _ = writeln!(out, "\n| {} |\n| --- |{rule}", heads.join(" | "));
                for line in orders {
                    let _ = writeln!(out, "| {} |", line.join(" | "));
                }
                let _ = writeln!(out, "\n{BENDS}");
            }
            if !panel.judgements.is_empty() {
                let _ = writeln!(out, "\n{}\n", claims_head(&panel.judgements));
            }
            for Judgement { claim, verdict, reason, .. } in &panel.judgements {
                let (text, source) = (sentence(&claim.text), &claim.source);
                let mark = descriptive(claim);
                let _ = writeln!(out, "- **{verdict}**{mark}: {text} ({source}) *{reason}.*");
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
            let columns = columns(cross);
            for row in &cross.rows {
                let _ = write!(out, "    {}", latex_label(row));
                for (column, Column { best, exponent }) in cross.columns.iter().zip(&columns) {
                    let text = show(cross.entry(row, column), |found| found.print(*exponent));
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
                let head = latex_text(&claims_head(&panel.judgements));
                let _ = writeln!(out, "\n{head}\n\\begin{{itemize}}");
                for Judgement { claim, verdict, reason, .. } in &panel.judgements {
                    let (text, source) =
                        (latex_text(&sentence(&claim.text)), latex_text(&claim.source));
                    let (reason, mark) = (latex_text(reason), descriptive(claim));
                    let _ = writeln!(
                        out,
                        "  \\item \\textbf{{{verdict}}}{mark}: {text} ({source}) \\emph{{{reason}.}}"
                    );
                }
                out.push_str("\\end{itemize}\n");
            }
        }
        out
    }

    fn latex_orders(&self, panel: &Panel) -> String {
        let (heads, orders) = self.order_lines(panel);
        if orders.is_empty() {
            return String::new();
        }
        let line = |first: String, cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| latex_text(cell)).collect();
            format!("    {first} & {} \\\\\n", cells.join(" & "))
        };
        let columns = "r".repeat(heads.len() - 1);
        let mut out = format!("\\begin{{tabular}}{{l{columns}}}\n    \\toprule\n");
        out.push_str(&line(latex_text(&heads[0]), &heads[1..]));
        out.push_str("    \\midrule\n");
        for cells in orders {
            out.push_str(&line(latex_label(&cells[0]), &cells[1..]));
        }
        let _ = writeln!(out, "    \\bottomrule\n\\end{{tabular}}\n\n{BENDS}");
        out
    }

    /// The table for a terminal: two spaces between columns, which keep their width while it fills
    /// unless a number needs more.
    pub fn terminal(&self) -> String {
        const WIDTH: usize = 14; // `133.37 ± 10.25`
        let Input { spec, .. } = self.input;
        let mut out = format!("{}\n", self.headline("± half of its"));
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
            let mut lines = vec![(corner.as_str(), cross.columns.clone())];
            let columns = columns(cross);
            for row in &cross.rows {
                let cell = |(column, Column { exponent, .. }): (&String, &Column<'_>)| {
                    show(cross.entry(row, column), |found| found.plus_minus(*exponent))
                };
                lines.push((row, cross.columns.iter().zip(&columns).map(cell).collect()));
            }
            terminal_lines(&mut out, &lines, first, WIDTH);
            if let Some(Published { title, columns, rows }) = &published {
                let _ = writeln!(out, "\n{title}");
                let mut lines = vec![(corner.as_str(), columns.to_vec())];
                lines.extend(rows.iter().cloned());
                terminal_lines(&mut out, &lines, first, WIDTH);
            }
            for order in self.orders(panel) {
                let fitted = |order: Option<Estimate>| {
                    order.map_or_else(|| "not run".to_owned(), print_order)
                };
                let Order { row, stated, .. } = order;
                let stated = stated.map_or_else(|| "-".to_owned(), |order| order.to_string());
                let order_of = fitted(order.fitted);
                let _ = write!(out, "{row:first$}  order {order_of:>22}, stated {stated}");
                if let Some(mean) = order.mean {
                    let _ = write!(out, "; of the mean {}", print_order(mean));
                }
                if let Some(bend) = order.bend {
                    let _ = write!(out, "; bends, {}", print_bend(bend));
                }
                out.push('\n');
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

    /// The table as JSON: for every panel its cells, with the columns of [`Table::csv`] without the
    /// metric's name, its orders and its judged claims.
    ///
    /// # Panics
    /// Never: the value is made of numbers and text.
    pub fn json(&self, name: &str) -> String {
        let Input { spec, facts, .. } = self.input;
        let cell = |cross: &Cross, row: &String, column: &String, best: &[&str]| {
            let entry = cross.entry(row, column);
            let mut cell = json!({
                "row": row,
                "column": column,
                "status": match entry {
                    Entry::Measured(_) => Status::Done.as_str().to_owned(),
                    entry => show(entry, |_| String::new()),
                },
                "paper": self.paper_value(row, column),
                "bold": best.contains(&row.as_str()),
            });
            if let Some(record) = cross.record(row, column) {
                cell["S"] = json!(record.steps);
                cell["levels"] = json!(record.levels);
                cell["calls"] = json!(record.calls);
                cell["N"] = json!(record.n);
            }
            if let Entry::Measured(metric) = entry {
                cell["value"] = json!(metric.value);
                if let Some((low, high)) = Estimate::at_n(metric).interval {
                    cell["low"] = json!(low);
                    cell["high"] = json!(high);
                    cell["se"] = json!(metric.standard_error());
                    cell["corrected"] = json!(metric.corrected());
                    let (low, high) = metric.interval(LEVEL);
                    cell["corrected.low"] = json!(low);
                    cell["corrected.high"] = json!(high);
                }
            }
            cell
        };
        let panel = |panel: &Panel<'_>| {
            let cross = &panel.cross;
            let columns = columns(cross);
            let places = cross.rows.iter().flat_map(|row| {
                let along = cross.columns.iter().zip(&columns);
                along.map(move |(column, how)| (row, column, how))
            });
            let cells: Vec<Value> =
                places.map(|(row, column, how)| cell(cross, row, column, &how.best)).collect();
            let orders = self.orders(panel).into_iter().map(|order| {
                let interval = order.fitted.and_then(|fitted| fitted.interval);
                json!({
                    "row": order.row,
                    "order": order.fitted.map(|fitted| fitted.value),
                    "low": interval.map(|(low, _)| low),
                    "high": interval.map(|(_, high)| high),
                    "mean": order.mean.map(|mean| mean.value),
                    "bend": order.bend,
                    "stated": order.stated,
                })
            });
            let claims = panel.judgements.iter().map(|judgement| {
                json!({
                    "text": judgement.claim.text,
                    "source": judgement.claim.source,
                    "descriptive": judgement.claim.descriptive,
                    "verdict": judgement.verdict.to_string(),
                    "reason": judgement.reason,
                })
            });
            let fixed: serde_json::Map<String, Value> = panel
                .fixed
                .iter()
                .map(|(axis, label)| ((*axis).to_owned(), json!(label)))
                .collect();
            json!({
                "where": fixed,
                "cells": cells,
                "orders": orders.collect::<Vec<_>>(),
                "claims": claims.collect::<Vec<_>>(),
            })
        };
        let table = json!({
            "name": name,
            "rows": spec.rows,
            "columns": spec.columns,
            "metric": spec.value,
            "unit": measure::words(&spec.value),
            "N": facts.samples,
            "level": LEVEL,
            "panels": self.panels.iter().map(panel).collect::<Vec<_>>(),
        });
        let text = serde_json::to_string_pretty(&table);
        text.expect("invariant: numbers and text serialise")
    }

    /// The judged claims for a terminal.
    pub fn terminal_claims(&self) -> String {
        let mut out = String::new();
        for panel in &self.panels {
            if !panel.title.is_empty() && !panel.judgements.is_empty() {
                let _ = writeln!(out, "{}", panel.title);
            }
            for Judgement { claim, verdict, reason, .. } in &panel.judgements {
                let (text, mark) = (sentence(&claim.text), descriptive(claim));
                let _ = writeln!(out, "{verdict:10} {text} ({}){mark}", claim.source);
                let _ = writeln!(out, "{:10} {reason}", "");
            }
        }
        out
    }
}

/// How a column is printed.
pub(crate) struct Column<'c> {
    /// The rows to be marked.
    pub best: Vec<&'c str>,
    /// Whether its numbers have an exponent: all of them or none.
    pub exponent: bool,
}

/// How every column is printed.
pub(crate) fn columns<'c>(cross: &'c Cross) -> Vec<Column<'c>> {
    let column = |column: &'c String| {
        let needs_exponent = |row: &String| match cross.entry(row, column) {
            Entry::Measured(metric) => Estimate::at_n(metric).has_exponent(),
            _ => false,
        };
        let exponent = cross.rows.iter().any(needs_exponent);
        Column { best: compare::best(cross, column), exponent }
    };
    cross.columns.iter().map(column).collect()
}

/// The mark of a claim that was written after a first look.
pub(crate) fn descriptive(claim: &ClaimSpec) -> &'static str {
    if claim.descriptive { " (descriptive)" } else { "" }
}

/// What stands above claims.
pub(crate) fn claims_head(judgements: &[Judgement]) -> String {
    let any = judgements.iter().any(|judgement| judgement.claim.descriptive);
    let what = if any {
        "; a descriptive claim was written after a first look at results: it sums up, and tests \
         nothing"
    } else {
        ""
    };
    format!(
        "Claims, judged on paired differences of the bias-corrected values ({} % intervals; \
         diverged counts as worse than everything{what}):",
        100.0 * LEVEL
    )
}

/// A printed estimate as its value and its interval, the space between them with the latter.
fn split_value(text: &str) -> (&str, &str) {
    text.find(" [").map_or((text, ""), |at| text.split_at(at))
}

/// What stands under fitted orders.
pub(crate) const BENDS: &str = "Where the points bend beyond their uncertainty, the local orders at the first and the last of \
     them: a single order is then that of the columns it is fitted over.";

/// The labels: first those of the paper, in its order.
fn in_order<'p>(paper: impl Iterator<Item = &'p String>, mut labels: Vec<String>) -> Vec<String> {
    let order: Vec<&String> = paper.collect();
    let place = |label: &String| order.iter().position(|known| *known == label);
    labels.sort_by_key(|label| place(label).unwrap_or(order.len()));
    labels
}

/// Lines of a table for a terminal, two spaces between columns; a label's column has `first`
/// characters, another at least `least`.
fn terminal_lines(out: &mut String, lines: &[(&str, Vec<String>)], first: usize, least: usize) {
    let columns = lines.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0);
    let width = |k: usize| {
        let cells = lines.iter().filter_map(|(_, cells)| cells.get(k));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(least)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (label, cells) in lines {
        let mut text = format!("{label:first$}");
        for (cell, &width) in cells.iter().zip(&widths) {
            let _ = write!(text, "  {cell:>width$}");
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
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

pub(crate) fn show(entry: Entry, print: impl Fn(Estimate) -> String) -> String {
    match entry {
        Entry::NotRun => "not run".into(),
        Entry::Diverged => "diverged".into(),
        Entry::Measured(metric) => print(Estimate::at_n(metric)),
    }
}

pub(crate) fn print_paper(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// The text with a full stop, unless it ends in one.
pub(crate) fn sentence(text: &str) -> String {
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
