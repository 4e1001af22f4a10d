//! How tests report what they could not test.

/// Reports on stderr what a test skipped, and why; formatted as by `println!`. Not by `eprintln!`: of that the test harness
/// shows nothing where a test passes, and a skipped test does. `./x test --all` fails where something is missing that could
/// be installed; `hardware:` before the text is for what could not.
#[macro_export]
macro_rules! skipped {
    (hardware: $($what:tt)*) => { $crate::skipped!(@line "SKIPPED (hardware): {}", $($what)*) };
    (@line $line:literal, $($what:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $line, format_args!($($what)*));
    }};
    ($($what:tt)*) => { $crate::skipped!(@line "SKIPPED: {}", $($what)*) };
}
