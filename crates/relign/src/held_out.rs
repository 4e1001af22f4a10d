//! Held-out tasks, as many as are asked for.

use relign_core::{ConfigError, Environment, Split, Task};

/// The first `asked` held-out tasks, or all where there are fewer; `setting` is what they are asked for by.
///
/// # Errors
/// If a task cannot be made. Of tasks that are made as they are needed, `setting` is named with how many there are.
pub(crate) fn tasks<'a>(
    environment: &'a dyn Environment,
    asked: u64,
    setting: &'a str,
) -> impl Iterator<Item = anyhow::Result<Task>> + 'a {
    let there = environment.len(Split::Eval);
    (0..there.unwrap_or(u64::MAX).min(asked)).map(move |index| {
        environment.task(Split::Eval, index).map_err(|why| match there {
            Some(_) => anyhow::Error::msg(why),
            None => {
                let expected = format!("expected at most {index}, the held-out tasks that there are");
                ConfigError::at(setting, format!("{expected}, got {asked}: {why}")).into()
            }
        })
    })
}
