//! What of a completion is thought, and what is its answer.

use std::borrow::Cow;

/// What opens a thought and what ends it, as models of the field write them; upper and lower case are the same.
///
/// Harmony's channels (gpt-oss) are ended by the next message; only the channel `final` holds the answer.
const MARKERS: [(&str, &[&str]); 11] = [
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
    // Harmony whose special tokens were left out as it was decoded.
    ("\u{0}analysis", &["assistantfinal"]),
];

const HARMONY: &[&str] = &["<|channel|>final<|message|>"];

/// What stands around an answer in Harmony's format and is no part of it.
const AROUND: [&str; 3] = ["<|start|>assistant", "<|return|>", "<|end|>"];

/// Whether a prompt ends within a thought: its chat template opened one for the model to go on with.
#[must_use]
pub fn opens_thought(prompt: &str) -> bool {
    let prompt = prompt.trim_end().to_ascii_lowercase();
    MARKERS.iter().any(|(open, _)| prompt.ends_with(open))
}

/// `completion` without what stands between the marks of a thought.
///
/// An end without its beginning ends a thought that the prompt opened: all before it is thought. One that never ends takes the
/// rest with it. `within` says that the completion begins in a thought, so that without an end nothing is left.
#[must_use]
pub fn without_thoughts(completion: &str, within: bool) -> Cow<'_, str> {
    if !may_think(completion) {
        return Cow::Borrowed(if within { "" } else { completion });
    }
    // Only ASCII changes, so places in the text stay where they are.
    let lower = completion.to_ascii_lowercase();
    let mut answer = String::new();
    let (mut from, mut changed, mut ends) = (0, false, None::<&[&str]>);
    if let Some(rest) = lower.trim_start().strip_prefix("analysis")
        && rest.contains("assistantfinal")
    {
        (ends, changed) = (Some(MARKERS[10].1), true);
    }
    let mut never_ended = within;
    loop {
        let rest = &lower[from..];
        if let Some(marks) = ends {
            let end = marks.iter().filter_map(|mark| rest.find(mark).map(|at| at + mark.len())).min();
            let Some(end) = end else { break };
            (from, ends, never_ended) = (from + end, None, false);
            continue;
        }
        // The next mark: a thought begins, or one that the prompt opened ends.
        let opens = MARKERS.iter().filter_map(|(open, ends)| rest.find(open).map(|at| (at, open.len(), Some(*ends))));
        let closes = MARKERS.iter().flat_map(|(_, ends)| *ends).filter(|end| **end != "assistantfinal");
        let closes = closes.filter_map(|end| rest.find(end).map(|at| (at, end.len(), None)));
        let Some((at, length, then)) = opens.chain(closes).min_by_key(|(at, ..)| *at) else {
            answer.push_str(&completion[from..]);
            break;
        };
        changed = true;
        if then.is_some() {
            answer.push_str(&completion[from..from + at]);
        } else {
            answer.clear();
            never_ended = false;
        }
        (from, ends) = (from + at + length, then);
    }
    if never_ended {
        return Cow::Borrowed("");
    }
    if !changed {
        return Cow::Borrowed(completion);
    }
    for mark in AROUND {
        answer = answer.replace(mark, "");
    }
    Cow::Owned(answer)
}

/// Whether any mark may stand in a text: rewards read millions that have none.
fn may_think(text: &str) -> bool {
    let bracketed = |text: &str| text.contains("hink]") || text.contains("HINK]");
    text.contains('<') || text.contains('▷') || bracketed(text) || text.contains("assistantfinal")
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
            assert_eq!(without_thoughts(completion, false), answer, "{completion}");
        }
    }

    #[test]
    fn a_thought_that_the_prompt_opened() {
        assert!(opens_thought("<|im_start|>assistant\n<think>\n") && !opens_thought("<think></think>\n"));
        for (completion, answer) in [("5", ""), ("5</think>12", "12"), ("5<think>6</think>12", "512"), ("<think>5", "")]
        {
            assert_eq!(without_thoughts(completion, true), answer, "{completion}");
        }
    }
}
