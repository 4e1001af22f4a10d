//! The process's memory: kept, and in huge pages.
//!
//! A training step allocates and frees tensors of megabytes to hundreds of megabytes thousands of
//! times. glibc hands the large ones back to the kernel on every free, so each is faulted in again, page by
//! page of 4 KiB. mimalloc replaces `malloc`, `posix_memalign` and the rest for the whole process,
//! libtorch's C++ included: the linker exports the binary's symbols that shared libraries ask for. It
//! aligns its arenas to 2 MiB and asks for transparent huge pages (`madvise`), and here it is told never
//! to hand memory back. `docs/log.md` has the figures.
#![allow(unsafe_code)] // A C allocator has C functions; there is no safe wrapper of these two.

use libmimalloc_sys::{mi_is_in_heap_region, mi_option_get, mi_option_set};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3: milliseconds until freed memory goes back; -1 is never. The
/// crate does not name it, its number is the 16th of `enum mi_option_e`; a test sets
/// it by its name in the environment.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Tells the allocator to keep what it has. To be called first in `main`. A user who set
/// `MIMALLOC_PURGE_DELAY` is obeyed.
pub(crate) fn keep_memory() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        // SAFETY: sets a number inside the allocator; allowed at any time from any thread.
        unsafe { mi_option_set(PURGE_DELAY, -1) };
    }
}

/// What was found about the allocator.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct State {
    /// C's `malloc` and `posix_memalign` come from mimalloc.
    pub(crate) overrides_c: bool,
    /// Freed memory is kept.
    pub(crate) keeps: bool,
    /// The kernel's setting for transparent huge pages: `always`, `madvise` or `never`.
    pub(crate) huge_pages: String,
}

/// Looks at the allocator at work.
pub(crate) fn state() -> State {
    State {
        overrides_c: owns_c_memory(),
        // SAFETY: reads a number inside the allocator.
        keeps: unsafe { mi_option_get(PURGE_DELAY) } == -1,
        huge_pages: huge_pages(),
    }
}

/// Whether memory at `address` belongs to mimalloc.
pub(crate) fn owns(address: *const std::ffi::c_void) -> bool {
    // SAFETY: only compares the address with the allocator's regions; it is never read through.
    unsafe { mi_is_in_heap_region(address) }
}

fn owns_c_memory() -> bool {
    let mut aligned = std::ptr::null_mut();
    // SAFETY: plain C allocations, each freed once below; a null from either is handled.
    let (plain, code) = unsafe { (libc::malloc(1 << 20), libc::posix_memalign(&raw mut aligned, 64, 1 << 20)) };
    let ours = !plain.is_null() && code == 0 && owns(plain) && owns(aligned);
    // SAFETY: both came from the allocator above; free takes null too.
    unsafe {
        libc::free(plain);
        libc::free(aligned);
    }
    ours
}

/// The word in brackets of `/sys/kernel/mm/transparent_hugepage/enabled`; `unknown` where there is none.
fn huge_pages() -> String {
    let text = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    text.split(['[', ']']).nth(1).unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_allocations_are_taken_and_memory_is_kept() {
        keep_memory();
        let state = state();
        assert!(state.overrides_c && state.keeps, "{state:?}");
    }

    #[test]
    fn kept_memory_is_not_faulted_in_again() {
        keep_memory();
        let touch = || {
            let mut block = vec![1_u8; 64 << 20];
            block.iter_mut().step_by(4096).for_each(|byte| *byte = 2);
            std::hint::black_box(&block);
        };
        touch();
        let before = minor_faults();
        for _ in 0..10 {
            touch();
        }
        let faults = minor_faults() - before;
        assert!(faults < 1000, "{faults} page faults for ten blocks of 64 MiB; handed back they would cost 163840");
    }

    fn minor_faults() -> i64 {
        // SAFETY: getrusage fills the zeroed struct it is given.
        unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
            usage.ru_minflt
        }
    }
}
