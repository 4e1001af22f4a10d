//! Paged keys and values for generation.

use tch::{Device, Kind, Tensor};

use crate::Config;
use crate::attention::Attention;
use crate::kernels::element::{view, view_mut, with_element};
use crate::kernels::paged::{self, BLOCK, PagedShape};
use crate::ops::contiguous;

pub use crate::kernels::paged::PagedRow;

/// Memory for keys and values: blocks of [`KvPool::BLOCK`] positions, each holding all layers.
#[derive(Debug)]
pub struct KvPool {
    layers: Vec<(Tensor, Tensor)>,
    kv_heads: usize,
    dim: usize,
    kind: Kind,
    blocks: usize,
}

impl KvPool {
    /// Positions in a block.
    pub const BLOCK: usize = BLOCK;

    /// A pool without blocks for keys and values stored as `kind`.
    #[must_use]
    pub fn new(config: &Config, kind: Kind) -> Self {
        let mut pool = Self { layers: Vec::new(), kv_heads: config.kv_heads, dim: config.head_dim, kind, blocks: 0 };
        for _ in 0..config.layers {
            pool.layers.push((pool.room(0), pool.room(0)));
        }
        pool
    }

    fn room(&self, blocks: usize) -> Tensor {
        let size = [blocks, self.kv_heads, BLOCK, self.dim].map(|n| n as i64);
        // Not cleared: a position is read only once it was written, and memory that is not used yet
        // costs nothing.
        Tensor::empty(size, (self.kind, Device::Cpu))
    }

    /// Blocks there is room for.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Bytes a block takes.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        2 * self.layers.len() * self.kv_heads * BLOCK * self.dim * self.kind.elt_size_in_bytes()
    }

    /// Makes room for `blocks` blocks; what is stored stays. Shrinking to 0 gives the memory back.
    pub fn resize(&mut self, blocks: usize) {
        let keep = blocks.min(self.blocks) as i64;
        for layer in 0..self.layers.len() {
            let (keys, values) = (self.room(blocks), self.room(blocks));
            keys.narrow(0, 0, keep).copy_(&self.layers[layer].0.narrow(0, 0, keep));
            values.narrow(0, 0, keep).copy_(&self.layers[layer].1.narrow(0, 0, keep));
            self.layers[layer] = (keys, values);
        }
        self.blocks = blocks;
    }

    /// Copies a block's content, all layers, to another.
    pub fn copy(&mut self, from: u32, to: u32) {
        for (keys, values) in &self.layers {
            for tensor in [keys, values] {
                tensor.get(i64::from(to)).copy_(&tensor.get(i64::from(from)));
            }
        }
    }

    /// Attention for one forward pass: each row's key and value are written to its last position,
    /// then it attends to all its positions. Rows of one sequence may follow one another.
    pub fn attention<'a>(&'a mut self, rows: &'a [PagedRow<'a>]) -> PagedAttention<'a> {
        for row in rows {
            assert!(row.len > 0 && row.len <= row.blocks.len() * BLOCK, "row: more positions than its blocks hold");
            assert!(row.blocks.iter().all(|&b| (b as usize) < self.blocks), "row: block outside the pool");
        }
        PagedAttention { pool: self, rows }
    }
}

/// Attention over a [`KvPool`]; see [`KvPool::attention`].
#[derive(Debug)]
pub struct PagedAttention<'a> {
    pool: &'a mut KvPool,
    rows: &'a [PagedRow<'a>],
}

impl Attention for PagedAttention<'_> {
    fn attend(
        &mut self,
        layer: usize,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        scale: f64,
        window: Option<usize>,
    ) -> Tensor {
        let (n, heads, dim) = q.size3().expect("queries [n, heads, d]");
        assert_eq!(n as usize, self.rows.len(), "one row per query");
        let (kv_heads, dim_kept) = (self.pool.kv_heads, self.pool.dim);
        let shape = PagedShape { heads: heads as usize, kv_heads, dim: dim_kept, scale: scale as f32, window };
        let (keys, values) = &self.pool.layers[layer];
        let (q, k, v) = (contiguous(q), contiguous(k), contiguous(v));
        let out = q.empty_like();
        with_element!(q.kind(), T => {
            paged::write::<T>(shape, self.rows, view(&k), view(&v), view_mut(keys), view_mut(values));
            paged::attend::<T>(shape, self.rows, view(&q), view(keys), view(values), view_mut(&out));
        });
        out.view([n, heads * dim])
    }
}
