//! Models from the Hugging Face hub, or what HF_ENDPOINT names instead.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use ureq::Agent;

/// The longest a file may take.
const LIMIT: Duration = Duration::from_secs(4 * 3600);

/// The files of a model's folder that RELIGN reads, besides its weights.
const FILES: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
];

/// Whether `text` has the form of a hub id, `org/name`.
pub(super) fn is_id(text: &str) -> bool {
    let word = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    text.split_once('/').is_some_and(|(org, name)| word(org) && word(name))
}

#[derive(Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// Downloads the model `id` into a folder of `cache`, or finds it there. Files that are complete stay
/// when a fetch is cut short, and the next one goes on with the others.
pub(super) fn fetch(id: &str, cache: &Path) -> anyhow::Result<PathBuf> {
    let endpoint = std::env::var("HF_ENDPOINT").unwrap_or_else(|_| "https://huggingface.co".to_owned());
    fetch_from(endpoint.trim_end_matches('/'), id, cache)
}

fn fetch_from(endpoint: &str, id: &str, cache: &Path) -> anyhow::Result<PathBuf> {
    let folder = cache.join(id.replace('/', "--"));
    if folder.join("config.json").is_file() {
        return Ok(folder);
    }
    let agent = Agent::new_with_config(
        Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_global(Some(LIMIT))
            .build(),
    );
    let url = format!("{endpoint}/api/models/{id}/revision/main");
    let listing: Listing = match get(&agent, &url) {
        Ok(mut response) => response.body_mut().read_json().with_context(|| format!("what {url} answered"))?,
        Err(ureq::Error::StatusCode(401 | 403 | 404)) => {
            bail!("{endpoint} has no model {id} that may be read; check the name, or set HF_TOKEN for a gated one")
        }
        Err(error) => bail!(
            "{endpoint} cannot be reached: {error}. Check the network, or give a local folder, a GGUF file or a built-in name (`relign list`)"
        ),
    };
    let names: Vec<&str> = listing.siblings.iter().map(|sibling| sibling.rfilename.as_str()).collect();
    let wanted: Vec<&str> = names
        .iter()
        .copied()
        .filter(|n| FILES.contains(n) || (n.ends_with(".safetensors") && !n.contains('/')))
        .collect();
    ensure!(
        wanted.contains(&"config.json") && wanted.iter().any(|name| name.ends_with(".safetensors")),
        "model {id}: expected config.json and .safetensors files, the hub has: {}",
        names.join(", ")
    );
    // Named by the commit: parts of two versions never mix.
    let part = cache.join(format!(".{}-{}.part", id.replace('/', "--"), listing.sha));
    std::fs::create_dir_all(&part).with_context(|| part.display().to_string())?;
    for name in wanted {
        if !part.join(name).is_file() {
            eprintln!("fetching {id}: {name}");
            let url = format!("{endpoint}/{id}/resolve/{}/{name}", listing.sha);
            download(&agent, &url, &part, name).with_context(|| format!("fetching {url}"))?;
        }
    }
    std::fs::rename(&part, &folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

fn get(agent: &Agent, url: &str) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let request = agent.get(url);
    match std::env::var("HF_TOKEN") {
        Ok(token) if !token.is_empty() => request.header("Authorization", format!("Bearer {token}")).call(),
        _ => request.call(),
    }
}

fn download(agent: &Agent, url: &str, folder: &Path, name: &str) -> anyhow::Result<()> {
    let mut response = get(agent, url)?;
    let expected = response.body().content_length();
    let unfinished = folder.join(format!("{name}.unfinished"));
    let mut file = File::create(&unfinished)?;
    let got = io::copy(&mut response.body_mut().with_config().limit(u64::MAX).reader(), &mut file)?;
    ensure!(expected.is_none_or(|expected| expected == got), "expected {expected:?} bytes, got {got}");
    file.sync_all()?;
    Ok(std::fs::rename(unfinished, folder.join(name))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// A hub of one model, for as many requests as come.
    fn hub(files: &'static [(&'static str, &'static str)]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let path = line.split(' ').nth(1).unwrap().to_owned();
                while reader.read_line(&mut line).unwrap() > 2 {
                    line.clear();
                }
                let names: Vec<_> = files.iter().map(|(name, _)| serde_json::json!({"rfilename": name})).collect();
                let body = if path == "/api/models/o/m/revision/main" {
                    Some(serde_json::json!({"sha": "abc", "siblings": names}).to_string())
                } else {
                    files.iter().find(|(n, _)| path == format!("/o/m/resolve/abc/{n}")).map(|(_, b)| (*b).to_owned())
                };
                let (status, body) = body.map_or(("404 Not Found", String::new()), |body| ("200 OK", body));
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
            }
        });
        address
    }

    #[test]
    fn a_model_is_fetched_once_with_all_its_shards() {
        let address = hub(&[
            ("README.md", "no"),
            ("config.json", "{}"),
            ("model-1.safetensors", "one"),
            ("model-2.safetensors", "two"),
            ("onnx/model.safetensors", "no"),
        ]);
        let cache = tempfile::tempdir().unwrap();
        let folder = fetch_from(&address, "o/m", cache.path()).unwrap();
        let mut names: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["config.json", "model-1.safetensors", "model-2.safetensors"]);
        assert_eq!(std::fs::read_to_string(folder.join("model-2.safetensors")).unwrap(), "two");
        // The second time nothing is asked: this address answers nobody.
        assert_eq!(fetch_from("http://127.0.0.1:9", "o/m", cache.path()).unwrap(), folder);
    }

    #[test]
    fn what_is_missing_is_said() {
        let cache = tempfile::tempdir().unwrap();
        let say = |endpoint: &str, id: &str| fetch_from(endpoint, id, cache.path()).unwrap_err().to_string();
        let address = hub(&[("config.json", "{}"), ("m.gguf", "x")]);
        assert!(
            say(&address, "o/m")
                .contains("expected config.json and .safetensors files, the hub has: config.json, m.gguf")
        );
        assert!(say(&address, "o/other").contains("has no model o/other"));
        assert!(say("http://127.0.0.1:9", "o/m").contains("http://127.0.0.1:9 cannot be reached"));
    }

    #[test]
    fn ids_have_two_words() {
        assert!(is_id("HuggingFaceTB/SmolLM2-135M-Instruct"));
        for text in ["smollm2", "a/b/c", "../x", "./x", "/x", "x/", "a/.b", "a b/c"] {
            assert!(!is_id(text), "{text}");
        }
    }
}
