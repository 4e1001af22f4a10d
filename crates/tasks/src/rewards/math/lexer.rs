//! Text into tokens.

use num_bigint::BigInt;
use num_rational::BigRational;

use super::exact::Exact;
use super::node::{Edge, Relation};
use super::token::{Lexed, Numeral, Token, character, command, plain};

/// Most tokens of an answer.
const MOST_TOKENS: usize = 4000;

/// The tokens of `text`, or what cannot be read.
pub(super) fn tokens(text: &str, decimal_comma: bool) -> Result<Vec<Lexed<'_>>, String> {
    let mut lexer = Lexer { text, bytes: text.as_bytes(), at: 0, depth: 0, decimal_comma };
    let mut all = Vec::new();
    while let Some(lexed) = lexer.next()? {
        if lexed.token == Token::Nothing {
            continue;
        }
        if all.len() >= MOST_TOKENS {
            return Err(format!("it has more than {MOST_TOKENS} tokens"));
        }
        all.push(lexed);
    }
    Ok(all)
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Open round and square brackets and sets: a comma separates there.
    depth: usize,
    decimal_comma: bool,
}

impl<'a> Lexer<'a> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn next(&mut self) -> Result<Option<Lexed<'a>>, String> {
        let space = self.skip_space();
        let Some(&byte) = self.bytes.get(self.at) else { return Ok(None) };
        if byte.is_ascii_digit() || (byte == b'.' && self.peek(1).is_ascii_digit()) {
            return Ok(Some(Lexed { token: self.number()?, space }));
        }
        if byte.is_ascii_alphabetic() {
            return Ok(Some(Lexed { token: self.letters(), space }));
        }
        if byte == b'\\' {
            return Ok(Some(Lexed { token: self.backslash()?, space }));
        }
        let c = self.rest().chars().next().unwrap_or(' ');
        self.at += c.len_utf8();
        let follows = |wanted: u8, this: &mut Self| {
            let there = this.peek(0) == wanted;
            this.at += usize::from(there);
            there
        };
        let token = match c {
            '+' if self.rest().starts_with("/-") => {
                self.at += 2;
                Token::PlusMinus(false)
            }
            '+' => Token::Plus,
            '-' => Token::Minus,
            '*' => {
                if follows(b'*', self) {
                    Token::Caret
                } else {
                    Token::Times
                }
            }
            '/' => Token::Slash,
            '^' => Token::Caret,
            '_' => Token::Underscore,
            '!' if self.peek(0) == b'=' => {
                self.at += 1;
                Token::Relation(Relation::NotEqual)
            }
            '!' => Token::Bang,
            '%' => Token::Percent,
            '(' => self.open(Edge::Round),
            ')' => self.close(Edge::Round),
            '[' => self.open(Edge::Square),
            ']' => self.close(Edge::Square),
            '{' => Token::BraceOpen,
            '}' => Token::BraceClose,
            '|' => Token::Bar,
            ',' => Token::Comma,
            ';' => Token::Semicolon,
            ':' => Token::Colon,
            '=' => {
                follows(b'=', self);
                Token::Relation(Relation::Equal)
            }
            '<' if follows(b'=', self) => Token::Relation(Relation::LessEqual),
            '<' => Token::Relation(Relation::Less),
            '>' if follows(b'=', self) => Token::Relation(Relation::GreaterEqual),
            '>' => Token::Relation(Relation::Greater),
            '&' => Token::Cell,
            '$' if self.peek(0).is_ascii_digit() => Token::Currency,
            '$' | '`' => Token::Nothing,
            '.' if self.rest().trim_start().is_empty() => Token::Nothing,
            other => character(other).ok_or_else(|| format!("`{other}` means nothing here"))?,
        };
        Ok(Some(Lexed { token, space }))
    }

    fn open(&mut self, edge: Edge) -> Token<'static> {
        self.depth += 1;
        Token::Open(edge)
    }

    fn close(&mut self, edge: Edge) -> Token<'static> {
        self.depth = self.depth.saturating_sub(1);
        Token::Close(edge)
    }

    /// Skips white space and LaTeX's spacing; whether there was any that parts numbers.
    fn skip_space(&mut self) -> bool {
        let start = self.at;
        let mut parts = self.at == 0;
        loop {
            match self.peek(0) {
                b' ' | b'\t' | b'\n' | b'\r' | b'~' => {
                    parts = true;
                    self.at += 1;
                }
                b'\\' => match self.peek(1) {
                    b'!' => self.at += 2,
                    b',' | b';' | b':' | b' ' | b'>' | b'\n' => {
                        parts = true;
                        self.at += 2;
                    }
                    _ => break,
                },
                0xc2 if self.peek(1) == 0xa0 => {
                    parts = true;
                    self.at += 2;
                }
                _ => break,
            }
        }
        parts && self.at > start
    }

    fn letters(&mut self) -> Token<'a> {
        let start = self.at;
        while self.peek(0).is_ascii_alphabetic() {
            self.at += 1;
        }
        let word = &self.text[start..self.at];
        if word.len() == 1 {
            return match word {
                "U" if self.depth == 0 && self.text[..start].trim_end().ends_with([')', ']', '}']) => Token::Union,
                _ => Token::Symbol(word),
            };
        }
        if let Some(token) = plain(word) {
            return token;
        }
        let lower = word.to_ascii_lowercase();
        if matches!(lower.as_str(), "sqrt" | "and" | "or" | "infinity" | "union")
            && let Some(token) = plain(&lower)
        {
            return token;
        }
        // `sinx`, `lnx`: the function, and the letter again.
        let (head, tail) = word.split_at(word.len() - 1);
        if tail.chars().all(|c| c.is_ascii_lowercase())
            && let Some(token @ Token::Function(_)) = plain(head)
        {
            self.at -= 1;
            return token;
        }
        Token::Word(word)
    }

    fn backslash(&mut self) -> Result<Token<'a>, String> {
        self.at += 1;
        let start = self.at;
        while self.peek(0).is_ascii_alphabetic() {
            self.at += 1;
        }
        let name = &self.text[start..self.at];
        if name.is_empty() {
            let c = self.rest().chars().next().ok_or("it ends in a backslash")?;
            self.at += c.len_utf8();
            return Ok(match c {
                '{' => {
                    self.depth += 1;
                    Token::SetOpen
                }
                '}' => {
                    self.depth = self.depth.saturating_sub(1);
                    Token::SetClose
                }
                '|' => Token::Bar,
                '%' => Token::Percent,
                '$' => Token::Currency,
                '\\' => Token::Row,
                '(' | ')' | '[' | ']' | '&' | '#' => Token::Nothing,
                '_' => Token::Underscore,
                other => return Err(format!("`\\{other}` means nothing here")),
            });
        }
        match name {
            "text" | "mbox" | "textbf" | "textit" | "textrm" | "textnormal" | "mathrm" | "operatorname" | "hbox"
            | "emph" | "texttt" | "mathsf" | "textsf" | "mathtt" => {
                self.skip_star().group().map(|text| match text.trim() {
                    "e" if name == "mathrm" => Token::Symbol("e"),
                    "i" if name == "mathrm" => Token::Symbol("i"),
                    other if name == "operatorname" || name == "mathrm" => plain(other).unwrap_or(Token::Text(text)),
                    _ => Token::Text(text),
                })
            }
            "mathbb" | "Bbb" => match self.group()?.trim() {
                "R" => Ok(Token::Reals),
                other => Err(format!("the set `{other}` is not known")),
            },
            "begin" => self.group().map(|name| {
                self.depth += 1;
                Token::Begin(name)
            }),
            "end" => self.group().map(|name| {
                self.depth = self.depth.saturating_sub(1);
                Token::End(name)
            }),
            "left" | "right" => {
                // `\left.`: a bracket that is not drawn.
                if self.peek(0) == b'.' {
                    self.at += 1;
                }
                Ok(Token::Nothing)
            }
            name => {
                let token = command(name).ok_or_else(|| format!("the command `\\{name}` is not known"))?;
                match token {
                    Token::Open(_) => self.depth += 1,
                    Token::Close(_) => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
                Ok(token)
            }
        }
    }

    fn skip_star(&mut self) -> &mut Self {
        self.at += usize::from(self.peek(0) == b'*');
        self
    }

    /// What stands between braces here, or the next character.
    fn group(&mut self) -> Result<&'a str, String> {
        self.skip_space();
        if self.peek(0) != b'{' {
            let c = self.rest().chars().next().ok_or("a command has no argument")?;
            let start = self.at;
            self.at += c.len_utf8();
            return Ok(&self.text[start..self.at]);
        }
        let end = closing_brace(self.bytes, self.at).ok_or("a brace is not closed")?;
        let inner = &self.text[self.at + 1..end];
        self.at = end + 1;
        Ok(inner)
    }

    /// Digits from `at` on.
    fn run(&self, at: usize) -> usize {
        at + self.bytes[at.min(self.bytes.len())..].iter().take_while(|b| b.is_ascii_digit()).count()
    }

    /// The length of a separator of thousands at `at`, if exactly three digits follow it.
    fn separator(&self, at: usize) -> Option<usize> {
        let rest = &self.bytes[at..];
        let spaced = |from: usize| from + rest[from.min(rest.len())..].iter().take_while(|b| **b == b' ').count();
        let long = if [&b"{,}"[..], b",\\!"].iter().any(|mark| rest.starts_with(mark)) || rest.starts_with(b",\\,") {
            spaced(3)
        } else if rest.starts_with(b"\\,") {
            2
        } else if rest.starts_with(b"\xe2\x80\xaf") || rest.starts_with(b"\xe2\x80\x89") {
            3
        } else if rest.starts_with(b"\xc2\xa0") {
            2
        } else {
            match rest.first() {
                Some(b',') if self.depth == 0 && !self.decimal_comma => 1,
                Some(b'.') if self.decimal_comma => 1,
                Some(b' ') if self.depth == 0 => 1,
                _ => return None,
            }
        };
        let end = self.run(at + long);
        let fraction = rest[0] == b' ' && self.bytes.get(end) == Some(&b'/');
        (end == at + long + 3 && !fraction).then_some(long)
    }

    fn number(&mut self) -> Result<Token<'a>, String> {
        let start = self.at;
        let mut end = self.run(start);
        let mut digits = std::borrow::Cow::Borrowed(&self.text[start..end]);
        let mut bare = true;
        if (1..=3).contains(&digits.len()) && !digits.starts_with('0') {
            while let Some(long) = self.separator(end) {
                digits.to_mut().push_str(&self.text[end + long..end + long + 3]);
                end += long + 3;
                bare = false;
            }
        }
        let point = self.bytes.get(end) == Some(&if self.decimal_comma { b',' } else { b'.' });
        let mut places = None;
        if point {
            let to = self.run(end + 1);
            if to > end + 1 {
                digits.to_mut().push_str(&self.text[end + 1..to]);
                places = Some((to - end - 1) as u32);
                end = to;
            }
            let after = if places.is_some() { end } else { end + 1 };
            if let Some(repeating) = self.repeating(after) {
                return self.periodic(&digits, places.unwrap_or(0), repeating);
            }
        }
        let mut exponent = 0_i64;
        if matches!(self.bytes.get(end), Some(b'e' | b'E')) {
            let signed = usize::from(matches!(self.bytes.get(end + 1), Some(b'+' | b'-')));
            let to = self.run(end + 1 + signed);
            if to > end + 1 + signed && !self.bytes.get(to).is_some_and(u8::is_ascii_alphabetic) {
                let power: i64 = self.text[end + 1 + signed..to].parse().unwrap_or(i64::MAX / 4);
                exponent = if self.bytes[end + 1] == b'-' { -power } else { power };
                end = to;
                bare = false;
            }
        }
        self.at = end;
        let value = Exact::decimal(&digits, places.unwrap_or(0), exponent).ok_or("a number is too large")?;
        let significant = digits.trim_start_matches('0').len() as u32;
        let digits = (bare && places.is_none()).then(|| &self.text[start..end]);
        Ok(Token::Number(Numeral { value, places, significant, digits }))
    }

    /// The digits of `\overline{12}` at `at`, and where it ends.
    fn repeating(&self, at: usize) -> Option<(&'a str, usize)> {
        let rest = self.text.get(at..)?;
        let inner = rest.strip_prefix("\\overline{").or_else(|| rest.strip_prefix("\\overline "))?;
        let long = inner.bytes().take_while(u8::is_ascii_digit).count();
        let closed = usize::from(inner[long..].starts_with('}'));
        ((1..=200).contains(&long)).then(|| (&inner[..long], at + "\\overline{".len() + long + closed))
    }

    /// A decimal whose digits repeat.
    fn periodic(&mut self, digits: &str, places: u32, (period, end): (&str, usize)) -> Result<Token<'a>, String> {
        if digits.len() > 200 {
            return Err("a number is too large".to_owned());
        }
        self.at = end;
        let whole = |text: &str| BigInt::parse_bytes(text.as_bytes(), 10).unwrap_or_default();
        let ten = |power: u32| BigInt::from(10).pow(power);
        let nines = ten(period.len() as u32) - 1;
        let value = BigRational::new(whole(digits) * &nines + whole(period), nines * ten(places));
        Ok(Token::Number(Numeral { value: Exact::from_big(value), places: None, significant: 0, digits: None }))
    }
}

/// Where the brace at `open` is closed; escaped braces do not count.
pub(super) fn closing_brace(bytes: &[u8], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = open;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}
