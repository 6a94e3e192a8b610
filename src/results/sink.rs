//! The results folder of one experiment.
//!
//! Every file is written as a whole or not at all. `metrics.csv` and `timing.csv` are rewritten after
//! every cell. A run that starts in a folder keeps the rows whose key belongs to a
//! planned cell and skips those cells; a key covers everything that decides a cell's numbers. Rows
//! that the plan no longer has are not lost: the old file is kept as `metrics.csv.bak`.
//!
//! Opening the folder writes `metrics.csv` once, so that a folder that cannot be written is an
//! error before anything is computed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{
    data::atomic,
    plan::outline::FILE,
    results::{
        date,
        folder::{MANIFEST, STRIPS},
        lock::Lock,
        record::{Columns, Record, ResultsError, Status, csv_bytes, read_csv, read_lines, to_csv},
        row::Row,
    },
};

/// What a row of a file needs from a cell of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Hash of everything that decides the cell's numbers, as hex.
    pub key: String,
    /// `(axis, label)` in the order of the sweep.
    pub params: Vec<(String, String)>,
}

/// One row of `timing.csv`, which differs from run to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// The key of the cell's [`Record`].
    pub key: String,
    /// Wall-clock time of the cell.
    pub seconds: f64,
    /// The time from noise to images per sample and call, without the reference solution and measures.
    pub seconds_per_sample_call: f64,
    /// The device, for instance `cpu`.
    pub device: String,
    /// Number of threads.
    pub threads: usize,
    /// When the cell started, in seconds of Unix time; a date in the file.
    pub started: u64,
}

impl Timing {
    /// The hardware of the time: `cpu with 2 threads`.
    pub(crate) fn hardware(&self) -> String {
        let s = if self.threads == 1 { "" } else { "s" };
        format!("{} with {} thread{s}", self.device, self.threads)
    }

    /// A line about the time of the cell.
    pub(crate) fn line(&self, status: Status) -> String {
        let Self { key, seconds, seconds_per_sample_call, .. } = self;
        let (status, call) = (status.as_str(), 1e3 * seconds_per_sample_call);
        format!("     {status} in {seconds:.2} s, {call:.3} ms per sample and call, key {key}")
    }
}

const REMEDY: &str = "restore the file (only the program should write it), or delete it: times are lost, \
                      and nothing is run again";

const TIMING_HEADER: [&str; 7] =
    ["cell", "key", "seconds", "seconds_per_sample_call", "device", "threads", "started"];

/// An open results folder, locked by this run until it is dropped.
#[derive(Debug)]
pub struct Sink {
    folder: PathBuf,
    columns: Columns,
    planned: Vec<Planned>,
    records: Vec<Option<Record>>,
    timings: Vec<Option<Timing>>,
    dropped: usize,
    lock: Lock,
}

impl Sink {
    /// Opens a folder for the cells of a plan, and creates it if necessary.
    ///
    /// # Errors
    /// If the folder cannot be written, if another run holds it, or if a results file in it is
    /// malformed.
    pub fn open(
        folder: impl Into<PathBuf>,
        columns: Columns,
        planned: Vec<Planned>,
    ) -> Result<Self, ResultsError> {
        Self::start(folder.into(), columns, planned, true)
    }

    /// Like [`Sink::open`], but ignores finished cells; the old file is kept as `metrics.csv.bak`.
    ///
    /// # Errors
    /// If the folder cannot be written, or if another run holds it.
    pub fn fresh(
        folder: impl Into<PathBuf>,
        columns: Columns,
        planned: Vec<Planned>,
    ) -> Result<Self, ResultsError> {
        Self::start(folder.into(), columns, planned, false)
    }

    fn start(
        folder: PathBuf,
        columns: Columns,
        planned: Vec<Planned>,
        keep: bool,
    ) -> Result<Self, ResultsError> {
        create(&folder)?;
        let lock = Lock::acquire(&folder)?;
        for folder in [folder.clone(), folder.join(STRIPS)] {
            atomic::sweep(&folder);
        }
        let count = planned.len();
        let mut sink = Self {
            folder,
            columns,
            planned,
            records: vec![None; count],
            timings: vec![None; count],
            dropped: 0,
            lock,
        };
        if keep {
            sink.resume()?;
        } else {
            sink.back_up()?;
        }
        sink.write("metrics.csv", &sink.metrics_csv())?;
        sink.write("timing.csv", &sink.timing_csv())?;
        Ok(sink)
    }

