//! Matrices, sets of real numbers by their sign, and what is counted by choosing.

use super::node::{Bracket, Constant, Edge, Function, Matrix, Node, Relation, SetOperation};
use super::parser::{End, Letters, Parser, Read};
use super::token::{Numeral, Token};

impl Parser<'_, '_> {
    pub(super) fn matrix(&mut self, name: &str) -> Read {
        let kind = name.trim_end_matches('*');
        if !matches!(
            kind,
            "pmatrix" | "bmatrix" | "matrix" | "smallmatrix" | "array" | "vmatrix" | "Bmatrix" | "Vmatrix"
        ) {
            return Err(format!("the environment `{name}` is not known"));
        }
        if kind == "array" && self.take(&Token::BraceOpen) {
            while !self.take(&Token::BraceClose) {
                self.peek().ok_or("a brace is not closed")?;
                self.at += 1;
            }
        }
        let (mut items, mut columns, mut row) = (Vec::new(), 0, 0);
        loop {
            if matches!(self.peek(), Some(Token::End(_))) && row == 0 && columns > 0 {
                break; // a last row that is empty
            }
            items.push(self.list(End::Cell)?);
            row += 1;
            match self.peek() {
                Some(Token::Cell) => {
                    self.at += 1;
                    continue;
                }
                Some(Token::Row) => while self.take(&Token::Row) {},
                Some(Token::End(_)) => {}
                _ => return Err("a matrix is not closed".to_owned()),
            }
            if columns != 0 && columns != row {
                return Err("a matrix has rows of different lengths".to_owned());
            }
            columns = row;
            row = 0;
            if matches!(self.peek(), Some(Token::End(_))) {
                break;
            }
        }
        self.at += 1;
        Ok(Node::Matrix(Box::new(Matrix { columns, items, bars: kind == "vmatrix" })))
    }

    /// `\mathbb{R}`, or the part of it above or below zero: `\mathbb{R}_{\ge 0}`, `\mathbb{R}^+`.
    pub(super) fn reals(&mut self) -> Node {
        let braced = self.ahead(1) == Some(&Token::BraceOpen);
        let inner = 1 + usize::from(braced);
        let closes = |parser: &Self, long: usize| !braced || parser.ahead(inner + long) == Some(&Token::BraceClose);
        let zero = |token: Option<&Token<'_>>| matches!(token, Some(Token::Number(number)) if number.value.is_zero());
        let (relation, long) = match (self.peek(), self.ahead(inner)) {
            (Some(Token::Underscore), Some(Token::Relation(relation))) if zero(self.ahead(inner + 1)) => (*relation, 2),
            (Some(Token::Caret), Some(Token::Plus)) => (Relation::Greater, 1),
            (Some(Token::Caret), Some(Token::Minus)) => (Relation::Less, 1),
            (Some(Token::Caret), Some(Token::Times)) => (Relation::NotEqual, 1),
            _ => return Node::Reals,
        };
        if !closes(self, long) {
            return Node::Reals;
        }
        if relation == Relation::NotEqual {
            self.at += inner + long + usize::from(braced);
            let sets = Box::new((Node::Reals, Node::Set(vec![Node::int(0)])));
            return Node::Sets(SetOperation::Difference, sets);
        }
        let (none, infinity) = (Node::int(0), Node::Constant(Constant::Infinity));
        let (open, close, items) = match relation {
            Relation::Greater => (Edge::Outward, Edge::Outward, vec![none, infinity]),
            Relation::GreaterEqual => (Edge::Square, Edge::Round, vec![none, infinity]),
            Relation::Less => (Edge::Outward, Edge::Outward, vec![infinity.negated(), none]),
            Relation::LessEqual => (Edge::Round, Edge::Square, vec![infinity.negated(), none]),
            _ => return Node::Reals,
        };
        self.at += inner + long + usize::from(braced);
        Node::Bracket(Box::new(Bracket { open, close, items }))
    }

    /// `C_{10}^{3}`, `^{10}C_3`, `{}_{10}C_3` and `C(10, 3)`; `P` and `A` count in order. `None`, and nothing is
    /// read, for anything else.
    pub(super) fn chosen(&mut self) -> Result<Option<Node>, String> {
        let at = self.at;
        let Some(found) = self.choice() else {
            self.at = at;
            return Ok(None);
        };
        let (letter, n, k) = found;
        let choice = Node::Call(Function::Binomial, vec![n, k.clone()]);
        Ok(Some(match letter {
            "C" => choice,
            _ => Node::Product(vec![choice, Node::Call(Function::Factorial, vec![k])]),
        }))
    }

