"""Training: a whole GRPO step against TRL, forward and backward against transformers."""

import json
import pathlib
import statistics
import tempfile

from work import RELIGN, ROOT, WORK, Case, Peer, exported, gsm8k, has_bf16, peer, run, version


def data():
    """A GSM8K of four problems, so that both sides see the same prompts in every step."""
    real = gsm8k()
    folder = WORK / "data/gsm8k"
    folder.mkdir(parents=True, exist_ok=True)
    lines = (real / "train.jsonl").read_text().splitlines()
    (folder / "train.jsonl").write_text("\n".join(lines[:4]) + "\n")
    (folder / "test.jsonl").write_text(lines[4] + "\n")
    return {"RELIGN_DATA": str(folder.parent)}


def prompts():
    file = WORK / "prompts.jsonl"
    with open(file, "w") as out:
        for index in range(4):
            out.write(json.dumps(run([RELIGN, "measure", "task", "gsm8k", index, "--json"], data())) + "\n")
    return file


def ours_grpo():
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "run"
        path = f'model.path="{exported()}"'
        run([RELIGN, "train", ROOT / "bench/grpo.toml", "--out", out, "--json", "--set", path], data())
        timings = [json.loads(line) for line in open(out / "timings.jsonl")]
        # The first step warms up, for both sides.
        return {"value": statistics.median(row["seconds"] for row in timings[1:]), "rss_gb": timings[-1]["peak_rss"] / 1e9}


def grpo():
    settings = {"TRL as shipped, 4 x 8": ([], False), "TRL as shipped, 1 x 32": (["--batch", 32], False)}
    for dtype in ["f32", "bf16"] if has_bf16() else ["f32"]:
        settings[f"TRL tuned, {dtype}"] = (["--best", "--dtype", dtype], True)
    for name, (args, tuned) in settings.items():

        def theirs(args=args, tuned=tuned):
            row = peer("trl_grpo.py", exported(), prompts(), *args, tuned=tuned)
            return {"value": statistics.median(row["seconds"]), "rss_gb": row["rss_gb"]}

        yield Case(name, "s/step", ours_grpo, [Peer("trl", version("trl"), theirs)], more_is_better=False)


def rate(row):
    return {"value": row["rate"], "rss_gb": row["rss_gb"]}


def train():
    for dtype in ["f32", "bf16"]:
        for sequences, length in [(8, 256)]:
            args = (dtype, sequences, length)
            ours = lambda args=args: rate(run([RELIGN, "measure", "train", exported(), *args, "--json"]))
            theirs = lambda args=args: rate(peer("transformers_train.py", exported(), *args, tuned=True))
            name = f"{sequences} x {length} tokens, {dtype}"
            yield Case(name, "tokens/s", ours, [Peer("transformers", version("transformers"), theirs)])
