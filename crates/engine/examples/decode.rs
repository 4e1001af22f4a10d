//! Tokens per second of a real model, at several numbers of sequences:
//! `decode MODEL [f32|bf16] [SEQUENCES,...] [NEW_TOKENS]`. Beside them the seconds of CPU, which other
//! work on the machine disturbs less.
#![allow(clippy::print_stdout, reason = "results go to stdout")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use relign_core::{Generate, Request, Sampling, Seed};
use relign_engine::{Engine, EngineOptions};
use relign_model::{Checkpoint, Kind, Policy};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PROMPT: &str = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. \
                      How many clips did Natalia sell altogether in April and May?";

/// Seconds of CPU this process has used, all threads together.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    // User and system time, in hundredths of a second.
    fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let model = arguments.get(1).ok_or("usage: decode MODEL [f32|bf16] [SEQUENCES,...] [NEW_TOKENS]")?;
    let kind = match arguments.get(2).map_or("f32", String::as_str) {
        "f32" => Kind::Float,
        "bf16" => Kind::BFloat16,
        other => return Err(format!("type: expected f32 or bf16, got {other}").into()),
    };
    let counts = arguments.get(3).map_or("1,16,64", String::as_str);
    let new: usize = arguments.get(4).map_or(Ok(128), |n| n.parse())?;
    let checkpoint = Checkpoint::open(model)?;
    let mut policy = Policy::load(checkpoint.config(), &checkpoint, kind)?;
    let tokenizer = Arc::new(checkpoint.tokenizer()?);
    let prompt = tokenizer.encode(PROMPT);
    let vocabulary = Arc::<relign_model::Tokenizer>::clone(&tokenizer);
    let mut engine = Engine::new(policy.family(), checkpoint.config(), kind, vocabulary, &EngineOptions::default())?;
    for count in counts.split(',') {
        let count: u64 = count.parse()?;
        let mut rates = Vec::new();
        for _ in 0..3 {
            engine.set_version(0);
            for id in 0..count {
                // Prompts of their own, so that nothing is shared.
                let prompt = prompt.iter().enumerate().map(|(i, &t)| if i == 0 { t + id as u32 } else { t }).collect();
                let sampling = Sampling { temperature: 1.0, max_tokens: new, ignore_eos: true, ..Sampling::default() };
                engine.submit(Request { id, prompt, sampling, seed: Seed(id) })?;
            }
            let (start, cpu) = (Instant::now(), cpu_seconds());
            while engine.in_flight() > 0 {
                engine.poll()?;
            }
            rates.push(((count as usize * new) as f64 / start.elapsed().as_secs_f64(), cpu_seconds() - cpu));
        }
        rates.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (rate, cpu) = rates[1];
        println!(
            "{count} sequences of {} + {new} tokens, {kind:?}: {rate:.1} tokens/s, {cpu:.2} s of CPU",
            prompt.len()
        );
    }
    Ok(())
}
