"""A failed export names the input, the row of its batch, the place in the output and both values, and what to try next."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

from hf2triton.checkpoint.loader import load_checkpoint
from hf2triton.checkpoint.preprocessing import preprocessor_of
from hf2triton.checkpoint.source import find_source
from hf2triton.cli import main
from hf2triton.core.options import ExportOptions
from hf2triton.core.precision_plan import PrecisionPlan
from hf2triton.core.types import GraphOutput, ParityCheck, ParityReport
from hf2triton.errors import ParityError
from hf2triton.graph.passes.cleaning import clean
from hf2triton.graph.passes.release import OPSET, fit
from hf2triton.graph.storage import store
from hf2triton.parity.advice import ParityRequest, advice_of
from hf2triton.parity.calibration_inputs import Calibration
from hf2triton.parity.checks import LAYOUTS, ParityInputs, _batches, report_of, require_parity
from hf2triton.parity.graph_kinds import GRAPH_KINDS
from hf2triton.parity.places import AskedItems
from hf2triton.triton_models.preprocessor import Item
from hf2triton_client.evaluation.compare import Difference, Tolerance

from ...conftest import asset

NONE = Calibration((), "nothing")


class Measured:
    """A trained checkpoint whose baseline is made wrong in one place, and what parity says of its right graph."""

    def __init__(self, family, task, folder):
        checkpoint = load_checkpoint(find_source(str(asset(family, task))), task)
        endpoint = checkpoint.task.endpoints[0]
        kind = GRAPH_KINDS[endpoint.kind]
        self.baseline = kind.record_baseline(checkpoint, endpoint, "fp32")
        graph = fit(clean(kind.export_graph(checkpoint, endpoint, "standard", OPSET)), None)
        self.stored, self.kind = store(graph, PrecisionPlan("fp32"), folder), kind
        self.preprocessor, self.id2label = preprocessor_of(checkpoint, endpoint), checkpoint.id2label

    def report(self, *edits, calibration=NONE):
        """With other expected values: (output, item, index, value) each."""
        arrays = {name: [array.copy() for array in own] for name, own in self.baseline.answers.items()}
        for output, item, index, value in edits:
            arrays[output][item][index] = value
        wrong = replace(self.baseline, answers={name: tuple(own) for name, own in arrays.items()})
        inputs = ParityInputs(wrong, self.preprocessor, calibration, id2label=self.id2label)
        return report_of(self.stored, self.kind.checks_of(self.stored, inputs))


def failed(report):
    return {check.name: check.difference.worst for check in report.checks if not check.difference.passed}


@pytest.fixture(scope="module")
def sentiment(tmp_path_factory):
    return Measured("bert", "text-classification", tmp_path_factory.mktemp("sentiment"))


def test_a_graph_that_is_right_has_no_worst_value(sentiment):
    """Nothing is blamed where nothing failed."""
    report = sentiment.report()
    assert report.passed
    assert all(check.difference.worst is None for check in report.checks)


def test_the_text_is_named_in_every_layout(sentiment):
    """Whatever the order and the size of batches: the same text, the row that it had, the label and both values."""
    served = float(sentiment.baseline.answers["logits"][12][2])
    found = failed(sentiment.report(("logits", 12, (2,), np.float32(served + 7))))
    count = sum(map(len, sentiment.baseline.groups))
    assert list(found) == [name for name, *_ in LAYOUTS], "those against the rows alone pass"
    for (name, batch, reverse, _), worst in zip(LAYOUTS, found.values(), strict=True):
        [row] = [own.index(12) for own in _batches(count, batch, reverse) if 12 in own]
        assert (worst.item, worst.row, worst.index, worst.reference) == (12, row, (2,), "PyTorch"), name
        text = sentiment.baseline.inputs["text"][12]
        assert worst.input.startswith(f'text 12 ("{text[:20]}')
        assert worst.where == f"label 2 ({sentiment.id2label[2]})"
        assert float(worst.expected) - float(worst.served) == pytest.approx(7, abs=1e-2)


def test_the_message_is_one_line_that_says_all(sentiment):
    """The check, the output, the input, the row, the label, both values, what was exceeded, and what to try."""
    report = sentiment.report(("logits", 12, (2,), np.float32(40)))
    asked = ParityRequest(ExportOptions("s", "n", precision="fp32", attention="fused"), "text", {})
    with pytest.raises(ParityError) as raised:
        require_parity(report, asked)
    assert re.fullmatch(
        r"the exported model is not the trained one: one row, no padding, output logits:"
        r" largest difference [\d.]+ is above 0\.001;.* –"
        r" text 12 \(\".*\"\), row 0 of its batch, label 2 \(\w+\): PyTorch 40, exported -?[\d.]+"
        r"\. Try --attention standard",
        str(raised.value),
    )
    written = json.loads(json.dumps(raised.value.report.to_json(), allow_nan=False))
    assert written["checks"][0]["worst"]["item"] == 12


def test_tokens_are_named(tmp_path):
    """Outputs per token say which, and which label of it."""
    tags = Measured("bert", "token-classification", tmp_path)
    worst = failed(tags.report(("logits", 3, (2, 1), np.float32(99))))[LAYOUTS[2][0]]
    assert (worst.item, worst.row, worst.index) == (3, 3, (2, 1))
    assert worst.where == f"token 2, label 1 ({tags.id2label[1]})"


def test_windows_are_rows(tmp_path):
    """The row is that of the window, and tokens are counted in it; of two logits it says which."""
    answers = Measured("bert", "question-answering", tmp_path)
    item = len(answers.baseline) - 1  # of several windows
    length = len(answers.baseline.answers["span_logits"][item])
    worst = failed(answers.report(("span_logits", item, (length - 1, 1), np.float32(99))))[LAYOUTS[2][0]]
    assert worst.item == item
    assert worst.index[0] < 128 < length
    assert worst.where == f"token {worst.index[0]}, end point 1 (end)"
    asked = AskedItems(answers.preprocessor, str, [Item([[0] * 5]), Item([[0] * 4, [0] * 3]), Item([[0] * 2])])
    asked.preprocessor.extent = lambda row, per: len(row)
    places = asked.in_batches(GraphOutput("span_logits", "token", (2,)), 3, False, "PyTorch")
    assert [(places.row(1, (token, 0)), *places.told(1, (token, 0))) for token in (0, 3, 4, 6)] == [
        (1, 0, 0),
        (1, 3, 0),
        (2, 0, 0),
        (2, 2, 0),
    ]
    backwards = asked.in_batches(GraphOutput("span_logits", "token", (2,)), 3, True, "PyTorch")
    assert [backwards.row(item, (0, 0)) for item in range(3)] == [0, 2, 0]


def test_tokens_of_the_vocabulary_are_named(tmp_path):
    """Logits of a mask are over tokens, which have names."""
    masks = Measured("bert", "fill-mask", tmp_path)
    token = masks.preprocessor.tokenizer.token_to_id("the")
    worst = failed(masks.report(("logits", 1, (0, token), np.float32(99))))[LAYOUTS[0][0]]
    assert worst.where == f'mask 0, token id {token} ("the")'


def test_images_are_named_by_their_number(tmp_path):
    """Nothing of their bytes is shown."""
    images = Measured("vit", "image-classification", tmp_path)
    worst = failed(images.report(("logits", 2, (1,), np.float32(99))))[LAYOUTS[0][0]]
    assert worst.sentence("exported").startswith(
        f"image 2, row 0 of its batch, label 1 ({images.id2label[1]}): PyTorch 99,"
    )


def test_texts_that_are_generated_are_named(tmp_path):
    """The prompt, the position in it, and the token; of greedy texts both tokens and both texts."""
    verses = Measured("gpt2", "text-generation", tmp_path)
    prompts = verses.baseline.joined().inputs["text_input"]
    found = failed(verses.report(("logits", 3, (-1, 7), np.float32(999))))
    assert len(found) == 3
    for worst in found.values():
        assert worst.item == 3
        assert worst.input.startswith(f"text 3 ({json.dumps(prompts[3], ensure_ascii=False)[:10]}")
        assert worst.expected == "999"
        assert worst.where.endswith(
            f"token id 7 ({json.dumps(verses.preprocessor.tokenizer.decode([7]), ensure_ascii=False)})"
        )
    assert [worst.row for worst in found.values()] == [0, 3, len(prompts) - 1 - 3]
    assert [re.match(r"token|step", worst.where)[0] for worst in found.values()] == ["token", "step", "step"]
    # a PyTorch that would have chosen another token, and had not thought of the one that is served
    other = next(token for token in range(50, 99) if token not in verses.baseline.answers["top_ids"][2][5])
    worst = failed(verses.report(("token_ids", 2, 5, other), ("top_ids", 2, 5, other)))["greedy texts"]
    served = int(verses.baseline.answers["token_ids"][2][5])
    assert (worst.item, worst.index, worst.where) == (2, (5,), "new token 5")
    assert worst.expected.startswith(f"token id {other} (")
    assert worst.served.startswith(f"token id {served} (")


def test_calibration_inputs_are_named(sentiment):
    """The user's own, which PyTorch was not asked: by the text that their tokens make."""
    [good] = sentiment.preprocessor.items(["A good film."], set())
    feeds = tuple(sentiment.preprocessor.feeds([good.rows[0]] * rows) for rows in (2, 3))
    report = sentiment.report(calibration=Calibration(feeds, "mine", own=True))
    assert report.passed
    from hf2triton.parity.places import places_of_calibration

    places = places_of_calibration(
        Calibration(feeds, "mine", own=True),
        AskedItems(sentiment.preprocessor, str, ()).places(GraphOutput("logits", "row", (3,))),
        sentiment.preprocessor,
    )
    assert (places.describe(4), places.row(4, ())) == ('calibration row 4 ("a good film.")', 2)


