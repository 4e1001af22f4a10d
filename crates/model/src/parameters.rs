//! Weights: f32 masters under their checkpoint names, and the copies that are computed with.

use std::collections::BTreeMap;

use relign_core::RolloutWeights;
use tch::{Device, Kind, Tensor};

use crate::LoadError;
use crate::packed::Packed;
use crate::source::Source;

/// One weight as it is computed with; several checkpoint tensors may lie in it, row after row.
#[derive(Debug)]
pub struct Parameter {
    /// Its name: the checkpoint's, or for fused ones the family's.
    pub name: String,
    /// f32, what the optimizer updates; of a policy that only samples, what is computed with.
    pub master: Tensor,
    /// What is computed with; shares the master's memory in f32.
    pub compute: Tensor,
    /// The checkpoint's tensors in it: name, first row, rows.
    pub parts: Vec<(String, usize, usize)>,
    /// Numbers in a row.
    pub(crate) width: usize,
    /// What sampling reads instead, where it was asked for.
    pub(crate) packed: Option<Packed>,
}

impl Parameter {
    /// The memory of its copies.
    pub(crate) fn bytes(&self) -> usize {
        let of = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
        let own = self.compute.data_ptr() != self.master.data_ptr();
        of(&self.master) + if own { of(&self.compute) } else { 0 } + self.packed.as_ref().map_or(0, Packed::bytes)
    }

    /// Room in this machine's memory for what the master holds.
    pub(crate) fn staged(&self) -> Self {
        let master = Tensor::empty(self.master.size(), (self.master.kind(), Device::Cpu));
        let (name, parts, compute) = (self.name.clone(), self.parts.clone(), master.shallow_clone());
        Self { name, master, compute, parts, width: self.width, packed: None }
    }

    /// Packs changed weights, where there is a packed copy.
    pub(crate) fn repack(&self) {
        if let Some(packed) = &self.packed {
            // Full weights are those that are computed with; fewer bits are made of all that there are.
            packed.refresh(if packed.is_full() { &self.compute } else { &self.master });
        }
    }

    /// The checkpoint's tensors as views of the master.
    pub fn named(&self) -> impl Iterator<Item = (&str, Tensor)> {
        self.parts.iter().map(|(name, first, rows)| (name.as_str(), self.master.narrow(0, *first as i64, *rows as i64)))
    }
}

/// `y = x W^T + b`, `W` `[out, in]`.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    packed: Option<Packed>,
}

impl Linear {
    /// `x` `[n, in]` to `[n, out]`. While sampling, the packed weights are read where there are any.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        match &self.packed {
            Some(packed) => packed.forward(x, self.bias.as_ref(), x.kind()),
            None => crate::ops::linear(x, &self.weight, self.bias.as_ref()),
        }
    }

    /// Logits `[n, out]` of hidden states `[n, in]`, in f32 whatever the weights are in.
    pub fn logits(&self, x: &Tensor) -> Tensor {
        match &self.packed {
            Some(packed) => packed.forward(x, self.bias.as_ref(), Kind::Float),
            None => crate::ops::logits(x, &self.weight),
        }
    }

    /// The plain weight; empty where only packed ones were kept.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }
}

/// How weights are kept, and what a family reads of those that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// With f32 masters, to be trained; a family reads plain weights where there are some, through which gradients flow.
    Masters,
    /// As they are computed with; of linear layers only the packed copy where there is one.
    Computed,
    /// The same, and full weights in the order that this CPU likes best.
    Ordered,
}

/// Hands parameters to a family being built: makes them the first time, to be filled when all are there, then shares
/// them.
pub struct Builder<'a> {
    source: Option<&'a dyn Source>,
    kind: Kind,
    keep: Keep,
    weights: RolloutWeights,
    list: &'a mut Vec<Parameter>,
    index: BTreeMap<String, usize>,
}

/// Room for a packed copy of a matrix of `shape`, where it is to have one.
fn room(keep: Keep, (m, k): (usize, usize), kind: Kind, weights: RolloutWeights) -> Option<Packed> {
    match weights {
        RolloutWeights::Full if keep == Keep::Ordered => Packed::panels(m, k, kind),
        weights => Packed::room(m, k, weights),
    }
}

/// As what a parameter is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// As it is.
    Plain,
    /// As a linear layer's matrix, packed where that was asked for.
    Matrix,
    /// As the output matrix, which stays at 8 bits where others have 4, as files in 4 bits keep theirs at 6 or more.
    Output,
}

impl Use {
    fn packed_as(self, weights: RolloutWeights) -> RolloutWeights {
        match (self, weights) {
            (Self::Plain, _) => RolloutWeights::Full,
            (Self::Output, RolloutWeights::Q4) => RolloutWeights::Int8,
            _ => weights,
        }
    }
}

impl<'a> Builder<'a> {
    pub(crate) fn new(
        source: Option<&'a dyn Source>,
        kind: Kind,
        keep: Keep,
        weights: RolloutWeights,
        list: &'a mut Vec<Parameter>,
    ) -> Self {
        let index = list.iter().enumerate().map(|(i, p)| (p.name.clone(), i)).collect();
        // Weights that are bf16 already are not rounded to it.
        let is_same = weights == RolloutWeights::Bf16 && kind == Kind::BFloat16;
        let weights = if is_same { RolloutWeights::Full } else { weights };
        Self { source, kind, keep, weights, list, index }
    }

