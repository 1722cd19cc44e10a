"""A model is replaced under pipelines that stay open: each answer is read with the settings of the version that gave it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from hf2triton.serving import Server
from hf2triton_client import ServerError, TaskPipeline, WrongTask, aio, connect, pipeline
from hf2triton_client.transport.connection import Connection

from ..conftest import asset, entry_name
from ..support import assert_outputs_match, sample_of
from .replacing import Entries, reversed_labels

SENTIMENT, NER, NLI, SIMILARITY, CLIP, VERSES = (
    entry_name("bert", "text-classification", "fp32"),
    entry_name("bert", "token-classification", "fp32"),
    entry_name("bert", "zero-shot-classification", "fp32"),
    entry_name("bert", "sentence-similarity", "fp32"),
    entry_name("clip", "zero-shot-image-classification", "fp32"),
    entry_name("gpt2", "text-generation", "fp32"),
)
PAIR = (f"{CLIP}_text", f"{CLIP}_image")
DAY, PROMPT = "What a lovely day", "And"
LABELS = ["bag", "coat"]
#: What the second version of a model that generates sets.
GREEDY = {"do_sample": False, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def running(repository, tmp_path_factory) -> Iterator[Entries]:
    """A server with entries that tests replace."""
    place = tmp_path_factory.mktemp("replaced") / "models"
    entries = Entries(repository, place, (SENTIMENT, NER, NLI, SIMILARITY, *PAIR, VERSES))
    with Server(place) as server:
        entries.server = server
        yield entries


@pytest.fixture
def entries(running: Entries) -> Iterator[Entries]:
    """The same, as they were at the beginning."""
    yield running
    running.restore()


@pytest.fixture(scope="module")
def both(running: Entries, repository, tmp_path_factory) -> Iterator[str]:
    """The url of two servers, the first one `running`; the second one serves version 2 of some entries."""
    place = tmp_path_factory.mktemp("second") / "models"
    frontends = (SENTIMENT, NLI, *PAIR, VERSES)
    entries = Entries(repository, place, frontends)
    for frontend in frontends:
        entries.replace(frontend, of_another_training, turned_round=frontend in PAIR)
    with Server(place) as second:
        yield f"ipv4:{running.server.url},{second.url}"


@pytest.fixture(scope="module")
def image() -> bytes:
    folder = asset("clip", "zero-shot-image-classification")
    return (folder / sample_of(folder)[0]["image"]).read_bytes()


def of_another_training(settings: dict[str, Any]) -> None:
    reversed_labels(settings)
    settings["checkpoint"] = "sha256:another"
    if "generation" in settings:
        settings["generation"]["defaults"] |= GREEDY


def reversed_names(result: list[dict]) -> list[dict]:
    """The same scores, best first, under the names in reverse order."""
    names = {"NEGATIVE": "POSITIVE", "NEUTRAL": "NEUTRAL", "POSITIVE": "NEGATIVE"}
    return [{**entry, "label": names[entry["label"]]} for entry in result]


def configs_read(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the models whose config is asked for, from now on."""
    read: list[str] = []
    get = connection._config

    def counted(name: str, *arguments, **options):
        read.append(name)
        return get(name, *arguments, **options)

    monkeypatch.setattr(connection, "_config", counted)
    return read


def in_asyncio(entries: Entries, model: str, ask: Callable[[TaskPipeline], Any], *steps: Callable[[], None]) -> list:
    """What an open pipeline is answered, at first and after each step."""

    async def run() -> list:
        async with aio.pipeline(model=model, url=entries.server.url) as pipe:
            found = [await ask(pipe)]
            for step in steps:
                await asyncio.to_thread(step)
                found.append(await ask(pipe))
            return found

    return asyncio.run(run())


