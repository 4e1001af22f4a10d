//! Quotients of sums, and their roots: exact arithmetic with rationals, roots of them, pi, e, i and variables.

use std::sync::Arc;

use num_bigint::BigInt;
use num_traits::{One, ToPrimitive, Zero};

use super::effort::{Effort, Halt};
use super::exact::{Exact, ONE};
use super::poly::{Atom, Opaque, Poly, Term};

/// A sum over a sum that is not zero. The bottom is 1 unless it has two terms and more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Form {
    pub(super) top: Poly,
    pub(super) bottom: Poly,
}

impl Form {
    pub(super) fn constant(value: Exact) -> Self {
        Self::of(Poly::constant(value))
    }

    pub(super) fn of(top: Poly) -> Self {
        Self { top, bottom: Poly::constant(ONE) }
    }

    pub(super) fn atom(atom: Atom, effort: &Effort) -> Result<Self, Halt> {
        Ok(Self::of(Poly::atom(atom, ONE, effort)?))
    }

    /// A prime or whole number as a number again.
    pub(super) fn atom_whole(atom: Atom, effort: &Effort) -> Result<Self, Halt> {
        match atom {
            Atom::Prime(prime) => Ok(Self::constant(Exact::whole(prime.into()))),
            Atom::Whole(whole) => Ok(Self::constant(Exact::whole(*whole))),
            other => Self::atom(other, effort),
        }
    }

    pub(super) fn opaque(opaque: Opaque, power: Exact, effort: &Effort) -> Result<Self, Halt> {
        Ok(Self::of(Poly::atom(Atom::Opaque(Arc::new(opaque)), power, effort)?))
    }

    /// The rational number, where it is one.
    pub(super) fn number(&self) -> Option<Exact> {
        if self.bottom.is_one() { self.top.number() } else { None }
    }

    pub(super) fn any_atom(&self, wanted: &dyn Fn(&Atom) -> bool) -> bool {
        self.top.any_atom(wanted) || self.bottom.any_atom(wanted)
    }

    /// A quotient in the form that the type promises.
    fn quotient(top: Poly, bottom: Poly, effort: &Effort) -> Result<Self, Halt> {
        match &bottom.0[..] {
            [] => Err(Halt::Undefined),
            [term] => {
                let inverse = Poly(vec![term.power(-1, effort)?]);
                Ok(Self::of(top.times(&inverse, effort)?))
            }
            _ if top.is_zero() => Ok(Self::of(top)),
            _ => Ok(Self { top, bottom }),
        }
    }

    pub(super) fn plus(&self, other: &Self, effort: &Effort) -> Result<Self, Halt> {
        if self.bottom == other.bottom {
            return Self::quotient(self.top.plus(&other.top, effort)?, self.bottom.clone(), effort);
        }
        let left = self.top.times(&other.bottom, effort)?;
        let right = other.top.times(&self.bottom, effort)?;
        Self::quotient(left.plus(&right, effort)?, self.bottom.times(&other.bottom, effort)?, effort)
    }

    pub(super) fn minus(&self, other: &Self, effort: &Effort) -> Result<Self, Halt> {
        self.plus(&Self { top: other.top.negated(), bottom: other.bottom.clone() }, effort)
    }

    pub(super) fn times(&self, other: &Self, effort: &Effort) -> Result<Self, Halt> {
        let top = self.top.times(&other.top, effort)?;
        if self.bottom.is_one() && other.bottom.is_one() {
            return Ok(Self::of(top));
        }
        Self::quotient(top, self.bottom.times(&other.bottom, effort)?, effort)
    }

    pub(super) fn inverse(&self, effort: &Effort) -> Result<Self, Halt> {
        Self::quotient(self.bottom.clone(), self.top.clone(), effort)
    }

    pub(super) fn power(&self, exponent: &Exact, effort: &Effort) -> Result<Self, Halt> {
        if let Some(whole) = exponent.as_i64() {
            let times = whole.unsigned_abs();
            let positive = Self { top: self.top.power(times, effort)?, bottom: self.bottom.power(times, effort)? };
            return if whole < 0 { positive.inverse(effort) } else { Ok(positive) };
        }
        let Exact::Small(_, degree) = *exponent else { return Err(Halt::Spent) };
        if self.top.is_zero() {
            return if exponent.is_negative() { Err(Halt::Undefined) } else { Ok(self.clone()) };
        }
        if let ([term], true) = (&self.top.0[..], self.bottom.is_one()) {
            return root_of_term(term, exponent, degree, effort);
        }
        // The size of the first coefficient comes out of the root: it is positive.
        let (content, top) = self.top.primitive(effort)?;
        let outside = root_of_number(&content, exponent, effort)?;
        let inside = Self { top, bottom: self.bottom.clone() };
        Self::of(Poly(vec![outside])).times(&Self::opaque(Opaque::Group(inside), exponent.clone(), effort)?, effort)
    }
}

