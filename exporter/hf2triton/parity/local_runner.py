"""Runs an entry's graph without a server: onnxruntime and the frontend's code in this process, one item per call.

The served model is compared with it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ..checkpoint.preprocessing import items_of
from ..core.frontend_settings import DecoderSettings, read_decoder_settings, read_encoder_settings, read_settings
from ..core.layout import TOKENIZER, graph_in
from ..errors import ParityError
from ..triton_models.executors import open_session
from ..triton_models.generation.decoder import open_decoder
from ..triton_models.generation.generation_config import eos_token_ids
from ..triton_models.generation.request_state import Answer, RequestState, read_prompt
from ..triton_models.generation.scheduler import Scheduler
from ..triton_models.generation.settings import Settings
from ..triton_models.preprocessors import make_preprocessor

#: An item: its value for each input of the frontend.
Item = Mapping[str, Any]


class LocalModel:
    """The version in `folder`, loaded as the frontend does it, on all cores."""

    def __init__(self, folder: Path) -> None:
        settings = read_encoder_settings(folder)
        tokenizer = folder / TOKENIZER
        self._preprocessor = make_preprocessor(
            settings.reader, tokenizer.read_text("utf-8") if tokenizer.exists() else None
        )
        self._session = open_session(str(graph_in(folder)), 0)

    def __call__(self, item: Item) -> list[Sequence[Any]]:
        """The graph's outputs for each row of an item."""
        [read] = items_of(self._preprocessor, {name: (value,) for name, value in item.items()})
        return [self._session.run(None, self._preprocessor.feeds([row])) for row in read.rows]


class LocalTexts:
    """A generative model's version in `folder`: one text at a time, in the caller's thread and a single slot."""

    def __init__(self, folder: Path, slots: int = 1, threads: int = 0, device: str = "cpu", max_queue: int = 0) -> None:
        about = read_decoder_settings(folder)
        self._context, generation = about.context, about.generation
        self._defaults = Settings.of_checkpoint(generation)
        self._bos_token_id, self._ends = generation.get("bos_token_id"), eos_token_ids(generation)
        self._clean_up = about.clean_up
        self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        graph = str(graph_in(folder))
        decoder = open_decoder(graph, slots, self._context, device, threads=threads, in_place=about.in_place)
        self._scheduler = Scheduler(decoder, max_queue)

    def __call__(self, item: Item) -> Answer:
        """The text generated after a prompt."""
        request_state = self._request_state(item, lambda request_state: None)
        request_state.submit(self._scheduler)
        while self._scheduler.step():
            pass
        answer = request_state.take()
        if answer is None:
            raise ParityError("the scheduler stopped before the text was finished")
        return answer

    def _request_state(self, item: Item, changed: Callable[[RequestState], None]) -> RequestState:
        settings = Settings.parse(item["sampling_parameters"], self._defaults)
        prompt = read_prompt(item["text_input"], self._tokenizer, settings, self._context, self._bos_token_id)
        return RequestState(prompt, settings, self._tokenizer, self._ends, False, changed, self._clean_up)


class ConcurrentLocalTexts(LocalTexts):
    """LocalTexts for several threads: generates up to `slots` texts together, in a thread that never ends."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._reading = threading.Lock()  # a long prompt changes the tokenizer for a while
        self._scheduler.start()

    def __call__(self, item: Item) -> Answer:
        return self.timed(item)[0]

    def timed(self, item: Item) -> tuple[Answer, float]:
        """The text generated after a prompt, and the seconds until its first token."""
        began, changed = time.perf_counter(), threading.Event()
        with self._reading:
            request_state = self._request_state(item, lambda request_state: changed.set())
        read = time.perf_counter()
        request_state.submit(self._scheduler)
        while (answer := request_state.take()) is None:
            changed.wait()
            changed.clear()
        return answer, read - began + request_state.first_token_seconds[0]


def open_version(folder: Path) -> Callable[[Item], Any]:
    """The version in `folder`; call it with an item."""
    return LocalTexts(folder) if isinstance(read_settings(folder), DecoderSettings) else LocalModel(folder)
