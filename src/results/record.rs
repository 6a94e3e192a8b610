//! One row of `metrics.csv`: a cell, what decided it, and what was measured.
//!
//! Everything here is deterministic; times live in `timing.csv`. The table, the plots and the
//! claims depend only on these rows, so each metric is written with its leave-one-group-out
//! values: paired differences between cells follow from the file without the features.
//!
//! The columns are fixed before the run: `cell`, `key`, `status`, one `param.AXIS` per axis, `S`,
//! `levels`, `calls`, `N`, and then for each metric `m`, in the order of the manifest language, the
//! eight columns `m` (plug-in value at N), `m.low`, `m.high` (its 95 % interval at N), `m.se`,
//! `m.corrected` (first-order bias removed), `m.corrected.low`, `m.corrected.high` (its own) and
//! `m.leave_out`. `m.low` always belongs to `m`, as in all CSV files of results. Floats are written in
//! the shortest form that reads back to the same bits. On reading, only `m` and `m.leave_out` count;
//! the others follow from them.
//!
//! In older files a metric has the six columns `m`, `m.corrected`, `m.se`, `m.low`, `m.high`
//! (around `m.corrected`) and `m.leave_out`. They are read too, and the next run in their folder
//! writes them in the form above, without loss.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::data::file;
use crate::metrics::Jackknife;
use crate::results::row::{REMEDY, Row};

pub use crate::metrics::LEVEL;

/// What can go wrong with the files of a results folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultsError {
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a verb.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The results folder could not be created.
    #[error("cannot create the results folder {path}: {problem}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A results file does not say what it should.
    #[error("{path}:{line}: column `{column}`: {problem}; {remedy}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line in the file, from 1.
        line: u64,
        /// Name of the column.
        column: String,
        /// What is there, and what should be.
        problem: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// Another run writes to the same folder.
    #[error("{path} is in use by another run ({owner}); wait for it to end or stop it")]
    Locked {
        /// The results folder.
        path: PathBuf,
        /// Who holds it, as its lock file says.
        owner: String,
    },
}

impl From<ResultsError> for crate::error::Error {
    fn from(error: ResultsError) -> Self {
        Self::Results(Box::new(error))
    }
}

/// How a cell ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Measured.
    Done,
    /// The state became NaN or infinite; the row has no metrics.
    Diverged,
}

impl Status {
    /// The word in the column `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Diverged => "diverged",
        }
    }
}

/// A finished cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Hash of everything that decides the cell's numbers, as hex.
    pub key: String,
    /// How it ended.
    pub status: Status,
    /// `(axis, label)` in the order of the sweep.
    pub params: Vec<(String, String)>,
    /// The requested number of steps S.
    pub steps: usize,
    /// Distinct levels visited, the start included and the clean end not.
    pub levels: usize,
    /// Model calls per sample, counted at the model.
    pub calls: u64,
    /// Number of samples N.
    pub n: usize,
    /// Metrics by column name (`fd`), each with its delete-a-group jackknife.
    pub metrics: BTreeMap<String, Jackknife>,
}

impl Record {
    /// The cell's label on an axis.
    pub fn label(&self, axis: &str) -> Option<&str> {
        self.params.iter().find(|(name, _)| name == axis).map(|(_, label)| label.as_str())
    }
}

/// The part of the header that the experiment decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// Names of the sweep's axes, in order.
    pub axes: Vec<String>,
    /// Names of the metrics, in order.
    pub metrics: Vec<String>,
}

impl Columns {
    /// The header of `metrics.csv`.
    pub fn header(&self) -> Vec<String> {
        let mut header: Vec<String> = ["cell", "key", "status"].map(String::from).to_vec();
        header.extend(self.axes.iter().map(|axis| format!("{PARAM}{axis}")));
        header.extend(["S", "levels", "calls", "N"].map(String::from));
        header.extend(self.metrics.iter().flat_map(|metric| names(metric, &SUFFIXES)));
        header
    }

    /// Reads the columns from a header, or returns the first one that is out of place.
    fn from_header(header: &csv::StringRecord) -> Result<Self, (String, String)> {
        let axes: Vec<String> =
            header.iter().filter_map(|name| name.strip_prefix(PARAM)).map(String::from).collect();
        let (first, is_old) = (7 + axes.len(), |name: &str| name.ends_with(".corrected"));
        let suffixes: &[&str] =
            if header.get(first + 1).is_some_and(is_old) { &OLD_SUFFIXES } else { &SUFFIXES };
        let metrics = header.iter().skip(first).step_by(1 + suffixes.len()).map(String::from);
        let columns = Self { metrics: metrics.collect(), axes };
        let mut expected = columns.header();
        expected.truncate(first);
        expected.extend(columns.metrics.iter().flat_map(|metric| names(metric, suffixes)));
        for (i, name) in expected.iter().enumerate() {
            let found = header.get(i).unwrap_or("nothing");
            if found != name {
                return Err((
                    name.clone(),
                    format!("expected it as column {}, found `{found}`", i + 1),
                ));
            }
        }
        Ok(columns)
    }
}

