//! Attention of single queries over paged keys and values, for generation.
//!
//! A block holds [`BLOCK`] positions of one layer and head: keys transposed, `[dim, BLOCK]`, so that
//! the scores of a block are made side by side without sums across lanes; values `[BLOCK, dim]`.

use super::dispatch;
use super::element::Element;
use super::math::{exp, fma, sum};
use super::parallel::{Shared, parallel, threads};

/// Positions in a block.
pub(crate) const BLOCK: usize = 16;

/// Heads and their width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PagedShape {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) dim: usize,
    pub(crate) scale: f32,
    /// A query sees this many positions, its own included; all without one.
    pub(crate) window: Option<usize>,
}

/// One query: the blocks of its sequence and how many positions it sees, its own included.
#[derive(Clone, Copy, Debug)]
pub struct PagedRow<'a> {
    /// Blocks in order; enough for `len` positions.
    pub blocks: &'a [u32],
    /// Positions seen.
    pub len: usize,
}

/// Writes the keys and values `[n, kv_heads, dim]` of each row's last position into its block.
pub(crate) fn write<T: Element>(
    shape: PagedShape,
    rows: &[PagedRow<'_>],
    k: &[T],
    v: &[T],
    keys: &mut [T],
    values: &mut [T],
) {
    let (dim, heads) = (shape.dim, shape.kv_heads);
    for (row, place) in rows.iter().enumerate() {
        let position = place.len - 1;
        let block = place.blocks[position / BLOCK] as usize;
        let at = position % BLOCK;
        for head in 0..heads {
            let base = (block * heads + head) * BLOCK * dim;
            let from = (row * heads + head) * dim;
            for i in 0..dim {
                keys[base + i * BLOCK + at] = k[from + i];
            }
            values[base + at * dim..][..dim].copy_from_slice(&v[from..from + dim]);
        }
    }
}

/// `out` `[n, heads, dim]` for queries `[n, heads, dim]`.
pub(crate) fn attend<T: Element>(
    shape: PagedShape,
    rows: &[PagedRow<'_>],
    q: &[T],
    keys: &[T],
    values: &[T],
    out: &mut [T],
) {
    let units = rows.len() * shape.kv_heads;
    let workers = threads().min(units).max(1);
    let out = Shared::new(out);
    parallel(workers, &|worker| {
        let mut scratch = Vec::new();
        for unit in (worker..units).step_by(workers) {
            let (row, head) = (unit / shape.kv_heads, unit % shape.kv_heads);
            attend_unit(shape, rows[row], row, head, q, keys, values, &out, &mut scratch);
        }
    });
}

dispatch! { fn attend_unit<T: Element>(shape: PagedShape, place: PagedRow<'_>, row: usize, head: usize, q: &[T], keys: &[T], values: &[T], out: &Shared<T>, scratch: &mut Vec<f32>) = attend_body }

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "a kernel's operands")]
fn attend_body<T: Element, const FMA: bool>(
    shape: PagedShape,
    place: PagedRow<'_>,
    row: usize,
    head: usize,
    q: &[T],
    keys: &[T],
    values: &[T],
    out: &Shared<T>,
    scratch: &mut Vec<f32>,
) {
    let group = shape.heads / shape.kv_heads;
    let dim = shape.dim;
    // Blocks before the window are left out; what the first one holds before it is hidden.
    let before = shape.window.map_or(0, |window| place.len.saturating_sub(window));
    let (skip, hidden) = (before / BLOCK, before % BLOCK);
    let place = PagedRow { blocks: &place.blocks[skip..], len: place.len - skip * BLOCK };
    let blocks = place.len.div_ceil(BLOCK);
    let padded = blocks * BLOCK;
    scratch.clear();
    scratch.resize(group * (dim + padded), 0.0);
    let (queries, scores) = scratch.split_at_mut(group * dim);
    let first = row * shape.heads + head * group;
    for (query, value) in queries.iter_mut().zip(&q[first * dim..(first + group) * dim]) {
        *query = value.load() * shape.scale;
    }
    for (index, &block) in place.blocks[..blocks].iter().enumerate() {
        let keys = &keys[(block as usize * shape.kv_heads + head) * BLOCK * dim..][..BLOCK * dim];
        let mut member = 0;
        while member < group {
            // Heads of a group read the same keys; up to four at once keep the multipliers busy.
            let many = (group - member).min(4);
            let mut acc = [[0.0_f32; BLOCK]; 4];
            for (i, keys) in keys.as_chunks::<BLOCK>().0.iter().enumerate() {
                let mut wide = [0.0_f32; BLOCK];
                for lane in 0..BLOCK {
                    wide[lane] = keys[lane].load();
                }
                for (m, acc) in acc.iter_mut().enumerate() {
                    let query = queries[(member + m.min(many - 1)) * dim + i];
                    for lane in 0..BLOCK {
                        acc[lane] = fma::<FMA>(query, wide[lane], acc[lane]);
                    }
                }
            }
            for (m, acc) in acc.iter().take(many).enumerate() {
                scores[(member + m) * padded + index * BLOCK..][..BLOCK].copy_from_slice(acc);
            }
            member += many;
        }
    }
    for scores in scores.chunks_exact_mut(padded) {
        scores[..hidden].fill(f32::NEG_INFINITY);
        scores[place.len..].fill(f32::NEG_INFINITY);
        let max = scores.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
        for score in scores.iter_mut() {
            *score = exp::<FMA>(*score - max);
        }
        let scale = 1.0 / sum(padded, |i| scores[i]);
        for score in scores.iter_mut() {
            *score *= scale;
        }
    }
    // The queries are done with; their room takes the outputs.
    queries.fill(0.0);
    for (index, &block) in place.blocks[..blocks].iter().enumerate() {
        let values = &values[(block as usize * shape.kv_heads + head) * BLOCK * dim..][..BLOCK * dim];
        let n = BLOCK.min(place.len - index * BLOCK);
        for (member, acc) in queries.chunks_exact_mut(dim).enumerate() {
            let weights = &scores[member * padded + index * BLOCK..][..BLOCK];
            for (position, values) in values.chunks_exact(dim).take(n).enumerate() {
                let weight = weights[position];
                for (acc, value) in acc.iter_mut().zip(values) {
                    *acc = fma::<FMA>(weight, value.load(), *acc);
                }
            }
        }
    }
    // SAFETY: each unit writes its own heads of its own row.
    let out = unsafe { out.slice(first * dim..(first + group) * dim) };
    for (out, value) in out.iter_mut().zip(queries.iter()) {
        *out = T::store(*value);
    }
}
