"""Finds what Python code inside a server must not do: run other code, unpickle, start processes, write, open connections to other
machines.

It reads the code's syntax tree, without running it. It finds what is written plainly, however it was imported. It does not find
code that hides what it calls (`getattr` with a name made at run time), so the file digests are checked as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

_RUNS, _UNPICKLES, _SHELL, _WRITES, _CONNECTS = (
    "runs code that it is given",
    "unpickles, which runs code",
    "starts processes",
    "writes or removes files",
    "opens connections",
)
#: Modules that served code must not import -> what they do.
MODULES: Mapping[str, str] = {
    **dict.fromkeys(("code", "codeop", "runpy", "importlib", "imp", "builtins", "ctypes", "cffi", "pty"), _RUNS),
    **dict.fromkeys(("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"), _UNPICKLES),
    **dict.fromkeys(("subprocess", "multiprocessing", "pexpect", "sh"), _SHELL),
    **dict.fromkeys(("shutil", "tempfile", "sqlite3", "dbm"), _WRITES),
    **dict.fromkeys(("socket", "socketserver", "http", "urllib", "ftplib", "smtplib", "ssl", "asyncio"), _CONNECTS),
    **dict.fromkeys(("requests", "httpx", "aiohttp", "urllib3", "paramiko", "websockets"), _CONNECTS),
}
_OF_OS = {
    **dict.fromkeys(("system", "popen", "fork", "forkpty", "posix_spawn", "posix_spawnp", "kill", "killpg"), _SHELL),
    **dict.fromkeys((f"exec{one}" for one in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")), _SHELL),
    **dict.fromkeys((f"spawn{one}" for one in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")), _SHELL),
    **dict.fromkeys(("remove", "unlink", "rmdir", "removedirs", "rename", "renames", "replace", "mkdir"), _WRITES),
    **dict.fromkeys(("makedirs", "link", "symlink", "chmod", "chown", "truncate", "write", "open", "mkfifo"), _WRITES),
}
#: Functions -> what they do. Names without a dot are Python's builtins.
CALLS: Mapping[str, str] = {
    **dict.fromkeys(("eval", "exec", "compile", "__import__", "breakpoint"), _RUNS),
    **{f"os.{name}": what for name, what in _OF_OS.items()},
    "socket.create_connection": _CONNECTS,
    "ctypes.CDLL": _RUNS,
    **dict.fromkeys(("torch.load", "numpy.lib.format.read_array"), _UNPICKLES),
    **dict.fromkeys(("numpy.save", "numpy.savez", "numpy.savez_compressed", "numpy.savetxt", "numpy.memmap"), _WRITES),
}
#: Methods of any object -> what they do.
METHODS: Mapping[str, str] = dict.fromkeys(
    ("write_text", "write_bytes", "tofile", "touch", "unlink", "rmdir", "symlink_to", "hardlink_to"), _WRITES
)
#: How these modules are imported; nothing else in them may be.
_ONLY = (("socket", ["create_connection"]), ("ctypes", ["CDLL"]))
#: This machine. Code may open connections to it if the address is plain to see, because its server's metrics are there.
LOOPBACK = "127.0.0.1"
#: Functions of the C library that control what the process's heap keeps, and how code may look them up.
HEAP = ("mallopt", "malloc_trim")
_FOUND = {f"getattr(CDLL(None), {name!r}, None)" for name in HEAP}
#: Functions that open files -> the position of the mode.
_OPENERS = {"open": 1, "io.open": 1, "codecs.open": 1}


@dataclass(frozen=True)
class Misdeed:
    """The `line` of the code, the `name` it uses there, and `what` that does."""

    line: int
    name: str
    what: str


@lru_cache(1024)  # entries share most of their files
def audit(code: str) -> tuple[Misdeed, ...]:
    """What a file does but must not do, in the order of its lines. Raises SyntaxError."""
    tree = ast.parse(code)
    names = _imported(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    harmless = {id(node.func) for node in calls if _stays_here(node, names)}
    inner = [node.args[0] for node in calls if ast.unparse(node) in _FOUND]
    harmless |= {id(node.func) for node in inner if isinstance(node, ast.Call)}
    found: list[Misdeed] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found += _imports(node)
        elif isinstance(node, ast.Call):
            found += _calls(node, names)
        elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            # a function may be passed on and called elsewhere
            name = _dotted(node, names)
            if name is not None and name in CALLS and name not in _OPENERS and id(node) not in harmless:
                found.append(Misdeed(node.lineno, name, CALLS[name]))
    return tuple(sorted(set(found), key=lambda one: (one.line, one.name)))


def _imported(tree: ast.AST) -> dict[str, str]:
    """Names in the code -> what they stand for: `np` -> `numpy`, `run` -> `subprocess.run`."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                names[one.asname or one.name.split(".")[0]] = one.name if one.asname else one.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return names


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[Misdeed]:
    if isinstance(node, ast.ImportFrom) and node.level:
        return  # a file beside it, which is checked as well
    if isinstance(node, ast.ImportFrom) and (node.module, [one.name for one in node.names]) in _ONLY:
        return  # each use of it is checked
    modules = [one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    for module in modules:
        if what := MODULES.get(module.split(".")[0]):
            yield Misdeed(node.lineno, module, what)


def _stays_here(node: ast.Call, names: Mapping[str, str]) -> bool:
    """Whether a call connects to this machine, by a literal address."""
    address = node.args[0] if node.args else None
    return (
        _dotted(node.func, names) == "socket.create_connection"
        and isinstance(address, ast.Tuple)
        and bool(address.elts)
        and isinstance(address.elts[0], ast.Constant)
        and address.elts[0].value == LOOPBACK
    )


def _calls(node: ast.Call, names: Mapping[str, str]) -> Iterator[Misdeed]:
    name = _dotted(node.func, names)
    if name in _OPENERS or (isinstance(node.func, ast.Attribute) and node.func.attr == "open" and name not in CALLS):
        yield from _opens(node, name or "open", _OPENERS.get(name or "", 0))
    elif isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
        yield Misdeed(node.lineno, node.func.attr, METHODS[node.func.attr])
    for keyword in node.keywords:
        if keyword.arg == "allow_pickle" and not (
            isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        ):
            yield Misdeed(node.lineno, "allow_pickle", _UNPICKLES)


def _opens(node: ast.Call, name: str, position: int) -> Iterator[Misdeed]:
    given = [keyword.value for keyword in node.keywords if keyword.arg == "mode"] or node.args[position : position + 1]
    if not given:
        return
    mode = given[0].value if isinstance(given[0], ast.Constant) else None
    # an unknown mode may write; the first argument of a method `open` may not be a mode at all
    if mode is None or (isinstance(mode, str) and set(mode) <= set("rwaxbt+U") and set(mode) & set("wax+")):
        yield Misdeed(node.lineno, name, _WRITES)


def _dotted(node: ast.AST, names: Mapping[str, str]) -> str | None:
    """Returns `numpy.load` for `np.load`; None for what is not a name."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([names.get(node.id, node.id), *reversed(parts)])
