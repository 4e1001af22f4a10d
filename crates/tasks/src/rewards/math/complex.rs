//! Complex numbers known to within a bound.

use std::cmp::Ordering;

use super::ball::{Ball, Precision};
use super::effort::Halt;
use super::exact::Exact;

/// A complex number; `None` where its imaginary part is exactly zero.
#[derive(Clone, Debug)]
pub(super) struct Complex {
    pub(super) re: Ball,
    pub(super) im: Option<Ball>,
}

impl From<Ball> for Complex {
    fn from(re: Ball) -> Self {
        Self { re, im: None }
    }
}

impl Precision<'_> {
    pub(super) fn int(&self, value: i64) -> Result<Ball, Halt> {
        self.exact(&Exact::int(value))
    }

    fn complex(re: Ball, im: Ball) -> Complex {
        Complex { re, im: (!im.is_zero()).then_some(im) }
    }

    pub(super) fn add(&self, a: &Complex, b: &Complex) -> Result<Complex, Halt> {
        let im = match (&a.im, &b.im) {
            (Some(a), Some(b)) => Some(self.plus(a, b)?),
            (Some(one), None) | (None, Some(one)) => Some(one.clone()),
            (None, None) => None,
        };
        Ok(Complex { re: self.plus(&a.re, &b.re)?, im: im.filter(|im| !im.is_zero()) })
    }

    pub(super) fn negate(&self, a: &Complex) -> Complex {
        Complex { re: a.re.negated(), im: a.im.as_ref().map(Ball::negated) }
    }

    pub(super) fn mul(&self, a: &Complex, b: &Complex) -> Result<Complex, Halt> {
        let re = self.times(&a.re, &b.re)?;
        Ok(match (&a.im, &b.im) {
            (None, None) => re.into(),
            (Some(y), None) => Self::complex(re, self.times(y, &b.re)?),
            (None, Some(y)) => Self::complex(re, self.times(&a.re, y)?),
            (Some(x), Some(y)) => Self::complex(
                self.minus(&re, &self.times(x, y)?)?,
                self.plus(&self.times(&a.re, y)?, &self.times(x, &b.re)?)?,
            ),
        })
    }

    pub(super) fn inverse(&self, a: &Complex) -> Result<Complex, Halt> {
        let one = self.int(1)?;
        let Some(im) = &a.im else { return Ok(self.over(&one, &a.re)?.into()) };
        let square = self.plus(&self.times(&a.re, &a.re)?, &self.times(im, im)?)?;
        Ok(Self::complex(self.over(&a.re, &square)?, self.over(&im.negated(), &square)?))
    }

    pub(super) fn modulus(&self, a: &Complex) -> Result<Ball, Halt> {
        match &a.im {
            None => match a.re.sign() {
                Some(Ordering::Less) => Ok(a.re.negated()),
                Some(_) => Ok(a.re.clone()),
                None => Err(Halt::Unknown),
            },
            Some(im) => self.root(&self.plus(&self.times(&a.re, &a.re)?, &self.times(im, im)?)?),
        }
    }

    /// The angle, above minus pi and up to pi.
    fn angle(&mut self, re: &Ball, im: &Ball) -> Result<Ball, Halt> {
        let (across, up) = (re.sign().ok_or(Halt::Unknown), im.sign().ok_or(Halt::Unknown));
        let pi = self.pi()?;
        let half = self.times(&pi, &self.exact(&Exact::Small(1, 2))?)?;
        if across == Ok(Ordering::Greater) {
            let slope = self.over(im, re)?;
            return self.arctan(&slope);
        }
        match up? {
            Ordering::Equal => match across? {
                Ordering::Less => Ok(pi),
                _ => Err(Halt::Undefined),
            },
            up => {
                // The complement of the other slope's angle.
                let slope = self.over(re, im)?;
                let angle = self.arctan(&slope)?;
                let half = if up == Ordering::Greater { half } else { half.negated() };
                self.minus(&half, &angle)
            }
        }
    }

    pub(super) fn log(&mut self, a: &Complex) -> Result<Complex, Halt> {
        match (&a.im, a.re.sign()) {
            (None, Some(Ordering::Greater)) => Ok(self.ln(&a.re)?.into()),
            (None, Some(Ordering::Less)) => Ok(Self::complex(self.ln(&a.re.negated())?, self.pi()?)),
            (None, Some(Ordering::Equal)) => Err(Halt::Undefined),
            (None, None) => Err(Halt::Unknown),
            (Some(im), _) => {
                let modulus = self.modulus(a)?;
                Ok(Self::complex(self.ln(&modulus)?, self.angle(&a.re, im)?))
            }
        }
    }

    pub(super) fn exponential(&mut self, a: &Complex) -> Result<Complex, Halt> {
        let size = self.exp(&a.re)?;
        let Some(im) = &a.im else { return Ok(size.into()) };
        let (sin, cos) = self.sin_cos(im)?;
        Ok(Self::complex(self.times(&size, &cos)?, self.times(&size, &sin)?))
    }

    /// To a whole power.
    pub(super) fn whole_power(&self, a: &Complex, exponent: i64) -> Result<Complex, Halt> {
        let mut left = exponent.unsigned_abs();
        let (mut out, mut square): (Complex, _) = (self.int(1)?.into(), a.clone());
        while left > 0 {
            if left & 1 == 1 {
                out = self.mul(&out, &square)?;
            }
            left >>= 1;
            if left > 0 {
                square = self.mul(&square, &square)?;
            }
        }
        if exponent < 0 { self.inverse(&out) } else { Ok(out) }
    }

    /// The principal power, but the real root of a negative number where the degree is odd.
    pub(super) fn raise(&mut self, a: &Complex, b: &Complex) -> Result<Complex, Halt> {
        if a.im.is_none() && a.re.is_zero() {
            return match (b.im.is_none(), b.re.sign()) {
                (true, Some(Ordering::Greater)) => Ok(a.clone()),
                _ => Err(Halt::Undefined),
            };
        }
        let log = self.log(a)?;
        let product = self.mul(b, &log)?;
        self.exponential(&product)
    }

    /// To a rational power, which is no whole number.
    pub(super) fn rational_power(&mut self, a: &Complex, top: i64, degree: i64) -> Result<Complex, Halt> {
        let exponent = self.exact(&Exact::Small(top, degree))?;
        if a.im.is_none() {
            let sign = a.re.sign().ok_or(Halt::Unknown)?;
            if degree == 2 && sign != Ordering::Equal {
                let size = if sign == Ordering::Less { a.re.negated() } else { a.re.clone() };
                let root = self.root(&size)?;
                let root = if sign == Ordering::Less { Self::complex(self.int(0)?, root) } else { Complex::from(root) };
                return self.whole_power(&root, top);
            }
            if sign == Ordering::Less && degree % 2 == 1 {
                let root = self.raise(&self.negate(a), &exponent.into())?;
                return Ok(if top % 2 == 0 { root } else { self.negate(&root) });
            }
        } else if degree == 2
            && let Some(im) = &a.im
        {
            // The half with a real part that is not negative, without a logarithm.
            let half = self.exact(&Exact::Small(1, 2))?;
            let modulus = self.modulus(a)?;
            let re = self.root(&self.times(&half, &self.plus(&modulus, &a.re)?)?)?;
            let im = self.times(&half, &self.over(im, &re)?)?;
            return self.whole_power(&Self::complex(re, im), top);
        }
        self.raise(a, &exponent.into())
    }
}
