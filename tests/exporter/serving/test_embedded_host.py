"""The host of an embedded server goes on whatever becomes of its log."""

from __future__ import annotations

import errno
import io
import os
import sys

from hf2triton.serving.embedded_host import EmbeddedHost


def host(log: str, tell: bool = True) -> EmbeddedHost:
    control = {"url": "http://127.0.0.1:1", "headers": {}}
    plan = {"log": log, "tell": tell, "control": control, "metrics": control, "repository": "", "parent": os.getppid()}
    return EmbeddedHost({**plan, "backends": [], "renews": False, "shm_prefix": "hf2triton-test-"})


def test_it_says_what_it_does(tmp_path, capsys):
    """In the log, and where an operator reads it."""
    host(str(tmp_path / "log")).say("a message")
    assert (tmp_path / "log").read_text() == "hf2triton: a message\n"
    assert capsys.readouterr().err == "hf2triton: a message\n"
    host(str(tmp_path / "log"), tell=False).say("another")
    assert capsys.readouterr().err == ""


def test_a_full_disk_is_no_reason_to_end(monkeypatch):
    """Nor is that nobody reads any more."""

    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("sys.stderr", Full())
    host("/dev/full").say("a message")
    assert sys.stderr.getvalue() == "hf2triton: a message\n"
