//! Numbers as they are written: with separators, powers of ten and digits that repeat.

use std::borrow::Cow;

use num_bigint::BigInt;
use num_rational::BigRational;

use super::exact::Exact;
use super::lexer::Lexer;
use super::token::{Numeral, Token};

impl<'a> Lexer<'a> {
    /// Digits from `at` on.
    pub(super) fn run(&self, at: usize) -> usize {
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
                // Swiss, and Python's.
                Some(b'\'' | b'_') => 1,
                _ => return None,
            }
        };
        let end = self.run(at + long);
        let fraction = rest[0] == b' ' && self.bytes.get(end) == Some(&b'/');
        (end == at + long + 3 && !fraction).then_some(long)
    }

    pub(super) fn number(&mut self) -> Result<Token<'a>, String> {
        let start = self.at;
        let mut end = self.run(start);
        let mut digits = Cow::Borrowed(&self.text[start..end]);
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
            if let Some((period, to)) = self.repeating(after) {
                return self.periodic(&digits, places.unwrap_or(0), &period, to);
            }
            if let Some(places) = places
                && let Some(long) = self.dots(end)
            {
                return self.unending(&digits, places, end + long);
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
        Ok(Token::Number(Numeral { value, places, significant, digits, cut: false }))
    }

    /// The digits that repeat at `at`, and where their spelling ends: `\overline{12}`, `\bar3`, `(3)`,
    /// `\dot{1}2\dot{3}`.
    fn repeating(&self, at: usize) -> Option<(Cow<'a, str>, usize)> {
        let rest = self.text.get(at..)?;
        if let Some(inner) = rest.strip_prefix('(') {
            let long = digits_of(inner);
            let behind = inner.as_bytes().get(long + 1);
            let ends = !behind.is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'(' | b'^' | b'\\' | b'!'));
            let closed = (1..=200).contains(&long) && inner[long..].starts_with(')') && ends;
            return closed.then(|| (Cow::Borrowed(&inner[..long]), at + long + 2));
        }
        for command in ["\\overline", "\\bar", "\\widebar"] {
            if let Some(behind) = rest.strip_prefix(command) {
                let inner = behind.trim_start();
                let (digits, long) = argument(inner)?;
                return Some((Cow::Borrowed(digits), self.text.len() - inner.len() + long));
            }
        }
        let dotted = |rest: &'a str| argument(rest.strip_prefix("\\dot")?.trim_start());
        let (first, _) = dotted(rest)?;
        let end = |rest: &str| self.text.len() - rest.len();
        let behind = |rest: &'a str| {
            let inner = rest["\\dot".len()..].trim_start();
            argument(inner).map_or(rest, |(_, long)| &inner[long..])
        };
        let after = behind(rest);
        let between = digits_of(after);
        match dotted(&after[between..]) {
            Some((last, _)) => {
                let period = format!("{first}{}{last}", &after[..between]);
                Some((Cow::Owned(period), end(behind(&after[between..]))))
            }
            None if between == 0 => Some((Cow::Borrowed(first), end(after))),
            None => None,
        }
    }

    /// The length of an ellipsis at `at`.
    fn dots(&self, at: usize) -> Option<usize> {
        let rest = self.text.get(at..)?;
        let inner = rest.trim_start_matches([' ', '{']);
        let marks = ["\\ldots", "\\dots", "\\cdots", "...", "\u{2026}"];
        let mark = marks.iter().find(|mark| inner.starts_with(**mark))?;
        let end = rest.len() - inner.len() + mark.len();
        // Braces around it: `0.333{\ldots}`.
        let braced = rest[..rest.len() - inner.len()].contains('{');
        if braced && !inner[mark.len()..].starts_with('}') {
            return None;
        }
        Some(end + usize::from(braced))
    }

    /// A decimal that goes on: its digits repeat where they plainly do, else it is cut off there.
    fn unending(&mut self, digits: &str, places: u32, end: usize) -> Result<Token<'a>, String> {
        let fraction = &digits[digits.len() - places as usize..];
        if let Some(period) = period(fraction.as_bytes()) {
            let start = digits.len() - period;
            return self.periodic(&digits[..start], places - period as u32, &digits[start..], end);
        }
        self.at = end;
        let value = Exact::decimal(digits, places, 0).ok_or("a number is too large")?;
        let significant = digits.trim_start_matches('0').len() as u32;
        Ok(Token::Number(Numeral { value, places: Some(places), significant, digits: None, cut: true }))
    }

    /// A decimal whose digits repeat.
    fn periodic(&mut self, digits: &str, places: u32, period: &str, end: usize) -> Result<Token<'a>, String> {
        if digits.len() > 200 || period.len() > 200 {
            return Err("a number is too large".to_owned());
        }
        // `0.\overline{3}\ldots`
        self.at = end + self.dots(end).unwrap_or(0);
        let whole = |text: &str| BigInt::parse_bytes(text.as_bytes(), 10).unwrap_or_default();
        let ten = |power: u32| BigInt::from(10).pow(power);
        let nines = ten(period.len() as u32) - 1;
        let value = BigRational::new(whole(digits) * &nines + whole(period), nines * ten(places));
        Ok(Token::Number(Numeral {
            value: Exact::from_big(value),
            places: None,
            significant: 0,
            digits: None,
            cut: false,
        }))
    }
}

/// How many digits `text` begins with.
fn digits_of(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// The digits that are a command's argument, and the length of their spelling.
fn argument(text: &str) -> Option<(&str, usize)> {
    if let Some(inner) = text.strip_prefix('{') {
        let long = digits_of(inner);
        return ((1..=200).contains(&long) && inner[long..].starts_with('}')).then(|| (&inner[..long], long + 2));
    }
    (digits_of(text) > 0).then(|| (&text[..1], 1))
}

/// How many digits repeat at the end of `digits`, before an ellipsis: one that stands there three times, or
/// several that stand there twice from the point on, or three times.
fn period(digits: &[u8]) -> Option<usize> {
    (1..=digits.len() / 2).find(|long| {
        let last = &digits[digits.len() - long..];
        let times = digits.rchunks_exact(*long).take_while(|chunk| chunk == &last).count();
        times >= 3 || (*long > 1 && times == 2 && digits.len() == 2 * long)
    })
}
