//! The gradients of exact attention over packed reasoning trees.
//!
//! Tokens of several trees lie one after another; each segment (a node) sees its ancestors in full
//! and itself causally, and nothing else. The forward pass is that of generation, over blocks laid out by
//! [`Layout`](super::layout::Layout). Memory is linear in the tokens: probabilities are made again, block by block, from
//! each row's log-sum-exp (FlashAttention-2, Dao, 2307.08691).

#[cfg(target_arch = "x86_64")]
mod amx;

use super::dense::{LANES, multiply_add};
use super::dispatch;
use super::element::Element;
use super::math::{exp, sums};
use super::parallel::{Shared, parallel, threads};

/// Keys handled at once.
const KEYS: usize = 64;

/// A node of a packed tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its first token's place among the packed tokens.
    pub start: usize,
    /// Its number of tokens.
    pub len: usize,
    /// The segment it continues, an earlier one.
    pub parent: Option<usize>,
}

/// Heads and their width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) dim: usize,
    pub(crate) scale: f32,
    /// A query sees this many positions of its path, its own included; all without one.
    pub(crate) window: Option<usize>,
}

impl Shape {
    fn group(self) -> usize {
        self.heads / self.kv_heads
    }
    fn padded(self) -> usize {
        self.dim.next_multiple_of(LANES)
    }
}

/// A block of queries of one segment under one key-value head.
struct Unit {
    segment: usize,
    first: usize,
    len: usize,
    kv_head: usize,
}

fn units(segments: &[Segment], shape: Shape) -> Vec<Unit> {
    let block = (96 / shape.group()).max(8);
    let mut units = Vec::new();
    for (segment, s) in segments.iter().enumerate() {
        for first in (0..s.len).step_by(block) {
            let len = block.min(s.len - first);
            units.extend((0..shape.kv_heads).map(|kv_head| Unit { segment, first, len, kv_head }));
        }
    }
    units
}

/// Keys that lie one after another, both packed and on their path.
struct Keys {
    start: usize,
    len: usize,
    /// The path's position of the first.
    position: usize,
}

/// The keys a unit sees, ancestors first, and the position of its first query. Keys before every
/// query's window are left out.
fn keys_seen(segments: &[Segment], unit: &Unit, window: Option<usize>) -> (Vec<Keys>, usize) {
    let own = segments[unit.segment];
    let mut path = vec![(own.start, unit.first + unit.len)];
    let mut parent = own.parent;
    while let Some(p) = parent {
        path.push((segments[p].start, segments[p].len));
        parent = segments[p].parent;
    }
    let query = path.iter().map(|(_, len)| len).sum::<usize>() - unit.len;
    let lowest = window.map_or(0, |window| (query + 1).saturating_sub(window));
    let mut position = 0;
    let mut keys = Vec::with_capacity(path.len());
    for (start, len) in path.into_iter().rev() {
        let skip = lowest.saturating_sub(position).min(len);
        if skip < len {
            keys.push(Keys { start: start + skip, len: len - skip, position: position + skip });
        }
        position += len;
    }
    (keys, query)
}

