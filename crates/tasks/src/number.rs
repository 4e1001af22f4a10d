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
/// Understood are signs, thousands separators (`1,234,567`), decimals (`.5` too), powers of ten
/// (`1.5e3`), fractions (`3/4`), currency signs before and percent signs behind (both mean nothing to
/// the value). A minus counts as a sign only where nothing stands before it that it could be
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
    let mut text = text.replace("{,}", ",").replace(['\u{2212}', '\u{2013}'], "-").replace("\\dfrac", "\\frac");
    for (latex, plain) in [("\\tfrac", "\\frac"), ("\\$", "$"), ("\\%", "%"), ("\\,", ""), ("\\!", ""), ("\\ ", " ")] {
        text = text.replace(latex, plain);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("\\frac{") {
        out.push_str(&rest[..at]);
        let inner = &rest[at + "\\frac{".len()..];
        let parts = inner.split_once("}{").and_then(|(top, tail)| {
            let (bottom, tail) = tail.split_once('}')?;
            let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
            (digits(top.trim_start_matches('-')) && digits(bottom)).then_some((top, bottom, tail))
        });
        if let Some((top, bottom, tail)) = parts {
            out.push_str(top);
            out.push('/');
            out.push_str(bottom);
            rest = tail;
        } else {
            out.push_str("\\frac{");
            rest = inner;
        }
    }
    out.push_str(rest);
    out
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

fn text_of(digits: &[u8]) -> &str {
    std::str::from_utf8(digits).unwrap_or_default()
}

fn whole(digits: &[u8]) -> BigInt {
    BigInt::parse_bytes(digits, 10).unwrap_or_default()
}

/// Whether the digits at `at` are negative, and where sign and currency before them begin.
fn sign(text: &str, at: usize) -> (bool, usize) {
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
