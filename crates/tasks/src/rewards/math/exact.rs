//! Rational numbers of any size, small ones without a heap.

use std::cmp::Ordering;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive, Zero};

use super::effort::{Effort, Halt, MOST_BITS};

/// An exact rational number, reduced, its denominator positive.
///
/// `Small` wherever both parts fit, so equal numbers have equal forms. The derived order is one for
/// sorting; [`Exact::order`] is that of values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Exact {
    /// Numerator and denominator.
    Small(i64, i64),
    /// What does not fit.
    Big(Box<BigRational>),
}

pub(super) const ZERO: Exact = Exact::Small(0, 1);
pub(super) const ONE: Exact = Exact::Small(1, 1);
pub(super) const MINUS_ONE: Exact = Exact::Small(-1, 1);

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        if let (Ok(x), Ok(y)) = (u64::try_from(a), u64::try_from(b)) {
            let (mut x, mut y) = (x, y);
            while y != 0 {
                (x, y) = (y, x % y);
            }
            return u128::from(x);
        }
        (a, b) = (b, a % b);
    }
    a
}

fn bits_of(whole: &BigInt) -> u64 {
    whole.bits()
}

impl Exact {
    /// The fraction `n / d`; `d` is not zero.
    fn reduced(n: i128, d: i128) -> Self {
        let divisor = gcd(n.unsigned_abs(), d.unsigned_abs()).max(1) as i128;
        let sign = if d < 0 { -1 } else { 1 };
        let (n, d) = (sign * (n / divisor), sign * (d / divisor));
        match (i64::try_from(n), i64::try_from(d)) {
            (Ok(n), Ok(d)) if n != i64::MIN => Self::Small(n, d),
            _ => Self::Big(Box::new(BigRational::new_raw(n.into(), d.into()))),
        }
    }

    /// The number in its smallest form.
    pub(super) fn from_big(value: BigRational) -> Self {
        match (value.numer().to_i64(), value.denom().to_i64()) {
            (Some(n), Some(d)) if n != i64::MIN => Self::Small(n, d),
            _ => Self::Big(Box::new(value)),
        }
    }

    pub(super) fn whole(value: BigInt) -> Self {
        Self::from_big(BigRational::from_integer(value))
    }

    pub(super) fn int(value: i64) -> Self {
        Self::reduced(value.into(), 1)
    }

    pub(super) fn to_big(&self) -> BigRational {
        match self {
            Self::Small(n, d) => BigRational::new_raw((*n).into(), (*d).into()),
            Self::Big(value) => (**value).clone(),
        }
    }

    /// Numerator and denominator.
    pub(super) fn parts(&self) -> (BigInt, BigInt) {
        match self {
            Self::Small(n, d) => ((*n).into(), (*d).into()),
            Self::Big(value) => (value.numer().clone(), value.denom().clone()),
        }
    }

