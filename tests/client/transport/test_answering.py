"""A model is replaced while a pipeline is open, or two servers behind one name serve different versions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hf2triton_client import InputError, ServerError, WrongTask
from hf2triton_client.transport.served_model import Stamp
from hf2triton_client.transport.steps import Wait
from hf2triton_client.transport.versions import Versions

from ..fake_servers import Servers, Version, open_pipeline

TASK = {"task": "text-classification"}
NAMES = {**TASK, "id2label": {"0": "NEGATIVE", "1": "POSITIVE"}}
PERMUTED = {**TASK, "id2label": {"0": "POSITIVE", "1": "NEGATIVE"}}
TEXTS = [f"text {index}" for index in range(20)]
OLD, NEW = Version(NAMES, 1), Version(PERMUTED, 2)


@pytest.fixture(autouse=True)
def waits(monkeypatch) -> list[float]:
    """The seconds that were waited, which takes no time here."""
    waited: list[float] = []
    monkeypatch.setattr(Wait, "run", lambda self, connection: waited.append(self.seconds))
    return waited


def labels(results: list) -> list[str]:
    return [one["label"] for one in results]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (OLD, NEW),
        (OLD, Version(PERMUTED, 1)),
        (Version(NAMES, 1, stamped=False), Version(PERMUTED, 2, stamped=False)),
        (Version(NAMES, 1, stamped=False), NEW),
        (OLD, Version(PERMUTED, 2, stamped=False)),
        (Version(NAMES, 1, named=False, stamped=False), Version(PERMUTED, 2, named=False, stamped=False)),
        (Version(NAMES, 1, named=False), Version(PERMUTED, 1, named=False)),
    ],
    ids=["another number", "the same number", "no fingerprints", "now with", "now without", "no numbers", "neither"],
)
def test_an_answer_is_read_with_its_own_versions_settings(old, new):
    """Before the change, after it and when it is taken back. The config is read when a version answers that is not known, and
    never else."""
    servers = Servers([[old]])
    pipe = open_pipeline(servers)
    for _ in range(3):
        assert labels(pipe(TEXTS)) == ["POSITIVE"] * 20
    before = servers.configs
    assert before <= 1, "where the config does not say its number"
    servers.serving = [[new]]
    assert labels(pipe(TEXTS)) == ["NEGATIVE"] * 20
    assert 1 <= servers.configs - before <= 2
    assert pipe.model.id2label[1] == "NEGATIVE"
    before = servers.configs
    assert labels(pipe(TEXTS)) == ["NEGATIVE"] * 20
    servers.serving = [[old]]
    assert labels(pipe(TEXTS)) == ["POSITIVE"] * 20
    assert servers.configs - before <= 3, "an old frontend may refuse to give a fingerprint, once"
    before = servers.configs
    assert labels(pipe(TEXTS)) == ["POSITIVE"] * 20
    assert servers.configs == before


def test_what_follows_from_the_settings_is_the_versions_own():
    """The function that makes scores, and how many labels there are."""
    regression = Version(
        {**TASK, "id2label": {"0": "STARS"}, "problem_type": "regression"}, 2, lambda item: {"logits": [4.5]}
    )
    servers = Servers([[OLD]])
    pipe = open_pipeline(servers)
    assert pipe("a")[0]["label"] == "POSITIVE"
    servers.serving = [[regression]]
    assert pipe("a") == [{"label": "STARS", "score": 4.5}]


@pytest.mark.parametrize("first", [0, 1])
def test_each_row_of_two_servers_is_its_own(first):
    """Where rows are independent each is read as its own version says, and none is asked twice."""
    servers = Servers([[OLD], [NEW]], turns=first)
    pipe = open_pipeline(servers)
    for _ in range(3):
        results = pipe(TEXTS, batch_size=3)
        versions = [one.model_version for one in results.metadata]
        assert set(versions) == {1, 2}
        assert labels(results) == [{1: "POSITIVE", 2: "NEGATIVE"}[version] for version in versions]
    assert len(servers.requests) == 3 * 7
    assert servers.configs <= 3


def entails(item: dict[str, str], index: int) -> dict[str, list[float]]:
    """Logits that say how well the label, the last word of the hypothesis, fits a text that names one."""
    fits = item["text_pair"].rstrip(".").endswith(item["text"])
    return {"logits": [9.0 if place == (index if fits else 1 - index) else 0.0 for place in range(2)]}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_scores_of_several_versions_are_not_mixed(count):
    """A softmax over labels is of one version's logits, with its own index of entailment, though two servers answer in turn."""
    inputs = {"text": True, "text_pair": True}
    one, other = (
        Version(
            {**TASK, "inputs": inputs, "id2label": {str(index): "entailment", str(1 - index): "contradiction"}},
            1 + index,
            lambda item, index=index: entails(item, index),
        )
        for index in (0, 1)
    )
    servers = Servers([[one], [other]])
    pipe = open_pipeline(servers, "zero-shot-classification")
    texts = [("rome", "paris", "bonn")[index % 3] for index in range(count)]
    for _ in range(4):
        results = pipe(texts, candidate_labels=["bonn", "rome", "paris"], batch_size=2)
        assert [result["labels"][0] for result in results] == texts
        assert min(result["scores"][0] for result in results) > 0.9
        assert len({one.model_version for one in results.metadata}) == 1


