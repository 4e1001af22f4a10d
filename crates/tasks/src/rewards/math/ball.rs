//! Real numbers known to within a bound: every operation widens the bound by what it may have lost.

use std::cmp::Ordering;

use astro_float_num::{BigFloat, Consts, RoundingMode, Sign};
use num_bigint::BigInt;

use super::effort::{Effort, Halt};
use super::exact::Exact;

const ROUND: RoundingMode = RoundingMode::ToEven;
/// Exponents of two beyond this are not computed with.
const LARGEST: i64 = 1 << 26;

/// The precision, the constants and the steps of an evaluation.
pub(super) struct Precision<'e> {
    /// In bits, a multiple of 64.
    pub(super) bits: usize,
    pub(super) consts: Consts,
    pub(super) effort: &'e Effort,
}

/// A number no further than `2^error` from `middle`.
#[derive(Clone, Debug)]
pub(super) struct Ball {
    middle: BigFloat,
    /// Logarithm to the base 2; minus infinity for an exact number.
    error: f64,
}

/// The logarithm of the sum of numbers given by their logarithms, rounded up.
fn log_sum(parts: &[f64]) -> f64 {
    let largest = parts.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY { largest } else { largest + (parts.len() as f64).log2() + 1e-9 }
}

impl Precision<'_> {
    /// The result of an operation on numbers known to within `2^inherited`.
    fn ball(&self, middle: BigFloat, inherited: f64) -> Result<Ball, Halt> {
        if middle.is_nan() || middle.is_inf() || inherited.is_nan() {
            return Err(Halt::Spent);
        }
        let exponent = size(&middle);
        if exponent > LARGEST as f64 || (exponent < -(LARGEST as f64) && !middle.is_zero()) {
            return Err(Halt::Spent);
        }
        let rounding = if middle.is_zero() { f64::NEG_INFINITY } else { exponent - self.bits as f64 };
        Ok(Ball { middle, error: log_sum(&[inherited, rounding]) })
    }

    /// A step of arithmetic costs by the words of its numbers, a function by far more.
    fn spend(&self, weight: u64) -> Result<(), Halt> {
        let words = (self.bits / 64) as u64 + 2;
        self.effort.spend(weight * words * words / 2 + 10)
    }

    pub(super) fn exact(&self, value: &Exact) -> Result<Ball, Halt> {
        self.spend(2)?;
        self.effort.spend(value.bits() / 16)?;
        if let Exact::Small(n, 1) = value {
            let mut middle = BigFloat::from_i64(*n, 64);
            if self.bits > 64 {
                middle.set_precision(self.bits, ROUND).map_err(|_| Halt::Spent)?;
            }
            return Ok(Ball { middle, error: f64::NEG_INFINITY });
        }
        let (top, bottom) = value.parts();
        let middle = float(&top).div(&float(&bottom), self.bits, ROUND);
        self.ball(middle, f64::NEG_INFINITY)
    }

    pub(super) fn pi(&mut self) -> Result<Ball, Halt> {
        self.spend(10)?;
        let middle = self.consts.pi(self.bits, ROUND);
        self.ball(middle, f64::NEG_INFINITY)
    }

    pub(super) fn plus(&self, a: &Ball, b: &Ball) -> Result<Ball, Halt> {
        self.spend(1)?;
        self.ball(a.middle.add(&b.middle, self.bits, ROUND), log_sum(&[a.error, b.error]))
    }

    pub(super) fn minus(&self, a: &Ball, b: &Ball) -> Result<Ball, Halt> {
        self.spend(1)?;
        self.ball(a.middle.sub(&b.middle, self.bits, ROUND), log_sum(&[a.error, b.error]))
    }

    pub(super) fn times(&self, a: &Ball, b: &Ball) -> Result<Ball, Halt> {
        self.spend(2)?;
        let inherited = log_sum(&[size(&a.middle) + b.error, size(&b.middle) + a.error, a.error + b.error]);
        let inherited = if inherited.is_nan() { f64::NEG_INFINITY } else { inherited };
        self.ball(a.middle.mul(&b.middle, self.bits, ROUND), inherited)
    }

    pub(super) fn over(&self, a: &Ball, b: &Ball) -> Result<Ball, Halt> {
        self.spend(4)?;
        if b.is_zero() {
            return Err(Halt::Undefined);
        }
        if b.may_be_zero() {
            return Err(Halt::Unknown);
        }
        let middle = a.middle.div(&b.middle, self.bits, ROUND);
        // (error of a + |a / b| error of b) / |b|, where |b| is at least 2^(size - 2).
        let inherited = log_sum(&[a.error, size(&middle) + b.error]) - (size(&b.middle) - 2.0);
        self.ball(middle, inherited)
    }

    /// The root of what is not negative.
    pub(super) fn root(&self, a: &Ball) -> Result<Ball, Halt> {
        self.spend(8)?;
        if a.is_zero() {
            return Ok(a.clone());
        }
        if a.may_be_zero() || a.middle.is_negative() {
            return Err(Halt::Unknown);
        }
        // The derivative is 1 / (2 sqrt a).
        let inherited = a.error - (size(&a.middle) - 2.0) / 2.0 - 1.0;
        self.ball(a.middle.sqrt(self.bits, ROUND), inherited)
    }

    pub(super) fn exp(&mut self, a: &Ball) -> Result<Ball, Halt> {
        self.spend(60)?;
        if a.error > 0.0 {
            return Err(Halt::Unknown);
        }
        if size(&a.middle) > 25.0 {
            return Err(Halt::Spent);
        }
        let middle = a.middle.exp(self.bits, ROUND, &mut self.consts);
        // e^r - 1 is at most 2 r up to 1.
        let inherited = size(&middle) + a.error + 1.0;
        self.ball(middle, inherited)
    }

    /// The natural logarithm of what is positive.
    pub(super) fn ln(&mut self, a: &Ball) -> Result<Ball, Halt> {
        self.spend(60)?;
        if a.is_zero() {
            return Err(Halt::Undefined);
        }
        if a.may_be_zero() || a.middle.is_negative() {
            return Err(Halt::Unknown);
        }
        let middle = a.middle.ln(self.bits, ROUND, &mut self.consts);
        self.ball(middle, a.error - (size(&a.middle) - 2.0))
    }

    /// Sine and cosine.
    pub(super) fn sin_cos(&mut self, a: &Ball) -> Result<(Ball, Ball), Halt> {
        self.spend(120)?;
        if size(&a.middle) > 60.0 || a.error > 0.0 {
            return Err(Halt::Unknown);
        }
        let sin = a.middle.sin(self.bits, ROUND, &mut self.consts);
        let cos = a.middle.cos(self.bits, ROUND, &mut self.consts);
        Ok((self.ball(sin, a.error)?, self.ball(cos, a.error)?))
    }

    pub(super) fn arctan(&mut self, a: &Ball) -> Result<Ball, Halt> {
        self.spend(80)?;
        let middle = a.middle.atan(self.bits, ROUND, &mut self.consts);
        self.ball(middle, a.error)
    }
}

