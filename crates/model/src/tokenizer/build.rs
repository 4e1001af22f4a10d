//! A tokenizer from the vocabulary in a GGUF file.

use std::path::Path;

use serde_json::{Map, Value, json};
use tokenizers::AddedToken;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::BPE;
use tokenizers::processors::template::TemplateProcessing;

use super::{Tokenizer, sentencepiece, splits};
use crate::CheckpointError;
use crate::gguf::Gguf;

/// `tokenizer.ggml.token_type`: steers the model and is no text.
const CONTROL: i64 = 3;
const UNKNOWN: i64 = 2;
/// A whole token by decree: text, but never merged or split.
const USER_DEFINED: i64 = 4;

/// Control tokens that end an answer wherever they exist, as llama.cpp also takes them: files name
/// one end token only, and models end with the other, too.
const ENDS: &[&str] =
    &["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|end|>", "<end_of_turn>"];

impl Tokenizer {
    /// Builds the tokenizer that a GGUF file describes.
    ///
    /// # Errors
    /// If the file has neither a byte-level BPE nor a SentencePiece vocabulary, names a splitting rule
    /// that is not known, or contradicts itself.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, CheckpointError> {
        let path = gguf.path();
        let model = gguf.text("tokenizer.ggml.model")?.unwrap_or("nothing");
        let rule = match model {
            "gpt2" => Some(rule(gguf)?),
            "llama" => None,
            _ => {
                let expected = "gpt2 (byte-level BPE) or llama (SentencePiece)";
                let what = format!("tokenizer.ggml.model: expected {expected}, got {model}; use a Hugging Face folder");
                return Err(CheckpointError::unsupported(path, what));
            }
        };

        let tokens = required(gguf, "tokenizer.ggml.tokens")?;
        let kinds = gguf.integers("tokenizer.ggml.token_type")?.unwrap_or_else(|| vec![1; tokens.len()]);
        if kinds.len() != tokens.len() {
            let expected = format!("one for each of {} tokens", tokens.len());
            return Err(CheckpointError::malformed(
                path,
                "tokenizer.ggml.token_type",
                expected,
                kinds.len().to_string(),
            ));
        }
        let token = |key: &str| -> Result<Option<&str>, CheckpointError> {
            let Some(id) = gguf.unsigned(key)? else { return Ok(None) };
            let known = usize::try_from(id).ok().and_then(|id| tokens.get(id)).map(String::as_str);
            let outside =
                || CheckpointError::malformed(path, key, format!("an id below {}", tokens.len()), id.to_string());
            known.ok_or_else(outside).map(Some)
        };
        let bos = token("tokenizer.ggml.bos_token_id")?;
        let adds_bos = gguf.boolean("tokenizer.ggml.add_bos_token")?.unwrap_or(rule.is_none_or(|r| r.adds_bos));
        let adds_bos = adds_bos && bos.is_some();

        let mut settings = Map::new();
        // The class that takes tokenizer.json as it is.
        settings.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"));
        settings.insert("clean_up_tokenization_spaces".to_owned(), json!(false));
        settings.insert("add_bos_token".to_owned(), json!(adds_bos));
        let eos = token("tokenizer.ggml.eos_token_id")?;
        for (name, token) in [
            ("bos_token", bos),
            ("eos_token", eos),
            ("unk_token", token("tokenizer.ggml.unknown_token_id")?),
            ("pad_token", token("tokenizer.ggml.padding_token_id")?),
        ] {
            if let Some(token) = token {
                settings.insert(name.to_owned(), json!(token));
            }
        }
        if let Some(source) = gguf.text("tokenizer.chat_template")? {
            settings.insert("chat_template".to_owned(), json!(source));
        }
        let arch = gguf.text("general.architecture")?.unwrap_or_default();
        if let Some(context) = gguf.unsigned(&format!("{arch}.context_length"))? {
            settings.insert("model_max_length".to_owned(), json!(context));
        }

        let mut ends: Vec<u32> = Vec::new();
        for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"] {
            if token(key)?.is_some() {
                ends.extend(gguf.unsigned(key)?.and_then(|id| u32::try_from(id).ok()));
            }
        }
        for (id, (token, kind)) in tokens.iter().zip(&kinds).enumerate() {
            if *kind == CONTROL && ENDS.contains(&token.as_str()) {
                ends.push(id as u32);
            }
        }
        let vocab = vocabulary(path, &tokens)?;
        let mut inner = match rule {
            Some(rule) => byte_level(path, rule, vocab, &required(gguf, "tokenizer.ggml.merges")?)?,
            None => pieces(gguf, &tokens, vocab, token("tokenizer.ggml.unknown_token_id")?)?,
        };
        add_tokens(&mut inner, &tokens, &kinds);
        if let Some(bos) = bos.filter(|_| adds_bos) {
            put_in_front(path, &mut inner, bos)?;
        }
        let mut tokenizer = Self::assemble(path, inner, Value::Object(settings), None, ends)?;
        tokenizer.saved_nfc = rule.is_some_and(|rule| rule.nfc);
        Ok(tokenizer)
    }
}

