//! What the machine can do at best: reading memory, and products of matrices.

use std::time::Instant;

use relign_model::ops::{input_gradient, linear, weight_gradient};
use relign_model::{Device, Kind, Tensor, get_num_threads, no_grad_guard};
use serde_json::json;

use crate::commands::say_json;
use crate::loaded::kind_name;

/// Memory read in one go, in MiB: beyond the caches of every CPU this runs on.
const READ_MIB: [usize; 2] = [256, 1024];

/// Weights of one kind are copied until they take as much, so that each is read from memory as in a model.
const COLD_BYTES: usize = 256 << 20;

/// How long a product is repeated.
const SECONDS: f64 = 0.4;

/// A product of `x` `[rows, in]` or its gradient `dy` `[rows, out]` with a weight `W` `[out, in]`.
type Product = fn(&Operands) -> Tensor;

struct Operands {
    x: Tensor,
    dy: Tensor,
    weight: Tensor,
}

/// One way to multiply.
struct Kernel {
    name: &'static str,
    /// The product in words.
    of: &'static str,
    product: Product,
}

const FORWARD: &str = "x W^T";

/// A kernel to compare is a line here.
const KERNELS: &[Kernel] = &[
    Kernel { name: "libtorch", of: FORWARD, product: |o| o.x.linear::<&Tensor>(&o.weight, None) },
    Kernel { name: "relign", of: FORWARD, product: |o| linear(&o.x, &o.weight, None) },
    Kernel { name: "libtorch", of: "dy W", product: |o| o.dy.matmul(&o.weight) },
    Kernel { name: "relign", of: "dy W", product: |o| input_gradient(&o.dy, &o.weight) },
    Kernel { name: "libtorch", of: "dy^T x", product: |o| o.dy.tr().matmul(&o.x) },
    Kernel { name: "relign", of: "dy^T x", product: |o| weight_gradient(&o.dy, &o.x) },
];

/// A weight's `[out, in]`, the rows it is multiplied with, and whether every product reads another copy.
struct Shape {
    out: i64,
    inner: i64,
    rows: &'static [i64],
    cold: bool,
}

/// What CPUs like best, and what SmolLM2-135M has: its down projection and its output matrix.
const SHAPES: [Shape; 3] = [
    Shape { out: 1024, inner: 1024, rows: &[1024], cold: false },
    Shape { out: 576, inner: 1536, rows: &[1, 16, 64, 256], cold: true },
    Shape { out: 49_152, inner: 576, rows: &[1, 16, 64, 256], cold: true },
];

pub(super) fn run() -> anyhow::Result<()> {
    let mut read = 0.0_f64;
    for mib in READ_MIB {
        let rate = read_rate(mib << 20);
        read = read.max(rate);
        say_json(&json!({"what": "read", "mib": mib, "gb_per_s": round(rate)}))?;
    }
    let _no_grad = no_grad_guard();
    let mut best = [0.0_f64; 2];
    for (best, kind) in best.iter_mut().zip([Kind::Float, Kind::BFloat16]) {
        for (shape, &rows) in SHAPES.iter().flat_map(|shape| shape.rows.iter().map(move |rows| (shape, rows))) {
            // Gradients are made of whole batches only.
            for kernel in KERNELS.iter().filter(|kernel| kernel.of == FORWARD || rows >= 256) {
                let seconds = product_seconds(kernel, kind, shape, rows);
                let gflops = 2.0 * (shape.out * shape.inner * rows) as f64 / seconds / 1e9;
                *best = best.max(gflops);
                say_json(&json!({
                    "what": "product", "kernel": kernel.name, "of": kernel.of, "dtype": kind_name(kind), "rows": rows,
                    "weight": [shape.out, shape.inner], "gflops": round(gflops),
                    "weight_gb_per_s": round(weight_bytes(kind, shape) as f64 / seconds / 1e9),
                }))?;
            }
        }
    }
    say_json(&json!({
        "summary": true, "threads": get_num_threads(), "read_gb_per_s": round(read),
        "f32_gflops": round(best[0]), "bf16_gflops": round(best[1]),
    }))
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Bytes per second at which as many threads as tensors use read `bytes` of memory, each a part of its own.
fn read_rate(bytes: usize) -> f64 {
    let words: Vec<u64> = (0..bytes as u64 / 8).collect();
    let part = words.len().div_ceil(get_num_threads().max(1) as usize);
    let seconds = (0..12).map(|_| {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for part in words.chunks(part) {
                scope.spawn(|| std::hint::black_box(sum(part)));
            }
        });
        started.elapsed().as_secs_f64()
    });
    bytes as f64 / median(seconds.collect()) / 1e9
}

/// Enough sums side by side that adding never waits for itself.
fn sum(words: &[u64]) -> u64 {
    let mut sums = [0_u64; 16];
    for chunk in words.chunks_exact(16) {
        for (sum, word) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.iter().fold(0, |all, sum| all.wrapping_add(*sum))
}

fn weight_bytes(kind: Kind, shape: &Shape) -> usize {
    (shape.out * shape.inner) as usize * kind.elt_size_in_bytes()
}

/// Seconds of one product, the median over repetitions.
fn product_seconds(kernel: &Kernel, kind: Kind, shape: &Shape, rows: i64) -> f64 {
    let options = (kind, Device::Cpu);
    let copies = if shape.cold { COLD_BYTES.div_ceil(weight_bytes(kind, shape)) } else { 1 };
    let filled = |size: [i64; 2]| Tensor::ones(size, options) * 0.5;
    let (x, dy) = (filled([rows, shape.inner]), filled([rows, shape.out]));
    let operands: Vec<Operands> = (0..copies)
        .map(|_| Operands { x: x.shallow_clone(), dy: dy.shallow_clone(), weight: filled([shape.out, shape.inner]) })
        .collect();
    // Warms up: threads, what the library packs or compiles for this shape.
    drop((kernel.product)(&operands[0]));
    let (started, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < 5 || started.elapsed().as_secs_f64() < SECONDS {
        // A short product is timed in a run of them.
        let round = Instant::now();
        for operands in &operands {
            drop((kernel.product)(operands));
        }
        seconds.push(round.elapsed().as_secs_f64() / copies as f64);
    }
    median(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_multiplies() {
        let _no_grad = no_grad_guard();
        let options = (Kind::Float, Device::Cpu);
        let operands = Operands {
            x: Tensor::arange(6, options).view([2, 3]),
            dy: Tensor::arange(8, options).view([2, 4]),
            weight: Tensor::arange(12, options).view([4, 3]),
        };
        for kernel in KERNELS {
            let y = Vec::<f32>::try_from((kernel.product)(&operands).contiguous().view(-1)).unwrap();
            let expected: &[f32] = match kernel.of {
                FORWARD => &[5.0, 14.0, 23.0, 32.0, 14.0, 50.0, 86.0, 122.0],
                "dy W" => &[42.0, 48.0, 54.0, 114.0, 136.0, 158.0],
                _ => &[12.0, 16.0, 20.0, 15.0, 21.0, 27.0, 18.0, 26.0, 34.0, 21.0, 31.0, 41.0],
            };
            assert_eq!(y, expected, "{} {}", kernel.name, kernel.of);
        }
    }

    #[test]
    fn reading_takes_time_and_every_word() {
        assert_eq!(sum(&(0..64).collect::<Vec<u64>>()), 63 * 32);
        let rate = read_rate(1 << 20);
        assert!(rate.is_finite() && rate > 0.0);
    }
}
