//! Questions to the hub, and downloads that go on where they were cut off.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use serde::Deserialize;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::{Agent, Body};

use super::cache::{self, Repo, is_plain};
use super::{Hub, Id, Kind};
use crate::models::progress;

/// The longest a file may take, however steadily it comes.
const LIMIT: Duration = Duration::from_secs(24 * 3600);
/// How often a request is made that brings nothing.
const ATTEMPTS: u32 = 5;
/// The longest list of files that is read.
const MOST_LISTED: u64 = 64 << 20;

/// Why the hub gave nothing.
pub(super) enum Refused {
    /// It answered, and the answer was no.
    Answer(anyhow::Error),
    /// It did not answer.
    Unreachable(anyhow::Error),
}

/// The files of a revision.
#[derive(Deserialize)]
pub(super) struct Listing {
    /// The revision's commit.
    #[serde(rename = "sha")]
    pub(super) commit: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Listing {
    pub(super) fn names(&self) -> Vec<&str> {
        self.siblings.iter().map(|sibling| sibling.rfilename.as_str()).collect()
    }
}

/// A file's hash and size.
struct Facts {
    etag: String,
    size: Option<u64>,
}

/// The hub's HTTP interface.
pub(super) struct Client<'a> {
    hub: &'a Hub,
    /// For questions: short, and redirects are read rather than followed.
    ask: Agent,
    /// For files.
    load: Agent,
}

impl<'a> Client<'a> {
    pub(super) fn new(hub: &'a Hub) -> Self {
        let config = || {
            Agent::config_builder()
                .timeout_connect(Some(hub.answer))
                .timeout_recv_response(Some(hub.answer.max(hub.idle)))
                .http_status_as_error(false)
                // The token is the hub's alone: never for the servers that it sends us to.
                .redirect_auth_headers(RedirectAuthHeaders::SameHost)
                .user_agent(concat!("relign/", env!("CARGO_PKG_VERSION")))
        };
        let ask = config().timeout_global(Some(hub.answer)).max_redirects(0).max_redirects_will_error(false).build();
        let load = config().timeout_per_read(Some(hub.idle)).timeout_global(Some(LIMIT)).build();
        Self { hub, ask: Agent::new_with_config(ask), load: Agent::new_with_config(load) }
    }

    /// The files of a repository at a revision.
    pub(super) fn listing(&self, id: &Id) -> Result<Listing, Refused> {
        let (endpoint, revision) = (&self.hub.endpoint, id.revision.replace('/', "%2F"));
        let url = format!("{endpoint}/api/{}/{}/revision/{revision}", id.kind.plural(), id.name);
        let mut response = self.persist(|| self.follow(&url, false)).map_err(|error| {
            Refused::Unreachable(anyhow!(
                "{endpoint} cannot be reached: {error:#}. Check the network, or give {}",
                match id.kind {
                    Kind::Model => "a local folder, a GGUF file or a built-in name (`relign list`)",
                    Kind::Dataset => "a local file or folder",
                }
            ))
        })?;
        let status = response.status();
        if is_busy(status) {
            return Err(Refused::Unreachable(self.no(id, status, response.headers())));
        }
        if !status.is_success() {
            return Err(Refused::Answer(self.no(id, status, response.headers())));
        }
        let listing = response.body_mut().with_config().limit(MOST_LISTED).read_json::<Listing>();
        let listing = listing.with_context(|| format!("what {url} answered")).map_err(Refused::Unreachable)?;
        // The commit and the names become paths.
        let sound = cache::is_commit(&listing.commit) && listing.siblings.iter().all(|file| is_plain(&file.rfilename));
        if !sound {
            return Err(Refused::Answer(anyhow!("{url}: expected a commit and plain file names, got others")));
        }
        Ok(listing)
    }

    /// A repository's address.
    fn page(&self, id: &Id) -> String {
        match id.kind {
            Kind::Model => format!("{}/{}", self.hub.endpoint, id.name),
            Kind::Dataset => format!("{}/datasets/{}", self.hub.endpoint, id.name),
        }
    }

