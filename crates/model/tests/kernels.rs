//! Hand-written kernels, and what is done where there are none, against libtorch's own operations and its autograd.

mod common;

use relign_core::KvCache;
use relign_model::attention::{Attention, TreeAttention, reference};
use relign_model::device::WithoutKernels;
use relign_model::kv::{KvPool, PagedRow};
use relign_model::logits::{Draw, Drawn, TokenStats, certainty_of, draw};
use relign_model::ops::{Activation, Norm, Rotary, gated, rms_norm, rotate, split_rotate};
use relign_model::{Config, Device, Kind, Rope, Segment, Tensor, backward};

fn random(size: &[i64], seed: i64) -> Tensor {
    // Sines of a quadratic phase: deterministic, dense in (-1, 1), no global generator.
    let n: i64 = size.iter().product();
    let i = Tensor::arange(n, (Kind::Double, Device::Cpu));
    ((&i * &i * 0.618 + &i * (seed as f64 + 1.37)).sin() * 1.7).to_kind(Kind::Float).view(size)
}

fn leaf(x: &Tensor) -> Tensor {
    x.detach().copy().set_requires_grad(true)
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    let (a, b) = (a.detach().to_kind(Kind::Double), b.detach().to_kind(Kind::Double));
    let scale = b.abs().max().double_value(&[]).max(1e-6);
    (a - b).abs().max().double_value(&[]) / scale
}

/// Runs a check with the kernels, and once more with what stands in for them on other devices.
fn with_and_without_kernels(check: &dyn Fn(bool)) {
    check(true);
    let _without = WithoutKernels::new();
    check(false);
}

/// Outputs and input gradients of `ours` in f32 and bf16 against `theirs` in f32, for the same output gradient.
fn same(name: &str, inputs: &[Tensor], ours: &dyn Fn(&[Tensor]) -> Tensor, theirs: &dyn Fn(&[Tensor]) -> Tensor) {
    with_and_without_kernels(&|_| same_once(name, inputs, ours, theirs));
}

fn same_once(name: &str, inputs: &[Tensor], ours: &dyn Fn(&[Tensor]) -> Tensor, theirs: &dyn Fn(&[Tensor]) -> Tensor) {
    for (kind, tolerance) in [(Kind::Float, 3e-5), (Kind::BFloat16, 3e-2)] {
        let stored: Vec<Tensor> = inputs.iter().map(|t| t.to_kind(kind)).collect();
        let a: Vec<Tensor> = stored.iter().map(leaf).collect();
        let b: Vec<Tensor> = stored.iter().map(|t| leaf(&t.to_kind(Kind::Float))).collect();
        let (ya, yb) = (ours(&a), theirs(&b));
        let grad = random(&yb.size(), 99);
        backward(&ya, &grad.to_kind(ya.kind())).expect("backward");
        backward(&yb, &grad).expect("backward");
        assert!(gap(&ya, &yb) < tolerance, "{name} {kind:?}: output differs by {}", gap(&ya, &yb));
        for (i, (a, b)) in a.iter().zip(&b).enumerate() {
            let gap = gap(&a.grad(), &b.grad());
            assert!(gap < tolerance, "{name} {kind:?}: gradient {i} differs by {gap}");
        }
    }
}

#[test]
fn rms_norm_matches() {
    for (rows, width, offset, round) in [(1, 8, 0.0, true), (37, 576, 0.0, true), (130, 64, 1.0, false)] {
        let norm = Norm { eps: 1e-5, offset, round };
        same("rms_norm", &[random(&[rows, width], 1), random(&[width], 2)], &|x| rms_norm(&x[0], &x[1], norm), &|x| {
            let scale = (x[0].square().mean_dim([-1].as_slice(), true, Kind::Float) + 1e-5).rsqrt();
            &x[0] * scale * (&x[1] + f64::from(offset))
        });
    }
}

#[test]
fn gated_activations_match() {
    let x = [random(&[45, 2 * 96], 3) * 4.0];
    same("swiglu", &x, &|x| gated(&x[0], Activation::Silu), &|x| x[0].narrow(1, 0, 96).silu() * x[0].narrow(1, 96, 96));
    same("geglu", &x, &|x| gated(&x[0], Activation::GeluTanh), &|x| {
        x[0].narrow(1, 0, 96).gelu("tanh") * x[0].narrow(1, 96, 96)
    });
}

