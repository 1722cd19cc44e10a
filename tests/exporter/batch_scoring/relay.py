"""A way to a server that can be cut."""

from __future__ import annotations

import selectors
import socket
import threading


class Relay:
    """Hands bytes on between callers of `url` and the server behind it, until it is closed: then nobody answers at `url`."""

    def __init__(self, behind: str) -> None:
        host, _, port = behind.rpartition(":")
        self._behind = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        other: dict[socket.socket, socket.socket] = {}
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._closing.is_set():
                for key, _ in selector.select(0.05):
                    if key.fileobj is self._listener:
                        caller, server = self._listener.accept()[0], socket.create_connection(self._behind)
                        other |= {caller: server, server: caller}
                        selector.register(caller, selectors.EVENT_READ)
                        selector.register(server, selectors.EVENT_READ)
                    elif data := key.fileobj.recv(65536):
                        other[key.fileobj].sendall(data)
                    else:
                        selector.unregister(key.fileobj)
        for one in (self._listener, *other):
            one.close()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
