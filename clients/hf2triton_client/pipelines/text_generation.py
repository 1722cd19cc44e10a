"""text-generation: texts that continue prompts."""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import InputError, ServerError
from ..transport.generation import Generation, GenerationMetadata, GenerationResponse, Prompt
from ..transport.served_model import ServedModel, as_filled_text, as_text
from ..transport.versions import Versions
from .base import TaskPipeline, texts_of

#: Settings whose names are the same for callers and the server.
_SETTINGS = (
    "max_new_tokens",
    "default_new_tokens",
    "max_length",
    "min_new_tokens",
    "min_length",
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "num_return_sequences",
    "seed",
    "keep_stop",
    "ignore_eos",
    "truncate_prompt",
)
#: Names of the stop strings: in transformers' pipeline, in `generate`, and on the server.
_STOPS = ("stop_sequence", "stop_strings", "stop")
#: What None means to `generate`, where it does not mean that the option is missing.
_OFF: Mapping[str, Any] = {
    "do_sample": False,
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "min_length": 0,
}
#: The defaults of transformers' pipeline if neither the call nor the checkpoint's generation config sets them: the
#: `_default_generation_config` of its TextGenerationPipeline. Its texts include stop strings.
_DEFAULTS: Mapping[str, Any] = {"default_new_tokens": 256, "do_sample": True, "temperature": 0.7, "keep_stop": True}


class GeneratedTexts(list[Any]):
    """A list as `transformers.pipeline` returns it. `metadata` has the same shape, with a GenerationMetadata for each text."""

    def __init__(self, values: Sequence[Any], metadata: Sequence[Any]) -> None:
        super().__init__(values)
        self.metadata: list[GenerationMetadata] | list[list[GenerationMetadata]] = list(metadata)


class TextGeneration(TaskPipeline):
    """Texts that continue prompts: `pipe("Once") -> [{"generated_text": "Once upon…"}]`, a list of such lists for a list.

    Options, as in transformers: `max_new_tokens`, `max_length`, `min_new_tokens`, `min_length`, `do_sample`, `temperature`,
    `top_k`, `top_p`, `repetition_penalty`, `no_repeat_ngram_size`, `num_return_sequences`, `stop_sequence` or `stop_strings`,
    `return_full_text` (default True: the prompt precedes the new text), `return_text`, `prefix` and `handle_long_generation`
    (None or "hole"). Unless the call or the checkpoint says otherwise, 256 tokens are sampled at temperature 0.7, or fewer if
    the model's context ends first. `batch_size` has no effect: the server merges requests that arrive at the same time.

    Options of the server: `seed` (the same seed produces the same text), `ignore_eos`, `truncate_prompt` (what "hole" does),
    `stop` (another name of `stop_sequence`), `keep_stop` (default True, as in transformers: the stop string is part of the
    text) and `default_new_tokens` (the number of new tokens if nothing else sets it; unlike `max_new_tokens`, it is reduced to
    what the context can hold).

    `stream` returns a text while it is generated.
    """

    task = "text-generation"
    options = frozenset({*_SETTINGS, *_STOPS, "return_full_text", "return_text", "prefix", "handle_long_generation"})

    def __call__(self, text_inputs: Any, **options: Any) -> Any:  # type: ignore[override]  # transformers' name for it
        generation = self.prepare(text_inputs, self.merged(options))
        several = isinstance(text_inputs, Iterator)
        return self._runner.generate_each(generation) if several else self._runner.generate(generation)

    def stream(self, text_input: str | bytes, **options: Any) -> Any:
        """The text that continues one prompt, while it is generated: a `TextStream`, or an `AsyncTextStream`.

            with pipe.stream("Once", max_new_tokens=50) as pieces:
                for piece in pieces:
                    print(piece, end="", flush=True)
            pieces.metadata.finish_reason

        Options: those of a call, except `num_return_sequences`; `return_full_text` (default False) returns the prompt as the
        first piece. Raises InputError.
        """
        merged = self.merged(options)
        if not isinstance(text_input, (str, bytes)):
            raise InputError(f"a stream continues one prompt, a string, not {type(text_input).__name__}")
        checkpoint = self.model.settings["generation"]["defaults"]
        sequences = self._settings(merged, self.model).get(
            "num_return_sequences", checkpoint.get("num_return_sequences", 1)
        )
        if sequences != 1:
            raise InputError(f"a stream gives one text; num_return_sequences is {sequences!r} and should be 1")
        (prompt,) = self._prompts([_text(text_input, 0)], merged, stream=True)
        return self._runner.generate_stream(prompt)

    def logprobs(self, texts: str | Sequence[str]) -> Any:
        """How likely texts are: the log probability of each token but the first, given the tokens before it. A list of
        floats for a string, a list of such lists for a list. If a text is longer than the model can take, only its beginning
        counts. A coroutine for asyncio pipelines. The perplexity of a text is `exp(-mean(logprobs))`. Raises InputError."""
        settings = _json({"prompt_logprobs": True, "truncate_prompt": True, "num_return_sequences": 1})
        prompts = [
            Prompt(self.model.name, text, settings, logprobs=True, versions=self._versions)
            for text in texts_of(texts, as_filled_text)
        ]
        single = isinstance(texts, (str, bytes))
        result = Generation(prompts, self._versions, _logprobs, lambda found: found[0] if single else found)
        return self._runner.generate(result)

    def prepare(self, inputs: Any, options: ChainMap[str, Any]) -> Generation:
        """Like `TaskPipeline.prepare`. An iterator of inputs is read when its prompts are sent."""
        prompts = self._prompts(_texts(inputs), options, stream=False)
        single = isinstance(inputs, (str, bytes))

        def finish(results: list[GeneratedTexts]) -> GeneratedTexts:
            return results[0] if single else GeneratedTexts(results, [result.metadata for result in results])

        return Generation(prompts, self._versions, _result, finish)

    @property
    def _versions(self) -> Versions:
        return next(iter(self.versions.values()))

    def _prompts(self, texts: Iterable[str], options: ChainMap[str, Any], *, stream: bool) -> Iterator[Prompt]:
        prefix = options.get("prefix") or ""
        if not isinstance(prefix, str):
            raise InputError(f"prefix should be a string, not {type(prefix).__name__}")
        full = options.get("return_full_text")
        full = not stream if full is None else full

        def settings_for(model: ServedModel) -> str:
            return _json(self._settings(options, model))

        settings_for(self.model)  # wrong options are reported before a text is read
        return (
            Prompt(
                self.model.name,
                _text(prefix + text, index),
                settings_for(self.model),
                stream,
                head=text if full else "",
                versions=self._versions,
                settings_for=settings_for,
            )
            for index, text in enumerate(texts)
        )

    @staticmethod
    def _settings(options: ChainMap[str, Any], model: ServedModel) -> dict[str, Any]:
        """The settings to send if the server serves this version. Raises InputError."""
        if options.get("return_full_text") is not None and options.get("return_text") is not None:
            raise InputError(
                "return_text and return_full_text exclude each other; return_full_text=False gives new text"
            )
        checkpoint = model.settings["generation"]["defaults"]  # from the checkpoint's generation config
        settings = settings_of(options, checkpoint)
        if options.get("prefix"):
            _check_lengths_with_prefix({**checkpoint, **settings})
        return settings


