//! Whether an answer says what the gold answer says, whatever their shapes.

use super::effort::{Effort, Halt};
use super::exact::{Exact, ONE};
use super::named;
use super::node::{Bracket, Constant, Decimal, Edge, Matrix, Node, Ratio, Relation, SetOperation, Unit};
use super::parser::DOTS;
use super::policy::{Percent, Policy, Units};
use super::region::Region;
use super::relation;
use super::same::{equal, order};

/// A comparison: the policy and the steps left.
pub(super) struct Comparison<'c> {
    pub(super) policy: &'c Policy,
    pub(super) effort: Effort,
}

/// Most items of a list that are compared one with all.
const MOST_ITEMS: usize = 64;

impl Comparison<'_> {
    /// Whether `answer` equals `gold`.
    pub(super) fn same(&self, gold: &Node, answer: &Node) -> Result<bool, Halt> {
        self.effort.spend(20)?;
        if let (Some(a), Some(b)) = (plain(gold), plain(answer)) {
            return Ok(a == b);
        }
        let (gold_core, gold_unit) = peeled(gold);
        let (core, unit) = peeled(answer);
        if let (Some(Unit::Known(_) | Unit::Modulo(_)), Some(Unit::Known(_) | Unit::Modulo(_))) = (&gold_unit, &unit)
            && self.policy.units == Units::Compare
            && gold_unit != unit
        {
            return Ok(false);
        }
        if self.core(gold_core, core)? {
            return Ok(true);
        }
        // An angle in degrees and one without: radians may be meant.
        let degrees = |node: &Node| matches!(node, Node::Degrees(_));
        Ok(degrees(gold) != degrees(answer) && self.policy.units == Units::Compare && self.numbers(gold, answer)?)
    }

    /// Percent signs, then shapes.
    fn core(&self, gold: &Node, answer: &Node) -> Result<bool, Halt> {
        match (gold, answer) {
            (Node::Percent(a), Node::Percent(b)) => self.same(a, b),
            (Node::Percent(a), b) => self.percent(a, b, true),
            (a, Node::Percent(b)) => self.percent(b, a, false),
            _ => self.shapes(gold, answer),
        }
    }

    /// `percent` percent against something without a sign.
    fn percent(&self, percent: &Node, other: &Node, is_gold: bool) -> Result<bool, Halt> {
        let ordered = |a: &Node| if is_gold { self.shapes(a, other) } else { self.shapes(other, a) };
        let hundredth = |node: &Node| match node.number() {
            Some(number) => number.times(&Exact::Small(1, 100), &self.effort).map(Node::Number),
            None => Ok(Node::Product(vec![Node::Number(Exact::Small(1, 100)), node.clone()])),
        };
        Ok(match self.policy.percent {
            Percent::Ignored => ordered(percent)?,
            Percent::Hundredth => ordered(&hundredth(percent)?)?,
            Percent::Either => ordered(percent)? || ordered(&hundredth(percent)?)?,
        })
    }

    fn shapes(&self, gold: &Node, answer: &Node) -> Result<bool, Halt> {
        let both = (expanded(gold), expanded(answer));
        let (gold, answer) = (both.0.as_ref().unwrap_or(gold), both.1.as_ref().unwrap_or(answer));
        if matches!(gold, Node::List(_) | Node::Relation(_)) || matches!(answer, Node::List(_) | Node::Relation(_)) {
            if let Some(same) = named::same(self, gold, answer)? {
                return Ok(same);
            }
            match (named::without_conditions(gold), named::without_conditions(answer)) {
                (Some(gold), None) => return self.same(&gold, answer),
                (None, Some(answer)) => return self.same(gold, &answer),
                _ => {}
            }
        }
        match (gold, answer) {
            (Node::Relation(_), _) | (_, Node::Relation(_)) => relation::same(self, gold, answer),
            (Node::List(a), Node::List(b)) => {
                // `x = 1` or `x = 2`, or intervals of inequalities.
                if a.len() == b.len() && self.unordered(a, b)? {
                    return Ok(true);
                }
                self.regions(gold, answer)
            }
            // `15\frac{39}{40}, or \frac{639}{40}`: one value, written twice.
            (value, Node::List(items)) if is_scalar(value) => {
                for item in items {
                    if !self.same(value, item)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Node::List(a) | Node::Set(a), Node::List(b) | Node::Set(b)) => self.unordered(a, b),
            (Node::Set(a), b) if a.len() == 1 && is_scalar(b) => self.same(&a[0], b),
            (a, Node::Set(b)) if b.len() == 1 && is_scalar(a) => self.same(a, &b[0]),
            (Node::List(_), Node::Where(_) | Node::Sets(..) | Node::Bracket(_) | Node::Reals | Node::Empty)
            | (Node::Where(_) | Node::Sets(..) | Node::Bracket(_) | Node::Reals | Node::Empty, Node::List(_)) => {
                self.regions(gold, answer)
            }
            (Node::Bracket(a), Node::Bracket(b)) => self.brackets(a, b),
            (Node::Matrix(a), Node::Matrix(b)) => {
                Ok(a.columns == b.columns && a.bars == b.bars && self.in_order(&a.items, &b.items)?)
            }
            (Node::Matrix(_), Node::Bracket(rows)) if matrix(rows).is_some() => {
                matrix(rows).map_or(Ok(false), |rows| self.shapes(gold, &rows))
            }
            (Node::Bracket(rows), Node::Matrix(_)) if matrix(rows).is_some() => {
                matrix(rows).map_or(Ok(false), |rows| self.shapes(&rows, answer))
            }
            // A column or a row is a vector, which may be written in parentheses.
            (Node::Matrix(a), Node::Bracket(b)) | (Node::Bracket(b), Node::Matrix(a)) => {
                let vector = a.columns == 1 || a.columns == a.items.len();
                let items = if matches!(gold, Node::Matrix(_)) { (&a.items, &b.items) } else { (&b.items, &a.items) };
                // Two numbers in square brackets may be an interval.
                let square = b.open == Edge::Square && b.items.len() == 2;
                Ok(vector && !square && b.open == b.close && self.in_order(items.0, items.1)?)
            }
            // A point with its name: `P(2, 3)`.
            (Node::Bracket(point), Node::Product(factors)) if point.open == Edge::Round => match &factors[..] {
                [Node::Symbol(name), labelled @ Node::Bracket(_)] if is_label(name) => self.shapes(gold, labelled),
                _ => Ok(false),
            },
            (Node::Ratio(a), Node::Ratio(b)) => self.ratios(a, b),
            (Node::Based(a), Node::Based(b)) => Ok(a == b),
            // The base may be left out where the question names it, but not the other way round.
            (Node::Based(a), Node::Number(b)) => Ok(b.as_i64().is_some_and(|b| b.to_string() == *a.digits)
                || (a.base == 10 && self.numbers(gold, answer)?)),
            (Node::Number(_), Node::Based(b)) => Ok(b.base == 10 && self.numbers(gold, answer)?),
            (Node::Based(_), _) | (_, Node::Based(_)) => Ok(false),
            (Node::Text(a), Node::Text(b)) => Ok(a == b),
            (Node::Text(a), other) | (other, Node::Text(a)) => Ok(letters(other).is_some_and(|word| word == **a)),
            // Sets that are only named.
            (Node::Sets(a, left), Node::Sets(b, right)) if a == b && left.0.any(&is_symbol) => {
                let turned =
                    *a != SetOperation::Difference && self.same(&left.0, &right.1)? && self.same(&left.1, &right.0)?;
                Ok(turned
                    || (self.same(&left.0, &right.0)? && self.same(&left.1, &right.1)?)
                    || self.regions(gold, answer)?)
            }
            (
                Node::Sets(..) | Node::Where(_) | Node::Reals | Node::Empty | Node::Bracket(_) | Node::Set(_),
                Node::Sets(..) | Node::Where(_) | Node::Reals | Node::Empty | Node::Bracket(_) | Node::Set(_),
            ) => self.regions(gold, answer),
            _ => self.numbers(gold, answer),
        }
    }

    /// Numbers and formulas, rounded decimals among them.
    pub(super) fn numbers(&self, gold: &Node, answer: &Node) -> Result<bool, Halt> {
        let cut = |node: &Node| matches!(node, Node::Decimal(decimal) if decimal.cut);
        let exactly = if cut(gold) || cut(answer) {
            false
        } else {
            match equal(gold, answer, &self.effort) {
                Err(Halt::Kind) => return Ok(false),
                result => result?,
            }
        };
        if exactly || self.policy.digits == 0 {
            return Ok(exactly);
        }
        match (gold, answer) {
            // The one with fewer digits may be the other, rounded.
            (Node::Decimal(a), Node::Decimal(b)) if a.places == b.places => Ok(false),
            (Node::Decimal(a), Node::Decimal(b)) if a.places < b.places => self.rounded(a, answer),
            (_, Node::Decimal(b)) => self.rounded(b, gold),
            (Node::Decimal(a), _) => self.rounded(a, answer),
            _ => Ok(false),
        }
    }

    /// Whether `decimal` is `value` to the digits it has, rounded or cut off, and `value` has more of them.
    fn rounded(&self, decimal: &Decimal, value: &Node) -> Result<bool, Halt> {
        if decimal.significant < self.policy.digits || decimal.places > 400 {
            return Ok(false);
        }
        let scale = Exact::int(10).power(decimal.places.into(), &self.effort)?;
        let shown = decimal.value.times(&scale, &self.effort)?;
        let scaled = match value.number() {
            Some(number) => {
                let scaled = number.times(&scale, &self.effort)?;
                if scaled.is_whole() {
                    return Ok(false);
                }
                Node::Number(scaled)
            }
            None => Node::Product(vec![Node::Number(scale), value.clone()]),
        };
        let between = |low: Exact, high: Exact| -> Result<bool, Halt> {
            let low = order(&Node::Number(low), &scaled, &self.effort)?;
            Ok(low.is_le() && order(&scaled, &Node::Number(high), &self.effort)?.is_le())
        };
        let half = Exact::Small(1, 2);
        let effort = &self.effort;
        let near = between(shown.minus(&half, effort)?, shown.plus(&half, effort)?);
        let cut = |near: bool| {
            Ok(near
                || if shown.is_negative() {
                    between(shown.minus(&ONE, effort)?, shown.clone())?
                } else {
                    between(shown.clone(), shown.plus(&ONE, effort)?)?
                })
        };
        // A whole value is never meant by a fraction next to it: `9.999999` is not 10.
        let whole = |node: &Node| {
            super::canon::canonical(node, effort).ok().and_then(|form| form.number()).is_some_and(|n| {
                n.times(&Exact::int(10).power(decimal.places.into(), effort).unwrap_or(ONE), effort)
                    .is_ok_and(|n| n.is_whole())
            })
        };
        match near.and_then(cut) {
            Ok(close) => Ok(close && !whole(value)),
            Err(Halt::Kind) => Ok(false),
            Err(halt) => Err(halt),
        }
    }

    pub(super) fn in_order(&self, gold: &[Node], answer: &[Node]) -> Result<bool, Halt> {
        if gold.len() != answer.len() {
            return Ok(false);
        }
        for (a, b) in gold.iter().zip(answer) {
            if !self.same(a, b)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Every item has its like on the other side.
    pub(super) fn unordered(&self, gold: &[Node], answer: &[Node]) -> Result<bool, Halt> {
        let (gold, answer) = (spread(gold), spread(answer));
        // What an ellipsis stands for depends on its place.
        let dots = |items: &[Node]| items.iter().any(|item| matches!(item, Node::Text(text) if **text == *DOTS));
        if gold.len() > MOST_ITEMS || answer.len() > MOST_ITEMS || dots(&gold) || dots(&answer) {
            return self.in_order(&gold, &answer);
        }
        let mut met = vec![false; answer.len()];
        for a in &gold {
            let mut found = false;
            for (b, met) in answer.iter().zip(&mut met) {
                if (!*met || !found) && self.same(a, b)? {
                    found = true;
                    *met = true;
                }
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(met.into_iter().all(|met| met))
    }

    fn brackets(&self, gold: &Bracket, answer: &Bracket) -> Result<bool, Halt> {
        let round = |edge: Edge| if matches!(edge, Edge::Angle | Edge::Outward) { Edge::Round } else { edge };
        let edges = |bracket: &Bracket| (round(bracket.open), round(bracket.close));
        Ok(edges(gold) == edges(answer) && self.in_order(&gold.items, &answer.items)?)
    }

    /// Ratios are the same in lowest terms, times of day part by part.
    fn ratios(&self, gold: &Ratio, answer: &Ratio) -> Result<bool, Halt> {
        if gold.parts.len() != answer.parts.len() {
            return Ok(false);
        }
        if (gold.clock && answer.clock) || gold.parts.len() > 3 {
            return self.in_order(&gold.parts, &answer.parts);
        }
        let (a, b) = (&gold.parts[0], &answer.parts[0]);
        for (c, d) in gold.parts.iter().zip(&answer.parts).skip(1) {
            let left = Node::Product(vec![a.clone(), d.clone()]);
            let right = Node::Product(vec![b.clone(), c.clone()]);
            if !self.numbers(&left, &right)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn regions(&self, gold: &Node, answer: &Node) -> Result<bool, Halt> {
        match (Region::read(gold, &self.effort), Region::read(answer, &self.effort)) {
            (Ok(Some(a)), Ok(Some(b))) => a.equals(&b, &self.effort),
            (Err(Halt::Spent), _) | (_, Err(Halt::Spent)) => Err(Halt::Spent),
            _ => Ok(false),
        }
    }
}

/// The number of a node that is nothing else.
fn plain(node: &Node) -> Option<&Exact> {
    match node {
        Node::Number(value) => Some(value),
        _ => None,
    }
}

/// The node without its unit, and the unit.
pub(super) fn peeled(node: &Node) -> (&Node, Option<Unit>) {
    match node {
        Node::Unit(pair) => (&pair.0, Some(pair.1.clone())),
        Node::Degrees(inner) => (inner, Some(Unit::Known(vec![("degree", 1)]))),
        _ => (node, None),
    }
}

fn is_scalar(node: &Node) -> bool {
    !matches!(
        node,
        Node::List(_)
            | Node::Set(_)
            | Node::Bracket(_)
            | Node::Sets(..)
            | Node::Relation(_)
            | Node::Matrix(_)
            | Node::Where(_)
            | Node::Empty
            | Node::Reals
    )
}

/// The matrix whose rows are brackets in a bracket: `[[1, 2], [3, 4]]`.
fn matrix(rows: &Bracket) -> Option<Node> {
    let row = |node: &Node| match node {
        Node::Bracket(row) if row.open == row.close => Some(row.items.clone()),
        _ => None,
    };
    let rows = rows.items.iter().map(row).collect::<Option<Vec<_>>>()?;
    let columns = rows.first()?.len();
    let items = rows.iter().all(|row| row.len() == columns).then(|| rows.concat())?;
    Some(Node::Matrix(Box::new(Matrix { columns, items, bars: false })))
}

/// Whether the variable may be a point's name: a capital letter, perhaps with an index.
fn is_label(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.len() == 1 || name.as_bytes().get(1) == Some(&b'_')
}

/// The word that a product of letters spells.
fn letters(node: &Node) -> Option<String> {
    let letter = |node: &Node| match node {
        Node::Symbol(name) if name.len() == 1 => name.chars().next(),
        Node::Constant(Constant::E) => Some('e'),
        Node::Constant(Constant::I) => Some('i'),
        _ => None,
    };
    match node {
        Node::Product(factors) => factors.iter().map(letter).collect::<Option<String>>(),
        other => letter(other).map(String::from),
    }
    .map(|word| word.to_lowercase())
}

fn is_symbol(node: &Node) -> bool {
    matches!(node, Node::Symbol(_))
}

fn is_plus_minus(node: &Node) -> bool {
    matches!(node, Node::PlusMinus(..))
}

/// A number with `±` as the list of both numbers; `None` for what has none.
fn expanded(node: &Node) -> Option<Node> {
    let scalar = !matches!(
        node,
        Node::List(_) | Node::Set(_) | Node::Bracket(_) | Node::Matrix(_) | Node::Relation(_) | Node::Sets(..)
    );
    (scalar && node.any(&is_plus_minus)).then(|| Node::List(vec![signed(node, false), signed(node, true)]))
}

/// Items, those with `±` as both.
fn spread(items: &[Node]) -> Vec<Node> {
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        if item.any(&is_plus_minus) {
            out.extend([signed(item, false), signed(item, true)]);
        } else {
            out.push(item.clone());
        }
    }
    out
}

/// The node with its upper or lower signs.
fn signed(node: &Node, lower: bool) -> Node {
    let all = |items: &[Node]| items.iter().map(|item| signed(item, lower)).collect::<Vec<_>>();
    let pair = |pair: &(Node, Node)| Box::new((signed(&pair.0, lower), signed(&pair.1, lower)));
    match node {
        Node::PlusMinus(minus_first, inner) => {
            let inner = signed(inner, lower);
            if *minus_first == lower { inner } else { inner.negated() }
        }
        Node::Sum(items) => Node::Sum(all(items)),
        Node::Product(items) => Node::Product(all(items)),
        Node::Call(function, items) => Node::Call(*function, all(items)),
        Node::Bracket(bracket) => {
            Node::Bracket(Box::new(Bracket { items: all(&bracket.items), open: bracket.open, close: bracket.close }))
        }
        Node::Power(inner) => Node::Power(pair(inner)),
        Node::Root(inner) => Node::Root(pair(inner)),
        Node::Percent(inner) => Node::Percent(Box::new(signed(inner, lower))),
        Node::Degrees(inner) => Node::Degrees(Box::new(signed(inner, lower))),
        Node::Unit(inner) => Node::Unit(Box::new((signed(&inner.0, lower), inner.1.clone()))),
        Node::Relation(inner) => {
            let rest: Vec<(Relation, Node)> =
                inner.1.iter().map(|(relation, node)| (*relation, signed(node, lower))).collect();
            Node::Relation(Box::new((signed(&inner.0, lower), rest)))
        }
        Node::Set(items) => Node::Set(all(items)),
        Node::List(items) => Node::List(all(items)),
        Node::Sets(operation, inner) => Node::Sets(*operation, pair(inner)),
        Node::Where(inner) => Node::Where(Box::new(signed(inner, lower))),
        Node::Ratio(ratio) => Node::Ratio(Box::new(Ratio { parts: all(&ratio.parts), clock: ratio.clock })),
        Node::Matrix(matrix) => {
            Node::Matrix(Box::new(Matrix { items: all(&matrix.items), columns: matrix.columns, bars: matrix.bars }))
        }
        Node::Number(_)
        | Node::Decimal(_)
        | Node::Based(_)
        | Node::Symbol(_)
        | Node::Constant(_)
        | Node::Empty
        | Node::Reals
        | Node::Text(_) => node.clone(),
    }
}

/// Whether both signs of `±` are meant somewhere in the node.
pub(super) fn both_signs(node: &Node) -> Option<[Node; 2]> {
    node.any(&is_plus_minus).then(|| [signed(node, false), signed(node, true)])
}
