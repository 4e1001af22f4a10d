//! Attention of single queries over paged keys and values, for generation.
//!
//! A block holds [`BLOCK`] positions of one layer and head: keys transposed, `[dim, BLOCK]`, so that
//! the scores of a block are made side by side without sums across lanes; values `[BLOCK, dim]`.
//!
//! Rows whose sequences begin with the same blocks are bundled: each of those blocks is read and widened once for all
//! of them. A row's arithmetic is the same in every bundle, so its result does not depend on who is beside it.

mod block;

use super::cached::{Cached, Types};
use super::element::Element;
use super::lanes::{self, Lanes};
use super::parallel::{Shared, ranges};
use super::{Level, Near, level, prefetch};
use block::{Members, block_scores, block_values, weigh};

/// Positions in a block.
pub(crate) const BLOCK: usize = 16;

/// Rows in a bundle at most: their scores are to stay in cache.
const BUNDLE: usize = 16;

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

impl PagedRow<'_> {
    /// The place of the row's own position, for the key and value of token `token`.
    pub(crate) fn slot(&self, token: usize) -> Slot {
        let position = self.len - 1;
        Slot { token, block: self.blocks[position / BLOCK], at: position % BLOCK }
    }

    /// The first block that the row sees, and how many of its positions lie before the window.
    fn begin(&self, shape: PagedShape) -> (usize, usize) {
        let before = shape.window.map_or(0, |window| self.len.saturating_sub(window));
        (before / BLOCK, before % BLOCK)
    }

    fn end(&self) -> usize {
        self.len.div_ceil(BLOCK)
    }
}

/// Rows that begin with the same blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bundle {
    /// Which rows.
    pub(crate) rows: Vec<usize>,
    /// Blocks that all of them begin with.
    pub(crate) shared: usize,
}

/// Puts rows into bundles, so that blocks are read seldom.
pub(crate) fn bundles(rows: &[PagedRow<'_>]) -> Vec<Bundle> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| rows[a].blocks[..rows[a].end()].cmp(&rows[b].blocks[..rows[b].end()]).then(a.cmp(&b)));
    let mut bundles: Vec<Bundle> = Vec::new();
    for row in order {
        let end = rows[row].end();
        if let Some(bundle) = bundles.last_mut() {
            let first = &rows[bundle.rows[0]];
            let both = first.blocks[..bundle.shared].iter().zip(&rows[row].blocks[..end]);
            let shared = both.take_while(|(a, b)| a == b).count();
            // With one row more, `shared` blocks are read once instead of `rows.len() + 1` times.
            let (now, with) = ((bundle.rows.len() - 1) * bundle.shared, bundle.rows.len() * shared);
            if shared > 0 && with >= now && bundle.rows.len() < BUNDLE {
                bundle.rows.push(row);
                bundle.shared = shared;
                continue;
            }
        }
        bundles.push(Bundle { rows: vec![row], shared: end });
    }
    bundles
}

/// The cache of one layer: `[blocks, kv_heads, dim, BLOCK]` keys, `[blocks, kv_heads, BLOCK, dim]` values and, for 8
/// bits, a scale for each position, `[blocks, kv_heads, BLOCK]`.
pub(crate) struct Cache<S> {
    pub(crate) keys: S,
    pub(crate) values: S,
}

/// Numbers and, where their type has them, scales.
pub(crate) struct Numbers<'a, S> {
    pub(crate) numbers: &'a [S],
    pub(crate) scales: &'a [f32],
}

/// Room for numbers and, where their type has them, scales.
pub(crate) struct NumbersMut<'a, S> {
    pub(crate) numbers: &'a mut [S],
    pub(crate) scales: &'a mut [f32],
}

/// Where a token's key and value go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The token, a row of `k` and `v`.
    pub(crate) token: usize,
    /// The block.
    pub(crate) block: u32,
    /// The position in the block.
    pub(crate) at: usize,
}

/// Tokens that are worth another thread to be written.
const MANY: usize = 8;

