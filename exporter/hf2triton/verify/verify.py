"""Proves an entry's graph in the onnxruntime of a Triton release: real inputs, run there, compared with PyTorch's answers.

Each release has its own isolated environment (see environments.py), whose interpreter runs `run_graph.py`. The inputs, and how
far the answers may differ from PyTorch's, come from the entry itself. This process needs neither torch nor onnxruntime.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.evaluation.compare import compare, compare_greedy
from hf2triton_client.evaluation.places import Axis, Places, describe_input

from ..checkpoint.preprocessing import items_of
from ..core.frontend_settings import DecoderSettings, EncoderSettings, read_settings
from ..core.layout import BASELINE, TOKENIZER, frontends_of, graph_file, served_version
from ..core.manifest import GraphAbout, served_manifest
from ..core.types import GraphOutput, ParityCheck
from ..graph.passes.release import RELEASES, Release, find_release
from ..parity.places import AskedItems
from ..triton_models.preprocessor import Item, joined
from ..triton_models.preprocessors import make_preprocessor
from ..triton_models.sessions import NO_SATURATION
from .environments import Runtime, find_runtime

#: Stands for every release.
ALL = "all"
#: How rows are batched: (name, rows of a batch).
LAYOUTS = (("one row a call", 1), ("batches of 8, padded", 8))
#: Tokens of a prompt's pieces; odd, so that the last piece is shorter.
PIECE = 7
#: Seconds that a graph may take in one onnxruntime.
TIMEOUT = 1800
_SCRIPT = Path(__file__).with_name("run_graph.py")

#: `CALL/OUTPUT` -> array.
Answers = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Question:
    """What to ask a frontend's graph. `about`: what the manifest says about it. `job`: what else `run_graph.py` needs to know.
    `calls`: the feeds of each call. `judge`: compares what comes back, `CALL/OUTPUT` -> array."""

    frontend: str
    version: int
    graph: Path
    about: GraphAbout
    job: Mapping[str, Any]
    calls: Sequence[Mapping[str, npt.NDArray[Any]]]
    judge: Callable[[Answers], tuple[ParityCheck, ...]]


@dataclass(frozen=True)
class Verification:
    """A graph in the onnxruntime of a release. `error`: why it does not load or run there, in onnxruntime's words."""

    frontend: str
    version: int
    release: Release
    runtime: Runtime
    checks: tuple[ParityCheck, ...] = ()
    error: str | None = None

    @property
    def differs(self) -> bool:
        return any(not check.difference.passed for check in self.checks)

    @property
    def passed(self) -> bool:
        return self.error is None and not self.differs

    @property
    def result(self) -> str:
        """The first problem, or "ok"."""
        if self.error:
            return self.error
        for check in self.checks:
            if not check.difference.passed:
                where = f" – {check.difference.worst.sentence('here')}" if check.difference.worst else ""
                return f"{check.name}, {check.difference.output}: {'; '.join(check.difference.breaches)}{where}"
        return "ok"

    @property
    def max_abs(self) -> float | None:
        """The largest numeric difference; None if only texts were compared."""
        return max(
            (check.difference.max_abs for check in self.checks if check.difference.cosine is not None), default=None
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "front": self.frontend,
            "version": self.version,
            "release": self.release.span,
            "onnxruntime": self.runtime.onnxruntime,
            "numpy": self.runtime.numpy,
            "python": self.runtime.python,
            "passed": self.passed,
            "error": self.error,
            "checks": [{"name": check.name, **check.difference.to_json()} for check in self.checks],
        }


def question_of(repository: Path, frontend: str) -> Question:
    """Returns what to ask the served version of a frontend. Raises RepositoryError and BaselineError."""
    version = served_version(repository, frontend)
    folder = repository / frontend / str(version)
    settings, baseline = read_settings(folder), Baseline.load(folder / BASELINE)
    about = served_manifest(repository, frontend).graph
    if isinstance(settings, DecoderSettings):
        job, calls, judge = _ask_decoder(folder, settings, baseline)
    else:
        job, calls, judge = _ask_encoder(folder, settings, baseline)
    graph = graph_file(repository, frontend, version)
    session = NO_SATURATION if graph.parent == folder else {}  # Triton's own backend has no such option
    return Question(frontend, version, graph, about, {**job, "session": session}, calls, judge)


