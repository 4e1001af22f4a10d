//! A SentencePiece vocabulary as a tokenizer: merges by score, bytes for characters it lacks.
//!
//! SentencePiece's BPE joins the two neighbours whose union has the best score; the tokenizers library
//! joins the pair that stands first in a list of merges. Every way to cut a token into two tokens, the
//! lists of better tokens first, is that list.

use std::cmp::Ordering;

use serde_json::Value;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence};

/// How SentencePiece writes a blank.
const BLANK: &str = "\u{2581}";

/// The tokenizer of `tokens`, whose merges follow `scores`; with `prefix`, text begins with a blank.
pub(super) fn build(
    tokens: &[String],
    vocab: ahash::AHashMap<String, u32>,
    scores: &[f32],
    unknown: Option<&str>,
    prefix: bool,
) -> tokenizers::Result<tokenizers::Tokenizer> {
    let mut merges: Vec<(usize, (String, String))> = Vec::new();
    for (id, token) in tokens.iter().enumerate() {
        let cuts = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
        let cuts = cuts.filter(|(left, right)| vocab.contains_key(*left) && vocab.contains_key(*right));
        merges.extend(cuts.map(|(left, right)| (id, (left.to_owned(), right.to_owned()))));
    }
    merges.sort_by(|(a, _), (b, _)| scores[*b].partial_cmp(&scores[*a]).unwrap_or(Ordering::Equal));
    let merges: Vec<_> = merges.into_iter().map(|(_, merge)| merge).collect();
    let mut model = BPE::builder().vocab_and_merges(vocab, merges).byte_fallback(true).fuse_unk(true);
    if let Some(unknown) = unknown {
        model = model.unk_token(unknown.to_owned());
    }
    let mut inner = tokenizers::Tokenizer::new(model.build()?);
    let mut before: Vec<NormalizerWrapper> = Vec::new();
    let mut after: Vec<DecoderWrapper> =
        vec![Replace::new(BLANK, " ")?.into(), ByteFallback::new().into(), Fuse::new().into()];
    if prefix {
        before.push(Prepend::new(BLANK.to_owned()).into());
        after.push(Strip::new(' ', 1, 0).into());
    }
    before.push(Replace::new(" ", BLANK)?.into());
    inner.with_normalizer(Some(Sequence::new(before)));
    inner.with_decoder(Some(Decoders::new(after)));
    Ok(inner)
}

/// Whether a tokenizer without a byte alphabet puts a blank before text; it must write blanks as SentencePiece does, and
/// change nothing else about text.
///
/// # Errors
/// If it does something that a SentencePiece vocabulary has no place for.
pub(super) fn has_prefix(json: &Value) -> Result<bool, String> {
    let steps = |value: &Value, list: &str| -> Vec<Value> {
        match value["type"].as_str() {
            None => Vec::new(),
            Some("Sequence") => value[list].as_array().cloned().unwrap_or_default(),
            Some(_) => vec![value.clone()],
        }
    };
    let (mut prefix, mut blanks) = (false, false);
    for step in steps(&json["normalizer"], "normalizers") {
        match step["type"].as_str().unwrap_or_default() {
            "Prepend" if step["prepend"] == BLANK => prefix = true,
            "Replace" if step["pattern"]["String"] == " " && step["content"] == BLANK => blanks = true,
            other => return Err(format!("expected blanks written as {BLANK}, got the normalizer {other}")),
        }
    }
    for step in steps(&json["pre_tokenizer"], "pretokenizers") {
        match step["type"].as_str().unwrap_or_default() {
            "Metaspace" if step["replacement"] == BLANK => {
                (prefix, blanks) = (step["prepend_scheme"] != "never", true);
            }
            // Blanks are no longer there to be split at.
            "Split" if blanks && step["pattern"]["String"] == " " => {}
            other => return Err(format!("expected text in one piece, got the pre-tokenizer {other}")),
        }
    }
    if !blanks {
        return Err(format!("expected blanks written as {BLANK}, got them as they are"));
    }
    Ok(prefix)
}
