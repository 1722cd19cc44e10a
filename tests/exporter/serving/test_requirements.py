"""What the embedded server needs is checked before it starts, and each thing missing is said."""

import socket
import sys

import pytest

from hf2triton.errors import ServingError
from hf2triton.serving import requirements
from hf2triton.serving.requirements import check_ports, check_requirements


def test_this_machine_has_all():
    """Where the tests run, the server can run: its parts are found."""
    found = check_requirements()
    for path in (found.tritonserver, found.libraries, found.python_backend, found.stub, found.caches):
        assert path.exists()


@pytest.mark.parametrize(
    ("target", "name", "value", "message"),
    [
        (requirements.metadata, "version", lambda package: "2.1.0", "numpy below 2; this is 2.1.0"),
        (sys, "version_info", (3, 14, 1, "final", 0), "Python 3.10 to 3.13"),
        (requirements.platform, "machine", lambda: "aarch64", "Linux on x86_64; this is linux on aarch64"),
        (requirements.platform, "libc_ver", lambda: ("glibc", "2.31"), "glibc 2.35 or newer; this is glibc 2.31"),
        (requirements.platform, "libc_ver", lambda: ("", ""), "another C library"),
        (requirements.shutil, "which", lambda name: None, "bash on the PATH"),
        (requirements, "_libpython_folder", lambda: None, "the interpreter as a shared library"),
        (requirements.importlib.util, "find_spec", lambda name: None, "pip install 'hf2triton[serve]'"),
    ],
)
def test_what_is_missing_is_said(monkeypatch, target, name, value, message):
    """Each need that is not met is named, with what is there and what to do."""
    monkeypatch.setattr(target, name, value)
    with pytest.raises(ServingError, match=message.replace("[", r"\[")):
        check_requirements()


@pytest.mark.parametrize(
    ("version", "command"),
    [((3, 12), "pip install 'numpy<2'"), ((3, 13), "pip install --no-deps nvidia-pytriton==0.7.0 numpy==1.26.4")],
)
def test_the_command_fits_the_python(monkeypatch, version, command):
    """On 3.13 pip refuses this numpy as a dependency beside ml_dtypes, so the command leaves dependencies out."""
    monkeypatch.setattr(requirements.metadata, "version", lambda package: "2.1.0")
    monkeypatch.setattr(sys, "version_info", (*version, 1, "final", 0))
    with pytest.raises(ServingError) as caught:
        check_requirements()
    assert f"empty tensors: {command}" in str(caught.value)


def test_everything_missing_is_listed_at_once(monkeypatch):
    """One error lists all problems, not the first alone."""
    monkeypatch.setattr(requirements.shutil, "which", lambda name: None)
    monkeypatch.setattr(requirements.metadata, "version", lambda package: "2.0.0")
    with pytest.raises(ServingError) as caught:
        check_requirements()
    assert str(caught.value).count("\n  - ") == 2


def test_a_port_in_use_is_named():
    """The option and the port are named, so that the user knows what to change."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServingError, match=f"--grpc-port {port}"):
            check_ports({"grpc": "127.0.0.1"}, {"grpc": port})
