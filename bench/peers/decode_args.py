"""The command line, the requests and the line of figures that all peers of `./x bench decode` share."""

import argparse
import json
import os
import resource
import time


def parser(about):
    it = argparse.ArgumentParser(description=about)
    it.add_argument("model")
    it.add_argument("--prompts", required=True, help="requests as token ids, a line of JSON each")
    it.add_argument("--warm-up", required=True, help="others, before the clock starts")
    it.add_argument("--sequences", type=int, required=True, help="that may run at once")
    it.add_argument("--max-tokens", type=int, required=True)
    it.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
    it.add_argument("--seed", type=int, default=1)
    return it


def read(file):
    return [json.loads(line)["tokens"] for line in open(file)]


def end_tokens(model_dir):
    """The tokens that end an answer, as the checkpoint says."""
    ids = json.load(open(os.path.join(model_dir, "generation_config.json")))["eos_token_id"]
    return set(ids if isinstance(ids, list) else [ids])


def measure(generate, args, ends, dtype, settings, rehearse=False):
    """Times `generate(prompts, max_tokens)`, which returns the new tokens of each, and prints a line of JSON.

    What compiles for the shapes it meets may rehearse the very work that is timed, not other prompts.
    """
    prompts = read(args.prompts)
    if rehearse:
        generate(prompts, args.max_tokens)
    else:
        generate(read(args.warm_up), min(args.max_tokens, 8))
    start = time.perf_counter()
    answers = generate(prompts, args.max_tokens)
    seconds = time.perf_counter() - start
    assert len(answers) == len(prompts) and all(0 < len(answer) <= args.max_tokens for answer in answers)
    made = sum(map(len, answers))
    usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    row = {
        "rate": made / seconds,
        "rss_gb": max(usage) / 1e6,
        "seconds": seconds,
        "dtype": dtype,
        "requests": len(prompts),
        "prompt_tokens": sum(map(len, prompts)),
        "tokens": made,
        "ended": sum(answer[-1] in ends for answer in answers),
        "settings": settings,
    }
    print(json.dumps(row))
