//! Candidates for near duplicates.

use std::collections::HashMap;

use super::words::{Plain, grams, mix};

/// Words in a shingle.
const SHINGLE: usize = 3;
/// Bands, and hash functions in each: of two texts with a Jaccard similarity of 0.7, at least one band
/// agrees with a probability of `1 - (1 - 0.7^3)^24`, which is 0.99996; of 0.5, 0.96.
const BANDS: usize = 24;
const ROWS: usize = 3;
const FUNCTIONS: usize = BANDS * ROWS;

/// The runs of three words of a text.
pub(super) fn shingles(words: &[u64]) -> impl Iterator<Item = u64> + '_ {
    grams(words, SHINGLE)
}

/// MinHash signatures (Broder 1997), in bands that must agree as a whole.
#[derive(Default)]
pub(super) struct Bands {
    texts: HashMap<u64, Vec<u32>, Plain>,
}

impl Bands {
    pub(super) fn add(&mut self, place: u32, shingles: impl Iterator<Item = u64>) {
        for band in bands(&signature(shingles)) {
            super::hold(self.texts.entry(band).or_default(), place);
        }
    }

    /// The texts that agree in a band, some more than once.
    pub(super) fn candidates(&self, shingles: impl Iterator<Item = u64>) -> Vec<u32> {
        let signature = signature(shingles);
        bands(&signature).filter_map(|band| self.texts.get(&band)).flatten().copied().collect()
    }
}

#[cfg(test)]
impl Bands {
    /// The most texts in a band.
    pub(super) fn longest(&self) -> usize {
        self.texts.values().map(Vec::len).max().unwrap_or(0)
    }
}

fn bands(signature: &[u32; FUNCTIONS]) -> impl Iterator<Item = u64> + '_ {
    signature
        .chunks_exact(ROWS)
        .enumerate()
        .map(|(band, rows)| rows.iter().fold(mix(band as u64 + 1), |hash, row| mix(hash ^ u64::from(*row))))
}

/// The smallest value of each hash function over all shingles. A function is a multiplication by an odd
/// number and an addition, modulo 2^32.
fn signature(shingles: impl Iterator<Item = u64>) -> [u32; FUNCTIONS] {
    const FACTORS: [(u32, u32); FUNCTIONS] = factors();
    let mut least = [u32::MAX; FUNCTIONS];
    for shingle in shingles {
        let x = (shingle >> 32) as u32 ^ shingle as u32;
        for (least, (factor, term)) in least.iter_mut().zip(&FACTORS) {
            *least = (*least).min(x.wrapping_mul(*factor).wrapping_add(*term));
        }
    }
    least
}

const fn factors() -> [(u32, u32); FUNCTIONS] {
    let mut factors = [(0, 0); FUNCTIONS];
    let mut at = 0;
    while at < FUNCTIONS {
        let random = mix(0x51_7c_c1_b7 + at as u64);
        factors[at] = ((random >> 32) as u32 | 1, random as u32);
        at += 1;
    }
    factors
}
