"""Answers judged by Math-Verify as its page shows: `math_verify_answers.py ITEMS.jsonl [--errors FILE]`.

Gold and answer are parsed for every item. One core; the first items are judged once before the clock runs.
"""

import argparse
import json
import logging
import resource
import time

from math_verify import parse, verify

logging.disable(logging.WARNING)
parser = argparse.ArgumentParser()
parser.add_argument("items")
parser.add_argument("--errors", help="write the misjudged items there")
args = parser.parse_args()

items = [json.loads(line) for line in open(args.items)]


def judge(item):
    return verify(parse(item["gold"]), parse(item["answer"]))


for item in items[:20]:
    judge(item)
start = time.perf_counter()
verdicts = [judge(item) for item in items]
seconds = time.perf_counter() - start
errors = [item for item, right in zip(items, verdicts) if right != item["equal"]]
if args.errors:
    with open(args.errors, "w") as out:
        out.writelines(json.dumps(item) + "\n" for item in errors)
print(
    json.dumps(
        {
            "items": len(items),
            "false_positives": sum(not item["equal"] for item in errors),
            "false_negatives": sum(item["equal"] for item in errors),
            "rate": len(items) / seconds,
            "rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        }
    )
)
