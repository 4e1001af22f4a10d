//! Memory that threads fill with rows of weights as these are read.
#![allow(unsafe_code, reason = "threads write disjoint rows of tensors' memory")]

use std::sync::atomic::{AtomicBool, Ordering};

use half::bf16;
use tch::{Kind, Tensor};

use crate::LoadError;
use crate::kernels::element::{Element, view_mut};
use crate::kernels::parallel::Shared;
use crate::kernels::{product::panels, quantised};
use crate::parameters::Parameter;
use crate::source::Source;

/// The memory of one copy of a weight.
pub(crate) enum Fill {
    F32(Shared<f32>),
    Bf16(Shared<bf16>),
    Panels(panels::Room),
    Quantised(quantised::Room),
}

impl Fill {
    /// The memory of a tensor of f32 or bf16.
    pub(crate) fn plain(tensor: &Tensor) -> Self {
        match tensor.kind() {
            Kind::Float => Self::F32(Shared::new(view_mut(tensor))),
            Kind::BFloat16 => Self::Bf16(Shared::new(view_mut(tensor))),
            other => panic!("weights: expected f32 or bf16, got {other:?}"),
        }
    }

    /// # Safety
    /// No two threads may put the same row at once, and the memory must be alive.
    unsafe fn put(&self, first: usize, width: usize, numbers: &[f32]) {
        let range = first * width..first * width + numbers.len();
        match self {
            // SAFETY: the caller's.
            Self::F32(to) => unsafe { to.slice(range).copy_from_slice(numbers) },
            Self::Bf16(to) => {
                // SAFETY: the caller's.
                let to = unsafe { to.slice(range) };
                to.iter_mut().zip(numbers).for_each(|(to, x)| *to = bf16::store(*x));
            }
            // SAFETY: the caller's.
            Self::Panels(room) => unsafe { room.rows(first, numbers) },
            // SAFETY: the caller's.
            Self::Quantised(room) => unsafe { room.rows(first, numbers) },
        }
    }
}

/// A checkpoint's tensor on its way into a parameter.
struct Part<'a> {
    copies: &'a [Fill],
    first: usize,
    width: usize,
    /// The rows that came.
    came: Vec<AtomicBool>,
}

/// Reads the values of `parameters` from `source`, into their masters, what they are computed with where that has
/// memory of its own, and their packed copies.
///
/// # Errors
/// If a tensor cannot be read; the values are then undefined.
///
/// # Panics
/// If the source hands out rows that there are not, or one twice.
pub(crate) fn fill(parameters: &[Parameter], source: &dyn Source) -> Result<(), LoadError> {
    let copies: Vec<Vec<Fill>> = parameters
        .iter()
        .map(|parameter| {
            let (master, compute) = (&parameter.master, &parameter.compute);
            let own = compute.data_ptr() != master.data_ptr();
            let plain = [Some(master), own.then_some(compute)];
            let plain = plain.into_iter().flatten().filter(|tensor| tensor.numel() > 0).map(Fill::plain);
            plain.chain(parameter.packed.iter().map(crate::packed::Packed::fill)).collect()
        })
        .collect();
    let mut names = Vec::new();
    let mut parts = Vec::new();
    for (parameter, copies) in parameters.iter().zip(&copies) {
        for (name, first, rows) in &parameter.parts {
            names.push(name.as_str());
            let came = (0..*rows).map(|_| AtomicBool::new(false)).collect();
            parts.push(Part { copies, first: *first, width: parameter.width, came });
        }
    }
    source.read(&names, &|index, row, numbers| {
        let Part { copies, first, width, came } = &parts[index];
        let rows = numbers.len() / width.max(&1);
        let once = came[row..row + rows].iter().all(|came| !came.swap(true, Ordering::Relaxed));
        assert!(once && rows * width == numbers.len(), "tensor {}: every row once, and whole", names[index]);
        for copy in *copies {
            // SAFETY: nobody else has these rows, as was just seen; parts lie in rows of their own, and the parameters
            // live.
            unsafe { copy.put(first + row, *width, numbers) };
        }
    })?;
    let lacks = |part: &Part<'_>| part.width > 0 && part.came.iter().any(|came| !came.load(Ordering::Relaxed));
    match parts.iter().position(lacks) {
        Some(index) => Err(LoadError::Missing(names[index].to_owned())),
        None => Ok(()),
    }
}
