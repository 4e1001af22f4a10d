//! A tiny model with weights of its own, and its tokens' bytes.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::sync::Arc;

use relign_core::{Completion, Generate, KvCache, Request, Sampling, Seed};
use relign_engine::{Engine, EngineOptions, Vocabulary};
use relign_model::attention::TreeAttention;
use relign_model::kv::KvPool;
use relign_model::{Config, Kind, Policy, Tensor, no_grad_guard};

/// Token ids: 0..90 are printable characters, 90 to 95 pieces of characters and words, 96 ends.
pub const VOCAB: usize = 97;
pub const EOS: u32 = 96;

pub struct Letters {
    pieces: Vec<Vec<u8>>,
}

impl Letters {
    pub fn shared() -> Arc<Self> {
        let mut pieces: Vec<Vec<u8>> = (0..90).map(|i| vec![b'!' + i]).collect();
        pieces.extend([&b"\xc3"[..], b"\xa9", b"the ", b" of", b"\n", b"  ", b"<end>"].map(<[u8]>::to_vec));
        Arc::new(Self { pieces })
    }
}

impl Vocabulary for Letters {
    fn token_bytes(&self, token: u32) -> &[u8] {
        &self.pieces[token as usize]
    }
    fn is_special(&self, token: u32) -> bool {
        token == EOS
    }
    fn eos_ids(&self) -> &[u32] {
        &[EOS]
    }
}

pub fn config(model_type: &str) -> Config {
    let json = serde_json::json!({
        "model_type": model_type, "vocab_size": VOCAB, "hidden_size": 48, "intermediate_size": 64,
        "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8,
        "max_position_embeddings": 512, "rope_theta": 10000.0, "tie_word_embeddings": false,
    });
    Config::from_hf(&json).expect("a valid configuration")
}

/// A policy with weights drawn by name. Its logits are far apart: no two orders of summation may
/// choose another token.
pub fn policy(model_type: &str, seed: u64) -> Policy {
    policy_in(model_type, seed, Kind::Float)
}

/// As [`policy`], computing in `kind`.
pub fn policy_in(model_type: &str, seed: u64, kind: Kind) -> Policy {
    // So small a model is slower on several threads.
    relign_model::set_num_threads(1);
    let config = config(model_type);
    let (hidden, kv, q) = (48, 16, 48);
    let shape = |name: &str| -> Vec<i64> {
        if name.contains("norm") {
            vec![hidden]
        } else if name.ends_with("bias") {
            vec![if name.contains("q_proj") { q } else { kv }]
        } else if name.contains("embed") || name.contains("lm_head") {
            vec![VOCAB as i64, hidden]
        } else if name.contains("k_proj") || name.contains("v_proj") {
            vec![kv, hidden]
        } else if name.contains("gate") || name.contains("up_proj") {
            vec![64, hidden]
        } else if name.contains("down") {
            vec![hidden, 64]
        } else {
            vec![hidden, q]
        }
    };
    let source = |name: &str| {
        let (shape, seed) = (shape(name), Seed(seed).child(name));
        let n: i64 = shape.iter().product();
        let spread = if name.contains("norm") { 0.2 } else { 2.0 * (3.0 / shape[shape.len() - 1] as f64).sqrt() };
        let middle = if name.contains("norm") { 1.0 } else { 0.0 };
        let numbers: Vec<f32> =
            (0..n as u64).map(|i| (middle + spread * (seed.uniform(i) * 2.0 - 1.0)) as f32).collect();
        Ok(Tensor::from_slice(&numbers).view(shape.as_slice()))
    };
    Policy::load(&config, &source, kind).expect("weights for every name")
}

pub fn engine(policy: &mut Policy, options: &EngineOptions) -> Engine {
    let config = policy.config().clone();
    Engine::new(policy.family(), &config, policy.kind(), Letters::shared(), options).expect("options with room")
}

pub fn options() -> EngineOptions {
    EngineOptions { max_sequences: 64, kv_bytes: Some(64 << 20), ..EngineOptions::default() }
}

/// A budget of so many blocks.
pub fn blocks(n: usize) -> EngineOptions {
    let bytes = KvPool::new(&config("llama"), Kind::Float, KvCache::Full).block_bytes();
    EngineOptions { kv_bytes: Some(n * bytes), ..options() }
}

pub fn prompt(seed: u64, len: usize) -> Vec<u32> {
    (0..len as u64).map(|i| Seed(seed).child("prompt").below(i, 90) as u32).collect()
}

pub fn request(id: u64, prompt: Vec<u32>, temperature: f32, max_tokens: usize) -> Request {
    let sampling = Sampling { temperature, max_tokens, ..Sampling::default() };
    Request { id, prompt, sampling, seed: Seed(id).child("draws") }
}

/// Everything in flight, in the order of ids.
pub fn drain(engine: &mut Engine) -> Vec<Completion> {
    let mut all = Vec::new();
    while engine.in_flight() > 0 {
        all.extend(engine.poll().expect("the engine works"));
    }
    all.sort_by_key(|c| c.id);
    all
}

pub fn run(engine: &mut Engine, requests: &[Request]) -> Vec<Completion> {
    for request in requests {
        engine.submit(request.clone()).expect("a good request");
    }
    drain(engine)
}

/// Log-probabilities over the vocabulary after each token, by one causal pass.
pub fn log_probs(policy: &mut Policy, tokens: &[u32], temperature: f64) -> Tensor {
    let _no_grad = no_grad_guard();
    let family = policy.family();
    let ids: Vec<i64> = tokens.iter().map(|&t| i64::from(t)).collect();
    let positions: Vec<i64> = (0..ids.len() as i64).collect();
    let hidden = family.forward(&Tensor::from_slice(&ids), &positions, &mut TreeAttention::causal(ids.len()));
    (hidden.matmul(&family.head().weight().tr()) / temperature).log_softmax(-1, Kind::Double)
}

/// The request's completion by the plainest loop: the whole sequence through the model for each token.
pub fn naive(policy: &mut Policy, request: &Request) -> (Vec<u32>, Vec<f64>) {
    let mut tokens = request.prompt.clone();
    let mut logprobs = Vec::new();
    let t = f64::from(request.sampling.temperature);
    for i in 0..request.sampling.max_tokens {
        let row = log_probs(policy, &tokens, if t == 0.0 { 1.0 } else { t }).get(tokens.len() as i64 - 1);
        let row = Vec::<f64>::try_from(&row).expect("a vector");
        let best = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let token = if t == 0.0 {
            row.iter().position(|&p| p == best).expect("a maximum")
        } else {
            let uniform = request.seed.uniform(i as u64);
            let mut sum = 0.0;
            row.iter()
                .position(|p| {
                    sum += p.exp();
                    sum > uniform
                })
                .unwrap_or(VOCAB - 1)
        };
        tokens.push(token as u32);
        logprobs.push(row[token]);
        if token as u32 == EOS && !request.sampling.ignore_eos {
            break;
        }
    }
    (tokens.split_off(request.prompt.len()), logprobs)
}
