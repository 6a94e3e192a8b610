//! Where results came from: `provenance.json`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use serde_json::Value;

use crate::hardware;
use crate::plan::Plan;
use crate::results::{
    date,
    folder::PROVENANCE,
    listing::{self, KEY},
    lock::host,
    shard::Shard,
};

/// The parts of the name of a shard's own file around its tag.
const OF_SHARD: [&str; 2] = ["provenance-", ".json"];

/// What is kept of each shard; the rest is the same for all.
const EACH: [&str; 10] = [
    "host",
    "device",
    "processor",
    "threads",
    "tf32",
    "ddim",
    "commit",
    "dirty",
    "libtorch",
    "finished",
];

/// What shards should agree on, because last bits depend on it.
const AGREE: [&str; 8] =
    ["device", "processor", "threads", "tf32", "ddim", "commit", "dirty", "libtorch"];

/// Everything about a run that its numbers may depend on.
#[derive(Clone, Debug, Serialize)]
pub struct Provenance {
    /// Arguments of the command.
    pub command: Vec<String>,
    /// The machine's name, of a shard alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
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
    /// What drew the samples, if shards did: by shard, its machine and its program.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub shards: serde_json::Map<String, Value>,
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
            host: None,
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
            shards: serde_json::Map::new(),
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

    /// The same, with what the run before noted down for the cells that it keeps, and the shards that drew
    /// them; `is_kept` is asked with the start of a key.
    #[must_use]
    pub fn after(mut self, folder: &Path, is_kept: impl Fn(&str) -> bool) -> Self {
        let Ok(mut before) = read(&folder.join(PROVENANCE)) else { return self };
        self.take_smaller(&mut before, &is_kept);
        self.take_diverged(&mut before, &is_kept);
        if is_kept("") {
            self.take_shards(&mut before);
        }
        self
    }

    fn take_smaller(&mut self, before: &mut Value, is_kept: &impl Fn(&str) -> bool) {
        let found = before.get_mut("smaller_batches").map(Value::take);
        let found: Option<BTreeMap<String, Vec<String>>> =
            found.and_then(|found| serde_json::from_value(found).ok());
        for (key, notes) in found.into_iter().flatten().filter(|(key, _)| is_kept(key)) {
            let known = self.smaller_batches.entry(key).or_default();
            for note in notes {
                if !known.contains(&note) {
                    known.push(note);
                }
            }
        }
    }

    fn take_diverged(&mut self, before: &mut Value, is_kept: &impl Fn(&str) -> bool) {
        let found = before.get_mut("diverged").map(Value::take);
        let found: Option<BTreeMap<String, String>> =
            found.and_then(|found| serde_json::from_value(found).ok());
        self.diverged.extend(found.into_iter().flatten().filter(|(key, _)| is_kept(key)));
    }

    /// The same, of a shard.
    #[must_use]
    pub fn on_this_host(self) -> Self {
        Self { host: host(), ..self }
    }

    /// The same, with what this shard noted down before; if it ran on something else then, that is kept too.
    #[must_use]
    pub fn after_shard(mut self, folder: &Path, shard: Shard) -> Self {
        let Ok(mut before) = read(&path_of(folder, shard)) else { return self };
        self.take_smaller(&mut before, &|_| true);
        self.take_shards(&mut before);
        let same = ["host"].iter().chain(&AGREE);
        let now = serde_json::to_value(&self).unwrap_or_default();
        if same.into_iter().any(|&name| before.get(name) != now.get(name)) {
            let until = before.get("finished").and_then(Value::as_str).unwrap_or("then");
            let name = format!("{shard} until {until}");
            self.shards.insert(name, facts(&mut before));
        }
        self
    }

    fn take_shards(&mut self, before: &mut Value) {
        if let Some(Value::Object(shards)) = before.get_mut("shards").map(Value::take) {
            self.shards.extend(shards);
        }
    }

    /// The same, with what the shards of a folder noted down; returns also lines about them.
    #[must_use]
    pub fn with_shards(
        mut self,
        folder: &Path,
        is_kept: impl Fn(&str) -> bool,
    ) -> (Self, Vec<String>) {
        let mut lines = vec![];
        for (shard, path) in of_shards(folder) {
            match read(&path) {
                Ok(mut found) => {
                    self.take_smaller(&mut found, &is_kept);
                    self.take_shards(&mut found);
                    self.shards.insert(shard.to_string(), facts(&mut found));
                }
                Err(problem) => lines.push(format!(
                    "{}: {problem}: what shard {shard} ran on is not known",
                    path.display()
                )),
            }
        }
        lines.extend(self.disagreements());
        self.remarks.extend(lines.clone());
        (self, lines)
    }

