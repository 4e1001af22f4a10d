//! Whether the code in a chain of thought runs.

use std::sync::Mutex;

use relign_core::{Place, Scorer};
use relign_tasks::sandbox::{Ending, Input, Language, Limits, Sandbox};

/// Tries out steps that come with Python code: all code said so far, from the first step to the one in question, runs as one
/// program in the sandbox and must end without an error. Code stands between ``` marks; a block that is still open is not
/// run before it is closed or the answer has ended. A step without any code so far has nothing that could fail.
pub(crate) struct RunsCode {
    sandbox: Sandbox,
    threads: usize,
}

impl RunsCode {
    /// # Errors
    /// If nothing can be run here in isolation.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let sandbox = Sandbox::new(Limits::default(), "python3", true);
        let tried = sandbox.run(Language::Python, "print(1)", Input::Text(b""))?;
        anyhow::ensure!(
            tried.ending == Ending::Exit(0),
            "the sandbox: expected a Python program to run, it {}: {}",
            tried.ending,
            String::from_utf8_lossy(&tried.stderr).trim()
        );
        Ok(Self { sandbox, threads: std::thread::available_parallelism().map_or(1, usize::from) })
    }

    fn value(&self, place: &Place<'_>) -> Result<f64, String> {
        let transcript = place.tree.transcript(place.node);
        let Some(program) = code(transcript.last(), transcript.finished) else { return Ok(1.0) };
        let outcome =
            self.sandbox.run(Language::Python, &program, Input::Text(b"")).map_err(|error| error.to_string())?;
        Ok(f64::from(u8::from(outcome.ending == Ending::Exit(0))))
    }
}

impl Scorer for RunsCode {
    fn values(&self, nodes: &[Place<'_>]) -> Vec<Result<f64, String>> {
        let next = Mutex::new(0..nodes.len());
        let values = Mutex::new(vec![Err("not tried".to_owned()); nodes.len()]);
        std::thread::scope(|scope| {
            for _ in 0..self.threads.min(nodes.len()) {
                scope.spawn(|| {
                    while let Some(at) = next.lock().ok().and_then(|mut next| next.next()) {
                        let value = self.value(&nodes[at]);
                        if let Ok(mut values) = values.lock() {
                            values[at] = value;
                        }
                    }
                });
            }
        });
        values.into_inner().unwrap_or_default()
    }
}

/// The code in `text`, if there is any to run.
fn code(text: &str, finished: bool) -> Option<String> {
    let mut code = String::new();
    let mut parts = text.split("```");
    parts.next();
    while let Some(block) = parts.next() {
        let closed = parts.next().is_some();
        if closed || finished {
            // The rest of the line that opens it names the language.
            code += block.split_once('\n').map_or("", |(_, rest)| rest);
            code.push('\n');
        }
    }
    (!code.trim().is_empty()).then_some(code)
}

#[cfg(test)]
mod tests {
    use relign_core::{Author, Node, Task, Tree};

    use super::*;

    #[test]
    fn code_is_what_stands_between_marks() {
        assert_eq!(code("no code", true), None);
        assert_eq!(code("a\n```python\nx = 1\n```\nb\n```\ny = 2\n```", false).unwrap(), "x = 1\n\ny = 2\n\n");
        assert_eq!(code("```python\nx = 1\n", false), None);
        assert_eq!(code("```python\nx = 1\n", true).unwrap(), "x = 1\n\n");
    }

    #[test]
    fn steps_work_where_all_code_so_far_runs() {
        let checker = RunsCode::new().unwrap();
        let mut tree = Tree::new(Task::default(), vec![1]);
        let mut said =
            |parent, text: &str| tree.push(Node { text: text.to_owned(), ..Node::after(parent, Author::Policy) });
        let first = said(0, "First.\n```python\nx = 6\n```\n\n");
        let good = said(first, "Then.\n```python\nassert x * 7 == 42\n```\n\n");
        let bad = said(first, "Then.\n```python\nprint(y)\n```\n\n");
        let words = said(good, "So it is 42.");
        let lost = said(bad, "So it is 42.");
        let task = Task::default();
        let places: Vec<Place<'_>> =
            [first, good, bad, words, lost].map(|node| Place { task: &task, tree: &tree, node }).into();
        let values: Vec<f64> = checker.values(&places).into_iter().map(Result::unwrap).collect();
        assert_eq!(values, [1.0, 1.0, 0.0, 1.0, 0.0]);
    }
}
