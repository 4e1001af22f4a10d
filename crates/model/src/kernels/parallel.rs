//! Threads: libtorch's OpenMP pool, so that its spinning workers and ours are the same.

use std::ffi::{c_int, c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

unsafe extern "C" {
    fn GOMP_parallel(run: extern "C" fn(*mut c_void), data: *mut c_void, threads: c_uint, flags: c_uint);
    fn omp_get_thread_num() -> c_int;
}

/// Worker threads in use.
pub(crate) fn threads() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1)
}

struct Job<'a> {
    run: &'a (dyn Fn(usize) + Sync),
    panic: Mutex<Option<Box<dyn std::any::Any + Send>>>,
}

extern "C" fn trampoline(data: *mut c_void) {
    // SAFETY: `data` is the `Job` on the stack of `parallel`, which waits for all threads.
    let job = unsafe { &*data.cast::<Job<'_>>() };
    // SAFETY: no preconditions.
    let thread = unsafe { omp_get_thread_num() };
    let outcome = catch_unwind(AssertUnwindSafe(|| (job.run)(usize::try_from(thread).unwrap_or(0))));
    if let Err(panic) = outcome {
        *job.panic.lock().expect("no panic while holding the lock") = Some(panic);
    }
}

/// Runs `run(thread)` once on each of `threads` threads and waits for all.
///
/// # Panics
/// If any of them panics.
pub(crate) fn parallel(threads: usize, run: &(dyn Fn(usize) + Sync)) {
    if threads <= 1 {
        return run(0);
    }
    let job = Job { run, panic: Mutex::new(None) };
    let data = (&raw const job).cast_mut().cast::<c_void>();
    // SAFETY: the trampoline matches the signature; `job` outlives the call, which joins its threads.
    unsafe { GOMP_parallel(trampoline, data, c_uint::try_from(threads).unwrap_or(1), 0) };
    if let Some(panic) = job.panic.into_inner().expect("all threads ended") {
        resume_unwind(panic);
    }
}

/// Pieces per thread that [`ranges`] makes: cores seldom run at one speed, and whoever is done takes the next.
const PIECES: usize = 4;

/// Splits `0..n` into contiguous ranges of whole multiples of `grain` and runs `run` on each. Which thread takes which
/// is not fixed: what `run` computes must not depend on it, nor on where the borders lie.
pub(crate) fn ranges(n: usize, grain: usize, run: &(dyn Fn(std::ops::Range<usize>) + Sync)) {
    let grain = grain.max(1);
    let threads = threads().min(n.div_ceil(grain)).max(1);
    if threads == 1 {
        if n > 0 {
            run(0..n);
        }
        return;
    }
    let size = n.div_ceil(threads * PIECES).next_multiple_of(grain);
    let next = AtomicUsize::new(0);
    parallel(threads, &|_| {
        loop {
            let start = next.fetch_add(size, Ordering::Relaxed);
            if start >= n {
                break;
            }
            run(start..(start + size).min(n));
        }
    });
}

/// Runs `run(i, &mut out[i])` for every `i`, on all threads.
pub(crate) fn each<T: Send>(out: &mut [T], run: &(dyn Fn(usize, &mut T) + Sync)) {
    let n = out.len();
    let out = Shared::new(out);
    ranges(n, 1, &|range| {
        let start = range.start;
        // SAFETY: each thread has its own range.
        let part = unsafe { out.slice(range) };
        part.iter_mut().enumerate().for_each(|(at, item)| run(start + at, item));
    });
}

/// A slice that threads write to in disjoint places.
pub(crate) struct Shared<T> {
    pointer: *mut T,
    len: usize,
}

// SAFETY: every use writes disjoint ranges, as `Shared::slice` demands.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self { pointer: slice.as_mut_ptr(), len: slice.len() }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The address of an item: for kernels that read what other threads wrote before.
    pub(crate) fn at(&self, index: usize) -> *mut T {
        assert!(index <= self.len);
        self.pointer.wrapping_add(index)
    }

    /// # Safety
    /// No two threads may hold overlapping ranges at once, and the original slice must be alive.
    #[allow(clippy::mut_from_ref, reason = "disjointness is the caller's duty")]
    pub(crate) unsafe fn slice(&self, range: std::ops::Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: in bounds (checked), disjoint (caller).
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(range.start), range.end - range.start) }
    }
}
