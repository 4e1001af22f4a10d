//! A small matrix product for operands that fit in cache, the inner loop of attention.

use super::math::fma;

/// The width that columns are padded to.
pub(crate) const LANES: usize = 16;

/// `c[m, n] += a[m, k] * b[k, n]`, all row-major with their row strides; `n` a multiple of 16.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "a kernel's operands")]
pub(crate) fn multiply_add<const FMA: bool>(
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    lda: usize,
    b: &[f32],
    ldb: usize,
    c: &mut [f32],
    ldc: usize,
) {
    assert!(n.is_multiple_of(LANES) && m > 0 && k > 0);
    assert!(a.len() >= (m - 1) * lda + k && b.len() >= (k - 1) * ldb + n && c.len() >= (m - 1) * ldc + n);
    let mut i = 0;
    while i + 6 <= m {
        tiles::<6, FMA>(n, k, &a[i * lda..], lda, b, ldb, &mut c[i * ldc..], ldc);
        i += 6;
    }
    while i + 2 <= m {
        tiles::<2, FMA>(n, k, &a[i * lda..], lda, b, ldb, &mut c[i * ldc..], ldc);
        i += 2;
    }
    if i < m {
        tiles::<1, FMA>(n, k, &a[i * lda..], lda, b, ldb, &mut c[i * ldc..], ldc);
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "a kernel's operands")]
fn tiles<const ROWS: usize, const FMA: bool>(
    n: usize,
    k: usize,
    a: &[f32],
    lda: usize,
    b: &[f32],
    ldb: usize,
    c: &mut [f32],
    ldc: usize,
) {
    let mut j = 0;
    while j < n {
        let mut acc = [[0.0_f32; LANES]; ROWS];
        for p in 0..k {
            // SAFETY: `multiply_add` checked the operands' lengths against m, n, k and the strides;
            // without bounds checks here the loop stays in registers.
            let row: &[f32; LANES] = unsafe { &*b.as_ptr().add(p * ldb + j).cast() };
            for (i, acc) in acc.iter_mut().enumerate() {
                // SAFETY: as above.
                let scale = unsafe { *a.get_unchecked(i * lda + p) };
                for lane in 0..LANES {
                    acc[lane] = fma::<FMA>(scale, row[lane], acc[lane]);
                }
            }
        }
        for (i, acc) in acc.iter().enumerate() {
            let row = &mut c[i * ldc + j..][..LANES];
            for lane in 0..LANES {
                row[lane] += acc[lane];
            }
        }
        j += LANES;
    }
}
