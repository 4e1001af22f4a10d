//! `relign generate`: prompts in, completions out; or given answers in, and how likely they are.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use indicatif::ProgressBar;
use relign_core::{Completion, Generate, GenerateError, Message, Request, Sampling, Seed, bounds};
use serde_json::json;

use super::sampling::{SamplingArgs, bar, bounded, peak_gb};
use super::say_json;
use crate::console::note;
use crate::generator::{Generator, ServerArgs};
use crate::usage::Usage;

mod prompts;
mod show;

use prompts::{Prompt, read};
use show::Show;

/// What `generate` was told.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("input").required(true).multiple(true).args(["prompt", "file", "score"])))]
pub(crate) struct Asked {
    /// A built-in name, a Hugging Face folder, a GGUF file, a hub id, a run's folder, or an
    /// OpenAI-compatible server: http://HOST:PORT/v1#MODEL
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// What the user says
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Prompts, one JSON object a line
    #[arg(long, value_name = "F.jsonl", conflicts_with_all = ["prompt", "score"])]
    file: Option<PathBuf>,
    /// What comes before the user's words
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Completions of each prompt
    #[arg(short, value_name = "K", default_value_t = 1, value_parser = bounded::<usize>("n"))]
    n: usize,
    /// Sample nothing: tell how likely this is as the answer to the prompt or, without one, as text from its
    /// beginning on
    #[arg(long, value_name = "TEXT", conflicts_with = "n", allow_hyphen_values = true)]
    score: Option<String>,
    /// With --json, tell at each token its log-probability under the model's own distribution, its rank and the K
    /// most likely tokens, there and under the distribution that was sampled from
    #[arg(long, value_name = "K")]
    logprobs: Option<usize>,
    /// With --json, tell the log-probabilities of the prompt's own tokens too
    #[arg(long)]
    prompt_logprobs: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    let prompts = prompts(asked, as_json)?; // before the model is loaded: a typo is answered at once
    if asked.n > 1 {
        bounds::together(&[("prompts", prompts.len() as u64), ("-n", asked.n as u64)])
            .map_err(|error| Usage(error.message))?;
    }
    let total = prompts.len() * asked.n;
    let mut generator = Generator::open(&asked.model, &asked.sampling, total.min(128), &asked.server)?;
    let started = Instant::now();
    let sampling = Sampling { top_logprobs: asked.logprobs, ..generator.sampling(&asked.sampling, 256)? };
    let seed = Seed(asked.sampling.seed).child("generate");
    let mut given = Vec::with_capacity(prompts.len());
    for (index, prompt) in prompts.iter().enumerate() {
        let (tokens, sampling) = request(asked, &generator, prompt, &sampling)?;
        for sample in 0..asked.n {
            let id = (index * asked.n + sample) as u64;
            let seed = seed.index(index as u64).index(sample as u64);
            // The prompt is the same for all samples: its log-probabilities are told with the first.
            let score_from = sampling.score_from.filter(|_| sample == 0);
            let sampling = Sampling { score_from, ..sampling.clone() };
            let request = Request { id, prompt: tokens.clone(), sampling, seed };
            match generator.source.submit_conversation(request, &prompt.messages) {
                Err(GenerateError::Invalid { what, .. }) => {
                    return Err(Usage::error(format!("{}: {what}", prompt.place)));
                }
                other => other.with_context(|| prompt.place.clone())?,
            }
        }
        given.push(tokens);
    }
    // Where text runs over the terminal as it comes, a bar would be in its way.
    let quiet = !as_json && std::io::stdout().is_terminal();
    let bar = if quiet { ProgressBar::hidden() } else { bar(total) };
    let vocabulary = generator.vocabulary.clone();
    let mut show = Show {
        prompts: &prompts,
        given: &given,
        n: asked.n,
        as_json,
        logprobs: asked.logprobs.is_some(),
        vocabulary: vocabulary.as_deref(),
        begun: false,
        heard: 0,
        blank: String::new(),
    };
    let (tokens, failed) = answers(&mut generator, &mut show, total, &bar)?;
    let tokens = generator.tokens(tokens);
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    let rate = tokens as f64 / seconds;
    if as_json {
        let mut summary = json!({
            "summary": true, "model": asked.model, "path": generator.path, "device": generator.device,
            "dtype": generator.dtype, "prompts": prompts.len(), "completions": total - failed, "tokens": tokens, "seconds": seconds,
            "tokens_per_second": rate, "peak_rss_gb": peak_gb(),
        });
        if let Some(server) = generator.server() {
            summary["server"] = json!(server);
        }
        if !generator.arguments.is_empty() {
            summary["chat_template_kwargs"] = json!(generator.arguments);
        }
        say_json(&summary)?;
    } else if tokens > 0 {
        note!("{tokens} tokens in {seconds:.1} s ({rate:.0} a second)");
    }
    anyhow::ensure!(failed == 0, "{failed} of {total} requests failed, see above");
    Ok(())
}

