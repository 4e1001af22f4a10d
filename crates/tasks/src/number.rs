//! Numbers in text, exactly.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Zero, pow};

/// Longest run of digits, and largest power of ten, that is still read as a number.
const MOST_DIGITS: usize = 400;

/// A number found in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its exact value.
    pub value: BigRational,
    /// Where it begins, sign and currency included, in bytes.
    pub start: usize,
    /// Where it ends, a percent sign included, in bytes.
    pub end: usize,
}

/// The numbers in `text`, in order.
///
/// Understood are signs (`minus 3` too), thousands separators (`1,234,567`), decimals (`.5` too), powers of ten
/// (`1.5e3`), fractions (`3/4`), mixed numbers (`2 1/2`), thousands as `70k`, currency signs before and percent
/// signs behind (both mean nothing to the value). A minus counts as a sign only where nothing stands before it that it could be
/// subtracted from. Digits inside a word (`x2`) are no number, nor is a fraction over zero or a number
/// beyond 400 digits.
#[must_use]
pub fn numbers(text: &str) -> Vec<Found> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !starts(bytes, at) {
            at += 1;
            continue;
        }
        let (value, end) = magnitude(bytes, at);
        let (value, end) = match mixed(bytes, at, end) {
            Some((part, to)) => (value.map(|value| value + part), to),
            None => (value, end),
        };
        let (value, end) = match bytes.get(end) {
            Some(b'k' | b'K') if !bytes.get(end + 1).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'/') => {
                (value.map(|value| value * BigInt::from(1000)), end + 1)
            }
            _ => (value, end),
        };
        let (negative, start) = sign(text, at);
        let before = text[..at].chars().next_back();
        if let Some(value) = value
            && !before.is_some_and(|c| c.is_alphabetic() || c == '_')
        {
            let value = if negative { -value } else { value };
            let end = if bytes.get(end) == Some(&b'%') { end + 1 } else { end };
            found.push(Found { value, start, end });
        }
        at = end;
    }
    found
}

/// The value of `text` if it is one number and nothing else, spaces around it aside.
#[must_use]
pub fn parse(text: &str) -> Option<BigRational> {
    let text = text.trim();
    match numbers(text).as_slice() {
        [Found { value, start: 0, end }] if *end == text.len() => Some(value.clone()),
        _ => None,
    }
}

/// `text` with LaTeX and typographic spellings of numbers made plain: `\frac{1}{2}`, `1{,}000`,
/// `\$5`, `50\%`, the long minus.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut text = crate::spelling::normal(text).replace("{,}", ",");
    for (latex, plain) in [
        ("\\dfrac", "\\frac"),
        ("\\tfrac", "\\frac"),
        ("\\cfrac", "\\frac"),
        ("\\nicefrac", "\\frac"),
        ("\\sfrac", "\\frac"),
        ("\\$", "$"),
        ("\\%", "%"),
        ("\\,", ""),
        ("\\!", ""),
        ("\\ ", " "),
    ] {
        if text.contains(latex) {
            text = text.replace(latex, plain);
        }
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("\\frac") {
        out.push_str(&rest[..at]);
        let inner = &rest[at + "\\frac".len()..];
        if let Some((top, tail)) = argument(inner)
            && let Some((bottom, tail)) = argument(tail)
            && !bottom.starts_with('-')
        {
            // A whole number before it makes it a mixed one.
            if out.ends_with(|c: char| c.is_ascii_digit()) {
                out.push(' ');
            }
            out.push_str(top);
            out.push('/');
            out.push_str(bottom);
            rest = tail;
        } else {
            out.push_str("\\frac");
            rest = inner;
        }
    }
    out.push_str(rest);
    out
}

/// The digits that a fraction's command has as its argument, in braces or one alone, and what follows.
fn argument(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(' ');
    if let Some(inner) = text.strip_prefix('{') {
        let (digits, tail) = inner.split_once('}')?;
        let plain = digits.trim_start_matches('-');
        return (!plain.is_empty() && plain.bytes().all(|b| b.is_ascii_digit())).then_some((digits, tail));
    }
    text.starts_with(|c: char| c.is_ascii_digit()).then(|| text.split_at(1))
}

