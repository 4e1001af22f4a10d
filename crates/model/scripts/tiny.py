"""Tiny random checkpoints of both families and what transformers makes of them.

    python crates/model/scripts/tiny.py

Writes tests/fixtures/tiny-llama (one file, an output matrix of its own), tests/fixtures/tiny-qwen2
(shards, tied), tests/fixtures/tiny-llama.gguf (the same weights as tiny-llama) and
tests/fixtures/tiny.json: logits by transformers, tokens and templates by transformers and llama.cpp.
"""

import shutil

import common
import gguf
import llama_cpp
import numpy as np
import tokenizers
import torch
import transformers

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LETTERS = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ"]
MERGES = (
    "Ġ t|h e|Ġt he|i n|e r|a n|Ġ a|o n|r e|Ġ s|i s|o u|Ġ w|a t|Ġ m|an d|Ġ and|in g|Ġ o|Ġo f|h a|l l|"
    "Ġ Ġ|Ċ Ċ|' s|a s|t o|u s|e n"
).split("|")
VOCAB = SPECIALS + LETTERS + [merge.replace(" ", "") for merge in MERGES]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXTS = [
    "The answer is 1234 and the rest of it's 56.",
    "int main() {\n\n  return 0;\n}\n",
    "  two  spaces   three, 10 + 20 = 30; x9y",
    "<|im_start|>user\nhello<|im_end|>\n",
    "thethethe  inginging",
]
CONVERSATION = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "What is 3 + 4?"}]
SHAPE = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": len(VOCAB), "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip


def tokenizer():
    model = tokenizers.models.BPE({token: i for i, token in enumerate(VOCAB)}, [tuple(m.split(" ")) for m in MERGES])
    inner = tokenizers.Tokenizer(model)
    steps = [tokenizers.pre_tokenizers.Digits(True), tokenizers.pre_tokenizers.ByteLevel(False, use_regex=True)]
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(steps)
    inner.decoder = tokenizers.decoders.ByteLevel()
    inner.add_special_tokens(SPECIALS)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=SPECIALS[1], eos_token=SPECIALS[2], pad_token=SPECIALS[0], chat_template=TEMPLATE
    )


def build(family, seed):
    torch.manual_seed(seed)
    if family == "llama":
        config = transformers.LlamaConfig(**SHAPE, rope_theta=100000.0, tie_word_embeddings=False)
        model = transformers.LlamaForCausalLM(config)
    else:
        config = transformers.Qwen2Config(**SHAPE, rope_theta=1000000.0, tie_word_embeddings=True)
        model = transformers.Qwen2ForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.5 if "embed" in name else 0.2)
            # Values that bf16 and f16 both hold, so that every file has the same weights.
            parameter.copy_(parameter.clamp(-8, 8).bfloat16().half().bfloat16())
    return model.eval()


def write_gguf(model, path):
    writer = gguf.GGUFWriter(path, "llama")
    config = model.config
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(100000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(VOCAB)
    writer.add_token_types([3] * len(SPECIALS) + [1] * (len(VOCAB) - len(SPECIALS)))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        data = tensor.float().numpy()
        for module, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
            if module in name:
                data = data.reshape(heads, 2, -1, data.shape[1]).swapaxes(1, 2).reshape(data.shape)
        data = data if data.ndim == 1 else data.astype(np.float16)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), np.ascontiguousarray(data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    fast = tokenizer()
    ids = [[1], list(range(5, 69)), fast.encode(TEXTS[0]), fast.apply_chat_template(CONVERSATION, return_dict=False)]
    models = {}
    for seed, family in enumerate(("llama", "qwen2")):
        model = build(family, seed)
        folder = common.FIXTURES / f"tiny-{family}"
        shutil.rmtree(folder, ignore_errors=True)
        model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="30KB" if family == "qwen2" else "1GB")
        fast.save_pretrained(folder)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.no_grad():
            logits = [model(torch.tensor([row])).logits[0] for row in ids]
        models[family] = [
            {
                "ids": row,
                "last": [round(x, 5) for x in values[-1].tolist()],
                "logsumexp": [round(x, 5) for x in values.logsumexp(-1).tolist()],
                "next": [round(values[i, row[i + 1]].item(), 5) for i in range(len(row) - 1)],
            }
            for row, values in zip(ids, logits, strict=True)
        ]
        if family == "llama":
            path = common.FIXTURES / "tiny-llama.gguf"
            write_gguf(model, path)
            llama = llama_cpp.Llama(str(path), n_ctx=128, logits_all=True, verbose=False)
            llama.eval(ids[1])
            # llama.cpp keeps f16 in its cache, hence the wide margin; a wrong order of rows is off by far more.
            gap = np.abs(llama.scores[: len(ids[1])] - logits[1].numpy()).max()
            assert gap < 0.05, gap
            print(f"llama.cpp's logits differ from transformers' by at most {gap:.4f}")
            tokens = [llama.tokenize(text.encode(), add_bos=False, special=False) for text in TEXTS]
            special = [llama.tokenize(text.encode(), add_bos=False, special=True) for text in TEXTS]
            assert special == [fast.encode(text) for text in TEXTS]
    common.write(
        "tiny.json",
        {
            "reference": f"transformers {transformers.__version__}, llama-cpp-python {llama_cpp.__version__}",
            "texts": TEXTS,
            "tokens_plain": tokens,
            "tokens_special": special,
            "conversation": CONVERSATION,
            "rendered": fast.apply_chat_template(CONVERSATION, tokenize=False, add_generation_prompt=True),
            "logits": models,
        },
    )


main()
