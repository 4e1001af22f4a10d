//! Tokens into mathematics: lists, relations, sets and sums. What a term is made of stands in `term.rs`.

use super::lexer::tokens;
use super::node::{Edge, Node, Ratio, Relation, SetOperation, Unit};
use super::token::{Lexed, Token};
use super::{brackets, relation, words};

/// Deepest nesting of brackets, arguments and exponents that is read.
const DEEPEST: usize = 24;
/// Deepest tree that is read: no later step recurses further, so that half a megabyte of stack is enough.
const DEEPEST_TREE: usize = 36;

/// Reads `text` as mathematics.
///
/// Letters are variables; where `letters` says so, they are units and multiples behind a number: `25 m/s`, `70k`.
pub(super) fn parse(text: &str, decimal_comma: bool, letters: Letters) -> Result<Node, String> {
    let mut tokens = tokens(text, decimal_comma)?;
    brackets::turn_outward(&mut tokens);
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0, unit: None, bars: 0, letters, congruent: false };
    while let Some(Token::Comma | Token::Hence) = parser.peek() {
        parser.at += 1;
    }
    // `\text{The solutions are }1\text{ and }-2`
    if let Some(Token::Text(text)) = parser.peek()
        && words::introduces(text)
        && parser.ahead(1).is_some()
    {
        parser.at += 1;
    }
    let node = parser.list(End::Text)?;
    while parser.peek() == Some(&Token::Row) {
        parser.at += 1;
    }
    let texts = tokens.iter().any(|lexed| matches!(lexed.token, Token::Text(_)));
    match parser.peek() {
        None if texts && node.any(&computes_with_text) => Err("it computes with words".to_owned()),
        None if node.is_deeper(DEEPEST_TREE) => Err(format!("it is nested deeper than {DEEPEST_TREE}")),
        None => Ok(node),
        Some(token) => Err(format!("{token:?} stands where nothing can follow")),
    }
}

/// Whether words are added to or multiplied by something.
fn computes_with_text(node: &Node) -> bool {
    let text = |node: &Node| matches!(node, Node::Text(_));
    match node {
        Node::Sum(items) | Node::Product(items) | Node::Call(_, items) => items.iter().any(text),
        Node::Power(pair) | Node::Root(pair) => text(&pair.0) || text(&pair.1),
        Node::Percent(inner) | Node::Degrees(inner) | Node::PlusMinus(_, inner) => text(inner),
        _ => false,
    }
}

/// What single letters behind a number are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letters {
    Variables,
    Units,
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
    pub(super) letters: Letters,
    /// `\equiv` was read: "mod" says by what.
    pub(super) congruent: bool,
}

/// What parts the items of a list.
#[derive(Clone, Copy, Default)]
pub(super) struct Joined {
    or: bool,
    comma: bool,
    /// How many items stand before the first semicolon.
    row: Option<usize>,
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

    /// Items between commas, "and" or "or".
    pub(super) fn list(&mut self, end: End) -> Read {
        let (mut items, joined) = self.joined(end)?;
        if items.len() == 1 {
            return Ok(items.remove(0));
        }
        if joined.or && items.iter().all(is_condition) && items.iter().any(is_set) {
            let mut items = items.into_iter();
            let first = items.next().unwrap_or(Node::Empty);
            return Ok(items.fold(first, |all, item| Node::Sets(SetOperation::Union, Box::new((all, item)))));
        }
        Ok(Node::List(if end == End::Text { distributed(items) } else { items }))
    }

    pub(super) fn items(&mut self, end: End) -> Result<Vec<Node>, String> {
        Ok(self.joined(end)?.0)
    }

