//! Weights in panels of [`WIDTH`] rows, word by word along `k`: the order in which products read them.
//!
//! A word is a number in f32 or, on CPUs that multiply them so, a pair in bf16; see [`Lanes`](super::super::lanes::Lanes). Rows
//! are turned into panels once for all, or while they are multiplied: to the same sums.

use std::borrow::Cow;

use half::bf16;

use super::super::element::Element;
use super::super::parallel::{Shared, ranges};
use super::super::{Level, level};
use super::tiles::part;
use super::{Factor, finish, grain};

/// Weight rows in a panel.
pub(crate) const WIDTH: usize = 16;

/// Pairs of a row that one tile instruction multiplies.
pub(crate) const BLOCK: usize = 16;

/// What a word holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// A number in f32.
    Single,
    /// Two numbers in bf16.
    Pair,
}

impl Word {
    /// As what numbers of type `X` are multiplied with weights of type `W` here.
    pub(crate) fn of<X: Factor, W: Factor>() -> Self {
        if X::PAIRED && W::PAIRED && crate::has_bf16_products() { Self::Pair } else { Self::Single }
    }

    /// Words of a row of `k` numbers. Pairs come in whole [blocks](BLOCK), for tiles multiply a block at once; zeros stand
    /// behind the last number.
    pub(crate) const fn count(self, k: usize) -> usize {
        match self {
            Self::Single => k,
            Self::Pair => k.div_ceil(2 * BLOCK) * BLOCK,
        }
    }

    pub(super) const fn numbers(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Pair => 2,
        }
    }

    /// The word `at` of a row.
    #[inline(always)]
    fn get<W: Element>(self, row: &[W], at: usize) -> f32 {
        match self {
            Self::Single => row[at].load(),
            Self::Pair => {
                let half = |at: usize| row.get(at).map_or(0, |number| u32::from(bf16::store(number.load()).to_bits()));
                f32::from_bits(half(2 * at) | half(2 * at + 1) << 16)
            }
        }
    }
}

/// A matrix `[m, k]` in panels: words `[panels, words of k, WIDTH]`, zeros in the place of rows past the last.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) m: usize,
    pub(crate) k: usize,
    pub(crate) word: Word,
}

/// Words that `[m, k]` takes in panels.
pub(crate) const fn size(m: usize, k: usize, word: Word) -> usize {
    m.next_multiple_of(WIDTH) * word.count(k)
}

/// Room for a matrix in panels, which threads fill row by row.
pub(crate) struct Room {
    k: usize,
    m: usize,
    word: Word,
    data: Shared<f32>,
}

impl Room {
    /// Room of the size that [`size`] tells; what lies beyond the last row is filled.
    pub(crate) fn new(m: usize, k: usize, word: Word, data: &mut [f32]) -> Self {
        assert_eq!(data.len(), size(m, k, word), "room for the panels");
        let words = word.count(k);
        for lane in m..m.next_multiple_of(WIDTH) {
            data[lane / WIDTH * WIDTH * words..]
                .iter_mut()
                .skip(lane % WIDTH)
                .step_by(WIDTH)
                .for_each(|pad| *pad = 0.0);
        }
        Self { k, m, word, data: Shared::new(data) }
    }

    /// Turns whole `rows` from `first` on.
    ///
    /// # Safety
    /// No two threads may put the same row at once, and the memory must be alive.
    pub(crate) unsafe fn rows<W: Factor>(&self, first: usize, rows: &[W]) {
        let (k, word, words) = (self.k, self.word, self.word.count(self.k));
        let count = rows.len() / k;
        assert!(rows.len() == count * k && first + count <= self.m, "rows of the weights");
        if word == Word::Pair && !W::PAIRED {
            let narrow: Vec<bf16> = rows.iter().map(|number| bf16::store(number.load())).collect();
            // SAFETY: the caller's.
            return unsafe { self.rows(first, &narrow) };
        }
        let mut row = first;
        while row < first + count {
            let (panel, lane) = (row / WIDTH, row % WIDTH);
            let many = (WIDTH - lane).min(first + count - row);
            let from = &rows[(row - first) * k..][..many * k];
            let place = panel * WIDTH * words;
            if many == WIDTH {
                // SAFETY: a whole panel, whose rows are this thread's.
                let panel = unsafe { self.data.slice(place..place + WIDTH * words) };
                turn(Rows { weight: from, k, word }, (0, words), panel);
            } else {
                for (lane, from) in (lane..).zip(from.chunks_exact(k)) {
                    for p in 0..words {
                        let at = place + p * WIDTH + lane;
                        // SAFETY: a row has a lane of its own in its panel.
                        unsafe { self.data.slice(at..at + 1)[0] = word.get(from, p) };
                    }
                }
            }
            row += many;
        }
    }
}

