//! Storage types and views of tensors as slices.

use half::{bf16, f16};
use tch::{Device, Kind, Tensor};

/// A type that numbers are stored in; arithmetic is f32.
pub(crate) trait Element: Copy + Default + Send + Sync + 'static {
    fn load(self) -> f32;
    fn store(value: f32) -> Self;
    /// The same numbers, if they are bf16.
    fn as_bf16(_: &[Self]) -> Option<&[bf16]> {
        None
    }
}

impl Element for f32 {
    #[inline(always)]
    fn load(self) -> f32 {
        self
    }
    #[inline(always)]
    fn store(value: f32) -> Self {
        value
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn load(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    /// Rounds to nearest, ties to even; branch-free, so that it vectorises. NaN stays NaN for the
    /// payloads that arithmetic makes.
    #[inline(always)]
    fn store(value: f32) -> Self {
        let bits = value.to_bits();
        bf16::from_bits((bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16)
    }
    fn as_bf16(numbers: &[Self]) -> Option<&[bf16]> {
        Some(numbers)
    }
}

/// Runs a block with `$T` bound to the Rust type of a tensor's kind.
macro_rules! with_element {
    ($kind:expr, $T:ident => $body:expr) => {
        match $kind {
            tch::Kind::Float => {
                type $T = f32;
                $body
            }
            tch::Kind::BFloat16 => {
                type $T = half::bf16;
                $body
            }
            other => panic!("kernel: expected f32 or bf16, got {other:?}"),
        }
    };
}
pub(crate) use with_element;

/// Types a tensor's memory may be seen as.
pub(crate) trait Stored: Copy + Send + Sync + 'static {
    const KIND: Kind;
}
impl Stored for f32 {
    const KIND: Kind = Kind::Float;
}
impl Stored for bf16 {
    const KIND: Kind = Kind::BFloat16;
}
impl Stored for f16 {
    const KIND: Kind = Kind::Half;
}
impl Stored for i8 {
    const KIND: Kind = Kind::Int8;
}
impl Stored for u8 {
    const KIND: Kind = Kind::Uint8;
}
impl Stored for i64 {
    const KIND: Kind = Kind::Int64;
}

fn check<T: Stored>(tensor: &Tensor) -> usize {
    assert_eq!(tensor.device(), Device::Cpu, "kernel: the memory of a device");
    assert_eq!(tensor.kind(), T::KIND, "kernel: storage type");
    assert!(tensor.is_contiguous(), "kernel: expected contiguous memory");
    tensor.numel()
}

/// The memory of a contiguous CPU tensor.
pub(crate) fn view<T: Stored>(tensor: &Tensor) -> &[T] {
    let n = check::<T>(tensor);
    if n == 0 {
        return &[];
    }
    // SAFETY: kind and contiguity were checked; the tensor outlives the slice.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<T>(), n) }
}

/// The memory of a contiguous CPU tensor that nobody else reads or writes meanwhile.
#[allow(clippy::mut_from_ref, reason = "tch tensors have interior mutability")]
pub(crate) fn view_mut<T: Stored>(tensor: &Tensor) -> &mut [T] {
    let n = check::<T>(tensor);
    if n == 0 {
        return &mut [];
    }
    // SAFETY: kind and contiguity were checked; callers pass freshly made tensors or own the weights.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<T>(), n) }
}
