//! Hand-written CPU kernels.
//!
//! Each is plain Rust over slices, compiled three times (AVX-512, AVX2 with FMA, and the baseline)
//! and chosen at run time; arithmetic is f32 whatever the storage. Work is split over the threads of
//! libtorch's own OpenMP pool; no result depends on which thread does what, so they repeat bit for bit
//! on one machine.
#![allow(clippy::needless_range_loop, reason = "tiles are indexed by row and column throughout")]
#![allow(unsafe_code, reason = "kernels: run-time CPU dispatch, raw tensor memory, disjoint writes from threads")]

pub(crate) mod adamw;
#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
pub(crate) mod cached;
pub(crate) mod dense;
pub(crate) mod element;
pub(crate) mod gated;
pub(crate) mod lanes;
pub(crate) mod layout;
pub(crate) mod math;
pub(crate) mod norm;
pub(crate) mod paged;
pub(crate) mod parallel;
pub(crate) mod product;
pub(crate) mod quantised;
pub(crate) mod rope;
pub(crate) mod softmax;
pub(crate) mod tree;

/// Defines a function that runs the best of three compilations of an `#[inline(always)]` body whose
/// one const parameter says whether fused multiply-add is in hardware.
macro_rules! dispatch {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<$T:ident: $bound:path>)? ($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "a kernel's operands")]
        $vis fn $name $(<$T: $bound>)? ($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
                fn avx512 $(<$T: $bound>)? ($($arg: $ty),*) $(-> $ret)? {
                    $body::<$($T,)? true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                fn avx2 $(<$T: $bound>)? ($($arg: $ty),*) $(-> $ret)? {
                    $body::<$($T,)? true>($($arg),*)
                }
                match $crate::kernels::level() {
                    // SAFETY: `level` has seen these features on this CPU.
                    $crate::kernels::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: `level` has seen these features on this CPU.
                    $crate::kernels::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::kernels::Level::Baseline => {}
                }
            }
            $body::<$($T,)? false>($($arg),*)
        }
    };
}
pub(crate) use dispatch;

/// Where numbers are wanted that will be used soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Near {
    /// In the first-level cache: a few lines only.
    First,
    /// In the second-level cache, which can wait for more lines at once.
    Second,
}

/// Asks for the cache lines of `numbers`, which are wanted soon.
#[inline(always)]
pub(crate) fn prefetch<T>(numbers: &[T], near: Near) {
    const LINE: usize = 64;
    for offset in (0..size_of_val(numbers)).step_by(LINE) {
        prefetch_line(numbers.as_ptr().wrapping_byte_add(offset), near);
    }
}

/// Asks for the cache line of an address, which may be any: a hint reads nothing and never faults.
#[inline(always)]
pub(crate) fn prefetch_line<T>(from: *const T, near: Near) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint reads nothing.
        unsafe {
            match near {
                Near::First => _mm_prefetch::<_MM_HINT_T0>(from.cast()),
                Near::Second => _mm_prefetch::<_MM_HINT_T1>(from.cast()),
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, near);
}

/// The instruction sets kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Whatever every x86-64 (or other) CPU has.
    Baseline,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, VL and DQ.
    Avx512,
}

/// The best level of this CPU; `RELIGN_KERNELS=baseline|avx2` lowers it, and `avx512` leaves out tiles, for tests.
pub fn level() -> Level {
    static LEVEL: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
    *LEVEL.get_or_init(|| {
        let wanted = std::env::var("RELIGN_KERNELS").unwrap_or_default();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
                && wanted != "baseline";
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq");
            if avx2 && avx512 && wanted != "avx2" {
                return Level::Avx512;
            }
            if avx2 {
                return Level::Avx2;
            }
        }
        let _ = wanted;
        Level::Baseline
    })
}
