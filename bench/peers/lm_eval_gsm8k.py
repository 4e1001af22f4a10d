"""lm-evaluation-harness on the items of a results log: `lm_eval_gsm8k.py LOG.jsonl OUT.jsonl [--model DIR ...]`.

Its own task `gsm8k` with its own filters and metric; only the data (a local file), the prompt (word for word the log's)
and the limit of tokens are ours. With --model its `hf` backend answers, greedily; without one it judges the answers that
stand in the log. OUT has a line for each item: the prompt's text, the answer and the verdict of each filter.
"""

import argparse
import functools
import json
import logging
import os
import pathlib
import resource
import sys
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("log")
parser.add_argument("out")
parser.add_argument("--model")
parser.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--warm-up", action="store_true", help="answer once with 8 tokens each before the clock starts")
args = parser.parse_args()
cache = tempfile.TemporaryDirectory()
os.environ["HF_DATASETS_CACHE"] = cache.name

import lm_eval
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

logging.disable(logging.WARNING)
records = [json.loads(line) for line in open(args.log)]
header = next(record for record in records if record["kind"] == "header")
items = {record["task"]["id"]: record["task"] for record in records if record["kind"] == "item"}
answers = {record["item"]: record["text"] for record in records if record["kind"] == "sample"}
tokens = header["benchmark"]["sampling"]["max_tokens"]


def prompt(item):
    """What lm-eval is asked: the conversation as the model's chat template writes it."""
    if not args.model:
        return "\n\n".join(message["content"] for message in item["messages"])
    return tokenizer().apply_chat_template(item["messages"], tokenize=False, add_generation_prompt=True)


@functools.cache
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(args.model)


rows = pathlib.Path(cache.name) / "rows.jsonl"
with open(rows, "w") as out:
    for name, item in items.items():
        row = {"id": name, "prompt": prompt(item), "answer": item["facts"]["solution"], "said": answers.get(name, "")}
        out.write(json.dumps(row) + "\n")


class Said(LM):
    """Says what stands in the log."""

    def __init__(self):
        super().__init__()
        self.by_prompt = {prompt(item): answers[name] for name, item in items.items()}

    def generate_until(self, requests, disable_tqdm=False):
        return [self.by_prompt[request.args[0]] for request in requests]

    def loglikelihood(self, requests):
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


def task(max_tokens):
    return load_yaml(manager.task_index["gsm8k"].yaml_path, resolve_func=True) | {
        "task": "gsm8k_as_asked",
        "tag": None,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"test": str(rows)}},
        "training_split": None,
        "fewshot_split": None,
        "num_fewshot": 0,
        "doc_to_text": "{{prompt}}",
        # Ends where the model ends: at the end of its turn.
        "generation_kwargs": {"until": ["<|im_end|>"], "do_sample": False, "max_gen_toks": max_tokens},
    }


def evaluate(max_tokens):
    start = time.perf_counter()
    found = lm_eval.simple_evaluate(
        model=model, tasks=[task(max_tokens)], bootstrap_iters=0, task_manager=manager, log_samples=True,
    )  # fmt: skip
    return found, time.perf_counter() - start


manager = TaskManager()
if args.model:
    import torch
    from lm_eval.models.huggingface import HFLM

    kind = {"f32": torch.float32, "bf16": torch.bfloat16}[args.dtype]
    model = HFLM(pretrained=args.model, device="cpu", dtype=kind, batch_size=args.batch)
else:
    model = Said()
if args.warm_up:
    evaluate(8)
found, seconds = evaluate(tokens)
lines = {}
for sample in found["samples"]["gsm8k_as_asked"]:
    line = lines.setdefault(sample["doc"]["id"], {"id": sample["doc"]["id"]})
    line |= {"prompt": sample["arguments"][0][0], "text": sample["resps"][0][0]}
    line[sample["filter"]] = {"answer": sample["filtered_resps"][0], "right": bool(sample["exact_match"])}
with open(args.out, "w") as out:
    out.writelines(json.dumps(lines[name]) + "\n" for name in items)
print(
    json.dumps(
        {
            "items": len(items),
            "rate": len(items) / seconds,
            "seconds": seconds,
            "rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
            "dtype": args.dtype,
            "settings": f"hf backend, batch {args.batch}",
            "accuracy": {f: sum(line[f]["right"] for line in lines.values()) / len(items) for f in ("strict-match", "flexible-extract")},
        }
    )
)
