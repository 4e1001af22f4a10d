//! What is written to stdout and stderr, and what becomes of it where nobody reads or a disk is full.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use relign_core::{is_control, without_secrets};

/// Writes a line on stderr, formatted as by `eprintln!`. That nobody can read it is no reason to stop: messages are for
/// whoever looks, results go to stdout and to files.
macro_rules! note {
    ($($what:tt)*) => { $crate::console::write_note(format_args!($($what)*)) };
}

pub(crate) use note;

/// What [`note!`] does.
pub(crate) fn write_note(line: std::fmt::Arguments<'_>) {
    let line = without_secrets(&line.to_string());
    let line = visible(&line);
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

/// Text as a terminal shows it: [controls](is_control) but line breaks and tabs are spelled (`\u{1b}`), so that nothing
/// which a model, a server or a file says acts on the terminal. All that the program writes for people goes through here.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let acts = |c: char| is_control(c) && !matches!(c, '\n' | '\t');
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// `value` as one line of JSON, in which [controls](is_control) are escaped, too.
pub(crate) fn json_line(value: &impl serde::Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string(value)?;
    if !text.contains(is_control) {
        return Ok(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_control(c) {
            // In JSON only strings hold them.
            out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    Ok(out)
}

/// Text of a model as stdout takes it: as it is where stdout is a file or a pipe, else [`visible`].
pub(crate) fn for_stdout(text: &str) -> Cow<'_, str> {
    if io::stdout().is_terminal() { visible(text) } else { Cow::Borrowed(text) }
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

    #[test]
    fn nothing_that_acts_on_a_terminal_reaches_it() {
        for (text, expected) in [
            ("plain, 1\t2\n3 \u{e9} \u{1f469}\u{200d}\u{1f52c}", None),
            ("\u{1b}]52;c;eA==\u{7}", Some("\\u{1b}]52;c;eA==\\u{7}")),
            ("\u{9b}2J\u{90}q\u{9c}", Some("\\u{9b}2J\\u{90}q\\u{9c}")),
            ("a\rb\u{8}\u{7f}\0", Some("a\\u{d}b\\u{8}\\u{7f}\\u{0}")),
            ("\u{202e}evil\u{2066}\u{2028}\u{feff}", Some("\\u{202e}evil\\u{2066}\\u{2028}\\u{feff}")),
            ("\u{e0041}", Some("\\u{e0041}")),
        ] {
            assert_eq!(visible(text), expected.unwrap_or(text));
            let line = json_line(&text).unwrap();
            assert!(!line.contains(is_control), "{line:?}");
            assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
        for c in ('\0'..='\u{ffff}').filter(|&c| is_control(c) && !matches!(c, '\n' | '\t')) {
            assert!(!visible(&format!("a{c}b")).contains(is_control), "{c:?}");
        }
    }
}