/// The prefix of an axis's name in a header.
pub(crate) const PARAM: &str = "param.";

/// The suffixes of a metric's columns after the first, which is just its name.
pub(crate) const SUFFIXES: [&str; 7] =
    ["low", "high", "se", "corrected", "corrected.low", "corrected.high", "leave_out"];
const OLD_SUFFIXES: [&str; 5] = ["corrected", "se", "low", "high", "leave_out"];

/// How many columns a metric has.
pub(crate) const FIELDS: usize = 1 + SUFFIXES.len();

/// The index of the standard error among them.
pub(crate) const SE: usize = 3;

/// The columns of a metric: its name, and its name with each suffix.
pub(crate) fn names(metric: &str, suffixes: &[&str]) -> Vec<String> {
    let suffixed = suffixes.iter().map(|suffix| format!("{metric}.{suffix}"));
    std::iter::once(metric.to_owned()).chain(suffixed).collect()
}

/// `metrics.csv` of these cells, each with its index in the plan.
pub fn to_csv<'a>(
    columns: &Columns,
    rows: impl IntoIterator<Item = (usize, &'a Record)>,
) -> Vec<u8> {
    let rows = rows.into_iter().map(|(cell, record)| {
        let mut row = vec![cell.to_string(), record.key.clone(), record.status.as_str().into()];
        let label = |axis: &String| record.label(axis).unwrap_or_default().to_owned();
        row.extend(columns.axes.iter().map(label));
        row.extend([record.steps.to_string(), record.levels.to_string()]);
        row.extend([record.calls.to_string(), record.n.to_string()]);
        for metric in &columns.metrics {
            row.extend(record.metrics.get(metric).map_or_else(Default::default, fields));
        }
        row
    });
    csv_bytes(&columns.header(), rows)
}

/// The columns of one metric.
pub(crate) fn fields(metric: &Jackknife) -> [String; FIELDS] {
    let float = |x: f64| format!("{x:?}"); // shortest round trip, with an exponent where that is shorter
    let leave_out: Vec<String> = metric.leave_out.iter().copied().map(float).collect();
    let mut fields = [const { String::new() }; FIELDS];
    fields[0] = float(metric.value);
    if let Some(derived) = derived(metric) {
        fields[1..FIELDS - 1].clone_from_slice(&derived.map(float));
    }
    fields[FIELDS - 1] = leave_out.join(" ");
    fields
}

/// What follows from a metric that has an interval, in the order of its columns.
pub(super) fn derived(metric: &Jackknife) -> Option<[f64; FIELDS - 2]> {
    let (low, high) = Estimate::at_n(metric).interval?;
    let (below, above) = metric.interval(LEVEL);
    Some([low, high, metric.standard_error(), metric.corrected(), below, above])
}

fn has_interval(metric: &Jackknife) -> bool {
    metric.leave_out.len() > 1
}

/// A CSV file with LF line ends.
pub(crate) fn csv_bytes(header: &[String], rows: impl Iterator<Item = Vec<String>>) -> Vec<u8> {
    let mut writer =
        csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new());
    for row in std::iter::once(header.to_vec()).chain(rows) {
        writer.write_record(&row).expect("invariant: every row is as long as the header");
    }
    writer.into_inner().expect("invariant: writing to memory cannot fail")
}

/// Reads `metrics.csv`: its columns, and its rows with their index in the plan.
///
/// # Errors
/// If the file cannot be read, or if a field is not what [`to_csv`] writes; the message names the file,
/// line and column, and a remedy.
pub fn read_csv(path: &Path) -> Result<(Columns, Vec<(usize, Record)>), ResultsError> {
    let (header, lines) = read_lines(path, REMEDY)?;
    let columns = Columns::from_header(&header).map_err(|(column, problem)| {
        ResultsError::Malformed { path: path.into(), line: 1, column, problem, remedy: REMEDY }
    })?;
    let mut rows: Vec<(usize, Record)> = Vec::with_capacity(lines.len());
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for line in &lines {
        let row = Row { path, header: &header, line, remedy: REMEDY };
        let (cell, record) = row.record(&columns)?;
        let first = *known.entry(record.key.clone()).or_insert(rows.len());
        // Cells that differ in nothing but their labels share a key, and their numbers.
        if let Some((_, other)) = rows.get(first)
            && (Record { params: other.params.clone(), ..record.clone() }) != *other
        {
            let problem = "another row has the same key and other numbers".to_owned();
            return Err(row.unbelievable("key", problem));
        }
        rows.push((cell, record));
    }
    Ok((columns, rows))
}