def test_a_version_that_is_gone_before_its_config_is_read_is_asked_no_more(waits):
    """It answered, and was replaced: what it said is asked of the next one."""
    servers = Servers([[OLD]])
    pipe = open_pipeline(servers)
    pipe("a")
    servers.serving, last = [[NEW]], Version({**NAMES, "more": 1}, 3)
    find = servers.find_config

    def too_late(name: str, version: str = "") -> dict | None:
        servers.serving = [[last]]
        return find(name, version)

    servers.find_config = too_late
    result = pipe("a")
    assert (result[0]["label"], result.metadata[0].model_version) == ("POSITIVE", 3)
    assert len(servers.requests) == 3


def test_a_config_that_nobody_gives_is_an_error(waits):
    """After a bounded number of tries, which says which version answered."""
    servers = Servers([[OLD]])
    pipe = open_pipeline(servers)
    servers.serving = [[NEW]]
    servers.find_config = lambda name, version="": None
    with pytest.raises(ServerError, match=r"answer with versions \[2\] of 'model'"):
        pipe("a")
    assert len(servers.requests) < 20
    assert sum(waits) < 20


def test_another_task_under_the_name_is_told():
    """Its answers mean something else."""
    servers = Servers([[OLD]])
    pipe = open_pipeline(servers)
    servers.serving = [[Version({**NAMES, "task": "token-classification"}, 2)]]
    with pytest.raises(WrongTask, match="'model' was replaced: it serves token-classification"):
        pipe("a")


def test_what_the_new_version_does_not_take_is_asked_in_another_shape():
    """It takes smaller batches; on two servers it suits both."""
    small = Version(PERMUTED, 2, max_batch_size=2)
    servers = Servers([[OLD]])
    pipe = open_pipeline(servers)
    pipe(TEXTS)
    servers.serving = [[small]]
    assert labels(pipe(TEXTS)) == ["NEGATIVE"] * 20
    servers.serving = [[OLD], [small]]
    for _ in range(4):
        results = pipe(TEXTS)
        assert labels(results) == [{1: "POSITIVE", 2: "NEGATIVE"}[one.model_version] for one in results.metadata]
    assert {request.first for request in servers.requests} <= set(range(0, 20, 2)) | {0, 8, 16}


def test_what_no_version_takes_is_refused_at_once():
    """An input that it does not have is the caller's fault, however often it is asked."""
    servers = Servers([[OLD]])
    pipe = open_pipeline(servers)
    with pytest.raises(InputError, match="unexpected inference input 'text_pair'"):
        pipe({"text": "a", "text_pair": "b"})
    assert (len(servers.requests), servers.configs) == (1, 3)


SIMILARITY = {"task": "sentence-similarity", "embedding_dim": 2, "id2label": {}}


def embedding(item: dict[str, str]) -> dict[str, list[float]]:
    """What was read before the text, and how long it is."""
    asked = json.loads(item.get("parameters", "{}"))
    prompt = asked.get("prompt", "")
    return {"embedding": [float(len(prompt + item["text"])), 1.0]}


def test_prompts_are_sent_as_the_answering_version_takes_them():
    """A version without prompts is sent them as part of the text; what was made for the other one is made again."""
    without = Version(SIMILARITY, 1, embedding)
    with_prompts = Version(
        {**SIMILARITY, "inputs": {"text": True, "parameters": False}, "prompts": {"query": "q: "}, "checkpoint": "x"},
        2,
        embedding,
    )
    servers = Servers([[without]])
    pipe = open_pipeline(servers)
    assert pipe.encode("abc", prompt="q: ").tolist() == [6, 1]
    servers.serving = [[with_prompts]]
    assert pipe.encode("abc", prompt="q: ").tolist() == [6, 1]
    [asked] = [one.name for one in servers.requests[-1].message.inputs if one.name != "text"]
    assert asked == "parameters"
    servers.serving = [[without], [with_prompts]]
    for _ in range(4):
        assert pipe.encode(["abc", "de"], prompt="q: ", batch_size=1).tolist() == [[6, 1], [5, 1]]


