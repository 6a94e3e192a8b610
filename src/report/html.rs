//! `report.html`: everything a results folder holds, on one page that needs nothing else.
//!
//! The page is a function of the [`Folder`] alone. Styles, plots (as SVG) and samples (as PNG) are
//! inside it; it has no script and names no address, which its own content policy enforces. Text
//! comes from manifests and files, so all of it passes through `Escaped`.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Write as _};
use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::Value;

use crate::{
    error::Result,
    plan::outline::OutlinedCell,
    report::{
        claims::{Entry, Judgement, Verdict},
        overview::Show,
        page::pretty,
        ranks::Ranks,
        table::{
            BENDS, Column, Panel, Published, Table, claims_head, columns, descriptive, sentence,
            show,
        },
    },
    results::{
        date,
        folder::Folder,
        record::{Estimate, Record, Status},
        sink::{Timing, write_atomically},
    },
};

/// Name of the page in its folder.
pub const FILE: &str = "report.html";

const STYLE: &str = include_str!("report.css");

/// Writes the report of a results folder into a folder, which may be the same.
///
/// # Errors
/// A folder that cannot be written, and as [`html`].
pub fn write(results: &Folder, out: &Path) -> Result<()> {
    Ok(write_atomically(&out.join(FILE), html(results)?.as_bytes())?)
}

/// The page.
///
/// # Errors
/// A plot of what has no place on its axes.
pub fn html(folder: &Folder) -> Result<String> {
    let show = Show::new(&folder.plan);
    let shown = show.shown(&folder.records);
    let table = show.spec().map(|spec| show.table(spec, &shown));
    let mut sections = vec![];
    if let Some(table) = &table {
        sections.push(("table", "Table", tables(folder, table)));
        if !folder.plan.claims.is_empty() {
            sections.push(("claims", "Claims", claims(table)));
        }
        if let Some(ranks) = show.ranks(&shown) {
            sections.push(("ranks", "Ranks", rankings(&ranks)));
        }
    }
    let plots = plots(folder, &show)?;
    if !plots.is_empty() {
        sections.push(("plots", "Plots", plots));
    }
    let samples = samples(folder);
    if !samples.is_empty() {
        sections.push(("samples", "Samples", samples));
    }
    sections.push(("cells", "Cells and time", cells(folder, table.is_none())));
    sections.push(("manifest", "Manifest", manifest(folder)));
    sections.push(("provenance", "Provenance", provenance(folder)));

    let name = Escaped(&folder.plan.name);
    let mut out = String::new();
    put(
        &mut out,
        format_args!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             style-src 'unsafe-inline'; img-src data:\">\n\
             <title>{name}: results</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n\
             <h1>{name}</h1>\n<p class=\"soft\">{}</p>\n{}",
            Escaped(&state(folder, table.as_ref())),
            question(&folder.plan.text)
        ),
    );
    put(&mut out, "<nav aria-label=\"Sections\">\n<ul>");
    for (id, title, _) in &sections {
        put(&mut out, format_args!("<li><a href=\"#{id}\">{title}</a></li>"));
    }
    put(&mut out, "</ul>\n</nav>\n</header>\n<main>");
    for (id, title, body) in &sections {
        put(
            &mut out,
            format_args!(
                "<section id=\"{id}\" aria-labelledby=\"{id}-title\">\n\
                 <h2 id=\"{id}-title\">{title}</h2>\n{body}</section>"
            ),
        );
    }
    put(&mut out, "</main>\n</body>\n</html>");
    Ok(out)
}

/// Text whose special characters stand for themselves, within elements and attributes.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Adds a line.
fn put(out: &mut String, line: impl Display) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{line}");
}

/// A label with its Greek letters, escaped.
fn label(text: &str) -> String {
    Escaped(&pretty(text)).to_string()
}

/// Escaped text; what stands in backticks is a label.
fn rich(text: &str) -> String {
    let mut out = String::new();
    for (i, part) in text.split('`').enumerate() {
        // Writing to a string cannot fail.
        let _ = if i % 2 == 1 {
            write!(out, "<span class=\"label\">{}</span>", label(part))
        } else {
            write!(out, "{}", Escaped(part))
        };
    }
    out
}

