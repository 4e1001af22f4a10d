//! Tokens into mathematics: lists, relations, sets and sums. What a term is made of stands in `term.rs`.

use super::lexer::tokens;
use super::node::{Edge, Node, Ratio, Relation, SetOperation, Unit};
use super::token::{Lexed, Token};
use super::words;

/// Deepest nesting of brackets, arguments and exponents that is read.
const DEEPEST: usize = 24;
/// Deepest tree that is read: no later step recurses further, so that half a megabyte of stack is enough.
const DEEPEST_TREE: usize = 36;

/// Reads `text` as mathematics.
pub(super) fn parse(text: &str, decimal_comma: bool) -> Result<Node, String> {
    let tokens = tokens(text, decimal_comma)?;
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0, unit: None, bars: 0 };
    while parser.peek() == Some(&Token::Comma) {
        parser.at += 1;
    }
    let node = parser.list(End::Text)?;
    match parser.peek() {
        None if node.is_deeper(DEEPEST_TREE) => Err(format!("it is nested deeper than {DEEPEST_TREE}")),
        None => Ok(node),
        Some(token) => Err(format!("{token:?} stands where nothing can follow")),
    }
}

/// Where a list ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Text,
    Bracket,
    Brace,
    Set,
    Cell,
}

pub(super) struct Parser<'t, 'a> {
    pub(super) tokens: &'t [Lexed<'a>],
    pub(super) at: usize,
    depth: usize,
    /// The unit behind the value that is being read.
    pub(super) unit: Option<Unit>,
    /// Open absolute values: a bar closes one.
    pub(super) bars: usize,
}

pub(super) type Read = Result<Node, String>;

impl<'t, 'a> Parser<'t, 'a> {
    pub(super) fn peek(&self) -> Option<&'t Token<'a>> {
        self.tokens.get(self.at).map(|lexed| &lexed.token)
    }

    pub(super) fn ahead(&self, by: usize) -> Option<&'t Token<'a>> {
        self.tokens.get(self.at + by).map(|lexed| &lexed.token)
    }

    /// Whether white space stands before the next token.
    pub(super) fn spaced(&self) -> bool {
        self.tokens.get(self.at).is_some_and(|lexed| lexed.space)
    }

    pub(super) fn take(&mut self, token: &Token<'_>) -> bool {
        let there = self.peek() == Some(token);
        self.at += usize::from(there);
        there
    }

    pub(super) fn expect(&mut self, token: &Token<'_>) -> Result<(), String> {
        if self.take(token) {
            return Ok(());
        }
        match self.peek() {
            Some(other) => Err(format!("expected {token:?}, got {other:?}")),
            None => Err(format!("expected {token:?}, got the end")),
        }
    }

