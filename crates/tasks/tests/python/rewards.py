"""Reward functions, good and bad, for the tests of `python`."""

import asyncio
import ctypes
import os
import subprocess
import sys
import time


def length(completions, **kwargs):
    return [float(len(completion[0]["content"])) for completion in completions]


def text(completions, prompts):
    return [len(completion) / len(prompt) for completion, prompt in zip(completions, prompts)]


def rank(completions, **kwargs):
    """Only makes sense over a group: the longest gets 1, the shortest 0."""
    sizes = [len(c[0]["content"]) for c in completions]
    order = sorted(sizes)
    return [order.index(size) / max(1, len(sizes) - 1) for size in sizes]


def columns(completions, prompts, completion_ids, answer, solution, level, log_extra, log_metric, **kwargs):
    n = len(completions)
    assert all(len(column) == n for column in (prompts, completion_ids, answer, solution, level))
    assert prompts[0] == [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], prompts
    assert (answer[0], solution[0], level[0]) == ("72", "72", "3")
    assert kwargs == {}, kwargs
    log_extra("x", answer)
    log_metric("y", 1.0)
    return [float(sum(ids)) for ids in completion_ids]


def some(completions, **kwargs):
    return [None if "skip" in c[0]["content"] else 1 for c in completions]


def prints(completions, **kwargs):
    print('{"scores": [99.0]}')
    os.write(1, b'{"scores": [98.0]}\n')
    subprocess.run(["echo", '{"scores": [97.0]}'], check=True)
    print("to stderr", file=sys.stderr)
    assert sys.stdin.read() == ""
    return [1.0] * len(completions)


async def later(completions, **kwargs):
    await asyncio.sleep(0.001)
    return [0.25] * len(completions)


def scaled(factor, offset=0.0):
    def reward(completions, **kwargs):
        return [factor * len(c[0]["content"]) + offset for c in completions]

    return reward


class Word:
    def __init__(self, word):
        self.word = word

    def __call__(self, completions, **kwargs):
        return [float(self.word in c[0]["content"]) for c in completions]


word = Word("yes")


class Array:
    """As numpy's and torch's are."""

    def __init__(self, values):
        self.values = values

    def tolist(self):
        return self.values


def array(completions, **kwargs):
    return Array([True, 2][: len(completions)])


def crash(completions, **kwargs):
    if any("crash" in c[0]["content"] for c in completions):
        print("about to fall", flush=True)
        ctypes.string_at(0)
    return [1.0] * len(completions)


def leave(completions, **kwargs):
    os._exit(3)


def exits(completions, **kwargs):
    sys.exit("enough")


def hang(completions, **kwargs):
    if any("hang" in c[0]["content"] for c in completions):
        # Out of reach of signals and other threads: one call into C that holds the interpreter.
        import re

        re.match(r"(a+)+$", "a" * 64 + "b")
    return [1.0] * len(completions)


def child(completions, **kwargs):
    """Leaves a process behind, if it could, and hangs."""
    process = subprocess.Popen(["sleep", "3600"])
    with open(os.environ["RELIGN_TEST_PIDS"], "w") as file:
        file.write(f"{os.getpid()} {process.pid}")
    time.sleep(3600)


def raises(completions, **kwargs):
    return [1 / 0]


def short(completions, **kwargs):
    return [1.0] * (len(completions) - 1)


def long(completions, **kwargs):
    return [1.0] * (len(completions) + 1)


def number(completions, **kwargs):
    return 1.0


def nothing(completions, **kwargs):
    pass


def words(completions, **kwargs):
    return ["1.0"] * len(completions)


def nan(completions, **kwargs):
    return [float("nan")] * len(completions)


def endless(completions, **kwargs):
    return [float("-inf")] * len(completions)


def nested(completions, **kwargs):
    return [[1.0]] * len(completions)


def needy(completions, difficulty, **kwargs):
    return [1.0] * len(completions)


def count(completions, **kwargs):
    """How many processes there were is told by how many numbers."""
    return [float(os.getpid())] * len(completions)


def slow(completions, **kwargs):
    time.sleep(0.2)
    return [float(os.getpid())] * len(completions)


def typed(completions, answer, solution, level, tags, share, even, sub, nothing, question, **kwargs):
    """The columns of a row as TRL hands them over."""
    assert answer == [2**70] * len(completions) and solution == answer, answer
    assert type(level[0]) is int and type(share[0]) is float and even[0] is True and nothing[0] is None
    assert tags[0] == ["a", 2, None] and sub[0] == {"x": [1.5]} and question[0] == "q"
    assert kwargs["half"] == [2**69] * len(completions), kwargs
    assert not {"prompt", "completion"} & set(kwargs), kwargs
    tags[0].append("changed")
    assert len(completions) == 1 or tags[1] == ["a", 2, None], "each completion has its own"
    return [1.0] * len(completions)


def daemons(completions, **kwargs):
    """Leaves processes behind that left its group and session, one of them with no parent."""
    apart = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        orphan = os.fork()
        if orphan:
            os.write(write, str(orphan).encode())
            os._exit(0)
        os.execvp("sleep", ["sleep", "3600"])
    orphan = os.read(read, 20).decode()
    with open(os.environ["RELIGN_TEST_PIDS"], "w") as file:
        file.write(f"{os.getpid()} {apart.pid} {orphan}")
    if any("hang" in c[0]["content"] for c in completions):
        time.sleep(3600)
    if any("fall" in c[0]["content"] for c in completions):
        ctypes.string_at(0)
    return [1.0] * len(completions)


def lines(completions, **kwargs):
    raise ValueError("the first line\n  the second line\nthe last line")


def library(completions, **kwargs):
    import json

    json.loads("{")


def again(completions, **kwargs):
    try:
        return {}["key"]
    except KeyError as error:
        raise RuntimeError("no such entry") from error


def surrogate(completions, **kwargs):
    raise ValueError("half a pair: \ud800")


def empty(completions, **kwargs):
    assert completions == []


def endless_message(completions, **kwargs):
    raise ValueError("x" * 1_000_000)


def noted(completions, **kwargs):
    error = ValueError("what")
    error.__notes__ = ["a note", "another"]
    raise error


async def later_raises(completions, **kwargs):
    await asyncio.sleep(0)
    raise ValueError("later")


def chain(completions, **kwargs):
    try:
        try:
            {}["first"]
        except KeyError:
            [][1]
    except IndexError as error:
        raise RuntimeError("third") from error


def several(completions, **kwargs):
    if sys.version_info < (3, 11):
        raise ValueError("two (2 sub-exceptions); in it: ValueError: a; in it: KeyError: 'b'")
    raise ExceptionGroup("two", [ValueError("a"), KeyError("b")])


def aborts(completions, **kwargs):
    print("line one\n  line two", file=sys.stderr, flush=True)
    os.abort()
