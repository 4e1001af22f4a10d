//! Lines of JSON objects that each end with `chain`: the SHA-256 of the chain of the line before and of the line itself.
//!
//! The chain finds every line that was changed, removed, added or moved since it was written, unless all lines behind it
//! were written anew. There is no signature.

use crate::digest;

/// What stands between an object and its chain.
const BEFORE_CHAIN: &str = ",\"chain\":\"";

/// What the chain begins with.
pub const START: &str = "relign results 1";

/// The line for the JSON object `body`, its line break included, after a line whose chain is `previous`; and its own chain.
#[must_use]
pub fn seal(previous: &str, body: &str) -> (String, String) {
    let chain = chain(previous, body);
    (format!("{}{BEFORE_CHAIN}{chain}\"}}\n", &body[..body.len() - 1]), chain)
}

/// The object in `line` and its chain, if it follows on a line whose chain is `previous`.
///
/// # Errors
/// What was expected and got.
pub fn unseal(line: &str, previous: &str) -> Result<(String, String), String> {
    let broken = "expected a line that ends with its chain, got something else";
    let at = line.rfind(BEFORE_CHAIN).ok_or(broken)?;
    let got = line[at + BEFORE_CHAIN.len()..].strip_suffix("\"}").ok_or(broken)?;
    let body = format!("{}}}", &line[..at]);
    let expected = chain(previous, &body);
    if got != expected {
        return Err(format!(
            "the chain is broken: expected {}, got {}; this line or one before it is not as it was written",
            &expected[..12],
            got.get(..12).unwrap_or(got)
        ));
    }
    Ok((body, expected))
}

/// The chain of a line whose text is `body` after a line whose chain is `previous`.
fn chain(previous: &str, body: &str) -> String {
    digest::sha256([previous.as_bytes(), b"\n", body.as_bytes()])
}