def test_an_image_that_pytorch_cannot_answer_is_named_by_its_number(tmp_path):
    """Nothing of its bytes is shown."""
    checkpoint = load_checkpoint(find_source(str(asset("vit", "image-classification"))), "image-classification")
    import torch

    with torch.no_grad():
        checkpoint.model.classifier.bias.fill_(float("nan"))
    with pytest.raises(ParityError, match="PyTorch itself answers with NaN or infinity to image 0: the checkpoint"):
        GRAPH_KINDS["encoder"].record_baseline(checkpoint, checkpoint.task.endpoints[0], "fp32")


FP16, INT8, FP32 = "fp16", "int8", "fp32"
OPTIONS = ExportOptions("source", "name", attention="fused", device="cpu")
#: What was asked for -> what is to be tried.
ADVICE = [
    ({"precision": FP16}, "", "Try --precision fp32, or --calibration with a file of your own texts"),
    ({"precision": FP16, "calibration": "a.txt"}, "", "Try --precision fp32"),
    ({"precision": INT8}, "", "Try --calibration with a file of your own texts, one a line, or --precision fp16"),
    ({"precision": INT8, "calibration": "a.txt"}, "", "Try --precision fp16"),
    ({"precision": FP16, "precision_plan": "p.json"}, "", "Leave out --precision-plan"),
    ({"precision": INT8, "precision_plan": "p.json"}, "", "Leave out --precision-plan"),
    ({"precision": FP32}, "", "Try --attention standard"),
    ({"precision": FP32, "attention": "fused-any-mask"}, "", "Try --attention standard"),
    ({"precision": FP32, "calibration": "a.txt"}, "calibration inputs", "leave this row out of --calibration"),
    ({"precision": FP32, "attention": "standard", "device": "cuda"}, "on the GPU: one row", "Try --device cpu"),
    ({"precision": FP32, "attention": "standard", "release": "24.08"}, "", "Leave out --release"),
    ({"precision": FP32, "attention": "standard", "adapter": "a"}, "", "Try the source without --adapter"),
    ({"precision": FP32, "attention": "standard"}, "", "report it, with the file that --report FILE.json writes"),
    ({"precision": FP32, "attention": "standard", "precision_plan": "p.json"}, "", "No other option is left to try"),
]


