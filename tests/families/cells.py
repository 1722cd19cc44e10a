"""A checkpoint for each cell of the table: a trained one, or a trained body with a head whose weights follow from a seed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from hf2triton.families import FAMILIES

from ..checkpoints.judges import judge_of
from ..support import ASSETS, TEXTS

#: family -> its trained checkpoint
TRAINED = {
    "camembert": "camembert-mlm",
    "deberta-v2": "deberta-v2-sentiment",
    "deit": "deit-fashion",
    "dinov2": "dinov2-fashion",
    "dinov2_with_registers": "dinov2-registers-fashion",
    "distilbert": "distilbert-ner",
    "electra": "electra-ner",
    "gpt_neo": "gptneo-verses",
    "modernbert": "modernbert-mlm",
    "mpnet": "mpnet-sentiment",
    "opt": "opt-verses",
    "roberta": "roberta-ner",
    "siglip": "siglip-fashion",
    "xlm-roberta": "xlm-roberta-sentiment",
}
#: task -> the labels of a head that was not trained
LABELS = {
    "text-classification": ("NEGATIVE", "NEUTRAL", "POSITIVE"),
    "zero-shot-classification": ("contradiction", "neutral", "entailment"),
    "rerank": ("relevant",),
    "token-classification": ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"),
    "question-answering": ("LABEL_0", "LABEL_1"),  # what configs say of a head without labels
    "image-classification": ("bag", "boot", "shirt"),
}
#: Images of many sizes and forms, and one of the clothes that the models know.
IMAGES = [
    *(
        str(resources.files("hf2triton") / "data" / "images" / name)
        for name in ("astronaut.jpg", "camera.jpg", "horse.png")
    ),
    str(ASSETS / "vit-fashion" / "sample" / "03.png"),
]
#: More tokens than any window has.
_VERSES = "And he said unto them, Go ye up into the city, and there shall ye find the men of Israel. " * 2
_MARIA = "Maria Klein, who was born in Paris, works for Acme Ltd in Zürich."
#: task -> what is asked, one after the other, each time with all of these options
QUESTIONS: Mapping[str, tuple[list[Any], list[dict[str, Any]]]] = {
    "text-classification": ([TEXTS[:-1], TEXTS[0], {"text": TEXTS[0], "text_pair": TEXTS[2]}], [{}, {"top_k": None}]),
    "zero-shot-classification": ([TEXTS[:3], TEXTS[4]], [{"candidate_labels": ["a film", "furniture", "naïve"]}]),
    "rerank": ([[("What broke?", text) for text in [*TEXTS, ""]], ("", "ok")], [{}]),
    "token-classification": (
        [TEXTS, _MARIA, "  Angela   Schmidt😀of <mask> Acme\n Ltd "],
        [{"aggregation_strategy": strategy} for strategy in ("none", "simple", "first", "average", "max")],
    ),
    "question-answering": ([{"question": "Who works for Acme?", "context": _MARIA}], [{}]),
    "fill-mask": (["It is a {mask}.", "{mask} {mask} flew to Paris{mask}", "naïve {mask} 😀"], [{}, {"top_k": 2}]),
    "feature-extraction": ([TEXTS[:-1], TEXTS[0]], [{}]),
    "sentence-similarity": ([TEXTS[:-1], TEXTS[0]], [{}]),
    "image-classification": ([IMAGES, IMAGES[1]], [{}, {"top_k": 2}]),
    "image-feature-extraction": ([IMAGES, IMAGES[1]], [{}]),
    "zero-shot-image-classification": (
        [IMAGES, IMAGES[3]],
        [
            {"candidate_labels": ["a boot", "Trousers!", "naïve 東京", "word " * 70]},
            {"candidate_labels": ["bag"], "hypothesis_template": "{}"},
        ],
    ),
    "sparse-embedding": ([TEXTS[:-1], TEXTS[0]], [{"dense": True}, {"dense": True, "max_active_dims": 50}]),
    "text-generation": (["And the LORD", "", "é😀 the", _VERSES], [{}, {"repetition_penalty": 1.3}]),
}


def cells(families: Iterable[str] = TRAINED) -> list[tuple[str, str]]:
    """All pairs of family and task."""
    return [(family, task) for family in families for task in FAMILIES[family].tasks]


def checkpoint_of(family: str, task: str | None, folder: Path) -> Path:
    """The trained checkpoint if that is its task, or if there is no task; otherwise its copy in `folder`, with a head."""
    trained = ASSETS / TRAINED[family]
    [architecture] = json.loads((trained / "config.json").read_text("utf-8"))["architectures"]
    served = {FAMILIES[family].architectures[architecture][0], *FAMILIES[family].headless}
    return trained if task is None or task in served else _with_head(trained, family, task, folder)


def judge(task: str, folder: Path) -> Callable[..., Any]:
    """What answers questions about a task with PyTorch."""
    return _best_span(folder) if task == "question-answering" else judge_of(task, folder)


def questions(task: str, folder: Path, exact: bool = True) -> list[tuple[Any, dict[str, Any]]]:
    """Arguments and options of calls. Unless `exact`, those are left out where fp16 may decide between as good as equal values:
    the last weight of a vector that is cut, and the labels of many tokens by a head that was not trained."""
    inputs, options = QUESTIONS[task]
    if not exact:
        options = [one for one in options if "max_active_dims" not in one]
        inputs = inputs if task != "token-classification" or folder.parent == ASSETS else []
    if task == "image-feature-extraction":
        family = FAMILIES[json.loads((folder / "config.json").read_text("utf-8"))["model_type"]]
        options = [*options, *([{"pool": True}] if family.pooler == "" else [])]
    if task == "fill-mask":
        from transformers import AutoTokenizer

        mask = AutoTokenizer.from_pretrained(folder).mask_token
        inputs = [text.format(mask=mask) for text in inputs]
    return [(one, more) for one in inputs for more in options]


def _with_head(trained: Path, family: str, task: str, folder: Path) -> Path:
    import torch
    import transformers

    name = next(name for name, tasks in FAMILIES[family].architectures.items() if task in tasks)
    more = {}
    if labels := LABELS.get(task):
        more = {"id2label": dict(enumerate(labels)), "label2id": {x: i for i, x in enumerate(labels)}}
    shutil.copytree(trained, folder)
    model, info = getattr(transformers, name).from_pretrained(
        trained, output_loading_info=True, ignore_mismatched_sizes=True, problem_type=None, **more
    )
    generator = torch.Generator().manual_seed(1)
    # one label of a text is mostly well ahead, as with trained heads: int8 may not change the best one
    of_biases = 1.0 if task in ("text-classification", "zero-shot-classification") else 0.1
    new = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
    with torch.no_grad():
        for key in sorted(new & model.state_dict().keys()):
            weight = model.state_dict()[key]
            norm = "norm" in key.lower()
            spread = 2 / weight.shape[-1] ** 0.5 if weight.ndim > 1 else 0.1 if norm else of_biases
            offset = 1.0 if norm and key.endswith("weight") else 0.0
            weight.copy_(offset + spread * torch.randn(weight.shape, generator=generator))
    model.save_pretrained(folder)
    return folder


def _best_span(folder: Path) -> Callable[..., Any]:
    """The question answering of transformers 4, for a context that fits one row: spans of whole words, those with the same text
    together."""
    import torch
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def answer(one: Mapping[str, str]) -> dict[str, Any]:
        encoded = tokenizer(one["question"], one["context"], return_tensors="pt")
        with torch.inference_mode():
            outputs = model(**encoded)
        outside = torch.tensor([part != 1 for part in encoded.sequence_ids()])
        outside[0] = False  # which stands for "no answer"
        begins, ends = (
            logits[0].masked_fill(outside, -1e4).softmax(-1) for logits in (outputs.start_logits, outputs.end_logits)
        )
        begins[0] = ends[0] = 0
        scores = (begins[:, None] * ends[None]).triu().tril(14)
        found: dict[str, dict[str, Any]] = {}
        for score, place in zip(*(of.tolist() for of in scores.flatten().topk(12)), strict=True):
            first, last = divmod(place, len(ends))
            start = encoded.word_to_chars(0, encoded.token_to_word(first), 1).start
            end = encoded.word_to_chars(0, encoded.token_to_word(last), 1).end
            text = one["context"][start:end]
            same = found.setdefault(text.lower(), {"score": 0.0, "start": start, "end": end, "answer": text})
            same["score"] += score
        return max(found.values(), key=lambda each: each["score"])

    return answer
