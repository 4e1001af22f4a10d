//! The verdict on one answer.

use super::compare::Comparison;
use super::effort::{Effort, Halt};
use super::extract::{LONGEST, bare, candidates};
use super::node::{Node, Relation, SetOperation};
use super::parser::{Letters, parse};
use super::policy::{Extract, Policy};
use super::{named, prose, words};
use relign_core::{ThoughtMarkers, without_thoughts};

use crate::rewards::stated::last_tagged;
use crate::spelling;

/// A task's answer, parsed once.
///
/// Gold and answer are different types because they are not interchangeable: see [`verify`].
#[derive(Clone, Debug)]
pub struct Gold {
    text: String,
    node: Node,
    policy: Policy,
}

/// Why a gold answer cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GoldError {
    /// Nothing stands there.
    #[error("gold answer: expected an answer, got an empty text")]
    Empty,
    /// It is longer than any answer.
    #[error("gold answer: expected at most {most} bytes, got {got}")]
    TooLong {
        /// The limit, in bytes.
        most: usize,
        /// The text's length, in bytes.
        got: usize,
    },
}

/// What became of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub finding: Finding,
    /// Why, in a few words.
    pub reason: String,
    /// What was taken for the answer, as it stands in the text.
    pub extracted: Option<String>,
}

/// The verdict on an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It equals the gold answer.
    Correct,
    /// An answer was found and it does not equal the gold answer.
    Wrong,
    /// No answer was found, or what was found cannot be read.
    Unparsed,
}

impl Gold {
    /// Reads a gold answer: bare mathematics or words, without a sentence around it. What is no mathematics
    /// is compared as words.
    ///
    /// # Errors
    /// If it is empty or longer than 10,000 bytes.
    pub fn parse(text: &str, policy: &Policy) -> Result<Self, GoldError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(GoldError::Empty);
        }
        if text.len() > LONGEST {
            return Err(GoldError::TooLong { most: LONGEST, got: text.len() });
        }
        let node = if policy.extract == Extract::Choice {
            let letter = candidates(text, Extract::Choice)
                .pop()
                .map_or_else(|| words::even(text), |found| found.text.into_owned());
            Node::Text(letter.to_lowercase().into())
        } else {
            read_further(bare(text), policy).unwrap_or_else(|_| Node::Text(worded(text).into()))
        };
        Ok(Self { text: text.to_owned(), node, policy: *policy })
    }

    /// The gold answer as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The policy it was parsed under.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether `answer` is this, spelled as it stands in `text`.
    fn equals(&self, answer: &Node, text: &str) -> Result<bool, Halt> {
        let same = |answer: &Node| {
            let comparison = Comparison { policy: &self.policy, effort: Effort::new() };
            comparison.same(&self.node, answer)
        };
        let first = same(answer);
        if matches!(first, Ok(true)) {
            return first;
        }
        // The same formula, spaced otherwise.
        let spaced = |text: &str| text.contains('\\').then(|| text.replace(' ', ""));
        if spaced(text).is_some_and(|text| Some(text) == spaced(bare(&self.text))) {
            return Ok(true);
        }
        for other in named::readings(&self.node, answer, text, &self.policy) {
            if matches!(same(&other), Ok(true)) {
                return Ok(true);
            }
        }
        first
    }

    /// Whether these are the gold answer's words.
    fn spells(&self, answer: &str) -> bool {
        let Node::Text(wanted) = &self.node else { return false };
        if digits(wanted).is_some() {
            return false;
        }
        let answer = worded(answer);
        if *answer == **wanted || option_letter(&answer).is_some_and(|letter| *letter == **wanted) {
            return true;
        }
        // The same formula, spaced otherwise.
        let formula = |text: &str| text.contains('\\').then(|| text.replace(' ', ""));
        formula(&answer).is_some_and(|answer| Some(answer) == formula(wanted))
    }

    /// Whether it was read as mathematics and not as words.
    #[must_use]
    pub const fn is_mathematics(&self) -> bool {
        !matches!(self.node, Node::Text(_))
    }
}

