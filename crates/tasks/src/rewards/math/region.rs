//! Sets of real numbers: intervals, points, unions and what inequalities say.

use std::cmp::Ordering;

use super::canon::canonical;
use super::effort::{Effort, Halt};
use super::exact::{Exact, ONE};
use super::node::{Constant, Edge, Node, Relation, SetOperation};
use super::poly::Atom;
use super::same::order;

/// Where a piece begins or ends.
#[derive(Clone, Debug)]
enum Bound {
    Below,
    At(Node),
    Above,
}

/// All numbers between two bounds.
#[derive(Clone, Debug)]
struct Piece {
    low: Bound,
    with_low: bool,
    high: Bound,
    with_high: bool,
}

/// A set of real numbers: pieces in order, none touching the next.
#[derive(Clone, Debug)]
pub(super) struct Region {
    pieces: Vec<Piece>,
    /// The variable it is said of, if it came from a relation.
    pub(super) variable: Option<Box<str>>,
}

/// Most pieces of a region.
const MOST: usize = 40;

impl Bound {
    fn order(&self, other: &Self, effort: &Effort) -> Result<Ordering, Halt> {
        match (self, other) {
            (Self::Below, Self::Below) | (Self::Above, Self::Above) => Ok(Ordering::Equal),
            (Self::Below, _) | (_, Self::Above) => Ok(Ordering::Less),
            (_, Self::Below) | (Self::Above, _) => Ok(Ordering::Greater),
            (Self::At(a), Self::At(b)) => order(a, b, effort),
        }
    }

    fn of(node: &Node) -> Self {
        match infinite(node) {
            Some(true) => Self::Below,
            Some(false) => Self::Above,
            None => Self::At(node.clone()),
        }
    }
}

/// Whether the node is infinity, and if so whether below zero.
fn infinite(node: &Node) -> Option<bool> {
    match node {
        Node::Constant(Constant::Infinity) => Some(false),
        Node::Product(factors) => match &factors[..] {
            [Node::Number(sign), Node::Constant(Constant::Infinity)] => Some(sign.is_negative()),
            _ => None,
        },
        _ => None,
    }
}

impl Region {
    fn of(pieces: Vec<Piece>) -> Self {
        Self { pieces, variable: None }
    }

    fn everything() -> Self {
        Self::of(vec![Piece { low: Bound::Below, with_low: false, high: Bound::Above, with_high: false }])
    }

    /// The set that `node` describes; `None` where it describes none.
    pub(super) fn read(node: &Node, effort: &Effort) -> Result<Option<Self>, Halt> {
        effort.spend(20)?;
        Ok(match node {
            Node::Reals => Some(Self::everything()),
            Node::Empty => Some(Self::of(Vec::new())),
            Node::Bracket(bracket) => {
                let [low, high] = &bracket.items[..] else { return Ok(None) };
                if bracket.open == Edge::Angle {
                    return Ok(None);
                }
                let (low, high) = (Bound::of(low), Bound::of(high));
                let (with_low, with_high) = (bracket.open == Edge::Square, bracket.close == Edge::Square);
                match low.order(&high, effort)? {
                    Ordering::Less => {}
                    Ordering::Equal if with_low && with_high => {}
                    _ => return Ok(None),
                }
                Some(Self::of(vec![Piece { low, with_low, high, with_high }]))
            }
            Node::Set(items) => {
                let mut all = Self::of(Vec::new());
                for item in items.iter().take(MOST) {
                    let at = Bound::At(item.clone());
                    let point = Piece { low: at.clone(), with_low: true, high: at, with_high: true };
                    all = all.union(&Self::of(vec![point]), effort)?;
                }
                (items.len() <= MOST).then_some(all)
            }
            Node::Where(inner) => Self::read(inner, effort)?,
            Node::Sets(operation, pair) => {
                let (Some(a), Some(b)) = (Self::read(&pair.0, effort)?, Self::read(&pair.1, effort)?) else {
                    return Ok(None);
                };
                Some(match operation {
                    SetOperation::Union => a.union(&b, effort)?,
                    SetOperation::Intersection => a.intersection(&b, effort)?,
                    SetOperation::Difference => a.intersection(&b.complement(), effort)?,
                })
            }
            Node::Relation(pair) => Self::of_chain(&pair.0, &pair.1, effort)?,
            Node::List(items) => Self::of_list(items, effort)?,
            _ => None,
        })
    }