    /// What the hub means by a status.
    fn no(&self, id: &Id, status: StatusCode, headers: &HeaderMap) -> anyhow::Error {
        let (endpoint, name, kind) = (&self.hub.endpoint, &id.name, id.kind.name());
        let code = header(headers, "x-error-code").unwrap_or_default();
        let token = if self.hub.token.is_some() {
            "the token in HF_TOKEN or the token file may not read it"
        } else {
            "set HF_TOKEN if it is private or gated"
        };
        match status.as_u16() {
            404 if code == "RevisionNotFound" => anyhow!("{kind} {name} has no revision {} at {endpoint}", id.revision),
            401 | 403 if code == "GatedRepo" => {
                anyhow!("{kind} {name} is gated: accept its terms at {}; then, {token}", self.page(id))
            }
            401 | 403 | 404 => anyhow!(
                "{endpoint} has no {kind} {name} with a revision {} that may be read; check the name, and {token}",
                id.revision
            ),
            _ => anyhow!("{endpoint} answered {status} for {kind} {name}; try again later"),
        }
    }

    /// Fetches one file of a commit, unless it is there, and returns its path.
    pub(super) fn fetch(&self, repo: &Repo, id: &Id, commit: &str, name: &str) -> anyhow::Result<PathBuf> {
        let path = repo.snapshot(commit).join(name);
        if path.is_file() {
            return Ok(path);
        }
        let url = format!("{}/resolve/{commit}/{name}", self.page(id));
        self.fetch_from(&url, repo, id, commit, name).with_context(|| format!("fetching {url}"))
    }

    fn fetch_from(&self, url: &str, repo: &Repo, id: &Id, commit: &str, name: &str) -> anyhow::Result<PathBuf> {
        let facts = self.facts(url, id)?;
        let _lock = repo.lock(&facts.etag)?;
        let blob = repo.blob(&facts.etag);
        if !blob.is_file() {
            let part = repo.incomplete(&facts.etag);
            cache::make_parent(&part)?;
            self.download(url, id, &part, &facts, name)?;
            if let Err(error) = cache::check(&part, &facts.etag) {
                let _ = std::fs::remove_file(&part);
                return Err(error);
            }
            std::fs::rename(&part, &blob).with_context(|| blob.display().to_string())?;
        }
        repo.link(commit, name, &facts.etag)
    }

    /// A file's hash and size. The hub says them itself, before it sends a large file's reader elsewhere.
    fn facts(&self, url: &str, id: &Id) -> anyhow::Result<Facts> {
        let response = self.persist(|| self.follow(url, true))?;
        let (status, headers) = (response.status(), response.headers());
        if !status.is_success() && !status.is_redirection() {
            return Err(self.no(id, status, headers));
        }
        let etag =
            header(headers, "x-linked-etag").or_else(|| header(headers, "etag")).context("the hub gave no ETag")?;
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        ensure!(is_plain(&etag) && !etag.contains('/'), "expected an ETag that can name a file, got {etag:?}");
        let own = if status.is_redirection() { None } else { header(headers, "content-length") };
        let size = header(headers, "x-linked-size").or(own).and_then(|size| size.parse().ok());
        Ok(Facts { etag, size })
    }

    /// A request that follows redirects within the hub (renamed models) and no others.
    fn follow(&self, url: &str, head: bool) -> Result<Response<Body>, ureq::Error> {
        let mut url = url.to_owned();
        for _ in 0..5 {
            let request = if head { self.ask.head(&url) } else { self.ask.get(&url) };
            // Compressed answers have another length than the file.
            let request = self.signed(request.header("Accept-Encoding", "identity"));
            let response = request.call()?;
            match header(response.headers(), "location") {
                Some(place)
                    if response.status().is_redirection() && place.starts_with('/') && !place.starts_with("//") =>
                {
                    url = format!("{}{place}", origin(&self.hub.endpoint));
                }
                _ => return Ok(response),
            }
        }
        Err(ureq::Error::TooManyRedirects)
    }

