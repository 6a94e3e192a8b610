//! Files from their published addresses, with a checksum.
//!
//! A file grows under its name and `.part` and is renamed once its checksum is right: what has the
//! plain name is whole. A download that breaks off keeps its part, and the next call asks the
//! server for the rest. A part that leads to a wrong checksum is thrown away and the whole file
//! fetched once more; a whole file with a wrong checksum is an error, and nothing of it stays.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use crate::{
    data::{
        hash::{file_md5, file_sha256},
        web::{Answer, Cut, Web},
    },
    limits,
};

/// The published checksum of a file, in hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum<'a> {
    /// The MD5.
    Md5(&'a str),
    /// The first digits of the SHA-256, as torch.hub has them in file names.
    Sha256Start(&'a str),
}

impl Checksum<'_> {
    fn accepts(self, found: &str) -> bool {
        match self {
            Self::Md5(published) => found == published,
            Self::Sha256Start(published) => found.starts_with(published),
        }
    }

    fn of(self, path: &Path) -> Result<String, DownloadError> {
        let found = match self {
            Self::Md5(_) => file_md5(path),
            Self::Sha256Start(_) => file_sha256(path),
        };
        found.map_err(io_error("read", path))
    }

    /// With the name of its method.
    fn named(self, digits: &str) -> String {
        match self {
            Self::Md5(_) => format!("md5 {digits}"),
            Self::Sha256Start(_) => format!("sha256 {digits}"),
        }
    }
}

impl fmt::Display for Checksum<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Md5(digits) => write!(f, "md5 {digits}"),
            Self::Sha256Start(digits) => write!(f, "sha256 {digits}..."),
        }
    }
}

/// What can go wrong with a download.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// There is no answer.
    #[error(
        "cannot reach {url}: {problem}; on a machine with a network, fetch it ({checksum}) and \
         put it at {}",
        destination.display()
    )]
    Unreachable {
        /// The address.
        url: String,
        /// What the client says.
        problem: String,
        /// The published checksum.
        checksum: String,
        /// Where the file belongs.
        destination: PathBuf,
    },
    /// The server refuses.
    #[error(
        "{url} answers with status {status}: the file may have moved; its checksum is {checksum}"
    )]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The published checksum.
        checksum: String,
    },
    /// The connection ended before the file did.
    #[error(
        "{url} broke off after {received}{} bytes ({problem}); they are kept, and the same command \
         goes on from there",
        total.map_or_else(String::new, |total| format!(" of {total}"))
    )]
    Broken {
        /// The address.
        url: String,
        /// Bytes on disk.
        received: u64,
        /// Bytes of the file, where the server said so.
        total: Option<u64>,
        /// What the client says.
        problem: String,
    },
    /// The file is not the published one.
    #[error("{url} has {found}, published is {checksum}: it is damaged or another file; not kept")]
    Checksum {
        /// The address.
        url: String,
        /// The published checksum.
        checksum: String,
        /// That of what came.
        found: String,
    },
    /// The file cannot be written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process downloads the same file.
    #[error("{} is being downloaded by another process; wait for it to end", path.display())]
    Busy {
        /// The part.
        path: PathBuf,
    },
    /// The caller asked to stop.
    #[error("interrupted; what was downloaded is kept, and the same command goes on from there")]
    Interrupted,
}

/// What happens during a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// It starts, or starts again.
    Begin {
        /// The address.
        url: &'a str,
        /// Bytes that are here already.
        have: u64,
        /// Bytes of the whole file, where the server says so.
        total: Option<u64>,
    },
    /// This many bytes were received since the last event.
    Advance(u64),
}

/// Is told of every event, and may stop the download.
pub type Watch<'a> = dyn FnMut(Event<'_>) -> ControlFlow<()> + 'a;

/// Fetches files over HTTP and HTTPS.
#[derive(Clone, Debug)]
pub struct Downloader {
    web: Web,
}

impl Downloader {
    /// With the proxy that the environment names, if it does.
    pub fn from_env() -> Self {
        Self { web: Web::from_env() }
    }

