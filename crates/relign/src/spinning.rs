//! How long a thread of libtorch's OpenMP pool spins at a barrier before it sleeps.
//!
//! libgomp's threads spin for milliseconds where there are no more threads than cores. Beside another busy process the
//! thread that all wait for has no core meanwhile, and a step takes eight times as long. A short spin costs little alone;
//! `docs/log.md` has the figures.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Rounds of spinning, as libgomp counts them.
const ROUNDS: &str = "1000";

/// The variable that holds them.
pub(crate) const VARIABLE: &str = "GOMP_SPINCOUNT";

/// Whatever the user chose: the rounds, or all of waiting.
const CHOSEN: [&str; 2] = [VARIABLE, "OMP_WAIT_POLICY"];

/// Starts the program again with a short spin, unless the user chose one: libgomp reads its variables as it is loaded, before
/// `main`. The process stays the same one, to its parent too. Where it cannot be started again, it goes on as it is.
pub(crate) fn shorten() {
    if CHOSEN.iter().any(|name| std::env::var_os(name).is_some()) {
        return;
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    let _failed = Command::new("/proc/self/exe")
        .arg0(name.as_deref().unwrap_or(OsStr::new("relign")))
        .args(arguments)
        .env(VARIABLE, ROUNDS)
        .exec();
}

/// The rounds in effect, in words.
pub(crate) fn state() -> String {
    match CHOSEN.map(std::env::var) {
        [Ok(rounds), _] => format!("spin {rounds} rounds"),
        [_, Ok(policy)] => format!("wait as OMP_WAIT_POLICY={policy} says"),
        _ => "spin as long as libgomp likes".to_owned(),
    }
}
