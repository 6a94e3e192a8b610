//! How labels, numbers and sentences are written in all formats.

use crate::results::record::Estimate;

/// The names that LaTeX, the plots and the page write as one letter.
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

/// The combining circumflex, which goes on the letter before it.
pub(crate) const HAT: char = '\u{302}';

/// A label with Greek letters instead of their names: `eta = 0.5` as `η = 0.5`.
pub(crate) fn pretty(label: &str) -> String {
    let letter = |name: &str| GREEK.iter().find(|(greek, _)| *greek == name).map(|(_, c)| c);
    if let Some(c) = label.strip_suffix("-hat").and_then(letter) {
        return format!("{c}{HAT}");
    }
    let parts = label.split_once('=').and_then(|(name, value)| Some((letter(name.trim())?, value)));
    parts.map_or_else(|| label.to_owned(), |(c, value)| format!("{c} = {}", value.trim()))
}

/// A label with the name of its axis: `steps = 20`. One like `eta = 0.2` has a name already.
pub(crate) fn named(axis: &str, label: &str) -> String {
    if label.contains('=') {
        return label.to_owned();
    }
    format!("{} = {label}", axis.rsplit('.').next().unwrap_or(axis))
}

/// The text with a full stop, unless it already ends a sentence.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.ends_with(['.', '!', '?']) { text.into() } else { format!("{text}.") }
}

/// The text with a capital first letter.
pub(crate) fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next()
        .map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), rest.as_str()))
}

/// `1 cell`, `2 cells`.
pub(crate) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A number for a CSV file: the shortest that reads back to the same bits.
pub(crate) fn float(x: f64) -> String {
    format!("{x:?}")
}

/// A number and its interval to three decimals, for orders and correlations.
pub(crate) fn three_decimals(Estimate { value, interval }: Estimate) -> String {
    match interval {
        Some((low, high)) => format!("{value:.3} [{low:.3}, {high:.3}]"),
        None => format!("{value:.3}"),
    }
}

/// A table in Markdown, its first column to the left and the others to the right.
pub(crate) fn markdown_table(heads: &[String], lines: &[Vec<String>]) -> String {
    let row = |cells: &[String]| {
        let cells: Vec<String> =
            cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = " ---: |".repeat(heads.len().saturating_sub(1));
    let lines: String = lines.iter().map(|line| row(line)).collect();
    format!("{}| --- |{rule}\n{lines}", row(heads))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greek_letters_are_letters() {
        assert_eq!(pretty("eta = 0.5 (ours)"), "η = 0.5 (ours)");
        assert_eq!(pretty("sigma-hat"), "σ\u{302}");
        assert_eq!(pretty("heun = fast"), "heun = fast");
    }

    #[test]
    fn a_label_is_named_by_its_axis_once() {
        assert_eq!(named("grid.steps", "20"), "steps = 20");
        assert_eq!(named("variance", "eta = 0.2"), "eta = 0.2");
    }
}
