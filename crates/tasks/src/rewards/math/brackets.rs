//! Intervals as `]a, b[`, whose square brackets are turned outward.

use super::node::Edge;
use super::token::{Lexed, Token};

/// Makes square brackets that open where they usually close, and the other way round, tokens of their own.
pub(super) fn turn_outward(tokens: &mut [Lexed<'_>]) {
    if !tokens.iter().any(|lexed| matches!(lexed.token, Token::Open(Edge::Square) | Token::Close(Edge::Square))) {
        return;
    }
    // For each open bracket: whether a comma stands in it.
    let mut open: Vec<bool> = Vec::new();
    for at in 0..tokens.len() {
        let value_before = at > 0 && ends_value(&tokens[at - 1].token);
        let value_behind = tokens.get(at + 1).is_some_and(|next| starts_value(&next.token));
        match tokens[at].token {
            Token::Open(Edge::Square) if value_before && !value_behind && open.last() == Some(&true) => {
                tokens[at].token = Token::Close(Edge::Outward);
                open.pop();
            }
            Token::Close(Edge::Square) if !value_before && value_behind => {
                tokens[at].token = Token::Open(Edge::Outward);
                open.push(false);
            }
            Token::Open(_) | Token::SetOpen | Token::BraceOpen => open.push(false),
            Token::Close(_) | Token::SetClose | Token::BraceClose => {
                open.pop();
            }
            Token::Comma | Token::Semicolon => {
                if let Some(comma) = open.last_mut() {
                    *comma = true;
                }
            }
            _ => {}
        }
    }
}

fn ends_value(token: &Token<'_>) -> bool {
    matches!(
        token,
        Token::Number(_)
            | Token::Symbol(_)
            | Token::Word(_)
            | Token::Constant(_)
            | Token::Close(_)
            | Token::BraceClose
            | Token::SetClose
            | Token::Bang
            | Token::Percent
            | Token::Degree
            | Token::Bar
            | Token::Floor(false)
            | Token::Ceil(false)
            | Token::End(_)
    )
}

fn starts_value(token: &Token<'_>) -> bool {
    matches!(
        token,
        Token::Number(_)
            | Token::Symbol(_)
            | Token::Word(_)
            | Token::Constant(_)
            | Token::Function(_)
            | Token::Fraction
            | Token::Root(_)
            | Token::Binomial
            | Token::Open(_)
            | Token::BraceOpen
            | Token::Plus
            | Token::Minus
            | Token::Bar
            | Token::Floor(true)
            | Token::Ceil(true)
            | Token::Begin(_)
    )
}
