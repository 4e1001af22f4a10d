//! Text from tokens, and the strings that end it.

use relign_model::unfinished;

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

    /// What was said after the first `told` bytes and stays whatever comes, and where that ends: whole characters, and
    /// nothing that may be the beginning of a stop string.
    pub(crate) fn settled(&self, told: usize, stops: &[String]) -> (String, usize) {
        let held = stops.iter().filter_map(|stop| {
            let stop = stop.as_bytes();
            (1..stop.len()).rev().find(|&n| self.bytes.ends_with(&stop[..n]))
        });
        let end = self.bytes.len() - held.max().unwrap_or(0);
        let Some(new) = self.bytes.get(told..end) else { return (String::new(), told) };
        let new = &new[..new.len() - unfinished(new)];
        (String::from_utf8_lossy(new).into_owned(), told + new.len())
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

    proptest! {
        #[test]
        fn what_is_told_as_it_comes_is_the_beginning_of_the_text(
            bytes in prop::collection::vec(prop::sample::select(b"ab\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xff".to_vec()), 0..40),
            stops in prop::collection::vec("[abé€]{1,4}", 0..3),
            cuts in prop::collection::vec(1_usize..4, 40),
        ) {
            let mut rest = &bytes[..];
            let (mut text, mut heard, mut told) = (Text::default(), String::new(), 0);
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                rest = later;
                let stopped = text.push(now, &stops);
                let (new, end) = text.settled(told, &stops);
                (heard, told) = (heard + &new, end);
                if stopped {
                    break;
                }
                // Nothing is held back but what may become a character or a stop string.
                let held = &text.bytes[told..];
                let begins = |whole: &str| held.len() < whole.len() && whole.as_bytes().starts_with(held);
                let (n, tail) = (unfinished(&text.bytes), held.len());
                prop_assert!(tail == 0 || tail == n || stops.iter().any(|stop| begins(stop)
                    || (0..tail).any(|at| stop.as_bytes().starts_with(&held[at..]))), "{:?} held", held);
            }
            let whole = text.finish();
            prop_assert!(whole.starts_with(&heard), "{:?} of {:?}", heard, whole);
        }
    }

    #[test]
    fn a_broken_end_is_replaced() {
        let mut text = Text::default();
        assert!(!text.push(b"caf\xc3", &[]));
        assert_eq!(text.finish(), "caf\u{fffd}");
    }
}
