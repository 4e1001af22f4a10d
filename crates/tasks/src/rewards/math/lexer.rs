//! Text into tokens.

use super::exact::Exact;
use super::node::{Edge, Relation};
use super::token::{Lexed, Token, character, command, plain};
use super::{layout, units};

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

pub(super) struct Lexer<'a> {
    pub(super) text: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    /// Open round and square brackets and sets: a comma separates there.
    pub(super) depth: usize,
    pub(super) decimal_comma: bool,
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
        if byte.is_ascii_digit() || (byte == b'.' && (self.peek(1).is_ascii_digit() || self.repeats())) {
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
            ':' if follows(b'=', self) => Token::Relation(Relation::Equal),
            ':' => Token::Colon,
            '=' if follows(b'>', self) => Token::Hence,
            '=' => {
                follows(b'=', self);
                Token::Relation(Relation::Equal)
            }
            '<' if follows(b'=', self) => Token::Relation(Relation::LessEqual),
            '<' => Token::Relation(Relation::Less),
            '>' if follows(b'=', self) => Token::Relation(Relation::GreaterEqual),
            '>' => Token::Relation(Relation::Greater),
            '&' => Token::Cell,
            '$' if self.peek(0).is_ascii_digit() => Token::Currency("$"),
            '$' | '`' => Token::Nothing,
            '.' if self.rest().starts_with("..") => {
                self.at += 2;
                Token::Dots
            }
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
            if self.peek(0) == b'\'' {
                while self.peek(0) == b'\'' {
                    self.at += 1;
                }
                return Token::Symbol(&self.text[start..self.at]);
            }
            if matches!(word, "x" | "X") && self.multiplies(start) {
                return Token::Times;
            }
            return match word {
                "U" if self.depth == 0 && self.text[..start].trim_end().ends_with([')', ']', '}']) => Token::Union,
                _ => Token::Symbol(word),
            };
        }
        if let Some(token) = plain(word) {
            return token;
        }
        match word {
            "minus" => return Token::Minus,
            "plus" => return Token::Plus,
            "negative" if self.rest().trim_start().starts_with(|c: char| c.is_ascii_digit()) => return Token::Minus,
            "US" if self.rest().starts_with(['$', '\\']) => return Token::Nothing,
            _ => {}
        }
        if word == "Matrix" && self.peek(0) == b'(' {
            return Token::Nothing;
        }
        if let Some(currency) = units::currency(word, self.peek(0) == b'.') {
            self.at += usize::from(self.peek(0) == b'.');
            return Token::Currency(currency);
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
            && !units::is_unit(word)
            && let Some(token @ Token::Function(_)) = plain(head)
        {
            self.at -= 1;
            return token;
        }
        Token::Word(word)
    }

    /// Whether the letter x at `start` stands for a sign of multiplication: `1.2 x 10^5`.
    fn multiplies(&self, start: usize) -> bool {
        let behind = self.rest().trim_start();
        self.text[..start].trim_end().ends_with(|c: char| c.is_ascii_digit())
            && ["10^", "10**", "10 ^"].iter().any(|ten| behind.starts_with(ten))
    }

    /// Whether repeating digits stand behind the point here: `.\overline{3}`.
    fn repeats(&self) -> bool {
        ["\\overline{", "\\bar{", "\\dot{"].iter().any(|mark| self.rest()[1..].starts_with(mark))
    }

    fn backslash(&mut self) -> Result<Token<'a>, String> {
        self.at += 1;
        let start = self.at;
        while self.peek(0).is_ascii_alphabetic() {
            self.at += 1;
        }
        let name = &self.text[start..self.at];
        if name.is_empty() {
            // A space at the end is cut off with the others there.
            let Some(c) = self.rest().chars().next() else { return Ok(Token::Nothing) };
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
                '$' => Token::Currency("$"),
                '\\' => {
                    self.row();
                    Token::Row
                }
                '&' => Token::Cell,
                '(' | ')' | '[' | ']' | '#' | '/' => Token::Nothing,
                '_' => Token::Underscore,
                other => return Err(format!("`\\{other}` means nothing here")),
            });
        }
        match name {
            "text"
            | "mbox"
            | "textbf"
            | "textit"
            | "textrm"
            | "textnormal"
            | "mathrm"
            | "operatorname"
            | "hbox"
            | "emph"
            | "texttt"
            | "mathsf"
            | "textsf"
            | "mathtt"
            | "textsc"
            | "textmd"
            | "textup"
            | "rmtext"
            | "operatornamewithlimits"
            | "mathop" => self.text_command(start, name),
            "mathbb" | "Bbb" | "mathbf" if self.sets(name) => match self.group()?.trim() {
                "R" => Ok(Token::Reals),
                "Z" => Ok(Token::Symbol("ℤ")),
                "N" => Ok(Token::Symbol("ℕ")),
                "Q" => Ok(Token::Symbol("ℚ")),
                "C" => Ok(Token::Symbol("ℂ")),
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
            // `\rm{cm}`
            "rm" if self.rest().starts_with('{') => {
                let start = self.at;
                let inner = self.group()?;
                if units::is_unit(inner) {
                    return Ok(Token::Text(inner));
                }
                self.at = start;
                Ok(Token::Nothing)
            }
            "top" | "intercal" => Ok(Token::Symbol("T")),
            "cr" => Ok(Token::Row),
            "not" => self.negated(),
            "prime" => Err("a derivative is not known".to_owned()),
            // A segment; of anything else it may be the conjugate.
            "overline" | "widehat" | "overrightarrow" | "vec" => {
                let start = self.at;
                let inner = self.group()?;
                let named = inner.len() == 2 && inner.bytes().all(|b| b.is_ascii_uppercase());
                self.at = start;
                if named { Ok(Token::Nothing) } else { Err(format!("`\\{name}` of this is not known")) }
            }
            "pod" | "pmod" => self.group().map(Token::Modulo),
            "mod" | "bmod" => Ok(Token::Word("mod")),
            name if let Some(count @ 1..) = layout::arguments(name) => {
                self.skip_star();
                for _ in 0..count {
                    self.group()?;
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

    /// What a text command holds: a text, unless it is mathematics, which is read in its place.
    fn text_command(&mut self, start: usize, name: &str) -> Result<Token<'a>, String> {
        self.skip_star();
        let inside = self.at;
        let text = self.group()?;
        let trimmed = text.trim();
        let roman = matches!(name, "operatorname" | "mathrm" | "mathop" | "operatornamewithlimits");
        match trimmed {
            "e" if name == "mathrm" => return Ok(Token::Symbol("e")),
            "i" if name == "mathrm" => return Ok(Token::Symbol("i")),
            "\\%" | "%" => return Ok(Token::Percent),
            "\\$" | "$" => return Ok(Token::Currency("$")),
            "^\\circ" | "^{\\circ}" | "°" | "\\textdegree" => return Ok(Token::Degree),
            _ => {}
        }
        if trimmed.bytes().all(|b| matches!(b, b'.' | b'!' | b'?' | b'\'' | b'"')) {
            return Ok(Token::Nothing);
        }
        if let Some(currency) = units::currency(trimmed.trim_end_matches('.'), trimmed.ends_with('.')) {
            return Ok(Token::Currency(currency));
        }
        // A constant of integration.
        if self.text[..start - 1].trim_end().ends_with(['+', '-']) {
            match trimmed {
                "const" | "const." | "constant" => return Ok(Token::Symbol("C")),
                letter if letter.len() == 1 && letter.bytes().all(|b| b.is_ascii_alphabetic()) => {
                    return Ok(Token::Symbol(letter));
                }
                _ => {}
            }
        }
        if roman && let Some(token) = plain(trimmed) {
            return Ok(token);
        }
        // `\text{arctan}(2)`
        let applied = matches!(self.peek(0), b'(' | b'{' | b'\\' | b'^' | b'_' | b'0'..=b'9');
        if applied && let Some(token @ (Token::Function(_) | Token::Cis)) = plain(text) {
            return Ok(token);
        }
        // All of an answer in a text command may be a label.
        let alone = start == 1 && self.at == self.text.len() && trimmed.bytes().all(|b| b.is_ascii_digit());
        if self.bytes[inside..].starts_with(b"{") && !alone && !units::is_unit(text) && layout::is_mathematics(text) {
            self.at = inside;
            return Ok(Token::Nothing);
        }
        Ok(Token::Text(text))
    }

    /// Whether the letter here is a set's: `\mathbf{R}` may be, other bold letters are themselves.
    fn sets(&self, name: &str) -> bool {
        name != "mathbf" || ["{R}", "{Z}", "{N}", "{Q}"].iter().any(|set| self.rest().starts_with(set))
    }

    /// `\not=` and `\not\in`.
    fn negated(&mut self) -> Result<Token<'a>, String> {
        self.skip_space();
        if self.peek(0) == b'=' {
            self.at += 1;
            return Ok(Token::Relation(Relation::NotEqual));
        }
        Err("`\\not` of this is not known".to_owned())
    }

    /// The space below a row: `\\[4pt]`.
    fn row(&mut self) {
        let rest = self.rest();
        let Some(inner) = rest.strip_prefix('[') else { return };
        let Some(long) = inner.find(']').filter(|long| *long <= 12) else { return };
        let length = inner[..long].trim();
        let number = length.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = ["pt", "em", "ex", "mm", "cm", "in", "px", "mu", "sp"].contains(&&length[number.len()..]);
        if unit && number.trim().parse::<f64>().is_ok() {
            self.at += long + 2;
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
}

/// A whole number with separators after hundreds of thousands: `1,00,000`.
pub(super) fn lakhs(text: &str) -> Option<Exact> {
    let mut parts = text.trim().split(',');
    let first = parts.next().filter(|part| (1..=2).contains(&part.len()))?;
    let rest: Vec<&str> = parts.collect();
    let (last, between) = rest.split_last()?;
    let sized = !between.is_empty() && last.len() == 3 && between.iter().all(|part| part.len() == 2);
    let digits = format!("{first}{}", rest.concat());
    (sized && digits.bytes().all(|b| b.is_ascii_digit())).then(|| Exact::decimal(&digits, 0, 0))?
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
