"""tiny-qwen2 as a GGUF file in three parts, by gguf-py: tests/fixtures/tiny-split.

    python crates/model/scripts/split.py
"""

import shutil

import common
import gguf
import numpy as np
import transformers


def main():
    folder = common.FIXTURES / "tiny-split"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    model = transformers.AutoModelForCausalLM.from_pretrained(common.FIXTURES / "tiny-qwen2")
    config = model.config
    # 25 tensors, nine in a file.
    writer = gguf.GGUFWriter(folder / "tiny.gguf", "qwen2", split_max_tensors=9)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim if hasattr(config, "head_dim") else 16)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(1000000.0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        data = tensor.float().numpy()
        data = data if data.ndim == 1 else data.astype(np.float16)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), np.ascontiguousarray(data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
