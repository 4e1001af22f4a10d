//! What of a completion is thought, and what is its answer.

use std::borrow::Cow;
use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What opens a thought and what ends it, as models of the field write them; upper and lower case are the same.
///
/// Harmony's channels (gpt-oss) are ended by the next message; only the channel `final` holds the answer.
const MARKERS: [(&str, &[&str]); 10] = [
    ("<think>", &["</think>"]),
    ("<thinking>", &["</thinking>"]),
    ("<thought>", &["</thought>"]),
    ("<reasoning>", &["</reasoning>"]),
    ("<seed:think>", &["</seed:think>"]),
    ("<|begin_of_thought|>", &["<|end_of_thought|>"]),
    ("[think]", &["[/think]"]),
    ("◁think▷", &["◁/think▷"]),
    ("<|channel|>analysis", HARMONY),
    ("<|channel|>commentary", HARMONY),
];

const HARMONY: &[&str] = &["<|channel|>final<|message|>"];

/// What ends a thought that begins with `analysis` in Harmony whose special tokens were left out as it was decoded.
const BARE_HARMONY: &str = "assistantfinal";

/// What stands around an answer in Harmony's format and is no part of it.
const AROUND: [&str; 3] = ["<|start|>assistant", "<|return|>", "<|end|>"];

/// Marks of thoughts beside those that are always known: what opens a thought and what ends it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ThoughtMarkers(pub Vec<(String, String)>);

impl ThoughtMarkers {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first pair that cannot mark a thought, in words.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let unfit = |(open, end): &&(String, String)| open.trim().is_empty() || end.trim().is_empty() || open == end;
        let (open, end) = self.0.iter().find(unfit)?;
        Some(format!("expected two different texts that open and end a thought, got {open:?} and {end:?}"))
    }

    /// What opens a thought, in lower case, with what ends it.
    fn all(&self) -> impl Iterator<Item = (Cow<'_, str>, Vec<Cow<'_, str>>)> {
        let known =
            MARKERS.iter().map(|(open, ends)| (Cow::Borrowed(*open), ends.iter().copied().map(Cow::from).collect()));
        let lower = |text: &str| Cow::<str>::Owned(text.to_ascii_lowercase());
        known.chain(self.0.iter().map(move |(open, end)| (lower(open), vec![lower(end)])))
    }
}

/// Whether a prompt ends within a thought: its chat template opened one for the model to go on with.
#[must_use]
pub fn opens_thought(prompt: &str, markers: &ThoughtMarkers) -> bool {
    let prompt = prompt.trim_end().to_ascii_lowercase();
    markers.all().any(|(open, _)| prompt.ends_with(open.trim_end()))
}

/// `completion` without what stands between the marks of a thought.
///
/// An end without its beginning ends a thought that the prompt opened: all before it is thought. One that never ends takes the
/// rest with it. `within` says that the completion begins in a thought, so that without an end nothing is left.
#[must_use]
pub fn without_thoughts<'t>(completion: &'t str, within: bool, markers: &ThoughtMarkers) -> Cow<'t, str> {
    let Some(spans) = answer_spans(completion, within, markers) else { return Cow::Borrowed(completion) };
    let mut answer: String = spans.into_iter().map(|span| &completion[span]).collect();
    for mark in AROUND {
        answer = answer.replace(mark, "");
    }
    Cow::Owned(answer)
}