    /// The letter, from how many and how many are chosen.
    fn choice(&mut self) -> Option<(&'static str, Node, Node)> {
        match self.peek()? {
            Token::BraceOpen if self.ahead(1) == Some(&Token::BraceClose) => self.at += 2,
            Token::Caret | Token::Underscore | Token::Symbol("C" | "P" | "A") | Token::Text("C" | "P" | "A") => {}
            _ => return None,
        }
        // Before the letter, raised or lowered.
        if matches!(self.peek(), Some(Token::Caret | Token::Underscore)) {
            self.at += 1;
            let n = self.count()?;
            let letter = self.letter()?;
            self.at += usize::from(matches!(self.peek()?, Token::Caret | Token::Underscore));
            return Some((letter, n, self.count()?));
        }
        let letter = self.letter()?;
        match self.peek()? {
            Token::Underscore => {
                self.at += 1;
                let n = self.count()?;
                if !self.take(&Token::Caret) {
                    return None;
                }
                Some((letter, n, self.count()?))
            }
            Token::Caret => {
                self.at += 1;
                let k = self.count()?;
                if !self.take(&Token::Underscore) {
                    return None;
                }
                Some((letter, self.count()?, k))
            }
            // `P(5, 3)` may be a point.
            Token::Open(Edge::Round) if letter == "C" => {
                self.at += 1;
                let n = self.count()?;
                if !self.take(&Token::Comma) {
                    return None;
                }
                let k = self.count()?;
                (n.number()?.order(k.number()?).is_ge() && self.take(&Token::Close(Edge::Round)))
                    .then_some((letter, n, k))
            }
            _ => None,
        }
    }

    /// `10C5`, where letters are not variables.
    pub(super) fn chosen_between(&mut self, number: &Numeral<'_>) -> Option<Node> {
        let choose = matches!(self.peek(), Some(Token::Symbol("C") | Token::Text("C"))) && !self.spaced();
        if self.letters != Letters::Units || !choose {
            return None;
        }
        let Some(Token::Number(k)) = self.ahead(1) else { return None };
        if number.digits.is_none() || k.digits.is_none() {
            return None;
        }
        self.at += 2;
        let items = vec![Node::Number(number.value.clone()), Node::Number(k.value.clone())];
        Some(Node::Call(Function::Binomial, items))
    }

    fn letter(&mut self) -> Option<&'static str> {
        let letter = match self.peek()? {
            Token::Symbol("C") | Token::Text("C") => "C",
            Token::Symbol("P") | Token::Text("P") => "P",
            Token::Symbol("A") | Token::Text("A") => "A",
            _ => return None,
        };
        self.at += 1;
        Some(letter)
    }

    /// A whole number, in braces or without.
    fn count(&mut self) -> Option<Node> {
        let braced = self.take(&Token::BraceOpen);
        let Token::Number(number) = self.peek()? else { return None };
        number.digits?;
        self.at += 1;
        (!braced || self.take(&Token::BraceClose)).then(|| Node::Number(number.value.clone()))
    }

    /// `\cis x`.
    pub(super) fn cis(&mut self) -> Read {
        let mut arguments = self.arguments(Function::Cos)?;
        let angle = arguments.pop().ok_or("a function has no argument")?;
        let sine = Node::Product(vec![Node::Constant(Constant::I), Node::Call(Function::Sin, vec![angle.clone()])]);
        Ok(Node::Sum(vec![Node::Call(Function::Cos, vec![angle]), sine]))
    }
}

/// A matrix with its rows as columns; a vector in brackets is the same either way.
pub(super) fn transposed(node: &Node) -> Option<Node> {
    match node {
        Node::Bracket(_) => Some(node.clone()),
        Node::Matrix(matrix) if !matrix.bars => {
            let rows = matrix.items.len() / matrix.columns.max(1);
            let cell = |at: usize| matrix.items[at % rows * matrix.columns + at / rows].clone();
            let items = (0..matrix.items.len()).map(cell).collect();
            Some(Node::Matrix(Box::new(Matrix { columns: rows, items, bars: false })))
        }
        _ => None,
    }
}