/// Gradients of queries, keys and values; `dk` and `dv` are summed over all that see them.
#[allow(clippy::too_many_arguments, reason = "a kernel's operands")]
pub(crate) fn backward<T: Element>(
    segments: &[Segment],
    shape: Shape,
    q: &[T],
    k: &[T],
    v: &[T],
    out: &[T],
    lse: &[f32],
    dout: &[T],
    dq: &mut [T],
    dk: &mut [T],
    dv: &mut [T],
) {
    let units = units(segments, shape);
    let workers = threads().min(units.len()).max(1);
    let tokens = k.len() / (shape.kv_heads * shape.dim);
    let tiles = tiles::<T>();
    let width = if tiles { shape.dim.next_multiple_of(TILE_WIDTH) } else { shape.padded() };
    // Tiles add whole blocks of keys: zeros, behind the last one.
    let size = (tokens + if tiles { KEYS } else { 0 }) * shape.kv_heads * width;
    // One private sum per worker, added in order afterwards: no locks, and the same bits each time.
    let mut sums = vec![0.0_f32; workers * 2 * size];
    {
        let sums = Shared::new(&mut sums);
        let dq = Shared::new(dq);
        parallel(workers, &|worker| {
            // SAFETY: each worker has its own part.
            let (dk, dv) = unsafe { sums.slice(worker * 2 * size..(worker + 1) * 2 * size) }.split_at_mut(size);
            for unit in units.iter().skip(worker).step_by(workers) {
                #[cfg(target_arch = "x86_64")]
                if let (true, Some([q, k, v, out, dout])) = (tiles, as_bf16([q, k, v, out, dout])) {
                    let inputs = amx::Inputs { q, k, v, out, dout, lse };
                    // SAFETY: tiles are available; each unit has its own rows of queries.
                    unsafe { amx::backward_unit(segments, shape, unit, &inputs, &dq, dk, dv) };
                    continue;
                }
                backward_unit(segments, shape, unit, q, k, v, out, lse, dout, &dq, dk, dv);
            }
        });
    }
    let dim = shape.dim;
    for (target, half) in [(dk, 0), (dv, 1)] {
        let target = Shared::new(target);
        super::parallel::ranges(tokens * shape.kv_heads, 64, &|range| {
            // SAFETY: each thread has its own rows.
            let target = unsafe { target.slice(range.start * dim..range.end * dim) };
            for (row, target) in range.zip(target.chunks_exact_mut(dim)) {
                for (i, target) in target.iter_mut().enumerate() {
                    let total: f32 = (0..workers).map(|w| sums[(2 * w + half) * size + row * width + i]).sum();
                    *target = T::store(total);
                }
            }
        });
    }
}

/// Columns that heads are padded to where tiles multiply them.
const TILE_WIDTH: usize = 32;

/// Whether tiles multiply numbers of this type.
fn tiles<T: Element>() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        T::as_bf16(&[]).is_some() && super::amx::available()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

#[cfg(target_arch = "x86_64")]
fn as_bf16<T: Element, const N: usize>(numbers: [&[T]; N]) -> Option<[&[half::bf16]; N]> {
    let mut all = [&[][..]; N];
    for (to, numbers) in all.iter_mut().zip(numbers) {
        *to = T::as_bf16(numbers)?;
    }
    Some(all)
}

dispatch! { fn backward_unit<T: Element>(segments: &[Segment], shape: Shape, unit: &Unit, q: &[T], k: &[T], v: &[T], out: &[T], lse: &[f32], dout: &[T], dq: &Shared<T>, dk: &mut [f32], dv: &mut [f32]) = backward_body }

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "a kernel's operands")]
fn backward_body<T: Element, const FMA: bool>(
    segments: &[Segment],
    shape: Shape,
    unit: &Unit,
    q: &[T],
    k: &[T],
    v: &[T],
    out: &[T],
    lse: &[f32],
    dout: &[T],
    dq: &Shared<T>,
    dk: &mut [f32],
    dv: &mut [f32],
) {
    let (group, width) = (shape.group(), shape.padded());
    let rows = unit.len * group;
    let stride = shape.kv_heads * width;
    let queries = gather(segments, shape, unit, q, shape.scale);
    let grads = gather(segments, shape, unit, dout, 1.0);
    let outputs = gather(segments, shape, unit, out, 1.0);
    let own_start = segments[unit.segment].start + unit.first;
    let place = |row: usize| (own_start + row / group) * shape.heads + unit.kv_head * group + row % group;
    let mut delta = Vec::with_capacity(rows);
    for (grads, outputs) in grads.chunks_exact(width).zip(outputs.chunks_exact(width)) {
        let [dot] = sums([grads, outputs], |[grad, output]| [grad * output]);
        delta.push(dot);
    }
    let mut dqueries = vec![0.0_f32; rows * width];
    let mut p = vec![0.0_f32; rows * KEYS];
    let mut dp = vec![0.0_f32; rows * KEYS];
    let mut turned = vec![0.0_f32; KEYS * rows];
    let mut keys = vec![0.0_f32; KEYS * width];
    let mut keys_t = vec![0.0_f32; width * KEYS];
    let mut values_t = vec![0.0_f32; width * KEYS];
    let (seen, query) = keys_seen(segments, unit, shape.window);
    for Keys { start, len, position } in seen {
        for first in (0..len).step_by(KEYS) {
            let n = KEYS.min(len - first);
            load(shape, k, start + first, n, unit.kv_head, &mut keys);
            load_transposed(shape, k, start + first, n, unit.kv_head, &mut keys_t);
            load_transposed(shape, v, start + first, n, unit.kv_head, &mut values_t);
            p.fill(0.0);
            multiply_add::<FMA>(rows, KEYS, width, &queries, width, &keys_t, KEYS, &mut p, KEYS);
            dp.fill(0.0);
            multiply_add::<FMA>(rows, KEYS, width, &grads, width, &values_t, KEYS, &mut dp, KEYS);
            for row in 0..rows {
                let scores = &mut p[row * KEYS..][..KEYS];
                mask(scores, n, position + first, query + row / group, shape.window);
                let lse = lse[place(row)];
                for (score, dp) in scores.iter_mut().zip(&mut dp[row * KEYS..]) {
                    *score = exp::<FMA>(*score - lse);
                    *dp = *score * (*dp - delta[row]);
                }
            }
            let at = (start + first) * stride + unit.kv_head * width;
            turn(&p, rows, &mut turned);
            multiply_add::<FMA>(n, width, rows, &turned, rows, &grads, width, &mut dv[at..], stride);
            turn(&dp, rows, &mut turned);
            multiply_add::<FMA>(n, width, rows, &turned, rows, &queries, width, &mut dk[at..], stride);
            multiply_add::<FMA>(rows, width, KEYS, &dp, KEYS, &keys, width, &mut dqueries, width);
        }
    }
    for row in 0..rows {
        let place = place(row);
        // SAFETY: each unit writes its own rows of its own heads.
        let dq = unsafe { dq.slice(place * shape.dim..(place + 1) * shape.dim) };
        for (dq, value) in dq.iter_mut().zip(&dqueries[row * width..]) {
            *dq = T::store(value * shape.scale);
        }
    }
}

