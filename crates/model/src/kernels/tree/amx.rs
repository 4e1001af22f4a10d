//! A unit's gradients by AMX tiles.
//!
//! The five products of a block of keys are sums in f32 of products of bf16: probabilities and the gradients of scores are
//! rounded to bf16 for those that they are factors of, as in FlashAttention-2.

use half::bf16;

use super::super::amx::{self, BLOCK, Operand, ROWS, SIDE, TILE};
use super::super::element::Element;
use super::super::math::{exp, sums};
use super::super::parallel::Shared;
use super::{KEYS, Keys, Segment, Shape, TILE_WIDTH, Unit, gather, keys_seen, mask};

const _: () = assert!(TILE_WIDTH == SIDE && KEYS.is_multiple_of(SIDE));

/// Columns that heads of `dim` are padded to.
fn width(dim: usize) -> usize {
    dim.next_multiple_of(TILE_WIDTH)
}

/// Queries, keys, values, the attention's output and its gradient.
pub(super) struct Inputs<'a> {
    pub(super) q: &'a [bf16],
    pub(super) k: &'a [bf16],
    pub(super) v: &'a [bf16],
    pub(super) out: &'a [bf16],
    pub(super) dout: &'a [bf16],
    pub(super) lse: &'a [f32],
}

/// Tiles of an operand, `blocks` for each 16 rows or columns.
struct Packed {
    words: Vec<f32>,
    blocks: usize,
}

