//! The one way to the network: HTTP and HTTPS, with an end to every wait.
//!
//! A server that is silent, or sends so little that the file would never come, ends in an error. A
//! redirection is followed only to HTTP or HTTPS, never from HTTPS to HTTP, and never from the
//! internet to this machine or its network: a server elsewhere has no business there. A token goes
//! to the host that it is for and to no other.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, ToSocketAddrs},
    ops::ControlFlow,
    time::{Duration, Instant},
};

use ureq::{
    Agent, Body,
    http::{HeaderMap, Response, Uri},
};

/// How long a server may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Without a sign of it.
    pub(crate) silence: Duration,
    /// For `least` bytes.
    pub(crate) while_for: Duration,
    /// The least that comes in that time.
    pub(crate) least: u64,
}

/// What the program waits for: half a minute, and 64 KiB a minute.
const PATIENCE: Patience = Patience {
    silence: Duration::from_secs(30),
    while_for: Duration::from_secs(60),
    least: 1 << 16,
};

/// More redirections than lead anywhere.
const MOST_REDIRECTIONS: usize = 10;

/// The header with a token.
const AUTHORIZATION: &str = "Authorization";

/// A client.
#[derive(Clone, Debug)]
pub(crate) struct Web {
    agent: Agent,
    patience: Patience,
}

/// The answer at the end of all redirections.
pub(crate) struct Answer {
    pub(crate) response: Response<Body>,
    /// The headers of the redirections that led to it.
    pub(crate) hops: Vec<HeaderMap>,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// A header of the first answer that has it.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.hops.iter().chain([self.response.headers()]);
        all.find_map(|headers| headers.get(name)?.to_str().ok())
    }
}

/// Why a body did not come to its end.
#[derive(Debug)]
pub(crate) enum Cut {
    /// The server, after so many bytes.
    Broken(u64, String),
    /// What is written to.
    Write(io::Error),
    /// The caller.
    Interrupted,
}

impl Web {
    /// With the proxy that the environment names, if it does.
    pub(crate) fn from_env() -> Self {
        Self::with(Agent::config_builder(), PATIENCE)
    }

    pub(crate) fn with(
        builder: ureq::config::ConfigBuilder<ureq::typestate::AgentScope>,
        patience: Patience,
    ) -> Self {
        let config = builder
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_resolve(Some(patience.silence))
            .timeout_connect(Some(patience.silence))
            .timeout_recv_response(Some(patience.silence))
            .timeout_per_read(Some(patience.silence))
            .user_agent(concat!("ddim/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.new_agent(), patience }
    }

    /// Asks for an address and follows where it leads.
    ///
    /// # Errors
    /// No answer, in words, or a redirection that is not followed.
    pub(crate) fn get(&self, url: &str, headers: &[(&str, String)]) -> Result<Answer, String> {
        let first: Uri = url.parse().map_err(|error| format!("{url} is no address: {error}"))?;
        let (mut at, mut hops) = (first.clone(), vec![]);
        for _ in 0..=MOST_REDIRECTIONS {
            let mut request = self.agent.get(at.clone());
            for (name, value) in headers {
                if *name != AUTHORIZATION || at.authority() == first.authority() {
                    request = request.header(*name, value);
                }
            }
            let response = request.call().map_err(|error| error.to_string())?;
            let target = response
                .headers()
                .get("Location")
                .filter(|_| matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308));
            let Some(target) = target else { return Ok(Answer { response, hops }) };
            let target = target.to_str().map_err(|_| "it redirects to no address".to_owned())?;
            at = redirected(&at, target)?;
            inwards(&first, &at)?;
            hops.push(response.headers().clone());
        }
        Err(format!("it redirects more than {MOST_REDIRECTIONS} times"))
    }

    /// Copies a body, of which `have` bytes are here already, and returns how many are now.
    ///
    /// # Errors
    /// A body that breaks off, is longer than `most` or than `total`, or comes too slowly; what is
    /// written to; a caller that stops it.
    pub(crate) fn receive(
        &self,
        body: Body,
        into: &mut impl Write,
        (have, total, most): (u64, Option<u64>, u64),
        advance: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<u64, Cut> {
        let most = total.unwrap_or(most).min(most);
        let mut body = body.into_reader();
        let mut buffer = vec![0; 1 << 16];
        let mut received = have;
        let (mut since, mut then) = (Instant::now(), have);
        loop {
            let n = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Cut::Broken(received, error.to_string())),
            };
            if received + n as u64 > most {
                let problem = format!("it sends more than the {most} bytes that it may");
                return Err(Cut::Broken(received, problem));
            }
            into.write_all(&buffer[..n]).map_err(Cut::Write)?;
            received += n as u64;
            if advance(n as u64).is_break() {
                return Err(Cut::Interrupted);
            }
            let Patience { while_for, least, .. } = self.patience;
            if since.elapsed() >= while_for {
                if received - then < least {
                    let (came, seconds) = (received - then, since.elapsed().as_secs());
                    let problem = format!("{came} bytes came in {seconds} s");
                    return Err(Cut::Broken(received, problem));
                }
                (since, then) = (Instant::now(), received);
            }
        }
        if total.is_some_and(|total| received < total) {
            return Err(Cut::Broken(received, "the connection was closed".to_owned()));
        }
        Ok(received)
    }

