# The tester: runs tests in a box of its own, where no solution is. A solution is there as functions that ask
# another box, and what comes back is plain data, so that nothing it sends runs here or pretends to be equal.
import ast
import random
import time

BUILTIN = set(dir(builtins))
# Where the tests look for what they use without defining it, before they ask the solution: a solution's own
# `Counter` could make everything equal.
STANDARD = ["collections", "math", "copy", "itertools", "functools", "heapq", "string", "decimal", "fractions", "datetime"]


class Unfit(BaseException):
    """A test wants what cannot be had across two processes."""


class Solution:
    def __init__(self, fd):
        self.wire = Wire(fd)
        self.remotes = {}
        self.functions = []
        self.calls = 0
        self.dead = None

    def opaque(self, value):
        if type(value) is Remote:
            return ["r", object.__getattribute__(value, "_number")]
        if callable(value) and not isinstance(value, type):
            self.functions.append(value)
            return ["k", len(self.functions) - 1]
        raise Unfit(f"a test passes a {type(value).__name__}, which cannot be sent to a solution")

    def known(self, form):
        kind, number = form[0], form[1]
        if kind == "r" and type(number) is int:
            if number not in self.remotes:
                self.remotes[number] = Remote(self, number)
            return self.remotes[number]
        raise Gone("it said what is no value")

    def ask(self, *question):
        if self.dead is not None:
            raise Gone(self.dead)
        try:
            self.wire.send(question)
            while True:
                answer = self.wire.receive()
                if type(answer) is not list or len(answer) != 3:
                    raise Gone("it said what is no answer")
                kind, first, second = answer
                if kind != "c":
                    break
                self.wire.send(self.call_back(first, second))
            if kind == "v":
                return first, second
        except Gone as gone:
            self.dead = str(gone)
            raise
        if kind == "x":
            raise NoProgram(f"{first}: {second}")
        error = getattr(builtins, str(first), None)
        if not (isinstance(error, type) and issubclass(error, Exception)):
            error = Exception
        try:
            error = error(str(second))
        except TypeError:
            error = Exception(str(second))
        raise error

    def call_back(self, number, args):
        try:
            result = self.functions[number](*decode(args, self.known))
            return ["v", encode(result, self.opaque), None]
        except Exception as error:
            return ["e", type(error).__name__, str(error)]

    def value(self, *question):
        return decode(self.ask(*question)[0], self.known)


class NoProgram(Exception):
    pass


class Remote:
    """An object of the solution. It has no say in comparisons: it equals itself alone."""

    __slots__ = ("_solution", "_number")

    def __init__(self, solution, number):
        object.__setattr__(self, "_solution", solution)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args, **kwargs):
        solution, number = parts(self)
        solution.calls += 1
        sent = encode(args, solution.opaque)
        result, changed = solution.ask("call", number, sent, encode(kwargs, solution.opaque))
        if result is None and changed is not None:
            for old, new in zip(args, decode(changed, solution.known)):
                if type(old) is type(new) is list:
                    old[:] = new
                elif type(old) is type(new) and type(old) in (dict, set):
                    old.clear()
                    old.update(new)
        return decode(result, solution.known)

    def __getattr__(self, name):
        solution, number = parts(self)
        return solution.value("get", number, name)

    def __setattr__(self, name, value):
        solution, number = parts(self)
        solution.ask("set", number, name, encode(value, solution.opaque))

    def __getitem__(self, key):
        solution, number = parts(self)
        return solution.value("item", number, encode(key, solution.opaque))

    def __setitem__(self, key, value):
        solution, number = parts(self)
        solution.ask("put", number, encode(key, solution.opaque), encode(value, solution.opaque))

    def __iter__(self):
        solution, number = parts(self)
        values = solution.value("iter", number)
        while type(values) is Remote:
            found = solution.value("next", parts(values)[1])
            if type(found) is not tuple or len(found) != 1:
                return
            yield found[0]

    def __len__(self):
        solution, number = parts(self)
        return exactly(int, solution.value("len", number))

    def __bool__(self):
        solution, number = parts(self)
        return exactly(bool, solution.value("bool", number))

    def __float__(self):
        solution, number = parts(self)
        return exactly(float, solution.value("float", number))

    def __int__(self):
        solution, number = parts(self)
        return exactly(int, solution.value("int", number))

    def __repr__(self):
        return "<an object of the solution>"


