//! Paged keys and values for generation.

use half::bf16;
use relign_core::KvCache;
use tch::{Device, Kind, TchError, Tensor};

use crate::Config;
use crate::attention::Attention;
use crate::device::has_kernels;
use crate::exhausted::message_of;
use crate::kernels::cached::Types;
use crate::kernels::element::{view, view_mut};
use crate::kernels::paged::{self, BLOCK, Bundle, Cache, Numbers, NumbersMut, PagedShape, Pass, Slot};
use crate::ops::contiguous;
use crate::plain::paged::{Plan, Stored};

pub use crate::kernels::paged::PagedRow;

/// Memory for keys and values: blocks of [`KvPool::BLOCK`] positions, each holding all layers.
#[derive(Debug)]
pub struct KvPool {
    layers: Vec<Layer>,
    kv_heads: usize,
    dim: usize,
    kind: Kind,
    blocks: usize,
    /// Blocks that the layers' memory holds, used or not.
    reserved: usize,
    device: Device,
}

/// Memory that is asked for at once where what is not used costs nothing: growing within it copies nothing.
const RESERVED_BYTES: usize = 1 << 30;

/// Keys and values of a layer, and for 8 bits the scale of each position.
#[derive(Debug)]
struct Layer {
    keys: Tensor,
    values: Tensor,
    key_scales: Tensor,
    value_scales: Tensor,
}

impl Layer {
    fn tensors(&self) -> [&Tensor; 4] {
        [&self.keys, &self.values, &self.key_scales, &self.value_scales]
    }
}

impl KvPool {
    /// Positions in a block.
    pub const BLOCK: usize = BLOCK;

    /// A pool without blocks for a model that computes in `kind`.
    #[must_use]
    pub fn new(config: &Config, kind: Kind, cache: KvCache) -> Self {
        let kind = match cache {
            KvCache::Full => kind,
            KvCache::Bf16 => Kind::BFloat16,
            KvCache::Int8 => Kind::Int8,
        };
        let (kv_heads, dim, device) = (config.kv_heads, config.head_dim, Device::Cpu);
        let mut pool = Self { layers: Vec::new(), kv_heads, dim, kind, blocks: 0, reserved: 0, device };
        pool.layers = pool.empty_layers(config.layers);
        pool
    }

    /// Layers without blocks, which take no memory.
    fn empty_layers(&self, count: usize) -> Vec<Layer> {
        (0..count)
            .map(|_| self.room(0).unwrap_or_else(|error| unreachable!("nothing was asked for: {error}")))
            .collect()
    }

    /// The same pool without blocks, in the memory of `device`.
    #[must_use]
    pub fn on(mut self, device: Device) -> Self {
        (self.device, self.blocks, self.reserved) = (device, 0, 0);
        self.layers = self.empty_layers(self.layers.len());
        self
    }

    fn room(&self, blocks: usize) -> Result<Layer, TchError> {
        // Not cleared: a position is read only once it was written, and memory that is not used yet
        // costs nothing. Where blocks are gathered whole, masked positions are read, and must be numbers.
        let empty = if has_kernels(self.device) { Tensor::f_empty } else { Tensor::f_zeros };
        let make = |width: usize, kind: Kind| {
            let size = [blocks, self.kv_heads, BLOCK, width].map(|n| n as i64);
            empty(size, (kind, self.device))
        };
        let scales = usize::from(self.kind == Kind::Int8);
        Ok(Layer {
            keys: make(self.dim, self.kind)?,
            values: make(self.dim, self.kind)?,
            key_scales: make(scales, Kind::Float)?,
            value_scales: make(scales, Kind::Float)?,
        })
    }

