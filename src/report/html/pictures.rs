//! The plots and the samples, included in the page.

use base64::prelude::{BASE64_STANDARD, Engine};
use maud::{Markup, PreEscaped, html};

use crate::{
    error::Result,
    plan::outline::OutlinedCell,
    report::{
        overview::Show,
        text::{pretty, sentence},
    },
    results::folder::Folder,
};

/// The plots, if there are any.
pub(super) fn plots(folder: &Folder, show: &Show) -> Result<Option<Markup>> {
    let mut plots = vec![];
    for (spec, figure) in show.figures(&folder.records, &folder.timings)? {
        let what = format!(
            "{} {} against {}, a curve for each {}.",
            sentence(&spec.title),
            spec.y_label,
            spec.x_label,
            spec.series
        );
        let start = format!("<svg role=\"img\" aria-label=\"{}\" ", html! { (what) }.into_string());
        let svg = figure.svg()?.replacen("<svg ", &start, 1);
        let svg = svg.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1);
        plots.push(html! {
            figure.plot {
                div.scroll role="region" tabindex="0" aria-label={ "Plot " (spec.name) } {
                    "\n" (PreEscaped(svg.trim_end())) "\n"
                }
            }
            "\n"
        });
    }
    Ok((!plots.is_empty()).then(|| html! { @for plot in plots { (plot) } }))
}

/// The first samples of every cell, if there are any, with those of one column of the table below each
/// other.
pub(super) fn samples(folder: &Folder) -> Option<Markup> {
    let spec = folder.plan.table.as_ref();
    let (across, down) = spec.map_or(("", ""), |s| (s.columns.as_str(), s.rows.as_str()));
    // What the strips of a figure share, and where they differ.
    let split = |cell: &OutlinedCell| -> (Vec<String>, Vec<String>) {
        let text = |(axis, value): &(String, String)| {
            if axis == down { pretty(value) } else { format!("{axis} = {}", pretty(value)) }
        };
        let (inside, outside): (Vec<_>, Vec<_>) =
            cell.params.iter().partition(|(axis, _)| spec.is_none() || axis == down);
        let outside = outside.into_iter().map(text).collect();
        (outside, inside.into_iter().map(text).collect())
    };
    let mut figures: Vec<(String, Vec<Markup>)> = vec![];
    for cell in &folder.plan.cells {
        let Some(png) =
            folder.record(&cell.params).and_then(|record| folder.strips.get(&record.key))
        else {
            continue;
        };
        let (outside, inside) = split(cell);
        let (title, name) = (outside.join(", "), inside.join(", "));
        let what = format!("Samples: {}", [outside, inside].concat().join(", "));
        let (width, height) = png_size(png).map(|(width, height)| (2 * width, 2 * height)).unzip();
        let data = BASE64_STANDARD.encode(png);
        let strip = html! {
            span { (name) }
            img alt=(what) width=[width] height=[height] src={ "data:image/png;base64," (data) };
            "\n"
        };
        match figures.iter_mut().find(|(known, _)| *known == title) {
            Some((_, strips)) => strips.push(strip),
            None => figures.push((title, vec![strip])),
        }
    }
    let noise = if across.is_empty() || folder.plan.cells.len() < 2 {
        ""
    } else {
        "; what stands under each other started from the same noise"
    };
    (!figures.is_empty()).then(|| {
        html! {
            p.soft.prose { "The first samples of each cell" (noise) "." } "\n"
            @for (title, strips) in &figures {
                figure {
                    @if !title.is_empty() { figcaption { (title) } }
                    div.strips { @for strip in strips { (strip) } }
                }
            }
        }
    })
}

/// Width and height, from the header.
fn png_size(png: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| Some(u32::from_be_bytes(png.get(at..at + 4)?.try_into().ok()?));
    Some((number(16)?, number(20)?))
}