/// Turns a whole `weight` `[m, k]` into panels.
pub(crate) fn pack<W: Factor>(weight: &[W], k: usize, word: Word, data: &mut [f32]) {
    let m = weight.len() / k;
    let room = Room::new(m, k, word, data);
    ranges(m, WIDTH, &|range| {
        // SAFETY: each thread has its own rows.
        unsafe { room.rows(range.start, &weight[range.start * k..range.end * k]) };
    });
}

/// `y` `[n, m]` `= x W^T + b` for `x` `[n, k]`.
pub(crate) fn multiply<X: Factor, Y: Element>(x: &[X], w: Panels<'_>, bias: Option<&[X]>, y: &mut [Y]) {
    let Panels { data, m, k, word } = w;
    assert!(k > 0 && x.len().is_multiple_of(k) && data.len() == size(m, k, word), "panels of rows of {k} numbers");
    assert!(y.len() == x.len() / k * m && bias.is_none_or(|b| b.len() == m), "an output per row and weight row");
    let x = in_words(x, k, word);
    let y = Shared::new(y);
    ranges(m, grain(), &|range| part(&x, w, range.start, range.end, &finish(m, bias, &y)));
}

/// Rows of `k` numbers as rows of words: themselves where they can be seen as such, or a copy.
pub(super) fn in_words<X: Factor>(x: &[X], k: usize, word: Word) -> Cow<'_, [f32]> {
    assert!(word == Word::Single || X::PAIRED, "pairs are made of bf16");
    let same = size_of::<X>() * word.numbers() == size_of::<f32>();
    if same && word.count(k) * word.numbers() == k && x.as_ptr().cast::<f32>().is_aligned() {
        // SAFETY: rows of whole words of 32 bits, aligned as they must be; any bits are a number in f32.
        return unsafe { std::slice::from_raw_parts(x.as_ptr().cast::<f32>(), x.len() / word.numbers()) }.into();
    }
    let words = word.count(k);
    let mut copy = vec![0.0; x.len() / k * words];
    {
        let copy = Shared::new(&mut copy);
        ranges(x.len() / k, (1 << 14) / k + 1, &|range| {
            for row in range {
                // SAFETY: each thread has its own rows.
                let copy = unsafe { copy.slice(row * words..(row + 1) * words) };
                let row = &x[row * k..(row + 1) * k];
                copy.iter_mut().enumerate().for_each(|(at, copy)| *copy = word.get(row, at));
            }
        });
    }
    copy.into()
}

/// Weights in one of the orders that there are.
pub(super) trait Weights: Copy {
    fn word(self) -> Word;

    /// Words of a row.
    fn words(self) -> usize;

    /// The words `begin..begin + steps` of the panel that begins with row `first`; `turned` is room for them.
    fn panel<'a>(&'a self, first: usize, begin: usize, steps: usize, turned: &'a mut [f32]) -> &'a [f32];

    /// Whether what comes next along `k` lies right behind.
    const IN_ORDER: bool;
}

impl Weights for Panels<'_> {
    fn word(self) -> Word {
        self.word
    }

    fn words(self) -> usize {
        self.word.count(self.k)
    }

    #[inline(always)]
    fn panel<'a>(&'a self, first: usize, begin: usize, steps: usize, _: &'a mut [f32]) -> &'a [f32] {
        &self.data[first * self.words() + begin * WIDTH..][..steps * WIDTH]
    }

    const IN_ORDER: bool = true;
}

/// Rows of `k` numbers as they were stored, turned panel by panel.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, W> {
    pub(super) weight: &'a [W],
    pub(super) k: usize,
    pub(super) word: Word,
}

