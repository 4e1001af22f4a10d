//! The IQ types, whose quants are places in tables of well-chosen points, and MXFP4.

use half::f16;

use super::half;

/// The tables of points, a row in two little-endian bytes; `scripts/grids.py` took them from gguf-py.
static GRIDS: &[u8; 2 * (256 + 512 + 1024 + 256 + 512 + 2048)] = include_bytes!("grids.bin");

// The first row of each table.
const IQ2_XXS: usize = 0;
const IQ2_XS: usize = 256;
const IQ2_S: usize = 768;
const IQ3_XXS: usize = 1792;
const IQ3_S: usize = 2048;
const IQ1: usize = 2560;

fn row(table: usize, index: usize) -> u16 {
    let at = 2 * (table + index);
    u16::from_le_bytes([GRIDS[at], GRIDS[at + 1]])
}

/// Eight coordinates of two bits each.
fn eight(row: u16, of: [f32; 3]) -> [f32; 8] {
    // No table holds a fourth value.
    std::array::from_fn(|i| of[usize::from(row >> (2 * i) & 3).min(2)])
}

/// Four coordinates of four bits each.
fn four(row: u16, of: impl Fn(u8) -> f32) -> [f32; 4] {
    std::array::from_fn(|i| of((row >> (4 * i) & 15) as u8))
}

fn iq2(table: usize, index: usize) -> [f32; 8] {
    eight(row(table, index), [8.0, 25.0, 43.0])
}

/// Seven signs as written; the eighth makes the number of minus signs even.
fn even(signs: u32) -> u8 {
    let seven = (signs & 127) as u8;
    seven | ((seven.count_ones() as u8 & 1) << 7)
}

fn sign(signs: u8, at: usize) -> f32 {
    if signs >> at & 1 == 0 { 1.0 } else { -1.0 }
}

/// The `j`-th nibble of some bytes, low ones first.
fn nibble(bytes: &[u8], j: usize) -> u8 {
    bytes[j / 2] >> (4 * (j % 2)) & 15
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Writes `scale * point`, with signs.
fn put(out: &mut [f32], scale: f32, points: &[f32], signs: u8) {
    for (i, (out, point)) in out.iter_mut().zip(points).enumerate() {
        *out = scale * point * sign(signs, i);
    }
}

pub(super) fn iq2_xxs(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = half(block, 0);
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (indices, rest) = (&block[2 + 8 * group..], word(block, 6 + 8 * group));
        let scale = d * (0.5 + (rest >> 28) as f32) * 0.25;
        for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            put(out, scale, &iq2(IQ2_XXS, indices[i].into()), even(rest >> (7 * i)));
        }
    }
}

pub(super) fn iq2_xs(block: &[u8; 74], out: &mut [f32; 256]) {
    let (d, scales) = (half(block, 0), &block[66..]);
    for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let quant = u16::from_le_bytes([block[2 + 2 * i], block[3 + 2 * i]]);
        let scale = d * (0.5 + f32::from(nibble(scales, i / 2))) * 0.25;
        put(out, scale, &iq2(IQ2_XS, (quant & 511).into()), even((quant >> 9).into()));
    }
}

pub(super) fn iq2_s(block: &[u8; 82], out: &mut [f32; 256]) {
    let d = half(block, 0);
    let (low, signs, high, scales) = (&block[2..34], &block[34..66], &block[66..74], &block[74..]);
    for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let index = usize::from(low[i]) | usize::from(high[i / 4] >> (2 * (i % 4)) & 3) << 8;
        let scale = d * (0.5 + f32::from(nibble(scales, i / 2))) * 0.25;
        put(out, scale, &iq2(IQ2_S, index), signs[i]);
    }
}

