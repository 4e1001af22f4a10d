//! What a block of keys or values has to do with queries.

use super::super::cached::Cached;
use super::super::lanes::Lanes;
use super::super::math::{exp, sum};
use super::{BLOCK, Numbers, PagedRow, PagedShape};

/// Queries that pass a block at once at most: each of its numbers is widened once for them, and the multipliers are busy.
const QUERIES: usize = 4;

/// Rows whose queries a block is for.
#[derive(Clone, Copy)]
pub(super) struct Members<'a> {
    pub(super) rows: &'a [PagedRow<'a>],
    pub(super) which: &'a [usize],
    /// Queries of a row.
    pub(super) group: usize,
    /// Where each query's scores begin.
    pub(super) starts: &'a [usize],
}

impl Members<'_> {
    fn queries(self) -> usize {
        self.which.len() * self.group
    }

    fn row(&self, query: usize) -> &PagedRow<'_> {
        &self.rows[self.which[query / self.group]]
    }

    /// Where a query's scores of the block `index` begin; nowhere if it lies before what the query sees.
    fn scores(self, shape: PagedShape, query: usize, index: usize) -> Option<usize> {
        let skipped = self.row(query).begin(shape).0;
        (index >= skipped).then(|| self.starts[query] + (index - skipped) * BLOCK)
    }

    /// Positions that a query sees of the block `index`.
    fn seen(self, shape: PagedShape, query: usize, index: usize) -> usize {
        let row = self.row(query);
        if index < row.begin(shape).0 { 0 } else { row.len.saturating_sub(index * BLOCK).min(BLOCK) }
    }
}

/// The sums of a query over the positions of a block, `V` vectors; with one vector, numbers with even and with odd indices
/// are summed apart, so that an addition need not wait for the one before it.
#[inline(always)]
const fn chains(vectors: usize) -> usize {
    if vectors == 1 { 2 } else { 1 }
}

/// Queries at once: with two vectors for each and sixteen registers, three.
#[inline(always)]
const fn most(vectors: usize) -> usize {
    if vectors == 1 { QUERIES } else { QUERIES - 1 }
}

/// The scores of a block for the `queries` of `members`.
///
/// # Safety
/// The CPU has the unit's features.
#[inline(always)]
pub(super) unsafe fn block_scores<S: Cached, L: Lanes, const V: usize>(
    shape: PagedShape,
    members: Members<'_>,
    index: usize,
    queries: &[f32],
    keys: Numbers<'_, S>,
    scores: &mut [f32],
) {
    const { assert!(V * L::WIDTH == BLOCK) };
    let (dim, count) = (shape.dim, members.queries());
    assert!(queries.len() >= count * dim && keys.numbers.len() == dim * BLOCK, "queries and keys of {dim} numbers");
    let mut query = 0;
    while query < count {
        let many = (count - query).min(most(V));
        macro_rules! run { ($($n:literal)*) => { match many { $($n => {
            let mut totals = [[0.0; BLOCK]; $n];
            // SAFETY: queries and keys have `dim` numbers each, as was just seen.
            unsafe {
                let (queries, keys) = (queries.as_ptr().add(query * dim), keys.numbers.as_ptr());
                let mut sums = [[[L::zero(); V]; $n]; 2];
                let mut i = 0;
                while i + chains(V) <= dim {
                    for chain in 0..chains(V) {
                        let mut wide = [L::zero(); V];
                        for v in 0..V {
                            wide[v] = S::load_lanes::<L>(keys.add((i + chain) * BLOCK + v * L::WIDTH));
                        }
                        for m in 0..$n {
                            let number = L::splat(queries.add(m * dim + i + chain));
                            for v in 0..V {
                                sums[chain][m][v] = L::multiply_add(sums[chain][m][v], number, wide[v]);
                            }
                        }
                    }
                    i += chains(V);
                }
                if i < dim {
                    for m in 0..$n {
                        let number = L::splat(queries.add(m * dim + i));
                        for v in 0..V {
                            let wide = S::load_lanes::<L>(keys.add(i * BLOCK + v * L::WIDTH));
                            sums[0][m][v] = L::multiply_add(sums[0][m][v], number, wide);
                        }
                    }
                }
                for m in 0..$n {
                    for v in 0..V {
                        let sum = if chains(V) == 2 { L::add(sums[0][m][v], sums[1][m][v]) } else { sums[0][m][v] };
                        L::store(sum, totals[m].as_mut_ptr().add(v * L::WIDTH));
                    }
                }
            }
            for m in 0..$n {
                if S::SCALED {
                    scale(&mut totals[m], keys.scales);
                }
                if let Some(start) = members.scores(shape, query + m, index) {
                    scores[start..start + BLOCK].copy_from_slice(&totals[m]);
                }
            }
        })* _ => unreachable!("one to four queries") } } }
        run!(1 2 3 4);
        query += many;
    }
}