def test_labels_are_those_of_the_version_that_answers(entries, monkeypatch):
    """Version 2 with permuted labels appears under a living pipeline, then the first one again, and another version 2. The config
    is read once for each new one, and not at all in between."""
    with connect(entries.server.url) as connection:
        served = pipeline(model=SENTIMENT, connection=connection)
        read = configs_read(connection, monkeypatch)

        def classify(text: str) -> list:
            return served(text, top_k=None)

        first = classify(DAY)
        assert first[0]["label"] == "POSITIVE"
        entries.replace(SENTIMENT, reversed_labels)
        second = classify(DAY)
        assert_outputs_match(reversed_names(list(first)), list(second), 1e-6)
        assert [one.metadata[0].model_version for one in (first, second)] == [1, 2]
        assert read == [SENTIMENT]
        entries.back(SENTIMENT)
        assert_outputs_match(list(first), list(classify(DAY)), 1e-6)
        entries.replace(SENTIMENT, lambda settings: settings.update(problem_type="multi_label_classification"))
        third = classify(DAY)
        assert third[0]["label"] == "POSITIVE"
        assert sum(entry["score"] for entry in third) != pytest.approx(1, abs=1e-3), "each label has a score of its own"
        for _ in range(20):
            assert_outputs_match(list(third), list(classify(DAY)), 1e-6)
        assert read == [SENTIMENT] * 2


def test_labels_in_asyncio(entries):
    """So does the asyncio twin, for lists, strings and iterators."""

    async def ask(classify: TaskPipeline) -> list:
        [streamed] = [one async for one in classify(iter([DAY]), top_k=None)]
        [listed] = await classify([DAY], top_k=None)
        return [await classify(DAY, top_k=None), streamed, listed]

    first, second, third = in_asyncio(
        entries, SENTIMENT, ask, lambda: entries.replace(SENTIMENT, reversed_labels), lambda: entries.back(SENTIMENT)
    )
    assert first[0][0]["label"] == "POSITIVE"
    for before, now, again in zip(first, second, third, strict=True):
        assert_outputs_match(reversed_names(before), list(now), 1e-6)
        assert_outputs_match(list(before), list(again), 1e-6)


def test_an_entry_of_the_same_number_is_another_one(entries):
    """It was removed and exported again, or the server was started on another repository: both call it version 1."""
    with pipeline(model=SENTIMENT, url=entries.server.url) as classify:
        assert classify(DAY)[0]["label"] == "POSITIVE"
        entries.replace(SENTIMENT, reversed_labels, 1)
        result = classify(DAY)
        assert (result[0]["label"], result.metadata[0].model_version) == ("NEGATIVE", 1)
        entries.restore()
        assert classify(DAY)[0]["label"] == "POSITIVE"


def test_entities_are_those_of_the_version_that_answers(entries):
    """The names of the labels, and how word pieces are joined."""

    def renamed(settings: dict) -> None:
        settings["id2label"] = {index: label.replace("-", "-X") for index, label in settings["id2label"].items()}
        settings["decoder"] = {"prefix": "", "cleanup": False}

    text = " ".join(sample_of(asset("bert", "token-classification"))[0]["words"])
    with pipeline("ner", model=NER, url=entries.server.url, aggregation_strategy="first") as tag:
        before = list(tag(text))
        assert len({one["entity_group"] for one in before}) > 1
        entries.replace(NER, renamed)
        after = list(tag(text))
        with pipeline("ner", model=NER, url=entries.server.url, aggregation_strategy="first") as fresh:
            assert_outputs_match(list(fresh(text)), after, 1e-6)
    assert [one["entity_group"] for one in after] == [f"X{one['entity_group']}" for one in before]
    assert [one["word"] for one in after] != [one["word"] for one in before]


def scores_of(result: dict) -> dict[str, float]:
    return dict(zip(result["labels"], result["scores"], strict=True))


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_index_of_entailment_is_that_of_the_version_that_answers(entries, multi_label):
    """The labels of version 2 have their names in reverse order, so that its scores mean something else."""
    row = sample_of(asset("bert", "zero-shot-classification"))[0]
    options = {"candidate_labels": ["positive", "negative", "a chair"], "multi_label": multi_label}
    with pipeline("zero-shot-classification", model=NLI, url=entries.server.url, **options) as classify:
        before = scores_of(classify(row["text"]))
        entries.replace(NLI, reversed_labels)
        after = scores_of(classify(row["text"]))
        with pipeline("zero-shot-classification", model=NLI, url=entries.server.url, **options) as fresh:
            assert after == pytest.approx(scores_of(fresh(row["text"])), abs=1e-6)
        assert max(abs(before[label] - after[label]) for label in before) > 1e-3
        entries.back(NLI)
        assert scores_of(classify(row["text"])) == pytest.approx(before, abs=1e-6)


