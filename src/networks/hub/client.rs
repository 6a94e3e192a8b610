//! What is asked of the Hub: the files of a revision, and each of them into the shared cache.
//!
//! A file grows in `blobs/` under the name that the Hub gives its content, with `.part` at the end. It
//! goes on from there where it broke off, is renamed once it is whole, and its checksum, which that
//! name is, is right; only then does a snapshot name it. What the Hub answers becomes part of paths,
//! and is refused where it would lead out of the cache.
//!
//! # References
//! `file_download.py` of huggingface_hub.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use hf_hub::Cache;
use serde::Deserialize;
use sha1::{Digest as _, Sha1};

use crate::{
    data::{
        file_sha256,
        web::{Answer, Cut, Web},
    },
    limits,
    networks::hub::Event,
};

/// The Hub unless the environment names another.
const HUB: &str = "https://huggingface.co";

/// Why the Hub did not give what was asked for.
#[derive(Debug)]
pub(super) enum Failure {
    /// It answers with this status.
    Status(u16),
    /// Something else, in words.
    Other(String),
}

impl From<String> for Failure {
    fn from(problem: String) -> Self {
        Self::Other(problem)
    }
}

type Result<T> = std::result::Result<T, Failure>;

/// A revision of a repository.
#[derive(Debug)]
pub(super) struct Info {
    /// The commit.
    pub(super) sha: String,
    /// Its files.
    pub(super) files: Vec<String>,
}