/// One line on how far the run is.
fn state(folder: &Folder, table: Option<&Table>) -> String {
    let planned = &folder.plan.cells;
    let finished = planned.iter().filter(|cell| folder.record(&cell.params).is_some()).count();
    let mut parts = vec![format!("{finished} of {} finished", count(planned.len(), "cell"))];
    if let Some(first) = planned.first() {
        parts.push(format!("N = {}", first.samples));
        parts.push(format!("seed {}", first.seed));
    }
    let verdicts: Vec<Verdict> = table
        .iter()
        .flat_map(|t| t.panels())
        .flat_map(|p| &p.judgements)
        .map(|j| j.verdict)
        .collect();
    let of = |verdict: Verdict| {
        let n = verdicts.iter().filter(|found| **found == verdict).count();
        let word = match verdict {
            Verdict::Holds if n > 1 => "hold".to_owned(),
            Verdict::Fails if n > 1 => "fail".to_owned(),
            verdict => verdict.to_string(),
        };
        (n > 0).then(|| format!("{n} {word}"))
    };
    let counts: Vec<String> = [Verdict::Holds, Verdict::Fails, Verdict::Undecided, Verdict::NotRun]
        .into_iter()
        .filter_map(of)
        .collect();
    if !counts.is_empty() {
        let judged = table.iter().flat_map(|t| t.panels()).flat_map(|p| &p.judgements);
        let of_these = match judged.filter(|judged| judged.claim.descriptive).count() {
            0 => String::new(),
            n => format!(" ({n} of them descriptive)"),
        };
        parts.push(format!("claims: {}{of_these}", counts.join(", ")));
    }
    parts.join(" · ")
}

/// The text with its first letter as a capital, unless it begins with something else.
fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next()
        .map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), rest.as_str()))
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The manifest's opening comment: each `Word: text` with its continuation lines.
fn question(text: &str) -> String {
    let mut entries: Vec<(&str, String)> = vec![];
    let mut open = false;
    for line in text.lines().map_while(|line| line.strip_prefix('#')) {
        let (words, indented) = (line.trim(), line.starts_with("  "));
        let key = words.split_once(": ").filter(|(key, _)| {
            !indented
                && key.chars().all(|c| c.is_alphabetic() || c == ' ')
                && key.starts_with(char::is_uppercase)
                && key.len() < 20
        });
        match (key, entries.last_mut()) {
            _ if words.is_empty() => open = false,
            (Some((key, text)), _) => {
                // A command stays as it was typed.
                let text = text.trim();
                let text = if key == "As run" { text.to_owned() } else { capital(text) };
                entries.push((key, text));
                open = true;
            }
            (None, Some((_, entry))) if open => {
                entry.push(' ');
                entry.push_str(words);
            }
            (None, _) => {
                entries.push(("Note", words.to_owned()));
                open = true;
            }
        }
    }
    if entries.is_empty() {
        return String::new();
    }
    let mut out = "<dl class=\"question\">\n".to_owned();
    for (key, text) in entries {
        put(&mut out, format_args!("<dt>{}</dt>\n<dd>{}</dd>", Escaped(key), rich(&text)));
    }
    put(&mut out, "</dl>");
    out
}

/// The start of a table that scrolls by itself where the page is narrower.
fn open_table(out: &mut String, id: &str, caption: &str) {
    put(
        out,
        format_args!(
            "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-labelledby=\"{id}\">\n\
             <table>\n<caption id=\"{id}\"><span>{caption}</span></caption>"
        ),
    );
}

fn tables(folder: &Folder, table: &Table) -> String {
    let Some(spec) = &folder.plan.table else { return String::new() };
    let mut out = String::new();
    for (index, panel) in table.panels().iter().enumerate() {
        let cross = &panel.cross;
        if !panel.title.is_empty() {
            put(&mut out, format_args!("<h3>{}</h3>", Escaped(&panel.title)));
        }
        let caption = format!(
            "{}, by {} (rows) and {} (columns)",
            Escaped(&table.headline("over its")),
            Escaped(&spec.rows),
            Escaped(&spec.columns),
        );
        open_table(&mut out, &format!("table-{index}"), &caption);
        head(&mut out, &spec.rows, &cross.columns);
        let columns = columns(cross);
        for row in &cross.rows {
            put(
                &mut out,
                format_args!("<tr>\n<th class=\"stay\" scope=\"row\">{}</th>", label(row)),
            );
            for (column, Column { best, exponent }) in cross.columns.iter().zip(&columns) {
                let bold = best.contains(&row.as_str());
                put(&mut out, measured(cross.entry(row, column), *exponent, bold));
            }
            put(&mut out, "</tr>");
        }
        put(&mut out, "</tbody>\n</table>\n</div>");
        put(&mut out, format_args!("<p class=\"soft prose\">{}</p>", rich(&table.caption(panel))));
        if let Some(Published { title, columns, rows }) = table.published() {
            open_table(&mut out, &format!("published-{index}"), &Escaped(&title).to_string());
            head(&mut out, &spec.rows, columns);
            for (row, values) in rows {
                put(
                    &mut out,
                    format_args!("<tr>\n<th class=\"stay\" scope=\"row\">{}</th>", label(row)),
                );
                for value in values {
                    put(&mut out, format_args!("<td class=\"group paper\">{value}</td>"));
                }
                put(&mut out, "</tr>");
            }
            put(&mut out, "</tbody>\n</table>\n</div>");
        }
        out.push_str(&orders(table, panel, index));
    }
    out
}