/// Header and rows of a CSV file.
pub(crate) fn read_lines(
    path: &Path,
    remedy: &'static str,
) -> Result<(csv::StringRecord, Vec<csv::StringRecord>), ResultsError> {
    let bytes = file::read(path).map_err(|source| ResultsError::Io {
        path: path.into(),
        action: "read",
        source,
    })?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes.as_slice());
    let malformed = |error: csv::Error| ResultsError::Malformed {
        path: path.into(),
        line: error.position().map_or(1, csv::Position::line),
        column: "cell".into(),
        problem: match error.kind() {
            csv::ErrorKind::Utf8 { .. } => "the line is not UTF-8 text".into(),
            _ => error.to_string(),
        },
        remedy,
    };
    let header = reader.headers().map_err(malformed)?.clone();
    let lines: Vec<_> = reader.records().collect::<Result<_, _>>().map_err(malformed)?;
    if let Some(line) = lines.iter().find(|line| line.len() != header.len()) {
        let column = header.get(line.len()).or_else(|| header.get(header.len() - 1));
        let problem = format!("the row has {} fields and the header {}", line.len(), header.len());
        let row = Row { path, header: &header, line, remedy };
        return Err(row.error(column.unwrap_or("cell"), problem));
    }
    Ok((header, lines))
}

/// A number and its interval, as tables and plots show them.
///
/// Numbers are rounded to two significant digits of the interval's half-width: `46.2 [44.1, 48.3]`.
/// A number that would have more than five decimals is written with an exponent, and then so are all
/// numbers of its column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// Its interval, where there is one.
    pub interval: Option<(f64, f64)>,
}

impl Estimate {
    /// The plug-in value at N, with the interval of the same quantity.
    ///
    /// The jackknife's interval surrounds the bias-corrected value, which estimates the statistic
    /// for infinitely many samples. Moved onto the plug-in value, with the same width, it is the
    /// interval of the statistic *at N*.
    pub fn at_n(metric: &Jackknife) -> Self {
        let interval = has_interval(metric).then(|| {
            let (low, high) = metric.interval(LEVEL);
            let half = 0.5 * (high - low);
            (metric.value - half, metric.value + half)
        });
        Self { value: metric.value, interval }
    }

    /// The bias-corrected value, with its interval at a confidence level.
    pub fn corrected(metric: &Jackknife, level: f64) -> Self {
        if has_interval(metric) {
            Self { value: metric.corrected(), interval: Some(metric.interval(level)) }
        } else {
            Self { value: metric.value, interval: None }
        }
    }

    /// Whether the `Display` form has an exponent.
    pub fn has_exponent(&self) -> bool {
        self.digits().exponent
    }

    /// The `Display` form, with or without an exponent.
    pub fn print(&self, exponent: bool) -> String {
        let digits = Digits { exponent, ..self.digits() };
        let value = digits.print(self.value);
        match self.interval {
            Some((low, high)) => format!("{value} [{}, {}]", digits.print(low), digits.print(high)),
            None => value,
        }
    }

    /// `46.2 ± 2.1`: a shorter form for symmetric intervals.
    pub fn plus_minus(&self, exponent: bool) -> String {
        let digits = Digits { exponent, ..self.digits() };
        match self.interval {
            Some((low, high)) => {
                format!("{} ± {}", digits.print(self.value), digits.print(0.5 * (high - low)))
            }
            None => self.print(exponent),
        }
    }

    fn digits(&self) -> Digits {
        match self.interval {
            Some((low, high)) if high > low => Digits::for_size(0.5 * (high - low), 2),
            _ => Digits::for_size(self.value.abs(), 4),
        }
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.print(self.has_exponent()))
    }
}

/// How to print related numbers to the same last digit.
#[derive(Clone, Copy)]
struct Digits {
    /// Decimal places of the number without an exponent.
    decimals: i32,
    exponent: bool,
}

impl Digits {
    /// The last digit such that a number of this size keeps this many significant digits.
    fn for_size(size: f64, significant: i32) -> Self {
        if !size.is_finite() || size <= 0.0 {
            return Self { decimals: 2, exponent: false };
        }
        #[allow(clippy::cast_possible_truncation)] // log10 of a finite f64 is within +-324
        let exponent = size.log10().floor() as i32;
        let decimals = (significant - 1 - exponent).max(0);
        Self { decimals, exponent: decimals > 5 }
    }