    fn joined(&mut self, end: End) -> Result<(Vec<Node>, Joined), String> {
        let mut items = vec![self.item(end)?];
        let mut joined = Joined::default();
        loop {
            let mut parted = false;
            while let Some(token) = self.peek().filter(|token| separates(token, end)) {
                joined.or |= matches!(token, Token::Or) || matches!(token, Token::Text(text) if words::is_or(text));
                joined.comma |= *token == Token::Comma;
                if *token == Token::Semicolon {
                    joined.row.get_or_insert(items.len());
                }
                self.at += 1;
                parted = true;
            }
            if end == End::Text && self.condition_follows() {
                items.push(self.condition()?);
                continue;
            }
            if !parted || self.ends(end) {
                return Ok((items, joined));
            }
            if items.len() >= 2000 {
                return Err("a list has too many items".to_owned());
            }
            items.push(self.item(end)?);
        }
    }

    /// Whether `(n \in \mathbb{Z})` or `where n \in \mathbb{Z}` stands here.
    pub(super) fn condition_follows(&self) -> bool {
        let lead = match self.peek() {
            Some(Token::Open(Edge::Round)) => true,
            Some(Token::Text(text) | Token::Word(text)) => matches!(text.trim(), "where" | "for" | "with"),
            _ => false,
        };
        let of = |ahead| {
            matches!(self.ahead(ahead), Some(Token::Symbol(_)))
                && self.ahead(ahead + 1) == Some(&Token::Relation(Relation::In))
        };
        lead && of(1)
    }

    fn condition(&mut self) -> Read {
        let bracket = self.take(&Token::Open(Edge::Round));
        self.at += usize::from(!bracket);
        let node = self.relation(End::Text)?;
        if bracket {
            self.expect(&Token::Close(Edge::Round))?;
        }
        Ok(node)
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
        if self.peek() == Some(&Token::Dots)
            && self
                .ahead(1)
                .is_none_or(|next| separates(next, end) || matches!(next, Token::SetClose | Token::Close(_)))
        {
            self.at += 1;
            return Ok(Node::Text(DOTS.into()));
        }
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
        while matches!(self.peek(), Some(Token::Relation(Relation::Equal | Relation::Near))) {
            self.at += 1;
        }
        let first = self.sets(end)?;
        let mut rest: Vec<(Relation, Node)> = Vec::new();
        while let Some(Token::Relation(relation)) = self.peek() {
            self.at += 1;
            self.congruent |= *relation == Relation::Congruent;
            let right = self.sets(end)?;
            if *relation == Relation::Near {
                // A constant is the value; what is near to it only shows it in decimals.
                let left = rest.last().map_or(&first, |(_, node)| node);
                if left.any(&|node| matches!(node, Node::Symbol(_) | Node::Text(_))) {
                    rest.push((Relation::Equal, right));
                }
            } else {
                rest.push((*relation, right));
            }
        }
        self.modulo()?;
        Ok(if rest.is_empty() { first } else { Node::Relation(Box::new((first, rest))) })
    }