/// The head of a table, with a column for each label.
fn head(out: &mut String, rows: &str, columns: &[String]) {
    put(out, "<thead>\n<tr>");
    put(out, format_args!("<th class=\"stay\" scope=\"col\">{}</th>", Escaped(rows)));
    for column in columns {
        put(out, format_args!("<th class=\"group\" scope=\"col\">{}</th>", label(column)));
    }
    put(out, "</tr>\n</thead>\n<tbody>");
}

/// The fitted orders of a panel, beside those of the methods.
fn orders(table: &Table, panel: &Panel, index: usize) -> String {
    let (heads, lines) = table.order_lines(panel);
    let mut out = String::new();
    if !lines.is_empty() {
        put_table(&mut out, &format!("orders-{index}"), "Orders of convergence", &heads, &lines);
        put(&mut out, format_args!("<p class=\"soft prose\">{BENDS}</p>"));
    }
    out
}

/// A table of text, a label at the head of each line.
fn put_table(out: &mut String, id: &str, caption: &str, heads: &[String], lines: &[Vec<String>]) {
    open_table(out, id, caption);
    put(out, "<thead>\n<tr>");
    for (i, head) in heads.iter().enumerate() {
        let class = if i == 0 { "stay" } else { "group" };
        put(out, format_args!("<th class=\"{class}\" scope=\"col\">{}</th>", Escaped(head)));
    }
    put(out, "</tr>\n</thead>\n<tbody>");
    for line in lines {
        put(out, "<tr>");
        for (i, cell) in line.iter().enumerate() {
            put(
                out,
                if i == 0 {
                    format!("<th class=\"stay\" scope=\"row\">{}</th>", label(cell))
                } else {
                    format!("<td class=\"group\">{}</td>", Escaped(cell))
                },
            );
        }
        put(out, "</tr>");
    }
    put(out, "</tbody>\n</table>\n</div>");
}

/// A number over its interval, or what stands in its place.
fn measured(entry: Entry, exponent: bool, bold: bool) -> String {
    let text = show(entry, |estimate| estimate.print(exponent));
    let (value, interval) = text.split_once(" [").map_or((&*text, ""), |(a, b)| (a, b));
    let mut text = if bold { format!("<strong>{value}</strong>") } else { value.to_owned() };
    if !interval.is_empty() {
        let _ = write!(text, " <small>[{interval}</small>");
    }
    let kind = match entry {
        Entry::NotRun => " absent",
        Entry::Diverged => " diverged",
        Entry::Measured(_) => "",
    };
    format!("<td class=\"group{kind}\">{text}</td>")
}

fn claims(table: &Table) -> String {
    let mut out = String::new();
    let all: Vec<Judgement> =
        table.panels().iter().flat_map(|panel| panel.judgements.clone()).collect();
    let head = claims_head(&all);
    put(&mut out, format_args!("<p class=\"soft prose\">{}</p>", Escaped(&head)));
    for panel in table.panels() {
        if !panel.title.is_empty() {
            put(&mut out, format_args!("<h3>{}</h3>", Escaped(&panel.title)));
        }
        put(&mut out, "<ul class=\"claims\">");
        for judgement in &panel.judgements {
            let (class, mark) = match judgement.verdict {
                Verdict::Holds => ("holds", "✓"),
                Verdict::Fails => ("fails", "✗"),
                Verdict::Undecided => ("undecided", "?"),
                Verdict::NotRun => ("not-run", "–"),
            };
            put(
                &mut out,
                format_args!(
                    "<li class=\"{class}\">\n<p><span class=\"verdict\"><span aria-hidden=\"true\">\
                     {mark}</span> {}</span>{} {} <cite>({})</cite></p>\n<p class=\"why\">{}.</p>\n</li>",
                    judgement.verdict,
                    descriptive(&judgement.claim),
                    rich(&sentence(&judgement.claim.text)),
                    Escaped(&judgement.claim.source),
                    rich(&capital(&judgement.reason))
                ),
            );
        }
        put(&mut out, "</ul>");
    }
    out
}

