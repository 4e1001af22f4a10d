"""Tiny GGUF files of every architecture, and what llama.cpp and transformers make of them.

    python crates/model/scripts/architectures.py

Writes tests/fixtures/tiny-ARCHITECTURE.gguf with the weights of the tiny checkpoints, named by gguf-py and
changed as llama.cpp's converter changes them, tests/fixtures/pieces.gguf (a SentencePiece vocabulary
without a model) and tests/fixtures/architectures.json: logits by transformers, which llama.cpp's must
resemble, and tokens by llama.cpp. Run families.py first.
"""

import json
import math

import common
import gguf
import llama_cpp
import numpy as np
import tokenizers
import torch
import transformers

LETTERS = [chr(code) for code in range(33, 127)]
VOCAB = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *LETTERS, "ab", *(f"<{i}>" for i in range(30))]
assert len(VOCAB) == 128

# Per architecture: the tiny checkpoint, changes to its config, and gguf-py's name of the architecture.
FILES = {
    "llama3": ("llama", {"rope_parameters": {
        "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }}, gguf.MODEL_ARCH.LLAMA),
    "qwen3": ("qwen3", {"attention_bias": False}, gguf.MODEL_ARCH.QWEN3),
    # llama.cpp knows one pattern of layers, every sixth without a window, and the head's own width as scale.
    "gemma3": ("gemma3_text", {"layer_types": ["sliding_attention"] * 3, "query_pre_attn_scalar": 12}, gguf.MODEL_ARCH.GEMMA3),
    "phi3": ("phi3", {}, gguf.MODEL_ARCH.PHI3),
    "olmo2": ("olmo2", {}, gguf.MODEL_ARCH.OLMO2),
}  # fmt: skip


def load(family, changes):
    folder = common.FIXTURES / f"tiny-{family}"
    config = json.loads((folder / "config.json").read_text())
    config = transformers.AutoConfig.for_model(**{**config, **changes})
    options = {"dtype": torch.float32, "attn_implementation": "eager", "config": config}
    return transformers.AutoModelForCausalLM.from_pretrained(folder, **options).eval()


def vocabulary(writer):
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(VOCAB)
    writer.add_token_types([3] * 3 + [1] * (len(VOCAB) - 3))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)


def write(model, arch, path):
    c = model.config
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    rope = c.rope_parameters.get("full_attention", c.rope_parameters)
    name = gguf.MODEL_ARCH_NAMES[arch]
    writer = gguf.GGUFWriter(path, name)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    if name != "phi3":
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(int(head_dim * rope.get("partial_rotary_factor", 1.0)))
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_vocab_size(c.vocab_size)
    if name in ("gemma3", "phi3"):
        writer.add_sliding_window(c.sliding_window or 0)
    vocabulary(writer)
    if rope["rope_type"] == "longrope":
        original = rope["original_max_position_embeddings"]
        scale = c.max_position_embeddings / original
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(original)))
        writer.add_tensor("rope_factors_long.weight", np.array(rope["long_factor"], dtype=np.float32))
        writer.add_tensor("rope_factors_short.weight", np.array(rope["short_factor"], dtype=np.float32))
    if rope["rope_type"] == "llama3":
        plain = 1.0 / rope["rope_theta"] ** (np.arange(0, head_dim, 2) / head_dim)
        scaled = model.model.rotary_emb.inv_freq.numpy()
        writer.add_tensor("rope_freqs.weight", (plain / scaled).astype(np.float32))
    names = gguf.get_tensor_name_map(arch, c.num_hidden_layers)
    for key, tensor in model.state_dict().items():
        if key == "lm_head.weight" and c.tie_word_embeddings:
            continue
        data = tensor.float().numpy()
        if name == "llama":
            for module, heads in (("q_proj", c.num_attention_heads), ("k_proj", c.num_key_value_heads)):
                if module in key:
                    data = data.reshape(heads, 2, -1, data.shape[1]).swapaxes(1, 2).reshape(data.shape)
        if name == "gemma3" and key.endswith("norm.weight"):
            data = data + 1
        data = data if data.ndim == 1 else data.astype(np.float16)
        writer.add_tensor(names.get_name(key, try_suffixes=(".weight", ".bias")), np.ascontiguousarray(data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def figures(x):
    return [float(f"{v:.7g}") for v in x.double().flatten().tolist()]


def pieces(path):
    """A SentencePiece vocabulary learnt from the sample texts: bytes, letters, merges by rank, and words by decree."""
    sample = common.sample()
    learner = tokenizers.Tokenizer(tokenizers.models.BPE())
    learner.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    learner.pre_tokenizer = tokenizers.pre_tokenizers.Split("▁", "merged_with_next")
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=900, limit_alphabet=250, show_progress=False)
    # llama.cpp takes tokens with the names of end tokens for such, whatever their kind.
    learner.train_from_iterator([text for text in sample if "<" not in text] * 3, trainer)
    model = json.loads(learner.to_str())["model"]
    merged = ["".join(merge) for merge in model["merges"]]
    letters = sorted(set(model["vocab"]) - set(merged))
    decreed = ["<tool>", "   ", "\n\n"]
    control = ["<unk>", "<s>", "</s>"]
    rows = [(t, 0.0, 2 if t == "<unk>" else 3) for t in control] + [(f"<0x{b:02X}>", 0.0, 6) for b in range(256)]
    rows += [(t, 0.0, 4) for t in decreed]
    seen = {row[0] for row in rows}
    words = [t for t in dict.fromkeys(merged + letters) if t not in seen]
    rows += [(t, -float(rank), 1) for rank, t in enumerate(words)]
    writer = gguf.GGUFWriter(path, "llama")
    for add, value in (
        (writer.add_block_count, 1), (writer.add_context_length, 64), (writer.add_embedding_length, 8),
        (writer.add_feed_forward_length, 8), (writer.add_head_count, 1), (writer.add_layer_norm_rms_eps, 1e-5),
    ):  # fmt: skip
        add(value)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([t for t, _, _ in rows])
    writer.add_token_scores([s for _, s, _ in rows])
    writer.add_token_types([k for _, _, k in rows])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(True)
    writer.add_tensor("token_embd.weight", np.zeros((len(rows), 8), dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    llama = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    encode = lambda text, special: llama.tokenize(text.encode(), add_bos=False, special=special) if text else []  # noqa: E731
    texts = [*sample, "a<tool>b    c\n\n\nd", " leading", "<s>x</s> y"]
    return {"texts": texts[len(sample) :], **{
        f"tokens_{name}": [common.fnv([encode(text, special)]) for text in texts]
        for name, special in (("plain", False), ("special", True))
    }}  # fmt: skip


def main():
    # llama.cpp takes LongRoPE's long factors in any context it makes, transformers beyond 32 tokens here:
    # the two are compared on all ids, the fixture has the logits of the first 30.
    ids = torch.randint(3, 128, (40,), generator=torch.Generator().manual_seed(3)).tolist()
    files = {}
    for file, (family, changes, arch) in FILES.items():
        model = load(family, changes)
        path = common.FIXTURES / f"tiny-{file}.gguf"
        write(model, arch, path)
        with torch.no_grad():
            logits = model(torch.tensor([ids]), use_cache=False).logits[0]
            first = model(torch.tensor([ids[:30]]), use_cache=False).logits[0]
        llama = llama_cpp.Llama(str(path), n_ctx=64, logits_all=True, verbose=False)
        llama.eval(ids)
        # llama.cpp keeps f16 in its cache, hence the wide margin; a wrong order of rows is off by far more.
        gap = np.abs(llama.scores[: len(ids)] - logits.numpy()).max()
        print(f"{file}: llama.cpp's logits differ from transformers' by at most {gap:.4f} of {logits.abs().max():.1f}")
        assert gap < 0.02 * logits.abs().max(), file
        files[file] = {"last": figures(first[-1][::4]), "logsumexp": figures(first.logsumexp(-1))}
    reference = f"transformers {transformers.__version__}, llama-cpp-python {llama_cpp.__version__}"
    tokens = pieces(common.FIXTURES / "pieces.gguf")
    common.write("architectures.json", {"reference": reference, "ids": ids[:30], "files": files, "pieces": tokens})


main()
