//! Against a hub on this machine that can also misbehave.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the hub does wrong, by the part of a path that it concerns.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    Status(&'static str, &'static str),
    /// 500 for so many requests.
    Busy(usize),
    /// So many bytes, then nothing more.
    Stall(usize),
    /// So many bytes of each answer, then the line breaks.
    Cut(usize),
    /// Ranges are ignored.
    Whole,
    /// Other bytes than those that were announced.
    Wrong,
}

struct StandIn {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
    cache: tempfile::TempDir,
}

impl StandIn {
    fn new(files: &[(&str, &str)], trouble: &[(&'static str, Trouble)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let files: HashMap<String, String> = files.iter().map(|(n, b)| ((*n).to_owned(), (*b).to_owned())).collect();
        let (log, mut trouble) = (Arc::clone(&asked), trouble.to_vec());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = answer(stream.unwrap(), &files, &mut trouble, &log);
            }
        });
        Self { address, asked, cache: tempfile::tempdir().unwrap() }
    }

    fn hub(&self) -> Hub {
        Hub {
            endpoint: self.address.clone(),
            token: None,
            cache: self.cache.path().to_owned(),
            offline: false,
            answer: Duration::from_millis(1500),
            idle: Duration::from_millis(400),
            pause: Duration::from_millis(5),
        }
    }

    fn fetch(&self, id: &str) -> Result<PathBuf, String> {
        self.hub().fetch(&Id::parse(id).unwrap()).map_err(|e| format!("{e:#}"))
    }

    /// The requests since the last call.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn answer(
    mut stream: TcpStream,
    files: &HashMap<String, String>,
    trouble: &mut [(&'static str, Trouble)],
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut range, mut token) = (String::new(), 0, String::new());
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        let lower = line.trim().to_ascii_lowercase();
        if let Some(from) = lower.strip_prefix("range: bytes=") {
            range = from.trim_end_matches('-').parse().unwrap();
        }
        if let Some(sent) = lower.strip_prefix("authorization: ") {
            token = sent.to_owned();
        }
    }
    log.lock().unwrap().push(format!("{method} {path} {range} {token}").trim_end().to_owned());
    let found = trouble.iter_mut().find(|(part, _)| path.contains(part));
    let mut now = found.as_ref().map(|(_, trouble)| *trouble);
    if let Some((_, Trouble::Busy(times))) = found {
        now = (*times > 0).then_some(Trouble::Status("500 Internal Server Error", ""));
        *times = times.saturating_sub(1);
    }
    if let Some(Trouble::Status(status, code)) = now {
        return write!(
            stream,
            "HTTP/1.1 {status}\r\nX-Error-Code: {code}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let names: Vec<_> = files.keys().map(|name| serde_json::json!({"rfilename": name})).collect();
    let listed = ["main", "refs%2Fpr%2F1", COMMIT].map(|revision| format!("/api/models/o/m/revision/{revision}"));
    let (repository, listed_data) = match path.starts_with("/datasets/") || path.starts_with("/api/datasets/") {
        true => ("/datasets/o/m", path == "/api/datasets/o/m/revision/main"),
        false => ("/o/m", false),
    };
    let mut body = if listed.contains(&path) || listed_data {
        Some(serde_json::json!({"sha": COMMIT, "siblings": names}).to_string())
    } else {
        path.strip_prefix(&format!("{repository}/resolve/{COMMIT}/")).and_then(|name| files.get(name)).cloned()
    };
    if now == Some(Trouble::Wrong) && method == "GET" {
        body = body.map(|body| "x".repeat(body.len()));
    }
    let Some(body) = body else {
        return write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nX-Error-Code: RevisionNotFound\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    };
    // Weights are large files: they go by their SHA-256.
    let sum = |text: &str| {
        use sha2::{Digest, Sha256};
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let path = path.strip_prefix(&format!("{repository}/resolve/{COMMIT}/")).unwrap_or_default();
    let etag = files.get(path).map(|text| sum(text)).unwrap_or_default();
    let linked = if path.ends_with(".safetensors") { format!("X-Linked-Etag: \"{etag}\"\r\n") } else { String::new() };
    let range = if now == Some(Trouble::Whole) { 0 } else { range };
    let (status, rest) = (if range > 0 { "206 Partial Content" } else { "200 OK" }, &body[range.min(body.len())..]);
    write!(
        stream,
        "HTTP/1.1 {status}\r\nETag: \"{}\"\r\n{linked}Content-Length: {}\r\nContent-Range: bytes {range}-{}/{}\r\nConnection: close\r\n\r\n",
        &etag.get(..40).unwrap_or("none"),
        rest.len(),
        body.len(),
        body.len()
    )?;
    if method == "HEAD" {
        return Ok(());
    }
    match now {
        Some(Trouble::Stall(bytes)) => {
            stream.write_all(&rest.as_bytes()[..bytes.min(rest.len())])?;
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(5));
                drop(stream);
            });
            Ok(())
        }
        Some(Trouble::Cut(bytes)) => stream.write_all(&rest.as_bytes()[..bytes.min(rest.len())]),
        _ => stream.write_all(rest.as_bytes()),
    }
}

