use half::bf16;
use relign_core::Seed;

use super::super::panels::{Panels, Word, in_words, multiply, pack, size};
use super::super::{numbers, tiles};
use super::amx::{self, twin::add_dot};
use crate::kernels::parallel::Shared;
use crate::kernels::product::finish;
use crate::kernels::product::panels::Rows;

/// Numbers of sizes from 2^-`range` to 2^`range`, less `down`.
fn of_many_sizes(seed: u64, n: usize, range: f64, down: i32) -> Vec<bf16> {
    let draw = |at: u64| Seed(seed).uniform(at);
    (0..n as u64)
        .map(|i| {
            let sign = if draw(3 * i) < 0.5 { -1.0 } else { 1.0 };
            let size = 2.0_f64.powf((draw(3 * i + 1) * 2.0 - 1.0) * range) * 2.0_f64.powi(-down);
            bf16::from_f64(sign * size * (1.0 + draw(3 * i + 2)))
        })
        .collect()
}

fn check(name: &str, (n, m, k): (usize, usize, usize), x: &[bf16], weight: &[bf16]) {
    let expected: Vec<u32> =
        x.chunks_exact(k).flat_map(|x| weight.chunks_exact(k).map(|w| add_dot(0.0, x, w).to_bits())).collect();
    let mut data = vec![f32::NAN; size(m, k, Word::Pair)];
    pack(weight, k, Word::Pair, &mut data);
    let mut packed = vec![f32::NAN; n * m];
    multiply(x, Panels { data: &data, m, k, word: Word::Pair }, None, &mut packed);
    let mut turned = vec![f32::NAN; n * m];
    {
        let y = Shared::new(&mut turned);
        let rows = Rows { weight, k, word: Word::Pair };
        tiles::part(&in_words(x, k, Word::Pair), rows, 0, m, &finish::<f32, f32>(m, None, &y));
    }
    for (order, got) in [("packed", packed), ("turned", turned)] {
        for (at, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let equal = got.to_bits() == *expected;
            assert!(
                equal,
                "{name}, {order}, {n} x {m} x {k} at {at}: {got:e}, expected {:e}",
                f32::from_bits(*expected)
            );
        }
    }
}

/// Any number of rows, columns and numbers along `k`, in blocks or not, and sums that are subnormal.
#[test]
fn tiles_come_to_the_bits_of_their_scalar_twin() {
    if !amx::available() {
        relign_core::skipped!(hardware: "products by tiles; this CPU has no AMX");
        return;
    }
    let rows = (1..=64).chain([95, 100, 257]);
    let shapes = rows.flat_map(|n| [(n, 1 + n % 37, 1 + 13 * n % 150), (n, 64 + n % 7, 64)]);
    for (n, m, k) in shapes.chain([(70, 100, 1536), (900, 20, 576), (1, 7, 4864), (33, 130, 2048)]) {
        check("uniform", (n, m, k), &numbers(1, n * k), &numbers(2, m * k));
    }
    for n in [1, 5, 16, 17, 40, 64] {
        let (m, k) = (37, 200);
        for (name, range, down) in
            [("large and small", 20.0, 0), ("subnormal products", 5.0, 63), ("subnormal sums", 3.0, 60)]
        {
            check(name, (n, m, k), &of_many_sizes(3, n * k, range, down), &of_many_sizes(4, m * k, range, down));
        }
    }
}
