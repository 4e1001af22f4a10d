//! Attention over paged keys and values: blocks are gathered, and what lies beyond a sequence's end is masked.

use tch::{Device, Kind, Tensor};

use super::{attend, grouped, ungrouped};
use crate::kernels::paged::{BLOCK, PagedRow};

/// Numbers that are gathered at once.
const GATHERED: usize = 1 << 26;

/// What is stored: numbers `[blocks, kv_heads, BLOCK, dim]` and, for 8 bits, scales `[blocks, kv_heads, BLOCK, 1]`. Keys
/// lie as values do, other than the kernels have them.
pub(crate) struct Stored<'a> {
    pub(crate) numbers: &'a Tensor,
    pub(crate) scales: &'a Tensor,
}

/// One pass: where its keys and values go, and which sequences its queries see.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The block and the place in it of each row's own position.
    slots: [Tensor; 2],
    parts: Vec<Part>,
    rows: i64,
}

/// Queries that are worked out at once: `r` of each of `m` sequences.
#[derive(Debug)]
struct Part {
    /// Which rows they are, `[m * r]`.
    rows: Tensor,
    /// The blocks of each sequence, `[m, blocks]`; short ones are filled up with a block of their own.
    table: Tensor,
    /// Positions seen, `[m, r, 1]`.
    len: Tensor,
}

impl Plan {
    /// A plan for `rows` whose keys of all heads have `width` numbers a position.
    pub(crate) fn new(rows: &[PagedRow<'_>], width: usize, device: Device) -> Self {
        let numbers = |x: Vec<usize>| Tensor::from_slice(&x.iter().map(|&n| n as i64).collect::<Vec<_>>());
        let slots: Vec<_> = rows.iter().enumerate().map(|(token, row)| row.slot(token)).collect();
        let slots = [slots.iter().map(|s| s.block as usize).collect(), slots.iter().map(|s| s.at).collect()]
            .map(|x| numbers(x).to_device(device));
        // Rows of one sequence that follow one another, as prompts have them, see the same blocks.
        let mut runs: Vec<Vec<usize>> = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            match runs.last_mut() {
                Some(run) if rows[run[0]].blocks == row.blocks => run.push(index),
                _ => runs.push(vec![index]),
            }
        }
        let blocks_of = |run: &[usize]| run.iter().map(|&row| rows[row].len.div_ceil(BLOCK)).max().unwrap_or(0);
        // Runs of the same number of rows go together, those of like length side by side.
        runs.sort_by_key(|run| (run.len(), blocks_of(run)));
        let mut parts: Vec<Vec<Vec<usize>>> = Vec::new();
        for run in runs {
            let blocks = blocks_of(&run);
            match parts.last_mut() {
                Some(part) if part[0].len() == run.len() && (part.len() + 1) * blocks * BLOCK * width <= GATHERED => {
                    part.push(run);
                }
                _ => parts.push(vec![run]),
            }
        }
        let parts = parts.into_iter().map(|part| {
            let (m, r) = (part.len() as i64, part[0].len() as i64);
            let blocks = part.iter().map(|run| blocks_of(run)).max().unwrap_or(0);
            let table = part.iter().flat_map(|run| {
                let own = rows[run[0]].blocks;
                (0..blocks).map(move |i| *own.get(i).unwrap_or(&own[0]) as usize)
            });
            let len = part.iter().flatten().map(|&row| rows[row].len).collect();
            Part {
                table: numbers(table.collect()).view([m, blocks as i64]).to_device(device),
                len: numbers(len).view([m, r, 1]).to_device(device),
                rows: numbers(part.into_iter().flatten().collect()).to_device(device),
            }
        });
        Self { slots, parts: parts.collect(), rows: rows.len() as i64 }
    }

    /// Writes keys and values `[n, kv_heads, dim]`, and gives the outputs `[n, heads, dim]` of queries of that shape.
    pub(crate) fn attend(
        &self,
        [q, k, v]: [&Tensor; 3],
        keys: &Stored<'_>,
        values: &Stored<'_>,
        scale: f64,
        window: Option<usize>,
    ) -> Tensor {
        self.write(keys, k);
        self.write(values, v);
        let out = q.empty_like();
        let kv_heads = k.size()[1];
        for part in &self.parts {
            let (m, blocks) = part.table.size2().expect("blocks [m, blocks]");
            let gathered = |stored: &Stored<'_>| {
                let of = |x: &Tensor| x.index_select(0, &part.table.view([-1]));
                let mut x = of(stored.numbers);
                if x.kind() == Kind::Int8 {
                    x = x.to_kind(Kind::Float) * of(stored.scales);
                }
                let shape = [m, blocks, kv_heads, BLOCK as i64, -1];
                x.reshape(shape).transpose(1, 2).reshape([m, kv_heads, blocks * BLOCK as i64, -1]).to_kind(q.kind())
            };
            let position = Tensor::arange(blocks * BLOCK as i64, (Kind::Int64, q.device()));
            let mut visible = position.lt_tensor(&part.len);
            if let Some(window) = window {
                visible = visible.logical_and(&position.ge_tensor(&(&part.len - window as i64)));
            }
            let queries = grouped(&q.index_select(0, &part.rows), m, kv_heads);
            let seen = attend(&queries, &gathered(keys), &gathered(values), &visible, scale);
            let seen = ungrouped(&seen.contiguous(), part.len.size()[1]);
            let _ = out.shallow_clone().index_copy_(0, &part.rows, &seen);
        }
        debug_assert_eq!(out.size()[0], self.rows, "a row for each query");
        out
    }

    fn write(&self, stored: &Stored<'_>, x: &Tensor) {
        let [block, at] = [0, 1].map(|i| Some(self.slots[i].shallow_clone()));
        let rows = || [block.as_ref(), None, at.as_ref()].map(|index| index.map(Tensor::shallow_clone));
        let numbers = if stored.numbers.kind() == Kind::Int8 {
            let wide = x.to_kind(Kind::Float);
            let largest = wide.abs().amax([-1].as_slice(), true);
            let _ = stored.scales.shallow_clone().index_put_(&rows(), &(&largest / 127.0), false);
            // A position of zeros has the scale 0, and stays zeros.
            (wide * 127.0 / largest.clamp_min(f64::from(f32::MIN_POSITIVE))).round().to_kind(Kind::Int8)
        } else {
            x.to_kind(stored.numbers.kind())
        };
        let _ = stored.numbers.shallow_clone().index_put_(&rows(), &numbers, false);
    }
}
