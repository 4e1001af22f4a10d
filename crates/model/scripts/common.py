"""What the fixture scripts share: where things are, and the texts whose tokens are compared.

tests/tokens.rs walks the same texts in the same order.
"""

import json
import os
import shlex
import sys
from pathlib import Path

CRATE = Path(__file__).resolve().parent.parent
ROOT = CRATE.parent.parent
FIXTURES = CRATE / "tests" / "fixtures"
DATA = ROOT.parent / "shared" / "data"

# Files of JSON objects, one a line: (path under DATA, records taken).
FILES = [
    ("gsm8k/test.jsonl", 1319),
    ("math/math500.jsonl", 500),
    ("mbpp/mbpp.jsonl", 974),
    ("medqa/test.jsonl", 300),
    ("humaneval/humaneval-rs.jsonl", 156),
]
CHUNK = 100

MODELS = {
    "smollm2": "smollm2-135m-instruct-q4_1.gguf",
    "qwen2.5": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    "qwen2.5-1.5b": "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    "gemma3": "gemma-3-270m-q4_k_m.gguf",
    "r1": "deepseek-r1-distill-qwen-7b.first-part.gguf",
}


def model(name):
    """The GGUF file of a model."""
    folders = [os.environ.get("RELIGN_MODELS"), "~/.cache/relign-models", "~/.cache/relign/models"]
    for folder in folders:
        path = Path(folder or "/nowhere").expanduser() / MODELS[name]
        if path.is_file():
            return path
    sys.exit(f"{MODELS[name]}: not found in {folders}")


def sample():
    """Hand-picked texts in many scripts."""
    return json.loads((FIXTURES / "sample.json").read_text(encoding="utf-8"))


def strings(value):
    """All strings in a JSON value, objects by sorted key."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, dict):
        for key in sorted(value):
            yield from strings(value[key])


def chunks(file, records):
    """Real texts in lists, each from CHUNK records."""
    lines = (DATA / file).read_text(encoding="utf-8").split("\n")
    lines = [line for line in lines if line][:records]
    for start in range(0, len(lines), CHUNK):
        yield [text for line in lines[start : start + CHUNK] for text in strings(json.loads(line))]


def fnv(ids_of_texts):
    """FNV-1a (64 bits) over little-endian 32-bit ids, each text closed by 0xffffffff."""
    value = 0xCBF29CE484222325
    for ids in ids_of_texts:
        for number in (*ids, 0xFFFFFFFF):
            for byte in int(number).to_bytes(4, "little"):
                value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def write(name, content, compact=False):
    """Writes a fixture that names its command; a compact one has a line for each list of objects."""
    words = [Path(sys.argv[0]).resolve().relative_to(ROOT), *sys.argv[1:]]
    command = "python " + shlex.join(str(word) for word in words)
    content = {"command": command, **content}
    if compact:
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).replace("[{", "[\n{").replace("},{", "},\n{")
    else:
        text = json.dumps(content, indent=1, ensure_ascii=False)
    (FIXTURES / name).write_text(text + "\n", encoding="utf-8")
    print(f"{name}: {len(text)} bytes")