/// Writes keys and values of `k` and `v` `[n, kv_heads, dim]` to their slots.
pub(crate) fn write<P: Types>(
    shape: PagedShape,
    slots: &[Slot],
    k: &[P::T],
    v: &[P::T],
    cache: Cache<NumbersMut<'_, P::S>>,
) {
    let (dim, heads) = (shape.dim, shape.kv_heads);
    let (keys, values) = (Units::new(cache.keys, dim), Units::new(cache.values, dim));
    ranges(heads, if slots.len() < MANY { heads } else { 1 }, &|range| {
        for &Slot { token, block, at } in slots {
            for head in range.clone() {
                let unit = block as usize * heads + head;
                let from = (token * heads + head) * dim;
                let (k, v) = (&k[from..from + dim], &v[from..from + dim]);
                // SAFETY: each thread has its own heads, and with them its own units.
                let ((keys, by), (values, by_values)) = unsafe { (keys.unit(unit, at, k), values.unit(unit, at, v)) };
                for (key, number) in keys[at..].iter_mut().step_by(BLOCK).zip(k) {
                    *key = P::S::narrow(number.load(), by);
                }
                for (value, number) in values[at * dim..][..dim].iter_mut().zip(v) {
                    *value = P::S::narrow(number.load(), by_values);
                }
            }
        }
    });
}

/// The keys or values of all blocks and heads, which threads write.
struct Units<S> {
    dim: usize,
    numbers: Shared<S>,
    scales: Shared<f32>,
}

impl<S: Cached> Units<S> {
    fn new(of: NumbersMut<'_, S>, dim: usize) -> Self {
        Self { dim, numbers: Shared::new(of.numbers), scales: Shared::new(of.scales) }
    }

    /// The numbers of a unit, and by what those of the position `at`, which are to be `from`, are multiplied; their scale
    /// is noted.
    ///
    /// # Safety
    /// No other thread has the unit.
    #[allow(clippy::mut_from_ref, reason = "disjointness is the caller's duty")]
    #[inline(always)]
    unsafe fn unit<T: Element>(&self, unit: usize, at: usize, from: &[T]) -> (&mut [S], f32) {
        let size = BLOCK * self.dim;
        let mut by = 1.0;
        if S::SCALED {
            let largest = from.iter().fold(0.0_f32, |a, b| a.max(b.load().abs()));
            // SAFETY: the caller's.
            unsafe { self.scales.slice(unit * BLOCK + at..unit * BLOCK + at + 1)[0] = largest / 127.0 };
            by = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        }
        // SAFETY: the caller's.
        (unsafe { self.numbers.slice(unit * size..(unit + 1) * size) }, by)
    }
}

/// What all bundles and heads have in common.
pub(crate) struct Pass<'a, P: Types> {
    pub(crate) shape: PagedShape,
    pub(crate) rows: &'a [PagedRow<'a>],
    pub(crate) q: &'a [P::T],
    pub(crate) cache: Cache<Numbers<'a, P::S>>,
}

/// `out` `[n, heads, dim]` for queries `[n, heads, dim]`, and the log-sum-exp of each query's scores, `[n, heads]` or
/// nothing.
pub(crate) fn attend<P: Types>(pass: &Pass<'_, P>, bundles: &[Bundle], out: &mut [P::T], lse: &mut [f32]) {
    let heads = pass.shape.kv_heads;
    let (out, lse) = (Shared::new(out), Shared::new(lse));
    ranges(bundles.len() * heads, 1, &|range| {
        let mut scratch = Scratch::default();
        for unit in range {
            let next = bundles.get((unit + 1) / heads).map(|bundle| (bundle, (unit + 1) % heads));
            attend_unit::<P>(pass, &bundles[unit / heads], unit % heads, next, &out, &lse, &mut scratch);
        }
    });
}

/// What a bundle and head is worked out in.
#[derive(Default)]
struct Scratch {
    /// `[rows * group, dim]`: the queries, and in the end the outputs.
    queries: Vec<f32>,
    /// The scores of each query in turn.
    scores: Vec<f32>,
    /// Where a query's scores begin.
    starts: Vec<usize>,
}