fn rankings(ranks: &Ranks) -> String {
    let mut out = String::new();
    let caption = "Sets of samples, the best first";
    put_table(&mut out, "ranks-table", caption, &ranks.heads(), &ranks.lines());
    put(&mut out, format_args!("<p class=\"soft prose\">{}</p>", rich(&ranks.caption())));
    put(&mut out, "<ul>");
    for agreement in ranks.agreements() {
        put(&mut out, format_args!("<li class=\"prose\">{}</li>", rich(&agreement.sentence())));
    }
    put(&mut out, "</ul>");
    out
}

fn plots(folder: &Folder, show: &Show) -> Result<String> {
    let mut out = String::new();
    for (spec, figure) in show.figures(&folder.records, &folder.timings)? {
        let alternative = format!(
            "{} {} against {}, a curve for each {}.",
            sentence(&spec.title),
            spec.y_label,
            spec.x_label,
            spec.series
        );
        let start = format!("<svg role=\"img\" aria-label=\"{}\" ", Escaped(&alternative));
        let svg = figure.svg()?.replacen("<svg ", &start, 1);
        let svg = svg.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1);
        put(
            &mut out,
            format_args!(
                "<figure class=\"plot\">\n<div class=\"scroll\" role=\"region\" tabindex=\"0\" \
                 aria-label=\"{}\">\n{}\n</div>\n</figure>",
                Escaped(&format!("Plot {}", spec.name)),
                svg.trim_end()
            ),
        );
    }
    Ok(out)
}

/// The first samples of every cell, under each other where the table's columns agree.
fn samples(folder: &Folder) -> String {
    let spec = folder.plan.table.as_ref();
    let (across, down) = spec.map_or(("", ""), |s| (s.columns.as_str(), s.rows.as_str()));
    // What a figure has in common, and what tells its strips apart.
    let split = |cell: &OutlinedCell| -> (Vec<String>, Vec<String>) {
        let text = |(axis, value): &(String, String)| {
            if axis == down { pretty(value) } else { format!("{axis} = {}", pretty(value)) }
        };
        let (inside, outside): (Vec<_>, Vec<_>) =
            cell.params.iter().partition(|(axis, _)| spec.is_none() || axis == down);
        let outside = outside.into_iter().map(text).collect();
        (outside, inside.into_iter().map(text).collect())
    };
    let mut figures: Vec<(String, Vec<String>)> = vec![];
    for cell in &folder.plan.cells {
        let Some(png) =
            folder.record(&cell.params).and_then(|record| folder.strips.get(&record.key))
        else {
            continue;
        };
        let (outside, inside) = split(cell);
        let (title, name) = (outside.join(", "), inside.join(", "));
        let size = png_size(png).map_or_else(String::new, |(width, height)| {
            format!(" width=\"{}\" height=\"{}\"", 2 * width, 2 * height)
        });
        let alternative = format!("Samples: {}", [outside, inside].concat().join(", "));
        let strip = format!(
            "<span>{}</span>\n<img alt=\"{}\"{size} src=\"data:image/png;base64,{}\">",
            Escaped(&name),
            Escaped(&alternative),
            BASE64_STANDARD.encode(png)
        );
        match figures.iter_mut().find(|(known, _)| *known == title) {
            Some((_, strips)) => strips.push(strip),
            None => figures.push((title, vec![strip])),
        }
    }
    let mut out = String::new();
    if figures.is_empty() {
        return out;
    }
    let same = if across.is_empty() || folder.plan.cells.len() < 2 {
        "The first samples of each cell."
    } else {
        "The first samples of each cell; what stands under each other started from the same noise."
    };
    put(&mut out, format_args!("<p class=\"soft prose\">{same}</p>"));
    for (title, strips) in figures {
        put(&mut out, "<figure>");
        if !title.is_empty() {
            put(&mut out, format_args!("<figcaption>{}</figcaption>", Escaped(&title)));
        }
        put(
            &mut out,
            format_args!("<div class=\"strips\">\n{}\n</div>\n</figure>", strips.join("\n")),
        );
    }
    out
}

