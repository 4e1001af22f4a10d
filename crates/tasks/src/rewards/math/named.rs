//! Values with names: coordinates and solutions as assignments, and other readings of an answer.

use super::compare::Comparison;
use super::effort::Halt;
use super::lexer;
use super::node::{Edge, Node, Relation};
use super::parser::{Letters, parse};
use super::policy::Policy;
use crate::spelling;

/// Values by their names, in the order in which they are written.
type Assigned = Vec<(Box<str>, Node)>;

/// The variable and value of `x = 5`.
fn assignment(node: &Node) -> Option<(&str, &Node)> {
    let Node::Relation(chain) = node else { return None };
    match (&chain.0, &chain.1[..]) {
        (Node::Symbol(name), [(Relation::Equal, value)]) => Some((name, value)),
        _ => None,
    }
}

/// The value of `x = 5`, and of 5 itself.
pub(super) fn value(node: Node) -> Node {
    match assignment(&node) {
        Some((_, value)) => value.clone(),
        None => node,
    }
}

/// The values that `node` gives to several names, each another: `x = 1, y = 2` or `(x, y) = (1, 2)`.
fn assigned(node: &Node) -> Option<Assigned> {
    let all: Assigned = match node {
        Node::List(items) => items
            .iter()
            .map(|item| assignment(item).map(|(name, value)| (name.into(), value.clone())))
            .collect::<Option<_>>()?,
        Node::Relation(chain) => match (&chain.0, &chain.1[..]) {
            (Node::Bracket(names), [(Relation::Equal, Node::Bracket(values))])
                if names.items.len() == values.items.len() =>
            {
                let name = |node: &Node| if let Node::Symbol(name) = node { Some(name.clone()) } else { None };
                let names = names.items.iter().map(name).collect::<Option<Vec<_>>>()?;
                names.into_iter().zip(values.items.iter().cloned()).collect()
            }
            _ => return None,
        },
        _ => return None,
    };
    let distinct = all.iter().enumerate().all(|(at, (name, _))| all[..at].iter().all(|(other, _)| other != name));
    (all.len() > 1 && distinct).then_some(all)
}

/// The letter of names that differ only in their numbers: `x_1, x_2`.
fn numbered(all: &Assigned) -> Option<&str> {
    let (base, _) = all.first()?.0.split_once('_')?;
    let numbers = |name: &str| {
        name.split_once('_').is_some_and(|(other, number)| other == base && number.bytes().all(|b| b.is_ascii_digit()))
    };
    all.iter().all(|(name, _)| numbers(name)).then_some(base)
}

/// The values in the order of their names; `None` where the order is another than the written one and the names
/// are not those of coordinates.
fn ordered(all: &Assigned) -> Option<Vec<Node>> {
    let mut sorted = all.clone();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let same = sorted.iter().zip(all).all(|(a, b)| a.0 == b.0);
    let coordinates = all.iter().all(|(name, _)| matches!(&**name, "x" | "y" | "z"));
    (same || coordinates || numbered(all).is_some()).then(|| sorted.into_iter().map(|(_, value)| value).collect())
}

fn written(all: &Assigned) -> Vec<Node> {
    all.iter().map(|(_, value)| value.clone()).collect()
}

/// The values of a list, without the one name that all of them may have.
fn values(node: &Node) -> Option<(Option<&str>, Vec<Node>)> {
    let (Node::List(items) | Node::Set(items)) = node else { return None };
    if items.iter().all(|item| !matches!(item, Node::Relation(_))) {
        return Some((None, items.clone()));
    }
    let all = items.iter().map(assignment).collect::<Option<Vec<_>>>()?;
    let name = all.first()?.0;
    let same = all.iter().all(|(other, _)| *other == name);
    same.then(|| (Some(name), all.iter().map(|(_, value)| (*value).clone()).collect()))
}

fn tuple(node: &Node) -> Option<&[Node]> {
    match node {
        Node::Matrix(matrix) if matrix.columns == 1 => Some(&matrix.items),
        Node::Bracket(bracket)
            if bracket.open == bracket.close && matches!(bracket.open, Edge::Round | Edge::Angle) =>
        {
            Some(&bracket.items)
        }
        _ => None,
    }
}

/// Whether values with names of their own are the same; `None` where neither side has such.
pub(super) fn same(comparison: &Comparison<'_>, gold: &Node, answer: &Node) -> Result<Option<bool>, Halt> {
    match (assigned(gold), assigned(answer)) {
        (None, None) => Ok(None),
        (Some(a), Some(b)) => {
            if a.len() != b.len() || a.iter().any(|(name, _)| b.iter().all(|(other, _)| other != name)) {
                return Ok(None);
            }
            for (name, value) in &a {
                for (_, other) in b.iter().filter(|(other, _)| other == name) {
                    if !comparison.same(value, other)? {
                        return Ok(Some(false));
                    }
                }
            }
            Ok(Some(true))
        }
        // In the gold answer's own order, unless the names have one.
        (Some(a), None) => {
            let order = ordered(&a).unwrap_or_else(|| written(&a));
            unnamed(comparison, &a, &order, answer, |named, other| (named.to_vec(), other.to_vec()))
        }
        (None, Some(b)) => {
            let Some(order) = ordered(&b) else { return Ok(tuple(gold).map(|_| false)) };
            unnamed(comparison, &b, &order, gold, |named, other| (other.to_vec(), named.to_vec()))
        }
    }
}

