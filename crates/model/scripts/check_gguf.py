"""Holds a GGUF file that RELIGN wrote against llama.cpp: it loads, and says what a folder's model says.

    relign convert smollm2 --out /tmp/m.gguf --type f16; relign convert smollm2 --out /tmp/m --type f32
    python crates/model/scripts/check_gguf.py /tmp/m.gguf /tmp/m

Compares llama.cpp's logits for a chat with transformers' on the folder, and the tokens and the rendered
template; prints the greatest distance and whether the most likely tokens agree.
"""

import sys

import llama_cpp
import numpy as np
import torch
import transformers

CONVERSATION = [{"role": "user", "content": "What is 17 + 25? It's naïve, 你好 🙂!"}]


def main():
    file, folder = sys.argv[1:]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(CONVERSATION, tokenize=False, add_generation_prompt=True)
    ids = tokenizer.encode(text, add_special_tokens=False)
    llama = llama_cpp.Llama(file, n_ctx=512, logits_all=True, verbose=False)
    assert llama.tokenize(text.encode(), add_bos=False, special=True) == ids, "tokens differ"
    assert llama.metadata["tokenizer.chat_template"] == tokenizer.chat_template, "templates differ"
    assert llama.token_eos() == tokenizer.eos_token_id
    llama.eval(ids)
    got = llama.scores[: len(ids)]
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    gap = np.abs(got[:, : expected.shape[1]] - expected).max()
    same = (got.argmax(-1) == expected.argmax(-1)).mean()
    print(f"{len(ids)} tokens: logits differ by at most {gap:.4f} (they reach {np.abs(expected).max():.1f}), {same:.0%} of the most likely tokens agree")


main()
