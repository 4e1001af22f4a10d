//! What came of the prompts, as text or as JSON.

use std::io::{self, Write};

use relign_core::{Completion, Finish, Odds};
use relign_model::Tokenizer;
use serde_json::{Value, json};

use super::prompts::Prompt;
use crate::commands::{say, say_json};
use crate::console::{Out, for_stdout, note};

/// Shows outcomes in the order of the prompts; text as it comes.
pub(super) struct Show<'a> {
    pub(super) prompts: &'a [Prompt],
    /// The tokens of each, those to be scored included.
    pub(super) given: &'a [Vec<u32>],
    /// Completions of each.
    pub(super) n: usize,
    pub(super) as_json: bool,
    /// Tell the odds.
    pub(super) logprobs: bool,
    pub(super) vocabulary: Option<&'a Tokenizer>,
    /// Where the next outcome's place has been said, if it need be.
    pub(super) begun: bool,
    /// Bytes of the next completion's text that were heard.
    pub(super) heard: usize,
    /// Blank text that is shown once something follows.
    pub(super) blank: String,
}

impl Show<'_> {
    /// A piece of the text of completion `at`, the next one.
    pub(super) fn piece(&mut self, at: usize, text: &str) -> io::Result<()> {
        self.heard += text.len();
        if self.as_json {
            return Ok(());
        }
        self.begin(at)?;
        let solid = text.trim_end();
        if !solid.is_empty() {
            Out.write_all(for_stdout(&std::mem::take(&mut self.blank)).as_bytes())?;
            Out.write_all(for_stdout(solid).as_bytes())?;
            Out.flush()?;
        }
        self.blank.push_str(&text[solid.len()..]);
        Ok(())
    }

    fn begin(&mut self, at: usize) -> io::Result<()> {
        if !self.begun && self.prompts.len() * self.n > 1 {
            say(format_args!("--- prompt {}, sample {}", at / self.n + 1, at % self.n + 1))?;
        }
        self.begun = true;
        Ok(())
    }

    /// What came of completion `at`, the next one.
    pub(super) fn outcome(&mut self, at: usize, outcome: &Result<Completion, String>) -> anyhow::Result<()> {
        let prompt = &self.prompts[at / self.n];
        let (heard, begun) = (self.heard, self.begun);
        if self.as_json {
            say_json(&self.line(at, outcome))?;
        } else {
            match (outcome, &prompt.score) {
                (Ok(completion), Some(_)) => {
                    self.begin(at)?;
                    say(in_words(&Scored::of(completion)))?;
                }
                (Ok(completion), None) => {
                    self.piece(at, completion.text.get(heard..).unwrap_or_default())?;
                    say("")?;
                }
                (Err(why), _) => {
                    self.begin(at)?;
                    if begun {
                        say("")?;
                    }
                    note!("error: {}: {why}", prompt.place);
                }
            }
        }
        (self.begun, self.heard) = (false, 0);
        self.blank.clear();
        Ok(())
    }

    fn line(&self, at: usize, outcome: &Result<Completion, String>) -> Value {
        let (prompt, given) = (&self.prompts[at / self.n], &self.given[at / self.n]);
        let mut line = match (outcome, &prompt.score) {
            (Err(why), _) => json!({"prompt": at / self.n, "sample": at % self.n, "error": why}),
            (Ok(completion), Some(text)) => {
                let scored = Scored::of(completion);
                json!({
                    "prompt": at / self.n, "scored": text, "tokens": given[given.len() - scored.tokens..],
                    "logprobs": completion.prompt_odds.iter().map(|odds| odds.logprob).collect::<Vec<_>>(),
                    "logprob": scored.logprob, "is_greedy": scored.is_greedy,
                })
            }
            (Ok(completion), None) => json!({
                "prompt": at / self.n, "sample": at % self.n, "text": completion.text, "finish": completion.finish,
                // Unknown is not the same as none.
                "tokens": Some(&completion.tokens).filter(|tokens| !tokens.is_empty()),
                "logprobs": Some(&completion.logprobs).filter(|logprobs| !logprobs.is_empty()),
            }),
        };
        if let Ok(completion) = outcome {
            if self.logprobs && prompt.score.is_none() {
                let odds = Some(&completion.odds).filter(|odds| odds.len() == completion.tokens.len());
                line["top_logprobs"] = odds.map(|odds| self.all(odds)).into();
            }
            if self.logprobs && prompt.score.is_some() {
                line["top_logprobs"] = self.all(&completion.prompt_odds);
            }
            if prompt.score.is_none() && !completion.prompt_odds.is_empty() {
                // As vLLM has it: nothing leads to the first token.
                let known = completion.prompt_odds.iter().map(|odds| Some(odds.logprob));
                line["prompt_tokens"] = json!(given);
                line["prompt_logprobs"] = [None].into_iter().chain(known).collect::<Vec<_>>().into();
                if self.logprobs {
                    line["prompt_top_logprobs"] = self.all(&completion.prompt_odds);
                }
            }
        }
        if let Some(id) = &prompt.id {
            line["id"] = id.clone();
        }
        line
    }

    fn all(&self, odds: &[Odds]) -> Value {
        odds.iter()
            .map(|Odds { logprob, rank, model, sampler }| {
                json!({"logprob": logprob, "rank": rank, "model": self.named(model), "sampler": self.named(sampler)})
            })
            .collect()
    }

    fn named(&self, tokens: &[(u32, f32)]) -> Value {
        let text = |token: u32| self.vocabulary.map(|v| String::from_utf8_lossy(v.token_bytes(token)).into_owned());
        let tokens = tokens.iter();
        tokens.map(|&(token, logprob)| json!({"token": token, "text": text(token), "logprob": logprob})).collect()
    }
}

/// What the model says of a given text.
struct Scored {
    tokens: usize,
    logprob: f64,
    /// Whether it would have said just that at temperature 0.
    is_greedy: bool,
}

impl Scored {
    fn of(completion: &Completion) -> Self {
        debug_assert!(completion.finish == Finish::Length);
        let odds = &completion.prompt_odds;
        Self {
            tokens: odds.len(),
            logprob: odds.iter().map(|odds| f64::from(odds.logprob)).sum(),
            is_greedy: odds.iter().all(|odds| odds.rank == Some(1)),
        }
    }
}

fn in_words(scored: &Scored) -> String {
    let perplexity = (-scored.logprob / scored.tokens.max(1) as f64).exp();
    format!(
        "log-probability {:.4} over {} tokens, perplexity {perplexity:.3}, {}",
        scored.logprob,
        scored.tokens,
        if scored.is_greedy { "what it says greedily" } else { "not what it says greedily" }
    )
}
