//! Weights as sampling reads them, where that is not as they are trained.

use half::f16;
use relign_core::RolloutWeights;
use tch::{Device, Kind, Tensor};

use crate::fill::Fill;
use crate::kernels::element::{view, view_mut, with_element};
use crate::kernels::product::panels::{self, Panels, Word};
use crate::kernels::product::{self, Operands};
use crate::kernels::quantised::{self, Bits, Rows, Weights};
use crate::kernels::{Level, level};
use crate::ops::contiguous;

/// A copy of a weight matrix `[out, in]` in another order or in fewer bits. Clones share its memory.
#[derive(Debug)]
pub(crate) enum Packed {
    /// The same numbers in the order in which this CPU multiplies them fastest.
    Panels {
        /// Rows and columns.
        shape: (usize, usize),
        /// What a word holds.
        word: Word,
        /// The words, panel by panel, as if they were numbers in f32.
        data: Tensor,
    },
    /// Rounded to bf16 and widened as it is multiplied.
    Bf16(Tensor),
    /// 8 or 4 bits with a scale for every 32 weights.
    Quantised {
        /// Bits of a weight.
        bits: Bits,
        /// Rows and columns.
        shape: (usize, usize),
        /// The weights, panel by panel.
        data: Tensor,
        /// The scales.
        scales: Tensor,
    },
}

impl Packed {
    /// Whether this CPU multiplies full weights of type `kind` faster in another order.
    pub(crate) fn is_reordered(kind: Kind) -> bool {
        Self::word(kind).is_some()
    }

    /// As what weights of type `kind` are put into panels; none where this CPU has no use for them.
    fn word(kind: Kind) -> Option<Word> {
        match kind {
            Kind::Float if level() != Level::Baseline => Some(Word::Single),
            Kind::BFloat16 if crate::has_bf16_products() => Some(Word::Pair),
            _ => None,
        }
    }

    /// Room for `[m, k]` weights in full, in another order than they are stored in; none where this CPU has no use for it.
    pub(crate) fn panels(m: usize, k: usize, kind: Kind) -> Option<Self> {
        Self::word(kind).map(|word| Self::Panels {
            shape: (m, k),
            word,
            data: Tensor::empty([panels::size(m, k, word) as i64], (Kind::Float, Device::Cpu)),
        })
    }

    /// Whether the numbers are the weights themselves.
    pub(crate) fn is_full(&self) -> bool {
        self.is(RolloutWeights::Full)
    }

    /// Whether it is the copy that `weights` asks for.
    pub(crate) fn is(&self, weights: RolloutWeights) -> bool {
        weights
            == match self {
                Self::Panels { .. } => RolloutWeights::Full,
                Self::Bf16(_) => RolloutWeights::Bf16,
                Self::Quantised { bits: Bits::Eight, .. } => RolloutWeights::Int8,
                Self::Quantised { bits: Bits::Four, .. } => RolloutWeights::Q4,
            }
    }

    /// Room for a packed copy of `[m, k]` weights, or none where they are to be read in full.
    pub(crate) fn room(m: usize, k: usize, weights: RolloutWeights) -> Option<Self> {
        let empty = |size: &[usize], kind: Kind| {
            Tensor::empty(size.iter().map(|&n| n as i64).collect::<Vec<_>>(), (kind, Device::Cpu))
        };
        let quantised = |bits: Bits| {
            let (bytes, count) = quantised::sizes(bits, m, k);
            Self::Quantised {
                bits,
                shape: (m, k),
                data: empty(&[bytes], Kind::Uint8),
                scales: empty(&[count], Kind::Half),
            }
        };
        match weights {
            RolloutWeights::Full => None,
            RolloutWeights::Bf16 => Some(Self::Bf16(empty(&[m, k], Kind::BFloat16))),
            RolloutWeights::Int8 => Some(quantised(Bits::Eight)),
            RolloutWeights::Q4 => Some(quantised(Bits::Four)),
        }
    }

