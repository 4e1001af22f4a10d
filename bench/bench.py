"""RELIGN and its peers on the same work, in turns: `./x bench [NAME] [--json] [--rounds N] [--case TEXT] [--avx2]`.

Every figure is a fresh process; ours and theirs alternate; the median of the rounds is printed.
"""

import argparse
import json
import os
import statistics
import sys

import decode
import evaluate
import sandbox
import search
import training
import verify
from work import AVX2, Failed

BENCHES = {
    "grpo": (training.grpo, "one GRPO step on 4 GSM8K prompts x 8 completions of 128 tokens, against TRL"),
    "train": (training.train, "forward and backward, against transformers at the same dtype"),
    "decode": (decode.decode, "answers to GSM8K's prompts, against transformers, llama.cpp and vLLM"),
    "tree": (decode.tree, "64 branches of each prompt at four depths, against the same without shared prefixes"),
    "search": (search.search, "MCTS on 16 GSM8K problems at once, against generate once an expansion, and treequest"),
    "sandbox": (sandbox.sandbox, "HumanEval's programs in the sandbox, against one system python3 for each"),
    "eval": (evaluate.evaluate, "GSM8K answered and judged, items per second, against lm-evaluation-harness"),
    "verify": (verify.verify, "answers judged right or wrong: errors and speed, against Math-Verify"),
}
HEAD = f"{'case':<32} {'peer':<13} {'ours':>9} {'theirs':>9} {'unit':<9} {'ratio':>6} {'ours GB':>8} {'theirs GB':>9}"


def ratio(mine, other, more_is_better):
    """How many times better RELIGN is; nothing where that is a division by zero."""
    above, below = (mine, other) if more_is_better else (other, mine)
    return round(above / below, 2) if below else None


def rows(bench, case, rounds):
    """A row for each peer; in every round RELIGN runs once, and then each peer."""
    ours, theirs = [], {peer.name: [] for peer in case.peers}
    for _ in range(rounds):
        ours.append(case.ours())
        for peer in [peer for peer in case.peers if peer.name in theirs]:
            try:
                theirs[peer.name].append(peer.measure())
            except Failed as failure:
                print(f"note: {case.name}: {peer.name} is left out: {failure}", file=sys.stderr)
                del theirs[peer.name]
    for peer in [peer for peer in case.peers if peer.name in theirs]:
        sides = {"ours": ours, "theirs": theirs[peer.name]}
        mine, other = (statistics.median(one["value"] for one in side) for side in sides.values())
        row = {
            "bench": bench,
            "case": case.name,
            "peer": peer.name,
            "peer_version": peer.version,
            "ours": round(mine, 3),
            "theirs": round(other, 3),
            "unit": case.unit,
            "ratio": ratio(mine, other, case.more_is_better),
        }
        row |= {f"{name}_rss_gb": round(max(one["rss_gb"] for one in side), 2) for name, side in sides.items()}
        # What else each side said of its last round: dtype, tokens made, settings.
        for name, side in sides.items():
            row |= {f"{name}_{fact}": value for fact, value in side[-1].get("facts", {}).items()}
        yield row


def main():
    parser = argparse.ArgumentParser(prog="./x bench")
    parser.add_argument("name", nargs="?", choices=BENCHES)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", default="", help="only cases whose name holds this text")
    parser.add_argument("--avx2", action="store_true", help="hold both sides to AVX2 (llama.cpp cannot be held)")
    args = parser.parse_args()
    if args.avx2:
        os.environ.update(AVX2)
    if not args.name:
        for name, (_, about) in BENCHES.items():
            print(f"{name:<8} {about}")
        return
    if not args.json:
        cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown")
        cpu += " held to AVX2" if args.avx2 else ""
        print(f"{cpu}, {os.cpu_count()} cores; medians of {args.rounds}, ours and theirs in turns\n{HEAD}")
    for case in BENCHES[args.name][0]():
        if args.case not in case.name:
            continue
        for row in rows(args.name, case, args.rounds):
            if args.json:
                print(json.dumps(row), flush=True)
                continue
            line = f"{row['case']:<32} {row['peer']:<13} {row['ours']:>9.2f} {row['theirs']:>9.2f} {row['unit']:<9}"
            times = "-" if row["ratio"] is None else f"{row['ratio']:.2f}x"
            print(f"{line} {times:>6} {row['ours_rss_gb']:>8.2f} {row['theirs_rss_gb']:>9.2f}", flush=True)


try:
    main()
except Failed as failure:
    sys.exit(f"error: {failure}")
