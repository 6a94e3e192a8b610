//! A table as LaTeX.

use std::fmt::Write;

use super::{BENDS, Panel, Published, Table};
use crate::report::claims;
use crate::report::text::{GREEK, sentence};

impl Table<'_> {
    /// The table as LaTeX, for the package `booktabs` and, for the accents, any Unicode engine.
    pub fn latex(&self) -> String {
        let spec = self.input.spec;
        let corner =
            format!("{} \\textbackslash{{}} {}", latex_text(&spec.rows), latex_text(&spec.columns));
        let tabular = |columns: &[String], lines: &[String]| {
            let heads: Vec<String> = columns.iter().map(|column| latex_label(column)).collect();
            format!(
                "  \\begin{{tabular}}{{l{}}}\n    \\toprule\n    {corner} & {} \\\\\n    \\midrule\n\
                 {}    \\bottomrule\n  \\end{{tabular}}\n",
                "r".repeat(columns.len()),
                heads.join(" & "),
                lines.concat()
            )
        };
        let mut out = String::new();
        for panel in &self.panels {
            if !out.is_empty() {
                out.push('\n');
            }
            let _ = writeln!(out, "\\begin{{table}}\n  \\centering");
            let _ = writeln!(out, "  \\caption{{{}}}", latex_text(&self.caption(panel)));
            let mut lines = vec![];
            for (row, spots) in panel.lines() {
                let mut cells = vec![latex_label(row)];
                for spot in spots {
                    let (value, interval) = spot.print();
                    let mut cell = latex_text(&value);
                    if spot.bold {
                        cell = format!("\\textbf{{{cell}}}");
                    }
                    if !interval.is_empty() {
                        let _ = write!(cell, " {{\\scriptsize {}}}", latex_text(&interval));
                    }
                    cells.push(cell);
                }
                lines.push(line(&cells));
            }
            out += &tabular(&panel.cross.columns, &lines);
            if let Some(Published { title, columns, rows }) = self.published() {
                let _ = writeln!(out, "\n  \\medskip\n  {}\n", latex_text(&title));
                let row = |(row, values)| line(&[vec![latex_label(row)], values].concat());
                out += &tabular(columns, &rows.into_iter().map(row).collect::<Vec<_>>());
            }
            out += "\\end{table}\n";
            out += &self.latex_orders(panel);
            out += &latex_claims(panel);
        }
        out
    }

    fn latex_orders(&self, panel: &Panel) -> String {
        let (heads, orders) = self.order_lines(panel);
        if orders.is_empty() {
            return String::new();
        }
        let columns = "r".repeat(heads.len() - 1);
        let mut out = format!("\\begin{{tabular}}{{l{columns}}}\n    \\toprule\n");
        let text = |cells: &[String]| cells.iter().map(|cell| latex_text(cell)).collect::<Vec<_>>();
        out += &line(&text(&heads));
        out += "    \\midrule\n";
        for cells in orders {
            out += &line(&[vec![latex_label(&cells[0])], text(&cells[1..])].concat());
        }
        let _ = writeln!(out, "    \\bottomrule\n\\end{{tabular}}\n\n{BENDS}");
        out
    }
}

fn latex_claims(panel: &Panel) -> String {
    if panel.judgements.is_empty() {
        return String::new();
    }
    let head = latex_text(&claims::head(&panel.judgements));
    let mut out = format!("\n{head}\n\\begin{{itemize}}\n");
    for judgement in &panel.judgements {
        let _ = writeln!(
            out,
            "  \\item \\textbf{{{}}}{}: {} ({}) \\emph{{{}.}}",
            judgement.verdict,
            judgement.mark(),
            latex_text(&sentence(&judgement.claim.text)),
            latex_text(&judgement.claim.source),
            latex_text(&judgement.reason)
        );
    }
    out + "\\end{itemize}\n"
}

/// A line of a `tabular`.
fn line(cells: &[String]) -> String {
    format!("    {} \\\\\n", cells.join(" & "))
}

/// Text with LaTeX's special characters escaped; labels are in backticks.
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
