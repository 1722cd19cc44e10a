"""What a server is told of who may call, and mistakes in it; docker/serve.sh tells the same."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from hf2triton.cli import main
from hf2triton.core.control import CONTROL_KEY, CONTROL_KEY_FILE, control_key
from hf2triton.errors import UsageError
from hf2triton.serving.access import Access, server_tls

from ...certificates import make_certificates

SCRIPT = Path(__file__).parents[3] / "docker" / "serve.sh"
KEY = "a key: with, odd=characters"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def script(tmp_path, monkeypatch):
    """serve.sh with a tritonserver that tells its arguments."""
    fake = tmp_path / "tritonserver"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "key in the environment: ${HF2TRITON_CONTROL_KEY-none}"\n')
    fake.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"

    def run(**environment: str) -> subprocess.CompletedProcess:
        return subprocess.run([str(SCRIPT)], env={"PATH": path, **environment}, capture_output=True, text=True)

    return run


@pytest.mark.parametrize("option", ["none", "tls", "mutual_tls"])
def test_the_container_is_told_the_same(made, script, option):
    """The flags for TLS and for what wants the key are equal, word for word, and the key is not handed on to models."""
    folder = {} if option == "none" else {option: made / "server"}
    variables = {f"HF2TRITON_{name.upper()}": str(path) for name, path in folder.items()}
    told = script(HF2TRITON_CONTROL_KEY=KEY, **variables).stdout.splitlines()
    tls = server_tls(folder.get("tls"), folder.get("mutual_tls"))
    expected = Access(tls, key=KEY).flags()
    assert [
        line for line in told if "restricted" in line or "grpc-use" in line or "-cert" in line or "-key=" in line
    ] == expected
    addresses = [line for line in told if "-address" in line]
    assert addresses == ([] if tls is None else ["--http-address=127.0.0.1", "--metrics-address=0.0.0.0"])
    assert told[-1] == "key in the environment: none"


def test_the_key_may_lie_in_a_file(script, tmp_path):
    """It counts before the variable; compose mounts /dev/null where there is none."""
    (tmp_path / "key").write_text(f"{KEY}\n")
    for file, expected in ((tmp_path / "key", KEY), (Path("/dev/null"), "other")):
        told = script(HF2TRITON_CONTROL_KEY_FILE=str(file), HF2TRITON_CONTROL_KEY="other").stdout.splitlines()
        keys = {line.partition("hf2triton-control=")[2] for line in told if "restricted" in line}
        assert keys == {expected}


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"HF2TRITON_TLS": "missing"}, "missing/tls.crt is needed for TLS"),
        ({"HF2TRITON_MUTUAL_TLS": "incomplete"}, "incomplete/ca.crt is needed for TLS"),
        ({"HF2TRITON_TLS": "server", "HF2TRITON_MUTUAL_TLS": "server"}, "set it alone, without HF2TRITON_TLS"),
        ({"HF2TRITON_CONTROL_KEY_FILE": "missing"}, "missing cannot be read"),
        ({"HF2TRITON_CONTROL_KEY_FILE": "empty"}, "empty is empty"),
    ],
)
def test_the_container_does_not_start_with_less(made, script, tmp_path, variables, told):
    """What was asked for and cannot be had ends the start: it never serves without."""
    (tmp_path / "incomplete").mkdir()
    for name in ("tls.crt", "tls.key"):
        shutil.copy(made / "server" / name, tmp_path / "incomplete")
    (tmp_path / "empty").touch()
    shutil.copytree(made / "server", tmp_path / "server")
    result = script(**{name: str(tmp_path / value) for name, value in variables.items()})
    assert (result.returncode, result.stdout) == (2, "")
    assert told in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--tls", "server", "--mutual-tls", "server"], "give it alone, without --tls"),
        (["--tls", "missing"], "--tls missing: the folder lacks tls.crt and tls.key"),
        (["--mutual-tls", "incomplete"], "--mutual-tls incomplete: the folder lacks ca.crt"),
        (["--tls", "mixed"], "must be a certificate and its own key"),
        (["--control-key", "missing"], "the control key cannot be read"),
        (["--control-key", "lines"], "one line of printable ASCII"),
        (["--control-key", "empty"], "one line of printable ASCII"),
    ],
)
def test_mistakes_are_told(made, arguments, told, monkeypatch):
    """In one line, before anything starts: exit code 2."""
    monkeypatch.chdir(made)
    for folder, key in (("incomplete", "server"), ("mixed", "caller")):
        Path(folder).mkdir(exist_ok=True)
        shutil.copy("server/tls.crt", folder)
        shutil.copy(f"{key}/tls.key", folder)
    Path("lines").write_text("one\ntwo\n")
    Path("empty").touch()
    result = CliRunner().invoke(main, ["serve", *arguments])
    assert result.exit_code == 2
    assert told in result.output
    assert len(result.output.splitlines()) == 1


def test_where_a_key_comes_from(tmp_path, monkeypatch):
    """A file that is given, then one that the environment names, then the environment's own; without any there is none."""
    for name in (CONTROL_KEY, CONTROL_KEY_FILE):
        monkeypatch.delenv(name, raising=False)
    assert control_key() is None
    monkeypatch.setenv(CONTROL_KEY, "from the environment")
    assert control_key() == "from the environment"
    for name in ("named", "given"):
        (tmp_path / name).write_text(f"from the {name} file\n")
    monkeypatch.setenv(CONTROL_KEY_FILE, str(tmp_path / "named"))
    assert control_key() == "from the named file"
    assert control_key(tmp_path / "given") == "from the given file"
    monkeypatch.delenv(CONTROL_KEY_FILE)
    monkeypatch.setenv(CONTROL_KEY, "ключ")
    with pytest.raises(UsageError, match="printable ASCII"):
        control_key()


def test_made_up_keys_differ():
    """And are not shown by whoever prints the object."""
    one, other = Access(), Access()
    assert one.key != other.key
    assert len(one.key) == 32
    assert one.key not in repr(one)
