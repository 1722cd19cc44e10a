"""token-classification, also called ner."""

from __future__ import annotations

from collections import ChainMap
from typing import Any

from ..errors import InputError
from ..transport.calls import Call
from ..transport.served_model import Row
from .base import Results, TaskPipeline, texts_of
from .postprocess import AGGREGATIONS, Token, group_entities, softmax, words_of
from .token_decoders import decoder_of

OUTPUTS = ("logits", "tokens", "offsets", "special_tokens_mask")


class TokenClassification(TaskPipeline):
    """Entities of texts, as dicts: `entity`, `score`, `index`, `word`, `start`, `end`. With an aggregation strategy, the dicts
    have `entity_group` instead of `entity`, and no `index`. `start` and `end` count characters of the text.

    Options, as in transformers: `aggregation_strategy` ("none", "simple", "first", "average", "max") and
    `ignore_labels` (default `["O"]`).
    """

    task = "token-classification"
    aliases = ("ner",)
    options = frozenset({"aggregation_strategy", "ignore_labels"})

    def prepare(self, inputs: Any, options: ChainMap[str, Any]) -> Call:
        texts = texts_of(inputs)
        strategy = str(options.get("aggregation_strategy") or "none").lower()
        if strategy not in AGGREGATIONS:
            raise InputError(f"aggregation_strategy {strategy!r} is unknown; known are {', '.join(AGGREGATIONS)}")
        ignored = options.get("ignore_labels")
        ignored = ["O"] if ignored is None else ignored

        def finish(rows: list[Row]) -> Results:
            values = [self._entities(text, row, strategy, ignored) for text, row in zip(texts, rows, strict=True)]
            return Results(values[0] if isinstance(inputs, (str, bytes)) else values, rows)

        return Call([self.ask({"text": texts}, OUTPUTS, options)], finish)

    def _entities(self, text: str, row: Row, strategy: str, ignored: list[str]) -> list[dict[str, Any]]:
        model = row["model"]
        decoder = decoder_of(model.settings["decoder"])
        tokens = self._tokens(text, row)
        entities = words_of(tokens, strategy, model.id2label, decoder)
        if strategy != "none":
            entities = group_entities(entities, decoder)
        return [entity for entity in entities if entity.get("entity", entity.get("entity_group")) not in ignored]

    def _tokens(self, text: str, row: Row) -> list[Token]:
        """The tokens of a row that are not special, with their scores."""
        settings = row["model"].settings
        unknown, is_marked = settings["unk_token"], settings.get("marks_subwords", True)
        tokens = []
        for index, scores in enumerate(softmax(row["logits"])):
            if row["special_tokens_mask"][index]:
                continue
            start, end = row["offsets"][index].tolist()
            word = row["tokens"][index].decode("utf-8")
            # a prefix makes a token longer than its part of the text; without prefixes, transformers goes by spaces
            spaced = start == 0 or " " in text[start - 1 : start + 1]
            continues = word != unknown and (len(word) != end - start if is_marked else not spaced)
            tokens.append(Token(text[start:end] if word == unknown else word, scores, start, end, index, continues))
        return tokens