def test_similarities_are_the_answering_versions_own():
    """The way of comparing, and one version for all sentences."""
    dot = Version({**SIMILARITY, "similarity": "dot"}, 2, lambda item: {"embedding": [2.0, 0.0]})
    cosine = Version(SIMILARITY, 1, lambda item: {"embedding": [2.0, 0.0]})
    servers = Servers([[cosine]])
    pipe = open_pipeline(servers)
    asked = {"source_sentence": "a", "sentences": ["b", "c"]}
    assert pipe(asked) == [1.0, 1.0]
    servers.serving = [[dot]]
    assert pipe(asked) == [4.0, 4.0]
    servers.serving = [[cosine], [dot]]
    for _ in range(4):
        assert pipe(asked, batch_size=1) in ([1.0, 1.0], [4.0, 4.0])


def clip(number: int, sign: float, scale: float, checkpoint: str | None) -> list[Version]:
    """Two frontends whose embeddings of "1" and of an image agree, and of other texts do not; the sign is each version's own."""
    settings = {"task": "zero-shot-image-classification", "logit_scale": scale, "id2label": {}}
    settings |= {"checkpoint": checkpoint} if checkpoint else {}

    def text(item: dict[str, str]) -> dict[str, list[float]]:
        return {"embedding": [sign, 0.0] if item["text"].endswith("1.") else [0.0, sign]}

    image = Version(
        {**settings, "inputs": {"image": True}}, number, lambda item: {"embedding": [sign, 0.0]}, name="clip_image"
    )
    return [Version(settings, number, text, name="clip_text"), image]


# entries of earlier exports, which name no checkpoint, are told apart by their numbers alone
@pytest.mark.parametrize(
    ("checkpoints", "numbers"), [(("one", "other"), (1, 2)), (("one", "other"), (1, 1)), ((None, None), (1, 2))]
)
def test_a_pair_is_of_one_version(checkpoints, numbers):
    """Label embeddings are not compared with images of another version, and the logit scale is that of the answers."""
    old, new = (
        clip(number, sign, scale, checkpoint)
        for number, sign, scale, checkpoint in zip(numbers, (1, -1), (1.0, 5.0), checkpoints, strict=True)
    )
    scores = [1 / (1 + np.exp(-scale)) for scale in (1.0, 5.0)]
    servers = Servers([old])
    pipe = open_pipeline(servers, reads=("text", "image"))

    def best() -> float:
        result = pipe(b"image", candidate_labels=["0", "1"])
        assert result[0]["label"] == "1"
        return result[0]["score"]

    assert best() == pytest.approx(scores[0])
    servers.serving = [new]
    assert best() == pytest.approx(scores[1])
    servers.serving = [old, new]
    found = {round(best(), 5) for _ in range(8)}
    assert found <= {round(score, 5) for score in scores}
    before = len(servers.requests)
    best()
    assert len(servers.requests) - before <= 6


def test_a_pair_that_is_of_two_versions_for_good_is_an_error(waits):
    """As where one frontend was loaded and the other one was not: which versions answered is told, after a while."""
    old, new = clip(1, 1, 1.0, "one"), clip(2, -1, 1.0, "other")
    servers = Servers([old])
    pipe = open_pipeline(servers, reads=("text", "image"))
    servers.serving = [[old[0], new[1]]]
    with pytest.raises(ServerError, match=r"answer with versions \[1, 2\] of 'clip_image' and 'clip_text'"):
        pipe(b"image", candidate_labels=["0", "1"])
    assert 4 < sum(waits) < 15
    assert len(servers.requests) < 60


def test_few_versions_are_remembered():
    """However often a model is replaced."""
    models = [open_pipeline(Servers([[Version({**NAMES, "more": n}, n)]])).model for n in range(30)]
    versions = Versions(models[0])
    assert [versions.learn(model) for model in models] == [False] + [True] * 29
    known = [versions.find(Stamp(model.versions[0], model.fingerprint)) for model in models]
    assert known[:22] == [None] * 22
    assert known[22:] == models[22:]