    /// What several relations or intervals say together. Relations that hold at once for some number narrow one
    /// another (`x > 1, x < 3`); others are cases (`x < -1, x > 1`).
    fn of_list(items: &[Node], effort: &Effort) -> Result<Option<Self>, Halt> {
        let mut parts = Vec::with_capacity(items.len());
        for item in items {
            let certain = match item {
                Node::Relation(_) => true,
                Node::Bracket(bracket) => super::relation::is_interval(bracket),
                _ => false,
            };
            match Self::read(item, effort)? {
                Some(part) if certain && parts.len() < MOST => parts.push(part),
                _ => return Ok(None),
            }
        }
        if parts.iter().any(|part| part.variable != parts[0].variable) {
            return Ok(None);
        }
        let Some(first) = parts.first() else { return Ok(None) };
        let (mut both, mut either) = (first.clone(), first.clone());
        for part in &parts[1..] {
            both = both.intersection(part, effort)?;
            either = either.union(part, effort)?;
        }
        let relations = items.iter().all(|item| matches!(item, Node::Relation(_)));
        let all = if relations && !both.pieces.is_empty() { both } else { either };
        Ok(Some(Self { variable: first.variable.clone(), ..all }))
    }

    fn of_chain(first: &Node, rest: &[(Relation, Node)], effort: &Effort) -> Result<Option<Self>, Halt> {
        let mut left = first;
        let mut all = Self::everything();
        for (relation, right) in rest {
            let next = if *relation == Relation::In {
                let (Node::Symbol(name), Some(mut region)) = (left, Self::read(right, effort)?) else {
                    return Ok(None);
                };
                region.variable = Some(name.clone());
                region
            } else {
                match Self::of_pair(left, *relation, right, effort)? {
                    Some(region) => region,
                    None => return Ok(None),
                }
            };
            if all.variable.is_some() && all.variable != next.variable {
                return Ok(None);
            }
            let variable = next.variable.clone();
            all = all.intersection(&next, effort)?;
            all.variable = variable;
            left = right;
        }
        Ok(Some(all))
    }

    /// What a linear relation in one variable says.
    fn of_pair(left: &Node, relation: Relation, right: &Node, effort: &Effort) -> Result<Option<Self>, Halt> {
        let difference = Node::Sum(vec![left.clone(), right.clone().negated()]);
        let form = match canonical(&difference, effort) {
            Ok(form) => form,
            Err(Halt::Spent) => return Err(Halt::Spent),
            Err(_) => return Ok(None),
        };
        if !form.bottom.is_one() {
            return Ok(None);
        }
        let mut variable: Option<(Box<str>, Exact)> = None;
        for term in &form.top.0 {
            let symbols = term.powers.iter().filter(|(atom, _)| !matches!(atom, Atom::Prime(_) | Atom::Pi | Atom::E));
            for (atom, power) in symbols {
                let Atom::Symbol(name) = atom else { return Ok(None) };
                if variable.is_some() || *power != ONE || term.powers.len() != 1 {
                    return Ok(None);
                }
                variable = Some((name.clone(), term.factor.clone()));
            }
        }
        let Some((name, slope)) = variable else { return Ok(None) };
        // The boundary: minus what is left without the variable, over its coefficient.
        let rest = without(&difference, &name);
        let scale = slope.negated().inverse()?;
        let at = match canonical(&rest, effort)?.number() {
            Some(number) => Node::Number(number.times(&scale, effort)?),
            None => Node::Product(vec![Node::Number(scale), rest]),
        };
        let relation = if slope.is_negative() { relation.flipped() } else { relation };
        let at = Bound::At(at);
        let below = |with: bool| Piece { low: Bound::Below, with_low: false, high: at.clone(), with_high: with };
        let above = |with: bool| Piece { low: at.clone(), with_low: with, high: Bound::Above, with_high: false };
        let pieces = match relation {
            Relation::Less => vec![below(false)],
            Relation::LessEqual => vec![below(true)],
            Relation::Greater => vec![above(false)],
            Relation::GreaterEqual => vec![above(true)],
            Relation::NotEqual => vec![below(false), above(false)],
            Relation::Equal => {
                vec![Piece { low: at.clone(), with_low: true, high: at.clone(), with_high: true }]
            }
            Relation::In | Relation::Congruent | Relation::Near => return Ok(None),
        };
        Ok(Some(Self { pieces, variable: Some(name) }))
    }

