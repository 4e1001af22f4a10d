//! Text to tokens and back: `tokenizer.json`, or the vocabulary of a GGUF file.

mod build;
mod export;
mod files;
mod pieces;
mod sentencepiece;
mod splits;
mod stream;

use std::path::Path;

use relign_core::{Message, Tokenize};
use serde::Serialize;
use serde_json::{Map, Value};
use tokenizers::normalizers::NFC;
use tokenizers::{AddedVocabulary, Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use crate::checkpoint::read_json;
use crate::guard::guarded;
use crate::{CheckpointError, Template};
use files::Templates;
use pieces::Pieces;

pub use stream::{TextStream, unfinished};

/// A tokenizer with its chat template and end tokens.
///
/// Built from a GGUF file it gives llama.cpp's tokens, from `tokenizer.json` those of transformers.
/// The two differ for Qwen2 where text is not in Unicode's composed form NFC: transformers composes it
/// first, GGUF has no place for that rule and llama.cpp takes text as it comes. A saved folder holds
/// the rule again, whatever the tokenizer was built from.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The added tokens with the special ones taken as plain text.
    plain: AddedVocabulary,
    pieces: Pieces,
    eos: Vec<u32>,
    bos: Option<u32>,
    adds_bos: bool,
    templates: Templates,
    /// `tokenizer_config.json`, kept for saving.
    config: Value,
    /// `generation_config.json`, likewise.
    generation: Option<Value>,
    /// Text is composed to NFC by the `tokenizer.json` that is saved, though not here.
    saved_nfc: bool,
}

/// Text with something of everything that a tokenizer may stumble over.
const PROBE: &str = "Aa 1\u{fffd}\u{10ffff}";

impl Tokenizer {
    /// Reads `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja` of a folder;
    /// `config` and `generation` are its `config.json` and `generation_config.json`, which name end
    /// tokens.
    ///
    /// # Errors
    /// If `tokenizer.json` is missing, or a file cannot be understood.
    pub fn from_folder(folder: &Path, config: &Value, generation: Option<&Value>) -> Result<Self, CheckpointError> {
        let file = folder.join("tokenizer.json");
        if !file.is_file() {
            return Err(CheckpointError::MissingFile {
                path: folder.to_owned(),
                thing: "tokenizer.json".to_owned(),
                hint: "RELIGN reads the tokenizers library's format; AutoTokenizer's save_pretrained writes it"
                    .to_owned(),
            });
        }
        let bytes = std::fs::read(&file).map_err(CheckpointError::io(&file))?;
        let bad = |got: String| CheckpointError::malformed(&file, "the file", "a tokenizer", got);
        let inner =
            guarded(|| tokenizers::Tokenizer::from_bytes(&bytes)).map_err(bad)?.map_err(|e| bad(e.to_string()))?;
        let settings = folder.join("tokenizer_config.json");
        let mut settings = if settings.is_file() { read_json(&settings)? } else { Value::Object(Default::default()) };
        if !settings.is_object() {
            let file = folder.join("tokenizer_config.json");
            return Err(CheckpointError::malformed(&file, "the file", "a JSON object", "another value"));
        }
        files::complete(folder, &mut settings)?;
        let mut eos = Vec::new();
        for json in generation.into_iter().chain([config]) {
            match json.get("eos_token_id") {
                Some(Value::Array(ids)) => eos.extend(ids.iter().filter_map(Value::as_u64)),
                Some(id) => eos.extend(id.as_u64()),
                None => {}
            }
        }
        let eos = eos.into_iter().filter_map(|id| u32::try_from(id).ok()).collect();
        Self::assemble(folder, inner, settings, generation.cloned(), eos)
    }

