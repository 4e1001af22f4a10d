//! A part of a benchmark that is the same for everybody.

use crate::digest;

/// The places of the `n` items that `--limit n` asks, in order: those whose key hashes lowest.
///
/// The choice depends on the keys (what is asked) alone, not on their order in a file, and a smaller
/// subset is part of every larger one. Items with equal keys are taken in their order.
#[must_use]
pub fn subset(keys: &[String], n: usize) -> Vec<usize> {
    let mut ranked: Vec<(String, usize)> = keys
        .iter()
        .enumerate()
        .map(|(place, key)| (digest::sha256(["relign subset 1\n".as_bytes(), key.as_bytes()]), place))
        .collect();
    ranked.sort();
    let mut places: Vec<usize> = ranked.into_iter().take(n).map(|(_, place)| place).collect();
    places.sort_unstable();
    places
}