    fn resume(&mut self) -> Result<(), ResultsError> {
        let path = self.path("metrics.csv");
        if path.exists() {
            let (_, rows) = read_csv(&path)?;
            for (_, record) in rows {
                if !is_complete(&self.columns, &record) || !self.keep(&record) {
                    self.dropped += 1;
                }
            }
            if self.dropped > 0 {
                self.back_up()?;
            }
        }
        let path = self.path("timing.csv");
        if path.exists() {
            for timing in read_timing(&path)? {
                let finished = |cell: &usize| {
                    self.planned[*cell].key == timing.key && self.records[*cell].is_some()
                };
                if let Some(cell) = (0..self.planned.len()).find(finished) {
                    self.timings[cell] = Some(timing);
                }
            }
        }
        Ok(())
    }

    /// Keeps the old `metrics.csv`, if there is one, under another name.
    fn back_up(&self) -> Result<(), ResultsError> {
        let (path, backup) = (self.path("metrics.csv"), self.path("metrics.csv.bak"));
        if path.exists() {
            fs::copy(&path, &backup).map_err(io_error(&backup, "write"))?;
        }
        Ok(())
    }

    /// Stores a record for every planned cell with its key, with that cell's labels.
    fn keep(&mut self, record: &Record) -> bool {
        let mut found = false;
        for (planned, slot) in self.planned.iter().zip(&mut self.records) {
            if planned.key == record.key {
                *slot = Some(Record { params: planned.params.clone(), ..record.clone() });
                found = true;
            }
        }
        found
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The record of a cell of the plan, if there is one.
    pub fn finished(&self, cell: usize) -> Option<&Record> {
        self.records.get(cell).and_then(Option::as_ref)
    }

    /// The record of every finished cell, in the order of the plan.
    pub fn records(&self) -> Vec<Record> {
        self.records.iter().flatten().cloned().collect()
    }

    /// The timing of every cell that has one, in the order of the plan.
    pub fn timings(&self) -> Vec<Timing> {
        self.timings.iter().flatten().cloned().collect()
    }

    /// Number of rows found in the folder that belong to no planned cell.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Appends a finished cell: both files are rewritten.
    ///
    /// A record counts for every planned cell with its key.
    ///
    /// # Errors
    /// If a file cannot be written; the old one is then still there.
    ///
    /// # Panics
    /// If the record's key is not that of the planned cell.
    pub fn append(
        &mut self,
        cell: usize,
        record: &Record,
        timing: Timing,
    ) -> Result<(), ResultsError> {
        assert_eq!(record.key, self.planned[cell].key, "the record belongs to another cell");
        self.keep(record);
        self.timings[cell] = Some(timing);
        self.write("metrics.csv", &self.metrics_csv())?;
        self.write("timing.csv", &self.timing_csv())
    }

    /// Writes a file of the folder, as a whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written; then the old one is still there.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ResultsError> {
        write_atomically(&self.path(name), bytes)
    }

    /// Whether the folder has what a run leaves in it from its first moment on.
    pub fn is_whole(&self) -> bool {
        [".lock", MANIFEST, FILE, "metrics.csv"].iter().all(|name| self.path(name).exists())
    }

    /// Makes the folder and its lock again if somebody deleted them while the run was at work, and returns
    /// whether that was so. All rows are in memory; what the run wrote beside them is its own to write
    /// again.
    ///
    /// # Errors
    /// If the folder cannot be made, or if another run has taken it.
    pub fn revive(&mut self) -> Result<bool, ResultsError> {
        if self.is_whole() {
            return Ok(false);
        }
        create(&self.folder)?;
        if self.path(".lock").exists() {
            return Ok(true); // it is still this run's
        }
        let lock = Lock::acquire(&self.folder)?;
        // Dropped, the old lock would delete the file of the new one.
        std::mem::forget(std::mem::replace(&mut self.lock, lock));
        Ok(true)
    }