/// Width and height, from the header.
fn png_size(png: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| Some(u32::from_be_bytes(png.get(at..at + 4)?.try_into().ok()?));
    Some((number(16)?, number(20)?))
}

fn cells(folder: &Folder, open: bool) -> String {
    let mut out = String::new();
    let times: Vec<&Timing> = folder.records.iter().filter_map(|r| folder.timing(r)).collect();
    if !times.is_empty() {
        put(&mut out, format_args!("<p class=\"prose\">{}</p>", Escaped(&time_summary(&times))));
    }
    let total = count(folder.plan.cells.len(), "cell");
    put(
        &mut out,
        format_args!(
            "<details{}>\n<summary>Every cell: cost, time and what was measured</summary>",
            if open { " open" } else { "" }
        ),
    );
    let caption = format!(
        "{total}; S is the requested number of steps, levels the distinct ones visited, calls the \
         model calls per sample, ms per call the model’s time for one sample"
    );
    open_table(&mut out, "cells-table", &caption);
    let axes = &folder.columns.axes;
    put(&mut out, "<thead>\n<tr>\n<th class=\"stay\" scope=\"col\">#</th>");
    for axis in axes {
        put(&mut out, format_args!("<th class=\"text\" scope=\"col\">{}</th>", Escaped(axis)));
    }
    put(&mut out, "<th class=\"text\" scope=\"col\">status</th>");
    for name in ["S", "levels", "calls", "N"]
        .into_iter()
        .map(str::to_owned)
        .chain(folder.columns.metrics.iter().cloned().chain(["time".into(), "ms per call".into()]))
    {
        put(&mut out, format_args!("<th scope=\"col\">{}</th>", Escaped(&name)));
    }
    put(&mut out, "</tr>\n</thead>\n<tbody>");
    let needs_exponent = |metric: &String| {
        let mut found = folder.records.iter().filter_map(|record| record.metrics.get(metric));
        found.any(|metric| Estimate::at_n(metric).has_exponent())
    };
    let exponents: Vec<bool> = folder.columns.metrics.iter().map(needs_exponent).collect();
    for cell in &folder.plan.cells {
        put(&mut out, format_args!("<tr>\n<th class=\"stay\" scope=\"row\">{}</th>", cell.index));
        for axis in axes {
            let value = cell.params.iter().find(|(name, _)| name == axis);
            let value = value.map_or_else(String::new, |(_, value)| label(value));
            put(&mut out, format_args!("<td class=\"text\">{value}</td>"));
        }
        if let Some(record) = folder.record(&cell.params) {
            put(&mut out, finished(folder, record, &exponents).trim_end());
        } else {
            let rest = "<td></td>".repeat(6 + folder.columns.metrics.len());
            put(&mut out, format_args!("<td class=\"text absent\">not run</td>{rest}"));
        }
        put(&mut out, "</tr>");
    }
    put(&mut out, "</tbody>\n</table>\n</div>\n</details>");
    out
}

/// A finished cell; `exponents` says of each metric whether its numbers have one.
fn finished(folder: &Folder, record: &Record, exponents: &[bool]) -> String {
    let mut out = String::new();
    let class = match record.status {
        Status::Done => "text",
        Status::Diverged => "text diverged",
    };
    put(&mut out, format_args!("<td class=\"{class}\">{}</td>", record.status.as_str()));
    for number in [record.steps as u64, record.levels as u64, record.calls, record.n as u64] {
        put(&mut out, format_args!("<td>{number}</td>"));
    }
    for (metric, &exponent) in folder.columns.metrics.iter().zip(exponents) {
        let found = record.metrics.get(metric);
        let text = found.map(|metric| Estimate::at_n(metric).print(exponent));
        put(&mut out, format_args!("<td>{}</td>", text.unwrap_or_default()));
    }
    let (time, call) = folder.timing(record).map_or_else(Default::default, |timing| {
        let call = 1e3 * timing.seconds_per_sample_call;
        (duration(timing.seconds), if call > 0.0 { format!("{call:.2}") } else { String::new() })
    });
    put(&mut out, format_args!("<td>{time}</td>\n<td>{call}</td>"));
    out
}

