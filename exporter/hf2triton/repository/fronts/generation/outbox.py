"""Sends what the engine has generated, in a thread of its own, and notices who has gone away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from .engine import Engine
from .exchange import Answer, Exchange

logger = logging.getLogger(__name__)

#: Seconds between two looks at who has gone away, and at the statistics while nobody is there.
WATCHFUL, IDLE = 0.005, 0.25


class Caller(Protocol):
    """Whoever sent a request."""

    def send(self, answer: Answer) -> None: ...

    def fail(self, error: Exception) -> None:
        """Sends an error, after which nothing follows."""

    def gone(self) -> bool:
        """Whether nobody waits for answers any more."""

    def close(self) -> None:
        """Says that nothing follows, to whom nothing was said yet."""


class Outbox:
    """The callers of all requests under way. A step does not wait for answers to be sent: that takes a while for each, and
    meanwhile the next step runs. `tick`: called every so often, and with the seconds to the first token of each sequence
    that has ended."""

    def __init__(self, engine: Engine, tick: Callable[[Sequence[float]], None]) -> None:
        self._engine = engine
        self._tick = tick
        self._changed = threading.Condition()
        self._callers: dict[Exchange, Caller] = {}
        self._ready: dict[Exchange, None] = {}  # an ordered set
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> Outbox:
        self._thread.start()
        return self

    def submit(self, exchange: Exchange, caller: Caller) -> None:
        """Queues an exchange whose answers go to a caller. Raises what `Exchange.submit` raises."""
        with self._changed:
            self._callers[exchange] = caller  # before: an answer may be ready before this returns
            self._changed.notify()
        try:
            exchange.submit(self._engine)
        except Exception:
            self._forget(exchange)
            raise

    def put(self, exchange: Exchange) -> None:
        """There may be something to send. Called from the engine's thread."""
        with self._changed:
            self._ready[exchange] = None
            self._changed.notify()

    def stop(self) -> None:
        """Sends what is ready and ends the thread; the engine must have stopped."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        looked = 0.0
        while self._ready or not self._stopped:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._stopped, WATCHFUL if self._callers else IDLE)
                ready, self._ready = self._ready, {}
            for exchange in ready:
                self._send(exchange)
            if time.monotonic() - looked >= WATCHFUL:
                self._look()
                looked = time.monotonic()

    def _send(self, exchange: Exchange) -> None:
        caller = self._callers.get(exchange)
        if caller is None:
            return
        try:
            answer = exchange.take()
            if answer is None:
                return
            if answer.last:
                self._forget(exchange)
            if answer.last and "cancelled" in answer.reasons:
                caller.close()
            else:
                caller.send(answer)
        except Exception as error:  # what a sequence failed with, or sending did
            logger.warning("a request failed: %s", error)
            self._forget(exchange)
            exchange.cancel(self._engine)
            caller.fail(error)

    def _look(self) -> None:
        """Cancels the requests of those who have gone away."""
        with self._changed:
            callers = list(self._callers.items())
        for exchange, caller in callers:
            if caller.gone():
                exchange.cancel(self._engine)
        self._tick(())

    def _forget(self, exchange: Exchange) -> None:
        with self._changed:
            self._callers.pop(exchange, None)
        self._tick(exchange.first_token_seconds)
