//! Sums of products of powers, in one order: the canonical form of what is compared exactly.

use std::cmp::Ordering;
use std::sync::Arc;

use num_bigint::BigInt;

use super::effort::{Effort, Halt};
use super::exact::{Exact, MINUS_ONE, ONE};
use super::form::Form;
use super::node::Function;

/// Most terms of a sum.
const MOST_TERMS: usize = 600;

/// What a term multiplies powers of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Atom {
    /// A prime number; its powers lie in [0, 1), the rest is in the coefficient.
    Prime(u64),
    /// A whole number that was not factored.
    Whole(Box<BigInt>),
    I,
    Pi,
    E,
    Infinity,
    Symbol(Box<str>),
    /// A function of forms, or a sum under a root.
    Opaque(Arc<Opaque>),
}

/// What has no simpler form here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Opaque {
    Call(Function, Vec<Form>),
    Group(Form),
    Power(Form, Form),
}

/// A coefficient, not zero, times powers of atoms, sorted, none to the power of zero.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Term {
    pub(super) powers: Vec<(Atom, Exact)>,
    pub(super) factor: Exact,
}

/// A sum of terms, sorted by their powers, none twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Poly(pub(super) Vec<Term>);

impl Term {
    pub(super) fn constant(factor: Exact) -> Self {
        Self { powers: Vec::new(), factor }
    }

    /// Brings whole powers of numbers and of `i` into the coefficient.
    fn settled(mut self, effort: &Effort) -> Result<Self, Halt> {
        let needed = |(atom, power): &(Atom, Exact)| match atom {
            Atom::Prime(_) | Atom::Whole(_) => !power.floor().is_zero(),
            Atom::I => !power.is_one(),
            _ => false,
        } || power.is_zero();
        if !self.powers.iter().any(needed) {
            return Ok(self);
        }
        let mut kept = Vec::with_capacity(self.powers.len());
        for (atom, power) in self.powers {
            let number = match &atom {
                Atom::Prime(prime) => Some(Exact::whole((*prime).into())),
                Atom::Whole(whole) => Some(Exact::whole((**whole).clone())),
                _ => None,
            };
            if let Some(number) = number {
                let whole = power.floor();
                let out = number.power(whole.as_i64().ok_or(Halt::Spent)?, effort)?;
                self.factor = self.factor.times(&out, effort)?;
                let left = power.minus(&whole, effort)?;
                if !left.is_zero() {
                    kept.push((atom, left));
                }
            } else if atom == Atom::I {
                let turns = power.as_i64().ok_or(Halt::Unknown)?.rem_euclid(4);
                if turns >= 2 {
                    self.factor = self.factor.negated();
                }
                if turns % 2 == 1 {
                    kept.push((Atom::I, ONE));
                }
            } else if !power.is_zero() {
                kept.push((atom, power));
            }
        }
        self.powers = kept;
        Ok(self)
    }

    pub(super) fn times(&self, other: &Self, effort: &Effort) -> Result<Self, Halt> {
        let factor = self.factor.times(&other.factor, effort)?;
        if self.powers.is_empty() || other.powers.is_empty() {
            let powers = if self.powers.is_empty() { other.powers.clone() } else { self.powers.clone() };
            return Ok(Self { powers, factor });
        }
        let mut powers = Vec::with_capacity(self.powers.len() + other.powers.len());
        let (mut a, mut b) = (self.powers.iter().peekable(), other.powers.iter().peekable());
        loop {
            let order = match (a.peek(), b.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((x, _)), Some((y, _))) => x.cmp(y),
            };
            match order {
                Ordering::Less => powers.extend(a.next().cloned()),
                Ordering::Greater => powers.extend(b.next().cloned()),
                Ordering::Equal => {
                    if let (Some((atom, x)), Some((_, y))) = (a.next(), b.next()) {
                        powers.push((atom.clone(), x.plus(y, effort)?));
                    }
                }
            }
        }
        effort.spend(4 * powers.len() as u64)?;
        Self { powers, factor }.settled(effort)
    }

    /// The term to a whole power.
    pub(super) fn power(&self, exponent: i64, effort: &Effort) -> Result<Self, Halt> {
        let factor = self.factor.power(exponent, effort)?;
        let by = Exact::int(exponent);
        let mut powers = Vec::with_capacity(self.powers.len());
        for (atom, power) in &self.powers {
            powers.push((atom.clone(), power.times(&by, effort)?));
        }
        Self { powers, factor }.settled(effort)
    }
}

impl Poly {
    pub(super) fn constant(value: Exact) -> Self {
        if value.is_zero() { Self::default() } else { Self(vec![Term::constant(value)]) }
    }