    fn sets(&mut self, end: End) -> Read {
        let mut left = difference(self.ratio(end)?);
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
        let (start, first) = (self.at, self.over()?);
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

    /// A sum, and with `\over` or `\choose` behind it another.
    fn over(&mut self) -> Read {
        let first = self.sum()?;
        match self.peek() {
            Some(Token::Over) => {
                self.at += 1;
                let bottom = self.sum()?;
                Ok(Node::Product(vec![first, Node::Power(Box::new((bottom, Node::int(-1))))]))
            }
            Some(Token::Choose) => {
                self.at += 1;
                Ok(Node::Call(super::node::Function::Binomial, vec![first, self.sum()?]))
            }
            _ => Ok(first),
        }
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
                    Some(Token::Currency(name)) => self.unit = Some(Unit::Known(vec![(*name, 1)])),
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
            let (mut items, joined) = parser.joined(End::Bracket)?;
            parser.bars = bars;
            let close = match parser.peek() {
                Some(Token::Close(close)) => *close,
                _ => return Err("a bracket is not closed".to_owned()),
            };
            parser.at += 1;
            if items.len() == 1 && open == close && matches!(open, Edge::Round | Edge::Square) {
                return Ok(items.remove(0));
            }
            // `[1, 2; 3, 4]`: rows of a matrix.
            if let Some(columns) = joined.row
                && joined.comma
                && (open, close) == (Edge::Square, Edge::Square)
                && items.len() % columns == 0
            {
                return Ok(Node::Matrix(Box::new(super::node::Matrix { columns, items, bars: false })));
            }
            let interval = open != close || open == Edge::Outward;
            if items.len() == 1 || (interval && (items.len() != 2 || open == Edge::Angle || close == Edge::Angle)) {
                return Err("a bracket is closed by another kind".to_owned());
            }
            Ok(Node::Bracket(Box::new(super::node::Bracket { open, close, items })))
        })
    }

    /// What a set's braces hold.
    pub(super) fn set(&mut self) -> Read {
        self.nested(|parser| {
            // `{x | x > 2}`: a bar behind the variable opens nothing.
            let said_of = matches!(parser.peek(), Some(Token::Symbol(_)))
                && matches!(parser.ahead(1), Some(Token::Bar | Token::Relation(Relation::In)));
            let bars = std::mem::replace(&mut parser.bars, usize::from(said_of));
            if parser.take(&Token::SetClose) {
                parser.bars = bars;
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

/// `\mathbb{R} - \{0\}` as a difference of sets.
fn difference(node: Node) -> Node {
    let Node::Sum(mut terms) = node else { return node };
    let set = match &terms[..] {
        [Node::Reals | Node::Bracket(_), Node::Product(factors)] => match &factors[..] {
            [Node::Number(sign), set @ Node::Set(_)] if sign.is_negative() => Some(set.clone()),
            _ => None,
        },
        _ => None,
    };
    match set {
        Some(set) => Node::Sets(SetOperation::Difference, Box::new((terms.swap_remove(0), set))),
        None => Node::Sum(terms),
    }
}

/// An ellipsis as an item of a list.
pub(super) const DOTS: &str = "…";

/// Whether the token parts items of a list.
fn separates(token: &Token<'_>, end: End) -> bool {
    match token {
        Token::Comma | Token::Semicolon | Token::And | Token::Or => true,
        Token::Cell => end == End::Text,
        Token::Text(text) => words::separates(text),
        _ => false,
    }
}

/// Whether "or" before or behind it may join sets of numbers.
fn is_condition(node: &Node) -> bool {
    matches!(node, Node::Relation(_) | Node::Bracket(_) | Node::Sets(..) | Node::Where(_))
}

/// Whether it can only be a set of numbers: an inequality, or an interval that is no point.
fn is_set(node: &Node) -> bool {
    match node {
        Node::Relation(chain) => chain.1.iter().any(|(relation, _)| {
            !matches!(relation, Relation::Equal | Relation::NotEqual | Relation::Congruent | Relation::Near)
        }),
        Node::Bracket(bracket) => relation::is_interval(bracket),
        Node::Sets(..) | Node::Where(_) => true,
        _ => false,
    }
}

/// `n = 2, 3, 4`: the name is every value's.
fn distributed(items: Vec<Node>) -> Vec<Node> {
    let Some(Node::Relation(chain)) = items.first() else { return items };
    let ([(Relation::Equal, value)], true) = (&chain.1[..], matches!(chain.0, Node::Symbol(_))) else { return items };
    let plain = |node: &Node| {
        !node.any(&|node| matches!(node, Node::Symbol(_) | Node::Text(_) | Node::Relation(_) | Node::Bracket(_)))
    };
    if !plain(value) || !items[1..].iter().all(plain) {
        return items;
    }
    let name = chain.0.clone();
    let named = |node: Node| Node::Relation(Box::new((name.clone(), vec![(Relation::Equal, node)])));
    let mut items = items.into_iter();
    let first = items.next();
    first.into_iter().chain(items.map(named)).collect()
}
