"""Writes tests/records/question_answering.json: what transformers 4 answers with the checkpoint tests/assets/bert-qa.

    python tests/records/record_question_answering.py

Run it in an environment of its own with transformers 4 (recorded: 4.57.6), since 5 has no question-answering pipeline,
and again whenever the checkpoint has changed. Each case holds what the pipeline was called with and what it returned.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from transformers import pipeline

HERE = Path(__file__).parent
CHECKPOINT = HERE.parent / "assets" / "bert-qa"
RECORD = HERE / "question_answering.json"
PACKAGES = ("numpy", "tokenizers", "torch", "transformers")

#: Contexts whose characters are not bytes, and hardly words: with the question.
SCRIPTS = [
    ("Where does Zoë live?", "Zoë Müller 😀 lives in Málaga 🏖️, says the mayor Łukasz Żółć."),
    ("Where is she?", "👩‍👩‍👧 Anna is in Oslo. 👨🏽‍🚀🇳🇴 Ben is in Rome."),
    ("東京はどこですか", "東京都庁は新宿にあります。大阪は西です。Tokyo is big."),
    ("Wo ist die E\u0301cole?", "L'e\u0301cole de Zu\u0308rich est a\u0300 Gene\u0300ve; E\u0301mile y travaille."),
    ("Где живёт Анна?", "Анна живёт в Москве, а Борис — в Париже."),
    ("Who was born there?", "  \n\tAnna Berg was born in Lake Timothy.\n\n   Carl Dorn was not.  \n"),
    ("Who?", "x\u200by\u00adz\u00a0Anna\u2003Berg\u2028founded\u0000Acme ﬁrst ½ ǅ İstanbul ISTANBUL istanbul."),
    ("Who?", "[CLS] Anna [SEP] Berg [MASK] [PAD] works [UNK] for Acme"),
    ("[CLS] Who [SEP] works?", "Anna Berg works for Acme in West Anne."),
    ("Who?", "Anna ANNA anna Anna, Anna. Berg BERG berg Berg's Berg-Dorn"),
    ("Who?", "Annabergdornfeldmannstattenheimerinnenschaftlichkeitsbeauftragter"),
]
EMPTYISH = [
    (" ", {}),
    ("\n\n", {}),
    (".", {}),
    ("a", {"top_k": 3}),
    ("\u200b", {}),
    (" ", {"handle_impossible_answer": True}),
]
#: Options for contexts that need several windows.
WINDOWED = [
    {},
    {"top_k": 3},
    {"top_k": 20},
    {"doc_stride": 0},
    {"doc_stride": 16, "top_k": 3},
    {"doc_stride": 100, "top_k": 3},
    {"max_seq_len": 48},
    {"max_seq_len": 64, "doc_stride": 8, "top_k": 5},
    {"max_seq_len": 100, "handle_impossible_answer": True, "top_k": 3},
    {"max_answer_len": 1, "top_k": 3},
    {"max_answer_len": 30, "align_to_words": False, "top_k": 3},
    {"handle_impossible_answer": True},
]
#: Options for contexts that fit into one window.
FITTING = [
    {"top_k": 3},
    {"top_k": 20},
    {"max_answer_len": 1},
    {"max_answer_len": 5},
    {"max_answer_len": 30, "top_k": 3},
    {"align_to_words": False},
    {"align_to_words": False, "top_k": 3},
    {"max_seq_len": 384},
    {"handle_impossible_answer": True, "top_k": 3},
    {"max_question_len": 2},
]
#: Settings of tokenizers that put the context first, or cut it from its end.
SIDES = [{"padding_side": "left"}, {"truncation_side": "left"}, {"padding_side": "left", "truncation_side": "left"}]


def cases() -> Iterator[tuple[Any, Any, dict[str, Any], dict[str, str]]]:
    """Questions, contexts, options and, where they are not "right", the sides of the tokenizer."""
    for question, context, options in one_sided():
        yield question, context, options, {}
    for sides in SIDES:
        yield *SCRIPTS[0], {"top_k": 3}, sides
        yield *SCRIPTS[9], {"max_seq_len": 24, "doc_stride": 4, "top_k": 3}, sides


def one_sided() -> Iterator[tuple[Any, Any, dict[str, Any]]]:
    """Questions, contexts and options for the tokenizer as it is."""
    lines = (CHECKPOINT / "sample.jsonl").read_text(encoding="utf-8").splitlines()
    sample = [json.loads(line) for line in lines]
    pairs = [(row["question"], row["context"]) for row in sample]
    for row in sample:
        yield row["question"], row["context"], {}
        if not row["answer"]:
            yield row["question"], row["context"], {"handle_impossible_answer": True}
    short = sorted(pairs, key=lambda pair: len(pair[1]))
    for index, options in enumerate(FITTING):
        for pair in (short[3 * index], SCRIPTS[index]):
            yield *pair, options
    long = [
        (sample[0]["question"], " ".join(context for _, context in pairs[:10])),
        (sample[7]["question"], "\n".join(context for _, context in pairs[5:10])),
    ]
    for index, options in enumerate(WINDOWED):
        yield *long[index % len(long)], options
    for pair in SCRIPTS:
        yield *pair, {"top_k": 3}
    yield SCRIPTS[0][0], " ".join(context for _, context in SCRIPTS), {"top_k": 5, "max_seq_len": 60, "doc_stride": 20}
    yield "Where does the mayor live? " * 10, short[20][1], {"max_question_len": 64}
    for context, options in EMPTYISH:
        yield "Who?", context, options
    questions, contexts = zip(*short[:3], strict=True)
    yield list(questions), list(contexts), {"top_k": 2}
    yield list(questions), contexts[0], {}


def digest(name: str) -> str:
    return hashlib.sha256((CHECKPOINT / name).read_bytes()).hexdigest()


def main() -> None:
    torch.set_num_threads(1)
    answer = pipeline("question-answering", model=str(CHECKPOINT), device="cpu")
    record = {
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "checkpoint": {name: digest(name) for name in ("model.safetensors", "tokenizer.json")},
        "cases": [],
    }
    for question, context, options, sides in cases():
        for side in ("padding_side", "truncation_side"):
            setattr(answer.tokenizer, side, sides.get(side, "right"))
        result = answer(question=question, context=context, **options)
        record["cases"].append(
            {"question": question, "context": context, "options": options, "sides": sides, "result": result}
        )
    RECORD.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