/// Mathematics, or words where all of it is words.
fn read(text: &str, policy: &Policy) -> Result<Node, String> {
    if let Some(number) = digits(text) {
        return Ok(number);
    }
    let text = spelling::normal(text);
    if let Some(number) = words::number(&text) {
        return Ok(Node::int(number));
    }
    match parse(&text, policy.decimal_comma, Letters::Variables) {
        Ok(node) => Ok(node),
        Err(_) if words::is_empty_set(&worded(&text)) => Ok(Node::Empty),
        Err(_) if words::is_reals(&worded(&text)) => Ok(Node::Reals),
        Err(_)
            if matches!(
                &*worded(&text),
                "all nonzero real numbers" | "all non-zero real numbers" | "all nonzero reals"
            ) =>
        {
            Ok(all_reals_but(vec![Node::int(0)]))
        }
        Err(error) => all_reals_except(&text, policy).ok_or(error),
    }
}

/// What cannot be read as it stands, but with letters as units or by the right side of its equation.
fn read_further(text: &str, policy: &Policy) -> Result<Node, String> {
    read(text, policy).or_else(|error| named_value(&spelling::normal(text), policy).ok_or(error))
}

/// `all real numbers except 0`
fn all_reals_except(text: &str, policy: &Policy) -> Option<Node> {
    let rest = words::all_reals_but(text)?;
    let points = match parse(rest, policy.decimal_comma, Letters::Variables).ok()? {
        Node::List(items) => items,
        other => vec![other],
    };
    Some(all_reals_but(points.into_iter().map(named::value).collect()))
}

/// What cannot be read but for the right side of its equation: `\det A = 4`, `P(A|B) = \frac13`.
fn named_value(text: &str, policy: &Policy) -> Option<Node> {
    if let Ok(node) = parse(text, policy.decimal_comma, Letters::Units) {
        return Some(node);
    }
    let (left, right) = prose::sides(text)?;
    let right = parse(right, policy.decimal_comma, Letters::Variables).ok()?;
    let name = Node::Text(worded(left).into());
    Some(Node::Relation(Box::new((name, vec![(Relation::Equal, right)]))))
}

fn all_reals_but(points: Vec<Node>) -> Node {
    Node::Sets(SetOperation::Difference, Box::new((Node::Reals, Node::Set(points))))
}

/// Reads a text with words around its answer.
fn read_prose(text: &str, policy: &Policy) -> Option<Node> {
    let words = prose::without_text_commands(text);
    let mut text = bare(prose::without_lead(&words));
    for _ in 0..4 {
        let tried = [Some(text), prose::instead(text), prose::head(text)];
        for part in tried.into_iter().flatten() {
            let part = bare(prose::without_lead(part));
            if !part.is_empty()
                && let Ok(node) = read_further(part, policy)
                && !matches!(node, Node::Text(_))
            {
                return Some(node);
            }
        }
        text = bare(prose::without_lead(prose::behind_verb(text)?));
    }
    None
}

/// A plain whole number, without a parser.
fn digits(text: &str) -> Option<Node> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.is_empty() || digits.len() > 18 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: i64 = digits.parse().ok()?;
    Some(Node::int(if negative { -value } else { value }))
}

/// A text as words: without LaTeX's wrappers, spaces and case evened out.
fn worded(text: &str) -> String {
    let mut plain = text.to_owned();
    for wrapper in
        ["\\text{", "\\textbf{", "\\textit{", "\\textrm{", "\\mbox{", "\\mathrm{", "\\mathbf{", "\\textnormal{"]
    {
        plain = plain.replace(wrapper, "{");
    }
    for noise in ["{", "}", "$", "\\!", "\\left", "\\right"] {
        plain = plain.replace(noise, "");
    }
    for space in ["\\ ", "\\,", "\\;", "\\quad", "~"] {
        plain = plain.replace(space, " ");
    }
    words::even(&plain)
}