fn required(gguf: &Gguf, key: &str) -> Result<Vec<String>, CheckpointError> {
    let missing = || CheckpointError::malformed(gguf.path(), key, "an array of strings", "nothing");
    gguf.strings(key)?.ok_or_else(missing)
}

/// The splitting rule that a byte-level vocabulary names.
fn rule(gguf: &Gguf) -> Result<&'static splits::Rule, CheckpointError> {
    let name = gguf.text("tokenizer.ggml.pre")?.unwrap_or("default");
    splits::find(name).ok_or_else(|| {
        let known = splits::names().join(", ");
        CheckpointError::unsupported(gguf.path(), format!("tokenizer.ggml.pre: expected one of {known}, got {name}"))
    })
}

fn vocabulary(path: &Path, tokens: &[String]) -> Result<ahash::AHashMap<String, u32>, CheckpointError> {
    let mut vocab = ahash::AHashMap::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        if let Some(other) = vocab.insert(token.clone(), id as u32) {
            let got = format!("{token:?} as {other} and as {id}");
            return Err(CheckpointError::malformed(path, "tokenizer.ggml.tokens", "unique tokens", got));
        }
    }
    Ok(vocab)
}

/// Byte-level BPE with stored merges.
fn byte_level(
    path: &Path,
    rule: &splits::Rule,
    vocab: ahash::AHashMap<String, u32>,
    merges: &[String],
) -> Result<tokenizers::Tokenizer, CheckpointError> {
    let bad = |thing: &str, expected: &str, got: String| CheckpointError::malformed(path, thing, expected, got);
    let mut pairs = Vec::with_capacity(merges.len());
    for (index, merge) in merges.iter().enumerate() {
        // Neither part is empty, so a blank at the very start belongs to the left part.
        let first = merge.chars().next().map_or(0, char::len_utf8);
        let cut = merge[first..].find(' ').map(|at| at + first);
        let Some((left, right)) = cut.map(|at| (&merge[..at], &merge[at + 1..])) else {
            let got = format!("{merge:?} at {index}");
            return Err(bad("tokenizer.ggml.merges", "two parts with a blank between", got));
        };
        pairs.push((left.to_owned(), right.to_owned()));
    }
    let model = BPE::builder().vocab_and_merges(vocab, pairs).ignore_merges(rule.ignore_merges).build();
    let model = model.map_err(|e| bad("tokenizer", "merges among its own tokens", e.to_string()))?;
    let words = rule.pre_tokenizer().map_err(|e| bad("tokenizer.ggml.pre", "a valid rule", e.to_string()))?;
    let mut inner = tokenizers::Tokenizer::new(model);
    inner.with_pre_tokenizer(Some(words));
    inner.with_decoder(Some(ByteLevel::default()));
    Ok(inner)
}

/// SentencePiece's BPE with scores.
fn pieces(
    gguf: &Gguf,
    tokens: &[String],
    vocab: ahash::AHashMap<String, u32>,
    unknown: Option<&str>,
) -> Result<tokenizers::Tokenizer, CheckpointError> {
    let key = "tokenizer.ggml.scores";
    let bad =
        |thing: &str, expected: String, got: String| CheckpointError::malformed(gguf.path(), thing, expected, got);
    let scores = gguf.floats(key)?.unwrap_or_default();
    if scores.len() != tokens.len() {
        return Err(bad(key, format!("one for each of {} tokens", tokens.len()), scores.len().to_string()));
    }
    let prefix = gguf.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    sentencepiece::build(tokens, vocab, &scores, unknown, prefix)
        .map_err(|e| bad("tokenizer", "pieces that make a tokenizer".to_owned(), e.to_string()))
}

fn add_tokens(inner: &mut tokenizers::Tokenizer, tokens: &[String], kinds: &[i64]) {
    let (special, whole): (Vec<_>, Vec<_>) = tokens
        .iter()
        .zip(kinds)
        .filter(|(_, kind)| matches!(**kind, CONTROL | UNKNOWN | USER_DEFINED))
        .map(|(token, kind)| AddedToken::from(token.as_str(), *kind != USER_DEFINED).normalized(false))
        .partition(|token| token.special);
    inner.add_special_tokens(&special);
    inner.add_tokens(&whole);
}

fn put_in_front(path: &Path, inner: &mut tokenizers::Tokenizer, bos: &str) -> Result<(), CheckpointError> {
    let id = inner.token_to_id(bos).unwrap_or_default();
    let processor = TemplateProcessing::builder()
        .try_single(format!("{bos} $A"))
        .map_err(|e| e.to_string())
        .and_then(|b| b.special_tokens(vec![(bos.to_owned(), id)]).build().map_err(|e| e.to_string()))
        .map_err(|e| {
            CheckpointError::malformed(path, "beginning-of-sequence token", "one that can be put in front", e)
        })?;
    inner.with_post_processor(Some(processor));
    Ok(())
}
