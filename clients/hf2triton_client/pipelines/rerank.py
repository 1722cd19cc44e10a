"""rerank: orders documents by their relevance to a query, with a cross-encoder."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..transport.calls import Ask, Call, Inputs
from ..transport.served_model import Row, ServedModel, as_text
from .base import Results, TaskPipeline, positive, texts_of
from .postprocess import ACTIVATIONS
from .prompts import requested_prompt

#: Turns logits, float32 `[n]`, into scores.
Activation = Callable[[NDArray[Any]], NDArray[Any]]
_KEYS = {"query", "documents"}


class Rerank(TaskPipeline):
    """Documents in the order of their relevance to a query, as `CrossEncoder.rank` of sentence-transformers gives them:

    `pipe("Which animal barks?", ["A dog.", "A tree."]) -> [{"index": 0, "score": 0.98}, {"index": 1, "score": 0.01}]`

    `index` is the document's position in the list. A dict `{"query": …, "documents": […]}` or a list of these works too. Options:
    `top_k` (the number of documents to return; by default all), `return_documents` (adds the `text` of each), `activation_fn`
    (turns logits into scores: "Sigmoid", "Identity" or another name in torch.nn, or a function of a float32 array; by default,
    the checkpoint's), and `prompt_name` and `prompt` (text to put before the query). transformers has no pipeline for this task.
    `predict` scores pairs.
    """

    task = "rerank"
    options = frozenset({"top_k", "return_documents", "activation_fn", "prompt_name", "prompt"})

    def __call__(self, inputs: Any, documents: Sequence[str] | None = None, **options: Any) -> Any:
        return super().__call__(inputs if documents is None else {"query": inputs, "documents": documents}, **options)

    def prepare(self, inputs: Any, options: ChainMap[str, Any]) -> Call:
        single = isinstance(inputs, Mapping)
        if not single and not isinstance(inputs, (list, tuple)):
            raise InputError(
                "rerank takes a query and a list of documents, or a dict with the keys 'query' and 'documents'"
            )
        asked = [_query_and_documents(one) for one in ([inputs] if single else inputs)]
        if not asked:
            raise InputError("the list of queries is empty")
        top_k, with_text = positive(options, "top_k", "all documents"), bool(options.get("return_documents"))

        def finish(scores: NDArray[Any], rows: Sequence[Row]) -> Any:
            values, start = [], 0
            for _, documents in asked:
                own = scores[start : start + len(documents)].tolist()
                start += len(documents)
                entries = [{"index": index, "score": score} for index, score in enumerate(own)]
                if with_text:
                    entries = [{**entry, "text": documents[entry["index"]]} for entry in entries]
                values.append(sorted(entries, key=lambda entry: entry["score"], reverse=True)[:top_k])
            return Results(values[0] if single else values, rows)

        return self._call([(query, document) for query, own in asked for document in own], options, finish)

    def predict(
        self,
        inputs: Sequence[Any] | NDArray[Any],
        *,
        activation_fn: str | Activation | None = None,
        apply_softmax: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
    ) -> Any:
        """The scores of pairs `(query, document)`, as `CrossEncoder.predict` gives them: float32 `[n]` for a list of pairs, and a
        float32 number for one pair.

        `activation_fn`, `prompt_name`, `prompt`: as in a call. `apply_softmax`: has no effect, because a reranker has one label.
        `batch_size` (32): pairs per request. A coroutine for asyncio pipelines. Raises InputError.
        """
        if isinstance(inputs, np.ndarray):
            inputs = inputs.tolist()
        single = len(inputs) > 0 and isinstance(inputs[0], (str, bytes))
        pairs = [_pair(one, index) for index, one in enumerate([inputs] if single else inputs)]
        options = self._options_of(
            activation_fn=activation_fn, prompt_name=prompt_name, prompt=prompt, batch_size=batch_size
        )

        def finish(scores: NDArray[Any], rows: Sequence[Row]) -> Any:
            return scores[0] if single else scores

        return self._runner.run(self._call(pairs, options, finish))

    def _call(
        self,
        pairs: Sequence[tuple[str, str]],
        options: Mapping[str, Any],
        finish: Callable[[NDArray[Any], Sequence[Row]], Any],
    ) -> Call:
        """Asks for each different pair once, so that equal documents have equal scores. The longest come first, so that each
        request has pairs of similar length."""
        activation = _activation(options.get("activation_fn"))
        ordered = sorted(dict.fromkeys(pairs), key=lambda pair: -len(pair[0]) - len(pair[1]))

        def inputs(model: ServedModel) -> Inputs:
            prompt = _prompt(model, options)
            return {
                "text": [prompt + query for query, _ in ordered],
                "text_pair": [document for _, document in ordered],
            }

        def scored(answers: list[Row]) -> Any:
            row_of = dict(zip(ordered, answers, strict=True))
            rows = [row_of[pair] for pair in pairs]
            logits = np.array([row["logits"][0] for row in rows], np.float32)
            return finish(activation(rows[0]["model"], logits), rows)

        if not pairs:
            return Call([], lambda: finish(np.array([]), []))
        asks: list[Ask] = [self.ask(inputs, ["logits"], options)]
        return Call(asks, scored, one_version=True)


def _query_and_documents(given: Any) -> tuple[str, list[str]]:
    """A query and its documents. Raises InputError."""
    if not isinstance(given, Mapping) or set(given) != _KEYS:
        raise InputError("rerank takes a dict with the keys 'query' and 'documents'")
    query, documents = given["query"], given["documents"]
    if not isinstance(query, (str, bytes)):
        raise InputError(f"the query should be a string, not {type(query).__name__}")
    if isinstance(documents, (str, bytes)):
        raise InputError("'documents' is a list of strings, not one string")
    return as_text(query, 0), texts_of(documents) if len(documents) else []


def _pair(given: Any, index: int) -> tuple[str, str]:
    """A query and a document. Raises InputError."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence) or len(given) != 2:
        raise InputError(f"pair {index} should be a query and a document, not {given!r:.60}")
    return as_text(given[0], index), as_text(given[1], index)


def _activation(given: str | Activation | None) -> Callable[[ServedModel, NDArray[Any]], NDArray[Any]]:
    """The function that turns a version's logits into scores. Raises InputError."""
    if callable(given):
        return lambda model, logits: given(logits)
    if given is None:
        return lambda model, logits: _named(str(model.settings["activation"]))(logits)
    function = _named(str(given))
    return lambda model, logits: function(logits)


def _named(name: str) -> Activation:
    known = {known.lower(): function for known, function in ACTIVATIONS.items()}
    if name.lower() not in known:
        raise InputError(f"activation_fn {name!r} is unknown; known are {', '.join(ACTIVATIONS)}")
    return known[name.lower()]


def _prompt(model: ServedModel, options: Mapping[str, Any]) -> str:
    """The text before the query. Raises InputError for a prompt that the model does not have."""
    known = model.settings.get("prompts", {})
    asked = {name: value for name, value in options.items() if value is not None}
    name, prompt = requested_prompt(model, {"prompt_name": model.settings.get("default_prompt_name"), **asked}, known)
    if prompt is not None:
        return prompt
    return "" if name is None else str(known[name])
