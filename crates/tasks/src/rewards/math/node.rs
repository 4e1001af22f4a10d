//! What an answer says, as it was read: numbers, formulas and the shapes made of them.

use super::exact::Exact;
use super::units::Product;

/// A piece of mathematics.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// A number.
    Number(Exact),
    /// A number written with a decimal point.
    Decimal(Box<Decimal>),
    /// A number in another base.
    Based(Box<Based>),
    /// A variable.
    Symbol(Box<str>),
    Constant(Constant),
    Sum(Vec<Node>),
    Product(Vec<Node>),
    /// Base and exponent.
    Power(Box<(Node, Node)>),
    /// The root of the given degree of a number: real where there is a real one.
    Root(Box<(Node, Node)>),
    /// A function of its arguments.
    Call(Function, Vec<Node>),
    /// `±`; `true` for `∓`.
    PlusMinus(bool, Box<Node>),
    Percent(Box<Node>),
    Degrees(Box<Node>),
    /// Something with a unit behind it.
    Unit(Box<(Node, Unit)>),
    /// `2:3`, or a time of day.
    Ratio(Box<Ratio>),
    /// `(a, b)`, `[a, b)` and so on: tuples, points, vectors and intervals.
    Bracket(Box<Bracket>),
    /// `{a, b}`
    Set(Vec<Node>),
    /// `{x | x > 2}`: what is said of the variable.
    Where(Box<Node>),
    /// `a, b` without brackets, in any order.
    List(Vec<Node>),
    Matrix(Box<Matrix>),
    /// `a < b ≤ c`: the first and what follows.
    Relation(Box<(Node, Vec<(Relation, Node)>)>),
    /// Unions and the like of sets.
    Sets(SetOperation, Box<(Node, Node)>),
    Empty,
    Reals,
    /// Words, spaces and case evened out.
    Text(Box<str>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decimal {
    pub(super) value: Exact,
    /// Digits behind the point.
    pub(super) places: u32,
    /// Digits from the first that is not zero on.
    pub(super) significant: u32,
    /// An ellipsis follows: the value is another, which is written so far.
    pub(super) cut: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Based {
    pub(super) digits: Box<str>,
    pub(super) base: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ratio {
    pub(super) parts: Vec<Node>,
    /// It may be a time of day: hours, minutes and perhaps seconds of two digits.
    pub(super) clock: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bracket {
    pub(super) open: Edge,
    pub(super) close: Edge,
    pub(super) items: Vec<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    Round,
    Square,
    Angle,
    /// `]` that opens and `[` that closes: the end is not part of the interval.
    Outward,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Matrix {
    pub(super) columns: usize,
    pub(super) items: Vec<Node>,
    /// Between bars: its determinant is meant.
    pub(super) bars: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Constant {
    Pi,
    E,
    I,
    Infinity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    /// Equal up to multiples of what stands behind "mod".
    Congruent,
    /// Equal after rounding.
    Near,
}

impl Relation {
    /// The relation seen from the other side.
    pub(super) const fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            same => same,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetOperation {
    Union,
    Intersection,
    Difference,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Function {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Arcsin,
    Arccos,
    Arctan,
    Sinh,
    Cosh,
    Tanh,
    /// The natural logarithm.
    Ln,
    /// Of base and number.
    Log,
    Exp,
    Abs,
    Floor,
    Ceil,
    Factorial,
    Binomial,
    Gcd,
    Lcm,
    Max,
    Min,
}

/// A unit behind a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Units of the table.
    Known(Product),
    /// What a congruence counts by, as it is written.
    Modulo(Box<str>),
    /// Words that count or name something.
    Other,
}

impl Node {
    pub(super) fn int(value: i64) -> Self {
        Self::Number(Exact::int(value))
    }

    pub(super) fn negated(self) -> Self {
        match self {
            Self::Number(value) => Self::Number(value.negated()),
            Self::Decimal(mut decimal) => {
                decimal.value = decimal.value.negated();
                Self::Decimal(decimal)
            }
            Self::Product(mut factors) => {
                factors.insert(0, Self::int(-1));
                Self::Product(factors)
            }
            Self::Percent(inner) => Self::Percent(Box::new(inner.negated())),
            Self::Degrees(inner) => Self::Degrees(Box::new(inner.negated())),
            other => Self::Product(vec![Self::int(-1), other]),
        }
    }

    /// The value of a number as written.
    pub(super) fn number(&self) -> Option<&Exact> {
        match self {
            Self::Number(value) => Some(value),
            Self::Decimal(decimal) if !decimal.cut => Some(&decimal.value),
            _ => None,
        }
    }

    /// The formula with the variable `to` for the variable `from`.
    pub(super) fn renamed(&self, from: &str, to: &str) -> Self {
        let all = |items: &[Self]| items.iter().map(|item| item.renamed(from, to)).collect::<Vec<_>>();
        let pair = |pair: &(Self, Self)| Box::new((pair.0.renamed(from, to), pair.1.renamed(from, to)));
        match self {
            Self::Symbol(name) if **name == *from => Self::Symbol(to.into()),
            Self::Sum(items) => Self::Sum(all(items)),
            Self::Product(items) => Self::Product(all(items)),
            Self::Call(function, items) => Self::Call(*function, all(items)),
            Self::List(items) => Self::List(all(items)),
            Self::Power(inner) => Self::Power(pair(inner)),
            Self::Root(inner) => Self::Root(pair(inner)),
            Self::PlusMinus(lower, inner) => Self::PlusMinus(*lower, Box::new(inner.renamed(from, to))),
            other => other.clone(),
        }
    }

    /// Everything directly inside.
    pub(super) fn children(&self) -> Vec<&Self> {
        match self {
            Self::Number(_)
            | Self::Decimal(_)
            | Self::Based(_)
            | Self::Symbol(_)
            | Self::Constant(_)
            | Self::Empty
            | Self::Reals
            | Self::Text(_) => Vec::new(),
            Self::Sum(items) | Self::Product(items) | Self::Call(_, items) | Self::Set(items) | Self::List(items) => {
                items.iter().collect()
            }
            Self::Power(pair) | Self::Root(pair) | Self::Sets(_, pair) => vec![&pair.0, &pair.1],
            Self::PlusMinus(_, inner) | Self::Percent(inner) | Self::Degrees(inner) | Self::Where(inner) => {
                vec![inner]
            }
            Self::Unit(pair) => vec![&pair.0],
            Self::Ratio(ratio) => ratio.parts.iter().collect(),
            Self::Bracket(bracket) => bracket.items.iter().collect(),
            Self::Matrix(matrix) => matrix.items.iter().collect(),
            Self::Relation(pair) => std::iter::once(&pair.0).chain(pair.1.iter().map(|(_, node)| node)).collect(),
        }
    }

    /// Whether the tree has more levels than `most`.
    pub(super) fn is_deeper(&self, most: usize) -> bool {
        most == 0 || self.children().into_iter().any(|child| child.is_deeper(most - 1))
    }

    /// Whether `wanted` holds of this node or of one inside.
    pub(super) fn any(&self, wanted: &dyn Fn(&Self) -> bool) -> bool {
        wanted(self) || self.children().into_iter().any(|child| child.any(wanted))
    }
}