    /// Fetches a file, continuing a part that an earlier call left.
    ///
    /// # Errors
    /// No connection, a server that refuses or breaks off, another checksum, a folder that cannot
    /// be written, or a `watch` that stops it.
    pub fn fetch(
        &self,
        url: &str,
        checksum: Checksum<'_>,
        destination: &Path,
        watch: &mut Watch<'_>,
    ) -> Result<(), DownloadError> {
        if let Some(folder) = destination.parent() {
            fs::create_dir_all(folder).map_err(io_error("create", folder))?;
        }
        let mut name = destination.as_os_str().to_owned();
        name.push(".part");
        let path = PathBuf::from(name);
        let file = OpenOptions::new().create(true).append(true).read(true).open(&path);
        let mut file = file.map_err(io_error("write", &path))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(DownloadError::Busy { path }),
            // Some network file systems have no locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let job = Job { web: &self.web, url, checksum, destination, part: &path };
        let mut have = file.metadata().map_err(io_error("read", &path))?.len();
        loop {
            if let Err(error) = job.receive(&mut file, have, watch) {
                if file.metadata().is_ok_and(|part| part.len() == 0) {
                    // Nothing came, and nothing is worth keeping.
                    let _ = fs::remove_file(&path);
                }
                return Err(error);
            }
            let found = checksum.of(&path)?;
            if checksum.accepts(&found) {
                return fs::rename(&path, destination).map_err(io_error("write", destination));
            }
            if have == 0 {
                // None of it is of any use.
                let _ = fs::remove_file(&path);
                return Err(DownloadError::Checksum {
                    url: url.to_owned(),
                    checksum: checksum.to_string(),
                    found: checksum.named(&found),
                });
            }
            // The part was of another file: once more, from the start.
            file.set_len(0).map_err(io_error("write", &path))?;
            have = 0;
        }
    }
}

struct Job<'a> {
    web: &'a Web,
    url: &'a str,
    checksum: Checksum<'a>,
    destination: &'a Path,
    part: &'a Path,
}

