"""Records what PyTorch generates: greedy texts after real prompts, the logits of each step, and the time it takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hf2triton_client.evaluation.baseline import Baseline, Items
from hf2triton_client.evaluation.compare import Tolerance
from hf2triton_client.evaluation.places import quoted
from hf2triton_client.evaluation.questions import ANSWERS, Questions

from ..checkpoint.own_inputs import OWN, own_texts
from ..checkpoint.parts import max_length_of
from ..checkpoint.preprocessing import item_of, items_of, preprocessor_of, texts_in
from ..checkpoint.same_tokens import ReferenceTokenizer
from ..checkpoint.sample_inputs import texts
from ..core.types import Checkpoint
from ..errors import ParityError
from ..tasks.base import Endpoint, Inputs
from ..triton_models.preprocessor import Preprocessor
from .reference import answered

if TYPE_CHECKING:
    import torch

#: The maximum number of tokens of a generated text.
NEW_TOKENS = 64
#: The number of real prompts. They have from one token to as many as leave room for the new ones.
PROMPTS = 8
#: The maximum number of a prompt's positions whose logits are compared; each has as many logits as the vocabulary has tokens.
POSITIONS = 16
#: The number of likeliest tokens recorded for each step.
TOP = 16
#: The settings of a greedy text, which override the checkpoint's; an end-of-text token does not end it.
GREEDY = {
    "do_sample": False,
    "min_new_tokens": 0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "num_return_sequences": 1,
    "stop": [],
    "ignore_eos": True,
}


def record_texts(
    checkpoint: Checkpoint,
    endpoint: Endpoint,
    precision: str,
    inputs: Inputs | None = None,
    asked: Questions | None = None,
) -> Baseline:
    """Makes PyTorch (fp32) generate a text after each of `PROMPTS` prompts, taken from `inputs` or from real texts that come with
    hf2triton. If its pipeline is `asked` anything, its answers are recorded as decoded answers in place of these texts.

    The answers: `token_ids` of the new tokens, `[new]`; `top_ids` and `top_logits` of each step, `[new, TOP]`; `logits` at
    `compared_positions`, `[positions, vocabulary]`. Raises ParityError if PyTorch itself gives NaN or infinity.
    """
    import torch

    preprocessor = preprocessor_of(checkpoint, endpoint)
    limit = max_length_of(checkpoint)
    new = min(NEW_TOKENS, limit // 2)
    room = limit - new
    prompts = {"real inputs": _prompts(preprocessor, texts() if inputs is None else texts_in(inputs, "text"), room)}
    if inputs is None:
        own = own_texts(checkpoint, room)
        prompts |= {OWN: [text for text in (_cut(preprocessor, text, room) for text in own) if text]}
    tokenizer = ReferenceTokenizer(checkpoint)
    with torch.inference_mode(), _greedy(checkpoint.model):
        real, *groups = (
            _group(checkpoint, preprocessor, tokenizer, about, given, new) for about, given in prompts.items() if given
        )
    return Baseline(
        task=checkpoint.task.name,
        precision=precision,
        inputs=real.inputs,
        answers=real.answers,
        tolerances=token_tolerances(checkpoint, endpoint, precision),
        about={
            "source": checkpoint.source.given,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "new_tokens": new,
        },
        unsaved=frozenset({"logits"}),
        questions=answered(checkpoint, asked) or _decoded([real, *groups], tokenizer),
        own=tuple(groups),
    )


def _group(
    checkpoint: Checkpoint,
    preprocessor: Preprocessor,
    tokenizer: ReferenceTokenizer,
    about: str,
    prompts: Sequence[str],
    new: int,
) -> Items:
    """The texts that PyTorch generates after some prompts."""
    import torch

    answers: dict[str, list[NDArray[Any]]] = {name: [] for name in ("logits", "token_ids", "top_ids", "top_logits")}
    rows = [item.rows for item in items_of(preprocessor, {"text": tuple(prompts)})]
    tokenizer.require_same({"text": tuple(prompts)}, rows)
    for prompt, [row] in zip(prompts, rows, strict=True):
        ids = row.ids
        sequence = _generate(checkpoint.model, torch.tensor([ids]), new)
        logits = _logits(checkpoint.model, sequence, compared_positions(len(ids), new))
        if not torch.isfinite(logits).all():
            raise ParityError(f"PyTorch itself gives NaN or infinity after {quoted(prompt)}: the checkpoint is broken")
        top = logits[-new:].topk(min(TOP, logits.shape[-1]))
        answers["logits"].append(logits.numpy())
        answers["token_ids"].append(sequence[0, len(ids) :].numpy())
        answers["top_ids"].append(top.indices.numpy())
        answers["top_logits"].append(top.values.numpy())
    inputs = {
        "text_input": tuple(prompts),
        "sampling_parameters": (json.dumps({"max_new_tokens": new, **GREEDY}),) * len(prompts),
    }
    return Items(about, inputs, {name: tuple(arrays) for name, arrays in answers.items()})


def _decoded(groups: Sequence[Items], tokenizer: ReferenceTokenizer) -> Questions:
    """The prompts as questions, with their texts as transformers' tokenizer and pipeline write them."""
    prompts = [prompt for group in groups for prompt in group.inputs["text_input"]]
    token_ids = [ids for group in groups for ids in group.answers["token_ids"]]
    greedy = {name: value for name, value in GREEDY.items() if name != "stop"}
    options = {"max_new_tokens": len(token_ids[0]), "return_full_text": False, **greedy}
    texts = [tokenizer.decode(new.tolist()) for new in token_ids]
    return Questions(tuple(prompts), options, answers=tuple([{"generated_text": text}] for text in texts))


