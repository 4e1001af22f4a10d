"""Evaluation: GSM8K items per second and the verdicts, against lm-evaluation-harness on the same prompts.

`ITEMS` problems of the test set, greedily, 256 tokens at most. Both sides have loaded their model when the clock starts.
"""

import argparse
import atexit
import functools
import json
import pathlib
import tempfile

from work import RELIGN, WORK, Case, Failed, Peer, exported, gsm8k, has_bf16, peer, run, version

ITEMS = 64
# Solved tasks before each question: none, and as many as the field's harnesses ask GSM8K with.
EXAMPLES = (0, 5)
# lm-eval pads a batch to its longest and ends with its last: which size is best depends on the machine.
BATCHES = (16, 32, 64)
BENCHMARK = """
name = "gsm8k-256-{examples}"
version = 1
domain = "math"
about = "GSM8K as the bench asks it."
[environment]
name = "gsm8k"
[prompt]
examples = {examples}
[sampling]
max_tokens = 256
"""


def relign(out, dtype, items=ITEMS, examples=0, model="smollm2"):
    """Our side: the summary line and the log."""
    benchmark = WORK / f"gsm8k-256-{examples}.toml"
    benchmark.write_text(BENCHMARK.format(examples=examples))
    limit = ["--limit", items] if items else []
    call = [RELIGN, "eval", exported(model), "--benchmark", benchmark, "--dtype", dtype, *limit, "--out", out, "--json"]
    summary = run(call, {"RELIGN_DATA": str(gsm8k().parent)})
    (log,) = pathlib.Path(out).glob("*.jsonl")
    return summary, log


def lm_eval(log, out, *args):
    return peer("lm_eval_gsm8k.py", log, out, *args, tuned=True)


@functools.cache
def asked(examples):
    """A log whose items lm-eval is asked; which answers stand in it does not matter."""
    folder = tempfile.TemporaryDirectory(dir=WORK)
    atexit.register(folder.cleanup)
    return relign(folder.name, "f32", examples=examples)[1]


def ours(dtype, examples):
    with tempfile.TemporaryDirectory() as folder:
        summary, _ = relign(folder, dtype, examples=examples)
    facts = {"dtype": dtype, "items": ITEMS}
    return {"value": ITEMS / summary["seconds"], "rss_gb": summary["peak_rss_gb"], "facts": facts}


@functools.cache
def best_batch(dtype, examples):
    """The batch size at which lm-eval is fastest here, found once before it is timed."""
    rates = {batch: theirs(dtype, examples, batch)["value"] for batch in BATCHES}
    return max(rates, key=rates.get)


def theirs(dtype, examples, batch=None):
    with tempfile.NamedTemporaryFile() as out:
        batch = batch or best_batch(dtype, examples)
        row = lm_eval(asked(examples), out.name, "--model", exported(), "--dtype", dtype, "--batch", batch, "--warm-up")
    return {"value": row["rate"], "rss_gb": row["rss_gb"], "facts": {"dtype": dtype, "settings": row["settings"]}}


def evaluate():
    for examples in EXAMPLES:
        for dtype in ["f32", "bf16"] if has_bf16() else ["f32"]:
            side = functools.partial(theirs, dtype, examples)
            name = f"GSM8K{f' with {examples} examples' if examples else ''}, {ITEMS} items, {dtype}"
            peers = [Peer("lm-eval", version("lm-eval"), side)]
            yield Case(name, "items/s", functools.partial(ours, dtype, examples), peers)


def agreement():
    """Both graders on our answers to the items, and both programs' own answers to some: every difference."""
    parser = argparse.ArgumentParser(description=agreement.__doc__)
    parser.add_argument("--model", default="smollm2", help="a built-in model")
    parser.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
    parser.add_argument("--items", type=int, help="how many are judged by both; all, if left out")
    parser.add_argument("--answered", type=int, default=ITEMS, help="how many both programs answer; 0 for none")
    args = parser.parse_args()
    model, dtype = args.model, args.dtype
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        folder = pathlib.Path(folder)
        _, log = relign(folder / "all", dtype, args.items, model=model)
        print(json.dumps(lm_eval(log, folder / "judged.jsonl")))
        compare(log, folder / "judged.jsonl")
        if args.answered:
            _, log = relign(folder / "some", dtype, args.answered, model=model)
            call = ["--model", exported(model), "--dtype", dtype, "--batch", 32]
            print(json.dumps(lm_eval(log, folder / "own.jsonl", *call)))
            compare(log, folder / "own.jsonl")


def compare(log, judged):
    records = [json.loads(line) for line in open(log)]
    samples = {record["item"]: record for record in records if record["kind"] == "sample"}
    gold = {record["task"]["id"]: record["task"]["answer"] for record in records if record["kind"] == "item"}
    same_text = 0
    table = {}
    for line in map(json.loads, open(judged)):
        ours = samples[line["id"]]
        same_text += ours["text"].strip() == line["text"].strip()
        verdict = ours["score"]["verdict"]
        strict, flexible = line["strict-match"]["right"], line["flexible-extract"]["right"]
        table[verdict, strict, flexible] = table.get((verdict, strict, flexible), 0) + 1
        if (verdict == "correct") != flexible or (verdict == "correct") != strict:
            print(json.dumps({"id": line["id"], "gold": gold[line["id"]], "ours": ours["score"], "finish": ours["finish"],
                "strict": line["strict-match"], "flexible": line["flexible-extract"], "end": ours["text"][-300:],
                "same_text": ours["text"].strip() == line["text"].strip()}))  # fmt: skip
    for (verdict, strict, flexible), n in sorted(table.items()):
        print(json.dumps({"relign": verdict, "strict-match": strict, "flexible-extract": flexible, "items": n}))
    print(json.dumps({"items": len(samples), "same_text": same_text}))


if __name__ == "__main__":
    agreement()
