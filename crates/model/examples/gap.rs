//! How far fewer bits move a model: log-probabilities of real text against those of its f32 weights.
//!
//!     cargo run --release -p relign-model --example gap -- MODEL GSM8K.jsonl COUNT
//!
//! MODEL is a folder or a GGUF file; the text is COUNT lines' questions and answers, each as a conversation. For each way
//! to sample: the mean of `|log p - log q|` of the text's tokens, the mean of `KL(p || q)` over all next tokens, and how
//! often the most likely token is the same; `p` computes in f32 and reads all weights, keys and values in full.

use std::io::Write;

use relign_core::{KvCache, Message, RolloutWeights, Tokenize};
use relign_model::kv::{KvPool, PagedRow};
use relign_model::{Checkpoint, Family, Kind, Policy, Tensor, no_grad_guard};

const WAYS: [(&str, Kind, RolloutWeights, KvCache); 8] = [
    ("bf16", Kind::BFloat16, RolloutWeights::Full, KvCache::Full),
    ("f32, weights bf16", Kind::Float, RolloutWeights::Bf16, KvCache::Full),
    ("f32, weights int8", Kind::Float, RolloutWeights::Int8, KvCache::Full),
    ("f32, weights q4", Kind::Float, RolloutWeights::Q4, KvCache::Full),
    ("bf16, weights int8", Kind::BFloat16, RolloutWeights::Int8, KvCache::Full),
    ("bf16, weights q4", Kind::BFloat16, RolloutWeights::Q4, KvCache::Full),
    ("bf16, weights, keys and values int8", Kind::BFloat16, RolloutWeights::Int8, KvCache::Int8),
    ("f32, keys and values int8", Kind::Float, RolloutWeights::Full, KvCache::Int8),
];

/// Logits after every token of a text, in one pass over paged keys and values.
fn logits(policy: &Policy, family: &dyn Family, cache: KvCache, ids: &[i64]) -> Tensor {
    let mut pool = KvPool::new(policy.config(), policy.kind(), cache);
    let blocks = ids.len().div_ceil(KvPool::BLOCK);
    pool.resize(blocks).expect("memory");
    let table: Vec<u32> = (0..blocks as u32).collect();
    let rows: Vec<PagedRow<'_>> = (1..=ids.len()).map(|len| PagedRow { blocks: &table, len }).collect();
    let positions: Vec<i64> = (0..ids.len() as i64).collect();
    let hidden = family.forward(&Tensor::from_slice(ids), &positions, &mut pool.attention(&rows));
    family.head().logits(&hidden).log_softmax(-1, Kind::Float)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, data, count] = &arguments[..] else { return Err("expected MODEL GSM8K.jsonl COUNT".into()) };
    let _no_grad = no_grad_guard();
    let checkpoint = Checkpoint::open(model)?;
    let tokenizer = checkpoint.tokenizer()?;
    let mut texts = Vec::new();
    for line in std::fs::read_to_string(data)?.lines().take(count.parse()?) {
        let problem: serde_json::Value = serde_json::from_str(line)?;
        let word = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
        let mut ids = tokenizer.render(&[Message::user(word("question"))])?;
        let prompt = ids.len();
        ids.extend(tokenizer.encode(&word("answer")));
        texts.push((prompt, ids.into_iter().map(i64::from).collect::<Vec<_>>()));
    }
    let mut reference = Policy::load(checkpoint.config(), &checkpoint, Kind::Float)?;
    let own = reference.family();
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{model}: {} tokens of answers",
        texts.iter().map(|(prompt, ids)| ids.len() - prompt).sum::<usize>()
    )?;
    for (name, kind, weights, cache) in WAYS {
        let mut policy = Policy::load_to_sample(checkpoint.config(), &checkpoint, kind, weights)?;
        let family = policy.sampling_family(weights);
        let (mut apart, mut divergence, mut same, mut tokens) = (0.0, 0.0, 0.0, 0.0);
        for (prompt, ids) in &texts {
            // The answer's tokens, each said by the row before it.
            let (first, n) = (*prompt as i64 - 1, (ids.len() - prompt) as i64);
            let p = logits(&reference, &*own, KvCache::Full, ids).narrow(0, first, n);
            let q = logits(&policy, &*family, cache, ids).narrow(0, first, n);
            let next = Tensor::from_slice(&ids[*prompt..]).unsqueeze(1);
            let sum = |x: Tensor| x.to_kind(Kind::Double).sum(Kind::Double).double_value(&[]);
            apart += sum((p.gather(1, &next, false) - q.gather(1, &next, false)).abs());
            divergence += sum(p.exp() * (&p - &q));
            same += sum(p.argmax(-1, false).eq_tensor(&q.argmax(-1, false)));
            tokens += n as f64;
        }
        let [apart, divergence, same] = [apart, divergence, same].map(|sum| sum / tokens);
        writeln!(out, "{name:<26} |dlogp| {apart:.5}  KL {divergence:.6}  same best token {:.2} %", 100.0 * same)?;
    }
    Ok(())
}
