//! Arithmetic expressions, evaluated exactly.

use std::fmt;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Zero;

/// Deepest nesting and most characters of an expression that is still read.
const DEEPEST: usize = 64;
const LONGEST: usize = 1000;

/// An expression over whole numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// A whole number from 0.
    Number(u64),
    /// Two expressions and what is done with them.
    Binary(Box<Expression>, Operator, Box<Expression>),
}

/// What is done with two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
}

impl Operator {
    /// The operator that `symbol` stands for.
    #[must_use]
    pub const fn from_symbol(symbol: char) -> Option<Self> {
        match symbol {
            '+' => Some(Self::Add),
            '-' => Some(Self::Subtract),
            '*' => Some(Self::Multiply),
            '/' => Some(Self::Divide),
            _ => None,
        }
    }

    /// How it is written.
    #[must_use]
    pub const fn symbol(self) -> char {
        match self {
            Self::Add => '+',
            Self::Subtract => '-',
            Self::Multiply => '*',
            Self::Divide => '/',
        }
    }

    const fn is_sum(self) -> bool {
        matches!(self, Self::Add | Self::Subtract)
    }

    /// What undoes it; itself for the two that reorder freely.
    const fn inverts(self) -> bool {
        matches!(self, Self::Subtract | Self::Divide)
    }
}

impl Expression {
    /// Two expressions and what is done with them.
    #[must_use]
    pub fn binary(left: Self, operator: Operator, right: Self) -> Self {
        Self::Binary(Box::new(left), operator, Box::new(right))
    }

    /// Reads whole numbers, `+ - * /` (also `× ÷ − · x`) and parentheses with the usual precedence.
    ///
    /// # Errors
    /// Says what was expected and what stands there.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("expected at most {LONGEST} bytes, got {}", text.len()));
        }
        let chars: Vec<char> = text.chars().map(plain).collect();
        let mut parser = Parser { chars: &chars, at: 0 };
        let expression = parser.sum(0)?;
        match parser.peek() {
            None => Ok(expression),
            Some(c) => Err(format!("expected an operator, got `{c}`")),
        }
    }

    /// The exact value; none where something is divided by zero.
    #[must_use]
    pub fn value(&self) -> Option<BigRational> {
        match self {
            Self::Number(number) => Some(BigInt::from(*number).into()),
            Self::Binary(left, operator, right) => {
                let (left, right) = (left.value()?, right.value()?);
                match operator {
                    Operator::Add => Some(left + right),
                    Operator::Subtract => Some(left - right),
                    Operator::Multiply => Some(left * right),
                    Operator::Divide => (!right.is_zero()).then(|| left / right),
                }
            }
        }
    }

    /// The numbers in it, from left to right.
    #[must_use]
    pub fn numbers(&self) -> Vec<u64> {
        match self {
            Self::Number(number) => vec![*number],
            Self::Binary(left, _, right) => {
                let mut numbers = left.numbers();
                numbers.extend(right.numbers());
                numbers
            }
        }
    }

    /// One spelling for all that differ only in the order of terms or factors: `2 + 3 * 4` and
    /// `4 * 3 + 2` are the same problem.
    #[must_use]
    pub fn canonical(&self) -> String {
        let Self::Binary(_, operator, _) = self else { return self.to_string() };
        let sum = operator.is_sum();
        let mut parts = Vec::new();
        self.collect(sum, false, &mut parts);
        parts.sort_unstable();
        format!("({})", parts.concat())
    }

    /// Appends the terms of a sum, or the factors of a product, each behind its sign.
    fn collect(&self, sum: bool, inverted: bool, parts: &mut Vec<String>) {
        match self {
            Self::Binary(left, operator, right) if operator.is_sum() == sum => {
                left.collect(sum, inverted, parts);
                right.collect(sum, inverted != operator.inverts(), parts);
            }
            _ => {
                let sign = match (sum, inverted) {
                    (true, false) => '+',
                    (true, true) => '-',
                    (false, false) => '*',
                    (false, true) => '/',
                };
                parts.push(format!("{sign}{}", self.canonical()));
            }
        }
    }
}

/// Written with as few parentheses as the meaning allows.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Binary(left, operator, right) = self else {
            let Self::Number(number) = self else { return Ok(()) };
            return write!(f, "{number}");
        };
        let wrap = |inner: &Self, on_the_right: bool| match inner {
            Self::Number(_) => false,
            Self::Binary(_, other, _) => {
                (other.is_sum() && !operator.is_sum())
                    || (on_the_right && operator.inverts() && other.is_sum() == operator.is_sum())
                    || (on_the_right && !operator.is_sum() && !other.is_sum() && other.inverts())
            }
        };
        let part = |f: &mut fmt::Formatter<'_>, inner: &Self, wrapped: bool| {
            if wrapped { write!(f, "({inner})") } else { write!(f, "{inner}") }
        };
        part(f, left, wrap(left, false))?;
        write!(f, " {} ", operator.symbol())?;
        part(f, right, wrap(right, true))
    }
}

