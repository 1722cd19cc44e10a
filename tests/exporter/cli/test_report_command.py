"""`hf2triton report`: what it prints, writes and exits with; and how tables look on terminals and in logs."""

import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from hf2triton.cli import main
from hf2triton.cli.console import table
from hf2triton_client.report.io import read_report, write_report

from ...client.reports import MACHINE, bad, benchmark, good, report


@pytest.fixture
def files(tmp_path):
    """Reports of two runs, the second half as fast, and of a validation alone."""
    made = {
        "old": report(validations=(good(),)),
        "new": report(validations=(good(),), benchmarks=(benchmark(2.0),)),
        "validation": report(validations=(good(),), benchmarks=()),
        "speed": report(validations=(), benchmarks=(benchmark(),)),
        "fewer": report(validations=(good(),), benchmarks=(benchmark(concurrencies=(1,)),)),
        "wrong": report(validations=(replace(good(), checks=bad().checks),), benchmarks=()),
        "elsewhere": report(validations=(good(),), machine=replace(MACHINE, cpu="Another CPU")),
    }
    for name, own in made.items():
        write_report(own, tmp_path / f"{name}.json")
    return {name: tmp_path / f"{name}.json" for name in made}


def run(*arguments):
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def test_reports_of_one_run_are_shown_as_one(files, tmp_path):
    """The verdict, the figures and all tables of a validation and a benchmark; the same is written in each form asked for."""
    outputs = [tmp_path / "out" / f"r{ending}" for ending in (".html", ".md", ".json")]
    written = [word for path in outputs for word in ("-o", path)]
    result = run(files["validation"], files["speed"], *written)
    assert result.exit_code == 0, result.output
    first, *lines = result.stdout.splitlines()
    assert first == "Passed. sentiment (fp16) gives PyTorch's answers in 5 checks."
    assert any(re.match(r"One call, median +10\.1 ms  1\.4× as fast as PyTorch", line) for line in lines)
    assert any(re.match(r"Triton, gRPC, int8  1 a call  1 in flight +5\.30 +6\.89 +10\.1 ", line) for line in lines)
    assert "What changed" not in result.stdout
    assert "\x1b" not in result.output
    assert repr(read_report(outputs[2])) == repr(report(validations=(good(),)))
    assert outputs[0].read_text().startswith("<!DOCTYPE html>")
    assert outputs[1].read_text().startswith("✅ **Passed.**")


def test_a_slower_run_exits_1(files, tmp_path):
    """What is slower by more than allowed is told, on stderr and in what is written; by less it is shown alone."""
    page = tmp_path / "r.md"
    result = run(files["old"], files["new"], "--fail-if-slower", "10%", "-o", page)
    assert result.exit_code == 1
    assert "Triton, gRPC (sentiment, fp16), 1 a call, 1 in flight: p50 10.1 → 20.2 ms (+100%)" in result.stderr
    assert "PyTorch" not in result.stderr
    assert (
        result.stderr.splitlines()[-1] == "hf2triton: what is served is slower than in the earlier run by more than 10%"
    )
    assert page.read_text().startswith("❌ **Failed.**")
    shown = run(files["old"], files["new"])
    assert shown.exit_code == 0
    assert re.search(r"Triton, gRPC, fp16 +1 a call, 1 in flight +10\.1 → 20\.2 \(\+100%\)", shown.stdout)
    assert run(files["new"], files["old"], "--fail-if-slower", "10%").exit_code == 0
    assert run(files["old"], files["old"], "--fail-if-slower", "0%", "--fail-if-worse").exit_code == 0


def test_worse_answers_exit_3(files):
    """A check that fails now is told with its breach; speed that was lost as well does not hide it."""
    result = run(files["validation"], files["wrong"], "--fail-if-worse")
    assert result.exit_code == 3
    assert "sentiment, five items a request, in reverse order, logits: it passed before, and now" in result.stderr
    assert run(files["validation"], files["wrong"]).exit_code == 0
    assert run(files["wrong"], files["validation"], "--fail-if-worse").exit_code == 0
    both = run(files["old"], files["new"], files["wrong"], "--fail-if-slower", "10%", "--fail-if-worse")
    assert both.exit_code == 3