    pub(super) fn atom(atom: Atom, power: Exact, effort: &Effort) -> Result<Self, Halt> {
        Ok(Self(vec![Term { powers: vec![(atom, power)], factor: ONE }.settled(effort)?]))
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_one(&self) -> bool {
        matches!(&self.0[..], [term] if term.powers.is_empty() && term.factor.is_one())
    }

    /// The number, where it is nothing else.
    pub(super) fn number(&self) -> Option<Exact> {
        match &self.0[..] {
            [] => Some(super::exact::ZERO),
            [term] if term.powers.is_empty() => Some(term.factor.clone()),
            _ => None,
        }
    }

    pub(super) fn negated(&self) -> Self {
        let negate = |term: &Term| Term { powers: term.powers.clone(), factor: term.factor.negated() };
        Self(self.0.iter().map(negate).collect())
    }

    pub(super) fn plus(&self, other: &Self, effort: &Effort) -> Result<Self, Halt> {
        let mut out = Vec::with_capacity(self.0.len() + other.0.len());
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        effort.spend(4 * (self.0.len() + other.0.len()) as u64)?;
        loop {
            let order = match (a.peek(), b.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(x), Some(y)) => x.powers.cmp(&y.powers),
            };
            match order {
                Ordering::Less => out.extend(a.next().cloned()),
                Ordering::Greater => out.extend(b.next().cloned()),
                Ordering::Equal => {
                    if let (Some(x), Some(y)) = (a.next(), b.next()) {
                        let factor = x.factor.plus(&y.factor, effort)?;
                        if !factor.is_zero() {
                            out.push(Term { powers: x.powers.clone(), factor });
                        }
                    }
                }
            }
        }
        if out.len() > MOST_TERMS {
            return Err(Halt::Spent);
        }
        Ok(Self(out))
    }

    pub(super) fn minus(&self, other: &Self, effort: &Effort) -> Result<Self, Halt> {
        self.plus(&other.negated(), effort)
    }

    pub(super) fn times(&self, other: &Self, effort: &Effort) -> Result<Self, Halt> {
        if self.is_one() {
            return Ok(other.clone());
        }
        if other.is_one() {
            return Ok(self.clone());
        }
        if self.0.len() * other.0.len() > 40 * MOST_TERMS {
            return Err(Halt::Spent);
        }
        let mut terms = Vec::with_capacity(self.0.len() * other.0.len());
        for x in &self.0 {
            effort.spend(10 * other.0.len() as u64)?;
            for y in &other.0 {
                terms.push(x.times(y, effort)?);
            }
        }
        Self::collected(terms, effort)
    }

    /// The sum of terms in any order.
    pub(super) fn collected(mut terms: Vec<Term>, effort: &Effort) -> Result<Self, Halt> {
        if terms.len() > 1 {
            effort.spend(20 * terms.len() as u64)?;
            terms.sort_unstable_by(|a, b| a.powers.cmp(&b.powers));
        }
        let mut out: Vec<Term> = Vec::with_capacity(terms.len());
        for term in terms {
            match out.last_mut() {
                Some(last) if last.powers == term.powers => {
                    last.factor = last.factor.plus(&term.factor, effort)?;
                    if last.factor.is_zero() {
                        out.pop();
                    }
                }
                _ if term.factor.is_zero() => {}
                _ => out.push(term),
            }
        }
        if out.len() > MOST_TERMS { Err(Halt::Spent) } else { Ok(Self(out)) }
    }

    /// The sum to a whole power from 0.
    pub(super) fn power(&self, exponent: u64, effort: &Effort) -> Result<Self, Halt> {
        if let [term] = &self.0[..] {
            return Ok(Self(vec![term.power(i64::try_from(exponent).map_err(|_| Halt::Spent)?, effort)?]));
        }
        if self.is_zero() && exponent > 0 {
            return Ok(Self::default());
        }
        if exponent > 64 {
            return Err(Halt::Spent);
        }
        let (mut out, mut square, mut left) = (Self::constant(ONE), self.clone(), exponent);
        while left > 0 {
            if left & 1 == 1 {
                out = out.times(&square, effort)?;
            }
            left >>= 1;
            if left > 0 {
                square = square.times(&square, effort)?;
            }
        }
        Ok(out)
    }

    /// Whether a sum that is not zero here is not zero: its terms are linearly independent.
    ///
    /// So are square-free products of roots of primes over the rationals (Besicovitch 1940), and powers of
    /// variables, of `i` and of one transcendental number beside them. Nothing is known of pi and e
    /// together, of functions and of numbers that were not factored.
    pub(super) fn is_decided(&self) -> bool {
        let (mut pi, mut e) = (false, false);
        for (atom, _) in self.0.iter().flat_map(|term| &term.powers) {
            match atom {
                Atom::Whole(_) | Atom::Opaque(_) => return false,
                Atom::Pi => pi = true,
                Atom::E => e = true,
                Atom::Prime(_) | Atom::I | Atom::Infinity | Atom::Symbol(_) => {}
            }
        }
        !(pi && e)
    }

    pub(super) fn any_atom(&self, wanted: &dyn Fn(&Atom) -> bool) -> bool {
        self.0.iter().flat_map(|term| &term.powers).any(|(atom, _)| {
            wanted(atom)
                || match atom {
                    Atom::Opaque(opaque) => match &**opaque {
                        Opaque::Call(_, forms) => forms.iter().any(|form| form.any_atom(wanted)),
                        Opaque::Group(form) => form.any_atom(wanted),
                        Opaque::Power(a, b) => a.any_atom(wanted) || b.any_atom(wanted),
                    },
                    _ => false,
                }
        })
    }

    /// Divided by the size of the first coefficient, and that size.
    pub(super) fn primitive(&self, effort: &Effort) -> Result<(Exact, Self), Halt> {
        let content = self.0.first().map_or(MINUS_ONE, |term| term.factor.abs());
        let by = Term::constant(content.inverse()?);
        let terms = self.0.iter().map(|term| term.times(&by, effort)).collect::<Result<_, _>>()?;
        Ok((content, Self(terms)))
    }
}