def parts(remote):
    return object.__getattribute__(remote, "_solution"), object.__getattribute__(remote, "_number")


def exactly(kind, value):
    if type(value) is not kind:
        raise Gone("it said what is no answer")
    return value


def loaded(code):
    """The names that a piece of code may look for outside of itself."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= loaded(constant)
    return names


def called(tree):
    """The name that the asserts of tests without an entry point call: the first that is no builtin, if there is one."""
    calls = [
        node.func.id
        for check in ast.walk(tree)
        if isinstance(check, ast.Assert)
        for node in ast.walk(check.test)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    return next((name for name in calls if name not in BUILTIN), calls[0] if calls else None)


def standard(name):
    """A name of the standard library, or nothing."""
    for home in STANDARD:
        found = getattr(__import__(home), name, None)
        if found is not None:
            return found
    return None


KEPT = {}


def compiled(prefix, tests):
    key = (prefix, tests)
    if key not in KEPT:
        if len(KEPT) >= 256:
            KEPT.clear()
        given = None
        if prefix.strip():
            try:
                given = compile(prefix, "prefix.py", "exec", dont_inherit=True)
            except SyntaxError:
                # A prefix that is no program by itself gives no names to tests.
                pass
        tree = compile(tests, "tests.py", "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
        code = compile(tree, "tests.py", "exec", dont_inherit=True)
        KEPT[key] = (given, code, loaded(code), called(tree))
    return KEPT[key]


def failing_line(error, tests):
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "tests.py":
            line = trace.tb_lineno
        trace = trace.tb_next
    lines = tests.splitlines()
    return lines[line - 1].strip()[:200] if line and line <= len(lines) else ""


def judge(spec, fd):
    tests, entry_point = spec["tests"], spec["entry_point"]
    try:
        given, code, names, guess = compiled(spec["prefix"], tests)
    except (SyntaxError, ValueError) as error:
        return "unfit", f"the tests are no program: {error}"
    solution = Solution(fd)
    space = {"__name__": "tests", "__builtins__": builtins}
    random.seed(0)
    try:
        if given is not None:
            exec(given, space)
        # What the tests do not have is the solution's; of what is given they use their own.
        wanted = {name for name in names if name not in space and name not in BUILTIN}
        wanted |= {entry_point or guess} - {None}
        if entry_point:
            for name in wanted - {entry_point}:
                if standard(name) is not None:
                    space[name] = standard(name)
            wanted = {name for name in wanted if name == entry_point or name not in space}
        found = solution.ask("names", sorted(wanted))[0]
        if type(found) is not dict:
            raise Gone("it said what is no answer")
        for name in wanted & found.keys():
            form = found[name]
            if type(form) is list and form[:1] == ["m"]:
                # A module is the tests' own, and called what it is called.
                if form == ["m", name] and name in sys.stdlib_module_names:
                    space[name] = __import__(name)
            else:
                space[name] = decode(form, solution.known)
        if entry_point and entry_point not in found:
            return "wrong", f"it does not define `{entry_point}`"
        exec(code, space)
    except Unfit as error:
        return "unfit", str(error)
    except NoProgram as error:
        return "no program", str(error)
    except Gone as gone:
        return "wrong", f"no answer from it: {gone}"
    except BaseException as error:
        what = f"{type(error).__name__}: {error}"[:300].rstrip(": ")
        return "wrong", f"{what} in `{failing_line(error, tests)}`"
    if solution.dead is not None:
        return "wrong", f"no answer from it: {solution.dead}"
    if solution.calls == 0:
        return "unfit", "the tests never called the solution"
    return "passed", ""


def serve():
    control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, 3)
    jobs = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, 4)
    control.send(b"ready")
    while True:
        data, fds = take(jobs, 2)
        if not data:
            os._exit(0)
        before = time.process_time()
        spec = json.loads(content(fds[0]))
        try:
            verdict, why = judge(spec, fds[1])
        finally:
            os.close(fds[1])
        micros = int((time.process_time() - before) * 1e6)
        control.send(json.dumps([verdict, why[:2000], micros]).encode())


serve()
