//! `relign generate`: prompts in, completions out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use relign_core::{Completion, Generate, GenerateError, Message, Request, Seed};
use serde::Deserialize;
use serde_json::{Value, json};

use super::sampling::{SamplingArgs, at_least_one, bar, peak_gb};
use super::{say, say_json};
use crate::cli::Usage;
use crate::generator::{Generator, ServerArgs};

/// What `generate` was told.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("input").required(true).args(["prompt", "file"])))]
pub(crate) struct Asked {
    /// A built-in name, a Hugging Face folder, a GGUF file, a hub id, a run's folder, or an
    /// OpenAI-compatible server: http://HOST:PORT/v1#MODEL
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// What the user says
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Prompts, one JSON object a line
    #[arg(long, value_name = "F.jsonl")]
    file: Option<PathBuf>,
    /// What comes before the user's words
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Completions of each prompt
    #[arg(short, value_name = "K", default_value_t = 1, value_parser = at_least_one)]
    n: usize,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// A prompt and where it came from.
#[derive(Debug, PartialEq)]
struct Prompt {
    /// The place in errors.
    place: String,
    /// The caller's name for it.
    id: Option<Value>,
    messages: Vec<Message>,
}

pub(crate) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    let prompts = prompts(asked)?; // before the model is loaded: a typo is answered at once
    let sequences = (prompts.len() * asked.n).min(128);
    let mut generator = Generator::open(&asked.model, &asked.sampling, sequences, &asked.server)?;
    let started = Instant::now();
    let sampling = asked.sampling.sampling(256);
    let seed = Seed(asked.sampling.seed).child("generate");
    for (index, prompt) in prompts.iter().enumerate() {
        let tokens =
            generator.tokenizer.render(&prompt.messages).map_err(|what| Usage(format!("{}: {what}", prompt.place)))?;
        for sample in 0..asked.n {
            let id = (index * asked.n + sample) as u64;
            let seed = seed.index(index as u64).index(sample as u64);
            let request = Request { id, prompt: tokens.clone(), sampling: sampling.clone(), seed };
            generator.source.submit_conversation(request, &prompt.messages).with_context(|| prompt.place.clone())?;
        }
    }
    let total = prompts.len() * asked.n;
    let bar = bar(total);
    let (mut next, mut tokens, mut failed) = (0, 0, 0);
    let mut early: BTreeMap<u64, Result<Completion, String>> = BTreeMap::new();
    while next < total {
        match generator.source.poll() {
            Ok(completions) => {
                for completion in completions {
                    tokens += completion.tokens.len() as u64;
                    bar.inc(1);
                    early.insert(completion.id, Ok(completion));
                }
            }
            Err(GenerateError::Failed { id, what }) => {
                failed += 1;
                bar.inc(1);
                early.insert(id, Err(what));
            }
            Err(broken) => return Err(broken.into()),
        }
        // In the order of the prompts, each as soon as all before it are there.
        while let Some(outcome) = early.remove(&(next as u64)) {
            bar.suspend(|| show(&prompts[next / asked.n], next, asked.n, total, &outcome, as_json))?;
            next += 1;
        }
    }
    let tokens = generator.tokens(tokens);
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    let rate = tokens as f64 / seconds;
    if as_json {
        let mut summary = json!({
            "summary": true, "model": asked.model, "path": generator.path, "dtype": generator.dtype,
            "prompts": prompts.len(), "completions": total - failed, "tokens": tokens, "seconds": seconds,
            "tokens_per_second": rate, "peak_rss_gb": peak_gb(),
        });
        if let Some(server) = generator.server() {
            summary["server"] = json!(server);
        }
        say_json(&summary)?;
    } else {
        eprintln!("{tokens} tokens in {seconds:.1} s ({rate:.0} a second)");
    }
    anyhow::ensure!(failed == 0, "{failed} of {total} requests failed, see above");
    Ok(())
}

fn show(
    prompt: &Prompt,
    at: usize,
    n: usize,
    total: usize,
    outcome: &Result<Completion, String>,
    as_json: bool,
) -> anyhow::Result<()> {
    let (index, sample) = (at / n, at % n);
    if as_json {
        let mut line = match outcome {
            Ok(completion) => json!({
                "prompt": index, "sample": sample, "text": completion.text, "finish": completion.finish,
                // Unknown is not the same as none.
                "tokens": Some(&completion.tokens).filter(|tokens| !tokens.is_empty()),
                "logprobs": Some(&completion.logprobs).filter(|logprobs| !logprobs.is_empty()),
            }),
            Err(why) => json!({"prompt": index, "sample": sample, "error": why}),
        };
        if let Some(id) = &prompt.id {
            line["id"] = id.clone();
        }
        return say_json(&line);
    }
    if total > 1 {
        say(format_args!("--- prompt {}, sample {}", index + 1, sample + 1))?;
    }
    match outcome {
        Ok(completion) => Ok(say(completion.text.trim_end())?),
        Err(why) => {
            eprintln!("error: {}: {why}", prompt.place);
            Ok(())
        }
    }
}

fn prompts(asked: &Asked) -> anyhow::Result<Vec<Prompt>> {
    let mut prompts = match (&asked.prompt, &asked.file) {
        (Some(text), _) => {
            vec![Prompt { place: "--prompt".to_owned(), id: None, messages: vec![Message::user(text.as_str())] }]
        }
        (None, Some(file)) => read(file)?,
        (None, None) => return Err(Usage::error("expected --prompt TEXT or --file F.jsonl")),
    };
    if let Some(system) = &asked.system {
        prompts.iter_mut().for_each(|prompt| prompt.messages.insert(0, Message::system(system.as_str())));
    }
    Ok(prompts)
}

fn read(file: &Path) -> anyhow::Result<Vec<Prompt>> {
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
    }
    let wrong = |what: String| Usage::error(format!("{place}: {what}"));
    let line: Line = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
    let messages = match (line.prompt, line.messages) {
        (Some(prompt), None) => vec![Message::user(prompt)],
        (None, Some(messages)) if !messages.is_empty() => messages,
        _ => {
            return Err(wrong("expected either `prompt` (text) or `messages` (a list of role and content)".to_owned()));
        }
    };
    Ok(Prompt { place, id: line.id, messages })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_blamed_by_number() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.jsonl");
        std::fs::write(&file, "{\"prompt\": \"hi\", \"id\": 7, \"source\": \"x\"}\n\n{\"messages\": [{\"role\": \"user\", \"content\": \"ho\"}]}\n").unwrap();
        let prompts = read(&file).unwrap();
        assert_eq!(prompts[0].id, Some(json!(7)));
        assert_eq!(prompts[1].messages, [Message::user("ho")]);
        assert!(prompts[1].place.ends_with("p.jsonl:3"));
        for (text, said) in
            [("{\"prompt\": 3}", "p.jsonl:1: invalid type"), ("{}", "p.jsonl:1: expected either"), ("", "is empty")]
        {
            std::fs::write(&file, text).unwrap();
            let error = read(&file).unwrap_err();
            assert!(error.is::<Usage>() && error.to_string().contains(said), "{error}");
        }
    }
}
