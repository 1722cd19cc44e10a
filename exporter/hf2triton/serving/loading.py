"""Finds which models a tritonserver has not loaded, and why. Uses only the standard library: the container has this file too.

Triton loads models side by side and continues without those that fail (`--exit-on-error=false`). Two things still take all models
down, both seen with 2.51: a model that fails in its warm-up beside others can crash the server, and a model whose process ends
before it has answered makes the server wait for ever. `culprits` then finds these models, one at a time.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from .stubs import dead_stubs

#: Flags of tritonserver: a failing model neither ends the server nor makes it unready for load balancers.
LENIENT = ("--exit-on-error=false", "--strict-readiness=false")
#: Flags of tritonserver: another server can take over from it, and gets the callers' connections within a minute.
SHARED_PORTS = ("--reuse-grpc-port=true", "--reuse-http-port=true", "--grpc-max-connection-age=60000")
#: A flag of tritonserver for when loading side by side has failed.
ONE_BY_ONE = "--model-load-thread-count=1"
#: How long a model's process may be dead while its model loads. Triton notices within 3 seconds, or never.
DEAD_SECONDS = 5.0
POLL_SECONDS = 0.05
#: How long it may take until an event's line in the log is readable.
LATE_SECONDS = 2.0
#: How long tritonserver may take to end after it has closed its connections.
END_SECONDS = 10.0
#: How often a model that ends the server is tried. A failing warm-up ends it in a quarter of all cases; otherwise Triton says
#: why.
TRIES = 4
#: The suffix of the name of the model behind a frontend.
_BEHIND = "_model"


class Control:
    """The control API of the server at `url`, which requires these `headers`."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = url
        self.port = urllib.parse.urlsplit(url).port
        self._headers = {**headers, "Connection": "close"}

    def ask(self, path: str, data: bytes | None = None, timeout: float = 5.0) -> str:
        """Returns the answer to a request. Raises OSError; its subclass HTTPError has Triton's reason."""
        request = urllib.request.Request(f"{self._url}/{path}", data, self._headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                body: bytes = response.read()
                return body.decode(errors="replace")
        except http.client.HTTPException as error:  # the answer was cut off
            raise ConnectionError(f"{type(error).__name__}: {error}") from error

    def _json(self, path: str, data: bytes | None = None, timeout: float = 5.0) -> Any:
        answer = self.ask(path, data, timeout)
        try:
            return json.loads(answer)
        except ValueError as error:  # something other than Triton is listening there
            raise ConnectionError(f"an answer that is not JSON: {answer[:100]!r}") from error

    def answers(self, path: str, timeout: float = 2.0) -> bool:
        try:
            self.ask(path, timeout=timeout)
        except OSError:
            return False
        return True

    def live(self) -> bool:
        """Whether the server has loaded the models it was started with."""
        return self.answers("v2/health/live")

    def index(self) -> list[dict[str, str]]:
        """Name, version, state and reason of the repository's models; models that were never loaded have only a name."""
        rows: list[dict[str, str]] = self._json("v2/repository/index", b"{}", 30.0)
        return rows

    def ready(self, timeout: float) -> list[tuple[str, str]]:
        """Name and version of the models that Triton calls ready. Unlike `index`, this does not look at the repository."""
        rows = self._json("v2/repository/index", b'{"ready": true}', timeout)
        return [(row["name"], row.get("version", "")) for row in rows]

    def config(self, model: str, version: str) -> dict[str, Any]:
        config: dict[str, Any] = self._json(f"v2/models/{model}/versions/{version}/config")
        return config

    def load(self, model: str, timeout: float) -> None:
        self.ask(f"v2/repository/models/{model}/load", b"{}", timeout)

    def unload(self, model: str) -> None:
        self.ask(f"v2/repository/models/{model}/unload", b"{}", 30.0)


class Watched(Protocol):
    """A tritonserver that may end."""

    @property
    def pid(self) -> int | None:
        """The id of tritonserver itself; None once it has ended."""


class Running(Watched, Protocol):
    """A tritonserver that loads models."""

    control: Control

    def log(self) -> str:
        """What the server has written so far."""
        ...


#: Why a model fails if its process ends while Triton warms it up.
DIED = "its process ended while it was loaded or warmed up, and tritonserver with it"


class Watch:
    """Tells whether a loading server is stuck: it has ended, or waits for a dead process."""

    def __init__(self, server: Watched) -> None:
        self._server = server
        self._dead: dict[int, float] = {}  # process -> when it was first seen dead

    def stopped(self) -> str | None:
        """Why the server will never finish loading; None if it may still finish."""
        pid = self._server.pid
        if pid is None:
            return DIED if self._dead else "tritonserver ended"
        now = time.monotonic()
        self._dead = {stub: self._dead.get(stub, now) for stub in dead_stubs(pid)}
        if any(now - since > DEAD_SECONDS for since in self._dead.values()):
            return "its process ended, for which Triton waits in vain"
        return None


def failures(
    control: Control, models: Iterable[str], log: Callable[[], str], otherwise: str = "Triton gives no reason"
) -> dict[str, str]:
    """Model -> why it was not loaded, in Triton's words. `log`: what the server has written; it may lag a little."""
    states: dict[str, list[dict[str, str]]] = {}
    for row in control.index():
        states.setdefault(row["name"], []).append(row)
    failed = {}
    for model in models:
        rows = [row for row in states.get(model, []) if "state" in row]
        if not rows or any(row["state"] != "READY" for row in rows):
            reasons = [row["reason"] for row in rows if row.get("reason")]
            failed[model] = one_line(" ".join(reasons) or _polled(model, log) or otherwise)
    return failed


def stranded(failed: Iterable[str], models: Iterable[str]) -> dict[str, str]:
    """Frontend -> why it cannot answer, for frontends that are loaded while their graph is not."""
    graphs = {name.removesuffix(_BEHIND): name for name in failed if name.endswith(_BEHIND)}
    known = set(models) - set(failed)
    return {
        frontend: f"its graph, the model {graph}, was not loaded"
        for frontend, graph in graphs.items()
        if frontend in known
    }


def culprits(
    models: Iterable[str],
    start: Callable[[], AbstractContextManager[Running]],
    seconds: float,
    failed: Callable[[str, str], None],
) -> dict[str, str]:
    """Model -> why it cannot be loaded, for all models that cannot be loaded alone.

    `start` starts a server without models and returns it once it is live. That server loads one model after the other. After a
    model that ends it or takes more than `seconds`, another server loads the rest. `failed` is called for each failure at once.
    """
    found: dict[str, str] = {}
    ended: Counter[str] = Counter()
    left = sorted(models, key=lambda name: not name.endswith(_BEHIND))
    while left:
        with start() as server:
            while left:
                model = left.pop(0)
                reason, usable = _tried(server, model, seconds)
                ended[model] += server.pid is None
                if not usable and server.pid is None and ended[model] < TRIES and reason != DIED:
                    left.insert(0, model)  # on another try, Triton mostly says why
                elif reason is not None:
                    found[model] = reason
                    failed(model, reason)
                if not usable:
                    break
    return found


#: A line of Triton's log that is an error or mentions one. Warnings, and the line about CUDA's driver, do not count, because each
#: start without a GPU logs them.
_SAYS_WHY = re.compile(
    r"^(?!\S+ W |W\d|.*CudaDriverHelper has not been initialized).*(?:Failed to|failed to|^E\d|^\S+ E )"
)


def telling(log: str) -> str:
    """The lines of a log that report errors, or its last lines."""
    lines = log.splitlines()
    found = [line for line in lines if _SAYS_WHY.search(line) or "error:" in line or "UNAVAILABLE" in line]
    return "\n".join((found or lines)[-12:])


def one_line(reason: str) -> str:
    return " ".join(reason.split()).rstrip("; ")


def _tried(server: Running, model: str, seconds: float) -> tuple[str | None, bool]:
    """Why a model was not loaded (None if it was), and whether the server can still be used."""
    before = len(server.log())
    answers: list[str | OSError | None] = []

    def load() -> None:
        try:
            server.control.load(model, seconds)
        except urllib.error.HTTPError as error:
            answers.append(_said(error.read().decode(errors="replace")))
        except OSError as error:
            answers.append(error)
        else:
            answers.append(None)

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    watch, until = Watch(server), time.monotonic() + seconds
    while thread.is_alive() and time.monotonic() < until and not watch.stopped():
        thread.join(POLL_SECONDS)
    answer = answers[0] if answers else TimeoutError()
    if not isinstance(answer, OSError):
        reason = answer
        if answer is not None:
            with contextlib.suppress(OSError):
                reason = failures(server.control, [model], lambda: server.log()[before:], answer).get(model, answer)
        return reason and one_line(reason), server.pid is not None
    late = time.monotonic() + (END_SECONDS if isinstance(answer, ConnectionError) else LATE_SECONDS)
    while not thread.is_alive() and not watch.stopped() and time.monotonic() < late:
        time.sleep(POLL_SECONDS)
    ended = DIED if isinstance(answer, ConnectionError) else str(answer)
    slow = f"not loaded within {seconds:.0f} s" if time.monotonic() > until else ended
    why = watch.stopped() or slow or "Triton gives no answer"
    lines = [line for line in server.log()[before:].splitlines() if _SAYS_WHY.search(line)]
    return one_line(f"{why}: {lines[-1].partition('] ')[2].strip()}" if lines else why), False


def reason(error: OSError) -> str:
    """The error in Triton's answer, or else what went wrong on the way."""
    return one_line(
        _said(error.read().decode(errors="replace")) if isinstance(error, urllib.error.HTTPError) else str(error)
    )


def _said(answer: str) -> str:
    """The text of an error in Triton's answer."""
    try:
        return str(json.loads(answer)["error"])
    except (ValueError, KeyError, TypeError):
        return answer


def _polled(model: str, log: Callable[[], str]) -> str:
    """What a log says about a model whose config could not be read; Triton's index does not list such models."""
    until = time.monotonic() + LATE_SECONDS
    while True:
        lines = [line for line in log().splitlines() if f"'{model}'" in line and "oll" in line]
        if lines or time.monotonic() > until:
            return lines[-1].partition("] ")[2].strip('"') if lines else ""
        time.sleep(POLL_SECONDS)
