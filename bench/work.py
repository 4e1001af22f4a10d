"""What both sides of a bench work on, and how their programs are run."""

import dataclasses
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import typing

ROOT = pathlib.Path(__file__).resolve().parent.parent
RELIGN = os.environ.get("RELIGN", str(ROOT / "target/release/relign"))
WORK = ROOT / ".x/bench"
WORK.mkdir(parents=True, exist_ok=True)
VLLM = ROOT / ".x/vllm"
TUNED = {
    # glibc keeps its memory and uses huge pages: the best allocator settings found for the peers.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(1 << 28),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


class Failed(Exception):
    """A program of one side failed; its words."""


@dataclasses.dataclass
class Peer:
    """One other program: `measure` returns `value`, `rss_gb` and what else a row should say."""

    name: str
    version: str
    measure: typing.Callable


@dataclasses.dataclass
class Case:
    """The same work for RELIGN and some peers. A row's further fields come from `ours` and `theirs`."""

    name: str
    unit: str
    ours: typing.Callable
    peers: list
    more_is_better: bool = True


def run(command, env=None):
    """The last line of JSON that `command` prints."""
    quiet = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(
        [str(part) for part in command], env=os.environ | quiet | (env or {}), capture_output=True, text=True, timeout=3600
    )
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def peer(script, *args, tuned=False, python=sys.executable, env=None):
    return run([python, ROOT / "bench/peers" / script, *args], (TUNED if tuned else {}) | (env or {}))


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def exported(model="smollm2"):
    """A built-in model, SmolLM2-135M-Instruct unless told, as an f32 Hugging Face folder: the same weights for all sides."""
    folder = WORK / model
    if not (folder / "config.json").exists():
        run([RELIGN, "measure", "export", model, folder, "--json"])
    return folder


AVX2 = {
    # What keeps RELIGN, libtorch, oneDNN and MKL to AVX2, so that a larger CPU stands for one without AVX-512.
    "RELIGN_KERNELS": "avx2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}


def has_bf16():
    held = os.environ.get("RELIGN_KERNELS") in ("avx2", "baseline")
    return not held and "avx512_bf16" in pathlib.Path("/proc/cpuinfo").read_text()


def gsm8k():
    """The folder of the real GSM8K."""
    places = [pathlib.Path(os.environ.get("RELIGN_DATA", "/nowhere")) / "gsm8k", ROOT / "../shared/data/gsm8k"]
    real = next((place for place in places if (place / "train.jsonl").exists()), None)
    if real is None:
        sys.exit("error: GSM8K was not found; set RELIGN_DATA to the folder that holds gsm8k/train.jsonl")
    return real


def requests(kind, count, first=0):
    """A file of `count` requests as token ids, made once by transformers' tokenizer: see peers/chat_requests.py."""
    file = WORK / f"{kind}-{first}-{count}.jsonl"
    if not file.exists():
        part = file.with_suffix(".part")
        peer("chat_requests.py", exported(), gsm8k() / "test.jsonl", kind, first, count, part)
        part.rename(file)
    return file