/// The ASCII spelling of an operator.
const fn plain(c: char) -> char {
    match c {
        '×' | '·' | 'x' | '⋅' => '*',
        '÷' => '/',
        '\u{2212}' | '\u{2013}' => '-',
        c => c,
    }
}

struct Parser<'a> {
    chars: &'a [char],
    at: usize,
}

impl Parser<'_> {
    /// The next character that is no space; it stands at `at` afterwards.
    fn peek(&mut self) -> Option<char> {
        self.at += self.chars[self.at..].iter().take_while(|c| c.is_whitespace()).count();
        self.chars.get(self.at).copied()
    }

    fn sum(&mut self, depth: usize) -> Result<Expression, String> {
        let mut left = self.product(depth)?;
        while let Some(operator) = self.peek().and_then(Operator::from_symbol).filter(|o| o.is_sum()) {
            self.at += 1;
            left = Expression::binary(left, operator, self.product(depth)?);
        }
        Ok(left)
    }

    fn product(&mut self, depth: usize) -> Result<Expression, String> {
        let mut left = self.atom(depth)?;
        while let Some(operator) = self.peek().and_then(Operator::from_symbol).filter(|o| !o.is_sum()) {
            self.at += 1;
            left = Expression::binary(left, operator, self.atom(depth)?);
        }
        Ok(left)
    }

    fn atom(&mut self, depth: usize) -> Result<Expression, String> {
        if depth > DEEPEST {
            return Err(format!("expected at most {DEEPEST} nested parentheses, got more"));
        }
        match self.peek() {
            Some('(') => {
                self.at += 1;
                let inner = self.sum(depth + 1)?;
                match self.peek() {
                    Some(')') => self.at += 1,
                    Some(c) => return Err(format!("expected `)`, got `{c}`")),
                    None => return Err("expected `)`, got the end".to_owned()),
                }
                Ok(inner)
            }
            Some(c) if c.is_ascii_digit() => {
                let from = self.at;
                self.at += self.chars[from..].iter().take_while(|c| c.is_ascii_digit()).count();
                let digits: String = self.chars[from..self.at].iter().collect();
                digits.parse().map(Expression::Number).map_err(|_| format!("expected a 64-bit number, got {digits}"))
            }
            Some(c) => Err(format!("expected a number or `(`, got `{c}`")),
            None => Err("expected a number or `(`, got the end".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(text: &str) -> String {
        Expression::parse(text).unwrap().value().map_or("none".to_owned(), |v| v.to_string())
    }

    #[test]
    fn values() {
        for (text, expected) in [
            ("2 + 3 * 4", "14"),
            ("(2 + 3) * 4", "20"),
            ("10 - 4 - 3", "3"),
            ("8 / 4 / 2", "1"),
            ("1 / 3 + 1 / 6", "1/2"),
            ("7 × 6 − 2 ÷ 1", "40"),
            ("1 / (2 - 2)", "none"),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_expression() {
        for text in
            ["", "1 +", "(1", "1)", "1 2", "1 2 +", "-1", "2 ** 3", "1.5", "abc", &"(".repeat(500), &"1+".repeat(900)]
        {
            assert!(Expression::parse(text).is_err(), "{text}");
        }
    }

    fn any() -> impl Strategy<Value = Expression> {
        let operator = prop::sample::select(vec!['+', '-', '*', '/']).prop_map(|c| Operator::from_symbol(c).unwrap());
        (0..100_u64).prop_map(Expression::Number).prop_recursive(5, 24, 2, move |inner| {
            (inner.clone(), operator.clone(), inner).prop_map(|(l, o, r)| Expression::binary(l, o, r))
        })
    }

    /// The same problem with some terms and factors swapped.
    fn swapped(expression: &Expression) -> Expression {
        match expression {
            Expression::Binary(l, o, r) if !o.inverts() => Expression::binary(swapped(r), *o, swapped(l)),
            Expression::Binary(l, o, r) => Expression::binary(swapped(l), *o, swapped(r)),
            number @ Expression::Number(_) => number.clone(),
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_with_the_same_value(expression in any()) {
            let read = Expression::parse(&expression.to_string()).unwrap();
            prop_assert_eq!(read.value(), expression.value());
            prop_assert_eq!(read.numbers(), expression.numbers());
        }

        #[test]
        fn order_does_not_change_the_canonical_spelling(expression in any()) {
            prop_assert_eq!(swapped(&expression).canonical(), expression.canonical());
        }

        #[test]
        fn equal_canonical_spellings_have_equal_values(a in any(), b in any()) {
            if a.canonical() == b.canonical() {
                prop_assert_eq!(a.value(), b.value());
            }
        }

        #[test]
        fn any_text_is_survived(text in "[-+*/()0-9x ]{0,60}|(?s).{0,40}") {
            let _ = Expression::parse(&text).map(|e| e.value());
        }
    }
}
