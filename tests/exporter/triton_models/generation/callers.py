"""What asks the engine for tokens, and sessions and callbacks that fail."""

import threading

import numpy as np
import onnxruntime

from hf2triton.triton_models.generation.decoder import Decoder, layout_of
from hf2triton.triton_models.generation.scheduler import Scheduler

from .tiny_decoder import CACHES, MAX_LENGTH, alone, session


class Broken(Exception):
    """What the tests let fail."""


def broken(*_):
    raise Broken


def make_engine(slots=3, max_queue=100, chunk=4, cache="host", runs=None) -> Scheduler:
    runs = runs or session()
    return Scheduler(Decoder(runs, CACHES[cache](layout_of(runs, slots, MAX_LENGTH))), max_queue, chunk)


class Greedy:
    def next(self, logits: np.ndarray) -> int:
        return int(logits.argmax())


class Caller:
    """Asks for greedy tokens, at most `count`, and keeps what comes back. `when`: called with the number of tokens so far."""

    def __init__(self, scheduler, prompt, count, eos=(), when=lambda tokens: None, sampler=None) -> None:
        self.prompt, self.count, self.when = tuple(prompt), count, when
        self.tokens, self.finishes = [], []
        self.ended, self.on_end = threading.Event(), lambda: None
        self.request = scheduler.submit(prompt, sampler or Greedy(), count, eos, self._on_token, self._on_finish)

    def _on_token(self, token):
        self.tokens.append(token)
        return self.when(len(self.tokens))

    def _on_finish(self, finish):
        self.finishes.append(finish)
        self.on_end()
        self.ended.set()

    @property
    def reason(self):
        (finish,) = self.finishes  # exactly once
        assert finish.tokens == len(self.tokens)
        assert finish.prompt_tokens == len(self.prompt)
        return finish.reason

    def assert_as_alone(self, reason="length") -> None:
        want = alone(self.prompt, self.count)
        assert reason == self.reason
        assert want[: len(self.tokens)] == self.tokens
        assert reason != "length" or len(want) == len(self.tokens)


def finish_all(scheduler) -> None:
    while scheduler.step():
        pass


class Recording(onnxruntime.IOBinding):
    """Writes down which addresses are bound."""

    def __init__(self, owner, bound) -> None:
        super().__init__(owner)
        self._bound = bound

    def bind_input(self, name, device_type, device_id, element_type, shape, buffer_ptr):
        self._bound.setdefault(name, set()).add((buffer_ptr, tuple(shape)))
        super().bind_input(name, device_type, device_id, element_type, shape, buffer_ptr)

    def bind_output(self, name, *rest):
        self._bound.setdefault(name, set()).add((rest[-1], tuple(rest[-2])))
        super().bind_output(name, *rest)


class Watched:
    """A session that counts its runs, fails in some, and whose bindings are recorded."""

    def __init__(self, fails=()) -> None:
        self.bound, self.runs, self.fails = {}, 0, fails

    def io_binding(self):
        return Recording(session(), self.bound)

    def run_with_iobinding(self, binding):
        self.runs += 1
        if self.runs in self.fails:
            raise Broken(f"run {self.runs}")
        session().run_with_iobinding(binding)

    def __getattr__(self, name):
        return getattr(session(), name)