const SHARDED: &[(&str, &str)] = &[
    ("README.md", "no"),
    ("config.json", "{}"),
    ("tokenizer.json", "{\"a\": 1}"),
    (
        "model.safetensors.index.json",
        "{\"weight_map\": {\"a\": \"model-1.safetensors\", \"b\": \"model-2.safetensors\"}}",
    ),
    ("model-1.safetensors", "one one one one"),
    ("model-2.safetensors", "two two two two"),
    ("consolidated.safetensors", "no"),
    ("onnx/model.safetensors", "no"),
    ("gguf/model.gguf", "GGUF"),
];

#[test]
fn a_model_lies_where_python_would_put_it_and_is_fetched_once() {
    let hub = StandIn::new(SHARDED, &[]);
    let folder = hub.fetch("o/m").unwrap();
    let root = hub.cache.path().join("models--o--m");
    assert_eq!(folder, root.join("snapshots").join(COMMIT));
    let mut names: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let expected =
        ["config.json", "model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json", "tokenizer.json"];
    assert_eq!(names, expected);
    assert_eq!(std::fs::read_to_string(folder.join("model-2.safetensors")).unwrap(), "two two two two");
    assert_eq!(std::fs::read_to_string(root.join("refs/main")).unwrap(), COMMIT);
    // printf 'two two two two' | sha256sum
    let blob = std::fs::read_link(folder.join("model-2.safetensors")).unwrap();
    assert_eq!(blob.to_str().unwrap(), "../../blobs/dc9a50f70185a877465b6e32499f168d57354e5564e86686446158f4d9edb974");
    assert_eq!(hub.asked().len(), 1 + 2 * 5);

    // The second time only the revision's commit is asked for; a commit and a GGUF file have their own ways.
    assert_eq!(hub.fetch("o/m").unwrap(), folder);
    assert_eq!(hub.asked(), ["GET /api/models/o/m/revision/main 0"]);
    assert_eq!(hub.fetch(&format!("o/m@{COMMIT}")).unwrap(), folder);
    assert_eq!(hub.fetch("o/m@refs/pr/1").unwrap(), folder);
    assert_eq!(std::fs::read_to_string(root.join("refs/refs/pr/1")).unwrap(), COMMIT);
    let file = hub.fetch("o/m:gguf/model.gguf").unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "GGUF");
    assert!(std::fs::read_link(&file).unwrap().starts_with("../../../blobs"));
}