/// Shows what comes of all that was submitted; the tokens made and the requests that failed.
fn answers(
    generator: &mut Generator,
    show: &mut Show<'_>,
    total: usize,
    bar: &ProgressBar,
) -> anyhow::Result<(u64, usize)> {
    let (mut next, mut tokens, mut failed) = (0, 0, 0);
    let mut early: BTreeMap<usize, Result<Completion, String>> = BTreeMap::new();
    while next < total {
        // The next one to be shown is shown as it comes. JSON comes whole.
        if !show.as_json {
            generator.source.watch(next as u64);
        }
        match generator.source.poll() {
            Ok(completions) => {
                for completion in completions {
                    tokens += completion.tokens.len() as u64;
                    bar.inc(1);
                    early.insert(completion.id as usize, Ok(completion));
                }
            }
            Err(GenerateError::Failed { id, what }) => {
                failed += 1;
                bar.inc(1);
                early.insert(id as usize, Err(what));
            }
            Err(broken) => return Err(broken.into()),
        }
        for (id, text) in generator.source.heard() {
            // Only the next one is watched, and what is heard of it is not shown again.
            debug_assert_eq!(id as usize, next);
            bar.suspend(|| show.piece(next, &text))?;
        }
        // In the order of the prompts, each as soon as all before it are there.
        while let Some(outcome) = early.remove(&next) {
            bar.suspend(|| show.outcome(next, &outcome))?;
            next += 1;
        }
    }
    Ok((tokens, failed))
}

/// The tokens of a prompt, and how it is worked on.
fn request(
    asked: &Asked,
    generator: &Generator,
    prompt: &Prompt,
    sampling: &Sampling,
) -> anyhow::Result<(Vec<u32>, Sampling)> {
    let wrong = |what: String| Usage::error(format!("{}: {what}", prompt.place));
    let mut tokens = if prompt.messages.is_empty() {
        Vec::new()
    } else {
        generator.tokenizer.render(&prompt.messages).map_err(wrong)?
    };
    let Some(text) = &prompt.score else {
        let score_from = asked.prompt_logprobs.then_some(0);
        return Ok((tokens, Sampling { score_from, ..sampling.clone() }));
    };
    let Some(tokenizer) = generator.vocabulary.as_deref() else {
        let expected = "expected a model that is read here, or --tokenizer beside a server, to score text with";
        return Err(wrong(format!("{expected}, got {}", asked.model)));
    };
    if tokens.is_empty() {
        // Something must lead to the first token: what begins texts, or else ends them.
        tokens.extend(tokenizer.bos().or_else(|| tokenizer.eos_ids().first().copied()));
    }
    let score_from = Some(tokens.len());
    tokens.extend(tokenizer.encode(text));
    if score_from == Some(tokens.len()) {
        return Err(wrong("expected text to score, got none".to_owned()));
    }
    Ok((tokens, Sampling { score_from, max_tokens: 0, top_logprobs: sampling.top_logprobs, ..Sampling::default() }))
}

fn prompts(asked: &Asked, as_json: bool) -> anyhow::Result<Vec<Prompt>> {
    for (given, name) in [(asked.logprobs.is_some(), "--logprobs"), (asked.prompt_logprobs, "--prompt-logprobs")] {
        if given && !as_json {
            return Err(Usage::error(format!("{name}: expected --json, for it tells more than a text can hold")));
        }
    }
    if let Some(k) = asked.logprobs.filter(|&k| k > Sampling::MOST_TOP_LOGPROBS) {
        return Err(Usage::error(format!("--logprobs: expected at most {}, got {k}", Sampling::MOST_TOP_LOGPROBS)));
    }
    let mut prompts = match &asked.file {
        Some(file) => read(file)?,
        None => {
            let place = if asked.score.is_some() { "--score" } else { "--prompt" };
            let messages = asked.prompt.iter().map(|text| Message::user(text.as_str())).collect();
            vec![Prompt { place: place.to_owned(), id: None, messages, score: asked.score.clone() }]
        }
    };
    if let Some(prompt) = prompts.iter().find(|prompt| prompt.score.is_some() && asked.n > 1) {
        return Err(Usage::error(format!("{}: expected -n 1 where text is scored, got {}", prompt.place, asked.n)));
    }
    if let Some(system) = &asked.system {
        let asks = prompts.iter_mut().filter(|prompt| !prompt.messages.is_empty());
        asks.for_each(|prompt| prompt.messages.insert(0, Message::system(system.as_str())));
    }
    Ok(prompts)
}
