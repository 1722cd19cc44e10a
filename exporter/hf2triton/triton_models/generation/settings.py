"""The settings of a generation: from a request's JSON and the checkpoint's generation config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..parameters import FLAG, Check, check_parameters, integer, number, parse_parameters, texts
from .generation_config import settings_of

#: Limits that transformers does not have. They bound a request's share of the queue and of each step.
MAX_RETURN_SEQUENCES = 64
MAX_STOPS = 16
MAX_STOP_LENGTH = 256


@dataclass(frozen=True)
class Lengths:
    """The lengths of a request. `prompt`: how many of the prompt's last tokens are used; `new_tokens`: the most tokens to
    generate. Together they never exceed the context."""

    prompt: int
    new_tokens: int


@dataclass(frozen=True)
class Settings:
    """How to generate; the names are those of transformers' GenerationConfig, lengths are in tokens.

    `max_new_tokens` overrides `max_length`, which includes the prompt and is limited to the context. Without both there are
    `default_new_tokens` new ones, or fewer if the context ends before. `min_new_tokens` overrides `min_length`; the end of text
    is not chosen before the minimum, but the maximum takes precedence. `temperature`, `top_k` (0: all tokens) and `top_p` count
    only with `do_sample`.
    `seed`: the same seed gives the same tokens; None: different ones each time.
    `stop`: texts after which generation ends. They are cut off, unless `keep_stop` asks for the text that transformers returns:
    up to the end of the token that completes the stop string.
    `return_full_text`: put the prompt before the new text, as transformers' pipeline does by default.
    `ignore_eos`: generation continues after the end of text.
    `truncate_prompt`: if the prompt and the new tokens exceed the context, the prompt loses its beginning, as with
    `handle_long_generation="hole"` in transformers' pipeline; otherwise such a request is refused.
    `prompt_logprobs`: nothing is generated; the answer holds the log probability of each token of the prompt except the first.
    """

    max_new_tokens: int | None = None
    max_length: int | None = None
    min_new_tokens: int | None = None
    min_length: int = 0
    default_new_tokens: int = 20
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    keep_stop: bool = False
    num_return_sequences: int = 1
    return_full_text: bool = False
    ignore_eos: bool = False
    truncate_prompt: bool = False
    prompt_logprobs: bool = False

    def __post_init__(self) -> None:
        if self.num_return_sequences > 1 and self.prompt_logprobs:
            raise ValueError("num_return_sequences must be 1 for prompt_logprobs; send several requests instead")
        if self.num_return_sequences > 1 and not self.do_sample:
            raise ValueError(
                f"num_return_sequences is {self.num_return_sequences}, but without do_sample they would all be the same:"
                " set do_sample to true, or num_return_sequences to 1"
            )

    @classmethod
    def of_checkpoint(cls, generation_config: Mapping[str, Any]) -> Settings:
        """The default settings of requests, from generation_config.json.

        Missing and null values have transformers' defaults. Raises ValueError for bad values and for unsupported options that
        would change the text, such as beams.
        """
        given = settings_of(generation_config)
        try:
            return cls(**_with_types(check_parameters(given, _CHECKS)))
        except ValueError as error:
            raise ValueError(f"the checkpoint's generation config: {error}") from None

    @classmethod
    def parse(cls, text: str, defaults: Settings | None = None) -> Settings:
        """Reads a JSON object; missing and null values are taken from `defaults`.

        Raises ValueError for unknown names and for bad values; the message lists the allowed values.
        """
        return replace(defaults or cls(), **_with_types(_without_aliases(parse_parameters(text, _ACCEPTED))))

    def lengths(self, prompt: int, context: int) -> Lengths:
        """How much of a prompt of `prompt` tokens to use and how many new tokens to generate at most, as transformers' `generate`
        counts them. `context`: the most tokens that the model takes.

        Raises ValueError if the prompt is empty, or leaves no room or less than `max_new_tokens`.
        """
        if prompt < 1:
            raise ValueError("the prompt has no tokens")
        counted = f"the prompt has {prompt:,} tokens and the model takes {context:,} together with the new ones"
        if self.max_new_tokens is None and self.max_length is not None:
            total = min(self.max_length, context)
            if prompt >= total:
                raise ValueError(
                    f"max_length ({self.max_length:,}) counts the prompt and leaves no room for new tokens: {counted};"
                    " set max_new_tokens instead, with truncate_prompt if the prompt may lose its beginning"
                )
            return Lengths(prompt, total - prompt)
        wanted = min(self.default_new_tokens, context - 1) if self.max_new_tokens is None else self.max_new_tokens
        room = context - prompt
        if wanted <= room:
            return Lengths(prompt, wanted)
        if self.truncate_prompt:
            if wanted >= context:
                raise ValueError(f"max_new_tokens must be an integer from 1 to {context - 1}, not {wanted}: {counted}")
            return Lengths(context - wanted, wanted)
        if room < 1:
            raise ValueError(
                f"the prompt is too long: {counted}; shorten it, or set truncate_prompt to cut its beginning"
            )
        if self.max_new_tokens is None:
            return Lengths(prompt, room)
        raise ValueError(
            f"max_new_tokens must be an integer from 1 to {room} for this prompt, not {wanted}: {counted}; shorten it, or"
            " set truncate_prompt to cut its beginning"
        )

    def scored(self, prompt: int, context: int) -> int:
        """How many tokens of a prompt are scored: all, or its first ones with `truncate_prompt`. Raises ValueError."""
        if prompt < 2:
            raise ValueError(f"prompt_logprobs needs a prompt of 2 tokens or more; this one has {prompt}")
        if prompt > context and not self.truncate_prompt:
            raise ValueError(
                f"the prompt has {prompt:,} tokens and the model takes {context:,}: shorten it, or set truncate_prompt to"
                " score its beginning"
            )
        return min(prompt, context)

    def least_new_tokens(self, prompt: int) -> int:
        """The least number of tokens before the end of text, after a prompt of `prompt` tokens."""
        return max(self.min_length - prompt, 0) if self.min_new_tokens is None else self.min_new_tokens


_CHECKS: Mapping[str, Check] = {
    "max_new_tokens": integer(1),
    "max_length": integer(1),
    "min_new_tokens": integer(0),
    "min_length": integer(0),
    "default_new_tokens": integer(1),
    "do_sample": FLAG,
    # beyond these bounds, a division of logits would leave float32's range
    "temperature": number(0.0001, 10000),
    "repetition_penalty": number(0.0001, 10000),
    "top_k": integer(0),
    "top_p": number(0, 1),
    "no_repeat_ngram_size": integer(0),
    "seed": integer(0, 2**64 - 1),
    "stop": texts(MAX_STOPS, MAX_STOP_LENGTH),
    "keep_stop": FLAG,
    "num_return_sequences": integer(1, MAX_RETURN_SEQUENCES),
    "return_full_text": FLAG,
    "ignore_eos": FLAG,
    "truncate_prompt": FLAG,
    "prompt_logprobs": FLAG,
}
#: Names used by load generators for Triton's vLLM backend.
_ALIASES = {"max_tokens": "max_new_tokens", "min_tokens": "min_new_tokens"}


def _from_text(value: Any) -> Any:
    """Converts a number given as text, as GenAI-Perf sends lengths. At most 9 digits: more cannot be a length, and are slow to
    read."""
    is_number = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10
    return int(value) if is_number else value


def _or_text(check: Check) -> Check:
    expected, holds = check
    return expected, lambda value: holds(_from_text(value))


_ACCEPTED: Mapping[str, Check] = {**_CHECKS, **{alias: _or_text(_CHECKS[name]) for alias, name in _ALIASES.items()}}


def _without_aliases(given: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces aliases by this project's names, with integers."""
    settings = {name: value for name, value in given.items() if name not in _ALIASES}
    for alias, name in _ALIASES.items():
        if alias not in given:
            continue
        if name in settings:
            raise ValueError(f"{alias} is another name of {name}; give one of them")
        settings[name] = _from_text(given[alias])
    return settings


def _with_types(given: Mapping[str, Any]) -> dict[str, Any]:
    """Converts values that JSON may hold as integers, or as a single text, to the types of the fields."""
    settings = dict(given)
    for name in ("temperature", "top_p", "repetition_penalty"):
        if name in settings:
            settings[name] = float(settings[name])
    if "stop" in settings:
        stop = settings["stop"]
        settings["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
    return settings