/// The first `turning` numbers of each head of `[n, heads, dim]` rotated, as written out in the paper.
fn rotated(x: &Tensor, positions: &[i64], turning: i64, magnitude: f64) -> Tensor {
    let p = Tensor::from_slice(positions).to_kind(Kind::Double);
    let i = Tensor::arange(turning / 2, (Kind::Double, Device::Cpu)) * (2.0 / turning as f64);
    let angle = p.unsqueeze(1) * (i * -(10_000.0_f64.ln())).exp().unsqueeze(0);
    let angle = Tensor::cat(&[&angle, &angle], 1).to_kind(Kind::Float).unsqueeze(1);
    let half = turning / 2;
    let part = x.narrow(2, 0, turning);
    let other = Tensor::cat(&[-part.narrow(2, half, half), part.narrow(2, 0, half)], 2);
    let part = (&part * angle.cos() + other * angle.sin()) * magnitude;
    Tensor::cat(&[part, x.narrow(2, turning, x.size()[2] - turning)], 2)
}

#[test]
fn rotations_match() {
    let (heads, kv_heads, dim) = (6, 2, 16);
    let positions: Vec<i64> = (0..29).map(|i| (i * 7) % 40).collect();
    for (turning, magnitude) in [(16, 1.0), (12, 1.25)] {
        let rope = Rope { magnitude, ..Rope::plain(turning as usize, 10_000.0) };
        let rotary = Rotary::new(&positions, &[&rope]);
        let theirs = |x: &[Tensor]| {
            let turned = x[0].narrow(1, 0, (heads + kv_heads) * dim).view([29, heads + kv_heads, dim]);
            let turned = rotated(&turned, &positions, turning, f64::from(magnitude)).reshape([29, -1]);
            Tensor::cat(&[turned, x[0].narrow(1, (heads + kv_heads) * dim, kv_heads * dim)], 1)
        };
        let x = [random(&[29, (heads + 2 * kv_heads) * dim], 5)];
        let split = |x: &[Tensor]| {
            let (q, k, v) = split_rotate(&x[0], rotary.table(0), heads as usize, kv_heads as usize, dim as usize);
            Tensor::cat(&[q.reshape([29, -1]), k.reshape([29, -1]), v.reshape([29, -1])], 1)
        };
        same("split_rotate", &x, &split, &theirs);
        let x = [random(&[29, heads, dim], 6)];
        same("rotate", &x, &|x| rotate(&x[0], rotary.table(0)), &|x| {
            rotated(&x[0], &positions, turning, f64::from(magnitude))
        });
    }
}

fn segments() -> Vec<Segment> {
    // Two trees: one branches twice, the second is a lone path; lengths cross the kernels' block sizes.
    let lens = [(70, None), (5, Some(0)), (129, Some(0)), (1, Some(2)), (40, Some(2)), (33, None), (64, Some(5))];
    let mut start = 0;
    lens.iter()
        .map(|&(len, parent)| {
            let segment = Segment { start, len, parent };
            start += len;
            segment
        })
        .collect()
}

#[test]
fn tree_attention_matches_the_masked_product() {
    let segments = segments();
    let n: i64 = segments.iter().map(|s| s.len as i64).sum();
    for (heads, kv_heads, dim) in [(6, 2, 64), (3, 3, 16), (4, 1, 40)] {
        let scale = 1.0 / (dim as f64).sqrt();
        // Windows within a block, across blocks and segments, of two tokens, and longer than every path.
        let windows = [None, Some(131), Some(2), Some(20), Some(64), Some(1000)];
        for &window in &windows[..if dim == 16 { 6 } else { 2 }] {
            same(
                &format!("tree attention, window {window:?}"),
                &[random(&[n, heads, dim], 7), random(&[n, kv_heads, dim], 8), random(&[n, kv_heads, dim], 9)],
                &|x| TreeAttention::new(segments.clone()).attend(0, &x[0], &x[1], &x[2], scale, window),
                &|x| reference(&segments, &x[0], &x[1], &x[2], scale, window),
            );
        }
    }
}