    /// Reads something nested, not too deep.
    pub(super) fn nested(&mut self, read: impl FnOnce(&mut Self) -> Read) -> Read {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("it is nested deeper than {DEEPEST}"));
        }
        let node = read(self);
        self.depth -= 1;
        node
    }

    /// Items between commas or "and".
    pub(super) fn list(&mut self, end: End) -> Read {
        let mut items = self.items(end)?;
        Ok(match items.len() {
            1 => items.remove(0),
            _ => Node::List(items),
        })
    }

    pub(super) fn items(&mut self, end: End) -> Result<Vec<Node>, String> {
        let mut items = vec![self.item(end)?];
        loop {
            let mut parted = false;
            while self.peek().is_some_and(|token| separates(token)) {
                self.at += 1;
                parted = true;
            }
            if !parted || self.ends(end) {
                return Ok(items);
            }
            items.push(self.item(end)?);
        }
    }

    fn ends(&self, end: End) -> bool {
        match (self.peek(), end) {
            (None, _)
            | (Some(Token::Close(_)), End::Bracket)
            | (Some(Token::BraceClose), End::Brace)
            | (Some(Token::SetClose), End::Set)
            | (Some(Token::Cell | Token::Row | Token::End(_)), End::Cell) => true,
            (Some(_), _) => false,
        }
    }

    /// One item: a value or a relation, with its unit.
    fn item(&mut self, end: End) -> Read {
        let outer = self.unit.take();
        let node = self.relation(end)?;
        let unit = std::mem::replace(&mut self.unit, outer);
        Ok(match unit {
            Some(unit) => Node::Unit(Box::new((node, unit))),
            None => node,
        })
    }

    fn relation(&mut self, end: End) -> Read {
        // `= 5`: what is equal was named before.
        while matches!(self.peek(), Some(Token::Relation(Relation::Equal))) {
            self.at += 1;
        }
        let first = self.sets(end)?;
        let mut rest = Vec::new();
        while let Some(Token::Relation(relation)) = self.peek() {
            self.at += 1;
            rest.push((*relation, self.sets(end)?));
        }
        Ok(if rest.is_empty() { first } else { Node::Relation(Box::new((first, rest))) })
    }

    fn sets(&mut self, end: End) -> Read {
        let mut left = self.ratio(end)?;
        let mut count = 0;
        loop {
            let operation = match self.peek() {
                Some(Token::Union) => SetOperation::Union,
                Some(Token::Intersection) => SetOperation::Intersection,
                Some(Token::Without) => SetOperation::Difference,
                _ => return Ok(left),
            };
            self.at += 1;
            count += 1;
            if count > DEEPEST {
                return Err(format!("it joins more than {DEEPEST} sets"));
            }
            left = Node::Sets(operation, Box::new((left, self.ratio(end)?)));
        }
    }

    /// Sums with colons between them: a ratio or a time of day.
    fn ratio(&mut self, end: End) -> Read {
        let (start, first) = (self.at, self.sum()?);
        if end == End::Set || self.peek() != Some(&Token::Colon) {
            return Ok(first);
        }
        let mut clock = self.hand(start, 1);
        let mut parts = vec![first];
        while self.take(&Token::Colon) {
            let start = self.at;
            parts.push(self.sum()?);
            clock &= self.hand(start, 2);
        }
        Ok(Node::Ratio(Box::new(Ratio { clock: clock && parts.len() <= 3, parts })))
    }

    /// Whether just a number of at most two digits, and at least `digits`, was read from `start` on.
    fn hand(&self, start: usize, digits: usize) -> bool {
        match self.tokens.get(start).map(|lexed| &lexed.token) {
            Some(Token::Number(number)) => {
                number.digits.is_some_and(|d| (digits..=2).contains(&d.len()) && (digits == 1 || d < "60"))
            }
            _ => false,
        }
    }

    pub(super) fn sum(&mut self) -> Read {
        let mut terms = Vec::new();
        loop {
            let mut negative = false;
            let mut both = None;
            loop {
                match self.peek() {
                    Some(Token::Plus) => {}
                    Some(Token::Minus) => negative = !negative,
                    Some(Token::PlusMinus(lower)) => both = Some(*lower),
                    // `-$5`
                    Some(Token::Currency) => self.unit = Some(words::CURRENCY),
                    _ => break,
                }
                self.at += 1;
            }
            let mut term = self.product()?;
            if negative {
                term = term.negated();
            }
            if let Some(lower) = both {
                term = Node::PlusMinus(lower, Box::new(term));
            }
            terms.push(term);
            match self.peek() {
                Some(Token::Plus | Token::Minus | Token::PlusMinus(_)) => {}
                _ => break,
            }
        }
        Ok(if terms.len() == 1 { terms.remove(0) } else { Node::Sum(terms) })
    }

    /// What a bracket holds: a number in parentheses, a tuple or an interval.
    pub(super) fn bracket(&mut self, open: Edge) -> Read {
        self.nested(|parser| {
            let bars = std::mem::take(&mut parser.bars);
            if parser.take(&Token::Close(open)) {
                return Err("a bracket is empty".to_owned());
            }
            let mut items = parser.items(End::Bracket)?;
            parser.bars = bars;
            let close = match parser.peek() {
                Some(Token::Close(close)) => *close,
                _ => return Err("a bracket is not closed".to_owned()),
            };
            parser.at += 1;
            if items.len() == 1 && open == close && open != Edge::Angle {
                return Ok(items.remove(0));
            }
            if items.len() == 1 || (open != close && (items.len() != 2 || open == Edge::Angle || close == Edge::Angle))
            {
                return Err("a bracket is closed by another kind".to_owned());
            }
            Ok(Node::Bracket(Box::new(super::node::Bracket { open, close, items })))
        })
    }

    /// What a set's braces hold.
    pub(super) fn set(&mut self) -> Read {
        self.nested(|parser| {
            let bars = std::mem::take(&mut parser.bars);
            if parser.take(&Token::SetClose) {
                return Ok(Node::Empty);
            }
            let mut items = parser.items(End::Set)?;
            let node = if items.len() == 1 && (parser.take(&Token::Bar) || parser.take(&Token::Colon)) {
                items = parser.items(End::Set)?;
                Node::Where(Box::new(if items.len() == 1 { items.remove(0) } else { Node::List(items) }))
            } else {
                Node::Set(items)
            };
            parser.bars = bars;
            parser.expect(&Token::SetClose)?;
            Ok(node)
        })
    }
}

/// Whether the token parts items of a list.
fn separates(token: &Token<'_>) -> bool {
    match token {
        Token::Comma | Token::Semicolon | Token::And => true,
        Token::Text(text) => words::separates(text),
        _ => false,
    }
}