    fn print(self, x: f64) -> String {
        let places = usize::try_from(self.decimals).unwrap_or(0);
        if !self.exponent {
            let text = format!("{x:.places$}");
            // Without the sign of -0.0.
            return match text.strip_prefix('-') {
                Some(zero) if zero.chars().all(|c| matches!(c, '0' | '.')) => zero.to_owned(),
                _ => text,
            };
        }
        if x == 0.0 {
            return "0".to_owned();
        }
        #[allow(clippy::cast_possible_truncation)] // as above
        let exponent = x.abs().log10().floor() as i32;
        let places = usize::try_from(self.decimals + exponent).unwrap_or(0);
        format!("{x:.places$e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(params: &[(&str, &str)], metrics: &[(&str, Jackknife)]) -> Record {
        Record {
            key: params.iter().map(|(_, label)| *label).collect(),
            status: if metrics.is_empty() { Status::Diverged } else { Status::Done },
            params: params.iter().map(|(a, l)| ((*a).into(), (*l).into())).collect(),
            steps: 50,
            levels: 49,
            calls: 50,
            n: 256,
            metrics: metrics.iter().map(|(m, j)| ((*m).into(), j.clone())).collect(),
        }
    }

    fn columns() -> Columns {
        Columns { axes: vec!["eta".into(), "tau".into()], metrics: vec!["fd".into(), "kid".into()] }
    }

    fn read(text: &[u8]) -> Result<(Columns, Vec<(usize, Record)>), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        std::fs::write(&path, text).unwrap();
        let parent = format!("{}/", folder.path().display());
        read_csv(&path).map_err(|e| e.to_string().replace(&parent, ""))
    }

    #[test]
    fn what_is_written_reads_back_equal() {
        let fd = Jackknife { value: 0.1 + 0.2, leave_out: vec![1e-300, 1.0 / 3.0, -7e22, 5.0] };
        let kid = Jackknife { value: 2.0, leave_out: vec![] };
        let rows = [
            (0, record(&[("eta", "0, \"zero\""), ("tau", "naïve")], &[("fd", fd), ("kid", kid)])),
            (4, record(&[("eta", "1"), ("tau", "x")], &[])),
        ];
        let bytes = to_csv(&columns(), rows.iter().map(|(i, r)| (*i, r)));
        let (columns_read, rows_read) = read(&bytes).unwrap();
        assert_eq!(columns_read, columns());
        assert_eq!(rows_read, rows);
        assert!(!bytes.contains(&b'\r'));
    }

    #[test]
    fn an_empty_file_has_its_columns() {
        let none: [(usize, &Record); 0] = [];
        assert_eq!(read(&to_csv(&columns(), none)).unwrap(), (columns(), vec![]));
    }

    #[test]
    fn bad_files_are_errors_with_file_line_column_and_remedy() {
        let fd = Jackknife { value: 1.5, leave_out: vec![1.0, 2.0] };
        let row = record(&[("eta", "0"), ("tau", "x")], &[("fd", fd)]);
        let good = String::from_utf8(to_csv(&columns(), [(0, &row), (1, &row)])).unwrap();
        let short = |message: &str| message.split(';').next().unwrap().to_owned();
        let third = |from: &str, to: &str| {
            let at = good.rfind(from).unwrap();
            read(format!("{}{to}{}", &good[..at], &good[at + from.len()..]).as_bytes()).unwrap_err()
        };
        insta::assert_snapshot!(third("1.0 2.0", "1.0 two"), @"metrics.csv:3: column `fd.leave_out`: `two` is not a number; restore the file (only the program should write it), or delete it to run its cells again");
        insta::assert_snapshot!(short(&third("done", "finished")), @"metrics.csv:3: column `status`: `finished` is neither `done` nor `diverged`");
        insta::assert_snapshot!(short(&third("256", "-1")), @"metrics.csv:3: column `N`: `-1` is not a whole number");
        insta::assert_snapshot!(short(&third(",256", "")), @"metrics.csv:3: column `kid.leave_out`: the row has 24 fields and the header 25");
        insta::assert_snapshot!(short(&third("256,1.5", "256,")), @"metrics.csv:3: column `fd.leave_out`: it has values although `fd` is empty");
        let renamed = good.replacen("fd.low", "fd.lo", 1);
        insta::assert_snapshot!(short(&read(renamed.as_bytes()).unwrap_err()), @"metrics.csv:1: column `fd.low`: expected it as column 11, found `fd.lo`");
        insta::assert_snapshot!(short(&read(b"").unwrap_err()), @"metrics.csv:1: column `cell`: expected it as column 1, found `nothing`");
        insta::assert_snapshot!(short(&read(b"a,b\n1,2\n").unwrap_err()), @"metrics.csv:1: column `cell`: expected it as column 1, found `a`");
    }