impl Ball {
    pub(super) fn is_zero(&self) -> bool {
        self.middle.is_zero() && self.error == f64::NEG_INFINITY
    }

    /// Whether zero is within the bounds, or nearly.
    pub(super) fn may_be_zero(&self) -> bool {
        self.middle.is_zero() || self.error >= size(&self.middle) - 2.0
    }

    /// The sign, where it is known.
    pub(super) fn sign(&self) -> Option<Ordering> {
        if self.is_zero() {
            Some(Ordering::Equal)
        } else if self.may_be_zero() {
            None
        } else if self.middle.is_negative() {
            Some(Ordering::Less)
        } else {
            Some(Ordering::Greater)
        }
    }

    pub(super) fn negated(&self) -> Self {
        Self { middle: self.middle.neg(), error: self.error }
    }

    /// Logarithm to the base 2 of the number's size, at most one too large.
    pub(super) fn size(&self) -> f64 {
        size(&self.middle)
    }

    /// Logarithm to the base 2 of the bound.
    pub(super) fn error(&self) -> f64 {
        self.error
    }

    /// The whole number that this is known to lie next to and its distance's sign; for floors.
    pub(super) fn floor(&self) -> Result<BigInt, Halt> {
        if self.size() > 4000.0 {
            return Err(Halt::Spent);
        }
        let low = self.middle.floor();
        let distance = self.middle.sub(&low, 256, ROUND);
        // A number that may be whole is not known to be on either side.
        let safe = |d: &BigFloat| !d.is_zero() && size(d) - 2.0 > self.error;
        let up = BigFloat::from_i64(1, 64).sub(&distance, 256, ROUND);
        if self.error == f64::NEG_INFINITY || (safe(&distance) && safe(&up)) { whole(&low) } else { Err(Halt::Unknown) }
    }
}

fn size(value: &BigFloat) -> f64 {
    match value.exponent() {
        Some(exponent) if !value.is_zero() => f64::from(exponent),
        _ => f64::NEG_INFINITY,
    }
}

fn float(whole: &BigInt) -> BigFloat {
    let (sign, words) = whole.to_u64_digits();
    if words.is_empty() {
        return BigFloat::from_i64(0, 64);
    }
    let sign = if sign == num_bigint::Sign::Minus { Sign::Neg } else { Sign::Pos };
    BigFloat::from_words(&words, sign, (64 * words.len()) as i32)
}

/// A float that is whole, as a whole number.
fn whole(value: &BigFloat) -> Result<BigInt, Halt> {
    let Some((words, _, sign, exponent, _)) = value.as_raw_parts() else { return Err(Halt::Unknown) };
    let mut digits = Vec::with_capacity(2 * words.len());
    for word in words {
        digits.push(*word as u32);
        digits.push((*word >> 32) as u32);
    }
    let all =
        BigInt::from_slice(if sign == Sign::Neg { num_bigint::Sign::Minus } else { num_bigint::Sign::Plus }, &digits);
    let shift = i64::from(exponent) - 64 * words.len() as i64;
    Ok(if shift >= 0 { all << shift as usize } else { all >> shift.unsigned_abs() as usize })
}