impl Packed {
    fn new(width: usize, k: usize) -> Self {
        let blocks = k.div_ceil(BLOCK);
        Self { words: vec![0.0; width / ROWS * blocks * TILE], blocks }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn rows(&mut self, data: &[bf16], turned: bool, width: usize) {
        let operand = Operand { data, turned, width, k: data.len() / width };
        for (tile, to) in self.words.chunks_exact_mut(self.blocks * TILE).enumerate() {
            // SAFETY: the features are this function's; the chunk is a tile's words.
            unsafe { operand.pack_rows(tile, 0..self.blocks, to.as_mut_ptr().cast()) };
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn columns(&mut self, data: &[bf16], turned: bool, width: usize) {
        let operand = Operand { data, turned, width, k: data.len() / width };
        for (tile, to) in self.words.chunks_exact_mut(self.blocks * TILE).enumerate() {
            // SAFETY: as above.
            unsafe { operand.pack_columns(tile, 0..self.blocks, to.as_mut_ptr().cast()) };
        }
    }

    /// Puts (or, with `add`, adds) the products of these rows with `columns` into `to`, rows `stride` apart.
    ///
    /// # Safety
    /// Tiles are configured with all rows.
    unsafe fn multiply(&self, columns: &Self, add: bool, to: &mut [f32], stride: usize) {
        assert_eq!(self.blocks, columns.blocks, "as many numbers along the summed dimension");
        let size = self.blocks * TILE;
        let (down, across) = (self.words.len() / size, columns.words.len() / size);
        assert!(down.is_multiple_of(2) && across.is_multiple_of(2), "tiles in pairs");
        assert!(to.len() >= (down * ROWS - 1) * stride + across * ROWS, "room for all sums");
        for row in (0..down).step_by(2) {
            for column in (0..across).step_by(2) {
                // SAFETY: the lengths were checked, the rest is the caller's.
                unsafe {
                    let (a, b) = (self.words.as_ptr().add(row * size), columns.words.as_ptr().add(column * size));
                    let to = to.as_mut_ptr().add(row * ROWS * stride + column * ROWS);
                    amx::square(a, b, self.blocks, if add { to } else { std::ptr::null_mut() }, to, stride);
                }
            }
        }
    }
}

/// Adds to `dk` and `dv`, rows of `kv_heads` heads of [`TILE_WIDTH`]'s multiples with [`KEYS`] rows to spare, and fills the unit's rows of
/// `dq`.
///
/// # Safety
/// Tiles are available; no other thread has these rows of `dq`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
pub(super) unsafe fn backward_unit<T: Element>(
    segments: &[Segment],
    shape: Shape,
    unit: &Unit,
    inputs: &Inputs<'_>,
    dq: &Shared<T>,
    dk: &mut [f32],
    dv: &mut [f32],
) {
    let (group, width) = (shape.group(), width(shape.dim));
    let rows = unit.len * group;
    let padded = rows.next_multiple_of(SIDE);
    let stride = shape.kv_heads * width;
    let own_start = segments[unit.segment].start + unit.first;
    let place = |row: usize| (own_start + row / group) * shape.heads + unit.kv_head * group + row % group;
    let rows_of = |x: &[bf16]| {
        let mut copy = vec![bf16::ZERO; padded * width];
        for (row, copy) in copy.chunks_exact_mut(width).take(rows).enumerate() {
            copy[..shape.dim].copy_from_slice(&x[place(row) * shape.dim..][..shape.dim]);
        }
        copy
    };
    let (queries, grads) = (rows_of(inputs.q), rows_of(inputs.dout));
    let [mut query_rows, mut grad_rows] = [(); 2].map(|()| Packed::new(padded, width));
    let [mut query_columns, mut grad_columns] = [(); 2].map(|()| Packed::new(width, padded));
    query_rows.rows(&queries, true, padded);
    grad_rows.rows(&grads, true, padded);
    query_columns.columns(&queries, false, width);
    grad_columns.columns(&grads, false, width);
    let mut delta = Vec::with_capacity(rows);
    let (grads, outputs) =
        (gather(segments, shape, unit, inputs.dout, 1.0), gather(segments, shape, unit, inputs.out, 1.0));
    for (grads, outputs) in grads.chunks_exact(shape.padded()).zip(outputs.chunks_exact(shape.padded())) {
        let [dot] = sums([grads, outputs], |[grad, output]| [grad * output]);
        delta.push(dot);
    }
    let [mut key_columns, mut value_columns] = [(); 2].map(|()| Packed::new(KEYS, width));
    let mut key_rows = Packed::new(width, KEYS);
    let [mut p_rows, mut ds_rows] = [(); 2].map(|()| Packed::new(KEYS, padded));
    let mut ds_by_query = Packed::new(padded, KEYS);
    let [mut keys, mut values] = [(); 2].map(|()| vec![bf16::ZERO; KEYS * width]);
    let [mut scores, mut dp] = [(); 2].map(|()| vec![0.0_f32; padded * KEYS]);
    let [mut p, mut ds] = [(); 2].map(|()| vec![bf16::ZERO; padded * KEYS]);
    let mut dqueries = vec![0.0_f32; padded * width];
    let (seen, query) = keys_seen(segments, unit, shape.window);
    // SAFETY: tiles are available, and given back below.
    unsafe { amx::configure([ROWS; 8]) };
    for Keys { start, len, position } in seen {
        for first in (0..len).step_by(KEYS) {
            let n = KEYS.min(len - first);
            for (x, to) in [(inputs.k, &mut keys), (inputs.v, &mut values)] {
                load(shape, x, start + first, n, unit.kv_head, to);
            }
            key_columns.columns(&keys, true, KEYS);
            value_columns.columns(&values, true, KEYS);
            key_rows.columns(&keys, false, width);
            // SAFETY: tiles are configured.
            unsafe {
                query_rows.multiply(&key_columns, false, &mut scores, KEYS);
                grad_rows.multiply(&value_columns, false, &mut dp, KEYS);
            }
            for row in 0..rows {
                let scores = &mut scores[row * KEYS..][..KEYS];
                for score in &mut *scores {
                    *score *= shape.scale;
                }
                mask(scores, n, position + first, query + row / group, shape.window);
                let (lse, delta) = (inputs.lse[place(row)], delta[row]);
                let (p, ds) = (&mut p[row * KEYS..][..KEYS], &mut ds[row * KEYS..][..KEYS]);
                let dp = &dp[row * KEYS..][..KEYS];
                for key in 0..KEYS {
                    let probability = exp::<true>(scores[key] - lse);
                    p[key] = bf16::store(probability);
                    ds[key] = bf16::store(shape.scale * (probability * (dp[key] - delta)));
                }
            }
            p_rows.rows(&p, false, KEYS);
            ds_rows.rows(&ds, false, KEYS);
            ds_by_query.rows(&ds, true, padded);
            let at = (start + first) * stride + unit.kv_head * width;
            // SAFETY: tiles are configured.
            unsafe {
                p_rows.multiply(&grad_columns, true, &mut dv[at..], stride);
                ds_rows.multiply(&query_columns, true, &mut dk[at..], stride);
                ds_by_query.multiply(&key_rows, true, &mut dqueries, width);
            }
        }
    }
    // SAFETY: no sum is in a tile.
    unsafe { amx::release() };
    for row in 0..rows {
        let place = place(row);
        // SAFETY: each unit writes its own rows of its own heads.
        let dq = unsafe { dq.slice(place * shape.dim..(place + 1) * shape.dim) };
        for (dq, value) in dq.iter_mut().zip(&dqueries[row * width..]) {
            *dq = T::store(*value);
        }
    }
}

/// `n` rows of one head of `[tokens, kv_heads, dim]` from token `first`: `[KEYS, width]`, zeros behind them.
fn load(shape: Shape, x: &[bf16], first: usize, n: usize, head: usize, to: &mut [bf16]) {
    for (row, to) in to.chunks_exact_mut(width(shape.dim)).enumerate() {
        if row < n {
            let from = ((first + row) * shape.kv_heads + head) * shape.dim;
            to[..shape.dim].copy_from_slice(&x[from..from + shape.dim]);
        } else {
            to.fill(bf16::ZERO);
        }
    }
}
