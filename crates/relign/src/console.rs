//! What is written to stdout and stderr, and what becomes of it where nobody reads or a disk is full.

use std::io::{self, Write};

/// Writes a line on stderr, formatted as by `eprintln!`. That nobody can read it is no reason to stop: messages are for
/// whoever looks, results go to stdout and to files.
macro_rules! note {
    ($($what:tt)*) => { $crate::console::write_note(format_args!($($what)*)) };
}

pub(crate) use note;

/// What [`note!`] does.
pub(crate) fn write_note(line: std::fmt::Arguments<'_>) {
    // The test harness shows what goes through the macro of a test that failed, and nothing of the others.
    #[cfg(test)]
    #[allow(clippy::print_stderr)]
    {
        eprintln!("{line}");
    }
    #[cfg(not(test))]
    {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

/// The reader of our output went away (`relign list | head`): no failure of ours.
#[derive(Debug, thiserror::Error)]
#[error("stdout: its reader went away")]
pub(crate) struct ReaderGone;

/// Stdout, whose errors say that they are its own.
pub(crate) struct Out;

fn own(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::BrokenPipe, ReaderGone),
        kind => io::Error::new(kind, format!("stdout: {error}")),
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().lock().write(bytes).map_err(own)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::stdout().lock().write_all(bytes).map_err(own)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().lock().flush().map_err(own)
    }
}

/// Runs `work`; where libtorch panics for want of memory, that is an error with what was asked for. Any other panic goes on.
///
/// # Errors
/// Those of `work`, and want of memory.
pub(crate) fn within_memory<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let usual = std::panic::take_hook();
    // Whoever catches it says it once, and no trace of ours says more.
    std::panic::set_hook(Box::new(move |info| match info.payload_as_str().and_then(relign_model::out_of_memory) {
        Some(what) => *lacked() = Some(what),
        // What waits for a thread that panicked says this and no more.
        None if info.payload_as_str() == Some("a scoped thread panicked") && lacked().is_some() => {}
        None => {
            lacked().take();
            usual(info);
        }
    }));
    let lack = || lacked().take();
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| match lack() {
        Some(what) => Err(anyhow::anyhow!(what)),
        None => std::panic::resume_unwind(panic),
    })
}

/// What memory was asked for in vain, the last time that it was.
fn lacked() -> std::sync::MutexGuard<'static, Option<String>> {
    static LACKED: std::sync::Mutex<Option<String>> = std::sync::Mutex::new(None);
    LACKED.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Whether `error` comes of a reader of stdout that went away.
pub(crate) fn is_reader_gone(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.filter_map(io::Error::get_ref).any(|inner| inner.is::<ReaderGone>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_memory_is_an_error_from_whatever_thread_it_comes() {
        let ask = || {
            let (kind, device) = (relign_model::Kind::Float, relign_model::Device::Cpu);
            drop(relign_model::Tensor::empty([1_i64 << 46], (kind, device)));
        };
        let scoped = || std::thread::scope(|scope| drop(scope.spawn(ask)));
        for work in [&ask as &dyn Fn(), &scoped] {
            let error = within_memory(|| {
                work();
                Ok(())
            })
            .unwrap_err();
            assert!(error.to_string().starts_with("out of memory: asked for "), "{error}");
        }
        assert_eq!(within_memory(|| Ok(3)).unwrap(), 3);
    }
}
