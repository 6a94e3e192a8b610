//! What a run leaves for people: tables, claims, plots and sheets of samples.
//!
//! Everything is a function of the plan and of `metrics.csv`; the sheets of the strips besides.

use std::path::PathBuf;

use super::{
    error::Result,
    features::distance_name,
    plan::Plan,
    plot::{Figure, PlotError},
    presentation::{PlotSpec, TableSpec},
    record::Record,
    runner::FD,
    sheet::{self, Row},
    sink::Sink,
    table::{Facts, Input, Table},
};

/// How a plan's results are shown.
pub struct Show<'a> {
    plan: &'a Plan,
    table: Option<TableSpec>,
    plots: Vec<PlotSpec>,
    axes: Vec<(String, Vec<String>)>,
    facts: Facts,
}

impl<'a> Show<'a> {
    /// Reads what a plan says of its presentation.
    pub fn new(plan: &'a Plan) -> Self {
        let name = metric_name(plan);
        // `fd` in a manifest stands for the distance on whatever features the manifest names.
        let column = |metric: &str| if metric == FD { name.clone() } else { metric.to_owned() };
        let text = |text: &str| text.replace("{fd}", &name);
        let table = plan.table.as_ref().map(|spec| TableSpec {
            value: column(&spec.value),
            caption: text(&spec.caption),
            ..spec.clone()
        });
        let plots = plan.plots.iter().map(|spec| PlotSpec {
            y: column(&spec.y),
            title: text(&spec.title),
            y_label: text(&spec.y_label),
            ..spec.clone()
        });
        let first = plan.cells.first().map(|cell| &cell.spec);
        Self {
            plan,
            table,
            plots: plots.collect(),
            axes: plan.axes.iter().map(|axis| (axis.name.clone(), axis.labels.clone())).collect(),
            facts: Facts {
                samples: first.map_or(0, |spec| spec.samples),
                seed: first.map_or(0, |spec| spec.seed),
                features: String::new(),
            },
        }
    }

    fn table<'b>(&'b self, spec: &'b TableSpec, records: &'b [Record]) -> Table<'b> {
        Table::new(Input {
            spec,
            paper: self.plan.paper.as_ref(),
            claims: &self.plan.claims,
            axes: &self.axes,
            records,
            facts: &self.facts,
        })
    }

    /// The table as it stands, for a terminal; empty if the manifest has none.
    pub fn terminal(&self, records: &[Record]) -> String {
        self.table.as_ref().map_or_else(String::new, |spec| self.table(spec, records).terminal())
    }

    /// The table and the judged claims, for a terminal.
    pub fn summary(&self, records: &[Record]) -> String {
        self.table.as_ref().map_or_else(String::new, |spec| {
            let table = self.table(spec, records);
            format!("{}\n{}", table.terminal(), table.terminal_claims())
        })
    }

    /// Writes `table.md` and `table.tex`.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn write_tables(&self, sink: &Sink) -> Result<()> {
        let Some(spec) = &self.table else { return Ok(()) };
        let records = sink.records();
        let table = self.table(spec, &records);
        sink.write("table.md", table.markdown().as_bytes())?;
        sink.write("table.tex", table.latex().as_bytes())?;
        Ok(())
    }

    /// Writes every plot as SVG and PNG.
    ///
    /// # Errors
    /// A folder that cannot be written, or a plot of what was not measured.
    pub fn write_plots(&self, sink: &Sink) -> Result<()> {
        let records = sink.records();
        for spec in &self.plots {
            let figure = match Figure::new(spec, &records) {
                // Every cell diverged: there is nothing to draw, which the table says.
                Err(PlotError::NoData { .. }) => continue,
                figure => figure?,
            };
            sink.write(&format!("{}.svg", spec.name), figure.svg()?.as_bytes())?;
            sink.write(&format!("{}.png", spec.name), &figure.png()?)?;
        }
        Ok(())
    }

    /// Writes a sheet of samples for every label of the table's columns: a row of samples for each
    /// of the table's rows, the same x_T down every column.
    ///
    /// # Errors
    /// A folder that cannot be written, or a strip that cannot be read.
    pub fn write_sheets(&self, sink: &Sink, strips: &[PathBuf]) -> Result<()> {
        let Some(spec) = &self.table else { return Ok(()) };
        let Some((_, columns)) = self.axes.iter().find(|(axis, _)| *axis == spec.columns) else {
            return Ok(());
        };
        for column in columns {
            let mut rows = vec![];
            for (cell, strip) in self.plan.cells.iter().zip(strips) {
                let label = |axis: &str| cell.params.iter().find(|(name, _)| name == axis);
                let here = label(&spec.columns).is_some_and(|(_, label)| label == column);
                if here && strip.exists() {
                    let label =
                        label(&spec.rows).map_or_else(String::new, |(_, label)| label.clone());
                    rows.push(Row { label, strip: strip.clone() });
                }
            }
            if !rows.is_empty() {
                let axis = spec.columns.rsplit('.').next().unwrap_or(&spec.columns);
                let png = sheet::sheet(&format!("{axis} = {column}"), &rows)?;
                sink.write(&format!("samples-{axis}-{column}.png"), &png)?;
            }
        }
        Ok(())
    }
}

/// The name of a plan's distance: `FD-` and its features.
pub fn metric_name(plan: &Plan) -> String {
    let metrics = plan.cells.iter().find_map(|cell| cell.spec.metrics.as_ref());
    metrics.map_or_else(|| FD.to_owned(), |metrics| distance_name(&metrics.features))
}
