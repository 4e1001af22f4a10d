"""Generated tokens per second by transformers: `transformers_decode.py MODEL_DIR DTYPE SEQUENCES TOKENS`."""

import json
import resource
import sys
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

model_dir, dtype, sequences, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
kind = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=kind).eval()
tokenizer = AutoTokenizer.from_pretrained(model_dir)
prompt = tokenizer("Natalia sold clips to 48 of her friends in April, and then she sold half as many in May.")
inputs = torch.tensor([prompt["input_ids"]] * sequences)
mask = torch.ones_like(inputs)
options = dict(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, pad_token_id=0, attention_mask=mask)
with torch.inference_mode():
    model.generate(inputs, max_new_tokens=4, min_new_tokens=4, **options)
    start = time.perf_counter()
    model.generate(inputs, max_new_tokens=count, min_new_tokens=count, **options)
    seconds = time.perf_counter() - start
print(
    json.dumps(
        {
            "rate": sequences * count / seconds,
            "rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        }
    )
)
