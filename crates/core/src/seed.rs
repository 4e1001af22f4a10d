//! Randomness that flows from one number.

use serde::{Deserialize, Serialize};

/// The source of all randomness: a 64-bit seed from which named children are derived.
///
/// Children are derived by hashing, never by adding, so `seed.child("a").child("b")` shares nothing
/// with `seed.child("b")`, and neighbouring seeds give unrelated streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl Seed {
    /// The seed named `label` under this one: FNV-1a over the label, then the SplitMix64 finaliser.
    #[must_use]
    pub fn child(self, label: &str) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ mix(self.0);
        for byte in label.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self(mix(hash))
    }

    /// The `index`-th seed under this one.
    #[must_use]
    pub fn index(self, index: u64) -> Self {
        Self(mix(mix(self.0 ^ 0x5851_f42d_4c95_7f2d).wrapping_add(mix(index))))
    }

    /// A uniform number in `[0, 1)` with 53 random bits, a pure function of the seed and `counter`.
    #[must_use]
    pub fn uniform(self, counter: u64) -> f64 {
        (self.index(counter).0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number in `0..bound`, a pure function of the seed and `counter`; 0 for an empty range.
    #[must_use]
    pub fn below(self, counter: u64, bound: u64) -> u64 {
        // The product's high half; its bias is below 2^-32 for the small ranges used here.
        ((u128::from(self.index(counter).0) * u128::from(bound)) >> 64) as u64
    }
}

/// SplitMix64's finaliser (Steele, Lea and Flood 2014).
const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn children_do_not_collide_the_way_sums_would() {
        let mut seen = HashSet::new();
        for seed in 0..50 {
            for label in ["a", "b", "ab", "ba", "step", "step1"] {
                for index in 0..50 {
                    assert!(seen.insert(Seed(seed).child(label).index(index)));
                }
            }
        }
        assert_ne!(Seed(1).child("a").child("b"), Seed(1).child("b").child("a"));
        assert_ne!(Seed(1).index(2), Seed(2).index(1));
    }

    #[test]
    fn uniform_is_uniform() {
        let mut buckets = [0_u32; 16];
        for i in 0..16_000 {
            buckets[(Seed(7).uniform(i) * 16.0) as usize] += 1;
        }
        let chi2: f64 = buckets.iter().map(|&n| (f64::from(n) - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi2 < 40.0, "chi-squared {chi2} with 15 degrees of freedom");
    }
}
