//! A table and its claims for a terminal.

use std::fmt::Write;

use super::{Order, Published, Spot, Table, order_or_not_run};
use crate::report::cross::print_bend;
use crate::report::text::{sentence, three_decimals};

/// The smallest width of a column, that of `133.37 ± 10.25`. Columns keep it while the table fills,
/// unless a number needs more.
const WIDTH: usize = 14;

impl Table<'_> {
    /// The table for a terminal.
    pub fn terminal(&self) -> String {
        let spec = self.input.spec;
        let mut out = format!("{}\n", self.headline("± half of its"));
        let corner = format!("{} \\ {}", spec.rows, spec.columns);
        let published = self.published();
        for panel in &self.panels {
            let published_rows = published.iter().flat_map(|p| p.rows.iter().map(|(row, _)| *row));
            let labels = panel.cross.rows.iter().chain([&corner]).map(String::as_str);
            let labels = labels.chain(published_rows).map(|label| label.chars().count());
            let first = labels.max().unwrap_or(0);
            if !panel.title.is_empty() {
                let _ = writeln!(out, "{}", panel.title);
            }
            let mut lines = vec![(corner.as_str(), panel.cross.columns.clone())];
            for (row, spots) in panel.lines() {
                lines.push((row, spots.iter().map(Spot::plus_minus).collect()));
            }
            write_lines(&mut out, &lines, first);
            if let Some(Published { title, columns, rows }) = &published {
                let _ = writeln!(out, "\n{title}");
                let mut lines = vec![(corner.as_str(), columns.to_vec())];
                lines.extend(rows.iter().cloned());
                write_lines(&mut out, &lines, first);
            }
            for Order { row, fitted, mean, bend, stated } in self.orders(panel) {
                let fitted = order_or_not_run(fitted);
                let stated = stated.map_or_else(|| "-".to_owned(), |order| order.to_string());
                let _ = write!(out, "{row:first$}  order {fitted:>22}, stated {stated}");
                if let Some(mean) = mean {
                    let _ = write!(out, "; of the mean {}", three_decimals(mean));
                }
                if let Some(bend) = bend {
                    let _ = write!(out, "; bends, {}", print_bend(bend));
                }
                out.push('\n');
            }
        }
        out
    }

    /// The judged claims for a terminal.
    pub fn terminal_claims(&self) -> String {
        let mut out = String::new();
        for panel in &self.panels {
            if !panel.title.is_empty() && !panel.judgements.is_empty() {
                let _ = writeln!(out, "{}", panel.title);
            }
            for judgement in &panel.judgements {
                let (verdict, claim) = (judgement.verdict, &judgement.claim);
                let (text, mark) = (sentence(&claim.text), judgement.mark());
                let _ = writeln!(out, "{verdict:10} {text} ({}){mark}", claim.source);
                let _ = writeln!(out, "{:10} {}", "", judgement.reason);
            }
        }
        out
    }
}

/// Lines of a table, two spaces between columns; the column of labels is `first` characters wide.
fn write_lines(out: &mut String, lines: &[(&str, Vec<String>)], first: usize) {
    let columns = lines.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0);
    let width = |k: usize| {
        let cells = lines.iter().filter_map(|(_, cells)| cells.get(k));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(WIDTH)
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
