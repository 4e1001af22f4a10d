//! Server-sent events, as OpenAI-compatible servers stream them: lines of `data: JSON`, the last being `data: [DONE]`.
//! (WHATWG HTML, "Server-sent events"; an event of several lines is not among what they send.)

use std::io::{self, BufRead, BufReader, Read};

use serde_json::Value;

use crate::short;

/// Why a stream cannot be read on.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection broke, or took too long.
    Read(io::Error),
    /// What came is no event: thing, expected, got.
    Event(String),
}

/// The events of a stream, up to its end.
pub(crate) fn events(reader: impl Read) -> impl Iterator<Item = Result<Value, Broken>> {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    std::iter::from_fn(move || {
        loop {
            line.clear();
            match reader.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(Broken::Read(error))),
            }
            // Comments, names of events and the lines between them say nothing.
            let Some(data) = line.strip_prefix(b"data:") else { continue };
            let data = data.trim_ascii();
            if data == b"[DONE]" {
                return None;
            }
            return Some(serde_json::from_slice(data).map_err(|error| {
                let got = Value::String(String::from_utf8_lossy(data).into_owned());
                Broken::Event(format!("expected an event in JSON, got {} ({error})", short(&got)))
            }));
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Vec<Result<Value, String>> {
        let said = |broken| match broken {
            Broken::Read(error) => error.to_string(),
            Broken::Event(what) => what,
        };
        events(text.as_bytes()).map(|event| event.map_err(said)).collect()
    }

    #[test]
    fn events_are_read_up_to_the_end() {
        let text =
            ": ping\r\n\r\nevent: x\r\ndata: {\"a\": 1}\r\n\r\ndata:[2]\n\ndata: [DONE]\n\ndata: {\"late\": 1}\n";
        assert_eq!(read(text), [Ok(json!({"a": 1})), Ok(json!([2]))]);
        assert_eq!(read("data: 1"), [Ok(json!(1))], "a last line without an end");
        assert!(read("").is_empty());
        let broken = read("data: {\n\n");
        assert!(broken[0].as_ref().unwrap_err().starts_with("expected an event in JSON, got \"{\""), "{broken:?}");
    }
}
