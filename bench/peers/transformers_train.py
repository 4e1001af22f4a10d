"""Forward and backward tokens per second by transformers: `transformers_train.py MODEL_DIR DTYPE SEQUENCES LENGTH`."""

import json
import resource
import sys
import time

import torch
from transformers import AutoModelForCausalLM

model_dir, dtype, sequences, length = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
kind = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=kind)
model.train()
tokens = torch.randint(10, 40000, (sequences, length), generator=torch.Generator().manual_seed(1))
seconds = []
for step in range(4):
    start = time.perf_counter()
    model(input_ids=tokens, labels=tokens).loss.backward()
    model.zero_grad(set_to_none=True)
    if step > 0:
        seconds.append(time.perf_counter() - start)
seconds.sort()
print(
    json.dumps(
        {
            "rate": sequences * length / seconds[len(seconds) // 2],
            "rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        }
    )
)
