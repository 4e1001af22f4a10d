//! Test cases of programs that read standard input and write standard output.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed};
use serde::Deserialize;

use crate::number;

/// One test case.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Case {
    /// Standard input.
    #[serde(deserialize_with = "text")]
    pub(super) input: String,
    /// The expected standard output.
    #[serde(deserialize_with = "text")]
    pub(super) output: String,
}

/// The forms of test cases that data sets use.
#[derive(Deserialize)]
#[serde(untagged)]
enum Cases {
    List(Vec<Case>),
    Columns { inputs: Vec<Text>, outputs: Vec<Text> },
}

/// A text, or its lines.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Whole(String),
    Lines(Vec<String>),
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        match text {
            Text::Whole(text) => text,
            Text::Lines(lines) => lines.join("\n"),
        }
    }
}

fn text<'d, D: serde::Deserializer<'d>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Text::deserialize(deserializer)?.into())
}

/// The test cases that a JSON text holds: a list of objects with `input` and `output`, or an object with the lists `inputs` and
/// `outputs` (APPS). A text may be given as the list of its lines.
///
/// # Errors
/// What was expected, if the text is anything else or holds no case.
pub(super) fn cases(json: &str) -> Result<Vec<Case>, String> {
    const EXPECTED: &str =
        r#"expected a JSON list of {"input": "...", "output": "..."} or {"inputs": [...], "outputs": [...]}"#;
    let cases = match serde_json::from_str::<Cases>(json) {
        Ok(Cases::List(cases)) => cases,
        Ok(Cases::Columns { inputs, outputs }) if inputs.len() == outputs.len() => {
            let pairs = inputs.into_iter().zip(outputs);
            pairs.map(|(input, output)| Case { input: input.into(), output: output.into() }).collect()
        }
        Ok(Cases::Columns { inputs, outputs }) => {
            return Err(format!("expected as many `outputs` as `inputs`, got {} and {}", outputs.len(), inputs.len()));
        }
        Err(_) => return Err(EXPECTED.to_owned()),
    };
    if cases.is_empty() { Err(format!("{EXPECTED}, got no case")) } else { Ok(cases) }
}

/// Whether an output is the expected one: the same lines, but for white space at their ends and blank lines at the end. With a
/// `tolerance`, lines are also the same where their words are: the same text, or numbers in decimal notation that differ by at
/// most `tolerance * max(1, |expected|)`. Two whole numbers have to be equal.
pub(super) fn same_output(got: &str, expected: &str, tolerance: Option<&BigRational>) -> bool {
    let (got, expected) = (got.trim_end(), expected.trim_end());
    let same_line = |(got, expected): (&str, &str)| {
        got.trim_end() == expected.trim_end() || tolerance.is_some_and(|tolerance| same_words(got, expected, tolerance))
    };
    got.lines().count() == expected.lines().count() && got.lines().zip(expected.lines()).all(same_line)
}

fn same_words(got: &str, expected: &str, tolerance: &BigRational) -> bool {
    let same_word = |(got, expected): (&str, &str)| got == expected || same_number(got, expected, tolerance);
    got.split_whitespace().count() == expected.split_whitespace().count()
        && got.split_whitespace().zip(expected.split_whitespace()).all(same_word)
}

fn same_number(got: &str, expected: &str, tolerance: &BigRational) -> bool {
    let (Some(got), Some(expected)) = (decimal(got), decimal(expected)) else { return false };
    if got == expected {
        return true;
    }
    let whole = |number: &BigRational| number.denom() == &BigInt::one();
    let most = tolerance * expected.abs().max(BigRational::one());
    !(whole(&got) && whole(&expected)) && (got - expected).abs() <= most
}

