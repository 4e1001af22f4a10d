//! Turns ggml's quantised blocks into f32, bit for bit as ggml's reference code does.
//!
//! A block is a run of 32 (or, for the K, IQ and ternary types, 256) neighbouring elements of a row
//! with a common scale. Layouts: `ggml-common.h` of <https://github.com/ggml-org/ggml>. Products and
//! sums keep the order of gguf-py and are never fused, so every machine gives the same bits.

mod iq;
mod k;

use half::{bf16, f16};

/// A coding of numbers in a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are ggml's own and say all there is to say")]
pub enum GgmlType {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
    Iq3Xxs,
    Iq3S,
    Iq2Xxs,
    Iq2Xs,
    Iq2S,
    Iq1S,
    Iq1M,
    Tq1_0,
    Tq2_0,
    Mxfp4,
}

/// What there is to know about a type: its code in a file, ggml's name, elements and bytes of a block.
struct Facts(u32, &'static str, usize, usize);

impl GgmlType {
    /// Every type that can be read.
    pub const ALL: [Self; 25] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Iq4Nl,
        Self::Iq4Xs,
        Self::Iq3Xxs,
        Self::Iq3S,
        Self::Iq2Xxs,
        Self::Iq2Xs,
        Self::Iq2S,
        Self::Iq1S,
        Self::Iq1M,
        Self::Tq1_0,
        Self::Tq2_0,
        Self::Mxfp4,
    ];

    /// The type of a code in a file; `None` where it cannot be read.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    const fn facts(self) -> Facts {
        match self {
            Self::F32 => Facts(0, "F32", 1, 4),
            Self::F16 => Facts(1, "F16", 1, 2),
            Self::Q4_0 => Facts(2, "Q4_0", 32, 18),
            Self::Q4_1 => Facts(3, "Q4_1", 32, 20),
            Self::Q5_0 => Facts(6, "Q5_0", 32, 22),
            Self::Q5_1 => Facts(7, "Q5_1", 32, 24),
            Self::Q8_0 => Facts(8, "Q8_0", 32, 34),
            Self::Q2K => Facts(10, "Q2_K", 256, 84),
            Self::Q3K => Facts(11, "Q3_K", 256, 110),
            Self::Q4K => Facts(12, "Q4_K", 256, 144),
            Self::Q5K => Facts(13, "Q5_K", 256, 176),
            Self::Q6K => Facts(14, "Q6_K", 256, 210),
            Self::Iq2Xxs => Facts(16, "IQ2_XXS", 256, 66),
            Self::Iq2Xs => Facts(17, "IQ2_XS", 256, 74),
            Self::Iq3Xxs => Facts(18, "IQ3_XXS", 256, 98),
            Self::Iq1S => Facts(19, "IQ1_S", 256, 50),
            Self::Iq4Nl => Facts(20, "IQ4_NL", 32, 18),
            Self::Iq3S => Facts(21, "IQ3_S", 256, 110),
            Self::Iq2S => Facts(22, "IQ2_S", 256, 82),
            Self::Iq4Xs => Facts(23, "IQ4_XS", 256, 136),
            Self::Iq1M => Facts(29, "IQ1_M", 256, 56),
            Self::Bf16 => Facts(30, "BF16", 1, 2),
            Self::Tq1_0 => Facts(34, "TQ1_0", 256, 54),
            Self::Tq2_0 => Facts(35, "TQ2_0", 256, 66),
            Self::Mxfp4 => Facts(39, "MXFP4", 32, 17),
        }
    }

    /// The code in a file.
    #[must_use]
    pub const fn code(self) -> u32 {
        self.facts().0
    }

    /// ggml's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().1
    }

    /// Elements in a block.
    #[must_use]
    pub const fn block(self) -> usize {
        self.facts().2
    }

    /// Bytes of a block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        self.facts().3
    }

    /// Decodes elements of a tensor, from element `first` on, into `out`; `bytes` are all of the tensor's.
    ///
    /// # Panics
    /// If `bytes` end before them.
    pub(crate) fn decode_from(self, bytes: &[u8], first: usize, out: &mut [f32]) {
        let (block, size) = (self.block(), self.block_bytes());
        let (start, end) = (first / block, (first + out.len()).div_ceil(block));
        let bytes = &bytes[start * size..end * size];
        if first.is_multiple_of(block) && out.len().is_multiple_of(block) {
            return self.dequantize(bytes, out);
        }
        let mut whole = vec![0.0; (end - start) * block];
        self.dequantize(bytes, &mut whole);
        out.copy_from_slice(&whole[first - start * block..][..out.len()]);
    }

    /// Decodes whole blocks from `bytes` into `out`.
    ///
    /// # Panics
    /// If `bytes` and `out` do not hold the same number of whole blocks.
    pub fn dequantize(self, bytes: &[u8], out: &mut [f32]) {
        let blocks = out.len() / self.block();
        assert_eq!(out.len() % self.block(), 0, "{} elements are no whole blocks of {}", out.len(), self.name());
        assert_eq!(bytes.len(), blocks * self.block_bytes(), "bytes of {blocks} blocks of {}", self.name());
        match self {
            Self::F32 => each(bytes, out, |b: &[u8; 4], o: &mut [f32; 1]| o[0] = f32::from_le_bytes(*b)),
            Self::F16 => each(bytes, out, |b: &[u8; 2], o: &mut [f32; 1]| o[0] = f16::from_le_bytes(*b).to_f32()),
            Self::Bf16 => each(bytes, out, |b: &[u8; 2], o: &mut [f32; 1]| o[0] = bf16::from_le_bytes(*b).to_f32()),
            Self::Q8_0 => each(bytes, out, q8_0),
            Self::Q4_0 => each(bytes, out, q4_0),
            Self::Q4_1 => each(bytes, out, q4_1),
            Self::Q5_0 => each(bytes, out, q5_0),
            Self::Q5_1 => each(bytes, out, q5_1),
            Self::Q2K => each(bytes, out, k::q2),
            Self::Q3K => each(bytes, out, k::q3),
            Self::Q4K => each(bytes, out, k::q4),
            Self::Q5K => each(bytes, out, k::q5),
            Self::Q6K => each(bytes, out, k::q6),
            Self::Tq1_0 => each(bytes, out, k::tq1),
            Self::Tq2_0 => each(bytes, out, k::tq2),
            Self::Iq4Nl => each(bytes, out, iq::iq4_nl),
            Self::Iq4Xs => each(bytes, out, iq::iq4_xs),
            Self::Iq3Xxs => each(bytes, out, iq::iq3_xxs),
            Self::Iq3S => each(bytes, out, iq::iq3_s),
            Self::Iq2Xxs => each(bytes, out, iq::iq2_xxs),
            Self::Iq2Xs => each(bytes, out, iq::iq2_xs),
            Self::Iq2S => each(bytes, out, iq::iq2_s),
            Self::Iq1S => each(bytes, out, iq::iq1_s),
            Self::Iq1M => each(bytes, out, iq::iq1_m),
            Self::Mxfp4 => each(bytes, out, iq::mxfp4),
        }
    }
}

