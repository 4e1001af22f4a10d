//! Mathematics in its canonical form.

use std::sync::Arc;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive, Zero};

use super::effort::{Effort, Halt, MOST_BITS};
use super::exact::{Exact, ONE, ZERO};
use super::form::{Form, factors};
use super::node::{Based, Constant, Function, Node};
use super::poly::{Atom, Opaque, Poly};

/// The canonical form of a number or formula.
pub(super) fn canonical(node: &Node, effort: &Effort) -> Result<Form, Halt> {
    effort.spend(10)?;
    match node {
        Node::Number(value) => Ok(Form::constant(value.clone())),
        Node::Decimal(decimal) if !decimal.cut => Ok(Form::constant(decimal.value.clone())),
        Node::Based(based) => Ok(Form::constant(value_of(based)?)),
        Node::Symbol(name) => Form::atom(Atom::Symbol(name.clone()), effort),
        Node::Constant(constant) => Form::atom(
            match constant {
                Constant::Pi => Atom::Pi,
                Constant::E => Atom::E,
                Constant::I => Atom::I,
                Constant::Infinity => Atom::Infinity,
            },
            effort,
        ),
        Node::Sum(terms) => {
            let mut sum = Form::constant(ZERO);
            for term in terms {
                sum = sum.plus(&canonical(term, effort)?, effort)?;
            }
            Ok(sum)
        }
        Node::Product(factors) => {
            let mut product = Form::constant(ONE);
            for factor in factors {
                product = product.times(&canonical(factor, effort)?, effort)?;
            }
            Ok(product)
        }
        Node::Power(pair) => {
            let base = canonical(&pair.0, effort)?;
            let exponent = canonical(&pair.1, effort)?;
            power(&base, &exponent, effort)
        }
        Node::Root(pair) => {
            let degree = canonical(&pair.1, effort)?.number().ok_or(Halt::Unknown)?;
            if degree.is_zero() {
                return Err(Halt::Undefined);
            }
            canonical(&pair.0, effort)?.power(&degree.inverse()?, effort)
        }
        Node::Call(function, arguments) => {
            let forms = arguments.iter().map(|argument| canonical(argument, effort)).collect::<Result<Vec<_>, _>>()?;
            call(*function, forms, effort)
        }
        Node::Percent(inner) => canonical(inner, effort)?.times(&Form::constant(Exact::Small(1, 100)), effort),
        Node::Degrees(inner) => {
            let turn = Form::atom(Atom::Pi, effort)?.times(&Form::constant(Exact::Small(1, 180)), effort)?;
            canonical(inner, effort)?.times(&turn, effort)
        }
        Node::Unit(pair) => canonical(&pair.0, effort),
        Node::Ratio(ratio) => match &ratio.parts[..] {
            [a, b] => canonical(a, effort)?.times(&canonical(b, effort)?.inverse(effort)?, effort),
            _ => Err(Halt::Kind),
        },
        Node::Decimal(_)
        | Node::PlusMinus(..)
        | Node::Bracket(_)
        | Node::Set(_)
        | Node::Where(_)
        | Node::List(_)
        | Node::Matrix(_)
        | Node::Relation(_)
        | Node::Sets(..)
        | Node::Empty
        | Node::Reals
        | Node::Text(_) => Err(Halt::Kind),
    }
}

/// The value of a number in another base.
pub(super) fn value_of(based: &Based) -> Result<Exact, Halt> {
    if based.digits.len() > 1000 {
        return Err(Halt::Spent);
    }
    if based.digits.is_empty() {
        return Ok(ZERO);
    }
    let digits: Option<Vec<u8>> = based.digits.chars().map(|c| c.to_digit(36).map(|d| d as u8)).collect();
    let whole = digits.and_then(|digits| BigInt::from_radix_be(num_bigint::Sign::Plus, &digits, based.base as u32));
    whole.map(Exact::whole).ok_or(Halt::Undefined)
}

fn power(base: &Form, exponent: &Form, effort: &Effort) -> Result<Form, Halt> {
    if let Some(exponent) = exponent.number() {
        return base.power(&exponent, effort);
    }
    if base.number().is_some_and(|base| base.is_one()) {
        return Ok(base.clone());
    }
    // `2^{x+1}` is `2 \cdot 2^x` for a positive base.
    let positive = base.number().is_some_and(|base| !base.is_negative() && !base.is_zero())
        || *base == Form::atom(Atom::E, effort)?;
    if positive && exponent.bottom.is_one() {
        let apart = exponent.top.0.iter().find(|term| term.powers.is_empty()).map(|term| term.factor.clone());
        if let Some(apart) = apart {
            let rest = exponent.minus(&Form::constant(apart.clone()), effort)?;
            let outside = base.power(&apart, effort)?;
            return outside.times(&Form::opaque(Opaque::Power(base.clone(), rest), ONE, effort)?, effort);
        }
    }
    Form::opaque(Opaque::Power(base.clone(), exponent.clone()), ONE, effort)
}

fn call(function: Function, forms: Vec<Form>, effort: &Effort) -> Result<Form, Halt> {
    let numbers: Option<Vec<Exact>> = forms.iter().map(Form::number).collect();
    if let Some(numbers) = numbers
        && let Some(value) = of_numbers(function, &numbers, effort)?
    {
        return Ok(Form::constant(value));
    }
    match (function, &forms[..]) {
        (Function::Ln, [form]) => ln(form, effort),
        (Function::Log, [base, form]) => {
            // `\log_x x` and the like: a base of one has no logarithm.
            let bottom = ln(base, effort)?;
            if bottom.top.is_zero() {
                return Err(Halt::Undefined);
            }
            ln(form, effort)?.times(&bottom.inverse(effort)?, effort)
        }
        (Function::Exp, [form]) => power(&Form::atom(Atom::E, effort)?, form, effort),
        _ => Form::opaque(Opaque::Call(function, forms), ONE, effort),
    }
}

