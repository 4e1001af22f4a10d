//! What stands behind a value: its unit, words that count, and what a congruence counts by.

use super::node::{Edge, Unit};
use super::parser::{Letters, Parser};
use super::token::Token;
use super::units;
use super::words::{self, Meaning};

impl Parser<'_, '_> {
    /// Reads units and other words behind a value; whether there were any.
    pub(super) fn unit_follows(&mut self, start: usize) -> bool {
        let begin = self.at;
        // `no idea` is no amount of ideas.
        let counts = self.tokens[start..self.at].iter().any(|lexed| matches!(lexed.token, Token::Number(_)));
        let (mut product, mut sign, mut pending) = (units::Product::new(), 1_i8, 1_i8);
        let mut last = None;
        while let Some(token) = self.peek() {
            let at = self.at;
            if matches!(token, Token::Slash | Token::Times) && !product.is_empty() && self.unit_at(1).is_some() {
                self.at += 1;
                sign = if *token == Token::Slash { -1 } else { 1 };
                continue;
            }
            // `18 a day`
            if *token == Token::Symbol("a") && self.spaced() && counts && matches!(self.ahead(1), Some(Token::Word(_)))
            {
                self.at += 2;
                self.unit.get_or_insert(Unit::Other);
                continue;
            }
            if let Some(read) = self.quotient() {
                read.iter().for_each(|(name, power)| units::multiply(&mut product, name, *power));
                continue;
            }
            if let Some(read) = self.raised_unit() {
                let power = sign * std::mem::replace(&mut pending, 1);
                read.iter().for_each(|(name, own)| units::multiply(&mut product, name, own * power));
                last = if let [(name, own)] = read[..] { Some((name, own * power)) } else { None };
                sign = 1;
                continue;
            }
            let (Token::Text(text) | Token::Word(text)) = token else { break };
            if text.trim() == "mod" {
                break;
            }
            let tied = matches!(token, Token::Word(_)) && !self.spaced();
            match words::meaning(text) {
                Meaning::Power(power) => pending = power,
                Meaning::Other if matches!(text.trim(), "squared" | "cubed") && last.is_some() => {
                    let times = if text.trim() == "squared" { 1 } else { 2 };
                    if let Some((name, power)) = last.take() {
                        units::multiply(&mut product, name, power * times);
                    }
                }
                Meaning::Other if text.trim() == "per" && self.unit_ahead() && !self.is_money(&product) => {
                    sign = -1;
                }
                Meaning::Other
                    if !tied
                        && (self.at > begin || words::may_name(text))
                        && (counts || matches!(token, Token::Text(_))) =>
                {
                    self.unit.get_or_insert(Unit::Other);
                    // What an amount is for or by names it, too: `18 dollars per day`.
                    if self.is_money(&product) && self.unit_at(1).is_some() {
                        self.at += 1;
                    }
                }
                _ => break,
            }
            self.at = self.at.max(at) + 1;
            // `18 units^2`
            if pending == 1 {
                self.unit_power();
            }
        }
        if !product.is_empty() {
            let money =
                matches!(&self.unit, Some(Unit::Known(known)) if known.iter().any(|(name, _)| units::is_money(name)));
            if !money {
                self.unit = Some(Unit::Known(product));
            }
        }
        self.at > begin
    }

    fn is_money(&self, product: &units::Product) -> bool {
        let before =
            matches!(&self.unit, Some(Unit::Known(known)) if known.iter().any(|(name, _)| units::is_money(name)));
        before || product.iter().any(|(name, _)| units::is_money(name))
    }

    /// Whether a unit, perhaps with "square" before it, stands behind the next token.
    fn unit_ahead(&self) -> bool {
        let power = |token: Option<&Token<'_>>| matches!(token, Some(Token::Text(text) | Token::Word(text)) if matches!(words::meaning(text), Meaning::Power(_)));
        self.unit_at(1).is_some() || (power(self.ahead(1)) && self.unit_at(2).is_some())
    }

