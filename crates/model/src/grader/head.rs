//! What makes a few numbers of a hidden state.

use std::sync::Mutex;

use tch::{Kind, Tensor};

use crate::families::Family;
use crate::ops::{linear, logits};
use crate::source::Source;
use crate::{LoadError, ops};

/// The names of the layers of a head: one layer, or two with a ReLU between them.
const ONE: &str = "score";
const TWO: [&str; 2] = ["score.0", "score.2"];

/// See [`Grader`](super::Grader).
pub(super) enum Head {
    /// Layers of weight `[out, in]` and bias `[out]` in f32, with a ReLU between them.
    Labels(Vec<(Tensor, Option<Tensor>)>),
    /// Rows of the output matrix.
    Tokens(Tensor),
}

pub(super) fn has_labels(source: &dyn Source) -> bool {
    [ONE, TWO[0]].iter().any(|name| source.shape(&format!("{name}.weight")).is_ok())
}

impl Head {
    pub(super) fn labels(hidden: usize, source: &dyn Source) -> Result<Self, LoadError> {
        let names = if source.shape(&format!("{}.weight", TWO[0])).is_ok() { &TWO[..] } else { &[ONE] };
        let mut width = hidden;
        let mut layers = Vec::new();
        for name in names {
            let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
            let shape = source.shape(&weight).map_err(|_| LoadError::Missing(weight.clone()))?;
            let [out, input] = shape[..] else { return Err(wrong(&weight, &[1, width], &shape)) };
            if input != width || out == 0 {
                return Err(wrong(&weight, &[out.max(1), width], &shape));
            }
            let bias = match source.shape(&bias) {
                Ok(shape) if shape == [out] => Some(read(source, &bias)?),
                Ok(shape) => return Err(wrong(&bias, &[out], &shape)),
                Err(_) => None,
            };
            layers.push((read(source, &weight)?, bias));
            width = out;
        }
        Ok(Self::Labels(layers))
    }

    pub(super) fn tokens(family: &dyn Family, tokens: &[u32]) -> Self {
        let _no_grad = tch::no_grad_guard();
        let ids: Vec<i64> = tokens.iter().map(|&token| i64::from(token)).collect();
        Self::Tokens(ops::contiguous(&family.head().weight().index_select(0, &Tensor::from_slice(&ids))))
    }

    pub(super) fn numbers(&self) -> usize {
        let weight = match self {
            Self::Labels(layers) => layers.last().map(|(weight, _)| weight),
            Self::Tokens(rows) => Some(rows),
        };
        weight.map_or(0, |weight| weight.size()[0] as usize)
    }

    /// The numbers `[n, numbers]` of hidden states `[n, hidden]`, in f32.
    pub(super) fn read(&self, hidden: &Tensor) -> Tensor {
        match self {
            Self::Tokens(rows) => logits(hidden, rows),
            Self::Labels(layers) => {
                let mut x = hidden.to_kind(Kind::Float);
                for (at, (weight, bias)) in layers.iter().enumerate() {
                    x = linear(&if at > 0 { x.relu() } else { x }, weight, bias.as_ref());
                }
                x
            }
        }
    }
}

fn wrong(name: &str, expected: &[usize], got: &[usize]) -> LoadError {
    let signed = |shape: &[usize]| shape.iter().map(|&n| n as i64).collect();
    LoadError::Shape { name: name.to_owned(), expected: signed(expected), got: signed(got) }
}

/// A whole tensor in f32.
fn read(source: &dyn Source, name: &str) -> Result<Tensor, LoadError> {
    let shape = source.shape(name)?;
    let width: usize = shape.iter().skip(1).product();
    let numbers = Mutex::new(vec![0.0_f32; shape.iter().product()]);
    source.read(&[name], &|_, first, rows| {
        let mut numbers = numbers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        numbers[first * width..first * width + rows.len()].copy_from_slice(rows);
    })?;
    let numbers = numbers.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let size: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
    Ok(Tensor::from_slice(&numbers).view(size.as_slice()))
}
