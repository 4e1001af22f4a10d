//! Equations and inequalities, against each other and against plain values.

use std::cmp::Ordering;

use super::canon::canonical;
use super::compare::{Comparison, both_signs};
use super::effort::Halt;
use super::node::{Bracket, Constant, Edge, Node, Relation};
use super::poly::{Atom, Poly};
use super::same::proportional;

/// Whether `answer` equals `gold`, at least one of which is a relation.
pub(super) fn same(comparison: &Comparison<'_>, gold: &Node, answer: &Node) -> Result<bool, Halt> {
    let (gold, answer) = (settled(comparison, gold)?, settled(comparison, answer)?);
    match (&gold, &answer) {
        (Node::Relation(a), Node::Relation(b)) => {
            let (a, b) = (&**a, &**b);
            if let ((x, [(Relation::In, s)]), (y, [(Relation::In, t)])) = ((&a.0, &a.1[..]), (&b.0, &b.1[..])) {
                return Ok(comparison.same(x, y)? && comparison.same(s, t)?);
            }
            if comparison.regions(&gold, &answer)? {
                return Ok(true);
            }
            match (&a.1[..], &b.1[..]) {
                ([(r, right)], [(s, other)]) => pair(comparison, (&a.0, *r, right), (&b.0, *s, other)),
                (left, right) if left.len() == right.len() => {
                    let signs = left.iter().map(|(r, _)| *r).eq(right.iter().map(|(r, _)| *r));
                    let nodes = |chain: &(Node, Vec<(Relation, Node)>)| {
                        let mut nodes = vec![chain.0.clone()];
                        nodes.extend(chain.1.iter().map(|(_, node)| node.clone()));
                        nodes
                    };
                    Ok(signs && comparison.in_order(&nodes(a), &nodes(b))?)
                }
                _ => Ok(false),
            }
        }
        (Node::Relation(chain), other) => {
            match (&chain.0, &chain.1[..]) {
                // `x = \pm 2` and the like are lists.
                (name, [(Relation::Equal | Relation::Congruent, value)])
                    if is_name(name) && comparison.same(value, other)? =>
                {
                    return Ok(true);
                }
                (_, [(Relation::In, set)]) => return comparison.same(set, other),
                _ => {}
            }
            let set = matches!(
                other,
                Node::Bracket(_) | Node::Sets(..) | Node::Where(_) | Node::Reals | Node::Set(_) | Node::Empty
            );
            Ok((set || matches!(other, Node::List(_))) && comparison.regions(&gold, other)?)
        }
        // An answer may name what it gives the value of.
        (other, Node::Relation(chain)) => {
            match (&chain.0, &chain.1[..]) {
                (_, [(Relation::In, set)]) => return comparison.same(other, set),
                (first, [.., (Relation::Equal, last)]) if chain.1.iter().all(|(r, _)| *r == Relation::Equal) => {
                    if comparison.same(other, last)? {
                        return Ok(true);
                    }
                    return Ok(is_name(last) && !is_name(first) && comparison.same(other, first)?);
                }
                _ => {}
            }
            let certain = match other {
                Node::Bracket(bracket) => is_interval(bracket),
                Node::Sets(..) | Node::Where(_) | Node::Reals | Node::Empty | Node::List(_) => true,
                _ => false,
            };
            Ok(certain && comparison.regions(other, &answer)?)
        }
        _ => comparison.same(&gold, &answer),
    }
}

/// A relation without what says nothing: `0.56 = 56\%` is its last value, `x = 2 + 3 = 5` is `x = 5`, and
/// `x = \pm 2` is a list.
fn settled(comparison: &Comparison<'_>, node: &Node) -> Result<Node, Halt> {
    let Node::Relation(chain) = node else { return Ok(node.clone()) };
    let (first, rest) = &**chain;
    let equations = rest.iter().all(|(relation, _)| *relation == Relation::Equal);
    let symbol = |node: &Node| matches!(node, Node::Symbol(_));
    if let (true, Some((_, last))) = (equations, rest.last()) {
        if !node.any(&symbol) {
            let mut all = true;
            for (_, value) in rest {
                all &= comparison.same(first, value)?;
            }
            if all {
                return Ok(last.clone());
            }
        }
        if rest.len() > 1 && first.any(&symbol) {
            return Ok(Node::Relation(Box::new((first.clone(), vec![(Relation::Equal, last.clone())]))));
        }
    }
    Ok(node.clone())
}

/// Whether an equation with this on its left only gives something a name: a variable, or `f(x)`.
fn is_name(node: &Node) -> bool {
    match node {
        // What could not be read names what stands on the right, too.
        Node::Symbol(_) | Node::Text(_) => true,
        // `f(x)`, `f'(x)`, and `AB` for a length.
        Node::Product(factors) => match &factors[..] {
            [Node::Symbol(name), Node::Symbol(_)] => name.trim_end_matches('\'').len() == 1,
            [Node::Symbol(angle), rest @ ..] if matches!(&**angle, "angle" | "triangle") => rest.iter().all(is_name),
            _ => false,
        },
        Node::Bracket(names) => names.items.iter().all(|name| matches!(name, Node::Symbol(_))),
        _ => false,
    }
}