    fn complement(&self) -> Self {
        let mut out = Vec::with_capacity(self.pieces.len() + 1);
        let (mut low, mut with_low) = (Bound::Below, false);
        for piece in &self.pieces {
            if !matches!(piece.low, Bound::Below) {
                out.push(Piece { low, with_low, high: piece.low.clone(), with_high: !piece.with_low });
            }
            (low, with_low) = (piece.high.clone(), !piece.with_high);
        }
        if !matches!(low, Bound::Above) {
            out.push(Piece { low, with_low, high: Bound::Above, with_high: false });
        }
        Self::of(out)
    }

    fn intersection(&self, other: &Self, effort: &Effort) -> Result<Self, Halt> {
        let mut out = Vec::new();
        for a in &self.pieces {
            for b in &other.pieces {
                effort.spend(20)?;
                let (low, with_low) = match a.low.order(&b.low, effort)? {
                    Ordering::Greater => (&a.low, a.with_low),
                    Ordering::Less => (&b.low, b.with_low),
                    Ordering::Equal => (&a.low, a.with_low && b.with_low),
                };
                let (high, with_high) = match a.high.order(&b.high, effort)? {
                    Ordering::Less => (&a.high, a.with_high),
                    Ordering::Greater => (&b.high, b.with_high),
                    Ordering::Equal => (&a.high, a.with_high && b.with_high),
                };
                let some = match low.order(high, effort)? {
                    Ordering::Less => true,
                    Ordering::Equal => with_low && with_high,
                    Ordering::Greater => false,
                };
                if some {
                    out.push(Piece { low: low.clone(), with_low, high: high.clone(), with_high });
                }
            }
        }
        if out.len() > 2 * MOST {
            return Err(Halt::Spent);
        }
        // Pieces of both are in order, and so are their overlaps.
        Ok(Self::of(out))
    }

    fn union(&self, other: &Self, effort: &Effort) -> Result<Self, Halt> {
        let outside = self.complement().intersection(&other.complement(), effort)?;
        Ok(Self { variable: self.variable.clone(), ..outside.complement() })
    }

    /// Whether both hold the same numbers, of the same variable where both name one.
    pub(super) fn equals(&self, other: &Self, effort: &Effort) -> Result<bool, Halt> {
        if let (Some(a), Some(b)) = (&self.variable, &other.variable)
            && a != b
        {
            return Ok(false);
        }
        // Touching pieces are joined by complementing twice.
        let (a, b) = (self.complement(), other.complement());
        if a.pieces.len() != b.pieces.len() {
            return Ok(false);
        }
        for (a, b) in a.pieces.iter().zip(&b.pieces) {
            let ends = a.with_low == b.with_low && a.with_high == b.with_high;
            if !ends || a.low.order(&b.low, effort)?.is_ne() || a.high.order(&b.high, effort)?.is_ne() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// `node` with zero for the variable `name`, which it is linear in.
fn without(node: &Node, name: &str) -> Node {
    match node {
        Node::Symbol(symbol) if **symbol == *name => Node::int(0),
        Node::Sum(items) => Node::Sum(items.iter().map(|item| without(item, name)).collect()),
        Node::Product(items) => Node::Product(items.iter().map(|item| without(item, name)).collect()),
        Node::Power(pair) => Node::Power(Box::new((without(&pair.0, name), pair.1.clone()))),
        Node::Unit(pair) => without(&pair.0, name),
        other => other.clone(),
    }
}
