"""A Hugging Face folder of the Llama kind as a GGUF file: `gguf_model.py MODEL_DIR f32|f16|bf16|q8_0|q4_0 OUT.gguf`.

The weights are those of the folder; the quantised kinds are made of them by llama.cpp's own quantiser.
The tokenizer is carried along without its kinds of tokens, for nothing is tokenised.
"""

import json
import os
import pathlib
import sys

import gguf
import numpy as np
from safetensors.numpy import load_file

folder, kind, out = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
config = json.loads((folder / "config.json").read_text())
heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
QUANTISED = {"q8_0": gguf.LlamaFileType.MOSTLY_Q8_0, "q4_0": gguf.LlamaFileType.MOSTLY_Q4_0}


def rotated(weight, heads):
    """llama.cpp turns neighbouring numbers of a head together, transformers those of its two halves."""
    return weight.reshape(heads, 2, -1, weight.shape[-1]).swapaxes(1, 2).reshape(weight.shape)


def write(kind, path):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    tokenizer = json.loads((folder / "tokenizer.json").read_text())["model"]
    names = {id: token for token, id in tokenizer["vocab"].items()}
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([names.get(id, f"<{id}>") for id in range(config["vocab_size"])])
    writer.add_token_types([gguf.TokenType.NORMAL] * config["vocab_size"])
    writer.add_token_merges(merges)
    writer.add_file_type(getattr(gguf.LlamaFileType, "ALL_F32" if kind == "f32" else f"MOSTLY_{kind.upper()}"))
    map = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    stored = getattr(gguf.GGMLQuantizationType, kind.upper())
    for name, weight in load_file(folder / "model.safetensors").items():
        if name.endswith("q_proj.weight"):
            weight = rotated(weight, heads)
        if name.endswith("k_proj.weight"):
            weight = rotated(weight, kv_heads)
        # As llama.cpp's own converter: vectors stay f32.
        type = stored if weight.ndim > 1 else gguf.GGMLQuantizationType.F32
        weight = gguf.quants.quantize(np.ascontiguousarray(weight, dtype=np.float32), type)
        writer.add_tensor(map.get_name(name, try_suffixes=(".weight", ".bias")), weight, raw_dtype=type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


part = out.with_suffix(".part")
if kind in QUANTISED:
    import llama_cpp

    whole = out.with_suffix(".f32")
    write("f32", whole)
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = int(QUANTISED[kind])
    if llama_cpp.llama_model_quantize(str(whole).encode(), str(part).encode(), params) != 0:
        sys.exit(f"llama.cpp could not quantise {whole} to {kind}")
    whole.unlink()
else:
    write(kind, part)
os.rename(part, out)
print(json.dumps({"file": str(out), "bytes": out.stat().st_size}))
