"""Judging answers against Math-Verify: errors on answers known to be right or wrong, and answers per second."""

import functools
import json
import os
import pathlib
import sys

import answers
from work import RELIGN, ROOT, WORK, Case, Peer, peer, run, version


def shared(name, variable="RELIGN_DATA", under="data"):
    """A file of the data folder, or nothing."""
    places = [pathlib.Path(os.environ.get(variable, "/nowhere")), ROOT / "../shared" / under]
    return next((place / name for place in places if (place / name).exists()), None)


# Sets that are not in the data folder: the variable and the folder that say where they are.
ELSEWHERE = {"pairs": ("RELIGN_GRADERS", "graders"), "cases": ("RELIGN_CASES", "cases")}
SETS = {
    "pairs": ("pairs.tsv", answers.pair_items),
    "cases": ("math.tsv", answers.case_items),
    "math500": ("math/math500.jsonl", lambda path: answers.latex_items(answers.golds(path), 1)),
    "aime24": ("aime/aime24.jsonl", lambda path: answers.latex_items(answers.golds(path), 2)),
    "amc23": ("amc/amc23.jsonl", lambda path: answers.latex_items(answers.golds(path), 3)),
    "gsm8k": ("gsm8k/test.jsonl", lambda path: answers.plain_items(answers.gsm8k_golds(path), 4)),
}


def items(name):
    """The file of a set's items, made anew each time: it is a pure function of the data and a seed."""
    file, make = SETS[name]
    path = shared(file, *ELSEWHERE.get(name, ()))
    if path is None:
        return None
    out = WORK / f"verify-{name}.jsonl"
    with open(out, "w") as lines:
        for item in make(path):
            lines.write(json.dumps(item) + "\n")
    return out


def verify():
    """Three cases for each set: both kinds of errors and the speed, of one and the same run a side."""
    for name in SETS:
        path = items(name)
        if path is None:
            print(f"note: {name}: {SETS[name][0]} was not found; set RELIGN_DATA (RELIGN_GRADERS, RELIGN_CASES)", file=sys.stderr)
            continue
        count = sum(1 for _ in open(path))

        @functools.lru_cache(maxsize=None)
        def ours(_, path=path):
            return run([RELIGN, "measure", "verify", path, "--json"])

        @functools.lru_cache(maxsize=None)
        def theirs(_, path=path):
            return peer("math_verify_answers.py", path)

        for what, unit, more in (
            ("false_positives", "errors", False),
            ("false_negatives", "errors", False),
            ("rate", "answers/s", True),
        ):
            turns = {"ours": 0, "theirs": 0}

            def side(which, measure, what=what, turns=turns):
                turns[which] += 1
                result = measure(turns[which])
                return {"value": result[what], "rss_gb": result["rss_gb"], "facts": {"items": result["items"]}}

            yield Case(
                name=f"{name} {what.replace('_', ' ')} of {count}",
                unit=unit,
                ours=functools.partial(side, "ours", ours),
                peers=[Peer("math-verify", version("math-verify"), functools.partial(side, "theirs", theirs))],
                more_is_better=more,
            )