def settings_of(options: ChainMap[str, Any], checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The server settings that have the effect of a call's options in transformers' pipeline.

    `checkpoint`: what the checkpoint's generation config sets. Raises InputError.
    """
    given = {name: options[name] for name in _SETTINGS if name in options}
    known = {**checkpoint, **given}
    defaults = {name: value for name, value in _DEFAULTS.items() if name not in known}
    if "max_new_tokens" in known or known.get("max_length") is not None:
        defaults.pop("default_new_tokens", None)
    if not known.get("do_sample", True):
        defaults.pop("temperature", None)
    settings = defaults | {name: _OFF.get(name) if value is None else value for name, value in given.items()}
    settings |= {"stop": _stops(options), **_long_generation(options)}
    return {name: value for name, value in settings.items() if value is not None}


def _stops(options: ChainMap[str, Any]) -> Any:
    """The stop strings, under any of their names. Those of the call take precedence over the pipeline's."""
    for own in options.maps:
        given = [name for name in _STOPS if own.get(name) is not None]
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} are names of the same option; give one of them")
        if given:
            return own[given[0]]
    return None


def _long_generation(options: Mapping[str, Any]) -> dict[str, bool]:
    strategy = options.get("handle_long_generation")
    if strategy not in (None, "hole"):
        raise InputError(f"handle_long_generation should be None or 'hole', not {strategy!r}")
    return {"truncate_prompt": True} if strategy else {}


def _check_lengths_with_prefix(settings: Mapping[str, Any]) -> None:
    """Rejects total lengths together with a prefix: transformers adds the prefix's length in tokens, which only the server
    could count. Raises InputError."""
    for total, of_new in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
        if settings.get(total) and settings.get(of_new) is None:
            raise InputError(f"{total} counts the prompt's tokens, a prefix's too: with prefix give {of_new} instead")


def _json(settings: Mapping[str, Any]) -> str:
    try:
        return json.dumps(settings)
    except TypeError as error:
        raise InputError(f"an option cannot be sent: {error}") from None


def _texts(inputs: Any) -> Iterable[str]:
    """The prompts of a call. The prompts of an iterator are read one by one. Raises InputError."""
    if isinstance(inputs, Iterator):
        return (_text(value, index) for index, value in enumerate(inputs))
    return texts_of([inputs] if isinstance(inputs, Mapping) else inputs, _text)


def _text(value: Any, index: int) -> str:
    """One prompt. Raises InputError."""
    if isinstance(value, (Mapping, list, tuple)):
        raise InputError(
            f"text {index} is a {type(value).__name__}, as in a chat; this model has no template for chats: write what was"
            " said as one string"
        )
    return as_text(value, index)


def _logprobs(prompt: Prompt, answer: GenerationResponse) -> list[float]:
    if answer.logprobs is None:
        raise ServerError(f"the answer of {prompt.model!r} has no logprobs")
    logprobs: list[float] = answer.logprobs.tolist()
    return logprobs


def _result(prompt: Prompt, answer: GenerationResponse) -> GeneratedTexts:
    return GeneratedTexts([{"generated_text": prompt.head + text} for text in answer.texts], answer.metadata)
