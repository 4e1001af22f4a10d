//! Weights: f32 masters under their checkpoint names, and the copies that are computed with.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use crate::LoadError;

/// Where weights come from: a checkpoint's reader, by Hugging Face name, as f32.
pub type Source<'a> = &'a dyn Fn(&str) -> Result<Tensor, LoadError>;

/// One weight as it is computed with; several checkpoint tensors may lie in it, row after row.
#[derive(Debug)]
pub struct Parameter {
    /// Its name: the checkpoint's, or for fused ones the family's.
    pub name: String,
    /// f32, what the optimizer updates.
    pub master: Tensor,
    /// What is computed with; shares the master's memory in f32.
    pub compute: Tensor,
    /// The checkpoint's tensors in it: name, first row, rows.
    pub parts: Vec<(String, usize, usize)>,
}

impl Parameter {
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
}

impl Linear {
    /// `x` `[n, in]` to `[n, out]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        crate::ops::linear(x, &self.weight, self.bias.as_ref())
    }
}

/// Hands parameters to a family being built: loads them the first time, then shares them.
pub struct Builder<'a> {
    source: Option<Source<'a>>,
    kind: Kind,
    list: &'a mut Vec<Parameter>,
    index: BTreeMap<String, usize>,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(source: Option<Source<'a>>, kind: Kind, list: &'a mut Vec<Parameter>) -> Self {
        let index = list.iter().enumerate().map(|(i, p)| (p.name.clone(), i)).collect();
        Self { source, kind, list, index }
    }

    /// The parameter `name` of shape `shape`.
    ///
    /// # Errors
    /// If the checkpoint lacks it or has it in another shape.
    pub fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        self.fused(name, &[(name, shape[0])], &shape[1..])
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
        let borrow = |parts: &'_ [(String, usize)]| -> Vec<(String, usize)> { parts.to_vec() };
        let mut load = |suffix: &str, rest: &[usize]| {
            let parts = borrow(&named(suffix));
            let parts: Vec<(&str, usize)> = parts.iter().map(|(n, r)| (n.as_str(), *r)).collect();
            self.fused(&format!("{name}.{suffix}"), &parts, rest)
        };
        let weight = load("weight", &[inputs])?;
        let bias = if bias { Some(load("bias", &[])?) } else { None };
        Ok(Linear { weight, bias })
    }

    fn fused(&mut self, name: &str, parts: &[(&str, usize)], rest: &[usize]) -> Result<Tensor, LoadError> {
        if let Some(&index) = self.index.get(name) {
            return Ok(self.list[index].compute.shallow_clone());
        }
        let source = self.source.ok_or_else(|| LoadError::Missing(name.to_owned()))?;
        let rows: usize = parts.iter().map(|(_, rows)| rows).sum();
        let shape =
            |rows: usize| -> Vec<i64> { std::iter::once(rows).chain(rest.iter().copied()).map(|n| n as i64).collect() };
        let master = Tensor::empty(shape(rows), (Kind::Float, Device::Cpu));
        let mut first = 0;
        let mut places = Vec::with_capacity(parts.len());
        for (part, rows) in parts {
            let loaded = source(part)?;
            if loaded.size() != shape(*rows) {
                return Err(LoadError::Shape { name: (*part).to_owned(), expected: shape(*rows), got: loaded.size() });
            }
            master.narrow(0, first as i64, *rows as i64).copy_(&loaded);
            places.push(((*part).to_owned(), first, *rows));
            first += rows;
        }
        let compute = if self.kind == Kind::Float { master.shallow_clone() } else { master.to_kind(self.kind) };
        self.index.insert(name.to_owned(), self.list.len());
        let shared = compute.shallow_clone();
        self.list.push(Parameter { name: name.to_owned(), master, compute, parts: places });
        Ok(shared)
    }
}
