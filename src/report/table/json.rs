//! A table as JSON.

use serde_json::{Map, Value, json};

use super::{Panel, Spot, Table};
use crate::plan::measures::unit;
use crate::report::cross::Entry;
use crate::report::measure::{COUNTS, counts};
use crate::results::record::{Estimate, LEVEL};

impl Table<'_> {
    /// The table as JSON: for every panel its cells, with the columns of [`Table::csv`] without the
    /// metric's name, its orders and its judged claims.
    ///
    /// # Panics
    /// Never: the value is made of numbers and text.
    pub fn json(&self, name: &str) -> String {
        let spec = self.input.spec;
        let table = json!({
            "name": name,
            "rows": spec.rows,
            "columns": spec.columns,
            "metric": spec.value,
            "unit": unit(&spec.value),
            "N": self.input.facts.samples,
            "level": LEVEL,
            "panels": self.panels.iter().map(|panel| self.panel(panel)).collect::<Vec<_>>(),
        });
        let text = serde_json::to_string_pretty(&table);
        text.expect("invariant: numbers and text serialise")
    }

    fn panel(&self, panel: &Panel<'_>) -> Value {
        let lines = panel.lines();
        let places = lines.iter().flat_map(|(row, spots)| spots.iter().map(move |s| (*row, s)));
        let cells: Vec<Value> = places.map(|(row, spot)| self.cell(row, spot)).collect();
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
        let fixed = panel.fixed.iter().map(|(axis, label)| ((*axis).to_owned(), json!(label)));
        json!({
            "where": fixed.collect::<Map<_, _>>(),
            "cells": cells,
            "orders": orders.collect::<Vec<_>>(),
            "claims": claims.collect::<Vec<_>>(),
        })
    }

    fn cell(&self, row: &str, spot: &Spot<'_>) -> Value {
        let mut cell = json!({
            "row": row,
            "column": spot.column,
            "status": spot.entry.word(),
            "paper": self.paper_value(row, spot.column),
            "bold": spot.bold,
        });
        for (name, count) in COUNTS.into_iter().zip(spot.record.into_iter().flat_map(counts)) {
            cell[name] = json!(count);
        }
        if let Entry::Measured(metric) = spot.entry {
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
    }
}
