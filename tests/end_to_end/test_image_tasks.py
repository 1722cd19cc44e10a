"""The tasks of images through the real server, against `transformers.pipeline`."""

import asyncio
import base64
import http.server
import io
import shutil
import threading
from functools import partial

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.numpy import load_file, save_file

from hf2triton.checkpoint.sample_inputs import images
from hf2triton.core.options import ExportOptions
from hf2triton.export.pipeline import export
from hf2triton.serving import Server
from hf2triton_client import InputError, ServerError, WrongTask, aio, connect, pipeline

from ..conftest import PRECISIONS, asset, entry_name
from ..support import assert_outputs_match, sample_of

TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2}
CLASSES = asset("vit", "image-classification")
CLIP = asset("clip", "zero-shot-image-classification")
precisions = pytest.mark.parametrize("precision", PRECISIONS)
served = pytest.mark.parametrize(
    ("precision", "runner"), [("fp32", "inprocess"), ("fp16", "inprocess"), ("fp16", "bls")]
)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def sample(folder):
    return [((folder / row["image"]).read_bytes(), row["label"]) for row in sample_of(folder)]


def assert_same_labels(expected, actual, atol):
    """Scores in order within `atol`; labels too, but for those whose scores lie closer together than that."""
    assert [list(entry) for entry in actual] == [list(entry) for entry in expected]
    scores = {entry["label"]: entry["score"] for entry in actual}
    for one, other in zip(expected, actual, strict=True):
        assert type(other["score"]) is type(one["score"])
        assert other["score"] == pytest.approx(one["score"], abs=atol)
        if one["score"] > expected[-1]["score"] + atol:
            assert scores[one["label"]] == pytest.approx(one["score"], abs=atol)


@precisions
@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"top_k": 99}, {"function_to_apply": "sigmoid"}])
def test_image_classification(server, precision, options):
    """Labels, scores, order and nesting are transformers', for one image and for lists."""
    theirs = transformers.pipeline("image-classification", model=str(CLASSES), device="cpu")
    name = entry_name("vit", "image-classification", precision)
    with pipeline("image-classification", model=name, url=server.url) as ours:
        for data in images():
            assert_same_labels(theirs(opened(data), **options), ours(data, **options), TOLERANCE[precision])
        expected = theirs([opened(data) for data in images()], **options)
        for one, other in zip(expected, ours(list(images()), **options), strict=True):
            assert_same_labels(one, other, TOLERANCE[precision])