    /// A line for everything in which shards differ.
    fn disagreements(&self) -> Vec<String> {
        let mut lines = vec![];
        for name in AGREE {
            let mut values: Vec<(String, Vec<&str>)> = vec![];
            for (shard, facts) in &self.shards {
                let value = match &facts[name] {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                match values.iter_mut().find(|(known, _)| *known == value) {
                    Some((_, shards)) => shards.push(shard),
                    None => values.push((value, vec![shard])),
                }
            }
            if values.len() > 1 {
                let each: Vec<String> = values
                    .iter()
                    .map(|(value, shards)| format!("{value} ({})", shards.join(", ")))
                    .collect();
                lines.push(format!("the shards differ in `{name}`: {}", each.join("; ")));
            }
        }
        lines
    }

    /// Notes down where a cell diverged.
    pub fn note_diverged(&mut self, key: &str, note: String) {
        self.diverged.insert(key[..KEY].to_owned(), note);
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

/// The file of a shard, in which it says what it runs on.
pub fn path_of(folder: &Path, shard: Shard) -> PathBuf {
    folder.join(OF_SHARD.join(&shard.tag()))
}

/// The files of shards in a folder, in order.
pub fn of_shards(folder: &Path) -> Vec<(Shard, PathBuf)> {
    listing::of_shards(folder, OF_SHARD)
}

/// What is kept of what a shard noted down.
fn facts(found: &mut Value) -> Value {
    let each = EACH.iter().filter_map(|&name| Some((name.to_owned(), found.get_mut(name)?.take())));
    Value::Object(each.collect())
}

fn read(path: &Path) -> Result<Value, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_listed_and_what_they_differ_in_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let here = || Provenance::here("cpu".into(), 2, BTreeMap::new());
        for shard in Shard::all(12) {
            let mut own = Provenance { commit: Some("abc".into()), ..here().on_this_host() };
            if shard.number() == 2 {
                own.commit = Some("def".into());
                own.note_smaller(&"0".repeat(64), "4 at a time".into());
                own.note_smaller(&"1".repeat(64), "8 at a time".into());
            }
            fs::write(path_of(dir.path(), shard), own.json()).unwrap();
        }
        fs::write(path_of(dir.path(), Shard::new(1, 3).unwrap()), "{").unwrap();
        let (all, lines) = here().with_shards(dir.path(), |key| key.starts_with('0'));
        let names: Vec<&String> = all.shards.keys().collect();
        assert_eq!((names.len(), names[1].as_str(), names[11].as_str()), (12, "2/12", "12/12"));
        assert_eq!(all.shards["2/12"]["commit"], "def");
        assert_eq!(all.shards["2/12"].get("command"), None);
        assert_eq!(all.smaller_batches.len(), 1);
        assert!(lines[0].ends_with("what shard 1/3 ran on is not known"), "{lines:?}");
        assert_eq!(
            lines[1],
            "the shards differ in `commit`: abc (1/12, 3/12, 4/12, 5/12, 6/12, 7/12, 8/12, 9/12, \
             10/12, 11/12, 12/12); def (2/12)"
        );
        assert_eq!((lines.len(), &all.remarks), (2, &lines));
        // A shard that goes on elsewhere says where it was before.
        let two = Shard::new(2, 12).unwrap();
        let again = || Provenance { commit: Some("abc".into()), ..here().on_this_host() };
        let moved = again().after_shard(dir.path(), two);
        assert_eq!(moved.smaller_batches.len(), 2);
        fs::write(path_of(dir.path(), two), moved.json()).unwrap();
        let stayed = again().after_shard(dir.path(), two);
        assert_eq!(stayed.shards, moved.shards);
        let (known, lines) = here().with_shards(dir.path(), |_| true);
        let before = known.shards.keys().find(|name| name.starts_with("2/12 until ")).unwrap();
        assert_eq!(known.shards[before]["commit"], "def");
        assert!(lines[1].contains("; def (2/12 until "), "{lines:?}");
        // The next run keeps them with the cells, and forgets them with the cells.
        fs::write(dir.path().join(PROVENANCE), all.json()).unwrap();
        assert_eq!(here().after(dir.path(), |_| true).shards, all.shards);
        assert!(here().after(dir.path(), |_| false).shards.is_empty());
    }
}
