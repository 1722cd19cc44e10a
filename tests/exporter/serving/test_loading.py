"""Finding the models that keep a server from its start."""

from __future__ import annotations

import io
import urllib.error
from contextlib import contextmanager
from threading import Timer

from hf2triton.serving.loading import LATE_SECONDS, culprits


class Falling:
    """A tritonserver that falls while it loads a model: it closes the connection at once, and ends later."""

    def __init__(self, ends_after: float) -> None:
        self.control, self.pid, self._ends_after = self, 1 << 30, ends_after

    def load(self, model, timeout):
        Timer(self._ends_after, self._end).start()
        raise ConnectionResetError("Remote end closed connection without response")

    def _end(self):
        self.pid = None

    def log(self):
        return 'E1130 14:50:00.000000 1 cuda_driver_helper.cc:1] "CudaDriverHelper has not been initialized."\n'


class Refusing(Falling):
    def load(self, model, timeout):
        raise urllib.error.HTTPError("", 400, "", {}, io.BytesIO(b'{"error": "a reason of its own"}'))

    def index(self):
        return [{"name": "bad", "version": "1", "state": "UNAVAILABLE", "reason": "a reason of its own"}]


def test_a_server_that_ends_slowly_is_asked_again():
    """The model is tried with another server, which says why, rather than blamed for what the first one logged as it fell."""
    servers = [Refusing(0), Falling(LATE_SECONDS + 0.5)]

    @contextmanager
    def start():
        yield servers.pop()

    told = []
    assert culprits(["bad"], start, 60.0, lambda *failure: told.append(failure)) == {"bad": "a reason of its own"}
    assert told == [("bad", "a reason of its own")]
    assert servers == []