    /// Puts the parts together; `eos` are end tokens that are known already.
    fn assemble(
        path: &Path,
        inner: tokenizers::Tokenizer,
        config: Value,
        generation: Option<Value>,
        mut eos: Vec<u32>,
    ) -> Result<Self, CheckpointError> {
        let specials = files::specials(&config);
        let id = |name: &str| specials.get(name).and_then(|text| inner.token_to_id(text));
        eos.extend(id("eos_token"));
        let mut seen = std::collections::HashSet::new();
        eos.retain(|&id| seen.insert(id));
        let bos = id("bos_token");
        // Newer folders say it by their post-processor alone.
        let adds_bos = config.get("add_bos_token").and_then(Value::as_bool).unwrap_or_else(|| {
            let ids = guarded(|| inner.encode_fast("a", true));
            ids.is_ok_and(|ids| ids.is_ok_and(|ids| bos.is_some() && ids.get_ids().first().copied() == bos))
        });
        let templates = Templates::read(path, &config)?;
        let mut plain = inner.get_added_vocabulary().clone();
        plain.set_encode_special_tokens(true);
        let vocab = inner.get_vocab(true);
        let most = vocab.values().max().map_or(0, |&id| id as usize);
        // Holes are allowed, as models pad their embeddings, but no table is made for an absurd id.
        if most >= vocab.len().saturating_mul(4).saturating_add(1 << 16) {
            let expected = format!("ids that fit {} tokens", vocab.len());
            return Err(CheckpointError::malformed(path, "tokenizer", expected, format!("the id {most}")));
        }
        let pieces = Pieces::new(&inner, &vocab, most);
        let tokenizer =
            Self { inner, plain, pieces, eos, bos, adds_bos, templates, config, generation, saved_nfc: false };
        // A vocabulary that lacks its own unknown token fails on the first odd character: say so now.
        let bad = |got: String| CheckpointError::malformed(path, "tokenizer", "one that takes any text", got);
        let probe = guarded(|| tokenizer.pipeline(&tokenizer.plain, PROBE)).map_err(bad)?;
        probe.map_err(|e| bad(e.to_string()))?;
        Ok(tokenizer)
    }

