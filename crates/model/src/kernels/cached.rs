//! What keys and values are stored as between passes.

use half::bf16;

use super::element::{Element, Stored};
use super::lanes::Lanes;

/// A type that cached numbers are stored in; 8 bits share a scale for each position of a head.
pub(crate) trait Cached: Stored + Default {
    /// Whether numbers are to be multiplied by a scale.
    const SCALED: bool;

    fn widen(self) -> f32;

    /// A vector of numbers, widened.
    ///
    /// # Safety
    /// The CPU has the unit's features, and the numbers are there.
    unsafe fn load_lanes<L: Lanes>(from: *const Self) -> L::Vector;

    /// A number whose position has the scale `1 / inverse`.
    fn narrow(value: f32, inverse: f32) -> Self;
}

impl Cached for f32 {
    const SCALED: bool = false;
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    unsafe fn load_lanes<L: Lanes>(from: *const Self) -> L::Vector {
        // SAFETY: passed on.
        unsafe { L::load(from) }
    }
    #[inline(always)]
    fn narrow(value: f32, _: f32) -> Self {
        value
    }
}

impl Cached for bf16 {
    const SCALED: bool = false;
    #[inline(always)]
    fn widen(self) -> f32 {
        self.load()
    }
    #[inline(always)]
    unsafe fn load_lanes<L: Lanes>(from: *const Self) -> L::Vector {
        // SAFETY: passed on.
        unsafe { L::widen_bf16(from) }
    }
    #[inline(always)]
    fn narrow(value: f32, _: f32) -> Self {
        Self::store(value)
    }
}

impl Cached for i8 {
    const SCALED: bool = true;
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from(self)
    }
    #[inline(always)]
    unsafe fn load_lanes<L: Lanes>(from: *const Self) -> L::Vector {
        // SAFETY: passed on.
        unsafe { L::widen_i8(from) }
    }
    #[inline(always)]
    fn narrow(value: f32, inverse: f32) -> Self {
        // Adding 1.5 * 2^23 leaves no digits behind the point, ties to even: `round_ties_even` for numbers as small as
        // these, without the call that it is on CPUs of the baseline.
        const WHOLE: f32 = 12_582_912.0;
        ((value * inverse + WHOLE) - WHOLE) as Self
    }
}

/// What a pass computes in and what it caches.
pub(crate) trait Types: 'static {
    /// Queries and outputs.
    type T: Element + Stored;
    /// Keys and values.
    type S: Cached;
}

impl<T: Element + Stored, S: Cached> Types for (T, S) {
    type T = T;
    type S = S;
}
