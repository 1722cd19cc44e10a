"""Reports as data: written as JSON, described by a schema, read again, refused where they are none."""

import json
import re
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from hf2triton_client.errors import ReportError, UnknownForm
from hf2triton_client.evaluation.results import Check, Scatter, Score, Validation
from hf2triton_client.loadgen.results import Benchmark, Contender, Measurement
from hf2triton_client.report.comparison import combine
from hf2triton_client.report.html import to_page
from hf2triton_client.report.io import FORMS, new_report, read_report, require_form, write_report
from hf2triton_client.report.json_form import SCHEMA, from_json, report_schema, to_json
from hf2triton_client.report.machine import describe_machine
from hf2triton_client.report.markdown import to_markdown
from hf2triton_client.report.model import Machine, Report
from hf2triton_client.report.verdict import STATES, verdict

from ..reports import benchmark, good, report

_SCATTERS = st.lists(st.tuples(st.floats(), st.floats())).map(
    lambda pairs: Scatter("x", tuple(a for a, _ in pairs), tuple(b for _, b in pairs))
)
_CONTENDERS = st.lists(st.from_type(Contender), min_size=1, max_size=3).map(tuple)
_MEASUREMENTS = st.lists(st.builds(Measurement, contender=st.just(0)), max_size=2).map(tuple)
_NAMED = st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=2)
_REPORTS = st.builds(
    Report,
    machine=st.builds(Machine, packages=_NAMED),
    validations=st.lists(
        st.builds(
            Validation,
            checks=st.lists(st.from_type(Check), max_size=2).map(tuple),
            scatters=st.lists(_SCATTERS, max_size=1).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    benchmarks=st.lists(
        st.builds(Benchmark, contenders=_CONTENDERS, measurements=_MEASUREMENTS, missing=_NAMED), max_size=1
    ).map(tuple),
    format=st.just(1),
)


def closed(schema):
    """The schema with nothing allowed that it does not name, and nothing left out."""
    for kind in (schema, *schema["$defs"].values()):
        assert set(kind["required"]) == set(kind["properties"])
        kind["additionalProperties"] = False
    return Draft202012Validator(schema)


@settings(max_examples=40, deadline=None)
@given(_REPORTS)
def test_what_is_written_is_read_again(made):
    """Any report comes back as it was, NaN and infinities included, through JSON that every parser takes."""
    written = json.dumps(to_json(made), allow_nan=False)
    assert repr(from_json(json.loads(written))) == repr(made)


@settings(max_examples=40, deadline=None)
@given(_REPORTS)
def test_whatever_is_found_can_be_shown(made):
    """Any report, however odd its figures, has a page and Markdown, alone and beside itself."""
    together, comparison = combine([made, made])
    for own, beside in ((made, None), (together, comparison)):
        assert to_page(own, beside).startswith("<!DOCTYPE html>")
        assert f"**{STATES[verdict(own, beside).state][0]}.**" in to_markdown(own, beside).splitlines()[0]


def test_the_file_is_read_again(tmp_path):
    """A report goes through a file, in folders that are made for it."""
    path = tmp_path / "a" / "b" / "report.json"
    write_report(report(), path)
    assert repr(read_report(path)) == repr(report())
    assert '"NaN"' in path.read_text()


def test_numbers_of_numpy_are_numbers():
    """What numpy measured is written like any number."""
    for number, written in (
        (np.float32(0.5), "0.5"),
        (np.float64(0.5), "0.5"),
        (np.float32("nan"), '"NaN"'),
        (np.int64(3), "3"),
    ):
        made = replace(good(), scores=(Score("accuracy", 9, number),))
        assert json.dumps(to_json(report(validations=(made,)))["validations"][0]["scores"][0]["served"]) == written


def test_the_schema_is_that_of_the_code():
    """The published schema is what the dataclasses say."""
    published = json.loads(files("hf2triton_client").joinpath(SCHEMA).read_text(encoding="utf-8"))
    assert published == report_schema()
    Draft202012Validator.check_schema(published)


@pytest.mark.parametrize(
    "made", [report(), new_report(), new_report("s", [good()], [benchmark()])], ids=["realistic", "empty", "new"]
)
def test_what_is_written_fits_the_schema(tmp_path, made):
    """Files hold what the schema names, all of it and no more."""
    path = tmp_path / "report.json"
    write_report(made, path)
    closed(report_schema()).validate(json.loads(path.read_text()))


def test_the_schema_refuses_what_is_no_report():
    """A missing field, a text for a number and another format do not fit."""
    validator, written = closed(report_schema()), to_json(report())
    for broken in (
        {name: value for name, value in written.items() if name != "machine"},
        written | {"format": 2},
        written | {"machine": written["machine"] | {"cores": "two"}},
        written | {"extra": 1},
    ):
        assert not validator.is_valid(broken)


def test_verdicts_are_written_beside_what_they_are_of():
    """Readers of the JSON need not know how a verdict is made."""
    written = to_json(report())
    assert [written["passed"], *(own["passed"] for own in written["validations"])] == [False, True, False]
    failed = written["validations"][1]["checks"][1]
    assert (failed["passed"], failed["differences"][0]["passed"]) == (False, False)
    assert written["validations"][1]["scores"][0]["passed"] is False


def test_what_was_not_compared_has_no_verdict():
    """A benchmark, a score without PyTorch's, and a report of only these are neither passed nor failed in the JSON either."""
    alone = replace(good(), checks=(), scores=(Score("accuracy", 60, 0.8167),))
    for validations in ((), (alone,), (replace(good(), checks=(Check("nothing", ()),), scores=()),)):
        written = to_json(report(validations=validations))
        closed(report_schema()).validate(written)
        assert [written["passed"], *(own["passed"] for own in written["validations"])] == [None] * (
            1 + len(validations)
        )
    written = to_json(report(validations=(replace(good(), scores=alone.scores),)))["validations"][0]
    assert (written["passed"], written["scores"][0]["passed"]) == (True, None)


def test_a_report_of_before_is_read():
    """Earlier versions wrote PyTorch's latency of another moment, and called what was not compared passed."""
    written = to_json(report(validations=(good(),)))
    old = {**written["validations"][0], "pytorch_latency": {"p50_ms": 105.0, "p90_ms": 120.0, "calls": 60}}
    old["scores"] = [{**one, "pytorch": None, "passed": True} for one in old["scores"]]
    made = from_json({**written, "validations": [old]})
    assert [score.passed for score in made.validations[0].scores] == [None, None]
    assert "105" not in to_markdown(made)


def _lose(written):
    del written["machine"]["cores"]


def _contend(written):
    written["benchmarks"][0]["measurements"][0]["contender"] = 9


def _scatter(written):
    written["validations"][0]["scatters"][0]["served"].pop()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_lose, "is not a report of format 1: machine.cores: Field required"),
        (_contend, "has a measurement of contender 9, and only 4 contenders"),
        (_scatter, "has 500 values of PyTorch for 499 served ones"),
        (lambda written: written.update(format=2), "has format 2, this version of hf2triton reads 1"),
        (lambda written: written.pop("machine"), "is not a report of a validation or a benchmark"),
    ],
)
def test_a_spoilt_report_is_refused(tmp_path, spoil, said):
    """The error names the file and what is wrong with it."""
    written = to_json(report())
    spoil(written)
    path = tmp_path / "spoilt.json"
    path.write_text(json.dumps(written))
    with pytest.raises(ReportError, match=rf"^{re.escape(str(path))} {re.escape(said)}"):
        read_report(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000, None])