/// The value of a number as programs print it: digits with a sign, a point and an exponent, and nothing else.
fn decimal(word: &str) -> Option<BigRational> {
    let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
    let (mantissa, power) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let power_digits = power.strip_prefix(['+', '-']).unwrap_or(power);
    if !(digits(whole) && digits(part) && digits(power_digits)) || power_digits.is_empty() {
        return None;
    }
    // A point without decimals behind it ends a sentence for `number::parse`.
    let value = number::parse(&format!("{}e{power}", mantissa.strip_suffix('.').unwrap_or(mantissa)))?;
    Some(if word.starts_with('-') { -value } else { value })
}

#[cfg(test)]
mod tests {
    use num_traits::Zero;

    use super::*;

    #[test]
    fn outputs_are_compared_line_by_line() {
        let same = |got, expected| same_output(got, expected, None);
        assert!(same("1 \n2\n\n", "1\n2"));
        assert!(same("1\r\n2\r\n", "1\n2\n"));
        for (got, expected) in
            [("1\n\n2", "1\n2"), (" 1", "1"), ("1 2", "1  2"), ("0.50", "0.5"), ("1", "1\n2"), ("", "0")]
        {
            assert!(!same(got, expected), "{got:?} for {expected:?}");
        }
    }

    #[test]
    fn numbers_are_compared_as_numbers_where_a_tolerance_is_set() {
        let millionth = BigRational::new(BigInt::one(), BigInt::from(1_000_000));
        let zero = BigRational::zero();
        let tried = [
            // got, expected, with a tolerance of 0, of 1e-6
            ("0.50", "0.5", true, true),
            ("+3", "3.0", true, true),
            ("-0.0", "0", true, true),
            ("1e3 x", "1000 x", true, true),
            ("1E-2", ".01", true, true),
            ("3.", "3", true, true),
            ("1  2.0", "1 2", true, true),
            ("0.3333333", "0.3333334", false, true),
            ("0.33333", "0.33334", false, false),
            ("10000000.1", "10000000.2", false, true),
            ("2.0000001", "2", false, true),
            // Whole numbers are exact, whatever their size.
            ("1000000008", "1000000007", false, false),
            ("123456789012345678901", "123456789012345678900", false, false),
            ("123456789012345678900.0", "123456789012345678900", true, true),
            // Words are no numbers.
            ("yes", "Yes", false, false),
            ("nan", "nan", true, true),
            ("nan", "0", false, false),
            ("inf", "1e400", false, false),
            ("0x10", "16", false, false),
            ("1_000", "1000", false, false),
            ("1,000", "1000", false, false),
            ("1/2", "0.5", false, false),
            ("50%", "0.5", false, false),
            ("$5", "5", false, false),
            ("1 2", "1 2 3", false, false),
            ("1\n2", "1 2", false, false),
            ("e5", "5", false, false),
            (".", "0", false, false),
            ("--1", "1", false, false),
            ("+-1", "-1", false, false),
            ("1e", "1", false, false),
            ("-1.50e+2", "-150", true, true),
        ];
        for (got, expected, exactly, about) in tried {
            assert_eq!(same_output(got, expected, Some(&zero)), exactly, "{got:?} for {expected:?}, exactly");
            assert_eq!(same_output(got, expected, Some(&millionth)), about, "{got:?} for {expected:?}, about");
        }
    }

    #[test]
    fn cases_are_read_in_the_forms_of_data_sets() {
        let one = || vec![Case { input: "1\n2".to_owned(), output: "3".to_owned() }];
        assert_eq!(cases(r#"[{"input": "1\n2", "output": "3", "testtype": "stdin"}]"#), Ok(one()));
        assert_eq!(cases(r#"{"inputs": ["1\n2"], "outputs": ["3"]}"#), Ok(one()));
        assert_eq!(cases(r#"{"inputs": [["1", "2"]], "outputs": [["3"]]}"#), Ok(one()));
        for (json, expected) in [
            ("[]", "got no case"),
            (r#"{"inputs": ["1"], "outputs": []}"#, "got 0 and 1"),
            (r#"[{"input": 1, "output": "3"}]"#, "expected a JSON list"),
            ("cases", "expected a JSON list"),
        ] {
            assert!(cases(json).unwrap_err().contains(expected), "{json}");
        }
    }
}
