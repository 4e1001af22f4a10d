//! A tokenizer as the metadata of a GGUF file.

use serde_json::Value;

use super::files::token_text;
use super::{Tokenizer, sentencepiece, splits};
use crate::gguf::Meta;

// `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

impl Tokenizer {
    /// The entries `tokenizer.*` of a GGUF file whose embedding has `rows` rows. Rows without a token
    /// get one that is marked as unused, as llama.cpp's converter does.
    ///
    /// # Errors
    /// If GGUF cannot say what this tokenizer does.
    pub(crate) fn gguf_metadata(&self, rows: usize) -> Result<Vec<(String, Meta)>, String> {
        let text = self.inner.to_string(false).map_err(|e| e.to_string())?;
        let json: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        let model = &json["model"];
        let kind = model["type"].as_str().unwrap_or("unknown");
        let fallback = model["byte_fallback"] == true;
        if kind != "BPE" || !(self.pieces.byte_level || fallback) {
            return Err(format!(
                "expected byte-level BPE, or BPE with bytes for what it lacks, got {kind} without; GGUF output needs one"
            ));
        }
        let (tokens, mut kinds) = self.gguf_tokens(&json, rows)?;
        let mut metadata = Vec::new();
        let mut put = |key: &str, value: Meta| metadata.push((format!("tokenizer.{key}"), value));
        if self.pieces.byte_level {
            // GGUF has no place for a normaliser; NFC is what llama.cpp, too, leaves out.
            match json["normalizer"]["type"].as_str() {
                None | Some("NFC") => {}
                Some(other) => return Err(format!("expected no normalizer or NFC, got {other}")),
            }
            let ignore_merges = model["ignore_merges"].as_bool().unwrap_or(false);
            let rule = splits::matching(self.inner.get_pre_tokenizer(), ignore_merges)
                .ok_or("its rule for cutting text into words has no name in GGUF that RELIGN knows")?;
            put("ggml.model", Meta::Text("gpt2".to_owned()));
            put("ggml.pre", Meta::Text(rule.to_owned()));
            put("ggml.tokens", Meta::Texts(tokens));
            put("ggml.token_type", Meta::I32s(kinds));
            put("ggml.merges", Meta::Texts(merges(model)?));
        } else {
            let prefix = sentencepiece::has_prefix(&json)?;
            let scores = scores(model, &tokens)?;
            for (token, kind) in tokens.iter().zip(&mut kinds) {
                if Some(token.as_str()) == model["unk_token"].as_str() {
                    *kind = UNKNOWN;
                } else if is_byte(token) {
                    *kind = BYTE;
                }
            }
            put("ggml.model", Meta::Text("llama".to_owned()));
            put("ggml.pre", Meta::Text("default".to_owned()));
            put("ggml.tokens", Meta::Texts(tokens));
            put("ggml.scores", Meta::F32s(scores));
            put("ggml.token_type", Meta::I32s(kinds));
            put("ggml.add_space_prefix", Meta::Bool(prefix));
        }
        if let Some(bos) = self.bos {
            put("ggml.bos_token_id", Meta::U32(bos));
        }
        let keys = ["ggml.eos_token_id", "ggml.eot_token_id", "ggml.eom_token_id"];
        for (key, &id) in keys.iter().zip(&self.eos) {
            put(key, Meta::U32(id));
        }
        for (key, name) in [("ggml.unknown_token_id", "unk_token"), ("ggml.padding_token_id", "pad_token")] {
            if let Some(id) = self.config.get(name).and_then(token_text).and_then(|text| self.token_id(text)) {
                put(key, Meta::U32(id));
            }
        }
        put("ggml.add_bos_token", Meta::Bool(self.adds_bos));
        if let Some(template) = self.template() {
            put("chat_template", Meta::Text(template.source().to_owned()));
        }
        Ok(metadata)
    }

    /// Every row's token and its type.
    fn gguf_tokens(&self, json: &Value, rows: usize) -> Result<(Vec<String>, Vec<i32>), String> {
        let count = self.vocab_size();
        if count > rows {
            return Err(format!("expected at most {rows} tokens, the rows of the embedding, got {count}"));
        }
        let mut tokens: Vec<String> = (0..rows).map(|id| format!("[PAD{id}]")).collect();
        let mut kinds = vec![UNUSED; rows];
        for (token, id) in self.inner.get_vocab(false) {
            tokens[id as usize] = token;
            kinds[id as usize] = NORMAL;
        }
        for added in json["added_tokens"].as_array().into_iter().flatten() {
            let content = added["content"].as_str().unwrap_or_default();
            for flag in ["lstrip", "rstrip", "single_word"] {
                if added[flag] == true {
                    return Err(format!("added token {content:?}: `{flag}` has no place in GGUF"));
                }
            }
            let id = added["id"].as_u64().and_then(|id| usize::try_from(id).ok()).filter(|id| *id < rows);
            let id =
                id.ok_or_else(|| format!("added token {content:?}: expected an id below {rows}, got {}", added["id"]))?;
            tokens[id] = content.to_owned();
            kinds[id] = if added["special"] == true { CONTROL } else { USER_DEFINED };
        }
        Ok((tokens, kinds))
    }
}

/// Whether a token stands for a byte.
fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && digits.chars().all(|c| c.is_ascii_hexdigit()))
}

/// A score for every token, from which SentencePiece's merges come in the order of the list of merges: a token that an
/// earlier merge makes has the better score.
fn scores(model: &Value, tokens: &[String]) -> Result<Vec<f32>, String> {
    let mut rank = std::collections::HashMap::new();
    for merge in merges(model)? {
        // Neither part is empty, so a blank at the very start belongs to the left part.
        let first = merge.chars().next().map_or(0, char::len_utf8);
        let cut = merge[first..].find(' ').map(|at| at + first).ok_or_else(|| format!("merge {merge:?}: no pair"))?;
        let next = rank.len();
        rank.entry(format!("{}{}", &merge[..cut], &merge[cut + 1..])).or_insert(next);
    }
    // f32 counts to 2^24 without a gap, which is more than any vocabulary has.
    Ok(tokens.iter().map(|token| -(rank.get(token).copied().unwrap_or(rank.len()) as f32)).collect())
}

/// The merges, each as its two parts with a blank between.
fn merges(model: &Value) -> Result<Vec<String>, String> {
    let list = model["merges"].as_array().ok_or("it has no merges")?;
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(pair) => Some(format!("{} {}", pair.first()?.as_str()?, pair.get(1)?.as_str()?)),
        _ => None,
    };
    list.iter().map(|value| text(value).ok_or_else(|| format!("merge {value}: expected a pair of tokens"))).collect()
}
