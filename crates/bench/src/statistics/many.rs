//! Many tests at once: the more one asks, the more chance answers.

/// Holm's adjusted p-values (Holm 1979), in the order given: compared with 0.05, the chance of even one
/// false finding among all tests stays below 0.05, however the tests depend on each other.
#[must_use]
pub fn holm(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let mut adjusted = vec![0.0; p.len()];
    let mut largest: f64 = 0.0;
    for (rank, &place) in order.iter().enumerate() {
        largest = largest.max(((p.len() - rank) as f64 * p[place]).min(1.0));
        adjusted[place] = largest;
    }
    adjusted
}

/// Benjamini and Hochberg's adjusted p-values (1995), in the order given: of the findings below 0.05, at
/// most 5 % are expected to be false, where the tests are independent or positively dependent.
#[must_use]
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let mut adjusted = vec![0.0; p.len()];
    let mut smallest: f64 = 1.0;
    for (rank, &place) in order.iter().enumerate().rev() {
        smallest = smallest.min(p.len() as f64 / (rank + 1) as f64 * p[place]);
        adjusted[place] = smallest;
    }
    adjusted
}

fn ascending(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    order
}