/// Multiplies what belongs to a block's positions by their scales.
#[inline(always)]
fn scale(numbers: &mut [f32; BLOCK], scales: &[f32]) {
    let scales: &[f32; BLOCK] = scales.first_chunk().expect("a scale for every position");
    for lane in 0..BLOCK {
        numbers[lane] *= scales[lane];
    }
}

/// Softmax of one query's scores, of which those before `hidden` and from `len` on are not seen; their log-sum-exp.
#[inline(always)]
pub(super) fn weigh<const FMA: bool>(scores: &mut [f32], hidden: usize, len: usize) -> f32 {
    scores[..hidden].fill(f32::NEG_INFINITY);
    scores[len..].fill(f32::NEG_INFINITY);
    let mut lanes = [f32::NEG_INFINITY; BLOCK];
    for block in scores.as_chunks::<BLOCK>().0 {
        for lane in 0..BLOCK {
            lanes[lane] = if block[lane] > lanes[lane] { block[lane] } else { lanes[lane] };
        }
    }
    let max = lanes.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
    for score in scores.iter_mut() {
        *score = exp::<FMA>(*score - max);
    }
    let total = sum(scores, |score| score);
    let scale = 1.0 / total;
    for score in scores.iter_mut() {
        *score *= scale;
    }
    max + total.ln()
}

/// Adds a block's values to the `outputs` of `members`.
///
/// # Safety
/// The CPU has the unit's features.
#[inline(always)]
pub(super) unsafe fn block_values<S: Cached, L: Lanes, const V: usize>(
    shape: PagedShape,
    members: Members<'_>,
    index: usize,
    outputs: &mut [f32],
    values: Numbers<'_, S>,
    scores: &[f32],
) {
    let (dim, count) = (shape.dim, members.queries());
    assert!(outputs.len() >= count * dim && values.numbers.len() == dim * BLOCK, "outputs and values of {dim} numbers");
    let mut query = 0;
    while query < count {
        let n = members.seen(shape, query, index);
        // Queries beside one another that see as many.
        let mut many = 1;
        while many < most(V) && query + many < count && members.seen(shape, query + many, index) == n {
            many += 1;
        }
        let mut weights = [[0.0; BLOCK]; QUERIES];
        for m in 0..many {
            if let Some(start) = members.scores(shape, query + m, index) {
                weights[m].copy_from_slice(&scores[start..start + BLOCK]);
            }
            if S::SCALED {
                scale(&mut weights[m], values.scales);
            }
        }
        let outputs = &mut outputs[query * dim..(query + many) * dim];
        let weights = &weights;
        macro_rules! run { ($($r:literal)*) => { match many { $($r => {
            let (mut first, outputs) = (0, outputs.as_mut_ptr());
            // SAFETY: `first` and the width after it lie within `dim`, and there are `n` positions, at most a block's.
            unsafe {
                while first + 4 * L::WIDTH <= dim {
                    add_values::<S, L, $r, 4>(values.numbers, dim, first, n, weights, outputs);
                    first += 4 * L::WIDTH;
                }
                while first + L::WIDTH <= dim {
                    add_values::<S, L, $r, 1>(values.numbers, dim, first, n, weights, outputs);
                    first += L::WIDTH;
                }
                for m in 0..$r {
                    for at in first..dim {
                        let mut sum = *outputs.add(m * dim + at);
                        for p in 0..n {
                            sum += weights[m][p] * values.numbers[p * dim + at].widen();
                        }
                        *outputs.add(m * dim + at) = sum;
                    }
                }
            }
        })* _ => unreachable!("one to four queries") } } }
        run!(1 2 3 4);
        query += many;
    }
}

/// Adds `n` positions' values, `W` vectors from `first` on, to `R` rows of `outputs`.
///
/// # Safety
/// The CPU has the unit's features; the vectors lie within `dim`, `values` has `n` rows and `outputs` `R` rows of `dim`.
#[inline(always)]
unsafe fn add_values<S: Cached, L: Lanes, const R: usize, const W: usize>(
    values: &[S],
    dim: usize,
    first: usize,
    n: usize,
    weights: &[[f32; BLOCK]; QUERIES],
    outputs: *mut f32,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[L::zero(); W]; R];
        for m in 0..R {
            for v in 0..W {
                sums[m][v] = L::load(outputs.add(m * dim + first + v * L::WIDTH));
            }
        }
        for p in 0..n {
            let values = values.as_ptr().add(p * dim + first);
            let mut wide = [L::zero(); W];
            for v in 0..W {
                wide[v] = S::load_lanes::<L>(values.add(v * L::WIDTH));
            }
            for m in 0..R {
                let weight = L::splat(weights[m].as_ptr().add(p));
                for v in 0..W {
                    sums[m][v] = L::multiply_add(sums[m][v], weight, wide[v]);
                }
            }
        }
        for m in 0..R {
            for v in 0..W {
                L::store(sums[m][v], outputs.add(m * dim + first + v * L::WIDTH));
            }
        }
    }
}
