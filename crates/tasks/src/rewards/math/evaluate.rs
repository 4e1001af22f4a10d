//! The value of a formula at a point.

use std::cmp::Ordering;

use super::ball::{Ball, Precision};
use super::canon::value_of;
use super::complex::Complex;
use super::effort::Halt;
use super::exact::Exact;
use super::node::{Constant, Function, Node};

/// What variables stand for: the same name, the same number.
pub(super) struct Point(pub(super) u64);

impl Point {
    /// A number between -3 and 3 with a small denominator, by the name and the point's own number; the
    /// first half of the points are positive.
    fn value(&self, name: &str) -> Exact {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash ^= hash >> 32;
        // 257 is prime, so the fraction is reduced; 0 and whole numbers are left out.
        let top = 1 + (hash % 700) as i64;
        let top = if top % 257 == 0 { top + 1 } else { top };
        let negative = self.0 % 2 == 1 && (hash >> 20).is_multiple_of(2);
        Exact::Small(if negative { -top } else { top }, 257)
    }
}

/// The value of `node` at `point`.
pub(super) fn evaluate(node: &Node, point: &Point, p: &mut Precision<'_>) -> Result<Complex, Halt> {
    p.effort.spend(5)?;
    match node {
        Node::Number(value) => Ok(p.exact(value)?.into()),
        Node::Decimal(decimal) if !decimal.cut => Ok(p.exact(&decimal.value)?.into()),
        Node::Based(based) => Ok(p.exact(&value_of(based)?)?.into()),
        Node::Symbol(name) => Ok(p.exact(&point.value(name))?.into()),
        Node::Constant(Constant::Pi) => Ok(p.pi()?.into()),
        Node::Constant(Constant::E) => {
            let one = p.int(1)?;
            Ok(p.exp(&one)?.into())
        }
        Node::Constant(Constant::I) => Ok(Complex { re: p.int(0)?, im: Some(p.int(1)?) }),
        Node::Constant(Constant::Infinity) => Err(Halt::Unknown),
        Node::Sum(terms) => {
            let mut sum: Complex = p.int(0)?.into();
            for term in terms {
                let value = evaluate(term, point, p)?;
                sum = p.add(&sum, &value)?;
            }
            Ok(sum)
        }
        Node::Product(factors) => {
            let mut product: Complex = p.int(1)?.into();
            for factor in factors {
                let value = evaluate(factor, point, p)?;
                product = p.mul(&product, &value)?;
            }
            Ok(product)
        }
        Node::Power(pair) => power(&pair.0, &pair.1, point, p),
        Node::Root(pair) => {
            let inner = evaluate(&pair.0, point, p)?;
            match pair.1.number() {
                Some(Exact::Small(0, _)) => Err(Halt::Undefined),
                Some(Exact::Small(1, 1)) => Ok(inner),
                Some(Exact::Small(degree @ 2.., 1)) => p.rational_power(&inner, 1, *degree),
                _ => {
                    let degree = evaluate(&pair.1, point, p)?;
                    let inverse = p.inverse(&degree)?;
                    p.raise(&inner, &inverse)
                }
            }
        }
        Node::Call(function, arguments) => {
            let mut values = Vec::with_capacity(arguments.len());
            for argument in arguments {
                values.push(evaluate(argument, point, p)?);
            }
            call(*function, &values, p)
        }
        Node::Percent(inner) => {
            let value = evaluate(inner, point, p)?;
            let hundredth = p.exact(&Exact::Small(1, 100))?.into();
            p.mul(&value, &hundredth)
        }
        Node::Degrees(inner) => {
            let value = evaluate(inner, point, p)?;
            let pi = p.pi()?;
            let degree = p.times(&pi, &p.exact(&Exact::Small(1, 180))?)?.into();
            p.mul(&value, &degree)
        }
        Node::Unit(pair) => evaluate(&pair.0, point, p),
        Node::Ratio(ratio) => match &ratio.parts[..] {
            [a, b] => {
                let (a, b) = (evaluate(a, point, p)?, evaluate(b, point, p)?);
                let b = p.inverse(&b)?;
                p.mul(&a, &b)
            }
            _ => Err(Halt::Kind),
        },
        _ => Err(Halt::Kind),
    }
}

fn power(base: &Node, exponent: &Node, point: &Point, p: &mut Precision<'_>) -> Result<Complex, Halt> {
    // A quotient is a factor to the power of -1.
    if let Some(exponent) = exponent.number() {
        let base = evaluate(base, point, p)?;
        return rational(&base, exponent, p);
    }
    if let Node::Constant(Constant::E) = base {
        let exponent = evaluate(exponent, point, p)?;
        return p.exponential(&exponent);
    }
    if let Ok(form) = super::canon::canonical(exponent, p.effort)
        && let Some(exponent) = form.number()
    {
        let base = evaluate(base, point, p)?;
        return rational(&base, &exponent, p);
    }
    let (base, exponent) = (evaluate(base, point, p)?, evaluate(exponent, point, p)?);
    p.raise(&base, &exponent)
}

