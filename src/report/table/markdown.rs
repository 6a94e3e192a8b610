//! A table as Markdown.

use std::fmt::Write;

use super::{BENDS, Published, Table};
use crate::report::claims;
use crate::report::text::{markdown_table, sentence};

impl Table<'_> {
    /// The table as Markdown.
    pub fn markdown(&self) -> String {
        let spec = self.input.spec;
        let corner = format!("{} \\ {}", spec.rows, spec.columns);
        let mut out = String::new();
        for panel in &self.panels {
            if !out.is_empty() {
                out.push('\n');
            }
            if !panel.title.is_empty() {
                let _ = writeln!(out, "**{}**\n", panel.title);
            }
            let _ = writeln!(out, "{}\n", self.headline("with its"));
            let mut heads = vec![corner.clone()];
            let head = |column| format!("{column}: {}", spec.value);
            heads.extend(panel.cross.columns.iter().map(head));
            let mut lines = vec![];
            for (row, spots) in panel.lines() {
                let mut line = vec![row.to_owned()];
                for spot in spots {
                    let (value, interval) = spot.print();
                    let value = if spot.bold { format!("**{value}**") } else { value };
                    line.push(format!("{value} {interval}").trim_end().to_owned());
                }
                lines.push(line);
            }
            out += &markdown_table(&heads, &lines);
            let _ = writeln!(out, "\n{}", self.caption(panel));
            if let Some(Published { title, columns, rows }) = self.published() {
                let heads = [&[corner.clone()][..], columns].concat();
                let line = |(row, values)| [vec![str::to_owned(row)], values].concat();
                let lines: Vec<Vec<String>> = rows.into_iter().map(line).collect();
                let _ = write!(out, "\n{title}\n\n{}", markdown_table(&heads, &lines));
            }
            let (heads, orders) = self.order_lines(panel);
            if !orders.is_empty() {
                let _ = writeln!(out, "\n{}\n{BENDS}", markdown_table(&heads, &orders));
            }
            if !panel.judgements.is_empty() {
                let _ = writeln!(out, "\n{}\n", claims::head(&panel.judgements));
            }
            for judgement in &panel.judgements {
                let (verdict, mark) = (judgement.verdict, judgement.mark());
                let (text, source) = (sentence(&judgement.claim.text), &judgement.claim.source);
                let reason = &judgement.reason;
                let _ = writeln!(out, "- **{verdict}**{mark}: {text} ({source}) *{reason}.*");
            }
        }
        out
    }
}
