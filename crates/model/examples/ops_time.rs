//! Times one training layer's pieces at a given number of tokens: `ops_time [tokens] [f32|bf16]`.
#![allow(clippy::print_stdout, reason = "a measuring program")]

use std::time::Instant;

use relign_model::attention::{Attention, TreeAttention};
use relign_model::ops::{Activation, Norm, Rotary, gated, rms_norm, split_rotate};
use relign_model::{Device, Kind, Rope, Segment, Tensor, backward};

fn time(name: &str, mut run: impl FnMut()) {
    run();
    let mut seconds: Vec<f64> = (0..9)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    println!("{name:<28} {:>9.2} ms", seconds[4] * 1e3);
}

fn main() {
    let mut args = std::env::args().skip(1);
    let n: i64 = args.next().and_then(|a| a.parse().ok()).unwrap_or(1124);
    let kind = if args.next().as_deref() == Some("bf16") { Kind::BFloat16 } else { Kind::Float };
    let make = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu)).to_kind(kind).set_requires_grad(true);
    let (h, heads, kv, d, inner) = (576_i64, 9_i64, 3_i64, 64_i64, 1536_i64);
    let (x, w) = (make(&[n, h]), make(&[h]));
    let gate_up = make(&[n, 2 * inner]);
    let qkv = make(&[n, (heads + 2 * kv) * d]);
    let (q, k, v) = (make(&[n, heads, d]), make(&[n, kv, d]), make(&[n, kv, d]));
    let prompt = 100;
    let len = (n as usize - prompt) / 8;
    let mut segments = vec![Segment { start: 0, len: n as usize - 8 * len, parent: None }];
    for i in 0..8 {
        segments.push(Segment { start: n as usize - (8 - i) * len, len, parent: Some(0) });
    }
    let positions: Vec<i64> = (0..n).collect();
    let rotary = Rotary::new(&positions, &[&Rope::plain(64, 1e5)]);
    let both = |name: &str, forward: &dyn Fn() -> Tensor| {
        time(&format!("{name} forward"), || drop(forward()));
        let y = forward();
        let grad = y.ones_like();
        time(&format!("{name} both"), || backward(&forward(), &grad).expect("backward"));
    };
    both("rms_norm", &|| rms_norm(&x, &w, Norm::rounded(1e-5)));
    both("swiglu", &|| gated(&gate_up, Activation::Silu));
    both("split_rotate (q)", &|| split_rotate(&qkv, rotary.table(0), 9, 3, 64).0);
    both("tree attention", &|| TreeAttention::new(segments.clone()).attend(0, &q, &k, &v, 0.125, None));
    let weight = make(&[2 * inner, h]);
    both("linear gate_up", &|| x.linear::<&Tensor>(&weight, None));
}
