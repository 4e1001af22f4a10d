"""Short programs: HumanEval's canonical solutions with their tests, against one system Python for each."""

import concurrent.futures
import functools
import gzip
import json
import os
import pathlib
import platform
import resource
import shutil
import subprocess
import sys
import time

from work import RELIGN, ROOT, WORK, Case, Failed, Peer, run

CORES = os.cpu_count()
ROUNDS = 5


@functools.cache
def interpreter():
    """The system's Python itself: a wrapper that looks for one would only slow the peers down."""
    found = shutil.which("python3", path="/usr/bin:/usr/local/bin") or shutil.which("python3")
    return subprocess.run([found, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True).stdout.strip()


def rows():
    places = [pathlib.Path(os.environ.get("RELIGN_DATA", "/nowhere")), ROOT / "../shared/data"]
    file = next((place / "humaneval/HumanEval.jsonl.gz" for place in places if (place / "humaneval").exists()), None)
    if file is None:
        sys.exit("error: HumanEval was not found; set RELIGN_DATA to the folder that holds humaneval/HumanEval.jsonl.gz")
    with gzip.open(file, "rt") as lines:
        return [json.loads(line) for line in lines]


@functools.cache
def prepared():
    """Every program as a file for the peers, and all as JSON Lines for us: whole, and with the tests apart."""
    folder = WORK / "humaneval"
    folder.mkdir(parents=True, exist_ok=True)
    files, whole, apart = [], [], []
    for row in rows():
        solution, tests = row["prompt"] + row["canonical_solution"], f"{row['test']}\ncheck({row['entry_point']})\n"
        program = f"{solution}\n{tests}"
        file = folder / f"{row['task_id'].split('/')[1]}.py"
        file.write_text(program)
        files.append(file)
        whole.append({"program": program})
        apart.append({"program": solution, "prefix": row["prompt"], "entry_point": row["entry_point"], "tests": tests})
    for name, lines in [("whole", whole), ("apart", apart)]:
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder, files


def ours(kind):
    folder, _ = prepared()
    figure = run([RELIGN, "measure", "sandbox", folder / f"{kind}.jsonl", CORES, ROUNDS, interpreter(), "--json"])
    return {"value": figure["rate"], "rss_gb": figure["rss_gb"], "facts": {"python": interpreter()}}


def theirs(prefix):
    """One process a program, as many at a time as there are cores."""
    _, files = prepared()

    def one(file):
        done = subprocess.run([*prefix, interpreter(), file], capture_output=True, timeout=120)
        if done.returncode != 0:
            raise Failed(f"{file}: {done.stderr.decode()[-1000:]}")

    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(CORES) as pool:
        list(pool.map(one, files))
    rate = len(files) / (time.monotonic() - start)
    return {"value": rate, "rss_gb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9}


BUBBLEWRAP = [
    "bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin",
    "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
    "--ro-bind", str(WORK), str(WORK),
]  # fmt: skip


def sandbox():
    peers = [Peer("python3", platform.python_version(), functools.partial(theirs, []))]
    peers[0].version = subprocess.run([interpreter(), "--version"], capture_output=True, text=True).stdout.split()[-1]
    if shutil.which("bwrap"):
        version = subprocess.run(["bwrap", "--version"], capture_output=True, text=True).stdout.split()[-1]
        peers.append(Peer("bubblewrap", version, functools.partial(theirs, BUBBLEWRAP)))
    yield Case("HumanEval, whole programs", "programs/s", functools.partial(ours, "whole"), peers)
    yield Case("HumanEval, tests apart", "programs/s", functools.partial(ours, "apart"), peers)
