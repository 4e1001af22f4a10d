"""RELIGN and its peers on the same work, in turns: `./x bench [NAME] [--json] [--rounds N] [--case TEXT]`.

Every figure is a fresh process; ours and theirs alternate; the median of the rounds is printed.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
RELIGN = os.environ.get("RELIGN", str(ROOT / "target/release/relign"))
WORK = ROOT / ".x/bench"
TUNED = {
    # glibc keeps its memory and uses huge pages: the best allocator settings found for the peers.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(1 << 28),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def run(command, env=None):
    """The last line of JSON that `command` prints."""
    quiet = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(
        [str(part) for part in command], env=os.environ | quiet | (env or {}), capture_output=True, text=True, timeout=3600
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def peer(script, *args, tuned=False):
    return run([sys.executable, ROOT / "bench/peers" / script, *args], TUNED if tuned else None)


def model():
    """SmolLM2-135M-Instruct as an f32 Hugging Face folder, the same weights for both sides."""
    folder = WORK / "smollm2"
    if not (folder / "config.json").exists():
        WORK.mkdir(parents=True, exist_ok=True)
        run([RELIGN, "measure", "export", "smollm2", folder, "--json"])
    return folder


def has_bf16():
    return "avx512_bf16" in pathlib.Path("/proc/cpuinfo").read_text()


def data():
    """A GSM8K of four problems, so that both sides see the same prompts in every step."""
    places = [pathlib.Path(os.environ.get("RELIGN_DATA", "/nowhere")) / "gsm8k", ROOT / "../shared/data/gsm8k"]
    real = next((place for place in places if (place / "train.jsonl").exists()), None)
    if real is None:
        sys.exit("error: GSM8K was not found; set RELIGN_DATA to the folder that holds gsm8k/train.jsonl")
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
        run([RELIGN, "train", ROOT / "bench/grpo.toml", "--out", out, "--json", "--set", f'model.path="{model()}"'], data())
        timings = [json.loads(line) for line in open(out / "timings.jsonl")]
        # The first step warms up, for both sides.
        return {"value": statistics.median(row["seconds"] for row in timings[1:]), "rss_gb": timings[-1]["peak_rss"] / 1e9}


def bench_grpo(pick):
    file = prompts()
    dtypes = ["f32", "bf16"] if has_bf16() else ["f32"]
    cases = [
        ("TRL as shipped, 4 x 8", lambda: peer("trl_grpo.py", model(), file)),
        ("TRL as shipped, 1 x 32", lambda: peer("trl_grpo.py", model(), file, "--batch", 32)),
    ]
    for dtype in dtypes:
        best = lambda dtype=dtype: peer("trl_grpo.py", model(), file, "--best", "--dtype", dtype, tuned=True)
        cases.append((f"TRL tuned, {dtype}", best))

    def seconds(row):
        return {"value": statistics.median(row["seconds"]), "rss_gb": row["rss_gb"]}

    for case, theirs in cases:
        if pick in case:
            yield case, "trl", "s/step", ours_grpo, lambda theirs=theirs: seconds(theirs()), False


def rate(row):
    return {"value": row["rate"], "rss_gb": row["rss_gb"]}


def measured(kind, *args):
    return rate(run([RELIGN, "measure", kind, model(), *args, "--json"]))


def bench_train(pick):
    for dtype in ["f32", "bf16"]:
        for sequences, length in [(8, 256)]:
            case = f"{sequences} x {length} tokens, {dtype}"
            if pick in case:
                args = (dtype, sequences, length)
                theirs = lambda args=args: rate(peer("transformers_train.py", model(), *args, tuned=True))
                yield case, "transformers", "tokens/s", lambda args=args: measured("train", *args), theirs, True


def bench_decode(pick):
    for dtype in ["f32", "bf16"]:
        for sequences in [1, 16, 64]:
            case = f"{sequences} sequences, {dtype}"
            if pick in case:
                args = (dtype, sequences, 128)
                theirs = lambda args=args: rate(peer("transformers_decode.py", model(), *args, tuned=True))
                yield case, "transformers", "tokens/s", lambda args=args: measured("decode", *args), theirs, True


BENCHES = {
    "grpo": (bench_grpo, "one GRPO step on 4 GSM8K prompts x 8 completions of 128 tokens, against TRL"),
    "train": (bench_train, "forward and backward, against transformers at the same dtype"),
    "decode": (bench_decode, "generation, against transformers' generate at the same dtype"),
}


def main():
    parser = argparse.ArgumentParser(prog="./x bench")
    parser.add_argument("name", nargs="?", choices=BENCHES)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", default="", help="only cases whose name holds this text")
    args = parser.parse_args()
    if not args.name:
        for name, (_, about) in BENCHES.items():
            print(f"{name:<8} {about}")
        return
    if not args.json:
        cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown")
        print(f"{cpu}, {os.cpu_count()} cores; medians of {args.rounds}, ours and theirs in turns")
        print(f"{'case':<28} {'peer':<14} {'ours':>10} {'theirs':>10} {'unit':<9} {'ratio':>6} {'ours GB':>8} {'theirs GB':>9}")
    for case, name, unit, ours, theirs, more_is_better in BENCHES[args.name][0](args.case):
        pairs = [(ours(), theirs()) for _ in range(args.rounds)]
        mine, other = (statistics.median(pair[side]["value"] for pair in pairs) for side in (0, 1))
        rss = [max(pair[side]["rss_gb"] for pair in pairs) for side in (0, 1)]
        row = {
            "bench": args.name,
            "case": case,
            "peer": name,
            "peer_version": importlib.metadata.version(name),
            "ours": round(mine, 3),
            "theirs": round(other, 3),
            "unit": unit,
            "ratio": round(mine / other if more_is_better else other / mine, 2),
            "ours_rss_gb": round(rss[0], 2),
            "theirs_rss_gb": round(rss[1], 2),
        }
        if args.json:
            print(json.dumps(row), flush=True)
        else:
            print(
                f"{case:<28} {name:<14} {row['ours']:>10.2f} {row['theirs']:>10.2f} {unit:<9} {row['ratio']:>5.2f}x "
                f"{row['ours_rss_gb']:>8.2f} {row['theirs_rss_gb']:>9.2f}",
                flush=True,
            )


main()
