"""Holds a folder that RELIGN wrote from a GGUF file against the libraries that will read it.

    python crates/model/scripts/check_saved.py FOLDER FILE.gguf

transformers must load model and tokenizer; the weights must equal what gguf-py decodes (through
transformers' own import of GGUF files); logits must correlate with those of llama.cpp on the file.
"""

import sys
from pathlib import Path

import llama_cpp
import numpy as np
import torch
import transformers


def main():
    folder, file = sys.argv[1], Path(sys.argv[2])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model, report = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not any(report.values()), report
    imported = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    theirs = imported.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name
    print(f"{len(theirs)} tensors equal transformers' own import of {file.name}")

    llama = llama_cpp.Llama(str(file), n_ctx=512, logits_all=True, verbose=False)
    for question in ("What is the capital of France?", "What is 3 + 4?", "Write a haiku about rivers."):
        conversation = [{"role": "user", "content": question}]
        ids = tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=False)
        with torch.no_grad():
            ours = model(torch.tensor([ids])).logits[0].numpy()
        llama.reset()
        llama.eval(ids)
        likeness = min(np.corrcoef(a, b)[0, 1] for a, b in zip(ours, llama.scores[: len(ids)], strict=True))
        print(f"{question}: logits correlate with llama.cpp's by at least {likeness:.4f} over {len(ids)} tokens")
        # llama.cpp rounds activations to 8 bits, so equal it cannot be.
        assert likeness > 0.99


main()
