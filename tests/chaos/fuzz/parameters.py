"""Parameters of requests: JSON of any shape, and what is nearly JSON."""

from __future__ import annotations

import random

from .example import OUTPUTS, Example, Recipe, strings

#: Task -> the inputs beside the parameters, the name of those, and what they may hold.
_ASKED: dict[str, tuple[dict[str, list[Recipe]], str, tuple[str, ...]]] = {
    "question-answering": (
        {"text": [{"text": "Who?"}], "text_pair": [{"text": "It was Ann, said Bob."}]},
        "parameters",
        (
            "top_k",
            "doc_stride",
            "max_answer_len",
            "max_seq_len",
            "max_question_len",
            "handle_impossible_answer",
            "align_to_words",
        ),
    ),
    "fill-mask": ({"text": [{"text": "The [MASK] is good"}]}, "parameters", ("top_k", "targets")),
    "text-generation": (
        {"text_input": [{"text": "And when"}]},
        "sampling_parameters",
        (
            "max_new_tokens",
            "max_tokens",
            "max_length",
            "min_new_tokens",
            "do_sample",
            "temperature",
            "top_k",
            "top_p",
            "seed",
            "stop",
            "repetition_penalty",
            "no_repeat_ngram_size",
            "num_return_sequences",
            "truncate_prompt",
            "prompt_logprobs",
            "keep_stop",
        ),
    ),
}
TASKS = tuple(_ASKED)
_ODD = (
    *("null", "true", "-1", "0", "1", "0.5", "NaN", "Infinity", "-Infinity", "1e999", "-0.0", "[]", "{}", '""', '"3"'),
    *(
        "9" * 30,
        "9" * 5000,
        "1" + "0" * 400,
        '"\\ud800"',
        '["\\udfff", "a"]',
        '"\\u0000"',
        '{"\\ud800": 1}',
        "[[[[1]]]]",
    ),
    *("2147483648", "18446744073709551616", "1e308", '"' + "x" * 300 + '"', "[" + ",".join(['"a"'] * 40) + "]"),
)
_NO_JSON = (
    "",
    " ",
    "{",
    "}",
    "nul",
    "'a'",
    "\ufeff{}",
    "{,}",
    '{"a":1}{"b":2}',
    "[1,",
    "\0",
    '{"a" 1}',
    "1",
    '"text"',
    "[]",
    "null",
)
_NAMES = ("", "unknown", "\\ud800", "\\u0000", "top_k ", "TOP_K", "__class__", "a" * 500)


def _deep(rng: random.Random) -> str:
    depth = rng.choice([50, 900, 5000, 60_000])
    return rng.choice(["[" * depth + "]" * depth, '{"top_k":' * depth + "1" + "}" * depth])


def _settings(rng: random.Random, known: tuple[str, ...]) -> str:
    """An object whose names are mostly known and whose values are mostly not what they should be."""
    names = [rng.choice([*known, *known, rng.choice(_NAMES)]) for _ in range(rng.randrange(1, 5))]
    return "{" + ", ".join(f'"{name}": {rng.choice(_ODD)}' for name in names) + "}"


def text_of(rng: random.Random, known: tuple[str, ...]) -> str:
    kind = rng.randrange(12)
    if kind == 0:
        return rng.choice(_NO_JSON)
    return _deep(rng) if kind == 1 else _settings(rng, known)


def example(rng: random.Random, task: str) -> Example:
    """A good question with odd parameters."""
    inputs, name, known = _ASKED[task]
    return strings(task, {**inputs, name: [{"text": text_of(rng, known)}]}, OUTPUTS[task])
