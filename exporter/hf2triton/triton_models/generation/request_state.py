"""One request in progress: its sequences, and the parts of them not sent yet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tokenizers import Tokenizer

from ..long_texts import LongTexts
from ..pieces import PIECE
from ..rows import as_exception
from .detokenize import Detokenizer
from .request import Finish, GenerationRequest
from .sampling import Sampler
from .scheduler import Scheduler
from .scoring import PromptScorer
from .settings import Settings


@dataclass(frozen=True)
class TokenizedPrompt:
    """A prompt: its `text` as sent, the `ids` of the tokens used, and how many `new_tokens` may follow or be scored."""

    text: str
    ids: Sequence[int]
    new_tokens: int


def read_prompt(
    text: str, tokenizer: Tokenizer, settings: Settings, context: int, bos_token_id: int | None
) -> TokenizedPrompt:
    """Returns the tokens of a text and the room for new ones. An empty text begins with `bos_token_id`, as in transformers.

    Raises ValueError if the text does not fit into the `context`, or is empty while there is no such token.
    """
    ids, count = _tokens(text, tokenizer, context, from_end=not settings.prompt_logprobs)
    if not count and bos_token_id is not None:
        ids, count = [bos_token_id], 1
    if settings.prompt_logprobs:
        used = settings.scored(count, context)
        return TokenizedPrompt(text, ids[:used], used - 1)
    lengths = settings.lengths(count, context)
    return TokenizedPrompt(text, ids[len(ids) - lengths.prompt :], lengths.new_tokens)


def _tokens(text: str, tokenizer: Tokenizer, keep: int, from_end: bool) -> tuple[Sequence[int], int]:
    """Returns at least the first or last `keep` tokens of a text, and how many it has. Raises ValueError."""
    if len(text) <= PIECE:
        [encoding] = tokenizer.encode_batch_fast([text])  # unlike `encode`, it lets other threads run
        return encoding.ids, len(encoding)
    [tokens] = LongTexts(tokenizer).read([text], keep, from_end)
    if isinstance(tokens, ValueError):
        raise tokens
    kept = tokenizer.post_process(tokens.encoding(min(tokens.count, keep)))
    return kept.ids, tokens.count + tokenizer.num_special_tokens_to_add(False)


@dataclass(frozen=True)
class Answer:
    """What is sent at once, for each sequence: its text, why it ended ("": it goes on), how many tokens were generated in all,
    and the tokens since the last answer. Nothing follows the `last` answer. `logprobs`: those of the prompt's tokens, if
    requested."""

    texts: list[str]
    reasons: list[str]
    prompt_tokens: int
    counts: list[int]
    token_ids: list[list[int]]
    last: bool
    logprobs: Sequence[float] | None = None


class RequestState:
    """The sequences of one request. `stream`: send them piece by piece. `changed`: called when `take` may have something to
    return, from the scheduler's thread and at the end of `submit`. `clean_up`: see Detokenizer. `within`: see `Scheduler.submit`.

    Pieces that are not taken are joined, so a slow reader gets longer pieces and makes nobody wait.
    """

    def __init__(
        self,
        prompt: TokenizedPrompt,
        settings: Settings,
        tokenizer: Tokenizer,
        eos_token_ids: Sequence[int],
        stream: bool,
        changed: Callable[[RequestState], None],
        clean_up: bool = False,
        within: float | None = None,
    ) -> None:
        self.prompt = prompt
        self.first_token_seconds: list[float] = []
        self._settings = settings
        self._eos_token_ids = () if settings.ignore_eos else tuple(eos_token_ids)
        self._stream = stream
        self._changed = changed
        self._within = within
        self._lock = threading.Lock()
        self._requests: list[GenerationRequest] = []
        # true once all are queued, until the last answer, so that either `submit` or `take` raises an error
        self._open = False
        beginning = prompt.text if settings.return_full_text else ""
        self._parts = [_Piece(beginning) for _ in range(settings.num_return_sequences)]
        self._texts = [
            Detokenizer(tokenizer, prompt.ids, stop=settings.stop, keep_stop=settings.keep_stop, clean_up=clean_up)
            for _ in self._parts
        ]
        self._scorer = PromptScorer(prompt.ids) if settings.prompt_logprobs else None

    def submit(self, scheduler: Scheduler) -> None:
        """Queues all sequences or none: if one is refused, those before it are cancelled. Raises like `Scheduler.submit`."""
        try:
            if self._scorer is not None:
                beginning, scored = self.prompt.ids[:1], self.prompt.new_tokens
                ended = partial(self._finish, 0)
                request = scheduler.submit(beginning, self._scorer, scored, (), _go_on, ended, self._within)
                self._requests.append(request)
            for index in range(0 if self._scorer else len(self._parts)):
                sampler = Sampler(self._settings, self.prompt.ids, self._eos_token_ids, index)
                self._requests.append(
                    scheduler.submit(
                        self.prompt.ids,
                        sampler,
                        self.prompt.new_tokens,
                        self._eos_token_ids,
                        partial(self._add, index),
                        partial(self._finish, index),
                        self._within,
                    )
                )
        except BaseException:
            self.cancel(scheduler)
            raise
        with self._lock:
            self._open = True
        self._changed(self)  # there may already be something

    def cancel(self, scheduler: Scheduler) -> None:
        """Ends all sequences before the next step."""
        for request in self._requests:
            scheduler.cancel(request)

    def take(self) -> Answer | None:
        """Returns what can be sent now: the new text, or all text if not streamed; None if there is nothing yet.

        Raises the error of a failed sequence once, without waiting for the others, which the caller should cancel. After that
        there is nothing left to take.
        """
        with self._lock:
            if not self._open:
                return None
            finishes = [part.finish for part in self._parts if part.finish]
            for finish in finishes:
                if finish.error is not None:
                    self._open = False
                    raise as_exception(finish.error)
            last = len(finishes) == len(self._parts)
            if not (last or (self._stream and any(part.text and part.count for part in self._parts))):
                return None
            self._open = not last
            answer = Answer(
                [part.text for part in self._parts],
                [part.finish.reason if part.finish else "" for part in self._parts],
                len(self.prompt.ids),
                [part.count for part in self._parts],
                [part.token_ids for part in self._parts],
                last,
                self._scorer.logprobs if self._scorer and last else None,
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
        try:
            rest = self._texts[index].finish()
        except BaseException as error:  # nothing else would report it
            rest, finish = "", replace(finish, reason="error", error=finish.error or as_exception(error))
        with self._lock:
            part.text += rest
            part.finish = finish
            if finish.first_token_seconds is not None:
                self.first_token_seconds.append(finish.first_token_seconds)
        self._changed(self)


class _Piece:
    """The part of a sequence not taken yet. `count`: the sequence's tokens in all."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.token_ids: list[int] = []
        self.count = 0
        self.finish: Finish | None = None


def _go_on(token: int) -> bool:
    return True
