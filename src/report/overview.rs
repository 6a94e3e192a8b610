//! Writes the tables, claims, plots and sheets of samples of a run.
//!
//! Everything is a function of the plan and of `metrics.csv`; sheets also need the strips, and plots
//! of times need `timing.csv`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use crate::metrics::Jackknife;
use crate::{
    error::Result,
    plan::{
        measures::metrics,
        outline::{Outline, OutlinedCell},
        presentation::{PlotSpec, SECONDS, TableSpec},
    },
    report::{
        fold::Fold,
        measure::Statistic,
        plot::{Figure, PlotError},
        ranks::Ranks,
        sheet::{self, Row},
        table::{Facts, Input, Table},
        text::{named, pretty},
    },
    results::{
        record::{Columns, Record},
        sink::{Sink, Timing},
    },
};

/// Name and bytes of a file of the results folder.
pub type File = (String, Vec<u8>);

/// The format of a printed table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Markdown, with the claims.
    Markdown,
    /// LaTeX for `booktabs`, with the claims.
    Latex,
    /// A line per cell of the table.
    Csv,
    /// Cells, orders and claims.
    Json,
    /// For a terminal, with the claims.
    Text,
}

const TABLES: [(&str, Format); 2] = [("table.md", Format::Markdown), ("table.tex", Format::Latex)];
const DIFFERENCES: &str = "differences.csv";
const RANKS: [&str; 2] = ["ranks.csv", "rank-correlations.csv"];
const SUMMARY: &str = "summary.csv";

/// The file name of a plot with an extension.
fn plot_file(spec: &PlotSpec, ending: &str) -> String {
    format!("{}{ending}", spec.name)
}

const FIT: &str = "-fit.csv";
const SVG: &str = ".svg";
const PNG: &str = ".png";

/// A sheet of samples of one label of the table's columns.
struct Sheet<'a> {
    column: &'a str,
    title: String,
    file: String,
}

/// How a plan's results are shown.
pub struct Show<'a> {
    plan: &'a Outline,
    table: Option<TableSpec>,
    plots: Vec<PlotSpec>,
    axes: Vec<(String, Vec<String>)>,
    facts: Facts,
    fold: Option<Fold>,
    /// The columns whose ranks are compared; none unless the table asks for it.
    ranked: Vec<String>,
}

impl<'a> Show<'a> {
    /// Reads how a plan is to be shown.
    pub fn new(plan: &'a Outline) -> Self {
        // `fd` in a manifest stands for the distance on whatever features the manifest names.
        let column = |metric: &str| {
            let found = plan.columns.iter().find(|column| column.metric == metric);
            found.map_or_else(|| metric.to_owned(), |column| column.column.clone())
        };
        let text = |text: &str| {
            let names = plan.columns.iter().map(|column| column.metric.clone()).chain(metrics());
            names.fold(text.to_owned(), |text, name| {
                text.replace(&format!("{{{name}}}"), &column(&name))
            })
        };
        let table = plan.table.as_ref().map(|spec| TableSpec {
            value: column(&spec.value),
            caption: text(&spec.caption),
            ..spec.clone()
        });
        let plots = plan.plots.iter().map(|spec| PlotSpec {
            x: column(&spec.x),
            y: column(&spec.y),
            title: text(&spec.title),
            x_label: text(&spec.x_label),
            y_label: text(&spec.y_label),
            ..spec.clone()
        });
        let first = plan.cells.first();
        let seed = first.map(|cell| cell.seed);
        let samples = first.map(|cell| cell.samples);
        let same_samples = plan.cells.iter().all(|cell| Some(cell.samples) == samples);
        let same_seed = plan.cells.iter().all(|cell| Some(cell.seed) == seed);
        let mut axes: Vec<(String, Vec<String>)> =
            plan.axes.iter().map(|axis| (axis.name.clone(), axis.labels.clone())).collect();
        let over = plan.table.as_ref().and_then(|spec| spec.over.as_ref());
        let fold = axes.iter().position(|(axis, _)| Some(axis) == over).map(|at| {
            let (axis, labels) = axes.remove(at);
            Fold { axis, labels }
        });
        let ranks = plan.table.as_ref().is_some_and(|spec| spec.rank);
        Self {
            plan,
            table,
            ranked: if ranks { ranked(plan) } else { vec![] },
            plots: plots.collect(),
            axes,
            facts: Facts {
                samples: samples.filter(|_| same_samples),
                seed: seed.filter(|_| same_seed),
                folded: fold.as_ref().map_or_else(String::new, Fold::describe),
                statistic: Statistic::of(plan.table.as_ref().map_or("", |spec| &spec.value)),
                orders: orders(plan),
            },
            fold,
        }
    }

