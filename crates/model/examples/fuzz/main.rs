//! Throws damaged files at the readers: `fuzz TARGET SECONDS SEED`.
//!
//!     cargo run --release -p relign-model --example fuzz -- gguf 600 1
//!
//! TARGET is `gguf`, `safetensors`, `tokenizer` or `template`. Each round takes a sound file, changes
//! its structure (`mutate.rs`), writes it to a temporary folder and reads it as a user's would be read.
//! Whatever stands in a file, reading it must end with a model or an error: a panic, more than
//! `MOST_BYTES` of memory or `MOST_SECONDS` of time for one file are findings. They are kept in
//! `fuzz-TARGET-SEED-ROUND` in the current folder; the exit status is 1 where there were any. A round
//! that kills the process leaves its file in the temporary folder, whose name is printed first.

mod mutate;
mod targets;

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mutate::Dice;

/// Memory that reading one file may take: the sound files take a few megabytes.
const MOST_BYTES: usize = 256 << 20;
/// Time that reading one file may take, on a machine that does other things as well.
const MOST_SECONDS: u64 = 20;

/// The system's allocator, which counts. (libtorch's own memory does not come through it; every
/// tensor's size is held against its file's bytes before it is made.)
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged, except that an absurd one is refused,
// which an allocator may do.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        if layout.size() > 8 * MOST_BYTES {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract, which is the system allocator's own.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Where and why the last panic happened.
static PANIC: Mutex<String> = Mutex::new(String::new());
/// When the round began, in milliseconds since the start; 0 between rounds.
static BEGAN: AtomicU64 = AtomicU64::new(0);

fn main() {
    // The stack of an ordinary thread, where a model may be read as well as on the main one.
    let work = std::thread::Builder::new().stack_size(2 << 20).spawn(run).expect("a thread");
    if work.join().is_err() {
        std::process::exit(101);
    }
}

fn run() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, seconds, seed] = &arguments[..] else { return usage() };
    let Some(target) = targets::TARGETS.iter().find(|t| t.name == target.as_str()) else { return usage() };
    let (Ok(seconds), Ok(seed)) = (seconds.parse::<u64>(), seed.parse::<u64>()) else { return usage() };
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let what = info.payload_as_str().unwrap_or("no message").to_owned();
        if BEGAN.load(Ordering::Relaxed) == 0 {
            eprintln!("the fuzzer itself failed: {place}: {what}");
        }
        *PANIC.lock().expect("nobody panics holding it") = format!("{place}: {what}");
    }));
    let dir = tempfile::tempdir().expect("a temporary folder");
    eprintln!("working in {}", dir.path().display());
    let start = Instant::now();
    std::thread::spawn(watch);

    let (mut round, mut sound, mut known) = (0_u64, 0_u64, std::collections::BTreeMap::<String, u64>::new());
    let originals = (target.originals)();
    while start.elapsed() < Duration::from_secs(seconds) {
        round += 1;
        let mut dice = Dice::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ round);
        let files = (target.damage)(&originals, &mut dice);
        for (name, bytes) in &files {
            std::fs::write(dir.path().join(name), bytes).expect("writes");
        }
        BEGAN.store(start.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
        let before = NOW.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.read)(dir.path())));
        BEGAN.store(0, Ordering::Relaxed);
        let peak = PEAK.load(Ordering::Relaxed) - before;
        let finding = match outcome {
            Err(_) => Some(PANIC.lock().expect("nobody panics holding it").clone()),
            Ok(_) if peak > MOST_BYTES => Some(format!("memory: {} MB", peak >> 20)),
            Ok(whole) => {
                sound += u64::from(whole);
                None
            }
        };
        if let Some(finding) = finding {
            // The same place once.
            let key = finding.split(": ").next().unwrap_or_default().to_owned();
            let count = known.entry(key).or_default();
            *count += 1;
            if *count == 1 {
                let kept = format!("fuzz-{}-{seed}-{round}", target.name);
                keep(dir.path(), Path::new(&kept));
                eprintln!("round {round}: {finding}; kept as {kept}");
            }
        }
    }
    eprintln!(
        "{} rounds in {} s, {sound} read to the end, {} different findings: {known:?}",
        round,
        start.elapsed().as_secs(),
        known.len()
    );
    if !known.is_empty() {
        std::process::exit(1);
    }
}

fn keep(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder for the finding");
    for entry in from.read_dir().expect("lists") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copies");
    }
}

/// Ends the process, its files still there, where a round takes too long. Time is counted in naps, so that a process
/// that was stopped for a while is not taken for a slow one.
fn watch() {
    const NAP: Duration = Duration::from_millis(500);
    let (mut round, mut naps) = (0, 0);
    loop {
        std::thread::sleep(NAP);
        let began = BEGAN.load(Ordering::Relaxed);
        naps = if began == round { naps + 1 } else { 0 };
        round = began;
        if began != 0 && naps * NAP.as_millis() as u64 > 1000 * MOST_SECONDS {
            eprintln!("a round took more than {MOST_SECONDS} s; its files are in the folder named above");
            std::process::exit(3);
        }
    }
}

fn usage() {
    let names: Vec<_> = targets::TARGETS.iter().map(|t| t.name).collect();
    eprintln!("usage: fuzz {} SECONDS SEED", names.join("|"));
    std::process::exit(2);
}
