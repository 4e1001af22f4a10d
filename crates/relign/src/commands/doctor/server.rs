//! A server, as far as it lets one see.

use std::time::Instant;

use relign_core::{Completion, Generate, GenerateError, Message, Request, Sampling, Seed};
use relign_engine::remote::{Address, Prompts, Remote, RemoteOptions};
use serde_json::Map;

use super::{Finding, fail, ok, warn};
use crate::generator::ServerArgs;

/// Looks at the server at `address`: what it is, and which of the two ways to ask it work.
///
/// # Errors
/// If the address or an option makes no sense.
pub(super) fn look(address: &Address, args: &ServerArgs) -> anyhow::Result<Vec<Finding>> {
    // What does not work is to be seen, not to be tried again.
    let options = RemoteOptions { retries: 0, ..args.options()? };
    let remote = match Remote::connect(address, Prompts::Conversations, &options) {
        Ok(remote) => remote,
        Err(error) => return Ok(vec![fail("server", error.to_string(), "is it running, and is this its address?")]),
    };
    let remote = args.change(remote, Map::new())?;
    let context = remote.context().map(|n| format!(", a context of {n} tokens")).unwrap_or_default();
    let found = format!("{} at {}: {}{context}", remote.kind(), remote.url(), remote.model());
    let mut findings = vec![ok("server", found)];
    findings.push(chat(remote));
    findings.push(tokens(address, &options, args));
    Ok(findings)
}

fn chat(mut remote: Remote) -> Finding {
    let messages = [Message::user("What is 2 + 2?")];
    let started = Instant::now();
    let submitted = remote.submit_conversation(request(Vec::new(), 8), &messages);
    match submitted.and_then(|()| one(&mut remote)) {
        Ok(completion) => {
            let seconds = started.elapsed().as_secs_f64();
            ok("chat", format!("answers conversations ({seconds:.1} s for 8 tokens): {:?}", completion.text.trim()))
        }
        Err(error) => warn("chat", words(&error), "ask it with --tokenizer MODEL, which renders here"),
    }
}

fn tokens(address: &Address, options: &RemoteOptions, args: &ServerArgs) -> Finding {
    let asked = Remote::connect(address, Prompts::Tokens, options)
        .map_err(anyhow::Error::from)
        .and_then(|remote| args.change(remote, Map::new()))
        .map_err(|error| GenerateError::Engine(error.to_string()))
        .and_then(|mut remote| {
            // Any id will do: what matters is whether ids are taken and told.
            remote.submit(request(vec![1], 2))?;
            one(&mut remote)
        });
    match asked {
        Ok(said) if said.tokens.is_empty() => ok("token ids", "takes ids as a prompt, tells text alone"),
        Ok(said) if said.logprobs.is_empty() => ok("token ids", "takes and tells them, without log-probabilities"),
        Ok(_) => ok("token ids", "takes and tells them, with log-probabilities"),
        Err(error) => {
            let hint = "with --tokenizer it is sent text, and without it conversations: neither needs ids";
            warn("token ids", words(&error), hint)
        }
    }
}

fn request(prompt: Vec<u32>, max_tokens: usize) -> Request {
    let sampling = Sampling { temperature: 0.0, max_tokens, ..Sampling::default() };
    Request { id: 0, prompt, sampling, seed: Seed(1) }
}

fn one(remote: &mut Remote) -> Result<Completion, GenerateError> {
    loop {
        if let Some(completion) = remote.poll()?.pop() {
            return Ok(completion);
        }
    }
}

/// Without the number of a request that nobody made.
fn words(error: &GenerateError) -> String {
    match error {
        GenerateError::Failed { what, .. } | GenerateError::Invalid { what, .. } => what.clone(),
        other => other.to_string(),
    }
}
