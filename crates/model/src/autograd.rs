//! Custom autograd functions in Rust: fused operations with their own backward pass.
#![allow(unsafe_code, reason = "the border to the C++ shim")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use tch::Tensor;

/// An operation that knows its own derivative.
pub(crate) trait Differentiable: Send {
    /// The outputs for `inputs`; runs without gradient tracking.
    fn forward(&self, inputs: &[Tensor]) -> Vec<Tensor>;

    /// The gradient of each input. `saved` holds the inputs, followed by the outputs where
    /// [`SAVE_OUTPUTS`](Differentiable::save_outputs) says so; `grads` one gradient per output.
    fn backward(&self, saved: &[Tensor], grads: &[Option<Tensor>]) -> Vec<Option<Tensor>>;

    /// How many outputs there are.
    fn outputs(&self) -> usize {
        1
    }

    /// Whether the backward pass reads the outputs.
    fn save_outputs(&self) -> bool {
        false
    }
}

type Raw = *mut c_void;

unsafe extern "C" {
    fn relign_apply(
        op: Raw,
        inputs: *const Raw,
        n_inputs: usize,
        outputs: *mut Raw,
        n_outputs: usize,
        save_outputs: c_int,
    ) -> c_int;
    fn relign_backward(tensor: Raw, grad: Raw, message: *mut c_char, capacity: usize) -> c_int;
    fn relign_grad_enabled() -> c_int;
    fn relign_take_grad(tensor: Raw) -> Raw;
}

/// Moves the gradient out of a leaf, so that the next backward pass starts a new one.
#[must_use]
pub fn take_grad(tensor: &Tensor) -> Option<Tensor> {
    // SAFETY: the tensor is borrowed for the call.
    let grad = unsafe { relign_take_grad(tensor.as_ptr().cast_mut().cast()) };
    // SAFETY: the shim gives us a new heap tensor, or null.
    (!grad.is_null()).then(|| unsafe { Tensor::from_ptr(grad.cast()) })
}

/// Whether this thread tracks gradients.
pub(crate) fn grad_enabled() -> bool {
    // SAFETY: no preconditions.
    unsafe { relign_grad_enabled() != 0 }
}

/// Applies `op`, recording it for the backward pass where any input needs a gradient.
///
/// # Panics
/// If the operation fails; shapes are the caller's duty.
pub(crate) fn apply(op: Box<dyn Differentiable>, inputs: &[&Tensor]) -> Vec<Tensor> {
    let n_outputs = op.outputs();
    let save_outputs = c_int::from(op.save_outputs());
    let raw: Vec<Raw> = inputs.iter().map(|t| t.as_ptr().cast_mut().cast::<c_void>()).collect();
    let mut outputs: Vec<Raw> = vec![std::ptr::null_mut(); n_outputs];
    let op = Box::into_raw(Box::new(op)).cast::<c_void>();
    // SAFETY: `op` is handed over and freed through `relign_op_drop`; inputs outlive the call; the
    // shim fills every output or reports a failure.
    let failed =
        unsafe { relign_apply(op, raw.as_ptr(), raw.len(), outputs.as_mut_ptr(), n_outputs, save_outputs) } != 0;
    assert!(!failed, "a fused operation failed; see the message above");
    // SAFETY: the shim gave each output to us as a new heap tensor.
    outputs.into_iter().map(|t| unsafe { Tensor::from_ptr(t.cast()) }).collect()
}

/// Backpropagates `grad` (the shape of `tensor`) from `tensor` into the leaves it was made from.
///
/// # Errors
/// With libtorch's message if the backward pass fails.
pub fn backward(tensor: &Tensor, grad: &Tensor) -> Result<(), String> {
    let mut message = [0 as c_char; 2048];
    // SAFETY: both tensors are borrowed for the call; the message is cut to the buffer and ends in 0.
    let failed = unsafe {
        relign_backward(
            tensor.as_ptr().cast_mut().cast(),
            grad.as_ptr().cast_mut().cast(),
            message.as_mut_ptr(),
            message.len(),
        )
    } != 0;
    if failed {
        // SAFETY: the shim wrote a string that ends in 0.
        return Err(unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy().into_owned());
    }
    Ok(())
}

/// Takes over tensors that the shim allocated for us; null stands for "none".
unsafe fn take(pointers: *mut Raw, n: usize) -> Vec<Option<Tensor>> {
    if n == 0 {
        return Vec::new();
    }
    // SAFETY: the shim passes an array of `n` pointers.
    let pointers = unsafe { std::slice::from_raw_parts(pointers, n) };
    pointers
        .iter()
        // SAFETY: each pointer that is not null is a heap tensor given to us.
        .map(|&p| (!p.is_null()).then(|| unsafe { Tensor::from_ptr(p.cast()) }))
        .collect()
}

/// Hands tensors over to the shim, which frees them.
unsafe fn give(tensors: Vec<Option<Tensor>>, pointers: *mut Raw, n: usize) {
    assert_eq!(tensors.len(), n, "a fused operation returned the wrong number of tensors");
    for (i, tensor) in tensors.into_iter().enumerate() {
        let pointer = tensor.map_or(std::ptr::null_mut(), |tensor| {
            let tensor = std::mem::ManuallyDrop::new(tensor);
            tensor.as_ptr().cast_mut().cast::<c_void>()
        });
        // SAFETY: `pointers` has room for `n`.
        unsafe { *pointers.add(i) = pointer };
    }
}

#[unsafe(no_mangle)]
extern "C" fn relign_op_forward(op: Raw, inputs: *mut Raw, n: usize, outputs: *mut Raw, n_outputs: usize) -> c_int {
    let run = || {
        // SAFETY: `op` is the box made in `apply`, alive until `relign_op_drop`.
        let op = unsafe { &*op.cast::<Box<dyn Differentiable>>() };
        // SAFETY: the shim gives us these tensors.
        let inputs: Vec<Tensor> = unsafe { take(inputs, n) }.into_iter().flatten().collect();
        let result = op.forward(&inputs);
        // SAFETY: the shim's array has room for `n_outputs`.
        unsafe { give(result.into_iter().map(Some).collect(), outputs, n_outputs) };
    };
    c_int::from(catch_unwind(AssertUnwindSafe(run)).is_err())
}

#[unsafe(no_mangle)]
extern "C" fn relign_op_backward(
    op: Raw,
    saved: *mut Raw,
    n_saved: usize,
    grads: *mut Raw,
    n_grads: usize,
    outputs: *mut Raw,
    n_outputs: usize,
) -> c_int {
    let run = || {
        let _no_grad = tch::no_grad_guard();
        // SAFETY: `op` is the box made in `apply`, alive until `relign_op_drop`.
        let op = unsafe { &*op.cast::<Box<dyn Differentiable>>() };
        // SAFETY: the shim gives us these tensors.
        let saved: Vec<Tensor> = unsafe { take(saved, n_saved) }.into_iter().flatten().collect();
        // SAFETY: as above.
        let grads = unsafe { take(grads, n_grads) };
        let result = op.backward(&saved, &grads);
        // SAFETY: the shim's array has room for `n_outputs`.
        unsafe { give(result, outputs, n_outputs) };
    };
    c_int::from(catch_unwind(AssertUnwindSafe(run)).is_err())
}

#[unsafe(no_mangle)]
extern "C" fn relign_op_drop(op: Raw) {
    // SAFETY: called once by the shim for the box made in `apply`.
    drop(unsafe { Box::from_raw(op.cast::<Box<dyn Differentiable>>()) });
}
