//! What a sum's terms are made of.

use super::exact::Exact;
use super::node::{Based, Constant, Decimal, Edge, Function, Node};
use super::parser::{End, Letters, Parser, Read};
use super::token::{Numeral, Token};
use super::words::{self, Meaning};

impl<'a> Parser<'_, 'a> {
    pub(super) fn product(&mut self) -> Read {
        let mut factors = Vec::new();
        let start = self.at;
        let mut inverse = false;
        loop {
            // `3\frac{1}{2}`, `3 1/2`: a whole number and a part of one.
            let mixed = if factors.len() == 1 && !inverse && self.mixes(start) { self.fraction()? } else { None };
            let mut factor = match mixed {
                Some(part) => {
                    let whole = factors.remove(0);
                    self.powers(Node::Sum(vec![whole, part]))?
                }
                None => self.signed_power()?,
            };
            if inverse {
                factor = Node::Power(Box::new((factor, Node::int(-1))));
            }
            factors.push(factor);
            match self.peek() {
                Some(Token::Times) => {
                    self.at += 1;
                    inverse = false;
                }
                Some(Token::Slash) => {
                    self.at += 1;
                    inverse = true;
                }
                _ => {
                    inverse = false;
                    if self.modulo_follows() || self.condition_follows() || self.unit_follows(start) || !self.implicit()
                    {
                        break;
                    }
                }
            }
        }
        Ok(if factors.len() == 1 { factors.remove(0) } else { Node::Product(factors) })
    }

    /// Whether a whole number, which begins at `start`, and a fraction behind it may be a mixed number.
    fn mixes(&self, start: usize) -> bool {
        let whole = match self.tokens.get(start).map(|lexed| &lexed.token) {
            Some(Token::Number(number)) => number.digits.is_some() && self.at == start + 1,
            _ => false,
        };
        whole && (self.peek() == Some(&Token::Fraction) || self.plain_fraction())
    }

    /// The fraction of a mixed number; `None`, and nothing is read, where what stands here is none.
    fn fraction(&mut self) -> Result<Option<Node>, String> {
        let at = self.at;
        let node = if self.plain_fraction() { self.written_fraction()? } else { self.atom()? };
        // An exponent or factorial belongs to the fraction.
        let degree = Some(&Token::Degree);
        let angle = self.ahead(1) == degree || (self.ahead(1) == Some(&Token::BraceOpen) && self.ahead(2) == degree);
        let raised = matches!(self.peek(), Some(Token::Caret)) && !angle || self.peek() == Some(&Token::Bang);
        if is_proper(&node) && !raised {
            return Ok(Some(node));
        }
        self.at = at;
        Ok(None)
    }

    /// Whether a factor follows without a sign of multiplication.
    pub(super) fn implicit(&self) -> bool {
        match self.peek() {
            Some(Token::Number(_)) => {
                // `2 3` and `is 7` are no products, but `x 3`, `(2)3` and `3 1/2` are read.
                let before = &self.tokens[self.at - 1].token;
                !matches!(before, Token::Number(_) | Token::Word(_)) || self.plain_fraction()
            }
            Some(Token::Text(text)) => matches!(words::meaning(text), Meaning::Multiple(_) | Meaning::Number(_)),
            Some(Token::Word(word)) => match words::meaning(word) {
                Meaning::Multiple(_) => true,
                // `It is` are words of a sentence.
                _ => word.len() <= 3 && !(self.spaced() && matches!(self.tokens[self.at - 1].token, Token::Word(_))),
            },
            Some(
                Token::Symbol(_)
                | Token::Constant(_)
                | Token::Function(_)
                | Token::Fraction
                | Token::Root(_)
                | Token::Cis
                | Token::Binomial
                | Token::Open(_)
                | Token::BraceOpen
                | Token::Floor(true)
                | Token::Ceil(true)
                | Token::Currency(_),
            ) => true,
            Some(Token::Bar) => self.bars == 0,
            _ => false,
        }
    }

    /// Whether `1/2` stands here, spaced off a whole number before it.
    fn plain_fraction(&self) -> bool {
        let digits = |token: Option<&Token<'_>>| matches!(token, Some(Token::Number(n)) if n.digits.is_some());
        self.spaced()
            && self.at > 0
            && digits(Some(&self.tokens[self.at - 1].token))
            && digits(self.peek())
            && self.ahead(1) == Some(&Token::Slash)
            && digits(self.ahead(2))
    }

    fn signed_power(&mut self) -> Read {
        // `2 \cdot -3`
        let mut negative = false;
        while let Some(token @ (Token::Minus | Token::Plus | Token::Currency(_))) = self.peek() {
            match token {
                Token::Minus => negative = !negative,
                Token::Currency(name) => self.unit = Some(super::node::Unit::Known(vec![(*name, 1)])),
                _ => {}
            }
            self.at += 1;
        }
        let node = if self.plain_fraction() { self.written_fraction()? } else { self.power()? };
        Ok(if negative { node.negated() } else { node })
    }

    /// `1/2` behind a whole number.
    fn written_fraction(&mut self) -> Read {
        let (Some(Token::Number(top)), Some(Token::Number(bottom))) = (self.peek(), self.ahead(2)) else {
            return Err("a fraction is broken".to_owned());
        };
        if bottom.value.is_zero() {
            return Err("a fraction is over zero".to_owned());
        }
        self.at += 3;
        Ok(Node::Product(vec![
            Node::Number(top.value.clone()),
            Node::Power(Box::new((Node::Number(bottom.value.clone()), Node::int(-1)))),
        ]))
    }

    pub(super) fn power(&mut self) -> Read {
        let base = self.atom()?;
        self.powers(base)
    }

    /// Exponents, factorials, percent and degree signs behind `node`.
    pub(super) fn powers(&mut self, mut node: Node) -> Read {
        let mut count = 0;
        loop {
            count += 1;
            if count > 5 {
                return Err("too many signs behind a value".to_owned());
            }
            match self.peek() {
                Some(Token::Bang) => node = Node::Call(Function::Factorial, vec![node]),
                Some(Token::Percent) => node = Node::Percent(Box::new(node)),
                Some(Token::Text(text) | Token::Word(text)) if words::is_percent(text) => {
                    node = Node::Percent(Box::new(node));
                }
                Some(Token::Degree) => node = Node::Degrees(Box::new(node)),
                Some(Token::Caret) => {
                    self.at += 1;
                    if self.take(&Token::Degree) {
                        node = Node::Degrees(Box::new(node));
                        continue;
                    }
                    if self.peek() == Some(&Token::BraceOpen) && self.ahead(2) == Some(&Token::BraceClose) {
                        match self.ahead(1) {
                            Some(Token::Degree) => {
                                self.at += 3;
                                node = Node::Degrees(Box::new(node));
                                continue;
                            }
                            Some(Token::Text(text)) if words::is_ordinal(text) => {
                                self.at += 3;
                                continue;
                            }
                            _ => {}
                        }
                    }
                    let exponent = self.nested(Self::exponent)?;
                    if exponent == Node::Symbol("T".into())
                        && let Some(turned) = super::matrix::transposed(&node)
                    {
                        node = turned;
                        continue;
                    }
                    node = Node::Power(Box::new((node, exponent)));
                    continue;
                }
                _ => return Ok(node),
            }
            self.at += 1;
        }
    }

    /// An exponent: a group, or a signed atom with an exponent of its own.
    pub(super) fn exponent(&mut self) -> Read {
        let negative = self.take(&Token::Minus);
        let node = if self.peek() == Some(&Token::BraceOpen) { self.atom()? } else { self.power()? };
        Ok(if negative { node.negated() } else { node })
    }

    pub(super) fn atom(&mut self) -> Read {
        if let Some(chosen) = self.chosen()? {
            return Ok(chosen);
        }
        let token = self.peek().ok_or("it ends where a value should follow")?;
        self.at += 1;
        match token {
            Token::Number(number) => self.numeral(number),
            Token::Symbol("e") => self.subscripted("e", Node::Constant(Constant::E)),
            Token::Symbol("i") => self.subscripted("i", Node::Constant(Constant::I)),
            Token::Symbol(name) => self.subscripted(name, Node::Symbol((*name).into())),
            Token::Constant(constant) => Ok(Node::Constant(*constant)),
            Token::Word(word) => self.word(word),
            Token::Text(text) => self.text(text),
            Token::Function(function) => self.nested(|parser| parser.call(*function)),
            Token::Fraction => self.nested(|parser| {
                let (top, bottom) = parser.pair()?;
                Ok(Node::Product(vec![top, Node::Power(Box::new((bottom, Node::int(-1))))]))
            }),
            Token::Root(degree) => self.nested(|parser| parser.root(*degree)),
            Token::Cis => self.nested(Self::cis),
            Token::Binomial => self.nested(|parser| {
                if parser.take(&Token::Open(Edge::Round)) {
                    let items = parser.items(End::Bracket)?;
                    parser.expect(&Token::Close(Edge::Round))?;
                    return Ok(Node::Call(Function::Binomial, items));
                }
                let (top, bottom) = parser.pair()?;
                Ok(Node::Call(Function::Binomial, vec![top, bottom]))
            }),
            Token::Open(edge) => self.bracket(*edge),
            Token::BraceOpen if self.tokens.len() == 2 && self.take(&Token::BraceClose) => Ok(Node::Empty),
            Token::BraceOpen => self.nested(|parser| {
                let mut items = parser.items(End::Brace)?;
                parser.expect(&Token::BraceClose)?;
                Ok(if items.len() == 1 { items.remove(0) } else { Node::Set(items) })
            }),
            Token::SetOpen => self.set(),
            Token::Bar => self.nested(|parser| {
                parser.bars += 1;
                let inner = parser.sum()?;
                parser.expect(&Token::Bar)?;
                parser.bars -= 1;
                Ok(Node::Call(Function::Abs, vec![inner]))
            }),
            Token::Floor(true) => self.nested(|parser| {
                let inner = parser.sum()?;
                parser.expect(&Token::Floor(false))?;
                Ok(Node::Call(Function::Floor, vec![inner]))
            }),
            Token::Ceil(true) => self.nested(|parser| {
                let inner = parser.sum()?;
                parser.expect(&Token::Ceil(false))?;
                Ok(Node::Call(Function::Ceil, vec![inner]))
            }),
            Token::Empty => Ok(Node::Empty),
            Token::Reals => Ok(self.reals()),
            Token::Begin(name) => self.nested(|parser| parser.matrix(name)),
            other => Err(format!("{other:?} stands where a value should")),
        }
    }

    /// A number and the base below it.
    fn numeral(&mut self, number: &Numeral<'a>) -> Read {
        if let Some(digits) = number.digits {
            let base = match (self.peek(), self.ahead(1), self.ahead(2), self.ahead(3)) {
                (Some(Token::Underscore), Some(Token::Number(base)), ..) => Some((base, 2)),
                (
                    Some(Token::Underscore),
                    Some(Token::BraceOpen),
                    Some(Token::Number(base)),
                    Some(Token::BraceClose),
                ) => Some((base, 4)),
                _ => None,
            };
            if let Some((base, long)) = base
                && let Some(base @ 2..=36) = base.value.as_i64()
            {
                self.at += long;
                return Ok(Node::Based(Box::new(Based { digits: digits.trim_start_matches('0').into(), base })));
            }
        }
        if let Some(chosen) = self.chosen_between(number) {
            return Ok(chosen);
        }
        let value = match (self.letters, self.peek()) {
            (Letters::Units, Some(Token::Symbol("k" | "K"))) if !self.spaced() => Some(1000),
            (Letters::Units, Some(Token::Symbol("M"))) if !self.spaced() => Some(1_000_000),
            _ => None,
        };
        if let Some(times) = value {
            self.at += 1;
            return Ok(Node::Product(vec![Node::Number(number.value.clone()), Node::int(times)]));
        }
        let value = number.value.clone();
        Ok(match number.places {
            Some(places) => {
                Node::Decimal(Box::new(Decimal { value, places, significant: number.significant, cut: number.cut }))
            }
            None => Node::Number(value),
        })
    }

    /// A variable with what stands below it as part of its name.
    fn subscripted(&mut self, name: &str, plain: Node) -> Read {
        if !self.take(&Token::Underscore) {
            return Ok(plain);
        }
        let mut full = format!("{name}_");
        let braced = self.take(&Token::BraceOpen);
        loop {
            match self.peek() {
                Some(Token::BraceClose) if braced => {
                    self.at += 1;
                    break;
                }
                Some(Token::Number(number)) => full.push_str(number.digits.ok_or("a subscript is no name")?),
                Some(Token::Symbol(part) | Token::Word(part) | Token::Text(part)) => full.push_str(part),
                Some(Token::Comma) if braced => full.push(','),
                Some(Token::Plus) if braced => full.push('+'),
                Some(Token::Minus) if braced => full.push('-'),
                _ => return Err("a subscript is no name".to_owned()),
            }
            self.at += 1;
            if !braced {
                break;
            }
        }
        Ok(Node::Symbol(full.into()))
    }

    /// Letters in a row: variables that are multiplied, or words for a number.
    fn word(&mut self, word: &str) -> Read {
        match words::meaning(word) {
            Meaning::Number(value) | Meaning::Multiple(value) => return Ok(Node::int(value)),
            _ => {}
        }
        if word.len() > 3 {
            return Err(format!("`{word}` is a word"));
        }
        let letters = (0..word.len()).map(|at| match &word[at..=at] {
            "e" => Node::Constant(Constant::E),
            "i" => Node::Constant(Constant::I),
            letter => Node::Symbol(letter.into()),
        });
        let mut factors: Vec<Node> = letters.collect();
        // An exponent belongs to the last letter.
        if let Some(last) = factors.pop() {
            let last = self.powers(last)?;
            factors.push(last);
        }
        Ok(Node::Product(factors))
    }

    fn text(&self, text: &str) -> Read {
        match words::meaning(text) {
            Meaning::Number(value) | Meaning::Multiple(value) => Ok(Node::int(value)),
            _ if words::is_empty_set(text) => Ok(Node::Empty),
            _ if words::is_reals(text) => Ok(Node::Reals),
            _ => Ok(Node::Text(words::even(text).into())),
        }
    }

    /// A command's argument: a group, or one digit or letter.
    pub(super) fn argument(&mut self) -> Read {
        match self.peek() {
            Some(Token::Number(number)) if number.digits.is_none_or(|digits| digits.len() > 1) => {
                Err("an argument of more than one digit stands without braces".to_owned())
            }
            Some(Token::Function(_) | Token::Text(_)) | None => Err("a command has no argument".to_owned()),
            Some(_) => self.atom(),
        }
    }

    /// Two arguments of a command. `\frac12` has digits for them, which the lexer reads as one number.
    fn pair(&mut self) -> Result<(Node, Node), String> {
        let digit = |text: &str| Exact::decimal(text, 0, 0).map(Node::Number).ok_or("a number is too large");
        match self.peek() {
            Some(Token::Number(number)) if number.digits.is_some_and(|digits| digits.len() == 2) => {
                let digits = number.digits.unwrap_or_default();
                self.at += 1;
                Ok((digit(&digits[..1])?, digit(&digits[1..])?))
            }
            Some(Token::Word(word)) if word.len() == 2 => {
                self.at += 1;
                Ok((Node::Symbol(word[..1].into()), Node::Symbol(word[1..].into())))
            }
            _ => Ok((self.argument()?, self.argument()?)),
        }
    }

    fn root(&mut self, usual: i64) -> Read {
        let degree = if self.take(&Token::Open(Edge::Square)) {
            let degree = self.sum()?;
            self.expect(&Token::Close(Edge::Square))?;
            Some(degree)
        } else {
            None
        };
        let inner = match self.peek() {
            Some(Token::BraceOpen | Token::Open(_) | Token::Number(_) | Token::Symbol(_) | Token::Constant(_)) => {
                self.atom()?
            }
            _ => self.argument()?,
        };
        Ok(match degree {
            Some(degree) => Node::Root(Box::new((inner, degree))),
            None => Node::Root(Box::new((inner, Node::int(usual)))),
        })
    }
}

/// A fraction of whole numbers between 0 and 1.
fn is_proper(node: &Node) -> bool {
    let Node::Product(factors) = node else { return false };
    let [Node::Number(top), Node::Power(bottom)] = &factors[..] else { return false };
    match (top.as_i64(), bottom.0.number().and_then(Exact::as_i64)) {
        (Some(top), Some(bottom)) => 0 < top && top < bottom,
        _ => false,
    }
}
