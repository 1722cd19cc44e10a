"""What `hf2triton lint` knows: vulnerabilities with their releases, and what served code may not do."""

import re
from datetime import date, timedelta
from pathlib import Path

import pytest

import hf2triton
from hf2triton.graph.passes.release import find_release
from hf2triton.lint import RULES, cves
from hf2triton.lint.cves import CHECKED, CVES, cves_of, release_of
from hf2triton.lint.python_audit import audit

PACKAGE = Path(hf2triton.__file__).parent
#: All Python that runs within a server.
SERVED = sorted([*PACKAGE.glob("triton_models/**/*.py"), *PACKAGE.glob("serving/onnxruntime_backend/*.py")])


@pytest.mark.parametrize("cve", CVES, ids=lambda cve: cve.id)
def test_every_vulnerability_is_whole(cve):
    """With a source, a score, and the release that has the fix, which is a release of Triton."""
    assert re.fullmatch(r"CVE-20\d\d-\d{4,5}", cve.id)
    assert re.fullmatch(r"https://nvidia\.custhelp\.com/app/answers/detail/a_id/\d{4}", cve.source)
    assert 0 < cve.score <= 10
    assert re.fullmatch(r"2\d\.(0[1-9]|1[0-2])", cve.fixed)
    assert cve.fixed < "23.12" or find_release(cve.fixed)
    assert cve.what
    assert cve.since < cve.fixed


def test_vulnerabilities_are_listed_once():
    """In the order of the releases that have the fixes."""
    assert len({cve.id for cve in CVES}) == len(CVES)
    assert [cve.fixed for cve in CVES] == sorted(cve.fixed for cve in CVES)


def test_the_list_says_how_old_it_is(monkeypatch):
    """In the words of findings, whatever day it is."""

    class Later(date):
        @classmethod
        def today(cls):
            return CHECKED + timedelta(days=41)

    monkeypatch.setattr(cves, "date", Later)
    assert cves.known_since() == f"vulnerabilities as known on {CHECKED.isoformat()}, 41 days ago"
    monkeypatch.setattr(Later, "today", classmethod(lambda cls: CHECKED + timedelta(days=1)))
    assert cves.known_since().endswith(", 1 day ago")


def test_releases_have_what_is_fixed_later():
    """The Python backend's chain of 2025 is in 25.06 and not in 25.07; nothing is known of the newest."""
    chain = {"CVE-2025-23319", "CVE-2025-23320", "CVE-2025-23334"}
    assert chain <= {cve.id for cve in cves_of("25.06")}
    assert not chain & {cve.id for cve in cves_of("25.07")}
    assert [cve.id for cve in cves_of("26.06")] == ["CVE-2026-16497"]
    assert cves_of("26.08") == []
    assert "CVE-2024-0103" not in {cve.id for cve in cves_of("23.09")}
    assert cves_of("25.06")[0].score == 9.8


@pytest.mark.parametrize(
    ("version", "release"),
    [
        ("2.40.0", "23.11"),
        ("2.42.0", "24.01"),
        ("2.46.0", "24.05"),
        ("2.51.0", "24.10"),
        ("2.53.0", "24.12"),
        ("2.59.0", "25.06"),
        ("2.59.1", "25.07"),
        ("2.60.0", "25.08"),
        ("2.70.0", "26.06"),
        ("2.51.0dev", "24.10"),
        ("1.14.0", None),
        ("", None),
        ("KServe 0.15", None),
    ],
)
def test_a_server_tells_its_release_by_its_version(version, release):
    """As NVIDIA's release notes have them; there were two 2.59 and every other month has its own number."""
    assert release_of(version) == release