    pub(super) fn bits(&self) -> u64 {
        match self {
            Self::Small(..) => 64,
            Self::Big(value) => bits_of(value.numer()) + bits_of(value.denom()),
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        *self == ZERO
    }

    pub(super) fn is_one(&self) -> bool {
        *self == ONE
    }

    pub(super) fn is_negative(&self) -> bool {
        match self {
            Self::Small(n, _) => *n < 0,
            Self::Big(value) => value.is_negative(),
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Small(_, d) => *d == 1,
            Self::Big(value) => value.is_integer(),
        }
    }

    /// The number where it is whole and fits.
    pub(super) fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Small(n, 1) => Some(*n),
            _ => None,
        }
    }

    pub(super) fn negated(&self) -> Self {
        match self {
            Self::Small(n, d) => Self::Small(-n, *d),
            Self::Big(value) => Self::from_big(-(**value).clone()),
        }
    }

    pub(super) fn abs(&self) -> Self {
        if self.is_negative() { self.negated() } else { self.clone() }
    }

    pub(super) fn plus(&self, other: &Self, effort: &Effort) -> Result<Self, Halt> {
        if let (Self::Small(a, b), Self::Small(c, d)) = (self, other) {
            let (a, b, c, d) = (i128::from(*a), i128::from(*b), i128::from(*c), i128::from(*d));
            if b == 1 && d == 1 {
                return Ok(Self::reduced(a + c, 1));
            }
            // Below 2^127, as every part is below 2^63.
            if let Some(top) = (a * d).checked_add(c * b) {
                return Ok(Self::reduced(top, b * d));
            }
        }
        effort.spend_bits(self.bits() + other.bits())?;
        Self::bounded(self.to_big() + other.to_big())
    }

    pub(super) fn minus(&self, other: &Self, effort: &Effort) -> Result<Self, Halt> {
        self.plus(&other.negated(), effort)
    }

    pub(super) fn times(&self, other: &Self, effort: &Effort) -> Result<Self, Halt> {
        if let (Self::Small(a, b), Self::Small(c, d)) = (self, other) {
            return Ok(Self::reduced(i128::from(*a) * i128::from(*c), i128::from(*b) * i128::from(*d)));
        }
        effort.spend_bits(self.bits() + other.bits())?;
        Self::bounded(self.to_big() * other.to_big())
    }

    pub(super) fn inverse(&self) -> Result<Self, Halt> {
        match self {
            Self::Small(0, _) => Err(Halt::Undefined),
            Self::Small(n, d) => Ok(Self::reduced((*d).into(), (*n).into())),
            Self::Big(value) => Ok(Self::from_big(value.recip())),
        }
    }

    pub(super) fn over(&self, other: &Self, effort: &Effort) -> Result<Self, Halt> {
        self.times(&other.inverse()?, effort)
    }

    /// The number to a whole power; `0^0` is 1.
    pub(super) fn power(&self, exponent: i64, effort: &Effort) -> Result<Self, Halt> {
        if exponent == 0 || self.is_one() {
            return Ok(ONE);
        }
        let base = if exponent < 0 { self.inverse()? } else { self.clone() };
        if base.is_zero() {
            return Ok(base);
        }
        if base == MINUS_ONE {
            return Ok(if exponent % 2 == 0 { ONE } else { MINUS_ONE });
        }
        let (n, d) = base.parts();
        let times = exponent.unsigned_abs();
        let bits = bits_of(&n).max(bits_of(&d)).saturating_mul(times);
        if bits > MOST_BITS {
            return Err(Halt::Spent);
        }
        effort.spend_bits(bits)?;
        // The base is reduced, and so is its power.
        let times = u32::try_from(times).map_err(|_| Halt::Spent)?;
        Ok(Self::from_big(BigRational::new_raw(n.pow(times), d.pow(times))))
    }

    /// The largest whole number that is not larger.
    pub(super) fn floor(&self) -> Self {
        match self {
            Self::Small(n, d) => Self::Small(n.div_euclid(*d), 1),
            Self::Big(value) => Self::from_big(value.floor()),
        }
    }

    /// The order of values.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Small(a, b), Self::Small(c, d)) => {
                (i128::from(*a) * i128::from(*d)).cmp(&(i128::from(*c) * i128::from(*b)))
            }
            _ => self.to_big().cmp(&other.to_big()),
        }
    }

    fn bounded(value: BigRational) -> Result<Self, Halt> {
        let value = Self::from_big(value);
        if value.bits() > 2 * MOST_BITS { Err(Halt::Spent) } else { Ok(value) }
    }

    /// The number written as `digits` with the last `places` of them behind the point, times ten to
    /// `exponent`; `None` where that is larger than what is computed.
    pub(super) fn decimal(digits: &str, places: u32, exponent: i64) -> Option<Self> {
        let power = exponent.checked_sub(i64::from(places))?;
        if digits.len() <= 18 && (-18..=0).contains(&power) {
            let n: i64 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
            return Some(Self::reduced(n.into(), 10_i128.pow(power.unsigned_abs() as u32)));
        }
        // A digit is less than four bits.
        let most = MOST_BITS as usize / 4;
        if digits.len() > most || power.unsigned_abs() > most as u64 {
            return None;
        }
        let n = BigInt::parse_bytes(digits.as_bytes(), 10)?;
        if n.is_zero() {
            return Some(ZERO);
        }
        let ten = BigInt::from(10).pow(power.unsigned_abs() as u32);
        Some(Self::from_big(if power < 0 { BigRational::new(n, ten) } else { BigRational::from_integer(n * ten) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn operations_equal_those_of_big_rationals(
            a in any::<i64>(), b in 1..=i64::MAX, c in any::<i64>(), d in 1..=i64::MAX
        ) {
            let effort = Effort::new();
            let big = |n: i64, d: i64| BigRational::new(n.into(), d.into());
            let (x, y) = (Exact::from_big(big(a, b)), Exact::from_big(big(c, d)));
            prop_assert_eq!(x.plus(&y, &effort).unwrap().to_big(), big(a, b) + big(c, d));
            prop_assert_eq!(x.minus(&y, &effort).unwrap().to_big(), big(a, b) - big(c, d));
            prop_assert_eq!(x.times(&y, &effort).unwrap().to_big(), big(a, b) * big(c, d));
            prop_assert_eq!(x.order(&y), big(a, b).cmp(&big(c, d)));
            prop_assert_eq!(x.floor().to_big(), big(a, b).floor());
            if c != 0 {
                prop_assert_eq!(x.over(&y, &effort).unwrap().to_big(), big(a, b) / big(c, d));
            }
            // Equal numbers have equal forms.
            let back = x.plus(&y, &effort).unwrap().minus(&y, &effort).unwrap();
            prop_assert_eq!(&back, &x);
        }
    }

    #[test]
    fn what_grows_too_large_halts() {
        let effort = Effort::new();
        assert_eq!(Exact::int(10).power(10_000_000_000, &effort), Err(Halt::Spent));
        assert_eq!(ZERO.inverse(), Err(Halt::Undefined));
        assert!(Exact::decimal("1", 0, 1_000_000).is_none());
        assert_eq!(Exact::decimal("125", 2, 0), Some(Exact::Small(5, 4)));
        assert_eq!(Exact::decimal("125", 2, 30).unwrap().to_big().numer().to_string().len(), 31);
    }
}
