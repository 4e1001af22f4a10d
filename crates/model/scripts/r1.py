"""Token ids and rendered conversations of DeepSeek-R1-Distill-Qwen-7B: tests/fixtures/r1.json.

    python crates/model/scripts/r1.py

The GGUF file on hand ends within its weights, so its libraries get a sparse copy of full length.
transformers builds its tokenizer from that file, llama.cpp its own; texts are rendered by transformers
with the file's template, and ids are llama.cpp's wherever the two differ (`departures`).
"""

import shutil
import tempfile
from pathlib import Path

import common
import gguf
import llama_cpp
import transformers

NAME = common.MODELS["r1"]


def said(*turns):
    return [{"role": role, "content": content} for role, content in turns]


THOUGHT = "<think>\nSeven eights are fifty-six.\n</think>\n\nThe answer is 56."
CONVERSATIONS = [
    said(("user", "What is 7 times 8?")),
    said(("system", "Put the answer in \\boxed{}."), ("user", "What is 7 times 8?")),
    said(("user", "What is 7 times 8?"), ("assistant", THOUGHT), ("user", "And plus 4?")),
    said(
        ("system", "Be brief."), ("user", "7*8?"), ("assistant", THOUGHT), ("user", "plus 4?"),
        ("assistant", "<think>\n\n</think>\n\n60"), ("user", "日本語で答えて 👍🏽"),
    ),
    said(("user", "2+2?"), ("assistant", "4"), ("user", "Sure? <think> about it </think>")),
    said(("user", "2+2?"), ("assistant", THOUGHT)),
]  # fmt: skip


def full_length(source, target):
    """A copy of a GGUF file that was cut off, as long as its header says."""
    shutil.copy(source, target)
    # gguf-py refuses a file that ends early: make it long first, then cut it to its length.
    with open(target, "r+b") as file:
        file.truncate(16 << 30)
    reader = gguf.GGUFReader(target)
    end = max(tensor.data_offset + tensor.n_bytes for tensor in reader.tensors)
    del reader
    with open(target, "r+b") as file:
        file.truncate(end)


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        full_length(common.model("r1"), path)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=NAME)
        llama = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)

    def theirs(text, special=True):
        return llama.tokenize(text.encode(), add_bos=False, special=special) if text else []

    cases, departures = [], []
    for conversation in CONVERSATIONS:
        outputs = {}
        for answer in (True, False):
            text = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=answer)
            ids = tokenizer.encode(text, add_special_tokens=False)
            if ids != theirs(text):
                departures.append(text)
                print("transformers:", ids[:12], "llama.cpp:", theirs(text)[:12])
            outputs["prompt" if answer else "text"] = {"text": text, "ids": common.fnv([theirs(text)])}
        cases.append({"conversation": conversation, **outputs})
    apart = [t for t in common.sample() if tokenizer.encode(t, add_special_tokens=False) != theirs(t)]
    print(f"{len(apart)} of {len(common.sample())} sample texts differ: {apart[:5]}")
    reference = f"transformers {transformers.__version__}, llama-cpp-python {llama_cpp.__version__}"
    content = {"reference": reference, "model": NAME, "cases": cases, "departures": departures}
    plain = [common.fnv([theirs(text, False)]) for text in common.sample()]
    common.write("r1.json", {**content, "sample_plain": plain, "differ_in_transformers": apart})


main()