@pytest.mark.parametrize("path", SERVED, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_served_code_does_nothing_that_it_must_not(path):
    """It evaluates, unpickles, starts and writes nothing, and connects to no other machine."""
    assert audit(path.read_text(encoding="utf-8")) == ()


def test_all_served_code_is_looked_at():
    """The frontends with the engine, and the stand-in for the backend."""
    assert {path.name for path in SERVED} >= {"model.py", "generation_frontend.py", "scheduler.py", "preprocessors.py"}
    assert len(SERVED) > 20


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("eval('1')", "eval"),
        ("exec(code)", "exec"),
        ("compile(code, 'x', 'exec')", "compile"),
        ("__import__('os')", "__import__"),
        ("run = eval", "eval"),
        ("import pickle", "pickle"),
        ("import numpy, marshal as m", "marshal"),
        ("from shelve import open", "shelve"),
        ("import subprocess", "subprocess"),
        ("from ctypes import cdll", "ctypes"),
        ("from ctypes import CDLL, cdll", "ctypes"),
        ("from ctypes import CDLL\nCDLL(None).system(b'ls')", "ctypes.CDLL"),
        ("from ctypes import CDLL\ngetattr(CDLL(None), 'system', None)", "ctypes.CDLL"),
        ("from ctypes import CDLL\ngetattr(CDLL(None), name, None)", "ctypes.CDLL"),
        ("from ctypes import CDLL\ngetattr(CDLL('x.so'), 'mallopt', None)", "ctypes.CDLL"),
        ("from ctypes import CDLL as C\ngetattr(C(None), 'mallopt', None)", "ctypes.CDLL"),
        ("from ctypes import CDLL\nlibrary = CDLL", "ctypes.CDLL"),
        ("import importlib.util", "importlib.util"),
        ("import socket", "socket"),
        ("from urllib.request import urlopen", "urllib.request"),
        ("from socket import create_connection, create_server", "socket"),
        ("from socket import create_connection\ncreate_connection(('10.0.0.1', 80))", "socket.create_connection"),
        ("from socket import create_connection\ncreate_connection((host, 80))", "socket.create_connection"),
        ("from socket import create_connection\ncreate_connection(*['127.0.0.1'])", "socket.create_connection"),
        ("from socket import create_connection as go\nask(go)", "socket.create_connection"),
        ("import os\nos.system('ls')", "os.system"),
        ("import os as o\no.popen('ls')", "os.popen"),
        ("from os import system\nsystem('ls')", "os.system"),
        ("from os import execvp as go\ngo('ls', [])", "os.execvp"),
        ("import os\nos.spawnl(0, 'ls')", "os.spawnl"),
        ("import os\nos.remove('x')", "os.remove"),
        ("import os\nlist(map(os.unlink, names))", "os.unlink"),
        ("import torch\ntorch.load('x')", "torch.load"),
        ("import numpy as np\nnp.load('x', allow_pickle=True)", "allow_pickle"),
        ("import numpy as np\nnp.load('x', allow_pickle=given)", "allow_pickle"),
        ("import numpy as np\nnp.save('x', array)", "numpy.save"),
        ("array.tofile('x')", "tofile"),
        ("open('x', 'w')", "open"),
        ("open('x', mode='ab')", "open"),
        ("open('x', given)", "open"),
        ("import io\nio.open('x', 'r+')", "io.open"),
        ("path.open('w')", "path.open"),
        ("path.write_text('x')", "write_text"),
        ("Path('x').write_bytes(b'')", "write_bytes"),
        ("Path('x').unlink()", "unlink"),
        ("def f():\n    if x:\n        import pickle", "pickle"),
    ],
)
def test_the_audit_finds(code, name):
    """In whatever way it was imported, at the line where it stands."""
    [found] = {(one.name, one.line) for one in audit(code)}
    assert found == (name, len(code.splitlines()))


@pytest.mark.parametrize(
    "code",
    [
        "import re\nre.compile('x')",
        "open('x')",
        "open('x', 'rb')",
        "open('x', encoding='utf-8')",
        "path.open()",
        "path.open('rb')",
        "import numpy as np\nnp.load('x')\nnp.load('x', allow_pickle=False)",
        "import os\nos.path.join('a', 'b')\nos.sched_getaffinity(0)",
        "text.replace('a', 'b')",
        "from .code import shelve",
        "session.run(None, {})",
        "model.eval()",
        "from socket import create_connection\nwith create_connection(('127.0.0.1', port), timeout=1) as s:\n    pass",
        "from ctypes import CDLL\ntrim = getattr(CDLL(None), 'malloc_trim', None)",
    ],
)
def test_the_audit_leaves_alone(code):
    """What only looks like it."""
    assert audit(code) == ()


def test_rules_are_named_and_told():
    """By what they look at first; each says what it finds."""
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", id) for id in RULES)
    assert all(rule.what and rule.scope in ("model", "repository", "server") for rule in RULES.values())
