//! Server-sent events, as OpenAI-compatible servers stream them: lines of `data: JSON`, the last being `data: [DONE]`.
//! (WHATWG HTML, "Server-sent events"; an event of several lines is not among what they send.)

use std::io::{self, BufRead, BufReader, Read};

use serde_json::Value;

use crate::{chat, short};

/// What some servers begin a text with.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why a stream cannot be read on.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection broke, or took too long.
    Read(io::Error),
    /// What came is no event: thing, expected, got.
    Event(String),
}

/// A stream whose lines end in LF alone: they may end in CR, which no JSON holds.
struct Lines<R>(R);

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        for byte in buffer[..count].iter_mut().filter(|byte| **byte == b'\r') {
            *byte = b'\n';
        }
        Ok(count)
    }
}

/// The events of a stream; nothing for the `[DONE]` that a whole one ends with.
pub(crate) fn events(reader: impl Read) -> impl Iterator<Item = Result<Option<Value>, Broken>> {
    let mut reader = BufReader::new(Lines(reader));
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
            let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line);
            let Some(data) = line.strip_prefix(b"data:") else { continue };
            let data = data.trim_ascii();
            // Some servers keep a connection open with events of nothing.
            if data.is_empty() {
                continue;
            }
            if data == b"[DONE]" {
                return Some(Ok(None));
            }
            return Some(serde_json::from_slice(data).map(Some).map_err(|error| {
                let got = Value::String(String::from_utf8_lossy(data).into_owned());
                Broken::Event(format!("expected an event in JSON, got {} ({error})", short(&got)))
            }));
        }
    })
}

/// The events of a body that is a stream; nothing where it is none, and none of them where the stream breaks off before its end.
#[allow(clippy::type_complexity, reason = "a stream or none, readable or not, whole or not")]
pub(crate) fn whole(body: &[u8]) -> Option<Result<Option<Vec<Value>>, String>> {
    let fields = [&b"data:"[..], b"event:", b"id:", b"retry:", b":"];
    if !fields.iter().any(|field| body.starts_with(field)) {
        return None;
    }
    let (mut all, mut ended) = (Vec::new(), false);
    for event in events(body) {
        match event {
            Ok(Some(event)) => {
                let reason = chat::piece(&event).and_then(|piece| piece.get("finish_reason")?.as_str());
                ended |= reason.is_some_and(|reason| !reason.is_empty()) || chat::is_error(&event);
                all.push(event);
            }
            Ok(None) => {
                ended = true;
                break;
            }
            Err(Broken::Read(error)) => return Some(Err(error.to_string())),
            Err(Broken::Event(what)) => return Some(Err(what)),
        }
    }
    Some(Ok(ended.then_some(all)))
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
        let events = events(text.as_bytes()).map(|event| event.map_err(said));
        events.map_while(Result::transpose).collect()
    }

    #[test]
    fn events_are_read_up_to_the_end() {
        let text =
            ": ping\r\n\r\nevent: x\r\ndata: {\"a\": 1}\r\n\r\ndata:[2]\n\ndata: [DONE]\n\ndata: {\"late\": 1}\n";
        assert_eq!(read(text), [Ok(json!({"a": 1})), Ok(json!([2]))]);
        assert_eq!(read("data: 1\r\rdata: 2\r\n\r\n"), [Ok(json!(1)), Ok(json!(2))], "lines that end in CR");
        assert_eq!(read("data: 1"), [Ok(json!(1))], "a last line without an end");
        assert_eq!(read("\u{feff}data: 1\n"), [Ok(json!(1))]);
        assert_eq!(read("data:\n\nid: 1\n\ndata: \n\ndata: 1\n"), [Ok(json!(1))], "events of nothing");
        assert!(read("").is_empty());
        let broken = read("data: {\n\n");
        assert!(broken[0].as_ref().unwrap_err().starts_with("expected an event in JSON, got \"{\""), "{broken:?}");
    }
}
