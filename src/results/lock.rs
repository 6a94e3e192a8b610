//! Who may write to a results folder.
//!
//! A run has the folder to itself. Its shards have a lock each, so that all of them write at once, each to
//! its own files; none starts beside a run, and no run beside them. All are advisory locks on files, which
//! the operating system releases when their process ends in any way: what a dead run leaves behind is taken
//! over.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::results::{date, listing, record::ResultsError, shard::Shard};

/// The lock of a run.
const NAME: &str = ".lock";

/// The parts of the name of a shard's around the shard.
const OF_SHARD: [&str; 2] = [".lock-", ""];

/// How long a lock is asked for again that somebody may only be looking at.
const LOOKED_AT: [Duration; 3] = [Duration::from_millis(20); 3];

/// The lock of a results folder, or of a shard in it, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes a folder, for one process alone.
    ///
    /// # Errors
    /// Another process has it, or a shard in it, or it cannot be written.
    pub fn acquire(folder: &Path) -> Result<Self, ResultsError> {
        let lock = Self::take(folder, NAME, "")?;
        for (shard, path) in shards(folder) {
            if let Some(owner) = owner(&path)? {
                return Err(refused(folder, &format!("shard {shard}: {owner}")));
            }
        }
        Ok(lock)
    }

    /// Takes a shard in a folder.
    ///
    /// # Errors
    /// Another process has it, or the whole folder, or it cannot be written.
    pub fn of_shard(folder: &Path, shard: Shard) -> Result<Self, ResultsError> {
        let name = OF_SHARD.join(&shard.tag());
        let lock = Self::take(folder, &name, &format!("shard {shard}: "))?;
        match owner(&folder.join(NAME))? {
            Some(owner) => Err(refused(folder, &owner)),
            None => Ok(lock),
        }
    }

    fn take(folder: &Path, name: &str, whose: &str) -> Result<Self, ResultsError> {
        let path = folder.join(name);
        let mut again = LOOKED_AT.iter();
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(io_error(&path, "write"))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    if let Some(pause) = again.next() {
                        std::thread::sleep(*pause);
                        continue;
                    }
                    let mut owner = String::new();
                    // The owner's name only improves the message.
                    let _ = file.read_to_string(&mut owner);
                    return Err(refused(folder, &format!("{whose}{}", owner.trim())));
                }
                // Some network file systems have no locks; then the folder is used without one.
                Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(source)) => return Err(io_error(&path, "lock")(source)),
            }
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let (since, fraction) = (date::iso(now.as_secs()), now.subsec_nanos());
            let since = format!("{}.{fraction:09}Z", since.trim_end_matches('Z'));
            let host = host().map_or_else(String::new, |host| format!(" on {host}"));
            let id = format!("process {}{host}, since {since}", std::process::id());
            file.set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| file.write_all(id.as_bytes()))
                .map_err(io_error(&path, "write"))?;
            // Between opening and locking, the last owner may have deleted the file.
            if fs::read_to_string(&path).is_ok_and(|text| text == id) {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A file that stays behind is unlocked, and does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

/// The shards that run in a folder now.
///
/// # Errors
/// A lock that cannot be read.
pub fn running(folder: &Path) -> Result<Vec<Shard>, ResultsError> {
    let mut running = vec![];
    for (shard, path) in shards(folder) {
        if owner(&path)?.is_some() {
            running.push(shard);
        }
    }
    Ok(running)
}

/// The name of this machine, if the system tells.
pub fn host() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The locks of shards in a folder, held or left behind.
fn shards(folder: &Path) -> Vec<(Shard, PathBuf)> {
    listing::of_shards(folder, OF_SHARD)
}

/// Who holds a lock; none if it is free.
fn owner(path: &Path) -> Result<Option<String>, ResultsError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error(path, "read")(source)),
    };
    // Shared, so that those who look do not see each other.
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            // The owner's name only improves the message.
            let _ = file.read_to_string(&mut owner);
            Ok(Some(owner.trim().to_owned()))
        }
        // As above.
        Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => Ok(None),
        Err(TryLockError::Error(source)) => Err(io_error(path, "lock")(source)),
        Ok(()) => Ok(None),
    }
}

fn refused(folder: &Path, owner: &str) -> ResultsError {
    ResultsError::Locked { path: folder.into(), owner: owner.to_owned() }
}

fn io_error<'a>(path: &'a Path, action: &'static str) -> impl Fn(io::Error) -> ResultsError + 'a {
    move |source| ResultsError::Io { path: path.to_owned(), action, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(number: usize) -> Shard {
        Shard::new(number, 2).unwrap()
    }

    #[test]
    fn shards_run_beside_each_other_and_not_beside_a_run() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::of_shard(dir.path(), shard(1)).unwrap();
        let second = Lock::of_shard(dir.path(), shard(2)).unwrap();
        assert_eq!(running(dir.path()).unwrap(), [shard(1), shard(2)]);
        let twice = Lock::of_shard(dir.path(), shard(1)).unwrap_err().to_string();
        let who = format!("is in use by another run (shard 1/2: process {}", std::process::id());
        assert!(twice.contains(&who), "{twice}");
        let whole = Lock::acquire(dir.path()).unwrap_err().to_string();
        assert!(whole.contains(&who), "{whole}");
        drop(first);
        assert!(Lock::acquire(dir.path()).unwrap_err().to_string().contains("shard 2/2"));
        drop(second);
        let run = Lock::acquire(dir.path()).unwrap();
        let late = Lock::of_shard(dir.path(), shard(1)).unwrap_err().to_string();
        assert!(late.contains("is in use by another run (process "), "{late}");
        drop(run);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_dead_shard_leaves_is_free() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".lock-1of2"), "process 1, which died").unwrap();
        assert_eq!(running(dir.path()).unwrap(), []);
        drop(Lock::acquire(dir.path()).unwrap());
        drop(Lock::of_shard(dir.path(), shard(1)).unwrap());
    }
}