def test_images_come_in_every_form(server, tmp_path):
    """A path, a PIL image, bytes, a numpy array, base64 and a URL are the same image."""
    data = images()[1]
    (tmp_path / "image.jpg").write_bytes(data)
    rgb = opened(data).convert("RGB")
    encoded = base64.b64encode(data).decode()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler_class = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = partial(handler_class, directory=str(tmp_path))
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web,
        pipeline(model=entry_name("vit", "image-classification", "fp32"), url=server.url) as ours,
    ):
        threading.Thread(target=web.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{web.server_port}/image.jpg"
        expected = list(ours(data))
        forms = (
            str(tmp_path / "image.jpg"),
            tmp_path / "image.jpg",
            bytearray(data),
            opened(data),
            np.asarray(rgb),
            encoded,
            f"data:image/jpeg;base64,{encoded}",
            url,
        )
        for form in forms:
            assert_outputs_match(expected, list(ours(form)), 1e-6)
        with pytest.raises(InputError, match="image 0 cannot be fetched"):
            ours(f"{url}-missing", timeout=5)
        web.shutdown()


@precisions
def test_images_are_classified_as_well_as_in_training(server, precision):
    """On held-out images the served model is right as often as PyTorch."""
    rows = sample(CLASSES)
    theirs = transformers.pipeline("image-classification", model=str(CLASSES), device="cpu")
    with pipeline(model=entry_name("vit", "image-classification", precision), url=server.url) as ours:
        right = [
            sum(answer[0]["label"] == label for answer, (_, label) in zip(answers, rows, strict=True))
            for answers in (theirs([opened(data) for data, _ in rows]), ours([data for data, _ in rows]))
        ]
    assert right[1] >= right[0] - 1 > len(rows) * 0.7


@precisions
def test_image_feature_extraction(server, precision):
    """Hidden states have transformers' nesting and values; `encode` gives the [CLS] token's."""
    theirs = transformers.pipeline("image-feature-extraction", model=str(CLASSES), device="cpu")
    name = entry_name("vit", "image-feature-extraction", precision)
    atol = 1e-3 if precision == "fp32" else 5e-2
    with pipeline("image-feature-extraction", model=name, url=server.url) as ours:
        expected = theirs([opened(data) for data in images()])
        assert_outputs_match(expected, list(ours(list(images()))), atol)
        assert_outputs_match(expected[0], list(ours(images()[0])), atol)
        tensors = ours(images()[0], return_tensors=True)
        assert tensors.dtype == np.float32
        cls = ours.encode(list(images()))
        np.testing.assert_allclose(cls, np.array(expected)[:, 0, 0], atol=atol)
        assert ours.encode(images()[0]).shape == cls.shape[1:]
        with pytest.raises(InputError, match="no pooling layer"):
            ours(images()[0], pool=True)


def test_pooled_features(tmp_path):
    """A checkpoint with a pooling layer serves its output too (a random one: none of the trained has such a layer)."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.from_pretrained(CLASSES)
    transformers.ViTModel(config).save_pretrained(tmp_path / "vit")
    transformers.AutoImageProcessor.from_pretrained(CLASSES).save_pretrained(tmp_path / "vit")
    export(ExportOptions(str(tmp_path / "vit"), "vit", repository=tmp_path / "r", precision="fp32"))
    theirs = transformers.pipeline("image-feature-extraction", model=str(tmp_path / "vit"), device="cpu")
    with Server(tmp_path / "r") as server, pipeline(model="vit", url=server.url) as ours:
        expected = theirs(opened(images()[0]), pool=True)
        assert_outputs_match(expected, list(ours(images()[0], pool=True)), 1e-4)
        np.testing.assert_allclose(ours.encode(images()[0], pool=True), expected[0], atol=1e-4)


@served
@pytest.mark.parametrize("template", [None, "This is a picture of {} on white ground."])
def test_zero_shot_image_classification(server, precision, runner, template):
    """Scores, labels and order are transformers', for one image and for lists."""
    theirs = transformers.pipeline("zero-shot-image-classification", model=str(CLIP), device="cpu", dtype=torch.float32)
    name = entry_name("clip", "zero-shot-image-classification", precision, runner)
    options = {"candidate_labels": sorted({label for _, label in sample(CLASSES)})}
    options |= {"hypothesis_template": template} if template else {}
    with pipeline("zero-shot-image-classification", model=name, url=server.url) as ours:
        for inputs in (images()[0], list(images())):
            pil = opened(inputs) if isinstance(inputs, bytes) else [opened(data) for data in inputs]
            expected, actual = theirs(pil, **options), ours(inputs, **options)
            for one, other in zip(
                *((expected, actual) if isinstance(inputs, list) else ([expected], [actual])), strict=True
            ):
                assert_same_labels(one, other, 3 * TOLERANCE[precision])


@served
def test_clip_embeddings(server, precision, runner):
    """Texts and images have the embeddings that the model's own towers give, at length 1."""
    model = transformers.CLIPModel.from_pretrained(CLIP, dtype=torch.float32).eval()
    processor = transformers.AutoProcessor.from_pretrained(CLIP)
    texts = ["a photo of a bag", "a coat", "ünïcödé 😀", "many words " * 60]
    inputs = processor(text=texts, return_tensors="pt", padding=True, truncation=True)
    pixels = processor(images=[opened(data).convert("RGB") for data in images()[:1]], return_tensors="pt")
    with torch.inference_mode():
        of_texts = model.get_text_features(**inputs).pooler_output
        of_images = model.get_image_features(**pixels).pooler_output
    name = entry_name("clip", "zero-shot-image-classification", precision, runner)
    atol = 1e-5 if precision == "fp32" else 5e-3
    with pipeline(model=name, url=server.url) as ours:
        expected = torch.nn.functional.normalize(of_texts, dim=-1).numpy()
        np.testing.assert_allclose(ours.encode_texts(texts), expected, atol=atol)
        np.testing.assert_allclose(ours.encode_texts(texts[0]), expected[0], atol=atol)
        expected = torch.nn.functional.normalize(of_images, dim=-1).numpy()
        np.testing.assert_allclose(ours.encode_images([images()[0]]), expected, atol=atol)


@precisions
def test_clip_is_as_good_as_in_training(server, precision):
    """On held-out images CLIP chooses the right label as often as with PyTorch."""
    rows = sample(CLIP)
    labels = sorted({label for _, label in rows})
    theirs = transformers.pipeline("zero-shot-image-classification", model=str(CLIP), device="cpu", dtype=torch.float32)
    options = {"candidate_labels": labels, "hypothesis_template": "a photo of a {}."}
    with pipeline(model=entry_name("clip", "zero-shot-image-classification", precision), url=server.url) as ours:
        answers = theirs([opened(data) for data, _ in rows], **options), ours([data for data, _ in rows], **options)
        right = [sum(a[0]["label"] == label for a, (_, label) in zip(own, rows, strict=True)) for own in answers]
    assert right[1] >= right[0] - 1 > len(rows) * 0.6


def test_labels_are_embedded_once(server):
    """A second call with known labels sends the image alone."""
    sent = []
    with connect(server.url) as connection:
        ours = pipeline(model=entry_name("clip", "zero-shot-image-classification", "fp32"), connection=connection)
        infer_all = connection.infer_all
        connection.infer_all = lambda requests: sent.extend(one.model for one in requests) or infer_all(requests)
        first = ours(images()[0], candidate_labels=["bag", "coat"])
        assert len(sent) == 2
        again = ours(images()[0], candidate_labels=["coat", "bag"])
        assert [name.rsplit("_", 1)[1] for name in sent[2:]] == ["image"]
        ours(images()[0], candidate_labels=["bag", "shirt"])
    assert len(sent) == 5
    assert sorted(entry["score"] for entry in first) == pytest.approx(sorted(entry["score"] for entry in again))


@pytest.mark.slow
def test_labels_are_embedded_again_for_a_new_version(tmp_path):
    """When the entry is replaced, embeddings of the old version are not compared with those of the new one."""
    export(ExportOptions(str(CLIP), "clip", repository=tmp_path / "r", precision="fp32"))
    with Server(tmp_path / "r") as server, pipeline(model="clip", url=server.url) as ours:
        first = ours(images()[0], candidate_labels=["bag", "coat"])
        mirrored = tmp_path / "mirrored"
        shutil.copytree(CLIP, mirrored)
        weights = load_file(CLIP / "model.safetensors")
        for name in ("text_projection.weight", "visual_projection.weight"):
            weights[name] = -weights[name]  # the same similarities, but not with the old embeddings
        save_file(weights, mirrored / "model.safetensors", {"format": "pt"})
        export(ExportOptions(str(mirrored), "clip", repository=tmp_path / "r", precision="fp32"))
        for frontend in ("clip_text", "clip_image"):
            server.load(frontend)
        again = ours(images()[0], candidate_labels=["bag", "coat"])
        assert [entry.model_version for entry in (*first.metadata, *again.metadata)] == [1, 2]
        assert_outputs_match(list(first), list(again), 1e-5)
        export(ExportOptions(str(CLIP), "clip", repository=tmp_path / "r", precision="fp32"))
        server.load("clip_text")
        with pytest.raises(ServerError, match=r"answer with versions \[2, 3\]"):
            ours(images()[0], candidate_labels=["shirt"])


def test_asyncio_and_the_frontends_by_name(server):
    """The asyncio twin serves images and zero-shot labels; a frontend of CLIP may be named in place of its entry."""
    name = entry_name("clip", "zero-shot-image-classification", "fp32")

    async def ask(model):
        async with aio.pipeline(model=model, url=server.url) as ours:
            return await ours(images()[0], candidate_labels=["bag", "coat"]), await ours.encode_images(images()[0])

    answers = [asyncio.run(ask(model)) for model in (name, f"{name}_text", f"{name}_image")]
    for answer, embedding in answers[1:]:
        assert_outputs_match(list(answers[0][0]), list(answer), 1e-6)
        np.testing.assert_allclose(embedding, answers[0][1], atol=1e-6)
    with pytest.raises(WrongTask, match="serves zero-shot-image-classification"):
        pipeline("image-classification", model=name, url=server.url)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"", "image 0 is empty"),
        (b"not an image", "not an image in a format that is taken"),
        ("no such file.jpg", "is not a file, a URL or base64"),
        (3, "image 0 should be a path"),
        (np.zeros((2, 2, 3)), "should be uint8"),
        ([], "list of images is empty"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * (1 << 25), "at most 33,554,432 are taken"),
    ],
)
def test_images_that_cannot_be_taken(server, image, message):
    """What is no image, or too big, is refused with the reason."""
    name = entry_name("vit", "image-classification", "fp16")
    with pipeline(model=name, url=server.url) as ours, pytest.raises(InputError, match=message):
        ours(image)