def token_tolerances(checkpoint: Checkpoint, endpoint: Endpoint, precision: str) -> dict[str, Tolerance]:
    """How far logits, the margins of other tokens, and the scores of decoded answers may be from PyTorch's."""
    tolerance = endpoint.outputs[0].tolerances[precision]
    return {"logits": tolerance, "token_ids": tolerance, ANSWERS: tolerance}


def prompt_ids(preprocessor: Preprocessor, prompts: Sequence[str]) -> list[list[int]]:
    """The token ids of prompts, from the checkpoint's tokenizer."""
    return [item.rows[0].ids for item in items_of(preprocessor, {"text": tuple(prompts)})]


def compared_positions(prompt: int, new: int) -> list[int]:
    """The positions where logits are compared in a sequence of `prompt` and `new` tokens: up to POSITIONS of the prompt,
    including its last one, and each later step except the last, which nothing follows."""
    inside = np.unique(np.linspace(0, prompt - 1, min(prompt, POSITIONS)).astype(int))
    return [*inside.tolist(), *range(prompt, prompt + new - 1)]


def _prompts(preprocessor: Preprocessor, given: Sequence[str], room: int) -> list[str]:
    """Some of the given texts, of different lengths and at most `room` tokens. They include the shortest text, and one that fills
    `room` up to the last whole character. Fewer than PROMPTS if even the first character of a text has too many tokens."""
    candidates = sorted(given, key=len)
    chosen = [candidates[index] for index in np.linspace(0, len(candidates) - 1, PROMPTS - 1).astype(int)]
    long = " ".join(candidates)
    return [text for text in (_cut(preprocessor, text, room) for text in (*chosen, long)) if text]


def _cut(preprocessor: Preprocessor, text: str, room: int) -> str:
    """The longest beginning of a text that has at most `room` tokens; "" if there is none."""
    while text:
        [row] = item_of(preprocessor, text, {"offsets"}).rows
        excess = len(row) - room
        if excess <= 0:
            break
        # whole characters: a character may be several tokens, and special tokens have no characters
        starts = [start for start, end in row.offsets if start < end]
        text = text[: starts[-excess]].rstrip() if excess <= len(starts) else ""
    return text


def _generate(model: Any, ids: torch.Tensor, new: int) -> torch.Tensor:
    import torch

    sequence: torch.Tensor = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new)
    return sequence


def _logits(model: Any, sequence: torch.Tensor, positions: Sequence[int]) -> torch.Tensor:
    """`[positions, vocabulary]`; the head computes only these, because all logits would take much memory."""
    states = model.base_model(sequence).last_hidden_state
    logits: torch.Tensor = model.get_output_embeddings()(states[0, list(positions)])
    return logits


@contextmanager
def _greedy(model: Any) -> Iterator[None]:
    """Makes `generate` always choose the likeliest token and never end a text, whatever the checkpoint sets."""
    from transformers import GenerationConfig

    own = model.generation_config
    model.generation_config = GenerationConfig(do_sample=False, pad_token_id=0)
    try:
        yield
    finally:
        model.generation_config = own
