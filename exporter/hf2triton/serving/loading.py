"""Which models a tritonserver has not loaded, and why. The standard library alone: the container has this file too.

Triton loads models side by side and goes on without those that fail (`--exit-on-error=false`). Two things still take all of them
down, both seen with 2.51: a model that fails in its warm-up beside others can crash the server, and one whose process ends
before it has said a word makes the server wait for ever. `culprits` then finds who it was, one model at a time.
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

#: Of tritonserver: one model that fails is no reason to end, nor to tell load balancers that no model can be reached.
LENIENT = ("--exit-on-error=false", "--strict-readiness=false")
#: Of tritonserver: another one can take over from it, and gets the connections of callers within a minute.
SHARED_PORTS = ("--reuse-grpc-port=true", "--reuse-http-port=true", "--grpc-max-connection-age=60000")
#: Of tritonserver, once loading side by side has failed.
ONE_BY_ONE = "--model-load-thread-count=1"
#: How long a model's process may be dead while its model loads. Triton notices within 3 seconds, or never.
DEAD_SECONDS = 5.0
POLL_SECONDS = 0.05
#: How long after an event it may be until its line in the log is read.
LATE_SECONDS = 2.0
#: How often a model is tried that ends the server. A failing warm-up does so in a quarter of all cases, else Triton says why.
TRIES = 4
#: What the name of the model behind a frontend ends in.
_BEHIND = "_model"


class Control:
    """The control API of the server at `url`; `headers` are what it wants."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = url
        self.port = urllib.parse.urlsplit(url).port
        self._headers = {**headers, "Connection": "close"}

    def ask(self, path: str, data: bytes | None = None, timeout: float = 5.0) -> str:
        """Raises OSError; its subclass HTTPError has Triton's reason."""
        request = urllib.request.Request(f"{self._url}/{path}", data, self._headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return response.read().decode(errors="replace")
        except http.client.HTTPException as error:  # the answer was cut off
            raise ConnectionError(f"{type(error).__name__}: {error}") from error

    def _json(self, path: str, data: bytes | None = None, timeout: float = 5.0) -> Any:
        answer = self.ask(path, data, timeout)
        try:
            return json.loads(answer)
        except ValueError as error:  # it is not Triton that listens there
            raise ConnectionError(f"an answer that is no JSON: {answer[:100]!r}") from error

    def answers(self, path: str, timeout: float = 2.0) -> bool:
        try:
            self.ask(path, timeout=timeout)
        except OSError:
            return False
        return True

    def live(self) -> bool:
        """Which a server is from when it has loaded what it was started with."""
        return self.answers("v2/health/live")

    def index(self) -> list[dict[str, str]]:
        """Name, version, state and reason of the repository's models; those that were never loaded have a name alone."""
        return self._json("v2/repository/index", b"{}", 30.0)

    def ready(self, timeout: float) -> list[tuple[str, str]]:
        """Name and version of the models that Triton calls ready. Unlike `index` it does not look at the repository."""
        rows = self._json("v2/repository/index", b'{"ready": true}', timeout)
        return [(row["name"], row.get("version", "")) for row in rows]

    def config(self, model: str, version: str) -> dict[str, Any]:
        return self._json(f"v2/models/{model}/versions/{version}/config")

    def load(self, model: str, timeout: float) -> None:
        self.ask(f"v2/repository/models/{model}/load", b"{}", timeout)

    def unload(self, model: str) -> None:
        self.ask(f"v2/repository/models/{model}/unload", b"{}", 30.0)


class Running(Protocol):
    """A tritonserver that loads models."""

    control: Control

    @property
    def pid(self) -> int | None:
        """Of tritonserver itself; None once it has ended."""

    def log(self) -> str:
        """What it has written so far."""


#: What happens where Triton is warming up a model of which nobody is left to answer.
DIED = "its process ended while it was loaded or warmed up, and tritonserver with it"


class Watch:
    """Whether a server that loads has come to a stop: it has ended, or waits for a process that is dead."""

    def __init__(self, server: Running) -> None:
        self._server = server
        self._dead: dict[int, float] = {}  # process -> since when

    def stopped(self) -> str | None:
        """Why it will never be done, if so."""
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
    """Model -> why it was not loaded, in Triton's words. `log`: what the server has written; it may be a little late."""
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
    """Front -> why it can answer nothing, of those that are loaded but whose graph is not."""
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
    """Model -> why it cannot be loaded, of all that cannot be loaded alone.

    `start` starts a server that has loaded nothing and hands it over once it is live. It gets one model after the other; after
    one that has ended it or takes more than `seconds`, another server gets the rest. `failed` is told of each at once.
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
                    left.insert(0, model)  # Triton mostly comes to say why
                elif reason is not None:
                    found[model] = reason
                    failed(model, reason)
                if not usable:
                    break
    return found


#: A line of Triton's log that is an error or speaks of one; of warnings there is one at each start without a GPU.
_SAYS_WHY = re.compile(r"^(?!\S+ W |W\d).*(?:Failed to|failed to|^E\d|^\S+ E )")


def telling(log: str) -> str:
    """The lines of a log that tell why, or its last ones."""
    lines = log.splitlines()
    found = [line for line in lines if _SAYS_WHY.search(line) or "error:" in line or "UNAVAILABLE" in line]
    return "\n".join((found or lines)[-12:])


def one_line(reason: str) -> str:
    return " ".join(reason.split()).rstrip("; ")


def _tried(server: Running, model: str, seconds: float) -> tuple[str | None, bool]:
    """Why a model was not loaded, if so, and whether the server can be used further."""
    before, answers = len(server.log()), []

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
    answer: Any = answers[0] if answers else TimeoutError()
    if not isinstance(answer, OSError):
        reason = answer
        if answer is not None:
            with contextlib.suppress(OSError):
                reason = failures(server.control, [model], lambda: server.log()[before:], answer).get(model, answer)
        return reason and one_line(reason), server.pid is not None
    late = time.monotonic() + LATE_SECONDS
    while not thread.is_alive() and not watch.stopped() and time.monotonic() < late:
        time.sleep(POLL_SECONDS)  # its connections are gone a little before the server is
    slow = f"not loaded within {seconds:.0f} s" if time.monotonic() > until else str(answer)
    why = watch.stopped() or slow or "Triton gives no answer"
    lines = [line for line in server.log()[before:].splitlines() if _SAYS_WHY.search(line)]
    return one_line(f"{why}: {lines[-1].partition('] ')[2].strip()}" if lines else why), False


def reason(error: OSError) -> str:
    """What Triton answered, if it is that, or what came between."""
    return one_line(
        _said(error.read().decode(errors="replace")) if isinstance(error, urllib.error.HTTPError) else str(error)
    )


def _said(answer: str) -> str:
    """The text of an error that Triton answers."""
    try:
        return str(json.loads(answer)["error"])
    except (ValueError, KeyError, TypeError):
        return answer


def _polled(model: str, log: Callable[[], str]) -> str:
    """What a log says of a model whose config could not be read: of such Triton's index knows nothing."""
    until = time.monotonic() + LATE_SECONDS
    while True:
        lines = [line for line in log().splitlines() if f"'{model}'" in line and "oll" in line]
        if lines or time.monotonic() > until:
            return lines[-1].partition("] ")[2].strip('"') if lines else ""
        time.sleep(POLL_SECONDS)
