"""Publishing to a repository that a real server serves meanwhile, which clients ask all the time."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from hf2triton.core.control import CONTROL_KEY
from hf2triton.core.digests import digest_of_content
from hf2triton.core.layout import BASELINE, MANIFEST, is_candidate
from hf2triton.deploy.history import rollback
from hf2triton.deploy.live import Live
from hf2triton.deploy.transfer import publish_entries
from hf2triton.errors import ParityError, ServingError
from hf2triton.repository.folder import Folder
from hf2triton.serving import Server
from hf2triton_client import connect
from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.transport.served_model import ServedModel

from ..exporter.entries import export, frontends, served_sizes
from ..support import snapshot

KEY = "a-key-for-the-test"
ENTRIES = ("plain", "behind", "pair")


@pytest.fixture(scope="module")
def sources(staged, tmp_path_factory) -> list[Path]:
    """Two repositories with an entry of each shape; those of the second take smaller batches."""
    found = [tmp_path_factory.mktemp("source") / "models" for _ in range(2)]
    for repository, size in zip(found, (32, 16), strict=True):
        for shape in ENTRIES:
            export(staged, repository, shape, size)
    return found


@pytest.fixture(scope="module")
def serving(sources, tmp_path_factory) -> Iterator[tuple[Server, Path]]:
    """A server on a repository to which version 1 of each entry was published."""
    place = tmp_path_factory.mktemp("served") / "models"
    list(publish_entries(sources[0], place))
    with Server(place, control_key=KEY) as server:
        yield server, place


@contextmanager
def control(server: Server) -> Iterator[Live]:
    with connect(server.url, headers=server.control_headers) as connection:
        yield Live(connection)


@contextmanager
def traffic(server: Server, names: list[str], baseline: Baseline) -> Iterator[dict[str, list[int]]]:
    """Clients that ask models all the time, without trying again. Gives the versions that answered, in order; asserts that all
    answers were PyTorch's."""
    versions: dict[str, list[int]] = {name: [] for name in names}
    wrong: list[str] = []
    stop = threading.Event()
    limit = baseline.tolerances["logits"].max_abs

    def ask(name: str) -> None:
        with connect(server.url, retries=0) as connection:
            model = ServedModel.from_config(connection.model_config(name))
            inputs = {key: values[:16] for key, values in baseline.inputs.items()}
            [request] = model.requests(inputs, ["logits"], 16)
            while not stop.is_set():
                try:
                    rows = list(model.rows(connection.infer(request), ["logits"]))
                except Exception as error:  # of any kind: none is to be seen
                    wrong.append(f"{name}: {error!r}")
                    return
                versions[name].append(int(rows[0]["version"]))
                pairs = zip(rows, baseline.answers["logits"], strict=False)
                if not max(np.abs(row["logits"] - expected).max() for row, expected in pairs) <= limit:
                    wrong.append(f"{name}: version {versions[name][-1]} answers wrongly")

    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    try:
        yield versions
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def changed(source: Path, target: Path, name: str, change) -> Path:
    """A copy of a repository with one entry, a file of whose served version is another, in the manifest as well."""
    shutil.copytree(source / "plain", target / "plain")
    for folder in (target / "plain" / "1", target / "plain"):
        for file in (name, MANIFEST):
            if (folder / file).exists():
                content = (source / "plain" / "1" / file).read_bytes()
                (folder / file).unlink()
                (folder / file).write_bytes(change(content) if file == name else content)
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest["files"][name] = digest_of_content((target / "plain" / "1" / name).read_bytes())
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    return target


