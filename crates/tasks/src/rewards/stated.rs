//! Where an answer says what it comes to.

use std::ops::Range;

/// What a text comes to, as it says itself.
pub(crate) struct Stated<'t> {
    /// The statements, in order. Those of the strongest kind that the text has: within
    /// `<answer>...</answer>`, boxed, behind `####`, behind "answer is" or "answer:"; else the last line.
    pub(crate) parts: Vec<&'t str>,
    /// Whether they are marked as the answer, in contrast to standing on the last line.
    pub(crate) marked: bool,
    /// Whether the last one may go on behind the end of the text.
    pub(crate) open: bool,
}

impl<'t> Stated<'t> {
    /// What `text` states; `finished` tells whether it ended by itself.
    pub(crate) fn of(text: &'t str, finished: bool) -> Self {
        let kind = Self::marked_kinds(text, finished).next();
        kind.unwrap_or_else(|| Self::new(text, last_line(text), false, finished))
    }

    /// What `text` states in each kind that it has, the strongest first; the last line is none.
    pub(crate) fn marked_kinds(text: &'t str, finished: bool) -> impl Iterator<Item = Self> {
        let kinds: [fn(&str) -> Vec<Range<usize>>; 4] = [tagged, boxed, marked, told];
        let found = kinds.into_iter().map(move |kind| kind(text)).filter(|found| !found.is_empty());
        found.map(move |found| Self::new(text, found, true, finished))
    }

    fn new(text: &'t str, found: Vec<Range<usize>>, marked: bool, finished: bool) -> Self {
        let open = !finished && found.last().is_some_and(|last| text[last.end..].trim().is_empty());
        Self { parts: found.into_iter().map(|range| text[range].trim()).collect(), marked, open }
    }
}

/// What stands in the last element `answer` of a text.
pub(crate) fn last_tagged(text: &str) -> Option<&str> {
    tagged(text).pop().map(|range| &text[range])
}

/// What stands in the last `\boxed{}` of a text.
pub(crate) fn last_boxed(text: &str) -> Option<&str> {
    boxed(text).pop().map(|range| &text[range])
}

/// The insides of all elements `answer` that are not empty.
fn tagged(text: &str) -> Vec<Range<usize>> {
    let (open, close) = ("<answer>", "</answer>");
    let insides = text.match_indices(open).filter_map(|(at, _)| {
        let start = at + open.len();
        // Without its end the element is what is left, unless another begins in it.
        let end = text[start..].find(close).map_or(text.len(), |length| start + length);
        Some(start..end).filter(|range| !text[range.clone()].contains(open))
    });
    insides.filter(|range| !text[range.clone()].trim().is_empty()).collect()
}

/// The insides of all `\boxed{}` whose braces close.
pub(crate) fn boxed(text: &str) -> Vec<Range<usize>> {
    let mark = "\\boxed{";
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find(mark) {
        let start = from + at + mark.len();
        let mut depth = 1_u32;
        let end = text[start..].char_indices().find_map(|(at, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            (depth == 0).then_some(start + at)
        });
        // One that does not close takes the rest of the text with it.
        let Some(end) = end else { break };
        if !text[start..end].trim().is_empty() {
            found.push(start..end);
        }
        from = end;
    }
    found
}

/// What follows each `####` on its line.
fn marked(text: &str) -> Vec<Range<usize>> {
    behind(text, text.match_indices("####").map(|(at, mark)| at + mark.len()))
}

/// What follows "answer is" and "answer:" on their lines.
fn told(text: &str) -> Vec<Range<usize>> {
    // Lower case letter by letter, so that places in the text stay where they are.
    let lower = text.to_ascii_lowercase();
    let mut starts: Vec<usize> = Vec::new();
    for mark in ["answer is", "answer:", "answer**:", "answer:**"] {
        starts.extend(lower.match_indices(mark).map(|(at, mark)| at + mark.len()));
    }
    starts.sort_unstable();
    starts.dedup();
    behind(text, starts.into_iter())
}

/// The rest of the line behind each place; where the line ends there, the next line.
fn behind(text: &str, starts: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let trimmed = |c: char| c.is_whitespace() || matches!(c, ':' | '*' | '_');
    let ranges = starts.map(|start| {
        let rest = text[start..].trim_start_matches(trimmed);
        let start = text.len() - rest.len();
        start..start + rest.find('\n').unwrap_or(rest.len())
    });
    let mut found: Vec<Range<usize>> = ranges.filter(|range| !text[range.clone()].trim().is_empty()).collect();
    // "The answer is: the answer is 5" is one statement.
    found.dedup_by_key(|range| range.end);
    found
}

fn last_line(text: &str) -> Vec<Range<usize>> {
    let end = text.trim_end().len();
    let start = text[..end].rfind('\n').map_or(0, |at| at + 1);
    Some(start..end).into_iter().filter(|line| !text[line.clone()].trim().is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<&str> {
        Stated::of(text, true).parts
    }

    #[test]
    fn the_strongest_kind_counts() {
        for (text, expected) in [
            ("", vec![]),
            (" \n ", vec![]),
            ("5\n", vec!["5"]),
            ("so\nit is B", vec!["it is B"]),
            ("#### 5\nmore", vec!["5"]),
            ("#### 5\n#### 6", vec!["5", "6"]),
            ("####\n", vec!["####"]),
            ("The answer is: **B**.", vec!["B**."]),
            ("Answer: B\nAnswer:\nC", vec!["B", "C"]),
            ("the answer is\n\n4", vec!["4"]),
            ("#### 5\n\\boxed{\\frac{1}{2}} and \\boxed{}", vec!["\\frac{1}{2}"]),
            ("\\boxed{5} <answer> 6 </answer>", vec!["6"]),
            ("<answer>6", vec!["6"]),
            ("\\boxed{5", vec!["\\boxed{5"]),
        ] {
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn what_the_limit_cut_may_go_on() {
        assert!(Stated::of("#### 5", false).open);
        assert!(!Stated::of("#### 5\nand", false).open);
        assert!(!Stated::of("\\boxed{5}", false).open);
        assert!(!Stated::of("#### 5", true).open);
    }
}
