//! `relign chat`: a conversation, word by word.

use std::io::{self, BufRead, IsTerminal, Write};

use relign_core::{Finish, Generate, Message, Request, Sampling, Seed, Tokenize};
use relign_engine::Engine;
use relign_engine::remote::Remote;
use serde_json::json;

use super::sampling::SamplingArgs;
use super::{say, say_json};
use crate::generator::{Generator, ServerArgs, Source};

/// Tokens asked for at once: the text grows by as many. Each request goes on from the very tokens of the
/// last, whose keys and values the engine still has.
const STRIDE: usize = 8;

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
    let sampling = asked.sampling.sampling(512);
    let live = io::stdin().is_terminal() && !as_json;
    if live {
        eprintln!("{}; /reset forgets the conversation, Ctrl-D ends", generator.path.display());
    }
    let start: Vec<Message> = asked.system.iter().map(|text| Message::system(text.as_str())).collect();
    let mut messages = start.clone();
    let (mut turn, mut tokens) = (0, 0);
    let mut lines = io::stdin().lock().lines();
    loop {
        if live {
            eprint!("\n> ");
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
        let tokenizer = generator.tokenizer.as_ref();
        let answered = match &mut generator.source {
            Source::Local(engine) => answer(engine, tokenizer, &messages, &sampling, seed, shown),
            Source::Server(remote) => answer_whole(remote, tokenizer, &messages, &sampling, seed, shown),
        };
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
                eprintln!("error: {error:#}; /reset forgets the conversation");
                messages.pop();
            }
            Err(error) => return Err(error),
        }
    }
    if as_json { say_json(&json!({"summary": true, "turns": turn, "tokens": tokens})) } else { Ok(()) }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The model's next turn, handed to `shown` as it grows.
fn answer(
    engine: &mut Engine,
    tokenizer: &dyn Tokenize,
    messages: &[Message],
    sampling: &Sampling,
    seed: Seed,
    shown: &mut dyn FnMut(&str) -> io::Result<()>,
) -> anyhow::Result<(String, usize, Finish)> {
    let mut prompt = tokenizer.render(messages).map_err(anyhow::Error::msg)?;
    let begin = prompt.len();
    let mut said = String::new();
    loop {
        let done = prompt.len() - begin;
        let max_tokens = STRIDE.min(sampling.max_tokens - done);
        let stride = Sampling { max_tokens, ..sampling.clone() };
        engine.submit(Request { id: 0, prompt: prompt.clone(), sampling: stride, seed: seed.index(done as u64) })?;
        let completion = loop {
            if let Some(completion) = engine.poll()?.pop() {
                break completion;
            }
        };
        prompt.extend(&completion.tokens);
        let text = tokenizer.decode(&prompt[begin..]);
        // A character whose bytes are not all there yet is shown with the next tokens.
        let whole = text.trim_end_matches('\u{fffd}');
        if let Some(new) = whole.strip_prefix(said.as_str()) {
            shown(new)?;
            said = whole.to_owned();
        }
        let count = prompt.len() - begin;
        let full =
            count >= sampling.max_tokens || completion.tokens.len() < max_tokens || prompt.len() >= engine.context();
        if completion.finish.is_natural() || full {
            return Ok((text, count, completion.finish));
        }
    }
}

/// A server's turn, which comes in one piece. Its tokens are counted by the server.
fn answer_whole(
    remote: &mut Remote,
    tokenizer: &dyn Tokenize,
    messages: &[Message],
    sampling: &Sampling,
    seed: Seed,
    shown: &mut dyn FnMut(&str) -> io::Result<()>,
) -> anyhow::Result<(String, usize, Finish)> {
    let prompt = tokenizer.render(messages).map_err(anyhow::Error::msg)?;
    let before = remote.stats().generated_tokens;
    remote.submit_conversation(Request { id: 0, prompt, sampling: sampling.clone(), seed }, messages)?;
    let completion = loop {
        if let Some(completion) = remote.poll()?.pop() {
            break completion;
        }
    };
    shown(&completion.text)?;
    Ok((completion.text, (remote.stats().generated_tokens - before) as usize, completion.finish))
}