#[test]
fn a_shared_prompt_equals_its_copies() {
    // Three completions after one packed prompt, against three separate sequences.
    let (prompt, len) = (50, 23);
    let segment = |start, len, parent| Segment { start, len, parent };
    let packed = vec![
        segment(0, prompt, None),
        segment(prompt, len, Some(0)),
        segment(prompt + len, len, Some(0)),
        segment(prompt + 2 * len, len, Some(0)),
    ];
    let n = (prompt + 3 * len) as i64;
    let x = [random(&[n, 4, 32], 1), random(&[n, 2, 32], 2), random(&[n, 2, 32], 3)];
    let a: Vec<Tensor> = x.iter().map(leaf).collect();
    let ours = TreeAttention::new(packed).attend(0, &a[0], &a[1], &a[2], 0.2, None);
    let grad = random(&ours.size(), 4);
    // Each copy of the prompt gets a third of the prompt's own gradient.
    backward(&ours, &grad).expect("backward");
    let b: Vec<Tensor> = x.iter().map(leaf).collect();
    for branch in 0..3 {
        let rows: Vec<i64> =
            (0..prompt as i64).chain((0..len as i64).map(|i| (prompt + branch * len) as i64 + i)).collect();
        let rows = Tensor::from_slice(&rows);
        let part: Vec<Tensor> = b.iter().map(|t| t.index_select(0, &rows)).collect();
        let out = TreeAttention::causal(prompt + len).attend(0, &part[0], &part[1], &part[2], 0.2, None);
        assert!(gap(&out, &ours.index_select(0, &rows)) < 1e-5);
        let weight = grad.index_select(0, &rows);
        let _ = weight.narrow(0, 0, prompt as i64).g_mul_scalar_(1.0 / 3.0);
        backward(&out, &weight).expect("backward");
    }
    for (a, b) in a.iter().zip(&b) {
        assert!(gap(&a.grad(), &b.grad()) < 1e-5);
    }
}

#[test]
fn paged_attention_matches() {
    with_and_without_kernels(&paged_attention);
}

/// One layer with six heads and two of keys, 16 wide.
fn config() -> Config {
    let raw = serde_json::json!({
        "model_type": "llama", "vocab_size": 10, "hidden_size": 96, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 64
    });
    Config::from_hf(&raw).expect("valid")
}

/// Some sequences of different lengths at once, and each row of them alone: the same within rounding.
fn paged_attention(has_kernels: bool) {
    let config = config();
    let (heads, kv_heads, dim) = (6, 2, 16);
    for (kind, cache, tolerance) in [
        (Kind::Float, KvCache::Full, 1e-5),
        (Kind::BFloat16, KvCache::Full, 2e-2),
        (Kind::Float, KvCache::Bf16, 2e-2),
        (Kind::Float, KvCache::Int8, 3e-2),
        (Kind::BFloat16, KvCache::Int8, 4e-2),
    ] {
        let mut pool = KvPool::new(&config, kind, cache);
        pool.resize(2).expect("memory");
        pool.resize(8).expect("memory");
        // Two sequences with scattered blocks, each fed at once and token by token.
        let lens = [37_usize, 18];
        let tables = [vec![5_u32, 0, 3], vec![7, 2]];
        let made: Vec<[Tensor; 3]> = lens
            .iter()
            .enumerate()
            .map(|(i, &len)| {
                [heads, kv_heads, kv_heads].map(|h| random(&[len as i64, h, dim], i as i64 + h).to_kind(kind))
            })
            .collect();
        let windows = [None, Some(1), Some(5), Some(16), Some(30), Some(100)];
        for ((sequence, [q, k, v]), window) in made.iter().enumerate().flat_map(|m| windows.map(|w| (m, w))) {
            let len = lens[sequence];
            let expected = reference(
                &[Segment { start: 0, len, parent: None }],
                &q.to_kind(Kind::Float),
                &k.to_kind(Kind::Float),
                &v.to_kind(Kind::Float),
                0.25,
                window,
            );
            let rows: Vec<PagedRow<'_>> = (1..=len).map(|len| PagedRow { blocks: &tables[sequence], len }).collect();
            let got = pool.attention(&rows).attend(0, q, k, v, 0.25, window);
            let one = |t: &Tensor, i: i64| t.narrow(0, i, 1).contiguous();
            let alone: Vec<Tensor> = (0..len)
                .map(|i| {
                    let j = i as i64;
                    pool.attention(&rows[i..=i]).attend(0, &one(q, j), &one(k, j), &one(v, j), 0.25, window)
                })
                .collect();
            // The kernels come to the same bits in any company; libtorch does not promise that.
            let apart = gap(&Tensor::cat(&alone, 0), &got);
            assert!(apart <= if has_kernels { 0.0 } else { tolerance }, "{kind:?} {cache:?}: a row alone: {apart}");
            assert!(
                gap(&got, &expected) < tolerance,
                "{kind:?} {cache:?} sequence {sequence} window {window:?}: {}",
                gap(&got, &expected)
            );
        }
    }
}