    /// The units of the token that many places ahead.
    fn unit_at(&self, ahead: usize) -> Option<units::Product> {
        match self.ahead(ahead)? {
            Token::Text(text) | Token::Word(text) if !words::separates(text) => units::read(text),
            // A letter alone is a variable, unless it may be a unit.
            Token::Symbol(letter) if self.letters == Letters::Units => units::read(letter),
            // `90 min` is no function of anything.
            Token::Function(function) if !self.applied(ahead + 1) => match function {
                super::node::Function::Min => units::read("min"),
                super::node::Function::Sec => units::read("sec"),
                _ => None,
            },
            Token::Currency(name) if !self.applied(ahead + 1) => Some(vec![(*name, 1)]),
            _ => None,
        }
    }

    /// Reads a unit and its exponent.
    fn raised_unit(&mut self) -> Option<units::Product> {
        let read = self.unit_at(0)?;
        let token = self.peek();
        self.at += 1;
        let power = self.unit_power();
        Some(match token {
            Some(Token::Text(text) | Token::Word(text)) => units::raised(text, power)?,
            _ => read.into_iter().map(|(name, own)| (name, own * power)).collect(),
        })
    }

    /// Whether a value stands that many places ahead.
    fn applied(&self, ahead: usize) -> bool {
        matches!(
            self.ahead(ahead),
            Some(
                Token::Open(_)
                    | Token::BraceOpen
                    | Token::Number(_)
                    | Token::Symbol(_)
                    | Token::Constant(_)
                    | Token::Fraction
                    | Token::Root(_)
                    | Token::Caret
            )
        )
    }

    /// `\frac{\text{m}}{\text{s}}`
    fn quotient(&mut self) -> Option<units::Product> {
        if self.peek() != Some(&Token::Fraction) || self.ahead(1) != Some(&Token::BraceOpen) {
            return None;
        }
        self.unit_at(2)?;
        let start = self.at;
        self.at += 1;
        let mut product = units::Product::new();
        for sign in [1, -1] {
            let whole = self.take(&Token::BraceOpen);
            while let (true, Some(read)) = (whole, self.raised_unit()) {
                read.iter().for_each(|(name, own)| units::multiply(&mut product, name, own * sign));
            }
            if !whole || !self.take(&Token::BraceClose) {
                self.at = start;
                return None;
            }
        }
        Some(product)
    }

    /// `^2` behind a unit, 1 where there is none.
    fn unit_power(&mut self) -> i8 {
        let braced = self.ahead(1) == Some(&Token::BraceOpen);
        let mut at = 1 + usize::from(braced);
        if self.peek() != Some(&Token::Caret) {
            return 1;
        }
        let sign = if self.ahead(at) == Some(&Token::Minus) { -1 } else { 1 };
        at += usize::from(sign < 0);
        let Some(Token::Number(number)) = self.ahead(at) else { return 1 };
        let closed = !braced || self.ahead(at + 1) == Some(&Token::BraceClose);
        match number.value.as_i64() {
            Some(power @ 1..=9) if closed => {
                self.at += at + 1 + usize::from(braced);
                sign * power as i8
            }
            _ => 1,
        }
    }

    /// Whether `(mod 7)` stands here.
    pub(super) fn modulo_follows(&self) -> bool {
        let word = |token: Option<&Token<'_>>| matches!(token, Some(Token::Word(text) | Token::Text(text)) if text.trim() == "mod");
        match self.peek() {
            Some(Token::Modulo(_)) => true,
            Some(Token::Open(Edge::Round)) => word(self.ahead(1)),
            other => self.congruent && word(other),
        }
    }

    /// Reads what a congruence counts by.
    pub(super) fn modulo(&mut self) -> Result<(), String> {
        if !self.modulo_follows() {
            return Ok(());
        }
        if let Some(Token::Modulo(by)) = self.peek() {
            self.at += 1;
            self.unit = Some(Unit::Modulo((*by).trim().into()));
            return Ok(());
        }
        let bracket = self.take(&Token::Open(Edge::Round));
        self.at += 1;
        let by = match self.peek() {
            Some(Token::Number(number)) => number.digits.ok_or("a modulus is no whole number")?,
            Some(Token::Symbol(name)) => name,
            _ => return Err("a modulus is neither a number nor a letter".to_owned()),
        };
        self.at += 1;
        if bracket {
            self.expect(&Token::Close(Edge::Round))?;
        }
        self.unit = Some(Unit::Modulo(by.into()));
        Ok(())
    }
}
