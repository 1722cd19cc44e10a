"""One request on its way: the sequences it asks for, and what of them has not been sent yet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from .detokenize import TextStream
from .engine import Engine
from .request import Finish, Request
from .sampling import Sampler
from .settings import Settings


@dataclass(frozen=True)
class Prompt:
    """`text` as it was sent; `ids` are the tokens of it that are used, `new_tokens` the most that may follow."""

    text: str
    ids: Sequence[int]
    new_tokens: int


@dataclass(frozen=True)
class Answer:
    """What is sent at once: of each sequence its text, why it ended ("": it goes on), the tokens generated in all, and
    those since the last answer. After the `last` nothing follows."""

    texts: list[str]
    reasons: list[str]
    prompt_tokens: int
    counts: list[int]
    token_ids: list[list[int]]
    last: bool


class Exchange:
    """The sequences of one request. `stream`: they are sent piece by piece. `changed`: called, from the engine's thread,
    when `take` may have something to give.

    What is not taken is joined: whoever reads slowly gets longer pieces, and makes nobody wait.
    """

    def __init__(
        self,
        prompt: Prompt,
        settings: Settings,
        tokenizer: Tokenizer,
        eos_token_ids: Sequence[int],
        stream: bool,
        changed: Callable[[Exchange], None],
    ) -> None:
        self.prompt = prompt
        self.first_token_seconds: list[float] = []
        self._settings = settings
        self._eos_token_ids = () if settings.ignore_eos else tuple(eos_token_ids)
        self._stream = stream
        self._changed = changed
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._done = False
        beginning = prompt.text if settings.return_full_text else ""
        self._parts = [_Part(beginning) for _ in range(settings.num_return_sequences)]
        self._texts = [
            TextStream(tokenizer, prompt.ids, stop=settings.stop, keep_stop=settings.keep_stop) for _ in self._parts
        ]

    def submit(self, engine: Engine) -> None:
        """Queues all sequences, or none. Raises what `Engine.submit` raises."""
        try:
            for index in range(len(self._parts)):
                sampler = Sampler(self._settings, self.prompt.ids, self._eos_token_ids, index)
                self._requests.append(
                    engine.submit(
                        self.prompt.ids,
                        sampler,
                        self.prompt.new_tokens,
                        self._eos_token_ids,
                        lambda token, index=index: self._add(index, token),
                        lambda finish, index=index: self._finish(index, finish),
                    )
                )
        except Exception:
            self._done = True  # nothing of the others is sent
            self.cancel(engine)
            raise

    def cancel(self, engine: Engine) -> None:
        """Ends all sequences before the next step."""
        for request in self._requests:
            engine.cancel(request)

    def take(self) -> Answer | None:
        """What can be sent now: the new text, or all of it where nothing is streamed; None where there is nothing yet.

        Raises what a sequence failed with, once; afterwards there is nothing to take any more.
        """
        with self._lock:
            finishes = [part.finish for part in self._parts]
            last = all(finishes)
            if self._done or not (last or (self._stream and any(part.text for part in self._parts))):
                return None
            self._done = last
            for finish in filter(None, finishes):
                if finish.error is not None:
                    self._done = True
                    raise finish.error
            answer = Answer(
                [part.text for part in self._parts],
                [part.finish.reason if part.finish else "" for part in self._parts],
                len(self.prompt.ids),
                [part.count for part in self._parts],
                [part.token_ids for part in self._parts],
                last,
            )
            for part in self._parts:
                part.text, part.token_ids = "", []
            return answer

    def _add(self, index: int, token: int) -> bool:
        text, part = self._texts[index], self._parts[index]
        piece = text.push(token)
        with self._lock:
            part.text += piece
            part.token_ids.append(token)
            part.count += 1
        if piece and self._stream:
            self._changed(self)
        return text.stopped is None

    def _finish(self, index: int, finish: Finish) -> None:
        part = self._parts[index]
        rest = self._texts[index].finish()
        with self._lock:
            part.text += rest
            part.finish = finish
            if finish.first_token_seconds is not None:
                self.first_token_seconds.append(finish.first_token_seconds)
        self._changed(self)


class _Part:
    """What of one sequence has not been taken; `count`: tokens in all."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.token_ids: list[int] = []
        self.count = 0
        self.finish: Finish | None = None
