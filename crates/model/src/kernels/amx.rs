//! AMX: tiles of 16 rows of 64 bytes, and the instruction that multiplies tiles of bf16.
//!
//! A tile's state is a thread's own, nothing saves it across calls, and libtorch's products use tiles in the same threads:
//! whoever needs tiles configures them on entry, releases them on exit, and calls nothing in between that may use them.

mod operand;

use std::arch::asm;
use std::sync::OnceLock;

pub(crate) use operand::Operand;

/// Rows, or columns, of a tile.
pub(crate) const ROWS: usize = 16;

/// Numbers along the summed dimension that one instruction multiplies.
pub(crate) const BLOCK: usize = 32;

/// Words of a tile; a word is a pair of numbers, or a sum.
pub(crate) const TILE: usize = ROWS * ROWS;

/// Rows, and columns, of sums that [`square`] makes.
pub(crate) const SIDE: usize = 2 * ROWS;

/// Whether this process may multiply bf16 by tiles; `RELIGN_KERNELS=avx512` says that it shall not, for tests.
///
/// CPUID alone is not enough: the first tile instruction of a process that did not ask Linux for permission is illegal
/// (Documentation/arch/x86/xstate.rst, Linux 5.16). Permission holds for threads that run already.
pub(crate) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let bits = std::arch::x86_64::__cpuid_count(7, 0).edx;
        let (bf16, tiles) = (1 << 22, 1 << 24);
        let wanted = std::env::var("RELIGN_KERNELS").map_or(true, |level| level != "avx512");
        wanted && crate::has_bf16_products() && bits & bf16 != 0 && bits & tiles != 0 && permission()
    })
}

fn permission() -> bool {
    const ARCH_PRCTL: isize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let result: isize;
    // SAFETY: arch_prctl changes nothing but this process's permission to use tiles.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Gives tiles `heights` rows of 64 bytes, and zeros.
///
/// # Safety
/// Tiles are [`available`]; heights are 1 to [`ROWS`]; no tile holds what is still wanted.
#[inline]
pub(crate) unsafe fn configure(heights: [usize; 8]) {
    let mut c = Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
    for (at, height) in heights.into_iter().enumerate() {
        debug_assert!((1..=ROWS).contains(&height), "rows of a tile");
        c.rows[at] = height as u8;
        c.row_bytes[at] = 64;
    }
    // SAFETY: the caller's.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const c, options(nostack, preserves_flags, readonly)) };
}

/// Gives tiles back.
///
/// # Safety
/// Tiles are [`available`]; none holds what is still wanted.
#[inline]
pub(crate) unsafe fn release() {
    // SAFETY: the caller's.
    unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) };
}

/// `load!(tile, from, stride)`: rows of 64 bytes, `stride` bytes apart.
macro_rules! load {
    ($tile:literal, $from:expr, $stride:expr) => {
        asm!(concat!("tileloadd tmm", $tile, ", [{from} + {stride}]"), from = in(reg) $from, stride = in(reg) $stride,
            options(nostack, preserves_flags, readonly))
    };
}

/// `store!(tile, to, stride)`: rows of 16 sums in f32, `stride` bytes apart.
macro_rules! store {
    ($tile:literal, $to:expr, $stride:expr) => {
        asm!(concat!("tilestored [{to} + {stride}], tmm", $tile), to = in(reg) $to, stride = in(reg) $stride,
            options(nostack, preserves_flags))
    };
}

/// `zero!(tile tile ...)`.
macro_rules! zero {
    ($($tile:literal)*) => { $(asm!(concat!("tilezero tmm", $tile), options(nostack, preserves_flags, nomem));)* };
}

/// `multiply!(sum, a, b)`: adds the products of rows of pairs in `a` with columns of pairs in `b`.
macro_rules! multiply {
    ($sum:literal, $a:literal, $b:literal) => {
        asm!(concat!("tdpbf16ps tmm", $sum, ", tmm", $a, ", tmm", $b), options(nostack, preserves_flags, nomem))
    };
}

pub(crate) use {load, multiply, store, zero};

/// Adds the products of two tiles of rows and two of columns, `blocks` of each one after the other, to sums `from`, or to zeros
/// where that is null; rows of sums are `stride` numbers apart in `from` and `to`.
///
/// # Safety
/// Tiles are [configured](configure) with all rows; operands are packed, and there are [`SIDE`] rows of as many sums.
#[inline]
pub(crate) unsafe fn square(
    rows: *const f32,
    columns: *const f32,
    blocks: usize,
    from: *const f32,
    to: *mut f32,
    stride: usize,
) {
    const DENSE: usize = ROWS * size_of::<f32>();
    let (second, below) = (blocks * TILE, ROWS * stride);
    let stride = stride * size_of::<f32>();
    // SAFETY: the caller's.
    unsafe {
        if from.is_null() {
            zero!(0 1 2 3);
        } else {
            load!(0, from, stride);
            load!(1, from.add(ROWS), stride);
            load!(2, from.add(below), stride);
            load!(3, from.add(below + ROWS), stride);
        }
        for block in 0..blocks {
            let at = block * TILE;
            load!(6, columns.add(at), DENSE);
            load!(4, rows.add(at), DENSE);
            multiply!(0, 4, 6);
            load!(7, columns.add(second + at), DENSE);
            multiply!(1, 4, 7);
            load!(5, rows.add(second + at), DENSE);
            multiply!(2, 5, 6);
            multiply!(3, 5, 7);
        }
        store!(0, to, stride);
        store!(1, to.add(ROWS), stride);
        store!(2, to.add(below), stride);
        store!(3, to.add(below + ROWS), stride);
    }
}

/// What an output is, one number at a time, for tests.
#[cfg(test)]
pub(crate) mod twin {
    use half::bf16;

    /// Numbers that one instruction multiplies.
    const NUMBERS: usize = 32;

    /// A subnormal number is a zero.
    fn flush(number: f32) -> f32 {
        if number.is_subnormal() { 0.0_f32.copysign(number) } else { number }
    }

    fn multiply_add(a: bf16, b: bf16, sum: f32) -> f32 {
        flush(flush(a.to_f32()).mul_add(flush(b.to_f32()), sum))
    }

    /// The sum `total`, and then of the products of two rows, block by block.
    pub(crate) fn add_dot(total: f32, x: &[bf16], w: &[bf16]) -> f32 {
        x.chunks(NUMBERS).zip(w.chunks(NUMBERS)).fold(total, |total, (x, w)| {
            let (mut even, mut odd) = (0.0_f32, 0.0_f32);
            let at = |row: &[bf16], place: usize| row.get(place).copied().unwrap_or(bf16::ZERO);
            for place in (0..NUMBERS).step_by(2) {
                even = multiply_add(at(x, place), at(w, place), even);
                odd = multiply_add(at(x, place + 1), at(w, place + 1), odd);
            }
            flush(total + flush(even + odd))
        })
    }
}
