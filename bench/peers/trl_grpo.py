"""One GRPO step by TRL, as shipped or at its best settings.

Prints a line of JSON: seconds of each step after the first, generated tokens per sample, peak memory.
Run by `bench/bench.py`; by hand: `.x/peers/bin/python bench/peers/trl_grpo.py MODEL_DIR PROMPTS.jsonl [--best] [--dtype bf16] [--batch 32]`.
"""

import argparse
import json
import resource
import time

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("prompts")
parser.add_argument("--best", action="store_true", help="no activation recomputation, the dtype given")
parser.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
parser.add_argument("--batch", type=int, default=8, help="samples forwarded together; the step always has 32")
parser.add_argument("--steps", type=int, default=2)
args = parser.parse_args()

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

rows = [json.loads(line) for line in open(args.prompts)] * args.steps
data = Dataset.from_list([{"prompt": row["messages"]} for row in rows])
tokenizer = AutoTokenizer.from_pretrained(args.model)
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
lengths = []


def brevity(completions, completion_ids, **_):
    lengths.extend(len(ids) for ids in completion_ids)
    return [1.0 - min(len(c[0]["content"]), 2000) / 2000 for c in completions]


class Clock(TrainerCallback):
    seconds = []

    def on_step_begin(self, *_args, **_kwargs):
        self.start = time.perf_counter()

    def on_step_end(self, *_args, **_kwargs):
        self.seconds.append(time.perf_counter() - self.start)


options = dict(
    output_dir="/tmp/relign-bench-trl",
    use_cpu=True,
    per_device_train_batch_size=args.batch,
    gradient_accumulation_steps=32 // args.batch,
    num_generations=8,
    max_completion_length=128,
    temperature=1.0,
    learning_rate=1e-6,
    max_steps=args.steps,
    save_strategy="no",
    report_to="none",
    logging_strategy="no",
    disable_tqdm=True,
    shuffle_dataset=False,
    bf16=False,
    # Every completion has 128 tokens: the same work for both sides.
    generation_kwargs={"min_new_tokens": 128},
)
if args.best:
    options |= dict(gradient_checkpointing=False, bf16=args.dtype == "bf16")
config = GRPOConfig(**options)
clock = Clock()
trainer = GRPOTrainer(
    model=model, reward_funcs=brevity, args=config, train_dataset=data, processing_class=tokenizer, callbacks=[clock]
)
trainer.train()
print(
    json.dumps(
        {
            "seconds": clock.seconds[1:],
            "tokens_per_sample": sum(lengths) / max(1, len(lengths)),
            "rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        }
    )
)
