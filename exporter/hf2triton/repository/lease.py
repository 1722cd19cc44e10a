"""A lock made of objects, for stores without renames or locks. It only needs listings that show what was written.

A publisher that wants the lock writes its own object and lists all of them. If its object is the only one, it has the lock;
otherwise it removes its object and tries again after a random pause. If two publishers come at the same time, at least one sees
the other. The holder keeps rewriting its object. An object that was not written for `seconds` belongs to a killed publisher and
is removed; ages are measured with the store's clock.
"""

from __future__ import annotations

import getpass
import json
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import Any

from ..errors import RepositoryError

#: A holder that does not write for this long loses the lock. It writes four times in this period.
SECONDS = 60.0


class Lease:
    """A lock in `folder` of an fsspec file system."""

    def __init__(self, fs: Any, folder: str, seconds: float) -> None:
        self._fs, self._folder, self._seconds = fs, folder, seconds
        self._own = f"{folder}/{secrets.token_hex(8)}.json"
        self._written = 0.0

    @contextmanager
    def held(self, waiting: Callable[[str], None]) -> Iterator[None]:
        """Waits for the lock and keeps it until the block ends."""
        told = False
        try:
            while holder := self._try():
                if not told:
                    waiting(f"wait for another publisher: {holder}")
                    told = True
                time.sleep(random.uniform(0.02, 0.1) * self._seconds / 4)
            with self._kept():
                yield
        finally:
            self._remove(self._own)

    def check(self) -> None:
        """Raises RepositoryError unless the lock is certainly still held."""
        if time.monotonic() - self._written > self._seconds / 2 or self._own not in self._list():
            raise RepositoryError(
                f"the lock {self._own} was lost, as the store did not take a write for {self._seconds / 2:.0f} s; another"
                " publisher may have it now. Run it again"
            )

    def _try(self) -> str | None:
        """Takes the lock and returns None, or returns its holder."""
        self._write()
        now = self._fs.modified(self._own)
        live = []
        for path in self._list():
            if path == self._own:
                continue
            try:
                age = (now - self._fs.modified(path)).total_seconds()
            except FileNotFoundError:
                continue
            if age > self._seconds:
                self._remove(path)
            else:
                live.append(path)
        if not live:
            return None
        self._remove(self._own)
        return self._owner(live[0])

    def _write(self) -> None:
        began = time.monotonic()
        about = {
            "owner": f"{_user()} on {socket.gethostname()}, process {os.getpid()}",
            "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        self._fs.pipe_file(self._own, json.dumps(about).encode())
        self._written = began

    @contextmanager
    def _kept(self) -> Iterator[None]:
        done = threading.Event()

        def keep() -> None:
            while not done.wait(self._seconds / 4):
                try:
                    if self._own not in self._list():
                        return  # another publisher removed it as dead: stay dead
                    self._write()
                except Exception:  # any error of the store: `check` finds out if it lasted too long
                    continue

        thread = threading.Thread(target=keep, name="hf2triton-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _list(self) -> list[str]:
        self._fs.invalidate_cache()
        return sorted(self._fs.find(self._folder))

    def _owner(self, path: str) -> str:
        try:
            return str(json.loads(self._fs.cat_file(path))["owner"])
        except (OSError, ValueError, KeyError):
            return path

    def _remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._fs.rm_file(path)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user that it does not know
        return f"user {os.getuid()}"