    fn signed<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.hub.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// Asks again, after a pause, where the hub is overburdened or the line broken.
    fn persist(&self, ask: impl Fn() -> Result<Response<Body>, ureq::Error>) -> anyhow::Result<Response<Body>> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match ask() {
                Ok(response) if !is_busy(response.status()) || attempt == ATTEMPTS => return Ok(response),
                Ok(response) => anyhow!("{}", response.status()),
                // Nobody listens there: asking again at once does not help.
                Err(error @ (ureq::Error::ConnectionFailed | ureq::Error::HostNotFound | ureq::Error::BadUri(_))) => {
                    return Err(error.into());
                }
                Err(ureq::Error::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    return Err(error.into());
                }
                Err(error @ ureq::Error::Timeout(_)) if attempt > 1 => return Err(error.into()),
                Err(error) => error.into(),
            };
            if attempt == ATTEMPTS {
                return Err(error);
            }
            std::thread::sleep(self.hub.pause * (1 << (attempt - 1)));
        }
    }

    /// Brings `part` to its full size, from where it stands. An attempt that brings bytes is no failure.
    fn download(&self, url: &str, id: &Id, part: &Path, facts: &Facts, name: &str) -> anyhow::Result<()> {
        let mut file = File::options()
            .create(true)
            .append(true)
            .read(true)
            .open(part)
            .with_context(|| part.display().to_string())?;
        let mut have = file.seek(SeekFrom::End(0))?;
        if facts.size.is_some_and(|size| have > size) {
            file.set_len(0)?;
            have = 0;
        }
        let bar = progress::bytes(&format!("{}: {name}", id.name), facts.size, have);
        let (mut most, mut attempt) = (have, 0);
        while facts.size != Some(have) || facts.size.is_none() {
            let outcome = self.more(url, &mut file, &mut have, &bar);
            match outcome {
                Ok(()) if facts.size.is_none_or(|size| size == have) => break,
                Err(Stop::For(error)) => return Err(error),
                other => {
                    attempt = if have > most { 1 } else { attempt + 1 };
                    most = most.max(have);
                    if attempt == ATTEMPTS {
                        let said =
                            other.err().map(|(Stop::For(e) | Stop::Once(e))| format!("{e:#}")).unwrap_or_default();
                        let size = facts.size.map_or_else(|| "all".to_owned(), |size| size.to_string());
                        bail!(
                            "expected {size} bytes, got {have} in {ATTEMPTS} attempts: {said}; run the command again to go on from there"
                        );
                    }
                    std::thread::sleep(self.hub.pause * (1 << (attempt - 1)));
                }
            }
        }
        bar.finish_and_clear();
        Ok(file.sync_all()?)
    }

    /// One request for the bytes from `have` on.
    fn more(&self, url: &str, file: &mut File, have: &mut u64, bar: &indicatif::ProgressBar) -> Result<(), Stop> {
        let request = self.signed(self.load.get(url).header("Accept-Encoding", "identity"));
        let request = if *have > 0 { request.header("Range", format!("bytes={have}-")) } else { request };
        let mut response = request.call().map_err(|e| Stop::Once(e.into()))?;
        let status = response.status();
        let from = header(response.headers(), "content-range")
            .and_then(|r| r.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok());
        match status.as_u16() {
            206 if from == Some(*have) => {}
            // From the beginning after all.
            200..=299 | 416 => {
                file.set_len(0).map_err(|e| Stop::For(e.into()))?;
                *have = 0;
                bar.set_position(0);
                if !(200..=200).contains(&status.as_u16()) {
                    return Err(Stop::Once(anyhow!("the hub answered {status} to a request for the rest")));
                }
            }
            _ if is_busy(status) => return Err(Stop::Once(anyhow!("the hub answered {status}"))),
            _ => return Err(Stop::For(anyhow!("the hub answered {status}"))),
        }
        let mut body = response.body_mut().with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 1 << 17];
        loop {
            let count = body.read(&mut buffer).map_err(|e| Stop::Once(e.into()))?;
            if count == 0 {
                return Ok(());
            }
            file.write_all(&buffer[..count]).map_err(|e| Stop::For(e.into()))?;
            *have += count as u64;
            bar.inc(count as u64);
        }
    }
}

/// Why a request for bytes ended early.
enum Stop {
    /// Another attempt may do better.
    Once(anyhow::Error),
    /// None will.
    For(anyhow::Error),
}

fn is_busy(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 429)
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// `https://host` of an address with a path.
fn origin(endpoint: &str) -> &str {
    let start = endpoint.find("://").map_or(0, |at| at + 3);
    endpoint[start..].find('/').map_or(endpoint, |at| &endpoint[..start + at])
}