    /// The records as they are shown, without the axis that the table averages over.
    pub(crate) fn shown(&self, records: &[Record]) -> Vec<Record> {
        self.fold.as_ref().map_or_else(|| records.to_vec(), |fold| fold.records(records))
    }

    pub(crate) fn table<'b>(&'b self, spec: &'b TableSpec, records: &'b [Record]) -> Table<'b> {
        Table::new(Input {
            spec,
            paper: self.plan.paper.as_ref(),
            claims: &self.plan.claims,
            axes: &self.axes,
            records,
            facts: &self.facts,
        })
    }

    /// The current table, for a terminal; empty if the manifest has none.
    pub fn terminal(&self, records: &[Record]) -> String {
        self.table
            .as_ref()
            .map_or_else(String::new, |spec| self.table(spec, &self.shown(records)).terminal())
    }

    /// The table and the judged claims, for a terminal.
    pub fn summary(&self, records: &[Record]) -> String {
        self.table_as(records, Format::Text).unwrap_or_default()
    }

    /// The table in a format; none if the manifest has none.
    pub fn table_as(&self, records: &[Record], format: Format) -> Option<String> {
        let records = self.shown(records);
        let table = self.table(self.spec()?, &records);
        Some(match format {
            Format::Markdown => match self.ranks(&records) {
                Some(ranks) => format!("{}\n{}", table.markdown(), ranks.markdown()),
                None => table.markdown(),
            },
            Format::Latex => table.latex(),
            Format::Csv => table.csv(),
            Format::Json => table.json(&self.plan.name),
            Format::Text => {
                let ranks = self.ranks(&records).map_or_else(String::new, |ranks| ranks.terminal());
                format!("{}\n{}{ranks}", table.terminal(), table.terminal_claims())
            }
        })
    }

    /// How the measures rank the cells, if the table asks for it and there are two cells to rank.
    pub(crate) fn ranks<'b>(&'b self, records: &'b [Record]) -> Option<Ranks<'b>> {
        let ranks = Ranks::new(&self.ranked, &self.axes, records);
        (ranks.columns.len() > 1 && ranks.sets.len() > 1).then_some(ranks)
    }

    /// What the table shows, if the manifest has one.
    pub(crate) fn spec(&self) -> Option<&TableSpec> {
        self.table.as_ref()
    }

    /// Name and bytes of `table.md`, `table.tex`, `differences.csv`, of `ranks.csv` and
    /// `rank-correlations.csv` where ranks are asked for, and of `summary.csv` of a folded axis;
    /// nothing if the manifest has no table.
    pub fn tables(&self, records: &[Record]) -> Vec<File> {
        let table = |format| self.table_as(records, format).map(String::into_bytes);
        let mut files: Vec<File> =
            TABLES.into_iter().filter_map(|(name, f)| Some((name.to_owned(), table(f)?))).collect();
        if let Some(spec) = self.spec() {
            let shown = self.shown(records);
            let differences = self.table(spec, &shown).differences_csv();
            files.push((DIFFERENCES.to_owned(), differences));
            if let Some(ranks) = self.ranks(&shown) {
                let [of_sets, correlations] = RANKS.map(str::to_owned);
                files.push((of_sets, ranks.csv()));
                files.push((correlations, ranks.correlations_csv()));
            }
            if let Some(fold) = &self.fold {
                let columns = Columns {
                    axes: self.axes.iter().map(|(axis, _)| axis.clone()).collect(),
                    metrics: columns(self.plan),
                };
                files.push((SUMMARY.to_owned(), fold.summary_csv(&columns, records)));
            }
        }
        files
    }

    /// Writes what [`Show::tables`] makes.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn write_tables(&self, sink: &Sink) -> Result<()> {
        for (name, bytes) in self.tables(&sink.records()) {
            sink.write(&name, &bytes)?;
        }
        Ok(())
    }

    /// The plots that have something to show.
    ///
    /// # Errors
    /// A plot of values that its axes cannot show.
    pub(crate) fn figures(
        &self,
        records: &[Record],
        timings: &[Timing],
    ) -> Result<Vec<(&PlotSpec, Figure)>> {
        let (records, hardware) = timed(records, timings);
        let records = self.shown(&records);
        let mut figures = vec![];
        for spec in &self.plots {
            match Figure::new(spec, &records) {
                // Every cell diverged: there is nothing to draw, which the table says.
                Err(PlotError::NoData { .. }) => {}
                figure if spec.y == SECONDS => figures.push((spec, figure?.on(&hardware))),
                figure => figures.push((spec, figure?)),
            }
        }
        Ok(figures)
    }

    /// Name and bytes of every plot, as SVG and PNG, and of its fitted lines as CSV.
    ///
    /// # Errors
    /// A plot of values that its axes cannot show.
    pub fn plots(&self, records: &[Record], timings: &[Timing]) -> Result<Vec<File>> {
        let mut files = vec![];
        for (spec, figure) in self.figures(records, timings)? {
            if spec.fit.is_some() {
                files.push((plot_file(spec, FIT), figure.fit_csv()));
            }
            files.push((plot_file(spec, SVG), figure.svg()?.into_bytes()));
            files.push((plot_file(spec, PNG), figure.png()?));
        }
        Ok(files)
    }

    /// Writes what [`Show::plots`] makes.
    ///
    /// # Errors
    /// A folder that cannot be written, or a plot of values that its axes cannot show.
    pub fn write_plots(&self, sink: &Sink) -> Result<()> {
        for (name, bytes) in self.plots(&sink.records(), &sink.timings())? {
            sink.write(&name, &bytes)?;
        }
        Ok(())
    }

    /// A sheet of samples for every label of the table's columns, with a row of samples for each of the
    /// table's rows and, if there are further axes, each of their labels. Images below each other start
    /// from the same x_T.
    ///
    /// # Errors
    /// A strip that cannot be read.
    pub fn draw_sheets(
        &self,
        strip_of: impl Fn(&OutlinedCell) -> Option<PathBuf>,
    ) -> Result<Vec<File>> {
        let Some(spec) = &self.table else { return Ok(vec![]) };
        let mut files = vec![];
        for Sheet { column, title, file } in self.sheets() {
            let mut rows = vec![];
            for cell in &self.plan.cells {
                let label = |axis: &str| cell.params.iter().find(|(name, _)| name == axis);
                let here = label(&spec.columns).is_some_and(|(_, label)| label == column);
                // Of a folded axis, the samples of its first label.
                let first = self.fold.as_ref().is_none_or(|fold| {
                    label(&fold.axis).is_none_or(|(_, label)| Some(label) == fold.labels.first())
                });
                if here
                    && first
                    && let Some(strip) = strip_of(cell).filter(|strip| strip.exists())
                {
                    let further = self.axes.iter().filter(|(axis, labels)| {
                        *axis != spec.rows && *axis != spec.columns && labels.len() > 1
                    });
                    let further = further.filter_map(|(axis, _)| {
                        label(axis).map(|(_, label)| pretty(&named(axis, label)))
                    });
                    // A number needs the name of its axis, a name does not.
                    let own = label(&spec.rows).map(|(axis, label)| match label.parse::<f64>() {
                        Ok(_) => named(axis, label),
                        Err(_) => pretty(label),
                    });
                    let parts: Vec<String> = own.into_iter().chain(further).collect();
                    rows.push(Row { label: parts.join(", "), strip });
                }
            }
            if !rows.is_empty() {
                files.push((file, sheet::sheet(&title, &rows)?));
            }
        }
        Ok(files)
    }

    fn sheets(&self) -> Vec<Sheet<'_>> {
        let Some(TableSpec { columns, .. }) = &self.table else { return vec![] };
        let Some((_, labels)) = self.axes.iter().find(|(axis, _)| axis == columns) else {
            return vec![];
        };
        let axis = columns.rsplit('.').next().unwrap_or(columns);
        labels
            .iter()
            .map(|column| Sheet {
                column,
                title: pretty(&named(axis, column)),
                file: format!("samples-{axis}-{column}.png"),
            })
            .collect()
    }

    /// Names of all the tables, plots and sheets that a run may write.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = vec![];
        if self.table.is_some() {
            names.extend(TABLES.map(|(name, _)| name.to_owned()));
            names.push(DIFFERENCES.to_owned());
            names.extend(RANKS.map(str::to_owned));
            names.extend(self.fold.as_ref().map(|_| SUMMARY.to_owned()));
        }
        for spec in &self.plots {
            names.extend(spec.fit.as_ref().map(|_| plot_file(spec, FIT)));
            names.extend([SVG, PNG].map(|ending| plot_file(spec, ending)));
        }
        names.extend(self.sheets().into_iter().map(|sheet| sheet.file));
        names
    }
}

