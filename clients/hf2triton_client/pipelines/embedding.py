"""What pipelines of embeddings share: prompts, queries and documents, and comparisons."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..transport.calls import Call, Inputs
from ..transport.served_model import Row, ServedModel
from .base import TaskPipeline, texts_of
from .prompts import requested_prompt

#: The prompts of models that declare none: nothing precedes their texts.
_PROMPTS = {"query": "", "document": ""}


class EmbeddingPipeline(TaskPipeline):
    """A model that embeds texts. `options` of each call: `prompt_name`, one of the model's prompts, and `prompt`, any text to put
    before each text."""

    options = frozenset({"prompt_name", "prompt"})

    @abstractmethod
    def encode(self, sentences: str | Sequence[str], **options: Any) -> Any:
        """The embeddings of texts."""

    def encode_query(self, sentences: str | Sequence[str], **options: Any) -> Any:
        """`encode` for queries: uses the model's `query` prompt, never its default prompt."""
        return self.encode(sentences, **_named("query", options))

    def encode_document(self, sentences: str | Sequence[str], **options: Any) -> Any:
        """`encode` for documents: uses the model's `document` prompt, never its default prompt."""
        return self.encode(sentences, **_named("document", options))

    @property
    def similarity_fn_name(self) -> str:
        """How the model compares embeddings."""
        return str(self.model.settings.get("similarity", "cosine"))

    def _call(
        self,
        texts: Sequence[str],
        options: Mapping[str, Any],
        outputs: Sequence[str],
        finish: Callable[[list[Row]], Any],
        **parameters: Any,
    ) -> Call:
        """The call that embeds texts. `parameters`: further ones that the model takes with each text; None stands for none."""
        asked = self.ask(lambda model: _prompted(model, texts, options, parameters), outputs, options)
        return Call([asked], finish, one_version=True)


def sentences_of(sentences: Any) -> tuple[list[str], bool]:
    """The texts of a call, and whether it is a single one. The list may be empty. Raises InputError."""
    single = isinstance(sentences, (str, bytes))
    return ([] if not single and len(sentences) == 0 else texts_of(sentences)), single


def _prompted(
    model: ServedModel, texts: Sequence[str], options: Mapping[str, Any], parameters: Mapping[str, Any]
) -> Inputs:
    """The inputs for texts and the requested prompt. Raises InputError for a prompt that the model does not have."""
    name, prompt = requested_prompt(model, options, model.settings.get("prompts", _PROMPTS))
    asked = {key: value for key, value in parameters.items() if value is not None}
    if prompt is not None:
        asked["prompt"] = prompt
    elif name is not None:
        asked["prompt_name"] = name
    if not asked:
        return {"text": texts}
    if "parameters" not in model.settings["inputs"]:
        # a model without prompts reads the prompt as part of the text
        return {"text": [(prompt or "") + text for text in texts]}
    return {"text": texts, "parameters": [json.dumps(asked, ensure_ascii=False)] * len(texts)}


def _named(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with this prompt, unless they already name another."""
    asked = options.get("prompt") is not None or options.get("prompt_name") is not None
    return dict(options) if asked else {**options, "prompt_name": name}