/// How an error should call a type that cannot be read.
pub(super) fn name_of(code: u32) -> &'static str {
    match code {
        9 => " (Q8_1)",
        15 => " (Q8_K)",
        24..=28 => " (an integer or a double)",
        40 => " (NVFP4)",
        41 => " (Q1_0)",
        _ => "",
    }
}

/// Runs `f` over pairs of a block's bytes and elements. Both slices hold whole blocks.
fn each<const B: usize, const N: usize>(bytes: &[u8], out: &mut [f32], f: impl Fn(&[u8; B], &mut [f32; N])) {
    let (bytes, _) = bytes.as_chunks::<B>();
    let (out, _) = out.as_chunks_mut::<N>();
    for (block, out) in bytes.iter().zip(out) {
        f(block, out);
    }
}

fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = half(block, 0);
    for i in 0..32 {
        out[i] = f32::from(block[2 + i] as i8) * d;
    }
}

fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half(block, 0);
    for i in 0..16 {
        let byte = block[2 + i];
        out[i] = f32::from((byte & 15) as i8 - 8) * d;
        out[i + 16] = f32::from((byte >> 4) as i8 - 8) * d;
    }
}

fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    for i in 0..16 {
        let byte = block[4 + i];
        out[i] = f32::from(byte & 15) * d + m;
        out[i + 16] = f32::from(byte >> 4) * d + m;
    }
}

/// The fifth bits of 32 elements: bit `i` belongs to element `i`.
fn fifth_bits(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let (d, high) = (half(block, 0), fifth_bits(block, 2));
    for i in 0..16 {
        let byte = block[6 + i];
        let low = (byte & 15) | ((high >> i << 4) & 16) as u8;
        let top = (byte >> 4) | ((high >> (i + 16) << 4) & 16) as u8;
        out[i] = f32::from(low as i8 - 16) * d;
        out[i + 16] = f32::from(top as i8 - 16) * d;
    }
}

fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m, high) = (half(block, 0), half(block, 2), fifth_bits(block, 4));
    for i in 0..16 {
        let byte = block[8 + i];
        let low = (byte & 15) | ((high >> i << 4) & 16) as u8;
        let top = (byte >> 4) | ((high >> (i + 16) << 4) & 16) as u8;
        out[i] = f32::from(low) * d + m;
        out[i + 16] = f32::from(top) * d + m;
    }
}