def test_sentences_are_compared_as_the_version_that_answers_does(entries):
    """By another similarity, with all embeddings of one version."""
    asked = {"source_sentence": DAY, "sentences": ["It is a chair.", DAY]}
    with pipeline(model=SIMILARITY, url=entries.server.url) as compare:
        before = compare(asked)
        one, other = compare.encode([DAY, "It is a chair."])
        entries.replace(SIMILARITY, lambda settings: settings.update(similarity="dot"))
        after = compare(asked)
    assert before == pytest.approx([float(one @ other / np.linalg.norm(one) / np.linalg.norm(other)), 1], abs=1e-5)
    assert after == pytest.approx([float(one @ other), float(one @ one)], rel=1e-4)


@pytest.mark.parametrize("number", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_a_pair_is_read_as_the_version_that_answers(entries, image, number):
    """Another logit scale, and other towers, whose embeddings do not fit those of labels that are kept; under the same number as
    well, and in asyncio."""

    def halved(settings: dict) -> None:
        settings["logit_scale"] /= 2
        settings["checkpoint"] = "sha256:another"

    def switch() -> None:
        for frontend in PAIR:
            entries.replace(frontend, halved, number, turned_round=True)

    with pipeline(model=CLIP, url=entries.server.url) as look:
        before = look(image, candidate_labels=LABELS)
        switch()
        after = look(image, candidate_labels=LABELS)
        with pipeline(model=CLIP, url=entries.server.url) as fresh:
            assert_outputs_match(list(fresh(image, candidate_labels=LABELS)), list(after), 1e-5)
    assert [one.model_version for one in after.metadata] == [number]
    assert [one["label"] for one in after] == [one["label"] for one in before]
    ratios = [np.log(one[0]["score"] / one[1]["score"]) for one in (before, after)]
    assert ratios[1] == pytest.approx(ratios[0] / 2, rel=1e-3)
    entries.restore()
    found = in_asyncio(entries, CLIP, lambda look: look(image, candidate_labels=LABELS), switch)
    for expected, result in zip((before, after), found, strict=True):
        assert_outputs_match(list(expected), list(result), 1e-5)


def test_a_text_is_made_with_the_defaults_of_the_version_that_answers(entries):
    """What a pipeline sends depends on what the checkpoint sets. It is sent anew to a version that is not known, before anybody
    has read a piece: for whole texts, iterators and streams."""
    with pipeline(model=VERSES, url=entries.server.url) as write:
        expected = write(PROMPT, **GREEDY)
        text = expected[0]["generated_text"]
        entries.replace(VERSES, of_another_training)
        found = write(PROMPT)
        assert (list(found), found.metadata[0].model_version) == (list(expected), 2)
        for ask in (
            lambda: "".join(write.stream(PROMPT, return_full_text=True)),
            lambda: next(iter(write(iter([PROMPT] * 5))))[0]["generated_text"],
        ):
            entries.back(VERSES)
            sampled = write(PROMPT, max_new_tokens=2)
            assert (sampled.metadata[0].model_version, sampled.metadata[0].num_output_tokens) == (1, 2)
            entries.replace(VERSES, of_another_training)
            assert ask() == text


def test_defaults_in_asyncio(entries):
    """The same of the asyncio twin."""

    async def ask(write: TaskPipeline) -> tuple[list, str]:
        return await write(PROMPT, seed=1), "".join([one async for one in write.stream(PROMPT, seed=1)])

    with pipeline(model=VERSES, url=entries.server.url) as write:
        expected = write(PROMPT, **GREEDY)
    switch = [lambda: entries.replace(VERSES, of_another_training), lambda: entries.back(VERSES)]
    first, second, third = in_asyncio(entries, VERSES, ask, *switch)
    assert list(second[0]) == list(expected)
    assert PROMPT + second[1] == expected[0]["generated_text"]
    assert third == first != second


def test_a_model_of_another_task_is_told(entries):
    """Under the name of one, a pipeline does not guess; where that was put right it goes on."""
    with pipeline(model=NER, url=entries.server.url) as tag:
        before = list(tag(DAY))
        entries.replace(NER, lambda settings: settings.update(task="text-classification"))
        with pytest.raises(WrongTask, match="was replaced: it serves text-classification"):
            tag(DAY)
        entries.back(NER)
        assert_outputs_match(before, list(tag(DAY)), 1e-6)


def test_smaller_batches_are_taken_by_the_new_version(entries):
    """A call whose requests are too large for it is cut anew."""
    texts = [f"{DAY} {index}" for index in range(40)]
    with pipeline(model=SENTIMENT, url=entries.server.url) as classify:
        expected = list(classify(texts))
        entries.replace(SENTIMENT, max_batch_size=3)
        result = classify(texts)
    assert_outputs_match(expected, list(result), 1e-5)
    assert {one.model_version for one in result.metadata} == {2}


def test_callers_see_each_version_as_it_is(entries):
    """While a model is replaced and put back, threads that ask all the time get the label that the version means; no error."""
    means = {1: "POSITIVE", 2: "NEGATIVE"}
    stop, wrong, seen = threading.Event(), [], set()

    def ask() -> None:
        try:
            with pipeline(model=SENTIMENT, url=entries.server.url) as classify:
                while not stop.is_set():
                    result = classify(DAY)
                    version = result.metadata[0].model_version
                    seen.add(version)
                    if result[0]["label"] != means[version]:
                        wrong.append((version, result))
        except Exception as error:  # of any kind: none is to be seen
            wrong.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        entries.replace(SENTIMENT, reversed_labels)
        entries.back(SENTIMENT)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert seen == {1, 2}


def test_a_pair_of_which_one_frontend_was_replaced_waits_for_the_other(entries, image):
    """The frontends of a pair are replaced one after the other: a call in between is answered once both are. Where that does not
    happen the error names the versions."""
    with pipeline(model=CLIP, url=entries.server.url) as look:
        look(image, candidate_labels=LABELS)
        entries.replace(PAIR[0], of_another_training)
        timer = threading.Timer(1, entries.replace, (PAIR[1], of_another_training))
        timer.start()
        assert [one.model_version for one in look(image, candidate_labels=["shirt"]).metadata] == [2]
        timer.join()
        entries.back(PAIR[1])
        with pytest.raises(ServerError, match=r"answer with versions \[1, 2\]"):
            look(image, candidate_labels=["hat"])


def test_rows_of_two_servers_are_each_read_as_their_own(both):
    """One call's requests are answered by both, whose labels have other names."""
    means, seen = {1: "POSITIVE", 2: "NEGATIVE"}, set()
    with pipeline(model=SENTIMENT, url=both) as classify:
        for _ in range(20):
            result = classify([DAY] * 24, batch_size=2)
            versions = [one.model_version for one in result.metadata]
            assert [one["label"] for one in result] == [means[version] for version in versions]
            seen.add(frozenset(versions))
    assert frozenset({1, 2}) in seen


def test_what_cannot_be_mixed_is_of_one_server(both, image):
    """Softmaxes over labels, and a pair of towers, though each request goes to another server."""
    text = sample_of(asset("bert", "zero-shot-classification"))[0]["text"]
    with pipeline("zero-shot-classification", model=NLI, url=both) as classify:
        for _ in range(12):
            results = classify([text] * 4, ["positive", "negative", "a chair"], batch_size=2)
            assert len({one.model_version for one in results.metadata}) == 1
            for result in results:
                assert_outputs_match(results[0], result, 1e-5)
    with pipeline(model=CLIP, url=both) as look:
        first = look(image, candidate_labels=LABELS)
        apart = np.log(first[0]["score"] / first[1]["score"])
        for count in range(12):
            labels = [*LABELS, *(f"thing {count} {index}" for index in range(count % 3))]
            for result in look([image] * 3, candidate_labels=labels):
                scores = {one["label"]: one["score"] for one in result}
                found = np.log(scores[first[0]["label"]] / scores[first[1]["label"]])
                assert found == pytest.approx(apart, rel=1e-3)


def test_texts_of_two_servers_are_made_with_their_own_defaults(both):
    """The second one's checkpoint wants twelve greedy tokens; the first one's says nothing."""
    with pipeline(model=VERSES, url=both, seed=3) as write:
        [expected] = write(PROMPT, **GREEDY)
        found = [write(PROMPT) for _ in range(8)]
        streams = [write.stream(PROMPT, return_full_text=True) for _ in range(4)]
        streamed = [("".join(pieces), pieces.metadata.model_version) for pieces in streams]
    told = [(one[0]["generated_text"], one.metadata[0].model_version) for one in found] + streamed
    by_version = {number: {text for text, version in told if version == number} for number in (1, 2)}
    assert by_version[2] == {expected["generated_text"]}
    assert len(by_version[1]) == 1, "the same seed gives the same text"
    assert by_version[1] != by_version[2]