/// Works out a bundle and head, with the best unit of this CPU.
fn attend_unit<P: Types>(
    pass: &Pass<'_, P>,
    bundle: &Bundle,
    head: usize,
    next: Option<(&Bundle, usize)>,
    out: &Shared<P::T>,
    lse: &Shared<f32>,
    scratch: &mut Scratch,
) {
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! compiled {
            ($name:ident, $features:literal, $lanes:ty, $vectors:literal) => {
                #[target_feature(enable = $features)]
                fn $name<P: Types>(
                    pass: &Pass<'_, P>,
                    bundle: &Bundle,
                    head: usize,
                    next: Option<(&Bundle, usize)>,
                    out: &Shared<P::T>,
                    lse: &Shared<f32>,
                    scratch: &mut Scratch,
                ) {
                    // SAFETY: this function's features are the unit's.
                    unsafe { attend_body::<P, $lanes, $vectors, true>(pass, bundle, head, next, out, lse, scratch) }
                }
            };
        }
        compiled!(avx512, "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c", lanes::Lanes512, 1);
        compiled!(avx2, "avx2,fma,f16c", lanes::Lanes256, 2);
        match level() {
            // SAFETY: `level` has seen these features.
            Level::Avx512 => return unsafe { avx512(pass, bundle, head, next, out, lse, scratch) },
            // SAFETY: `level` has seen these features.
            Level::Avx2 => return unsafe { avx2(pass, bundle, head, next, out, lse, scratch) },
            Level::Baseline => {}
        }
    }
    // SAFETY: the plain unit needs no features.
    unsafe { attend_body::<P, lanes::Plain, 2, false>(pass, bundle, head, next, out, lse, scratch) }
}

/// `V` vectors hold a number of each position of a block.
///
/// # Safety
/// The CPU has the unit's features.
#[inline(always)]
unsafe fn attend_body<P: Types, L: Lanes, const V: usize, const FMA: bool>(
    pass: &Pass<'_, P>,
    bundle: &Bundle,
    head: usize,
    next: Option<(&Bundle, usize)>,
    out: &Shared<P::T>,
    lse: &Shared<f32>,
    scratch: &mut Scratch,
) {
    let (shape, dim) = (pass.shape, pass.shape.dim);
    let group = shape.heads / shape.kv_heads;
    let Scratch { queries, scores, starts } = scratch;
    queries.clear();
    starts.clear();
    let mut room = 0;
    for &row in &bundle.rows {
        let first = (row * shape.heads + head * group) * dim;
        let numbers = &pass.q[first..first + group * dim];
        let filled = queries.len();
        queries.resize(filled + numbers.len(), 0.0);
        // Not pushed one by one, which would keep the compiler from vectors.
        for (query, number) in queries[filled..].iter_mut().zip(numbers) {
            *query = number.load() * shape.scale;
        }
        let place = &pass.rows[row];
        for _ in 0..group {
            starts.push(room);
            room += (place.end() - place.begin(shape).0) * BLOCK;
        }
    }
    scores.clear();
    scores.resize(room, 0.0);

    let from = bundle.rows.iter().map(|&row| pass.rows[row].begin(shape).0).min().unwrap_or(0);
    for index in from..bundle.shared {
        ask(pass, &pass.cache.keys, bundle.rows[0], index + AHEAD, head);
        let keys = block(pass, &pass.cache.keys, bundle.rows[0], index, head);
        let members = Members { rows: pass.rows, which: &bundle.rows, group, starts };
        // SAFETY: the caller's.
        unsafe { block_scores::<P::S, L, V>(shape, members, index, queries, keys, scores) };
    }
    for (i, &row) in bundle.rows.iter().enumerate() {
        let place = &pass.rows[row];
        let own = &mut queries[i * group * dim..(i + 1) * group * dim];
        let starts = &starts[i * group..(i + 1) * group];
        for index in bundle.shared.max(place.begin(shape).0)..place.end() {
            ask(pass, &pass.cache.keys, row, index + AHEAD, head);
            let keys = block(pass, &pass.cache.keys, row, index, head);
            let members = Members { rows: pass.rows, which: &[row], group, starts };
            // SAFETY: the caller's.
            unsafe { block_scores::<P::S, L, V>(shape, members, index, own, keys, scores) };
        }
        if i == 0 {
            ask_first(pass, &pass.cache.values, bundle, head);
        }
        let (skip, hidden) = place.begin(shape);
        let padded = (place.end() - skip) * BLOCK;
        for (member, &start) in starts.iter().enumerate() {
            let value = weigh::<FMA>(&mut scores[start..start + padded], hidden, place.len - skip * BLOCK);
            if lse.len() > 0 {
                let at = row * shape.heads + head * group + member;
                // SAFETY: each unit writes its own heads of its own rows.
                unsafe { lse.slice(at..at + 1)[0] = value };
            }
        }
        // The queries are done with; their room takes the outputs.
        own.fill(0.0);
    }
    if let Some((bundle, head)) = next {
        ask_first(pass, &pass.cache.keys, bundle, head);
    }
    for index in from..bundle.shared {
        ask(pass, &pass.cache.values, bundle.rows[0], index + AHEAD, head);
        let values = block(pass, &pass.cache.values, bundle.rows[0], index, head);
        let members = Members { rows: pass.rows, which: &bundle.rows, group, starts };
        // SAFETY: the caller's.
        unsafe { block_values::<P::S, L, V>(shape, members, index, queries, values, scores) };
    }
    for (i, &row) in bundle.rows.iter().enumerate() {
        let place = &pass.rows[row];
        let own = &mut queries[i * group * dim..(i + 1) * group * dim];
        for index in bundle.shared.max(place.begin(shape).0)..place.end() {
            ask(pass, &pass.cache.values, row, index + AHEAD, head);
            let values = block(pass, &pass.cache.values, row, index, head);
            let starts = &starts[i * group..(i + 1) * group];
            let members = Members { rows: pass.rows, which: &[row], group, starts };
            // SAFETY: the caller's.
            unsafe { block_values::<P::S, L, V>(shape, members, index, own, values, scores) };
        }
        let first = (row * shape.heads + head * group) * dim;
        // SAFETY: each unit writes its own heads of its own rows.
        let out = unsafe { out.slice(first..first + group * dim) };
        for (out, value) in out.iter_mut().zip(own.iter()) {
            *out = P::T::store(*value);
        }
    }
}

