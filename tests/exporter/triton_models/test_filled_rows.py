"""Texts of models that attend to padding: all rows have the same length."""

import numpy as np
import pytest
from transformers import AutoTokenizer

from hf2triton.triton_models.preprocessors import make_preprocessor

from ...support import ASSETS, TEXTS

FOLDER = ASSETS / "siglip-fashion"


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("length", [64, 7])
def test_rows_of_one_length(side, length):
    """The frontend's tensors are transformers' with padding to the maximum, on each side, however the rows are grouped."""
    tokenizer = AutoTokenizer.from_pretrained(FOLDER, padding_side=side)
    settings = {
        "kind": "text",
        "inputs": ["input_ids"],
        "max_length": length,
        "max_bytes": 1 << 20,
        "pad_token_id": tokenizer.pad_token_id,
        "round_to": 8,
        "truncation_side": "right",
        "type_ids": False,
        "fills": side,
    }
    preprocessor = make_preprocessor(settings, (FOLDER / "tokenizer.json").read_text("utf-8"))
    items = preprocessor.items(preprocessor.values({"text": np.array([t.encode() for t in TEXTS], np.object_)}), ())
    rows = [row for item in items for row in item.rows]
    expected = tokenizer(TEXTS, padding="max_length", max_length=length, truncation=True, return_tensors="np")
    for group, extra in ((slice(None), 0), (slice(None), 3), (slice(2, 3), 0)):
        np.testing.assert_array_equal(preprocessor.feeds(rows[group], extra)["input_ids"], expected["input_ids"][group])
    assert {preprocessor.length(row) for row in rows} == {length}  # what the batch planner counts
    counted = [int(preprocessor.answers()["num_tokens"](item, {})[0]) for item in items]
    assert counted == [len(tokenizer(text, truncation=True, max_length=length)["input_ids"]) for text in TEXTS]