    /// A short text.
    ///
    /// # Errors
    /// As [`Web::receive`], and what is no text.
    pub(crate) fn text(&self, answer: Answer, most: u64) -> Result<String, String> {
        let total = answer.response.body().content_length();
        let mut bytes = vec![];
        let body = answer.response.into_body();
        let go_on = &mut |_| ControlFlow::Continue(());
        match self.receive(body, &mut bytes, (0, total, most), go_on) {
            Ok(_) => String::from_utf8(bytes).map_err(|_| "it answers with no text".to_owned()),
            Err(Cut::Broken(_, problem)) => Err(problem),
            Err(Cut::Write(error)) => Err(error.to_string()),
            Err(Cut::Interrupted) => unreachable!("invariant: nothing stops it"),
        }
    }
}

/// Where a redirection leads.
fn redirected(from: &Uri, target: &str) -> Result<Uri, String> {
    let (scheme, authority) = (from.scheme_str().unwrap_or("http"), from.authority());
    let authority = authority.map_or("", |authority| authority.as_str());
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let named = target.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    let named = named.filter(|scheme| !scheme.is_empty() && scheme.chars().all(is_scheme));
    let whole = match named.as_deref() {
        Some("http") if scheme == "https" => {
            return Err(format!("it redirects from https to {target}, which is not followed"));
        }
        Some("http" | "https") => target.to_owned(),
        Some(other) => {
            return Err(format!("it redirects to an address of {other}:, which is not followed"));
        }
        None if target.starts_with("//") => format!("{scheme}:{target}"),
        None if target.starts_with('/') => format!("{scheme}://{authority}{target}"),
        None => {
            let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{authority}{folder}/{target}")
        }
    };
    whole.parse().map_err(|error| format!("it redirects to {whole}, no address: {error}"))
}

/// Refuses what leads from the internet to this machine or its network.
fn inwards(first: &Uri, to: &Uri) -> Result<(), String> {
    if is_inside(to) && !is_inside(first) {
        let host = to.host().unwrap_or_default();
        return Err(format!(
            "it redirects to {host}, on this machine or its network, which is not followed"
        ));
    }
    Ok(())
}

