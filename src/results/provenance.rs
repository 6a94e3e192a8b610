//! Where results came from: `provenance.json`.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use crate::hardware;
use crate::plan::Plan;
use crate::results::{
    date,
    folder::{KEY, PROVENANCE},
};

/// Everything about a run that its numbers may depend on.
#[derive(Clone, Debug, Serialize)]
pub struct Provenance {
    /// Arguments of the command.
    pub command: Vec<String>,
    /// Version of this program.
    pub ddim: &'static str,
    /// Version of the numerics, part of every cell's key.
    pub numerics: &'static str,
    /// Commit of the working tree, if it is a git repository.
    pub commit: Option<String>,
    /// Whether tracked files other than results differed from the commit.
    pub dirty: Option<bool>,
    /// The version of LibTorch that the build links.
    pub libtorch: &'static str,
    /// `cpu` or `cuda`, with the device's name.
    pub device: String,
    /// The processor.
    pub processor: String,
    /// Threads of LibTorch and of this program.
    pub threads: usize,
    /// Whether TF32 may round the inputs of matrix products and convolutions.
    pub tf32: bool,
    /// SHA-256 of what was read, by role.
    pub inputs: BTreeMap<String, String>,
    /// What the models' folders say about them, and in which files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stated: Vec<String>,
    /// Cells that diverged, by the start of their keys: where, and what was not finite.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub diverged: BTreeMap<String, String>,
    /// Where manifest and folder differ, and what was assumed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// Cells that were computed in smaller parts than their batches, because memory ran out, by the start
    /// of their keys.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub smaller_batches: BTreeMap<String, Vec<String>>,
    /// When the last run that computed something ended: `2026-11-22T14:59:50Z`.
    pub finished: String,
}

impl Provenance {
    /// What is known when a run begins, so that later commits are not taken for the code that ran.
    pub fn here(device: String, threads: usize, inputs: BTreeMap<String, String>) -> Self {
        // A run writes results itself; they do not change the code.
        let status =
            git(&["status", "--porcelain", "--untracked-files=no", "--", ".", ":!results"]);
        Self {
            // The first argument is the program's own path.
            command: std::iter::once("ddim".to_owned()).chain(std::env::args().skip(1)).collect(),
            ddim: env!("CARGO_PKG_VERSION"),
            numerics: crate::core::NUMERICS,
            commit: git(&["rev-parse", "HEAD"]),
            dirty: status.map(|status| !status.is_empty()),
            libtorch: crate::backends::torch::LIBTORCH,
            tf32: hardware::tf32(&device),
            device,
            processor: processor(),
            threads,
            inputs,
            stated: vec![],
            diverged: BTreeMap::new(),
            remarks: vec![],
            smaller_batches: BTreeMap::new(),
            finished: date::iso(unix_time()),
        }
    }

    /// The same, with remarks on the models of a plan.
    #[must_use]
    pub fn of(self, plan: &Plan) -> Self {
        let remarks = plan.remarks().into_iter().map(str::to_owned).collect();
        Self { stated: plan.stated(), remarks, ..self }
    }

    /// Notes down that a cell was computed in smaller parts than its batches.
    pub fn note_smaller(&mut self, key: &str, note: String) {
        let notes = self.smaller_batches.entry(key[..KEY].to_owned()).or_default();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// The same, with these notes of the run before in a folder, for the cells that it keeps; `is_kept` is
    /// asked with the start of a key.
    #[must_use]
    pub fn after(mut self, folder: &Path, is_kept: impl Fn(&str) -> bool) -> Self {
        let read = fs::read(folder.join(PROVENANCE)).ok();
        let read: Option<serde_json::Value> =
            read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let found = read.and_then(|mut read| Some(read.get_mut("smaller_batches")?.take()));
        let found: Option<BTreeMap<String, Vec<String>>> =
            found.and_then(|found| serde_json::from_value(found).ok());
        self.smaller_batches.extend(found.into_iter().flatten().filter(|(key, _)| is_kept(key)));
        self
    }

    /// Notes down where a cell diverged.
    pub fn note_diverged(&mut self, key: &str, note: String) {
        self.diverged.insert(key[..KEY].to_owned(), note);
    }

    /// The same, with what the run before noted down of cells that diverged, where `is_kept` says so of the
    /// start of their key.
    #[must_use]
    pub fn after_divergence(mut self, folder: &Path, is_kept: impl Fn(&str) -> bool) -> Self {
        let read = fs::read(folder.join(PROVENANCE)).ok();
        let read: Option<serde_json::Value> =
            read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let found = read.and_then(|mut read| Some(read.get_mut("diverged")?.take()));
        let found: Option<BTreeMap<String, String>> =
            found.and_then(|found| serde_json::from_value(found).ok());
        self.diverged.extend(found.into_iter().flatten().filter(|(key, _)| is_kept(key)));
        self
    }

    /// The same, with the time at the end of the run.
    #[must_use]
    pub fn finished(self) -> Self {
        Self { finished: date::iso(unix_time()), ..self }
    }

    /// The record as JSON, one entry on each line.
    ///
    /// # Panics
    /// Never: plain data serialises.
    pub fn json(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("invariant: plain data serialises");
        bytes.push(b'\n');
        bytes
    }
}

/// Seconds since 1970.
pub fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find(|line| line.starts_with("model name"));
    name.and_then(|line| line.split_once(':'))
        .map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}
