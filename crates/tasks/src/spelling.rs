//! Unicode's spellings of mathematics as LaTeX's.

use std::borrow::Cow;

/// `text` with digits, letters and signs of other blocks as ASCII, and fractions, exponents, indices and
/// repeating digits as commands. Text in ASCII is returned as it is.
pub(crate) fn normal(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let chars: Vec<char> = text.chars().map(plain).collect();
    let mut out = String::with_capacity(text.len() + 16);
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if let Some((top, bottom)) = vulgar(c) {
            out.push_str(&format!("\\frac{{{top}}}{{{bottom}}}"));
            at += 1;
        } else if let Some(index) = index_of(c) {
            at = small(&chars, at, index.0, &mut out);
        } else if c.is_ascii_digit() && matches!(chars.get(at + 1), Some('\u{304}' | '\u{305}')) {
            out.push_str("\\overline{");
            while c_at(&chars, at).is_ascii_digit() && matches!(chars.get(at + 1), Some('\u{304}' | '\u{305}')) {
                out.push(chars[at]);
                at += 2;
            }
            out.push('}');
        } else if c.is_ascii_digit() && chars.get(at + 1) == Some(&'\u{307}') {
            out.push_str(&format!("\\dot{{{c}}}"));
            at += 2;
        } else {
            match c {
                '\u{338}' => {
                    // A stroke through the sign before it.
                    let sign = out.pop();
                    out.push_str(if sign == Some('=') { "\\ne " } else { "\u{338}" });
                }
                '∛' => out.push_str("\\sqrt[3]"),
                '∜' => out.push_str("\\sqrt[4]"),
                _ => out.push(c),
            }
            at += 1;
        }
    }
    Cow::Owned(out)
}

fn c_at(chars: &[char], at: usize) -> char {
    chars.get(at).copied().unwrap_or(' ')
}

/// Writes the exponent or index that begins at `at`; where it ends. One over another is a fraction.
fn small(chars: &[char], at: usize, raised: bool, out: &mut String) -> usize {
    let run = |mut at: usize, raised: bool| {
        let mut inner = String::new();
        while let Some((_, c)) = chars.get(at).and_then(|c| index_of(*c)).filter(|(same, _)| *same == raised) {
            inner.push(c);
            at += 1;
        }
        (inner, at)
    };
    let (inner, end) = run(at, raised);
    if raised && matches!(chars.get(end), Some('⁄' | '∕' | '/')) {
        let (bottom, after) = run(end + 1, false);
        if !bottom.is_empty() {
            out.push_str(&format!("\\frac{{{inner}}}{{{bottom}}}"));
            return after;
        }
    }
    out.push_str(&format!("{}{{{inner}}}", if raised { '^' } else { '_' }));
    end
}

/// The ASCII character that a character of another block is.
fn plain(c: char) -> char {
    let code = u32::from(c);
    let digit = |zero: u32| char::from_u32(u32::from('0') + code - zero).unwrap_or(c);
    let letter = |first: u32| {
        let place = (code - first) % 52;
        let base = if place < 26 { u32::from('A') + place } else { u32::from('a') + place - 26 };
        char::from_u32(base).unwrap_or(c)
    };
    match code {
        // Full width.
        0xff01..=0xff5e => char::from_u32(code - 0xfee0).unwrap_or(c),
        0x3000 | 0x2000..=0x2008 | 0x200a | 0x205f => ' ',
        // Mathematical letters and digits.
        0x1d400..=0x1d6a3 => letter(0x1d400),
        0x1d7ce..=0x1d7ff => digit(0x1d7ce + (code - 0x1d7ce) / 10 * 10),
        0x210e => 'h',
        // Mathematical Greek, in five styles.
        0x1d6a8..=0x1d7c9 => {
            let place = (code - 0x1d6a8) % 58;
            let base = if place < 25 { 0x391 + place } else { 0x3b1 + place.saturating_sub(26) };
            if place == 25 || place > 50 { c } else { char::from_u32(base).unwrap_or(c) }
        }
        // Arabic, Persian, Devanagari, Bengali and Thai digits.
        0x660..=0x669 => digit(0x660),
        0x6f0..=0x6f9 => digit(0x6f0),
        0x966..=0x96f => digit(0x966),
        0x9e6..=0x9ef => digit(0x9e6),
        0xe50..=0xe59 => digit(0xe50),
        0x66b => '.',
        0x66c => ',',
        _ => match c {
            '’' | '‘' | '′' | 'ʹ' => '\'',
            '“' | '”' => '"',
            '﹣' | '−' | '–' | '‐' | '‑' | '﹘' => '-',
            '、' => ',',
            '∶' | '：' => ':',
            '∣' | '│' => '|',
            '∗' | '⁎' => '*',
            _ => c,
        },
    }
}

/// Numerator and denominator of a fraction in one character.
fn vulgar(c: char) -> Option<(u8, u8)> {
    Some(match c {
        '½' => (1, 2),
        '⅓' => (1, 3),
        '⅔' => (2, 3),
        '¼' => (1, 4),
        '¾' => (3, 4),
        '⅕' => (1, 5),
        '⅖' => (2, 5),
        '⅗' => (3, 5),
        '⅘' => (4, 5),
        '⅙' => (1, 6),
        '⅚' => (5, 6),
        '⅐' => (1, 7),
        '⅛' => (1, 8),
        '⅜' => (3, 8),
        '⅝' => (5, 8),
        '⅞' => (7, 8),
        '⅑' => (1, 9),
        '⅒' => (1, 10),
        _ => return None,
    })
}

/// Whether a small character is raised, and the one it stands for.
fn index_of(c: char) -> Option<(bool, char)> {
    let raised = match c {
        '⁰' => '0',
        '¹' => '1',
        '²' => '2',
        '³' => '3',
        '⁴'..='⁹' => char::from_u32(u32::from('4') + u32::from(c) - u32::from('⁴'))?,
        '⁺' => '+',
        '⁻' => '-',
        '⁽' => '(',
        '⁾' => ')',
        'ⁿ' => 'n',
        'ⁱ' => 'i',
        'ˣ' => 'x',
        'ʸ' => 'y',
        'ᵏ' => 'k',
        'ᵐ' => 'm',
        'ᵗ' => 't',
        _ => {
            let lowered = match c {
                '₀'..='₉' => char::from_u32(u32::from('0') + u32::from(c) - u32::from('₀'))?,
                '₊' => '+',
                '₋' => '-',
                'ₙ' => 'n',
                'ₘ' => 'm',
                'ₖ' => 'k',
                'ᵢ' => 'i',
                'ⱼ' => 'j',
                _ => return None,
            };
            return Some((false, lowered));
        }
    };
    Some((true, raised))
}
