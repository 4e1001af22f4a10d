"""Tiny random checkpoints of every family, and logits and gradients by transformers.

    python crates/model/scripts/families.py

Writes tests/fixtures/tiny-FAMILY for the families that tiny.py does not make, and for all of them
tests/fixtures/families.json: per family and variant the changes to its config.json, logits of some
sequences, and of the family itself gradients. A variant changes settings, not weights; `tensors` are
weights that it has besides. Run tiny.py first.
"""

import json
import shutil
import tempfile
from pathlib import Path

import common
import safetensors.torch
import torch
import transformers

SHAPE = {
    "vocab_size": 128, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "bos_token_id": 1,
    "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
LONGROPE = {
    "rope_type": "longrope", "short_factor": [1.0, 1.25, 1.5], "long_factor": [1.5, 3.0, 6.0],
    "original_max_position_embeddings": 32, "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
}  # fmt: skip
MADE = {
    "mistral": transformers.MistralConfig(**SHAPE, head_dim=16, sliding_window=12, rope_theta=10000.0),
    "qwen3": transformers.Qwen3Config(**SHAPE, head_dim=16, attention_bias=True, rope_theta=1000000.0),
    "gemma3_text": transformers.Gemma3TextConfig(
        **{**SHAPE, "num_hidden_layers": 3, "num_key_value_heads": 1},
        head_dim=12, sliding_window=10, query_pre_attn_scalar=20,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "phi3": transformers.Phi3Config(
        **{**SHAPE, "original_max_position_embeddings": 32}, rope_parameters=LONGROPE, tie_word_embeddings=False
    ),
    "olmo2": transformers.Olmo2Config(**SHAPE, rope_theta=500000.0),
}  # fmt: skip

PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
BIASES = {"q_proj": 64, "k_proj": 32, "v_proj": 32, "o_proj": 32, "gate_proj": 64, "up_proj": 64, "down_proj": 32}


def biases():
    """The biases that tiny-llama does not have."""
    generator = torch.Generator().manual_seed(5)
    names = [f"model.layers.{i}.{'mlp' if p[0] in 'gud' else 'self_attn'}.{p}.bias" for i in range(2) for p in BIASES]
    sizes = [BIASES[name.split(".")[-2]] for name in names]
    draw = lambda size: (torch.randint(-32, 33, (size,), generator=generator) / 64).tolist()  # noqa: E731
    return {name: draw(size) for name, size in zip(names, sizes, strict=True)}


# What changes in config.json; None takes a word away, "null" writes null.
VARIANTS = {
    "llama": {
        "llama3": {"rope_parameters": {
            "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }},
        "linear, older words": {"rope_parameters": None, "rope_theta": 5000.0, "rope_scaling": {"type": "linear", "factor": 2.5}},
        "yarn": {"rope_parameters": {
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32,
        }},
        "yarn with a factor of attention": {"rope_parameters": {
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16,
            "attention_factor": 1.5, "beta_fast": 8.0, "beta_slow": 2.0,
        }},
        "yarn with mscale": {"rope_parameters": {
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32,
            "mscale": 1.0, "mscale_all_dim": 0.5, "truncate": False,
        }},
        "tied": {"tie_word_embeddings": True},
        "biased": {"attention_bias": True, "mlp_bias": True},
    },
    "mistral": {"no window": {"sliding_window": "null"}, "the usual window": {"sliding_window": None}},
    "qwen2": {
        "window": {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1, "layer_types": None},
        "window in every layer": {
            "use_sliding_window": True, "sliding_window": 20, "layer_types": ["sliding_attention", "sliding_attention"],
        },
        "yarn, older words": {
            "rope_parameters": None, "rope_theta": 1000000.0,
            "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
        },
    },
    "qwen3": {
        "tied": {"tie_word_embeddings": True},
        "window": {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1, "layer_types": None},
    },
    "gemma3_text": {
        "older words": {
            "rope_parameters": None, "rope_theta": 20000.0, "rope_local_base_freq": 5000.0, "layer_types": None,
            "sliding_window_pattern": 2, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        },
    },
    "phi3": {
        "longer than its original context": {},
        "no scaling, window": {"rope_parameters": PLAIN, "sliding_window": 11},
        "longrope, older words": {
            "rope_parameters": None, "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
            "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.25, 1.5], "long_factor": [1.5, 3.0, 6.0]},
        },
    },
    "olmo2": {"linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 500000.0, "factor": 2.0}}},
}  # fmt: skip


def make(family, seed):
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(MADE[family]).float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            middle = 1.0 if "norm" in name and family != "gemma3_text" else 0.0
            spread = 0.5 if "embed" in name and family != "gemma3_text" else 0.2
            parameter.normal_(middle, spread)
            # Values that bf16 and f16 both hold, so that every file has the same weights.
            parameter.copy_(parameter.clamp(-8, 8).bfloat16().half().bfloat16())
    folder = common.FIXTURES / f"tiny-{family}"
    shutil.rmtree(folder, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)


def figures(x, digits=6):
    return [float(f"{v:.{digits}g}") for v in torch.as_tensor(x).double().flatten().tolist()]


def load(family, changes, tensors):
    folder = common.FIXTURES / f"tiny-{family}"
    with tempfile.TemporaryDirectory() as changed:
        for file in folder.iterdir():
            shutil.copy(file, changed)
        config = json.loads((folder / "config.json").read_text())
        for key, value in changes.items():
            config.pop(key, None)
            if value is not None:
                config[key] = None if value == "null" else value
        (Path(changed) / "config.json").write_text(json.dumps(config))
        if tensors or changes.get("tie_word_embeddings"):
            extra = {name: torch.tensor(values) for name, values in tensors.items()}
            file = Path(changed) / "model.safetensors"
            weights = {**safetensors.torch.load_file(file), **extra}
            if changes.get("tie_word_embeddings"):
                # transformers would not tie two matrices that differ.
                del weights["lm_head.weight"]
            safetensors.torch.save_file(weights, file, {"format": "pt"})
        options = {"dtype": torch.float32, "attn_implementation": "eager", "output_loading_info": True}
        model, report = transformers.AutoModelForCausalLM.from_pretrained(changed, **options)
        assert not report["missing_keys"] and not report["mismatched_keys"], report
        assert not report["unexpected_keys"], report
        return model.eval()


def logits(model, rows):
    cases = []
    for row in rows:
        with torch.no_grad():
            values = model(torch.tensor([row]), use_cache=False).logits[0]
        cases.append({"ids": row, "last": figures(values[-1][::4]), "logsumexp": figures(values.logsumexp(-1))})
    return cases


def gradients(model, ids, weights):
    row = torch.tensor(ids)
    logp = model(row[None], use_cache=False).logits[0, :-1].log_softmax(-1)
    loss = (logp.gather(1, row[1:, None])[:, 0] * torch.tensor(weights)).sum()
    loss.backward()
    found = {}
    for name, parameter in model.named_parameters():
        flat = parameter.grad.double().flatten()
        at = [(len(flat) - 1) * i // 7 for i in range(8)]
        found[name] = {"norm": figures(flat.norm())[0], "at": figures(flat[at])}
    return {"loss": figures(loss)[0], "gradients": found}


def main():
    for seed, family in enumerate(MADE):
        make(family, 10 + seed)
    generator = torch.Generator().manual_seed(33)
    # Not the padding token, whose gradient transformers leaves out.
    draw = lambda n: torch.randint(3, 128, (n,), generator=generator).tolist()  # noqa: E731
    rows = [draw(2), draw(31), draw(53)]
    ids = draw(90)
    weights = figures(torch.randn(89, generator=generator), 4)
    families = {}
    for family, variants in VARIANTS.items():
        found = []
        for name, changes in {"": {}, **variants}.items():
            tensors = biases() if name == "biased" else {}
            model = load(family, changes, tensors)
            # Phi-3's original context is 32 tokens; longer sequences have a variant of their own.
            longer = "longer" in name
            within = [row for row in rows if (len(row) > 32) == longer] if family == "phi3" and "no scaling" not in name else rows
            case = {"name": name, "changes": changes, "context": 256 if longer else 0, "logits": logits(model, within)}
            if name == "biased":
                case["tensors"] = tensors
            if not name:
                case.update(gradients(model, ids[:32] if family == "phi3" else ids, weights[:31] if family == "phi3" else weights))
            found.append(case)
        families[family] = found
    reference = f"transformers {transformers.__version__}, torch {torch.__version__}"
    common.write("families.json", {"reference": reference, "ids": ids, "weights": weights, "families": families}, compact=True)


main()
