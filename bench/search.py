"""Tree search: MCTS on many problems at once, against the same decisions with transformers' generate, once an expansion."""

import functools
import subprocess
import sys

from work import RELIGN, Case, Peer, exported, has_bf16, peer, requests, run, version

PROBLEMS = 16
# The peers' speed does not depend on the number of problems, which they take one after another.
PEERS = 4
SETTINGS = ["--simulations", 64, "--expand", 4, "--step-tokens", 16, "--max-tokens", 256]


def result(row):
    facts = {name: row[name] for name in ("dtype", "tokens", "problems", "seconds")}
    facts |= {name: row[name] for name in ("cached", "settings") if name in row}
    return {"value": row["rate"], "rss_gb": row["rss_gb"], "facts": facts}


def ours(dtype, *switches):
    files = ["--prompts", requests("chat", PROBLEMS), "--warm-up", requests("chat", PROBLEMS, 1000)]
    return result(run([RELIGN, "measure", "search", exported(), *files, *SETTINGS, "--dtype", dtype, *switches, "--json"]))


def theirs(dtype, driver):
    files = ["--prompts", requests("chat", PEERS), "--warm-up", requests("chat", 1, 1000)]
    return result(peer("transformers_search.py", exported(), *files, *SETTINGS, "--driver", driver, "--dtype", dtype, tuned=True))


def search():
    dtype = "bf16" if has_bf16() else "f32"
    peers = [Peer("transformers", version("transformers"), functools.partial(theirs, dtype, "own"))]
    if version("treequest") == "unknown":
        print("note: treequest is not installed and left out; ./x peers installs it", file=sys.stderr)
    else:
        peers.append(Peer("treequest", version("treequest"), functools.partial(theirs, dtype, "treequest")))
    own = subprocess.run([RELIGN, "--version"], capture_output=True, text=True).stdout.split()[-1]
    peers.append(Peer("no sharing", own, functools.partial(ours, dtype, "--no-sharing")))
    yield Case(f"{PROBLEMS} problems x 64 simulations, {dtype}", "tokens/s", functools.partial(ours, dtype), peers)
