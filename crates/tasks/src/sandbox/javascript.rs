//! Tests of JavaScript solutions: the tests in one process, the solution in another.

use super::pool::{Judged, Sandbox, Tests, readable};
use super::two::two;
use super::{Language, Limits, Unavailable};

const WIRE: &str = include_str!("guest/wire.js");

/// Calls the solution: what the tests see of it. A call that throws there throws here.
const ASK: &str = r#"
function relignAsk(name) {
  return (...args) => {
    relignWire.send([name, relignWire.encode(args)]);
    const answer = relignWire.receive();
    if (answer === null) { console.error("no answer from the solution"); process.exit(1); }
    if (answer[0] === "e") { const error = new Error(String(answer[2])); error.name = String(answer[1]); throw error; }
    return relignWire.decode(answer[1]);
  };
}
"#;

const ANSWER: &str = r#"
for (;;) {
  const question = relignWire.receive();
  if (question === null) process.exit(0);
  let answer;
  try { answer = ["v", relignWire.encode(relignEntry(...relignWire.decode(question[1])))]; }
  catch (error) { answer = ["e", error && error.name || "Error", error && error.message || String(error)]; }
  relignWire.send(answer);
}
"#;

/// The option that bounds Node's heap.
pub(super) fn heap(limits: &Limits) -> std::ffi::OsString {
    format!("--max-old-space-size={}", limits.memory_mb * 3 / 4).into()
}

/// Tests need the entry point's name: the solution is reached through it.
pub(super) fn test(sandbox: &Sandbox, tests: &Tests<'_>) -> Result<Judged, Unavailable> {
    let name = tests.entry_point;
    let fit = name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$')
        && !name.starts_with(|c: char| c.is_numeric());
    if name.is_empty() || !fit {
        return Err(Unavailable::Broken(format!(
            "tests of JavaScript need the fact `entry_point`: expected the name of a function, got `{name}`"
        )));
    }
    let tool = sandbox.tool(Language::JavaScript)?;
    let (asking, answering) = (tempfile::tempdir()?, tempfile::tempdir()?);
    readable(
        asking.path(),
        "program.js",
        &format!("{WIRE}{ASK}const {name} = relignAsk({name:?});\n{}\n", tests.tests),
    )?;
    // The harness's part stands outside of the solution's scope.
    let body = format!("{}\n; return {name};", tests.solution);
    let quoted = serde_json::to_string(&body).map_err(|error| Unavailable::Broken(error.to_string()))?;
    let load = format!(
        "const relignEntry = new Function(\"require\", \"module\", \"exports\", {quoted})(require, {{ exports: {{}} }}, {{}});\n"
    );
    readable(answering.path(), "program.js", &format!("{WIRE}{load}{ANSWER}"))?;
    let args = || vec![heap(sandbox.limits()), "/program/program.js".into()];
    two(
        sandbox.start(&tool, &tool.program, args(), asking.path()),
        sandbox.start(&tool, &tool.program, args(), answering.path()),
    )
}
