//! Elementary functions that vectorise.

/// `a * b + c`, fused where the hardware does it.
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` within about 2 units in the last place; 0 below -87, finite up to 88.
///
/// Range reduction to `|r| <= ln 2 / 2` in two steps, then the degree-6 polynomial of Cephes' `expf`.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    let clamped = x.clamp(-87.3, 88.3);
    // Adding and taking away 1.5 * 2^23 rounds to the nearest whole number.
    let shifted = fma::<FMA>(clamped, std::f32::consts::LOG2_E, 12_582_912.0);
    let n = shifted - 12_582_912.0;
    let r = fma::<FMA>(n, -0.693_359_4, clamped);
    let r = fma::<FMA>(n, 2.121_944_4e-4, r);
    let p = fma::<FMA>(1.987_569_1e-4, r, 1.398_199_9e-3);
    let p = fma::<FMA>(p, r, 8.333_452e-3);
    let p = fma::<FMA>(p, r, 4.166_579_6e-2);
    let p = fma::<FMA>(p, r, 1.666_666_5e-1);
    let p = fma::<FMA>(p, r, 0.5);
    let p = fma::<FMA>(p, r * r, r) + 1.0;
    let scale = f32::from_bits(shifted.to_bits().wrapping_sub(0x4b40_0000).wrapping_add(127) << 23);
    let y = p * scale;
    if x < -87.3 { 0.0 } else { y }
}

/// The logistic function.
#[inline(always)]
pub(crate) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

/// Accumulators of a sum, so that the order does not depend on the vector width.
const LANES: usize = 32;

/// `K` sums of what `value` makes of the numbers that stand at one place of `N` slices of one length.
///
/// Whole [`LANES`] are arrays: a number that might lie outside its slice would keep the compiler from vectors.
#[inline(always)]
pub(crate) fn sums<T: Copy + Default, const N: usize, const K: usize>(
    of: [&[T]; N],
    value: impl Fn([T; N]) -> [f32; K],
) -> [f32; K] {
    let (mut chunks, mut rests) = ([&[][..]; N], [&[][..]; N]);
    for n in 0..N {
        (chunks[n], rests[n]) = of[n].as_chunks::<LANES>();
        assert!(of[n].len() == of[0].len(), "slices of one length");
    }
    let nothing = [T::default(); LANES];
    let mut lanes = [[0.0_f32; LANES]; K];
    for at in 0..chunks[0].len() {
        let mut chunk = [&nothing; N];
        for n in 0..N {
            chunk[n] = &chunks[n][at];
        }
        for lane in 0..LANES {
            let mut numbers = [T::default(); N];
            for n in 0..N {
                numbers[n] = chunk[n][lane];
            }
            let parts = value(numbers);
            for k in 0..K {
                lanes[k][lane] += parts[k];
            }
        }
    }
    let mut tails = [0.0; K];
    for at in 0..rests[0].len() {
        let mut numbers = [T::default(); N];
        for n in 0..N {
            numbers[n] = rests[n][at];
        }
        let parts = value(numbers);
        for k in 0..K {
            tails[k] += parts[k];
        }
    }
    for k in 0..K {
        let mut width = LANES / 2;
        while width > 0 {
            for lane in 0..width {
                lanes[k][lane] += lanes[k][lane + width];
            }
            width /= 2;
        }
        tails[k] += lanes[k][0];
    }
    tails
}

/// [`sums`] of one kind over one slice.
#[inline(always)]
pub(crate) fn sum<T: Copy + Default>(of: &[T], value: impl Fn(T) -> f32) -> f32 {
    let [sum] = sums([of], |[number]| [value(number)]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lane by lane, and lanes in pairs: the order that results promise on every CPU.
    #[test]
    fn sums_have_one_order() {
        for n in [0, 1, 31, 32, 33, 64, 100] {
            let a: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
            let b: Vec<f32> = (0..n).map(|i| (i as f32 * 1.3).cos()).collect();
            let whole = n / 32 * 32;
            let mut lanes = [0.0_f32; 32];
            (0..whole).for_each(|i| lanes[i % 32] += a[i] * b[i]);
            for width in [16, 8, 4, 2, 1] {
                (0..width).for_each(|lane| lanes[lane] += lanes[lane + width]);
            }
            let expected = lanes[0] + (whole..n).fold(0.0, |tail, i| tail + a[i] * b[i]);
            let [products, count] = sums([&a, &b], |[a, b]| [a * b, 1.0]);
            assert_eq!((products.to_bits(), count), (expected.to_bits(), n as f32), "{n} numbers");
            assert_eq!(sum(&a, |a| a).to_bits(), sums([&a], |[a]| [a])[0].to_bits());
        }
    }

    #[test]
    fn exp_is_close_to_libm() {
        let mut worst = 0.0_f64;
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            for got in [exp::<false>(x), exp::<true>(x)] {
                worst = worst.max((f64::from(got) - exact).abs() / exact);
            }
        }
        assert!(worst < 2.5e-7, "relative error {worst}");
        assert_eq!(exp::<true>(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp::<true>(0.0), 1.0);
    }
}