/// Hides padding, keys after the query and keys before its window, among `n` keys from position `first`.
#[inline(always)]
fn mask(scores: &mut [f32], n: usize, first: usize, query: usize, window: Option<usize>) {
    let end = n.min((query + 1).saturating_sub(first));
    for score in &mut scores[end..] {
        *score = f32::NEG_INFINITY;
    }
    if let Some(window) = window {
        let begin = (query + 1).saturating_sub(window).saturating_sub(first).min(end);
        for score in &mut scores[..begin] {
            *score = f32::NEG_INFINITY;
        }
    }
}

/// The unit's rows of `[n, heads, dim]`, multiplied by `scale`: `[len * group, padded]`, heads inner.
#[inline(always)]
fn gather<T: Element>(segments: &[Segment], shape: Shape, unit: &Unit, x: &[T], scale: f32) -> Vec<f32> {
    let (group, width) = (shape.group(), shape.padded());
    let start = segments[unit.segment].start + unit.first;
    let mut rows = vec![0.0_f32; unit.len * group * width];
    for (row, target) in rows.chunks_exact_mut(width).enumerate() {
        let place = (start + row / group) * shape.heads + unit.kv_head * group + row % group;
        for (target, value) in target.iter_mut().zip(&x[place * shape.dim..(place + 1) * shape.dim]) {
            *target = value.load() * scale;
        }
    }
    rows
}

/// `n` rows of one head of `[tokens, kv_heads, dim]` from token `first`: `[KEYS, padded]`, rest 0.
#[inline(always)]
fn load<T: Element>(shape: Shape, x: &[T], first: usize, n: usize, head: usize, to: &mut [f32]) {
    to.fill(0.0);
    for (row, to) in to.chunks_exact_mut(shape.padded()).take(n).enumerate() {
        let from = &x[((first + row) * shape.kv_heads + head) * shape.dim..][..shape.dim];
        for (to, value) in to.iter_mut().zip(from) {
            *to = value.load();
        }
    }
}

/// As [`load`], transposed: `[padded, KEYS]`.
#[inline(always)]
fn load_transposed<T: Element>(shape: Shape, x: &[T], first: usize, n: usize, head: usize, to: &mut [f32]) {
    if n < KEYS {
        to.fill(0.0);
    }
    for row in 0..n {
        let from = &x[((first + row) * shape.kv_heads + head) * shape.dim..][..shape.dim];
        for (i, value) in from.iter().enumerate() {
            to[i * KEYS + row] = value.load();
        }
    }
}

/// `[rows, KEYS]` to `[KEYS, rows]`.
#[inline(always)]
fn turn(x: &[f32], rows: usize, to: &mut [f32]) {
    for row in 0..rows {
        for key in 0..KEYS {
            to[key * rows + row] = x[row * KEYS + key];
        }
    }
}
