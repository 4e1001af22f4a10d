//! A wall around other people's parsers.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a library's code on bytes that nobody has vouched for; a panic in it becomes an error. What
/// `work` touches must not be used again after one.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let said = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
        format!("something that its reader stumbles over ({})", said.unwrap_or("no message"))
    })
}
