//! Whether two numbers or formulas are the same: exactly where that can be, by high precision else.

use std::cell::RefCell;
use std::cmp::Ordering;

use astro_float_num::Consts;

use super::ball::{Ball, Precision};
use super::canon::canonical;
use super::complex::Complex;
use super::effort::{Effort, Halt};
use super::evaluate::{Point, evaluate};
use super::form::Form;
use super::node::{Constant, Node};

/// Bits that tell most different values apart.
const FIRST: usize = 128;
/// Bits to which equal constants have to agree.
const CONSTANTS: usize = 1024;
/// Bits to which equal formulas have to agree, at each point.
const FORMULAS: usize = 320;
/// Points at which formulas are compared, and how many are tried where they have no real value.
const POINTS: usize = 5;
const MOST_POINTS: u64 = 16;

thread_local! {
    /// Digits of pi and the like, which are not computed anew for every answer.
    static CONSTS: RefCell<Option<Consts>> = const { RefCell::new(None) };
}

/// Runs `work` at a precision of `bits`.
pub(super) fn at_precision<T>(
    bits: usize,
    effort: &Effort,
    work: impl FnOnce(&mut Precision<'_>) -> Result<T, Halt>,
) -> Result<T, Halt> {
    let kept = CONSTS.with(|consts| consts.borrow_mut().take());
    let consts = match kept {
        Some(consts) => consts,
        None => Consts::new().map_err(|_| Halt::Spent)?,
    };
    let mut precision = Precision { bits, consts, effort };
    let result = work(&mut precision);
    CONSTS.with(|consts| *consts.borrow_mut() = Some(precision.consts));
    result
}

fn is_symbol(node: &Node) -> bool {
    matches!(node, Node::Symbol(_))
}

fn is_imaginary(node: &Node) -> bool {
    matches!(node, Node::Constant(Constant::I))
}

/// Whether `a` and `b` have the same value, as formulas at every point.
pub(super) fn equal(a: &Node, b: &Node, effort: &Effort) -> Result<bool, Halt> {
    if let (Some(a), Some(b)) = (a.number(), b.number()) {
        return Ok(a == b);
    }
    match (canonical(a, effort), canonical(b, effort)) {
        (Ok(x), Ok(y)) => {
            if let Some(known) = forms_equal(&x, &y, effort) {
                return Ok(known);
            }
        }
        (Err(halt @ (Halt::Kind | Halt::Undefined)), _) | (_, Err(halt @ (Halt::Kind | Halt::Undefined))) => {
            return Err(halt);
        }
        _ => {}
    }
    // Beyond what is computed, what is written the same is the same.
    match numerically(a, b, effort) {
        Err(Halt::Spent | Halt::Unknown) if a == b => Ok(true),
        result => result,
    }
}

/// Whether canonical forms are equal, where that is certain.
fn forms_equal(x: &Form, y: &Form, effort: &Effort) -> Option<bool> {
    if x == y {
        return Some(true);
    }
    let difference = if x.bottom == y.bottom {
        x.top.minus(&y.top, effort)
    } else {
        let left = x.top.times(&y.bottom, effort).ok()?;
        let right = y.top.times(&x.bottom, effort).ok()?;
        left.minus(&right, effort)
    };
    let difference = difference.ok()?;
    if difference.is_zero() {
        return Some(true);
    }
    difference.is_decided().then_some(false)
}

/// What evaluation at a point says.
enum At {
    Same,
    Different,
    /// There is no real value, or none that is computed.
    Nothing,
}

fn numerically(a: &Node, b: &Node, effort: &Effort) -> Result<bool, Halt> {
    let variables = a.any(&is_symbol) || b.any(&is_symbol);
    if !variables {
        return match compared(a, b, &Point(0), CONSTANTS, true, effort)? {
            At::Same => Ok(true),
            At::Different => Ok(false),
            At::Nothing => Err(Halt::Unknown),
        };
    }
    let imaginary = a.any(&is_imaginary) || b.any(&is_imaginary);
    for complex in [imaginary, true] {
        let mut seen = 0;
        for point in 0..MOST_POINTS {
            match compared(a, b, &Point(point), FORMULAS, complex, effort)? {
                At::Different => return Ok(false),
                At::Same => seen += 1,
                At::Nothing => {}
            }
            if seen >= POINTS {
                return Ok(true);
            }
        }
        if seen >= 2 {
            return Ok(true);
        }
        if complex {
            break;
        }
    }
    Err(Halt::Unknown)
}

fn compared(a: &Node, b: &Node, point: &Point, bits: usize, complex: bool, effort: &Effort) -> Result<At, Halt> {
    for bits in [FIRST, bits] {
        let outcome = at_precision(bits, effort, |p| {
            let (x, y) = (evaluate(a, point, p)?, evaluate(b, point, p)?);
            if !complex && (x.im.is_some() || y.im.is_some()) {
                return Err(Halt::Undefined);
            }
            let difference = p.add(&x, &p.negate(&y))?;
            Ok((apart(&difference), agree(&difference, &x, &y, bits)))
        });
        match outcome {
            Ok((true, _)) => return Ok(At::Different),
            Ok((false, true)) if bits != FIRST => return Ok(At::Same),
            Ok(_) | Err(Halt::Unknown) => {}
            Err(Halt::Undefined) => return Ok(At::Nothing),
            Err(halt) => return Err(halt),
        }
    }
    Ok(At::Nothing)
}

/// Whether a difference is certainly not zero.
fn apart(difference: &Complex) -> bool {
    let away = |ball: &Ball| matches!(ball.sign(), Some(Ordering::Less | Ordering::Greater));
    away(&difference.re) || difference.im.as_ref().is_some_and(away)
}

/// Whether the bounds of a difference are so narrow that nothing but equality explains it.
fn agree(difference: &Complex, x: &Complex, y: &Complex, bits: usize) -> bool {
    let size = |value: &Complex| value.im.as_ref().map_or(value.re.size(), |im| im.size().max(value.re.size()));
    let scale = size(x).max(size(y)).max(0.0);
    let narrow = |ball: &Ball| ball.error() <= scale - bits as f64 / 2.0;
    narrow(&difference.re) && difference.im.as_ref().is_none_or(narrow)
}

/// The order of two real constants.
pub(super) fn order(a: &Node, b: &Node, effort: &Effort) -> Result<Ordering, Halt> {
    if let (Some(a), Some(b)) = (a.number(), b.number()) {
        return Ok(a.order(b));
    }
    if equal(a, b, effort)? {
        return Ok(Ordering::Equal);
    }
    for bits in [FIRST, CONSTANTS] {
        let sign = at_precision(bits, effort, |p| {
            let (x, y) = (evaluate(a, &Point(0), p)?, evaluate(b, &Point(0), p)?);
            match (x.im, y.im) {
                (None, None) => Ok(p.minus(&x.re, &y.re)?.sign()),
                _ => Err(Halt::Kind),
            }
        });
        match sign {
            Ok(Some(sign)) => return Ok(sign),
            Ok(None) | Err(Halt::Unknown) => {}
            Err(halt) => return Err(halt),
        }
    }
    Err(Halt::Unknown)
}

/// Whether the formulas `a` and `b` are in the same ratio at every point, and that ratio's sign.
pub(super) fn proportional(a: &Node, b: &Node, effort: &Effort) -> Result<Option<Ordering>, Halt> {
    let mut first: Option<(Complex, Complex)> = None;
    let (mut seen, mut sign) = (0, Ordering::Equal);
    for point in (0..MOST_POINTS).map(Point) {
        let outcome = at_precision(FORMULAS, effort, |p| {
            let (x, y) = (evaluate(a, &point, p)?, evaluate(b, &point, p)?);
            if x.im.is_some() || y.im.is_some() {
                return Err(Halt::Undefined);
            }
            let Some((x0, y0)) = &first else {
                let (Some(left), Some(right)) = (x.re.sign(), y.re.sign()) else { return Err(Halt::Unknown) };
                if left == Ordering::Equal || right == Ordering::Equal {
                    return Err(Halt::Unknown);
                }
                return Ok((Some((x, y, left == right)), true, true));
            };
            let (left, right) = (p.mul(&x, y0)?, p.mul(&y, x0)?);
            let difference = p.add(&left, &p.negate(&right))?;
            Ok((None, !apart(&difference), agree(&difference, &left, &right, FORMULAS)))
        });
        match outcome {
            Ok((Some((x, y, same)), ..)) => {
                first = Some((x, y));
                sign = if same { Ordering::Greater } else { Ordering::Less };
            }
            Ok((None, false, _)) => return Ok(None),
            Ok((None, true, true)) => seen += 1,
            Ok(_) | Err(Halt::Unknown | Halt::Undefined) => {}
            Err(halt) => return Err(halt),
        }
        if seen >= POINTS {
            return Ok(Some(sign));
        }
    }
    Err(Halt::Unknown)
}
