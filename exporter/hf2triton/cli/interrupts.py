"""Ctrl-C: what was begun is undone, and the command ends quietly with exit code 130."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

#: The exit code of a command that was interrupted: 128 and the number of SIGINT.
EXIT_CODE = 130

_interrupted = False


@contextmanager
def undone() -> Iterator[None]:
    """An interrupt raises KeyboardInterrupt in the main thread, so that `with` and `finally` blocks undo what was begun.

    What follows counts as interrupted, whatever it raises: libraries turn a KeyboardInterrupt into other errors, or lose it.
    Raises SystemExit with the exit code.
    """
    global _interrupted
    _interrupted = False
    with _on_interrupt(_raise):
        try:
            yield
        except BaseException:
            if _interrupted:
                raise _ended() from None
            raise
        if _interrupted:
            raise _ended()


def check() -> None:
    """Raises KeyboardInterrupt if there was an interrupt that a library has swallowed. Called between two stages."""
    if _interrupted:
        raise KeyboardInterrupt


def _raise(number: int, frame: FrameType | None) -> None:
    global _interrupted
    if not _interrupted:
        _interrupted = True
        sys.unraisablehook = _again
        threading.excepthook = lambda _: None  # what other threads were doing is cut off
    raise KeyboardInterrupt


def _again(lost: sys.UnraisableHookArgs) -> None:
    """An interrupt in a destructor or a callback is lost: it is raised again elsewhere. Other errors have it as their cause."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        _thread.interrupt_main()


def _ended() -> SystemExit:
    if sys.stderr.isatty():
        sys.stderr.write("\n")  # after the terminal's ^C
    return SystemExit(EXIT_CODE)


@contextmanager
def _on_interrupt(handler: Any) -> Iterator[None]:
    """Handles SIGINT, unless it is ignored, or another thread is the main thread."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    hooks = sys.unraisablehook, threading.excepthook
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if not _interrupted:
            sys.unraisablehook, threading.excepthook = hooks
