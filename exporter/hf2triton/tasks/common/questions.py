"""Parts of tasks: turn the inputs of frontends into questions to a pipeline, and questions into inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hf2triton_client.evaluation.questions import Questions
from hf2triton_client.pipelines.zero_shot_classification import HYPOTHESIS, filled
from hf2triton_client.pipelines.zero_shot_image_classification import CAPTION

from ..base import Inputs

#: Default candidate labels for images and for texts.
IMAGE_LABELS = ("a person", "an animal", "a landscape", "food", "a machine")
TOPICS = ("politics", "science", "sport", "everyday life")


def texts(**options: Any) -> Callable[[Sequence[Inputs]], Questions]:
    """A question for each text."""
    return lambda groups: Questions(single(groups), options)


def about_topics(groups: Sequence[Inputs]) -> Questions:
    """A question for each text with default topics; transformers takes no empty text here."""
    return Questions(tuple(filter(None, single(groups))), {"candidate_labels": list(TOPICS)})


def texts_and_pairs(**options: Any) -> Callable[[Sequence[Inputs]], Questions]:
    """A question for each text and for each pair. Pairs are dicts, as transformers takes them."""

    def questions(groups: Sequence[Inputs]) -> Questions:
        pairs = (inputs for inputs in groups if "text_pair" in inputs)
        dicts = (
            dict(zip(inputs, values, strict=True)) for inputs in pairs for values in zip(*inputs.values(), strict=True)
        )
        return Questions((*single(groups), *dicts), options)

    return questions


def images(**options: Any) -> Callable[[Sequence[Inputs]], Questions]:
    """A question for each image."""
    return lambda groups: Questions(groups[0]["image"], options)


def contexts(groups: Sequence[Inputs]) -> Questions:
    """A question about each context."""
    pairs = (pair for inputs in groups for pair in zip(inputs["text"], inputs["text_pair"], strict=True))
    return Questions(tuple({"question": question, "context": context} for question, context in pairs))


def rankings(groups: Sequence[Inputs]) -> Questions:
    """Each query with all of its documents."""
    documents: dict[str, list[str]] = {}
    for inputs in groups:
        for query, document in zip(inputs["text"], inputs["text_pair"], strict=True):
            documents.setdefault(str(query), []).append(str(document))
    return Questions(tuple({"query": query, "documents": own} for query, own in documents.items()))


def sentences(groups: Sequence[Inputs]) -> Questions:
    """The first text, compared with the others."""
    first, *others = single(groups)
    return Questions(({"source_sentence": first, "sentences": others},))


def single(groups: Sequence[Inputs]) -> tuple[str, ...]:
    """The texts that are not part of a pair."""
    return tuple(str(text) for inputs in groups if "text_pair" not in inputs for text in inputs["text"])


def sent_texts(questions: Questions) -> dict[str, Inputs]:
    """Texts, or both texts of each pair, for the only frontend."""
    if all(isinstance(one, str) for one in questions.inputs):
        return {"": {"text": questions.inputs}}
    return {"": {name: tuple(one[name] for one in questions.inputs) for name in ("text", "text_pair")}}


def sent_rankings(questions: Questions) -> dict[str, Inputs]:
    """Each query with each of its documents."""
    pairs = [(one["query"], document) for one in questions.inputs for document in one["documents"]]
    return {"": dict(zip(("text", "text_pair"), zip(*pairs, strict=True), strict=True))}


def sent_hypotheses(questions: Questions) -> dict[str, Inputs]:
    """Each text with each of its hypotheses."""
    pairs = [
        (text, hypothesis)
        for text, own in zip(questions.inputs, questions.each, strict=True)
        for hypothesis in filled(HYPOTHESIS, own["candidate_labels"])
    ]
    return {"": dict(zip(("text", "text_pair"), zip(*pairs, strict=True), strict=True))}


def sent_contexts(questions: Questions) -> dict[str, Inputs]:
    """Questions and their contexts."""
    columns = {"text": "question", "text_pair": "context"}
    return {"": {ours: tuple(one[name] for one in questions.inputs) for ours, name in columns.items()}}


def sent_sentences(questions: Questions) -> dict[str, Inputs]:
    """All sentences, each once."""
    every = [text for one in questions.inputs for text in (one["source_sentence"], *one["sentences"])]
    return {"": {"text": tuple(dict.fromkeys(every))}}


def sent_labelled_images(questions: Questions) -> dict[str, Inputs]:
    """The captions of all labels, and the images."""
    labels = dict.fromkeys(label for own in questions.each for label in own["candidate_labels"])
    return {"_text": {"text": tuple(filled(CAPTION, list(labels)))}, "_image": {"image": questions.inputs}}


def sent_images(questions: Questions) -> dict[str, Inputs]:
    """Images, for the only frontend."""
    return {"": {"image": questions.inputs}}
