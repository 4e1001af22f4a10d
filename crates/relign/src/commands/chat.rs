//! `relign chat`: a conversation, word by word.

use std::io::{self, BufRead, IsTerminal, Write};

use relign_core::{Finish, Generate, Message, Request, Sampling, Seed};
use serde_json::json;

use super::sampling::SamplingArgs;
use super::{say, say_json};
use crate::console::{Out, for_stdout, note};
use crate::generator::{Generator, ServerArgs, Source};

/// What `chat` was told.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// A built-in name, a Hugging Face folder, a GGUF file, a hub id, a run's folder, or an
    /// OpenAI-compatible server: http://HOST:PORT/v1#MODEL
    model: String,
    /// What comes before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    let mut generator = Generator::open(&asked.model, &asked.sampling, 1, &asked.server)?;
    let sampling = generator.sampling(&asked.sampling, 512)?;
    let live = io::stdin().is_terminal() && !as_json;
    if live {
        note!("{}; /reset forgets the conversation, Ctrl-D ends", generator.path.display());
    }
    let start: Vec<Message> = asked.system.iter().map(|text| Message::system(text.as_str())).collect();
    let mut messages = start.clone();
    let (mut turn, mut tokens) = (0, 0);
    let mut lines = io::stdin().lock().lines();
    loop {
        if live {
            let _ = write!(io::stderr().lock(), "\n> ");
        }
        let Some(line) = lines.next() else { break };
        let line = line?;
        match line.trim() {
            "" => continue,
            "/reset" => {
                messages.clone_from(&start);
                continue;
            }
            text => messages.push(Message::user(text)),
        }
        let seed = Seed(asked.sampling.seed).child("chat").index(turn);
        let shown: &mut dyn FnMut(&str) -> io::Result<()> = if as_json { &mut |_| Ok(()) } else { &mut print };
        let answered = answer(&mut generator, &messages, &sampling, seed, shown);
        match answered {
            Ok((text, count, finish)) => {
                if as_json {
                    say_json(&json!({"turn": turn, "text": text, "tokens": count, "finish": finish}))?;
                } else {
                    say(if finish == Finish::Length { " [cut off by --max-tokens or the context]" } else { "" })?;
                }
                messages.push(Message::assistant(text));
                (turn, tokens) = (turn + 1, tokens + count);
            }
            // The conversation outgrew the context: the user may go on with a new one.
            Err(error) if live => {
                note!("error: {error:#}; /reset forgets the conversation");
                messages.pop();
            }
            Err(error) => return Err(error),
        }
    }
    if as_json {
        say_json(&json!({
            "summary": true, "turns": turn, "tokens": tokens, "chat_template_kwargs": generator.arguments,
        }))
    } else {
        Ok(())
    }
}

fn print(text: &str) -> io::Result<()> {
    Out.write_all(for_stdout(text).as_bytes())?;
    Out.flush()
}

/// The model's next turn, handed to `shown` as it comes; a server's comes in one piece.
fn answer(
    generator: &mut Generator,
    messages: &[Message],
    sampling: &Sampling,
    seed: Seed,
    shown: &mut dyn FnMut(&str) -> io::Result<()>,
) -> anyhow::Result<(String, usize, Finish)> {
    let prompt = generator.tokenizer.render(messages).map_err(anyhow::Error::msg)?;
    let before = generator.tokens(0);
    let source = &mut generator.source;
    source.submit_conversation(Request { id: 0, prompt, sampling: sampling.clone(), seed }, messages)?;
    source.watch(0);
    let mut heard = 0;
    let completion = loop {
        let completion = source.poll()?.pop();
        for (_, text) in source.heard() {
            shown(&text)?;
            heard += text.len();
        }
        if let Some(completion) = completion {
            break completion;
        }
    };
    // What was heard is the beginning; the rest came with the last tokens.
    shown(completion.text.get(heard..).unwrap_or_default())?;
    let count = match source {
        Source::Local(_) => completion.tokens.len(),
        Source::Server(_) => (generator.tokens(0) - before) as usize,
    };
    Ok((completion.text, count, completion.finish))
}