    /// Blocks there is room for.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Bytes a block takes.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        let scale = if self.kind == Kind::Int8 { size_of::<f32>() } else { 0 };
        let position = self.dim * self.kind.elt_size_in_bytes() + scale;
        2 * self.layers.len() * self.kv_heads * BLOCK * position
    }

    /// Makes room for `blocks` blocks; what is stored stays. Shrinking to 0 gives the memory back.
    ///
    /// # Errors
    /// If there is no such memory; then the pool has the blocks that it had, and what is stored in them.
    pub fn resize(&mut self, blocks: usize) -> Result<(), String> {
        if blocks > 0 && blocks <= self.reserved {
            self.blocks = blocks;
            return Ok(());
        }
        let spare = if has_kernels(self.device) { RESERVED_BYTES / self.block_bytes() } else { 0 };
        let mut grown = self.grow(if blocks == 0 { 0 } else { blocks.max(spare) }, blocks);
        if grown.is_err() && spare > blocks {
            // To spare there is nothing; for what is needed there may be enough.
            grown = self.grow(blocks, blocks);
        }
        grown.map_err(|error| {
            let bytes = blocks.saturating_mul(self.block_bytes());
            format!(
                "keys and values: expected memory for {blocks} blocks of {BLOCK} tokens ({bytes} bytes), got {}",
                message_of(&error)
            )
        })
    }

    /// Moves to layers with `reserved` blocks, of which `blocks` are used.
    fn grow(&mut self, reserved: usize, blocks: usize) -> Result<(), TchError> {
        let keep = blocks.min(self.blocks) as i64;
        for index in 0..self.layers.len() {
            let layer = self.room(reserved).inspect_err(|_| {
                // The layers so far have more blocks than the others, which harms nothing.
                self.reserved = self.layers.iter().map(|layer| layer.keys.size()[0] as usize).min().unwrap_or(0);
            })?;
            for (to, from) in layer.tensors().into_iter().zip(self.layers[index].tensors()) {
                to.narrow(0, 0, keep).copy_(&from.narrow(0, 0, keep));
            }
            self.layers[index] = layer;
        }
        (self.blocks, self.reserved) = (blocks, reserved);
        Ok(())
    }

    /// Copies a block's content, all layers, to another.
    pub fn copy(&mut self, from: u32, to: u32) {
        for tensor in self.layers.iter().flat_map(Layer::tensors) {
            tensor.get(i64::from(to)).copy_(&tensor.get(i64::from(from)));
        }
    }

    /// Attention for one forward pass: each row's key and value are written to its last position,
    /// then it attends to all its positions. Rows of one sequence may follow one another.
    pub fn attention<'a>(&'a mut self, rows: &'a [PagedRow<'a>]) -> PagedAttention<'a> {
        for row in rows {
            assert!(row.len > 0 && row.len <= row.blocks.len() * BLOCK, "row: more positions than its blocks hold");
            assert!(row.blocks.iter().all(|&b| (b as usize) < self.blocks), "row: block outside the pool");
        }
        let plan = (!has_kernels(self.device)).then(|| Plan::new(rows, self.kv_heads * self.dim, self.device));
        let bundles = if plan.is_none() { paged::bundles(rows) } else { Vec::new() };
        let slots = rows.iter().enumerate().map(|(token, row)| row.slot(token)).collect();
        PagedAttention { pool: self, rows, slots, bundles, plan }
    }
}

/// Attention over a [`KvPool`]; see [`KvPool::attention`].
#[derive(Debug)]
pub struct PagedAttention<'a> {
    pool: &'a mut KvPool,
    rows: &'a [PagedRow<'a>],
    /// Where each row's key and value go.
    slots: Vec<Slot>,
    bundles: Vec<Bundle>,
    /// What is done instead where there are no kernels.
    plan: Option<Plan>,
}

impl PagedAttention<'_> {
    fn run<P: Types>(&self, layer: &Layer, shape: PagedShape, [q, k, v]: [&Tensor; 3], out: &Tensor) {
        let cache = Cache {
            keys: NumbersMut { numbers: view_mut::<P::S>(&layer.keys), scales: view_mut(&layer.key_scales) },
            values: NumbersMut { numbers: view_mut::<P::S>(&layer.values), scales: view_mut(&layer.value_scales) },
        };
        paged::write::<P>(shape, &self.slots, view(k), view(v), cache);
        let cache = Cache {
            keys: Numbers { numbers: view::<P::S>(&layer.keys), scales: view(&layer.key_scales) },
            values: Numbers { numbers: view::<P::S>(&layer.values), scales: view(&layer.value_scales) },
        };
        let pass = Pass::<P> { shape, rows: self.rows, q: view(q), cache };
        paged::attend::<P>(&pass, &self.bundles, view_mut(out), &mut []);
    }
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
        let layer = &self.pool.layers[layer];
        let (q, k, v) = (contiguous(q), contiguous(k), contiguous(v));
        if let Some(plan) = &self.plan {
            let keys = Stored { numbers: &layer.keys, scales: &layer.key_scales };
            let values = Stored { numbers: &layer.values, scales: &layer.value_scales };
            return plan.attend([&q, &k, &v], &keys, &values, scale, window).view([n, heads * dim]);
        }
        let out = q.empty_like();
        let operands = [&q, &k, &v];
        match (q.kind(), self.pool.kind) {
            (Kind::Float, Kind::Float) => self.run::<(f32, f32)>(layer, shape, operands, &out),
            (Kind::Float, Kind::BFloat16) => self.run::<(f32, bf16)>(layer, shape, operands, &out),
            (Kind::Float, Kind::Int8) => self.run::<(f32, i8)>(layer, shape, operands, &out),
            (Kind::BFloat16, Kind::BFloat16) => self.run::<(bf16, bf16)>(layer, shape, operands, &out),
            (Kind::BFloat16, Kind::Int8) => self.run::<(bf16, i8)>(layer, shape, operands, &out),
            other => panic!("attention: expected f32 or bf16 over what they may be cached as, got {other:?}"),
        }
        out.view([n, heads * dim])
    }
}