@pytest.mark.parametrize(("asked", "check", "says"), ADVICE)
def test_the_advice_is_not_what_was_asked_for(asked, check, says):
    """Each failure has a next step, and none names a value that the export had already."""
    difference = Difference("logits", 3, 9.0, 9.0, 0.1, 0.5, ("largest difference 9 is above 0.1",))
    options = replace(OPTIONS, **asked)
    advice = advice_of(ParityRequest(options, "text", {}), ParityCheck(check or "one row, no padding", difference))
    assert says in advice
    assert f"--precision {options.precision}" not in advice
    assert f"--attention {options.attention}" not in advice
    assert f"--device {options.device}" not in advice
    assert options.calibration is None or "--calibration with" not in advice
    assert options.adapter or "--adapter" not in advice


def test_images_are_calibrated_with_images():
    """The advice is one that the task takes."""
    difference = Difference("logits", 3, 9.0, 9.0, 0.1, 0.5, ("largest difference 9 is above 0.1",))
    advice = advice_of(ParityRequest(OPTIONS, "image", {}), ParityCheck("one row, no padding", difference))
    assert "a folder of your own images" in advice


@pytest.mark.parametrize(
    ("largest", "breach", "own"),
    [
        (0.01, "largest difference 0.01 is above 1e-06", True),
        (9.0, "largest difference 9 is above 1e-06", False),
        (0.01, "1 of 3 rows hold a NaN or an infinity", False),
        (0.01, "row 0 has shape [1], PyTorch gives [2]", False),
    ],
)
def test_own_tolerances_are_blamed_only_where_they_are_the_cause(largest, breach, own):
    """Where the task's own would pass; what fails by those as well has another remedy."""
    difference = Difference("logits", 3, largest, 0.001, 1.0, 1.0, (breach,))
    options = replace(OPTIONS, tolerances={"logits": {"max_abs": 1e-6}})
    tolerances = {"logits": Tolerance(0.05, 0.01, 0.999, 1.0)}
    advice = advice_of(ParityRequest(options, "text", tolerances), ParityCheck("one row, no padding", difference))
    assert ("The task's own tolerances would pass" in advice) == own


