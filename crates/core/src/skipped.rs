//! How tests say that they could not test.

/// Says on stderr what a test skipped, and why; formatted as by `println!`. Not by `eprintln!`: of that the test harness
/// shows nothing where a test passes, and a skipped test does.
#[macro_export]
macro_rules! skipped {
    ($($what:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "SKIPPED: {}", format_args!($($what)*));
    }};
}
