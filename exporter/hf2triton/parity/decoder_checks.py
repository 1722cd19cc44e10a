"""Proves a decoder in the slots that serve requests: logits of prompts and of each later step, and whole greedy texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.evaluation.compare import Difference, compare, compare_greedy
from hf2triton_client.evaluation.places import Places

from ..checkpoint.preprocessing import as_text_preprocessor, texts_in
from ..core.types import ParityCheck, StoredGraph
from ..errors import ExportError
from ..triton_models.generation.decoder import Decoder, make_decoder, require_onnxruntime
from ..triton_models.generation.scheduler import Scheduler
from ..triton_models.preprocessor import Preprocessor
from ..triton_models.sessions import open_session
from .calibration_inputs import whole_text
from .checks import ParityInputs, calibration_checks, runs_of
from .decoder_baseline import compared_positions, prompt_ids
from .places import places_of_tokens

#: The tokens of each prompt, and those that PyTorch generated after it.
Texts = Sequence[tuple[list[int], list[int]]]
#: How logits of later steps are measured: (name, tokens in each piece of a prompt, slots in reverse order).
LAYOUTS = (
    ("steps, all texts side by side", 64, False),
    ("steps in reverse order, over slots that held other texts, prompts in pieces of 7", 7, True),
)


def checks_of_texts(stored: StoredGraph, asked: ParityInputs) -> Iterator[ParityCheck]:
    """Runs a stored decoder and compares it with PyTorch's logits and greedy texts. Yields one check at a time.

    An fp16 graph is measured twice on the CPU: as a twin that rounds where a GPU would, and unchanged. With `asked.gpu`, it is
    measured on the GPU too. Raises ExportError if the onnxruntime here is older than the graph needs.
    """
    try:
        require_onnxruntime(stored.first_onnxruntime)
    except RuntimeError as error:
        raise ExportError(f"{error}: upgrade it, or use --attention standard") from error
    baseline = asked.baseline.joined()
    prompts = prompt_ids(asked.preprocessor, texts_in(baseline.inputs, "text_input"))
    texts = [(ids, tokens.tolist()) for ids, tokens in zip(prompts, baseline.answers["token_ids"], strict=True)]
    longest = max(len(prompt) + len(tokens) for prompt, tokens in texts)
    text = partial(places_of_tokens, baseline.inputs, asked.preprocessor)
    steps, new = text("step"), text("new token")
    in_place = stored.graph.shares_buffer
    for prefix, path, device in runs_of(stored, asked.gpu):
        session = open_session(str(path), device, 0, threads=0)  # as in serving
        yield ParityCheck(
            f"{prefix}whole texts, one a call", _whole_texts(session, stored, texts, baseline, text("token"))
        )
        decoder = make_decoder(session, len(texts), longest, device, in_place=in_place)
        for name, piece, reverse in LAYOUTS:
            yield ParityCheck(prefix + name, _steps(decoder, texts, baseline, piece, reverse, steps))
        yield ParityCheck(f"{prefix}greedy texts", _greedy_texts(decoder, texts, baseline, new, asked.preprocessor))
        places = {output.name: text("token") for output in stored.graph.outputs}
        yield from calibration_checks(session, stored.graph, asked, prefix, places)


def _whole_texts(session: Any, stored: StoredGraph, texts: Texts, baseline: Baseline, places: Places) -> Difference:
    """Runs each prompt with its generated text in one call, from an empty past."""
    positions = [compared_positions(len(prompt), len(tokens)) for prompt, tokens in texts]
    pairs = []
    for (prompt, tokens), chosen, expected in zip(texts, positions, baseline.answers["logits"], strict=True):
        [logits] = session.run(["logits"], whole_text(stored.graph, [*prompt, *tokens]))
        pairs.append((expected, logits[0, chosen]))

    def told(pair: int, index: Sequence[int]) -> Sequence[int]:
        return (positions[pair][index[0]], *index[1:]) if index else index

    where = replace(places, row=lambda pair, index: 0, told=told)
    return compare("logits", pairs, baseline.tolerances["logits"], where)


def _steps(decoder: Decoder, texts: Texts, baseline: Baseline, piece: int, reverse: bool, places: Places) -> Difference:
    """Fills the slots with the prompts in pieces, then feeds PyTorch's tokens to all slots, one per step."""
    order = list(range(len(texts)))[:: -1 if reverse else 1]
    lengths = []
    for slot, index in enumerate(order):
        before = texts[index][0][:-1]
        for start in range(0, len(before), piece):
            decoder.prefill(slot, before[start : start + piece], start)
        lengths.append(len(before))
    rows: list[list[NDArray[Any]]] = [[] for _ in texts]
    for step in range(len(texts[0][1])):
        fed = [[prompt[-1], *tokens][step] for prompt, tokens in (texts[index] for index in order)]
        for index, logits in zip(order, decoder.step(fed, lengths), strict=True):
            rows[index].append(logits.copy())
        lengths = [length + 1 for length in lengths]
    pairs = [
        (expected[-len(own) :], np.stack(own)) for expected, own in zip(baseline.answers["logits"], rows, strict=True)
    ]
    where = replace(places, row=lambda pair, index: order.index(pair))  # its slot
    return compare("logits", pairs, baseline.tolerances["logits"], where)


class _Best:
    """Chooses the likeliest token."""

    def next(self, logits: NDArray[Any]) -> int:
        return int(logits.argmax())


def _greedy_texts(
    decoder: Decoder, texts: Texts, baseline: Baseline, places: Places, preprocessor: Preprocessor
) -> Difference:
    """Generates all texts together with the scheduler that serves requests."""
    scheduler = Scheduler(decoder, max_queue=len(texts))
    served: list[list[int]] = []
    errors: list[BaseException | None] = []
    for prompt, tokens in texts:
        served.append([])
        keep: Callable[[int], None] = served[-1].append
        scheduler.submit(prompt, _Best(), len(tokens), (), keep, lambda finish: errors.append(finish.error))
    while scheduler.step():
        pass
    for error in filter(None, errors):
        raise error
    pairs = zip(baseline.greedy(), map(np.array, served), strict=True)
    difference = compare_greedy("token_ids", pairs, baseline.tolerances["token_ids"], places)
    if difference.worst is None:
        return difference
    decode = as_text_preprocessor(preprocessor).tokenizer.decode
    both = (decode(ids) for ids in (texts[difference.worst.item][1], served[difference.worst.item]))
    return replace(difference, worst=difference.worst.with_texts(*both))