#[derive(Deserialize)]
struct Revision {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// Asks the Hub.
#[derive(Debug)]
pub(super) struct Client {
    web: Web,
    endpoint: String,
    token: Option<String>,
}

impl Client {
    /// With the server and the token that the environment names.
    pub(super) fn from_env(cache: &Cache) -> Self {
        let given = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let endpoint = given("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned());
        let token = given("HF_TOKEN").or_else(|| cache.token());
        Self {
            web: Web::from_env(),
            endpoint: endpoint.trim().trim_end_matches('/').to_owned(),
            token: token.map(|token| token.trim().to_owned()),
        }
    }

    /// The commit and the files of a revision.
    pub(super) fn info(&self, repository: &str, revision: &str) -> Result<Info> {
        let revision = revision.replace('/', "%2F");
        let path = format!("api/models/{repository}/revision/{revision}");
        let text = self.web.text(self.get(&path, 0)?, limits::TEXT)?;
        let Revision { sha, siblings } = serde_json::from_str(&text)
            .map_err(|error| format!("its list of files cannot be read ({error})"))?;
        if !is_plain(&sha) {
            return Err(leaves("the commit", &sha));
        }
        Ok(Info { sha, files: siblings.into_iter().map(|file| file.rfilename).collect() })
    }

    /// Fetches a file of a commit into a repository's folder of the cache.
    pub(super) fn fetch(
        &self,
        (repository, sha, file): (&str, &str, &str),
        folder: &Path,
        watch: &mut dyn FnMut(Event<'_>),
    ) -> Result<()> {
        if !file.split('/').all(is_plain) {
            return Err(leaves("the file", file));
        }
        let path = format!("{repository}/resolve/{sha}/{file}");
        let mut answer = self.get(&path, 0)?;
        let named = ["X-Linked-Etag", "ETag"].into_iter().find_map(|name| answer.header(name));
        let etag = named.ok_or_else(|| format!("{file}: it does not name its content"))?;
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        if !is_plain(&etag) {
            return Err(leaves(&format!("the content of {file}"), &etag));
        }
        let blob = folder.join("blobs").join(&etag);
        if !blob.is_file() {
            let part = Part::open(folder.join("blobs").join(format!("{etag}.part")))?;
            let have = part.len()?;
            if have > 0 {
                // The answer at hand is dropped first: a server may serve one at a time.
                drop(answer);
                answer = self.get(&path, have)?;
            }
            self.receive(file, answer, &part, have, watch)?;
            part.check(&etag).map_err(|problem| format!("{file}: {problem}"))?;
            part.keep(&blob)?;
        }
        point(&folder.join("snapshots").join(sha), file, &etag)
            .map_err(|error| Failure::Other(format!("{file}: {error}")))
    }

    /// Appends what comes to a part.
    fn receive(
        &self,
        file: &str,
        answer: Answer,
        part: &Part,
        have: u64,
        watch: &mut dyn FnMut(Event<'_>),
    ) -> Result<()> {
        let starts = |from: u64| {
            let range = answer.header("Content-Range");
            range.is_none_or(|range| range.starts_with(&format!("bytes {from}-")))
        };
        let have = match answer.status() {
            206 if starts(have) => have,
            // All of it was here.
            416 if have > 0 => return Ok(()),
            200 => {
                part.file.set_len(0).map_err(|error| io_problem(&part.path, &error))?;
                0
            }
            status => return Err(Failure::Status(status)),
        };
        let body = answer.response.into_body();
        let total = body.content_length().map(|rest| have.saturating_add(rest));
        watch(Event::Begin { file, size: total.unwrap_or(0) });
        watch(Event::Advance(have));
        let advance = &mut |n| {
            watch(Event::Advance(n));
            ControlFlow::Continue(())
        };
        let received =
            self.web.receive(body, &mut &part.file, (have, total, limits::DOWNLOAD), advance);
        match received {
            Ok(_) => part.file.sync_all().map_err(|error| io_problem(&part.path, &error).into()),
            Err(Cut::Write(error)) => Err(io_problem(&part.path, &error).into()),
            Err(Cut::Broken(received, problem)) => Err(Failure::Other(format!(
                "{file} broke off after {received} bytes ({problem}), which are kept; the same \
                 command goes on from there"
            ))),
            Err(Cut::Interrupted) => unreachable!("invariant: nothing stops it"),
        }
    }

    /// Asks for a path of the Hub, from a byte on.
    fn get(&self, path: &str, from: u64) -> Result<Answer> {
        let token = self.token.as_ref().map(|token| ("Authorization", format!("Bearer {token}")));
        let range = (from > 0).then(|| ("Range", format!("bytes={from}-")));
        let headers: Vec<(&str, String)> = token.into_iter().chain(range).collect();
        let answer = self.web.get(&format!("{}/{path}", self.endpoint), &headers)?;
        match answer.status() {
            200 | 206 => Ok(answer),
            416 if from > 0 => Ok(answer),
            status => Err(Failure::Status(status)),
        }
    }
}

/// Whether what the Hub answers can be one name in a path.
fn is_plain(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.+=@ ".contains(c);
    (1..=200).contains(&name.len()) && name.chars().all(allowed) && !name.starts_with('.')
}

fn leaves(what: &str, name: &str) -> Failure {
    let name: String = name.chars().take(80).collect();
    Failure::Other(format!("it calls {what} `{name}`, which is no name in its cache"))
}

fn io_problem(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// A file that is not whole yet, locked.
struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    fn open(path: PathBuf) -> Result<Self> {
        let folder = path.parent().expect("invariant: a part is in a folder");
        fs::create_dir_all(folder).map_err(|error| io_problem(folder, &error))?;
        let file = OpenOptions::new().create(true).append(true).read(true).open(&path);
        let file = file.map_err(|error| io_problem(&path, &error))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Failure::Other(format!(
                "{} is being downloaded by another process; wait for it to end",
                path.display()
            ))),
            // Some network file systems have no locks.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Self { path, file }),
        }
    }

    fn len(&self) -> Result<u64> {
        let length = self.file.metadata().map(|data| data.len());
        length.map_err(|error| io_problem(&self.path, &error).into())
    }

    /// Compares the content with its name: a SHA-256, or the SHA-1 that git gives it.
    fn check(&self, etag: &str) -> std::result::Result<(), String> {
        let is_hash = etag.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
        let found = match etag.len() {
            64 if is_hash => file_sha256(&self.path),
            40 if is_hash => git_hash(&self.path),
            _ => return Ok(()),
        };
        let found = found.map_err(|error| io_problem(&self.path, &error))?;
        if found == etag {
            return Ok(());
        }
        // None of it is of any use.
        let _ = fs::remove_file(&self.path);
        Err(format!("it has the checksum {found}, published is {etag}: it is damaged; not kept"))
    }

    fn keep(self, blob: &Path) -> Result<()> {
        fs::rename(&self.path, blob).map_err(|error| io_problem(blob, &error).into())
    }
}

/// The name that git gives a content.
fn git_hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", file.metadata()?.len()));
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("{:x}", hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// Makes a snapshot's name for a content: a relative link, as the Hub's own tools make it.
fn point(snapshot: &Path, file: &str, content: &str) -> io::Result<()> {
    let name = snapshot.join(file);
    fs::create_dir_all(name.parent().unwrap_or(snapshot))?;
    let mut target: PathBuf = std::iter::repeat_n("..", file.split('/').count() + 1).collect();
    target.push("blobs");
    target.push(content);
    match std::os::unix::fs::symlink(target, name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use tempfile::TempDir;

    use super::*;
    use crate::data::{
        sha256,
        web::tests::{direct, serve},
    };

    fn client(endpoint: String) -> Client {
        Client { web: direct(), endpoint, token: None }
    }

    /// A Hub that gives these bytes under this name, from where it is asked to, and at most so many at
    /// once; and the ranges asked for.
    fn giving(bytes: Vec<u8>, etag: String, most: usize) -> (String, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(vec![]));
        let log = Arc::clone(&asked);
        let at = serve(move |lines, stream| {
            let range = lines.iter().find_map(|line| {
                line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned)
            });
            let from: usize = range.as_deref().map_or(0, |r| r[..r.len() - 1].parse().unwrap());
            log.lock().unwrap().push(range.unwrap_or_default());
            let (n, rest) = (bytes.len(), &bytes[from..]);
            let range = format!("Content-Range: bytes {from}-{}/{n}", n - 1);
            let status = if from == 0 { "200 OK" } else { "206 Partial Content" };
            write!(
                stream,
                "HTTP/1.1 {status}\r\nETag: \"{etag}\"\r\n{range}\r\nContent-Length: {}\r\n\r\n",
                rest.len()
            )
            .unwrap();
            // The client may have dropped an answer that it did not need.
            let _ = stream.write_all(&rest[..rest.len().min(most)]);
        });
        (at, asked)
    }

    fn fetch(client: &Client, file: &str, folder: &Path) -> Result<()> {
        client.fetch(("o/n", "c0ffee", file), folder, &mut |_| ())
    }

    fn problem<T: std::fmt::Debug>(outcome: Result<T>) -> String {
        match outcome.unwrap_err() {
            Failure::Other(problem) => problem,
            Failure::Status(status) => panic!("{status}"),
        }
    }

    #[test]
    fn a_file_goes_on_where_it_broke_off_and_is_checked() {
        let folder = TempDir::new().unwrap();
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let etag = sha256(&bytes);
        let (at, _) = giving(bytes.clone(), etag.clone(), 70_000);
        let text = problem(fetch(&client(at), "a/b/w.bin", folder.path()));
        assert!(text.contains("a/b/w.bin broke off after 70000 bytes"), "{text}");
        assert!(text.contains("the same command goes on from there"), "{text}");
        let name = folder.path().join("snapshots/c0ffee/a/b/w.bin");
        assert!(!name.exists());
        let (at, asked) = giving(bytes.clone(), etag.clone(), usize::MAX);
        fetch(&client(at), "a/b/w.bin", folder.path()).unwrap();
        assert_eq!(*asked.lock().unwrap(), ["", "70000-"]);
        assert_eq!(fs::read(&name).unwrap(), bytes);
        let link = fs::read_link(&name).unwrap();
        assert_eq!(link, Path::new("../../../../blobs").join(&etag));
        // Another name of the same content.
        let (at, _) = giving(bytes.clone(), etag.clone(), 0);
        fetch(&client(at), "w.bin", folder.path()).unwrap();
        assert_eq!(fs::read(folder.path().join("snapshots/c0ffee/w.bin")).unwrap(), bytes);
        // A part of something else, and a content that is not what its name says.
        let other = TempDir::new().unwrap();
        fs::create_dir_all(other.path().join("blobs")).unwrap();
        let part = other.path().join("blobs").join(format!("{etag}.part"));
        fs::write(&part, [7; 1000]).unwrap();
        let (at, _) = giving(bytes, etag, usize::MAX);
        let text = problem(fetch(&client(at), "w.bin", other.path()));
        assert!(text.contains("it is damaged; not kept"), "{text}");
        assert!(!part.exists() && !other.path().join("snapshots").exists());
    }

    #[test]
    fn gits_names_are_checked_too() {
        let folder = TempDir::new().unwrap();
        // git hash-object of a file with `hello`.
        let right = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
        let (at, _) = giving(b"hello".to_vec(), right.to_owned(), usize::MAX);
        fetch(&client(at), "config.json", folder.path()).unwrap();
        let (at, _) = giving(b"hullo".to_vec(), right.replace('b', "c"), usize::MAX);
        let text = problem(fetch(&client(at), "other.json", folder.path()));
        assert!(text.contains("published is c6fc4c62"), "{text}");
    }

    #[test]
    fn no_answer_leads_out_of_the_cache() {
        let folder = TempDir::new().unwrap();
        for etag in ["../../evil", "/etc/passwd", "..", "a/b", "", ".hidden", "a\\b"] {
            let (at, _) = giving(b"x".to_vec(), etag.to_owned(), usize::MAX);
            let text = problem(fetch(&client(at), "config.json", folder.path()));
            assert!(text.contains("which is no name in its cache"), "{etag}: {text}");
        }
        let (at, _) = giving(b"x".to_vec(), "e".to_owned(), usize::MAX);
        for file in ["../evil", "/etc/passwd", "a/../../b", "a//b", "a/./b"] {
            let text = problem(fetch(&client(at.clone()), file, folder.path()));
            assert!(text.contains("which is no name in its cache"), "{file}: {text}");
        }
        for sha in ["../../evil", "/", ""] {
            let (at, _) = giving(
                serde_json::json!({ "sha": sha, "siblings": [] }).to_string().into_bytes(),
                "e".to_owned(),
                usize::MAX,
            );
            let text = problem(client(at).info("o/n", "main"));
            assert!(text.contains("it calls the commit"), "{text}");
        }
        let (at, _) = giving(b"{\"sha\": 1}".to_vec(), "e".to_owned(), usize::MAX);
        assert!(problem(client(at).info("o/n", "main")).contains("cannot be read"));
        assert!(!folder.path().join("blobs").exists());
    }
}
