"""Whether a live llama-cpp-python server takes every sampling setting, and obeys it:

    python crates/engine/scripts/check_server.py target/release/relign MODEL.gguf

Needs `llama-cpp-python[server]`. The server is started and ended here. For each setting there is a case whose outcome
is known for certain if it is obeyed, whatever the model says: a cut that leaves one token must give the greedy answer,
two tokens that are raised far above all others must take turns under a penalty, and so on. What the server is not known
to take must be refused with a message that names the setting.
"""

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request

from llama_cpp import Llama

relign, model = sys.argv[1:3]
PROMPT = "Write a sentence about the sea."
failures = []


def check(name, holds, said):
    print(f"{'ok  ' if holds else 'FAIL'}  {name}" + ("" if holds else f": {said!r}"), flush=True)
    if not holds:
        failures.append(name)


@contextlib.contextmanager
def server():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    call = [sys.executable, "-m", "llama_cpp.server", "--model", model, "--n_ctx", "2048", "--port", str(port)]
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/v1"
    try:
        for _ in range(240):
            assert process.poll() is None, "the server ended at once"
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/models", timeout=5).read()
                break
            time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def run(*args):
    done = subprocess.run([relign, *map(str, args), "--json"], capture_output=True, text=True, timeout=600)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def generate(url, *args, n=1, tokens=12, prompt=PROMPT):
    call = ["generate", "--model", url, "--prompt", prompt, "-n", n, "--max-tokens", tokens, "--concurrency", 1, *args]
    code, lines, stderr = run(*call)
    assert code == 0, stderr
    return [line["text"] for line in lines[:-1]], lines


def main(url):
    vocabulary = Llama(model, vocab_only=True, verbose=False)

    def one(text):
        (token,) = vocabulary.tokenize(text.encode(), add_bos=False)
        return token

    (greedy,), lines = generate(url)
    check("temperature 0 is the same twice", generate(url)[0] == [greedy], greedy)
    check("max_tokens", lines[0]["finish"] == "length" and lines[-1]["tokens"] == 12, lines)

    hot = ["--temperature", 2]
    drawn = generate(url, *hot, n=4)[0]
    check("temperature: samples differ", len(set(drawn)) > 1, drawn)
    check("seed: the same again", generate(url, *hot, n=4)[0] == drawn, drawn)
    check("seed: another", generate(url, *hot, "--seed", 7, n=4)[0] != drawn, drawn)
    for name, value in [("top-k", 1), ("top-p", 0.000001), ("min-p", 1)]:
        got = generate(url, *hot, f"--{name}", value, n=3)[0]
        check(f"{name}: one token is left", got == [greedy] * 3, got)

    a, b = one(" red"), one(" blue")
    only = generate(url, "--logit-bias", f"{a}=100")[0][0]
    check("logit_bias: raised", only.split() == ["red"] * 12, only)
    first = vocabulary.tokenize(greedy.encode(), add_bos=False)[0]
    got = generate(url, "--logit-bias", f"{first}=-100")[0][0]
    check("logit_bias: forbidden", got and vocabulary.tokenize(got.encode(), add_bos=False)[0] != first, got)

    # Two words far above all others, the second so little below the first that a penalty of 2 turns them round.
    def colours(*args, below):
        both = ["--logit-bias", f"{a}=100", "--logit-bias", f"{b}={100 - below}"]
        return generate(url, *both, *args)[0][0].split()

    below = next(gap for gap in range(-12, 40) if set(colours(below=gap)) == {"red"})
    for name, value in [("frequency-penalty", 2), ("presence-penalty", 2), ("repetition-penalty", 1.5)]:
        got = colours(f"--{name}", value, below=below)
        check(f"{name}: what was said is weakened", got[0] == "red" and "blue" in got, got)
    counts = colours("--frequency-penalty", 2, below=below)
    check("frequency-penalty: by how often", abs(counts.count("red") - counts.count("blue")) <= 8, counts)

    stop = greedy.split()[2]
    (got,), lines = generate(url, "--stop", stop)
    check("stop", got == greedy[: greedy.index(stop)] and lines[0]["finish"].startswith("stop"), lines[0])

    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"],
              "additionalProperties": False}  # fmt: skip
    got = generate(url, "--json-schema", json.dumps(schema), *hot, n=3, tokens=64)[0]
    check("json_schema", all(json.loads(text)["colour"] in ("red", "blue") for text in got), got)

    for args, named in [
        (["--regex", "[0-9]+"], "constraint"),
        (["--logprobs", 3], "top_logprobs"),
        (["--score", " 5"], "score"),
    ]:
        code, lines, stderr = run("generate", "--model", url, "--prompt", PROMPT, *args)
        said = stderr + json.dumps(lines)
        check(f"{args[0]} is refused by name", code != 0 and named in said and "expected" in said, said)

    code, lines, stderr = run("eval", url, "--task", "arithmetic", "--limit", 4, "--max-tokens", 16,
                              "--temperature", 1, "--top-k", 5)  # fmt: skip
    check("eval", code == 0 and lines[-1]["samples"] == 4 and lines[-1]["sampling"]["top_k"] == 5, stderr)


with server() as url:
    main(url)
sys.exit(f"{len(failures)} failed: {', '.join(failures)}" if failures else 0)
