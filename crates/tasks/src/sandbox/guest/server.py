# The fork server: a solution's process comes from this one by `fork`, so each begins in the same state. It never
# sees what a solution is tested with: a solution can read all memory that it inherits.
import _signal
import atexit
import bisect
import collections
import copy
import ctypes
import functools
import heapq
import itertools
import math
import operator
import re
import resource
import signal
import string
import typing

# `random` has a forked process draw a new seed. Solutions begin with the same one; only their own children draw.
register_at_fork, os.register_at_fork = os.register_at_fork, lambda **hooks: None
import random

os.register_at_fork = register_at_fork

ISOLATED = os.getpid() == 1

# Something of what solutions are made of. Run once before the first fork, so that what Python sets up at its first use
# (the types of syntax trees, caches of types and of `typing`) is there for all: a solution's process that had to make it
# would cost half as much again.
FIRST = """
import math, re, collections
from typing import Any, Dict, List, Optional, Tuple

class Point:
    x: int = 1
    def __init__(self, y):
        self.y = y
    @property
    def both(self):
        return f"{self.x:>3} {self.y!r}"

def numbers(values: List[int], least: Optional[float] = None, *rest, **more) -> Dict[str, Tuple[int, ...]]:
    '''
    >>> numbers([1])
    '''
    total, found = 0, {i: str(i) for i in range(3) if i % 2}
    for at, value in enumerate(sorted(values, key=lambda one: -one)):
        try:
            if value > 1 and not at or value is None:
                total += value ** 2 // 3
            elif isinstance(value, int):
                continue
        except (ValueError, ZeroDivisionError) as error:
            raise error
        finally:
            found[at] = [value, {value}, (value,)]
    while total:
        total = 0
    with_more = [*values, *map(int, "12".split("x"))][::-1]
    assert len(with_more) == len(values) + 1, "length"
    assert math.isclose(0.5, 1 / 2) and abs(1.5 - 1.5) < 1e-6 and re.sub("a", "b", "a" + "".join(["c"])) == "bc"
    return collections.Counter("aab")

def check(candidate):
    assert candidate([1, 2, 3]) == {"a": 2, "b": 1}

check(numbers)
Point(2).both
"""


def module(name):
    made = types.ModuleType(name)
    made.__dict__["__builtins__"] = builtins
    sys.modules[name] = made
    return made


