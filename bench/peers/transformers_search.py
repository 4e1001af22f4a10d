"""Monte Carlo tree search over transformers, the usual way: one problem after another, one call of generate an expansion.

A beginning is worth the geometric mean of its tokens' probabilities; a step is so many tokens, or what comes before the
end token. `--driver own` decides as `relign explain mcts` states it (UCT, c = 1: a node that is met for the first time is
valued, one met again expanded into several steps); `--driver treequest` is treequest's StandardMCTS, which asks for each
candidate by itself.
"""

import argparse
import json
import math
import resource
import time

import decode_args

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model")
parser.add_argument("--prompts", required=True, help="problems as token ids, a line of JSON each")
parser.add_argument("--warm-up", required=True, help="others, before the clock starts")
parser.add_argument("--simulations", type=int, default=64)
parser.add_argument("--expand", type=int, default=4)
parser.add_argument("--step-tokens", type=int, default=16)
parser.add_argument("--max-tokens", type=int, default=256)
parser.add_argument("--driver", default="own", choices=["own", "treequest"])
parser.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
parser.add_argument("--seed", type=int, default=1)
args = parser.parse_args()

import torch
from transformers import AutoModelForCausalLM

kind = {"f32": torch.float32, "bf16": torch.bfloat16}[args.dtype]
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=kind, attn_implementation="sdpa").eval()
ends = decode_args.end_tokens(args.model)
torch.manual_seed(args.seed)
options = dict(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, pad_token_id=min(ends), eos_token_id=sorted(ends))
options |= dict(return_dict_in_generate=True, output_scores=True)
made = 0


class Node:
    def __init__(self, parent, tokens, logprobs):
        self.parent, self.tokens, self.children = parent, tokens, []
        self.visits, self.total = 0, 0.0
        self.path = (parent.path if parent else []) + tokens
        self.logprobs = (parent.logprobs if parent else []) + logprobs

    def ended(self):
        return self.parent is not None and (self.path[-1] in ends or len(self.logprobs) >= args.max_tokens)

    def value(self):
        return math.exp(sum(self.logprobs) / len(self.logprobs))


def steps(node, count):
    """`count` sampled steps after a node: one call of generate."""
    global made
    room = min(args.step_tokens, args.max_tokens - len(node.logprobs))
    prompt = torch.tensor([node.path])
    out = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=room, num_return_sequences=count, **options
    )
    scores = model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
    found = []
    for row, logprobs in zip(out.sequences[:, prompt.shape[1] :].tolist(), scores.tolist(), strict=True):
        end = next((at + 1 for at, token in enumerate(row) if token in ends), len(row))
        made += end
        found.append(Node(node, row[:end], logprobs[:end]))
    return found


def uct(parent, child):
    if child.visits == 0:
        return math.inf
    return child.total / child.visits + math.sqrt(math.log(max(parent.visits, 1)) / child.visits)


def own(prompt):
    root = Node(None, prompt, [])
    for _ in range(args.simulations):
        node = root
        while node.children:
            node = max(node.children, key=lambda child: uct(node, child))
        if not node.ended() and (node is root or node.visits > 0):
            alike = {}
            for step in steps(node, args.expand):
                alike.setdefault(tuple(step.tokens), step)
            node.children = list(alike.values())
            node = node.children[0]
        value = node.value()
        while node is not None:
            node.visits += 1
            node.total += value
            node = node.parent


def by_treequest(prompt):
    import treequest

    root = Node(None, prompt, [])

    def candidate(parent):
        node = parent or root
        if node.ended():
            return node, node.value()
        [step] = steps(node, 1)
        return step, step.value()

    algorithm = treequest.StandardMCTS(samples_per_action=args.expand, exploration_weight=1.0)
    state = algorithm.init_tree()
    for _ in range(args.simulations):
        state = algorithm.step(state, {"step": candidate}, inplace=True)


def main():
    global made
    search = own if args.driver == "own" else by_treequest
    with torch.inference_mode():
        few, args.simulations = args.simulations, min(args.simulations, 2)
        for prompt in decode_args.read(args.warm_up):
            search(prompt)
        args.simulations, made = few, 0
        prompts = decode_args.read(args.prompts)
        start = time.perf_counter()
        for prompt in prompts:
            search(prompt)
        seconds = time.perf_counter() - start
    row = {
        "rate": made / seconds,
        "rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "seconds": seconds,
        "dtype": args.dtype,
        "problems": len(prompts),
        "tokens": made,
        "settings": f"dynamic cache, sdpa, {args.expand if args.driver == 'own' else 1} a call",
    }
    print(json.dumps(row))


main()