/// Finds the answer in `text` and compares it with `gold`, under the gold answer's policy.
///
/// Gold and answer are not interchangeable: an answer may name what it gives (`x = 5` for 5, an equation's
/// last side for a value) and leave out a base that the gold answer has, and a condition (`1 < x < 2`) is
/// no answer where the gold answer `(1, 2)` may be a point. `docs/verifier.md` has the whole list.
#[must_use]
pub fn verify(gold: &Gold, text: &str) -> Judgement {
    let policy = &gold.policy;
    let text = &*without_thoughts(text, false, &ThoughtMarkers::default());
    let text = last_tagged(text).unwrap_or(text);
    let found = candidates(text, policy.extract);
    let Some(last) = found.len().checked_sub(1) else {
        return Judgement { finding: Finding::Unparsed, reason: "no answer was found".to_owned(), extracted: None };
    };
    let judgement = |finding, reason: &str, extracted: &str| Judgement {
        finding,
        reason: reason.to_owned(),
        extracted: Some(extracted.to_owned()),
    };
    for (index, place) in found.iter().enumerate() {
        let text = bare(&place.text);
        if text.is_empty() || text.len() > LONGEST {
            continue;
        }
        if text == bare(&gold.text) || gold.spells(text) {
            return judgement(Finding::Correct, "written the same", text);
        }
        // A sentence that may hold the answer is read as it stands or not at all.
        let whole = index < last && !place.marked;
        let node = match if whole { read(text, policy) } else { read_further(text, policy) } {
            Ok(node) => node,
            Err(_) if whole => continue,
            Err(error) => match read_prose(text, policy).filter(|_| gold.is_mathematics()) {
                Some(node) => node,
                None if matches!(gold.node, Node::Text(_)) => {
                    let part = prose::head(text).filter(|part| gold.spells(part));
                    let (finding, why) =
                        part.map_or((Finding::Wrong, "other words"), |_| (Finding::Correct, "written the same"));
                    return judgement(finding, why, text);
                }
                None => return judgement(Finding::Unparsed, &format!("it cannot be read: {error}"), text),
            },
        };
        // A sentence of short words reads like a product of letters.
        if whole && matches!(node, Node::Text(_)) && gold.is_mathematics() {
            continue;
        }
        let node = labelled(node);
        let (finding, reason) = match gold.equals(&node, text) {
            Ok(true) => (Finding::Correct, "equal"),
            Ok(false) => (Finding::Wrong, "not equal"),
            Err(Halt::Undefined) => (Finding::Wrong, "it has no value"),
            Err(Halt::Kind) => (Finding::Wrong, "of another kind"),
            Err(Halt::Spent) => (Finding::Wrong, "not decided: too large to compute"),
            Err(Halt::Unknown) => (Finding::Wrong, "not decided: its value is not known"),
        };
        return judgement(finding, reason, text);
    }
    Judgement { finding: Finding::Unparsed, reason: "no answer was found".to_owned(), extracted: None }
}

/// In an answer, `\text{13}` is the number; in a gold answer it is a label.
fn labelled(node: Node) -> Node {
    match node {
        Node::Text(text) => digits(&text).unwrap_or(Node::Text(text)),
        other => other,
    }
}

/// The letter that an option begins with: `(c) 12`, `c. 12`, `c: 12`.
fn option_letter(words: &str) -> Option<&str> {
    let words = ["option ", "choice ", "answer "].iter().find_map(|word| words.strip_prefix(word)).unwrap_or(words);
    let inner = words.strip_prefix('(').unwrap_or(words);
    if inner.len() == 1 || inner.len() == 2 && inner.ends_with(')') {
        return inner.get(..1);
    }
    let letter = inner.get(..1).filter(|letter| letter.as_bytes()[0].is_ascii_lowercase())?;
    inner[1..].starts_with([')', '.', ':']).then_some(letter)
}

/// Whether two bare answers are the same, for counting votes.
///
/// Symmetric, unlike [`verify`], as neither is gold: each has to be right where the other is. It is an
/// equivalence on ordinary answers; what is written in percent or rounded may equal two answers that
/// differ from one another, so count votes against one member of a class.
#[must_use]
pub fn equivalent(a: &str, b: &str, policy: &Policy) -> bool {
    let policy = Policy { extract: Extract::Whole, ..*policy };
    let right = |gold: &str, answer: &str| {
        Gold::parse(gold, &policy).is_ok_and(|gold| verify(&gold, answer).finding == Finding::Correct)
    };
    right(a, b) && right(b, a)
}