/// Blocks between asking the memory for one and using it: they lie all over it, and waiting for each would cost more than
/// its arithmetic.
const AHEAD: usize = 2;

/// Asks for the keys or values of a row's block `index`, if it has one.
#[inline(always)]
fn ask<P: Types>(pass: &Pass<'_, P>, cache: &Numbers<'_, P::S>, row: usize, index: usize, head: usize) {
    let row = &pass.rows[row];
    if index < row.end() {
        let (size, unit) = (BLOCK * pass.shape.dim, row.blocks[index] as usize * pass.shape.kv_heads + head);
        prefetch(&cache.numbers[unit * size..][..size], Near::Second);
        if P::S::SCALED {
            prefetch(&cache.scales[unit * BLOCK..][..BLOCK], Near::Second);
        }
    }
}

/// Asks for the first blocks that a bundle and head will read.
#[inline(always)]
fn ask_first<P: Types>(pass: &Pass<'_, P>, cache: &Numbers<'_, P::S>, bundle: &Bundle, head: usize) {
    let row = bundle.rows[0];
    let first = pass.rows[row].begin(pass.shape).0;
    (first..first + AHEAD).for_each(|index| ask(pass, cache, row, index, head));
}

/// The keys or values of a row's block `index`.
#[inline(always)]
fn block<'a, P: Types>(
    pass: &Pass<'_, P>,
    cache: &Numbers<'a, P::S>,
    row: usize,
    index: usize,
    head: usize,
) -> Numbers<'a, P::S> {
    let size = BLOCK * pass.shape.dim;
    let unit = pass.rows[row].blocks[index] as usize * pass.shape.kv_heads + head;
    let scales = if P::S::SCALED { &cache.scales[unit * BLOCK..][..BLOCK] } else { &[] };
    Numbers { numbers: &cache.numbers[unit * size..][..size], scales }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_bundled_by_their_beginnings() {
        let row = |blocks: &'static [u32]| PagedRow { blocks, len: blocks.len() * BLOCK };
        let rows = [row(&[1, 2, 3]), row(&[9]), row(&[1, 2, 4]), row(&[1, 2, 5, 6]), row(&[8, 2])];
        let found = bundles(&rows);
        let all: Vec<usize> = found.iter().flat_map(|b| b.rows.clone()).collect();
        assert_eq!(all.len(), rows.len());
        assert!(found.contains(&Bundle { rows: vec![0, 2, 3], shared: 2 }), "{found:?}");
        assert!(found.contains(&Bundle { rows: vec![1], shared: 1 }), "{found:?}");
        for bundle in &found {
            for &row in &bundle.rows {
                assert_eq!(rows[row].blocks[..bundle.shared], rows[bundle.rows[0]].blocks[..bundle.shared]);
            }
        }
    }
}
