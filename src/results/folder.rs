//! Reads a results folder, from which tables, plots and the report are made.
//!
//! This needs no model, weights or solver. `plan.json` says what was run, `manifest.toml` how it is
//! shown, and `metrics.csv` what was measured; `timing.csv`, `provenance.json` and the strips of
//! samples may be missing.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    data::sha256,
    diagnostic::Diagnostics,
    error::{Error, Result},
    manifest::Manifest,
    plan::outline::{self, Outline, OutlinedCell},
    results::{
        listing::KEY,
        record::{Columns, Record, ResultsError, read_csv},
        sink::{Timing, read_timing},
    },
};

/// What a results folder holds.
#[derive(Clone, Debug)]
pub struct Folder {
    /// What was run, and how it is shown.
    pub plan: Outline,
    /// The columns of `metrics.csv`.
    pub columns: Columns,
    /// The rows of `metrics.csv`, in the order of the plan.
    pub records: Vec<Record>,
    /// The rows of `timing.csv`; none if there is no such file.
    pub timings: Vec<Timing>,
    /// `provenance.json`, if it is there.
    pub provenance: Option<serde_json::Value>,
    /// PNG files of samples, by the key of their cell.
    pub strips: BTreeMap<String, Vec<u8>>,
    /// SHA-256 of the files that were read, by name.
    pub hashes: Vec<(String, String)>,
}

impl Folder {
    /// The path of a cell's strip of samples in the folder it was read from; none for a cell that was not
    /// run.
    pub fn strip_of(&self, folder: &Path, cell: &OutlinedCell) -> Option<PathBuf> {
        Some(strip_path(folder, &self.record(&cell.params)?.key))
    }

    /// Reads a folder. For folders without `plan.json`, which older versions wrote, `older` makes the
    /// outline from the manifest.
    ///
    /// # Errors
    /// A path that is not a results folder, or malformed files in it.
    pub fn read(path: &Path, older: Older<'_>) -> Result<Self> {
        let manifest = path.join(MANIFEST);
        let metrics = path.join("metrics.csv");
        let problem = if !path.exists() {
            Some("does not exist".to_owned())
        } else if !path.is_dir() {
            Some("is a file".to_owned())
        } else {
            let missing: Vec<&str> = [(MANIFEST, &manifest), ("metrics.csv", &metrics)]
                .into_iter()
                .filter_map(|(name, path)| (!path.is_file()).then_some(name))
                .collect();
            (!missing.is_empty()).then(|| format!("has no {}", missing.join(" and no ")))
        };
        if let Some(problem) = problem {
            return Err(Error::input(format!(
                "{} {problem}; a results folder is what `ddim run MANIFEST` writes, for instance \
                 results/table1",
                path.display()
            )));
        }
        let mut hashes = vec![];
        let mut read = |name: &str| -> Result<Option<Vec<u8>>> {
            let path = path.join(name);
            match fs::read(&path) {
                Ok(bytes) => {
                    hashes.push((name.to_owned(), sha256(&bytes)));
                    Ok(Some(bytes))
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(ResultsError::Io { path, action: "read", source }.into()),
            }
        };
        let text = read(MANIFEST)?.unwrap_or_default();
        let text = String::from_utf8(text)
            .map_err(|_| Error::input(format!("{} is not UTF-8", manifest.display())))?;
        let kept = read(outline::FILE)?;
        let plan = outlined(path, text, kept.as_deref(), older)?;
        read("metrics.csv")?;
        let (columns, rows) = read_csv(&metrics)?;
        let timings = match read("timing.csv")? {
            Some(_) => read_timing(&path.join("timing.csv"))?,
            None => vec![],
        };
        let provenance = match read(PROVENANCE)? {
            Some(bytes) => Some(serde_json::from_slice(&bytes).map_err(|error| {
                let path = path.join(PROVENANCE);
                Error::input(format!("{}: {error}", path.display()))
            })?),
            None => None,
        };
        let records: Vec<Record> = rows.into_iter().map(|(_, record)| record).collect();
        let mut strips = BTreeMap::new();
        for record in &records {
            if let Ok(bytes) = fs::read(strip_path(path, &record.key)) {
                strips.insert(record.key.clone(), bytes);
            }
        }
        Ok(Self { plan, columns, records, timings, provenance, strips, hashes })
    }

    /// The record of a planned cell, found by its labels in any order.
    pub fn record(&self, params: &[(String, String)]) -> Option<&Record> {
        let is_of = |record: &&Record| {
            params.iter().all(|(axis, label)| record.label(axis) == Some(label.as_str()))
        };
        self.records.iter().find(is_of)
    }

    /// The timing of a record.
    pub fn timing(&self, record: &Record) -> Option<&Timing> {
        self.timings.iter().find(|timing| timing.key == record.key)
    }
}

/// Makes the outline of a run from its manifest.
pub type Older<'a> = &'a dyn Fn(&Manifest) -> std::result::Result<Outline, Diagnostics>;

fn outlined(folder: &Path, text: String, kept: Option<&[u8]>, older: Older<'_>) -> Result<Outline> {
    let name = folder.join(MANIFEST).display().to_string();
    let manifest = Manifest::parse(name, text).map_err(Error::Manifest)?;
    let outline = match kept {
        Some(json) => Outline::parse(json).map_err(|problem| {
            let file = folder.join(outline::FILE);
            Error::input(format!("{}: {problem}; run the manifest again", file.display()))
        })?,
        None => older(&manifest).map_err(Error::Manifest)?,
    };
    manifest.show(outline).map_err(Error::Manifest)
}

/// The plan of the last run in a folder; none without a run, or if this version cannot read it.
pub(crate) fn last_plan(path: &Path, older: Older<'_>) -> Option<Outline> {
    let text = fs::read_to_string(path.join(MANIFEST)).ok()?;
    let kept = fs::read(path.join(outline::FILE)).ok();
    outlined(path, text, kept.as_deref(), older).ok()
}

/// The manifest as run, which says how its results are shown.
pub(crate) const MANIFEST: &str = "manifest.toml";

/// Where the results came from.
pub(crate) const PROVENANCE: &str = "provenance.json";

/// The folder of strips, and the parts of a strip's name around the start of its cell's key.
pub(crate) const STRIPS: &str = "strips";
pub(crate) const STRIP: [&str; 2] = ["", ".png"];

/// Where the first samples of a cell are kept.
pub(crate) fn strip_path(folder: &Path, key: &str) -> PathBuf {
    let name = STRIP.join(key.get(..KEY).unwrap_or(key));
    folder.join(STRIPS).join(name)
}
