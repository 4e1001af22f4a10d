"""Generation by llama.cpp with continuous batching over its low-level calls: see decode_args.py for the command line.

MODEL is a GGUF file. Answers run side by side in as many sequences as `--slots` allows; one that ends makes room for
the next prompt. What all prompts begin with is read once and copied, as llama.cpp's own parallel example does.
"""

import collections
import ctypes
import os

import decode_args

parser = decode_args.parser(__doc__)
parser.add_argument("--ends", required=True, help="the checkpoint's folder, which names the end tokens")
parser.add_argument("--slots", type=int, default=64, help="sequences at once, where that many are asked for")
parser.add_argument("--flash", default="on", choices=["on", "off"], help="flash attention")
parser.add_argument("--unified", action="store_true", help="one pool of keys and values for all sequences")
parser.add_argument("--ubatch", type=int, default=512, help="tokens that go through the model at once")
parser.add_argument("--together", action="store_true", help="read several prompts in one call")
parser.add_argument("--no-copy", action="store_true", help="read every prompt from its start")
parser.add_argument("--sampler", default="numpy", choices=["numpy", "llama.cpp"])
args = parser.parse_args()

import llama_cpp as ll
import numpy as np

ends = decode_args.end_tokens(args.ends)
everything = decode_args.read(args.prompts) + decode_args.read(args.warm_up)
slots = min(args.sequences, args.slots)
copies = not args.no_copy and slots > 1 and slots < 256
# A sequence's room is a multiple of 256 positions.
room = -(-(max(map(len, everything)) + args.max_tokens) // 256) * 256

quiet = ll.llama_log_callback(lambda *_: None)
ll.llama_log_set(quiet, ctypes.c_void_p(0))
ll.llama_backend_init()
model = ll.llama_model_load_from_file(args.model.encode(), ll.llama_model_default_params())
params = ll.llama_context_default_params()
params.n_seq_max = slots + copies
params.n_ctx = room * params.n_seq_max
params.n_batch = 4096
params.n_ubatch = args.ubatch
params.n_threads = params.n_threads_batch = os.cpu_count()
params.flash_attn_type = ll.LLAMA_FLASH_ATTN_TYPE_ENABLED if args.flash == "on" else ll.LLAMA_FLASH_ATTN_TYPE_DISABLED
params.kv_unified = args.unified
context = ll.llama_init_from_model(model, params)
assert context, "no context"
memory = ll.llama_get_memory(context)
vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))
batch = ll.llama_batch_init(params.n_batch, 0, 1)
generator = np.random.default_rng(args.seed)
chain = ll.llama_sampler_chain_init(ll.llama_sampler_chain_default_params())
ll.llama_sampler_chain_add(chain, ll.llama_sampler_init_temp(1.0))
ll.llama_sampler_chain_add(chain, ll.llama_sampler_init_dist(args.seed))


def add(token, position, sequence, wanted):
    at = batch.n_tokens
    batch.token[at], batch.pos[at], batch.logits[at] = token, position, wanted
    batch.n_seq_id[at], batch.seq_id[at][0] = 1, sequence
    batch.n_tokens += 1


def sampled(count):
    """A token for each of the last call's rows of logits, at temperature 1."""
    if args.sampler == "llama.cpp":
        rows = [at for at in range(batch.n_tokens) if batch.logits[at]]
        return [ll.llama_sampler_sample(chain, context, row) for row in rows]
    logits = np.ctypeslib.as_array(ll.llama_get_logits(context), (count, vocab))
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    # The place of a uniform number in the running sum, first among 192 sums of 256, then among the 256.
    parts = weights.reshape(count, -1, 256)
    sums = parts.sum(axis=2, dtype=np.float64).cumsum(axis=1)
    aims = generator.random(count) * sums[:, -1]
    tokens = []
    for row, aim in enumerate(aims):
        part = min(int(np.searchsorted(sums[row], aim, side="right")), sums.shape[1] - 1)
        within = parts[row, part].cumsum(dtype=np.float64)
        rest = aim - (sums[row, part - 1] if part else 0.0)
        tokens.append(part * 256 + min(int(np.searchsorted(within, rest, side="right")), 255))
    return tokens


def decode():
    status = ll.llama_decode(context, batch)
    assert status == 0, f"llama_decode: {status}"


def generate(prompts, max_tokens):
    ll.llama_memory_clear(memory, True)
    answers = [[] for _ in prompts]
    waiting = collections.deque(range(len(prompts)))
    # The prompts in sequences 0, 1, ...: they stay side by side, for llama.cpp splits a batch where a number is missing.
    active = []
    shared = len(os.path.commonprefix(prompts)) if copies else 0
    shared = min(shared, min(map(len, prompts)) - 1)
    if shared:
        batch.n_tokens = 0
        for position in range(shared):
            add(prompts[0][position], position, slots, False)
        decode()

    def take(tokens):
        """Notes a token of each active answer from the `first` on; those that ended leave."""
        first = len(active) - len(tokens)
        for at in reversed(range(first, len(active))):
            answer = answers[active[at]]
            answer.append(tokens[at - first])
            if answer[-1] not in ends and len(answer) < max_tokens:
                continue
            ll.llama_memory_seq_rm(memory, at, -1, -1)
            last = len(active) - 1
            if at != last:
                ll.llama_memory_seq_cp(memory, last, at, -1, -1)
                ll.llama_memory_seq_rm(memory, last, -1, -1)
                active[at] = active[last]
            active.pop()

    while active or waiting:
        while waiting and len(active) < slots:
            batch.n_tokens, entered = 0, 0
            while waiting and len(active) < slots and (entered == 0 or args.together):
                prompt = prompts[waiting[0]]
                if batch.n_tokens + len(prompt) > params.n_batch:
                    break
                if shared:
                    ll.llama_memory_seq_cp(memory, slots, len(active), -1, -1)
                for position in range(shared, len(prompt)):
                    add(prompt[position], position, len(active), position == len(prompt) - 1)
                active.append(waiting.popleft())
                entered += 1
            decode()
            take(sampled(entered))
        if not active:
            continue
        batch.n_tokens = 0
        for sequence, index in enumerate(active):
            add(answers[index][-1], len(prompts[index]) + len(answers[index]) - 1, sequence, True)
        decode()
        take(sampled(len(active)))
    return answers


description = ctypes.create_string_buffer(128)
ll.llama_model_desc(model, description, 128)
settings = [
    f"{slots} slots",
    f"flash attention {args.flash}",
    "one pool" if args.unified else "a pool for each",
    f"{args.sampler} sampler",
]
decode_args.measure(generate, args, ends, description.value.decode().split(" ", 2)[-1], ", ".join(settings))