def test_what_is_no_report_is_refused(tmp_path, content):
    """Broken JSON, other JSON, bytes and a file that is not there are errors, not crashes."""
    path = tmp_path / "no.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ReportError, match=r"no\.json (cannot be read as a report|is not a report)"):
        read_report(path)


def test_the_ending_names_the_form(tmp_path):
    """Each known ending is written as what it says; another is refused before anything is made, with those that are known."""
    begins = {".json": "{", ".md": "❌ **Failed.**", ".html": "<!DOCTYPE html>"}
    assert set(begins) == set(FORMS)
    for ending, first in begins.items():
        write_report(report(), tmp_path / f"r{ending}")
        assert (tmp_path / f"r{ending}").read_text(encoding="utf-8").startswith(first)
    require_form(tmp_path / "R.HTML")
    with pytest.raises(UnknownForm, match=r"r\.pdf' names no form .* known are \.json, \.md, \.html"):
        write_report(report(), tmp_path / "x" / "r.pdf")
    assert not (tmp_path / "x").exists()


def test_gpus_are_told(tmp_path, monkeypatch):
    """The driver's answer is the machine's GPUs; one that fails or is not there means none."""
    asked = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    asked.write_text("#!/bin/sh\necho 'NVIDIA X, 80 GiB, 550.1'\necho 'NVIDIA Y, 8 GiB, 550.1'\n")
    asked.chmod(0o755)
    assert describe_machine().gpus == ("NVIDIA X, 80 GiB, 550.1", "NVIDIA Y, 8 GiB, 550.1")
    asked.write_text("#!/bin/sh\necho broken\nexit 9\n")
    assert describe_machine().gpus == ()
    asked.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe_machine().gpus == ()