pub(super) fn iq3_xxs(block: &[u8; 98], out: &mut [f32; 256]) {
    let d = half(block, 0);
    let point = |index: u8| four(row(IQ3_XXS, index.into()), |q| if q == 7 { 62.0 } else { f32::from(8 * q + 4) });
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (indices, rest) = (&block[2 + 8 * group..], word(block, 66 + 4 * group));
        let scale = d * (0.5 + (rest >> 28) as f32) * 0.5;
        for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let signs = even(rest >> (7 * i));
            put(&mut out[..4], scale, &point(indices[2 * i]), signs);
            put(&mut out[4..], scale, &point(indices[2 * i + 1]), signs >> 4);
        }
    }
}

pub(super) fn iq3_s(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = half(block, 0);
    let (low, high, signs, scales) = (&block[2..66], &block[66..74], &block[74..106], &block[106..]);
    for (i, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let index = usize::from(low[i]) | usize::from(high[i / 8] >> (i % 8) & 1) << 8;
        let scale = d * f32::from(1 + 2 * nibble(scales, i / 8));
        let points = four(row(IQ3_S, index), |q| f32::from(2 * q + 1));
        put(out, scale, &points, signs[i / 2] >> (4 * (i % 2)));
    }
}

/// A step to one side that IQ1 adds to all points of a group.
const DELTA: f32 = 0.125;

pub(super) fn iq1_s(block: &[u8; 50], out: &mut [f32; 256]) {
    let d = half(block, 0);
    for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let at = 34 + 2 * (i / 4);
        let high = u16::from_le_bytes([block[at], block[at + 1]]);
        let index = usize::from(block[2 + i]) | usize::from(high >> (3 * (i % 4)) & 7) << 8;
        let scale = d * f32::from(2 * (high >> 12 & 7) + 1);
        let delta = if high & 0x8000 == 0 { DELTA } else { -DELTA };
        put(out, scale, &eight(row(IQ1, index), [-1.0, 0.0, 1.0]).map(|point| point + delta), 0);
    }
}

pub(super) fn iq1_m(block: &[u8; 56], out: &mut [f32; 256]) {
    let (low, high) = (&block[..32], &block[32..48]);
    let scales: [u16; 4] = std::array::from_fn(|i| u16::from_le_bytes([block[48 + 2 * i], block[49 + 2 * i]]));
    // The common scale is spread over the top nibbles of the scales.
    let bits = scales[0] >> 12 | scales[1] >> 8 & 0xf0 | scales[2] >> 4 & 0xf00 | scales[3] & 0xf000;
    let d = f16::from_bits(bits).to_f32();
    for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let high = nibble(high, i);
        let index = usize::from(low[i]) | usize::from(high & 7) << 8;
        let scale = d * f32::from(2 * (scales[i / 8] >> (3 * (i / 2 % 4)) & 7) + 1);
        let delta = if high & 8 == 0 { DELTA } else { -DELTA };
        put(out, scale, &eight(row(IQ1, index), [-1.0, 0.0, 1.0]).map(|point| point + delta), 0);
    }
}

/// The sixteen values of IQ4.
const IQ4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// 32 elements in 16 bytes, the low nibbles first.
fn halves(bytes: &[u8], out: &mut [f32], scale: f32, of: &[i8; 16]) {
    for i in 0..16 {
        out[i] = scale * f32::from(of[usize::from(bytes[i] & 15)]);
        out[i + 16] = scale * f32::from(of[usize::from(bytes[i] >> 4)]);
    }
}

pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    halves(&block[2..], out, half(block, 0), &IQ4);
}

pub(super) fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let (d, high, low) = (half(block, 0), u16::from_le_bytes([block[2], block[3]]), &block[4..8]);
    for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let scale = nibble(low, j) | ((high >> (2 * j) & 3) << 4) as u8;
        halves(&block[8 + 16 * j..], out, d * f32::from(scale as i8 - 32), &IQ4);
    }
}

/// The sixteen values of OCP's 4-bit floats (e2m1), doubled.
const E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

pub(super) fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    // The scale is a power of two, halved because the values are doubled.
    let exponent = u32::from(block[0]);
    let bits = if exponent < 2 { 0x0020_0000 << exponent } else { (exponent - 1) << 23 };
    halves(&block[1..], out, f32::from_bits(bits), &E2M1);
}