/// Memory that cannot be had is an error that says how much was asked for, and takes nothing away.
#[test]
fn a_pool_that_cannot_grow_says_so_and_stays() {
    let config = config();
    let [q, k, v] = [6, 2, 2].map(|heads| random(&[37, heads, 16], heads));
    let rows: Vec<PagedRow<'_>> = (1..=37).map(|len| PagedRow { blocks: &[1, 0, 2], len }).collect();
    let mut pool = KvPool::new(&config, Kind::Float, KvCache::Full);
    pool.resize(3).expect("memory");
    let all = pool.attention(&rows).attend(0, &q, &k, &v, 0.25, None);
    for blocks in [(1_usize << 46) / pool.block_bytes(), usize::MAX / 1024] {
        let error = pool.resize(blocks).unwrap_err();
        assert!(error.contains(&format!("{blocks} blocks")) && error.contains("out of memory: asked for"), "{error}");
        assert_eq!(pool.blocks(), 3);
        let [q, k, v] = [&q, &k, &v].map(|t| t.narrow(0, 36, 1).contiguous());
        let last = pool.attention(&rows[36..]).attend(0, &q, &k, &v, 0.25, None);
        assert_eq!(gap(&last, &all.narrow(0, 36, 1)), 0.0);
    }
}

/// What is stored outlives growing, also past the memory that was asked for at first (1 GiB, of which little is touched).
#[test]
fn keys_outlive_the_growth_of_their_pool() {
    let config = config();
    let [q, k, v] = [6, 2, 2].map(|heads| random(&[37, heads, 16], heads));
    let rows: Vec<PagedRow<'_>> = (1..=37).map(|len| PagedRow { blocks: &[1, 0, 2], len }).collect();
    let mut pool = KvPool::new(&config, Kind::Float, KvCache::Full);
    pool.resize(3).expect("memory");
    let all = pool.attention(&rows).attend(0, &q, &k, &v, 0.25, None);
    let [q, k, v] = [&q, &k, &v].map(|t| t.narrow(0, 36, 1).contiguous());
    for blocks in [4, (1 << 30) / pool.block_bytes() + 1] {
        pool.resize(blocks).expect("memory");
        assert_eq!(pool.blocks(), blocks);
        let last = pool.attention(&rows[36..]).attend(0, &q, &k, &v, 0.25, None);
        assert_eq!(gap(&last, &all.narrow(0, 36, 1)), 0.0, "{blocks} blocks");
    }
}

/// Rows of several sequences in one pass, of different lengths and some with many rows: each as it is alone.
#[test]
fn rows_without_kernels_do_not_mix() {
    let config = config();
    let tables: [&[u32]; 4] = [&[5, 0, 3], &[7, 2], &[1], &[4, 6]];
    let lens = [[1, 37].as_slice(), &[18], &[3], &[30, 31, 32]];
    let rows: Vec<PagedRow<'_>> = std::iter::zip(tables, lens)
        .flat_map(|(blocks, lens)| lens.iter().map(move |&len| PagedRow { blocks, len }))
        .collect();
    let n = rows.len() as i64;
    let [q, k, v] = [(6, 1), (2, 2), (2, 3)].map(|(heads, seed)| random(&[n, heads, 16], seed));
    for window in [None, Some(7)] {
        let run = |without: bool| {
            let _without = without.then(WithoutKernels::new);
            let mut pool = KvPool::new(&config, Kind::Float, KvCache::Full);
            pool.resize(8).expect("memory");
            // What is read before it was written must be the same number on both sides.
            let all: Vec<PagedRow<'_>> = tables
                .iter()
                .flat_map(|blocks| (1..=blocks.len() * KvPool::BLOCK).map(|len| PagedRow { blocks, len }))
                .collect();
            let filled = [6, 2, 2].map(|heads| random(&[all.len() as i64, heads, 16], 5));
            drop(pool.attention(&all).attend(0, &filled[0], &filled[1], &filled[2], 0.25, None));
            pool.attention(&rows).attend(0, &q, &k, &v, 0.25, window)
        };
        let (with, without) = (run(false), run(true));
        assert!(gap(&without, &with) < 1e-5, "window {window:?}: {}", gap(&without, &with));
    }
}

#[test]
fn token_stats_match_autograd() {
    with_and_without_kernels(&|_| token_stats());
}

