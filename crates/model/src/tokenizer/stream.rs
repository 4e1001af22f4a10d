//! Text from tokens that arrive one at a time.

use super::Tokenizer;

/// Turns tokens into text as they come. A character whose bytes are spread over several tokens is
/// held back until it is complete; all pieces joined are the text of all tokens.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    pending: Vec<u8>,
}

impl<'a> TextStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, pending: Vec::new() }
    }

    /// Takes a token and returns the text that became complete; special tokens have none. Bytes that
    /// can no longer become UTF-8 turn into U+FFFD.
    pub fn push(&mut self, token: u32) -> String {
        if self.tokenizer.is_special(token) {
            return String::new();
        }
        self.pending.extend_from_slice(self.tokenizer.token_bytes(token));
        let keep = unfinished(&self.pending);
        let rest = self.pending.split_off(self.pending.len() - keep);
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending = rest;
        text
    }

    /// The text of what was held back, once no more tokens come.
    #[must_use]
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

/// How many bytes at the end are the valid beginning of a character that is not complete.
#[must_use]
pub fn unfinished(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    loop {
        match std::str::from_utf8(rest) {
            Ok(_) => return 0,
            Err(error) => match error.error_len() {
                None => return rest.len() - error.valid_up_to(),
                Some(bad) => rest = &rest[error.valid_up_to() + bad..],
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::unfinished;

    #[test]
    fn only_a_possible_beginning_is_held_back() {
        assert_eq!(unfinished(b"abc"), 0);
        assert_eq!(unfinished("a€".as_bytes()), 0);
        assert_eq!(unfinished(&"a€".as_bytes()[..3]), 2);
        assert_eq!(unfinished(&[0xff]), 0);
        assert_eq!(unfinished(&[0xff, 0xf0, 0x9f]), 2);
        assert_eq!(unfinished(&[0xe2, 0x28]), 0);
    }
}
