"""Generation by transformers: see decode_args.py for the command line."""

import decode_args

parser = decode_args.parser(__doc__)
parser.add_argument("--batch", type=int, default=64, help="sequences in one call of generate")
parser.add_argument("--attention", default="sdpa", choices=["sdpa", "eager"])
parser.add_argument("--cache", default="dynamic", choices=["dynamic", "static", "compiled", "paged"])
args = parser.parse_args()

import torch
from transformers import AutoModelForCausalLM, CompileConfig, GenerationConfig

kind = {"f32": torch.float32, "bf16": torch.bfloat16}[args.dtype]
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=kind, attn_implementation=args.attention).eval()
ends = decode_args.end_tokens(args.model)
pad = min(ends)
torch.manual_seed(args.seed)
options = dict(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, pad_token_id=pad, eos_token_id=sorted(ends))
if args.cache in ("static", "compiled"):
    options |= dict(cache_implementation="static")
if args.cache == "compiled":
    options |= dict(compile_config=CompileConfig(fullgraph=False))
    options["compile_config"]._compile_all_devices = True


def cut(tokens):
    """Without what stands after the end token."""
    end = next((at for at, token in enumerate(tokens) if token in ends), len(tokens) - 1)
    return tokens[: end + 1]


def one_batch(prompts, max_tokens):
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    out = model.generate(ids, attention_mask=mask, max_new_tokens=max_tokens, **options)
    return [cut(row) for row in out[:, width:].tolist()]


def static(prompts, max_tokens):
    size = min(args.sequences, args.batch)
    return [answer for at in range(0, len(prompts), size) for answer in one_batch(prompts[at : at + size], max_tokens)]


def paged(prompts, max_tokens):
    """Continuous batching."""
    config = GenerationConfig(max_new_tokens=max_tokens, **options)
    out = model.generate_batch(prompts, generation_config=config, warmup=False)
    return [answer.generated_tokens for answer in out.values()]


with torch.inference_mode():
    settings = f"{args.cache} cache, {args.attention}, {min(args.sequences, args.batch)} at once"
    generate = paged if args.cache == "paged" else static
    decode_args.measure(generate, args, ends, args.dtype, settings, rehearse=args.cache == "compiled")