impl<W: Factor> Weights for Rows<'_, W> {
    fn word(self) -> Word {
        self.word
    }

    fn words(self) -> usize {
        self.word.count(self.k)
    }

    #[inline(always)]
    fn panel<'a>(&'a self, first: usize, begin: usize, steps: usize, turned: &'a mut [f32]) -> &'a [f32] {
        let end = (first + WIDTH).min(self.weight.len() / self.k);
        let rows = Self { weight: &self.weight[first * self.k..end * self.k], ..*self };
        turn(rows, (begin, steps), turned);
        &turned[..steps * WIDTH]
    }

    const IN_ORDER: bool = false;
}

/// Turns words `along` (first and how many) of up to [`WIDTH`] rows into part of a panel; zeros stand in lanes without a
/// row.
fn turn<W: Factor>(rows: Rows<'_, W>, along: (usize, usize), out: &mut [f32]) {
    let Rows { weight, k, word } = rows;
    assert!(out.len() >= along.1 * WIDTH && weight.len() <= WIDTH * k && along.0 + along.1 <= word.count(k));
    assert!(word == Word::Single || W::PAIRED, "pairs are made of bf16");
    let done = (0, 0);
    #[cfg(target_arch = "x86_64")]
    let done = if level() == Level::Baseline {
        done
    } else {
        let whole = weight.len() == WIDTH * k && along.0 + along.1 <= k / word.numbers();
        if word == Word::Pair && level() == Level::Avx512 && whole {
            // SAFETY: `level` has seen the features; 16 rows of as many words are there.
            unsafe { x86::turn_pairs(weight.as_ptr().cast(), k, along, out) }
        } else {
            // SAFETY: `level` has seen the features.
            unsafe { x86::turn(rows, along, out) }
        }
    };
    turn_rest(rows, along, done, out);
}

