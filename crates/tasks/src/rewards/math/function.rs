//! Functions and what they are applied to.

use super::node::{Edge, Function, Node};
use super::parser::{End, Parser, Read};
use super::token::Token;

impl Parser<'_, '_> {
    /// A function with its exponent, its base and what it is applied to.
    pub(super) fn call(&mut self, function: Function) -> Read {
        let mut base = None;
        let mut exponent = None;
        loop {
            if function == Function::Log && base.is_none() && self.take(&Token::Underscore) {
                base = Some(match self.peek() {
                    Some(Token::BraceOpen) => self.argument()?,
                    _ => self.atom()?,
                });
            } else if exponent.is_none() && self.take(&Token::Caret) {
                exponent = Some(self.exponent()?);
            } else {
                break;
            }
        }
        let mut arguments = self.arguments(function)?;
        let mut function = function;
        let inverse = exponent.as_ref().and_then(Node::number).is_some_and(|e| e.as_i64() == Some(-1));
        if inverse {
            let arc = match function {
                Function::Sin => Some(Function::Arcsin),
                Function::Cos => Some(Function::Arccos),
                Function::Tan => Some(Function::Arctan),
                _ => None,
            };
            if let Some(arc) = arc {
                function = arc;
                exponent = None;
            }
        }
        if function == Function::Log {
            arguments.insert(0, base.unwrap_or_else(|| Node::int(10)));
        }
        let node = Node::Call(function, arguments);
        Ok(match exponent {
            Some(exponent) => Node::Power(Box::new((node, exponent))),
            None => node,
        })
    }

    pub(super) fn arguments(&mut self, function: Function) -> Result<Vec<Node>, String> {
        use Function::{Binomial, Gcd, Lcm, Max, Min};
        if self.peek() == Some(&Token::Open(Edge::Round)) {
            self.at += 1;
            let items = self.items(End::Bracket)?;
            self.expect(&Token::Close(Edge::Round))?;
            let many = matches!(function, Gcd | Lcm | Max | Min | Binomial);
            if items.len() != 1 && !many {
                return Err("a function has more than one argument".to_owned());
            }
            return Ok(items);
        }
        // Without parentheses: a product, up to a sign or another function.
        let mut factors = vec![self.power()?];
        let mut inverse;
        while factors.len() < 64 {
            inverse = false;
            match self.peek() {
                Some(Token::Slash) => {
                    self.at += 1;
                    inverse = true;
                }
                Some(
                    Token::Symbol(_)
                    | Token::Constant(_)
                    | Token::Fraction
                    | Token::Root(_)
                    | Token::Number(_)
                    | Token::BraceOpen,
                ) if self.implicit() => {}
                Some(Token::Word(word)) if word.len() <= 3 && self.implicit() => {}
                _ => break,
            }
            let factor = self.power()?;
            factors.push(if inverse { Node::Power(Box::new((factor, Node::int(-1)))) } else { factor });
        }
        Ok(vec![if factors.len() == 1 { factors.remove(0) } else { Node::Product(factors) }])
    }
}
