"""Isolated environments, each with one version of onnxruntime and without hf2triton, like a Triton release.

    $HF2TRITON_CACHE or ~/.cache/hf2triton
    └── runtimes/onnxruntime-1.17-python3.11/     a virtual environment; runtime.json says what is in it

An environment is made under another name and then renamed, so any folder with its final name is complete. pip makes it from the
package index it is configured with.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import RuntimeUnavailable

#: Where environments are kept, instead of the user's cache.
CACHE = "HF2TRITON_CACHE"
#: Interpreters to try after this one, because a version of onnxruntime may have no wheel for this Python.
PYTHONS = ("python3.13", "python3.12", "python3.11", "python3.10", "python3.9", "python3.14")
#: The first onnxruntime built for numpy 2.
_NUMPY_2 = (1, 19)
_ABOUT = "runtime.json"
_ASK_PYTHON = "import platform; print(platform.python_version())"
_ASK_PACKAGES = (
    "import json, numpy, onnxruntime;"
    " print(json.dumps({'onnxruntime': onnxruntime.__version__, 'numpy': numpy.__version__}))"
)


@dataclass(frozen=True)
class Runtime:
    """An environment on disk: its interpreter, and the installed versions."""

    interpreter: Path
    python: str
    onnxruntime: str
    numpy: str


def find_runtime(version: str) -> Runtime:
    """Returns the environment with an onnxruntime, and makes it if there is none. `version` "1.16.3" is exact, "1.17" means its
    newest patch.

    This interpreter's Python is tried first, then those on the PATH. Raises RuntimeUnavailable, which says why none can be made.
    """
    root = os.environ.get(CACHE)
    cache = (Path(root) if root else Path.home() / ".cache" / "hf2triton") / "runtimes"
    refusals = []
    try:
        cache.mkdir(parents=True, exist_ok=True)
        places = {
            cache.resolve() / f"onnxruntime-{version}-python{minor}": found for minor, found in _interpreters().items()
        }
        for folder in places:
            kept = _kept(folder)
            if kept is not None:
                return kept
        for folder, (interpreter, python) in places.items():
            try:
                with _locked(folder.with_name(f".{folder.name}.lock")):
                    return _kept(folder) or _make(folder, interpreter, python, version)
            except _Refused as refused:
                refusals.append(f"Python {python}: {refused}")
    except OSError as error:
        reason = error.strerror or error
        raise RuntimeUnavailable(f"{cache} cannot be written ({reason}); name another folder in {CACHE}") from error
    raise RuntimeUnavailable(
        f"no environment with onnxruntime {version} could be made ({'; '.join(refusals)}). Check that pip reaches its package"
        f" index, and put a Python on the PATH that onnxruntime {version} has wheels for"
    )


def requirements(version: str) -> list[str]:
    """The requirements for pip."""
    numbers = tuple(int(number) for number in version.split("."))
    exact = f"onnxruntime=={version}" if len(numbers) > 2 else f"onnxruntime=={version}.*"
    return [exact, "numpy" if numbers >= _NUMPY_2 else "numpy<2"]


class _Refused(Exception):
    """An interpreter from which an environment cannot be made."""


def _interpreters() -> dict[str, tuple[str, str]]:
    """Minor version -> interpreter and its Python version: this interpreter, then others on the PATH, in the order to try."""
    found: dict[str, tuple[str, str]] = {}
    for candidate in (sys.executable, *filter(None, map(shutil.which, PYTHONS))):
        asked = subprocess.run([candidate, "-I", "-c", _ASK_PYTHON], capture_output=True, text=True)
        python = asked.stdout.strip()
        if asked.returncode == 0:  # a version manager's shim may have no interpreter behind it
            found.setdefault(".".join(python.split(".")[:2]), (candidate, python))
    return found


def _kept(folder: Path) -> Runtime | None:
    """The environment in a folder, unless the Python it was made from is gone."""
    interpreter = folder / "bin" / "python"
    if not interpreter.exists():
        return None
    return Runtime(interpreter, **json.loads((folder / _ABOUT).read_text(encoding="utf-8")))


def _make(folder: Path, interpreter: str, python: str, version: str) -> Runtime:
    """Makes the environment, tries it and moves it into place. Raises _Refused."""
    prefix = f".{folder.name}.new-"
    for left in (*folder.parent.glob(f"{prefix}*"), folder):  # from a run that was killed, or a Python that is gone
        shutil.rmtree(left, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        _run(interpreter, "-I", "-m", "venv", new)
        own = new / "bin" / "python"
        options = ("--quiet", "--disable-pip-version-check", "--only-binary", ":all:")
        _run(own, "-I", "-m", "pip", "install", *options, *requirements(version))
        about = {"python": python, **json.loads(_run(own, "-I", "-c", _ASK_PACKAGES))}
        (new / _ABOUT).write_text(json.dumps(about) + "\n", encoding="utf-8")
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return Runtime(folder / "bin" / "python", **about)


def _run(*command: object) -> str:
    """Returns what a command prints. Raises _Refused with pip's error lines, or else the beginning of the output."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"it ended with {done.returncode}").splitlines()
        errors = [line for line in said if line.startswith("ERROR:")]
        raise _Refused(errors[-1] if errors else " ".join(said)[:300])
    return done.stdout


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Admits one process at a time. The lock ends with the process that holds it; the file stays."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
