"""PEFT adapters on the tiny checkpoints and the logits that PEFT gives: tests/fixtures/tiny-lora*, lora.json.

    python crates/model/scripts/lora.py

Needs `peft` besides the packages of the other scripts. tiny-lora: tiny-llama, rank-stabilised, ranks and
alphas by pattern, an output matrix in `modules_to_save`. tiny-lora-tied: tiny-qwen2, whose tied embedding
and output matrix get adapters of their own, and whose biases are trained along.
"""

import json
import shutil

import common
import peft
import torch
import transformers

IDS = [1, 77, 98, 5, 33, 60, 2, 100, 121]
CASES = {
    "tiny-lora": (
        "tiny-llama",
        {
            "r": 4, "lora_alpha": 6, "use_rslora": True, "target_modules": "all-linear", "exclude_modules": ["lm_head"],
            "rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\.down_proj": 3}, "alpha_pattern": {"v_proj": 11},
            "modules_to_save": ["lm_head"],
        },
    ),
    "tiny-lora-tied": (
        "tiny-qwen2",
        {"r": 2, "lora_alpha": 5, "target_modules": ["embed_tokens", "lm_head", "k_proj"], "bias": "lora_only"},
    ),
}  # fmt: skip


def main():
    out = {}
    for name, (base, settings) in CASES.items():
        torch.manual_seed(len(name))
        model = transformers.AutoModelForCausalLM.from_pretrained(common.FIXTURES / base, dtype=torch.float32)
        model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **settings))
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * (0.02 if "lora_" not in parameter_name else 0.3))
                    parameter.copy_(parameter.bfloat16().float())
        model.eval()
        with torch.no_grad():
            logits = model(torch.tensor([IDS])).logits[0]
        folder = common.FIXTURES / name
        shutil.rmtree(folder, ignore_errors=True)
        model.peft_config["default"].base_model_name_or_path = f"../{base}"
        model.to(torch.bfloat16).save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)
        config = folder / "adapter_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()), indent=1) + "\n")
        out[name] = {"base": base, "ids": IDS, "last": [round(x, 5) for x in logits[-1].tolist()],
                     "logsumexp": [round(x, 5) for x in logits.logsumexp(-1).tolist()]}  # fmt: skip
    common.write("lora.json", {"reference": f"peft {peft.__version__}, transformers {transformers.__version__}", "cases": out})


main()
