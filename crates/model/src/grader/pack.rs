//! Texts that begin alike, laid out as trees: what they share is there once.

use crate::Segment;

/// Texts that go through the model together.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) tokens: Vec<i64>,
    pub(super) segments: Vec<Segment>,
    pub(super) texts: Vec<Text>,
}

/// Where a text's tokens lie.
#[derive(Debug)]
pub(super) struct Text {
    /// Which of the texts it is.
    pub(super) index: usize,
    /// Its spans, in order: the first token of each within the text, and its row.
    spans: Vec<(usize, usize)>,
}

impl Text {
    /// The row of the text's token `place`.
    pub(super) fn row(&self, place: usize) -> usize {
        let span = self.spans.partition_point(|&(first, _)| first <= place) - 1;
        let (first, row) = self.spans[span];
        row + place - first
    }
}

/// Packs `texts`, none of them empty, into as many passes as it takes, each of at most `most` rows unless one text
/// alone has more.
pub(super) fn pack(texts: &[&[u32]], most: usize) -> Vec<Packed> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    // Neighbours have the longest beginnings in common.
    order.sort_by(|&a, &b| texts[a].cmp(texts[b]).then(a.cmp(&b)));
    let mut passes = Vec::new();
    let (mut from, mut rows) = (0, 0);
    for at in 0..order.len() {
        let text = texts[order[at]];
        let new = if at > from { text.len() - common(texts[order[at - 1]], text) } else { text.len() };
        if at > from && rows + new > most {
            passes.push(tree(texts, &order[from..at]));
            (from, rows) = (at, text.len());
        } else {
            rows += new;
        }
    }
    if from < order.len() {
        passes.push(tree(texts, &order[from..]));
    }
    passes
}

/// Tokens that two texts begin with.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The tree of texts in their order.
fn tree(texts: &[&[u32]], order: &[usize]) -> Packed {
    let mut packed = Packed { tokens: Vec::new(), segments: Vec::new(), texts: Vec::new() };
    packed.texts.extend(order.iter().map(|&index| Text { index, spans: Vec::new() }));
    // Groups that have `depth` tokens in common, which are laid out already, the last of them in segment `parent`.
    let mut groups = vec![(0, order.len(), 0, None)];
    while let Some((from, to, depth, parent)) = groups.pop() {
        let first = texts[order[from]];
        // In order, what the first and the last have in common all have.
        let end = common(first, texts[order[to - 1]]);
        let mut here = parent;
        if end > depth {
            let start = packed.tokens.len();
            packed.tokens.extend(first[depth..end].iter().map(|&token| i64::from(token)));
            here = Some(packed.segments.len());
            packed.segments.push(Segment { start, len: end - depth, parent });
            packed.texts[from..to].iter_mut().for_each(|text| text.spans.push((depth, start)));
        }
        // Those that end here come first; the rest fall apart by their next token.
        let mut next = from + order[from..to].iter().take_while(|&&index| texts[index].len() == end).count();
        while next < to {
            let token = texts[order[next]][end];
            let alike = order[next..to].iter().take_while(|&&index| texts[index][end] == token).count();
            groups.push((next, next + alike, end, here));
            next += alike;
        }
    }
    packed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_is_on_a_path_and_nothing_is_there_twice(
            texts in prop::collection::vec(prop::collection::vec(0_u32..3, 1..9), 1..12),
            most in 1_usize..40,
        ) {
            let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
            let passes = pack(&texts, most);
            let mut seen = vec![0; texts.len()];
            for packed in &passes {
                prop_assert!(packed.texts.len() == 1 || packed.tokens.len() <= most);
                let mut beginnings = std::collections::BTreeSet::new();
                for text in &packed.texts {
                    seen[text.index] += 1;
                    let own = texts[text.index];
                    for place in 0..own.len() {
                        let row = text.row(place);
                        prop_assert_eq!(packed.tokens[row], i64::from(own[place]));
                        // What a token sees: the tokens before it in its segment, and the segments above.
                        let mut segment = packed.segments.iter().position(|s| (s.start..s.start + s.len).contains(&row));
                        let mut before = row;
                        let mut path: Vec<i64> = Vec::new();
                        while let Some(at) = segment {
                            let Segment { start, parent, .. } = packed.segments[at];
                            path.extend(packed.tokens[start..=before].iter().rev());
                            if let Some(up) = parent {
                                prop_assert!(up < at);
                                before = packed.segments[up].start + packed.segments[up].len - 1;
                            }
                            segment = parent;
                        }
                        path.reverse();
                        prop_assert_eq!(path, own[..=place].iter().map(|&t| i64::from(t)).collect::<Vec<_>>());
                        beginnings.insert(own[..=place].to_vec());
                    }
                }
                prop_assert_eq!(packed.tokens.len(), beginnings.len());
                let ends: usize = packed.segments.iter().map(|s| s.len).sum();
                prop_assert_eq!(ends, packed.tokens.len());
            }
            prop_assert!(seen.iter().all(|&times| times == 1));
        }
    }
}