/// Whether a number's digits begin at `at`.
fn starts(bytes: &[u8], at: usize) -> bool {
    let digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
    digit(at) || (bytes[at] == b'.' && digit(at + 1) && (at == 0 || (!digit(at - 1) && bytes[at - 1] != b'.')))
}

/// The unsigned number at `at` and its end; no value if it has none that is accepted.
fn magnitude(bytes: &[u8], at: usize) -> (Option<BigRational>, usize) {
    let run = |from: usize| from + bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut digits: Vec<u8> = Vec::new();
    let mut end = run(at);
    digits.extend(&bytes[at..end]);
    if (1..=3).contains(&digits.len()) {
        while bytes.get(end) == Some(&b',') && run(end + 1) == end + 4 {
            digits.extend(&bytes[end + 1..end + 4]);
            end += 4;
        }
    }
    let mut exponent = 0_i64;
    if bytes.get(end) == Some(&b'.') {
        let decimals = run(end + 1);
        if decimals > end + 1 {
            digits.extend(&bytes[end + 1..decimals]);
            exponent -= (decimals - end - 1) as i64;
            end = decimals;
        }
    }
    let mut fits = digits.len() <= MOST_DIGITS;
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let signed = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let from = end + 1 + signed;
        let to = if from <= bytes.len() { run(from) } else { from };
        if to > from && !bytes.get(to).is_some_and(u8::is_ascii_alphabetic) {
            let power = text_of(&bytes[from..to]).parse().unwrap_or(i64::MAX);
            fits &= power <= MOST_DIGITS as i64;
            let power = power.min(MOST_DIGITS as i64);
            exponent += if bytes[end + 1] == b'-' { -power } else { power };
            end = to;
        }
    }
    let mut denominator = BigInt::one();
    if bytes.get(end) == Some(&b'/') {
        let to = run(end + 1);
        if to > end + 1 {
            fits &= to - end <= MOST_DIGITS;
            if fits {
                denominator = whole(&bytes[end + 1..to]);
            }
            end = to;
        }
    }
    if !fits || denominator.is_zero() {
        return (None, end);
    }
    let ten = |power: i64| pow(BigInt::from(10), power.unsigned_abs() as usize);
    let value = if exponent < 0 {
        BigRational::new(whole(&digits), ten(exponent) * denominator)
    } else {
        BigRational::new(whole(&digits) * ten(exponent), denominator)
    };
    (Some(value), end)
}

/// The fraction behind a whole number that stands from `at` to `end`, and where it ends.
fn mixed(bytes: &[u8], at: usize, end: usize) -> Option<(BigRational, usize)> {
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = bytes[at..end].iter().all(|b| b.is_ascii_digit() || *b == b',');
    let spaces = bytes[end..].iter().take_while(|b| **b == b' ').count();
    let from = end + spaces;
    let top = digits(from);
    let slash = from + top;
    if !whole || spaces == 0 || !(1..=9).contains(&top) || bytes.get(slash) != Some(&b'/') {
        return None;
    }
    let bottom = digits(slash + 1);
    let to = slash + 1 + bottom;
    if !(1..=9).contains(&bottom) || matches!(bytes.get(to), Some(b'/')) {
        return None;
    }
    let number = |from: usize, to: usize| text_of(&bytes[from..to]).parse::<u64>().ok();
    let (top, bottom) = (number(from, slash)?, number(slash + 1, to)?);
    (0 < top && top < bottom).then(|| (BigRational::new(top.into(), bottom.into()), to))
}

fn text_of(digits: &[u8]) -> &str {
    std::str::from_utf8(digits).unwrap_or_default()
}

fn whole(digits: &[u8]) -> BigInt {
    BigInt::parse_bytes(digits, 10).unwrap_or_default()
}

/// Whether the digits at `at` are negative, and where sign and currency before them begin.
fn sign(text: &str, at: usize) -> (bool, usize) {
    if let Some(start) = minus_in_words(text, at) {
        return (true, start);
    }
    let mut start = at;
    let mut negative = false;
    let mut currency = false;
    while let Some(c) = text[..start].chars().next_back() {
        match c {
            '$' | '€' | '£' | '¥' if !currency => currency = true,
            '-' | '+' => {
                let before = text[..start - 1].chars().next_back();
                let of_money = !currency && matches!(before, Some('$' | '€' | '£' | '¥'));
                if before.is_some_and(|b| b.is_alphanumeric() || matches!(b, ')' | ']' | '}' | '%' | '-' | '+')) {
                    break;
                }
                negative = c == '-';
                start -= 1;
                if of_money {
                    start -= before.map_or(0, char::len_utf8);
                }
                break;
            }
            _ => break,
        }
        start -= c.len_utf8();
    }
    (negative, start)
}

