//! The program as a user runs it, in a folder of its own.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

/// `ddim` in a folder that is empty at first.
pub struct Ddim {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
    /// What is replaced in messages because it changes from run to run.
    names: Vec<(String, &'static str)>,
}

impl Ddim {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let names = vec![
            (folder.path().display().to_string(), "[dir]"),
            (env!("CARGO_MANIFEST_DIR").to_owned(), "[repository]"),
            // Only root gets as far as the second in /proc.
            (
                "Permission denied (os error 13)".to_owned(),
                "No such file or directory (os error 2)",
            ),
        ];
        Self { folder, variables: vec![], names }
    }

    /// With a variable of the environment, beside those of [`command`].
    pub fn with(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((variable, value.into()));
        self
    }

    /// With a text that messages show by another name.
    pub fn naming(mut self, text: impl Into<String>, name: &'static str) -> Self {
        self.names.push((text.into(), name));
        self
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), bytes).unwrap();
        self
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    /// What is in the folder, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub fn command(&self) -> Command {
        let mut command = command();
        command
            .current_dir(self.folder())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("HF_HOME", self.path("hub"))
            .envs(self.variables.iter().cloned());
        command
    }

    /// The program in a shell that does something before it.
    pub fn after(&self, words: &str) -> Command {
        let mut shell = Command::new("bash");
        let program = self.command();
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let script = format!("{words} && exec \"$@\"");
        shell.current_dir(self.folder()).args(["-c", &script, "bash"]).arg(program.get_program());
        shell
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// Runs what must work, and returns what it printed and what it said on stderr.
    pub fn says(&self, arguments: &[&str]) -> (String, String) {
        let output = self.run(arguments);
        let stderr = self.plain(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        (self.plain(&output.stdout), stderr)
    }

    /// Runs what must work, and returns what it printed, to the byte.
    pub fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", self.plain(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs what must work, and returns the most main memory that it had, in bytes.
    pub fn peak(&self, arguments: &[&str]) -> u64 {
        let mut child = self.command().args(arguments).stdout(Stdio::null()).spawn().unwrap();
        let status = format!("/proc/{}/status", child.id());
        let mut most = 0;
        let ended = loop {
            // Gone from the file of one that has ended.
            let found = fs::read_to_string(&status).unwrap_or_default();
            let peak = found.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
            most = peak.map_or(most, |peak| peak.parse::<u64>().unwrap() << 10);
            if let Some(ended) = child.try_wait().unwrap() {
                break ended;
            }
            thread::sleep(Duration::from_millis(2));
        };
        assert!(ended.success(), "{arguments:?}: {ended}");
        assert!(most > 0, "{status} was not read");
        most
    }

    /// Runs what must fail with an exit code, print no data and change no file; returns the message.
    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let before = tree(self.folder());
        let output = self.run(arguments);
        let stderr = self.plain(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{arguments:?} printed data");
        assert!(!stderr.contains("panicked"), "{stderr}");
        // One message, or all problems of a manifest, each with its place.
        let starts = stderr.lines().filter(|line| line.starts_with("error: ")).count();
        let places = stderr.lines().filter(|line| line.trim_start().starts_with("-->")).count();
        assert!(starts == 1 || starts == places, "{starts} messages: {stderr}");
        let after = tree(self.folder());
        let changed = |path: &&PathBuf| before.get(*path) != after.get(*path);
        let changed: Vec<_> = before.keys().chain(after.keys()).filter(changed).collect();
        assert!(changed.is_empty(), "{arguments:?} changed {changed:?}");
        stderr
    }

    /// Runs what must fail as a mistake of the user's.
    pub fn refuses(&self, arguments: &[&str]) -> String {
        self.fails(2, arguments)
    }

    /// A text without what changes from run to run.
    pub fn plain(&self, bytes: &[u8]) -> String {
        let mut text = String::from_utf8(bytes.to_vec()).unwrap();
        for (found, name) in &self.names {
            text = text.replace(found, name);
        }
        text.trim_end().to_owned()
    }
}

/// `ddim` in the repository; nothing leaves this machine, and no data are found on it.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddim"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(proxy).env_remove(proxy.to_lowercase());
    }
    for variable in ["DDIM_DATA", "DDIM_HOME", "HF_ENDPOINT", "HF_TOKEN"] {
        command.env_remove(variable);
    }
    command.env("XDG_CACHE_HOME", "/no/cache").env("HF_HOME", "/no/cache");
    command.env("HF_HUB_OFFLINE", "1");
    command
}

/// A path of the repository, from wherever the program runs.
pub fn repository(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}

/// Every file of a folder with its bytes, every folder without.
pub fn tree(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut tree = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tree.extend(self::tree(&path));
            tree.insert(path, None);
        } else {
            let bytes = fs::read(&path).unwrap();
            tree.insert(path, Some(bytes));
        }
    }
    tree
}
