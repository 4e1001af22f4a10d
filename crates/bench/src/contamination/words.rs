//! Words, and runs of them, as numbers.

use std::hash::{BuildHasherDefault, Hasher};

/// A map's hasher for keys that are hashes already.
pub(super) type Plain = BuildHasherDefault<Pass>;

/// Passes a hash on.
#[derive(Default)]
pub(super) struct Pass(u64);

impl Hasher for Pass {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The words of a text, each as a hash: runs of letters and digits in lower case.
pub(super) fn hashes(text: &str) -> Vec<u64> {
    const START: u64 = 0xcbf2_9ce4_8422_2325;
    let mut words = Vec::with_capacity(text.len() / 5);
    let (mut hash, mut inside) = (START, false);
    let take = |byte: u8, hash: &mut u64| *hash = (*hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            take(c.to_ascii_lowercase() as u8, &mut hash);
            inside = true;
        } else if !c.is_ascii() && c.is_alphanumeric() {
            let mut buffer = [0; 4];
            c.to_lowercase().for_each(|c| c.encode_utf8(&mut buffer).bytes().for_each(|byte| take(byte, &mut hash)));
            inside = true;
        } else if inside {
            words.push(mix(hash));
            (hash, inside) = (START, false);
        }
    }
    if inside {
        words.push(mix(hash));
    }
    words
}

/// Spreads a hash over all bits (SplitMix64's finaliser).
pub(super) const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Every run of `length` words, as a hash.
pub(super) fn grams(words: &[u64], length: usize) -> impl Iterator<Item = u64> + '_ {
    Grams::new(words, length)
}

/// A polynomial over the words of a run, rolled on word by word, then mixed (Karp and Rabin 1987).
struct Grams<'a> {
    words: &'a [u64],
    length: usize,
    next: usize,
    sum: u64,
    /// What the word that leaves was multiplied by.
    first: u64,
}

const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

impl<'a> Grams<'a> {
    fn new(words: &'a [u64], length: usize) -> Self {
        let begun = length.saturating_sub(1).min(words.len());
        let sum = words[..begun].iter().fold(0_u64, |sum, word| sum.wrapping_mul(BASE).wrapping_add(*word));
        let first = (1..length).fold(1_u64, |power, _| power.wrapping_mul(BASE));
        Self { words, length, next: begun, sum, first }
    }
}

impl Iterator for Grams<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let word = *self.words.get(self.next)?;
        if self.length == 0 {
            return None;
        }
        self.sum = self.sum.wrapping_mul(BASE).wrapping_add(word);
        let run = mix(self.sum);
        let leaves = self.words[self.next + 1 - self.length];
        self.sum = self.sum.wrapping_sub(leaves.wrapping_mul(self.first));
        self.next += 1;
        Some(run)
    }
}
