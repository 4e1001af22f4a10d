"""Runs what a user wrote in Python for RELIGN: one JSON object a line in, one out.

The first line says what to load and is answered with what it is; every later line is a call. The two pipes are moved
away from the standard streams first, so that whatever the user's code prints goes to stderr and never into an answer.
"""

import asyncio
import hashlib
import importlib
import importlib.util
import inspect
import json
import logging
import math
import os
import signal
import sys
import time
import traceback


def pipes():
    """The streams to RELIGN, moved to where no print reaches them."""
    inbox = os.fdopen(os.dup(0), "r", encoding="utf-8", newline="\n")
    outbox = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return inbox, outbox


class Over(BaseException):
    """The worker is no longer needed."""


def guard(parent):
    """Goes on in a child. This process stays behind to end all that the child starts, daemons among it, when the child
    ends or RELIGN does, however they end."""
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
        prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: orphans become this process's children, sessions of their own included
    except (ImportError, OSError, AttributeError):
        return  # not Linux: the end of the pipe ends the worker once its call returns

    def over(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Over

    signal.signal(signal.SIGTERM, over)
    guarding = os.getpid()
    prctl(1, int(signal.SIGTERM))  # PR_SET_PDEATHSIG
    worker = os.fork()
    if worker == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        prctl(1, int(signal.SIGKILL))
        os.setpgid(0, 0)
        if os.getppid() != guarding:
            os._exit(1)
        return
    status = 0
    try:
        # The pipes are the worker's alone: their end is its end.
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        ended = 0
        while os.getppid() == parent and ended != worker:
            ended, status = os.waitpid(-1, 0)
    except Over:
        pass
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_children(time.monotonic() + 1.5)
    if os.WIFSIGNALED(status):
        # RELIGN reads from this process how the worker ended.
        prctl(4, 0)  # PR_SET_DUMPABLE: no second core file
        ending = os.WTERMSIG(status)
        if ending != signal.SIGKILL:
            signal.signal(ending, signal.SIG_DFL)
        os.kill(guarding, ending)
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1)


def end_children(until):
    """Kills this process's children until there are none; whose parent dies becomes one."""
    while time.monotonic() < until:
        for child in children():
            try:
                os.kill(child, signal.SIGKILL)
            except OSError:
                pass  # gone, or another user's
        try:
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def children():
    """The numbers of this process's children."""
    own = str(os.getpid())
    try:
        with open(f"/proc/{own}/task/{own}/children") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        pass  # a kernel without these files
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                if file.read().rpartition(")")[2].split()[1] == own:
                    found.append(int(name))
        except OSError:
            pass  # gone
    return found


class Wrong(Exception):
    """What the user has to put right, in words."""


