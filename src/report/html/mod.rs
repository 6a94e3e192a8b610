//! `report.html`: everything in a results folder, on one self-contained page.
//!
//! The page depends only on the [`Folder`]. It includes its styles, plots (as SVG) and samples (as
//! PNG); it has no script and loads nothing, which its content policy enforces. Text comes from
//! manifests and files; maud escapes it.

mod cells;
mod facts;
mod parts;
mod pictures;

use std::path::Path;

use maud::{Markup, PreEscaped, html};

use crate::{
    error::Result,
    report::{
        claims::{self, Judgement, Verdict},
        cross::Entry,
        overview::Show,
        ranks::Ranks,
        table::{BENDS, Published, Spot, Table},
        text::{capital, count, pretty, sentence},
    },
    results::{folder::Folder, sink::write_atomically},
};
use cells::cells;
use facts::{manifest, provenance, question};
use parts::{heads, line, rich, scrolling, text_table};
use pictures::{plots, samples};

/// Name of the page in its folder.
pub const FILE: &str = "report.html";

const STYLE: &str = include_str!("page.css");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// Writes the report of a results folder into a folder, which may be the same.
///
/// # Errors
/// A folder that cannot be written, and as [`html()`].
pub fn write(results: &Folder, out: &Path) -> Result<()> {
    Ok(write_atomically(&out.join(FILE), html(results)?.as_bytes())?)
}

/// The page.
///
/// # Errors
/// A plot of values that its axes cannot show.
pub fn html(folder: &Folder) -> Result<String> {
    let show = Show::new(&folder.plan);
    let shown = show.shown(&folder.records);
    let table = show.spec().map(|spec| show.table(spec, &shown));
    let mut sections = vec![];
    if let Some(table) = &table {
        sections.push(("table", "Table", tables(table)));
        if !folder.plan.claims.is_empty() {
            sections.push(("claims", "Claims", claims(table)));
        }
        if let Some(ranks) = show.ranks(&shown) {
            sections.push(("ranks", "Ranks", rankings(&ranks)));
        }
    }
    sections.extend(plots(folder, &show)?.map(|plots| ("plots", "Plots", plots)));
    sections.extend(samples(folder).map(|samples| ("samples", "Samples", samples)));
    sections.push(("cells", "Cells and time", cells(folder, table.is_none())));
    sections.push(("manifest", "Manifest", manifest(folder)));
    sections.push(("provenance", "Provenance", provenance(folder)));

    let name = &folder.plan.name;
    let page = html! {
        (PreEscaped("<!doctype html>")) "\n"
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (name) ": results" }
                style { "\n" (PreEscaped(STYLE)) }
            }
            "\n"
            body {
                header {
                    h1 { (name) }
                    p.soft { (state(folder, table.as_ref())) }
                    (question(&folder.plan.text))
                    nav aria-label="Sections" {
                        ul { @for (id, title, _) in &sections { li { a href={ "#" (id) } { (title) } } } }
                    }
                }
                main {
                    @for (id, title, body) in &sections {
                        "\n"
                        section id=(id) aria-labelledby={ (id) "-title" } {
                            h2 id={ (id) "-title" } { (title) } "\n"
                            (body)
                        }
                    }
                }
            }
        }
        "\n"
    };
    Ok(page.into_string())
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
    let panels = table.iter().flat_map(|table| table.panels());
    let judgements: Vec<&Judgement> = panels.flat_map(|panel| &panel.judgements).collect();
    let of = |verdict: Verdict| {
        let n = judgements.iter().filter(|found| found.verdict == verdict).count();
        let word = match verdict {
            Verdict::Holds if n > 1 => "hold".to_owned(),
            Verdict::Fails if n > 1 => "fail".to_owned(),
            verdict => verdict.to_string(),
        };
        (n > 0).then(|| format!("{n} {word}"))
    };
    let verdicts = [Verdict::Holds, Verdict::Fails, Verdict::Undecided, Verdict::NotRun];
    let counts: Vec<String> = verdicts.into_iter().filter_map(of).collect();
    if !counts.is_empty() {
        let descriptive = match judgements.iter().filter(|j| j.claim.descriptive).count() {
            0 => String::new(),
            n => format!(" ({n} of them descriptive)"),
        };
        parts.push(format!("claims: {}{descriptive}", counts.join(", ")));
    }
    parts.join(" · ")
}