    /// The memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        let of = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
        match self {
            Self::Bf16(copy) => of(copy),
            Self::Panels { data, .. } => of(data),
            Self::Quantised { data, scales, .. } => of(data) + of(scales),
        }
    }

    /// Its memory, to be filled row by row.
    pub(crate) fn fill(&self) -> Fill {
        match self {
            Self::Bf16(copy) => Fill::plain(copy),
            Self::Panels { shape: (m, k), word, data } => {
                Fill::Panels(panels::Room::new(*m, *k, *word, view_mut(data)))
            }
            Self::Quantised { bits, shape: (m, k), data, scales } => {
                Fill::Quantised(quantised::Room::new(*bits, *m, *k, view_mut(data), view_mut(scales)))
            }
        }
    }

    /// Packs changed weights into the same memory.
    pub(crate) fn refresh(&self, weight: &Tensor) {
        match self {
            Self::Bf16(copy) => copy.shallow_clone().copy_(weight),
            Self::Panels { shape, word, data } => {
                let weight = contiguous(weight);
                with_element!(weight.kind(), T => panels::pack::<T>(view(&weight), shape.1, *word, view_mut(data)));
            }
            Self::Quantised { bits, shape, data, scales } => {
                let weight = contiguous(weight);
                with_element!(weight.kind(), T => quantised::pack::<T>(*bits, view(&weight), shape.1, view_mut(data), view_mut(scales)));
            }
        }
    }

    pub(crate) fn shallow_clone(&self) -> Self {
        match self {
            Self::Bf16(copy) => Self::Bf16(copy.shallow_clone()),
            Self::Panels { shape, word, data } => {
                Self::Panels { shape: *shape, word: *word, data: data.shallow_clone() }
            }
            Self::Quantised { bits, shape, data, scales } => Self::Quantised {
                bits: *bits,
                shape: *shape,
                data: data.shallow_clone(),
                scales: scales.shallow_clone(),
            },
        }
    }

    /// `x W^T + b` for `x` `[n, in]`, as `kind`.
    pub(crate) fn forward(&self, x: &Tensor, bias: Option<&Tensor>, kind: Kind) -> Tensor {
        let x = contiguous(x);
        let n = x.size()[0];
        match self {
            Self::Panels { shape: (m, k), word, data } => {
                let y = Tensor::empty([n, *m as i64], (kind, x.device()));
                let weights = Panels { data: view(data), m: *m, k: *k, word: *word };
                with_element!(x.kind(), X => with_element!(kind, Y => {
                    panels::multiply::<X, Y>(view(&x), weights, bias.map(view), view_mut(&y));
                }));
                y
            }
            Self::Bf16(weight) => {
                let wide = x.to_kind(Kind::Float);
                let bias = bias.map(|b| b.to_kind(Kind::Float));
                let y = Tensor::empty([n, weight.size()[0]], (kind, x.device()));
                let k = weight.size()[1] as usize;
                let operands = Operands {
                    x: view::<f32>(&wide),
                    weight: view::<half::bf16>(weight),
                    bias: bias.as_ref().map(view),
                    k,
                };
                with_element!(kind, T => product::multiply::<f32, half::bf16, T>(operands, view_mut(&y)));
                y
            }
            Self::Quantised { bits, shape: (m, k), data, scales } => {
                let rows = with_element!(x.kind(), T => Rows::round::<T>(view(&x), *k, *bits));
                let bias = bias.map(|b| b.to_kind(Kind::Float));
                let y = Tensor::empty([n, *m as i64], (kind, x.device()));
                let weights =
                    Weights { bits: *bits, m: *m, k: *k, data: view::<u8>(data), scales: view::<f16>(scales) };
                with_element!(kind, T => quantised::multiply::<T>(&rows, weights, bias.as_ref().map(view), view_mut(&y)));
                rows.give_back();
                y
            }
        }
    }
}
