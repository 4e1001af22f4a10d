//! The vector units that products and attention are made with.

use half::bf16;

use super::element::Element;

/// A vector unit's way to sum products of words: 32 bits that are a number in f32 or, for a unit that multiplies them so,
/// a pair in bf16. Words are carried as f32 whatever they hold.
///
/// # Safety
/// Of all methods: the CPU has the unit's features, and there are [`WIDTH`](Self::WIDTH) words behind a pointer (one for
/// [`splat`](Self::splat)).
pub(crate) trait Lanes {
    type Vector: Copy;
    /// Words in one vector, and sums.
    const WIDTH: usize;

    unsafe fn load(from: *const f32) -> Self::Vector;
    unsafe fn splat(from: *const f32) -> Self::Vector;
    unsafe fn zero() -> Self::Vector;
    /// `sum + a b`, lane by lane.
    unsafe fn multiply_add(sum: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Of sums.
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    unsafe fn store(vector: Self::Vector, to: *mut f32);
    /// As many numbers, widened to f32.
    unsafe fn widen_bf16(from: *const bf16) -> Self::Vector;
    /// As many numbers, widened to f32.
    unsafe fn widen_i8(from: *const i8) -> Self::Vector;
}

/// Any CPU: lanes are an array.
pub(crate) struct Plain;

impl Lanes for Plain {
    type Vector = [f32; 8];
    const WIDTH: usize = 8;

    unsafe fn load(from: *const f32) -> Self::Vector {
        // SAFETY: the caller vouches for eight numbers; arrays are aligned as their items are.
        unsafe { *from.cast() }
    }
    unsafe fn splat(from: *const f32) -> Self::Vector {
        // SAFETY: the caller vouches for the number.
        [unsafe { *from }; 8]
    }
    unsafe fn zero() -> Self::Vector {
        [0.0; 8]
    }
    unsafe fn multiply_add(sum: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        std::array::from_fn(|i| sum[i] + a[i] * b[i])
    }
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        std::array::from_fn(|i| a[i] + b[i])
    }
    unsafe fn store(vector: Self::Vector, to: *mut f32) {
        // SAFETY: the caller vouches for room for eight numbers.
        unsafe { *to.cast() = vector }
    }
    unsafe fn widen_bf16(from: *const bf16) -> Self::Vector {
        // SAFETY: the caller vouches for eight numbers.
        std::array::from_fn(|i| unsafe { *from.add(i) }.load())
    }
    unsafe fn widen_i8(from: *const i8) -> Self::Vector {
        // SAFETY: the caller vouches for eight numbers.
        std::array::from_fn(|i| f32::from(unsafe { *from.add(i) }))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Lanes256, Lanes512, Pairs512, transpose};
