//! The K types and the ternary types: 256 elements with scales of their own for parts of them.

use super::half;

/// 256 elements that lie as two bits each in 64 bytes: in two halves, and in each half the 32 lowest
/// pairs of bits first. Calls `f` with the element's index and its two bits.
fn crumbs(bytes: &[u8], mut f: impl FnMut(usize, u8)) {
    for (at, group) in (0..8).map(|g| (g / 4 * 32, g)) {
        for i in 0..32 {
            f(group * 32 + i, bytes[at + i] >> (2 * (group % 4)) & 3);
        }
    }
}

pub(super) fn q2(block: &[u8; 84], out: &mut [f32; 256]) {
    let (scales, quants) = (&block[..16], &block[16..80]);
    let (d, dmin) = (half(block, 80), half(block, 82));
    crumbs(quants, |i, q| {
        let scale = scales[i / 16];
        out[i] = d * f32::from(scale & 15) * f32::from(q) - dmin * f32::from(scale >> 4);
    });
}

pub(super) fn q3(block: &[u8; 110], out: &mut [f32; 256]) {
    let (high, quants, packed) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half(block, 108);
    // Sixteen 6-bit scales: their low four bits in eight bytes, their high two in four.
    let scales: [f32; 16] = std::array::from_fn(|j| {
        let (low, high) = (packed[j % 8] >> (4 * (j / 8)) & 15, packed[8 + j % 4] >> (2 * (j / 4)) & 3);
        d * f32::from((low | high << 4) as i8 - 32)
    });
    crumbs(quants, |i, q| {
        // A cleared bit takes four away.
        let four = (high[i % 32] >> (i / 32) & 1 ^ 1) << 2;
        out[i] = scales[i / 16] * f32::from(q as i8 - four as i8);
    });
}

/// The `j`-th of eight pairs of 6-bit scale and minimum, packed into twelve bytes.
fn scale_min(j: usize, packed: &[u8]) -> (f32, f32) {
    let (scale, min) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        ((packed[j + 4] & 15) | (packed[j - 4] >> 6 << 4), (packed[j + 4] >> 4) | (packed[j] >> 6 << 4))
    };
    (f32::from(scale), f32::from(min))
}

pub(super) fn q4(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    let (scales, quants) = (&block[4..16], &block[16..]);
    for (pair, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let quants = &quants[32 * pair..32 * pair + 32];
        let (s1, m1) = scale_min(2 * pair, scales);
        let (s2, m2) = scale_min(2 * pair + 1, scales);
        let (d1, m1, d2, m2) = (d * s1, dmin * m1, d * s2, dmin * m2);
        for i in 0..32 {
            out[i] = d1 * f32::from(quants[i] & 15) - m1;
            out[i + 32] = d2 * f32::from(quants[i] >> 4) - m2;
        }
    }
}

pub(super) fn q5(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    let (scales, high, quants) = (&block[4..16], &block[16..48], &block[48..]);
    for (pair, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let quants = &quants[32 * pair..32 * pair + 32];
        let (s1, m1) = scale_min(2 * pair, scales);
        let (s2, m2) = scale_min(2 * pair + 1, scales);
        let (d1, m1, d2, m2) = (d * s1, dmin * m1, d * s2, dmin * m2);
        for i in 0..32 {
            let bits = high[i] >> (2 * pair);
            out[i] = d1 * f32::from((quants[i] & 15) + ((bits & 1) << 4)) - m1;
            out[i + 32] = d2 * f32::from((quants[i] >> 4) + ((bits & 2) << 3)) - m2;
        }
    }
}

pub(super) fn q6(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = half(block, 208);
    for (part, out) in out.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        let low = &block[64 * part..64 * part + 64];
        let high = &block[128 + 32 * part..128 + 32 * part + 32];
        let scales = &block[192 + 8 * part..192 + 8 * part + 8];
        for i in 0..32 {
            let quant = |nibble: u8, shift: u32| f32::from((nibble | (high[i] >> shift & 3) << 4) as i8 - 32);
            let scale = |j: usize| d * f32::from(scales[i / 16 + 2 * j] as i8);
            out[i] = scale(0) * quant(low[i] & 15, 0);
            out[i + 32] = scale(1) * quant(low[i + 32] & 15, 2);
            out[i + 64] = scale(2) * quant(low[i] >> 4, 4);
            out[i + 96] = scale(3) * quant(low[i + 32] >> 4, 6);
        }
    }
}

pub(super) fn tq1(block: &[u8; 54], out: &mut [f32; 256]) {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    let d = half(block, 52);
    let mut out = out.iter_mut();
    // Five ternary digits in a byte; the last four bytes hold four.
    for (bytes, digits) in [(&block[..32], 5), (&block[32..48], 5), (&block[48..52], 4)] {
        for power in &POWERS[..digits] {
            for (byte, out) in bytes.iter().zip(&mut out) {
                let digit = (u16::from(byte.wrapping_mul(*power)) * 3) >> 8;
                *out = d * f32::from(digit as i8 - 1);
            }
        }
    }
}

pub(super) fn tq2(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = half(block, 64);
    crumbs(&block[..64], |i, q| out[i] = d * f32::from(q as i8 - 1));
}
