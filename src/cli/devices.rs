//! The devices of one machine at once, a process for each.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader},
    os::unix::process::{CommandExt, parent_id},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    str::FromStr,
    sync::atomic::Ordering,
    thread::{self, JoinHandle},
    time::Duration,
};

use signal_hook::{consts::SIGTERM, low_level};

use crate::cli::Talk;
use crate::{
    error::{Error, Result},
    results::shard::Shard,
    terminal::interruption,
};

/// Tells a shard's process which one started it.
const PARENT: &str = "DDIM_DEVICES_PARENT";

/// How often the processes are looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// A device of a list: `cpu`, `cuda:1`, or `1` for the same.
#[derive(Clone, Debug)]
pub(super) struct Device(String);

impl Device {
    /// As `--device` takes it.
    pub(super) fn name(&self) -> String {
        self.0.clone()
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let index = text.strip_prefix("cuda:").unwrap_or(text);
        match text {
            "cpu" | "cuda" => Ok(Self(text.to_owned())),
            _ if index.parse::<u16>().is_ok() => Ok(Self(format!("cuda:{index}"))),
            _ => Err("give GPUs by their index, 0,1, or cpu".to_owned()),
        }
    }
}

/// A shard's process.
struct Process {
    shard: Shard,
    device: String,
    child: Child,
    said: Option<JoinHandle<()>>,
    ended: Option<ExitStatus>,
}

impl Process {
    fn signal(&self, name: &str) {
        if self.ended.is_none() {
            let id = self.child.id().to_string();
            let _ = Command::new("kill").args([name, &id]).status();
        }
    }
}

/// Those that still run are stopped when this process goes on without them.
struct Processes(Vec<Process>);

impl Drop for Processes {
    fn drop(&mut self) {
        for process in &mut self.0 {
            process.signal("-TERM");
            if process.ended.is_none() {
                let _ = process.child.wait();
            }
        }
    }
}

/// In a process that [`run`] started: stops it as SIGTERM does, once the one that started it has ended in
/// any way.
///
/// By looking, and not by the system's signal at a parent's death: that comes once for each thread of a
/// process that dies, and the second SIGTERM leaves at once.
///
/// # Errors
/// No thread for it.
pub(super) fn follow_parent() -> Result<()> {
    let Some(parent) = std::env::var(PARENT).ok().and_then(|id| id.parse::<u32>().ok()) else {
        return Ok(());
    };
    let look = move || {
        while parent_id() == parent {
            thread::sleep(PAUSE);
        }
        let _ = low_level::raise(SIGTERM);
    };
    let started = thread::Builder::new().name("parent".to_owned()).spawn(look);
    started.map(drop).map_err(|error| Error::Failed(format!("--devices: no thread: {error}")))
}

/// Draws a shard on each device and waits for all; what they print on stderr comes out here, each line with
/// its device. Ctrl-C reaches all of them.
///
/// # Errors
/// A process that cannot be started, or did not finish; the others do all the same.
pub(super) fn run(
    devices: &[Device],
    experiment: &[OsString],
    folder: &Path,
    threads: Option<usize>,
    talk: &Talk,
) -> Result<()> {
    let failed = |problem: String| Error::Failed(format!("--devices: {problem}"));
    Shard::new(1, devices.len())
        .map_err(|problem| Error::input(format!("--devices: {problem}")))?;
    let program = std::env::current_exe()
        .map_err(|error| failed(format!("cannot find this program: {error}")))?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.unwrap_or((cores / devices.len()).max(1));
    let mut processes = Processes(vec![]);
    for (Device(device), shard) in devices.iter().zip(Shard::all(devices.len())) {
        let mut command = Command::new(&program);
        command.arg("run").args(experiment).arg("--out").arg(folder);
        command.args(["--shard", &shard.to_string(), "--device", device]);
        command.args(["--threads", &threads.to_string()]);
        command.args(talk.quiet.then_some("--quiet"));
        command.args((0..talk.verbose).map(|_| "-v"));
        command.env(PARENT, std::process::id().to_string());
        // A group of its own: Ctrl-C comes from this process alone, and once.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let started = command.spawn();
        let mut child =
            started.map_err(|error| failed(format!("cannot start {device}: {error}")))?;
        let said = child.stderr.take().map(|stderr| {
            let name = format!("[{shard} {device}]");
            thread::spawn(move || {
                for line in BufReader::new(stderr).split(b'\n').map_while(std::result::Result::ok) {
                    eprintln!("{name} {}", String::from_utf8_lossy(&line));
                }
            })
        });
        let device = device.clone();
        processes.0.push(Process { shard, device, child, said, ended: None });
    }
    let mut told = false;
    while processes.0.iter().any(|process| process.ended.is_none()) {
        thread::sleep(PAUSE);
        if interruption::INTERRUPTED.load(Ordering::Relaxed) && !told {
            processes.0.iter().for_each(|process| process.signal("-INT"));
            told = true;
        }
        for process in &mut processes.0 {
            if process.ended.is_none() {
                process.ended = process.child.try_wait().unwrap_or_default();
            }
        }
    }
    for process in &mut processes.0 {
        process.said.take().map(JoinHandle::join);
    }
    if told {
        return Err(Error::Interrupted);
    }
    let unfinished: Vec<String> = processes
        .0
        .iter()
        .filter_map(|Process { shard, device, ended, .. }| {
            let ended = ended.filter(|ended| !ended.success())?;
            Some(format!("shard {shard} on {device} ended with {ended}"))
        })
        .collect();
    if unfinished.is_empty() {
        return Ok(());
    }
    Err(Error::Failed(format!(
        "{}; what was drawn is kept, and the same command continues",
        unfinished.join(", ")
    )))
}