fn rational(base: &Complex, exponent: &Exact, p: &mut Precision<'_>) -> Result<Complex, Halt> {
    match exponent {
        Exact::Small(whole, 1) => p.whole_power(base, *whole),
        Exact::Small(top, degree) if top.unsigned_abs() < 1 << 20 => p.rational_power(base, *top, *degree),
        other => {
            let exponent = p.exact(other)?.into();
            p.raise(base, &exponent)
        }
    }
}

fn call(function: Function, values: &[Complex], p: &mut Precision<'_>) -> Result<Complex, Halt> {
    use Function::{
        Abs, Arccos, Arcsin, Arctan, Ceil, Cos, Cosh, Cot, Csc, Exp, Floor, Ln, Log, Max, Min, Sec, Sin, Sinh, Tan,
        Tanh,
    };
    match (function, values) {
        (Log, [base, x]) => {
            let bottom = p.log(base)?;
            let (top, inverse) = (p.log(x)?, p.inverse(&bottom)?);
            p.mul(&top, &inverse)
        }
        (Ln, [x]) => p.log(x),
        (Exp, [x]) => p.exponential(x),
        (Abs, [x]) => Ok(p.modulus(x)?.into()),
        (Sin | Cos | Tan | Cot | Sec | Csc, [x]) => {
            let (sin, cos) = sin_cos(x, p)?;
            match function {
                Sin => Ok(sin),
                Cos => Ok(cos),
                Tan => p.mul(&sin, &p.inverse(&cos)?),
                Cot => p.mul(&cos, &p.inverse(&sin)?),
                Sec => p.inverse(&cos),
                _ => p.inverse(&sin),
            }
        }
        (Sinh | Cosh | Tanh, [x]) => {
            let (up, down) = (p.exponential(x)?, p.exponential(&p.negate(x))?);
            let half = p.exact(&Exact::Small(1, 2))?.into();
            let sum = p.mul(&half, &p.add(&up, &down)?)?;
            let difference = p.mul(&half, &p.add(&up, &p.negate(&down))?)?;
            match function {
                Sinh => Ok(difference),
                Cosh => Ok(sum),
                _ => p.mul(&difference, &p.inverse(&sum)?),
            }
        }
        (Arctan, [Complex { re, im: None }]) => Ok(p.arctan(re)?.into()),
        (Arcsin, [Complex { re, im: None }]) => Ok(arcsin(re, p)?.into()),
        (Arccos, [Complex { re, im: None }]) => {
            let arcsin = arcsin(re, p)?;
            let pi = p.pi()?;
            let half = p.times(&pi, &p.exact(&Exact::Small(1, 2))?)?;
            Ok(p.minus(&half, &arcsin)?.into())
        }
        (Floor, [Complex { re, im: None }]) => Ok(p.exact(&Exact::whole(re.floor()?))?.into()),
        (Ceil, [Complex { re, im: None }]) => Ok(p.exact(&Exact::whole(-re.negated().floor()?))?.into()),
        (Max | Min, [first, rest @ ..]) => {
            let mut out = first.clone();
            for other in rest {
                if out.im.is_some() || other.im.is_some() {
                    return Err(Halt::Unknown);
                }
                let larger = p.minus(&other.re, &out.re)?.sign().ok_or(Halt::Unknown)? == Ordering::Greater;
                if larger == (function == Max) {
                    out = other.clone();
                }
            }
            Ok(out)
        }
        _ => Err(Halt::Unknown),
    }
}

fn sin_cos(x: &Complex, p: &mut Precision<'_>) -> Result<(Complex, Complex), Halt> {
    let (sin, cos) = p.sin_cos(&x.re)?;
    let Some(im) = &x.im else { return Ok((sin.into(), cos.into())) };
    let (up, down) = (p.exp(im)?, p.exp(&im.negated())?);
    let half = p.exact(&Exact::Small(1, 2))?;
    let cosh = p.times(&half, &p.plus(&up, &down)?)?;
    let sinh = p.times(&half, &p.minus(&up, &down)?)?;
    Ok((
        Complex { re: p.times(&sin, &cosh)?, im: Some(p.times(&cos, &sinh)?) },
        Complex { re: p.times(&cos, &cosh)?, im: Some(p.times(&sin, &sinh)?.negated()) },
    ))
}

/// By the tangent of the angle; 1 and -1 themselves are known.
fn arcsin(x: &Ball, p: &mut Precision<'_>) -> Result<Ball, Halt> {
    let one = p.int(1)?;
    let rest = p.minus(&one, &p.times(x, x)?)?;
    match rest.sign().ok_or(Halt::Unknown)? {
        Ordering::Less => Err(Halt::Undefined),
        Ordering::Equal => {
            let pi = p.pi()?;
            let half = p.times(&pi, &p.exact(&Exact::Small(1, 2))?)?;
            Ok(if x.sign() == Some(Ordering::Less) { half.negated() } else { half })
        }
        Ordering::Greater => {
            let slope = p.over(x, &p.root(&rest)?)?;
            p.arctan(&slope)
        }
    }
}