impl Job<'_> {
    /// Appends what is missing to the part.
    fn receive(
        &self,
        file: &mut File,
        have: u64,
        watch: &mut Watch<'_>,
    ) -> Result<(), DownloadError> {
        let Some((answer, have)) = self.request(file, have)? else { return Ok(()) };
        let body = answer.response.into_body();
        let total = body.content_length().map(|rest| have.saturating_add(rest));
        let go_on = |flow: ControlFlow<()>| match flow {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(DownloadError::Interrupted),
        };
        go_on(watch(Event::Begin { url: self.url, have, total }))?;
        let advance = &mut |n| watch(Event::Advance(n));
        let received = self.web.receive(body, file, (have, total, limits::DOWNLOAD), advance);
        received.map_err(|cut| match cut {
            Cut::Broken(received, problem) => {
                let url = self.url.to_owned();
                DownloadError::Broken { url, received, total, problem }
            }
            Cut::Write(error) => io_error("write", self.part)(error),
            Cut::Interrupted => DownloadError::Interrupted,
        })?;
        file.sync_all().map_err(io_error("write", self.part))
    }

    /// The answer that begins at the end of the part, and where that is; none if nothing is
    /// missing.
    fn request(&self, file: &File, have: u64) -> Result<Option<(Answer, u64)>, DownloadError> {
        let range = (have > 0).then(|| ("Range", format!("bytes={have}-")));
        let answer = self.web.get(self.url, range.as_slice());
        let answer = answer.map_err(|problem| DownloadError::Unreachable {
            url: self.url.to_owned(),
            problem,
            checksum: self.checksum.to_string(),
            destination: self.destination.to_path_buf(),
        })?;
        let range = answer.header("Content-Range");
        match answer.status() {
            206 if range.is_some_and(|range| range.starts_with(&format!("bytes {have}-"))) => {
                Ok(Some((answer, have)))
            }
            // The server does not support ranges: the whole file comes again.
            200 => {
                file.set_len(0).map_err(io_error("write", self.part))?;
                Ok(Some((answer, 0)))
            }
            416 if have > 0 => Ok(None),
            status => Err(DownloadError::Status {
                url: self.url.to_owned(),
                status,
                checksum: self.checksum.to_string(),
            }),
        }
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DownloadError {
    let path = path.to_path_buf();
    move |source| DownloadError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        thread::JoinHandle,
        time::Duration,
    };

    use md5::Digest as _;
    use tempfile::TempDir;

    use super::*;
    use crate::data::web::tests::direct;

    /// What the server does with a request.
    #[derive(Clone, Copy)]
    enum Answer {
        /// All of the file, whatever range was asked for.
        Whole,
        /// What was asked for, or status 416 where there is nothing.
        Range,
        /// Half of the bytes that it announces, and then it hangs up.
        Half,
        /// No such file.
        NotFound,
    }

    /// A server on this machine that answers so many requests and ends; returns the ranges asked
    /// for.
    fn serve(content: Vec<u8>, answers: Vec<Answer>) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let mut ranges = vec![];
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                let mut range = String::new();
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    let line = line.unwrap().to_lowercase();
                    if let Some(bytes) = line.strip_prefix("range: ") {
                        range = bytes.to_owned();
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                let from = range.strip_prefix("bytes=").and_then(|r| r.strip_suffix('-'));
                let from: usize = from.map_or(0, |from| from.parse().unwrap());
                let (n, rest) = (content.len(), &content[from.min(content.len())..]);
                let (status, more, body) = match answer {
                    Answer::Whole => ("200 OK", String::new(), &content[..]),
                    Answer::Range | Answer::Half if from == 0 => {
                        ("200 OK", String::new(), &content[..])
                    }
                    Answer::Range | Answer::Half if from >= n => {
                        ("416 Range Not Satisfiable", String::new(), &b""[..])
                    }
                    Answer::Range | Answer::Half => {
                        let range = format!("Content-Range: bytes {from}-{}/{n}\r\n", n - 1);
                        ("206 Partial Content", range, rest)
                    }
                    Answer::NotFound => ("404 Not Found", String::new(), &b"no"[..]),
                };
                let length = body.len();
                let body = if matches!(answer, Answer::Half) { &body[..length / 2] } else { body };
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n"
                )
                .unwrap();
                stream.write_all(body).unwrap();
                ranges.push(range);
            }
            ranges
        });
        (url, server)
    }

    /// A download of its own into an empty folder.
    struct Fixture {
        folder: TempDir,
        content: Vec<u8>,
        md5: String,
    }

    impl Fixture {
        fn new() -> Self {
            let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
            let md5 = format!("{:x}", md5::Md5::digest(&content));
            Self { folder: TempDir::new().unwrap(), content, md5 }
        }

        fn destination(&self) -> PathBuf {
            self.folder.path().join("new/file")
        }

        fn part(&self) -> PathBuf {
            self.folder.path().join("new/file.part")
        }

        fn leave_part(&self, bytes: &[u8]) {
            fs::create_dir_all(self.folder.path().join("new")).unwrap();
            fs::write(self.part(), bytes).unwrap();
        }

        fn fetch(&self, url: &str) -> Result<u64, DownloadError> {
            let mut received = 0;
            // Never through a proxy: the server is on this machine.
            let downloader = Downloader { web: direct() };
            downloader.fetch(url, Checksum::Md5(&self.md5), &self.destination(), &mut |event| {
                if let Event::Advance(n) = event {
                    received += n;
                }
                ControlFlow::Continue(())
            })?;
            assert_eq!(fs::read(self.destination()).unwrap(), self.content);
            assert!(!self.part().exists());
            Ok(received)
        }
    }

    #[test]
    fn a_file_comes_whole_and_under_its_name() {
        let f = Fixture::new();
        let (url, server) = serve(f.content.clone(), vec![Answer::Whole]);
        assert_eq!(f.fetch(&url).unwrap(), f.content.len() as u64);
        assert_eq!(server.join().unwrap(), [""]);
    }

    #[test]
    fn a_part_is_gone_on_with_and_not_fetched_again() {
        let f = Fixture::new();
        f.leave_part(&f.content[..1000]);
        let (url, server) = serve(f.content.clone(), vec![Answer::Range]);
        assert_eq!(f.fetch(&url).unwrap(), f.content.len() as u64 - 1000);
        assert_eq!(server.join().unwrap(), ["bytes=1000-"]);
        // All of it was there, and only the new name was missing.
        fs::rename(f.destination(), f.part()).unwrap();
        let (url, server) = serve(f.content.clone(), vec![Answer::Range]);
        assert_eq!(f.fetch(&url).unwrap(), 0);
        server.join().unwrap();
    }

    #[test]
    fn a_server_without_ranges_sends_the_whole_file_again() {
        let f = Fixture::new();
        f.leave_part(&f.content[..1000]);
        let (url, server) = serve(f.content.clone(), vec![Answer::Whole]);
        assert_eq!(f.fetch(&url).unwrap(), f.content.len() as u64);
        server.join().unwrap();
    }

    #[test]
    fn a_server_that_dies_midway_leaves_a_part_that_the_next_call_completes() {
        let f = Fixture::new();
        let (url, server) = serve(f.content.clone(), vec![Answer::Half, Answer::Range]);
        let error = f.fetch(&url).unwrap_err();
        let half = f.content.len() as u64 / 2;
        assert!(
            matches!(error, DownloadError::Broken { received, total: Some(total), .. }
                if received == half && total == 2 * half),
            "{error}"
        );
        assert!(error.to_string().contains("the same command goes on"), "{error}");
        assert!(!f.destination().exists());
        assert_eq!(f.fetch(&url).unwrap(), half);
        assert_eq!(server.join().unwrap(), [String::new(), format!("bytes={half}-")]);
    }

    #[test]
    fn a_wrong_checksum_leaves_nothing() {
        let f = Fixture::new();
        let (url, server) = serve(b"another file".to_vec(), vec![Answer::Whole]);
        let error = f.fetch(&url).unwrap_err();
        assert!(
            matches!(&error, DownloadError::Checksum { checksum, .. } if checksum.ends_with(&f.md5)),
            "{error}"
        );
        assert_eq!(fs::read_dir(f.folder.path().join("new")).unwrap().count(), 0);
        server.join().unwrap();
    }

    #[test]
    fn the_first_digits_of_a_sha256_are_enough_and_must_be_right() {
        let f = Fixture::new();
        let sha256 = crate::data::sha256(&f.content);
        let downloader = Downloader { web: direct() };
        let fetch = |digits: &str| {
            let (url, server) = serve(f.content.clone(), vec![Answer::Whole]);
            let checksum = Checksum::Sha256Start(digits);
            let go_on = &mut |_: Event<'_>| ControlFlow::Continue(());
            let outcome = downloader.fetch(&url, checksum, &f.destination(), go_on);
            server.join().unwrap();
            outcome
        };
        let error = fetch("00000000").unwrap_err().to_string();
        assert!(error.contains(&format!("has sha256 {sha256}, published is sha256 00000000...")));
        assert!(!f.destination().exists());
        fetch(&sha256[..8]).unwrap();
        assert_eq!(fs::read(f.destination()).unwrap(), f.content);
    }

    #[test]
    fn a_part_of_another_file_is_thrown_away() {
        let f = Fixture::new();
        f.leave_part(b"another file");
        let (url, server) = serve(f.content.clone(), vec![Answer::Range, Answer::Range]);
        f.fetch(&url).unwrap();
        assert_eq!(server.join().unwrap(), ["bytes=12-", ""]);
    }

    #[test]
    fn without_a_server_or_the_file_on_it_the_message_says_what_belongs_where() {
        let f = Fixture::new();
        let (url, server) = serve(vec![], vec![Answer::NotFound]);
        let error = f.fetch(&url).unwrap_err();
        assert!(matches!(error, DownloadError::Status { status: 404, .. }), "{error}");
        server.join().unwrap();
        // The listener is gone: nothing answers at its port.
        let error = f.fetch(&url).unwrap_err();
        assert!(matches!(error, DownloadError::Unreachable { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&f.md5) && text.contains("new/file"), "{text}");
        assert!(!f.part().exists());
    }

    #[test]
    fn a_stopped_download_keeps_its_part_and_two_at_once_are_refused() {
        let f = Fixture::new();
        let (url, server) = serve(f.content.clone(), vec![Answer::Whole]);
        let downloader = Downloader { web: direct() };
        let outcome = downloader.fetch(
            &url,
            Checksum::Md5(&f.md5),
            &f.destination(),
            &mut |event| match event {
                Event::Begin { .. } => {
                    let second = f.fetch("http://127.0.0.1:1/").unwrap_err();
                    assert!(matches!(second, DownloadError::Busy { .. }), "{second}");
                    ControlFlow::Continue(())
                }
                Event::Advance(_) => ControlFlow::Break(()),
            },
        );
        assert!(matches!(outcome, Err(DownloadError::Interrupted)));
        assert!(fs::metadata(f.part()).unwrap().len() > 0);
        // The server may be cut off while it writes.
        let _ = server.join();
    }
}