def test_a_missing_counterpart_is_an_error(files):
    """Where there is nothing to compare with, the answer is not that all is well."""
    for arguments, said in (
        ((files["old"], files["fewer"], "--fail-if-slower", "10%"), "the later run did not measure Triton, gRPC"),
        ((files["old"], "--fail-if-slower", "10%"), "only one file holds the measurement of Triton"),
        ((files["validation"], files["wrong"], "--fail-if-slower", "10%"), "no two files hold the same measurement"),
        ((files["speed"], files["speed"], "--fail-if-worse"), "no two files hold a validation of the same model"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1, result.output
        assert said in result.stderr
        assert result.stdout.startswith("Failed.")


def test_other_machines_are_told(files):
    """Times of two machines are not compared without a word."""
    result = run(files["old"], files["elsewhere"])
    assert "- the runs differ in CPU: A CPU of 2024 @ 2.60GHz → Another CPU" in result.stdout.splitlines()


@pytest.mark.parametrize("value", ["ten", "-1%", "100%", "nan", ""])
def test_no_percentage_is_wrong_usage(files, value):
    """What is no share is refused, with an example."""
    result = run(files["old"], files["new"], "--fail-if-slower", value)
    assert result.exit_code == 2
    assert "such as 10%" in result.stderr


def test_what_cannot_be_written_is_refused_first(files, tmp_path):
    """An unknown form is wrong usage, before anything is printed; a file that is no report is named."""
    result = run(files["old"], "-o", tmp_path / "r.pdf")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "known are .json, .md, .html" in result.stderr
    missing = run(tmp_path / "none.json")
    assert (missing.exit_code, "none.json cannot be read as a report: No such file" in missing.stderr) == (1, True)


@pytest.mark.parametrize(("package", "ending"), [("jinja2", "html"), ("pydantic", "md")])
def test_a_missing_package_is_named(files, tmp_path, package, ending):
    """Where the extra is not installed, the command says how to install it."""
    code = f"import sys; sys.modules[{package!r}] = None; from hf2triton.cli import main; main()"
    command = [sys.executable, "-c", code, "report", str(files["old"]), "-o", str(tmp_path / f"r.{ending}")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert f"needs the package '{package}'; install it with: pip install 'hf2triton[report]'" in result.stderr


def test_the_schema_is_printed(files):
    """It is JSON, and reports fit it; other names are refused with those that are known."""
    result = CliRunner().invoke(main, ["schema", "report"])
    Draft202012Validator(json.loads(result.stdout)).validate(json.loads(files["old"].read_text()))
    unknown = CliRunner().invoke(main, ["schema", "nope"])
    assert (unknown.exit_code, "report" in unknown.stderr) == (2, True)


def on_terminal(arguments, **variables):
    """What a command writes to a terminal that is 200 characters wide."""
    reader, writer = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment |= {"COLUMNS": "200", "TERM": "xterm", **variables}
    process = subprocess.Popen(
        [sys.executable, "-m", "hf2triton", *map(str, arguments)],
        stdout=writer,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    os.close(writer)
    written = b""
    try:
        while more := os.read(reader, 1 << 16):
            written += more
    except OSError:  # Linux says so when the other side is closed
        pass
    os.close(reader)
    assert process.wait(60) == 0
    return written.decode()


def test_terminals_get_drawn_tables(files):
    """On a terminal tables are drawn; with NO_COLOR they have no colours; what stands in brackets is kept."""
    drawn = on_terminal(["report", files["old"]])
    assert "────" in drawn
    assert re.search(r"Triton, gRPC, fp16 +1 a call +1 in flight +10\.1 +13\.1 +19\.2 ", drawn)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", on_terminal(["report", files["old"]], NO_COLOR="1"))


def test_logs_get_plain_tables(capsys):
    """Elsewhere columns are aligned by blanks, numbers to the right, and nothing is taken for markup."""
    table("a [bold]title[/bold]", ("name", "size"), [("x [3]", 5), ("longer", 12.5)])
    assert capsys.readouterr().out == "\na [bold]title[/bold]\nname    size\nx [3]      5\nlonger  12.5\n"