    /// The tokens of plain text: no token is added, and text that looks like a special token stays text.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.run(&self.plain, text)
    }

    /// The tokens of text in which special tokens are written out, as a rendered template has them.
    /// No token is added.
    #[must_use]
    pub fn encode_with_specials(&self, text: &str) -> Vec<u32> {
        self.run(self.inner.get_added_vocabulary(), text)
    }

    fn run(&self, added: &AddedVocabulary, text: &str) -> Vec<u32> {
        self.pipeline(added, text).expect("a tokenizer that took the probe at its opening takes any text")
    }

    /// Added tokens, normalisation, words, merges. The library's own entry point would also work out
    /// offsets that nobody here reads.
    fn pipeline(&self, added: &AddedVocabulary, text: &str) -> tokenizers::Result<Vec<u32>> {
        let mut pieces: PreTokenizedString = added.extract_and_normalize(self.inner.get_normalizer(), text);
        if let Some(words) = self.inner.get_pre_tokenizer() {
            words.pre_tokenize(&mut pieces)?;
        }
        let model = self.inner.get_model();
        pieces.tokenize(|piece| model.tokenize(piece.get()))?;
        let mut ids = Vec::with_capacity(text.len() / 3 + 1);
        for (_, _, tokens) in pieces.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            ids.extend(tokens.iter().flatten().map(|token| token.id));
        }
        Ok(ids)
    }

    /// The text of tokens, special tokens left out, invalid UTF-8 replaced.
    #[must_use]
    pub fn decode(&self, tokens: &[u32]) -> String {
        if !self.pieces.byte_level {
            return self.inner.decode(tokens, true).unwrap_or_default();
        }
        let bytes: Vec<u8> =
            tokens.iter().filter(|&&t| !self.is_special(t)).flat_map(|&t| self.token_bytes(t)).copied().collect();
        String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    }

    /// Text from tokens that arrive one at a time.
    #[must_use]
    pub fn stream(&self) -> TextStream<'_> {
        TextStream::new(self)
    }

    /// The bytes that a token stands for, special tokens as they are written; empty for an id outside
    /// the vocabulary. A character may begin in one token and end in another.
    #[must_use]
    pub fn token_bytes(&self, token: u32) -> &[u8] {
        let index = token as usize;
        let Some(&end) = self.pieces.ends.get(index) else { return &[] };
        let start = index.checked_sub(1).map_or(0, |before| self.pieces.ends[before]);
        &self.pieces.bytes[start as usize..end as usize]
    }

    /// Whether a token is special: it steers the model and is no text.
    #[must_use]
    pub fn is_special(&self, token: u32) -> bool {
        self.pieces.special.get(token as usize).copied().unwrap_or(false)
    }

    /// The id of a token by its text in the vocabulary, for example `<|im_end|>`.
    #[must_use]
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The tokens that end an answer, the principal one first: those of generation_config.json,
    /// config.json and the tokenizer, or of the GGUF file.
    #[must_use]
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos
    }

    /// The beginning-of-sequence token.
    #[must_use]
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// Whether the model was trained on text that starts with [`bos`](Self::bos). Templates write it
    /// themselves; raw text needs it put in front.
    #[must_use]
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// One more than the greatest token id. A model's embedding may have more rows.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.pieces.ends.len()
    }

    /// The chat template, where the checkpoint has one and it is clear which.
    #[must_use]
    pub fn template(&self) -> Option<&Template> {
        self.templates.choose().ok().flatten()
    }

    /// Gives further variables to the chat template whenever it renders: `enable_thinking`, `tools`, `documents` and
    /// whatever else it reads, as servers take them as `chat_template_kwargs`. `chat_template` chooses among several
    /// templates by name.
    ///
    /// # Errors
    /// If one has a meaning of its own (`messages`, `add_generation_prompt`), no such template is there, or there is
    /// none at all.
    pub fn with_arguments(mut self, arguments: Map<String, Value>) -> Result<Self, String> {
        if let Some(name) = ["messages", "add_generation_prompt"].into_iter().find(|name| arguments.contains_key(*name))
        {
            return Err(format!("template arguments: {name} is RELIGN's own to set"));
        }
        let given = !arguments.is_empty();
        self.templates.arguments = arguments;
        if given && self.templates.choose()?.is_none() {
            return Err("template arguments: expected a model with a chat template, this one has none".to_owned());
        }
        Ok(self)
    }

    /// The text of a conversation, ready for the model's answer. A checkpoint without a template (a
    /// base model) gets the messages' contents with an empty line after each, led by the
    /// beginning-of-sequence token where the model wants one.
    ///
    /// # Errors
    /// If the template rejects the conversation.
    pub fn render_text(&self, messages: &[Message]) -> Result<String, String> {
        if let Some(text) = self.render_with_template(messages, true)? {
            return Ok(text);
        }
        let bos = self.bos.filter(|_| self.adds_bos).and_then(|id| self.inner.id_to_token(id)).unwrap_or_default();
        Ok(messages.iter().fold(bos, |text, message| text + &message.content + "\n\n"))
    }

    /// The text of a conversation of any shape that the chat template takes (calls of tools, contents in parts); with
    /// `answer`, ready for the model's answer. None where the checkpoint has no template.
    ///
    /// # Errors
    /// If the template rejects the conversation.
    pub fn render_with_template(
        &self,
        messages: &(impl Serialize + ?Sized),
        answer: bool,
    ) -> Result<Option<String>, String> {
        let Some(template) = self.templates.choose()? else { return Ok(None) };
        let mut arguments = self.templates.arguments.clone();
        arguments.remove("chat_template");
        template.render_with(messages, answer, &arguments).map(Some)
    }

    /// `tokenizer.json`.
    pub(crate) fn to_json(&self) -> Result<String, String> {
        if self.saved_nfc {
            let mut composing = self.inner.clone();
            composing.with_normalizer(Some(NFC));
            return composing.to_string(false).map_err(|e| e.to_string());
        }
        self.inner.to_string(false).map_err(|e| e.to_string())
    }

    /// `tokenizer_config.json`, with the template.
    pub(crate) fn config_json(&self) -> &Value {
        &self.config
    }

    /// `generation_config.json`, where the checkpoint had one.
    pub(crate) fn generation_json(&self) -> Option<&Value> {
        self.generation.as_ref()
    }
}

impl Tokenize for Tokenizer {
    fn render(&self, messages: &[Message]) -> Result<Vec<u32>, String> {
        self.render_text(messages).map(|text| self.encode_with_specials(&text))
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        Ok(Self::encode(self, text))
    }

    fn decode(&self, tokens: &[u32]) -> String {
        Self::decode(self, tokens)
    }
}
