//! A row of a results file as it is read: what no run writes is refused at its line and column.

use std::{collections::BTreeMap, path::Path};

use crate::{
    metrics::Jackknife,
    results::record::{Columns, FIELDS, PARAM, Record, ResultsError, Status, derived},
};

/// What to do about a file that is none.
pub(super) const REMEDY: &str = "restore the file (only the program should write it), or delete it to run \
                      its cells again";

/// For a row that is well-formed and cannot be right.
const ROW_REMEDY: &str = "restore the file (only the program should write it), or delete the row: the run \
                          then measures that cell again, to the same bytes";

/// Beyond every number that a run writes: those of samples are in f32.
const MOST: f64 = 1e100;

const COUNT: &str = "a whole number";

/// How far the columns that follow from others may be from what they are here, as a fraction: they
/// may have been written on another machine.
const DERIVED: f64 = 1e-6;

/// One line of a results file, with what an error message needs.
pub(crate) struct Row<'a> {
    pub(crate) path: &'a Path,
    pub(crate) header: &'a csv::StringRecord,
    pub(crate) line: &'a csv::StringRecord,
    pub(crate) remedy: &'static str,
}

impl Row<'_> {
    pub(crate) fn error(&self, column: &str, problem: String) -> ResultsError {
        ResultsError::Malformed {
            path: self.path.into(),
            line: self.line.position().map_or(1, csv::Position::line),
            column: column.into(),
            problem,
            remedy: self.remedy,
        }
    }

    /// An error about a value that no run writes.
    pub(super) fn unbelievable(&self, column: &str, problem: String) -> ResultsError {
        let remedy = if self.remedy == REMEDY { ROW_REMEDY } else { self.remedy };
        Row { remedy, ..*self }.error(column, problem)
    }

    pub(crate) fn text(&self, column: &str) -> Result<&str, ResultsError> {
        let index = self.header.iter().position(|name| name == column);
        index
            .and_then(|i| self.line.get(i))
            .ok_or_else(|| self.error(column, "it is missing".into()))
    }

    pub(crate) fn number<T: std::str::FromStr>(
        &self,
        column: &str,
        what: &str,
    ) -> Result<T, ResultsError> {
        let text = self.text(column)?;
        text.parse().map_err(|_| self.error(column, format!("`{text}` is not {what}")))
    }

    /// A whole number that is at least 1.
    pub(crate) fn count<T>(&self, column: &str) -> Result<T, ResultsError>
    where
        T: std::str::FromStr + PartialEq + Default,
    {
        let number: T = self.number(column, COUNT)?;
        if number == T::default() {
            return Err(self.unbelievable(column, "`0`: it is at least 1".to_owned()));
        }
        Ok(number)
    }

    /// A time: at least zero, and finite.
    pub(crate) fn seconds(&self, column: &str) -> Result<f64, ResultsError> {
        let seconds: f64 = self.number(column, "a number")?;
        if seconds >= 0.0 && seconds.is_finite() {
            return Ok(seconds);
        }
        Err(self.error(column, format!("`{seconds}` is no time in seconds")))
    }

    /// The cell's index in the plan, and its record.
    pub(super) fn record(&self, columns: &Columns) -> Result<(usize, Record), ResultsError> {
        let status = match self.text("status")? {
            "done" => Status::Done,
            "diverged" => Status::Diverged,
            other => {
                let problem = format!("`{other}` is neither `done` nor `diverged`");
                return Err(self.error("status", problem));
            }
        };
        let mut metrics = BTreeMap::new();
        for name in &columns.metrics {
            if let Some(metric) = self.metric(name)? {
                if status == Status::Diverged {
                    let problem = "it has a value although the cell diverged".to_owned();
                    return Err(self.unbelievable(name, problem));
                }
                metrics.insert(name.clone(), metric);
            }
        }
        let mut params = Vec::with_capacity(columns.axes.len());
        for axis in &columns.axes {
            params.push((axis.clone(), self.text(&format!("{PARAM}{axis}"))?.to_owned()));
        }
        let record = Record {
            key: self.text("key")?.to_owned(),
            status,
            params,
            steps: self.count("S")?,
            levels: self.count("levels")?,
            calls: self.count("calls")?,
            n: self.count("N")?,
            metrics,
        };
        Ok((self.number("cell", COUNT)?, record))
    }

    fn metric(&self, name: &str) -> Result<Option<Jackknife>, ResultsError> {
        let column = format!("{name}.leave_out");
        let list = self.text(&column)?;
        if self.text(name)?.is_empty() {
            let problem = format!("it has values although `{name}` is empty");
            return if list.is_empty() { Ok(None) } else { Err(self.error(&column, problem)) };
        }
        let finite = |column: &str, word: &str| {
            let number: f64 = word
                .parse()
                .map_err(|_| self.error(column, format!("`{word}` is not a number")))?;
            if number.abs() < MOST {
                return Ok(number);
            }
            Err(self.unbelievable(column, format!("`{word}` is no number that is measured")))
        };
        let value = finite(name, self.text(name)?)?;
        let leave_out = list.split_whitespace().map(|word| finite(&column, word));
        let metric = Jackknife { value, leave_out: leave_out.collect::<Result<_, _>>()? };
        self.check_derived(name, &metric)?;
        Ok(Some(metric))
    }

    /// Holds the columns that follow from the value and those without each block to what follows.
    fn check_derived(&self, name: &str, metric: &Jackknife) -> Result<(), ResultsError> {
        let scale = metric.leave_out.iter().fold(metric.value.abs(), |most, x| most.max(x.abs()));
        // In the older form, `low` and `high` are those of the corrected value.
        let old = !self.header.iter().any(|column| column == format!("{name}.corrected.low"));
        let suffixes = if old {
            ["", "", "se", "corrected", "low", "high"]
        } else {
            ["low", "high", "se", "corrected", "corrected.low", "corrected.high"]
        };
        let follow = derived(metric).map_or([None; FIELDS - 2], |derived| derived.map(Some));
        for (suffix, follows) in suffixes.into_iter().zip(follow).skip(if old { 2 } else { 0 }) {
            let column = format!("{name}.{suffix}");
            let text = self.text(&column)?;
            let right = match (text.parse::<f64>(), follows) {
                (Ok(found), Some(follows)) => {
                    (found - follows).abs() <= DERIVED * (follows.abs() + scale)
                }
                (Err(_), None) => text.is_empty(),
                _ => false,
            };
            if !right {
                let follows = follows.map_or("nothing".to_owned(), |x| format!("{x:?}"));
                let problem = format!(
                    "`{text}` does not follow from the columns `{name}` and `{name}.leave_out`, which give \
                     {follows}"
                );
                return Err(self.unbelievable(&column, problem));
            }
        }
        Ok(())
    }
}