/// Whether an address is on this machine or its network.
fn is_inside(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if host.is_empty() || host == "localhost" || host.ends_with(".localhost") {
        return true;
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return is_private(address);
    }
    // A name that cannot be looked up here is looked up by a proxy.
    let port = uri.port_u16().unwrap_or(443);
    let addresses = (host.as_str(), port).to_socket_addrs();
    addresses.is_ok_and(|mut all| all.any(|address| is_private(address.ip())))
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_loopback() || v4.is_unspecified() || v4.is_private() || v4.is_link_local()
        }
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(
            || {
                let local = v6.is_unique_local() || v6.is_unicast_link_local();
                v6.is_loopback() || v6.is_unspecified() || local
            },
            |v4| is_private(IpAddr::V4(v4)),
        ),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        io::{BufRead, BufReader},
        net::{TcpListener, TcpStream},
        thread,
    };

    use super::*;

    /// Longer than any of these servers takes, on a busy machine too.
    const LONG: Duration = Duration::from_secs(20);
    const MOMENT: Duration = Duration::from_millis(300);

    fn web(silence: Duration, while_for: Duration) -> Web {
        let patience = Patience { silence, while_for, least: 100 };
        Web::with(Agent::config_builder().proxy(None), patience)
    }

    /// A client that never uses a proxy: the server is on this machine.
    pub(crate) fn direct() -> Web {
        web(LONG, LONG)
    }

    /// A server on this machine that gives each request, by its path and headers, to a function.
    pub(crate) fn serve(answer: impl Fn(&[String], &mut TcpStream) + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = format!("http://{}", listener.local_addr().unwrap());
        // It ends with the tests.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let lines = lines.map(Result::unwrap).take_while(|line| !line.is_empty());
                answer(&lines.collect::<Vec<_>>(), &mut stream);
            }
        });
        at
    }

    fn redirecting(target: &'static str) -> String {
        serve(move |lines, stream| {
            let head = if lines[0].starts_with("GET /end ") {
                "HTTP/1.1 200 OK\r\nContent-Length: 3".to_owned()
            } else {
                format!("HTTP/1.1 302 Found\r\nX-Of: hop\r\nLocation: {target}")
            };
            write!(stream, "{head}\r\nConnection: close\r\n\r\nend").unwrap();
        })
    }

    #[test]
    fn redirections_are_followed_within_reason() {
        let web = direct();
        for target in ["/end", "end"] {
            let answer = web.get(&format!("{}/a", redirecting(target)), &[]).unwrap();
            assert_eq!((answer.status(), answer.header("x-of")), (200, Some("hop")));
            assert_eq!(web.text(answer, 3).unwrap(), "end");
        }
        let problem = |target| web.get(&format!("{}/a", redirecting(target)), &[]).err().unwrap();
        assert_eq!(
            problem("file:///etc/passwd"),
            "it redirects to an address of file:, which is not followed"
        );
        assert!(problem("/a").contains("more than 10 times"));
        assert!(problem("ftp://example.org/x").contains("of ftp:"));
    }

    #[test]
    fn nothing_leads_from_outside_to_this_machine_or_to_less_safety() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        let (outside, here) = (uri("https://192.0.2.1/x"), uri("http://127.0.0.1:8000/x"));
        for to in [
            "http://127.0.0.1/y",
            "https://127.8.9.1:9/",
            "http://localhost:1/",
            "http://a.LOCALHOST/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://10.0.0.8/",
            "http://169.254.169.254/latest",
            "http://0.0.0.0/",
            "http://[fe80::1]/",
        ] {
            let error = inwards(&outside, &uri(to)).unwrap_err();
            assert!(error.contains("on this machine or its network"), "{to}: {error}");
            assert!(inwards(&here, &uri(to)).is_ok(), "{to}");
        }
        assert!(inwards(&outside, &uri("https://192.0.2.7/")).is_ok());
        let error = redirected(&outside, "http://192.0.2.7/").unwrap_err();
        assert!(error.contains("from https to http://192.0.2.7/"), "{error}");
        assert_eq!(redirected(&outside, "//192.0.2.7/a").unwrap(), uri("https://192.0.2.7/a"));
    }

    #[test]
    fn a_token_stays_with_its_host() {
        let told = |header: &str| {
            let header = header.to_owned();
            serve(move |lines, stream| {
                let has = lines.iter().any(|line| line.to_lowercase().starts_with(&header));
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}", u8::from(has))
                    .unwrap();
            })
        };
        let web = direct();
        let token = [(AUTHORIZATION, "Bearer secret".to_owned())];
        let end = told("authorization: ");
        assert_eq!(web.text(web.get(&end, &token).unwrap(), 1).unwrap(), "1");
        // Another port is another host.
        let start = serve(move |_, stream| {
            let head = "HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\nLocation: ";
            write!(stream, "{head}{end}\r\n\r\n").unwrap();
        });
        assert_eq!(web.text(web.get(&start, &token).unwrap(), 1).unwrap(), "0");
    }

    #[test]
    fn what_is_too_long_or_too_slow_ends() {
        let slow = web(LONG, MOMENT);
        let quiet = web(MOMENT, LONG);
        let web = direct();
        let chunked = serve(|_, stream| {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
            while write!(stream, "400\r\n{}\r\n", "x".repeat(0x400)).is_ok() {}
        });
        let error = web.text(web.get(&chunked, &[]).unwrap(), 5000).unwrap_err();
        assert_eq!(error, "it sends more than the 5000 bytes that it may");
        let trickling = serve(|_, stream| {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").unwrap();
            while stream.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let error = slow.text(slow.get(&trickling, &[]).unwrap(), 5000).unwrap_err();
        assert!(error.contains("bytes came in"), "{error}");
        let silent = serve(|_, stream| {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx").unwrap();
            thread::sleep(Duration::from_secs(3));
        });
        let error = quiet.text(quiet.get(&silent, &[]).unwrap(), 5000).unwrap_err();
        assert!(error.contains("timeout"), "{error}");
        let mute = serve(|_, _| thread::sleep(Duration::from_secs(3)));
        let error = quiet.get(&mute, &[]).err().unwrap();
        assert!(error.contains("timeout"), "{error}");
        let short = serve(|_, stream| {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx").unwrap();
        });
        assert!(web.text(web.get(&short, &[]).unwrap(), 5000).is_err());
    }
}