def load(asked):
    """The object that was asked for."""
    where, name = asked["where"], asked["name"]
    if asked["is_file"]:
        path = os.path.abspath(where)
        if not os.path.isfile(path):
            raise Wrong(f"expected a Python file at {where}, there is none")
        sys.path.insert(0, os.path.dirname(path))
        stem = os.path.splitext(os.path.basename(path))[0]
        stem = stem if stem not in sys.modules else f"relign_{stem}"
        spec = importlib.util.spec_from_file_location(stem, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[stem] = module
        spec.loader.exec_module(module)
    else:
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        module = importlib.import_module(where)
    found = module
    for part in name.split("."):
        if not hasattr(found, part):
            names = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
            raise Wrong(f"expected `{name}` in it, found {', '.join(sorted(names)[:20]) or 'nothing to call'}")
        found = getattr(found, part)
    if asked["arguments"] is not None and not (asked["is_environment"] and is_environment(found)):
        if not callable(found):
            raise Wrong(f"`arguments` are for something to call, `{name}` is {kind_of(found)}")
        found = found(**asked["arguments"])
    return found


def is_environment(found):
    return hasattr(found, "rubric") and hasattr(found, "get_dataset")


def kind_of(value):
    return f"{type(value).__name__} {str(value)[:60]!r}"


def settled(value):
    """`value`, awaited where it is to be."""
    if not inspect.isawaitable(value):
        return value

    async def wait():
        return await value

    return asyncio.run(wait())


def fitting(function, arguments):
    """Those of `arguments` that `function` takes; all where it takes any."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return arguments
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return arguments
    names = {p.name for p in parameters}
    return {name: value for name, value in arguments.items() if name in names}


def numbers(returned, count):
    """What a function returned, as a list of `count` finite numbers and None."""
    if hasattr(returned, "tolist"):
        returned = returned.tolist()
    if isinstance(returned, (str, bytes, dict)) or not hasattr(returned, "__iter__"):
        raise Wrong(f"expected a list of {count} numbers, one for each completion, got {kind_of(returned)}")
    returned = list(returned)
    if len(returned) != count:
        raise Wrong(f"expected {count} numbers, one for each completion, got {len(returned)}")
    scores = []
    for place, value in enumerate(returned):
        if value is not None:
            if isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
                raise Wrong(f"expected a number or None in place {place}, got {kind_of(value)}")
            value = float(value)
            if not math.isfinite(value):
                raise Wrong(f"expected a finite number or None in place {place}, got {value}")
        scores.append(value)
    return scores


class Function:
    """A reward function as TRL calls them."""

    kind = "function"

    def __init__(self, function):
        self.function = function

    def score(self, call):
        arguments = {
            "prompts": call["prompts"],
            "completions": call["completions"],
            **call["columns"],
            "log_extra": lambda *_: None,
            "log_metric": lambda *_: None,
        }
        if call["completion_ids"] is not None:
            arguments["completion_ids"] = call["completion_ids"]
        given = fitting(self.function, arguments)
        try:
            returned = settled(self.function(**given))
        except TypeError as error:
            if "required" in str(error) and error.__traceback__.tb_next is None:
                raise Wrong(f"{error}; there are {', '.join(arguments)}") from None
            raise
        return numbers(returned, len(call["completions"])), None


class Heard(logging.Handler):
    """What `verifiers` says of reward functions that fail; it counts them as 0 otherwise."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.errors = []

    def emit(self, record):
        self.errors.append(record.getMessage())


class Rubric:
    """A `verifiers.Rubric`, or several in a group."""

    kind = "rubric"

    def __init__(self, rubric):
        self.rubric = rubric

    def row(self, call, place):
        """What the task knows, by name."""
        return {name: values[place] for name, values in call["columns"].items()}

    def state(self, call, place):
        row = self.row(call, place)
        info = row.get("info")
        if isinstance(info, str):
            try:
                row["info"] = json.loads(info)
            except ValueError:
                pass
        row.setdefault("info", {})
        row["prompt"] = call["prompts"][place]
        row.setdefault("example_id", 0)
        try:
            from verifiers.types import State
        except ImportError:
            State = dict
        state = State(input=row)
        state.update(
            task=row.get("task", row),
            prompt=row["prompt"],
            answer=row.get("answer", ""),
            info=row["info"],
            completion=call["completions"][place],
            trajectory=[],
            is_completed=True,
            is_truncated=not call["finished"][place],
            timing={},
            metrics={},
            reward=None,
        )
        return state

    def score(self, call):
        states = [self.state(call, place) for place in range(len(call["completions"]))]
        heard = Heard()
        logger = logging.getLogger("verifiers")
        logger.addHandler(heard)
        try:
            if getattr(self.rubric, "has_group_rewards", False):
                settled(self.rubric.score_group(states))
                if heard.errors:
                    raise Wrong(heard.errors[0])
                errors = None
            else:
                errors = []
                for state in states:
                    heard.errors.clear()
                    settled(self.rubric.score_rollout(state))
                    errors.append(heard.errors[0] if heard.errors else None)
        finally:
            logger.removeHandler(heard)
        return numbers([state["reward"] for state in states], len(states)), errors


class Environment(Rubric):
    """A `verifiers.Environment` of one turn: its tasks and its rubric."""

    kind = "environment"

    def __init__(self, environment, held_out):
        super().__init__(environment.rubric)
        self.environment = environment
        self.held_out = held_out
        self.splits = None

    def split(self, name):
        """The rows of a split. None of the training rows asks what a held-out one asks."""
        if self.splits is None:
            train = self.environment.get_dataset()
            keys = [json.dumps(prompt, sort_keys=True, default=str) for prompt in train["prompt"]]
            evaluated = [getattr(self.environment, name, None) for name in ("eval_dataset", "eval_dataset_source")]
            if any(source is not None for source in evaluated):
                rows = self.environment.get_eval_dataset()
                asked = {json.dumps(prompt, sort_keys=True, default=str) for prompt in rows["prompt"]}
                eval_rows = (rows, list(range(len(rows))))
            else:
                share = self.held_out * 2.0**64
                hashed = lambda key: int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
                asked = {key for key in keys if hashed(key) < share}
                eval_rows = (train, [place for place, key in enumerate(keys) if key in asked])
            train_rows = (train, [place for place, key in enumerate(keys) if key not in asked])
            self.splits = {"train": train_rows, "eval": eval_rows}
        return self.splits[name]

    def at(self, where):
        rows, places = self.split(where["split"])
        return dict(rows[places[where["index"]]])

    def row(self, call, place):
        return self.at(call["at"]) if call.get("at") else super().row(call, place)

    def length(self, call):
        return {"train": len(self.split("train")[1]), "eval": len(self.split("eval")[1])}

    def task(self, call):
        row = self.at(call["at"])
        prompt = row.pop("prompt")
        if isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        messages = [{"role": plain(m, "role"), "content": plain(m, "content")} for m in prompt]
        answer = row.pop("answer", "")
        facts = {
            name: value if isinstance(value, str) else json.dumps(value, default=str)
            for name, value in row.items()
            if value is not None and name not in ("example_id", "question")
        }
        return {"messages": messages, "answer": answer if isinstance(answer, str) else json.dumps(answer), "facts": facts}


def plain(message, name):
    value = message[name] if isinstance(message, dict) else getattr(message, name)
    if not isinstance(value, str):
        raise Wrong(f"expected text as the {name} of a message, got {kind_of(value)}")
    return value


def understood(found, asked):
    """What can be done with what was loaded."""
    if is_environment(found):
        turns = getattr(found, "max_turns", 1)
        if turns != 1:
            raise Wrong(f"expected an environment of one turn, got {type(found).__name__} with max_turns {turns}")
        return Environment(found, asked["held_out"])
    if asked["is_environment"]:
        raise Wrong(f"expected an environment of verifiers or what makes one, got {kind_of(found)}")
    if hasattr(found, "score_rollout"):
        return Rubric(found)
    if callable(found):
        return Function(found)
    raise Wrong(f"expected a function, a rubric or an environment, got {kind_of(found)}")


# Characters of a message that are passed on.
MOST_CHARACTERS = 4000
# Errors before an error, and within a group of them, that are passed on.
MOST_BEFORE = 3


def words(error):
    """An error: its type, all lines of its message, the lines of code that it came from, and the errors before it."""
    if isinstance(error, Wrong):
        return sound(str(error))
    said = message(error)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != "<string>" and "<frozen" not in f.filename]
    if frames:
        said += f" ({place(frames[-1])}"
        # A library's line says little without the line that called it.
        own = [frame for frame in frames if not of_library(frame.filename)]
        if own and frames[-1] is not own[-1]:
            said += f", called from {place(own[-1])}"
        said += ")"
    for within in getattr(error, "exceptions", ())[:MOST_BEFORE]:
        said += f"; in it: {message(within)}"
    for _ in range(MOST_BEFORE):
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if error is None:
            break
        said += f"; before it: {message(error)}"
    return sound(said)


