"""--quiet, --verbose and --json, on every command and before its name."""

import json
import logging

import click
import pytest
from click.testing import CliRunner

from hf2triton.cli import main
from hf2triton.cli.common import command, fail
from hf2triton.cli.console import document, progress, say, table
from hf2triton.cli.switches import json_option
from hf2triton.errors import SourceError


@click.group()
def group():
    pass


@group.command()
@click.option("--fails", type=click.Choice(("error", "message")))
@json_option
@command
def work(fails):
    with progress() as advance:
        advance("a stage")
    logging.getLogger("a.library").info("a message of a library")
    if fails == "error":
        error = SourceError("the source is bad")
        error.stage, error.done = "load", ("check",)
        raise error
    table("a title", ("name",), [("a row",)])
    say("a summary")
    document({"name": "a row"})
    if fails == "message":
        fail("the row is bad", 3)


def run(*words, of=group, **settings):
    return CliRunner(**settings).invoke(of, words)


def test_progress_is_on_stderr():
    """Without a switch: the stages with their times on stderr, and the result on stdout."""
    result = run("work")
    assert result.stderr[8:] == " a stage\n"
    assert result.stdout == "\na title\nname\na row\na summary\n"


def test_quiet_commands_print_results_and_errors():
    """No progress; everything else as it is."""
    result = run("work", "-q")
    assert (result.stdout, result.stderr) == (run("work").stdout, "")
    assert run("work", "--quiet", "--fails", "message").stderr == "hf2triton: the row is bad\n"


def test_verbose_commands_tell_more():
    """Messages of libraries; with an error its traceback and the earlier stages, and the same exit code and last line."""
    assert "a.library: a message of a library" in run("work", "-v").stderr
    assert "a message of a library" not in run("work").stderr
    short, long = run("work", "--fails", "error"), run("work", "--fails", "error", "-v")
    assert "Traceback" not in short.output
    assert "Traceback" in long.stderr
    assert short.stderr.splitlines()[-1] == "hf2triton: load: the source is bad (the repository is as it was)"
    assert long.stderr.splitlines()[-1] == (
        "hf2triton: load: the source is bad (done before: check; the repository is as it was)"
    )
    assert (short.exit_code, long.exit_code) == (1, 1)
    assert run("work", env={"HF2TRITON_DEBUG": "1"}).stdout == run("work").stdout
    debugged = run("work", "--fails", "error", env={"HF2TRITON_DEBUG": "1"})
    assert ("Traceback" in debugged.stderr, debugged.stderr.splitlines()[-1]) == (True, long.stderr.splitlines()[-1])


def test_json_is_all_of_stdout():
    """One document and nothing else; progress and errors stay on stderr, and so do exit codes."""
    result = run("work", "--json")
    assert json.loads(result.stdout) == {"name": "a row"}
    assert "a stage" in result.stderr
    failed = run("work", "--json", "--fails", "message")
    assert json.loads(failed.stdout) == {"name": "a row"}
    assert (failed.exit_code, failed.stderr.splitlines()[-1]) == (3, "hf2triton: the row is bad")
    early = run("work", "--json", "--fails", "error")
    said = "load: the source is bad (the repository is as it was)"
    assert json.loads(early.stdout) == {"error": said, "exit_code": 1}
    assert (early.exit_code, early.stderr.splitlines()[-1]) == (1, f"hf2triton: {said}")


def test_switches_are_accepted_before_the_name():
    """`hf2triton -q COMMAND` is `hf2triton COMMAND -q`."""
    given = ["build", "/nowhere.yaml"]
    assert "Traceback" in run("-v", *given, of=main).stderr
    assert "Traceback" in run(*given, "-v", of=main).stderr
    assert "Traceback" not in run("-q", *given, of=main).stderr
    both = run("-q", *given, "-v", of=main)
    assert (both.exit_code, "exclude each other" in both.stderr) == (2, True)


#: Commands that print a table, or what they did.
WITH_JSON = {*main.commands} - {"serve", "infer", "manifests", "schema"}


@pytest.mark.parametrize("name", sorted(WITH_JSON))
def test_commands_with_tables_have_json(name):
    """All but those whose output is JSON, YAML or a running server."""
    assert "--json" in {flag for parameter in main.commands[name].params for flag in parameter.opts}
