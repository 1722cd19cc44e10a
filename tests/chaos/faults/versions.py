"""What an operator does while clients live: another version, the one before, none at all, and one that does not load."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path

from hf2triton.core.control import CONTROL_KEY
from hf2triton.core.layout import CONFIG, GRAPH, served_version, versions

from ..promises import Promise
from ..serving import KEY
from ..stage import Stage
from . import Fault

#: The version that does not load.
CORRUPT = 9
#: Within what time whoever wants it loaded is told that it cannot be, in seconds.
REFUSED_WITHIN = 20.0


def switch(stage: Stage, name: str, version: int) -> None:
    """Has a version served with the command that operators use. Raises RuntimeError."""
    served = stage.models.served
    frontend = next(one for one in stage.entries.values() if one.name == name)
    frontends = list(frontend.frontends.values())
    if version in versions(served / frontends[0]):
        command = ["rollback", name, str(version), f"--repository={served}"]
    else:
        command = ["publish", str(stage.models.exported), str(served), name]
    done = subprocess.run(
        [sys.executable, "-m", "hf2triton", *command, f"--load={stage.url}"],
        env={**os.environ, CONTROL_KEY: KEY},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        raise RuntimeError(f"hf2triton {' '.join(command)} ended with {done.returncode}: {done.stderr[-500:]}")


def replaced(stage: Stage) -> None:
    """Another version of a model is loaded and the one before is given up, and then that again: labels and embeddings differ."""
    name = stage.random.choice(stage.models.second_versions())
    frontend = next(iter(next(one for one in stage.entries.values() if one.name == name).frontends.values()))
    for _ in range(2):
        switch(stage, name, 3 - served_version(stage.models.served, frontend))
        time.sleep(3)


def unloaded(stage: Stage) -> None:
    """A model is unloaded, and loaded again."""
    entry = stage.random.choice(sorted(stage.entries.values(), key=lambda one: one.name))
    stage.touch(entry.name)
    for frontend in entry.frontends.values():
        stage.served.control(f"v2/repository/models/{frontend}/unload")
    time.sleep(stage.random.uniform(0.5, 2))
    for frontend in entry.frontends.values():
        stage.served.control(f"v2/repository/models/{frontend}/load")


def corrupt(stage: Stage) -> None:
    """A version that cannot be loaded is put beside the one that is served, and loaded."""
    entry = stage.random.choice(sorted(stage.entries.values(), key=lambda one: one.name))
    frontend = stage.random.choice(sorted(entry.frontends.values()))
    how = stage.random.choice(sorted(_CORRUPTED))
    folder = stage.models.served / frontend
    before = (folder / CONFIG).read_text()
    shutil.copytree(folder / str(served_version(stage.models.served, frontend)), folder / str(CORRUPT))
    try:
        _CORRUPTED[how](folder)
        began = time.monotonic()
        with stage.same_processes():
            try:
                stage.served.control(f"v2/repository/models/{frontend}/load", 60)
                stage.broken(f"{frontend} with {how} was loaded")
            except urllib.error.HTTPError:
                pass
            except OSError as error:
                stage.broken(f"loading {frontend} with {how} is not refused: {error}")
            if (took := time.monotonic() - began) > REFUSED_WITHIN:
                stage.broken(f"loading {frontend} with {how} was refused after {took:.1f} s")
            time.sleep(2)
    finally:
        (folder / CONFIG).write_text(before)
        shutil.rmtree(folder / str(CORRUPT))
    stage.served.control(f"v2/repository/models/{frontend}/load")


def _serve_corrupt(folder: Path) -> None:
    config = (folder / CONFIG).read_text()
    (folder / CONFIG).write_text(re.sub(r"versions: \d+", f"versions: {CORRUPT}", config, count=1))


def _cut_short(name: str) -> Callable[[Path], None]:
    def corrupt(folder: Path) -> None:
        _serve_corrupt(folder)
        path = folder / str(CORRUPT) / name
        content = path.read_bytes()
        path.unlink()  # not through a hard link
        path.write_bytes(content[: len(content) // 2])

    return corrupt


def _broken_config(folder: Path) -> None:
    (folder / CONFIG).write_text((folder / CONFIG).read_text() + "\nnonsense {")


_CORRUPTED = {
    "half a graph": _cut_short(GRAPH),
    "half a front.json": _cut_short("front.json"),
    "half a model.py": _cut_short("model.py"),
    "a config that is none": _broken_config,
}
_AWAY = frozenset({"ModelNotFound", "ServerBusy", "HTTPFailed"})


def _if_there_are(stage: Stage) -> str:
    return "" if stage.models.second_versions() else "there are no second versions"


FAULTS = {
    "replaced": Fault(replaced, Promise(), _if_there_are),
    "unloaded": Fault(unloaded, Promise(_AWAY, told=5, back=5)),
    "corrupt": Fault(corrupt, Promise(back=5)),
}
