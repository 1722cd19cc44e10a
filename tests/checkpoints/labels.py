"""Labels, heads and what configs say of them."""

from __future__ import annotations

from pathlib import Path

from .case import Case, Equal, Refused, all_of, config, weights

REVIEWS = ["What a lovely day!", "Terrible. I want my money back.", "ok"]
RANKED = Equal(REVIEWS, {"top_k": None})


def head_of(rows: int, **changes):
    """A head with some rows of the trained one, again and again."""

    def resize(tensors):
        import numpy as np

        for name in ("classifier.weight", "classifier.bias"):
            tensors[name] = np.resize(tensors[name], (rows, *tensors[name].shape[1:])) * (
                1 + 0.1 * np.arange(rows, dtype=np.float32)
            ).reshape(-1, *[1] * (tensors[name].ndim - 1))

    return all_of(weights(resize), config(**changes))


def _named(*labels: str):
    return {
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }


def _with_labels(folder: Path):
    """transformers' pipeline, told what the config does not say."""
    import transformers

    names = dict(enumerate("abcde"))
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, id2label=names, label2id={label: index for index, label in names.items()}
    )
    return transformers.pipeline(
        "text-classification", model=model, tokenizer=transformers.AutoTokenizer.from_pretrained(folder)
    )


CASES = (
    Case(
        "a regression",
        "bert-sentiment",
        head_of(1, id2label={"0": "score"}, label2id={"score": 0}, problem_type="regression"),
        Equal(REVIEWS),
    ),
    Case(
        "one label that is no regression",
        "bert-sentiment",
        all_of(head_of(1, id2label={"0": "score"}, label2id={"score": 0}), config(["problem_type"])),
        Equal(REVIEWS),
    ),
    Case(
        "several labels at once",
        "bert-sentiment",
        head_of(4, **_named("a", "b", "c", "d"), problem_type="multi_label_classification"),
        RANKED,
    ),
    Case("labels without names", "bert-sentiment", all_of(head_of(2), config(["id2label", "label2id"])), RANKED),
    Case(
        "five labels without names",
        "bert-sentiment",
        all_of(head_of(5), config(["id2label", "label2id"])),
        Refused(["id2label", "there would be 2", "the head has 5", "labels in a build file"]),
    ),
    Case(
        "five labels that are named by the export",
        "bert-sentiment",
        all_of(head_of(5), config(["id2label", "label2id"])),
        Equal(REVIEWS, {"top_k": None}, _with_labels),
        {"labels": tuple("abcde")},
    ),
    Case(
        "labels from 1 on",
        "bert-sentiment",
        config(id2label={"1": "NEGATIVE", "2": "NEUTRAL", "3": "POSITIVE"}),
        Refused(["config.json", "0 to 2", "lacks 0", "names 3"]),
    ),
    Case(
        "a label that is missing",
        "bert-sentiment",
        head_of(3, id2label={"0": "a", "2": "c"}),
        Refused(["0 to 2", "the head has 3 rows", "lacks 1"]),
    ),
    Case(
        "more labels than rows",
        "bert-ner",
        config(id2label={str(index): f"L{index}" for index in range(99)}),
        Refused(["rows", "names"]),
    ),
    Case(
        "labels that are no mapping",
        "bert-sentiment",
        config(id2label=["NEGATIVE", "POSITIVE"]),
        Refused(["id2label ['NEGATIVE', 'POSITIVE']"]),
    ),
    Case(
        "numbers that are words",
        "bert-sentiment",
        config(id2label={"zero": "a", "one": "b"}),
        Refused(["lacks 0, 1, 2", "names zero, one"]),
    ),
    Case(
        "the same name twice, in another script", "bert-sentiment", config(**_named("好", "坏", "好")), Equal(REVIEWS)
    ),
    Case(
        "more labels given than rows",
        "bert-sentiment",
        lambda folder: None,
        Refused(["4 labels are given (a, b, c, d), and the head has 3"], exit_code=2),
        {"labels": ("a", "b", "c", "d")},
    ),
    Case(
        "a problem_type that nobody knows",
        "bert-sentiment",
        config(problem_type="multilabel"),
        Refused(["problem_type 'multilabel'", "multi_label_classification"]),
    ),
    Case(
        "no architectures",
        "bert-sentiment",
        config(architectures=[]),
        Refused(["has no architectures", "--task", "text-classification"]),
    ),
    Case(
        "null architectures", "bert-sentiment", config(architectures=None), Refused(["has no architectures", "--task"])
    ),
    Case(
        "no architectures, and a task",
        "bert-sentiment",
        config(["architectures"]),
        Equal(REVIEWS),
        {"task": "text-classification"},
    ),
    Case(
        "no architectures, and the task of another head",
        "bert-sentiment",
        config(["architectures"]),
        Refused(["fill-mask", "cls.predictions"]),
        {"task": "fill-mask"},
    ),
    Case(
        "a head of another kind",
        "bert-sentiment",
        config(architectures=["BertForMultipleChoice"]),
        Refused(["BertForMultipleChoice", "BertForSequenceClassification"]),
        {"task": "text-classification"},
    ),
    Case(
        "the task of another head",
        "bert-ner",
        lambda folder: None,
        Refused(["was trained for token-classification"]),
        {"task": "text-classification"},
    ),
    Case(
        "an option that does not fit the task",
        "gpt2-verses",
        lambda folder: None,
        Refused(["--runner inprocess, not bls"], exit_code=2),
        {"runner": "bls"},
    ),
    Case("no model_type", "bert-sentiment", config(["model_type"]), Refused(["without model_type", "supported are"])),
    Case(
        "a config that is a list",
        "bert-sentiment",
        lambda folder: (folder / "config.json").write_text("[]"),
        Refused(["config.json", "does not hold a JSON object"]),
    ),
)