/// A term to the power `exponent`, which is no whole number.
fn root_of_term(term: &Term, exponent: &Exact, degree: i64, effort: &Effort) -> Result<Form, Halt> {
    let positive = |atom: &Atom| matches!(atom, Atom::Prime(_) | Atom::Whole(_) | Atom::Pi | Atom::E);
    let (known, rest): (Vec<_>, Vec<_>) = term.powers.iter().cloned().partition(|(atom, _)| positive(atom));
    let mut out = Poly(vec![root_of_number(&term.factor.abs(), exponent, effort)?]);
    for (atom, power) in known {
        out = out.times(&Poly::atom(atom, power.times(exponent, effort)?, effort)?, effort)?;
    }
    let negative = term.factor.is_negative();
    let sign = if negative { super::exact::MINUS_ONE } else { ONE };
    match &rest[..] {
        [] if !negative => Ok(Form::of(out)),
        // The square root of a negative number: a power of i.
        [] if degree == 2 => {
            let turns = exponent.times(&Exact::int(2), effort)?;
            Ok(Form::of(out.times(&Poly::atom(Atom::I, turns, effort)?, effort)?))
        }
        // The real root of a negative number.
        [] if degree % 2 == 1 => {
            let odd = exponent.parts().0 % BigInt::from(2) != BigInt::zero();
            Ok(Form::of(if odd { out.negated() } else { out }))
        }
        // A variable to the first power, or to a root of it: the argument of a root shrinks.
        [(atom @ Atom::Symbol(_), power)] if !negative && is_root(power) => {
            let power = power.times(exponent, effort)?;
            Ok(Form::of(out.times(&Poly::atom(atom.clone(), power, effort)?, effort)?))
        }
        _ => {
            let inside = Form::of(Poly(vec![Term { powers: rest, factor: sign }]));
            Form::of(out).times(&Form::opaque(Opaque::Group(inside), exponent.clone(), effort)?, effort)
        }
    }
}

fn is_root(power: &Exact) -> bool {
    matches!(power, Exact::Small(1, _))
}

/// A positive rational number to the power `exponent`, its primes apart.
fn root_of_number(number: &Exact, exponent: &Exact, effort: &Effort) -> Result<Term, Halt> {
    let mut out = Term::constant(ONE);
    if number.is_one() {
        return Ok(out);
    }
    for (atom, power) in factors(number, effort)? {
        let power = Exact::int(power).times(exponent, effort)?;
        let Poly(terms) = Poly::atom(atom, power, effort)?;
        for term in &terms {
            out = out.times(term, effort)?;
        }
    }
    Ok(out)
}

/// The prime factors of a positive rational number, with their powers. What has no prime factor below
/// 10,007 and is too large to be known as prime stays whole.
pub(super) fn factors(number: &Exact, effort: &Effort) -> Result<Vec<(Atom, i64)>, Halt> {
    let (top, bottom) = number.parts();
    let mut out = Vec::new();
    for (part, sign) in [(top, 1), (bottom, -1)] {
        factor(part, sign, &mut out, effort)?;
    }
    Ok(out)
}

const LARGEST: u64 = 10_007;

fn factor(mut whole: BigInt, sign: i64, out: &mut Vec<(Atom, i64)>, effort: &Effort) -> Result<(), Halt> {
    let mut candidate = 2_u64;
    while candidate <= LARGEST {
        if let Some(mut small) = whole.to_u64() {
            while candidate <= LARGEST && candidate * candidate <= small {
                let mut power = 0;
                while small % candidate == 0 {
                    small /= candidate;
                    power += 1;
                }
                if power > 0 {
                    out.push((Atom::Prime(candidate), sign * power));
                }
                candidate += if candidate == 2 { 1 } else { 2 };
            }
            effort.spend(candidate / 4)?;
            if small > 1 {
                out.push(rest(small, candidate, sign));
            }
            return Ok(());
        }
        let mut power = 0;
        loop {
            effort.spend(whole.bits() / 64 + 1)?;
            if !(&whole % candidate).is_zero() {
                break;
            }
            whole /= candidate;
            power += 1;
        }
        if power > 0 {
            out.push((Atom::Prime(candidate), sign * power));
        }
        candidate += if candidate == 2 { 1 } else { 2 };
    }
    if !whole.is_one() {
        effort.spend_bits(whole.bits())?;
        let root = whole.sqrt();
        if &root * &root == whole {
            out.push((Atom::Whole(Box::new(root)), 2 * sign));
        } else {
            out.push((Atom::Whole(Box::new(whole)), sign));
        }
    }
    Ok(())
}

/// What is left of a number of 64 bits: it has no factor below `tried`.
fn rest(left: u64, tried: u64, sign: i64) -> (Atom, i64) {
    let root = left.isqrt();
    if tried.checked_mul(tried).is_none_or(|square| square > left) {
        (Atom::Prime(left), sign)
    } else if root * root == left {
        // A square; its root is prime where it is small enough, and treated as one number else.
        let atom = if tried.checked_mul(tried).is_none_or(|square| square > root) {
            Atom::Prime(root)
        } else {
            Atom::Whole(Box::new(root.into()))
        };
        (atom, 2 * sign)
    } else {
        (Atom::Whole(Box::new(left.into())), sign)
    }
}
