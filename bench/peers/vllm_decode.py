"""Generation by vLLM on the CPU: see decode_args.py for the command line. Runs in .x/vllm."""

import os

import decode_args

parser = decode_args.parser(__doc__)
parser.add_argument("--eager", action="store_true", help="do not compile the model")
args = parser.parse_args()

# One process, a thread for each core, 4 GB for keys and values.
os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "4",
    "VLLM_CPU_OMP_THREADS_BIND": f"0-{os.cpu_count() - 1}",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}
from vllm import LLM, SamplingParams

longest = max(map(len, decode_args.read(args.prompts) + decode_args.read(args.warm_up)))
model = LLM(
    args.model,
    dtype={"f32": "float32", "bf16": "bfloat16"}[args.dtype],
    max_num_seqs=args.sequences,
    max_model_len=longest + args.max_tokens + 1,
    enforce_eager=args.eager,
    seed=args.seed,
    disable_log_stats=True,
)


def generate(prompts, max_tokens):
    sampling = SamplingParams(temperature=1.0, top_p=1.0, top_k=0, max_tokens=max_tokens, detokenize=False)
    done = model.generate([{"prompt_token_ids": prompt} for prompt in prompts], sampling, use_tqdm=False)
    model.reset_prefix_cache()
    return [list(answer.outputs[0].token_ids) for answer in done]


settings = "eager" if args.eager else "compiled"
decode_args.measure(generate, args, decode_args.end_tokens(args.model), args.dtype, settings)