fn tables(table: &Table) -> Markup {
    let spec = table.spec();
    let caption = format!(
        "{}, by {} (rows) and {} (columns)",
        table.headline("over its"),
        spec.rows,
        spec.columns
    );
    let heads = |columns: &[String]| {
        heads(&spec.rows, &columns.iter().map(|column| pretty(column)).collect::<Vec<_>>())
    };
    html! {
        @for (index, panel) in table.panels().iter().enumerate() {
            (subtitle(&panel.title))
            (scrolling(&format!("table-{index}"), &caption, &heads(&panel.cross.columns), &html! {
                @for (row, spots) in panel.lines() {
                    (line(row, &html! { @for spot in &spots { (measured(spot)) } }))
                }
            }))
            p.soft.prose { (rich(&table.caption(panel))) } "\n"
            @if let Some(Published { title, columns, rows }) = table.published() {
                (scrolling(&format!("published-{index}"), &title, &heads(columns), &html! {
                    @for (row, values) in &rows {
                        (line(row, &html! { @for value in values { td.group.paper { (value) } } }))
                    }
                }))
            }
            @let (heads, orders) = table.order_lines(panel);
            @if !orders.is_empty() {
                (text_table(&format!("orders-{index}"), "Orders of convergence", &heads, &orders))
                p.soft.prose { (BENDS) } "\n"
            }
        }
    }
}

/// The title of a panel, unless it is the only one.
fn subtitle(title: &str) -> Markup {
    html! { @if !title.is_empty() { h3 { (title) } "\n" } }
}

/// A number over its interval, or a word in its place.
fn measured(spot: &Spot) -> Markup {
    let (value, interval) = spot.print();
    let class = match spot.entry {
        Entry::NotRun => "group absent",
        Entry::Diverged => "group diverged",
        Entry::Measured(_) => "group",
    };
    html! {
        td class=(class) {
            @if spot.bold { strong { (value) } } @else { (value) }
            @if !interval.is_empty() { " " small { (interval) } }
        }
    }
}

fn claims(table: &Table) -> Markup {
    let head = claims::head(table.panels().iter().flat_map(|panel| &panel.judgements));
    let item = |judgement: &Judgement| {
        let (class, mark) = match judgement.verdict {
            Verdict::Holds => ("holds", "✓"),
            Verdict::Fails => ("fails", "✗"),
            Verdict::Undecided => ("undecided", "?"),
            Verdict::NotRun => ("not-run", "–"),
        };
        html! {
            li class=(class) {
                p {
                    span.verdict { span aria-hidden="true" { (mark) } " " (judgement.verdict) }
                    (judgement.mark()) " " (rich(&sentence(&judgement.claim.text))) " "
                    cite { "(" (judgement.claim.source) ")" }
                }
                p.why { (rich(&capital(&judgement.reason))) "." }
            }
            "\n"
        }
    };
    html! {
        p.soft.prose { (head) } "\n"
        @for panel in table.panels() {
            (subtitle(&panel.title))
            ul.claims { @for judgement in &panel.judgements { (item(judgement)) } }
        }
    }
}

fn rankings(ranks: &Ranks) -> Markup {
    let caption = "Sets of samples, the best first";
    html! {
        (text_table("ranks-table", caption, &ranks.heads(), &ranks.lines()))
        p.soft.prose { (rich(&ranks.caption())) } "\n"
        ul {
            @for agreement in ranks.agreements() {
                li.prose { (rich(&agreement.sentence())) } "\n"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use plotters::style::RGBColor;

    use super::*;
    use crate::report::plot::draw::{PALETTE, label_color};

    #[test]
    fn every_label_of_a_plot_has_a_colour_for_dark_paper() {
        for color in PALETTE.map(label_color) {
            let RGBColor(r, g, b) = color;
            let rule = format!(".plot [fill=\"#{r:02X}{g:02X}{b:02X}\"]");
            assert!(STYLE.contains(&rule), "{rule}");
        }
    }
}
