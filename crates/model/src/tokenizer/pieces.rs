//! What every token stands for.

use std::collections::HashMap;

/// The bytes of every token.
pub(super) struct Pieces {
    pub(super) bytes: Vec<u8>,
    /// Token `i` is `bytes[ends[i - 1]..ends[i]]`.
    pub(super) ends: Vec<u32>,
    pub(super) special: Vec<bool>,
    pub(super) byte_level: bool,
}

impl Pieces {
    pub(super) fn new(inner: &tokenizers::Tokenizer, vocab: &HashMap<String, u32>, most: usize) -> Self {
        let byte_level = serde_json::to_string(&inner.get_decoder()).is_ok_and(|json| json.contains("\"ByteLevel\""));
        let added = inner.get_added_vocabulary().get_added_tokens_decoder();
        let size = if vocab.is_empty() { 0 } else { most + 1 };
        let mut tokens: Vec<&str> = vec![""; size];
        for (token, &id) in vocab {
            tokens[id as usize] = token;
        }
        let alphabet = byte_alphabet();
        let mut pieces =
            Self { bytes: Vec::new(), ends: Vec::with_capacity(size), special: vec![false; size], byte_level };
        for (id, token) in tokens.into_iter().enumerate() {
            if let Some(added) = added.get(&(id as u32)) {
                pieces.bytes.extend_from_slice(added.content.as_bytes());
                pieces.special[id] = added.special;
            } else if byte_level {
                let start = pieces.bytes.len();
                let known = token.chars().all(|c| alphabet.get(&c).map(|&byte| pieces.bytes.push(byte)).is_some());
                if !known {
                    pieces.bytes.truncate(start);
                    pieces.bytes.extend_from_slice(token.as_bytes());
                }
            } else if let Some(byte) = fallback_byte(token) {
                pieces.bytes.push(byte);
            } else {
                pieces.bytes.extend_from_slice(token.replace('\u{2581}', " ").as_bytes());
            }
            pieces.ends.push(pieces.bytes.len() as u32);
        }
        pieces
    }
}

/// SentencePiece's spelling of a single byte: `<0x0A>`.
fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// GPT-2's printable stand-ins for bytes: printable Latin-1 stands for itself, the other 68 bytes are
/// the characters from U+0100 on, in order.
fn byte_alphabet() -> HashMap<char, u8> {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let rest = (0..=255).filter(|&b| !printable(b)).zip('\u{100}'..).map(|(b, c)| (c, b));
    (0..=255).filter(|&b| printable(b)).map(|b| (char::from(b), b)).chain(rest).collect()
}
