//! What several samples of one item say: all of them unbiased for the item, whatever `n` they are
//! computed from.

/// The binomial coefficient as a float; exact to rounding up to `n` of about 1000, infinite beyond.
fn choose(n: u64, k: u64) -> f64 {
    if k > n {
        return 0.0;
    }
    (1..=k.min(n - k)).fold(1.0, |product, i| product * (n - k.min(n - k) + i) as f64 / i as f64)
}

/// pass@k (Chen et al., 2107.03374): the chance that at least one of `k` samples is correct, from `n`
/// samples of which `correct` are: `1 - C(n - c, k) / C(n, k)`. None where `k` is 0 or above `n`.
#[must_use]
pub fn pass_at_k(n: u64, correct: u64, k: u64) -> Option<f64> {
    if k == 0 || k > n || correct > n {
        return None;
    }
    if n - correct < k {
        return Some(1.0);
    }
    // The product form: no factor is large, whatever n.
    Some(1.0 - (n - correct + 1..=n).fold(1.0, |product, i| product * (1.0 - k as f64 / i as f64)))
}

/// pass^k (Yao et al., tau-bench, 2406.12045): the chance that all of `k` samples are correct,
/// `C(c, k) / C(n, k)`. None where `k` is 0 or above `n`.
#[must_use]
pub fn pass_hat_k(n: u64, correct: u64, k: u64) -> Option<f64> {
    if k == 0 || k > n || correct > n {
        return None;
    }
    Some((0..k).fold(1.0, |product, i| product * correct.saturating_sub(i) as f64 / (n - i) as f64))
}

/// G-Pass@k at a threshold (Liu et al., 2412.13147): the chance that at least `ceil(tau * k)` of `k`
/// samples are correct. None where `k` is 0 or above `n`, or `tau` is outside 0 to 1.
///
/// A threshold of 0 asks for one correct sample, which makes it pass@k; one of 1 makes it pass^k.
#[must_use]
pub fn g_pass_at_k(n: u64, correct: u64, k: u64, tau: f64) -> Option<f64> {
    if !(0.0..=1.0).contains(&tau) {
        return None;
    }
    // 0.6 * 5 is a hair above 3 in floats; the hair must not ask for a fourth.
    at_least(n, correct, k, ((tau * k as f64 - 1e-9).ceil() as u64).max(1))
}

/// mG-Pass@k (2412.13147): G-Pass@k averaged over the thresholds from one half up,
/// `2 / k * sum of G-Pass@k(i / k) for i from ceil(k / 2) + 1 to k`. None where `k` is below 2 or above `n`.
#[must_use]
pub fn mg_pass_at_k(n: u64, correct: u64, k: u64) -> Option<f64> {
    if k < 2 {
        return None;
    }
    let parts = (k.div_ceil(2) + 1..=k).map(|i| at_least(n, correct, k, i));
    Some(2.0 / k as f64 * parts.sum::<Option<f64>>()?)
}

/// The chance that `least` or more of `k` samples are correct: the upper tail of the hypergeometric
/// distribution.
fn at_least(n: u64, correct: u64, k: u64, least: u64) -> Option<f64> {
    if k == 0 || k > n || correct > n {
        return None;
    }
    let ways = (least..=correct.min(k)).map(|j| choose(correct, j) * choose(n - correct, k - j));
    Some((ways.sum::<f64>() / choose(n, k)).min(1.0))
}

/// maj@k (Wang et al., 2203.11171): the chance that the correct answer wins a plurality vote among `k`
/// of an item's samples, averaged over all choices of `k`; a tie of `m` answers counts `1 / m`.
///
/// `correct` samples hold the right answer, `others` counts the samples of each other answer, and
/// `silent` samples hold none: they may be drawn, but do not vote. None where `k` is 0 or above their sum.
#[must_use]
pub fn maj_at_k(correct: u64, others: &[u64], silent: u64, k: u64) -> Option<f64> {
    let n = correct + others.iter().sum::<u64>() + silent;
    if k == 0 || k > n {
        return None;
    }
    let size = usize::try_from(k).ok()? + 1;
    let mut won = 0.0;
    for votes in 1..=correct.min(k) {
        // ways[m][t]: ways to draw m samples of the other answers, none above `votes`, t of them level.
        let mut ways = vec![vec![0.0; others.len() + 1]; size];
        for drawn in 0..=silent.min(k) {
            ways[drawn as usize][0] = choose(silent, drawn);
        }
        for (seen, &count) in others.iter().enumerate() {
            let mut next = vec![vec![0.0; others.len() + 1]; size];
            for (drawn, row) in ways.iter().enumerate() {
                for more in 0..=count.min(votes).min(k - drawn as u64) {
                    let (place, level) = (drawn + more as usize, usize::from(more == votes));
                    for (ties, way) in row.iter().take(seen + 1).enumerate() {
                        next[place][ties + level] += way * choose(count, more);
                    }
                }
            }
            ways = next;
        }
        let rest = &ways[(k - votes) as usize];
        let share: f64 = rest.iter().enumerate().map(|(ties, way)| way / (ties + 1) as f64).sum();
        won += choose(correct, votes) * share;
    }
    Some((won / choose(n, k)).min(1.0))
}