def other_weights(content: bytes) -> bytes:
    """The graph with its largest matrix upside down: it loads, and answers something else."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(content)
    weights = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights)[::-1].copy(), weights.name))
    return model.SerializeToString()


def test_traffic_sees_nothing_but_right_answers(serving, sources):
    """While new versions are tried and switched to, and gone back from, nobody gets an error or a wrong answer; each client sees
    the old version, then the new one, then the old one again."""
    server, place = serving
    names = [frontend for shape in ENTRIES for frontend in frontends(shape)]
    baseline = Baseline.load(sources[0] / "plain" / "1" / BASELINE)
    with control(server) as live, traffic(server, names, baseline) as versions:
        done = list(publish_entries(sources[1], place, live=live))
        assert [(one.state, one.version, one.before) for one in done] == [("published", 2, 1)] * 3
        assert served_sizes(place) == dict.fromkeys(names, (2, 16))
        for shape in ENTRIES:
            assert rollback(Folder(place), shape, live=live) == (2, 1)
    assert served_sizes(place) == dict.fromkeys(names, (1, 32))
    for name in names:
        seen = versions[name]
        turns = [seen[0], *(now for before, now in itertools.pairwise(seen) if now != before)]
        assert turns == [1, 2, 1], name
    assert not any(is_candidate(model) for model in Folder(place).models())


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (other_weights, ParityError, "does not give PyTorch's answers"),
        (lambda graph: graph[: len(graph) // 2], ServingError, "was not loaded"),
    ],
)
def test_a_bad_version_is_never_served(serving, sources, tmp_path, change, error, says):
    """One that answers wrongly, or does not load, is found out while the old one is served, and the repository stays as it is."""
    server, place = serving
    bad = changed(sources[1], tmp_path, "model.onnx", change)
    before = snapshot(place)
    baseline = Baseline.load(sources[0] / "plain" / "1" / BASELINE)
    with control(server) as live, traffic(server, ["plain"], baseline) as versions, pytest.raises(error, match=says):
        list(publish_entries(bad, place, live=live))
    assert set(versions["plain"]) == {1}
    assert snapshot(place) == before
    with connect(server.url) as connection:
        assert not any(is_candidate(name) for name in connection.ready_models())


@pytest.mark.parametrize("shape", ENTRIES)
def test_a_failure_after_the_switch_puts_the_old_one_back(serving, sources, tmp_path, monkeypatch, shape):
    """Where a version is wrong only under its own name, the old one is put back, on disk and on the server."""
    server, place = serving
    shutil.copytree(place, tmp_path / "before")
    source = tmp_path / "new"
    for frontend in [*frontends(shape), f"{shape}_model"]:
        if (sources[1] / frontend).exists():
            shutil.copytree(sources[1] / frontend, source / frontend)
    for frontend in frontends(shape):
        for path in (source / frontend / MANIFEST, source / frontend / "1" / MANIFEST):
            text = path.read_text()
            path.unlink()
            path.write_text(text.replace('"exported_at": "20', '"exported_at": "19'))
    ask = Live.ask

    def refuse(self, frontend, baseline):
        ask(self, frontend, baseline)
        if not is_candidate(frontend):
            raise ParityError(f"{frontend} fails")

    monkeypatch.setattr(Live, "ask", refuse)
    with control(server) as live:
        with pytest.raises(ParityError, match=f"{shape}.* fails"):
            list(publish_entries(source, place, live=live))
        assert [live.version_of(frontend) for frontend in frontends(shape)] == [1] * len(frontends(shape))
    assert served_sizes(place)[frontends(shape)[0]] == (1, 32)
    assert {path: own for path, own in snapshot(place).items() if "_model/2/" not in path} == {
        path: own for path, own in snapshot(tmp_path / "before").items() if "_model/2/" not in path
    }, "but for a graph that somebody had gone back from"


KILLED = """
import os, signal, sys
from pathlib import Path
from hf2triton.deploy.live import Live
from hf2triton.deploy.transfer import publish_entries
from hf2triton.core.control import control_headers
from hf2triton_client import connect
step, source, place, url, key = sys.argv[1:]
count = 0
def wrap(original):
    def call(*arguments, **options):
        global count
        result = original(*arguments, **options)
        count += 1
        if count == int(step):
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call
for name in ("load", "unload", "ask"):
    setattr(Live, name, wrap(getattr(Live, name)))
with connect(url, headers=control_headers(key)) as connection:
    [done] = publish_entries(Path(source), place, ["plain"], Live(connection))