    #[test]
    fn low_and_high_are_of_the_value_that_their_name_begins_with() {
        let fd = Jackknife { value: 46.5, leave_out: vec![46.0, 47.25, 47.0] };
        let cell = record(&[("eta", "0"), ("tau", "x")], &[("fd", fd.clone())]);
        let text = String::from_utf8(to_csv(&columns(), [(0, &cell)])).unwrap();
        let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let (header, row) = (lines.next().unwrap(), lines.next().unwrap());
        let at = |name: &str| -> f64 {
            row[header.iter().position(|found| *found == name).unwrap()].parse().unwrap()
        };
        for (name, value) in [("fd", fd.value), ("fd.corrected", fd.corrected())] {
            let (low, high) = (at(&format!("{name}.low")), at(&format!("{name}.high")));
            assert!((at(name) - value).abs() < 1e-12);
            assert!((0.5 * (low + high) - value).abs() < 1e-12, "{name}: {low} to {high}");
        }
        assert!((at("fd.corrected") - at("fd")).abs() > 0.1, "the two must be told apart here");
    }

    #[test]
    fn a_file_of_six_columns_a_metric_is_read_and_loses_nothing() {
        let old = "cell,key,status,param.eta,S,levels,calls,N,fd,fd.corrected,fd.se,fd.low,fd.high,\
                   fd.leave_out,kid,kid.corrected,kid.se,kid.low,kid.high,kid.leave_out\n\
                   0,a,done,0,10,10,10,64,46.5,46.375,0.625,38.43362203989082,54.31637796010918,46.0 47.25,2.5,,,,,\n\
                   3,b,diverged,1,10,10,10,64,,,,,,,,,,,,\n";
        let (columns, rows) = read(old.as_bytes()).unwrap();
        assert_eq!(columns.metrics, ["fd", "kid"]);
        let found = &rows[0].1.metrics;
        assert_eq!(found["fd"], Jackknife { value: 46.5, leave_out: vec![46.0, 47.25] });
        assert_eq!(found["kid"], Jackknife { value: 2.5, leave_out: vec![] });
        let new = to_csv(&columns, rows.iter().map(|(cell, record)| (*cell, record)));
        assert_eq!(read(&new).unwrap(), (columns, rows));
        let broken = old.replacen("kid.low", "kid.lo", 1);
        insta::assert_snapshot!(read(broken.as_bytes()).unwrap_err(), @"metrics.csv:1: column `kid.low`: expected it as column 18, found `kid.lo`; restore the file (only the program should write it), or delete it to run its cells again");
    }

    #[test]
    fn estimates_print_two_digits_of_their_uncertainty() {
        let print = |value: f64, low: f64, high: f64| {
            Estimate { value, interval: Some((low, high)) }.to_string()
        };
        assert_eq!(print(46.2345, 44.1345, 48.3345), "46.2 [44.1, 48.3]");
        assert_eq!(print(367.43, 305.0, 429.9), "367 [305, 430]");
        assert_eq!(print(-0.001, -0.21, 0.208), "0.00 [-0.21, 0.21]");
        assert_eq!(print(1.234e-7, 1.11e-7, 1.36e-7), "1.23e-7 [1.11e-7, 1.36e-7]");
        assert_eq!(Estimate { value: 13.36, interval: None }.to_string(), "13.36");
        let estimate = Estimate { value: 46.2345, interval: Some((44.1345, 48.3345)) };
        assert_eq!(estimate.plus_minus(estimate.has_exponent()), "46.2 ± 2.1");
        assert_eq!(estimate.plus_minus(true), "4.62e1 ± 2.1e0");
    }

    #[test]
    fn the_interval_at_n_surrounds_the_plug_in_value() {
        let metric = Jackknife { value: 10.0, leave_out: vec![11.4, 11.7, 11.6, 11.9] };
        let Estimate { value, interval: Some((low, high)) } = Estimate::at_n(&metric) else {
            panic!("four groups give an interval")
        };
        assert!((value - 10.0).abs() < 1e-12 && (low + high - 20.0).abs() < 1e-12);
        let (below, above) = metric.interval(LEVEL);
        assert!(above < low, "the bias exceeds the width in this example");
        assert!((above - below - (high - low)).abs() < 1e-12);
    }
}
