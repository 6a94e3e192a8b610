//! The building blocks of all sections of the page.

use maud::{Markup, html};

use crate::report::text::pretty;

/// Text in which labels are in backticks.
pub(super) fn rich(text: &str) -> Markup {
    html! {
        @for (i, part) in text.split('`').enumerate() {
            @if i % 2 == 1 { span.label { (pretty(part)) } } @else { (part) }
        }
    }
}

/// A table that scrolls if the page is narrower.
pub(super) fn scrolling(id: &str, caption: &str, heads: &Markup, lines: &Markup) -> Markup {
    html! {
        div.scroll role="region" tabindex="0" aria-labelledby=(id) {
            table {
                caption id=(id) { span { (caption) } }
                thead { tr { (heads) } } "\n"
                tbody { (lines) }
            }
        }
        "\n"
    }
}

/// The heads of a table's columns: that of the rows' labels, then the others.
pub(super) fn heads(first: &str, others: &[String]) -> Markup {
    html! {
        th.stay scope="col" { (first) }
        @for head in others { th.group scope="col" { (head) } }
    }
}

/// A line of a table under its label.
pub(super) fn line(label: &str, cells: &Markup) -> Markup {
    html! { tr { th.stay scope="row" { (pretty(label)) } (cells) } "\n" }
}

/// A table of text, a label at the head of each line.
pub(super) fn text_table(
    id: &str,
    caption: &str,
    columns: &[String],
    lines: &[Vec<String>],
) -> Markup {
    let lines = html! {
        @for cells in lines {
            (line(&cells[0], &html! { @for cell in &cells[1..] { td.group { (cell) } } }))
        }
    };
    scrolling(id, caption, &heads(&columns[0], &columns[1..]), &lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_text_stays_text() {
        assert_eq!(
            rich("<b> `eta = 1`\"&").into_string(),
            "&lt;b&gt; <span class=\"label\">η = 1</span>&quot;&amp;"
        );
    }
}
