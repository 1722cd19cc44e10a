"""make-venv.sh takes the right Python of a PATH, or uv, and says in one line what is missing."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from hf2triton.serving.requirements import PYTHONS

from ..support import ASSETS, environment_without

ROOT = ASSETS.parents[1]
#: A Python that claims to be of a version, and to lack something. What it makes, it writes down.
PYTHON = """#!/bin/sh
if [ "$1" = -m ]; then echo "{name} $*" > "$LOG"; exit; fi
exec {python} -c "
import sys, sysconfig
sysconfig.get_path = lambda name: {headers!r}
sys.version_info = {version}
sys.modules |= dict.fromkeys({lacks})
exec(sys.argv[1])" "$2"
"""
UV = {"uv": '#!/bin/sh\necho "uv $*" > "$LOG"\n'}
COMPILERS = {"cc": "#!/bin/sh\n", "c++": "#!/bin/sh\n"}


def python(name: str, minor: int, lacks: tuple[str, ...] = (), headers: bool = True) -> dict[str, str]:
    """The file of a Python on a PATH."""
    return {
        name: PYTHON.format(
            name=name,
            python=shlex.quote(sys.executable),
            headers=sysconfig.get_path("include") if headers else "nowhere",
            version=(3, minor, 1, "final", 0),
            lacks=lacks,
        )
    }


@pytest.fixture
def run(tmp_path: Path):
    """Runs make-venv.sh with nothing on the PATH but the given files; what it made, and its status and message."""

    def run_with(files: dict[str, str], **variables: str) -> tuple[str, int, str]:
        folder, log = tmp_path / "bin", tmp_path / "log"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_text(content)
            (folder / name).chmod(0o755)
        environment = environment_without("PYTHON", "CC", "CXX", "PYTHONPATH")
        environment |= {"PATH": str(folder), "LOG": str(log), **variables}
        command = ["/bin/sh", str(ROOT / "make-venv.sh"), "env"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        return log.read_text().strip() if log.exists() else "", done.returncode, done.stderr.strip()

    return run_with


@pytest.mark.parametrize(
    ("files", "made"),
    [
        (python("python3", 11) | python("python3.12", 12), "python3 -m venv env"),
        (python("python3", 9) | python("python3.10", 10) | UV, "python3.10 -m venv env"),
        (python("python3", 13) | python("python3.12", 12) | COMPILERS, "python3.12 -m venv env"),
        (python("python3", 13) | COMPILERS | UV, "python3 -m venv env"),
        (python("python3", 14) | python("python3.13", 13) | COMPILERS, "python3.13 -m venv env"),
        (python("python3", 12, ("ensurepip",)) | python("python3.11", 11), "python3.11 -m venv env"),
        (python("python3", 14) | UV, "uv venv --quiet --seed --allow-existing --python 3.12 env"),
        (python("python3", 12, ("ensurepip",)) | UV, "uv venv --quiet --seed --allow-existing --python 3.12 env"),
        (python("python3", 13) | UV, "uv venv --quiet --seed --allow-existing --python 3.12 env"),
        (UV, "uv venv --quiet --seed --allow-existing --python 3.12 env"),
    ],
)
def test_the_choice(run, files, made):
    """Any Python 3.10 to 3.13 that can be used, 3.13 only where there is no older one, then uv's."""
    assert run(files) == (made, 0, "")


def test_a_named_python_wins(run):
    """PYTHON is taken, whatever else is there."""
    files = python("python3", 12) | python("mine", 11) | UV
    assert run(files, PYTHON="mine") == ("mine -m venv env", 0, "")


VENV = "python3 has no venv: install it (Debian: apt-get install python3-venv)"
COMPILER = "python3 is Python 3.13, for which pip compiles numpy 1.26.4: install a C and C++ compiler"


@pytest.mark.parametrize(
    ("files", "named", "said"),
    [
        ({}, "", "there is no Python 3.10 to 3.13: install one or uv, which brings one"),
        (python("python3", 14) | python("python3.10", 9), "", "there is no Python 3.10 to 3.13"),
        (python("python3", 12, ("ensurepip",)), "", VENV),
        (python("python3", 11, ("venv",)), "", VENV),
        (python("python3", 13), "", COMPILER),
        (python("python3", 13) | {"cc": COMPILERS["cc"]}, "", COMPILER),
        (python("python3", 13, headers=False) | COMPILERS, "", COMPILER),
        (python("python3", 12) | UV, "python3.99", "python3.99 does not run: check the name"),
        (python("python3", 14) | UV, "python3", "python3 is not Python 3.10 to 3.13"),
        (python("python3", 12, ("ensurepip",)) | UV, "python3", VENV),
    ],
)
def test_what_is_missing_is_one_line(run, files, named, said):
    """Nothing is made; what is missing is told apart, with what to do about it."""
    made, status, message = run(files, **({"PYTHON": named} if named else {}))
    assert (made, status) == ("", 1)
    assert message.startswith(f"make: {said}")
    assert message.count("\n") == 0


def test_all_files_agree_on_pythons_and_pins():
    """The script, the server's check and the classifiers name the same Pythons; 3.13's packages have the same versions
    everywhere."""
    project, makefile, script = ((ROOT / name).read_text() for name in ("pyproject.toml", "Makefile", "make-venv.sh"))
    (_, first), (_, last) = PYTHONS
    assert re.findall(r"Python :: 3\.(\d+)", project) == [str(minor) for minor in range(first, last + 1)]
    assert f"Python 3.{first} to 3.{last}" in script
    pins = re.search(r"^ON_313 := (.*)$", makefile, re.MULTILINE)[1]
    assert f'"{pins.split()[0]}; ' in project
    assert pins in (ROOT / "exporter" / "hf2triton" / "serving" / "requirements.py").read_text()
    assert pins.split()[1].replace("==", " ") in script
