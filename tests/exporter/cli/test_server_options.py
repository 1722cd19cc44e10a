"""--url, --header and --wait, wherever a server is asked."""

import json
import socket
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from hf2triton.cli import main
from hf2triton.serving import Server

from ...conftest import asset
from .conftest import TOKEN

HEADER = ["--header", "=".join(TOKEN)]
#: What lint finds wrong with the server of the tests.
KNOWN = ["--ignore", "server-cve", "--ignore", "server-shared-memory"]
#: Command -> the option that names the server. Each has --header and --wait as well.
ASKS = {
    **dict.fromkeys(("validate", "infer", "score", "bench", "tune"), "--url"),
    **dict.fromkeys(("publish", "rollback"), "--load"),
    "lint": "--server",
}


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_every_command_that_asks_a_server_has_the_options():
    """The three go together."""
    for name, command in main.commands.items():
        flags = {flag for parameter in command.params for flag in parameter.opts}
        expected = {ASKS[name], "--header", "--wait"} if name in ASKS else set()
        assert flags & {"--url", "--server", "--header", "--wait"} <= expected
        assert expected <= flags


def commands(repository, folder):
    """Command -> its arguments before those that name the server, as --url or otherwise."""
    quick = ["--seconds", "0.1", "--warm-up", "0", "--rounds", "1", "--concurrency", "1", "--threads", "1"]
    contenders = ["--contender", "grpc", "--contender", "shared-memory"]
    return {
        "infer": (["infer", "sentiment", "What a day"], "--url"),
        "generate": (["infer", "verses", "And the king", "--option", "max_new_tokens=4"], "--url"),
        "validate": (["validate", "sentiment", "verses", "--repository", repository], "--url"),
        "score": (
            ["score", "sentiment", asset("bert", "text-classification") / "sample.jsonl", folder / "out.jsonl"],
            "--url",
        ),
        "bench": (["bench", "sentiment", "verses", "--repository", repository, *quick, *contenders], "--url"),
        "lint": (["lint", repository, *KNOWN], "--server"),
    }


@pytest.mark.parametrize("name", ["infer", "generate", "validate", "score", "bench", "lint"])
def test_headers_are_sent_with_each_call(guarded, entries, tmp_path, name):
    """A gateway that wants a token lets all calls of the command through with --header, streams included, and none without."""
    words, flag = commands(entries, tmp_path)[name]
    given = run(*words, flag, guarded, *HEADER)
    assert given.exit_code == 0, given.output
    assert "no token" not in given.output
    if name == "bench":
        assert {"Triton, gRPC, fp32", "Triton, shared memory, fp32"} <= {
            line.split("  ")[0] for line in given.stdout.splitlines()
        }
    refused = run(*words, flag, guarded, *(["--restart"] if name == "score" else []))
    assert refused.exit_code == 1
    assert "no token" in refused.stderr


def test_lines_are_sent_with_headers(guarded):
    """So are the requests for the lines of stdin."""
    words = [sys.executable, "-m", "hf2triton", "infer", "sentiment", "-", "--url", guarded, *HEADER]
    done = subprocess.run(words, input="What a day\n", capture_output=True, text=True, timeout=60)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), done.stderr


@pytest.mark.parametrize("given", ["no-equals-sign", "=value", "name="])
def test_a_header_has_a_name_and_a_value(given):
    """Anything else is wrong usage."""
    result = run("infer", "sentiment", "x", "--header", given)
    assert (result.exit_code, "NAME=VALUE" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["score", "sentiment", "in.jsonl", "out.jsonl", "--serve", "--url", "x:1"], "--serve starts its own server"),
        (["validate", "--serve", "--wait", "3", *HEADER], "leave out --header and --wait"),
        (["bench", "x", "--precision", "fp32", "--url", "x:1"], "--precision starts its own server: leave out --url"),
    ],
)
def test_a_server_of_their_own_is_not_elsewhere(words, says):
    """What names a server makes no sense beside what starts one."""
    result = run(*words)
    assert (result.exit_code, says in " ".join(result.stderr.split())) == (2, True), result.stderr


def test_waiting_for_a_server_that_starts(entries):
    """A command that begins before the server answers as soon as the server does; without --wait it fails at once."""
    ports = []
    for _ in range(3):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    url = f"127.0.0.1:{ports[0]}"
    assert run("infer", "sentiment", "What a day", "--url", url).exit_code == 1
    words = [sys.executable, "-m", "hf2triton", "infer", "sentiment", "What a day", "--url", url, "--wait", "100"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        assert "wait for sentiment at" in waiting.stderr.readline()
        with Server(entries, grpc_port=ports[0], http_port=ports[1], metrics_port=ports[2]):
            stdout, stderr = waiting.communicate(timeout=100)
    assert waiting.returncode == 0, stderr
    assert json.loads(stdout)[0]["label"] in ("POSITIVE", "NEGATIVE")


@pytest.mark.parametrize("where", ["nowhere", "here"])
def test_waiting_ends(url, where):
    """When the time is over, the error is that of a command that did not wait: no server, or no such model."""
    words = ["infer", "nope", "What a day", "--url", "127.0.0.1:1" if where == "nowhere" else url]
    at_once, began = run(*words), time.monotonic()
    waited = run(*words, "--wait", "0.5")
    assert time.monotonic() - began >= 0.5
    assert waited.exit_code == at_once.exit_code == 1
    assert waited.stderr.splitlines()[-1] == at_once.stderr.splitlines()[-1]
    assert ("is not served here" if where == "here" else "no Triton server answers") in waited.stderr


def test_waiting_lasts_no_longer_than_needed(url, entries):
    """What waiting does not change is reported at once, though there is much time left."""
    assert run("infer", "verses", "x", "--option", "nope=1", "--url", url, "--wait", "1000").exit_code == 2
    assert run("lint", entries, *KNOWN, "--server", url, "--wait", "1000").exit_code == 0


def test_waiting_is_never_negative():
    """It is a number of seconds."""
    assert run("infer", "sentiment", "x", "--wait", "-1").exit_code == 2