def verify(
    repository: Path, name: str, releases: Sequence[str] = (), progress: Callable[[str], None] = lambda stage: None
) -> list[Verification]:
    """Runs each frontend of an entry in the onnxruntime of each release; see `releases_of` for `releases`.

    Raises UnknownName, RepositoryError, BaselineError, and RuntimeUnavailable if pip cannot install an onnxruntime.
    """
    questions = [question_of(repository, frontend) for frontend in frontends_of(repository, name)]
    results = []
    for release in releases_of(releases, questions):
        progress(f"{release.span}: prepare onnxruntime {release.onnxruntime}")
        runtime = find_runtime(release.onnxruntime)
        for question in questions:
            progress(f"{release.span}: run {question.frontend} in onnxruntime {runtime.onnxruntime}")
            results.append(run_in(runtime, release, question))
    return results


def releases_of(given: Sequence[str], questions: Sequence[Question]) -> list[Release]:
    """The rows of the named releases; "all" names every release.

    If none is named: the release that the graphs were made for, or else the first release that they run on, the last, and the one
    midway between them.
    """
    wanted = given or [release for question in questions if (release := question.about.release)]
    if wanted:
        named = [find_release(name) for name in wanted if name != ALL]
        return [row for row in RELEASES if ALL in wanted or row in named]
    least = max(question.about.first_release for question in questions)
    able = [row for row in RELEASES if row.first >= least]
    return [row for row in able if row in (able[0], able[len(able) // 2], able[-1])]


def run_in(runtime: Runtime, release: Release, question: Question) -> Verification:
    """Runs a frontend's graph in an environment and compares."""
    with tempfile.TemporaryDirectory(prefix="hf2triton-verify-") as workspace:
        job, calls, answers = (Path(workspace, name) for name in ("job.json", "calls.npz", "answers.npz"))
        feeds = {f"{call}/{name}": array for call, feeds in enumerate(question.calls) for name, array in feeds.items()}
        np.savez(calls, **feeds)  # pyright: ignore[reportArgumentType] # names of arrays, none is allow_pickle
        files = {"graph": str(question.graph.resolve()), "calls": str(calls), "answers": str(answers)}
        job.write_text(json.dumps({**question.job, **files}), encoding="utf-8")
        error = _run(runtime.interpreter, job)
        checks: tuple[ParityCheck, ...] = ()
        if error is None:
            with np.load(answers) as arrays:
                checks = question.judge(arrays)
    error = error and error.replace(str(question.graph.resolve()), question.graph.name)
    return Verification(question.frontend, question.version, release, runtime, checks, error)


def _run(interpreter: Path, job: Path) -> str | None:
    """What went wrong in the other interpreter; None if nothing did."""
    try:
        done = subprocess.run([interpreter, "-I", _SCRIPT, job], capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT} s"
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return f"ended with {done.returncode}" + (f": {said[-1]}" if said else "")
    error: str | None = json.loads(done.stdout.splitlines()[-1])["error"]
    return error


def _ask_encoder(folder: Path, settings: EncoderSettings, baseline: Baseline) -> tuple[Any, ...]:
    """The baseline's inputs, as the frontend reads them, in each of the LAYOUTS."""
    tokenizer = folder / TOKENIZER
    preprocessor = make_preprocessor(settings.reader, tokenizer.read_text("utf-8") if tokenizer.exists() else None)
    items = [item for group in baseline.groups for item in items_of(preprocessor, group.inputs)]
    outputs, expected = settings.outputs, baseline.all_answers
    rows = [row for item in items for row in item.rows]
    asked = AskedItems(preprocessor, baseline.describe, items)
    batches = [(name, rows[start : start + size]) for name, size in LAYOUTS for start in range(0, len(rows), size)]

    def judge(answers: Answers) -> tuple[ParityCheck, ...]:
        checks = []
        for layout, size in LAYOUTS:
            mine = [(call, batch) for call, (name, batch) in enumerate(batches) if name == layout]
            for output, per in outputs.items():
                arrays = (
                    array[: preprocessor.extent(row, per)]
                    for call, batch in mine
                    for row, array in zip(batch, answers[f"{call}/{output}"], strict=True)
                )
                pairs = zip(expected[output], _by_item(items, arrays), strict=True)
                places = asked.in_batches(GraphOutput(output, per, ()), size, False, "PyTorch")
                checks.append(ParityCheck(layout, compare(output, pairs, baseline.tolerances[output], places)))
        return tuple(checks)

    return {"outputs": list(outputs)}, [preprocessor.feeds(batch) for _, batch in batches], judge


def _by_item(items: Sequence[Item], arrays: Iterator[npt.NDArray[Any]]) -> Iterator[npt.NDArray[Any]]:
    return (joined([next(arrays) for _ in item.rows]) for item in items)


def _ask_decoder(folder: Path, settings: DecoderSettings, baseline: Baseline) -> tuple[Any, ...]:
    """Whole texts, one per call, from an empty past; and all of them in slots, as they are served."""
    from tokenizers import Tokenizer

    from ..triton_models.generation.request_state import read_prompt
    from ..triton_models.generation.settings import Settings

    baseline = baseline.joined()
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    defaults, bos_token_id = Settings.of_checkpoint(settings.generation), settings.generation.get("bos_token_id")
    columns = (baseline.inputs["text_input"], baseline.inputs["sampling_parameters"])
    asked = zip(*([str(value) for value in column] for column in columns), strict=True)
    prompts = [
        list(read_prompt(text, tokenizer, Settings.parse(own, defaults), settings.context, bos_token_id).ids)
        for text, own in asked
    ]
    expected = baseline.greedy()
    texts = [(prompt, text.token_ids.tolist()) for prompt, text in zip(prompts, expected, strict=True)]
    tolerance = baseline.tolerances["token_ids"]  # it applies to the logits

    def judge(answers: Answers) -> tuple[ParityCheck, ...]:
        checks = []
        for layout, logits in (
            ("whole texts, one a call", [answers[f"{call}/logits"][0] for call in range(len(texts))]),
            (f"prompts in pieces of {PIECE}, then steps", [answers[f"slots/{slot}"] for slot in range(len(texts))]),
        ):
            pairs = [
                (text.top_logits, np.take_along_axis(own, text.top_ids, axis=-1))
                for text, own in zip(expected, logits, strict=True)
            ]
            # only the likeliest tokens of each step are recorded
            describe, step = partial(describe_input, baseline.inputs), Axis("new token")
            chosen = zip(expected, (own.argmax(axis=-1) for own in logits), strict=True)
            differences = (
                compare("logits", pairs, tolerance, Places(describe=describe, axes=(step, Axis("likeliest token")))),
                compare_greedy(
                    "token_ids", chosen, tolerance, Places(describe=describe, axes=(step, Axis("token id")))
                ),
            )
            checks += [ParityCheck(layout, difference) for difference in differences]
        return tuple(checks)

    slots = {"code": str(folder.resolve()), "in_place": settings.in_place, "piece": PIECE, "texts": texts}
    return {"outputs": ["logits"], "slots": slots}, [_whole_text(*text) for text in texts], judge


def _whole_text(prompt: list[int], tokens: list[int]) -> dict[str, npt.NDArray[Any]]:
    """A prompt and all that follows it except the last token. Logits are requested from the prompt's last token on."""
    ids = np.array([[*prompt, *tokens[:-1]]])
    return {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "position_ids": np.arange(ids.size)[None],
        "logits_from": np.array([len(prompt) - 1]),
    }