fn time_summary(times: &[&Timing]) -> String {
    let total: f64 = times.iter().map(|timing| timing.seconds).sum();
    let places: BTreeSet<String> = times.iter().map(|timing| timing.hardware()).collect();
    let places: Vec<String> = places.into_iter().collect();
    let mut text = format!(
        "{} took {} on {}.",
        count(times.len(), "cell"),
        duration(total),
        places.join(" and ")
    );
    let mut calls: Vec<f64> =
        times.iter().map(|timing| 1e3 * timing.seconds_per_sample_call).collect();
    calls.retain(|call| *call > 0.0);
    calls.sort_by(f64::total_cmp);
    if let (Some(first), Some(last)) = (calls.first(), calls.last()) {
        let median = calls[calls.len() / 2];
        let _ = write!(text, " A model call took {median:.2} ms per sample");
        if calls.len() > 1 {
            let _ = write!(text, " in the median cell, {first:.2} to {last:.2} ms in all of them");
        }
        text.push('.');
    }
    text
}

fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        let places = if seconds < 1.0 { 3 } else { 1 };
        return format!("{seconds:.places$} s");
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a time in seconds
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

fn manifest(folder: &Folder) -> String {
    format!(
        "<details>\n<summary>manifest.toml, as run</summary>\n<pre tabindex=\"0\"><code>{}</code>\
         </pre>\n</details>\n",
        Escaped(&folder.plan.text)
    )
}

fn provenance(folder: &Folder) -> String {
    let Some(Value::Object(entries)) = &folder.provenance else {
        return "<p class=\"soft\">Written when a run ends; none has ended in this folder.</p>\n"
            .to_owned();
    };
    let mut out = "<dl class=\"facts\">\n".to_owned();
    for (key, value) in entries {
        match value {
            Value::Object(inner) => {
                for (role, value) in inner {
                    fact(&mut out, &format!("{key}: {role}"), value);
                }
            }
            value => fact(&mut out, key, value),
        }
    }
    put(&mut out, "</dl>");
    out
}

fn fact(out: &mut String, key: &str, value: &Value) {
    let text = match value {
        Value::Null => "unknown".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => match number.as_u64().filter(|_| key == "finished") {
            Some(seconds) => date::short(seconds), // of files before 2026-11-26
            None => number.to_string(),
        },
        Value::String(text) => match date::seconds(text).filter(|_| key == "finished") {
            Some(seconds) => date::short(seconds),
            None => text.clone(),
        },
        Value::Array(words) => {
            let words: Vec<String> = words
                .iter()
                .map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned))
                .collect();
            words.join(" ")
        }
        Value::Object(_) => value.to_string(),
    };
    let is_code = matches!(value, Value::Array(_))
        || (text.len() >= 40 && text.chars().all(|c| c.is_ascii_hexdigit()));
    let text = Escaped(&text);
    let text = if is_code { format!("<code>{text}</code>") } else { text.to_string() };
    put(out, format_args!("<dt>{}</dt>\n<dd>{text}</dd>", Escaped(key)));
}

#[cfg(test)]
mod tests {
    use plotters::style::RGBColor;

    use super::*;
    use crate::report::plot::{PALETTE, label_color};

    #[test]
    fn the_opening_comment_is_read_word_by_word() {
        let text = "# Question: why?\n#   Because: <b>.\n# Paper: one\n#\n# As run: a.toml\n\n# not this\n";
        insta::assert_snapshot!(question(text), @r#"
    <dl class="question">
    <dt>Question</dt>
    <dd>Why? Because: &lt;b&gt;.</dd>
    <dt>Paper</dt>
    <dd>One</dd>
    <dt>As run</dt>
    <dd>a.toml</dd>
    </dl>
    "#);
    }

    #[test]
    fn every_label_of_a_plot_has_a_colour_for_dark_paper() {
        for color in PALETTE.map(label_color) {
            let RGBColor(r, g, b) = color;
            let rule = format!(".plot [fill=\"#{r:02X}{g:02X}{b:02X}\"]");
            assert!(STYLE.contains(&rule), "{rule}");
        }
    }

    #[test]
    fn markup_in_text_stays_text() {
        assert_eq!(
            rich("<b> `eta = 1`\"'&"),
            "&lt;b&gt; <span class=\"label\">η = 1</span>&quot;&#39;&amp;"
        );
    }
}
