"""Holds GGUF files that RELIGN writes of every family against llama.cpp and transformers.

    cargo build --release -p relign
    python crates/model/scripts/check_written.py target/release/relign

Per family a tiny random checkpoint (tests/fixtures/tiny-FAMILY, with the tokenizer of tiny-llama) is converted
to each type; llama.cpp loads the file, and its logits must be transformers' within what the type rounds away.
"""

import ctypes
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import common
import llama_cpp
import numpy as np
import torch
import transformers

# Per family the changes that make it a model which llama.cpp knows, and how many tokens are compared.
FAMILIES = {
    "llama": ({}, 40),
    "mistral": ({}, 12),
    "qwen2": ({}, 40),
    "qwen3": ({"attention_bias": False}, 40),
    "gemma3_text": ({"layer_types": ["sliding_attention"] * 3, "query_pre_attn_scalar": 12}, 40),
    # llama.cpp takes the long factors whatever the length, transformers beyond the original 32 tokens.
    "phi3": ({}, 40),
    "olmo2": ({}, 40),
}
# Distance allowed, as a part of the largest logit.
TYPES = {"f32": 2e-4, "f16": 5e-3, "bf16": 3e-2, "q8_0": 3e-2, "q4_0": 0.6}


def folder(family, changes, to):
    source = common.FIXTURES / f"tiny-{family}"
    config = json.loads((source / "config.json").read_text())
    config = transformers.AutoConfig.for_model(**{**config, **changes})
    options = {"dtype": torch.float32, "attn_implementation": "eager", "config": config}
    model = transformers.AutoModelForCausalLM.from_pretrained(source, **options).eval()
    model.save_pretrained(to)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(common.FIXTURES / "tiny-llama" / name, to)
    return model


def llama_logits(file, ids):
    # Keys and values in f32, so that the file's own precision is seen.
    llama = llama_cpp.Llama(str(file), n_ctx=64, logits_all=True, verbose=False, type_k=0, type_v=0)
    llama.eval(ids)
    return np.array(llama.scores[: len(ids)])


def main():
    relign = sys.argv[1]
    llama_cpp.llama_log_set(llama_cpp.llama_log_callback(lambda *_: None), ctypes.c_void_p(0))
    ids = torch.randint(3, 128, (40,), generator=torch.Generator().manual_seed(3)).tolist()
    for family, (changes, length) in FAMILIES.items():
        with tempfile.TemporaryDirectory() as temporary:
            hf = Path(temporary) / "hf"
            model = folder(family, changes, hf)
            with torch.no_grad():
                expected = model(torch.tensor([ids[:length]]), use_cache=False).logits[0].numpy()
            most = np.abs(expected).max()
            for kind, allowed in TYPES.items():
                file = Path(temporary) / f"{kind}.gguf"
                subprocess.run([relign, "convert", hf, "--out", file, "--type", kind], check=True, capture_output=True)
                gap = np.abs(llama_logits(file, ids[:length])[:, : expected.shape[1]] - expected).max() / most
                print(f"{family:12} {kind:5} logits differ by {gap:.1e} of the largest")
                assert gap < allowed, (family, kind)


main()