    /// The parameter `name` of shape `shape`.
    ///
    /// # Errors
    /// If the checkpoint lacks it or has it in another shape.
    pub fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        let index = self.fused(name, &[(name.to_owned(), shape[0])], &shape[1..], Use::Plain)?;
        Ok(self.list[index].compute.shallow_clone())
    }

    /// A linear layer whose checkpoint tensors `parts` (name without `.weight`, rows) lie one after another.
    ///
    /// # Errors
    /// If the checkpoint lacks one or has it in another shape.
    pub fn linear(
        &mut self,
        name: &str,
        parts: &[(&str, usize)],
        inputs: usize,
        bias: bool,
    ) -> Result<Linear, LoadError> {
        let named = |suffix: &str| -> Vec<(String, usize)> {
            parts.iter().map(|(part, rows)| (format!("{part}.{suffix}"), *rows)).collect()
        };
        let weight = self.fused(&format!("{name}.weight"), &named("weight"), &[inputs], Use::Matrix)?;
        let bias =
            if bias { Some(self.fused(&format!("{name}.bias"), &named("bias"), &[], Use::Plain)?) } else { None };
        let bias = bias.map(|index| self.list[index].compute.shallow_clone());
        Ok(self.matrix(weight, bias, Use::Matrix))
    }

    /// The output matrix `name` `[vocab, hidden]`: a parameter of its own, or the embedding's, which has that name then.
    ///
    /// # Errors
    /// If the checkpoint lacks it or has it in another shape.
    pub fn head(&mut self, name: &str, vocab: usize, hidden: usize) -> Result<Linear, LoadError> {
        let index = self.fused(name, &[(name.to_owned(), vocab)], &[hidden], Use::Output)?;
        Ok(self.matrix(index, None, Use::Output))
    }

    /// The parameter as a linear layer, packed where that was asked for.
    fn matrix(&mut self, index: usize, bias: Option<Tensor>, used: Use) -> Linear {
        let weights = used.packed_as(self.weights);
        let parameter = &mut self.list[index];
        if parameter.packed.is_none() {
            // Of an embedding that is the output matrix, too, the rows are read as they are as well.
            let rows = parameter.compute.size()[0] as usize;
            parameter.packed = room(self.keep, (rows, parameter.width), self.kind, weights);
            if self.source.is_none() {
                parameter.repack();
            }
        }
        let is_full = weights == RolloutWeights::Full;
        let reads_plain = is_full && self.keep == Keep::Masters && parameter.compute.numel() > 0;
        let packed = parameter.packed.as_ref().filter(|packed| packed.is(weights) && !reads_plain);
        assert!(packed.is_some() || is_full, "{}: a policy keeps one packed copy, and it is another", parameter.name);
        Linear { weight: parameter.compute.shallow_clone(), bias, packed: packed.map(Packed::shallow_clone) }
    }

    /// The index of the parameter `name`, made of `parts` (names and rows) one after another.
    fn fused(&mut self, name: &str, parts: &[(String, usize)], rest: &[usize], used: Use) -> Result<usize, LoadError> {
        if let Some(&index) = self.index.get(name) {
            return Ok(index);
        }
        let source = self.source.ok_or_else(|| LoadError::Missing(name.to_owned()))?;
        let shape = |rows: usize| -> Vec<usize> { std::iter::once(rows).chain(rest.iter().copied()).collect() };
        // Nothing is allocated for what a configuration merely claims.
        let mut first = 0;
        let mut places = Vec::with_capacity(parts.len());
        for (part, rows) in parts {
            let got = source.shape(part)?;
            if got != shape(*rows) {
                let dims = |shape: &[usize]| shape.iter().map(|&n| n as i64).collect();
                return Err(LoadError::Shape { name: part.clone(), expected: dims(&shape(*rows)), got: dims(&got) });
            }
            places.push((part.clone(), first, *rows));
            first += rows;
        }
        let width = rest.iter().product();
        let stored = if self.keep == Keep::Masters { Kind::Float } else { self.kind };
        // Where only what is computed with is kept, a packed matrix has no plain copy.
        let packed = (self.keep != Keep::Masters && used != Use::Plain)
            .then(|| room(self.keep, (first, width), stored, used.packed_as(self.weights)))
            .flatten();
        let plain = if packed.is_some() { vec![0] } else { shape(first).iter().map(|&n| n as i64).collect::<Vec<_>>() };
        let master = Tensor::empty(&plain, (stored, Device::Cpu));
        let compute =
            if self.kind == stored { master.shallow_clone() } else { Tensor::empty(&plain, (self.kind, Device::Cpu)) };
        let index = self.list.len();
        self.index.insert(name.to_owned(), index);
        self.list.push(Parameter { name: name.to_owned(), master, compute, parts: places, width, packed });
        Ok(index)
    }
}