print(done.version)
"""


@pytest.mark.slow
def test_a_kill_after_any_call_of_the_server_can_be_made_good(serving, sources, tmp_path):
    """Killed with SIGKILL after each call in turn: the server answers with a version that is whole, and publishing again makes it
    the new one and leaves nothing behind."""
    server, place = serving
    store = Folder(place)
    served = set()
    with control(server) as live:
        for step in range(1, 20):
            if live.version_of("plain") != 1:
                rollback(store, "plain", 1, live)
            killed = run_publisher(server, place, sources[1], step)
            served.add(live.version_of("plain"))
            assert served_sizes(place, interrupted=True)["plain"] in ((1, 32), (2, 16))
            again = run_publisher(server, place, sources[1], 0)
            assert (again.returncode, again.stdout.strip()) == (0, "2"), again.stderr
            assert live.version_of("plain") == 2
            assert served_sizes(place)["plain"] == (2, 16)
            assert not any(is_candidate(model) or live.has(f"_candidate-{model}") for model in store.models())
            if killed.returncode == 0:
                break
            assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert step > 4
    assert served == {1, 2}


def run_publisher(server: Server, place: Path, source: Path, step: int) -> subprocess.CompletedProcess:
    arguments = [sys.executable, "-c", KILLED, str(step), str(source), str(place), server.url, KEY]
    return subprocess.run(arguments, capture_output=True, text=True)


def refusal_of(server: Server) -> str:
    """What a command says whose key the server does not take."""
    return (
        f"hf2triton: the server at {server.url} wants its control key: put it in HF2TRITON_CONTROL_KEY, or name its file in"
        " HF2TRITON_CONTROL_KEY_FILE"
    )


def test_a_rollback_without_the_key_says_so_once(serving, sources):
    """And the version that was served is served."""
    server, place = serving
    with control(server) as live:
        list(publish_entries(sources[1], place, ["behind"], live))
    before = served_sizes(place)
    command = [
        sys.executable,
        "-m",
        "hf2triton",
        "rollback",
        "behind",
        "--repository",
        str(place),
        "--load",
        server.url,
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(CONTROL_KEY)}
    refused = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (refused.returncode, served_sizes(place)) == (1, before)
    assert refused.stderr.splitlines()[-1] == refusal_of(server)
    assert refused.stderr.count("wants its control key") == 1
    assert "may not serve" not in refused.stderr
    with control(server) as live:
        rollback(Folder(place), "behind", 1, live)


def test_what_a_model_says_is_told_as_it_is(serving, sources, tmp_path):
    """A frontend that Python cannot read is refused with the server's words, without advice on the server's options; a model that
    is not in its repository is refused with it."""
    server, place = serving
    bad = changed(sources[1], tmp_path / "bad", "model.py", lambda code: b"def (:\n" + code)
    with control(server) as live:
        with pytest.raises(ServingError, match=r"SyntaxError|invalid syntax") as refused:
            list(publish_entries(bad, place, live=live))
        assert "--model-control-mode" not in str(refused.value)
        with pytest.raises(ServingError, match=r"must serve this repository.*--model-control-mode=explicit"):
            live.load("nobody-has-this")


def test_a_broken_config_is_put_back_and_loaded(serving, sources):
    """The version that the server runs stays, its config is what was proved, and the server has loaded it again."""
    server, place = serving
    with control(server) as live:
        [there] = publish_entries(sources[1], place, ["behind"], live)
        whole = snapshot(place)
        for model in ("behind", "behind_model"):
            with (place / model / "config.pbtxt").open("a") as config:
                config.write("frobnicate: 3\n")
        [done] = publish_entries(sources[1], place, ["behind"], live)
        assert (done.state, done.version, done.before) == ("switched", there.version, there.version)
        assert snapshot(place) == whole
        assert live.version_of("behind") == there.version
        rollback(Folder(place), "behind", 1, live)


def test_the_command_loads_and_refuses(serving, sources, tmp_path):
    """`publish --load` takes the key from the environment; exit code 3 where a version does not give PyTorch's answers, 1 where
    the server does not let it load."""
    server, place = serving

    def run(source: Path, key: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "hf2triton", "publish", str(source), str(place), "plain", "--load", server.url]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, CONTROL_KEY: key})

    with control(server) as live:
        if live.version_of("plain") != 1:
            rollback(Folder(place), "plain", 1, live)
    before = served_sizes(place)
    refused = run(sources[1], "another key")
    assert (refused.returncode, served_sizes(place)) == (1, before)
    told = refused.stderr.splitlines()[-1]
    assert told == refusal_of(server)
    assert refused.stderr.count("wants its control key") == 1
    assert "may still be loaded" not in refused.stderr
    done = run(sources[1], KEY)
    assert done.returncode == 0, done.stderr
    assert "version 2" in done.stdout
    assert served_sizes(place)["plain"] == (2, 16)
    wrong = run(changed(sources[1], tmp_path, "model.onnx", other_weights), KEY)
    assert wrong.returncode == 3, wrong.stderr
    assert "does not give PyTorch's answers" in wrong.stderr
