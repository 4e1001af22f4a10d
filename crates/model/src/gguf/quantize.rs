//! Turns f32 into ggml's blocks, bit for bit as gguf-py does; the types that RELIGN writes.

use half::{bf16, f16};

use super::GgmlType;

impl GgmlType {
    /// The types that [`quantize`](Self::quantize) writes.
    pub const WRITTEN: [Self; 5] = [Self::F32, Self::F16, Self::Bf16, Self::Q8_0, Self::Q4_0];

    /// Whether [`quantize`](Self::quantize) writes this type.
    #[must_use]
    pub fn is_written(self) -> bool {
        Self::WRITTEN.contains(&self)
    }

    /// Appends `values`, coded, to `out`.
    ///
    /// # Panics
    /// If `values` are no whole blocks, or the type is not [written](Self::is_written).
    pub fn quantize(self, values: &[f32], out: &mut Vec<u8>) {
        assert_eq!(values.len() % self.block(), 0, "{} values are no whole blocks of {}", values.len(), self.name());
        out.reserve(values.len() / self.block() * self.block_bytes());
        match self {
            Self::F32 => out.extend(values.iter().flat_map(|x| x.to_le_bytes())),
            Self::F16 => out.extend(values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes())),
            Self::Bf16 => out.extend(values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes())),
            Self::Q8_0 => values.as_chunks().0.iter().for_each(|block| out.extend(q8_0(block))),
            Self::Q4_0 => values.as_chunks().0.iter().for_each(|block| out.extend(q4_0(block))),
            other => panic!("{} cannot be written", other.name()),
        }
    }
}

/// One over the scale, and 0 for a block of zeros.
fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// The greatest magnitude is 127.
fn q8_0(block: &[f32; 32]) -> [u8; 34] {
    let d = block.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0;
    let by = inverse(d);
    let mut out = [0; 34];
    out[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (out, x) in out[2..].iter_mut().zip(block) {
        *out = (x * by).round() as i8 as u8;
    }
    out
}

/// The value of the greatest magnitude, the first of equal ones, is -8.
fn q4_0(block: &[f32; 32]) -> [u8; 18] {
    let most = block.iter().fold(0.0_f32, |most, x| if x.abs() > most.abs() { *x } else { most });
    let d = most / -8.0;
    let by = inverse(d);
    let quant = |x: f32| ((x * by + 8.5) as u8).min(15);
    let mut out = [0; 18];
    out[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (i, out) in out[2..].iter_mut().enumerate() {
        *out = quant(block[i]) | quant(block[i + 16]) << 4;
    }
    out
}