    fn metrics_csv(&self) -> Vec<u8> {
        let finished = self.records.iter().enumerate();
        to_csv(&self.columns, finished.filter_map(|(i, record)| Some((i, record.as_ref()?))))
    }

    fn timing_csv(&self) -> Vec<u8> {
        let timings = self.timings.iter().enumerate();
        let rows = timings.filter_map(|(i, timing)| {
            let timing = timing.as_ref()?;
            Some(vec![
                i.to_string(),
                timing.key.clone(),
                format!("{:?}", timing.seconds),
                format!("{:?}", timing.seconds_per_sample_call),
                timing.device.clone(),
                timing.threads.to_string(),
                date::iso(timing.started),
            ])
        });
        csv_bytes(&TIMING_HEADER.map(String::from), rows)
    }
}

/// Which cells of a plan a folder has finished; nothing is written.
///
/// # Errors
/// A `metrics.csv` that cannot be read.
pub fn finished(
    folder: &Path,
    columns: &Columns,
    planned: &[Planned],
) -> Result<Vec<Option<Status>>, ResultsError> {
    let path = folder.join("metrics.csv");
    let rows = if path.exists() { read_csv(&path)?.1 } else { vec![] };
    let of = |cell: &Planned| {
        let row = rows.iter().find(|(_, row)| row.key == cell.key && is_complete(columns, row));
        row.map(|(_, row)| row.status)
    };
    Ok(planned.iter().map(of).collect())
}

/// Whether a row has every metric that a run measures.
fn is_complete(columns: &Columns, record: &Record) -> bool {
    record.status == Status::Diverged
        || columns.metrics.iter().all(|metric| record.metrics.contains_key(metric))
}

/// Makes a results folder, if it is not there.
///
/// # Errors
/// A path where there can be none.
pub(crate) fn create(folder: &Path) -> Result<(), ResultsError> {
    fs::create_dir_all(folder).map_err(|source| ResultsError::Folder {
        path: folder.to_owned(),
        problem: if folder.is_file() { "it is a file".into() } else { source.to_string() },
    })
}

/// Reads `timing.csv`.
///
/// # Errors
/// If the file cannot be read, or if a field is not what a run writes; the message names the file, line
/// and column, and a remedy.
pub fn read_timing(path: &Path) -> Result<Vec<Timing>, ResultsError> {
    let (header, lines) = read_lines(path, REMEDY)?;
    let timing = |line: &csv::StringRecord| {
        let row = Row { path, header: &header, line, remedy: REMEDY };
        Ok(Timing {
            key: row.text("key")?.to_owned(),
            seconds: row.seconds("seconds")?,
            seconds_per_sample_call: row.seconds("seconds_per_sample_call")?,
            device: row.text("device")?.to_owned(),
            threads: row.count("threads")?,
            started: {
                let text = row.text("started")?;
                let problem = || format!("`{text}` is no date like 2026-11-22T14:59:50Z");
                date::seconds(text).ok_or_else(|| row.error("started", problem()))?
            },
        })
    };
    lines.iter().map(timing).collect()
}

/// Writes a file as a whole or not at all; its folder is created if necessary.
///
/// # Errors
/// If it cannot be written; then an old file of this name is still there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), ResultsError> {
    atomic::write(path, bytes).map_err(io_error(path, "write"))
}

fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> ResultsError {
    let path = path.to_owned();
    move |source| ResultsError::Io { path, action, source }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::metrics::Jackknife;

    fn columns() -> Columns {
        Columns { axes: vec!["eta".into()], metrics: vec!["fd".into()] }
    }

    fn planned(keys: &[&str]) -> Vec<Planned> {
        let label = |i: usize| vec![("eta".to_owned(), format!("{i}"))];
        let plan = keys.iter().enumerate();
        plan.map(|(i, key)| Planned { key: (*key).into(), params: label(i) }).collect()
    }

    fn record(key: &str) -> Record {
        let fd = Jackknife { value: 1.5, leave_out: vec![1.0, 2.0] };
        Record {
            key: key.into(),
            status: Status::Done,
            params: vec![("eta".into(), "whatever".into())],
            steps: 10,
            levels: 10,
            calls: 10,
            n: 64,
            metrics: BTreeMap::from([("fd".into(), fd)]),
        }
    }

    fn timing(key: &str) -> Timing {
        Timing {
            key: key.into(),
            seconds: 2.5,
            seconds_per_sample_call: 0.01,
            device: "cpu".into(),
            threads: 2,
            started: 1_700_000_000,
        }
    }

    fn append(sink: &mut Sink, cell: usize, key: &str) {
        sink.append(cell, &record(key), timing(key)).unwrap();
    }

    #[test]
    fn a_second_run_skips_finished_cells_and_keeps_the_order_of_its_plan() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("results/table1");
        let mut sink = Sink::open(&folder, columns(), planned(&["a", "b", "c"])).unwrap();
        append(&mut sink, 2, "c");
        append(&mut sink, 0, "a");
        drop(sink);

        let sink = Sink::open(&folder, columns(), planned(&["c", "new", "a"])).unwrap();
        assert_eq!((sink.finished(1), sink.dropped()), (None, 0));
        let keys: Vec<_> =
            sink.records().into_iter().map(|r| (r.key, r.params[0].1.clone())).collect();
        assert_eq!(keys, [("c".into(), "0".into()), ("a".into(), "2".into())]);
        let times = read_timing(&sink.path("timing.csv")).unwrap();
        assert_eq!(times, [timing("c"), timing("a")]);
    }

    #[test]
    fn rows_that_the_plan_no_longer_has_stay_in_a_backup() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = Sink::open(dir.path(), columns(), planned(&["a", "b"])).unwrap();
        append(&mut sink, 0, "a");
        append(&mut sink, 1, "b");
        drop(sink);
        let sink = Sink::open(dir.path(), columns(), planned(&["b"])).unwrap();
        assert_eq!((sink.records().len(), sink.dropped()), (1, 1));
        assert_eq!(read_csv(&sink.path("metrics.csv.bak")).unwrap().1.len(), 2);
    }

    #[test]
    fn a_row_without_a_planned_metric_is_measured_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = Sink::open(dir.path(), columns(), planned(&["a"])).unwrap();
        append(&mut sink, 0, "a");
        drop(sink);
        let more = Columns { metrics: vec!["fd".into(), "kid".into()], ..columns() };
        assert_eq!(Sink::open(dir.path(), more, planned(&["a"])).unwrap().finished(0), None);
    }

    #[test]
    fn cells_with_the_same_key_are_measured_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = Sink::open(dir.path(), columns(), planned(&["a", "a"])).unwrap();
        append(&mut sink, 0, "a");
        assert_eq!(sink.finished(1).unwrap().params[0].1, "1");
    }

    #[test]
    fn two_runs_in_one_folder_are_refused_and_a_stale_lock_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".lock"), "process 1, which died").unwrap();
        let first = Sink::open(dir.path(), columns(), planned(&["a"])).unwrap();
        let error = Sink::open(dir.path(), columns(), planned(&["a"])).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        assert!(error.starts_with(&dir.path().display().to_string()), "{error}");
        drop(first);
        assert!(!dir.path().join(".lock").exists());
        Sink::open(dir.path(), columns(), planned(&["a"])).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_fails_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Sink::open(file.join("results"), columns(), planned(&["a"])).unwrap_err();
        assert!(matches!(error, ResultsError::Folder { .. }), "{error}");
        assert!(error.to_string().contains("file/results"), "{error}");
    }

    #[test]
    fn a_malformed_file_stops_the_run_before_it_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.csv");
        fs::write(&path, "mine\n1\n").unwrap();
        let error = Sink::open(dir.path(), columns(), planned(&["a"])).unwrap_err();
        assert!(matches!(error, ResultsError::Malformed { line: 1, .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine\n1\n");
    }

    #[test]
    fn a_write_that_fails_is_told_by_the_name_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.md");
        fs::create_dir(&path).unwrap();
        let error = write_atomically(&path, b"new").unwrap_err();
        assert!(error.to_string().contains("table.md"), "{error}");
    }
}