@pytest.fixture
def overflowing(tmp_path):
    """A checkpoint that fp16 breaks, and a plan that keeps nothing in fp32."""
    import shutil

    folder = shutil.copytree(asset("bert", "text-classification"), tmp_path / "checkpoint")
    weights = load_file(folder / "model.safetensors")
    weights["bert.encoder.layer.0.output.dense.weight"] *= 1e6
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    plan = tmp_path / "plain.json"
    plan.write_text(json.dumps(PrecisionPlan("fp16").to_json()))
    return folder, plan


@pytest.mark.parametrize("debug", [False, True])
def test_the_command_says_where_and_hides_the_stages(overflowing, tmp_path, monkeypatch, debug):
    """One line: the stage, the input and both values, the advice, and that nothing was written; stages only for debugging."""
    monkeypatch.setenv("HF2TRITON_DEBUG", "1") if debug else monkeypatch.delenv("HF2TRITON_DEBUG", raising=False)
    folder, plan = overflowing
    options = ["--name", "m", "--repository", str(tmp_path / "r"), "--precision-plan", str(plan)]
    report = tmp_path / "report.json"
    result = CliRunner().invoke(main, ["export", str(folder), *options, "--report", str(report)])
    lines = [line for line in result.stderr.splitlines() if line.startswith("hf2triton: ")]
    assert len(lines) == 1
    assert lines[0].startswith(
        "hf2triton: require parity: the exported model is not the trained one: rounded to fp16: "
    )
    assert re.search(r'text \d+ \(".*"\), row \d+ of its batch, label \d \(\w+\): PyTorch \S+, exported nan', lines[0])
    assert "Leave out --precision-plan" in lines[0]
    assert lines[0].endswith("the repository is as it was)")
    assert ("done before: check the options, " in lines[0]) == debug
    assert (result.exit_code, "Traceback" in result.stderr) == (3, debug)
    checks = json.loads(report.read_text())["parity"]["checks"]
    assert checks[0]["worst"]["served"] == "nan"


def test_a_report_without_a_request_has_no_advice():
    """Whoever measures without an export is told what failed alone."""
    difference = Difference("logits", 1, 9.0, 9.0, None, None, ("largest difference 9 is above 0.1",))
    with pytest.raises(ParityError, match=r"one row, output logits: largest difference 9 is above 0\.1$"):
        require_parity(ParityReport((ParityCheck("one row", difference),), 0, 0))