/// The natural logarithm: of a positive rational number the sum of its primes'.
fn ln(form: &Form, effort: &Effort) -> Result<Form, Halt> {
    let opaque = |inner: Form| Poly::atom(Atom::Opaque(Arc::new(Opaque::Call(Function::Ln, vec![inner]))), ONE, effort);
    let powers = match (form.number(), &form.top.0[..]) {
        (Some(number), _) if number.is_zero() => return Err(Halt::Undefined),
        (Some(number), _) if !number.is_negative() => {
            let whole = factors(&number, effort)?;
            whole.into_iter().map(|(atom, power)| (atom, Exact::int(power))).collect()
        }
        // Roots of numbers and powers of e.
        (None, [term]) if form.bottom.is_one() && !term.factor.is_negative() => {
            let plain = |(atom, _): &(Atom, Exact)| matches!(atom, Atom::Prime(_) | Atom::E);
            if !term.powers.iter().all(plain) {
                return Ok(Form::of(opaque(form.clone())?));
            }
            let mut powers = term.powers.clone();
            powers.extend(factors(&term.factor, effort)?.into_iter().map(|(atom, power)| (atom, Exact::int(power))));
            powers
        }
        _ => return Ok(Form::of(opaque(form.clone())?)),
    };
    let mut sum = Poly::default();
    for (atom, power) in powers {
        let one = if atom == Atom::E { Poly::constant(ONE) } else { opaque(Form::atom_whole(atom, effort)?)? };
        sum = sum.plus(&one.times(&Poly::constant(power), effort)?, effort)?;
    }
    Ok(Form::of(sum))
}

/// The value of a function of numbers where it is rational; `None` where that is not computed here.
fn of_numbers(function: Function, numbers: &[Exact], effort: &Effort) -> Result<Option<Exact>, Halt> {
    let whole = |number: &Exact| number.as_i64();
    Ok(Some(match (function, numbers) {
        (Function::Abs, [x]) => x.abs(),
        (Function::Floor, [x]) => x.floor(),
        (Function::Ceil, [x]) => x.negated().floor().negated(),
        (Function::Factorial, [x]) => {
            if !x.is_whole() || x.is_negative() {
                return Ok(None);
            }
            let n = whole(x).ok_or(Halt::Spent)?;
            product(1, n, effort)?
        }
        (Function::Binomial, [n, k]) => {
            let (Some(n), Some(k)) = (whole(n), whole(k)) else { return Ok(None) };
            if k < 0 || n < 0 {
                return Ok(None);
            }
            if k > n {
                return Ok(Some(ZERO));
            }
            let k = k.min(n - k);
            product(n - k + 1, n, effort)?.over(&product(1, k, effort)?, effort)?
        }
        (Function::Gcd | Function::Lcm, [first, rest @ ..]) => {
            if !numbers.iter().all(Exact::is_whole) {
                return Ok(None);
            }
            let mut out = first.parts().0;
            for number in rest {
                let next = number.parts().0;
                effort.spend_bits(out.bits() + next.bits())?;
                let divisor = gcd(&out, &next);
                out = match function {
                    Function::Gcd => divisor,
                    _ if divisor.is_zero() => divisor,
                    _ => out * next / divisor,
                };
            }
            Exact::whole(out.abs())
        }
        (Function::Max | Function::Min, [first, rest @ ..]) => {
            let mut out = first;
            for number in rest {
                let larger = number.order(out).is_gt();
                if larger == (function == Function::Max) {
                    out = number;
                }
            }
            out.clone()
        }
        (
            Function::Sin | Function::Tan | Function::Sinh | Function::Tanh | Function::Arcsin | Function::Arctan,
            [x],
        ) if x.is_zero() => ZERO,
        (Function::Cos | Function::Sec | Function::Cosh | Function::Exp, [x]) if x.is_zero() => ONE,
        _ => return Ok(None),
    }))
}

/// The product of the whole numbers from `from` to `to`.
fn product(from: i64, to: i64, effort: &Effort) -> Result<Exact, Halt> {
    if from > to {
        return Ok(ONE);
    }
    let bits = 64 - to.max(1).leading_zeros() as u64;
    let count = (to - from) as u64 + 1;
    if bits.saturating_mul(count) > 2 * MOST_BITS {
        return Err(Halt::Spent);
    }
    effort.spend_bits(bits * count)?;
    effort.spend(count * (bits * count / 64 + 2))?;
    let (mut out, mut run) = (BigInt::from(1), 1_u64);
    for factor in from..=to {
        let factor = factor.to_u64().ok_or(Halt::Unknown)?;
        match run.checked_mul(factor) {
            Some(more) => run = more,
            None => {
                out *= run;
                run = factor;
            }
        }
    }
    Ok(Exact::whole(out * run))
}

/// The greatest common divisor: what reducing the fraction of both takes away.
fn gcd(a: &BigInt, b: &BigInt) -> BigInt {
    if b.is_zero() {
        return a.abs();
    }
    b.abs() / BigRational::new(a.clone(), b.clone()).denom()
}
