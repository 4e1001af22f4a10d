//! How many tokens of an answer are thought.

use relign_core::{NodeId, Tokenize, Tree, answer_spans};

/// Notes at every leaf with a thought how many of its path's tokens the thought takes.
pub(super) fn count_thoughts(tree: &mut Tree, tokenizer: &dyn Tokenize) {
    let leaves: Vec<NodeId> = tree.leaves().collect();
    for leaf in leaves {
        tree.nodes[leaf].thought_tokens = thought_tokens(tree, leaf, tokenizer);
    }
}

/// The tokens of the path to `leaf` that are thought; nothing where it has no thought or its tokens are unknown.
fn thought_tokens(tree: &Tree, leaf: NodeId, tokenizer: &dyn Tokenize) -> Option<u64> {
    let transcript = tree.transcript(leaf);
    let ids = transcript.ids.as_ref().filter(|ids| !ids.is_empty())?;
    let text = transcript.last();
    let spans = answer_spans(text, transcript.in_thought, &transcript.thought_markers)?;
    let spelled = transcript.messages.len() == 1 && tokenizer.decode(ids).starts_with(text);
    if !spelled {
        // Several turns, or words that a strategy put in: each character counts the same.
        let answer: usize = spans.iter().map(ExactSizeIterator::len).sum();
        let thought = (text.len() - answer) as f64 / text.len().max(1) as f64;
        return Some((thought * ids.len() as f64).round() as u64);
    }
    // The least number of tokens whose text reaches `end`: a token that only begins before it counts as before it.
    let before = |end: usize| partition(ids.len(), |count| tokenizer.decode(&ids[..count]).len() < end);
    let answer: usize = spans.iter().map(|span| before(span.end) - before(span.start)).sum();
    let whole = before(text.len());
    Some((whole - answer.min(whole)) as u64)
}

/// The first number of `0..=most` of which `below` is false, or `most`.
fn partition(most: usize, below: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low.midpoint(high);
        if below(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use relign_core::{Author, Message, Node, Task};

    use super::*;

    /// A token is a letter, and 256 is a long word.
    struct Letters;

    impl Tokenize for Letters {
        fn render(&self, _: &[Message]) -> Result<Vec<u32>, String> {
            Ok(Vec::new())
        }

        fn decode(&self, tokens: &[u32]) -> String {
            tokens
                .iter()
                .flat_map(|&token| {
                    match char::from_u32(token) {
                        Some(letter) if token < 256 => letter.to_string(),
                        _ => "nevertheless".to_owned(),
                    }
                    .chars()
                    .collect::<Vec<_>>()
                })
                .collect()
        }
    }

    fn counted(parts: &[(Author, &str)], in_thought: bool) -> Option<u64> {
        let mut tree = Tree::new(Task::default(), vec![1]);
        tree.in_thought = in_thought;
        let mut last = 0;
        for (author, text) in parts {
            let word = text.find("nevertheless");
            let letters = |text: &str| text.bytes().map(u32::from).collect::<Vec<_>>();
            let tokens = match word {
                Some(at) => [letters(&text[..at]), vec![256], letters(&text[at + 12..])].concat(),
                None => letters(text),
            };
            let node = Node { tokens, text: (*text).to_owned(), ..Node::after(last, *author) };
            last = tree.push(node);
        }
        count_thoughts(&mut tree, &Letters);
        tree.nodes[last].thought_tokens
    }

    #[test]
    fn thoughts_are_counted_in_tokens() {
        let policy = |text| [(Author::Policy, text)];
        assert_eq!(counted(&policy("12"), false), None);
        assert_eq!(counted(&policy("<think>5</think>12"), false), Some(16));
        // One token of twelve letters is one token.
        assert_eq!(counted(&policy("<think>nevertheless</think>12"), false), Some(16));
        assert_eq!(counted(&policy("5</think>12"), true), Some(9));
        assert_eq!(counted(&policy("never ends"), true), Some(10));
        assert_eq!(counted(&[(Author::Policy, "<think>5"), (Author::Policy, "</think>12")], false), Some(16));
        // What a strategy put in has no sampled tokens: 20 of 22 letters are thought, and 18 tokens were sampled.
        let parts = [(Author::Policy, "<think>5"), (Author::Search, "Wait"), (Author::Policy, "</think>12")];
        assert_eq!(counted(&parts, false), Some(16));
    }
}
