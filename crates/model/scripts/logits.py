"""Logits of a real model by transformers in f32: tests/fixtures/logits-NAME.json.

    python crates/model/scripts/logits.py smollm2 FOLDER
    python crates/model/scripts/logits.py gemma3

FOLDER is what RELIGN wrote from the GGUF file (see tokens.py), so both have the same weights. Without one
the model is transformers' own import of the file, and a base model: prompts are plain text in llama.cpp's tokens.
"""

import sys

import common
import torch
import transformers

PROMPTS = [
    "What is 17 + 25?",
    "Natalia sold clips to 48 friends in April, and half as many in May. How many did she sell altogether?",
    "def fib(n):\n    \"\"\"The n-th Fibonacci number.\"\"\"\n    a, b = 0, 1\n    for _ in range(n):\n",
    "数学は楽しい。Сколько будет семью восемь? 👍🏽 " + "The derivative of x^2 is 2x. " * 24,
]


def chat(folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def encode(prompt):
        conversation = [{"role": "user", "content": prompt}]
        return tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=False)

    return encode, transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def base(file):
    import llama_cpp

    llama = llama_cpp.Llama(str(file), vocab_only=True, verbose=False)
    options = {"gguf_file": file.name, "dtype": torch.float32}
    model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, **options).eval()
    return lambda prompt: llama.tokenize((prompt + "\n\n").encode(), add_bos=True, special=True), model


def main():
    name, *rest = sys.argv[1:]
    if rest:
        sys.argv[2] = "FOLDER"
        encode, model = chat(rest[0])
    else:
        encode, model = base(common.model(name))
    cases = []
    for prompt in PROMPTS:
        ids = encode(prompt)
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].double()
        top = logits[-1].topk(8)
        following = logits.log_softmax(-1)[range(len(ids) - 1), ids[1:]]
        cases.append(
            {
                "prompt": prompt,
                "tokens": len(ids),
                "ids": common.fnv([ids]),
                "top": [[i, round(x, 4)] for i, x in zip(top.indices.tolist(), top.values.tolist(), strict=True)],
                "mean": round(logits[-1].mean().item(), 5),
                "std": round(logits[-1].std().item(), 5),
                "logprobs": [round(x, 4) for x in following[-32:].tolist()],
                "logprob_sum": round(following.sum().item(), 3),
            }
        )
    common.write(
        f"logits-{name}.json",
        {"reference": f"transformers {transformers.__version__}, f32", "model": common.MODELS[name], "cases": cases},
    )


main()