fn token_stats() {
    let (n, vocab, temperature) = (9, 5003, 0.8);
    let targets: Vec<u32> = (0..n).map(|i| (i * 557 + 3) % vocab).collect();
    let logits = random(&[i64::from(n), i64::from(vocab)], 11) * 4.0;
    let x = leaf(&logits);
    let logps = (&x / temperature).log_softmax(-1, Kind::Float);
    let index = Tensor::from_slice(&targets.iter().map(|&t| i64::from(t)).collect::<Vec<_>>()).unsqueeze(1);
    let logp = logps.gather(1, &index, false).squeeze_dim(1);
    let entropy = -(logps.exp() * &logps).sum_dim_intlist([-1].as_slice(), false, Kind::Float);
    let (d_logp, d_entropy) = (random(&[i64::from(n)], 12), random(&[i64::from(n)], 13));
    (&logp * &d_logp + &entropy * &d_entropy).sum(Kind::Float).backward();

    let numbers = |t: &Tensor| Vec::<f32>::try_from(t).expect("f32 vector");
    let ours = logits.copy();
    let stats = TokenStats::of(&ours, &targets, temperature as f32);
    assert!(gap(&Tensor::from_slice(&stats.logp), &logp) < 1e-5);
    assert!(gap(&Tensor::from_slice(&stats.entropy), &entropy) < 1e-4);
    stats.backward(&ours, &targets, temperature as f32, &numbers(&d_logp), &numbers(&d_entropy));
    assert!(gap(&ours, &x.grad()) < 1e-4, "{}", gap(&ours, &x.grad()));
}

#[test]
fn certainty_is_the_divergence_from_the_uniform_distribution() {
    for kind in [Kind::Float, Kind::BFloat16] {
        let logits = (random(&[5, 3001], 4) * 6.0 + 30.0).to_kind(kind);
        let expected = -logits.to_kind(Kind::Double).log_softmax(-1, Kind::Double).mean_dim(-1, false, Kind::Double)
            - 3001_f64.ln();
        for (got, row) in certainty_of(&logits, &[4, 0, 2]).into_iter().zip([4, 0, 2]) {
            let expected = expected.double_value(&[row]);
            assert!((f64::from(got) - expected).abs() < 1e-5 * expected, "{got}, expected {expected}");
        }
        // Guessing is no certainty.
        let even = Tensor::full([1, 3001], 7.0, (kind, Device::Cpu));
        assert!(certainty_of(&even, &[0])[0].abs() < 1e-6);
    }
}

#[test]
fn draws_follow_the_distribution() {
    let logits = Tensor::from_slice(&[0.0_f32, 1.0, -1.0, 2.0, f32::NEG_INFINITY]).view([1, 5]);
    let (n, temperature) = (40_000, 1.5_f32);
    let p = Vec::<f64>::try_from((&logits / f64::from(temperature)).softmax(-1, Kind::Double).view([5])).expect("five");
    let mut counts = [0_u32; 5];
    for i in 0..n {
        let uniform = (f64::from(i) + 0.5) / f64::from(n);
        let draws = [Draw { temperature, uniform, shape: None, odds: None }];
        let Drawn { token, logprob: logp, .. } = draw(&logits, &draws).remove(0);
        assert!((f64::from(logp) - p[token as usize].ln()).abs() < 1e-5);
        counts[token as usize] += 1;
    }
    // A regular grid of uniforms must hit each token in proportion, up to the grid's step.
    for (count, p) in counts.iter().zip(&p) {
        assert!((f64::from(*count) - p * f64::from(n)).abs() <= 2.0, "{counts:?}");
    }
    let draws = [Draw { temperature: 0.0, uniform: 0.9, shape: None, odds: None }];
    let Drawn { token, logprob: logp, .. } = draw(&logits, &draws).remove(0);
    assert_eq!(token, 3);
    let model = logits.log_softmax(-1, Kind::Float).double_value(&[0, 3]);
    assert!((f64::from(logp) - model).abs() < 1e-5);
}

#[test]
fn adamw_without_kernels_is_the_same() {
    let step = |n: u64| relign_model::AdamWStep {
        lr: 1e-2,
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weight_decay: 0.1,
        step: n,
        grad_scale: 0.5,
    };
    let checkpoint = relign_model::Checkpoint::open(common::fixture("tiny-llama")).expect("opens");
    let run = |without: bool| {
        let _without = without.then(WithoutKernels::new);
        let mut policy = common::policy(&checkpoint, Kind::Float);
        let size = policy.parameters()[0].master.size();
        let (m, v) = (random(&size, 1).zeros_like(), random(&size, 1).zeros_like());
        for n in 1..4 {
            policy.update(0, &random(&size, n as i64), &m, &v, step(n));
        }
        [policy.parameters()[0].master.copy(), m, v]
    };
    for (a, b) in run(true).iter().zip(&run(false)) {
        assert!(gap(a, b) < 1e-6, "{}", gap(a, b));
    }
}
