//! Text from tokens, and the strings that end it.

/// The bytes of a completion so far, searched for stop strings as they grow.
#[derive(Debug, Default)]
pub(crate) struct Text {
    bytes: Vec<u8>,
}

impl Text {
    /// Appends a token's bytes. True once a stop string is there, also across tokens; the text is
    /// then cut before the earliest.
    pub(crate) fn push(&mut self, bytes: &[u8], stops: &[String]) -> bool {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let found = stops.iter().filter_map(|stop| {
            let stop = stop.as_bytes();
            // Whatever lies wholly before the new bytes was searched already.
            let from = before.saturating_sub(stop.len() - 1);
            self.bytes[from..].windows(stop.len()).position(|window| window == stop).map(|at| from + at)
        });
        let Some(cut) = found.min() else { return false };
        self.bytes.truncate(cut);
        true
    }

    /// The text; bytes that are not UTF-8, such as a character cut off at the end, become U+FFFD.
    pub(crate) fn finish(self) -> String {
        String::from_utf8(self.bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_stop_string_is_found_however_the_text_is_cut(
            text in "[abé]{0,30}",
            stops in prop::collection::vec("[abé]{1,4}", 0..3),
            cuts in prop::collection::vec(1_usize..5, 0..40),
        ) {
            let mut bytes = text.as_bytes();
            let mut grown = Text::default();
            let mut stopped = false;
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, rest) = bytes.split_at(cut.min(bytes.len()));
                bytes = rest;
                stopped = grown.push(now, &stops);
                if stopped {
                    break;
                }
            }
            // Growing piece by piece, the stop that ends first wins; its text must hold no stop and go on
            // with one in the whole.
            let end = grown.finish();
            let exists = stops.iter().any(|stop| text.contains(stop.as_str()));
            prop_assert_eq!(stopped, exists);
            prop_assert!(text.starts_with(&end));
            prop_assert!(!stops.iter().any(|stop| end.contains(stop.as_str())));
            if stopped {
                prop_assert!(stops.iter().any(|stop| text[end.len()..].starts_with(stop.as_str())));
            } else {
                prop_assert_eq!(end, text);
            }
        }
    }

    #[test]
    fn a_broken_end_is_replaced() {
        let mut text = Text::default();
        assert!(!text.push(b"caf\xc3", &[]));
        assert_eq!(text.finish(), "caf\u{fffd}");
    }
}
