//! What is to be continued or scored, and where it came from.

use std::path::Path;

use relign_core::Message;
use serde::Deserialize;
use serde_json::Value;

use crate::usage::Usage;

/// A prompt and where it came from.
#[derive(Debug, PartialEq)]
pub(super) struct Prompt {
    /// The place in errors.
    pub(super) place: String,
    /// The caller's name for it.
    pub(super) id: Option<Value>,
    /// Empty where text is scored from its beginning on.
    pub(super) messages: Vec<Message>,
    /// The answer that is scored, where none is sampled.
    pub(super) score: Option<String>,
}

/// The prompts in a file, one JSON object a line.
///
/// # Errors
/// [`Usage`] with the line that is none.
pub(super) fn read(file: &Path) -> anyhow::Result<Vec<Prompt>> {
    let text = std::fs::read_to_string(file).map_err(|error| Usage(format!("{}: {error}", file.display())))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let prompts: Vec<Prompt> =
        lines.map(|(at, line)| parse(format!("{}:{}", file.display(), at + 1), line)).collect::<anyhow::Result<_>>()?;
    if prompts.is_empty() {
        return Err(Usage::error(format!("{}: expected a JSON object a line, the file is empty", file.display())));
    }
    Ok(prompts)
}

fn parse(place: String, line: &str) -> anyhow::Result<Prompt> {
    #[derive(Deserialize)]
    struct Line {
        id: Option<Value>,
        prompt: Option<String>,
        messages: Option<Vec<Message>>,
        score: Option<String>,
    }
    let wrong = |what: String| Usage::error(format!("{place}: {what}"));
    let line: Line =
        serde_json::from_str(line.trim_start_matches('\u{feff}')).map_err(|error| wrong(error.to_string()))?;
    let messages = match (line.prompt, line.messages) {
        (Some(prompt), None) => vec![Message::user(prompt)],
        (None, Some(messages)) if !messages.is_empty() => messages,
        (None, None) if line.score.is_some() => Vec::new(),
        _ => {
            return Err(wrong(
                "expected either `prompt` (text) or `messages` (a list of role and content), or `score` (text) alone"
                    .to_owned(),
            ));
        }
    };
    Ok(Prompt { place, id: line.id, messages, score: line.score })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_read_and_blamed_by_number() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.jsonl");
        let text = "\u{feff}{\"prompt\": \"hi\", \"id\": 7, \"source\": \"x\"}\n\n\
                    {\"messages\": [{\"role\": \"user\", \"content\": \"ho\"}]}\n{\"score\": \"text\"}\n";
        std::fs::write(&file, text).unwrap();
        let prompts = read(&file).unwrap();
        assert_eq!((&prompts[0].id, &prompts[0].score), (&Some(json!(7)), &None));
        assert_eq!(prompts[1].messages, [Message::user("ho")]);
        assert!(prompts[1].place.ends_with("p.jsonl:3"));
        assert_eq!((prompts[2].messages.len(), prompts[2].score.as_deref()), (0, Some("text")));
        for (text, said) in
            [("{\"prompt\": 3}", "p.jsonl:1: invalid type"), ("{}", "p.jsonl:1: expected either"), ("", "is empty")]
        {
            std::fs::write(&file, text).unwrap();
            let error = read(&file).unwrap_err();
            assert!(error.is::<Usage>() && error.to_string().contains(said), "{error}");
        }
    }
}
