"""The preprocessors of models that embed texts, after prompts as sentence-transformers has them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .preprocessor import Item, Outputs
from .text_preprocessor import TextPreprocessor, strings, whole


class SentencePreprocessor(TextPreprocessor):
    """One or two texts, after the prompt that the parameters ask for or the default prompt: one row."""

    inputs: ClassVar[Mapping[str, bool]] = {"text": True, "text_pair": False, "parameters": False}

    def __init__(self, settings: Mapping[str, Any], definition: str) -> None:
        super().__init__(settings, definition)
        from .sentences import Prompts, SentenceRow, lower_cased

        if settings["lower_case"]:
            lower_cased(self.tokenizer)
        self._prompts = Prompts(
            self.encoder, settings["prompts"], settings["default_prompt_name"], settings["special_ids"]
        )
        self._pools_prompt, self._row = settings["pools_prompt"], SentenceRow

    def values(self, arrays: Mapping[str, NDArray[Any]]) -> list[Any]:
        texts = super().values(arrays)
        given = self._texts("parameters", arrays) if "parameters" in arrays else ["{}"] * len(texts)
        return list(zip(texts, map(self._prompts.of, given), strict=True))

    def items(self, values: Sequence[Any], wanted: Collection[str]) -> list[Item | ValueError]:
        prompted = [
            prompt + text if isinstance(text, str) else (prompt + text[0], *text[1:]) for text, prompt in values
        ]
        skipped = [0 if self._pools_prompt else self._prompts.length(prompt) for _, prompt in values]
        read = zip(self.encoder.encode(prompted), skipped, prompted, strict=True)
        return [row if isinstance(row, ValueError) else Item([self._row(row, skip)], text) for row, skip, text in read]

    def feeds(self, rows: Sequence[Any], extra: int = 0) -> dict[str, NDArray[Any]]:
        feeds = self.encoder.feeds([row.encoding for row in rows], extra)
        if self._pools_prompt:
            return feeds
        columns = np.arange(feeds["attention_mask"].shape[1])[None]
        # the graph ignores padding either way
        return {**feeds, "pooling_mask": (columns >= [[row.skipped] for row in rows]).astype(np.int64)}

    def answers(self) -> Mapping[str, Callable[[Item, Outputs], NDArray[Any]]]:
        def truncated(item: Item, _: Outputs) -> NDArray[Any]:
            return whole(self.encoder.truncated(item.rows[0].encoding, item.about))

        return {"num_tokens": super().answers()["num_tokens"], "num_truncated_tokens": truncated}


class SparseTextPreprocessor(SentencePreprocessor):
    """A text, after a prompt as above: one row, whose embedding has a weight for each entry of the vocabulary.

    Only the largest weights are kept, those that are not 0 and as many as the parameter `max_active_dims` says.
    """

    inputs: ClassVar[Mapping[str, bool]] = {"text": True, "parameters": False}
    made_of: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(
        ("num_weights", "token_ids", "token_weights", "token_strings"), ("sparse_embedding",)
    )

    def __init__(self, settings: Mapping[str, Any], definition: str) -> None:
        super().__init__(settings, definition)
        from .sparse import SparseRow, largest, parse

        self._largest, self._parse, self._sparse_row = largest, parse, SparseRow
        self._most: int | None = settings["max_active_dims"]

    def values(self, arrays: Mapping[str, NDArray[Any]]) -> list[Any]:
        texts = TextPreprocessor.values(self, arrays)
        given = map(self._parse, self._texts("parameters", arrays) if "parameters" in arrays else ["{}"] * len(texts))
        return [
            (text, self._prompts.chosen(own), own.get("max_active_dims") or self._most)
            for text, own in zip(texts, given, strict=True)
        ]

    def items(self, values: Sequence[Any], wanted: Collection[str]) -> list[Item | ValueError]:
        items = super().items([(text, prompt) for text, prompt, _ in values], wanted)
        return [
            item if isinstance(item, ValueError) else self._item(item, most)
            for item, (_, _, most) in zip(items, values, strict=True)
        ]

    def _item(self, item: Item, most: int | None) -> Item:
        [row] = item.rows
        return Item([self._sparse_row(row.encoding, row.skipped, most)], item.about)

    def reduced(self, row: Any, outputs: Mapping[str, NDArray[Any]], wanted: Collection[str]) -> Mapping[str, Any]:
        """Keeps a row's weights that are not 0; all of them only if they are requested."""
        kept: dict[str, Any] = dict(outputs) if "sparse_embedding" in wanted else {}
        if not self.made_of.keys().isdisjoint(wanted):
            kept["largest"] = self._largest(outputs["sparse_embedding"], row.most)
        return kept

    def answers(self) -> Mapping[str, Callable[[Item, Outputs], NDArray[Any]]]:
        return {
            **super().answers(),
            "num_weights": lambda item, outputs: whole(len(outputs["largest"][0][0])),
            "token_ids": lambda item, outputs: outputs["largest"][0][0],
            "token_weights": lambda item, outputs: outputs["largest"][0][1],
            "token_strings": lambda item, outputs: self._names(outputs["largest"][0][0]),
        }

    def _names(self, ids: NDArray[Any]) -> NDArray[Any]:
        """The tokens of ids; the empty string for entries of the model's vocabulary that the tokenizer does not have."""
        known = ids < len(self.vocabulary)
        names = strings([""] * len(ids))
        names[known] = self.vocabulary[ids[known]]
        return names
