//! Where weights come from, a block of rows at a time: no tensor is ever whole beside what it is kept as.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tch::{Device, Kind, Tensor};

use crate::LoadError;
use crate::kernels::element::view;
use crate::kernels::parallel::{parallel, threads};
use crate::ops::contiguous;

/// Takes rows of one of the tensors that are read: which one, its first row, and the rows' numbers.
pub type Take<'a> = &'a (dyn Fn(usize, usize, &[f32]) + Sync);

/// Where weights come from, by Hugging Face name. What lies along a tensor's first dimension is its rows;
/// those of a vector are single numbers.
///
/// A [`Checkpoint`](crate::Checkpoint) is one, and so is every function from a name to a whole tensor.
pub trait Source {
    /// The shape of a tensor whose values are there to be read.
    ///
    /// # Errors
    /// If there is no such tensor.
    fn shape(&self, name: &str) -> Result<Vec<usize>, LoadError>;

    /// Hands every row of the tensors `names` to `take` once, in blocks, possibly from many threads at once
    /// and in any order.
    ///
    /// # Errors
    /// If one cannot be read; some rows were handed out then.
    fn read(&self, names: &[&str], take: Take<'_>) -> Result<(), LoadError>;
}

impl<F: Fn(&str) -> Result<Tensor, LoadError>> Source for F {
    fn shape(&self, name: &str) -> Result<Vec<usize>, LoadError> {
        Ok(self(name)?.size().iter().map(|&n| n as usize).collect())
    }

    fn read(&self, names: &[&str], take: Take<'_>) -> Result<(), LoadError> {
        for (index, name) in names.iter().enumerate() {
            let tensor = self(name)?.detach().to_device(Device::Cpu).to_kind(Kind::Float);
            take(index, 0, view(&contiguous(&tensor)));
        }
        Ok(())
    }
}

/// Weights of which any rows can be asked for, from any thread; [`read_rows`] makes a [`Source`] of them.
pub trait Rows: Sync {
    /// The shape of a tensor.
    ///
    /// # Errors
    /// If there is no such tensor.
    fn shape(&self, name: &str) -> Result<Vec<usize>, LoadError>;

    /// Writes whole rows of a tensor, from row `first` on, to `out`.
    ///
    /// # Errors
    /// If they cannot be read.
    fn rows(&self, name: &str, first: usize, out: &mut [f32]) -> Result<(), LoadError>;
}

/// Numbers in a block: as many as stay near while they are read, rounded and stored.
const BLOCK: usize = 1 << 17;

/// Rows in a block are a multiple of this, so that blocks rarely meet within a panel of packed weights.
const GRAIN: usize = 16;

/// Rows of a tensor.
#[derive(Clone, Copy)]
struct Block {
    tensor: usize,
    first: usize,
    numbers: usize,
}

/// [`Source::read`] over `rows`, on all threads: they take block after block, whichever tensor it is of, so that
/// small tensors and large ones keep all of them at work. A thread has one block's memory.
///
/// # Errors
/// As [`Source::read`]; of several errors the one of the first block.
pub fn read_rows(rows: &dyn Rows, names: &[&str], take: Take<'_>) -> Result<(), LoadError> {
    let mut blocks = Vec::new();
    for (tensor, name) in names.iter().enumerate() {
        let shape = rows.shape(name)?;
        let (count, width) = (shape.first().copied().unwrap_or(1), shape.iter().skip(1).product::<usize>());
        let step = (BLOCK / width.max(1)).max(1).next_multiple_of(GRAIN);
        let firsts = (0..if width == 0 { 0 } else { count }).step_by(step);
        blocks.extend(firsts.map(|first| Block { tensor, first, numbers: step.min(count - first) * width }));
    }
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<(usize, LoadError)>> = Mutex::new(None);
    parallel(threads().min(blocks.len()), &|_| {
        let mut numbers = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(&Block { tensor, first, numbers: count }) = blocks.get(at) else { return };
            numbers.resize(count, 0.0);
            match rows.rows(names[tensor], first, &mut numbers) {
                Ok(()) => take(tensor, first, &numbers),
                Err(error) => {
                    // Whoever has an earlier block still ends it, and it counts for more.
                    next.store(blocks.len(), Ordering::Relaxed);
                    let mut failed = failed.lock().expect("nobody panics holding it");
                    if failed.as_ref().is_none_or(|(earlier, _)| at < *earlier) {
                        *failed = Some((at, error));
                    }
                    return;
                }
            }
        }
    });
    failed.into_inner().expect("all threads ended").map_or(Ok(()), |(_, error)| Err(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tensors of the given shapes whose numbers count up; the one called `bad` cannot be read.
    struct Counting(Vec<Vec<usize>>);

    impl Rows for Counting {
        fn shape(&self, name: &str) -> Result<Vec<usize>, LoadError> {
            let index: usize = name.trim_start_matches("bad").parse().expect("a number");
            Ok(self.0[index].clone())
        }

        fn rows(&self, name: &str, first: usize, out: &mut [f32]) -> Result<(), LoadError> {
            if name.starts_with("bad") {
                return Err(LoadError::Missing(name.to_owned()));
            }
            let width: usize = self.shape(name)?.iter().skip(1).product();
            for (number, out) in (first * width..).zip(out) {
                *out = number as f32;
            }
            Ok(())
        }
    }

    #[test]
    fn every_row_of_every_tensor_is_handed_out_once() {
        let counting = Counting(vec![vec![1000, 300], vec![7], vec![3, 1 << 18], vec![], vec![0, 5], vec![400_001]]);
        let seen: Vec<Mutex<Vec<f32>>> = counting.0.iter().map(|_| Mutex::new(Vec::new())).collect();
        read_rows(&counting, &["0", "1", "2", "3", "4", "5"], &|tensor, first, numbers| {
            let width: usize = counting.0[tensor].iter().skip(1).product();
            assert_eq!((numbers[0] as usize, numbers.len() % width), (first * width, 0));
            seen[tensor].lock().expect("whole").extend(numbers);
        })
        .expect("reads");
        for (shape, seen) in counting.0.iter().zip(seen) {
            let mut seen = seen.into_inner().expect("whole");
            seen.sort_by(f32::total_cmp);
            let expected = shape.iter().product::<usize>();
            assert!(seen.len() == expected && seen.iter().enumerate().all(|(i, &x)| i == x as usize), "{shape:?}");
        }
    }

    #[test]
    fn the_first_error_is_told() {
        let counting = Counting(vec![vec![100, 100]; 64]);
        for _ in 0..20 {
            let names: Vec<String> = (0..64).map(|i| format!("{}{i}", if i < 9 { "" } else { "bad" })).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let error = read_rows(&counting, &names, &|_, _, _| ()).expect_err("bad ones");
            assert!(error.to_string().contains("`bad9`"), "{error}");
        }
    }
}