/// The records with their times as one more metric, and the hardware of the times.
///
/// Diverged cells, and cells whose last batch was drawn before an interruption, have no time.
fn timed(records: &[Record], timings: &[Timing]) -> (Vec<Record>, String) {
    let mut records = records.to_vec();
    let mut hardware = BTreeSet::new();
    for record in &mut records {
        let timing = timings.iter().find(|timing| timing.key == record.key);
        if let Some(timing) = timing.filter(|timing| timing.seconds_per_sample_call > 0.0) {
            let value = timing.seconds_per_sample_call * record.calls as f64;
            record.metrics.insert(SECONDS.to_owned(), Jackknife { value, leave_out: vec![] });
            hardware.insert(timing.hardware());
        }
    }
    (records, hardware.into_iter().collect::<Vec<_>>().join(" and "))
}

/// The order of the method in every row of a table that fits orders.
fn orders(plan: &Outline) -> BTreeMap<String, u32> {
    let Some(table) = plan.table.as_ref().filter(|table| table.fit.is_some()) else {
        return BTreeMap::new();
    };
    let mut found: BTreeMap<String, BTreeSet<Option<u32>>> = BTreeMap::new();
    for cell in &plan.cells {
        if let Some((_, label)) = cell.params.iter().find(|(axis, _)| *axis == table.rows) {
            found.entry(label.clone()).or_default().insert(cell.order);
        }
    }
    let agreed = |orders: BTreeSet<Option<u32>>| match orders.into_iter().collect::<Vec<_>>()[..] {
        [order] => order,
        _ => None,
    };
    found.into_iter().filter_map(|(row, orders)| Some((row, agreed(orders)?))).collect()
}

/// The columns of a plan's metrics in `metrics.csv`.
pub fn columns(plan: &Outline) -> Vec<String> {
    plan.columns.iter().map(|column| column.column.clone()).collect()
}

/// The columns that sets are ranked by.
fn ranked(plan: &Outline) -> Vec<String> {
    let ranked = plan.columns.iter().filter(|column| column.ranked);
    ranked.map(|column| column.column.clone()).collect()
}
