"""Whoever waits for texts: a tokenizer for the tiny decoder, its requests, and senders that keep what they are told."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from hf2triton.triton_models.generation.request_state import Answer, RequestState, TokenizedPrompt
from hf2triton.triton_models.generation.response_sender import ResponseSender
from hf2triton.triton_models.generation.scheduler import QueueFull, Scheduler
from hf2triton.triton_models.generation.settings import Settings

from .callers import Broken, Watched, make_engine
from .tiny_decoder import VOCABULARY, alone

#: Seconds within which whatever is waited for has happened; only a failing test takes as long.
PATIENCE = 30
#: Settings of sequences that differ from each other: the tiny decoder's logits are far apart.
SAMPLED = {"do_sample": True, "seed": 5, "temperature": 30.0}


@functools.cache
def tokenizer() -> Tokenizer:
    """A byte-level BPE with as many tokens as the tiny decoder: random texts tear characters and hold bytes that are none."""
    text = "the quick brown fox jumps over a lazy dog, and the dog sleeps; the fox does not.\n" * 2 + "é東京😀" * 3
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<|endoftext|>"], show_progress=False)
    made.train_from_iterator([text, text.upper()], trainer)
    assert made.get_vocab_size() == VOCABULARY
    return made


def text_of(tokens: Sequence[int]) -> str:
    return tokenizer().decode(list(tokens))


def greedy_text(prompt: Sequence[int], count: int) -> str:
    """What must come after a prompt."""
    return text_of(alone(tuple(prompt), count))


def make_exchange(
    prompt: Sequence[int],
    count: int = 8,
    stream: bool = False,
    eos: Sequence[int] = (),
    changed: Callable[[RequestState], None] = lambda request_state: None,
    decodes: Tokenizer | FailingTokenizer | None = None,
    **settings: object,
) -> RequestState:
    ids = [int(token) for token in prompt]
    return RequestState(
        TokenizedPrompt(text_of(ids), ids, count), Settings(**settings), decodes or tokenizer(), eos, stream, changed
    )


class FailingTokenizer:
    """Decodes `times` times, then fails every time."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __getattr__(self, name: str) -> object:
        return getattr(tokenizer(), name)

    def decode(self, *arguments: object, **options: object) -> str:
        self.left -= 1
        if self.left < 0:
            raise Broken("no text")
        return tokenizer().decode(*arguments, **options)


@dataclass
class Listener:
    """Keeps what it is told, in order. `sending` is called with each answer before it counts as sent.

    `ending` is "answer", "closed" or an error.
    """

    sending: Callable[[Answer], None] = lambda answer: None
    answers: list[Answer] = field(default_factory=list)
    endings: list[object] = field(default_factory=list)
    after: list[object] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def send(self, answer: Answer) -> None:
        if self.endings:
            self.after.append(answer)
        self.sending(answer)
        self.answers.append(answer)
        if answer.last:
            self._end("answer")

    def fail(self, error: Exception) -> None:
        self._end(error)

    def gone(self) -> bool:
        return self.left.is_set()

    def close(self) -> None:
        self._end("closed")

    def _end(self, how: object) -> None:
        self.endings.append(how)
        self.ended.set()

    @property
    def ending(self) -> object:
        """How it ended, which is said once and last."""
        assert self.after == []
        (ending,) = self.endings
        return ending

    @property
    def text(self) -> str:
        """All that came, for a single sequence."""
        return "".join(answer.texts[0] for answer in self.answers)

    @property
    def token_ids(self) -> list[int]:
        return [token for answer in self.answers for token in answer.token_ids[0]]

    def assert_ended_as(self, ending: object) -> None:
        assert self.ended.wait(PATIENCE)
        assert self.ending == ending

    def assert_whole(self, prompt: Sequence[int], count: int) -> None:
        """One greedy sequence came, to its end."""
        self.assert_ended_as("answer")
        assert self.text == greedy_text(prompt, count)
        assert self.token_ids == alone(tuple(prompt), count)
        assert self.answers[-1].reasons == ["length"]


@dataclass
class Service:
    """An engine and an outbox, as the frontend has them. `seconds`: what the outbox's ticks were told; `tickers`: by which
    threads."""

    scheduler: Scheduler
    sender: ResponseSender = field(init=False)
    seconds: list[float] = field(default_factory=list)
    tickers: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.sender = ResponseSender(self.scheduler, self.tick)

    def tick(self, seconds: Sequence[float]) -> None:
        self.seconds += seconds
        self.tickers.add(threading.current_thread().name)

    def ask(self, listener: Listener, prompt: Sequence[int], count: int = 8, **options: object) -> RequestState:
        request_state = make_exchange(prompt, count, changed=self.sender.put, **options)
        self.sender.submit(request_state, listener)
        return request_state

    def stop(self) -> None:
        """As the frontend stops: nobody waits any more, and nothing is kept."""
        self.scheduler.stop()
        self.sender.stop()
        assert (self.sender._callers, self.sender._ready) == ({}, {})
        statistics = self.scheduler.statistics()
        assert (statistics.live, statistics.joining, statistics.queued) == (0, 0, 0)
        assert not self.sender._thread.is_alive()


@contextmanager
def service(**options: object) -> Iterator[Service]:
    """A running service, stopped in the end; `options` are those of `make_engine`."""
    running = Service(make_engine(**options))
    running.scheduler.start()
    running.sender.start()
    yield running
    running.stop()


def ask_patiently(
    running: Service, listener: Listener, prompt: Sequence[int], count: int, **options: object
) -> RequestState:
    """Until there is room in the queue; whoever is refused is told nothing."""
    for _ in range(10**6):
        try:
            return running.ask(listener, prompt, count, **options)
        except QueueFull:
            assert (listener.answers, listener.endings) == ([], [])
            time.sleep(0.001)
    raise AssertionError("the queue is always full")


def wait_until(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.001)


class Gate:
    """What a thread waits at until it is opened. `reached`: somebody waits."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, *_: object) -> None:
        self.reached.set()
        assert self.opened.wait(PATIENCE)


class Held(Watched):
    """A session that waits at a gate before one of its runs, the first being 1."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self.gate, self.before = Gate(), before

    def run_with_iobinding(self, binding: object) -> None:
        if self.runs + 1 == self.before:
            self.gate()
        super().run_with_iobinding(binding)