/// Whether a bracket can only be an interval: its ends differ in kind, are square, or one is infinite.
pub(super) fn is_interval(bracket: &Bracket) -> bool {
    let infinite = |node: &Node| node.any(&|node| matches!(node, Node::Constant(Constant::Infinity)));
    bracket.items.len() == 2
        && bracket.open != Edge::Angle
        && (bracket.open != Edge::Round || bracket.close != Edge::Round || bracket.items.iter().any(infinite))
}

/// The right side of an answer that gives the gold answer's function under another name: `f(t)` for `f(x)`, and
/// `y` for `f(x)` or the other way round.
fn under_another_name(gold: &Node, answer: &Node, right: &Node) -> Option<Node> {
    let function = |node: &Node| match node {
        Node::Product(factors) => match &factors[..] {
            [Node::Symbol(name), Node::Symbol(variable)] if name.len() == 1 => Some((name.clone(), variable.clone())),
            _ => None,
        },
        _ => None,
    };
    let is_y = |node: &Node| matches!(node, Node::Symbol(name) if **name == *"y");
    match (function(gold), function(answer)) {
        (Some((f, x)), Some((g, t))) if f == g && x != t => {
            let used = right.any(&|node| matches!(node, Node::Symbol(name) if *name == x));
            (!used).then(|| right.renamed(&t, &x))
        }
        (Some(_), None) if is_y(answer) => Some(right.clone()),
        (None, Some(_)) if is_y(gold) => Some(right.clone()),
        _ => None,
    }
}

type Side<'n> = (&'n Node, Relation, &'n Node);

/// Two relations of one sign each: the same up to a factor on both sides.
fn pair(comparison: &Comparison<'_>, gold: Side<'_>, answer: Side<'_>) -> Result<bool, Halt> {
    let (left, right) = (gold.1, answer.1);
    let equations = |r: Relation| matches!(r, Relation::Equal | Relation::NotEqual | Relation::Congruent);
    if equations(left) != equations(right) || (equations(left) && left != right) {
        return Ok(false);
    }
    if left == Relation::Equal
        && let Some(other) = under_another_name(gold.0, answer.0, answer.2)
    {
        return comparison.same(gold.2, &other);
    }
    // Sets, points and so on on the right are compared as they are.
    if comparison.same(gold.0, answer.0)? && left == right {
        match comparison.same(gold.2, answer.2) {
            Ok(true) => return Ok(true),
            Ok(false) if is_name(gold.0) && is_name(answer.0) && left == Relation::Equal => return Ok(false),
            _ => {}
        }
    }
    if both_signs(gold.2).is_some() || both_signs(answer.2).is_some() {
        return Ok(false);
    }
    let effort = &comparison.effort;
    let a = Node::Sum(vec![gold.0.clone(), gold.2.clone().negated()]);
    let b = Node::Sum(vec![answer.0.clone(), answer.2.clone().negated()]);
    let forms = (canonical(&a, effort), canonical(&b, effort));
    let (Ok(x), Ok(y)) = forms else { return Ok(false) };
    let wanted = |sign: Ordering| {
        equations(left)
            || (sign == Ordering::Greater && left == right)
            || (sign == Ordering::Less && left == right.flipped())
    };
    if equations(left) {
        if x.top.is_zero() || y.top.is_zero() {
            return Ok(x.top.is_zero() && y.top.is_zero());
        }
        if let Some(known) = multiples(&x.top, &y.top, effort) {
            return Ok(known);
        }
    }
    match proportional(&a, &b, effort) {
        Ok(Some(sign)) => Ok(wanted(sign)),
        Ok(None) => Ok(false),
        Err(Halt::Unknown | Halt::Undefined) => Ok(false),
        Err(halt) => Err(halt),
    }
}

/// Whether one sum is a constant multiple of the other, where that is certain.
fn multiples(x: &Poly, y: &Poly, effort: &super::effort::Effort) -> Option<bool> {
    // The factor of the largest product of variables, which is the same on both sides or they are no multiples.
    let symbols = |poly: &Poly| {
        let key = |term: &super::poly::Term| {
            let of_symbols =
                |atom: &Atom| !matches!(atom, Atom::Prime(_) | Atom::Whole(_) | Atom::Pi | Atom::E | Atom::I);
            let powers: Vec<_> = term.powers.iter().filter(|(atom, _)| of_symbols(atom)).cloned().collect();
            let constant: Vec<_> = term.powers.iter().filter(|(atom, _)| !of_symbols(atom)).cloned().collect();
            (powers, super::poly::Term { powers: constant, factor: term.factor.clone() })
        };
        let keyed: Vec<_> = poly.0.iter().map(key).collect();
        let largest = keyed.iter().map(|(powers, _)| powers).max()?.clone();
        let terms = keyed.into_iter().filter(|(powers, _)| *powers == largest).map(|(_, term)| term).collect();
        Some((largest, Poly::collected(terms, effort).ok()?))
    };
    let ((a, p), (b, q)) = (symbols(x)?, symbols(y)?);
    let opaque = |atom: &Atom| matches!(atom, Atom::Opaque(_) | Atom::Whole(_));
    let unsure = x.any_atom(&opaque) || y.any_atom(&opaque);
    if a != b {
        return if unsure { None } else { Some(false) };
    }
    let difference = x.times(&q, effort).ok()?.minus(&y.times(&p, effort).ok()?, effort).ok()?;
    if difference.is_zero() { Some(true) } else { difference.is_decided().then_some(false) }
}
