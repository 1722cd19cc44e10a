"""A way to the server that cuts, delays, half-closes and swallows, as networks do."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field

#: A socket that is closed with this sends a reset, not an orderly end.
_RESET = struct.pack("ii", 1, 0)


@dataclass
class _Half:
    """One direction of a connection. `waiting`: when each piece may go on."""

    source: socket.socket
    target: socket.socket
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)
    ended: bool = False


class Proxy:
    """Hands bytes on between callers of `url` and the server behind it. `delay`: seconds that each piece waits, at least and at
    most."""

    def __init__(self, behind: str, port: int) -> None:
        host, _, number = behind.rpartition(":")
        self._behind = host, int(number)
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.url = f"127.0.0.1:{port}"
        self.delay = (0.0, 0.0)
        self._lock = threading.Lock()
        self._pairs: list[tuple[_Half, _Half]] = []
        self._silent: list[socket.socket] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        return len(self._pairs)

    def cut(self) -> int:
        """Ends all connections with a reset. Gives how many there were."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
            for one in [half.source for pair in pairs for half in pair] + self._silent:
                with contextlib.suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    one.close()
            self._silent = []
        return len(pairs)

    def half_close(self) -> int:
        """Tells each caller that nothing will come any more; what it sends is still taken."""
        with self._lock:
            for _, from_server in self._pairs:
                with contextlib.suppress(OSError):
                    from_server.target.shutdown(socket.SHUT_WR)
                from_server.ended = True
            return len(self._pairs)

    def swallow(self) -> int:
        """The connections there are go silent for ever; new ones work."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
            self._silent += [half.source for pair in pairs for half in pair]
            return len(pairs)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)
        self.cut()
        self._listener.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                halves, silent = [half for pair in self._pairs for half in pair], [*self._silent]
            sources = [half.source for half in halves if not half.ended and half.source.fileno() >= 0]
            pause = 0.005 if any(half.waiting for half in halves) else 0.02
            try:
                readable, _, _ = select.select([self._listener, *sources, *silent], [], [], pause)
            except (OSError, ValueError):  # one was closed meanwhile
                continue
            if self._listener in readable:
                self._accept()
            now = time.monotonic()
            for one in set(readable) & set(
                silent
            ):  # not those that have just gone silent, whose data may be passed on below
                with contextlib.suppress(OSError, ValueError):
                    if not one.recv(65536):
                        self._silent.remove(one)
                        one.close()
            for half in halves:
                self._pass_on(half, half.source in readable, now)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            caller = self._listener.accept()[0]
            try:
                server = socket.create_connection(self._behind, timeout=2)
            except OSError:
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                caller.close()
                return
            with self._lock:
                self._pairs.append((_Half(caller, server), _Half(server, caller)))

    def _pass_on(self, half: _Half, readable: bool, now: float) -> None:
        try:
            if readable:
                data = half.source.recv(65536)
                half.waiting.append((now + random.uniform(*self.delay), data))
            while half.waiting and half.waiting[0][0] <= now:
                data = half.waiting.popleft()[1]
                if not data:
                    raise ConnectionError
                half.target.sendall(data)
        except OSError:
            self._drop(half)

    def _drop(self, half: _Half) -> None:
        """One end is gone: so is the other."""
        with self._lock:
            gone = [pair for pair in self._pairs if half in pair]
            self._pairs = [pair for pair in self._pairs if half not in pair]
        for pair in gone:
            for one in pair:
                with contextlib.suppress(OSError):
                    one.source.close()