class Calls:
    """Answers the tester's questions about a solution."""

    def __init__(self, wire):
        self.wire = wire
        self.objects = []
        self.numbers = {}

    def opaque(self, value):
        if isinstance(value, types.ModuleType):
            return ["m", value.__name__]
        number = self.numbers.get(id(value))
        if number is None:
            number = self.numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        return ["r", number]

    def known(self, form):
        if form[0] == "r":
            return self.objects[form[1]]
        number = form[1]

        def back(*args):
            self.wire.send(["c", number, encode(args, self.opaque)])
            answer = self.wire.receive()
            if answer[0] == "e":
                raise getattr(builtins, answer[1], RuntimeError)(answer[2])
            return decode(answer[1], self.known)

        return back

    def answer(self, op, target, *rest):
        if op == "names":
            found = self.space
            return {name: encode(found[name], self.opaque) for name in target if name in found}, None
        target = self.objects[target]
        if op == "call":
            args = decode(rest[0], self.known)
            kwargs = decode(rest[1], self.known)
            result = target(*args, **kwargs)
            changed = None
            if result is None:
                # A function that changes its argument in place returns nothing, and only of such a one is it told.
                after = encode(args, self.opaque)
                changed = after if after != rest[0] else None
            return encode(result, self.opaque), changed
        if op == "get":
            return encode(getattr(target, rest[0]), self.opaque), None
        if op == "set":
            return setattr(target, rest[0], decode(rest[1], self.known)), None
        if op == "item":
            return encode(target[decode(rest[0], self.known)], self.opaque), None
        if op == "put":
            target[decode(rest[0], self.known)] = decode(rest[1], self.known)
            return None, None
        if op == "iter":
            return self.opaque(iter(target)), None
        if op == "next":
            for value in target:
                return ["t", [encode(value, self.opaque)]], None
            return None, None
        return {"len": len, "bool": bool, "float": float, "int": int}[op](target), None

    def run(self, text):
        problem = None
        try:
            code = compile(text, "solution.py", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            problem = ["x", type(error).__name__, str(error)]
        else:
            try:
                self.space = module("solution").__dict__
                exec(code, self.space)
            except BaseException as error:
                problem = error_of(error)
        while True:
            question = self.wire.receive()
            if problem is not None:
                self.wire.send(problem)
                continue
            try:
                value, changed = self.answer(*question)
                self.wire.send(["v", value, changed])
            except Gone:
                raise
            except BaseException as error:
                self.wire.send(error_of(error))


def error_of(error):
    kinds = [kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind]
    try:
        text = str(error)[:1000]
    except BaseException:
        text = ""
    return ["e", kinds[0] if kinds else "Exception", text]


def status_of(error):
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return int(error.code or 0) & 255
        print(error.code, file=sys.stderr)
        return 1
    import traceback

    # The two innermost lines that are ours tell nobody anything.
    traceback.print_exception(type(error), error, error.__traceback__.tb_next)
    return 1


def program(text):
    """Runs a whole program; the status that it ends with."""
    status = 0
    try:
        main = module("__main__")
        main.__file__ = "/tmp/program.py"
        sys.argv[:] = ["program.py"]
        exec(compile(text, "program.py", "exec", dont_inherit=True), main.__dict__)
    except BaseException as error:
        status = status_of(error)
    threads = sys.modules.get("threading")
    try:
        if threads is not None:
            threads._shutdown()
        atexit._run_exitfuncs()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                status = status or 120
    return status


LIBC = ctypes.PyDLL(None)
REQUEST = struct.Struct("<cIii")


def begin(jobs, rest):
    """Waits for a solution and takes its place: its descriptors, none from `rest` on but those, and its limits."""
    data, fds = take(jobs, 5)
    if not data:
        os._exit(0)
    mode, size, seconds, processes = REQUEST.unpack(data)
    text = os.read(fds[0], size)
    # A solution that is called is asked through 3. One open file for many would keep what a program sets on it.
    for target, fd in enumerate(fds[1:]):
        os.dup2(fd, target)
    os.closerange(rest or target + 1, 256)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    if ISOLATED:
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    # Python's own `signal` makes enumerations of numbers, at the price of a tenth of a short program.
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    return mode, text


def child(jobs):
    """A process that waits for a solution, becomes it and ends. The server never sees a solution's text."""
    mode, text = begin(jobs, 0)
    if not ISOLATED:
        os.setpgid(0, 0)
    os.register_at_fork(after_in_child=random._inst.seed)
    gc.enable()
    if mode == b"C":
        Calls(Wire(3)).run(text)
    else:
        os._exit(program(text))


def rehearse():
    """Does in this process, with a text of our own, what its children do. What Python and the loader do at first use is
    then done for all of them: symbols are bound, types of syntax trees made, code specialised, caches filled."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    forms = [["names", ["numbers", "math"]], ["call", 0, encode(([1, 2, 3],), None), encode({}, None)]]
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    seconds = resource.getrlimit(resource.RLIMIT_CPU)[1]
    main = sys.modules["__main__"]
    for mode in [b"P", b"C"] * 12:
        # Descriptors that stay what they are.
        text = os.open("/dev/null", os.O_RDONLY)
        fds = [text, 0, 1, 2, 3] if mode == b"C" else [text, 0, 1, 2]
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))
        ours.sendmsg([REQUEST.pack(mode, 1, seconds, limit)], [rights])
        begin(theirs, theirs.fileno() + 1)
        if mode == b"P":
            if program(FIRST) != 0:
                raise SystemExit("a rehearsal failed")
            continue
        asks, answers = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        for form in forms + forms[1:] * 3:
            Wire(asks.fileno()).send(form)
        asks.shutdown(_socket.SHUT_WR)
        try:
            Calls(Wire(answers.fileno())).run(FIRST)
        except Gone:
            pass
        asks.close()
        answers.close()
    ours.close()
    theirs.close()
    # None of it but what Python keeps for itself.
    del sys.modules["solution"]
    sys.modules["__main__"] = main
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def fill():
    """Fills the gaps that the objects so far left in memory, so that new ones lie together on new pages: a page that a
    child writes to is copied for it. A new pool of 16 KB is told by the place of its first object."""
    kept = []
    for size in range(48, 513, 16):
        for _ in range(4096):
            one = bytes(size - 33)
            if id(one) & 0x3FFF == 48:
                break
            kept.append(one)
    # The same for larger ones, which malloc places: at the end of all once it has no gap left.
    for size in (65536, 32768, 16384, 8192, 4096, 2048, 1024, 768, 640, 576, 544):
        last = max(id(one) for one in [bytes(100_000)])
        for _ in range(1024):
            one = bytes(size - 49)
            if id(one) >= last:
                break
            kept.append(one)
    return kept


def wipe(folder):
    os.chmod(folder, 0o700)
    if not os.listdir(folder):
        return
    with os.scandir(folder) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                wipe(entry.path)
                os.rmdir(entry.path)
            else:
                os.unlink(entry.path)


def clear(pid):
    """Nothing of a program stays: no process, no file. Says whether that is so."""
    if LIBC.kill(-1 if ISOLATED else -pid, 9) == 0:
        try:
            while True:
                os.waitpid(-1, 0)
        except ChildProcessError:
            pass
    try:
        if ISOLATED:
            wipe("/tmp")
    except (OSError, RecursionError):
        return False
    return True


def serve():
    control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, 3)
    jobs = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, 4)
    # Nobody of the same user reads or writes the memory of a process that must not be dumped.
    if LIBC.prctl(4, 0, 0, 0, 0) != 0:
        raise SystemExit("prctl failed")
    # The system's own calls: this process has one thread and no hooks, which is what `os.fork` would see to, and every
    # object that it touches between two programs is a page to be copied.
    fork, wait4 = LIBC.fork, LIBC.wait4
    # How a child ended, what it used (`struct rusage`), whether nothing of it is left.
    report = bytearray(160)
    how, usage = ((ctypes.c_char * 8).from_buffer(report, at) for at in (0, 8))
    rehearse()
    random.seed(0)
    gc.collect()
    kept = fill()
    gc.freeze()
    gc.disable()
    # What malloc holds in reserve would be copied for a child that uses it; what is new need not.
    LIBC.malloc_trim(0)
    # A solution's errors go where its output goes: nowhere, unless it runs as a program.
    os.dup2(1, 2)
    control.send(b"ready")
    while True:
        # The next child waits while the client still reads what became of the last one.
        pid = fork()
        if pid == 0:
            try:
                child(jobs)
            finally:
                os._exit(70)
        # Without a child there is nothing to tell, and the last one's end must not pass for another's.
        if pid < 0 or wait4(pid, how, 0, usage) != pid:
            os._exit(71)
        report[152] = clear(pid)
        control.send(report)


serve()