/// Where "minus" or "negative" before `at` begins, if nothing stands there that it could be subtracted from.
fn minus_in_words(text: &str, at: usize) -> Option<usize> {
    let before = text[..at].trim_end_matches('$').strip_suffix(' ')?;
    for word in ["minus", "negative", "Minus", "Negative"] {
        let Some(left) = before.strip_suffix(word) else { continue };
        let amount = left.trim_end().ends_with(|c: char| c.is_ascii_digit() || matches!(c, ')' | '}' | '%'));
        let apart = !left.ends_with(|c: char| c.is_alphanumeric());
        return (apart && !amount).then_some(left.len());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(text: &str) -> Vec<String> {
        numbers(&plain(text)).iter().map(|found| found.value.to_string()).collect()
    }

    #[test]
    fn spellings() {
        for (text, expected) in [
            ("1,234,567.50", "2469135/2"),
            ("$1,000.00", "1000"),
            ("-$5", "-5"),
            ("$-5", "-5"),
            ("€.5", "1/2"),
            ("50%", "50"),
            ("\u{2212}3/4", "-3/4"),
            ("\\frac{3}{6}", "1/2"),
            ("1{,}024", "1024"),
            ("1.5e3", "1500"),
            ("2E-2", "1/50"),
            ("007.0", "7"),
            ("+4", "4"),
            ("2 1/2", "5/2"),
            ("2\\frac12", "5/2"),
            ("-12\\frac{1}{2}\\%", "-25/2"),
            ("2½", "5/2"),
            ("minus 3", "-3"),
            ("70k", "70000"),
            ("２５", "25"),
        ] {
            assert_eq!(parse(&plain(text)).map(|v| v.to_string()).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "x", "1 2", "3/0", "12 apples", "1,23", "--1", "1e999", "1/0.5", &"9".repeat(401)] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_in_sentences() {
        assert_eq!(values("5-3=2, so 5 - 3 is 2."), ["5", "3", "2", "5", "3", "2"]);
        assert_eq!(values("x2 and a_3 but (-4) and =-5"), ["-4", "-5"]);
        assert_eq!(values("1,2,3 or 1,234,5678"), ["1", "2", "3", "1234", "5678"]);
        assert_eq!(values("It is **-7**. Then 8kg, 3.25."), ["-7", "8", "13/4"]);
        assert_eq!(values("12e and 4 euros"), ["12", "4"]);
        assert_eq!(values("5 minus 3 and 8 kg, 2 3/2"), ["5", "3", "8", "2", "3/2"]);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(?s).{0,80}") {
            let plain = plain(&text);
            for found in numbers(&plain) {
                prop_assert!(plain.get(found.start..found.end).is_some());
            }
        }

        #[test]
        fn anything_like_a_number_is_survived(text in "[-+$€0-9.,/eE%x{}\\\\ ]{0,40}") {
            let _ = numbers(&plain(&text));
        }

        #[test]
        fn decimals_are_exact(whole in 0..10_u64.pow(15), digits in "[0-9]{1,12}", negative: bool) {
            let text = format!("{}{whole}.{digits}", if negative { "-" } else { "" });
            let scale = BigInt::from(10).pow(digits.len() as u32);
            let value = BigRational::new(BigInt::from(whole) * &scale + digits.parse::<BigInt>().unwrap(), scale);
            prop_assert_eq!(parse(&text), Some(if negative { -value } else { value }));
        }

        #[test]
        fn thousands_separators_mean_nothing(value: u64) {
            let digits = value.to_string();
            let mut separated = String::new();
            for (i, c) in digits.chars().enumerate() {
                if i > 0 && (digits.len() - i) % 3 == 0 {
                    separated.push(',');
                }
                separated.push(c);
            }
            prop_assert_eq!(parse(&separated), parse(&digits));
            prop_assert_eq!(parse(&separated), Some(BigInt::from(value).into()));
        }
    }
}