/// Named values in their order against those of a tuple or list without names.
fn unnamed(
    comparison: &Comparison<'_>,
    all: &Assigned,
    order: &[Node],
    other: &Node,
    sides: impl Fn(&[Node], &[Node]) -> (Vec<Node>, Vec<Node>),
) -> Result<Option<bool>, Halt> {
    if let Some(items) = tuple(other) {
        let (gold, answer) = sides(order, items);
        return comparison.in_order(&gold, &answer).map(Some);
    }
    let Some((name, items)) = values(other) else { return Ok(None) };
    let (gold, answer) = sides(order, &items);
    // Several values of one variable have no order.
    if let Some(base) = numbered(all) {
        return Ok(Some((name.is_none() || name == Some(base)) && comparison.unordered(&gold, &answer)?));
    }
    if name.is_some() || matches!(other, Node::Set(_)) {
        return Ok(Some(false));
    }
    comparison.in_order(&gold, &answer).map(Some)
}

/// A list without what its last items say of a parameter: `2\pi n, n \in \mathbb{Z}`.
pub(super) fn without_conditions(node: &Node) -> Option<Node> {
    let Node::List(items) = node else { return None };
    let of = |node: &Node| match node {
        Node::Relation(chain) => match (&chain.0, &chain.1[..]) {
            (Node::Symbol(name), [(Relation::In, Node::Symbol(set))]) if set.len() > 1 => Some(name.clone()),
            _ => None,
        },
        _ => None,
    };
    let last = items.iter().rposition(|item| of(item).is_none())?;
    let (kept, conditions) = items.split_at(last + 1);
    let used = |name: &str| kept.iter().any(|item| item.any(&|node| matches!(node, Node::Symbol(s) if **s == *name)));
    if conditions.is_empty() || !conditions.iter().filter_map(of).all(|name| used(&name)) {
        return None;
    }
    Some(if kept.len() == 1 { kept[0].clone() } else { Node::List(kept.to_vec()) })
}

/// What else an answer may be, where it is not equal as it was read first: with another letter for the constant of
/// integration, with letters as units, with separators as in India.
pub(super) fn readings(gold: &Node, answer: &Node, text: &str, policy: &Policy) -> Vec<Node> {
    let mut out = Vec::new();
    let symbols = |node: &Node| node.any(&|node| matches!(node, Node::Symbol(_)));
    if let Some(renamed) = constant(gold, answer) {
        out.push(renamed);
    }
    if !symbols(gold) && symbols(answer) {
        let text = spelling::normal(text);
        out.extend(parse(&text, policy.decimal_comma, Letters::Units).ok().filter(|node| !symbols(node)));
    }
    if matches!(answer, Node::List(_)) && gold.number().is_some() {
        out.extend(lexer::lakhs(text).map(Node::Number));
    }
    out
}

/// `answer` with the gold answer's constant of integration: a term `C` that stands nowhere else.
fn constant(gold: &Node, answer: &Node) -> Option<Node> {
    const LETTERS: &[&str] = &["C", "c", "K", "k", "C_1", "c_1", "C_0"];
    let (gold, answer, name) = match (gold, answer) {
        (Node::Relation(a), Node::Relation(b)) => match (&a.1[..], &b.1[..]) {
            ([(Relation::Equal, a)], [(Relation::Equal, right)]) => (a, right, Some(&b.0)),
            _ => return None,
        },
        (Node::Relation(a), other) => match &a.1[..] {
            [(Relation::Equal, a)] => (a, other, None),
            _ => return None,
        },
        (other, Node::Relation(b)) => match &b.1[..] {
            [(Relation::Equal, b)] => (other, b, None),
            _ => return None,
        },
        _ => (gold, answer, None),
    };
    let letter = |node: &Node| {
        let Node::Sum(terms) = node else { return None };
        let mut letters = terms.iter().filter_map(|term| match term {
            Node::Symbol(name) if LETTERS.contains(&&**name) => Some(name.clone()),
            _ => None,
        });
        letters.next().filter(|_| letters.next().is_none())
    };
    let (wanted, given) = (letter(gold)?, letter(answer)?);
    let has = |node: &Node, name: &str| node.any(&|node| matches!(node, Node::Symbol(s) if **s == *name));
    if wanted == given || has(gold, &given) || has(answer, &wanted) {
        return None;
    }
    let renamed = answer.renamed(&given, &wanted);
    Some(match name {
        Some(name) => Node::Relation(Box::new((name.clone(), vec![(Relation::Equal, renamed)]))),
        None => renamed,
    })
}