def message(error):
    """An error's type and message, as a traceback ends."""
    said = "".join(traceback.format_exception_only(type(error), error)).strip() or type(error).__name__
    if len(said) > MOST_CHARACTERS:
        said = f"{said[:MOST_CHARACTERS]}... ({len(said) - MOST_CHARACTERS} more characters)"
    return said


def of_library(file):
    """Whether a file is Python's own or an installed package's."""
    return file.startswith(os.path.dirname(os.__file__) + os.sep) or f"{os.sep}site-packages{os.sep}" in file


def place(frame):
    line = f": {frame.line}" if frame.line else ""
    return f"{frame.filename}, line {frame.lineno}, in {frame.name}{line}"


def sound(text):
    """Text that is Unicode: half a surrogate pair is none."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def main():
    guard(int(sys.argv.pop()))
    inbox, outbox = pipes()

    def answer(what):
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass
        outbox.write(json.dumps(what, allow_nan=False) + "\n")
        outbox.flush()

    asked = json.loads(inbox.readline())
    try:
        thing = understood(load(asked), asked)
    except BaseException as error:  # sys.exit() while importing, too
        answer({"error": words(error)})
        return
    answer({"kind": thing.kind, "version": sys.version.split()[0]})
    for line in inbox:
        call = json.loads(line)
        try:
            if call["do"] == "score":
                scores, errors = thing.score(call)
                answer({"scores": scores, "errors": errors})
            else:
                answer(getattr(thing, call["do"])(call))
        except BaseException as error:
            answer({"error": words(error)})


main()
