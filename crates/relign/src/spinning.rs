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

/// How many threads libgomp and libtorch start. They count cores, and know nothing of what a control group leaves of them.
const THREADS: &str = "OMP_NUM_THREADS";

/// Starts the program again with a short spin, and with as many threads as its control group's share of the cores allows,
/// unless the user chose either: libgomp reads its variables as it is loaded, before `main`. The process stays the same one,
/// to its parent too. Where it cannot be started again, it goes on as it is.
pub(crate) fn shorten() {
    let given = |name: &str| std::env::var_os(name).is_some();
    let mut variables = Vec::new();
    if !CHOSEN.into_iter().any(given) {
        variables.push((VARIABLE, ROUNDS.to_owned()));
    }
    let allowed = std::fs::read_to_string("/proc/self/status").ok().and_then(|text| cores(&text));
    let share = std::thread::available_parallelism().map_or(usize::MAX, usize::from);
    if !given(THREADS) && allowed.is_some_and(|allowed| share < allowed) {
        variables.push((THREADS, share.to_string()));
    }
    if variables.is_empty() {
        return;
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    let _failed = Command::new("/proc/self/exe")
        .arg0(name.as_deref().unwrap_or(OsStr::new("relign")))
        .args(arguments)
        .envs(variables)
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

/// The cores that a process may run on, by its `/proc/PID/status`: `0-3,8` are five.
fn cores(status: &str) -> Option<usize> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    list.trim().split(',').try_fold(0, |sum, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        Some(sum + (last + 1).checked_sub(first)?)
    })
}

#[cfg(test)]
mod tests {
    use super::cores;

    #[test]
    fn cores_are_counted() {
        for (list, expected) in
            [("0", Some(1)), ("0-3,8", Some(5)), ("2-2", Some(1)), ("", None), ("3-1", None), ("a", None)]
        {
            assert_eq!(cores(&format!("Name:\tx\nCpus_allowed_list:\t{list}\n")), expected, "{list}");
        }
        assert!(cores(&std::fs::read_to_string("/proc/self/status").unwrap()).unwrap() > 0);
    }
}