/// The places in `completion`, in bytes, of what is answer and no [thought](without_thoughts); nothing where all of it is.
#[must_use]
pub fn answer_spans(completion: &str, within: bool, markers: &ThoughtMarkers) -> Option<Vec<Range<usize>>> {
    if markers.is_empty() && !may_think(completion) {
        return within.then(Vec::new);
    }
    let markers: Vec<_> = markers.all().collect();
    // Only ASCII changes, so places in the text stay where they are.
    let lower = completion.to_ascii_lowercase();
    let mut spans = Vec::new();
    let (mut from, mut changed, mut ends) = (0, within, None);
    if let Some(rest) = lower.trim_start().strip_prefix("analysis")
        && rest.contains(BARE_HARMONY)
    {
        (ends, changed) = (Some(vec![Cow::Borrowed(BARE_HARMONY)]), true);
    }
    let mut never_ended = within;
    loop {
        let rest = &lower[from..];
        if let Some(marks) = ends {
            let end = marks.iter().filter_map(|mark| rest.find(&**mark).map(|at| at + mark.len())).min();
            let Some(end) = end else { break };
            (from, ends, never_ended) = (from + end, None, false);
            continue;
        }
        // The next mark: a thought begins, or one that the prompt opened ends.
        let opens = markers.iter().filter_map(|(open, ends)| rest.find(&**open).map(|at| (at, open.len(), Some(ends))));
        let closes = markers.iter().flat_map(|(_, ends)| ends).filter(|end| **end != *BARE_HARMONY);
        let closes = closes.filter_map(|end| rest.find(&**end).map(|at| (at, end.len(), None)));
        let Some((at, length, then)) = opens.chain(closes).min_by_key(|(at, ..)| *at) else {
            spans.push(from..completion.len());
            break;
        };
        changed = true;
        if then.is_some() {
            spans.push(from..from + at);
        } else {
            spans.clear();
            never_ended = false;
        }
        (from, ends) = (from + at + length, then.cloned());
    }
    if never_ended {
        spans.clear();
    }
    changed.then_some(spans)
}

/// Whether any mark may stand in a text: rewards read millions that have none.
fn may_think(text: &str) -> bool {
    let bracketed = |text: &str| text.contains("hink]") || text.contains("HINK]");
    text.contains('<') || text.contains('▷') || bracketed(text) || text.contains(BARE_HARMONY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thoughts_are_not_answers() {
        for (completion, answer) in [
            ("12", "12"),
            ("<think>5</think>\n12", "\n12"),
            ("<THINK>5</Think>12", "12"),
            ("<thinking>5</thinking>12", "12"),
            ("<thought>5</thought>12", "12"),
            ("<reasoning>5</reasoning><answer>12</answer>", "<answer>12</answer>"),
            ("[THINK]5[/THINK]12", "12"),
            ("◁think▷5◁/think▷12", "12"),
            ("<|begin_of_thought|>5<|end_of_thought|>12", "12"),
            ("so 5... no.</think>12", "12"),
            ("<think>a <think> b</think> c</think>12", "12"),
            ("<think>5</think>12<think>6</think>", "12"),
            ("12 <think>and on", "12 "),
            ("<think>12", ""),
            ("<think></think>", ""),
            ("<|channel|>analysis<|message|>5<|end|><|start|>assistant<|channel|>final<|message|>12<|return|>", "12"),
            ("<|channel|>analysis<|message|>5", ""),
            ("analysisIs it 5? No.assistantfinal12", "12"),
            ("analysis of 5 things: 12", "analysis of 5 things: 12"),
            ("é<think>ö</think>ü", "éü"),
        ] {
            assert_eq!(without_thoughts(completion, false, &ThoughtMarkers::default()), answer, "{completion}");
        }
    }

    #[test]
    fn a_thought_that_the_prompt_opened() {
        let opens = |prompt| opens_thought(prompt, &ThoughtMarkers::default());
        assert!(opens("<|im_start|>assistant\n<think>\n") && !opens("<think></think>\n"));
        for (completion, answer) in [("5", ""), ("5</think>12", "12"), ("5<think>6</think>12", "512"), ("<think>5", "")]
        {
            assert_eq!(without_thoughts(completion, true, &ThoughtMarkers::default()), answer, "{completion}");
        }
    }

    #[test]
    fn marks_of_ones_own() {
        let markers = ThoughtMarkers(vec![("[Scratch]\n".to_owned(), "[/scratch]".to_owned())]);
        let answer = |completion, within| without_thoughts(completion, within, &markers).into_owned();
        assert_eq!(answer("a [SCRATCH]\n5[/SCRATCH] 12", false), "a  12");
        assert_eq!(answer("5[/scratch]12 <think>6</think>", true), "12 ");
        assert_eq!(answer("no mark", false), "no mark");
        assert_eq!(answer("no mark", true), "");
        assert!(opens_thought("Go on: [scratch]\n", &markers) && !opens_thought("Go on:", &markers));
        assert_eq!(answer_spans("é<think>5</think>12", false, &markers), Some(vec![0..2, 18..20]));
        assert_eq!(answer_spans("12", false, &markers), None);
        assert_eq!(markers.complaint(), None);
        let unfit = ThoughtMarkers(vec![("x".to_owned(), " ".to_owned())]);
        assert!(unfit.complaint().unwrap().contains("got \"x\" and \" \""));
    }
}