fn sha(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn without_a_network_the_cache_serves_or_says_what_is_missing() {
    let stand_in = StandIn::new(SHARDED, &[]);
    let id = Id::parse("o/m").unwrap();
    let offline = Hub { offline: true, ..stand_in.hub() };
    let error = format!("{:#}", offline.fetch(&id).unwrap_err());
    assert!(error.contains("HF_HUB_OFFLINE") && error.contains("no revision main of o/m"), "{error}");
    let folder = stand_in.fetch("o/m").unwrap();
    stand_in.asked();
    assert_eq!(offline.fetch(&id).unwrap(), folder);
    assert!(stand_in.asked().is_empty());
    // Nobody listens there: what is whole is used.
    let gone = Hub { endpoint: "http://127.0.0.1:9".to_owned(), ..stand_in.hub() };
    assert_eq!(gone.fetch(&id).unwrap(), folder);
    std::fs::remove_file(folder.join("model-1.safetensors")).unwrap();
    let error = format!("{:#}", offline.fetch(&id).unwrap_err());
    assert!(error.contains("model-1.safetensors is not in the cache"), "{error}");
    let error = format!("{:#}", gone.fetch(&id).unwrap_err());
    assert!(error.contains("http://127.0.0.1:9 cannot be reached"), "{error}");
    let error = format!("{:#}", offline.fetch(&Id::parse("o/m:x.gguf").unwrap()).unwrap_err());
    assert!(error.contains("x.gguf is not in the cache"), "{error}");
}

#[test]
fn refusals_are_told_apart() {
    for (trouble, said) in [
        (Trouble::Status("404 Not Found", "RepoNotFound"), "has no model o/m"),
        (Trouble::Status("401 Unauthorized", "RepoNotFound"), "set HF_TOKEN if it is private"),
        (Trouble::Status("403 Forbidden", "GatedRepo"), "is gated: accept its terms at"),
        (Trouble::Status("503 Service Unavailable", ""), "answered 503"),
    ] {
        let error = StandIn::new(SHARDED, &[("/api/", trouble)]).fetch("o/m").unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    let hub = StandIn::new(SHARDED, &[]);
    let error = hub.fetch("o/m@v9").unwrap_err();
    assert!(error.contains("has no revision v9"), "{error}");
    let error = hub.fetch("o/m:other.gguf").unwrap_err();
    assert!(error.contains("expected the file other.gguf, the hub has gguf/model.gguf"), "{error}");
    for (files, said) in [
        (&[("config.json", "{}"), ("pytorch_model.bin", "x")][..], "runs code from the file"),
        (&[("a.Q8_0.gguf", "x"), ("README.md", "x")], "name one, for example o/m:a.Q8_0.gguf"),
        (&[("config.json", "{}")], "expected config.json and .safetensors"),
        (&[("../evil.safetensors", "x")], "plain file names"),
    ] {
        let error = StandIn::new(files, &[]).fetch("o/m").unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_hub_that_falters_is_asked_again_and_goes_on_where_it_stopped() {
    // 500 twice, then a success.
    let hub = StandIn::new(SHARDED, &[("/api/", Trouble::Busy(2)), ("model-1", Trouble::Busy(3))]);
    hub.fetch("o/m").unwrap();
    // Four bytes an answer: fifteen bytes in four requests, each from where the last ended.
    let hub = StandIn::new(SHARDED, &[("model-2", Trouble::Cut(4))]);
    let folder = hub.fetch("o/m").unwrap();
    assert_eq!(std::fs::read_to_string(folder.join("model-2.safetensors")).unwrap(), "two two two two");
    let asked = hub.asked();
    let ranges: Vec<_> = asked.iter().filter(|a| a.contains("model-2") && a.starts_with("GET")).collect();
    assert_eq!(ranges.iter().map(|a| a.rsplit(' ').next().unwrap()).collect::<Vec<_>>(), ["0", "4", "8", "12"]);
    // What an earlier, killed fetch has left is gone on with.
    let hub = StandIn::new(SHARDED, &[]);
    let blobs = hub.cache.path().join("models--o--m/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join(format!("{}.incomplete", sha("two two two two"))), "two two").unwrap();
    let folder = hub.fetch("o/m").unwrap();
    assert_eq!(std::fs::read_to_string(folder.join("model-2.safetensors")).unwrap(), "two two two two");
    assert!(hub.asked().iter().any(|a| a.ends_with("model-2.safetensors 7")));
    // A server without ranges sends all of it again.
    let hub = StandIn::new(SHARDED, &[("model-2", Trouble::Whole)]);
    std::fs::create_dir_all(hub.cache.path().join("models--o--m/blobs")).unwrap();
    let part = hub.cache.path().join(format!("models--o--m/blobs/{}.incomplete", sha("two two two two")));
    std::fs::write(part, "two two").unwrap();
    let folder = hub.fetch("o/m").unwrap();
    assert_eq!(std::fs::read_to_string(folder.join("model-2.safetensors")).unwrap(), "two two two two");
}

#[test]
fn a_hub_that_stalls_or_lies_ends_in_an_error_and_leaves_no_model() {
    for (place, trouble, said) in [
        ("/api/", Trouble::Stall(10), "what http"),
        ("model-1", Trouble::Stall(0), "got 0 in 5 attempts: timeout"),
        ("model-1", Trouble::Cut(0), "got 0 in 5 attempts"),
        ("model-1", Trouble::Wrong, "its SHA-256 is"),
        ("model-1", Trouble::Status("404 Not Found", ""), "fetching http"),
    ] {
        let hub = StandIn::new(SHARDED, &[(place, trouble)]);
        let error = hub.fetch("o/m").unwrap_err();
        assert!(error.contains(said), "{place}: {error}");
        let offline = Hub { offline: true, ..hub.hub() };
        assert!(offline.fetch(&Id::parse("o/m").unwrap()).is_err());
    }
}

#[test]
fn the_token_is_sent() {
    let hub = StandIn::new(SHARDED, &[]);
    let with = Hub { token: Some("hf_x".to_owned()), ..hub.hub() };
    with.fetch(&Id::parse("o/m").unwrap()).unwrap();
    assert!(hub.asked().iter().all(|asked| asked.ends_with("bearer hf_x")));
}

#[test]
fn ids_have_two_words() {
    let id = |name: &str, revision: &str, file: Option<&str>| {
        Some(Id { kind: super::Kind::Model, name: name.to_owned(), revision: revision.to_owned(), file: file.map(str::to_owned) })
    };
    assert_eq!(Id::parse("HuggingFaceTB/SmolLM2-135M"), id("HuggingFaceTB/SmolLM2-135M", "main", None));
    assert_eq!(Id::parse("o/m@refs/pr/1"), id("o/m", "refs/pr/1", None));
    assert_eq!(Id::parse("o/m@v1:q/m.gguf"), id("o/m", "v1", Some("q/m.gguf")));
    for text in [
        "smollm2",
        "a/b/c",
        "../x",
        "./x",
        "/x",
        "x/",
        "a/.b",
        "a b/c",
        "a/b@",
        "a/b@../x",
        "a/b:x.bin",
        "a/b:../x.gguf",
        "a/b:",
    ] {
        assert_eq!(Id::parse(text), None, "{text}");
    }
    assert_eq!(split("a-00001-of-00003.gguf").len(), 3);
    assert_eq!(split("a-00002-of-00003.gguf"), ["a-00002-of-00003.gguf"]);
}

#[test]
fn of_a_data_set_the_chosen_files_are_fetched_once_and_kept_for_later() {
    let files =
        &[("README.md", "no"), ("main/train.jsonl", "{}\n"), ("main/test.jsonl", "{}\n"), ("other/a.csv", "a\n")];
    let hub = StandIn::new(files, &[]);
    let id = relign_tasks::data::HubId::parse("hf:o/m:main").unwrap().unwrap();
    let main = |names: &[String]| -> Result<Vec<String>, String> {
        Ok(names.iter().filter(|name| name.starts_with("main/")).cloned().collect())
    };
    let fetched = hub.hub().fetch_data(&id, &main).unwrap();
    let snapshot = hub.cache.path().join("datasets--o--m/snapshots").join(COMMIT);
    let mut paths: Vec<_> = fetched.files.iter().map(|(_, path)| path.clone()).collect();
    paths.sort();
    assert_eq!(
        (fetched.commit.as_str(), paths),
        (COMMIT, vec![snapshot.join("main/test.jsonl"), snapshot.join("main/train.jsonl")])
    );
    assert_eq!(std::fs::read_to_string(snapshot.join("main/test.jsonl")).unwrap(), "{}\n");
    assert!(!hub.asked().iter().any(|asked| asked.contains("other")));
    // A second time only the list is asked for, and without a network nothing is.
    hub.hub().fetch_data(&id, &main).unwrap();
    assert_eq!(hub.asked(), ["GET /api/datasets/o/m/revision/main 0"]);
    let again = Hub { offline: true, ..hub.hub() }.fetch_data(&id, &main).unwrap();
    assert_eq!(again.files.len(), 2);
    assert!(hub.asked().is_empty());
    let none = |_: &[String]| Err("no such configuration".to_owned());
    let error = format!("{:#}", hub.hub().fetch_data(&id, &none).unwrap_err());
    assert!(error.contains("no such configuration"), "{error}");
    let other = relign_tasks::data::HubId::parse("hf:o/missing").unwrap().unwrap();
    let error = format!("{:#}", hub.hub().fetch_data(&other, &main).unwrap_err());
    assert!(error.contains("data set o/missing"), "{error}");
}