/// Turns what is not `done` (lanes, and their first steps) word by word.
fn turn_rest<W: Factor>(
    Rows { weight, k, word }: Rows<'_, W>,
    (begin, steps): (usize, usize),
    done: (usize, usize),
    out: &mut [f32],
) {
    for lane in 0..WIDTH {
        let row = weight.get(lane * k..(lane + 1) * k);
        for p in if lane < done.0 { done.1 } else { 0 }..steps {
            out[p * WIDTH + lane] = row.map_or(0.0, |row| word.get(row, begin + p));
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::super::super::lanes::{Lanes256, transpose};
    use super::super::super::{Near, prefetch_line};
    use super::*;

    /// Turns blocks of eight rows by eight words; gives the lanes that are done, and how many of their steps.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn turn<W: Factor>(
        Rows { weight, k, word }: Rows<'_, W>,
        (begin, steps): (usize, usize),
        out: &mut [f32],
    ) -> (usize, usize) {
        // Words whose numbers all stand in a row.
        let whole = (begin + steps).min(k / word.numbers()).saturating_sub(begin) / 8 * 8;
        let lanes = weight.len() / k / 8 * 8;
        for lane in (0..lanes).step_by(8) {
            for p in (0..whole).step_by(8) {
                // SAFETY: eight rows from `lane` on, of which words `begin..begin + whole` are there, and eight steps of
                // `out`; an address that is sent for may be any.
                unsafe {
                    let from = weight.as_ptr().add(lane * k + (begin + p) * word.numbers());
                    let mut block = [_mm256_setzero_ps(); 8];
                    for i in 0..8 {
                        if p.is_multiple_of(16) {
                            prefetch_line(from.wrapping_add(i * k + steps * word.numbers()), Near::Second);
                        }
                        let from = from.add(i * k);
                        block[i] = match word {
                            Word::Single => W::load_lanes::<Lanes256>(from),
                            Word::Pair => _mm256_castsi256_ps(_mm256_loadu_si256(from.cast())),
                        };
                    }
                    let block = turn_block(block);
                    for i in 0..8 {
                        _mm256_storeu_ps(out.as_mut_ptr().add((p + i) * WIDTH + lane), block[i]);
                    }
                }
            }
        }
        (lanes, whole)
    }

    /// Transposes words `begin..begin + steps` of [`WIDTH`] rows of pairs, `k` numbers apart, 16 words at a time; returns the lanes that
    /// are done, and how many of their steps.
    ///
    /// # Safety
    /// The CPU has AVX-512; `from` has [`WIDTH`] rows that hold those words, and `out` has room for `steps` vectors.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn turn_pairs(
        from: *const u16,
        k: usize,
        (begin, steps): (usize, usize),
        out: &mut [f32],
    ) -> (usize, usize) {
        let whole = steps / 16 * 16;
        for p in (0..whole).step_by(16) {
            // SAFETY: the caller's; an address that is sent for may be any.
            unsafe {
                let from = from.add(2 * (begin + p));
                let mut rows = [_mm512_setzero_si512(); 16];
                for (i, row) in rows.iter_mut().enumerate() {
                    let from = from.add(i * k);
                    prefetch_line(from.wrapping_add(2 * steps), Near::Second);
                    *row = _mm512_loadu_si512(from.cast());
                }
                for (i, column) in transpose(rows).into_iter().enumerate() {
                    _mm512_storeu_ps(out.as_mut_ptr().add((p + i) * WIDTH), _mm512_castsi512_ps(column));
                }
            }
        }
        (WIDTH, whole)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn turn_block([a, b, c, d, e, f, g, h]: [__m256; 8]) -> [__m256; 8] {
        let pairs = |a, b| (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let ((ab, ab2), (cd, cd2), (ef, ef2), (gh, gh2)) = (pairs(a, b), pairs(c, d), pairs(e, f), pairs(g, h));
        let fours = |a, b| (_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xee>(a, b));
        let ((t0, t1), (t2, t3)) = (fours(ab, cd), fours(ab2, cd2));
        let ((s0, s1), (s2, s3)) = (fours(ef, gh), fours(ef2, gh2));
        let low = |t, s| _mm256_permute2f128_ps::<0x20>(t, s);
        let high = |t, s| _mm256_permute2f128_ps::<0x31>(t, s);
        [low(t0, s0), low(t1, s1), low(t2, s2), low(t3, s3), high(t0, s0), high(t1, s1), high(t2, s2), high(t3, s3)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::numbers;
    use super::*;

    #[test]
    fn panels_may_be_filled_by_any_rows() {
        for word in [Word::Single, Word::Pair] {
            for (m, k) in [(37, 20), (37, 21), (16, 33)] {
                let weight = numbers::<f32>(4, m * k);
                let mut plain = vec![f32::NAN; size(m, k, word)];
                for (panel, out) in plain.chunks_exact_mut(WIDTH * word.count(k)).enumerate() {
                    let rows = &weight[panel * WIDTH * k..((panel + 1) * WIDTH).min(m) * k];
                    turn_rest(Rows { weight: rows, k, word }, (0, word.count(k)), (0, 0), out);
                }
                let mut whole = vec![f32::NAN; size(m, k, word)];
                pack(&weight, k, word, &mut whole);
                let bits = |words: &[f32]| words.iter().map(|word| word.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&whole), bits(&plain), "{word:?} {m} x {k}");
                let mut pieces = vec![f32::NAN; size(m, k, word)];
                {
                    let room = Room::new(m, k, word, &mut pieces);
                    for (first, end) in [(0, 3), (3, 16), (16, m)] {
                        // SAFETY: one thread, and the memory lives.
                        unsafe { room.rows(first, &weight[first * k..end * k]) };
                    }
                }
                assert_eq!(bits(&pieces), bits(&whole), "{word:?} {m} x {k}");
            }
        }
    }

    #[test]
    fn a_pair_is_two_numbers_the_first_in_the_low_half() {
        let row = [bf16::from_f32(1.0), bf16::from_f32(-2.0), bf16::from_f32(0.5)];
        let words = in_words(&row, 3, Word::Pair);
        let bits: Vec<u32> = words.iter().map(|word| word.to_bits()).collect();
        assert_eq!(bits[..2], [0xc000_3f80, 0x0000_3f00]);
        assert_eq!(bits[2..], [0; BLOCK - 2], "zeros up to a whole block");
    }
}
