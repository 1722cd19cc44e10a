"""What answers as a tritonserver's control API does, and a host whose servers are processes that do next to nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from hf2triton.serving.loading import Control


class FakeTriton:
    """`ready`: the models that it has. `loads`: those that it was told to load, each of which is then ready unless it is among
    `broken`. `silent`: whether it does not answer. `garbage`: whether its answers are none."""

    def __init__(self, models: Sequence[str]) -> None:
        self.ready = list(models)
        self.loads: list[str] = []
        self.broken: set[str] = set()
        self.silent, self.garbage = threading.Event(), threading.Event()
        self.over = threading.Event()

    def answer(self, path: str) -> tuple[int, str]:
        while self.silent.is_set() and not self.over.is_set():
            self.over.wait(0.02)
        if self.garbage.is_set():
            return 200, "<html>"
        if path == "/v2/repository/index":
            return 200, json.dumps([{"name": name, "version": "1", "state": "READY"} for name in self.ready])
        if path.endswith("/load"):
            model = path.split("/")[-2]
            self.loads.append(model)
            if model in self.broken:
                return 400, json.dumps({"error": f"failed to load '{model}'"})
            self.ready.append(model)
        if path.endswith("/ready") and path.split("/")[-2] not in self.ready:
            return 400, ""
        if path.endswith("/config"):
            return 200, json.dumps({"backend": "python", "instance_group": [{"count": 1}]})
        return 200, ""


@contextmanager
def listening(triton: FakeTriton) -> Iterator[Control]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, text = triton.answer(self.path)
            with suppress(OSError):  # nobody waits for it any more
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

        do_POST = do_GET  # noqa: N815 – as http.server calls it

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    try:
        yield Control(f"http://127.0.0.1:{server.server_port}", {})
    finally:
        triton.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


class FakeHost:
    """Its servers run `code`; what is there in their place is `triton`. `on_start` is told of each."""

    repositories: Sequence[Path] = ()
    backends: Collection[str] = ()
    renews = False
    shm_prefix = "hf2triton-test-"

    def __init__(self, triton: FakeTriton, control: Control, code: str) -> None:
        self.triton, self.control, self.metrics, self.code = triton, control, control, code
        self.started: list[tuple[list[str], tuple[str, ...]]] = []
        self.messages: list[str] = []
        self.downs: list[set[str]] = []
        self.cleaned = 0
        self.on_start: Callable[[], None] = lambda: None
        self._over = threading.Event()

    def start(self, models: Sequence[str], *flags: str) -> subprocess.Popen:
        self.started.append((list(models), flags))
        self.on_start()
        return subprocess.Popen([sys.executable, "-S", "-c", f"import time\n{self.code}"], start_new_session=True)

    def clean(self) -> None:
        self.cleaned += 1

    def wanted(self) -> bool:
        return not self._over.is_set()

    def end(self) -> None:
        self._over.set()

    def say(self, message: str) -> None:
        self.messages.append(message)

    def down(self, models: Collection[str]) -> None:
        self.downs.append(set(models))
